//! Power: the requests that drivers ask for, system sleep and shutdown for every device.

pub(crate) mod request;
pub(crate) mod settings;
pub(crate) mod system;

use wdf_sys::wdm::constants::DEVICE_POWER_STATE;
use wdf_sys::wdm::{DEVICE_OBJECT, IRP, POWER_STATE};
use wdf_sys::{BOOLEAN, NTSTATUS};

use crate::io::irp::WAKES_SYSTEM;
use crate::io::{call, device};

/// # Safety
/// As the documentation of PoCallDriver demands. Since Windows Vista the same as `IoCallDriver`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PoCallDriver(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe { call::IofCallDriver(DeviceObject, Irp) }
}

/// # Safety
/// As the documentation of PoStartNextPowerIrp demands. Since Windows Vista power requests need no such turn-taking.
#[unsafe(no_mangle)]
pub(crate) const unsafe extern "win64" fn PoStartNextPowerIrp(_Irp: *mut IRP) {}

/// # Safety
/// As the documentation of PoSetPowerState demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PoSetPowerState(
    DeviceObject: *mut DEVICE_OBJECT,
    Type: i32,
    State: POWER_STATE,
) -> POWER_STATE {
    let index = usize::from(Type == DEVICE_POWER_STATE);
    let _guard = device::DATABASE.lock();
    // SAFETY: the caller's promise; the state is guarded by the lock, and both members of the union are numbers.
    unsafe {
        let slot = &mut (*device::state(DeviceObject)).power[index];
        POWER_STATE { SystemState: core::mem::replace(slot, State.SystemState) }
    }
}

/// # Safety
/// As the documentation of PoSetSystemWake demands. Nothing wakes this machine: the mark is kept, and nobody acts on it.
#[unsafe(no_mangle)]
pub(crate) const unsafe extern "win64" fn PoSetSystemWake(Irp: *mut IRP) {
    // SAFETY: the caller's promise.
    unsafe { (*Irp).AllocationFlags |= WAKES_SYSTEM };
}

/// # Safety
/// As the documentation of PoGetSystemWake demands.
#[unsafe(no_mangle)]
pub(crate) const unsafe extern "win64" fn PoGetSystemWake(Irp: *const IRP) -> BOOLEAN {
    // SAFETY: the caller's promise.
    unsafe { ((*Irp).AllocationFlags & WAKES_SYSTEM != 0) as BOOLEAN }
}
