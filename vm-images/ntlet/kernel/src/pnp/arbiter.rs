//! From what a device requires to what it gets: firmware has placed memory and ports, interrupts are assigned here.

use alloc::vec::Vec;

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::{IO_RESOURCE_DESCRIPTOR, IO_RESOURCE_REQUIREMENTS_LIST};

use super::resources::{CM_RESOURCE_TYPE_DEVICE_PRIVATE, Resource};
use crate::hal::LineShape;
use crate::interrupt::{self, Assigned};

/// `IO_RESOURCE_ALTERNATIVE`.
pub(crate) const ALTERNATIVE: u8 = 8;

/// One requirement, out of an `IO_RESOURCE_REQUIREMENTS_LIST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requirement {
    Memory {
        start: u64,
        length: u64,
        prefetchable: bool,
    },
    Port {
        start: u64,
        length: u32,
    },
    Private([u32; 3]),
    /// Interrupts as messages; so many in one descriptor.
    Messages(u16),
    /// A wired interrupt.
    Line {
        gsi: u32,
        shared: bool,
        latched: bool,
    },
}

/// A requirement and what may stand in for it.
type Choice = Vec<Requirement>;

/// Reads a requirements list, its first alternative list. What is not understood is left out: the device then does without.
pub(crate) fn parse(bytes: &[u8]) -> Vec<Choice> {
    const HEADER: usize = core::mem::offset_of!(IO_RESOURCE_REQUIREMENTS_LIST, List) + 8;
    let mut choices: Vec<Choice> = Vec::new();
    let Some(count) = bytes.get(HEADER - 4..HEADER).and_then(|field| field.first_chunk()) else { return choices };
    let count = u32::from_le_bytes(*count) as usize;
    for raw in bytes[HEADER..].chunks_exact(size_of::<IO_RESOURCE_DESCRIPTOR>()).take(count) {
        let Some(requirement) = requirement(raw) else { continue };
        match choices.last_mut() {
            Some(last) if raw[0] & ALTERNATIVE != 0 => last.push(requirement),
            _ => choices.push(Vec::from([requirement])),
        }
    }
    choices
}

/// One descriptor of 32 bytes.
fn requirement(raw: &[u8]) -> Option<Requirement> {
    let word =
        |at: usize| raw.get(at..at + 4).and_then(|field| field.first_chunk()).map_or(0, |&field| u32::from_le_bytes(field));
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let flags = word(4) as u16;
    match raw[1] {
        CM_RESOURCE_TYPE_MEMORY => {
            Some(Requirement::Memory { start: long(16), length: u64::from(word(8)), prefetchable: flags & 4 != 0 })
        }
        CM_RESOURCE_TYPE_MEMORY_LARGE => {
            let shift = if flags & 0x200 != 0 { 8 } else { 16 };
            Some(Requirement::Memory { start: long(16), length: u64::from(word(8)) << shift, prefetchable: flags & 4 != 0 })
        }
        CM_RESOURCE_TYPE_PORT => Some(Requirement::Port { start: long(16), length: word(8) }),
        CM_RESOURCE_TYPE_DEVICE_PRIVATE => Some(Requirement::Private([word(8), word(12), word(16)])),
        CM_RESOURCE_TYPE_INTERRUPT if flags & CM_RESOURCE_INTERRUPT_MESSAGE != 0 => {
            let count = CM_RESOURCE_INTERRUPT_MESSAGE_TOKEN.wrapping_sub(word(8)).wrapping_add(1);
            Some(Requirement::Messages(count.clamp(1, 32) as u16))
        }
        CM_RESOURCE_TYPE_INTERRUPT => Some(Requirement::Line {
            gsi: word(8),
            shared: raw[2] == CM_RESOURCE_SHARE_SHARED,
            latched: flags & CM_RESOURCE_INTERRUPT_LATCHED != 0,
        }),
        _ => None,
    }
}

/// What a device was given.
#[derive(Debug, Default)]
pub(crate) struct Assignment {
    pub(crate) resources: Vec<Resource>,
    pub(crate) interrupts: Vec<Assigned>,
}

/// Meets every requirement, or gives back what was assigned and names the one that cannot be met.
pub(crate) fn assign(choices: &[Choice], processors: u32) -> Result<Assignment, Requirement> {
    let mut assignment = Assignment::default();
    for choice in choices {
        let met = choice.iter().any(|&requirement| meet(requirement, processors, &mut assignment));
        if !met {
            release(&assignment.interrupts);
            return Err(choice[0]);
        }
    }
    Ok(assignment)
}

/// Gives interrupts back.
pub(crate) fn release(interrupts: &[Assigned]) {
    for assigned in interrupts {
        interrupt::release(assigned.vector);
    }
}

fn meet(requirement: Requirement, processors: u32, assignment: &mut Assignment) -> bool {
    let resource = match requirement {
        // A register that firmware has not placed decodes nothing.
        Requirement::Memory { start: 0, .. } | Requirement::Port { start: 0, .. } => return false,
        Requirement::Memory { start, length, prefetchable } => Resource::Memory { start, length, prefetchable },
        Requirement::Port { start, length } => Resource::Port { start, length },
        Requirement::Private(data) => Resource::Private(data),
        // The vectors of plain MSI must follow each other, which nobody here can promise for more than one.
        Requirement::Messages(count) if count > 1 => return false,
        Requirement::Messages(_) => {
            let affinity = 1 << (assignment.interrupts.len() as u32 % processors.max(1));
            let Some(assigned) = interrupt::assign_message(affinity) else { return false };
            let Assigned { vector, irql, affinity, .. } = assigned;
            assignment.interrupts.push(assigned);
            Resource::Message { count: 1, irql, vector, affinity }
        }
        Requirement::Line { gsi, shared, latched } => {
            let shape = LineShape { level: !latched, active_low: !latched };
            let Some(assigned) = interrupt::assign_line(gsi, shape) else { return false };
            let Assigned { vector, irql, affinity, .. } = assigned;
            assignment.interrupts.push(assigned);
            Resource::Line { gsi, irql, vector, affinity, shared, latched }
        }
    };
    assignment.resources.push(resource);
    true
}

/// The bytes of a requirements list, for bus drivers.
pub(crate) fn requirements_list(choices: &[Choice], interface: i32, bus: u32, slot: u32) -> Vec<u8> {
    let count: usize = choices.iter().map(Vec::len).sum();
    let mut bytes = Vec::new();
    let size = core::mem::offset_of!(IO_RESOURCE_REQUIREMENTS_LIST, List) + 8 + count * size_of::<IO_RESOURCE_DESCRIPTOR>();
    for word in [size as u32, interface as u32, bus, slot, 0, 0, 0, 1] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend([1, 0, 1, 0]);
    bytes.extend((count as u32).to_le_bytes());
    for choice in choices {
        for (index, requirement) in choice.iter().enumerate() {
            bytes.extend(descriptor(*requirement, if index == 0 { 0 } else { ALTERNATIVE }));
        }
    }
    bytes
}

fn descriptor(requirement: Requirement, option: u8) -> [u8; 32] {
    let mut raw = [0; 32];
    let (kind, share, flags): (u8, u8, u16) = match requirement {
        Requirement::Memory { length, prefetchable, .. } => {
            let prefetch = if prefetchable { 4 } else { 0 };
            match u32::try_from(length) {
                Ok(_) => (CM_RESOURCE_TYPE_MEMORY, CM_RESOURCE_SHARE_DEVICE_EXCLUSIVE, prefetch),
                Err(_) => (CM_RESOURCE_TYPE_MEMORY_LARGE, CM_RESOURCE_SHARE_DEVICE_EXCLUSIVE, prefetch | 0x200),
            }
        }
        Requirement::Port { .. } => (CM_RESOURCE_TYPE_PORT, CM_RESOURCE_SHARE_DEVICE_EXCLUSIVE, 0x31),
        Requirement::Private(_) => (CM_RESOURCE_TYPE_DEVICE_PRIVATE, CM_RESOURCE_SHARE_DEVICE_EXCLUSIVE, 0),
        Requirement::Messages(_) => (CM_RESOURCE_TYPE_INTERRUPT, CM_RESOURCE_SHARE_DEVICE_EXCLUSIVE, 3),
        Requirement::Line { shared, latched, .. } => {
            let share = if shared { CM_RESOURCE_SHARE_SHARED } else { CM_RESOURCE_SHARE_DEVICE_EXCLUSIVE };
            (CM_RESOURCE_TYPE_INTERRUPT, share, u16::from(latched))
        }
    };
    (raw[0], raw[1], raw[2]) = (option, kind, share);
    raw[4..6].copy_from_slice(&flags.to_le_bytes());
    let range = |raw: &mut [u8; 32], start: u64, length: u64, units: u32| {
        raw[8..12].copy_from_slice(&units.to_le_bytes());
        raw[12..16].copy_from_slice(&units.to_le_bytes());
        raw[16..24].copy_from_slice(&start.to_le_bytes());
        raw[24..32].copy_from_slice(&(start + length - 1).to_le_bytes());
    };
    match requirement {
        Requirement::Memory { start, length, .. } => {
            range(&mut raw, start, length, u32::try_from(length).unwrap_or((length >> 8) as u32));
        }
        Requirement::Port { start, length } => range(&mut raw, start, u64::from(length), length),
        Requirement::Private(data) => {
            data.iter().enumerate().for_each(|(at, word)| raw[8 + 4 * at..12 + 4 * at].copy_from_slice(&word.to_le_bytes()));
        }
        Requirement::Messages(count) => {
            let first = CM_RESOURCE_INTERRUPT_MESSAGE_TOKEN - u32::from(count) + 1;
            raw[8..12].copy_from_slice(&first.to_le_bytes());
            raw[12..16].copy_from_slice(&CM_RESOURCE_INTERRUPT_MESSAGE_TOKEN.to_le_bytes());
        }
        Requirement::Line { gsi, .. } => {
            raw[8..12].copy_from_slice(&gsi.to_le_bytes());
            raw[12..16].copy_from_slice(&gsi.to_le_bytes());
        }
    }
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_back_as_it_was_written() {
        let choices = vec![
            vec![Requirement::Memory { start: 0xfe00_0000, length: 0x4000, prefetchable: true }],
            vec![Requirement::Memory { start: 1 << 33, length: 8 << 30, prefetchable: false }],
            vec![Requirement::Private([1, 0, 0])],
            vec![Requirement::Messages(1), Requirement::Line { gsi: 16, shared: true, latched: false }],
        ];
        let bytes = requirements_list(&choices, PCI_BUS, 0, 16);
        assert_eq!(bytes.len(), u32::from_le_bytes(*bytes.first_chunk().unwrap()) as usize);
        assert_eq!(parse(&bytes), choices);
    }

    #[test]
    fn a_list_that_lies_about_its_length_is_read_as_far_as_it_goes() {
        let bytes = requirements_list(&[vec![Requirement::Port { start: 0x3f8, length: 8 }]], PNP_BUS, 0, 0);
        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length]).is_empty());
        }
        let mut lying = bytes;
        lying[36..40].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(parse(&lying).len(), 1);
    }
}
