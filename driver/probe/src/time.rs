//! Measuring: how long something takes that the probe does many times over.

use core::ptr::null_mut;

use protocol::probe::{Event, queue};
use wdf_sys::wdf::functions::*;
use wdf_sys::wdm::constants::KERNEL_MODE;
use wdf_sys::wdm::functions::{KeDelayExecutionThread, KeQueryPerformanceCounter};
use wdf_sys::{NTSTATUS, WDFIOTARGET, WDFREQUEST};

use crate::{callbacks, own, table};

/// Most repetitions of one step.
const MOST: u64 = 10_000;
/// Turns of waiting for something that is to come at once: spins, then naps of a millisecond.
const SPINS: u32 = 100_000;
const NAPS: u32 = 10_000;

/// A clock, in ticks, and its frequency.
fn clock() -> (i64, i64) {
    let mut frequency = 0;
    // SAFETY: the frequency is a local.
    let now = unsafe { KeQueryPerformanceCounter(&raw mut frequency) };
    (now, frequency)
}

fn nanoseconds(ticks: i64, frequency: i64) -> u64 {
    u64::try_from(i128::from(ticks) * 1_000_000_000 / i128::from(frequency.max(1))).unwrap_or(0)
}

/// Waits until an event of a slot has been counted so many times.
fn await_event(event: Event, slot: u32, count: u32) -> Result<(), NTSTATUS> {
    let has_come = || table::counted(event as u32, slot).is_none_or(|now| now >= count);
    for _ in 0..SPINS {
        if has_come() {
            return Ok(());
        }
        core::hint::spin_loop();
    }
    for _ in 0..NAPS {
        if has_come() {
            return Ok(());
        }
        let mut turn = -10_000;
        // SAFETY: at PASSIVE_LEVEL, not alertable.
        let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut turn) };
    }
    Err(NTSTATUS::TIMEOUT)
}

/// Sends requests for `NOTHING`, one after the other, in `slot`.
///
/// # Safety
/// `target` is open; at PASSIVE_LEVEL.
pub(crate) unsafe fn sends(slot: u32, target: WDFIOTARGET, reuse: bool, times: u64) -> Result<u64, NTSTATUS> {
    let before = table::counted(Event::Completed as u32, slot).ok_or(NTSTATUS::INVALID_PARAMETER)?;
    let (begin, frequency) = clock();
    for done in 1..=times.min(MOST) as u32 {
        // SAFETY: the caller's promise; the request is made here, and comes back before the next turn.
        unsafe {
            if done == 1 || !reuse {
                own::create(slot, target).ok()?;
            } else {
                callbacks::reuse(table::request(slot));
            }
            let request = table::request(slot);
            callbacks::format_nothing(request, target).ok()?;
            WdfRequestSetCompletionRoutine(request, Some(callbacks::completion), null_mut());
            if WdfRequestSend(request, target, null_mut()) == 0 {
                return Err(WdfRequestGetStatus(request));
            }
            await_event(Event::Completed, slot, before.wrapping_add(done))?;
            if !reuse {
                delete(slot, request);
            }
        }
    }
    let taken = clock().0 - begin;
    if reuse {
        // SAFETY: the request has come back.
        unsafe { delete(slot, table::request(slot)) };
    }
    Ok(nanoseconds(taken, frequency))
}

/// # Safety
/// The request in the slot is the probe's own and is not sent.
unsafe fn delete(slot: u32, request: WDFREQUEST) {
    table::set_request(slot, WDFREQUEST::NULL);
    // SAFETY: the caller's promise.
    unsafe { WdfObjectDelete(request.object()) };
}

/// Forwards the slot's request from manual queue to manual queue.
///
/// # Safety
/// The driver owns the request, which came from a queue of the probe's device.
pub(crate) unsafe fn forwards(slot: u32, times: u64) -> Result<u64, NTSTATUS> {
    let (mut taken, mut frequency) = (0, 1);
    for turn in 0..times.min(MOST) {
        let queue = table::queue(if turn % 2 == 0 { queue::MANUAL } else { queue::MANUAL_QUIET });
        let request = table::request(slot);
        let begin = clock().0;
        // SAFETY: the caller's promise, and it was retrieved below since.
        let status = unsafe { WdfRequestForwardToIoQueue(request, queue) };
        let (end, now) = clock();
        (taken, frequency) = (taken + end - begin, now);
        status.ok()?;
        let mut back = WDFREQUEST::NULL;
        // SAFETY: the queue is the probe's.
        unsafe { WdfIoQueueRetrieveNextRequest(queue, &raw mut back) }.ok()?;
        table::set_request(slot, back);
    }
    Ok(nanoseconds(taken, frequency))
}

/// Cancels the slot's request.
///
/// # Safety
/// The request is sent, or was.
pub(crate) unsafe fn cancel(slot: u32, count: u32) -> Result<u64, NTSTATUS> {
    let request = table::request(slot);
    let (begin, frequency) = clock();
    // SAFETY: the caller's promise.
    unsafe { WdfRequestCancelSentRequest(request) };
    await_event(Event::Completed, slot, count)?;
    Ok(nanoseconds(clock().0 - begin, frequency))
}
