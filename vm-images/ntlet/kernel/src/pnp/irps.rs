//! PnP requests to a device's stack, and what comes back.

use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::ExFreePool;
use wdf_sys::wdm::{
    DEVICE_CAPABILITIES, DEVICE_OBJECT, DEVICE_RELATIONS, IO_RESOURCE_REQUIREMENTS_LIST, IO_STACK_LOCATION, IO_STATUS_BLOCK,
};

use crate::io::wait;
use crate::io::watch::PNP_PATIENCE as PATIENCE;
use crate::object::{ObjectRef, name};

/// Most units of a list of ids that are read: what a driver returns may have no end.
const MAX_ID_UNITS: usize = 4096;
/// Most devices that one bus may report.
const MAX_RELATIONS: usize = 1024;

/// Sends a PnP request to the top of a device's stack.
pub(crate) fn send(device: *mut DEVICE_OBJECT, minor: u8, fill: impl FnOnce(*mut IO_STACK_LOCATION)) -> IO_STATUS_BLOCK {
    // SAFETY: nodes hold references to their devices; what `fill` puts in lives on the stacks of the callers below.
    unsafe { wait::send(device, (IRP_MJ_PNP, minor), NTSTATUS::NOT_SUPPORTED, PATIENCE, |_, location| fill(location)) }
}

/// A request without parameters; its status.
pub(crate) fn simple(device: *mut DEVICE_OBJECT, minor: u8) -> NTSTATUS {
    send(device, minor, |_| {}).status()
}

/// `IRP_MN_QUERY_ID`: one id, or a list.
pub(crate) fn query_id(device: *mut DEVICE_OBJECT, kind: i32, is_list: bool) -> Vec<String> {
    let block = send(device, IRP_MN_QUERY_ID, |location| {
        // SAFETY: the location is the request's own.
        unsafe { (*location).Parameters.QueryId.IdType = kind };
    });
    if !block.status().is_success() || block.Information == 0 {
        return Vec::new();
    }
    let units: *mut u16 = core::ptr::with_exposed_provenance_mut(block.Information);
    // SAFETY: a driver that succeeds returns a block of pool with a terminated string or list; no more than the limit is read.
    let ids = unsafe { if is_list { read_list(units) } else { Vec::from([read_string(units)]) } };
    // SAFETY: the block was handed to us.
    unsafe { ExFreePool(units.cast()) };
    ids
}

/// # Safety
/// `units` is terminated, or readable up to the limit.
unsafe fn read_string(units: *const u16) -> String {
    let mut length = 0;
    // SAFETY: the caller's promise.
    while length < MAX_ID_UNITS && unsafe { *units.add(length) } != 0 {
        length += 1;
    }
    // SAFETY: as above.
    name::lossy(unsafe { core::slice::from_raw_parts(units, length) })
}

/// # Safety
/// As [`read_string`], with an empty string at the end.
unsafe fn read_list(units: *const u16) -> Vec<String> {
    let mut list = Vec::new();
    let mut at = 0;
    while at < MAX_ID_UNITS {
        // SAFETY: the caller's promise.
        let text = unsafe { read_string(units.add(at)) };
        if text.is_empty() {
            break;
        }
        at += text.encode_utf16().count() + 1;
        list.push(text);
    }
    list
}

/// `IRP_MN_QUERY_DEVICE_TEXT`.
pub(crate) fn query_text(device: *mut DEVICE_OBJECT, kind: i32) -> String {
    let block = send(device, IRP_MN_QUERY_DEVICE_TEXT, |location| {
        // SAFETY: the location is the request's own.
        unsafe {
            (*location).Parameters.QueryDeviceText.DeviceTextType = kind;
            (*location).Parameters.QueryDeviceText.LocaleId = 0x409;
        }
    });
    if !block.status().is_success() || block.Information == 0 {
        return String::new();
    }
    let units: *mut u16 = core::ptr::with_exposed_provenance_mut(block.Information);
    // SAFETY: as in `query_id`.
    unsafe {
        let text = read_string(units);
        ExFreePool(units.cast());
        text
    }
}

/// `IRP_MN_QUERY_CAPABILITIES`.
pub(crate) fn query_capabilities(device: *mut DEVICE_OBJECT) -> Option<DEVICE_CAPABILITIES> {
    let mut capabilities = DEVICE_CAPABILITIES::zeroed();
    capabilities.Size = size_of::<DEVICE_CAPABILITIES>() as u16;
    capabilities.Version = 1;
    capabilities.Address = u32::MAX;
    capabilities.UINumber = u32::MAX;
    let address = &raw mut capabilities;
    let block = send(device, IRP_MN_QUERY_CAPABILITIES, |location| {
        // SAFETY: the location is the request's own, and the structure outlives the request.
        unsafe { (*location).Parameters.DeviceCapabilities.Capabilities = address };
    });
    block.status().is_success().then_some(capabilities)
}

/// `IRP_MN_QUERY_DEVICE_RELATIONS` for what is on a bus. `None` when the stack has no say in it.
pub(crate) fn query_relations(device: *mut DEVICE_OBJECT, kind: i32) -> Option<Vec<ObjectRef>> {
    let block = send(device, IRP_MN_QUERY_DEVICE_RELATIONS, |location| {
        // SAFETY: the location is the request's own.
        unsafe { (*location).Parameters.QueryDeviceRelations.Type = kind };
    });
    if !block.status().is_success() || block.Information == 0 {
        return None;
    }
    let relations: *mut DEVICE_RELATIONS = core::ptr::with_exposed_provenance_mut(block.Information);
    // SAFETY: a driver that succeeds returns a block of pool with that many referenced devices; the references are ours now.
    unsafe {
        let count = ((*relations).Count as usize).min(MAX_RELATIONS);
        let first = (&raw const (*relations).Objects).cast::<*mut DEVICE_OBJECT>();
        let list = (0..count).map(|index| ObjectRef::from_owned((*first.add(index)).cast())).collect();
        ExFreePool(relations.cast());
        Some(list)
    }
}

/// A pool block that a driver returned, copied.
///
/// # Safety
/// `block` is pool of at least `length` bytes, or null; it is freed.
unsafe fn take_block(block: *mut c_void, length: usize) -> Vec<u8> {
    // SAFETY: the caller's promise.
    unsafe {
        let bytes = Vec::from(core::slice::from_raw_parts(block.cast::<u8>(), length));
        ExFreePool(block);
        bytes
    }
}

/// `IRP_MN_QUERY_RESOURCE_REQUIREMENTS`, then `IRP_MN_FILTER_RESOURCE_REQUIREMENTS`; the list's bytes.
pub(crate) fn query_requirements(device: *mut DEVICE_OBJECT) -> Vec<u8> {
    let block = send(device, IRP_MN_QUERY_RESOURCE_REQUIREMENTS, |_| {});
    let original = if block.status().is_success() { block.Information } else { 0 };
    let list: *mut IO_RESOURCE_REQUIREMENTS_LIST = core::ptr::with_exposed_provenance_mut(original);
    let filtered = {
        // SAFETY: nodes hold references to their devices; the list lives until the request is done.
        unsafe {
            wait::send(
                device,
                (IRP_MJ_PNP, IRP_MN_FILTER_RESOURCE_REQUIREMENTS),
                NTSTATUS::NOT_SUPPORTED,
                PATIENCE,
                |irp, location| {
                    (*location).Parameters.FilterResourceRequirements.IoResourceRequirementList = list;
                    (*irp).IoStatus.Information = original;
                },
            )
        }
    };
    let result = if filtered.status().is_success() { filtered.Information } else { original };
    let result: *mut IO_RESOURCE_REQUIREMENTS_LIST = core::ptr::with_exposed_provenance_mut(result);
    // SAFETY: a list that a driver returned is a block of pool as long as it says. A filter that replaces a list frees the old one.
    unsafe { if result.is_null() { Vec::new() } else { take_block(result.cast(), ((*result).ListSize as usize).min(1 << 16)) } }
}

/// `IRP_MN_QUERY_PNP_DEVICE_STATE`.
pub(crate) fn query_state(device: *mut DEVICE_OBJECT) -> u32 {
    let block = send(device, IRP_MN_QUERY_PNP_DEVICE_STATE, |_| {});
    if block.status().is_success() { block.Information as u32 } else { 0 }
}

/// `IRP_MN_START_DEVICE`.
pub(crate) fn start(device: *mut DEVICE_OBJECT, raw: &[u8], translated: &[u8]) -> NTSTATUS {
    let address = |list: &[u8]| if list.is_empty() { null_mut() } else { list.as_ptr().cast_mut().cast() };
    let (raw, translated) = (address(raw), address(translated));
    let block = send(device, IRP_MN_START_DEVICE, |location| {
        // SAFETY: the location is the request's own, and the lists outlive the request.
        unsafe {
            (*location).Parameters.StartDevice.AllocatedResources = raw;
            (*location).Parameters.StartDevice.AllocatedResourcesTranslated = translated;
        }
    });
    block.status()
}
