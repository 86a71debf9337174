//! IRP_MN_QUERY_INTERFACE in both directions: interfaces that a driver offers, and asking the drivers of its stack for one. And asking a
//! stack for its physical device.

use core::ffi::c_void;
use core::ptr::null_mut;

use alloc::vec::Vec;

use wdf_sys::wdf::{PFN_WDF_DEVICE_PROCESS_QUERY_INTERFACE_REQUEST, WDF_QUERY_INTERFACE_CONFIG};
use wdf_sys::wdm::constants::{
    IRP_MJ_PNP, IRP_MN_QUERY_DEVICE_RELATIONS, IRP_MN_QUERY_INTERFACE, NOTIFICATION_EVENT, TARGET_DEVICE_RELATION,
};
use wdf_sys::wdm::functions::{
    ExFreePool, IoBuildSynchronousFsdRequest, IoGetAttachedDeviceReference, IofCallDriver, ObfDereferenceObject,
};
use wdf_sys::wdm::{
    DEVICE_OBJECT, DEVICE_RELATIONS, INTERFACE, IO_STACK_LOCATION, IO_STATUS_BLOCK, IRP, current_stack_location,
    next_stack_location,
};
use wdf_sys::{GUID, NTSTATUS, WDFDEVICE};

use crate::call::ddi;
use crate::device::Device;
use crate::device::dispatch::{complete, pass_down};
use crate::object::Ref;
use crate::sync::{Event, PASSIVE_LEVEL};

/// An interface that a driver offers.
pub(crate) struct Offered {
    class: GUID,
    /// The interface's bytes, its size first.
    bytes: Vec<u8>,
    callback: PFN_WDF_DEVICE_PROCESS_QUERY_INTERFACE_REQUEST,
    import: bool,
}

/// A query-interface IRP: answered when the driver offers the interface, else passed on.
pub(crate) fn answer(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the IRP is ours: a query, whose pointers are its sender's and live as long as it does.
    let (class, size, place, specific) = unsafe {
        let query = (*current_stack_location(irp)).Parameters.QueryInterface;
        (query.InterfaceType, query.Size, query.Interface, query.InterfaceSpecificData)
    };
    if class.is_null() || place.is_null() {
        return pass_down(device, irp);
    }
    let found = {
        let offered = device.offered.lock();
        // SAFETY: not null, and the sender's.
        let wanted = unsafe { *class };
        offered.iter().find(|offered| offered.class == wanted).and_then(|offered| {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(offered.bytes.len()).ok()?;
            bytes.extend_from_slice(&offered.bytes);
            Some((bytes, offered.callback, offered.import))
        })
    };
    let Some((bytes, callback, import)) = found else { return pass_down(device, irp) };
    if usize::from(size) < bytes.len() {
        return complete(irp, NTSTATUS::INVALID_PARAMETER);
    }
    if !import {
        // SAFETY: the sender says that so many bytes are there.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), place.cast::<u8>(), bytes.len()) };
    }
    let mut status = NTSTATUS::SUCCESS;
    if let Some(callback) = callback {
        // SAFETY: the driver's callback, with the sender's pointers.
        status = device.any().guarded(callback as usize, || unsafe { callback(device.handle(), class, place, specific) });
        // NOT_SUPPORTED hands the query on, by the callback's page.
        if status == NTSTATUS::NOT_SUPPORTED {
            return pass_down(device, irp);
        }
    }
    if status.is_success() {
        // SAFETY: the interface was filled in, at least its standard head.
        unsafe {
            if let Some(reference) = (*place).InterfaceReference {
                reference((*place).Context);
            }
        }
        // The drivers below may refine the answer.
        // SAFETY: ours.
        unsafe { (*irp).IoStatus = IO_STATUS_BLOCK::new(NTSTATUS::SUCCESS, 0) };
        return pass_down(device, irp);
    }
    complete(irp, status)
}

/// Asks the stack on top of `target` for an interface. PASSIVE_LEVEL.
///
/// # Safety
/// `target` is a device object; `interface` has room for `size` bytes.
pub(crate) unsafe fn ask(
    target: *mut DEVICE_OBJECT,
    class: *const GUID,
    interface: *mut INTERFACE,
    size: u16,
    version: u16,
    specific: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let answer = unsafe {
        send_pnp(target, IRP_MN_QUERY_INTERFACE, |location| {
            let query = &mut location.Parameters.QueryInterface;
            query.InterfaceType = class;
            query.Size = size;
            query.Version = version;
            query.Interface = interface;
            query.InterfaceSpecificData = specific;
        })
    };
    answer.status()
}

/// Sends a PnP request to the stack on top of `target`, and waits. PASSIVE_LEVEL.
///
/// # Safety
/// `target` is a device object; what `fill` puts into the location is as the minor function demands.
unsafe fn send_pnp(target: *mut DEVICE_OBJECT, minor: u8, fill: impl FnOnce(&mut IO_STACK_LOCATION)) -> IO_STATUS_BLOCK {
    let done = Event::uninitialized();
    done.initialize(NOTIFICATION_EVENT, false);
    let mut answer = IO_STATUS_BLOCK::new(NTSTATUS::INSUFFICIENT_RESOURCES, 0);
    // SAFETY: the caller's promise; event and status live until the wait is over, which ends only when the IRP is done. The reference
    // keeps the top of the stack meanwhile.
    unsafe {
        let top = IoGetAttachedDeviceReference(target);
        let irp = IoBuildSynchronousFsdRequest(IRP_MJ_PNP.into(), top, null_mut(), 0, null_mut(), done.as_ptr(), &mut answer);
        if !irp.is_null() {
            (*irp).IoStatus = IO_STATUS_BLOCK::new(NTSTATUS::NOT_SUPPORTED, 0);
            let location = &mut *next_stack_location(irp);
            location.MinorFunction = minor;
            fill(location);
            if IofCallDriver(top, irp) == NTSTATUS::PENDING {
                done.wait();
            }
        }
        ObfDereferenceObject(top.cast());
    }
    answer
}

/// The physical device at the bottom of the stack of `device`, referenced; null when there is none, as below a control device.
/// PASSIVE_LEVEL.
///
/// # Safety
/// `device` is a device object.
pub(crate) unsafe fn physical_device(device: *mut DEVICE_OBJECT) -> *mut DEVICE_OBJECT {
    // SAFETY: the caller's promise.
    let answer = unsafe {
        send_pnp(device, IRP_MN_QUERY_DEVICE_RELATIONS, |location| {
            location.Parameters.QueryDeviceRelations.Type = TARGET_DEVICE_RELATION;
        })
    };
    let relations = core::ptr::with_exposed_provenance_mut::<DEVICE_RELATIONS>(answer.Information);
    if !answer.status().is_success() || relations.is_null() {
        return null_mut();
    }
    // SAFETY: the bus answers with a list from pool that is the asker's: one device, referenced for it.
    unsafe {
        let found = if (*relations).Count == 0 { null_mut() } else { (*relations).Objects[0] };
        ExFreePool(relations.cast());
        found
    }
}

ddi! {
    fn WdfDeviceAddQueryInterface(call, device: WDFDEVICE, config: *mut WDF_QUERY_INTERFACE_CONFIG) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        let config = match call.sized(config, &[]) {
            Ok(config) => config,
            Err(status) => return status,
        };
        if config.InterfaceType.is_null() || config.SendQueryToParentStack != 0 {
            return NTSTATUS::INVALID_PARAMETER;
        }
        let head = match (call.optional(config.Interface), config.ImportInterface != 0) {
            (Some(head), _) => head,
            (None, true) if config.EvtDeviceProcessQueryInterfaceRequest.is_some() => &INTERFACE { Size: 0, ..INTERFACE::zeroed() },
            (None, _) => return NTSTATUS::INVALID_PARAMETER,
        };
        if config.ImportInterface != 0 && config.EvtDeviceProcessQueryInterfaceRequest.is_none() {
            return NTSTATUS::INVALID_PARAMETER;
        }
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(head.Size.into()).is_err() {
            return NTSTATUS::INSUFFICIENT_RESOURCES;
        }
        bytes.extend_from_slice(call.bytes(config.Interface.cast(), head.Size.into()));
        let offered = Offered {
            class: *call.required(config.InterfaceType),
            bytes,
            callback: config.EvtDeviceProcessQueryInterfaceRequest,
            import: config.ImportInterface != 0,
        };
        let mut list = device.offered.lock();
        if list.try_reserve(1).is_err() {
            return NTSTATUS::INSUFFICIENT_RESOURCES;
        }
        list.push(offered);
        NTSTATUS::SUCCESS
    }

    fn WdfFdoQueryForInterface(call, device: WDFDEVICE, class: *const GUID, interface: *mut INTERFACE, size: u16, version: u16, specific: *mut c_void) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        let _ = (call.required(class), call.required(interface));
        if device.is_control() || usize::from(size) < size_of::<INTERFACE>() {
            return NTSTATUS::INVALID_PARAMETER;
        }
        // SAFETY: the device's own kernel object; the driver promises room for `size` bytes.
        unsafe { ask(device.wdm(), class, interface, size, version, specific) }
    }
}
