//! One boot: the guest in QEMU, its device model, its log and its channel, watched together.
//!
//! [`Boot::next`] is the one place where a run waits. It returns what happened first: a message, the end of a process, a
//! signal, the deadline. What a dying guest said before its end is delivered before its end is.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use channel::{Ask, ToAgent, ToGuest};
use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;
use serde_json::json;

use super::agent::Preparation;
use super::late;
use super::link::{Link, Said};
use super::log::GuestLog;
use crate::bugcheck::BugCheck;
use crate::child::Child;
use crate::device::{Model, Recording, Running};
use crate::interrupt::{Interrupt, poll_until};
use crate::kd::host::{AtEnd, Host, KD_LOG};
use crate::memory::GuestMemory;
use crate::qemu::{Machine, Software, device_options};
use crate::qmp::{Qmp, QmpError};
use crate::setup::accelerator::Accelerator;
use crate::setup::qemu::Qemu;
use crate::slot::Slot;
use crate::symbols::Symbols;
use crate::windows::pc::{Disks, Pc};

/// How long a device model may take to end when it is asked to.
const MODEL_FAREWELL: Duration = Duration::from_secs(2);
/// How long a guest may take to let go of the device before it is put back, and how long nobody listens to it meanwhile.
const LEAVE: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(10);
/// How long a guest that hangs may take to stop for the debugger and be looked at.
const LOOK: Duration = Duration::from_secs(20);
/// How long after one process has ended another may need to notice, before the first is blamed.
const AFTERMATH: Duration = Duration::from_millis(500);

/// What is booted, and on what. The same for every boot of a run.
#[derive(Debug)]
pub struct Rig {
    /// Runs the guest.
    pub qemu: Qemu,
    /// Runs its instructions.
    pub accelerator: Accelerator,
    /// Number of processors.
    pub processors: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// The image: a kernel that needs no firmware, or the disk of `windows`.
    pub image: PathBuf,
    /// The kernel's command line.
    pub append: String,
    /// Where the kernel says which lines of its log it keeps in memory ([`super::late`]), if it keeps any.
    pub late_log: Option<u64>,
    /// Files for the guest, as one archive.
    pub archive: Option<OwnedFd>,
    /// The installed Windows, if it is one.
    pub windows: Option<Installed>,
    /// The device, if there is one.
    pub model: Option<Model>,
    /// Plan of faults for guests whose tests bring none of their own; empty for none.
    pub faults: String,
    /// Look on as a KD host on COM1, with these symbols for names.
    pub kd_host: Option<Symbols>,
}

/// An installed Windows.
#[derive(Debug)]
pub struct Installed {
    /// The machine that it is installed on.
    pub pc: Pc,
    /// How its agent makes it ready for the suite.
    pub preparation: Preparation,
}

/// What one boot is for, beyond what all boots of a run have.
#[derive(Debug)]
pub struct Mission {
    /// What the kernel's command line says of the framework verifier, if anything.
    pub verifier: Option<&'static str>,
    /// The device can be taken out and put back.
    pub removable: bool,
    /// Plan of faults for the device model.
    pub faults: Option<PathBuf>,
    /// Trace for the device model to write.
    pub recording: Option<Recording>,
}

/// Where a boot's logs go.
#[derive(Debug)]
pub struct Logs<'a> {
    /// The boot's folder.
    pub folder: &'a Path,
    /// The guest's log.
    pub guest: &'a File,
    /// What the device model says.
    pub device: &'a File,
    /// What QEMU says.
    pub qemu: &'a File,
}

/// What happened while waiting.
#[derive(Debug)]
pub enum Event {
    /// The guest said something.
    Said(Said),
    /// The KD host has seen a bug check; the guest's own report may follow.
    BugCheck(Box<BugCheck>),
    /// QEMU ended.
    QemuEnded(ExitStatus),
    /// The device model ended, and QEMU has not.
    ModelEnded(ExitStatus),
    /// A signal asks the harness to stop.
    Interrupted(u8),
    /// The time is over.
    Deadline,
}

/// A running guest. Dropping it kills QEMU and the device model.
#[derive(Debug)]
pub struct Boot<'a> {
    qemu: Child,
    model: Option<Running>,
    log: GuestLog,
    // After the log, whose end it waits for when it goes.
    kd_host: Option<Host>,
    link: Link,
    monitor: Qmp,
    slot: Option<Slot>,
    interrupt: &'a Interrupt,
    started: Instant,
    command: Vec<String>,
    folder: PathBuf,
    memory: GuestMemory,
    late_log: Option<u64>,
    scratch: Option<File>,
    is_answered: Option<Arc<AtomicBool>>,
}

impl<'a> Boot<'a> {
    /// Starts the device model, then QEMU. Must be called from a thread that lives as long as they may.
    ///
    /// # Errors
    /// The system's, with the name of what could not be started.
    pub fn start(
        rig: &Rig,
        mission: &Mission,
        logs: &Logs<'_>,
        interrupt: &'a Interrupt,
    ) -> Result<Self, (&'static str, io::Error)> {
        let of_model = |error| ("the device model", error);
        let of_qemu = |error| ("QEMU", error);
        let model = rig
            .model
            .as_ref()
            .map(|model| if mission.removable { model.removable() } else { Cow::Borrowed(model) })
            .map(|model| Running::start(&model, mission.faults.as_deref(), mission.recording.as_ref(), logs.folder, logs.device))
            .transpose()
            .map_err(of_model)?;
        let (log, com1) = UnixStream::pair().map_err(of_qemu)?;
        let (channel, com2) = UnixStream::pair().map_err(of_qemu)?;
        let words = [
            mission.verifier.map(|word| format!("verifier={word}")),
            rig.kd_host.as_ref().map(|_| "debug=com1,attached".to_owned()),
            rig.late_log.map(|_| late::WORD.to_owned()),
        ];
        let append = words.into_iter().flatten().fold(rig.append.clone(), |line, word| format!("{line} {word}"));
        let (log, kd_host) = match &rig.kd_host {
            Some(symbols) => {
                // ntlet ends its machine by itself; an installed system waits for the debugger's word.
                let at_end = if rig.windows.is_some() { AtEnd::Restart } else { AtEnd::GoOn };
                look_on(log, logs.folder, symbols.clone(), at_end).map(|(log, host)| (log, Some(host))).map_err(of_qemu)?
            }
            None => (log, None),
        };
        let memory = GuestMemory::new(rig.memory).map_err(of_qemu)?;
        let disks = rig.windows.as_ref().map(|windows| windows.pc.open(logs.folder)).transpose();
        let disks = disks.map_err(|error| ("the machine with its disks", error))?;
        let (monitor, qemus_monitor) = UnixStream::pair().map_err(of_qemu)?;
        let machine = Machine {
            accelerator: rig.accelerator,
            processors: rig.processors,
            memory: rig.memory,
            memory_file: memory.as_fd(),
            software: match &disks {
                None => {
                    Software::Kernel { image: &rig.image, append: &append, archive: rig.archive.as_ref().map(OwnedFd::as_fd) }
                }
                Some(disks) => Software::Disks(disks),
            },
            com1: com1.as_fd(),
            com2: com2.as_fd(),
            monitor: qemus_monitor.as_fd(),
            device: model.as_ref().map(Running::door),
        };
        let movable = model.as_ref().map(Running::door).filter(|door| door.transport.is_removable());
        let slot = movable.map(|door| Slot::new(device_options(door).1, &door));
        let started = Instant::now();
        let (qemu, command) = machine.start(&rig.qemu, logs.qemu).map_err(of_qemu)?;
        let file = logs.guest.try_clone().map_err(of_qemu)?;
        Ok(Self {
            qemu,
            model,
            log: GuestLog::new(log, file).map_err(of_qemu)?,
            kd_host,
            link: Link::new(channel).map_err(of_qemu)?,
            monitor: Qmp::new(monitor),
            slot,
            interrupt,
            started,
            command,
            folder: logs.folder.to_path_buf(),
            memory,
            late_log: rig.late_log,
            is_answered: disks.as_ref().and_then(Disks::is_answered),
            scratch: disks.and_then(Disks::into_scratch),
        })
    }

    /// The guest's memory, which stays after QEMU has gone.
    #[must_use]
    pub const fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// What each processor of a guest is at that a debugger looks on at; nothing, if there is none or it is not answered.
    #[must_use]
    pub fn look(&self) -> Vec<String> {
        self.kd_host.as_ref().map(|host| host.look(LOOK)).unwrap_or_default()
    }

    /// Whether the debugger that the guest calls has answered; yes, if it calls none.
    #[must_use]
    pub fn debugger_has_answered(&self) -> bool {
        self.is_answered.as_ref().is_none_or(|is_answered| is_answered.load(Ordering::SeqCst))
    }

    /// The disk on which an installed guest leaves what is fetched from it.
    #[must_use]
    pub const fn scratch(&self) -> Option<&File> {
        self.scratch.as_ref()
    }

    /// Hands COM1 over to somebody else: nothing of it goes into the log any more.
    ///
    /// # Errors
    /// The system's.
    pub fn take_com1(&mut self) -> io::Result<UnixStream> {
        self.log.hand_over()
    }

    /// Puts the lines that the guest kept in its memory behind those that it wrote. Once, when nothing of it is waited for any more.
    pub fn take_late_log(&mut self) {
        if let Some(place) = self.late_log.take() {
            self.log.drain();
            self.log.add(&late::lines(&self.memory, place));
        }
    }

    /// QEMU's monitor.
    pub fn monitor(&mut self) -> &mut Qmp {
        &mut self.monitor
    }

    /// After a bug check: lets the guest finish what it does at its end and end QEMU, or ends QEMU.
    pub fn finish_bug_check(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !matches!(self.next(deadline), Event::QemuEnded(_) | Event::ModelEnded(_) | Event::Interrupted(_) | Event::Deadline)
        {
        }
        self.qemu.kill();
    }

    /// Sends a message to the guest.
    ///
    /// # Errors
    /// It is longer than a frame may be.
    pub fn send(&mut self, message: &ToGuest<'_>) -> Result<(), channel::FrameError> {
        self.link.send(message)
    }

    /// Sends a message to the guest's agent.
    ///
    /// # Errors
    /// It is longer than a frame may be.
    pub fn send_to_agent(&mut self, message: &ToAgent<'_>) -> Result<(), channel::FrameError> {
        self.link.send_to_agent(message)
    }

    /// Whether what was sent has left.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        !self.link.wants_to_send()
    }

    /// Does to the machine what the running test asks for. Returns once it has begun.
    ///
    /// # Errors
    /// QEMU's reason.
    pub fn perform(&mut self, ask: Ask) -> Result<(), QmpError> {
        let monitor = &mut self.monitor;
        // The guest talks while it lets go of the device, and stands still when nobody listens.
        if let (Ask::Plug, Some(slot)) = (ask, &mut self.slot) {
            let deadline = Instant::now() + LEAVE;
            while !slot.is_free(monitor, MOMENT)? {
                if Instant::now() > deadline {
                    return Err(QmpError::Nonsense(format!("the guest kept the device for {} s", LEAVE.as_secs())));
                }
                self.log.drain();
                self.link.drain();
            }
        }
        match (ask, &mut self.slot) {
            (Ask::Wake, _) => monitor.execute("system_wakeup", &json!({})).map(drop),
            (Ask::Eject, Some(slot)) => slot.eject(monitor),
            (Ask::Unplug, Some(slot)) => slot.unplug(monitor),
            (Ask::Plug, Some(slot)) => slot.plug(monitor),
            (_, None) => Err(QmpError::Nonsense("this machine has no device that can be taken out and put back".to_owned())),
        }
    }

    /// Waits for the next event.
    pub fn next(&mut self, deadline: Instant) -> Event {
        loop {
            if let Some(signal) = self.interrupt.pending() {
                return Event::Interrupted(signal);
            }
            if let Some(said) = self.link.receive() {
                return Event::Said(said);
            }
            if let Some(report) = self.kd_host.as_ref().and_then(Host::take_bug_check) {
                return Event::BugCheck(report);
            }
            if let Some(event) = self.ended() {
                return event;
            }
            if !self.wait(deadline) {
                return Event::Deadline;
            }
            // The log first: what the guest logged before it sent a message is then in the log before the message counts.
            self.log.drain();
            self.link.drain();
            self.link.flush();
        }
    }

    /// The guest's log.
    #[must_use]
    pub const fn log(&self) -> &GuestLog {
        &self.log
    }

    /// The boot's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Damaged frames so far.
    #[must_use]
    pub const fn damaged_frames(&self) -> u64 {
        self.link.damaged()
    }

    /// When QEMU was started.
    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// How QEMU was started.
    #[must_use]
    pub fn qemu_command(&self) -> Vec<String> {
        self.command.clone()
    }

    /// How the device model was started.
    #[must_use]
    pub fn model_command(&self) -> Vec<String> {
        self.model.as_ref().map(|model| model.command.clone()).unwrap_or_default()
    }

    /// After QEMU has ended in order: lets the device model end, too. `None`: it did, or there is none.
    pub fn model_farewell(&mut self) -> Option<String> {
        let model = self.model.as_mut()?;
        model.process.signal(Signal::TERM);
        let deadline = Instant::now() + MODEL_FAREWELL;
        match model.process.wait(deadline, self.interrupt) {
            crate::child::Waited::Ended(status) if status.success() => None,
            crate::child::Waited::Ended(status) => {
                Some(format!("the device model ended with {}", crate::child::describe(status)))
            }
            _ => {
                model.process.kill();
                Some(format!("the device model did not end within {} s after QEMU had gone", MODEL_FAREWELL.as_secs()))
            }
        }
    }

    /// Ends what still runs. A device model that has a trace or a verdict to finish does so first.
    pub fn conclude(&mut self) {
        self.qemu.kill();
        if self.model.as_ref().is_some_and(|model| model.has_last_word) {
            let _ = self.model_farewell();
        }
    }

    /// Whether a process has ended, after its last words have been taken.
    fn ended(&mut self) -> Option<Event> {
        let qemu = self.qemu.try_status();
        let model = self.model.as_mut().and_then(|model| model.process.try_status());
        match (qemu, model) {
            (None, None) => None,
            (None, Some(status)) => Some(self.model_ended(status)),
            (Some(qemu), model) => self.qemu_ended(qemu, model),
        }
    }

    /// The model has ended first. It also ends, in order, when QEMU goes; then QEMU's end is the cause and about to be seen.
    fn model_ended(&mut self, status: ExitStatus) -> Event {
        if status.success()
            && let crate::child::Waited::Ended(status) = self.qemu.wait(Instant::now() + AFTERMATH, self.interrupt)
        {
            return Event::QemuEnded(status);
        }
        self.model_gone(status)
    }

    /// The model's end is the cause: its log is read next.
    fn model_gone(&self, status: ExitStatus) -> Event {
        self.model.iter().for_each(Running::settle_log);
        Event::ModelEnded(status)
    }

    /// QEMU has ended. When the model did so too, and not in order, it pulled QEMU down.
    fn qemu_ended(&mut self, qemu: ExitStatus, model: Option<ExitStatus>) -> Option<Event> {
        if self.log.is_open() || self.link.is_open() {
            self.log.drain();
            self.link.drain();
            // Messages first; the next call comes back here.
            if let Some(said) = self.link.receive() {
                return Some(Event::Said(said));
            }
        }
        let guest_ended_it = qemu.code().is_some_and(|code| code % 2 == 1 && code > 1);
        match model.filter(|status| !status.success() && !guest_ended_it) {
            Some(status) => Some(self.model_gone(status)),
            None => Some(Event::QemuEnded(qemu)),
        }
    }

    /// Waits until something is worth looking at; `false` at the deadline.
    fn wait(&self, deadline: Instant) -> bool {
        let mut sources = vec![PollFd::new(self.interrupt, PollFlags::IN), PollFd::new(&self.qemu, PollFlags::IN)];
        if self.log.is_open() {
            sources.push(PollFd::new(&self.log, PollFlags::IN));
        }
        if self.link.is_open() {
            let out = if self.link.wants_to_send() { PollFlags::OUT } else { PollFlags::empty() };
            sources.push(PollFd::new(&self.link, PollFlags::IN | out));
        }
        if let Some(host) = &self.kd_host {
            sources.push(PollFd::new(host, PollFlags::IN));
        }
        if let Some(model) = &self.model {
            sources.push(PollFd::new(&model.process, PollFlags::IN));
        }
        poll_until(&mut sources, Some(deadline))
    }
}

/// Puts a KD host between the guest's COM1 and its log.
fn look_on(com1: UnixStream, folder: &Path, symbols: Symbols, at_end: AtEnd) -> io::Result<(UnixStream, Host)> {
    let (log, text) = UnixStream::pair()?;
    let file = File::options().create_new(true).append(true).open(folder.join(KD_LOG))?;
    Ok((log, Host::attach(com1, text, file, symbols, at_end)?))
}
