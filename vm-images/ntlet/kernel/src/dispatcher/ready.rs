//! Threads that could run: one queue a priority, and which of them are not empty.

use super::thread::{Thread, ThreadList};

/// Number of priorities; 16 and above are real-time.
pub(crate) const PRIORITIES: usize = 32;

/// The queues. Threads in them are ready and alive; the dispatcher lock is held by whoever uses this.
pub(super) struct ReadyQueues {
    queues: [ThreadList; PRIORITIES],
    /// Bit of each queue that is not empty.
    occupied: u32,
    length: usize,
}

impl ReadyQueues {
    pub(super) const fn new() -> Self {
        Self { queues: [const { ThreadList::new() }; PRIORITIES], occupied: 0, length: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    fn index(thread: *mut Thread) -> usize {
        // SAFETY: the caller's promise: the thread is alive.
        unsafe { (*thread).priority as usize % PRIORITIES }
    }

    /// Last among those of its priority.
    pub(super) fn push_back(&mut self, thread: *mut Thread) {
        let index = Self::index(thread);
        self.queues[index].push_back(thread);
        self.occupied |= 1 << index;
        self.length += 1;
    }

    /// First among those of its priority: it was preempted.
    pub(super) fn push_front(&mut self, thread: *mut Thread) {
        let index = Self::index(thread);
        self.queues[index].push_front(thread);
        self.occupied |= 1 << index;
        self.length += 1;
    }

    /// Takes a thread out, for its priority to change.
    pub(super) fn remove(&mut self, thread: *mut Thread) {
        let index = Self::index(thread);
        self.queues[index].remove(thread);
        self.after_removal(index);
    }

    fn after_removal(&mut self, index: usize) {
        self.length -= 1;
        if self.queues[index].is_empty() {
            self.occupied &= !(1 << index);
        }
    }

    /// Takes the first of the highest priority greater than `above` that may run on `processor`.
    pub(super) fn take_best(&mut self, processor: u32, above: i32) -> Option<*mut Thread> {
        let mut candidates = if above < 0 { self.occupied } else { self.occupied & (u32::MAX << above).wrapping_shl(1) };
        if above >= PRIORITIES as i32 - 1 {
            return None;
        }
        while candidates != 0 {
            let index = candidates.ilog2() as usize;
            candidates &= !(1 << index);
            // SAFETY: threads in a queue are alive.
            let allowed = |thread: *mut Thread| unsafe { (*thread).affinity } >> processor & 1 != 0;
            let found = self.queues[index].iter().find(|&thread| allowed(thread));
            if let Some(thread) = found {
                self.queues[index].remove(thread);
                self.after_removal(index);
                return Some(thread);
            }
        }
        None
    }
}
