//! Requests that the driver makes and sends: [`Created`], then [`Formatted`], then sent (nobody has it), then [`Completed`], then
//! [`Created`] again by [`Completed::reuse`].
//!
//! Each step takes the value of the step before. What was sent can only be reached through a [`CancelHandle`], which holds a reference and
//! can do nothing but cancel. The completion routine is set on every send, since a reused request has none.

use core::mem::ManuallyDrop;
use core::ops::Deref;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::{FALSE, WDFMEMORY, WDFREQUEST};

use crate::context::{self, Context};
use crate::device::{Device, DeviceEvents};
use crate::irql::Passive;
use crate::memory::Memory;
use crate::object::{dereference, reference};
use crate::target::{SendOptions, Target, outcome};
use crate::{NTSTATUS, Result, trampoline};

/// The context of a driver-created request, and what happens when it comes back.
pub trait OnCompletion: Context {
    /// The context of the device that sends these requests.
    type Device: DeviceEvents;

    /// The completion routine: the request is the driver's again. `outcome` is how many bytes were transferred, or why none were. May be
    /// called at any IRQL up to DISPATCH_LEVEL, also before the send returns.
    fn completed(device: Device<'_, Self::Device>, request: Completed<Self>, outcome: Result<usize>);
}

/// What all steps have: the object, deleted when the value is dropped.
#[derive(Debug)]
struct Owned<C> {
    handle: WDFREQUEST,
    context: core::marker::PhantomData<fn() -> C>,
}

// SAFETY: a request's handle is good on any thread; that there is one owner is what the type says. Contexts are `Send` and `Sync`.
unsafe impl<C> Send for Owned<C> {}
// SAFETY: as above.
unsafe impl<C> Sync for Owned<C> {}

impl<C: OnCompletion> Owned<C> {
    fn into_handle(self) -> WDFREQUEST {
        ManuallyDrop::new(self).handle
    }

    const fn of(handle: WDFREQUEST) -> Self {
        Self { handle, context: core::marker::PhantomData }
    }

    fn context(&self) -> &C {
        // SAFETY: the request is ours, so that it is valid; `Created::new` put the context in.
        let context = unsafe { context::get::<C>(self.handle.object()) };
        // SAFETY: as above: it is there until the object is destroyed.
        unsafe { context.unwrap_unchecked() }
    }

    fn cancel_handle(&self) -> CancelHandle {
        reference(self.handle.object());
        CancelHandle { handle: self.handle }
    }
}

impl<C> Drop for Owned<C> {
    fn drop(&mut self) {
        // SAFETY: the request is ours and not sent.
        unsafe { WdfObjectDelete(self.handle.object()) };
    }
}

/// A request that asks for nothing yet.
#[derive(Debug)]
pub struct Created<C: OnCompletion>(Owned<C>);

/// A request that asks a target for something, and can be sent there.
#[derive(Debug)]
#[must_use = "a formatted request does nothing until it is sent"]
pub struct Formatted<C: OnCompletion> {
    owned: Owned<C>,
    /// Address of the target that it was formatted for.
    target: usize,
}

/// A request that came back. It can be used again only through [`reuse`](Self::reuse).
#[derive(Debug)]
pub struct Completed<C: OnCompletion>(Owned<C>);

/// A request that could not be sent, or not be formatted.
#[derive(Debug)]
pub struct Unsent<R> {
    /// The request.
    pub request: R,
    /// Why.
    pub status: NTSTATUS,
}

impl<C: OnCompletion> Created<C> {
    /// Makes a request that has room for the drivers below `target`.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` when there is no memory.
    pub fn new(target: Target<'_>, context: C) -> Result<Self> {
        let mut attributes = context::attributes::<C>();
        let mut handle = WDFREQUEST::NULL;
        // SAFETY: the target is valid; no parent but the driver: this value deletes the request before.
        unsafe { WdfRequestCreate(&raw mut attributes, target.handle(), &raw mut handle) }.ok()?;
        let owned = Owned::of(handle);
        // SAFETY: the request was just created with room for a `C`.
        unsafe { context::install(handle.object(), context) }?;
        Ok(Self(owned))
    }

    /// # Safety
    /// The request is the driver's, was just created with room for a `C`, and gets one before anyone else sees it.
    pub(crate) const unsafe fn adopt(handle: WDFREQUEST) -> Self {
        Self(Owned::of(handle))
    }

    /// Names what to cancel once this request has been sent.
    #[must_use]
    pub fn cancel_handle(&self) -> CancelHandle {
        self.0.cancel_handle()
    }

    /// Makes it an I/O control with `input` and `output`, each of the given length.
    ///
    /// # Errors
    /// The request, and what the framework says; `STATUS_BUFFER_TOO_SMALL` when a length is larger than its memory.
    pub fn format_control(
        self,
        target: Target<'_>,
        code: u32,
        input: Option<(&Memory, usize)>,
        output: Option<(&Memory, usize)>,
    ) -> Result<Formatted<C>, Unsent<Self>> {
        self.format_control_with(target, code, input, output, WdfIoTargetFormatRequestForIoctl)
    }

    /// As [`format_control`](Self::format_control), of an internal I/O control.
    ///
    /// # Errors
    /// As there.
    pub fn format_internal_control(
        self,
        target: Target<'_>,
        code: u32,
        input: Option<(&Memory, usize)>,
        output: Option<(&Memory, usize)>,
    ) -> Result<Formatted<C>, Unsent<Self>> {
        self.format_control_with(target, code, input, output, WdfIoTargetFormatRequestForInternalIoctl)
    }

    fn format_control_with(
        self,
        target: Target<'_>,
        code: u32,
        input: Option<(&Memory, usize)>,
        output: Option<(&Memory, usize)>,
        format: FormatControl,
    ) -> Result<Formatted<C>, Unsent<Self>> {
        let parts = Part::of(input).and_then(|input| Ok((input, Part::of(output)?)));
        let (mut input, mut output) = match parts {
            Ok(parts) => parts,
            Err(status) => return Err(Unsent { request: self, status }),
        };
        let request = self.0.handle;
        // SAFETY: request, target and memory are valid; lengths were checked; the framework references the memory.
        let status =
            unsafe { format(target.handle(), request, code, input.memory, input.range(), output.memory, output.range()) };
        self.formatted(target, status)
    }

    /// Makes it a read of `length` bytes from `device_offset` into `buffer`.
    ///
    /// # Errors
    /// As [`format_control`](Self::format_control).
    pub fn format_read(
        self,
        target: Target<'_>,
        buffer: &Memory,
        length: usize,
        device_offset: i64,
    ) -> Result<Formatted<C>, Unsent<Self>> {
        self.format_transfer(target, buffer, length, device_offset, WdfIoTargetFormatRequestForRead)
    }

    /// Makes it a write of `length` bytes of `buffer` to `device_offset`.
    ///
    /// # Errors
    /// As [`format_control`](Self::format_control).
    pub fn format_write(
        self,
        target: Target<'_>,
        buffer: &Memory,
        length: usize,
        device_offset: i64,
    ) -> Result<Formatted<C>, Unsent<Self>> {
        self.format_transfer(target, buffer, length, device_offset, WdfIoTargetFormatRequestForWrite)
    }

    fn format_transfer(
        self,
        target: Target<'_>,
        buffer: &Memory,
        length: usize,
        mut device_offset: i64,
        format: FormatTransfer,
    ) -> Result<Formatted<C>, Unsent<Self>> {
        let mut part = match Part::of(Some((buffer, length))) {
            Ok(part) => part,
            Err(status) => return Err(Unsent { request: self, status }),
        };
        // SAFETY: as in `format_control_with`.
        let status = unsafe { format(target.handle(), self.0.handle, part.memory, part.range(), &raw mut device_offset) };
        self.formatted(target, status)
    }

    fn formatted(self, target: Target<'_>, status: NTSTATUS) -> Result<Formatted<C>, Unsent<Self>> {
        if status.is_success() {
            Ok(Formatted { owned: self.0, target: target.address() })
        } else {
            Err(Unsent { request: self, status })
        }
    }
}

type FormatControl = unsafe fn(
    wdf_sys::WDFIOTARGET,
    WDFREQUEST,
    u32,
    WDFMEMORY,
    *mut WDFMEMORY_OFFSET,
    WDFMEMORY,
    *mut WDFMEMORY_OFFSET,
) -> NTSTATUS;
type FormatTransfer = unsafe fn(wdf_sys::WDFIOTARGET, WDFREQUEST, WDFMEMORY, *mut WDFMEMORY_OFFSET, *mut i64) -> NTSTATUS;

/// The start of a memory object.
struct Part {
    memory: WDFMEMORY,
    offset: WDFMEMORY_OFFSET,
}

impl Part {
    fn of(memory: Option<(&Memory, usize)>) -> Result<Self> {
        let Some((memory, length)) = memory.filter(|(_, length)| *length != 0) else {
            return Ok(Self { memory: WDFMEMORY::NULL, offset: WDFMEMORY_OFFSET::zeroed() });
        };
        crate::bytes::check(memory.len(), 0, length)?;
        Ok(Self { memory: memory.handle(), offset: WDFMEMORY_OFFSET { BufferOffset: 0, BufferLength: length } })
    }

    fn range(&mut self) -> *mut WDFMEMORY_OFFSET {
        if self.memory.is_null() { core::ptr::null_mut() } else { &raw mut self.offset }
    }
}

impl<C: OnCompletion> Formatted<C> {
    /// Gives up sending it: it is as one that could not be sent.
    pub fn give_up(self) -> Completed<C> {
        Completed(self.owned)
    }

    /// Names what to cancel once this request has been sent.
    #[must_use]
    pub fn cancel_handle(&self) -> CancelHandle {
        self.owned.cancel_handle()
    }

    /// Sends it. From here on it is the target's, until [`OnCompletion::completed`] is called.
    ///
    /// # Errors
    /// The request, which must be reused before it can be sent again, and why it was not sent; `STATUS_INVALID_PARAMETER` when it was formatted
    /// for another target, whose file object it would carry to this one.
    pub fn send(self, target: Target<'_>, options: SendOptions) -> Result<(), Unsent<Completed<C>>> {
        if target.address() != self.target {
            return Err(Unsent { request: Completed(self.owned), status: NTSTATUS::INVALID_PARAMETER });
        }
        let mut options = options.raw(0);
        let handle = self.owned.into_handle();
        // SAFETY: the request is ours; the trampoline finds what it needs from request and target.
        unsafe { WdfRequestSetCompletionRoutine(handle, Some(trampoline::completed::<C>), core::ptr::null_mut()) };
        // SAFETY: the request is ours, formatted, not sent, and from here on the framework's.
        if unsafe { WdfRequestSend(handle, target.handle(), &raw mut options) } != FALSE {
            return Ok(());
        }
        // SAFETY: it was not sent, so that it is ours again.
        let status = unsafe { WdfRequestGetStatus(handle) };
        Err(Unsent { request: Completed(Owned::of(handle)), status })
    }

    /// Sends it and waits until it is done. Not sent at all, as [`send`](Self::send) says, it comes back as well.
    pub fn send_synchronously(
        self,
        target: Target<'_>,
        options: SendOptions,
        passive: Passive<'_>,
    ) -> (Completed<C>, Result<usize>) {
        passive.check();
        let handle = self.owned.handle;
        if target.address() != self.target {
            return (Completed(self.owned), Err(NTSTATUS::INVALID_PARAMETER));
        }
        let mut options = options.raw(WDF_REQUEST_SEND_OPTION_SYNCHRONOUS);
        // SAFETY: the request is ours, formatted, not sent; at PASSIVE_LEVEL. When the call returns it is ours again, sent or not.
        let _ = unsafe { WdfRequestSend(handle, target.handle(), &raw mut options) };
        // SAFETY: as above.
        let status = unsafe { WdfRequestGetStatus(handle) };
        // SAFETY: as above.
        let information = unsafe { WdfRequestGetInformation(handle) };
        (Completed(self.owned), outcome(status, information))
    }
}

impl<C: OnCompletion> Completed<C> {
    /// # Safety
    /// The framework gave the request back to the driver: its completion routine runs.
    pub(crate) const unsafe fn new(handle: WDFREQUEST) -> Self {
        Self(Owned::of(handle))
    }

    pub(crate) const fn handle(&self) -> WDFREQUEST {
        self.0.handle
    }

    /// It has been reused.
    pub(crate) fn into_created(self) -> Created<C> {
        Created(self.0)
    }

    /// Makes it a new request. What was cancelled is no longer.
    ///
    /// # Errors
    /// What the framework says; the request is deleted then.
    pub fn reuse(self) -> Result<Created<C>> {
        let mut parameters = WDF_REQUEST_REUSE_PARAMS::new(WDF_REQUEST_REUSE_NO_FLAGS, NTSTATUS::SUCCESS);
        // SAFETY: the request is ours, driver-created, and completed.
        unsafe { WdfRequestReuse(self.0.handle, &raw mut parameters) }.ok()?;
        Ok(Created(self.0))
    }
}

macro_rules! contexts {
    ($($step:ident.$owned:tt)*) => {$(
        impl<C: OnCompletion> Deref for $step<C> {
            type Target = C;

            fn deref(&self) -> &C {
                self.$owned.context()
            }
        }
    )*};
}

contexts! { Created.0 Formatted.owned Completed.0 }

/// Cancels a request that was sent. It holds a reference, so that the request object is there however late it is used.
#[derive(Debug)]
pub struct CancelHandle {
    handle: WDFREQUEST,
}

// SAFETY: a request's handle is good on any thread, and kept valid by the reference.
unsafe impl Send for CancelHandle {}
// SAFETY: as above; the framework synchronises.
unsafe impl Sync for CancelHandle {}

impl CancelHandle {
    pub(crate) fn of(handle: WDFREQUEST) -> Self {
        reference(handle.object());
        Self { handle }
    }

    #[cfg(test)]
    pub(super) const fn handle(&self) -> WDFREQUEST {
        self.handle
    }

    /// Asks the target to cancel the request. Whether the request was there to be asked for; it comes back through its completion routine in
    /// any case, maybe before this returns. A request that is not sent now will not be sent until it has been reused.
    pub fn cancel(&self) -> bool {
        // SAFETY: the reference keeps the handle valid.
        unsafe { WdfRequestCancelSentRequest(self.handle) != FALSE }
    }
}

impl Drop for CancelHandle {
    fn drop(&mut self) {
        dereference(self.handle.object());
    }
}
