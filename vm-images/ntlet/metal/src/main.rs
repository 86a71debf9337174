//! The bootable image. Everything is in the library; what has to be in a program is here.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
use metal as _;

/// The image's heap is the executive's pool.
#[cfg(target_os = "none")]
#[global_allocator]
static ALLOCATOR: kernel::pool::KernelAllocator = kernel::pool::KernelAllocator;

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    eprintln!(
        "ntlet boots in QEMU and is no program for this system: build it with --target x86_64-unknown-none, or use `cargo rig run`"
    );
    std::process::ExitCode::from(2)
}
