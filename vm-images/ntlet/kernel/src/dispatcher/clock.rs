//! Each processor's clock: when it must interrupt next, quanta, and the watch over processors that never come below
//! `DISPATCH_LEVEL`.
//!
//! A busy processor ticks; an idle one sleeps until a timer that it is in charge of.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wdf_sys::wdm::constants::bug_check;

use super::{asleep, thread};
use crate::bug_check::bug_check;
use crate::hal::DISPATCH_LEVEL;
use crate::processors::{self, Processor};
use crate::{hal, time};

/// Time between two ticks of a busy processor, in units of 100 ns: 15.625 ms, as on Windows.
pub(crate) const TICK: u64 = 156_250;
/// How long a processor may stay at `DISPATCH_LEVEL` or above.
const DISPATCH_LIMIT: u64 = 15 * 10_000_000;
/// How long a busy processor may go without a clock interrupt.
const CLOCK_LIMIT: u64 = 20 * 10_000_000;
const NEVER: u64 = u64::MAX;

/// One processor's clock. Written by its processor; others read `next_tick`.
pub(crate) struct Clock {
    /// What the machine was asked for last.
    armed: AtomicU64,
    /// When the first timer that this processor is in charge of is due.
    timer_deadline: AtomicU64,
    /// The next tick, or never on an idle processor.
    next_tick: AtomicU64,
    timers_due: AtomicBool,
    quantum_end: AtomicBool,
    /// Since when the `DISPATCH_LEVEL` interrupt that a tick asked for has not come; 0 if it has.
    unanswered_since: AtomicU64,
}

impl Clock {
    pub(crate) const fn new() -> Self {
        Self {
            armed: AtomicU64::new(NEVER),
            timer_deadline: AtomicU64::new(NEVER),
            next_tick: AtomicU64::new(NEVER),
            timers_due: AtomicBool::new(false),
            quantum_end: AtomicBool::new(false),
            unanswered_since: AtomicU64::new(0),
        }
    }

    /// The processor shows that it comes to `DISPATCH_LEVEL` work.
    pub(super) fn answered(&self) {
        self.unanswered_since.store(0, Ordering::Relaxed);
    }

    pub(super) fn take_timers_due(&self) -> bool {
        self.timers_due.load(Ordering::Relaxed) && self.timers_due.swap(false, Ordering::Relaxed)
    }

    pub(super) fn take_quantum_end(&self) -> bool {
        self.quantum_end.load(Ordering::Relaxed) && self.quantum_end.swap(false, Ordering::Relaxed)
    }

    /// Puts this processor in charge of timers that are due at `deadline`. Called on it.
    pub(super) fn watch_timers(&self, deadline: u64) {
        self.timer_deadline.store(deadline, Ordering::Relaxed);
        self.arm(deadline);
    }

    /// The system wakes: what was due meanwhile is due now, and nothing is late for having slept. Called on the clock's processor.
    pub(super) fn wake(&self, now: u64) {
        self.armed.store(NEVER, Ordering::Relaxed);
        self.answered();
        if self.next_tick.load(Ordering::Relaxed) != NEVER {
            self.next_tick.store(now + TICK, Ordering::Relaxed);
        }
    }

    /// The system is awake: the clock goes on. Called on the clock's processor.
    pub(super) fn go_on(&self) {
        self.arm(self.next_tick.load(Ordering::Relaxed).min(self.timer_deadline.load(Ordering::Relaxed)));
    }

    /// Asks for an interrupt at `deadline`, unless an earlier one is coming. Called on the clock's processor.
    fn arm(&self, deadline: u64) {
        let interrupts = hal().disable_interrupts();
        if deadline < self.armed.load(Ordering::Relaxed) {
            self.armed.store(deadline, Ordering::Relaxed);
            hal().arm_clock(deadline);
        }
        hal().restore_interrupts(interrupts);
    }
}

/// A thread runs on this processor now, which may have been idle.
pub(super) fn processor_is_busy(processor: &Processor) {
    let clock = &processor.clock;
    if clock.next_tick.load(Ordering::Relaxed) == NEVER {
        let now = hal().uptime();
        clock.next_tick.store(now + TICK, Ordering::Relaxed);
        time::update_shared_page(now);
        clock.arm(now + TICK);
    }
}

/// The clock's interrupt.
pub(crate) fn interrupt() {
    let processor = processors::current();
    let clock = &processor.clock;
    let now = hal().uptime();
    clock.armed.store(NEVER, Ordering::Relaxed);
    if let Some(until) = asleep::until() {
        // Whoever wakes the processor sees to its clock.
        if now < until {
            hal().arm_clock(until);
        }
        return;
    }
    let mut has_work = false;
    if now >= clock.timer_deadline.load(Ordering::Relaxed) {
        clock.timer_deadline.store(NEVER, Ordering::Relaxed);
        clock.timers_due.store(true, Ordering::Relaxed);
        has_work = true;
    }
    if now >= clock.next_tick.load(Ordering::Relaxed) {
        let is_busy = !processor.is_idle() || processor.dpcs.is_running();
        clock.next_tick.store(if is_busy { now + TICK } else { NEVER }, Ordering::Relaxed);
        if is_busy {
            tick(processor, now);
            has_work = true;
        }
    }
    time::update_shared_page(now);
    let next = clock.next_tick.load(Ordering::Relaxed).min(clock.timer_deadline.load(Ordering::Relaxed));
    if next != NEVER {
        clock.arm(next);
    }
    if has_work {
        hal().request_software_interrupt(processor.number(), DISPATCH_LEVEL);
        // Zero means answered; a time of zero does not come again.
        let _ = clock.unanswered_since.compare_exchange(0, now.max(1), Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn tick(processor: &Processor, now: u64) {
    let thread = thread::current();
    if !processor.is_idle() {
        // SAFETY: the thread that this interrupt came to is alive; its quantum is written on its processor only.
        let left = unsafe {
            (*thread).quantum -= 1;
            (*thread).quantum
        };
        if left <= 0 {
            processor.clock.quantum_end.store(true, Ordering::Relaxed);
        }
    }
    let since = processor.clock.unanswered_since.load(Ordering::Relaxed);
    if since != 0 && now.saturating_sub(since) > DISPATCH_LIMIT {
        stuck_at_dispatch_level(processor, now - since);
    }
    for other in processors::all().filter(|other| other.number() != processor.number()) {
        let due = other.clock.next_tick.load(Ordering::Relaxed);
        if due != NEVER && now.saturating_sub(due) > CLOCK_LIMIT {
            let number = u64::from(other.number());
            bug_check(bug_check::CLOCK_WATCHDOG_TIMEOUT, [CLOCK_LIMIT / TICK, 0, 0, number]);
        }
    }
}

/// Parameters as documented: 0, a single DPC took too long, with its time and its limit in ticks; 1, the processor stayed at
/// `DISPATCH_LEVEL` or above, with the limit.
fn stuck_at_dispatch_level(processor: &Processor, time: u64) -> ! {
    let parameters = match processor.dpcs.running_routine() {
        Some(routine) => {
            log!("the DPC routine at {} runs for {} s", crate::loader::modules::place(routine), time / 10_000_000);
            [0, time / TICK, DISPATCH_LIMIT / TICK, 0]
        }
        None => [1, DISPATCH_LIMIT / TICK, 0, 0],
    };
    bug_check(bug_check::DPC_WATCHDOG_VIOLATION, parameters)
}
