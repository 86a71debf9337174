//! Physical memory: pages of one file in memory, mapped wherever the kernel wants them.

use std::collections::BTreeMap;
use std::vec::Vec;

use core::ffi::c_void;
use core::ptr::NonNull;

use crate::hal::{PAGE_SIZE, Protection};

/// Frames there are: 512 MiB, of which the host gives only those that are used.
const FRAMES: usize = 128 << 10;
/// First frame's physical address: what lies below is firmware's on a real machine.
const BASE: u64 = 1 << 20;

/// What a range of kernel addresses is.
#[derive(Clone, Copy)]
struct Range {
    /// Pages, without the gap behind.
    pages: usize,
    /// First frame; `None` when the frames are listed elsewhere or belong to someone else.
    frame: Option<usize>,
    writable: bool,
}

pub(super) struct Memory {
    file: i32,
    used: Vec<bool>,
    next: usize,
    free: usize,
    ranges: BTreeMap<usize, Range>,
    /// Physical address behind each page of a range.
    pages: BTreeMap<usize, u64>,
    /// Device memory: physical address, where it lies in this process, bytes.
    devices: Vec<(u64, usize, usize)>,
}

fn access_of(protection: Protection) -> i32 {
    match protection {
        Protection::None => libc::PROT_NONE,
        Protection::Read => libc::PROT_READ,
        Protection::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        Protection::ReadExecute => libc::PROT_READ | libc::PROT_EXEC,
    }
}

impl Memory {
    pub(super) fn new() -> Self {
        // SAFETY: makes a new file in memory; the name is terminated.
        let file = unsafe { libc::memfd_create(c"ntlet".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(file >= 0, "memfd_create: {}", std::io::Error::last_os_error());
        // SAFETY: the file is our own.
        let sized = unsafe { libc::ftruncate(file, (FRAMES * PAGE_SIZE) as i64) };
        assert!(sized == 0, "ftruncate: {}", std::io::Error::last_os_error());
        Self {
            file,
            used: std::vec![false; FRAMES],
            next: 0,
            free: FRAMES,
            ranges: BTreeMap::new(),
            pages: BTreeMap::new(),
            devices: Vec::new(),
        }
    }

    pub(super) fn counts(&self) -> (u64, u64) {
        (self.free as u64, FRAMES as u64)
    }

    /// Frames next to each other, wholly below `limit`. The search goes round, so that freed memory is not given out again at once.
    fn take_frames(&mut self, count: usize, limit: u64) -> Option<usize> {
        let last =
            usize::try_from((limit.saturating_sub(BASE) / PAGE_SIZE as u64).min(FRAMES as u64)).ok()?.checked_sub(count)?;
        let fits = |&start: &usize| self.used[start..start + count].iter().all(|used| !used);
        let start = (self.next.min(last + 1)..=last).find(fits).or_else(|| (0..=last).find(fits))?;
        self.used[start..start + count].fill(true);
        self.next = start + count;
        self.free -= count;
        Some(start)
    }

    /// A range of addresses with an unmapped page behind.
    fn reserve(pages: usize) -> Option<usize> {
        let size = (pages + 1) * PAGE_SIZE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping that nothing can touch.
        let memory = unsafe { libc::mmap(core::ptr::null_mut(), size, libc::PROT_NONE, flags, -1, 0) };
        (memory != libc::MAP_FAILED).then(|| memory.expose_provenance())
    }

    fn map(&self, at: usize, frame: usize, pages: usize, protection: Protection) {
        let (place, offset) = (core::ptr::with_exposed_provenance_mut(at), (frame * PAGE_SIZE) as i64);
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        // SAFETY: replaces pages of a range that was reserved for this.
        let memory = unsafe { libc::mmap(place, pages * PAGE_SIZE, access_of(protection), flags, self.file, offset) };
        assert!(memory != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    }

    pub(super) fn allocate(&mut self, pages: usize, protection: Protection, limit: u64) -> Option<NonNull<u8>> {
        let frame = self.take_frames(pages, limit)?;
        let start = Self::reserve(pages)?;
        self.map(start, frame, pages, Protection::ReadWrite);
        let memory = core::ptr::with_exposed_provenance_mut::<u8>(start);
        // SAFETY: mapped read-write just now.
        unsafe { memory.write_bytes(0, pages * PAGE_SIZE) };
        for page in 0..pages {
            self.pages.insert(start + page * PAGE_SIZE, BASE + ((frame + page) * PAGE_SIZE) as u64);
        }
        let writable = protection == Protection::ReadWrite;
        self.ranges.insert(start, Range { pages, frame: Some(frame), writable });
        self.protect(start, pages, protection);
        NonNull::new(memory)
    }

    pub(super) fn protect(&mut self, start: usize, pages: usize, protection: Protection) {
        // SAFETY: pages of a range that this machine has given out.
        let result =
            unsafe { libc::mprotect(core::ptr::with_exposed_provenance_mut(start), pages * PAGE_SIZE, access_of(protection)) };
        assert!(result == 0, "mprotect: {}", std::io::Error::last_os_error());
    }

    /// Takes a range back. What still refers to it faults.
    pub(super) fn release(&mut self, start: usize) {
        let page = start & !(PAGE_SIZE - 1);
        let range = self.ranges.remove(&page).unwrap_or_else(|| panic!("{start:#x} is no range that was given out"));
        if let Some(frame) = range.frame {
            self.used[frame..frame + range.pages].fill(false);
            self.free += range.pages;
        }
        for number in 0..range.pages {
            self.pages.remove(&(page + number * PAGE_SIZE));
        }
        // SAFETY: the range is ours and nobody's any more.
        unsafe { libc::munmap(core::ptr::with_exposed_provenance_mut(page), (range.pages + 1) * PAGE_SIZE) };
    }

    pub(super) fn physical(&self, address: usize) -> Option<u64> {
        let page = self.pages.get(&(address & !(PAGE_SIZE - 1)))?;
        Some(page + (address % PAGE_SIZE) as u64)
    }

    /// Memory of a device, at a physical address.
    pub(super) fn add_device(&mut self, physical: u64, bytes: usize) -> NonNull<u8> {
        let memory = std::vec![0u64; bytes.div_ceil(8)].leak();
        let start = NonNull::from(memory).cast::<u8>();
        self.devices.push((physical, start.as_ptr().expose_provenance(), bytes));
        start
    }

    /// A device's memory as it is, ordinary memory mapped once more.
    pub(super) fn map_physical(&mut self, physical: u64, length: usize) -> Option<NonNull<u8>> {
        let device = self.devices.iter().find(|&&(base, _, bytes)| {
            physical >= base && physical - base <= bytes as u64 && length as u64 <= bytes as u64 - (physical - base)
        });
        if let Some(&(base, start, _)) = device {
            return NonNull::new(core::ptr::with_exposed_provenance_mut(start + (physical - base) as usize));
        }
        let first = physical & !(PAGE_SIZE as u64 - 1);
        let pages = (physical - first) as usize + length;
        let frames: Vec<u64> = (0..pages.div_ceil(PAGE_SIZE) as u64).map(|page| first / PAGE_SIZE as u64 + page).collect();
        // SAFETY: the offset lies in the first page that was mapped.
        self.map_frames(&frames).map(|start| unsafe { start.add((physical - first) as usize) })
    }

    pub(super) fn map_frames(&mut self, frames: &[u64]) -> Option<NonNull<u8>> {
        let first = BASE / PAGE_SIZE as u64;
        let numbers: Option<Vec<usize>> =
            frames.iter().map(|frame| usize::try_from(frame.checked_sub(first)?).ok().filter(|&frame| frame < FRAMES)).collect();
        let numbers = numbers?;
        let start = Self::reserve(numbers.len())?;
        for (page, &frame) in numbers.iter().enumerate() {
            self.map(start + page * PAGE_SIZE, frame, 1, Protection::ReadWrite);
            self.pages.insert(start + page * PAGE_SIZE, BASE + (frame * PAGE_SIZE) as u64);
        }
        self.ranges.insert(start, Range { pages: numbers.len(), frame: None, writable: true });
        NonNull::new(core::ptr::with_exposed_provenance_mut(start))
    }

    /// Undoes a mapping; a device's memory stays.
    pub(super) fn unmap(&mut self, start: usize) {
        if !self.devices.iter().any(|&(_, memory, bytes)| (memory..memory + bytes).contains(&start)) {
            self.release(start);
        }
    }

    /// Whether bytes can be read. What lies in this process besides the machine's memory (statics, the host's heap) counts as kernel
    /// memory; it is asked for by a system call that fails instead of faulting.
    pub(super) fn is_mapped(&self, address: usize, length: usize, write: bool) -> bool {
        let range = self.ranges.range(..=address).next_back();
        if let Some((start, range)) = range
            && address - start < range.pages * PAGE_SIZE
            && length <= range.pages * PAGE_SIZE - (address - start)
            && !range.writable
            && write
        {
            return false;
        }
        let mut byte = 0u8;
        let end = address.saturating_add(length.max(1));
        let mut at = address;
        while at < end {
            let local = libc::iovec { iov_base: (&raw mut byte).cast::<c_void>(), iov_len: 1 };
            let remote = libc::iovec { iov_base: core::ptr::without_provenance_mut(at), iov_len: 1 };
            // SAFETY: copies one byte into ours; an address that is not there is an error.
            if unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) } != 1 {
                return false;
            }
            at = (at & !(PAGE_SIZE - 1)).saturating_add(PAGE_SIZE);
        }
        true
    }
}
