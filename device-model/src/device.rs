//! What a PCI device is, to everything that serves, records or disturbs one; and what a device can do to the machine it sits in.
//!
//! A device is plain state. It knows neither transports nor configuration space: see `pci` for what every PCI function has in common.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::memory::{DmaError, Memory};

/// Number of base address registers of a PCI function.
pub const BAR_COUNT: usize = 6;

/// A PCI device. Each method runs to its end at once; what takes time is kept and done in [`Device::wake`].
pub trait Device: Send {
    /// What the device is. Asked once, when it is put on a bus.
    fn identity(&self) -> Identity;

    /// Whether there is a device at all, at this device time. One that is gone reads as all ones, configuration space included.
    fn is_present(&self, _now: u64) -> bool {
        true
    }

    /// Read a register. `data` is 1, 2, 4 or 8 bytes, naturally aligned, inside the BAR.
    fn read_bar(&mut self, bar: usize, offset: u64, data: &mut [u8], bus: &mut dyn Bus);

    /// Write a register, with the same promises.
    fn write_bar(&mut self, bar: usize, offset: u64, data: &[u8], bus: &mut dyn Bus);

    /// Go back to the state after power-on: nothing in flight, no interrupt asserted.
    fn reset(&mut self, bus: &mut dyn Bus);

    /// Device time at which [`Device::wake`] is due; a time that has passed means at once, or, while bytes are on their way that a call of
    /// [`Bus::dma_read`] or [`Bus::dma_write`] has asked for, when they are through.
    fn next_wake(&self) -> Option<u64> {
        None
    }

    /// Do what is due, for a bounded time; what remains is due again.
    fn wake(&mut self, _bus: &mut dyn Bus) {}

    /// The driver reads bytes `touched` of the body of a capability that the identity calls live: bring them up to date.
    fn read_capability(&mut self, _index: usize, _touched: Range<usize>, _body: &mut [u8], _bus: &mut dyn Bus) {}

    /// The driver has written bytes `touched` of the body of a live capability.
    fn write_capability(&mut self, _index: usize, _touched: Range<usize>, _body: &mut [u8], _bus: &mut dyn Bus) {}

    /// Configuration space has been read or written, as `data` says. For whoever records it: the PCI function has done what there is to do.
    fn config_accessed(&mut self, _write: bool, _offset: usize, _data: &[u8], _now: u64) {}

    /// Parts of BARs that the guest may read straight from shared memory, without asking the device.
    fn shared_areas(&self) -> Vec<SharedArea<'_>> {
        Vec::new()
    }
}

/// What a device can do to its machine, for the time of one call.
pub trait Bus {
    /// The guest memory that the device can reach now: none unless the driver has enabled bus mastering. What the machine does not share is
    /// reached by [`Bus::dma_read`] and [`Bus::dma_write`] only.
    fn memory(&self) -> &Arc<Memory>;

    /// Send the interrupt message of an MSI-X vector.
    fn interrupt(&mut self, vector: u16);

    /// Assert or release the interrupt pin. Stays as it is until the next call.
    fn set_pin(&mut self, asserted: bool);

    /// Interrupt the driver in the way it has chosen: by the message of `vector`, or by the pin, until [`Bus::release`].
    fn raise(&mut self, vector: u16) {
        if self.messages_enabled() { self.interrupt(vector) } else { self.set_pin(true) }
    }

    /// The driver has seen to the interrupt: release the pin, if that was the way.
    fn release(&mut self) {
        self.set_pin(false);
    }

    /// Whether the driver has enabled MSI-X; if not, the pin is the way to interrupt.
    fn messages_enabled(&self) -> bool;

    /// Device time in nanoseconds. Never goes backwards.
    fn now(&self) -> u64;

    /// Read guest memory. At once where the machine shares it; otherwise see [`DmaError::Pending`].
    fn dma_read(&mut self, address: u64, into: &mut [u8]) -> Result<(), DmaError> {
        Ok(self.memory().read_at(address, into)?)
    }

    /// Write guest memory. At once where the machine shares it; otherwise see [`DmaError::Pending`]. What is on its way arrives even if the
    /// device does not call again, and interrupts that it raises meanwhile come behind it.
    fn dma_write(&mut self, address: u64, from: &[u8]) -> Result<(), DmaError> {
        Ok(self.memory().write_at(address, from)?)
    }

    /// Give up what is on its way: the driver has reset a part of the device that the PCI function knows nothing of.
    fn forget_transfers(&mut self) {}
}

/// What a PCI device says of itself.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Subsystem vendor id.
    pub subsystem_vendor: u16,
    /// Subsystem id.
    pub subsystem: u16,
    /// Class, subclass and programming interface: 24 bits.
    pub class: u32,
    /// Revision.
    pub revision: u8,
    /// Base address registers. A 64-bit BAR takes the slot that follows it too, which must be `None`.
    pub bars: [Option<Bar>; BAR_COUNT],
    /// MSI-X, if the device has it. Its BAR belongs to the PCI function: the device never sees an access to it.
    pub msix: Option<Msix>,
    /// Whether the device has an interrupt pin (INTA).
    pub pin: bool,
    /// Capabilities beyond those that every function here has (power management, MSI-X, PCI Express).
    pub capabilities: Vec<Capability>,
}

/// One base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Memory or ports, and how wide the address is.
    pub kind: BarKind,
    /// Size in bytes: a power of two, at least 16 for memory and 4 for ports.
    pub size: u64,
    /// Whether reads have no side effect.
    pub prefetchable: bool,
}

impl Bar {
    /// A memory BAR with a 32-bit address.
    pub const fn memory32(size: u64) -> Self {
        Self { kind: BarKind::Memory32, size, prefetchable: false }
    }

    /// A memory BAR with a 64-bit address.
    pub const fn memory64(size: u64) -> Self {
        Self { kind: BarKind::Memory64, size, prefetchable: false }
    }

    /// A port BAR.
    pub const fn ports(size: u64) -> Self {
        Self { kind: BarKind::Ports, size, prefetchable: false }
    }
}

/// Base address registers by their numbers, for [`Identity::bars`].
pub fn bars<const N: usize>(registers: [(usize, Bar); N]) -> [Option<Bar>; BAR_COUNT] {
    let mut all = [None; BAR_COUNT];
    registers.into_iter().for_each(|(index, bar)| all[index] = Some(bar));
    all
}

/// The value that a driver writes into a register: `data` of [`Device::write_bar`], little-endian.
pub fn value(data: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..data.len()].copy_from_slice(data);
    u64::from_le_bytes(bytes)
}

/// Answer a register's value: `data` of [`Device::read_bar`] takes as many of its bytes as the driver asks for, little-endian.
pub fn answer(data: &mut [u8], value: u64) {
    let length = data.len();
    data.copy_from_slice(&value.to_le_bytes()[..length]);
}

/// Kind of a base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// Memory below 4 GiB.
    Memory32,
    /// Memory anywhere.
    Memory64,
    /// I/O ports.
    Ports,
}

/// MSI-X of a device: table at the start of its BAR, pending bits in the second half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msix {
    /// BAR that holds table and pending bits. It is made by the PCI function; its slot in [`Identity::bars`] is `None`.
    pub bar: usize,
    /// Number of vectors, 1 to 2048.
    pub vectors: u16,
}

/// A capability in configuration space.
#[derive(Clone, Debug)]
pub struct Capability {
    /// Capability id.
    pub id: u8,
    /// What follows id and next pointer.
    pub body: Vec<u8>,
    /// Bits of the body that the driver can write; missing bytes are read-only.
    pub writable: Vec<u8>,
    /// Whether the device is asked when the body is read and told when it is written.
    pub live: bool,
}

/// A part of a BAR that lives in shared memory.
pub struct SharedArea<'a> {
    /// The BAR.
    pub bar: usize,
    /// Offset in the BAR, and in the file: a page's.
    pub offset: u64,
    /// Bytes, whole pages.
    pub size: u64,
    /// File that holds it.
    pub file: BorrowedFd<'a>,
}
