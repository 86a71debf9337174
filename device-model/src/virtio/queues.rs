//! A device's virtqueues while it works on them: chains out, used entries in, one decision about an interrupt for each round.
//!
//! Whoever hosts a device (PCI, vhost-user) lends its queues for one call and hears afterwards what came of it.

use std::sync::atomic::Ordering;

use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

use super::Chain;
use crate::memory::Memory;

/// Chains that one round may take, so that a long queue cannot keep the device model from its other duties.
const ROUND_CHAINS: u32 = 256;
/// Bytes that the chains of one round may hold.
const ROUND_BYTES: u64 = 4 << 20;

/// What a virtio device can do to its host, for the time of one call.
pub trait Host {
    /// Take the next available chain of `queue`. `false` if there is none, or none that this round may take.
    fn pop(&mut self, queue: u16, chain: &mut Chain) -> bool;

    /// Give a chain back with `written` bytes in it.
    fn push(&mut self, queue: u16, head: u16, written: u32);

    /// The device cannot go on until it is reset (2.1.2).
    fn fail(&mut self);

    /// Guest memory.
    fn memory(&self) -> &Memory;

    /// Device time in nanoseconds.
    fn now(&self) -> u64;
}

/// The queues of one device, lent for one round of work.
pub struct Queues<'a, Q> {
    queues: Q,
    memory: &'a Memory,
    now: u64,
    chains_left: u32,
    bytes_left: u64,
    /// Chains of each queue that this round may take, where not all that the driver has made available are within reach.
    limits: Option<Vec<u16>>,
    taken: u64,
    used: u64,
    drained: u64,
    exhausted: bool,
    broken: bool,
}

/// Access to a queue by its index. What is not enabled does not exist.
pub trait QueueSet {
    /// The queue, if the driver has enabled it.
    fn queue(&mut self, index: u16) -> Option<&mut Queue>;
}

impl<'a, Q: QueueSet> Queues<'a, Q> {
    /// Begin a round.
    pub fn new(queues: Q, memory: &'a Memory, now: u64) -> Self {
        Self {
            queues,
            memory,
            now,
            chains_left: ROUND_CHAINS,
            bytes_left: ROUND_BYTES,
            limits: None,
            taken: 0,
            used: 0,
            drained: 0,
            exhausted: false,
            broken: false,
        }
    }

    /// Take no more chains of each queue than this.
    #[must_use]
    pub fn limited(mut self, limits: Vec<u16>) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Queues from which chains have been taken, as bits.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Queues to which chains have been given back, as bits.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Whether chains may be left because the round had to end.
    pub fn exhausted(&self) -> bool {
        self.exhausted
    }

    /// Whether the device has taken all that it found on a queue, as opposed to leaving buffers there for later.
    pub fn drained(&self, index: u16) -> bool {
        self.drained & 1 << index != 0
    }

    /// Begin another round on the same queues.
    pub fn refill(&mut self) {
        self.chains_left = ROUND_CHAINS;
        self.bytes_left = ROUND_BYTES;
        self.exhausted = false;
    }

    /// Whether a ring turned out to be unusable: the driver must reset the device.
    pub fn broken(&self) -> bool {
        self.broken
    }

    /// Ask the driver not to notify while the device looks at the queue anyway.
    pub fn quiet(&mut self, index: u16) {
        if let Some(queue) = self.queues.queue(index)
            && queue.disable_notification(self.memory).is_err()
        {
            self.broken = true;
        }
    }

    /// Ask the driver to notify again; whether it has made chains available meanwhile.
    pub fn listen(&mut self, index: u16) -> bool {
        let Some(queue) = self.queues.queue(index) else { return false };
        match queue.enable_notification(self.memory) {
            Ok(more) => more,
            Err(_) => {
                self.broken = true;
                false
            }
        }
    }

    /// End the round for one queue: whether the driver wants an interrupt for what was given back.
    pub fn wants_interrupt(&mut self, index: u16) -> bool {
        if self.used & 1 << index == 0 {
            return false;
        }
        let Some(queue) = self.queues.queue(index) else { return false };
        let wanted = queue.needs_notification(self.memory).and_then(|wanted| {
            // Without event indexes virtio-queue always says yes; the driver's flag is ours to respect.
            if queue.event_idx_enabled() {
                return Ok(wanted);
            }
            let flags: u16 = self
                .memory
                .load(GuestAddress(queue.avail_ring()), Ordering::Relaxed)
                .map_err(virtio_queue::Error::GuestMemory)?;
            Ok(u32::from(u16::from_le(flags)) & VRING_AVAIL_F_NO_INTERRUPT == 0)
        });
        wanted.unwrap_or_else(|_| {
            self.broken = true;
            false
        })
    }
}

impl<Q: QueueSet> Host for Queues<'_, Q> {
    fn pop(&mut self, index: u16, chain: &mut Chain) -> bool {
        if self.broken {
            return false;
        }
        if self.chains_left == 0 || self.bytes_left == 0 {
            self.exhausted = true;
            return false;
        }
        let mut out_of_reach = false;
        let left = self.limits.as_ref().map(|limits| limits.get(usize::from(index)).copied().unwrap_or_default());
        let Some(queue) = self.queues.queue(index) else { return false };
        let size = queue.size();
        let next = queue.avail_idx(self.memory, Ordering::Acquire).and_then(|available| {
            if available.0 == queue.next_avail() {
                return Ok(None);
            }
            if left == Some(0) {
                out_of_reach = true;
                return Ok(None);
            }
            // Not empty, so no entry means an entry that cannot be read.
            queue.iter(self.memory)?.next().map(Some).ok_or(virtio_queue::Error::InvalidAvailRingIndex)
        });
        let walk = match next {
            Ok(Some(walk)) => walk,
            Ok(None) if out_of_reach => {
                self.exhausted = true;
                return false;
            }
            Ok(None) => {
                self.drained |= 1 << index;
                return false;
            }
            Err(error) => {
                tracing::debug!(queue = index, %error, "the available ring is unusable");
                self.broken = true;
                return false;
            }
        };
        if walk.head_index() >= size {
            tracing::debug!(queue = index, head = walk.head_index(), "the available ring names a descriptor that does not exist");
            self.broken = true;
            return false;
        }
        chain.fill(size, walk);
        if let Some(left) = self.limits.as_mut().and_then(|limits| limits.get_mut(usize::from(index))) {
            *left -= 1;
        }
        self.taken |= 1 << index;
        self.chains_left -= 1;
        self.bytes_left = self.bytes_left.saturating_sub(chain.readable() + chain.writable());
        true
    }

    fn push(&mut self, index: u16, head: u16, written: u32) {
        let Some(queue) = self.queues.queue(index) else { return };
        if queue.add_used(self.memory, head, written).is_err() {
            tracing::debug!(queue = index, head, "the used ring cannot be written");
            self.broken = true;
            return;
        }
        self.used |= 1 << index;
    }

    fn fail(&mut self) {
        self.broken = true;
    }

    fn memory(&self) -> &Memory {
        self.memory
    }

    fn now(&self) -> u64 {
        self.now
    }
}
