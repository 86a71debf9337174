//! `rig guard -- PROGRAM ARGUMENTS`: runs a program that starts programs of its own (cargo, apt-get, rustup), so that none of
//! them outlives the harness.
//!
//! The kernel tells only the direct child that the harness has died. The guard is that child; it leads a process group that
//! holds the program and all its descendants, and when the signal comes it takes the whole group with it. Not for users.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::Command;

use rustix::process::Signal;

/// Name of the command, as first argument of `rig`.
pub const COMMAND: &str = "guard";
/// Exit status when the program could not be started, as shells have it.
pub const NOT_STARTED: u8 = 127;

/// Runs the program named by `arguments` (after `--`) to its end and returns its exit status, 128 + N after signal N.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGHUP] {
        // SAFETY: the handler makes one system call, which is allowed in a signal handler.
        let registered = unsafe {
            signal_hook::low_level::register(signal, || {
                let _ = rustix::process::kill_current_process_group(Signal::KILL);
            })
        };
        if registered.is_err() {
            return NOT_STARTED;
        }
    }
    if arguments.next().as_deref() != Some("--".as_ref()) {
        return NOT_STARTED;
    }
    let Some(program) = arguments.next() else {
        return NOT_STARTED;
    };
    let mut command = Command::new(&program);
    command.args(arguments);
    // SAFETY: one system call between fork and exec.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    match command.status() {
        Ok(status) => {
            status.code().or(status.signal().map(|signal| 128 + signal)).and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
        }
        Err(error) => {
            crate::console::note(format!("cannot start {}: {error}", program.display()));
            NOT_STARTED
        }
    }
}
