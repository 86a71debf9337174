//! Memory objects: buffers that requests carry, and that the framework keeps for as long as one does.

use wdf_sys::WDFMEMORY;
use wdf_sys::wdf::WDF_OBJECT_ATTRIBUTES;
use wdf_sys::wdf::functions::*;
use wdf_sys::wdm::constants::NON_PAGED_POOL_NX;

use crate::bytes::{Bytes, BytesMut};
use crate::{NTSTATUS, Result};

/// Tag of the memory, as pool tools show it.
const TAG: u32 = u32::from_le_bytes(*b"RsMm");

/// A buffer in non-paged pool. Others may have it at the same time (a request that is sent with it), so that it is accessed by copies.
/// Dropped, it lives on until the last request that carries it is done with it.
#[derive(Debug)]
pub struct Memory {
    handle: WDFMEMORY,
    start: *mut u8,
    length: usize,
}

// SAFETY: the handle and the memory are good on any thread; accesses are copies.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// `length` bytes, zeroed.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` when there is no memory, `STATUS_INVALID_PARAMETER` for no bytes.
    pub fn new(length: usize) -> Result<Self> {
        let mut attributes = WDF_OBJECT_ATTRIBUTES::new();
        let (mut handle, mut start) = (WDFMEMORY::NULL, core::ptr::null_mut());
        let (to, at) = (&raw mut handle, &raw mut start);
        // SAFETY: no parent but the driver: this value deletes the object before.
        unsafe { WdfMemoryCreate(&raw mut attributes, NON_PAGED_POOL_NX, TAG, length, to, at) }.ok()?;
        if start.is_null() {
            return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
        }
        // SAFETY: `length` bytes that nobody else knows of yet.
        unsafe { start.cast::<u8>().write_bytes(0, length) };
        Ok(Self { handle, start: start.cast(), length })
    }

    /// A memory object of these bytes, for tests over the fake table; to be forgotten, not dropped.
    #[cfg(test)]
    pub(crate) fn fake(bytes: &mut [u8]) -> Self {
        Self { handle: WDFMEMORY(bytes.as_mut_ptr().cast()), start: bytes.as_mut_ptr(), length: bytes.len() }
    }

    pub(crate) const fn handle(&self) -> WDFMEMORY {
        self.handle
    }

    /// Bytes in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Never: memory objects have at least one byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes, to read.
    #[must_use]
    pub const fn bytes(&self) -> Bytes<'_> {
        // SAFETY: the memory lives as long as the object, which this value keeps.
        unsafe { Bytes::new(self.start, self.length) }
    }

    /// The bytes, to write.
    #[must_use]
    pub const fn bytes_mut(&self) -> BytesMut<'_> {
        // SAFETY: as above; there are never references into the memory.
        unsafe { BytesMut::new(self.start, self.length) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the handle is ours; requests that carry the memory hold references of their own.
        unsafe { WdfObjectDelete(self.handle.object()) };
    }
}
