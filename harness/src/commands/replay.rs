//! `rig replay`: the driver meets the recorded device again.

use std::fs::File;
use std::io::BufReader;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use device_model::trace::replay::Outcome as Verdict;
use device_model::trace::{Header, Level, Reader};

use super::options::Ground;
use super::run;
use crate::console::{note, say};
use crate::device::Transport;
use crate::error::{AtPath as _, Exit, Outcome, Problem};
use crate::interrupt::Interrupt;

/// Options of `rig replay`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The trace. Tests and seed are those of the run in whose folder it lies.
    trace: PathBuf,
    /// The INF of the driver package to try. Default: the project's own.
    #[arg(long, value_name = "INF")]
    package: Option<PathBuf>,
    /// The suite's program for that package.
    #[arg(long, value_name = "FILE", requires = "package")]
    program: Option<PathBuf>,
    /// How strictly the driver is compared with the recorded one.
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// TOML file that says what a lenient comparison lets pass.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// How QEMU speaks to the device; need not be as it was recorded.
    #[arg(long, value_enum, default_value_t)]
    transport: Transport,
    /// Seconds that one test may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// What runs the guest.
    #[command(flatten)]
    ground: Ground,
}

/// How strictly the driver is compared with the recorded one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Everything in the recorded order; any difference is a divergence.
    Strict,
    /// Each queue's own order; requests under way together may overtake each other, polling may take longer or shorter.
    #[default]
    Ordered,
    /// As ordered, but for what --rules let pass.
    Lenient,
}

/// Does it.
///
/// # Errors
/// What keeps the replay from beginning or from coming to a verdict. A divergence is none, but exit status 1.
pub fn perform(arguments: &Arguments, interrupt: &Interrupt) -> Outcome<Exit> {
    // `latest` in a path will mean the replay's own folder soon.
    let trace = arguments.trace.canonicalize().unwrap_or_else(|_| arguments.trace.clone());
    let arguments = &Arguments { trace, ..arguments.clone() };
    let header = header_of(&arguments.trace)?;
    let folder = tempfile::tempdir().at("create a folder in", &std::env::temp_dir())?;
    let verdict = folder.path().join("verdict.json");
    let run = whole_run(arguments, &header, &verdict)?;
    let only = tests_of_run(&arguments.trace, &header);
    if only.is_none() {
        note("no run.json lies above the trace: suite, filter and seed are as its header says");
    }
    let finished = run::perform_these(&run, only, interrupt, &|_| ());
    let text = std::fs::read_to_string(&verdict).unwrap_or_default();
    let Ok(outcome) = serde_json::from_str::<Verdict>(&text) else {
        finished?;
        return Err(Problem::environment("the replay came to no verdict")
            .because("the device model ended before it could say one")
            .so("read device.log in target/rig/runs/latest"));
    };
    outcome.lines().iter().for_each(say);
    if outcome.diverged {
        // The rest of the run only shows that the device fell silent.
        return Ok(Exit::Failed);
    }
    let finished = finished?;
    say(finished.record.counts.to_string());
    Ok(finished.exit)
}

fn header_of(trace: &Path) -> Outcome<Header> {
    let wrong = |why: String| {
        Problem::usage(format!("{} cannot be replayed", trace.display())).because(why).so("name a trace of `rig run --record`")
    };
    let file = File::open(trace).map_err(|error| wrong(error.to_string()))?;
    let reader = Reader::new(BufReader::new(file)).map_err(|error| wrong(error.to_string()))?;
    let header = reader.header().clone();
    if header.level != Level::Virtio {
        return Err(wrong("it was recorded at the bus, and only traces of virtio devices can be replayed so far".to_owned()));
    }
    if header.notes.get("needs").is_some_and(|needs| needs != "plain") {
        return Err(wrong(
            "its tests needed a guest or a device of their own kind, which a replay cannot make so far".to_owned(),
        ));
    }
    Ok(header)
}

/// The run that is the replay.
fn whole_run(arguments: &Arguments, header: &Header, verdict: &Path) -> Outcome<run::Arguments> {
    use clap::Parser as _;
    let Ok(super::Command::Run(defaults)) = super::Command::try_parse_from(["rig", "run"]) else {
        return Err(Problem::failed("the options of `rig run` have no defaults"));
    };
    let note_of = |name: &str| header.notes.get(name).filter(|value| !value.is_empty());
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mode = arguments.mode.to_possible_value().map(|mode| mode.get_name().to_owned()).unwrap_or_default();
    let mut words: Vec<std::ffi::OsString> =
        vec!["--replay".into(), absolute(&arguments.trace).into(), "--mode".into(), mode.into()];
    words.extend(["--verdict".into(), verdict.into()]);
    if let Some(rules) = &arguments.rules {
        words.extend(["--rules".into(), absolute(rules).into()]);
    }
    Ok(run::Arguments {
        suite: note_of("suite").map(|suites| suites.split(' ').map(str::to_owned).collect()).unwrap_or_default(),
        filter: note_of("filter").cloned(),
        seed: note_of("seed").and_then(|seed| seed.parse().ok()),
        vcpus: note_of("processors").and_then(|count| count.parse().ok()).unwrap_or(defaults.vcpus),
        timeout: arguments.timeout,
        transport: arguments.transport,
        ground: arguments.ground.clone(),
        package: arguments.package.clone(),
        program: arguments.program.clone(),
        jobs: Some(NonZeroUsize::MIN),
        keep_going: true,
        replay: Some(words),
        ..*defaults
    })
}

/// The tests of the boot in whose folder a trace lies.
fn tests_of_run(trace: &Path, header: &Header) -> Option<Vec<String>> {
    let trace = std::path::absolute(trace).ok()?;
    let record = trace.parent()?.parent()?.join(crate::report::folder::RECORD);
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(record).ok()?).ok()?;
    let folder = header.notes.get("boot")?;
    let boot = record["boots"].as_array()?.iter().position(|boot| boot["folder"] == folder.as_str())? + 1;
    let tests = record["tests"].as_array()?.iter().filter(|test| test["boot"] == boot);
    Some(tests.filter_map(|test| test["name"].as_str().map(str::to_owned)).collect())
}
