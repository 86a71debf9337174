//! Copies of strings, signals and links by handle, affinity by group, and locks that come with a critical region.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::constants::{KERNEL_MODE, OBJ_KERNEL_HANDLE};
use wdf_sys::wdm::functions::{
    ExAllocatePool2, KeClearEvent, KeEnterCriticalRegion, KeLeaveCriticalRegion, KeResetEvent, KeSetEvent,
};
use wdf_sys::wdm::{FAST_MUTEX, KEVENT, OBJECT_ATTRIBUTES, UNICODE_STRING};
use wdf_sys::{BOOLEAN, HANDLE, NTSTATUS};

use crate::dispatcher::fast_mutex::{ExAcquireFastMutexUnsafe, ExReleaseFastMutexUnsafe};
use crate::dispatcher::thread::exported::{KeRevertToUserAffinityThreadEx, KeSetSystemAffinityThreadEx};
use crate::exception::back_trace::RtlCaptureStackBackTrace;
use crate::io::{driver, units};
use crate::object::directory::{SYMBOLIC_LINK, SymbolicLink};
use crate::object::exports::{EVENT, by_handle, open_handle};
use crate::strings::{AnsiString, upcase};

const TAG: u32 = u32::from_le_bytes(*b"Strg");
/// `POOL_FLAG_PAGED`.
const PAGED: u64 = 0x100;

/// A copy of units in pool, with a zero behind them if that is wanted. What is empty then needs no buffer.
///
/// # Safety
/// `to` is a place for a string.
unsafe fn duplicate(to: *mut UNICODE_STRING, units: &[u16], is_terminated: bool) -> NTSTATUS {
    let room = units.len() + usize::from(is_terminated);
    let Ok(bytes) = u16::try_from(room * 2) else { return NTSTATUS::NAME_TOO_LONG };
    // SAFETY: the caller's promise; the block has room for what is written.
    unsafe {
        let mut buffer: *mut u16 = null_mut();
        if room != 0 {
            buffer = ExAllocatePool2(PAGED, room * 2, TAG).cast();
            if buffer.is_null() {
                return NTSTATUS::NO_MEMORY;
            }
            // What `ExAllocatePool2` gives is zero already.
            core::ptr::copy_nonoverlapping(units.as_ptr(), buffer, units.len());
        }
        to.write(UNICODE_STRING { Length: (units.len() * 2) as u16, MaximumLength: bytes, Buffer: buffer });
    }
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlDuplicateUnicodeString(
    Flags: u32,
    StringIn: *const UNICODE_STRING,
    StringOut: *mut UNICODE_STRING,
) -> NTSTATUS {
    /// `RTL_DUPLICATE_UNICODE_STRING_NULL_TERMINATE` and `…_ALLOCATE_NULL_STRING`, which asks for the first one.
    const TERMINATE: u32 = 1;
    const ALLOCATE_NULL: u32 = 2;
    if Flags & !(TERMINATE | ALLOCATE_NULL) != 0 || Flags == ALLOCATE_NULL || StringOut.is_null() {
        return NTSTATUS::INVALID_PARAMETER;
    }
    // SAFETY: the caller's promise: a string, and a place for one.
    unsafe {
        let source = (*StringIn).units();
        let is_nothing = source.is_empty() && Flags & ALLOCATE_NULL == 0;
        duplicate(StringOut, source, Flags & TERMINATE != 0 && !is_nothing)
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlCreateUnicodeString(
    DestinationString: *mut UNICODE_STRING,
    SourceString: *const u16,
) -> BOOLEAN {
    // SAFETY: the caller's promise: a terminated string, and a place for one.
    unsafe {
        let length = crate::strings::length_of(SourceString);
        let source = core::slice::from_raw_parts(SourceString, length);
        BOOLEAN::from(duplicate(DestinationString, source, true).is_success())
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlPrefixString(
    String1: *const AnsiString,
    String2: *const AnsiString,
    CaseInsensitive: BOOLEAN,
) -> BOOLEAN {
    // SAFETY: the caller's promise: two strings.
    let (prefix, whole) = unsafe { ((*String1).bytes(), (*String2).bytes()) };
    let fold = |byte: u8| if CaseInsensitive != 0 { upcase(u16::from(byte)) } else { u16::from(byte) };
    let start = whole.get(..prefix.len());
    BOOLEAN::from(start.is_some_and(|start| start.iter().zip(prefix).all(|(&one, &other)| fold(one) == fold(other))))
}

/// As `RtlCaptureStackBackTrace`, from the caller on.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlWalkFrameChain(Callers: *mut *mut c_void, Count: u32, Flags: u32) -> u32 {
    /// Frames of the program below; there is nothing of it on a kernel stack.
    const USER: u32 = 1;
    if Flags & USER != 0 {
        return 0;
    }
    // SAFETY: the caller's promise: room for so many addresses.
    u32::from(unsafe { RtlCaptureStackBackTrace(1, Count, Callers, null_mut()) })
}

// Events by handle.

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

// Symbolic links by handle.

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

// Processor groups, of which there is one.

/// `GROUP_AFFINITY`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct GroupAffinity {
    mask: u64,
    group: u16,
    reserved: [u16; 3],
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeQueryMaximumGroupCount() -> u16 {
    1
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeSetSystemGroupAffinityThread(
    Affinity: *const GroupAffinity,
    PreviousAffinity: *mut GroupAffinity,
) {
    // SAFETY: the caller's promise: an affinity, and null or a place for one. One that names no processor of this machine changes nothing.
    unsafe {
        let GroupAffinity { mask, group, .. } = *Affinity;
        let before = KeSetSystemAffinityThreadEx(if group == 0 { mask as usize } else { 0 });
        if !PreviousAffinity.is_null() {
            PreviousAffinity.write(GroupAffinity { mask: before as u64, group: 0, reserved: [0; 3] });
        }
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeRevertToUserGroupAffinityThread(PreviousAffinity: *const GroupAffinity) {
    // SAFETY: the caller's promise: what `KeSetSystemGroupAffinityThread` has written.
    unsafe { KeRevertToUserAffinityThreadEx((*PreviousAffinity).mask as usize) };
}

// Fast mutexes with a critical region.

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExEnterCriticalRegionAndAcquireFastMutexUnsafe(FastMutex: *mut FAST_MUTEX) {
    // SAFETY: the caller's promise: an initialised mutex.
    unsafe {
        KeEnterCriticalRegion();
        ExAcquireFastMutexUnsafe(FastMutex);
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExReleaseFastMutexUnsafeAndLeaveCriticalRegion(FastMutex: *mut FAST_MUTEX) {
    // SAFETY: the caller's promise: a mutex that it owns.
    unsafe {
        ExReleaseFastMutexUnsafe(FastMutex);
        KeLeaveCriticalRegion();
    }
}
