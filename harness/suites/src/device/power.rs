//! Sleep and wake, with the hardware at work.

use alloc::vec::Vec;
use core::time::Duration;

use protocol::hardware::{AdminOpcode, Event, Opcode};
use protocol::io;
use zerocopy::FromBytes;

use super::wait_for_held;
use crate::bench::{Bench, Failure, Test, TestResult, ensure, ensure_eq, tests};
use crate::nt::{self, Deadline, NTSTATUS};
use crate::relay::{DEADLINE, Relay};

pub(super) const TESTS: &[Test] = tests!(device {
    the_device_works_after_a_sleep: "echoes before and after the system sleeps",
    a_held_request_survives_a_sleep: "what the hardware held is sent to it again, and ends when it is released",
    many_requests_survive_a_sleep: "requests in flight, delayed and waiting all end as if there had been no sleep",
    a_reader_survives_a_sleep: "a reader that waits through a sleep gets the next event",
    a_request_cancelled_after_a_sleep_ends: "what was kept through a sleep can be cancelled afterwards",
    a_device_closed_after_a_sleep_lets_go: "so can what was sent through a handle that is closed",
});

/// Puts the system to sleep; it wakes by itself, or is woken.
pub(super) fn sleep() -> TestResult {
    match nt::sleep_system() {
        NTSTATUS::SUCCESS => Ok(()),
        NTSTATUS::PRIVILEGE_NOT_HELD => Err(Failure::Skipped { reason: "this program may not put the system to sleep".into() }),
        status => Err(status.into()),
    }
}

/// Releases a held command, as soon as the hardware has it again.
fn release(control: &Relay, tag: u64) -> TestResult {
    let deadline = Deadline::after(DEADLINE);
    loop {
        match control.admin(AdminOpcode::RELEASE, tag, 0) {
            Err(NTSTATUS::NOT_FOUND) if !deadline.has_passed() => nt::sleep(Duration::from_millis(1)),
            outcome => return Ok(outcome?),
        }
    }
}

fn the_device_works_after_a_sleep(_: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    for _ in 0..3 {
        ensure_eq!(relay.echo(b"before", 6)?, b"before");
        sleep()?;
        ensure_eq!(relay.echo(b"after", 5)?, b"after");
    }
    Ok(())
}

fn a_held_request_survives_a_sleep(_: &mut Bench) -> TestResult {
    const TAG: u64 = 0x51ee_b000;
    let (control, relay) = (Relay::open()?, Relay::open_asynchronous()?);
    let mut held = relay.command_later(TAG, Opcode::HOLD, 0, b"kept", 4)?;
    wait_for_held(&control, 1)?;
    sleep()?;
    ensure_eq!(held.wait(Duration::from_millis(1)), Err(NTSTATUS::TIMEOUT));
    release(&control, TAG)?;
    ensure_eq!(held.wait(DEADLINE)?, b"kept");
    wait_for_held(&control, 0)
}

fn many_requests_survive_a_sleep(bench: &mut Bench) -> TestResult {
    const TAG: u64 = 0x51ee_c000;
    let (control, relay) = (Relay::open()?, Relay::open_asynchronous()?);
    let mut requests = Vec::new();
    for number in 0..150_u64 {
        let mut payload = alloc::vec![0; 1 + (bench.random() % 500) as usize];
        bench.fill(&mut payload);
        let (opcode, argument) = match number % 3 {
            0 => (Opcode::ECHO, 0),
            1 => (Opcode::DELAY, bench.random() % 20_000),
            _ => (Opcode::HOLD, 0),
        };
        let request = relay.command_later(TAG + number, opcode, argument, &payload, payload.len())?;
        requests.push((number, opcode, request, payload));
    }
    sleep()?;
    for (number, opcode, request, payload) in &mut requests {
        if *opcode == Opcode::HOLD {
            release(&control, TAG + *number)?;
        }
        ensure!(request.wait(DEADLINE)? == *payload);
    }
    wait_for_held(&control, 0)
}

fn a_reader_survives_a_sleep(_: &mut Bench) -> TestResult {
    let (control, relay) = (Relay::open()?, Relay::open_asynchronous()?);
    let mut reader = relay.file().control_later(io::READ_EVENT, Vec::new(), size_of::<Event>())?;
    sleep()?;
    ensure_eq!(reader.wait(Duration::ZERO), Err(NTSTATUS::TIMEOUT));
    // An event that comes before the driver has posted its buffers again is lost, as the data sheet says.
    let deadline = Deadline::after(DEADLINE);
    loop {
        let lost = control.config()?.events_lost;
        control.admin(AdminOpcode::EVENT_ONCE, 0, 0xa11e)?;
        if control.config()?.events_lost == lost {
            break;
        }
        ensure!(!deadline.has_passed());
    }
    let answer = reader.wait(DEADLINE)?;
    let event = Event::read_from_bytes(&answer).map_err(|_| NTSTATUS::INFO_LENGTH_MISMATCH)?;
    ensure_eq!(event.value, 0xa11e);
    Ok(())
}

fn a_request_cancelled_after_a_sleep_ends(_: &mut Bench) -> TestResult {
    let (control, relay) = (Relay::open()?, Relay::open_asynchronous()?);
    let mut held = relay.command_later(0x51ee_d000, Opcode::HOLD, 0, &[], 0)?;
    wait_for_held(&control, 1)?;
    sleep()?;
    held.cancel()?;
    ensure_eq!(held.wait(DEADLINE), Err(NTSTATUS::CANCELLED));
    wait_for_held(&control, 0)
}

fn a_device_closed_after_a_sleep_lets_go(_: &mut Bench) -> TestResult {
    let (control, relay) = (Relay::open()?, Relay::open_asynchronous()?);
    let held = relay.command_later(0x51ee_e000, Opcode::HOLD, 0, &[], 0)?;
    wait_for_held(&control, 1)?;
    sleep()?;
    let mut orphan = held.outlive_its_file();
    drop(relay);
    ensure_eq!(orphan.wait(DEADLINE), Err(NTSTATUS::CANCELLED));
    wait_for_held(&control, 0)
}
