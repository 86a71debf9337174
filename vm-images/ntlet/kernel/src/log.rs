//! The guest's log on COM1: one event a line, `[seconds.micros cpuN] text`, from any IRQL, whole lines even with several processors.
//!
//! A byte on COM1 costs microseconds. Lines that nobody waits for go into memory instead when `late-log=memory` on the command line says
//! that somebody fetches them there at the end: `ntlet_late_log` says where they are.

use core::fmt::{self, Write};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::hal::{Hal, PAGE_SIZE};
use crate::lock::{InterruptGuard, InterruptLock};
use crate::try_hal;

/// Writes one event to the guest's log; arguments as for `format!`.
#[macro_export]
macro_rules! log {
    ($($argument:tt)*) => { $crate::log::write(core::format_args!($($argument)*)) };
}

/// Longest text of one line; what is longer goes on in the next.
const LINE: usize = 480;

/// Room for the time and the processor before it.
const PREFIX: usize = 48;

/// A line that is being put together.
struct Line {
    bytes: [u8; PREFIX + LINE + 1],
    length: usize,
}

/// Room for lines in memory, in pages; what does not fit goes to COM1.
const LATE_PAGES: usize = 256;

/// Where lines are that are fetched at the end. Whoever has the guest's memory finds it by its symbol; the layout is
/// `harness/src/run/late.rs`'s, too.
#[repr(C)]
pub(crate) struct Late {
    /// `b"lateLOG1"`; zero until the rest is set.
    signature: AtomicU64,
    /// Physical address of the lines, and how many bytes there are at most.
    physical: AtomicU64,
    room: AtomicU64,
    /// Bytes so far.
    written: AtomicU64,
    /// The lines, for us.
    bytes: AtomicPtr<u8>,
}

#[used]
#[allow(non_upper_case_globals, reason = "a symbol that the harness looks for by this name")]
#[unsafe(no_mangle)]
pub(crate) static ntlet_late_log: Late = Late {
    signature: AtomicU64::new(0),
    physical: AtomicU64::new(0),
    room: AtomicU64::new(0),
    written: AtomicU64::new(0),
    bytes: AtomicPtr::new(core::ptr::null_mut()),
};

impl Late {
    /// Takes a line, if there is room. The caller holds the lock of the lines.
    fn take(&self, line: &[u8]) -> bool {
        let Some(bytes) = NonNull::new(self.bytes.load(Ordering::Acquire)) else { return false };
        let (room, written) = (self.room.load(Ordering::Relaxed), self.written.load(Ordering::Relaxed));
        if line.len() as u64 > room - written {
            return false;
        }
        // SAFETY: the pages were allocated for good, `written` bytes of them are taken, and the line fits behind those.
        unsafe { bytes.add(written as usize).copy_from_nonoverlapping(NonNull::from(line).cast(), line.len()) };
        self.written.store(written + line.len() as u64, Ordering::Release);
        true
    }
}

/// Makes room for lines in memory. Without memory they go to COM1. Called once.
pub(crate) fn keep_in_memory(hal: &dyn Hal) {
    let Some(bytes) = hal.allocate_contiguous(LATE_PAGES, u64::MAX) else { return };
    let Some(physical) = hal.physical_address(bytes.as_ptr().cast()) else { return };
    ntlet_late_log.physical.store(physical, Ordering::Relaxed);
    ntlet_late_log.room.store((LATE_PAGES * PAGE_SIZE) as u64, Ordering::Relaxed);
    ntlet_late_log.bytes.store(bytes.as_ptr(), Ordering::Release);
    ntlet_late_log.signature.store(u64::from_le_bytes(*b"lateLOG1"), Ordering::Release);
}

static LINES: InterruptLock<Line> = InterruptLock::new(Line::new());

impl Line {
    const fn new() -> Self {
        Self { bytes: [0; PREFIX + LINE + 1], length: 0 }
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.length) {
            *slot = byte;
            self.length += 1;
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.push(byte));
        Ok(())
    }
}

/// Cuts text into lines and sends each as it is complete.
struct Cutter<'a> {
    line: &'a mut Line,
    stamp: (u64, u32),
    /// Where the text of the current line starts; 0 when no line was begun.
    start: usize,
    /// Nobody waits for it.
    is_late: bool,
}

impl Cutter<'_> {
    fn begin(&mut self) {
        let (micros, processor) = self.stamp;
        self.line.length = 0;
        // Writing to a line cannot fail; what is too long is cut.
        let _ = write!(self.line, "[{}.{:06} cpu{processor}] ", micros / 1_000_000, micros % 1_000_000);
        self.start = self.line.length;
    }

    fn send(&mut self) {
        if self.start == 0 {
            self.begin();
        }
        self.line.push(b'\n');
        let line = &self.line.bytes[..self.line.length];
        // A debugger acknowledges every line: what nobody waits for does not wait for it, either.
        if let Some(hal) = try_hal()
            && !(self.is_late && ntlet_late_log.take(line))
            && !crate::kd::print(line)
        {
            hal.log(line);
        }
        self.start = 0;
    }

    fn take(&mut self, byte: u8) {
        if byte == b'\n' {
            return self.send();
        }
        if self.start != 0 && self.line.length - self.start >= LINE {
            self.send();
        }
        if self.start == 0 {
            self.begin();
        }
        // The log is text in a terminal: control characters of a guest program must not steer it.
        self.line.push(if byte < 0x20 && byte != b'\t' || byte == 0x7f { b'?' } else { byte });
    }
}

impl Write for Cutter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.take(byte));
        Ok(())
    }
}

/// Writes text as one or more lines; a line feed at its end adds no empty line.
pub fn write(text: fmt::Arguments<'_>) {
    write_to(LINES.lock(), text, false);
}

/// As [`write()`], for text that nobody waits for.
pub(crate) fn write_late(text: fmt::Arguments<'_>) {
    write_to(LINES.lock(), text, true);
}

/// As [`write()`], for the report of a bug check: does not wait for a processor that stands still in the middle of a line.
pub fn write_by_force(text: fmt::Arguments<'_>) {
    write_to(LINES.lock_by_force(), text, false);
}

fn write_to(mut line: InterruptGuard<'_, Line>, text: fmt::Arguments<'_>, is_late: bool) {
    let Some(hal) = try_hal() else { return };
    let stamp = (hal.uptime() / 10, hal.current_processor());
    let mut cutter = Cutter { line: &mut line, stamp, start: 0, is_late };
    let _ = cutter.write_fmt(text);
    if cutter.start != 0 {
        cutter.send();
    }
}
