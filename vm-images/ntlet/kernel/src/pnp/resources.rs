//! Resource lists: the descriptors a device is started with, raw and translated, and their bytes as drivers read them.

use alloc::vec::Vec;
use core::mem::offset_of;

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::{CM_PARTIAL_RESOURCE_DESCRIPTOR, CM_PARTIAL_RESOURCE_LIST, CM_RESOURCE_LIST};

/// `CmResourceTypeDevicePrivate`: notes of the bus driver to itself, which drivers pass over.
pub(crate) const CM_RESOURCE_TYPE_DEVICE_PRIVATE: u8 = 0x81;
const MEMORY_PREFETCHABLE: u16 = 0x0004;
const MEMORY_LARGE_40: u16 = 0x0200;
const MEMORY_LARGE_48: u16 = 0x0400;
const PORT_16_BIT_DECODE: u16 = 0x0010;
const PORT_POSITIVE_DECODE: u16 = 0x0020;

/// One resource of a device. On this machine bus addresses are physical addresses: raw and translated differ in interrupts only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Device memory.
    Memory { start: u64, length: u64, prefetchable: bool },
    /// I/O ports.
    Port { start: u64, length: u32 },
    /// The bus driver's note which register the resource before it is.
    Private([u32; 3]),
    /// A wired interrupt.
    Line {
        /// What the device is wired to.
        gsi: u32,
        irql: u8,
        vector: u8,
        affinity: u64,
        shared: bool,
        latched: bool,
    },
    /// Messages that arrive as consecutive vectors, one for MSI-X.
    Message { count: u16, irql: u8, vector: u8, affinity: u64 },
}

impl Resource {
    /// The descriptor that a driver sees.
    pub(crate) fn descriptor(&self, is_translated: bool) -> CM_PARTIAL_RESOURCE_DESCRIPTOR {
        let mut descriptor = CM_PARTIAL_RESOURCE_DESCRIPTOR::zeroed();
        descriptor.ShareDisposition = CM_RESOURCE_SHARE_DEVICE_EXCLUSIVE;
        match *self {
            Self::Memory { start, length, prefetchable } => memory(&mut descriptor, start, length, prefetchable),
            Self::Port { start, length } => {
                descriptor.Type = CM_RESOURCE_TYPE_PORT;
                descriptor.Flags = CM_RESOURCE_PORT_IO | PORT_16_BIT_DECODE | PORT_POSITIVE_DECODE;
                descriptor.u.Port.Start = start as i64;
                descriptor.u.Port.Length = length;
            }
            Self::Private(data) => {
                descriptor.Type = CM_RESOURCE_TYPE_DEVICE_PRIVATE;
                descriptor.u.DevicePrivate.Data = data;
            }
            Self::Line { gsi, irql, vector, affinity, shared, latched } => {
                descriptor.Type = CM_RESOURCE_TYPE_INTERRUPT;
                descriptor.Flags = if latched { CM_RESOURCE_INTERRUPT_LATCHED } else { CM_RESOURCE_INTERRUPT_LEVEL_SENSITIVE };
                if shared {
                    descriptor.ShareDisposition = CM_RESOURCE_SHARE_SHARED;
                }
                let (level, vector) = if is_translated { (u32::from(irql), u32::from(vector)) } else { (gsi, gsi) };
                descriptor.u.Interrupt.Level = level;
                descriptor.u.Interrupt.Vector = vector;
                descriptor.u.Interrupt.Affinity = affinity as usize;
            }
            Self::Message { count, irql, vector, affinity } => {
                descriptor.Type = CM_RESOURCE_TYPE_INTERRUPT;
                descriptor.Flags = CM_RESOURCE_INTERRUPT_LATCHED | CM_RESOURCE_INTERRUPT_MESSAGE;
                if is_translated {
                    descriptor.u.Interrupt.Level = u32::from(irql);
                    descriptor.u.Interrupt.Vector = u32::from(vector);
                    descriptor.u.Interrupt.Affinity = affinity as usize;
                } else {
                    descriptor.u.MessageInterrupt.Raw.MessageCount = count;
                    descriptor.u.MessageInterrupt.Raw.Vector = u32::from(vector);
                    descriptor.u.MessageInterrupt.Raw.Affinity = affinity as usize;
                }
            }
        }
        descriptor
    }
}

/// A range whose length does not fit 32 bits is a large one, in units of 256 bytes or 64 KiB.
fn memory(descriptor: &mut CM_PARTIAL_RESOURCE_DESCRIPTOR, start: u64, length: u64, prefetchable: bool) {
    let flags = CM_RESOURCE_MEMORY_READ_WRITE | if prefetchable { MEMORY_PREFETCHABLE } else { 0 };
    descriptor.u.Memory.Start = start as i64;
    if let Ok(length) = u32::try_from(length) {
        descriptor.Type = CM_RESOURCE_TYPE_MEMORY;
        descriptor.Flags = flags;
        descriptor.u.Memory.Length = length;
    } else if let Ok(length) = u32::try_from(length >> 8) {
        descriptor.Type = CM_RESOURCE_TYPE_MEMORY_LARGE;
        descriptor.Flags = flags | MEMORY_LARGE_40;
        descriptor.u.Memory.Length = length;
    } else {
        descriptor.Type = CM_RESOURCE_TYPE_MEMORY_LARGE;
        descriptor.Flags = flags | MEMORY_LARGE_48;
        descriptor.u.Memory.Length = u32::try_from(length >> 16).unwrap_or(u32::MAX);
    }
}

/// A `CM_RESOURCE_LIST` with one full descriptor, as bytes. Empty when there are no resources: Windows passes null then.
pub(crate) fn resource_list(resources: &[Resource], interface: i32, bus: u32, is_translated: bool) -> Vec<u8> {
    if resources.is_empty() {
        return Vec::new();
    }
    let mut bytes = Vec::new();
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(interface.to_le_bytes());
    bytes.extend(bus.to_le_bytes());
    bytes.extend(1u16.to_le_bytes());
    bytes.extend(1u16.to_le_bytes());
    bytes.extend((resources.len() as u32).to_le_bytes());
    debug_assert_eq!(
        bytes.len(),
        offset_of!(CM_RESOURCE_LIST, List) + 8 + offset_of!(CM_PARTIAL_RESOURCE_LIST, PartialDescriptors)
    );
    for resource in resources {
        let descriptor = resource.descriptor(is_translated);
        // SAFETY: a descriptor is a packed structure of integers without padding; every byte of it was set, by zeroed() at the least.
        let raw: [u8; size_of::<CM_PARTIAL_RESOURCE_DESCRIPTOR>()] = unsafe { core::mem::transmute(descriptor) };
        bytes.extend(raw);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_one_full_descriptor_with_every_resource_in_order() {
        let resources = [
            Resource::Memory { start: 0xfebf_0000, length: 0x1000, prefetchable: false },
            Resource::Message { count: 1, irql: 8, vector: 0x81, affinity: 2 },
        ];
        let bytes = resource_list(&resources, PCI_BUS, 0, true);
        assert_eq!(bytes.len(), 20 + 2 * 20);
        assert_eq!(bytes[16], 2);
        assert_eq!((bytes[20], &bytes[24..32]), (CM_RESOURCE_TYPE_MEMORY, &0xfebf_0000u64.to_le_bytes()[..]));
        assert_eq!(bytes[40], CM_RESOURCE_TYPE_INTERRUPT);
        assert_eq!(bytes[42], 3);
        assert_eq!(&bytes[44..60], [8, 0, 0, 0, 0x81, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_raw_message_descriptor_counts_its_messages() {
        let descriptor = Resource::Message { count: 4, irql: 8, vector: 0x81, affinity: 1 }.descriptor(false);
        // SAFETY: the resource is a message, so that this member of the union was written.
        let raw = unsafe { descriptor.u.MessageInterrupt.Raw };
        assert_eq!({ raw.MessageCount }, 4);
        assert_eq!({ raw.Vector }, 0x81);
    }

    #[test]
    fn a_line_is_its_global_number_raw_and_its_vector_translated() {
        let line = Resource::Line { gsi: 16, irql: 6, vector: 0x63, affinity: 3, shared: true, latched: false };
        // SAFETY: the resource is an interrupt, so that this member of the union was written.
        let (raw, translated) = unsafe { (line.descriptor(false).u.Interrupt, line.descriptor(true).u.Interrupt) };
        assert_eq!(({ raw.Level }, { raw.Vector }), (16, 16));
        assert_eq!(({ translated.Level }, { translated.Vector }), (6, 0x63));
        assert_eq!(line.descriptor(true).ShareDisposition, CM_RESOURCE_SHARE_SHARED);
    }

    #[test]
    fn a_range_of_four_gigabytes_is_a_large_one() {
        let descriptor = Resource::Memory { start: 1 << 40, length: 4 << 30, prefetchable: true }.descriptor(true);
        assert_eq!(descriptor.Type, CM_RESOURCE_TYPE_MEMORY_LARGE);
        assert_eq!(descriptor.Flags & MEMORY_LARGE_40, MEMORY_LARGE_40);
        // SAFETY: the resource is memory, so that this member of the union was written.
        assert_eq!(unsafe { descriptor.u.Memory.Length }, (4u64 << 30 >> 8) as u32);
    }

    #[test]
    fn no_resources_are_no_list() {
        assert!(resource_list(&[], PNP_BUS, 0, false).is_empty());
    }
}
