//! Arrays in non-paged pool: made element by element in place, so that no large value ever lies on the kernel's small stack.

use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use wdf_sys::wdm::constants::POOL_FLAG_NON_PAGED;
use wdf_sys::wdm::functions::{ExAllocatePool2, ExFreePoolWithTag};

use crate::{NTSTATUS, Result};

/// Tag of this crate's allocations, as pool tools show it.
const TAG: u32 = u32::from_le_bytes(*b"RsWd");
/// The pool aligns to this.
const ALIGNMENT: usize = 16;

/// A fixed number of `T` in non-paged pool.
#[derive(Debug)]
pub struct PoolArray<T> {
    start: NonNull<T>,
    length: usize,
}

// SAFETY: the array owns its elements, as a box does.
unsafe impl<T: Send> Send for PoolArray<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for PoolArray<T> {}

impl<T> PoolArray<T> {
    /// `length` elements, each made by `element` from its index.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` when there is no memory, `STATUS_INVALID_PARAMETER` for no elements or elements of no size.
    pub fn new(length: usize, mut element: impl FnMut(usize) -> T) -> Result<Self> {
        Self::try_new(length, |index| Ok(element(index)))
    }

    /// As [`new`](Self::new), with elements that may fail to be made.
    ///
    /// # Errors
    /// As there, and those of `element`; elements made before are dropped.
    pub fn try_new(length: usize, mut element: impl FnMut(usize) -> Result<T>) -> Result<Self> {
        const { assert!(align_of::<T>() <= ALIGNMENT, "the pool does not align that far") };
        let bytes = length.checked_mul(size_of::<T>()).filter(|bytes| *bytes != 0).ok_or(NTSTATUS::INVALID_PARAMETER)?;
        // SAFETY: takes any size; the result is null or that many bytes.
        let start = NonNull::new(unsafe { ExAllocatePool2(POOL_FLAG_NON_PAGED, bytes, TAG) }.cast::<T>());
        let mut array = Self { start: start.ok_or(NTSTATUS::INSUFFICIENT_RESOURCES)?, length: 0 };
        while array.length < length {
            let value = element(array.length)?;
            // SAFETY: inside of the allocation, not yet an element.
            unsafe { array.start.add(array.length).write(value) };
            array.length += 1;
        }
        Ok(array)
    }
}

impl<T> Deref for PoolArray<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `length` elements were made, in memory that is ours.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl<T> DerefMut for PoolArray<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above; `&mut self` makes it exclusive.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl<T> Drop for PoolArray<T> {
    fn drop(&mut self) {
        // SAFETY: the elements are ours and not used again.
        unsafe { core::ptr::drop_in_place(&raw mut **self) };
        // SAFETY: allocated in `new` with this tag.
        unsafe { ExFreePoolWithTag(self.start.as_ptr().cast(), TAG) };
    }
}

/// A queue of values with a fixed capacity, in non-paged pool.
#[derive(Debug)]
pub struct Fifo<T> {
    places: PoolArray<Option<T>>,
    first: usize,
    count: usize,
}

impl<T> Fifo<T> {
    /// Room for `capacity` values.
    ///
    /// # Errors
    /// As [`PoolArray::new`].
    pub fn new(capacity: usize) -> Result<Self> {
        Ok(Self { places: PoolArray::new(capacity, |_| None)?, first: 0, count: 0 })
    }

    /// Values in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many more fit.
    #[must_use]
    pub fn room(&self) -> usize {
        self.places.len() - self.count
    }

    /// Puts `value` behind the others.
    ///
    /// # Errors
    /// Gives it back when there is no room.
    pub fn push(&mut self, value: T) -> Result<(), T> {
        if self.room() == 0 {
            return Err(value);
        }
        let last = (self.first + self.count) % self.places.len();
        self.places[last] = Some(value);
        self.count += 1;
        Ok(())
    }

    /// Takes the first value.
    pub fn pop(&mut self) -> Option<T> {
        let value = self.places[self.first].take()?;
        self.first = (self.first + 1) % self.places.len();
        self.count -= 1;
        Some(value)
    }
}
