//! File objects: what an open device is to a program, from its creation to `IRP_MJ_CLOSE`.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ffi::c_void;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{KeInitializeEvent, KeSetEvent, KeWaitForSingleObject};
use wdf_sys::wdm::{DEVICE_OBJECT, FILE_OBJECT, UNICODE_STRING, initialize_list_head};

use super::device;
use super::wait;
use super::watch::Patience;
use crate::lock::SpinLock;
use crate::object::{ObjectRef, ObjectType};

/// File objects.
pub(crate) static FILE: ObjectType =
    ObjectType { name: "File", delete: close, last_handle_closed: Some(cleanup), deletes_at_passive_level: true };

pub(crate) const FO_SYNCHRONOUS_IO: u32 = 0x0000_0002;
pub(crate) const FO_ALERTABLE_IO: u32 = 0x0000_0004;
pub(crate) const FO_CLEANUP_COMPLETE: u32 = 0x0000_4000;
pub(crate) const FO_HANDLE_CREATED: u32 = 0x0004_0000;

/// What we keep behind a file object.
#[derive(Debug)]
pub(crate) struct FileState {
    name: Box<[u16]>,
    related: Option<ObjectRef>,
    /// The driver has accepted it: it gets cleanup and close.
    pub(crate) is_open: bool,
    /// Completion port and key.
    pub(crate) port: SpinLock<Option<(ObjectRef, usize)>>,
}

const STATE_OFFSET: usize = size_of::<FILE_OBJECT>().next_multiple_of(16);

/// A new file object on a device that [`device::open`] counted.
///
/// # Safety
/// `device` is alive.
pub(crate) unsafe fn create(
    device: *mut DEVICE_OBJECT,
    name: Vec<u16>,
    related: Option<ObjectRef>,
    access: u32,
    (share, options): (u32, u32),
) -> Result<ObjectRef, NTSTATUS> {
    let object = ObjectRef::allocate(&FILE, STATE_OFFSET + size_of::<FileState>())?;
    let file: *mut FILE_OBJECT = object.body().cast();
    // SAFETY: the body has room for both structures and is ours alone.
    unsafe {
        let state = FileState { name: name.into_boxed_slice(), related, is_open: false, port: SpinLock::new(None) };
        state_address(file).write(state);
        let state = &*state_address(file);
        (*file).Type = IO_TYPE_FILE;
        (*file).Size = size_of::<FILE_OBJECT>() as i16;
        (*file).DeviceObject = device;
        (*file).RelatedFileObject = state.related.as_ref().map_or(core::ptr::null_mut(), |file| file.body().cast());
        (*file).FileName = UNICODE_STRING::new(&state.name).ok_or(NTSTATUS::OBJECT_NAME_INVALID)?;
        (*file).ReadAccess = u8::from(access & 1 != 0);
        (*file).WriteAccess = u8::from(access & 6 != 0);
        (*file).DeleteAccess = u8::from(access & 0x1_0000 != 0);
        (*file).SharedRead = u8::from(share & 1 != 0);
        (*file).SharedWrite = u8::from(share & 2 != 0);
        (*file).SharedDelete = u8::from(share & 4 != 0);
        if options & (FILE_SYNCHRONOUS_IO_ALERT | FILE_SYNCHRONOUS_IO_NONALERT) != 0 {
            (*file).Flags |= FO_SYNCHRONOUS_IO;
        }
        if options & FILE_SYNCHRONOUS_IO_ALERT != 0 {
            (*file).Flags |= FO_ALERTABLE_IO;
        }
        KeInitializeEvent(&raw mut (*file).Lock, SYNCHRONIZATION_EVENT, 1);
        KeInitializeEvent(&raw mut (*file).Event, NOTIFICATION_EVENT, 0);
        initialize_list_head(&raw mut (*file).IrpList);
    }
    Ok(object)
}

/// # Safety
/// `file` is a file object made by [`create`].
const unsafe fn state_address(file: *mut FILE_OBJECT) -> *mut FileState {
    // SAFETY: the caller's promise.
    unsafe { file.cast::<u8>().add(STATE_OFFSET).cast() }
}

/// What we keep behind a file object.
pub(crate) fn state(file: &ObjectRef) -> Option<&FileState> {
    // SAFETY: a file object's body was made by `create`, and lives as long as the reference.
    file.is(&FILE).then(|| unsafe { &*state_address(file.body().cast()) })
}

/// Marks a file as accepted by its driver.
pub(crate) fn set_open(file: &ObjectRef) {
    if file.is(&FILE) {
        // SAFETY: the file is new: nobody but its creator knows it.
        unsafe { (*state_address(file.body().cast())).is_open = true };
    }
}

/// Waits until no other request of a synchronous file is under way. `false` for a file that is not synchronous.
///
/// # Safety
/// `file` is alive.
pub(crate) unsafe fn lock(file: *mut FILE_OBJECT) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        if (*file).Flags & FO_SYNCHRONOUS_IO == 0 {
            return false;
        }
        let _ = KeWaitForSingleObject((&raw mut (*file).Lock).cast(), EXECUTIVE, KERNEL_MODE, 0, core::ptr::null_mut());
    }
    true
}

/// Lets the next request of a synchronous file begin.
///
/// # Safety
/// [`lock`] returned `true` before.
pub(crate) unsafe fn unlock(file: *mut FILE_OBJECT) {
    // SAFETY: the caller's promise.
    unsafe { KeSetEvent(&raw mut (*file).Lock, 0, 0) };
}

/// The last handle has gone: `IRP_MJ_CLEANUP`.
///
/// # Safety
/// Called by the object manager at `PASSIVE_LEVEL`; the object is alive.
unsafe fn cleanup(body: *mut c_void) {
    let file: *mut FILE_OBJECT = body.cast();
    // SAFETY: the caller's promise.
    unsafe {
        if !(*state_address(file)).is_open {
            return;
        }
        let fill = |_, location: *mut wdf_sys::wdm::IO_STACK_LOCATION| (*location).FileObject = file;
        let _ = wait::send((*file).DeviceObject, (IRP_MJ_CLEANUP, 0), NTSTATUS::SUCCESS, Patience::Endless, fill);
        (*file).Flags |= FO_CLEANUP_COMPLETE;
    }
}

/// The last reference has gone: `IRP_MJ_CLOSE`, if the driver ever accepted the file.
///
/// # Safety
/// Called by the object manager once, at `PASSIVE_LEVEL`.
unsafe fn close(body: *mut c_void) {
    let file: *mut FILE_OBJECT = body.cast();
    // SAFETY: the caller's promise.
    unsafe {
        let device = (*file).DeviceObject;
        if (*state_address(file)).is_open {
            let fill = |_, location: *mut wdf_sys::wdm::IO_STACK_LOCATION| (*location).FileObject = file;
            let _ = wait::send(device, (IRP_MJ_CLOSE, 0), NTSTATUS::SUCCESS, Patience::Endless, fill);
        }
        state_address(file).drop_in_place();
        device::close(device);
    }
}
