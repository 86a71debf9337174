//! The interpreter: one framework call a step, with whatever the step says.
//!
//! Every call here may be wrong, and is made to see what the framework does about it. Handles come from the table; what a step may make of
//! them that is not a handle of the framework ends in a bug check, which is what the step is for.

use core::sync::atomic::Ordering;

use protocol::probe::{MOST_STEPS, NO_PARAMETERS, NO_QUEUE, Op, Outcome, SUBJECT, Step};
use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::wdm::constants::KERNEL_MODE;
use wdf_sys::wdm::functions::{KeDelayExecutionThread, KeEnterCriticalRegion, KeLowerIrql, KeRaiseIrqlToDpcLevel};
use wdf_sys::{NTSTATUS, WDFIOTARGET, WDFMEMORY, WDFREQUEST};

use crate::{callbacks, device, own, pnp, settings, table, time};

/// One turn of waiting, in units of 100 ns from now: a millisecond.
const TURN: i64 = -10_000;
/// Longest wait of one step, in milliseconds.
const LONGEST_WAIT: u64 = 60_000;
/// Tag of references that steps take.
const TAG: usize = u32::from_le_bytes(*b"prob") as usize;

/// Does the steps of a `RUN` request and writes their outcomes. The status that the request is to be completed with.
///
/// # Safety
/// `request` was just presented to the driver, at PASSIVE_LEVEL.
pub(crate) unsafe fn run(request: WDFREQUEST) -> NTSTATUS {
    let (mut input, mut output, mut length, mut room) = (core::ptr::null_mut(), core::ptr::null_mut(), 0, 0);
    // SAFETY: the caller's promise.
    let status = unsafe { WdfRequestRetrieveInputBuffer(request, size_of::<Step>(), &raw mut input, &raw mut length) };
    if !status.is_success() {
        return status;
    }
    // SAFETY: the caller's promise.
    let status = unsafe { WdfRequestRetrieveOutputBuffer(request, size_of::<Outcome>(), &raw mut output, &raw mut room) };
    if !status.is_success() {
        return status;
    }
    let count = length / size_of::<Step>();
    if !length.is_multiple_of(size_of::<Step>()) || count > MOST_STEPS {
        return NTSTATUS::INVALID_PARAMETER;
    }
    if room / size_of::<Outcome>() < count {
        return NTSTATUS::BUFFER_TOO_SMALL;
    }
    let mut raised = None;
    for index in 0..count {
        // Input and output are the same memory: outcome `index` ends before step `index + 1` begins, since an outcome is the smaller one.
        const { assert!(size_of::<Outcome>() <= size_of::<Step>()) };
        // SAFETY: `index` is below the number of steps in the input.
        let step = unsafe { input.cast::<Step>().add(index).read_unaligned() };
        // SAFETY: none but the step's purpose.
        let outcome = unsafe { take(&step, &mut raised) };
        // SAFETY: `index` is below the number of outcomes that fit.
        unsafe { output.cast::<Outcome>().add(index).write_unaligned(outcome) };
    }
    if let Some(irql) = raised {
        // SAFETY: a step raised the IRQL from this.
        unsafe { KeLowerIrql(irql) };
    }
    // SAFETY: the caller's promise.
    unsafe { WdfRequestSetInformation(request, count * size_of::<Outcome>()) };
    NTSTATUS::SUCCESS
}

fn outcome(status: NTSTATUS, value: u64) -> Outcome {
    Outcome { status: status.0, reserved: 0, value }
}

fn returned(status: NTSTATUS) -> Outcome {
    outcome(status, 0)
}

fn done() -> Outcome {
    outcome(NTSTATUS::SUCCESS, 0)
}

fn valued(value: impl Into<u64>) -> Outcome {
    outcome(NTSTATUS::SUCCESS, value.into())
}

/// # Safety
/// The step decides; see the module's comment.
unsafe fn take(step: &Step, raised: &mut Option<u8>) -> Outcome {
    // SAFETY: as above, for all five.
    unsafe {
        request_step(step)
            .or_else(|| own_request_step(step))
            .or_else(|| timed_step(step))
            .or_else(|| queue_step(step))
            .or_else(|| world_step(step, raised))
            .unwrap_or_else(|| returned(NTSTATUS::NOT_IMPLEMENTED))
    }
}

/// # Safety
/// As [`take`].
unsafe fn request_step(step: &Step) -> Option<Outcome> {
    let request = table::request(step.slot);
    let object = request.object();
    // SAFETY: the step decides.
    Some(unsafe {
        match step.op {
            Op::COMPLETE => {
                WdfRequestCompleteWithInformation(request, NTSTATUS(step.number.cast_signed()), step.value as usize);
                done()
            }
            Op::FORWARD => returned(WdfRequestForwardToIoQueue(request, table::queue(step.number))),
            Op::REQUEUE => returned(WdfRequestRequeue(request)),
            Op::MARK => {
                WdfRequestMarkCancelable(request, Some(callbacks::cancel));
                done()
            }
            Op::MARK_EX => returned(WdfRequestMarkCancelableEx(request, Some(callbacks::cancel))),
            Op::UNMARK => returned(WdfRequestUnmarkCancelable(request)),
            Op::IS_CANCELED => valued(WdfRequestIsCanceled(request)),
            Op::STOP_ACKNOWLEDGE => {
                WdfRequestStopAcknowledge(request, u8::from(step.number != 0));
                done()
            }
            Op::GET_STATUS => returned(WdfRequestGetStatus(request)),
            Op::GET_INFORMATION => valued(WdfRequestGetInformation(request) as u64),
            Op::GET_QUEUE => valued(table::number_of(WdfRequestGetIoQueue(request)).map_or(NO_QUEUE, u64::from)),
            Op::REFERENCE => {
                WdfObjectReferenceActual(object, TAG as *mut _, 0, core::ptr::null_mut());
                done()
            }
            Op::DEREFERENCE => {
                WdfObjectDereferenceActual(object, TAG as *mut _, 0, core::ptr::null_mut());
                done()
            }
            Op::COPY_HANDLE => {
                table::set_request(step.number, request);
                done()
            }
            Op::FORGE_HANDLE => {
                table::set_request(step.slot, WDFREQUEST(step.value as usize as *mut _));
                done()
            }
            Op::QUEUE_HANDLE => {
                table::set_request(step.slot, WDFREQUEST(table::queue(step.number).0));
                done()
            }
            Op::LOCK_HANDLE => {
                table::set_request(step.slot, WDFREQUEST(table::spin_lock().0));
                done()
            }
            Op::HANDLE => valued(request.0.expose_provenance() as u64),
            Op::KEEP_MEMORY => {
                let mut memory = WDFMEMORY::NULL;
                let status = WdfRequestRetrieveInputMemory(request, &raw mut memory);
                if status.is_success() {
                    WdfObjectReferenceActual(memory.object(), TAG as *mut _, 0, core::ptr::null_mut());
                }
                returned(status)
            }
            Op::GET_IRP => valued(WdfRequestWdmGetIrp(request).expose_provenance() as u64),
            Op::FORGET => {
                table::set_request(step.slot, WDFREQUEST::NULL);
                done()
            }
            _ => return None,
        }
    })
}

/// # Safety
/// As [`take`].
unsafe fn own_request_step(step: &Step) -> Option<Outcome> {
    let (request, target) = (table::request(step.slot), table::target(table::target_in_use()));
    let (none, whole) = (WDFMEMORY::NULL, core::ptr::null_mut());
    // SAFETY: the step decides.
    Some(unsafe {
        match step.op {
            Op::CREATE => returned(own::create(step.slot, target)),
            Op::CREATE_FROM_IRP => returned(own::create_from_irp(step.slot, target, step.number != 0)),
            Op::CREATE_WITHOUT_TARGET => returned(own::create(step.slot, WDFIOTARGET::NULL)),
            Op::CREATE_FROM_SHORT_IRP => returned(own::create_from_short_irp(step.slot)),
            Op::REUSE_WITH_IRP => {
                let (status, irp) = own::reuse_with_irp(request, target, NTSTATUS(step.more.cast_signed()));
                outcome(status, irp)
            }
            Op::DELETE => {
                WdfObjectDelete(request.object());
                done()
            }
            Op::FORMAT_SUBJECT => match table::subject(step.number) {
                Some(subject) => {
                    returned(WdfIoTargetFormatRequestForIoctl(target, request, SUBJECT, subject, whole, none, whole))
                }
                None => returned(NTSTATUS::INVALID_PARAMETER),
            },
            Op::FORMAT_NOTHING => returned(callbacks::format_nothing(request, target)),
            Op::FORMAT_CURRENT => {
                WdfRequestFormatRequestUsingCurrentType(request);
                done()
            }
            Op::SET_COMPLETION => {
                WdfRequestSetCompletionRoutine(request, Some(callbacks::completion), core::ptr::null_mut());
                done()
            }
            Op::SEND => {
                let mut options = WDF_REQUEST_SEND_OPTIONS::new(step.number);
                options.Timeout = -step.value.cast_signed().saturating_abs();
                if step.value != 0 {
                    options.Flags |= WDF_REQUEST_SEND_OPTION_TIMEOUT;
                }
                valued(WdfRequestSend(request, target, &raw mut options))
            }
            Op::CANCEL_SENT => valued(WdfRequestCancelSentRequest(request)),
            Op::REUSE if step.value == NO_PARAMETERS => returned(WdfRequestReuse(request, core::ptr::null_mut())),
            Op::REUSE => {
                let mut parameters = WDF_REQUEST_REUSE_PARAMS::new(step.number, NTSTATUS(step.more.cast_signed()));
                if step.value != 0 {
                    parameters.Size = step.value as u32;
                }
                returned(WdfRequestReuse(request, &raw mut parameters))
            }
            Op::TARGET_START => returned(WdfIoTargetStart(target)),
            Op::TARGET_STOP => {
                WdfIoTargetStop(target, WDF_IO_TARGET_SENT_IO_ACTION(step.number.cast_signed()));
                done()
            }
            Op::TARGET_PURGE => {
                WdfIoTargetPurge(target, WDF_IO_TARGET_PURGE_IO_ACTION(step.number.cast_signed()));
                done()
            }
            Op::TARGET_STATE => valued(WdfIoTargetGetState(target).0.cast_unsigned()),
            Op::TARGET_CLOSE => {
                WdfIoTargetClose(target);
                done()
            }
            Op::TARGET_OPEN => returned(device::reopen_target(table::target_in_use(), step.number != 0)),
            Op::TARGET_MAKE => returned(device::make_and_open_target(table::target_in_use(), step.number != 0)),
            Op::TARGET_DELETE => {
                WdfObjectReferenceActual(target.object(), TAG as *mut _, 0, core::ptr::null_mut());
                WdfObjectDelete(target.object());
                done()
            }
            Op::TARGET_FORGET => {
                WdfObjectDereferenceActual(target.object(), TAG as *mut _, 0, core::ptr::null_mut());
                table::set_target(table::target_in_use(), WDFIOTARGET::NULL);
                done()
            }
            Op::USE_TARGET if table::use_target(step.number) => done(),
            Op::USE_TARGET => returned(NTSTATUS::INVALID_PARAMETER),
            _ => return None,
        }
    })
}

/// # Safety
/// As [`take`].
unsafe fn queue_step(step: &Step) -> Option<Outcome> {
    let queue = table::queue(step.number);
    let nothing = core::ptr::null_mut();
    // SAFETY: the step decides.
    Some(unsafe {
        match step.op {
            Op::RETRIEVE => {
                let mut request = WDFREQUEST::NULL;
                let status = WdfIoQueueRetrieveNextRequest(queue, &raw mut request);
                if status.is_success() {
                    table::set_request(step.slot, request);
                }
                returned(status)
            }
            Op::QUEUE_STATE => {
                let (mut queued, mut presented) = (0, 0);
                let state = WdfIoQueueGetState(queue, &raw mut queued, &raw mut presented).0.cast_unsigned();
                valued(u64::from(state) | u64::from(queued as u16) << 32 | u64::from(presented as u16) << 48)
            }
            Op::QUEUE_START => {
                WdfIoQueueStart(queue);
                done()
            }
            Op::QUEUE_STOP => {
                WdfIoQueueStop(queue, Some(callbacks::queue_state), nothing);
                done()
            }
            Op::QUEUE_PURGE => {
                let told: PFN_WDF_IO_QUEUE_STATE =
                    if step.more == 0 { Some(callbacks::queue_state) } else { Some(callbacks::queue_purged) };
                WdfIoQueuePurge(queue, told, nothing);
                done()
            }
            Op::QUEUE_DRAIN => {
                WdfIoQueueDrain(queue, Some(callbacks::queue_state), nothing);
                done()
            }
            Op::QUEUE_STOP_AND_PURGE => {
                WdfIoQueueStopAndPurge(queue, Some(callbacks::queue_state), nothing);
                done()
            }
            Op::QUEUE_DELETE => {
                WdfObjectReferenceActual(queue.object(), TAG as *mut _, 0, core::ptr::null_mut());
                WdfObjectDelete(queue.object());
                done()
            }
            Op::QUEUE_READY_NOTIFY => {
                let ready: PFN_WDF_IO_QUEUE_STATE = if step.more == 0 { Some(callbacks::queue_ready) } else { None };
                returned(WdfIoQueueReadyNotify(queue, ready, nothing))
            }
            _ => return None,
        }
    })
}

/// # Safety
/// As [`take`].
unsafe fn world_step(step: &Step, raised: &mut Option<u8>) -> Option<Outcome> {
    let set = |place: Option<&core::sync::atomic::AtomicU32>| match place {
        Some(place) => {
            place.store(step.number, Ordering::Release);
            done()
        }
        None => returned(NTSTATUS::INVALID_PARAMETER),
    };
    // SAFETY: the step decides.
    Some(unsafe {
        match step.op {
            Op::ON_CANCEL => set(table::on_cancel(step.slot)),
            Op::ON_COMPLETION => set(table::on_completion(step.slot)),
            Op::ON_STOP => set(table::on_stop(step.slot)),
            Op::STOP_FLAGS => table::stop_flags(step.slot).map_or(returned(NTSTATUS::INVALID_PARAMETER), valued),
            Op::STOP_LOAD => table::stop_load(step.slot).map_or(returned(NTSTATUS::INVALID_PARAMETER), valued),
            Op::FAIL_DEVICE => {
                WdfDeviceSetFailed(pnp::device(), WDF_DEVICE_FAILED_ACTION::WdfDeviceFailedAttemptRestart);
                done()
            }
            Op::ENTER_REGION => {
                KeEnterCriticalRegion();
                done()
            }
            Op::WAIT => wait(step, raised.is_some()),
            Op::WHEN => table::time_of(step.number, step.slot).map_or(returned(NTSTATUS::INVALID_PARAMETER), valued),
            Op::DRIVER_CREATE => returned(settings::create_driver_again()),
            Op::IMAGE => match settings::image() {
                Some(image) => valued(if step.number == 0 { image.start } else { image.end }),
                None => returned(NTSTATUS::NOT_FOUND),
            },
            Op::VERIFIER => match settings::verifier() {
                Ok(on) => valued(on),
                Err(status) => returned(status),
            },
            Op::RESET => {
                table::reset();
                done()
            }
            Op::RAISE if raised.is_none() => {
                *raised = Some(KeRaiseIrqlToDpcLevel());
                done()
            }
            Op::LOWER => {
                if let Some(irql) = raised.take() {
                    KeLowerIrql(irql);
                }
                done()
            }
            Op::SPIN_ACQUIRE => {
                WdfSpinLockAcquire(table::spin_lock());
                done()
            }
            Op::SPIN_RELEASE => {
                WdfSpinLockRelease(table::spin_lock());
                done()
            }
            _ => return None,
        }
    })
}

/// # Safety
/// As [`take`].
unsafe fn timed_step(step: &Step) -> Option<Outcome> {
    // SAFETY: the step decides.
    let time = unsafe {
        match step.op {
            Op::TIME_SENDS => time::sends(step.slot, table::target(table::target_in_use()), step.number == 1, step.value),
            Op::TIME_FORWARDS => time::forwards(step.slot, step.value),
            Op::TIME_CANCEL => time::cancel(step.slot, step.more),
            _ => return None,
        }
    };
    Some(time.map_or_else(returned, valued))
}

/// Waits for an event, with a deadline. Not at a raised IRQL, where it only looks.
fn wait(step: &Step, raised: bool) -> Outcome {
    let mut left = step.value.min(LONGEST_WAIT);
    loop {
        let Some(count) = table::counted(step.number, step.slot) else { return returned(NTSTATUS::INVALID_PARAMETER) };
        if count >= step.more {
            return valued(count);
        }
        if left == 0 || raised {
            return outcome(NTSTATUS::TIMEOUT, count.into());
        }
        let mut turn = TURN;
        // SAFETY: at PASSIVE_LEVEL, not alertable.
        let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut turn) };
        left -= 1;
    }
}
