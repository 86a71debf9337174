//! `WdfIoQueue…`: start, stop, drain, purge, and the notification of a manual queue.

use core::ffi::c_void;

use wdf_sys::wdf::{PFN_WDF_IO_QUEUE_STATE, WDF_QUEUE_FATAL_ERROR_DATA};
use wdf_sys::wdm::constants::NOTIFICATION_EVENT;
use wdf_sys::{NTSTATUS, WDFQUEUE};

use super::pump::pump;
use super::state::{Change, Kind, Notify};
use super::{Queue, power, reserve};
use crate::call::{Call, ddi};
use crate::history::Event as LogEvent;
use crate::object::Ref;
use crate::sync::{DISPATCH_LEVEL, Event, PASSIVE_LEVEL};
use crate::verifier::{self, BugCheck, Rule};

ddi! {
    fn WdfIoQueueStart(call, queue: WDFQUEUE) {
        call.irql_at_most(DISPATCH_LEVEL);
        let queue = call.object::<Queue>(queue);
        queue.guarded.lock().state.start();
        pump(&queue);
    }

    fn WdfIoQueueStop(call, queue: WDFQUEUE, done: PFN_WDF_IO_QUEUE_STATE, context: *mut c_void) {
        change(call, queue, Change::Stop, done, context);
    }

    fn WdfIoQueueStopSynchronously(call, queue: WDFQUEUE) {
        change_and_wait(call, queue, Change::Stop);
    }

    fn WdfIoQueueDrain(call, queue: WDFQUEUE, done: PFN_WDF_IO_QUEUE_STATE, context: *mut c_void) {
        change(call, queue, Change::Drain, done, context);
    }

    fn WdfIoQueueDrainSynchronously(call, queue: WDFQUEUE) {
        change_and_wait(call, queue, Change::Drain);
    }

    fn WdfIoQueuePurge(call, queue: WDFQUEUE, done: PFN_WDF_IO_QUEUE_STATE, context: *mut c_void) {
        change(call, queue, Change::Purge, done, context);
    }

    fn WdfIoQueuePurgeSynchronously(call, queue: WDFQUEUE) {
        change_and_wait(call, queue, Change::Purge);
    }

    fn WdfIoQueueStopAndPurge(call, queue: WDFQUEUE, done: PFN_WDF_IO_QUEUE_STATE, context: *mut c_void) {
        change(call, queue, Change::StopAndPurge, done, context);
    }

    fn WdfIoQueueStopAndPurgeSynchronously(call, queue: WDFQUEUE) {
        change_and_wait(call, queue, Change::StopAndPurge);
    }

    fn WdfIoQueueReadyNotify(call, queue: WDFQUEUE, ready: PFN_WDF_IO_QUEUE_STATE, context: *mut c_void) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        let queue = call.object::<Queue>(queue);
        let notify = Notify { callback: ready, context, event: core::ptr::null_mut() };
        let set = {
            let mut guarded = queue.guarded.lock();
            if guarded.state.rules().kind != Kind::Manual {
                Err("the queue does not dispatch manually")
            } else if ready.is_some() {
                if guarded.state.set_ready(notify) { Ok(()) } else { Err("a callback is set already") }
            } else if guarded.state.dispatches() {
                Err("the queue must be stopped before its callback is taken away")
            } else {
                guarded.state.clear_ready();
                Ok(())
            }
        };
        match set {
            Ok(()) => {
                pump(&queue);
                NTSTATUS::SUCCESS
            }
            Err(why) => {
                crate::report!(call.globals, "{}: {why}", call.name());
                NTSTATUS::INVALID_DEVICE_REQUEST
            }
        }
    }
}

fn change(call: &Call, queue: WDFQUEUE, change: Change, done: PFN_WDF_IO_QUEUE_STATE, context: *mut c_void) {
    call.irql_at_most(DISPATCH_LEVEL);
    let queue = call.object::<Queue>(queue);
    let notify = done.map(|callback| Notify { callback: Some(callback), context, event: core::ptr::null_mut() });
    begin(call, &queue, change, notify);
}

fn change_and_wait(call: &Call, queue: WDFQUEUE, change: Change) {
    let queue = call.object::<Queue>(queue);
    if !call.irql_at_most(PASSIVE_LEVEL) {
        // Waiting here would never end: the queue may need this processor.
        begin(call, &queue, change, None);
        return;
    }
    if crate::lock::serialization_of(queue.any()).is_some_and(|lock| lock.is_held_by_me()) && call.globals.verifies() {
        verifier::violation(
            call.globals,
            Rule::WrongState,
            Queue::number(&queue),
            format_args!("{} from a callback of the queue, which it waits for", call.name()),
        );
    }
    let event = Event::uninitialized();
    event.initialize(NOTIFICATION_EVENT, false);
    begin(call, &queue, change, Some(Notify::event(event.as_ptr())));
    power::wait(&queue, &event, call.name(), None);
}

fn begin(call: &Call, queue: &Ref<Queue>, change: Change, notify: Option<Notify>) {
    let number = Queue::number(queue);
    if !queue.any().is_alive() {
        fatal(call, queue, NTSTATUS::DELETE_PENDING);
    }
    let begun = queue.guarded.lock().state.begin(change, notify);
    if begun.is_err() {
        crate::report!(call.globals, "{}: a completion callback of an earlier change of that kind is pending", call.name());
        fatal(call, queue, NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    call.globals.history.record(LogEvent::QueueState, number, 0, change as usize);
    if matches!(change, Change::Purge | Change::StopAndPurge) {
        reserve::cancel_waiting(queue, core::ptr::null_mut());
    }
    pump(queue);
}

fn fatal(call: &Call, queue: &Ref<Queue>, status: NTSTATUS) -> ! {
    let mut data = WDF_QUEUE_FATAL_ERROR_DATA::zeroed();
    data.Queue = queue.handle();
    data.Status = status;
    verifier::bug_check(call.globals, BugCheck::QueueFatalError((&raw const data).addr()));
}
