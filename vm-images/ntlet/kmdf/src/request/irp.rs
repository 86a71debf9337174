//! What drivers get as inline functions for IRPs beyond `wdf_sys::wdm`: the cancel routine, which two processors may want at once.

use core::ffi::c_void;
use core::ptr::{addr_of, addr_of_mut, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::{DEVICE_OBJECT, IO_STATUS_BLOCK, IRP};

/// A cancel routine that is there.
pub(crate) type CancelRoutine = unsafe extern "win64" fn(*mut DEVICE_OBJECT, *mut IRP);

/// The word of the IRP that belongs to the driver which holds it, and in which the framework keeps its own pointer.
const OWNER_WORD: usize = 3;

/// `IoSetCancelRoutine` with a routine, which finds `owner` in the IRP by [`owner`].
///
/// # Safety
/// `irp` is valid and held by the caller.
pub(crate) unsafe fn arm(irp: *mut IRP, routine: CancelRoutine, owner: *mut c_void) {
    // SAFETY: the caller's promise; the word is the holder's.
    unsafe { (*irp).Tail.Overlay.DriverContext[OWNER_WORD] = owner };
    // SAFETY: the field is a nullable function pointer, the size of a pointer, and everyone else changes it atomically too.
    let slot = unsafe { AtomicPtr::<c_void>::from_ptr(addr_of_mut!((*irp).CancelRoutine).cast()) };
    slot.store(routine as *mut c_void, Ordering::SeqCst);
}

/// `IoSetCancelRoutine(Irp, NULL)`: whether the routine was still there. `false` means that someone has called `IoCancelIrp` and the
/// routine runs, or is about to.
///
/// # Safety
/// As [`arm`].
pub(crate) unsafe fn disarm(irp: *mut IRP) -> bool {
    // SAFETY: as in `arm`.
    let slot = unsafe { AtomicPtr::<c_void>::from_ptr(addr_of_mut!((*irp).CancelRoutine).cast()) };
    !slot.swap(null_mut(), Ordering::SeqCst).is_null()
}

/// Whether someone has called `IoCancelIrp`.
///
/// # Safety
/// As [`arm`].
pub(crate) unsafe fn is_cancelled(irp: *const IRP) -> bool {
    // SAFETY: a byte, which `IoCancelIrp` writes on another processor.
    let flag = unsafe { AtomicU8::from_ptr(addr_of!((*irp).Cancel).cast_mut()) };
    flag.load(Ordering::SeqCst) != 0
}

/// Clears the cancel flag, as `WdfRequestReuse` does.
///
/// # Safety
/// As [`arm`].
pub(crate) unsafe fn clear_cancelled(irp: *mut IRP) {
    // SAFETY: as in `is_cancelled`.
    let flag = unsafe { AtomicU8::from_ptr(addr_of_mut!((*irp).Cancel)) };
    flag.store(0, Ordering::SeqCst);
}

/// Whose cancel routine [`arm`] set.
///
/// # Safety
/// As [`arm`], which this holder has called.
pub(crate) unsafe fn owner(irp: *const IRP) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { (*irp).Tail.Overlay.DriverContext[OWNER_WORD] }
}

/// Writes the result that `IofCompleteRequest` hands up.
///
/// # Safety
/// As [`arm`].
pub(crate) unsafe fn set_result(irp: *mut IRP, status: NTSTATUS, information: usize) {
    // SAFETY: the caller's promise.
    unsafe { (*irp).IoStatus = IO_STATUS_BLOCK::new(status, information) };
}
