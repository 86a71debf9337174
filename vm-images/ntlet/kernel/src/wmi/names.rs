//! Names of instances: those that devices have, and those that drivers make up.

use alloc::vec::Vec;
use core::ffi::c_void;

use wdf_sys::wdm::constants::KERNEL_MODE;
use wdf_sys::wdm::{DEVICE_OBJECT, FILE_OBJECT, UNICODE_STRING};
use wdf_sys::{BOOLEAN, GUID, HANDLE, NTSTATUS};

use super::{block, registration};
use crate::io::{device, file, units};
use crate::lock::SpinLock;
use crate::object::exports::by_handle;
use crate::object::name;
use crate::pnp::node;
use crate::strings;

/// Most blocks whose instances are numbered.
const MOST_NUMBERED: usize = 1024;

/// The next number of each block's instances.
static NUMBERS: SpinLock<Vec<(GUID, u32)>> = SpinLock::new(Vec::new());

/// # Safety
/// As the documentation of IoWMIAllocateInstanceIds demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoWMIAllocateInstanceIds(
    Guid: *const GUID,
    InstanceCount: u32,
    FirstInstanceId: *mut u32,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let guid = unsafe { *Guid };
    let mut numbers = NUMBERS.lock();
    let at = match numbers.iter().position(|(other, _)| *other == guid) {
        Some(at) => at,
        None if numbers.len() >= MOST_NUMBERED => return NTSTATUS::INSUFFICIENT_RESOURCES,
        None => {
            numbers.push((guid, 0));
            numbers.len() - 1
        }
    };
    let Some(next) = numbers[at].1.checked_add(InstanceCount) else { return NTSTATUS::INSUFFICIENT_RESOURCES };
    let first = core::mem::replace(&mut numbers[at].1, next);
    drop(numbers);
    // SAFETY: the caller's promise.
    unsafe { *FirstInstanceId = first };
    NTSTATUS::SUCCESS
}

/// Gives the name of a device's first instance of a block to a string that has its buffer. What does not fit is said, and how much it needs.
///
/// # Safety
/// The string has its buffer.
unsafe fn give(names: Option<Vec<Vec<u16>>>, to: *mut UNICODE_STRING) -> NTSTATUS {
    let Some(name) = names.and_then(|names| names.into_iter().next()) else { return NTSTATUS::WMI_INSTANCE_NOT_FOUND };
    // SAFETY: the caller's promise.
    unsafe {
        let status = strings::put(&mut *to, &name, false);
        if status == NTSTATUS::BUFFER_OVERFLOW {
            (*to).Length = (name.len() * 2) as u16;
            return NTSTATUS::BUFFER_TOO_SMALL;
        }
        status
    }
}

/// # Safety
/// As the documentation of IoWMIDeviceObjectToInstanceName demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoWMIDeviceObjectToInstanceName(
    DataBlockObject: *mut c_void,
    DeviceObject: *mut DEVICE_OBJECT,
    InstanceName: *mut UNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe {
        match block::opened(DataBlockObject, 0) {
            Ok(block) => give(registration::names_by_device(DeviceObject, &block.guid), InstanceName),
            Err(status) => status,
        }
    }
}

/// # Safety
/// As the documentation of IoWMIHandleToInstanceName demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoWMIHandleToInstanceName(
    DataBlockObject: *mut c_void,
    FileHandle: HANDLE,
    InstanceName: *mut UNICODE_STRING,
) -> NTSTATUS {
    let entry = match by_handle(FileHandle, KERNEL_MODE) {
        Ok(entry) if entry.object.is(&file::FILE) => entry,
        Ok(_) => return NTSTATUS::OBJECT_TYPE_MISMATCH,
        Err(status) => return status,
    };
    let opened: *mut FILE_OBJECT = entry.object.body().cast();
    // SAFETY: the entry keeps the file, which keeps its device; the caller's promise for the rest.
    unsafe {
        let block = match block::opened(DataBlockObject, 0) {
            Ok(block) => block,
            Err(status) => return status,
        };
        // Whichever device of the stack has registered.
        let mut at = device::IoGetRelatedDeviceObject(opened);
        while !at.is_null() {
            let names = registration::names_by_device(at, &block.guid);
            if names.is_some() {
                return give(names, InstanceName);
            }
            at = (*device::state(at)).attached_to;
        }
    }
    NTSTATUS::WMI_INSTANCE_NOT_FOUND
}

/// Suggests the device's description, the link's name, or both in one, in a string that the caller frees.
///
/// # Safety
/// As the documentation of IoWMISuggestInstanceName demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoWMISuggestInstanceName(
    PhysicalDeviceObject: *mut DEVICE_OBJECT,
    SymbolicLinkName: *mut UNICODE_STRING,
    CombineNames: BOOLEAN,
    SuggestedInstanceName: *mut UNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe {
        let link = if SymbolicLinkName.is_null() {
            Vec::new()
        } else {
            match units(SymbolicLinkName) {
                Ok(units) => Vec::from(units),
                Err(status) => return status,
            }
        };
        let description = node::of(PhysicalDeviceObject).map(|node| {
            let text = crate::registry::get_string(&node.key(), "DeviceDesc").unwrap_or_else(|| node.description.clone());
            name::wide(&text)
        });
        let name = match description {
            Some(description) if CombineNames != 0 && !link.is_empty() => {
                [&description[..], &name::wide("("), &link, &name::wide(")")].concat()
            }
            Some(description) if !description.is_empty() => description,
            _ if !link.is_empty() => link,
            _ => return NTSTATUS::INVALID_PARAMETER,
        };
        strings::put(&mut *SuggestedInstanceName, &name, true)
    }
}
