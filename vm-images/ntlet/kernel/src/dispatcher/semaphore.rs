//! Semaphores.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use wdf_sys::wdm::{KSEMAPHORE, initialize_list_head, is_list_empty};
use wdf_sys::{BOOLEAN, NTSTATUS};

use super::wait::{self, kind};
use super::{Held, irql};
use crate::exception::raise::OrRaise;
use crate::hal::DISPATCH_LEVEL;

/// Adds to a semaphore's count; returns the count before.
///
/// # Errors
/// `SEMAPHORE_LIMIT_EXCEEDED`.
///
/// # Safety
/// The semaphore is initialised.
pub(crate) unsafe fn release(semaphore: *mut KSEMAPHORE, increment: i32, adjustment: i32) -> Result<i32, NTSTATUS> {
    let mut held = Held::take();
    // SAFETY: the caller's promise.
    unsafe {
        let before = (*semaphore).Header.SignalState;
        let after = before.checked_add(adjustment).filter(|&after| adjustment > 0 && after <= (*semaphore).Limit);
        (*semaphore).Header.SignalState = after.ok_or(NTSTATUS::SEMAPHORE_LIMIT_EXCEEDED)?;
        if before == 0 && !is_list_empty(&raw const (*semaphore).Header.WaitListHead) {
            wait::test(&mut held, &raw mut (*semaphore).Header, increment);
        }
        Ok(before)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInitializeSemaphore(Semaphore: *mut KSEMAPHORE, Count: i32, Limit: i32) {
    // SAFETY: the caller's promise: a place for a semaphore.
    unsafe {
        Semaphore.write(KSEMAPHORE::zeroed());
        (*Semaphore).Header.Type = kind::SEMAPHORE;
        (*Semaphore).Header.Size = (size_of::<KSEMAPHORE>() / 4) as u8;
        (*Semaphore).Header.SignalState = Count;
        (*Semaphore).Limit = Limit;
        initialize_list_head(&raw mut (*Semaphore).Header.WaitListHead);
    }
}

// Beyond the limit it raises `STATUS_SEMAPHORE_LIMIT_EXCEEDED`.
crate::raising!(KeReleaseSemaphore(Semaphore: *mut KSEMAPHORE, Increment: i32, Adjustment: i32, Wait: BOOLEAN) -> i32 => release_or_raise);

unsafe extern "win64" fn release_or_raise(
    semaphore: *mut KSEMAPHORE,
    increment: i32,
    adjustment: i32,
    _wait: BOOLEAN,
) -> OrRaise {
    irql::at_most(DISPATCH_LEVEL);
    // SAFETY: the caller's promise: an initialised semaphore.
    unsafe { release(semaphore, increment, adjustment) }.into()
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeReadStateSemaphore(Semaphore: *mut KSEMAPHORE) -> i32 {
    // SAFETY: the caller's promise: an initialised semaphore.
    unsafe { (&raw const (*Semaphore).Header.SignalState).read_volatile() }
}
