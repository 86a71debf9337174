//! The address space of a program: regions that are reserved, committed, and backed page by page as they are touched.

use alloc::vec::Vec;

use wdf_sys::NTSTATUS;

use crate::hal;
use crate::hal::{AddressSpace, PAGE_SIZE, Protection};
use crate::lock::SpinLock;
use crate::memory::user::{USER_LIMIT, is_user_range};

/// First address that is given out where the program does not ask for one.
const FIRST: u64 = 0x1_0000_0000;
/// Addresses are given out in these steps.
const GRANULARITY: u64 = 0x1_0000;
/// Largest region, in pages.
const MAX_PAGES: usize = 1 << 18;
/// Most regions.
const MAX_REGIONS: usize = 4096;
/// Pages that are backed at one fault.
const AROUND: usize = 16;

/// What a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    /// `None` is reserved only.
    protection: Option<Protection>,
    is_backed: bool,
}

const RESERVED: Page = Page { protection: None, is_backed: false };

/// Addresses that were reserved together.
#[derive(Debug)]
struct Region {
    start: u64,
    pages: Vec<Page>,
    is_image: bool,
}

impl Region {
    const fn end(&self) -> u64 {
        self.start + (self.pages.len() * PAGE_SIZE) as u64
    }

    fn range(&self, address: u64, length: u64) -> Option<(usize, usize)> {
        let end = address.checked_add(length)?;
        if address < self.start || end > self.end() {
            return None;
        }
        let first = (address - self.start) as usize / PAGE_SIZE;
        Some((first, ((end - self.start) as usize).div_ceil(PAGE_SIZE)))
    }
}

/// The address space of one process.
#[derive(Debug)]
pub(crate) struct Space {
    machine: AddressSpace,
    regions: SpinLock<Vec<Region>>,
}

impl Space {
    /// An empty space.
    pub(crate) const fn new(machine: AddressSpace) -> Self {
        Self { machine, regions: SpinLock::new(Vec::new()) }
    }

    /// The machine's name for it.
    pub(crate) const fn machine(&self) -> AddressSpace {
        self.machine
    }

    /// Reserves pages at `wanted`, or where there is room; committed at once with `protection`, unless that is `None`.
    pub(crate) fn reserve(&self, wanted: Option<u64>, pages: usize, protection: Option<Protection>) -> Result<u64, NTSTATUS> {
        if pages == 0 || pages > MAX_PAGES {
            return Err(if pages == 0 { NTSTATUS::INVALID_PARAMETER } else { NTSTATUS::NO_MEMORY });
        }
        let mut regions = self.regions.lock();
        if regions.len() >= MAX_REGIONS {
            return Err(NTSTATUS::NO_MEMORY);
        }
        let length = (pages * PAGE_SIZE) as u64;
        let start = match wanted {
            Some(address) => {
                let start = address & !(GRANULARITY - 1);
                let is_taken = regions.iter().any(|region| region.start < start + length && start < region.end());
                if start == 0 || !is_user_range(start, length) || is_taken {
                    return Err(NTSTATUS::CONFLICTING_ADDRESSES);
                }
                start
            }
            None => free_place(&regions, length).ok_or(NTSTATUS::NO_MEMORY)?,
        };
        let page = Page { protection, is_backed: false };
        let at = regions.partition_point(|region| region.start < start);
        regions.insert(at, Region { start, pages: alloc::vec![page; pages], is_image: false });
        Ok(start)
    }

    /// Marks the region at an address as the program's image.
    pub(crate) fn set_image(&self, start: u64) {
        if let Some(region) = self.regions.lock().iter_mut().find(|region| region.start == start) {
            region.is_image = true;
        }
    }

    /// Offset of an address in the program's image.
    pub(crate) fn image_offset(&self, address: u64) -> Option<u64> {
        let regions = self.regions.lock();
        regions
            .iter()
            .find(|region| region.is_image && (region.start..region.end()).contains(&address))
            .map(|region| address - region.start)
    }

    /// Commits reserved pages, or changes the protection of committed ones.
    pub(crate) fn commit(&self, address: u64, length: u64, protection: Protection) -> Result<(), NTSTATUS> {
        let mut regions = self.regions.lock();
        let region = find(&mut regions, address).ok_or(NTSTATUS::CONFLICTING_ADDRESSES)?;
        let (first, end) = region.range(address, length).ok_or(NTSTATUS::CONFLICTING_ADDRESSES)?;
        self.set_protection(region, first, end, protection);
        Ok(())
    }

    /// `NtProtectVirtualMemory`; the old protection of the first page.
    pub(crate) fn protect(&self, address: u64, length: u64, protection: Protection) -> Result<Protection, NTSTATUS> {
        let mut regions = self.regions.lock();
        let region = find(&mut regions, address).ok_or(NTSTATUS::CONFLICTING_ADDRESSES)?;
        let (first, end) = region.range(address, length).ok_or(NTSTATUS::CONFLICTING_ADDRESSES)?;
        if region.pages[first..end].iter().any(|page| page.protection.is_none()) {
            return Err(NTSTATUS::MEMORY_NOT_ALLOCATED);
        }
        let old = region.pages[first].protection.unwrap_or(Protection::None);
        self.set_protection(region, first, end, protection);
        Ok(old)
    }

    fn set_protection(&self, region: &mut Region, first: usize, end: usize, protection: Protection) {
        for (index, page) in region.pages.iter_mut().enumerate().take(end).skip(first) {
            if page.is_backed && page.protection != Some(protection) {
                let address = region.start + (index * PAGE_SIZE) as u64;
                // A page that is backed can be protected; it is in the tables.
                let _ = hal().protect_user(self.machine, address, 1, protection);
            }
            page.protection = Some(protection);
        }
    }

    /// Gives committed pages back; with `release` the whole region, by its start.
    pub(crate) fn free(&self, address: u64, length: u64, release: bool, has_locked_pages: bool) -> Result<(u64, u64), NTSTATUS> {
        let mut regions = self.regions.lock();
        let at = regions
            .iter()
            .position(|region| (region.start..region.end()).contains(&address))
            .ok_or(NTSTATUS::MEMORY_NOT_ALLOCATED)?;
        let region = &mut regions[at];
        if release && (address != region.start || length != 0 && length != region.end() - region.start) {
            return Err(if length == 0 { NTSTATUS::FREE_VM_NOT_AT_BASE } else { NTSTATUS::UNABLE_TO_FREE_VM });
        }
        let length = if length == 0 { region.end() - address } else { length };
        let (first, end) = region.range(address, length).ok_or(NTSTATUS::UNABLE_TO_FREE_VM)?;
        for index in first..end {
            let page = &mut region.pages[index];
            let address = region.start + (index * PAGE_SIZE) as u64;
            if page.is_backed && !has_locked_pages {
                hal().unmap_user(self.machine, address, 1);
                *page = RESERVED;
            } else if page.is_backed {
                // A device may be writing there: the page stays until the process ends, out of the program's reach.
                let _ = hal().protect_user(self.machine, address, 1, Protection::None);
                page.protection = Some(Protection::None);
            } else {
                *page = RESERVED;
            }
        }
        let result = (region.start + (first * PAGE_SIZE) as u64, ((end - first) * PAGE_SIZE) as u64);
        if release && !has_locked_pages {
            regions.remove(at);
        }
        Ok(result)
    }

    /// Backs every page of a range that was committed. `false` when the range cannot be accessed so.
    pub(crate) fn fault_in(&self, address: u64, length: usize, is_write: bool) -> bool {
        if length == 0 {
            return true;
        }
        if !is_user_range(address, length as u64) {
            return false;
        }
        let mut regions = self.regions.lock();
        let mut position = address;
        let end = address + length as u64;
        while position < end {
            let Some(region) = find(&mut regions, position) else { return false };
            let part = end.min(region.end());
            let Some((first, last)) = region.range(position, part - position) else { return false };
            if !self.back(region, first, last, is_write) {
                return false;
            }
            position = part;
        }
        true
    }

    /// Backs pages `first` to `last` of a region, and a few after them.
    fn back(&self, region: &mut Region, first: usize, last: usize, is_write: bool) -> bool {
        let is_allowed = |page: &Page| match page.protection {
            Some(Protection::ReadWrite) => true,
            Some(Protection::Read | Protection::ReadExecute) => !is_write,
            Some(Protection::None) | None => false,
        };
        if !region.pages[first..last].iter().all(is_allowed) {
            return false;
        }
        let around = last.max(first + AROUND).min(region.pages.len());
        for index in first..around {
            let page = &mut region.pages[index];
            let Some(protection) = page.protection.filter(|&protection| protection != Protection::None) else { break };
            if page.is_backed {
                continue;
            }
            let address = region.start + (index * PAGE_SIZE) as u64;
            if hal().map_user(self.machine, address, 1, protection).is_none() {
                // Out of memory; what was asked for may be backed already.
                return index >= last;
            }
            page.is_backed = true;
        }
        true
    }

    /// Writes to the space, whichever is loaded: for what a program starts with.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), NTSTATUS> {
        if !self.fault_in(address, bytes.len(), true) {
            return Err(NTSTATUS::NO_MEMORY);
        }
        // At DISPATCH_LEVEL no other thread's space is loaded meanwhile.
        let guard = self.regions.lock();
        hal().load_address_space(self.machine);
        let written = hal().copy_to_user(address, bytes);
        drop(guard);
        written.map_err(|_| NTSTATUS::ACCESS_VIOLATION)
    }
}

fn find(regions: &mut [Region], address: u64) -> Option<&mut Region> {
    regions.iter_mut().find(|region| (region.start..region.end()).contains(&address))
}

/// The lowest place with room.
fn free_place(regions: &[Region], length: u64) -> Option<u64> {
    let mut start = FIRST;
    for region in regions {
        if region.end() <= start {
            continue;
        }
        if region.start >= start + length {
            break;
        }
        start = region.end().next_multiple_of(GRANULARITY);
    }
    (start + length <= USER_LIMIT).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> Space {
        Space::new(AddressSpace(0))
    }

    #[test]
    fn regions_do_not_overlap() {
        let space = space();
        let first = space.reserve(None, 1, None).unwrap();
        let second = space.reserve(None, 1, None).unwrap();
        assert_ne!(first, second);
        assert_eq!(space.reserve(Some(first), 1, None), Err(NTSTATUS::CONFLICTING_ADDRESSES));
    }

    #[test]
    fn addresses_that_are_not_the_users_and_absurd_sizes_are_refused() {
        let space = space();
        assert_eq!(space.reserve(Some(USER_LIMIT), 1, None), Err(NTSTATUS::CONFLICTING_ADDRESSES));
        assert_eq!(space.reserve(Some(0), 1, None), Err(NTSTATUS::CONFLICTING_ADDRESSES));
        assert_eq!(space.reserve(None, usize::MAX, None), Err(NTSTATUS::NO_MEMORY));
        assert!(!space.fault_in(u64::MAX, 2, false));
    }

    #[test]
    fn what_is_only_reserved_can_neither_be_touched_nor_protected() {
        let space = space();
        let start = space.reserve(None, 2, None).unwrap();
        assert!(!space.fault_in(start, 1, false));
        assert_eq!(space.protect(start, 1, Protection::Read), Err(NTSTATUS::MEMORY_NOT_ALLOCATED));
        space.commit(start, 4096, Protection::ReadWrite).unwrap();
        assert_eq!(space.protect(start, 1, Protection::Read), Ok(Protection::ReadWrite));
    }

    #[test]
    fn a_region_is_released_by_its_start_only() {
        let space = space();
        let start = space.reserve(None, 2, None).unwrap();
        assert_eq!(space.free(start + 4096, 0, true, false), Err(NTSTATUS::FREE_VM_NOT_AT_BASE));
        assert_eq!(space.free(start, 0, true, false), Ok((start, 8192)));
        assert_eq!(space.free(start, 0, true, false), Err(NTSTATUS::MEMORY_NOT_ALLOCATED));
    }
}
