//! Fast mutexes and guarded mutexes: one owner, not recursive. A fast mutex raises to `APC_LEVEL`; a guarded one keeps APCs away
//! without. `ExInitializeFastMutex` is inlined into drivers.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ptr::null_mut;
use core::sync::atomic::{AtomicI32, Ordering};

use wdf_sys::wdm::FAST_MUTEX;
use wdf_sys::wdm::constants::bug_check;
use wdf_sys::{BOOLEAN, FALSE, TRUE};

use super::wait::kind;
use super::{critical_region, event, irql, thread, wait};
use crate::bug_check::bug_check;
use crate::hal;
use crate::hal::APC_LEVEL;

/// First parameter of `DRIVER_VERIFIER_DETECTED_VIOLATION`: a resource was taken again by the thread that has it.
const SELF_DEADLOCK: u64 = 0x1000;
const CONTENDED_INCREMENT: i32 = 1;

/// # Safety
/// The mutex is initialised.
unsafe fn count<'a>(mutex: *mut FAST_MUTEX) -> &'a AtomicI32 {
    // SAFETY: the caller's promise.
    unsafe { AtomicI32::from_ptr(&raw mut (*mutex).Count) }
}

/// Waits for the mutex; `Count` is 1 for free, and falls below 0 by one for each that waits.
///
/// # Safety
/// The mutex is initialised.
unsafe fn take(mutex: *mut FAST_MUTEX) {
    let thread = thread::current();
    // SAFETY: the caller's promise. The owner is written by the owner alone.
    unsafe {
        if count(mutex).fetch_sub(1, Ordering::Acquire) != 1 {
            if (*mutex).Owner == thread.cast() {
                bug_check(bug_check::DRIVER_VERIFIER_DETECTED_VIOLATION, [SELF_DEADLOCK, mutex.addr() as u64, 0, 0]);
            }
            (*mutex).Contention = (*mutex).Contention.wrapping_add(1);
            let _ = wait::for_one((&raw mut (*mutex).Event).cast(), None);
        }
        (*mutex).Owner = thread.cast();
    }
}

/// # Safety
/// The mutex is initialised.
unsafe fn try_take(mutex: *mut FAST_MUTEX) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let taken = count(mutex).compare_exchange(1, 0, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if taken {
            (*mutex).Owner = thread::current().cast();
        }
        taken
    }
}

/// # Safety
/// The mutex is initialised.
unsafe fn release(mutex: *mut FAST_MUTEX) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*mutex).Owner != thread::current().cast() {
            let owner = (*mutex).Owner.addr() as u64;
            bug_check(bug_check::THREAD_NOT_MUTEX_OWNER, [thread::current().addr() as u64, owner, mutex.addr() as u64, 0]);
        }
        (*mutex).Owner = null_mut();
        if count(mutex).fetch_add(1, Ordering::Release) != 0 {
            event::KeSetEvent(&raw mut (*mutex).Event, CONTENDED_INCREMENT, FALSE);
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExAcquireFastMutex(FastMutex: *mut FAST_MUTEX) {
    let irql = irql::at_most(APC_LEVEL);
    hal().set_irql(APC_LEVEL);
    // SAFETY: the caller's promise: an initialised mutex.
    unsafe {
        take(FastMutex);
        (*FastMutex).OldIrql = u32::from(irql);
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExTryToAcquireFastMutex(FastMutex: *mut FAST_MUTEX) -> BOOLEAN {
    let irql = irql::at_most(APC_LEVEL);
    hal().set_irql(APC_LEVEL);
    // SAFETY: the caller's promise: an initialised mutex.
    unsafe {
        if try_take(FastMutex) {
            (*FastMutex).OldIrql = u32::from(irql);
            return TRUE;
        }
    }
    hal().set_irql(irql);
    FALSE
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExReleaseFastMutex(FastMutex: *mut FAST_MUTEX) {
    irql::at_most(APC_LEVEL);
    // SAFETY: the caller's promise: a mutex that it owns.
    unsafe {
        let irql = (*FastMutex).OldIrql as u8;
        release(FastMutex);
        irql::lower(irql);
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExAcquireFastMutexUnsafe(FastMutex: *mut FAST_MUTEX) {
    irql::at_most(APC_LEVEL);
    // SAFETY: the caller's promise: an initialised mutex, and kernel APCs kept away.
    unsafe { take(FastMutex) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExReleaseFastMutexUnsafe(FastMutex: *mut FAST_MUTEX) {
    irql::at_most(APC_LEVEL);
    // SAFETY: the caller's promise: a mutex that it owns.
    unsafe { release(FastMutex) };
}

/// A guarded mutex has the same form.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInitializeGuardedMutex(Mutex: *mut FAST_MUTEX) {
    // SAFETY: the caller's promise: a place for a mutex.
    unsafe {
        Mutex.write(FAST_MUTEX::zeroed());
        (*Mutex).Count = 1;
        event::initialize(&raw mut (*Mutex).Event, kind::SYNCHRONIZATION_EVENT, false);
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeAcquireGuardedMutex(Mutex: *mut FAST_MUTEX) {
    irql::at_most(APC_LEVEL);
    critical_region::enter_guarded();
    // SAFETY: the caller's promise: an initialised mutex.
    unsafe { take(Mutex) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeTryToAcquireGuardedMutex(Mutex: *mut FAST_MUTEX) -> BOOLEAN {
    critical_region::enter_guarded();
    // SAFETY: the caller's promise: an initialised mutex.
    if unsafe { try_take(Mutex) } {
        return TRUE;
    }
    critical_region::leave_guarded();
    FALSE
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeReleaseGuardedMutex(Mutex: *mut FAST_MUTEX) {
    // SAFETY: the caller's promise: a mutex that it owns.
    unsafe { release(Mutex) };
    critical_region::leave_guarded();
}
