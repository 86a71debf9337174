//! Memory that is contiguous for devices. Its sizes are remembered, because it is freed by address alone.

use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};

use wdf_sys::wdm::constants::bug_check;

use crate::hal;
use crate::hal::PAGE_SIZE;
use crate::lock::SpinLock;

/// Start and pages of every block.
static BLOCKS: SpinLock<Vec<(usize, usize)>> = SpinLock::new(Vec::new());

/// Zeroed pages below `limit`.
pub(crate) fn allocate(length: usize, limit: u64) -> Option<NonNull<u8>> {
    let pages = length.checked_next_multiple_of(PAGE_SIZE)? / PAGE_SIZE;
    if pages == 0 {
        return None;
    }
    let start = hal().allocate_contiguous(pages, limit)?;
    BLOCKS.lock().push((start.addr().get(), pages));
    Some(start)
}

/// Gives a block back. Bug check `BAD_POOL_CALLER` for an address that is none.
///
/// # Safety
/// Nobody uses the block any more.
pub(crate) unsafe fn free(start: *mut c_void) {
    let found = {
        let mut blocks = BLOCKS.lock();
        let at = blocks.iter().position(|&(address, _)| address == start.addr());
        at.map(|at| blocks.swap_remove(at))
    };
    match (found, NonNull::new(start.cast::<u8>())) {
        // SAFETY: the block is one of ours, and the caller's promise.
        (Some((_, pages)), Some(start)) => unsafe { hal().free_pages(start, pages) },
        _ => crate::io::stop(bug_check::BAD_POOL_CALLER, [0x46, start.addr(), 0, 0]),
    }
}

/// Number of blocks that were not given back, for the report at shutdown.
pub(crate) fn outstanding() -> usize {
    BLOCKS.lock().len()
}

/// # Safety
/// As the documentation of MmAllocateContiguousMemory demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmAllocateContiguousMemory(
    NumberOfBytes: usize,
    HighestAcceptableAddress: i64,
) -> *mut c_void {
    allocate(NumberOfBytes, (HighestAcceptableAddress as u64).saturating_add(1)).map_or(null_mut(), |start| start.as_ptr().cast())
}

/// # Safety
/// As the documentation of MmAllocateContiguousMemorySpecifyCache demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmAllocateContiguousMemorySpecifyCache(
    NumberOfBytes: usize,
    LowestAcceptableAddress: i64,
    HighestAcceptableAddress: i64,
    BoundaryAddressMultiple: i64,
    _CacheType: i32,
) -> *mut c_void {
    let Some(start) = allocate(NumberOfBytes, (HighestAcceptableAddress as u64).saturating_add(1)) else { return null_mut() };
    let physical = hal().physical_address(start.as_ptr().cast()).unwrap_or(0);
    let last = physical + NumberOfBytes as u64 - 1;
    let boundary = BoundaryAddressMultiple as u64;
    let crosses = boundary != 0 && physical / boundary != last / boundary;
    if physical < LowestAcceptableAddress as u64 || crosses {
        // SAFETY: the block was just allocated and nobody has seen it.
        unsafe { free(start.as_ptr().cast()) };
        return null_mut();
    }
    start.as_ptr().cast()
}

/// # Safety
/// As the documentation of MmFreeContiguousMemory demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmFreeContiguousMemory(BaseAddress: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { free(BaseAddress) };
}

/// # Safety
/// As the documentation of MmFreeContiguousMemorySpecifyCache demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmFreeContiguousMemorySpecifyCache(
    BaseAddress: *mut c_void,
    _NumberOfBytes: usize,
    _CacheType: i32,
) {
    // SAFETY: the caller's promise.
    unsafe { free(BaseAddress) };
}
