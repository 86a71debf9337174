//! `rig debug`: a guest with a debugger's line, and the exact commands for the debuggers that people use.
//!
//! The guest boots and runs as in `rig run`, but nothing has a time limit: while a debugger holds the guest, it answers nobody.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::Utc;
use clap::{Args, ValueEnum};
use object::Object as _;
use rustix::event::{PollFd, PollFlags};
use serde_json::json;

use super::options::Ground;
use super::run;
use crate::build::Artifacts;
use crate::console::{note, say};
use crate::error::{AtPath as _, Exit, Outcome, Problem};
use crate::files::write_whole;
use crate::interrupt::{Interrupt, poll_until};
use crate::modules;
use crate::places::Places;
use crate::report::folder::RunFolder;
use crate::run::boot::{Boot, Logs, Mission};
use crate::run::session::{Cause, Session};

/// Nothing here ends by itself; a day is as good as for ever.
const PATIENCE: Duration = Duration::from_secs(86_400);
/// How long the guest may take to boot when nobody holds it.
const BOOT: Duration = Duration::from_secs(60);

/// How a debugger is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kd {
    /// The KD serial protocol, over TCP: WinDbg, and whatever speaks KD.
    Serial,
    /// KDNET, which needs a guest with a network: Windows.
    Net,
    /// QEMU's gdb stub: lldb, gdb.
    Gdb,
}

/// Options of `rig debug`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Run this test (`suite::name`), then end. Without one the guest stays until Ctrl-C.
    #[arg(value_name = "TEST")]
    pub test: Option<String>,
    /// Hold the guest until a debugger lets it go: over KD before its first driver is loaded, over gdb before the test.
    #[arg(long)]
    pub wait: bool,
    /// How a debugger is connected.
    #[arg(long, value_enum, default_value_t = Kd::Serial)]
    pub kd: Kd,
    /// TCP port on this machine that the debugger connects to. Default: a free one.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Processors of the guest.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub vcpus: u32,
    /// What runs the guest.
    #[command(flatten)]
    pub ground: Ground,
}

/// Does it.
///
/// # Errors
/// What keeps the guest from starting, or ends it.
pub fn perform(arguments: &Arguments, interrupt: &Interrupt) -> Outcome<Exit> {
    if arguments.kd == Kd::Net {
        return Err(Problem::usage("ntlet has no network, and so no KDNET")
            .because("KDNET needs Windows: bcdedit /dbgsettings net hostip:ADDRESS port:50000 key:1.2.3.4, then windbg -k net:port=50000,key=1.2.3.4")
            .so("use --kd serial or --kd gdb for this rig"));
    }
    let places = Places::find(arguments.ground.setup_dir.clone());
    let mut prepared = run::prepare(&run_arguments(arguments)?, &places, interrupt)?;
    if arguments.kd == Kd::Serial {
        prepared.rig.append += if arguments.wait { " debug=com1,wait" } else { " debug=com1" };
    }
    let folder = RunFolder::create(&places, "debug", Utc::now())?.boot(1)?;
    let logs = Logs { folder: &folder.path, guest: &folder.guest, device: &folder.device, qemu: &folder.qemu };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port)).map_err(|error| {
        Problem::usage(format!("port {} cannot be used", arguments.port))
            .because(error.to_string())
            .so("name another with --port")
    })?;
    let port = listener.local_addr().map_or(arguments.port, |address| address.port());
    let mission = Mission { verifier: None, removable: false, faults: None, recording: None };
    let mut boot = Boot::start(&prepared.rig, &mission, &logs, interrupt).map_err(|(who, error)| {
        Problem::environment(format!("{who} cannot be started")).because(error.to_string()).so("see `rig doctor`")
    })?;
    let artifacts = Artifacts::built(&places);
    if arguments.kd == Kd::Serial {
        let com1 = boot.take_com1().map_err(|error| Problem::environment("COM1 cannot be shared").because(error.to_string()))?;
        std::thread::spawn(move || join_lines(&listener, com1));
        tell_of_kd(port, arguments.wait, &artifacts);
    } else {
        // QEMU listens itself, later.
        drop(listener);
    }
    let mut session = Session::new(boot, &prepared.symbols);
    let patience = if arguments.wait && arguments.kd == Kd::Serial { PATIENCE } else { BOOT };
    let outcome = session.hello(patience).map(drop);
    let outcome = match outcome {
        Ok(()) if arguments.kd == Kd::Gdb => {
            start_gdb(&mut session, arguments, port, &folder.path, &artifacts, &prepared.rig.image)?;
            converse(&mut session, arguments)
        }
        Ok(()) => converse(&mut session, arguments),
        Err(cause) => Err(cause),
    };
    Ok(conclude(&mut session, outcome, &folder.path, &prepared.rig.image))
}

fn run_arguments(arguments: &Arguments) -> Outcome<run::Arguments> {
    use clap::Parser as _;
    let Ok(super::Command::Run(defaults)) = super::Command::try_parse_from(["rig", "run"]) else {
        return Err(Problem::failed("the options of `rig run` have no defaults"));
    };
    Ok(run::Arguments { ground: arguments.ground.clone(), vcpus: arguments.vcpus, ..*defaults })
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
    let done = session.run(test, 0, None, PATIENCE)?;
    let outcome = crate::run::record::TestOutcome::from(done.verdict);
    say(format!("{:>8}  {test}", outcome.word()));
    outcome.lines().iter().for_each(say);
    session.goodbye()?;
    Ok(outcome.exit())
}

fn conclude(session: &mut Session<'_>, outcome: Result<Exit, Cause>, folder: &Path, image: &Path) -> Exit {
    let cause = match outcome {
        Ok(exit) => return exit,
        Err(cause) => cause,
    };
    cause.lines().iter().for_each(note);
    match cause {
        Cause::BugCheck(_) => {
            let dump = folder.join(crate::dump::triage::DUMP);
            match session.dump(image, &dump, PATIENCE) {
                Ok(()) => say(format!("[rig] crash dump: {}", dump.display())),
                Err(error) => note(format!("[rig] no crash dump: {error}")),
            }
            Exit::Failed
        }
        Cause::GuestDied(_) => Exit::Failed,
        Cause::Hang { .. } => Exit::Hang,
        Cause::QemuDied(_) | Cause::ModelDied(_) | Cause::Protocol(_) => Exit::Environment,
        Cause::Interrupted(signal) => Exit::Interrupted(signal),
    }
}

/// The exact commands for debuggers that speak KD.
fn tell_of_kd(port: u16, is_held: bool, artifacts: &Artifacts) {
    let symbols = artifacts.package.display();
    let state = if is_held { "waits at its first instruction of Rust for" } else { "runs, and can be stopped at any time by" };
    say(format!("[rig] the guest {state} a debugger on 127.0.0.1:{port}"));
    say(format!("[rig] WinDbg (TCP):   windbg -k com:ipport={port},port=127.0.0.1 -y {symbols}"));
    say(format!(
        "[rig] WinDbg (pipe):  on a Windows machine, bridge the port to \\\\.\\pipe\\kd, then windbg -k com:pipe,port=\\\\.\\pipe\\kd,resets=0,reconnect -y {symbols}"
    ));
    say(format!("[rig] other machines: ssh -L {port}:127.0.0.1:{port} THIS-MACHINE"));
}

/// Opens QEMU's gdb stub, with the guest held if asked, and writes what lldb and gdb need to know of it.
fn start_gdb(
    session: &mut Session<'_>,
    arguments: &Arguments,
    port: u16,
    folder: &Path,
    artifacts: &Artifacts,
    image: &Path,
) -> Outcome<()> {
    let monitor = session.monitor();
    let refused = |error: crate::qmp::QmpError| {
        Problem::environment("QEMU opens no gdb stub").because(error.to_string()).so("name another --port")
    };
    if arguments.wait {
        monitor.execute("stop", &json!({})).map_err(refused)?;
    }
    let answer = monitor
        .execute("human-monitor-command", &json!({ "command-line": format!("gdbserver tcp:127.0.0.1:{port}") }))
        .map_err(refused)?;
    if let Some(text) = answer.as_str().filter(|text| !text.starts_with("Waiting for gdb")) {
        return Err(Problem::environment("QEMU opens no gdb stub").because(text.trim()).so("name another --port"));
    }
    let loaded = modules::loaded(session.boot().memory(), image);
    let lldb = folder.join("debug.lldb");
    write_whole(&lldb, lldb_script(&loaded, artifacts, port).as_bytes()).at("write", &lldb)?;
    let gdb = folder.join("debug.gdb");
    let script = format!("file {}\ntarget remote 127.0.0.1:{port}\n", image.display());
    write_whole(&gdb, script.as_bytes()).at("write", &gdb)?;
    let state = if arguments.wait { "is held; `continue` lets it go" } else { "runs; a debugger that connects holds it" };
    say(format!("[rig] the guest {state}"));
    say(format!("[rig] lldb: LLDB_USE_NATIVE_PDB_READER=1 lldb -s {}", lldb.display()));
    say(format!("[rig] gdb (ntlet's own symbols; it reads no PDB): gdb -x {}", gdb.display()));
    Ok(())
}

/// Loads drivers with their PDBs where they lie in the guest, and connects.
fn lldb_script(loaded: &[crate::kd::TargetModule], artifacts: &Artifacts, port: u16) -> String {
    let files: Vec<PathBuf> = ["relay.sys", "relayflt.sys"].map(|name| artifacts.package.join(name)).to_vec();
    let mut script = String::from("settings set auto-confirm true\n");
    let mut loads = String::new();
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(module) = loaded.iter().find(|module| module.name.eq_ignore_ascii_case(&name)) else { continue };
        let Some(base) = preferred_base(file) else { continue };
        let add = if script.contains("target create") { "target modules add" } else { "target create --no-dependents" };
        script += &format!("{add} {}\n", file.display());
        loads += &format!("target modules load --file {} --slide {:#x}\n", file.display(), module.base.wrapping_sub(base));
    }
    script + &format!("gdb-remote 127.0.0.1:{port}\n") + &loads
}

fn preferred_base(file: &Path) -> Option<u64> {
    let bytes = std::fs::read(file).ok()?;
    Some(object::File::parse(&*bytes).ok()?.relative_address_base())
}

/// Passes bytes between the guest's COM1 and whoever connects, one debugger after the other. What the guest sends while nobody is there
/// is lost, as on a serial line. Ends with the guest.
fn join_lines(listener: &TcpListener, com1: UnixStream) {
    let mut com1 = com1;
    let mut client: Option<TcpStream> = None;
    if com1.set_nonblocking(false).is_err() {
        return;
    }
    loop {
        let mut sources = vec![PollFd::new(&com1, PollFlags::IN)];
        match &client {
            Some(client) => sources.push(PollFd::new(client, PollFlags::IN)),
            None => sources.push(PollFd::new(listener, PollFlags::IN)),
        }
        poll_until(&mut sources, None);
        let (from_guest, from_other) = (!sources[0].revents().is_empty(), !sources[1].revents().is_empty());
        drop(sources);
        if from_guest {
            match pass(&mut com1, client.as_mut()) {
                Passed::SourceClosed => return,
                Passed::TargetClosed => client = None,
                Passed::On => {}
            }
        }
        if from_other {
            match client.as_mut() {
                Some(other) => {
                    if !matches!(pass(other, Some(&mut com1)), Passed::On) {
                        client = None;
                    }
                }
                None => {
                    client = listener.accept().ok().map(|(stream, _)| stream).inspect(|stream| {
                        // Packets are small, and each waits for its answer.
                        let _ = stream.set_nodelay(true);
                        let _ = stream.set_write_timeout(Some(Duration::from_secs(5)));
                    });
                }
            }
        }
    }
}

enum Passed {
    On,
    SourceClosed,
    TargetClosed,
}

fn pass(from: &mut impl Read, to: Option<&mut impl Write>) -> Passed {
    let mut block = [0; 4096];
    match from.read(&mut block) {
        Ok(0) => Passed::SourceClosed,
        Ok(length) => match to.map_or(Ok(()), |to| to.write_all(&block[..length])) {
            Ok(()) => Passed::On,
            Err(_) => Passed::TargetClosed,
        },
        Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => Passed::On,
        Err(_) => Passed::SourceClosed,
    }
}
