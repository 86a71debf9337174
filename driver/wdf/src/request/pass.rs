//! Requests that a queue presented and that go on to a target, as they are.

use wdf_sys::FALSE;
use wdf_sys::wdf::WDF_REQUEST_SEND_OPTION_SEND_AND_FORGET;
use wdf_sys::wdf::functions::*;

use super::own::CancelHandle;
use super::{Refused, Request};
use crate::device::{Device, DeviceEvents};
use crate::target::{SendOptions, Target};
use crate::{NTSTATUS, Result, trampoline};

/// What happens when a presented request comes back from the target it was sent to.
pub trait OnReturn: 'static {
    /// The context of the device that sends these requests.
    type Device: DeviceEvents;

    /// The request is the driver's again, to complete. At any IRQL up to DISPATCH_LEVEL.
    fn returned(device: Device<'_, Self::Device>, request: Request, outcome: Result<usize>);
}

impl Request {
    /// Sends it on and forgets it: whoever completes it completes it for its sender.
    ///
    /// # Errors
    /// The request, and why it was not sent; `STATUS_INVALID_DEVICE_REQUEST` for a [`RemoteTarget`](crate::RemoteTarget): its driver would take the file
    /// object that the request came through for one of its own. A request that the driver made is what goes there.
    pub fn send_and_forget(self, target: Target<'_>) -> Result<(), Refused> {
        if target.is_remote() {
            return Err(Refused { request: self, status: NTSTATUS::INVALID_DEVICE_REQUEST });
        }
        let mut options = SendOptions::default().raw(WDF_REQUEST_SEND_OPTION_SEND_AND_FORGET);
        // SAFETY: the driver owns the request, which a queue presented, and which is not formatted.
        let sent = unsafe { WdfRequestSend(self.handle(), target.handle(), &raw mut options) } != FALSE;
        self.unless_sent(sent)
    }

    /// Sends it on as it is, to come back to `H`.
    ///
    /// # Errors
    /// As [`send_and_forget`](Self::send_and_forget).
    pub fn send<H: OnReturn>(self, target: Target<'_>, options: SendOptions) -> Result<(), Refused> {
        if target.is_remote() {
            return Err(Refused { request: self, status: NTSTATUS::INVALID_DEVICE_REQUEST });
        }
        let mut options = options.raw(0);
        // SAFETY: the driver owns the request.
        unsafe { WdfRequestFormatRequestUsingCurrentType(self.handle()) };
        // SAFETY: as above; the trampoline finds what it needs from request and target.
        unsafe { WdfRequestSetCompletionRoutine(self.handle(), Some(trampoline::returned::<H>), core::ptr::null_mut()) };
        // SAFETY: as above; formatted, with a completion routine.
        let sent = unsafe { WdfRequestSend(self.handle(), target.handle(), &raw mut options) } != FALSE;
        self.unless_sent(sent)
    }

    /// Names what to cancel once this request has been sent.
    #[must_use]
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle::of(self.handle())
    }

    fn unless_sent(self, sent: bool) -> Result<(), Refused> {
        if sent {
            let _gone = self.into_handle();
            return Ok(());
        }
        // SAFETY: it was not sent, so that the driver still owns it.
        let status = unsafe { WdfRequestGetStatus(self.handle()) };
        Err(Refused { request: self, status })
    }
}
