//! Events for a machine: one JSON object a line on standard output, and nothing else there.

use std::time::Duration;

use super::{Clock, Event, Watcher};
use crate::console::say;

/// The watcher of `--json`.
#[derive(Debug)]
pub struct Json {
    clock: Clock,
}

impl Json {
    /// One that calls tests slow after `slow`.
    #[must_use]
    pub fn new(slow: Duration) -> Self {
        Self { clock: Clock::new(slow) }
    }
}

impl Watcher for Json {
    fn tell(&self, event: &Event<'_>) {
        self.clock.follow(event);
        print(event);
    }

    fn pulse(&self) {
        self.clock.find_slow(print);
    }
}

fn print(event: &Event<'_>) {
    if let Ok(line) = serde_json::to_string(event) {
        say(line);
    }
}
