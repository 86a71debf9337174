//! Physical memory: which frames are free, and the kernel's page tables as boot makes them.

use core::sync::atomic::{AtomicU64, Ordering};

use super::cpu;
use super::sync::{Lock, Once};
use crate::boot_info::{BootInfo, Physical, Region};
use crate::frames::FrameAllocator;
use crate::layout::{DIRECT_BASE, DIRECT_SIZE, EARLY_LIMIT, IMAGE_BASE, LARGE_PAGE, PAGE, RANGE_BASE, SHARED_USER_DATA};
use crate::paging::{self, ACCESSED, CACHE_DISABLE, DIRTY, GLOBAL, MapError, NO_EXECUTE, PRESENT, Table, TableMemory};
use crate::paging::{WRITABLE, WRITE_THROUGH};

static FRAMES: Once<Lock<FrameAllocator<'static>>> = Once::new();
static ROOT: AtomicU64 = AtomicU64::new(0);
/// The loader's word on what is ordinary memory.
static MAP: Once<BootInfo> = Once::new();

/// Rights of a kernel page that can be read and written, and those of one that can be executed or only read.
const DATA: u64 = PRESENT | WRITABLE | ACCESSED | DIRTY | GLOBAL | NO_EXECUTE;
const CODE: u64 = PRESENT | ACCESSED | GLOBAL;
const CONSTANTS: u64 = PRESENT | ACCESSED | GLOBAL | NO_EXECUTE;

/// Below this lie firmware's structures and the page in which processors start.
const LOW_MEMORY: u64 = 1 << 20;

/// The kernel address at which a physical address of ordinary memory appears.
pub(crate) fn direct(physical: u64) -> *mut u8 {
    (DIRECT_BASE + physical) as *mut u8
}

/// Root of the kernel's page tables.
pub(crate) fn root() -> u64 {
    ROOT.load(Ordering::Relaxed)
}

fn frames() -> &'static Lock<FrameAllocator<'static>> {
    FRAMES.get()
}

/// Ordinary memory, firmware's and the image's included.
pub(crate) fn map() -> impl Iterator<Item = Region> {
    MAP.get().memory()
}

/// Whether ordinary memory lies at a physical address.
pub(crate) fn is_ordinary(physical: u64) -> bool {
    map().any(|region| (region.start..region.end).contains(&physical))
}

/// Where a physical address of ordinary memory can be read: in the direct map, or in the image.
pub(crate) fn alias(physical: u64) -> Option<u64> {
    if !is_ordinary(physical) {
        return None;
    }
    [DIRECT_BASE, IMAGE_BASE].into_iter().find_map(|base| {
        let address = base.checked_add(physical)?;
        paging::translate(&DirectTables, root(), address).filter(|found| found.physical == physical).map(|_| address)
    })
}

/// Free and total frames.
pub(crate) fn counts() -> (u64, u64) {
    let frames = frames().lock();
    (frames.free_count(), frames.total_count())
}

/// Physical address of a zeroed frame.
pub(crate) fn allocate_frame() -> Option<u64> {
    let physical = frames().lock().allocate()? * PAGE;
    zero(physical);
    Some(physical)
}

/// Physical address of the first of `count` adjacent zeroed frames that end at or below `limit`.
pub(crate) fn allocate_run(count: u64, limit: u64) -> Option<u64> {
    let physical = frames().lock().allocate_run(count, limit / PAGE)? * PAGE;
    (0..count).for_each(|index| zero(physical + index * PAGE));
    Some(physical)
}

/// Gives a frame back.
pub(crate) fn free_frame(physical: u64) {
    let released = frames().lock().release(physical / PAGE);
    assert!(released, "page frame {physical:#x} was given back twice or never allocated");
}

fn zero(physical: u64) {
    // SAFETY: the frame was just allocated: ordinary memory that the direct map covers and nobody else uses.
    unsafe { direct(physical).write_bytes(0, PAGE as usize) };
}

/// Page tables in ordinary memory.
pub(crate) struct DirectTables;

impl TableMemory for DirectTables {
    fn table(&self, physical: u64) -> &Table {
        // SAFETY: tables come from `new_table`, so they are frames of ordinary memory, used as tables until freed; entries are atomic.
        unsafe { &*direct(physical).cast() }
    }

    fn new_table(&self) -> Option<u64> {
        allocate_frame()
    }
}

/// Tables that the boot stage's own page tables can reach.
struct EarlyTables;

impl TableMemory for EarlyTables {
    fn table(&self, physical: u64) -> &Table {
        DirectTables.table(physical)
    }

    fn new_table(&self) -> Option<u64> {
        allocate_run(1, EARLY_LIMIT)
    }
}

/// Physical memory as far as the boot stage reaches.
pub(crate) struct EarlyMemory;

impl Physical for EarlyMemory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let Some(end) = address.checked_add(buffer.len() as u64) else { return false };
        if end > EARLY_LIMIT {
            return false;
        }
        // SAFETY: the boot stage's tables map this much of physical memory; what is no memory reads as ones.
        unsafe { buffer.as_mut_ptr().copy_from_nonoverlapping(direct(address), buffer.len()) };
        true
    }
}

unsafe extern "C" {
    static __text_start: u8;
    static __rodata_start: u8;
    static __data_start: u8;
    static __image_end: u8;
}

/// First address and address after the last of the image.
pub(crate) fn image() -> (u64, u64) {
    ((&raw const __text_start) as u64, (&raw const __image_end) as u64)
}

/// Physical memory that the image keeps for itself: whole large pages, so that the direct map shows no writable copy of it.
fn image_hole() -> Region {
    let end = (image().1 - IMAGE_BASE).next_multiple_of(LARGE_PAGE);
    Region { start: LARGE_PAGE, end }
}

/// Takes over memory: builds the frame allocator and the kernel's page tables, and loads them.
pub(crate) fn start(info: &BootInfo) {
    let usable = |region: Region| Region { start: region.start.max(LOW_MEMORY), end: region.end.min(DIRECT_SIZE) };
    let memory = || info.memory().map(usable).filter(|region| region.start < region.end);
    let top = memory().map(|region| region.end).max().expect("the loader's memory map names memory above 1 MiB");
    let archive = Region { start: info.archive.start / PAGE * PAGE, end: info.archive.end.next_multiple_of(PAGE) };
    let words = top.div_ceil(PAGE * 64);
    let bitmap =
        find_room(memory(), words * 8, &[image_hole(), archive]).expect("there is room for the bitmap of frames below 1 GiB");
    // SAFETY: ordinary memory that the boot stage maps, apart from image and archive, and reserved below.
    let bits = unsafe { core::slice::from_raw_parts_mut(direct(bitmap.start).cast::<u64>(), words as usize) };
    let mut frames = FrameAllocator::new(bits);
    memory().for_each(|region| frames.add(region.start / PAGE, region.end / PAGE));
    for taken in [image_hole(), bitmap, archive] {
        frames.reserve(taken.start / PAGE, taken.end.div_ceil(PAGE));
    }
    FRAMES.set(Lock::new(frames));
    MAP.set(info.clone());
    let root = build_tables(info).expect("there is memory for the kernel's page tables");
    ROOT.store(root, Ordering::Relaxed);
    // SAFETY: the new tables map the image and the boot stack in it where the old ones did.
    unsafe { cpu::set_page_table_root(root) };
}

/// The lowest page-aligned room for `size` bytes in ordinary memory that the boot stage reaches and that is not taken.
fn find_room(memory: impl Iterator<Item = Region>, size: u64, taken: &[Region]) -> Option<Region> {
    let size = size.next_multiple_of(PAGE);
    for region in memory {
        let mut start = region.start;
        while start.checked_add(size)? <= region.end.min(EARLY_LIMIT) {
            match taken.iter().find(|taken| start < taken.end && taken.start < start + size) {
                Some(taken) => start = taken.end,
                None => return Some(Region { start, end: start + size }),
            }
        }
    }
    None
}

fn build_tables(info: &BootInfo) -> Result<u64, MapError> {
    let tables = &EarlyTables;
    let root = tables.new_table().ok_or(MapError::NoMemory)?;
    let hole = image_hole();
    for region in info.memory() {
        for large in (region.start / LARGE_PAGE * LARGE_PAGE..region.end.min(DIRECT_SIZE)).step_by(LARGE_PAGE as usize) {
            if !(hole.start..hole.end).contains(&large) {
                match paging::map_large(tables, root, DIRECT_BASE + large, large, DATA) {
                    // Two regions may share a large page.
                    Ok(()) | Err(MapError::Occupied) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    let [text, constants, data, end] =
        [&raw const __text_start, &raw const __rodata_start, &raw const __data_start, &raw const __image_end]
            .map(|symbol| symbol as u64);
    for (start, end, flags) in [(text, constants, CODE), (constants, data, CONSTANTS), (data, end, DATA)] {
        for address in (start..end).step_by(PAGE as usize) {
            paging::map(tables, root, address, address - IMAGE_BASE, flags)?;
        }
    }
    let shared = tables.new_table().ok_or(MapError::NoMemory)?;
    paging::map(tables, root, SHARED_USER_DATA, shared, DATA)?;
    // Every address space copies the top level: what is made below it later must be there from the start.
    paging::make_entry(tables, root, RANGE_BASE, 2)?;
    Ok(root)
}

/// Maps a device's large aperture uncached at its place in the direct map. `None` when it does not fit there. Boot only.
///
/// Small mappings elsewhere keep large pages out of the range of kernel pages: QEMU's software emulation, which remembers one
/// range for all large pages, would otherwise drop its whole translation cache whenever a kernel page is unmapped.
pub(crate) fn map_aperture(physical: u64, size: u64) -> Option<*mut u8> {
    const UNCACHED: u64 = DATA | CACHE_DISABLE | WRITE_THROUGH;
    let end = physical.checked_add(size)?;
    if !physical.is_multiple_of(LARGE_PAGE) || end > DIRECT_SIZE {
        return None;
    }
    for large in (physical..end).step_by(LARGE_PAGE as usize) {
        paging::map_large(&DirectTables, root(), DIRECT_BASE + large, large, UNCACHED).ok()?;
    }
    Some(direct(physical))
}
