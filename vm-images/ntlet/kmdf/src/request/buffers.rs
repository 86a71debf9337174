//! The buffers of an incoming request: as addresses, as WDFMEMORY, as MDLs.
//!
//! Which field of the IRP holds a buffer depends on the major function, the device's I/O type, and for controls on the method in the code.
//! [`Memories`] is what was made for the driver on the way; it goes when the request is completed.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::Ordering;

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{IoAllocateMdl, IoFreeMdl, MmBuildMdlForNonPagedPool, MmMapLockedPagesSpecifyCache, MmUnlockPages};
use wdf_sys::wdm::{IRP, MDL};
use wdf_sys::{NTSTATUS, WDFMEMORY, WDFREQUEST};

use super::{Origin, Request, ownership};
use crate::call::{Call, ddi};
use crate::guarded;
use crate::memory::Memory;
use crate::object::{Attributes, Ref};
use crate::sync::{APC_LEVEL, DISPATCH_LEVEL};

/// What was made for the driver from the request's buffers.
#[derive(Default)]
pub(crate) struct Memories {
    input: Option<Ref<Memory>>,
    output: Option<Ref<Memory>>,
    input_mdl: Option<Mdl>,
    output_mdl: Option<Mdl>,
    /// MDLs of user buffers that are locked, chained by `Next`.
    locked: Option<Mdl>,
}

/// An MDL of ours.
#[derive(Clone, Copy)]
struct Mdl(*mut MDL);

// SAFETY: the MDL belongs to the request, which hands it to one owner at a time.
unsafe impl Send for Mdl {}

impl Memories {
    /// References of the driver's to the memory objects of both buffers.
    pub(crate) fn driver_references(&self) -> usize {
        let of = |memory: &Ref<Memory>| memory.any().header().driver_references.load(Ordering::Relaxed);
        [&self.input, &self.output].into_iter().flatten().map(of).filter_map(|count| usize::try_from(count).ok()).sum()
    }

    /// Everything goes: the request is being completed.
    pub(crate) fn delete(self) {
        for memory in [self.input, self.output].into_iter().flatten() {
            memory.delete();
        }
        for mdl in [self.input_mdl, self.output_mdl].into_iter().flatten() {
            // SAFETY: allocated by `mdl_of`, and used by nobody once the request is completed.
            unsafe { IoFreeMdl(mdl.0) };
        }
        let mut at = self.locked.map_or(null_mut(), |mdl| mdl.0);
        while !at.is_null() {
            // SAFETY: allocated and locked by `probe_and_lock`.
            unsafe {
                let next = core::mem::replace(&mut (*at).Next, null_mut());
                MmUnlockPages(at);
                IoFreeMdl(at);
                at = next;
            }
        }
    }
}

/// Input is what the requestor gives, output what it gets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Input,
    Output,
}

/// Where the IRP holds a buffer.
#[derive(Clone, Copy)]
enum Place {
    System(*mut c_void),
    Described(*mut MDL),
    /// An address of the requestor's, checked by nobody.
    Raw(*mut c_void),
}

ddi! {
    fn WdfRequestRetrieveInputBuffer(call, request: WDFREQUEST, minimum: usize, buffer: *mut *mut c_void, length: *mut usize) -> NTSTATUS {
        retrieve(call, request, Side::Input, minimum, buffer, length)
    }

    fn WdfRequestRetrieveOutputBuffer(call, request: WDFREQUEST, minimum: usize, buffer: *mut *mut c_void, length: *mut usize) -> NTSTATUS {
        retrieve(call, request, Side::Output, minimum, buffer, length)
    }

    fn WdfRequestRetrieveInputMemory(call, request: WDFREQUEST, memory: *mut WDFMEMORY) -> NTSTATUS {
        retrieve_memory(call, request, Side::Input, memory)
    }

    fn WdfRequestRetrieveOutputMemory(call, request: WDFREQUEST, memory: *mut WDFMEMORY) -> NTSTATUS {
        retrieve_memory(call, request, Side::Output, memory)
    }

    fn WdfRequestRetrieveInputWdmMdl(call, request: WDFREQUEST, mdl: *mut *mut MDL) -> NTSTATUS {
        retrieve_mdl(call, request, Side::Input, mdl)
    }

    fn WdfRequestRetrieveOutputWdmMdl(call, request: WDFREQUEST, mdl: *mut *mut MDL) -> NTSTATUS {
        retrieve_mdl(call, request, Side::Output, mdl)
    }

    fn WdfRequestRetrieveUnsafeUserInputBuffer(call, request: WDFREQUEST, minimum: usize, buffer: *mut *mut c_void, length: *mut usize) -> NTSTATUS {
        retrieve_raw(call, request, Side::Input, minimum, buffer, length)
    }

    fn WdfRequestRetrieveUnsafeUserOutputBuffer(call, request: WDFREQUEST, minimum: usize, buffer: *mut *mut c_void, length: *mut usize) -> NTSTATUS {
        retrieve_raw(call, request, Side::Output, minimum, buffer, length)
    }

    fn WdfRequestProbeAndLockUserBufferForRead(call, request: WDFREQUEST, buffer: *mut c_void, length: usize, memory: *mut WDFMEMORY) -> NTSTATUS {
        let request = call.object::<Request>(request);
        call.write(memory, WDFMEMORY::NULL);
        let locked = probe_and_lock(call, &request, buffer, length, IO_READ_ACCESS);
        call.created(memory, locked)
    }

    fn WdfRequestProbeAndLockUserBufferForWrite(call, request: WDFREQUEST, buffer: *mut c_void, length: usize, memory: *mut WDFMEMORY) -> NTSTATUS {
        let request = call.object::<Request>(request);
        call.write(memory, WDFMEMORY::NULL);
        let locked = probe_and_lock(call, &request, buffer, length, IO_WRITE_ACCESS);
        call.created(memory, locked)
    }
}

/// The buffer of one side of a request: where, and how long.
fn find(call: &Call, request: &Ref<Request>, side: Side) -> Result<(Place, usize), NTSTATUS> {
    let irp = ownership::accessible(call, request).ok_or(NTSTATUS::INVALID_DEVICE_REQUEST)?;
    if request.origin != Origin::Incoming {
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    // SAFETY: an incoming request that is not completed has its IRP and our stack location; members are those of the major function.
    unsafe {
        let stack = &*request.stack();
        let flags = (*stack.DeviceObject).Flags;
        match (stack.MajorFunction, side) {
            (IRP_MJ_READ, Side::Output) => Ok((transfer(irp, flags), stack.Parameters.Read.Length as usize)),
            (IRP_MJ_WRITE, Side::Input) => Ok((transfer(irp, flags), stack.Parameters.Write.Length as usize)),
            (IRP_MJ_DEVICE_CONTROL | IRP_MJ_INTERNAL_DEVICE_CONTROL, _) => {
                let control = stack.Parameters.DeviceIoControl;
                let system = (*irp).AssociatedIrp.SystemBuffer;
                let input = control.InputBufferLength as usize;
                let output = control.OutputBufferLength as usize;
                Ok(match (control.IoControlCode & 3, side) {
                    (METHOD_NEITHER, Side::Input) => (Place::Raw(control.Type3InputBuffer), input),
                    (METHOD_NEITHER, Side::Output) => (Place::Raw((*irp).UserBuffer), output),
                    (_, Side::Input) => (Place::System(system), input),
                    (METHOD_BUFFERED, Side::Output) => (Place::System(system), output),
                    (_, Side::Output) => (Place::Described((*irp).MdlAddress), output),
                })
            }
            _ => Err(NTSTATUS::INVALID_DEVICE_REQUEST),
        }
    }
}

/// The buffer of a read or write, by the I/O type of the device.
unsafe fn transfer(irp: *mut IRP, device_flags: u32) -> Place {
    // SAFETY: the caller's promise: the IRP is there; the member is a pointer whatever it stands for.
    unsafe {
        if device_flags & DO_BUFFERED_IO != 0 {
            Place::System((*irp).AssociatedIrp.SystemBuffer)
        } else if device_flags & DO_DIRECT_IO != 0 {
            Place::Described((*irp).MdlAddress)
        } else {
            Place::Raw((*irp).UserBuffer)
        }
    }
}

/// A kernel address for a buffer that has bytes, at least `minimum` of them.
fn address(call: &Call, request: &Ref<Request>, side: Side, minimum: usize) -> Result<(*mut c_void, usize), NTSTATUS> {
    let (place, length) = find(call, request, side)?;
    if length == 0 || length < minimum {
        return Err(NTSTATUS::BUFFER_TOO_SMALL);
    }
    let at = match place {
        Place::System(at) => at,
        Place::Described(mdl) => system_address(mdl),
        Place::Raw(_) => return Err(NTSTATUS::INVALID_DEVICE_REQUEST),
    };
    if at.is_null() { Err(NTSTATUS::INSUFFICIENT_RESOURCES) } else { Ok((at, length)) }
}

/// `MmGetSystemAddressForMdlSafe`; null when there is no MDL or no room to map it.
fn system_address(mdl: *mut MDL) -> *mut c_void {
    if mdl.is_null() {
        return null_mut();
    }
    // SAFETY: the IRP's MDL, whose pages its requestor keeps locked until the IRP is completed.
    unsafe {
        if (*mdl).MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL) != 0 {
            return (*mdl).MappedSystemVa;
        }
        let priority = NORMAL_PAGE_PRIORITY | MDL_MAPPING_NO_EXECUTE;
        MmMapLockedPagesSpecifyCache(mdl, KERNEL_MODE, MM_CACHED, null_mut(), 0, priority)
    }
}

fn retrieve(
    call: &Call,
    request: WDFREQUEST,
    side: Side,
    minimum: usize,
    buffer: *mut *mut c_void,
    length: *mut usize,
) -> NTSTATUS {
    call.irql_at_most(DISPATCH_LEVEL);
    let request = call.object::<Request>(request);
    call.write(buffer, null_mut());
    call.write_optional(length, 0);
    match address(call, &request, side, minimum) {
        Ok((at, size)) => {
            call.write(buffer, at);
            call.write_optional(length, size);
            NTSTATUS::SUCCESS
        }
        Err(status) => status,
    }
}

fn retrieve_memory(call: &Call, request: WDFREQUEST, side: Side, place: *mut WDFMEMORY) -> NTSTATUS {
    call.irql_at_most(DISPATCH_LEVEL);
    let request = call.object::<Request>(request);
    call.write(place, WDFMEMORY::NULL);
    let memory = address(call, &request, side, 0).and_then(|(at, length)| memory_over(call, &request, side, at, length));
    match memory {
        Ok(memory) => {
            call.write(place, memory.handle());
            NTSTATUS::SUCCESS
        }
        Err(status) => status,
    }
}

/// The request's WDFMEMORY for a side, made when first asked for.
fn memory_over(call: &Call, request: &Ref<Request>, side: Side, at: *mut c_void, length: usize) -> Result<Ref<Memory>, NTSTATUS> {
    let existing = |memories: &Memories| if side == Side::Input { memories.input.clone() } else { memories.output.clone() };
    if let Some(memory) = existing(&request.memories.lock()) {
        return Ok(memory);
    }
    let made = crate::object::create(call.globals, &Attributes::NONE, Some(request.any()), Memory::over(at, length))?;
    made.any().set_flags(crate::object::NOT_DELETABLE);
    let lost = {
        let mut memories = request.memories.lock();
        match existing(&memories) {
            Some(other) => Some(other),
            None => {
                *(if side == Side::Input { &mut memories.input } else { &mut memories.output }) = Some(made.clone());
                None
            }
        }
    };
    match lost {
        Some(other) => {
            made.abandon();
            Ok(other)
        }
        None => Ok(made),
    }
}

fn retrieve_mdl(call: &Call, request: WDFREQUEST, side: Side, place: *mut *mut MDL) -> NTSTATUS {
    call.irql_at_most(DISPATCH_LEVEL);
    let request = call.object::<Request>(request);
    call.write(place, null_mut());
    match described(call, &request, side) {
        Ok((mdl, _)) => {
            call.write(place, mdl);
            NTSTATUS::SUCCESS
        }
        Err(status) => status,
    }
}

/// The MDL of one side of a request, and its length.
fn described(call: &Call, request: &Ref<Request>, side: Side) -> Result<(*mut MDL, usize), NTSTATUS> {
    let (place, length) = find(call, request, side)?;
    let mdl = match place {
        _ if length == 0 => Err(NTSTATUS::BUFFER_TOO_SMALL),
        Place::Described(mdl) if mdl.is_null() => Err(NTSTATUS::INSUFFICIENT_RESOURCES),
        Place::Described(mdl) => Ok(mdl),
        Place::System(at) => mdl_of(request, side, at, length),
        Place::Raw(_) => Err(NTSTATUS::INVALID_DEVICE_REQUEST),
    };
    mdl.map(|mdl| (mdl, length))
}

/// The buffer of a request that a DMA transaction moves, to the device (`write`) or from it. Of a device control it is the output buffer,
/// which holds what goes to the device where the method is direct input.
///
/// # Errors
/// `INVALID_DEVICE_REQUEST` when the request moves data the other way, or none.
pub(crate) fn for_dma(call: &Call, request: &Ref<Request>, write: bool) -> Result<(*mut MDL, usize), NTSTATUS> {
    ownership::accessible(call, request).ok_or(NTSTATUS::INVALID_DEVICE_REQUEST)?;
    if request.origin != Origin::Incoming {
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    // SAFETY: an incoming request that is not completed has our stack location.
    let side = match (unsafe { (*request.stack()).MajorFunction }, write) {
        (IRP_MJ_READ, false) | (IRP_MJ_DEVICE_CONTROL | IRP_MJ_INTERNAL_DEVICE_CONTROL, _) => Side::Output,
        (IRP_MJ_WRITE, true) => Side::Input,
        _ => return Err(NTSTATUS::INVALID_DEVICE_REQUEST),
    };
    described(call, request, side).map_err(|status| {
        // A transfer of nothing is no transfer.
        if status == NTSTATUS::BUFFER_TOO_SMALL { NTSTATUS::INVALID_DEVICE_REQUEST } else { status }
    })
}

/// An MDL of the system buffer, made when first asked for.
fn mdl_of(request: &Ref<Request>, side: Side, at: *mut c_void, length: usize) -> Result<*mut MDL, NTSTATUS> {
    let mut memories = request.memories.lock();
    let place = if side == Side::Input { &mut memories.input_mdl } else { &mut memories.output_mdl };
    if let Some(mdl) = place {
        return Ok(mdl.0);
    }
    let Ok(bytes) = u32::try_from(length) else { return Err(NTSTATUS::INSUFFICIENT_RESOURCES) };
    // SAFETY: the system buffer is non-paged pool of at least this length, there until the IRP is completed.
    unsafe {
        let mdl = IoAllocateMdl(at, bytes, wdf_sys::FALSE, wdf_sys::FALSE, null_mut());
        if mdl.is_null() {
            return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
        }
        MmBuildMdlForNonPagedPool(mdl);
        *place = Some(Mdl(mdl));
        Ok(mdl)
    }
}

fn retrieve_raw(
    call: &Call,
    request: WDFREQUEST,
    side: Side,
    minimum: usize,
    buffer: *mut *mut c_void,
    length: *mut usize,
) -> NTSTATUS {
    call.irql_at_most(APC_LEVEL);
    let request = call.object::<Request>(request);
    call.write(buffer, null_mut());
    call.write_optional(length, 0);
    let found = find(call, &request, side).and_then(|(place, size)| match place {
        Place::Raw(_) if size == 0 || size < minimum => Err(NTSTATUS::BUFFER_TOO_SMALL),
        Place::Raw(at) => Ok((at, size)),
        Place::System(_) | Place::Described(_) => Err(NTSTATUS::INVALID_DEVICE_REQUEST),
    });
    match found {
        Ok((at, size)) => {
            call.write(buffer, at);
            call.write_optional(length, size);
            NTSTATUS::SUCCESS
        }
        Err(status) => status,
    }
}

/// Locks a buffer of the requestor's for the life of the request.
fn probe_and_lock(
    call: &Call,
    request: &Ref<Request>,
    buffer: *mut c_void,
    length: usize,
    operation: i32,
) -> Result<Ref<Memory>, NTSTATUS> {
    call.required(buffer.cast_const().cast::<u8>());
    call.irql_at_most(APC_LEVEL);
    let irp = ownership::accessible(call, request).ok_or(NTSTATUS::INVALID_DEVICE_REQUEST)?;
    if request.origin != Origin::Incoming || length == 0 {
        return Err(NTSTATUS::INVALID_USER_BUFFER);
    }
    // SAFETY: `accessible` says that the IRP is there.
    let mode = unsafe { (*irp).RequestorMode };
    let Ok(bytes) = u32::try_from(length) else { return Err(NTSTATUS::INVALID_USER_BUFFER) };
    // SAFETY: describes memory without touching it; the result is checked.
    let mdl = unsafe { IoAllocateMdl(buffer, bytes, wdf_sys::FALSE, wdf_sys::FALSE, null_mut()) };
    if mdl.is_null() {
        return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
    }
    // SAFETY: a new MDL of the requestor's range.
    let locked = unsafe { guarded::probe_and_lock_pages(mdl, mode, operation) };
    if let Err(status) = locked.ok() {
        // SAFETY: the MDL is ours and locks nothing.
        unsafe { IoFreeMdl(mdl) };
        return Err(status);
    }
    {
        let mut memories = request.memories.lock();
        // SAFETY: the MDL is ours; its `Next` is free until an IRP uses it.
        unsafe { (*mdl).Next = memories.locked.map_or(null_mut(), |first| first.0) };
        memories.locked = Some(Mdl(mdl));
    }
    let at = system_address(mdl);
    if at.is_null() {
        return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
    }
    crate::object::create(call.globals, &Attributes::NONE, Some(request.any()), Memory::over(at, length))
}
