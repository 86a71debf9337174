//! What the interfaces that bus drivers hand out have in common: answering the query, and counting references on the device they are of.

use core::ffi::c_void;

use wdf_sys::wdm::{DEVICE_OBJECT, INTERFACE, IO_STACK_LOCATION, IRP};
use wdf_sys::{GUID, NTSTATUS};

use super::pci::function::unanswered;
use crate::io::irp as packet;
use crate::object;

/// Answers `IRP_MN_QUERY_INTERFACE` with `interface`, if that is the one that is asked for. Its head is filled in here: size, version 1,
/// the device as its context, and the functions that count references; it is handed out referenced, as documented.
///
/// # Safety
/// The IRP is ours, `device` the one it was sent to; `T` begins with the members of `INTERFACE`.
pub(super) unsafe fn answer<T>(
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    location: *mut IO_STACK_LOCATION,
    kind: &GUID,
    mut interface: T,
) -> NTSTATUS {
    const { assert!(size_of::<T>() >= size_of::<INTERFACE>()) };
    // SAFETY: the caller's promise; a driver passes an interface as large as it says.
    unsafe {
        let query = (*location).Parameters.QueryInterface;
        if query.InterfaceType.is_null() || *query.InterfaceType != *kind {
            return unanswered(irp);
        }
        if usize::from(query.Size) < size_of::<T>() || query.Interface.is_null() {
            return packet::complete(irp, NTSTATUS::INVALID_PARAMETER, 0);
        }
        let head = (&raw mut interface).cast::<INTERFACE>();
        (*head).Size = size_of::<T>() as u16;
        (*head).Version = 1;
        (*head).Context = device.cast();
        (*head).InterfaceReference = Some(reference);
        (*head).InterfaceDereference = Some(dereference);
        query.Interface.cast::<T>().write(interface);
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
