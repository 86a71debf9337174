//! Power IRPs: device power takes the device in and out of D0; system power makes the power policy owner ask for device power.
//! Idling is in [`super::idle`]; wake is not here yet.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdf::{WDF_DEVICE_FAILED_ACTION, WDF_DEVICE_POWER_POLICY_STATE, WDF_DEVICE_POWER_STATE, WDF_POWER_DEVICE_STATE};
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{ExQueueWorkItem, PoCallDriver, PoRequestPowerIrp, PoSetPowerState, PoStartNextPowerIrp};
use wdf_sys::wdm::{
    DEVICE_OBJECT, IO_STATUS_BLOCK, IRP, POWER_STATE, WORK_QUEUE_ITEM, copy_current_stack_location_to_next,
    current_stack_location, mark_irp_pending, set_completion_routine,
};

use super::sequence::Down;
use super::state::{set_policy, set_power};
use super::{idle, irp as pnp_irp, steps};
use crate::device::Device;
use crate::device::dispatch::{complete, complete_keeping_information, pass_power_down};
use crate::history::Event;
use crate::io::Reason;
use crate::object::Ref;
use crate::sync::{PASSIVE_LEVEL, irql};

/// A device power IRP that waits for PASSIVE_LEVEL. There is one at a time: the power manager sends the next when this is done.
pub(crate) struct Deferred {
    item: UnsafeCell<WORK_QUEUE_ITEM>,
    irp: AtomicPtr<IRP>,
}

// SAFETY: the item is the kernel's while queued; it is queued again only after it has run.
unsafe impl Sync for Deferred {}
// SAFETY: as above.
unsafe impl Send for Deferred {}

impl Deferred {
    pub(crate) const fn new() -> Self {
        Self { item: UnsafeCell::new(WORK_QUEUE_ITEM::zeroed()), irp: AtomicPtr::new(null_mut()) }
    }
}

/// An IRP_MJ_POWER for the device.
pub(crate) fn dispatch(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    if device.is_control() {
        return complete(irp, NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    // SAFETY: a power IRP, ours at this location.
    let (minor, kind, state) = unsafe {
        let location = current_stack_location(irp);
        let power = (*location).Parameters.Power;
        ((*location).MinorFunction, power.Type, power.State.SystemState)
    };
    device.any().globals().history.record(Event::PowerIrp, device.any().raw() as usize, irp.addr(), minor.into());
    match (minor, kind) {
        (IRP_MN_SET_POWER, DEVICE_POWER_STATE) => set_device_power(device, irp, state),
        (IRP_MN_SET_POWER, SYSTEM_POWER_STATE) if device.pnp.owns_policy => set_system_power(device, irp, state),
        (IRP_MN_QUERY_POWER, _) => {
            // SAFETY: ours.
            unsafe { (*irp).IoStatus = IO_STATUS_BLOCK::new(NTSTATUS::SUCCESS, 0) };
            pass_power_down(device, irp)
        }
        _ => pass_power_down(device, irp),
    }
}

fn wdf_state(device_state: i32) -> WDF_POWER_DEVICE_STATE {
    if (POWER_DEVICE_D0..=POWER_DEVICE_D3).contains(&device_state) {
        WDF_POWER_DEVICE_STATE(device_state)
    } else {
        WDF_POWER_DEVICE_STATE::WdfPowerDeviceD3
    }
}

fn set_device_power(device: &Ref<Device>, irp: *mut IRP, state: i32) -> NTSTATUS {
    if state == POWER_DEVICE_D0 {
        // Up: the drivers below first.
        return forward_then(device, irp, below_is_up);
    }
    if irql() == PASSIVE_LEVEL {
        power_down(device, state);
        // SAFETY: ours.
        unsafe { (*irp).IoStatus = IO_STATUS_BLOCK::new(NTSTATUS::SUCCESS, 0) };
        return pass_power_down(device, irp);
    }
    // SAFETY: ours; PENDING is returned.
    unsafe { mark_irp_pending(irp) };
    defer(device, irp, down_later);
    NTSTATUS::PENDING
}

/// Sends the IRP down with a completion routine that gets the device.
fn forward_then(
    device: &Ref<Device>,
    irp: *mut IRP,
    routine: unsafe extern "win64" fn(*mut DEVICE_OBJECT, *mut IRP, *mut c_void) -> NTSTATUS,
) -> NTSTATUS {
    let lower = device.lower();
    if lower.is_null() {
        return complete(irp, NTSTATUS::DELETE_PENDING);
    }
    // SAFETY: the IRP is ours and has a location below; the routine takes the counted reference over. PENDING is returned.
    unsafe {
        mark_irp_pending(irp);
        copy_current_stack_location_to_next(irp);
        set_completion_routine(irp, Some(routine), device.clone().into_context());
        let _ = PoCallDriver(lower, irp);
    }
    NTSTATUS::PENDING
}

unsafe extern "win64" fn below_is_up(_wdm: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: the reference of `forward_then`.
    let device = unsafe { Ref::<Device>::from_context(context) };
    // SAFETY: the IRP is ours again.
    if unsafe { (*irp).IoStatus.status() }.is_success() && irql() > PASSIVE_LEVEL {
        defer(&device, irp, up_later);
    } else {
        power_up(&device, irp);
    }
    NTSTATUS::MORE_PROCESSING_REQUIRED
}

fn defer(device: &Ref<Device>, irp: *mut IRP, routine: unsafe extern "win64" fn(*mut c_void)) {
    let deferred = &device.pnp.deferred_power;
    deferred.irp.store(irp, Ordering::Release);
    // SAFETY: the item is free, since there is one device power IRP at a time; the counted reference keeps it until it has run.
    unsafe {
        let item = deferred.item.get();
        (*item).WorkerRoutine = Some(routine);
        (*item).Parameter = device.clone().into_context();
        ExQueueWorkItem(item, CRITICAL_WORK_QUEUE);
    }
}

unsafe extern "win64" fn up_later(parameter: *mut c_void) {
    // SAFETY: the reference of `defer`.
    let device = unsafe { Ref::<Device>::from_context(parameter) };
    let irp = device.pnp.deferred_power.irp.load(Ordering::Acquire);
    power_up(&device, irp);
}

unsafe extern "win64" fn down_later(parameter: *mut c_void) {
    // SAFETY: the reference of `defer`.
    let device = unsafe { Ref::<Device>::from_context(parameter) };
    let irp = device.pnp.deferred_power.irp.load(Ordering::Acquire);
    // SAFETY: a device power IRP, which `set_device_power` has pended.
    let state = unsafe { (*current_stack_location(irp)).Parameters.Power.State.DeviceState };
    power_down(&device, state);
    // SAFETY: ours.
    unsafe { (*irp).IoStatus = IO_STATUS_BLOCK::new(NTSTATUS::SUCCESS, 0) };
    let _ = pass_power_down(&device, irp);
}

/// The drivers below have handled a D0 IRP: this device follows, and the IRP is completed.
fn power_up(device: &Ref<Device>, irp: *mut IRP) {
    // SAFETY: ours.
    let mut status = unsafe { (*irp).IoStatus.status() };
    if status.is_success() {
        let from = wdf_state(device.pnp.device_power.load(Ordering::Acquire).into());
        idle::comes_up(device);
        if let Err(failed) = steps::enter_d0(device, from) {
            status = failed;
            pnp_irp::fail(device, WDF_DEVICE_FAILED_ACTION::WdfDeviceFailedAttemptRestart);
        }
        note_device_power(device, POWER_DEVICE_D0);
        idle::came_up(device);
    }
    // SAFETY: ours; the power manager is told first, as its page demands.
    unsafe { PoStartNextPowerIrp(irp) };
    let _ = complete_keeping_information(irp, status);
}

fn power_down(device: &Ref<Device>, state: i32) {
    if let Err(status) = steps::leave_d0(device, wdf_state(state), Down::Orderly, Reason::Suspend) {
        crate::report!(device.any().globals(), "power-down failed: {status}");
        pnp_irp::fail(device, WDF_DEVICE_FAILED_ACTION::WdfDeviceFailedAttemptRestart);
    }
    set_power(device, WDF_DEVICE_POWER_STATE::WdfDevStatePowerDx);
    note_device_power(device, state);
}

fn note_device_power(device: &Ref<Device>, state: i32) {
    device.pnp.device_power.store(state as u8, Ordering::Release);
    // SAFETY: our own device object.
    unsafe { PoSetPowerState(device.wdm(), DEVICE_POWER_STATE, POWER_STATE { DeviceState: state }) };
}

fn set_system_power(device: &Ref<Device>, irp: *mut IRP, state: i32) -> NTSTATUS {
    if state == POWER_SYSTEM_WORKING {
        // Up: the system first, then the device.
        return forward_then(device, irp, system_is_up);
    }
    // Down: the device first, then the IRP goes on.
    // SAFETY: ours; PENDING is returned.
    unsafe { mark_irp_pending(irp) };
    device.pnp.system_irp.store(irp, Ordering::Release);
    let context = device.clone().into_context();
    if !request(device, POWER_DEVICE_D3, Some(device_is_down), context) {
        // SAFETY: nobody took the reference over.
        drop(unsafe { Ref::<Device>::from_context(context) });
        let _ = pass_power_down(device, irp);
    }
    NTSTATUS::PENDING
}

/// Asks the power manager for a device power IRP.
pub(crate) fn request(
    device: &Ref<Device>,
    state: i32,
    done: wdf_sys::wdm::PREQUEST_POWER_COMPLETE,
    context: *mut c_void,
) -> bool {
    let state = POWER_STATE { DeviceState: state };
    // SAFETY: the stack's physical device; the callback fits its context.
    let status = unsafe { PoRequestPowerIrp(device.pdo(), IRP_MN_SET_POWER, state, done, context, null_mut()) };
    if !status.is_success() {
        crate::report!(device.any().globals(), "PoRequestPowerIrp: {status}");
    }
    status.is_success()
}

unsafe extern "win64" fn device_is_down(
    _wdm: *mut DEVICE_OBJECT,
    _minor: u8,
    _state: POWER_STATE,
    context: *mut c_void,
    _status: *mut IO_STATUS_BLOCK,
) {
    // SAFETY: the reference of `set_system_power`.
    let device = unsafe { Ref::<Device>::from_context(context) };
    let irp = device.pnp.system_irp.load(Ordering::Acquire);
    // SAFETY: the system power IRP that `set_system_power` has pended.
    unsafe { (*irp).IoStatus = IO_STATUS_BLOCK::new(NTSTATUS::SUCCESS, 0) };
    set_policy(&device, WDF_DEVICE_POWER_POLICY_STATE::WdfDevStatePwrPolSleeping);
    let _ = pass_power_down(&device, irp);
}

unsafe extern "win64" fn system_is_up(_wdm: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: the reference of `forward_then`.
    let device = unsafe { Ref::<Device>::from_context(context) };
    // The system does not wait for the device: its power IRP runs on its own.
    let _ = request(&device, POWER_DEVICE_D0, None, null_mut());
    set_policy(&device, WDF_DEVICE_POWER_POLICY_STATE::WdfDevStatePwrPolStarted);
    // SAFETY: ours again; the power manager is told first, as its page demands.
    unsafe { PoStartNextPowerIrp(irp) };
    // CONTINUE_COMPLETION.
    NTSTATUS::SUCCESS
}

/// The device has started, in D0.
pub(crate) fn started(device: &Ref<Device>) {
    note_device_power(device, POWER_DEVICE_D0);
    idle::started(device);
    if device.pnp.owns_policy {
        set_policy(device, WDF_DEVICE_POWER_POLICY_STATE::WdfDevStatePwrPolStarted);
    }
}

/// The device has been removed.
pub(crate) fn removed(device: &Ref<Device>) {
    note_device_power(device, POWER_DEVICE_D3);
    set_policy(device, WDF_DEVICE_POWER_POLICY_STATE::WdfDevStatePwrPolRemoved);
}
