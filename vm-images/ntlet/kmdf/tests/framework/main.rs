//! The framework over the real kernel, on a simulated machine: a driver binds, gets a device, and everything documented is done to it
//! in turn. `rig` loads and starts the driver; `bus` is the device below and the PnP manager; `request` sends from above.
#![allow(clippy::macro_metavars_in_unsafe, reason = "`ddi!` is the one place where these tests make their promise as a driver")]

/// A call of the framework or the kernel, as a driver makes it.
macro_rules! ddi {
    ($($call:tt)*) => {
        // SAFETY: the handles are those that the framework gave out, or wrong ones that it must recognise; structures and buffers are
        // of the types that the functions' pages name, and live through the call, or as long as the object that they are given to.
        unsafe { $($call)* }
    };
}

mod binding;
mod bus;
mod cancelling;
mod dma;
mod files;
mod life;
mod misuse;
mod power;
mod queues;
mod request;
mod rig;
mod scarcity;
mod sending;
mod synchronization;
