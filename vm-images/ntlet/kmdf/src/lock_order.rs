//! A check that Windows does not make: the order in which threads take a driver's spin and wait locks. Two locks that are taken in one
//! order here and in the other there can deadlock; the verifier reports it when it sees both orders, not when it hangs.

use crate::globals::Globals;
use crate::lock::current_thread;
use crate::object::AnyRef;
use crate::sync::SpinLock;
use crate::verifier::{self, Rule};

/// Locks that can be held at once by all threads, and orders remembered. More are not watched.
const HELD: usize = 64;
const ORDERS: usize = 256;

struct Watched {
    /// Thread and lock of each lock that is held; lock 0 marks a free place.
    held: [(usize, usize); HELD],
    /// Pairs (first, second) seen, in a ring.
    orders: [(usize, usize); ORDERS],
    next: usize,
}

static WATCHED: SpinLock<Watched> = SpinLock::new(Watched { held: [(0, 0); HELD], orders: [(0, 0); ORDERS], next: 0 });

impl Watched {
    /// Notes that `thread` took `lock`; returns a lock it holds that was elsewhere taken after `lock`.
    fn acquire(&mut self, thread: usize, lock: usize) -> Option<usize> {
        let mut inverted = None;
        for at in 0..HELD {
            let (holder, first) = self.held[at];
            if first == 0 || holder != thread {
                continue;
            }
            if self.orders.contains(&(lock, first)) {
                inverted = Some(first);
            } else if !self.orders.contains(&(first, lock)) {
                self.orders[self.next % ORDERS] = (first, lock);
                self.next += 1;
            }
        }
        if let Some(place) = self.held.iter_mut().find(|place| place.1 == 0) {
            *place = (thread, lock);
        }
        inverted
    }

    fn release(&mut self, thread: usize, lock: usize) {
        if let Some(place) = self.held.iter_mut().find(|place| **place == (thread, lock)) {
            *place = (0, 0);
        }
    }
}

/// The current thread has taken `lock`.
pub(crate) fn acquired(globals: &Globals, lock: &AnyRef) {
    if !globals.verifies() {
        return;
    }
    let handle = lock.raw() as usize;
    let inverted = WATCHED.lock().acquire(current_thread(), handle);
    if let Some(other) = inverted {
        verifier::violation(
            globals,
            Rule::LockOrder,
            handle,
            format_args!(
                "{} {handle:#x} was taken while {other:#x} is held; elsewhere {other:#x} is taken while this one is held",
                lock.kind().name()
            ),
        );
    }
    globals.history.record(crate::history::Event::LockAcquired, handle, current_thread(), 0);
}

/// The current thread is about to give `lock` back.
pub(crate) fn released(globals: &Globals, lock: &AnyRef) {
    if globals.verifies() {
        WATCHED.lock().release(current_thread(), lock.raw() as usize);
        globals.history.record(crate::history::Event::LockReleased, lock.raw() as usize, current_thread(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Watched {
        Watched { held: [(0, 0); HELD], orders: [(0, 0); ORDERS], next: 0 }
    }

    #[test]
    fn two_locks_taken_in_both_orders_are_reported() {
        let mut watched = nothing();
        assert_eq!(watched.acquire(1, 0xa), None);
        assert_eq!(watched.acquire(1, 0xb), None);
        watched.release(1, 0xb);
        watched.release(1, 0xa);
        assert_eq!(watched.acquire(2, 0xb), None);
        assert_eq!(watched.acquire(2, 0xa), Some(0xb));
    }

    #[test]
    fn locks_of_different_threads_have_no_order() {
        let mut watched = nothing();
        assert_eq!(watched.acquire(1, 0xa), None);
        assert_eq!(watched.acquire(2, 0xb), None);
        watched.release(1, 0xa);
        assert_eq!(watched.acquire(2, 0xa), None);
        watched.release(2, 0xa);
        watched.release(2, 0xb);
        assert_eq!(watched.acquire(1, 0xa), None);
        assert_eq!(watched.acquire(1, 0xb), Some(0xa), "thread 2 took a while it held b");
    }
}
