//! The functional device of a PCI bus: finds the functions on it and reports them.

use alloc::boxed::Box;
use alloc::vec::Vec;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::PoStartNextPowerIrp;
use wdf_sys::wdm::{DEVICE_OBJECT, DRIVER_OBJECT, IRP, current_stack_location, skip_current_stack_location};

use super::configuration::Configuration;
use super::function::{self, Function};
use super::identity::Identity;
use super::{Role, pool_copy};
use crate::hal::PciAddress;
use crate::io::{call, device, irp as packet};
use crate::lock::SpinLock;
use crate::object::ObjectRef;

/// A PCI bus.
#[derive(Debug)]
pub(super) struct Bus {
    number: u8,
    below: *mut DEVICE_OBJECT,
    driver: *mut DRIVER_OBJECT,
    /// Functions that are there.
    functions: SpinLock<Vec<ObjectRef>>,
}

/// `AddDevice`: for the root of the PCI hierarchy, and for a bridge to another bus.
///
/// # Safety
/// Called by the PnP manager.
pub(super) unsafe extern "win64" fn add_device(driver: *mut DRIVER_OBJECT, pdo: *mut DEVICE_OBJECT) -> NTSTATUS {
    let parameters = device::Parameters {
        extension: size_of::<*const Role>() as u32,
        device_type: FILE_DEVICE_BUS_EXTENDER,
        ..device::Parameters::default()
    };
    // SAFETY: the caller's promise; the new device is ours until it is attached.
    unsafe {
        let device = match device::create(driver, parameters) {
            Ok(device) => device,
            Err(status) => return status,
        };
        let below = device::IoAttachDeviceToDeviceStack(device, pdo);
        if below.is_null() {
            device::IoDeleteDevice(device);
            return NTSTATUS::NO_SUCH_DEVICE;
        }
        let number = if core::ptr::eq((*pdo).DriverObject, driver)
            && let Role::Function(bridge) = super::role(pdo)
        {
            bridge.secondary_bus()
        } else {
            0
        };
        let bus = Bus { number, below, driver, functions: SpinLock::new(Vec::new()) };
        *(*device).DeviceExtension.cast::<*const Role>() = Box::into_raw(Box::new(Role::Bus(bus)));
        (*device).Flags |= DO_POWER_PAGABLE;
        (*device).Flags &= !DO_DEVICE_INITIALIZING;
    }
    NTSTATUS::SUCCESS
}

impl Bus {
    /// Passes a request down as it is.
    ///
    /// # Safety
    /// The IRP is ours.
    pub(super) unsafe fn pass_down(&self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the caller's promise.
        unsafe {
            skip_current_stack_location(irp);
            call::IofCallDriver(self.below, irp)
        }
    }

    /// # Safety
    /// The IRP is ours.
    pub(super) unsafe fn power(&self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the caller's promise.
        unsafe {
            PoStartNextPowerIrp(irp);
            self.pass_down(irp)
        }
    }

    /// # Safety
    /// The IRP is ours, `device` the device object of this bus.
    pub(super) unsafe fn pnp(&self, device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the caller's promise.
        unsafe {
            let location = current_stack_location(irp);
            match (*location).MinorFunction {
                IRP_MN_QUERY_DEVICE_RELATIONS if (*location).Parameters.QueryDeviceRelations.Type == BUS_RELATIONS => {
                    let block = self.relations();
                    if block == 0 {
                        return packet::complete(irp, NTSTATUS::INSUFFICIENT_RESOURCES, 0);
                    }
                    packet::set_status(irp, NTSTATUS::SUCCESS, block);
                }
                IRP_MN_REMOVE_DEVICE => {
                    packet::set_status(irp, NTSTATUS::SUCCESS, 0);
                    let status = self.pass_down(irp);
                    device::IoDetachDevice(self.below);
                    device::IoDeleteDevice(device);
                    return status;
                }
                IRP_MN_START_DEVICE
                | IRP_MN_QUERY_REMOVE_DEVICE
                | IRP_MN_CANCEL_REMOVE_DEVICE
                | IRP_MN_SURPRISE_REMOVAL
                | IRP_MN_QUERY_STOP_DEVICE
                | IRP_MN_STOP_DEVICE
                | IRP_MN_CANCEL_STOP_DEVICE => {
                    packet::set_status(irp, NTSTATUS::SUCCESS, 0);
                }
                _ => {}
            }
            self.pass_down(irp)
        }
    }

    /// Looks at every slot, and makes a block that lists the functions with a reference to each.
    fn relations(&self) -> usize {
        let mut known = core::mem::take(&mut *self.functions.lock());
        let mut present = Vec::new();
        for address in self.addresses() {
            let configuration = Configuration { hal: crate::hal(), address };
            let Some(identity) = configuration.header().and_then(|header| Identity::read(&header)) else { continue };
            let old = known.iter().position(|object| function::is_still(object, address, &identity));
            match old {
                Some(at) => present.push(known.swap_remove(at)),
                // SAFETY: the driver object outlives its devices.
                None => present.extend(unsafe { Function::create(self.driver, configuration, identity) }),
            }
        }
        known.iter().for_each(function::set_absent);
        let mut bytes = Vec::from((present.len() as u64).to_le_bytes());
        bytes.extend(present.iter().flat_map(|object| (object.body().addr() as u64).to_le_bytes()));
        let block = pool_copy(&bytes);
        if block != 0 {
            present.iter().for_each(|object| core::mem::forget(object.clone()));
        }
        *self.functions.lock() = present;
        block
    }

    /// Every address on this bus where a function may be.
    fn addresses(&self) -> Vec<PciAddress> {
        let mut addresses = Vec::new();
        for device in 0..32 {
            let first = PciAddress { bus: self.number, device, function: 0 };
            let configuration = Configuration { hal: crate::hal(), address: first };
            let Some(identity) = configuration.header().and_then(|header| Identity::read(&header)) else { continue };
            let count = if identity.is_multifunction { 8 } else { 1 };
            addresses.extend((0..count).map(|function| PciAddress { function, ..first }));
        }
        addresses
    }
}

// SAFETY: the device below is referenced by the attachment, the driver object by the devices; the list is behind a lock.
unsafe impl Send for Bus {}
// SAFETY: as above.
unsafe impl Sync for Bus {}
