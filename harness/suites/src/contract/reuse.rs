//! WdfRequestReuse.

use protocol::probe::{Event, OnCompletion};

use super::probe::{FALSE, MOMENT, Probe, TRUE};
use super::steps::*;
use crate::bench::{Bench, Test, TestResult, ensure, ensure_eq, tests};
use crate::nt::NTSTATUS;

pub(super) const TESTS: &[Test] = tests!(contract {
    a_created_request_can_be_sent_again_after_reuse: "STATUS_SUCCESS, and the request goes out and comes back as it did before",
    one_request_serves_many_sends: "one request object, with its one IRP, is reused for a series of equal requests",
    a_received_request_can_be_reused: "a request that came from a queue can be reused, and completed afterwards",
    a_received_request_can_be_sent_again_after_reuse: "a request that came from a queue goes out, comes back, is reused, goes out and comes back again",
    reuse_of_a_received_request_clears_the_mark_of_a_cancel: "WdfRequestCancelSentRequest before the reuse does not keep it from being sent",
    a_request_from_an_irp_can_be_sent_again_after_reuse: "a request of WdfRequestCreateFromIrp goes out again with the IRP that it has",
    a_request_from_an_irp_takes_a_new_irp: "a request of WdfRequestCreateFromIrp takes a new IRP, and goes out with it",
    reuse_of_a_structure_of_another_size_is_refused: "a wrong Size is STATUS_INVALID_PARAMETER",
    reuse_with_an_unknown_flag_is_refused: "a flag that does not exist is STATUS_INVALID_PARAMETER",
    a_created_request_takes_no_new_irp: "WDF_REQUEST_REUSE_SET_NEW_IRP with a request of WdfRequestCreate is refused",
    a_received_request_takes_no_new_irp: "WDF_REQUEST_REUSE_SET_NEW_IRP with a request from a queue is refused",
    a_refused_irp_does_not_replace_that_of_the_request: "an IRP, not a null pointer, is refused the same way, and the request's own stays",
    a_request_that_took_no_new_irp_can_still_be_used: "after the refusal the request is what it was",
    reuse_of_a_received_request_clears_its_cancel_flag: "a cancel that came before is not seen any more",
    reuse_of_a_received_request_can_lose_a_cancel: "the sender's cancel before the reuse has no effect after it",
    a_reused_request_has_to_be_formatted_again: "a request sent as WdfRequestReuse left it is not accepted",
    reuse_sets_the_status_it_is_given: "the status of the structure is that of the request, created or received",
    reuse_drops_the_completion_routine: "the routine of the last send is not called for the next one",
    a_completion_routine_set_after_reuse_is_called: "WdfRequestSetCompletionRoutine after WdfRequestReuse counts",
    a_completion_routine_set_before_reuse_is_lost: "WdfRequestSetCompletionRoutine before WdfRequestReuse does not count",
    reuse_works_in_a_completion_routine: "WdfRequestReuse within the completion routine takes effect",
    a_reuse_that_fails_in_a_completion_routine_is_told_to_nobody: "the routine returns nothing: the request stays as it came back, and the framework goes on",
    a_completion_routine_can_send_its_request_again: "reused, formatted and sent within its completion routine, the request comes back to it",
    a_request_sent_bare_from_its_completion_routine_does_not_come_back_to_it: "without WdfRequestSetCompletionRoutine there is none",
});

fn a_created_request_can_be_sent_again_after_reuse(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut sent = probe.send()?;
    sent.complete(NTSTATUS::UNSUCCESSFUL)?;
    ensure_eq!(probe.status(reuse(OWN, NTSTATUS::SUCCESS))?, NTSTATUS::SUCCESS);
    let [.., again] = probe.ok([format_subject(OWN, SEEN), set_completion(OWN), send(OWN)])?;
    ensure_eq!(again, TRUE);
    sent.count_send();
    probe.wait(Event::Presented, SEEN, 2)?;
    sent.complete(NTSTATUS::SUCCESS)?;
    sent.finish()
}

fn one_request_serves_many_sends(_: &mut Bench) -> TestResult {
    const SENDS: u32 = 50;
    let probe = Probe::open()?;
    let [_, irp] = probe.ok([create(OWN), get_irp(OWN)])?;
    for number in 1..=SENDS {
        let [.., sent] = probe.ok([format_nothing(OWN), set_completion(OWN), send(OWN)])?;
        ensure_eq!(sent, TRUE);
        probe.wait(Event::Completed, OWN, number)?;
        ensure_eq!(probe.status(get_status(OWN))?, NTSTATUS::SUCCESS);
        // Nothing is allocated for the next send: what makes a reuse cheaper than a new request.
        let [_, again] = probe.ok([reuse(OWN, NTSTATUS::SUCCESS), get_irp(OWN)])?;
        ensure_eq!(again, irp);
    }
    ensure_eq!(probe.count(Event::Completed, OWN)?, u64::from(SENDS));
    probe.ok([delete(OWN), forget(OWN)]).map(drop)
}

fn a_received_request_can_be_reused(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    ensure_eq!(probe.status(reuse(FIRST, NTSTATUS::SUCCESS))?, NTSTATUS::SUCCESS);
    subject.complete(NTSTATUS::UNSUCCESSFUL)
}

/// Sends a request, formatted and with a completion routine, and has it completed where it arrives.
fn goes_out_and_comes_back(probe: &Probe, slot: u32, times: u32) -> TestResult {
    let [.., sent] = probe.ok([format_subject(slot, SEEN), set_completion(slot), send(slot)])?;
    ensure_eq!(sent, TRUE);
    probe.wait(Event::Presented, SEEN, times)?;
    probe.ok([complete(SEEN, NTSTATUS::SUCCESS), forget(SEEN)])?;
    probe.wait(Event::Completed, slot, times)
}

fn a_received_request_can_be_sent_again_after_reuse(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    goes_out_and_comes_back(&probe, FIRST, 1)?;
    probe.ok([reuse(FIRST, NTSTATUS::SUCCESS)])?;
    goes_out_and_comes_back(&probe, FIRST, 2)?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn reuse_of_a_received_request_clears_the_mark_of_a_cancel(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    ensure_eq!(probe.value(cancel_sent(FIRST))?, FALSE);
    probe.ok([reuse(FIRST, NTSTATUS::SUCCESS)])?;
    goes_out_and_comes_back(&probe, FIRST, 1)?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn a_request_from_an_irp_can_be_sent_again_after_reuse(_: &mut Bench) -> TestResult {
    for request_frees_irp in [0, 1] {
        let probe = Probe::open()?;
        probe.ok([create_from_irp(OWN, request_frees_irp)])?;
        goes_out_and_comes_back(&probe, OWN, 1)?;
        let [before, _, after] = probe.ok([get_irp(OWN), reuse(OWN, NTSTATUS::SUCCESS), get_irp(OWN)])?;
        ensure_eq!(after, before);
        goes_out_and_comes_back(&probe, OWN, 2)?;
        probe.ok([delete(OWN), forget(OWN)])?;
    }
    Ok(())
}

fn a_request_from_an_irp_takes_a_new_irp(_: &mut Bench) -> TestResult {
    for request_frees_irp in [0, 1] {
        let probe = Probe::open()?;
        probe.ok([create_from_irp(OWN, request_frees_irp)])?;
        goes_out_and_comes_back(&probe, OWN, 1)?;
        let [before, given, after] = probe.ok([get_irp(OWN), reuse_with_irp(OWN), get_irp(OWN)])?;
        ensure_eq!(after, given);
        ensure!(after != before);
        goes_out_and_comes_back(&probe, OWN, 2)?;
        probe.ok([delete(OWN), forget(OWN)])?;
    }
    Ok(())
}

fn a_refused_irp_does_not_replace_that_of_the_request(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([create(OWN)])?;
    for slot in [OWN, FIRST] {
        let [before, refused, after] = probe.run([get_irp(slot), reuse_with_irp(slot), get_irp(slot)])?;
        ensure_eq!(refused.status, NTSTATUS::WDF_REQUEST_INVALID_STATE);
        ensure_eq!(after, before);
    }
    probe.ok([delete(OWN), forget(OWN)])?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn reuse_of_a_structure_of_another_size_is_refused(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    probe.ok([create(OWN)])?;
    for size in [1, 23, 25, 0xffff_ffff] {
        ensure_eq!(probe.status(reuse_with_size(OWN, size))?, NTSTATUS::INVALID_PARAMETER);
    }
    probe.ok([delete(OWN), forget(OWN)]).map(drop)
}

fn reuse_with_an_unknown_flag_is_refused(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    probe.ok([create(OWN)])?;
    for flags in [4, 5, 0x8000_0000] {
        ensure_eq!(probe.status(reuse_with_flags(OWN, flags, NTSTATUS::SUCCESS))?, NTSTATUS::INVALID_PARAMETER);
    }
    probe.ok([delete(OWN), forget(OWN)]).map(drop)
}

fn a_created_request_takes_no_new_irp(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    probe.ok([create(OWN)])?;
    ensure_eq!(probe.status(reuse_with_new_irp(OWN))?, NTSTATUS::WDF_REQUEST_INVALID_STATE);
    probe.ok([delete(OWN), forget(OWN)]).map(drop)
}

fn a_received_request_takes_no_new_irp(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    ensure_eq!(probe.status(reuse_with_new_irp(FIRST))?, NTSTATUS::WDF_REQUEST_INVALID_STATE);
    subject.complete(NTSTATUS::SUCCESS)
}

fn a_request_that_took_no_new_irp_can_still_be_used(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.make()?;
    ensure_eq!(probe.status(reuse_with_new_irp(OWN))?, NTSTATUS::WDF_REQUEST_INVALID_STATE);
    let [.., sending] = probe.ok([reuse(OWN, NTSTATUS::SUCCESS), format_subject(OWN, SEEN), set_completion(OWN), send(OWN)])?;
    ensure_eq!(sending, TRUE);
    probe.wait(Event::Presented, SEEN, 1)?;
    sent.complete(NTSTATUS::SUCCESS)?;
    sent.finish()
}

fn reuse_of_a_received_request_clears_its_cancel_flag(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    subject.cancel()?;
    let [before, _, after] = probe.ok([is_canceled(FIRST), reuse(FIRST, NTSTATUS::SUCCESS), is_canceled(FIRST)])?;
    ensure_eq!((before, after), (1, 0));
    subject.complete(NTSTATUS::SUCCESS)
}

fn reuse_of_a_received_request_can_lose_a_cancel(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    ensure_eq!(probe.value(cancel_sent(OWN))?, FALSE);
    probe.ok([reuse(SEEN, NTSTATUS::SUCCESS)])?;
    ensure_eq!(probe.status(mark_ex(SEEN))?, NTSTATUS::SUCCESS);
    ensure_eq!(probe.status(wait(Event::Canceled, SEEN, 1, MOMENT))?, NTSTATUS::TIMEOUT);
    probe.ok([unmark(SEEN)])?;
    sent.complete(NTSTATUS::SUCCESS)?;
    sent.finish()
}

fn a_reused_request_has_to_be_formatted_again(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    sent.complete(NTSTATUS::SUCCESS)?;
    // The second time it has been formatted, but not sent, before the reuse.
    for formats in [false, true] {
        if formats {
            probe.ok([format_subject(OWN, SEEN)])?;
        }
        probe.ok([reuse(OWN, NTSTATUS::SUCCESS), set_completion(OWN)])?;
        ensure_eq!(probe.value(send(OWN))?, FALSE);
        ensure_eq!(probe.status(get_status(OWN))?, NTSTATUS::REQUEST_NOT_ACCEPTED);
    }
    ensure_eq!(probe.count(Event::Presented, SEEN)?, 1);
    sent.finish()
}

fn reuse_sets_the_status_it_is_given(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([create(OWN)])?;
    for status in [NTSTATUS::UNSUCCESSFUL, NTSTATUS::SUCCESS, NTSTATUS::IO_DEVICE_ERROR] {
        for slot in [OWN, FIRST] {
            probe.ok([reuse(slot, status)])?;
            ensure_eq!(probe.status(get_status(slot))?, status);
        }
    }
    probe.ok([delete(OWN), forget(OWN)])?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn reuse_drops_the_completion_routine(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    sent.complete(NTSTATUS::SUCCESS)?;
    probe.ok([reuse(OWN, NTSTATUS::SUCCESS), format_subject(OWN, SEEN)])?;
    sends_without_a_routine(&probe, 2, 1)?;
    sent.finish()
}

fn a_completion_routine_set_before_reuse_is_lost(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.make()?;
    probe.ok([set_completion(OWN), reuse(OWN, NTSTATUS::SUCCESS), format_subject(OWN, SEEN)])?;
    sends_without_a_routine(&probe, 1, 0)?;
    sent.finish()
}

/// Sends what is in `OWN`, has it completed where it arrives, and sees it back although the completion routine is not called.
fn sends_without_a_routine(probe: &Probe, presented: u32, completed: u64) -> TestResult {
    ensure_eq!(probe.value(send(OWN))?, TRUE);
    probe.wait(Event::Presented, SEEN, presented)?;
    probe.ok([complete(SEEN, NTSTATUS::IO_DEVICE_ERROR)])?;
    ensure_eq!(probe.status(get_status(OWN))?, NTSTATUS::IO_DEVICE_ERROR);
    ensure_eq!(probe.count(Event::Completed, OWN)?, completed);
    Ok(())
}

fn a_completion_routine_set_after_reuse_is_called(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.make()?;
    let steps = [reuse(OWN, NTSTATUS::SUCCESS), format_subject(OWN, SEEN), set_completion(OWN), send(OWN)];
    let [.., sending] = probe.ok(steps)?;
    ensure_eq!(sending, TRUE);
    probe.wait(Event::Presented, SEEN, 1)?;
    sent.complete(NTSTATUS::SUCCESS)?;
    ensure_eq!(probe.count(Event::Completed, OWN)?, 1);
    sent.finish()
}

fn reuse_works_in_a_completion_routine(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut sent = probe.send()?;
    probe.ok([on_completion(OWN, OnCompletion::Reuse), complete(SEEN, NTSTATUS::UNSUCCESSFUL)])?;
    // The status is that of the reuse, no longer that of the completion.
    sent.returned(NTSTATUS::SUCCESS)?;
    let [.., again] =
        probe.ok([on_completion(OWN, OnCompletion::Keep), format_subject(OWN, SEEN), set_completion(OWN), send(OWN)])?;
    ensure_eq!(again, TRUE);
    sent.count_send();
    probe.wait(Event::Presented, SEEN, 2)?;
    sent.complete(NTSTATUS::UNSUCCESSFUL)?;
    sent.finish()
}

fn a_reuse_that_fails_in_a_completion_routine_is_told_to_nobody(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut sent = probe.send()?;
    probe.ok([on_completion(OWN, OnCompletion::ReuseInVain), complete(SEEN, NTSTATUS::UNSUCCESSFUL)])?;
    // The status is that of the completion: the reuse was refused, and whoever completed the request does not know.
    sent.returned(NTSTATUS::UNSUCCESSFUL)?;
    probe.ok([on_completion(OWN, OnCompletion::Keep), reuse(OWN, NTSTATUS::SUCCESS), format_subject(OWN, SEEN)])?;
    ensure_eq!(probe.ok([set_completion(OWN), send(OWN)])?[1], TRUE);
    sent.count_send();
    probe.wait(Event::Presented, SEEN, 2)?;
    sent.complete(NTSTATUS::SUCCESS)?;
    sent.finish()
}

fn a_completion_routine_can_send_its_request_again(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut sent = probe.send()?;
    sent.count_send();
    probe.ok([on_completion(OWN, OnCompletion::ReuseAndSend), complete(SEEN, NTSTATUS::UNSUCCESSFUL)])?;
    sent.returned(NTSTATUS::SUCCESS)?;
    ensure_eq!(probe.count(Event::Completed, OWN)?, 2);
    sent.finish()
}

fn a_request_sent_bare_from_its_completion_routine_does_not_come_back_to_it(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    probe.ok([on_completion(OWN, OnCompletion::ReuseAndSendBare), complete(SEEN, NTSTATUS::UNSUCCESSFUL)])?;
    probe.wait(Event::Completed, OWN, 1)?;
    ensure_eq!(probe.status(wait(Event::Completed, OWN, 2, MOMENT))?, NTSTATUS::TIMEOUT);
    ensure_eq!(probe.status(get_status(OWN))?, NTSTATUS::SUCCESS);
    sent.finish()
}
