//! Guest memory as a device reaches it: a sorted list of mappings, each with the access that the machine granted.
//!
//! Every access goes through [`vm_memory::GuestMemory`], so ranges and permissions are checked in one place. How mappings come to be
//! (a file descriptor over vfio-user, a table over vhost-user, plain memory in a test) is not known here. Memory that the machine has and
//! does not share is in the list as well, as [`Far`]: it is read and written by asking the machine, see `transfers`.

use std::fs::File;
use std::io;
use std::iter::FusedIterator;
use std::os::fd::FromRawFd;
use std::sync::Arc;

use vm_memory::guest_memory::GuestMemorySliceIterator;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemory, GuestMemoryError, GuestMemoryMmap, GuestMemoryRegion, MmapRegion, Permissions,
    VolatileMemory, VolatileSlice,
};

/// The device named an address that the machine does not let it reach that way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory at {address:#x} for {length} bytes")]
pub struct Unreachable {
    /// First address of the access.
    pub address: u64,
    /// Its length.
    pub length: usize,
}

/// Why a transfer has not been made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DmaError {
    /// There is no such memory for the device, or the machine has refused the transfer.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The machine does not share this memory, so the bytes have to be sent for, and they are on their way now. The device stays due
    /// ([`crate::device::Device::next_wake`]): it is woken when they are through, and makes the same call again.
    #[error("the bytes are on their way: make the same call again when woken")]
    Pending,
}

/// Why a mapping cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The range is empty or wraps round the address space.
    #[error("an empty range, or one that wraps")]
    BadRange,
    /// The range overlaps one that is mapped.
    #[error("the range overlaps a mapped one")]
    Overlap,
    /// No regular file, or one that ends before the range does.
    #[error("no regular file, or one that ends before the range does")]
    BadFile,
    /// The operating system refused.
    #[error("cannot map: {0}")]
    System(#[from] io::Error),
}

/// One mapped range of guest memory.
#[derive(Clone, Debug)]
pub struct Region {
    base: u64,
    access: Permissions,
    mapping: Arc<MmapRegion>,
}

impl Region {
    /// Map `size` bytes of a file, from its `offset`, to be seen at the guest address `base`.
    pub fn from_file(base: u64, size: u64, access: Permissions, file: FileOffset) -> Result<Self, MapError> {
        let length = checked_length(base, size)?;
        // Touching a page behind the end of a file is a fatal signal, so only what has an end that can be asked for is mapped.
        let found = file.file().metadata()?;
        if !found.is_file() || file.start().checked_add(size).is_none_or(|end| end > found.len()) {
            return Err(MapError::BadFile);
        }
        let mut protection = 0;
        if access.allow(Permissions::Read) {
            protection |= libc::PROT_READ;
        }
        if access.has_write() {
            protection |= libc::PROT_WRITE;
        }
        let mapping = MmapRegion::build(Some(file), length, protection, libc::MAP_SHARED | libc::MAP_NORESERVE)
            .map_err(|error| MapError::System(into_io(error)))?;
        Ok(Self { base, access, mapping: Arc::new(mapping) })
    }

    /// Memory of the device model's own process, seen at the guest address `base`: for tests and for machines inside this process.
    pub fn anonymous(base: u64, size: u64) -> Result<Self, MapError> {
        let length = checked_length(base, size)?;
        let mapping = MmapRegion::new(length).map_err(|error| MapError::System(into_io(error)))?;
        Ok(Self { base, access: Permissions::ReadWrite, mapping: Arc::new(mapping) })
    }

    /// A range that another table of guest memory has mapped already.
    pub fn shared(base: u64, mapping: Arc<MmapRegion>) -> Result<Self, MapError> {
        checked_length(base, mapping.size() as u64)?;
        Ok(Self { base, access: Permissions::ReadWrite, mapping })
    }

    /// First guest address.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.mapping.size() as u64
    }

    fn last(&self) -> u64 {
        // No overflow: `checked_length` has seen this range.
        self.base + (self.mapping.size() as u64 - 1)
    }
}

fn checked_length(base: u64, size: u64) -> Result<usize, MapError> {
    if size == 0 || base.checked_add(size - 1).is_none() {
        return Err(MapError::BadRange);
    }
    usize::try_from(size).map_err(|_| MapError::BadRange)
}

fn into_io(error: vm_memory::mmap::MmapRegionError) -> io::Error {
    use vm_memory::mmap::MmapRegionError as E;
    match error {
        E::Mmap(error) => error,
        // The file ends before the range does, or its offset is not a page's: the caller's mistake.
        other => io::Error::new(io::ErrorKind::InvalidInput, other.to_string()),
    }
}

/// A file without a name, of `size` bytes for ever, to share with a client: nobody can shorten it under our feet.
pub fn shared_file(size: u64) -> io::Result<File> {
    // SAFETY: the name is a C string; the flags are documented ones.
    let fd = unsafe { libc::memfd_create(c"device-model".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: memfd_create returned a descriptor that nobody else owns.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(size)?;
    // SAFETY: fcntl with this command touches no memory of ours.
    if unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}

/// Told of each access to guest memory, before it is made.
pub trait Watch: std::fmt::Debug + Send + Sync {
    /// The device is about to read or write here.
    fn accessed(&self, address: u64, length: usize, write: bool);
}

/// A range of guest memory that the machine has and does not share.
#[derive(Clone, Copy, Debug)]
pub struct Far {
    /// First guest address.
    pub base: u64,
    /// Bytes; with the base, no more than the address space has.
    pub size: u64,
    /// What the device may do there.
    pub access: Permissions,
}

/// All guest memory that a device can reach. Cheap to share, replaced as a whole when a mapping comes or goes.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    // Sorted by base, disjoint.
    regions: Vec<Region>,
    // Sorted by base, disjoint from each other and from the regions.
    far: Vec<Far>,
    watch: Option<Arc<dyn Watch>>,
}

impl Memory {
    /// No memory: what a device sees that may not master the bus.
    pub fn empty() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// This memory and one more region.
    pub fn with(&self, region: Region) -> Result<Self, MapError> {
        let at = self.regions.partition_point(|other| other.base < region.base);
        let before = at.checked_sub(1).map(|index| &self.regions[index]);
        if before.is_some_and(|other| other.last() >= region.base)
            || self.regions.get(at).is_some_and(|other| other.base <= region.last())
        {
            return Err(MapError::Overlap);
        }
        let mut regions = Vec::with_capacity(self.regions.len() + 1);
        regions.extend_from_slice(&self.regions[..at]);
        regions.push(region);
        regions.extend_from_slice(&self.regions[at..]);
        Ok(Self { regions, far: self.far.clone(), watch: self.watch.clone() })
    }

    /// This memory and one more range that the machine does not share. It must not overlap what is there.
    pub fn with_far(&self, range: Far) -> Self {
        let at = self.far.partition_point(|other| other.base < range.base);
        let mut memory = self.clone();
        memory.far.insert(at, range);
        memory
    }

    /// This memory without the region or the range that begins at `base`.
    pub fn without(&self, base: u64) -> Self {
        let mut memory = self.clone();
        memory.regions.retain(|region| region.base != base);
        memory.far.retain(|range| range.base != base);
        memory
    }

    /// The same memory with a watch on it.
    pub fn watched(&self, watch: Arc<dyn Watch>) -> Self {
        Self { regions: self.regions.clone(), far: self.far.clone(), watch: Some(watch) }
    }

    /// This memory without what the machine does not share, and without a watch.
    pub fn shared_only(&self) -> Self {
        Self { regions: self.regions.clone(), far: Vec::new(), watch: None }
    }

    /// Bytes that the machine shares.
    pub fn size(&self) -> u64 {
        self.regions.iter().map(Region::size).sum()
    }

    /// What the machine does not share.
    pub fn far(&self) -> &[Far] {
        &self.far
    }

    /// Whether a transfer has to ask the machine: every byte of it is guest memory that allows it, and not every byte is shared.
    pub fn is_far(&self, address: u64, length: usize, access: Permissions) -> bool {
        let Some(mut left) = (length as u64).checked_sub(1).filter(|_| !self.far.is_empty()) else { return false };
        let (mut address, mut far) = (address, false);
        loop {
            let at = self.far.partition_point(|range| range.base <= address);
            let found = at.checked_sub(1).map(|index| &self.far[index]).filter(|range| address - range.base < range.size);
            let (last, allowed) = match (found, self.find(address)) {
                (Some(range), _) => (range.base + (range.size - 1), range.access),
                (None, Some(region)) => (region.last(), region.access),
                (None, None) => return false,
            };
            far |= found.is_some();
            if !allowed.allow(access) {
                return false;
            }
            let here = last - address;
            if left <= here {
                return far;
            }
            let Some(next) = last.checked_add(1) else { return false };
            left -= here + 1;
            address = next;
        }
    }

    /// The memory of a `vm-memory` table of mappings.
    pub fn from_mmap(table: &GuestMemoryMmap) -> Result<Self, MapError> {
        use vm_memory::GuestMemoryBackend;
        table
            .iter()
            .try_fold(Self::default(), |memory, region| memory.with(Region::shared(region.start_addr().0, region.get_mmap())?))
    }

    /// Read `into.len()` bytes at `address`: all of them or an error.
    pub fn read_at(&self, address: u64, into: &mut [u8]) -> Result<(), Unreachable> {
        let length = into.len();
        self.read_slice(into, GuestAddress(address)).map_err(|_| Unreachable { address, length })
    }

    /// Write `from` at `address`: all of it, or an error and possibly its beginning.
    pub fn write_at(&self, address: u64, from: &[u8]) -> Result<(), Unreachable> {
        self.write_slice(from, GuestAddress(address)).map_err(|_| Unreachable { address, length: from.len() })
    }

    fn find(&self, address: u64) -> Option<&Region> {
        let at = self.regions.partition_point(|region| region.base <= address);
        let region = &self.regions[at.checked_sub(1)?];
        (address <= region.last()).then_some(region)
    }
}

impl GuestMemory for Memory {
    type PhysicalMemory = GuestMemoryMmap;
    type Bitmap = ();

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        Slices { memory: self, address: addr.0, left: count, access }.all(|slice| slice.is_ok())
    }

    fn get_slices<'a>(
        &'a self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'a, ()>, GuestMemoryError> {
        if let Some(watch) = &self.watch {
            watch.accessed(addr.0, count, access.has_write());
        }
        Ok(Slices { memory: self, address: addr.0, left: count, access })
    }
}

/// The pieces of one access: one for each region it touches, or an error at the first address without one.
struct Slices<'a> {
    memory: &'a Memory,
    address: u64,
    left: usize,
    access: Permissions,
}

impl<'a> Slices<'a> {
    fn piece(&mut self) -> Result<VolatileSlice<'a, ()>, GuestMemoryError> {
        let missing = GuestMemoryError::InvalidGuestAddress(GuestAddress(self.address));
        let Some(region) = self.memory.find(self.address) else { return Err(missing) };
        if !region.access.allow(self.access) {
            return Err(missing);
        }
        let offset = (self.address - region.base) as usize;
        let length = self.left.min(region.mapping.size() - offset);
        let slice = region.mapping.get_slice(offset, length)?;
        self.left -= length;
        if self.left > 0 {
            self.address = self.address.checked_add(length as u64).ok_or(GuestMemoryError::GuestAddressOverflow)?;
        }
        Ok(slice)
    }
}

impl<'a> Iterator for Slices<'a> {
    type Item = Result<VolatileSlice<'a, ()>, GuestMemoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let piece = self.piece();
        if piece.is_err() {
            self.left = 0;
        }
        Some(piece)
    }
}

impl FusedIterator for Slices<'_> {}

impl<'a> GuestMemorySliceIterator<'a, ()> for Slices<'a> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(ranges: &[(u64, u64)]) -> Memory {
        ranges
            .iter()
            .fold(Memory::default(), |memory, &(base, size)| memory.with(Region::anonymous(base, size).unwrap()).unwrap())
    }

    #[test]
    fn an_access_may_cross_from_one_region_into_its_neighbour() {
        let memory = memory(&[(0x2000, 0x1000), (0x1000, 0x1000)]);

        memory.write_at(0x1ffe, &[1, 2, 3, 4]).unwrap();

        let mut back = [0; 4];
        memory.read_at(0x1ffe, &mut back).unwrap();
        assert_eq!(back, [1, 2, 3, 4]);
    }

    #[test]
    fn an_access_beyond_the_last_mapped_byte_is_an_error() {
        let memory = memory(&[(0x1000, 0x1000)]);

        assert!(memory.read_at(0x1fff, &mut [0; 2]).is_err());
        assert!(memory.read_at(0xfff, &mut [0; 2]).is_err());
        assert!(memory.write_at(u64::MAX, &[0; 2]).is_err());
        assert!(memory.read_at(0x1fff, &mut [0; 1]).is_ok());
    }

    #[test]
    fn overlapping_empty_and_wrapping_regions_are_refused() {
        let memory = memory(&[(0x1000, 0x2000)]);

        for (base, size) in [(0x1000, 0x1000), (0x2fff, 1), (0, 0x1001), (0, 0x10000)] {
            assert!(matches!(memory.with(Region::anonymous(base, size).unwrap()), Err(MapError::Overlap)), "{base:#x}");
        }
        assert!(matches!(Region::anonymous(0, 0), Err(MapError::BadRange)));
        assert!(matches!(Region::anonymous(u64::MAX, 2), Err(MapError::BadRange)));
        assert!(memory.with(Region::anonymous(0x3000, 1).unwrap()).is_ok());
    }

    #[test]
    fn memory_at_the_very_end_of_the_address_space_can_be_used() {
        let memory = memory(&[(u64::MAX - 0xfff, 0x1000)]);

        memory.write_at(u64::MAX, &[7]).unwrap();

        let mut back = [0];
        memory.read_at(u64::MAX, &mut back).unwrap();
        assert_eq!(back, [7]);
        assert!(memory.read_at(u64::MAX, &mut [0; 2]).is_err());
    }

    #[test]
    fn memory_that_was_granted_for_reading_cannot_be_written() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x1000).unwrap();
        let region = Region::from_file(0, 0x1000, Permissions::Read, FileOffset::new(file, 0)).unwrap();
        let memory = Memory::default().with(region).unwrap();

        assert!(memory.read_at(0, &mut [0; 8]).is_ok());
        assert!(memory.write_at(0, &[0; 8]).is_err());
    }

    #[test]
    fn a_file_shorter_than_the_range_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x1000).unwrap();

        assert!(Region::from_file(0, 0x2000, Permissions::ReadWrite, FileOffset::new(file, 0)).is_err());
    }

    #[test]
    fn an_access_that_touches_memory_which_is_not_shared_is_far() {
        let memory = memory(&[(0x1000, 0x1000), (0x3000, 0x1000)])
            .with_far(Far { base: 0x2000, size: 0x1000, access: Permissions::ReadWrite })
            .with_far(Far { base: u64::MAX - 0xfff, size: 0x1000, access: Permissions::Read });
        let far = |address, length| memory.is_far(address, length, Permissions::Read);

        assert!(!far(0x1000, 0x1000) && !far(0x3000, 1) && !far(0x2000, 0));
        assert!(far(0x2000, 0x1000) && far(0x1fff, 2) && far(0x2fff, 2) && far(0x1000, 0x3000));
        assert!(!far(0xfff, 2) && !far(0x1000, 0x3001) && !far(0x8000, 8));
        assert!(far(u64::MAX, 1) && !far(u64::MAX, 2));
        assert!(!memory.is_far(u64::MAX, 1, Permissions::Write));
        assert!(!memory.without(0x2000).is_far(0x2000, 1, Permissions::Read));
    }
}
