//! The debugger that looks on in a run: the KD host of a guest that nobody sits in front of.
//!
//! It lets everything go on that a debugger is told of, writes what the guest prints into the guest's log, and is the first to see a bug
//! check: before the guest's own report it takes code, registers, stack and modules, then lets the guest go on to its dump. An exception
//! that it is shown is left to the guest, as if no debugger were there. [`Host::attach`] is all that a boot needs.

use std::fs::File;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kd::context::{Context, RSP};
use kd::data::{DebuggerData, ListEntry, field};
use kd::packet::BREAK_IN;
use kd::wire::{Exception, STATUS_BREAKPOINT};

use super::line::Line;
use super::{Client, Heard, KdError, Stop, TargetModule, Why};
use crate::bugcheck::{BugCheck, Module, Place, Registers, name_of};
use crate::console::printable;
use crate::stack::return_addresses;
use crate::symbols::Symbols;

/// The host's log, in the boot's folder.
pub const KD_LOG: &str = "kd.log";
/// How often the host looks whether it is still wanted.
const PULSE: Duration = Duration::from_secs(1);
/// How long whoever reads the guest's log may not read it.
const BLOCKED: Duration = Duration::from_secs(5);
/// Bytes of stack that are searched for return addresses.
const STACK: usize = 8 << 10;
/// Pieces in which it is read: none of them crosses a page.
const PIECE: usize = 1 << 10;
/// Most frames that are named.
const MOST_FRAMES: usize = 32;
/// The same of each processor of a guest that hangs, and of how many.
const STACK_OF_A_HANG: usize = 2 << 10;
const FRAMES_OF_A_HANG: usize = 12;
const MOST_PROCESSORS: u32 = 64;
/// How often it is looked whether the target has stopped.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Most lines of the host's log.
const MOST_LINES: usize = 10_000;
/// The kernel's name in every list of modules, and that of ntlet's symbols.
const KERNEL: &str = "ntoskrnl.exe";
const NTLET: &str = "ntlet";

/// What the host does when the target stops for the second time in a bug check, at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// Lets it go on: it ends by itself.
    GoOn,
    /// Has it start again: Windows would stop there once more, for ever.
    Restart,
}

/// A host at work. It ends with the guest, or when it is dropped.
#[derive(Debug)]
pub struct Host {
    line: UnixStream,
    seen: Arc<Mutex<Option<Box<BugCheck>>>>,
    looked: Arc<Mutex<Option<Vec<String>>>>,
    has_met: Arc<AtomicBool>,
    bell: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// Becomes the KD host at `line`, a guest's serial port. What the guest prints goes to `text`; what the host sees, to `log`.
    /// Functions are named by `symbols`.
    ///
    /// # Errors
    /// The system's.
    pub fn attach(line: UnixStream, text: UnixStream, log: File, symbols: Symbols, at_end: AtEnd) -> io::Result<Self> {
        text.set_write_timeout(Some(BLOCKED))?;
        line.set_nonblocking(false)?;
        let (bell, ringer) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        let has_met = Arc::new(AtomicBool::new(false));
        let (seen, looked) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(None)));
        let watch = Watch {
            client: Client::new(Line::new(line.try_clone()?)),
            text: Some(text),
            log,
            lines: 0,
            symbols,
            seen: Arc::clone(&seen),
            looked: Arc::clone(&looked),
            has_met: Arc::clone(&has_met),
            has_reported: false,
            at_end,
            ringer,
        };
        let thread = std::thread::Builder::new().name("kd-host".to_owned()).spawn(move || watch.run())?;
        Ok(Self { line, seen, looked, has_met, bell, thread: Some(thread) })
    }

    /// Breaks in, sees what each processor is at, and lets the target go on. Nothing, when it does not stop within `patience`, or has never
    /// spoken KD.
    #[must_use]
    pub fn look(&self, patience: Duration) -> Vec<String> {
        lock(&self.looked).take();
        let deadline = Instant::now() + patience;
        if !self.has_met.load(Ordering::Relaxed) || (&self.line).write_all(&[BREAK_IN]).is_err() {
            return Vec::new();
        }
        while Instant::now() < deadline {
            if let Some(lines) = lock(&self.looked).take() {
                return lines;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Vec::new()
    }

    /// The bug check that was seen, once.
    #[must_use]
    pub fn take_bug_check(&self) -> Option<Box<BugCheck>> {
        let found = lock(&self.seen).take();
        if found.is_some() {
            let _ = io::Read::read(&mut &self.bell, &mut [0; 16]);
        }
        found
    }
}

impl AsFd for Host {
    /// Readable when there is a bug check to take.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.line.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(seen: &Mutex<T>) -> MutexGuard<'_, T> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the host's thread owns.
struct Watch {
    client: Client,
    text: Option<UnixStream>,
    log: File,
    lines: usize,
    symbols: Symbols,
    seen: Arc<Mutex<Option<Box<BugCheck>>>>,
    looked: Arc<Mutex<Option<Vec<String>>>>,
    /// The target has spoken KD.
    has_met: Arc<AtomicBool>,
    has_reported: bool,
    at_end: AtEnd,
    ringer: UnixStream,
}

impl Watch {
    fn run(mut self) {
        loop {
            let heard = self.client.listen(Instant::now() + PULSE);
            self.pass_text();
            if matches!(heard, Ok(Heard::Stop(_) | Heard::Other)) {
                self.has_met.store(true, Ordering::Relaxed);
            }
            match heard {
                Ok(Heard::Stop(stop)) => {
                    // A target that cannot be read goes on all the same, if it can.
                    let is_over = self.stopped(&stop).unwrap_or_else(|error| {
                        self.note(&format!("the stop cannot be looked at: {error}"));
                        false
                    });
                    let went_on = if is_over { self.restart() } else { self.go_on(&stop) };
                    self.pass_text();
                    if let Err(error) = went_on {
                        self.note(&format!("the target cannot be let go on: {error}"));
                    }
                }
                Ok(Heard::Other | Heard::Nothing) => {}
                Err(KdError::Line(_)) => return,
                Err(error) => self.note(&error.to_string()),
            }
        }
    }

    /// What the guest prints goes into its log, as if there were no debugger.
    fn pass_text(&mut self) {
        let mut bytes = self.client.take_stray();
        bytes.extend(self.client.take_text().into_bytes());
        if let Some(text) = &mut self.text
            && !bytes.is_empty()
            && text.write_all(&bytes).is_err()
        {
            self.text = None;
        }
    }

    fn note(&mut self, line: &str) {
        self.lines += 1;
        if self.lines <= MOST_LINES {
            // A full disk costs the log, not the run.
            let _ = writeln!(self.log, "{}", printable(line));
        }
    }

    /// Breakpoints and exceptions are the guest's own affair; everything else is dealt with by having been seen.
    fn go_on(&mut self, stop: &Stop) -> Result<(), KdError> {
        let is_handled = match &stop.why {
            Why::Module { .. } => true,
            Why::Exception(exception) => self.is_break_with_status(exception)?,
        };
        self.client.go_on(false, is_handled)
    }

    fn restart(&mut self) -> Result<(), KdError> {
        self.note("the end of the bug check: the target starts again");
        // Whatever comes next is said by a new start.
        self.has_reported = false;
        self.client.restart()
    }

    /// Looks at a stop. Whether it is the last one of a bug check, and the target is to start again.
    fn stopped(&mut self, stop: &Stop) -> Result<bool, KdError> {
        match &stop.why {
            Why::Module { path, symbols } => {
                let what = if symbols.unload == 0 { "loaded" } else { "unloads" };
                self.note(&format!("{what} {path} at {:#x}, {:#x} bytes", symbols.base, symbols.size));
            }
            Why::Exception(exception) => {
                let chance = if exception.first_chance == 0 { "second" } else { "first" };
                let (code, at, processor) = (exception.record.code, stop.change.rip, stop.change.processor);
                self.note(&format!("exception {code:#010x} at {at:#x} on processor {processor}, {chance} chance"));
                if self.is_break_with_status(exception)? {
                    return self.look_for_bug_check(stop.change.processor_count);
                }
            }
        }
        Ok(false)
    }

    /// Whether the target stands at its own breakpoint for debuggers.
    fn is_break_with_status(&mut self, exception: &Exception) -> Result<bool, KdError> {
        if exception.record.code != STATUS_BREAKPOINT {
            return Ok(false);
        }
        let data = self.debugger_data()?;
        Ok(exception.record.address == data.get(field::BREAKPOINT_WITH_STATUS))
    }

    fn debugger_data(&mut self) -> Result<DebuggerData, KdError> {
        let list = self.client.version()?.debugger_data;
        let first = self.client.structure::<ListEntry>(list)?.next;
        let data: DebuggerData = self.client.structure(first)?;
        data.is_sound().then_some(data).ok_or(KdError::Nonsense("a debugger data block without its tag"))
    }

    /// Takes what there is of a bug check at its first stop. Whether this is its last one, and the target is to start again.
    /// Without one somebody has broken in.
    fn look_for_bug_check(&mut self, processors: u32) -> Result<bool, KdError> {
        let data = self.debugger_data()?;
        let [code, a, b, c, d]: [u64; 5] = self.client.structure(data.get(field::BUG_CHECK_DATA))?;
        let code = u32::try_from(code).unwrap_or(0);
        // The target stops twice, and sets no code when somebody breaks in.
        if code == 0 {
            return self.look_around(&data, processors).map(|()| false);
        }
        if std::mem::replace(&mut self.has_reported, true) {
            return Ok(self.at_end == AtEnd::Restart);
        }
        let context = self.client.context()?;
        let modules = self.client.modules()?;
        let is_ntlet = self.is_ntlet(&data);
        let frames = self.frames(&context, &modules, STACK);
        let named = |address: u64, is_return: bool| self.place(&modules, is_ntlet, address, is_return);
        let report = Box::new(BugCheck {
            code,
            name: name_of(code).map(str::to_owned),
            parameters: [a, b, c, d],
            at: named(context.rip, false),
            frames: frames.iter().map(|address| named(*address, true)).collect(),
            registers: Some(Registers { general: context.general, rip: context.rip, rflags: context.eflags.into() }),
            modules: modules.into_iter().map(of_target).collect(),
            complete: true,
        });
        for line in report.lines() {
            self.note(&line);
        }
        *lock(&self.seen) = Some(report);
        // Nobody may listen any more.
        let _ = self.ringer.write_all(&[1]);
        Ok(false)
    }

    /// What each processor is at.
    fn look_around(&mut self, data: &DebuggerData, processors: u32) -> Result<(), KdError> {
        let (modules, is_ntlet) = (self.client.modules()?, self.is_ntlet(data));
        let mut lines = Vec::new();
        for processor in 0..processors.min(MOST_PROCESSORS) {
            let context = self.client.context_of(processor as u16)?;
            lines.push(format!("processor {processor} at {}", self.place(&modules, is_ntlet, context.rip, false)));
            let frames = self.frames(&context, &modules, STACK_OF_A_HANG);
            let named = frames.iter().take(FRAMES_OF_A_HANG).map(|frame| self.place(&modules, is_ntlet, *frame, true));
            lines.extend(named.enumerate().map(|(number, place)| format!("  #{number} {place}")));
        }
        lines.iter().for_each(|line| self.note(line));
        *lock(&self.looked) = Some(lines);
        Ok(())
    }

    fn is_ntlet(&mut self, data: &DebuggerData) -> bool {
        self.client.read_virtual(data.get(field::BUILD_LAB), NTLET.len()).is_ok_and(|lab| lab == NTLET.as_bytes())
    }

    /// Return addresses on the stack, as far as it can be read.
    fn frames(&mut self, context: &Context, modules: &[TargetModule], most: usize) -> Vec<u64> {
        let mut stack = Vec::new();
        while stack.len() < most {
            let at = context.general[RSP].wrapping_add(stack.len() as u64);
            let length = PIECE - at as usize % PIECE;
            match self.client.read_virtual(at, length) {
                Ok(piece) => stack.extend(piece),
                Err(_) => break,
            }
        }
        let is_code = |address: u64| modules.iter().any(|module| address.wrapping_sub(module.base) < module.size);
        let read = |address: u64, buffer: &mut [u8]| match self.client.read_virtual(address, buffer.len()) {
            Ok(bytes) if bytes.len() == buffer.len() => {
                buffer.copy_from_slice(&bytes);
                true
            }
            _ => false,
        };
        return_addresses(&stack, is_code, read).take(MOST_FRAMES).collect()
    }

    /// An address by name. ntlet's own symbols go by its addresses.
    fn place(&self, modules: &[TargetModule], is_ntlet: bool, address: u64, is_return: bool) -> Place {
        let found = modules.iter().find(|module| address.wrapping_sub(module.base) < module.size);
        let (module, offset) = match found {
            Some(module) if is_ntlet && module.name.eq_ignore_ascii_case(KERNEL) => (NTLET, address),
            Some(module) => (&*module.name, address - module.base),
            None => return Place { module: String::new(), offset: address, function: None },
        };
        if is_return { self.symbols.caller(module, offset) } else { self.symbols.place(module, offset) }
    }
}

fn of_target(module: TargetModule) -> Module {
    let TargetModule { name, base, size, time_stamp } = module;
    Module { name, base, size, time_stamp }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use kd::packet::{Header, INITIAL_ID, SYNC, TRAILING, kind};
    use kd::wire::{DebugIo, PRINT_STRING, StateChange};
    use kd::zerocopy::{FromZeros as _, IntoBytes as _};
    use proptest::prelude::*;

    use super::*;

    /// The target's end of the line, what comes out as the guest's log, and the host's own log.
    struct Bench {
        target: UnixStream,
        text: UnixStream,
        host: Host,
        folder: tempfile::TempDir,
    }

    fn bench() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let (line, target) = UnixStream::pair().unwrap();
        let (writer, text) = UnixStream::pair().unwrap();
        let log = File::create(folder.path().join(KD_LOG)).unwrap();
        Bench { target, text, host: Host::attach(line, writer, log, Symbols::default(), AtEnd::GoOn).unwrap(), folder }
    }

    impl Bench {
        /// Ends the line; what was logged as the guest's words, and by the host.
        fn end(mut self) -> (String, String) {
            self.target.shutdown(Shutdown::Write).unwrap();
            let mut text = Vec::new();
            self.text.read_to_end(&mut text).unwrap();
            drop(self.host);
            let log = std::fs::read_to_string(self.folder.path().join(KD_LOG)).unwrap();
            (String::from_utf8_lossy(&text).into_owned(), log)
        }
    }

    fn packet(kind: u16, id: u32, parts: &[&[u8]]) -> Vec<u8> {
        [Header::data(kind, id, parts).as_bytes(), &parts.concat(), &[TRAILING]].concat()
    }

    fn print(id: u32, text: &str) -> Vec<u8> {
        let head = DebugIo { api: PRINT_STRING, level: 0, processor: 0, length: text.len() as u32, room: 0 };
        packet(kind::DEBUG_IO, id, &[head.as_bytes(), text.as_bytes()])
    }

    #[test]
    fn what_a_guest_says_reaches_its_log_whether_it_speaks_kd_or_not() {
        let mut bench = bench();
        bench.target.write_all(b"[0.000000 cpu0] before\n").unwrap();
        bench.target.write_all(&print(INITIAL_ID | SYNC, "in a packet\n")).unwrap();
        bench.target.write_all(b"behind it\n").unwrap();
        let (text, log) = bench.end();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["[0.000000 cpu0] before", "behind it", "in a packet"]);
        assert_eq!(log, "");
    }

    #[test]
    fn a_target_that_goes_away_in_the_middle_of_a_stop_costs_no_time() {
        let mut bench = bench();
        let mut change = StateChange::new_zeroed();
        (change.state, change.rip) = (kd::wire::STATE_EXCEPTION, 0x1234);
        let exception =
            Exception { record: kd::wire::ExceptionRecord::new(STATUS_BREAKPOINT, 0x1234), first_chance: 1, padding: 0 };
        change.detail.copy_from_slice(exception.as_bytes());
        bench.target.write_all(&packet(kind::STATE_CHANGE, INITIAL_ID | SYNC, &[change.as_bytes()])).unwrap();
        let began = Instant::now();
        assert!(bench.host.take_bug_check().is_none());
        let (_, log) = bench.end();
        assert!(log.starts_with("exception 0x80000003 at 0x1234 on processor 0, first chance\n"), "{log}");
        assert!(log.contains("cannot be let go on"), "{log}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn whatever_comes_the_host_ends_with_its_line(noise in proptest::collection::vec(any::<u8>(), 0..4000)) {
            let mut bench = bench();
            bench.target.write_all(&noise).unwrap();
            let began = Instant::now();
            bench.end();
            prop_assert!(began.elapsed() < Duration::from_secs(5));
        }
    }
}
