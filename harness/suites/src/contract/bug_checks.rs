//! Misuse that stops the machine, with the framework verifier on. The harness sees the bug check and compares it with what the test
//! expects; a test that returns has failed.

use channel::Expected;
use protocol::probe::queue;

use super::probe::Probe;
use super::steps::*;
use crate::bench::{BREAKING, Bench, Failure, Test, TestResult, ensure_eq, tests};
use crate::nt::NTSTATUS;

/// Parameter 1 of WDF_VIOLATION, then those behind it that are known beforehand.
const INVALID_HANDLE: Expected = wdf_violation(&[5]);
/// The handle is null.
pub(super) const NULL_HANDLE: Expected = wdf_violation(&[5, 0]);
pub(super) const ALREADY_SENT: Expected = wdf_violation(&[6, 3]);
const PARAMETER_IS_NULL: Expected = wdf_violation(&[4, 0]);
const RECURSIVE_LOCK: Expected = wdf_violation(&[2]);
const INFORMATION_LENGTH_MISMATCH: Expected = wdf_violation(&[6, 4]);
const VERIFIER_FATAL: Expected = wdf_violation(&[3]);
const OBJECT_ERROR: Expected = wdf_violation(&[7]);
const QUEUE_FATAL: Expected = wdf_violation(&[0xa]);
const INVALID_LOCK_OPERATION: Expected = wdf_violation(&[0xb]);
const IRQL_MISMATCH: Expected = wdf_violation(&[0xe, 0, 2]);
const CRITICAL_REGION_MISMATCH: Expected = wdf_violation(&[0xf]);
pub(super) const NO_STACK_LOCATIONS: Expected = wdf_violation(&[6, 1]);
pub(super) const NULL_IRP: Expected = wdf_violation(&[6, 2]);

/// SYSTEM_SERVICE_EXCEPTION: nobody handles STATUS_BREAKPOINT in a call from a program.
const BREAKPOINT: Expected = Expected { code: 0x3b, known: 1, parameters: [0x8000_0003, 0, 0, 0] };

/// What the framework's published source numbers requests with, among its types of objects.
const REQUEST_TYPE: u64 = 0x1008;

/// Where addresses of the system begin.
const SYSTEM: u64 = 0xffff_8000_0000_0000;

/// The test whose guest breaks where others report.
pub(super) const WITH_BREAKS: &[Test] = tests!(contract on BREAKING; {
    a_violation_breaks_into_the_debugger_when_the_registry_wants_it: "with DbgBreakOnError and without a debugger, a violation is a breakpoint that nobody handles" => BREAKPOINT,
});

pub(super) const TESTS: &[Test] = tests!(contract {
    cancelling_an_invalid_handle_stops_the_machine: "WdfRequestCancelSentRequest of a null handle: WDF_VIOLATION 5, 0" => NULL_HANDLE,
    forwarding_an_invalid_handle_stops_the_machine: "WdfRequestForwardToIoQueue of a null handle: WDF_VIOLATION 5, 0" => NULL_HANDLE,
    forwarding_to_an_invalid_handle_stops_the_machine: "WdfRequestForwardToIoQueue to a null handle: WDF_VIOLATION 5, 0" => NULL_HANDLE,
    reusing_an_invalid_handle_stops_the_machine: "WdfRequestReuse of a null handle: WDF_VIOLATION 5, 0" => NULL_HANDLE,
    cancelling_a_queue_stops_the_machine: "WdfRequestCancelSentRequest of a handle of another type: WDF_VIOLATION 5" => INVALID_HANDLE,
    reusing_without_parameters_stops_the_machine: "WdfRequestReuse with a null pointer: WDF_VIOLATION 4, 0" => PARAMETER_IS_NULL,
    sending_what_is_sent_stops_the_machine: "WdfRequestSend of a request that is sent: WDF_VIOLATION 6, 3" => ALREADY_SENT,
    a_second_change_of_a_queue_stops_the_machine: "WdfIoQueuePurge while the callback of another is pending: WDF_VIOLATION 0xA" => QUEUE_FATAL,
    changing_a_deleted_queue_stops_the_machine: "WdfIoQueueStop of a queue that is deleted, but referenced: WDF_VIOLATION 0xA" => QUEUE_FATAL,
    taking_a_lock_twice_stops_the_machine: "WdfSpinLockAcquire by the holder: WDF_VIOLATION 2" => RECURSIVE_LOCK,
    releasing_a_lock_that_is_not_held_stops_the_machine: "WdfSpinLockRelease by another: WDF_VIOLATION 0xB" => INVALID_LOCK_OPERATION,
    a_handler_that_returns_at_another_irql_stops_the_machine: "a handler that keeps a spin lock: WDF_VIOLATION 0xE, 0, 2" => IRQL_MISMATCH,
    a_handler_that_returns_in_a_critical_region_stops_the_machine: "KeEnterCriticalRegion without leaving: WDF_VIOLATION 0xF, the handler's address" => CRITICAL_REGION_MISMATCH,
    completing_with_too_much_information_stops_the_machine: "more bytes than the output buffer has: WDF_VIOLATION 6, 4" => INFORMATION_LENGTH_MISMATCH,
    completing_with_a_referenced_buffer_stops_the_machine: "a reference to the request's memory object is left: WDF_VIOLATION 3, request, 1" => VERIFIER_FATAL,
    reusing_what_is_sent_carries_on: "WdfRequestReuse of a request that is sent is reported and succeeds; the guest, which is spoilt by it, is ended by a null handle" => NULL_HANDLE,
    deleting_a_received_request_stops_the_machine: "WdfObjectDelete of a request that a queue presented: WDF_VIOLATION 7" => OBJECT_ERROR,
});

const fn wdf_violation(known: &[u64]) -> Expected {
    let mut parameters = [0; 4];
    parameters.split_at_mut(known.len()).0.copy_from_slice(known);
    Expected { code: 0x10d, known: known.len() as u8, parameters }
}

/// What a test returns that was to end in a bug check.
#[track_caller]
pub(super) fn still_alive() -> TestResult {
    let place = core::panic::Location::caller();
    Err(Failure::Expectation { place, reason: "expected: a bug check; the guest is still alive".into() })
}

fn cancelling_an_invalid_handle_stops_the_machine(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    probe.run([forget(OWN), cancel_sent(OWN)])?;
    still_alive()
}

fn forwarding_an_invalid_handle_stops_the_machine(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    probe.run([forget(FIRST), forward(FIRST, queue::MANUAL)])?;
    still_alive()
}

fn forwarding_to_an_invalid_handle_stops_the_machine(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let _subject = probe.subject(FIRST)?;
    // For a queue that does not exist the probe passes a null handle.
    probe.run([forward(FIRST, queue::COUNT)])?;
    still_alive()
}

fn reusing_an_invalid_handle_stops_the_machine(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    probe.run([forget(OWN), reuse(OWN, NTSTATUS::SUCCESS)])?;
    still_alive()
}

fn cancelling_a_queue_stops_the_machine(bench: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let [_, queue] = probe.ok([queue_handle(SPARE, queue::MANUAL), handle(SPARE)])?;
    bench.foretell([(2, queue, queue), (3, REQUEST_TYPE, REQUEST_TYPE)])?;
    probe.run([cancel_sent(SPARE)])?;
    still_alive()
}

fn reusing_without_parameters_stops_the_machine(bench: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let [start, end, _] = probe.ok([image_start(), image_end(), create(OWN)])?;
    // Where the call came from.
    bench.foretell([(3, start, end - 1)])?;
    probe.run([reuse_without_parameters(OWN)])?;
    still_alive()
}

fn sending_what_is_sent_stops_the_machine(bench: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let _sent = probe.send()?;
    let request = probe.value(handle(OWN))?;
    bench.foretell([(3, request, request)])?;
    probe.run([send(OWN)])?;
    still_alive()
}

fn a_second_change_of_a_queue_stops_the_machine(bench: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    bench.foretell([(2, SYSTEM, u64::MAX)])?;
    let _subject = probe.subject(FIRST)?;
    // The driver has the request, so that the first purge is not done.
    probe.run([forward(FIRST, queue::MANUAL), retrieve(FIRST, queue::MANUAL), queue_purge(queue::MANUAL)])?;
    probe.run([queue_purge(queue::MANUAL)])?;
    still_alive()
}

fn changing_a_deleted_queue_stops_the_machine(bench: &mut Bench) -> TestResult {
    bench.foretell([(2, SYSTEM, u64::MAX)])?;
    Probe::open()?.run([queue_delete(queue::MANUAL_QUIET), queue_stop(queue::MANUAL_QUIET)])?;
    still_alive()
}

fn taking_a_lock_twice_stops_the_machine(bench: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let [_, lock] = probe.ok([lock_handle(SPARE), handle(SPARE)])?;
    bench.foretell([(2, lock, lock)])?;
    probe.run([spin_acquire(), spin_acquire()])?;
    still_alive()
}

fn releasing_a_lock_that_is_not_held_stops_the_machine(bench: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let [_, lock] = probe.ok([lock_handle(SPARE), handle(SPARE)])?;
    bench.foretell([(2, lock, lock), (3, 0, 1)])?;
    probe.run([spin_release()])?;
    still_alive()
}

fn a_handler_that_returns_at_another_irql_stops_the_machine(_: &mut Bench) -> TestResult {
    Probe::open()?.run([spin_acquire()])?;
    still_alive()
}

fn a_handler_that_returns_in_a_critical_region_stops_the_machine(bench: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let [start, end] = probe.ok([image_start(), image_end()])?;
    // The handler's own address.
    bench.foretell([(2, start, end - 1)])?;
    probe.run([enter_region()])?;
    still_alive()
}

fn completing_with_too_much_information_stops_the_machine(bench: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    bench.foretell([(3, SYSTEM, u64::MAX)])?;
    let _subject = probe.subject(FIRST)?;
    probe.run([complete_with_information(FIRST, NTSTATUS::SUCCESS, 8)])?;
    still_alive()
}

fn completing_with_a_referenced_buffer_stops_the_machine(bench: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let _subject = probe.subject(FIRST)?;
    let [request, _] = probe.ok([handle(FIRST), keep_memory(FIRST)])?;
    bench.foretell([(2, request, request), (3, 1, 1)])?;
    probe.run([complete(FIRST, NTSTATUS::SUCCESS)])?;
    still_alive()
}

fn reusing_what_is_sent_carries_on(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let sent = probe.send()?;
    let status = probe.status(reuse(OWN, NTSTATUS::SUCCESS))?;
    // Nothing may touch the request again: the target still has its IRP.
    sent.leave();
    ensure_eq!(status, NTSTATUS::SUCCESS);
    probe.run([forget(SPARE), cancel_sent(SPARE)])?;
    still_alive()
}

fn a_violation_breaks_into_the_debugger_when_the_registry_wants_it(_: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let _subject = probe.subject(FIRST)?;
    probe.run([forward(FIRST, queue::DEFAULT)])?;
    still_alive()
}

fn deleting_a_received_request_stops_the_machine(bench: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let _subject = probe.subject(FIRST)?;
    let request = probe.value(handle(FIRST))?;
    bench.foretell([(2, request, request)])?;
    probe.run([delete(FIRST)])?;
    still_alive()
}
