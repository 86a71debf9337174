//! Whoever looks on while a run runs: plain lines, a live view on a terminal, or events for a machine.

mod json;
mod lines;
mod live;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::record::{Counts, TestRecord};

pub use json::Json;
pub use lines::{Lines, lines_of};
pub use live::Live;

/// What happens in a run. As JSON, one line each; docs/ci.md describes them.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event<'a> {
    /// The run begins.
    RunStarted {
        /// Where it leaves everything.
        folder: &'a str,
        /// Its seed.
        seed: u64,
        /// Version of the harness.
        rig: &'a str,
    },
    /// The guest has listed its tests.
    Listed {
        /// How many were chosen.
        tests: usize,
    },
    /// A guest is booted.
    BootStarted {
        /// Its number, from 1.
        boot: usize,
    },
    /// A guest is gone.
    BootEnded {
        /// Its number, from 1.
        boot: usize,
        /// Why.
        reason: &'a str,
    },
    /// A test begins.
    TestStarted {
        /// Which.
        test: &'a str,
        /// In which boot.
        boot: usize,
        /// For which time, from 1.
        attempt: usize,
    },
    /// A test runs longer than most do.
    TestSlow {
        /// Which.
        test: &'a str,
        /// In which boot.
        boot: usize,
        /// For how long, in seconds.
        seconds: f64,
    },
    /// A test failed and is tried again.
    TestAgain {
        /// The failed attempt.
        test: &'a TestRecord,
        /// Attempts that it has left.
        left: usize,
    },
    /// A test has ended.
    TestEnded {
        /// What became of it.
        test: &'a TestRecord,
    },
    /// The run has ended.
    RunEnded {
        /// Sums.
        counts: Counts,
        /// Exit status.
        exit: u8,
        /// What ended it outside a test.
        trouble: &'a [String],
        /// Seconds it took.
        seconds: f64,
        /// Its report.
        report: &'a str,
    },
}

/// Somebody who looks on. Called from the threads of all guests.
pub trait Watcher: Sync + fmt::Debug {
    /// Something happened.
    fn tell(&self, event: &Event<'_>);

    /// Time passes.
    fn pulse(&self) {}
}

/// Nobody.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Watcher for Nobody {
    fn tell(&self, _event: &Event<'_>) {}
}

/// The tests that run now, by boot, to find the slow ones.
#[derive(Debug)]
struct Clock {
    slow: Duration,
    running: Mutex<BTreeMap<usize, Lap>>,
}

#[derive(Clone, Debug)]
struct Lap {
    test: String,
    began: Instant,
    is_slow: bool,
}

impl Clock {
    fn new(slow: Duration) -> Self {
        Self { slow, running: Mutex::default() }
    }

    /// Keeps up with `event`.
    fn follow(&self, event: &Event<'_>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::TestStarted { test, boot, .. } => {
                running.insert(*boot, Lap { test: (*test).to_owned(), began: Instant::now(), is_slow: false });
            }
            Event::TestEnded { test } | Event::TestAgain { test, .. } => drop(running.remove(&test.boot)),
            _ => {}
        }
    }

    /// Reports each test that has become slow since the last call, once.
    fn find_slow(&self, mut report: impl FnMut(&Event<'_>)) {
        let mut slow = Vec::new();
        for (boot, lap) in self.running.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            if !lap.is_slow && lap.began.elapsed() >= self.slow {
                lap.is_slow = true;
                slow.push((*boot, lap.clone()));
            }
        }
        for (boot, lap) in slow {
            report(&Event::TestSlow { test: &lap.test, boot, seconds: lap.began.elapsed().as_secs_f64() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_called_slow_once_and_not_after_its_end() {
        let clock = Clock::new(Duration::ZERO);
        let test = crate::report::tests::sample().tests.remove(0);
        let slow = || {
            let mut names = Vec::new();
            clock.find_slow(|event| names.extend(serde_json::to_value(event).unwrap()["test"].as_str().map(str::to_owned)));
            names
        };
        clock.follow(&Event::TestStarted { test: &test.name, boot: test.boot, attempt: 1 });
        assert_eq!(slow(), [test.name.as_str()]);
        assert!(slow().is_empty());
        clock.follow(&Event::TestStarted { test: &test.name, boot: test.boot, attempt: 2 });
        clock.follow(&Event::TestEnded { test: &test });
        assert!(slow().is_empty());
    }
}
