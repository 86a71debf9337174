//! Something to be run by a system worker thread at PASSIVE_LEVEL, over and over: what work items, passive-level timers and interrupts
//! share. It is queued at most once, may be queued again while it runs, and can be waited for.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};

use wdf_sys::wdm::WORK_QUEUE_ITEM;
use wdf_sys::wdm::constants::{DELAYED_WORK_QUEUE, NOTIFICATION_EVENT};
use wdf_sys::wdm::functions::ExQueueWorkItem;

use crate::lock::current_thread;
use crate::sync::{Event, SpinLock};

#[derive(Default)]
struct State {
    queued: bool,
    running: u32,
}

/// A repeatable run at PASSIVE_LEVEL.
pub(crate) struct Deferral {
    item: UnsafeCell<WORK_QUEUE_ITEM>,
    state: SpinLock<State>,
    idle: Event,
    /// Thread of the run that goes on, 0 for none.
    thread: AtomicUsize,
}

// SAFETY: the item is the kernel's while `queued` is set, and is written only by whoever sets it.
unsafe impl Sync for Deferral {}
// SAFETY: it moves only before it is initialised.
unsafe impl Send for Deferral {}

impl Deferral {
    pub(crate) const fn uninitialized() -> Self {
        Self {
            item: UnsafeCell::new(WORK_QUEUE_ITEM::zeroed()),
            state: SpinLock::new(State { queued: false, running: 0 }),
            idle: Event::uninitialized(),
            thread: AtomicUsize::new(0),
        }
    }

    /// Makes it usable, where it stays.
    pub(crate) fn initialize(&self) {
        self.idle.initialize(NOTIFICATION_EVENT, true);
    }

    /// Has a worker call `routine(context)`. `false` when that is to happen already. Up to DISPATCH_LEVEL.
    ///
    /// # Safety
    /// `routine` brackets what it does with [`Deferral::begin`] and [`Deferral::end`] on this deferral; `context` and the deferral
    /// live until [`Deferral::wait`] has returned after the last call.
    pub(crate) unsafe fn queue(&self, routine: unsafe extern "win64" fn(*mut c_void), context: *mut c_void) -> bool {
        {
            let mut state = self.state.lock();
            if state.queued {
                return false;
            }
            state.queued = true;
            self.idle.clear();
        }
        // SAFETY: this call alone set `queued`, so the item is free: the kernel lets go of an item before its routine runs.
        unsafe {
            let item = self.item.get();
            (*item).WorkerRoutine = Some(routine);
            (*item).Parameter = context;
            ExQueueWorkItem(item, DELAYED_WORK_QUEUE);
        }
        true
    }

    /// First thing in the routine.
    pub(crate) fn begin(&self) {
        let mut state = self.state.lock();
        state.queued = false;
        state.running += 1;
        self.thread.store(current_thread(), Ordering::Relaxed);
    }

    /// Last thing in the routine.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        state.running -= 1;
        if state.running == 0 {
            self.thread.store(0, Ordering::Relaxed);
            if !state.queued {
                // Under the lock, so that whoever waits cannot free the event before it has been set.
                self.idle.set();
            }
        }
    }

    /// Whether the current thread is inside the routine.
    pub(crate) fn is_current_thread(&self) -> bool {
        self.thread.load(Ordering::Relaxed) == current_thread()
    }

    /// Waits until it is neither queued nor running. PASSIVE_LEVEL, and not from inside the routine.
    pub(crate) fn wait(&self) {
        self.idle.wait();
        // The one that set the event may still hold the lock.
        drop(self.state.lock());
    }
}
