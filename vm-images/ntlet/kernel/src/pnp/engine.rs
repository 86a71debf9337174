//! The lock under which the device tree changes, and the tree's root.

use alloc::sync::Arc;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use wdf_sys::wdm::KEVENT;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{KeInitializeEvent, KeSetEvent, KeWaitForSingleObject};

use super::node::Node;
use crate::lock::SpinLock;

struct Lock(UnsafeCell<KEVENT>);

// SAFETY: the event is used through the dispatcher's functions only.
unsafe impl Sync for Lock {}

static LOCK: Lock = Lock(UnsafeCell::new(KEVENT::zeroed()));
static IS_READY: AtomicBool = AtomicBool::new(false);
static ROOT: SpinLock<Option<Arc<Node>>> = SpinLock::new(None);

/// Prepares the lock. Called once, by one thread, before anything else here.
pub(crate) fn initialize() {
    if !IS_READY.swap(true, Ordering::AcqRel) {
        // SAFETY: nobody waits for the event yet.
        unsafe { KeInitializeEvent(LOCK.0.get(), SYNCHRONIZATION_EVENT, 1) };
    }
}

/// Whoever has it may change the device tree.
#[derive(Debug)]
pub(crate) struct Guard(());

/// Waits until nobody else changes the tree.
pub(crate) fn lock() -> Guard {
    // SAFETY: the event was initialised; the caller is at PASSIVE_LEVEL.
    let _ = unsafe { KeWaitForSingleObject(LOCK.0.get().cast(), EXECUTIVE, KERNEL_MODE, 0, core::ptr::null_mut()) };
    Guard(())
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: the event was initialised.
        unsafe { KeSetEvent(LOCK.0.get(), 0, 0) };
    }
}

/// The root of the device tree.
pub(crate) fn root() -> Option<Arc<Node>> {
    ROOT.lock().clone()
}

/// Sets or takes away the root.
pub(crate) fn set_root(root: Option<Arc<Node>>) {
    let old = core::mem::replace(&mut *ROOT.lock(), root);
    drop(old);
}
