//! One end of a tap: a stream cut into messages, and what is still to be sent there.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use zerocopy::FromBytes;

use crate::serve::socket::{self, Received};
use crate::serve::vfio_user::message::{FLAG_REPLY, FLAG_TYPE, HEADER_SIZE, Header};

/// Longest message: far longer than any that the protocol has.
const LONGEST: usize = 16 << 20;
/// Bytes of one read.
const READ: usize = 64 << 10;
/// While so many bytes wait to be sent to the other end, no more are read from this one.
pub(super) const FULL: usize = 4 << 20;

/// A message on its way.
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
}

impl Message {
    /// Its header; `next` has seen that there is one.
    pub(super) fn header(&self) -> Header {
        Header::read_from_prefix(&self.bytes).map(|(header, _)| header).unwrap_or_default()
    }

    pub(super) fn is_reply(&self) -> bool {
        self.header().flags & FLAG_TYPE == FLAG_REPLY
    }

    /// What follows the header.
    pub(super) fn body(&self) -> &[u8] {
        &self.bytes[HEADER_SIZE..]
    }
}

/// One end.
pub(super) struct End {
    pub(super) stream: UnixStream,
    input: Vec<u8>,
    /// When bytes came last.
    heard: Instant,
    /// Descriptors that have come, and the end of the read that brought them: they belong to the message with the byte before it.
    fds: Vec<OwnedFd>,
    fds_end: usize,
    output: VecDeque<Message>,
    /// Bytes in `output`, and those of its first message that are sent.
    waiting: usize,
    sent: usize,
    pub(super) is_closed: bool,
}

impl End {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            input: Vec::new(),
            heard: Instant::now(),
            fds: Vec::new(),
            fds_end: 0,
            output: VecDeque::new(),
            waiting: 0,
            sent: 0,
            is_closed: false,
        }
    }

    /// Whether as much has come as the longest message has: more is read when messages have been taken, so that nobody fills memory by
    /// talking on while the other side owes an answer.
    pub(super) fn is_full(&self) -> bool {
        self.input.len() >= LONGEST
    }

    /// Whether the beginning of a message has come, and not all of it.
    pub(super) fn is_cut(&self) -> bool {
        let size = Header::read_from_prefix(&self.input).map_or(HEADER_SIZE, |(header, _)| header.size as usize);
        !self.input.is_empty() && self.input.len() < size
    }

    /// Nobody falls silent in the middle of a message for so long.
    pub(super) fn check(&self, patience: Duration) -> io::Result<()> {
        if self.is_cut() && self.heard.elapsed() >= patience {
            let reason = format!("{} bytes of a message came, and for {patience:?} no more of it", self.input.len());
            return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
        }
        Ok(())
    }

    /// Bytes that are still to be sent here.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Read once.
    pub(super) fn read(&mut self) -> io::Result<()> {
        let had = self.input.len();
        self.input.resize(had + READ, 0);
        let received = socket::receive(&self.stream, &mut self.input[had..], &mut self.fds);
        let count = if let Ok(Received::Bytes { count, .. }) = received { count } else { 0 };
        self.input.truncate(had + count);
        match received? {
            Received::Bytes { too_many_fds: true, .. } => {
                Err(io::Error::other("a message brings more descriptors than a tap takes"))
            }
            Received::Bytes { .. } => {
                self.heard = Instant::now();
                if !self.fds.is_empty() {
                    self.fds_end = self.input.len();
                }
                Ok(())
            }
            Received::Nothing => Ok(()),
            Received::Closed => {
                self.is_closed = true;
                Ok(())
            }
        }
    }

    /// Whether the next message is there, and one of those that `wanted` says.
    pub(super) fn next(&mut self, wanted: impl FnOnce(&Header) -> bool) -> io::Result<Option<Message>> {
        let Ok((header, _)) = Header::read_from_prefix(&self.input) else { return Ok(None) };
        let size = header.size as usize;
        if !(HEADER_SIZE..=LONGEST).contains(&size) {
            return Err(io::Error::other(format!(
                "a message claims to have {size} bytes: the stream cannot be followed any further"
            )));
        }
        if self.input.len() < size || !wanted(&header) {
            return Ok(None);
        }
        let fds = if (1..=size).contains(&self.fds_end) { std::mem::take(&mut self.fds) } else { Vec::new() };
        self.fds_end = self.fds_end.saturating_sub(size);
        let rest = self.input.split_off(size);
        Ok(Some(Message { bytes: std::mem::replace(&mut self.input, rest), fds }))
    }

    /// Send a message, as soon as it can be.
    pub(super) fn push(&mut self, message: Message) -> io::Result<()> {
        self.waiting += message.bytes.len();
        self.output.push_back(message);
        self.flush()
    }

    /// Send as much as the socket takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while let Some(message) = self.output.front() {
            let fds: Vec<_> = if self.sent == 0 { message.fds.iter().map(AsFd::as_fd).collect() } else { Vec::new() };
            let sent = match socket::send_many(&self.stream, &message.bytes[self.sent..], &fds) {
                Ok(0) => break,
                Ok(sent) => sent,
                Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                    self.is_closed = true;
                    self.output.clear();
                    self.waiting = 0;
                    break;
                }
                Err(error) => return Err(error),
            };
            self.sent += sent;
            self.waiting -= sent;
            if self.sent == message.bytes.len() {
                self.output.pop_front();
                self.sent = 0;
            }
        }
        Ok(())
    }
}
