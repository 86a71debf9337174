//! Kernel pages and mappings: the executive's `allocate_pages`, `map_physical`, `map_frames` and their kin. Every range is
//! followed by a page that is never mapped, so that running over its end is a fault.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::memory::{self, DirectTables};
use super::shoot_down;
use super::sync::Lock;
use crate::boot_info::Physical;
use crate::layout::{PAGE, RANGE_BASE, RANGE_SIZE, pages_spanned};
use crate::paging::{
    self, ACCESSED, CACHE_DISABLE, DIRTY, GLOBAL, NO_EXECUTE, OWNED, PRESENT, WRITABLE, WRITE_COMBINED, WRITE_THROUGH,
};
use crate::ranges::{FreeRanges, Range};
use kernel::hal::{Caching, Protection};

/// Free ranges that can be told apart. Fragmentation beyond that loses addresses, not memory.
const MAX_FREE_RANGES: usize = 8192;
/// Unmapped ranges that wait until no processor can have a translation of them left.
const WAITING: usize = 64;
/// Pages of one allocation.
const MAX_PAGES: u64 = 1 << 24;

struct Addresses {
    free: FreeRanges<MAX_FREE_RANGES>,
    waiting: [Range; WAITING],
    waiting_count: usize,
}

static ADDRESSES: Lock<Addresses> = Lock::new(Addresses {
    free: FreeRanges::new((RANGE_SIZE / PAGE) as u32),
    waiting: [Range { start: 0, length: 0 }; WAITING],
    waiting_count: 0,
});

/// Taken while tables below the kernel's top level are made or filled.
static TABLES: Lock<()> = Lock::new(());

fn address_of_page(page: u32) -> u64 {
    RANGE_BASE + u64::from(page) * PAGE
}

fn page_of_address(address: u64) -> u32 {
    debug_assert!((RANGE_BASE..RANGE_BASE + RANGE_SIZE).contains(&address));
    ((address - RANGE_BASE) / PAGE) as u32
}

/// Addresses for `pages` pages and the gap behind them.
fn reserve(pages: u64) -> Option<u64> {
    if pages == 0 || pages > MAX_PAGES {
        return None;
    }
    let length = pages as u32 + 1;
    let first = ADDRESSES.lock().free.allocate(length);
    first
        .or_else(|| {
            recycle();
            ADDRESSES.lock().free.allocate(length)
        })
        .map(address_of_page)
}

/// Gives addresses back that no processor has a translation of.
fn release(address: u64, pages: u64) {
    give_back(&mut ADDRESSES.lock(), Range { start: page_of_address(address), length: pages as u32 + 1 });
}

fn give_back(addresses: &mut Addresses, range: Range) {
    // A full table loses the range: addresses are plentiful, and there is nothing better to do with it.
    let _ = addresses.free.release(range);
}

/// Gives addresses back that other processors may still have translations of.
fn release_later(address: u64, pages: u64) {
    let range = Range { start: page_of_address(address), length: pages as u32 + 1 };
    loop {
        let mut addresses = ADDRESSES.lock();
        let count = addresses.waiting_count;
        if count < WAITING {
            addresses.waiting[count] = range;
            addresses.waiting_count += 1;
            return;
        }
        drop(addresses);
        recycle();
    }
}

/// Makes every processor forget the ranges that wait, and frees them.
fn recycle() {
    let (waiting, count) = {
        let mut addresses = ADDRESSES.lock();
        (addresses.waiting, core::mem::take(&mut addresses.waiting_count))
    };
    if count != 0 {
        shoot_down::everything();
        let mut addresses = ADDRESSES.lock();
        waiting[..count].iter().for_each(|&range| give_back(&mut addresses, range));
    }
}

/// Flags of an entry with this protection.
fn protection_flags(protection: Protection) -> u64 {
    const COMMON: u64 = PRESENT | ACCESSED | GLOBAL;
    match protection {
        Protection::None => 0,
        Protection::Read => COMMON | NO_EXECUTE,
        Protection::ReadWrite => COMMON | WRITABLE | DIRTY | NO_EXECUTE,
        Protection::ReadExecute => COMMON,
    }
}

fn caching_flags(caching: Caching) -> u64 {
    match caching {
        Caching::Uncached => CACHE_DISABLE | WRITE_THROUGH,
        Caching::WriteCombined => WRITE_COMBINED,
        Caching::Cached => 0,
    }
}

/// Maps the frames that `frame` returns at new addresses. When one cannot be had, or there is no memory for tables, nothing
/// remains. With [`OWNED`] among the flags the frames belong to the mapping.
fn map(pages: u64, flags: u64, mut frame: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
    let start = reserve(pages)?;
    for index in 0..pages {
        let address = start + index * PAGE;
        let mapped = frame(index).is_some_and(|physical| {
            let mapped = {
                let _tables = TABLES.lock();
                paging::map(&DirectTables, memory::root(), address, physical, flags).is_ok()
            };
            if !mapped && flags & OWNED != 0 {
                memory::free_frame(physical);
            }
            mapped
        });
        if !mapped {
            clear(start, index, flags & OWNED != 0);
            release(start, pages);
            return None;
        }
    }
    Some(start)
}

/// Unmaps `pages` pages everywhere; frees their frames when they are owned.
fn clear(start: u64, pages: u64, owned: bool) {
    if pages == 0 {
        return;
    }
    let slots = || {
        (0..pages).map(move |index| {
            let address = start + index * PAGE;
            let slot = paging::entry(&DirectTables, memory::root(), address);
            slot.filter(|slot| slot.load(Ordering::Relaxed) & (PRESENT | OWNED) != 0)
                .filter(|slot| (slot.load(Ordering::Relaxed) & OWNED != 0) == owned)
                .unwrap_or_else(|| panic!("kernel page {address:#x} is given back in a way it was not obtained"))
        })
    };
    if !owned {
        slots().for_each(|slot| slot.store(0, Ordering::Relaxed));
        return;
    }
    // The frames stay in the entries until no processor can reach them any more.
    slots().for_each(|slot| {
        slot.fetch_and(!PRESENT, Ordering::Relaxed);
    });
    shoot_down::pages(start, pages);
    slots().for_each(|slot| memory::free_frame(paging::address_of(slot.swap(0, Ordering::Relaxed))));
}

fn pointer(address: u64) -> Option<NonNull<u8>> {
    NonNull::new(address as *mut u8)
}

/// New zeroed pages.
pub(crate) fn allocate_pages(pages: usize, protection: Protection) -> Option<NonNull<u8>> {
    map(pages as u64, OWNED | protection_flags(protection), |_| memory::allocate_frame()).and_then(pointer)
}

/// New zeroed pages, adjacent in physical memory and wholly below `limit`.
pub(crate) fn allocate_contiguous(pages: usize, limit: u64) -> Option<NonNull<u8>> {
    let pages = pages as u64;
    let first = memory::allocate_run(pages, limit)?;
    let mut mapped = 0;
    let start = map(pages, OWNED | protection_flags(Protection::ReadWrite), |index| {
        mapped = index + 1;
        Some(first + index * PAGE)
    });
    if start.is_none() {
        // `map` gave back the frames that it had asked for.
        (mapped..pages).for_each(|index| memory::free_frame(first + index * PAGE));
    }
    start.and_then(pointer)
}

/// Gives back what one of the two functions above returned.
pub(crate) fn free_pages(start: NonNull<u8>, pages: usize) {
    let address = start.as_ptr() as u64;
    clear(address, pages as u64, true);
    release(address, pages as u64);
}

/// Changes the protection of allocated pages.
pub(crate) fn protect_pages(start: NonNull<u8>, pages: usize, protection: Protection) {
    let address = start.as_ptr() as u64;
    for page in (0..pages as u64).map(|index| address + index * PAGE) {
        let slot = paging::entry(&DirectTables, memory::root(), page).filter(|slot| slot.load(Ordering::Relaxed) & OWNED != 0);
        let slot =
            slot.unwrap_or_else(|| panic!("page {page:#x}, whose protection is to change, is not an allocated kernel page"));
        let frame = paging::address_of(slot.load(Ordering::Relaxed));
        slot.store(frame | OWNED | protection_flags(protection), Ordering::Relaxed);
    }
    shoot_down::pages(address, pages as u64);
}

/// Maps physical addresses; the result points at `physical` itself.
pub(crate) fn map_physical(physical: u64, length: usize, caching: Caching) -> Option<NonNull<u8>> {
    const PHYSICAL_LIMIT: u64 = 1 << 52;
    if physical.checked_add(length as u64)? > PHYSICAL_LIMIT || length == 0 {
        return None;
    }
    let first = physical / PAGE * PAGE;
    let flags = protection_flags(Protection::ReadWrite) | caching_flags(caching);
    let start = map(pages_spanned(physical, length as u64), flags, |index| Some(first + index * PAGE))?;
    pointer(start + physical % PAGE)
}

/// Maps page frames, given as numbers, next to each other.
pub(crate) fn map_frames(frames: &[u64]) -> Option<NonNull<u8>> {
    let flags = protection_flags(Protection::ReadWrite);
    map(frames.len() as u64, flags, |index| frames[index as usize].checked_mul(PAGE)).and_then(pointer)
}

/// Undoes the two functions above. Other processors may keep translations until the addresses are used again.
pub(crate) fn unmap(start: NonNull<u8>, length: usize) {
    let address = start.as_ptr() as u64;
    let (first, pages) = (address / PAGE * PAGE, pages_spanned(address, length as u64));
    clear(first, pages, false);
    shoot_down::pages_here(first, pages);
    release_later(first, pages);
}

/// Physical address behind a kernel address or one of the current program.
pub(crate) fn physical_address(address: u64) -> Option<u64> {
    paging::translate(&DirectTables, super::user_memory::current_root(), address).map(|found| found.physical)
}

/// Whether all of a kernel range is mapped, and writable if asked.
pub(crate) fn is_mapped(address: u64, length: usize, write: bool) -> bool {
    let needed = PRESENT | if write { WRITABLE } else { 0 };
    let Some(end) = address.checked_add(length as u64) else { return false };
    let mapped =
        |page: u64| paging::translate(&DirectTables, memory::root(), page).is_some_and(|found| found.flags & needed == needed);
    address >= crate::layout::DIRECT_BASE && (address / PAGE * PAGE..end).step_by(PAGE as usize).all(mapped)
}

/// All of physical memory, by mapping what is asked for.
pub(crate) struct MappedMemory;

impl Physical for MappedMemory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let Some(source) = map_physical(address, buffer.len(), Caching::Cached) else { return false };
        // SAFETY: the mapping covers as many bytes; firmware tables, which this is for, do not change.
        unsafe { buffer.as_mut_ptr().copy_from_nonoverlapping(source.as_ptr(), buffer.len()) };
        unmap(source, buffer.len());
        true
    }
}
