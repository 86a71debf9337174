//! Commands of the relay device.

use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use protocol::hardware::{AdminOpcode, Opcode};

use super::{THREADS, Turns, Worker, at_once};
use crate::bench::{Bench, Failure, TestResult, ensure, ensure_eq};
use crate::nt::{self, Deadline, NTSTATUS, Orphan, Pending};
use crate::relay::{DEADLINE, Relay};

/// Most commands of one thread at a time.
const DEPTH: usize = 8;
/// The same where threads take turns: all of them leave some of the filter's carriers free, or the next command would wait for a turn that
/// does not come.
const DEPTH_IN_TURNS: usize = 3;
/// Turns that a thread lets pass between two sleeps.
const IDLE_TURNS: u32 = 8;
/// Longest payload.
const LONGEST: u64 = 6_000;
/// Commands that were cancelled: with any, the driver may be out of slots for the next.
static CANCELS: AtomicU32 = AtomicU32::new(0);

pub(super) fn commands_from_several_threads(bench: &mut Bench) -> TestResult {
    at_once(bench, vec![work; THREADS as usize])?;
    nothing_is_held()
}

pub(super) fn commands_through_sleep_and_wake(bench: &mut Bench) -> TestResult {
    at_once(bench, vec![work, work, work, go_to_sleep])?;
    nothing_is_held()
}

/// The hardware has nothing any more once everything has ended.
fn nothing_is_held() -> TestResult {
    let relay = Relay::open()?;
    let deadline = Deadline::after(DEADLINE);
    while relay.config()?.held != 0 && !deadline.has_passed() {
        nt::sleep(Duration::from_millis(1));
    }
    ensure_eq!(relay.config()?.held, 0);
    Ok(())
}

pub(super) fn go_to_sleep(worker: &mut Worker) -> TestResult {
    let control = worker.turns.as_ref().map(|_| Relay::open()).transpose()?;
    while worker.goes_on() {
        match nt::sleep_system() {
            NTSTATUS::SUCCESS => {}
            NTSTATUS::PRIVILEGE_NOT_HELD => {
                return Err(Failure::Skipped { reason: "this program may not put the system to sleep".into() });
            }
            status => return Err(status.into()),
        }
        if let (Some(turns), Some(control)) = (&worker.turns, &control) {
            arrive(turns, control)?;
            // The others have more to do than there is time to sleep.
            for _ in 0..IDLE_TURNS {
                worker.goes_on();
            }
            continue;
        }
        let pause = worker.choose(60);
        nt::sleep(Duration::from_millis(pause));
    }
    Ok(())
}

/// A command on its way, and what may come of it.
struct Flight<P> {
    request: P,
    tag: u64,
    is_held: bool,
    /// What comes of it when nobody interferes; for a held command, when it is released.
    answer: Result<Vec<u8>, NTSTATUS>,
    cancelled: bool,
    released: bool,
    aborted: bool,
}

impl<P> Flight<P> {
    fn judge(&self, came: &Result<Vec<u8>, NTSTATUS>) -> TestResult {
        match came {
            Err(NTSTATUS::CANCELLED) => ensure!(self.cancelled),
            Err(NTSTATUS::REQUEST_ABORTED) => ensure!(self.aborted),
            Err(NTSTATUS::DEVICE_BUSY) => ensure!(CANCELS.load(Ordering::Acquire) > 0),
            came => {
                // Lengths and statuses say more than bytes.
                let seen = |answer: &Result<Vec<u8>, NTSTATUS>| answer.as_ref().map(Vec::len).map_err(|status| *status);
                ensure_eq!(seen(came), seen(&self.answer));
                ensure!(self.released || !self.is_held);
                ensure!(*came == self.answer);
            }
        }
        Ok(())
    }

    fn map<Q>(self, change: impl FnOnce(P) -> Q) -> Flight<Q> {
        let Self { request, tag, is_held, answer, cancelled, released, aborted } = self;
        Flight { request: change(request), tag, is_held, answer, cancelled, released, aborted }
    }
}

/// Opens the device, does this and that, and ends everything in order or by closing the handle; again and again.
fn work(worker: &mut Worker) -> TestResult {
    let control = Relay::open()?;
    let mut next_tag = u64::from(worker.number + 1) << 32;
    while worker.goes_on() {
        let relay = Relay::open_asynchronous()?;
        let mut flights: Vec<Flight<Pending<'_>>> = Vec::new();
        let depth = if worker.turns.is_some() { DEPTH_IN_TURNS } else { DEPTH };
        for _ in 0..worker.choose(60) {
            if !worker.goes_on() {
                break;
            }
            let pick = worker.choose(flights.len().max(1) as u64) as usize;
            match worker.choose(10) {
                0..=4 if flights.len() < depth => {
                    next_tag += 1;
                    flights.push(send(&relay, worker, next_tag)?);
                }
                5 if !flights.is_empty() => cancel(&mut flights[pick])?,
                6 if !flights.is_empty() => flights[pick].released |= admin(&control, AdminOpcode::RELEASE, flights[pick].tag)?,
                7 if !flights.is_empty() => flights[pick].aborted |= admin(&control, AdminOpcode::ABORT, flights[pick].tag)?,
                _ if !flights.is_empty() => look(&mut flights, pick)?,
                _ => {}
            }
            if let Some(turns) = &worker.turns {
                see_to_the_end(turns, &control, &mut flights)?;
            }
        }
        if worker.choose(3) == 0 {
            CANCELS.fetch_add(1, Ordering::AcqRel);
            let orphans: Vec<_> = flights.into_iter().map(|flight| flight.map(Pending::outlive_its_file)).collect();
            drop(relay);
            orphans.into_iter().try_for_each(|orphan| {
                worker.turns.iter().for_each(|turns| turns.let_go());
                see_off(orphan)
            })?;
        } else if let Some(turns) = &worker.turns {
            for flight in &mut flights {
                flight.released = admin(&control, AdminOpcode::RELEASE, flight.tag)?;
                ensure!(flight.released);
            }
            see_to_the_end(turns, &control, &mut flights)?;
        } else {
            settle(worker, &control, flights)?;
        }
    }
    Ok(())
}

fn send<'a>(relay: &'a Relay, worker: &mut Worker, tag: u64) -> Result<Flight<Pending<'a>>, NTSTATUS> {
    // There are few places for large commands: who has one while it is not its turn has the others wait.
    let length = if worker.choose(8) == 0 && worker.turns.is_none() { LONGEST } else { 200 };
    let mut payload = vec![0; worker.choose(length) as usize];
    worker.random.fill(&mut payload);
    let byte = worker.choose(256);
    let (opcode, argument, answer) = match worker.choose(8) {
        0 | 1 => (Opcode::ECHO, 0, Ok(payload.clone())),
        2 => (Opcode::TRANSFORM, byte, Ok(payload.iter().map(|sent| sent ^ byte as u8).collect())),
        3 => (Opcode::DELAY, worker.choose(5_000), Ok(payload.clone())),
        4 => (Opcode::FAIL, 77, Err(NTSTATUS::IO_DEVICE_ERROR)),
        5 => (Opcode(999), 0, Err(NTSTATUS::NOT_SUPPORTED)),
        _ => (Opcode::HOLD, 0, Ok(payload.clone())),
    };
    let request = relay.command_later(tag, opcode, argument, &payload, payload.len())?;
    let is_held = opcode == Opcode::HOLD;
    if let Some(turns) = worker.turns.as_ref().filter(|_| is_held) {
        turns.hold();
    }
    Ok(Flight { request, tag, is_held, answer, cancelled: false, released: false, aborted: false })
}

fn cancel(flight: &mut Flight<Pending<'_>>) -> TestResult {
    CANCELS.fetch_add(1, Ordering::AcqRel);
    flight.cancelled = true;
    match flight.request.cancel() {
        Ok(()) | Err(NTSTATUS::NOT_FOUND) => Ok(()),
        Err(status) => Err(status.into()),
    }
}

/// Whether the hardware did it. A command that has not arrived yet, or is gone, it does not find.
fn admin(control: &Relay, opcode: AdminOpcode, tag: u64) -> Result<bool, NTSTATUS> {
    match control.admin(opcode, tag, 0) {
        Ok(()) => Ok(true),
        Err(NTSTATUS::NOT_FOUND) => Ok(false),
        Err(status) => Err(status),
    }
}

/// Looks whether a command has ended, and how.
fn look(flights: &mut Vec<Flight<Pending<'_>>>, pick: usize) -> TestResult {
    let came = flights[pick].request.wait(Duration::ZERO);
    if came == Err(NTSTATUS::TIMEOUT) {
        return Ok(());
    }
    flights.swap_remove(pick).judge(&came)
}

/// A turn ends: so does each command but those that the hardware is to hold, and these have arrived there.
fn see_to_the_end(turns: &Turns, control: &Relay, flights: &mut Vec<Flight<Pending<'_>>>) -> TestResult {
    let ends = |flight: &Flight<_>| !flight.is_held || flight.cancelled || flight.released || flight.aborted;
    while let Some(at) = flights.iter().position(ends) {
        let mut flight = flights.swap_remove(at);
        let came = flight.request.wait(DEADLINE);
        if flight.is_held {
            turns.let_go();
        }
        flight.judge(&came)?;
    }
    arrive(turns, control)
}

/// Waits until the hardware has what it is to hold, no more and no less.
fn arrive(turns: &Turns, control: &Relay) -> TestResult {
    let deadline = Deadline::after(DEADLINE);
    while control.config()?.held != turns.held() {
        ensure!(!deadline.has_passed());
        nt::sleep(Duration::from_micros(100));
    }
    Ok(())
}

/// Sees commands to their end, all of them at once: one that is held keeps what others wait for, the driver's place for a large command or
/// one of the filter's carriers, until it is released. It is released more than once if need be: it may not have arrived yet, and one that
/// was released just before the power went is sent to the hardware anew. Another thread may hold what this one waits for, and on a slow
/// machine that sleeps most of the time it may do so for long; not after the test's end.
fn settle(worker: &Worker, control: &Relay, mut flights: Vec<Flight<Pending<'_>>>) -> TestResult {
    loop {
        let is_late = worker.last.has_passed();
        let mut under_way = Vec::new();
        for mut flight in flights {
            match flight.request.wait(Duration::ZERO) {
                Err(NTSTATUS::TIMEOUT) if !is_late => under_way.push(flight),
                came => flight.judge(&came)?,
            }
        }
        if under_way.is_empty() {
            return Ok(());
        }
        for flight in under_way.iter_mut().filter(|flight| flight.is_held) {
            flight.released |= admin(control, AdminOpcode::RELEASE, flight.tag)?;
        }
        nt::sleep(Duration::from_millis(1));
        flights = under_way;
    }
}

/// The handle was closed: whatever had not ended is cancelled.
fn see_off(mut orphan: Flight<Orphan>) -> TestResult {
    orphan.cancelled = true;
    let came = orphan.request.wait(DEADLINE);
    orphan.judge(&came)
}
