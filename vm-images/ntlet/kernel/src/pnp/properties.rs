//! What drivers ask about a device: properties by number and by key, and its registry keys.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ffi::c_void;

use wdf_sys::wdm::DEVICE_OBJECT;
use wdf_sys::wdm::constants::*;
use wdf_sys::{DEVPROPKEY, GUID, HANDLE, NTSTATUS};

use super::node::{self, Node};
use super::pci::function::guid_bytes;
use super::resources::resource_list;
use super::{interface, irps};
use crate::lock::SpinLock;
use crate::registry::{self, keys, string_bytes};

/// `PLUGPLAY_REGKEY_DEVICE`, `PLUGPLAY_REGKEY_DRIVER`.
const KEY_DEVICE: u32 = 1;
const KEY_DRIVER: u32 = 2;

/// # Safety
/// As the documentation of IoOpenDeviceRegistryKey demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoOpenDeviceRegistryKey(
    DeviceObject: *mut DEVICE_OBJECT,
    DevInstKeyType: u32,
    DesiredAccess: u32,
    DeviceRegKey: *mut HANDLE,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let Some(node) = (unsafe { node::of(DeviceObject) }) else { return NTSTATUS::INVALID_DEVICE_REQUEST };
    let path = match DevInstKeyType {
        KEY_DEVICE => Some(node.parameters_key()),
        KEY_DRIVER => node.driver_key(),
        _ => return NTSTATUS::INVALID_PARAMETER,
    };
    let opened = path.ok_or(NTSTATUS::OBJECT_NAME_NOT_FOUND).and_then(|path| registry::create(&path));
    match opened.and_then(|key| keys::handle(key, DesiredAccess, true)) {
        Ok(handle) => {
            // SAFETY: the caller's promise.
            unsafe { *DeviceRegKey = handle };
            NTSTATUS::SUCCESS
        }
        Err(status) => status,
    }
}

/// # Safety
/// As the documentation of IoGetDeviceProperty demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoGetDeviceProperty(
    DeviceObject: *mut DEVICE_OBJECT,
    DeviceProperty: i32,
    BufferLength: u32,
    PropertyBuffer: *mut c_void,
    ResultLength: *mut u32,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let Some(node) = (unsafe { node::of(DeviceObject) }) else { return NTSTATUS::INVALID_DEVICE_REQUEST };
    let bytes = match property(&node, DeviceProperty) {
        Ok(bytes) => bytes,
        Err(status) => return status,
    };
    // SAFETY: the caller's promise.
    unsafe {
        *ResultLength = bytes.len() as u32;
        if (BufferLength as usize) < bytes.len() {
            return NTSTATUS::BUFFER_TOO_SMALL;
        }
        PropertyBuffer.cast::<u8>().copy_from(bytes.as_ptr(), bytes.len());
    }
    NTSTATUS::SUCCESS
}

/// `DEVICE_REGISTRY_PROPERTY`, by its number.
fn property(node: &Node, number: i32) -> Result<Vec<u8>, NTSTATUS> {
    let stored = |value| registry::get(&node.key(), value).map(|(_, data)| data).ok_or(NTSTATUS::OBJECT_NAME_NOT_FOUND);
    match number {
        0x0 => stored("DeviceDesc"),
        0x1 => stored("HardwareID"),
        0x2 => stored("CompatibleIDs"),
        // DevicePropertyBootConfiguration, and its translated form.
        0x3 | 0x4 => {
            let resources = node.state.lock().resources.clone();
            Ok(resource_list(&resources, bus_type(node), 0, number == 0x4))
        }
        0x5 => stored("Class"),
        0x6 => stored("ClassGUID"),
        0x7 => stored("Driver"),
        0x8 => stored("Mfg"),
        0x9 => stored("FriendlyName"),
        0xa => stored("LocationInformation"),
        0xb => interface::device_name(node.pdo()).map(|name| units_bytes(&name)).ok_or(NTSTATUS::OBJECT_NAME_NOT_FOUND),
        // DevicePropertyBusTypeGuid.
        0xc => Ok(Vec::from(guid_bytes(&if is_pci(node) { BUS_PCI } else { BUS_INTERNAL }))),
        // DevicePropertyLegacyBusType, BusNumber.
        0xd => Ok(Vec::from(bus_type(node).to_le_bytes())),
        0xe => Ok(Vec::from(0u32.to_le_bytes())),
        0xf => Ok(string_bytes(node.instance_path.split('\\').next().unwrap_or(""))),
        // DevicePropertyAddress, UINumber.
        0x10 | 0x11 => {
            let capabilities = irps::query_capabilities(node.pdo()).ok_or(NTSTATUS::OBJECT_NAME_NOT_FOUND)?;
            let value = if number == 0x10 { capabilities.Address } else { capabilities.UINumber };
            if value == u32::MAX { Err(NTSTATUS::OBJECT_NAME_NOT_FOUND) } else { Ok(Vec::from(value.to_le_bytes())) }
        }
        // DevicePropertyInstallState: installed.
        0x12 => Ok(Vec::from(0u32.to_le_bytes())),
        // DevicePropertyRemovalPolicy: orderly removal is expected.
        0x13 => Ok(Vec::from(2u32.to_le_bytes())),
        _ => Err(NTSTATUS::INVALID_PARAMETER_2),
    }
}

const BUS_PCI: GUID = GUID::new((0xc8eb_dfb0, 0xb510, 0x11d0, [0x80, 0xe5, 0x00, 0xa0, 0xc9, 0x25, 0x42, 0xe3]));
const BUS_INTERNAL: GUID = GUID::new((0x1530_ea73, 0x086b, 0x11d1, [0xa0, 0x9f, 0x00, 0xc0, 0x4f, 0xc3, 0x40, 0xb1]));

fn is_pci(node: &Node) -> bool {
    node.instance_path.starts_with("PCI\\")
}

fn bus_type(node: &Node) -> i32 {
    if is_pci(node) { PCI_BUS } else { PNP_BUS }
}

fn units_bytes(units: &[u16]) -> Vec<u8> {
    units.iter().chain(&[0]).flat_map(|unit| unit.to_le_bytes()).collect()
}

/// Device and property.
type PropertyName = (usize, u32, [u8; 16]);
/// Type and bytes.
type PropertyValue = (u32, Vec<u8>);
/// Properties that were set by key.
static BY_KEY: SpinLock<BTreeMap<PropertyName, PropertyValue>> = SpinLock::new(BTreeMap::new());

/// Largest property, most properties.
const MAX_DATA: usize = 1 << 16;
const MAX_PROPERTIES: usize = 4096;
/// `DEVPROP_TYPE_STRING`, `DEVPROP_TYPE_STRING_LIST`.
const TYPE_STRING: u32 = 0x12;
const TYPE_STRING_LIST: u32 = 0x2012;
/// DEVPKEY_Device_DeviceDesc and its kin.
const DEVICE_PROPERTIES: GUID = GUID::new((0xa45c_254e, 0xdf1c, 0x4efd, [0x80, 0x20, 0x67, 0xd1, 0x46, 0xa8, 0x50, 0xe0]));

/// A property that every device has: type and bytes.
fn built_in(node: &Node, key: &DEVPROPKEY) -> Option<PropertyValue> {
    if key.fmtid != DEVICE_PROPERTIES {
        return None;
    }
    let (number, kind) = match key.pid {
        2 => (0x0, TYPE_STRING),
        3 => (0x1, TYPE_STRING_LIST),
        4 => (0x2, TYPE_STRING_LIST),
        9 => (0x5, TYPE_STRING),
        11 => (0x7, TYPE_STRING),
        13 => (0x8, TYPE_STRING),
        15 => (0xa, TYPE_STRING),
        16 => (0xb, TYPE_STRING),
        _ => return None,
    };
    property(node, number).ok().map(|bytes| (kind, bytes))
}

/// # Safety
/// As the documentation of IoGetDevicePropertyData demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoGetDevicePropertyData(
    Pdo: *mut DEVICE_OBJECT,
    PropertyKey: *const DEVPROPKEY,
    _Lcid: u32,
    _Flags: u32,
    Size: u32,
    Data: *mut c_void,
    RequiredSize: *mut u32,
    Type: *mut u32,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe {
        let Some(node) = node::of(Pdo) else { return NTSTATUS::INVALID_DEVICE_REQUEST };
        let key = *PropertyKey;
        let stored = BY_KEY.lock().get(&(Pdo.addr(), key.pid, guid_bytes(&key.fmtid))).cloned();
        let Some((kind, bytes)) = stored.or_else(|| built_in(&node, &key)) else { return NTSTATUS::OBJECT_NAME_NOT_FOUND };
        *RequiredSize = bytes.len() as u32;
        *Type = kind;
        if (Size as usize) < bytes.len() {
            return NTSTATUS::BUFFER_TOO_SMALL;
        }
        Data.cast::<u8>().copy_from(bytes.as_ptr(), bytes.len());
    }
    NTSTATUS::SUCCESS
}

/// # Safety
/// As the documentation of IoSetDevicePropertyData demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoSetDevicePropertyData(
    Pdo: *mut DEVICE_OBJECT,
    PropertyKey: *const DEVPROPKEY,
    _Lcid: u32,
    _Flags: u32,
    Type: u32,
    Size: u32,
    Data: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe {
        if node::of(Pdo).is_none() {
            return NTSTATUS::INVALID_DEVICE_REQUEST;
        }
        if Size as usize > MAX_DATA {
            return NTSTATUS::INVALID_PARAMETER;
        }
        let name = (Pdo.addr(), (*PropertyKey).pid, guid_bytes(&(*PropertyKey).fmtid));
        let mut properties = BY_KEY.lock();
        if Data.is_null() || Size == 0 {
            properties.remove(&name);
            return NTSTATUS::SUCCESS;
        }
        if properties.len() >= MAX_PROPERTIES {
            return NTSTATUS::INSUFFICIENT_RESOURCES;
        }
        properties.insert(name, (Type, Vec::from(core::slice::from_raw_parts(Data.cast::<u8>(), Size as usize))));
    }
    NTSTATUS::SUCCESS
}
