//! DMA adapters. Devices see physical memory as it is: no map registers, no copies; bus addresses are physical addresses.

use alloc::boxed::Box;
use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{ExAllocatePool2, ExFreePool, KeLowerIrql, KfRaiseIrql};
use wdf_sys::wdm::{
    DEVICE_DESCRIPTION, DEVICE_OBJECT, DMA_ADAPTER, DMA_OPERATIONS, MDL, PDRIVER_CONTROL, PDRIVER_LIST_CONTROL,
    SCATTER_GATHER_ELEMENT, SCATTER_GATHER_LIST,
};
use wdf_sys::{BOOLEAN, NTSTATUS};

use crate::hal::{DISPATCH_LEVEL, PAGE_SIZE};
use crate::memory::{contiguous, mdl};

const TAG: u32 = u32::from_le_bytes(*b"Dma ");
/// `DEVICE_DESCRIPTION_VERSION3` is the newest.
const NEWEST_VERSION: u32 = 3;

/// An adapter; drivers see its first field.
#[repr(C)]
struct Adapter {
    public: DMA_ADAPTER,
    /// First address the device cannot reach.
    limit: u64,
    /// Largest transfer.
    maximum: u32,
}

static OPERATIONS: DMA_OPERATIONS = DMA_OPERATIONS {
    Size: size_of::<DMA_OPERATIONS>() as u32,
    PutDmaAdapter: Some(put_adapter),
    AllocateCommonBuffer: Some(allocate_common_buffer),
    FreeCommonBuffer: Some(free_common_buffer),
    AllocateAdapterChannel: Some(allocate_channel),
    FlushAdapterBuffers: Some(flush),
    FreeAdapterChannel: Some(free_channel),
    FreeMapRegisters: Some(free_map_registers),
    MapTransfer: Some(map_transfer),
    GetDmaAlignment: Some(alignment),
    ReadDmaCounter: Some(counter),
    GetScatterGatherList: Some(get_list),
    PutScatterGatherList: Some(put_list),
    CalculateScatterGatherList: Some(calculate_list),
    BuildScatterGatherList: Some(build_list),
    BuildMdlFromScatterGatherList: Some(mdl_from_list),
};

/// # Safety
/// As the documentation of IoGetDmaAdapter demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoGetDmaAdapter(
    _PhysicalDeviceObject: *mut DEVICE_OBJECT,
    DeviceDescription: *mut DEVICE_DESCRIPTION,
    NumberOfMapRegisters: *mut u32,
) -> *mut DMA_ADAPTER {
    // SAFETY: the caller's promise.
    let description = unsafe { *DeviceDescription };
    // Slave devices need a DMA controller, which this machine does not have.
    if description.Version > NEWEST_VERSION || description.Master == 0 {
        return null_mut();
    }
    let bits = match (description.Dma64BitAddresses, description.Dma32BitAddresses, description.Version) {
        (0, 0, 0 | 1) => 24,
        (0, _, _) => 32,
        _ => 64,
    };
    let adapter = Adapter {
        public: DMA_ADAPTER {
            Version: 1,
            Size: size_of::<DMA_ADAPTER>() as u16,
            DmaOperations: (&raw const OPERATIONS).cast_mut(),
        },
        limit: if bits == 64 { u64::MAX } else { 1 << bits },
        maximum: description.MaximumLength,
    };
    // Without map registers there may be as many as the largest transfer has pages.
    // SAFETY: the caller's promise.
    unsafe { *NumberOfMapRegisters = (description.MaximumLength as usize).div_ceil(PAGE_SIZE) as u32 + 1 };
    Box::into_raw(Box::new(adapter)).cast()
}

/// # Safety
/// The adapter came from `IoGetDmaAdapter`.
unsafe fn adapter<'a>(public: *mut DMA_ADAPTER) -> &'a Adapter {
    // SAFETY: the caller's promise.
    unsafe { &*public.cast::<Adapter>() }
}

/// # Safety
/// As documented for this operation.
unsafe extern "win64" fn put_adapter(public: *mut DMA_ADAPTER) {
    // SAFETY: the adapter was boxed by `IoGetDmaAdapter`, and the caller gives it up.
    drop(unsafe { Box::from_raw(public.cast::<Adapter>()) });
}

/// # Safety
/// As documented for this operation.
unsafe extern "win64" fn allocate_common_buffer(
    public: *mut DMA_ADAPTER,
    length: u32,
    logical: *mut i64,
    _cached: BOOLEAN,
) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe {
        let Some(start) = contiguous::allocate(length as usize, adapter(public).limit) else { return null_mut() };
        let address: *mut c_void = start.as_ptr().cast();
        *logical = crate::hal().physical_address(address).unwrap_or(0) as i64;
        address
    }
}

/// # Safety
/// As documented for this operation.
unsafe extern "win64" fn free_common_buffer(
    _: *mut DMA_ADAPTER,
    _length: u32,
    _logical: i64,
    address: *mut c_void,
    _cached: BOOLEAN,
) {
    // SAFETY: the caller's promise.
    unsafe { contiguous::free(address) };
}

/// Calls the routine at once: there is nothing to wait for.
///
/// # Safety
/// As documented for this operation.
unsafe extern "win64" fn allocate_channel(
    _adapter: *mut DMA_ADAPTER,
    device: *mut DEVICE_OBJECT,
    _registers: u32,
    routine: PDRIVER_CONTROL,
    context: *mut c_void,
) -> NTSTATUS {
    let Some(routine) = routine else { return NTSTATUS::INVALID_PARAMETER };
    // SAFETY: the caller's promise; a bus master keeps no adapter, so that what the routine returns does not matter.
    unsafe { routine(device, (*device).CurrentIrp, null_mut(), context) };
    NTSTATUS::SUCCESS
}

/// # Safety
/// As documented for this operation.
unsafe extern "win64" fn flush(_: *mut DMA_ADAPTER, _: *mut MDL, _: *mut c_void, _: *mut c_void, _: u32, _: BOOLEAN) -> BOOLEAN {
    // Devices snoop: memory is what the processor sees.
    1
}

/// # Safety
/// As documented for this operation.
const unsafe extern "win64" fn free_channel(_: *mut DMA_ADAPTER) {}

/// # Safety
/// As documented for this operation.
const unsafe extern "win64" fn free_map_registers(_: *mut DMA_ADAPTER, _: *mut c_void, _: u32) {}

/// The first contiguous piece of a transfer.
///
/// # Safety
/// As documented for this operation.
unsafe extern "win64" fn map_transfer(
    _: *mut DMA_ADAPTER,
    list: *mut MDL,
    _: *mut c_void,
    address: *mut c_void,
    length: *mut u32,
    _: BOOLEAN,
) -> i64 {
    let mut first = None;
    // SAFETY: the caller's promise.
    unsafe {
        let whole = *length as usize;
        let mapped = mdl::for_each_range(list, address, whole, |start, size| {
            first.get_or_insert((start, size));
        });
        match (mapped, first) {
            (Some(()), Some((start, size))) => {
                *length = size;
                start as i64
            }
            _ => crate::io::stop(bug_check::DRIVER_VERIFIER_DETECTED_VIOLATION, [0xb1, list.addr(), address.addr(), whole]),
        }
    }
}

/// # Safety
/// As documented for this operation.
const unsafe extern "win64" fn alignment(_: *mut DMA_ADAPTER) -> u32 {
    1
}

/// # Safety
/// As documented for this operation.
const unsafe extern "win64" fn counter(_: *mut DMA_ADAPTER) -> u32 {
    0
}

const fn list_size(elements: usize) -> usize {
    core::mem::offset_of!(SCATTER_GATHER_LIST, Elements) + elements * size_of::<SCATTER_GATHER_ELEMENT>()
}

/// Most pieces a part of a chain of MDLs can have.
///
/// # Safety
/// `first` is a chain of MDLs.
unsafe fn pieces(first: *mut MDL, length: u32) -> usize {
    let mut count = 0;
    let mut list = first;
    while !list.is_null() {
        // SAFETY: the caller's promise.
        unsafe {
            count += (*list).ByteCount as usize / PAGE_SIZE + 2;
            list = (*list).Next;
        }
    }
    count.min(length as usize / PAGE_SIZE + 2 + count)
}

/// Fills a list with the pieces of a part that begins at `address` in the first MDL and may go on in the next.
///
/// # Safety
/// The chain is locked; `target` has room for `room` elements.
unsafe fn fill(first: *mut MDL, address: *mut c_void, length: u32, target: *mut SCATTER_GATHER_LIST, room: usize) -> NTSTATUS {
    let mut count = 0;
    let mut left = length as usize;
    let mut list = first;
    let mut start = address;
    // SAFETY: the caller's promise.
    unsafe {
        let elements = (&raw mut (*target).Elements).cast::<SCATTER_GATHER_ELEMENT>();
        while left != 0 {
            if list.is_null() {
                return NTSTATUS::INVALID_PARAMETER;
            }
            let begin = (*list).StartVa.addr() + (*list).ByteOffset as usize;
            let inside = ((*list).ByteCount as usize).saturating_sub(start.addr().wrapping_sub(begin));
            let part = left.min(inside);
            let mapped = mdl::for_each_range(list, start, part, |address, size| {
                if count < room {
                    *elements.add(count) = SCATTER_GATHER_ELEMENT { Address: address as i64, Length: size, Reserved: 0 };
                }
                count += 1;
            });
            if mapped.is_none() {
                return NTSTATUS::INVALID_PARAMETER;
            }
            left -= part;
            list = (*list).Next;
            if !list.is_null() {
                start = (*list).StartVa.cast::<u8>().add((*list).ByteOffset as usize).cast();
            }
        }
        if count > room {
            return NTSTATUS::BUFFER_TOO_SMALL;
        }
        (*target).NumberOfElements = count as u32;
        (*target).Reserved = 0;
    }
    NTSTATUS::SUCCESS
}

/// # Safety
/// As documented for this operation.
unsafe extern "win64" fn get_list(
    public: *mut DMA_ADAPTER,
    device: *mut DEVICE_OBJECT,
    list: *mut MDL,
    address: *mut c_void,
    length: u32,
    routine: PDRIVER_LIST_CONTROL,
    context: *mut c_void,
    _write: BOOLEAN,
) -> NTSTATUS {
    let Some(routine) = routine else { return NTSTATUS::INVALID_PARAMETER };
    // SAFETY: the caller's promise.
    unsafe {
        if length > adapter(public).maximum {
            return NTSTATUS::INSUFFICIENT_RESOURCES;
        }
        let room = pieces(list, length);
        let target: *mut SCATTER_GATHER_LIST = ExAllocatePool2(POOL_FLAG_NON_PAGED, list_size(room), TAG).cast();
        if target.is_null() {
            return NTSTATUS::INSUFFICIENT_RESOURCES;
        }
        let status = fill(list, address, length, target, room);
        if !status.is_success() {
            ExFreePool(target.cast());
            return status;
        }
        // Documented: the routine runs at DISPATCH_LEVEL.
        let irql = KfRaiseIrql(DISPATCH_LEVEL);
        routine(device, (*device).CurrentIrp, target, context);
        KeLowerIrql(irql);
    }
    NTSTATUS::SUCCESS
}

/// # Safety
/// As documented for this operation.
unsafe extern "win64" fn put_list(_: *mut DMA_ADAPTER, list: *mut SCATTER_GATHER_LIST, _: BOOLEAN) {
    // A list in the caller's own buffer is marked by what `build_list` writes.
    // SAFETY: the caller's promise.
    unsafe {
        if (*list).Reserved != OWN_BUFFER {
            ExFreePool(list.cast());
        }
    }
}

/// `SCATTER_GATHER_LIST::Reserved` of a list in a buffer of the driver.
const OWN_BUFFER: usize = 1;

/// # Safety
/// As documented for this operation.
unsafe extern "win64" fn calculate_list(
    _: *mut DMA_ADAPTER,
    list: *mut MDL,
    address: *mut c_void,
    length: u32,
    size: *mut u32,
    registers: *mut u32,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe {
        let count = if list.is_null() {
            (address.addr() % PAGE_SIZE + length as usize).div_ceil(PAGE_SIZE)
        } else {
            pieces(list, length)
        };
        *size = list_size(count) as u32;
        if !registers.is_null() {
            *registers = count as u32;
        }
    }
    NTSTATUS::SUCCESS
}

/// # Safety
/// As documented for this operation.
unsafe extern "win64" fn build_list(
    public: *mut DMA_ADAPTER,
    device: *mut DEVICE_OBJECT,
    list: *mut MDL,
    address: *mut c_void,
    length: u32,
    routine: PDRIVER_LIST_CONTROL,
    context: *mut c_void,
    _write: BOOLEAN,
    buffer: *mut c_void,
    buffer_length: u32,
) -> NTSTATUS {
    let Some(routine) = routine else { return NTSTATUS::INVALID_PARAMETER };
    // SAFETY: the caller's promise.
    unsafe {
        if length > adapter(public).maximum {
            return NTSTATUS::INSUFFICIENT_RESOURCES;
        }
        let Some(space) = (buffer_length as usize).checked_sub(list_size(1)) else { return NTSTATUS::BUFFER_TOO_SMALL };
        let target: *mut SCATTER_GATHER_LIST = buffer.cast();
        let status = fill(list, address, length, target, space / size_of::<SCATTER_GATHER_ELEMENT>() + 1);
        if !status.is_success() {
            return status;
        }
        (*target).Reserved = OWN_BUFFER;
        let irql = KfRaiseIrql(DISPATCH_LEVEL);
        routine(device, (*device).CurrentIrp, target, context);
        KeLowerIrql(irql);
    }
    NTSTATUS::SUCCESS
}

/// The list describes the original memory, as nothing was copied.
///
/// # Safety
/// As documented for this operation.
unsafe extern "win64" fn mdl_from_list(
    _: *mut DMA_ADAPTER,
    _list: *mut SCATTER_GATHER_LIST,
    original: *mut MDL,
    target: *mut *mut MDL,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe { *target = original };
    NTSTATUS::SUCCESS
}
