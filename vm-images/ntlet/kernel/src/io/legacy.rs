//! What drivers of devices without Plug and Play use: attaching by name, a second round of initialisation, parts of a request, the
//! configuration that the first versions kept, and configuration space by bus and slot.
#![allow(missing_docs, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ptr::null_mut;
use core::sync::atomic::AtomicU32;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::functions::ObfDereferenceObject;
use wdf_sys::wdm::{DEVICE_OBJECT, FILE_OBJECT, IRP, UNICODE_STRING};

use super::complete::IRP_ASSOCIATED_IRP;
use super::device::IoAttachDeviceToDeviceStackSafe;
use super::irp::IoAllocateIrp;
use super::open::IoGetDeviceObjectPointer;
use crate::hal;
use crate::hal::PciAddress;

const FILE_READ_ATTRIBUTES: u32 = 0x80;

/// # Safety
/// As the documentation of IoAttachDevice demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoAttachDevice(
    SourceDevice: *mut DEVICE_OBJECT,
    TargetDevice: *mut UNICODE_STRING,
    AttachedDevice: *mut *mut DEVICE_OBJECT,
) -> NTSTATUS {
    let (mut file, mut device): (*mut FILE_OBJECT, _) = (null_mut(), null_mut());
    // SAFETY: the caller's promise; the file keeps the device while it is attached to.
    unsafe {
        let found = IoGetDeviceObjectPointer(TargetDevice, FILE_READ_ATTRIBUTES, &raw mut file, &raw mut device);
        if !found.is_success() {
            return found;
        }
        let status = IoAttachDeviceToDeviceStackSafe(SourceDevice, device, AttachedDevice);
        ObfDereferenceObject(file.cast());
        status
    }
}

/// A part of a master request. The master is completed with its last part; how many there are, its driver writes into it.
///
/// # Safety
/// As the documentation of IoMakeAssociatedIrp demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoMakeAssociatedIrp(Irp: *mut IRP, StackSize: i8) -> *mut IRP {
    // SAFETY: the caller's promise; the part is new and ours.
    unsafe {
        let part = IoAllocateIrp(StackSize, 0);
        if !part.is_null() {
            (*part).Flags |= IRP_ASSOCIATED_IRP;
            (*part).Tail.Overlay.Thread = (*Irp).Tail.Overlay.Thread;
            (*part).AssociatedIrp.MasterIrp = Irp;
        }
        part
    }
}

/// `CONFIGURATION_INFORMATION`: counts of disks and ports, which the drivers of such things keep.
#[repr(C, align(8))]
pub(crate) struct ConfigurationInformation([AtomicU32; 10]);

static CONFIGURATION: ConfigurationInformation = {
    /// Where `Version` is: the structure's size.
    const VERSION: usize = 8;
    let mut words = [const { AtomicU32::new(0) }; 10];
    words[VERSION] = AtomicU32::new(40);
    ConfigurationInformation(words)
};

#[unsafe(no_mangle)]
pub(crate) extern "win64" fn IoGetConfigurationInformation() -> *const ConfigurationInformation {
    &raw const CONFIGURATION
}

/// `PCIConfiguration` of `BUS_DATA_TYPE`.
const PCI_CONFIGURATION: i32 = 4;
const CONFIGURATION_SIZE: u32 = 0x1000;
/// What is returned for a place on a bus where nothing is; the buffer has `PCI_INVALID_VENDOR_ID` then.
const NOBODY: u32 = 2;

/// The function in a slot (`PCI_SLOT_NUMBER`), and how many bytes from an offset on there are; `None` for none, and for what is no PCI
/// configuration.
fn function_in(kind: i32, bus: u32, slot: u32, offset: u32, length: u32) -> Option<(PciAddress, u32)> {
    let (device, function) = (slot as u8 & 31, (slot >> 5) as u8 & 7);
    let address = PciAddress { bus: u8::try_from(bus).ok()?, device, function };
    let is_something = kind == PCI_CONFIGURATION && offset < CONFIGURATION_SIZE && length != 0;
    is_something.then(|| (address, length.min(CONFIGURATION_SIZE - offset)))
}

fn is_somebody(address: PciAddress) -> bool {
    let mut vendor = [0xff; 2];
    hal().pci_read(address, 0, &mut vendor) && vendor != [0xff; 2]
}

/// # Safety
/// As the documentation of HalGetBusDataByOffset demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn HalGetBusDataByOffset(
    BusDataType: i32,
    BusNumber: u32,
    SlotNumber: u32,
    Buffer: *mut u8,
    Offset: u32,
    Length: u32,
) -> u32 {
    let Some((address, length)) = function_in(BusDataType, BusNumber, SlotNumber, Offset, Length) else { return 0 };
    // SAFETY: the caller's promise: room for so many bytes.
    let buffer = unsafe { core::slice::from_raw_parts_mut(Buffer, length as usize) };
    if !is_somebody(address) {
        buffer.iter_mut().take(NOBODY as usize).for_each(|byte| *byte = 0xff);
        return NOBODY;
    }
    hal().pci_read(address, Offset as u16, buffer);
    length
}

/// # Safety
/// As the documentation of HalSetBusDataByOffset demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn HalSetBusDataByOffset(
    BusDataType: i32,
    BusNumber: u32,
    SlotNumber: u32,
    Buffer: *const u8,
    Offset: u32,
    Length: u32,
) -> u32 {
    match function_in(BusDataType, BusNumber, SlotNumber, Offset, Length) {
        Some((address, length)) if is_somebody(address) => {
            // SAFETY: the caller's promise: so many bytes.
            hal().pci_write(address, Offset as u16, unsafe { core::slice::from_raw_parts(Buffer, length as usize) });
            length
        }
        _ => 0,
    }
}

/// # Safety
/// As the documentation of HalGetBusData demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn HalGetBusData(
    BusDataType: i32,
    BusNumber: u32,
    SlotNumber: u32,
    Buffer: *mut u8,
    Length: u32,
) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { HalGetBusDataByOffset(BusDataType, BusNumber, SlotNumber, Buffer, 0, Length) }
}

/// # Safety
/// As the documentation of HalSetBusData demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn HalSetBusData(
    BusDataType: i32,
    BusNumber: u32,
    SlotNumber: u32,
    Buffer: *const u8,
    Length: u32,
) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { HalSetBusDataByOffset(BusDataType, BusNumber, SlotNumber, Buffer, 0, Length) }
}
