//! `probe.sys` as the tests see it: steps go in, what the framework answered comes out.
//!
//! A test that ends early must not spoil the next one. So what it has put into the probe's hands is a value here, a [`Subject`] or a
//! [`Sent`], and gets the request out of them when it is dropped.

use alloc::format;
use core::panic::Location;
use core::time::Duration;

use protocol::probe::{self, Event, Outcome, RUN, RUN_SYNCHRONIZED, SUBJECT, Step, queue};
use zerocopy::{FromZeros, IntoBytes};

use super::steps::*;
use crate::bench::{Failure, TestResult, check, check_equal};
use crate::nt::{File, NTSTATUS, Opening, Pending};
use crate::relay::DEADLINE;

/// How long something is waited for that is not to happen.
pub(crate) const MOMENT: Duration = Duration::from_millis(20);
/// How long a request may take to end when a test lets go of it.
const FAREWELL: Duration = Duration::from_millis(200);

/// WdfRequestSend or WdfRequestCancelSentRequest said so.
pub(crate) const TRUE: u64 = 1;
/// See [`TRUE`].
pub(crate) const FALSE: u64 = 0;

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// What the framework returned.
    pub(crate) status: NTSTATUS,
    /// What else it returned.
    pub(crate) value: u64,
}

/// What a queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Requests in the queue.
    pub(crate) queued: u64,
    /// Requests of it that the driver has.
    pub(crate) presented: u64,
}

/// The open probe.
pub(crate) struct Probe {
    /// For steps: each call returns when they are done.
    control: File,
    /// For requests that stay with the probe.
    subjects: File,
}

impl Probe {
    /// Opens the probe a second time, and leaves it as it is.
    #[track_caller]
    pub(crate) fn attach() -> Result<Self, Failure> {
        let open = |opening| {
            File::open(probe::OPEN_PATH, opening).map_err(|status| Failure::Expectation {
                place: Location::caller(),
                reason: format!("{}, the device of probe.sys, cannot be opened: {status}", probe::OPEN_PATH),
            })
        };
        Ok(Self { control: open(Opening::Synchronous)?, subjects: open(Opening::Asynchronous)? })
    }

    /// Opens the probe, with nothing in its hands, its queues and its target started.
    #[track_caller]
    pub(crate) fn open() -> Result<Self, Failure> {
        let probe = Self::attach()?;
        let mut steps = [reset(); 2 + queue::CONTROL_COUNT as usize];
        steps[1] = target_start();
        for (step, queue) in steps[2..].iter_mut().zip(0..) {
            *step = queue_start(queue);
        }
        probe.ok(steps)?;
        Ok(probe)
    }

    /// Does steps one after the other within one call of the probe's handler, and returns what came of each.
    pub(crate) fn run<const N: usize>(&self, steps: [Step; N]) -> Result<[Answer; N], NTSTATUS> {
        self.run_by(RUN, steps)
    }

    /// As [`Probe::run`], within a call of the handler of [`queue::SYNCHRONIZED`].
    pub(crate) fn run_synchronized<const N: usize>(&self, steps: [Step; N]) -> Result<[Answer; N], NTSTATUS> {
        self.run_by(RUN_SYNCHRONIZED, steps)
    }

    /// As [`Probe::run`], within a call of the handler of [`queue::POWER_SYNCHRONIZED`]; `device` is the open PnP device.
    pub(crate) fn run_with_power<const N: usize>(device: &File, steps: [Step; N]) -> Result<[Answer; N], NTSTATUS> {
        run_through(device, RUN_SYNCHRONIZED, steps)
    }

    fn run_by<const N: usize>(&self, code: u32, steps: [Step; N]) -> Result<[Answer; N], NTSTATUS> {
        run_through(&self.control, code, steps)
    }

    /// Does steps that have to succeed, and returns what each gave besides.
    #[track_caller]
    pub(crate) fn ok<const N: usize>(&self, steps: [Step; N]) -> Result<[u64; N], Failure> {
        let answers = self.run(steps)?;
        for (number, answer) in answers.iter().enumerate() {
            if answer.status != NTSTATUS::SUCCESS {
                let reason = format!("step {number}, {:?}: {}", steps[number].op, answer.status);
                return Err(Failure::Expectation { place: Location::caller(), reason });
            }
        }
        Ok(answers.map(|answer| answer.value))
    }

    /// Does one step and returns the framework's status.
    pub(crate) fn status(&self, step: Step) -> Result<NTSTATUS, NTSTATUS> {
        let [answer] = self.run([step])?;
        Ok(answer.status)
    }

    /// Does one step that has to succeed, and returns what it gave besides.
    #[track_caller]
    pub(crate) fn value(&self, step: Step) -> Result<u64, Failure> {
        let [value] = self.ok([step])?;
        Ok(value)
    }

    /// Waits until an event has happened to a slot, or to a queue, so many times.
    #[track_caller]
    pub(crate) fn wait(&self, event: Event, slot: u32, count: u32) -> TestResult {
        let [answer] = self.run([wait(event, slot, count, DEADLINE)])?;
        let reason = format!("{event:?} of slot or queue {slot}: came {} times, expected {count}", answer.value);
        if answer.status == NTSTATUS::SUCCESS {
            return Ok(());
        }
        Err(Failure::Expectation { place: Location::caller(), reason })
    }

    /// How often an event has happened to a slot, or to a queue.
    pub(crate) fn count(&self, event: Event, slot: u32) -> Result<u64, NTSTATUS> {
        let [answer] = self.run([look(event, slot, 0)])?;
        Ok(answer.value)
    }

    /// Whether a request was presented in a slot, so that there is a handle in it.
    fn has_seen(&self, slot: u32) -> bool {
        self.count(Event::Presented, slot).is_ok_and(|count| count > 0)
    }

    /// When an event happened the last time, in the order of all events. It has to have happened.
    #[track_caller]
    pub(crate) fn when(&self, event: Event, slot: u32) -> Result<u64, Failure> {
        let time = self.value(when(event, slot))?;
        check("the event has happened", time > 0)?;
        Ok(time)
    }

    /// What a queue holds.
    #[track_caller]
    pub(crate) fn load(&self, queue: u32) -> Result<Load, Failure> {
        let value = self.value(queue_state(queue))?;
        Ok(Load { queued: value >> 32 & 0xffff, presented: value >> 48 })
    }

    /// Sends a request that the probe holds in a slot, and waits until it is there.
    #[track_caller]
    pub(crate) fn subject(&self, slot: u32) -> Result<Subject<'_>, Failure> {
        self.subject_through(&self.subjects, slot)
    }

    /// As [`Probe::subject`], to a device of the probe that was opened apart.
    #[track_caller]
    pub(crate) fn subject_through<'a>(&'a self, file: &'a File, slot: u32) -> Result<Subject<'a>, Failure> {
        let subject = self.submit_through(file, slot)?;
        self.wait(Event::Presented, slot, 1)?;
        Ok(subject)
    }

    /// As [`Probe::subject_through`], without waiting until it is presented.
    pub(crate) fn submit_through<'a>(&'a self, file: &'a File, slot: u32) -> Result<Subject<'a>, NTSTATUS> {
        let input = probe::Subject { slot, reserved: 0 };
        let pending = file.control_later(SUBJECT, input.as_bytes().to_vec(), 0)?;
        Ok(Subject { probe: self, slot, pending, ended: false })
    }

    /// Has the probe make a request in [`OWN`] and send it to itself, with a completion routine, and waits until it is held in [`SEEN`].
    #[track_caller]
    pub(crate) fn send(&self) -> Result<Sent<'_>, Failure> {
        let sent = self.send_as([set_completion(OWN), send(OWN)])?;
        self.wait(Event::Presented, SEEN, 1)?;
        Ok(sent)
    }

    /// As [`Probe::send`], with slots of the test's choice.
    #[track_caller]
    pub(crate) fn send_from(&self, own: u32, seen: u32) -> Result<Sent<'_>, Failure> {
        self.ok([create(own), format_subject(own, seen)])?;
        let sent = Sent { probe: self, own, seen, sends: 1, finished: false };
        let [.., sending] = self.ok([set_completion(own), send(own)])?;
        check_equal("what WdfRequestSend returned", &sending, &TRUE)?;
        self.wait(Event::Presented, seen, 1)?;
        Ok(sent)
    }

    /// Has the probe make a request in [`OWN`], formatted for [`SEEN`], which the test will have it send.
    #[track_caller]
    pub(crate) fn make(&self) -> Result<Sent<'_>, Failure> {
        self.ok([create(OWN), format_subject(OWN, SEEN)])?;
        Ok(Sent { probe: self, own: OWN, seen: SEEN, sends: 1, finished: false })
    }

    /// As [`Probe::make`], and has the probe send it by the given steps, the last of which has to return TRUE.
    #[track_caller]
    pub(crate) fn send_as<const N: usize>(&self, steps: [Step; N]) -> Result<Sent<'_>, Failure> {
        let sent = self.make()?;
        let values = self.ok(steps)?;
        check_equal("what WdfRequestSend returned", &values[N - 1], &TRUE)?;
        Ok(sent)
    }
}

fn run_through<const N: usize>(file: &File, code: u32, steps: [Step; N]) -> Result<[Answer; N], NTSTATUS> {
    let mut outcomes = [Outcome::new_zeroed(); N];
    let length = file.control(code, steps.as_bytes(), outcomes.as_mut_bytes())?;
    if length != size_of_val(&outcomes) {
        return Err(NTSTATUS::INFO_LENGTH_MISMATCH);
    }
    Ok(outcomes.map(|outcome| Answer { status: NTSTATUS(outcome.status), value: outcome.value }))
}

/// A request of the test's that the probe holds.
pub(crate) struct Subject<'a> {
    probe: &'a Probe,
    slot: u32,
    pending: Pending<'a>,
    ended: bool,
}

impl Subject<'_> {
    /// Asks the system to cancel it.
    pub(crate) fn cancel(&self) -> Result<(), NTSTATUS> {
        self.pending.cancel()
    }

    /// Waits for its end, and returns the status it ended with.
    #[track_caller]
    pub(crate) fn end(&mut self) -> Result<NTSTATUS, Failure> {
        let status = self.wait(DEADLINE);
        check("the request ends", self.ended)?;
        Ok(status)
    }

    /// Whether it is still on its way.
    pub(crate) fn is_pending(&mut self) -> bool {
        if !self.ended {
            let _ = self.wait(Duration::ZERO);
        }
        !self.ended
    }

    /// Has the probe complete it, and checks that it ends so.
    #[track_caller]
    pub(crate) fn complete(self, status: NTSTATUS) -> TestResult {
        let slot = self.slot;
        self.complete_by(slot, status)
    }

    /// As [`Subject::complete`], by the handle in another slot.
    #[track_caller]
    pub(crate) fn complete_by(mut self, slot: u32, status: NTSTATUS) -> TestResult {
        self.probe.ok([complete(slot, status), forget(slot), forget(self.slot)])?;
        check_equal("the status that the request ended with", &self.end()?, &status)
    }

    fn wait(&mut self, patience: Duration) -> NTSTATUS {
        let result = self.pending.wait(patience);
        let status = result.err().unwrap_or(NTSTATUS::SUCCESS);
        self.ended = status != NTSTATUS::TIMEOUT;
        status
    }
}

impl Drop for Subject<'_> {
    /// What is in a queue or cancelable ends by being cancelled. What then still has not ended is the probe's to complete, by a handle
    /// that is good because it has not ended.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let _ = self.cancel();
        if self.wait(FAREWELL) == NTSTATUS::TIMEOUT && self.probe.has_seen(self.slot) {
            let _ = self.probe.run([complete(self.slot, NTSTATUS::CANCELLED), forget(self.slot)]);
        }
    }
}

/// A request that the probe has made in [`OWN`] and sent to itself, where it is held in [`SEEN`]; or in and from other slots.
pub(crate) struct Sent<'a> {
    probe: &'a Probe,
    own: u32,
    seen: u32,
    sends: u32,
    finished: bool,
}

impl Sent<'_> {
    /// Has the probe complete it where it arrived, and waits for the completion routine.
    #[track_caller]
    pub(crate) fn complete(&self, status: NTSTATUS) -> TestResult {
        self.probe.ok([complete(self.seen, status), forget(self.seen)])?;
        self.returned(status)
    }

    /// Waits for the completion routine, and checks the status that the request came back with.
    #[track_caller]
    pub(crate) fn returned(&self, status: NTSTATUS) -> TestResult {
        self.probe.wait(Event::Completed, self.own, self.sends)?;
        check_equal("the status that the request came back with", &self.probe.status(get_status(self.own))?, &status)
    }

    /// The probe sends it once more.
    pub(crate) fn count_send(&mut self) {
        self.sends += 1;
    }

    /// Deletes it. It must have come back.
    #[track_caller]
    pub(crate) fn finish(mut self) -> TestResult {
        self.finished = true;
        self.probe.ok([delete(self.own), forget(self.own)]).map(drop)
    }

    /// Leaves it to a test that deletes it in its own way.
    pub(crate) fn leave(mut self) {
        self.finished = true;
    }
}

impl Drop for Sent<'_> {
    /// As for a [`Subject`]: first a cancel, then what the cancel left.
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let patient = wait(Event::Completed, self.own, self.sends, FAREWELL);
        let Ok([_, came_back]) = self.probe.run([cancel_sent(self.own), look(Event::Completed, self.own, self.sends)]) else {
            return;
        };
        let is_out = came_back.status == NTSTATUS::TIMEOUT && self.probe.status(patient) == Ok(NTSTATUS::TIMEOUT);
        if is_out && self.probe.has_seen(self.seen) {
            let _ = self.probe.run([complete(self.seen, NTSTATUS::CANCELLED), forget(self.seen)]);
        }
        let _ = self.probe.run([delete(self.own), forget(self.own)]);
    }
}
