//! What drivers call of the object manager, the types they name, and the way from a handle to an object.

use core::ffi::c_void;

use wdf_sys::wdm::UNICODE_STRING;
use wdf_sys::wdm::constants::{KERNEL_MODE, OBJ_KERNEL_HANDLE, USER_MODE};
use wdf_sys::{HANDLE, NTSTATUS};

use super::handle::{Entry, KERNEL_HANDLES, is_kernel_handle};
use super::{ObjectRef, ObjectType};
use crate::dispatcher::thread::THREAD;
use crate::io::{device::DEVICE, driver, driver::DRIVER, file::FILE};
use crate::process::PROCESS;

/// Events made by programs and by `ZwCreateEvent`; the body is a `KEVENT`.
pub(crate) static EVENT: ObjectType = ObjectType::of::<EventBody>("Event");

/// Body of an event object: the dispatcher owns what is in it.
#[repr(transparent)]
pub(crate) struct EventBody(pub(crate) core::cell::UnsafeCell<wdf_sys::wdm::KEVENT>);

/// A type as drivers name it: `*ExEventObjectType`.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct TypePointer(&'static ObjectType);

/// Type of device objects.
#[unsafe(no_mangle)]
pub(crate) static IoDeviceObjectType: TypePointer = TypePointer(&DEVICE);
/// Type of driver objects.
#[unsafe(no_mangle)]
pub(crate) static IoDriverObjectType: TypePointer = TypePointer(&DRIVER);
/// Type of file objects.
#[unsafe(no_mangle)]
pub(crate) static IoFileObjectType: TypePointer = TypePointer(&FILE);
/// Type of events.
#[unsafe(no_mangle)]
pub(crate) static ExEventObjectType: TypePointer = TypePointer(&EVENT);
/// Type of threads.
#[unsafe(no_mangle)]
pub(crate) static PsThreadType: TypePointer = TypePointer(&THREAD);
/// Type of processes.
#[unsafe(no_mangle)]
pub(crate) static PsProcessType: TypePointer = TypePointer(&PROCESS);

const CURRENT_PROCESS: usize = usize::MAX;
const CURRENT_THREAD: usize = usize::MAX - 1;

/// What a handle stands for, in the current process.
pub(crate) fn by_handle(handle: HANDLE, mode: i8) -> Result<Entry, NTSTATUS> {
    let pseudo = |body: *mut c_void| {
        // SAFETY: the current thread and its process are alive.
        Entry { object: unsafe { ObjectRef::from_borrowed(body) }, access: u32::MAX }
    };
    match handle.addr() {
        CURRENT_PROCESS => return Ok(pseudo(crate::process::current())),
        CURRENT_THREAD => return Ok(pseudo(crate::dispatcher::thread::current().cast())),
        _ => {}
    }
    if is_kernel_handle(handle) {
        return if mode == KERNEL_MODE { KERNEL_HANDLES.get(handle) } else { Err(NTSTATUS::INVALID_HANDLE) };
    }
    crate::process::current_handles().get(handle)
}

/// Opens a handle: in the kernel's table for kernel handles and in system threads, else in the current process.
pub(crate) fn open_handle(object: ObjectRef, access: u32, is_kernel: bool) -> Result<HANDLE, NTSTATUS> {
    if is_kernel { KERNEL_HANDLES.insert(object, access) } else { crate::process::current_handles().insert(object, access) }
}

/// Closes a handle.
pub(crate) fn close_handle(handle: HANDLE, mode: i8) -> Result<(), NTSTATUS> {
    if is_kernel_handle(handle) {
        return if mode == KERNEL_MODE { KERNEL_HANDLES.close(handle) } else { Err(NTSTATUS::INVALID_HANDLE) };
    }
    crate::process::current_handles().close(handle)
}

/// # Safety
/// As the documentation of ZwClose demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwClose(Handle: HANDLE) -> NTSTATUS {
    close_handle(Handle, KERNEL_MODE).err().unwrap_or(NTSTATUS::SUCCESS)
}

/// # Safety
/// As the documentation of ObOpenObjectByPointer demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ObOpenObjectByPointer(
    Object: *mut c_void,
    HandleAttributes: u32,
    _PassedAccessState: *mut c_void,
    DesiredAccess: u32,
    ObjectType: *mut c_void,
    _AccessMode: i8,
    Handle: *mut HANDLE,
) -> NTSTATUS {
    // SAFETY: the caller's promise: an object that it has a reference to.
    let object = unsafe { ObjectRef::from_borrowed(Object) };
    if !ObjectType.is_null() && !core::ptr::eq(object.kind(), ObjectType.cast()) {
        return NTSTATUS::OBJECT_TYPE_MISMATCH;
    }
    match open_handle(object, DesiredAccess, HandleAttributes & OBJ_KERNEL_HANDLE != 0) {
        Ok(handle) => {
            // SAFETY: the caller's promise: a place for a handle.
            unsafe { Handle.write(handle) };
            NTSTATUS::SUCCESS
        }
        Err(status) => status,
    }
}

/// `OBJECT_HANDLE_INFORMATION`.
#[repr(C)]
struct HandleInformation {
    attributes: u32,
    access: u32,
}

/// # Safety
/// As the documentation of ObReferenceObjectByHandle demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ObReferenceObjectByHandle(
    Handle: HANDLE,
    DesiredAccess: u32,
    ObjectType: *mut c_void,
    AccessMode: i8,
    Object: *mut *mut c_void,
    HandleInformation: *mut c_void,
) -> NTSTATUS {
    let entry = match by_handle(Handle, AccessMode) {
        Ok(entry) => entry,
        Err(status) => return status,
    };
    if !ObjectType.is_null() && !core::ptr::eq(entry.object.kind(), ObjectType.cast()) {
        return NTSTATUS::OBJECT_TYPE_MISMATCH;
    }
    if AccessMode == USER_MODE && DesiredAccess & !entry.access != 0 {
        return NTSTATUS::ACCESS_DENIED;
    }
    // SAFETY: the caller's promise; the reference goes to the caller.
    unsafe {
        if let Some(information) = HandleInformation.cast::<self::HandleInformation>().as_mut() {
            *information = self::HandleInformation { attributes: 0, access: entry.access };
        }
        *Object = entry.object.into_raw();
    }
    NTSTATUS::SUCCESS
}

/// # Safety
/// As the documentation of ObReferenceObjectByPointer demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ObReferenceObjectByPointer(
    Object: *mut c_void,
    _DesiredAccess: u32,
    ObjectType: *mut c_void,
    _AccessMode: i8,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe {
        if !ObjectType.is_null() && !core::ptr::eq(super::type_of(Object), ObjectType.cast()) {
            return NTSTATUS::OBJECT_TYPE_MISMATCH;
        }
        super::reference(Object);
    }
    NTSTATUS::SUCCESS
}

/// # Safety
/// As the documentation of ObReferenceObject demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ObfReferenceObject(Object: *mut c_void) -> isize {
    // SAFETY: the caller's promise.
    unsafe { super::reference(Object) }
}

/// # Safety
/// As the documentation of ObDereferenceObject demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ObfDereferenceObject(Object: *mut c_void) -> isize {
    // SAFETY: the caller's promise.
    unsafe { super::dereference(Object) }
}

/// # Safety
/// As the documentation of ObDereferenceObjectDeferDelete demands. Deletion that needs `PASSIVE_LEVEL` is always deferred to it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ObDereferenceObjectDeferDelete(Object: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { super::dereference(Object) };
}

/// # Safety
/// The arguments are as drivers that declare this function pass them; the DDI documentation does not describe it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ObReferenceObjectByName(
    ObjectName: *mut UNICODE_STRING,
    _Attributes: u32,
    _AccessState: *mut c_void,
    _DesiredAccess: u32,
    ObjectType: *mut c_void,
    _AccessMode: i8,
    _ParseContext: *mut c_void,
    Object: *mut *mut c_void,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let found = unsafe { crate::io::units(ObjectName) }.and_then(|path| driver::namespace().find(path, true));
    match found {
        Ok(found) if !found.rest.is_empty() => NTSTATUS::OBJECT_NAME_NOT_FOUND,
        Ok(found) if !ObjectType.is_null() && !core::ptr::eq(found.object.kind(), ObjectType.cast()) => {
            NTSTATUS::OBJECT_TYPE_MISMATCH
        }
        Ok(found) => {
            // SAFETY: the caller's promise; the reference goes to the caller.
            unsafe { *Object = found.object.into_raw() };
            NTSTATUS::SUCCESS
        }
        Err(status) => status,
    }
}
