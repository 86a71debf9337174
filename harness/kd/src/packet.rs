//! Packets on a KD serial line. Both sides use the same codec; who sends what, and who answers, is theirs.
//!
//! A packet is a header of 16 bytes and, when it is no control packet, its data and one trailing byte. Whatever is on the line between
//! packets is skipped, but for the break-in byte. No input makes [`Decoder`] keep more than one packet's data.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most bytes of a packet's data.
pub const MOST_DATA: usize = 4000;
/// Asks the target to stop.
pub const BREAK_IN: u8 = 0x62;
/// Ends a data packet.
pub const TRAILING: u8 = 0xaa;
/// Four of these begin a data packet.
const DATA_LEADER: u8 = 0x30;
/// Four of these begin a control packet.
const CONTROL_LEADER: u8 = 0x69;
/// Id of the first packet in either direction.
pub const INITIAL_ID: u32 = 0x8080_0000;
/// Set in the id of a packet with which a side begins anew.
pub const SYNC: u32 = 0x800;

/// Kinds of packets.
pub mod kind {
    /// A request about the target's state, and its answer.
    pub const MANIPULATE: u16 = 2;
    /// Text from the target, or a question.
    pub const DEBUG_IO: u16 = 3;
    /// Control: the packet of this id has arrived.
    pub const ACKNOWLEDGE: u16 = 4;
    /// Control: the last packet did not arrive whole.
    pub const RESEND: u16 = 5;
    /// Control: begin anew.
    pub const RESET: u16 = 6;
    /// The target has stopped.
    pub const STATE_CHANGE: u16 = 7;
    /// Files of the debugger's machine.
    pub const FILE_IO: u16 = 11;
    /// First number that is no kind.
    pub const MAXIMUM: u16 = 12;
}

/// `KD_PACKET`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// Four times the same byte.
    pub leader: u32,
    /// One of [`kind`].
    pub kind: u16,
    /// Bytes of data.
    pub length: u16,
    /// Number of the packet; of a control packet, the one it is about.
    pub id: u32,
    /// Sum of the data's bytes.
    pub checksum: u32,
}

const _: () = assert!(size_of::<Header>() == 16);

/// Sum of a packet's bytes.
#[must_use]
pub fn checksum(parts: &[&[u8]]) -> u32 {
    parts.iter().flat_map(|part| part.iter()).fold(0, |sum, byte| sum.wrapping_add(u32::from(*byte)))
}

impl Header {
    /// Of a data packet. The caller keeps `parts` within [`MOST_DATA`] bytes.
    #[must_use]
    pub fn data(kind: u16, id: u32, parts: &[&[u8]]) -> Self {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        debug_assert!(length <= MOST_DATA);
        Self { leader: u32::from_le_bytes([DATA_LEADER; 4]), kind, length: length as u16, id, checksum: checksum(parts) }
    }

    /// Of a control packet.
    #[must_use]
    pub fn control(kind: u16, id: u32) -> Self {
        Self { leader: u32::from_le_bytes([CONTROL_LEADER; 4]), kind, length: 0, id, checksum: 0 }
    }
}

/// What a byte completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The break-in byte, between packets.
    BreakIn,
    /// A control packet.
    Control {
        /// One of [`kind`].
        kind: u16,
        /// The packet it is about.
        id: u32,
    },
    /// A data packet; [`Decoder::data`] has what it carries until the next byte.
    Data {
        /// One of [`kind`].
        kind: u16,
        /// Its number.
        id: u32,
    },
    /// A packet that did not arrive whole, or that no side may send.
    Damaged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Between packets; so many equal leader bytes have come.
    Leader(u8, u8),
    /// In the header, at this byte.
    Header(usize),
    /// In the data, at this byte.
    Data(usize),
    /// Before the trailing byte.
    Trailing,
}

/// Finds packets in bytes.
#[derive(Debug)]
pub struct Decoder {
    place: Place,
    raw: [u8; 16],
    header: Header,
    data: [u8; MOST_DATA],
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// Between packets.
    #[must_use]
    pub const fn new() -> Self {
        let header = Header { leader: 0, kind: 0, length: 0, id: 0, checksum: 0 };
        Self { place: Place::Leader(0, 0), raw: [0; 16], header, data: [0; MOST_DATA] }
    }

    /// Data of the packet that [`Event::Data`] told of.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data[..usize::from(self.header.length).min(MOST_DATA)]
    }

    /// Forgets a packet that has begun.
    pub fn reset(&mut self) {
        self.place = Place::Leader(0, 0);
    }

    /// Whether a packet has begun.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        !matches!(self.place, Place::Leader(_, 0))
    }

    /// What has come of a packet's beginning that may yet turn out to be none: a byte, and how often.
    #[must_use]
    pub fn unfinished_leader(&self) -> (u8, usize) {
        match self.place {
            Place::Leader(byte, count) => (byte, usize::from(count)),
            _ => (0, 0),
        }
    }

    /// The header that was the reason of [`Event::Damaged`] when it is text: zeros in what a system prints look like the beginning of
    /// a packet.
    #[must_use]
    pub fn text_for_header(&self) -> Option<&[u8]> {
        (self.header.length == 0 && self.is_text()).then_some(&self.raw)
    }

    /// Whether the header has printable bytes only, as no packet's has: ids do not look like that.
    fn is_text(&self) -> bool {
        self.raw.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
    }

    /// Takes one byte.
    pub fn push(&mut self, byte: u8) -> Option<Event> {
        match self.place {
            Place::Leader(leader, count) => self.leader(leader, count, byte),
            Place::Header(at) => {
                self.raw[at] = byte;
                if at + 1 < self.raw.len() {
                    self.place = Place::Header(at + 1);
                    return None;
                }
                self.header_is_complete()
            }
            Place::Data(at) => {
                self.data[at] = byte;
                self.place = if at + 1 < usize::from(self.header.length) { Place::Data(at + 1) } else { Place::Trailing };
                None
            }
            Place::Trailing => {
                self.reset();
                let is_whole = byte == TRAILING && checksum(&[self.data()]) == self.header.checksum;
                Some(if is_whole { Event::Data { kind: self.header.kind, id: self.header.id } } else { Event::Damaged })
            }
        }
    }

    fn leader(&mut self, leader: u8, count: u8, byte: u8) -> Option<Event> {
        if byte != DATA_LEADER && byte != CONTROL_LEADER {
            self.reset();
            return (byte == BREAK_IN).then_some(Event::BreakIn);
        }
        let count = if byte == leader { count + 1 } else { 1 };
        self.place = if count == 4 { Place::Header(4) } else { Place::Leader(byte, count) };
        if count == 4 {
            self.raw[..4].fill(byte);
        }
        None
    }

    fn header_is_complete(&mut self) -> Option<Event> {
        self.reset();
        let header = Header::read_from_bytes(&self.raw).unwrap_or_default();
        self.header = header;
        if self.raw[0] == CONTROL_LEADER {
            return Some(Event::Control { kind: header.kind, id: header.id });
        }
        if header.length == 0 || usize::from(header.length) > MOST_DATA || self.is_text() {
            self.header.length = 0;
            return Some(Event::Damaged);
        }
        self.place = Place::Data(0);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn packet(kind: u16, id: u32, data: &[u8]) -> Vec<u8> {
        let header = Header::data(kind, id, &[data]);
        [header.as_bytes(), data, &[TRAILING]].concat()
    }

    fn events(bytes: &[u8]) -> Vec<(Event, Vec<u8>)> {
        let mut decoder = Decoder::new();
        bytes.iter().filter_map(|byte| decoder.push(*byte).map(|event| (event, decoder.data().to_vec()))).collect()
    }

    #[test]
    fn a_header_has_the_bytes_that_the_protocol_documents() {
        assert_eq!(Header::control(kind::RESET, 0).as_bytes(), b"iiii\x06\0\0\0\0\0\0\0\0\0\0\0");
        let header = Header::data(kind::MANIPULATE, INITIAL_ID | SYNC, &[&[1, 2], &[0xff]]);
        assert_eq!(header.as_bytes(), b"0000\x02\0\x03\0\0\x08\x80\x80\x02\x01\0\0");
    }

    #[test]
    fn a_break_in_byte_counts_between_packets_only() {
        let inside = packet(kind::DEBUG_IO, 1, b"bbb");
        let all = [b"xb", &inside[..], b"b"].concat();
        let found: Vec<Event> = events(&all).into_iter().map(|(event, _)| event).collect();
        assert_eq!(found, [Event::BreakIn, Event::Data { kind: kind::DEBUG_IO, id: 1 }, Event::BreakIn]);
    }

    #[test]
    fn a_packet_longer_than_the_protocol_allows_is_damaged_and_costs_its_header_only() {
        let mut header = Header::data(kind::MANIPULATE, 1, &[]);
        header.length = MOST_DATA as u16 + 1;
        let next = packet(kind::MANIPULATE, 2, b"ok");
        let all = [header.as_bytes(), &next[..]].concat();
        let found: Vec<Event> = events(&all).into_iter().map(|(event, _)| event).collect();
        assert_eq!(found, [Event::Damaged, Event::Data { kind: kind::MANIPULATE, id: 2 }]);
    }

    proptest! {
        #[test]
        fn what_one_side_sends_the_other_reads(
            noise in proptest::collection::vec(any::<u8>().prop_filter("no leader", |b| ![DATA_LEADER, CONTROL_LEADER].contains(b)), 0..50),
            kind in any::<u16>(), id in any::<u32>(), data in proptest::collection::vec(any::<u8>(), 1..=MOST_DATA),
        ) {
            let all = [&noise[..], &packet(kind, id, &data)[..]].concat();
            let last = events(&all).pop().unwrap();
            prop_assert_eq!(last, (Event::Data { kind, id }, data));
        }

        #[test]
        fn a_changed_byte_never_passes_for_the_packet(
            data in proptest::collection::vec(any::<u8>(), 1..200), at in any::<proptest::sample::Index>(), change in 1..=255u8,
        ) {
            let mut bytes = packet(kind::MANIPULATE, 7, &data);
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            for (event, found) in events(&bytes) {
                let is_it = event == (Event::Data { kind: kind::MANIPULATE, id: 7 }) && found == data;
                prop_assert!(!is_it || at < 4, "byte {at} was changed");
            }
        }

        #[test]
        fn no_bytes_whatever_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            for (_, data) in events(&bytes) {
                prop_assert!(data.len() <= MOST_DATA);
            }
        }
    }
}
