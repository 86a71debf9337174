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
use crate::report::read;
use crate::run::link::Needs;
use crate::run::record::{RunRecord, TestRecord};

/// Options of `rig replay`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The trace, or the folder of a recorded run: the traces of all its boots, one after the other. Tests and seed are those of the
    /// boot in whose folder a trace lies.
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
    /// How QEMU speaks to the device. Default: as it was recorded.
    #[arg(long, value_enum)]
    transport: Option<Transport>,
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
/// What keeps a replay from beginning or from coming to a verdict. A divergence is none, but exit status 1.
pub fn perform(arguments: &Arguments, interrupt: &Interrupt) -> Outcome<Exit> {
    let Arguments { trace, how } = arguments;
    if !trace.is_dir() {
        return one(&Recorded::find(trace, how)?, how, interrupt);
    }
    // `latest` in a path will mean a replay's own folder soon.
    let folder = trace.canonicalize().at("find", trace)?;
    let boots = traces_of(&folder)?;
    let mut worst = Exit::Passed;
    let mut as_recorded = 0;
    for (name, trace) in &boots {
        say(format!("{name}:"));
        let exit = one(&Recorded::find(trace, how)?, how, interrupt)?;
        as_recorded += usize::from(exit == Exit::Passed);
        worst = worst.worst(exit);
        interrupt.check()?;
    }
    say(format!("{as_recorded} of {} boots as recorded", boots.len()));
    Ok(worst)
}

/// The traces in a run's folder, with the names of their boots.
fn traces_of(folder: &Path) -> Outcome<Vec<(String, PathBuf)>> {
    let boots = read::record(folder)?.boots;
    let traces = boots.into_iter().map(|boot| (folder.join(&boot.folder).join(crate::run::TRACE), boot.folder));
    let traces: Vec<_> = traces.filter(|(trace, _)| trace.exists()).map(|(trace, name)| (name, trace)).collect();
    if traces.is_empty() {
        return Err(Problem::usage(format!("there is nothing to replay in {}", folder.display()))
            .because("none of its boots left a trace")
            .so("record the run: `cargo rig run --record`"));
    }
    Ok(traces)
}

/// Replays one trace and says what came of it.
fn one(recorded: &Recorded, how: &How, interrupt: &Interrupt) -> Outcome<Exit> {
    if recorded.tests.is_none() {
        note("no run.json lies above the trace: suite, filter and seed are as its header says");
    }
    let Attempt { verdict, ended } = recorded.attempt(&recorded.trace, how, false, interrupt)?;
    let Some(verdict) = verdict else {
        say(ended.record.counts.to_string());
        if ended.record.boots.is_empty() || ended.record.tests.iter().any(|test| test.outcome.is_failure()) {
            // No guest can be made for these tests here, or it took the device with it before it could say anything.
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

/// A recorded boot.
pub(super) struct Recorded {
    /// Its trace.
    pub(super) trace: PathBuf,
    header: Header,
    /// Its tests, if that is known.
    pub(super) tests: Option<Vec<String>>,
    /// The options of its run, if that has left a record.
    options: Option<run::Arguments>,
    /// The plan of faults that its run had.
    faults: Option<PathBuf>,
}

/// What came of a replay.
pub(super) struct Attempt {
    /// Whether the driver did something else, if the device lived to say it.
    pub(super) verdict: Option<Verdict>,
    /// The run that the replay was.
    pub(super) ended: run::Ended,
}

impl Recorded {
    /// The boot in whose folder a trace lies, or which its header tells of.
    ///
    /// # Errors
    /// It cannot be replayed.
    pub(super) fn find(trace: &Path, how: &How) -> Outcome<Self> {
        // `latest` in a path will mean the replay's own folder soon.
        let trace = trace.canonicalize().unwrap_or_else(|_| trace.to_path_buf());
        let header = header_of(&trace)?;
        let boot = trace.parent().map(Path::to_path_buf).unwrap_or_default();
        let record = boot.parent().and_then(|run| read::record(run).ok()).filter(|record| has(record, &boot));
        let tests = match &record {
            Some(record) => Some(tests_in(record, &boot)),
            None => header.notes.get("tests").map(|names| names.split(' ').map(str::to_owned).collect()),
        };
        let options: Option<run::Arguments> = record.and_then(|record| serde_json::from_value(record.options).ok());
        // Tests that need faults bring their plan.
        let has_plan = options.as_ref().is_some_and(|options| options.faults.is_some());
        let faults = Some(boot.join(crate::run::FAULTS)).filter(|plan| has_plan && plan.exists());
        let recorded = Self { trace, header, tests, options, faults };
        if recorded.header.level == Level::Bus && recorded.transport(how) == Transport::VhostUser {
            return Err(irreproducible(
                &recorded.trace,
                "it was recorded at the bus, and a device on vhost-user is virtio: leave out --transport",
            ));
        }
        if recorded.header.level == Level::Bus && is_virtio(&recorded.header) {
            return Err(Problem::usage(format!("{} cannot be replayed", recorded.trace.display()))
                .because("it shows a virtio device at its bus, as a tap or a log does: each look of the device at its rings, and what it finds there is chance")
                .so("record the device itself, with `rig run --record`: that trace has chains; `rig trace` shows this one"));
        }
        // Traces of other programs know no such note.
        if let Some(time) = recorded.header.notes.get(crate::run::FOR).filter(|time| !time.is_empty()) {
            return Err(Problem::usage(format!("{} cannot be replayed", recorded.trace.display()))
                .because(format!("it was recorded with --for ({time}): how much its tests did, and in what order, was chance"))
                .so("record the run without --for: then the suites `stress` and `perf` do what their seed says, and no more"));
        }
        Ok(recorded)
    }

    /// What its guest was made for, if it was recorded by a run.
    fn needs(&self) -> Option<Needs> {
        serde_json::from_str(self.header.notes.get("needs")?).ok()
    }

    fn transport(&self, how: &How) -> Transport {
        how.transport.or(self.options.as_ref().map(|options| options.transport)).unwrap_or_default()
    }

    /// The boot again, with `trace` as its device.
    ///
    /// # Errors
    /// What keeps it from beginning.
    pub(super) fn attempt(&self, trace: &Path, how: &How, quiet: bool, interrupt: &Interrupt) -> Outcome<Attempt> {
        let folder = tempfile::tempdir().at("create a folder in", &std::env::temp_dir())?;
        let verdict = folder.path().join("verdict.json");
        let run = run::Arguments { quiet, ..self.run(how, trace, &verdict)? };
        let ended =
            run::perform_these(&run, run::Chosen { only: self.tests.clone(), ..run::Chosen::default() }, interrupt, &|_| ())?;
        let text = std::fs::read_to_string(&verdict).unwrap_or_default();
        let verdict = serde_json::from_str(&text).ok();
        Ok(Attempt { verdict, ended })
    }

    /// The run that the replay is.
    fn run(&self, how: &How, trace: &Path, verdict: &Path) -> Outcome<run::Arguments> {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let mode = how.mode.to_possible_value().map(|mode| mode.get_name().to_owned()).unwrap_or_default();
        let mut words: Vec<std::ffi::OsString> = vec!["--replay".into(), absolute(trace).into(), "--mode".into(), mode.into()];
        words.extend(["--verdict".into(), verdict.into()]);
        if let Some(rules) = &how.rules {
            words.extend(["--rules".into(), absolute(rules).into()]);
        }
        let then = self.options.clone().map_or_else(|| self.options_of_header(), Ok)?;
        let package = how.package.clone().map(|package| (Some(package), how.program.clone()));
        let (package, program) = package.unwrap_or_else(|| (then.package.clone(), then.program.clone()));
        Ok(run::Arguments {
            package,
            program,
            timeout: how.timeout,
            transport: self.transport(how),
            ground: how.ground.clone(),
            faults: self.faults.clone(),
            replay: Some(run::Replay { words, needs: self.needs() }),
            // This is one boot of the run that was.
            jobs: Some(NonZeroUsize::MIN),
            retries: 0,
            keep_going: false,
            shard: None,
            record: false,
            json: false,
            timings: false,
            // Its device is in the trace.
            device: None,
            ..then
        })
    }

    /// The options of the run as far as the trace itself tells them.
    fn options_of_header(&self) -> Outcome<run::Arguments> {
        use clap::Parser as _;
        let Ok(super::Command::Run(defaults)) = super::Command::try_parse_from(["rig", "run"]) else {
            return Err(Problem::failed("the options of `rig run` have no defaults"));
        };
        let note_of = |name: &str| self.header.notes.get(name).filter(|value| !value.is_empty());
        let named = self.tests.is_some();
        Ok(run::Arguments {
            suite: note_of("suite").map(|suites| suites.split(' ').map(str::to_owned).collect()).unwrap_or_default(),
            filter: note_of("filter").filter(|_| !named).cloned(),
            seed: note_of("seed").and_then(|seed| seed.parse().ok()),
            vcpus: note_of("processors").and_then(|count| count.parse().ok()).unwrap_or(defaults.vcpus),
            ..*defaults
        })
    }
}

/// Whether a device is a virtio device on PCI.
fn is_virtio(header: &Header) -> bool {
    header.ids[0] == 0x1af4 && (0x1000..0x1080).contains(&header.ids[1])
}

fn irreproducible(trace: &Path, why: impl Into<String>) -> Problem {
    Problem::usage(format!("{} cannot be replayed", trace.display()))
        .because(why)
        .so("name a trace of `rig run --record`, or the folder of such a run")
}

fn header_of(trace: &Path) -> Outcome<Header> {
    let file = File::open(trace).map_err(|error| irreproducible(trace, error.to_string()))?;
    let mut reader = Reader::new(BufReader::new(file)).map_err(|error| irreproducible(trace, error.to_string()))?;
    // A guest is not booted for half a trace: its driver would be told to have diverged.
    loop {
        match reader.next() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(reader.header().clone()),
            Err(error) => {
                return Err(irreproducible(trace, error.to_string())
                    .so("`cargo rig trace copy` saves what is intact: a replay of that goes as far"));
            }
        }
    }
}

/// The number of the boot in `folder`, as tests have it.
fn number_of(record: &RunRecord, folder: &Path) -> Option<usize> {
    let name = folder.file_name()?;
    record.boots.iter().position(|boot| Path::new(&boot.folder).file_name() == Some(name)).map(|index| index + 1)
}

fn has(record: &RunRecord, folder: &Path) -> bool {
    number_of(record, folder).is_some()
}

/// The tests that ran in the boot in `folder`, for the first time or once more.
fn tests_in(record: &RunRecord, folder: &Path) -> Vec<String> {
    let number = number_of(record, folder);
    let ran = |test: &TestRecord| Some(test.boot) == number;
    let tests = record.tests.iter().filter(|test| ran(test) || test.earlier.iter().any(ran));
    tests.map(|test| test.name.clone()).collect()
}
