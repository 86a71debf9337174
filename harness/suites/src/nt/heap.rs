//! The suites' heap: one region from the system, handed out by a free-list allocator.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;

use linked_list_allocator::LockedHeap;
use wdf_sys::NTSTATUS;

use super::ntdll;

/// Size of the heap; the largest test holds a few dozen megabyte-sized buffers.
const HEAP_SIZE: usize = 64 << 20;
const MEM_COMMIT_RESERVE: u32 = 0x3000;
const PAGE_READWRITE: u32 = 4;

/// The global allocator of `suite.exe`. Empty until [`Heap::start`].
pub struct Heap(LockedHeap);

impl Heap {
    /// A heap without memory.
    #[must_use]
    pub const fn empty() -> Self {
        Self(LockedHeap::empty())
    }

    /// Gets the memory. Called once, before anything allocates.
    ///
    /// # Errors
    /// The system's status.
    pub fn start(&self) -> Result<(), NTSTATUS> {
        let mut base = null_mut();
        let mut size = HEAP_SIZE;
        // SAFETY: `base` and `size` are locals that the system reads and writes.
        unsafe {
            ntdll::NtAllocateVirtualMemory(ntdll::CURRENT_PROCESS, &mut base, 0, &mut size, MEM_COMMIT_RESERVE, PAGE_READWRITE)
        }
        .ok()?;
        // SAFETY: the region is fresh, committed, and belongs to this heap alone, for ever.
        unsafe { self.0.lock().init(base.cast(), size) };
        Ok(())
    }
}

// SAFETY: every call is the inner allocator's, which keeps the contract behind a lock.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.dealloc(pointer, layout) }
    }
}
