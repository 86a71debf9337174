//! Memory that the driver and its device share.

use core::ptr::NonNull;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::{WDF_DMA_ENABLER_CONFIG, WDF_DMA_PROFILE};
use wdf_sys::{WDFCOMMONBUFFER, WDFDMAENABLER};

use crate::bytes::{Bytes, BytesMut, check};
use crate::device::NewDevice;
use crate::{NTSTATUS, Result};

/// A device's right to master the bus.
#[derive(Debug)]
pub struct DmaEnabler {
    handle: WDFDMAENABLER,
}

impl DmaEnabler {
    /// For a device that scatters and gathers over 64 bits of address, `maximum_length` bytes at most in one transfer.
    ///
    /// # Errors
    /// What the framework says.
    pub fn new<D>(device: &NewDevice<D>, maximum_length: usize) -> Result<Self> {
        let mut config = WDF_DMA_ENABLER_CONFIG::new(WDF_DMA_PROFILE::WdfDmaProfileScatterGather64, maximum_length);
        let mut handle = WDFDMAENABLER::NULL;
        // SAFETY: the device is valid; the enabler is its child and goes with it.
        unsafe { WdfDmaEnablerCreate(device.handle(), &raw mut config, core::ptr::null_mut(), &raw mut handle) }.ok()?;
        Ok(Self { handle })
    }

    /// Contiguous memory for the driver and the device, zeroed. It lives as long as the device object.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` when there is none.
    pub fn common_buffer(&self, length: usize) -> Result<CommonBuffer> {
        let mut handle = WDFCOMMONBUFFER::NULL;
        // SAFETY: the enabler is valid as long as its device, which is being created.
        unsafe { WdfCommonBufferCreate(self.handle, length, core::ptr::null_mut(), &raw mut handle) }.ok()?;
        // SAFETY: the buffer was just created.
        let address = unsafe { WdfCommonBufferGetAlignedVirtualAddress(handle) };
        // SAFETY: the buffer was just created.
        let logical = unsafe { WdfCommonBufferGetAlignedLogicalAddress(handle) };
        let start = NonNull::new(address.cast::<u8>()).ok_or(NTSTATUS::INSUFFICIENT_RESOURCES)?;
        // SAFETY: `length` bytes that nobody else knows of yet.
        unsafe { start.write_bytes(0, length) };
        Ok(CommonBuffer { start, logical: logical.cast_unsigned(), length })
    }
}

/// Memory that the driver and the device both write, at any time: accesses are copies or single loads and stores of a number. Two writers
/// of the same bytes leave a mixture, whether the other one is the device or another thread.
#[derive(Debug)]
pub struct CommonBuffer {
    start: NonNull<u8>,
    logical: u64,
    length: usize,
}

// SAFETY: the memory is valid on every thread and is only accessed through copies and volatile loads and stores.
unsafe impl Send for CommonBuffer {}
// SAFETY: as above.
unsafe impl Sync for CommonBuffer {}

impl CommonBuffer {
    /// Where the device finds it.
    #[must_use]
    pub const fn logical_address(&self) -> u64 {
        self.logical
    }

    /// Bytes in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// A stretch of it, to read.
    ///
    /// # Errors
    /// `STATUS_BUFFER_TOO_SMALL` when it is not inside.
    pub fn bytes(&self, offset: usize, length: usize) -> Result<Bytes<'_>> {
        check(self.length, offset, length)?;
        // SAFETY: checked to be inside of the buffer, which lives as long as the device and so as long as `self` is reachable.
        Ok(unsafe { Bytes::new(self.start.as_ptr().add(offset), length) })
    }

    /// A stretch of it, to write.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes).
    pub fn bytes_mut(&self, offset: usize, length: usize) -> Result<BytesMut<'_>> {
        check(self.length, offset, length)?;
        // SAFETY: as in `bytes`; there are never references into the buffer.
        Ok(unsafe { BytesMut::new(self.start.as_ptr().add(offset), length) })
    }

    /// One load of a number; `None` outside or misaligned.
    #[inline]
    #[must_use]
    pub fn load<T: crate::mmio::Register>(&self, offset: usize) -> Option<T> {
        // SAFETY: `at` checked range and alignment; any bytes are a number.
        self.at::<T>(offset).map(|place| unsafe { place.read_volatile() })
    }

    /// One store of a number; whether it was inside and aligned.
    #[inline]
    pub fn store<T: crate::mmio::Register>(&self, offset: usize, value: T) -> bool {
        // SAFETY: `at` checked range and alignment.
        self.at::<T>(offset).map(|place| unsafe { place.write_volatile(value) }).is_some()
    }

    fn at<T>(&self, offset: usize) -> Option<NonNull<T>> {
        check(self.length, offset, size_of::<T>()).ok()?;
        // SAFETY: checked to be inside.
        offset.is_multiple_of(align_of::<T>()).then(|| unsafe { self.start.add(offset).cast() })
    }
}
