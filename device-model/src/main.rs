//! The `device-model` program: one device on one socket. Exit status 0 after a clean stop, 2 for a wrong command line, 3 when the
//! environment does not let it serve; 1 when a driver did something else than the trace that it met.

mod tap;

use std::fs::File;
use std::io::{BufReader, IsTerminal, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use device_model::cli::{Arguments, Configuration, DeviceKind, Replay, Task, Transport};
use device_model::device::Device;
use device_model::fault::{Faulty, FaultyVirtio, Kind, Plan};
use device_model::pci::Function;
use device_model::process;
use device_model::relay::RelayDevice;
use device_model::sandbox;
use device_model::serve::{SocketFile, announce, inherited, invitation, listen, vfio_user, vhost_user};
use device_model::trace::replay::{Outcome, ReplayBus, ReplayVirtio, Story, Verdict};
use device_model::trace::{Compression, Level, Reader, Recorder, RecordingVirtio, Trace, virtio_header};
use device_model::virtio::pci::VirtioPci;
use device_model::virtio::{Shared, VirtioDevice};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;

const BAD_USAGE: u8 = 2;
const BAD_ENVIRONMENT: u8 = 3;

/// The driver did something else than recorded.
const DIVERGED: u8 = 1;

fn main() -> ExitCode {
    // clap itself ends the process with status 2.
    let task = match Task::try_from(Arguments::parse()) {
        Ok(task @ (Task::Serve(_) | Task::Tap(_))) => task,
        Ok(Task::Nothing) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("device-model: {error}");
            return ExitCode::from(BAD_USAGE);
        }
    };
    let log = |level| {
        let colours = std::io::stderr().is_terminal();
        tracing_subscriber::fmt().with_max_level(level).with_ansi(colours).with_writer(std::io::stderr).init();
    };
    let outcome = match task {
        Task::Serve(configuration) => {
            log(configuration.log);
            serve(&configuration)
        }
        Task::Tap(arguments) => {
            log(arguments.log);
            tap::perform(&arguments)
        }
        Task::Nothing => Ok(ExitCode::SUCCESS),
    };
    match outcome {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("device-model: {error}");
            ExitCode::from(BAD_ENVIRONMENT)
        }
    }
}

fn serve(configuration: &Configuration) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let stop = process::stop_signals()?;
    process::survive_shortened_memory()?;
    if let Some(expected) = configuration.die_with_parent {
        process::die_with_parent(expected)?;
    }
    let (listener, socket_file) = match configuration.listen_fd {
        Some(fd) => (inherited(fd)?, None),
        None => listen(&configuration.socket).map(|(listener, file)| (listener, Some(file)))?,
    };
    let trace = configuration.record.as_ref().map(|path| begin_trace(path, configuration)).transpose()?;
    // Which folder this is cannot be asked in the sandbox.
    let invitation = invitation_to(configuration);
    let begin = || -> Result<(), Box<dyn std::error::Error>> {
        if configuration.sandbox {
            sandbox::enter(socket_file.as_ref().map(SocketFile::path))?;
        }
        Ok(announce(&configuration.socket, &invitation)?)
    };
    if let Some(replay) = &configuration.replay {
        return tell(replay, configuration, listener, begin, stop.as_fd());
    }
    match (configuration.transport, configuration.device) {
        (_, DeviceKind::Trace) => return Err("a recorded device needs --replay TRACE".into()),
        (Transport::VfioUser, DeviceKind::Relay) => {
            let mut server = vfio_user::Server::new();
            server.add("relay", listener, Function::new(relay(&configuration.faults, trace.as_ref())?)?)?;
            begin()?;
            server.run(stop.as_fd())?;
        }
        (Transport::VhostUser, DeviceKind::Relay) => {
            begin()?;
            let plan = &configuration.faults;
            let faulty = || FaultyVirtio::new(RelayDevice::new(), plan);
            match (&trace, plan.faults.is_empty()) {
                (None, true) => vhost_user::serve(&listener, RelayDevice::new, stop.as_fd())?,
                (None, false) => vhost_user::serve(&listener, faulty, stop.as_fd())?,
                (Some(trace), _) => vhost_user::serve(&listener, || RecordingVirtio::new(faulty(), trace.clone()), stop.as_fd())?,
            }
        }
    }
    if let Some(trace) = trace {
        trace.finish().map_err(|error| format!("the trace cannot be finished: {error}"))?;
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// The relay hardware on PCI, with the faults of the plan if it has any.
fn relay(plan: &Plan, trace: Option<&Trace>) -> std::io::Result<Box<dyn Device>> {
    let device = RelayDevice::with_status_page()?;
    let Some(trace) = trace else { return Ok(on_pci(device, plan)) };
    // What is recorded is what the driver sees: faults are inside.
    let recorded = RecordingVirtio::new(FaultyVirtio::new(device, plan), trace.clone());
    Ok(Box::new(Recorder::beside_chains(Faulty::new(VirtioPci::new(recorded), plan), trace.clone())))
}

fn on_pci(device: impl VirtioDevice + 'static, plan: &Plan) -> Box<dyn Device> {
    if plan.faults.is_empty() {
        return Box::new(VirtioPci::new(device));
    }
    Box::new(Faulty::new(VirtioPci::new(FaultyVirtio::new(device, plan)), plan))
}

/// Open the trace, before files are out of reach.
fn begin_trace(path: &Path, configuration: &Configuration) -> Result<Trace, String> {
    let mut header = virtio_header("relay", RelayDevice::new());
    header.notes.extend(configuration.notes.iter().cloned());
    File::create(path)
        .and_then(|file| Trace::new(file, &header, Compression::None))
        .map_err(|error| format!("--record {}: {error}", path.display()))
}

/// Serve a recorded device until the driver diverges or all is over.
fn tell(
    replay: &Replay,
    configuration: &Configuration,
    listener: UnixListener,
    begin: impl FnOnce() -> Result<(), Box<dyn std::error::Error>>,
    stop: BorrowedFd<'_>,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let named = |error: &dyn std::fmt::Display| format!("--replay {}: {error}", replay.trace.display());
    let file = File::open(&replay.trace).map_err(|error| named(&error))?;
    let mut reader = Reader::new(BufReader::new(file)).map_err(|error| named(&error))?;
    let story = Arc::new(Story::read(&mut reader).map_err(|error| named(&error))?);
    let mut report = replay.verdict.as_deref().map(Report::open).transpose()?;
    let verdict = Verdict::new()?;
    let ready = either(stop, verdict.divergence())?;
    let Replay { mode, rules, .. } = replay;
    // What happens to queues is in the trace.
    let plan = configuration.faults.without(Kind::is_of_a_queue);
    if story.header().level == Level::Bus {
        if configuration.transport == Transport::VhostUser {
            return Err(named(&"it was recorded at the bus, and a device on vhost-user is virtio: replay it on vfio-user").into());
        }
        let device =
            ReplayBus::new(story.clone(), *mode, rules.clone(), verdict.clone()).ok_or("the level was just looked at")?;
        serve_function(Box::new(device), listener, begin, ready.as_fd())?;
    } else {
        let device = ReplayVirtio::new(story.clone(), *mode, rules.clone(), verdict.clone())
            .ok_or_else(|| named(&"it says of itself what no virtio device can be"))?;
        match configuration.transport {
            Transport::VfioUser => serve_function(on_pci(device, &plan), listener, begin, ready.as_fd())?,
            Transport::VhostUser => {
                begin()?;
                // A machine that takes the device out and puts it back goes on where it was.
                let device = Shared::new(device);
                vhost_user::serve(&listener, || device.clone(), ready.as_fd())?;
            }
        }
    }
    // The device is gone, so that it has said its last word.
    let outcome = verdict.outcome();
    outcome.lines().iter().for_each(|line| eprintln!("{line}"));
    if let Some(report) = &mut report {
        report.write(&outcome)?;
    }
    Ok(if outcome.diverged { ExitCode::from(DIVERGED) } else { ExitCode::SUCCESS })
}

/// The file that the outcome goes into.
struct Report {
    file: File,
    /// What another guest of the same replay has left there.
    earlier: Option<Outcome>,
}

impl Report {
    fn open(path: &Path) -> std::io::Result<Self> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(Self { file, earlier: serde_json::from_str(&text).ok() })
    }

    fn write(&mut self, outcome: &Outcome) -> std::io::Result<()> {
        let text = serde_json::to_vec(&outcome.clone().after(self.earlier.take()))?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(&text)
    }
}

/// Serve a device on PCI until all is over; it is gone afterwards.
fn serve_function(
    device: Box<dyn Device>,
    listener: UnixListener,
    begin: impl FnOnce() -> Result<(), Box<dyn std::error::Error>>,
    stop: BorrowedFd<'_>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut server = vfio_user::Server::new();
    server.add("trace", listener, Function::new(device)?)?;
    begin()?;
    Ok(server.run(stop)?)
}

/// A descriptor that is readable when one of two is.
fn either(stop: BorrowedFd<'_>, other: &EventFd) -> std::io::Result<OwnedFd> {
    let both = Epoll::new()?;
    for fd in [stop.as_raw_fd(), other.as_raw_fd()] {
        both.ctl(ControlOperation::Add, fd, EpollEvent::new(EventSet::IN, 0))?;
    }
    // SAFETY: the descriptor is a new one of this process, and the epoll object that owned it is forgotten.
    let owned = unsafe { OwnedFd::from_raw_fd(both.as_raw_fd()) };
    std::mem::forget(both);
    Ok(owned)
}

/// How to connect. Whoever hands down a socket that listens already knows better.
fn invitation_to(configuration: &Configuration) -> String {
    match (configuration.listen_fd, configuration.transport) {
        (Some(_), _) => String::new(),
        (None, Transport::VfioUser) => invitation::to_vfio_user(&configuration.socket),
        (None, Transport::VhostUser) => invitation::to_vhost_user(&configuration.socket, &RelayDevice::new()),
    }
}
