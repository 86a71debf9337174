//! Interrupts: a service routine at device IRQL, and the rest of the work in a DPC.

use core::marker::PhantomData;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::{WDF_INTERRUPT_CONFIG, WDF_INTERRUPT_INFO};
use wdf_sys::{FALSE, WDFINTERRUPT};

use crate::context::{self, Context};
use crate::device::{Device, DeviceEvents, NewDevice};
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

/// An interrupt object. The framework gives interrupt resources to a device's interrupt objects in the order in which these were made;
/// an object for which there is no resource stays silent.
#[derive(Debug)]
pub struct Interrupt<I> {
    handle: WDFINTERRUPT,
    context: PhantomData<fn() -> I>,
}

// SAFETY: an interrupt's handle is good on any thread.
unsafe impl<I> Send for Interrupt<I> {}
// SAFETY: as above.
unsafe impl<I> Sync for Interrupt<I> {}

/// An interrupt whose service routine does not run, for as long as this lives.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct InterruptGuard<'a> {
    handle: WDFINTERRUPT,
    /// Not `Send`: the processor that acquired the lock releases it.
    holder: PhantomData<(&'a (), *mut ())>,
}

impl Drop for InterruptGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: acquired in `Interrupt::lock`, on this processor.
        unsafe { WdfInterruptReleaseLock(self.handle) };
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
    /// Creates an interrupt object with `context` in it.
    ///
    /// # Errors
    /// What the framework says.
    pub fn create(device: &NewDevice<I::Device>, context: I) -> Result<Self> {
        let mut config = WDF_INTERRUPT_CONFIG::new(Some(trampoline::isr::<I>), Some(trampoline::interrupt_dpc::<I>));
        let mut attributes = context::attributes::<I>();
        let mut handle = WDFINTERRUPT::NULL;
        // SAFETY: the device is valid; both structures are copied. The interrupt is the device's child.
        unsafe { WdfInterruptCreate(device.handle(), &raw mut config, &raw mut attributes, &raw mut handle) }.ok()?;
        // SAFETY: the interrupt was just created with room for an `I`.
        unsafe { context::install(handle.object(), context) }?;
        Ok(Self { handle, context: PhantomData })
    }

    /// An interrupt of the tests' table.
    #[cfg(test)]
    pub(crate) const fn fake(handle: WDFINTERRUPT) -> Self {
        Self { handle, context: PhantomData }
    }

    /// Keeps the service routine from running until the result is dropped: for what it shares with other callbacks. Raises the IRQL to
    /// the device's, at which hardly anything may be called but registers read and written.
    pub fn lock(&self) -> InterruptGuard<'_> {
        // SAFETY: the interrupt is valid as long as its device.
        unsafe { WdfInterruptAcquireLock(self.handle) };
        InterruptGuard { handle: self.handle, holder: PhantomData }
    }

    /// What it is connected to; known from `prepare_hardware` on.
    #[must_use]
    pub fn info(&self) -> InterruptInfo {
        let mut info = WDF_INTERRUPT_INFO::new();
        // SAFETY: the interrupt is valid as long as its device.
        unsafe { WdfInterruptGetInfo(self.handle, &raw mut info) };
        InterruptInfo { message_signaled: info.MessageSignaled != FALSE, message: info.MessageNumber, vector: info.Vector }
    }
}

/// The interrupt's context and its device, from a handle that a callback was given.
///
/// # Safety
/// `handle` is a valid interrupt for `'a`, created by [`Interrupt::<I>::create`].
pub(crate) unsafe fn parts<'a, I: InterruptEvents>(handle: WDFINTERRUPT) -> Option<(&'a I, Device<'a, I::Device>)> {
    // SAFETY: the caller's promise.
    let context = unsafe { context::get::<I>(handle.object()) };
    // SAFETY: the caller's promise; an interrupt's device outlives it.
    let device = unsafe { Device::from_handle(WdfInterruptGetDevice(handle)) };
    context.zip(device)
}
