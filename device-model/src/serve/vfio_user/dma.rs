//! Guest memory as the client maps and unmaps it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use vfio_bindings::bindings::vfio::{VFIO_DMA_UNMAP_FLAG_ALL, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP};
use vm_memory::{FileOffset, Permissions};

use super::message::{DMA_READ, DMA_WRITE, DmaMap, DmaUnmap};
use super::session::Errno;
use crate::memory::{Far, MapError, Memory, Region};

/// Most ranges that a client may map at one time.
pub(super) const MAX_MAPS: usize = 1024;

/// One range the client has mapped, with or without a descriptor.
struct Range {
    address: u64,
    size: u64,
}

impl Range {
    fn overlaps(&self, address: u64, size: u64) -> bool {
        // Neither wraps: `map` has seen to it.
        self.address <= address + (size - 1) && address <= self.address + (self.size - 1)
    }
}

/// All that is mapped.
pub(super) struct Dma {
    // Sorted by address, disjoint.
    ranges: Vec<Range>,
    memory: Arc<Memory>,
    /// That the client shares too little has been said.
    warned: bool,
}

impl Dma {
    pub(super) fn new() -> Self {
        Self { ranges: Vec::new(), memory: Memory::empty(), warned: false }
    }

    pub(super) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// A range without a descriptor (a ROM, memory of a machine that does not share it) is read and written by messages: see `requests`.
    pub(super) fn map(&mut self, request: &DmaMap, fd: Option<OwnedFd>) -> Result<(), Errno> {
        let DmaMap { flags, offset, address, size, .. } = *request;
        if flags & !(DMA_READ | DMA_WRITE) != 0 {
            return Err(Errno::INVALID);
        }
        let access = match (flags & DMA_READ != 0, flags & DMA_WRITE != 0) {
            (true, true) => Permissions::ReadWrite,
            (true, false) => Permissions::Read,
            (false, true) => Permissions::Write,
            (false, false) => return Err(Errno::INVALID),
        };
        if size == 0 || address.checked_add(size - 1).is_none() {
            return Err(Errno::INVALID);
        }
        let at = self.ranges.partition_point(|range| range.address < address);
        let neighbours = [at.checked_sub(1), Some(at)].into_iter().flatten().filter_map(|index| self.ranges.get(index));
        if neighbours.into_iter().any(|range| range.overlaps(address, size)) {
            return Err(Errno::EXISTS);
        }
        if self.ranges.len() == MAX_MAPS {
            return Err(Errno::NO_SPACE);
        }
        if let Some(fd) = fd {
            let region = Region::from_file(address, size, access, FileOffset::new(File::from(fd), offset)).map_err(errno)?;
            self.memory = Arc::new(self.memory.with(region).map_err(errno)?);
        } else {
            self.memory = Arc::new(self.memory.with_far(Far { base: address, size, access }));
            // A ROM is mapped like this, too, but for reading only.
            if access == Permissions::ReadWrite && !std::mem::replace(&mut self.warned, true) {
                tracing::warn!(
                    address = format_args!("{address:#x}"),
                    size = format_args!("{size:#x}"),
                    "the client does not share this memory: each transfer is a message, and slow; QEMU shares memory with share=on"
                );
            }
        }
        self.ranges.insert(at, Range { address, size });
        Ok(())
    }

    pub(super) fn unmap(&mut self, request: &DmaUnmap) -> Result<(), Errno> {
        let DmaUnmap { flags, address, size, .. } = *request;
        if flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP != 0 {
            return Err(Errno::NOT_SUPPORTED);
        }
        if flags & !VFIO_DMA_UNMAP_FLAG_ALL != 0 {
            return Err(Errno::INVALID);
        }
        if flags & VFIO_DMA_UNMAP_FLAG_ALL != 0 {
            if address != 0 || size != 0 {
                return Err(Errno::INVALID);
            }
            *self = Self { warned: self.warned, ..Self::new() };
            return Ok(());
        }
        let found = self.ranges.binary_search_by_key(&address, |range| range.address).map_err(|_| Errno::NOT_FOUND)?;
        if self.ranges[found].size != size {
            return Err(Errno::INVALID);
        }
        self.ranges.remove(found);
        self.memory = Arc::new(self.memory.without(address));
        Ok(())
    }
}

fn errno(error: MapError) -> Errno {
    match error {
        MapError::BadRange | MapError::BadFile => Errno::INVALID,
        MapError::Overlap => Errno::EXISTS,
        MapError::System(error) => Errno(error.raw_os_error().map_or(Errno::INVALID.0, |code| code as u32)),
    }
}
