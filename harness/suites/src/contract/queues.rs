//! Queues: accepting, draining, purging, stopping, retrieving, and requests that are cancelled in them.

use protocol::probe::{Event, queue, target};

use super::probe::{Load, MOMENT, Probe, TRUE};
use super::steps::*;
use crate::bench::{Bench, Test, TestResult, ensure, ensure_eq, tests};
use crate::nt::{self, NTSTATUS, Thread};
use crate::relay::DEADLINE;

/// Time enough for a cancel to be on its way.
const A_WHILE: core::time::Duration = core::time::Duration::from_secs(1);

pub(super) const TESTS: &[Test] = tests!(contract {
    a_queue_that_does_not_accept_fails_new_requests: "a request that arrives at a draining queue ends with STATUS_INVALID_DEVICE_STATE",
    the_driver_is_told_of_a_cancel_of_what_it_has_had: "EvtIoCanceledOnQueue is called for a request that was presented before",
    the_driver_is_not_told_of_a_cancel_of_what_it_has_never_had: "EvtIoCanceledOnQueue is not called for a request that was not presented before",
    cancelled_requests_are_told_before_others_are_presented: "EvtIoCanceledOnQueue comes before the handler, when both are due",
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
    ensure_eq!(probe.count(Event::CanceledOnQueue, SEEN)?, 0);
    sent.finish()
}

fn cancelled_requests_are_told_before_others_are_presented(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let (mut first, second) = (probe.subject(FIRST)?, probe.subject(SECOND)?);
    // While this handler of the queue runs, neither can come: both are put off until it returns, which is when a third request arrives,
    // or after a while: whoever cancels may have to wait for the handler himself.
    let other = Probe::attach()?;
    let holding = Thread::spawn(move || {
        other.run_synchronized([
            forward(SECOND, queue::SYNCHRONIZED),
            forward(FIRST, queue::SYNCHRONIZED),
            wait(Event::Presented, THIRD, 1, A_WHILE),
        ])
    })?;
    let deadline = nt::Deadline::after(DEADLINE);
    while probe.load(queue::SYNCHRONIZED)?.queued < 2 {
        ensure!(!deadline.has_passed());
        nt::sleep(core::time::Duration::from_millis(1));
    }
    first.cancel()?;
    let third = probe.subject(THIRD)?;
    holding.join(2 * DEADLINE)??;
    ensure_eq!(first.end()?, NTSTATUS::CANCELLED);
    probe.wait(Event::Presented, SECOND, 2)?;
    ensure!(probe.when(Event::CanceledOnQueue, FIRST)? < probe.when(Event::Presented, SECOND)?);
    second.complete(NTSTATUS::SUCCESS)?;
    third.complete(NTSTATUS::SUCCESS)
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
