//! A value that readers at any IRQL find or do not find, and that its owner can take back: what an interrupt service routine needs to
//! reach its registers, which come and go with the hardware.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ops::Deref;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::irql::Passive;

/// Set while the value may be read; the bits below count the readers.
const PRESENT: usize = 1 << (usize::BITS - 1);
/// Set while the value is being put in or taken out.
const BUSY: usize = 1 << (usize::BITS - 2);

/// Holds a `T` or nothing. Reading never waits; [`withdraw`](Self::withdraw) waits for readers.
pub struct Published<T> {
    state: AtomicUsize,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: a reference to the value is given to any thread (`T: Sync`), and the value itself moves between threads (`T: Send`).
unsafe impl<T: Send + Sync> Sync for Published<T> {}

impl<T> Published<T> {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: AtomicUsize::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Shows `value` to readers.
    ///
    /// # Errors
    /// Gives the value back when there is one already.
    pub fn publish(&self, value: T) -> Result<(), T> {
        if self.state.compare_exchange(0, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return Err(value);
        }
        // SAFETY: BUSY was set by us alone, and there are no readers without PRESENT.
        unsafe { (*self.value.get()).write(value) };
        self.state.store(PRESENT, Ordering::Release);
        Ok(())
    }

    /// The value, if it is there. At any IRQL.
    #[inline]
    pub fn get(&self) -> Option<Reader<'_, T>> {
        let enter = |state: usize| (state & PRESENT != 0).then_some(state + 1);
        self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, enter).ok()?;
        Some(Reader { published: self })
    }

    /// Hides the value from new readers, waits until the last reader has left, and takes the value.
    pub fn withdraw(&self, passive: Passive<'_>) -> Option<T> {
        passive.check();
        let hide = |state: usize| (state & PRESENT != 0).then_some(state & !PRESENT | BUSY);
        self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, hide).ok()?;
        while self.state.load(Ordering::Acquire) != BUSY {
            crate::time::sleep(core::time::Duration::from_millis(1), passive);
        }
        // SAFETY: the value was there (PRESENT), no reader is left, none can enter.
        let value = unsafe { (*self.value.get()).assume_init_read() };
        self.state.store(0, Ordering::Release);
        Some(value)
    }
}

impl<T> Default for Published<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        if *self.state.get_mut() & PRESENT != 0 {
            // SAFETY: the value is there, and `&mut self` says that there are no readers.
            unsafe { self.value.get_mut().assume_init_drop() };
        }
    }
}

/// A reader's hold on a published value: it stays until this is dropped.
pub struct Reader<'a, T> {
    published: &'a Published<T>,
}

impl<T> Deref for Reader<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this reader is counted, so the value is not taken out.
        unsafe { (*self.published.value.get()).assume_init_ref() }
    }
}

impl<T> Drop for Reader<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.published.state.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_value_is_found_between_publishing_and_withdrawing() {
        let place = Published::new();
        assert!(place.get().is_none());
        place.publish(7).expect("it is empty");
        assert_eq!(place.get().map(|value| *value), Some(7));
        assert_eq!(place.withdraw(Passive::assume()), Some(7));
        assert!(place.get().is_none());
    }

    #[test]
    fn a_second_value_is_given_back() {
        let place = Published::new();
        place.publish(1).expect("it is empty");
        assert_eq!(place.publish(2), Err(2));
    }

    #[test]
    fn a_value_never_withdrawn_is_dropped_with_its_place() {
        let witness = Arc::new(());
        let place = Published::new();
        assert!(place.publish(Arc::clone(&witness)).is_ok());
        drop(place);
        assert_eq!(Arc::strong_count(&witness), 1);
    }

    #[test]
    fn a_reader_keeps_the_value_from_being_taken() {
        let place = Arc::new(Published::new());
        place.publish(1).expect("it is empty");
        let reader = place.get().expect("it was published");
        let other = Arc::clone(&place);
        let owner = std::thread::spawn(move || other.withdraw(Passive::assume()));
        while place.get().is_some() {
            std::hint::spin_loop();
        }
        assert!(!owner.is_finished());
        assert_eq!(*reader, 1);
        drop(reader);
        assert_eq!(owner.join().expect("it does not panic"), Some(1));
    }
}
