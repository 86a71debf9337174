//! Suite `perf`: how long things take. Every test reports figures, none passes or fails on them: a machine under load is no reason to fail.
//!
//! Each takes a moment; `--for` makes it go on. Figures are what the guest's clock says, so that software emulation is in them.

use alloc::vec::Vec;
use core::time::Duration;

use protocol::hardware::Opcode;
use protocol::io;
use protocol::probe::{Event, queue};

use crate::bench::{Bench, Going, Test, TestResult, ensure, ensure_eq, tests};
use crate::contract::probe::Probe;
use crate::contract::steps::*;
use crate::nt::{self, Deadline};
use crate::relay::{DEADLINE, Relay};

/// The tests of this suite.
pub(crate) const TESTS: &[Test] = tests!(perf {
    round_trip: "an echo of 64 bytes, one at a time, from the program to the hardware and back",
    throughput: "echoes of 64 bytes, 64 in flight, in each second",
    reuse_against_creation: "a request that the driver sends: one that is reused, and a new one each time",
    forwarding: "WdfRequestForwardToIoQueue, from manual queue to manual queue",
    cancelling: "WdfRequestCancelSentRequest until the completion routine",
    cancelling_on_the_hardware: "a command that the hardware holds, from the program's cancel until its end",
});

/// How long a test goes on by itself.
const MOMENT: Duration = Duration::from_millis(150);
/// Samples of one figure where the run is recorded.
const ROUNDS: u32 = 20;
/// Most samples of one figure.
const MOST: usize = 100_000;

/// Takes samples until the time is over.
fn sample(bench: &Bench, mut once: impl FnMut() -> Result<u64, crate::Failure>) -> Result<Vec<u64>, crate::Failure> {
    let mut going = bench.going(MOMENT, ROUNDS);
    let mut samples = Vec::new();
    while samples.len() < MOST && going.on() {
        samples.push(once()?);
    }
    ensure!(!samples.is_empty());
    Ok(samples)
}

/// Nanoseconds from `begin`, an interrupt time, until now.
fn since(begin: u64) -> u64 {
    nt::interrupt_time().saturating_sub(begin) * 100
}

fn round_trip(bench: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    let payload = [7; 64];
    let samples = sample(bench, || {
        let begin = nt::interrupt_time();
        let answer = relay.echo(&payload, payload.len())?;
        let taken = since(begin);
        ensure_eq!(answer.len(), payload.len());
        Ok(taken)
    })?;
    bench.figure("echo of 64 bytes, one at a time", "ns", samples)
}

fn throughput(bench: &mut Bench) -> TestResult {
    const DEPTH: usize = 64;
    const WINDOW: Duration = Duration::from_millis(25);
    let relay = Relay::open_asynchronous()?;
    let send = || relay.file().control_later(io::ECHO, alloc::vec![7; 64], 64);
    let mut flights = alloc::collections::VecDeque::new();
    for _ in 0..DEPTH {
        flights.push_back(send()?);
    }
    let samples = sample(bench, || {
        let (begin, mut count) = (nt::interrupt_time(), 0u64);
        let mut window = match bench.going(WINDOW, DEPTH as u32) {
            Going::Until(_) => Going::Until(Deadline::after(WINDOW)),
            rounds => rounds,
        };
        while window.on() {
            if let Some(mut first) = flights.pop_front() {
                ensure_eq!(first.wait(DEADLINE)?.len(), 64);
                flights.push_back(send()?);
                count += 1;
            }
        }
        Ok(count * 10_000_000 / (nt::interrupt_time() - begin).max(1))
    })?;
    // Seen to their end: which of them a cancel would meet on the hardware is chance.
    flights.into_iter().try_for_each(|mut flight| flight.wait(DEADLINE).map(drop))?;
    bench.figure("echoes of 64 bytes, 64 in flight", "a second", samples)
}

fn reuse_against_creation(bench: &mut Bench) -> TestResult {
    /// Sends of one sample, so that the clock's resolution does not count.
    const TIMES: u64 = 20;
    let probe = Probe::open()?;
    let mut created = Vec::new();
    // In turn, so that both have the same weather.
    let reused = sample(bench, || {
        created.push(probe.value(time_sends(OWN, false, TIMES))? / TIMES);
        Ok(probe.value(time_sends(OWN, true, TIMES))? / TIMES)
    })?;
    bench.figure("a send with a request that is reused", "ns", reused)?;
    bench.figure("a send with a request that is made and deleted", "ns", created)
}

fn forwarding(bench: &mut Bench) -> TestResult {
    const TIMES: u64 = 20;
    let probe = Probe::open()?;
    let subject = probe.subject(FIRST)?;
    let samples = sample(bench, || Ok(probe.value(time_forwards(FIRST, TIMES))? / TIMES))?;
    bench.figure("WdfRequestForwardToIoQueue to a manual queue", "ns", samples)?;
    subject.complete(nt::NTSTATUS::SUCCESS)
}

fn cancelling(bench: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut round = 0;
    let samples = sample(bench, || {
        round += 1;
        probe.ok([create(OWN), format_subject(OWN, SEEN), set_completion(OWN), send(OWN)])?;
        // In a queue of its own, whose handler does not run, the cancel callback has nothing to wait for.
        probe.wait(Event::Presented, SEEN, 2 * round - 1)?;
        probe.ok([forward(SEEN, queue::PARALLEL)])?;
        probe.wait(Event::Presented, SEEN, 2 * round)?;
        let [_, taken, _, _] = probe.ok([mark(SEEN), time_cancel(OWN, round), delete(OWN), forget(OWN)])?;
        Ok(taken)
    })?;
    bench.figure("WdfRequestCancelSentRequest until the completion routine", "ns", samples)
}

fn cancelling_on_the_hardware(bench: &mut Bench) -> TestResult {
    let (control, relay) = (Relay::open()?, Relay::open_asynchronous()?);
    let mut tag = 0x7e57_0000;
    let samples = sample(bench, || {
        tag += 1;
        let mut held = relay.command_later(tag, Opcode::HOLD, 0, b"held", 4)?;
        let deadline = Deadline::after(DEADLINE);
        while control.config()?.held == 0 {
            ensure!(!deadline.has_passed());
        }
        let begin = nt::interrupt_time();
        held.cancel()?;
        ensure_eq!(held.wait(DEADLINE), Err(nt::NTSTATUS::CANCELLED));
        let taken = since(begin);
        while control.config()?.held != 0 {
            ensure!(!deadline.has_passed());
        }
        Ok(taken)
    })?;
    bench.figure("a held command, from its cancel until its end", "ns", samples)
}
