//! Locking pageable code and data: ntlet pages nothing out, so that what drivers ask for is always so.

use core::ffi::c_void;

use crate::hal;
use crate::hal::PAGE_SIZE;
use crate::loader::modules;

/// The module of an address, which stands for its sections. Documented: the address of the section's image.
fn module_of(address: *const c_void) -> *mut c_void {
    let base = modules::find(address.addr()).map_or(0, |module| module.base());
    core::ptr::with_exposed_provenance_mut(base)
}

/// # Safety
/// As the documentation of MmLockPagableDataSection demands; `MmLockPagableCodeSection` is the same function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmLockPagableDataSection(AddressWithinSection: *mut c_void) -> *mut c_void {
    module_of(AddressWithinSection)
}

/// # Safety
/// No conditions; the documentation of MmLockPagableSectionByHandle asks for a handle of [`MmLockPagableDataSection`].
#[unsafe(no_mangle)]
pub(crate) const unsafe extern "win64" fn MmLockPagableSectionByHandle(_ImageSectionHandle: *mut c_void) {}

/// # Safety
/// No conditions.
#[unsafe(no_mangle)]
pub(crate) const unsafe extern "win64" fn MmUnlockPagableImageSection(_ImageSectionHandle: *mut c_void) {}

/// # Safety
/// As the documentation of MmPageEntireDriver demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmPageEntireDriver(AddressWithinSection: *mut c_void) -> *mut c_void {
    module_of(AddressWithinSection)
}

/// # Safety
/// No conditions.
#[unsafe(no_mangle)]
pub(crate) const unsafe extern "win64" fn MmResetDriverPaging(_AddressWithinSection: *mut c_void) {}

/// # Safety
/// No conditions.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmSizeOfMdl(Base: *mut c_void, Length: usize) -> usize {
    // Only the offset in the page matters of the address.
    let offset = Base.addr() % PAGE_SIZE;
    size_of::<wdf_sys::wdm::MDL>() + 8 * (offset + Length).div_ceil(PAGE_SIZE)
}

/// # Safety
/// No conditions. `MM_SYSTEMSIZE`: 0 small, 1 medium, 2 large.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmQuerySystemSize() -> i32 {
    const MEDIUM: u64 = 256 << 8;
    const LARGE: u64 = 2048 << 8;
    let (_, pages) = hal().memory();
    i32::from(pages >= MEDIUM) + i32::from(pages >= LARGE)
}

/// # Safety
/// No conditions. Whether the system is a server.
#[unsafe(no_mangle)]
pub(crate) const unsafe extern "win64" fn MmIsThisAnNtAsSystem() -> u8 {
    0
}
