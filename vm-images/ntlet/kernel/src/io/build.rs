//! IRPs that drivers have built for them, and that belong to the thread that asked: `IoBuildDeviceIoControlRequest`,
//! `IoBuildSynchronousFsdRequest`; and what drivers ask about an IRP.

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{ExAllocatePool2, ExFreePool};
use wdf_sys::wdm::{DEVICE_OBJECT, IO_STACK_LOCATION, IO_STATUS_BLOCK, IRP, KEVENT};
use wdf_sys::{BOOLEAN, NTSTATUS};

use super::irp as packet;
use crate::memory::mdl;

const TAG: u32 = u32::from_le_bytes(*b"IoSb");

/// # Safety
/// As the documentation of IoBuildDeviceIoControlRequest demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoBuildDeviceIoControlRequest(
    IoControlCode: u32,
    DeviceObject: *mut DEVICE_OBJECT,
    InputBuffer: *mut c_void,
    InputBufferLength: u32,
    OutputBuffer: *mut c_void,
    OutputBufferLength: u32,
    InternalDeviceIoControl: BOOLEAN,
    Event: *mut KEVENT,
    IoStatusBlock: *mut IO_STATUS_BLOCK,
) -> *mut IRP {
    // SAFETY: the caller's promise.
    unsafe {
        let Ok(irp) = packet::allocate_for_thread((*DeviceObject).StackSize) else { return null_mut() };
        let major = if InternalDeviceIoControl != 0 { IRP_MJ_INTERNAL_DEVICE_CONTROL } else { IRP_MJ_DEVICE_CONTROL };
        let location = packet::first_location(irp, major, 0);
        let control = &raw mut (*location).Parameters.DeviceIoControl;
        (*control).OutputBufferLength = OutputBufferLength;
        (*control).InputBufferLength = InputBufferLength;
        (*control).IoControlCode = IoControlCode;
        (*irp).UserEvent = Event;
        (*irp).UserIosb = IoStatusBlock;
        (*irp).Flags = IRP_SYNCHRONOUS_API;
        let input = (InputBuffer, InputBufferLength);
        let output = (OutputBuffer, OutputBufferLength);
        if let Err(_status) = attach_buffers(irp, location, IoControlCode & 3, input, output) {
            free(irp);
            return null_mut();
        }
        irp
    }
}

/// Gives an I/O control of kernel mode its buffers.
///
/// # Safety
/// The IRP is new; the buffers are the caller's, in kernel mode.
unsafe fn attach_buffers(
    irp: *mut IRP,
    location: *mut IO_STACK_LOCATION,
    method: u32,
    (input, input_length): (*mut c_void, u32),
    (output, output_length): (*mut c_void, u32),
) -> Result<(), NTSTATUS> {
    // SAFETY: the caller's promise.
    unsafe {
        if method == METHOD_NEITHER {
            (*irp).UserBuffer = output;
            (*location).Parameters.DeviceIoControl.Type3InputBuffer = input;
            return Ok(());
        }
        let is_buffered = method == METHOD_BUFFERED;
        let length = if is_buffered { input_length.max(output_length) } else { input_length };
        if length != 0 {
            let buffer = ExAllocatePool2(POOL_FLAG_NON_PAGED, length as usize, TAG);
            if buffer.is_null() {
                return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
            }
            (*irp).AssociatedIrp.SystemBuffer = buffer;
            (*irp).Flags |= IRP_BUFFERED_IO | IRP_DEALLOCATE_BUFFER;
            if !input.is_null() {
                buffer.cast::<u8>().copy_from(input.cast(), input_length as usize);
            }
        }
        if is_buffered && output_length != 0 && !output.is_null() {
            (*irp).UserBuffer = output;
            (*irp).Flags |= IRP_INPUT_OPERATION;
            set_room(irp, output_length);
        }
        if !is_buffered && !output.is_null() && output_length != 0 {
            let access = if method == METHOD_IN_DIRECT { IO_READ_ACCESS } else { IO_WRITE_ACCESS };
            lock_buffer(irp, output, output_length, access)?;
        }
        Ok(())
    }
}

/// # Safety
/// The IRP has a trailer.
unsafe fn set_room(irp: *mut IRP, length: u32) {
    // SAFETY: the caller's promise; the IRP is not sent yet.
    if let Some(trailer) = unsafe { packet::trailer(irp) } {
        trailer.output_length = length;
    }
}

/// # Safety
/// The IRP is new; the buffer is the caller's, in kernel mode.
unsafe fn lock_buffer(irp: *mut IRP, buffer: *mut c_void, length: u32, access: i32) -> Result<(), NTSTATUS> {
    // SAFETY: the caller's promise.
    unsafe {
        let list = mdl::IoAllocateMdl(buffer, length, 0, 0, irp);
        if list.is_null() {
            return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
        }
        mdl::probe_and_lock(list, KERNEL_MODE, access)
    }
}

/// Frees an IRP that was never sent.
///
/// # Safety
/// Nobody else knows the IRP.
unsafe fn free(irp: *mut IRP) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*irp).Flags & IRP_DEALLOCATE_BUFFER != 0 {
            ExFreePool((*irp).AssociatedIrp.SystemBuffer);
        }
        mdl::free_list((*irp).MdlAddress);
        packet::IoFreeIrp(irp);
    }
}

/// # Safety
/// As the documentation of IoBuildSynchronousFsdRequest demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoBuildSynchronousFsdRequest(
    MajorFunction: u32,
    DeviceObject: *mut DEVICE_OBJECT,
    Buffer: *mut c_void,
    Length: u32,
    StartingOffset: *mut i64,
    Event: *mut KEVENT,
    IoStatusBlock: *mut IO_STATUS_BLOCK,
) -> *mut IRP {
    // SAFETY: the caller's promise.
    unsafe {
        let Ok(irp) = packet::allocate_for_thread((*DeviceObject).StackSize) else { return null_mut() };
        let location = packet::first_location(irp, MajorFunction as u8, 0);
        (*irp).UserEvent = Event;
        (*irp).UserIosb = IoStatusBlock;
        (*irp).Flags = IRP_SYNCHRONOUS_API;
        let is_read = MajorFunction == u32::from(IRP_MJ_READ);
        if !is_read && MajorFunction != u32::from(IRP_MJ_WRITE) {
            return irp;
        }
        (*location).Parameters.Read.Length = Length;
        (*location).Parameters.Read.ByteOffset = if StartingOffset.is_null() { 0 } else { *StartingOffset };
        if transfer_buffer(irp, (*DeviceObject).Flags, is_read, Buffer, Length).is_err() {
            free(irp);
            return null_mut();
        }
        irp
    }
}

/// # Safety
/// As the documentation of IoBuildAsynchronousFsdRequest demands. Whoever sends it frees it, in a completion routine of its own.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoBuildAsynchronousFsdRequest(
    MajorFunction: u32,
    DeviceObject: *mut DEVICE_OBJECT,
    Buffer: *mut c_void,
    Length: u32,
    StartingOffset: *mut i64,
    IoStatusBlock: *mut IO_STATUS_BLOCK,
) -> *mut IRP {
    // SAFETY: the caller's promise.
    unsafe {
        let irp = packet::IoAllocateIrp((*DeviceObject).StackSize, 0);
        if irp.is_null() {
            return irp;
        }
        let location = packet::first_location(irp, MajorFunction as u8, 0);
        (*irp).UserIosb = IoStatusBlock;
        (*irp).Tail.Overlay.Thread = wdf_sys::wdm::functions::KeGetCurrentThread();
        let is_read = MajorFunction == u32::from(IRP_MJ_READ);
        if !is_read && MajorFunction != u32::from(IRP_MJ_WRITE) {
            return irp;
        }
        (*location).Parameters.Read.Length = Length;
        (*location).Parameters.Read.ByteOffset = if StartingOffset.is_null() { 0 } else { *StartingOffset };
        if transfer_buffer(irp, (*DeviceObject).Flags, is_read, Buffer, Length).is_err() {
            free(irp);
            return null_mut();
        }
        irp
    }
}

/// Gives a read or write of kernel mode its buffer, as the device wants it.
///
/// # Safety
/// The IRP is new; the buffer is the caller's, in kernel mode.
unsafe fn transfer_buffer(irp: *mut IRP, flags: u32, is_read: bool, buffer: *mut c_void, length: u32) -> Result<(), NTSTATUS> {
    // SAFETY: the caller's promise.
    unsafe {
        if flags & DO_BUFFERED_IO != 0 && length != 0 {
            let system = ExAllocatePool2(POOL_FLAG_NON_PAGED, length as usize, TAG);
            if system.is_null() {
                return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
            }
            (*irp).AssociatedIrp.SystemBuffer = system;
            (*irp).Flags |= IRP_BUFFERED_IO | IRP_DEALLOCATE_BUFFER;
            if is_read {
                (*irp).Flags |= IRP_INPUT_OPERATION;
                (*irp).UserBuffer = buffer;
                set_room(irp, length);
            } else {
                system.cast::<u8>().copy_from(buffer.cast(), length as usize);
            }
        } else if flags & DO_DIRECT_IO != 0 && length != 0 {
            lock_buffer(irp, buffer, length, if is_read { IO_WRITE_ACCESS } else { IO_READ_ACCESS })?;
        } else {
            (*irp).UserBuffer = buffer;
        }
        Ok(())
    }
}

/// # Safety
/// As the documentation of IoGetRequestorProcess demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoGetRequestorProcess(Irp: *mut IRP) -> *mut c_void {
    // SAFETY: the caller's promise.
    let thread = unsafe { (*Irp).Tail.Overlay.Thread };
    if thread.is_null() { null_mut() } else { crate::process::of_thread(thread) }
}

/// # Safety
/// As the documentation of IoGetRequestorProcessId demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoGetRequestorProcessId(Irp: *mut IRP) -> u32 {
    // SAFETY: the caller's promise.
    crate::process::id_of(unsafe { IoGetRequestorProcess(Irp) })
}

/// # Safety
/// As the documentation of IoIs32bitProcess demands. ntlet has no 32-bit programs.
#[unsafe(no_mangle)]
pub(crate) const unsafe extern "win64" fn IoIs32bitProcess(_Irp: *mut IRP) -> BOOLEAN {
    0
}

/// # Safety
/// As the documentation of IoGetTopLevelIrp demands. Only file systems set one, and ntlet has none.
#[unsafe(no_mangle)]
pub(crate) const unsafe extern "win64" fn IoGetTopLevelIrp() -> *mut IRP {
    null_mut()
}

/// # Safety
/// As the documentation of IoGetCurrentProcess demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoGetCurrentProcess() -> *mut c_void {
    crate::process::current()
}

/// # Safety
/// As the documentation of PsGetCurrentProcessId demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PsGetCurrentProcessId() -> wdf_sys::HANDLE {
    core::ptr::without_provenance_mut(crate::process::id_of(crate::process::current()) as usize)
}
