//! What the framework calls in the probe.

use core::ffi::c_void;
use core::sync::atomic::Ordering;

use protocol::probe::{Event, NOBODY, NOTHING, OnCancel, OnCompletion, RUN, RUN_SYNCHRONIZED, SUBJECT, Subject, queue};
use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::{NTSTATUS, WDFIOTARGET, WDFMEMORY, WDFQUEUE, WDFREQUEST};

use crate::{steps, table};

pub(crate) unsafe extern "win64" fn device_control(
    queue: WDFQUEUE,
    request: WDFREQUEST,
    _output: usize,
    _input: usize,
    code: u32,
) {
    let elsewhere = match table::number_of(queue) {
        Some(queue::SYNCHRONIZED | queue::POWER_SYNCHRONIZED) => None,
        Some(queue::POWER) => Some(queue::POWER_SYNCHRONIZED),
        _ => Some(queue::SYNCHRONIZED),
    };
    let status = match (code, elsewhere) {
        (RUN_SYNCHRONIZED, Some(number)) => {
            // SAFETY: the request was just presented.
            match unsafe { WdfRequestForwardToIoQueue(request, table::queue(number)) } {
                NTSTATUS::SUCCESS => return,
                status => status,
            }
        }
        // SAFETY: as above.
        (RUN | RUN_SYNCHRONIZED, _) => unsafe { steps::run(request) },
        // SAFETY: as above.
        (SUBJECT, _) => match unsafe { hold(request) } {
            Ok(()) => return,
            Err(status) => status,
        },
        (NOTHING, _) => NTSTATUS::SUCCESS,
        _ => NTSTATUS::INVALID_DEVICE_REQUEST,
    };
    // SAFETY: the request was just presented, and nothing else has completed it.
    unsafe { WdfRequestComplete(request, status) };
}

/// Keeps a subject in the slot that it names.
///
/// # Safety
/// `request` was just presented.
unsafe fn hold(request: WDFREQUEST) -> Result<(), NTSTATUS> {
    let mut buffer = core::ptr::null_mut();
    // SAFETY: the caller's promise.
    unsafe { WdfRequestRetrieveInputBuffer(request, size_of::<Subject>(), &raw mut buffer, core::ptr::null_mut()) }.ok()?;
    // SAFETY: the framework says that there is a `Subject`; of any alignment, since a program chose the memory.
    let subject = unsafe { buffer.cast::<Subject>().read_unaligned() };
    if subject.slot >= protocol::probe::SLOTS || subject.reserved != 0 {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    table::set_request(subject.slot, request);
    table::count(Event::Presented, subject.slot);
    Ok(())
}

pub(crate) unsafe extern "win64" fn canceled_on_queue(_queue: WDFQUEUE, request: WDFREQUEST) {
    table::count(Event::CanceledOnQueue, table::slot_of(request).unwrap_or(NOBODY));
    // SAFETY: the framework gives the request to the driver to complete.
    unsafe { WdfRequestComplete(request, NTSTATUS::CANCELLED) };
}

pub(crate) unsafe extern "win64" fn cancel(request: WDFREQUEST) {
    let slot = table::slot_of(request);
    if let Some(slot) = slot {
        table::begin(Event::Canceled, slot);
    }
    let keep = slot.and_then(table::on_cancel).is_some_and(|action| action.load(Ordering::Acquire) == OnCancel::Keep as u32);
    if !keep {
        // SAFETY: the framework gives the request to the driver to complete.
        unsafe { WdfRequestComplete(request, NTSTATUS::CANCELLED) };
    }
    if let Some(slot) = slot {
        table::finish(Event::Canceled, slot);
    }
}

pub(crate) unsafe extern "win64" fn queue_state(queue: WDFQUEUE, _context: *mut c_void) {
    if let Some(number) = table::number_of(queue) {
        table::count(Event::QueueState, number);
    }
}

pub(crate) unsafe extern "win64" fn queue_purged(queue: WDFQUEUE, _context: *mut c_void) {
    if let Some(number) = table::number_of(queue) {
        table::count(Event::QueuePurged, number);
    }
}

pub(crate) unsafe extern "win64" fn queue_ready(queue: WDFQUEUE, _context: *mut c_void) {
    if let Some(number) = table::number_of(queue) {
        table::count(Event::QueueReady, number);
    }
}

pub(crate) unsafe extern "win64" fn completion(
    request: WDFREQUEST,
    target: WDFIOTARGET,
    _params: *mut WDF_REQUEST_COMPLETION_PARAMS,
    _context: *mut c_void,
) {
    let Some(slot) = table::slot_of(request) else { return };
    table::begin(Event::Completed, slot);
    let action = table::on_completion(slot).map_or(0, |action| action.load(Ordering::Acquire));
    let again = [OnCompletion::ReuseAndSend as u32, OnCompletion::ReuseAndSendBare as u32].contains(&action);
    if again {
        if let Some(action) = table::on_completion(slot) {
            action.store(OnCompletion::Keep as u32, Ordering::Release);
        }
        // SAFETY: the request is the driver's again.
        unsafe { reuse(request) };
        // SAFETY: as above; a failure shows in the send that follows.
        let _ = unsafe { format_nothing(request, target) };
        if action == OnCompletion::ReuseAndSend as u32 {
            // SAFETY: as above.
            unsafe { WdfRequestSetCompletionRoutine(request, Some(completion), core::ptr::null_mut()) };
        }
        table::finish(Event::Completed, slot);
        // SAFETY: as above; whether it was sent shows in what comes of it.
        let _ = unsafe { WdfRequestSend(request, target, core::ptr::null_mut()) };
        return;
    }
    if action == OnCompletion::Reuse as u32 {
        // SAFETY: as above.
        unsafe { reuse(request) };
    } else if action == OnCompletion::ReuseInVain as u32 {
        let mut parameters = WDF_REQUEST_REUSE_PARAMS::new(WDF_REQUEST_REUSE_NO_FLAGS, NTSTATUS::SUCCESS);
        parameters.Size -= 1;
        // SAFETY: the request is the driver's again; this callback has nobody to give the status to.
        let _ = unsafe { WdfRequestReuse(request, &raw mut parameters) };
    } else if action == OnCompletion::Complete as u32 {
        // SAFETY: none: this is wrong for a request that the probe made, and done to see what the framework says.
        unsafe { WdfRequestComplete(request, NTSTATUS::SUCCESS) };
    } else if action == OnCompletion::Delete as u32 {
        // SAFETY: the request is the driver's again, and the slot forgets it.
        unsafe { WdfObjectDelete(request.object()) };
        table::set_request(slot, WDFREQUEST::NULL);
    }
    table::finish(Event::Completed, slot);
}

/// # Safety
/// `request` is a valid handle.
pub(crate) unsafe fn reuse(request: WDFREQUEST) {
    let mut parameters = WDF_REQUEST_REUSE_PARAMS::new(WDF_REQUEST_REUSE_NO_FLAGS, NTSTATUS::SUCCESS);
    // SAFETY: the caller's promise; a failure shows in the send that follows.
    let _ = unsafe { WdfRequestReuse(request, &raw mut parameters) };
}

/// # Safety
/// Both are valid handles.
pub(crate) unsafe fn format_nothing(request: WDFREQUEST, target: WDFIOTARGET) -> NTSTATUS {
    let (none, whole) = (WDFMEMORY::NULL, core::ptr::null_mut());
    // SAFETY: the caller's promise.
    unsafe { WdfIoTargetFormatRequestForIoctl(target, request, NOTHING, none, whole, none, whole) }
}
