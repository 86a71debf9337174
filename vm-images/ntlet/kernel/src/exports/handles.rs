//! Events and symbolic links by handle, as drivers use them.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ptr::null_mut;

use wdf_sys::wdm::constants::{KERNEL_MODE, OBJ_KERNEL_HANDLE};
use wdf_sys::wdm::functions::{KeClearEvent, KeResetEvent, KeSetEvent};
use wdf_sys::wdm::{KEVENT, OBJECT_ATTRIBUTES, UNICODE_STRING};
use wdf_sys::{HANDLE, NTSTATUS};

use crate::io::{driver, units};
use crate::object::directory::{SYMBOLIC_LINK, SymbolicLink};
use crate::object::exports::{EVENT, by_handle, open_handle};

/// Does something to the event of a handle; the state before goes to `previous`.
///
/// # Safety
/// `previous` is null or a place for a number.
unsafe fn with_event(handle: HANDLE, previous: *mut i32, change: impl FnOnce(*mut KEVENT) -> i32) -> NTSTATUS {
    let entry = match by_handle(handle, KERNEL_MODE) {
        Ok(entry) if entry.object.is(&EVENT) => entry,
        Ok(_) => return NTSTATUS::OBJECT_TYPE_MISMATCH,
        Err(status) => return status,
    };
    let before = change(entry.object.body().cast());
    if !previous.is_null() {
        // SAFETY: the caller's promise.
        unsafe { previous.write(before) };
    }
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwSetEvent(EventHandle: HANDLE, PreviousState: *mut i32) -> NTSTATUS {
    // SAFETY: the caller's promise; the reference keeps the event.
    unsafe { with_event(EventHandle, PreviousState, |event| KeSetEvent(event, 0, 0)) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwResetEvent(EventHandle: HANDLE, PreviousState: *mut i32) -> NTSTATUS {
    // SAFETY: as above.
    unsafe { with_event(EventHandle, PreviousState, |event| KeResetEvent(event)) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwClearEvent(EventHandle: HANDLE) -> NTSTATUS {
    let clear = |event| {
        // SAFETY: the reference keeps the event.
        unsafe { KeClearEvent(event) };
        0
    };
    // SAFETY: no place is given.
    unsafe { with_event(EventHandle, null_mut(), clear) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwOpenSymbolicLinkObject(
    LinkHandle: *mut HANDLE,
    DesiredAccess: u32,
    ObjectAttributes: *const OBJECT_ATTRIBUTES,
) -> NTSTATUS {
    let open = || {
        // SAFETY: the caller's promise: attributes with a name.
        let (path, attributes) = unsafe {
            let attributes = ObjectAttributes.as_ref().ok_or(NTSTATUS::INVALID_PARAMETER)?;
            if !attributes.RootDirectory.is_null() {
                return Err(NTSTATUS::NOT_SUPPORTED);
            }
            (units(attributes.ObjectName)?, attributes.Attributes)
        };
        let found = driver::namespace().find(path, true)?;
        if !found.rest.is_empty() || !found.object.is(&SYMBOLIC_LINK) {
            return Err(NTSTATUS::OBJECT_TYPE_MISMATCH);
        }
        open_handle(found.object, DesiredAccess, attributes & OBJ_KERNEL_HANDLE != 0)
    };
    match open() {
        Ok(handle) => {
            // SAFETY: the caller's promise: a place for a handle.
            unsafe { LinkHandle.write(handle) };
            NTSTATUS::SUCCESS
        }
        Err(status) => status,
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwQuerySymbolicLinkObject(
    LinkHandle: HANDLE,
    LinkTarget: *mut UNICODE_STRING,
    ReturnedLength: *mut u32,
) -> NTSTATUS {
    let object = match by_handle(LinkHandle, KERNEL_MODE) {
        Ok(entry) => entry.object,
        Err(status) => return status,
    };
    let Some(link) = object.get::<SymbolicLink>(&SYMBOLIC_LINK) else { return NTSTATUS::OBJECT_TYPE_MISMATCH };
    let bytes = link.target.len() * 2;
    // SAFETY: the caller's promise: a string with a buffer, and null or a place for the length.
    unsafe {
        if !ReturnedLength.is_null() {
            ReturnedLength.write(bytes as u32);
        }
        if bytes > usize::from((*LinkTarget).MaximumLength) {
            return NTSTATUS::BUFFER_TOO_SMALL;
        }
        core::ptr::copy_nonoverlapping(link.target.as_ptr(), (*LinkTarget).Buffer, link.target.len());
        (*LinkTarget).Length = bytes as u16;
    }
    NTSTATUS::SUCCESS
}
