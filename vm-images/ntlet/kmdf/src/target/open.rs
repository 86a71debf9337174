//! Opening and closing remote targets.

use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdf::{WDF_IO_TARGET_OPEN_PARAMS, WDF_IO_TARGET_OPEN_TYPE, WDF_IO_TARGET_STATE};
use wdf_sys::wdm::constants::{KERNEL_MODE, OBJ_CASE_INSENSITIVE, OBJ_KERNEL_HANDLE};
use wdf_sys::wdm::functions::{
    IoGetRelatedDeviceObject, ObReferenceObjectByHandle, ObfDereferenceObject, ObfReferenceObject, ZwClose, ZwCreateFile,
};
use wdf_sys::wdm::{FILE_OBJECT, IO_STATUS_BLOCK, OBJECT_ATTRIBUTES, UNICODE_STRING};
use wdf_sys::{HANDLE, NTSTATUS};

use super::Target;
use crate::call::Call;
use crate::device_init::copy_units;
use crate::object::Ref;
use crate::query_interface::physical_device;

/// What an open remote target holds.
#[derive(Default)]
pub(crate) struct Opened {
    /// For WdfIoTargetOpenReopen.
    by_name: Option<(WDF_IO_TARGET_OPEN_PARAMS, Vec<u16>)>,
    /// The handle, when the target was opened by name; null otherwise.
    pub(crate) handle: usize,
    /// The physical device of the target's stack, referenced by us; 0 for none.
    pub(crate) physical: usize,
    /// The device object is referenced by us.
    references_device: bool,
    /// The file object is referenced by us.
    references_file: bool,
}

/// Opens a target. PASSIVE_LEVEL.
///
/// # Errors
/// `INVALID_DEVICE_STATE` when it is open, `NOT_SUPPORTED` for ways of opening that are not there yet, those of `ZwCreateFile`.
pub(crate) fn open(call: &Call, target: &Ref<Target>, params: &WDF_IO_TARGET_OPEN_PARAMS) -> Result<(), NTSTATUS> {
    if !target.is_remote {
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    if !target.guarded.lock().state.is_gone() {
        return Err(NTSTATUS::INVALID_DEVICE_STATE);
    }
    // SAFETY: opening and closing calls of one target do not overlap: the driver makes them at PASSIVE_LEVEL one after the other, as the
    // state just seen demands.
    let opened = unsafe { &mut *target.opened.get() };
    match params.Type {
        WDF_IO_TARGET_OPEN_TYPE::WdfIoTargetOpenUseExistingDevice => existing(target, opened, params)?,
        WDF_IO_TARGET_OPEN_TYPE::WdfIoTargetOpenByName => {
            let name = copy_units(call.string(&params.TargetDeviceName)?)?;
            by_name(target, opened, params, &name)?;
            opened.by_name = Some((*params, name));
        }
        WDF_IO_TARGET_OPEN_TYPE::WdfIoTargetOpenReopen => {
            let Some((params, name)) = opened.by_name.take() else { return Err(NTSTATUS::INVALID_DEVICE_STATE) };
            let result = by_name(target, opened, &params, &name);
            opened.by_name = Some((params, name));
            result?;
        }
        other => {
            crate::report!(call.globals, "{}: opening a target in way {} is not implemented", call.name(), other.0);
            return Err(NTSTATUS::NOT_SUPPORTED);
        }
    }
    // SAFETY: the device that was just opened.
    opened.physical = unsafe { physical_device(target.device_object()) }.expose_provenance();
    let needed = target.stack_size();
    target.guarded.lock().stack_size = Some(needed);
    Target::set_state(target, WDF_IO_TARGET_STATE::WdfIoTargetStarted);
    Ok(())
}

fn existing(target: &Ref<Target>, opened: &mut Opened, params: &WDF_IO_TARGET_OPEN_PARAMS) -> Result<(), NTSTATUS> {
    if params.TargetDeviceObject.is_null() {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    // SAFETY: the driver says that these are kernel objects.
    unsafe {
        ObfReferenceObject(params.TargetDeviceObject.cast());
        if !params.TargetFileObject.is_null() {
            ObfReferenceObject(params.TargetFileObject.cast());
        }
    }
    opened.references_device = true;
    opened.references_file = !params.TargetFileObject.is_null();
    let mut guarded = target.guarded.lock();
    (guarded.device, guarded.file) = (params.TargetDeviceObject, params.TargetFileObject);
    Ok(())
}

fn by_name(target: &Ref<Target>, opened: &mut Opened, params: &WDF_IO_TARGET_OPEN_PARAMS, name: &[u16]) -> Result<(), NTSTATUS> {
    let Some(mut string) = UNICODE_STRING::new(name) else { return Err(NTSTATUS::INVALID_PARAMETER) };
    let mut attributes = OBJECT_ATTRIBUTES::zeroed();
    attributes.Length = size_of::<OBJECT_ATTRIBUTES>() as u32;
    attributes.ObjectName = &raw mut string;
    attributes.Attributes = OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE;
    let mut handle: HANDLE = null_mut();
    let mut result = IO_STATUS_BLOCK::zeroed();
    // SAFETY: every pointer is to a local that lives through the call, or as the driver says in its parameters.
    unsafe {
        ZwCreateFile(
            &raw mut handle,
            params.DesiredAccess,
            &raw mut attributes,
            &raw mut result,
            params.AllocationSize,
            params.FileAttributes,
            params.ShareAccess,
            params.CreateDisposition,
            params.CreateOptions,
            params.EaBuffer,
            params.EaBufferLength,
        )
    }
    .ok()?;
    let mut object: *mut c_void = null_mut();
    // SAFETY: a handle that was opened just now; the object type is not checked, since the name was a device's.
    let referenced = unsafe { ObReferenceObjectByHandle(handle, 0, null_mut(), KERNEL_MODE, &raw mut object, null_mut()) };
    if let Err(status) = referenced.ok() {
        // SAFETY: opened above.
        let _ = unsafe { ZwClose(handle) };
        return Err(status);
    }
    let file = object.cast::<FILE_OBJECT>();
    // SAFETY: a file object that is referenced.
    let device = unsafe { IoGetRelatedDeviceObject(file) };
    opened.handle = handle.addr();
    (opened.references_device, opened.references_file) = (false, true);
    let mut guarded = target.guarded.lock();
    (guarded.device, guarded.file) = (device, file);
    Ok(())
}

/// Closes a target: nothing is sent any more, what was sent is cancelled and waited for, the device is let go. PASSIVE_LEVEL.
pub(crate) fn close(target: &Ref<Target>, now: WDF_IO_TARGET_STATE) {
    Target::set_state(target, now);
    Target::cancel_all(target);
    Target::wait_until_idle(target);
    let (device, file) = {
        let mut guarded = target.guarded.lock();
        guarded.stack_size = None;
        (core::mem::replace(&mut guarded.device, null_mut()), core::mem::replace(&mut guarded.file, null_mut()))
    };
    // SAFETY: as in `open`.
    let opened = unsafe { &mut *target.opened.get() };
    // SAFETY: referenced and opened by `open`, and let go once: the fields are reset.
    unsafe {
        if core::mem::take(&mut opened.references_file) {
            ObfDereferenceObject(file.cast());
        }
        if core::mem::take(&mut opened.references_device) {
            ObfDereferenceObject(device.cast());
        }
        let physical = core::mem::take(&mut opened.physical);
        if physical != 0 {
            ObfDereferenceObject(core::ptr::with_exposed_provenance_mut(physical));
        }
        let handle = core::mem::take(&mut opened.handle);
        if handle != 0 {
            let _ = ZwClose(core::ptr::with_exposed_provenance_mut(handle));
        }
    }
    if now == WDF_IO_TARGET_STATE::WdfIoTargetClosed {
        opened.by_name = None;
    }
}
