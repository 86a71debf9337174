//! Requests to the probe's PnP device, which sleeps, is removed, and comes back.

use alloc::vec;
use core::time::Duration;

use protocol::probe::{self, Event};

use super::commands::go_to_sleep;
use super::{Worker, at_once};
use crate::bench::{Bench, TestResult, ensure};
use crate::contract::probe::Probe;
use crate::contract::steps::*;
use crate::nt::{self, Deadline, File, NTSTATUS, Opening};
use crate::relay::DEADLINE;

/// Pause between two removals: a device that fails more than five times in ten seconds is not started again.
const BETWEEN_REMOVALS: Duration = Duration::from_secs(5);
/// The first slot of the first thread; each has two.
const FIRST_SLOT: u32 = 8;

pub(super) fn requests_through_sleep_and_removal(bench: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    at_once(bench, vec![work, work, go_to_sleep, remove])?;
    // It is there again.
    let deadline = Deadline::after(DEADLINE);
    while File::open(probe::PNP_OPEN_PATH, Opening::Asynchronous).is_err() {
        ensure!(!deadline.has_passed());
        nt::sleep(Duration::from_millis(1));
    }
    drop(probe);
    Ok(())
}

fn remove(worker: &mut Worker) -> TestResult {
    let probe = Probe::attach()?;
    while worker.goes_on() {
        // Somewhere in the middle of what the others do.
        let pause = Duration::from_millis(worker.choose(200));
        nt::sleep(pause);
        if let Ok(file) = File::open(probe::PNP_OPEN_PATH, Opening::Asynchronous) {
            // Open, it cannot go away under the step.
            probe.ok([fail_device()])?;
            drop(file);
        }
        let again = Deadline::after(BETWEEN_REMOVALS);
        while worker.goes_on() && !again.has_passed() {
            nt::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

fn work(worker: &mut Worker) -> TestResult {
    let probe = Probe::attach()?;
    let slot = FIRST_SLOT + 2 * worker.number;
    while worker.goes_on() {
        // Closed again soon, since a removed device goes only when nobody has it open.
        let Ok(file) = File::open(probe::PNP_OPEN_PATH, Opening::Asynchronous) else {
            nt::sleep(Duration::from_millis(1));
            continue;
        };
        for _ in 0..worker.choose(10) {
            if !one_request(worker, &probe, &file, slot)? {
                break;
            }
        }
    }
    Ok(())
}

/// Sends one request and sees it to its end. Whether the device still takes them.
fn one_request(worker: &mut Worker, probe: &Probe, file: &File, slot: u32) -> Result<bool, crate::Failure> {
    let before = probe.count(Event::Presented, slot)?;
    let Ok(mut subject) = probe.submit_through(file, slot) else { return Ok(false) };
    let deadline = Deadline::after(DEADLINE);
    while probe.count(Event::Presented, slot)? == before {
        if !subject.is_pending() {
            // It never got to the driver: cancelled in the queue of a device that goes, or refused by it.
            let status = subject.end()?;
            ensure!(!status.is_success());
            return Ok(false);
        }
        ensure!(!deadline.has_passed());
    }
    // The reference keeps the handle while EvtIoStop may be at work with it.
    probe.ok([reference(slot)])?;
    if worker.choose(2) == 0 {
        probe.ok([complete(slot, NTSTATUS::SUCCESS)])?;
        ensure!(subject.end()? == NTSTATUS::SUCCESS);
    } else {
        probe.ok([mark(slot)])?;
        subject.cancel().or_else(|status| if status == NTSTATUS::NOT_FOUND { Ok(()) } else { Err(status) })?;
        ensure!(subject.end()? == NTSTATUS::CANCELLED);
    }
    probe.ok([dereference(slot), forget(slot)])?;
    Ok(true)
}
