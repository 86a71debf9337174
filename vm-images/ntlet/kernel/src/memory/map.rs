//! Device memory and physical addresses.

use core::ffi::c_void;

use wdf_sys::wdm::constants::{MM_CACHED, MM_WRITE_COMBINED, bug_check};

use crate::hal;
use crate::hal::Caching;

const PAGE_READONLY: u32 = 0x02;
const PAGE_READWRITE: u32 = 0x04;
const PAGE_NOCACHE: u32 = 0x200;
const PAGE_WRITECOMBINE: u32 = 0x400;

/// # Safety
/// As the documentation of MmMapIoSpace demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmMapIoSpace(PhysicalAddress: i64, NumberOfBytes: usize, CacheType: i32) -> *mut c_void {
    let caching = match CacheType {
        MM_CACHED => Caching::Cached,
        MM_WRITE_COMBINED => Caching::WriteCombined,
        _ => Caching::Uncached,
    };
    map(PhysicalAddress, NumberOfBytes, caching)
}

/// # Safety
/// As the documentation of MmMapIoSpaceEx demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmMapIoSpaceEx(PhysicalAddress: i64, NumberOfBytes: usize, Protect: u32) -> *mut c_void {
    // Executable device memory is refused, as is what names no access at all.
    if !matches!(Protect & 0xff, PAGE_READONLY | PAGE_READWRITE) {
        return core::ptr::null_mut();
    }
    let caching = match Protect & (PAGE_NOCACHE | PAGE_WRITECOMBINE) {
        PAGE_NOCACHE => Caching::Uncached,
        PAGE_WRITECOMBINE => Caching::WriteCombined,
        0 => Caching::Cached,
        _ => return core::ptr::null_mut(),
    };
    map(PhysicalAddress, NumberOfBytes, caching)
}

fn map(physical: i64, length: usize, caching: Caching) -> *mut c_void {
    if length == 0 || (physical as u64).checked_add(length as u64).is_none() {
        return core::ptr::null_mut();
    }
    hal().map_physical(physical as u64, length, caching).map_or(core::ptr::null_mut(), |start| start.as_ptr().cast())
}

/// # Safety
/// As the documentation of MmUnmapIoSpace demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmUnmapIoSpace(BaseAddress: *mut c_void, NumberOfBytes: usize) {
    match core::ptr::NonNull::new(BaseAddress.cast::<u8>()) {
        // SAFETY: the caller's promise that it was mapped with this length and is used no more.
        Some(start) => unsafe { hal().unmap(start, NumberOfBytes) },
        None => crate::io::stop(bug_check::PAGE_FAULT_IN_NONPAGED_AREA, [0, 0, 0, 0]),
    }
}

/// # Safety
/// Any address may be asked about; 0 is the answer for one that is not mapped.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmGetPhysicalAddress(BaseAddress: *mut c_void) -> i64 {
    hal().physical_address(BaseAddress).unwrap_or(0) as i64
}
