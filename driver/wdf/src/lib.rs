//! Safe KMDF: who owns a request, and in what state it is, is its type.
//!
//! A driver implements [`Driver`] and is started by [`driver_entry!`]. In `device_add` it makes a device ([`DeviceInit::create`]) whose context is
//! a Rust value of its own, and then what belongs to the device: queues ([`QueueBuilder`]), interrupts, timers, work items, DMA memory. Each is kept in
//! a field of the context, from where it cannot be taken out, so that nobody can use it after its device. Callbacks are trait methods on the contexts:
//! [`DeviceEvents`], [`OnDeviceControl`] and its like, [`OnCancel`], [`OnCompletion`], [`InterruptEvents`]. A context is put into its object once and
//! dropped once, when the object is destroyed.
//!
//! A presented [`Request`] becomes [`Cancelable`], and a request again through [`TakenBack`]; forwarding, sending and completing take it. The driver's own
//! requests go [`Created`], [`Formatted`], sent, [`Completed`], and round again. [`rules`] lists the rules of the framework's documentation and what
//! enforces each: mostly the compiler.
//!
//! Everything that allocates can fail and says so. A panic is a bug check with file and line ([`panic::RUST_PANIC`]). All functions that the framework
//! calls are in one module, `trampoline`; nothing here asks for `unsafe` of its users.
//!
//! On other systems than Windows the crate compiles, so that it can be checked and documented; what is pure in it is tested there.
#![cfg_attr(not(test), no_std)]

pub mod bytes;
mod context;
mod device;
pub mod dma;
pub mod driver;
#[cfg(test)]
mod fake;
mod file;
mod interrupt;
mod irql;
mod lock;
pub mod log;
mod memory;
pub mod mmio;
mod object;
pub mod panic;
pub mod pci;
mod place;
pub mod pool;
mod published;
mod queue;
mod request;
pub mod resources;
pub mod rules;
mod stop;
pub mod string;
mod target;
pub mod time;
mod timer;
mod trampoline;
mod turn;
mod user_buffers;
mod work_item;

pub use bytes::{Bytes, BytesMut};
pub use context::{Context, ContextType};
pub use device::{Device, DeviceEvents, DeviceInit, NewDevice, PowerState};
pub use driver::Driver;
pub use file::{File, FileEvents, FileId, FileRef, FileWatch};
pub use interrupt::{InService, Interrupt, InterruptEvents, InterruptGuard, InterruptInfo};
pub use irql::Passive;
pub use lock::{SpinGuard, SpinLock, WaitGuard, WaitLock};
pub use memory::Memory;
pub use pool::{Fifo, PoolArray};
pub use published::{Published, Reader};
pub use queue::*;
pub use request::cancel::{Cancelable, Canceled, OnCancel, TakenBack};
pub use request::irp::Irp;
pub use request::own::{CancelHandle, Completed, Created, Formatted, OnCompletion, Unsent};
pub use request::pass::OnReturn;
pub use request::{IoControl, Refused, Request, RequestId};
pub use stop::{StopAction, Stopping};
pub use target::{RemoteTarget, SendOptions, SentIo, Target};
pub use timer::{Dispatch, Dpc, Timer};
pub use turn::Turn;
pub use wdf_sys::wdf::WDF_REQUEST_TYPE;
pub use wdf_sys::{GUID, NTSTATUS};
pub use work_item::{Work, WorkItem};

/// What nearly every call gives: a value, or the status that says why not.
pub type Result<T, E = NTSTATUS> = core::result::Result<T, E>;
