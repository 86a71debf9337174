//! Timers: the list of those that run, what happens when one is due, and the functions for drivers.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ptr::null_mut;

use wdf_sys::wdm::constants::{SYNCHRONIZATION_TIMER, bug_check};
use wdf_sys::wdm::{KDPC, KTIMER, LIST_ENTRY, initialize_list_head, is_list_empty};
use wdf_sys::{BOOLEAN, FALSE, TRUE};

use super::wait::{self, kind};
use super::{Held, dpc};
use crate::bug_check::bug_check;
use crate::{hal, processors, time};

const MILLISECOND: u64 = 10_000;
const LIST_OFFSET: usize = core::mem::offset_of!(KTIMER, TimerListEntry);

/// Timers that run, the first due first. Linked through `TimerListEntry`, null at both ends.
pub(crate) struct TimerList {
    first: *mut LIST_ENTRY,
    last: *mut LIST_ENTRY,
    /// The processor whose clock looks after the first.
    keeper: Option<u32>,
}

/// # Safety
/// `entry` is that of a timer, or null.
unsafe fn timer_of(entry: *mut LIST_ENTRY) -> Option<*mut KTIMER> {
    (!entry.is_null()).then(|| entry.wrapping_byte_sub(LIST_OFFSET).cast())
}

impl TimerList {
    pub(super) const fn new() -> Self {
        Self { first: null_mut(), last: null_mut(), keeper: None }
    }

    fn first(&self) -> Option<*mut KTIMER> {
        // SAFETY: entries of this list are those of timers.
        unsafe { timer_of(self.first) }
    }

    /// # Safety
    /// The timer is in no list; timers in this one are alive.
    unsafe fn insert(&mut self, timer: *mut KTIMER) {
        // SAFETY: the caller's promise.
        unsafe {
            let entry = &raw mut (*timer).TimerListEntry;
            let mut before = self.last;
            // Most timers are due after those that run already.
            while let Some(other) = timer_of(before)
                && (*other).DueTime > (*timer).DueTime
            {
                before = (*before).Blink;
            }
            let after = if before.is_null() { self.first } else { (*before).Flink };
            (*entry).Blink = before;
            (*entry).Flink = after;
            if before.is_null() {
                self.first = entry
            } else {
                (*before).Flink = entry
            }
            if after.is_null() { self.last = entry } else { (*after).Blink = entry }
        }
    }

    /// # Safety
    /// The timer is in this list.
    unsafe fn remove(&mut self, timer: *mut KTIMER) {
        // SAFETY: the caller's promise.
        unsafe {
            let LIST_ENTRY { Flink: after, Blink: before } = (*timer).TimerListEntry;
            if before.is_null() {
                self.first = after
            } else {
                (*before).Flink = after
            }
            if after.is_null() { self.last = before } else { (*after).Blink = before }
        }
    }
}

/// A due time as drivers give it (relative if not positive, else system time) as a time since the machine started.
pub(super) fn to_uptime(due: i64) -> u64 {
    match due {
        0 => 0,
        ..0 => hal().uptime().saturating_add(due.unsigned_abs()),
        1.. => (due as u64).saturating_sub(hal().boot_time()),
    }
}

/// Makes a timer.
///
/// # Safety
/// `timer` is a place for one, in use by nobody.
pub(super) unsafe fn initialize(timer: *mut KTIMER, kind: u8) {
    // SAFETY: the caller's promise.
    unsafe {
        timer.write(KTIMER::zeroed());
        (*timer).Header.Type = kind;
        (*timer).Header.Size = (size_of::<KTIMER>() / 4) as u8;
        initialize_list_head(&raw mut (*timer).Header.WaitListHead);
    }
}

/// Starts a timer that does not run.
///
/// # Safety
/// The timer is initialised and does not run; the lock is held.
pub(super) unsafe fn insert(held: &mut Held, timer: *mut KTIMER, due: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        (*timer).Header.SignalState = 0;
        (*timer).Header.Inserted = TRUE;
        (*timer).DueTime = due;
        let timers = &mut held.dispatcher().timers;
        timers.insert(timer);
        if timers.first() == Some(timer) {
            let processor = processors::current();
            timers.keeper = Some(processor.number());
            processor.clock.watch_timers(due);
        }
    }
}

/// Stops a timer; whether it ran.
///
/// # Safety
/// The timer is initialised; the lock is held.
pub(super) unsafe fn remove(held: &mut Held, timer: *mut KTIMER) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let ran = (*timer).Header.Inserted != FALSE;
        if ran {
            held.dispatcher().timers.remove(timer);
            (*timer).Header.Inserted = FALSE;
        }
        ran
    }
}

/// Does what a timer that is due is for.
///
/// # Safety
/// The timer is initialised, due, and does not run; the lock is held.
unsafe fn fire(held: &mut Held, timer: *mut KTIMER, now: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        let (dpc, period) = ((*timer).Dpc, u64::from((*timer).Period) * MILLISECOND);
        if period != 0 {
            let due = (*timer).DueTime.max(now.saturating_sub(period)) + period;
            insert(held, timer, due);
        }
        (*timer).Header.SignalState = 1;
        if !is_list_empty(&raw const (*timer).Header.WaitListHead) {
            wait::test(held, &raw mut (*timer).Header, 0);
        }
        if !dpc.is_null() {
            let system_time = time::system_time() as u64;
            let half = |value: u64| core::ptr::without_provenance_mut(value as u32 as usize);
            dpc::insert(dpc, half(system_time), half(system_time >> 32));
        }
    }
}

/// Address of the first running timer (or of its DPC's routine) that `is_meant`.
pub(crate) fn find(is_meant: &dyn Fn(usize) -> bool) -> Option<usize> {
    let mut held = Held::take();
    let mut entry = held.dispatcher().timers.first;
    // SAFETY: timers in the list are alive, and so are their DPCs; the lock is held.
    unsafe {
        while let Some(timer) = timer_of(entry) {
            let routine = (*timer).Dpc.as_ref().and_then(|dpc| dpc.DeferredRoutine).map(|routine| routine as usize);
            if let Some(address) = [Some(timer.addr()), routine].into_iter().flatten().find(|&address| is_meant(address)) {
                return Some(address);
            }
            entry = (*entry).Flink;
        }
    }
    None
}

/// Fires every timer that is due. At `DISPATCH_LEVEL`, when the clock said so.
pub(super) fn expire() {
    let mut held = Held::take();
    let processor = processors::current();
    loop {
        let now = hal().uptime();
        let Some(timer) = held.dispatcher().timers.first() else { break };
        // SAFETY: timers in the list are alive; the lock is held.
        unsafe {
            if (*timer).DueTime > now {
                let timers = &mut held.dispatcher().timers;
                if timers.keeper.is_none_or(|keeper| keeper == processor.number()) {
                    timers.keeper = Some(processor.number());
                    processor.clock.watch_timers((*timer).DueTime);
                }
                return;
            }
            remove(&mut held, timer);
            fire(&mut held, timer, now);
        }
    }
    held.dispatcher().timers.keeper = None;
}

/// Sets a timer; whether it ran before.
///
/// # Safety
/// The timer is initialised; `dpc` is null or initialised.
unsafe fn set(timer: *mut KTIMER, due: i64, period: u32, dpc: *mut KDPC) -> bool {
    let due = to_uptime(due);
    let mut held = Held::take();
    // SAFETY: the caller's promise; the lock is held.
    unsafe {
        if !matches!((*timer).Header.Type, kind::NOTIFICATION_TIMER | kind::SYNCHRONIZATION_TIMER) {
            bug_check(bug_check::TIMER_OR_DPC_INVALID, [0, timer.addr() as u64, 0, 0]);
        }
        let ran = remove(&mut held, timer);
        (*timer).Dpc = dpc;
        (*timer).Period = period;
        let now = hal().uptime();
        if due <= now {
            (*timer).DueTime = now;
            fire(&mut held, timer, now);
        } else {
            insert(&mut held, timer, due);
        }
        ran
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInitializeTimer(Timer: *mut KTIMER) {
    // SAFETY: the caller's promise: a place for a timer.
    unsafe { initialize(Timer, kind::NOTIFICATION_TIMER) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInitializeTimerEx(Timer: *mut KTIMER, Type: i32) {
    let kind = if Type == SYNCHRONIZATION_TIMER { kind::SYNCHRONIZATION_TIMER } else { kind::NOTIFICATION_TIMER };
    // SAFETY: the caller's promise: a place for a timer.
    unsafe { initialize(Timer, kind) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeSetTimer(Timer: *mut KTIMER, DueTime: i64, Dpc: *mut KDPC) -> BOOLEAN {
    // SAFETY: the caller's promise: an initialised timer, and null or an initialised DPC.
    BOOLEAN::from(unsafe { set(Timer, DueTime, 0, Dpc) })
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeSetTimerEx(Timer: *mut KTIMER, DueTime: i64, Period: i32, Dpc: *mut KDPC) -> BOOLEAN {
    // SAFETY: as above.
    BOOLEAN::from(unsafe { set(Timer, DueTime, Period.max(0) as u32, Dpc) })
}

/// The tolerance allows lateness; this kernel needs none.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeSetCoalescableTimer(
    Timer: *mut KTIMER,
    DueTime: i64,
    Period: u32,
    _TolerableDelay: u32,
    Dpc: *mut KDPC,
) -> BOOLEAN {
    // SAFETY: as above.
    BOOLEAN::from(unsafe { set(Timer, DueTime, Period, Dpc) })
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeCancelTimer(Timer: *mut KTIMER) -> BOOLEAN {
    let mut held = Held::take();
    // SAFETY: the caller's promise: an initialised timer; the lock is held.
    unsafe {
        (*Timer).Period = 0;
        BOOLEAN::from(remove(&mut held, Timer))
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeReadStateTimer(Timer: *mut KTIMER) -> BOOLEAN {
    // SAFETY: the caller's promise: an initialised timer.
    BOOLEAN::from(unsafe { (&raw const (*Timer).Header.SignalState).read_volatile() } != 0)
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeQueryTimerDueTime(Timer: *mut KTIMER) -> u64 {
    let _held = Held::take();
    // SAFETY: the caller's promise: an initialised timer; the lock is held.
    unsafe { if (*Timer).Header.Inserted != FALSE { (*Timer).DueTime } else { 0 } }
}
