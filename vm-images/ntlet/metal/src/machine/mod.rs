//! The machine itself: everything that executes privileged instructions or touches hardware.
//!
//! `boot` brings it up and leaves by calling the executive; `hal` is what the executive then calls; `traps` and `system_call`
//! are how the processor comes back. Each other module owns one piece of hardware or one kernel structure.

mod apic;
mod boot;
mod built_in;
mod context;
mod cpu;
mod debug;
mod hal;
mod interrupts;
mod io_apic;
mod kernel_memory;
mod memory;
mod panic;
mod pci;
mod pe_header;
mod processor;
mod serial;
mod shoot_down;
mod smp;
pub(crate) mod sync;
mod system_call;
mod time;
mod traps;
mod upcall;
mod user_memory;

pub use hal::Machine;
