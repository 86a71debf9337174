//! Requests and the device's power and presence: EvtIoStop, EvtIoResume, power-down, removal. The subjects here are sent to the probe's PnP device.

use protocol::probe::{self, Event, OnCompletion, OnStop, queue, target};

use super::probe::{MOMENT, Probe, TRUE};
use super::steps::*;
use crate::bench::{Bench, Failure, Test, TestResult, ensure, ensure_eq, tests};
use crate::nt::{self, File, NTSTATUS, Opening, Thread};
use crate::relay::DEADLINE;

pub(super) const TESTS: &[Test] = tests!(contract {
    told_to_suspend_the_driver_may_keep_its_request: "EvtIoStop acknowledges without requeuing, the power goes, and the request is still the driver's",
    a_request_kept_through_the_power_down_is_resumed: "EvtIoResume is called for it when power is back, and it is not presented again",
    a_request_requeued_at_the_power_down_is_delivered_again: "its handler is called again when power is back, EvtIoResume is not",
    a_request_requeued_at_the_power_down_goes_to_the_head: "behind it waits what came after it",
    an_acknowledgement_is_carried_out_when_io_stop_has_returned: "in EvtIoStop the acknowledged request still counts as the driver's, and none is in the queue",
    a_request_that_nobody_acknowledges_holds_up_the_power_down: "an EvtIoStop that does nothing keeps the device in D0 until the request is completed",
    an_acknowledgement_that_comes_after_io_stop_is_ignored: "EvtIoStop has returned: WdfRequestStopAcknowledge neither lets the power go nor requeues",
    a_queue_without_io_stop_holds_up_the_power_down: "so does a request of a queue that has no EvtIoStop",
    queues_stop_dispatching_together_and_are_stopped_in_turn: "while the first one waits for its driver no other presents anything, nor is told",
    a_power_down_is_told_after_what_was_cancelled: "EvtIoCanceledOnQueue comes before EvtIoStop, and the handler after the wake, when all are due",
    a_queue_without_power_has_nothing_to_retrieve: "WdfIoQueueRetrieveNextRequest is STATUS_WDF_PAUSED until power is back",
    told_to_purge_the_driver_cancels_what_it_has_sent: "EvtIoStop of a device that is removed calls WdfRequestCancelSentRequest, and the request ends",
});

/// `WdfRequestStopActionSuspend`, and nothing else.
const SUSPEND: u64 = 1;
/// `WdfRequestStopActionPurge`, and nothing else.
const PURGE: u64 = 2;
/// `WdfIoQueuePnpHeld`.
const HELD: u64 = 0x10;

/// Opens the PnP device, which may just be coming back from another test's removal.
fn open_pnp() -> Result<File, NTSTATUS> {
    let deadline = nt::Deadline::after(DEADLINE);
    loop {
        match File::open(probe::PNP_OPEN_PATH, Opening::Asynchronous) {
            Err(_) if !deadline.has_passed() => nt::sleep(MOMENT),
            opened => return opened,
        }
    }
}

/// A target of the probe's that leads to its PnP device, in use.
struct PnpTarget<'a> {
    probe: &'a Probe,
}

impl<'a> PnpTarget<'a> {
    #[track_caller]
    fn open(probe: &'a Probe) -> Result<Self, Failure> {
        probe.ok([use_target(target::SHORT_LIVED), target_make_for_pnp()])?;
        Ok(Self { probe })
    }
}

impl Drop for PnpTarget<'_> {
    fn drop(&mut self) {
        let _ = self.probe.run([target_delete(), target_forget(), use_target(target::PROBE)]);
    }
}

/// A system that goes to sleep, and wakes up again.
struct Sleep {
    thread: Thread<NTSTATUS>,
}

impl Sleep {
    fn begin() -> Result<Self, NTSTATUS> {
        Ok(Self { thread: Thread::spawn(nt::sleep_system)? })
    }

    /// Waits until the probe's device works again.
    #[track_caller]
    fn end(self, probe: &Probe) -> TestResult {
        match self.thread.join(DEADLINE)? {
            NTSTATUS::PRIVILEGE_NOT_HELD => {
                Err(Failure::Skipped { reason: "this program may not put the system to sleep".into() })
            }
            NTSTATUS::SUCCESS => probe.wait(Event::Working, 0, 1),
            status => Err(status.into()),
        }
    }
}

#[track_caller]
fn sleep_and_wake(probe: &Probe) -> TestResult {
    Sleep::begin()?.end(probe)
}

fn told_to_suspend_the_driver_may_keep_its_request(_: &mut Bench) -> TestResult {
    let (probe, file) = (Probe::open()?, open_pnp()?);
    let mut subject = probe.subject_through(&file, FIRST)?;
    sleep_and_wake(&probe)?;
    ensure_eq!(probe.value(stop_flags(FIRST))?, SUSPEND);
    ensure_eq!(probe.count(Event::Stopped, FIRST)?, 1);
    ensure_eq!(probe.count(Event::PowerDown, 0)?, 1);
    ensure!(probe.when(Event::Stopped, FIRST)? < probe.when(Event::PowerDown, 0)?);
    ensure!(subject.is_pending());
    subject.complete(NTSTATUS::SUCCESS)
}

fn a_request_kept_through_the_power_down_is_resumed(_: &mut Bench) -> TestResult {
    let (probe, file) = (Probe::open()?, open_pnp()?);
    let subject = probe.subject_through(&file, FIRST)?;
    sleep_and_wake(&probe)?;
    probe.wait(Event::Resumed, FIRST, 1)?;
    ensure!(probe.when(Event::PowerUp, 0)? < probe.when(Event::Resumed, FIRST)?);
    ensure_eq!(probe.count(Event::Presented, FIRST)?, 1);
    subject.complete(NTSTATUS::SUCCESS)
}

fn a_request_requeued_at_the_power_down_is_delivered_again(_: &mut Bench) -> TestResult {
    let (probe, file) = (Probe::open()?, open_pnp()?);
    let subject = probe.subject_through(&file, FIRST)?;
    probe.ok([on_stop(FIRST, OnStop::Requeue)])?;
    sleep_and_wake(&probe)?;
    probe.wait(Event::Presented, FIRST, 2)?;
    ensure!(probe.when(Event::PowerUp, 0)? < probe.when(Event::Presented, FIRST)?);
    ensure_eq!(probe.count(Event::Resumed, FIRST)?, 0);
    subject.complete(NTSTATUS::SUCCESS)
}

fn a_request_requeued_at_the_power_down_goes_to_the_head(_: &mut Bench) -> TestResult {
    let (probe, file) = (Probe::open()?, open_pnp()?);
    let first = probe.subject_through(&file, FIRST)?;
    let second = probe.subject_through(&file, SECOND)?;
    probe.ok([forward(FIRST, queue::POWER_MANUAL), forward(SECOND, queue::POWER_MANUAL)])?;
    probe.ok([retrieve(FIRST, queue::POWER_MANUAL), on_stop(FIRST, OnStop::Requeue)])?;
    sleep_and_wake(&probe)?;
    probe.ok([retrieve(SPARE, queue::POWER_MANUAL)])?;
    first.complete_by(SPARE, NTSTATUS::SUCCESS)?;
    probe.ok([retrieve(SPARE, queue::POWER_MANUAL)])?;
    second.complete_by(SPARE, NTSTATUS::SUCCESS)
}

fn an_acknowledgement_is_carried_out_when_io_stop_has_returned(_: &mut Bench) -> TestResult {
    const PRESENTED: u64 = 1;
    let (probe, file) = (Probe::open()?, open_pnp()?);
    let subject = probe.subject_through(&file, FIRST)?;
    probe.ok([on_stop(FIRST, OnStop::Requeue)])?;
    sleep_and_wake(&probe)?;
    ensure_eq!(probe.value(stop_load(FIRST))?, PRESENTED);
    probe.wait(Event::Presented, FIRST, 2)?;
    subject.complete(NTSTATUS::SUCCESS)
}

fn a_request_that_nobody_acknowledges_holds_up_the_power_down(_: &mut Bench) -> TestResult {
    let (probe, file) = (Probe::open()?, open_pnp()?);
    let subject = probe.subject_through(&file, FIRST)?;
    probe.ok([on_stop(FIRST, OnStop::Forget)])?;
    let sleep = Sleep::begin()?;
    probe.wait(Event::Stopped, FIRST, 1)?;
    ensure_eq!(probe.status(wait(Event::PowerDown, 0, 1, MOMENT))?, NTSTATUS::TIMEOUT);
    subject.complete(NTSTATUS::SUCCESS)?;
    probe.wait(Event::PowerDown, 0, 1)?;
    sleep.end(&probe)
}

fn an_acknowledgement_that_comes_after_io_stop_is_ignored(_: &mut Bench) -> TestResult {
    let (probe, file) = (Probe::open()?, open_pnp()?);
    let mut subject = probe.subject_through(&file, FIRST)?;
    probe.ok([on_stop(FIRST, OnStop::Forget)])?;
    let sleep = Sleep::begin()?;
    probe.wait(Event::Stopped, FIRST, 1)?;
    for late in [acknowledge(FIRST), acknowledge_and_requeue(FIRST)] {
        probe.ok([late])?;
        ensure_eq!(probe.status(wait(Event::PowerDown, 0, 1, MOMENT))?, NTSTATUS::TIMEOUT);
    }
    ensure!(subject.is_pending());
    subject.complete(NTSTATUS::SUCCESS)?;
    probe.wait(Event::PowerDown, 0, 1)?;
    sleep.end(&probe)?;
    ensure_eq!(probe.count(Event::Presented, FIRST)?, 1);
    Ok(())
}

fn a_queue_without_io_stop_holds_up_the_power_down(_: &mut Bench) -> TestResult {
    let (probe, file) = (Probe::open()?, open_pnp()?);
    let subject = probe.subject_through(&file, FIRST)?;
    probe.ok([forward(FIRST, queue::POWER_QUIET)])?;
    probe.wait(Event::Presented, FIRST, 2)?;
    let sleep = Sleep::begin()?;
    wait_until_held(&probe, queue::POWER_QUIET)?;
    ensure_eq!(probe.status(wait(Event::PowerDown, 0, 1, MOMENT))?, NTSTATUS::TIMEOUT);
    ensure_eq!(probe.count(Event::Stopped, FIRST)?, 0);
    subject.complete(NTSTATUS::SUCCESS)?;
    probe.wait(Event::PowerDown, 0, 1)?;
    sleep.end(&probe)
}

/// Waits until a queue does not dispatch because the device's power goes.
fn wait_until_held(probe: &Probe, queue: u32) -> TestResult {
    let deadline = nt::Deadline::after(DEADLINE);
    while probe.value(queue_state(queue))? & HELD == 0 {
        ensure!(!deadline.has_passed());
        nt::sleep(core::time::Duration::from_millis(1));
    }
    Ok(())
}

fn queues_stop_dispatching_together_and_are_stopped_in_turn(_: &mut Bench) -> TestResult {
    let (probe, file) = (Probe::open()?, open_pnp()?);
    let subjects = [probe.subject_through(&file, FIRST)?, probe.subject_through(&file, SECOND)?];
    probe.ok([forward(SECOND, queue::POWER_MANUAL), retrieve(SECOND, queue::POWER_MANUAL)])?;
    probe.ok([on_stop(FIRST, OnStop::Forget), on_stop(SECOND, OnStop::Forget)])?;
    let sleep = Sleep::begin()?;
    let deadline = nt::Deadline::after(DEADLINE);
    let told = loop {
        match [FIRST, SECOND].into_iter().find(|&slot| probe.count(Event::Stopped, slot).is_ok_and(|count| count > 0)) {
            Some(slot) => break slot,
            None => ensure!(!deadline.has_passed()),
        }
    };
    let other = FIRST + SECOND - told;
    let late = probe.submit_through(&file, THIRD)?;
    nt::sleep(MOMENT);
    ensure_eq!(probe.count(Event::Stopped, other)?, 0);
    ensure_eq!(probe.count(Event::Presented, THIRD)?, 0);
    for queue in [queue::POWER, queue::POWER_MANUAL, queue::POWER_QUIET] {
        wait_until_held(&probe, queue)?;
    }
    let [first, second] = subjects;
    let (now, then) = if told == FIRST { (first, second) } else { (second, first) };
    now.complete(NTSTATUS::SUCCESS)?;
    probe.wait(Event::Stopped, other, 1)?;
    ensure_eq!(probe.count(Event::PowerDown, 0)?, 0);
    then.complete(NTSTATUS::SUCCESS)?;
    sleep.end(&probe)?;
    probe.wait(Event::Presented, THIRD, 1)?;
    ensure!(probe.when(Event::PowerUp, 0)? < probe.when(Event::Presented, THIRD)?);
    late.complete(NTSTATUS::SUCCESS)
}

fn a_power_down_is_told_after_what_was_cancelled(_: &mut Bench) -> TestResult {
    let (probe, file) = (Probe::open()?, open_pnp()?);
    let (kept, waiting) = (probe.subject_through(&file, FIRST)?, probe.subject_through(&file, SECOND)?);
    let target = PnpTarget::open(&probe)?;
    let sent = probe.send()?;
    probe.ok([forward(FIRST, queue::POWER_SYNCHRONIZED)])?;
    probe.wait(Event::Presented, FIRST, 2)?;
    // While this handler of the queue runs, which the arrival of a third request ends, nothing of the queue's can come.
    let synchronous = File::open(probe::PNP_OPEN_PATH, Opening::Synchronous)?;
    let handler = Thread::spawn(move || {
        Probe::run_with_power(
            &synchronous,
            [
                forward(SEEN, queue::POWER_SYNCHRONIZED),
                forward(SECOND, queue::POWER_SYNCHRONIZED),
                cancel_sent(OWN),
                wait(Event::Presented, THIRD, 1, DEADLINE),
            ],
        )
    })?;
    let sleep = Sleep::begin()?;
    wait_until_held(&probe, queue::POWER_SYNCHRONIZED)?;
    ensure_eq!(probe.count(Event::CanceledOnQueue, SEEN)?, 0);
    ensure_eq!(probe.count(Event::Stopped, FIRST)?, 0);
    let third = probe.subject(THIRD)?;
    handler.join(2 * DEADLINE)??;
    sleep.end(&probe)?;
    probe.wait(Event::Presented, SECOND, 2)?;
    ensure!(probe.when(Event::CanceledOnQueue, SEEN)? < probe.when(Event::Stopped, FIRST)?);
    ensure!(probe.when(Event::Stopped, FIRST)? < probe.when(Event::Presented, SECOND)?);
    sent.returned(NTSTATUS::CANCELLED)?;
    sent.finish()?;
    drop(target);
    [kept, waiting, third].into_iter().try_for_each(|subject| subject.complete(NTSTATUS::SUCCESS))
}

fn a_queue_without_power_has_nothing_to_retrieve(_: &mut Bench) -> TestResult {
    let (probe, file) = (Probe::open()?, open_pnp()?);
    let holding = probe.subject_through(&file, FIRST)?;
    let waiting = probe.subject_through(&file, SECOND)?;
    probe.ok([forward(SECOND, queue::POWER_MANUAL), on_stop(FIRST, OnStop::Forget)])?;
    let sleep = Sleep::begin()?;
    probe.wait(Event::Stopped, FIRST, 1)?;
    ensure_eq!(probe.status(retrieve(SPARE, queue::POWER_MANUAL))?, NTSTATUS::WDF_PAUSED);
    holding.complete(NTSTATUS::SUCCESS)?;
    sleep.end(&probe)?;
    probe.ok([retrieve(SPARE, queue::POWER_MANUAL)])?;
    waiting.complete_by(SPARE, NTSTATUS::SUCCESS)
}

fn told_to_purge_the_driver_cancels_what_it_has_sent(_: &mut Bench) -> TestResult {
    let (probe, file) = (Probe::open()?, open_pnp()?);
    let mut subject = probe.subject_through(&file, FIRST)?;
    probe.ok([on_completion(FIRST, OnCompletion::Complete)])?;
    let [.., sent] = probe.ok([format_subject(FIRST, SEEN), set_completion(FIRST), send(FIRST)])?;
    ensure_eq!(sent, TRUE);
    probe.wait(Event::Presented, SEEN, 1)?;
    probe.ok([mark(SEEN), fail_device()])?;
    ensure_eq!(subject.end()?, NTSTATUS::SUCCESS);
    ensure_eq!(probe.value(stop_flags(FIRST))?, PURGE);
    probe.wait(Event::Canceled, SEEN, 1)?;
    probe.wait(Event::Completed, FIRST, 1)?;
    ensure!(probe.when(Event::SurpriseRemoved, 0)? < probe.when(Event::Stopped, FIRST)?);
    ensure!(probe.when(Event::Stopped, FIRST)? < probe.when(Event::Canceled, SEEN)?);
    ensure!(probe.when(Event::Canceled, SEEN)? < probe.when(Event::Completed, FIRST)?);
    // The device goes when nobody has it open any more, and comes back.
    drop(subject);
    drop(file);
    probe.wait(Event::Working, 0, 1)
}
