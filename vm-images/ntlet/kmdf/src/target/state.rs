//! What an I/O target decides: whether a request goes through, waits or is refused, and which requests are out. Pure; the target object
//! holds its spin lock around every method.
//!
//! Of a target's two gates the first lets requests in, the second lets them through to the device. Requests that ignore the state go
//! through both, and are not on the list of sent ones, so that a stop neither cancels nor awaits them.

use core::ffi::c_void;
use core::ptr::{addr_of_mut, null_mut};

use wdf_sys::wdf::WDF_IO_TARGET_STATE;

use crate::queue::list::{Link, Linked, List};

/// What a target does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// To the device.
    Send,
    /// It waits until the target is started.
    Queue,
    /// It does not get in.
    Refuse,
}

/// Which list of the target a request is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// None.
    Nowhere,
    /// Waiting for the target to start.
    Waiting,
    /// Sent to the device.
    Out,
}

/// A request as its target sees it. Lies inside the request object and belongs to the target while it is in a list.
pub(crate) struct Errand {
    link: Link<Errand>,
    /// The request object, for [`crate::object::Ref::borrow_context`].
    pub(crate) request: *mut c_void,
    whereabouts: Whereabouts,
    /// The last walk over the list that has seen it.
    walk: u32,
    /// Counted among those that are out, until its completion routine has returned.
    counted: bool,
}

impl Errand {
    /// In no list.
    pub(crate) const fn new() -> Self {
        Self { link: Link::new(), request: null_mut(), whereabouts: Whereabouts::Nowhere, walk: 0, counted: false }
    }
}

// SAFETY: the link is inside the errand, always the same.
unsafe impl Linked<0> for Errand {
    unsafe fn link(element: *mut Self) -> *mut Link<Self> {
        // SAFETY: the caller's promise.
        unsafe { addr_of_mut!((*element).link) }
    }
}

/// The target's state and its requests.
pub(crate) struct State {
    now: WDF_IO_TARGET_STATE,
    waiting: List<Errand, 0>,
    out: List<Errand, 0>,
    /// Those in `out`, and those that have left it but whose completion routine has not returned.
    unfinished: u32,
    walk: u32,
}

impl State {
    /// A target in a state, without requests.
    pub(crate) const fn new(now: WDF_IO_TARGET_STATE) -> Self {
        Self { now, waiting: List::new(), out: List::new(), unfinished: 0, walk: 0 }
    }

    /// The state.
    pub(crate) const fn now(&self) -> WDF_IO_TARGET_STATE {
        self.now
    }

    /// Changes the state.
    pub(crate) const fn set(&mut self, now: WDF_IO_TARGET_STATE) {
        self.now = now;
    }

    /// What becomes of a request that is sent now.
    pub(crate) const fn admit(&self, ignore_state: bool) -> Admission {
        match self.now {
            _ if ignore_state && !self.is_gone() => Admission::Send,
            WDF_IO_TARGET_STATE::WdfIoTargetStarted => Admission::Send,
            WDF_IO_TARGET_STATE::WdfIoTargetStopped => Admission::Queue,
            _ => Admission::Refuse,
        }
    }

    /// No device is behind the target: not even a request that ignores the state can go anywhere.
    pub(crate) const fn is_gone(&self) -> bool {
        matches!(
            self.now,
            WDF_IO_TARGET_STATE::WdfIoTargetStateUndefined
                | WDF_IO_TARGET_STATE::WdfIoTargetClosed
                | WDF_IO_TARGET_STATE::WdfIoTargetClosedForQueryRemove
                | WDF_IO_TARGET_STATE::WdfIoTargetDeleted
        )
    }

    /// Enters a request: `Send` among those that are out (unless it ignored the state), `Queue` among those that wait.
    ///
    /// # Safety
    /// `errand` is valid, in no list, and stays where it is until [`State::leave`].
    pub(crate) unsafe fn enter(&mut self, errand: *mut Errand, admission: Admission, ignore_state: bool) {
        // SAFETY: the caller's promise.
        unsafe {
            match admission {
                Admission::Queue => {
                    (*errand).whereabouts = Whereabouts::Waiting;
                    self.waiting.push_back(errand);
                }
                Admission::Send if !ignore_state => {
                    (*errand).whereabouts = Whereabouts::Out;
                    (*errand).counted = true;
                    self.out.push_back(errand);
                    self.unfinished += 1;
                }
                Admission::Send | Admission::Refuse => {}
            }
        }
    }

    /// The first waiting request goes out, if the target is started.
    pub(crate) fn next_waiting(&mut self) -> Option<*mut Errand> {
        if self.now != WDF_IO_TARGET_STATE::WdfIoTargetStarted {
            return None;
        }
        let errand = self.waiting.pop_front()?;
        // SAFETY: it was in `waiting`, and is in no list now.
        unsafe {
            (*errand).whereabouts = Whereabouts::Nowhere;
            self.enter(errand, Admission::Send, false);
        }
        Some(errand)
    }

    /// A request has ended. It still counts until [`State::finished`] if this says so.
    ///
    /// # Safety
    /// `errand` is valid and has been entered here, or nowhere.
    pub(crate) unsafe fn leave(&mut self, errand: *mut Errand) -> bool {
        // SAFETY: the caller's promise.
        unsafe {
            match (*errand).whereabouts {
                Whereabouts::Waiting => self.waiting.remove(errand),
                Whereabouts::Out => self.out.remove(errand),
                Whereabouts::Nowhere => {}
            }
            (*errand).whereabouts = Whereabouts::Nowhere;
            core::mem::take(&mut (*errand).counted)
        }
    }

    /// The completion routine of a counted request has returned. Whether none is unfinished now.
    pub(crate) const fn finished(&mut self) -> bool {
        self.unfinished -= 1;
        self.unfinished == 0
    }

    /// Requests that are out or in their completion routine.
    pub(crate) const fn unfinished(&self) -> u32 {
        self.unfinished
    }

    /// Begins a walk over all requests, to cancel them.
    pub(crate) const fn begin_walk(&mut self) -> u32 {
        self.walk = self.walk.wrapping_add(1);
        self.walk
    }

    /// The next request that the walk has not seen: those that wait first, then those that are out.
    pub(crate) fn next_of_walk(&mut self, walk: u32) -> Option<*mut Errand> {
        for list in [&mut self.waiting, &mut self.out] {
            let first = list.first();
            // SAFETY: `first` is null or in the list; it moves to the end, so that the unseen ones stay in front.
            unsafe {
                if !first.is_null() && (*first).walk != walk {
                    (*first).walk = walk;
                    list.remove(first);
                    list.push_back(first);
                    return Some(first);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: WDF_IO_TARGET_STATE = WDF_IO_TARGET_STATE::WdfIoTargetStarted;
    const STOPPED: WDF_IO_TARGET_STATE = WDF_IO_TARGET_STATE::WdfIoTargetStopped;

    fn errands(count: usize) -> Vec<Errand> {
        (0..count).map(|_| Errand::new()).collect()
    }

    #[test]
    fn a_stopped_target_queues_and_a_purged_closed_or_deleted_one_refuses() {
        let mut state = State::new(STARTED);
        assert_eq!(state.admit(false), Admission::Send);
        state.set(STOPPED);
        assert_eq!(state.admit(false), Admission::Queue);
        for refusing in [
            WDF_IO_TARGET_STATE::WdfIoTargetPurged,
            WDF_IO_TARGET_STATE::WdfIoTargetClosed,
            WDF_IO_TARGET_STATE::WdfIoTargetClosedForQueryRemove,
            WDF_IO_TARGET_STATE::WdfIoTargetDeleted,
        ] {
            state.set(refusing);
            assert_eq!(state.admit(false), Admission::Refuse);
        }
    }

    #[test]
    fn a_request_that_ignores_the_state_goes_through_as_long_as_there_is_a_device() {
        let mut state = State::new(STOPPED);
        assert_eq!(state.admit(true), Admission::Send);
        state.set(WDF_IO_TARGET_STATE::WdfIoTargetPurged);
        assert_eq!(state.admit(true), Admission::Send);
        state.set(WDF_IO_TARGET_STATE::WdfIoTargetDeleted);
        assert_eq!(state.admit(true), Admission::Refuse);
    }

    #[test]
    fn requests_that_waited_go_out_in_order_once_the_target_is_started() {
        let mut errands = errands(3);
        let at = errands.as_mut_ptr();
        let mut state = State::new(STOPPED);
        for number in 0..3 {
            // SAFETY: the errands outlive the state.
            unsafe { state.enter(at.add(number), Admission::Queue, false) };
        }
        assert_eq!(state.next_waiting(), None);
        state.set(STARTED);
        for number in 0..3 {
            // SAFETY: within the vector.
            assert_eq!(state.next_waiting(), Some(unsafe { at.add(number) }));
        }
        assert_eq!(state.next_waiting(), None);
        assert_eq!(state.unfinished(), 3);
    }

    #[test]
    fn a_request_counts_until_its_completion_routine_has_returned() {
        let mut errands = errands(1);
        let at = errands.as_mut_ptr();
        let mut state = State::new(STARTED);
        // SAFETY: the errand outlives the state.
        let counted = unsafe {
            state.enter(at, Admission::Send, false);
            state.leave(at)
        };
        assert!(counted);
        assert_eq!(state.unfinished(), 1);
        assert!(state.finished());
    }

    #[test]
    fn a_request_that_ignored_the_state_is_neither_listed_nor_awaited() {
        let mut errands = errands(1);
        let at = errands.as_mut_ptr();
        let mut state = State::new(STOPPED);
        // SAFETY: the errand outlives the state.
        unsafe {
            state.enter(at, Admission::Send, true);
            assert_eq!(state.unfinished(), 0);
            let walk = state.begin_walk();
            assert_eq!(state.next_of_walk(walk), None);
            assert!(!state.leave(at));
        }
    }

    #[test]
    fn a_walk_sees_every_request_once_although_they_leave_meanwhile() {
        let mut errands = errands(4);
        let at = errands.as_mut_ptr();
        let mut state = State::new(STARTED);
        // SAFETY: the errands outlive the state.
        unsafe {
            for number in 0..4 {
                state.enter(at.add(number), Admission::Send, false);
            }
            let walk = state.begin_walk();
            assert_eq!(state.next_of_walk(walk), Some(at));
            state.leave(at);
            state.leave(at.add(2));
            assert_eq!(state.next_of_walk(walk), Some(at.add(1)));
            assert_eq!(state.next_of_walk(walk), Some(at.add(3)));
            assert_eq!(state.next_of_walk(walk), None);
            let again = state.begin_walk();
            assert_eq!(state.next_of_walk(again), Some(at.add(1)));
        }
    }
}
