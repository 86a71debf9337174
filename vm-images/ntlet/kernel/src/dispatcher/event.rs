//! Events: notification events stay set, synchronization events let one waiter pass.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use wdf_sys::BOOLEAN;
use wdf_sys::wdm::constants::SYNCHRONIZATION_EVENT;
use wdf_sys::wdm::{DISPATCHER_HEADER, KEVENT, initialize_list_head, is_list_empty};

use super::wait::{self, kind};
use super::{Held, irql};
use crate::hal::DISPATCH_LEVEL;

/// Makes an event.
///
/// # Safety
/// `event` is a place for one, in use by nobody.
pub(crate) unsafe fn initialize(event: *mut KEVENT, kind: u8, is_set: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        event.write(KEVENT::zeroed());
        (*event).Header.Type = kind;
        (*event).Header.Size = (size_of::<KEVENT>() / 4) as u8;
        (*event).Header.SignalState = i32::from(is_set);
        initialize_list_head(&raw mut (*event).Header.WaitListHead);
    }
}

/// Sets an event; returns the state before.
///
/// # Safety
/// The event is initialised; the lock is held.
pub(crate) unsafe fn set(held: &mut Held, event: *mut KEVENT, increment: i32) -> i32 {
    let header = event.cast::<DISPATCHER_HEADER>();
    // SAFETY: the caller's promise.
    unsafe {
        let before = core::mem::replace(&mut (*header).SignalState, 1);
        if before == 0 && !is_list_empty(&raw const (*header).WaitListHead) {
            wait::test(held, header, increment);
        }
        before
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInitializeEvent(Event: *mut KEVENT, Type: i32, State: BOOLEAN) {
    let kind = if Type == SYNCHRONIZATION_EVENT { kind::SYNCHRONIZATION_EVENT } else { kind::NOTIFICATION_EVENT };
    // SAFETY: the caller's promise: a place for an event.
    unsafe { initialize(Event, kind, State != 0) };
}

/// `Wait` promises a wait as the next call; nothing depends on it here.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeSetEvent(Event: *mut KEVENT, Increment: i32, _Wait: BOOLEAN) -> i32 {
    irql::at_most(DISPATCH_LEVEL);
    let mut held = Held::take();
    // SAFETY: the caller's promise: an initialised event.
    unsafe { set(&mut held, Event, Increment) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KePulseEvent(Event: *mut KEVENT, Increment: i32, _Wait: BOOLEAN) -> i32 {
    irql::at_most(DISPATCH_LEVEL);
    let mut held = Held::take();
    // SAFETY: the caller's promise: an initialised event.
    unsafe {
        let before = set(&mut held, Event, Increment);
        (*Event).Header.SignalState = 0;
        before
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeClearEvent(Event: *mut KEVENT) {
    // SAFETY: the caller's promise: an initialised event.
    unsafe { KeResetEvent(Event) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeResetEvent(Event: *mut KEVENT) -> i32 {
    let _held = Held::take();
    // SAFETY: the caller's promise: an initialised event.
    unsafe { core::mem::replace(&mut (*Event).Header.SignalState, 0) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeReadStateEvent(Event: *mut KEVENT) -> i32 {
    // SAFETY: the caller's promise: an initialised event.
    unsafe { (&raw const (*Event).Header.SignalState).read_volatile() }
}
