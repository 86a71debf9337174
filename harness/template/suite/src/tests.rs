//! Suite `gadget`.

use core::time::Duration;

use gadget_protocol::{OPEN_PATH, SQUARE};
use suites::nt::{File, NTSTATUS, Opening};
use suites::{Bench, Test, TestResult, ensure, ensure_eq, tests};

/// Deadline of what has no reason to take long. Generous: software emulation on a busy machine is slow.
const DEADLINE: Duration = Duration::from_secs(10);

/// The tests, in the order in which they run.
pub const TESTS: &[Test] = tests!(gadget {
    squares: "numbers come back squared",
    many_at_once: "requests that are sent together each get their own answer",
    a_short_buffer_is_refused: "a request without a whole number, or without room for one, fails",
    an_unknown_control_is_refused: "a control code that the driver does not know fails",
    a_request_can_be_cancelled: "a request that is cancelled ends, and the next one works",
});

fn square(file: &File, number: u32) -> Result<u32, NTSTATUS> {
    let mut answer = [0; 4];
    let length = file.control(SQUARE, &number.to_le_bytes(), &mut answer)?;
    if length == answer.len() { Ok(u32::from_le_bytes(answer)) } else { Err(NTSTATUS::INFO_LENGTH_MISMATCH) }
}

fn squares(bench: &mut Bench) -> TestResult {
    let file = File::open(OPEN_PATH, Opening::Synchronous)?;
    for number in [0, 1, 12, u32::MAX, bench.random() as u32] {
        ensure_eq!(square(&file, number)?, number.wrapping_mul(number));
    }
    Ok(())
}

fn many_at_once(_: &mut Bench) -> TestResult {
    let file = File::open(OPEN_PATH, Opening::Asynchronous)?;
    let mut pending = alloc::vec::Vec::new();
    for number in 0..20_u32 {
        pending.push(file.control_later(SQUARE, number.to_le_bytes().to_vec(), 4)?);
    }
    for (number, request) in (0_u32..).zip(&mut pending) {
        ensure_eq!(request.wait(DEADLINE)?, (number * number).to_le_bytes());
    }
    Ok(())
}

fn a_short_buffer_is_refused(_: &mut Bench) -> TestResult {
    let file = File::open(OPEN_PATH, Opening::Synchronous)?;
    for (input, room) in [(0, 4), (3, 4), (4, 0), (4, 3)] {
        let outcome = file.control(SQUARE, &[0; 4][..input], &mut [0; 4][..room]);
        ensure_eq!(outcome, Err(NTSTATUS::BUFFER_TOO_SMALL));
    }
    Ok(())
}

fn an_unknown_control_is_refused(_: &mut Bench) -> TestResult {
    let file = File::open(OPEN_PATH, Opening::Synchronous)?;
    ensure_eq!(file.control(SQUARE + 4, &[], &mut []), Err(NTSTATUS::INVALID_DEVICE_REQUEST));
    Ok(())
}

fn a_request_can_be_cancelled(_: &mut Bench) -> TestResult {
    let file = File::open(OPEN_PATH, Opening::Asynchronous)?;
    let mut request = file.control_later(SQUARE, 5_u32.to_le_bytes().to_vec(), 4)?;
    // It may have been answered before.
    let _ = request.cancel();
    let outcome = request.wait(DEADLINE);
    ensure!(outcome == Err(NTSTATUS::CANCELLED) || outcome == Ok(25_u32.to_le_bytes().to_vec()));
    let mut next = file.control_later(SQUARE, 6_u32.to_le_bytes().to_vec(), 4)?;
    ensure_eq!(next.wait(DEADLINE)?, 36_u32.to_le_bytes());
    Ok(())
}
