//! `rig run`: needs, build, guest, tests, report.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;

use super::options::Ground;
use crate::build;
use crate::console::{note, say};
use crate::device::{Model, Transport};
use crate::error::{Exit, Outcome, Problem};
use crate::files::{sha256, sha256_of};
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::report;
use crate::report::folder::RunFolder;
use crate::run::archive;
use crate::run::boot::Rig;
use crate::run::record::{Counts, RunRecord, Timings, Trouble};
use crate::run::{Findings, Request, Run};
use crate::setup::{accelerator, qemu};
use crate::symbols::Symbols;

/// Memory of the guest, in MiB.
const MEMORY: u32 = 256;

/// Options of `rig run`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Only this suite.
    #[arg(long)]
    pub suite: Option<String>,
    /// Only tests whose names contain this.
    #[arg(long)]
    pub filter: Option<String>,
    /// List the tests and what they are for, run none.
    #[arg(long)]
    pub list: bool,
    /// Show where the time went.
    #[arg(long)]
    pub timings: bool,
    /// Processors of the guest.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub vcpus: u32,
    /// Seed for whatever tests choose at random. Default: a new one each time; the report names it.
    #[arg(long)]
    pub seed: Option<u64>,
    /// How long each test of suite `stress` goes on, such as 60s or 5m. Default: a moment.
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub span: Option<Duration>,
    /// Seconds that one test may take; those of `--for` come on top.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Seconds from QEMU's start to the guest's first answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub boot_timeout: u64,
    /// Boot this image instead of ntlet. No driver and no suite are built, and the guest gets no files.
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Boot without a device model.
    #[arg(long)]
    pub no_device: bool,
    /// How QEMU speaks to the device model.
    #[arg(long, value_enum, default_value_t, conflicts_with = "no_device")]
    pub transport: Transport,
    /// What shall go wrong in the hardware, and when: a TOML file. Tests that bring a plan of their own keep it.
    #[arg(long, value_name = "PLAN", conflicts_with = "no_device")]
    pub faults: Option<PathBuf>,
    /// Files that name functions of an image's modules (PDB or ELF), for its bug checks.
    #[arg(long, value_name = "FILE", requires = "image")]
    pub symbols: Vec<PathBuf>,
    /// What runs the guest.
    #[command(flatten)]
    pub ground: Ground,
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub struct Finished {
    /// Sums.
    pub counts: Counts,
    /// Exit status.
    pub exit: Exit,
}

/// What is booted, and the facts about it for the report.
struct Prepared {
    rig: Rig,
    symbols: Symbols,
    hashes: BTreeMap<String, String>,
    timings: Timings,
}

/// Does it.
///
/// # Errors
/// What keeps the run from beginning, or its report from being written. A failed test is no error but an exit status.
pub fn perform(arguments: &Arguments, interrupt: &Interrupt) -> Outcome<Finished> {
    let finished = perform_without_summary(arguments, interrupt)?;
    if !arguments.list {
        say(finished.counts.to_string());
    }
    Ok(finished)
}

/// Does everything but print the last line.
///
/// # Errors
/// As [`perform`].
pub fn perform_without_summary(arguments: &Arguments, interrupt: &Interrupt) -> Outcome<Finished> {
    let (began, started) = (Instant::now(), Utc::now());
    let places = Places::find(arguments.ground.setup_dir.clone());
    let request = request_of(arguments);
    let prepared = prepare(arguments, &places, interrupt)?;
    let suite = request.suite.clone().unwrap_or_else(|| "all".to_owned());
    let folder = RunFolder::create(&places, &suite, started)?;
    let mut record = blank_record(&prepared, &request, suite, started, Findings::default());
    record.trouble =
        Some(Trouble { lines: vec!["the run has not ended, or was killed".to_owned()], exit: Exit::Environment.code() });
    record.exit = Exit::Environment.code();
    folder.write_record(&record)?;

    let run = Run::new(&prepared.rig, &request, &folder, &prepared.symbols, interrupt, prepared.timings.clone());
    let findings = run.execute();
    let exit = findings.exit();
    let nothing_chosen = findings.nothing_chosen;
    let mut record = blank_record(&prepared, &request, record.suite, started, findings);
    record.exit = exit.code();
    record.seconds = began.elapsed().as_secs_f64();
    let writing = Instant::now();
    report::write(&folder, &record)?;
    record.timings.add("report", writing.elapsed());
    conclude(arguments, &record, &folder.path, began.elapsed());
    if nothing_chosen && exit == Exit::Usage {
        return Err(Problem::usage("no test has that name")
            .so("`cargo rig run --list` shows all names; --suite is a whole name, --filter a part"));
    }
    Ok(Finished { counts: record.counts, exit })
}

/// A span of time as one writes it. A day is enough for anything.
fn span(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(86_400);
    let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if span.is_zero() || span > LONGEST { Err("from 1ms to 1day".to_owned()) } else { Ok(span) }
}

fn request_of(arguments: &Arguments) -> Request {
    let fresh = || std::hash::RandomState::new().build_hasher().finish();
    Request {
        suite: arguments.suite.clone(),
        filter: arguments.filter.clone(),
        list: arguments.list,
        seed: arguments.seed.unwrap_or_else(fresh),
        span: arguments.span,
        test_patience: Duration::from_secs(arguments.timeout),
        boot_patience: Duration::from_secs(arguments.boot_timeout),
    }
}

fn prepare(arguments: &Arguments, places: &Places, interrupt: &Interrupt) -> Outcome<Prepared> {
    let mut timings = Timings::default();
    let mut began = Instant::now();
    let mut span = |timings: &mut Timings, name: &str| timings.add(name, std::mem::replace(&mut began, Instant::now()).elapsed());
    let qemu = qemu::find_or_fetch(arguments.ground.qemu.as_deref(), places, interrupt)?;
    let accelerator = accelerator::choose(arguments.ground.accel, &qemu, places, interrupt)?;
    span(&mut timings, "set-up");
    let mut hashes = BTreeMap::new();
    let (image, archive, symbols, model) = match &arguments.image {
        Some(image) => foreign_guest(image, arguments, places, interrupt, &mut hashes)?,
        None => own_guest(arguments, places, interrupt, &mut hashes)?,
    };
    let mut faults = String::new();
    if let Some(model) = &model {
        hashes.insert("device-model".to_owned(), sha256_of(&model.program).unwrap_or_default());
        if let Some(plan) = &arguments.faults {
            faults = model.checked_plan(plan, interrupt)?;
            hashes.insert("faults".to_owned(), sha256(faults.as_bytes()));
        }
    }
    span(&mut timings, "build");
    let append = if archive.is_some() { "suite=suite.exe".to_owned() } else { String::new() };
    let processors = arguments.vcpus;
    let rig = Rig { qemu, accelerator, processors, memory: MEMORY, image, append, archive, model, faults };
    Ok(Prepared { rig, symbols, hashes, timings })
}

/// What a guest consists of: image, files, symbols, device model.
type Guest = (PathBuf, Option<std::os::fd::OwnedFd>, Symbols, Option<Model>);

/// ntlet with our driver and suite.
fn own_guest(
    arguments: &Arguments,
    places: &Places,
    interrupt: &Interrupt,
    hashes: &mut BTreeMap<String, String>,
) -> Outcome<Guest> {
    let (artifacts, _lock) = build::everything(places, interrupt)?;
    let mut files = Vec::new();
    for (name, path) in artifacts.payload() {
        let content = build::read(&path)?;
        hashes.insert(name.to_owned(), sha256(&content));
        files.push((name, content));
    }
    hashes.insert("ntlet".to_owned(), sha256(&build::read(&artifacts.image)?));
    let archive = archive::in_memory(&files).map_err(|error| {
        Problem::environment("the guest's files cannot be packed").because(error.to_string()).so("free some memory")
    })?;
    let symbols = Symbols::new(artifacts.symbols());
    let model = (!arguments.no_device).then(|| Model::relay(artifacts.device_model.clone(), arguments.transport));
    Ok((artifacts.image, Some(archive), symbols, model))
}

/// An image that the user names.
fn foreign_guest(
    image: &Path,
    arguments: &Arguments,
    places: &Places,
    interrupt: &Interrupt,
    hashes: &mut BTreeMap<String, String>,
) -> Outcome<Guest> {
    let digest = sha256_of(image).map_err(|error| {
        Problem::usage(format!("{} is no image", image.display()))
            .because(error.to_string())
            .so("name an ELF file that boots by PVH")
    })?;
    hashes.insert(image.display().to_string(), digest);
    let model =
        if arguments.no_device { None } else { Some(Model::relay(build::device_model(places, interrupt)?, arguments.transport)) };
    Ok((image.to_path_buf(), None, Symbols::new(arguments.symbols.clone()), model))
}

fn blank_record(prepared: &Prepared, request: &Request, suite: String, started: DateTime<Utc>, findings: Findings) -> RunRecord {
    let rig = &prepared.rig;
    let kernel = rustix::system::uname();
    let environment = BTreeMap::from([
        ("qemu", format!("{} ({})", rig.qemu.version, rig.qemu.origin.text())),
        ("qemu program", rig.qemu.program.display().to_string()),
        ("accelerator", rig.accelerator.name().to_owned()),
        ("processors", rig.processors.to_string()),
        ("memory", format!("{} MiB", rig.memory)),
        ("transport", rig.model.as_ref().map_or("none", |model| model.transport.name()).to_owned()),
        ("faults", if rig.faults.is_empty() { "none".to_owned() } else { rig.faults.clone() }),
        ("kernel command line", rig.append.clone()),
        ("image", rig.image.display().to_string()),
        ("host", format!("Linux {} {}", kernel.release().to_string_lossy(), kernel.machine().to_string_lossy())),
    ]);
    RunRecord {
        format: 1,
        rig: env!("CARGO_PKG_VERSION"),
        suite,
        filter: request.filter.clone(),
        started: started.to_rfc3339_opts(SecondsFormat::Secs, true),
        seconds: 0.0,
        command: std::env::args().collect(),
        seed: request.seed,
        environment,
        hashes: prepared.hashes.clone(),
        counts: Counts::of(&findings.tests),
        boots: findings.boots,
        tests: findings.tests,
        trouble: findings.trouble,
        exit: 0,
        timings: findings.timings,
    }
}

/// What stands between the tests' lines and the last one.
fn conclude(arguments: &Arguments, record: &RunRecord, folder: &Path, total: Duration) {
    if let Some(trouble) = &record.trouble {
        trouble.lines.iter().for_each(note);
    }
    if arguments.timings {
        for (name, seconds) in record.timings.spans() {
            say(format!("{:>10.1} ms  {name}", seconds * 1e3));
        }
        say(format!("{:>10.1} ms  all of it", total.as_secs_f64() * 1e3));
    }
    note(format!("[rig] report: {}", folder.join("report.html").display()));
}
