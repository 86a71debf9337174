//! Security descriptors of devices.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::DEVICE_OBJECT;
use wdf_sys::wdm::constants::KERNEL_MODE;
use wdf_sys::wdm::functions::ExFreePoolWithTag;
use wdf_sys::{HANDLE, NTSTATUS};

use super::descriptor::{
    DACL_PRESENT, INVALID_SECURITY_DESCR, RtlValidSecurityDescriptor, SACL_PRESENT, SELF_RELATIVE, SeCaptureSecurityDescriptor,
    TAG, parts,
};
use crate::io::device::DEVICE;
use crate::object::ObjectRef;
use crate::object::exports::by_handle;

const NO_SECURITY_ON_OBJECT: NTSTATUS = NTSTATUS(0xc000_00d7_u32 as i32);

/// `OWNER_SECURITY_INFORMATION` and the others.
const OWNER: u32 = 1;
const GROUP: u32 = 2;
const DACL: u32 = 4;
const SACL: u32 = 8;

/// The device that a handle of a driver's stands for.
fn device_of(handle: HANDLE) -> Result<ObjectRef, NTSTATUS> {
    let object = by_handle(handle, KERNEL_MODE)?.object;
    if object.is(&DEVICE) { Ok(object) } else { Err(NTSTATUS::OBJECT_TYPE_MISMATCH) }
}

/// Frees the descriptor of a device that goes.
///
/// # Safety
/// The device is the caller's, and nobody else uses it.
pub(crate) unsafe fn release(device: *mut DEVICE_OBJECT) {
    // SAFETY: the caller's promise; `set` put it there, from pool.
    unsafe {
        let old = core::mem::replace(&mut (*device).SecurityDescriptor, null_mut());
        if !old.is_null() {
            ExFreePoolWithTag(old, TAG);
        }
    }
}

/// Sets the parts of a device's descriptor that `information` names.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwSetSecurityObject(
    Handle: HANDLE,
    SecurityInformation: u32,
    SecurityDescriptor: *const c_void,
) -> NTSTATUS {
    let set = || {
        let object = device_of(Handle)?;
        let device: *mut DEVICE_OBJECT = object.body().cast();
        // SAFETY: the reference keeps the device; the caller's promise: a descriptor. Drivers change one device's descriptor one at a
        // time, as its owner does.
        unsafe {
            if RtlValidSecurityDescriptor(SecurityDescriptor) == 0 {
                return Err(INVALID_SECURITY_DESCR);
            }
            let given = parts(SecurityDescriptor);
            let mut merged = match (*device).SecurityDescriptor {
                old if old.is_null() => {
                    let mut empty = given;
                    (empty.control, empty.owner, empty.group) = (0, null_mut(), null_mut());
                    (empty.sacl, empty.dacl) = (null_mut(), null_mut());
                    empty
                }
                old => parts(old),
            };
            if SecurityInformation & OWNER != 0 {
                merged.owner = given.owner;
            }
            if SecurityInformation & GROUP != 0 {
                merged.group = given.group;
            }
            if SecurityInformation & DACL != 0 {
                merged.dacl = given.dacl;
                merged.control = merged.control & !DACL_PRESENT | given.control & DACL_PRESENT;
            }
            if SecurityInformation & SACL != 0 {
                merged.sacl = given.sacl;
                merged.control = merged.control & !SACL_PRESENT | given.control & SACL_PRESENT;
            }
            let mut copy = null_mut();
            merged.control &= !SELF_RELATIVE;
            SeCaptureSecurityDescriptor((&raw const merged).cast(), KERNEL_MODE, 0, 1, &raw mut copy).ok()?;
            release(device);
            (*device).SecurityDescriptor = copy;
        }
        Ok(())
    };
    set().err().unwrap_or(NTSTATUS::SUCCESS)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwQuerySecurityObject(
    Handle: HANDLE,
    SecurityInformation: u32,
    SecurityDescriptor: *mut u8,
    Length: u32,
    LengthNeeded: *mut u32,
) -> NTSTATUS {
    let query = || {
        let object = device_of(Handle)?;
        let device: *mut DEVICE_OBJECT = object.body().cast();
        // SAFETY: the reference keeps the device; the caller's promise: room for so many bytes.
        unsafe {
            if (*device).SecurityDescriptor.is_null() {
                return Err(NO_SECURITY_ON_OBJECT);
            }
            let mut wanted = parts((*device).SecurityDescriptor);
            if SecurityInformation & OWNER == 0 {
                wanted.owner = null_mut();
            }
            if SecurityInformation & GROUP == 0 {
                wanted.group = null_mut();
            }
            if SecurityInformation & DACL == 0 {
                (wanted.dacl, wanted.control) = (null_mut(), wanted.control & !DACL_PRESENT);
            }
            if SecurityInformation & SACL == 0 {
                (wanted.sacl, wanted.control) = (null_mut(), wanted.control & !SACL_PRESENT);
            }
            let bytes = wanted.to_relative();
            LengthNeeded.write(bytes.len() as u32);
            if (Length as usize) < bytes.len() {
                return Err(NTSTATUS::BUFFER_TOO_SMALL);
            }
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), SecurityDescriptor, bytes.len());
        }
        Ok(())
    };
    query().err().unwrap_or(NTSTATUS::SUCCESS)
}
