//! PCI functions that a test plugs in: configuration space, and the device's own doings.

use std::boxed::Box;
use std::collections::BTreeMap;

use super::machine::Machine;
use crate::hal::PciAddress;

/// A PCI function. Its registers are ordinary memory (see [`Machine::add_device_memory`]), so it does not see accesses as they happen:
/// it looks at its memory whenever it is polled.
pub trait PciFunction {
    /// Reads configuration space.
    fn read_configuration(&mut self, offset: u16, buffer: &mut [u8]);
    /// Writes configuration space.
    fn write_configuration(&mut self, offset: u16, data: &[u8]);
    /// Called whenever the processors pause: does what the device would have done meanwhile. Whether it did anything.
    fn poll(&mut self, machine: &Machine) -> bool;
}

/// 256 bytes of configuration space with a mask of what software can change.
#[derive(Clone, Debug)]
pub struct ConfigurationSpace {
    /// The bytes.
    pub bytes: [u8; 256],
    /// Bits that writes change.
    pub writable: [u8; 256],
}

impl Default for ConfigurationSpace {
    fn default() -> Self {
        Self { bytes: [0; 256], writable: [0; 256] }
    }
}

impl ConfigurationSpace {
    /// Reads; what lies beyond reads as zero.
    pub fn read(&self, offset: u16, buffer: &mut [u8]) {
        for (index, byte) in buffer.iter_mut().enumerate() {
            *byte = self.bytes.get(usize::from(offset) + index).copied().unwrap_or(0);
        }
    }

    /// Writes what is writable.
    pub fn write(&mut self, offset: u16, data: &[u8]) {
        for (index, &byte) in data.iter().enumerate() {
            let at = usize::from(offset) + index;
            if let (Some(place), Some(&mask)) = (self.bytes.get_mut(at), self.writable.get(at)) {
                *place = *place & !mask | byte & mask;
            }
        }
    }
}

/// The functions that are plugged in.
pub(super) type Functions = BTreeMap<PciAddress, Box<dyn PciFunction>>;
