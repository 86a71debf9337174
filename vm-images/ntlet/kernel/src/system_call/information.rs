//! What programs and drivers may know about the system.

use core::ffi::c_void;

use wdf_sys::NTSTATUS;

use crate::hal;
use crate::hal::PAGE_SIZE;
use crate::memory::user;

/// `SystemBasicInformation`, the class that there is.
const BASIC: u32 = 0;

/// A `SYSTEM_BASIC_INFORMATION`: clock increment, pages, the range of user addresses, processors.
pub(super) fn about_system(class: u32) -> Result<[u8; 64], NTSTATUS> {
    if class != BASIC {
        return Err(NTSTATUS::INVALID_INFO_CLASS);
    }
    let mut information = [0u8; 64];
    let mut word = |at: usize, value: u32| information[at..at + 4].copy_from_slice(&value.to_le_bytes());
    word(4, 156_250);
    word(8, PAGE_SIZE as u32);
    word(12, hal().memory().1 as u32);
    word(24, 0x1_0000);
    let mut long = |at: usize, value: u64| information[at..at + 8].copy_from_slice(&value.to_le_bytes());
    long(32, 0x1_0000);
    long(40, user::USER_LIMIT - 1);
    long(48, (1u64 << hal().processor_count().min(63)) - 1);
    information[56] = hal().processor_count() as u8;
    Ok(information)
}

/// # Safety
/// As the documentation of ZwQuerySystemInformation demands.
#[allow(non_snake_case, reason = "names are the documentation's")]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwQuerySystemInformation(
    SystemInformationClass: u32,
    SystemInformation: *mut c_void,
    SystemInformationLength: u32,
    ReturnLength: *mut u32,
) -> NTSTATUS {
    let information = match about_system(SystemInformationClass) {
        Ok(information) => information,
        Err(status) => return status,
    };
    // SAFETY: the caller's promise: so many bytes, and null or a place for the length.
    unsafe {
        if let Some(length) = ReturnLength.as_mut() {
            *length = information.len() as u32;
        }
        if SystemInformationLength as usize != information.len() {
            return NTSTATUS::INFO_LENGTH_MISMATCH;
        }
        SystemInformation.cast::<u8>().copy_from(information.as_ptr(), information.len());
    }
    NTSTATUS::SUCCESS
}
