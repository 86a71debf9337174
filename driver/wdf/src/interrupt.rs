//! Interrupts: a service routine at device IRQL, and the rest of the work in a DPC.

use core::marker::PhantomData;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::{WDF_INTERRUPT_CONFIG, WDF_INTERRUPT_INFO};
use wdf_sys::{FALSE, WDFINTERRUPT};

use crate::context::{self, Context};
use crate::device::{Device, DeviceEvents};
use crate::irql::Passive;
use crate::place::{Place, Vacancy};
use crate::{Result, trampoline};

/// What an interrupt is told. `Self` is the interrupt object's context.
#[allow(unused_variables, reason = "the default ignores what it is told")]
pub trait InterruptEvents: Context {
    /// The context of the device that interrupts.
    type Device: DeviceEvents;

    /// `EvtInterruptIsr`, at device IRQL: whether the device interrupted. `message` is the message's number, 0 for a line.
    fn isr(&self, device: Device<'_, Self::Device>, interrupt: InService<'_>, message: u32) -> bool;

    /// `EvtInterruptDpc`, at DISPATCH_LEVEL, once for all calls of [`InService::queue_dpc`] since the last one.
    fn dpc(&self, device: Device<'_, Self::Device>) {}
}

/// An interrupt whose service routine runs.
#[derive(Debug)]
pub struct InService<'a> {
    handle: WDFINTERRUPT,
    callback: PhantomData<&'a mut ()>,
}

impl InService<'_> {
    /// # Safety
    /// The service routine of `handle` runs for as long as the result is used.
    pub(crate) const unsafe fn new(handle: WDFINTERRUPT) -> Self {
        Self { handle, callback: PhantomData }
    }

    /// Has the DPC run soon. Whether it was not waiting to run already.
    pub fn queue_dpc(&self) -> bool {
        // SAFETY: the interrupt is valid: its service routine runs.
        unsafe { WdfInterruptQueueDpcForIsr(self.handle) != FALSE }
    }
}

/// An interrupt object, kept in its device's context. The framework gives interrupt resources to a device's interrupt objects in the order in which
/// these were made; an object for which there is no resource stays silent.
#[derive(Debug)]
pub struct Interrupt<I> {
    place: Place,
    context: PhantomData<fn() -> I>,
}

/// An interrupt whose service routine does not run, for as long as this lives.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct InterruptGuard<'a> {
    /// None where there is no interrupt to hold off.
    handle: Option<WDFINTERRUPT>,
    /// Not `Send`: the processor that acquired the lock releases it.
    holder: PhantomData<(&'a (), *mut ())>,
}

impl Drop for InterruptGuard<'_> {
    fn drop(&mut self) {
        if let Some(interrupt) = self.handle {
            // SAFETY: acquired in `Interrupt::lock`, on this processor; the guard borrows the interrupt's place.
            unsafe { WdfInterruptReleaseLock(interrupt) };
        }
    }
}

/// What an interrupt was connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptInfo {
    /// By message instead of a line.
    pub message_signaled: bool,
    /// The message's number.
    pub message: u32,
    /// The processor's vector; 0 when there is no resource for this interrupt.
    pub vector: u32,
}

impl<I: InterruptEvents> Interrupt<I> {
    /// An interrupt object that is not made yet: there is nothing to hold off or to know until [`create`](Self::create).
    #[must_use]
    pub const fn unmade() -> Self {
        Self { place: Place::empty(), context: PhantomData }
    }

    /// Makes the interrupt object that the device's context keeps `at` a field of its own, with `context` in it.
    ///
    /// # Errors
    /// As [`Timer::create`](crate::Timer::create).
    pub fn create(
        device: Device<'_, I::Device>,
        at: impl Fn(&I::Device) -> &Self,
        context: I,
        passive: Passive<'_>,
    ) -> Result<()> {
        passive.check();
        let (_, vacancy) = Vacancy::find(device, at, |interrupt| &interrupt.place)?;
        let mut config = WDF_INTERRUPT_CONFIG::new(Some(trampoline::isr::<I>), Some(trampoline::interrupt_dpc::<I>));
        let mut attributes = context::kept_attributes::<I>();
        let mut handle = WDFINTERRUPT::NULL;
        // SAFETY: the device is valid; both structures are copied; at PASSIVE_LEVEL. The interrupt is the device's child.
        unsafe { WdfInterruptCreate(device.handle(), &raw mut config, &raw mut attributes, &raw mut handle) }.ok()?;
        // SAFETY: just created with these attributes, as a child of the device.
        unsafe { vacancy.fill(handle.object(), context, handle.0) }
    }

    /// An interrupt of the tests' table.
    #[cfg(test)]
    pub(crate) const fn fake(handle: WDFINTERRUPT) -> Self {
        Self { place: Place::holding(handle.0), context: PhantomData }
    }

    fn handle(&self) -> Option<WDFINTERRUPT> {
        self.place.get().map(|handle| WDFINTERRUPT(handle.as_ptr()))
    }

    /// Keeps the service routine from running until the result is dropped: for what it shares with other callbacks. Raises the IRQL to
    /// the device's, at which hardly anything may be called but registers read and written.
    pub fn lock(&self) -> InterruptGuard<'_> {
        let handle = self.handle();
        if let Some(interrupt) = handle {
            // SAFETY: the interrupt is in its place.
            unsafe { WdfInterruptAcquireLock(interrupt) };
        }
        InterruptGuard { handle, holder: PhantomData }
    }

    /// What it is connected to; known from `prepare_hardware` on.
    #[must_use]
    pub fn info(&self) -> InterruptInfo {
        let mut info = WDF_INTERRUPT_INFO::new();
        if let Some(interrupt) = self.handle() {
            // SAFETY: the interrupt is in its place.
            unsafe { WdfInterruptGetInfo(interrupt, &raw mut info) };
        }
        InterruptInfo { message_signaled: info.MessageSignaled != FALSE, message: info.MessageNumber, vector: info.Vector }
    }
}

/// The interrupt's context and its device, from a handle that a callback was given.
///
/// # Safety
/// `handle` is a valid interrupt for `'a`, created by `Interrupt::<I>::create`.
pub(crate) unsafe fn parts<'a, I: InterruptEvents>(handle: WDFINTERRUPT) -> Option<(&'a I, Device<'a, I::Device>)> {
    // SAFETY: the caller's promise.
    let context = unsafe { context::get::<I>(handle.object()) };
    // SAFETY: the caller's promise; an interrupt's device outlives it.
    let device = unsafe { Device::from_handle(WdfInterruptGetDevice(handle)) };
    context.zip(device)
}
