//! Memory that driver and device share, and how it is cut up. It is allocated once, with the device object, and addressed by slot.
//!
//! A command travels in its slot's own memory: the driver copies the payload in, the device works there, the driver copies the answer out.
//! No user page is ever the device's, so that a request can be cancelled at any time without asking the device first.

use protocol::hardware::{AdminCommand, AdminReply, CommandHeader, Event, MAX_PAYLOAD, Reply};
use wdf::dma::{CommonBuffer, DmaEnabler};
use wdf::{Bytes, BytesMut, Device, NTSTATUS, Passive, Result};

use crate::plan::SMALL;
use crate::relay::Relay;
use crate::ring::{self, Span};

/// Descriptors of each ring; a device may have fewer.
pub(crate) const COMMAND_RING: u16 = 256;
pub(crate) const EVENT_RING: u16 = 64;
pub(crate) const ADMIN_RING: u16 = 128;

/// Slots of the command queue: two descriptors each. The first are for bulk commands.
pub(crate) const COMMAND_SLOTS: usize = COMMAND_RING as usize / 2;
pub(crate) const BULK_SLOTS: usize = 2;
/// Slots of the administration queue.
pub(crate) const ADMIN_SLOTS: usize = ADMIN_RING as usize / 2;

/// Start of the writable half of a small slot, and its size; both keep the halves of neighbours in different cache lines.
const SMALL_WRITABLE: usize = (size_of::<CommandHeader>() + SMALL).next_multiple_of(64);
const SMALL_STRIDE: usize = SMALL_WRITABLE + (size_of::<Reply>() + SMALL).next_multiple_of(64);
const BULK_READABLE: usize = size_of::<CommandHeader>() + MAX_PAYLOAD as usize;
const BULK_WRITABLE: usize = size_of::<Reply>() + MAX_PAYLOAD as usize;
const ADMIN_STRIDE: usize = 64;
const EVENT_STRIDE: usize = 32;
const _: () = assert!(size_of::<AdminCommand>() + size_of::<AdminReply>() <= ADMIN_STRIDE && size_of::<Event>() <= EVENT_STRIDE);

/// The memory of all slots and event buffers, and of the three rings.
pub(crate) struct Memory {
    small: CommonBuffer,
    bulk: [(CommonBuffer, CommonBuffer); BULK_SLOTS],
    admin: CommonBuffer,
    events: CommonBuffer,
    pub(crate) command_ring: CommonBuffer,
    pub(crate) event_ring: CommonBuffer,
    pub(crate) admin_ring: CommonBuffer,
}

/// Allocates everything.
///
/// # Errors
/// `STATUS_INSUFFICIENT_RESOURCES` when there is not enough contiguous memory: 1 MiB at a time, 5 MiB together.
pub(crate) fn allocate(device: Device<'_, Relay>, passive: Passive<'_>) -> Result<()> {
    let enabler = DmaEnabler::new(device, BULK_READABLE, passive)?;
    enabler.common_buffer(|relay| &relay.memory.small, SMALL_STRIDE * (COMMAND_SLOTS - BULK_SLOTS))?;
    for slot in 0..BULK_SLOTS {
        enabler.common_buffer(|relay| &relay.memory.bulk[slot].0, BULK_READABLE)?;
        enabler.common_buffer(|relay| &relay.memory.bulk[slot].1, BULK_WRITABLE)?;
    }
    enabler.common_buffer(|relay| &relay.memory.admin, ADMIN_STRIDE * ADMIN_SLOTS)?;
    enabler.common_buffer(|relay| &relay.memory.events, EVENT_STRIDE * EVENT_RING as usize)?;
    enabler.common_buffer(|relay| &relay.memory.command_ring, ring::bytes(COMMAND_RING))?;
    enabler.common_buffer(|relay| &relay.memory.event_ring, ring::bytes(EVENT_RING))?;
    enabler.common_buffer(|relay| &relay.memory.admin_ring, ring::bytes(ADMIN_RING))
}

/// A stretch of a common buffer.
#[derive(Clone, Copy)]
pub(crate) struct Stretch<'a> {
    buffer: &'a CommonBuffer,
    offset: usize,
    length: usize,
}

impl<'a> Stretch<'a> {
    pub(crate) fn bytes(self) -> Result<Bytes<'a>> {
        self.buffer.bytes(self.offset, self.length)
    }

    pub(crate) fn bytes_mut(self) -> Result<BytesMut<'a>> {
        self.buffer.bytes_mut(self.offset, self.length)
    }

    /// The first `length` bytes of it, for the device.
    pub(crate) fn span(self, length: usize) -> Span {
        let length = length.min(self.length);
        Span { address: self.buffer.logical_address() + self.offset as u64, length: length as u32 }
    }
}

impl Memory {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self {
            small: CommonBuffer::unmade(),
            bulk: [const { (CommonBuffer::unmade(), CommonBuffer::unmade()) }; BULK_SLOTS],
            admin: CommonBuffer::unmade(),
            events: CommonBuffer::unmade(),
            command_ring: CommonBuffer::unmade(),
            event_ring: CommonBuffer::unmade(),
            admin_ring: CommonBuffer::unmade(),
        }
    }

    /// What the device reads and what it writes, of command slot `index`.
    pub(crate) fn command(&self, index: usize) -> Result<(Stretch<'_>, Stretch<'_>)> {
        if let Some((readable, writable)) = self.bulk.get(index) {
            let whole = |buffer| Stretch { buffer, offset: 0, length: CommonBuffer::len(buffer) };
            return Ok((whole(readable), whole(writable)));
        }
        let start = index.checked_sub(BULK_SLOTS).ok_or(NTSTATUS::INTERNAL_ERROR)? * SMALL_STRIDE;
        let readable = Stretch { buffer: &self.small, offset: start, length: SMALL_WRITABLE };
        let writable = Stretch { buffer: &self.small, offset: start + SMALL_WRITABLE, length: SMALL_STRIDE - SMALL_WRITABLE };
        Ok((readable, writable))
    }

    /// What the device reads and what it writes, of administration slot `index`.
    pub(crate) fn admin(&self, index: usize) -> (Stretch<'_>, Stretch<'_>) {
        let (offset, length) = (index * ADMIN_STRIDE, size_of::<AdminCommand>());
        let readable = Stretch { buffer: &self.admin, offset, length };
        (readable, Stretch { buffer: &self.admin, offset: offset + length, length: size_of::<AdminReply>() })
    }

    /// Event buffer `index`.
    pub(crate) fn event(&self, index: usize) -> Stretch<'_> {
        Stretch { buffer: &self.events, offset: index * EVENT_STRIDE, length: size_of::<Event>() }
    }
}
