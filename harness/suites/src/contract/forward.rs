//! WdfRequestForwardToIoQueue.

use protocol::probe::{Event, queue};

use super::probe::{Load, MOMENT, Probe, TRUE};
use super::steps::*;
use crate::bench::{Bench, Test, TestResult, ensure, ensure_eq, tests};
use crate::nt::NTSTATUS;

pub(super) const TESTS: &[Test] = tests!(contract {
    forwarding_moves_a_request_to_the_other_queue: "STATUS_SUCCESS, and the other queue presents the request",
    forwarding_a_request_of_ones_own_is_refused: "a request that did not come from a queue cannot go to one",
    forwarding_to_the_same_queue_is_refused: "source and destination must not be the same queue",
    forwarding_to_the_same_manual_queue_is_refused: "nor when the request was retrieved, not delivered",
    forwarding_to_another_devices_queue_is_refused: "source and destination must belong to one device",
    forwarding_what_lies_in_a_queue_is_refused: "a request that waits in a queue is not the driver's to forward",
    forwarding_what_is_sent_is_refused: "a request that is sent to a target is not the driver's to forward",
    forwarding_a_cancelable_request_is_refused: "a request marked by WdfRequestMarkCancelable cannot be forwarded",
    forwarding_a_request_made_cancelable_by_ex_is_refused: "a request marked by WdfRequestMarkCancelableEx cannot be forwarded",
    an_unmarked_request_can_be_forwarded: "after WdfRequestUnmarkCancelable a request can be forwarded",
    forwarding_to_a_purged_queue_is_refused_as_busy: "a purged queue does not accept: STATUS_WDF_BUSY",
    forwarding_to_a_draining_queue_is_refused_as_busy: "a draining queue does not accept: STATUS_WDF_BUSY",
    a_request_refused_as_busy_still_belongs_to_the_driver: "after STATUS_WDF_BUSY the driver can complete the request, or forward it elsewhere",
    a_refused_request_still_belongs_to_the_driver: "after STATUS_INVALID_DEVICE_REQUEST the driver can complete the request",
    whatever_a_forward_returns_an_error_leaves_the_request_with_the_driver: "each status is STATUS_SUCCESS or an error, and after an error of any kind the driver still has the request",
    requeue_returns_a_request_to_the_queue_it_came_from: "WdfRequestRequeue is the way back to the same queue",
    a_forwarded_request_belongs_to_the_driver_again_once_delivered: "between forward and delivery the queue has the request, afterwards the driver",
    a_cancel_in_the_new_queue_needs_no_cancel_callback: "the framework cancels a request in the new queue without EvtRequestCancel",
    a_cancel_in_the_new_queue_need_not_be_told: "without EvtIoCanceledOnQueue the driver is not told of the cancel at all",
    an_empty_destination_can_deliver_before_forward_returns: "the destination's handler has run when WdfRequestForwardToIoQueue returns",
    a_sequential_source_can_deliver_its_next_request_before_forward_returns: "the source's next request is presented when WdfRequestForwardToIoQueue returns",
    a_parallel_source_can_deliver_its_next_request_before_forward_returns: "as soon as one request leaves a parallel queue that has reached its limit",
    a_forwarded_request_is_delivered_before_the_source_goes_on: "first the destination presents the request, then the source its next one",
    the_source_counts_a_request_until_the_destination_has_had_it: "while the destination's handler runs inside the forward, the request counts among those presented by the source",
    a_manual_source_delivers_nothing: "a manual queue presents nothing by itself when one of its requests is forwarded",
    a_held_presentation_lock_puts_the_delivery_off: "a handler of the destination is not called while another one of a synchronised queue runs",
    forwarding_at_dispatch_level: "a request can be forwarded at DISPATCH_LEVEL",
    forwarding_a_cancelled_request_cancels_it_in_the_destination: "STATUS_SUCCESS, then the request is cancelled on the destination",
});

fn forwarding_moves_a_request_to_the_other_queue(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    ensure_eq!(probe.value(get_queue(FIRST))?, u64::from(queue::DEFAULT));
    ensure_eq!(probe.status(forward(FIRST, queue::PARALLEL))?, NTSTATUS::SUCCESS);
    probe.wait(Event::Presented, FIRST, 2)?;
    ensure_eq!(probe.value(get_queue(FIRST))?, u64::from(queue::PARALLEL));
    ensure_eq!(probe.load(queue::PARALLEL)?, Load { queued: 0, presented: 1 });
    subject.complete(NTSTATUS::SUCCESS)
}

fn forwarding_a_request_of_ones_own_is_refused(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    probe.ok([create(OWN)])?;
    ensure_eq!(probe.status(forward(OWN, queue::MANUAL))?, NTSTATUS::INVALID_DEVICE_REQUEST);
    ensure_eq!(probe.load(queue::MANUAL)?, Load { queued: 0, presented: 0 });
    probe.ok([delete(OWN), forget(OWN)]).map(drop)
}

fn forwarding_to_the_same_queue_is_refused(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    ensure_eq!(probe.status(forward(FIRST, queue::DEFAULT))?, NTSTATUS::INVALID_DEVICE_REQUEST);
    ensure_eq!(probe.count(Event::Presented, FIRST)?, 1);
    subject.complete(NTSTATUS::SUCCESS)
}

fn forwarding_to_the_same_manual_queue_is_refused(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([forward(FIRST, queue::MANUAL), retrieve(FIRST, queue::MANUAL)])?;
    ensure_eq!(probe.status(forward(FIRST, queue::MANUAL))?, NTSTATUS::INVALID_DEVICE_REQUEST);
    ensure_eq!(probe.load(queue::MANUAL)?, Load { queued: 0, presented: 1 });
    subject.complete(NTSTATUS::SUCCESS)
}

fn forwarding_to_another_devices_queue_is_refused(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    ensure_eq!(probe.status(forward(FIRST, queue::OTHER_DEVICE))?, NTSTATUS::INVALID_DEVICE_REQUEST);
    ensure_eq!(probe.load(queue::OTHER_DEVICE)?, Load { queued: 0, presented: 0 });
    subject.complete(NTSTATUS::SUCCESS)
}

fn forwarding_what_lies_in_a_queue_is_refused(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([forward(FIRST, queue::MANUAL)])?;
    ensure_eq!(probe.status(forward(FIRST, queue::PARALLEL))?, NTSTATUS::INVALID_DEVICE_REQUEST);
    ensure_eq!(probe.load(queue::MANUAL)?, Load { queued: 1, presented: 0 });
    probe.ok([retrieve(FIRST, queue::MANUAL), forward(FIRST, queue::PARALLEL)])?;
    probe.wait(Event::Presented, FIRST, 2)?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn forwarding_what_is_sent_is_refused(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    let [.., sent] = probe.ok([format_subject(FIRST, SEEN), set_completion(FIRST), send(FIRST)])?;
    ensure_eq!(sent, TRUE);
    probe.wait(Event::Presented, SEEN, 1)?;
    let forwarded = probe.status(forward(FIRST, queue::MANUAL))?;
    probe.ok([complete(SEEN, NTSTATUS::SUCCESS), forget(SEEN)])?;
    probe.wait(Event::Completed, FIRST, 1)?;
    subject.complete(NTSTATUS::SUCCESS)?;
    ensure_eq!(forwarded, NTSTATUS::INVALID_DEVICE_REQUEST);
    Ok(())
}

fn forwarding_a_cancelable_request_is_refused(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([mark(FIRST)])?;
    ensure_eq!(probe.status(forward(FIRST, queue::PARALLEL))?, NTSTATUS::INVALID_DEVICE_REQUEST);
    probe.ok([unmark(FIRST)])?;
    ensure_eq!(probe.count(Event::Presented, FIRST)?, 1);
    subject.complete(NTSTATUS::SUCCESS)
}

fn forwarding_a_request_made_cancelable_by_ex_is_refused(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([mark_ex(FIRST)])?;
    ensure_eq!(probe.status(forward(FIRST, queue::PARALLEL))?, NTSTATUS::INVALID_DEVICE_REQUEST);
    probe.ok([unmark(FIRST)])?;
    ensure_eq!(probe.count(Event::Presented, FIRST)?, 1);
    subject.complete(NTSTATUS::SUCCESS)
}

fn an_unmarked_request_can_be_forwarded(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([mark(FIRST), unmark(FIRST), forward(FIRST, queue::PARALLEL)])?;
    probe.wait(Event::Presented, FIRST, 2)?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn forwarding_to_a_purged_queue_is_refused_as_busy(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([queue_purge(queue::MANUAL)])?;
    probe.wait(Event::QueueState, queue::MANUAL, 1)?;
    ensure_eq!(probe.status(forward(FIRST, queue::MANUAL))?, NTSTATUS::WDF_BUSY);
    probe.ok([queue_start(queue::MANUAL)])?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn forwarding_to_a_draining_queue_is_refused_as_busy(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let (held, subject) = (probe.subject(FIRST)?, probe.subject(SECOND)?);
    probe.ok([forward(FIRST, queue::MANUAL), queue_drain(queue::MANUAL)])?;
    ensure_eq!(probe.status(forward(SECOND, queue::MANUAL))?, NTSTATUS::WDF_BUSY);
    probe.ok([retrieve(FIRST, queue::MANUAL)])?;
    held.complete(NTSTATUS::SUCCESS)?;
    probe.wait(Event::QueueState, queue::MANUAL, 1)?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn a_request_refused_as_busy_still_belongs_to_the_driver(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([queue_purge(queue::MANUAL)])?;
    probe.wait(Event::QueueState, queue::MANUAL, 1)?;
    ensure_eq!(probe.status(forward(FIRST, queue::MANUAL))?, NTSTATUS::WDF_BUSY);
    ensure_eq!(probe.value(get_queue(FIRST))?, u64::from(queue::DEFAULT));
    probe.ok([queue_start(queue::MANUAL), forward(FIRST, queue::PARALLEL)])?;
    probe.wait(Event::Presented, FIRST, 2)?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn a_refused_request_still_belongs_to_the_driver(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut subject = probe.subject(FIRST)?;
    ensure_eq!(probe.status(forward(FIRST, queue::OTHER_DEVICE))?, NTSTATUS::INVALID_DEVICE_REQUEST);
    ensure!(subject.is_pending());
    subject.complete(NTSTATUS::UNSUCCESSFUL)
}

fn whatever_a_forward_returns_an_error_leaves_the_request_with_the_driver(_: &mut Bench) -> TestResult {
    /// Severity of an error, in the two highest bits.
    const ERROR: u32 = 3;
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([queue_purge(queue::MANUAL)])?;
    probe.wait(Event::QueueState, queue::MANUAL, 1)?;
    for destination in [queue::DEFAULT, queue::OTHER_DEVICE, queue::MANUAL] {
        ensure_eq!(probe.status(forward(FIRST, destination))?.bits() >> 30, ERROR);
        ensure_eq!(probe.value(get_queue(FIRST))?, u64::from(queue::DEFAULT));
    }
    ensure_eq!(probe.load(queue::DEFAULT)?.queued, 0);
    ensure_eq!(probe.status(forward(FIRST, queue::PARALLEL))?, NTSTATUS::SUCCESS);
    probe.wait(Event::Presented, FIRST, 2)?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn requeue_returns_a_request_to_the_queue_it_came_from(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([forward(FIRST, queue::MANUAL), retrieve(SPARE, queue::MANUAL)])?;
    ensure_eq!(probe.status(requeue(SPARE))?, NTSTATUS::SUCCESS);
    ensure_eq!(probe.load(queue::MANUAL)?, Load { queued: 1, presented: 0 });
    probe.ok([retrieve(SPARE, queue::MANUAL)])?;
    subject.complete_by(SPARE, NTSTATUS::SUCCESS)
}

fn a_forwarded_request_belongs_to_the_driver_again_once_delivered(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut subject = probe.subject(FIRST)?;
    probe.ok([forward(FIRST, queue::MANUAL)])?;
    ensure_eq!(probe.load(queue::MANUAL)?, Load { queued: 1, presented: 0 });
    ensure!(subject.is_pending());
    probe.ok([retrieve(SPARE, queue::MANUAL)])?;
    ensure_eq!(probe.load(queue::MANUAL)?, Load { queued: 0, presented: 1 });
    probe.ok([mark_ex(SPARE), unmark(SPARE)])?;
    subject.complete_by(SPARE, NTSTATUS::SUCCESS)
}

fn a_cancel_in_the_new_queue_needs_no_cancel_callback(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut subject = probe.subject(FIRST)?;
    probe.ok([forward(FIRST, queue::MANUAL)])?;
    subject.cancel()?;
    ensure_eq!(subject.end()?, NTSTATUS::CANCELLED);
    ensure_eq!(probe.count(Event::Canceled, FIRST)?, 0);
    ensure_eq!(probe.load(queue::MANUAL)?, Load { queued: 0, presented: 0 });
    Ok(())
}

fn a_cancel_in_the_new_queue_need_not_be_told(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut subject = probe.subject(FIRST)?;
    probe.ok([forward(FIRST, queue::MANUAL_QUIET)])?;
    subject.cancel()?;
    ensure_eq!(subject.end()?, NTSTATUS::CANCELLED);
    ensure_eq!(probe.count(Event::Canceled, FIRST)?, 0);
    ensure_eq!(probe.count(Event::CanceledOnQueue, FIRST)?, 0);
    Ok(())
}

fn an_empty_destination_can_deliver_before_forward_returns(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    let [forwarded, seen] = probe.run([forward(FIRST, queue::PARALLEL), look(Event::Presented, FIRST, 2)])?;
    ensure_eq!(forwarded.status, NTSTATUS::SUCCESS);
    ensure_eq!(seen.status, NTSTATUS::SUCCESS);
    subject.complete(NTSTATUS::SUCCESS)
}

fn a_sequential_source_can_deliver_its_next_request_before_forward_returns(_: &mut Bench) -> TestResult {
    source_delivers_its_next_request(queue::SEQUENTIAL)
}

fn a_parallel_source_can_deliver_its_next_request_before_forward_returns(_: &mut Bench) -> TestResult {
    source_delivers_its_next_request(queue::PARALLEL_OF_ONE)
}

fn source_delivers_its_next_request(source: u32) -> TestResult {
    let probe = Probe::open()?;
    let (first, second) = (probe.subject(FIRST)?, probe.subject(SECOND)?);
    probe.ok([forward(FIRST, source)])?;
    probe.wait(Event::Presented, FIRST, 2)?;
    probe.ok([forward(SECOND, source)])?;
    ensure_eq!(probe.load(source)?, Load { queued: 1, presented: 1 });
    let [forwarded, seen] = probe.run([forward(FIRST, queue::MANUAL), look(Event::Presented, SECOND, 2)])?;
    ensure_eq!(forwarded.status, NTSTATUS::SUCCESS);
    ensure_eq!(seen.status, NTSTATUS::SUCCESS);
    probe.ok([retrieve(FIRST, queue::MANUAL)])?;
    first.complete(NTSTATUS::SUCCESS)?;
    second.complete(NTSTATUS::SUCCESS)
}

fn a_forwarded_request_is_delivered_before_the_source_goes_on(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let (first, second) = (probe.subject(FIRST)?, probe.subject(SECOND)?);
    probe.ok([forward(FIRST, queue::SEQUENTIAL)])?;
    probe.wait(Event::Presented, FIRST, 2)?;
    probe.ok([forward(SECOND, queue::SEQUENTIAL), forward(FIRST, queue::PARALLEL)])?;
    probe.wait(Event::Presented, FIRST, 3)?;
    probe.wait(Event::Presented, SECOND, 2)?;
    ensure!(probe.when(Event::Presented, FIRST)? < probe.when(Event::Presented, SECOND)?);
    first.complete(NTSTATUS::SUCCESS)?;
    second.complete(NTSTATUS::SUCCESS)
}

fn the_source_counts_a_request_until_the_destination_has_had_it(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    // These steps are taken by the handler of the queue that the default queue's handler has forwarded them to, before its forward returns.
    let [source] = probe.run_synchronized([queue_state(queue::DEFAULT)])?;
    ensure_eq!(source.status, NTSTATUS::SUCCESS);
    ensure!(source.value >> 48 > 0);
    Ok(())
}

fn a_manual_source_delivers_nothing(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let (first, second) = (probe.subject(FIRST)?, probe.subject(SECOND)?);
    probe.ok([forward(FIRST, queue::MANUAL), forward(SECOND, queue::MANUAL), retrieve(FIRST, queue::MANUAL)])?;
    probe.ok([forward(FIRST, queue::PARALLEL)])?;
    probe.wait(Event::Presented, FIRST, 2)?;
    ensure_eq!(probe.count(Event::Presented, SECOND)?, 1);
    ensure_eq!(probe.load(queue::MANUAL)?, Load { queued: 1, presented: 0 });
    probe.ok([retrieve(SECOND, queue::MANUAL)])?;
    first.complete(NTSTATUS::SUCCESS)?;
    second.complete(NTSTATUS::SUCCESS)
}

fn a_held_presentation_lock_puts_the_delivery_off(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    let steps = [forward(FIRST, queue::SYNCHRONIZED), wait(Event::Presented, FIRST, 2, MOMENT)];
    let [forwarded, seen] = probe.run_synchronized(steps)?;
    ensure_eq!(forwarded.status, NTSTATUS::SUCCESS);
    ensure_eq!(seen.status, NTSTATUS::TIMEOUT);
    probe.wait(Event::Presented, FIRST, 2)?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn forwarding_at_dispatch_level(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    let [_, forwarded, _] = probe.run([raise(), forward(FIRST, queue::PARALLEL), lower()])?;
    ensure_eq!(forwarded.status, NTSTATUS::SUCCESS);
    probe.wait(Event::Presented, FIRST, 2)?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn forwarding_a_cancelled_request_cancels_it_in_the_destination(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut subject = probe.subject(FIRST)?;
    subject.cancel()?;
    ensure_eq!(probe.value(is_canceled(FIRST))?, 1);
    ensure!(subject.is_pending());
    ensure_eq!(probe.status(forward(FIRST, queue::MANUAL))?, NTSTATUS::SUCCESS);
    ensure_eq!(subject.end()?, NTSTATUS::CANCELLED);
    probe.wait(Event::CanceledOnQueue, FIRST, 1)
}
