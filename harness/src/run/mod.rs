//! One run: boot after boot, several side by side, until every chosen test has had its turn, and what became of each.
//!
//! [`plan`] is what is left to do. [`guests`] does it: each guest takes test after test from the plan. A test that takes the guest
//! down (bug check, reset) or never answers costs its boot; the guest is booted again and the run goes on. A dead QEMU or device
//! model ends the run: nothing that follows could be trusted. [`check`] is what a package without a suite goes through. [`watch`] is told what happens while it happens, [`record`] is what
//! remains.

pub mod agent;
pub mod archive;
mod board;
pub mod boot;
pub mod check;
pub mod guests;
pub mod late;
pub mod link;
pub mod log;
pub mod plan;
pub mod record;
pub mod session;
pub mod watch;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use channel::Span;
use sha2::{Digest as _, Sha256};

use crate::error::Exit;
use link::Needs;
use plan::Shard;
use record::{BootRecord, TestOutcome, TestRecord, Timings, Trouble, suite_of};
use session::{Cause, Listed};

pub use guests::Run;

/// The trace of a boot, in the boot's folder.
pub const TRACE: &str = "trace.rigtrace";
/// The note in a trace that says how long tests went on, where they went on for a time.
pub const FOR: &str = "for";
/// Name of the plan of faults in the folder of a boot whose device had one.
pub const FAULTS: &str = "faults.toml";

/// What the timings call the time that a bug check costs.
pub const REBOOT: &str = "from the bug check before it to its first test";

/// Which tests to run, and how patiently.
#[derive(Clone, Debug)]
pub struct Request {
    /// Only these suites; all of them if there is none.
    pub suites: Vec<String>,
    /// Only tests whose names contain this.
    pub filter: Option<String>,
    /// Only tests of exactly these names.
    pub only: Option<Vec<String>>,
    /// Only this part of the tests that are left.
    pub shard: Option<Shard>,
    /// Only list what would run.
    pub list: bool,
    /// Write crash dumps of expected bug checks, too.
    pub dump: bool,
    /// Write a trace of each boot into its folder.
    pub record: bool,
    /// Seed from which every test's seed follows.
    pub seed: u64,
    /// Tests whose seed does not follow from it: those of a run that was put together from several.
    pub seeds: BTreeMap<String, u64>,
    /// Guests that run side by side, at most.
    pub jobs: NonZeroUsize,
    /// How often a test that failed is tried again.
    pub retries: usize,
    /// Whether tests go on to begin after one has failed.
    pub keep_going: bool,
    /// Time after which a test that runs is called slow.
    pub slow: Duration,
    /// Only tests with these needs, whose guest is the first: the run repeats one boot.
    pub needs: Option<Needs>,
    /// There is no suite; ask the questions of [`check`] about this package.
    pub check: Option<check::Subject>,
    /// How long a test goes on that can go on for any time.
    pub span: Span,
    /// Patience for one test, beyond the time of its span.
    pub test_patience: Duration,
    /// Patience from QEMU's start to the guest's first answer.
    pub boot_patience: Duration,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            suites: Vec::new(),
            filter: None,
            only: None,
            shard: None,
            list: false,
            dump: false,
            record: false,
            seed: 0,
            seeds: BTreeMap::new(),
            jobs: NonZeroUsize::MIN,
            retries: 0,
            keep_going: false,
            slow: Duration::from_secs(5),
            needs: None,
            check: None,
            span: Span::Moment,
            test_patience: Duration::from_secs(30),
            boot_patience: Duration::from_secs(60),
        }
    }
}

impl Request {
    /// Whether a test is asked for.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        (self.suites.is_empty() || self.suites.iter().any(|wanted| wanted == suite_of(name)))
            && self.filter.as_ref().is_none_or(|part| name.contains(part))
            && self.only.as_ref().is_none_or(|names| names.iter().any(|wanted| wanted == name))
    }

    /// The seed of one test: the same for the same run seed, whatever else runs.
    #[must_use]
    pub fn seed_of(&self, name: &str) -> u64 {
        if let Some(seed) = self.seeds.get(name) {
            return *seed;
        }
        let digest = Sha256::new().chain_update(self.seed.to_le_bytes()).chain_update(name).finalize();
        digest[..8].iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte))
    }
}

/// What a run found out.
#[derive(Debug, Default)]
pub struct Findings {
    /// Each test that was chosen.
    pub tests: Vec<TestRecord>,
    /// Each start of the guest.
    pub boots: Vec<BootRecord>,
    /// What ended the run outside a test.
    pub trouble: Option<Trouble>,
    /// The tests that were listed, if that was all that was asked for.
    pub listed: Vec<Listed>,
    /// Tests that were asked for by name and that the guest does not have.
    pub gone: Vec<String>,
    /// The guest listed tests, and none was chosen.
    pub nothing_chosen: bool,
    /// Where the time went.
    pub timings: Timings,
}

impl Findings {
    /// How `rig` ends because of all this.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let of_run = self.trouble.as_ref().map_or(Exit::Passed, |trouble| Exit::of_code(trouble.exit));
        let of_choice = if self.nothing_chosen { Exit::Usage } else { Exit::Passed };
        self.tests.iter().map(|test| test.outcome.exit()).fold(of_run.worst(of_choice), Exit::worst)
    }
}

/// The outcome of the test in whose time the boot ended.
fn outcome_of(cause: Cause) -> TestOutcome {
    match cause {
        Cause::BugCheck(report) => TestOutcome::BugCheck { report },
        Cause::Hang { patience, log, .. } => TestOutcome::Hang { seconds: patience.as_secs(), log },
        Cause::GuestDied(reason) | Cause::Protocol(reason) => TestOutcome::GuestDied { reason },
        Cause::QemuDied(reason) | Cause::ModelDied(reason) | Cause::Unready(reason) => TestOutcome::Broken { reason },
        Cause::Interrupted(signal) => TestOutcome::NotRun { reason: format!("stopped by signal {signal}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(suites: &[&str], filter: Option<&str>) -> Request {
        let suites = suites.iter().map(|&suite| suite.to_owned()).collect();
        Request { suites, filter: filter.map(str::to_owned), ..Request::default() }
    }

    #[test]
    fn a_suite_is_a_whole_name_and_a_filter_a_part_of_one() {
        assert!(request(&["device"], None).wants("device::echo"));
        assert!(request(&["contract", "device"], None).wants("device::echo"));
        assert!(!request(&["contract", "stress"], None).wants("device::echo"));
        assert!(!request(&["dev"], None).wants("device::echo"));
        assert!(request(&[], Some("ech")).wants("device::echo"));
        assert!(!request(&["device"], Some("hold")).wants("device::echo"));
    }

    #[test]
    fn a_tests_seed_depends_on_the_runs_seed_and_its_name_only() {
        let request = request(&[], None);
        assert_eq!(request.seed_of("a::b"), request.seed_of("a::b"));
        assert_ne!(request.seed_of("a::b"), request.seed_of("a::c"));
        let given = Request { seeds: [("a::b".to_owned(), 7)].into(), ..request.clone() };
        assert_eq!((given.seed_of("a::b"), given.seed_of("a::c")), (7, request.seed_of("a::c")));
    }
}
