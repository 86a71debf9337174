//! Virtqueues of a machine that does not share its memory. The device never waits and knows nothing of it: before it is called, rings,
//! descriptors and what it may read are brought into memory of our own that stands in the same place; what it writes there is taken back
//! afterwards, and only then is the driver interrupted.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use virtio_queue::{Queue, QueueT};
use vm_memory::Permissions;

use super::pci::PciQueue;
use crate::device::Bus;
use crate::memory::{DmaError, Far, Memory, Region, Unreachable, Watch};

/// Chains of one queue that are brought here at a time.
const MOST_CHAINS: u16 = 64;
/// Bytes of one queue's chains after which no further chain is brought at that time.
const ENOUGH_BYTES: u64 = 1 << 20;
/// Most bytes that one chain may have to read.
const MOST_BYTES: u64 = 16 << 20;
/// Most pages of the driver's memory that are kept here.
const MOST_PAGES: usize = 16384;
/// Pages from which on they are let go when no chain is in flight.
const MANY_PAGES: usize = 1024;
/// Writes that are under way at one time.
const BATCH: usize = 256;
/// Longest write that neighbours are joined to.
const JOINED: usize = 64 << 10;
/// Largest indirect table: virtio's largest queue.
const MOST_TABLE: u32 = 32768 * DESCRIPTOR;

const PAGE: u64 = 4096;
const DESCRIPTOR: u32 = 16;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

#[cfg(test)]
mod tests;

/// Whether queues may lie in memory that the machine does not share. A ROM is not shared either, but is no place for a queue.
pub(super) fn is_needed(memory: &Memory) -> bool {
    memory.far().iter().any(|range| range.access.has_write())
}

/// What the device has written, in order.
#[derive(Debug, Default)]
struct Written(Mutex<Vec<(u64, usize)>>);

impl Watch for Written {
    fn accessed(&self, address: u64, length: usize, write: bool) {
        if write {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((address, length));
        }
    }
}

/// Bytes to be taken back, and the queue whose work they are.
struct Back {
    address: u64,
    data: Vec<u8>,
    queue: Option<u16>,
}

/// Our own memory in the place of what is not shared.
pub(super) struct Mirror {
    /// The machine's memory that all this is of.
    source: Arc<Memory>,
    copies: Vec<Region>,
    plain: Memory,
    shown: Arc<Memory>,
    written: Arc<Written>,
    back: VecDeque<Back>,
    /// Pages of the copies that hold something.
    pages: BTreeSet<u64>,
    scratch: Vec<u8>,
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            source: Memory::empty(),
            copies: Vec::new(),
            plain: Memory::default(),
            shown: Memory::empty(),
            written: Arc::default(),
            back: VecDeque::new(),
            pages: BTreeSet::new(),
            scratch: Vec::new(),
        }
    }
}

/// Whether something is here already, or on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    Yes,
    Soon,
}

impl Mirror {
    /// What the device may look at and write to.
    pub(super) fn memory(&self) -> Arc<Memory> {
        self.shown.clone()
    }

    /// Bring here what the driver has made available on the queues. Returns how many chains of each the device may take.
    pub(super) fn stage(&mut self, queues: &[PciQueue], bus: &mut dyn Bus) -> Result<Vec<u16>, DmaError> {
        self.follow(bus.memory(), queues);
        let mut limits = vec![0; queues.len()];
        let mut all = There::Yes;
        for (limit, queue) in limits.iter_mut().zip(queues).filter(|(_, queue)| queue.is_enabled()) {
            match self.stage_queue(queue.ring(), bus)? {
                Some(ready) => *limit = ready,
                None => all = There::Soon,
            }
        }
        if all == There::Soon { Err(DmaError::Pending) } else { Ok(limits) }
    }

    /// The device has worked: remember what it has written.
    pub(super) fn collect(&mut self, queues: &[PciQueue]) {
        let log = std::mem::take(&mut *self.written.0.lock().unwrap_or_else(PoisonError::into_inner));
        // What is written twice is taken back once, as it is in the end, where the last write was: the index of a ring behind its entries.
        let last: HashMap<_, _> = log.iter().enumerate().map(|(at, write)| (*write, at)).collect();
        let mut untagged = self.back.len();
        for (at, &(address, length)) in log.iter().enumerate() {
            if last[&(address, length)] == at {
                self.take_back(address, length, untagged);
            }
            if let Some(queue) = queues.iter().position(|queue| queue.is_enabled() && in_used_ring(queue.ring(), address)) {
                self.back.range_mut(untagged..).for_each(|back| back.queue = Some(queue as u16));
                untagged = self.back.len();
            }
        }
    }

    /// Whether all that was written has been taken back.
    pub(super) fn is_flushed(&self) -> bool {
        self.back.is_empty()
    }

    /// Take back what was written, or a part of it.
    pub(super) fn flush(&mut self, bus: &mut dyn Bus) -> Result<(), DmaError> {
        let count = self.back.len().min(BATCH);
        let mut all = There::Yes;
        for back in self.back.range(..count) {
            match bus.dma_write(back.address, &back.data) {
                Ok(()) => {}
                Err(DmaError::Pending) => all = There::Soon,
                Err(error) => return Err(error),
            }
        }
        if all == There::Soon {
            return Err(DmaError::Pending);
        }
        self.back.drain(..count);
        Ok(())
    }

    /// A queue is reset: what was done for it is not told any more.
    pub(super) fn forget_queue(&mut self, queue: u16) {
        self.back.retain(|back| back.queue != Some(queue));
    }

    /// Be the mirror of this memory. Copies that are in use stay; when no chain is, they are let go if they have become large.
    fn follow(&mut self, memory: &Arc<Memory>, queues: &[PciQueue]) {
        let idle = queues.iter().all(|queue| queue.ring().next_avail() == queue.ring().next_used());
        let renew = idle && self.pages.len() > MANY_PAGES;
        if Arc::ptr_eq(&self.source, memory) && !renew {
            return;
        }
        let old = if renew { Vec::new() } else { std::mem::take(&mut self.copies) };
        if renew {
            self.pages.clear();
        }
        self.source = memory.clone();
        self.plain = memory.shared_only();
        self.copies.clear();
        for range in memory.far() {
            let kept = old.iter().find(|copy| (copy.base(), copy.size()) == (range.base, range.size)).cloned();
            let copy = kept.map_or_else(|| Region::anonymous(range.base, range.size), Ok);
            match copy.and_then(|copy| Ok((self.plain.with(copy.clone())?, copy))) {
                Ok((plain, copy)) => {
                    self.plain = plain;
                    self.copies.push(copy);
                }
                Err(error) => tracing::warn!(base = format_args!("{:#x}", range.base), %error, "no room for a copy of memory"),
            }
        }
        self.shown = Arc::new(self.plain.watched(self.written.clone()));
    }

    /// How many chains of a queue are here; `None` if some are on their way.
    fn stage_queue(&mut self, ring: &Queue, bus: &mut dyn Bus) -> Result<Option<u16>, DmaError> {
        let (size, next) = (ring.size(), ring.next_avail());
        let available = self.bring(ring.avail_ring(), 6 + 2 * usize::from(size), bus)?;
        let descriptors = self.bring(ring.desc_table(), (DESCRIPTOR * u32::from(size)) as usize, bus)?;
        if (available, descriptors) != (There::Yes, There::Yes) {
            return Ok(None);
        }
        // What cannot be read is for the device to find.
        let Ok(index) = self.word(ring.avail_ring().wrapping_add(2)) else { return Ok(Some(1)) };
        let count = index.wrapping_sub(next);
        if count > size {
            return Ok(Some(1));
        }
        let (mut ready, mut bytes, mut all) = (0, 0, There::Yes);
        while ready < count.min(MOST_CHAINS) && (ready == 0 || bytes < ENOUGH_BYTES) {
            let slot = next.wrapping_add(ready) % size;
            let head = self.word(ring.avail_ring().wrapping_add(4 + 2 * u64::from(slot)))?;
            match self.stage_chain(ring, head, bus)? {
                Some(length) => bytes += length,
                None => all = There::Soon,
            }
            ready += 1;
        }
        Ok((all == There::Yes).then_some(ready))
    }

    /// Bytes that a chain has to read, once they are here. A chain that breaks off is brought as far as it goes: the device refuses it.
    fn stage_chain(&mut self, ring: &Queue, head: u16, bus: &mut dyn Bus) -> Result<Option<u64>, DmaError> {
        let (mut table, mut length, mut index) = (ring.desc_table(), u32::from(ring.size()), head);
        let (mut bytes, mut all, mut indirect) = (0, There::Yes, false);
        for _ in 0..=ring.size() {
            if u32::from(index) >= length {
                break;
            }
            let mut descriptor = [0; DESCRIPTOR as usize];
            if self.plain.read_at(table.wrapping_add(u64::from(DESCRIPTOR) * u64::from(index)), &mut descriptor).is_err() {
                break;
            }
            let [address, rest] = [0, 8].map(|at| u64::from_le_bytes(descriptor[at..at + 8].try_into().unwrap_or_default()));
            let (size, flags, next) = (rest as u32, (rest >> 32) as u16, (rest >> 48) as u16);
            if flags & INDIRECT != 0 {
                if indirect || size > MOST_TABLE || self.bring(address, size as usize, bus)? == There::Soon {
                    return Ok(if indirect || size > MOST_TABLE { Some(bytes) } else { None });
                }
                (table, length, index, indirect) = (address, size / DESCRIPTOR, 0, true);
                continue;
            }
            if flags & WRITE == 0 {
                bytes += u64::from(size);
                if bytes > MOST_BYTES {
                    tracing::warn!(bytes, "a chain has more to read than can be brought from memory that is not shared");
                    return Err(Unreachable { address, length: size as usize }.into());
                }
                if self.bring(address, size as usize, bus)? == There::Soon {
                    all = There::Soon;
                }
            }
            if flags & NEXT == 0 {
                break;
            }
            index = next;
        }
        Ok((all == There::Yes).then_some(bytes))
    }

    /// Bring bytes here, if they are not shared.
    fn bring(&mut self, address: u64, length: usize, bus: &mut dyn Bus) -> Result<There, DmaError> {
        let mut all = There::Yes;
        for (address, length) in self.far_parts(address, length) {
            self.keep(address, length)?;
            self.scratch.resize(length, 0);
            match bus.dma_read(address, &mut self.scratch) {
                Ok(()) => self.plain.write_at(address, &self.scratch)?,
                Err(DmaError::Pending) => all = There::Soon,
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// The parts of a transfer that are not shared.
    fn far_parts(&self, address: u64, length: usize) -> Vec<(u64, usize)> {
        let end = u128::from(address) + length as u128;
        let part = |range: &Far| {
            let from = range.base.max(address);
            let to = (u128::from(range.base) + u128::from(range.size)).min(end);
            let count = to.checked_sub(u128::from(from)).filter(|&count| count > 0)?;
            self.source.is_far(from, count as usize, Permissions::Read).then_some((from, count as usize))
        };
        self.source.far().iter().filter_map(part).collect()
    }

    fn keep(&mut self, address: u64, length: usize) -> Result<(), Unreachable> {
        let last = address.saturating_add(length.saturating_sub(1) as u64);
        self.pages.extend(address / PAGE..=last / PAGE);
        if self.pages.len() > MOST_PAGES {
            tracing::warn!("the driver has more in flight than can be kept of memory that is not shared");
            return Err(Unreachable { address, length });
        }
        Ok(())
    }

    /// Remember to take bytes back; those from `joinable` on may be joined by their neighbours.
    fn take_back(&mut self, address: u64, length: usize, joinable: usize) {
        if !self.source.is_far(address, length, Permissions::Write) {
            return;
        }
        // What is too much is refused at the next staging.
        let _ = self.keep(address, length);
        let mut data = vec![0; length];
        if self.plain.read_at(address, &mut data).is_err() {
            return;
        }
        let free = self.back.len() > joinable;
        match self.back.back_mut().filter(|last| free && last.data.len() + length <= JOINED) {
            Some(last) if last.address.wrapping_add(last.data.len() as u64) == address => last.data.extend_from_slice(&data),
            _ => self.back.push_back(Back { address, data, queue: None }),
        }
    }

    fn word(&self, address: u64) -> Result<u16, Unreachable> {
        let mut bytes = [0; 2];
        self.plain.read_at(address, &mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }
}

/// Whether an address is in the entries or the index of a queue's used ring.
fn in_used_ring(ring: &Queue, address: u64) -> bool {
    let length = 6 + 8 * u64::from(ring.size());
    address.checked_sub(ring.used_ring()).is_some_and(|offset| offset < length)
}
