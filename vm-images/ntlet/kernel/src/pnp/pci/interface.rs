//! `GUID_BUS_INTERFACE_STANDARD`: configuration space and DMA without an IRP, callable up to `DISPATCH_LEVEL`.

use core::ffi::c_void;

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::{BUS_INTERFACE_STANDARD, DEVICE_DESCRIPTION, DEVICE_OBJECT, DMA_ADAPTER, IO_STACK_LOCATION, IRP};
use wdf_sys::{BOOLEAN, NTSTATUS};

use super::function::Function;
use super::{Role, from_context};
use crate::pnp::bus_interface;

/// Answers `IRP_MN_QUERY_INTERFACE`.
///
/// # Safety
/// The IRP is ours, `device` the one it was sent to.
pub(super) unsafe fn query(
    _function: &Function,
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    location: *mut IO_STACK_LOCATION,
) -> NTSTATUS {
    let mut interface = BUS_INTERFACE_STANDARD::zeroed();
    interface.TranslateBusAddress = Some(translate);
    interface.GetDmaAdapter = Some(get_dma_adapter);
    interface.SetBusData = Some(set_bus_data);
    interface.GetBusData = Some(get_bus_data);
    // SAFETY: the caller's promise; the structure begins as every interface does.
    unsafe { bus_interface::answer(device, irp, location, &GUID_BUS_INTERFACE_STANDARD, interface) }
}

/// Bus addresses are physical addresses, ports are ports.
///
/// # Safety
/// `translated` is writable.
unsafe extern "win64" fn translate(
    _context: *mut c_void,
    bus: i64,
    _length: u32,
    _space: *mut u32,
    translated: *mut i64,
) -> BOOLEAN {
    // SAFETY: the caller's promise.
    unsafe { *translated = bus };
    1
}

/// # Safety
/// As for `IoGetDmaAdapter`.
unsafe extern "win64" fn get_dma_adapter(
    context: *mut c_void,
    description: *mut DEVICE_DESCRIPTION,
    registers: *mut u32,
) -> *mut DMA_ADAPTER {
    // SAFETY: the caller's promise.
    unsafe { crate::dma::IoGetDmaAdapter(context.cast(), description, registers) }
}

/// The part of an access that lies in configuration space.
fn clip(offset: u32, length: u32) -> Option<(u16, usize)> {
    let offset = u16::try_from(offset).ok().filter(|&offset| offset < 4096)?;
    Some((offset, (length as usize).min(4096 - usize::from(offset))))
}

/// # Safety
/// `buffer` has `length` readable bytes.
unsafe extern "win64" fn set_bus_data(context: *mut c_void, kind: u32, buffer: *mut c_void, offset: u32, length: u32) -> u32 {
    // SAFETY: the caller's promise; the context is a function's device.
    unsafe {
        let device: *mut DEVICE_OBJECT = core::ptr::from_ref(from_context::<DEVICE_OBJECT>(context)).cast_mut();
        let (Role::Function(function), Some((offset, length))) = (super::role(device), clip(offset, length)) else { return 0 };
        if kind != PCI_WHICHSPACE_CONFIG || !function.is_present() {
            return 0;
        }
        crate::hal().pci_write(function.address, offset, core::slice::from_raw_parts(buffer.cast(), length));
        length as u32
    }
}

/// # Safety
/// `buffer` has `length` writable bytes.
unsafe extern "win64" fn get_bus_data(context: *mut c_void, kind: u32, buffer: *mut c_void, offset: u32, length: u32) -> u32 {
    // SAFETY: the caller's promise; the context is a function's device.
    unsafe {
        let device: *mut DEVICE_OBJECT = core::ptr::from_ref(from_context::<DEVICE_OBJECT>(context)).cast_mut();
        let (Role::Function(function), Some((offset, length))) = (super::role(device), clip(offset, length)) else { return 0 };
        if kind != PCI_WHICHSPACE_CONFIG || !function.is_present() {
            return 0;
        }
        crate::hal().pci_read(function.address, offset, core::slice::from_raw_parts_mut(buffer.cast(), length));
        length as u32
    }
}
