//! A function's configuration space: base address registers, capabilities, MSI and MSI-X. Reads and writes through the machine;
//! believes nothing the function says about offsets and sizes.

use alloc::vec::Vec;

use crate::hal::{Hal, PciAddress};

/// Offset of the command register.
pub(crate) const COMMAND: u16 = 0x04;
pub(crate) const COMMAND_IO: u16 = 1 << 0;
pub(crate) const COMMAND_MEMORY: u16 = 1 << 1;
pub(crate) const COMMAND_MASTER: u16 = 1 << 2;
pub(crate) const COMMAND_NO_INTX: u16 = 1 << 10;

const CAPABILITY_POWER: u8 = 0x01;
const CAPABILITY_MSI: u8 = 0x05;
const CAPABILITY_EXPRESS: u8 = 0x10;
const CAPABILITY_MSIX: u8 = 0x11;

/// One function's configuration space.
#[derive(Clone, Copy)]
pub(crate) struct Configuration<'a> {
    pub(crate) hal: &'a dyn Hal,
    pub(crate) address: PciAddress,
}

/// A base address register that decodes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    /// Its number, 0 to 5.
    pub(crate) index: u8,
    /// Where it lies now; 0 when nobody has placed it.
    pub(crate) start: u64,
    /// Bytes it decodes.
    pub(crate) length: u64,
    pub(crate) kind: BarKind,
}

/// What a base address register decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BarKind {
    /// I/O ports.
    Port,
    /// Memory.
    Memory {
        /// Reads have no side effects.
        prefetchable: bool,
        /// The register is a pair.
        is_64_bit: bool,
    },
}

/// The MSI-X capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MsiX {
    /// Offset of the capability.
    pub(crate) offset: u16,
    /// Entries of the table.
    pub(crate) entries: u16,
    /// Register and offset in it where the table lies.
    pub(crate) table_bar: u8,
    /// Offset of the table.
    pub(crate) table_offset: u32,
}

/// The MSI capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Msi {
    /// Offset of the capability.
    pub(crate) offset: u16,
    /// Messages the function asks for, a power of two.
    pub(crate) messages: u16,
    /// The address has two halves.
    pub(crate) is_64_bit: bool,
}

impl core::fmt::Debug for Configuration<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Configuration").field(&self.address).finish()
    }
}

impl Configuration<'_> {
    pub(crate) fn read_8(&self, offset: u16) -> u8 {
        let mut bytes = [0xff];
        self.hal.pci_read(self.address, offset, &mut bytes);
        bytes[0]
    }

    pub(crate) fn read_16(&self, offset: u16) -> u16 {
        let mut bytes = [0xff; 2];
        self.hal.pci_read(self.address, offset, &mut bytes);
        u16::from_le_bytes(bytes)
    }

    pub(crate) fn read_32(&self, offset: u16) -> u32 {
        let mut bytes = [0xff; 4];
        self.hal.pci_read(self.address, offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    pub(crate) fn write_16(&self, offset: u16, value: u16) {
        self.hal.pci_write(self.address, offset, &value.to_le_bytes());
    }

    pub(crate) fn write_32(&self, offset: u16, value: u32) {
        self.hal.pci_write(self.address, offset, &value.to_le_bytes());
    }

    /// Sets and clears bits of the command register. The status register beside it is not touched.
    pub(crate) fn change_command(&self, set: u16, clear: u16) {
        self.write_16(COMMAND, (self.read_16(COMMAND) | set) & !clear);
    }

    /// The first 64 bytes.
    pub(crate) fn header(&self) -> Option<[u8; 64]> {
        let mut header = [0xff; 64];
        self.hal.pci_read(self.address, 0, &mut header).then_some(header)
    }

    /// Sizes every base address register. Decoding is switched off meanwhile, as the registers point anywhere.
    pub(crate) fn bars(&self, count: u8) -> Vec<Bar> {
        let command = self.read_16(COMMAND);
        self.write_16(COMMAND, command & !(COMMAND_IO | COMMAND_MEMORY));
        let mut bars = Vec::new();
        let mut index = 0;
        while index < count {
            let (bar, registers) = self.bar(index, count);
            bars.extend(bar);
            index += registers;
        }
        self.write_16(COMMAND, command);
        bars
    }

    /// One register (or pair), and how many registers it takes.
    fn bar(&self, index: u8, count: u8) -> (Option<Bar>, u8) {
        let offset = 0x10 + 4 * u16::from(index);
        let (low, low_mask) = self.size_register(offset);
        if low_mask == 0 || low_mask == u32::MAX && low == u32::MAX {
            return (None, 1);
        }
        if low & 1 != 0 {
            // The upper half of a port register may be wired to zero.
            let length = u64::from(!(low_mask & !3) as u16) + 1;
            let bar = Bar { index, start: u64::from(low & !3), length, kind: BarKind::Port };
            return ((length <= 0x1_0000 && low_mask & !3 != 0).then_some(bar), 1);
        }
        let is_64_bit = low & 6 == 4 && index + 1 < count;
        let (high, high_mask) = if is_64_bit { self.size_register(offset + 4) } else { (0, u32::MAX) };
        let start = u64::from(high) << 32 | u64::from(low & !15);
        let mask = u64::from(high_mask) << 32 | u64::from(low_mask & !15);
        let length = mask.wrapping_neg();
        let kind = BarKind::Memory { prefetchable: low & 8 != 0, is_64_bit };
        let bar = Bar { index, start, length, kind };
        // A mask with holes in it is no size.
        let is_sound = length.is_power_of_two() && start.is_multiple_of(length) && start.checked_add(length).is_some();
        (is_sound.then_some(bar), if is_64_bit { 2 } else { 1 })
    }

    /// A register's value, and what it reads after all ones were written; the value is put back.
    fn size_register(&self, offset: u16) -> (u32, u32) {
        let value = self.read_32(offset);
        self.write_32(offset, u32::MAX);
        let mask = self.read_32(offset);
        self.write_32(offset, value);
        (value, mask)
    }

    /// Writes a register back to where it was, for functions that lost it in D3 or at a reset.
    pub(crate) fn place(&self, bar: &Bar) {
        let offset = 0x10 + 4 * u16::from(bar.index);
        self.write_32(offset, bar.start as u32);
        if matches!(bar.kind, BarKind::Memory { is_64_bit: true, .. }) {
            self.write_32(offset + 4, (bar.start >> 32) as u32);
        }
    }

    /// Offset of a capability. The list may be a loop or point into the header: it is walked at most 48 steps.
    fn capability(&self, wanted: u8) -> Option<u16> {
        if self.read_16(0x06) & 0x10 == 0 {
            return None;
        }
        let mut offset = self.read_8(0x34) & !3;
        for _ in 0..48 {
            if offset < 0x40 {
                return None;
            }
            let header = self.read_16(u16::from(offset));
            if header as u8 == wanted {
                return Some(u16::from(offset));
            }
            offset = (header >> 8) as u8 & !3;
        }
        None
    }

    /// The MSI-X capability, if it makes sense: its table lies inside a memory register.
    pub(crate) fn msi_x(&self, bars: &[Bar]) -> Option<MsiX> {
        let offset = self.capability(CAPABILITY_MSIX)?;
        let entries = (self.read_16(offset + 2) & 0x7ff) + 1;
        let table = self.read_32(offset + 4);
        let (table_bar, table_offset) = ((table & 7) as u8, table & !7);
        let bar = bars.iter().find(|bar| bar.index == table_bar && matches!(bar.kind, BarKind::Memory { .. }))?;
        let end = u64::from(table_offset) + 16 * u64::from(entries);
        (end <= bar.length && bar.start != 0).then_some(MsiX { offset, entries, table_bar, table_offset })
    }

    /// The MSI capability.
    pub(crate) fn msi(&self) -> Option<Msi> {
        let offset = self.capability(CAPABILITY_MSI)?;
        let control = self.read_16(offset + 2);
        let messages = 1 << ((control >> 1) & 7).min(5);
        Some(Msi { offset, messages, is_64_bit: control & 0x80 != 0 })
    }

    /// Switches MSI-X on or off, all entries unmasked as the table says.
    pub(crate) fn enable_msi_x(&self, capability: &MsiX, enabled: bool) {
        let control = self.read_16(capability.offset + 2) & 0x3fff;
        self.write_16(capability.offset + 2, control | if enabled { 0x8000 } else { 0 });
    }

    /// Switches MSI on with one message address, or off.
    pub(crate) fn enable_msi(&self, capability: &Msi, message: Option<(u64, u16)>) {
        let offset = capability.offset;
        let control = self.read_16(offset + 2) & !0x71;
        let Some((address, data)) = message else {
            self.write_16(offset + 2, control);
            return;
        };
        self.write_32(offset + 4, address as u32);
        if capability.is_64_bit {
            self.write_32(offset + 8, (address >> 32) as u32);
            self.write_16(offset + 12, data);
        } else {
            self.write_16(offset + 8, data);
        }
        self.write_16(offset + 2, control | 1);
    }

    /// Offset of the PCI Express capability of a port with a slot whose card may come and go.
    pub(crate) fn slot(&self) -> Option<u16> {
        const HAS_SLOT: u16 = 0x0100;
        const HOT_PLUG: u32 = 0x40;
        let express = self.capability(CAPABILITY_EXPRESS)?;
        let has_slot = self.read_16(express + 2) & HAS_SLOT != 0;
        (has_slot && self.read_32(express + 0x14) & HOT_PLUG != 0).then_some(express)
    }

    /// Whether a slot says when it has carried out a command.
    pub(crate) fn slot_confirms_commands(&self, express: u16) -> bool {
        const NO_COMMAND_COMPLETED: u32 = 1 << 18;
        self.read_32(express + 0x14) & NO_COMMAND_COMPLETED == 0
    }

    /// Whether there is somebody at the other end of a port's link. A port that cannot tell is believed to have one.
    pub(crate) fn link_is_up(&self, express: u16) -> bool {
        const CAN_TELL: u32 = 1 << 20;
        const IS_ACTIVE: u16 = 1 << 13;
        self.read_32(express + 0x0c) & CAN_TELL == 0 || self.read_16(express + 0x12) & IS_ACTIVE != 0
    }

    /// Whether a register is where it was placed: a card that was changed has forgotten it.
    pub(crate) fn is_placed(&self, bar: &Bar) -> bool {
        let offset = 0x10 + 4 * u16::from(bar.index);
        let flags = if bar.kind == BarKind::Port { 3 } else { 15 };
        let is_wide = matches!(bar.kind, BarKind::Memory { is_64_bit: true, .. });
        self.read_32(offset) & !flags == bar.start as u32 && (!is_wide || self.read_32(offset + 4) == (bar.start >> 32) as u32)
    }

    /// Moves the function between D0 and D3 through its power management capability, if it has one. Whether it came from D3: it must
    /// then be left alone for ten milliseconds.
    pub(crate) fn set_power(&self, is_on: bool) -> bool {
        let Some(offset) = self.capability(CAPABILITY_POWER) else { return false };
        let control = self.read_16(offset + 4);
        let wanted = control & !3 | if is_on { 0 } else { 3 };
        if wanted != control {
            self.write_16(offset + 4, wanted);
        }
        is_on && control & 3 == 3
    }

    /// Registers that software has set and that a function loses in D3: cache line and latency, the line, and the controls of its
    /// PCI Express capability.
    pub(crate) fn settings(&self) -> Vec<(u16, u16)> {
        let express = self.capability(CAPABILITY_EXPRESS);
        let controls = express.into_iter().flat_map(|offset| [0x08, 0x10, 0x28].map(|register| offset + register));
        [0x0c, 0x3c].into_iter().chain(controls).map(|offset| (offset, self.read_16(offset))).collect()
    }

    /// Puts them back.
    pub(crate) fn restore(&self, settings: &[(u16, u16)]) {
        settings
            .iter()
            .filter(|(offset, value)| self.read_16(*offset) != *value)
            .for_each(|(offset, value)| self.write_16(*offset, *value));
    }
}
