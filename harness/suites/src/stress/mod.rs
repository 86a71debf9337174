//! Suite `stress`: random operations from several threads at once, and an oracle that knows what may come of each.
//!
//! What each thread does follows from the test's seed alone; how the threads meet does not. A failure names thread and operation; the run
//! names the seed.
//! Each test takes a moment; `--for` makes it go on. Where the run is recorded, and where the device is a recorded one, the threads take turns,
//! and each turn is seen to its end (`turns`): then what the hardware meets follows from the seed, too.

mod commands;
mod presence;
mod races;
mod turns;

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use crate::bench::{Bench, Failure, Going, Random, Test, TestResult, tests};
use crate::nt::{Deadline, Thread};
use crate::relay::DEADLINE;
use commands::{commands_from_several_threads, commands_through_sleep_and_wake};
use presence::requests_through_sleep_and_removal;
use races::{a_cancel_races_with_a_forward, a_cancel_races_with_its_send};
use turns::Turns;

/// The tests of this suite.
pub(crate) const TESTS: &[Test] = tests!(stress {
    commands_from_several_threads: "send, cancel, release, abort and close on the relay device: each request ends as one of these allows",
    commands_through_sleep_and_wake: "the same while the system goes to sleep and wakes: nothing is lost, nothing is cancelled for it",
    a_cancel_races_with_its_send: "WdfRequestCancelSentRequest and WdfRequestSend of one request at once: it ends once, sent or not",
    a_cancel_races_with_a_forward: "a cancel and WdfRequestForwardToIoQueue at once: the request is delivered, or cancelled in the queue",
    requests_through_sleep_and_removal: "requests to a device that sleeps, is removed and comes back all end",
});

/// How long a test goes on by itself.
const MOMENT: Duration = Duration::from_millis(400);
/// Rounds of each thread where the run is recorded.
const ROUNDS: u32 = 40;
/// Threads of a test that does not say otherwise.
const THREADS: u32 = 4;

/// One of the threads of a test.
struct Worker {
    /// Counted from 0.
    number: u32,
    random: Random,
    going: Going,
    /// Whatever was begun has ended by then: when nobody goes on, nobody begins anything that another has to wait for.
    last: Deadline,
    /// The threads take turns.
    turns: Option<Arc<Turns>>,
    /// One of the threads has failed: the others need not go on.
    give_up: Arc<AtomicBool>,
    /// What it does, counted, for the report of a failure.
    operation: u64,
}

impl Worker {
    /// Whether it is to begin something new.
    fn goes_on(&mut self) -> bool {
        if let Some(turns) = &self.turns {
            turns.pass(self.number, &self.give_up);
        }
        self.going.on() && !self.give_up.load(Ordering::Acquire)
    }

    /// Does it, from its first turn until it has no more.
    fn work(&mut self, body: fn(&mut Self) -> TestResult) -> TestResult {
        let Some(turns) = self.turns.clone() else { return body(self) };
        turns.wait(self.number, &self.give_up);
        let outcome = body(self);
        turns.leave(self.number)?;
        outcome
    }

    /// A random number below `end`, for the next operation.
    fn choose(&mut self, end: u64) -> u64 {
        self.operation += 1;
        self.random.below(end)
    }
}

/// What a thread chooses from: the seed and its number decide.
const fn choices_of(seed: u64, number: u32) -> Random {
    Random::new(seed.wrapping_add(number as u64))
}

/// Runs the bodies at once, each in a thread of its own, until the test's time is over or one has failed.
fn at_once(bench: &mut Bench, bodies: Vec<fn(&mut Worker) -> TestResult>) -> TestResult {
    let (seed, going) = (bench.random(), bench.going(MOMENT, ROUNDS));
    let last = match going {
        Going::Until(end) => end.and(DEADLINE),
        Going::Rounds(_) => Deadline::after(2 * DEADLINE),
    };
    let turns = matches!(going, Going::Rounds(_)).then(|| Arc::new(Turns::new(choices_of(seed, u32::MAX), bodies.len(), last)));
    let give_up = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for (number, body) in (0..).zip(bodies) {
        let random = choices_of(seed, number);
        let mut worker = Worker { number, random, going, last, turns: turns.clone(), give_up: give_up.clone(), operation: 0 };
        threads.push(Thread::spawn(move || {
            let outcome = worker.work(body);
            if outcome.is_err() {
                worker.give_up.store(true, Ordering::Release);
            }
            outcome.map_err(|failure| worker_failed(failure, worker.number, worker.operation))
        })?);
    }
    // Each thread is waited for, so that none runs on into the next test.
    let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join(last.left() + 2 * DEADLINE)).collect();
    for outcome in outcomes {
        outcome??;
    }
    Ok(())
}

fn worker_failed(failure: Failure, number: u32, operation: u64) -> Failure {
    match failure {
        Failure::Expectation { place, reason } => {
            Failure::Expectation { place, reason: format!("thread {number}, operation {operation}: {reason}") }
        }
        skipped @ Failure::Skipped { .. } => skipped,
    }
}

#[cfg(test)]
mod choices {
    use super::*;

    /// What the threads of a test choose, when each chooses so many times.
    fn chosen(seed: u64) -> Vec<Vec<u64>> {
        let thread = |number| {
            let mut choices = choices_of(seed, number);
            (0..100).map(|_| choices.below(1_000)).collect()
        };
        (0..THREADS).map(thread).collect()
    }

    #[test]
    fn the_seed_alone_decides_what_each_thread_chooses() {
        assert_eq!(chosen(1), chosen(1));
        assert_ne!(chosen(1), chosen(2));
        let threads = chosen(1);
        assert!(threads.windows(2).all(|pair| pair[0] != pair[1]), "each thread chooses for itself");
    }
}
