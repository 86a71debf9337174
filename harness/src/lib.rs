//! rig: boots a guest, installs the driver, runs the suites, brings back results.
//!
//! The rooms, from the outside in:
//!
//! - [`commands`]: what a user can ask for; each command is a short story told with the rooms below.
//! - [`setup`]: what a run needs and where it comes from. [`build`]: drivers, suite and guest image.
//! - [`run`]: one run: which tests, in which boots, with which outcomes. [`report`]: what a run leaves behind.
//! - [`qemu`], [`device`]: the two processes of a boot; [`slot`]: where the one sits in the other. [`run::boot`]: both of them and the guest, watched together.
//! - [`symbols`], [`bugcheck`]: what an address and a bug check code mean. [`memory`], [`dump`]: the guest's memory, and crash dumps.
//! - [`mod@kd`]: a kernel debugger, and [`kd::host`], the one that looks on in runs. [`stack`]: return addresses by search.
//! - [`child`], [`guard`], [`tool`], [`interrupt`]: processes that never outlive the harness.
//! - [`error`], [`console`], [`files`], [`places`], [`pvh`]: small things that everybody uses.

pub mod bugcheck;
pub mod build;
pub mod capped;
pub mod child;
pub mod commands;
pub mod console;
pub mod device;
pub mod dump;
pub mod error;
pub mod files;
pub mod guard;
pub mod interrupt;
pub mod kd;
pub mod memory;
pub mod modules;
pub mod places;
pub mod project;
pub mod pvh;
pub mod qemu;
pub mod qmp;
pub mod report;
pub mod run;
pub mod setup;
pub mod slot;
pub mod stack;
pub mod symbols;
pub mod tool;
pub mod windows;
