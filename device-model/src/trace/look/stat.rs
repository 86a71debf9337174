//! Sums of a trace.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use super::Describe;
use crate::trace::{Ending, Event, Kind, Reader, TraceError, What};

/// Registers that are counted one by one; a device with more has the others in one sum.
const MOST_REGISTERS: usize = 4096;
/// Registers that are shown.
const SHOWN: usize = 20;

/// Sums of a trace.
#[derive(Debug, Default)]
pub struct Sums {
    /// Events.
    pub events: u64,
    /// Times of the first and of the last one.
    pub span: Option<(u64, u64)>,
    /// How the trace ended; `None` if it cannot be read to its end.
    pub ending: Option<Ending>,
    kinds: BTreeMap<Kind, (u64, u64)>,
    registers: BTreeMap<(u8, u64), (u64, u64)>,
    other_registers: u64,
    names: Vec<(String, u64, u64)>,
}

/// Add up a trace. What could be read is summed even if the rest cannot.
pub fn stat(reader: &mut Reader<impl Read>, describe: &Describe) -> (Sums, Result<(), TraceError>) {
    let mut sums = Sums::default();
    let result = loop {
        match reader.next() {
            Ok(Some(event)) => sums.add(&event),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    sums.ending = reader.ending();
    let mut names: Vec<_> =
        sums.registers.iter().map(|(&(bar, offset), &(reads, writes))| (describe.place(bar, offset), reads, writes)).collect();
    names.sort_by_key(|(_, reads, writes)| std::cmp::Reverse(reads + writes));
    sums.names = names;
    (sums, result)
}

impl Sums {
    fn add(&mut self, event: &Event<'_>) {
        self.events += 1;
        let first = self.span.map_or(event.time, |(first, _)| first);
        self.span = Some((first, event.time));
        let (count, bytes) = self.kinds.entry(event.what.kind()).or_default();
        *count += 1;
        *bytes += event.what.data().len() as u64;
        let (What::Read { bar, offset, .. } | What::Write { bar, offset, .. }) = event.what else { return };
        let known = self.registers.len() < MOST_REGISTERS || self.registers.contains_key(&(bar, offset));
        if !known {
            self.other_registers += 1;
            return;
        }
        let (reads, writes) = self.registers.entry((bar, offset)).or_default();
        *if event.what.kind() == Kind::Read { reads } else { writes } += 1;
    }

    /// Events of a kind.
    pub fn count(&self, kind: Kind) -> u64 {
        self.kinds.get(&kind).map_or(0, |(count, _)| *count)
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.span.unwrap_or_default();
        writeln!(f, "{} events in {:.6} ms of device time", self.events, (last - first) as f64 / 1e6)?;
        for (kind, (count, bytes)) in &self.kinds {
            writeln!(f, "{count:>12}  {:<12} {bytes:>14} bytes of data", kind.name())?;
        }
        if !self.names.is_empty() {
            writeln!(f, "registers, most used first:      reads       writes")?;
        }
        for (name, reads, writes) in self.names.iter().take(SHOWN) {
            writeln!(f, "  {name:<26} {reads:>10} {writes:>12}")?;
        }
        let hidden: u64 = self.names.iter().skip(SHOWN).map(|(_, reads, writes)| reads + writes).sum();
        if hidden + self.other_registers > 0 {
            writeln!(f, "  {:<26} {:>10} accesses", "others", hidden + self.other_registers)?;
        }
        match self.ending {
            Some(Ending::Finished) => Ok(()),
            Some(Ending::Unfinished) => {
                writeln!(f, "the trace has no index: its recorder was stopped, and up to a block of events may be missing")
            }
            None => writeln!(f, "the trace cannot be read to its end"),
        }
    }
}
