//! The time-out of a send: a kernel timer whose DPC cancels the request.
//!
//! An armed timer is a holder of the send (see [`super::sent`]): whoever sets `deadline` back to zero, the DPC or the end of the send, gives
//! that hold up. Each time the timer is set, a reference on the request is counted for its DPC.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU64, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::POOL_FLAG_NON_PAGED;
use wdf_sys::wdm::functions::{
    ExAllocatePool2, ExFreePoolWithTag, KeCancelTimer, KeInitializeDpc, KeInitializeTimer, KeQueryInterruptTime,
    KeQuerySystemTimePrecise, KeRemoveQueueDpc, KeSetTimer,
};
use wdf_sys::wdm::{KDPC, KTIMER};

use super::Request;
use super::send;
use super::sent::Canceller;
use crate::globals::FRAMEWORK_TAG;
use crate::object::Ref;

/// How much earlier than its deadline a timer may be seen to fire, in 100 ns: one tick of a slow clock.
const SLACK: u64 = 160_000;

/// A request's timer, in a block of its own since few requests have one.
pub(crate) struct Timer {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    /// Interrupt time at which the send is to be cancelled; 0 when not armed. Tells the DPC of an earlier send from this one's.
    deadline: AtomicU64,
}

impl Timer {
    /// A timer for a request.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub(crate) fn allocate(request: &Ref<Request>) -> Result<*mut Self, NTSTATUS> {
        // SAFETY: an ordinary allocation, zeroed; the result is checked.
        let block = unsafe { ExAllocatePool2(POOL_FLAG_NON_PAGED, size_of::<Self>(), FRAMEWORK_TAG) }.cast::<Self>();
        if block.is_null() {
            return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
        }
        // SAFETY: the block is large enough and nobody else's; timer and DPC stay where they are.
        unsafe {
            KeInitializeTimer((&raw mut (*block).timer).cast());
            KeInitializeDpc((&raw mut (*block).dpc).cast(), Some(expired), request.as_context());
            (&raw mut (*block).deadline).write(AtomicU64::new(0));
        }
        Ok(block)
    }

    /// Frees a timer, or null.
    pub(crate) fn free(timer: *mut Self) {
        if !timer.is_null() {
            // SAFETY: allocated above with this tag; an armed timer holds a reference on its request, so this one is not.
            unsafe { ExFreePoolWithTag(timer.cast(), FRAMEWORK_TAG) };
        }
    }
}

/// Arms the request's timer. The send has counted a holder for it.
pub(crate) fn arm(request: &Ref<Request>, timer: *mut Timer, due: i64) {
    // SAFETY: the timer is the request's.
    let timer = unsafe { &*timer };
    // SAFETY: reads the clock.
    let now = unsafe { KeQueryInterruptTime() };
    let relative = if due < 0 {
        due.unsigned_abs()
    } else {
        let mut system = 0_i64;
        // SAFETY: writes the local.
        unsafe { KeQuerySystemTimePrecise(&raw mut system) };
        due.saturating_sub(system).max(1).unsigned_abs()
    };
    timer.deadline.store(now.saturating_add(relative).max(1), Ordering::Release);
    let _ = request.clone().into_context();
    let wait = i64::try_from(relative).unwrap_or(i64::MAX);
    // SAFETY: an initialised timer and DPC, which the reference just counted keeps.
    if unsafe { KeSetTimer(timer.timer.get(), -wait, timer.dpc.get()) } != wdf_sys::FALSE {
        // It was still set for an earlier send, whose DPC will not come.
        give_up_reference(request);
    }
}

/// Takes the armed timer from its DPC: the caller is to call [`stop`]. Called under the send's lock, with the send ended, so that it is
/// that send's timer and no later one's.
pub(crate) fn claim(timer: *mut Timer) -> bool {
    // SAFETY: null, or the request's own timer, which goes with it.
    unsafe { timer.as_ref() }.is_some_and(|timer| timer.deadline.swap(0, Ordering::AcqRel) != 0)
}

/// Stops a claimed timer, then gives up its hold on the send.
pub(crate) fn stop(request: &Ref<Request>, timer: *mut Timer) {
    // SAFETY: claimed, so it is there.
    let timer = unsafe { &*timer };
    // SAFETY: an initialised timer and DPC.
    let will_not_come =
        unsafe { KeCancelTimer(timer.timer.get()) != wdf_sys::FALSE || KeRemoveQueueDpc(timer.dpc.get()) != wdf_sys::FALSE };
    if will_not_come {
        give_up_reference(request);
    }
    request.sent.lock().unhold();
}

fn give_up_reference(request: &Ref<Request>) {
    // SAFETY: counted by `arm` for a DPC that will not run.
    drop(unsafe { Ref::<Request>::from_context(request.as_context()) });
}

unsafe extern "win64" fn expired(_dpc: *mut KDPC, context: *mut c_void, _first: *mut c_void, _second: *mut c_void) {
    // SAFETY: `arm` counted a reference for this DPC.
    let request = unsafe { Ref::<Request>::from_context(context) };
    let timer = request.timer.load(Ordering::Acquire);
    if timer.is_null() {
        return;
    }
    // SAFETY: the timer is the request's, and goes with it.
    let timer = unsafe { &*timer };
    let deadline = timer.deadline.load(Ordering::Acquire);
    // SAFETY: reads the clock.
    let now = unsafe { KeQueryInterruptTime() };
    if deadline == 0 || now.saturating_add(SLACK) < deadline {
        return;
    }
    if timer.deadline.compare_exchange(deadline, 0, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return;
    }
    let _ = send::cancel(&request, Canceller::Timeout);
    request.sent.lock().unhold();
    send::ended(&request);
}
