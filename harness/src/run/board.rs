//! What the guests of a run share: the plan, who runs and who is coming, and what was found out.

use std::time::Instant;

use super::Findings;
use super::link::Needs;
use super::plan::Plan;

/// What the guests' threads share.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// Tests still to run; `None` until a guest has listed them.
    pub(super) plan: Option<Plan>,
    /// Since when the plan is known.
    pub(super) listed: Option<Instant>,
    /// The first guest has gone without a list.
    pub(super) over: bool,
    /// Guests that have begun to take from the plan.
    pub(super) guests: usize,
    /// What each guest that runs is made for.
    pub(super) running: Vec<Needs>,
    /// What those are made for that have taken no test yet, but will.
    pub(super) coming: Vec<Needs>,
    pub(super) findings: Findings,
}

impl Board {
    /// What the next guest would be made for: what no other guest is made for, if there is such work, and nothing that is left to guests
    /// which are coming already.
    pub(super) fn needs(&self, alone: bool) -> Option<Needs> {
        self.plan.as_ref()?.needs(alone, &self.running, &self.coming)
    }

    /// The same for a guest that is about to be booted.
    pub(super) fn claim(&mut self, alone: bool) -> Option<Needs> {
        let needs = self.needs(alone)?;
        self.expect(&needs);
        Some(needs)
    }

    pub(super) fn expect(&mut self, needs: &Needs) {
        self.running.push(needs.clone());
        self.coming.push(needs.clone());
    }

    /// A guest has gone.
    pub(super) fn has_gone(&mut self, needs: &Needs) {
        remove(&mut self.running, needs);
    }

    /// A guest has taken its first test, or never will.
    pub(super) fn has_come(&mut self, needs: &Needs) {
        remove(&mut self.coming, needs);
    }
}

/// Takes one of the guests out that are made for `needs`.
fn remove(guests: &mut Vec<Needs>, needs: &Needs) {
    if let Some(place) = guests.iter().position(|other| other == needs) {
        guests.swap_remove(place);
    }
}
