//! Which line or message each interrupt object gets.

use alloc::vec::Vec;

use wdf_sys::NTSTATUS;
use wdf_sys::wdf::WDF_INTERRUPT_CONFIG;
use wdf_sys::wdm::CM_PARTIAL_RESOURCE_DESCRIPTOR;
use wdf_sys::wdm::constants::*;

use crate::device::Device;
use crate::object::Ref;
use crate::resources::CmList;

/// The line or message that the PnP manager gave.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Assignment {
    pub(super) vector: u32,
    pub(super) irql: u8,
    pub(super) affinity: usize,
    pub(super) latched: bool,
    pub(super) shared: bool,
    /// Message-signalled, and as which message of the device.
    pub(super) message: Option<u32>,
    pub(super) share_disposition: u8,
}

/// Every interrupt that a translated list describes, in order: a line each, or as many messages as the raw descriptor counts.
fn assignments(raw: &CmList, translated: &CmList) -> Result<Vec<(usize, Assignment)>, NTSTATUS> {
    let mut found = Vec::new();
    let mut message = 0;
    for index in 0..translated.len() {
        let (Some(descriptor), Some(raw)) = (translated.get(index), raw.get(index).or_else(|| translated.get(index))) else {
            continue;
        };
        if descriptor.Type != CM_RESOURCE_TYPE_INTERRUPT {
            continue;
        }
        for assignment in from_descriptor(&raw, &descriptor, &mut message) {
            found.try_reserve(1).map_err(|_| NTSTATUS::INSUFFICIENT_RESOURCES)?;
            found.push((index, assignment));
        }
    }
    Ok(found)
}

/// The interrupts of one descriptor. `message` counts the device's messages on.
fn from_descriptor(
    raw: &CM_PARTIAL_RESOURCE_DESCRIPTOR,
    translated: &CM_PARTIAL_RESOURCE_DESCRIPTOR,
    message: &mut u32,
) -> impl Iterator<Item = Assignment> + use<> {
    // SAFETY: interrupt descriptors: all forms of the union are numbers.
    let (interrupt, message_count) = unsafe { (translated.u.Interrupt, raw.u.MessageInterrupt.Raw.MessageCount) };
    let is_message = translated.Flags & CM_RESOURCE_INTERRUPT_MESSAGE != 0;
    let count = if is_message { u32::from(message_count).clamp(1, 2048) } else { 1 };
    let first = *message;
    if is_message {
        *message += count;
    }
    let (vector, level, affinity) = (interrupt.Vector, interrupt.Level, interrupt.Affinity);
    let latched = translated.Flags & CM_RESOURCE_INTERRUPT_LATCHED != 0 || is_message;
    let share_disposition = translated.ShareDisposition;
    (0..count).map(move |offset| Assignment {
        vector: vector.wrapping_add(offset),
        irql: level as u8,
        affinity,
        latched,
        shared: share_disposition == CM_RESOURCE_SHARE_SHARED,
        message: is_message.then_some(first + offset),
        share_disposition,
    })
}

/// Gives each interrupt object its line or message, in the order in which the objects were created. Those left over have none.
pub(crate) fn assign_resources(device: &Ref<Device>, raw: &CmList, translated: &CmList) -> Result<(), NTSTATUS> {
    let mut given = assignments(raw, translated)?.into_iter();
    for interrupt in device.pnp.interrupts()? {
        interrupt.assignment.set(given.next().map(|(_, assignment)| assignment));
    }
    Ok(())
}

/// The assignment of an interrupt that is created in EvtDevicePrepareHardware with these descriptors.
pub(super) fn own_assignment(device: &Ref<Device>, config: &WDF_INTERRUPT_CONFIG) -> Result<Assignment, NTSTATUS> {
    let (raw, translated) = device.pnp.resources.lock().clone().ok_or(NTSTATUS::INVALID_DEVICE_STATE)?;
    let index = translated.position(config.InterruptTranslated).ok_or(NTSTATUS::INVALID_PARAMETER)?;
    let taken = device.pnp.interrupts()?;
    let is_free = |wanted: &Assignment| {
        !taken.iter().any(|other| {
            other.assignment.get().is_some_and(|other| other.vector == wanted.vector && other.message == wanted.message)
        })
    };
    let mut candidates = assignments(&raw, &translated)?.into_iter().filter(|(at, _)| *at == index).map(|(_, found)| found);
    candidates.find(is_free).ok_or(NTSTATUS::INVALID_PARAMETER)
}

/// The hardware is released: assignments end, and interrupts that EvtDevicePrepareHardware created go.
pub(crate) fn release_resources(device: &Ref<Device>) {
    let mut own = Vec::new();
    {
        let mut interrupts = device.pnp.interrupts.lock();
        while let Some(at) = interrupts.iter().position(|interrupt| interrupt.own_resource) {
            if own.try_reserve(1).is_err() {
                break;
            }
            own.push(interrupts.remove(at));
        }
        for interrupt in interrupts.iter() {
            interrupt.assignment.set(None);
        }
    }
    for interrupt in own {
        interrupt.delete();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message_descriptor(vector: u32, count: u16) -> (CM_PARTIAL_RESOURCE_DESCRIPTOR, CM_PARTIAL_RESOURCE_DESCRIPTOR) {
        let mut raw = CM_PARTIAL_RESOURCE_DESCRIPTOR::zeroed();
        raw.Type = CM_RESOURCE_TYPE_INTERRUPT;
        raw.Flags = CM_RESOURCE_INTERRUPT_MESSAGE | CM_RESOURCE_INTERRUPT_LATCHED;
        let mut translated = raw;
        raw.u.MessageInterrupt.Raw.MessageCount = count;
        translated.u.Interrupt.Vector = vector;
        translated.u.Interrupt.Level = 7;
        (raw, translated)
    }

    #[test]
    fn messages_are_numbered_through_all_descriptors_of_a_device() {
        let mut next = 0;
        let (raw, translated) = message_descriptor(0x51, 1);
        let first: Vec<_> = from_descriptor(&raw, &translated, &mut next).collect();
        let (raw, translated) = message_descriptor(0x60, 2);
        let others: Vec<_> = from_descriptor(&raw, &translated, &mut next).collect();

        assert_eq!(first.iter().map(|a| (a.vector, a.message)).collect::<Vec<_>>(), [(0x51, Some(0))]);
        assert_eq!(others.iter().map(|a| (a.vector, a.message)).collect::<Vec<_>>(), [(0x60, Some(1)), (0x61, Some(2))]);
        assert!(others.iter().all(|a| a.latched && a.irql == 7));
    }

    #[test]
    fn a_line_is_no_message_and_keeps_its_trigger() {
        let mut descriptor = CM_PARTIAL_RESOURCE_DESCRIPTOR::zeroed();
        descriptor.Type = CM_RESOURCE_TYPE_INTERRUPT;
        descriptor.ShareDisposition = CM_RESOURCE_SHARE_SHARED;
        descriptor.u.Interrupt.Vector = 0x91;
        let mut next = 0;
        let found: Vec<_> = from_descriptor(&descriptor, &descriptor, &mut next).collect();

        assert_eq!(found.len(), 1);
        assert_eq!((found[0].message, found[0].latched, found[0].shared, next), (None, false, true, 0));
    }
}
