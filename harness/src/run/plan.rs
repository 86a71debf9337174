//! Which tests run, in which order, and which of them the next guest takes.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use super::Request;
use super::link::Needs;
use super::record::{TestRecord, suite_of};
use super::session::Listed;

/// The suite whose tests measure time: no other guest runs beside them.
const MEASURES: &str = "perf";
/// What a test that ends its guest weighs, if an ordinary one weighs 1: it costs a boot.
const HEAVY: usize = 32;

/// One part of several of the tests: `2/3` is the second of three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        let (index, count) = numbers.ok_or("I/N is wanted, such as 2/3")?;
        if !(1..=count).contains(&index) {
            return Err(format!("shards count from 1: there is no shard {index} of {count}"));
        }
        Ok(Self { index, count })
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl Shard {
    /// All parts of the run that it is a part of, itself included.
    pub fn siblings(self) -> impl Iterator<Item = Self> {
        (1..=self.count).map(move |index| Self { index, count: self.count })
    }

    /// Whether the test at `position` (from 0) is in it. Tests are dealt like cards, so that each shard gets its share of every kind.
    const fn has(self, position: usize) -> bool {
        position % self.count == self.index - 1
    }
}

/// A test that waits for its turn, and its failed attempts.
#[derive(Debug)]
pub struct Turn {
    /// The test.
    pub test: Listed,
    /// What became of it before.
    pub earlier: Vec<TestRecord>,
}

impl Turn {
    fn is_alone(&self) -> bool {
        suite_of(&self.test.name) == MEASURES
    }
}

/// What is left to run.
#[derive(Debug)]
pub struct Plan {
    pending: VecDeque<Turn>,
    halted: Option<String>,
}

impl Plan {
    /// What `request` wants of the tests that the guest lists. Returns the names, too, that are wanted and not listed.
    #[must_use]
    pub fn new(listed: Vec<Listed>, request: &Request) -> (Self, Vec<String>) {
        let gone = request.only.iter().flatten().filter(|name| !listed.iter().any(|test| test.name == **name)).cloned().collect();
        let of_boot = |test: &Listed| request.needs.as_ref().is_none_or(|needs| *needs == test.needs);
        let mut chosen: Vec<Listed> = listed.into_iter().filter(|test| request.wants(&test.name)).filter(of_boot).collect();
        group(&mut chosen);
        // Tests that are asked for by name are those of a shard already.
        let shard = request.shard.filter(|_| request.only.is_none());
        let in_shard = |position: usize| shard.is_none_or(|shard| shard.has(position));
        let pending = chosen.into_iter().enumerate().filter(|(position, _)| in_shard(*position));
        let pending = pending.map(|(_, test)| Turn { test, earlier: Vec::new() }).collect();
        (Self { pending, halted: None }, gone)
    }

    /// The tests that wait.
    pub fn tests(&self) -> impl Iterator<Item = &Listed> {
        self.pending.iter().map(|turn| &turn.test)
    }

    /// Whether there is so much to do that `guests` guests are worth their boots.
    #[must_use]
    pub fn is_worth(&self, guests: usize) -> bool {
        let weight = |turn: &Turn| if turn.test.expects.is_some() { HEAVY } else { 1 };
        self.pending.iter().map(weight).sum::<usize>() > HEAVY * (guests - 1)
    }

    /// What the next guest is made for; `None`: nothing is left to do. `alone` is whether no other guest runs, `running` what the others
    /// are made for: tests of a kind that has no guest yet come first, since some of them wait for long while others work. Each of those
    /// guests that are `coming` will take a test.
    #[must_use]
    pub fn needs(&self, alone: bool, running: &[Needs], coming: &[Needs]) -> Option<Needs> {
        let is_ready = |turn: &&Turn| self.halted.is_none() && (alone || !turn.is_alone());
        let of_kind = |needs: &Needs| self.pending.iter().filter(is_ready).filter(|turn| turn.test.needs == *needs).count();
        let taken = |needs: &Needs| coming.iter().filter(|other| *other == needs).count();
        let is_left = |turn: &&Turn| of_kind(&turn.test.needs) > taken(&turn.test.needs);
        let ready = || self.pending.iter().filter(is_ready).filter(is_left);
        let new = ready().find(|turn| !running.contains(&turn.test.needs));
        new.or_else(|| ready().next()).map(|turn| turn.test.needs.clone())
    }

    /// Whether there is something left that waits until no other guest runs.
    #[must_use]
    pub fn has_measurements(&self) -> bool {
        self.halted.is_none() && self.pending.iter().any(Turn::is_alone)
    }

    /// The next test for a guest that is made for `needs`. A test is tried again in a guest that has run none (`fresh`).
    pub fn take(&mut self, needs: &Needs, fresh: bool, alone: bool) -> Option<Turn> {
        if self.halted.is_some() {
            return None;
        }
        let fits = |turn: &Turn| turn.test.needs == *needs && (fresh || turn.earlier.is_empty()) && (alone || !turn.is_alone());
        let place = self.pending.iter().position(fits)?;
        self.pending.remove(place)
    }

    /// Gives a test another turn, after all others.
    pub fn again(&mut self, turn: Turn) {
        self.pending.push_back(turn);
    }

    /// Lets nothing more begin. The first reason stays.
    pub fn halt(&mut self, reason: &str) {
        self.halted.get_or_insert_with(|| reason.to_owned());
    }

    /// The tests that never had their turn, and why.
    #[must_use]
    pub fn leave(self) -> (Vec<Turn>, String) {
        (self.pending.into(), self.halted.unwrap_or_else(|| "the run ended before its turn".to_owned()))
    }
}

/// Puts tests with the same needs together, in the order in which the needs first appear, and those that end the guest last;
/// what measures time comes after everything.
fn group(tests: &mut [Listed]) {
    let mut kinds: Vec<Needs> = Vec::new();
    for test in tests.iter() {
        if !kinds.contains(&test.needs) {
            kinds.push(test.needs.clone());
        }
    }
    tests.sort_by_key(|test| {
        let kind = kinds.iter().position(|kind| *kind == test.needs);
        (suite_of(&test.name) == MEASURES, kind, test.expects.is_some())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use channel::Expected;

    fn listed(name: &str, verifier: bool, stops: bool) -> Listed {
        let needs = Needs { verifier, ..Needs::default() };
        let expects = stops.then_some(Expected { code: 1, known: 0, parameters: [0; 4] });
        Listed { name: name.into(), purpose: String::new(), needs, expects }
    }

    fn plan(request: &Request) -> Plan {
        let tests = vec![
            listed("a::stops", true, true),
            listed("perf::runs", true, false),
            listed("a::bare", false, false),
            listed("a::runs", true, false),
        ];
        Plan::new(tests, request).0
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.tests().map(|test| test.name.as_str()).collect()
    }

    #[test]
    fn tests_of_one_kind_come_together_those_that_end_the_guest_last_and_measurements_after_all() {
        assert_eq!(names(&plan(&Request::default())), ["a::runs", "a::stops", "a::bare", "perf::runs"]);
    }

    #[test]
    fn every_test_is_in_exactly_one_shard() {
        let mut all = Vec::new();
        for shard in ["1/3", "2/3", "3/3"] {
            let request = Request { shard: Some(shard.parse().unwrap()), ..Request::default() };
            all.extend(names(&plan(&request)).into_iter().map(str::to_owned));
        }
        all.sort();
        assert_eq!(all, ["a::bare", "a::runs", "a::stops", "perf::runs"]);
    }

    #[test]
    fn a_shard_out_of_range_is_refused_in_words() {
        for text in ["0/3", "4/3", "1/0"] {
            assert!(text.parse::<Shard>().unwrap_err().contains("there is no shard"), "{text}");
        }
        for text in ["", "1", "/", "1/x", "-1/3", "1/3/5"] {
            assert!(text.parse::<Shard>().unwrap_err().contains("I/N"), "{text}");
        }
        assert_eq!("2/3".parse::<Shard>().unwrap().to_string(), "2/3");
    }

    #[test]
    fn a_second_attempt_waits_for_a_fresh_guest() {
        let mut plan = plan(&Request::default());
        let needs = plan.needs(false, &[], &[]).unwrap();
        let mut turn = plan.take(&needs, false, false).unwrap();
        turn.earlier.push(crate::report::tests::sample().tests.remove(1));
        plan.again(turn);
        assert_eq!(plan.take(&needs, false, false).unwrap().test.name, "a::stops");
        assert!(plan.take(&needs, false, false).is_none());
        assert_eq!(plan.take(&needs, true, false).unwrap().test.name, "a::runs");
    }

    #[test]
    fn a_guest_is_made_for_what_no_other_guest_is_made_for() {
        let plan = plan(&Request::default());
        let (plain, bare) = (Needs::default(), Needs { verifier: false, ..Needs::default() });
        assert_eq!(plan.needs(false, &[], &[]), Some(plain.clone()));
        assert_eq!(plan.needs(false, std::slice::from_ref(&plain), &[]), Some(bare.clone()));
        assert_eq!(plan.needs(false, &[plain.clone(), bare], &[]), Some(plain));
    }

    #[test]
    fn no_guest_is_made_for_tests_that_guests_which_are_coming_will_take() {
        let plan = plan(&Request::default());
        let (plain, bare) = (Needs::default(), Needs { verifier: false, ..Needs::default() });
        // Two plain tests and a bare one, beside the measurement.
        assert_eq!(plan.needs(false, &[], std::slice::from_ref(&bare)), Some(plain.clone()));
        assert_eq!(plan.needs(false, &[], &[plain.clone(), bare.clone()]), Some(plain.clone()));
        assert_eq!(plan.needs(false, &[], &[plain.clone(), bare, plain]), None);
    }

    #[test]
    fn measurements_wait_until_no_other_guest_runs() {
        let request = Request { suites: vec!["perf".into()], ..Request::default() };
        let mut plan = plan(&request);
        assert!(plan.has_measurements());
        assert_eq!(plan.needs(false, &[], &[]), None);
        assert!(plan.take(&Needs::default(), true, false).is_none());
        assert!(plan.take(&Needs::default(), true, true).is_some());
    }

    #[test]
    fn nothing_begins_after_a_halt_and_the_first_reason_stays() {
        let mut plan = plan(&Request::default());
        plan.halt("a test failed");
        plan.halt("later");
        assert_eq!(plan.needs(true, &[], &[]), None);
        let (left, reason) = plan.leave();
        assert_eq!((left.len(), reason.as_str()), (4, "a test failed"));
    }

    #[test]
    fn a_second_guest_is_worth_its_boot_when_there_is_much_to_do() {
        let plan = plan(&Request::default());
        assert!(plan.is_worth(1) && plan.is_worth(2) && !plan.is_worth(3));
    }
}
