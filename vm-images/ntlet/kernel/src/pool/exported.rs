//! Pool functions that drivers call. Who calls is found by the return address, which a few instructions before each function pass on.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::arch::naked_asm;
use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::{
    POOL_FLAG_CACHE_ALIGNED, POOL_FLAG_NON_PAGED, POOL_FLAG_NON_PAGED_EXECUTE, POOL_FLAG_PAGED, POOL_FLAG_RAISE_ON_FAILURE,
    POOL_FLAG_UNINITIALIZED, bug_check,
};

use super::block::Fault;
use super::{HEADER, Wanted, allocate, free};
use crate::bug_check::bug_check;
use crate::exception::raise_without_unwinding;
use crate::hal;
use crate::hal::{APC_LEVEL, DISPATCH_LEVEL};
use crate::loader::modules;

const CACHE_LINE: usize = 64;
/// Bits of `POOL_TYPE`.
const PAGED: i32 = 1;
const CACHE_ALIGNED: i32 = 4;
const RAISE: i32 = 16;
const ZEROED: i32 = 1024;
/// Largest priority argument is ignored: this pool has one priority.
const NO_TAG: u32 = u32::from_le_bytes(*b"None");

/// First parameters of `BAD_POOL_CALLER`.
const NOTHING_ASKED: u64 = 0;
const ALLOCATED_TOO_HIGH: u64 = 8;
const FREED_TOO_HIGH: u64 = 9;
const NO_TAG_GIVEN: u64 = 0x9b;

/// What a driver asks for, in whichever of the functions.
struct Asked {
    size: usize,
    tag: u32,
    is_paged: bool,
    is_cache_aligned: bool,
    is_zeroed: bool,
    caller: usize,
}

/// How many allocations of drivers still succeed; below zero for all. For tests of what happens when memory is short.
#[cfg(any(test, feature = "sim"))]
static LEFT: core::sync::atomic::AtomicI64 = core::sync::atomic::AtomicI64::new(-1);

/// Has every allocation of a driver or the framework fail after so many, or (`None`) none any more.
#[cfg(any(test, feature = "sim"))]
pub fn fail_allocations_after(allocations: Option<u32>) {
    LEFT.store(allocations.map_or(-1, i64::from), core::sync::atomic::Ordering::SeqCst);
}

#[cfg(any(test, feature = "sim"))]
fn is_to_fail() -> bool {
    use core::sync::atomic::Ordering::SeqCst;
    LEFT.fetch_update(SeqCst, SeqCst, |left| (left > 0).then(|| left - 1)) == Err(0)
}

#[cfg(not(any(test, feature = "sim")))]
const fn is_to_fail() -> bool {
    false
}

fn give(asked: &Asked) -> *mut c_void {
    if is_to_fail() {
        return null_mut();
    }
    let irql = hal().irql();
    let limit = if asked.is_paged { APC_LEVEL } else { DISPATCH_LEVEL };
    if irql > limit {
        let pool_type = u64::from(asked.is_paged);
        bug_check(bug_check::BAD_POOL_CALLER, [ALLOCATED_TOO_HIGH, irql.into(), pool_type, asked.size as u64]);
    }
    if asked.tag == 0 {
        bug_check(bug_check::BAD_POOL_CALLER, [NO_TAG_GIVEN, u64::from(asked.is_paged), asked.size as u64, asked.caller as u64]);
    }
    let owner = modules::find(asked.caller).map_or(modules::IMAGE, |module| module.slot());
    let align = if asked.is_cache_aligned { CACHE_LINE } else { HEADER };
    match allocate(&Wanted { size: asked.size, align, tag: asked.tag, owner }) {
        Some(block) => {
            if asked.is_zeroed {
                // SAFETY: the block is new and has this size.
                unsafe { block.write_bytes(0, asked.size) };
            }
            block.as_ptr().cast()
        }
        None => {
            log!("no memory for {} bytes with tag {}", asked.size, super::accounts::Tag(asked.tag));
            null_mut()
        }
    }
}

unsafe extern "win64" fn allocate_by_flags(flags: u64, size: usize, tag: u32, caller: usize) -> *mut c_void {
    const KINDS: u64 = POOL_FLAG_NON_PAGED | POOL_FLAG_NON_PAGED_EXECUTE | POOL_FLAG_PAGED;
    if (flags & KINDS).count_ones() != 1 || size == 0 {
        return null_mut();
    }
    let asked = Asked {
        size,
        tag,
        is_paged: flags & POOL_FLAG_PAGED != 0,
        is_cache_aligned: flags & POOL_FLAG_CACHE_ALIGNED != 0,
        is_zeroed: flags & POOL_FLAG_UNINITIALIZED == 0,
        caller,
    };
    let block = give(&asked);
    if block.is_null() && flags & POOL_FLAG_RAISE_ON_FAILURE != 0 {
        raise_without_unwinding(NTSTATUS::INSUFFICIENT_RESOURCES);
    }
    block
}

unsafe extern "win64" fn allocate_by_type(pool_type: i32, size: usize, tag: u32, caller: usize) -> *mut c_void {
    if size == 0 {
        bug_check(bug_check::BAD_POOL_CALLER, [NOTHING_ASKED, 0, pool_type as u64, tag.into()]);
    }
    let asked = Asked {
        size,
        tag,
        is_paged: pool_type & PAGED != 0,
        is_cache_aligned: pool_type & CACHE_ALIGNED != 0,
        is_zeroed: pool_type & ZEROED != 0,
        caller,
    };
    let block = give(&asked);
    if block.is_null() && pool_type & RAISE != 0 {
        raise_without_unwinding(NTSTATUS::INSUFFICIENT_RESOURCES);
    }
    block
}

#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "win64" fn ExAllocatePool2(Flags: u64, NumberOfBytes: usize, Tag: u32) -> *mut c_void {
    naked_asm!("mov r9, [rsp]", "jmp {body}", body = sym allocate_by_flags)
}

/// The extended parameters choose sessions, NUMA nodes and secure pools, of which there are none.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "win64" fn ExAllocatePool3(
    Flags: u64,
    NumberOfBytes: usize,
    Tag: u32,
    Extended: *mut c_void,
    Count: u32,
) -> *mut c_void {
    naked_asm!("mov r9, [rsp]", "jmp {body}", body = sym allocate_by_flags)
}

#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "win64" fn ExAllocatePoolWithTag(PoolType: i32, NumberOfBytes: usize, Tag: u32) -> *mut c_void {
    naked_asm!("mov r9, [rsp]", "jmp {body}", body = sym allocate_by_type)
}

#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "win64" fn ExAllocatePoolWithQuotaTag(PoolType: i32, NumberOfBytes: usize, Tag: u32) -> *mut c_void {
    // Raises on failure unless POOL_QUOTA_FAIL_INSTEAD_OF_RAISE (8) is set, as documented.
    naked_asm!(
        "mov r9, [rsp]",
        "mov eax, ecx",
        "and eax, 8",
        "jnz 2f",
        "or ecx, 16",
        "2: jmp {body}",
        body = sym allocate_by_type,
    )
}

/// The priority is ignored: this pool has one.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "win64" fn ExAllocatePoolWithTagPriority(
    PoolType: i32,
    NumberOfBytes: usize,
    Tag: u32,
    Priority: i32,
) -> *mut c_void {
    naked_asm!("mov r9, [rsp]", "jmp {body}", body = sym allocate_by_type)
}

#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "win64" fn ExAllocatePool(PoolType: i32, NumberOfBytes: usize) -> *mut c_void {
    naked_asm!("mov r9, [rsp]", "mov r8d, {tag}", "jmp {body}", body = sym allocate_by_type, tag = const NO_TAG)
}

unsafe fn take_back(block: *mut c_void, tag: Option<u32>) {
    let irql = hal().irql();
    if irql > DISPATCH_LEVEL {
        bug_check(bug_check::BAD_POOL_CALLER, [FREED_TOO_HIGH, irql.into(), 0, block.addr() as u64]);
    }
    // SAFETY: the callers' promise: a block that nobody uses any more.
    let result = NonNull::new(block.cast::<u8>()).map_or(Err(Fault::NoBlock), |body| unsafe { free(body, tag) });
    if let Err(fault) = result {
        fault.bug_check(block.addr(), tag.unwrap_or(0))
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExFreePool(P: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { take_back(P, None) };
}

/// A tag of 0 fits every block.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExFreePoolWithTag(P: *mut c_void, Tag: u32) {
    // SAFETY: the caller's promise.
    unsafe { take_back(P, Some(Tag).filter(|&tag| tag != 0)) };
}
