//! The hardware resources that a device was given.

use wdf_sys::WDFCMRESLIST;
use wdf_sys::wdf::functions::{WdfCmResourceListGetCount, WdfCmResourceListGetDescriptor};
use wdf_sys::wdm::CM_PARTIAL_RESOURCE_DESCRIPTOR;
use wdf_sys::wdm::constants::*;

/// `CM_RESOURCE_MEMORY_LARGE_40`, `_48`, `_64`, and how far each shifts its length.
const LARGE_LENGTHS: [(u16, u32); 3] = [(0x200, 8), (0x400, 16), (0x800, 32)];

/// The resources as the bus sees them (raw) and as the processor does (translated), in the same order.
#[derive(Clone, Copy, Debug)]
pub struct Resources<'a> {
    raw: WDFCMRESLIST,
    translated: WDFCMRESLIST,
    callback: core::marker::PhantomData<&'a ()>,
}

/// One resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A range of memory space.
    Memory(Memory),
    /// A range of I/O space.
    Port {
        /// First port.
        start: u64,
        /// Number of ports.
        length: u32,
    },
    /// An interrupt.
    Interrupt {
        /// Whether it is signalled by message (MSI, MSI-X) instead of a line.
        message: bool,
    },
    /// Anything else.
    Other,
}

/// A range of memory space that belongs to the device. Only the system makes these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    start: u64,
    length: u64,
}

impl Memory {
    /// First address.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// Number of bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }
}

impl Resources<'_> {
    /// # Safety
    /// Both are valid handles while the result is used.
    pub(crate) unsafe fn new(raw: WDFCMRESLIST, translated: WDFCMRESLIST) -> Self {
        Self { raw, translated, callback: core::marker::PhantomData }
    }

    /// Each resource: raw, then translated.
    pub fn iter(&self) -> impl Iterator<Item = (Resource, Resource)> + '_ {
        // SAFETY: the lists are valid for as long as `self` (see `new`).
        let count = unsafe { WdfCmResourceListGetCount(self.raw).min(WdfCmResourceListGetCount(self.translated)) };
        (0..count).map(|index| (describe(self.raw, index), describe(self.translated, index)))
    }
}

fn describe(list: WDFCMRESLIST, index: u32) -> Resource {
    // SAFETY: the list is valid; the framework answers null beyond its end.
    let descriptor = unsafe { WdfCmResourceListGetDescriptor(list, index) };
    if descriptor.is_null() {
        return Resource::Other;
    }
    // SAFETY: a descriptor of the list, which the framework aligns to four bytes as the structure is declared.
    interpret(unsafe { &*descriptor })
}

fn interpret(descriptor: &CM_PARTIAL_RESOURCE_DESCRIPTOR) -> Resource {
    let (flags, union) = (descriptor.Flags, descriptor.u);
    match descriptor.Type {
        CM_RESOURCE_TYPE_MEMORY => {
            // SAFETY: `Type` says which member is meant; all are integers.
            let memory = unsafe { union.Memory };
            Resource::Memory(Memory { start: memory.Start.cast_unsigned(), length: memory.Length.into() })
        }
        CM_RESOURCE_TYPE_MEMORY_LARGE => {
            // SAFETY: as above; the three large forms have the same two fields.
            let memory = unsafe { union.Memory40 };
            let shift = LARGE_LENGTHS.iter().find(|(flag, _)| flags & flag != 0).map_or(0, |(_, shift)| *shift);
            Resource::Memory(Memory { start: memory.Start.cast_unsigned(), length: u64::from(memory.Length40) << shift })
        }
        CM_RESOURCE_TYPE_PORT => {
            // SAFETY: as above.
            let port = unsafe { union.Port };
            Resource::Port { start: port.Start.cast_unsigned(), length: port.Length }
        }
        CM_RESOURCE_TYPE_INTERRUPT => Resource::Interrupt { message: flags & CM_RESOURCE_INTERRUPT_MESSAGE != 0 },
        _ => Resource::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wdf_sys::wdm::*;

    #[test]
    fn a_large_range_has_its_length_shifted() {
        let mut descriptor = CM_PARTIAL_RESOURCE_DESCRIPTOR::zeroed();
        descriptor.Type = CM_RESOURCE_TYPE_MEMORY_LARGE;
        descriptor.Flags = 0x400;
        descriptor.u.Memory48 = CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Memory48 { Start: 1 << 40, Length48: 3 };
        assert_eq!(interpret(&descriptor), Resource::Memory(Memory { start: 1 << 40, length: 3 << 16 }));
    }

    #[test]
    fn an_interrupt_by_message_is_told_from_a_line() {
        let mut descriptor = CM_PARTIAL_RESOURCE_DESCRIPTOR::zeroed();
        descriptor.Type = CM_RESOURCE_TYPE_INTERRUPT;
        assert_eq!(interpret(&descriptor), Resource::Interrupt { message: false });
        descriptor.Flags = CM_RESOURCE_INTERRUPT_MESSAGE | CM_RESOURCE_INTERRUPT_LATCHED;
        assert_eq!(interpret(&descriptor), Resource::Interrupt { message: true });
    }
}
