//! gadget.sys: the function driver of the gadget.
//!
//! The way of a request: its queue presents one at a time (`device_control`); the request is made cancelable, put where the interrupt will
//! find it, and the operand is written to the hardware. The hardware interrupts; the DPC reads the result and completes the request.
#![no_std]
#![forbid(unsafe_code)]

mod device;

use gadget_protocol::{INTERFACE_CLASS, SYMBOLIC_LINK};
use wdf::{DeviceInit, Driver, GUID, Passive, Result, utf16};

use crate::device::Gadget;

/// The driver.
pub struct GadgetDriver;

wdf::driver_entry!(GadgetDriver);

impl Driver for GadgetDriver {
    const POOL_TAG: [u8; 4] = *b"Gdgt";

    fn device_add(init: DeviceInit<'_>, passive: Passive<'_>) -> Result<()> {
        let device = init.create(passive, |_, _| Gadget::new())?;
        Gadget::make(device, passive)?;
        device.create_interface(&GUID::new(INTERFACE_CLASS), passive)?;
        device.create_symbolic_link(utf16!(SYMBOLIC_LINK), passive)
    }
}
