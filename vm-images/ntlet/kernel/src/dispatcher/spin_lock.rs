//! The spin locks that drivers own: plain, in-stack queued, and those for readers and a writer.
//!
//! A taken lock holds the taking thread's address plus one, so that taking it twice is named instead of spinning for ever.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use wdf_sys::wdm::constants::bug_check;
use wdf_sys::{BOOLEAN, FALSE, TRUE};

use super::irql;
use super::thread;
use crate::bug_check::bug_check;
use crate::hal;
use crate::hal::{DISPATCH_LEVEL, Irql};

/// Marks a lock as taken, in the bit that an aligned address leaves free.
const TAKEN: usize = 1;

/// The lock at an address that a driver gave.
///
/// # Safety
/// `lock` points to a `KSPIN_LOCK` that lives as long as it is used.
unsafe fn word<'a>(lock: *mut usize) -> &'a AtomicUsize {
    // SAFETY: the caller's promise.
    unsafe { AtomicUsize::from_ptr(lock) }
}

fn owner_mark() -> usize {
    thread::current().addr() | TAKEN
}

/// Waits for a lock; the IRQL is right already.
///
/// # Safety
/// As [`word`].
pub(crate) unsafe fn take(lock: *mut usize) {
    // SAFETY: the caller's promise.
    let word = unsafe { word(lock) };
    let mark = owner_mark();
    while let Err(owner) = word.compare_exchange_weak(0, mark, Ordering::Acquire, Ordering::Relaxed) {
        if owner == mark {
            bug_check(bug_check::SPIN_LOCK_ALREADY_OWNED, [lock.addr() as u64, 0, 0, 0]);
        }
        while word.load(Ordering::Relaxed) != 0 {
            hal().relax();
        }
    }
}

/// Takes a lock if it is free.
///
/// # Safety
/// As [`word`].
pub(crate) unsafe fn try_take(lock: *mut usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe { word(lock) }.compare_exchange(0, owner_mark(), Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// Releases a lock.
///
/// # Safety
/// As [`word`].
pub(crate) unsafe fn release(lock: *mut usize) {
    // SAFETY: the caller's promise.
    if unsafe { word(lock) }.swap(0, Ordering::Release) & TAKEN == 0 {
        bug_check(bug_check::SPIN_LOCK_NOT_OWNED, [lock.addr() as u64, 0, 0, 0]);
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInitializeSpinLock(SpinLock: *mut usize) {
    // SAFETY: the caller's promise: a place for a lock.
    unsafe { SpinLock.write(0) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeAcquireSpinLockRaiseToDpc(SpinLock: *mut usize) -> u8 {
    let irql = irql::raise(DISPATCH_LEVEL);
    // SAFETY: the caller's promise.
    unsafe { take(SpinLock) };
    irql
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeReleaseSpinLock(SpinLock: *mut usize, NewIrql: u8) {
    // SAFETY: the caller's promise.
    unsafe { release(SpinLock) };
    irql::lower(NewIrql);
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeAcquireSpinLockAtDpcLevel(SpinLock: *mut usize) {
    at_least_dispatch();
    // SAFETY: the caller's promise.
    unsafe { take(SpinLock) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeReleaseSpinLockFromDpcLevel(SpinLock: *mut usize) {
    // SAFETY: the caller's promise.
    unsafe { release(SpinLock) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeTryToAcquireSpinLockAtDpcLevel(SpinLock: *mut usize) -> BOOLEAN {
    at_least_dispatch();
    // SAFETY: the caller's promise.
    if unsafe { try_take(SpinLock) } { TRUE } else { FALSE }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeTestSpinLock(SpinLock: *mut usize) -> BOOLEAN {
    // SAFETY: the caller's promise.
    if unsafe { word(SpinLock) }.load(Ordering::Relaxed) == 0 { TRUE } else { FALSE }
}

/// The caller says that it is at `DISPATCH_LEVEL`; below, another thread could run and spin for ever.
fn at_least_dispatch() {
    let irql = hal().irql();
    if irql < DISPATCH_LEVEL {
        bug_check(bug_check::IRQL_NOT_GREATER_OR_EQUAL, [u64::from(irql), u64::from(DISPATCH_LEVEL), 0, 0]);
    }
}

/// `KLOCK_QUEUE_HANDLE`.
#[derive(Debug)]
#[repr(C)]
pub struct LockQueueHandle {
    next: *mut c_void,
    lock: *mut usize,
    old_irql: Irql,
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeAcquireInStackQueuedSpinLock(SpinLock: *mut usize, LockHandle: *mut LockQueueHandle) {
    let irql = irql::raise(DISPATCH_LEVEL);
    // SAFETY: the caller's promise.
    unsafe {
        take(SpinLock);
        (*LockHandle).lock = SpinLock;
        (*LockHandle).old_irql = irql;
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeReleaseInStackQueuedSpinLock(LockHandle: *mut LockQueueHandle) {
    // SAFETY: the caller's promise: the handle that the lock was taken with.
    let irql = unsafe {
        release((*LockHandle).lock);
        (*LockHandle).old_irql
    };
    irql::lower(irql);
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeAcquireInStackQueuedSpinLockAtDpcLevel(SpinLock: *mut usize, LockHandle: *mut LockQueueHandle) {
    at_least_dispatch();
    // SAFETY: the caller's promise.
    unsafe {
        take(SpinLock);
        (*LockHandle).lock = SpinLock;
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeReleaseInStackQueuedSpinLockFromDpcLevel(LockHandle: *mut LockQueueHandle) {
    // SAFETY: the caller's promise: the handle that the lock was taken with.
    unsafe { release((*LockHandle).lock) };
}

/// `EX_SPIN_LOCK`: the sign bit for a writer, a count of readers below.
const WRITER: i32 = i32::MIN;

/// # Safety
/// `lock` points to an `EX_SPIN_LOCK` that lives as long as it is used.
unsafe fn shared_word<'a>(lock: *mut i32) -> &'a AtomicI32 {
    // SAFETY: the caller's promise.
    unsafe { AtomicI32::from_ptr(lock) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExAcquireSpinLockShared(SpinLock: *mut i32) -> u8 {
    let irql = irql::raise(DISPATCH_LEVEL);
    // SAFETY: the caller's promise.
    unsafe { ExAcquireSpinLockSharedAtDpcLevel(SpinLock) };
    irql
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExAcquireSpinLockSharedAtDpcLevel(SpinLock: *mut i32) {
    at_least_dispatch();
    // SAFETY: the caller's promise.
    let word = unsafe { shared_word(SpinLock) };
    while word.try_update(Ordering::Acquire, Ordering::Relaxed, |count| (count >= 0).then_some(count + 1)).is_err() {
        hal().relax();
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExReleaseSpinLockShared(SpinLock: *mut i32, OldIrql: u8) {
    // SAFETY: the caller's promise.
    unsafe { ExReleaseSpinLockSharedFromDpcLevel(SpinLock) };
    irql::lower(OldIrql);
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExReleaseSpinLockSharedFromDpcLevel(SpinLock: *mut i32) {
    // SAFETY: the caller's promise.
    if unsafe { shared_word(SpinLock) }.fetch_sub(1, Ordering::Release) & !WRITER == 0 {
        bug_check(bug_check::SPIN_LOCK_NOT_OWNED, [SpinLock.addr() as u64, 0, 0, 0]);
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExAcquireSpinLockExclusive(SpinLock: *mut i32) -> u8 {
    let irql = irql::raise(DISPATCH_LEVEL);
    // SAFETY: the caller's promise.
    unsafe { ExAcquireSpinLockExclusiveAtDpcLevel(SpinLock) };
    irql
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExAcquireSpinLockExclusiveAtDpcLevel(SpinLock: *mut i32) {
    at_least_dispatch();
    // SAFETY: the caller's promise.
    let word = unsafe { shared_word(SpinLock) };
    // The writer's bit keeps new readers out; then those inside leave.
    while word.fetch_or(WRITER, Ordering::Acquire) & WRITER != 0 {
        hal().relax();
    }
    while word.load(Ordering::Acquire) != WRITER {
        hal().relax();
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExReleaseSpinLockExclusive(SpinLock: *mut i32, OldIrql: u8) {
    // SAFETY: the caller's promise.
    unsafe { ExReleaseSpinLockExclusiveFromDpcLevel(SpinLock) };
    irql::lower(OldIrql);
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExReleaseSpinLockExclusiveFromDpcLevel(SpinLock: *mut i32) {
    // SAFETY: the caller's promise.
    if unsafe { shared_word(SpinLock) }.fetch_and(!WRITER, Ordering::Release) & WRITER == 0 {
        bug_check(bug_check::SPIN_LOCK_NOT_OWNED, [SpinLock.addr() as u64, 0, 0, 0]);
    }
}
