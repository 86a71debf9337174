//! What came of a replay: the same as recorded, or the first difference with what is around it.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::EventFd;

use super::super::look::Describe;
use super::Story;

/// Events shown around a divergence.
const AROUND: usize = 20;

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether the driver did something else than recorded.
    pub diverged: bool,
    /// Number of the recorded event at which it did.
    pub event: Option<u64>,
    /// What was recorded there.
    pub expected: String,
    /// What the driver did instead.
    pub came: String,
    /// The recorded events around that place.
    pub around: Vec<String>,
    /// Recorded events of the driver that came again.
    pub replayed: u64,
}

impl Outcome {
    /// What differs in words that do not depend on where in a trace it was: two replays that differ alike fail the same way.
    pub fn difference(&self) -> (&str, &str) {
        let untimed = self.expected.split_once(" ms ").map_or(self.expected.as_str(), |(_, what)| what);
        (untimed, &self.came)
    }

    /// This outcome, unless an earlier one of the same replay was a divergence: a guest that goes down is booted again, and meets the trace from its
    /// beginning.
    #[must_use]
    pub fn after(self, earlier: Option<Self>) -> Self {
        earlier.filter(|earlier| earlier.diverged).unwrap_or(self)
    }

    /// The outcome as lines of text.
    pub fn lines(&self) -> Vec<String> {
        if !self.diverged {
            return vec![format!("as recorded: {} of the driver's recorded events came again", self.replayed)];
        }
        let place = self.event.map_or("after the last recorded event".to_owned(), |event| format!("at recorded event {event}"));
        let mut lines = vec![
            format!("the driver diverged {place}, after {} that came as recorded", self.replayed),
            format!("  expected: {}", self.expected),
            format!("      came: {}", self.came),
            "  recorded around that place (> is where):".to_owned(),
        ];
        lines.extend(self.around.iter().map(|line| format!("  {line}")));
        lines
    }
}

/// The verdict on a replay, shared between the device and whoever serves it.
#[derive(Clone)]
pub struct Verdict {
    outcome: Arc<Mutex<Outcome>>,
    /// Readable once the driver has diverged.
    diverged: Arc<EventFd>,
}

impl Verdict {
    /// Nothing has happened yet.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> std::io::Result<Self> {
        let diverged = EventFd::new(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)?;
        Ok(Self { outcome: Arc::default(), diverged: Arc::new(diverged) })
    }

    /// Becomes readable when the driver has diverged: there is no use in serving on.
    pub fn divergence(&self) -> &EventFd {
        &self.diverged
    }

    /// What has come of it so far.
    pub fn outcome(&self) -> Outcome {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn has_diverged(&self) -> bool {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).diverged
    }

    pub(super) fn came(&self) {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).replayed += 1;
    }

    /// The driver did something else; the first time counts.
    pub(super) fn diverge(&self, story: &Story, at: Option<usize>, came: String) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome.diverged {
            return;
        }
        let describe = Describe::new(story.header(), None);
        let line = |number: usize| describe.line(number as u64, &story.event(number));
        let middle = at.unwrap_or(story.len());
        let first = middle.saturating_sub(AROUND / 2);
        let last = (middle + AROUND / 2 + 1).min(story.len());
        let mark = |number: usize| if Some(number) == at { '>' } else { ' ' };
        outcome.diverged = true;
        outcome.event = at.map(|at| at as u64);
        outcome.expected = at.map_or_else(|| "nothing more".to_owned(), line);
        outcome.came = came;
        outcome.around = (first..last).map(|number| format!("{}{}", mark(number), line(number))).collect();
        // The counter cannot overflow: it is written once.
        let _ = self.diverged.write(1);
    }
}
