//! Work items: a callback at PASSIVE_LEVEL, asked for at any IRQL up to DISPATCH_LEVEL.

use core::marker::PhantomData;

use wdf_sys::WDFWORKITEM;
use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::{WDF_OBJECT_ATTRIBUTES, WDF_WORKITEM_CONFIG};

use crate::device::{Device, DeviceEvents, NewDevice};
use crate::irql::Passive;
use crate::{Result, trampoline};

/// What a work item does.
pub trait Work: 'static {
    /// The context of the device that the work is for.
    type Device: DeviceEvents;

    /// `EvtWorkItem`.
    fn run(device: Device<'_, Self::Device>, passive: Passive<'_>);
}

/// A work item. It belongs to its device; keep it in the device's context.
#[derive(Debug)]
pub struct WorkItem<W> {
    handle: WDFWORKITEM,
    work: PhantomData<fn() -> W>,
}

// SAFETY: a work item's handle is good on any thread.
unsafe impl<W> Send for WorkItem<W> {}
// SAFETY: as above.
unsafe impl<W> Sync for WorkItem<W> {}

impl<W: Work> WorkItem<W> {
    /// Creates a work item.
    ///
    /// # Errors
    /// What the framework says.
    pub fn create(device: &NewDevice<W::Device>) -> Result<Self> {
        let mut config = WDF_WORKITEM_CONFIG::new(Some(trampoline::work_item::<W>));
        config.AutomaticSerialization = wdf_sys::FALSE;
        let mut attributes = WDF_OBJECT_ATTRIBUTES { ParentObject: device.handle().object(), ..WDF_OBJECT_ATTRIBUTES::new() };
        let mut handle = WDFWORKITEM::NULL;
        // SAFETY: the device is valid; both structures are copied.
        unsafe { WdfWorkItemCreate(&raw mut config, &raw mut attributes, &raw mut handle) }.ok()?;
        Ok(Self { handle, work: PhantomData })
    }

    /// Has the work done soon; once, however often this is called before it starts.
    pub fn enqueue(&self) {
        // SAFETY: the work item is valid as long as its device.
        unsafe { WdfWorkItemEnqueue(self.handle) };
    }

    /// Waits until work that was asked for is done. Not from the work itself.
    pub fn flush(&self, passive: Passive<'_>) {
        passive.check();
        // SAFETY: as above; at PASSIVE_LEVEL.
        unsafe { WdfWorkItemFlush(self.handle) };
    }
}
