//! One-time initialisation (`RTL_RUN_ONCE`): the first who comes does the work, the others wait for it, or race for it and the first who
//! ends it wins.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};

use wdf_sys::wdm::KEVENT;
use wdf_sys::{FALSE, NTSTATUS};

use super::wait::kind;
use super::{event, irql, wait};
use crate::hal::APC_LEVEL;

/// What the two low bits of the word say; the others are the context, or the address of who waits.
const STATE: usize = 3;
const BEGUN: usize = 1;
const DONE: usize = 2;
const RACING: usize = 3;

const CHECK_ONLY: u32 = 1;
const ASYNC: u32 = 2;
const INIT_FAILED: u32 = 4;

/// Who waits for the end, and who began to wait before it.
struct Waiter {
    before: usize,
    event: KEVENT,
}

/// `RTL_RUN_ONCE_INIT_FN`.
type Work = Option<unsafe extern "win64" fn(*mut usize, *mut c_void, *mut *mut c_void) -> u32>;

/// # Safety
/// `once` points to an initialised word that stays.
unsafe fn word<'a>(once: *mut usize) -> &'a AtomicUsize {
    // SAFETY: the caller's promise.
    unsafe { AtomicUsize::from_ptr(once) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlRunOnceInitialize(RunOnce: *mut usize) {
    // SAFETY: the caller's promise: a place for a word.
    unsafe { RunOnce.write(0) };
}

/// `SUCCESS`: it is done, and this is its context. `PENDING`: the caller is to do it.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlRunOnceBeginInitialize(RunOnce: *mut usize, Flags: u32, Context: *mut *mut c_void) -> NTSTATUS {
    let is_racing = match Flags {
        0 | CHECK_ONLY => false,
        ASYNC => true,
        _ => return NTSTATUS::INVALID_PARAMETER,
    };
    // SAFETY: the caller's promise: an initialised word.
    let word = unsafe { word(RunOnce) };
    loop {
        let value = word.load(Ordering::Acquire);
        match value & STATE {
            DONE => {
                if !Context.is_null() {
                    // SAFETY: the caller's promise: null or a place for a pointer.
                    unsafe { Context.write(core::ptr::with_exposed_provenance_mut(value & !STATE)) };
                }
                return NTSTATUS::SUCCESS;
            }
            _ if Flags & CHECK_ONLY != 0 => return NTSTATUS::UNSUCCESSFUL,
            0 => {
                let next = if is_racing { RACING } else { BEGUN };
                if word.compare_exchange(value, next, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                    return NTSTATUS::PENDING;
                }
            }
            RACING if is_racing => return NTSTATUS::PENDING,
            BEGUN if !is_racing => wait_for_end(word, value),
            _ => return NTSTATUS::INVALID_PARAMETER,
        }
    }
}

/// Waits until whoever began has come to an end, unless the word has changed.
fn wait_for_end(word: &AtomicUsize, value: usize) {
    irql::at_most(APC_LEVEL);
    let mut waiter = Waiter { before: value & !STATE, event: KEVENT::zeroed() };
    // SAFETY: the waiter is this function's until it is named in the word, and stays until its event is set.
    unsafe {
        event::initialize(&raw mut waiter.event, kind::SYNCHRONIZATION_EVENT, false);
        let address = (&raw mut waiter).expose_provenance() | BEGUN;
        if word.compare_exchange(value, address, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            let _ = wait::for_one((&raw mut waiter.event).cast(), None);
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlRunOnceComplete(RunOnce: *mut usize, Flags: u32, Context: *mut c_void) -> NTSTATUS {
    let (is_racing, has_failed) = (Flags & ASYNC != 0, Flags & INIT_FAILED != 0);
    let is_odd = Context.addr() & STATE != 0 || has_failed && !Context.is_null();
    if Flags & !(ASYNC | INIT_FAILED) != 0 || is_racing && has_failed || is_odd {
        return NTSTATUS::INVALID_PARAMETER;
    }
    // SAFETY: the caller's promise: an initialised word.
    let word = unsafe { word(RunOnce) };
    let done = if has_failed { 0 } else { Context.expose_provenance() | DONE };
    if is_racing {
        return match word.compare_exchange(RACING, done, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => NTSTATUS::SUCCESS,
            Err(value) if value & STATE == DONE => NTSTATUS::OBJECT_NAME_COLLISION,
            Err(_) => NTSTATUS::UNSUCCESSFUL,
        };
    }
    let is_begun = |value: usize| (value & STATE == BEGUN).then_some(done);
    let Ok(value) = word.try_update(Ordering::AcqRel, Ordering::Acquire, is_begun) else { return NTSTATUS::UNSUCCESSFUL };
    let mut next = value & !STATE;
    while next != 0 {
        // SAFETY: a waiter stays on its stack until its event is set, and is read before.
        unsafe {
            let waiter = core::ptr::with_exposed_provenance_mut::<Waiter>(next);
            next = (*waiter).before;
            event::KeSetEvent(&raw mut (*waiter).event, 0, FALSE);
        }
    }
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlRunOnceExecuteOnce(
    RunOnce: *mut usize,
    InitFn: Work,
    Parameter: *mut c_void,
    Context: *mut *mut c_void,
) -> NTSTATUS {
    let Some(work) = InitFn else { return NTSTATUS::INVALID_PARAMETER };
    let mut context = core::ptr::null_mut();
    // SAFETY: the caller's promise: an initialised word, a routine of this type, null or a place for the context.
    unsafe {
        let begun = RtlRunOnceBeginInitialize(RunOnce, 0, &raw mut context);
        if begun == NTSTATUS::PENDING {
            let has_failed = work(RunOnce, Parameter, &raw mut context) == 0;
            let context = if has_failed { core::ptr::null_mut() } else { context };
            let ended = RtlRunOnceComplete(RunOnce, if has_failed { INIT_FAILED } else { 0 }, context);
            if has_failed || !ended.is_success() {
                return if has_failed { NTSTATUS::UNSUCCESSFUL } else { ended };
            }
        } else if !begun.is_success() {
            return begun;
        }
        if !Context.is_null() {
            Context.write(context);
        }
    }
    NTSTATUS::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_once_and_its_context_is_everybodys() {
        unsafe extern "win64" fn work(_: *mut usize, calls: *mut c_void, context: *mut *mut c_void) -> u32 {
            // SAFETY: the test's own counter, and the place for the context.
            unsafe {
                *calls.cast::<u32>() += 1;
                context.write(core::ptr::without_provenance_mut(0x40));
                u32::from(*calls.cast::<u32>() > 1)
            }
        }
        let (mut once, mut calls, mut context) = (0, 0u32, core::ptr::null_mut());
        let parameter = (&raw mut calls).cast();
        // SAFETY: the word, the counter and the context are the test's own.
        unsafe {
            let mut run = |context| RtlRunOnceExecuteOnce(&raw mut once, Some(work), parameter, context);
            assert_eq!(run(&raw mut context), NTSTATUS::UNSUCCESSFUL, "the first time it fails, and nothing is done");
            assert_eq!(run(&raw mut context), NTSTATUS::SUCCESS);
            assert_eq!(run(&raw mut context), NTSTATUS::SUCCESS);
        }
        assert_eq!((calls, context.addr()), (2, 0x40));
    }

    #[test]
    fn who_races_is_told_when_another_was_first() {
        let (mut once, mut context) = (0, core::ptr::null_mut());
        let of = core::ptr::without_provenance_mut;
        // SAFETY: the word and the context are the test's own.
        unsafe {
            let mut begin = |flags| RtlRunOnceBeginInitialize(&raw mut once, flags, &raw mut context);
            assert_eq!(begin(CHECK_ONLY), NTSTATUS::UNSUCCESSFUL);
            assert_eq!((begin(ASYNC), begin(ASYNC)), (NTSTATUS::PENDING, NTSTATUS::PENDING));
            assert_eq!(begin(0), NTSTATUS::INVALID_PARAMETER, "a race is no turn");
            assert_eq!(RtlRunOnceComplete(&raw mut once, ASYNC, of(0x21)), NTSTATUS::INVALID_PARAMETER, "low bits are not free");
            assert_eq!(RtlRunOnceComplete(&raw mut once, ASYNC, of(0x20)), NTSTATUS::SUCCESS);
            assert_eq!(RtlRunOnceComplete(&raw mut once, ASYNC, of(0x80)), NTSTATUS::OBJECT_NAME_COLLISION);
            assert_eq!(RtlRunOnceBeginInitialize(&raw mut once, CHECK_ONLY, &raw mut context), NTSTATUS::SUCCESS);
        }
        assert_eq!(context.addr(), 0x20);
    }
}
