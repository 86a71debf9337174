//! WdfRequestSend, as far as forwarding, reusing and cancelling rest on it.

use protocol::probe::{Event, target};

use super::probe::{FALSE, MOMENT, Probe, TRUE};
use super::steps::*;
use crate::bench::{Bench, Test, TestResult, ensure_eq, tests};
use crate::nt::NTSTATUS;

pub(super) const TESTS: &[Test] = tests!(contract {
    a_stopped_target_keeps_requests_until_it_is_started: "WdfRequestSend returns TRUE, and the request goes out when the target is started",
    a_purged_target_refuses_requests: "WdfRequestSend returns FALSE, the status is STATUS_INVALID_DEVICE_STATE",
    a_purged_target_takes_requests_once_started: "WdfIoTargetStart opens a purged target again",
    a_closed_target_refuses_requests: "WdfRequestSend returns FALSE, the status is STATUS_INVALID_DEVICE_STATE",
    a_deleted_target_refuses_requests: "WdfRequestSend to a target that only a reference keeps returns FALSE, the status is STATUS_INVALID_DEVICE_STATE",
    a_synchronous_send_at_dispatch_level_is_refused: "WdfRequestSend would have to wait: it returns FALSE, the status is STATUS_INVALID_DEVICE_REQUEST",
    a_received_request_needs_a_completion_routine: "WdfRequestSend returns FALSE, the status is STATUS_INVALID_DEVICE_REQUEST",
    a_formatted_request_cannot_be_sent_and_forgotten: "WdfRequestSend returns FALSE, the status is STATUS_INVALID_DEVICE_REQUEST",
    an_unformatted_request_is_not_accepted: "WdfRequestSend returns FALSE, the status is STATUS_REQUEST_NOT_ACCEPTED",
    a_request_with_too_few_stack_locations_is_not_accepted: "WdfRequestSend returns FALSE, the status is STATUS_REQUEST_NOT_ACCEPTED",
    a_created_request_cannot_be_sent_and_forgotten: "WdfRequestSend returns FALSE, the status is STATUS_INVALID_DEVICE_STATE",
});

fn a_stopped_target_keeps_requests_until_it_is_started(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send_as([set_completion(OWN), target_stop(), send(OWN)])?;
    ensure_eq!(probe.status(wait(Event::Presented, SEEN, 1, MOMENT))?, NTSTATUS::TIMEOUT);
    ensure_eq!(probe.count(Event::Completed, OWN)?, 0);
    probe.ok([target_start()])?;
    probe.wait(Event::Presented, SEEN, 1)?;
    sent.complete(NTSTATUS::SUCCESS)?;
    sent.finish()
}

fn a_purged_target_refuses_requests(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.make()?;
    let [_, _, sending, _] = probe.run([set_completion(OWN), target_purge(), send(OWN), target_start()])?;
    ensure_eq!(sending.value, FALSE);
    ensure_eq!(probe.status(get_status(OWN))?, NTSTATUS::INVALID_DEVICE_STATE);
    ensure_eq!(probe.count(Event::Completed, OWN)?, 0);
    sent.finish()
}

fn a_purged_target_takes_requests_once_started(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send_as([target_purge(), target_start(), set_completion(OWN), send(OWN)])?;
    probe.wait(Event::Presented, SEEN, 1)?;
    sent.complete(NTSTATUS::SUCCESS)?;
    sent.finish()
}

fn a_closed_target_refuses_requests(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.make()?;
    let [_, _, sending, opened] = probe.run([set_completion(OWN), target_close(), send(OWN), target_open()])?;
    ensure_eq!(opened.status, NTSTATUS::SUCCESS);
    ensure_eq!(sending.value, FALSE);
    ensure_eq!(probe.status(get_status(OWN))?, NTSTATUS::INVALID_DEVICE_STATE);
    sent.finish()
}

fn a_deleted_target_refuses_requests(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    // All in one call, so that the target goes whatever comes of the send.
    let [_, made, created, formatted, _, _, sending, status, _, _, _] = probe.run([
        use_target(target::SHORT_LIVED),
        target_make(),
        create(OWN),
        format_nothing(OWN),
        set_completion(OWN),
        target_delete(),
        send(OWN),
        get_status(OWN),
        delete(OWN),
        target_forget(),
        use_target(target::PROBE),
    ])?;
    ensure_eq!([made.status, created.status, formatted.status], [NTSTATUS::SUCCESS; 3]);
    ensure_eq!(sending.value, FALSE);
    ensure_eq!(status.status, NTSTATUS::INVALID_DEVICE_STATE);
    ensure_eq!(probe.count(Event::Completed, OWN)?, 0);
    probe.ok([forget(OWN)]).map(drop)
}

fn a_synchronous_send_at_dispatch_level_is_refused(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    probe.ok([create(OWN), format_nothing(OWN)])?;
    let [_, sending, _] = probe.run([raise(), send_synchronously(OWN), lower()])?;
    ensure_eq!(sending.value, FALSE);
    ensure_eq!(probe.status(get_status(OWN))?, NTSTATUS::INVALID_DEVICE_REQUEST);
    // Where it can wait, it can be sent.
    ensure_eq!(probe.value(send_synchronously(OWN))?, TRUE);
    ensure_eq!(probe.status(get_status(OWN))?, NTSTATUS::SUCCESS);
    probe.ok([delete(OWN), forget(OWN)]).map(drop)
}

fn a_received_request_needs_a_completion_routine(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([format_subject(FIRST, SEEN)])?;
    ensure_eq!(probe.value(send(FIRST))?, FALSE);
    ensure_eq!(probe.status(get_status(FIRST))?, NTSTATUS::INVALID_DEVICE_REQUEST);
    ensure_eq!(probe.count(Event::Presented, SEEN)?, 0);
    subject.complete(NTSTATUS::SUCCESS)
}

fn a_formatted_request_cannot_be_sent_and_forgotten(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([format_subject(FIRST, SEEN)])?;
    ensure_eq!(probe.value(send_and_forget(FIRST))?, FALSE);
    ensure_eq!(probe.status(get_status(FIRST))?, NTSTATUS::INVALID_DEVICE_REQUEST);
    ensure_eq!(probe.count(Event::Presented, SEEN)?, 0);
    subject.complete(NTSTATUS::SUCCESS)
}

fn an_unformatted_request_is_not_accepted(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    probe.ok([create(OWN), set_completion(OWN)])?;
    ensure_eq!(probe.value(send(OWN))?, FALSE);
    ensure_eq!(probe.status(get_status(OWN))?, NTSTATUS::REQUEST_NOT_ACCEPTED);
    ensure_eq!(probe.count(Event::Completed, OWN)?, 0);
    // It was not sent, so it can be formatted and sent now.
    let [.., sent] = probe.ok([format_nothing(OWN), send(OWN)])?;
    ensure_eq!(sent, TRUE);
    probe.wait(Event::Completed, OWN, 1)?;
    probe.ok([delete(OWN), forget(OWN)]).map(drop)
}

fn a_request_with_too_few_stack_locations_is_not_accepted(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    probe.ok([create(OWN), format_nothing(OWN), set_completion(OWN)])?;
    // The other target wants one location more than the one that the request was made and formatted for. All in one call, so that it is put
    // back whatever comes of the send.
    let [_, _, opened, sending, status, _, back, _] = probe.run([
        use_target(target::OTHER_DEVICE),
        target_close(),
        target_open_tall(),
        send(OWN),
        get_status(OWN),
        target_close(),
        target_open(),
        use_target(target::PROBE),
    ])?;
    ensure_eq!(opened.status, NTSTATUS::SUCCESS);
    ensure_eq!(back.status, NTSTATUS::SUCCESS);
    ensure_eq!(sending.value, FALSE);
    ensure_eq!(status.status, NTSTATUS::REQUEST_NOT_ACCEPTED);
    ensure_eq!(probe.count(Event::Completed, OWN)?, 0);
    probe.ok([delete(OWN), forget(OWN)]).map(drop)
}

fn a_created_request_cannot_be_sent_and_forgotten(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    probe.ok([create(OWN)])?;
    ensure_eq!(probe.value(send_and_forget(OWN))?, FALSE);
    ensure_eq!(probe.status(get_status(OWN))?, NTSTATUS::INVALID_DEVICE_STATE);
    probe.ok([delete(OWN), forget(OWN)]).map(drop)
}
