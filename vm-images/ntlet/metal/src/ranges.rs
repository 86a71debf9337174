//! Ranges of page numbers: which virtual pages of the kernel are free. A sorted table of a fixed size, because the pool itself
//! gets its memory through here.

/// `length` pages from page `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Range {
    /// First page.
    pub start: u32,
    /// Number of pages.
    pub length: u32,
}

/// The table of free ranges has no room for one more; the range stays unused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFull;

/// Free ranges, at most `N` that do not touch.
#[derive(Debug)]
pub struct FreeRanges<const N: usize> {
    ranges: [Range; N],
    count: usize,
}

impl<const N: usize> FreeRanges<N> {
    /// Pages `0..pages`, all free.
    pub const fn new(pages: u32) -> Self {
        let mut ranges = [Range { start: 0, length: 0 }; N];
        ranges[0] = Range { start: 0, length: pages };
        FreeRanges { ranges, count: 1 }
    }

    /// Takes `length` pages, the lowest that there are.
    pub fn allocate(&mut self, length: u32) -> Option<u32> {
        if length == 0 {
            return None;
        }
        let index = self.ranges[..self.count].iter().position(|range| range.length >= length)?;
        let range = &mut self.ranges[index];
        let start = range.start;
        range.start += length;
        range.length -= length;
        if range.length == 0 {
            self.remove(index);
        }
        Some(start)
    }

    /// Gives pages back.
    ///
    /// # Errors
    /// [`TableFull`] when the pages touch no free range and the table has no entry left.
    ///
    /// # Panics
    /// When some of the pages are free already.
    pub fn release(&mut self, freed: Range) -> Result<(), TableFull> {
        let index = self.ranges[..self.count].partition_point(|range| range.start < freed.start);
        let end = freed.start + freed.length;
        let before = index.checked_sub(1).map(|index| self.ranges[index]);
        let after = (index < self.count).then(|| self.ranges[index]);
        assert!(
            before.is_none_or(|range| range.start + range.length <= freed.start) && after.is_none_or(|range| end <= range.start),
            "virtual pages {freed:?} were given back twice"
        );
        let joins_before = before.is_some_and(|range| range.start + range.length == freed.start);
        let joins_after = after.is_some_and(|range| range.start == end);
        match (joins_before, joins_after) {
            (true, true) => {
                self.ranges[index - 1].length += freed.length + self.ranges[index].length;
                self.remove(index);
            }
            (true, false) => self.ranges[index - 1].length += freed.length,
            (false, true) => {
                self.ranges[index].start = freed.start;
                self.ranges[index].length += freed.length;
            }
            (false, false) => {
                if self.count == N {
                    return Err(TableFull);
                }
                self.ranges.copy_within(index..self.count, index + 1);
                self.ranges[index] = freed;
                self.count += 1;
            }
        }
        Ok(())
    }

    fn remove(&mut self, index: usize) {
        self.ranges.copy_within(index + 1..self.count, index);
        self.count -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release<const N: usize>(free: &mut FreeRanges<N>, start: u32, length: u32) -> Result<(), TableFull> {
        free.release(Range { start, length })
    }

    #[test]
    fn pages_given_back_in_any_order_join_into_one_range() {
        let mut free = FreeRanges::<8>::new(100);
        let [a, b, c] = [10, 20, 30].map(|length| free.allocate(length).unwrap());

        release(&mut free, a, 10).unwrap();
        release(&mut free, c, 30).unwrap();
        release(&mut free, b, 20).unwrap();

        assert_eq!(free.count, 1);
        assert_eq!(free.allocate(100), Some(0));
    }

    #[test]
    fn the_lowest_range_that_fits_is_taken() {
        let mut free = FreeRanges::<8>::new(100);
        let a = free.allocate(10).unwrap();
        free.allocate(1).unwrap();
        release(&mut free, a, 10).unwrap();

        assert_eq!(free.allocate(11), Some(11));
        assert_eq!(free.allocate(10), Some(0));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut free = FreeRanges::<2>::new(4);

        assert_eq!(free.allocate(5), None);
        assert_eq!(free.allocate(0), None);
        assert_eq!(free.allocate(4), Some(0));
        assert_eq!(free.allocate(1), None);
    }

    #[test]
    fn a_full_table_loses_the_range_and_says_so() {
        let mut free = FreeRanges::<2>::new(10);
        free.allocate(9).unwrap();
        release(&mut free, 0, 1).unwrap();

        assert_eq!(release(&mut free, 4, 1), Err(TableFull));
        assert_eq!(release(&mut free, 1, 1), Ok(()));
    }

    #[test]
    #[should_panic(expected = "given back twice")]
    fn pages_given_back_twice_stop_the_kernel() {
        let mut free = FreeRanges::<4>::new(10);
        free.allocate(5).unwrap();
        release(&mut free, 1, 2).unwrap();
        let _ = release(&mut free, 2, 1);
    }
}
