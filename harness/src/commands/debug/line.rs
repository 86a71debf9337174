//! The guest's KD line and whoever connects to it: over TCP, or by a socket of the file system that has no name of its own there.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use crate::device::nameless_listener;
use crate::error::{Outcome, Problem};
use crate::interrupt::poll_until;

/// How long a debugger may take no bytes.
const BLOCKED: Duration = Duration::from_secs(5);

/// Where debuggers connect.
#[derive(Debug)]
pub(super) struct Doors {
    tcp: TcpListener,
    unix: UnixListener,
    /// Leads to the socket, whose name is gone.
    door: OwnedFd,
}

impl Doors {
    /// Opens both; `port` 0 is any free one.
    pub(super) fn open(port: u16, folder: &Path) -> Outcome<Self> {
        let tcp = bind(port)?;
        let (unix, door) = nameless_listener(folder).map_err(|error| {
            Problem::environment("no socket can be made for debuggers").because(error.to_string()).so("free some disk space")
        })?;
        Ok(Self { tcp, unix, door })
    }

    /// The TCP port.
    pub(super) fn port(&self) -> u16 {
        self.tcp.local_addr().map_or(0, |address| address.port())
    }

    /// What a debugger names to connect to the socket.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.door.as_raw_fd())
    }

    /// Passes bytes between the guest's COM1 and whoever connects, one debugger after the other. What the guest sends while nobody is
    /// there is lost, as on a serial line. Ends with the guest. Each debugger that comes is told to `connected`.
    pub(super) fn serve(&self, mut com1: UnixStream, connected: &Sender<()>) {
        let mut client: Option<File> = None;
        if com1.set_nonblocking(false).is_err() {
            return;
        }
        loop {
            let mut sources = vec![PollFd::new(&com1, PollFlags::IN)];
            match &client {
                Some(client) => sources.push(PollFd::new(client, PollFlags::IN)),
                None => sources.extend([PollFd::new(&self.tcp, PollFlags::IN), PollFd::new(&self.unix, PollFlags::IN)]),
            }
            poll_until(&mut sources, None);
            let ready: Vec<bool> = sources.iter().map(|source| !source.revents().is_empty()).collect();
            drop(sources);
            if ready[0] {
                match pass(&mut com1, client.as_mut()) {
                    Passed::SourceClosed => return,
                    Passed::TargetClosed => client = None,
                    Passed::On => {}
                }
            }
            // Two sources: there was a debugger. Three: both doors stood open.
            let was_there = client.is_some();
            client = match (client, &ready[1..]) {
                (Some(mut debugger), [true]) => matches!(pass(&mut debugger, Some(&mut com1)), Passed::On).then_some(debugger),
                (None, [true, _]) => self.accept_tcp().ok(),
                (None, [_, true]) => self.accept_unix().ok(),
                (client, _) => client,
            };
            if client.is_some() && !was_there {
                // Perhaps nobody waits any more.
                let _ = connected.send(());
            }
        }
    }

    fn accept_tcp(&self) -> io::Result<File> {
        let (stream, _) = self.tcp.accept()?;
        // Packets are small, and each waits for its answer.
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(BLOCKED))?;
        Ok(OwnedFd::from(stream).into())
    }

    fn accept_unix(&self) -> io::Result<File> {
        let (stream, _) = self.unix.accept()?;
        stream.set_write_timeout(Some(BLOCKED))?;
        Ok(OwnedFd::from(stream).into())
    }
}

/// Listens at a port of this machine.
pub(super) fn bind(port: u16) -> Outcome<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| {
        Problem::usage(format!("port {port} cannot be used")).because(error.to_string()).so("name another with --port")
    })
}

enum Passed {
    On,
    SourceClosed,
    TargetClosed,
}

fn pass(from: &mut impl Read, to: Option<&mut impl Write>) -> Passed {
    let mut block = [0; 4096];
    match from.read(&mut block) {
        Ok(0) => Passed::SourceClosed,
        Ok(length) => match to.map_or(Ok(()), |to| to.write_all(&block[..length])) {
            Ok(()) => Passed::On,
            Err(_) => Passed::TargetClosed,
        },
        Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => Passed::On,
        Err(_) => Passed::SourceClosed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn debuggers_come_by_either_door_one_after_the_other_and_leave_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let doors = Doors::open(0, folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let (port, path) = (doors.port(), doors.path());
        let (mut guest, com1) = UnixStream::pair().unwrap();
        let (connected, is_connected) = std::sync::mpsc::channel();
        let server = std::thread::spawn(move || doors.serve(com1, &connected));
        let mut byte = [0];
        let mut first = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        first.write_all(b"a").unwrap();
        guest.read_exact(&mut byte).unwrap();
        guest.write_all(b"b").unwrap();
        first.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"b");
        drop(first);
        let mut second = UnixStream::connect(path).unwrap();
        second.write_all(b"c").unwrap();
        guest.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"c");
        drop(guest);
        server.join().unwrap();
        assert_eq!(is_connected.iter().count(), 2, "each was told once");
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let taken = bind(0).unwrap();
        let port = taken.local_addr().unwrap().port();
        let problem = bind(port).unwrap_err().to_string();
        assert!(problem.contains(&port.to_string()) && problem.contains("--port"), "{problem}");
    }
}
