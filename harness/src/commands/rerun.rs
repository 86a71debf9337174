//! `rig rerun`: a run again, with the same tests, seeds and options, and what is different this time.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use super::run;
use crate::console::{note, say};
use crate::error::{Exit, Outcome, Problem};
use crate::interrupt::Interrupt;
use crate::report::{merge, read};
use crate::run::record::{RunRecord, TestRecord};

/// Options of `rig rerun`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The folder of a run, such as target/rig/runs/latest.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Only the tests that did not pass.
    #[arg(long)]
    pub failed: bool,
}

/// Does it. The exit status is that of the new run.
///
/// # Errors
/// The folder is no run's, or is damaged; what keeps a run from beginning.
pub fn perform(arguments: &Arguments, interrupt: &Interrupt) -> Outcome<Exit> {
    let before = read::record(&arguments.folder)?;
    let mut again: run::Arguments = serde_json::from_value(before.options.clone()).map_err(|error| {
        Problem::usage(format!("the run in {} cannot be repeated", arguments.folder.display()))
            .because(format!("this rig does not know its options: {error}"))
            .so("use the rig that made it")
    })?;
    // A run that was put together has the options of its first part, but is no part itself.
    again.shard.clone_from(&before.shard);
    let wanted = |test: &&TestRecord| !arguments.failed || test.outcome.is_failure() || test.is_flaky();
    let names: Vec<String> = before.tests.iter().filter(wanted).map(|test| test.name.clone()).collect();
    // The parts of a run that was put together may each have had a seed of their own.
    let seeds = before.tests.iter().map(|test| (test.name.clone(), test.seed)).collect();
    if names.is_empty() {
        let why = if arguments.failed { "every test of it passed" } else { "no test ran in it" };
        return Err(Problem::usage(format!("there is nothing to repeat of the run in {}", arguments.folder.display()))
            .because(why)
            .so("`cargo rig run` runs everything"));
    }
    let ended = run::perform_these(&again, run::Chosen { only: Some(names), seeds }, interrupt, &|now| {
        differences(&before, now).iter().for_each(|line| note(format!("[rig] {line}")));
    })?;
    for line in changes(&before, &ended.record, &ended.gone) {
        say(line);
    }
    say(ended.record.counts.to_string());
    Ok(ended.exit)
}

/// What the new run stands on that the old one did not.
fn differences(before: &RunRecord, now: &RunRecord) -> Vec<String> {
    let lines = merge::differences(before, now, ["then", "now"]);
    if lines.is_empty() { vec!["the same files, the same machine, the same options".to_owned()] } else { lines }
}

/// Which tests came out otherwise.
fn changes(before: &RunRecord, now: &RunRecord, gone: &[String]) -> Vec<String> {
    let mut lines: Vec<String> =
        gone.iter().map(|name| format!("    GONE  {name}: the suite has no such test any more")).collect();
    let old: BTreeMap<&str, &TestRecord> = before.tests.iter().map(|test| (test.name.as_str(), test)).collect();
    for test in &now.tests {
        let Some(old) = old.get(test.name.as_str()) else { continue };
        if old.word() != test.word() {
            lines.push(format!("  CHANGE  {}: {} then, {} now", test.name, old.word(), test.word()));
        } else if old.outcome.headline() != test.outcome.headline() {
            lines.push(format!("  CHANGE  {}: {} both times, for another reason", test.name, test.word()));
        }
    }
    if lines.is_empty() {
        lines.push("every test came out as it did then".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn a_test_that_came_out_otherwise_is_named_with_both_outcomes() {
        let (before, mut now) = (sample(), sample());
        assert_eq!(changes(&before, &now, &[]), ["every test came out as it did then"]);
        now.tests[1].outcome = crate::run::record::TestOutcome::Passed;
        let lines = changes(&before, &now, &["device::old".to_owned()]);
        assert_eq!(lines[0], "    GONE  device::old: the suite has no such test any more");
        assert_eq!(lines[1], "  CHANGE  device::fails: FAIL then, PASS now");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn what_the_runs_stand_on_is_compared_file_by_file() {
        let (before, mut now) = (sample(), sample());
        assert_eq!(differences(&before, &now), ["the same files, the same machine, the same options"]);
        now.hashes = [("relay.sys".to_owned(), "11".to_owned()), ("new.sys".to_owned(), "22".to_owned())].into();
        assert_eq!(differences(&before, &now), ["differs: new.sys: none then, 22 now", "differs: relay.sys: 00 then, 11 now"]);
    }
}
