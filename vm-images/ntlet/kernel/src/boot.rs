//! From the machine's hand-over to the first system thread, and the watch over a boot that stands still.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::hal::Hal;

/// A value that is written once, before anything else runs.
struct Once<T> {
    is_set: AtomicBool,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: written once before `is_set`, and only read after.
unsafe impl<T: Sync + Send> Sync for Once<T> {}

static HAL: Once<&'static dyn Hal> = Once { is_set: AtomicBool::new(false), value: UnsafeCell::new(None) };

/// The machine, if there is one yet.
pub fn try_hal() -> Option<&'static dyn Hal> {
    // SAFETY: once set, the value does not change.
    HAL.is_set.load(Ordering::Acquire).then(|| unsafe { *HAL.value.get() }).flatten()
}

/// The machine.
///
/// # Panics
/// Before [`crate::entry::start`].
pub fn hal() -> &'static dyn Hal {
    try_hal().expect("the machine has been handed over")
}
