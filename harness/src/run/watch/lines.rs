//! Plain lines: results on standard output, one test a line, its story below it.

use std::time::Duration;

use super::{Clock, Event, Watcher};
use crate::console::say;
use crate::run::record::TestRecord;

/// The watcher for CI and pipes.
#[derive(Debug)]
pub struct Lines {
    clock: Clock,
}

impl Lines {
    /// One that calls tests slow after `slow`.
    #[must_use]
    pub fn new(slow: Duration) -> Self {
        Self { clock: Clock::new(slow) }
    }
}

impl Watcher for Lines {
    fn tell(&self, event: &Event<'_>) {
        self.clock.follow(event);
        if let Some(lines) = lines_of(event) {
            say(lines);
        }
    }

    fn pulse(&self) {
        self.clock.find_slow(|event| {
            if let Some(lines) = lines_of(event) {
                say(lines);
            }
        });
    }
}

/// What a person reads about `event`, if anything: one text, so that lines of several guests do not mix.
#[must_use]
pub fn lines_of(event: &Event<'_>) -> Option<String> {
    match event {
        Event::TestEnded { test } => Some(story(test.word(), test, "")),
        Event::TestAgain { test, left } => Some(story(test.outcome.word(), test, &format!("  tried again, {left} left"))),
        Event::TestSlow { test, seconds, .. } => Some(format!("{:>8}  {test}  runs for {seconds:.0} s already", "SLOW")),
        _ => None,
    }
}

fn story(word: &str, test: &TestRecord, remark: &str) -> String {
    let mut text = format!("{word:>8}  {}  {:.1} ms{remark}", test.name, Duration::from_micros(test.host_us).as_secs_f64() * 1e3);
    let figures = test.figures.iter().map(ToString::to_string);
    for line in test.outcome.lines().into_iter().chain(figures) {
        text += &format!("\n          {line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_one_line_and_its_reason_follows() {
        let mut test = crate::report::tests::sample().tests.remove(1);
        assert_eq!(
            lines_of(&Event::TestEnded { test: &test }).unwrap(),
            "    FAIL  device::fails  1.5 ms\n          echo.rs:7: expected 0 < 1"
        );
        test.earlier = vec![test.clone()];
        test.outcome = crate::run::record::TestOutcome::Passed;
        assert_eq!(lines_of(&Event::TestEnded { test: &test }).unwrap(), "   FLAKY  device::fails  1.5 ms");
    }
}
