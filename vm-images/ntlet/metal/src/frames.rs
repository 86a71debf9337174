//! Physical page frames: which are free. A bitmap, and no knowledge of where it or the frames lie.
//!
//! Single frames come from the top and contiguous runs from the bottom, so that long runs and low addresses last.

/// Which page frames are free: bit set means free.
#[derive(Debug)]
pub struct FrameAllocator<'a> {
    words: &'a mut [u64],
    /// No word above this one has a free frame.
    highest: usize,
    free: u64,
    total: u64,
}

impl<'a> FrameAllocator<'a> {
    /// An allocator for frames `0..words.len() * 64`, none of them free. `words` may hold anything.
    pub fn new(words: &'a mut [u64]) -> Self {
        words.fill(0);
        FrameAllocator { words, highest: 0, free: 0, total: 0 }
    }

    /// Hands over the frames `start..end`. Frames beyond the bitmap and frames that are already free are skipped.
    pub fn add(&mut self, start: u64, end: u64) {
        for (index, mask) in masks(start, end, self.words.len()) {
            let added = mask & !self.words[index];
            self.words[index] |= added;
            self.free += u64::from(added.count_ones());
            self.total += u64::from(added.count_ones());
            if added != 0 {
                self.highest = self.highest.max(index);
            }
        }
    }

    /// Takes the free frames among `start..end` out for good.
    pub fn reserve(&mut self, start: u64, end: u64) {
        for (index, mask) in masks(start, end, self.words.len()) {
            let removed = mask & self.words[index];
            self.words[index] &= !removed;
            self.free -= u64::from(removed.count_ones());
            self.total -= u64::from(removed.count_ones());
        }
    }

    /// Free frames.
    pub fn free_count(&self) -> u64 {
        self.free
    }

    /// All frames that were handed over and not reserved.
    pub fn total_count(&self) -> u64 {
        self.total
    }

    /// One frame, the highest that is free.
    pub fn allocate(&mut self) -> Option<u64> {
        loop {
            let word = self.words.get(self.highest).copied()?;
            if word != 0 {
                let frame = self.highest as u64 * 64 + u64::from(word.ilog2());
                self.mark_used(frame);
                return Some(frame);
            }
            self.highest = self.highest.checked_sub(1)?;
        }
    }

    /// `count` adjacent frames, all below frame `limit`, the lowest that there are.
    pub fn allocate_run(&mut self, count: u64, limit: u64) -> Option<u64> {
        let end = limit.min((self.highest as u64 + 1) * 64).min(self.words.len() as u64 * 64);
        let mut start = 0;
        let mut frame = 0;
        while count != 0 && frame < end {
            let word = self.words[(frame / 64) as usize];
            let step = if frame.is_multiple_of(64) && (word == 0 || word == u64::MAX) { 64.min(end - frame) } else { 1 };
            if word >> (frame % 64) & 1 == 0 {
                start = frame + step;
            }
            frame += step;
            if frame.checked_sub(start).is_some_and(|length| length >= count) {
                (start..start + count).for_each(|frame| self.mark_used(frame));
                return Some(start);
            }
        }
        None
    }

    /// Takes a frame back. `false` when it is not one that was allocated: then something is wrong with the caller.
    #[must_use]
    pub fn release(&mut self, frame: u64) -> bool {
        if frame / 64 >= self.words.len() as u64 || self.is_free(frame) {
            return false;
        }
        self.mark_free(frame);
        true
    }

    fn is_free(&self, frame: u64) -> bool {
        self.words[(frame / 64) as usize] >> (frame % 64) & 1 != 0
    }

    fn mark_free(&mut self, frame: u64) {
        let index = (frame / 64) as usize;
        self.words[index] |= 1 << (frame % 64);
        self.highest = self.highest.max(index);
        self.free += 1;
    }

    fn mark_used(&mut self, frame: u64) {
        self.words[(frame / 64) as usize] &= !(1 << (frame % 64));
        self.free -= 1;
    }
}

/// The words of a bitmap of `words` words that frames `start..end` touch, and which bits of each.
fn masks(start: u64, end: u64, words: usize) -> impl Iterator<Item = (usize, u64)> {
    let end = end.min(words as u64 * 64);
    let indices = if start < end { start / 64..end.div_ceil(64) } else { 0..0 };
    indices.map(move |index| {
        let above = u64::MAX << start.saturating_sub(index * 64);
        let below = u64::MAX >> (index * 64 + 64).saturating_sub(end);
        (index as usize, above & below)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_frames_come_from_the_top_and_run_out() {
        let mut words = [u64::MAX; 2];
        let mut frames = FrameAllocator::new(&mut words);
        frames.add(60, 67);

        let taken: Vec<u64> = std::iter::from_fn(|| frames.allocate()).collect();

        assert_eq!(taken, [66, 65, 64, 63, 62, 61, 60]);
        assert_eq!((frames.free_count(), frames.total_count()), (0, 7));
    }

    #[test]
    fn a_run_is_contiguous_and_below_its_limit() {
        let mut words = [0; 8];
        let mut frames = FrameAllocator::new(&mut words);
        frames.add(1, 512);
        frames.reserve(3, 4);
        frames.reserve(100, 101);

        assert_eq!(frames.allocate_run(97, 512), Some(101));
        assert_eq!(frames.allocate_run(2, 512), Some(1));
        assert_eq!(frames.allocate_run(96, 100), Some(4));
        assert_eq!(frames.allocate_run(1, 198), None);
        assert_eq!(frames.allocate_run(1, 199), Some(198));
        assert_eq!(frames.allocate_run(0, 512), None);
        assert_eq!(frames.allocate_run(u64::MAX, u64::MAX), None);
    }

    #[test]
    fn a_run_may_take_everything_that_is_left() {
        let mut words = [0; 4];
        let mut frames = FrameAllocator::new(&mut words);
        frames.add(0, 256);

        assert_eq!(frames.allocate_run(256, 256), Some(0));
        assert_eq!(frames.allocate(), None);
    }

    #[test]
    fn a_frame_released_twice_or_unknown_is_refused() {
        let mut words = [0; 1];
        let mut frames = FrameAllocator::new(&mut words);
        frames.add(0, 64);
        let frame = frames.allocate().unwrap();

        assert!(frames.release(frame));
        assert!(!frames.release(frame));
        assert!(!frames.release(64));
        assert_eq!(frames.free_count(), 64);
    }

    #[test]
    fn a_released_frame_is_found_again() {
        let mut words = [0; 4];
        let mut frames = FrameAllocator::new(&mut words);
        frames.add(0, 256);
        while frames.allocate().is_some() {}

        assert!(frames.release(200));

        assert_eq!(frames.allocate(), Some(200));
    }

    #[test]
    fn handing_a_frame_over_twice_counts_it_once() {
        let mut words = [0; 1];
        let mut frames = FrameAllocator::new(&mut words);

        frames.add(0, 10);
        frames.add(5, 1000);

        assert_eq!((frames.free_count(), frames.total_count()), (64, 64));
    }
}
