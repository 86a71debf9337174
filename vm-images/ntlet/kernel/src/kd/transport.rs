//! The target's end of the packet protocol: numbering, acknowledgement, sending again, beginning anew. It knows the line only as a
//! [`Wire`], so that tests can be the other end.

use kd::packet::{Decoder, Event, Header, INITIAL_ID, SYNC, TRAILING, kind};
use kd::zerocopy::IntoBytes as _;

/// Units of 100 ns after which a packet that nobody has acknowledged is sent again.
const AGAIN_AFTER: u64 = 10_000_000;
/// After such a pause a packet that has stopped in the middle is given up: a debugger that was killed leaves half of one, and the next
/// debugger's bytes are no part of it. A processor that was itself away for a while has not looked at an empty line so many times.
const PAUSE: u64 = 3_000_000;
const LOOKS: u32 = 1000;
/// After this time it is given up whatever.
const LONG_PAUSE: u64 = 10 * AGAIN_AFTER;

/// A serial line and a clock.
pub(super) trait Wire {
    /// Sends bytes.
    fn send(&mut self, bytes: &[u8]);
    /// The next byte that has arrived.
    fn receive(&mut self) -> Option<u8>;
    /// Time in units of 100 ns.
    fn now(&mut self) -> u64;
    /// Lets some time pass.
    fn relax(&mut self);
}

/// How patiently a packet is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// So many times, then there is no debugger.
    Times(u32),
    /// Until a debugger answers: the machine stands still.
    Endless,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The debugger has it.
    Acknowledged,
    /// Nobody answers.
    Silence,
}

/// What came instead of an acknowledgement.
enum Answer {
    Acknowledged,
    Again,
    Silence,
}

/// What comes while the target waits for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// A data packet of this kind; the decoder has its data.
    Packet(u16),
    /// The debugger wants to hear again where the target is.
    Again,
}

/// State of the line.
pub(super) struct Transport<W> {
    wire: W,
    decoder: Decoder,
    /// When the last byte came, and how often the line was empty since then.
    last: u64,
    looks: u32,
    next_id: u32,
    expected_id: u32,
    /// A break-in came while the target was busy sending.
    pub(super) break_in: bool,
}

impl<W: Wire> Transport<W> {
    pub(super) const fn new(wire: W) -> Self {
        let (next_id, expected_id) = (INITIAL_ID | SYNC, INITIAL_ID);
        Self { wire, decoder: Decoder::new(), last: 0, looks: 0, next_id, expected_id, break_in: false }
    }

    /// Data of the packet that arrived last.
    pub(super) fn data(&self) -> &[u8] {
        self.decoder.data()
    }

    fn control(&mut self, kind: u16, id: u32) {
        self.wire.send(Header::control(kind, id).as_bytes());
    }

    fn begin_anew(&mut self) {
        (self.next_id, self.expected_id) = (INITIAL_ID, INITIAL_ID);
        self.control(kind::RESET, 0);
    }

    /// What the bytes that have arrived complete; `None` when there are no more of them.
    fn event(&mut self) -> Option<Event> {
        while let Some(byte) = self.wire.receive() {
            let now = self.wire.now();
            let pause = now.wrapping_sub(self.last);
            if pause > LONG_PAUSE || pause > PAUSE && self.looks >= LOOKS {
                self.decoder.reset();
            }
            (self.last, self.looks) = (now, 0);
            if let Some(event) = self.decoder.push(byte) {
                return Some(event);
            }
        }
        self.looks = self.looks.saturating_add(1);
        None
    }

    /// Sends a packet and waits until it is acknowledged.
    pub(super) fn send(&mut self, kind: u16, parts: &[&[u8]], patience: Patience) -> Sent {
        let mut silences = 0;
        loop {
            self.wire.send(Header::data(kind, self.next_id, parts).as_bytes());
            parts.iter().for_each(|part| self.wire.send(part));
            self.wire.send(&[TRAILING]);
            match self.acknowledgement() {
                Answer::Acknowledged => {
                    self.next_id = (self.next_id & !SYNC) ^ 1;
                    return Sent::Acknowledged;
                }
                Answer::Again => {}
                Answer::Silence => silences += 1,
            }
            if matches!(patience, Patience::Times(times) if silences >= times) {
                // Whoever comes later begins anew.
                self.next_id |= SYNC;
                return Sent::Silence;
            }
        }
    }

    /// The deadline holds whatever comes: a line that is full of noise is as good as a silent one.
    fn acknowledgement(&mut self) -> Answer {
        let deadline = self.wire.now() + AGAIN_AFTER;
        while self.wire.now() <= deadline {
            match self.event() {
                None => self.wire.relax(),
                Some(Event::Damaged) => {}
                Some(Event::BreakIn) => self.break_in = true,
                Some(Event::Control { kind: kind::ACKNOWLEDGE, id }) if id & !SYNC == self.next_id & !SYNC => {
                    return Answer::Acknowledged;
                }
                Some(Event::Control { kind: kind::RESET, .. }) => {
                    self.begin_anew();
                    return Answer::Again;
                }
                Some(Event::Control { kind: kind::RESEND, .. }) => return Answer::Again,
                Some(Event::Control { .. }) => {}
                // The debugger goes on with a request of its own: it has our packet, and its acknowledgement was lost.
                Some(Event::Data { id, .. }) if id & !SYNC == self.expected_id => {
                    self.control(kind::RESEND, 0);
                    return Answer::Acknowledged;
                }
                Some(Event::Data { id, .. }) => self.control(kind::ACKNOWLEDGE, id & !SYNC),
            }
        }
        Answer::Silence
    }

    /// Waits for the next packet, for as long as it takes: the machine stands still.
    pub(super) fn receive(&mut self) -> Received {
        loop {
            match self.event() {
                None => self.wire.relax(),
                Some(Event::BreakIn | Event::Control { kind: kind::RESEND, .. }) => return Received::Again,
                Some(Event::Control { kind: kind::RESET, .. }) => {
                    self.begin_anew();
                    return Received::Again;
                }
                Some(Event::Control { .. }) => {}
                Some(Event::Damaged) => self.control(kind::RESEND, 0),
                Some(Event::Data { kind, id }) => {
                    self.control(kind::ACKNOWLEDGE, id & !SYNC);
                    // Another number: one that was answered before, whose acknowledgement was lost.
                    if id & !SYNC == self.expected_id {
                        self.expected_id ^= 1;
                        return Received::Packet(kind);
                    }
                }
            }
        }
    }

    /// Looks, while the machine runs, whether somebody asks it to stop.
    pub(super) fn poll_break_in(&mut self) -> bool {
        let mut found = core::mem::take(&mut self.break_in);
        while let Some(event) = self.event() {
            match event {
                Event::BreakIn => found = true,
                Event::Control { kind: kind::RESET, .. } => self.begin_anew(),
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::VecDeque;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// The other end of a line: what it will say, and what it has heard. A pause is `None`.
    #[derive(Default)]
    pub(in super::super) struct Script {
        says: VecDeque<Option<u8>>,
        heard: Vec<u8>,
        time: u64,
    }

    impl Wire for Script {
        fn send(&mut self, bytes: &[u8]) {
            self.heard.extend(bytes);
        }

        fn receive(&mut self) -> Option<u8> {
            self.time += 10;
            match self.says.front() {
                Some(Some(_)) => self.says.pop_front().flatten(),
                _ => None,
            }
        }

        fn now(&mut self) -> u64 {
            self.time += 1;
            self.time
        }

        fn relax(&mut self) {
            self.time += AGAIN_AFTER / 4;
            assert!(self.time < 1000 * AGAIN_AFTER, "it waits for something that does not come");
            // A pause is long enough that a packet is given up.
            if self.says.front() == Some(&None) {
                self.says.pop_front();
                self.time += 2 * LONG_PAUSE;
            }
        }
    }

    pub(in super::super) fn line(parts: &[&[u8]]) -> Transport<Script> {
        let mut says = VecDeque::new();
        for part in parts {
            says.extend(part.iter().map(|byte| Some(*byte)));
            says.push_back(None);
        }
        Transport::new(Script { says, ..Script::default() })
    }

    impl Transport<Script> {
        pub(in super::super) fn heard(&self) -> &[u8] {
            &self.wire.heard
        }
    }

    pub(in super::super) fn packet(kind: u16, id: u32, data: &[u8]) -> Vec<u8> {
        [Header::data(kind, id, &[data]).as_bytes(), data, &[TRAILING]].concat()
    }

    pub(in super::super) fn control(kind: u16, id: u32) -> Vec<u8> {
        Header::control(kind, id).as_bytes().to_vec()
    }

    #[test]
    fn a_request_is_acknowledged_and_one_that_comes_twice_is_taken_once() {
        let request = packet(kind::MANIPULATE, INITIAL_ID, b"one");
        let mut transport = line(&[&request, &request, &packet(kind::MANIPULATE, INITIAL_ID ^ 1, b"two")]);
        assert_eq!(transport.receive(), Received::Packet(kind::MANIPULATE));
        assert_eq!(transport.data(), b"one");
        assert_eq!(transport.receive(), Received::Packet(kind::MANIPULATE));
        assert_eq!(transport.data(), b"two");
        let said = [INITIAL_ID, INITIAL_ID, INITIAL_ID ^ 1].map(|id| control(kind::ACKNOWLEDGE, id)).concat();
        assert_eq!(transport.wire.heard, said);
    }

    #[test]
    fn a_damaged_request_is_asked_for_again() {
        let good = packet(kind::MANIPULATE, INITIAL_ID, b"one");
        let mut bad = good.clone();
        *bad.last_mut().unwrap() = 0;
        let mut transport = line(&[&bad, &good]);
        assert_eq!(transport.receive(), Received::Packet(kind::MANIPULATE));
        assert_eq!(transport.wire.heard, [control(kind::RESEND, 0), control(kind::ACKNOWLEDGE, INITIAL_ID)].concat());
    }

    #[test]
    fn a_packet_is_sent_again_until_its_own_number_is_acknowledged() {
        let mut transport = line(&[&control(kind::ACKNOWLEDGE, INITIAL_ID ^ 1), &control(kind::ACKNOWLEDGE, INITIAL_ID)]);
        assert_eq!(transport.send(kind::DEBUG_IO, &[b"te", b"xt"], Patience::Endless), Sent::Acknowledged);
        let once = packet(kind::DEBUG_IO, INITIAL_ID | SYNC, b"text");
        assert!(transport.wire.heard.len() > once.len() && transport.wire.heard.starts_with(&once));
        assert_eq!(transport.next_id, INITIAL_ID ^ 1);
    }

    #[test]
    fn a_reset_in_the_middle_begins_anew_with_the_same_packet() {
        let mut transport = line(&[&[control(kind::RESET, 0), control(kind::ACKNOWLEDGE, INITIAL_ID)].concat()]);
        transport.next_id = INITIAL_ID ^ 1;
        assert_eq!(transport.send(kind::STATE_CHANGE, &[b"stop"], Patience::Endless), Sent::Acknowledged);
        let (first, again) =
            (packet(kind::STATE_CHANGE, INITIAL_ID ^ 1, b"stop"), packet(kind::STATE_CHANGE, INITIAL_ID, b"stop"));
        assert_eq!(transport.wire.heard, [first, control(kind::RESET, 0), again].concat());
    }

    #[test]
    fn what_a_killed_debugger_left_is_no_part_of_what_the_next_one_says() {
        let whole = packet(kind::MANIPULATE, INITIAL_ID, &[7; 3000]);
        for cut in [1, 3, 8, 16, 17, 2000, whole.len() - 1] {
            let mut transport = line(&[&whole[..cut], &control(kind::RESET, 0), &packet(kind::MANIPULATE, INITIAL_ID, b"new")]);
            assert_eq!(transport.receive(), Received::Again, "cut at {cut}");
            assert_eq!(transport.receive(), Received::Packet(kind::MANIPULATE), "cut at {cut}");
            assert_eq!(transport.data(), b"new");
            let mut running = line(&[&whole[..cut]]);
            assert!(!running.poll_break_in());
            running.wire.time += 2 * LONG_PAUSE;
            running.wire.says = [Some(kd::packet::BREAK_IN)].into();
            assert!(running.poll_break_in(), "cut at {cut}");
        }
    }

    #[test]
    fn a_packet_is_whole_when_only_the_target_was_away_in_its_middle() {
        let request = packet(kind::MANIPULATE, INITIAL_ID, b"request");
        let mut transport = line(&[&request[..20]]);
        transport.wire.says.pop_back();
        assert_eq!(transport.event(), None);
        transport.wire.time += 2 * PAUSE;
        transport.wire.says = request[20..].iter().map(|byte| Some(*byte)).collect();
        assert_eq!(transport.receive(), Received::Packet(kind::MANIPULATE));
        assert_eq!(transport.data(), b"request");
    }

    proptest! {
        #[test]
        fn after_any_noise_whatever_a_debugger_can_begin(noise in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let mut transport = line(&[&noise, &control(kind::RESET, 0), &packet(kind::MANIPULATE, INITIAL_ID, b"request")]);
            let mut seen = Vec::new();
            // Each byte of noise is one event at most.
            for _ in 0..noise.len() + 2 {
                seen.push(transport.receive());
                if transport.data() == b"request" {
                    break;
                }
            }
            prop_assert_eq!(seen.last(), Some(&Received::Packet(kind::MANIPULATE)));
            prop_assert_eq!(transport.data(), b"request");
        }

        #[test]
        fn a_packet_that_nobody_acknowledges_is_given_up_whatever_else_comes(
            noise in proptest::collection::vec(any::<u8>().prop_filter("no control packet", |byte| *byte != 0x69), 0..5000),
        ) {
            let mut transport = line(&[&noise]);
            prop_assert_eq!(transport.send(kind::DEBUG_IO, &[b"text"], Patience::Times(3)), Sent::Silence);
            prop_assert_eq!(transport.next_id & SYNC, SYNC);
        }
    }
}
