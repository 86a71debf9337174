//! Places for the registers of functions that came after firmware had gone: gaps in what the bridge above them passes on.

use alloc::vec::Vec;
use core::ops::Range;

use super::configuration::{Bar, BarKind, Configuration};

/// The ranges of addresses that a bridge passes on to its bus; empty where it passes nothing on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Windows {
    ports: Range<u64>,
    memory: Range<u64>,
    prefetchable: Range<u64>,
}

impl Windows {
    /// As firmware has set the bridge up.
    pub(super) fn read(bridge: &Configuration<'_>) -> Self {
        let (io, io_high) = (bridge.read_16(0x1c), bridge.read_32(0x30));
        let (memory, prefetchable) = (bridge.read_32(0x20), bridge.read_32(0x24));
        let high = |offset| if prefetchable & 0xf == 1 { u64::from(bridge.read_32(offset)) << 32 } else { 0 };
        let io_high = |half: u32| if io & 0xf == 1 { u64::from(io_high >> half & 0xffff) << 16 } else { 0 };
        let low = |word: u32| u64::from(word & 0xfff0) << 16;
        Self {
            ports: range(u64::from(io & 0xf0) << 8 | io_high(0), u64::from(io & 0xf000) | io_high(16), 0xfff),
            memory: range(low(memory), low(memory >> 16), 0xf_ffff),
            prefetchable: range(low(prefetchable) | high(0x28), low(prefetchable >> 16) | high(0x2c), 0xf_ffff),
        }
    }

    /// Gives every register that has no place one, the largest first. What finds none stays without.
    pub(super) fn place(&self, bars: &mut [Bar], mut taken: Vec<Range<u64>>) {
        taken.extend(bars.iter().filter(|bar| bar.start != 0).map(occupied));
        let mut order: Vec<&mut Bar> = bars.iter_mut().filter(|bar| bar.start == 0).collect();
        order.sort_by_key(|bar| core::cmp::Reverse(bar.length));
        for bar in order {
            let found = self.windows_for(bar).find_map(|window| gap(&window, &taken, bar.length));
            if let Some(start) = found {
                bar.start = start;
                taken.push(occupied(bar));
            }
        }
    }

    /// Windows that a register may lie in, the best first. Prefetchable ones may lie in either, but only wide ones above 4 GiB.
    fn windows_for(&self, bar: &Bar) -> impl Iterator<Item = Range<u64>> {
        let none = 0..0;
        let [first, second] = match bar.kind {
            BarKind::Port => [self.ports.clone(), none],
            BarKind::Memory { prefetchable: false, .. } => [self.memory.clone(), none],
            BarKind::Memory { prefetchable: true, is_64_bit } => {
                let is_reachable = is_64_bit || self.prefetchable.end <= 1 << 32;
                [if is_reachable { self.prefetchable.clone() } else { none }, self.memory.clone()]
            }
        };
        [first, second].into_iter()
    }
}

/// From a base and a limit register; a base above its limit, or an empty one at zero, is a window that is closed.
fn range(base: u64, limit: u64, granularity: u64) -> Range<u64> {
    if base == 0 || base > limit { 0..0 } else { base..(limit | granularity) + 1 }
}

/// Addresses that a placed register decodes.
pub(super) fn occupied(bar: &Bar) -> Range<u64> {
    bar.start..bar.start.saturating_add(bar.length)
}

/// The lowest aligned place of that length in a window that overlaps nothing.
fn gap(window: &Range<u64>, taken: &[Range<u64>], length: u64) -> Option<u64> {
    let mut start = window.start.checked_next_multiple_of(length)?;
    loop {
        let end = start.checked_add(length).filter(|&end| end <= window.end)?;
        let Some(other) = taken.iter().find(|other| other.start < end && start < other.end) else { return Some(start) };
        start = other.end.checked_next_multiple_of(length)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(length: u64, prefetchable: bool, is_64_bit: bool) -> Bar {
        Bar { index: 0, start: 0, length, kind: BarKind::Memory { prefetchable, is_64_bit } }
    }

    fn windows() -> Windows {
        Windows { ports: 0..0, memory: 0xfe00_0000..0xfe20_0000, prefetchable: 0x80_0000_0000..0x80_0020_0000 }
    }

    #[test]
    fn registers_find_aligned_places_beside_what_is_taken_the_largest_first() {
        let mut bars = [bar(0x1000, false, true), bar(0x10_0000, false, true)];
        windows().place(&mut bars, Vec::from([0xfe00_0000..0xfe00_0400, 0xfe00_0400..0xfe00_0800]));
        assert_eq!(bars.map(|bar| bar.start), [0xfe00_1000, 0xfe10_0000]);
    }

    #[test]
    fn a_narrow_prefetchable_register_does_not_go_above_four_gigabytes() {
        let mut bars = [bar(0x1000, true, true), bar(0x1000, true, false)];
        windows().place(&mut bars, Vec::new());
        assert_eq!(bars.map(|bar| bar.start), [0x80_0000_0000, 0xfe00_0000]);
    }

    #[test]
    fn a_register_that_fits_nowhere_stays_without_a_place() {
        let mut bars = [bar(1 << 40, true, true), bar(1 << 63, false, true)];
        windows().place(&mut bars, Vec::new());
        assert_eq!(bars.map(|bar| bar.start), [0, 0]);
    }

    #[test]
    fn a_base_above_its_limit_is_a_closed_window() {
        assert_eq!(range(0xfff0_0000, 0, 0xf_ffff), 0..0);
        assert_eq!(range(0xfe00_0000, 0xfe10_0000, 0xf_ffff), 0xfe00_0000..0xfe20_0000);
    }
}
