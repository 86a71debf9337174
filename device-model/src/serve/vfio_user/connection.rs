//! One client's stream: cut into messages, each handed to the session, replies sent back. Keeps the stream in step whatever the client does.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use zerocopy::FromBytes;

use super::message::{HEADER_SIZE, Header, MAX_MESSAGE};
use super::session::{Answer, Errno, Request, Session, area_file};
use crate::pci::Function;
use crate::serve::socket::{self, MAX_FDS, Received};

/// One read takes at most this much beyond the largest message, so that several small messages cost one system call.
const READ_AHEAD: usize = 4096;

/// What became of a look at the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Open,
    Closed,
}

pub(crate) struct Connection {
    stream: UnixStream,
    pub(crate) session: Session,
    input: Input,
    /// Bytes that the socket has not taken yet, and whose they are. While there are any, nothing more is read.
    unsent: std::ops::Range<usize>,
    sending: Sending,
    /// The region whose file goes with the reply's first byte.
    file_of: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Reply,
    Request,
}

/// What has been read and not been served.
struct Input {
    // Allocated once and touched only as far as messages are long.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of a refused message that are still to come and to be dropped.
    skip: usize,
    /// Descriptors, and the end of the read that brought them: they belong to the message that holds the byte before it.
    fds: Vec<OwnedFd>,
    fds_end: usize,
    too_many_fds: bool,
}

/// The next thing in the stream.
enum Next {
    Message { header: Header, fault: Option<Errno>, body: std::ops::Range<usize>, owns_fds: bool },
    More,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream, function: &Function) -> Self {
        Self {
            stream,
            session: Session::new(function),
            input: Input::new(),
            unsent: 0..0,
            sending: Sending::Reply,
            file_of: None,
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether the client has to read before anything else can happen.
    pub(crate) fn is_sending(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Read once and serve what has come, as far as the client takes the replies.
    pub(crate) fn serve(&mut self, function: &mut Function, now: u64) -> io::Result<Stream> {
        if self.is_sending() {
            self.send(function)?;
        } else if self.input.read(&self.stream)? == Stream::Closed {
            return Ok(Stream::Closed);
        }
        while !self.is_sending() {
            let Next::Message { header, fault, body, owns_fds } = self.input.next() else { break };
            let mut none = Vec::new();
            let fds = if owns_fds { &mut self.input.fds } else { &mut none };
            let request = Request { header, body: &self.input.buffer[body], fds, fault };
            match self.session.serve(request, function, now) {
                Answer::None => continue,
                Answer::Plain => self.file_of = None,
                Answer::WithFile(region) => self.file_of = Some(region),
            }
            (self.unsent, self.sending) = (0..self.session.reply().len(), Sending::Reply);
            self.send(function)?;
        }
        Ok(Stream::Open)
    }

    /// Send a request of our own, if there is one and nothing else is to be sent first.
    pub(crate) fn ask(&mut self, function: &Function, now: u64) -> io::Result<Stream> {
        if !self.is_sending() && self.session.next_request(now) {
            (self.unsent, self.sending, self.file_of) = (0..self.session.request().len(), Sending::Request, None);
            self.send(function)?;
        }
        Ok(Stream::Open)
    }

    fn send(&mut self, function: &Function) -> io::Result<()> {
        let file = self.file_of.and_then(|region| area_file(region, function));
        let bytes = match self.sending {
            Sending::Reply => self.session.reply(),
            Sending::Request => self.session.request(),
        };
        let sent = socket::send(&self.stream, &bytes[self.unsent.clone()], file)?;
        if sent > 0 {
            self.unsent.start += sent;
            self.file_of = None;
        }
        Ok(())
    }
}

impl Input {
    fn new() -> Self {
        Self {
            buffer: vec![0; MAX_MESSAGE + READ_AHEAD],
            start: 0,
            end: 0,
            skip: 0,
            fds: Vec::with_capacity(MAX_FDS),
            fds_end: 0,
            too_many_fds: false,
        }
    }

    /// Read what is there, once.
    fn read(&mut self, stream: &UnixStream) -> io::Result<Stream> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.fds_end = self.fds_end.saturating_sub(self.start);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let had = self.fds.len();
        match socket::receive(stream, &mut self.buffer[self.end..], &mut self.fds)? {
            Received::Nothing => Ok(Stream::Open),
            Received::Closed => Ok(Stream::Closed),
            Received::Bytes { count, too_many_fds } => {
                self.end += count;
                let dropped = self.skip.min(count);
                self.skip -= dropped;
                // A refused message is skipped from the front: whatever was unread before it has been served.
                self.start += dropped;
                if self.start == self.end {
                    self.fds.clear();
                } else if too_many_fds || self.fds.len() > had {
                    self.fds_end = self.end;
                    self.too_many_fds |= too_many_fds;
                }
                Ok(Stream::Open)
            }
        }
    }

    fn next(&mut self) -> Next {
        let unread = &self.buffer[self.start..self.end];
        let Ok((header, _)) = Header::read_from_prefix(unread) else { return Next::More };
        let size = header.size as usize;
        let fault = if (HEADER_SIZE..=MAX_MESSAGE).contains(&size) { None } else { Some(Errno::INVALID) };
        // Too short a size leaves only one guess about where the next message begins: behind the header.
        let size = size.max(HEADER_SIZE);
        if fault.is_none() && unread.len() < size {
            return Next::More;
        }
        let here = size.min(unread.len());
        let body = self.start + HEADER_SIZE..self.start + here;
        let owns_fds = (self.start + 1..=self.start + here).contains(&self.fds_end);
        self.start += here;
        self.skip = size - here;
        let too_many = owns_fds && std::mem::take(&mut self.too_many_fds);
        let fault = fault.or(too_many.then_some(Errno::INVALID));
        Next::Message { header, fault, body, owns_fds }
    }
}
