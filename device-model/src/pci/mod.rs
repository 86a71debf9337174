//! A PCI function: a [`Device`] with all that PCI devices have in common around it. Configuration space, BAR decoding, MSI-X, the interrupt
//! pin, bus mastering, function-level reset. Transports talk to a function, never to a device.

mod config;
mod msix;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use vm_memory::Permissions;

pub use self::config::{CONFIG_SIZE, IdentityError, POWER_CONTROL};

use self::config::{COMMAND_MEMORY, COMMAND_PORTS, ConfigSpace, STATUS, STATUS_PIN};
use self::msix::MsixTable;
use crate::device::{Bar, BarKind, Bus, Device, Identity, SharedArea};
use crate::memory::{DmaError, Memory, Unreachable};

/// What carries a function: the wires that a transport provides.
pub trait Link {
    /// All guest memory that the transport has mapped.
    fn memory(&self) -> &Arc<Memory>;

    /// Deliver an interrupt message. `address` and `data` are what the driver wrote into the vector's table entry.
    fn message(&mut self, vector: u16, address: u64, data: u32);

    /// The interrupt pin has changed its level.
    fn set_pin(&mut self, asserted: bool);

    /// Device time in nanoseconds.
    fn now(&self) -> u64;

    /// Read memory that the other end has and does not share: [`Memory::is_far`].
    fn far_read(&mut self, address: u64, into: &mut [u8]) -> Result<(), DmaError> {
        Err(Unreachable { address, length: into.len() }.into())
    }

    /// Write such memory.
    fn far_write(&mut self, address: u64, from: &[u8]) -> Result<(), DmaError> {
        Err(Unreachable { address, length: from.len() }.into())
    }

    /// The device is back in its state after power-on: what it has sent for does not concern it any more.
    fn forget_transfers(&mut self) {}

    /// Whether the other end keeps the vector table and masks vectors itself, so that the function's own mask bits mean nothing.
    fn masks_vectors(&self) -> bool;
}

/// A device on a PCI bus.
pub struct Function {
    identity: Identity,
    device: Box<dyn Device>,
    config: ConfigSpace,
    msix: MsixTable,
    pin: Pin,
    no_memory: Arc<Memory>,
}

/// The interrupt pin: what the device wants, and what is on the wire.
#[derive(Default)]
struct Pin {
    wanted: bool,
    asserted: bool,
}

impl Pin {
    fn update(&mut self, disabled: bool, link: &mut dyn Link) {
        let level = self.wanted && !disabled;
        if level != self.asserted {
            self.asserted = level;
            link.set_pin(level);
        }
    }
}

impl Function {
    /// Put a device on a bus.
    pub fn new(device: Box<dyn Device>) -> Result<Self, IdentityError> {
        let mut identity = device.identity();
        let mut vectors = 0;
        if let Some(wanted) = identity.msix {
            vectors = wanted.vectors;
            let slot = identity.bars.get_mut(wanted.bar).ok_or(IdentityError::Msix)?;
            if slot.is_some() || !(1..=2048).contains(&vectors) {
                return Err(IdentityError::Msix);
            }
            *slot = Some(Bar::memory32(msix::bar_size(vectors)));
        }
        let config = ConfigSpace::new(&identity)?;
        Ok(Self { identity, device, config, msix: MsixTable::new(vectors), pin: Pin::default(), no_memory: Memory::empty() })
    }

    /// What the device is; the MSI-X BAR is among the BARs.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Parts of BARs that live in shared memory.
    pub fn shared_areas(&self) -> Vec<SharedArea<'_>> {
        self.device.shared_areas()
    }

    /// Read configuration space.
    pub fn read_config(&mut self, offset: usize, data: &mut [u8], link: &mut dyn Link) {
        if !self.device.is_present(link.now()) {
            data.fill(0xff);
            return;
        }
        for index in 0..self.config.capabilities.len() {
            if let Some(touched) = self.touched(index, offset, data.len()) {
                let (device, body, mut bus) = self.capability(index, &mut *link);
                device.read_capability(index, touched, body, &mut bus);
            }
        }
        self.config.read(offset, data);
        // Interrupt status is the device's wish, whether or not the pin is disabled.
        if self.pin.wanted && (offset..offset.saturating_add(data.len())).contains(&STATUS) {
            data[STATUS - offset] |= STATUS_PIN as u8;
        }
        self.device.config_accessed(false, offset, data, link.now());
    }

    /// Write configuration space.
    pub fn write_config(&mut self, offset: usize, data: &[u8], link: &mut dyn Link) {
        if !self.device.is_present(link.now()) {
            return;
        }
        self.config.write(offset, data);
        self.device.config_accessed(true, offset, data, link.now());
        if self.config.take_reset_request() {
            self.reset(link);
            return;
        }
        for index in 0..self.config.capabilities.len() {
            if let Some(touched) = self.touched(index, offset, data.len()) {
                let (device, body, mut bus) = self.capability(index, &mut *link);
                device.write_capability(index, touched, body, &mut bus);
            }
        }
        self.pin.update(self.config.silences_pin(), link);
        self.msix.deliver_pending(self.config.messages_allowed(), link);
    }

    /// Read a BAR, in pieces that a processor could have asked for. All ones where nothing decodes.
    pub fn read_bar(&mut self, index: usize, offset: u64, data: &mut [u8], link: &mut dyn Link) {
        data.fill(0xff);
        if !self.decodes(index, offset, data.len()) {
            return;
        }
        for_each_piece(offset, data.len(), |at, range| {
            let piece = &mut data[range];
            if self.is_msix(index) {
                self.msix.read(at, piece);
            } else {
                let (device, mut bus) = self.bus(&mut *link);
                device.read_bar(index, at, piece, &mut bus);
            }
        });
    }

    /// Write a BAR, in pieces that a processor could have written. Dropped where nothing decodes.
    pub fn write_bar(&mut self, index: usize, offset: u64, data: &[u8], link: &mut dyn Link) {
        if !self.decodes(index, offset, data.len()) {
            return;
        }
        for_each_piece(offset, data.len(), |at, range| {
            let piece = &data[range];
            if self.is_msix(index) {
                self.msix.write(at, piece);
                self.msix.deliver_pending(self.config.messages_allowed(), link);
            } else {
                let (device, mut bus) = self.bus(&mut *link);
                device.write_bar(index, at, piece, &mut bus);
            }
        });
    }

    /// Reset everything.
    pub fn reset(&mut self, link: &mut dyn Link) {
        link.forget_transfers();
        let (device, mut bus) = self.bus(&mut *link);
        device.reset(&mut bus);
        self.config.reset();
        self.msix.reset();
        self.pin.wanted = false;
        self.pin.update(true, link);
    }

    /// Device time at which [`Function::wake`] is due.
    ///
    /// A device that the driver has put to sleep (D3hot) does nothing until it is woken.
    pub fn next_wake(&self) -> Option<u64> {
        if self.config.is_awake() { self.device.next_wake() } else { None }
    }

    /// Let the device do what is due.
    pub fn wake(&mut self, link: &mut dyn Link) {
        let (device, mut bus) = self.bus(&mut *link);
        device.wake(&mut bus);
    }

    /// The bytes of a live capability's body that an access touches.
    fn touched(&self, index: usize, offset: usize, length: usize) -> Option<Range<usize>> {
        let body = &self.config.capabilities[index];
        let touched = offset.max(body.start)..offset.saturating_add(length).min(body.end);
        let live = self.identity.capabilities[index].live && !touched.is_empty();
        live.then(|| touched.start - body.start..touched.end - body.start)
    }

    fn is_msix(&self, index: usize) -> bool {
        self.identity.msix.is_some_and(|msix| msix.bar == index)
    }

    fn decodes(&self, index: usize, offset: u64, length: usize) -> bool {
        let Some(Some(bar)) = self.identity.bars.get(index) else { return false };
        let enable = if bar.kind == BarKind::Ports { COMMAND_PORTS } else { COMMAND_MEMORY };
        let inside = offset.checked_add(length as u64).is_some_and(|end| end <= bar.size);
        inside && self.config.is_awake() && self.config.command() & enable != 0
    }

    fn bus<'a>(&'a mut self, link: &'a mut dyn Link) -> (&'a mut dyn Device, FunctionBus<'a>) {
        let gate = Gate::of(&self.config);
        let bus = FunctionBus { link, msix: &mut self.msix, pin: &mut self.pin, gate, no_memory: &self.no_memory };
        (&mut *self.device, bus)
    }

    fn capability<'a>(&'a mut self, index: usize, link: &'a mut dyn Link) -> (&'a mut dyn Device, &'a mut [u8], FunctionBus<'a>) {
        let gate = Gate::of(&self.config);
        let bus = FunctionBus { link, msix: &mut self.msix, pin: &mut self.pin, gate, no_memory: &self.no_memory };
        (&mut *self.device, self.config.body_mut(index), bus)
    }
}

/// Cut an access into naturally aligned pieces of 8, 4, 2 or 1 bytes.
fn for_each_piece(offset: u64, length: usize, mut piece: impl FnMut(u64, Range<usize>)) {
    let mut done = 0;
    while done < length {
        let at = offset + done as u64;
        let mut size = 8;
        while size > length - done || !at.is_multiple_of(size as u64) {
            size /= 2;
        }
        piece(at, done..done + size);
        done += size;
    }
}

/// What the command register and MSI-X control let a device do.
#[derive(Clone, Copy)]
struct Gate {
    bus_master: bool,
    messages_enabled: bool,
    messages_allowed: bool,
    pin_disabled: bool,
}

impl Gate {
    fn of(config: &ConfigSpace) -> Self {
        Self {
            bus_master: config.masters_bus(),
            messages_enabled: config.msix_enabled(),
            messages_allowed: config.messages_allowed(),
            pin_disabled: config.silences_pin(),
        }
    }
}

/// The bus of a device for one call.
struct FunctionBus<'a> {
    link: &'a mut dyn Link,
    msix: &'a mut MsixTable,
    pin: &'a mut Pin,
    gate: Gate,
    no_memory: &'a Arc<Memory>,
}

impl Bus for FunctionBus<'_> {
    fn memory(&self) -> &Arc<Memory> {
        if self.gate.bus_master { self.link.memory() } else { self.no_memory }
    }

    fn interrupt(&mut self, vector: u16) {
        self.msix.raise(vector, self.gate.messages_allowed, self.link);
    }

    fn set_pin(&mut self, asserted: bool) {
        self.pin.wanted = asserted;
        self.pin.update(self.gate.pin_disabled, self.link);
    }

    fn messages_enabled(&self) -> bool {
        self.gate.messages_enabled
    }

    fn now(&self) -> u64 {
        self.link.now()
    }

    fn dma_read(&mut self, address: u64, into: &mut [u8]) -> Result<(), DmaError> {
        if self.memory().is_far(address, into.len(), Permissions::Read) {
            return self.link.far_read(address, into);
        }
        Ok(self.memory().read_at(address, into)?)
    }

    fn dma_write(&mut self, address: u64, from: &[u8]) -> Result<(), DmaError> {
        if self.memory().is_far(address, from.len(), Permissions::Write) {
            return self.link.far_write(address, from);
        }
        Ok(self.memory().write_at(address, from)?)
    }

    fn forget_transfers(&mut self) {
        self.link.forget_transfers();
    }
}
