//! Completion: by the driver, and by the framework for requests that the driver does not own.

use core::ptr::null_mut;
use core::sync::atomic::Ordering;

use wdf_sys::wdf::{
    WDF_REQUEST_FATAL_ERROR_INFORMATION_LENGTH_MISMATCH, WDF_REQUEST_FATAL_ERROR_INFORMATION_LENGTH_MISMATCH_DATA,
};
use wdf_sys::wdm::constants::bug_check::MULTIPLE_IRP_COMPLETE_REQUESTS;
use wdf_sys::wdm::constants::{
    DO_BUFFERED_IO, IO_NO_INCREMENT, IRP_MJ_CREATE, IRP_MJ_DEVICE_CONTROL, IRP_MJ_INTERNAL_DEVICE_CONTROL, IRP_MJ_READ,
    METHOD_BUFFERED,
};
use wdf_sys::wdm::functions::{IofCompleteRequest, KeBugCheckEx};
use wdf_sys::{NTSTATUS, WDFREQUEST};

use super::{Origin, Request, irp, ownership};
use crate::call::{Call, ddi};
use crate::history::Event;
use crate::object::Ref;
use crate::queue::entry::{Cancel, Place};
use crate::queue::pump::pump;
use crate::queue::state::Unmarked;
use crate::sync::DISPATCH_LEVEL;
use crate::verifier::{self, BugCheck, Rule};

ddi! {
    fn WdfRequestComplete(call, request: WDFREQUEST, status: NTSTATUS) {
        let request = call.object::<Request>(request);
        let information = information(&request);
        by_driver(call, &request, status, information, IO_NO_INCREMENT);
    }

    fn WdfRequestCompleteWithPriorityBoost(call, request: WDFREQUEST, status: NTSTATUS, boost: i8) {
        let request = call.object::<Request>(request);
        let information = information(&request);
        by_driver(call, &request, status, information, boost);
    }

    fn WdfRequestCompleteWithInformation(call, request: WDFREQUEST, status: NTSTATUS, information: usize) {
        let request = call.object::<Request>(request);
        by_driver(call, &request, status, information, IO_NO_INCREMENT);
    }

    fn WdfRequestSetInformation(call, request: WDFREQUEST, information: usize) {
        let request = call.object::<Request>(request);
        if let Some(irp) = ownership::accessible(call, &request) {
            // SAFETY: the driver owns the request, so the IRP is there and its result is ours to write.
            unsafe { (*irp).IoStatus.Information = information };
        }
    }

    fn WdfRequestGetInformation(call, request: WDFREQUEST) -> usize {
        let request = call.object::<Request>(request);
        if ownership::accessible(call, &request).is_some() { information(&request) } else { 0 }
    }

    fn WdfRequestGetStatus(call, request: WDFREQUEST) -> NTSTATUS {
        let request = call.object::<Request>(request);
        if request.completed.load(Ordering::Acquire) {
            ownership::touched_after_completion(call, &request);
            return NTSTATUS::INVALID_DEVICE_REQUEST;
        }
        request.status()
    }
}

fn information(request: &Ref<Request>) -> usize {
    let irp = request.irp();
    // SAFETY: not null, so the request has not been completed and the IRP is there.
    if irp.is_null() { 0 } else { unsafe { (*irp).IoStatus.Information } }
}

/// The driver completes a request.
fn by_driver(call: &Call, request: &Ref<Request>, status: NTSTATUS, information: usize, boost: i8) {
    call.irql_at_most(DISPATCH_LEVEL);
    let handle = request.any().header().handle;
    if request.origin == Origin::Created {
        verifier::violation(
            call.globals,
            Rule::RequestState,
            handle,
            format_args!("{} of a request that the driver created itself", call.name()),
        );
        return;
    }
    if request.sent.lock().is_under_way() {
        verifier::violation(
            call.globals,
            Rule::InvalidReqAccess,
            handle,
            format_args!("{} of a request that is sent to an I/O target", call.name()),
        );
        return;
    }
    if request.completed.swap(true, Ordering::AcqRel) {
        return completed_twice(call, request);
    }
    if status == NTSTATUS::PENDING && call.globals.verifies() {
        verifier::violation(call.globals, Rule::InvalidParameter, handle, format_args!("{} with STATUS_PENDING", call.name()));
    }
    let Some(place) = take_from_driver(call, request) else {
        request.completed.store(false, Ordering::Release);
        return;
    };
    if call.globals.verifies() {
        check_information(call, request, status, information);
        check_memories(call, request);
    }
    finish(request, status, information, boost, place);
}

fn completed_twice(call: &Call, request: &Ref<Request>) {
    if call.globals.verifies() {
        return verifier::violation(
            call.globals,
            Rule::RequestCompleted,
            request.any().header().handle,
            format_args!("{} of a request that has been completed", call.name()),
        );
    }
    // Without the verifier the kernel notices, as it does when IoCompleteRequest is called twice.
    // SAFETY: does not return.
    unsafe { KeBugCheckEx(MULTIPLE_IRP_COMPLETE_REQUESTS, request.irp().addr(), 0, 0, 0) }
}

/// Whether the request is in a queue and so counts there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    Yes,
    No,
}

/// Takes the request out of the driver's hands. `None`: it is not there.
fn take_from_driver(call: &Call, request: &Ref<Request>) -> Option<Counted> {
    let handle = request.any().header().handle;
    let mut marked = false;
    let mut dropped = false;
    let taken = request.with_queue(|_, state, entry| {
        // SAFETY: `with_queue` holds the lock of the queue that the entry is in.
        unsafe {
            if (*entry).place != Place::Presented {
                return false;
            }
            marked = matches!((*entry).cancel, Cancel::Marked | Cancel::Fired | Cancel::Due);
            dropped = (*entry).cancel == Cancel::Due || (marked && state.unmark_cancelable(entry) == Unmarked::Yes);
            state.leave(entry);
        }
        true
    });
    if dropped {
        ownership::drop_mark(request);
    }
    if marked && call.globals.verifies() {
        verifier::violation(
            call.globals,
            Rule::ReqNotCanceledLocal,
            handle,
            format_args!("{} of a cancelable request; WdfRequestUnmarkCancelable comes first", call.name()),
        );
    }
    match taken {
        None => Some(Counted::No),
        Some((_, true)) => Some(Counted::Yes),
        Some((_, false)) => {
            verifier::violation(
                call.globals,
                Rule::DeferredRequestCompleted,
                handle,
                format_args!("{} of a request that is in a queue and not the driver's", call.name()),
            );
            None
        }
    }
}

/// A result that says that more bytes are there than the requestor's buffer holds would have the I/O manager copy what is not the
/// request's.
fn check_information(call: &Call, request: &Ref<Request>, status: NTSTATUS, information: usize) {
    let stack = request.stack();
    if stack.is_null() || status.is_error() {
        return;
    }
    // SAFETY: the request is being completed by this call, so the IRP and our stack location are there.
    let (major, length) = unsafe {
        let buffered = (*(*stack).DeviceObject).Flags & DO_BUFFERED_IO != 0;
        let control = (*stack).Parameters.DeviceIoControl;
        match (*stack).MajorFunction {
            IRP_MJ_READ if buffered => (IRP_MJ_READ, (*stack).Parameters.Read.Length),
            major @ (IRP_MJ_DEVICE_CONTROL | IRP_MJ_INTERNAL_DEVICE_CONTROL) if control.IoControlCode & 3 == METHOD_BUFFERED => {
                (major, control.OutputBufferLength)
            }
            _ => return,
        }
    };
    if information <= length as usize {
        return;
    }
    let mut data = WDF_REQUEST_FATAL_ERROR_INFORMATION_LENGTH_MISMATCH_DATA::zeroed();
    data.Request = request.handle();
    data.Irp = request.irp();
    data.OutputBufferLength = length;
    data.Information = information;
    data.MajorFunction = major;
    crate::report!(call.globals, "{}: information {information} exceeds the output buffer of {length} bytes", call.name());
    let code = WDF_REQUEST_FATAL_ERROR_INFORMATION_LENGTH_MISMATCH;
    verifier::bug_check(call.globals, BugCheck::RequestFatalError(code, (&raw const data).addr()));
}

/// A buffer goes with its request: a driver that keeps a reference to its memory object would hold on to nothing.
fn check_memories(call: &Call, request: &Ref<Request>) {
    let references = request.memories.lock().driver_references();
    if references == 0 {
        return;
    }
    crate::report!(call.globals, "{}: the driver still has {references} references to the request's buffers", call.name());
    verifier::bug_check(call.globals, BugCheck::VerifierFatalError(request.any().header().handle, references));
}

/// Completes the IRP, lets the queue go on, and deletes the object.
fn finish(request: &Ref<Request>, status: NTSTATUS, information: usize, boost: i8, counted: Counted) {
    let handle = request.any().header().handle;
    request.any().globals().history.record(Event::RequestCompleted, handle, status.bits() as usize, information);
    let unopened = request.file().filter(|_| status.is_error() && is_create(request));
    let irp = detach_irp(request);
    // SAFETY: the request was taken out of everybody's hands, so the IRP is ours alone; no lock is held.
    unsafe {
        irp::set_result(irp, status, information);
        IofCompleteRequest(irp, boost);
    }
    // SAFETY: nobody else moves a completed request.
    let queue = unsafe { request.forget_queue() };
    if let Some(queue) = &queue
        && counted == Counted::Yes
    {
        queue.guarded.lock().state.left();
    }
    Request::gone(request);
    if let Some(file) = unopened {
        crate::file::forget(&file);
    }
    if let Some(queue) = &queue {
        pump(queue);
    }
}

/// Whether an incoming request that is not completed is a create.
pub(crate) fn is_create(request: &Ref<Request>) -> bool {
    // SAFETY: a request that came through a file has our stack location, which is there until its IRP is completed.
    unsafe { (*request.stack()).MajorFunction == IRP_MJ_CREATE }
}

/// The IRP as it came, without anything of ours in it.
fn detach_irp(request: &Ref<Request>) -> *mut wdf_sys::wdm::IRP {
    buffers_go(request);
    // SAFETY: the request is being completed by this call and is not sent, so the send side is ours.
    unsafe { request.send_side() }.give_back(request.irp());
    request.set_irp(null_mut())
}

fn buffers_go(request: &Ref<Request>) {
    let memories = core::mem::take(&mut *request.memories.lock());
    memories.delete();
}

/// The framework completes a request that the driver does not own, and that is in no queue's count: cancelled in a queue, not accepted.
pub(crate) fn by_framework(request: &Ref<Request>, status: NTSTATUS, information: usize) {
    request.completed.store(true, Ordering::Release);
    finish(request, status, information, IO_NO_INCREMENT, Counted::No);
}

/// The framework completes a request that it has presented to nobody, for want of a handler.
pub(crate) fn by_framework_from_queue(request: &Ref<Request>, status: NTSTATUS) {
    if request.completed.swap(true, Ordering::AcqRel) {
        return;
    }
    let taken = request.with_queue(|_, state, entry| {
        // SAFETY: `with_queue` holds the lock of the queue that the entry is in.
        unsafe {
            let ours = (*entry).place == Place::Presented;
            if ours {
                state.leave(entry);
            }
            ours
        }
    });
    if matches!(taken, Some((_, true))) {
        finish(request, status, 0, IO_NO_INCREMENT, Counted::Yes);
    }
}

/// The request leaves us without being completed: it goes down the stack, and whoever completes it there completes it for good. Returns
/// the IRP. The caller holds the request in its hands, out of its queue's lists.
pub(crate) fn release_irp(request: &Ref<Request>, counted: bool) -> (*mut wdf_sys::wdm::IRP, Option<Ref<crate::queue::Queue>>) {
    request.completed.store(true, Ordering::Release);
    let irp = detach_irp(request);
    // SAFETY: nobody else moves a request that is going.
    let queue = unsafe { request.forget_queue() };
    if let Some(queue) = &queue
        && counted
    {
        queue.guarded.lock().state.left();
    }
    Request::gone(request);
    (irp, queue)
}
