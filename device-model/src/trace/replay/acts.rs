//! What the device of a trace does by itself: each act waits for the events that it came of, and then for as long as it took then.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// What an act comes of, and how long after the last of it.
#[derive(Clone, Debug, Default)]
struct Cause {
    events: Vec<usize>,
    after: u64,
}

/// An act that is still to come.
#[derive(Debug)]
struct Waiting {
    /// Events that have not happened yet.
    missing: usize,
    /// When it is due, once that is known.
    due: u64,
}

/// All acts of a story, by the numbers of their events.
#[derive(Default)]
pub(super) struct Acts {
    causes: HashMap<usize, Cause>,
    /// Which acts an event is a cause of.
    effects: HashMap<usize, Vec<usize>>,
    happened: HashSet<usize>,
    waiting: HashMap<usize, Waiting>,
    due: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Acts {
    /// An act that comes `after` all these events, `after` nanoseconds.
    pub(super) fn add(&mut self, act: usize, events: impl IntoIterator<Item = usize>, after: u64) {
        let mut events: Vec<usize> = events.into_iter().collect();
        events.dedup();
        events.iter().for_each(|event| self.effects.entry(*event).or_default().push(act));
        self.causes.insert(act, Cause { events, after });
        self.arm(act, 0);
    }

    /// Let an act wait for those of its causes that have not happened.
    fn arm(&mut self, act: usize, now: u64) {
        let Some(cause) = self.causes.get(&act) else { return };
        let missing = cause.events.iter().filter(|event| !self.happened.contains(event)).count();
        let due = now.saturating_add(cause.after);
        self.waiting.insert(act, Waiting { missing, due });
        if missing == 0 {
            self.due.push(Reverse((due, act)));
        }
    }

    /// An event has happened again.
    pub(super) fn happened(&mut self, event: usize, now: u64) {
        if !self.happened.insert(event) {
            return;
        }
        for act in self.effects.get(&event).into_iter().flatten() {
            let Some(waiting) = self.waiting.get_mut(act) else { continue };
            waiting.missing = waiting.missing.saturating_sub(1);
            if waiting.missing == 0 {
                waiting.due = now.saturating_add(self.causes[act].after);
                self.due.push(Reverse((waiting.due, *act)));
            }
        }
    }

    /// An event will happen once more: what it caused and has not come waits again.
    pub(super) fn undo(&mut self, event: usize, now: u64) {
        self.happened.remove(&event);
        let again: Vec<usize> =
            self.effects.get(&event).into_iter().flatten().copied().filter(|act| self.waiting.contains_key(act)).collect();
        again.into_iter().for_each(|act| self.arm(act, now));
    }

    /// An act will never come.
    pub(super) fn forget(&mut self, act: usize) {
        self.waiting.remove(&act);
    }

    /// Whether an act is still to come.
    pub(super) fn is_waiting(&self, act: usize) -> bool {
        self.waiting.contains_key(&act)
    }

    /// When the next act is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// The next act whose time has come. It counts as done unless it is [deferred](Self::defer).
    pub(super) fn take(&mut self, now: u64) -> Option<usize> {
        while let Some(&Reverse((due, act))) = self.due.peek()
            && due <= now
        {
            self.due.pop();
            // What was armed anew or forgotten meanwhile left its old entry behind.
            if self.waiting.get(&act).is_some_and(|waiting| waiting.missing == 0 && waiting.due == due) {
                self.waiting.remove(&act);
                return Some(act);
            }
        }
        None
    }

    /// An act whose time has come cannot be done now: again at `due`.
    pub(super) fn defer(&mut self, act: usize, due: u64) {
        self.waiting.insert(act, Waiting { missing: 0, due });
        self.due.push(Reverse((due, act)));
    }

    /// What was put off without a time may be possible now.
    pub(super) fn feed(&mut self, now: u64) {
        let deferred: Vec<usize> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.missing == 0 && waiting.due == u64::MAX)
            .map(|(act, _)| *act)
            .collect();
        deferred.into_iter().for_each(|act| self.defer(act, now));
    }
}
