//! `rig debug`: a guest with a debugger's line, and the exact commands for the debuggers that people use.
//!
//! The guest boots and runs as in `rig run`, but nothing has a time limit: while a debugger holds the guest, it answers nobody.

mod gdb;
mod line;
mod net;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use chrono::Utc;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::options::Ground;
use super::run::{self, Kind, Prepared};
use crate::build::names::SourceNames;
use crate::console::{note, say};
use crate::error::{Exit, Outcome, Problem};
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::project::Project;
use crate::report::folder::{BootFolder, RunFolder};
use crate::run::boot::{Boot, Logs, Mission, Rig};
use crate::run::link::Needs;
use crate::run::session::{Cause, Session};
use gdb::Launched;
use line::Doors;
use net::Call;

/// Nothing here ends by itself; a day is as good as for ever.
const PATIENCE: Duration = Duration::from_secs(86_400);
/// How long the guest may take to boot when nobody holds it.
const BOOT: Duration = Duration::from_secs(60);
/// The same for a Windows.
const WINDOWS_BOOT: Duration = Duration::from_secs(900);
/// How often a signal is looked for while a debugger is waited for.
const PULSE: Duration = Duration::from_millis(100);

/// How a debugger is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kd {
    /// The KD serial protocol, over TCP or a socket: WinDbg, ntoseye, and whatever speaks KD.
    Serial,
    /// KDNET: Windows calls the debugger over a network card, which leads to the debugger only.
    Net,
    /// QEMU's gdb stub: lldb, gdb.
    Gdb,
}

/// A debugger that `rig` can start itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Launch {
    /// lldb, on this terminal, with modules and symbols loaded.
    Lldb,
}

/// Options of `rig debug`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Run this test (`suite::name`), then end. Without one the guest stays until Ctrl-C.
    #[arg(value_name = "TEST")]
    pub test: Option<String>,
    /// Where the driver runs.
    #[arg(long, value_enum, default_value_t)]
    pub rig: Kind,
    /// The Windows to boot, for `--rig windows`: an image that `rig image build` has made.
    #[arg(long, value_name = "NAME")]
    pub image: Option<PathBuf>,
    /// Hold the guest until a debugger lets it go: over KD before its first driver is loaded, over gdb before the test. A Windows stands still
    /// until a debugger connects, which can then break in from its first instruction on; over KDNET it loads no driver until a debugger answers.
    #[arg(long)]
    pub wait: bool,
    /// How a debugger is connected. Default: serial, or what the debugger that is launched needs.
    #[arg(long, value_enum)]
    pub kd: Option<Kd>,
    /// Start this debugger here. The guest is held until it lets it go.
    #[arg(long, value_enum, value_name = "DEBUGGER")]
    pub launch: Option<Launch>,
    /// TCP port on this machine that the debugger connects to; for KDNET, the UDP port that the debugger listens at. Default: a free one; for
    /// KDNET 50000.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub port: u16,
    /// Where the debugger of KDNET listens. Default: 127.0.0.1, this machine.
    #[arg(long, value_name = "ADDRESS")]
    pub debugger: Option<Ipv4Addr>,
    /// Processors of the guest.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub vcpus: u32,
    /// What runs the guest.
    #[command(flatten)]
    pub ground: Ground,
}

impl Arguments {
    /// How the debugger is connected, if that can be.
    fn kd(&self) -> Outcome<Kd> {
        let kd = if self.rig == Kind::Windows { self.windows_kd() } else { self.ntlet_kd() }?;
        if kd != Kd::Net && self.debugger.is_some() {
            return Err(Problem::usage("--debugger says where a debugger listens")
                .because("only with KDNET does the guest call; otherwise the debugger connects to this machine")
                .so("leave it out, or add --kd net"));
        }
        Ok(kd)
    }

    fn ntlet_kd(&self) -> Outcome<Kd> {
        if self.image.is_some() {
            return Err(Problem::usage("--image names an installed Windows")
                .because("ntlet is built from this repository, and has no images")
                .so("leave it out, or add --rig windows"));
        }
        match (self.kd, self.launch) {
            (Some(Kd::Net), _) => Err(Problem::usage("ntlet has no network, and so no KDNET")
                .because("it speaks KD on a serial line, and KDNET is Windows' own")
                .so("use --kd serial or --kd gdb for this rig, or --rig windows --image NAME --kd net")),
            (Some(Kd::Serial), Some(Launch::Lldb)) => Err(Problem::usage("lldb does not speak KD")
                .because("it debugs a guest through QEMU's gdb stub")
                .so("leave out --kd, or say --kd gdb")),
            (None | Some(Kd::Gdb), Some(Launch::Lldb)) => Ok(Kd::Gdb),
            (kd, None) => Ok(kd.unwrap_or(Kd::Serial)),
        }
    }

    /// An image's Windows speaks KD: on COM1, or by a card that it is given.
    fn windows_kd(&self) -> Outcome<Kd> {
        match (self.kd, self.launch) {
            (Some(Kd::Gdb), _) | (_, Some(_)) => Err(Problem::usage("gdb and lldb are for ntlet")
                .because("they find modules by what ntlet tells; a Windows is debugged over KD")
                .so("leave out --kd and --launch, and connect WinDbg or ntoseye")),
            (kd, None) => Ok(kd.unwrap_or(Kd::Serial)),
        }
    }

    fn is_held(&self) -> bool {
        self.wait || self.launch.is_some()
    }
}

/// Does it.
///
/// # Errors
/// What keeps the guest from starting, or ends it.
pub fn perform(arguments: &Arguments, interrupt: &Interrupt) -> Outcome<Exit> {
    let kd = arguments.kd()?;
    let call = (kd == Kd::Net).then(|| Call::of(arguments)).transpose()?;
    let places = Places::find(arguments.ground.setup_dir.clone());
    let lldb = arguments.launch.map(|Launch::Lldb| Launched::find(&places, interrupt)).transpose()?;
    let mut prepared = run::prepare(&run_arguments(arguments)?, &places, interrupt)?;
    // Whoever debugs wants to see everything at once.
    prepared.rig.late_log = None;
    // The line is the user's.
    prepared.rig.kd_host = None;
    if kd == Kd::Serial {
        prepared.rig.append += if arguments.wait { " debug=com1,wait" } else { " debug=com1" };
    }
    let run = RunFolder::create(&places, "debug", Utc::now())?;
    let mut folder = run.boot(1)?;
    // Lives as long as the machine that is on top of it.
    let mut _layer = None;
    if let Some(call) = call {
        call.tell(arguments.wait, &symbol_folders(&prepared.modules));
        match net::settle(&call, &mut prepared.rig, &folder, interrupt)? {
            Ok(layer) => _layer = Some(layer),
            Err(exit) => return Ok(exit),
        }
        folder = run.boot(2)?;
    }
    let doors = (kd == Kd::Serial).then(|| Doors::open(arguments.port, &folder.path)).transpose()?;
    let mut boot = start(&prepared.rig, &folder, interrupt)?;
    if let Some(doors) = doors {
        let com1 = boot.take_com1().map_err(|error| Problem::environment("COM1 cannot be shared").because(error.to_string()))?;
        let stands = arguments.wait && prepared.rig.windows.is_some();
        if stands {
            order(&mut boot, "stop")?;
        }
        tell_of_kd(&doors, arguments, &symbol_folders(&prepared.modules));
        let (connected, is_connected) = mpsc::channel();
        std::thread::spawn(move || doors.serve(com1, &connected));
        if stands {
            wait_for_debugger(&is_connected, interrupt)?;
            order(&mut boot, "cont")?;
        }
    }
    let mut session = Session::new(boot, &prepared.symbols);
    let mut launched = None;
    let outcome = match meet(&mut session, &prepared, arguments, kd).and_then(|()| find(&mut session, arguments)) {
        Ok(found) => {
            found?;
            if kd == Kd::Gdb {
                let stub = stub(&mut session, arguments, &folder.path, &prepared, &source_names(&places)?)?;
                launched = lldb.map(|lldb| Launched::start(&lldb, &stub, interrupt)).transpose()?;
            }
            converse(&mut session, arguments)
        }
        Err(cause) => Err(cause),
    };
    let exit = match outcome {
        // The user has left the debugger, which lets the guest go or kills it.
        Err(_) if launched.as_ref().is_some_and(Launched::is_over) => Exit::Passed,
        outcome => conclude(&mut session, outcome, &folder.path, &prepared.rig),
    };
    drop(session);
    if let Some(launched) = launched {
        launched.wait();
    }
    Ok(exit)
}

/// Starts the machine.
fn start<'a>(rig: &Rig, folder: &BootFolder, interrupt: &'a Interrupt) -> Outcome<Boot<'a>> {
    let logs = Logs { folder: &folder.path, guest: &folder.guest, device: &folder.device, qemu: &folder.qemu };
    let mission = Mission { verifier: None, removable: false, faults: None, recording: None };
    Boot::start(rig, &mission, &logs, interrupt).map_err(|(who, error)| {
        Problem::environment(format!("{who} cannot be started")).because(error.to_string()).so("see `cargo rig doctor`")
    })
}

/// Tells QEMU to let the machine stand still, or go on.
fn order(boot: &mut Boot<'_>, what: &str) -> Outcome<()> {
    let done = boot.monitor().execute(what, &json!({}));
    done.map(drop).map_err(|error| Problem::environment("QEMU does not hold the guest").because(error.to_string()))
}

/// Waits until somebody connects.
fn wait_for_debugger(is_connected: &Receiver<()>, interrupt: &Interrupt) -> Outcome<()> {
    while is_connected.recv_timeout(PULSE).is_err() {
        interrupt.check()?;
    }
    Ok(())
}

/// From the machine's start to the suite.
fn meet(session: &mut Session<'_>, prepared: &Prepared, arguments: &Arguments, kd: Kd) -> Result<(), Cause> {
    let held = arguments.wait && kd == Kd::Serial;
    let Some(windows) = &prepared.rig.windows else {
        return session.hello(if held { PATIENCE } else { BOOT }).map(drop);
    };
    let patience = if held { PATIENCE } else { WINDOWS_BOOT };
    session.wait_until_up(patience)?;
    if arguments.wait && kd == Kd::Net {
        net::hold(session)?;
    }
    // Violations break into the debugger that is there.
    session.make_ready(&windows.preparation, &Needs { breaks: true, ..Needs::default() })?;
    session.hello(PATIENCE).map(drop)
}

fn stub(
    session: &mut Session<'_>,
    arguments: &Arguments,
    folder: &Path,
    prepared: &Prepared,
    names: &SourceNames,
) -> Outcome<gdb::Stub> {
    let how = (arguments.port, arguments.is_held());
    let stub = gdb::open(session, how, folder, &prepared.rig.image, &prepared.modules, names)?;
    if arguments.launch.is_none() {
        stub.tell();
    }
    Ok(stub)
}

/// What the symbols of all that may be debugged call their sources.
fn source_names(places: &Places) -> Outcome<SourceNames> {
    let names = SourceNames::of(places);
    Ok(match Project::here()? {
        Some(project) => names.with_project(&project.root, project.driver()),
        None => names,
    })
}

/// Whether the guest has the test that is asked for, if one is.
fn find(session: &mut Session<'_>, arguments: &Arguments) -> Result<Outcome<()>, Cause> {
    let Some(test) = &arguments.test else { return Ok(Ok(())) };
    let listed = session.list_within(PATIENCE)?;
    let problem = || {
        Problem::usage(format!("the suites have no test {test}"))
            .because("a test is named in full, suite and all")
            .so("`cargo rig run --list` shows all names")
    };
    Ok(listed.iter().any(|listed| listed.name == *test).then_some(()).ok_or_else(problem))
}

fn run_arguments(arguments: &Arguments) -> Outcome<run::Arguments> {
    use clap::Parser as _;
    let Ok(super::Command::Run(defaults)) = super::Command::try_parse_from(["rig", "run"]) else {
        return Err(Problem::failed("the options of `rig run` have no defaults"));
    };
    let (rig, image) = (arguments.rig, arguments.image.clone());
    Ok(run::Arguments { ground: arguments.ground.clone(), vcpus: arguments.vcpus, rig, image, ..*defaults })
}

/// Runs the test, or lets the guest run until it ends or a signal comes.
fn converse(session: &mut Session<'_>, arguments: &Arguments) -> Result<Exit, Cause> {
    let Some(test) = &arguments.test else {
        say("[rig] the guest runs; Ctrl-C ends it");
        loop {
            match session.idle(Instant::now() + PATIENCE) {
                Err(Cause::Interrupted(_)) => return Ok(Exit::Passed),
                other => other?,
            }
        }
    };
    let done = session.run(test, 0, channel::Span::Moment, PATIENCE)?;
    let outcome = crate::run::record::TestOutcome::from(done.verdict);
    say(format!("{:>8}  {test}", outcome.word()));
    outcome.lines().iter().for_each(say);
    session.goodbye()?;
    Ok(outcome.exit())
}

fn conclude(session: &mut Session<'_>, outcome: Result<Exit, Cause>, folder: &Path, rig: &Rig) -> Exit {
    let cause = match outcome {
        Ok(exit) => return exit,
        Err(cause) => cause,
    };
    cause.lines().iter().for_each(note);
    match cause {
        Cause::BugCheck(_) => {
            let dump = folder.join(crate::dump::triage::DUMP);
            let failure = match rig.windows {
                None => session.dump(&rig.image, &dump, PATIENCE).err().map(|error| error.to_string()),
                Some(_) => session.fetch_dump(&dump).err().map(|cause| cause.lines().join("; ")),
            };
            match failure {
                None => say(format!("[rig] crash dump: {}", dump.display())),
                Some(why) => note(format!("[rig] no crash dump: {why}")),
            }
            Exit::Failed
        }
        Cause::GuestDied(_) => Exit::Failed,
        Cause::Hang { .. } => Exit::Hang,
        Cause::QemuDied(_) | Cause::ModelDied(_) | Cause::Protocol(_) | Cause::Unready(_) => Exit::Environment,
        Cause::Interrupted(signal) => Exit::Interrupted(signal),
    }
}

/// Where the PDBs of the guest's modules are.
fn symbol_folders(modules: &[(String, PathBuf)]) -> Vec<String> {
    let with_symbols = modules.iter().filter(|(_, file)| file.with_extension("pdb").is_file());
    let folders: BTreeSet<String> =
        with_symbols.filter_map(|(_, file)| file.parent()).map(|folder| folder.display().to_string()).collect();
    folders.into_iter().collect()
}

/// The exact commands for debuggers that speak KD.
fn tell_of_kd(doors: &Doors, arguments: &Arguments, symbols: &[String]) {
    let (port, path) = (doors.port(), symbols.join(";"));
    let state = match (arguments.wait, arguments.rig) {
        (false, _) => "runs, and can be stopped at any time by",
        (true, Kind::Ntlet) => "waits at its first instruction of Rust for",
        (true, Kind::Windows) => "stands still before its start, and waits for",
    };
    say(format!("[rig] the guest {state} a debugger on 127.0.0.1:{port}"));
    say(format!("[rig] WinDbg (TCP):   windbg -k com:ipport={port},port=127.0.0.1 -y \"{path}\""));
    say(format!(
        "[rig] WinDbg (pipe):  on a Windows machine, bridge the port to \\\\.\\pipe\\kd, then windbg -k com:pipe,port=\\\\.\\pipe\\kd,resets=0,reconnect -y \"{path}\""
    ));
    let folders: String = symbols.iter().map(|folder| format!(" --sympath-append \"{folder}\"")).collect();
    say(format!("[rig] ntoseye:       ntoseye --connect {}{folders}", doors.path()));
    say(format!("[rig] other machines: ssh -L {port}:127.0.0.1:{port} THIS-MACHINE"));
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn kd(words: &[&str]) -> Outcome<Kd> {
        let words = ["rig", "debug"].iter().chain(words);
        let Ok(crate::commands::Command::Debug(arguments)) = crate::commands::Command::try_parse_from(words) else { panic!() };
        arguments.kd()
    }

    #[test]
    fn lldb_comes_by_the_gdb_stub_and_everybody_else_over_serial_kd() {
        assert_eq!(kd(&[]).unwrap(), Kd::Serial);
        assert_eq!(kd(&["--launch", "lldb"]).unwrap(), Kd::Gdb);
        assert_eq!(kd(&["--kd", "gdb"]).unwrap(), Kd::Gdb);
        assert_eq!(kd(&["--rig", "windows", "--image", "w"]).unwrap(), Kd::Serial);
        assert_eq!(kd(&["--rig", "windows", "--image", "w", "--kd", "net", "--debugger", "10.0.0.1"]).unwrap(), Kd::Net);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name_before_anything_is_built() {
        for (words, said, exit) in [
            (&["--kd", "net"][..], "no KDNET", Exit::Usage),
            (&["--kd", "serial", "--launch", "lldb"], "lldb does not speak KD", Exit::Usage),
            (&["--rig", "windows", "--image", "w", "--kd", "gdb"], "are for ntlet", Exit::Usage),
            (&["--rig", "windows", "--image", "w", "--debugger", "10.0.0.1"], "where a debugger listens", Exit::Usage),
            (&["--rig", "windows", "--image", "w", "--launch", "lldb"], "are for ntlet", Exit::Usage),
            (&["--image", "w"], "names an installed Windows", Exit::Usage),
        ] {
            let problem = kd(words).unwrap_err();
            assert!(problem.what().contains(said), "{problem}");
            assert_eq!(problem.exit(), exit);
        }
    }
}
