//! probe.sys: does with the framework what it is told, right or wrong. It exists to be tested against: what it does, `wdf` does not allow, so
//! that it calls the framework through `wdf-sys` alone. Its language is [`protocol::probe`].
//!
//! It is a driver without hardware: control devices, made when the driver starts, and a PnP device (`pnp`). Its state is in statics of atomics (`table`), since its
//! callbacks come in any order and what they refer to may be gone on purpose.
#![cfg_attr(not(test), no_std)]

mod callbacks;
mod device;
mod own;
mod pnp;
mod settings;
mod steps;
mod table;
mod time;

use wdf::{DeviceInit, Driver, Passive, Result};

/// The driver.
pub struct ProbeDriver;

wdf::driver_entry!(ProbeDriver);

impl Driver for ProbeDriver {
    const POOL_TAG: [u8; 4] = *b"Prob";

    fn entry(_passive: Passive<'_>) -> Result<()> {
        device::make()
    }

    fn device_add(init: DeviceInit<'_>, _passive: Passive<'_>) -> Result<()> {
        pnp::add(init)
    }

    fn unload(_passive: Passive<'_>) {
        device::unmake();
    }
}
