//! The live view on a terminal: results scroll by, and below them stand a bar and what each guest does now.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use console::style;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Clock, Event, Watcher, lines_of};
use crate::console::say;
use crate::run::record::{TestOutcome, TestRecord};

/// The watcher for people.
#[derive(Debug)]
pub struct Live {
    clock: Clock,
    view: MultiProgress,
    all: ProgressBar,
    guests: Mutex<BTreeMap<usize, ProgressBar>>,
}

impl Live {
    /// One that calls tests slow after `slow`, and draws on standard error.
    #[must_use]
    pub fn new(slow: Duration) -> Self {
        let view = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let all = view.add(ProgressBar::new(0));
        all.set_style(style_of("{elapsed_precise} [{bar:30}] {pos}/{len} {msg}"));
        Self { clock: Clock::new(slow), view, all, guests: Mutex::default() }
    }

    /// Prints results between the drawings.
    fn print(&self, event: &Event<'_>) {
        if let Some(lines) = lines_of(event) {
            self.view.suspend(|| say(coloured(event, &lines)));
        }
    }

    fn guest(&self, boot: usize, message: String) {
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = guests.entry(boot).or_insert_with(|| {
            let bar = self.view.add(ProgressBar::new_spinner());
            bar.set_style(style_of("  {spinner} {wide_msg} {elapsed:>4}"));
            bar
        });
        bar.reset_elapsed();
        bar.set_message(message);
    }

    fn test_ended(&self, test: &TestRecord) {
        self.all.inc(1);
        if test.outcome.is_failure() {
            self.all.set_message(style("a test failed").red().to_string());
        }
    }
}

impl Watcher for Live {
    fn tell(&self, event: &Event<'_>) {
        self.clock.follow(event);
        self.print(event);
        match event {
            Event::Listed { tests } => self.all.set_length(*tests as u64),
            Event::BootStarted { boot } => self.guest(*boot, format!("boot {boot}: starting")),
            Event::TestStarted { test, boot, .. } => self.guest(*boot, format!("boot {boot}: {test}")),
            Event::TestEnded { test } => self.test_ended(test),
            Event::BootEnded { boot, .. } => {
                if let Some(bar) = self.guests.lock().unwrap_or_else(PoisonError::into_inner).remove(boot) {
                    bar.finish_and_clear();
                }
            }
            Event::RunEnded { .. } => {
                self.all.finish_and_clear();
                let _ = self.view.clear();
            }
            _ => {}
        }
    }

    fn pulse(&self) {
        self.clock.find_slow(|event| self.print(event));
        self.all.tick();
        for bar in self.guests.lock().unwrap_or_else(PoisonError::into_inner).values() {
            bar.tick();
        }
    }
}

fn style_of(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// The first word in the colour of its meaning, where standard output is a terminal that wants colours.
fn coloured(event: &Event<'_>, lines: &str) -> String {
    let paint = |text: &str| {
        let text = style(text).bold();
        match event {
            Event::TestEnded { test } => match test.outcome {
                TestOutcome::Passed if test.is_flaky() => text.yellow(),
                TestOutcome::Passed => text.green(),
                TestOutcome::Skipped { .. } | TestOutcome::NotRun { .. } => text.dim(),
                _ => text.red(),
            },
            _ => text.yellow(),
        }
        .to_string()
    };
    // The word is set to the right in eight columns.
    lines.split_at_checked(8).map_or_else(|| lines.to_owned(), |(word, rest)| format!("{}{rest}", paint(word)))
}
