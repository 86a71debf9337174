//! Bad input, and as much of everything as there can be: every I/O control with buffers that are too short, too long, nowhere, or not the
//! program's.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use protocol::hardware::{AdminOpcode, Event, MAX_DELAY_US, MAX_EVENT_RATE, Opcode, RelayConfig};
use protocol::io;
use zerocopy::IntoBytes;

use super::wait_for_held;
use crate::bench::{Bench, Failure, Test, TestResult, ensure, ensure_eq, tests};
use crate::nt::{self, Deadline, NTSTATUS, raw_control};
use crate::relay::{DEADLINE, Relay};

pub(super) const TESTS: &[Test] = tests!(device {
    every_control_with_every_length: "each I/O control with buffers of each length up to 64 bytes ends as its page says",
    every_control_with_hostile_addresses: "each I/O control with buffers that are nowhere, the kernel's, or beyond the program's ends in a status",
    misaligned_buffers_work: "buffers at odd addresses, by every method",
    output_that_cannot_be_written_is_refused: "an answer is not written into the program's own code",
    unknown_codes_are_refused_by_every_method: "control codes that nobody knows, in all four methods",
    reserved_fields_are_refused: "a reserved field that is not zero is STATUS_INVALID_PARAMETER",
    arguments_out_of_range_are_refused: "a delay or a rate that is too large is STATUS_INVALID_PARAMETER",
    aborting_what_is_not_there_is_not_found: "an administration command about a tag that nobody has is STATUS_NOT_FOUND",
    as_many_held_as_there_can_be: "when every slot is held the rest wait, administration goes on, and all end when they are released",
    cancelling_what_waits_for_a_slot: "a request that waits behind a full hardware can be cancelled",
    cancels_beyond_the_slots_end_in_a_status: "cancelled commands, many more than there are slots, cost no request and no byte",
});

/// Every I/O control of the relay device.
const CODES: [u32; 10] = [
    io::ECHO,
    io::ECHO_IN_DIRECT,
    io::ECHO_OUT_DIRECT,
    io::ECHO_NEITHER,
    io::COMMAND,
    io::ADMIN,
    io::READ_EVENT,
    io::QUERY_CONFIG,
    io::QUERY_COUNTERS,
    io::SELF_TEST,
];

/// What a control with `input` and `output` bytes, all zeroes, comes to; none if it would wait.
fn expected(code: u32, input: usize, output: usize) -> Option<Result<usize, NTSTATUS>> {
    let answer = |length| Some(if output < length { Err(NTSTATUS::BUFFER_TOO_SMALL) } else { Ok(length) });
    match code {
        io::ECHO | io::ECHO_OUT_DIRECT | io::ECHO_NEITHER => answer(input),
        io::ECHO_IN_DIRECT => Some(Ok(output)),
        io::COMMAND if input < size_of::<io::Command>() => Some(Err(NTSTATUS::BUFFER_TOO_SMALL)),
        io::ADMIN if input < size_of::<io::Admin>() => Some(Err(NTSTATUS::BUFFER_TOO_SMALL)),
        // Opcode 0 is none.
        io::COMMAND | io::ADMIN => Some(Err(NTSTATUS::NOT_SUPPORTED)),
        io::READ_EVENT if output >= size_of::<Event>() => None,
        io::READ_EVENT => Some(Err(NTSTATUS::BUFFER_TOO_SMALL)),
        io::QUERY_CONFIG => answer(size_of::<RelayConfig>()),
        io::QUERY_COUNTERS => answer(size_of::<io::DriverCounters>()),
        io::SELF_TEST => Some(Ok(0)),
        _ => Some(Err(NTSTATUS::INVALID_DEVICE_REQUEST)),
    }
}

fn every_control_with_every_length(_: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    let lengths = [0, 1, 7, 8, 15, 16, 23, 24, 25, 31, 32, 47, 48, 49, 63, 64];
    for code in CODES {
        for input in lengths {
            for output in lengths {
                let Some(expected) = expected(code, input, output) else { continue };
                let came = relay.file().control(code, &vec![0; input], &mut vec![0xee; output]);
                if came != expected {
                    let reason =
                        alloc::format!("code {code:#x}, {input} bytes in, {output} out: expected {expected:?}, came {came:?}");
                    return Err(Failure::Expectation { place: core::panic::Location::caller(), reason });
                }
            }
        }
    }
    still_works(&relay)
}

fn still_works(relay: &Relay) -> TestResult {
    ensure_eq!(relay.echo(b"still there", 11)?, b"still there");
    Ok(())
}

/// Nothing is mapped there.
const UNMAPPED: usize = 0x10_0000;
/// Addresses that no program may hand over.
const HOSTILE: [usize; 6] =
    [UNMAPPED, 0xffff_8000_0000_0000, usize::MAX - 15, 0x7fff_ffff_f000, 0x8000_0000_0000, 0xffff_7fff_ffff_fff8];
const LENGTH: u32 = 64;

fn every_control_with_hostile_addresses(_: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    let input = vec![0u8; LENGTH as usize];
    let mut output = vec![0u8; LENGTH as usize];
    let good = ((input.as_ptr().expose_provenance(), LENGTH), (output.as_mut_ptr().expose_provenance(), LENGTH));
    for code in CODES {
        for address in HOSTILE.into_iter().chain([0]) {
            let bad = (address, LENGTH);
            let came = raw_control(relay.file(), code, bad, good.1);
            ensure!(!succeeds(came) || !reads_input(code));
            // A reader with a good output would wait for an event.
            if code != io::READ_EVENT || address != 0 {
                ensure!(!succeeds(raw_control(relay.file(), code, good.0, bad)));
            }
            ensure!(!succeeds(raw_control(relay.file(), code, bad, bad)));
        }
        // As long as a length can be, from good addresses on.
        ensure!(!succeeds(raw_control(relay.file(), code, (good.0.0, u32::MAX), good.1)));
        ensure!(!succeeds(raw_control(relay.file(), code, good.0, (good.1.0, u32::MAX))));
    }
    still_works(&relay)
}

fn succeeds(came: Result<usize, NTSTATUS>) -> bool {
    came.is_ok()
}

/// Whether a control looks into its first buffer.
fn reads_input(code: u32) -> bool {
    !matches!(code, io::ECHO_IN_DIRECT)
}

fn misaligned_buffers_work(bench: &mut Bench) -> TestResult {
    const SIZE: usize = 5_000;
    let relay = Relay::open()?;
    let mut payload = vec![0; SIZE];
    bench.fill(&mut payload);
    for code in [io::ECHO, io::ECHO_OUT_DIRECT, io::ECHO_NEITHER] {
        for (input_at, output_at) in [(1, 0), (0, 1), (3, 7)] {
            let mut input = vec![0; SIZE + input_at];
            input[input_at..].copy_from_slice(&payload);
            let mut output = vec![0; SIZE + output_at];
            ensure_eq!(relay.file().control(code, &input[input_at..], &mut output[output_at..])?, SIZE);
            ensure!(output[output_at..] == payload);
            ensure!(output[..output_at].iter().all(|&byte| byte == 0));
        }
    }
    let command = io::Command { tag: 9, opcode: Opcode::ECHO.0, reserved: 0, argument: 0 };
    let input = [&[0], command.as_bytes(), b"odd"].concat();
    let mut output = [0; 4];
    ensure_eq!(relay.file().control(io::COMMAND, &input[1..], &mut output[1..])?, 3);
    ensure_eq!(&output[1..], b"odd");
    Ok(())
}

fn output_that_cannot_be_written_is_refused(_: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    let code = (output_that_cannot_be_written_is_refused as fn(&mut Bench) -> TestResult) as usize;
    // SAFETY: the program's own code, which is mapped for reading.
    let before = unsafe { *(code as *const [u8; 16]) };
    let input = [0xcc_u8; 16];
    for control in [io::ECHO, io::ECHO_OUT_DIRECT, io::ECHO_NEITHER] {
        let came = raw_control(relay.file(), control, (input.as_ptr().expose_provenance(), 16), (code, 16));
        ensure_eq!(came, Err(NTSTATUS::ACCESS_VIOLATION));
    }
    // Read from, it may be.
    ensure_eq!(raw_control(relay.file(), io::ECHO_IN_DIRECT, (0, 0), (code, 16))?, 16);
    // SAFETY: as above.
    ensure!(unsafe { *(code as *const [u8; 16]) } == before);
    Ok(())
}

fn unknown_codes_are_refused_by_every_method(_: &mut Bench) -> TestResult {
    use io::Method::{Buffered, InDirect, Neither, OutDirect};
    let relay = Relay::open()?;
    for function in [0, 0x7ff, 0x809, 0x8ff, 0xfff] {
        for method in [Buffered, InDirect, OutDirect, Neither] {
            let came = relay.file().control(io::control_code(function, method), &[1; 8], &mut [0; 8]);
            ensure_eq!(came, Err(NTSTATUS::INVALID_DEVICE_REQUEST));
        }
    }
    // Functions that exist, by methods that are not theirs.
    for method in [InDirect, OutDirect, Neither] {
        let came = relay.file().control(io::control_code(0x804, method), &[0; 64], &mut [0; 64]);
        ensure_eq!(came, Err(NTSTATUS::INVALID_DEVICE_REQUEST));
    }
    still_works(&relay)
}

fn reserved_fields_are_refused(_: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    let command = io::Command { tag: 1, opcode: Opcode::ECHO.0, reserved: 1, argument: 0 };
    ensure_eq!(relay.file().control(io::COMMAND, command.as_bytes(), &mut []), Err(NTSTATUS::INVALID_PARAMETER));
    let admin = io::Admin { opcode: AdminOpcode::EVENT_ONCE.0, reserved: 1, target: 0, argument: 0 };
    ensure_eq!(relay.file().control(io::ADMIN, admin.as_bytes(), &mut []), Err(NTSTATUS::INVALID_PARAMETER));
    Ok(())
}

fn arguments_out_of_range_are_refused(_: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    for delay in [MAX_DELAY_US + 1, u64::MAX] {
        ensure_eq!(relay.command(2, Opcode::DELAY, delay, &[], 0), Err(NTSTATUS::INVALID_PARAMETER));
    }
    for rate in [MAX_EVENT_RATE + 1, u64::MAX] {
        ensure_eq!(relay.admin(AdminOpcode::EVENT_RATE, 0, rate), Err(NTSTATUS::INVALID_PARAMETER));
    }
    ensure_eq!(relay.admin(AdminOpcode(77), 0, 0), Err(NTSTATUS::NOT_SUPPORTED));
    Ok(())
}

fn aborting_what_is_not_there_is_not_found(_: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    for opcode in [AdminOpcode::ABORT, AdminOpcode::RELEASE] {
        ensure_eq!(relay.admin(opcode, 0xdead_beef, 0), Err(NTSTATUS::NOT_FOUND));
    }
    Ok(())
}

/// Waits until the hardware holds no more than it did a moment ago, and returns how many that are.
fn most_held(control: &Relay) -> Result<u32, Failure> {
    let deadline = Deadline::after(DEADLINE);
    let (mut held, mut calm) = (0, 0);
    while calm < 10 {
        ensure!(!deadline.has_passed());
        nt::sleep(Duration::from_millis(1));
        let now = control.config()?.held;
        calm = if now == held && now > 0 { calm + 1 } else { 0 };
        held = now;
    }
    Ok(held)
}

fn as_many_held_as_there_can_be(_: &mut Bench) -> TestResult {
    const COUNT: u64 = 300;
    const TAG: u64 = 0xf011_0000;
    let (control, relay) = (Relay::open()?, Relay::open_asynchronous()?);
    let mut requests = Vec::new();
    for number in 0..COUNT {
        requests.push(relay.command_later(TAG + number, Opcode::HOLD, 0, &number.to_le_bytes(), 8)?);
    }
    let held = most_held(&control)?;
    ensure!(held >= 16 && u64::from(held) < COUNT);
    // They go to the hardware in order, so that releasing them in order never waits for one that waits for another.
    for (number, request) in (0..COUNT).zip(&mut requests) {
        let deadline = Deadline::after(DEADLINE);
        while control.admin(AdminOpcode::RELEASE, TAG + number, 0) == Err(NTSTATUS::NOT_FOUND) {
            ensure!(!deadline.has_passed());
            nt::sleep(Duration::from_millis(1));
        }
        ensure_eq!(request.wait(DEADLINE)?, number.to_le_bytes());
    }
    wait_for_held(&control, 0)
}

fn cancelling_what_waits_for_a_slot(_: &mut Bench) -> TestResult {
    const COUNT: u64 = 200;
    const TAG: u64 = 0xca0c_0000;
    let (control, relay) = (Relay::open()?, Relay::open_asynchronous()?);
    let mut requests = Vec::new();
    for number in 0..COUNT {
        requests.push(relay.command_later(TAG + number, Opcode::HOLD, 0, &[], 0)?);
    }
    let held = most_held(&control)?;
    ensure!(u64::from(held) < COUNT);
    // From the last one on: what never got to the hardware goes first.
    for request in requests.iter_mut().rev() {
        request.cancel()?;
        ensure_eq!(request.wait(DEADLINE), Err(NTSTATUS::CANCELLED));
    }
    wait_for_held(&control, 0)?;
    still_works(&control)
}

fn cancels_beyond_the_slots_end_in_a_status(_: &mut Bench) -> TestResult {
    let (control, relay) = (Relay::open()?, Relay::open_asynchronous()?);
    for round in 0..200_u64 {
        // So long that the cancellation comes first, however busy the machine is; and the hardware has it, so that the abort finds it.
        let mut request = relay.command_later(round, Opcode::DELAY, 1_000_000, b"slow", 4)?;
        wait_for_held(&control, 1)?;
        request.cancel()?;
        ensure_eq!(request.wait(DEADLINE), Err(NTSTATUS::CANCELLED));
        wait_for_held(&control, 0)?;
    }
    still_works(&control)
}
