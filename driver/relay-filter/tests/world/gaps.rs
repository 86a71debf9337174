//! What happens between two steps of the driver: in each place where another processor could get in, because the driver holds no lock, a test may
//! have something happen.

use std::cell::{Cell, RefCell};

type Happening = Box<dyn FnOnce()>;

thread_local! {
    static LOCKS: Cell<usize> = const { Cell::new(0) };
    static NEXT: RefCell<Option<(usize, Happening)>> = const { RefCell::new(None) };
}

/// Has something happen in the gap after `skipped` others.
pub(crate) fn plan(skipped: usize, happening: impl FnOnce() + 'static) {
    NEXT.set(Some((skipped, Box::new(happening))));
}

/// Forgets what was planned. Whether it was still to happen.
pub(crate) fn forget() -> bool {
    NEXT.take().is_some()
}

/// Has what was planned happen now, if there was no such gap.
pub(crate) fn flush() {
    if let Some((_, happening)) = NEXT.take() {
        happening();
    }
}

pub(super) fn locked() {
    LOCKS.set(LOCKS.get() + 1);
}

pub(super) fn unlocked() {
    LOCKS.set(LOCKS.get() - 1);
    gap();
}

/// Another processor may get in here.
pub(super) fn gap() {
    if LOCKS.get() != 0 {
        return;
    }
    let now = NEXT.with_borrow_mut(|next| match next {
        Some((0, _)) => next.take(),
        Some((skipped, _)) => {
            *skipped -= 1;
            None
        }
        None => None,
    });
    if let Some((_, happening)) = now {
        happening();
    }
}
