//! Work items: a callback at PASSIVE_LEVEL, asked for at any IRQL up to DISPATCH_LEVEL.

use core::marker::PhantomData;

use wdf_sys::WDFWORKITEM;
use wdf_sys::wdf::WDF_WORKITEM_CONFIG;
use wdf_sys::wdf::functions::*;

use crate::device::{Device, DeviceEvents};
use crate::irql::Passive;
use crate::place::{Kept, Place, Vacancy};
use crate::{Result, context, trampoline};

/// What a work item does.
pub trait Work: 'static {
    /// The context of the device that the work is for.
    type Device: DeviceEvents;

    /// `EvtWorkItem`.
    fn run(device: Device<'_, Self::Device>, passive: Passive<'_>);
}

/// A work item. It is kept in its device's context.
#[derive(Debug)]
pub struct WorkItem<W> {
    place: Place,
    work: PhantomData<fn() -> W>,
}

impl<W: Work> WorkItem<W> {
    /// A work item that is not made yet: it does nothing until [`create`](Self::create).
    #[must_use]
    pub const fn unmade() -> Self {
        Self { place: Place::empty(), work: PhantomData }
    }

    /// Makes the work item that the context keeps `at` a field of its own.
    ///
    /// # Errors
    /// As [`Timer::create`](crate::Timer::create).
    pub fn create(device: Device<'_, W::Device>, at: impl Fn(&W::Device) -> &Self) -> Result<()> {
        let (_, vacancy) = Vacancy::find(device, at, |item| &item.place)?;
        let mut config = WDF_WORKITEM_CONFIG::new(Some(trampoline::work_item::<W>));
        config.AutomaticSerialization = wdf_sys::FALSE;
        let mut attributes = context::kept_attributes::<Kept>();
        attributes.ParentObject = device.handle().object();
        let mut handle = WDFWORKITEM::NULL;
        // SAFETY: the device is valid; both structures are copied.
        unsafe { WdfWorkItemCreate(&raw mut config, &raw mut attributes, &raw mut handle) }.ok()?;
        // SAFETY: just created with these attributes, as a child of the device.
        unsafe { vacancy.fill(handle.object(), Kept, handle.0) }
    }

    fn handle(&self) -> Option<WDFWORKITEM> {
        self.place.get().map(|handle| WDFWORKITEM(handle.as_ptr()))
    }

    /// Has the work done soon; once, however often this is called before it starts.
    pub fn enqueue(&self) {
        if let Some(item) = self.handle() {
            // SAFETY: the work item is in its place.
            unsafe { WdfWorkItemEnqueue(item) };
        }
    }

    /// Waits until work that was asked for is done. Not from the work itself.
    pub fn flush(&self, passive: Passive<'_>) {
        passive.check();
        if let Some(item) = self.handle() {
            // SAFETY: the work item is in its place; at PASSIVE_LEVEL.
            unsafe { WdfWorkItemFlush(item) };
        }
    }
}
