//! What drivers, suites and the relay hardware agree on.
//!
//! [`hardware`] is the data sheet of the relay hardware: a virtio device with three queues. [`io`] is what `relay.sys` offers
//! to programs: its device name, its interface and its I/O controls; [`probe`] what `probe.sys` does. Nothing here does anything; both sides of a contract
//! read the same constants and structures.
#![no_std]

pub mod hardware;
pub mod io;
pub mod probe;
