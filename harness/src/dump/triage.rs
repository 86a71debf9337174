//! What a crash dump says in ten lines: bug check, driver, function and line, the way there, the framework's last events, and the rule
//! that was likely broken.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use kd::context::RSP;

use super::read::{Dump, DumpModule};
use crate::bugcheck::{Place, name_of};
use crate::console::printable;
use crate::error::{Outcome, Problem};
use crate::report::folder::GUEST_LOG;
use crate::stack::return_addresses;
use crate::symbols::Symbols;

/// Name of the dump in a run's folder.
pub const DUMP: &str = "dump.dmp";
/// Bytes of stack that are searched for return addresses.
const STACK: usize = 16 << 10;
/// Callers that are shown.
const CALLERS: usize = 2;
/// Framework events that are shown.
const EVENTS: usize = 2;
/// The end of a log that is searched for them.
const LOG_END: u64 = 256 << 10;
/// Longest line that is shown.
const LONGEST_LINE: usize = 300;
/// Name of the kernel in a list of modules.
const KERNEL: &str = "ntoskrnl.exe";

/// A dump and the log beside it.
#[derive(Debug)]
pub struct Case {
    dump: Dump,
    path: PathBuf,
    log: Option<PathBuf>,
}

impl Case {
    /// The dump at `path`, or the newest one in the run's folder there.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open(path: &Path) -> Outcome<Self> {
        let path = if path.is_dir() { newest_dump(path)? } else { path.to_path_buf() };
        let log = path.parent().map(|folder| folder.join(GUEST_LOG)).filter(|log| log.is_file());
        Ok(Self { dump: Dump::open(&path)?, path, log })
    }

    /// The ten lines, or fewer.
    #[must_use]
    pub fn lines(&self, symbols: &Symbols) -> Vec<String> {
        let header = &self.dump.header;
        let modules = self.dump.modules();
        let story = Story { dump: &self.dump, modules: &modules, symbols, is_ntlet: self.dump.comment().starts_with("ntlet") };
        let [a, b, c, d] = header.parameters;
        let name = name_of(header.bug_check).unwrap_or("(a code without a name here)");
        let mut lines = vec![format!("bug check   {:#x} {name} ({a:#x}, {b:#x}, {c:#x}, {d:#x})", header.bug_check)];
        let callers = story.callers();
        match story.culprit(&callers) {
            Some((module, address)) => {
                let (base, stamp) = (module.base, module.time_stamp);
                lines.push(format!("driver      {} at {base:#x}, time stamp {stamp:#x}", module.name));
                lines.push(format!("at          {}", story.place(address)));
            }
            None => lines.push(format!("at          {:#x}, in no module", self.dump.context().rip)),
        }
        let shown = callers.iter().filter(|address| story.culprit(&callers).is_none_or(|(_, at)| at != **address));
        for address in shown.take(CALLERS) {
            lines.push(format!("called from {}", story.place(*address)));
        }
        for event in self.events() {
            lines.push(format!("framework   {event}"));
        }
        lines.push(format!("rule        {}", rule(header.bug_check, &header.parameters)));
        let system = if story.is_ntlet { self.dump.comment() } else { format!("Windows build {}", header.minor_version) };
        let uptime = header.up_time / 10_000;
        lines.push(format!(
            "dump        {}: {system}, {} processors, {} modules, up {}.{:03} s",
            self.path.display(),
            header.processors,
            modules.len(),
            uptime / 1000,
            uptime % 1000
        ));
        lines.iter().map(|line| line.chars().take(LONGEST_LINE).collect()).collect()
    }

    /// The framework's last events, from the in-flight log that it writes at a bug check.
    fn events(&self) -> Vec<String> {
        let end = |log: &Path| -> std::io::Result<Vec<u8>> {
            let mut file = File::open(log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_END)))?;
            let mut bytes = Vec::new();
            file.take(LOG_END).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = self.log.as_deref().and_then(|log| end(log).ok()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let events: Vec<&str> = text
            .lines()
            // A line that came through a debugger has no time before it.
            .map(|line| line.split_once("] ").map_or(line, |(_, event)| event))
            .filter(|event| event.starts_with("kmdf ") || event.starts_with("wdf: "))
            .collect();
        events[events.len().saturating_sub(EVENTS)..].iter().map(|event| printable(event)).collect()
    }
}

fn newest_dump(folder: &Path) -> Outcome<PathBuf> {
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    // Each boot of a run has a folder of its own in the run's.
    let all = entries(folder).flat_map(|path| if path.is_dir() { entries(&path).collect() } else { vec![path] });
    let dumps = all.filter(|path| path.extension().is_some_and(|extension| extension == "dmp"));
    dumps.max_by_key(|path| path.metadata().and_then(|metadata| metadata.modified()).ok()).ok_or_else(|| {
        Problem::usage(format!("no crash dump in {}", folder.display()))
            .because("a run leaves one for a bug check that no test expects")
            .so("give `rig run` the option --dump to have one for expected bug checks, too")
    })
}

struct Story<'a> {
    dump: &'a Dump,
    modules: &'a [DumpModule],
    symbols: &'a Symbols,
    is_ntlet: bool,
}

impl Story<'_> {
    fn module(&self, address: u64) -> Option<&DumpModule> {
        self.modules.iter().find(|module| address.wrapping_sub(module.base) < module.size)
    }

    fn is_kernel(&self, module: &DumpModule) -> bool {
        module.name.eq_ignore_ascii_case(KERNEL)
    }

    /// An address by name, as far as symbols reach. ntlet's own symbols go by its addresses.
    fn place(&self, address: u64) -> Place {
        match self.module(address) {
            Some(module) if self.is_ntlet && self.is_kernel(module) => self.symbols.place("ntlet", address),
            Some(module) => self.symbols.place(&module.name, address - module.base),
            None => Place { module: String::new(), offset: address, function: None },
        }
    }

    /// The driver to blame: where the registers are, or else the first on the stack.
    fn culprit(&self, callers: &[u64]) -> Option<(&DumpModule, u64)> {
        let here = self.dump.context().rip;
        let all = || std::iter::once(here).chain(callers.iter().copied());
        let found = |address: u64| self.module(address).map(|module| (module, address));
        all().filter_map(found).find(|(module, _)| !self.is_kernel(module)).or_else(|| all().find_map(found))
    }

    /// Return addresses on the stack that lie behind a call in a driver. The stack is searched, not unwound: what an earlier call left
    /// may be among them.
    fn callers(&self) -> Vec<u64> {
        let context = self.dump.context();
        let mut stack = vec![0; STACK];
        let mut length = STACK;
        while length > 0 && self.dump.read_virtual(context.general[RSP], &mut stack[..length]).is_none() {
            length /= 2;
        }
        let in_driver = |address: u64| self.module(address).is_some_and(|module| !self.is_kernel(module));
        let read = |address: u64, buffer: &mut [u8]| self.dump.read_virtual(address, buffer).is_some();
        let mut callers: Vec<u64> = return_addresses(&stack[..length], in_driver, read).collect();
        callers.dedup();
        callers
    }
}

/// The rule that a bug check says was broken, in one sentence.
#[must_use]
pub fn rule(code: u32, parameters: &[u64; 4]) -> &'static str {
    const VIOLATION: u32 = 0x10d;
    match (code, parameters[0], parameters[1]) {
        (0xa | 0xd1, _, _) => {
            "at DISPATCH_LEVEL and above only memory that is resident may be touched, and only by a pointer that is valid"
        }
        (0x1e | 0x3b | 0x7e, _, _) => {
            "an exception that a driver may meet must be handled by it; the first parameter is its status"
        }
        (0x44, _, _) => "a request is completed once (WDF rule RequestCompleted; DoubleCompletion of Driver Verifier)",
        (0x48, _, _) => "a cancel routine must be gone before its request is completed",
        (0x50, _, _) => "memory that was freed, or never was there, must not be touched",
        (0x7f, _, _) => "kernel stacks are small: deep recursion or large locals end in a double fault",
        (0x9f, _, _) => "power requests must be completed in time",
        (0xbe | 0xfc, _, _) => "code is not writable, and data is not executable",
        (0xc1 | 0xc2 | 0x19 | 0xc5 | 0x13a, _, _) => "pool is freed once, by its start, and not written outside its bounds",
        (0xc4, _, _) => "a rule of Driver Verifier; the first parameter says which",
        (0xce, _, _) => "a driver must stop timers, DPCs, work items and interrupts before it unloads",
        (0xe2, _, _) => "somebody ended the system on purpose, or the guest's own code panicked: see the guest's log",
        (0x139, _, _) => "a list, a stack cookie or a reference count was found corrupted",
        (VIOLATION, 1, _) => "a power callback must return in time",
        (VIOLATION, 2, _) => "a framework lock must not be taken by the one who holds it",
        (VIOLATION, 3, _) => "WdfVerifier: a request must not be used after it was completed or deleted",
        (VIOLATION, 4, _) => "a required parameter must not be NULL",
        (VIOLATION, 5, _) => "a handle must be one of the expected type that has not been deleted",
        (VIOLATION, 6, 1) => "a request needs a stack location for each driver it is sent through",
        (VIOLATION, 6, 2) => "a request without an IRP cannot be sent",
        (VIOLATION, 6, 3) => {
            "a request that was sent must come back before it is sent again, reused or completed (WDF rule RequestCompleted)"
        }
        (VIOLATION, 6, 4) => "a completed request must not tell of more bytes than its buffers hold",
        (VIOLATION, 6, 5) => "only a request that came from a queue can be forwarded or put back",
        (VIOLATION, 6, _) => "a request must be used only by the one who owns it (WDF rule InvalidReqAccess)",
        (VIOLATION, 7, _) => "an object must be used only as long as it lives, and deleted only if the driver owns it",
        (VIOLATION, 0xa, _) => "a queue's request must be owned by the driver that acts on it",
        (VIOLATION, 0xb, _) => "a lock must be released by the one who took it",
        (VIOLATION, 0xc, _) => "a device must follow the order of PnP and power",
        (VIOLATION, 0xe, _) => "a callback must return at the IRQL it was called at (WDF rule KmdfIrql)",
        (VIOLATION, 0xf, _) => "a critical region must be left as often as it was entered",
        (VIOLATION, _, _) => "a rule of the framework; the guest's log beside the dump names it",
        _ => "no rule is known for this code: see the documentation of the bug check",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_sentence_for_every_code_and_known_for_the_frameworks_own() {
        assert!(rule(0x10d, &[6, 3, 0, 0]).contains("sent"));
        assert!(rule(0x10d, &[0x99, 0, 0, 0]).contains("framework"));
        assert!(rule(0x1234_5678, &[0; 4]).starts_with("no rule"));
    }

    #[test]
    fn a_folder_without_a_dump_says_how_to_get_one() {
        let folder = tempfile::tempdir().unwrap();
        let problem = Case::open(folder.path()).unwrap_err();
        assert!(problem.to_string().contains("--dump"), "{problem}");
    }
}
