//! `WMILIB.SYS`, for drivers that are linked against it: it takes a WMI request apart and calls the driver's routine for it.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the documentation's")]

use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{ExAllocatePool2, ExFreePool, ObfReferenceObject};
use wdf_sys::wdm::{DEVICE_OBJECT, IO_STACK_LOCATION, IRP, UNICODE_STRING, current_stack_location};
use wdf_sys::{BOOLEAN, GUID, NTSTATUS};

use super::event::IoWMIWriteEvent;
use super::registration::IoWMIDeviceObjectToProviderId;
use super::wnode::{self, Kind, all, one, u32_at};
use crate::io::{complete, irp};

/// The module's name.
pub(crate) const MODULE: &str = "WMILIB.SYS";

/// `SYSCTL_IRP_DISPOSITION`.
const PROCESSED: i32 = 0;
const NOT_COMPLETED: i32 = 1;
const NOT_WMI: i32 = 2;
const FORWARD: i32 = 3;

/// `WMIENABLEDISABLECONTROL`.
const EVENTS: i32 = 0;
const DATA_BLOCK: i32 = 1;

const TAG: u32 = u32::from_le_bytes(*b"WmiL");
/// Offsets in a `WMIREGINFO`, and sizes.
const REGISTRY_PATH: usize = 8;
const MOF_NAME: usize = 12;
const GUID_COUNT: usize = 16;
const GUIDS: usize = 24;
const GUID_ENTRY: usize = 32;

/// `WMIGUIDREGINFO`.
#[repr(C)]
pub(super) struct GuidInformation {
    pub(super) guid: *const GUID,
    pub(super) instances: u32,
    pub(super) flags: u32,
}
const _: () = assert!(size_of::<GuidInformation>() == 16);

type QueryRegistration = unsafe extern "win64" fn(
    *mut DEVICE_OBJECT,
    *mut u32,
    *mut UNICODE_STRING,
    *mut *mut UNICODE_STRING,
    *mut UNICODE_STRING,
    *mut *mut DEVICE_OBJECT,
) -> NTSTATUS;
type QueryBlock = unsafe extern "win64" fn(*mut DEVICE_OBJECT, *mut IRP, u32, u32, u32, *mut u32, u32, *mut u8) -> NTSTATUS;
type SetBlock = unsafe extern "win64" fn(*mut DEVICE_OBJECT, *mut IRP, u32, u32, u32, *mut u8) -> NTSTATUS;
type SetItem = unsafe extern "win64" fn(*mut DEVICE_OBJECT, *mut IRP, u32, u32, u32, u32, *mut u8) -> NTSTATUS;
type Execute = unsafe extern "win64" fn(*mut DEVICE_OBJECT, *mut IRP, u32, u32, u32, u32, u32, *mut u8) -> NTSTATUS;
type Control = unsafe extern "win64" fn(*mut DEVICE_OBJECT, *mut IRP, u32, i32, BOOLEAN) -> NTSTATUS;

/// `WMILIB_CONTEXT`.
#[repr(C)]
pub(super) struct Context {
    pub(super) count: u32,
    pub(super) guids: *const GuidInformation,
    pub(super) query_registration: Option<QueryRegistration>,
    pub(super) query_block: Option<QueryBlock>,
    pub(super) set_block: Option<SetBlock>,
    pub(super) set_item: Option<SetItem>,
    pub(super) execute: Option<Execute>,
    pub(super) control: Option<Control>,
}
const _: () = assert!(size_of::<Context>() == 64);

/// What a request is about: the driver's number of the block, and the node.
struct Request<'a> {
    context: &'a Context,
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    minor: u8,
    block: u32,
    node: &'a mut [u8],
}

impl Request<'_> {
    fn information(&self) -> &GuidInformation {
        // SAFETY: the number was found in the driver's list.
        unsafe { &*self.context.guids.add(self.block as usize) }
    }

    /// The number of the instance, when the driver has it.
    fn instance(&self) -> Result<u32, NTSTATUS> {
        let index = u32_at(self.node, one::INDEX).filter(|&index| index < self.information().instances);
        index.ok_or(NTSTATUS::WMI_INSTANCE_NOT_FOUND)
    }

    /// The data of a node about one instance: where it is, and how many bytes.
    fn data(&mut self, kind: Kind) -> Result<(u32, *mut u8), NTSTATUS> {
        let data = wnode::data_of(self.node, kind).ok_or(NTSTATUS::INVALID_PARAMETER)?;
        let (at, size) = (data.as_ptr().addr() - self.node.as_ptr().addr(), data.len() as u32);
        Ok((size, self.node[at..].as_mut_ptr()))
    }

    /// From the data on: as many bytes as the node has.
    fn room(&mut self, kind: Kind) -> Result<(u32, *mut u8), NTSTATUS> {
        let at = u32_at(self.node, kind.data_offset_at()).ok_or(NTSTATUS::INVALID_PARAMETER)? as usize;
        let room = self.node.get_mut(at..).ok_or(NTSTATUS::INVALID_PARAMETER)?;
        Ok((room.len() as u32, room.as_mut_ptr()))
    }

    /// Calls the driver's routine for the request. What it returns is its own to complete; an error of ours is not.
    fn dispatch(&mut self) -> Result<NTSTATUS, NTSTATUS> {
        let (device, irp, block) = (self.device, self.irp, self.block);
        let context = self.context;
        // SAFETY: the driver's routines, with its device and request, as their pages say; what is passed lies in the node.
        unsafe {
            match self.minor {
                IRP_MN_QUERY_ALL_DATA => {
                    let query = context.query_block.ok_or(NTSTATUS::INVALID_DEVICE_REQUEST)?;
                    let count = self.information().instances;
                    let data = all_data_offset(count);
                    let (lengths, room, buffer) = match self.node.get_mut(all::INSTANCES..) {
                        Some(rest) if rest.len() >= data - all::INSTANCES => {
                            let room = rest.len() - (data - all::INSTANCES);
                            (rest.as_mut_ptr().cast(), room as u32, rest[data - all::INSTANCES..].as_mut_ptr())
                        }
                        _ => (null_mut(), 0, null_mut()),
                    };
                    wnode::put(self.node, all::COUNT, count);
                    wnode::put(self.node, all::DATA_OFFSET, data as u32);
                    Ok(query(device, irp, block, 0, count, lengths, room, buffer))
                }
                IRP_MN_QUERY_SINGLE_INSTANCE => {
                    let query = context.query_block.ok_or(NTSTATUS::INVALID_DEVICE_REQUEST)?;
                    let instance = self.instance()?;
                    let (room, buffer) = self.room(Kind::Instance)?;
                    let length = self.node[Kind::Instance.data_offset_at() + 4..].as_mut_ptr().cast();
                    Ok(query(device, irp, block, instance, 1, length, room, buffer))
                }
                IRP_MN_CHANGE_SINGLE_INSTANCE => {
                    let set = context.set_block.ok_or(NTSTATUS::WMI_READ_ONLY)?;
                    let instance = self.instance()?;
                    let (size, buffer) = self.data(Kind::Instance)?;
                    Ok(set(device, irp, block, instance, size, buffer))
                }
                IRP_MN_CHANGE_SINGLE_ITEM => {
                    let set = context.set_item.ok_or(NTSTATUS::WMI_READ_ONLY)?;
                    let (instance, item) = (self.instance()?, u32_at(self.node, 56).unwrap_or(0));
                    let (size, buffer) = self.data(Kind::Item(item))?;
                    Ok(set(device, irp, block, instance, item, size, buffer))
                }
                IRP_MN_EXECUTE_METHOD => {
                    let execute = context.execute.ok_or(NTSTATUS::INVALID_DEVICE_REQUEST)?;
                    let (instance, method) = (self.instance()?, u32_at(self.node, 56).unwrap_or(0));
                    let (size, _) = self.data(Kind::Method(method))?;
                    let (room, buffer) = self.room(Kind::Method(method))?;
                    Ok(execute(device, irp, block, instance, method, size, room, buffer))
                }
                minor => {
                    let Some(control) = context.control else { return Err(NTSTATUS::SUCCESS) };
                    let function =
                        if matches!(minor, IRP_MN_ENABLE_EVENTS | IRP_MN_DISABLE_EVENTS) { EVENTS } else { DATA_BLOCK };
                    let enable = matches!(minor, IRP_MN_ENABLE_EVENTS | IRP_MN_ENABLE_COLLECTION);
                    Ok(control(device, irp, block, function, enable.into()))
                }
            }
        }
    }
}

/// Where the data of all instances begins.
const fn all_data_offset(count: u32) -> usize {
    (all::INSTANCES + count as usize * 8).next_multiple_of(8)
}

/// The node of a request.
///
/// # Safety
/// `location` is that of a WMI request: the buffer is as long as it says, or null.
unsafe fn node_of<'a>(location: *mut IO_STACK_LOCATION) -> &'a mut [u8] {
    // SAFETY: the caller's promise.
    unsafe {
        let wmi = (*location).Parameters.WMI;
        if wmi.Buffer.is_null() {
            return &mut [];
        }
        core::slice::from_raw_parts_mut(wmi.Buffer.cast(), wmi.BufferSize as usize)
    }
}

/// The answer to a request for registration information; its status and `Information`.
///
/// # Safety
/// The context is the driver's, the device its own.
unsafe fn registration_information(
    context: &Context,
    device: *mut DEVICE_OBJECT,
    is_counted: bool,
    node: &mut [u8],
) -> (NTSTATUS, usize) {
    let Some(query) = context.query_registration else { return (NTSTATUS::INVALID_DEVICE_REQUEST, 0) };
    let (mut flags, mut base, mut mof) = (0u32, UNICODE_STRING::zeroed(), UNICODE_STRING::zeroed());
    let (mut path, mut pdo): (*mut UNICODE_STRING, *mut DEVICE_OBJECT) = (null_mut(), null_mut());
    // SAFETY: the driver's routine, as its page says; strings that it gives are whole.
    unsafe {
        let status = query(device, &raw mut flags, &raw mut base, &raw mut path, &raw mut mof, &raw mut pdo);
        if !status.is_success() {
            return (status, 0);
        }
        let mut bytes: Vec<u8> = alloc::vec![0; GUIDS + context.count as usize * GUID_ENTRY];
        wnode::put(&mut bytes, GUID_COUNT, context.count);
        let base_at = wnode::append_counted(&mut bytes, base.units()) as u32;
        let path_at = if path.is_null() { 0 } else { wnode::append_counted(&mut bytes, (*path).units()) as u32 };
        let mof_at = if mof.Length == 0 { 0 } else { wnode::append_counted(&mut bytes, mof.units()) as u32 };
        let size = bytes.len();
        wnode::put(&mut bytes, 0, size as u32);
        wnode::put(&mut bytes, REGISTRY_PATH, path_at);
        wnode::put(&mut bytes, MOF_NAME, mof_at);
        let fits = size <= node.len();
        for index in 0..context.count as usize {
            let information = &*context.guids.add(index);
            let at = GUIDS + index * GUID_ENTRY;
            let mut all_flags = information.flags | flags;
            bytes[at..].as_mut_ptr().cast::<GUID>().write_unaligned(*information.guid);
            if all_flags & WMIREG_FLAG_INSTANCE_PDO != 0 && !pdo.is_null() {
                if is_counted && fits {
                    ObfReferenceObject(pdo.cast());
                }
                let address = pdo.expose_provenance() as u64;
                wnode::put(&mut bytes, at + 24, address as u32);
                wnode::put(&mut bytes, at + 28, (address >> 32) as u32);
            } else {
                all_flags &= !WMIREG_FLAG_INSTANCE_PDO;
                if all_flags & WMIREG_FLAG_INSTANCE_LIST == 0 && base.Length != 0 {
                    all_flags |= WMIREG_FLAG_INSTANCE_BASENAME;
                }
                wnode::put(&mut bytes, at + 24, base_at);
            }
            wnode::put(&mut bytes, at + 16, all_flags);
            wnode::put(&mut bytes, at + 20, information.instances);
        }
        // Documented: the base name is pool of the driver's, for the library to free.
        if !base.Buffer.is_null() {
            ExFreePool(base.Buffer.cast());
        }
        if !fits {
            wnode::put(node, 0, size as u32);
            return (NTSTATUS::BUFFER_TOO_SMALL, 4.min(node.len()));
        }
        node[..size].copy_from_slice(&bytes);
        (NTSTATUS::SUCCESS, size)
    }
}

/// Says what the driver is to do with a request: hand it on, complete it, or nothing, since its own routine has done so.
pub(super) unsafe extern "win64" fn WmiSystemControl(
    WmiLibInfo: *const Context,
    DeviceObject: *mut DEVICE_OBJECT,
    Irp: *mut IRP,
    IrpDisposition: *mut i32,
) -> NTSTATUS {
    // SAFETY: the caller's promise: a request that was sent to the device, and a place for the answer. The request may be gone when the
    // driver's routine returns, and is not touched after it.
    unsafe {
        let location = current_stack_location(Irp);
        let (minor, wmi) = ((*location).MinorFunction, (*location).Parameters.WMI);
        if !matches!(minor, 0..=IRP_MN_EXECUTE_METHOD | IRP_MN_REGINFO_EX) {
            IrpDisposition.write(NOT_WMI);
            return (*Irp).IoStatus.status();
        }
        if wmi.ProviderId != DeviceObject.addr() {
            IrpDisposition.write(FORWARD);
            return (*Irp).IoStatus.status();
        }
        let (context, node) = (&*WmiLibInfo, node_of(location));
        IrpDisposition.write(NOT_COMPLETED);
        if matches!(minor, IRP_MN_REGINFO | IRP_MN_REGINFO_EX) {
            let (status, information) = registration_information(context, DeviceObject, minor == IRP_MN_REGINFO_EX, node);
            irp::set_status(Irp, status, information);
            return status;
        }
        let wanted: *const GUID = wmi.DataPath.cast();
        let block = (0..context.count).find(|&index| *(*context.guids.add(index as usize)).guid == *wanted);
        let answered = match block {
            Some(block) => Request { context, device: DeviceObject, irp: Irp, minor, block, node }.dispatch(),
            None => Err(NTSTATUS::WMI_GUID_NOT_FOUND),
        };
        match answered {
            Ok(status) => {
                IrpDisposition.write(PROCESSED);
                status
            }
            Err(status) => {
                irp::set_status(Irp, status, 0);
                status
            }
        }
    }
}

/// Lengths of all instances, as the driver wrote them, become pairs of offset and length.
fn place_instances(node: &mut [u8]) {
    let count = u32_at(node, all::COUNT).unwrap_or(0) as usize;
    let lengths: Vec<u32> = (0..count).filter_map(|index| u32_at(node, all::INSTANCES + index * 4)).collect();
    let mut at = all_data_offset(count as u32);
    for (index, length) in lengths.into_iter().enumerate() {
        at = at.next_multiple_of(8);
        wnode::put(node, all::INSTANCES + index * 8, at as u32);
        wnode::put(node, all::INSTANCES + index * 8 + 4, length);
        at = at.saturating_add(length as usize);
    }
}

pub(super) unsafe extern "win64" fn WmiCompleteRequest(
    _DeviceObject: *mut DEVICE_OBJECT,
    Irp: *mut IRP,
    Status: NTSTATUS,
    BufferUsed: u32,
    PriorityBoost: i8,
) -> NTSTATUS {
    // SAFETY: the caller's promise: a WMI request that is its to complete.
    let (status, information) = unsafe {
        let location = current_stack_location(Irp);
        let node = node_of(location);
        let offset = match (*location).MinorFunction {
            IRP_MN_QUERY_ALL_DATA => u32_at(node, all::DATA_OFFSET),
            IRP_MN_QUERY_SINGLE_INSTANCE => u32_at(node, Kind::Instance.data_offset_at()),
            IRP_MN_EXECUTE_METHOD => u32_at(node, Kind::Method(0).data_offset_at()),
            _ => None,
        };
        match offset {
            None => (Status, 0),
            Some(offset) if Status == NTSTATUS::BUFFER_TOO_SMALL => {
                let flags = u32_at(node, wnode::FLAGS).unwrap_or(0) | WNODE_FLAG_TOO_SMALL;
                wnode::put(node, wnode::FLAGS, flags);
                wnode::put(node, wnode::BUFFER_SIZE, wnode::TOO_SMALL as u32);
                wnode::put(node, wnode::SIZE_NEEDED, offset.saturating_add(BufferUsed));
                (NTSTATUS::SUCCESS, wnode::TOO_SMALL)
            }
            Some(offset) if Status.is_success() => {
                let used = offset.saturating_add(BufferUsed);
                wnode::put(node, wnode::BUFFER_SIZE, used);
                match (*location).MinorFunction {
                    IRP_MN_QUERY_ALL_DATA => place_instances(node),
                    IRP_MN_QUERY_SINGLE_INSTANCE => wnode::put(node, Kind::Instance.data_offset_at() + 4, BufferUsed),
                    _ => wnode::put(node, Kind::Method(0).data_offset_at() + 4, BufferUsed),
                }
                (Status, used as usize)
            }
            Some(_) => (Status, 0),
        }
    };
    // SAFETY: as above; nobody touches the request after this.
    unsafe {
        irp::set_status(Irp, status, information);
        complete::IofCompleteRequest(Irp, PriorityBoost);
    }
    status
}

/// Writes an event of one instance. Documented: the event's data is pool, and the library's to free.
pub(super) unsafe extern "win64" fn WmiFireEvent(
    DeviceObject: *mut DEVICE_OBJECT,
    Guid: *const GUID,
    InstanceIndex: u32,
    EventDataSize: u32,
    EventData: *mut c_void,
) -> NTSTATUS {
    const NON_PAGED: u64 = 0x40;
    let flags = WNODE_FLAG_SINGLE_INSTANCE | WNODE_FLAG_EVENT_ITEM | WNODE_FLAG_STATIC_INSTANCE_NAMES;
    // SAFETY: the caller's promise: a GUID, and so many bytes of data in pool.
    unsafe {
        let data = if EventData.is_null() || EventDataSize == 0 {
            &[]
        } else {
            core::slice::from_raw_parts(EventData.cast::<u8>(), EventDataSize as usize)
        };
        let provider = IoWMIDeviceObjectToProviderId(DeviceObject);
        let mut node = wnode::about_one(&*Guid, provider, Kind::Instance, (InstanceIndex, true, &[]), data, 0);
        wnode::put(&mut node, wnode::FLAGS, flags);
        if !EventData.is_null() {
            ExFreePool(EventData);
        }
        let block = ExAllocatePool2(NON_PAGED, node.len(), TAG);
        if block.is_null() {
            return NTSTATUS::INSUFFICIENT_RESOURCES;
        }
        block.cast::<u8>().copy_from(node.as_ptr(), node.len());
        let status = IoWMIWriteEvent(block);
        if !status.is_success() {
            ExFreePool(block);
        }
        status
    }
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
