//! Whose a request is: WdfRequestMarkCancelable, MarkCancelableEx, UnmarkCancelable, Requeue, StopAcknowledge, Complete. And WdfDriverCreate,
//! to which every request owes its driver.

use protocol::probe::{Event, OnCancel, queue};

use super::probe::{Load, Probe};
use super::steps::*;
use crate::bench::{Bench, Test, TestResult, ensure, ensure_eq, tests};
use crate::nt::NTSTATUS;

pub(super) const TESTS: &[Test] = tests!(contract {
    the_verifier_is_on: "the registry says so, and the other tests rely on it",
    a_created_request_cannot_be_made_cancelable: "WdfRequestMarkCancelableEx refuses a request that is in no queue, WdfRequestMarkCancelable does nothing",
    a_created_request_cannot_be_unmarked: "WdfRequestUnmarkCancelable refuses a request that is in no queue",
    marking_a_cancelled_request_with_ex_returns_the_cancel: "STATUS_CANCELLED, and EvtRequestCancel is not called",
    marking_a_cancelled_request_calls_back: "WdfRequestMarkCancelable of a cancelled request leads to EvtRequestCancel",
    marking_a_cancelled_request_calls_back_after_the_handler: "within a handler of the queue EvtRequestCancel waits for the handler's return",
    unmarking_takes_the_callback_away: "after WdfRequestUnmarkCancelable a cancel calls nothing",
    unmarking_loses_to_a_callback_that_is_pending: "STATUS_CANCELLED: EvtRequestCancel will come, and owns the request",
    unmarking_loses_to_a_callback_that_has_come: "STATUS_CANCELLED: EvtRequestCancel was called, and owns the request",
    requeue_is_for_manual_queues: "WdfRequestRequeue refuses a request of a parallel or sequential queue",
    requeue_puts_a_request_at_the_head: "the request that went back is the next one again",
    a_cancelled_request_can_be_requeued: "STATUS_SUCCESS, then the request is cancelled in the queue",
    acknowledging_a_stop_that_is_none_is_ignored: "WdfRequestStopAcknowledge outside of EvtIoStop neither requeues nor takes the request",
    completing_a_request_twice_is_ignored: "the second completion is reported, and changes nothing",
    completing_what_lies_in_a_queue_is_ignored: "the request is the framework's until it is delivered: the completion is reported, and changes nothing",
    marking_a_cancelable_request_is_refused: "STATUS_INVALID_DEVICE_REQUEST, and the mark that it has stays",
    completing_a_cancelable_request_takes_its_callback_away: "the completion is reported and done, and EvtRequestCancel is not called",
    a_second_driver_create_is_refused: "WdfDriverCreate outside of DriverEntry is STATUS_DRIVER_INTERNAL_ERROR",
});

fn the_verifier_is_on(_: &mut Bench) -> TestResult {
    ensure_eq!(Probe::open()?.value(verifier())?, 1);
    Ok(())
}

fn a_created_request_cannot_be_made_cancelable(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    probe.ok([create(OWN), mark(OWN)])?;
    ensure_eq!(probe.status(mark_ex(OWN))?, NTSTATUS::INVALID_DEVICE_REQUEST);
    ensure_eq!(probe.count(Event::Canceled, OWN)?, 0);
    probe.ok([delete(OWN), forget(OWN)]).map(drop)
}

fn a_created_request_cannot_be_unmarked(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    probe.ok([create(OWN)])?;
    ensure_eq!(probe.status(unmark(OWN))?, NTSTATUS::INVALID_DEVICE_REQUEST);
    probe.ok([delete(OWN), forget(OWN)]).map(drop)
}

fn marking_a_cancelled_request_with_ex_returns_the_cancel(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    subject.cancel()?;
    ensure_eq!(probe.status(mark_ex(FIRST))?, NTSTATUS::CANCELLED);
    // The request is still the driver's.
    subject.complete(NTSTATUS::CANCELLED)?;
    ensure_eq!(probe.count(Event::Canceled, FIRST)?, 0);
    Ok(())
}

fn marking_a_cancelled_request_calls_back(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut subject = probe.subject(FIRST)?;
    subject.cancel()?;
    probe.ok([mark(FIRST)])?;
    ensure_eq!(subject.end()?, NTSTATUS::CANCELLED);
    probe.wait(Event::Canceled, FIRST, 1)
}

fn marking_a_cancelled_request_calls_back_after_the_handler(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut subject = probe.subject(FIRST)?;
    subject.cancel()?;
    // The steps are taken by a handler of the queue that the request belongs to.
    let [_, seen] = probe.run([mark(FIRST), look(Event::Canceled, FIRST, 1)])?;
    ensure_eq!(seen.status, NTSTATUS::TIMEOUT);
    ensure_eq!(subject.end()?, NTSTATUS::CANCELLED);
    probe.wait(Event::Canceled, FIRST, 1)
}

fn unmarking_takes_the_callback_away(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut subject = probe.subject(FIRST)?;
    probe.ok([mark(FIRST)])?;
    ensure_eq!(probe.status(unmark(FIRST))?, NTSTATUS::SUCCESS);
    subject.cancel()?;
    ensure_eq!(probe.count(Event::Canceled, FIRST)?, 0);
    ensure!(subject.is_pending());
    subject.complete(NTSTATUS::SUCCESS)
}

fn unmarking_loses_to_a_callback_that_is_pending(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut subject = probe.subject(FIRST)?;
    subject.cancel()?;
    let [_, _, unmarked] = probe.run([on_cancel(FIRST, OnCancel::Keep), mark(FIRST), unmark(FIRST)])?;
    ensure_eq!(unmarked.status, NTSTATUS::CANCELLED);
    probe.wait(Event::Canceled, FIRST, 1)?;
    ensure!(subject.is_pending());
    subject.complete(NTSTATUS::CANCELLED)
}

fn unmarking_loses_to_a_callback_that_has_come(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([on_cancel(FIRST, OnCancel::Keep), mark(FIRST)])?;
    subject.cancel()?;
    probe.wait(Event::Canceled, FIRST, 1)?;
    ensure_eq!(probe.status(unmark(FIRST))?, NTSTATUS::CANCELLED);
    subject.complete(NTSTATUS::CANCELLED)
}

fn requeue_is_for_manual_queues(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    ensure_eq!(probe.status(requeue(FIRST))?, NTSTATUS::INVALID_DEVICE_REQUEST);
    probe.ok([forward(FIRST, queue::SEQUENTIAL)])?;
    probe.wait(Event::Presented, FIRST, 2)?;
    ensure_eq!(probe.status(requeue(FIRST))?, NTSTATUS::INVALID_DEVICE_REQUEST);
    subject.complete(NTSTATUS::SUCCESS)
}

fn requeue_puts_a_request_at_the_head(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let (first, second) = (probe.subject(FIRST)?, probe.subject(SECOND)?);
    probe.ok([forward(FIRST, queue::MANUAL), forward(SECOND, queue::MANUAL)])?;
    probe.ok([retrieve(SPARE, queue::MANUAL), requeue(SPARE), retrieve(SPARE, queue::MANUAL)])?;
    first.complete_by(SPARE, NTSTATUS::SUCCESS)?;
    probe.ok([retrieve(SPARE, queue::MANUAL)])?;
    second.complete_by(SPARE, NTSTATUS::SUCCESS)
}

fn a_cancelled_request_can_be_requeued(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut subject = probe.subject(FIRST)?;
    probe.ok([forward(FIRST, queue::MANUAL), retrieve(FIRST, queue::MANUAL)])?;
    subject.cancel()?;
    ensure!(subject.is_pending());
    ensure_eq!(probe.status(requeue(FIRST))?, NTSTATUS::SUCCESS);
    ensure_eq!(subject.end()?, NTSTATUS::CANCELLED);
    probe.wait(Event::CanceledOnQueue, FIRST, 1)?;
    ensure_eq!(probe.load(queue::MANUAL)?, Load { queued: 0, presented: 0 });
    Ok(())
}

fn acknowledging_a_stop_that_is_none_is_ignored(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut subject = probe.subject(FIRST)?;
    probe.ok([acknowledge_and_requeue(FIRST)])?;
    ensure_eq!(probe.count(Event::Presented, FIRST)?, 1);
    ensure!(subject.is_pending());
    subject.complete(NTSTATUS::SUCCESS)
}

fn completing_a_request_twice_is_ignored(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut subject = probe.subject(FIRST)?;
    let twice = [complete(FIRST, NTSTATUS::SUCCESS), complete(FIRST, NTSTATUS::UNSUCCESSFUL)];
    probe.ok([reference(FIRST), twice[0], twice[1], dereference(FIRST), forget(FIRST)])?;
    ensure_eq!(subject.end()?, NTSTATUS::SUCCESS);
    Ok(())
}

fn completing_what_lies_in_a_queue_is_ignored(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut subject = probe.subject(FIRST)?;
    probe.ok([forward(FIRST, queue::MANUAL), complete(FIRST, NTSTATUS::UNSUCCESSFUL)])?;
    ensure!(subject.is_pending());
    ensure_eq!(probe.load(queue::MANUAL)?, Load { queued: 1, presented: 0 });
    probe.ok([retrieve(FIRST, queue::MANUAL)])?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn marking_a_cancelable_request_is_refused(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut subject = probe.subject(FIRST)?;
    probe.ok([mark_ex(FIRST)])?;
    ensure_eq!(probe.status(mark_ex(FIRST))?, NTSTATUS::INVALID_DEVICE_REQUEST);
    ensure_eq!(probe.count(Event::Canceled, FIRST)?, 0);
    subject.cancel()?;
    ensure_eq!(subject.end()?, NTSTATUS::CANCELLED);
    ensure_eq!(probe.count(Event::Canceled, FIRST)?, 1);
    Ok(())
}

fn completing_a_cancelable_request_takes_its_callback_away(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([mark(FIRST)])?;
    subject.complete(NTSTATUS::SUCCESS)?;
    ensure_eq!(probe.count(Event::Canceled, FIRST)?, 0);
    Ok(())
}

fn a_second_driver_create_is_refused(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    ensure_eq!(probe.status(create_driver_again())?, NTSTATUS::DRIVER_INTERNAL_ERROR);
    // The driver that there is goes on as before.
    probe.subject(FIRST)?.complete(NTSTATUS::SUCCESS)
}
