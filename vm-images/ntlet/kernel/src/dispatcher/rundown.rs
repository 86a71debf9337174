//! Rundown protection: uses of something that is to go are counted; the one who takes it away waits for the last, and no new ones
//! begin.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::sync::atomic::{AtomicUsize, Ordering};

use wdf_sys::wdm::KEVENT;
use wdf_sys::wdm::constants::bug_check;
use wdf_sys::{BOOLEAN, FALSE, TRUE};

use super::wait::kind;
use super::{event, irql, wait};
use crate::bug_check::bug_check;
use crate::hal::APC_LEVEL;

/// `EX_RUNDOWN_REF`: twice the number of uses; or, when the lowest bit is set, the address of the waiter, or nothing but that bit when
/// it is over.
const ENDING: usize = 1;
const ONE: usize = 2;

/// Who waits, and how many uses are left.
struct Waiter {
    left: AtomicUsize,
    event: KEVENT,
}

/// # Safety
/// `reference` points to an initialised reference that stays.
unsafe fn word<'a>(reference: *mut usize) -> &'a AtomicUsize {
    // SAFETY: the caller's promise.
    unsafe { AtomicUsize::from_ptr(reference) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExInitializeRundownProtection(RunRef: *mut usize) {
    // SAFETY: the caller's promise: a place for a reference.
    unsafe { RunRef.write(0) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExReInitializeRundownProtection(RunRef: *mut usize) {
    // SAFETY: as above.
    unsafe { RunRef.write(0) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExAcquireRundownProtection(RunRef: *mut usize) -> BOOLEAN {
    // SAFETY: the caller's promise: an initialised reference.
    unsafe { ExAcquireRundownProtectionEx(RunRef, 1) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExAcquireRundownProtectionEx(RunRef: *mut usize, Count: u32) -> BOOLEAN {
    // SAFETY: as above.
    let word = unsafe { word(RunRef) };
    let more = |value: usize| (value & ENDING == 0).then(|| value + ONE * Count as usize);
    if word.try_update(Ordering::Acquire, Ordering::Relaxed, more).is_ok() { TRUE } else { FALSE }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExReleaseRundownProtection(RunRef: *mut usize) {
    // SAFETY: the caller's promise: a reference that it has a use of.
    unsafe { ExReleaseRundownProtectionEx(RunRef, 1) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExReleaseRundownProtectionEx(RunRef: *mut usize, Count: u32) {
    let count = Count as usize;
    // SAFETY: as above.
    let word = unsafe { word(RunRef) };
    let fewer = |value: usize| (value & ENDING == 0).then(|| value.checked_sub(ONE * count)).flatten();
    let Err(value) = word.try_update(Ordering::Release, Ordering::Relaxed, fewer) else { return };
    if value & ENDING == 0 || value == ENDING {
        // More releases than uses: the count would wrap, and the waiter would never know.
        bug_check(bug_check::KERNEL_SECURITY_CHECK_FAILURE, [0xe, RunRef.addr() as u64, value as u64, 0]);
    }
    // SAFETY: the waiter stays on its stack until the last use is released.
    unsafe {
        let waiter = core::ptr::with_exposed_provenance_mut::<Waiter>(value & !ENDING);
        if (*waiter).left.fetch_sub(count, Ordering::AcqRel) == count {
            event::KeSetEvent(&raw mut (*waiter).event, 0, FALSE);
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExWaitForRundownProtectionRelease(RunRef: *mut usize) {
    irql::at_most(APC_LEVEL);
    // SAFETY: the caller's promise: an initialised reference.
    let word = unsafe { word(RunRef) };
    let mut waiter = Waiter { left: AtomicUsize::new(0), event: KEVENT::zeroed() };
    // SAFETY: the waiter is this function's until it is named in the word, and stays until the event is set.
    unsafe { event::initialize(&raw mut waiter.event, kind::SYNCHRONIZATION_EVENT, false) };
    let address = (&raw mut waiter).expose_provenance() | ENDING;
    loop {
        let value = word.load(Ordering::Acquire);
        if value & ENDING != 0 {
            return;
        }
        waiter.left.store(value / ONE, Ordering::Relaxed);
        let next = if value == 0 { ENDING } else { address };
        if word.compare_exchange(value, next, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            continue;
        }
        if value != 0 {
            // SAFETY: as above.
            let _ = unsafe { wait::for_one((&raw mut waiter.event).cast(), None) };
            word.store(ENDING, Ordering::Release);
        }
        return;
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExRundownCompleted(RunRef: *mut usize) {
    // SAFETY: the caller's promise: an initialised reference.
    unsafe { word(RunRef) }.store(ENDING, Ordering::Release);
}
/// The cache-aware kind counts a processor at a time on Windows, to keep cache lines apart; here it is one count, which behaves the same.
const CACHE_AWARE: usize = 64;
const TAG: u32 = u32::from_le_bytes(*b"ExRu");

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExSizeOfRundownProtectionCacheAware() -> usize {
    CACHE_AWARE
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExInitializeRundownProtectionCacheAware(RunRefCacheAware: *mut usize, RunRefSize: usize) {
    debug_assert!(RunRefSize >= CACHE_AWARE);
    // SAFETY: the caller's promise: room for as much as `ExSizeOfRundownProtectionCacheAware` says.
    unsafe { RunRefCacheAware.write(0) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExAllocateCacheAwareRundownProtection(PoolType: i32, PoolTag: u32) -> *mut usize {
    let tag = if PoolTag == 0 { TAG } else { PoolTag };
    // SAFETY: an ordinary allocation; the result is checked.
    unsafe {
        let block: *mut usize = wdf_sys::wdm::functions::ExAllocatePoolWithTag(PoolType, CACHE_AWARE, tag).cast();
        if !block.is_null() {
            block.write(0);
        }
        block
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExFreeCacheAwareRundownProtection(RunRefCacheAware: *mut usize) {
    // SAFETY: the caller's promise: what `ExAllocateCacheAwareRundownProtection` returned.
    unsafe { wdf_sys::wdm::functions::ExFreePool(RunRefCacheAware.cast()) };
}
