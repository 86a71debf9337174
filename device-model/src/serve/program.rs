//! The whole `main` of a program that serves a device of one's own: one call, and the program has a socket, faults, a log, a trace and a sandbox.
//!
//! Such a program takes the path of its socket, and the options that `--help` lists. It ends with status 0 after SIGTERM or SIGINT, 2 for a wrong
//! command line, 3 when the environment does not let it serve.

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use super::{ListenError, SocketFile, announce, inherited, invitation, listen, vfio_user, vhost_user};
use crate::cli::{Transport, UsageError, level, note, possible_on, read_plan};
use crate::device::Device;
use crate::fault::{Faulty, FaultyVirtio, Kind, Plan};
use crate::pci::Function;
use crate::trace::{Compression, Header, Recorder, RecordingVirtio, Trace, virtio_header};
use crate::virtio::VirtioDevice;
use crate::virtio::pci::VirtioPci;
use crate::{process, sandbox};

/// Serves one device on a socket until SIGTERM or SIGINT. Prints `ready SOCKET` when a virtual machine can connect, and how.
#[derive(Debug, Parser)]
struct Arguments {
    /// Path of the Unix socket to create.
    #[arg(required_unless_present = "listen_fd", conflicts_with = "listen_fd")]
    socket: Option<PathBuf>,
    /// Number of an inherited descriptor: a Unix socket that listens already.
    #[arg(long, value_name = "FD", value_parser = clap::value_parser!(i32).range(3..))]
    listen_fd: Option<i32>,
    /// How the virtual machine speaks to the device.
    #[arg(long, value_enum, default_value_t = Transport::VfioUser)]
    transport: Transport,
    /// TOML file that says which faults to inject, and when.
    #[arg(long, value_name = "PLAN")]
    faults: Option<PathBuf>,
    /// File to write a trace of all that the device is asked and does to.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// What the trace shall say of the recording, as NAME=VALUE; can be given again.
    #[arg(long, value_name = "NAME=VALUE", requires = "record", value_parser = note)]
    note: Vec<(String, String)>,
    /// What to log on standard error: off, error, warn, info, debug, or trace (each access). Without a level: trace.
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, default_value = "info", default_missing_value = "trace")]
    log: String,
    /// Serve without giving up access to files, networks and programs: for strace and the like.
    #[arg(long)]
    no_sandbox: bool,
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The `main` of a program that serves `device` on a vfio-user socket.
pub fn device(device: impl Device + 'static) -> ExitCode {
    run(|arguments| {
        if arguments.transport != Transport::VfioUser {
            return Err(UsageError::NotVirtio.into());
        }
        let plan = arguments.plan(|kind| {
            if kind.is_of_a_queue() { Err("the device has no virtqueues that this could happen to") } else { Ok(()) }
        })?;
        let trace = arguments.trace(|name| Header::of_device(name, &device.identity()))?;
        // What is recorded is what the driver sees: faults are inside.
        match (plan.faults.is_empty(), &trace) {
            (true, None) => arguments.serve_pci(device),
            (true, Some(trace)) => arguments.serve_pci(Recorder::new(device, trace.clone())),
            (false, None) => arguments.serve_pci(Faulty::new(device, &plan)),
            (false, Some(trace)) => arguments.serve_pci(Recorder::new(Faulty::new(device, &plan), trace.clone())),
        }?;
        finish(trace)
    })
}

/// The `main` of a program that serves the virtio device that `device` makes, on either transport.
pub fn virtio<V: VirtioDevice + 'static>(device: impl Fn() -> V) -> ExitCode {
    run(|arguments| {
        let transport = arguments.transport;
        let plan = arguments.plan(|kind| possible_on(transport, kind))?;
        let faulty = || FaultyVirtio::new(device(), &plan);
        let trace = arguments.trace(|name| virtio_header(name, device()))?;
        match (transport, plan.faults.is_empty(), &trace) {
            (Transport::VfioUser, true, None) => arguments.serve_pci(VirtioPci::new(device())),
            (Transport::VfioUser, false, None) => arguments.serve_pci(Faulty::new(VirtioPci::new(faulty()), &plan)),
            (Transport::VfioUser, _, Some(trace)) => {
                let recorded = VirtioPci::new(RecordingVirtio::new(faulty(), trace.clone()));
                arguments.serve_pci(Recorder::beside_chains(Faulty::new(recorded, &plan), trace.clone()))
            }
            (Transport::VhostUser, true, None) => arguments.serve_virtio(device),
            (Transport::VhostUser, false, None) => arguments.serve_virtio(faulty),
            (Transport::VhostUser, _, Some(trace)) => arguments.serve_virtio(|| RecordingVirtio::new(faulty(), trace.clone())),
        }?;
        finish(trace)
    })
}

/// Write what the trace still lacks.
fn finish(trace: Option<Trace>) -> Outcome {
    let Some(trace) = trace else { return Ok(()) };
    trace.finish().map_err(|error| format!("the trace cannot be finished: {error}").into())
}

fn run(serve: impl FnOnce(&Arguments) -> Outcome) -> ExitCode {
    // clap itself ends the process with status 2.
    let arguments = Arguments::parse();
    let outcome = level(&arguments.log).map_err(Into::into).and_then(|level| {
        let colours = std::io::stderr().is_terminal();
        tracing_subscriber::fmt().with_max_level(level).with_ansi(colours).with_writer(std::io::stderr).init();
        serve(&arguments)
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if error.is::<UsageError>() { 2 } else { 3 })
        }
    }
}

impl Arguments {
    fn plan(&self, possible: impl Fn(Kind) -> Result<(), &'static str>) -> Result<Plan, UsageError> {
        self.faults.as_deref().map_or_else(|| Ok(Plan::default()), |path| read_plan(path, possible))
    }

    /// Begin the trace, before files are out of reach.
    fn trace(&self, header: impl FnOnce(&str) -> Header) -> Result<Option<Trace>, String> {
        let Some(path) = &self.record else { return Ok(None) };
        let program = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
        let name = program.file_stem().map_or_else(|| "device".into(), |name| name.to_string_lossy());
        let mut header = header(&name);
        header.notes.extend(self.note.iter().cloned());
        File::create(path)
            .and_then(|file| Trace::new(file, &header, Compression::None))
            .map(Some)
            .map_err(|error| format!("--record {}: {error}", path.display()))
    }

    fn serve_pci(&self, device: impl Device + 'static) -> Outcome {
        let stop = process::stop_signals()?;
        process::survive_shortened_memory()?;
        let (listener, file) = self.listen()?;
        let mut server = vfio_user::Server::new();
        server.add("device", listener, Function::new(Box::new(device))?)?;
        self.begin(file.as_ref(), invitation::to_vfio_user)?;
        Ok(server.run(stop.as_fd())?)
    }

    fn serve_virtio<V: VirtioDevice + 'static>(&self, device: impl Fn() -> V) -> Outcome {
        let stop = process::stop_signals()?;
        process::survive_shortened_memory()?;
        let (listener, file) = self.listen()?;
        self.begin(file.as_ref(), |socket| invitation::to_vhost_user(socket, &device()))?;
        Ok(vhost_user::serve(&listener, device, stop.as_fd())?)
    }

    /// The socket, and its file if this process made it.
    fn listen(&self) -> Result<(UnixListener, Option<SocketFile>), ListenError> {
        match (self.listen_fd, &self.socket) {
            (Some(fd), _) => Ok((inherited(fd)?, None)),
            (None, socket) => {
                let (listener, file) = listen(socket.as_deref().unwrap_or(Path::new("device.sock")))?;
                Ok((listener, Some(file)))
            }
        }
    }

    /// All is open: give up what serving does not need, and invite whoever does not know of the socket yet.
    fn begin(&self, file: Option<&SocketFile>, invitation: impl FnOnce(&Path) -> String) -> Outcome {
        // Which folder this is cannot be asked in the sandbox.
        let invitation = file.map(|file| invitation(file.path()));
        if !self.no_sandbox {
            sandbox::enter(file.map(SocketFile::path))?;
        }
        let (Some(file), Some(invitation)) = (file, invitation) else { return Ok(()) };
        Ok(announce(file.path(), &invitation)?)
    }
}
