//! `REENUMERATE_SELF_INTERFACE_STANDARD`: what a driver calls whose device is of no use any more; the device is removed as if it had been
//! pulled, and found again.

use core::ffi::c_void;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::GUID_REENUMERATE_SELF_INTERFACE_STANDARD;
use wdf_sys::wdm::{DEVICE_OBJECT, IO_STACK_LOCATION, IRP, REENUMERATE_SELF_INTERFACE_STANDARD};

use super::{bus_interface, events};

/// Answers `IRP_MN_QUERY_INTERFACE` of a physical device that can come back.
///
/// # Safety
/// The IRP is ours, `device` the one it was sent to.
pub(super) unsafe fn query(device: *mut DEVICE_OBJECT, irp: *mut IRP, location: *mut IO_STACK_LOCATION) -> NTSTATUS {
    let mut interface = REENUMERATE_SELF_INTERFACE_STANDARD::zeroed();
    interface.SurpriseRemoveAndReenumerateSelf = Some(again);
    // SAFETY: the caller's promise; the structure begins as every interface does.
    unsafe { bus_interface::answer(device, irp, location, &GUID_REENUMERATE_SELF_INTERFACE_STANDARD, interface) }
}

/// # Safety
/// `context` is the device of the interface.
unsafe extern "win64" fn again(context: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { events::reenumerate(context.cast()) };
}
