//! The target's end of the packet protocol: numbering, acknowledgement, sending again, beginning anew.

use kd::packet::{Decoder, Event, Header, INITIAL_ID, SYNC, TRAILING, kind};
use kd::zerocopy::IntoBytes as _;

use super::port;
use crate::hal;

/// Units of 100 ns after which a packet that nobody has acknowledged is sent again.
const AGAIN_AFTER: u64 = 3_000_000;

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
pub(super) enum Received {
    /// A data packet of this kind; the decoder has its data.
    Packet(u16),
    /// The debugger wants to hear again where the target is.
    Again,
}

/// State of the line.
pub(super) struct Transport {
    decoder: Decoder,
    next_id: u32,
    expected_id: u32,
    /// A break-in came while the target was busy sending.
    pub(super) break_in: bool,
}

impl Transport {
    pub(super) const fn new() -> Self {
        Self { decoder: Decoder::new(), next_id: INITIAL_ID | SYNC, expected_id: INITIAL_ID, break_in: false }
    }

    /// Data of the packet that arrived last.
    pub(super) fn data(&self) -> &[u8] {
        self.decoder.data()
    }

    fn control(kind: u16, id: u32) {
        port::send(Header::control(kind, id).as_bytes());
    }

    fn begin_anew(&mut self) {
        (self.next_id, self.expected_id) = (INITIAL_ID, INITIAL_ID);
        Self::control(kind::RESET, 0);
    }

    /// Sends a packet and waits until it is acknowledged.
    pub(super) fn send(&mut self, kind: u16, parts: &[&[u8]], patience: Patience) -> Sent {
        let mut silences = 0;
        loop {
            port::send(Header::data(kind, self.next_id, parts).as_bytes());
            parts.iter().for_each(|part| port::send(part));
            port::send(&[TRAILING]);
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
                self.decoder.reset();
                return Sent::Silence;
            }
        }
    }

    fn acknowledgement(&mut self) -> Answer {
        let deadline = hal().uptime() + AGAIN_AFTER;
        loop {
            let Some(byte) = port::receive() else {
                if hal().uptime() > deadline {
                    self.decoder.reset();
                    return Answer::Silence;
                }
                hal().relax();
                continue;
            };
            match self.decoder.push(byte) {
                None | Some(Event::Damaged) => {}
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
                    Self::control(kind::RESEND, 0);
                    return Answer::Acknowledged;
                }
                Some(Event::Data { id, .. }) => Self::control(kind::ACKNOWLEDGE, id & !SYNC),
            }
        }
    }

    /// Waits for the next packet, for as long as it takes: the machine stands still.
    pub(super) fn receive(&mut self) -> Received {
        loop {
            let Some(byte) = port::receive() else {
                hal().relax();
                continue;
            };
            match self.decoder.push(byte) {
                None => {}
                Some(Event::BreakIn | Event::Control { kind: kind::RESEND, .. }) => return Received::Again,
                Some(Event::Control { kind: kind::RESET, .. }) => {
                    self.begin_anew();
                    return Received::Again;
                }
                Some(Event::Control { .. }) => {}
                Some(Event::Damaged) => Self::control(kind::RESEND, 0),
                Some(Event::Data { kind, id }) => {
                    Self::control(kind::ACKNOWLEDGE, id & !SYNC);
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
        while let Some(byte) = port::receive() {
            match self.decoder.push(byte) {
                Some(Event::BreakIn) => found = true,
                Some(Event::Control { kind: kind::RESET, .. }) => self.begin_anew(),
                _ => {}
            }
        }
        found
    }
}
