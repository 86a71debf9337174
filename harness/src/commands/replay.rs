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
    #[command(flatten)]
    how: How,
}

/// What meets a recorded device, and how.
#[derive(Clone, Debug, Args)]
pub(super) struct How {
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
    let recorded = Recorded::find(&arguments.trace, &arguments.how)?;
    if recorded.only.is_none() {
        note("no run.json lies above the trace: suite, filter and seed are as its header says");
    }
    let Attempt { verdict, ended } = recorded.attempt(&recorded.trace, &arguments.how, false, interrupt)?;
    let Some(verdict) = verdict else {
        if ended.record.tests.iter().any(|test| test.outcome.is_failure()) {
            // A guest that stopped took the device with it before it could say anything.
            say(ended.record.counts.to_string());
            return Ok(ended.exit);
        }
        return Err(Problem::environment("the replay came to no verdict")
            .because("the device model ended before it could say one")
            .so(format!("read device.log in {}", ended.folder.display())));
    };
    verdict.lines().iter().for_each(say);
    if verdict.diverged {
        // The rest of the run only shows that the device fell silent.
        return Ok(Exit::Failed);
    }
    say(ended.record.counts.to_string());
    Ok(ended.exit)
}

/// A recorded run.
pub(super) struct Recorded {
    /// Its trace.
    pub(super) trace: PathBuf,
    header: Header,
    /// Its tests, if a run says what they are.
    only: Option<Vec<String>>,
}

/// What came of a replay.
pub(super) struct Attempt {
    /// Whether the driver did something else, if the device lived to say it.
    pub(super) verdict: Option<Verdict>,
    /// The run that the replay was.
    pub(super) ended: run::Ended,
}

impl Recorded {
    /// The run in whose folder a trace lies.
    ///
    /// # Errors
    /// It cannot be replayed.
    pub(super) fn find(trace: &Path, how: &How) -> Outcome<Self> {
        // `latest` in a path will mean the replay's own folder soon.
        let trace = trace.canonicalize().unwrap_or_else(|_| trace.to_path_buf());
        let header = header_of(&trace, how.transport)?;
        let only = tests_of_run(&trace, &header);
        Ok(Self { trace, header, only })
    }

    /// The run again, with `trace` as its device.
    ///
    /// # Errors
    /// What keeps the run from beginning.
    pub(super) fn attempt(&self, trace: &Path, how: &How, quiet: bool, interrupt: &Interrupt) -> Outcome<Attempt> {
        let folder = tempfile::tempdir().at("create a folder in", &std::env::temp_dir())?;
        let verdict = folder.path().join("verdict.json");
        let run = run::Arguments { quiet, ..whole_run(how, trace, &self.header, &verdict)? };
        let ended = run::perform_these(&run, self.only.clone(), interrupt, &|_| ())?;
        let text = std::fs::read_to_string(&verdict).unwrap_or_default();
        let verdict = serde_json::from_str(&text).ok();
        Ok(Attempt { verdict, ended })
    }
}

fn header_of(trace: &Path, transport: Transport) -> Outcome<Header> {
    let wrong = |why: String| {
        Problem::usage(format!("{} cannot be replayed", trace.display())).because(why).so("name a trace of `rig run --record`")
    };
    let file = File::open(trace).map_err(|error| wrong(error.to_string()))?;
    let reader = Reader::new(BufReader::new(file)).map_err(|error| wrong(error.to_string()))?;
    let header = reader.header().clone();
    if header.level == Level::Bus && transport == Transport::VhostUser {
        return Err(wrong("it was recorded at the bus, and a device on vhost-user is virtio: leave out --transport".to_owned()));
    }
    if header.notes.get("needs").is_some_and(|needs| needs != "plain") {
        return Err(wrong(
            "its tests needed a guest or a device of their own kind, which a replay cannot make so far".to_owned(),
        ));
    }
    Ok(header)
}

/// The run that is the replay.
fn whole_run(how: &How, trace: &Path, header: &Header, verdict: &Path) -> Outcome<run::Arguments> {
    use clap::Parser as _;
    let Ok(super::Command::Run(defaults)) = super::Command::try_parse_from(["rig", "run"]) else {
        return Err(Problem::failed("the options of `rig run` have no defaults"));
    };
    let note_of = |name: &str| header.notes.get(name).filter(|value| !value.is_empty());
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mode = how.mode.to_possible_value().map(|mode| mode.get_name().to_owned()).unwrap_or_default();
    let mut words: Vec<std::ffi::OsString> = vec!["--replay".into(), absolute(trace).into(), "--mode".into(), mode.into()];
    words.extend(["--verdict".into(), verdict.into()]);
    if let Some(rules) = &how.rules {
        words.extend(["--rules".into(), absolute(rules).into()]);
    }
    Ok(run::Arguments {
        suite: note_of("suite").map(|suites| suites.split(' ').map(str::to_owned).collect()).unwrap_or_default(),
        filter: note_of("filter").cloned(),
        seed: note_of("seed").and_then(|seed| seed.parse().ok()),
        vcpus: note_of("processors").and_then(|count| count.parse().ok()).unwrap_or(defaults.vcpus),
        timeout: how.timeout,
        transport: how.transport,
        ground: how.ground.clone(),
        package: how.package.clone(),
        program: how.program.clone(),
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
