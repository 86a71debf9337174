//! The pool: memory of the kernel and its drivers, with a tag and an owner for every block.
//!
//! Blocks of less than about half a page come from spans that are cut into one size each; larger ones have pages of their own. A block of
//! less than a page lies in one page, a larger one begins with one, as the documentation of ExAllocatePool2 says. A header lies
//! before every block and a mark behind its last byte: freeing checks both, so that a block that was overrun, freed twice or never
//! allocated is a bug check that names it. Nothing here is executable.

mod accounts;
mod block;
mod classes;
mod exported;
#[cfg(test)]
mod tests;

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

pub use accounts::{Usage, leak_report, usage};
use block::{Fault, Header, LARGE, MARK_SIZE};
use classes::Free;
pub use exported::*;

use crate::hal::{PAGE_SIZE, Protection};
use crate::loader::modules;
use crate::lock::SpinLock;
use crate::{hal, try_hal};

/// Tag of the executive's own blocks.
const OWN_TAG: u32 = u32::from_le_bytes(*b"ntle");
/// Size of a header, and the alignment of every block.
const HEADER: usize = size_of::<Header>();
/// Largest block: half of what an address of 32 bits spans.
const LARGEST: usize = 1 << 31;

static FREE: SpinLock<Free> = SpinLock::new(Free::new());

/// What a block is allocated as.
#[derive(Clone, Copy)]
struct Wanted {
    size: usize,
    /// A power of two, at least 16.
    align: usize,
    tag: u32,
    /// Slot of the module it is for.
    owner: usize,
}

/// Allocates a block, not cleared. `None` when memory has run out.
fn allocate(wanted: &Wanted) -> Option<NonNull<u8>> {
    if wanted.size > LARGEST || wanted.align > PAGE_SIZE {
        return None;
    }
    // Room to move the block up to its alignment; the header moves along.
    let slack = if wanted.align > HEADER { wanted.align } else { 0 };
    let whole = HEADER + slack + wanted.size + MARK_SIZE;
    let block = match classes::class_of(whole) {
        Some(class) if wanted.size < PAGE_SIZE && wanted.align < PAGE_SIZE => {
            let start = FREE.lock().take(class)?;
            let body = (start.as_ptr().addr() + HEADER).next_multiple_of(wanted.align.max(HEADER));
            let shift = body - HEADER - start.as_ptr().addr();
            // SAFETY: `whole` leaves room for the shift.
            let body = unsafe { start.add(shift + HEADER) };
            // SAFETY: the block is new and large enough for what is wanted behind `body`.
            unsafe { block::write(body, wanted.size, wanted.tag, wanted.owner, class as u8, shift) };
            body
        }
        _ => allocate_pages(wanted)?,
    };
    accounts::allocated(wanted.owner, wanted.tag, wanted.size);
    Some(block)
}

/// A block on pages of its own: one page that ends with the header, then the block, aligned to a page as on Windows.
fn allocate_pages(wanted: &Wanted) -> Option<NonNull<u8>> {
    let start = hal().allocate_pages(1 + block_pages(wanted.size), Protection::ReadWrite)?;
    // SAFETY: the allocation has a page before and enough behind.
    unsafe {
        let body = start.add(PAGE_SIZE);
        block::write(body, wanted.size, wanted.tag, wanted.owner, LARGE, 0);
        Some(body)
    }
}

fn block_pages(size: usize) -> usize {
    (size + MARK_SIZE).div_ceil(PAGE_SIZE)
}

/// Frees a block.
///
/// # Errors
/// What is wrong with it; then it stays as it is.
///
/// # Safety
/// Nobody uses the block any more, if it is one.
unsafe fn free(body: NonNull<u8>, tag: Option<u32>) -> Result<(), Fault> {
    if !body.as_ptr().addr().is_multiple_of(HEADER) || !hal().is_mapped(body.as_ptr().wrapping_sub(HEADER).cast(), HEADER, true) {
        return Err(Fault::NoBlock);
    }
    // SAFETY: the header's bytes are mapped, as was just asked.
    let header = unsafe { block::check(body, tag)? };
    accounts::freed(header.owner(), header.tag(), header.size());
    // SAFETY: the header is sound, so that the block is what it says; the caller says that nobody uses it.
    unsafe {
        block::mark_as_freed(body);
        if header.class() == LARGE {
            hal().free_pages(body.sub(PAGE_SIZE), 1 + block_pages(header.size()));
        } else {
            let start = body.sub(HEADER + header.shift());
            FREE.lock().give_back(usize::from(header.class()), start);
        }
    }
    Ok(())
}

/// Rust's allocator over the pool: `#[global_allocator]` of the image.
#[derive(Clone, Copy, Debug)]
pub struct KernelAllocator;

// SAFETY: blocks are disjoint, aligned as asked, and stay until they are freed; nothing here unwinds.
unsafe impl GlobalAlloc for KernelAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if try_hal().is_none() {
            return null_mut();
        }
        let wanted = Wanted { size: layout.size(), align: layout.align().max(HEADER), tag: OWN_TAG, owner: modules::IMAGE };
        allocate(&wanted).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, _layout: Layout) {
        // SAFETY: the caller's promise.
        let result = NonNull::new(pointer).map_or(Err(Fault::NoBlock), |body| unsafe { free(body, Some(OWN_TAG)) });
        if let Err(fault) = result {
            fault.bug_check(pointer.addr(), OWN_TAG)
        }
    }
}
