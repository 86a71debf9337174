//! One run: boot after boot until every chosen test has had its turn, and what became of each.
//!
//! A test that takes the guest down (bug check, reset) or never answers costs its boot; the guest is booted again and the run
//! goes on with the next test. A dead QEMU or device model ends the run: nothing that follows could be trusted.

pub mod archive;
pub mod boot;
pub mod link;
pub mod log;
pub mod record;
pub mod session;

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::console::say;
use crate::error::Exit;
use crate::interrupt::Interrupt;
use crate::report::folder::RunFolder;
use crate::symbols::Symbols;
use boot::{Boot, Logs, Mission, Rig};
use link::{Needs, Verdict};
use record::{BootRecord, TestOutcome, TestRecord, Timings, Trouble};
use session::{Cause, Listed, Notes, Session};

/// Which tests to run, and how patiently.
#[derive(Clone, Debug)]
pub struct Request {
    /// Only this suite.
    pub suite: Option<String>,
    /// Only tests whose names contain this.
    pub filter: Option<String>,
    /// Only list what would run.
    pub list: bool,
    /// Seed from which every test's seed follows.
    pub seed: u64,
    /// How long a test goes on that can go on for any time; the test's own choice if `None`.
    pub span: Option<Duration>,
    /// Patience for one test, beyond its span.
    pub test_patience: Duration,
    /// Patience from QEMU's start to the guest's first answer.
    pub boot_patience: Duration,
}

impl Request {
    /// Whether a test is asked for.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        let suite = name.split_once("::").map_or("", |(suite, _)| suite);
        self.suite.as_ref().is_none_or(|wanted| wanted == suite) && self.filter.as_ref().is_none_or(|part| name.contains(part))
    }

    /// The seed of one test: the same for the same run seed, whatever else runs.
    #[must_use]
    pub fn seed_of(&self, name: &str) -> u64 {
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
    /// The guest listed tests, and none was chosen.
    pub nothing_chosen: bool,
    /// Where the time went.
    pub timings: Timings,
}

impl Findings {
    /// How `rig` ends because of all this.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let of_tests = self.tests.iter().map(|test| test.outcome.exit()).fold(Exit::Passed, Exit::worst);
        let of_run = self.trouble.as_ref().map_or(Exit::Passed, |trouble| match trouble.exit {
            0 => Exit::Passed,
            1 => Exit::Failed,
            2 => Exit::Usage,
            3 => Exit::Environment,
            4 => Exit::Hang,
            code => Exit::Interrupted(code.saturating_sub(128)),
        });
        if self.nothing_chosen { of_tests.worst(of_run).worst(Exit::Usage) } else { of_tests.worst(of_run) }
    }
}

/// A run under way.
#[derive(Debug)]
pub struct Run<'a> {
    rig: &'a Rig,
    request: &'a Request,
    folder: &'a RunFolder,
    symbols: &'a Symbols,
    interrupt: &'a Interrupt,
    /// Tests still to run; `None` until the guest has listed them.
    pending: Option<VecDeque<Listed>>,
    /// What the guest that runs now, or is booted next, is made for.
    needs: Needs,
    guest_log: u64,
    findings: Findings,
}

/// Whether the guest must be booted again.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Boot,
    Stop,
}

impl<'a> Run<'a> {
    /// A run of what `request` asks for on `rig`, logging to `folder`.
    #[must_use]
    pub fn new(
        rig: &'a Rig,
        request: &'a Request,
        folder: &'a RunFolder,
        symbols: &'a Symbols,
        interrupt: &'a Interrupt,
        timings: Timings,
    ) -> Self {
        let findings = Findings { timings, ..Findings::default() };
        Self { rig, request, folder, symbols, interrupt, pending: None, needs: Needs::default(), guest_log: 0, findings }
    }

    /// Boots until there is nothing left to do. Each test's result is printed when it is known.
    #[must_use]
    pub fn execute(mut self) -> Findings {
        while self.one_boot() == Next::Boot {}
        let reason = self.findings.trouble.as_ref().and_then(|trouble| trouble.lines.first().cloned());
        let reason = reason.unwrap_or_else(|| "the run ended before its turn".to_owned());
        for test in self.pending.take().into_iter().flatten() {
            if !self.request.list {
                let outcome = TestOutcome::NotRun { reason: reason.clone() };
                self.record(&test, outcome, None, Duration::ZERO, (self.guest_log, self.guest_log), Notes::default());
            }
        }
        self.findings
    }

    fn one_boot(&mut self) -> Next {
        let logs = Logs {
            folder: &self.folder.path,
            guest: &self.folder.guest,
            guest_length: self.guest_log,
            device: &self.folder.device,
            qemu: &self.folder.qemu,
        };
        if let Some(next) = self.pending.as_ref().and_then(|pending| pending.front()) {
            self.needs = next.needs.clone();
        }
        let faults = match self.fault_plan() {
            Ok(faults) => faults,
            Err(error) => {
                self.trouble(vec![format!("the plan of faults cannot be written: {error}")], Exit::Environment);
                return Next::Stop;
            }
        };
        let mission = Mission { verifier: self.needs.verifier, faults };
        let boot = match Boot::start(self.rig, &mission, &logs, self.interrupt) {
            Ok(boot) => boot,
            Err((who, error)) => {
                self.trouble(vec![format!("{who} cannot be started: {error}")], Exit::Environment);
                return Next::Stop;
            }
        };
        self.findings.boots.push(BootRecord {
            qemu: boot.qemu_command(),
            model: boot.model_command(),
            system: None,
            ended: String::new(),
            damaged_frames: 0,
        });
        let mut session = Session::new(boot, self.symbols);
        let (next, ended) = self.converse(&mut session);
        self.guest_log = session.boot().log().written();
        if let Some(boot) = self.findings.boots.last_mut() {
            boot.ended = ended;
            boot.damaged_frames = session.boot().damaged_frames();
        }
        next
    }

    /// From hello to goodbye, or to whatever comes between. Returns in words why the boot ended, too.
    fn converse(&mut self, session: &mut Session<'_>) -> (Next, String) {
        let met = self.meet(session).and_then(|()| self.choose(session));
        if let Err(cause) = met {
            return self.stop(&cause);
        }
        while !self.request.list
            && let Some(test) = self.next_test()
        {
            if let Err((next, ended)) = self.one_test(session, &test) {
                let left = self.pending.as_ref().is_some_and(|pending| !pending.is_empty());
                return (if left { next } else { Next::Stop }, ended);
            }
        }
        let began = Instant::now();
        let farewell = session.goodbye();
        self.findings.timings.add("shutdown", began.elapsed());
        let left = !self.request.list && self.pending.as_ref().is_some_and(|pending| !pending.is_empty());
        let next = if left { Next::Boot } else { Next::Stop };
        match farewell {
            Ok(remark) => (next, remark.unwrap_or_else(|| "ordered shutdown".to_owned())),
            Err(cause) => self.stop(&cause),
        }
    }

    fn meet(&mut self, session: &mut Session<'_>) -> Result<(), Cause> {
        let system = session.hello(self.request.boot_patience)?;
        let now = Instant::now();
        let started = session.boot().started();
        let first = session.boot().log().first_output().unwrap_or(now);
        let number = self.findings.boots.len();
        self.findings.timings.add(format!("boot {number}: QEMU's start to the guest's first output"), first - started);
        self.findings.timings.add(format!("boot {number}: first output to hello"), now.saturating_duration_since(first));
        if let Some(boot) = self.findings.boots.last_mut() {
            boot.system = Some(system);
        }
        Ok(())
    }

    fn choose(&mut self, session: &mut Session<'_>) -> Result<(), Cause> {
        if self.pending.is_some() {
            return Ok(());
        }
        let began = Instant::now();
        let listed = session.list()?;
        let mut chosen: Vec<Listed> = listed.into_iter().filter(|test| self.request.wants(&test.name)).collect();
        group(&mut chosen);
        self.findings.nothing_chosen = chosen.is_empty();
        if self.request.list {
            chosen.iter().for_each(|test| say(format!("{}: {}", test.name, test.purpose)));
        }
        self.pending = Some(chosen.into());
        self.findings.timings.add("hello to first test (the list)", began.elapsed());
        Ok(())
    }

    /// The next test that this guest is made for.
    fn next_test(&mut self) -> Option<Listed> {
        let pending = self.pending.as_mut()?;
        pending.pop_front_if(|test| test.needs == self.needs)
    }

    /// Writes the plan of faults that the next guest needs into the run's folder, where it stays for whoever repeats the run.
    fn fault_plan(&self) -> std::io::Result<Option<PathBuf>> {
        let plan = if self.needs.faults.is_empty() { &self.rig.faults } else { &self.needs.faults };
        if plan.is_empty() {
            return Ok(None);
        }
        let path = self.folder.path.join(format!("faults-{}.toml", self.findings.boots.len() + 1));
        fs::write(&path, plan)?;
        Ok(Some(path))
    }

    /// Runs one test and records it. `Err`: the boot is over.
    fn one_test(&mut self, session: &mut Session<'_>, test: &Listed) -> Result<(), (Next, String)> {
        let began = Instant::now();
        let log_start = session.boot().log().written();
        let done = session.run(&test.name, self.request.seed_of(&test.name), self.request.span, self.request.test_patience);
        let time = began.elapsed();
        self.findings.timings.add(format!("test {}", test.name), time);
        let log = (log_start, session.boot().log().written());
        let notes = session.take_notes();
        let (outcome, guest, over) = match done {
            Ok(done) => (done.verdict.into(), Some(done.duration / 10), None),
            Err(cause) => {
                let over = self.after(&cause);
                (outcome_of(cause), None, Some(over))
            }
        };
        let outcome = outcome.against(test.expects.as_ref());
        self.record(test, outcome, guest, time, log, notes);
        over.map_or(Ok(()), Err)
    }

    /// What a boot's end in the middle of a test means for the run.
    fn after(&mut self, cause: &Cause) -> (Next, String) {
        let lines = cause.lines();
        let ended = lines.first().cloned().unwrap_or_default();
        match cause {
            Cause::QemuDied(_) | Cause::ModelDied(_) | Cause::Interrupted(_) => self.stop(cause),
            Cause::BugCheck(_) | Cause::Hang { .. } | Cause::GuestDied(_) | Cause::Protocol(_) => (Next::Boot, ended),
        }
    }

    /// Ends the run because of something that is no test's doing.
    fn stop(&mut self, cause: &Cause) -> (Next, String) {
        let exit = match cause {
            Cause::BugCheck(_) | Cause::GuestDied(_) => Exit::Failed,
            Cause::Hang { .. } => Exit::Hang,
            Cause::QemuDied(_) | Cause::ModelDied(_) | Cause::Protocol(_) => Exit::Environment,
            Cause::Interrupted(signal) => Exit::Interrupted(*signal),
        };
        let lines = cause.lines();
        let ended = lines.first().cloned().unwrap_or_default();
        self.trouble(lines, exit);
        (Next::Stop, ended)
    }

    fn trouble(&mut self, lines: Vec<String>, exit: Exit) {
        self.findings.trouble = Some(Trouble { lines, exit: exit.code() });
    }

    fn record(
        &mut self,
        test: &Listed,
        outcome: TestOutcome,
        guest_us: Option<u64>,
        time: Duration,
        guest_log: (u64, u64),
        notes: Notes,
    ) {
        say(format!("{:>8}  {}  {:.1} ms", outcome.word(), test.name, time.as_secs_f64() * 1e3));
        outcome.lines().iter().for_each(|line| say(format!("          {line}")));
        notes.figures.iter().for_each(|figure| say(format!("          {figure}")));
        self.findings.tests.push(TestRecord {
            name: test.name.clone(),
            purpose: test.purpose.clone(),
            seed: self.request.seed_of(&test.name),
            outcome,
            guest_us,
            host_us: u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
            boot: self.findings.boots.len(),
            guest_log,
            log: notes.lines,
            figures: notes.figures,
        });
    }
}

/// Puts tests with the same needs together, in the order in which the needs first appear, and those that end the guest last.
fn group(tests: &mut [Listed]) {
    let mut kinds: Vec<Needs> = Vec::new();
    for test in tests.iter() {
        if !kinds.contains(&test.needs) {
            kinds.push(test.needs.clone());
        }
    }
    tests.sort_by_key(|test| (kinds.iter().position(|kind| *kind == test.needs), test.expects.is_some()));
}

impl From<Verdict> for TestOutcome {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Passed => Self::Passed,
            Verdict::Failed { file, line, reason } => Self::Failed { file, line, reason },
            Verdict::Skipped { reason } => Self::Skipped { reason },
        }
    }
}

/// The outcome of the test in whose time the boot ended.
fn outcome_of(cause: Cause) -> TestOutcome {
    match cause {
        Cause::BugCheck(report) => TestOutcome::BugCheck { report: *report },
        Cause::Hang { patience, log, .. } => TestOutcome::Hang { seconds: patience.as_secs(), log },
        Cause::GuestDied(reason) | Cause::Protocol(reason) => TestOutcome::GuestDied { reason },
        Cause::QemuDied(reason) | Cause::ModelDied(reason) => TestOutcome::Broken { reason },
        Cause::Interrupted(signal) => TestOutcome::NotRun { reason: format!("stopped by signal {signal}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(suite: Option<&str>, filter: Option<&str>) -> Request {
        Request {
            suite: suite.map(str::to_owned),
            filter: filter.map(str::to_owned),
            list: false,
            seed: 1,
            span: None,
            test_patience: Duration::from_secs(1),
            boot_patience: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_suite_is_a_whole_name_and_a_filter_a_part_of_one() {
        assert!(request(Some("device"), None).wants("device::echo"));
        assert!(!request(Some("dev"), None).wants("device::echo"));
        assert!(request(None, Some("ech")).wants("device::echo"));
        assert!(!request(Some("device"), Some("hold")).wants("device::echo"));
    }

    #[test]
    fn a_tests_seed_depends_on_the_runs_seed_and_its_name_only() {
        let request = request(None, None);
        assert_eq!(request.seed_of("a::b"), request.seed_of("a::b"));
        assert_ne!(request.seed_of("a::b"), request.seed_of("a::c"));
    }
}
