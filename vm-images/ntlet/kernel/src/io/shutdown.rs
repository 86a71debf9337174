//! Shutdown notification: drivers that want `IRP_MJ_SHUTDOWN`.

use alloc::vec::Vec;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::DEVICE_OBJECT;
use wdf_sys::wdm::constants::*;

use super::wait;
use super::watch::Patience;
use crate::lock::SpinLock;
use crate::object::ObjectRef;

/// Registered devices, the latest last.
static REGISTERED: SpinLock<Vec<ObjectRef>> = SpinLock::new(Vec::new());

/// How long one driver may take.
const PATIENCE: Patience = Patience::Seconds(30, bug_check::DRIVER_POWER_STATE_FAILURE);

/// # Safety
/// As the documentation of IoRegisterShutdownNotification demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoRegisterShutdownNotification(DeviceObject: *mut DEVICE_OBJECT) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let device = unsafe { ObjectRef::from_borrowed(DeviceObject.cast()) };
    REGISTERED.lock().push(device);
    NTSTATUS::SUCCESS
}

/// # Safety
/// As the documentation of IoUnregisterShutdownNotification demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoUnregisterShutdownNotification(DeviceObject: *mut DEVICE_OBJECT) {
    forget(DeviceObject);
}

/// Told after all others, when nothing is left that they could need.
static LAST: SpinLock<Vec<ObjectRef>> = SpinLock::new(Vec::new());

/// # Safety
/// As the documentation of IoRegisterLastChanceShutdownNotification demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoRegisterLastChanceShutdownNotification(DeviceObject: *mut DEVICE_OBJECT) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let device = unsafe { ObjectRef::from_borrowed(DeviceObject.cast()) };
    LAST.lock().push(device);
    NTSTATUS::SUCCESS
}

/// Takes a device out of both lists.
pub(crate) fn forget(device: *mut DEVICE_OBJECT) {
    take_out(&REGISTERED, device);
    take_out(&LAST, device);
}

fn take_out(list: &SpinLock<Vec<ObjectRef>>, device: *mut DEVICE_OBJECT) {
    loop {
        let mut registered = list.lock();
        let at = registered.iter().position(|known| known.body().addr() == device.addr());
        let gone = at.map(|at| registered.remove(at));
        drop(registered);
        if gone.is_none() {
            return;
        }
    }
}

/// Tells every registered device, the latest first; then those that want to be last.
pub(crate) fn notify() {
    loop {
        let next = REGISTERED.lock().pop();
        let Some(device) = next.or_else(|| LAST.lock().pop()) else { return };
        // SAFETY: the list's reference keeps the device alive.
        let _ = unsafe { wait::send(device.body().cast(), (IRP_MJ_SHUTDOWN, 0), NTSTATUS::NOT_SUPPORTED, PATIENCE, |_, _| {}) };
    }
}
