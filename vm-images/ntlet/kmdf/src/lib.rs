//! The framework of ntlet: a clean-room KMDF on the WDM interface alone.
//!
//! A driver binds (`bind`), gets a table of functions, and calls them with handles. Objects, devices, PnP and power, interrupts
//! and everything around them are here; queues, requests, I/O targets and files are in the modules that `io` leads to. The kernel is
//! reached only through the declarations in `wdf_sys::wdm::functions`, as any driver reaches it.
#![cfg_attr(not(test), no_std)]

extern crate alloc;
// The WDM functions that the unit tests are linked against.
#[cfg(test)]
use kernel as _;

mod bind;
mod call;
mod collection;
mod deferral;
mod device;
mod device_init;
mod dma;
mod dpc;
mod driver;
mod file;
mod globals;
mod guarded;
mod history;
mod interrupt;
mod io;
mod library;
mod lock;
mod lock_order;
mod memory;
mod miscellany;
mod object;
mod pnp;
mod query_interface;
mod queue;
mod registry;
mod request;
mod resources;
mod string;
mod sync;
mod table;
mod target;
mod text;
mod timer;
mod verifier;
mod wmi;
mod work_item;

pub use bind::{LoaderModule, WDFLDR};
pub use guarded::Guarded;
