//! The command line of the `device-model` program, and the configuration it stands for.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;

use crate::fault::{Kind, Plan};
use crate::trace::replay::{Mode, Rules};

/// Devices in Rust that stand in for PCI hardware.
#[derive(Debug, Parser)]
#[command(name = "device-model", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a plan of faults: status 2, with line and reason, if it is none.
    Check {
        /// How the virtual machine is to speak to the device.
        #[arg(long, value_enum)]
        transport: Transport,
        /// TOML file.
        plan: PathBuf,
    },
    /// Stand between a vfio-user client and a server, pass all that they say, and write a trace of it, until one has gone. Prints
    /// `ready SOCKET` when a virtual machine can connect.
    Tap(Tap),
    /// Serve one device on a socket until SIGTERM or SIGINT. Prints `ready SOCKET` when a virtual machine can connect, and how.
    Serve(Serve),
}

#[derive(Debug, Args)]
struct Serve {
    /// The device.
    device: DeviceKind,
    /// How the virtual machine speaks to it.
    #[arg(long, value_enum)]
    transport: Transport,
    /// Path of the Unix socket to create.
    #[arg(long, value_name = "PATH", required_unless_present = "listen_fd", conflicts_with = "listen_fd")]
    socket: Option<PathBuf>,
    /// Number of an inherited descriptor: a Unix socket that listens already.
    #[arg(long, value_name = "FD", value_parser = clap::value_parser!(i32).range(3..))]
    listen_fd: Option<i32>,
    /// Stop when the parent process ends. With a process id, stop at once if that is not the parent (any more).
    #[arg(long, value_name = "PID", num_args = 0..=1, require_equals = true)]
    die_with_parent: Option<Option<u32>>,
    /// TOML file that says which faults to inject, and when.
    #[arg(long, value_name = "PLAN")]
    faults: Option<PathBuf>,
    /// File to write a trace of all that the device is asked and does to.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// What the trace shall say of the recording, as NAME=VALUE; can be given again.
    #[arg(long, value_name = "NAME=VALUE", requires = "record", value_parser = note)]
    note: Vec<(String, String)>,
    /// For device `trace`: the trace to replay. Of a plan of faults, what the trace cannot have is done again: to registers and interrupts.
    #[arg(long, value_name = "TRACE", required_if_eq("device", "trace"), conflicts_with = "record")]
    replay: Option<PathBuf>,
    /// How strictly a replay compares the driver with the recorded one: strict, ordered or lenient.
    #[arg(long, value_enum, requires = "replay", default_value = "ordered")]
    mode: Mode,
    /// TOML file that says what a lenient replay lets pass.
    #[arg(long, value_name = "FILE", requires = "replay")]
    rules: Option<PathBuf>,
    /// File for the verdict of a replay, in JSON. Status 1 says that the driver diverged, too.
    #[arg(long, value_name = "FILE", requires = "replay")]
    verdict: Option<PathBuf>,
    /// Serve without giving up access to files, networks and programs: for strace and the like.
    #[arg(long)]
    no_sandbox: bool,
    /// What to log on standard error: off, error, warn, info, debug, or trace (each access). Without a level: trace.
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, default_value = "info", default_missing_value = "trace")]
    log: String,
}

/// What a tap stands between, and where its trace goes.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Tap {
    /// Path of the Unix socket to create: a virtual machine connects there as it would to the server.
    #[arg(long, value_name = "PATH")]
    pub listen: PathBuf,
    /// Path of the server's Unix socket.
    #[arg(long, value_name = "PATH")]
    pub connect: PathBuf,
    /// File to write the trace to.
    #[arg(long, value_name = "FILE")]
    pub record: PathBuf,
    /// What the trace calls the device.
    #[arg(long, value_name = "NAME", default_value = "tapped")]
    pub name: String,
    /// What the trace shall say of the recording, as NAME=VALUE; can be given again.
    #[arg(long, value_name = "NAME=VALUE", value_parser = note)]
    pub note: Vec<(String, String)>,
    /// Share guest memory with the server. What the device reads and writes there is not in the trace then.
    #[arg(long)]
    pub pass_memory: bool,
    /// Work without giving up access to files, networks and programs: for strace and the like.
    #[arg(long)]
    pub no_sandbox: bool,
    /// What to log on standard error: off, error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = |text: &str| level(text).map_err(|error| error.to_string()))]
    pub log: LevelFilter,
}

/// The devices this program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceKind {
    /// The relay hardware.
    Relay,
    /// A recorded device.
    Trace,
}

/// The transports this program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// QEMU's `vfio-user-pci`.
    VfioUser,
    /// QEMU's `vhost-user-test-device-pci`.
    VhostUser,
}

/// What this process is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// Serve a device.
    Serve(Box<Configuration>),
    /// Tap a device that somebody else serves.
    Tap(Box<Tap>),
    /// Nothing more: a plan of faults was to be checked, and it is one.
    Nothing,
}

/// What to serve and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// The device.
    pub device: DeviceKind,
    /// The transport.
    pub transport: Transport,
    /// Path of the socket; for an inherited one, what to call it.
    pub socket: PathBuf,
    /// An inherited descriptor to listen on instead of the path.
    pub listen_fd: Option<i32>,
    /// Whether to end with the parent, and which process that should be.
    pub die_with_parent: Option<Option<u32>>,
    /// Faults to inject.
    pub faults: Plan,
    /// What to replay.
    pub replay: Option<Replay>,
    /// Where to write a trace.
    pub record: Option<PathBuf>,
    /// What the trace says of the recording.
    pub notes: Vec<(String, String)>,
    /// Whether to give up what serving does not need.
    pub sandbox: bool,
    /// What to log.
    pub log: LevelFilter,
}

/// A replay: what, how strictly, and where its verdict goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// The trace.
    pub trace: PathBuf,
    /// How strictly.
    pub mode: Mode,
    /// What a lenient replay lets pass.
    pub rules: Rules,
    /// Where the verdict goes.
    pub verdict: Option<PathBuf>,
}

/// A command line that makes no configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// No such log level.
    #[error("--log {0}: no such level; choose off, error, warn, info, debug or trace")]
    LogLevel(String),
    /// Longer than a socket's path can be.
    #[error("{0} is longer than the 107 bytes that a socket's path can have; choose a shorter one")]
    SocketPath(PathBuf),
    /// No rules.
    #[error("--rules {0}: {1}")]
    Rules(PathBuf, String),
    /// No plan of faults.
    #[error("{0}: {1}")]
    Faults(PathBuf, String),
    /// A device that is not virtio has no queues that vhost-user could serve.
    #[error("--transport vhost-user: the device is not virtio; vfio-user serves it")]
    NotVirtio,
}

impl TryFrom<Arguments> for Task {
    type Error = UsageError;

    fn try_from(arguments: Arguments) -> Result<Self, UsageError> {
        match arguments.command {
            Command::Check { transport, plan } => read_plan(&plan, |kind| possible_on(transport, kind)).map(|_| Self::Nothing),
            Command::Tap(arguments) => {
                let long = |path: &PathBuf| path.as_os_str().len() > 107;
                let path = [&arguments.listen, &arguments.connect].into_iter().find(|path| long(path)).cloned();
                match path {
                    Some(long) => Err(UsageError::SocketPath(long)),
                    None => Ok(Self::Tap(Box::new(arguments))),
                }
            }
            Command::Serve(arguments) => {
                Configuration::try_from(arguments).map(|configuration| Self::Serve(Box::new(configuration)))
            }
        }
    }
}

impl TryFrom<Serve> for Configuration {
    type Error = UsageError;

    fn try_from(arguments: Serve) -> Result<Self, UsageError> {
        let Serve { device, transport, socket, listen_fd, die_with_parent, faults, record, note: notes, .. } = arguments;
        let Serve { replay, mode, rules, verdict, no_sandbox, log, .. } = arguments;
        let socket = socket.unwrap_or_else(|| PathBuf::from(format!("fd:{}", listen_fd.unwrap_or(-1))));
        let level = level(&log)?;
        if socket.as_os_str().len() > 107 {
            return Err(UsageError::SocketPath(socket));
        }
        let faults = faults.map_or_else(|| Ok(Plan::default()), |plan| read_plan(&plan, |kind| possible_on(transport, kind)))?;
        let rules = rules.map_or_else(|| Ok(Rules::default()), read_rules)?;
        let replay = replay.map(|trace| Replay { trace, mode, rules, verdict });
        let sandbox = !no_sandbox;
        Ok(Self { device, transport, socket, listen_fd, die_with_parent, faults, replay, record, notes, sandbox, log: level })
    }
}

fn read_rules(path: PathBuf) -> Result<Rules, UsageError> {
    let wrong = |reason: String| UsageError::Rules(path.clone(), reason);
    let text = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
    Rules::from_toml(&text).map_err(|error| wrong(error.to_string()))
}

/// Take a note of the command line apart.
pub(crate) fn note(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a note is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) fn level(name: &str) -> Result<LevelFilter, UsageError> {
    name.parse().map_err(|_| UsageError::LogLevel(name.to_owned()))
}

pub(crate) fn read_plan(path: &Path, possible: impl Fn(Kind) -> Result<(), &'static str>) -> Result<Plan, UsageError> {
    let wrong = |reason: String| UsageError::Faults(path.to_owned(), reason);
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    Plan::from_toml_if(&text, possible).map_err(|error| wrong(error.to_string()))
}

/// Whether a fault can happen to a virtio device on this transport.
pub(crate) fn possible_on(transport: Transport, kind: Kind) -> Result<(), &'static str> {
    // The status in which a device asks for a reset is a register, too.
    if transport == Transport::VhostUser && (!kind.is_of_a_queue() || kind == Kind::NeedsReset) {
        return Err("registers and interrupts are QEMU's on vhost-user; this fault needs --transport vfio-user");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(words: &str) -> Result<Configuration, UsageError> {
        let words = ["device-model"].into_iter().chain(words.split_whitespace());
        match Arguments::try_parse_from(words).expect("clap takes it").try_into()? {
            Task::Serve(configuration) => Ok(*configuration),
            Task::Tap(_) | Task::Nothing => panic!("nothing to serve"),
        }
    }

    #[test]
    fn a_full_command_line_becomes_a_configuration() {
        let found = configuration("serve relay --transport vfio-user --socket /run/s --die-with-parent=7 --log debug").unwrap();

        assert_eq!(found.device, DeviceKind::Relay);
        assert_eq!(found.transport, Transport::VfioUser);
        assert_eq!(found.socket, PathBuf::from("/run/s"));
        assert_eq!(found.die_with_parent, Some(Some(7)));
        assert_eq!(found.log, LevelFilter::DEBUG);
    }

    #[test]
    fn the_parent_need_not_be_named() {
        let found = configuration("serve relay --transport vfio-user --socket s --die-with-parent").unwrap();

        assert_eq!(found.die_with_parent, Some(None));
        assert!(found.sandbox);
    }

    #[test]
    fn an_inherited_socket_takes_the_place_of_a_path() {
        let found = configuration("serve relay --transport vfio-user --listen-fd 7").unwrap();

        assert_eq!((found.listen_fd, found.socket), (Some(7), PathBuf::from("fd:7")));
    }

    #[test]
    fn to_log_without_a_level_is_to_log_each_access() {
        let level = |words: &str| configuration(words).unwrap().log;

        assert_eq!(level("serve relay --transport vfio-user --socket s"), LevelFilter::INFO);
        assert_eq!(level("serve relay --transport vfio-user --socket s --log"), LevelFilter::TRACE);
    }

    #[test]
    fn wrong_values_say_what_would_be_right() {
        assert_eq!(
            configuration("serve relay --transport vfio-user --socket s --log loud"),
            Err(UsageError::LogLevel("loud".into()))
        );
        let long = format!("serve relay --transport vfio-user --socket {}", "x".repeat(108));
        assert!(matches!(configuration(&long), Err(UsageError::SocketPath(_))));
    }
}
