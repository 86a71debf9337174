//! The device model: a process of its own, and the socket between it and QEMU.
//!
//! The socket's name exists for an instant only. The harness binds it, keeps a path-only descriptor, and removes the name; QEMU
//! connects through that descriptor, the model accepts on the listening one. So no other process can get in between, QEMU need
//! not wait for the model to be ready, and a kill leaves no socket behind.

mod socket;

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::ValueEnum;
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::capped::Capped;
use crate::child::Child;
use crate::error::{Outcome, Problem};
use crate::files::was_left;
use crate::interrupt::Interrupt;
use crate::tool::{Tool, complaint};

/// Name of the socket while it has one, in the run's folder.
const SOCKET: &str = ".model.socket";

/// Longest time that a look at a plan of faults may take.
const PLAN_CHECK: Duration = Duration::from_secs(10);

/// How QEMU speaks to a device model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// QEMU's `vfio-user-pci`: all of the PCI device is the model's.
    #[default]
    VfioUser,
    /// QEMU's `vhost-user-test-device-pci`: registers and the one interrupt vector are QEMU's, the queues are the model's.
    VhostUser,
}

impl Transport {
    /// Its name, on command lines and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::VfioUser => "vfio-user",
            Self::VhostUser => "vhost-user",
        }
    }

    /// Whether QEMU survives that the device is taken out of a running machine. QEMU 10.1 to 11.1 takes the MSI-X table of a vfio-user
    /// device apart after the BAR that holds it, and dies of it.
    #[must_use]
    pub const fn is_removable(self) -> bool {
        matches!(self, Self::VhostUser)
    }
}

/// How to start a device model.
#[derive(Clone, Debug)]
pub struct Model {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, without what says where QEMU comes.
    pub arguments: Vec<OsString>,
    /// How it learns that.
    pub entrance: Entrance,
    /// How QEMU speaks to it.
    pub transport: Transport,
    /// Whether it takes `--faults`.
    pub takes_faults: bool,
    /// What it writes when it is told to end is wanted: the verdict on a replay.
    pub has_last_word: bool,
    /// The program that checks plans of faults.
    pub checker: PathBuf,
}

/// How a model learns where QEMU comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// By `--listen-fd` and a listening descriptor after its arguments.
    Option,
    /// By a listening descriptor in the place of [`FD`] in its arguments.
    Descriptor,
    /// By the path of a socket that it makes itself, in the place of [`PATH`].
    Path,
}

/// Stands for a listening descriptor in a command.
pub const FD: &str = "{fd}";
/// Stands for the path of a socket in a command.
pub const PATH: &str = "{socket}";

impl Model {
    /// The relay hardware, served by the project's own binary.
    #[must_use]
    pub fn relay(program: PathBuf, transport: Transport) -> Self {
        let arguments = ["serve", "relay", "--transport", transport.name()].map(OsString::from).to_vec();
        let (checker, entrance) = (program.clone(), Entrance::Option);
        Self { checker, program, arguments, entrance, transport, takes_faults: true, has_last_word: false }
    }

    /// A device that was recorded, replayed by the project's own binary.
    #[must_use]
    pub fn recorded(program: PathBuf, transport: Transport, replay: &[OsString]) -> Self {
        let mut arguments = ["serve", "trace", "--transport", transport.name()].map(OsString::from).to_vec();
        arguments.extend_from_slice(replay);
        let (checker, entrance) = (program.clone(), Entrance::Option);
        Self { checker, program, arguments, entrance, transport, takes_faults: true, has_last_word: true }
    }

    /// The same on a transport whose devices can be taken out, if it is the project's own; somebody else's stays as it is.
    #[must_use]
    pub fn removable(&self) -> Cow<'_, Self> {
        if !self.takes_faults || self.transport.is_removable() {
            return Cow::Borrowed(self);
        }
        let (old, transport) = (self.transport.name(), Transport::VhostUser);
        let other = |word: &OsString| if word == old { transport.name().into() } else { word.clone() };
        Cow::Owned(Self { arguments: self.arguments.iter().map(other).collect(), transport, ..self.clone() })
    }

    /// The same, logging as much as `level` says; from `debug` on a line for each command.
    #[must_use]
    pub fn logging(mut self, level: &str) -> Self {
        self.arguments.extend(["--log", level].map(OsString::from));
        self
    }

    /// Somebody else's model, by the command that serves it, as a shell would split it.
    ///
    /// # Errors
    /// The command is empty, or a quotation mark in it is never closed.
    pub fn command(text: &str, transport: Transport) -> Outcome<Self> {
        let words = shlex::split(text).filter(|words| !words.is_empty());
        let mut words = words.map(|words| words.into_iter().map(OsString::from)).ok_or_else(|| {
            Problem::usage(format!("{text:?} serves no device"))
                .because("it is empty, or a quotation mark in it is never closed")
                .so("name a program and its arguments, with {socket} where the path of the socket belongs")
        })?;
        let entrance = match text {
            text if text.contains(PATH) => Entrance::Path,
            text if text.contains(FD) => Entrance::Descriptor,
            _ => Entrance::Option,
        };
        let program = PathBuf::from(words.next().unwrap_or_default());
        let checker = program.clone();
        let arguments = words.collect();
        Ok(Self { program, arguments, entrance, transport, takes_faults: false, has_last_word: false, checker })
    }

    /// Its command, with `value` where it says that it wants it.
    fn with(&self, value: &str) -> Command {
        let mut command = Command::new(&self.program);
        for argument in &self.arguments {
            // What is no UTF-8 has no placeholder.
            match argument.to_str() {
                Some(text) => command.arg(text.replace(FD, value).replace(PATH, value)),
                None => command.arg(argument),
            };
        }
        if self.entrance == Entrance::Option {
            command.arg("--listen-fd").arg(value);
        }
        command
    }

    /// The text of a plan of faults that the user names, after the model has looked at it.
    ///
    /// # Errors
    /// There is no such file, or it is no plan: the user's mistake, with line and reason.
    pub fn checked_plan(&self, plan: &Path, interrupt: &Interrupt) -> Outcome<String> {
        let mistake = |why: String| {
            Problem::usage(format!("{} is no plan of faults", plan.display()))
                .because(why)
                .so("correct it: docs/your-device.md, \"Making it fail\", lists what a plan may say")
        };
        let text = std::fs::read_to_string(plan).map_err(|error| mistake(error.to_string()))?;
        let what = "the plan of faults cannot be checked";
        let tool = Tool::new(&self.checker, PLAN_CHECK).args(["check", "--transport", self.transport.name()]).args([plan]);
        let finished = tool.capture(interrupt).map_err(|error| error.problem(what, "run it again"))?;
        match finished.status.code() {
            Some(0) => Ok(text),
            Some(2) => {
                let named = format!("device-model: {}: ", plan.display());
                let said = finished.stderr.trim();
                Err(mistake(said.strip_prefix(&named).unwrap_or(said).to_owned()))
            }
            _ => Err(Problem::environment(what).because(complaint(&finished)).so("run it again")),
        }
    }
}

impl Model {
    /// Why it cannot fail as this plan of a test's says; `None`: it can. The plan's file is there.
    ///
    /// # Errors
    /// Whether it can cannot be found out.
    pub fn refusal(&self, plan: &Path, interrupt: &Interrupt) -> Outcome<Option<String>> {
        if !self.takes_faults {
            return Ok(Some("this device model takes no plan of faults".to_owned()));
        }
        if self.transport == Transport::VfioUser {
            return Ok(None);
        }
        let what = "the plan of faults of a test cannot be checked";
        let tool = Tool::new(&self.checker, PLAN_CHECK).args(["check", "--transport", self.transport.name()]).args([plan]);
        let finished = tool.capture(interrupt).map_err(|error| error.problem(what, "run it again"))?;
        match finished.status.code() {
            Some(0) => Ok(None),
            // The last thing that it says is the reason; before it stands the name of a file that is gone soon.
            Some(2) => Ok(Some(
                finished
                    .stderr
                    .trim()
                    .rsplit_once(": line ")
                    .map_or_else(|| finished.stderr.trim().to_owned(), |(_, reason)| format!("plan of faults, line {reason}")),
            )),
            _ => Err(Problem::environment(what).because(complaint(&finished)).so("run it again")),
        }
    }

    /// Starts it, and returns how.
    fn spawn(
        &self,
        entrance: &str,
        inherit: BorrowedFd<'_>,
        faults: Option<&Path>,
        recording: Option<&Recording>,
        log: &File,
    ) -> io::Result<Spawned> {
        let mut command = self.with(entrance);
        if let Some(recording) = recording {
            command.arg("--record").arg(&recording.file);
            for (name, value) in &recording.notes {
                command.arg("--note").arg(format!("{name}={value}"));
            }
        }
        match faults {
            Some(plan) if self.takes_faults => drop(command.arg("--faults").arg(plan)),
            Some(_) => return Err(io::Error::other("a test needs faults in the device, and this model takes no plan of faults")),
            None => {}
        }
        let (log, output) = Capped::new(log.try_clone()?)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let text = crate::qemu::as_text(&command);
        Ok(Spawned { process: Child::spawn(command, &[inherit], Signal::KILL)?, command: text, log })
    }
}

/// A process and its log.
struct Spawned {
    process: Child,
    command: Vec<String>,
    log: Capped,
}

/// A trace of what the device is asked and does.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The file to write.
    pub file: PathBuf,
    /// What the trace says of the run.
    pub notes: Vec<(&'static str, String)>,
}

/// A running device model.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub process: Child,
    /// How it was started.
    pub command: Vec<String>,
    // Behind the process: it ends when that has ended.
    log: Capped,
    door: OwnedFd,
    transport: Transport,
    /// It still has something to write when it is told to end: a trace or a verdict.
    pub has_last_word: bool,
}

impl Running {
    /// Starts `model`, with a plan of faults and a trace to write if there are any; what it says is appended to `log`. `folder` must be
    /// writable.
    ///
    /// # Errors
    /// The system's.
    pub fn start(
        model: &Model,
        faults: Option<&Path>,
        recording: Option<&Recording>,
        folder: &Path,
        log: &File,
    ) -> io::Result<Self> {
        let has_last_word = model.has_last_word || recording.is_some();
        if model.entrance == Entrance::Path {
            let place = socket::Place::new(folder)?;
            let Spawned { mut process, command, log } = model.spawn(&place.path(), place.directory(), faults, recording, log)?;
            let door = place.door(&mut process)?;
            return Ok(Self { process, command, log, door, transport: model.transport, has_last_word });
        }
        let (listener, door) = nameless_listener(folder)?;
        let entrance = listener.as_raw_fd().to_string();
        let Spawned { process, command, log } = model.spawn(&entrance, listener.as_fd(), faults, recording, log)?;
        Ok(Self { process, command, log, door, transport: model.transport, has_last_word })
    }

    /// It has ended: what it said last is in its log when this returns.
    pub fn settle_log(&self) {
        self.log.settle();
    }

    /// What QEMU connects through.
    #[must_use]
    pub fn door(&self) -> Door<'_> {
        Door { socket: self.door.as_fd(), transport: self.transport }
    }
}

/// What QEMU connects through, and how it speaks there.
#[derive(Clone, Copy, Debug)]
pub struct Door<'a> {
    /// A path-only descriptor of the socket that the device model listens on.
    pub socket: BorrowedFd<'a>,
    /// The protocol.
    pub transport: Transport,
}

impl Door<'_> {
    /// The path by which QEMU, which inherits the descriptor, connects.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.socket.as_raw_fd())
    }
}

/// A listening socket, and a path-only descriptor of it, after its name has been removed.
pub(crate) fn nameless_listener(folder: &Path) -> io::Result<(UnixListener, OwnedFd)> {
    let directory = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // A socket's address holds 108 bytes at most; through the descriptor, the folder's path may be as long as it likes.
    let address = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()));
    let listener = UnixListener::bind(&address)?;
    let door = rustix::fs::openat(&directory, SOCKET, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    rustix::fs::unlinkat(&directory, SOCKET, rustix::fs::AtFlags::empty())?;
    Ok((listener, door?))
}

/// Removes sockets that a killed harness left while they had names, which is until a model listens.
pub fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(socket::PREFIX) && was_left(&entry) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_peer_connects_through_the_door_although_the_socket_has_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let (listener, door) = nameless_listener(&deep).unwrap();
        assert_eq!(std::fs::read_dir(&deep).unwrap().count(), 0);
        let mut near = UnixStream::connect(format!("/proc/self/fd/{}", door.as_raw_fd())).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(b"x").unwrap();
        let mut byte = [0];
        far.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn a_command_says_where_it_wants_the_socket() {
        let words = |text: &str| crate::qemu::as_text(&Model::command(text, Transport::VfioUser).unwrap().with("X"));
        assert_eq!(words("edu 'my path' --at={socket}"), ["edu", "my path", "--at=X"]);
        assert_eq!(words("edu --fd {fd}"), ["edu", "--fd", "X"]);
        assert_eq!(words("edu"), ["edu", "--listen-fd", "X"]);
        for nonsense in ["", "  ", "edu 'unclosed"] {
            assert!(Model::command(nonsense, Transport::VfioUser).is_err(), "{nonsense:?}");
        }
    }
}
