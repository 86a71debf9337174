//! IRQL as a type, as far as types reach.
//!
//! [`Passive`] is proof that the running callback was called at PASSIVE_LEVEL. Calls that may wait ask for it, and only callbacks that
//! the framework makes at PASSIVE_LEVEL are given one; it borrows from the callback's frame and cannot be sent elsewhere. What it cannot
//! see is a spin lock taken while it is at hand; debug builds look at the real IRQL in each call that takes it.

use core::marker::PhantomData;

/// Proof of running at PASSIVE_LEVEL, for as long as one callback runs.
#[derive(Clone, Copy, Debug)]
pub struct Passive<'a> {
    /// Not `Send`: another thread has another IRQL.
    callback: PhantomData<(&'a (), *mut ())>,
}

impl Passive<'_> {
    /// Called by trampolines of callbacks that the framework makes at PASSIVE_LEVEL, and by nothing else.
    #[inline]
    pub(crate) const fn assume() -> Self {
        Self { callback: PhantomData }
    }

    /// What every call that takes a proof does with it.
    ///
    /// # Panics
    /// In debug builds, when the IRQL was raised behind the proof's back, by a spin lock that is held.
    #[inline]
    pub(crate) fn check(self) {
        if cfg!(all(debug_assertions, target_os = "windows")) {
            // SAFETY: reads a register of this processor.
            let now = unsafe { wdf_sys::wdm::functions::KeGetCurrentIrql() };
            require_passive(now);
        }
    }
}

/// # Panics
/// When `irql` is not PASSIVE_LEVEL.
fn require_passive(irql: u8) {
    assert!(irql == 0, "a call that may wait was made at IRQL {irql}: is a spin lock held?");
}

#[cfg(test)]
mod tests {
    #[test]
    fn passive_level_passes_the_check() {
        super::require_passive(0);
    }

    #[test]
    #[should_panic(expected = "at IRQL 2")]
    fn a_raised_irql_fails_the_check() {
        super::require_passive(2);
    }
}
