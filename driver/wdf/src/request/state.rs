//! What this crate keeps in every request object that comes from a queue: who owns it while it is cancelable, and its locked buffers.

use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering};

use wdf_sys::{WDFMEMORY, WDFREQUEST};
use zerocopy::FromZeros;

use crate::context;

/// Where a cancelable request is. See the transitions in [`Ownership`]. It begins as the zeroes that the request was created with.
#[derive(Debug, FromZeros)]
pub(crate) struct RequestState {
    pub(crate) ownership: Ownership,
    /// What the driver wants to be given back when the request is cancelled.
    pub(crate) ticket: AtomicU64,
    input: AtomicPtr<c_void>,
    output: AtomicPtr<c_void>,
}

crate::context!(RequestState);

impl RequestState {
    /// The state of a request; none for requests of devices that this crate did not make.
    ///
    /// # Safety
    /// `request` is a valid handle for as long as the result is used.
    pub(crate) unsafe fn of<'a>(request: WDFREQUEST) -> Option<&'a Self> {
        // SAFETY: the caller's promise.
        unsafe { context::slot::<Self>(request.object()) }?.get_or_zeroed()
    }

    pub(crate) fn set_locked_input(&self, memory: WDFMEMORY) {
        self.input.store(memory.0, Ordering::Release);
    }

    pub(crate) fn set_locked_output(&self, memory: WDFMEMORY) {
        self.output.store(memory.0, Ordering::Release);
    }

    pub(crate) fn locked_input(&self) -> Option<WDFMEMORY> {
        let memory = WDFMEMORY(self.input.load(Ordering::Acquire));
        (!memory.is_null()).then_some(memory)
    }

    pub(crate) fn locked_output(&self) -> Option<WDFMEMORY> {
        let memory = WDFMEMORY(self.output.load(Ordering::Acquire));
        (!memory.is_null()).then_some(memory)
    }
}

/// Settles who owns a cancelable request when the driver takes it back while it is being cancelled.
///
/// `IDLE -> MARKED` when it is made cancelable. Then either the cancel callback comes first: `MARKED -> CANCELED`, and the callback owns
/// it. Or the driver takes it back first: `MARKED -> TAKING`, and asks the framework. When the framework says that a cancel is on its way,
/// that callback has either looked in meanwhile (`TAKING -> GIVEN`: it went away, the driver owns it) or not yet (`TAKING -> LEFT`: the
/// callback will own it). The framework is never asked about a request that somebody else may have completed.
#[derive(Debug, Default, FromZeros)]
pub(crate) struct Ownership(AtomicU8);

const IDLE: u8 = 0;
const MARKED: u8 = 1;
const TAKING: u8 = 2;
const CANCELED: u8 = 3;
const GIVEN: u8 = 4;
const LEFT: u8 = 5;

impl Ownership {
    fn change(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The request is made cancelable.
    pub(crate) fn mark(&self) {
        self.0.store(MARKED, Ordering::Release);
    }

    /// The request is not cancelable (any more).
    pub(crate) fn clear(&self) {
        self.0.store(IDLE, Ordering::Release);
    }

    /// The driver wants it back. Whether it may ask the framework: otherwise the cancel callback has it.
    pub(crate) fn begin_taking(&self) -> bool {
        self.change(MARKED, TAKING)
    }

    /// The framework said that a cancel is on its way. Whether the driver owns the (cancelled) request.
    pub(crate) fn take_canceled(&self) -> bool {
        !self.change(TAKING, LEFT)
    }

    /// The cancel callback runs. Whether it owns the request.
    pub(crate) fn callback_owns(&self) -> bool {
        self.change(MARKED, CANCELED) || !self.change(TAKING, GIVEN)
    }

    /// Whether the cancel callback has the request.
    pub(crate) fn is_canceled(&self) -> bool {
        self.0.load(Ordering::Acquire) == CANCELED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_that_comes_first_owns_the_request() {
        let ownership = Ownership::default();
        ownership.mark();
        assert!(ownership.callback_owns());
        assert!(!ownership.begin_taking());
        assert!(ownership.is_canceled());
    }

    #[test]
    fn a_callback_that_comes_while_the_driver_asks_leaves_the_request_to_the_driver() {
        let ownership = Ownership::default();
        ownership.mark();
        assert!(ownership.begin_taking());
        assert!(!ownership.callback_owns());
        assert!(ownership.take_canceled());
    }

    #[test]
    fn a_callback_that_comes_after_the_driver_asked_owns_the_request() {
        let ownership = Ownership::default();
        ownership.mark();
        assert!(ownership.begin_taking());
        assert!(!ownership.take_canceled());
        assert!(ownership.callback_owns());
    }

    #[test]
    fn whatever_the_order_exactly_one_side_owns_a_cancelled_request() {
        for _ in 0..2_000 {
            let ownership = std::sync::Arc::new(Ownership::default());
            ownership.mark();
            let shared = std::sync::Arc::clone(&ownership);
            let callback = std::thread::spawn(move || shared.callback_owns());
            let driver = ownership.begin_taking() && ownership.take_canceled();
            assert!(driver ^ callback.join().expect("it does not panic"));
        }
    }
}
