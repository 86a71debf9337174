//! Suite `device`: the data path through driver and hardware.

mod events;
mod faults;
mod limits;
mod machine;
mod power;
mod transfer;
mod vectors;

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use protocol::hardware::{AdminOpcode, Opcode};
use protocol::io;

use crate::bench::{Bench, Test, TestResult, ensure, ensure_eq, tests};
use crate::nt::{self, File, NTSTATUS, Opening};
use crate::relay::{DEADLINE, Relay};
use events::{
    a_buffer_too_short_for_an_event_is_refused, a_reader_can_be_cancelled, an_event_reaches_its_reader,
    events_beyond_every_buffer_are_lost_and_counted, events_keep_their_order,
};
use machine::{the_end_of_a_request_calls_the_program_back, the_system_sleeps_and_wakes};
use transfer::{
    a_bad_user_address_is_a_status, a_payload_beyond_the_largest_is_refused, direct_input, direct_output,
    more_requests_than_the_hardware_takes, raw_addresses, the_largest_payload,
};

/// The tests of this suite.
pub(crate) fn tests() -> impl Iterator<Item = &'static Test> {
    [ORDINARY, limits::TESTS, power::TESTS, vectors::TESTS, machine::TESTS, vectors::TESTS_OF_ONE]
        .into_iter()
        .chain(faults::TESTS.iter().copied())
        .flatten()
}

const ORDINARY: &[Test] = tests!(device {
    echo_of_nothing: "an empty request comes back empty, and successful",
    echo_of_one_byte: "the shortest payload comes back",
    echo_of_a_page: "a page comes back",
    echo_of_odd_lengths: "payloads around the sizes where buffers and descriptors change come back",
    echo_with_room_to_spare: "the length that is returned is the payload's, not the buffer's",
    echo_without_room: "an output buffer shorter than the payload is refused",
    the_hardware_counts_every_echo: "each echo is a command that the hardware took and answered",
    the_hardware_computes_the_checksum: "the checksum is CRC-32C, known from its check value",
    the_hardware_transforms: "each byte comes back exclusive-ored",
    a_failed_command_fails_its_request: "a status from the hardware becomes a failed request",
    an_unknown_opcode_fails_its_request: "an opcode that the hardware does not know fails the request",
    many_in_flight: "64 requests at once come back, each with its own payload",
    a_delayed_command_overtakes_nothing: "a delayed command does not hold up those behind it",
    a_held_command_waits_for_its_release: "a held command ends when it is released, not before",
    an_aborted_command_fails_its_request: "a held command that is aborted fails its request",
    a_cancelled_request_ends: "a request that the hardware holds can be cancelled",
    closing_with_a_request_in_flight: "closing the last handle ends the requests that were sent through it",
    an_unknown_control_code_is_refused: "a control code that the driver does not know is refused",
    a_command_without_its_header_is_refused: "an input buffer too short for a command is refused",
    an_unknown_device_name_is_not_found: "opening a name that does not exist fails as it should",
    the_largest_payload: "a payload of the hardware's maximum comes back",
    a_payload_beyond_the_largest_is_refused: "one byte more is refused",
    direct_output: "an answer written into locked pages arrives there and nowhere else",
    direct_input: "a payload read from locked pages is taken and left as it was",
    raw_addresses: "both buffers by raw user addresses",
    more_requests_than_the_hardware_takes: "400 requests at once wait their turn and all come back",
    the_driver_tests_itself: "the driver's own echo goes through its own queues and the hardware, again and again",
    an_event_reaches_its_reader: "a reader that waits gets the event that the hardware emits",
    events_keep_their_order: "20 events come to 20 readers in order, with rising sequence and time",
    events_beyond_every_buffer_are_lost_and_counted: "when nobody reads, what no buffer has room for is lost and counted, and the rest is read",
    a_reader_can_be_cancelled: "a reader that waits for an event can be cancelled",
    a_buffer_too_short_for_an_event_is_refused: "an output buffer shorter than an event is refused",
    the_end_of_a_request_calls_the_program_back: "a request with an APC routine calls it in the thread that waits alertably",
    the_system_sleeps_and_wakes: "the system sleeps until a timer wakes it, and the device works as before",
    a_bad_user_address_is_a_status: "buffers that are not the program's end in a status, never in a crash",
});

/// Echoes random bytes of each length and compares.
fn echo_lengths(bench: &mut Bench, lengths: &[usize]) -> TestResult {
    let relay = Relay::open()?;
    for &length in lengths {
        let mut payload = vec![0; length];
        bench.fill(&mut payload);
        let answer = relay.echo(&payload, length)?;
        ensure_eq!(answer.len(), length);
        ensure!(answer == payload);
    }
    Ok(())
}

fn echo_of_nothing(bench: &mut Bench) -> TestResult {
    echo_lengths(bench, &[0])
}

fn echo_of_one_byte(bench: &mut Bench) -> TestResult {
    echo_lengths(bench, &[1])
}

fn echo_of_a_page(bench: &mut Bench) -> TestResult {
    echo_lengths(bench, &[4096])
}

fn echo_of_odd_lengths(bench: &mut Bench) -> TestResult {
    echo_lengths(bench, &[3, 17, 511, 513, 4095, 4097, 8191, 12_289, 65_537])
}

fn echo_with_room_to_spare(bench: &mut Bench) -> TestResult {
    let mut payload = vec![0; 100];
    bench.fill(&mut payload);
    ensure_eq!(Relay::open()?.echo(&payload, 5000)?, payload);
    Ok(())
}

fn echo_without_room(_: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    ensure_eq!(relay.echo(&[1; 100], 99), Err(NTSTATUS::BUFFER_TOO_SMALL));
    ensure_eq!(relay.echo(&[1; 100], 0), Err(NTSTATUS::BUFFER_TOO_SMALL));
    Ok(())
}

fn the_hardware_counts_every_echo(_: &mut Bench) -> TestResult {
    const COUNT: u64 = 10;
    let relay = Relay::open()?;
    let (hardware, driver) = (relay.config()?, relay.counters()?);
    for _ in 0..COUNT {
        relay.echo(b"counted", 7)?;
    }
    let (hardware_now, driver_now) = (relay.config()?, relay.counters()?);
    ensure_eq!(hardware_now.commands_taken - hardware.commands_taken, COUNT);
    ensure_eq!(hardware_now.commands_answered - hardware.commands_answered, COUNT);
    ensure_eq!(driver_now.submitted - driver.submitted, COUNT);
    ensure!(driver_now.forwarded - driver.forwarded >= COUNT);
    ensure!(driver_now.interrupts > driver.interrupts);
    Ok(())
}

fn the_hardware_computes_the_checksum(_: &mut Bench) -> TestResult {
    let answer = Relay::open()?.command(1, Opcode::CHECKSUM, 0, b"123456789", 4)?;
    ensure_eq!(answer, 0xe306_9283_u32.to_le_bytes());
    Ok(())
}

fn the_hardware_transforms(bench: &mut Bench) -> TestResult {
    let mut payload = vec![0; 1000];
    bench.fill(&mut payload);
    let answer = Relay::open()?.command(2, Opcode::TRANSFORM, 0x5a, &payload, 1000)?;
    ensure!(answer.iter().zip(&payload).all(|(came, sent)| *came == sent ^ 0x5a));
    ensure_eq!(answer.len(), payload.len());
    Ok(())
}

fn a_failed_command_fails_its_request(_: &mut Bench) -> TestResult {
    ensure_eq!(Relay::open()?.command(3, Opcode::FAIL, 77, &[], 0), Err(NTSTATUS::IO_DEVICE_ERROR));
    Ok(())
}

fn an_unknown_opcode_fails_its_request(_: &mut Bench) -> TestResult {
    ensure_eq!(Relay::open()?.command(4, Opcode(999), 0, &[], 0), Err(NTSTATUS::NOT_SUPPORTED));
    Ok(())
}

fn many_in_flight(bench: &mut Bench) -> TestResult {
    const COUNT: usize = 64;
    let relay = Relay::open_asynchronous()?;
    let mut payloads = Vec::new();
    let mut requests = Vec::new();
    for _ in 0..COUNT {
        let mut payload = vec![0; 1 + (bench.random() % 3000) as usize];
        bench.fill(&mut payload);
        requests.push(relay.file().control_later(io::ECHO, payload.clone(), payload.len())?);
        payloads.push(payload);
    }
    for (request, payload) in requests.iter_mut().zip(&payloads) {
        ensure!(request.wait(DEADLINE)? == *payload);
    }
    Ok(())
}

fn a_delayed_command_overtakes_nothing(_: &mut Bench) -> TestResult {
    const DELAY: Duration = Duration::from_millis(50);
    let relay = Relay::open_asynchronous()?;
    let start = nt::interrupt_time();
    let mut delayed = relay.command_later(5, Opcode::DELAY, DELAY.as_micros() as u64, b"late", 4)?;
    let mut prompt = relay.command_later(6, Opcode::ECHO, 0, b"soon", 4)?;
    ensure_eq!(prompt.wait(DEADLINE)?, b"soon");
    ensure_eq!(delayed.wait(DEADLINE)?, b"late");
    ensure!(nt::interrupt_time() - start >= DELAY.as_nanos() as u64 / 100);
    Ok(())
}

/// Waits until the hardware holds `count` commands: sending one is no proof that it has arrived.
fn wait_for_held(relay: &Relay, count: u32) -> TestResult {
    let deadline = nt::interrupt_time() + DEADLINE.as_nanos() as u64 / 100;
    while relay.config()?.held != count && nt::interrupt_time() < deadline {
        nt::sleep(Duration::from_millis(1));
    }
    ensure_eq!(relay.config()?.held, count);
    Ok(())
}

fn a_held_command_waits_for_its_release(_: &mut Bench) -> TestResult {
    const TAG: u64 = 0x601d;
    let (control, relay) = (Relay::open()?, Relay::open_asynchronous()?);
    let mut held = relay.command_later(TAG, Opcode::HOLD, 0, b"kept", 4)?;
    wait_for_held(&control, 1)?;
    ensure_eq!(held.wait(Duration::from_millis(1)), Err(NTSTATUS::TIMEOUT));
    control.admin(AdminOpcode::RELEASE, TAG, 0)?;
    ensure_eq!(held.wait(DEADLINE)?, b"kept");
    ensure_eq!(control.config()?.held, 0);
    Ok(())
}

fn an_aborted_command_fails_its_request(_: &mut Bench) -> TestResult {
    const TAG: u64 = 0xab0;
    let (control, relay) = (Relay::open()?, Relay::open_asynchronous()?);
    let mut held = relay.command_later(TAG, Opcode::HOLD, 0, &[], 0)?;
    wait_for_held(&control, 1)?;
    control.admin(AdminOpcode::ABORT, TAG, 0)?;
    ensure_eq!(held.wait(DEADLINE), Err(NTSTATUS::REQUEST_ABORTED));
    ensure_eq!(control.admin(AdminOpcode::ABORT, TAG, 0), Err(NTSTATUS::NOT_FOUND));
    Ok(())
}

fn a_cancelled_request_ends(_: &mut Bench) -> TestResult {
    let (control, relay) = (Relay::open()?, Relay::open_asynchronous()?);
    let mut held = relay.command_later(7, Opcode::HOLD, 0, b"never", 5)?;
    wait_for_held(&control, 1)?;
    held.cancel()?;
    ensure_eq!(held.wait(DEADLINE), Err(NTSTATUS::CANCELLED));
    wait_for_held(&control, 0)
}

fn closing_with_a_request_in_flight(_: &mut Bench) -> TestResult {
    const TAG: u64 = 0xc105e;
    let control = Relay::open()?;
    let relay = Relay::open_asynchronous()?;
    let held = relay.command_later(TAG, Opcode::HOLD, 0, b"gone", 4)?;
    wait_for_held(&control, 1)?;
    let mut orphan = held.outlive_its_file();
    drop(relay);
    ensure_eq!(orphan.wait(DEADLINE), Err(NTSTATUS::CANCELLED));
    wait_for_held(&control, 0)?;
    ensure_eq!(control.echo(b"still there", 11)?, b"still there");
    Ok(())
}

fn the_driver_tests_itself(_: &mut Bench) -> TestResult {
    const TESTS: u64 = 5;
    let relay = Relay::open()?;
    let before = relay.counters()?;
    for _ in 0..TESTS {
        ensure_eq!(relay.file().control(io::SELF_TEST, &[], &mut [])?, 0);
    }
    let now = relay.counters()?;
    // The test itself, the echo that it sends, and in the end the question for the counters.
    ensure_eq!(now.presented - before.presented, 2 * TESTS + 1);
    ensure_eq!(now.submitted - before.submitted, TESTS);
    Ok(())
}

fn an_unknown_control_code_is_refused(_: &mut Bench) -> TestResult {
    let code = io::control_code(0x8ff, io::Method::Buffered);
    ensure_eq!(Relay::open()?.file().control(code, &[], &mut []), Err(NTSTATUS::INVALID_DEVICE_REQUEST));
    Ok(())
}

fn a_command_without_its_header_is_refused(_: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    for length in [0, 1, size_of::<io::Command>() - 1] {
        ensure_eq!(relay.file().control(io::COMMAND, &vec![0; length], &mut []), Err(NTSTATUS::BUFFER_TOO_SMALL));
    }
    Ok(())
}

fn an_unknown_device_name_is_not_found(_: &mut Bench) -> TestResult {
    let opened = File::open(r"\??\Relay0815", Opening::Synchronous);
    ensure_eq!(opened.err(), Some(NTSTATUS::OBJECT_NAME_NOT_FOUND));
    Ok(())
}
