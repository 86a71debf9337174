//! One event: what it says, and its bytes inside a block.
//!
//! An event is a head byte (kind, size of a register access, whether the device acted of its own accord), the time since the event before
//! it, and what its kind has. Numbers are variable-length, seven bits a byte, least first, but for register values, which have their size.

use super::format::MAX_DATA;

/// An event with the device time at which it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Device time in nanoseconds.
    pub time: u64,
    /// Whether the device did it when its time had come, and not because it was just accessed.
    pub own_accord: bool,
    /// What happened.
    pub what: What<'a>,
}

/// What happened. Data is at most [`MAX_DATA`] bytes long; what a chain held beyond them is not in the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// The driver read a register: 1, 2, 4 or 8 bytes.
    Read {
        /// Base address register.
        bar: u8,
        /// Offset in it.
        offset: u64,
        /// What the device answered.
        data: &'a [u8],
    },
    /// The driver wrote a register: 1, 2, 4 or 8 bytes.
    Write {
        /// Base address register.
        bar: u8,
        /// Offset in it.
        offset: u64,
        /// What it wrote.
        data: &'a [u8],
    },
    /// Configuration space was read.
    ConfigRead {
        /// Offset.
        offset: u64,
        /// The answer.
        data: &'a [u8],
    },
    /// Configuration space was written.
    ConfigWrite {
        /// Offset.
        offset: u64,
        /// What was written.
        data: &'a [u8],
    },
    /// The device read guest memory.
    DmaRead {
        /// Guest address.
        address: u64,
        /// What was there.
        data: &'a [u8],
    },
    /// The device wrote guest memory.
    DmaWrite {
        /// Guest address.
        address: u64,
        /// What it wrote.
        data: &'a [u8],
    },
    /// The device named an address that it may not reach that way.
    DmaFailed {
        /// Guest address.
        address: u64,
        /// Bytes.
        length: u64,
        /// Whether it would have written.
        write: bool,
    },
    /// The device sent an interrupt message.
    Interrupt {
        /// Vector.
        vector: u16,
    },
    /// The device set the level of its interrupt pin.
    Pin {
        /// Whether it is asserted.
        level: bool,
    },
    /// The device went back to power-on.
    Reset,
    /// The driver put the device into a power state.
    Power {
        /// 0 to 3.
        state: u8,
    },
    /// The device took a chain off a queue.
    Taken {
        /// Queue.
        queue: u16,
        /// First descriptor.
        head: u16,
        /// The request's tag, if the device knows what a tag is.
        tag: Option<u64>,
        /// Bytes that the device may read, all of them.
        readable: u64,
        /// Bytes that it may write.
        writable: u64,
        /// The readable ones.
        data: &'a [u8],
    },
    /// The device gave a chain back.
    Given {
        /// Queue.
        queue: u16,
        /// First descriptor.
        head: u16,
        /// Bytes that it says it has written.
        written: u32,
        /// They.
        data: &'a [u8],
    },
    /// One queue was reset.
    QueueReset {
        /// Queue.
        queue: u16,
    },
    /// The driver is ready.
    Start {
        /// Features that both sides have.
        features: u64,
    },
    /// The driver read the virtio device's configuration.
    DeviceRead {
        /// Offset.
        offset: u64,
        /// The answer.
        data: &'a [u8],
    },
    /// The driver wrote it.
    DeviceWrite {
        /// Offset.
        offset: u64,
        /// What it wrote.
        data: &'a [u8],
    },
    /// The driver read the pages that the device could have shared.
    SharedRead {
        /// Offset.
        offset: u64,
        /// The answer.
        data: &'a [u8],
    },
    /// The virtio device asked for a reset.
    NeedsReset,
    /// A note of the recorder.
    Note {
        /// Its text, in UTF-8.
        text: &'a [u8],
    },
}

/// The kinds, by the number that stands in the head byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is a variant of `What`, and told there")]
pub enum Kind {
    Read = 1,
    Write = 2,
    ConfigRead = 3,
    ConfigWrite = 4,
    DmaRead = 5,
    DmaWrite = 6,
    DmaFailed = 7,
    Interrupt = 8,
    Pin = 9,
    Reset = 10,
    Power = 11,
    Taken = 12,
    Given = 13,
    QueueReset = 14,
    Start = 15,
    DeviceRead = 16,
    DeviceWrite = 17,
    SharedRead = 18,
    Note = 19,
    NeedsReset = 20,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 20] = [
        Self::Read,
        Self::Write,
        Self::ConfigRead,
        Self::ConfigWrite,
        Self::DmaRead,
        Self::DmaWrite,
        Self::DmaFailed,
        Self::Interrupt,
        Self::Pin,
        Self::Reset,
        Self::Power,
        Self::Taken,
        Self::Given,
        Self::QueueReset,
        Self::Start,
        Self::DeviceRead,
        Self::DeviceWrite,
        Self::SharedRead,
        Self::Note,
        Self::NeedsReset,
    ];

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Its name in listings and filters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ConfigRead => "config-read",
            Self::ConfigWrite => "config-write",
            Self::DmaRead => "dma-read",
            Self::DmaWrite => "dma-write",
            Self::DmaFailed => "dma-failed",
            Self::Interrupt => "interrupt",
            Self::Pin => "pin",
            Self::Reset => "reset",
            Self::Power => "power",
            Self::Taken => "taken",
            Self::Given => "given",
            Self::QueueReset => "queue-reset",
            Self::Start => "start",
            Self::DeviceRead => "device-read",
            Self::DeviceWrite => "device-write",
            Self::SharedRead => "shared-read",
            Self::Note => "note",
            Self::NeedsReset => "needs-reset",
        }
    }
}

/// The head of an event that only moves time on.
const TIME: u8 = 0;
const KIND_BITS: u8 = 0x1f;
const SIZE_SHIFT: u8 = 5;
const OWN_ACCORD: u8 = 0x80;
/// A larger step of time stands before the event, in an event of its own, so that a register event stays short.
const LONGEST_STEP: u64 = 1 << 28;

impl<'a> What<'a> {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Read { .. } => Kind::Read,
            Self::Write { .. } => Kind::Write,
            Self::ConfigRead { .. } => Kind::ConfigRead,
            Self::ConfigWrite { .. } => Kind::ConfigWrite,
            Self::DmaRead { .. } => Kind::DmaRead,
            Self::DmaWrite { .. } => Kind::DmaWrite,
            Self::DmaFailed { .. } => Kind::DmaFailed,
            Self::Interrupt { .. } => Kind::Interrupt,
            Self::Pin { .. } => Kind::Pin,
            Self::Reset => Kind::Reset,
            Self::Power { .. } => Kind::Power,
            Self::Taken { .. } => Kind::Taken,
            Self::Given { .. } => Kind::Given,
            Self::QueueReset { .. } => Kind::QueueReset,
            Self::Start { .. } => Kind::Start,
            Self::DeviceRead { .. } => Kind::DeviceRead,
            Self::DeviceWrite { .. } => Kind::DeviceWrite,
            Self::SharedRead { .. } => Kind::SharedRead,
            Self::NeedsReset => Kind::NeedsReset,
            Self::Note { .. } => Kind::Note,
        }
    }

    /// Its data, if its kind has some.
    pub const fn data(&self) -> &'a [u8] {
        match self {
            Self::Read { data, .. }
            | Self::Write { data, .. }
            | Self::ConfigRead { data, .. }
            | Self::ConfigWrite { data, .. }
            | Self::DmaRead { data, .. }
            | Self::DmaWrite { data, .. }
            | Self::Taken { data, .. }
            | Self::Given { data, .. }
            | Self::DeviceRead { data, .. }
            | Self::DeviceWrite { data, .. }
            | Self::SharedRead { data, .. }
            | Self::Note { text: data } => data,
            _ => &[],
        }
    }

    /// Whether the driver did it, and not the device.
    pub const fn is_drivers(&self) -> bool {
        matches!(
            self,
            Self::Read { .. }
                | Self::Write { .. }
                | Self::ConfigRead { .. }
                | Self::ConfigWrite { .. }
                | Self::Reset
                | Self::Power { .. }
                | Self::Taken { .. }
                | Self::QueueReset { .. }
                | Self::Start { .. }
                | Self::DeviceRead { .. }
                | Self::DeviceWrite { .. }
                | Self::SharedRead { .. }
        )
    }
}

/// Append an event that happened `step` nanoseconds after the one before it. Its data, so many bytes, is not that of `what`: `fill` puts it in
/// its place, so that it is copied once. `false` if `fill` could not: then nothing is appended.
#[inline]
pub(super) fn encode(
    into: &mut Vec<u8>,
    step: u64,
    own_accord: bool,
    what: &What<'_>,
    length: usize,
    fill: impl FnOnce(&mut [u8]) -> bool,
) -> bool {
    let begin = into.len();
    let mut step = step;
    if step >= LONGEST_STEP {
        into.push(TIME);
        number(into, step);
        step = 0;
    }
    let own = if own_accord { OWN_ACCORD } else { 0 };
    let kind = what.kind();
    let is_register = matches!(kind, Kind::Read | Kind::Write);
    let size = if is_register { length.trailing_zeros() as u8 } else { 0 };
    into.push(kind as u8 | size << SIZE_SHIFT | own);
    number(into, step);
    if !encode_fields(into, what) {
        return true;
    }
    if !is_register {
        number(into, length as u64);
    }
    let at = into.len();
    into.resize(at + length, 0);
    let filled = fill(&mut into[at..]);
    if !filled {
        into.truncate(begin);
    }
    filled
}

/// Append all that an event has before its data. Whether it has data.
#[inline]
fn encode_fields(into: &mut Vec<u8>, what: &What<'_>) -> bool {
    match *what {
        What::Read { bar, offset, data } | What::Write { bar, offset, data } => {
            debug_assert!(matches!(data.len(), 1 | 2 | 4 | 8) && bar < 8 && offset < 1 << 61);
            number(into, offset << 3 | u64::from(bar));
        }
        What::ConfigRead { offset: at, .. }
        | What::ConfigWrite { offset: at, .. }
        | What::DeviceRead { offset: at, .. }
        | What::DeviceWrite { offset: at, .. }
        | What::SharedRead { offset: at, .. }
        | What::DmaRead { address: at, .. }
        | What::DmaWrite { address: at, .. } => number(into, at),
        What::DmaFailed { address, length, write } => {
            number(into, address);
            number(into, length);
            into.push(u8::from(write));
            return false;
        }
        What::Taken { queue, head, tag, readable, writable, .. } => {
            number(into, u64::from(queue));
            number(into, u64::from(head));
            into.push(u8::from(tag.is_some()));
            if let Some(tag) = tag {
                into.extend_from_slice(&tag.to_le_bytes());
            }
            number(into, readable);
            number(into, writable);
        }
        What::Given { queue, head, written, .. } => {
            number(into, u64::from(queue));
            number(into, u64::from(head));
            number(into, u64::from(written));
        }
        What::Note { .. } => {}
        What::Interrupt { vector: small } | What::QueueReset { queue: small } => {
            number(into, u64::from(small));
            return false;
        }
        What::Pin { level } => {
            into.push(u8::from(level));
            return false;
        }
        What::Power { state } => {
            into.push(state);
            return false;
        }
        What::Start { features } => {
            number(into, features);
            return false;
        }
        What::Reset | What::NeedsReset => return false,
    }
    true
}

/// Append an event with its own data.
#[inline]
pub(super) fn encode_whole(into: &mut Vec<u8>, step: u64, own_accord: bool, what: &What<'_>) {
    let length = what.data().len().min(MAX_DATA);
    encode(into, step, own_accord, what, length, |room| {
        room.copy_from_slice(&what.data()[..length]);
        true
    });
}

#[inline]
fn number(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// Take the next event off `from`; its time becomes the new `time`. `None` if these bytes are no event.
#[inline]
pub(super) fn decode<'a>(from: &mut &'a [u8], time: &mut u64) -> Option<Event<'a>> {
    let mut head = take(from, 1)?[0];
    while head == TIME {
        *time = time.checked_add(take_number(from)?)?;
        head = take(from, 1)?[0];
    }
    *time = time.checked_add(take_number(from)?)?;
    let kind = Kind::from_number(head & KIND_BITS)?;
    let size = 1_usize << (head >> SIZE_SHIFT & 3);
    let what = decode_what(from, kind, size)?;
    Some(Event { time: *time, own_accord: head & OWN_ACCORD != 0, what })
}

#[inline]
fn decode_what<'a>(from: &mut &'a [u8], kind: Kind, size: usize) -> Option<What<'a>> {
    Some(match kind {
        Kind::Read | Kind::Write => {
            let place = take_number(from)?;
            let (bar, offset, data) = ((place & 7) as u8, place >> 3, take(from, size)?);
            if kind == Kind::Read { What::Read { bar, offset, data } } else { What::Write { bar, offset, data } }
        }
        Kind::ConfigRead => What::ConfigRead { offset: take_number(from)?, data: take_bytes(from)? },
        Kind::ConfigWrite => What::ConfigWrite { offset: take_number(from)?, data: take_bytes(from)? },
        Kind::DmaRead => What::DmaRead { address: take_number(from)?, data: take_bytes(from)? },
        Kind::DmaWrite => What::DmaWrite { address: take_number(from)?, data: take_bytes(from)? },
        Kind::DmaFailed => What::DmaFailed { address: take_number(from)?, length: take_number(from)?, write: take_flag(from)? },
        Kind::Interrupt => What::Interrupt { vector: take_small(from)? },
        Kind::Pin => What::Pin { level: take_flag(from)? },
        Kind::Reset => What::Reset,
        Kind::Power => What::Power { state: take(from, 1)?[0] },
        Kind::Taken => {
            let (queue, head) = (take_small(from)?, take_small(from)?);
            let tag = if take_flag(from)? { Some(u64::from_le_bytes(take(from, 8)?.try_into().ok()?)) } else { None };
            let (readable, writable) = (take_number(from)?, take_number(from)?);
            What::Taken { queue, head, tag, readable, writable, data: take_bytes(from)? }
        }
        Kind::Given => What::Given {
            queue: take_small(from)?,
            head: take_small(from)?,
            written: take_number(from)?.try_into().ok()?,
            data: take_bytes(from)?,
        },
        Kind::QueueReset => What::QueueReset { queue: take_small(from)? },
        Kind::Start => What::Start { features: take_number(from)? },
        Kind::DeviceRead => What::DeviceRead { offset: take_number(from)?, data: take_bytes(from)? },
        Kind::DeviceWrite => What::DeviceWrite { offset: take_number(from)?, data: take_bytes(from)? },
        Kind::SharedRead => What::SharedRead { offset: take_number(from)?, data: take_bytes(from)? },
        Kind::NeedsReset => What::NeedsReset,
        Kind::Note => What::Note { text: take_bytes(from)? },
    })
}

#[inline]
fn take<'a>(from: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(taken)
}

#[inline]
fn take_number(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (index, &byte) in from.iter().enumerate().take(10) {
        let part = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if index == 9 && part > 1 {
            return None;
        }
        value |= part << (7 * index);
        if byte & 0x80 == 0 {
            *from = &from[index + 1..];
            return Some(value);
        }
    }
    None
}

fn take_small(from: &mut &[u8]) -> Option<u16> {
    take_number(from)?.try_into().ok()
}

fn take_flag(from: &mut &[u8]) -> Option<bool> {
    match take(from, 1)?[0] {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn take_bytes<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_number(from)?).ok().filter(|length| *length <= MAX_DATA)?;
    take(from, length)
}
