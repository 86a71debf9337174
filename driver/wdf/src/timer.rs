//! Timers and DPCs: callbacks at DISPATCH_LEVEL, at a time or as soon as possible.

use core::marker::PhantomData;
use core::time::Duration;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::{WDF_DPC_CONFIG, WDF_TIMER_CONFIG};
use wdf_sys::{FALSE, TRUE, WDFDPC, WDFTIMER};

use crate::device::{Device, DeviceEvents};
use crate::irql::Passive;
use crate::place::{Kept, Place, Vacancy};
use crate::{Result, context, trampoline};

/// What a timer or a DPC does.
pub trait Dispatch: 'static {
    /// The context of the device that it is for.
    type Device: DeviceEvents;

    /// `EvtTimerFunc` or `EvtDpcFunc`, at DISPATCH_LEVEL.
    fn run(device: Device<'_, Self::Device>);
}

/// A timer. It is kept in its device's context.
#[derive(Debug)]
pub struct Timer<T> {
    place: Place,
    action: PhantomData<fn() -> T>,
}

impl<T: Dispatch> Timer<T> {
    /// A timer that is not made yet: it does nothing until [`create`](Self::create).
    #[must_use]
    pub const fn unmade() -> Self {
        Self { place: Place::empty(), action: PhantomData }
    }

    /// Makes the timer that the context keeps `at` a field of its own. It expires once for each start; with a `period`, again and again.
    ///
    /// # Errors
    /// What the framework says; `STATUS_INVALID_PARAMETER` and `STATUS_INVALID_DEVICE_STATE` when it is not in the context, or is made already.
    pub fn create(device: Device<'_, T::Device>, at: impl Fn(&T::Device) -> &Self, period: Option<Duration>) -> Result<()> {
        let (_, vacancy) = Vacancy::find(device, at, |timer| &timer.place)?;
        let period = period.map_or(0, |period| u32::try_from(period.as_millis()).unwrap_or(u32::MAX).max(1));
        let mut config = WDF_TIMER_CONFIG::new(Some(trampoline::timer::<T>), period);
        config.AutomaticSerialization = FALSE;
        let mut attributes = context::kept_attributes::<Kept>();
        attributes.ParentObject = device.handle().object();
        let mut handle = WDFTIMER::NULL;
        // SAFETY: the device is valid; both structures are copied.
        unsafe { WdfTimerCreate(&raw mut config, &raw mut attributes, &raw mut handle) }.ok()?;
        // SAFETY: just created with these attributes, as a child of the device.
        unsafe { vacancy.fill(handle.object(), Kept, handle.0) }
    }

    fn handle(&self) -> Option<WDFTIMER> {
        self.place.get().map(|handle| WDFTIMER(handle.as_ptr()))
    }

    /// Has it expire after `delay`. Whether it was waiting already; it then waits anew.
    pub fn start(&self, delay: Duration) -> bool {
        // SAFETY: the timer is in its place.
        self.handle().is_some_and(|timer| unsafe { WdfTimerStart(timer, crate::time::relative(delay)) } != FALSE)
    }

    /// Keeps it from expiring. Whether it was waiting. Its action may still be running.
    pub fn stop(&self) -> bool {
        // SAFETY: the timer is in its place.
        self.handle().is_some_and(|timer| unsafe { WdfTimerStop(timer, FALSE) } != FALSE)
    }

    /// As [`stop`](Self::stop), and waits until its action is done. Not from the action itself.
    pub fn stop_and_wait(&self, passive: Passive<'_>) -> bool {
        passive.check();
        // SAFETY: the timer is in its place; at PASSIVE_LEVEL.
        self.handle().is_some_and(|timer| unsafe { WdfTimerStop(timer, TRUE) } != FALSE)
    }
}

/// A DPC. It is kept in its device's context.
#[derive(Debug)]
pub struct Dpc<T> {
    place: Place,
    action: PhantomData<fn() -> T>,
}

impl<T: Dispatch> Dpc<T> {
    /// A DPC that is not made yet: it does nothing until [`create`](Self::create).
    #[must_use]
    pub const fn unmade() -> Self {
        Self { place: Place::empty(), action: PhantomData }
    }

    /// Makes the DPC that the context keeps `at` a field of its own.
    ///
    /// # Errors
    /// As [`Timer::create`].
    pub fn create(device: Device<'_, T::Device>, at: impl Fn(&T::Device) -> &Self) -> Result<()> {
        let (_, vacancy) = Vacancy::find(device, at, |dpc| &dpc.place)?;
        let mut config = WDF_DPC_CONFIG::new(Some(trampoline::dpc::<T>));
        config.AutomaticSerialization = FALSE;
        let mut attributes = context::kept_attributes::<Kept>();
        attributes.ParentObject = device.handle().object();
        let mut handle = WDFDPC::NULL;
        // SAFETY: the device is valid; both structures are copied.
        unsafe { WdfDpcCreate(&raw mut config, &raw mut attributes, &raw mut handle) }.ok()?;
        // SAFETY: just created with these attributes, as a child of the device.
        unsafe { vacancy.fill(handle.object(), Kept, handle.0) }
    }

    fn handle(&self) -> Option<WDFDPC> {
        self.place.get().map(|handle| WDFDPC(handle.as_ptr()))
    }

    /// Has it run soon. Whether it was not waiting to run already.
    pub fn enqueue(&self) -> bool {
        // SAFETY: the DPC is in its place.
        self.handle().is_some_and(|dpc| unsafe { WdfDpcEnqueue(dpc) } != FALSE)
    }

    /// Keeps it from running, and waits until it does not run. Whether it was waiting to run.
    pub fn cancel_and_wait(&self, passive: Passive<'_>) -> bool {
        passive.check();
        // SAFETY: the DPC is in its place; at PASSIVE_LEVEL.
        self.handle().is_some_and(|dpc| unsafe { WdfDpcCancel(dpc, TRUE) } != FALSE)
    }
}
