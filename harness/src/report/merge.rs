//! Several runs as one: the shards of a run, put together again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::error::{Exit, Outcome, Problem};
use crate::run::plan::Shard;
use crate::run::record::{Counts, RunRecord, Timings, Trouble};

/// In the environment of a run that was put together: the seeds of its parts, where they are not one and the same.
pub const SEEDS: &str = "seeds of the parts";

/// One record of the runs in `parts`, whose boots are named relative to `folder`.
///
/// # Errors
/// A test is in two of them.
pub fn merge(parts: &[(PathBuf, RunRecord)], folder: &Path) -> Outcome<RunRecord> {
    let Some(((_, first), _)) = parts.split_first() else {
        return Err(Problem::usage("there is no run to report on").so("name the folders of runs"));
    };
    let mut merged = RunRecord {
        shard: None,
        boots: Vec::new(),
        tests: Vec::new(),
        timings: Timings::default(),
        trouble: None,
        ..first.clone()
    };
    let mut owners: BTreeMap<&str, &Path> = BTreeMap::new();
    let mut trouble = missing(parts);
    let mut exit = if trouble.is_empty() { Exit::Passed } else { Exit::Environment };
    for (path, part) in parts {
        for test in &part.tests {
            if let Some(other) = owners.insert(&test.name, path) {
                return Err(Problem::usage(format!("{} is in two of these runs", test.name))
                    .because(format!("it is in {} and in {}", other.display(), path.display()))
                    .so("name runs that share no test, such as the shards of one run"));
            }
        }
        add(&mut merged, path, part, folder);
        exit = exit.worst(Exit::of_code(part.exit));
        let name = part.shard.as_ref().map_or_else(|| path.display().to_string(), |shard| format!("shard {shard}"));
        trouble.extend(part.trouble.iter().flat_map(|trouble| &trouble.lines).map(|line| format!("{name}: {line}")));
    }
    if parts.iter().any(|(_, part)| part.seed != first.seed) {
        let seeds = parts.iter().map(|(_, part)| part.seed.to_string()).collect::<Vec<_>>().join(" | ");
        merged.environment.insert(SEEDS.to_owned(), seeds);
    }
    merged.counts = Counts::of(&merged.tests);
    merged.exit = exit.code();
    merged.trouble = (!trouble.is_empty()).then(|| Trouble { lines: trouble, exit: exit.code() });
    (merged.started, merged.seconds) = span(parts).unwrap_or((first.started.clone(), first.seconds));
    Ok(merged)
}

fn add(merged: &mut RunRecord, path: &Path, part: &RunRecord, folder: &Path) {
    let before = merged.boots.len();
    merged.boots.extend(part.boots.iter().cloned().map(|mut boot| {
        boot.folder = relative(&path.join(&boot.folder), folder).display().to_string();
        boot
    }));
    merged.tests.extend(part.tests.iter().cloned().map(|mut test| {
        for attempt in test.earlier.iter_mut() {
            attempt.boot = renumbered(attempt.boot, before);
        }
        test.boot = renumbered(test.boot, before);
        test
    }));
    for (name, seconds) in part.timings.spans() {
        merged.timings.add_seconds(name.clone(), *seconds);
    }
    unite(&mut merged.environment, &part.environment);
    unite(&mut merged.hashes, &part.hashes);
}

/// A boot's number among those of all parts; 0 stays what it is: none.
const fn renumbered(boot: usize, before: usize) -> usize {
    if boot == 0 { 0 } else { boot.saturating_add(before) }
}

/// Where the parts differ, all their values stand beside each other.
fn unite(all: &mut BTreeMap<String, String>, part: &BTreeMap<String, String>) {
    for (name, value) in part {
        let known = all.entry(name.clone()).or_insert_with(|| value.clone());
        if !known.split(" | ").any(|one| one == value) {
            *known = format!("{known} | {value}");
        }
    }
}

/// In what the parts differ from the first one: another rig, other files, another machine. It may be meant to be so, and is told.
#[must_use]
pub fn odd_ones(parts: &[(PathBuf, RunRecord)]) -> Vec<String> {
    let Some((first, others)) = parts.split_first() else { return Vec::new() };
    let name = |(path, part): &(PathBuf, RunRecord)| match &part.shard {
        Some(shard) => format!("in shard {shard}"),
        None => format!("in {}", path.display()),
    };
    let mut lines: Vec<String> =
        others.iter().flat_map(|other| differences(&first.1, &other.1, [&name(first), &name(other)])).collect();
    lines.dedup();
    lines
}

/// What two runs stood on that was not the same. `words` say of each which run it is.
#[must_use]
pub fn differences(one: &RunRecord, other: &RunRecord, words: [&str; 2]) -> Vec<String> {
    let mut lines = Vec::new();
    if one.rig != other.rig {
        lines.push(format!("differs: rig {} {}, {} {}", one.rig, words[0], other.rig, words[1]));
    }
    lines.extend(differing(&one.environment, &other.environment, words, |value| value.to_owned()));
    lines.extend(differing(&one.hashes, &other.hashes, words, |hash| hash.chars().take(12).collect()));
    lines
}

fn differing(
    one: &BTreeMap<String, String>,
    other: &BTreeMap<String, String>,
    words: [&str; 2],
    show: impl Fn(&str) -> String,
) -> Vec<String> {
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let value =
        |of: &BTreeMap<String, String>, name: &String| of.get(name).map_or_else(|| "none".to_owned(), |value| show(value));
    let differs = |name: &&String| one.get(*name) != other.get(*name);
    names
        .into_iter()
        .filter(differs)
        .map(|name| format!("differs: {name}: {} {}, {} {}", value(one, name), words[0], value(other, name), words[1]))
        .collect()
}

/// From the first start to the last end.
fn span(parts: &[(PathBuf, RunRecord)]) -> Option<(String, f64)> {
    let start = |part: &RunRecord| DateTime::parse_from_rfc3339(&part.started).ok().map(|time| time.to_utc());
    let first: DateTime<Utc> = parts.iter().filter_map(|(_, part)| start(part)).min()?;
    let end = |part: &RunRecord| Some((start(part)? - first).num_milliseconds() as f64 / 1e3 + part.seconds.max(0.0));
    let last = parts.iter().filter_map(|(_, part)| end(part)).fold(0.0, f64::max);
    let name = parts.iter().find(|(_, part)| start(part) == Some(first)).map(|(_, part)| part.started.clone())?;
    Some((name, last))
}

/// Shards that belong to the run and are not there.
fn missing(parts: &[(PathBuf, RunRecord)]) -> Vec<String> {
    let shards: Vec<Shard> = parts.iter().filter_map(|(_, part)| part.shard.as_ref()?.parse().ok()).collect();
    let Some(first) = shards.first() else { return Vec::new() };
    let absent = first.siblings().filter(|sibling| !shards.contains(sibling));
    absent.take(100).map(|shard| format!("shard {shard} is missing: what its tests came to is not known")).collect()
}

/// `path` as seen from `folder`, or as it is when the two have nothing in common.
fn relative(path: &Path, folder: &Path) -> PathBuf {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let (path, folder) = (absolute(path), absolute(folder));
    let common = path.components().zip(folder.components()).take_while(|(one, other)| one == other).count();
    let up = folder.components().skip(common).map(|_| std::path::Component::ParentDir);
    up.chain(path.components().skip(common)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    fn shard(text: &str, tests: std::ops::Range<usize>) -> (PathBuf, RunRecord) {
        let mut record = sample();
        record.tests = record.tests[tests].to_vec();
        record.shard = Some(text.into());
        record.exit = record.tests.iter().map(|test| test.outcome.exit()).fold(Exit::Passed, Exit::worst).code();
        (format!("/runs/{}", text.replace('/', "-")).into(), record)
    }

    #[test]
    fn shards_become_one_run_whose_boots_are_numbered_through() {
        let mut second = shard("2/2", 1..4);
        second.1.started = "2026-01-01T00:00:10Z".into();
        second.1.hashes.insert("relay.sys".into(), "11".into());

        let merged = merge(&[shard("1/2", 0..1), second], Path::new("/runs/all")).unwrap();

        assert_eq!(merged.counts, sample().counts);
        assert_eq!((merged.exit, merged.seconds), (4, 11.5));
        assert_eq!(merged.boots[1].folder, "../2-2/boot-1");
        assert_eq!((merged.tests[0].boot, merged.tests[1].boot), (1, 2));
        assert_eq!(merged.hashes["relay.sys"], "00 | 11");
        assert!(merged.trouble.is_none() && merged.shard.is_none());
    }

    #[test]
    fn parts_of_other_files_and_seeds_are_told() {
        let (first, mut second) = (shard("1/2", 0..1), shard("2/2", 1..4));
        assert!(odd_ones(&[first.clone(), second.clone()]).is_empty());
        (second.1.rig, second.1.seed) = ("0.2.0".into(), 2);
        second.1.hashes.insert("relay.sys".into(), "11".into());
        let parts = [first, second];
        assert_eq!(
            odd_ones(&parts),
            ["differs: rig 0.1.0 in shard 1/2, 0.2.0 in shard 2/2", "differs: relay.sys: 00 in shard 1/2, 11 in shard 2/2"]
        );
        assert_eq!(merge(&parts, Path::new("/runs")).unwrap().environment[SEEDS], "1 | 2");
    }

    #[test]
    fn a_shard_that_is_not_there_is_a_broken_environment() {
        let merged = merge(&[shard("1/3", 0..1), shard("3/3", 3..4)], Path::new("/runs/all")).unwrap();
        assert_eq!(merged.exit, 3);
        assert!(merged.trouble.unwrap().lines[0].contains("shard 2/3 is missing"));
    }

    #[test]
    fn a_test_that_is_in_two_runs_is_refused() {
        let refused = merge(&[shard("1/2", 0..1), shard("2/2", 0..1)], Path::new("/runs")).unwrap_err();
        assert!(refused.to_string().contains("device::passes is in two of these runs"), "{refused}");
        assert_eq!(refused.exit(), Exit::Usage);
    }
}
