//! Bit maps (`RTL_BITMAP`).
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use wdf_sys::{BOOLEAN, FALSE, TRUE};

/// No such run of bits.
const NOT_FOUND: u32 = u32::MAX;

/// `RTL_BITMAP`.
#[derive(Debug)]
#[repr(C)]
pub struct BitMap {
    size: u32,
    buffer: *mut u32,
}

impl BitMap {
    /// # Safety
    /// The bit map is initialised, and nobody else changes it meanwhile.
    unsafe fn get(&self, bit: u32) -> bool {
        // SAFETY: the caller's promise; the bit lies inside.
        bit < self.size && unsafe { *self.buffer.add(bit as usize / 32) } >> (bit % 32) & 1 != 0
    }

    /// # Safety
    /// As [`BitMap::get`].
    unsafe fn set(&mut self, bit: u32, value: bool) {
        if bit < self.size {
            // SAFETY: the caller's promise; the bit lies inside.
            unsafe {
                let word = self.buffer.add(bit as usize / 32);
                *word = *word & !(1 << (bit % 32)) | u32::from(value) << (bit % 32);
            }
        }
    }

    fn run(&self, start: u32, length: u32) -> core::ops::Range<u32> {
        start.min(self.size)..start.saturating_add(length).min(self.size)
    }

    /// Sets a run of bits.
    ///
    /// # Safety
    /// As [`BitMap::get`].
    unsafe fn fill(&mut self, start: u32, length: u32, value: bool) {
        // SAFETY: the caller's promise.
        self.run(start, length).for_each(|bit| unsafe { self.set(bit, value) });
    }

    /// Whether all bits of a run, which must lie inside, have a value.
    ///
    /// # Safety
    /// As [`BitMap::get`].
    unsafe fn is_run(&self, start: u32, length: u32, value: bool) -> bool {
        let fits = start.checked_add(length).is_some_and(|end| end <= self.size);
        // SAFETY: the caller's promise.
        length > 0 && fits && self.run(start, length).all(|bit| unsafe { self.get(bit) } == value)
    }

    /// The first run of at least `length` such bits at or after `from`, or, as documented, before it.
    ///
    /// # Safety
    /// As [`BitMap::get`].
    unsafe fn find(&self, length: u32, from: u32, value: bool) -> u32 {
        if length == 0 {
            return from & !7;
        }
        let from = if from < self.size { from } else { 0 };
        let (mut start, mut count) = (from, 0);
        for bit in (from..self.size).map(Some).chain([None]).chain((0..self.size).map(Some)) {
            // A run does not go on from the end to the beginning.
            let Some(bit) = bit else {
                (start, count) = (0, 0);
                continue;
            };
            // SAFETY: the caller's promise.
            if unsafe { self.get(bit) } != value {
                (start, count) = (bit + 1, 0);
                continue;
            }
            count += 1;
            if count == length {
                return start;
            }
        }
        NOT_FOUND
    }

    /// Start and length of the first run of clear bits at or after `from`; at the end of the map, with no length, when there is none.
    ///
    /// # Safety
    /// As [`BitMap::get`].
    unsafe fn clear_run(&self, from: u32) -> (u32, u32) {
        // SAFETY: the caller's promise.
        let is = |bit: u32, value: bool| unsafe { self.get(bit) } == value;
        let start = (from..self.size).find(|&bit| is(bit, false)).unwrap_or(self.size);
        let end = (start..self.size).find(|&bit| is(bit, true)).unwrap_or(self.size);
        (start, end - start)
    }

    /// All runs of clear bits.
    ///
    /// # Safety
    /// As [`BitMap::get`], while the runs are asked for.
    unsafe fn clear_runs(&self) -> impl Iterator<Item = (u32, u32)> {
        let mut from = 0;
        core::iter::from_fn(move || {
            // SAFETY: the caller's promise.
            let (start, length) = unsafe { self.clear_run(from) };
            from = start + length;
            (length != 0).then_some((start, length))
        })
    }

    /// # Safety
    /// As [`BitMap::get`].
    unsafe fn count(&self) -> u32 {
        // SAFETY: the caller's promise.
        (0..self.size).filter(|&bit| unsafe { self.get(bit) }).count() as u32
    }
}

/// Functions over a bit map: each gets an initialised one from its caller.
macro_rules! bitmap_functions {
    ($($name:ident($map:ident $(, $argument:ident: $type:ty)*) $(-> $result:ty)? = $body:expr;)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "win64" fn $name(BitMapHeader: *mut BitMap $(, $argument: $type)*) $(-> $result)? {
            // SAFETY: the caller's promise: an initialised bit map that nobody else changes meanwhile.
            unsafe {
                let $map = &mut *BitMapHeader;
                $body
            }
        }
    )*};
}

bitmap_functions! {
    RtlInitializeBitMap(map, Buffer: *mut u32, Size: u32) = *map = BitMap { size: Size, buffer: Buffer };
    RtlClearAllBits(map) = map.fill(0, u32::MAX, false);
    RtlSetAllBits(map) = map.fill(0, u32::MAX, true);
    RtlClearBits(map, Start: u32, Number: u32) = map.fill(Start, Number, false);
    RtlSetBits(map, Start: u32, Number: u32) = map.fill(Start, Number, true);
    RtlClearBit(map, Bit: u32) = map.set(Bit, false);
    RtlSetBit(map, Bit: u32) = map.set(Bit, true);
    RtlTestBit(map, Bit: u32) -> BOOLEAN = if map.get(Bit) { TRUE } else { FALSE };
    RtlAreBitsClear(map, Start: u32, Length: u32) -> BOOLEAN = if map.is_run(Start, Length, false) { TRUE } else { FALSE };
    RtlAreBitsSet(map, Start: u32, Length: u32) -> BOOLEAN = if map.is_run(Start, Length, true) { TRUE } else { FALSE };
    RtlFindClearBits(map, Number: u32, Hint: u32) -> u32 = map.find(Number, Hint, false);
    RtlFindSetBits(map, Number: u32, Hint: u32) -> u32 = map.find(Number, Hint, true);
    RtlFindClearBitsAndSet(map, Number: u32, Hint: u32) -> u32 = {
        let start = map.find(Number, Hint, false);
        if start != NOT_FOUND {
            map.fill(start, Number, true);
        }
        start
    };
    RtlFindSetBitsAndClear(map, Number: u32, Hint: u32) -> u32 = {
        let start = map.find(Number, Hint, true);
        if start != NOT_FOUND {
            map.fill(start, Number, false);
        }
        start
    };
    RtlFindNextForwardRunClear(map, FromIndex: u32, StartingRunIndex: *mut u32) -> u32 = {
        let (start, length) = map.clear_run(FromIndex);
        StartingRunIndex.write(start);
        length
    };
    RtlFindFirstRunClear(map, StartingIndex: *mut u32) -> u32 = RtlFindNextForwardRunClear(map, 0, StartingIndex);
    RtlFindLongestRunClear(map, StartingIndex: *mut u32) -> u32 = {
        // The first of the longest.
        let (start, length) = map.clear_runs().fold((0, 0), |longest, run| if run.1 > longest.1 { run } else { longest });
        StartingIndex.write(start);
        length
    };
    RtlFindLastBackwardRunClear(map, FromIndex: u32, StartingRunIndex: *mut u32) -> u32 = {
        // The last that begins at or before the place; what of it lies behind the place does not count.
        let run = map.clear_runs().take_while(|&(start, _)| start <= FromIndex).last().unwrap_or((0, 0));
        StartingRunIndex.write(run.0);
        run.1.min(FromIndex.saturating_add(1) - run.0)
    };
    RtlNumberOfSetBits(map) -> u32 = map.count();
    RtlNumberOfClearBits(map) -> u32 = map.size - map.count();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_set_and_counted() {
        let mut words = [0u32; 2];
        let mut map = BitMap { size: 40, buffer: words.as_mut_ptr() };
        // SAFETY: a bit map over the two words.
        unsafe {
            RtlSetBits(&mut map, 3, 30);
            assert_eq!((RtlNumberOfSetBits(&mut map), RtlNumberOfClearBits(&mut map)), (30, 10));
            assert_eq!(RtlFindClearBits(&mut map, 3, 0), 0);
            assert_eq!(RtlFindClearBits(&mut map, 4, 0), 33);
            assert_eq!(RtlFindClearBits(&mut map, 8, 0), NOT_FOUND, "no run goes around the end");
            assert_eq!(RtlFindClearBits(&mut map, 3, 38), 0, "found before the hint");
            assert_eq!(RtlFindClearBitsAndSet(&mut map, 7, 10), 33);
            assert_eq!(RtlAreBitsSet(&mut map, 3, 37), 1);
            assert_eq!(RtlAreBitsSet(&mut map, 3, 38), 0, "beyond the end");
            assert_eq!(RtlFindSetBitsAndClear(&mut map, 37, 0), 3);
            assert_eq!((RtlTestBit(&mut map, 3), RtlTestBit(&mut map, 1000)), (0, 0));
        }
        assert_eq!(words, [0, 0]);
    }

    #[test]
    fn runs_of_clear_bits_are_found_from_either_side() {
        // Clear: 4..8, 12..13, 20..32.
        let mut words = [0x000f_ef0fu32];
        let mut map = BitMap { size: 32, buffer: words.as_mut_ptr() };
        let mut at = 99;
        // SAFETY: a bit map over the word.
        unsafe {
            assert_eq!((RtlFindFirstRunClear(&mut map, &mut at), at), (4, 4));
            assert_eq!((RtlFindNextForwardRunClear(&mut map, 6, &mut at), at), (2, 6), "what is left of a run");
            assert_eq!((RtlFindNextForwardRunClear(&mut map, 8, &mut at), at), (1, 12));
            assert_eq!((RtlFindNextForwardRunClear(&mut map, 32, &mut at), at), (0, 32));
            assert_eq!((RtlFindLongestRunClear(&mut map, &mut at), at), (12, 20));
            assert_eq!((RtlFindLastBackwardRunClear(&mut map, 19, &mut at), at), (1, 12));
            assert_eq!((RtlFindLastBackwardRunClear(&mut map, 5, &mut at), at), (2, 4));
            assert_eq!(RtlFindLastBackwardRunClear(&mut map, 3, &mut at), 0);
        }
    }
}
