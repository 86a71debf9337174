//! Executive resources (`ERESOURCE`): one writer or many readers, both recursive, first come first served among writers.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::{KEVENT, KSEMAPHORE};
use wdf_sys::{BOOLEAN, FALSE, NTSTATUS};

use super::thread::{self, Thread};
use super::wait::kind;
use super::{critical_region, event, irql, semaphore, spin_lock, wait};
use crate::bug_check::bug_check;
use crate::hal;
use crate::hal::{APC_LEVEL, DISPATCH_LEVEL};

/// Bug check: a resource was released by a thread that does not have it.
const RESOURCE_NOT_OWNED: u32 = 0xe3;

/// `ERESOURCE`, 104 bytes on x64. Its fields are the kernel's own.
#[repr(C)]
pub struct Resource {
    lock: usize,
    /// The writer.
    owner: *mut Thread,
    /// How often the writer has it.
    depth: u32,
    /// How often readers have it.
    readers: u32,
    waiting_writers: u32,
    waiting_readers: u32,
    /// Lets one waiting writer pass.
    writers: KEVENT,
    /// Lets waiting readers pass.
    gate: KSEMAPHORE,
    /// The reader that came first, to tell a second taking by it from another reader's.
    reader: *mut Thread,
}

const _: () = assert!(size_of::<Resource>() <= 104);

/// Where a reader stands when writers wait.
#[derive(Clone, Copy)]
enum Order {
    /// Behind them, unless it has the resource already.
    Usual,
    BeforeWriters,
    BehindWriters,
}

/// Runs `body` with the resource's lock held.
///
/// # Safety
/// The resource is initialised.
unsafe fn locked<R>(resource: *mut Resource, body: impl FnOnce(&mut Resource) -> R) -> R {
    let before = hal().irql();
    if before < DISPATCH_LEVEL {
        hal().set_irql(DISPATCH_LEVEL);
    }
    // SAFETY: the caller's promise; the lock gives the rest to this processor alone.
    let result = unsafe {
        spin_lock::take(&raw mut (*resource).lock);
        let result = body(&mut *resource);
        spin_lock::release(&raw mut (*resource).lock);
        result
    };
    hal().set_irql(before);
    result
}

/// # Safety
/// The resource is initialised.
unsafe fn acquire_exclusive(resource: *mut Resource, may_wait: bool) -> bool {
    irql::at_most(APC_LEVEL);
    let current = thread::current();
    // SAFETY: the caller's promise.
    unsafe {
        let passed = locked(resource, |resource| {
            let is_mine = resource.owner == current;
            if is_mine || (resource.owner.is_null() && resource.depth == 0 && resource.readers == 0) {
                resource.owner = current;
                resource.depth += 1;
                return true;
            }
            if may_wait {
                resource.waiting_writers += 1;
            }
            false
        });
        if !passed && may_wait {
            // Whoever lets this thread pass keeps the seat for it by the depth; it is taken here.
            let _ = wait::for_one((&raw mut (*resource).writers).cast(), None);
            locked(resource, |resource| resource.owner = current);
        }
        passed || may_wait
    }
}

/// # Safety
/// The resource is initialised.
unsafe fn acquire_shared(resource: *mut Resource, may_wait: bool, order: Order) -> bool {
    irql::at_most(APC_LEVEL);
    let current = thread::current();
    // SAFETY: the caller's promise.
    unsafe {
        let passed = locked(resource, |resource| {
            if resource.owner == current {
                resource.depth += 1;
                return true;
            }
            // A reader that has it already must not wait for a writer that waits for it.
            let has_it = resource.readers > 0 && resource.reader == current;
            let may_pass = resource.waiting_writers == 0
                || match order {
                    Order::Usual => has_it,
                    Order::BeforeWriters => true,
                    Order::BehindWriters => false,
                };
            if resource.owner.is_null() && resource.depth == 0 && may_pass {
                if resource.readers == 0 {
                    resource.reader = current;
                }
                resource.readers += 1;
                return true;
            }
            if may_wait {
                resource.waiting_readers += 1;
            }
            false
        });
        if !passed && may_wait {
            let _ = wait::for_one((&raw mut (*resource).gate).cast(), None);
        }
        passed || may_wait
    }
}

/// # Safety
/// The resource is initialised.
unsafe fn release(resource: *mut Resource, holder: *mut Thread) {
    enum Wake {
        Nobody,
        Writer,
        Readers(i32),
    }
    // SAFETY: the caller's promise.
    unsafe {
        let wake = locked(resource, |this| {
            if this.owner == holder {
                this.depth -= 1;
                if this.depth > 0 {
                    return Wake::Nobody;
                }
                this.owner = null_mut();
            } else if this.readers > 0 {
                this.readers -= 1;
                if this.readers > 0 {
                    return Wake::Nobody;
                }
                this.reader = null_mut();
            } else {
                bug_check(RESOURCE_NOT_OWNED, [resource.addr() as u64, holder.addr() as u64, 0, 0]);
            }
            if this.waiting_readers > 0 {
                let count = core::mem::take(&mut this.waiting_readers);
                this.readers = count;
                return Wake::Readers(count as i32);
            }
            if this.waiting_writers > 0 {
                this.waiting_writers -= 1;
                // Nobody may slip in before the writer runs: the depth keeps the seat.
                this.depth = 1;
                return Wake::Writer;
            }
            Wake::Nobody
        });
        match wake {
            Wake::Nobody => {}
            Wake::Writer => {
                event::KeSetEvent(&raw mut (*resource).writers, 0, FALSE);
            }
            // The count has no limit that this could exceed.
            Wake::Readers(count) => {
                let _ = semaphore::release(&raw mut (*resource).gate, 0, count);
            }
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExInitializeResourceLite(Resource: *mut Resource) -> NTSTATUS {
    // SAFETY: the caller's promise: a place for a resource; zero bytes are a free one but for its event and semaphore.
    unsafe {
        Resource.write_bytes(0, 1);
        event::initialize(&raw mut (*Resource).writers, kind::SYNCHRONIZATION_EVENT, false);
        semaphore::KeInitializeSemaphore(&raw mut (*Resource).gate, 0, i32::MAX);
    }
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExReinitializeResourceLite(Resource: *mut Resource) -> NTSTATUS {
    // SAFETY: as above; nobody has it.
    unsafe { ExInitializeResourceLite(Resource) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExDeleteResourceLite(_Resource: *mut Resource) -> NTSTATUS {
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExAcquireResourceExclusiveLite(Resource: *mut Resource, Wait: BOOLEAN) -> BOOLEAN {
    // SAFETY: the caller's promise: an initialised resource.
    BOOLEAN::from(unsafe { acquire_exclusive(Resource, Wait != 0) })
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExAcquireResourceSharedLite(Resource: *mut Resource, Wait: BOOLEAN) -> BOOLEAN {
    // SAFETY: as above.
    BOOLEAN::from(unsafe { acquire_shared(Resource, Wait != 0, Order::Usual) })
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExAcquireSharedStarveExclusive(Resource: *mut Resource, Wait: BOOLEAN) -> BOOLEAN {
    // SAFETY: as above.
    BOOLEAN::from(unsafe { acquire_shared(Resource, Wait != 0, Order::BeforeWriters) })
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExReleaseResourceLite(Resource: *mut Resource) {
    irql::at_most(DISPATCH_LEVEL);
    // SAFETY: the caller's promise: a resource that it has.
    unsafe { release(Resource, thread::current()) };
}

/// Releases what another thread has taken, or what `ExSetResourceOwnerPointer` has given to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExReleaseResourceForThreadLite(Resource: *mut Resource, ResourceThreadId: usize) {
    irql::at_most(DISPATCH_LEVEL);
    // SAFETY: the caller's promise: a resource that this thread or pointer has; the number is compared and never used as an address.
    unsafe { release(Resource, core::ptr::without_provenance_mut(ResourceThreadId)) };
}

/// The resource belongs to whatever this points to from now on: whoever knows the pointer releases it.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExSetResourceOwnerPointer(Resource: *mut Resource, OwnerPointer: *mut c_void) {
    let current = thread::current();
    // SAFETY: the caller's promise: a resource that it has.
    unsafe {
        locked(Resource, |resource| {
            // Documented: the two lowest bits of the pointer are set.
            let is_marked = OwnerPointer.addr() & 3 == 3;
            if resource.owner == current && is_marked {
                resource.owner = OwnerPointer.cast();
            } else if resource.readers > 0 && is_marked {
                if resource.reader == current {
                    resource.reader = OwnerPointer.cast();
                }
            } else {
                bug_check(RESOURCE_NOT_OWNED, [Resource.addr() as u64, current.addr() as u64, OwnerPointer.addr() as u64, 0]);
            }
        });
    }
}

/// As [`ExSetResourceOwnerPointer`]. The flag that the owner is a thread is for the system's own checks.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExSetResourceOwnerPointerEx(Resource: *mut Resource, OwnerPointer: *mut c_void, _Flags: u32) {
    // SAFETY: the caller's promise.
    unsafe { ExSetResourceOwnerPointer(Resource, OwnerPointer) };
}

/// Takes it as a reader, behind every writer that waits, even when this thread has it as a reader already.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExAcquireSharedWaitForExclusive(Resource: *mut Resource, Wait: BOOLEAN) -> BOOLEAN {
    // SAFETY: the caller's promise: an initialised resource.
    BOOLEAN::from(unsafe { acquire_shared(Resource, Wait != 0, Order::BehindWriters) })
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExEnterCriticalRegionAndAcquireSharedWaitForExclusive(Resource: *mut Resource) -> *mut c_void {
    // SAFETY: as above.
    unsafe {
        critical_region::KeEnterCriticalRegion();
        acquire_shared(Resource, true, Order::BehindWriters);
    }
    null_mut()
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExEnterCriticalRegionAndAcquireResourceExclusive(Resource: *mut Resource) -> *mut c_void {
    // SAFETY: the caller's promise: an initialised resource.
    unsafe {
        critical_region::KeEnterCriticalRegion();
        acquire_exclusive(Resource, true);
    }
    null_mut()
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExEnterCriticalRegionAndAcquireResourceShared(Resource: *mut Resource) -> *mut c_void {
    // SAFETY: as above.
    unsafe {
        critical_region::KeEnterCriticalRegion();
        acquire_shared(Resource, true, Order::Usual);
    }
    null_mut()
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExReleaseResourceAndLeaveCriticalRegion(Resource: *mut Resource) {
    // SAFETY: the caller's promise: a resource that it has.
    unsafe {
        release(Resource, thread::current());
        critical_region::KeLeaveCriticalRegion();
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExIsResourceAcquiredExclusiveLite(Resource: *mut Resource) -> BOOLEAN {
    // SAFETY: the caller's promise: an initialised resource.
    unsafe { locked(Resource, |resource| BOOLEAN::from(resource.owner == thread::current())) }
}

/// How often the current thread has it; for readers, how often readers have it.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExIsResourceAcquiredSharedLite(Resource: *mut Resource) -> u32 {
    // SAFETY: as above.
    unsafe { locked(Resource, |resource| if resource.owner == thread::current() { resource.depth } else { resource.readers }) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExGetExclusiveWaiterCount(Resource: *mut Resource) -> u32 {
    // SAFETY: as above.
    unsafe { locked(Resource, |resource| resource.waiting_writers) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExGetSharedWaiterCount(Resource: *mut Resource) -> u32 {
    // SAFETY: as above.
    unsafe { locked(Resource, |resource| resource.waiting_readers) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExConvertExclusiveToSharedLite(Resource: *mut Resource) {
    // SAFETY: the caller's promise: a resource that it has exclusively.
    unsafe {
        let readers = locked(Resource, |resource| {
            resource.owner = null_mut();
            resource.reader = thread::current();
            let waiting = core::mem::take(&mut resource.waiting_readers);
            resource.readers = core::mem::take(&mut resource.depth) + waiting;
            waiting as i32
        });
        if readers > 0 {
            let _ = semaphore::release(&raw mut (*Resource).gate, 0, readers);
        }
    }
}
