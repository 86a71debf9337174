//! `rig trace fuzz` and `rig trace shrink`: replays of traces that were changed.

use std::fmt;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use device_model::trace::change::{self, Kept};
use device_model::trace::replay::Story;

use super::replay::{Attempt, How, Recorded};
use super::trace::{cannot_write, open};
use crate::console::{note, say};
use crate::error::{AtPath as _, Exit, Outcome, Problem};
use crate::interrupt::Interrupt;
use crate::run::record::TestOutcome;

/// Options of `rig trace fuzz`.
#[derive(Clone, Debug, Args)]
pub(super) struct Fuzz {
    /// The trace. Its own replay must pass.
    trace: PathBuf,
    /// Replays, each with other changes.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rounds: u64,
    /// Seed of the first replay's changes; each further one has the next.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Folder for traces of findings.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    #[command(flatten)]
    how: How,
}

/// Options of `rig trace shrink`.
#[derive(Clone, Debug, Args)]
pub(super) struct Shrink {
    /// The trace whose replay fails.
    trace: PathBuf,
    /// The shorter one.
    shorter: PathBuf,
    /// How long to look for one.
    #[arg(long = "for", value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    span: Duration,
    #[command(flatten)]
    how: How,
}

/// What a driver makes of a device that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// All came as recorded, and every test passed.
    AsRecorded,
    /// It did something else from then on.
    Diverged(String, String),
    /// The suite saw that something was wrong.
    TestFailed(String, String),
    /// The guest stopped.
    BugCheck(String, u32, [u64; 4]),
    /// A test gave no answer.
    Hang(String),
    /// The guest went away, or what runs it did.
    Died(String),
}

impl Fate {
    fn of(attempt: &Attempt) -> Self {
        let tests = &attempt.ended.record.tests;
        let find = |wanted: fn(&TestOutcome) -> bool| tests.iter().find(|test| wanted(&test.outcome));
        if let Some(test) = find(|outcome| matches!(outcome, TestOutcome::BugCheck { .. }))
            && let TestOutcome::BugCheck { report } = &test.outcome
        {
            return Self::BugCheck(test.name.clone(), report.code, report.parameters);
        }
        if let Some(verdict) = attempt.verdict.as_ref().filter(|verdict| verdict.diverged) {
            let (expected, came) = verdict.difference();
            return Self::Diverged(expected.to_owned(), came.to_owned());
        }
        if let Some(test) = find(|outcome| matches!(outcome, TestOutcome::Hang { .. })) {
            return Self::Hang(test.name.clone());
        }
        if let Some(test) = find(|outcome| matches!(outcome, TestOutcome::GuestDied { .. } | TestOutcome::Broken { .. })) {
            return Self::Died(test.name.clone());
        }
        match tests.iter().find(|test| test.outcome.is_failure()) {
            Some(test) => Self::TestFailed(test.name.clone(), test.outcome.headline()),
            None if attempt.ended.record.trouble.is_some() => Self::Died("the guest".to_owned()),
            None => Self::AsRecorded,
        }
    }

    /// Whether no answer of any device may bring a driver to this.
    const fn is_finding(&self) -> bool {
        matches!(self, Self::BugCheck(..) | Self::Hang(_) | Self::Died(_))
    }

    /// Whether two replays fail the same way. The parameters of a bug check are addresses as often as not.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::BugCheck(_, code, _), Self::BugCheck(_, other, _)) => code == other,
            _ => self == other,
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsRecorded => f.write_str("as recorded"),
            Self::Diverged(expected, came) => write!(f, "the driver did something else: expected {expected}; came {came}"),
            Self::TestFailed(test, why) => write!(f, "{test} failed: {why}"),
            Self::BugCheck(test, code, [a, b, c, d]) => {
                write!(f, "BUG CHECK {code:#x} ({a:#x}, {b:#x}, {c:#x}, {d:#x}) in {test}")
            }
            Self::Hang(test) => write!(f, "HANG of {test}"),
            Self::Died(what) => write!(f, "{what} DIED"),
        }
    }
}

/// A replay of which nothing is left but what came of it.
fn fate(recorded: &Recorded, trace: &Path, how: &How, interrupt: &Interrupt) -> Outcome<Fate> {
    let attempt = recorded.attempt(trace, how, true, interrupt)?;
    let fate = Fate::of(&attempt);
    if !fate.is_finding() {
        // Hundreds of them would fill the disk.
        let _ = std::fs::remove_dir_all(&attempt.ended.folder);
    }
    Ok(fate)
}

/// What a trace tells. What is made of it names its tests, since it may lie anywhere.
fn story_of(recorded: &Recorded) -> Outcome<Story> {
    let trace = &recorded.trace;
    let mut story = Story::read(&mut open(trace)?).map_err(|error| {
        Problem::usage(format!("{} cannot be replayed", trace.display()))
            .because(error.to_string())
            .so("`cargo rig trace copy` saves what is intact")
    })?;
    if let Some(tests) = &recorded.tests {
        story.add_note("tests", tests.join(" "));
    }
    Ok(story)
}

/// Does `rig trace fuzz`.
pub(super) fn fuzz(arguments: &Fuzz, interrupt: &Interrupt) -> Outcome<Exit> {
    let Fuzz { trace, rounds, seed, out, how } = arguments;
    let recorded = Recorded::find(trace, how)?;
    let story = story_of(&recorded)?;
    let unchanged = fate(&recorded, &recorded.trace, how, interrupt)?;
    if unchanged != Fate::AsRecorded {
        return Err(Problem::usage(format!("{} cannot be fuzzed", trace.display()))
            .because(format!("its replay does not pass even without a change: {unchanged}"))
            .so("fuzz a trace whose `cargo rig replay` passes"));
    }
    let folder = tempfile::tempdir().at("create a folder in", &std::env::temp_dir())?;
    let changed = folder.path().join("changed.rigtrace");
    let mut findings = 0;
    for seed in (0..*rounds).map(|round| seed.wrapping_add(round)) {
        interrupt.check()?;
        let file = File::create(&changed).map_err(|error| cannot_write(&changed, &error))?;
        let mutations = change::mutate(&story, seed, BufWriter::new(file)).map_err(|error| cannot_write(&changed, &error))?;
        let fate = fate(&recorded, &changed, how, interrupt)?;
        say(format!("seed {seed}: {} answers changed: {fate}", mutations.len()));
        if fate.is_finding() {
            findings += 1;
            let kept = out.join(format!("finding-{seed}.rigtrace"));
            std::fs::copy(&changed, &kept).map_err(|error| cannot_write(&kept, &error))?;
            for mutation in &mutations {
                say(format!("  event {}: {} became {}", mutation.event, mutation.was, mutation.is));
            }
            say(format!(
                "  kept as {}; `cargo rig trace fuzz {} --seed {seed} --rounds 1` does it again",
                kept.display(),
                trace.display()
            ));
        }
    }
    say(format!("{rounds} replays, {findings} findings"));
    Ok(if findings > 0 { Exit::Failed } else { Exit::Passed })
}

/// Does `rig trace shrink`.
pub(super) fn shrink(arguments: &Shrink, interrupt: &Interrupt) -> Outcome<Exit> {
    let Shrink { trace, shorter, span, how } = arguments;
    let recorded = Recorded::find(trace, how)?;
    let story = story_of(&recorded)?;
    let out = File::create_new(shorter).map_err(|error| cannot_write(shorter, &error))?;
    // What is not finished is not left behind.
    let unfinished = |problem: Problem| {
        let _ = std::fs::remove_file(shorter);
        problem
    };
    let deadline = Instant::now() + *span;
    let first = recorded.attempt(&recorded.trace, how, true, interrupt).map_err(unfinished)?;
    let wanted = Fate::of(&first);
    if wanted == Fate::AsRecorded {
        return Err(unfinished(
            Problem::usage(format!("{} cannot be shrunk", trace.display()))
                .because("its replay passes")
                .so("shrink a trace whose `cargo rig replay` fails, such as one that `cargo rig trace fuzz` has kept"),
        ));
    }
    say(format!("to be kept: {wanted}"));
    let folder = tempfile::tempdir().at("create a folder in", &std::env::temp_dir()).map_err(unfinished)?;
    let candidate = folder.path().join("candidate.rigtrace");
    let mut tries = 0;
    let fails = |kept: &Kept| -> Outcome<bool> {
        interrupt.check()?;
        let file = File::create(&candidate).map_err(|error| cannot_write(&candidate, &error))?;
        change::write_part(&story, kept, BufWriter::new(file)).map_err(|error| cannot_write(&candidate, &error))?;
        let fate = fate(&recorded, &candidate, how, interrupt)?;
        tries += 1;
        let same = fate.is_like(&wanted);
        note(format!("try {tries}: {} events: {}", kept.len(), if same { "the same" } else { "something else" }));
        Ok(same)
    };
    let kept = change::shrink(&story, first.verdict.and_then(|verdict| verdict.event), fails, || Instant::now() > deadline)
        .map_err(unfinished)?;
    change::write_part(&story, &kept, BufWriter::new(out)).map_err(|error| unfinished(cannot_write(shorter, &error)))?;
    say(format!("{} of {} events, after {tries} replays: {}", kept.len(), story.len(), shorter.display()));
    Ok(Exit::Passed)
}
