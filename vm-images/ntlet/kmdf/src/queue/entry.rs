//! What a queue knows of one request: where it is, whether it can be cancelled, how far its power stop has come.
//!
//! An entry lies inside its request object. All of it but `irp`, `file` and `request` belongs to the queue the request is in, under that queue's lock.

use core::ffi::c_void;
use core::ptr::{addr_of_mut, null_mut};

use wdf_sys::wdm::{FILE_OBJECT, IRP};

use super::list::{Link, Linked};

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In no queue: not yet, no longer, or on its way from one to another.
    Nowhere,
    /// In the queue. The framework owns it and may cancel it.
    Waiting,
    /// The driver owns it; it counts against the queue's limit.
    Presented,
    /// It still counts, but is being completed or forwarded.
    Leaving,
    /// Cancelled in the queue; the driver is told, or the framework completes it.
    Cancelled,
}

/// How far the cancelling of a request that the driver owns has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// It is not cancelable.
    No,
    /// It is cancelable: the IRP has our cancel routine.
    Marked,
    /// Someone has taken the cancel routine and will come with it.
    Fired,
    /// `EvtRequestCancel` is to be called.
    Due,
    /// `EvtRequestCancel` has been called.
    Called,
}

/// How far the power stop of a request that the driver owns has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// No stop.
    No,
    /// `EvtIoStop` is to be called.
    Due,
    /// `EvtIoStop` runs and has not acknowledged yet.
    Calling,
    /// `EvtIoStop` runs and has acknowledged; `requeue` as it asked.
    Acknowledged {
        /// Back to the head of the queue.
        requeue: bool,
    },
    /// `EvtIoStop` has returned without an acknowledgement (or there is none): the request must end or be acknowledged later.
    Unanswered,
    /// The driver keeps it over the power-down.
    Suspended,
    /// `EvtIoResume` is to be called.
    ResumeDue,
}

/// A request as its queue sees it.
pub(crate) struct Entry {
    pub(crate) place_link: Link<Entry>,
    pub(crate) cancel_link: Link<Entry>,
    /// The IRP, valid until the request is completed.
    pub(crate) irp: *mut IRP,
    /// The file the IRP came through, or null.
    pub(crate) file: *mut FILE_OBJECT,
    /// The request object, for [`crate::object::Ref::borrow_context`].
    pub(crate) request: *mut c_void,
    pub(crate) place: Place,
    pub(crate) cancel: Cancel,
    pub(crate) stop: Stop,
    /// The driver has owned it before, so it is told when the request is cancelled in a queue.
    pub(crate) presented_before: bool,
}

impl Entry {
    /// In no queue, never presented.
    pub(crate) const fn new(irp: *mut IRP, file: *mut FILE_OBJECT) -> Self {
        Self {
            place_link: Link::new(),
            cancel_link: Link::new(),
            irp,
            file,
            request: null_mut(),
            place: Place::Nowhere,
            cancel: Cancel::No,
            stop: Stop::No,
            presented_before: false,
        }
    }
}

/// The lists of places: waiting, presented, cancelled.
pub(super) const PLACE: usize = 0;
/// The list of those whose `EvtRequestCancel` is due.
pub(super) const CANCEL: usize = 1;

// SAFETY: the link is inside the entry, always the same.
unsafe impl Linked<PLACE> for Entry {
    unsafe fn link(element: *mut Self) -> *mut Link<Self> {
        // SAFETY: the caller's promise.
        unsafe { addr_of_mut!((*element).place_link) }
    }
}

// SAFETY: the link is inside the entry, always the same.
unsafe impl Linked<CANCEL> for Entry {
    unsafe fn link(element: *mut Self) -> *mut Link<Self> {
        // SAFETY: the caller's promise.
        unsafe { addr_of_mut!((*element).cancel_link) }
    }
}
