//! Thread functions that drivers call.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;

use wdf_sys::wdm::constants::bug_check;
use wdf_sys::{BOOLEAN, FALSE, HANDLE, NTSTATUS, TRUE};

use super::super::{Held, irql};
use super::{State, Thread, current, exit, set_priority};
use crate::bug_check::bug_check;
use crate::hal::DISPATCH_LEVEL;
use crate::processors;

/// Lowest and highest priority of the dynamic class.
const DYNAMIC: core::ops::RangeInclusive<i32> = 1..=15;

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeGetCurrentThread() -> *mut c_void {
    current().cast()
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn PsGetCurrentThread() -> *mut c_void {
    current().cast()
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn PsGetCurrentThreadId() -> HANDLE {
    // SAFETY: the running thread is alive.
    core::ptr::without_provenance_mut(unsafe { (*current()).id() })
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn PsGetThreadId(Thread: *mut c_void) -> HANDLE {
    // SAFETY: the caller's promise: a thread object.
    core::ptr::without_provenance_mut(unsafe { (*Thread.cast::<Thread>()).id() })
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn PsTerminateSystemThread(ExitStatus: NTSTATUS) -> NTSTATUS {
    // SAFETY: the running thread is alive.
    if unsafe { (*current()).is_user } {
        return NTSTATUS::INVALID_PARAMETER;
    }
    exit(ExitStatus)
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn PsIsThreadTerminating(Thread: *mut c_void) -> BOOLEAN {
    let thread = Thread.cast::<Thread>();
    // SAFETY: the caller's promise: a thread object.
    unsafe { if (*thread).state == State::Ended || super::end::is_terminating(thread) { TRUE } else { FALSE } }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn PsIsSystemThread(Thread: *mut c_void) -> BOOLEAN {
    // SAFETY: the caller's promise: a thread object.
    if unsafe { (*Thread.cast::<Thread>()).is_user } { FALSE } else { TRUE }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeSetPriorityThread(Thread: *mut c_void, Priority: i32) -> i32 {
    irql::at_most(DISPATCH_LEVEL);
    if !(1..32).contains(&Priority) {
        // The documentation's range is 1 to 31; a driver that passes another cannot go on as it expects.
        bug_check(bug_check::KERNEL_SECURITY_CHECK_FAILURE, [5, Thread.addr() as u64, Priority as u64, 0]);
    }
    let mut held = Held::take();
    // SAFETY: the caller's promise: a thread object.
    i32::from(unsafe { set_priority(&mut held, Thread.cast(), Priority as i8, Priority as i8) })
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeQueryPriorityThread(Thread: *mut c_void) -> i32 {
    // SAFETY: the caller's promise: a thread object.
    i32::from(unsafe { (*Thread.cast::<Thread>()).priority })
}

/// The increment counts from the priority class of the thread's process, which is 8 for the system's and for programs alike.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeSetBasePriorityThread(Thread: *mut c_void, Increment: i32) -> i32 {
    const CLASS: i32 = 8;
    let thread = Thread.cast::<Thread>();
    let mut held = Held::take();
    // SAFETY: the caller's promise: a thread object.
    unsafe {
        let old = i32::from((*thread).base_priority) - CLASS;
        let base = match i32::from((*thread).base_priority) {
            16.. => (24 + Increment).clamp(16, 31),
            _ => (CLASS.saturating_add(Increment)).clamp(*DYNAMIC.start(), *DYNAMIC.end()),
        } as i8;
        set_priority(&mut held, thread, base, base);
        old
    }
}

/// Confines the current thread to the processors of `Affinity`; returns the mask before, 0 if it was not confined.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeSetSystemAffinityThreadEx(Affinity: usize) -> usize {
    let wanted = Affinity as u64 & processors::active();
    if wanted == 0 {
        return 0;
    }
    let old = set_affinity(wanted);
    if old == u64::MAX { 0 } else { old as usize }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeSetSystemAffinityThread(Affinity: usize) {
    // SAFETY: no conditions.
    unsafe { KeSetSystemAffinityThreadEx(Affinity) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeRevertToUserAffinityThreadEx(Affinity: usize) {
    set_affinity(if Affinity == 0 { u64::MAX } else { Affinity as u64 });
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeRevertToUserAffinityThread() {
    set_affinity(u64::MAX);
}

fn set_affinity(affinity: u64) -> u64 {
    let thread = current();
    let mut held = Held::take();
    // SAFETY: the running thread is alive; the lock is held. A thread that is not allowed here joins the ready queue, from which
    // an allowed processor takes it.
    unsafe {
        let old = core::mem::replace(&mut (*thread).affinity, affinity);
        if affinity >> (*thread).processor & 1 == 0 {
            held.make_ready(thread);
            held.switch_away();
        }
        old
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ZwYieldExecution() -> NTSTATUS {
    super::super::yield_now();
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoGetStackLimits(LowLimit: *mut usize, HighLimit: *mut usize) {
    // SAFETY: the running thread is alive; the caller's promise: places for two addresses.
    unsafe {
        let (start, size) = (*current()).stack_range();
        LowLimit.write(start + crate::hal::PAGE_SIZE.min(size));
        HighLimit.write(start + size);
    }
}

/// An approximation by the address of a local variable, which lies a little below the caller's frame.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoGetRemainingStackSize() -> usize {
    let here = 0u8;
    // SAFETY: the running thread is alive.
    let (start, size) = unsafe { (*current()).stack_range() };
    let low = start + crate::hal::PAGE_SIZE.min(size);
    (&raw const here).addr().saturating_sub(low)
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExGetPreviousMode() -> i8 {
    // SAFETY: the running thread is alive.
    unsafe { (*current()).previous_mode() }
}
