//! The KMDF 1.15 and WDM ABI on x64, written by hand: what a driver needs to be called by, and to call, Windows or ntlet.
//!
//! Names are those of the DDI documentation, so that its pages can be read beside the code. [`wdm`] is the kernel, [`wdf`] the
//! framework; [`ntstatus`] the result of nearly everything; [`bind`] the first thing a framework driver does. Structures are written
//! with the offset of every field, which is asserted at compile time. There is no behaviour here beyond the `INIT` helpers.
#![cfg_attr(not(test), no_std)]

pub mod bind;
mod layout;
pub mod ntstatus;
pub mod types;
pub mod wdf;
pub mod wdm;

pub use ntstatus::NTSTATUS;
pub use types::*;
