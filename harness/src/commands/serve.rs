//! `rig serve`: the relay hardware on a socket, for people with a QEMU of their own.
//!
//! `rig` builds the device model and becomes it: signals, exit status and output are the model's own.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use clap::{Args, ValueEnum};

use crate::build;
use crate::device::{Model, Transport};
use crate::error::{Exit, Outcome, Problem};
use crate::interrupt::Interrupt;
use crate::places::Places;

/// The devices there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// The relay hardware that relay.sys drives.
    Relay,
}

/// Options of `rig serve`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The device.
    pub device: Device,
    /// How QEMU speaks to it.
    #[arg(long, value_enum, default_value_t)]
    pub transport: Transport,
    /// Path of the Unix socket to create. It goes away when serving ends.
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,
    /// What shall go wrong in the hardware, and when: a TOML file.
    #[arg(long, value_name = "PLAN")]
    pub faults: Option<PathBuf>,
    /// Log on standard error; without a level, each access. Levels: off, error, warn, info, debug, trace.
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, default_missing_value = "trace")]
    pub log: Option<String>,
    /// Serve without giving up access to files, networks and programs: for strace and the like.
    #[arg(long)]
    pub no_sandbox: bool,
}

/// Does it. Returns only when serving could not begin.
///
/// # Errors
/// The model does not build or start; the plan of faults is none.
pub fn perform(arguments: &Arguments, interrupt: &Interrupt) -> Outcome<Exit> {
    let places = Places::find(None);
    let Device::Relay = arguments.device;
    let model = Model::relay(build::device_model(&places, interrupt)?, arguments.transport);
    let mut command = Command::new(&model.program);
    command.args(&model.arguments).arg("--socket").arg(&arguments.socket);
    if let Some(plan) = &arguments.faults {
        model.checked_plan(plan, interrupt)?;
        command.arg("--faults").arg(plan);
    }
    if let Some(level) = &arguments.log {
        command.args(["--log", level]);
    }
    if arguments.no_sandbox {
        command.arg("--no-sandbox");
    }
    interrupt.check()?;
    let error = command.exec();
    Err(Problem::environment("the device model cannot be started")
        .because(format!("{}: {error}", model.program.display()))
        .so("start it again; it is built anew when it is missing"))
}
