//! A test piece, on no user's path: what the harness meets instead of Windows where there is none. It is a program of the same firmware, on
//! the same disks, in the same machine, and plays what the harness sees of Windows: media that wait for a key, an installation in steps
//! with restarts, the agent, and what comes after it. In a machine with the relay hardware that is ntlet, loaded from the disk: the real
//! suites run there, on what the agent's commands have installed, and a bug check leaves its dump. In a machine without, it is a suite with
//! results that are written down here, a crash dump, and the ways in which each can go wrong.
//!
//! What goes wrong is said in the file `behaviour.txt` beside it, in words that `behaviour.rs` lists.
#![cfg_attr(target_os = "windows", no_std, no_main)]

extern crate alloc;

#[cfg_attr(not(target_os = "windows"), allow(dead_code, reason = "only tested on a host"))]
mod words;

#[cfg(target_os = "windows")]
mod agent;
#[cfg(target_os = "windows")]
mod behaviour;
#[cfg(target_os = "windows")]
mod firmware;
#[cfg(target_os = "windows")]
mod kernel;
#[cfg(target_os = "windows")]
mod line;
#[cfg(target_os = "windows")]
mod net;
#[cfg(target_os = "windows")]
mod setup;
#[cfg(target_os = "windows")]
mod suite;
#[cfg(target_os = "windows")]
mod system;

#[cfg(target_os = "windows")]
mod program {
    // What the compiler expects of a C runtime is there.
    use suites as _;
    use uefi_raw::table::system::SystemTable;
    use uefi_raw::{Handle, Status};

    use crate::firmware::Firmware;

    #[global_allocator]
    static POOL: crate::firmware::Pool = crate::firmware::Pool;

    /// Where the firmware begins.
    #[unsafe(no_mangle)]
    extern "efiapi" fn stand_in_start(image: Handle, system: *mut SystemTable) -> Status {
        // SAFETY: the firmware passes its own table and this program's handle, and runs nothing beside it.
        let firmware = unsafe { Firmware::new(image, system) };
        if firmware.own().read("stage.txt").is_some() { crate::agent::main(&firmware) } else { crate::setup::main(&firmware) }
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        // Nobody to tell: the test that waits for this program says what it waits for.
        loop {
            core::hint::spin_loop();
        }
    }
}

#[cfg(not(target_os = "windows"))]
fn main() {
    eprintln!("a test piece, which runs as a program of UEFI firmware: see harness/tests/windows_rig.rs");
    std::process::exit(2);
}
