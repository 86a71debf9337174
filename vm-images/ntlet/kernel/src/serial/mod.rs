//! The serial driver: COM2 as `\Device\Serial1`, a WDM driver that is part of the image.
//!
//! [`port`] is the 16550 and its interrupt, [`queue`] the reads and writes that wait, [`control`] the I/O controls.

mod control;
mod port;
mod queue;

use core::ffi::c_void;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::{DEVICE_OBJECT, DRIVER_OBJECT, IRP, current_stack_location};

use crate::io::{device, driver, irp as packet};
use crate::object::{ObjectRef, name};
use port::Port;

/// Name of the service, and of the driver object.
pub(crate) const SERVICE: &str = "serial";

const DEVICE_NAME: &str = "\\Device\\Serial1";
const LINK_NAME: &str = "\\??\\COM2";

/// The driver object with its device.
pub(crate) fn create_driver() -> Result<ObjectRef, NTSTATUS> {
    let object = driver::create("Serial")?;
    let driver: *mut DRIVER_OBJECT = object.body().cast();
    // SAFETY: the driver object is new and ours; the device is until its flag is cleared.
    unsafe {
        for major in
            [IRP_MJ_CREATE, IRP_MJ_CLOSE, IRP_MJ_CLEANUP, IRP_MJ_READ, IRP_MJ_WRITE, IRP_MJ_FLUSH_BUFFERS, IRP_MJ_DEVICE_CONTROL]
        {
            (*driver).MajorFunction[usize::from(major)] = Some(dispatch);
        }
        let parameters = device::Parameters {
            extension: size_of::<*const Port>() as u32,
            name: Some(name::wide(DEVICE_NAME)),
            device_type: FILE_DEVICE_SERIAL_PORT,
            characteristics: FILE_DEVICE_SECURE_OPEN,
            is_exclusive: true,
        };
        let device = device::create(driver, parameters)?;
        *(*device).DeviceExtension.cast::<*const Port>() = port::PORT.start(device)?;
        (*device).Flags |= DO_BUFFERED_IO;
        (*device).Flags &= !DO_DEVICE_INITIALIZING;
    }
    driver::namespace().create_link(&name::wide(LINK_NAME), &name::wide(DEVICE_NAME))?;
    Ok(object)
}

/// # Safety
/// Called as a dispatch routine.
unsafe extern "win64" fn dispatch(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager sends requests to this driver's device only, whose extension was set before.
    unsafe {
        let port = &**(*device).DeviceExtension.cast::<*const Port>();
        let location = current_stack_location(irp);
        match (*location).MajorFunction {
            IRP_MJ_CREATE => {
                port.open();
                packet::complete(irp, NTSTATUS::SUCCESS, 0)
            }
            IRP_MJ_CLEANUP => {
                port.cancel_all();
                packet::complete(irp, NTSTATUS::SUCCESS, 0)
            }
            IRP_MJ_READ | IRP_MJ_WRITE => port.queue(irp, (*location).MajorFunction == IRP_MJ_READ),
            IRP_MJ_DEVICE_CONTROL => control::control(port, irp, location),
            _ => packet::complete(irp, NTSTATUS::SUCCESS, 0),
        }
    }
}

/// The address of a port as a context, and back.
fn port_of<'a>(context: *mut c_void) -> &'a Port {
    // SAFETY: every context of this driver is the address of its one port, which is a static.
    unsafe { &*context.cast::<Port>() }
}
