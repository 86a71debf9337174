//! Blocks of memory of a driver's requests, kept for the next ones: the only objects that come and go with every I/O.

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::functions::ExFreePoolWithTag;

use crate::sync::SpinLock;

/// Most blocks that are kept; a driver with more requests than that at once gets the others from pool.
const MOST: usize = 64;

struct List {
    /// The first block, which begins with the address of the next.
    first: *mut *mut c_void,
    count: usize,
    /// Bytes of each block; settled by the first that comes back.
    size: usize,
}

// SAFETY: the blocks in the list are nobody else's.
unsafe impl Send for List {}

/// The free blocks of one driver, all of one size and with the driver's pool tag.
pub(crate) struct Blocks(SpinLock<List>);

impl Blocks {
    pub(crate) const fn new() -> Self {
        Self(SpinLock::new(List { first: null_mut(), count: 0, size: 0 }))
    }

    /// A zeroed block of `size` bytes; null when there is none.
    pub(crate) fn take(&self, size: usize) -> *mut c_void {
        let block = {
            let mut list = self.0.lock();
            if list.first.is_null() || list.size != size {
                return null_mut();
            }
            let block = list.first;
            // SAFETY: a block in the list begins with the address of the next.
            list.first = unsafe { (*block).cast() };
            list.count -= 1;
            block
        };
        // SAFETY: the block has this size and is the caller's now.
        unsafe { block.cast::<u8>().write_bytes(0, size) };
        block.cast()
    }

    /// Keeps a block. `false`: it is not wanted, and still the caller's.
    ///
    /// # Safety
    /// `block` is one of `size` bytes from pool, with the tag that [`Blocks::free_all`] is called with, and nobody else's.
    pub(crate) unsafe fn keep(&self, block: *mut c_void, size: usize) -> bool {
        let mut list = self.0.lock();
        if list.count == 0 {
            list.size = size;
        }
        if list.count >= MOST || list.size != size {
            return false;
        }
        let block = block.cast::<*mut c_void>();
        // SAFETY: the caller's promise; a block has room for an address.
        unsafe { block.write(list.first.cast()) };
        list.first = block;
        list.count += 1;
        true
    }

    /// Gives every block back to the pool.
    pub(crate) fn free_all(&self, tag: u32) {
        let mut at = {
            let mut list = self.0.lock();
            list.count = 0;
            core::mem::replace(&mut list.first, null_mut())
        };
        while !at.is_null() {
            // SAFETY: blocks of the list, which begin with the address of the next; each was kept with this tag.
            unsafe {
                let next = (*at).cast();
                ExFreePoolWithTag(at.cast(), tag);
                at = next;
            }
        }
    }
}
