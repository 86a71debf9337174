//! Who a PCI function says it is, and the strings that Windows makes of it.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::hal::PciAddress;

/// The identifying part of a function's configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) vendor: u16,
    pub(crate) device: u16,
    pub(crate) subsystem_vendor: u16,
    pub(crate) subsystem: u16,
    pub(crate) revision: u8,
    /// Class, subclass, programming interface.
    pub(crate) class: [u8; 3],
    /// Header type without the multi-function bit.
    pub(crate) header: u8,
    pub(crate) is_multifunction: bool,
}

impl Identity {
    /// From the first 64 bytes of configuration space. `None` where no function answers.
    pub(crate) fn read(header: &[u8; 64]) -> Option<Self> {
        let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        if matches!(word(0), 0xffff | 0) {
            return None;
        }
        let kind = header[0x0e] & 0x7f;
        // Only ordinary functions have their subsystem here; a bridge's is in a capability.
        let (subsystem_vendor, subsystem) = if kind == 0 { (word(0x2c), word(0x2e)) } else { (0, 0) };
        Some(Self {
            vendor: word(0),
            device: word(2),
            subsystem_vendor,
            subsystem,
            revision: header[8],
            class: [header[0x0b], header[0x0a], header[9]],
            header: kind,
            is_multifunction: header[0x0e] & 0x80 != 0,
        })
    }

    /// Whether it is a bridge to another PCI bus.
    pub(crate) const fn is_bridge(&self) -> bool {
        self.header == 1 && self.class[0] == 6 && self.class[1] == 4
    }

    fn base(&self) -> String {
        format!("PCI\\VEN_{:04X}&DEV_{:04X}", self.vendor, self.device)
    }

    fn class_text(&self, parts: usize) -> String {
        self.class.iter().take(parts).map(|part| format!("{part:02X}")).collect()
    }

    /// `BusQueryDeviceID`.
    pub(crate) fn device_id(&self) -> String {
        format!("{}&SUBSYS_{:04X}{:04X}&REV_{:02X}", self.base(), self.subsystem, self.subsystem_vendor, self.revision)
    }

    /// `BusQueryHardwareIDs`, the most specific first.
    pub(crate) fn hardware_ids(&self) -> Vec<String> {
        let base = self.base();
        vec![
            self.device_id(),
            format!("{base}&SUBSYS_{:04X}{:04X}", self.subsystem, self.subsystem_vendor),
            format!("{base}&CC_{}", self.class_text(3)),
            format!("{base}&CC_{}", self.class_text(2)),
        ]
    }

    /// `BusQueryCompatibleIDs`, the most specific first.
    pub(crate) fn compatible_ids(&self) -> Vec<String> {
        let base = self.base();
        let vendor = format!("PCI\\VEN_{:04X}", self.vendor);
        vec![
            format!("{base}&REV_{:02X}", self.revision),
            base,
            format!("{vendor}&CC_{}", self.class_text(3)),
            format!("{vendor}&CC_{}", self.class_text(2)),
            vendor,
            format!("PCI\\CC_{}", self.class_text(3)),
            format!("PCI\\CC_{}", self.class_text(2)),
        ]
    }

    /// What a user would call it, for `DeviceTextDescription`.
    pub(crate) const fn description(&self) -> &'static str {
        match (self.class[0], self.class[1]) {
            (1, _) => "PCI Mass Storage Controller",
            (2, _) => "PCI Network Controller",
            (3, _) => "PCI Video Controller",
            (4, _) => "PCI Multimedia Device",
            (5, _) => "PCI Memory Controller",
            (6, 0) => "PCI Host Bridge",
            (6, 1) => "PCI ISA Bridge",
            (6, 4) => "PCI-to-PCI Bridge",
            (7, 0) => "PCI Serial Port",
            (7, _) => "PCI Simple Communications Controller",
            (0xc, 3) => "PCI Universal Serial Bus Controller",
            (0xc, 5) => "PCI SMBus Controller",
            _ => "PCI Device",
        }
    }
}

/// `BusQueryInstanceID`: unique on its bus only, the PnP manager puts the parent in front of it.
pub(crate) fn instance_id(address: PciAddress) -> String {
    format!("{:02X}", (u32::from(address.device) << 3) | u32::from(address.function))
}

/// `DeviceTextLocationInformation`.
pub(crate) fn location(address: PciAddress) -> String {
    format!("PCI bus {}, device {}, function {}", address.bus, address.device, address.function)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay() -> Identity {
        let mut header = [0; 64];
        header[0..4].copy_from_slice(&[0xf4, 0x1a, 0x55, 0x10]);
        header[8..12].copy_from_slice(&[1, 0, 0x80, 7]);
        header[0x2c..0x30].copy_from_slice(&[0xf4, 0x1a, 0x00, 0x11]);
        Identity::read(&header).unwrap()
    }

    #[test]
    fn hardware_ids_come_in_the_documented_order() {
        assert_eq!(
            relay().hardware_ids(),
            [
                "PCI\\VEN_1AF4&DEV_1055&SUBSYS_11001AF4&REV_01",
                "PCI\\VEN_1AF4&DEV_1055&SUBSYS_11001AF4",
                "PCI\\VEN_1AF4&DEV_1055&CC_078000",
                "PCI\\VEN_1AF4&DEV_1055&CC_0780",
            ]
        );
    }

    #[test]
    fn compatible_ids_come_in_the_documented_order() {
        assert_eq!(
            relay().compatible_ids(),
            [
                "PCI\\VEN_1AF4&DEV_1055&REV_01",
                "PCI\\VEN_1AF4&DEV_1055",
                "PCI\\VEN_1AF4&CC_078000",
                "PCI\\VEN_1AF4&CC_0780",
                "PCI\\VEN_1AF4",
                "PCI\\CC_078000",
                "PCI\\CC_0780",
            ]
        );
    }

    #[test]
    fn an_empty_slot_is_no_function() {
        assert_eq!(Identity::read(&[0xff; 64]), None);
    }

    #[test]
    fn the_instance_id_is_the_slot_number() {
        assert_eq!(instance_id(PciAddress { bus: 0, device: 2, function: 1 }), "11");
    }
}
