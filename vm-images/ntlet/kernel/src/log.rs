//! The guest's log on COM1: one event a line, `[seconds.micros cpuN] text`, from any IRQL, whole lines even with several processors.

use core::fmt::{self, Write};

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
        if let Some(hal) = try_hal().filter(|_| !crate::kd::print(line)) {
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
    write_to(LINES.lock(), text);
}

/// As [`write()`], for the report of a bug check: does not wait for a processor that stands still in the middle of a line.
pub fn write_by_force(text: fmt::Arguments<'_>) {
    write_to(LINES.lock_by_force(), text);
}

fn write_to(mut line: InterruptGuard<'_, Line>, text: fmt::Arguments<'_>) {
    let Some(hal) = try_hal() else { return };
    let stamp = (hal.uptime() / 10, hal.current_processor());
    let mut cutter = Cutter { line: &mut line, stamp, start: 0 };
    let _ = cutter.write_fmt(text);
    if cutter.start != 0 {
        cutter.send();
    }
}
