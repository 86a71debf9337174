//! WDFMEMORY and WDFLOOKASIDE: buffers with a length, so that copies are checked.

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdf::WDF_OBJECT_ATTRIBUTES;
use wdf_sys::wdm::constants::{NON_PAGED_POOL, NON_PAGED_POOL_NX, PAGED_POOL};
use wdf_sys::wdm::functions::{ExAllocatePoolWithTag, ExFreePoolWithTag};
use wdf_sys::{NTSTATUS, WDFLOOKASIDE, WDFMEMORY};

use crate::call::ddi;
use crate::globals::Globals;
use crate::lock::default_parent;
use crate::object::attributes::Rules;
use crate::object::{AnyRef, Attributes, Body, CLEANUP_AT_PASSIVE, Kind, Ref};
use crate::sync::{DISPATCH_LEVEL, SpinLock};

/// Where a buffer comes from.
enum Origin {
    /// Somebody else's: a driver's, or part of a request.
    Borrowed,
    /// From pool, with this tag.
    Pool(u32),
}

struct Buffer {
    start: *mut c_void,
    size: usize,
    origin: Origin,
}

// SAFETY: an address and a length; who may use the memory is the driver's affair.
unsafe impl Send for Buffer {}

/// Body of a WDFMEMORY.
pub(crate) struct Memory {
    buffer: SpinLock<Buffer>,
}

impl Body for Memory {
    type Handle = WDFMEMORY;
    const KIND: Kind = Kind::Memory;
}

impl Drop for Memory {
    fn drop(&mut self) {
        let buffer = self.buffer.get_mut();
        if let Origin::Pool(tag) = buffer.origin {
            // SAFETY: allocated by `allocate` with this tag; the object is gone, and with it the driver's right to the buffer.
            unsafe { ExFreePoolWithTag(buffer.start, tag) };
        }
    }
}

impl Memory {
    /// A memory object over a buffer that belongs to someone else and outlives it.
    pub(crate) fn over(start: *mut c_void, size: usize) -> Self {
        Self { buffer: SpinLock::new(Buffer { start, size, origin: Origin::Borrowed }) }
    }

    /// A memory object over a new buffer.
    pub(crate) fn allocate(pool: i32, tag: u32, size: usize) -> Result<Self, NTSTATUS> {
        // SAFETY: an ordinary allocation; the result is checked.
        let start = unsafe { ExAllocatePoolWithTag(pool, size, tag) };
        if start.is_null() {
            return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
        }
        Ok(Self { buffer: SpinLock::new(Buffer { start, size, origin: Origin::Pool(tag) }) })
    }

    /// Start and size of the buffer.
    pub(crate) fn buffer(&self) -> (*mut c_void, usize) {
        let buffer = self.buffer.lock();
        (buffer.start, buffer.size)
    }

    /// Start of the part of the buffer from `offset` that has `length` bytes.
    ///
    /// # Errors
    /// `BUFFER_TOO_SMALL` when the buffer ends before.
    pub(crate) fn part(&self, offset: usize, length: usize) -> Result<*mut c_void, NTSTATUS> {
        let (start, size) = self.buffer();
        match offset.checked_add(length) {
            Some(end) if end <= size => Ok(start.wrapping_byte_add(offset)),
            _ => Err(NTSTATUS::BUFFER_TOO_SMALL),
        }
    }
}

/// Whether a `POOL_TYPE` is paged.
fn is_paged(pool: i32) -> bool {
    pool & 1 == PAGED_POOL
}

/// The pools that drivers name; others end the call with INVALID_PARAMETER.
fn is_pool(pool: i32) -> bool {
    matches!(pool, NON_PAGED_POOL | PAGED_POOL | NON_PAGED_POOL_NX | 4 | 5 | 516)
}

/// A memory object with a new buffer, under `attributes`.
pub(crate) fn create(
    globals: &'static Globals,
    attributes: &Attributes,
    default_parent: Option<&AnyRef>,
    pool: i32,
    tag: u32,
    size: usize,
) -> Result<Ref<Memory>, NTSTATUS> {
    if !is_pool(pool) || size == 0 {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    let tag = if tag == 0 { globals.tag() } else { tag };
    let memory = crate::object::create(globals, attributes, default_parent, Memory::allocate(pool, tag, size)?)?;
    if is_paged(pool) {
        memory.any().set_flags(CLEANUP_AT_PASSIVE);
    }
    Ok(memory)
}

/// Body of a WDFLOOKASIDE. Buffers come from pool one by one: what a list of free buffers saves on real hardware is not worth its
/// memory here.
pub(crate) struct Lookaside {
    size: usize,
    pool: i32,
    tag: u32,
    memory_attributes: Attributes,
}

impl Body for Lookaside {
    type Handle = WDFLOOKASIDE;
    const KIND: Kind = Kind::Lookaside;
}

ddi! {
    fn WdfMemoryCreate(call, attributes: *mut WDF_OBJECT_ATTRIBUTES, pool: i32, tag: u32, size: usize, memory: *mut WDFMEMORY, buffer: *mut *mut c_void) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write(memory, WDFMEMORY::NULL);
        let created = Attributes::read(call, attributes, Rules::ORDINARY)
            .and_then(|attributes| create(call.globals, &attributes, default_parent(call).as_ref(), pool, tag, size));
        if let Ok(created) = &created {
            call.write_optional(buffer, created.buffer().0);
        }
        call.created(memory, created)
    }

    fn WdfMemoryCreatePreallocated(call, attributes: *mut WDF_OBJECT_ATTRIBUTES, buffer: *mut c_void, size: usize, memory: *mut WDFMEMORY) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write(memory, WDFMEMORY::NULL);
        let _ = call.required(buffer.cast::<u8>());
        let created = Attributes::read(call, attributes, Rules::ORDINARY).and_then(|attributes| {
            if size == 0 {
                return Err(NTSTATUS::INVALID_PARAMETER);
            }
            crate::object::create(call.globals, &attributes, default_parent(call).as_ref(), Memory::over(buffer, size))
        });
        call.created(memory, created)
    }

    fn WdfMemoryGetBuffer(call, memory: WDFMEMORY, size: *mut usize) -> *mut c_void {
        let (start, length) = call.object::<Memory>(memory).buffer();
        call.write_optional(size, length);
        start
    }

    fn WdfMemoryAssignBuffer(call, memory: WDFMEMORY, start: *mut c_void, size: usize) -> NTSTATUS {
        let memory = call.object::<Memory>(memory);
        let _ = call.required(start.cast::<u8>());
        let mut buffer = memory.buffer.lock();
        if size == 0 || !matches!(buffer.origin, Origin::Borrowed) {
            return NTSTATUS::INVALID_PARAMETER;
        }
        *buffer = Buffer { start, size, origin: Origin::Borrowed };
        NTSTATUS::SUCCESS
    }

    fn WdfMemoryCopyToBuffer(call, memory: WDFMEMORY, offset: usize, to: *mut c_void, length: usize) -> NTSTATUS {
        let memory = call.object::<Memory>(memory);
        if length == 0 {
            return NTSTATUS::INVALID_PARAMETER;
        }
        match memory.part(offset, length) {
            Ok(from) => {
                call.copy_out(to, call.bytes(from, length));
                NTSTATUS::SUCCESS
            }
            Err(status) => status,
        }
    }

    fn WdfMemoryCopyFromBuffer(call, memory: WDFMEMORY, offset: usize, from: *mut c_void, length: usize) -> NTSTATUS {
        let memory = call.object::<Memory>(memory);
        if length == 0 {
            return NTSTATUS::INVALID_PARAMETER;
        }
        match memory.part(offset, length) {
            Ok(to) => {
                call.copy_out(to, call.bytes(from, length));
                NTSTATUS::SUCCESS
            }
            Err(status) => status,
        }
    }

    fn WdfLookasideListCreate(call, attributes: *mut WDF_OBJECT_ATTRIBUTES, size: usize, pool: i32, memory_attributes: *mut WDF_OBJECT_ATTRIBUTES, tag: u32, lookaside: *mut WDFLOOKASIDE) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write(lookaside, WDFLOOKASIDE::NULL);
        let created = Attributes::read(call, attributes, Rules::ORDINARY).and_then(|attributes| {
            if size == 0 || !is_pool(pool) {
                return Err(NTSTATUS::INVALID_PARAMETER);
            }
            let memory_attributes = Attributes::read(call, memory_attributes, Rules::ORDINARY)?;
            let body = Lookaside { size, pool, tag, memory_attributes };
            crate::object::create(call.globals, &attributes, default_parent(call).as_ref(), body)
        });
        if let Ok(created) = &created
            && is_paged(pool)
        {
            created.any().set_flags(CLEANUP_AT_PASSIVE);
        }
        call.created(lookaside, created)
    }

    fn WdfMemoryCreateFromLookaside(call, lookaside: WDFLOOKASIDE, memory: *mut WDFMEMORY) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write(memory, WDFMEMORY(null_mut()));
        let lookaside = call.object::<Lookaside>(lookaside);
        let parent = default_parent(call);
        let created = create(call.globals, &lookaside.memory_attributes, parent.as_ref(), lookaside.pool, lookaside.tag, lookaside.size);
        call.created(memory, created)
    }
}
