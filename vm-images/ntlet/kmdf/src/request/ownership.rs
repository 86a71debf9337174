//! Whose a request is: making it cancelable, forwarding, requeuing, acknowledging a stop; and the checks of who may touch it.

use core::sync::atomic::Ordering;

use wdf_sys::wdf::{
    PFN_WDF_REQUEST_CANCEL, WDF_REQUEST_FATAL_ERROR_NULL_IRP, WDF_REQUEST_FATAL_ERROR_REQUEST_ALREADY_SENT,
    WDF_REQUEST_FATAL_ERROR_REQUEST_NOT_IN_QUEUE, WDF_REQUEST_FORWARD_OPTION_SEND_AND_FORGET, WDF_REQUEST_FORWARD_OPTIONS,
};
use wdf_sys::wdm::functions::IoReleaseCancelSpinLock;
use wdf_sys::wdm::{DEVICE_OBJECT, IRP};
use wdf_sys::{BOOLEAN, NTSTATUS, WDFQUEUE, WDFREQUEST};

use super::{Origin, Request, irp};
use crate::call::{Call, ddi};
use crate::history::Event;
use crate::object::Ref;
use crate::queue::Queue;
use crate::queue::entry::{Cancel, Place};
use crate::queue::pump::pump;
use crate::queue::state::{Kind, Marked, Unmarked};
use crate::sync::DISPATCH_LEVEL;
use crate::verifier::{self, BugCheck, Rule};

ddi! {
    // Only a request of a child, a device that the framework has made for a bus driver, can go to its parent; ntlet's framework makes none
    // yet, so that every request is one of those that the page says are refused.
    fn WdfRequestForwardToParentDeviceIoQueue(call, request: WDFREQUEST, queue: WDFQUEUE, options: *mut WDF_REQUEST_FORWARD_OPTIONS) -> NTSTATUS {
        let request = call.object::<Request>(request);
        let _ = call.object::<Queue>(queue);
        match call.sized(options, &[]) {
            Err(status) => return status,
            Ok(options) if options.Flags & !WDF_REQUEST_FORWARD_OPTION_SEND_AND_FORGET != 0 => return NTSTATUS::INVALID_PARAMETER,
            Ok(_) => {}
        }
        if call.globals.verifies() {
            verifier::violation(call.globals, Rule::RequestState, request.any().header().handle, format_args!(
                "{}: the request's device is no child of another one", call.name()));
        }
        NTSTATUS::INVALID_DEVICE_REQUEST
    }

    fn WdfRequestMarkCancelable(call, request: WDFREQUEST, callback: PFN_WDF_REQUEST_CANCEL) {
        let request = call.object::<Request>(request);
        let _ = mark(call, &request, callback, Already::CallsBack);
    }

    fn WdfRequestMarkCancelableEx(call, request: WDFREQUEST, callback: PFN_WDF_REQUEST_CANCEL) -> NTSTATUS {
        let request = call.object::<Request>(request);
        mark(call, &request, callback, Already::IsReturned)
    }

    fn WdfRequestUnmarkCancelable(call, request: WDFREQUEST) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        let request = call.object::<Request>(request);
        unmark(call, &request)
    }

    fn WdfRequestForwardToIoQueue(call, request: WDFREQUEST, destination: WDFQUEUE) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        let request = call.object::<Request>(request);
        let destination = call.object::<Queue>(destination);
        forward(call, &request, &destination)
    }

    fn WdfRequestRequeue(call, request: WDFREQUEST) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        let request = call.object::<Request>(request);
        requeue(call, &request)
    }

    fn WdfRequestStopAcknowledge(call, request: WDFREQUEST, requeue: BOOLEAN) {
        call.irql_at_most(DISPATCH_LEVEL);
        let request = call.object::<Request>(request);
        acknowledge_stop(call, &request, requeue != 0);
    }
}

/// Reports a violation of `rule` if the verifier is on; whether it is.
fn violates(call: &Call, request: &Ref<Request>, rule: Rule, why: &str) -> bool {
    let on = call.globals.verifies();
    if on {
        verifier::violation(call.globals, rule, request.any().header().handle, format_args!("{}: {why}", call.name()));
    }
    on
}

/// Reports that a completed request was used.
pub(crate) fn touched_after_completion(call: &Call, request: &Ref<Request>) {
    violates(call, request, Rule::InvalidReqAccess, "the request has been completed");
}

/// The IRP, if the driver may look into it: the request has one and has not been completed. Using a request that is in a queue or sent
/// is reported by the verifier.
pub(crate) fn accessible(call: &Call, request: &Ref<Request>) -> Option<*mut IRP> {
    let irp = request.irp();
    if irp.is_null() || request.completed.load(Ordering::Acquire) {
        touched_after_completion(call, request);
        return None;
    }
    if call.globals.verifies() && !request.is_drivers() {
        violates(call, request, Rule::RequestTouchedAfterForward, "the driver does not own the request");
    }
    Some(irp)
}

// Cancelling.

/// What happens to a request that has been cancelled before it is marked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Already {
    CallsBack,
    IsReturned,
}

/// Gives back the reference that a cancelable request holds on itself.
pub(crate) fn drop_mark(request: &Ref<Request>) {
    // SAFETY: counted by `mark` as a context of the same type; whoever ends the mark calls this, once.
    drop(unsafe { Ref::<Request>::from_context(request.as_context()) });
}

fn mark(call: &Call, request: &Ref<Request>, callback: PFN_WDF_REQUEST_CANCEL, already: Already) -> NTSTATUS {
    call.irql_at_most(DISPATCH_LEVEL);
    if callback.is_none() {
        call.required::<u8>(core::ptr::null());
    }
    let history = &call.globals.history;
    let handle = request.any().header().handle;
    // Counted before the cancel routine can come; see the top of `request`.
    let _ = request.clone().into_context();
    let result = request.with_queue(|_, state, entry| {
        // SAFETY: `with_queue` holds the lock of the queue that the entry is in.
        unsafe {
            if (*entry).place != Place::Presented {
                return Err("the driver does not own the request");
            }
            if matches!((*entry).cancel, Cancel::Marked | Cancel::Fired | Cancel::Due) {
                return Err("the request is cancelable already");
            }
            request.set_cancel_callback(callback);
            request.cancel_called.store(false, Ordering::Release);
            let marked = state.mark_cancelable(entry);
            if marked == Marked::AlreadyCancelled && already == Already::CallsBack {
                state.cancel_due(entry);
            }
            Ok(marked)
        }
    });
    history.record(Event::RequestMarkedCancelable, handle, request.cancel_callback().map_or(0, |f| f as usize), 0);
    match result {
        Some((_, Ok(Marked::Yes))) => NTSTATUS::SUCCESS,
        Some((queue, Ok(Marked::AlreadyCancelled))) if already == Already::CallsBack => {
            pump(&queue);
            NTSTATUS::CANCELLED
        }
        Some((_, Ok(Marked::AlreadyCancelled))) => {
            drop_mark(request);
            NTSTATUS::CANCELLED
        }
        Some((_, Err(why))) => {
            violates(call, request, Rule::MarkCancOnCancReqLocal, why);
            drop_mark(request);
            NTSTATUS::INVALID_DEVICE_REQUEST
        }
        None => {
            violates(call, request, Rule::RequestState, "the request is not from a queue");
            drop_mark(request);
            NTSTATUS::INVALID_DEVICE_REQUEST
        }
    }
}

fn unmark(call: &Call, request: &Ref<Request>) -> NTSTATUS {
    // SAFETY: `with_queue` holds the lock of the queue that the entry is in.
    let result = request.with_queue(|_, state, entry| unsafe {
        match (*entry).place {
            Place::Presented => state.unmark_cancelable(entry),
            // EvtRequestCancel is completing it at this moment.
            Place::Leaving if (*entry).cancel == Cancel::Called => Unmarked::Cancelled,
            _ => Unmarked::WasNot,
        }
    });
    let status = match result {
        Some((_, Unmarked::Yes)) => {
            drop_mark(request);
            NTSTATUS::SUCCESS
        }
        Some((_, Unmarked::Cancelled)) => NTSTATUS::CANCELLED,
        // EvtRequestCancel has completed it; a driver with a reference of its own finds out here.
        None if request.cancel_called.load(Ordering::Acquire) => NTSTATUS::CANCELLED,
        Some((_, Unmarked::WasNot)) => {
            violates(call, request, Rule::RequestState, "the request is not cancelable");
            NTSTATUS::INVALID_DEVICE_REQUEST
        }
        None => NTSTATUS::INVALID_DEVICE_REQUEST,
    };
    let handle = request.any().header().handle;
    call.globals.history.record(Event::RequestUnmarkedCancelable, handle, status.bits() as usize, 0);
    status
}

/// The cancel routine of every IRP of ours: one that waits in a queue, or that the driver has marked. Called with the cancel spin lock.
pub(crate) unsafe extern "win64" fn cancel_routine(_device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: the IRP is ours until we are done with it, since whoever could complete it has to take the cancel routine back first. So is
    // the request: its creation reference holds it while it waits, the mark's while it is cancelable.
    let (request, irql) = unsafe { (Ref::<Request>::borrow_context(irp::owner(irp)), (*irp).CancelIrql) };
    // SAFETY: the kernel has acquired the lock for this routine, which is to release it.
    unsafe { IoReleaseCancelSpinLock(irql) };
    // SAFETY: `with_queue` holds the lock of the queue that the entry is in.
    match request.with_queue(|_, state, entry| unsafe { state.irp_cancelled(entry) }) {
        Some((queue, nobody_to_tell)) => {
            if nobody_to_tell {
                drop_mark(&request);
            }
            drop(request);
            pump(&queue);
        }
        None => drop_mark(&request),
    }
}

// Moving.

/// Why a request cannot be taken from the driver.
enum NotTaken {
    Because(&'static str),
    /// Its cancel is under way: EvtRequestCancel will own it.
    BeingCancelled,
}

/// Takes the request out of the driver's hands, to go elsewhere: leaving its queue, still counted there.
fn take(request: &Ref<Request>, verifies: bool) -> Option<(Ref<Queue>, Result<(), NotTaken>)> {
    let mut dropped = false;
    let taken = request.with_queue(|_, state, entry| {
        // SAFETY: `with_queue` holds the lock of the queue that the entry is in.
        unsafe {
            if !verifies && (*entry).place == Place::Waiting {
                // Whether the driver owns the request is the verifier's business: off, it is moved from where it is.
                return if state.take_waiting(entry) { Ok(()) } else { Err(NotTaken::BeingCancelled) };
            }
            if !verifies && (*entry).place == Place::Cancelled {
                return Err(NotTaken::BeingCancelled);
            }
            if (*entry).place != Place::Presented {
                return Err(NotTaken::Because("the driver does not own the request"));
            }
            if matches!((*entry).cancel, Cancel::Marked | Cancel::Fired | Cancel::Due) {
                if verifies {
                    return Err(NotTaken::Because("the request is cancelable"));
                }
                if state.unmark_cancelable(entry) != Unmarked::Yes {
                    return Err(NotTaken::BeingCancelled);
                }
                dropped = true;
            }
            state.leave(entry);
        }
        Ok(())
    });
    if dropped {
        drop_mark(request);
    }
    taken
}

/// Moves a request that the driver owns to another queue.
///
/// What is wrong with the request is checked by the verifier alone. Without it a request is moved wherever it is; one that cannot be,
/// because there is no IRP, no queue, or somebody else has the IRP, is fatal.
pub(crate) fn forward(call: &Call, request: &Ref<Request>, destination: &Ref<Queue>) -> NTSTATUS {
    let verifies = call.globals.verifies();
    let wrong = |why, fatal| {
        if !violates(call, request, Rule::InvalidReqAccess, why) {
            crate::report!(call.globals, "{}: {why}", call.name());
            verifier::bug_check(call.globals, BugCheck::RequestFatalError(fatal, request.any().header().handle));
        }
        NTSTATUS::INVALID_DEVICE_REQUEST
    };
    let not_in_queue = WDF_REQUEST_FATAL_ERROR_REQUEST_NOT_IN_QUEUE;
    if request.completed.load(Ordering::Acquire) {
        return wrong("the request has been completed", WDF_REQUEST_FATAL_ERROR_NULL_IRP);
    }
    let Some(source) = request.queue().filter(|_| request.origin == Origin::Incoming) else {
        return wrong("the driver did not obtain the request from a queue", not_in_queue);
    };
    if verifies && source.is_same(destination) {
        return wrong("source and destination queue are the same", not_in_queue);
    }
    if verifies && !source.device.is_same(&destination.device) {
        return wrong("source and destination queue belong to different devices", not_in_queue);
    }
    if request.sent.lock().is_under_way() {
        return wrong("the driver does not own the request: it is sent", WDF_REQUEST_FATAL_ERROR_REQUEST_ALREADY_SENT);
    }
    drop(source);
    if !verifies && !destination.guarded.lock().state.accepts() {
        // Asked before the request is taken, since one that was waiting could not be given back.
        return NTSTATUS::WDF_BUSY;
    }
    let source = match take(request, verifies) {
        None => return wrong("the driver did not obtain the request from a queue", not_in_queue),
        Some((_, Err(NotTaken::Because(why)))) => return wrong(why, not_in_queue),
        Some((_, Err(NotTaken::BeingCancelled))) => return NTSTATUS::SUCCESS,
        Some((source, Ok(()))) => source,
    };
    hand_over(request, &source, destination)
}

/// Puts a request that is leaving `source` into `destination`.
fn hand_over(request: &Ref<Request>, source: &Ref<Queue>, destination: &Ref<Queue>) -> NTSTATUS {
    let (from, to) = (Queue::number(source), Queue::number(destination));
    request.any().globals().history.record(Event::RequestForwarded, request.any().header().handle, from, to);
    // SAFETY: the request is leaving its queue by this call, so nobody else moves it.
    match unsafe { Request::enter(request, destination) } {
        Ok(left) => {
            // The source counts the request until the destination has had its turn: what waits until the driver has none of the source's
            // does not come before the handler of the destination.
            pump(destination);
            source.guarded.lock().state.left();
            drop(left);
            pump(source);
            NTSTATUS::SUCCESS
        }
        Err(status) => {
            // SAFETY: as above; the request never left the source.
            unsafe { source.guarded.lock().state.stay(request.entry.get()) };
            pump(source);
            status
        }
    }
}

fn requeue(call: &Call, request: &Ref<Request>) -> NTSTATUS {
    if request.completed.load(Ordering::Acquire) || request.sent.lock().is_under_way() {
        violates(call, request, Rule::InvalidReqAccess, "the driver does not own the request");
        return NTSTATUS::INVALID_DEVICE_REQUEST;
    }
    let verifies = call.globals.verifies();
    let mut dropped = false;
    let result = request.with_queue(|_, state, entry| {
        if state.rules().kind != Kind::Manual {
            return Err(NotTaken::Because("the queue does not dispatch manually"));
        }
        // SAFETY: `with_queue` holds the lock of the queue that the entry is in.
        unsafe {
            if (*entry).place != Place::Presented {
                return Err(NotTaken::Because("the driver does not own the request"));
            }
            if matches!((*entry).cancel, Cancel::Marked | Cancel::Fired | Cancel::Due) {
                if verifies {
                    return Err(NotTaken::Because("the request is cancelable"));
                }
                if state.unmark_cancelable(entry) != Unmarked::Yes {
                    return Err(NotTaken::BeingCancelled);
                }
                dropped = true;
            }
            state.requeue(entry);
        }
        Ok(())
    });
    if dropped {
        drop_mark(request);
    }
    match result {
        Some((queue, Ok(()))) => {
            call.globals.history.record(Event::RequestRequeued, request.any().header().handle, Queue::number(&queue), 0);
            pump(&queue);
            NTSTATUS::SUCCESS
        }
        Some((_, Err(NotTaken::BeingCancelled))) => NTSTATUS::SUCCESS,
        Some((_, Err(NotTaken::Because(why)))) => {
            violates(call, request, Rule::RequestState, why);
            NTSTATUS::INVALID_DEVICE_REQUEST
        }
        None => {
            violates(call, request, Rule::RequestState, "the driver did not obtain the request from a queue");
            NTSTATUS::INVALID_DEVICE_REQUEST
        }
    }
}

/// When a stop was acknowledged: while EvtIoStop ran for the request, or afterwards.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Acknowledged {
    InTime,
    Late,
}

fn acknowledge_stop(call: &Call, request: &Ref<Request>, requeue: bool) {
    let verifies = call.globals.verifies();
    let mut dropped = false;
    let result = request.with_queue(|_, state, entry| {
        // SAFETY: `with_queue` holds the lock of the queue that the entry is in.
        unsafe {
            if requeue && matches!((*entry).cancel, Cancel::Marked | Cancel::Fired | Cancel::Due) {
                if verifies || state.unmark_cancelable(entry) != Unmarked::Yes {
                    return Err("the request is cancelable, and cannot be requeued");
                }
                dropped = true;
            }
            if state.acknowledge_stop(entry, requeue) {
                return Ok(Acknowledged::InTime);
            }
            if verifies {
                return Err("no EvtIoStop runs for the request");
            }
            state.acknowledge_late(entry, requeue);
        }
        Ok(Acknowledged::Late)
    });
    if dropped {
        drop_mark(request);
    }
    match result {
        Some((queue, Ok(when))) => {
            let handle = request.any().header().handle;
            call.globals.history.record(Event::RequestStopAcknowledged, handle, requeue.into(), 0);
            // In time it is but recorded: whoever called EvtIoStop acts on it, and the driver may hold a lock here.
            if when == Acknowledged::Late {
                pump(&queue);
            }
        }
        Some((_, Err(why))) => {
            violates(call, request, Rule::StopAckWithinEvtIoStop, why);
        }
        None => {
            violates(call, request, Rule::StopAckWithinEvtIoStop, "the request is not from a queue");
        }
    }
}
