//! The guest's memory: a file without a name that QEMU and the device model map, and that the harness can read at any time, even after
//! QEMU has gone.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::MemfdFlags;

/// Above this much memory a q35 machine puts the rest beyond 4 GiB; below it then lies [`LOW`].
const ALL_BELOW: u64 = 0xb000_0000;
const LOW: u64 = 0x8000_0000;
const BEYOND: u64 = 1 << 32;

/// The memory of one boot.
#[derive(Debug)]
pub struct GuestMemory {
    file: File,
    size: u64,
}

impl GuestMemory {
    /// As much as this, all zero.
    ///
    /// # Errors
    /// The system's.
    pub fn new(mebibytes: u32) -> io::Result<Self> {
        let file = File::from(rustix::fs::memfd_create("guest-memory", MemfdFlags::CLOEXEC)?);
        let size = u64::from(mebibytes) << 20;
        file.set_len(size)?;
        Ok(Self { file, size })
    }

    /// Bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Reads at a physical address of the guest.
    ///
    /// # Errors
    /// There is no memory, or not enough.
    pub fn read(&self, physical: u64, buffer: &mut [u8]) -> io::Result<()> {
        let at = self.offset(physical, buffer.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.file.read_exact_at(buffer, at)
    }

    /// Where a range of physical addresses lies in the file.
    fn offset(&self, physical: u64, length: u64) -> Option<u64> {
        let low = if self.size > ALL_BELOW { LOW } else { self.size };
        let end = physical.checked_add(length)?;
        if end <= low {
            return Some(physical);
        }
        let at = physical.checked_sub(BEYOND)?.checked_add(low)?;
        (at.checked_add(length)? <= self.size).then_some(at)
    }
}

impl AsFd for GuestMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_beyond_what_fits_below_the_devices_begins_at_4_gib() {
        let memory = GuestMemory::new(4096).unwrap();
        assert_eq!(memory.offset(LOW - 8, 8), Some(LOW - 8));
        assert_eq!(memory.offset(LOW - 8, 9), None);
        assert_eq!(memory.offset(BEYOND, 1), Some(LOW));
        assert_eq!(memory.offset(BEYOND + LOW, 1), None);
        assert_eq!(memory.offset(u64::MAX, 1), None);
    }

    #[test]
    fn a_small_machine_has_nothing_beyond_its_end() {
        let memory = GuestMemory::new(1).unwrap();
        let mut byte = [1];
        memory.read(0xf_ffff, &mut byte).unwrap();
        assert_eq!(byte, [0]);
        assert!(memory.read(0x10_0000, &mut byte).is_err());
    }
}
