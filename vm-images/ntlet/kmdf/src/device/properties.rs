//! Device properties, of a device that exists and of one to be created.

use core::ffi::c_void;

use alloc::vec::Vec;

use wdf_sys::wdf::{WDF_DEVICE_PROPERTY_DATA, WDF_OBJECT_ATTRIBUTES};
use wdf_sys::wdm::DEVICE_OBJECT;
use wdf_sys::wdm::functions::{IoGetDeviceProperty, IoGetDevicePropertyData, IoSetDevicePropertyData};
use wdf_sys::{NTSTATUS, WDFDEVICE, WDFDEVICE_INIT, WDFIOTARGET, WDFMEMORY};

use super::Device;
use crate::call::{Call, ddi};
use crate::device_init::physical_device;
use crate::memory::{self, Memory};
use crate::object::attributes::Rules;
use crate::object::{AnyRef, Attributes, Ref};
use crate::sync::PASSIVE_LEVEL;
use crate::target::Target;

/// Most bytes of a property that are read.
const MAXIMUM_PROPERTY: usize = 1 << 16;

/// Which property, in either of the two ways of naming one.
#[derive(Clone, Copy)]
enum Property {
    Number(i32),
    Keyed(WDF_DEVICE_PROPERTY_DATA),
}

impl Property {
    /// Asks the kernel. Type and length of the value; the length also when the buffer is too small.
    fn query(self, physical: *mut DEVICE_OBJECT, buffer: *mut c_void, size: u32) -> (NTSTATUS, u32, u32) {
        if physical.is_null() {
            return (NTSTATUS::INVALID_DEVICE_REQUEST, 0, 0);
        }
        let (mut length, mut kind) = (0, 0);
        // SAFETY: the stack's physical device; the buffer has `size` bytes, by whoever calls; the results live through the call.
        let status = unsafe {
            match self {
                Self::Number(number) => IoGetDeviceProperty(physical, number, size, buffer, &mut length),
                Self::Keyed(key) => {
                    let (lcid, flags) = (key.Lcid, key.Flags);
                    IoGetDevicePropertyData(physical, key.PropertyKey, lcid, flags, size, buffer, &mut length, &mut kind)
                }
            }
        };
        (status, kind, length)
    }

    /// Type and bytes of the value.
    fn read(self, physical: *mut DEVICE_OBJECT) -> Result<(u32, Vec<u8>), NTSTATUS> {
        let mut size = 256;
        loop {
            let mut bytes: Vec<u8> = Vec::new();
            bytes.try_reserve_exact(size).map_err(|_| NTSTATUS::INSUFFICIENT_RESOURCES)?;
            bytes.resize(size, 0);
            let (status, kind, length) = self.query(physical, bytes.as_mut_ptr().cast(), size as u32);
            let length = length as usize;
            if status == NTSTATUS::BUFFER_TOO_SMALL && length > size && length <= MAXIMUM_PROPERTY {
                size = length;
                continue;
            }
            status.ok()?;
            bytes.truncate(length);
            return Ok((kind, bytes));
        }
    }

    fn into_memory(
        self,
        call: &Call,
        physical: *mut DEVICE_OBJECT,
        pool: i32,
        attributes: *const WDF_OBJECT_ATTRIBUTES,
        parent: Option<AnyRef>,
    ) -> Result<(u32, Ref<Memory>), NTSTATUS> {
        let attributes = Attributes::read(call, attributes, Rules::ORDINARY)?;
        let (kind, bytes) = self.read(physical)?;
        let memory = memory::create(call.globals, &attributes, parent.as_ref(), pool, 0, bytes.len().max(1))?;
        call.copy_out(memory.buffer().0, &bytes);
        Ok((kind, memory))
    }
}

/// A property that the driver names by key.
fn keyed(call: &Call, property: *const WDF_DEVICE_PROPERTY_DATA) -> Result<Property, NTSTATUS> {
    let data = call.sized(property, &[])?;
    let _ = call.required(data.PropertyKey);
    Ok(Property::Keyed(data))
}

/// Ends a call that queries into the driver's buffer.
fn answer(
    call: &Call,
    property: Property,
    physical: *mut DEVICE_OBJECT,
    size: u32,
    buffer: *mut c_void,
    length: *mut u32,
    kind: *mut u32,
) -> NTSTATUS {
    if size != 0 {
        let _ = call.required(buffer.cast::<u8>());
    }
    let (status, found, needed) = property.query(physical, buffer, size);
    call.write(length, needed);
    call.write_optional(kind, found);
    status
}

fn created(call: &Call, outcome: Result<(u32, Ref<Memory>), NTSTATUS>, kind: *mut u32, memory: *mut WDFMEMORY) -> NTSTATUS {
    if let Ok((found, _)) = &outcome {
        call.write_optional(kind, *found);
    }
    call.created(memory, outcome.map(|(_, memory)| memory))
}

ddi! {
    fn WdfDeviceQueryProperty(call, device: WDFDEVICE, property: i32, size: u32, buffer: *mut c_void, length: *mut u32) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        answer(call, Property::Number(property), device.pdo(), size, buffer, length, core::ptr::null_mut())
    }

    fn WdfFdoInitQueryProperty(call, init: *mut WDFDEVICE_INIT, property: i32, size: u32, buffer: *mut c_void, length: *mut u32) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        answer(call, Property::Number(property), physical_device(call, init), size, buffer, length, core::ptr::null_mut())
    }

    fn WdfDeviceQueryPropertyEx(call, device: WDFDEVICE, property: *mut WDF_DEVICE_PROPERTY_DATA, size: u32, buffer: *mut c_void, length: *mut u32, kind: *mut u32) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        match keyed(call, property) {
            Ok(property) => answer(call, property, device.pdo(), size, buffer, length, kind),
            Err(status) => status,
        }
    }

    fn WdfFdoInitQueryPropertyEx(call, init: *mut WDFDEVICE_INIT, property: *mut WDF_DEVICE_PROPERTY_DATA, size: u32, buffer: *mut c_void, length: *mut u32, kind: *mut u32) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        match keyed(call, property) {
            Ok(property) => answer(call, property, physical_device(call, init), size, buffer, length, kind),
            Err(status) => status,
        }
    }

    fn WdfDeviceAllocAndQueryProperty(call, device: WDFDEVICE, property: i32, pool: i32, attributes: *mut WDF_OBJECT_ATTRIBUTES, memory: *mut WDFMEMORY) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        call.write(memory, WDFMEMORY::NULL);
        let device = call.object::<Device>(device);
        let outcome = Property::Number(property).into_memory(call, device.pdo(), pool, attributes, Some(device.any().clone()));
        created(call, outcome, core::ptr::null_mut(), memory)
    }

    fn WdfFdoInitAllocAndQueryProperty(call, init: *mut WDFDEVICE_INIT, property: i32, pool: i32, attributes: *mut WDF_OBJECT_ATTRIBUTES, memory: *mut WDFMEMORY) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        call.write(memory, WDFMEMORY::NULL);
        let physical = physical_device(call, init);
        let outcome = Property::Number(property).into_memory(call, physical, pool, attributes, call.globals.driver());
        created(call, outcome, core::ptr::null_mut(), memory)
    }

    fn WdfDeviceAllocAndQueryPropertyEx(call, device: WDFDEVICE, property: *mut WDF_DEVICE_PROPERTY_DATA, pool: i32, attributes: *mut WDF_OBJECT_ATTRIBUTES, memory: *mut WDFMEMORY, kind: *mut u32) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        call.write(memory, WDFMEMORY::NULL);
        let device = call.object::<Device>(device);
        let outcome = keyed(call, property)
            .and_then(|property| property.into_memory(call, device.pdo(), pool, attributes, Some(device.any().clone())));
        created(call, outcome, kind, memory)
    }

    fn WdfFdoInitAllocAndQueryPropertyEx(call, init: *mut WDFDEVICE_INIT, property: *mut WDF_DEVICE_PROPERTY_DATA, pool: i32, attributes: *mut WDF_OBJECT_ATTRIBUTES, memory: *mut WDFMEMORY, kind: *mut u32) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        call.write(memory, WDFMEMORY::NULL);
        let physical = physical_device(call, init);
        let outcome = keyed(call, property)
            .and_then(|property| property.into_memory(call, physical, pool, attributes, call.globals.driver()));
        created(call, outcome, kind, memory)
    }

    fn WdfIoTargetQueryTargetProperty(call, target: WDFIOTARGET, property: i32, size: u32, buffer: *mut c_void, length: *mut u32) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let target = call.object::<Target>(target);
        answer(call, Property::Number(property), target.physical(), size, buffer, length, core::ptr::null_mut())
    }

    fn WdfIoTargetAllocAndQueryTargetProperty(call, target: WDFIOTARGET, property: i32, pool: i32, attributes: *mut WDF_OBJECT_ATTRIBUTES, memory: *mut WDFMEMORY) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        call.write(memory, WDFMEMORY::NULL);
        let target = call.object::<Target>(target);
        let outcome = Property::Number(property).into_memory(call, target.physical(), pool, attributes, Some(target.any().clone()));
        created(call, outcome, core::ptr::null_mut(), memory)
    }

    fn WdfDeviceAssignProperty(call, device: WDFDEVICE, property: *mut WDF_DEVICE_PROPERTY_DATA, kind: u32, size: u32, data: *mut c_void) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        let property = match call.sized(property, &[]) {
            Ok(property) => property,
            Err(status) => return status,
        };
        let key = call.required(property.PropertyKey);
        if device.pdo().is_null() {
            return NTSTATUS::INVALID_DEVICE_REQUEST;
        }
        // SAFETY: the stack's physical device; the driver promises `size` bytes of data.
        unsafe { IoSetDevicePropertyData(device.pdo(), key, property.Lcid, property.Flags, kind, size, data) }
    }
}
