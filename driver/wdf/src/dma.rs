//! Memory that the driver and its device share.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::{WDF_DMA_ENABLER_CONFIG, WDF_DMA_PROFILE};
use wdf_sys::{WDFCOMMONBUFFER, WDFDMAENABLER};

use crate::bytes::{Bytes, BytesMut, check};
use crate::device::{Device, DeviceEvents};
use crate::irql::Passive;
use crate::place::{Kept, Place, Vacancy};
use crate::{NTSTATUS, Result, context};

/// A device's right to master the bus, for as long as one callback makes memory with it. The framework's object stays with the device.
#[derive(Clone, Copy)]
pub struct DmaEnabler<'a, D> {
    handle: WDFDMAENABLER,
    device: Device<'a, D>,
    passive: Passive<'a>,
}

impl<'a, D: DeviceEvents> DmaEnabler<'a, D> {
    /// For a device that scatters and gathers over 64 bits of address, `maximum_length` bytes at most in one transfer.
    ///
    /// # Errors
    /// What the framework says.
    pub fn new(device: Device<'a, D>, maximum_length: usize, passive: Passive<'a>) -> Result<Self> {
        passive.check();
        let mut config = WDF_DMA_ENABLER_CONFIG::new(WDF_DMA_PROFILE::WdfDmaProfileScatterGather64, maximum_length);
        let mut handle = WDFDMAENABLER::NULL;
        // SAFETY: the device is valid; at PASSIVE_LEVEL. The enabler is the device's child and goes with it.
        unsafe { WdfDmaEnablerCreate(device.handle(), &raw mut config, core::ptr::null_mut(), &raw mut handle) }.ok()?;
        Ok(Self { handle, device, passive })
    }

    /// Makes the contiguous memory, zeroed, that the device's context keeps `at` a field of its own.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` when there is none; else as [`Timer::create`](crate::Timer::create).
    pub fn common_buffer(&self, at: impl Fn(&D) -> &CommonBuffer, length: usize) -> Result<()> {
        self.passive.check();
        let (buffer, vacancy) = Vacancy::find(self.device, at, |buffer| &buffer.start)?;
        let mut attributes = context::kept_attributes::<Kept>();
        let mut handle = WDFCOMMONBUFFER::NULL;
        // SAFETY: the enabler is valid as long as its device; at PASSIVE_LEVEL.
        unsafe { WdfCommonBufferCreate(self.handle, length, &raw mut attributes, &raw mut handle) }.ok()?;
        // SAFETY: the buffer was just created.
        let start = unsafe { WdfCommonBufferGetAlignedVirtualAddress(handle) };
        // SAFETY: the buffer was just created.
        let logical = unsafe { WdfCommonBufferGetAlignedLogicalAddress(handle) };
        if start.is_null() {
            return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
        }
        // SAFETY: `length` bytes that nobody else knows of yet.
        unsafe { start.cast::<u8>().write_bytes(0, length) };
        buffer.logical.store(logical.cast_unsigned(), Ordering::Relaxed);
        buffer.length.store(length, Ordering::Relaxed);
        // SAFETY: just created with these attributes, below an enabler of the device.
        unsafe { vacancy.fill(handle.object(), Kept, start) }
    }
}

/// Memory that the driver and the device both write, at any time: accesses are copies or single loads and stores of a number. Two writers
/// of the same bytes leave a mixture, whether the other one is the device or another thread. It is kept in its device's context.
#[derive(Debug)]
pub struct CommonBuffer {
    start: Place,
    logical: AtomicU64,
    length: AtomicUsize,
}

impl CommonBuffer {
    /// Memory that is not there yet, and has no bytes until [`DmaEnabler::common_buffer`].
    #[must_use]
    pub const fn unmade() -> Self {
        Self { start: Place::empty(), logical: AtomicU64::new(0), length: AtomicUsize::new(0) }
    }

    /// Where the device finds it.
    #[must_use]
    pub fn logical_address(&self) -> u64 {
        self.logical.load(Ordering::Relaxed)
    }

    /// Bytes in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.part(0, 0).map_or(0, |_| self.length.load(Ordering::Relaxed))
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the stretch of `length` bytes from `offset` begins.
    #[inline]
    fn part(&self, offset: usize, length: usize) -> Result<NonNull<u8>> {
        // Found first: what it is about was written before it was put there.
        let start = self.start.get().ok_or(NTSTATUS::BUFFER_TOO_SMALL)?;
        check(self.length.load(Ordering::Relaxed), offset, length)?;
        // SAFETY: checked to be inside of the buffer.
        Ok(unsafe { start.cast::<u8>().add(offset) })
    }

    /// A stretch of it, to read.
    ///
    /// # Errors
    /// `STATUS_BUFFER_TOO_SMALL` when it is not inside; nothing is inside of memory that is not there.
    pub fn bytes(&self, offset: usize, length: usize) -> Result<Bytes<'_>> {
        let start = self.part(offset, length)?;
        // SAFETY: `part` checked the range; the buffer is there while `self` is borrowed (see `Place::get`).
        Ok(unsafe { Bytes::new(start.as_ptr(), length) })
    }

    /// A stretch of it, to write.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes).
    pub fn bytes_mut(&self, offset: usize, length: usize) -> Result<BytesMut<'_>> {
        let start = self.part(offset, length)?;
        // SAFETY: as in `bytes`; there are never references into the buffer.
        Ok(unsafe { BytesMut::new(start.as_ptr(), length) })
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

    #[inline]
    fn at<T>(&self, offset: usize) -> Option<NonNull<T>> {
        let place = self.part(offset, size_of::<T>()).ok()?.cast::<T>();
        place.is_aligned().then_some(place)
    }
}
