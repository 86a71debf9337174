//! Buffers of a caller: in user mode captured and returned by copy, with whatever address, in kernel mode used as they are.

use alloc::vec::Vec;
use core::ffi::c_void;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::{KERNEL_MODE, USER_MODE};

use crate::{hal, process};

/// First address a program cannot use.
pub(crate) const USER_LIMIT: u64 = 0x7fff_ffff_0000;

/// Largest buffer that is captured in one piece.
const MAX_CAPTURE: usize = 64 << 20;

/// Whether a range lies in the part of the address space that programs own.
pub(crate) const fn is_user_range(address: u64, length: u64) -> bool {
    match address.checked_add(length) {
        Some(end) => end <= USER_LIMIT,
        None => false,
    }
}

/// Copies a caller's bytes into a buffer of ours.
///
/// # Safety
/// In kernel mode, `from` is readable for as many bytes as `to` has.
pub(crate) unsafe fn read(mode: i8, to: &mut [u8], from: *const c_void) -> Result<(), NTSTATUS> {
    if to.is_empty() {
        return Ok(());
    }
    if mode == USER_MODE {
        let address = from.addr() as u64;
        // A page that was committed but never touched is backed now.
        let is_read = hal().copy_from_user(to, address).is_ok()
            || process::fault_in(address, to.len(), false) && hal().copy_from_user(to, address).is_ok();
        return if is_read { Ok(()) } else { Err(NTSTATUS::ACCESS_VIOLATION) };
    }
    // SAFETY: the caller's promise.
    unsafe { to.as_mut_ptr().copy_from(from.cast(), to.len()) };
    Ok(())
}

/// Copies bytes of ours to a caller.
///
/// # Safety
/// In kernel mode, `to` is writable for as many bytes as `from` has.
pub(crate) unsafe fn write(mode: i8, to: *mut c_void, from: &[u8]) -> Result<(), NTSTATUS> {
    if from.is_empty() {
        return Ok(());
    }
    if mode == USER_MODE {
        let address = to.addr() as u64;
        let is_written = hal().copy_to_user(address, from).is_ok()
            || process::fault_in(address, from.len(), true) && hal().copy_to_user(address, from).is_ok();
        return if is_written { Ok(()) } else { Err(NTSTATUS::ACCESS_VIOLATION) };
    }
    // SAFETY: the caller's promise.
    unsafe { to.cast::<u8>().copy_from(from.as_ptr(), from.len()) };
    Ok(())
}

/// A caller's bytes as a vector of ours.
///
/// # Safety
/// As [`read`].
pub(crate) unsafe fn capture(mode: i8, from: *const c_void, length: usize) -> Result<Vec<u8>, NTSTATUS> {
    if length > MAX_CAPTURE || mode == USER_MODE && !is_user_range(from.addr() as u64, length as u64) {
        return Err(if length > MAX_CAPTURE { NTSTATUS::INSUFFICIENT_RESOURCES } else { NTSTATUS::ACCESS_VIOLATION });
    }
    let mut bytes = alloc::vec![0; length];
    // SAFETY: the caller's promise.
    unsafe { read(mode, &mut bytes, from)? };
    Ok(bytes)
}

/// A value of a caller, any bytes of which make a value.
///
/// # Safety
/// `T` is a structure of integers and raw pointers only; for the rest as [`read`].
pub(crate) unsafe fn get<T: Copy>(mode: i8, from: *const T) -> Result<T, NTSTATUS> {
    let mut value = core::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: the slice covers the value, which is initialised with zeros; the caller's promise for the rest.
    unsafe {
        read(mode, core::slice::from_raw_parts_mut(value.as_mut_ptr().cast(), size_of::<T>()), from.cast())?;
        Ok(value.assume_init())
    }
}

/// Writes a value to a caller.
///
/// # Safety
/// `T` has no padding, or none that is secret; for the rest as [`write`].
pub(crate) unsafe fn put<T: Copy>(mode: i8, to: *mut T, value: &T) -> Result<(), NTSTATUS> {
    // SAFETY: the slice covers the value; the caller's promise for the rest.
    unsafe { write(mode, to.cast(), core::slice::from_raw_parts((&raw const *value).cast(), size_of::<T>())) }
}

/// Checks that every page of a caller's buffer can be read, or written. Another thread can change that at any time: this spares
/// only the work that would be in vain.
pub(crate) fn probe(mode: i8, address: *const c_void, length: usize, write: bool) -> Result<(), NTSTATUS> {
    if mode == KERNEL_MODE || length == 0 {
        return Ok(());
    }
    if process::fault_in(address.addr() as u64, length, write) { Ok(()) } else { Err(NTSTATUS::ACCESS_VIOLATION) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_wraps_or_reaches_the_kernel_is_not_the_users() {
        assert!(is_user_range(0x1000, 0x1000));
        assert!(!is_user_range(u64::MAX, 2));
        assert!(!is_user_range(USER_LIMIT, 1));
        assert!(is_user_range(USER_LIMIT, 0));
    }
}
