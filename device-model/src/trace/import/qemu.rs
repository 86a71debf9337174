//! Lines of QEMU's `vfio_*` trace events, as its log backends write them.
//!
//! `log` and `syslog` write `[PID@SECONDS.MICROS:]NAME TEXT`, `ftrace` the same behind the kernel's own columns, systemtap
//! `PID@NANOSECONDS NAME TEXT`. What `simple` writes is no text; scripts/simpletrace.py makes `NAME MICROS pid=PID ARGUMENT=VALUE ...` of it, where
//! the time counts from the line before.

use super::{Line, Parser, access_size, number, seconds};

/// Most vectors that a device has.
const VECTORS: u64 = 2048;

impl Parser {
    /// `vfio_region_write  (0000:01:00.0:region2+0x14, 0x1, 4)` and its kin.
    pub(super) fn qemu(&mut self, line: &str) -> Option<Line> {
        let at = line.find("vfio_")?;
        let (name, rest) = line[at..].split_once(char::is_whitespace).unwrap_or((&line[at..], ""));
        let rest = rest.trim();
        if let Some((delta, arguments)) = rest.split_once(" pid=") {
            self.elapsed = self.elapsed.saturating_add(micros(delta)?);
            return self.by_arguments(name, arguments, Some(self.elapsed));
        }
        let time = time_of(&line[..at]);
        match name {
            "vfio_region_write" | "vfio_region_read" => self.region(name, rest, time),
            "vfio_pci_read_config" | "vfio_pci_write_config" => self.config(name, rest, time),
            "vfio_msi_interrupt" | "vfio_msix_vector_do_use" => {
                // (NAME) vector N 0xADDRESS/0xDATA; (NAME) vector N used
                let (device, after) = named(rest)?;
                let vector = vector(number(after.strip_prefix("vector ")?.split_whitespace().next()?)?)?;
                let line = if name == "vfio_msi_interrupt" { Line::Interrupt { time, vector } } else { Line::Used { vector } };
                Some(self.of(device, line))
            }
            "vfio_region_setup" => {
                // Device NAME, region N "NAME BAR N", flags: 0x3, offset: 0x0, size: 0x100000
                let (device, after) = rest.strip_prefix("Device ")?.split_once(", region ")?;
                let bar = after.split_whitespace().next()?.parse().ok().filter(|bar| *bar < 6);
                let size = number(after.rsplit_once("size: ")?.1)?;
                Some(self.of(device, bar.map_or(Line::Idle, |bar| Line::Bar { bar, size })))
            }
            "vfio_msix_early_setup" => {
                // NAME PCI MSI-X CAP @0x48, BAR 1, offset 0x0, entries 1, noresize 0; the name in brackets in older ones
                let (device, after) = rest.split_once(" PCI MSI-X CAP")?;
                let field = |name: &str| after.split(", ").find_map(|part| part.strip_prefix(name)?.trim().parse().ok());
                let bar = field("BAR ").map(usize::from).filter(|bar| *bar < 6)?;
                let vectors = field("entries ")?;
                let device = device.trim_start_matches('(').trim_end_matches(')');
                Some(self.of(device, Line::Vectors { bar, vectors }))
            }
            "vfio_intx_interrupt" => Some(self.of(named(rest)?.0, Line::Pin { time, level: true })),
            "vfio_intx_eoi" => Some(self.of(named(rest)?.0, Line::Pin { time, level: false })),
            // (NAME); (NAME) one; NAME FLR/VFIO_DEVICE_RESET
            "vfio_pci_reset" | "vfio_pci_reset_flr" | "vfio_pci_hot_reset" => {
                let device = named(rest).map(|(device, _)| device).or_else(|| rest.split_whitespace().next())?;
                Some(self.of(device, Line::Reset { time }))
            }
            // Set-up of QEMU's own, groups, containers, mappings; what the device sees of it comes as accesses.
            _ => Some(Line::Idle),
        }
    }

    /// write: `(NAME:regionN+OFFSET, VALUE, SIZE)`; read: `(NAME:regionN+OFFSET, SIZE) = VALUE`.
    fn region(&mut self, name: &str, rest: &str, time: Option<u64>) -> Option<Line> {
        let (inside, after) = rest.strip_prefix('(')?.split_once(')')?;
        let mut parts = inside.split(',').map(str::trim);
        let (device, place) = parts.next()?.rsplit_once(":region")?;
        let (region, offset) = place.split_once('+')?;
        let write = name == "vfio_region_write";
        let (value, size) = if write {
            (number(parts.next()?)?, number(parts.next()?)?)
        } else {
            let size = number(parts.next()?)?;
            (number(after.trim().strip_prefix('=')?)?, size)
        };
        let line = access(number(region)?, number(offset)?, size, value, write, time);
        self.of_or_unread(device, line)
    }

    /// read: `(NAME, @OFFSET, len=SIZE) VALUE`; write: `(NAME, @OFFSET, VALUE, len=SIZE)`.
    fn config(&mut self, name: &str, rest: &str, time: Option<u64>) -> Option<Line> {
        let (inside, after) = rest.strip_prefix('(')?.split_once(')')?;
        let parts: Vec<_> = inside.split(',').map(str::trim).collect();
        let (device, offset) = (parts.first()?, number(parts.get(1)?.strip_prefix('@')?)?);
        let size = number(parts.last()?.strip_prefix("len=")?)?;
        let write = name == "vfio_pci_write_config";
        let value = number(if write { parts.get(2)? } else { after.trim() })?;
        self.of_or_unread(device, config(offset, size, value, write, time))
    }

    /// The same by the arguments' names: `PID name=0000:01:00.0 index=0x2 addr=0x14 data=0x1 size=0x4`.
    fn by_arguments(&mut self, name: &str, arguments: &str, time: Option<u64>) -> Option<Line> {
        let text = |wanted: &str| {
            let mut words = arguments.split_whitespace();
            let word = words.find_map(|word| word.strip_prefix(wanted)?.strip_prefix('='))?;
            // Newer ones show bytes as Python does.
            Some(word.trim_start_matches("b'").trim_matches('\''))
        };
        let argument = |wanted: &str| number(text(wanted)?);
        let line = match name {
            "vfio_region_write" | "vfio_region_read" => {
                let (index, offset) = (argument("index")?, argument("addr")?);
                access(index, offset, argument("size")?, argument("data")?, name == "vfio_region_write", time)
            }
            "vfio_pci_read_config" | "vfio_pci_write_config" => {
                // Values are signed there, and shown as 64 bits.
                let value = argument("val")? & u64::from(u32::MAX);
                config(argument("addr")?, argument("len")?, value, name == "vfio_pci_write_config", time)
            }
            "vfio_msi_interrupt" => Some(Line::Interrupt { time, vector: vector(argument("index")?)? }),
            "vfio_msix_vector_do_use" => Some(Line::Used { vector: vector(argument("index")?)? }),
            "vfio_intx_interrupt" => Some(Line::Pin { time, level: true }),
            "vfio_intx_eoi" => Some(Line::Pin { time, level: false }),
            "vfio_pci_reset" | "vfio_pci_reset_flr" | "vfio_pci_hot_reset" => Some(Line::Reset { time }),
            _ => return Some(Line::Idle),
        };
        self.of_or_unread(text("name")?, line)
    }

    /// A line of `device`, if that is the trace's.
    fn of(&mut self, device: &str, line: Line) -> Line {
        let device = device.trim();
        let ours = self.device.get_or_insert_with(|| device.to_owned());
        if ours == device { line } else { Line::Other }
    }

    fn of_or_unread(&mut self, device: &str, line: Option<Line>) -> Option<Line> {
        match self.of(device, Line::Idle) {
            Line::Other => Some(Line::Other),
            _ => line,
        }
    }
}

/// An access to a BAR. The expansion ROM and what comes behind it are no registers of the device.
fn access(region: u64, offset: u64, size: u64, value: u64, write: bool, time: Option<u64>) -> Option<Line> {
    let bar = u8::try_from(region).ok().filter(|bar| *bar < 6)?;
    let size = access_size(size)?;
    (offset < 1 << 40).then_some(Line::Access { time, bar, offset, size, value, write })
}

fn config(offset: u64, size: u64, value: u64, write: bool, time: Option<u64>) -> Option<Line> {
    let size = access_size(size)?;
    (offset < 4096).then_some(Line::Config { time, offset, size, value, write })
}

fn vector(number: u64) -> Option<u16> {
    u16::try_from(number).ok().filter(|vector| u64::from(*vector) < VECTORS)
}

/// `(NAME) what follows`.
fn named(rest: &str) -> Option<(&str, &str)> {
    let (device, after) = rest.strip_prefix('(')?.split_once(')')?;
    Some((device, after.trim()))
}

/// Microseconds with a fraction, as nanoseconds.
fn micros(text: &str) -> Option<u64> {
    let micros: f64 = text.trim().parse().ok()?;
    (0.0..1e15).contains(&micros).then_some((micros * 1e3) as u64)
}

/// The time before an event's name: `PID@SECONDS.MICROS:`, `PID@NANOSECONDS `, `2026-01-31T10:11:12.131415Z ` of `-msg timestamp=on`, or the column of
/// the kernel's trace.
fn time_of(before: &str) -> Option<u64> {
    let before = before.trim();
    if let Some((_, time)) = before.trim_end_matches(':').rsplit_once('@') {
        return seconds(time).or_else(|| time.parse().ok());
    }
    let mut words = before.split_whitespace();
    if let Some(time) = words.clone().find_map(|word| seconds(word.strip_suffix(':')?)) {
        return Some(time);
    }
    let clock = words.find_map(|word| word.split_once('T')).map(|(_, clock)| clock.trim_end_matches('Z'))?;
    let mut parts = clock.splitn(3, ':');
    let (hours, minutes) = (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse::<u64>().ok()?);
    seconds(parts.next()?)?.checked_add(hours.checked_mul(60)?.checked_add(minutes)?.checked_mul(60_000_000_000)?)
}
