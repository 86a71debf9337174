//! Spin locks of the executive itself. Those that drivers own are in [`crate::dispatcher::spin_lock`].
//!
//! [`SpinLock`] raises to `DISPATCH_LEVEL` and is what nearly everything uses. [`InterruptLock`] masks interrupts too, for the few
//! things that interrupt routines touch. Both work before there is a machine, as in host tests of data structures.

use core::cell::UnsafeCell;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

use crate::hal::{DISPATCH_LEVEL, Irql};
use crate::try_hal;

/// The flag behind every lock here.
struct Flag(AtomicBool);

impl Flag {
    const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    fn try_take(&self) -> bool {
        !self.0.swap(true, Ordering::Acquire)
    }

    fn take(&self) {
        while !self.try_take() {
            while self.0.load(Ordering::Relaxed) {
                match try_hal() {
                    Some(hal) => hal.relax(),
                    None => core::hint::spin_loop(),
                }
            }
        }
    }

    fn release(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A value that one processor at a time may use, at `DISPATCH_LEVEL`. Taking it at a higher IRQL leaves the IRQL alone; then all
/// its users must be at that level.
pub struct SpinLock<T: ?Sized> {
    flag: Flag,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives one processor at a time access to the value.
unsafe impl<T: ?Sized + Send> Send for SpinLock<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send> Sync for SpinLock<T> {}

/// Access to what a [`SpinLock`] guards; dropping it releases the lock and puts the IRQL back.
pub struct SpinGuard<'a, T: ?Sized> {
    lock: &'a SpinLock<T>,
    irql: Irql,
}

impl<T> SpinLock<T> {
    /// An open lock around `value`.
    pub const fn new(value: T) -> Self {
        Self { flag: Flag::new(), value: UnsafeCell::new(value) }
    }

    /// The value, when the lock itself is no longer shared.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> SpinLock<T> {
    /// Raises to `DISPATCH_LEVEL` and waits for the lock.
    pub fn lock(&self) -> SpinGuard<'_, T> {
        let irql = raise();
        self.flag.take();
        SpinGuard { lock: self, irql }
    }

    /// Takes the lock unless somebody has it.
    pub fn try_lock(&self) -> Option<SpinGuard<'_, T>> {
        let irql = raise();
        if self.flag.try_take() {
            return Some(SpinGuard { lock: self, irql });
        }
        lower(irql);
        None
    }

    /// The value, when nothing else refers to the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

fn raise() -> Irql {
    let Some(hal) = try_hal() else { return 0 };
    let irql = hal.irql();
    if irql < DISPATCH_LEVEL {
        hal.set_irql(DISPATCH_LEVEL);
    }
    irql
}

fn lower(irql: Irql) {
    if irql < DISPATCH_LEVEL
        && let Some(hal) = try_hal()
    {
        hal.set_irql(irql);
    }
}

impl<T: ?Sized> Deref for SpinGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this guard holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard holds the lock, and is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.flag.release();
        lower(self.irql);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_lock() {
            Some(guard) => f.debug_tuple("SpinLock").field(&&*guard).finish(),
            None => f.write_str("SpinLock(taken)"),
        }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for SpinGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// A value that may be used at any IRQL: interrupts are masked while it is held, so hold it briefly and call nothing.
pub struct InterruptLock<T> {
    flag: Flag,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives one processor at a time access to the value.
unsafe impl<T: Send> Sync for InterruptLock<T> {}

/// Access to what an [`InterruptLock`] guards.
pub struct InterruptGuard<'a, T> {
    lock: &'a InterruptLock<T>,
    interrupts: bool,
}

impl<T> InterruptLock<T> {
    /// An open lock around `value`.
    pub const fn new(value: T) -> Self {
        Self { flag: Flag::new(), value: UnsafeCell::new(value) }
    }

    /// Masks interrupts and waits for the lock.
    pub fn lock(&self) -> InterruptGuard<'_, T> {
        let interrupts = try_hal().is_some_and(|hal| hal.disable_interrupts());
        self.flag.take();
        InterruptGuard { lock: self, interrupts }
    }

    /// Masks interrupts and takes the lock, by force if its holder does not let go: for the report of a bug check, when every
    /// other processor stands still and the holder may be one of them.
    pub fn lock_by_force(&self) -> InterruptGuard<'_, T> {
        let interrupts = try_hal().is_some_and(|hal| hal.disable_interrupts());
        let _ = self.flag.try_take();
        InterruptGuard { lock: self, interrupts }
    }
}

impl<T> Deref for InterruptGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this guard holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for InterruptGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard holds the lock, and is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for InterruptGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.flag.release();
        if let Some(hal) = try_hal() {
            hal.restore_interrupts(self.interrupts);
        }
    }
}

impl<T> fmt::Debug for InterruptLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InterruptLock")
    }
}

impl<T> fmt::Debug for InterruptGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InterruptGuard")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_lock_is_not_taken_again_until_it_is_released() {
        let lock = SpinLock::new(1);
        let guard = lock.lock();
        assert!(lock.try_lock().is_none());
        drop(guard);
        assert_eq!(*lock.try_lock().unwrap(), 1);
    }
}
