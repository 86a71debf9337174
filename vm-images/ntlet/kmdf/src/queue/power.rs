//! What PnP and power do to the queues of a device. All at PASSIVE_LEVEL, in the thread that changes the device's state.

use core::sync::atomic::{AtomicBool, Ordering};

use wdf_sys::wdf::WdfRequestStopActionPurge;
use wdf_sys::wdm::constants::NOTIFICATION_EVENT;

use super::Queue;
use super::pump::pump;
use super::reserve;
use super::state::{Change, Notify};
use crate::device::Device;
use crate::object::Ref;
use crate::sync::Event;
use crate::verifier::{self, Rule};

/// How often a wait that does not end says what it waits for.
const REPORT_AFTER_MILLISECONDS: u32 = 60_000;
/// How long a driver may take to end or acknowledge what it has, before the verifier names the requests.
const SUSPECT_AFTER_MILLISECONDS: u32 = 10_000;
/// Most requests that are named.
const MOST_CULPRITS: usize = 8;

/// Names each request that the driver has and neither ends nor acknowledges, with what happened to it.
fn name_culprits(queue: &Ref<Queue>, what: &str, rule: Rule) {
    let globals = queue.any().globals();
    if !globals.verifies() {
        return;
    }
    let mut culprits = [0; MOST_CULPRITS];
    let count = queue.guarded.lock().state.unanswered(&mut culprits);
    for request in culprits.into_iter().take(count) {
        let seconds = SUSPECT_AFTER_MILLISECONDS / 1000;
        let message =
            format_args!("{what} has waited for this request for {seconds} s: it is neither completed nor acknowledged");
        verifier::violation(globals, rule, request, message);
    }
}

/// The device works: power-managed queues go on.
pub(crate) fn start(device: &Ref<Device>) {
    device.io.for_each_queue(|queue| {
        queue.guarded.lock().state.resume();
        pump(queue);
    });
}

/// The device leaves its working state: every power-managed queue stops dispatching, then each is stopped in turn. Returns when the
/// driver has completed, requeued, forwarded or acknowledged every request of each.
pub(crate) fn stop(device: &Ref<Device>, flags: u32) {
    device.io.for_each_queue(|queue| queue.guarded.lock().state.halt());
    device.io.for_each_queue(|queue| {
        if !queue.guarded.lock().state.rules().power_managed {
            return;
        }
        stop_one(queue, flags);
    });
}

fn stop_one(queue: &Ref<Queue>, flags: u32) {
    let stopped = Event::uninitialized();
    stopped.initialize(NOTIFICATION_EVENT, false);
    queue.guarded.lock().state.stop_for_power(flags, stopped.as_ptr());
    pump(queue);
    wait(queue, &stopped, "the power-down", Some(Rule::DrvAckIoStop));
}

/// The device is being removed: no queue takes requests any more, and what waits is cancelled.
pub(crate) fn begin_purge(device: &Ref<Device>) {
    device.io.for_each_queue(|queue| {
        let _ = queue.guarded.lock().state.begin(Change::Purge, None);
        reserve::cancel_waiting(queue, core::ptr::null_mut());
        pump(queue);
        // A device that goes while it sleeps: what the driver keeps over the sleep has to end.
        if queue.guarded.lock().state.must_tell_of_removal() {
            stop_one(queue, WdfRequestStopActionPurge);
        }
    });
}

/// Waits until the driver has completed what it has.
pub(crate) fn finish_purge(device: &Ref<Device>) {
    device.io.for_each_queue(|queue| {
        let emptied = Event::uninitialized();
        emptied.initialize(NOTIFICATION_EVENT, false);
        queue.guarded.lock().state.await_empty(Notify::event(emptied.as_ptr()));
        pump(queue);
        wait(queue, &emptied, "the removal", Some(Rule::RequestLeaked));
    });
}

/// Waits without end: the driver's requests are the driver's. But not in silence: with a rule, the verifier soon names each request that
/// is still there.
pub(crate) fn wait(queue: &Ref<Queue>, event: &Event, what: &str, rule: Option<Rule>) {
    static REPORTING: AtomicBool = AtomicBool::new(false);
    let globals = queue.any().globals();
    let mut patience = REPORT_AFTER_MILLISECONDS;
    if let Some(rule) = rule {
        if event.wait_for(SUSPECT_AFTER_MILLISECONDS) {
            return;
        }
        name_culprits(queue, what, rule);
        patience -= SUSPECT_AFTER_MILLISECONDS;
    }
    while !event.wait_for(patience) {
        patience = REPORT_AFTER_MILLISECONDS;
        let (waiting, in_driver) = queue.guarded.lock().state.counts();
        crate::report!(
            globals,
            "{what} waits for queue {:#x}: {in_driver} request(s) with the driver, {waiting} waiting; has it an EvtIoStop that acknowledges?",
            Queue::number(queue)
        );
        if !REPORTING.swap(true, Ordering::AcqRel) {
            globals.history.print_all(globals.name());
            REPORTING.store(false, Ordering::Release);
        }
    }
}
