//! The end of a request of a thread, in that thread: data and status go back to where the caller wants them, events are set, the
//! caller is called back, everything the request held is given up.

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{ExFreePool, KeSetEvent};
use wdf_sys::wdm::{FILE_OBJECT, IO_STATUS_BLOCK, IRP, KAPC};

use super::{completion_port, file, irp as packet};
use crate::dispatcher::apc::{KeInitializeApc, KeInsertQueueApc};
use crate::memory::{mdl, user};
use crate::object;

/// Has [`finish`] run in the thread of the IRP, as soon as that thread is below `APC_LEVEL`.
///
/// # Safety
/// The IRP has completed, has a trailer, and is touched by nobody else any more.
pub(crate) unsafe fn queue(irp: *mut IRP) {
    // SAFETY: the caller's promise; a thread does not end before its requests have. The APC is not in the IRP's tail, as it is on
    // Windows, because that would overwrite thread and file.
    unsafe {
        let thread = (*irp).Tail.Overlay.Thread;
        let Some(trailer) = packet::trailer(irp).filter(|_| !thread.is_null()) else { return abandon(irp) };
        let apc = &raw mut trailer.apc;
        KeInitializeApc(apc, thread, 0, run as *mut c_void, null_mut(), null_mut(), KERNEL_MODE, null_mut());
        KeInsertQueueApc(apc, irp.cast(), null_mut(), 0);
    }
}

/// # Safety
/// Called once, in the thread of the IRP, as [`queue`] asked.
unsafe extern "win64" fn run(
    _apc: *mut KAPC,
    _normal: *mut *mut c_void,
    _context: *mut *mut c_void,
    irp: *mut *mut c_void,
    _unused: *mut *mut c_void,
) {
    // SAFETY: `queue` passed the IRP.
    let _ = unsafe { finish((*irp).cast()) };
}

/// Finishes a request and frees its IRP. Returns its final status, which differs from the driver's where the answer could not be
/// written.
///
/// # Safety
/// The current thread is the one of the IRP, at `APC_LEVEL` or below; the IRP has completed.
pub(crate) unsafe fn finish(irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the caller's promise; buffers, MDLs, events and files in the IRP were put there by the service that made it.
    unsafe {
        copy_back(irp);
        mdl::free_list(core::mem::replace(&mut (*irp).MdlAddress, null_mut()));
        let block = (*irp).IoStatus;
        let file = (*irp).Tail.Overlay.OriginalFileObject;
        let is_pending = (*irp).PendingReturned != 0;
        // A request that failed at once has told so by its status alone.
        if !block.status().is_error() || is_pending {
            write_status(irp, &block);
            signal(irp, file, block);
            call_back(irp);
        }
        if !file.is_null() && (*irp).Flags & IRP_CREATE_OPERATION == 0 {
            object::dereference(file.cast());
        }
        packet::free_for_thread(irp);
        block.status()
    }
}

/// Copies the system buffer to the caller's.
///
/// # Safety
/// As [`finish`].
unsafe fn copy_back(irp: *mut IRP) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*irp).Flags & IRP_BUFFERED_IO == 0 {
            return;
        }
        let buffer: *mut u8 = (*irp).AssociatedIrp.SystemBuffer.cast();
        if (*irp).Flags & IRP_INPUT_OPERATION != 0 && !(*irp).IoStatus.status().is_error() && !buffer.is_null() {
            let room = packet::trailer(irp).map_or(0, |trailer| trailer.output_length as usize);
            // A driver that claims more than there is room for would have the bytes behind the buffer copied on Windows.
            let length = (*irp).IoStatus.Information.min(room);
            let bytes = core::slice::from_raw_parts(buffer, length);
            if let Err(status) = user::write((*irp).RequestorMode, (*irp).UserBuffer, bytes) {
                (*irp).IoStatus.u.Status = status;
            }
        }
        if (*irp).Flags & IRP_DEALLOCATE_BUFFER != 0 {
            (*irp).AssociatedIrp.SystemBuffer = null_mut();
            if !buffer.is_null() {
                ExFreePool(buffer.cast());
            }
        }
    }
}

/// Writes the caller's status block. An address that has become bad meanwhile is the caller's loss.
///
/// # Safety
/// As [`finish`].
unsafe fn write_status(irp: *mut IRP, block: &IO_STATUS_BLOCK) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*irp).UserIosb.is_null() {
            return;
        }
        // The upper half of the status word is not the kernel's to change.
        let mut bytes = [0u8; 16];
        bytes[..4].copy_from_slice(&block.status().bits().to_le_bytes());
        bytes[8..].copy_from_slice(&(block.Information as u64).to_le_bytes());
        let address: *mut u8 = (*irp).UserIosb.cast();
        let mode = (*irp).RequestorMode;
        let _ = user::write(mode, address.wrapping_add(8).cast(), &bytes[8..]);
        let _ = user::write(mode, address.cast(), &bytes[..4]);
    }
}

/// Sets the event or the file object, and posts to the completion port.
///
/// # Safety
/// As [`finish`].
unsafe fn signal(irp: *mut IRP, file: *mut FILE_OBJECT, block: IO_STATUS_BLOCK) {
    // SAFETY: the caller's promise.
    unsafe {
        let event = (*irp).UserEvent;
        if !event.is_null() {
            KeSetEvent(event, 0, 0);
        }
        if !file.is_null() {
            if event.is_null() || (*file).Flags & file::FO_SYNCHRONOUS_IO != 0 {
                (*file).FinalStatus = block.status();
                KeSetEvent(&raw mut (*file).Event, 0, 0);
            }
            if let Some((port, key, context)) = packet::trailer(irp).and_then(|trailer| trailer.port.take()) {
                completion_port::post(&port, completion_port::Packet { key, context, block });
            }
        }
    }
}

/// Queues the caller's own function to its thread, which runs it when it next waits alertably.
///
/// # Safety
/// As [`finish`].
unsafe fn call_back(irp: *mut IRP) {
    // SAFETY: the caller's promise; the current thread is the caller's.
    unsafe {
        let asked = (*irp).Overlay.AsynchronousParameters;
        let routine = asked.UserApcRoutine.map_or(0, |routine| routine as usize as u64);
        if routine == 0 || (*irp).RequestorMode != USER_MODE || (*irp).Flags & IRP_CREATE_OPERATION != 0 {
            return;
        }
        let arguments = [asked.UserApcContext.addr() as u64, (*irp).UserIosb.addr() as u64, 0];
        if let Err(status) = crate::system_call::apc::queue((*irp).Tail.Overlay.Thread.cast(), routine, arguments) {
            crate::log!("the program is not called back for a request: {status}");
        }
    }
}

/// Frees a request whose thread gave up on it; see [`super::cancel::run_down`].
///
/// # Safety
/// As [`queue`].
unsafe fn abandon(irp: *mut IRP) {
    // SAFETY: the caller's promise. The caller's buffers are not touched: their process may be gone.
    unsafe {
        if (*irp).Flags & IRP_DEALLOCATE_BUFFER != 0 && !(*irp).AssociatedIrp.SystemBuffer.is_null() {
            ExFreePool((*irp).AssociatedIrp.SystemBuffer);
        }
        mdl::free_list(core::mem::replace(&mut (*irp).MdlAddress, null_mut()));
        let file = (*irp).Tail.Overlay.OriginalFileObject;
        packet::free_for_thread(irp);
        if !file.is_null() {
            object::dereference(file.cast());
        }
    }
}
