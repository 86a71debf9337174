//! WdfRequestCancelSentRequest.
//!
//! The probe sends a request of its own, in slot `OWN`, to itself, where it turns up in slot `SEEN`: what the test does to `SEEN` is
//! what the driver of the target does.

use core::time::Duration;

use protocol::probe::{Event, OnCancel, OnCompletion, queue, target};

use super::probe::{FALSE, Load, MOMENT, Probe, TRUE};
use super::steps::*;
use crate::bench::{Bench, Test, TestResult, ensure, ensure_eq, tests};
use crate::nt::NTSTATUS;

pub(super) const TESTS: &[Test] = tests!(contract {
    a_sent_request_can_be_cancelled: "a cancel that is delivered returns TRUE, and the request comes back cancelled",
    a_cancel_calls_what_the_target_marked: "EvtRequestCancel of the target's driver is called, once, after WdfRequestMarkCancelable",
    a_cancel_calls_what_the_target_marked_with_ex: "EvtRequestCancel of the target's driver is called, once, after WdfRequestMarkCancelableEx",
    cancelling_a_completed_request_returns_false: "there is nothing to cancel in a request that has come back",
    cancelling_a_cancelled_request_returns_false: "the second cancel returns FALSE, before the request comes back and afterwards",
    cancelling_what_the_target_did_not_mark_returns_false: "a request that its driver has not made cancelable goes on",
    a_cancel_stays_until_the_request_is_marked: "a cancel of an unmarked request happens when WdfRequestMarkCancelable makes it cancelable",
    a_cancel_stays_until_the_request_is_marked_with_ex: "a cancel of an unmarked request is what WdfRequestMarkCancelableEx returns",
    a_request_in_a_queue_of_the_target_is_cancelled: "the framework cancels a request that waits in a queue of the target's driver",
    a_request_that_was_never_presented_is_cancelled: "the framework cancels a request that the target's driver has not seen",
    a_request_that_waits_in_a_stopped_target_is_cancelled: "the framework cancels a request that the target has not sent on",
    the_completion_routine_runs_after_the_cancel: "the completion routine runs when the cancelled request is completed, not before",
    the_cancel_callback_comes_before_the_completion_routine: "EvtRequestCancel of the target's driver, then the completion routine",
    a_cancel_without_completion_routine_calls_nothing: "the completion routine is called only if there is one",
    a_reference_keeps_a_request_through_its_cancel: "with a reference held, the handle outlives the deletion that the cancel led to",
    a_cancel_leaves_no_reference_behind: "the request is destroyed when the driver gives back the reference that it held through the cancel",
    true_means_delivered_not_cancelled: "after TRUE the target may still complete the request with success",
    the_completion_routine_may_run_inside_the_cancel: "the completion routine has run when WdfRequestCancelSentRequest returns",
    cancelling_an_unsent_request_makes_its_next_send_fail: "the mark of a cancel sticks until WdfRequestReuse",
    a_timeout_ends_a_send_with_its_own_status: "a time-out is a cancel whose status becomes STATUS_IO_TIMEOUT",
    a_timeout_changes_no_other_status: "what the target completes with another status than STATUS_CANCELLED after the time-out keeps it",
});

fn a_sent_request_can_be_cancelled(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    probe.ok([mark(SEEN)])?;
    ensure_eq!(probe.value(cancel_sent(OWN))?, TRUE);
    sent.returned(NTSTATUS::CANCELLED)?;
    probe.wait(Event::Canceled, SEEN, 1)?;
    sent.finish()
}

fn a_cancel_calls_what_the_target_marked(_: &mut Bench) -> TestResult {
    cancel_of_marked(mark(SEEN))
}

fn a_cancel_calls_what_the_target_marked_with_ex(_: &mut Bench) -> TestResult {
    cancel_of_marked(mark_ex(SEEN))
}

fn cancel_of_marked(mark: protocol::probe::Step) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    probe.ok([mark])?;
    ensure_eq!(probe.count(Event::Canceled, SEEN)?, 0);
    probe.ok([cancel_sent(OWN)])?;
    sent.returned(NTSTATUS::CANCELLED)?;
    probe.wait(Event::Canceled, SEEN, 1)?;
    ensure_eq!(probe.count(Event::Canceled, SEEN)?, 1);
    ensure_eq!(probe.count(Event::CanceledOnQueue, SEEN)?, 0);
    sent.finish()
}

fn cancelling_a_completed_request_returns_false(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    sent.complete(NTSTATUS::SUCCESS)?;
    ensure_eq!(probe.value(cancel_sent(OWN))?, FALSE);
    ensure_eq!(probe.status(get_status(OWN))?, NTSTATUS::SUCCESS);
    sent.finish()
}

fn cancelling_a_cancelled_request_returns_false(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    probe.ok([on_cancel(SEEN, OnCancel::Keep), mark(SEEN)])?;
    ensure_eq!(probe.value(cancel_sent(OWN))?, TRUE);
    probe.wait(Event::Canceled, SEEN, 1)?;
    ensure_eq!(probe.value(cancel_sent(OWN))?, FALSE);
    sent.complete(NTSTATUS::CANCELLED)?;
    ensure_eq!(probe.value(cancel_sent(OWN))?, FALSE);
    ensure_eq!(probe.count(Event::Canceled, SEEN)?, 1);
    sent.finish()
}

fn cancelling_what_the_target_did_not_mark_returns_false(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    ensure_eq!(probe.value(cancel_sent(OWN))?, FALSE);
    ensure_eq!(probe.status(wait(Event::Completed, OWN, 1, MOMENT))?, NTSTATUS::TIMEOUT);
    ensure_eq!(probe.count(Event::Canceled, SEEN)?, 0);
    sent.complete(NTSTATUS::SUCCESS)?;
    sent.finish()
}

fn a_cancel_stays_until_the_request_is_marked(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    ensure_eq!(probe.value(cancel_sent(OWN))?, FALSE);
    probe.ok([mark(SEEN)])?;
    sent.returned(NTSTATUS::CANCELLED)?;
    probe.wait(Event::Canceled, SEEN, 1)?;
    sent.finish()
}

fn a_cancel_stays_until_the_request_is_marked_with_ex(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    ensure_eq!(probe.value(cancel_sent(OWN))?, FALSE);
    ensure_eq!(probe.status(mark_ex(SEEN))?, NTSTATUS::CANCELLED);
    sent.complete(NTSTATUS::CANCELLED)?;
    ensure_eq!(probe.count(Event::Canceled, SEEN)?, 0);
    sent.finish()
}

fn a_request_in_a_queue_of_the_target_is_cancelled(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    probe.ok([forward(SEEN, queue::MANUAL)])?;
    ensure_eq!(probe.value(cancel_sent(OWN))?, TRUE);
    sent.returned(NTSTATUS::CANCELLED)?;
    ensure_eq!(probe.count(Event::Canceled, SEEN)?, 0);
    ensure_eq!(probe.load(queue::MANUAL)?, Load { queued: 0, presented: 0 });
    sent.finish()
}

fn a_request_that_was_never_presented_is_cancelled(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    // The other device has a manual queue only, from which nobody retrieves.
    probe.ok([use_target(target::OTHER_DEVICE)])?;
    let sent = probe.send_as([set_completion(OWN), send(OWN)])?;
    ensure_eq!(probe.load(queue::OTHER_DEVICE)?, Load { queued: 1, presented: 0 });
    ensure_eq!(probe.value(cancel_sent(OWN))?, TRUE);
    sent.returned(NTSTATUS::CANCELLED)?;
    ensure_eq!(probe.count(Event::Presented, SEEN)?, 0);
    ensure_eq!(probe.count(Event::Canceled, SEEN)?, 0);
    sent.finish()
}

fn a_request_that_waits_in_a_stopped_target_is_cancelled(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send_as([set_completion(OWN), target_stop(), send(OWN)])?;
    ensure_eq!(probe.value(cancel_sent(OWN))?, TRUE);
    sent.returned(NTSTATUS::CANCELLED)?;
    probe.ok([target_start()])?;
    ensure_eq!(probe.status(wait(Event::Presented, SEEN, 1, MOMENT))?, NTSTATUS::TIMEOUT);
    sent.finish()
}

fn the_completion_routine_runs_after_the_cancel(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    probe.ok([on_cancel(SEEN, OnCancel::Keep), mark(SEEN), cancel_sent(OWN)])?;
    probe.wait(Event::Canceled, SEEN, 1)?;
    ensure_eq!(probe.count(Event::Completed, OWN)?, 0);
    sent.complete(NTSTATUS::CANCELLED)?;
    ensure_eq!(probe.count(Event::Completed, OWN)?, 1);
    sent.finish()
}

fn the_cancel_callback_comes_before_the_completion_routine(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    probe.ok([mark(SEEN), cancel_sent(OWN)])?;
    sent.returned(NTSTATUS::CANCELLED)?;
    probe.wait(Event::Canceled, SEEN, 1)?;
    ensure!(probe.when(Event::Canceled, SEEN)? < probe.when(Event::Completed, OWN)?);
    sent.finish()
}

fn a_cancel_without_completion_routine_calls_nothing(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    probe.send_as([send(OWN)])?.leave();
    probe.wait(Event::Presented, SEEN, 1)?;
    probe.ok([mark(SEEN), cancel_sent(OWN)])?;
    // The callback counts after it has completed the request.
    probe.wait(Event::Canceled, SEEN, 1)?;
    ensure_eq!(probe.status(get_status(OWN))?, NTSTATUS::CANCELLED);
    ensure_eq!(probe.count(Event::Completed, OWN)?, 0);
    probe.ok([delete(OWN), forget(OWN)]).map(drop)
}

fn a_reference_keeps_a_request_through_its_cancel(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    probe.ok([mark(SEEN), reference(OWN), copy_handle(OWN, SPARE), on_completion(OWN, OnCompletion::Delete)])?;
    sent.leave();
    ensure_eq!(probe.value(cancel_sent(SPARE))?, TRUE);
    probe.wait(Event::Completed, OWN, 1)?;
    // Deleted; without the reference the handle would be none any more, and its use a bug check.
    ensure_eq!(probe.value(cancel_sent(SPARE))?, FALSE);
    ensure_eq!(probe.count(Event::Destroyed, OWN)?, 0);
    probe.ok([dereference(SPARE), forget(SPARE)])?;
    probe.wait(Event::Destroyed, OWN, 1)
}

fn a_cancel_leaves_no_reference_behind(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    probe.ok([mark(SEEN), reference(OWN), copy_handle(OWN, SPARE), on_completion(OWN, OnCompletion::Delete)])?;
    sent.leave();
    probe.ok([cancel_sent(SPARE)])?;
    probe.wait(Event::Completed, OWN, 1)?;
    probe.wait(Event::Canceled, SEEN, 1)?;
    let [_, _, destroyed] = probe.run([dereference(SPARE), forget(SPARE), look(Event::Destroyed, OWN, 1)])?;
    ensure_eq!(destroyed.status, NTSTATUS::SUCCESS);
    Ok(())
}

fn true_means_delivered_not_cancelled(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    probe.ok([on_cancel(SEEN, OnCancel::Keep), mark(SEEN)])?;
    ensure_eq!(probe.value(cancel_sent(OWN))?, TRUE);
    probe.wait(Event::Canceled, SEEN, 1)?;
    sent.complete(NTSTATUS::SUCCESS)?;
    sent.finish()
}

fn the_completion_routine_may_run_inside_the_cancel(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    // In a queue of its own, no handler of which is running, the cancel callback has nothing to wait for.
    probe.ok([forward(SEEN, queue::PARALLEL)])?;
    probe.wait(Event::Presented, SEEN, 2)?;
    probe.ok([mark(SEEN)])?;
    let [cancel, seen] = probe.run([cancel_sent(OWN), look(Event::Completed, OWN, 1)])?;
    ensure_eq!(cancel.value, TRUE);
    ensure_eq!(seen.status, NTSTATUS::SUCCESS);
    sent.returned(NTSTATUS::CANCELLED)?;
    sent.finish()
}

fn cancelling_an_unsent_request_makes_its_next_send_fail(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    probe.ok([create(OWN), format_nothing(OWN), set_completion(OWN)])?;
    ensure_eq!(probe.value(cancel_sent(OWN))?, FALSE);
    ensure_eq!(probe.value(send(OWN))?, FALSE);
    ensure_eq!(probe.status(get_status(OWN))?, NTSTATUS::CANCELLED);
    ensure_eq!(probe.count(Event::Completed, OWN)?, 0);
    probe.ok([reuse(OWN, NTSTATUS::SUCCESS), format_nothing(OWN), set_completion(OWN)])?;
    ensure_eq!(probe.value(send(OWN))?, TRUE);
    probe.wait(Event::Completed, OWN, 1)?;
    ensure_eq!(probe.status(get_status(OWN))?, NTSTATUS::SUCCESS);
    probe.ok([delete(OWN), forget(OWN)]).map(drop)
}

fn a_timeout_ends_a_send_with_its_own_status(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send_as([set_completion(OWN), send_with_timeout(OWN, Duration::from_millis(10))])?;
    probe.wait(Event::Presented, SEEN, 1)?;
    // Whether the time is over before or after this, the request is cancelled through the callback.
    probe.ok([mark(SEEN)])?;
    sent.returned(NTSTATUS::IO_TIMEOUT)?;
    probe.wait(Event::Canceled, SEEN, 1)?;
    sent.finish()
}

fn a_timeout_changes_no_other_status(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send_as([set_completion(OWN), send_with_timeout(OWN, Duration::from_millis(10))])?;
    probe.wait(Event::Presented, SEEN, 1)?;
    probe.ok([on_cancel(SEEN, OnCancel::Keep), mark(SEEN)])?;
    probe.wait(Event::Canceled, SEEN, 1)?;
    sent.complete(NTSTATUS::SUCCESS)?;
    sent.finish()
}
