//! The framework verifier is off: checks that are the verifier's are skipped, the others are made.

use protocol::probe::{Event, queue};

use super::bug_checks::{ALREADY_SENT, NO_STACK_LOCATIONS, NULL_HANDLE, NULL_IRP, still_alive};
use super::probe::{Load, Probe};
use super::steps::*;
use crate::bench::{Bench, Test, TestResult, WITHOUT_VERIFIER, ensure_eq, tests};
use crate::nt::NTSTATUS;

pub(super) const TESTS: &[Test] = tests!(contract on WITHOUT_VERIFIER; {
    without_verifier_the_registry_says_so: "the verifier is off, and the other tests of this list rely on it",
    without_verifier_forwarding_to_the_same_queue_is_not_checked: "the request is put into the queue again, and presented",
    without_verifier_forwarding_to_another_devices_queue_is_not_checked: "the request goes to the other device's queue",
    without_verifier_forwarding_a_cancelable_request_is_not_checked: "the request goes to the other queue, and is presented",
    without_verifier_a_queue_that_does_not_accept_is_still_busy: "STATUS_WDF_BUSY does not depend on the verifier",
    without_verifier_requeue_is_still_for_manual_queues: "WdfRequestRequeue refuses other queues' requests all the same",
    without_verifier_reuse_still_checks_its_parameters: "STATUS_INVALID_PARAMETER does not depend on the verifier",
    without_verifier_an_invalid_handle_still_stops_the_machine: "WdfRequestCancelSentRequest of a null handle" => NULL_HANDLE,
    without_verifier_a_request_without_irp_stops_the_machine: "WdfRequestSend of what has no IRP: WDF_VIOLATION 6, 2" => NULL_IRP,
    without_verifier_a_request_without_stack_locations_stops_the_machine: "WdfRequestSend of what cannot be sent any further: WDF_VIOLATION 6, 1, IRP" => NO_STACK_LOCATIONS,
    without_verifier_sending_what_is_sent_still_stops_the_machine: "WdfRequestSend of a request that is sent" => ALREADY_SENT,
});

fn without_verifier_the_registry_says_so(_: &mut Bench) -> TestResult {
    ensure_eq!(Probe::open()?.value(verifier())?, 0);
    Ok(())
}

fn without_verifier_forwarding_to_the_same_queue_is_not_checked(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([forward(FIRST, queue::PARALLEL)])?;
    probe.wait(Event::Presented, FIRST, 2)?;
    ensure_eq!(probe.status(forward(FIRST, queue::PARALLEL))?, NTSTATUS::SUCCESS);
    probe.wait(Event::Presented, FIRST, 3)?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn without_verifier_forwarding_to_another_devices_queue_is_not_checked(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    ensure_eq!(probe.status(forward(FIRST, queue::OTHER_DEVICE))?, NTSTATUS::SUCCESS);
    ensure_eq!(probe.load(queue::OTHER_DEVICE)?, Load { queued: 1, presented: 0 });
    probe.ok([retrieve(FIRST, queue::OTHER_DEVICE)])?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn without_verifier_forwarding_a_cancelable_request_is_not_checked(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([mark(FIRST)])?;
    ensure_eq!(probe.status(forward(FIRST, queue::PARALLEL))?, NTSTATUS::SUCCESS);
    probe.wait(Event::Presented, FIRST, 2)?;
    subject.complete(NTSTATUS::SUCCESS)?;
    ensure_eq!(probe.count(Event::Canceled, FIRST)?, 0);
    Ok(())
}

fn without_verifier_a_queue_that_does_not_accept_is_still_busy(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    probe.ok([queue_purge(queue::MANUAL)])?;
    probe.wait(Event::QueueState, queue::MANUAL, 1)?;
    ensure_eq!(probe.status(forward(FIRST, queue::MANUAL))?, NTSTATUS::WDF_BUSY);
    probe.ok([queue_start(queue::MANUAL)])?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn without_verifier_requeue_is_still_for_manual_queues(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    ensure_eq!(probe.status(requeue(FIRST))?, NTSTATUS::INVALID_DEVICE_REQUEST);
    subject.complete(NTSTATUS::SUCCESS)
}

fn without_verifier_reuse_still_checks_its_parameters(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    probe.ok([create(OWN)])?;
    ensure_eq!(probe.status(reuse_with_size(OWN, 8))?, NTSTATUS::INVALID_PARAMETER);
    ensure_eq!(probe.status(reuse_with_flags(OWN, 4, NTSTATUS::SUCCESS))?, NTSTATUS::INVALID_PARAMETER);
    ensure_eq!(probe.status(reuse_with_new_irp(OWN))?, NTSTATUS::WDF_REQUEST_INVALID_STATE);
    probe.ok([delete(OWN), forget(OWN)]).map(drop)
}

fn without_verifier_an_invalid_handle_still_stops_the_machine(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    probe.run([forget(OWN), cancel_sent(OWN)])?;
    still_alive()
}

fn without_verifier_a_request_without_irp_stops_the_machine(bench: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let [_, _, request] = probe.ok([create_without_target(OWN), set_completion(OWN), handle(OWN)])?;
    bench.foretell([(3, request, request)])?;
    probe.run([send(OWN)])?;
    still_alive()
}

fn without_verifier_a_request_without_stack_locations_stops_the_machine(bench: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let [_, _, irp] = probe.ok([create_from_short_irp(OWN), set_completion(OWN), get_irp(OWN)])?;
    bench.foretell([(3, irp, irp)])?;
    probe.run([send(OWN)])?;
    still_alive()
}

fn without_verifier_sending_what_is_sent_still_stops_the_machine(bench: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let _sent = probe.send()?;
    let request = probe.value(handle(OWN))?;
    bench.foretell([(3, request, request)])?;
    probe.run([send(OWN)])?;
    still_alive()
}
