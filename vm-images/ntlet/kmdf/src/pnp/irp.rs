//! PnP IRPs: what each minor function makes the device do, and when the drivers below get it.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::Ordering;

use wdf_sys::wdf::{WDF_DEVICE_FAILED_ACTION, WDF_DEVICE_PNP_STATE, WDF_POWER_DEVICE_STATE};
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{IoInvalidateDeviceState, IofCallDriver};
use wdf_sys::wdm::{
    DEVICE_OBJECT, IO_STATUS_BLOCK, IRP, REENUMERATE_SELF_INTERFACE_STANDARD, copy_current_stack_location_to_next,
    current_stack_location, set_completion_routine,
};
use wdf_sys::{GUID, NTSTATUS};

use super::sequence::Down;
use super::state::set_pnp;
use super::{Reenumerate, capabilities, idle, steps};
use crate::device::dispatch::{complete, complete_keeping_information, pass_down};
use crate::device::{Device, relations};
use crate::history::Event as Happened;
use crate::io::{self, Reason};
use crate::object::Ref;
use crate::query_interface;
use crate::resources::{self, CmList};
use crate::sync::Event;
use crate::verifier::{self, BugCheck};

/// The PnP IRPs that change a device's state. The PnP manager sends one after the other.
const CHANGES: [u8; 8] = [
    IRP_MN_START_DEVICE,
    IRP_MN_QUERY_REMOVE_DEVICE,
    IRP_MN_REMOVE_DEVICE,
    IRP_MN_CANCEL_REMOVE_DEVICE,
    IRP_MN_STOP_DEVICE,
    IRP_MN_QUERY_STOP_DEVICE,
    IRP_MN_CANCEL_STOP_DEVICE,
    IRP_MN_SURPRISE_REMOVAL,
];

/// A change of the device's state begins. One that is under way is fatal: both would be half done.
fn begin_change(device: &Ref<Device>, irp: *mut IRP) {
    if device.pnp.changing_irp.compare_exchange(null_mut(), irp, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        crate::report!(device.any().globals(), "a PnP IRP that changes the state comes while another one is not done");
        let (handle, irp) = (device.any().header().handle, irp.addr());
        verifier::bug_check(device.any().globals(), BugCheck::PnpFatalError(handle, irp));
    }
}

/// The change is done; the next may come as soon as the IRP has gone.
fn end_change(device: &Ref<Device>) {
    device.pnp.changing_irp.store(null_mut(), Ordering::Release);
}

fn complete_change(device: &Ref<Device>, irp: *mut IRP, status: NTSTATUS) -> NTSTATUS {
    end_change(device);
    complete(irp, status)
}

fn pass_change_down(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    end_change(device);
    pass_down(device, irp)
}

/// An IRP_MJ_PNP for the device, at PASSIVE_LEVEL.
pub(crate) fn dispatch(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    if device.is_control() {
        return complete(irp, NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    // SAFETY: the IRP is ours at this location.
    let minor = unsafe { (*current_stack_location(irp)).MinorFunction };
    device.any().globals().history.record(Happened::PnpIrp, device.any().raw() as usize, irp.addr(), minor.into());
    if CHANGES.contains(&minor) {
        begin_change(device, irp);
    }
    match minor {
        IRP_MN_START_DEVICE => start(device, irp),
        IRP_MN_QUERY_REMOVE_DEVICE => query_remove(device, irp),
        IRP_MN_CANCEL_REMOVE_DEVICE => cancel_query(device, irp, WDF_DEVICE_PNP_STATE::WdfDevStatePnpQueryRemovePending),
        IRP_MN_REMOVE_DEVICE => remove(device, irp),
        IRP_MN_QUERY_STOP_DEVICE => query_stop(device, irp),
        IRP_MN_CANCEL_STOP_DEVICE => cancel_query(device, irp, WDF_DEVICE_PNP_STATE::WdfDevStatePnpQueryStopPending),
        IRP_MN_STOP_DEVICE => stop(device, irp),
        IRP_MN_SURPRISE_REMOVAL => surprise_removal(device, irp),
        IRP_MN_QUERY_CAPABILITIES => query_capabilities(device, irp),
        IRP_MN_QUERY_PNP_DEVICE_STATE => query_state(device, irp),
        IRP_MN_FILTER_RESOURCE_REQUIREMENTS => filter_requirements(device, irp),
        IRP_MN_QUERY_INTERFACE => crate::query_interface::answer(device, irp),
        IRP_MN_QUERY_DEVICE_RELATIONS => query_relations(device, irp),
        IRP_MN_DEVICE_USAGE_NOTIFICATION => usage_notification(device, irp),
        _ => pass_down(device, irp),
    }
}

fn query_relations(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the IRP is ours: a query for relations.
    let kind = unsafe { (*current_stack_location(irp)).Parameters.QueryDeviceRelations.Type };
    if let Some(callback) = device.settings.pnp.EvtDeviceRelationsQuery {
        // SAFETY: the driver's callback, with its own device.
        device.any().guarded(callback as usize, || unsafe { callback(device.handle(), kind) });
    }
    if kind == REMOVAL_RELATIONS
        && let Err(status) = relations::answer_removal(device, irp)
    {
        return complete_keeping_information(irp, status);
    }
    pass_down(device, irp)
}

/// A paging, hibernation or dump file comes to the device or leaves it: only if the driver has said that it supports that.
fn usage_notification(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the IRP is ours: a usage notification.
    let (in_path, kind) = unsafe {
        let usage = (*current_stack_location(irp)).Parameters.UsageNotification;
        (usage.InPath, usage.Type)
    };
    if !device.is_filter() && device.special_files.load(Ordering::Relaxed) & 1_u32.checked_shl(kind as u32).unwrap_or(0) == 0 {
        return complete(irp, NTSTATUS::NOT_IMPLEMENTED);
    }
    if let Err(status) = relations::notify_dependents(device, kind, in_path) {
        return complete(irp, status);
    }
    let status = forward_and_wait(device, irp);
    if !status.is_success() {
        relations::take_back(device, kind, in_path);
    }
    if status.is_success()
        && let Some(callback) = device.settings.pnp.EvtDeviceUsageNotification
    {
        let kind = wdf_sys::wdf::WDF_SPECIAL_FILE_TYPE(kind);
        // SAFETY: the driver's callback, with its own device.
        device.any().guarded(callback as usize, || unsafe { callback(device.handle(), kind, in_path) });
    }
    complete_keeping_information(irp, status)
}

/// Sets the event that is its context, and keeps the IRP for whoever waits.
pub(crate) unsafe extern "win64" fn signal(_device: *mut DEVICE_OBJECT, _irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: the event of `forward_and_wait`, which waits for it.
    unsafe { &*context.cast::<Event>() }.set();
    NTSTATUS::MORE_PROCESSING_REQUIRED
}

/// Sends the IRP down and waits until the drivers below have completed it; it is ours again then. PASSIVE_LEVEL.
pub(crate) fn forward_and_wait(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    let done = Event::uninitialized();
    done.initialize(NOTIFICATION_EVENT, false);
    let lower = device.lower();
    if lower.is_null() {
        return NTSTATUS::DELETE_PENDING;
    }
    // SAFETY: the IRP is ours at this location and has one below, since the stack size counts it; the event outlives the wait, which
    // ends only when the completion routine has run.
    unsafe {
        copy_current_stack_location_to_next(irp);
        set_completion_routine(irp, Some(signal), (&raw const done).cast_mut().cast());
        let _ = IofCallDriver(lower, irp);
        done.wait();
        (*irp).IoStatus.status()
    }
}

fn set_success(irp: *mut IRP) {
    // SAFETY: the IRP is ours.
    unsafe { (*irp).IoStatus = IO_STATUS_BLOCK::new(NTSTATUS::SUCCESS, (*irp).IoStatus.Information) };
}

fn start(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    let status = forward_and_wait(device, irp);
    if !status.is_success() {
        end_change(device);
        return complete_keeping_information(irp, status);
    }
    let outcome = take_resources(device, irp).and_then(|()| start_device(device));
    complete_change(device, irp, outcome.err().unwrap_or(NTSTATUS::SUCCESS))
}

fn start_device(device: &Ref<Device>) -> Result<(), NTSTATUS> {
    set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpInitStarting);
    if let Err(status) = steps::start_device(device) {
        set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpFailed);
        device.state_flags.fetch_or(PNP_DEVICE_FAILED, Ordering::Relaxed);
        return Err(status);
    }
    set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpEnableInterfaces);
    device.names.enable_interfaces();
    set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpStarted);
    super::power::started(device);
    device.wmi.start(device);
    learn_to_restart(device);
    Ok(())
}

/// Asks the bus how to have the device removed and found again. Not every bus can.
fn learn_to_restart(device: &Ref<Device>) {
    if device.is_filter() || device.pdo().is_null() {
        return;
    }
    let mut interface = REENUMERATE_SELF_INTERFACE_STANDARD::zeroed();
    let size = size_of::<REENUMERATE_SELF_INTERFACE_STANDARD>() as u16;
    // SAFETY: the physical device of our stack; the interface begins as every interface does, and is as large as said.
    let status = unsafe {
        let class: *const GUID = &GUID_REENUMERATE_SELF_INTERFACE_STANDARD;
        query_interface::ask(device.pdo(), class, (&raw mut interface).cast(), size, 1, core::ptr::null_mut())
    };
    if status.is_success() {
        let old = device.pnp.reenumerate.lock().replace(Reenumerate(interface));
        drop(old);
    }
}

/// Copies the resources of a start IRP into lists that drivers can hold.
fn take_resources(device: &Ref<Device>, irp: *mut IRP) -> Result<(), NTSTATUS> {
    // SAFETY: the IRP is ours: a start IRP, whose lists are the PnP manager's and live as long as it does.
    let (raw, translated) = unsafe {
        let parameters = (*current_stack_location(irp)).Parameters.StartDevice;
        (resources::descriptors(parameters.AllocatedResources), resources::descriptors(parameters.AllocatedResourcesTranslated))
    };
    let raw = CmList::create(device, raw)?;
    let translated = CmList::create(device, translated)?;
    if let Some(callback) = device.settings.fdo.EvtDeviceRemoveAddedResources {
        let status = device.any().guarded(callback as usize, || {
            // SAFETY: the driver's callback, with lists that it may change before the device starts.
            unsafe { callback(device.handle(), raw.handle(), translated.handle()) }
        });
        status.ok()?;
    }
    let old = device.pnp.resources.lock().replace((raw, translated));
    if let Some((raw, translated)) = old {
        raw.delete();
        translated.delete();
    }
    Ok(())
}

fn query_remove(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    if !device.stoppable.load(Ordering::Relaxed) {
        return complete_change(device, irp, NTSTATUS::INVALID_DEVICE_STATE);
    }
    set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpQueryRemoveAskDriver);
    if let Some(callback) = device.settings.pnp.EvtDeviceQueryRemove {
        // SAFETY: the driver's callback, with its own device.
        let status = device.any().guarded(callback as usize, || unsafe { callback(device.handle()) });
        if !status.is_success() {
            set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpStarted);
            return complete_change(device, irp, status);
        }
    }
    set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpQueryRemovePending);
    set_success(irp);
    pass_change_down(device, irp)
}

fn query_stop(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    if !device.stoppable.load(Ordering::Relaxed) {
        return complete_change(device, irp, NTSTATUS::INVALID_DEVICE_STATE);
    }
    set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpQueryStopAskDriver);
    if let Some(callback) = device.settings.pnp.EvtDeviceQueryStop {
        // SAFETY: the driver's callback, with its own device.
        let status = device.any().guarded(callback as usize, || unsafe { callback(device.handle()) });
        if !status.is_success() {
            set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpStarted);
            return complete_change(device, irp, status);
        }
    }
    set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpQueryStopPending);
    set_success(irp);
    pass_change_down(device, irp)
}

fn cancel_query(device: &Ref<Device>, irp: *mut IRP, pending: WDF_DEVICE_PNP_STATE) -> NTSTATUS {
    let _ = forward_and_wait(device, irp);
    if device.pnp.pnp_state() == pending {
        set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpQueryCanceled);
        set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpStarted);
    }
    complete_change(device, irp, NTSTATUS::SUCCESS)
}

fn stop(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    idle::hold(device, true);
    set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpStartedStopping);
    let target = WDF_POWER_DEVICE_STATE::WdfPowerDeviceD3Final;
    report(device, "stop", steps::leave_d0(device, target, Down::Orderly, Reason::Suspend));
    report(device, "stop", steps::release_hardware(device));
    set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpStopped);
    set_success(irp);
    pass_change_down(device, irp)
}

fn surprise_removal(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    let was_started = device.pnp.is_started();
    idle::hold(device, false);
    set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpSurpriseRemove);
    device.names.disable_interfaces();
    if let Some(callback) = device.settings.pnp.EvtDeviceSurpriseRemoval {
        // SAFETY: the driver's callback, with its own device.
        device.any().guarded(callback as usize, || unsafe { callback(device.handle()) });
    }
    if was_started || device.pnp.is_in_d0() {
        set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpSurpriseRemoveIoStarted);
    }
    take_down(device, Down::Surprise);
    set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpFailedWaitForRemove);
    set_success(irp);
    pass_change_down(device, irp)
}

/// Everything that removal does short of deleting the device. Harmless when done before.
fn take_down(device: &Ref<Device>, down: Down) {
    let target = WDF_POWER_DEVICE_STATE::WdfPowerDeviceD3Final;
    report(device, "removal", steps::leave_d0(device, target, down, Reason::Purge));
    io::purge(device);
    report(device, "removal", steps::release_hardware(device));
    steps::flush_self_managed_io(device);
}

fn remove(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    let is_gone = device.pnp.pnp_state() == WDF_DEVICE_PNP_STATE::WdfDevStatePnpFailedWaitForRemove;
    idle::hold(device, !is_gone);
    set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpRemovingDisableInterfaces);
    device.names.disable_interfaces();
    device.wmi.stop(device);
    take_down(device, Down::Orderly);
    steps::clean_up_self_managed_io(device);
    set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpRemoved);
    super::power::removed(device);
    set_success(irp);
    let status = pass_change_down(device, irp);
    set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpFinal);
    device.detach();
    device.delete();
    status
}

/// Takes apart a device that was created but never started: EvtDriverDeviceAdd failed.
pub(crate) fn discard(device: &Ref<Device>) {
    device.detach();
    device.delete();
}

fn report(device: &Ref<Device>, what: &str, outcome: Result<(), NTSTATUS>) {
    if let Err(status) = outcome {
        crate::report!(device.any().globals(), "during {what} a callback failed: {status}; going on");
    }
}

fn query_capabilities(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    let status = forward_and_wait(device, irp);
    if status.is_success() {
        // SAFETY: a capabilities IRP, ours again; the structure is its sender's and lives as long as it does.
        unsafe {
            let wanted = (*current_stack_location(irp)).Parameters.DeviceCapabilities.Capabilities;
            if let Some(wanted) = wanted.as_mut() {
                capabilities::apply(&device.capabilities.lock(), wanted);
            }
        }
    }
    complete_keeping_information(irp, status)
}

fn query_state(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    let status = forward_and_wait(device, irp);
    let own = device.state_flags.load(Ordering::Relaxed) as usize;
    // SAFETY: ours again.
    unsafe {
        let below = if status.is_success() { (*irp).IoStatus.Information } else { 0 };
        (*irp).IoStatus.Information = below | own;
    }
    // The bus need not answer; we have.
    let answered = if status == NTSTATUS::NOT_SUPPORTED { NTSTATUS::SUCCESS } else { status };
    complete_keeping_information(irp, answered)
}

fn filter_requirements(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    let callbacks = &device.settings.fdo;
    let wanted = [callbacks.EvtDeviceFilterRemoveResourceRequirements, callbacks.EvtDeviceFilterAddResourceRequirements];
    if wanted.iter().all(Option::is_none) {
        return pass_down(device, irp);
    }
    let below = forward_and_wait(device, irp);
    if !below.is_success() && below != NTSTATUS::NOT_SUPPORTED {
        return complete_keeping_information(irp, below);
    }
    let status = resources::filter(device, irp, &wanted);
    complete_keeping_information(irp, status)
}

/// Asks the PnP manager to look at the device's state again: it has failed, or the driver changed it.
pub(crate) fn invalidate_state(device: &Device) {
    if !device.pdo().is_null() {
        // SAFETY: the physical device at the bottom of our stack.
        unsafe { IoInvalidateDeviceState(device.pdo()) };
    }
}

/// The device has failed after it was started: the PnP manager is to remove it.
pub(crate) fn fail(device: &Ref<Device>, action: WDF_DEVICE_FAILED_ACTION) {
    device.pnp.failed_action.store(action.0, Ordering::Release);
    device.state_flags.fetch_or(PNP_DEVICE_FAILED, Ordering::Relaxed);
    if device.pnp.is_started() {
        set_pnp(device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpFailed);
    }
    let restart = if action == WDF_DEVICE_FAILED_ACTION::WdfDeviceFailedAttemptRestart {
        device.pnp.reenumerate.lock().as_ref().and_then(|bus| Some((bus.0.SurpriseRemoveAndReenumerateSelf?, bus.0.Context)))
    } else {
        None
    };
    match restart {
        // SAFETY: the interface is held as long as the device is.
        Some((routine, context)) => unsafe { routine(context) },
        None => invalidate_state(device),
    }
}
