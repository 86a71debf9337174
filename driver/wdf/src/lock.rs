//! Locks around the data they protect.

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::time::Duration;

use wdf_sys::wdf::functions::*;
use wdf_sys::{WDFSPINLOCK, WDFWAITLOCK};

use crate::irql::Passive;
use crate::{NTSTATUS, Result};

/// A framework spin lock and what it protects. Holding it raises the IRQL to DISPATCH_LEVEL: nothing that waits may be called.
pub struct SpinLock<T> {
    handle: WDFSPINLOCK,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives the value to one holder at a time, on any thread.
unsafe impl<T: Send> Sync for SpinLock<T> {}
// SAFETY: the handle is good on any thread.
unsafe impl<T: Send> Send for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// A lock around `value`.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` when there is no memory.
    pub fn new(value: T) -> Result<Self> {
        let mut handle = WDFSPINLOCK::NULL;
        // SAFETY: no attributes: the driver is the parent, and this value deletes the lock before.
        unsafe { WdfSpinLockCreate(core::ptr::null_mut(), &raw mut handle) }.ok()?;
        Ok(Self { handle, value: UnsafeCell::new(value) })
    }

    /// Takes the lock. Taking it twice on one processor is a bug check (`WDF_RECURSIVE_LOCK`).
    pub fn lock(&self) -> SpinGuard<'_, T> {
        // SAFETY: the handle is valid until this value is dropped.
        unsafe { WdfSpinLockAcquire(self.handle) };
        SpinGuard { lock: self, here: PhantomData }
    }
}

impl<T> Drop for SpinLock<T> {
    fn drop(&mut self) {
        // SAFETY: the handle is ours; no guard is alive, since guards borrow the lock.
        unsafe { WdfObjectDelete(self.handle.object()) };
    }
}

/// A held [`SpinLock`].
pub struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
    /// The lock is released on the processor that took it.
    here: PhantomData<*mut ()>,
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock, and is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the guard holds the lock.
        unsafe { WdfSpinLockRelease(self.lock.handle) };
    }
}

/// A framework wait lock and what it protects. Only for code at PASSIVE_LEVEL.
pub struct WaitLock<T> {
    handle: WDFWAITLOCK,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives the value to one holder at a time, on any thread.
unsafe impl<T: Send> Sync for WaitLock<T> {}
// SAFETY: the handle is good on any thread.
unsafe impl<T: Send> Send for WaitLock<T> {}

impl<T> WaitLock<T> {
    /// A lock around `value`.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` when there is no memory.
    pub fn new(value: T) -> Result<Self> {
        let mut handle = WDFWAITLOCK::NULL;
        // SAFETY: no attributes: the driver is the parent, and this value deletes the lock before.
        unsafe { WdfWaitLockCreate(core::ptr::null_mut(), &raw mut handle) }.ok()?;
        Ok(Self { handle, value: UnsafeCell::new(value) })
    }

    /// Waits for the lock, for ever.
    pub fn lock<'a>(&'a self, passive: Passive<'a>) -> WaitGuard<'a, T> {
        passive.check();
        // SAFETY: the handle is valid; at PASSIVE_LEVEL; no time-out, so the call succeeds.
        let _ = unsafe { WdfWaitLockAcquire(self.handle, core::ptr::null_mut()) };
        WaitGuard { lock: self, here: PhantomData }
    }

    /// Waits for the lock, at most `limit`.
    ///
    /// # Errors
    /// `STATUS_TIMEOUT` when it was not free in time.
    pub fn lock_within<'a>(&'a self, limit: Duration, passive: Passive<'a>) -> Result<WaitGuard<'a, T>> {
        passive.check();
        let mut timeout = crate::time::relative(limit);
        // SAFETY: the handle is valid; at PASSIVE_LEVEL.
        let status = unsafe { WdfWaitLockAcquire(self.handle, &raw mut timeout) };
        // STATUS_TIMEOUT is a success code.
        if status == NTSTATUS::SUCCESS { Ok(WaitGuard { lock: self, here: PhantomData }) } else { Err(status) }
    }
}

impl<T> Drop for WaitLock<T> {
    fn drop(&mut self) {
        // SAFETY: the handle is ours; no guard is alive, since guards borrow the lock.
        unsafe { WdfObjectDelete(self.handle.object()) };
    }
}

/// A held [`WaitLock`].
pub struct WaitGuard<'a, T> {
    lock: &'a WaitLock<T>,
    /// The lock is released on the thread that took it.
    here: PhantomData<*mut ()>,
}

impl<T> Deref for WaitGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for WaitGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock, and is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for WaitGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the guard holds the lock.
        unsafe { WdfWaitLockRelease(self.lock.handle) };
    }
}
