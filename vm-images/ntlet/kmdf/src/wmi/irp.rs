//! IRP_MJ_SYSTEM_CONTROL: what WMI asks of a device. At PASSIVE_LEVEL.

use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::Ordering;

use wdf_sys::wdf::WDF_WMI_PROVIDER_CONTROL;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::ObfReferenceObject;
use wdf_sys::wdm::{IO_STATUS_BLOCK, IRP, current_stack_location};
use wdf_sys::{GUID, NTSTATUS};

use super::node::{self, INSTANCE_DATA, INSTANCE_INDEX, ITEM_DATA, NUMBER};
use super::{EVENT_ONLY, EXPENSIVE, Instance, Provider, TRACING};
use crate::device::Device;
use crate::device::dispatch::{complete_keeping_information, pass_down};
use crate::object::Ref;

/// Sizes and offsets of `WMIREGINFO`, and the size of one `WMIREGGUID` in it.
const GUIDS: usize = 24;
const GUID_ENTRY: usize = 32;
const REGISTRY_PATH: usize = 8;
const RESOURCE_NAME: usize = 12;
const GUID_COUNT: usize = 16;

/// A status, and how many bytes of the buffer are an answer.
type Answer = (NTSTATUS, usize);

/// Answers a request that is meant for the device; hands on any other.
pub(crate) fn dispatch(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the IRP is ours at this location.
    let (minor, wmi) = unsafe {
        let location = current_stack_location(irp);
        ((*location).MinorFunction, (*location).Parameters.WMI)
    };
    let is_meant = wmi.ProviderId == device.wdm().addr() && matches!(minor, 0..=IRP_MN_EXECUTE_METHOD | IRP_MN_REGINFO_EX);
    if !is_meant {
        return pass_down(device, irp);
    }
    let buffer = if wmi.Buffer.is_null() {
        &mut []
    } else {
        // SAFETY: a WMI request: the buffer is as long as it says, and ours until it is completed.
        unsafe { core::slice::from_raw_parts_mut(wmi.Buffer.cast::<u8>(), wmi.BufferSize as usize) }
    };
    let (status, information) = match minor {
        IRP_MN_REGINFO | IRP_MN_REGINFO_EX => describe(device, minor == IRP_MN_REGINFO_EX, buffer),
        // SAFETY: every other request names a block.
        _ => match device.wmi.provider(unsafe { &*wmi.DataPath.cast::<GUID>() }) {
            Some(provider) => answer(&provider, minor, buffer),
            None => (NTSTATUS::WMI_GUID_NOT_FOUND, 0),
        },
    };
    // SAFETY: as above.
    unsafe { (*irp).IoStatus = IO_STATUS_BLOCK::new(status, information) };
    complete_keeping_information(irp, status)
}

/// Appends a counted string; its offset.
fn append(bytes: &mut Vec<u8>, units: &[u16]) -> u32 {
    let at = bytes.len();
    bytes.extend_from_slice(&((units.len() * 2) as u16).to_le_bytes());
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    at as u32
}

/// The blocks that the device provides; instances are named after its physical device.
fn describe(device: &Ref<Device>, is_counted: bool, buffer: &mut [u8]) -> Answer {
    let provided = device.wmi.provided();
    let mut bytes = alloc::vec![0; GUIDS + provided.len() * GUID_ENTRY];
    node::put(&mut bytes, GUID_COUNT, provided.len() as u32);
    let path = device.any().globals().driver().and_then(|driver| driver.downcast::<crate::driver::Driver>().ok());
    if let Some(driver) = path {
        let at = append(&mut bytes, driver.registry_path());
        node::put(&mut bytes, REGISTRY_PATH, at);
    }
    let resource = device.wmi.resource.lock().clone();
    if !resource.is_empty() {
        let at = append(&mut bytes, &resource);
        node::put(&mut bytes, RESOURCE_NAME, at);
    }
    let size = bytes.len();
    node::put(&mut bytes, 0, size as u32);
    if size > buffer.len() {
        node::put(buffer, 0, size as u32);
        return (NTSTATUS::BUFFER_TOO_SMALL, 4.min(buffer.len()));
    }
    for (index, (provider, count)) in provided.iter().enumerate() {
        let at = GUIDS + index * GUID_ENTRY;
        let mut flags = WMIREG_FLAG_INSTANCE_PDO;
        for (own, flag) in [
            (EVENT_ONLY, WMIREG_FLAG_EVENT_ONLY_GUID),
            (EXPENSIVE, WMIREG_FLAG_EXPENSIVE),
            (TRACING, WMIREG_FLAG_TRACED_GUID | WMIREG_FLAG_TRACE_CONTROL_GUID),
        ] {
            if provider.is(own) {
                flags |= flag;
            }
        }
        node::put_guid(&mut bytes, at, &provider.config.Guid);
        node::put(&mut bytes, at + 16, flags);
        node::put(&mut bytes, at + 20, *count);
        let physical = device.pdo().expose_provenance() as u64;
        node::put(&mut bytes, at + 24, physical as u32);
        node::put(&mut bytes, at + 28, (physical >> 32) as u32);
        if is_counted {
            // SAFETY: the physical device of our stack. Documented: WMI gives the reference back.
            unsafe { ObfReferenceObject(device.pdo().cast()) };
        }
    }
    buffer[..size].copy_from_slice(&bytes);
    (NTSTATUS::SUCCESS, size)
}

fn answer(provider: &Ref<Provider>, minor: u8, buffer: &mut [u8]) -> Answer {
    if let IRP_MN_ENABLE_EVENTS | IRP_MN_DISABLE_EVENTS | IRP_MN_ENABLE_COLLECTION | IRP_MN_DISABLE_COLLECTION = minor {
        return (control(provider, minor, buffer), 0);
    }
    if provider.is(EVENT_ONLY) {
        return (NTSTATUS::INVALID_DEVICE_REQUEST, 0);
    }
    if minor == IRP_MN_QUERY_ALL_DATA {
        return query_all(provider, buffer);
    }
    let index = node::number(buffer, INSTANCE_INDEX);
    let Some(instance) = index.and_then(|index| provider.instance(index)) else {
        return (NTSTATUS::WMI_INSTANCE_NOT_FOUND, 0);
    };
    let answered = match minor {
        IRP_MN_QUERY_SINGLE_INSTANCE => query_one(provider, &instance, buffer),
        IRP_MN_CHANGE_SINGLE_INSTANCE => Some((set(provider, &instance, buffer), 0)),
        IRP_MN_CHANGE_SINGLE_ITEM => Some((set_item(&instance, buffer), 0)),
        _ => execute(&instance, buffer),
    };
    answered.unwrap_or((NTSTATUS::INVALID_PARAMETER, 0))
}

/// Somebody wants events or data, or nobody does any more.
fn control(provider: &Ref<Provider>, minor: u8, buffer: &[u8]) -> NTSTATUS {
    let enable = matches!(minor, IRP_MN_ENABLE_EVENTS | IRP_MN_ENABLE_COLLECTION);
    let is_events = matches!(minor, IRP_MN_ENABLE_EVENTS | IRP_MN_DISABLE_EVENTS);
    let (mark, what) = if is_events {
        (&provider.has_listeners, WDF_WMI_PROVIDER_CONTROL::WdfWmiEventControl)
    } else {
        (&provider.has_readers, WDF_WMI_PROVIDER_CONTROL::WdfWmiInstanceControl)
    };
    if is_events && provider.is(TRACING) {
        let low = u64::from(node::number(buffer, node::SESSION).unwrap_or(0));
        let high = u64::from(node::number(buffer, node::SESSION + 4).unwrap_or(0));
        provider.tracing_handle.store(if enable { high << 32 | low } else { 0 }, Ordering::Release);
    }
    mark.store(enable, Ordering::Release);
    let Some(callback) = provider.config.EvtWmiProviderFunctionControl else { return NTSTATUS::SUCCESS };
    // SAFETY: the driver's callback, with its own provider.
    let status = provider.any().guarded(callback as usize, || unsafe { callback(provider.handle(), what, enable.into()) });
    if !status.is_success() && enable {
        mark.store(false, Ordering::Release);
    }
    status
}

/// Every instance, each at an offset that is a multiple of eight.
fn query_all(provider: &Ref<Provider>, buffer: &mut [u8]) -> Answer {
    let instances = provider.instances.lock().clone();
    let begin = (node::INSTANCES + instances.len() * 8).next_multiple_of(8);
    let (mut at, mut fits) = (begin, true);
    for (index, instance) in instances.iter().enumerate() {
        at = at.next_multiple_of(8);
        let room = if fits { buffer.get_mut(at..).unwrap_or(&mut []) } else { &mut [] };
        let used = match instance.query(provider, room) {
            Ok(used) if fits && at + used <= buffer.len() => used,
            Ok(used) | Err((NTSTATUS::BUFFER_TOO_SMALL, used)) => {
                fits = false;
                used
            }
            Err((status, _)) => return (status, 0),
        };
        if fits {
            node::put(buffer, node::INSTANCES + index * 8, at as u32);
            node::put(buffer, node::INSTANCES + index * 8 + 4, used as u32);
        }
        at += used;
    }
    if !fits {
        return (NTSTATUS::SUCCESS, node::too_small(buffer, at));
    }
    node::put(buffer, node::DATA_OFFSET, begin as u32);
    node::put(buffer, node::INSTANCE_COUNT, instances.len() as u32);
    node::put(buffer, 0, at as u32);
    (NTSTATUS::SUCCESS, at)
}

fn query_one(provider: &Ref<Provider>, instance: &Ref<Instance>, buffer: &mut [u8]) -> Option<Answer> {
    let at = node::number(buffer, INSTANCE_DATA)? as usize;
    Some(match instance.query(provider, node::room(buffer, INSTANCE_DATA)?) {
        Ok(used) => {
            node::put(buffer, INSTANCE_DATA + 4, used as u32);
            node::put(buffer, 0, (at + used) as u32);
            (NTSTATUS::SUCCESS, at + used)
        }
        Err((NTSTATUS::BUFFER_TOO_SMALL, needed)) => (NTSTATUS::SUCCESS, node::too_small(buffer, at.saturating_add(needed))),
        Err((status, _)) => (status, 0),
    })
}

fn set(provider: &Ref<Provider>, instance: &Ref<Instance>, buffer: &mut [u8]) -> NTSTATUS {
    let Some(callback) = instance.config.EvtWmiInstanceSetInstance else { return NTSTATUS::WMI_READ_ONLY };
    let Some(data) = node::data(buffer, INSTANCE_DATA) else { return NTSTATUS::INVALID_PARAMETER };
    if data.len() < provider.config.MinInstanceBufferSize as usize {
        return NTSTATUS::BUFFER_TOO_SMALL;
    }
    let (size, place) = (data.len() as u32, data.as_mut_ptr().cast::<c_void>());
    // SAFETY: the driver's callback, with its own instance and so many bytes.
    instance.any().guarded(callback as usize, || unsafe { callback(instance.handle(), size, place) })
}

fn set_item(instance: &Ref<Instance>, buffer: &mut [u8]) -> NTSTATUS {
    let Some(callback) = instance.config.EvtWmiInstanceSetItem else { return NTSTATUS::WMI_READ_ONLY };
    let item = node::number(buffer, NUMBER).unwrap_or(0);
    let Some(data) = node::data(buffer, ITEM_DATA) else { return NTSTATUS::INVALID_PARAMETER };
    let (size, place) = (data.len() as u32, data.as_mut_ptr().cast::<c_void>());
    // SAFETY: as in `set`.
    instance.any().guarded(callback as usize, || unsafe { callback(instance.handle(), item, size, place) })
}

fn execute(instance: &Ref<Instance>, buffer: &mut [u8]) -> Option<Answer> {
    let Some(callback) = instance.config.EvtWmiInstanceExecuteMethod else {
        return Some((NTSTATUS::INVALID_DEVICE_REQUEST, 0));
    };
    let (method, at) = (node::number(buffer, NUMBER)?, node::number(buffer, ITEM_DATA)? as usize);
    let input = node::data(buffer, ITEM_DATA)?.len() as u32;
    let room = node::room(buffer, ITEM_DATA)?;
    let (size, place) = (room.len() as u32, room.as_mut_ptr().cast::<c_void>());
    let mut used = 0;
    let status = instance.any().guarded(callback as usize, || {
        // SAFETY: the driver's callback, with its own instance and a buffer of that size for input and output.
        unsafe { callback(instance.handle(), method, input, size, place, &raw mut used) }
    });
    let used = used as usize;
    Some(match status {
        NTSTATUS::BUFFER_TOO_SMALL => (NTSTATUS::SUCCESS, node::too_small(buffer, at.saturating_add(used))),
        status if status.is_success() && used <= size as usize => {
            node::put(buffer, ITEM_DATA + 4, used as u32);
            node::put(buffer, 0, (at + used) as u32);
            (status, at + used)
        }
        status if status.is_success() => (NTSTATUS::DATA_ERROR, 0),
        status => (status, 0),
    })
}
