//! Device registers in memory space: mapped, read and written by width, checked for range. Outside of a mapping nothing answers: reads
//! give all ones and writes go nowhere, as on the bus.

use core::ptr::NonNull;

use wdf_sys::wdm::functions::{MmMapIoSpaceEx, MmUnmapIoSpace};

use crate::{NTSTATUS, Result};

/// `PAGE_READWRITE | PAGE_NOCACHE`.
const READ_WRITE_NO_CACHE: u32 = 0x04 | 0x200;

/// A mapped range of physical addresses; unmapped when dropped.
#[derive(Debug)]
pub struct IoMapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is valid in every thread; register accesses are single instructions that the hardware orders.
unsafe impl Send for IoMapping {}
// SAFETY: as above.
unsafe impl Sync for IoMapping {}

/// The widths in which registers are accessed.
pub trait Register: Copy + private::Sealed {
    /// What a read gives where nothing answers.
    const ALL_ONES: Self;
}

mod private {
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for u16 {}
    impl Sealed for u32 {}
}

impl Register for u8 {
    const ALL_ONES: Self = Self::MAX;
}

impl Register for u16 {
    const ALL_ONES: Self = Self::MAX;
}

impl Register for u32 {
    const ALL_ONES: Self = Self::MAX;
}

impl IoMapping {
    /// Maps a memory resource of the device, not cached.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` when the kernel cannot map it, `STATUS_INVALID_PARAMETER` for an empty range.
    pub fn new(memory: crate::resources::Memory) -> Result<Self> {
        let length = usize::try_from(memory.length()).map_err(|_| NTSTATUS::INVALID_PARAMETER)?;
        if length == 0 {
            return Err(NTSTATUS::INVALID_PARAMETER);
        }
        // SAFETY: the range is a resource that the system gave to this device; the kernel maps it or returns null.
        let start = unsafe { MmMapIoSpaceEx(memory.start().cast_signed(), length, READ_WRITE_NO_CACHE) };
        NonNull::new(start.cast()).map_or(Err(NTSTATUS::INSUFFICIENT_RESOURCES), |start| Ok(Self { start, length }))
    }

    /// Bytes mapped.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Never: an empty range cannot be mapped.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Reads a register.
    #[inline]
    #[must_use]
    pub fn read<T: Register>(&self, offset: usize) -> T {
        match self.at::<T>(offset) {
            // SAFETY: inside of the mapping, aligned.
            Some(register) if bus::answers(register) => unsafe { register.read_volatile() },
            _ => T::ALL_ONES,
        }
    }

    /// Writes a register.
    #[inline]
    pub fn write<T: Register>(&self, offset: usize, value: T) {
        if let Some(register) = self.at::<T>(offset) {
            // SAFETY: inside of the mapping, aligned.
            unsafe { register.write_volatile(value) };
        }
    }

    fn at<T>(&self, offset: usize) -> Option<NonNull<T>> {
        let inside = offset.checked_add(size_of::<T>()).is_some_and(|end| end <= self.length);
        // SAFETY: only evaluated inside of the mapping.
        (inside && offset.is_multiple_of(align_of::<T>())).then(|| unsafe { self.start.add(offset).cast() })
    }
}

#[cfg(target_os = "windows")]
mod bus {
    /// The hardware sees to that.
    #[inline]
    pub(super) const fn answers<T>(_register: core::ptr::NonNull<T>) -> bool {
        true
    }
}

/// What a driver's tests on other systems need: registers are memory there, which cannot read all ones whatever is written to it.
#[cfg(not(target_os = "windows"))]
pub mod bus {
    use core::ptr::{NonNull, null_mut};
    use core::sync::atomic::{AtomicPtr, Ordering};

    /// Whether a register, by its address, answers a read; one that does not reads all ones.
    pub type Answers = fn(usize) -> bool;

    static ANSWERS: AtomicPtr<()> = AtomicPtr::new(null_mut());

    /// From now on `answers` is asked at every read of a register.
    pub fn answered_by(answers: Answers) {
        ANSWERS.store(answers as *mut (), Ordering::Release);
    }

    pub(super) fn answers<T>(register: NonNull<T>) -> bool {
        let answers = ANSWERS.load(Ordering::Acquire);
        // SAFETY: the pointer is null, for which the option has no function, or the function that `answered_by` was given.
        let answers = unsafe { core::mem::transmute::<*mut (), Option<Answers>>(answers) };
        answers.is_none_or(|answers| answers(register.as_ptr() as usize))
    }
}

impl Drop for IoMapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length, and nobody has a pointer into it.
        unsafe { MmUnmapIoSpace(self.start.as_ptr().cast(), self.length) };
    }
}
