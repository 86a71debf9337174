//! `EvtIoStop`: the queue of a request that the driver holds loses power. The notice lives only as long as the callback, so that an
//! acknowledgement cannot come from anywhere else.

use core::marker::PhantomData;

use wdf_sys::wdf::functions::WdfRequestStopAcknowledge;
use wdf_sys::wdf::{WdfRequestStopActionPurge, WdfRequestStopRequestCancelable};
use wdf_sys::{FALSE, TRUE, WDFREQUEST};

use crate::request::cancel::Cancelable;
use crate::request::{Request, RequestId};

/// Why a queue stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopAction {
    /// The device goes to a low-power state, and comes back.
    Suspend,
    /// The device is being removed.
    Purge,
}

/// Notice that the queue of one request stops. The framework waits until the request is completed, requeued, or kept with an
/// acknowledgement.
#[derive(Debug)]
pub struct Stopping<'a> {
    request: WDFREQUEST,
    flags: u32,
    callback: PhantomData<&'a mut ()>,
}

impl Stopping<'_> {
    /// # Safety
    /// `EvtIoStop` was called with these, and runs for as long as the result is used.
    pub(crate) const unsafe fn new(request: WDFREQUEST, flags: u32) -> Self {
        Self { request, flags, callback: PhantomData }
    }

    /// The request that the driver holds.
    #[must_use]
    pub fn id(&self) -> RequestId {
        RequestId::of(self.request)
    }

    /// Why.
    #[must_use]
    pub const fn action(&self) -> StopAction {
        if self.flags & WdfRequestStopActionPurge != 0 { StopAction::Purge } else { StopAction::Suspend }
    }

    /// Whether the request is cancelable.
    #[must_use]
    pub const fn is_cancelable(&self) -> bool {
        self.flags & WdfRequestStopRequestCancelable != 0
    }

    /// Gives the request back to the queue, at its head: it is presented again when power is back.
    ///
    /// # Errors
    /// The request, when it is not the one of this notice.
    pub fn requeue(self, request: Request) -> Result<(), Request> {
        if request.id() != self.id() {
            return Err(request);
        }
        // SAFETY: within EvtIoStop, and the driver owns the request, which it gives up.
        unsafe { WdfRequestStopAcknowledge(request.into_handle(), TRUE) };
        Ok(())
    }

    /// Keeps the request, and lets power go. The driver must not touch the hardware for it until it hears of `resume`.
    ///
    /// Whether the request was the one of this notice; if not, nothing happened.
    pub fn keep(self, request: &Request) -> bool {
        let same = request.id() == self.id();
        if same {
            // SAFETY: within EvtIoStop, and the driver owns the request.
            unsafe { WdfRequestStopAcknowledge(self.request, FALSE) };
        }
        same
    }

    /// As [`keep`](Self::keep), for a request that stays cancelable.
    pub fn keep_cancelable(self, request: &Cancelable) -> bool {
        let same = request.id() == self.id();
        if same {
            // SAFETY: within EvtIoStop, during which the framework keeps the request object; should a cancel callback complete it now,
            // the acknowledgement has nothing left to do.
            unsafe { WdfRequestStopAcknowledge(self.request, FALSE) };
        }
        same
    }
}
