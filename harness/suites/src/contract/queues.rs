//! Queues: accepting, draining, purging, stopping, retrieving, and requests that are cancelled in them.

use protocol::probe::{Event, NOBODY, Step, queue, target};

use super::probe::{Load, MOMENT, Probe, TRUE};
use super::steps::*;
use crate::bench::{Bench, Test, TestResult, ensure, ensure_eq, tests};
use crate::nt::NTSTATUS;

pub(super) const TESTS: &[Test] = tests!(contract {
    a_queue_that_does_not_accept_fails_new_requests: "a request that arrives at a draining queue ends with STATUS_INVALID_DEVICE_STATE",
    the_driver_is_told_of_a_cancel_of_what_it_has_had: "EvtIoCanceledOnQueue is called for a request that was presented before",
    the_driver_is_not_told_of_a_cancel_of_what_it_has_never_had: "EvtIoCanceledOnQueue is not called for a request that was not presented before",
    cancelled_requests_are_told_before_others_are_presented: "what was cancelled while a handler ran comes first: EvtRequestCancel, EvtIoCanceledOnQueue, then the handler",
    a_stop_is_told_after_what_was_cancelled: "EvtRequestCancel, EvtIoCanceledOnQueue, then the callback of WdfIoQueueStop, when all are due",
    a_purge_is_told_after_what_was_cancelled: "EvtRequestCancel, EvtIoCanceledOnQueue, then the callback of WdfIoQueuePurge, when all are due",
    a_stop_is_told_before_a_purge: "a queue can have a stop and a purge pending; when both are due, the callback of WdfIoQueueStop comes first",
    draining_cancels_nothing: "a drained queue hands out what it has, and is drained when that has ended",
    purging_cancels_what_waits: "a purge cancels what is in the queue, and says when it is done",
    purging_cancels_what_the_driver_has_marked: "a purge cancels what the driver has made cancelable",
    stopping_reopens_a_purged_queue: "WdfIoQueueStop makes a purged queue accept again",
    a_stopped_queue_accepts_and_keeps: "a stopped queue takes requests, and presents them when it is started",
    a_parallel_queue_has_nothing_to_retrieve: "WdfIoQueueRetrieveNextRequest of a parallel queue is STATUS_INVALID_DEVICE_STATE",
    a_stopped_queue_has_nothing_to_retrieve: "WdfIoQueueRetrieveNextRequest of a stopped queue is STATUS_WDF_PAUSED",
    an_empty_queue_has_nothing_to_retrieve: "WdfIoQueueRetrieveNextRequest of an empty queue is STATUS_NO_MORE_ENTRIES",
});

fn a_queue_that_does_not_accept_fails_new_requests(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.make()?;
    // All in one call: the queue that does not accept is the one that steps come through.
    let steps = [set_completion(OWN), queue_drain(queue::DEFAULT), send(OWN), queue_start(queue::DEFAULT)];
    let [_, _, sending, _] = probe.run(steps)?;
    ensure_eq!(sending.value, TRUE);
    sent.returned(NTSTATUS::INVALID_DEVICE_STATE)?;
    ensure_eq!(probe.count(Event::Presented, SEEN)?, 0);
    sent.finish()
}

fn the_driver_is_told_of_a_cancel_of_what_it_has_had(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut subject = probe.subject(FIRST)?;
    probe.ok([forward(FIRST, queue::MANUAL)])?;
    subject.cancel()?;
    probe.wait(Event::CanceledOnQueue, FIRST, 1)?;
    ensure_eq!(subject.end()?, NTSTATUS::CANCELLED);
    Ok(())
}

fn the_driver_is_not_told_of_a_cancel_of_what_it_has_never_had(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    // The other device has a manual queue only, from which nobody retrieves.
    probe.ok([use_target(target::OTHER_DEVICE)])?;
    let sent = probe.send_as([set_completion(OWN), send(OWN)])?;
    ensure_eq!(probe.value(cancel_sent(OWN))?, TRUE);
    sent.returned(NTSTATUS::CANCELLED)?;
    // The probe has never seen the request, so that no slot has it.
    ensure_eq!(probe.count(Event::CanceledOnQueue, NOBODY)?, 0);
    sent.finish()
}

/// A probe that has sent itself two requests: one that it holds in [`SEEN`], from [`queue::SYNCHRONIZED`] and cancelable, and one that it
/// holds in [`SEEN_TOO`], from another queue. While a handler of the queue runs, nothing of the queue's is called but what the handler calls.
fn with_two_in_the_synchronized_queue(test: impl FnOnce(&Probe) -> TestResult) -> TestResult {
    let probe = Probe::open()?;
    let first = probe.send()?;
    let second = probe.send_from(OWN_TOO, SEEN_TOO)?;
    probe.ok([forward(SEEN, queue::SYNCHRONIZED)])?;
    probe.wait(Event::Presented, SEEN, 2)?;
    probe.ok([mark(SEEN)])?;
    test(&probe)?;
    first.returned(NTSTATUS::CANCELLED)?;
    second.returned(NTSTATUS::CANCELLED)?;
    ensure!(probe.when(Event::Canceled, SEEN)? < probe.when(Event::CanceledOnQueue, SEEN_TOO)?);
    first.finish()?;
    second.finish()
}

/// Within a handler of the queue: the other request is given to the queue, too, then both are cancelled.
const GIVE_AND_CANCEL_BOTH: [Step; 3] = [forward(SEEN_TOO, queue::SYNCHRONIZED), cancel_sent(OWN), cancel_sent(OWN_TOO)];

fn cancelled_requests_are_told_before_others_are_presented(_: &mut Bench) -> TestResult {
    with_two_in_the_synchronized_queue(|probe| {
        let subject = probe.subject(FIRST)?;
        let [give, first, second] = GIVE_AND_CANCEL_BOTH;
        let [forwarded, _, _, _, quiet] =
            probe.run_synchronized([forward(FIRST, queue::SYNCHRONIZED), give, first, second, look(Event::Canceled, SEEN, 1)])?;
        ensure_eq!(forwarded.status, NTSTATUS::SUCCESS);
        ensure_eq!(quiet.status, NTSTATUS::TIMEOUT);
        probe.wait(Event::Presented, FIRST, 2)?;
        ensure!(probe.when(Event::CanceledOnQueue, SEEN_TOO)? < probe.when(Event::Presented, FIRST)?);
        subject.complete(NTSTATUS::SUCCESS)
    })
}

fn a_stop_is_told_after_what_was_cancelled(_: &mut Bench) -> TestResult {
    a_change_is_told_after_what_was_cancelled(queue_stop(queue::SYNCHRONIZED))
}

fn a_purge_is_told_after_what_was_cancelled(_: &mut Bench) -> TestResult {
    a_change_is_told_after_what_was_cancelled(queue_purge(queue::SYNCHRONIZED))
}

fn a_change_is_told_after_what_was_cancelled(change: Step) -> TestResult {
    with_two_in_the_synchronized_queue(|probe| {
        let [give, first, second] = GIVE_AND_CANCEL_BOTH;
        let [.., quiet] = probe.run_synchronized([give, first, second, change, look(Event::CanceledOnQueue, SEEN_TOO, 1)])?;
        ensure_eq!(quiet.status, NTSTATUS::TIMEOUT);
        probe.wait(Event::QueueState, queue::SYNCHRONIZED, 1)?;
        ensure!(probe.when(Event::CanceledOnQueue, SEEN_TOO)? < probe.when(Event::QueueState, queue::SYNCHRONIZED)?);
        probe.ok([queue_start(queue::SYNCHRONIZED)]).map(drop)
    })
}

fn a_stop_is_told_before_a_purge(_: &mut Bench) -> TestResult {
    let (stop, purge) = (queue_stop(queue::MANUAL), queue_purge_apart(queue::MANUAL));
    for changes in [[stop, purge], [purge, stop]] {
        let probe = Probe::open()?;
        let subject = probe.subject(FIRST)?;
        probe.ok([forward(FIRST, queue::MANUAL), retrieve(FIRST, queue::MANUAL)])?;
        // The driver has the request, so that neither is done.
        probe.ok(changes)?;
        ensure_eq!(probe.count(Event::QueueState, queue::MANUAL)?, 0);
        ensure_eq!(probe.count(Event::QueuePurged, queue::MANUAL)?, 0);
        subject.complete(NTSTATUS::SUCCESS)?;
        probe.wait(Event::QueueState, queue::MANUAL, 1)?;
        probe.wait(Event::QueuePurged, queue::MANUAL, 1)?;
        ensure!(probe.when(Event::QueueState, queue::MANUAL)? < probe.when(Event::QueuePurged, queue::MANUAL)?);
    }
    Ok(())
}

fn draining_cancels_nothing(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut subject = probe.subject(FIRST)?;
    probe.ok([forward(FIRST, queue::MANUAL), queue_drain(queue::MANUAL)])?;
    ensure_eq!(probe.status(wait(Event::QueueState, queue::MANUAL, 1, MOMENT))?, NTSTATUS::TIMEOUT);
    ensure!(subject.is_pending());
    probe.ok([retrieve(FIRST, queue::MANUAL)])?;
    ensure_eq!(probe.count(Event::QueueState, queue::MANUAL)?, 0);
    subject.complete(NTSTATUS::SUCCESS)?;
    probe.wait(Event::QueueState, queue::MANUAL, 1)
}

fn purging_cancels_what_waits(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut subject = probe.subject(FIRST)?;
    probe.ok([forward(FIRST, queue::MANUAL), queue_purge(queue::MANUAL)])?;
    ensure_eq!(subject.end()?, NTSTATUS::CANCELLED);
    probe.wait(Event::QueueState, queue::MANUAL, 1)?;
    ensure_eq!(probe.load(queue::MANUAL)?, Load { queued: 0, presented: 0 });
    Ok(())
}

fn purging_cancels_what_the_driver_has_marked(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut subject = probe.subject(FIRST)?;
    probe.ok([forward(FIRST, queue::MANUAL), retrieve(FIRST, queue::MANUAL), mark(FIRST), queue_purge(queue::MANUAL)])?;
    ensure_eq!(subject.end()?, NTSTATUS::CANCELLED);
    probe.wait(Event::Canceled, FIRST, 1)?;
    probe.wait(Event::QueueState, queue::MANUAL, 1)
}

fn stopping_reopens_a_purged_queue(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([queue_purge(queue::MANUAL)])?;
    probe.wait(Event::QueueState, queue::MANUAL, 1)?;
    ensure_eq!(probe.status(forward(FIRST, queue::MANUAL))?, NTSTATUS::WDF_BUSY);
    probe.ok([queue_stop(queue::MANUAL)])?;
    probe.wait(Event::QueueState, queue::MANUAL, 2)?;
    ensure_eq!(probe.status(forward(FIRST, queue::MANUAL))?, NTSTATUS::SUCCESS);
    probe.ok([queue_start(queue::MANUAL), retrieve(FIRST, queue::MANUAL)])?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn a_stopped_queue_accepts_and_keeps(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([queue_stop(queue::PARALLEL)])?;
    probe.wait(Event::QueueState, queue::PARALLEL, 1)?;
    probe.ok([forward(FIRST, queue::PARALLEL)])?;
    ensure_eq!(probe.load(queue::PARALLEL)?, Load { queued: 1, presented: 0 });
    ensure_eq!(probe.count(Event::Presented, FIRST)?, 1);
    probe.ok([queue_start(queue::PARALLEL)])?;
    probe.wait(Event::Presented, FIRST, 2)?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn a_parallel_queue_has_nothing_to_retrieve(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    ensure_eq!(probe.status(retrieve(SPARE, queue::PARALLEL))?, NTSTATUS::INVALID_DEVICE_STATE);
    Ok(())
}

fn a_stopped_queue_has_nothing_to_retrieve(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([forward(FIRST, queue::MANUAL), queue_stop(queue::MANUAL)])?;
    ensure_eq!(probe.status(retrieve(SPARE, queue::MANUAL))?, NTSTATUS::WDF_PAUSED);
    probe.ok([queue_start(queue::MANUAL), retrieve(SPARE, queue::MANUAL)])?;
    subject.complete_by(SPARE, NTSTATUS::SUCCESS)
}

fn an_empty_queue_has_nothing_to_retrieve(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    ensure_eq!(probe.status(retrieve(SPARE, queue::MANUAL))?, NTSTATUS::NO_MORE_ENTRIES);
    Ok(())
}
