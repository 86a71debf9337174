//! Services on timers, and which of them wakes a system that sleeps.

use alloc::vec::Vec;
use core::cell::UnsafeCell;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::KTIMER;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{KeCancelTimer, KeInitializeTimerEx, KeReadStateTimer, KeSetTimerEx};

use super::file::name;
use super::{Arguments, get, put, put_optional, status};
use crate::lock::SpinLock;
use crate::object::exports::{by_handle, open_handle};
use crate::object::{ObjectRef, ObjectType};
use crate::time;

/// Timers of programs; the body is a `KTIMER`.
pub(crate) static TIMER: ObjectType = ObjectType::of::<Timer>("Timer");

const TIMER_MODIFY_STATE: u32 = 2;

/// Body of a timer object.
#[repr(transparent)]
pub(crate) struct Timer(UnsafeCell<KTIMER>);

impl Drop for Timer {
    fn drop(&mut self) {
        forget(self.0.get());
        // SAFETY: the timer was initialised, and nobody else knows it any more.
        unsafe { KeCancelTimer(self.0.get()) };
    }
}

/// Timers that wake a sleeping system, by address, and when they are due.
static WAKING: SpinLock<Vec<(usize, u64)>> = SpinLock::new(Vec::new());

fn forget(timer: *mut KTIMER) {
    WAKING.lock().retain(|(address, _)| *address != timer.addr());
}

/// When the next timer is due that wakes a sleeping system.
pub(crate) fn next_wake() -> Option<u64> {
    let now = time::uptime();
    WAKING.lock().iter().map(|(_, due)| *due).filter(|&due| due > now).min()
}

/// `NtCreateTimer`.
pub(super) fn create(arguments: &Arguments) -> NTSTATUS {
    let [handle_at, access, attributes, kind, ..] = *arguments;
    let run = || {
        put(handle_at, &0u64)?;
        let kind = kind as i32;
        if !matches!(kind, NOTIFICATION_TIMER | SYNCHRONIZATION_TIMER) {
            return Err(NTSTATUS::INVALID_PARAMETER);
        }
        if attributes != 0 && !name(attributes)?.1.is_empty() {
            crate::log!("NtCreateTimer: timers with names are not supported");
            return Err(NTSTATUS::NOT_SUPPORTED);
        }
        let object = ObjectRef::new(&TIMER, Timer(UnsafeCell::new(KTIMER::zeroed())))?;
        // SAFETY: nobody else knows the timer yet, and its body stays where it is.
        unsafe { KeInitializeTimerEx(object.body().cast(), kind) };
        let access = if access as u32 & 0xf200_0000 != 0 { 0x001f_0003 } else { access as u32 };
        let handle = open_handle(object, access, false)?;
        put(handle_at, &(handle.addr() as u64))
    };
    status(run())
}

/// Does something with a timer that needs the right to change it.
fn change<T>(handle: u64, routine: impl FnOnce(*mut KTIMER) -> T) -> Result<T, NTSTATUS> {
    let entry = by_handle(core::ptr::without_provenance_mut(handle as usize), USER_MODE)?;
    if !entry.object.is(&TIMER) {
        return Err(NTSTATUS::OBJECT_TYPE_MISMATCH);
    }
    if entry.access & TIMER_MODIFY_STATE == 0 {
        return Err(NTSTATUS::ACCESS_DENIED);
    }
    Ok(routine(entry.object.body().cast()))
}

/// `NtSetTimer`.
pub(super) fn set(arguments: &Arguments) -> NTSTATUS {
    let [handle, due_at, routine, _context, resumes, period, was_set_at, ..] = *arguments;
    let run = || {
        let due: i64 = get(due_at)?;
        let period = period as u32 as i32;
        if period < 0 {
            return Err(NTSTATUS::INVALID_PARAMETER);
        }
        if routine != 0 {
            crate::log!("NtSetTimer: timers that call the program back are not supported");
            return Err(NTSTATUS::NOT_SUPPORTED);
        }
        let was_set = change(handle, |timer| {
            forget(timer);
            // SAFETY: the caller's reference keeps the timer alive.
            let was_set = unsafe {
                let state = KeReadStateTimer(timer);
                KeSetTimerEx(timer, due, period, core::ptr::null_mut());
                state
            };
            if resumes as u8 != 0 {
                WAKING.lock().push((timer.addr(), uptime_of(due)));
            }
            was_set
        })?;
        put_optional(was_set_at, &was_set)
    };
    status(run())
}

/// A due time, relative if it is negative, as time since the machine started.
fn uptime_of(due: i64) -> u64 {
    let from_now = if due < 0 { due.unsigned_abs() } else { (due - time::system_time()).max(0).unsigned_abs() };
    time::uptime().saturating_add(from_now)
}

/// `NtCancelTimer`.
pub(super) fn cancel(arguments: &Arguments) -> NTSTATUS {
    let run = || {
        let was_set = change(arguments[0], |timer| {
            forget(timer);
            // SAFETY: the caller's reference keeps the timer alive.
            unsafe {
                let state = KeReadStateTimer(timer);
                KeCancelTimer(timer);
                state
            }
        })?;
        put_optional(arguments[1], &was_set)
    };
    status(run())
}
