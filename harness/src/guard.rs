//! `rig guard -- PROGRAM ARGUMENTS`: runs a program that starts programs of its own (cargo, apt-get, rustup), so that none of
//! them outlives the harness.
//!
//! The kernel tells only the direct child that the harness has died. The guard is that child; it leads a process group that
//! holds the program and all its descendants, and when the signal comes it takes the whole group with it. Not for users.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::Command;

use rustix::process::Signal;

use crate::child;

/// Name of the command, as first argument of `rig`.
pub const COMMAND: &str = "guard";
/// Exit status when the program could not be started, as shells have it.
pub const NOT_STARTED: u8 = 127;

/// A command that runs a program, to be added with its arguments, under the guard. To be told with SIGTERM when we die.
#[must_use]
pub fn guarded() -> Command {
    // The path names this very binary, even when cargo has replaced its file since.
    let mut command = Command::new("/proc/self/exe");
    command.arg(COMMAND).arg("--");
    command
}

/// Runs the program named by `arguments` (after `--`) to its end and returns its exit status; dies as it died.
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
    let guard = rustix::process::getpid();
    // SAFETY: between fork and exec, two plain system calls.
    unsafe {
        command.pre_exec(move || child::die_with(guard, Signal::KILL));
    }
    match command.status() {
        Ok(status) => {
            if let Some(signal) = status.signal() {
                die_likewise(signal);
            }
            status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
        }
        Err(error) => {
            crate::console::note(format!("cannot start {}: {error}", program.display()));
            NOT_STARTED
        }
    }
}

/// Ends this process by the signal that ended the program, so that whoever waits for us sees how it died.
fn die_likewise(signal: i32) {
    if signal == signal_hook::consts::SIGKILL {
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    }
    let _ = signal_hook::low_level::emulate_default_handler(signal);
}
