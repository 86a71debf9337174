//! The half of a queue's state that follows the device's power: halting, stopping each request the driver owns, resuming.

use wdf_sys::wdf::{WdfRequestStopActionPurge, WdfRequestStopRequestCancelable};
use wdf_sys::wdm::KEVENT;

use super::super::entry::{Cancel, Entry, Place, Stop};
use super::{Notify, Power, State, Step};

impl State {
    /// First phase of a power-down: no presentation from now on.
    pub(crate) fn halt(&mut self) {
        if self.rules.power_managed && matches!(self.power, Power::On | Power::Resuming) {
            self.power = Power::Halted;
        }
    }

    /// Second phase: `EvtIoStop` for every request the driver owns. `event` is set when all are gone or suspended.
    pub(crate) fn stop_for_power(&mut self, flags: u32, event: *mut KEVENT) {
        self.power = Power::Stopping(flags);
        self.power_waiter = event;
        // What was only suspended has to end when the device is removed, so the driver is told again.
        let again = flags & WdfRequestStopActionPurge != 0 && !self.told_of_removal;
        self.told_of_removal |= flags & WdfRequestStopActionPurge != 0;
        let first = self.first_stop();
        let mut at = self.presented.first();
        while !at.is_null() {
            // SAFETY: `at` is in `presented`, which does not change here.
            unsafe {
                if (*at).stop == Stop::Suspended && again {
                    self.suspended -= 1;
                    (*at).stop = first;
                } else if (*at).stop != Stop::Suspended {
                    (*at).stop = first;
                }
                at = self.presented.after(at);
            }
        }
    }

    /// Whether the driver holds suspended requests and does not know that the device goes.
    pub(crate) const fn must_tell_of_removal(&self) -> bool {
        self.suspended != 0 && !self.told_of_removal
    }

    pub(super) const fn first_stop(&self) -> Stop {
        if self.rules.tells_stop { Stop::Due } else { Stop::Unanswered }
    }

    /// `WdfRequestStopAcknowledge`. `false`: no `EvtIoStop` runs for it.
    pub(crate) unsafe fn acknowledge_stop(&mut self, entry: *mut Entry, requeue: bool) -> bool {
        // SAFETY: the caller's promise.
        unsafe {
            let running = matches!((*entry).stop, Stop::Calling | Stop::Acknowledged { .. });
            if running {
                (*entry).stop = Stop::Acknowledged { requeue };
            }
            running
        }
    }

    /// The same outside `EvtIoStop`, which only a driver without the verifier gets away with.
    pub(crate) unsafe fn acknowledge_late(&mut self, entry: *mut Entry, requeue: bool) {
        // SAFETY: the caller's promise.
        unsafe {
            if (*entry).stop == Stop::Unanswered {
                (*entry).stop = Stop::Acknowledged { requeue };
                self.stop_returned(entry);
            }
        }
    }

    /// `EvtIoStop` has returned. The request may be anywhere by now, as long as its object lives and it has not entered another queue.
    pub(crate) unsafe fn stop_returned(&mut self, entry: *mut Entry) {
        // SAFETY: the caller's promise.
        unsafe {
            if (*entry).place != Place::Presented {
                return;
            }
            match (*entry).stop {
                Stop::Acknowledged { requeue: true } => self.requeue(entry),
                Stop::Acknowledged { requeue: false } => {
                    (*entry).stop = Stop::Suspended;
                    self.suspended += 1;
                }
                Stop::Calling => (*entry).stop = Stop::Unanswered,
                _ => {}
            }
        }
    }

    /// Handles of the requests that the driver has and that are not acknowledged, as many as there is room for. How many that is.
    pub(crate) fn unanswered(&self, handles: &mut [usize]) -> usize {
        let mut count = 0;
        let mut at = self.presented.first();
        while !at.is_null() && count < handles.len() {
            // SAFETY: `at` is in `presented`, so its request is there.
            unsafe {
                if (*at).stop != Stop::Suspended {
                    handles[count] = (*(*at).request.cast::<crate::object::Header>()).handle;
                    count += 1;
                }
                at = self.presented.after(at);
            }
        }
        count
    }

    /// The device works again.
    pub(crate) fn resume(&mut self) {
        if !self.rules.power_managed {
            return;
        }
        self.power = Power::Resuming;
        self.told_of_removal = false;
        self.suspended = 0;
        let next = if self.rules.tells_resume { Stop::ResumeDue } else { Stop::No };
        let mut at = self.presented.first();
        while !at.is_null() {
            // SAFETY: `at` is in `presented`, which does not change here.
            unsafe {
                (*at).stop = if (*at).stop == Stop::Suspended { next } else { Stop::No };
                at = self.presented.after(at);
            }
        }
    }

    /// The first presented request in a state of its power stop, moved to the end so that the others are found at once.
    fn presented_in(&mut self, stop: Stop) -> Option<*mut Entry> {
        let mut at = self.presented.first();
        while !at.is_null() {
            // SAFETY: `at` is in `presented`.
            unsafe {
                if (*at).stop == stop {
                    self.presented.remove(at);
                    self.presented.push_back(at);
                    return Some(at);
                }
                at = self.presented.after(at);
            }
        }
        None
    }

    pub(super) fn next_power(&mut self) -> Option<Step> {
        match self.power {
            Power::Stopping(flags) => {
                if let Some(entry) = self.presented_in(Stop::Due) {
                    // SAFETY: it is in `presented`.
                    unsafe {
                        (*entry).stop = Stop::Calling;
                        let cancelable = if (*entry).cancel == Cancel::Marked { WdfRequestStopRequestCancelable } else { 0 };
                        return Some(Step::Stop(entry, flags | cancelable));
                    }
                }
                if self.suspended != self.in_driver {
                    return None;
                }
                self.power = Power::Off;
                let event = core::mem::replace(&mut self.power_waiter, core::ptr::null_mut());
                Some(Step::Notify(Notify::event(event)))
            }
            Power::Resuming => {
                if let Some(entry) = self.presented_in(Stop::ResumeDue) {
                    // SAFETY: it is in `presented`.
                    unsafe { (*entry).stop = Stop::No };
                    return Some(Step::Resume(entry));
                }
                self.power = Power::On;
                self.ready_due = self.ready.is_some() && !self.waiting.is_empty();
                None
            }
            Power::On | Power::Halted | Power::Off => None,
        }
    }
}
