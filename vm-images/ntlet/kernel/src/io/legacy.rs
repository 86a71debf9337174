//! What drivers of devices without Plug and Play use: attaching by name, a second round of initialisation, parts of a request, the
//! configuration that the first versions kept.
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
