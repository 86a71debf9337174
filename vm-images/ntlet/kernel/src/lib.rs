//! The executive of ntlet: objects, IRPs, PnP and power, threads, DPCs, pool, registry, exports.
//!
//! It knows no hardware: it reaches the machine, time and the choice of who runs next through [`hal::Hal`].
#![cfg_attr(not(test), no_std)]

extern crate alloc;
#[cfg(all(feature = "sim", not(test)))]
extern crate std;

pub mod hal;
#[macro_use]
pub mod log;
pub mod lock;

// Core: the processor, threads, memory, modules, and what ends a guest.
pub mod bitmap;
pub mod boot;
pub mod bug_check;
pub mod dispatcher;
pub mod entry;
pub mod exception;
pub mod executive_callback;
pub mod exports;
pub mod interrupt;
pub mod kd;
pub mod lists;
pub mod loader;
pub mod lookaside;
pub mod pool;
pub mod print;
pub mod processor;
pub mod processors;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod strings;
mod tables;
pub mod time;
pub mod tracing;
pub mod work;

// I/O: objects, requests, devices, programs.
mod archive;
#[allow(non_snake_case, clippy::too_many_arguments, reason = "names and arguments are the DDI documentation's")]
mod dma;
mod inf;
#[allow(non_snake_case, clippy::too_many_arguments, reason = "names and arguments are the DDI documentation's")]
mod io;
#[allow(non_snake_case, clippy::too_many_arguments, reason = "names and arguments are the DDI documentation's")]
pub mod memory;
#[allow(non_snake_case, clippy::too_many_arguments, reason = "names and arguments are the DDI documentation's")]
mod object;
#[allow(non_snake_case, clippy::too_many_arguments, reason = "names and arguments are the DDI documentation's")]
mod pnp;
#[allow(non_snake_case, clippy::too_many_arguments, reason = "names and arguments are the DDI documentation's")]
mod power;
mod process;
#[allow(non_snake_case, clippy::too_many_arguments, reason = "names and arguments are the DDI documentation's")]
mod registry;
mod security;
mod serial;
mod system;
mod system_call;
#[allow(non_snake_case, clippy::too_many_arguments, reason = "names and arguments are the DDI documentation's")]
mod wmi;

pub use boot::{hal, is_ready_for_processors, try_hal};
