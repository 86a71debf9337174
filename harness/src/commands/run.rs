//! `rig run`: needs, build, guest, tests, report.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::IsTerminal as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use channel::Span;
use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::guest;
use super::options::Ground;
use crate::console::{note, say};
use crate::device::Transport;
use crate::error::{Exit, Outcome, Problem};
use crate::files::{sha256, sha256_of};
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::report::folder::{REPORT, RunFolder};
use crate::report::{self, github};
use crate::run::boot::Rig;
use crate::run::check::Subject;
use crate::run::late;
use crate::run::link::Needs;
use crate::run::plan::Shard;
use crate::run::record::{Counts, FORMAT, RunRecord, Timings, Trouble};
use crate::run::session::Listed;
use crate::run::watch::{Event, Json, Lines, Live, Nobody, Watcher};
use crate::run::{Findings, REBOOT, Request, Run};
use crate::setup::{accelerator, qemu};
use crate::symbols::Symbols;

/// Memory of the guest, in MiB.
const MEMORY: u32 = 256;
/// What QEMU and the device model need beside the guest's memory, in MiB.
const OVERHEAD: u32 = 128;

/// What the help says last.
const AFTER_HELP: &str = "A file rig.toml in the current folder, or the one that --config FILE names, may hold options: a key is an \
option's name, a value what would follow it. What is typed outweighs it.";

/// Where a driver runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Our kernel, from this repository alone.
    #[default]
    Ntlet,
    /// Microsoft's kernel and framework, from your own media.
    Windows,
}

/// Options of `rig run`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[command(args_override_self = true, after_help = AFTER_HELP)]
pub struct Arguments {
    /// Where the driver runs.
    #[arg(long, value_enum, default_value_t)]
    pub rig: Kind,
    /// Only this suite; may be given several times.
    #[arg(long)]
    #[serde(default)]
    pub suite: Vec<String>,
    /// Only tests whose names contain this.
    #[arg(long)]
    pub filter: Option<String>,
    /// Only the I-th of N parts of the tests, such as 2/3. The parts of one run together are the whole run.
    #[arg(long, value_name = "I/N", value_parser = |text: &str| text.parse::<Shard>().map(|shard| shard.to_string()))]
    pub shard: Option<String>,
    /// List the tests and what they are for, run none.
    #[arg(long)]
    pub list: bool,
    /// Write a trace of what the device is asked and does into the folder of each boot.
    #[arg(long, conflicts_with_all = ["no_device", "device"])]
    #[serde(default)]
    pub record: bool,
    /// Look on in every boot as a kernel debugger on COM1 that nobody sits in front of: it takes registers, stack and modules at a bug
    /// check, and keeps what it sees in kd.log. With `--rig windows` it always does.
    #[arg(long, conflicts_with = "image")]
    #[serde(default)]
    pub kd_host: bool,
    /// Say what happens in JSON, one object a line, on standard output.
    #[arg(long)]
    pub json: bool,
    /// Guests that run side by side. Default: one more than the machine has processors for, if it has the memory.
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// How often a test that failed is tried again, each time in a guest of its own. One that passes then is FLAKY, which is no
    /// failure.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=100))]
    pub retries: u8,
    /// Run every test even when one has failed. Without this, nothing new begins after a failure, and what never began counts as
    /// skipped.
    #[arg(long)]
    pub keep_going: bool,
    /// Seconds after which a test that still runs is called SLOW.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub slow: u64,
    /// Write a crash dump for expected bug checks, too.
    #[arg(long)]
    pub dump: bool,
    /// Show where the time went.
    #[arg(long)]
    pub timings: bool,
    /// Processors of the guest.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub vcpus: u32,
    /// Seed for whatever tests choose at random. Default: a new one each time; the report names it.
    #[arg(long)]
    pub seed: Option<u64>,
    /// How long each test of the suites `stress` and `perf` goes on, such as 60s or 5m. Default: a moment; with --record so many rounds, one
    /// thread at a time, that a replay can repeat them.
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub span: Option<Duration>,
    /// Seconds that one test may take; those of `--for` come on top.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Seconds from QEMU's start to the guest's first answer. Default: 60, or 900 for Windows.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub boot_timeout: Option<u64>,
    /// Seconds that Windows may take to write a dump and start again after a bug check.
    #[arg(long, value_name = "SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    #[serde(default)]
    pub restart_timeout: u64,
    /// Somebody else's driver package instead of ours: its INF, with the drivers beside it.
    #[arg(long, value_name = "INF", conflicts_with = "image")]
    pub package: Option<PathBuf>,
    /// The suite's program for that package. Without one, three tests see whether the driver loads, starts and unloads.
    #[arg(long, value_name = "FILE", requires = "package")]
    pub program: Option<PathBuf>,
    /// A driver without a device that is started beside the package; may be given several times.
    #[arg(long, value_name = "SYS", requires = "package")]
    pub service: Vec<PathBuf>,
    /// A KMDF framework instead of ours, as a driver that registers with WDFLDR.SYS: Windows' own Wdf01000.sys, or one that you build. It
    /// starts before all other drivers. May be given several times: what it needs comes first.
    #[arg(long, value_name = "SYS", conflicts_with = "image")]
    #[serde(default)]
    pub framework: Vec<PathBuf>,
    /// The command that serves the device instead of our model. {socket} in it is where to listen, {fd} a descriptor that listens
    /// already; without either, `--listen-fd` and the descriptor come last.
    #[arg(long, value_name = "COMMAND", conflicts_with = "no_device")]
    pub device: Option<String>,
    /// Boot this image instead of ntlet. No driver and no suite are built, and the guest gets no files. With `--rig windows`: the name of
    /// an image that `rig image build` has made.
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Boot without a device model.
    #[arg(long)]
    pub no_device: bool,
    /// How QEMU speaks to the device model.
    #[arg(long, value_enum, default_value_t, conflicts_with = "no_device")]
    pub transport: Transport,
    /// What shall go wrong in the hardware, and when: a TOML file. Tests that bring a plan of their own keep it.
    #[arg(long, value_name = "PLAN", conflicts_with_all = ["no_device", "device"])]
    pub faults: Option<PathBuf>,
    /// How much our device model logs. From `debug` on, the report's timelines have the device's side of each request.
    #[arg(long, value_name = "LEVEL", default_value = "info", conflicts_with = "device", value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub device_log: String,
    /// Files that name functions of an image's modules (PDB or ELF), for its bug checks.
    #[arg(long, value_name = "FILE")]
    pub symbols: Vec<PathBuf>,
    /// What runs the guest.
    #[command(flatten)]
    pub ground: Ground,
    /// The device is a recorded one (`rig replay`).
    #[arg(skip)]
    #[serde(skip)]
    pub replay: Option<Replay>,
    /// Nobody looks on: the run is one of many that something else tells of.
    #[arg(skip)]
    #[serde(skip)]
    pub quiet: bool,
}

/// A run with a recorded device.
#[derive(Clone, Debug)]
pub struct Replay {
    /// What the device model is told of it.
    pub words: Vec<std::ffi::OsString>,
    /// What the recorded boot was made for, if that is known.
    pub needs: Option<Needs>,
}

/// What is booted, and the facts about it for the report.
pub(super) struct Prepared {
    pub(super) rig: Rig,
    pub(super) symbols: Symbols,
    pub(super) modules: Vec<(String, PathBuf)>,
    check: Option<Subject>,
    hashes: BTreeMap<String, String>,
    timings: Timings,
}

/// Does it.
///
/// # Errors
/// What keeps the run from beginning, or its report from being written. A failed test is no error but an exit status.
pub fn perform(arguments: &Arguments, interrupt: &Interrupt) -> Outcome<Exit> {
    let ended = perform_these(arguments, Chosen::default(), interrupt, &|_| ())?;
    if !arguments.list && !arguments.json {
        say(ended.record.counts.to_string());
    }
    Ok(ended.exit)
}

/// A run that has ended and left its folder.
#[derive(Debug)]
pub struct Ended {
    /// All about it.
    pub record: RunRecord,
    /// Exit status.
    pub exit: Exit,
    /// Tests that were asked for by name and that the guest does not have.
    pub gone: Vec<String>,
    /// Its folder.
    pub folder: PathBuf,
}

/// Which tests of a run to repeat. By default those that the arguments choose.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// Only tests of exactly these names.
    pub only: Option<Vec<String>>,
    /// The seeds of tests, where they do not follow from that of the run.
    pub seeds: BTreeMap<String, u64>,
}

/// A run of the tests that are `chosen`. `ready` sees the record when everything is
/// there that the run stands on, and nothing has been booted yet.
///
/// # Errors
/// As [`perform`].
pub fn perform_these(arguments: &Arguments, chosen: Chosen, interrupt: &Interrupt, ready: &dyn Fn(&RunRecord)) -> Outcome<Ended> {
    let (began, started) = (Instant::now(), Utc::now());
    let places = Places::find(arguments.ground.setup_dir.clone());
    let arguments = &resolved(arguments);
    let mut request = Request { only: chosen.only, seeds: chosen.seeds, ..request_of(arguments)? };
    let prepared = prepare(arguments, &places, interrupt)?;
    request.check.clone_from(&prepared.check);
    let suite = if request.suites.is_empty() { "all".to_owned() } else { request.suites.join("+") };
    // Shards of one run may begin in the same second, on machines whose folders are collected in one place.
    let part = request.shard.map(|shard| format!("-{shard}").replace('/', "of")).unwrap_or_default();
    let folder = RunFolder::create(&places, &format!("{suite}{part}"), started)?;
    let mut record = blank_record(&prepared, arguments, &request, suite, started, Findings::default())?;
    record.trouble =
        Some(Trouble { lines: vec!["the run has not ended, or was killed".to_owned()], exit: Exit::Environment.code() });
    record.exit = Exit::Environment.code();
    folder.write_record(&record)?;
    ready(&record);

    let watcher = watcher_of(arguments);
    if !arguments.list {
        let path = folder.path.display().to_string();
        watcher.tell(&Event::RunStarted { folder: &path, seed: request.seed, rig: &record.rig });
    }
    let timings = prepared.timings.clone();
    let run = Run::new(&prepared.rig, &request, &folder, &prepared.symbols, interrupt, &*watcher, timings);
    let mut findings = run.execute();
    let exit = findings.exit();
    let (nothing_chosen, gone) = (findings.nothing_chosen, std::mem::take(&mut findings.gone));
    findings.listed.iter().for_each(|test| say(listed(test, arguments.json)));
    let mut record = blank_record(&prepared, arguments, &request, record.suite, started, findings)?;
    record.exit = exit.code();
    record.seconds = began.elapsed().as_secs_f64();
    let writing = Instant::now();
    report::write(&folder, &record)?;
    record.timings.add("report", writing.elapsed());
    conclude(arguments, &record, &folder.path, &*watcher, began.elapsed());
    if nothing_chosen && exit == Exit::Usage {
        return Err(Problem::usage("no test has that name")
            .because(format!("the suites have no test that fits: {}", wish(&request)))
            .so("`cargo rig run --list` shows all names; --suite is a whole name, --filter a part"));
    }
    Ok(Ended { record, exit, gone, folder: folder.path })
}

/// The arguments with everything settled that else depends on the moment or the folder: what a repetition needs.
fn resolved(arguments: &Arguments) -> Arguments {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let fresh = || std::hash::RandomState::new().build_hasher().finish();
    Arguments {
        seed: arguments.seed.or_else(|| Some(fresh())),
        // A Windows takes gigabytes: further ones only for whoever asks for them.
        jobs: arguments.jobs.or_else(|| match arguments.rig {
            Kind::Ntlet => Some(jobs_here(MEMORY, arguments.vcpus)),
            Kind::Windows => Some(NonZeroUsize::MIN),
        }),
        // A Windows image has a name, not a place.
        image: arguments.image.as_ref().map(|image| if arguments.rig == Kind::Windows { image.clone() } else { absolute(image) }),
        faults: arguments.faults.as_ref().map(absolute),
        symbols: arguments.symbols.iter().map(absolute).collect(),
        package: arguments.package.as_ref().map(absolute),
        program: arguments.program.as_ref().map(absolute),
        service: arguments.service.iter().map(absolute).collect(),
        framework: arguments.framework.iter().map(absolute).collect(),
        ..arguments.clone()
    }
}

/// What was asked for, in words.
fn wish(request: &Request) -> String {
    let suite = (!request.suites.is_empty()).then(|| format!("suite {}", request.suites.join(" or ")));
    let filter = request.filter.as_ref().map(|filter| format!("filter {filter:?}"));
    let only = request.only.as_ref().map(|names| names.join(", "));
    [suite, filter, only].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A span of time as one writes it. A day is enough for anything.
fn span(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(86_400);
    let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if span.is_zero() || span > LONGEST { Err("from 1ms to 1day".to_owned()) } else { Ok(span) }
}

fn request_of(arguments: &Arguments) -> Outcome<Request> {
    let shard = arguments.shard.as_deref().map(str::parse).transpose();
    let shard = shard.map_err(|why: String| Problem::usage("there is no such shard").because(why).so("count from 1 to N"))?;
    Ok(Request {
        suites: arguments.suite.clone(),
        filter: arguments.filter.clone(),
        only: None,
        needs: arguments.replay.as_ref().and_then(|replay| replay.needs.clone()),
        check: None,
        shard,
        list: arguments.list,
        dump: arguments.dump,
        record: arguments.record && !arguments.list,
        seed: arguments.seed.unwrap_or_default(),
        seeds: BTreeMap::new(),
        span: span_of(arguments),
        jobs: arguments.jobs.unwrap_or(NonZeroUsize::MIN),
        retries: arguments.retries.into(),
        keep_going: arguments.keep_going,
        slow: Duration::from_secs(arguments.slow),
        test_patience: Duration::from_secs(arguments.timeout),
        boot_patience: Duration::from_secs(arguments.boot_timeout.unwrap_or(match arguments.rig {
            Kind::Ntlet => 60,
            Kind::Windows => 900,
        })),
    })
}

/// How long tests go on that can go on for any time. What is recorded is to be replayed, unless a time is asked for.
fn span_of(arguments: &Arguments) -> Span {
    match arguments.span {
        Some(time) => Span::Milliseconds(u32::try_from(time.as_millis()).unwrap_or(u32::MAX)),
        None if arguments.record || arguments.replay.is_some() => Span::Rounds,
        None => Span::Moment,
    }
}

/// As many guests of `memory` MiB and `vcpus` processors as this machine has memory that is free, and processors, for. A guest's
/// processors wait most of the time, so two of them make one of the machine's busy; and one guest more works while another waits for its
/// hardware, its watchdog or its boot.
fn jobs_here(memory: u32, vcpus: u32) -> NonZeroUsize {
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let free = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()
    });
    let by_memory = free.map_or(usize::MAX, |kib| kib / 1024 / (memory + OVERHEAD) as usize);
    let by_processors = (processors * 2 / vcpus.max(1) as usize).min(processors) + 1;
    NonZeroUsize::new(by_memory.min(by_processors)).unwrap_or(NonZeroUsize::MIN)
}

/// Who looks on: a machine, a person at a terminal, or a log.
fn watcher_of(arguments: &Arguments) -> Box<dyn Watcher> {
    let slow = Duration::from_secs(arguments.slow);
    let is_live = std::io::stderr().is_terminal() && std::env::var_os("CI").is_none();
    match () {
        // A list is not a run: nobody is told how it comes about.
        () if arguments.list => Box::new(Lines::new(slow)),
        () if arguments.quiet => Box::new(Nobody),
        () if arguments.json => Box::new(Json::new(slow)),
        () if is_live => Box::new(Live::new(slow)),
        () => Box::new(Lines::new(slow)),
    }
}

/// A line of the list.
fn listed(test: &Listed, is_json: bool) -> String {
    if !is_json {
        return format!("{}: {}", test.name, test.purpose);
    }
    json!({
        "event": "test",
        "name": test.name,
        "purpose": test.purpose,
        "needs": {
            "verifier": test.needs.verifier,
            "breaks": test.needs.breaks,
            "faults": test.needs.faults,
            "removable": test.needs.removable,
        },
        "ends_in_bug_check": test.expects.map(|expected| expected.code),
    })
    .to_string()
}

pub(super) fn prepare(arguments: &Arguments, places: &Places, interrupt: &Interrupt) -> Outcome<Prepared> {
    let mut timings = Timings::default();
    let mut began = Instant::now();
    let mut span = |timings: &mut Timings, name: &str| timings.add(name, std::mem::replace(&mut began, Instant::now()).elapsed());
    let qemu = qemu::find_or_fetch(arguments.ground.qemu.as_deref(), places, interrupt)?;
    let accelerator = accelerator::choose(arguments.ground.accel, &qemu, places, interrupt)?;
    span(&mut timings, "set-up");
    let guest = guest::prepare(arguments, places, interrupt)?;
    let archive = guest.archive()?;
    let mut hashes = guest.hashes;
    let mut faults = String::new();
    if let Some(model) = &guest.model {
        hashes.insert("device-model".to_owned(), sha256_of(&model.program).unwrap_or_default());
        if let Some(plan) = &arguments.faults {
            faults = model.checked_plan(plan, interrupt)?;
            hashes.insert("faults".to_owned(), sha256(faults.as_bytes()));
        }
    }
    span(&mut timings, "build");
    let rig = Rig {
        qemu,
        accelerator,
        processors: arguments.vcpus,
        memory: guest.memory.unwrap_or(MEMORY),
        late_log: if guest.windows.is_none() { late::place_in(&guest.image) } else { None },
        image: guest.image,
        append: guest.append,
        archive,
        windows: guest.windows,
        model: guest.model,
        faults,
        // An installed Windows stops in its debugger at a bug check: somebody must be there.
        kd_host: (arguments.kd_host || arguments.rig == Kind::Windows).then(|| guest.symbols.clone()),
    };
    Ok(Prepared { rig, symbols: guest.symbols, modules: guest.modules, check: guest.check, hashes, timings })
}

fn blank_record(
    prepared: &Prepared,
    arguments: &Arguments,
    request: &Request,
    suite: String,
    started: DateTime<Utc>,
    findings: Findings,
) -> Outcome<RunRecord> {
    let rig = &prepared.rig;
    let kernel = rustix::system::uname();
    let environment = [
        ("qemu", format!("{} ({})", rig.qemu.version, rig.qemu.origin.text())),
        ("qemu program", rig.qemu.program.display().to_string()),
        ("accelerator", rig.accelerator.name().to_owned()),
        ("processors", rig.processors.to_string()),
        ("memory", format!("{} MiB", rig.memory)),
        ("transport", rig.model.as_ref().map_or("none", |model| model.transport.name()).to_owned()),
        ("faults", if rig.faults.is_empty() { "none".to_owned() } else { rig.faults.clone() }),
        ("guests side by side", request.jobs.to_string()),
        ("kernel command line", rig.append.clone()),
        ("image", rig.image.display().to_string()),
        ("host", format!("Linux {} {}", kernel.release().to_string_lossy(), kernel.machine().to_string_lossy())),
    ];
    let options = serde_json::to_value(arguments)
        .map_err(|error| Problem::environment("the options cannot be recorded").because(error.to_string()))?;
    Ok(RunRecord {
        format: FORMAT,
        rig: env!("CARGO_PKG_VERSION").to_owned(),
        suite,
        filter: request.filter.clone(),
        shard: request.shard.map(|shard| shard.to_string()),
        options,
        directory: std::env::current_dir().unwrap_or_default().display().to_string(),
        started: started.to_rfc3339_opts(SecondsFormat::Secs, true),
        seconds: 0.0,
        command: std::env::args().collect(),
        seed: request.seed,
        environment: environment.map(|(name, value)| (name.to_owned(), value)).into(),
        hashes: prepared.hashes.clone(),
        counts: Counts::of(&findings.tests),
        boots: findings.boots,
        tests: findings.tests,
        trouble: findings.trouble,
        exit: 0,
        timings: findings.timings,
    })
}

/// What stands between the tests' lines and the last one.
fn conclude(arguments: &Arguments, record: &RunRecord, folder: &Path, watcher: &dyn Watcher, total: Duration) {
    if arguments.quiet {
        return;
    }
    let report = folder.join(REPORT).display().to_string();
    if !arguments.list {
        let trouble = record.trouble.as_ref().map_or(&[][..], |trouble| &trouble.lines);
        watcher.tell(&Event::RunEnded {
            counts: record.counts,
            exit: record.exit,
            trouble,
            seconds: record.seconds,
            report: &report,
        });
    }
    if let Some(trouble) = &record.trouble {
        trouble.lines.iter().for_each(note);
    }
    if github::listens() && !arguments.list {
        // The runner reads both; standard output belongs to whoever asked for JSON.
        github::annotations(record).iter().for_each(if arguments.json { note } else { say });
    }
    if arguments.timings {
        for (name, seconds) in record.timings.spans() {
            note(format!("{:>10.1} ms  {name}", seconds * 1e3));
        }
        let mut reboots: Vec<f64> =
            record.timings.spans().iter().filter(|(name, _)| name.contains(REBOOT)).map(|(_, seconds)| *seconds).collect();
        reboots.sort_by(f64::total_cmp);
        if let (Some(middle), Some(longest)) = (reboots.get(reboots.len() / 2), reboots.last()) {
            let (middle, longest) = (middle * 1e3, longest * 1e3);
            note(format!(
                "{middle:>10.1} ms  a reboot after a bug check, the median of {}; the longest {longest:.1} ms",
                reboots.len()
            ));
        }
        note(format!("{:>10.1} ms  all of it", total.as_secs_f64() * 1e3));
    }
    if record.counts.failed > 0 {
        note(format!("[rig] for the same random choices again: --seed {}", record.seed));
    }
    note(format!("[rig] report: {report}"));
}
