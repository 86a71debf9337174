//! Cancellation: the cancel lock, `IoCancelIrp`, and the cancelling of a thread's or a file's requests.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use wdf_sys::BOOLEAN;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{KeAcquireSpinLockRaiseToDpc, KeDelayExecutionThread, KeReleaseSpinLock};
use wdf_sys::wdm::{FILE_OBJECT, IRP, PDRIVER_CANCEL, current_stack_location};

use super::{device, irp as packet};
use crate::hal;

/// The lock of `IoAcquireCancelSpinLock`. A raw one, because drivers release it from within their cancel routines.
static mut CANCEL_LOCK: usize = 0;

/// How long a thread that ends waits for its requests before it gives up on them: Windows waits five minutes, a test has no such
/// time. In units of 100 ns.
const RUN_DOWN_DEADLINE: u64 = 60 * 10_000_000;

/// # Safety
/// As the documentation of IoAcquireCancelSpinLock demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoAcquireCancelSpinLock(Irql: *mut u8) {
    // SAFETY: the lock is a static that only these two functions use; the caller's promise for the pointer.
    unsafe { *Irql = KeAcquireSpinLockRaiseToDpc(&raw mut CANCEL_LOCK) };
}

/// # Safety
/// As the documentation of IoReleaseCancelSpinLock demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoReleaseCancelSpinLock(Irql: u8) {
    // SAFETY: as above; the caller holds the lock.
    unsafe { KeReleaseSpinLock(&raw mut CANCEL_LOCK, Irql) };
}

/// Exchanges an IRP's cancel routine, `IoSetCancelRoutine`.
///
/// # Safety
/// The IRP is alive.
pub(crate) unsafe fn exchange_routine(irp: *mut IRP, routine: PDRIVER_CANCEL) -> PDRIVER_CANCEL {
    // SAFETY: a nullable function pointer has the size and the alignment of a pointer, and null is `None`.
    unsafe {
        let field = AtomicPtr::from_ptr((&raw mut (*irp).CancelRoutine).cast::<*mut c_void>());
        let new = routine.map_or(null_mut(), |routine| routine as *mut c_void);
        core::mem::transmute::<*mut c_void, PDRIVER_CANCEL>(field.swap(new, Ordering::SeqCst))
    }
}

/// # Safety
/// As the documentation of IoCancelIrp demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoCancelIrp(Irp: *mut IRP) -> BOOLEAN {
    // SAFETY: the caller's promise; what is no IRP is reported. The cancel routine releases the lock, at the IRQL it finds in the IRP.
    unsafe {
        if (*Irp).Type != IO_TYPE_IRP {
            super::stop(bug_check::CANCEL_STATE_IN_COMPLETED_IRP, [Irp.addr(), 1, 0, 0]);
        }
        let mut irql = 0;
        IoAcquireCancelSpinLock(&raw mut irql);
        core::sync::atomic::AtomicU8::from_ptr(&raw mut (*Irp).Cancel).store(1, Ordering::SeqCst);
        let Some(routine) = exchange_routine(Irp, None) else {
            IoReleaseCancelSpinLock(irql);
            return 0;
        };
        if (*Irp).CurrentLocation > (*Irp).StackCount + 1 {
            super::stop(bug_check::CANCEL_STATE_IN_COMPLETED_IRP, [Irp.addr(), routine as usize, 0, 0]);
        }
        (*Irp).CancelIrql = irql;
        let is_sent = (*Irp).CurrentLocation <= (*Irp).StackCount;
        let device = if is_sent { (*current_stack_location(Irp)).DeviceObject } else { null_mut() };
        routine(device, Irp);
        1
    }
}

/// Cancels the requests of a thread on a file; with `block`, only those that report there. Returns how many there were.
pub(crate) fn cancel_requests(thread: *mut c_void, file: Option<*mut FILE_OBJECT>, block: Option<usize>) -> usize {
    let is_meant = |irp: *mut IRP| {
        // SAFETY: the IRP is in the thread's list, whose lock is held.
        unsafe {
            file.is_none_or(|file| (*irp).Tail.Overlay.OriginalFileObject == file)
                && block.is_none_or(|block| (*irp).UserIosb.addr() == block)
        }
    };
    packet::for_each_of_thread(thread, is_meant, |irp| {
        // SAFETY: the list's walk holds a reference to the IRP's memory.
        unsafe { IoCancelIrp(irp) };
    })
}

/// Cancels the requests of a thread on synchronous files; with `block`, only those that report there. Returns how many there were.
pub(crate) fn cancel_synchronous(thread: *mut c_void, block: Option<usize>) -> usize {
    let is_meant = |irp: *mut IRP| {
        // SAFETY: the IRP is in the thread's list, whose lock is held; it has a reference to its file.
        unsafe {
            let file = (*irp).Tail.Overlay.OriginalFileObject;
            let is_synchronous = !file.is_null() && (*file).Flags & super::file::FO_SYNCHRONOUS_IO != 0;
            is_synchronous && block.is_none_or(|block| (*irp).UserIosb.addr() == block)
        }
    };
    packet::for_each_of_thread(thread, is_meant, |irp| {
        // SAFETY: the list's walk holds a reference to the IRP's memory.
        unsafe { IoCancelIrp(irp) };
    })
}

/// Cancels every request of the current thread and waits until all are finished. A request that a driver keeps in spite of it is
/// reported and left to the driver.
pub(crate) fn run_down(thread: *mut c_void) {
    let started = hal().uptime();
    while cancel_requests(thread, None, None) != 0 {
        if hal().uptime().saturating_sub(started) > RUN_DOWN_DEADLINE {
            packet::for_each_of_thread(thread, |_| true, give_up);
            return;
        }
        let mut interval = -10_000;
        // SAFETY: the current thread is at PASSIVE_LEVEL, in its last moments.
        let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut interval) };
    }
}

/// Leaves a request to the driver that does not let it go.
fn give_up(irp: *mut IRP) {
    // SAFETY: the list's walk holds a reference to the IRP; its current location is valid as long as it is not completed.
    unsafe {
        let location = current_stack_location(irp);
        let device = (*location).DeviceObject;
        let name = if device.is_null() { "nobody".into() } else { device::driver_name(device) };
        crate::log!(
            "{name} has not completed a cancelled request (IRP {irp:p}, major function {:#04x}) within {} s",
            (*location).MajorFunction,
            RUN_DOWN_DEADLINE / 10_000_000
        );
        if !(*irp).MdlAddress.is_null() {
            super::stop(bug_check::PROCESS_HAS_LOCKED_PAGES, [0, irp.addr(), 1, (*irp).MdlAddress.addr()]);
        }
        packet::disown(irp);
    }
}
