//! What all framework objects have: reference counts.

use wdf_sys::WDFOBJECT;
use wdf_sys::wdf::functions::{WdfObjectDereferenceActual, WdfObjectReferenceActual};

/// Tag of references that this crate takes, as the framework's debugger extension shows it.
const TAG: usize = u32::from_le_bytes(*b"rust") as usize;

/// Takes a reference. The caller has the object, so that it is valid.
pub(crate) fn reference(object: WDFOBJECT) {
    // SAFETY: a valid handle, says the caller; the file name is optional.
    unsafe { WdfObjectReferenceActual(object, TAG as *mut _, 0, core::ptr::null_mut()) };
}

/// Gives a reference back that `reference` took.
pub(crate) fn dereference(object: WDFOBJECT) {
    // SAFETY: a valid handle, says the caller; the file name is optional.
    unsafe { WdfObjectDereferenceActual(object, TAG as *mut _, 0, core::ptr::null_mut()) };
}
