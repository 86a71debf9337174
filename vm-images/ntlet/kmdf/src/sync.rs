//! Locks over the kernel's own: a spin lock and a passive-level lock that guard a value. These are the framework's inner locks; the
//! locks that drivers create are in [`crate::lock`], those around callbacks in [`crate::lock::CallbackLock`].

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::ptr::null_mut;

use wdf_sys::FALSE;
use wdf_sys::wdm::KEVENT;
use wdf_sys::wdm::constants::{EXECUTIVE, KERNEL_MODE, SYNCHRONIZATION_EVENT};
use wdf_sys::wdm::functions::{
    KeAcquireSpinLockAtDpcLevel, KeAcquireSpinLockRaiseToDpc, KeGetCurrentIrql, KeInitializeEvent, KeLowerIrql,
    KeReleaseSpinLock, KeReleaseSpinLockFromDpcLevel, KeSetEvent, KeWaitForSingleObject, KfRaiseIrql,
};

/// `PASSIVE_LEVEL`.
pub(crate) const PASSIVE_LEVEL: u8 = 0;
/// `APC_LEVEL`.
pub(crate) const APC_LEVEL: u8 = 1;
/// `DISPATCH_LEVEL`.
pub(crate) const DISPATCH_LEVEL: u8 = 2;
/// `HIGH_LEVEL`.
const HIGH_LEVEL: u8 = 15;

/// The current IRQL.
#[inline]
pub(crate) fn irql() -> u8 {
    // SAFETY: reads a processor register.
    unsafe { KeGetCurrentIrql() }
}

/// A value behind a spin lock: its holder runs at DISPATCH_LEVEL. For use at or below DISPATCH_LEVEL.
pub(crate) struct SpinLock<T> {
    word: UnsafeCell<usize>,
    value: UnsafeCell<T>,
}

// SAFETY: the lock hands the value to one holder at a time.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        // A kernel spin lock that nobody holds is zero; this is what KeInitializeSpinLock writes.
        Self { word: UnsafeCell::new(0), value: UnsafeCell::new(value) }
    }

    /// Spins until the lock is held.
    pub(crate) fn lock(&self) -> SpinGuard<'_, T> {
        // SAFETY: the word is a spin lock that lives as long as `self`.
        let irql = unsafe { KeAcquireSpinLockRaiseToDpc(self.word.get()) };
        SpinGuard { lock: self, irql }
    }

    /// The value, through the only reference there is.
    #[allow(dead_code, reason = "part of the lock's interface")]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

/// Holds a [`SpinLock`] until dropped.
pub(crate) struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
    irql: u8,
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard is the only holder.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard is the only holder.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: acquired by `lock`, at the IRQL it returned.
        unsafe { KeReleaseSpinLock(self.lock.word.get(), self.irql) };
    }
}

/// A value that may be copied at any IRQL, in an ISR too: nothing interrupts the processor whose turn it is.
pub(crate) struct AnyIrqlCell<T> {
    word: UnsafeCell<usize>,
    value: UnsafeCell<T>,
}

// SAFETY: the lock hands the value to one holder at a time.
unsafe impl<T: Send> Sync for AnyIrqlCell<T> {}

impl<T: Copy> AnyIrqlCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { word: UnsafeCell::new(0), value: UnsafeCell::new(value) }
    }

    pub(crate) fn get(&self) -> T {
        // SAFETY: the lock is held.
        self.locked(|value| unsafe { value.read() })
    }

    pub(crate) fn set(&self, value: T) {
        // SAFETY: the lock is held.
        self.locked(|place| unsafe { place.write(value) });
    }

    fn locked<R>(&self, use_it: impl FnOnce(*mut T) -> R) -> R {
        // SAFETY: the word is a spin lock that lives as long as `self`; it is held at HIGH_LEVEL only, for the time of a copy.
        unsafe {
            let irql = KfRaiseIrql(HIGH_LEVEL);
            KeAcquireSpinLockAtDpcLevel(self.word.get());
            let result = use_it(self.value.get());
            KeReleaseSpinLockFromDpcLevel(self.word.get());
            KeLowerIrql(irql);
            result
        }
    }
}

/// A kernel event that stays where it is: the waiting half of everything that blocks in the framework.
pub(crate) struct Event(UnsafeCell<KEVENT>);

// SAFETY: the kernel synchronises access to its own dispatcher objects.
unsafe impl Sync for Event {}
// SAFETY: as above; an event moves only before it is initialised.
unsafe impl Send for Event {}

impl Event {
    /// Storage for an event; [`Event::initialize`] must be called where it is to stay.
    pub(crate) const fn uninitialized() -> Self {
        Self(UnsafeCell::new(KEVENT::zeroed()))
    }

    /// Makes it an event of `kind` (`NOTIFICATION_EVENT`, `SYNCHRONIZATION_EVENT`), at the place where it stays.
    pub(crate) fn initialize(&self, kind: i32, signalled: bool) {
        // SAFETY: the storage belongs to `self`, which the caller has put where it stays, and nobody waits yet.
        unsafe { KeInitializeEvent(self.0.get(), kind, signalled.into()) };
    }

    /// Signals. Any IRQL up to DISPATCH_LEVEL.
    pub(crate) fn set(&self) {
        // SAFETY: an initialised event.
        unsafe { KeSetEvent(self.0.get(), 0, FALSE) };
    }

    /// Takes the signal back.
    pub(crate) fn clear(&self) {
        // SAFETY: an initialised event.
        unsafe { wdf_sys::wdm::functions::KeClearEvent(self.0.get()) };
    }

    /// Waits without end. Below DISPATCH_LEVEL.
    pub(crate) fn wait(&self) {
        // SAFETY: an initialised event; kernel mode and not alertable, so only the event ends the wait.
        let _ = unsafe { KeWaitForSingleObject(self.0.get().cast(), EXECUTIVE, KERNEL_MODE, FALSE, null_mut()) };
    }

    /// Waits for at most `milliseconds`; whether the event was signalled.
    pub(crate) fn wait_for(&self, milliseconds: u32) -> bool {
        self.wait_until(-10_000 * i64::from(milliseconds))
    }

    /// Waits until `timeout`, in the kernel's form (negative is relative, in 100 ns); whether the event was signalled.
    pub(crate) fn wait_until(&self, mut timeout: i64) -> bool {
        // SAFETY: as in `wait`; the time-out lives through the call.
        let status = unsafe { KeWaitForSingleObject(self.0.get().cast(), EXECUTIVE, KERNEL_MODE, FALSE, &mut timeout) };
        status == wdf_sys::NTSTATUS::SUCCESS
    }

    /// The kernel's object.
    pub(crate) fn as_ptr(&self) -> *mut KEVENT {
        self.0.get()
    }
}

/// Waits for `milliseconds`. PASSIVE_LEVEL.
pub(crate) fn sleep(milliseconds: u32) {
    let mut interval = -10_000 * i64::from(milliseconds);
    // SAFETY: the interval lives through the call.
    let _ = unsafe { wdf_sys::wdm::functions::KeDelayExecutionThread(KERNEL_MODE, FALSE, &mut interval) };
}

/// A value behind a lock that is waited for; its holder runs at PASSIVE_LEVEL, and may call drivers. Must be initialised in place.
pub(crate) struct PassiveLock<T> {
    event: Event,
    value: UnsafeCell<T>,
}

// SAFETY: the event hands the value to one holder at a time.
unsafe impl<T: Send> Sync for PassiveLock<T> {}

#[allow(dead_code, reason = "used by the halves of the crate in turn")]
impl<T> PassiveLock<T> {
    pub(crate) const fn uninitialized(value: T) -> Self {
        Self { event: Event::uninitialized(), value: UnsafeCell::new(value) }
    }

    /// Makes the lock usable, at the place where it stays.
    pub(crate) fn initialize(&self) {
        self.event.initialize(SYNCHRONIZATION_EVENT, true);
    }

    /// Waits until the lock is held. Below DISPATCH_LEVEL.
    pub(crate) fn lock(&self) -> PassiveGuard<'_, T> {
        self.event.wait();
        PassiveGuard { lock: self }
    }
}

/// Holds a [`PassiveLock`] until dropped.
pub(crate) struct PassiveGuard<'a, T> {
    lock: &'a PassiveLock<T>,
}

impl<T> Deref for PassiveGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard is the only holder.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for PassiveGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard is the only holder.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for PassiveGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.event.set();
    }
}
