//! References with tags, which tell debuggers who took them and change nothing else; and events of the kernel's own.

use core::ffi::c_void;

use wdf_sys::wdm::constants::{NOTIFICATION_EVENT, SYNCHRONIZATION_EVENT};
use wdf_sys::wdm::functions::KeInitializeEvent;
use wdf_sys::wdm::{KEVENT, OBJECT_ATTRIBUTES, UNICODE_STRING};
use wdf_sys::{BOOLEAN, HANDLE, NTSTATUS};

use super::ObjectRef;
use super::exports::{self, EVENT, EventBody, open_handle};
use crate::io::driver;

/// # Safety
/// As the documentation of ObReferenceObjectWithTag demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ObfReferenceObjectWithTag(Object: *mut c_void, _Tag: u32) -> isize {
    // SAFETY: the caller's promise.
    unsafe { super::reference(Object) }
}

/// # Safety
/// As the documentation of ObDereferenceObjectWithTag demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ObfDereferenceObjectWithTag(Object: *mut c_void, _Tag: u32) -> isize {
    // SAFETY: the caller's promise.
    unsafe { super::dereference(Object) }
}

/// # Safety
/// As the documentation of ObDereferenceObjectDeferDeleteWithTag demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ObDereferenceObjectDeferDeleteWithTag(Object: *mut c_void, _Tag: u32) {
    // SAFETY: the caller's promise.
    unsafe { super::dereference(Object) };
}

/// # Safety
/// As the documentation of ObReferenceObjectByHandleWithTag demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ObReferenceObjectByHandleWithTag(
    Handle: HANDLE,
    DesiredAccess: u32,
    ObjectType: *mut c_void,
    AccessMode: i8,
    _Tag: u32,
    Object: *mut *mut c_void,
    HandleInformation: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe { exports::ObReferenceObjectByHandle(Handle, DesiredAccess, ObjectType, AccessMode, Object, HandleInformation) }
}

/// # Safety
/// As the documentation of ObReferenceObjectByPointerWithTag demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ObReferenceObjectByPointerWithTag(
    Object: *mut c_void,
    DesiredAccess: u32,
    ObjectType: *mut c_void,
    AccessMode: i8,
    _Tag: u32,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe { exports::ObReferenceObjectByPointer(Object, DesiredAccess, ObjectType, AccessMode) }
}

/// An event of that name, or a new one that is set or not; and whether it was there.
fn event(path: &[u16], kind: i32, is_set: bool) -> Result<(ObjectRef, bool), NTSTATUS> {
    let new = ObjectRef::new(&EVENT, EventBody(core::cell::UnsafeCell::new(KEVENT::zeroed())))?;
    // SAFETY: nobody else knows the event yet, and its body stays where it is.
    unsafe { KeInitializeEvent(new.body().cast(), kind, u8::from(is_set)) };
    if path.is_empty() {
        return Ok((new, false));
    }
    match driver::namespace().insert(path, &new) {
        Ok(()) => Ok((new, false)),
        Err(NTSTATUS::OBJECT_NAME_COLLISION) => {
            let old = driver::namespace().find(path, true)?.object;
            if old.is(&EVENT) { Ok((old, true)) } else { Err(NTSTATUS::OBJECT_TYPE_MISMATCH) }
        }
        Err(status) => Err(status),
    }
}

/// # Safety
/// As the documentation of ZwCreateEvent demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwCreateEvent(
    EventHandle: *mut HANDLE,
    DesiredAccess: u32,
    ObjectAttributes: *mut OBJECT_ATTRIBUTES,
    EventType: i32,
    InitialState: BOOLEAN,
) -> NTSTATUS {
    const OBJ_KERNEL_HANDLE: u32 = 0x200;
    let make = || {
        // SAFETY: the caller's promise: null or attributes, whose name is null or a string.
        let (path, attributes): (&[u16], u32) = unsafe {
            match ObjectAttributes.as_ref() {
                Some(attributes) if !attributes.ObjectName.is_null() => {
                    (crate::io::units(attributes.ObjectName)?, attributes.Attributes)
                }
                Some(attributes) => (&[], attributes.Attributes),
                None => (&[], 0),
            }
        };
        let (event, existed) = event(path, EventType, InitialState != 0)?;
        let handle = open_handle(event, DesiredAccess, attributes & OBJ_KERNEL_HANDLE != 0)?;
        // SAFETY: the caller's promise: a place for a handle.
        unsafe { EventHandle.write(handle) };
        Ok(if existed { NTSTATUS::OBJECT_NAME_EXISTS } else { NTSTATUS::SUCCESS })
    };
    match make() {
        Ok(status) | Err(status) => status,
    }
}

/// # Safety
/// `name` is a string, `handle` a place for a handle.
unsafe fn named_event(name: *mut UNICODE_STRING, kind: i32, handle: *mut HANDLE) -> *mut KEVENT {
    // SAFETY: the caller's promise. Documented: the event begins set, the handle is the kernel's.
    unsafe {
        let made = crate::io::units(name).and_then(|path| event(path, kind, true)).and_then(|(event, _)| {
            let body = event.body();
            open_handle(event, 0x001f_0003, true).map(|handle| (handle, body))
        });
        let Ok((opened, body)) = made else { return core::ptr::null_mut() };
        handle.write(opened);
        body.cast()
    }
}

/// # Safety
/// As the documentation of IoCreateNotificationEvent demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoCreateNotificationEvent(
    EventName: *mut UNICODE_STRING,
    EventHandle: *mut HANDLE,
) -> *mut KEVENT {
    // SAFETY: the caller's promise.
    unsafe { named_event(EventName, NOTIFICATION_EVENT, EventHandle) }
}

/// # Safety
/// As the documentation of IoCreateSynchronizationEvent demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoCreateSynchronizationEvent(
    EventName: *mut UNICODE_STRING,
    EventHandle: *mut HANDLE,
) -> *mut KEVENT {
    // SAFETY: the caller's promise.
    unsafe { named_event(EventName, SYNCHRONIZATION_EVENT, EventHandle) }
}
