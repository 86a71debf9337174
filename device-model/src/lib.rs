//! Devices that stand in for PCI hardware, and the sockets that serve them to a virtual machine.
//!
//! A device implements [`device::Device`], or [`virtio::VirtioDevice`] and is put on PCI by [`virtio::pci::VirtioPci`]. [`pci::Function`] gives it
//! what every PCI device has, and [`serve`] puts it on a socket.

pub mod cli;
pub mod device;
pub mod dice;
pub mod fault;
pub mod memory;
pub mod pci;
pub mod process;
pub mod relay;
pub mod sandbox;
pub mod serve;
pub mod testing;
pub mod trace;
pub mod transfers;
pub mod virtio;
