//! Reads, writes and I/O controls of programs: buffers captured or locked, the IRP sent, the answer waited for where the file is
//! synchronous.

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{ExAllocatePool2, ExFreePool, KeClearEvent, KeWaitForSingleObject};
use wdf_sys::wdm::{DEVICE_OBJECT, FILE_OBJECT, IO_STACK_LOCATION, IO_STATUS_BLOCK, IRP, KEVENT};
use wdf_sys::{HANDLE, NTSTATUS};

use super::complete::IRP_DEFER_IO_COMPLETION;
use super::share_access::{SL_READ_ACCESS_GRANTED, SL_WRITE_ACCESS_GRANTED};
use super::{call, cancel, device, fast, file, finish, irp as packet};
use crate::memory::{mdl, user};
use crate::object::ObjectRef;
use crate::object::exports::{self, EVENT};

const TAG: u32 = u32::from_le_bytes(*b"IoSb");
const FILE_READ_DATA: u32 = 1;
const FILE_WRITE_DATA: u32 = 2;
const FILE_APPEND_DATA: u32 = 4;
const EVENT_MODIFY_STATE: u32 = 2;
/// `ByteOffset::LowPart` values that mean the file's own position.
const USE_FILE_POSITION: i64 = -2;
/// `ByteOffset` of a write at the end of the file.
const END_OF_FILE: i64 = -1;

/// Where the result of a request goes, as its service got it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) file: HANDLE,
    pub(crate) event: HANDLE,
    pub(crate) apc_routine: usize,
    pub(crate) apc_context: usize,
    pub(crate) block: *mut IO_STATUS_BLOCK,
    pub(crate) mode: i8,
}

/// A buffer of the caller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffer {
    pub(crate) address: *mut c_void,
    pub(crate) length: u32,
}

/// `NtDeviceIoControlFile`.
pub(crate) fn device_control(target: &Target, code: u32, input: Buffer, output: Buffer) -> NTSTATUS {
    let needed = match code >> 14 & 3 {
        0 => 0,
        1 => FILE_READ_DATA,
        2 => FILE_WRITE_DATA,
        _ => FILE_READ_DATA | FILE_WRITE_DATA,
    };
    let fill = |irp: *mut IRP, location: *mut IO_STACK_LOCATION, _: *mut DEVICE_OBJECT, access: u32| {
        // SAFETY: the IRP is new and ours.
        unsafe {
            (*location).MajorFunction = IRP_MJ_DEVICE_CONTROL;
            for (right, flag) in [(FILE_READ_DATA, SL_READ_ACCESS_GRANTED), (FILE_WRITE_DATA, SL_WRITE_ACCESS_GRANTED)] {
                (*location).Flags |= if access & right != 0 { flag } else { 0 };
            }
            let control = &raw mut (*location).Parameters.DeviceIoControl;
            (*control).OutputBufferLength = output.length;
            (*control).InputBufferLength = input.length;
            (*control).IoControlCode = code;
            control_buffers(irp, location, target.mode, code & 3, input, output)
        }
    };
    // The rights are checked one by one: all of them are needed.
    let fast = |file: &ObjectRef, event: Option<&ObjectRef>| {
        // SAFETY: an open file, and the device that its requests go to.
        unsafe {
            let top = device::IoGetRelatedDeviceObject(file.body().cast());
            fast::device_control(target, (file, top), event, code, (input, output))
        }
    };
    perform(target, |access| access & needed == needed, fast, fill)
}

/// `NtReadFile`.
pub(crate) fn read(target: &Target, buffer: Buffer, offset: Option<i64>) -> NTSTATUS {
    let fill = |irp: *mut IRP, location: *mut IO_STACK_LOCATION, device: *mut DEVICE_OBJECT, _: u32| {
        // SAFETY: the IRP is new and ours.
        unsafe {
            (*location).MajorFunction = IRP_MJ_READ;
            (*irp).Flags |= IRP_READ_OPERATION;
            (*location).Parameters.Read.Length = buffer.length;
            (*location).Parameters.Read.ByteOffset = position((*location).FileObject, offset, 0)?;
            transfer_buffer(irp, target.mode, (*device).Flags, true, buffer)
        }
    };
    perform(target, |access| access & FILE_READ_DATA != 0, |_, _| None, fill)
}

/// `NtWriteFile`.
pub(crate) fn write(target: &Target, buffer: Buffer, offset: Option<i64>) -> NTSTATUS {
    let fill = |irp: *mut IRP, location: *mut IO_STACK_LOCATION, device: *mut DEVICE_OBJECT, _: u32| {
        // SAFETY: the IRP is new and ours.
        unsafe {
            (*location).MajorFunction = IRP_MJ_WRITE;
            (*irp).Flags |= IRP_WRITE_OPERATION;
            (*location).Parameters.Write.Length = buffer.length;
            (*location).Parameters.Write.ByteOffset = position((*location).FileObject, offset, END_OF_FILE)?;
            transfer_buffer(irp, target.mode, (*device).Flags, false, buffer)
        }
    };
    perform(target, |access| access & (FILE_WRITE_DATA | FILE_APPEND_DATA) != 0, |_, _| None, fill)
}

/// Where a transfer begins, at `lowest` or above: a synchronous file has a position of its own, another must be told.
///
/// # Safety
/// `file` is alive.
unsafe fn position(file: *mut FILE_OBJECT, offset: Option<i64>, lowest: i64) -> Result<i64, NTSTATUS> {
    // SAFETY: the caller's promise.
    let (is_synchronous, current) = unsafe { ((*file).Flags & file::FO_SYNCHRONOUS_IO != 0, (*file).CurrentByteOffset) };
    match offset {
        Some(USE_FILE_POSITION) | None if is_synchronous => Ok(current),
        None => Err(NTSTATUS::INVALID_PARAMETER),
        Some(offset) if offset < lowest => Err(NTSTATUS::INVALID_PARAMETER),
        Some(offset) => Ok(offset),
    }
}

/// What every request has in common: handles to objects, what can be had without a request, the IRP, the call, the wait.
fn perform(
    target: &Target,
    is_granted: impl Fn(u32) -> bool,
    fast: impl FnOnce(&ObjectRef, Option<&ObjectRef>) -> Option<NTSTATUS>,
    fill: impl FnOnce(*mut IRP, *mut IO_STACK_LOCATION, *mut DEVICE_OBJECT, u32) -> Result<(), NTSTATUS>,
) -> NTSTATUS {
    let prepared = prepare(target, is_granted);
    let (file, event, access) = match prepared {
        Ok(prepared) => prepared,
        Err(status) => return status,
    };
    let file_object: *mut FILE_OBJECT = file.body().cast();
    // SAFETY: the reference keeps the file alive; it is given to the IRP, which keeps it until it is finished.
    unsafe {
        let is_locked = file::lock(file_object);
        KeClearEvent(&raw mut (*file_object).Event);
        if let Some(event) = &event {
            KeClearEvent(event.body().cast());
        }
        let status = match fast(&file, event.as_ref()) {
            Some(status) => status,
            None => match build(target, &file, event, |irp, location, device| fill(irp, location, device, access)) {
                Ok((irp, top)) => send(irp, top, &file, target.mode),
                Err(status) => status,
            },
        };
        if is_locked {
            file::unlock(file_object);
        }
        status
    }
}

/// The file, the event, and for what the file was opened.
fn prepare(target: &Target, is_granted: impl Fn(u32) -> bool) -> Result<(ObjectRef, Option<ObjectRef>, u32), NTSTATUS> {
    // The block is read and written back: it must be both.
    // SAFETY: in kernel mode the block is the caller's.
    unsafe {
        let block: [u64; 2] = user::get(target.mode, target.block.cast())?;
        user::put(target.mode, target.block.cast(), &block)?;
    }
    let entry = exports::by_handle(target.file, target.mode)?;
    let state = file::state(&entry.object).ok_or(NTSTATUS::OBJECT_TYPE_MISMATCH)?;
    if !state.is_open {
        return Err(NTSTATUS::INVALID_HANDLE);
    }
    // Documented: a file tells of its requests by its port or by APCs, not both.
    if target.apc_routine != 0 && state.port.lock().is_some() {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    if target.mode == USER_MODE && !is_granted(entry.access) {
        return Err(NTSTATUS::ACCESS_DENIED);
    }
    let event = if target.event.is_null() {
        None
    } else {
        let event = exports::by_handle(target.event, target.mode)?;
        if !event.object.is(&EVENT) {
            return Err(NTSTATUS::OBJECT_TYPE_MISMATCH);
        }
        if target.mode == USER_MODE && event.access & EVENT_MODIFY_STATE == 0 {
            return Err(NTSTATUS::ACCESS_DENIED);
        }
        Some(event.object)
    };
    Ok((entry.object, event, entry.access))
}

/// The IRP of a request, and the device it goes to.
///
/// # Safety
/// `file` is an open file.
unsafe fn build(
    target: &Target,
    file: &ObjectRef,
    event: Option<ObjectRef>,
    fill: impl FnOnce(*mut IRP, *mut IO_STACK_LOCATION, *mut DEVICE_OBJECT) -> Result<(), NTSTATUS>,
) -> Result<(*mut IRP, *mut DEVICE_OBJECT), NTSTATUS> {
    let file_object: *mut FILE_OBJECT = file.body().cast();
    // SAFETY: the caller's promise; the IRP is ours until it is sent.
    unsafe {
        let top = device::IoGetRelatedDeviceObject(file_object);
        let irp = packet::allocate_for_thread((*top).StackSize)?;
        let location = packet::first_location(irp, 0, 0);
        (*location).FileObject = file_object;
        (*irp).RequestorMode = target.mode;
        (*irp).UserIosb = target.block;
        (*irp).Flags = IRP_DEFER_IO_COMPLETION;
        (*irp).Overlay.AsynchronousParameters.UserApcRoutine =
            core::mem::transmute::<usize, wdf_sys::wdm::PIO_APC_ROUTINE>(target.apc_routine);
        (*irp).Overlay.AsynchronousParameters.UserApcContext = core::ptr::with_exposed_provenance_mut(target.apc_context);
        (*irp).UserEvent = event.as_ref().map_or(null_mut(), |event| event.body().cast::<KEVENT>());
        if let Some(trailer) = packet::trailer(irp) {
            // As on Windows: a request without a context does not go through the port.
            let port = file::state(file).and_then(|state| state.port.lock().clone());
            trailer.port = port.filter(|_| target.apc_context != 0).map(|(port, key)| (port, key, target.apc_context));
            trailer.event = event;
        }
        if let Err(status) = fill(irp, location, top) {
            discard(irp);
            return Err(status);
        }
        // From here on the IRP has a reference to the file.
        (*irp).Tail.Overlay.OriginalFileObject = file.clone().into_raw().cast();
        Ok((irp, top))
    }
}

/// Frees a request that was never sent.
///
/// # Safety
/// Nobody else knows the IRP.
unsafe fn discard(irp: *mut IRP) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*irp).Flags & IRP_DEALLOCATE_BUFFER != 0 {
            ExFreePool((*irp).AssociatedIrp.SystemBuffer);
        }
        mdl::free_list(core::mem::replace(&mut (*irp).MdlAddress, null_mut()));
        packet::IoFreeIrp(irp);
    }
}

/// Sends a request and, for a synchronous file, waits for it.
///
/// # Safety
/// The IRP was built by [`build`].
unsafe fn send(irp: *mut IRP, top: *mut DEVICE_OBJECT, file: &ObjectRef, mode: i8) -> NTSTATUS {
    // SAFETY: the caller's promise. After a pending call the IRP is not ours any more.
    unsafe {
        let file_object: *mut FILE_OBJECT = file.body().cast();
        let is_synchronous = (*file_object).Flags & file::FO_SYNCHRONOUS_IO != 0;
        let status = call::IofCallDriver(top, irp);
        if status != NTSTATUS::PENDING {
            // Completed, and not handed over: the driver did not mark it pending. Finished at APC_LEVEL, as an APC would.
            let irql = wdf_sys::wdm::functions::KfRaiseIrql(crate::hal::APC_LEVEL);
            let status = finish::finish(irp);
            wdf_sys::wdm::functions::KeLowerIrql(irql);
            return status;
        }
        if !is_synchronous {
            return status;
        }
        let is_alertable = u8::from((*file_object).Flags & file::FO_ALERTABLE_IO != 0);
        let event = (&raw mut (*file_object).Event).cast();
        let waited = KeWaitForSingleObject(event, EXECUTIVE, mode, is_alertable, null_mut());
        if waited != NTSTATUS::SUCCESS {
            // Alerted or ending: the request does not outlive the call.
            let thread = wdf_sys::wdm::functions::KeGetCurrentThread();
            cancel::cancel_requests(thread, Some(file_object), None);
            let _ = KeWaitForSingleObject(event, EXECUTIVE, KERNEL_MODE, 0, null_mut());
        }
        (*file_object).FinalStatus
    }
}

/// A system buffer of `length` bytes that begins with the caller's `input`; the rest is zero.
///
/// # Safety
/// The IRP is new and ours.
unsafe fn system_buffer(irp: *mut IRP, mode: i8, input: Buffer, length: u32) -> Result<(), NTSTATUS> {
    // SAFETY: the caller's promise; the slice covers the new block.
    unsafe {
        let flags = POOL_FLAG_NON_PAGED | POOL_FLAG_UNINITIALIZED;
        let buffer: *mut u8 = ExAllocatePool2(flags, length as usize, TAG).cast();
        if buffer.is_null() {
            return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
        }
        (*irp).AssociatedIrp.SystemBuffer = buffer.cast();
        (*irp).Flags |= IRP_BUFFERED_IO | IRP_DEALLOCATE_BUFFER;
        let filled = input.length.min(length) as usize;
        buffer.add(filled).write_bytes(0, length as usize - filled);
        user::read(mode, core::slice::from_raw_parts_mut(buffer, filled), input.address)
    }
}

/// The buffers of an I/O control, by its method.
///
/// # Safety
/// The IRP is new and ours.
unsafe fn control_buffers(
    irp: *mut IRP,
    location: *mut IO_STACK_LOCATION,
    mode: i8,
    method: u32,
    input: Buffer,
    output: Buffer,
) -> Result<(), NTSTATUS> {
    // SAFETY: the caller's promise.
    unsafe {
        match method {
            METHOD_BUFFERED => {
                user::probe(mode, output.address, output.length as usize, true)?;
                let length = input.length.max(output.length);
                if length != 0 {
                    system_buffer(irp, mode, input, length)?;
                }
                if output.length != 0 {
                    return_to(irp, output);
                }
                Ok(())
            }
            METHOD_IN_DIRECT | METHOD_OUT_DIRECT => {
                if input.length != 0 {
                    system_buffer(irp, mode, input, input.length)?;
                }
                let access = if method == METHOD_IN_DIRECT { IO_READ_ACCESS } else { IO_WRITE_ACCESS };
                lock_buffer(irp, mode, output, access)
            }
            _ => {
                (*irp).UserBuffer = output.address;
                (*location).Parameters.DeviceIoControl.Type3InputBuffer = input.address;
                Ok(())
            }
        }
    }
}

/// Has the system buffer copied back at the end.
///
/// # Safety
/// The IRP is new and ours.
unsafe fn return_to(irp: *mut IRP, output: Buffer) {
    // SAFETY: the caller's promise.
    unsafe {
        (*irp).UserBuffer = output.address;
        (*irp).Flags |= IRP_INPUT_OPERATION;
        if let Some(trailer) = packet::trailer(irp) {
            trailer.output_length = output.length;
        }
    }
}

/// Locks a buffer of the caller for the device.
///
/// # Safety
/// The IRP is new and ours.
unsafe fn lock_buffer(irp: *mut IRP, mode: i8, buffer: Buffer, access: i32) -> Result<(), NTSTATUS> {
    if buffer.length == 0 {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe {
        let list = mdl::IoAllocateMdl(buffer.address, buffer.length, 0, 1, irp);
        if list.is_null() {
            return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
        }
        mdl::probe_and_lock(list, mode, access)
    }
}

/// The buffer of a read or write, as the device wants it.
///
/// # Safety
/// The IRP is new and ours.
unsafe fn transfer_buffer(irp: *mut IRP, mode: i8, flags: u32, is_read: bool, buffer: Buffer) -> Result<(), NTSTATUS> {
    // SAFETY: the caller's promise.
    unsafe {
        user::probe(mode, buffer.address, buffer.length as usize, is_read)?;
        if flags & DO_BUFFERED_IO != 0 {
            if buffer.length == 0 {
                (*irp).Flags |= IRP_BUFFERED_IO;
                return Ok(());
            }
            let input = if is_read { Buffer { address: null_mut(), length: 0 } } else { buffer };
            system_buffer(irp, mode, input, buffer.length)?;
            if is_read {
                return_to(irp, buffer);
            }
            Ok(())
        } else if flags & DO_DIRECT_IO != 0 {
            lock_buffer(irp, mode, buffer, if is_read { IO_WRITE_ACCESS } else { IO_READ_ACCESS })
        } else {
            (*irp).UserBuffer = buffer.address;
            Ok(())
        }
    }
}
