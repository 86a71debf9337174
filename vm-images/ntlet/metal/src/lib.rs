//! The bootable ntlet image: boot, memory, interrupts, PCI and serial ports, behind the executive's `Hal` trait.
//!
//! The parts that are arithmetic (page tables, frames, firmware tables, descriptors, time) compile anywhere and are tested on
//! the host. `machine` touches hardware and exists for bare metal only.
#![cfg_attr(not(test), no_std)]

pub mod acpi;
pub mod boot_info;
pub mod frames;
pub mod layout;
pub mod paging;
pub mod ranges;
pub mod segments;
pub mod time_scale;
pub mod vectors;
pub mod wiring;

#[cfg(target_os = "none")]
pub mod machine;
#[cfg(all(target_os = "none", feature = "self-test"))]
pub mod self_test;
