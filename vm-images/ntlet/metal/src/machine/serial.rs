//! The two serial ports, written by polling: COM1 for the log, COM2 for the guest channel during a bug check.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use super::cpu::{port_read, port_write};

/// A 16550 at its first port.
#[derive(Clone, Copy)]
pub(crate) struct Serial(u16);

/// The log.
pub(crate) const COM1: Serial = Serial(0x3f8);
/// The guest channel.
pub(crate) const COM2: Serial = Serial(0x2f8);

const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const LINE_STATUS: u16 = 5;

const TRANSMITTER_EMPTY: u32 = 1 << 5;
/// What a port reads as where there is no device.
const NOBODY: u32 = 0xff;
/// Bytes that fit when the transmitter says that it is empty.
const FIFO_SIZE: usize = 16;
/// Polls after which a port that does not take its bytes is given up for this write. Each takes about a microsecond.
const PATIENCE: u32 = 200_000;

impl Serial {
    /// 115200 baud, 8 bits, no parity, FIFO on, no interrupts.
    pub(crate) fn start(self) {
        for (register, value) in [
            (INTERRUPT_ENABLE, 0),
            (LINE_CONTROL, 0x80),
            (DATA, 1),
            (INTERRUPT_ENABLE, 0),
            (LINE_CONTROL, 3),
            (FIFO_CONTROL, 0xc7),
        ] {
            port_write(self.0 + register, 1, value);
        }
    }

    /// Writes bytes, waiting for room. What a stuck port does not take in time is lost: nobody is left to tell.
    pub(crate) fn write(self, bytes: &[u8]) {
        for piece in bytes.chunks(FIFO_SIZE) {
            if !self.wait_until_empty() {
                return;
            }
            piece.iter().for_each(|byte| port_write(self.0 + DATA, 1, u32::from(*byte)));
        }
    }

    fn wait_until_empty(self) -> bool {
        for _ in 0..PATIENCE {
            match port_read(self.0 + LINE_STATUS, 1) {
                NOBODY => return false,
                status if status & TRANSMITTER_EMPTY != 0 => return true,
                _ => core::hint::spin_loop(),
            }
        }
        false
    }
}

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text.as_bytes());
        Ok(())
    }
}

/// Keeps lines of two processors apart.
static WRITING: AtomicBool = AtomicBool::new(false);

/// COM1 belongs to a debugger.
static IS_DEBUGGERS: AtomicBool = AtomicBool::new(false);

/// From now on nothing but the debugger's packets may be on COM1.
pub(crate) fn leave_to_debugger() {
    IS_DEBUGGERS.store(true, Ordering::Relaxed);
}

/// Writes one line to the log, in the log's format, without the executive's help. Nothing, when the line is a debugger's.
pub(crate) fn log(text: fmt::Arguments<'_>) {
    use fmt::Write;
    if IS_DEBUGGERS.load(Ordering::Relaxed) {
        return;
    }
    let micros = super::time::uptime() / 10;
    let processor = super::processor::try_current().map_or(0, |processor| processor.index);
    // Whoever writes may have stopped for good in the middle of its line: then a spoilt line is better than none.
    (0..PATIENCE).take_while(|_| WRITING.swap(true, Ordering::Acquire)).for_each(|_| core::hint::spin_loop());
    // Writing to a port cannot fail.
    let _ = writeln!({ COM1 }, "[{}.{:06} cpu{processor}] {text}", micros / 1_000_000, micros % 1_000_000);
    WRITING.store(false, Ordering::Release);
}
