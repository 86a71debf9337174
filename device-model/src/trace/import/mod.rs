//! Traces of logs that other programs keep of real devices: QEMU's `vfio_*` trace events, and the Linux kernel's mmiotrace.
//!
//! Both know registers; neither knows what the device does to memory, so a trace of theirs is of level `bus` without DMA. A line that is
//! not understood is counted and told, never dropped in silence.

mod qemu;

use std::collections::HashMap;
use std::io::{self, BufRead, Write};

use super::header::{BarShape, Decoding, Header};
use super::{What, Writer};

/// Longest line that is read; a longer one is none of these programs'.
const LONGEST_LINE: u64 = 64 << 10;
/// Most devices of mmiotrace's list that are remembered.
const MOST_LISTED: usize = 4096;

/// Whose log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// QEMU, started with `-trace 'vfio_*'` and `-msg timestamp=on` or a log backend that writes times.
    QemuVfio,
    /// Linux mmiotrace, as read from `trace_pipe` (Documentation/trace/mmiotrace.rst).
    Mmiotrace,
}

/// What a log says of the device.
#[derive(Debug)]
pub struct Survey {
    /// The header of a trace of it.
    pub header: Header,
}

/// Sums of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Lines of the log.
    pub lines: u64,
    /// Events in the trace.
    pub events: u64,
    /// Lines that are not understood.
    pub unread: u64,
    /// Lines that tell of other devices.
    pub others: u64,
}

/// What one line says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Line {
    Access {
        time: Option<u64>,
        bar: u8,
        offset: u64,
        size: usize,
        value: u64,
        write: bool,
    },
    Config {
        time: Option<u64>,
        offset: u64,
        size: usize,
        value: u64,
        write: bool,
    },
    Interrupt {
        time: Option<u64>,
        vector: u16,
    },
    Pin {
        time: Option<u64>,
        level: bool,
    },
    Reset {
        time: Option<u64>,
    },
    /// An interrupt vector is in use.
    Used {
        vector: u16,
    },
    /// It tells of another device.
    Other,
    /// How large a BAR is.
    Bar {
        bar: usize,
        size: u64,
    },
    /// Where the vector table is, and for how many vectors.
    Vectors {
        bar: usize,
        vectors: u16,
    },
    /// Understood, and of no concern here.
    Idle,
}

/// Read a log for what it says of the device: ids, and how large its BARs must be. A log of QEMU may name several devices: `device` is the one
/// that counts, else the first one.
///
/// # Errors
/// The input's.
pub fn survey(input: impl BufRead, dialect: Dialect, device: Option<&str>) -> io::Result<Survey> {
    let mut header = Header { device: "imported".into(), pin: true, ..Header::default() };
    let (mut vectors, mut table) = (0, None);
    let (mut needed, mut told) = ([0_u64; 6], [0_u64; 6]);
    // The part of configuration space that every device has, as it was read first.
    let mut config: [Option<u8>; 64] = [None; 64];
    let mut parser = Parser::new(dialect, device);
    for_each_line(input, |_, line| {
        match parser.parse(line) {
            Some(Line::Access { bar, offset, size, .. }) => {
                if let Some(needed) = needed.get_mut(usize::from(bar)) {
                    *needed = (*needed).max((offset + size as u64).next_power_of_two().max(0x1000));
                }
            }
            Some(Line::Interrupt { vector, .. } | Line::Used { vector }) => vectors = vectors.max(vector + 1),
            Some(Line::Bar { bar, size }) => told[bar] = size,
            Some(Line::Vectors { bar, vectors: entries }) => {
                vectors = vectors.max(entries);
                table = Some(bar);
            }
            Some(Line::Config { offset, size, value, write: false, .. }) => {
                let room = config.iter_mut().skip(offset as usize).take(size);
                room.zip(value.to_le_bytes()).for_each(|(room, byte)| *room = room.or(Some(byte)));
            }
            _ => {}
        }
        Ok(())
    })?;
    let byte = |at: usize| config[at].unwrap_or(0);
    let word = |at: usize| u16::from_le_bytes([byte(at), byte(at + 1)]);
    header.ids = [word(0), word(2), word(0x2c), word(0x2e)];
    (header.revision, header.class) = (byte(8), u32::from(byte(9)) | u32::from(word(10)) << 8);
    if let Some(ids) = parser.ids {
        (header.ids[0], header.ids[1]) = ids;
    }
    // A BAR with nothing but the vector table is the PCI function's own.
    let table = table.filter(|bar| needed[*bar] == 0);
    for bar in (0..6).filter(|bar| Some(*bar) != table) {
        let size = told[bar].max(needed[bar]).min(1 << 31);
        if size > 0 {
            let low = byte(0x10 + 4 * bar);
            let kind = match (low & 1, low & 6) {
                (1, _) => Decoding::Ports,
                (_, 4) => Decoding::Memory64,
                _ => Decoding::Memory32,
            };
            let size = size.next_power_of_two();
            header.bars[bar] = Some(BarShape { kind, size, prefetchable: low & 9 == 8 });
        }
    }
    if vectors > 0 {
        let upper = |bar: usize| bar > 0 && header.bars[bar - 1].is_some_and(|below| below.kind == Decoding::Memory64);
        let free = table.or_else(|| (0..6).find(|bar| header.bars[*bar].is_none() && !upper(*bar)));
        header.msix = free.map(|bar| (bar, vectors.min(2048)));
    }
    Ok(Survey { header })
}

/// Write the events of a log. `unread` hears of each line that is not understood, with its number.
///
/// # Errors
/// The input's or the output's.
pub fn import<W: Write>(
    input: impl BufRead,
    dialect: Dialect,
    device: Option<&str>,
    writer: &mut Writer<W>,
    mut unread: impl FnMut(u64, &str),
) -> io::Result<Imported> {
    let mut sums = Imported::default();
    let mut parser = Parser::new(dialect, device);
    let (mut start, mut last) = (None, 0);
    for_each_line(input, |number, line| {
        sums.lines = number;
        let Some(parsed) = parser.parse(line) else {
            sums.unread += 1;
            unread(number, line);
            return Ok(());
        };
        let (time, own) = match parsed {
            Line::Other => {
                sums.others += 1;
                return Ok(());
            }
            Line::Idle | Line::Used { .. } | Line::Bar { .. } | Line::Vectors { .. } => return Ok(()),
            Line::Interrupt { time, .. } | Line::Pin { time, .. } => (time, true),
            Line::Access { time, .. } | Line::Config { time, .. } | Line::Reset { time } => (time, false),
        };
        // A log without times has its order.
        let time = time.map_or(last + 1, |time| time.saturating_sub(*start.get_or_insert(time)));
        last = time.max(last);
        let bytes = match parsed {
            Line::Access { value, .. } | Line::Config { value, .. } => value.to_le_bytes(),
            _ => [0; 8],
        };
        let what = match parsed {
            Line::Access { bar, offset, size, write: false, .. } => What::Read { bar, offset, data: &bytes[..size] },
            Line::Access { bar, offset, size, .. } => What::Write { bar, offset, data: &bytes[..size] },
            Line::Config { offset, size, write: false, .. } => What::ConfigRead { offset, data: &bytes[..size] },
            Line::Config { offset, size, .. } => What::ConfigWrite { offset, data: &bytes[..size] },
            Line::Interrupt { vector, .. } => What::Interrupt { vector },
            Line::Pin { level, .. } => What::Pin { level },
            _ => What::Reset,
        };
        sums.events += 1;
        writer.append(last, own, &what)
    })?;
    Ok(sums)
}

/// Call `each` with the number and the text of every line that is not empty.
fn for_each_line(mut input: impl BufRead, mut each: impl FnMut(u64, &str) -> io::Result<()>) -> io::Result<()> {
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let mut limited = io::Read::take(&mut input, LONGEST_LINE);
        if limited.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&bytes);
        let line = text.trim();
        if !line.is_empty() {
            each(number, line)?;
        }
    }
    Ok(())
}

/// A device in mmiotrace's list.
struct Listed {
    ids: (u16, u16),
    /// Where each BAR lies, and how long it is.
    bars: [(u64, u64); 6],
}

struct Parser {
    dialect: Dialect,
    /// Ranges that mmiotrace says are mapped: physical address, length, map id; and where each BAR of the device lies.
    maps: HashMap<u64, (u64, u64)>,
    bars: Vec<(u64, u64)>,
    ids: Option<(u16, u16)>,
    /// The PCI devices that mmiotrace lists.
    listed: Vec<Listed>,
    /// The device of a QEMU log: the one that was asked for, or the first that it names. Another's lines are not of this trace.
    device: Option<String>,
    /// Nanoseconds up to the last line of a log whose lines say how long after the one before they are.
    elapsed: u64,
}

impl Parser {
    fn new(dialect: Dialect, device: Option<&str>) -> Self {
        let device = device.map(str::to_owned);
        Self { dialect, maps: HashMap::new(), bars: Vec::new(), ids: None, listed: Vec::new(), device, elapsed: 0 }
    }

    /// What a line says; `None` if it is not understood.
    fn parse(&mut self, line: &str) -> Option<Line> {
        match self.dialect {
            Dialect::QemuVfio => self.qemu(line),
            Dialect::Mmiotrace => self.mmiotrace(line),
        }
    }

    /// `R WIDTH TIME MAP PHYS VALUE PC PID`, `W ...`, `MAP TIME MAP PHYS VIRT LEN PC PID`, `UNMAP ...`, `PCIDEV BUS IDS IRQ BARS...`.
    fn mmiotrace(&mut self, line: &str) -> Option<Line> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.first()? {
            kind @ ("R" | "W") => {
                let size = access_size(number(words.get(1)?)?)?;
                let time = seconds(words.get(2)?);
                let (map, address, value) = (number(words.get(3)?)?, number(words.get(4)?)?, number(words.get(5)?)?);
                let (bar, offset) = self.place(map, address)?;
                Some(Line::Access { time, bar, offset, size, value, write: kind == "W" })
            }
            "MAP" => {
                let (base, length) = (number(words.get(3)?)?, number(words.get(5)?)?);
                self.maps.insert(number(words.get(2)?)?, (base, length));
                // The log lists every PCI device; the one that is mapped first is the one that is watched.
                if self.ids.is_none()
                    && let Some(found) = self.listed.iter().find(|device| bar_of(&device.bars, base).is_some())
                {
                    (self.ids, self.bars) = (Some(found.ids), found.bars.to_vec());
                }
                Some(Line::Idle)
            }
            "UNMAP" => {
                self.maps.remove(&number(words.get(2)?)?);
                Some(Line::Idle)
            }
            "PCIDEV" => {
                // bus+devfn, vendor+device, irq, seven addresses whose low bits are flags, seven lengths, driver.
                let ids = u64::from_str_radix(words.get(2)?, 16).ok()?;
                let hex = |at: usize| u64::from_str_radix(words.get(at)?.trim_start_matches("0x"), 16).ok();
                let mut bars = [(0, 0); 6];
                for (at, bar) in bars.iter_mut().enumerate() {
                    *bar = (hex(4 + at)? & !0xf, hex(11 + at)?);
                }
                if self.listed.len() < MOST_LISTED {
                    self.listed.push(Listed { ids: ((ids >> 16) as u16, ids as u16), bars });
                }
                Some(Line::Idle)
            }
            // Accesses are missing here: the kernel could not keep up.
            "MARK" if words.get(2) == Some(&"Lost") => None,
            // So is one after UNKNOWN, an access by an instruction that the kernel does not know.
            "VERSION" | "LSPCI" | "MARK" | "#" => Some(Line::Idle),
            _ => None,
        }
    }

    /// BAR and offset of a physical address: of the device's BARs if the log names them, else each mapping counts as a BAR.
    fn place(&self, map: u64, address: u64) -> Option<(u8, u64)> {
        if !self.bars.is_empty() {
            let bar = bar_of(&self.bars, address)?;
            return Some((bar as u8, address - self.bars[bar].0));
        }
        let &(base, length) = self.maps.get(&map)?;
        let offset = address.checked_sub(base).filter(|offset| *offset < length)?;
        Some(((map.saturating_sub(1) % 6) as u8, offset))
    }
}

/// The BAR that an address lies in.
fn bar_of(bars: &[(u64, u64)], address: u64) -> Option<usize> {
    bars.iter().position(|&(base, length)| length > 0 && address >= base && address - base < length)
}

fn access_size(size: u64) -> Option<usize> {
    matches!(size, 1 | 2 | 4 | 8).then_some(size as usize)
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    text.strip_prefix("0x").map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16)).ok()
}

/// Seconds with a fraction, as nanoseconds.
fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.')?;
    let digits: String = fraction.chars().take(9).collect();
    let nanoseconds: u64 = digits.parse().ok()?;
    let scale = 10_u64.checked_pow(9_u32.checked_sub(digits.len() as u32)?)?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanoseconds * scale)
}

#[cfg(test)]
mod tests;
