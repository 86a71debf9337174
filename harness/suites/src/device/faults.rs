//! Hardware that misbehaves, by a plan of faults in the device model: requests end in bounded time, right or with an error, and the device works
//! again afterwards. Each plan costs a boot.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use channel::Needs;
use protocol::hardware::Opcode;

use crate::bench::{Bench, Failure, Test, TestResult, ensure, ensure_eq, tests};
use crate::nt::{Deadline, NTSTATUS};
use crate::relay::{DEADLINE, Relay};

/// A guest whose hardware follows this plan.
const fn hardware(faults: &'static str) -> Needs<'static> {
    Needs { faults, ..Needs::NOTHING }
}

/// Faults that cost no request: only order and time change.
const HARMLESS: Needs<'_> = hardware(
    r#"seed = 11
[[fault]]
kind = "interrupt-doubled"
probability = 0.3
[[fault]]
kind = "interrupt-delayed"
probability = 0.3
micros = 2000
[[fault]]
kind = "interrupt-spurious"
probability = 0.05
[[fault]]
kind = "completion-late"
probability = 0.2
micros = 3000
[[fault]]
kind = "completion-out-of-order"
probability = 0.2
"#,
);

/// Used lengths that are wrong, a few times.
const LENGTHS: Needs<'_> = hardware(
    r#"seed = 12
[[fault]]
kind = "used-too-long"
only = 0
after = 5
probability = 0.5
times = 4
bytes = 100000
[[fault]]
kind = "used-too-short"
only = 0
after = 30
probability = 0.5
times = 4
bytes = 9
"#,
);

/// Bytes that are wrong, a few times.
const BYTES: Needs<'_> = hardware(
    r#"seed = 13
[[fault]]
kind = "data-corrupted"
only = 0
after = 5
probability = 0.5
times = 40
"#,
);

/// Interrupts that never come.
const SILENCE: Needs<'_> = hardware(
    r#"seed = 14
[[fault]]
kind = "interrupt-dropped"
after = 10
probability = 0.3
times = 5
"#,
);

/// An answer that never comes.
const LOSS: Needs<'_> = hardware(
    r#"seed = 15
[[fault]]
kind = "completion-lost"
only = 0
after = 10
times = 1
"#,
);

/// A device that goes away for a while, and comes back as if it had just got power.
const ABSENCE: Needs<'_> = hardware(
    r#"seed = 16
[[fault]]
kind = "device-gone"
after = 400
times = 1
micros = 300000
[[fault]]
kind = "reset-sticks"
micros = 20000
"#,
);

/// A device that asks for a reset in the middle of its work.
const DISTRESS: Needs<'_> = hardware(
    r#"seed = 17
[[fault]]
kind = "needs-reset"
only = 0
after = 40
times = 2
"#,
);

pub(super) const TESTS: &[&[Test]] = &[
    tests!(device on HARMLESS; {
        late_and_doubled_signals_cost_nothing: "interrupts that come late, twice or without cause, completions late and out of order: every answer is right",
    }),
    tests!(device on LENGTHS; {
        wrong_used_lengths_are_errors: "a used length that is too long or too short fails its request, and the device goes on",
    }),
    tests!(device on SILENCE; {
        lost_interrupts_cost_time_only: "an answer whose interrupt got lost is found all the same",
    }),
    tests!(device on LOSS; {
        a_lost_answer_fails_its_request_in_bounded_time: "a command that the hardware never answers ends with an error, and the device goes on",
    }),
    tests!(device on ABSENCE; {
        a_device_that_is_gone_for_a_while_comes_back: "what it had fails in bounded time, and it works again once it is back",
    }),
    tests!(device on DISTRESS; {
        a_device_that_needs_a_reset_gets_one: "what it had fails, it is reset, and works again",
    }),
    tests!(device on BYTES; {
        corrupted_bytes_do_no_harm: "whatever the hardware writes, each request ends, no answer is too long, and the device goes on",
    }),
];

/// An echo of random bytes; what came of it, and what was sent.
fn echo(relay: &Relay, bench: &mut Bench, length: usize) -> (Result<Vec<u8>, NTSTATUS>, Vec<u8>) {
    let payload = random(bench, length);
    (relay.echo(&payload, length), payload)
}

/// An echo whose tag does not depend on how many the driver has made up before.
fn tagged_echo(relay: &Relay, number: usize, payload: &[u8]) -> Result<Vec<u8>, NTSTATUS> {
    relay.command(number as u64, Opcode::ECHO, 0, payload, payload.len())
}

fn random(bench: &mut Bench, length: usize) -> Vec<u8> {
    let mut payload = vec![0; length];
    bench.fill(&mut payload);
    payload
}

/// Echoes, each repeated until its answer is right; the statuses of those that failed. Which fail is chance; which succeed is not, so that a
/// recorded device can answer.
fn insist(relay: &Relay, bench: &mut Bench, numbers: Range<usize>) -> Result<Vec<NTSTATUS>, Failure> {
    let deadline = Deadline::after(2 * DEADLINE);
    let mut failures = Vec::new();
    for number in numbers {
        let payload = random(bench, 64);
        loop {
            ensure!(!deadline.has_passed());
            match tagged_echo(relay, number, &payload) {
                Ok(answer) => {
                    ensure!(answer == payload);
                    break;
                }
                Err(status) => failures.push(status),
            }
        }
    }
    Ok(failures)
}

/// The device works: so many right answers one after the other, before the deadline.
fn recovers(relay: &Relay, bench: &mut Bench) -> TestResult {
    const IN_A_ROW: usize = 20;
    // Each round trip may meet the device on its way back, and a reset takes its time on a machine that has other things to do.
    let deadline = Deadline::after(2 * DEADLINE);
    // How often it fails before it works is chance; what it is asked is not, so that a recorded device can answer.
    let payloads: Vec<Vec<u8>> = (0..IN_A_ROW).map(|_| random(bench, 64)).collect();
    let mut right = 0;
    while let Some(payload) = payloads.get(right) {
        ensure!(!deadline.has_passed());
        right = if tagged_echo(relay, right, payload).is_ok_and(|answer| answer == *payload) { right + 1 } else { 0 };
    }
    Ok(())
}

fn late_and_doubled_signals_cost_nothing(bench: &mut Bench) -> TestResult {
    let relay = Relay::open_asynchronous()?;
    let mut requests = Vec::new();
    for tag in 0..300 {
        let mut payload = vec![0; 1 + (bench.random() % 2000) as usize];
        bench.fill(&mut payload);
        requests.push((relay.command_later(tag, Opcode::ECHO, 0, &payload, payload.len())?, payload));
    }
    for (request, payload) in &mut requests {
        ensure!(request.wait(DEADLINE)? == *payload);
    }
    Ok(())
}

/// Statuses of a request whose answer the driver could not believe, or that was with the hardware when it had to be reset.
const DISTRUST: [NTSTATUS; 2] = [NTSTATUS::DEVICE_HARDWARE_ERROR, NTSTATUS::DEVICE_NOT_READY];

fn wrong_used_lengths_are_errors(bench: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    let mut failures = 0;
    for _ in 0..100 {
        match echo(&relay, bench, 64) {
            (Ok(answer), payload) => ensure!(answer == payload),
            (Err(status), _) => {
                ensure!(DISTRUST.contains(&status));
                failures += 1;
            }
        }
    }
    ensure!(failures >= 1);
    recovers(&relay, bench)
}

fn corrupted_bytes_do_no_harm(bench: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    let mut wrong = 0;
    for _ in 0..200 {
        match echo(&relay, bench, 64) {
            (Ok(answer), payload) => {
                ensure!(answer.len() <= payload.len());
                wrong += u32::from(answer != payload);
            }
            // Any status: the one that the hardware wrote is among the bytes.
            (Err(_), _) => wrong += 1,
        }
    }
    ensure!(wrong >= 1);
    ensure_eq!(relay.config()?.held, 0);
    recovers(&relay, bench)
}

fn lost_interrupts_cost_time_only(bench: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    for _ in 0..60 {
        let (answer, payload) = echo(&relay, bench, 64);
        ensure!(answer? == payload);
    }
    Ok(())
}

fn a_lost_answer_fails_its_request_in_bounded_time(bench: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    let failures = insist(&relay, bench, 0..30)?;
    ensure!(failures.contains(&NTSTATUS::DEVICE_HARDWARE_ERROR));
    ensure!(failures.iter().all(|status| DISTRUST.contains(status)));
    recovers(&relay, bench)
}

fn a_device_that_is_gone_for_a_while_comes_back(bench: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    const AT_ONCE: usize = 500;
    let mut first = 0;
    // Doorbells are register accesses; one of them is the one at which the device goes.
    while insist(&relay, bench, first..first + AT_ONCE)?.is_empty() {
        first += AT_ONCE;
    }
    recovers(&relay, bench)
}

fn a_device_that_needs_a_reset_gets_one(bench: &mut Bench) -> TestResult {
    let (relay, control) = (Relay::open_asynchronous()?, Relay::open()?);
    let mut failures = 0;
    let mut requests = Vec::new();
    // Several are with the hardware when it asks.
    for tag in 0..60 {
        let mut payload = vec![0; 64];
        bench.fill(&mut payload);
        requests.push((relay.command_later(tag, Opcode::ECHO, 0, &payload, payload.len())?, payload));
    }
    for (request, payload) in &mut requests {
        match request.wait(DEADLINE) {
            Ok(answer) => ensure!(answer == *payload),
            Err(status) => {
                ensure!(DISTRUST.contains(&status));
                failures += 1;
            }
        }
    }
    ensure!(failures >= 1);
    recovers(&control, bench)
}
