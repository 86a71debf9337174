//! `EX_TIMER`: timers that the kernel allocates and that call back at `DISPATCH_LEVEL`.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::BOOLEAN;
use wdf_sys::wdm::{KDPC, KTIMER};

use super::wait::kind;
use super::{dpc, irql, timer};
use crate::hal::{DISPATCH_LEVEL, PASSIVE_LEVEL};

/// Units of 100 ns in a millisecond: periods of kernel timers are in milliseconds.
const MILLISECOND: i64 = 10_000;
/// `EX_TIMER_NOTIFICATION`.
const NOTIFICATION: u32 = 1 << 31;

/// What is called when the timer is due.
pub type Callback = unsafe extern "win64" fn(timer: *mut c_void, context: *mut c_void);

/// `EX_TIMER`. The timer comes first, so that it can be waited for.
struct ExTimer {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    callback: Option<Callback>,
    context: *mut c_void,
}

unsafe extern "win64" fn due(_: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    // SAFETY: the context is the timer, which is deleted only when its DPC has run.
    unsafe {
        let (callback, argument) = ((*context.cast::<ExTimer>()).callback, (*context.cast::<ExTimer>()).context);
        if let Some(callback) = callback {
            callback(context, argument);
        }
    }
}

/// # Safety
/// `timer` came from [`ExAllocateTimer`].
unsafe fn get<'a>(timer: *mut c_void) -> &'a ExTimer {
    // SAFETY: the caller's promise.
    unsafe { &*timer.cast::<ExTimer>() }
}

/// The resolution is always as high as the machine's; the attribute for more changes nothing.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExAllocateTimer(
    Callback: Option<Callback>,
    CallbackContext: *mut c_void,
    Attributes: u32,
) -> *mut c_void {
    irql::at_most(DISPATCH_LEVEL);
    let kind = if Attributes & NOTIFICATION != 0 { kind::NOTIFICATION_TIMER } else { kind::SYNCHRONIZATION_TIMER };
    let made = Box::into_raw(Box::new(ExTimer {
        timer: UnsafeCell::new(KTIMER::zeroed()),
        dpc: UnsafeCell::new(KDPC::zeroed()),
        callback: Callback,
        context: CallbackContext,
    }));
    // SAFETY: nobody else knows the timer yet.
    unsafe {
        timer::initialize((*made).timer.get(), kind);
        dpc::KeInitializeDpc((*made).dpc.get(), Some(due), made.cast());
    }
    made.cast()
}

/// The period is in units of 100 ns here; kernel timers have milliseconds.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExSetTimer(Timer: *mut c_void, DueTime: i64, Period: i64, _Parameters: *mut c_void) -> BOOLEAN {
    // SAFETY: the caller's promise: an allocated timer.
    unsafe {
        let timer = get(Timer);
        let period = (Period.max(0) as u64).div_ceil(MILLISECOND as u64).min(i32::MAX as u64) as i32;
        let dpc = if timer.callback.is_some() { timer.dpc.get() } else { null_mut() };
        timer::KeSetTimerEx(timer.timer.get(), DueTime, period, dpc)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExCancelTimer(Timer: *mut c_void, _Parameters: *mut c_void) -> BOOLEAN {
    // SAFETY: the caller's promise: an allocated timer.
    unsafe { timer::KeCancelTimer(get(Timer).timer.get()) }
}

/// Frees the timer, once a callback that has begun has come back: with `Wait` before this returns, else whenever that is.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExDeleteTimer(
    Timer: *mut c_void,
    _Cancel: BOOLEAN,
    Wait: BOOLEAN,
    _Parameters: *mut c_void,
) -> BOOLEAN {
    extern "win64" fn delete(timer: *mut c_void) {
        // SAFETY: the timer does not run any more, and its DPC has run or was taken out of its queue.
        unsafe {
            dpc::KeFlushQueuedDpcs();
            drop(Box::from_raw(timer.cast::<ExTimer>()));
        }
    }
    // SAFETY: the caller's promise: an allocated timer that nobody uses any more.
    unsafe {
        let timer = get(Timer);
        let ran = timer::KeCancelTimer(timer.timer.get());
        dpc::KeRemoveQueueDpc(timer.dpc.get());
        if Wait != 0 && crate::hal().irql() == PASSIVE_LEVEL {
            delete(Timer);
        } else {
            crate::work::queue(delete, Timer);
        }
        ran
    }
}
