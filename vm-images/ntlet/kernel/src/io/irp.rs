//! IRPs as memory: allocation, initialisation, reuse.
//!
//! An IRP that the I/O manager makes for a request of a thread has a [`Trailer`] behind its last stack location: what is needed to
//! finish it, and a count that keeps its memory while somebody cancels it.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, Ordering};

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{ExAllocatePool2, ExFreePoolWithTag, KeGetCurrentThread};
use wdf_sys::wdm::{
    DEVICE_OBJECT, IO_STACK_LOCATION, IO_STATUS_BLOCK, IRP, KAPC, initialize_list_head, insert_tail_list, remove_entry_list,
};
use wdf_sys::{BOOLEAN, NTSTATUS};

use crate::lock::SpinLock;
use crate::object::ObjectRef;

const TAG: u32 = u32::from_le_bytes(*b"Irp ");
/// Most stack locations. `CurrentLocation` is one more and must fit.
const MAX_STACK: i8 = 100;

/// `IRP::AllocationFlags`: allocated here, freed by `IoFreeIrp`.
const ALLOCATED: u8 = 0x01;
/// `IRP::AllocationFlags`: `PoSetSystemWake` was called for it.
pub(crate) const WAKES_SYSTEM: u8 = 0x40;
/// `IRP::AllocationFlags`: has a [`Trailer`].
const HAS_TRAILER: u8 = 0x80;

/// What the I/O manager needs to finish a request of a thread.
#[derive(Default)]
pub(crate) struct Trailer {
    references: AtomicU32,
    /// Room behind `UserBuffer`; no more than this is copied back.
    pub(crate) output_length: u32,
    /// Reference to the event that `UserEvent` points at, when the caller gave one by handle.
    pub(crate) event: Option<ObjectRef>,
    /// Where a packet goes when the request is done, and its key and context.
    pub(crate) port: Option<(ObjectRef, usize, usize)>,
    /// Brings the completed request to its thread.
    pub(crate) apc: KAPC,
}

const fn size_of_irp(stack: i8) -> usize {
    size_of::<IRP>() + size_of::<IO_STACK_LOCATION>() * stack as usize
}

/// # Safety
/// As the documentation of IoAllocateIrp demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoAllocateIrp(StackSize: i8, _ChargeQuota: BOOLEAN) -> *mut IRP {
    allocate(StackSize, 0)
}

fn allocate(stack: i8, extra: usize) -> *mut IRP {
    if !(0..=MAX_STACK).contains(&stack) {
        return null_mut();
    }
    // SAFETY: sizes are bounded; the block is initialised before anyone sees it.
    unsafe {
        let irp: *mut IRP = ExAllocatePool2(POOL_FLAG_NON_PAGED, size_of_irp(stack) + extra, TAG).cast();
        if !irp.is_null() {
            IoInitializeIrp(irp, size_of_irp(stack) as u16, stack);
            (*irp).AllocationFlags = ALLOCATED;
        }
        irp
    }
}

/// An IRP for a request of the current thread, in the thread's list.
pub(crate) fn allocate_for_thread(stack: i8) -> Result<*mut IRP, NTSTATUS> {
    let irp = allocate(stack, size_of::<Trailer>());
    if irp.is_null() {
        return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
    }
    // SAFETY: the block has room for a trailer behind the stack locations, and is ours.
    unsafe {
        (*irp).AllocationFlags |= HAS_TRAILER;
        trailer_address(irp).write(Trailer { references: AtomicU32::new(1), ..Trailer::default() });
        let thread = KeGetCurrentThread();
        (*irp).Tail.Overlay.Thread = thread;
        let shard = shard(thread).lock();
        shard.initialise();
        insert_tail_list(shard.head(), &raw mut (*irp).ThreadListEntry);
    }
    Ok(irp)
}

/// # Safety
/// The IRP has a trailer.
unsafe fn trailer_address(irp: *mut IRP) -> *mut Trailer {
    const { assert!(size_of::<IRP>().is_multiple_of(8) && size_of::<IO_STACK_LOCATION>().is_multiple_of(8)) };
    const { assert!(align_of::<Trailer>() <= 8) };
    // SAFETY: the caller's promise.
    unsafe { irp.cast::<u8>().add(size_of_irp((*irp).StackCount)).cast() }
}

/// The trailer of an IRP that has one.
///
/// # Safety
/// The IRP is alive, and nobody else uses its trailer meanwhile.
pub(crate) unsafe fn trailer<'a>(irp: *mut IRP) -> Option<&'a mut Trailer> {
    // SAFETY: the caller's promise.
    unsafe { ((*irp).AllocationFlags & HAS_TRAILER != 0).then(|| &mut *trailer_address(irp)) }
}

/// # Safety
/// As the documentation of IoInitializeIrp demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoInitializeIrp(Irp: *mut IRP, PacketSize: u16, StackSize: i8) {
    // SAFETY: the caller's promise that the packet is that large.
    unsafe {
        Irp.cast::<u8>().write_bytes(0, usize::from(PacketSize));
        (*Irp).Type = IO_TYPE_IRP;
        (*Irp).Size = PacketSize;
        (*Irp).StackCount = StackSize;
        (*Irp).CurrentLocation = StackSize + 1;
        (*Irp).Tail.Overlay.CurrentStackLocation = Irp.add(1).cast::<IO_STACK_LOCATION>().offset(isize::from(StackSize));
        initialize_list_head(&raw mut (*Irp).ThreadListEntry);
    }
}

/// # Safety
/// As the documentation of IoReuseIrp demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoReuseIrp(Irp: *mut IRP, Iostatus: NTSTATUS) {
    // SAFETY: the caller's promise; what is no IRP or is one of the I/O manager's is reported.
    unsafe {
        if (*Irp).Type != IO_TYPE_IRP || (*Irp).AllocationFlags & HAS_TRAILER != 0 {
            super::stop(bug_check::DRIVER_VERIFIER_IOMANAGER_VIOLATION, [1, Irp.addr(), 0, 0]);
        }
        let flags = (*Irp).AllocationFlags;
        IoInitializeIrp(Irp, (*Irp).Size, (*Irp).StackCount);
        (*Irp).AllocationFlags = flags;
        (*Irp).IoStatus.u.Status = Iostatus;
    }
}

/// # Safety
/// As the documentation of IoFreeIrp demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoFreeIrp(Irp: *mut IRP) {
    // SAFETY: the caller's promise; what is no IRP is reported, freed ones as far as their type shows it.
    unsafe {
        if (*Irp).Type != IO_TYPE_IRP {
            super::stop(bug_check::MULTIPLE_IRP_COMPLETE_REQUESTS, [Irp.addr(), 1, 0, 0]);
        }
        if (*Irp).AllocationFlags & HAS_TRAILER != 0 {
            unlink_from_thread(Irp);
            release(Irp);
        } else {
            free_memory(Irp);
        }
    }
}

/// # Safety
/// Nobody uses the IRP any more.
unsafe fn free_memory(irp: *mut IRP) {
    // SAFETY: the caller's promise. Clearing the type makes a second free or completion show.
    unsafe {
        (*irp).Type = 0;
        if (*irp).AllocationFlags & ALLOCATED != 0 {
            ExFreePoolWithTag(irp.cast(), TAG);
        }
    }
}

/// Gives up a reference to the memory of an IRP with a trailer.
///
/// # Safety
/// The caller had that reference.
pub(crate) unsafe fn release(irp: *mut IRP) {
    // SAFETY: the caller's promise; with the last reference the IRP is ours.
    unsafe {
        if (*trailer_address(irp)).references.fetch_sub(1, Ordering::AcqRel) == 1 {
            trailer_address(irp).drop_in_place();
            free_memory(irp);
        }
    }
}

/// Ends a request of a thread: out of its list, memory freed once nobody cancels it any more.
///
/// # Safety
/// The IRP has completed in full.
pub(crate) unsafe fn free_for_thread(irp: *mut IRP) {
    // SAFETY: the caller's promise.
    unsafe { IoFreeIrp(irp) };
}

/// Lists of the IRPs of threads: threads share lists by address, so that no thread needs to know of them.
struct Shard {
    entry: core::cell::UnsafeCell<wdf_sys::wdm::LIST_ENTRY>,
}

// SAFETY: the list is only touched with the lock around it held.
unsafe impl Send for Shard {}

impl Shard {
    const fn new() -> Self {
        Self { entry: core::cell::UnsafeCell::new(wdf_sys::wdm::LIST_ENTRY::zeroed()) }
    }

    const fn head(&self) -> *mut wdf_sys::wdm::LIST_ENTRY {
        self.entry.get()
    }

    fn initialise(&self) {
        // SAFETY: the shard is a static, so that the head stays where it is; the lock around it is held.
        unsafe {
            if (*self.head()).Flink.is_null() {
                initialize_list_head(self.head());
            }
        }
    }
}

static SHARDS: [SpinLock<Shard>; 16] = [const { SpinLock::new(Shard::new()) }; 16];

fn shard(thread: *mut c_void) -> &'static SpinLock<Shard> {
    &SHARDS[(thread.addr() >> 8) % SHARDS.len()]
}

/// # Safety
/// The IRP has a trailer.
unsafe fn unlink_from_thread(irp: *mut IRP) {
    // SAFETY: the caller's promise; the lock of the list is held. Removing twice harms nothing.
    unsafe {
        let _guard = shard((*irp).Tail.Overlay.Thread).lock();
        remove_entry_list(&raw mut (*irp).ThreadListEntry);
    }
}

/// Takes an IRP from its thread, which does not wait for it any more.
///
/// # Safety
/// The IRP has a trailer, and the caller a reference to its memory.
pub(crate) unsafe fn disown(irp: *mut IRP) {
    // SAFETY: the caller's promise.
    unsafe {
        unlink_from_thread(irp);
        (*irp).Tail.Overlay.Thread = null_mut();
    }
}

/// Calls `visit` with each IRP of a thread that `wanted` chooses; `wanted` runs under the list's lock, `visit` without it.
/// Returns how many there were.
pub(crate) fn for_each_of_thread(thread: *mut c_void, wanted: impl Fn(*mut IRP) -> bool, visit: impl Fn(*mut IRP)) -> usize {
    let mut found = alloc::vec::Vec::new();
    {
        let shard = shard(thread).lock();
        shard.initialise();
        // SAFETY: entries of the list are those of live IRPs with trailers, and stay while the lock is held.
        unsafe {
            let mut entry = (*shard.head()).Flink;
            while entry != shard.head() {
                let irp: *mut IRP = entry.cast::<u8>().sub(core::mem::offset_of!(IRP, ThreadListEntry)).cast();
                if (*irp).Tail.Overlay.Thread == thread && wanted(irp) {
                    (*trailer_address(irp)).references.fetch_add(1, Ordering::Relaxed);
                    found.push(irp);
                }
                entry = (*entry).Flink;
            }
        }
    }
    for &irp in &found {
        visit(irp);
        // SAFETY: the reference was taken above.
        unsafe { release(irp) };
    }
    found.len()
}

/// Sets up the first stack location for `major`.
///
/// # Safety
/// The IRP has at least one stack location and was not sent.
pub(crate) unsafe fn first_location(irp: *mut IRP, major: u8, minor: u8) -> *mut IO_STACK_LOCATION {
    // SAFETY: the caller's promise.
    unsafe {
        let location = wdf_sys::wdm::next_stack_location(irp);
        (*location).MajorFunction = major;
        (*location).MinorFunction = minor;
        location
    }
}

/// Stores a result in an IRP.
///
/// # Safety
/// The IRP is the caller's.
pub(crate) unsafe fn set_status(irp: *mut IRP, status: NTSTATUS, information: usize) {
    // SAFETY: the caller's promise.
    unsafe { (*irp).IoStatus = IO_STATUS_BLOCK::new(status, information) };
}

/// Completes an IRP with a result; for built-in drivers.
///
/// # Safety
/// The IRP is the caller's, and is not touched after.
pub(crate) unsafe fn complete(irp: *mut IRP, status: NTSTATUS, information: usize) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe {
        set_status(irp, status, information);
        super::complete::IofCompleteRequest(irp, IO_NO_INCREMENT);
    }
    status
}

/// Stack size of the top of a device's stack.
///
/// # Safety
/// `device` is alive.
pub(crate) const unsafe fn stack_size(device: *mut DEVICE_OBJECT) -> i8 {
    // SAFETY: the caller's promise.
    unsafe { (*device).StackSize }
}
