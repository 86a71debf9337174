//! The I/O manager over the simulated machine: stacks of small drivers, and what their requests go through.

mod completion;
mod files;

use std::string::String;
use std::vec::Vec;

use core::ptr::null_mut;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::{DEVICE_OBJECT, DRIVER_OBJECT, IRP, PDRIVER_DISPATCH};

use super::{device, driver};
use crate::lock::SpinLock;
use crate::object::name::wide;

/// What happened, in order. Each run is a process of its own, so that the journal is empty at its start.
pub(super) static JOURNAL: SpinLock<Vec<String>> = SpinLock::new(Vec::new());

/// Notes what happened.
pub(super) fn note(text: &str) {
    let text = String::from(text);
    JOURNAL.lock().push(text);
}

/// What has been noted.
pub(super) fn journal() -> Vec<String> {
    JOURNAL.lock().clone()
}

/// A driver whose every dispatch routine is this one.
pub(super) fn new_driver(name: &str, routine: PDRIVER_DISPATCH) -> *mut DRIVER_OBJECT {
    let driver: *mut DRIVER_OBJECT = driver::create(name).unwrap().into_raw().cast();
    // SAFETY: the driver object is new and ours.
    unsafe { (*driver).MajorFunction = [routine; 28] };
    driver
}

/// A device of a driver, ready for requests.
pub(super) fn new_device(driver: *mut DRIVER_OBJECT, name: Option<&str>) -> *mut DEVICE_OBJECT {
    let parameters =
        device::Parameters { name: name.map(wide), device_type: FILE_DEVICE_UNKNOWN, ..device::Parameters::default() };
    // SAFETY: the driver object is alive, the device new.
    unsafe {
        let device = device::create(driver, parameters).unwrap();
        (*device).Flags &= !DO_DEVICE_INITIALIZING;
        device
    }
}

/// Puts a device on top of another.
pub(super) fn attach(upper: *mut DEVICE_OBJECT, lower: *mut DEVICE_OBJECT) {
    // SAFETY: both are alive.
    assert!(!unsafe { device::IoAttachDeviceToDeviceStack(upper, lower) }.is_null());
}

/// Completes everything at once.
pub(super) unsafe extern "win64" fn succeed(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the request was sent here.
    unsafe { super::irp::complete(irp, NTSTATUS::SUCCESS, 7) }
}

/// The request that [`hold`] keeps.
pub(super) static HELD: SpinLock<usize> = SpinLock::new(0);

/// Marks a request pending and keeps it.
pub(super) unsafe extern "win64" fn hold(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the request was sent here.
    unsafe { wdf_sys::wdm::mark_irp_pending(irp) };
    *HELD.lock() = irp.expose_provenance();
    NTSTATUS::PENDING
}

/// What [`hold`] keeps.
pub(super) fn held() -> *mut IRP {
    let irp = *HELD.lock();
    if irp == 0 { null_mut() } else { core::ptr::with_exposed_provenance_mut(irp) }
}
