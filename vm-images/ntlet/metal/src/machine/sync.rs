//! Values that are set once at boot, and locks that work at any IRQL.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

use super::{cpu, interrupts, shoot_down};

/// A value that boot sets once, before anything needs it.
pub(crate) struct Once<T> {
    set: AtomicBool,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is written before `set` becomes true and only shared references are given out after.
unsafe impl<T: Sync + Send> Sync for Once<T> {}

impl<T> Once<T> {
    pub(crate) const fn new() -> Self {
        Once { set: AtomicBool::new(false), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Sets the value. Boot calls it, on the first processor, once.
    pub(crate) fn set(&self, value: T) {
        assert!(!self.set.load(Ordering::Relaxed), "a boot value is set once");
        // SAFETY: not set yet, so no reference exists; only the first processor runs this early.
        unsafe { (*self.value.get()).write(value) };
        self.set.store(true, Ordering::Release);
    }

    /// The value, if boot has come that far.
    pub(crate) fn try_get(&self) -> Option<&T> {
        // SAFETY: `set` is true, so the value is written and does not change again.
        self.set.load(Ordering::Acquire).then(|| unsafe { (*self.value.get()).assume_init_ref() })
    }

    /// The value.
    #[track_caller]
    pub(crate) fn get(&self) -> &T {
        self.try_get().expect("boot sets this before its first use")
    }
}

/// A spin lock that masks interrupts while it is held, so that it can be taken at any IRQL.
pub(crate) struct Lock<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives one processor at a time access to the value.
unsafe impl<T: Send> Sync for Lock<T> {}

/// Access to what a [`Lock`] guards.
pub(crate) struct Guard<'a, T> {
    lock: &'a Lock<T>,
    interrupts: bool,
}

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Lock { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Waits for the lock. Answers shoot-downs meanwhile: whoever holds the lock may be waiting for this processor's answer.
    /// Once all others are frozen the lock is this processor's: whoever holds it does not come back, and a report must end.
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        let enabled = cpu::interrupts_enabled();
        cpu::disable_interrupts();
        while self.taken.swap(true, Ordering::Acquire) && !interrupts::is_freezer() {
            while self.taken.load(Ordering::Relaxed) && !interrupts::is_freezer() {
                shoot_down::answer();
                core::hint::spin_loop();
            }
        }
        Guard { lock: self, interrupts: enabled }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this guard holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard holds the lock, and is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.lock.taken.store(false, Ordering::Release);
        if self.interrupts {
            // SAFETY: they were enabled when the lock was taken; with the lock released nothing of ours is held.
            unsafe { cpu::enable_interrupts() };
        }
    }
}
