//! Configuration space of a type 0 function as bytes with a mask of what the driver can write; built once from the identity.

use std::ops::Range;

use super::msix;
use crate::device::{BarKind, Identity};

/// Size of configuration space, the extended part included.
pub const CONFIG_SIZE: usize = 4096;

const COMMAND: usize = 0x04;
pub(super) const COMMAND_PORTS: u16 = 1 << 0;
pub(super) const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_BUS_MASTER: u16 = 1 << 2;
const COMMAND_NO_PIN: u16 = 1 << 10;
const COMMAND_WRITABLE: u16 = COMMAND_PORTS | COMMAND_MEMORY | COMMAND_BUS_MASTER | 1 << 6 | 1 << 8 | COMMAND_NO_PIN;

pub(super) const STATUS: usize = 0x06;
pub(super) const STATUS_PIN: u16 = 1 << 3;
const STATUS_CAPABILITIES: u16 = 1 << 4;

const BARS: usize = 0x10;
const CAPABILITIES: usize = 0x34;
const FIRST_CAPABILITY: usize = 0x40;
/// Power management control and status: that capability is the first. Its low two bits are the power state.
pub const POWER_CONTROL: usize = FIRST_CAPABILITY + 4;
/// The classic capability chain ends where the extended part begins.
const LAST_CAPABILITY: usize = 0x100;

/// Power management control and status, bits 0 and 1: the power state.
const POWER_STATE: u8 = 0b11;
const POWER_D3HOT: u8 = 3;

const CAP_POWER: u8 = 0x01;
const CAP_MSIX: u8 = 0x11;
const CAP_EXPRESS: u8 = 0x10;

/// Bit 15 of MSI-X message control: enabled.
const MSIX_ENABLE: u16 = 1 << 15;
/// Bit 14: every vector masked.
const MSIX_MASK_ALL: u16 = 1 << 14;

/// Why an identity makes no valid configuration space: a mistake of the device's author.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A BAR's size is no power of two or too small or too large for its kind.
    #[error("BAR {0}: size must be a power of two, at least 16 (memory) or 4 (ports), and fit the address width")]
    BarSize(usize),
    /// A 64-bit BAR needs the next slot as well.
    #[error("BAR {0}: a 64-bit BAR needs the slot that follows it free")]
    BarSlot(usize),
    /// MSI-X asks for a BAR that is taken or does not exist, or for no vectors, or for too many.
    #[error("MSI-X: needs a free BAR of its own, and 1 to 2048 vectors")]
    Msix,
    /// The capabilities do not fit.
    #[error("the capabilities need more than the {} bytes there are", LAST_CAPABILITY - FIRST_CAPABILITY)]
    Capabilities,
}

/// One function's configuration space.
pub(super) struct ConfigSpace {
    bytes: Box<[u8; CONFIG_SIZE]>,
    writable: Box<[u8; CONFIG_SIZE]>,
    initial: Box<[u8; CONFIG_SIZE]>,
    msix_control: Option<usize>,
    express_control: usize,
    power_control: usize,
    /// Bodies of the identity's capabilities, in its order.
    pub(super) capabilities: Vec<Range<usize>>,
}

impl ConfigSpace {
    pub(super) fn new(identity: &Identity) -> Result<Self, IdentityError> {
        let zeroes = || Box::new([0; CONFIG_SIZE]);
        let mut space = Self {
            bytes: zeroes(),
            writable: zeroes(),
            initial: zeroes(),
            msix_control: None,
            express_control: 0,
            power_control: 0,
            capabilities: Vec::new(),
        };
        space.build_header(identity);
        space.build_bars(identity)?;
        space.build_capabilities(identity)?;
        space.initial.copy_from_slice(&*space.bytes);
        Ok(space)
    }

    fn build_header(&mut self, identity: &Identity) {
        self.set16(0x00, identity.vendor);
        self.set16(0x02, identity.device);
        self.set_writable(COMMAND, &COMMAND_WRITABLE.to_le_bytes());
        self.set16(STATUS, STATUS_CAPABILITIES);
        self.bytes[0x08] = identity.revision;
        self.bytes[0x09..0x0c].copy_from_slice(&identity.class.to_le_bytes()[..3]);
        // Cache line size: kept for the driver, without effect in PCI Express.
        self.writable[0x0c] = 0xff;
        self.set16(0x2c, identity.subsystem_vendor);
        self.set16(0x2e, identity.subsystem);
        // Interrupt line: kept for the firmware. Pin: INTA or none.
        self.writable[0x3c] = 0xff;
        self.bytes[0x3d] = u8::from(identity.pin);
    }

    fn build_bars(&mut self, identity: &Identity) -> Result<(), IdentityError> {
        let mut upper_half = false;
        for (index, bar) in identity.bars.iter().enumerate() {
            let Some(bar) = bar else {
                upper_half = false;
                continue;
            };
            if std::mem::take(&mut upper_half) {
                return Err(IdentityError::BarSlot(index - 1));
            }
            let (smallest, largest, flags) = match bar.kind {
                BarKind::Memory32 => (16, 1 << 31, 0b0000),
                BarKind::Memory64 => (16, 1 << 46, 0b0100),
                BarKind::Ports => (4, 256, 0b0001),
            };
            if !bar.size.is_power_of_two() || bar.size < smallest || bar.size > largest {
                return Err(IdentityError::BarSize(index));
            }
            let at = BARS + 4 * index;
            let mask = !(bar.size - 1);
            self.bytes[at] = flags | u8::from(bar.prefetchable) << 3;
            self.set_writable(at, &(mask as u32).to_le_bytes());
            if bar.kind == BarKind::Memory64 {
                if index + 1 == identity.bars.len() {
                    return Err(IdentityError::BarSlot(index));
                }
                self.set_writable(at + 4, &((mask >> 32) as u32).to_le_bytes());
                upper_half = true;
            }
        }
        Ok(())
    }

    fn build_capabilities(&mut self, identity: &Identity) -> Result<(), IdentityError> {
        let mut chain = Chain { pointer: CAPABILITIES, next: FIRST_CAPABILITY };
        // Power management: D0 and D3hot, state kept on the way back (no soft reset).
        let at = chain.add(self, CAP_POWER, &[0x03, 0x00, 0x08, 0x00, 0, 0])?;
        self.writable[at + 4] = POWER_STATE;
        self.power_control = at + 4;
        if let Some(wanted) = identity.msix {
            let control = (wanted.vectors - 1).to_le_bytes();
            let table = wanted.bar as u32;
            let pending = (msix::bar_size(wanted.vectors) / 2) as u32 | wanted.bar as u32;
            let mut body = control.to_vec();
            body.extend(table.to_le_bytes());
            body.extend(pending.to_le_bytes());
            let at = chain.add(self, CAP_MSIX, &body)?;
            self.set_writable(at + 2, &(MSIX_ENABLE | MSIX_MASK_ALL).to_le_bytes());
            self.msix_control = Some(at + 2);
        }
        for wanted in &identity.capabilities {
            let at = chain.add(self, wanted.id, &wanted.body)?;
            let body = at + 2..at + 2 + wanted.body.len();
            for (target, mask) in self.writable[body.clone()].iter_mut().zip(&wanted.writable) {
                *target = *mask;
            }
            self.capabilities.push(body);
        }
        let at = chain.add(self, CAP_EXPRESS, &express_body())?;
        // Device control: error reporting, payload sizes, relaxed ordering and the like are kept; bit 15 starts a function-level reset.
        self.set_writable(at + 8, &0xffff_u16.to_le_bytes());
        self.express_control = at + 8;
        Ok(())
    }

    /// Read; what lies behind the end reads as zero.
    pub(super) fn read(&self, offset: usize, data: &mut [u8]) {
        data.fill(0);
        if let Some(source) = self.bytes.get(offset..) {
            let length = source.len().min(data.len());
            data[..length].copy_from_slice(&source[..length]);
        }
    }

    /// Write what can be written.
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        let power = self.bytes[self.power_control] & POWER_STATE;
        for (at, &byte) in (offset..CONFIG_SIZE).zip(data) {
            let mask = self.writable[at];
            self.bytes[at] = self.bytes[at] & !mask | byte & mask;
        }
        // There is no D1 and no D2: who asks for one of them changes nothing.
        let control = &mut self.bytes[self.power_control];
        if !matches!(*control & POWER_STATE, 0 | POWER_D3HOT) {
            *control = *control & !POWER_STATE | power;
        }
    }

    /// Whether the function is in D0: otherwise it answers in configuration space only, and sends nothing.
    pub(super) fn is_awake(&self) -> bool {
        self.bytes[self.power_control] & POWER_STATE == 0
    }

    pub(super) fn reset(&mut self) {
        // Interrupt line and cache line size survive: the firmware wrote them for whoever asks later.
        let kept = (self.bytes[0x3c], self.bytes[0x0c]);
        self.bytes.copy_from_slice(&*self.initial);
        (self.bytes[0x3c], self.bytes[0x0c]) = kept;
    }

    pub(super) fn command(&self) -> u16 {
        u16::from_le_bytes([self.bytes[COMMAND], self.bytes[COMMAND + 1]])
    }

    pub(super) fn msix_enabled(&self) -> bool {
        self.msix_word() & MSIX_ENABLE != 0
    }

    /// Whether the function may reach memory: told so, and in D0.
    pub(super) fn masters_bus(&self) -> bool {
        self.is_awake() && self.command() & COMMAND_BUS_MASTER != 0
    }

    /// Whether messages may leave the function: enabled, not masked as a whole, and mastering the bus.
    pub(super) fn messages_allowed(&self) -> bool {
        self.msix_word() & (MSIX_ENABLE | MSIX_MASK_ALL) == MSIX_ENABLE && self.masters_bus()
    }

    /// Whether the pin must stay low: the driver said so, or the function is not in D0.
    pub(super) fn silences_pin(&self) -> bool {
        !self.is_awake() || self.command() & COMMAND_NO_PIN != 0
    }

    /// Whether the driver has asked for a function-level reset since the last call.
    pub(super) fn take_reset_request(&mut self) -> bool {
        let byte = &mut self.bytes[self.express_control + 1];
        let asked = *byte & 0x80 != 0;
        *byte &= 0x7f;
        asked
    }

    pub(super) fn body_mut(&mut self, index: usize) -> &mut [u8] {
        &mut self.bytes[self.capabilities[index].clone()]
    }

    pub(super) fn set16(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn msix_word(&self) -> u16 {
        self.msix_control.map_or(0, |at| u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]))
    }

    fn set_writable(&mut self, at: usize, mask: &[u8]) {
        self.writable[at..at + mask.len()].copy_from_slice(mask);
    }
}

/// The capability chain while it is built.
struct Chain {
    /// Where the pointer to the next capability goes.
    pointer: usize,
    next: usize,
}

impl Chain {
    fn add(&mut self, space: &mut ConfigSpace, id: u8, body: &[u8]) -> Result<usize, IdentityError> {
        let at = self.next;
        let end = at + 2 + body.len();
        if end > LAST_CAPABILITY {
            return Err(IdentityError::Capabilities);
        }
        space.bytes[self.pointer] = at as u8;
        space.bytes[at] = id;
        space.bytes[at + 2..end].copy_from_slice(body);
        self.pointer = at + 1;
        self.next = end.next_multiple_of(4);
        Ok(at)
    }
}

/// PCI Express capability, version 2, of an endpoint that can reset itself; one lane at 2.5 GT/s.
fn express_body() -> [u8; 0x3a] {
    let mut body = [0; 0x3a];
    let mut set = |at: usize, value: u32| body[at - 2..at + 2].copy_from_slice(&value.to_le_bytes());
    // Device capabilities: role-based error reporting, function-level reset.
    set(0x04, 1 << 15 | 1 << 28);
    // Link capabilities and status: 2.5 GT/s, one lane.
    set(0x0c, 0x11);
    set(0x10, 0x11 << 16);
    body[0] = 0x02;
    body
}
