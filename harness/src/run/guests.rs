//! The guests of a run, side by side: each a thread of its own, which boots, takes tests from the plan, and boots again.
//!
//! The kernel ties a guest's processes to the thread that started them (see [`crate::child`]), so a guest's thread lives as long as
//! the run. All that the threads share is the `Board`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use channel::{Expected, Span};
use chrono::{SecondsFormat, Utc};

use super::board::Board;
use super::boot::{Boot, Logs, Mission, Rig};
use super::link::{Needs, Verdict};
use super::plan::{Plan, Turn};
use super::record::{BootRecord, TestOutcome, TestRecord, Timings, Trouble, suite_of};
use super::session::{Cause, Session};
use super::watch::{Event, Watcher};
use super::{Findings, REBOOT, Request, outcome_of};
use crate::console::note;
use crate::device::Recording;
use crate::dump::{DumpError, triage};
use crate::error::{AtPath as _, Exit, Outcome, Problem};
use crate::interrupt::Interrupt;
use crate::report::folder::{BootFolder, RunFolder};
use crate::symbols::Symbols;

/// How often the watcher may look for slow tests.
const PULSE: Duration = Duration::from_millis(100);
/// A further guest is booted when the others have had so much time and there is still something to do: about what a boot takes.
const WORTH_A_BOOT: Duration = Duration::from_millis(400);

/// Most crash dumps of one run.
const MOST_DUMPS: usize = 4;
/// How long a guest may take from the report of a bug check to its end.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// A run under way.
#[derive(Debug)]
pub struct Run<'a> {
    rig: &'a Rig,
    pub(super) request: &'a Request,
    folder: &'a RunFolder,
    pub(super) symbols: &'a Symbols,
    interrupt: &'a Interrupt,
    pub(super) watcher: &'a dyn Watcher,
    board: Mutex<Board>,
    changed: Condvar,
    dumps: AtomicUsize,
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
        watcher: &'a dyn Watcher,
        timings: Timings,
    ) -> Self {
        let board = Board { findings: Findings { timings, ..Findings::default() }, ..Board::default() };
        let (board, changed) = (Mutex::new(board), Condvar::new());
        Self { rig, request, folder, symbols, interrupt, watcher, board, changed, dumps: AtomicUsize::new(0) }
    }

    /// Boots until there is nothing left to do. The watcher is told each result when it is known.
    #[must_use]
    pub fn execute(self) -> Findings {
        let run = &self;
        std::thread::scope(|scope| {
            let (over, is_over) = mpsc::channel::<()>();
            scope.spawn(move || {
                while is_over.recv_timeout(PULSE) == Err(RecvTimeoutError::Timeout) {
                    run.watcher.pulse();
                }
            });
            let further = 1..if run.request.list || run.request.check.is_some() { 1 } else { run.request.jobs.get() };
            let others: Vec<_> = further.map(|number| scope.spawn(move || run.further_guest(number))).collect();
            match &run.request.check {
                Some(subject) => run.check(subject),
                None => run.first_guest(),
            }
            for other in others {
                if let Err(panic) = other.join() {
                    std::panic::resume_unwind(panic);
                }
            }
            drop(over);
        });
        self.conclude()
    }

    /// Records what never had its turn.
    fn conclude(self) -> Findings {
        let plan = self.board().plan.take();
        let trouble = self.board().findings.trouble.as_ref().and_then(|trouble| trouble.lines.first().cloned());
        if let Some(plan) = plan
            && !self.request.list
        {
            let (left, reason) = plan.leave();
            let reason = trouble.unwrap_or(reason);
            for turn in left {
                let record = self.blank(&turn, TestOutcome::NotRun { reason: reason.clone() });
                self.watcher.tell(&Event::TestEnded { test: &record });
                self.board().findings.tests.push(record);
            }
        }
        self.board.into_inner().unwrap_or_else(PoisonError::into_inner).findings
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest that lists the tests, and at the end runs those that want to be alone.
    fn first_guest(&self) {
        let first = self.request.needs.clone().unwrap_or_default();
        let mut board = self.board();
        board.guests += 1;
        board.expect(&first);
        drop(board);
        let mut fallen = self.boot(first, true, None);
        while let Some((needs, alone)) = self.wait_for_work() {
            fallen = self.boot(needs, alone, fallen);
        }
        let mut board = self.board();
        board.guests -= 1;
        board.over = true;
        self.changed.notify_all();
    }

    /// A guest beside the first one, if there is work for it.
    fn further_guest(&self, number: usize) {
        if !self.is_wanted(number) {
            return;
        }
        let mut fallen = None;
        loop {
            let Some(needs) = self.board().claim(false) else { break };
            fallen = self.boot(needs, false, fallen);
        }
        self.board().guests -= 1;
        self.changed.notify_all();
    }

    /// Waits until the tests are known and there is, or has been for a while, enough to do for guest `number` (from 0).
    fn is_wanted(&self, number: usize) -> bool {
        let mut board = self.board();
        loop {
            let waited = board.listed.map(|since| since.elapsed());
            let has_work = board.needs(false).is_some();
            if board.over || waited.is_some() && !has_work {
                return false;
            }
            let is_worth = board.plan.as_ref().is_some_and(|plan| plan.is_worth(number + 1));
            if is_worth || waited.is_some_and(|waited| waited >= WORTH_A_BOOT) {
                board.guests += 1;
                return true;
            }
            let patience = waited.map_or(PULSE, |waited| WORTH_A_BOOT.saturating_sub(waited));
            board = self.changed.wait_timeout(board, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What the first guest boots for next, and whether it is alone then. Waits for the others when what is left wants no other beside it.
    fn wait_for_work(&self) -> Option<(Needs, bool)> {
        let mut board = self.board();
        loop {
            let alone = board.guests == 1;
            let waits = board.plan.as_ref().filter(|_| !self.request.list)?.has_measurements();
            if let Some(needs) = board.claim(alone) {
                return Some((needs, alone));
            }
            if alone || !waits {
                return None;
            }
            board = self.changed.wait_timeout(board, PULSE).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// One boot of a guest that is made for `needs`. `fallen` is when the guest before it bug checked, if it did; the same of this one is
    /// returned.
    fn boot(&self, needs: Needs, alone: bool, mut fallen: Option<Instant>) -> Option<Instant> {
        let mut is_coming = true;
        match self.refusal(&needs) {
            Ok(None) => {
                if let Some((number, boot)) = self.begin(&needs) {
                    let session = Session::new(boot, self.symbols);
                    let mut guest = Guest { run: self, number, needs: needs.clone(), alone, is_coming, fallen, session };
                    let ended = guest.converse();
                    (is_coming, fallen) = (guest.is_coming, guest.fallen);
                    self.end(number, guest.session, &ended);
                }
            }
            Ok(Some(reason)) => self.skip(&needs, &reason),
            Err(problem) => self.problem(&problem),
        }
        let mut board = self.board();
        board.has_gone(&needs);
        if is_coming {
            board.has_come(&needs);
        }
        fallen
    }

    /// Why the device model cannot fail as tests with these needs want it to; `None`: it can.
    fn refusal(&self, needs: &Needs) -> Outcome<Option<String>> {
        let Some(model) = self.rig.model.as_ref().filter(|_| !needs.faults.is_empty()) else { return Ok(None) };
        let mut plan = tempfile::NamedTempFile::new().at("make a file in", &std::env::temp_dir())?;
        plan.write_all(needs.faults.as_bytes()).at("write", plan.path())?;
        model.refusal(plan.path(), self.interrupt)
    }

    /// Ends the turn of every test with these needs: no guest can be made for them.
    fn skip(&self, needs: &Needs, reason: &str) {
        if self.board().plan.is_none() {
            return self.problem(
                &Problem::usage("the device cannot fail as these tests want it to")
                    .because(reason)
                    .so("leave out --transport, so that it is as it was recorded"),
            );
        }
        loop {
            let turn = self.board().plan.as_mut().and_then(|plan| plan.take(needs, true, true));
            let Some(turn) = turn else { return };
            let record = self.blank(&turn, TestOutcome::Skipped { reason: reason.to_owned() });
            self.record(turn, record);
        }
    }

    /// Starts a guest that is made for `needs`. `None`: it did not come to that, and the run is over.
    pub(super) fn begin(&self, needs: &Needs) -> Option<(usize, Boot<'_>)> {
        let number = {
            let mut board = self.board();
            let folder = RunFolder::boot_name(board.findings.boots.len() + 1);
            board.findings.boots.push(BootRecord { folder, ..BootRecord::default() });
            board.findings.boots.len()
        };
        let started = self.folder.boot(number).and_then(|folder| self.start(needs, &folder));
        let boot = match started {
            Ok(boot) => boot,
            Err(problem) => {
                self.problem(&problem);
                return None;
            }
        };
        self.of_boot(number, |record| {
            record.qemu = boot.qemu_command();
            record.model = boot.model_command();
            record.started = (Utc::now() - boot.started().elapsed()).to_rfc3339_opts(SecondsFormat::Micros, true);
        });
        self.watcher.tell(&Event::BootStarted { boot: number });
        Some((number, boot))
    }

    fn start(&self, needs: &Needs, folder: &BootFolder) -> Outcome<Boot<'_>> {
        let faults = self.fault_plan(needs, &folder.path)?;
        let recording = self.request.record.then(|| self.recording(needs, &folder.path));
        let mission = Mission { verifier: verifier_of(needs), removable: needs.removable, faults, recording };
        Boot::start(self.rig, &mission, &logs_of(folder), self.interrupt).map_err(|(who, error)| {
            Problem::environment(format!("{who} cannot be started"))
                .because(error.to_string())
                .so("`cargo rig doctor` shows what is there and what is missing")
        })
    }

    /// Records how a boot ended. What still runs of it is killed.
    pub(super) fn end(&self, number: usize, mut session: Session<'_>, reason: &str) {
        session.take_late_log();
        self.of_boot(number, |record| {
            record.seconds = session.boot().started().elapsed().as_secs_f64();
            record.damaged_frames = session.boot().damaged_frames();
            record.ended = reason.to_owned();
        });
        session.conclude();
        self.watcher.tell(&Event::BootEnded { boot: number, reason });
    }

    pub(super) fn of_findings(&self, change: impl FnOnce(&mut Findings)) {
        change(&mut self.board().findings);
    }

    fn of_boot(&self, number: usize, change: impl FnOnce(&mut BootRecord)) {
        if let Some(record) = self.board().findings.boots.get_mut(number - 1) {
            change(record);
        }
    }

    /// Where a boot's trace goes, and what it says of the run.
    fn recording(&self, needs: &Needs, folder: &Path) -> Recording {
        let whole = |text: &Option<String>| text.clone().unwrap_or_default();
        let time = match self.request.span {
            Span::Milliseconds(time) => format!("{time} ms"),
            Span::Moment | Span::Rounds => String::new(),
        };
        let boot = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Recording {
            file: folder.join(super::TRACE),
            notes: vec![
                ("boot", boot),
                ("needs", serde_json::to_string(needs).unwrap_or_default()),
                ("seed", self.request.seed.to_string()),
                (super::FOR, time),
                ("suite", self.request.suites.join(" ")),
                ("filter", whole(&self.request.filter)),
                ("processors", self.rig.processors.to_string()),
            ],
        }
    }

    /// Writes the plan of faults that a guest needs into its boot's folder, where it stays for whoever repeats the run.
    fn fault_plan(&self, needs: &Needs, folder: &Path) -> Outcome<Option<PathBuf>> {
        let plan = if needs.faults.is_empty() { &self.rig.faults } else { &needs.faults };
        if plan.is_empty() {
            return Ok(None);
        }
        let path = folder.join(super::FAULTS);
        fs::write(&path, plan).at("write", &path)?;
        Ok(Some(path))
    }

    /// Ends the run because of something that is no test's doing. The first trouble is the one that is told.
    fn trouble(&self, lines: Vec<String>, exit: Exit) {
        let mut board = self.board();
        if let Some(plan) = &mut board.plan {
            plan.halt(lines.first().map_or("the run ended", String::as_str));
        }
        board.findings.trouble.get_or_insert(Trouble { lines, exit: exit.code() });
        self.changed.notify_all();
    }

    fn problem(&self, problem: &Problem) {
        self.trouble(problem.to_string().lines().map(str::to_owned).collect(), problem.exit());
    }

    /// Ends the run because of what ended a boot. Returns that in words.
    pub(super) fn stop(&self, cause: &Cause) -> String {
        let exit = match cause {
            Cause::BugCheck(_) | Cause::GuestDied(_) => Exit::Failed,
            Cause::Hang { .. } => Exit::Hang,
            Cause::QemuDied(_) | Cause::ModelDied(_) | Cause::Protocol(_) | Cause::Unready(_) => Exit::Environment,
            Cause::Interrupted(signal) => Exit::Interrupted(*signal),
        };
        let lines = cause.lines();
        let ended = lines.first().cloned().unwrap_or_default();
        self.trouble(lines, exit);
        ended
    }

    fn time(&self, name: impl Into<String>, time: Duration) {
        self.board().findings.timings.add(name, time);
    }

    pub(super) fn blank(&self, turn: &Turn, outcome: TestOutcome) -> TestRecord {
        TestRecord {
            name: turn.test.name.clone(),
            purpose: turn.test.purpose.clone(),
            seed: self.request.seed_of(&turn.test.name),
            outcome,
            guest_us: None,
            host_us: 0,
            boot: 0,
            since_boot_us: 0,
            guest_log: (0, 0),
            log: Vec::new(),
            figures: Vec::new(),
            bug_check: None,
            earlier: turn.earlier.clone(),
        }
    }

    /// Records what became of a test's turn, or gives it another one.
    pub(super) fn record(&self, mut turn: Turn, record: TestRecord) {
        let again = record.outcome.is_worth_a_retry() && turn.earlier.len() < self.request.retries;
        if again {
            self.watcher.tell(&Event::TestAgain { test: &record, left: self.request.retries - turn.earlier.len() });
        } else {
            self.watcher.tell(&Event::TestEnded { test: &record });
        }
        let mut board = self.board();
        if again {
            turn.earlier.push(TestRecord { earlier: Vec::new(), ..record });
            if let Some(plan) = &mut board.plan {
                plan.again(turn);
            }
        } else {
            if record.outcome.is_failure()
                && !self.request.keep_going
                && let Some(plan) = &mut board.plan
            {
                plan.halt("a test failed before its turn; --keep-going runs the others, too");
            }
            board.findings.tests.push(record);
        }
        self.changed.notify_all();
    }
}

/// The word on the kernel's command line that makes the framework verifier as a guest wants it; none for the one that it has anyway.
const fn verifier_of(needs: &Needs) -> Option<&'static str> {
    match (needs.verifier, needs.breaks) {
        (false, _) => Some("off"),
        (true, true) => Some("break"),
        (true, false) => None,
    }
}

fn logs_of(folder: &BootFolder) -> Logs<'_> {
    Logs { folder: &folder.path, guest: &folder.guest, device: &folder.device, qemu: &folder.qemu }
}

/// A booted guest.
struct Guest<'r, 'a> {
    run: &'r Run<'a>,
    number: usize,
    needs: Needs,
    alone: bool,
    /// It has taken no test yet.
    is_coming: bool,
    /// When the guest before it bug checked, until it takes a test; then when it does.
    fallen: Option<Instant>,
    session: Session<'r>,
}

impl Guest<'_, '_> {
    /// From hello to goodbye, or to whatever comes between. Returns in words why the boot ended.
    fn converse(&mut self) -> String {
        if let Err(cause) = self.meet().and_then(|()| self.list()) {
            self.dump(&cause, None);
            return self.run.stop(&cause);
        }
        if let Some(fallen) = self.fallen.take() {
            self.run.time(format!("boot {}: {REBOOT}", self.number), fallen.elapsed());
        }
        let (mut fresh, mut spoilt) = (true, false);
        while let Some(turn) = self.take(fresh) {
            fresh = false;
            match self.one_test(turn) {
                Ok(false) => {}
                // The guest goes, so that its drivers print what they did last: the timeline of the failed test. What it may have spoilt
                // goes with it.
                Ok(true) => {
                    spoilt = true;
                    break;
                }
                Err(ended) => return ended,
            }
        }
        let began = Instant::now();
        let farewell = self.session.goodbye();
        self.run.time(format!("boot {}: shutdown", self.number), began.elapsed());
        match farewell {
            Ok(remark) => remark.unwrap_or_else(|| "ordered shutdown".to_owned()),
            // The test has failed already, and is to blame; other guests know nothing of it.
            Err(cause) if spoilt => self.after(&cause),
            Err(cause) => {
                self.dump(&cause, None);
                self.run.stop(&cause)
            }
        }
    }

    fn meet(&mut self) -> Result<(), Cause> {
        let patience = self.run.request.boot_patience;
        let system = match &self.run.rig.windows {
            None => self.session.hello(patience),
            Some(windows) => {
                let system = self.session.enter(&windows.preparation, &self.needs, patience);
                system.and_then(|system| self.session.hello(patience).map(|_| system))
            }
        };
        let boot = self.session.boot();
        let (now, started, number) = (Instant::now(), boot.started(), self.number);
        let (first, ready) = (boot.log().first_output(), boot.log().device_started());
        self.run.of_boot(number, |record| {
            record.first_output_us = first.map(|first| microseconds(first - started));
            record.system = system.as_ref().ok().cloned();
        });
        let first = first.unwrap_or(now);
        if let Some(ready) = ready {
            self.run.time(format!("boot {number}: QEMU's start to the driver's device started"), ready - started);
        }
        self.run.time(format!("boot {number}: QEMU's start to the guest's first output"), first - started);
        self.run.time(format!("boot {number}: first output to hello"), now.saturating_duration_since(first));
        system.map(drop)
    }

    /// Asks for the list of tests, if nobody has yet.
    fn list(&mut self) -> Result<(), Cause> {
        let run = self.run;
        if run.board().plan.is_some() {
            return Ok(());
        }
        let began = Instant::now();
        let listed = self.session.list()?;
        // A suite that does not exist is a mistake, even beside one that does.
        let exists = |suite: &String| listed.iter().any(|test| suite_of(&test.name) == suite);
        let is_clear = run.request.suites.iter().all(exists);
        let wants_none = run.request.only.as_ref().is_some_and(Vec::is_empty);
        let is_empty = !is_clear || !wants_none && !listed.iter().any(|test| run.request.wants(&test.name));
        let (plan, gone) = Plan::new(if is_clear { listed } else { Vec::new() }, run.request);
        run.watcher.tell(&Event::Listed { tests: plan.tests().count() });
        let mut board = run.board();
        board.findings.nothing_chosen = is_empty;
        board.findings.gone = gone;
        board.findings.timings.add("hello to first test (the list)", began.elapsed());
        if run.request.list {
            board.findings.listed = plan.tests().cloned().collect();
        }
        board.listed = Some(Instant::now());
        board.plan = Some(plan);
        run.changed.notify_all();
        Ok(())
    }

    /// The next test that this guest is made for.
    fn take(&mut self, fresh: bool) -> Option<Turn> {
        let mut board = self.run.board();
        if std::mem::take(&mut self.is_coming) {
            board.has_come(&self.needs);
        }
        let alone = self.alone && board.guests == 1;
        let plan = board.plan.as_mut().filter(|_| !self.run.request.list)?;
        plan.take(&self.needs, fresh, alone)
    }

    /// Runs one test and records it. Whether it failed; `Err`: the boot is over, and why.
    fn one_test(&mut self, turn: Turn) -> Result<bool, String> {
        let (run, test) = (self.run, &turn.test);
        run.watcher.tell(&Event::TestStarted { test: &test.name, boot: self.number, attempt: turn.earlier.len() + 1 });
        let began = Instant::now();
        let log_start = self.session.boot().log().written();
        let done = self.session.run(&test.name, run.request.seed_of(&test.name), run.request.span, run.request.test_patience);
        let time = began.elapsed();
        run.time(format!("test {}", test.name), time);
        let (outcome, guest_us, over) = match done {
            Ok(done) => (done.verdict.into(), Some(done.duration / 10), None),
            Err(cause) => {
                self.fallen = matches!(cause, Cause::BugCheck(_)).then(Instant::now);
                self.dump(&cause, test.expects.as_ref());
                let ended = self.after(&cause);
                (outcome_of(cause), None, Some(ended))
            }
        };
        let notes = self.session.take_notes();
        let (outcome, bug_check) = outcome.against(test.expects.as_ref(), &notes.foretold);
        let record = TestRecord {
            guest_us,
            host_us: microseconds(time),
            boot: self.number,
            since_boot_us: microseconds(began - self.session.boot().started()),
            guest_log: (log_start, self.session.boot().log().written()),
            log: notes.lines,
            figures: notes.figures,
            bug_check,
            ..run.blank(&turn, outcome)
        };
        let failed = record.outcome.is_failure();
        run.record(turn, record);
        over.map_or(Ok(failed), Err)
    }

    /// Writes a crash dump into the boot's folder, if this is a bug check that nobody expects, or the user wants one of every bug check.
    fn dump(&mut self, cause: &Cause, expected: Option<&Expected>) {
        let is_expected = match cause {
            Cause::BugCheck(report) => expected.is_some_and(|expected| expected.matches(report.code, &report.parameters)),
            // A Windows that hung was made to leave one.
            Cause::Hang { .. } if self.session.has_dump() => false,
            _ => return,
        };
        if is_expected && !self.run.request.dump || self.run.dumps.fetch_add(1, Ordering::Relaxed) >= MOST_DUMPS {
            return;
        }
        let began = Instant::now();
        let to = self.session.boot().folder().join(triage::DUMP);
        let failure = match self.run.rig.windows {
            None => match self.session.dump(&self.run.rig.image, &to, LAST_WORDS) {
                // Somebody else's image leaves no header: it has said what it has to say.
                Ok(()) | Err(DumpError::NoSymbol) => None,
                Err(error) => Some(error.to_string()),
            },
            Some(_) => self.session.fetch_dump(&to).err().map(|cause| cause.lines().join("; ")),
        };
        if let Some(failure) = failure {
            note(format!("[rig] no crash dump: {failure}"));
        }
        self.run.time(format!("boot {}: crash dump", self.number), began.elapsed());
    }

    /// What a boot's end in the middle of a test means for the run. Returns in words why it ended.
    fn after(&self, cause: &Cause) -> String {
        match cause {
            Cause::QemuDied(_) | Cause::ModelDied(_) | Cause::Unready(_) | Cause::Interrupted(_) => self.run.stop(cause),
            Cause::BugCheck(_) | Cause::Hang { .. } | Cause::GuestDied(_) | Cause::Protocol(_) => {
                cause.lines().first().cloned().unwrap_or_default()
            }
        }
    }
}

pub(super) fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
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
