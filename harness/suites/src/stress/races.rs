//! Two calls of the framework for one request at the same time.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use protocol::probe::{Event, queue, target};

use super::{MOMENT, ROUNDS};
use crate::bench::{Bench, Failure, TestResult, ensure, ensure_eq};
use crate::contract::probe::{FALSE, Probe, TRUE};
use crate::contract::steps::*;
use crate::nt::{self, Deadline, NTSTATUS, Thread};
use crate::relay::DEADLINE;

/// Longest head start that one of the two gets, in turns of a loop.
const HEAD_START: u64 = 3_000;

/// A second thread, which takes a step of the probe when it is told to.
struct Rival {
    thread: Option<Thread<Result<(), NTSTATUS>>>,
    /// Odd: to be done. Even: done. [`STOP`]: leave.
    turn: Arc<AtomicU32>,
    status: Arc<AtomicU32>,
    head_start: Arc<AtomicU32>,
}

const STOP: u32 = u32::MAX;

impl Rival {
    fn new(step: protocol::probe::Step) -> Result<Self, Failure> {
        let (turn, status, head_start) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let probe = Probe::attach()?;
        let (its_turn, its_status, its_head_start) = (turn.clone(), status.clone(), head_start.clone());
        let thread = Thread::spawn(move || {
            loop {
                match its_turn.load(Ordering::Acquire) {
                    STOP => return Ok(()),
                    turn if turn % 2 == 1 => {
                        spin(its_head_start.load(Ordering::Acquire).into());
                        let came = probe.status(step)?;
                        its_status.store(came.bits(), Ordering::Release);
                        // Unless it is told to leave meanwhile.
                        let _ = its_turn.compare_exchange(turn, turn + 1, Ordering::AcqRel, Ordering::Acquire);
                    }
                    _ => nt::give_way(),
                }
            }
        })?;
        Ok(Self { thread: Some(thread), turn, status, head_start })
    }

    /// Both at once, but for a head start of one of them; returns when both have done it, with the rival's status.
    fn against<T>(&self, bench: &mut Bench, ours: impl FnOnce() -> Result<T, Failure>) -> Result<(T, NTSTATUS), Failure> {
        self.head_start.store((bench.random() % HEAD_START) as u32, Ordering::Release);
        let head_start = bench.random() % HEAD_START;
        let turn = self.turn.fetch_add(1, Ordering::AcqRel) + 2;
        spin(head_start);
        let came = ours()?;
        let deadline = Deadline::after(DEADLINE);
        while self.turn.load(Ordering::Acquire) != turn {
            ensure!(!deadline.has_passed());
            nt::give_way();
        }
        Ok((came, NTSTATUS(self.status.load(Ordering::Acquire).cast_signed())))
    }

    fn leave(mut self) -> TestResult {
        self.turn.store(STOP, Ordering::Release);
        self.thread.take().map_or(Ok(()), |thread| Ok(thread.join(DEADLINE)??))
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        self.turn.store(STOP, Ordering::Release);
    }
}

fn spin(turns: u64) {
    for _ in 0..turns {
        core::hint::spin_loop();
    }
}

pub(super) fn a_cancel_races_with_its_send(bench: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut going = bench.going(MOMENT, ROUNDS / 4);
    probe.ok([create(OWN)])?;
    let rival = Rival::new(cancel_sent(OWN))?;
    let mut completed = 0;
    while going.on() {
        // The other device keeps what it gets; the probe itself completes it at once.
        let is_kept = bench.random().is_multiple_of(2);
        let to = if is_kept { target::OTHER_DEVICE } else { target::PROBE };
        probe.ok([reuse(OWN, NTSTATUS::SUCCESS), use_target(to), format_nothing(OWN), set_completion(OWN)])?;
        let (sent, _) = rival.against(bench, || probe.value(send(OWN)))?;
        if sent == TRUE {
            completed += 1;
            probe.wait(Event::Completed, OWN, completed)?;
        }
        let status = probe.status(get_status(OWN))?;
        ensure!(status == NTSTATUS::CANCELLED || sent != FALSE && !is_kept && status == NTSTATUS::SUCCESS);
        ensure_eq!(probe.count(Event::Completed, OWN)?, u64::from(completed));
    }
    rival.leave()?;
    probe.ok([use_target(target::PROBE), delete(OWN), forget(OWN)]).map(drop)
}

pub(super) fn a_cancel_races_with_a_forward(bench: &mut Bench) -> TestResult {
    let probe = Probe::open()?;
    let mut going = bench.going(MOMENT, ROUNDS / 4);
    let rival = Rival::new(forward(FIRST, queue::PARALLEL))?;
    while going.on() {
        probe.ok([reset()])?;
        let mut subject = probe.subject(FIRST)?;
        let (_, forwarded) = rival.against(bench, || Ok(subject.cancel()?))?;
        ensure_eq!(forwarded, NTSTATUS::SUCCESS);
        let deadline = Deadline::after(DEADLINE);
        let (presented, cancelled) = loop {
            let counts = (probe.count(Event::Presented, FIRST)?, probe.count(Event::CanceledOnQueue, FIRST)?);
            if counts != (1, 0) {
                break counts;
            }
            ensure!(!deadline.has_passed());
        };
        ensure!((presented, cancelled) == (2, 0) || (presented, cancelled) == (1, 1));
        if cancelled == 1 {
            ensure_eq!(subject.end()?, NTSTATUS::CANCELLED);
        } else {
            subject.complete(NTSTATUS::SUCCESS)?;
        }
    }
    rival.leave()
}
