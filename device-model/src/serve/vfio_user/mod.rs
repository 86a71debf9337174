//! Functions on vfio-user sockets: one loop, one thread, any number of devices.
//!
//! The loop waits in one place, for sockets and for device time. A message costs one wait, one read and one write. `message` knows the
//! bytes, `session` what they do, `connection` the stream, `requests` what this side asks of the client.

pub(crate) mod connection;
mod dma;
pub(crate) mod irqs;
pub mod message;
mod requests;
pub mod session;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::time::Instant;

use self::connection::{Connection, Stream};
use crate::pci::Function;

/// A function and the socket it is served on.
struct Slot {
    name: String,
    listener: UnixListener,
    function: Function,
    connection: Option<Connection>,
    /// Device time from which clients are accepted again, after the operating system has refused one (no descriptors left).
    accepts_from: u64,
}

/// How long no client is accepted after such a refusal, in nanoseconds.
const REFUSAL: u64 = 100_000_000;

/// A server of functions.
pub struct Server {
    slots: Vec<Slot>,
    started: Instant,
    polled: Vec<libc::pollfd>,
}

impl Default for Server {
    fn default() -> Self {
        Self { slots: Vec::new(), started: Instant::now(), polled: Vec::new() }
    }
}

impl Server {
    /// A server without functions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serve `function` to whoever connects to `listener`, one client at a time. `name` is for the log.
    pub fn add(&mut self, name: &str, listener: UnixListener, function: Function) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        self.slots.push(Slot { name: name.to_owned(), listener, function, connection: None, accepts_from: 0 });
        Ok(())
    }

    /// Serve until `stop` becomes readable.
    pub fn run(&mut self, stop: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            self.wait(stop)?;
            if self.polled[0].revents != 0 {
                return Ok(());
            }
            let now = self.now();
            for (slot, polled) in self.slots.iter_mut().zip(self.polled[1..].chunks_exact(3)) {
                slot.step([polled[0].revents, polled[1].revents, polled[2].revents], now);
            }
        }
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Wait until a descriptor is ready or a device is due.
    fn wait(&mut self, stop: BorrowedFd<'_>) -> io::Result<()> {
        self.polled.clear();
        self.polled.push(poll_entry(Some(stop), libc::POLLIN));
        let mut due: Option<u64> = None;
        let now = self.now();
        for slot in &self.slots {
            let accepting = now >= slot.accepts_from;
            let sending = slot.connection.as_ref().is_some_and(Connection::is_sending);
            let events = if sending { libc::POLLOUT } else { libc::POLLIN };
            self.polled.push(poll_entry(accepting.then(|| slot.listener.as_fd()), libc::POLLIN));
            self.polled.push(poll_entry(slot.connection.as_ref().map(Connection::fd), events));
            self.polled
                .push(poll_entry(slot.connection.as_ref().and_then(|connection| connection.session.unmasker()), libc::POLLIN));
            let listening = (!accepting).then_some(slot.accepts_from);
            due = due.into_iter().chain(slot.next_wake()).chain(listening).min();
        }
        let timeout = due.map(|due| {
            let nanoseconds = due.saturating_sub(now);
            libc::timespec { tv_sec: (nanoseconds / 1_000_000_000) as i64, tv_nsec: (nanoseconds % 1_000_000_000) as i64 }
        });
        let timeout: *const libc::timespec = timeout.as_ref().map_or(std::ptr::null(), |timeout| timeout);
        // SAFETY: the array is valid for its length, the timeout is null or a timespec that outlives the call, and there is no signal mask.
        let ready =
            unsafe { libc::ppoll(self.polled.as_mut_ptr(), self.polled.len() as libc::nfds_t, timeout, std::ptr::null()) };
        if ready < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
            self.polled.iter_mut().for_each(|entry| entry.revents = 0);
        }
        Ok(())
    }
}

/// An entry without a descriptor is skipped by the kernel.
fn poll_entry(fd: Option<BorrowedFd<'_>>, events: i16) -> libc::pollfd {
    libc::pollfd { fd: fd.map_or(-1, |fd| fd.as_raw_fd()), events, revents: 0 }
}

impl Slot {
    /// Device time at which there is something to do: a device whose bytes are on their way waits for them.
    fn next_wake(&self) -> Option<u64> {
        let session = &self.connection.as_ref()?.session;
        if session.is_settled() { self.function.next_wake() } else { session.deadline() }
    }

    /// Serve the client, let the device work, take a new client: in this order, so that a client that reconnects finds the old
    /// connection gone. `events` are those of the listener, the client's stream, and its unmasking descriptor.
    fn step(&mut self, events: [i16; 3], now: u64) {
        let [connecting, stream, unmasking] = events;
        if let (true, Some(connection)) = (unmasking != 0, &mut self.connection) {
            connection.session.unmasked();
        }
        if stream != 0 {
            self.serve(now);
        }
        // A client that has gone may have left messages. They end, since no more can come, and then the connection does.
        while stream & libc::POLLHUP != 0 && self.connection.is_some() {
            self.serve(now);
        }
        if let Some(connection) = &mut self.connection {
            connection.session.expire(&self.function, now);
            if connection.session.is_settled() && self.function.next_wake().is_some_and(|due| due <= now) {
                connection.session.wake(&mut self.function, now);
            }
            let asked = connection.ask(&self.function, now);
            self.go_on(asked, now);
        }
        if connecting != 0 {
            self.accept(now);
        }
    }

    fn serve(&mut self, now: u64) {
        let Some(connection) = &mut self.connection else { return };
        let served = connection.serve(&mut self.function, now);
        self.go_on(served, now);
    }

    /// Go on with the client, unless it has gone.
    fn go_on(&mut self, outcome: io::Result<Stream>, now: u64) {
        let Some(connection) = &mut self.connection else { return };
        match outcome {
            Ok(Stream::Open) => return,
            Ok(Stream::Closed) => tracing::info!(device = self.name, "the client has gone"),
            Err(error) => tracing::warn!(device = self.name, %error, "the connection failed"),
        }
        connection.session.reset(&mut self.function, now);
        self.connection = None;
    }

    fn accept(&mut self, now: u64) {
        match self.listener.accept() {
            Ok((_, _)) if self.connection.is_some() => {
                tracing::warn!(device = self.name, "a second client is turned away: the device has one");
            }
            Ok((stream, _)) => {
                tracing::info!(device = self.name, "a client has connected");
                self.connection = Some(Connection::new(stream, &self.function));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::warn!(device = self.name, %error, "a client could not be accepted");
                self.accepts_from = now + REFUSAL;
            }
        }
    }
}
