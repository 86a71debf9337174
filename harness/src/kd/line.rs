//! The debugger's end of the packet protocol: numbering, acknowledgement, sending again, beginning anew. Each wait ends at a deadline.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use kd::packet::{BREAK_IN, Decoder, Event, Header, INITIAL_ID, SYNC, TRAILING, kind};
use kd::zerocopy::IntoBytes as _;

use super::KdError;

/// After this time a packet that the target has not acknowledged is sent again.
const AGAIN: Duration = Duration::from_millis(500);
/// Most packets that wait to be taken.
const MOST_WAITING: usize = 256;
/// Most bytes outside of packets that are kept until somebody takes them.
const MOST_STRAY: usize = 1 << 16;
/// How long the target may take no bytes.
const BLOCKED: Duration = Duration::from_secs(5);

/// A data packet of the target's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// One of [`kind`].
    pub kind: u16,
    /// What it carries.
    pub data: Vec<u8>,
}

/// What a step of listening brought.
enum Heard {
    Acknowledged(u32),
    Resend,
    Reset,
    Packet,
    Nothing,
}

/// A line to a target.
#[derive(Debug)]
pub struct Line {
    stream: UnixStream,
    decoder: Box<Decoder>,
    bytes: VecDeque<u8>,
    waiting: VecDeque<Packet>,
    next_id: u32,
    expected_id: Option<u32>,
    stray: Vec<u8>,
}

impl Line {
    /// Over a connected stream.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        // Without a limit a target that takes no bytes would hold us for ever.
        let _ = stream.set_write_timeout(Some(BLOCKED));
        Self {
            stream,
            decoder: Box::default(),
            bytes: VecDeque::new(),
            waiting: VecDeque::new(),
            next_id: INITIAL_ID,
            expected_id: None,
            stray: Vec::new(),
        }
    }

    /// Bytes outside of packets since the last call: what a system says on the line that does not speak KD yet.
    pub fn take_stray(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.stray)
    }

    /// Begins anew: tells the target to, and forgets what has come.
    ///
    /// # Errors
    /// The stream's.
    pub fn reset(&mut self) -> io::Result<()> {
        self.forget();
        self.control(kind::RESET, 0)
    }

    /// Begins anew without a word: the target has gone, and what comes next is a new one.
    pub fn forget(&mut self) {
        self.waiting.clear();
        self.decoder.reset();
        (self.next_id, self.expected_id) = (INITIAL_ID, None);
    }

    /// Asks the target to stop.
    ///
    /// # Errors
    /// The stream's.
    pub fn break_in(&mut self) -> io::Result<()> {
        self.stream.write_all(&[BREAK_IN])
    }

    fn control(&mut self, kind: u16, id: u32) -> io::Result<()> {
        self.stream.write_all(Header::control(kind, id).as_bytes())
    }

    /// Sends a packet until the target acknowledges it; `false` when it does not before the deadline.
    ///
    /// # Errors
    /// The line's.
    pub fn send(&mut self, kind: u16, parts: &[&[u8]], deadline: Instant) -> Result<bool, KdError> {
        let header = Header::data(kind, self.next_id, parts);
        let packet = [header.as_bytes(), &parts.concat()[..], &[TRAILING]].concat();
        while Instant::now() < deadline {
            self.stream.write_all(&packet)?;
            let again = (Instant::now() + AGAIN).min(deadline);
            loop {
                match self.hear(again)? {
                    Heard::Acknowledged(id) if id == self.next_id => {
                        self.next_id ^= 1;
                        return Ok(true);
                    }
                    // The target shows its state anew: it did not take our packet, and answers no request now.
                    Heard::Reset => return Ok(false),
                    Heard::Resend | Heard::Nothing => break,
                    Heard::Acknowledged(_) | Heard::Packet => {}
                }
            }
        }
        Ok(false)
    }

    /// The next data packet; `None` at the deadline.
    ///
    /// # Errors
    /// The line's.
    pub fn receive(&mut self, deadline: Instant) -> Result<Option<Packet>, KdError> {
        loop {
            if let Some(packet) = self.waiting.pop_front() {
                return Ok(Some(packet));
            }
            if matches!(self.hear(deadline)?, Heard::Nothing) && Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    /// Listens until something whole has come, or until the deadline.
    fn hear(&mut self, deadline: Instant) -> Result<Heard, KdError> {
        loop {
            let Some(byte) = self.byte(deadline)? else { return Ok(Heard::Nothing) };
            let before = self.decoder.unfinished_leader();
            let event = self.decoder.push(byte);
            self.keep_stray(before, byte, event);
            match event {
                None | Some(Event::BreakIn) => {}
                Some(Event::Damaged) if self.decoder.text_for_header().is_some() => {}
                Some(Event::Damaged) => self.control(kind::RESEND, 0)?,
                Some(Event::Control { kind: kind::ACKNOWLEDGE, id }) => return Ok(Heard::Acknowledged(id)),
                Some(Event::Control { kind: kind::RESEND, .. }) => return Ok(Heard::Resend),
                // The target's answer to our own reset, or its own wish: numbers begin anew.
                Some(Event::Control { kind: kind::RESET, .. }) => {
                    (self.next_id, self.expected_id) = (INITIAL_ID, None);
                    return Ok(Heard::Reset);
                }
                Some(Event::Control { .. }) => {}
                Some(Event::Data { kind, id }) => {
                    self.control(kind::ACKNOWLEDGE, id & !SYNC)?;
                    let is_new = id & SYNC != 0 || self.expected_id.is_none_or(|expected| expected == id);
                    if is_new {
                        self.expected_id = Some((id & !SYNC) ^ 1);
                        if self.waiting.len() == MOST_WAITING {
                            return Err(KdError::Nonsense("packets without end"));
                        }
                        self.waiting.push_back(Packet { kind, data: self.decoder.data().to_vec() });
                        return Ok(Heard::Packet);
                    }
                }
            }
        }
    }

    /// Keeps bytes that turn out to belong to no packet.
    fn keep_stray(&mut self, (leader, count): (u8, usize), byte: u8, event: Option<Event>) {
        let is_outside = matches!(event, None | Some(Event::BreakIn)) && !self.decoder.is_inside();
        let begins_anew = count != 0 && byte != leader && self.decoder.unfinished_leader().1 == 1;
        if self.stray.len() >= MOST_STRAY {
            return;
        }
        if is_outside || begins_anew {
            self.stray.extend(std::iter::repeat_n(leader, count));
            self.stray.extend(Some(byte).filter(|_| is_outside));
        }
        if let (Some(Event::Damaged), Some(text)) = (event, self.decoder.text_for_header()) {
            self.stray.extend(text);
        }
    }

    fn byte(&mut self, deadline: Instant) -> io::Result<Option<u8>> {
        while self.bytes.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut block = [0; 4096];
            match self.stream.read(&mut block) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.bytes.extend(&block[..length]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.bytes.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(kind: u16, id: u32, data: &[u8]) -> Vec<u8> {
        [Header::data(kind, id, &[data]).as_bytes(), data, &[TRAILING]].concat()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(200)
    }

    #[test]
    fn a_packet_that_comes_twice_is_acknowledged_twice_and_taken_once() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut line = Line::new(near);
        let first = packet(kind::STATE_CHANGE, INITIAL_ID | SYNC, b"state");
        far.write_all(
            &[&first[..], &packet(kind::DEBUG_IO, INITIAL_ID ^ 1, b"text"), &packet(kind::DEBUG_IO, INITIAL_ID ^ 1, b"text")]
                .concat(),
        )
        .unwrap();
        assert_eq!(line.receive(soon()).unwrap().unwrap().data, b"state");
        assert_eq!(line.receive(soon()).unwrap().unwrap().data, b"text");
        assert!(line.receive(soon()).unwrap().is_none());
        let mut said = [0; 48];
        far.read_exact(&mut said).unwrap();
        let acknowledged = |id: u32| Header::control(kind::ACKNOWLEDGE, id).as_bytes().to_vec();
        assert_eq!(
            said.to_vec(),
            [acknowledged(INITIAL_ID), acknowledged(INITIAL_ID ^ 1), acknowledged(INITIAL_ID ^ 1)].concat()
        );
    }

    #[test]
    fn a_request_that_is_not_acknowledged_is_sent_again() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut line = Line::new(near);
        far.write_all(Header::control(kind::RESEND, 0).as_bytes()).unwrap();
        far.write_all(Header::control(kind::ACKNOWLEDGE, INITIAL_ID).as_bytes()).unwrap();
        assert!(line.send(kind::MANIPULATE, &[b"request"], Instant::now() + Duration::from_secs(5)).unwrap());
        let expected = packet(kind::MANIPULATE, INITIAL_ID, b"request");
        let mut said = vec![0; expected.len() * 2];
        far.read_exact(&mut said).unwrap();
        assert_eq!(said, [&expected[..], &expected[..]].concat());
    }

    #[test]
    fn what_lies_between_packets_is_kept_to_the_byte() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut line = Line::new(near);
        let text = b"[0.000000 cpu0] iiin 00 bios i0i0 000";
        far.write_all(&[&text[..], b"\n", &packet(kind::DEBUG_IO, INITIAL_ID, b"text"), b"behind it\n"].concat()).unwrap();
        assert_eq!(line.receive(soon()).unwrap().unwrap().data, b"text");
        assert!(line.receive(soon()).unwrap().is_none());
        assert_eq!(line.take_stray(), [&text[..], b"\nbehind it\n"].concat());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_target_that_sends_anything_is_an_error_or_silence_in_time(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
            let (near, mut far) = UnixStream::pair().unwrap();
            let mut line = Line::new(near);
            far.write_all(&bytes).unwrap();
            drop(far.shutdown(std::net::Shutdown::Write));
            let began = Instant::now();
            while let Ok(Some(_)) = line.receive(soon()) {}
            prop_assert!(began.elapsed() < Duration::from_secs(5));
        }
    }
}
