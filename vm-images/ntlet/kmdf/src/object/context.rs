//! Context memory: what drivers hang on objects. An object has at most one context of each type; a context knows its object.

use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdf::{PFN_WDF_OBJECT_CONTEXT_CLEANUP, PFN_WDF_OBJECT_CONTEXT_DESTROY, WDF_OBJECT_CONTEXT_TYPE_INFO};
use wdf_sys::wdm::constants::POOL_FLAG_NON_PAGED;
use wdf_sys::wdm::functions::{ExAllocatePool2, ExFreePoolWithTag, MmIsAddressValid};

use super::{AnyRef, Header};

/// Tells a context from other memory: `WDF_CTX_`.
const MAGIC: u64 = u64::from_le_bytes(*b"WDF_CTX_");

/// Largest context that is accepted; more is a driver's mistake in arithmetic.
const MAXIMUM_SIZE: usize = 1 << 24;

/// A context that a driver asks for: type, size, callbacks. Without a type, only the callbacks.
#[derive(Clone, Copy)]
pub(crate) struct WantedContext {
    /// Identity of the type; null for none.
    pub(crate) unique_type: *const WDF_OBJECT_CONTEXT_TYPE_INFO,
    pub(crate) size: usize,
    pub(crate) cleanup: PFN_WDF_OBJECT_CONTEXT_CLEANUP,
    pub(crate) destroy: PFN_WDF_OBJECT_CONTEXT_DESTROY,
}

/// Stands in front of the memory that the driver uses.
#[repr(C, align(16))]
pub(crate) struct Context {
    magic: u64,
    /// Handle of the object.
    object: usize,
    next: AtomicPtr<Context>,
    unique_type: *const WDF_OBJECT_CONTEXT_TYPE_INFO,
    cleanup: PFN_WDF_OBJECT_CONTEXT_CLEANUP,
    destroy: PFN_WDF_OBJECT_CONTEXT_DESTROY,
    /// Part of the object's own block, not one of its own.
    inline: bool,
}

impl Context {
    /// The memory that the driver uses.
    fn memory(context: NonNull<Self>) -> *mut c_void {
        // SAFETY: every context is followed by the driver's part, if only of size zero.
        unsafe { context.add(1).as_ptr().cast() }
    }
}

/// Bytes that a context of `size` takes, its front included.
pub(crate) fn allocation_size(size: usize) -> Result<usize, NTSTATUS> {
    if size > MAXIMUM_SIZE { Err(NTSTATUS::INSUFFICIENT_RESOURCES) } else { Ok(size_of::<Context>() + size.next_multiple_of(16)) }
}

/// Puts a context at the end of the object's own block.
///
/// # Safety
/// `at` has room for the context, zeroed and aligned to 16, as long as the object lives; nobody else knows the object yet.
pub(crate) unsafe fn place(header: NonNull<Header>, at: *mut c_void, wanted: &WantedContext) {
    // SAFETY: the caller's promise.
    unsafe {
        let context = front(header.as_ref(), wanted, true);
        at.cast::<Context>().write(context);
        header.as_ref().contexts.store(at.cast(), Ordering::Release);
    }
}

fn front(header: &Header, wanted: &WantedContext, inline: bool) -> Context {
    Context {
        magic: MAGIC,
        object: header.handle,
        next: AtomicPtr::new(null_mut()),
        unique_type: wanted.unique_type,
        cleanup: wanted.cleanup,
        destroy: wanted.destroy,
        inline,
    }
}

/// Adds a context to an object that exists. The memory, and whether it is new.
///
/// # Errors
/// `INSUFFICIENT_RESOURCES`; `DELETE_PENDING` when the object is being deleted.
pub(crate) fn add(object: &AnyRef, wanted: &WantedContext) -> Result<(*mut c_void, bool), NTSTATUS> {
    if let Some(existing) = find(object, wanted.unique_type) {
        return Ok((existing, false));
    }
    let header = object.header();
    // SAFETY: an ordinary allocation, zeroed; the result is checked.
    let block = unsafe { ExAllocatePool2(POOL_FLAG_NON_PAGED, allocation_size(wanted.size)?, header.globals.tag()) };
    let Some(block) = NonNull::new(block.cast::<Context>()) else { return Err(NTSTATUS::INSUFFICIENT_RESOURCES) };
    // SAFETY: the block is large enough, aligned to 16 and nobody else's.
    unsafe { block.write(front(header, wanted, false)) };
    let outcome = {
        // The tree lock orders this against the start of deletion and against another thread that adds the same type.
        let _lock = header.tree_lock.lock();
        if !object.is_alive() {
            Err(NTSTATUS::DELETE_PENDING)
        } else if let Some(existing) = find(object, wanted.unique_type) {
            Ok((existing, false))
        } else {
            let first = header.contexts.load(Ordering::Relaxed);
            // SAFETY: written above.
            unsafe { block.as_ref() }.next.store(first, Ordering::Relaxed);
            header.contexts.store(block.as_ptr(), Ordering::Release);
            return Ok((Context::memory(block), true));
        }
    };
    // SAFETY: allocated above with this tag; it did not get into the list.
    unsafe { ExFreePoolWithTag(block.as_ptr().cast(), header.globals.tag()) };
    outcome
}

fn each(object: &AnyRef) -> impl Iterator<Item = NonNull<Context>> {
    let mut at = NonNull::new(object.header().contexts.load(Ordering::Acquire));
    core::iter::from_fn(move || {
        let this = at?;
        // SAFETY: contexts stay until their object is freed, which the reference prevents.
        at = NonNull::new(unsafe { this.as_ref() }.next.load(Ordering::Acquire));
        Some(this)
    })
}

/// The memory of the context of a type, if the object has one.
pub(crate) fn find(object: &AnyRef, unique_type: *const WDF_OBJECT_CONTEXT_TYPE_INFO) -> Option<*mut c_void> {
    if unique_type.is_null() {
        return None;
    }
    // SAFETY: as in `each`.
    each(object).find(|context| core::ptr::eq(unsafe { context.as_ref() }.unique_type, unique_type)).map(Context::memory)
}

/// The handle of the object whose context memory begins at `memory`; `None` for any other address.
pub(crate) fn object_of(memory: *mut c_void) -> Option<usize> {
    if memory.is_null() || !memory.addr().is_multiple_of(16) {
        return None;
    }
    let context = memory.cast::<Context>().wrapping_sub(1);
    // SAFETY: asks the kernel about an address, without touching it.
    if unsafe { MmIsAddressValid(context.cast()) } == 0 {
        return None;
    }
    // SAFETY: mapped, as the kernel just said, and aligned to 16, so the two words lie in that page.
    let (magic, object) = unsafe { ((&raw const (*context).magic).read(), (&raw const (*context).object).read()) };
    (magic == MAGIC).then_some(object)
}

/// Calls the driver's cleanup callbacks, of the newest context first.
pub(crate) fn call_cleanup(object: &AnyRef) {
    for context in each(object) {
        // SAFETY: as in `each`.
        if let Some(cleanup) = unsafe { context.as_ref() }.cleanup {
            // SAFETY: a callback that the driver gave for this object, called as its page says.
            object.guarded(cleanup as usize, || unsafe { cleanup(object.handle()) });
        }
    }
}

/// Calls the driver's destroy callbacks, of the newest context first.
pub(crate) fn call_destroy(object: &AnyRef) {
    for context in each(object) {
        // SAFETY: as in `each`.
        if let Some(destroy) = unsafe { context.as_ref() }.destroy {
            // SAFETY: a callback that the driver gave for this object, called as its page says.
            object.guarded(destroy as usize, || unsafe { destroy(object.handle()) });
        }
    }
}

/// Frees the contexts that have blocks of their own.
///
/// # Safety
/// Nobody refers to the object any more.
pub(crate) unsafe fn free_all(header: NonNull<Header>) {
    // SAFETY: the caller's promise: the header is whole and nobody else's.
    let header = unsafe { header.as_ref() };
    let mut at = header.contexts.swap(null_mut(), Ordering::Acquire);
    while let Some(context) = NonNull::new(at) {
        // SAFETY: contexts of the object, which is whole still.
        let (next, inline) = unsafe { (context.as_ref().next.load(Ordering::Relaxed), context.as_ref().inline) };
        at = next;
        // Poisoned, so that a pointer kept too long is no context any more.
        // SAFETY: as above.
        unsafe { (&raw mut (*context.as_ptr()).magic).write(0) };
        if !inline {
            // SAFETY: allocated by `add` with this tag.
            unsafe { ExFreePoolWithTag(context.as_ptr().cast(), header.globals.tag()) };
        }
    }
}
