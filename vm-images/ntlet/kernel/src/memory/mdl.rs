//! Memory descriptor lists: a buffer as page frames, locked, mapped, cut into parts.

use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{ExAllocatePool2, ExFreePoolWithTag};
use wdf_sys::wdm::{IRP, MDL};
use wdf_sys::{BOOLEAN, NTSTATUS};

use super::user;
use crate::exception::raise::OrRaise;
use crate::hal::PAGE_SIZE;
use crate::{hal, raising};

const TAG: u32 = u32::from_le_bytes(*b"Mdl ");
/// Largest buffer that one MDL describes: its `Size` is a signed 16-bit number of bytes.
const MAX_PAGES: usize = (i16::MAX as usize - size_of::<MDL>()) / 8;

/// Pages that a buffer touches.
const fn pages(address: usize, length: usize) -> usize {
    (address % PAGE_SIZE + length).div_ceil(PAGE_SIZE)
}

/// The page frame numbers behind an MDL's header.
///
/// # Safety
/// `mdl` is an MDL that was allocated for as many pages as its fields say.
pub(super) unsafe fn frames<'a>(mdl: *mut MDL) -> &'a mut [u64] {
    // SAFETY: the caller's promise.
    unsafe {
        let count = pages((*mdl).ByteOffset as usize, (*mdl).ByteCount as usize);
        core::slice::from_raw_parts_mut(mdl.add(1).cast::<u64>(), count)
    }
}

/// Address the buffer had where the MDL was made.
///
/// # Safety
/// `mdl` is an MDL.
const unsafe fn virtual_address(mdl: *const MDL) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { (*mdl).StartVa.cast::<u8>().wrapping_add((*mdl).ByteOffset as usize).cast() }
}

/// # Safety
/// As the documentation of IoAllocateMdl demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoAllocateMdl(
    VirtualAddress: *mut c_void,
    Length: u32,
    SecondaryBuffer: BOOLEAN,
    _ChargeQuota: BOOLEAN,
    Irp: *mut IRP,
) -> *mut MDL {
    let count = pages(VirtualAddress.addr(), Length as usize);
    if count > MAX_PAGES {
        return null_mut();
    }
    let size = size_of::<MDL>() + 8 * count;
    // SAFETY: the block is as large as header and frames; the IRP is the caller's.
    unsafe {
        let mdl: *mut MDL = ExAllocatePool2(POOL_FLAG_NON_PAGED, size, TAG).cast();
        if mdl.is_null() {
            return mdl;
        }
        (*mdl).Size = size as i16;
        (*mdl).StartVa = VirtualAddress.map_addr(|address| address & !(PAGE_SIZE - 1));
        (*mdl).ByteOffset = (VirtualAddress.addr() % PAGE_SIZE) as u32;
        (*mdl).ByteCount = Length;
        if !Irp.is_null() {
            let mut link = &raw mut (*Irp).MdlAddress;
            while SecondaryBuffer != 0 && !(*link).is_null() {
                link = &raw mut (**link).Next;
            }
            *link = mdl;
        }
        mdl
    }
}

/// # Safety
/// As the documentation of IoFreeMdl demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoFreeMdl(Mdl: *mut MDL) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*Mdl).MdlFlags & MDL_PARTIAL_HAS_BEEN_MAPPED != 0 {
            MmUnmapLockedPages((*Mdl).MappedSystemVa, Mdl);
        }
        ExFreePoolWithTag(Mdl.cast(), TAG);
    }
}

/// Frees a chain of MDLs; what is locked is unlocked first.
///
/// # Safety
/// The chain is nobody else's.
pub(crate) unsafe fn free_list(first: *mut MDL) {
    let mut mdl = first;
    while !mdl.is_null() {
        // SAFETY: the caller's promise.
        unsafe {
            let next = (*mdl).Next;
            unlock(mdl);
            IoFreeMdl(mdl);
            mdl = next;
        }
    }
}

/// # Safety
/// As the documentation of MmBuildMdlForNonPagedPool demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmBuildMdlForNonPagedPool(MemoryDescriptorList: *mut MDL) {
    // SAFETY: the caller's promise.
    unsafe {
        let start = (*MemoryDescriptorList).StartVa.cast::<u8>();
        for (index, frame) in frames(MemoryDescriptorList).iter_mut().enumerate() {
            let page = start.wrapping_add(index * PAGE_SIZE);
            let Some(physical) = hal().physical_address(page.cast()) else {
                crate::io::stop(bug_check::PAGE_FAULT_IN_NONPAGED_AREA, [page.addr(), 0, 0, 2]);
            };
            *frame = physical / PAGE_SIZE as u64;
        }
        (*MemoryDescriptorList).MappedSystemVa = virtual_address(MemoryDescriptorList);
        (*MemoryDescriptorList).MdlFlags |= MDL_SOURCE_IS_NONPAGED_POOL;
    }
}

raising! {
    MmProbeAndLockPages(MemoryDescriptorList: *mut MDL, AccessMode: i8, Operation: i32) => probe_and_lock_or_raise
}

/// # Safety
/// As the documentation of MmProbeAndLockPages demands; raises an exception for a buffer that cannot be accessed.
unsafe extern "win64" fn probe_and_lock_or_raise(list: *mut MDL, mode: i8, operation: i32) -> OrRaise {
    // SAFETY: the caller's promise.
    unsafe { probe_and_lock(list, mode, operation) }.map(|()| 0).into()
}

/// `MmProbeAndLockPages` for callers that cannot catch exceptions.
///
/// # Safety
/// `mdl` is an MDL that is neither locked nor built.
pub(crate) unsafe fn probe_and_lock(mdl: *mut MDL, mode: i8, operation: i32) -> Result<(), NTSTATUS> {
    let is_write = operation != IO_READ_ACCESS;
    // SAFETY: the caller's promise.
    unsafe {
        let buffer = virtual_address(mdl).addr() as u64;
        if mode == USER_MODE && !user::is_user_range(buffer, u64::from((*mdl).ByteCount)) {
            return Err(NTSTATUS::ACCESS_VIOLATION);
        }
        if user::is_user_range(buffer, u64::from((*mdl).ByteCount)) {
            // Pages that were committed but never touched are backed now; whether all can be accessed is seen below.
            crate::process::fault_in(buffer, (*mdl).ByteCount as usize, is_write);
        }
        let start = (*mdl).StartVa.cast::<u8>();
        for (index, frame) in frames(mdl).iter_mut().enumerate() {
            let page = start.wrapping_add(index * PAGE_SIZE);
            let found = hal().user_frame(page.addr() as u64, is_write);
            let found = if mode == USER_MODE { found } else { found.or_else(|| kernel_frame(page, is_write)) };
            *frame = found.ok_or(NTSTATUS::ACCESS_VIOLATION)?;
        }
        (*mdl).MdlFlags |= MDL_PAGES_LOCKED | if is_write { MDL_WRITE_OPERATION } else { 0 };
        if user::is_user_range(buffer, 1) {
            (*mdl).Process = crate::process::lock_pages(frames(mdl).len());
        }
    }
    Ok(())
}

fn kernel_frame(page: *mut u8, is_write: bool) -> Option<u64> {
    let is_mapped = hal().is_mapped(page.cast(), 1, is_write);
    hal().physical_address(page.cast()).filter(|_| is_mapped).map(|address| address / PAGE_SIZE as u64)
}

/// Unlocks and unmaps, if it is locked.
///
/// # Safety
/// `mdl` is an MDL.
pub(crate) unsafe fn unlock(mdl: *mut MDL) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*mdl).MdlFlags & MDL_PAGES_LOCKED != 0 {
            MmUnlockPages(mdl);
        }
    }
}

/// # Safety
/// As the documentation of MmUnlockPages demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmUnlockPages(MemoryDescriptorList: *mut MDL) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*MemoryDescriptorList).MdlFlags & MDL_MAPPED_TO_SYSTEM_VA != 0 {
            MmUnmapLockedPages((*MemoryDescriptorList).MappedSystemVa, MemoryDescriptorList);
        }
        let process = core::mem::replace(&mut (*MemoryDescriptorList).Process, null_mut());
        if !process.is_null() {
            crate::process::unlock_pages(process, frames(MemoryDescriptorList).len());
        }
        (*MemoryDescriptorList).MdlFlags &= !(MDL_PAGES_LOCKED | MDL_WRITE_OPERATION);
    }
}

/// # Safety
/// As the documentation of MmMapLockedPagesSpecifyCache demands. Mappings into a program are not supported: null.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmMapLockedPagesSpecifyCache(
    MemoryDescriptorList: *mut MDL,
    AccessMode: i8,
    _CacheType: i32,
    _RequestedAddress: *mut c_void,
    _BugCheckOnFailure: u32,
    _Priority: u32,
) -> *mut c_void {
    if AccessMode == USER_MODE {
        crate::log!("MmMapLockedPagesSpecifyCache: a mapping into a program was asked for, which ntlet cannot make");
        return null_mut();
    }
    // SAFETY: the caller's promise.
    unsafe {
        let flags = (*MemoryDescriptorList).MdlFlags;
        if flags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL) != 0 {
            return (*MemoryDescriptorList).MappedSystemVa;
        }
        let Some(start) = hal().map_frames(frames(MemoryDescriptorList)) else { return null_mut() };
        let address = start.as_ptr().add((*MemoryDescriptorList).ByteOffset as usize).cast();
        (*MemoryDescriptorList).MappedSystemVa = address;
        let partial = if flags & MDL_PARTIAL != 0 { MDL_PARTIAL_HAS_BEEN_MAPPED } else { 0 };
        (*MemoryDescriptorList).MdlFlags |= MDL_MAPPED_TO_SYSTEM_VA | partial;
        address
    }
}

/// # Safety
/// As the documentation of MmUnmapLockedPages demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmUnmapLockedPages(BaseAddress: *mut c_void, MemoryDescriptorList: *mut MDL) {
    // SAFETY: the caller's promise.
    unsafe {
        let flags = (*MemoryDescriptorList).MdlFlags;
        // A part that shares its source's mapping leaves it to the source.
        let is_own =
            flags & MDL_SOURCE_IS_NONPAGED_POOL == 0 && (flags & MDL_PARTIAL == 0 || flags & MDL_PARTIAL_HAS_BEEN_MAPPED != 0);
        if is_own && flags & MDL_MAPPED_TO_SYSTEM_VA != 0 {
            let start = BaseAddress.cast::<u8>().wrapping_sub((*MemoryDescriptorList).ByteOffset as usize);
            if let Some(start) = NonNull::new(start) {
                hal().unmap(start, frames(MemoryDescriptorList).len() * PAGE_SIZE);
            }
        }
        (*MemoryDescriptorList).MdlFlags &= !(MDL_MAPPED_TO_SYSTEM_VA | MDL_PARTIAL_HAS_BEEN_MAPPED);
        (*MemoryDescriptorList).MappedSystemVa = null_mut();
    }
}

/// # Safety
/// As the documentation of IoBuildPartialMdl demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoBuildPartialMdl(
    SourceMdl: *mut MDL,
    TargetMdl: *mut MDL,
    VirtualAddress: *mut c_void,
    Length: u32,
) {
    // SAFETY: the caller's promise; a part that is outside its source or too large for its target is reported.
    unsafe {
        let offset = VirtualAddress.addr().wrapping_sub(virtual_address(SourceMdl).addr());
        let whole = (*SourceMdl).ByteCount as usize;
        let length = if Length == 0 { whole.saturating_sub(offset) } else { Length as usize };
        let count = pages(VirtualAddress.addr(), length);
        let room = ((*TargetMdl).Size as usize).saturating_sub(size_of::<MDL>()) / 8;
        if offset > whole || length > whole - offset || count > room {
            crate::io::stop(bug_check::DRIVER_VERIFIER_DETECTED_VIOLATION, [0xb1, SourceMdl.addr(), TargetMdl.addr(), length]);
        }
        let first = (VirtualAddress.addr() & !(PAGE_SIZE - 1)).wrapping_sub((*SourceMdl).StartVa.addr()) / PAGE_SIZE;
        let source = frames(SourceMdl);
        (*TargetMdl).StartVa = VirtualAddress.map_addr(|address| address & !(PAGE_SIZE - 1));
        (*TargetMdl).ByteOffset = (VirtualAddress.addr() % PAGE_SIZE) as u32;
        (*TargetMdl).ByteCount = length as u32;
        (*TargetMdl).Process = null_mut();
        frames(TargetMdl).copy_from_slice(&source[first..first + count]);
        let inherited = (*SourceMdl).MdlFlags & (MDL_SOURCE_IS_NONPAGED_POOL | MDL_MAPPED_TO_SYSTEM_VA);
        (*TargetMdl).MdlFlags = MDL_PARTIAL | inherited;
        if inherited != 0 {
            (*TargetMdl).MappedSystemVa = (*SourceMdl).MappedSystemVa.cast::<u8>().add(offset).cast();
        }
    }
}

/// Physical ranges of a part of an MDL, neighbouring pages joined: `add` gets address and length of each.
///
/// # Safety
/// `mdl` is locked or built.
pub(crate) unsafe fn for_each_range(
    mdl: *mut MDL,
    address: *mut c_void,
    length: usize,
    mut add: impl FnMut(u64, u32),
) -> Option<()> {
    // SAFETY: the caller's promise.
    let (start, whole, list) = unsafe { (virtual_address(mdl).addr(), (*mdl).ByteCount as usize, frames(mdl)) };
    let offset = address.addr().checked_sub(start)?;
    if offset.checked_add(length)? > whole {
        return None;
    }
    let mut position = start % PAGE_SIZE + offset;
    let mut left = length;
    let mut current: Option<(u64, usize)> = None;
    while left != 0 {
        let physical = list.get(position / PAGE_SIZE)? * PAGE_SIZE as u64 + (position % PAGE_SIZE) as u64;
        let part = left.min(PAGE_SIZE - position % PAGE_SIZE);
        current = match current {
            Some((begin, size)) if begin + size as u64 == physical => Some((begin, size + part)),
            Some((begin, size)) => {
                add(begin, size as u32);
                Some((physical, part))
            }
            None => Some((physical, part)),
        };
        position += part;
        left -= part;
    }
    if let Some((begin, size)) = current {
        add(begin, size as u32);
    }
    Some(())
}
