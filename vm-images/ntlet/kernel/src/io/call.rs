//! IRPs on their way down: `IofCallDriver`.

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::{DEVICE_OBJECT, IRP, PDRIVER_DISPATCH, PIO_COMPLETION_ROUTINE};

use super::device;
use crate::hal;

/// # Safety
/// As the documentation of IoCallDriver demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IofCallDriver(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the caller's promise; what is no IRP, no device or has no stack location left is reported.
    let dispatch = unsafe {
        if (*Irp).Type != IO_TYPE_IRP {
            super::stop(bug_check::DRIVER_VERIFIER_IOMANAGER_VIOLATION, [3, Irp.addr(), 0, 0]);
        }
        if !device::is_device(DeviceObject) {
            super::stop(bug_check::DRIVER_VERIFIER_IOMANAGER_VIOLATION, [4, DeviceObject.addr(), 0, 0]);
        }
        (*Irp).CurrentLocation -= 1;
        if (*Irp).CurrentLocation <= 0 {
            super::stop(bug_check::NO_MORE_IRP_STACK_LOCATIONS, [Irp.addr(), 0, 0, 0]);
        }
        let location = (*Irp).Tail.Overlay.CurrentStackLocation.sub(1);
        (*Irp).Tail.Overlay.CurrentStackLocation = location;
        (*location).DeviceObject = DeviceObject;
        let routines = &(*(*DeviceObject).DriverObject).MajorFunction;
        routines.get(usize::from((*location).MajorFunction)).copied().flatten()
    };
    match dispatch {
        Some(routine) => {
            let before = hal().irql();
            // SAFETY: the routine is the driver's; the IRP's current location is its.
            let status = unsafe { routine(DeviceObject, Irp) };
            let after = hal().irql();
            if before != after {
                changed_irql(routine as usize, before, after);
            }
            status
        }
        // SAFETY: as above.
        None => unsafe { invalid_device_request(DeviceObject, Irp) },
    }
}

/// A dispatch routine has come back at another IRQL than it was called at: it holds a spin lock, or has released one that it did not take.
#[cold]
fn changed_irql(routine: usize, before: u8, after: u8) -> ! {
    let place = crate::loader::modules::place(routine);
    crate::log!("the dispatch routine {place} was called at IRQL {before} and returned at {after}");
    super::stop(bug_check::DRIVER_VERIFIER_IOMANAGER_VIOLATION, [5, routine, before.into(), after.into()]);
}

/// What a driver object's dispatch table holds where the driver put nothing.
pub(crate) const INVALID_DEVICE_REQUEST: PDRIVER_DISPATCH = Some(invalid_device_request);

/// # Safety
/// Called as a dispatch routine.
unsafe extern "win64" fn invalid_device_request(_device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the IRP was sent here, so that it is ours to complete.
    unsafe { super::irp::complete(irp, NTSTATUS::INVALID_DEVICE_REQUEST, 0) }
}

/// # Safety
/// As the documentation of IoSetCompletionRoutineEx demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoSetCompletionRoutineEx(
    DeviceObject: *mut DEVICE_OBJECT,
    Irp: *mut IRP,
    CompletionRoutine: PIO_COMPLETION_ROUTINE,
    Context: *mut core::ffi::c_void,
    InvokeOnSuccess: wdf_sys::BOOLEAN,
    InvokeOnError: wdf_sys::BOOLEAN,
    InvokeOnCancel: wdf_sys::BOOLEAN,
) -> NTSTATUS {
    if DeviceObject.is_null() {
        return NTSTATUS::INVALID_PARAMETER;
    }
    // On Windows this also keeps the driver from unloading while its routine runs; here a driver unloads only after its devices
    // are gone and the pool of workers has been flushed.
    // SAFETY: the caller's promise.
    unsafe {
        let next = wdf_sys::wdm::next_stack_location(Irp);
        (*next).CompletionRoutine = CompletionRoutine;
        (*next).Context = Context;
        (*next).Control = if InvokeOnSuccess != 0 { SL_INVOKE_ON_SUCCESS } else { 0 }
            | if InvokeOnError != 0 { SL_INVOKE_ON_ERROR } else { 0 }
            | if InvokeOnCancel != 0 { SL_INVOKE_ON_CANCEL } else { 0 };
    }
    NTSTATUS::SUCCESS
}
