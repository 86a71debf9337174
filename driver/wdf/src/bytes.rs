//! Bytes that are not the driver's alone: request buffers, which a program may write while the driver reads, and memory that a device
//! reads and writes. There are no slices of such memory, only copies out of it and into it, checked against its length.

use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{NTSTATUS, Result};

/// A stretch of memory that others may change at any time, readable for `'a`.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a> {
    start: *const u8,
    length: usize,
    owner: PhantomData<&'a [u8]>,
}

/// A stretch of memory that others may change at any time, writable for `'a`.
#[derive(Debug)]
pub struct BytesMut<'a> {
    start: *mut u8,
    length: usize,
    owner: PhantomData<&'a mut [u8]>,
}

impl<'a> Bytes<'a> {
    /// No bytes at all.
    pub const EMPTY: Self = Self { start: core::ptr::NonNull::dangling().as_ptr(), length: 0, owner: PhantomData };

    /// # Safety
    /// `length` bytes from `start` are readable for `'a`.
    pub(crate) const unsafe fn new(start: *const u8, length: usize) -> Self {
        Self { start, length, owner: PhantomData }
    }

    /// How many bytes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The stretch of `length` bytes from `offset`.
    ///
    /// # Errors
    /// `STATUS_BUFFER_TOO_SMALL` when it is not inside.
    pub fn slice(&self, offset: usize, length: usize) -> Result<Self> {
        check(self.length, offset, length)?;
        // SAFETY: just checked to be inside of what is readable.
        Ok(unsafe { Self::new(self.start.add(offset), length) })
    }

    /// A copy of the value at `offset`.
    ///
    /// # Errors
    /// `STATUS_BUFFER_TOO_SMALL` when it does not fit.
    pub fn read<T: FromBytes>(&self, offset: usize) -> Result<T> {
        check(self.length, offset, size_of::<T>())?;
        // SAFETY: checked to be inside; any bytes are a value of `T`; the address need not be aligned. Someone else may write there at the
        // same time: the copy is then a mixture of old and new bytes, which is a value too.
        Ok(unsafe { self.start.add(offset).cast::<T>().read_unaligned() })
    }
}

impl<'a> From<&'a [u8]> for Bytes<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { start: bytes.as_ptr(), length: bytes.len(), owner: PhantomData }
    }
}

impl<'a> BytesMut<'a> {
    /// # Safety
    /// `length` bytes from `start` are readable and writable for `'a`, and no Rust reference covers them.
    pub(crate) const unsafe fn new(start: *mut u8, length: usize) -> Self {
        Self { start, length, owner: PhantomData }
    }

    /// No bytes at all.
    #[must_use]
    pub const fn empty() -> Self {
        Self { start: core::ptr::NonNull::dangling().as_ptr(), length: 0, owner: PhantomData }
    }

    /// How many bytes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The same bytes, to read.
    #[must_use]
    pub const fn as_bytes(&self) -> Bytes<'_> {
        Bytes { start: self.start, length: self.length, owner: PhantomData }
    }

    /// Copies all of `source` to `offset`.
    ///
    /// # Errors
    /// `STATUS_BUFFER_TOO_SMALL` when it does not fit; nothing is copied then.
    pub fn copy_from(&mut self, offset: usize, source: Bytes<'_>) -> Result<()> {
        check(self.length, offset, source.length)?;
        // SAFETY: both stretches are valid, checked for length. They may be the same memory (buffered requests): `copy` allows overlap.
        unsafe { core::ptr::copy(source.start, self.start.add(offset), source.length) };
        Ok(())
    }

    /// Copies a value to `offset`.
    ///
    /// # Errors
    /// As [`copy_from`](Self::copy_from).
    pub fn write<T: IntoBytes + Immutable>(&mut self, offset: usize, value: &T) -> Result<()> {
        self.copy_from(offset, Bytes::from(value.as_bytes()))
    }
}

impl<'a> From<&'a mut [u8]> for BytesMut<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Self { start: bytes.as_mut_ptr(), length: bytes.len(), owner: PhantomData }
    }
}

/// Whether `length` bytes from `offset` lie in `whole` bytes.
pub(crate) fn check(whole: usize, offset: usize, length: usize) -> Result<()> {
    match offset.checked_add(length) {
        Some(end) if end <= whole => Ok(()),
        _ => Err(NTSTATUS::BUFFER_TOO_SMALL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_does_not_fit_changes_nothing() {
        let mut memory = [1_u8; 4];
        let mut target = BytesMut::from(&mut memory[..]);
        assert_eq!(target.copy_from(2, Bytes::from(&[9, 9, 9][..])), Err(NTSTATUS::BUFFER_TOO_SMALL));
        assert_eq!(memory, [1; 4]);
    }

    #[test]
    fn an_offset_that_overflows_is_refused() {
        let memory = [0_u8; 4];
        assert_eq!(Bytes::from(&memory[..]).slice(usize::MAX, 2).map(|bytes| bytes.len()), Err(NTSTATUS::BUFFER_TOO_SMALL));
    }

    #[test]
    fn a_value_is_read_where_it_was_written_aligned_or_not() {
        let mut memory = [0_u8; 9];
        let mut target = BytesMut::from(&mut memory[..]);
        target.write(1, &0x1122_3344_5566_7788_u64).expect("it fits");
        assert_eq!(target.as_bytes().read::<u64>(1), Ok(0x1122_3344_5566_7788));
        assert!(target.as_bytes().read::<u64>(2).is_err());
    }
}
