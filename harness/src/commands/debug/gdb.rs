//! Debuggers that speak to QEMU's gdb stub: the stub is opened, and what lldb and gdb need to know of the guest is written into scripts.
//!
//! Modules are added with their symbols and laid where the guest has loaded them: drivers as PE files with their PDBs, which lldb reads,
//! the kernel as an ELF file.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use object::Object as _;
use rustix::process::Signal;
use serde_json::json;

use super::line::bind;
use crate::build::names::SourceNames;
use crate::console::{note, say};
use crate::error::{AtPath as _, Outcome, Problem};
use crate::files::write_whole;
use crate::interrupt::Interrupt;
use crate::kd::TargetModule;
use crate::modules;
use crate::places::Places;
use crate::run::session::Session;
use crate::setup::tools::{self, Tool};

/// Chooses the reader of PDBs that works everywhere; the other one exists on Windows only.
const READER: &str = "LLDB_USE_NATIVE_PDB_READER";

/// The scripts, and where the stub listens.
#[derive(Debug)]
pub(super) struct Stub {
    lldb: PathBuf,
    gdb: PathBuf,
}

/// Opens QEMU's gdb stub, with the guest held if asked, and writes the scripts into `folder`. `files` are the guest's modules on this
/// machine, by the names that they have in the guest.
pub(super) fn open(
    session: &mut Session<'_>,
    (port, is_held): (u16, bool),
    folder: &Path,
    image: &Path,
    files: &[(String, PathBuf)],
    names: &SourceNames,
) -> Outcome<Stub> {
    let free = bind(port)?;
    let port = free.local_addr().map_or(port, |address| address.port());
    // QEMU listens itself.
    drop(free);
    let refused = |why: String| Problem::environment("QEMU opens no gdb stub").because(why).so("name another --port");
    let monitor = session.monitor();
    if is_held {
        monitor.execute("stop", &json!({})).map_err(|error| refused(error.to_string()))?;
    }
    let answer = monitor
        .execute("human-monitor-command", &json!({ "command-line": format!("gdbserver tcp:127.0.0.1:{port}") }))
        .map_err(|error| refused(error.to_string()))?;
    if let Some(text) = answer.as_str().filter(|text| !text.starts_with("Waiting for gdb")) {
        return Err(refused(text.trim().to_owned()));
    }
    let loaded = modules::loaded(session.boot().memory(), image);
    let stub = Stub { lldb: folder.join("debug.lldb"), gdb: folder.join("debug.gdb") };
    let script = lldb_script(&laid(&loaded, files), image, names, port);
    write_whole(&stub.lldb, script.as_bytes()).at("write", &stub.lldb)?;
    write_whole(&stub.gdb, gdb_script(image, port).as_bytes()).at("write", &stub.gdb)?;
    say(format!(
        "[rig] the guest {}: 127.0.0.1:{port}",
        if is_held { "is held; `continue` lets it go" } else { "runs until a debugger comes" }
    ));
    Ok(stub)
}

impl Stub {
    /// The exact commands.
    pub(super) fn tell(&self) {
        say(format!("[rig] lldb: {READER}=1 lldb -s {}", quoted(&self.lldb)));
        say(format!("[rig] gdb (ntlet's own symbols; it reads no PDB): gdb -x {}", quoted(&self.gdb)));
        say("[rig] break in a driver: breakpoint set -f commands.rs -l LINE, or -F with a function's whole name");
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    shlex::try_quote(&text).map_or_else(|_| text.clone(), |quoted| quoted.into_owned())
}

/// A module on this machine and how far from its own address it lies in the guest.
#[derive(Debug, PartialEq, Eq)]
struct Laid<'a> {
    file: &'a Path,
    slide: u64,
}

/// The drivers that are loaded and are here.
fn laid<'a>(loaded: &[TargetModule], files: &'a [(String, PathBuf)]) -> Vec<Laid<'a>> {
    let place = |(name, file): &'a (String, PathBuf)| {
        let module = loaded.iter().find(|module| module.name.eq_ignore_ascii_case(name))?;
        let base = preferred_base(file)?;
        Some(Laid { file, slide: module.base.wrapping_sub(base) })
    };
    files.iter().filter_map(place).collect()
}

fn preferred_base(file: &Path) -> Option<u64> {
    let bytes = std::fs::read(file).ok()?;
    Some(object::File::parse(&*bytes).ok()?.relative_address_base())
}

/// Adds the modules, connects, and lays them where they are. The order matters: connecting forgets where modules lie. The target begins
/// empty, and thus is of no system: one that begins with a PE file takes no ELF file, and the other way round.
///
/// The drivers' symbols name their sources as no machine does; lldb is told where they are on this one.
fn lldb_script(drivers: &[Laid<'_>], image: &Path, names: &SourceNames, port: u16) -> String {
    let all = || drivers.iter().map(|laid| (laid.file, laid.slide)).chain([(image, 0)]);
    let mut script = String::from(
        "settings set auto-confirm true\nsettings set target.inline-breakpoint-strategy always\n\
         script lldb.debugger.CreateTarget('', 'x86_64', None, False, lldb.SBError())\n",
    );
    for (folder, name) in names.iter() {
        script += &format!("settings append target.source-map {name} \"{}\"\n", folder.display());
    }
    for (file, _) in all() {
        script += &format!("target modules add \"{}\"\n", file.display());
    }
    script += &format!("gdb-remote 127.0.0.1:{port}\n");
    for (file, slide) in all() {
        script += &format!("target modules load --file \"{}\" --slide {slide:#x}\n", file.display());
    }
    script
}

/// gdb knows the kernel only: it reads no PDB.
fn gdb_script(image: &Path, port: u16) -> String {
    format!("set pagination off\nfile \"{}\"\ntarget remote 127.0.0.1:{port}\n", image.display())
}

/// An lldb that somebody sits in front of. Ctrl-C is its own as long as it runs: there it stops the guest.
#[derive(Debug)]
pub(super) struct Launched {
    is_over: Arc<AtomicBool>,
    waiter: Option<JoinHandle<()>>,
}

impl Launched {
    /// Finds lldb, before anything else is begun.
    pub(super) fn find(places: &Places, interrupt: &Interrupt) -> Outcome<PathBuf> {
        tools::find_or_fetch(Tool::Lldb, places, interrupt).map(|found| found.program)
    }

    /// Starts it on this terminal.
    pub(super) fn start(program: &Path, stub: &Stub, interrupt: &Interrupt) -> Outcome<Self> {
        interrupt.leave_ctrl_c();
        let harness = rustix::process::getpid();
        let mut command = Command::new(program);
        command.env(READER, "1").arg("-s").arg(&stub.lldb);
        // SAFETY: between fork and exec the closure makes one plain system call: no allocation, no lock.
        unsafe {
            command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        // The kernel ends lldb with the thread that started it, and that one waits for it.
        let (told, started) = std::sync::mpsc::channel();
        let waiter = std::thread::spawn(move || {
            let child = command.spawn();
            let _ = told.send(child.as_ref().map(drop).map_err(ToString::to_string));
            if let Ok(mut child) = child {
                let _ = child.wait();
                over.store(true, Ordering::SeqCst);
                // Wakes whoever waits for the guest.
                let _ = rustix::process::kill_process(harness, Signal::TERM);
            }
        });
        match started.recv() {
            Ok(Ok(())) => Ok(Self { is_over, waiter: Some(waiter) }),
            Ok(Err(why)) => Err(Problem::environment("lldb cannot be started").because(why).so("see `rig doctor`")),
            Err(_) => Err(Problem::environment("lldb cannot be started").because("its thread ended")),
        }
    }

    /// Whether the user has left it.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Waits until the user leaves it.
    pub(super) fn wait(mut self) {
        if !self.is_over() {
            note("[rig] the guest is gone; leave lldb with `quit`");
        }
        if let Some(waiter) = self.waiter.take() {
            let _ = waiter.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_adds_every_module_before_it_connects_and_lays_it_afterwards() {
        let drivers = [Laid { file: Path::new("/a b/relay.sys"), slide: 0xffff_8000_0000 }];
        let folder = |place: &str| PathBuf::from(place);
        let places = Places { root: folder("/a clone"), target: folder("/a clone/target"), setup: folder("/setup") };
        let script = lldb_script(&drivers, Path::new("/ntlet"), &SourceNames::of(&places), 7);
        assert!(script.contains("settings append target.source-map /wdfrig \"/a clone\"\n"), "{script}");
        let lines: Vec<&str> = script.lines().skip_while(|line| !line.starts_with("target modules add")).collect();
        assert_eq!(
            lines,
            [
                "target modules add \"/a b/relay.sys\"",
                "target modules add \"/ntlet\"",
                "gdb-remote 127.0.0.1:7",
                "target modules load --file \"/a b/relay.sys\" --slide 0xffff80000000",
                "target modules load --file \"/ntlet\" --slide 0x0",
            ]
        );
    }

    #[test]
    fn a_module_that_is_not_here_or_not_loaded_is_left_out() {
        let loaded = [TargetModule { name: "RELAY.SYS".to_owned(), base: 1, size: 2, time_stamp: 3 }];
        let files = [("relay.sys".to_owned(), PathBuf::from("/nowhere")), ("other.sys".to_owned(), PathBuf::from("/nowhere"))];
        assert_eq!(laid(&loaded, &files), []);
    }
}
