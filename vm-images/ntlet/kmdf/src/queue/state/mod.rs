//! What a queue decides: which requests it takes, and what is to be done next. Pure: no lock, no callback, no kernel.
//!
//! The queue object holds its lock around every method, asks [`State::next`] for a [`Step`], releases the lock, takes the step and asks
//! again. The order of steps is fixed: cancels, cancelled on the queue, completions of stop, drain and purge, purging, power, requests.
//!
//! Who may touch an IRP is settled by its cancel routine: an entry leaves [`Place::Waiting`] or [`Cancel::Marked`] only with the routine
//! taken back. When someone else has taken it, the entry stays until that someone has come to [`State::irp_cancelled`].
//!
//! Every method that takes an entry wants it valid, with a valid IRP, and not in another queue; that is the `unsafe` of all of them.

mod cancelling;
mod power;
#[cfg(test)]
mod tests;

use core::ffi::c_void;

use wdf_sys::wdf::PFN_WDF_IO_QUEUE_STATE;
use wdf_sys::wdm::{FILE_OBJECT, KEVENT};

use super::entry::{CANCEL, Cancel, Entry, PLACE, Place, Stop};
use super::list::List;
use crate::request::irp::{self, CancelRoutine};

/// How a queue hands out requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One at a time.
    Sequential,
    /// As they come, at most so many at once.
    Parallel(u32),
    /// When the driver asks.
    Manual,
}

/// What a queue was created with, as far as it decides anything.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// How it hands out requests.
    pub(crate) kind: Kind,
    /// Whether it stops and resumes with the device's power.
    pub(crate) power_managed: bool,
    /// Whether there is an `EvtIoStop`.
    pub(crate) tells_stop: bool,
    /// Whether there is an `EvtIoResume`.
    pub(crate) tells_resume: bool,
    /// Whether there is an `EvtIoCanceledOnQueue`.
    pub(crate) tells_cancelled: bool,
    /// The IRPs' cancel routine, which ends in [`State::irp_cancelled`].
    pub(crate) cancel_routine: CancelRoutine,
}

/// Power, as a power-managed queue sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    /// The device works.
    On,
    /// No new presentation; the stop of this queue has not begun.
    Halted,
    /// `EvtIoStop` is being called; the flags it gets.
    Stopping(u32),
    /// Every presented request is gone or suspended.
    Off,
    /// `EvtIoResume` is being called.
    Resuming,
}

/// A change of a queue that takes until requests have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// No presentation; done when the driver owns none.
    Stop,
    /// No new requests; done when none is left.
    Drain,
    /// No new requests, cancel those there are; done when none is left.
    Purge,
    /// No presentation, cancel those there are; done when the driver owns none.
    StopAndPurge,
}

impl Change {
    /// A queue can have two completion callbacks pending, one of each kind: that of a stop, and that of a drain or purge, in whose order they
    /// are called.
    const fn kind(self) -> usize {
        match self {
            Self::Stop | Self::StopAndPurge => 0,
            Self::Drain | Self::Purge => 1,
        }
    }
}

/// See [`Change::kind`].
const KINDS_OF_CHANGE: usize = 2;

/// Whom to tell that a change is done: a callback of the driver's, or a thread that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notify {
    /// The driver's callback.
    pub(crate) callback: PFN_WDF_IO_QUEUE_STATE,
    /// Its context.
    pub(crate) context: *mut c_void,
    /// The waiting thread's event, or null.
    pub(crate) event: *mut KEVENT,
}

impl Notify {
    /// A thread that waits for `event`.
    pub(crate) const fn event(event: *mut KEVENT) -> Self {
        Self { callback: None, context: core::ptr::null_mut(), event }
    }
}

/// What is to be done next, outside the lock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Nothing.
    None,
    /// Call `EvtRequestCancel`.
    CallCancel(*mut Entry),
    /// Call `EvtIoCanceledOnQueue`; the driver owns the request again.
    CallCancelledOnQueue(*mut Entry),
    /// Complete with STATUS_CANCELLED, then call [`State::completed_cancelled`].
    CompleteCancelled(*mut Entry),
    /// Tell that a change or the power stop is done.
    Notify(Notify),
    /// Call `EvtIoStop` with the flags, then [`State::stop_returned`].
    Stop(*mut Entry, u32),
    /// Call `EvtIoResume`.
    Resume(*mut Entry),
    /// Tell that a manual queue has become ready.
    Ready(Notify),
    /// Call the request handler.
    Present(*mut Entry),
}

/// Why nothing was retrieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Empty {
    /// Stopped or powered off.
    Paused,
    /// Parallel queues deliver, they are not asked.
    NotForParallel,
    /// No such request is waiting.
    NoMore,
    /// The request named is not waiting here (any more).
    NotFound,
}

/// What marking a request cancelable led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marked {
    /// It is cancelable, or its cancel routine is already on its way.
    Yes,
    /// It had been cancelled before; it is not cancelable now.
    AlreadyCancelled,
}

/// What taking the mark back led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmarked {
    /// It is not cancelable any more, and will not be cancelled.
    Yes,
    /// `EvtRequestCancel` is due, runs, or has run; it owns the request.
    Cancelled,
    /// It was not cancelable.
    WasNot,
}

/// A second completion callback while one of its kind is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AlreadyPending;

/// What the queue has decided so far.
pub(crate) struct State {
    rules: Rules,
    accept: bool,
    dispatch: bool,
    power: Power,
    waiting: List<Entry, PLACE>,
    presented: List<Entry, PLACE>,
    cancelled: List<Entry, PLACE>,
    cancels: List<Entry, CANCEL>,
    /// Presented and leaving ones.
    in_driver: u32,
    /// Those among them in [`Stop::Suspended`].
    suspended: u32,
    /// Cancelled ones that are being completed.
    completing: u32,
    purge_due: bool,
    /// By [`Change::kind`].
    changes: [Option<(Change, Notify)>; KINDS_OF_CHANGE],
    power_waiter: *mut KEVENT,
    /// `EvtIoStop` has been called for the removal of the device.
    told_of_removal: bool,
    /// PnP waits until nothing is left, whatever the driver waits for.
    removal: Option<Notify>,
    ready: Option<Notify>,
    ready_due: bool,
}

impl State {
    /// An empty queue that accepts and dispatches, as far as power lets it.
    pub(crate) const fn new(rules: Rules, power: Power) -> Self {
        Self {
            rules,
            accept: true,
            dispatch: true,
            power,
            waiting: List::new(),
            presented: List::new(),
            cancelled: List::new(),
            cancels: List::new(),
            in_driver: 0,
            suspended: 0,
            completing: 0,
            purge_due: false,
            changes: [None; KINDS_OF_CHANGE],
            power_waiter: core::ptr::null_mut(),
            told_of_removal: false,
            removal: None,
            ready: None,
            ready_due: false,
        }
    }

    // What it is like.

    /// Whether it takes new requests.
    pub(crate) const fn accepts(&self) -> bool {
        self.accept
    }

    /// Whether it would hand out requests, had it any.
    pub(crate) const fn dispatches(&self) -> bool {
        self.dispatch
    }

    /// Whether it stands still because its device is not in its working state.
    pub(crate) const fn is_held_by_power(&self) -> bool {
        self.rules.power_managed && !matches!(self.power, Power::On)
    }

    /// Requests in the queue and requests the driver owns.
    pub(crate) const fn counts(&self) -> (u32, u32) {
        (self.waiting.len() + self.cancelled.len(), self.in_driver)
    }

    /// What it was created with.
    pub(crate) const fn rules(&self) -> &Rules {
        &self.rules
    }

    const fn hands_out(&self) -> bool {
        self.dispatch && !self.is_held_by_power()
    }

    const fn has_room(&self) -> bool {
        match self.rules.kind {
            Kind::Sequential => self.in_driver == 0,
            Kind::Parallel(limit) => self.in_driver < limit,
            Kind::Manual => false,
        }
    }

    // Requests come.

    /// Takes a new or forwarded request at the tail. `false`: the queue does not accept, and nothing has changed.
    pub(crate) unsafe fn insert(&mut self, entry: *mut Entry) -> bool {
        if self.accept {
            // SAFETY: the caller's promise.
            unsafe { self.wait(entry, false) };
        }
        self.accept
    }

    /// Puts a request that the driver owned back at the head; it no longer counts.
    pub(crate) unsafe fn requeue(&mut self, entry: *mut Entry) {
        // SAFETY: the caller's promise; the entry is presented here.
        unsafe {
            self.leave(entry);
            self.in_driver -= 1;
            self.wait(entry, true);
        }
    }

    unsafe fn wait(&mut self, entry: *mut Entry, at_head: bool) {
        if self.waiting.is_empty() {
            self.ready_due = self.ready.is_some();
        }
        // SAFETY: the caller's promise; the entry is in no list of places.
        unsafe {
            (*entry).place = Place::Waiting;
            (*entry).cancel = Cancel::No;
            (*entry).stop = Stop::No;
            if at_head {
                self.waiting.push_front(entry);
            } else {
                self.waiting.push_back(entry);
            }
            irp::arm((*entry).irp, self.rules.cancel_routine, (*entry).request);
            if irp::is_cancelled((*entry).irp) && irp::disarm((*entry).irp) {
                self.cancel_waiting(entry);
            }
        }
    }

    // Requests go.

    /// The driver gives up a presented request: it is being completed or forwarded, and counts until [`State::left`].
    pub(crate) unsafe fn leave(&mut self, entry: *mut Entry) {
        // SAFETY: the caller's promise; a presented entry is in `presented`, and in `cancels` while its cancel is due.
        unsafe {
            debug_assert_eq!((*entry).place, Place::Presented);
            self.presented.remove(entry);
            if (*entry).cancel == Cancel::Due {
                self.cancels.remove(entry);
                (*entry).cancel = Cancel::Called;
            }
            if (*entry).stop == Stop::Suspended {
                self.suspended -= 1;
            }
            (*entry).place = Place::Leaving;
        }
    }

    /// Takes a waiting request out, to be moved to another queue: it counts until [`State::left`]. `false`: it is being cancelled.
    pub(crate) unsafe fn take_waiting(&mut self, entry: *mut Entry) -> bool {
        // SAFETY: the caller's promise; a waiting entry is in `waiting`.
        unsafe {
            if !irp::disarm((*entry).irp) {
                return false;
            }
            self.waiting.remove(entry);
            (*entry).place = Place::Leaving;
        }
        self.in_driver += 1;
        true
    }

    /// One request that was leaving has left.
    pub(crate) const fn left(&mut self) {
        self.in_driver -= 1;
    }

    /// A request that was leaving stays after all, since the destination did not accept it.
    pub(crate) unsafe fn stay(&mut self, entry: *mut Entry) {
        // SAFETY: the caller's promise; a leaving entry is in no list.
        unsafe {
            (*entry).place = Place::Presented;
            match (*entry).stop {
                Stop::Suspended => {
                    self.suspended += 1;
                    self.presented.push_back(entry);
                }
                Stop::Due => self.presented.push_front(entry),
                Stop::No if matches!(self.power, Power::Stopping(_)) => {
                    (*entry).stop = self.first_stop();
                    self.presented.push_front(entry);
                }
                _ => self.presented.push_back(entry),
            }
        }
    }

    /// A step [`Step::CompleteCancelled`] has been taken.
    pub(crate) const fn completed_cancelled(&mut self) {
        self.completing -= 1;
    }

    // Changes.

    /// Accepts and dispatches again.
    pub(crate) fn start(&mut self) {
        self.accept = true;
        self.dispatch = true;
        self.ready_due = self.ready.is_some() && !self.waiting.is_empty();
    }

    /// Begins a change.
    pub(crate) fn begin(&mut self, change: Change, notify: Option<Notify>) -> Result<(), AlreadyPending> {
        if notify.is_some() && self.changes[change.kind()].is_some() {
            return Err(AlreadyPending);
        }
        match change {
            Change::Stop | Change::StopAndPurge => (self.accept, self.dispatch) = (true, false),
            Change::Drain | Change::Purge => self.accept = false,
        }
        self.purge_due |= matches!(change, Change::Purge | Change::StopAndPurge);
        if let Some(notify) = notify {
            self.changes[change.kind()] = Some((change, notify));
        }
        Ok(())
    }

    /// Has PnP told when nothing is left. Independent of what the driver has begun.
    pub(crate) const fn await_empty(&mut self, notify: Notify) {
        self.removal = Some(notify);
    }

    fn is_done(&self, change: Change) -> bool {
        let driver_has_none = self.in_driver == 0 && self.cancelled.is_empty() && self.completing == 0;
        match change {
            Change::Stop => self.in_driver == 0,
            Change::StopAndPurge => driver_has_none,
            Change::Drain | Change::Purge => driver_has_none && self.waiting.is_empty(),
        }
    }

    /// Whom to tell of the first change that is done.
    fn take_done(&mut self) -> Option<Notify> {
        let is_done = |change: &Option<(Change, Notify)>| change.is_some_and(|(change, _)| self.is_done(change));
        let kind = self.changes.iter().position(is_done)?;
        self.changes[kind].take().map(|(_, notify)| notify)
    }

    /// Sets whom a manual queue tells when it is no longer empty. `false`: someone is set already.
    pub(crate) fn set_ready(&mut self, notify: Notify) -> bool {
        if self.ready.is_some() {
            return false;
        }
        self.ready = Some(notify);
        self.ready_due = !self.waiting.is_empty();
        true
    }

    /// Tells nobody any more.
    pub(crate) fn clear_ready(&mut self) {
        self.ready = None;
        self.ready_due = false;
    }

    // What next.

    /// The next step. The step is considered taken; where its documentation says so, a method is to be called afterwards.
    pub(crate) fn next(&mut self) -> Step {
        loop {
            if let Some(entry) = self.cancels.pop_front() {
                // SAFETY: it was in `cancels`.
                unsafe { (*entry).cancel = Cancel::Called };
                return Step::CallCancel(entry);
            }
            if let Some(entry) = self.cancelled.pop_front() {
                return self.next_cancelled(entry);
            }
            if !self.purge_due
                && let Some(notify) = self.take_done()
            {
                return Step::Notify(notify);
            }
            if !self.purge_due
                && self.removal.is_some()
                && self.is_done(Change::Purge)
                && let Some(notify) = self.removal.take()
            {
                return Step::Notify(notify);
            }
            if core::mem::take(&mut self.purge_due) {
                self.cancel_all(core::ptr::null_mut(), true);
                continue;
            }
            if let Some(step) = self.next_power() {
                return step;
            }
            if self.ready_due
                && self.hands_out()
                && let Some(ready) = self.ready
            {
                self.ready_due = false;
                if !self.waiting.is_empty() {
                    return Step::Ready(ready);
                }
            }
            if !self.hands_out() || !self.has_room() {
                return Step::None;
            }
            return self.take(core::ptr::null_mut()).map_or(Step::None, Step::Present);
        }
    }

    fn next_cancelled(&mut self, entry: *mut Entry) -> Step {
        // SAFETY: it was in `cancelled`, and is in no list of places now.
        unsafe {
            if self.is_untold(entry) {
                (*entry).place = Place::Nowhere;
                self.completing += 1;
                return Step::CompleteCancelled(entry);
            }
            self.in_driver += 1;
            self.stay(entry);
        }
        Step::CallCancelledOnQueue(entry)
    }

    /// Whether a cancelled request goes without a word to the driver.
    unsafe fn is_untold(&self, entry: *mut Entry) -> bool {
        // SAFETY: the caller's promise: an entry of the queue.
        unsafe { !(*entry).presented_before || !self.rules.tells_cancelled }
    }

    /// As [`State::next`], for cancelled requests that the driver is not told of alone: [`Step::CompleteCancelled`] or nothing.
    pub(crate) fn next_untold(&mut self) -> Step {
        let mut at = self.cancelled.first();
        while !at.is_null() {
            // SAFETY: `at` is in `cancelled`.
            unsafe {
                if self.is_untold(at) {
                    self.cancelled.remove(at);
                    return self.next_cancelled(at);
                }
                at = self.cancelled.after(at);
            }
        }
        Step::None
    }

    // Asking for requests.

    /// The driver asks for the next request, of a file or (null) of any.
    pub(crate) fn retrieve(&mut self, file: *mut FILE_OBJECT) -> Result<*mut Entry, Empty> {
        self.may_retrieve()?;
        self.take(file).ok_or(Empty::NoMore)
    }

    fn may_retrieve(&self) -> Result<(), Empty> {
        match self.rules.kind {
            Kind::Parallel(_) => Err(Empty::NotForParallel),
            _ if !self.hands_out() => Err(Empty::Paused),
            _ => Ok(()),
        }
    }

    /// The driver looks for a request behind `behind` (null: from the start) without taking it.
    pub(crate) unsafe fn find(&self, behind: *mut Entry, file: *mut FILE_OBJECT) -> Result<*mut Entry, Empty> {
        self.may_retrieve()?;
        let mut at = self.waiting.first();
        if !behind.is_null() {
            // SAFETY: the caller's promise; a waiting entry is in `waiting`.
            unsafe {
                if (*behind).place != Place::Waiting {
                    return Err(Empty::NotFound);
                }
                at = self.waiting.after(behind);
            }
        }
        while !at.is_null() {
            // SAFETY: `at` is in `waiting`.
            unsafe {
                if (file.is_null() || (*at).file == file) && !irp::is_cancelled((*at).irp) {
                    return Ok(at);
                }
                at = self.waiting.after(at);
            }
        }
        Err(Empty::NoMore)
    }

    /// The driver takes the request it has found.
    pub(crate) unsafe fn retrieve_found(&mut self, entry: *mut Entry) -> Result<(), Empty> {
        self.may_retrieve()?;
        // SAFETY: the caller's promise; a waiting entry is in `waiting`.
        unsafe {
            if (*entry).place != Place::Waiting || !irp::disarm((*entry).irp) {
                return Err(Empty::NotFound);
            }
            self.present(entry);
        }
        Ok(())
    }

    /// The first waiting request whose cancel routine can be taken back becomes presented.
    fn take(&mut self, file: *mut FILE_OBJECT) -> Option<*mut Entry> {
        let mut at = self.waiting.first();
        while !at.is_null() {
            // SAFETY: `at` is in `waiting`.
            unsafe {
                if (file.is_null() || (*at).file == file) && irp::disarm((*at).irp) {
                    self.present(at);
                    return Some(at);
                }
                at = self.waiting.after(at);
            }
        }
        None
    }

    unsafe fn present(&mut self, entry: *mut Entry) {
        // SAFETY: the caller's promise; the entry is in `waiting`.
        unsafe {
            self.waiting.remove(entry);
            (*entry).place = Place::Presented;
            (*entry).presented_before = true;
            self.presented.push_back(entry);
        }
        self.in_driver += 1;
    }
}
