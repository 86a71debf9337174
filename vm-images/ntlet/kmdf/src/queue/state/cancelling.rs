//! The half of a queue's state that cancels: in the queue, requests that the driver has marked, and all at once.

use core::ptr::null_mut;

use wdf_sys::wdm::FILE_OBJECT;

use super::super::entry::{Cancel, Entry, Place};
use super::{Marked, State, Unmarked};
use crate::request::irp;

impl State {
    /// The IRP's cancel routine has come. `true`: for a request marked cancelable that is no longer the driver's, so there is nobody left
    /// to tell.
    pub(crate) unsafe fn irp_cancelled(&mut self, entry: *mut Entry) -> bool {
        // SAFETY: the caller's promise.
        unsafe {
            match ((*entry).place, (*entry).cancel) {
                (Place::Waiting, _) => self.cancel_waiting(entry),
                (Place::Presented, Cancel::Marked | Cancel::Fired) => self.cancel_due(entry),
                _ => return true,
            }
        }
        false
    }

    pub(super) unsafe fn cancel_waiting(&mut self, entry: *mut Entry) {
        // SAFETY: a waiting entry is in `waiting`.
        unsafe {
            self.waiting.remove(entry);
            self.cancelled.push_back(entry);
            (*entry).place = Place::Cancelled;
        }
    }

    /// Has `EvtRequestCancel` called for a presented request whose cancel routine is taken.
    pub(crate) unsafe fn cancel_due(&mut self, entry: *mut Entry) {
        // SAFETY: the caller's promise; an entry whose cancel was not due is not in `cancels`.
        unsafe {
            (*entry).cancel = Cancel::Due;
            self.cancels.push_back(entry);
        }
    }

    /// Makes a presented request cancelable.
    pub(crate) unsafe fn mark_cancelable(&mut self, entry: *mut Entry) -> Marked {
        // SAFETY: the caller's promise.
        unsafe {
            (*entry).cancel = Cancel::Marked;
            irp::arm((*entry).irp, self.rules.cancel_routine, (*entry).request);
            if irp::is_cancelled((*entry).irp) && irp::disarm((*entry).irp) {
                (*entry).cancel = Cancel::No;
                return Marked::AlreadyCancelled;
            }
        }
        Marked::Yes
    }

    /// Takes the mark back.
    pub(crate) unsafe fn unmark_cancelable(&mut self, entry: *mut Entry) -> Unmarked {
        // SAFETY: the caller's promise.
        unsafe {
            match (*entry).cancel {
                Cancel::No => Unmarked::WasNot,
                Cancel::Marked if irp::disarm((*entry).irp) => {
                    (*entry).cancel = Cancel::No;
                    Unmarked::Yes
                }
                Cancel::Marked => {
                    (*entry).cancel = Cancel::Fired;
                    Unmarked::Cancelled
                }
                Cancel::Fired | Cancel::Due | Cancel::Called => Unmarked::Cancelled,
            }
        }
    }

    /// Cancels the waiting requests of a file, or of all files for null; with `of_driver` the cancelable ones that the driver owns, too.
    pub(crate) fn cancel_all(&mut self, file: *mut FILE_OBJECT, of_driver: bool) {
        let mut at = self.waiting.first();
        while !at.is_null() {
            // SAFETY: `at` is in `waiting`; its successor is read before it may leave.
            unsafe {
                let entry = at;
                at = self.waiting.after(entry);
                if (file.is_null() || (*entry).file == file) && irp::disarm((*entry).irp) {
                    self.cancel_waiting(entry);
                }
            }
        }
        let mut at = if of_driver { self.presented.first() } else { null_mut() };
        while !at.is_null() {
            // SAFETY: `at` is in `presented`, which does not change here.
            unsafe {
                if (file.is_null() || (*at).file == file) && (*at).cancel == Cancel::Marked {
                    if irp::disarm((*at).irp) {
                        self.cancel_due(at);
                    } else {
                        (*at).cancel = Cancel::Fired;
                    }
                }
                at = self.presented.after(at);
            }
        }
    }
}
