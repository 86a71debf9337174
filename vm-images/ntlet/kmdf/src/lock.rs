//! Locks that drivers know of: the lock around the callbacks of a device or queue, and the WDFSPINLOCK and WDFWAITLOCK they create.
//! The framework's inner locks are in [`crate::sync`].

use core::cell::UnsafeCell;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use wdf_sys::wdf::{WDF_OBJECT_ATTRIBUTES, WDF_SYNCHRONIZATION_SCOPE};
use wdf_sys::wdm::constants::SYNCHRONIZATION_EVENT;
use wdf_sys::wdm::functions::{
    KeAcquireSpinLockRaiseToDpc, KeEnterCriticalRegion, KeGetCurrentThread, KeLeaveCriticalRegion, KeReleaseSpinLock,
};
use wdf_sys::{NTSTATUS, WDFSPINLOCK, WDFWAITLOCK};

use crate::call::{Call, ddi};
use crate::device::Device;
use crate::globals::Globals;
use crate::object::attributes::Rules;
use crate::object::{AnyRef, Attributes, Body, Kind, Ref};
use crate::sync::{self, APC_LEVEL, DISPATCH_LEVEL};
use crate::verifier::{self, BugCheck};

/// The running thread; an identity, never dereferenced.
pub(crate) fn current_thread() -> usize {
    // SAFETY: reads the processor's control region.
    unsafe { KeGetCurrentThread() }.addr()
}

/// The lock around the callbacks of a device or a queue: a spin lock where callbacks may run at DISPATCH_LEVEL, an event where they
/// run at PASSIVE_LEVEL. What WdfObjectAcquireLock acquires.
pub(crate) struct CallbackLock {
    passive: AtomicBool,
    word: UnsafeCell<usize>,
    event: sync::Event,
    /// The holder's thread, 0 for none.
    owner: AtomicUsize,
    /// IRQL before the spin lock was taken; the holder's.
    irql: UnsafeCell<u8>,
    /// Callbacks wait for the lock's release: its holder runs them then.
    pub(crate) deferred: AtomicBool,
}

// SAFETY: the cells belong to whoever holds the lock, or to the kernel's spin lock.
unsafe impl Sync for CallbackLock {}
// SAFETY: it moves only before it is initialised.
unsafe impl Send for CallbackLock {}

impl CallbackLock {
    /// Storage; [`CallbackLock::initialize`] makes it a lock where it is to stay.
    pub(crate) const fn uninitialized() -> Self {
        Self {
            passive: AtomicBool::new(false),
            word: UnsafeCell::new(0),
            event: sync::Event::uninitialized(),
            owner: AtomicUsize::new(0),
            irql: UnsafeCell::new(0),
            deferred: AtomicBool::new(false),
        }
    }

    /// Makes it a lock, at the place where it stays.
    pub(crate) fn initialize(&self, passive: bool) {
        self.passive.store(passive, Ordering::Relaxed);
        self.event.initialize(SYNCHRONIZATION_EVENT, true);
    }

    /// Whether the current thread holds it.
    pub(crate) fn is_held_by_me(&self) -> bool {
        self.owner.load(Ordering::Relaxed) == current_thread()
    }

    /// Whether holders run at PASSIVE_LEVEL.
    pub(crate) fn is_passive(&self) -> bool {
        self.passive.load(Ordering::Relaxed)
    }

    /// Takes the lock for `object` (a handle, for reports). Taking it twice is a bug check, since it can never succeed.
    fn take(&self, globals: &Globals, object: usize) {
        if self.is_held_by_me() {
            verifier::bug_check(globals, BugCheck::RecursiveLock(object, core::ptr::from_ref(self).addr()));
        }
        if self.is_passive() {
            // SAFETY: left again in `give_back`, by the same thread.
            unsafe { KeEnterCriticalRegion() };
            self.event.wait();
        } else {
            // SAFETY: the word is a spin lock that stays where it is; the saved IRQL is the holder's.
            unsafe { *self.irql.get() = KeAcquireSpinLockRaiseToDpc(self.word.get()) };
        }
        self.owner.store(current_thread(), Ordering::Relaxed);
    }

    /// Gives the lock back. Releasing a lock that the thread does not hold is a bug check.
    fn give_back(&self, globals: &Globals, object: usize) {
        if !self.is_held_by_me() {
            verifier::bug_check(globals, BugCheck::InvalidLockOperation(object, 1));
        }
        self.owner.store(0, Ordering::Relaxed);
        if self.is_passive() {
            self.event.set();
            // SAFETY: entered in `take`, by this thread.
            unsafe { KeLeaveCriticalRegion() };
        } else {
            // SAFETY: this thread holds the lock, and so the saved IRQL.
            unsafe { KeReleaseSpinLock(self.word.get(), *self.irql.get()) };
        }
    }
}

/// A callback lock together with a reference on the object that it is part of.
pub(crate) struct OwnedLock {
    owner: AnyRef,
    lock: NonNull<CallbackLock>,
}

// SAFETY: the reference keeps the lock, which may be used from anywhere.
unsafe impl Send for OwnedLock {}
// SAFETY: as above.
unsafe impl Sync for OwnedLock {}

impl Deref for OwnedLock {
    type Target = CallbackLock;
    fn deref(&self) -> &CallbackLock {
        // SAFETY: the reference in `owner` keeps the lock.
        unsafe { self.lock.as_ref() }
    }
}

impl OwnedLock {
    /// Takes the lock.
    pub(crate) fn acquire(&self) {
        self.take(self.owner.globals(), self.owner.raw() as usize);
    }

    /// Gives the lock back, then has callbacks run that were put off because it was held.
    pub(crate) fn release(&self) {
        self.give_back(self.owner.globals(), self.owner.raw() as usize);
        if self.deferred.swap(false, Ordering::AcqRel) {
            crate::io::lock_released(&self.owner);
        }
    }

    /// Runs `callback` under the lock.
    pub(crate) fn hold<R>(&self, callback: impl FnOnce() -> R) -> R {
        self.acquire();
        let result = callback();
        self.release();
        result
    }
}

/// The callback lock of a device or queue; `None` for other objects.
pub(crate) fn callback_lock_of(object: AnyRef) -> Option<OwnedLock> {
    let lock = (object.header().body_type.callback_lock)(&object)?;
    Some(OwnedLock { owner: object, lock })
}

/// The lock that serialises a callback of `object` (a timer's, DPC's, work item's parent, or a queue) with its siblings', by the
/// object's synchronization scope: the device's, the queue's, or none.
pub(crate) fn serialization_of(object: &AnyRef) -> Option<OwnedLock> {
    match object.synchronization_scope() {
        WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeDevice => callback_lock_of(object.ancestor::<Device>()?.into_any()),
        WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeQueue => {
            let mut at = object.clone();
            loop {
                if at.kind() == Kind::Queue || at.kind() == Kind::Device {
                    return callback_lock_of(at);
                }
                at = at.parent()?;
            }
        }
        _ => None,
    }
}

/// Runs `callback` under `lock` if there is one.
pub(crate) fn serialized<R>(lock: Option<&OwnedLock>, callback: impl FnOnce() -> R) -> R {
    match lock {
        Some(lock) => lock.hold(callback),
        None => callback(),
    }
}

/// A WDFSPINLOCK.
pub(crate) struct DriverSpinLock {
    word: UnsafeCell<usize>,
    owner: AtomicUsize,
    irql: UnsafeCell<u8>,
}

// SAFETY: the cells belong to the holder, or to the kernel's spin lock.
unsafe impl Sync for DriverSpinLock {}

impl Body for DriverSpinLock {
    type Handle = WDFSPINLOCK;
    const KIND: Kind = Kind::SpinLock;
}

impl DriverSpinLock {
    pub(crate) fn acquire(this: &Ref<Self>, globals: &Globals) {
        let thread = current_thread();
        if this.owner.load(Ordering::Relaxed) == thread {
            verifier::bug_check(globals, BugCheck::RecursiveLock(this.any().raw() as usize, this.word.get().addr()));
        }
        // SAFETY: the word is a spin lock that lives as long as the object.
        unsafe { *this.irql.get() = KeAcquireSpinLockRaiseToDpc(this.word.get()) };
        this.owner.store(thread, Ordering::Relaxed);
    }

    pub(crate) fn release(this: &Ref<Self>, globals: &Globals) {
        if this.owner.load(Ordering::Relaxed) != current_thread() {
            verifier::bug_check(globals, BugCheck::InvalidLockOperation(this.any().raw() as usize, 1));
        }
        this.owner.store(0, Ordering::Relaxed);
        // SAFETY: this thread holds the lock, and so the saved IRQL.
        unsafe { KeReleaseSpinLock(this.word.get(), *this.irql.get()) };
    }

    /// The kernel's spin lock, for an interrupt that shares it.
    pub(crate) fn word(&self) -> *mut usize {
        self.word.get()
    }
}

/// A WDFWAITLOCK.
pub(crate) struct DriverWaitLock {
    event: sync::Event,
    owner: AtomicUsize,
}

impl Body for DriverWaitLock {
    type Handle = WDFWAITLOCK;
    const KIND: Kind = Kind::WaitLock;
}

impl DriverWaitLock {
    /// Takes the lock, waiting as long as `timeout` says (absent: for ever). Whether it was taken.
    pub(crate) fn acquire(this: &Ref<Self>, globals: &Globals, timeout: Option<i64>) -> bool {
        let thread = current_thread();
        if this.owner.load(Ordering::Relaxed) == thread {
            verifier::bug_check(globals, BugCheck::RecursiveLock(this.any().raw() as usize, this.event.as_ptr().addr()));
        }
        // SAFETY: left again in `release`, or below, by this thread.
        unsafe { KeEnterCriticalRegion() };
        let taken = match timeout {
            None => {
                this.event.wait();
                true
            }
            Some(timeout) => this.event.wait_until(timeout),
        };
        if taken {
            this.owner.store(thread, Ordering::Relaxed);
        } else {
            // SAFETY: entered above.
            unsafe { KeLeaveCriticalRegion() };
        }
        taken
    }

    pub(crate) fn release(this: &Ref<Self>, globals: &Globals) {
        if this.owner.load(Ordering::Relaxed) != current_thread() {
            verifier::bug_check(globals, BugCheck::InvalidLockOperation(this.any().raw() as usize, 1));
        }
        this.owner.store(0, Ordering::Relaxed);
        this.event.set();
        // SAFETY: entered in `acquire`, by this thread.
        unsafe { KeLeaveCriticalRegion() };
    }
}

/// Default parent of objects that the driver gives none: the driver object.
pub(crate) fn default_parent(call: &Call) -> Option<AnyRef> {
    call.globals.driver()
}

ddi! {
    fn WdfSpinLockCreate(call, attributes: *mut WDF_OBJECT_ATTRIBUTES, lock: *mut WDFSPINLOCK) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write(lock, WDFSPINLOCK::NULL);
        let body = DriverSpinLock { word: UnsafeCell::new(0), owner: AtomicUsize::new(0), irql: UnsafeCell::new(0) };
        let created = Attributes::read(call, attributes, Rules::ORDINARY)
            .and_then(|attributes| crate::object::create(call.globals, &attributes, default_parent(call).as_ref(), body));
        call.created(lock, created)
    }

    fn WdfSpinLockAcquire(call, lock: WDFSPINLOCK) {
        call.irql_at_most(DISPATCH_LEVEL);
        let lock = call.object::<DriverSpinLock>(lock);
        DriverSpinLock::acquire(&lock, call.globals);
        crate::lock_order::acquired(call.globals, lock.any());
    }

    fn WdfSpinLockRelease(call, lock: WDFSPINLOCK) {
        let lock = call.object::<DriverSpinLock>(lock);
        crate::lock_order::released(call.globals, lock.any());
        DriverSpinLock::release(&lock, call.globals);
    }

    fn WdfWaitLockCreate(call, attributes: *mut WDF_OBJECT_ATTRIBUTES, lock: *mut WDFWAITLOCK) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write(lock, WDFWAITLOCK::NULL);
        let body = DriverWaitLock { event: sync::Event::uninitialized(), owner: AtomicUsize::new(0) };
        let created = Attributes::read(call, attributes, Rules::ORDINARY)
            .and_then(|attributes| crate::object::create(call.globals, &attributes, default_parent(call).as_ref(), body));
        if let Ok(lock) = &created {
            lock.event.initialize(SYNCHRONIZATION_EVENT, true);
        }
        call.created(lock, created)
    }

    fn WdfWaitLockAcquire(call, lock: WDFWAITLOCK, timeout: *mut i64) -> NTSTATUS {
        let lock = call.object::<DriverWaitLock>(lock);
        let timeout = call.optional(timeout).copied();
        // A time-out of zero may be used at DISPATCH_LEVEL; every other wait must be below.
        call.irql_at_most(if timeout == Some(0) { DISPATCH_LEVEL } else { APC_LEVEL });
        if !DriverWaitLock::acquire(&lock, call.globals, timeout) {
            return NTSTATUS::TIMEOUT;
        }
        crate::lock_order::acquired(call.globals, lock.any());
        NTSTATUS::SUCCESS
    }

    fn WdfWaitLockRelease(call, lock: WDFWAITLOCK) {
        call.irql_at_most(DISPATCH_LEVEL);
        let lock = call.object::<DriverWaitLock>(lock);
        crate::lock_order::released(call.globals, lock.any());
        DriverWaitLock::release(&lock, call.globals);
    }
}
