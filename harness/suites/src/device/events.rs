//! The event stream.

use alloc::vec::Vec;

use protocol::hardware::{AdminOpcode, Event};
use protocol::io;
use zerocopy::FromBytes;

use crate::bench::{Bench, TestResult, ensure, ensure_eq};
use crate::nt::{NTSTATUS, Pending};
use crate::relay::{DEADLINE, Relay};

fn read(relay: &Relay) -> Result<Pending<'_>, NTSTATUS> {
    relay.file().control_later(io::READ_EVENT, Vec::new(), size_of::<Event>())
}

fn event(request: &mut Pending<'_>) -> Result<Event, NTSTATUS> {
    let answer = request.wait(DEADLINE)?;
    Event::read_from_bytes(&answer).map_err(|_| NTSTATUS::INFO_LENGTH_MISMATCH)
}

pub(super) fn an_event_reaches_its_reader(_: &mut Bench) -> TestResult {
    let (control, relay) = (Relay::open()?, Relay::open_asynchronous()?);
    let mut waiting = read(&relay)?;
    control.admin(AdminOpcode::EVENT_ONCE, 0, 0x5eed)?;
    ensure_eq!(event(&mut waiting)?.value, 0x5eed);
    Ok(())
}

pub(super) fn events_keep_their_order(_: &mut Bench) -> TestResult {
    const COUNT: u64 = 20;
    let (control, relay) = (Relay::open()?, Relay::open_asynchronous()?);
    let mut readers = Vec::new();
    for _ in 0..COUNT {
        readers.push(read(&relay)?);
    }
    for value in 0..COUNT {
        control.admin(AdminOpcode::EVENT_ONCE, 0, value)?;
    }
    let mut events = Vec::new();
    for reader in &mut readers {
        events.push(event(reader)?);
    }
    ensure!(events.iter().map(|event| event.value).eq(0..COUNT));
    ensure!(events.windows(2).all(|pair| pair[0].sequence < pair[1].sequence && pair[0].time_ns <= pair[1].time_ns));
    Ok(())
}

/// Nobody reads: the events fill the filter's backlog, the driver's, and the buffers at the hardware; what comes then is lost, and counted.
pub(super) fn events_beyond_every_buffer_are_lost_and_counted(_: &mut Bench) -> TestResult {
    /// More than there is room for anywhere.
    const MOST: u64 = 4_000;
    /// The backlogs of relayflt.sys and relay.sys together.
    const AT_LEAST: u64 = 64 + 256;
    let (control, relay) = (Relay::open()?, Relay::open_asynchronous()?);
    let one = || -> Result<Event, NTSTATUS> {
        control.admin(AdminOpcode::EVENT_ONCE, 0, 0)?;
        event(&mut read(&relay)?)
    };
    let (first, lost) = (one()?.sequence, control.config()?.events_lost);
    let mut sent = 0;
    while control.config()?.events_lost == lost {
        ensure!(sent < MOST);
        control.admin(AdminOpcode::EVENT_ONCE, 0, 0)?;
        sent += 1;
    }
    let kept = sent - (control.config()?.events_lost - lost);
    ensure!(kept >= AT_LEAST);
    for sequence in first + 1..=first + kept {
        ensure_eq!(event(&mut read(&relay)?)?.sequence, sequence);
    }
    ensure_eq!(one()?.sequence, first + sent + 1);
    Ok(())
}

pub(super) fn a_reader_can_be_cancelled(_: &mut Bench) -> TestResult {
    let relay = Relay::open_asynchronous()?;
    let mut waiting = read(&relay)?;
    waiting.cancel()?;
    ensure_eq!(waiting.wait(DEADLINE), Err(NTSTATUS::CANCELLED));
    Ok(())
}

pub(super) fn a_buffer_too_short_for_an_event_is_refused(_: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    let mut short = [0; size_of::<Event>() - 1];
    ensure_eq!(relay.file().control(io::READ_EVENT, &[], &mut short), Err(NTSTATUS::BUFFER_TOO_SMALL));
    Ok(())
}
