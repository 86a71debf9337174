//! The guest channel's harness end: frames out, messages in, on a socket that is the guest's COM2.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::bugcheck::{Module, Registers};
use channel::{
    Ask, Bounds, Decoder, Expected, FromAgent, FromGuest, LogLevel, MAX_FRAME, Outcome, ToAgent, ToGuest, Word, encode,
    encode_agent,
};
use serde::{Deserialize, Serialize};

use super::record::Figure;
use crate::console::printable;

/// What a guest said, with owned texts that are safe to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is there.
    Hello {
        /// Its protocol version.
        protocol: u32,
        /// Name and version of its system.
        system: String,
    },
    /// One line of the list.
    Test {
        /// `suite::name`.
        name: String,
        /// What it is for.
        purpose: String,
        /// The guest it needs.
        needs: Needs,
        /// The bug check that it is to end in.
        expects: Option<Expected>,
    },
    /// The list is complete.
    EndOfList,
    /// A test has begun.
    Started(String),
    /// A test has ended.
    Finished {
        /// Which.
        test: String,
        /// How.
        verdict: Verdict,
        /// Guest time it took, in units of 100 ns.
        duration: u64,
    },
    /// A line for the log of the test that runs.
    Log {
        /// How important.
        level: LogLevel,
        /// The line.
        text: String,
    },
    /// The running test has measured something.
    Figure(Figure),
    /// The running test wants something done to the machine.
    Ask(Ask),
    /// The running test knows this of the bug check that it is to end in.
    Foretold(Bounds),
    /// The guest's kernel stops.
    BugCheck {
        /// Code.
        code: u32,
        /// Parameters.
        parameters: [u64; 4],
        /// Module at fault, or empty.
        module: String,
        /// Offset in it, or the address.
        offset: u64,
    },
    /// One frame of a bug check's back trace.
    BugCheckFrame {
        /// Module, or empty.
        module: String,
        /// Offset in it, or the address.
        offset: u64,
        /// The call is before the address.
        is_return: bool,
    },
    /// The registers of a bug check.
    BugCheckRegisters(Registers),
    /// A module that was loaded.
    BugCheckModule(Module),
    /// The bug check's report is complete.
    BugCheckEnd,
    /// It leaves.
    Goodbye,
    /// The agent's word, not the suite's.
    Agent(AgentSaid),
}

/// What the agent in an installed Windows said; see [`FromAgent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentSaid {
    /// The machine has started.
    Up,
    /// The installation has come so far.
    Step(String),
    /// It is there.
    Hello {
        /// Its version.
        version: u32,
        /// Its system.
        system: String,
    },
    /// The file is on the drive with this root.
    Found(String),
    /// A line of a command's output.
    Output(String),
    /// Command or program have ended with this code.
    Ended(u32),
    /// The next word is the program's.
    Lends,
    /// Bytes of the file.
    Size(u64),
    /// A part of the file.
    Piece {
        /// Where it begins.
        offset: u64,
        /// The part.
        bytes: Vec<u8>,
    },
    /// All pieces have been sent.
    Sent,
    /// It could not be done.
    Failed {
        /// What was refused.
        what: String,
        /// The system's code.
        code: u32,
    },
    /// The machine goes off.
    Goodbye,
}

impl From<FromAgent<'_>> for AgentSaid {
    fn from(message: FromAgent<'_>) -> Self {
        match message {
            FromAgent::Up => Self::Up,
            FromAgent::Step { name } => Self::Step(printable(name)),
            FromAgent::Hello { version, system } => Self::Hello { version, system: printable(system) },
            FromAgent::Found { root } => Self::Found(printable(root)),
            FromAgent::Output { line } => Self::Output(printable(line)),
            FromAgent::Ended { code } => Self::Ended(code),
            FromAgent::Lends => Self::Lends,
            FromAgent::Size { bytes } => Self::Size(bytes),
            FromAgent::Piece { offset, bytes } => Self::Piece { offset, bytes: bytes.to_vec() },
            FromAgent::Sent => Self::Sent,
            FromAgent::Failed { what, code } => Self::Failed { what: printable(what), code },
            FromAgent::Goodbye => Self::Goodbye,
        }
    }
}

/// What a test needs of its guest; see [`channel::Needs`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Needs {
    /// The framework verifier is on.
    pub verifier: bool,
    /// A violation breaks into the debugger.
    pub breaks: bool,
    /// Fault plan for the device model, or empty.
    pub faults: String,
    /// The device can be taken out of its slot and put back.
    pub removable: bool,
}

impl From<channel::Needs<'_>> for Needs {
    fn from(needs: channel::Needs<'_>) -> Self {
        let channel::Needs { verifier, breaks, faults, removable } = needs;
        Self { verifier, breaks, faults: faults.to_owned(), removable }
    }
}

impl Default for Needs {
    fn default() -> Self {
        channel::Needs::NOTHING.into()
    }
}

/// How a test ended, by the guest's own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passed.
    Passed,
    /// An expectation did not hold.
    Failed {
        /// Source file.
        file: String,
        /// Line.
        line: u32,
        /// Expected and found.
        reason: String,
    },
    /// It cannot run here.
    Skipped {
        /// Why.
        reason: String,
    },
}

impl From<FromGuest<'_>> for Said {
    fn from(message: FromGuest<'_>) -> Self {
        match message {
            FromGuest::Hello { protocol, system } => Self::Hello { protocol, system: printable(system) },
            FromGuest::Test { name, purpose, needs, expects } => {
                Self::Test { name: printable(name), purpose: printable(purpose), needs: needs.into(), expects }
            }
            FromGuest::Figure { what, unit, samples, spread } => {
                Self::Figure(Figure { what: printable(what), unit: printable(unit), samples, spread })
            }
            FromGuest::Ask { what } => Self::Ask(what),
            FromGuest::Foretell { bounds } => Self::Foretold(bounds),
            FromGuest::EndOfList => Self::EndOfList,
            FromGuest::Started { test } => Self::Started(printable(test)),
            FromGuest::Finished { test, outcome, duration } => {
                Self::Finished { test: printable(test), verdict: outcome.into(), duration }
            }
            FromGuest::Log { level, text } => Self::Log { level, text: printable(text) },
            FromGuest::BugCheck { code, parameters, module, offset } => {
                Self::BugCheck { code, parameters, module: printable(module), offset }
            }
            FromGuest::BugCheckFrame { module, offset, is_return } => {
                Self::BugCheckFrame { module: printable(module), offset, is_return }
            }
            FromGuest::BugCheckRegisters { general, rip, rflags } => Self::BugCheckRegisters(Registers { general, rip, rflags }),
            FromGuest::BugCheckModule { name, base, size, time_stamp } => {
                Self::BugCheckModule(Module { name: printable(name), base, size, time_stamp })
            }
            FromGuest::BugCheckEnd => Self::BugCheckEnd,
            FromGuest::Goodbye => Self::Goodbye,
        }
    }
}

impl From<Outcome<'_>> for Verdict {
    fn from(outcome: Outcome<'_>) -> Self {
        match outcome {
            Outcome::Passed => Self::Passed,
            Outcome::Failed { file, line, reason } => Self::Failed { file: printable(file), line, reason: printable(reason) },
            Outcome::Skipped { reason } => Self::Skipped { reason: printable(reason) },
        }
    }
}

/// The channel of one boot.
#[derive(Debug)]
pub struct Link {
    line: UnixStream,
    decoder: Decoder,
    outgoing: Vec<u8>,
    inbox: VecDeque<Said>,
    open: bool,
    damaged: u64,
}

impl Link {
    /// The harness's end of `line`.
    ///
    /// # Errors
    /// The system's.
    pub fn new(line: UnixStream) -> io::Result<Self> {
        line.set_nonblocking(true)?;
        let (outgoing, inbox) = (Vec::new(), VecDeque::new());
        Ok(Self { line, decoder: Decoder::new(), outgoing, inbox, open: true, damaged: 0 })
    }

    /// Sends a message, or as much of it as the line takes now; [`Self::flush`] sends the rest.
    ///
    /// # Errors
    /// The message is longer than a frame may be.
    pub fn send(&mut self, message: &ToGuest<'_>) -> Result<(), channel::FrameError> {
        let mut frame = [0; MAX_FRAME];
        let length = encode(message, &mut frame)?;
        self.outgoing.extend_from_slice(&frame[..length]);
        self.flush();
        Ok(())
    }

    /// [`Self::send`] in the agent's language.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_to_agent(&mut self, message: &ToAgent<'_>) -> Result<(), channel::FrameError> {
        let mut frame = [0; MAX_FRAME];
        let length = encode_agent(message, &mut frame)?;
        self.outgoing.extend_from_slice(&frame[..length]);
        self.flush();
        Ok(())
    }

    /// Whether something waits to be sent.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        self.open && !self.outgoing.is_empty()
    }

    /// Sends what waits, as far as the line takes it.
    pub fn flush(&mut self) {
        while self.wants_to_send() {
            match self.line.write(&self.outgoing) {
                Ok(length) => drop(self.outgoing.drain(..length)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.outgoing.clear(),
            }
        }
    }

    /// Takes what has arrived, at most 64 KiB at a time, so that a guest that never stops talking does not hold us here.
    pub fn drain(&mut self) {
        let mut block = [0; 4096];
        for _ in 0..16 {
            match self.line.read(&mut block) {
                Ok(0) => self.open = false,
                Ok(length) => self.take(&block[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.open = false,
            }
            if !self.open {
                return;
            }
        }
    }

    /// The oldest message not yet taken.
    pub fn receive(&mut self) -> Option<Said> {
        self.inbox.pop_front()
    }

    /// Whether the guest's end is still open.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// Frames that were no message.
    #[must_use]
    pub const fn damaged(&self) -> u64 {
        self.damaged
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match self.decoder.push_either::<FromGuest<'_>, FromAgent<'_>>(*byte) {
                Some(Ok(Word::Suite(message))) => self.inbox.push_back(message.into()),
                Some(Ok(Word::Agent(message))) => self.inbox.push_back(Said::Agent(message.into())),
                Some(Err(_)) => self.damaged += 1,
                None => {}
            }
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use channel::Span;

    use super::*;

    fn frame(message: &FromGuest<'_>) -> Vec<u8> {
        let mut frame = [0; MAX_FRAME];
        let length = encode(message, &mut frame).unwrap();
        frame[..length].to_vec()
    }

    #[test]
    fn messages_arrive_in_order_and_damage_is_counted() {
        let (mut guest, line) = UnixStream::pair().unwrap();
        let mut link = Link::new(line).unwrap();
        guest.write_all(b"noise\0").unwrap();
        guest.write_all(&frame(&FromGuest::Started { test: "device::echo" })).unwrap();
        guest.write_all(&frame(&FromGuest::Goodbye)).unwrap();
        link.drain();
        assert_eq!(link.receive(), Some(Said::Started("device::echo".into())));
        assert_eq!(link.receive(), Some(Said::Goodbye));
        assert_eq!((link.receive(), link.damaged()), (None, 1));
    }

    #[test]
    fn what_the_line_does_not_take_waits_without_blocking() {
        let (guest, line) = UnixStream::pair().unwrap();
        let mut link = Link::new(line).unwrap();
        let long = "x".repeat(1500);
        while !link.wants_to_send() {
            link.send(&ToGuest::Run { test: &long, seed: 0, span: Span::Moment }).unwrap();
        }
        drop(guest);
        link.flush();
        assert!(!link.wants_to_send());
    }

    #[test]
    fn a_guests_words_cannot_steer_the_terminal() {
        let said = Said::from(FromGuest::Log { level: LogLevel::Info, text: "\x1b[2J" });
        assert_eq!(said, Said::Log { level: LogLevel::Info, text: "\u{fffd}[2J".into() });
    }
}
