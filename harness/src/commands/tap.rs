//! `rig tap`: stands between QEMU and a vfio-user server, whoever wrote that, and writes a trace of what they say.
//!
//! `rig` builds the device model and becomes it: signals, exit status and output are the model's own.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use crate::build;
use crate::error::{Exit, Outcome, Problem};
use crate::interrupt::Interrupt;
use crate::places::Places;

/// Options of `rig tap`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Path of the Unix socket to create: QEMU connects there as it would to the server. It goes away when QEMU has connected.
    #[arg(long, value_name = "SOCK")]
    listen: PathBuf,
    /// Path of the server's Unix socket.
    #[arg(long, value_name = "SOCK")]
    connect: PathBuf,
    /// File to write the trace to.
    #[arg(long, value_name = "FILE", default_value = "tap.rigtrace")]
    record: PathBuf,
    /// What the trace calls the device. Traces of `relay` are shown with the relay hardware's words.
    #[arg(long, value_name = "NAME", default_value = "tapped")]
    name: String,
    /// Share guest memory with the server, as QEMU does. What the device reads and writes there is not in the trace then.
    #[arg(long)]
    pass_memory: bool,
    /// What to log on standard error: off, error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// Work without giving up access to files, networks and programs: for strace and the like.
    #[arg(long)]
    no_sandbox: bool,
}

/// Does it. Returns only when the tap could not begin.
///
/// # Errors
/// The model does not build or start.
pub fn perform(arguments: &Arguments, interrupt: &Interrupt) -> Outcome<Exit> {
    let program = build::device_model(&Places::find(None), interrupt)?;
    let mut command = Command::new(&program);
    command.arg("tap").arg("--listen").arg(&arguments.listen).arg("--connect").arg(&arguments.connect);
    command.arg("--record").arg(&arguments.record).arg("--name").arg(&arguments.name);
    command.args(arguments.pass_memory.then_some("--pass-memory")).args(arguments.no_sandbox.then_some("--no-sandbox"));
    if let Some(level) = &arguments.log {
        command.args(["--log", level]);
    }
    interrupt.check()?;
    let error = command.exec();
    Err(Problem::environment("the tap cannot be started")
        .because(format!("{}: {error}", program.display()))
        .so("start it again; it is built anew when it is missing"))
}
