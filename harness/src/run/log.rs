//! The guest's log: what arrives on COM1, kept in a file, watched line by line. It is text for people: what a guest, or the firmware before it,
//! says to a terminal (colours, places on a screen) is left out.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use crate::console::printable;

/// Lines kept in memory for messages about hangs and deaths.
const TAIL: usize = 40;
/// Longest line; what is longer is cut into several.
const LONGEST_LINE: usize = 1000;
/// How ntlet ends the line that says that a device has started.
const DEVICE_STARTED: &str = ": started";
/// Most bytes of one guest's log; a guest that writes for ever fills no disk.
const LIMIT: u64 = 64 << 20;

/// The log of one boot.
#[derive(Debug)]
pub struct GuestLog {
    line: UnixStream,
    file: File,
    written: u64,
    open: bool,
    terminal: Terminal,
    partial: Vec<u8>,
    tail: VecDeque<String>,
    first_output: Option<Instant>,
    device_started: Option<Instant>,
}

impl GuestLog {
    /// Reads `line` and appends to `file`, which is empty.
    ///
    /// # Errors
    /// The system's.
    pub fn new(line: UnixStream, file: File) -> io::Result<Self> {
        line.set_nonblocking(true)?;
        let (terminal, partial, tail) = (Terminal::Text, Vec::new(), VecDeque::new());
        Ok(Self { line, file, written: 0, open: true, terminal, partial, tail, first_output: None, device_started: None })
    }

    /// Takes what has arrived, at most 1 MiB at a time, so that a guest that never stops writing does not hold us here.
    pub fn drain(&mut self) {
        // A line that was handed over is somebody else's to read.
        if !self.open {
            return;
        }
        let mut block = [0; 4096];
        for _ in 0..256 {
            match self.line.read(&mut block) {
                Ok(0) => self.open = false,
                Ok(length) => self.take(&block[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.open = false,
            }
            if !self.open {
                return;
            }
        }
    }

    /// Adds lines that came another way. Nothing is added while a line of the guest's is unfinished: it is ended first.
    pub fn add(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        if !self.partial.is_empty() {
            self.take(b"\n");
        }
        self.take(lines);
    }

    /// Hands the line over to somebody else; this log is at its end.
    ///
    /// # Errors
    /// The system's.
    pub fn hand_over(&mut self) -> io::Result<UnixStream> {
        self.open = false;
        self.line.try_clone()
    }

    /// Whether the guest's end is still open.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// When the first byte came.
    #[must_use]
    pub const fn first_output(&self) -> Option<Instant> {
        self.first_output
    }

    /// When ntlet last said that a device has started.
    #[must_use]
    pub const fn device_started(&self) -> Option<Instant> {
        self.device_started
    }

    /// Length of the file.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// The last lines, safe to print.
    #[must_use]
    pub fn tail(&self) -> Vec<String> {
        let partial = (!self.partial.is_empty()).then(|| printable(&String::from_utf8_lossy(&self.partial)));
        self.tail.iter().cloned().chain(partial).collect()
    }

    fn take(&mut self, bytes: &[u8]) {
        self.first_output.get_or_insert_with(Instant::now);
        let text: Vec<u8> = bytes.iter().copied().filter(|byte| self.terminal.is_text(*byte)).collect();
        let bytes = text.as_slice();
        if self.written < LIMIT {
            // A full disk costs the rest of the log, not the run.
            if self.file.write_all(bytes).is_ok() {
                self.written += bytes.len() as u64;
            }
            if self.written >= LIMIT {
                let _ = self.file.write_all(b"\n[rig] the log is cut here: the guest wrote too much\n");
            }
        }
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                b'\r' => {}
                byte => self.partial.push(*byte),
            }
            if self.partial.len() >= LONGEST_LINE {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = printable(&String::from_utf8_lossy(&self.partial));
        self.partial.clear();
        if line.ends_with(DEVICE_STARTED) {
            self.device_started = Some(Instant::now());
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }
}

/// Finds what is meant for a terminal (ECMA-48): an escape and a letter, or a control sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Terminal {
    Text,
    Escape,
    Sequence,
}

impl Terminal {
    /// Whether a byte is text.
    fn is_text(&mut self, byte: u8) -> bool {
        const ESCAPE: u8 = 0x1b;
        let (next, is_text) = match (*self, byte) {
            (_, ESCAPE) => (Self::Escape, false),
            (Self::Escape, b'[') => (Self::Sequence, false),
            (Self::Sequence, b' '..=b'?') => (Self::Sequence, false),
            (Self::Escape | Self::Sequence, b' '..=b'~') => (Self::Text, false),
            // Nothing that a sequence is made of ends it, too: a lost byte costs no line.
            (_, byte) => (Self::Text, !byte.is_ascii_control() || b"\t\n\r".contains(&byte)),
        };
        *self = next;
        is_text
    }
}

impl AsFd for GuestLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (UnixStream, GuestLog, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let (guest, line) = UnixStream::pair().unwrap();
        let file = File::create(folder.path().join("guest.log")).unwrap();
        (guest, GuestLog::new(line, file).unwrap(), folder)
    }

    #[test]
    fn the_time_of_a_devices_start_is_that_of_its_line() {
        let (mut guest, mut log, _folder) = log();
        writeln!(guest, "[0.100000 cpu0] PCI\\X: starts").unwrap();
        log.drain();
        assert_eq!(log.device_started(), None);
        writeln!(guest, "[0.200000 cpu0] PCI\\X: started\r").unwrap();
        log.drain();
        assert!(log.device_started().is_some_and(|time| time >= log.first_output().unwrap()));
    }

    #[test]
    fn lines_reach_the_file_and_the_tail_and_the_tail_stays_short() {
        let (mut guest, mut log, folder) = log();
        for number in 0..100 {
            writeln!(guest, "[0.{number:06} cpu0] line\r").unwrap();
            log.drain();
        }
        guest.write_all(b"unfinished").unwrap();
        log.drain();
        assert_eq!(log.tail().len(), TAIL + 1);
        assert_eq!(log.tail().last().unwrap(), "unfinished");
        assert_eq!(std::fs::metadata(folder.path().join("guest.log")).unwrap().len(), log.written());
    }

    #[test]
    fn what_firmware_says_to_a_terminal_is_no_part_of_the_log() {
        let (mut guest, mut log, folder) = log();
        for piece in [&b"\x1b[2J\x1b[01;0"[..], b"1H\x1b[=3h\x1bcBds\x07Dxe: \x1b[0m", b"start\xc3\xa9\r\n\x1b[31\nnext\x00\x1b"]
        {
            guest.write_all(piece).unwrap();
            log.drain();
        }
        assert_eq!(std::fs::read_to_string(folder.path().join("guest.log")).unwrap(), "BdsDxe: start\u{e9}\r\n\nnext");
        assert_eq!(log.tail(), ["BdsDxe: start\u{e9}", "", "next"]);
    }

    #[test]
    fn a_line_that_was_handed_over_is_read_by_its_new_owner_only() {
        let (mut guest, mut log, _folder) = log();
        let mut line = log.hand_over().unwrap();
        line.set_nonblocking(false).unwrap();
        log.drain();
        guest.write_all(b"for the debugger").unwrap();
        log.drain();
        let mut said = [0; 16];
        line.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"for the debugger");
        assert_eq!(log.written(), 0);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let (mut guest, mut log, _folder) = log();
        guest.write_all(&[b'x'; 3 * LONGEST_LINE]).unwrap();
        log.drain();
        assert_eq!(log.tail().len(), 3);
        assert!(log.is_open());
        drop(guest);
        log.drain();
        assert!(!log.is_open());
    }
}
