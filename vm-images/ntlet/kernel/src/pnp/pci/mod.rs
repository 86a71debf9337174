//! The PCI bus driver: a WDM driver like any other, whose device objects for functions answer what `pci.sys` answers.
//!
//! [`bus`] is the functional device of a bus and finds what is on it; [`function`] is the physical device of one function;
//! [`identity`] and [`configuration`] are what a function says about itself; [`slot`] is where cards come and go, [`window`] where
//! the registers of those that come get their place.

pub(crate) mod bus;
pub(crate) mod configuration;
pub(crate) mod function;
pub(crate) mod identity;
mod interface;
mod slot;
mod window;

use core::ffi::c_void;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::ExAllocatePool2;
use wdf_sys::wdm::{DEVICE_OBJECT, DRIVER_OBJECT, IRP};

use crate::io::{driver, irp};
use crate::object::ObjectRef;
use bus::Bus;
use function::Function;

/// Name of the service, and of the driver object.
pub(crate) const SERVICE: &str = "pci";
pub(super) const TAG: u32 = u32::from_le_bytes(*b"Pci ");

/// What a device object of this driver is; `DeviceExtension` holds the address of a boxed one.
#[derive(Debug)]
enum Role {
    Bus(Bus),
    Function(Function),
}

/// The driver object, its routines in place.
pub(crate) fn create_driver() -> Result<ObjectRef, NTSTATUS> {
    let object = driver::create(SERVICE)?;
    let driver: *mut DRIVER_OBJECT = object.body().cast();
    // SAFETY: the driver object is new and ours.
    unsafe {
        for major in [IRP_MJ_PNP, IRP_MJ_POWER, IRP_MJ_SYSTEM_CONTROL] {
            (*driver).MajorFunction[usize::from(major)] = Some(dispatch);
        }
        (*(*driver).DriverExtension).AddDevice = Some(bus::add_device);
    }
    Ok(object)
}

/// The role of one of this driver's device objects.
///
/// # Safety
/// `device` is a live device object of this driver.
unsafe fn role<'a>(device: *mut DEVICE_OBJECT) -> &'a Role {
    // SAFETY: the caller's promise; the extension is set before the device gets requests, and lives as long as the device.
    unsafe { &**(*device).DeviceExtension.cast::<*const Role>() }
}

/// # Safety
/// Called as a dispatch routine.
unsafe extern "win64" fn dispatch(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager sends requests to live devices of this driver only.
    unsafe {
        let major = (*wdf_sys::wdm::current_stack_location(irp)).MajorFunction;
        match (role(device), major) {
            (Role::Bus(bus), IRP_MJ_PNP) => bus.pnp(device, irp),
            (Role::Bus(bus), IRP_MJ_POWER) => bus.power(irp),
            (Role::Bus(bus), _) => bus.pass_down(irp),
            (Role::Function(function), IRP_MJ_PNP) => function.pnp(device, irp),
            (Role::Function(function), IRP_MJ_POWER) => function.power(irp),
            (Role::Function(_), _) => irp::complete(irp, (*irp).IoStatus.status(), (*irp).IoStatus.Information),
        }
    }
}

/// A block of pool with these bytes, for the `Information` of a request; 0 when there is no memory.
pub(crate) fn pool_copy(bytes: &[u8]) -> usize {
    // SAFETY: the block is as large as the bytes.
    unsafe {
        let block: *mut u8 = ExAllocatePool2(POOL_FLAG_NON_PAGED, bytes.len().max(1), TAG).cast();
        if block.is_null() {
            return 0;
        }
        block.copy_from(bytes.as_ptr(), bytes.len());
        block.expose_provenance()
    }
}

/// Strings as a block of pool: one with its terminator, or a list with an empty string at its end.
pub(crate) fn pool_strings(strings: &[alloc::string::String], is_list: bool) -> usize {
    let mut bytes: alloc::vec::Vec<u8> = strings.iter().flat_map(|text| crate::registry::string_bytes(text)).collect();
    if is_list {
        bytes.extend([0, 0]);
    }
    pool_copy(&bytes)
}

/// Completes a request with a block for its `Information`, or with the lack of memory.
///
/// # Safety
/// The IRP is the caller's.
pub(crate) unsafe fn complete_with(irp: *mut IRP, block: usize) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe {
        match block {
            0 => irp::complete(irp, NTSTATUS::INSUFFICIENT_RESOURCES, 0),
            block => irp::complete(irp, NTSTATUS::SUCCESS, block),
        }
    }
}

/// A context pointer back to what it was made from.
///
/// # Safety
/// `context` is the address of a live `T`.
unsafe fn from_context<'a, T>(context: *mut c_void) -> &'a T {
    // SAFETY: the caller's promise.
    unsafe { &*context.cast::<T>() }
}
