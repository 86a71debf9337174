//! The relay hardware's status page: the counters of configuration space in memory that the guest reads without a trap.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use protocol::hardware::RelayConfig;
use vm_memory::{FileOffset, Permissions};
use zerocopy::IntoBytes;

use crate::memory::{Memory, Region, shared_file};
use crate::virtio::pci::SHARED_PAGES;

/// One page, shared with whoever has the file. It is only ever written here: a guest that writes to it deceives itself alone.
pub(super) struct StatusPage {
    file: File,
    page: Memory,
}

impl StatusPage {
    pub(super) const SIZE: u64 = 0x1000;

    pub(super) fn new() -> io::Result<Self> {
        // Offsets in the file are those in the BAR.
        let file = shared_file(SHARED_PAGES + Self::SIZE)?;
        let mapped = FileOffset::new(file.try_clone()?, SHARED_PAGES);
        let region = Region::from_file(0, Self::SIZE, Permissions::ReadWrite, mapped).map_err(io::Error::other)?;
        let page = Memory::default().with(region).map_err(io::Error::other)?;
        Ok(Self { file, page })
    }

    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(super) fn show(&self, config: &RelayConfig) {
        // The page is larger than the structure, and cannot shrink.
        let _ = self.page.write_at(0, config.as_bytes());
    }

    pub(super) fn read(&self, offset: u64, data: &mut [u8]) {
        // Behind the page there is nothing: the caller's zeroes stay.
        let _ = self.page.read_at(offset, data);
    }
}
