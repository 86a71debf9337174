//! `WMILIB.SYS`, for drivers that are linked against it. ntlet has no WMI: nobody asks a driver for its blocks, and events have no
//! listeners. A request that names a device as its provider all the same is refused, by name.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the documentation's")]

use core::ffi::c_void;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::functions::ExFreePool;
use wdf_sys::wdm::{DEVICE_OBJECT, IRP, current_stack_location};

use crate::io::{complete, irp};

/// The module's name.
pub(crate) const MODULE: &str = "WMILIB.SYS";

/// Last minor function of `IRP_MJ_SYSTEM_CONTROL` that is WMI's.
const LAST_MINOR: u8 = 0x0b;
/// `SYSCTL_IRP_DISPOSITION`.
const IRP_NOT_COMPLETED: i32 = 1;
const IRP_NOT_WMI: i32 = 2;
const IRP_FORWARD: i32 = 3;

/// Says what the driver is to do with a request: hand it on, or complete it.
unsafe extern "win64" fn WmiSystemControl(
    _WmiLibInfo: *mut c_void,
    DeviceObject: *mut DEVICE_OBJECT,
    Irp: *mut IRP,
    IrpDisposition: *mut i32,
) -> NTSTATUS {
    // SAFETY: the caller's promise: a request that was sent to the device, and a place for the answer.
    unsafe {
        let location = current_stack_location(Irp);
        let (disposition, status) = if (*location).MinorFunction > LAST_MINOR {
            (IRP_NOT_WMI, (*Irp).IoStatus.status())
        } else if (*location).Parameters.WMI.ProviderId != DeviceObject.addr() {
            (IRP_FORWARD, (*Irp).IoStatus.status())
        } else {
            crate::log!(
                "a WMI request (minor function {:#04x}) was sent, which ntlet does not support",
                (*location).MinorFunction
            );
            irp::set_status(Irp, NTSTATUS::NOT_SUPPORTED, 0);
            (IRP_NOT_COMPLETED, NTSTATUS::NOT_SUPPORTED)
        };
        IrpDisposition.write(disposition);
        status
    }
}

unsafe extern "win64" fn WmiCompleteRequest(
    _DeviceObject: *mut DEVICE_OBJECT,
    Irp: *mut IRP,
    Status: NTSTATUS,
    BufferUsed: u32,
    PriorityBoost: i8,
) -> NTSTATUS {
    // SAFETY: the caller's promise: a request that is its to complete.
    unsafe {
        irp::set_status(Irp, Status, if Status.is_success() { BufferUsed as usize } else { 0 });
        complete::IofCompleteRequest(Irp, PriorityBoost);
    }
    Status
}

/// Nobody listens. Documented: the event's data is the library's to free.
unsafe extern "win64" fn WmiFireEvent(
    _DeviceObject: *mut DEVICE_OBJECT,
    _Guid: *const c_void,
    _InstanceIndex: u32,
    _EventDataSize: u32,
    EventData: *mut c_void,
) -> NTSTATUS {
    if !EventData.is_null() {
        // SAFETY: the caller's promise: a block of pool.
        unsafe { ExFreePool(EventData) };
    }
    NTSTATUS::SUCCESS
}

/// Address of what the module exports under a name.
pub(crate) fn find(name: &str) -> Option<usize> {
    Some(match name {
        "WmiSystemControl" => WmiSystemControl as *const () as usize,
        "WmiCompleteRequest" => WmiCompleteRequest as *const () as usize,
        "WmiFireEvent" => WmiFireEvent as *const () as usize,
        _ => return None,
    })
}
