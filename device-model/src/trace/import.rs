//! Traces of logs that other programs keep of real devices: QEMU's `vfio_*` trace events, and the Linux kernel's mmiotrace.
//!
//! Both know registers; neither knows what the device does to memory, so a trace of theirs is of level `bus` without DMA. A line that is
//! not understood is counted and told, never dropped in silence.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};

use super::header::{BarShape, Decoding, Header};
use super::{What, Writer};

/// Longest line that is read; a longer one is none of these programs'.
const LONGEST_LINE: u64 = 64 << 10;

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

/// Read a log for what it says of the device: ids, and how large its BARs must be.
///
/// # Errors
/// The input's.
pub fn survey(input: impl BufRead, dialect: Dialect) -> io::Result<Survey> {
    let mut header = Header { device: "imported".into(), pin: true, ..Header::default() };
    let (mut vectors, mut table) = (0, None);
    let (mut needed, mut told) = ([0_u64; 6], [0_u64; 6]);
    // The part of configuration space that every device has, as it was read first.
    let mut config: [Option<u8>; 64] = [None; 64];
    let mut parser = Parser::new(dialect);
    for_each_line(input, |_, line| {
        match parser.parse(line) {
            Some(Line::Access { bar, offset, size, .. }) => {
                if let Some(needed) = needed.get_mut(usize::from(bar)) {
                    *needed = (*needed).max((offset + size as u64).next_power_of_two().max(0x1000));
                }
            }
            Some(Line::Interrupt { vector, .. }) => vectors = vectors.max(vector + 1),
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
    writer: &mut Writer<W>,
    mut unread: impl FnMut(u64, &str),
) -> io::Result<Imported> {
    let mut sums = Imported::default();
    let mut parser = Parser::new(dialect);
    let (mut start, mut last) = (None, 0);
    for_each_line(input, |number, line| {
        sums.lines = number;
        let Some(parsed) = parser.parse(line) else {
            sums.unread += 1;
            unread(number, line);
            return Ok(());
        };
        let (time, own) = match parsed {
            Line::Idle | Line::Bar { .. } | Line::Vectors { .. } => return Ok(()),
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
            Line::Reset { .. } | Line::Idle | Line::Bar { .. } | Line::Vectors { .. } => What::Reset,
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

struct Parser {
    dialect: Dialect,
    /// Ranges that mmiotrace says are mapped: physical address, length, map id; and where each BAR of the device lies.
    maps: HashMap<u64, (u64, u64)>,
    bars: Vec<(u64, u64)>,
    ids: Option<(u16, u16)>,
    /// The first device that a QEMU log names; another's lines are not of this trace.
    device: Option<String>,
}

impl Parser {
    fn new(dialect: Dialect) -> Self {
        Self { dialect, maps: HashMap::new(), bars: Vec::new(), ids: None, device: None }
    }

    /// What a line says; `None` if it is not understood.
    fn parse(&mut self, line: &str) -> Option<Line> {
        match self.dialect {
            Dialect::QemuVfio => self.qemu(line),
            Dialect::Mmiotrace => self.mmiotrace(line),
        }
    }

    /// `[pid@]seconds.micros:vfio_region_write  (0000:01:00.0:region2+0x14, 0x1, 4)` and its kin.
    fn qemu(&mut self, line: &str) -> Option<Line> {
        let at = line.find("vfio_")?;
        let time = qemu_time(&line[..at]);
        let (name, rest) = line[at..].split_once(char::is_whitespace).unwrap_or((&line[at..], ""));
        let rest = rest.trim();
        if !name.starts_with("vfio_region_")
            && !name.starts_with("vfio_pci_")
            && !name.starts_with("vfio_msi")
            && !name.starts_with("vfio_intx")
        {
            // Groups, containers, mappings: the device has no part in them.
            return Some(Line::Idle);
        }
        match name {
            "vfio_region_write" | "vfio_region_read" => {
                // write: (NAME:regionN+OFFSET, VALUE, SIZE); read: (NAME:regionN+OFFSET, SIZE) = VALUE
                let (inside, after) = rest.strip_prefix('(')?.split_once(')')?;
                let mut parts = inside.split(',').map(str::trim);
                let (device, place) = parts.next()?.rsplit_once(":region")?;
                let (bar, offset) = place.split_once('+')?;
                let (value, size) = if name == "vfio_region_write" {
                    (number(parts.next()?)?, number(parts.next()?)?)
                } else {
                    let size = number(parts.next()?)?;
                    (number(after.trim().strip_prefix('=')?)?, size)
                };
                if !self.is_ours(device) {
                    return Some(Line::Idle);
                }
                let (bar, offset) = (bar.parse().ok().filter(|bar| *bar < 6)?, number(offset)?);
                let size = access_size(size)?;
                (offset < 1 << 40).then_some(Line::Access { time, bar, offset, size, value, write: name.ends_with("write") })
            }
            "vfio_pci_read_config" | "vfio_pci_write_config" => {
                // read: (NAME, @OFFSET, len=SIZE) VALUE; write: (NAME, @OFFSET, VALUE, len=SIZE)
                let (inside, after) = rest.strip_prefix('(')?.split_once(')')?;
                let parts: Vec<_> = inside.split(',').map(str::trim).collect();
                let (device, offset) = (parts.first()?, number(parts.get(1)?.strip_prefix('@')?)?);
                let size = access_size(number(parts.last()?.strip_prefix("len=")?)?)?;
                let write = name.contains("write");
                let value = number(if write { parts.get(2)? } else { after.trim() })?;
                if !self.is_ours(device) {
                    return Some(Line::Idle);
                }
                (offset < 4096).then_some(Line::Config { time, offset, size, value, write })
            }
            "vfio_msi_interrupt" => {
                // (NAME) vector N 0xADDRESS/0xDATA
                let (device, after) = rest.strip_prefix('(')?.split_once(')')?;
                let vector = after
                    .trim()
                    .strip_prefix("vector ")?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
                    .filter(|vector| *vector < 2048)?;
                if self.is_ours(device) { Some(Line::Interrupt { time, vector }) } else { Some(Line::Idle) }
            }
            "vfio_region_setup" => {
                // Device NAME, region N "NAME BAR N", flags: 0x3, offset: 0x0, size: 0x100000
                let (device, after) = rest.strip_prefix("Device ")?.split_once(", region ")?;
                let bar = after.split_whitespace().next()?.parse().ok().filter(|bar| *bar < 6);
                let size = number(after.rsplit_once("size: ")?.1)?;
                match bar.filter(|_| self.is_ours(device)) {
                    Some(bar) => Some(Line::Bar { bar, size }),
                    None => Some(Line::Idle),
                }
            }
            "vfio_msix_early_setup" => {
                // NAME PCI MSI-X CAP @0x48, BAR 1, offset 0x0, entries 1, noresize 0; the name in brackets in older ones
                let (device, after) = rest.split_once(" PCI MSI-X CAP")?;
                let field = |name: &str| after.split(", ").find_map(|part| part.strip_prefix(name)?.trim().parse().ok());
                let bar = field("BAR ").map(usize::from).filter(|bar| *bar < 6)?;
                let vectors = field("entries ")?;
                let device = device.trim_start_matches('(').trim_end_matches(')');
                Some(if self.is_ours(device) { Line::Vectors { bar, vectors } } else { Line::Idle })
            }
            "vfio_intx_interrupt" => Some(Line::Pin { time, level: true }),
            "vfio_intx_eoi" => Some(Line::Pin { time, level: false }),
            "vfio_pci_reset" | "vfio_pci_reset_flr" | "vfio_pci_hot_reset" => Some(Line::Reset { time }),
            // Set-up of QEMU's own; what the device sees of it comes as configuration accesses.
            _ => Some(Line::Idle),
        }
    }

    fn is_ours(&mut self, device: &str) -> bool {
        let device = device.trim();
        self.device.get_or_insert_with(|| device.to_owned()) == device
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
                self.maps.insert(number(words.get(2)?)?, (number(words.get(3)?)?, number(words.get(5)?)?));
                Some(Line::Idle)
            }
            "UNMAP" => {
                self.maps.remove(&number(words.get(2)?)?);
                Some(Line::Idle)
            }
            "PCIDEV" => {
                // bus+devfn, vendor+device, irq, seven addresses whose low bits are flags, seven lengths, driver.
                let ids = u64::from_str_radix(words.get(2)?, 16).ok()?;
                let has_driver = words.len() > 18;
                if has_driver && self.ids.is_none() {
                    self.ids = Some(((ids >> 16) as u16, ids as u16));
                    let hex = |at: usize| u64::from_str_radix(words[at].trim_start_matches("0x"), 16).unwrap_or(0);
                    self.bars = (0..6).map(|bar| (hex(4 + bar) & !0xf, hex(11 + bar))).collect();
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
        let in_bar = self.bars.iter().position(|&(base, length)| length > 0 && address >= base && address - base < length);
        if let Some(bar) = in_bar {
            return Some((bar as u8, address - self.bars[bar].0));
        }
        let &(base, length) = self.maps.get(&map)?;
        let offset = address.checked_sub(base).filter(|offset| *offset < length)?;
        Some(((map.saturating_sub(1) % 6) as u8, offset))
    }
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

/// The time before an event's name: `PID@SECONDS.MICROS:`, or `2026-01-31T10:11:12.131415Z ` of `-msg timestamp=on`.
fn qemu_time(before: &str) -> Option<u64> {
    let before = before.trim().trim_end_matches(':');
    if let Some((_, time)) = before.rsplit_once('@') {
        return seconds(time);
    }
    let clock = before.split_once('T')?.1.trim_end_matches('Z');
    let mut parts = clock.splitn(3, ':');
    let (hours, minutes) = (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse::<u64>().ok()?);
    seconds(parts.next()?)?.checked_add((hours.checked_mul(60)? + minutes).checked_mul(60_000_000_000)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Compression, Reader};

    fn run(log: &str, dialect: Dialect) -> (Header, Vec<String>, Imported, Vec<u64>) {
        let header = survey(log.as_bytes(), dialect).unwrap().header;
        let mut writer = Writer::new(Vec::new(), &header, Compression::None).unwrap();
        let mut unread = Vec::new();
        let sums = import(log.as_bytes(), dialect, &mut writer, |number, _| unread.push(number)).unwrap();
        writer.finish().unwrap();
        let bytes = writer.into_inner();
        let mut reader = Reader::new(&bytes[..]).unwrap();
        let mut events = Vec::new();
        while let Some(event) = reader.next().unwrap() {
            events.push(format!("{} {:?}", event.time, event.what));
        }
        (header, events, sums, unread)
    }

    #[test]
    fn a_log_of_qemu_becomes_registers_configuration_and_interrupts() {
        let log = "\
            71@1700000000.000001:vfio_pci_read_config  (0000:01:00.0, @0x0, len=0x4) 0x10551af4\n\
            71@1700000000.000002:vfio_region_write  (0000:01:00.0:region2+0x14, 0x1, 1)\n\
            71@1700000000.000004:vfio_region_read  (0000:01:00.0:region2+0x2000, 4) = 0x59414c52\n\
            71@1700000000.000005:vfio_msi_interrupt  (0000:01:00.0) vector 3 0xfee00000/0x31\n\
            71@1700000000.000006:vfio_region_write  (0000:02:00.0:region0+0x0, 0x1, 4)\n\
            71@1700000000.000007:vfio_listener_region_add_ram region_add [ram] 0x0 - 0x9ffff [0x7f0]\n\
            qemu-system-x86_64: warning: something else\n\
            71@1700000000.000008:vfio_region_write  (0000:01:00.0:region2+0x14, 0x1, 3)\n";
        let (header, events, sums, unread) = run(log, Dialect::QemuVfio);
        assert_eq!((header.ids[0], header.ids[1], header.msix), (0x1af4, 0x1055, Some((0, 4))));
        assert_eq!(header.bars[2].unwrap().size, 0x4000);
        assert_eq!(
            events,
            [
                "0 ConfigRead { offset: 0, data: [244, 26, 85, 16] }",
                "1000 Write { bar: 2, offset: 20, data: [1] }",
                "3000 Read { bar: 2, offset: 8192, data: [82, 76, 65, 89] }",
                "4000 Interrupt { vector: 3 }",
            ]
        );
        assert_eq!((sums, unread), (Imported { lines: 8, events: 4, unread: 2 }, vec![7, 8]));
    }

    #[test]
    fn an_mmiotrace_becomes_registers_of_the_bars_that_it_names() {
        let log = "\
            VERSION 20070824\n\
            PCIDEV 0100 10de0391 10 fd000000 d000000c 0 fc000004 0 0 0 1000000 10000000 0 1000000 0 0 0 nouveau\n\
            MAP 12.000001 1 0xfd000000 0xf8c80000 0x1000000 0x0 0\n\
            W 4 12.000002 1 0xfd000140 0x1 0x0 0\n\
            R 4 12.000005 1 0xfd000000 0x46200a2 0x0 0\n\
            R 2 12.000006 1 0xfe000000 0x1 0x0 0\n\
            UNMAP 12.000007 1 0x0 0\n\
            MARK 12.000008 the end\n\
            MARK 0.000000 Lost 17 events.\n\
            UNKNOWN 12.000009 1 0xfd000010 0f,b6,00 0x0 0\n\
            garbage\n";
        let (header, events, sums, unread) = run(log, Dialect::Mmiotrace);
        assert_eq!((header.ids[0], header.ids[1]), (0x10de, 0x0391));
        assert_eq!(
            events,
            ["0 Write { bar: 0, offset: 320, data: [1, 0, 0, 0] }", "3000 Read { bar: 0, offset: 0, data: [162, 0, 98, 4] }"]
        );
        assert_eq!((sums.events, sums.unread, unread), (2, 4, vec![6, 9, 10, 11]), "what the kernel lost is not passed over");
    }

    #[test]
    fn lines_without_times_keep_their_order_and_no_line_is_too_long() {
        let mut log = "vfio_region_write (d:region0+0x8, 0x7, 2)\n".repeat(2);
        log.push_str(&"x".repeat(3 * LONGEST_LINE as usize));
        let (_, events, sums, _) = run(&log, Dialect::QemuVfio);
        assert_eq!(events.len(), 2);
        assert!(events[0].starts_with("1 ") && events[1].starts_with("2 "));
        assert_eq!(sums.unread, 3);
    }
}
