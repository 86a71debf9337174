//! What drivers check addresses with.

use core::ffi::c_void;

use wdf_sys::wdm::constants::USER_MODE;
use wdf_sys::{BOOLEAN, NTSTATUS};

use super::user;
use crate::exception::raise::OrRaise;
use crate::{hal, raising};

raising! { ProbeForRead(Address: *const c_void, Length: usize, Alignment: u32) => for_read }
raising! { ProbeForWrite(Address: *mut c_void, Length: usize, Alignment: u32) => for_write }

/// # Safety
/// Any address may be asked about.
unsafe extern "win64" fn for_read(address: *const c_void, length: usize, alignment: u32) -> OrRaise {
    // Windows checks the range only; what is not mapped faults when it is read.
    let is_range = length == 0 || user::is_user_range(address.addr() as u64, length as u64);
    OrRaise::status(match (length == 0 || is_aligned(address, alignment), is_range) {
        (false, _) => NTSTATUS::DATATYPE_MISALIGNMENT,
        (true, false) => NTSTATUS::ACCESS_VIOLATION,
        (true, true) => NTSTATUS::SUCCESS,
    })
}

/// # Safety
/// Any address may be asked about.
unsafe extern "win64" fn for_write(address: *mut c_void, length: usize, alignment: u32) -> OrRaise {
    if length != 0 && !is_aligned(address, alignment) {
        return OrRaise::status(NTSTATUS::DATATYPE_MISALIGNMENT);
    }
    user::probe(USER_MODE, address, length, true).map(|()| 0).into()
}

fn is_aligned(address: *const c_void, alignment: u32) -> bool {
    address.addr().is_multiple_of(alignment.max(1) as usize)
}

/// # Safety
/// Any address may be asked about.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmIsAddressValid(VirtualAddress: *mut c_void) -> BOOLEAN {
    let is_user = user::is_user_range(VirtualAddress.addr() as u64, 1);
    let is_mapped_for_user = is_user && hal().user_frame(VirtualAddress.addr() as u64, false).is_some();
    u8::from(is_mapped_for_user || hal().is_mapped(VirtualAddress, 1, false))
}
