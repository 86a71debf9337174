//! Timers and DPCs: callbacks at DISPATCH_LEVEL, at a time or as soon as possible.

use core::marker::PhantomData;
use core::time::Duration;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::{WDF_DPC_CONFIG, WDF_OBJECT_ATTRIBUTES, WDF_TIMER_CONFIG};
use wdf_sys::{FALSE, TRUE, WDFDPC, WDFTIMER};

use crate::device::{Device, DeviceEvents, NewDevice};
use crate::irql::Passive;
use crate::{Result, trampoline};

/// What a timer or a DPC does.
pub trait Dispatch: 'static {
    /// The context of the device that it is for.
    type Device: DeviceEvents;

    /// `EvtTimerFunc` or `EvtDpcFunc`, at DISPATCH_LEVEL.
    fn run(device: Device<'_, Self::Device>);
}

/// A timer. It belongs to its device; keep it in the device's context.
#[derive(Debug)]
pub struct Timer<T> {
    handle: WDFTIMER,
    action: PhantomData<fn() -> T>,
}

// SAFETY: a timer's handle is good on any thread.
unsafe impl<T> Send for Timer<T> {}
// SAFETY: as above; the framework synchronises.
unsafe impl<T> Sync for Timer<T> {}

impl<T: Dispatch> Timer<T> {
    /// A timer that expires once for each start; with a `period`, again and again.
    ///
    /// # Errors
    /// What the framework says.
    pub fn create(device: &NewDevice<T::Device>, period: Option<Duration>) -> Result<Self> {
        let period = period.map_or(0, |period| u32::try_from(period.as_millis()).unwrap_or(u32::MAX).max(1));
        let mut config = WDF_TIMER_CONFIG::new(Some(trampoline::timer::<T>), period);
        config.AutomaticSerialization = FALSE;
        let mut attributes = WDF_OBJECT_ATTRIBUTES { ParentObject: device.handle().object(), ..WDF_OBJECT_ATTRIBUTES::new() };
        let mut handle = WDFTIMER::NULL;
        // SAFETY: the device is valid; both structures are copied.
        unsafe { WdfTimerCreate(&raw mut config, &raw mut attributes, &raw mut handle) }.ok()?;
        Ok(Self { handle, action: PhantomData })
    }

    /// Has it expire after `delay`. Whether it was waiting already; it then waits anew.
    pub fn start(&self, delay: Duration) -> bool {
        // SAFETY: the timer is valid as long as its device.
        unsafe { WdfTimerStart(self.handle, crate::time::relative(delay)) != FALSE }
    }

    /// Keeps it from expiring. Whether it was waiting. Its action may still be running.
    pub fn stop(&self) -> bool {
        // SAFETY: as above.
        unsafe { WdfTimerStop(self.handle, FALSE) != FALSE }
    }

    /// As [`stop`](Self::stop), and waits until its action is done. Not from the action itself.
    pub fn stop_and_wait(&self, passive: Passive<'_>) -> bool {
        passive.check();
        // SAFETY: as above; at PASSIVE_LEVEL.
        unsafe { WdfTimerStop(self.handle, TRUE) != FALSE }
    }
}

/// A DPC. It belongs to its device; keep it in the device's context.
#[derive(Debug)]
pub struct Dpc<T> {
    handle: WDFDPC,
    action: PhantomData<fn() -> T>,
}

// SAFETY: a DPC's handle is good on any thread.
unsafe impl<T> Send for Dpc<T> {}
// SAFETY: as above; the framework synchronises.
unsafe impl<T> Sync for Dpc<T> {}

impl<T: Dispatch> Dpc<T> {
    /// Creates a DPC.
    ///
    /// # Errors
    /// What the framework says.
    pub fn create(device: &NewDevice<T::Device>) -> Result<Self> {
        let mut config = WDF_DPC_CONFIG::new(Some(trampoline::dpc::<T>));
        config.AutomaticSerialization = FALSE;
        let mut attributes = WDF_OBJECT_ATTRIBUTES { ParentObject: device.handle().object(), ..WDF_OBJECT_ATTRIBUTES::new() };
        let mut handle = WDFDPC::NULL;
        // SAFETY: the device is valid; both structures are copied.
        unsafe { WdfDpcCreate(&raw mut config, &raw mut attributes, &raw mut handle) }.ok()?;
        Ok(Self { handle, action: PhantomData })
    }

    /// Has it run soon. Whether it was not waiting to run already.
    pub fn enqueue(&self) -> bool {
        // SAFETY: the DPC is valid as long as its device.
        unsafe { WdfDpcEnqueue(self.handle) != FALSE }
    }

    /// Keeps it from running, and waits until it does not run. Whether it was waiting to run.
    pub fn cancel_and_wait(&self, passive: Passive<'_>) -> bool {
        passive.check();
        // SAFETY: as above; at PASSIVE_LEVEL.
        unsafe { WdfDpcCancel(self.handle, TRUE) != FALSE }
    }
}
