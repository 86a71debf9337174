//! `agent.exe`: does in an installed Windows what the harness asks for over COM2. Started without words it serves until it has turned the
//! machine off; `agent.exe step NAME` tells how far the installation has come, and ends.
//!
//! It knows nothing of drivers or suites: which commands are run, and what is expected of them, is the harness's business, so that an image
//! with its agent in it stays good while the harness changes. On a host it is an ordinary program that says where it belongs.
#![cfg_attr(target_os = "windows", no_std, no_main)]

extern crate alloc;

#[cfg_attr(not(target_os = "windows"), allow(dead_code, reason = "only the texts are tested on a host"))]
mod text;

#[cfg(target_os = "windows")]
mod command;
#[cfg(target_os = "windows")]
mod device;
#[cfg(target_os = "windows")]
mod file;
#[cfg(target_os = "windows")]
mod kernel32;
#[cfg(target_os = "windows")]
mod port;
#[cfg(target_os = "windows")]
mod serve;

#[cfg(target_os = "windows")]
mod program {
    use suites::nt::{Heap, NTSTATUS, exit_process};

    #[global_allocator]
    static HEAP: Heap = Heap::empty();

    /// The program's entry point: no C runtime.
    #[unsafe(no_mangle)]
    extern "win64" fn agent_start() -> ! {
        exit_process(match HEAP.start() {
            Ok(()) => super::serve::main(),
            Err(status) => status,
        })
    }

    /// A mistake of the agent's own. The harness sees that nobody answers any more.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        exit_process(NTSTATUS::UNHANDLED_EXCEPTION)
    }
}

#[cfg(not(target_os = "windows"))]
fn main() {
    eprintln!("agent.exe runs inside an installed Windows. To make one: cargo rig image build");
    std::process::exit(2);
}
