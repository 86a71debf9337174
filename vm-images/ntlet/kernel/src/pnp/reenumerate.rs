//! `REENUMERATE_SELF_INTERFACE_STANDARD`: what a driver calls whose device is of no use any more; the device is removed as if it had been
//! pulled, and found again.

use core::ffi::c_void;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::GUID_REENUMERATE_SELF_INTERFACE_STANDARD;
use wdf_sys::wdm::{DEVICE_OBJECT, IO_STACK_LOCATION, IRP, REENUMERATE_SELF_INTERFACE_STANDARD};

use super::events;
use super::pci::function::unanswered;
use crate::io::irp as packet;
use crate::object;

/// Answers `IRP_MN_QUERY_INTERFACE` of a physical device that can come back.
///
/// # Safety
/// The IRP is ours, `device` the one it was sent to.
pub(super) unsafe fn query(device: *mut DEVICE_OBJECT, irp: *mut IRP, location: *mut IO_STACK_LOCATION) -> NTSTATUS {
    // SAFETY: the caller's promise; a driver passes an interface as large as it says.
    unsafe {
        let query = (*location).Parameters.QueryInterface;
        if query.InterfaceType.is_null() || *query.InterfaceType != GUID_REENUMERATE_SELF_INTERFACE_STANDARD {
            return unanswered(irp);
        }
        if usize::from(query.Size) < size_of::<REENUMERATE_SELF_INTERFACE_STANDARD>() || query.Interface.is_null() {
            return packet::complete(irp, NTSTATUS::INVALID_PARAMETER, 0);
        }
        let mut interface = REENUMERATE_SELF_INTERFACE_STANDARD::zeroed();
        interface.Size = size_of::<REENUMERATE_SELF_INTERFACE_STANDARD>() as u16;
        interface.Version = 1;
        interface.Context = device.cast();
        interface.InterfaceReference = Some(reference);
        interface.InterfaceDereference = Some(dereference);
        interface.SurpriseRemoveAndReenumerateSelf = Some(again);
        query.Interface.cast::<REENUMERATE_SELF_INTERFACE_STANDARD>().write(interface);
        // Documented: the interface is handed out referenced.
        object::reference(device.cast());
        packet::complete(irp, NTSTATUS::SUCCESS, 0)
    }
}

/// # Safety
/// `context` is the device of the interface.
unsafe extern "win64" fn reference(context: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { object::reference(context) };
}

/// # Safety
/// `context` is the device of the interface, referenced before.
unsafe extern "win64" fn dereference(context: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { object::dereference(context) };
}

/// # Safety
/// `context` is the device of the interface.
unsafe extern "win64" fn again(context: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { events::reenumerate(context.cast()) };
}
