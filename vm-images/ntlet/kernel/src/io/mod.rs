//! The I/O manager: driver, device and file objects, IRPs on their way down and up, cancellation, and the requests of programs.
//!
//! Drivers are called with no lock held. Whatever a driver hands in is checked as far as Windows checks it; what Windows would let
//! run into memory corruption ends in a bug check with a name.

pub(crate) mod build;
pub(crate) mod call;
pub(crate) mod cancel;
pub(crate) mod cancel_safe_queue;
pub(crate) mod complete;
pub(crate) mod completion_port;
pub(crate) mod device;
pub(crate) mod driver;
pub(crate) mod error_log;
mod fast;
pub(crate) mod file;
pub(crate) mod finish;
pub(crate) mod information;
pub(crate) mod irp;
pub(crate) mod legacy;
pub(crate) mod miscellany;
pub(crate) mod open;
pub(crate) mod remove_lock;
pub(crate) mod request;
pub(crate) mod services;
pub(crate) mod share_access;
pub(crate) mod shutdown;
pub(crate) mod start_io;
#[cfg(test)]
mod tests;
pub(crate) mod wait;
pub(crate) mod watch;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::UNICODE_STRING;
use wdf_sys::wdm::functions::KeBugCheckEx;

/// Stops the machine.
pub(crate) fn stop(code: u32, parameters: [usize; 4]) -> ! {
    let [first, second, third, fourth] = parameters;
    // SAFETY: a bug check may be raised anywhere; it reads nothing through its parameters.
    unsafe { KeBugCheckEx(code, first, second, third, fourth) }
}

/// The units of a string that a driver passed.
///
/// # Safety
/// `string` is null or a counted string whose buffer is readable.
pub(crate) unsafe fn units<'a>(string: *const UNICODE_STRING) -> Result<&'a [u16], NTSTATUS> {
    // SAFETY: the caller's promise.
    let string = unsafe { string.as_ref() }.ok_or(NTSTATUS::INVALID_PARAMETER)?;
    if string.Length % 2 != 0 || string.Buffer.is_null() && string.Length != 0 {
        return Err(NTSTATUS::OBJECT_NAME_INVALID);
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { string.units() })
}
