//! A tap: stands between a vfio-user client and a server, passes all that they say to each other, and writes a trace of it.
//!
//! It changes two things, so that there is something to record. Descriptors of guest memory are withheld from the server, which then asks for
//! each transfer by a message; a server that refuses memory without a descriptor gets it, and its transfers are not in the trace. Registers
//! that the client could map are not offered for mapping. Interrupts pass through descriptors of the tap's own.

mod device;
mod recording;
mod stream;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use vfio_bindings::bindings::vfio::*;
use vmm_sys_util::eventfd::EventFd;
use zerocopy::{FromBytes, IntoBytes};

use self::recording::Recording;
use self::stream::{End, FULL, Message};
use crate::serve::vfio_user::irqs::make_nonblocking;
use crate::serve::vfio_user::message::{
    FLAG_ERROR, FLAG_NO_REPLY, FLAG_REPLY, FLAG_TYPE, HEADER_SIZE, Header, RegionInfo, SetIrqs, command,
};

/// The server reads the client's memory.
const DMA_READ: u16 = 11;
/// The server writes it.
const DMA_WRITE: u16 = 12;

/// Most interrupts that are passed on: a few more than a device has.
const MOST_WIRES: usize = 2048 + 8;

/// How long the rest of a message may take. Between messages, each side may be silent for as long as it likes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What becomes of descriptors of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestMemory {
    /// They are withheld, unless the server refuses memory without.
    Withheld,
    /// They are passed on: the device's accesses to memory are not in the trace.
    Passed,
}

/// How a tapped connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The tap was told to stop.
    Stopped,
    /// The client has gone.
    ClientGone,
    /// The server has gone while the client was there.
    ServerGone,
}

/// An interrupt on its way: the server signals one descriptor, the tap the other.
struct Wire {
    index: u32,
    line: u32,
    from_server: EventFd,
    to_client: OwnedFd,
}

/// A tapped connection.
pub struct Tap {
    client: End,
    server: End,
    recording: Recording,
    memory: GuestMemory,
    /// Whether a server has taken memory without a descriptor.
    withholding_works: bool,
    /// A mapping that the server was told of without its descriptor, before anything was known of the server.
    tried: Option<Message>,
    wires: Vec<Wire>,
    patience: Duration,
    /// It has been said that interrupts pass which are not in the trace.
    is_short_of_wires: bool,
}

impl Tap {
    /// A tap between two streams that writes its trace to `out`. `name` and `notes` go into the trace's header.
    pub fn new(
        client: UnixStream,
        server: UnixStream,
        out: File,
        name: &str,
        notes: Vec<(String, String)>,
        memory: GuestMemory,
    ) -> Self {
        Self {
            client: End::new(client),
            server: End::new(server),
            recording: Recording::new(out, name, notes),
            memory,
            withholding_works: false,
            tried: None,
            wires: Vec::new(),
            patience: PATIENCE,
            is_short_of_wires: false,
        }
    }

    /// Pass on what comes until one side has gone or `stop` becomes readable; then the trace is whole.
    ///
    /// # Errors
    /// A stream that cannot be followed; the trace's file. What was recorded before is in the trace.
    pub fn run(mut self, stop: BorrowedFd<'_>) -> io::Result<Ended> {
        let ended = self.pass(stop);
        let finished = self.recording.finish();
        let ended = ended?;
        finished.map(|()| ended)
    }

    fn pass(&mut self, stop: BorrowedFd<'_>) -> io::Result<Ended> {
        let mut polled = Vec::new();
        loop {
            self.wait(stop, &mut polled)?;
            if polled[0].revents != 0 {
                return Ok(Ended::Stopped);
            }
            if polled[2].revents & !libc::POLLOUT != 0 {
                self.server.read()?;
            }
            self.pass_servers()?;
            // What the device wrote to memory before it interrupted has been passed on first.
            self.signal(&polled[3..]);
            if polled[1].revents & !libc::POLLOUT != 0 {
                self.client.read()?;
            }
            self.pass_clients()?;
            self.server.flush()?;
            self.client.flush()?;
            if self.client.is_closed {
                return Ok(Ended::ClientGone);
            }
            if self.server.is_closed {
                return Ok(Ended::ServerGone);
            }
        }
    }

    fn wait(&self, stop: BorrowedFd<'_>, polled: &mut Vec<libc::pollfd>) -> io::Result<()> {
        let entry = |fd: BorrowedFd<'_>, events| libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
        // Whoever does not read what the other has said is not listened to.
        let is_heard = |end: &End, other: &End| other.waiting() < FULL && !end.is_full();
        let events = |end: &End, other: &End| {
            let reading = if is_heard(end, other) { libc::POLLIN } else { 0 };
            reading | if end.waiting() > 0 { libc::POLLOUT } else { 0 }
        };
        let mut patience = -1;
        for (end, other) in [(&self.client, &self.server), (&self.server, &self.client)] {
            if is_heard(end, other) && end.is_cut() {
                end.check(self.patience)?;
                patience = self.patience.as_millis().try_into().unwrap_or(libc::c_int::MAX);
            }
        }
        polled.clear();
        polled.push(entry(stop, libc::POLLIN));
        polled.push(entry(self.client.stream.as_fd(), events(&self.client, &self.server)));
        polled.push(entry(self.server.stream.as_fd(), events(&self.server, &self.client)));
        polled.extend(self.wires.iter().map(|wire| libc::pollfd {
            fd: wire.from_server.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        }));
        // SAFETY: the array is valid for its length.
        let ready = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, patience) };
        match io::Error::last_os_error() {
            error if ready < 0 && error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Pass on interrupts that have been signalled.
    fn signal(&mut self, polled: &[libc::pollfd]) {
        for (wire, _) in self.wires.iter().zip(polled).filter(|(_, polled)| polled.revents != 0) {
            // The server has made it non-blocking, if it is one of ours; a count of several interrupts is one to a client, too.
            let Ok(_) = wire.from_server.read() else { continue };
            self.recording.interrupt(wire.index, wire.line);
            let one = 1_u64.to_ne_bytes();
            // SAFETY: the buffer is valid for reads of its length.
            let written = unsafe { libc::write(wire.to_client.as_raw_fd(), one.as_ptr().cast(), one.len()) };
            if written < 0 {
                tracing::debug!(error = %io::Error::last_os_error(), "an interrupt could not be passed on");
            }
        }
    }

    fn pass_clients(&mut self) -> io::Result<()> {
        loop {
            // Nothing but a reply overtakes a mapping whose fate is not known.
            let free = self.tried.is_none();
            let Some(mut message) = self.client.next(|header| free || header.flags & FLAG_TYPE == FLAG_REPLY)? else {
                return Ok(());
            };
            if message.is_reply() {
                self.recording.client_reply(&message);
                self.server.push(message)?;
                continue;
            }
            self.recording.command(&message);
            match message.header().command {
                command::DMA_MAP => self.withhold(&mut message),
                command::SET_IRQS => self.rewire(&mut message),
                _ => {}
            }
            self.server.push(message)?;
        }
    }

    /// Take the descriptor of guest memory off a mapping.
    fn withhold(&mut self, message: &mut Message) {
        if self.memory == GuestMemory::Passed || message.fds.is_empty() {
            return;
        }
        if message.header().flags & FLAG_NO_REPLY != 0 && !self.withholding_works {
            // Whether the server took it could not be told.
            self.pass_memory("the client wants no answer to its first mapping");
            return;
        }
        let fds = std::mem::take(&mut message.fds);
        if !self.withholding_works {
            self.tried = Some(Message { bytes: message.bytes.clone(), fds });
        }
    }

    fn pass_memory(&mut self, why: &str) {
        self.memory = GuestMemory::Passed;
        tracing::warn!("{why}: memory is shared with the server, and what the device reads and writes there is not in the trace");
    }

    fn pass_servers(&mut self) -> io::Result<()> {
        while let Some(mut message) = self.server.next(|_| true)? {
            if !message.is_reply() {
                self.recording.server_command(&message);
                self.client.push(message)?;
                continue;
            }
            let header = message.header();
            if let Some(tried) = self.tried.take_if(|tried| tried.header().id == header.id) {
                if header.flags & FLAG_ERROR != 0 {
                    self.pass_memory("the server takes no memory without a descriptor");
                    self.server.push(tried)?;
                    continue;
                }
                self.withholding_works = true;
            }
            self.recording.reply(&message);
            if header.command == command::GET_REGION_INFO {
                trap(&mut message);
            }
            self.client.push(message)?;
        }
        Ok(())
    }

    /// Put a descriptor of the tap's own in the place of each that the server is to signal.
    fn rewire(&mut self, message: &mut Message) {
        let Ok((request, _)) = SetIrqs::read_from_prefix(message.body()) else { return };
        let SetIrqs { flags, index, start, count, .. } = request;
        let (action, data) = (flags & VFIO_IRQ_SET_ACTION_TYPE_MASK, flags & VFIO_IRQ_SET_DATA_TYPE_MASK);
        if action == VFIO_IRQ_SET_ACTION_UNMASK && index == VFIO_PCI_INTX_IRQ_INDEX {
            self.recording.pin_was_unmasked();
        }
        if action != VFIO_IRQ_SET_ACTION_TRIGGER {
            return;
        }
        let end = start.saturating_add(count);
        if data == VFIO_IRQ_SET_DATA_EVENTFD {
            self.wires.retain(|wire| wire.index != index || !(start..end).contains(&wire.line));
            for (line, fd) in (start..=u32::MAX).zip(&mut message.fds) {
                let Some((from_server, ours)) = self.wire() else { continue };
                let to_client = std::mem::replace(fd, owned(ours));
                if make_nonblocking(to_client.as_fd()) {
                    self.wires.push(Wire { index, line, from_server, to_client });
                }
            }
        } else if data == VFIO_IRQ_SET_DATA_NONE && count == 0 {
            self.wires.retain(|wire| wire.index != index);
        }
    }

    /// The two ends of an interrupt's wire: what is waited on, and what the server signals. Without them its own descriptor passes, and it is
    /// not in the trace.
    fn wire(&mut self) -> Option<(EventFd, EventFd)> {
        let event = || EventFd::new(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK).and_then(|event| Ok((event.try_clone()?, event)));
        let made =
            if self.wires.len() < MOST_WIRES { event() } else { Err(io::Error::other("a device has 2048 vectors at most")) };
        if let Err(error) = &made
            && !std::mem::replace(&mut self.is_short_of_wires, true)
        {
            tracing::warn!(%error, wires = self.wires.len(), "the client names more interrupts than can be tapped: they pass, and are not in the trace; `ulimit -n` says how many files a process may have");
        }
        made.ok()
    }
}

/// The descriptor of an eventfd.
fn owned(event: EventFd) -> OwnedFd {
    use std::os::fd::{FromRawFd, IntoRawFd};
    // SAFETY: the descriptor is open, and its owner has just given it up.
    unsafe { OwnedFd::from_raw_fd(event.into_raw_fd()) }
}

/// Offer no mapping of a region: each access to it is to be a message.
fn trap(message: &mut Message) {
    const MAPPING: u32 = VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
    let whole = HEADER_SIZE + size_of::<RegionInfo>();
    let Ok((mut info, _)) = RegionInfo::read_from_prefix(message.body()) else { return };
    if info.flags & VFIO_REGION_INFO_FLAG_MMAP == 0 {
        return;
    }
    info.flags &= !MAPPING;
    (info.argsz, info.cap_offset) = (size_of::<RegionInfo>() as u32, 0);
    let header = Header { size: whole as u32, ..message.header() };
    message.fds.clear();
    message.bytes = [header.as_bytes(), info.as_bytes()].concat();
}
