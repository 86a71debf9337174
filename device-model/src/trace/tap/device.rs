//! What a tap learns of the device from the messages that pass: its identity, for the trace's header.

use vfio_bindings::bindings::vfio::{VFIO_PCI_BAR5_REGION_INDEX, VFIO_PCI_MSIX_IRQ_INDEX};

use super::super::{BarShape, CapabilityShape, Decoding, Header, Level};
use crate::pci::CONFIG_SIZE;

/// Capabilities that every function here has, or that its interrupts make.
const OUR_OWN: [u8; 4] = [POWER, 0x05, 0x10, MSIX];
const POWER: u8 = 0x01;
const MSIX: u8 = 0x11;
/// Most capabilities that a list can have: it lies in 192 bytes.
const MOST_CAPABILITIES: usize = 48;

/// What is known of the device so far.
pub(super) struct Known {
    config: [u8; CONFIG_SIZE],
    regions: [u64; 6],
    vectors: u16,
}

impl Known {
    pub(super) fn new() -> Self {
        Self { config: [0; CONFIG_SIZE], regions: [0; 6], vectors: 0 }
    }

    pub(super) fn config_was_read(&mut self, offset: u64, data: &[u8]) {
        let at = usize::try_from(offset).unwrap_or(CONFIG_SIZE).min(CONFIG_SIZE);
        if let Some(room) = self.config.get_mut(at..at + data.len()) {
            room.copy_from_slice(data);
        }
    }

    pub(super) fn region_was_told(&mut self, index: u32, size: u64) {
        if index <= VFIO_PCI_BAR5_REGION_INDEX {
            self.regions[index as usize] = size;
        }
    }

    pub(super) fn interrupts_were_told(&mut self, index: u32, count: u32) {
        if index == VFIO_PCI_MSIX_IRQ_INDEX {
            self.vectors = count.min(2048) as u16;
        }
    }

    /// The BAR that holds nothing but the vector table: its accesses are the PCI function's.
    pub(super) fn table_bar(&self) -> Option<u8> {
        let table = self.capabilities().into_iter().find(|(id, ..)| *id == MSIX)?;
        let bar = self.config[table.1 + 4] & 7;
        // A table that shares its BAR with registers leaves the registers to be recorded.
        let size = *self.regions.get(usize::from(bar))?;
        (size <= (u64::from(self.vectors) * 16).next_power_of_two().max(0x1000) * 2).then_some(bar)
    }

    /// The power state that a write of configuration space sets, if it sets one.
    pub(super) fn power_state(&self, offset: u64, data: &[u8]) -> Option<u8> {
        let (_, place, _) = self.capabilities().into_iter().find(|(id, ..)| *id == POWER)?;
        let inside = (place as u64 + 4).checked_sub(offset)?;
        data.get(usize::try_from(inside).ok()?).map(|byte| byte & 3)
    }

    /// Id, place and length of each capability.
    fn capabilities(&self) -> Vec<(u8, usize, usize)> {
        let mut places = Vec::new();
        let mut at = usize::from(self.config[0x34] & 0xfc);
        while (0x40..0x100).contains(&at) && places.len() < MOST_CAPABILITIES && !places.contains(&at) {
            places.push(at);
            at = usize::from(self.config[at + 1] & 0xfc);
        }
        let end_of = |place: usize| places.iter().copied().filter(|other| *other > place).min().unwrap_or(0x100);
        places.iter().map(|&place| (self.config[place], place, end_of(place) - place)).collect()
    }

    /// The header of a trace.
    pub(super) fn header(&self, name: &str) -> Header {
        let word = |at: usize| u16::from_le_bytes([self.config[at], self.config[at + 1]]);
        let mut header = Header {
            level: Level::Bus,
            device: name.to_owned(),
            ids: [word(0), word(2), word(0x2c), word(0x2e)],
            class: u32::from(self.config[9]) | u32::from(word(10)) << 8,
            revision: self.config[8],
            pin: self.config[0x3d] != 0,
            ..Header::default()
        };
        let table = self.table_bar();
        for bar in (0..6).filter(|bar| self.regions[*bar] > 0 && table != Some(*bar as u8)) {
            let low = self.config[0x10 + 4 * bar];
            let kind = match (low & 1, low & 6) {
                (1, _) => Decoding::Ports,
                (_, 4) => Decoding::Memory64,
                _ => Decoding::Memory32,
            };
            let size = self.regions[bar].checked_next_power_of_two().unwrap_or(1 << 40).clamp(16, 1 << 40);
            header.bars[bar] = Some(BarShape { kind, size, prefetchable: low & 9 == 8 });
        }
        if self.vectors > 0 {
            let taken = |bar: usize| {
                let upper = bar > 0 && header.bars[bar - 1].is_some_and(|below| below.kind == Decoding::Memory64);
                header.bars[bar].is_some() || upper
            };
            let place = table.map(usize::from).or_else(|| (0..6).find(|bar| !taken(*bar)));
            header.msix = place.map(|place| (place, self.vectors));
        }
        let others = self.capabilities().into_iter().filter(|(id, ..)| !OUR_OWN.contains(id));
        header.capabilities = others
            .map(|(id, place, length)| {
                // A vendor's capability says its own length.
                let length = if id == 0x09 { usize::from(self.config[place + 2]).clamp(3, length) } else { length };
                CapabilityShape { id, body: self.config[place + 2..place + length].to_vec(), writable: Vec::new() }
            })
            .collect();
        header
    }
}
