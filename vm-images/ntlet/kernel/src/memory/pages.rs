//! Pages without an address of their own: `MmAllocatePagesForMdl` and its kin; and memory that no cache holds.
#![allow(clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};

use wdf_sys::wdm::MDL;
use wdf_sys::wdm::constants::*;

use super::mdl::{self, IoAllocateMdl};
use crate::hal;
use crate::hal::{PAGE_SIZE, Protection};
use crate::lock::SpinLock;

/// Flags of `MmAllocatePagesForMdlEx`: all pages or none; next to each other.
const FULLY_REQUIRED: u32 = 0x4;
const CONTIGUOUS_CHUNKS: u32 = 0x20;

/// Where the kernel has the pages that belong to each MDL: the machine gives pages with an address.
static PAGES: SpinLock<Vec<(usize, Vec<usize>)>> = SpinLock::new(Vec::new());

/// # Safety
/// As the documentation of MmAllocatePagesForMdl demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmAllocatePagesForMdl(
    LowAddress: i64,
    HighAddress: i64,
    SkipBytes: i64,
    TotalBytes: usize,
) -> *mut MDL {
    // SAFETY: the caller's promise.
    unsafe { MmAllocatePagesForMdlEx(LowAddress, HighAddress, SkipBytes, TotalBytes, 1, 0) }
}

/// # Safety
/// As the documentation of MmAllocatePagesForMdlEx demands. Of the flags, those that ask for all or nothing and for neighbours are kept to;
/// pages are always zero, and always cached.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmAllocatePagesForMdlEx(
    LowAddress: i64,
    HighAddress: i64,
    _SkipBytes: i64,
    TotalBytes: usize,
    _CacheType: i32,
    Flags: u32,
) -> *mut MDL {
    let count = TotalBytes.div_ceil(PAGE_SIZE);
    let (low, high) = (LowAddress as u64, HighAddress as u64);
    if count == 0 || TotalBytes > u32::MAX as usize || low > high {
        return null_mut();
    }
    let starts = if Flags & CONTIGUOUS_CHUNKS != 0 { neighbours(count, low, high) } else { singles(count, low, high) };
    if starts.is_empty() || Flags & FULLY_REQUIRED != 0 && starts.len() < count {
        give_back(&starts, Flags & CONTIGUOUS_CHUNKS != 0);
        return null_mut();
    }
    // SAFETY: an MDL of this function's own, as long as the pages need.
    unsafe {
        let bytes = (starts.len() * PAGE_SIZE).min(TotalBytes);
        let list = IoAllocateMdl(null_mut(), bytes as u32, 0, 0, null_mut());
        if list.is_null() {
            give_back(&starts, Flags & CONTIGUOUS_CHUNKS != 0);
            return null_mut();
        }
        for (frame, start) in mdl::frames(list).iter_mut().zip(&starts) {
            let address = core::ptr::with_exposed_provenance::<c_void>(*start);
            *frame = hal().physical_address(address).unwrap_or(0) / PAGE_SIZE as u64;
        }
        (*list).MdlFlags |= MDL_PAGES_LOCKED;
        let owned = if Flags & CONTIGUOUS_CHUNKS != 0 { Vec::from([starts[0], starts.len()]) } else { starts };
        PAGES.lock().push((list.expose_provenance() | usize::from(Flags & CONTIGUOUS_CHUNKS != 0), owned));
        list
    }
}

/// Pages from wherever there are some in the range.
fn singles(count: usize, low: u64, high: u64) -> Vec<usize> {
    let mut starts = Vec::new();
    if starts.try_reserve_exact(count).is_err() {
        return starts;
    }
    for _ in 0..count {
        let page = match high {
            // Only a limit below what there is needs the allocator that keeps to one.
            0..=0xffff_ffff => hal().allocate_contiguous(1, high.saturating_add(1)),
            _ => hal().allocate_pages(1, Protection::ReadWrite),
        };
        let Some(page) = page else { break };
        let physical = hal().physical_address(page.as_ptr().cast()).unwrap_or(0);
        if physical < low || physical > high {
            // SAFETY: the page is new and nobody's.
            unsafe { hal().free_pages(page, 1) };
            break;
        }
        starts.push(page.as_ptr().expose_provenance());
    }
    starts
}

/// Pages next to each other.
fn neighbours(count: usize, low: u64, high: u64) -> Vec<usize> {
    let Some(first) = hal().allocate_contiguous(count, high.saturating_add(1)) else { return Vec::new() };
    if hal().physical_address(first.as_ptr().cast()).unwrap_or(0) < low {
        // SAFETY: the pages are new and nobody's.
        unsafe { hal().free_pages(first, count) };
        return Vec::new();
    }
    let first = first.as_ptr().expose_provenance();
    (0..count).map(|page| first + page * PAGE_SIZE).collect()
}

fn give_back(starts: &[usize], as_one: bool) {
    let free = |start: usize, pages: usize| {
        if let Some(start) = NonNull::new(core::ptr::with_exposed_provenance_mut(start)) {
            // SAFETY: allocated here, in the pieces that are freed; nobody refers to the pages any more.
            unsafe { hal().free_pages(start, pages) };
        }
    };
    match starts {
        [] => {}
        [first, ..] if as_one => free(*first, starts.len()),
        all => all.iter().for_each(|start| free(*start, 1)),
    }
}

/// # Safety
/// As the documentation of MmFreePagesFromMdl demands. The MDL itself stays, for `ExFreePool`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmFreePagesFromMdl(MemoryDescriptorList: *mut MDL) {
    let gone = {
        let mut pages = PAGES.lock();
        let at = pages.iter().position(|(list, _)| list & !1 == MemoryDescriptorList.addr());
        at.map(|at| pages.swap_remove(at))
    };
    let Some((list, owned)) = gone else {
        crate::io::stop(bug_check::DRIVER_VERIFIER_DETECTED_VIOLATION, [0xb3, MemoryDescriptorList.addr(), 0, 0]);
    };
    // SAFETY: the caller's promise: an MDL of MmAllocatePagesForMdl. A mapping goes before the pages do.
    unsafe { mdl::unlock(MemoryDescriptorList) };
    if list & 1 != 0 {
        let starts: Vec<usize> = (0..owned[1]).map(|page| owned[0] + page * PAGE_SIZE).collect();
        give_back(&starts, true);
    } else {
        give_back(&owned, false);
    }
}

/// # Safety
/// As the documentation of MmAllocateNonCachedMemory demands. The machine's memory is coherent: a cache does no harm.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmAllocateNonCachedMemory(NumberOfBytes: usize) -> *mut c_void {
    let pages = hal().allocate_pages(NumberOfBytes.div_ceil(PAGE_SIZE).max(1), Protection::ReadWrite);
    pages.map_or(null_mut(), |pages| pages.as_ptr().cast())
}

/// # Safety
/// As the documentation of MmFreeNonCachedMemory demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmFreeNonCachedMemory(BaseAddress: *mut c_void, NumberOfBytes: usize) {
    if let Some(start) = NonNull::new(BaseAddress.cast()) {
        // SAFETY: the caller's promise.
        unsafe { hal().free_pages(start, NumberOfBytes.div_ceil(PAGE_SIZE).max(1)) };
    }
}

/// # Safety
/// As the documentation of MmMapLockedPages demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmMapLockedPages(MemoryDescriptorList: *mut MDL, AccessMode: i8) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { mdl::MmMapLockedPagesSpecifyCache(MemoryDescriptorList, AccessMode, 1, null_mut(), 1, 32) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim;
    use wdf_sys::wdm::functions::ExFreePool;

    #[test]
    fn pages_come_without_an_address_are_mapped_and_go_back() {
        sim::run(|_| {
            // SAFETY: an MDL of this test's own.
            unsafe {
                for flags in [0, FULLY_REQUIRED, CONTIGUOUS_CHUNKS] {
                    let list = MmAllocatePagesForMdlEx(0, i64::MAX, 0, 3 * PAGE_SIZE + 1, 1, flags);
                    assert!(!list.is_null() && (*list).ByteCount as usize == 3 * PAGE_SIZE + 1);
                    let mapped = mdl::MmMapLockedPagesSpecifyCache(list, KERNEL_MODE, 1, null_mut(), 0, 16).cast::<u8>();
                    assert!(!mapped.is_null());
                    mapped.add(3 * PAGE_SIZE).write(7);
                    assert_eq!((mapped.read(), mapped.add(3 * PAGE_SIZE).read()), (0, 7), "pages are cleared");
                    mdl::MmUnmapLockedPages(mapped.cast(), list);
                    MmFreePagesFromMdl(list);
                    ExFreePool(list.cast());
                }
                assert!(MmAllocatePagesForMdl(5, 4, 0, 1).is_null(), "a range that is none");
                assert!(PAGES.lock().is_empty());
            }
        });
    }

    #[test]
    fn pages_that_are_freed_twice_are_a_bug_check() {
        // SAFETY: what a driver must not do.
        let outcome = sim::Simulation::new().run(|_| unsafe {
            let list = MmAllocatePagesForMdl(0, i64::MAX, 0, 1);
            MmFreePagesFromMdl(list);
            MmFreePagesFromMdl(list);
        });
        assert_eq!(outcome.expect_bug_check(bug_check::DRIVER_VERIFIER_DETECTED_VIOLATION)[0], 0xb3);
    }
}
