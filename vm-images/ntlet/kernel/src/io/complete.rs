//! IRPs on their way up: `IofCompleteRequest`, completion routines by the book, and the hand-over to the thread that asked.

use core::ptr::null_mut;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::{IO_STACK_LOCATION, IO_STACK_LOCATION_Parameters_Others, IRP, current_stack_location, mark_irp_pending};

use super::{finish, irp as packet};
use crate::memory::mdl;

/// `IRP::Flags`: the service that sent the IRP finishes it itself, unless it was pending.
pub(crate) const IRP_DEFER_IO_COMPLETION: u32 = 0x0000_0800;
/// `IRP::Flags`: a part of another IRP.
pub(super) const IRP_ASSOCIATED_IRP: u32 = 0x0000_0008;

/// # Safety
/// As the documentation of IoCompleteRequest demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IofCompleteRequest(Irp: *mut IRP, _PriorityBoost: i8) {
    // SAFETY: the caller's promise; what was completed before, or is in no state to be, is reported.
    unsafe {
        if (*Irp).Type != IO_TYPE_IRP || (*Irp).CurrentLocation > (*Irp).StackCount + 1 {
            super::stop(bug_check::MULTIPLE_IRP_COMPLETE_REQUESTS, [Irp.addr(), 0, 0, 0]);
        }
        if (*Irp).CancelRoutine.is_some() {
            super::stop(bug_check::CANCEL_STATE_IN_COMPLETED_IRP, [Irp.addr(), 0, 0, 0]);
        }
        if (*Irp).IoStatus.u.Status == NTSTATUS::PENDING {
            super::stop(bug_check::DRIVER_VERIFIER_IOMANAGER_VIOLATION, [6, Irp.addr(), 0, 0]);
        }
        let was_sent = (*Irp).CurrentLocation <= (*Irp).StackCount;
        if walk_up(Irp) {
            hand_over(Irp, was_sent);
        }
    }
}

/// Calls the completion routines. `false` when one of them took the IRP back.
///
/// # Safety
/// The IRP is being completed by its owner.
unsafe fn walk_up(irp: *mut IRP) -> bool {
    // SAFETY: the caller's promise; locations up to StackCount exist.
    unsafe {
        while (*irp).CurrentLocation <= (*irp).StackCount {
            let location = current_stack_location(irp);
            (*irp).CurrentLocation += 1;
            (*irp).Tail.Overlay.CurrentStackLocation = location.add(1);
            let control = (*location).Control;
            (*irp).PendingReturned = u8::from(control & SL_PENDING_RETURNED != 0);
            if is_invoked(irp, control)
                && let Some(routine) = (*location).CompletionRoutine
            {
                let context = (*location).Context;
                clear(location);
                // The sender of a new IRP has no location of its own, and so no device.
                let is_sender = (*irp).CurrentLocation == (*irp).StackCount + 1;
                let device = if is_sender { null_mut() } else { (*current_stack_location(irp)).DeviceObject };
                if routine(device, irp, context) == NTSTATUS::MORE_PROCESSING_REQUIRED {
                    return false;
                }
            } else {
                // Nobody in between can have passed the mark on.
                if (*irp).PendingReturned != 0 && (*irp).CurrentLocation <= (*irp).StackCount {
                    mark_irp_pending(irp);
                }
                clear(location);
            }
        }
        // One beyond the sender: completing it again is seen.
        (*irp).CurrentLocation = (*irp).StackCount + 2;
        true
    }
}

/// Whether a location's completion routine is to be called.
///
/// # Safety
/// The IRP is alive.
const unsafe fn is_invoked(irp: *mut IRP, control: u8) -> bool {
    // SAFETY: the caller's promise.
    let (status, is_cancelled) = unsafe { ((*irp).IoStatus.status(), (*irp).Cancel != 0) };
    let by_status = if status.is_success() { SL_INVOKE_ON_SUCCESS } else { SL_INVOKE_ON_ERROR };
    control & by_status != 0 || is_cancelled && control & SL_INVOKE_ON_CANCEL != 0
}

/// Empties a location that the IRP has left, so that nothing of it is used again.
///
/// # Safety
/// The location is one of an IRP that is being completed.
const unsafe fn clear(location: *mut IO_STACK_LOCATION) {
    // SAFETY: the caller's promise.
    unsafe {
        (*location).MinorFunction = 0;
        (*location).Flags = 0;
        (*location).Control = 0;
        (*location).Parameters.Others = IO_STACK_LOCATION_Parameters_Others::zeroed();
        (*location).FileObject = null_mut();
    }
}

/// What follows once every completion routine has let the IRP go.
///
/// # Safety
/// As [`walk_up`].
unsafe fn hand_over(irp: *mut IRP, was_sent: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*irp).Flags & IRP_ASSOCIATED_IRP != 0 {
            return complete_part(irp);
        }
        let mut list = (*irp).MdlAddress;
        while !list.is_null() {
            mdl::unlock(list);
            list = (*list).Next;
        }
        if packet::trailer(irp).is_none() && !was_sent {
            // Its sender has it back already: whoever completes it now does so for the second time.
            super::stop(bug_check::MULTIPLE_IRP_COMPLETE_REQUESTS, [irp.addr(), 2, 0, 0]);
        }
        if packet::trailer(irp).is_none() {
            // A driver allocated the IRP and let it be completed to the end, without a completion routine that takes it back. There
            // is no thread to hand it to: Windows would run into memory that is no thread's.
            super::stop(bug_check::DRIVER_VERIFIER_IOMANAGER_VIOLATION, [7, irp.addr(), 0, 0]);
        }
        if (*irp).Flags & IRP_DEFER_IO_COMPLETION != 0 && (*irp).PendingReturned == 0 {
            return;
        }
        finish::queue(irp);
    }
}

/// Completes a part of a master IRP; the last part completes the master.
///
/// # Safety
/// As [`walk_up`].
unsafe fn complete_part(irp: *mut IRP) {
    // SAFETY: the caller's promise; an associated IRP points at its master, which waits for it.
    unsafe {
        let master = (*irp).AssociatedIrp.MasterIrp;
        mdl::free_list((*irp).MdlAddress);
        packet::IoFreeIrp(irp);
        let count = core::sync::atomic::AtomicI32::from_ptr(&raw mut (*master).AssociatedIrp.IrpCount);
        if count.fetch_sub(1, core::sync::atomic::Ordering::AcqRel) == 1 {
            IofCompleteRequest(master, IO_NO_INCREMENT);
        }
    }
}
