//! Services on events, and waiting.

use alloc::vec::Vec;
use core::ffi::c_void;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{
    KeClearEvent, KeInitializeEvent, KeReadStateEvent, KeResetEvent, KeSetEvent, KeWaitForMultipleObjects, KeWaitForSingleObject,
};
use wdf_sys::wdm::{FILE_OBJECT, KEVENT, KWAIT_BLOCK};

use super::file::name;
use super::timer::TIMER;
use super::{Arguments, get, put, put_optional, status};
use crate::dispatcher::thread::THREAD;
use crate::io::completion_port::IO_COMPLETION;
use crate::io::{driver, file};
use crate::object::exports::{EVENT, EventBody, by_handle, open_handle};
use crate::object::{ObjectRef, handle::Entry};
use crate::process::PROCESS;

const EVENT_MODIFY_STATE: u32 = 2;
/// `MAXIMUM_WAIT_OBJECTS`.
const MAX_OBJECTS: usize = 64;
/// Up to this many objects need no wait blocks of their own.
const THREAD_WAIT_OBJECTS: usize = 3;

fn entry(argument: u64) -> Result<Entry, NTSTATUS> {
    by_handle(core::ptr::without_provenance_mut(argument as usize), USER_MODE)
}

/// A new event object.
fn new_event(kind: i32, is_set: bool) -> Result<ObjectRef, NTSTATUS> {
    let object = ObjectRef::new(&EVENT, EventBody(core::cell::UnsafeCell::new(KEVENT::zeroed())))?;
    // SAFETY: nobody else knows the event yet, and its body stays where it is.
    unsafe { KeInitializeEvent(object.body().cast(), kind, u8::from(is_set)) };
    Ok(object)
}

pub(super) fn create(arguments: &Arguments) -> NTSTATUS {
    let [handle_at, access, attributes, kind, is_set, ..] = *arguments;
    let run = || {
        put(handle_at, &0u64)?;
        let kind = kind as i32;
        if !matches!(kind, NOTIFICATION_EVENT | SYNCHRONIZATION_EVENT) {
            return Err(NTSTATUS::INVALID_PARAMETER);
        }
        let path = if attributes == 0 { Vec::new() } else { name(attributes)?.1 };
        let mut event = new_event(kind, is_set as u8 != 0)?;
        let mut result = NTSTATUS::SUCCESS;
        if !path.is_empty() {
            match driver::namespace().insert(&path, &event) {
                Ok(()) => {}
                Err(NTSTATUS::OBJECT_NAME_COLLISION) => {
                    event = driver::namespace().find(&path, true)?.object;
                    if !event.is(&EVENT) {
                        return Err(NTSTATUS::OBJECT_TYPE_MISMATCH);
                    }
                    result = NTSTATUS::OBJECT_NAME_EXISTS;
                }
                Err(status) => return Err(status),
            }
        }
        let handle = open_handle(event, specific(access as u32), false)?;
        put(handle_at, &(handle.addr() as u64))?;
        Ok(result)
    };
    match run() {
        Ok(status) | Err(status) => status,
    }
}

/// Generic rights as those of events.
const fn specific(access: u32) -> u32 {
    let generic = if access & GENERIC_WRITE != 0 { EVENT_MODIFY_STATE } else { 0 };
    if access & 0x1200_0000 != 0 { 0x001f_0003 } else { access & 0x00ff_ffff | generic }
}

/// Does something with an event that needs the right to change it; the state before.
fn change(argument: u64, routine: impl FnOnce(*mut KEVENT) -> i32) -> Result<i32, NTSTATUS> {
    let entry = entry(argument)?;
    if !entry.object.is(&EVENT) {
        return Err(NTSTATUS::OBJECT_TYPE_MISMATCH);
    }
    if entry.access & EVENT_MODIFY_STATE == 0 {
        return Err(NTSTATUS::ACCESS_DENIED);
    }
    Ok(routine(entry.object.body().cast()))
}

pub(super) fn set(arguments: &Arguments) -> NTSTATUS {
    // SAFETY: `change` keeps the event alive.
    let changed = change(arguments[0], |event| unsafe { KeSetEvent(event, 1, 0) });
    status(changed.and_then(|state| put_optional(arguments[1], &state)))
}

pub(super) fn reset(arguments: &Arguments) -> NTSTATUS {
    // SAFETY: as above.
    let changed = change(arguments[0], |event| unsafe { KeResetEvent(event) });
    status(changed.and_then(|state| put_optional(arguments[1], &state)))
}

pub(super) fn clear(arguments: &Arguments) -> NTSTATUS {
    // SAFETY: as above.
    let changed = change(arguments[0], |event| unsafe {
        let state = KeReadStateEvent(event);
        KeClearEvent(event);
        state
    });
    status(changed.map(drop))
}

/// What of an object is waited for.
fn waitable(object: &ObjectRef) -> Result<*mut c_void, NTSTATUS> {
    if object.is(&file::FILE) {
        let file: *mut FILE_OBJECT = object.body().cast();
        // SAFETY: the reference keeps the file alive.
        return Ok(unsafe { (&raw mut (*file).Event).cast() });
    }
    if [&EVENT, &TIMER, &THREAD, &PROCESS, &IO_COMPLETION].iter().any(|kind| object.is(kind)) {
        return Ok(object.body());
    }
    Err(NTSTATUS::OBJECT_TYPE_MISMATCH)
}

fn waitable_entry(argument: u64) -> Result<(ObjectRef, *mut c_void), NTSTATUS> {
    let entry = entry(argument)?;
    if entry.access & SYNCHRONIZE == 0 {
        return Err(NTSTATUS::ACCESS_DENIED);
    }
    let waited = waitable(&entry.object)?;
    Ok((entry.object, waited))
}

pub(super) fn wait_one(arguments: &Arguments) -> NTSTATUS {
    let [handle, alertable, timeout_at, ..] = *arguments;
    let run = || {
        let (_object, waited) = waitable_entry(handle)?;
        let mut timeout: i64 = if timeout_at == 0 { 0 } else { get(timeout_at)? };
        let timeout = if timeout_at == 0 { core::ptr::null_mut() } else { &raw mut timeout };
        // SAFETY: the reference keeps the object alive; the time-out is a local.
        Ok(unsafe { KeWaitForSingleObject(waited, EXECUTIVE, USER_MODE, alertable as u8, timeout) })
    };
    match run() {
        Ok(status) | Err(status) => status,
    }
}

pub(super) fn wait_many(arguments: &Arguments) -> NTSTATUS {
    let [count, handles, kind, alertable, timeout_at, ..] = *arguments;
    let run = || {
        let count = count as u32 as usize;
        if count == 0 || count > MAX_OBJECTS || !matches!(kind as i32, WAIT_ALL | WAIT_ANY) {
            return Err(NTSTATUS::INVALID_PARAMETER_1);
        }
        let mut objects = Vec::with_capacity(count);
        let mut waited = Vec::with_capacity(count);
        for index in 0..count as u64 {
            let handle: u64 = get(handles.wrapping_add(8 * index))?;
            let (object, address) = waitable_entry(handle)?;
            objects.push(object);
            waited.push(address);
        }
        let mut timeout: i64 = if timeout_at == 0 { 0 } else { get(timeout_at)? };
        let timeout = if timeout_at == 0 { core::ptr::null_mut() } else { &raw mut timeout };
        let mut blocks = Vec::new();
        if count > THREAD_WAIT_OBJECTS {
            blocks.resize(count, KWAIT_BLOCK::zeroed());
        }
        let blocks = if blocks.is_empty() { core::ptr::null_mut() } else { blocks.as_mut_ptr() };
        // SAFETY: the references keep the objects alive; arrays, blocks and time-out live until the wait is over.
        Ok(unsafe {
            KeWaitForMultipleObjects(
                count as u32,
                waited.as_mut_ptr(),
                kind as i32,
                EXECUTIVE,
                USER_MODE,
                alertable as u8,
                timeout,
                blocks,
            )
        })
    };
    match run() {
        Ok(status) | Err(status) => status,
    }
}
