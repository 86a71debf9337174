//! What a run found out: tests, outcomes, boots, times. The content of `run.json`.

use std::collections::BTreeMap;
use std::time::Duration;

use channel::{Bounds, Expected};
use serde::{Deserialize, Serialize};

use crate::bugcheck::BugCheck;
use crate::error::Exit;

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TestOutcome {
    /// It passed.
    Passed,
    /// An expectation did not hold.
    Failed {
        /// Source file.
        file: String,
        /// Line.
        line: u32,
        /// Expected and found.
        reason: String,
    },
    /// The test says that it cannot run here.
    Skipped {
        /// Why.
        reason: String,
    },
    /// It gave no answer in its time.
    Hang {
        /// Its time, in seconds.
        seconds: u64,
        /// Last lines of the guest's log.
        log: Vec<String>,
    },
    /// The guest's kernel stopped.
    BugCheck {
        /// The report.
        report: Box<BugCheck>,
    },
    /// The guest went away without a word.
    GuestDied {
        /// What is known.
        reason: String,
    },
    /// QEMU or the device model died under it.
    Broken {
        /// What is known.
        reason: String,
    },
    /// The run ended before its turn.
    NotRun {
        /// Why.
        reason: String,
    },
}

impl TestOutcome {
    /// The word in reports and on the terminal.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Passed => "PASS",
            Self::Failed { .. } => "FAIL",
            Self::Skipped { .. } => "SKIP",
            Self::Hang { .. } => "HANG",
            Self::BugCheck { .. } => "BUGCHECK",
            Self::GuestDied { .. } => "DIED",
            Self::Broken { .. } => "BROKEN",
            Self::NotRun { .. } => "NOT RUN",
        }
    }

    /// What it means for a test that is to end in a bug check: that bug check is its success, and nothing else is. Returns the
    /// bug check apart when it is the expected one.
    #[must_use]
    pub fn against(self, expected: Option<&Expected>, foretold: &Bounds) -> (Self, Option<BugCheck>) {
        let Some(expected) = expected else { return (self, None) };
        match self {
            Self::BugCheck { report } if expected.matches(report.code, &report.parameters) => {
                let outcome = foretold.broken_by(&report.parameters).map_or(Self::Passed, |at| {
                    let (least, most, came) = (foretold.least[at], foretold.most[at], report.parameters[at]);
                    let wanted = if least == most { format!("{least:#x}") } else { format!("{least:#x} to {most:#x}") };
                    let reason = format!("parameter {} of the bug check: expected {wanted}, came {came:#x}", at + 1);
                    Self::Failed { file: String::new(), line: 0, reason }
                });
                (outcome, Some(*report))
            }
            Self::Passed => {
                let reason = format!("expected bug check {:#x}, the guest is still alive", expected.code);
                (Self::Failed { file: String::new(), line: 0, reason }, None)
            }
            other => (other, None),
        }
    }

    /// Whether it counts against the driver or the suite.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        !matches!(self, Self::Passed | Self::Skipped { .. } | Self::NotRun { .. })
    }

    /// Whether another attempt may end otherwise. What the machinery did is not tried again.
    #[must_use]
    pub const fn is_worth_a_retry(&self) -> bool {
        self.is_failure() && !matches!(self, Self::Broken { .. })
    }

    /// The story's first line, which is the same whenever the same happens; empty when there is none.
    #[must_use]
    pub fn headline(&self) -> String {
        self.lines().into_iter().next().unwrap_or_default()
    }

    /// How `rig` ends because of it.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Passed | Self::Skipped { .. } | Self::NotRun { .. } => Exit::Passed,
            Self::Failed { .. } | Self::BugCheck { .. } | Self::GuestDied { .. } => Exit::Failed,
            Self::Hang { .. } => Exit::Hang,
            Self::Broken { .. } => Exit::Environment,
        }
    }

    /// The story behind the word, one line each; the first line stands for all.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Passed => Vec::new(),
            Self::Failed { file, reason, .. } if file.is_empty() => vec![reason.clone()],
            Self::Failed { file, line: 0, reason } => format!("{file}: {reason}").lines().map(str::to_owned).collect(),
            Self::Failed { file, line, reason } => vec![format!("{file}:{line}: {reason}")],
            Self::Skipped { reason } | Self::GuestDied { reason } | Self::Broken { reason } | Self::NotRun { reason } => {
                reason.lines().map(str::to_owned).collect()
            }
            Self::Hang { seconds, log } => {
                let mut lines = vec![format!("no answer within {seconds} s; last lines of the guest's log:")];
                lines.extend(log.iter().map(|line| format!("  {line}")));
                lines
            }
            Self::BugCheck { report } => report.lines(),
        }
    }
}

/// What a test has measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// What.
    pub what: String,
    /// In what unit; empty for a bare number.
    pub unit: String,
    /// How many times.
    pub samples: u32,
    /// The smallest, the median, the 90th and 99th percentile, the largest.
    pub spread: [u64; 5],
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [least, median, ninety, ninety_nine, most] = self.spread;
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        write!(
            f,
            "{}: median {median}{unit} (least {least}, 90 % {ninety}, 99 % {ninety_nine}, most {most}; {} samples)",
            self.what, self.samples
        )
    }
}

/// One test of a run: its last attempt, and what came before that.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TestRecord {
    /// `suite::name`.
    pub name: String,
    /// What it is for.
    pub purpose: String,
    /// Seed it was given.
    pub seed: u64,
    /// How it ended.
    pub outcome: TestOutcome,
    /// The guest's clock, microseconds.
    pub guest_us: Option<u64>,
    /// The harness's clock, from request to answer, microseconds.
    pub host_us: u64,
    /// Which boot of the run it ran in, counted from 1; 0: none.
    pub boot: usize,
    /// When it began, in microseconds since that boot's QEMU was started.
    #[serde(default)]
    pub since_boot_us: u64,
    /// Where its part of that boot's guest.log begins and ends, in bytes.
    pub guest_log: (u64, u64),
    /// What the test itself logged.
    pub log: Vec<String>,
    /// What it has measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<Figure>,
    /// The bug check in which it ended as it was to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bug_check: Option<BugCheck>,
    /// Attempts that failed before this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<TestRecord>,
}

impl TestRecord {
    /// Whether it passed, but not at once.
    #[must_use]
    pub const fn is_flaky(&self) -> bool {
        matches!(self.outcome, TestOutcome::Passed) && !self.earlier.is_empty()
    }

    /// The word in reports and on the terminal.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        if self.is_flaky() { FLAKY } else { self.outcome.word() }
    }

    /// Which suite it is of.
    #[must_use]
    pub fn suite(&self) -> &str {
        suite_of(&self.name)
    }

    /// The bug check that it ended in, be it meant to or not.
    #[must_use]
    pub fn stopped_by(&self) -> Option<&BugCheck> {
        match &self.outcome {
            TestOutcome::BugCheck { report } => Some(report.as_ref()),
            _ => self.bug_check.as_ref(),
        }
    }
}

/// The word for a test that passed when it was tried again.
pub const FLAKY: &str = "FLAKY";

/// The suite of a test that is called `suite::name`.
#[must_use]
pub fn suite_of(name: &str) -> &str {
    name.split_once("::").map_or("tests", |(suite, _)| suite)
}

/// One start of the guest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BootRecord {
    /// Its folder below the run's.
    pub folder: String,
    /// When QEMU was started, UTC.
    pub started: String,
    /// Microseconds from there to the guest's first word.
    pub first_output_us: Option<u64>,
    /// Seconds from there to its end.
    pub seconds: f64,
    /// How QEMU was started.
    pub qemu: Vec<String>,
    /// How the device model was started.
    pub model: Vec<String>,
    /// What the guest said it is.
    pub system: Option<String>,
    /// Why it ended.
    pub ended: String,
    /// Frames on the guest channel that were damaged.
    pub damaged_frames: u64,
}

/// Counts for the last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Passed at once.
    pub passed: usize,
    /// Failed in any way.
    pub failed: usize,
    /// Skipped, by the test or by the end of the run.
    pub skipped: usize,
    /// Passed when they were tried again.
    #[serde(default)]
    pub flaky: usize,
}

impl Counts {
    /// Counts `tests`.
    #[must_use]
    pub fn of(tests: &[TestRecord]) -> Self {
        let mut counts = Self::default();
        for test in tests {
            match test.outcome {
                TestOutcome::Passed if test.is_flaky() => counts.flaky += 1,
                TestOutcome::Passed => counts.passed += 1,
                TestOutcome::Skipped { .. } | TestOutcome::NotRun { .. } => counts.skipped += 1,
                _ => counts.failed += 1,
            }
        }
        counts
    }
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
            flaky: self.flaky + other.flaky,
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)?;
        if self.flaky > 0 { write!(f, ", {} flaky", self.flaky) } else { Ok(()) }
    }
}

/// Something that ended the run outside any test.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trouble {
    /// What happened, one line each.
    pub lines: Vec<String>,
    /// Exit status because of it.
    pub exit: u8,
}

/// Where the time went, in the order in which it was spent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Timings {
    spans: Vec<(String, f64)>,
}

impl Timings {
    /// Adds a span.
    pub fn add(&mut self, name: impl Into<String>, time: Duration) {
        self.add_seconds(name, time.as_secs_f64());
    }

    /// Adds a span of so many seconds.
    pub fn add_seconds(&mut self, name: impl Into<String>, seconds: f64) {
        self.spans.push((name.into(), seconds));
    }

    /// Names and seconds.
    #[must_use]
    pub fn spans(&self) -> &[(String, f64)] {
        &self.spans
    }
}

/// Version of [`RunRecord`] that this harness writes and reads.
pub const FORMAT: u32 = 2;

/// Everything about a run. `run.json` is this.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of this structure.
    pub format: u32,
    /// Version of the harness.
    pub rig: String,
    /// Which suite was asked for, or `all`.
    pub suite: String,
    /// The filter, if one was given.
    pub filter: Option<String>,
    /// Which part of the tests, if not all of them: `2/3`.
    pub shard: Option<String>,
    /// Every option of the command, as `rig rerun` takes them.
    pub options: serde_json::Value,
    /// The folder in which it was started.
    pub directory: String,
    /// When it began, UTC.
    pub started: String,
    /// Seconds it took.
    pub seconds: f64,
    /// How the harness was started.
    pub command: Vec<String>,
    /// Seed from which every test's seed follows.
    pub seed: u64,
    /// QEMU, accelerator, processors and what else the run stood on.
    pub environment: BTreeMap<String, String>,
    /// SHA-256 of every file that went into the guest or served it.
    pub hashes: BTreeMap<String, String>,
    /// Each start of the guest.
    pub boots: Vec<BootRecord>,
    /// Each test.
    pub tests: Vec<TestRecord>,
    /// What ended the run outside a test.
    pub trouble: Option<Trouble>,
    /// Sums.
    pub counts: Counts,
    /// Exit status.
    pub exit: u8,
    /// Where the time went.
    pub timings: Timings,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_reads_as_a_line() {
        let figure = Figure { what: "round trip".into(), unit: "ns".into(), samples: 100, spread: [1, 2, 3, 4, 5] };
        assert_eq!(figure.to_string(), "round trip: median 2 ns (least 1, 90 % 3, 99 % 4, most 5; 100 samples)");
    }

    #[test]
    fn every_way_to_fail_counts_as_failed_and_what_never_ran_as_skipped() {
        let record = |outcome| TestRecord {
            name: "a::b".into(),
            purpose: String::new(),
            seed: 0,
            outcome,
            guest_us: None,
            host_us: 0,
            boot: 1,
            since_boot_us: 0,
            guest_log: (0, 0),
            log: vec![],
            figures: vec![],
            bug_check: None,
            earlier: vec![],
        };
        let tests = [
            TestRecord { earlier: vec![record(TestOutcome::Broken { reason: "x".into() })], ..record(TestOutcome::Passed) },
            record(TestOutcome::Passed),
            record(TestOutcome::Hang { seconds: 1, log: vec![] }),
            record(TestOutcome::Broken { reason: "x".into() }),
            record(TestOutcome::NotRun { reason: "x".into() }),
        ];
        assert_eq!(Counts::of(&tests).to_string(), "1 passed, 2 failed, 1 skipped, 1 flaky");
    }
}
