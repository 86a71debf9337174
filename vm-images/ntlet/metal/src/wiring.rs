//! Where a PCI function's INTx pin ends: through bridges to the root bus, and from there to a global system interrupt.
//!
//! ACPI says the latter in AML, which this kernel does not interpret. On the ICH9 chip set (q35) its own registers say the same;
//! elsewhere the interrupt-line register, which firmware fills for the legacy interrupt controller, is a usable second choice.

/// Pin of the bridge (1 to 4) that a pin of device `device` behind it is wired to.
pub const fn swizzle(device: u8, pin: u8) -> u8 {
    (pin - 1 + device) % 4 + 1
}

/// Device number of the DMI-to-PCI bridge.
const LEGACY_BRIDGE: u8 = 30;
/// First global system interrupt that the chip set's eight PCI inputs (PIRQA to PIRQH) arrive as.
const FIRST_PCI_GSI: u32 = 16;
/// Offset in the chip set's root complex registers where the routes of device 31 lie.
pub const ROUTES_OFFSET: u64 = 0x3140;
/// Bytes of route registers from there.
pub const ROUTES_SIZE: usize = 0x12;

/// The routes of the ICH9's own devices, as read from [`ROUTES_OFFSET`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ich9Routes(pub [u8; ROUTES_SIZE]);

impl Ich9Routes {
    /// Global system interrupt of pin 1 to 4 of a device on the root bus.
    pub fn line(&self, device: u8, pin: u8) -> u32 {
        let pin = pin - 1;
        // Devices 31 and 29 to 25 have a register of four nibbles each; their offsets are the data sheet's.
        let register = match device {
            31 => 0x00,
            29 => 0x04,
            28 => 0x06,
            27 => 0x08,
            26 => 0x0c,
            25 => 0x10,
            // External slots and the legacy bridge: QEMU wires them to PIRQE to PIRQH.
            LEGACY_BRIDGE => return FIRST_PCI_GSI + 4 + u32::from(pin),
            _ => return FIRST_PCI_GSI + 4 + u32::from((device + pin) % 4),
        };
        let routes = u16::from_le_bytes([self.0[register], self.0[register + 1]]);
        FIRST_PCI_GSI + u32::from(routes >> (4 * pin) & 7)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: Ich9Routes =
        Ich9Routes([0x10, 0x32, 0, 0, 0x10, 0x32, 0x15, 0x32, 0x16, 0x32, 0, 0, 0x17, 0x32, 0, 0, 0x14, 0x32]);

    #[test]
    fn pins_rotate_behind_a_bridge() {
        assert_eq!([(0, 1), (1, 1), (3, 1), (3, 4)].map(|(device, pin)| swizzle(device, pin)), [1, 2, 4, 3]);
    }

    #[test]
    fn external_slots_use_the_upper_four_inputs() {
        assert_eq!(ROUTES.line(2, 1), 22);
        assert_eq!(ROUTES.line(3, 1), 23);
        assert_eq!(ROUTES.line(4, 1), 20);
        assert_eq!(ROUTES.line(30, 3), 22);
    }

    #[test]
    fn the_chip_sets_own_devices_use_their_registers() {
        assert_eq!(ROUTES.line(31, 1), 16);
        assert_eq!(ROUTES.line(29, 4), 19);
        assert_eq!([28, 27, 26, 25].map(|device| ROUTES.line(device, 1)), [21, 22, 23, 20]);
    }
}
