//! Lookaside lists: blocks of one size that are kept for the next allocation. The fast paths are inlined into drivers, which is why the
//! structure is laid out as on Windows.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::mem::offset_of;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::LIST_ENTRY;
use wdf_sys::wdm::functions::{ExAllocatePoolWithTag, ExFreePool};

use crate::lists::{ExpInterlockedPopEntrySList, InitializeSListHead, SListHeader};

/// Blocks that a list keeps at most.
const DEPTH: u16 = 64;
/// Types of pool.
const NON_PAGED_NX: i32 = 512;
const PAGED: i32 = 1;
/// `EX_LOOKASIDE_LIST_EX_FLAGS_FAIL_NO_RAISE` and `…_RAISE_ON_FAIL`: the only flags there are.
const KNOWN_FLAGS: u32 = 3;

type Allocate = unsafe extern "win64" fn(pool_type: i32, size: usize, tag: u32) -> *mut c_void;
type Free = unsafe extern "win64" fn(block: *mut c_void);

/// `GENERAL_LOOKASIDE`, which is all of `NPAGED_LOOKASIDE_LIST`, `PAGED_LOOKASIDE_LIST` and `LOOKASIDE_LIST_EX`.
#[repr(C, align(128))]
pub struct Lookaside {
    head: SListHeader,
    depth: u16,
    maximum_depth: u16,
    allocations: u32,
    misses: u32,
    frees: u32,
    free_misses: u32,
    pool_type: i32,
    tag: u32,
    size: u32,
    /// For `LOOKASIDE_LIST_EX` the routines get the list as a further argument.
    allocate: *const c_void,
    free: *const c_void,
    entry: LIST_ENTRY,
    last_allocations: u32,
    last_misses: u32,
    future: [u32; 2],
}

const _: () = {
    assert!(size_of::<Lookaside>() == 0x80);
    assert!(offset_of!(Lookaside, depth) == 0x10 && offset_of!(Lookaside, tag) == 0x28);
    assert!(offset_of!(Lookaside, allocate) == 0x30 && offset_of!(Lookaside, entry) == 0x40);
};

/// # Safety
/// `list` is a place for one.
unsafe fn initialize(list: *mut Lookaside, allocate: *const c_void, free: *const c_void, pool_type: i32, size: usize, tag: u32) {
    // SAFETY: the caller's promise; zero bytes are an empty list.
    unsafe {
        list.write_bytes(0, 1);
        InitializeSListHead(&raw mut (*list).head);
        (*list).depth = DEPTH;
        (*list).maximum_depth = DEPTH;
        (*list).pool_type = pool_type;
        (*list).tag = tag;
        // A free block holds the link of the list.
        (*list).size = size.max(16) as u32;
        (*list).allocate = allocate;
        (*list).free = free;
    }
}

/// The routines of a list that has none of its own.
fn or_default(allocate: Option<Allocate>, free: Option<Free>) -> (*const c_void, *const c_void) {
    let allocate = allocate.map_or(ExAllocatePoolWithTag as *const c_void, |routine| routine as *const c_void);
    (allocate, free.map_or(ExFreePool as *const c_void, |routine| routine as *const c_void))
}

/// Gives back every block that the list keeps.
///
/// # Safety
/// The list is initialised.
unsafe fn empty(list: *mut Lookaside, free: impl Fn(*mut c_void)) {
    loop {
        // SAFETY: the caller's promise.
        let block = unsafe { ExpInterlockedPopEntrySList((&raw mut (*list).head).cast()) };
        if block.is_null() {
            return;
        }
        free(block);
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExInitializeNPagedLookasideList(
    List: *mut Lookaside,
    Allocate: Option<Allocate>,
    Free: Option<Free>,
    Flags: u32,
    Size: usize,
    Tag: u32,
    _Depth: u16,
) {
    let (allocate, free) = or_default(Allocate, Free);
    // The flags are those of a pool type: raise on failure, never executable.
    let pool_type = NON_PAGED_NX | (Flags & 16) as i32;
    // SAFETY: the caller's promise: a place for a list.
    unsafe { initialize(List, allocate, free, pool_type, Size, Tag) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExInitializePagedLookasideList(
    List: *mut Lookaside,
    Allocate: Option<Allocate>,
    Free: Option<Free>,
    Flags: u32,
    Size: usize,
    Tag: u32,
    _Depth: u16,
) {
    let (allocate, free) = or_default(Allocate, Free);
    // SAFETY: the caller's promise: a place for a list.
    unsafe { initialize(List, allocate, free, PAGED | (Flags & 16) as i32, Size, Tag) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExDeleteNPagedLookasideList(List: *mut Lookaside) {
    // SAFETY: the caller's promise: an initialised list; its routine frees what its other one allocated.
    unsafe {
        let free: Free = core::mem::transmute((*List).free);
        empty(List, |block| free(block));
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExDeletePagedLookasideList(List: *mut Lookaside) {
    // SAFETY: as above.
    unsafe { ExDeleteNPagedLookasideList(List) };
}

/// Routines of a `LOOKASIDE_LIST_EX`.
type AllocateEx = unsafe extern "win64" fn(pool_type: i32, size: usize, tag: u32, list: *mut Lookaside) -> *mut c_void;
type FreeEx = unsafe extern "win64" fn(block: *mut c_void, list: *mut Lookaside);

/// What an extended list without routines of its own allocates and frees with: the list comes last and is not looked at.
unsafe extern "win64" fn free_for_list(block: *mut c_void, _list: *mut Lookaside) {
    // SAFETY: the caller's promise.
    unsafe { ExFreePool(block) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExInitializeLookasideListEx(
    List: *mut Lookaside,
    Allocate: Option<AllocateEx>,
    Free: Option<FreeEx>,
    PoolType: i32,
    Flags: u32,
    Size: usize,
    Tag: u32,
    _Depth: u16,
) -> NTSTATUS {
    if Flags & !KNOWN_FLAGS != 0 || Flags == KNOWN_FLAGS || Size > i32::MAX as usize {
        return NTSTATUS::INVALID_PARAMETER;
    }
    // The fourth argument does not disturb a function that takes three.
    let allocate = Allocate.map_or(ExAllocatePoolWithTag as *const c_void, |routine| routine as *const c_void);
    let free = Free.map_or(free_for_list as *const c_void, |routine| routine as *const c_void);
    // SAFETY: the caller's promise: a place for a list.
    unsafe { initialize(List, allocate, free, PoolType, Size, Tag) };
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExFlushLookasideListEx(List: *mut Lookaside) {
    // SAFETY: the caller's promise: an initialised extended list.
    unsafe {
        let free: FreeEx = core::mem::transmute((*List).free);
        empty(List, |block| free(block, List));
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExDeleteLookasideListEx(List: *mut Lookaside) {
    // SAFETY: as above.
    unsafe { ExFlushLookasideListEx(List) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lists::ExpInterlockedPushEntrySList;
    use crate::pool;
    use crate::sim;

    #[test]
    fn a_deleted_list_gives_back_what_it_kept() {
        sim::run(|_| {
            const TAG: u32 = u32::from_le_bytes(*b"Look");
            let list = Box::into_raw(Box::new(core::mem::MaybeUninit::<Lookaside>::uninit())).cast::<Lookaside>();
            // SAFETY: a place for a list; blocks as the inlined part of a driver allocates and frees them.
            unsafe {
                ExInitializeNPagedLookasideList(list, None, None, 0, 40, TAG, 0);
                let before = pool::usage(0);
                let allocate: Allocate = core::mem::transmute((*list).allocate);
                for _ in 0..3 {
                    let block = allocate((*list).pool_type, (*list).size as usize, (*list).tag);
                    ExpInterlockedPushEntrySList(list.cast(), block);
                }
                assert_eq!(pool::usage(0).blocks, before.blocks + 3);
                ExDeleteNPagedLookasideList(list);
                assert_eq!(pool::usage(0), before);
            }
        });
    }
}
