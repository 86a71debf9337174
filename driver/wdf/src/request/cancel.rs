//! Cancelable requests: in the driver's hands, but the framework may call for them.

use core::mem::ManuallyDrop;
use core::sync::atomic::Ordering;

use wdf_sys::WDFREQUEST;
use wdf_sys::wdf::functions::*;

use super::state::RequestState;
use super::{Refused, Request, RequestId};
use crate::device::{Device, DeviceEvents};
use crate::object::{dereference, reference};
use crate::{NTSTATUS, trampoline};

/// `EvtRequestCancel`: a request that was made cancelable is cancelled.
pub trait OnCancel: 'static {
    /// The context of the device whose requests these are.
    type Device: DeviceEvents;

    /// The request is the callback's, to complete, and its [`Cancelable`] is worthless. `ticket` is what the driver gave when it made the
    /// request cancelable.
    fn canceled(device: Device<'_, Self::Device>, request: Canceled, ticket: u64);
}

impl Request {
    /// Makes it cancelable: until [`Cancelable::take_back`], `H` may be called with it.
    ///
    /// # Errors
    /// The request, with `STATUS_CANCELLED` when it has been cancelled before; `H` is not called then.
    pub fn mark_cancelable<H: OnCancel>(self, ticket: u64) -> Result<Cancelable, Refused> {
        let Some(state) = self.state() else {
            return Err(Refused { request: self, status: NTSTATUS::INVALID_DEVICE_REQUEST });
        };
        state.ticket.store(ticket, Ordering::Relaxed);
        state.ownership.mark();
        // The callback may complete the request at any moment from here on; this reference keeps the object.
        reference(self.handle().object());
        // SAFETY: the driver owns the request, which a queue presented and which is not cancelable.
        let status = unsafe { WdfRequestMarkCancelableEx(self.handle(), Some(trampoline::request_cancel::<H>)) };
        if status.is_success() {
            return Ok(Cancelable { handle: self.into_handle() });
        }
        state.ownership.clear();
        dereference(self.handle().object());
        Err(Refused { request: self, status })
    }
}

/// A request that the driver has, and that may be cancelled at any moment. It keeps the request object alive. Dropped, it takes the request
/// back and completes it with `STATUS_CANCELLED`.
#[derive(Debug)]
#[must_use = "a cancelable request that is dropped is completed with STATUS_CANCELLED"]
pub struct Cancelable {
    handle: WDFREQUEST,
}

// SAFETY: the handle is good on any thread, and kept valid by the reference that this value holds.
unsafe impl Send for Cancelable {}
// SAFETY: the methods on a shared reference only read.
unsafe impl Sync for Cancelable {}

/// What came of taking a cancelable request back.
#[derive(Debug)]
#[must_use = "it may hold a request"]
pub enum TakenBack {
    /// It is the driver's again, and not cancelable.
    Request(Request),
    /// It was cancelled just now, and is the driver's to complete; the cancel callback does not run.
    Canceled(Canceled),
    /// It was cancelled: the cancel callback has it, or will.
    CallbackHasIt,
}

impl Cancelable {
    /// Names the request.
    #[must_use]
    pub fn id(&self) -> RequestId {
        RequestId::of(self.handle)
    }

    /// Whether the cancel callback has been called. It may be at any time, unless a lock that it takes is held.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.state().is_some_and(|state| state.ownership.is_canceled())
    }

    /// Makes the request not cancelable, unless it has been cancelled.
    pub fn take_back(self) -> TakenBack {
        let this = ManuallyDrop::new(self);
        let outcome = this.unmark();
        dereference(this.handle.object());
        outcome
    }

    fn unmark(&self) -> TakenBack {
        let Some(state) = self.state() else { return TakenBack::CallbackHasIt };
        if !state.ownership.begin_taking() {
            return TakenBack::CallbackHasIt;
        }
        // SAFETY: this value's reference keeps the handle valid; `begin_taking` made sure that nobody completed the request.
        let status = unsafe { WdfRequestUnmarkCancelable(self.handle) };
        if status != NTSTATUS::CANCELLED {
            state.ownership.clear();
            // SAFETY: the framework will not cancel it any more, so that it is the driver's alone.
            return TakenBack::Request(unsafe { Request::presented(self.handle) });
        }
        if state.ownership.take_canceled() {
            return TakenBack::Canceled(Canceled { handle: self.handle });
        }
        TakenBack::CallbackHasIt
    }

    fn state(&self) -> Option<&RequestState> {
        // SAFETY: this value's reference keeps the handle valid.
        unsafe { RequestState::of(self.handle) }
    }
}

impl Drop for Cancelable {
    fn drop(&mut self) {
        if let TakenBack::Request(request) = self.unmark() {
            request.complete(NTSTATUS::CANCELLED);
        }
        dereference(self.handle.object());
    }
}

/// A cancelled request, to complete. Dropped, it is completed with `STATUS_CANCELLED`.
#[derive(Debug)]
pub struct Canceled {
    handle: WDFREQUEST,
}

// SAFETY: the handle is good on any thread; that there is one owner is what the type says.
unsafe impl Send for Canceled {}

impl Canceled {
    /// # Safety
    /// The framework's cancel callback gave the request to the driver, and [`Ownership`](super::state::Ownership) says that it may keep it.
    pub(crate) const unsafe fn new(handle: WDFREQUEST) -> Self {
        Self { handle }
    }

    /// Names the request.
    #[must_use]
    pub fn id(&self) -> RequestId {
        RequestId::of(self.handle)
    }

    /// Completes it with `STATUS_CANCELLED`.
    pub fn complete(self) {
        drop(self);
    }
}

impl Drop for Canceled {
    fn drop(&mut self) {
        // SAFETY: the driver owns the request, and no longer does.
        unsafe { WdfRequestComplete(self.handle, NTSTATUS::CANCELLED) };
    }
}
