//! Who runs: the dispatcher lock, ready threads, and the switch from one to the next.
//!
//! One lock guards all scheduling state: ready queues, timers, and the wait lists of every dispatcher object. It is taken at
//! `DISPATCH_LEVEL` and stays held across a thread switch: the thread that is switched to releases it. So no other processor can
//! choose a thread before its context is saved, and every thread sees a lock that it took and that it releases.
//!
//! Interrupt routines never take it; they queue a DPC. What drivers call is in the other files of this folder.

pub mod apc;
pub(crate) mod asleep;
pub(crate) mod clock;
pub mod critical_region;
pub mod device_queue;
pub mod dpc;
pub mod event;
pub mod ex_timer;
pub mod fast_mutex;
pub mod ipi;
pub mod irql;
pub mod mutex;
pub mod push_lock;
pub mod queue;
mod ready;
pub mod resource;
pub mod run_once;
pub mod rundown;
pub mod semaphore;
pub mod spin_lock;
#[cfg(test)]
mod tests;
pub mod thread;
pub mod timer;
pub mod wait;

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::hal;
use crate::hal::{APC_LEVEL, DISPATCH_LEVEL, Irql};
use crate::processors::{self, Processor};
use ready::ReadyQueues;
use thread::{State as ThreadState, Thread, ThreadList};
use timer::TimerList;

/// What the dispatcher lock guards, besides the objects themselves.
pub(crate) struct Dispatcher {
    ready: ReadyQueues,
    pub(crate) timers: TimerList,
    /// Threads that have ended and whose stacks wait to be freed.
    pub(crate) ended: ThreadList,
}

struct Shared(UnsafeCell<Dispatcher>);

// SAFETY: only reached through `Held`, of which one at a time is in control.
unsafe impl Sync for Shared {}

static DISPATCHER: Shared =
    Shared(UnsafeCell::new(Dispatcher { ready: ReadyQueues::new(), timers: TimerList::new(), ended: ThreadList::new() }));
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The dispatcher lock, held by the running thread. Dropping it lets a better thread run first, if one has become ready.
pub(crate) struct Held {
    irql: Irql,
    /// Belongs to one thread.
    _thread: PhantomData<*mut ()>,
}

impl Held {
    /// Raises to `DISPATCH_LEVEL` and takes the lock.
    pub(crate) fn take() -> Self {
        let hal = hal();
        let irql = hal.irql();
        if irql > DISPATCH_LEVEL {
            irql::too_high(irql);
        }
        hal.set_irql(DISPATCH_LEVEL);
        while TAKEN.swap(true, Ordering::Acquire) {
            while TAKEN.load(Ordering::Relaxed) {
                hal.relax();
            }
        }
        Self { irql, _thread: PhantomData }
    }

    /// The lock as a new thread finds it: taken by whoever switched to it. Dropping it goes to `irql`.
    ///
    /// # Safety
    /// Called once, first thing in a new thread.
    unsafe fn inherited(irql: Irql) -> Self {
        Self { irql, _thread: PhantomData }
    }

    /// The IRQL before the lock was taken.
    pub(crate) fn irql(&self) -> Irql {
        self.irql
    }

    /// What the lock guards.
    pub(crate) fn dispatcher(&mut self) -> &mut Dispatcher {
        // SAFETY: this thread holds the lock, and self is borrowed exclusively.
        unsafe { &mut *DISPATCHER.0.get() }
    }

    /// Makes a thread ready, and sees to it that the processor that should run it looks.
    pub(crate) fn make_ready(&mut self, thread: *mut Thread) {
        // SAFETY: a thread that is made ready is alive, and the lock is held.
        let (priority, affinity, last) = unsafe {
            (*thread).state = ThreadState::Ready;
            ((*thread).priority, (*thread).affinity, (*thread).processor)
        };
        self.dispatcher().ready.push_back(thread);
        if let Some(processor) = choose_processor(priority, affinity, last) {
            self.kick(processor);
        }
    }

    fn kick(&mut self, processor: &Processor) {
        if !processor.reschedule.swap(true, Ordering::Relaxed) && processor.number() != hal().current_processor() {
            hal().request_software_interrupt(processor.number(), DISPATCH_LEVEL);
        }
    }

    /// Runs the best ready thread if it is better than the current one, which stays ready. `expired`: the current thread has used
    /// its quantum, so that one of its own priority is better too.
    pub(crate) fn preempt(&mut self, expired: bool) {
        let processor = processors::current();
        processor.reschedule.store(false, Ordering::Relaxed);
        let current = processor.current.load(Ordering::Relaxed);
        let idle = processor.is_idle();
        // SAFETY: the running thread is alive.
        let priority = if idle { -1 } else { i32::from(unsafe { (*current).priority }) };
        let above = if expired { priority - 1 } else { priority };
        let Some(next) = self.dispatcher().ready.take_best(processor.number(), above) else { return };
        if !idle {
            // SAFETY: as above.
            unsafe { (*current).state = ThreadState::Ready };
            match expired {
                true => self.dispatcher().ready.push_back(current),
                false => self.dispatcher().ready.push_front(current),
            }
        }
        self.switch_to(next);
    }

    /// Gives the processor away. The current thread's state says why; it returns when another made it ready.
    pub(crate) fn switch_away(&mut self) {
        let processor = processors::current();
        processor.reschedule.store(false, Ordering::Relaxed);
        let next = self.dispatcher().ready.take_best(processor.number(), -1);
        self.switch_to(next.unwrap_or(processor.idle.load(Ordering::Relaxed)));
    }

    fn switch_to(&mut self, next: *mut Thread) {
        let processor = processors::current();
        let current = processor.current.swap(next, Ordering::Relaxed);
        let mut region = hal().control_region();
        // SAFETY: the region is this processor's, and at DISPATCH_LEVEL the processor stays the same. `next` is ready, so that it
        // runs nowhere; the lock is held until it runs, so that `current` is not chosen before it is saved.
        unsafe {
            (*next).state = ThreadState::Running;
            (*next).processor = processor.number();
            region.as_mut().current_thread = next.cast();
            if !processor.is_idle() {
                clock::processor_is_busy(processor);
            }
            hal().switch(&raw mut (*current).context, &raw const (*next).context);
        }
        after_switch(current);
    }
}

/// What a thread does first when it runs again.
fn after_switch(thread: *mut Thread) {
    // SAFETY: the thread runs, so it is alive; the lock is held.
    if unsafe { (*thread).apcs.has_kernel_apc() } {
        hal().request_software_interrupt(hal().current_processor(), APC_LEVEL);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        while processors::current().reschedule.load(Ordering::Relaxed) {
            if self.irql < DISPATCH_LEVEL {
                self.preempt(false);
                continue;
            }
            let processor = processors::current();
            if !processor.in_dispatch_interrupt.load(Ordering::Relaxed) {
                hal().request_software_interrupt(processor.number(), DISPATCH_LEVEL);
            }
            break;
        }
        TAKEN.store(false, Ordering::Release);
        if self.irql < DISPATCH_LEVEL {
            hal().set_irql(self.irql);
        }
    }
}

/// The processor on which a thread that has become ready should run now, if its priority is worth it: one that is idle, best this
/// one or the one it ran on last, else the one with the least important thread.
fn choose_processor(priority: i8, affinity: u64, last: u32) -> Option<&'static Processor> {
    let allowed = |processor: &&Processor| affinity >> processor.number() & 1 != 0;
    let free = |processor: &&Processor| processor.is_idle() && !processor.reschedule.load(Ordering::Relaxed);
    let here = processors::current();
    if let Some(processor) = Some(here).filter(allowed).filter(free) {
        return Some(processor);
    }
    if let Some(processor) = processors::by_number(last).filter(allowed).filter(free) {
        return Some(processor);
    }
    if let Some(processor) = processors::all().filter(allowed).find(free) {
        return Some(processor);
    }
    let running = |processor: &&Processor| {
        // SAFETY: the lock is held, so that a running thread stays one.
        if processor.is_idle() { -1 } else { unsafe { (*processor.current.load(Ordering::Relaxed)).priority } }
    };
    processors::all().filter(allowed).min_by_key(running).filter(|processor| running(processor) < priority)
}

/// The software interrupt at `DISPATCH_LEVEL`: deferred procedure calls, timers, then a better thread.
pub(crate) fn dispatch_interrupt() {
    let processor = processors::current();
    processor.clock.answered();
    loop {
        processor.in_dispatch_interrupt.store(true, Ordering::Relaxed);
        dpc::retire(processor);
        if processor.clock.take_timers_due() {
            timer::expire();
        }
        processor.in_dispatch_interrupt.store(false, Ordering::Relaxed);
        // Looked at after the store: what an interrupt routine queued before it has asked for no interrupt.
        if !processor.dpcs.has_work() {
            break;
        }
    }
    let expired = processor.clock.take_quantum_end();
    if expired || processor.reschedule.load(Ordering::Relaxed) {
        let mut held = Held::take();
        if expired {
            thread::quantum_has_ended(&mut held);
        }
        held.preempt(expired);
    }
}

/// Lets another ready thread of the same priority run. Whether there was one.
pub(crate) fn yield_now() -> bool {
    let mut held = Held::take();
    let before = held.dispatcher().ready.len();
    held.preempt(true);
    before != 0
}

/// Makes this processor's stack the stack of its idle thread, and joins. Called at `HIGH_LEVEL`.
pub(crate) fn start_processor() {
    let idle = thread::create_idle_thread();
    processors::join(idle);
    crate::kd::join();
}

/// What an idle thread does for ever: waits for interrupts, which bring the work.
pub(crate) fn idle() -> ! {
    let hal = hal();
    hal.set_irql(hal::PASSIVE_LEVEL);
    loop {
        let enabled = hal.disable_interrupts();
        if processors::current().reschedule.load(Ordering::Relaxed) || processors::current().dpcs.has_work() {
            hal.restore_interrupts(enabled);
            hal.request_software_interrupt(hal.current_processor(), DISPATCH_LEVEL);
        } else {
            hal.wait_for_interrupt();
        }
    }
}
