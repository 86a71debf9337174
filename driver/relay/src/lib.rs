//! relay.sys: the function driver of the relay hardware, a virtio device with queues for commands, events and administration.
//!
//! The way of a request: the default queue (`sort`) looks at its control code and forwards it to a queue of its own; that queue's handler
//! (`commands`, `admin`) copies it into a slot of shared memory (`memory`, `slots`), makes it cancelable, puts the slot's descriptors
//! into the virtqueue (`ring`) and rings the doorbell (`registers`). The device interrupts (`interrupts`); a DPC takes the used ring,
//! checks what the device says (`plan`) and completes the request. Readers of events wait in a manual queue (`events`). The driver can send itself an echo (`self_test`). A timer looks for what the device keeps to itself (`watchdog`). How the device
//! comes and goes is in `relay`, how requests leave when power does in `stop`.
//!
//! Limits: a payload of 1 MiB; 96 small commands (4 KiB and less), one larger, and 24 administration commands with the device at a time,
//! the rest wait in their queues; commands whose requests were cancelled keep their slots until the device returns them, and when those run out
//! (30 small ones, one larger) the next command fails with `STATUS_DEVICE_BUSY`.
//!
//! There is no `unsafe` here: see `registers` for where it would be.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod admin;
mod capabilities;
mod commands;
mod events;
mod files;
mod interrupts;
mod memory;
mod plan;
mod registers;
mod relay;
mod ring;
mod self_test;
mod slots;
mod sort;
mod stop;
mod watchdog;

use protocol::io::{INTERFACE_CLASS, SYMBOLIC_LINK};
use wdf::{Device, DeviceInit, Driver, GUID, NTSTATUS, Passive, Result, utf16};

use crate::relay::Relay;

/// The driver.
pub struct RelayDriver;

wdf::driver_entry!(RelayDriver);

/// Names of the devices, in the order in which they are tried.
const NAMES: [&[u16]; 4] =
    [utf16!(SYMBOLIC_LINK), utf16!(r"\DosDevices\Relay1"), utf16!(r"\DosDevices\Relay2"), utf16!(r"\DosDevices\Relay3")];

impl Driver for RelayDriver {
    const POOL_TAG: [u8; 4] = *b"Rlay";

    fn device_add(mut init: DeviceInit<'_>, passive: Passive<'_>) -> Result<()> {
        init.files::<files::File>();
        init.lock_user_buffers();
        init.allow_self_target();
        let device = init.create(passive, |_, _| Relay::new())?;
        Relay::make(device, passive)?;
        device.create_interface(&GUID::new(INTERFACE_CLASS), passive)?;
        name(device, passive)
    }
}

/// Gives the device the first name that is free. One device too many has its interface, and no name.
fn name(device: Device<'_, Relay>, passive: Passive<'_>) -> Result<()> {
    for name in NAMES {
        match device.create_symbolic_link(name, passive) {
            Err(NTSTATUS::OBJECT_NAME_COLLISION) => {}
            outcome => return outcome,
        }
    }
    Ok(())
}
