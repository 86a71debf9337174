//! What a Windows kernel for x64 and its debugger agree on, byte by byte: the packets of the KD serial protocol ([`packet`]), what
//! they carry ([`wire`]), register files ([`context`]), the structures in kernel memory that a debugger starts from, and the header
//! of a crash dump ([`data`]).
//!
//! Shared by ntlet, which is the target, and the harness, which is the other side. Nothing here allocates, waits or talks to hardware.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod context;
pub mod data;
pub mod packet;
pub mod wire;

pub use zerocopy;
