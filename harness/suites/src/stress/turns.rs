//! Threads that take turns, one at a time, in an order that a seed decides.
//!
//! A turn ends when what was begun in it has ended, but for commands that the hardware is to hold: so what the hardware meets, and in what
//! order, follows from the seed, and a recorded device can stand in for it.

use core::panic::Location;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use crate::bench::{Failure, Random, TestResult};
use crate::nt::{self, Deadline};

/// Who may do something.
pub(super) struct Turns {
    /// The thread whose turn it is. Only that one touches the rest.
    whose: AtomicU32,
    /// A bit for each thread that is still there.
    there: AtomicU32,
    /// The state from which the next thread is chosen.
    choices: AtomicU64,
    /// Commands that the hardware is to hold just now, of all threads together.
    held: AtomicU32,
    /// A turn that has not come by then does not come.
    last: Deadline,
    is_late: AtomicBool,
}

impl Turns {
    /// Turns of so many threads, the first of which is the first.
    pub(super) fn new(mut choices: Random, threads: usize, last: Deadline) -> Self {
        Self {
            whose: AtomicU32::new(0),
            there: AtomicU32::new((1 << threads) - 1),
            choices: AtomicU64::new(choices.next()),
            held: AtomicU32::new(0),
            last,
            is_late: AtomicBool::new(false),
        }
    }

    /// A turn ends. Returns when the thread's next one begins, or when the test is over.
    pub(super) fn pass(&self, thread: u32, give_up: &AtomicBool) {
        self.next();
        self.wait(thread, give_up);
    }

    /// Returns when it is this thread's turn, or when the test is over.
    pub(super) fn wait(&self, thread: u32, give_up: &AtomicBool) {
        while self.whose.load(Ordering::Acquire) != thread {
            if self.last.has_passed() {
                self.is_late.store(true, Ordering::Release);
                give_up.store(true, Ordering::Release);
            }
            if give_up.load(Ordering::Acquire) {
                return;
            }
            nt::sleep(Duration::from_micros(200));
        }
    }

    /// A thread has no more to do.
    #[track_caller]
    pub(super) fn leave(&self, thread: u32) -> TestResult {
        self.there.fetch_and(!(1 << thread), Ordering::AcqRel);
        if self.whose.load(Ordering::Acquire) == thread {
            self.next();
        }
        if self.is_late.load(Ordering::Acquire) {
            let reason = "the threads' turns took too long to be taken to the end".into();
            return Err(Failure::Expectation { place: Location::caller(), reason });
        }
        Ok(())
    }

    fn next(&self) {
        let mut choices = Random::new(self.choices.load(Ordering::Acquire));
        if let Some(next) = choose(&mut choices, self.there.load(Ordering::Acquire)) {
            self.choices.store(choices.next(), Ordering::Release);
            self.whose.store(next, Ordering::Release);
        }
    }

    /// The hardware is to hold one command more.
    pub(super) fn hold(&self) {
        self.held.fetch_add(1, Ordering::AcqRel);
    }

    /// It is to hold one less.
    pub(super) fn let_go(&self) {
        self.held.fetch_sub(1, Ordering::AcqRel);
    }

    /// Commands that the hardware is to hold.
    pub(super) fn held(&self) -> u32 {
        self.held.load(Ordering::Acquire)
    }
}

/// One of the threads that are there, if any is: bit 0 is thread 0.
fn choose(choices: &mut Random, there: u32) -> Option<u32> {
    let count = u64::from(there.count_ones()).max(1);
    (0..u32::BITS).filter(|thread| there & 1 << thread != 0).nth(choices.below(count) as usize)
}

#[cfg(test)]
mod order {
    use alloc::vec::Vec;

    use super::*;

    fn order_of(seed: u64, there: u32) -> Vec<u32> {
        let mut choices = Random::new(seed);
        (0..50).map_while(|_| choose(&mut choices, there)).collect()
    }

    #[test]
    fn the_seed_decides_whose_turn_it_is_among_the_threads_that_are_there() {
        assert_eq!(order_of(1, 0b1111), order_of(1, 0b1111));
        assert_ne!(order_of(1, 0b1111), order_of(2, 0b1111));
        let among = |there| {
            let mut threads = order_of(3, there);
            threads.sort_unstable();
            threads.dedup();
            threads
        };
        assert_eq!(among(0b1111), [0, 1, 2, 3]);
        assert_eq!(among(0b1010), [1, 3]);
        assert_eq!(among(0), []);
    }
}
