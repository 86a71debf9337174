//! A split virtqueue, seen from the driver. Pure: memory is whatever implements [`RingMemory`].
//!
//! Nothing is believed that the device writes: its index may jump, its ids may be anything. Who a returned id belongs to is not known
//! here, only that it is in range.

use core::sync::atomic::{Ordering, fence};

/// Little-endian loads and stores in memory that the device shares. Out of range, a load gives zero and a store does nothing; a ring is
/// only made over memory that is large enough.
pub(crate) trait RingMemory {
    fn load16(&self, offset: usize) -> u16;
    fn load32(&self, offset: usize) -> u32;
    fn store16(&self, offset: usize, value: u16);
    fn store32(&self, offset: usize, value: u32);
}

/// Bytes that the device finds at a logical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) address: u64,
    pub(crate) length: u32,
}

/// A chain that the device gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    /// Descriptor that the chain begins with; below the ring's size.
    pub(crate) head: u16,
    /// Bytes that the device says it wrote.
    pub(crate) written: u32,
}

/// The device broke the rules of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// The used index moved further than there are descriptors.
    IndexJump,
    /// An id that is no descriptor.
    NoSuchDescriptor,
}

const DESCRIPTOR_BYTES: usize = 16;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const NO_NOTIFY: u16 = 1;

/// Bytes of memory that a ring of `size` takes: descriptors, available ring, used ring.
pub(crate) const fn bytes(size: u16) -> usize {
    used_offset(size) + 6 + 8 * size as usize
}

const fn available_offset(size: u16) -> usize {
    DESCRIPTOR_BYTES * size as usize
}

const fn used_offset(size: u16) -> usize {
    (available_offset(size) + 6 + 2 * size as usize).next_multiple_of(4)
}

/// Where the three parts of a ring are, for the device's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) descriptors: u64,
    pub(crate) available: u64,
    pub(crate) used: u64,
}

/// The driver's side of one virtqueue. Its memory is given to each call, always the same, of at least [`bytes`] of the largest size.
#[derive(Debug)]
pub(crate) struct Ring {
    size: u16,
    /// Next entry of the available ring, counted without end.
    available: u16,
    /// Next entry of the used ring, counted without end.
    used: u16,
}

impl Ring {
    /// A ring that has no descriptors until [`restart`](Self::restart).
    pub(crate) const fn new() -> Self {
        Self { size: 0, available: 0, used: 0 }
    }

    /// Begins anew with `size` descriptors, a power of two, after the device was reset.
    pub(crate) fn restart(&mut self, memory: &impl RingMemory, size: u16) {
        self.size = size;
        self.available = 0;
        self.used = 0;
        for offset in (0..bytes(size)).step_by(2) {
            memory.store16(offset, 0);
        }
    }

    pub(crate) const fn size(&self) -> u16 {
        self.size
    }

    pub(crate) const fn addresses(&self, base: u64) -> Addresses {
        Addresses {
            descriptors: base,
            available: base + available_offset(self.size) as u64,
            used: base + used_offset(self.size) as u64,
        }
    }

    /// Gives the device a chain of two: `readable`, then `writable`, in descriptors `head` and `head + 1`, which are not the device's now.
    pub(crate) fn offer_pair(&mut self, memory: &impl RingMemory, head: u16, readable: Span, writable: Span) {
        describe(memory, head, readable, NEXT, head + 1);
        describe(memory, head + 1, writable, WRITE, 0);
        self.offer(memory, head);
    }

    /// Gives the device one writable buffer, in descriptor `head`, which is not the device's now.
    pub(crate) fn offer_writable(&mut self, memory: &impl RingMemory, head: u16, writable: Span) {
        describe(memory, head, writable, WRITE, 0);
        self.offer(memory, head);
    }

    fn offer(&mut self, memory: &impl RingMemory, head: u16) {
        let ring = available_offset(self.size);
        memory.store16(ring + 4 + 2 * usize::from(self.available % self.size), head);
        self.available = self.available.wrapping_add(1);
        // The chain and its entry must be there before the index that shows them.
        fence(Ordering::Release);
        memory.store16(ring + 2, self.available);
    }

    /// Whether the device wants to hear the doorbell. Ask after offering.
    pub(crate) fn wants_doorbell(&self, memory: &impl RingMemory) -> bool {
        // The index must be out before the flag is read, or both sides may think that the other one will look.
        fence(Ordering::SeqCst);
        memory.load16(used_offset(self.size)) & NO_NOTIFY == 0
    }

    /// The next chain that the device gave back.
    pub(crate) fn take_used(&mut self, memory: &impl RingMemory) -> Result<Option<Used>, Violation> {
        if self.size == 0 {
            return Ok(None);
        }
        let ring = used_offset(self.size);
        let ready = memory.load16(ring + 2).wrapping_sub(self.used);
        if ready == 0 {
            return Ok(None);
        }
        if ready > self.size {
            return Err(Violation::IndexJump);
        }
        // The entry is read after the index that shows it.
        fence(Ordering::Acquire);
        let entry = ring + 4 + 8 * usize::from(self.used % self.size);
        let (id, written) = (memory.load32(entry), memory.load32(entry + 4));
        self.used = self.used.wrapping_add(1);
        match u16::try_from(id) {
            Ok(head) if head < self.size => Ok(Some(Used { head, written })),
            _ => Err(Violation::NoSuchDescriptor),
        }
    }
}

fn describe(memory: &impl RingMemory, index: u16, span: Span, flags: u16, next: u16) {
    let at = DESCRIPTOR_BYTES * usize::from(index);
    memory.store32(at, span.address as u32);
    memory.store32(at + 4, (span.address >> 32) as u32);
    memory.store32(at + 8, span.length);
    memory.store16(at + 12, flags);
    memory.store16(at + 14, next);
}

impl RingMemory for wdf::dma::CommonBuffer {
    fn load16(&self, offset: usize) -> u16 {
        self.load(offset).unwrap_or_default()
    }

    fn load32(&self, offset: usize) -> u32 {
        self.load(offset).unwrap_or_default()
    }

    fn store16(&self, offset: usize, value: u16) {
        self.store(offset, value);
    }

    fn store32(&self, offset: usize, value: u32) {
        self.store(offset, value);
    }
}

#[cfg(test)]
mod tests;
