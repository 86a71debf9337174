//! What drivers check addresses with.

use core::ffi::c_void;

use wdf_sys::wdm::UNICODE_STRING;
use wdf_sys::wdm::constants::USER_MODE;
use wdf_sys::{BOOLEAN, NTSTATUS};

use super::user;
use crate::hal;

/// # Safety
/// As the documentation of ProbeForRead demands; raises an exception for an address that is not the user's.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ProbeForRead(Address: *const c_void, Length: usize, Alignment: u32) {
    if Length == 0 {
        return;
    }
    if !is_aligned(Address, Alignment) {
        crate::exception::raise(NTSTATUS::DATATYPE_MISALIGNMENT);
    }
    // Windows checks the range only; what is not mapped faults when it is read.
    if !user::is_user_range(Address.addr() as u64, Length as u64) {
        crate::exception::raise(NTSTATUS::ACCESS_VIOLATION);
    }
}

/// # Safety
/// As the documentation of ProbeForWrite demands; raises an exception for an address that cannot be written.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ProbeForWrite(Address: *mut c_void, Length: usize, Alignment: u32) {
    if Length == 0 {
        return;
    }
    if !is_aligned(Address, Alignment) {
        crate::exception::raise(NTSTATUS::DATATYPE_MISALIGNMENT);
    }
    if let Err(status) = user::probe(USER_MODE, Address, Length, true) {
        crate::exception::raise(status);
    }
}

fn is_aligned(address: *const c_void, alignment: u32) -> bool {
    address.addr().is_multiple_of(alignment.max(1) as usize)
}

/// # Safety
/// Any address may be asked about.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn MmIsAddressValid(VirtualAddress: *mut c_void) -> BOOLEAN {
    let is_user = user::is_user_range(VirtualAddress.addr() as u64, 1);
    let is_mapped_for_user = is_user && hal().user_frame(VirtualAddress.addr() as u64, false).is_some();
    u8::from(is_mapped_for_user || hal().is_mapped(VirtualAddress, 1, false))
}

/// # Safety
/// As the documentation of MmGetSystemRoutineAddress demands.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn MmGetSystemRoutineAddress(SystemRoutineName: *mut UNICODE_STRING) -> *mut c_void {
    // SAFETY: the caller's promise.
    let Ok(units) = (unsafe { crate::io::units(SystemRoutineName) }) else { return core::ptr::null_mut() };
    let name = crate::object::name::lossy(units);
    crate::exports::find_kernel(&name).map_or(core::ptr::null_mut(), core::ptr::with_exposed_provenance_mut)
}
