//! What a consumer asks of a block: its instances, changes of them, methods.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;

use wdf_sys::wdm::UNICODE_STRING;
use wdf_sys::wdm::constants::*;
use wdf_sys::{GUID, NTSTATUS};

use super::block::{self, EXECUTE, QUERY, SET};
use super::registration::{self, Block, MOST_BYTES, Provider};
use super::wnode::{self, Kind, u32_at};
use crate::io::units;
use crate::object::name;

/// Bytes that an answer gets at first.
const FIRST_ROOM: usize = 512;

/// Where an instance is: its provider, its number there, and whether the number says it all.
type Place = (Arc<Provider>, u32, bool);

/// The instance of a block that has this name. One of a provider that names them itself is found by asking each of those.
fn find(guid: &GUID, instance: &[u16]) -> Result<Vec<Place>, NTSTATUS> {
    let providers = registration::providers_of(guid);
    if providers.is_empty() {
        return Err(NTSTATUS::WMI_GUID_NOT_FOUND);
    }
    let by_name = |(provider, block): &(Arc<Provider>, Block)| {
        let index = block.names.iter().position(|known| name::same(known, instance))?;
        Some((provider.clone(), index as u32, true))
    };
    if let Some(place) = providers.iter().find_map(by_name) {
        return Ok(Vec::from([place]));
    }
    let dynamic = providers.into_iter().filter(|(_, block)| block.names.is_empty());
    let places: Vec<Place> = dynamic.map(|(provider, _)| (provider, 0, false)).collect();
    if places.is_empty() { Err(NTSTATUS::WMI_INSTANCE_NOT_FOUND) } else { Ok(places) }
}

/// Sends a node that grows until its answer fits. `make` makes it, with so much room for data.
fn ask(provider: &Provider, minor: u8, guid: &GUID, make: impl Fn(usize) -> Vec<u8>) -> Result<Vec<u8>, NTSTATUS> {
    let mut room = FIRST_ROOM;
    loop {
        let mut node = make(room);
        let length = provider.ask(minor, guid, &mut node)?;
        if u32_at(&node, wnode::FLAGS).unwrap_or(0) & WNODE_FLAG_TOO_SMALL == 0 {
            node.truncate(length);
            return if length >= wnode::HEADER { Ok(node) } else { Err(NTSTATUS::UNSUCCESSFUL) };
        }
        let needed = u32_at(&node, wnode::SIZE_NEEDED).unwrap_or(0) as usize;
        if needed <= node.len() || needed > MOST_BYTES {
            crate::log!("a WMI provider had room for {} bytes and wants {needed}: refused", node.len());
            return Err(NTSTATUS::UNSUCCESSFUL);
        }
        room += needed - node.len();
    }
}

/// Asks for one instance, wherever it is; the node.
pub(super) fn single(
    guid: &GUID,
    instance: &[u16],
    kind: Kind,
    minor: u8,
    data: &[u8],
    room: usize,
) -> Result<Vec<u8>, NTSTATUS> {
    let mut result = Err(NTSTATUS::WMI_INSTANCE_NOT_FOUND);
    for (provider, index, is_static) in find(guid, instance)? {
        let block = (index, is_static, instance);
        let is_answered = minor == IRP_MN_QUERY_SINGLE_INSTANCE || minor == IRP_MN_EXECUTE_METHOD;
        result = if is_answered {
            ask(&provider, minor, guid, |more| wnode::about_one(guid, provider.number, kind, block, data, room.max(more)))
        } else {
            let mut node = wnode::about_one(guid, provider.number, kind, block, data, 0);
            provider.ask(minor, guid, &mut node).map(|_| node)
        };
        if !matches!(result, Err(NTSTATUS::WMI_INSTANCE_NOT_FOUND | NTSTATUS::WMI_GUID_NOT_FOUND)) {
            break;
        }
    }
    result
}

/// One instance by its number at a provider.
pub(super) fn by_index(provider: &Provider, guid: &GUID, index: u32) -> Result<Vec<u8>, NTSTATUS> {
    let block = provider.block(guid).ok_or(NTSTATUS::WMI_GUID_NOT_FOUND)?;
    let name = block.names.get(index as usize).ok_or(NTSTATUS::WMI_INSTANCE_NOT_FOUND)?;
    ask(provider, IRP_MN_QUERY_SINGLE_INSTANCE, guid, |room| {
        wnode::about_one(guid, provider.number, Kind::Instance, (index, true, name), &[], room)
    })
}

/// Every instance of a block, a node a provider.
fn all(guid: &GUID) -> Result<Vec<Vec<u8>>, NTSTATUS> {
    let mut nodes = Vec::new();
    let mut failure = NTSTATUS::WMI_GUID_NOT_FOUND;
    for (provider, block) in registration::providers_of(guid) {
        if block.flags & WMIREG_FLAG_EVENT_ONLY_GUID != 0 {
            continue;
        }
        let is_static = !block.names.is_empty();
        let flags = WNODE_FLAG_ALL_DATA | if is_static { WNODE_FLAG_STATIC_INSTANCE_NAMES } else { 0 };
        let answer = ask(&provider, IRP_MN_QUERY_ALL_DATA, guid, |room| {
            let size = wnode::all::INSTANCES + room;
            wnode::new(guid, provider.number, flags, size)
        });
        match answer {
            Ok(node) => nodes.push(registration::with_names(node, &block.names)),
            Err(status) => failure = status,
        }
    }
    if nodes.is_empty() { Err(failure) } else { Ok(nodes) }
}

/// Gives nodes to a consumer, one behind the other, each saying how far the next is.
///
/// # Safety
/// `length` is a place that says how much room there is at `buffer`.
unsafe fn give(nodes: &[Vec<u8>], length: *mut u32, buffer: *mut c_void) -> NTSTATUS {
    let mut bytes = Vec::new();
    let mut last = 0;
    for node in nodes {
        let at = bytes.len();
        if at != 0 {
            wnode::put(&mut bytes, last + wnode::LINKAGE, (at - last) as u32);
        }
        last = at;
        bytes.extend_from_slice(node);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        wnode::put(&mut bytes, at + wnode::LINKAGE, 0);
    }
    // SAFETY: the caller's promise.
    unsafe {
        let room = *length as usize;
        *length = bytes.len() as u32;
        if room < bytes.len() || buffer.is_null() {
            return NTSTATUS::BUFFER_TOO_SMALL;
        }
        buffer.cast::<u8>().copy_from(bytes.as_ptr(), bytes.len());
    }
    NTSTATUS::SUCCESS
}

/// # Safety
/// As the documentation of IoWMIQueryAllData demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoWMIQueryAllData(
    DataBlockObject: *mut c_void,
    InOutBufferSize: *mut u32,
    OutBuffer: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe { IoWMIQueryAllDataMultiple(&raw const DataBlockObject, 1, InOutBufferSize, OutBuffer) }
}

/// # Safety
/// As the documentation of IoWMIQueryAllDataMultiple demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoWMIQueryAllDataMultiple(
    DataBlockObjectList: *const *mut c_void,
    ObjectCount: u32,
    InOutBufferSize: *mut u32,
    OutBuffer: *mut c_void,
) -> NTSTATUS {
    let mut nodes = Vec::new();
    for index in 0..ObjectCount as usize {
        // SAFETY: the caller's promise: so many objects.
        let found = unsafe { block::opened(*DataBlockObjectList.add(index), QUERY) }.and_then(|block| all(&block.guid));
        match found {
            Ok(found) => nodes.extend(found),
            Err(status) => return status,
        }
    }
    // SAFETY: the caller's promise.
    unsafe { give(&nodes, InOutBufferSize, OutBuffer) }
}

/// # Safety
/// As the documentation of IoWMIQuerySingleInstance demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoWMIQuerySingleInstance(
    DataBlockObject: *mut c_void,
    InstanceName: *mut UNICODE_STRING,
    InOutBufferSize: *mut u32,
    OutBuffer: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe { IoWMIQuerySingleInstanceMultiple(&raw const DataBlockObject, InstanceName, 1, InOutBufferSize, OutBuffer) }
}

/// # Safety
/// As the documentation of IoWMIQuerySingleInstanceMultiple demands: a name for each object.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoWMIQuerySingleInstanceMultiple(
    DataBlockObjectList: *const *mut c_void,
    InstanceNames: *mut UNICODE_STRING,
    ObjectCount: u32,
    InOutBufferSize: *mut u32,
    OutBuffer: *mut c_void,
) -> NTSTATUS {
    let mut nodes = Vec::new();
    for index in 0..ObjectCount as usize {
        // SAFETY: the caller's promise: so many objects and names.
        let found = unsafe {
            block::opened(*DataBlockObjectList.add(index), QUERY).and_then(|block| {
                let instance = units(InstanceNames.add(index))?;
                single(&block.guid, instance, Kind::Instance, IRP_MN_QUERY_SINGLE_INSTANCE, &[], 0)
            })
        };
        match found {
            Ok(node) => nodes.push(node),
            Err(status) => return status,
        }
    }
    // SAFETY: the caller's promise.
    unsafe { give(&nodes, InOutBufferSize, OutBuffer) }
}

/// Changes an instance, or an item of one.
///
/// # Safety
/// As the documentation of the functions below demands.
unsafe fn set(
    (object, instance): (*mut c_void, *mut UNICODE_STRING),
    (kind, minor): (Kind, u8),
    (size, value): (u32, *mut c_void),
) -> NTSTATUS {
    if size as usize > MOST_BYTES || (size != 0 && value.is_null()) {
        return NTSTATUS::INVALID_PARAMETER;
    }
    // SAFETY: the caller's promise.
    let result = unsafe {
        block::opened(object, SET).and_then(|block| {
            let data = if size == 0 { &[] } else { core::slice::from_raw_parts(value.cast::<u8>(), size as usize) };
            single(&block.guid, units(instance)?, kind, minor, data, 0)
        })
    };
    result.map_or_else(|status| status, |_| NTSTATUS::SUCCESS)
}

/// # Safety
/// As the documentation of IoWMISetSingleInstance demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoWMISetSingleInstance(
    DataBlockObject: *mut c_void,
    InstanceName: *mut UNICODE_STRING,
    _Version: u32,
    ValueBufferSize: u32,
    ValueBuffer: *mut c_void,
) -> NTSTATUS {
    let what = (Kind::Instance, IRP_MN_CHANGE_SINGLE_INSTANCE);
    // SAFETY: the caller's promise.
    unsafe { set((DataBlockObject, InstanceName), what, (ValueBufferSize, ValueBuffer)) }
}

/// # Safety
/// As the documentation of IoWMISetSingleItem demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoWMISetSingleItem(
    DataBlockObject: *mut c_void,
    InstanceName: *mut UNICODE_STRING,
    DataItemId: u32,
    _Version: u32,
    ValueBufferSize: u32,
    ValueBuffer: *mut c_void,
) -> NTSTATUS {
    let what = (Kind::Item(DataItemId), IRP_MN_CHANGE_SINGLE_ITEM);
    // SAFETY: the caller's promise.
    unsafe { set((DataBlockObject, InstanceName), what, (ValueBufferSize, ValueBuffer)) }
}

/// # Safety
/// As the documentation of IoWMIExecuteMethod demands: the buffer has room for both the input and the output.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoWMIExecuteMethod(
    DataBlockObject: *mut c_void,
    InstanceName: *mut UNICODE_STRING,
    MethodId: u32,
    InBufferSize: u32,
    OutBufferSize: *mut u32,
    InOutBuffer: *mut u8,
) -> NTSTATUS {
    let kind = Kind::Method(MethodId);
    // SAFETY: the caller's promise.
    unsafe {
        let room = if OutBufferSize.is_null() { 0 } else { *OutBufferSize as usize };
        if InBufferSize as usize > MOST_BYTES || room > MOST_BYTES {
            return NTSTATUS::INVALID_PARAMETER;
        }
        let result = block::opened(DataBlockObject, EXECUTE).and_then(|block| {
            let input = if InBufferSize == 0 { &[] } else { core::slice::from_raw_parts(InOutBuffer, InBufferSize as usize) };
            single(&block.guid, units(InstanceName)?, kind, IRP_MN_EXECUTE_METHOD, input, room)
        });
        let node = match result {
            Ok(node) => node,
            Err(status) => return status,
        };
        let output = wnode::data_of(&node, kind).unwrap_or(&[]);
        if !OutBufferSize.is_null() {
            *OutBufferSize = output.len() as u32;
        }
        if output.len() > room {
            return NTSTATUS::BUFFER_TOO_SMALL;
        }
        if !output.is_empty() {
            InOutBuffer.copy_from(output.as_ptr(), output.len());
        }
    }
    NTSTATUS::SUCCESS
}
