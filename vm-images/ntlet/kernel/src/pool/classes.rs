//! Free blocks: lists of cells of one size each, cut from spans of pages.

use core::ptr::{NonNull, null_mut};

use wdf_sys::wdm::constants::bug_check;

use super::HEADER;
use crate::bug_check::bug_check;
use crate::hal;
use crate::hal::{PAGE_SIZE, Protection};

/// Sizes of cells, header and mark included. Multiples of 16, of which a page holds a whole number with little left over: no cell
/// crosses the border of a page, as no block of less than a page does on Windows.
const SIZES: [u16; 23] =
    [32, 48, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256, 288, 336, 400, 448, 512, 576, 672, 816, 1024, 1360, 2048];
/// Pages that are cut at once.
const SPAN_PAGES: usize = 8;
/// What free cells are filled with, behind their header and the link: up to this many bytes.
const POISONED: usize = 64;
const POISON: u8 = 0xdd;

/// The smallest class whose cells have `size` bytes.
pub(super) fn class_of(size: usize) -> Option<usize> {
    let index = SIZES.partition_point(|&cell| usize::from(cell) < size);
    (index < SIZES.len()).then_some(index)
}

/// A free cell. Its first 16 bytes are the header of the block that it was, kept to tell a second free from a wild one.
#[repr(C)]
struct Cell {
    header: [u8; HEADER],
    next: *mut Cell,
}

/// The lists, and the rest of the span that is being cut.
pub(super) struct Free {
    lists: [*mut Cell; SIZES.len()],
    /// What is left of each class's current span.
    rests: [(*mut u8, usize); SIZES.len()],
}

// SAFETY: the cells belong to whoever holds the lock around this.
unsafe impl Send for Free {}

/// The bytes of a free cell that are poisoned: behind header and link, as far as the cell reaches.
fn poisoned(cell: *mut Cell, class: usize) -> (*mut u8, usize) {
    let start = size_of::<Cell>();
    (cell.cast::<u8>().wrapping_add(start), POISONED.min(usize::from(SIZES[class]) - start))
}

impl Free {
    pub(super) const fn new() -> Self {
        Self { lists: [null_mut(); SIZES.len()], rests: [(null_mut(), 0); SIZES.len()] }
    }

    /// A cell of a class.
    pub(super) fn take(&mut self, class: usize) -> Option<NonNull<u8>> {
        let cell = self.lists[class];
        if cell.is_null() {
            return self.cut(class);
        }
        let (start, length) = poisoned(cell, class);
        // SAFETY: cells in a list are free, as large as their class says, and were poisoned.
        unsafe {
            if core::slice::from_raw_parts(start, length).iter().any(|&byte| byte != POISON) {
                // Somebody wrote to a block after freeing it.
                bug_check(bug_check::BAD_POOL_HEADER, [0x3, cell.addr() as u64, (*cell).next.addr() as u64, start.addr() as u64]);
            }
            self.lists[class] = (*cell).next;
        }
        NonNull::new(cell.cast())
    }

    fn cut(&mut self, class: usize) -> Option<NonNull<u8>> {
        let size = usize::from(SIZES[class]);
        let (start, left) = &mut self.rests[class];
        let in_page = *left % PAGE_SIZE;
        if in_page < size && in_page != 0 {
            *start = start.wrapping_add(in_page);
            *left -= in_page;
        }
        if *left == 0 {
            *start = hal().allocate_pages(SPAN_PAGES, Protection::ReadWrite)?.as_ptr();
            *left = SPAN_PAGES * PAGE_SIZE;
        }
        let cell = *start;
        *start = start.wrapping_add(size);
        *left -= size;
        NonNull::new(cell)
    }

    /// Takes a cell back.
    ///
    /// # Safety
    /// The cell came from [`Free::take`] for this class and is used by nobody.
    pub(super) unsafe fn give_back(&mut self, class: usize, cell: NonNull<u8>) {
        let cell = cell.as_ptr().cast::<Cell>();
        let (start, length) = poisoned(cell, class);
        // SAFETY: the caller's promise.
        unsafe {
            start.write_bytes(POISON, length);
            (*cell).next = self.lists[class];
        }
        self.lists[class] = cell;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_gets_the_smallest_cell_it_fits_into() {
        assert_eq!(class_of(1).map(|class| SIZES[class]), Some(32));
        assert_eq!(class_of(33).map(|class| SIZES[class]), Some(48));
        assert_eq!(class_of(2048).map(|class| SIZES[class]), Some(2048));
        assert_eq!(class_of(2049), None);
        assert!(SIZES.is_sorted() && SIZES.iter().all(|size| size % 16 == 0));
        assert!(SIZES.iter().all(|&size| PAGE_SIZE % usize::from(size) <= PAGE_SIZE / 32), "little is left of a page");
    }
}
