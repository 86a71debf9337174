//! Remove locks: a count of what is under way on a device, and the wait until it is zero.

use core::ffi::c_void;
use core::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::IO_REMOVE_LOCK_COMMON_BLOCK;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{KeInitializeEvent, KeSetEvent, KeWaitForSingleObject};

use crate::hal;

/// How often a wait that lasts is mentioned, in units of 100 ns.
const MENTION: i64 = 10 * 10_000_000;

/// The count of a lock. Its size tells checked from free build; the common block comes first in both.
///
/// # Safety
/// `lock` is a remove lock.
unsafe fn count<'a>(lock: *mut IO_REMOVE_LOCK_COMMON_BLOCK) -> &'a AtomicI32 {
    // SAFETY: the caller's promise.
    unsafe { AtomicI32::from_ptr(&raw mut (*lock).IoCount) }
}

/// # Safety
/// As the documentation of IoInitializeRemoveLock demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoInitializeRemoveLockEx(
    Lock: *mut c_void,
    _AllocateTag: u32,
    _MaxLockedMinutes: u32,
    _HighWatermark: u32,
    _RemlockSize: u32,
) {
    let lock: *mut IO_REMOVE_LOCK_COMMON_BLOCK = Lock.cast();
    // SAFETY: the caller's promise.
    unsafe {
        (*lock).Removed = 0;
        (*lock).IoCount = 1;
        KeInitializeEvent(&raw mut (*lock).RemoveEvent, SYNCHRONIZATION_EVENT, 0);
    }
}

/// # Safety
/// As the documentation of IoAcquireRemoveLock demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoAcquireRemoveLockEx(
    RemoveLock: *mut c_void,
    _Tag: *mut c_void,
    _File: *const u8,
    _Line: u32,
    _RemlockSize: u32,
) -> NTSTATUS {
    let lock: *mut IO_REMOVE_LOCK_COMMON_BLOCK = RemoveLock.cast();
    // SAFETY: the caller's promise.
    unsafe {
        count(lock).fetch_add(1, Ordering::SeqCst);
        if AtomicU8::from_ptr(&raw mut (*lock).Removed).load(Ordering::SeqCst) == 0 {
            return NTSTATUS::SUCCESS;
        }
        release(lock);
    }
    NTSTATUS::DELETE_PENDING
}

/// # Safety
/// The caller holds the lock.
unsafe fn release(lock: *mut IO_REMOVE_LOCK_COMMON_BLOCK) {
    // SAFETY: the caller's promise; a count below zero is reported.
    unsafe {
        match count(lock).fetch_sub(1, Ordering::SeqCst) - 1 {
            0 => {
                KeSetEvent(&raw mut (*lock).RemoveEvent, 0, 0);
            }
            left if left < 0 => {
                super::stop(bug_check::DRIVER_VERIFIER_IOMANAGER_VIOLATION, [0xe, lock.addr(), left as usize, 0]);
            }
            _ => {}
        }
    }
}

/// # Safety
/// As the documentation of IoReleaseRemoveLock demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoReleaseRemoveLockEx(RemoveLock: *mut c_void, _Tag: *mut c_void, _RemlockSize: u32) {
    // SAFETY: the caller's promise.
    unsafe { release(RemoveLock.cast()) };
}

/// # Safety
/// As the documentation of IoReleaseRemoveLockAndWait demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoReleaseRemoveLockAndWaitEx(RemoveLock: *mut c_void, _Tag: *mut c_void, _RemlockSize: u32) {
    let lock: *mut IO_REMOVE_LOCK_COMMON_BLOCK = RemoveLock.cast();
    // SAFETY: the caller's promise. The caller's own hold and the one of initialisation go.
    unsafe {
        AtomicU8::from_ptr(&raw mut (*lock).Removed).store(1, Ordering::SeqCst);
        release(lock);
        if count(lock).fetch_sub(1, Ordering::SeqCst) <= 1 {
            return;
        }
        let started = hal().uptime();
        loop {
            let mut interval = -MENTION;
            let event = (&raw mut (*lock).RemoveEvent).cast();
            if KeWaitForSingleObject(event, EXECUTIVE, KERNEL_MODE, 0, &raw mut interval) != NTSTATUS::TIMEOUT {
                return;
            }
            let seconds = hal().uptime().saturating_sub(started) / 10_000_000;
            crate::log!("a remove lock ({lock:p}) is still held {} times after {seconds} s", count(lock).load(Ordering::Relaxed));
        }
    }
}
