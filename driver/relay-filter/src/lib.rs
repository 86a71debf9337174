//! relayflt.sys: an upper filter of the relay device. It drives the relay with requests of its own, which it uses again and again.
//!
//! Small buffered commands are carried: the client's request waits in a manual queue for an idle *carrier*, a driver-created request with
//! buffers of its own (`carriers`). The carrier is formatted and sent; its completion routine answers the client, reuses the carrier and
//! sends it with the next client. Events are read ahead by a few *readers*, a continuous reader made of the same kind of requests
//! (`readers`), as long as there is room for what they bring. Everything else is sent on as it is.
//!
//! A sent request is only cancelled through a handle that holds a reference; see `carriers` for how a cancel never hits the carrier's next
//! client. On power-down clients stay with their carriers, since the driver below keeps them; on removal the carriers are cancelled.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod carriers;
mod files;
mod filter;
mod readers;
mod seats;

use wdf::{DeviceInit, Driver, Passive, Result};

/// The driver.
pub struct RelayFilterDriver;

wdf::driver_entry!(RelayFilterDriver);

impl Driver for RelayFilterDriver {
    const POOL_TAG: [u8; 4] = *b"RlFl";

    fn device_add(mut init: DeviceInit<'_>, passive: Passive<'_>) -> Result<()> {
        init.filter();
        init.watch_files::<files::File>();
        let device = init.create(passive, |device, _| filter::Filter::new(device))?;
        filter::Filter::make(device, passive)
    }
}
