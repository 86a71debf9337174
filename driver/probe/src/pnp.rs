//! The probe's PnP device: no hardware, but queues that follow its power, so that EvtIoStop, EvtIoResume and removal can be tested.

use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, Ordering};

use protocol::probe::{Event, OnStop, PNP_SYMBOLIC_LINK, queue};
use wdf::{DeviceInit, NTSTATUS, Result, utf16};
use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::{WDFCMRESLIST, WDFDEVICE, WDFQUEUE, WDFREQUEST};

use crate::{callbacks, device, table};

/// Null while there is none.
static DEVICE: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// The device; a null handle when there is none.
pub(crate) fn device() -> WDFDEVICE {
    WDFDEVICE(DEVICE.load(Ordering::Acquire))
}

/// EvtDriverDeviceAdd.
///
/// # Errors
/// What the framework says; it then deletes what was made.
pub(crate) fn add(mut init: DeviceInit<'_>) -> Result<()> {
    let mut events = WDF_PNPPOWER_EVENT_CALLBACKS {
        EvtDeviceD0Entry: Some(power_up),
        EvtDeviceD0Exit: Some(power_down),
        EvtDeviceSelfManagedIoInit: Some(working),
        EvtDeviceSelfManagedIoRestart: Some(working),
        EvtDeviceSurpriseRemoval: Some(surprise_removal),
        EvtDeviceReleaseHardware: Some(release),
        ..WDF_PNPPOWER_EVENT_CALLBACKS::new()
    };
    let mut attributes = WDF_OBJECT_ATTRIBUTES { EvtCleanupCallback: Some(clean_up), ..WDF_OBJECT_ATTRIBUTES::new() };
    let (mut raw, mut made) = (init.as_raw(), WDFDEVICE::NULL);
    // SAFETY: the init is the framework's, for this callback; the structure is copied.
    unsafe { WdfDeviceInitSetPnpPowerEventCallbacks(raw, &raw mut events) };
    // SAFETY: as above; the call takes the init.
    unsafe { WdfDeviceCreate(&raw mut raw, &raw mut attributes, &raw mut made) }.ok()?;
    for number in queue::CONTROL_COUNT..queue::COUNT {
        make_queue(made, number)?;
    }
    let link = device::counted(utf16!(PNP_SYMBOLIC_LINK))?;
    // SAFETY: the device was just made; the name is copied.
    unsafe { WdfDeviceCreateSymbolicLink(made, &raw const link) }.ok()?;
    DEVICE.store(made.0, Ordering::Release);
    Ok(())
}

fn make_queue(device: WDFDEVICE, number: u32) -> Result<()> {
    use WDF_IO_QUEUE_DISPATCH_TYPE as Dispatch;
    let is_manual = number == queue::POWER_MANUAL;
    let mut config = WDF_IO_QUEUE_CONFIG::new(if is_manual {
        Dispatch::WdfIoQueueDispatchManual
    } else {
        Dispatch::WdfIoQueueDispatchParallel
    });
    config.DefaultQueue = u8::from(number == queue::POWER);
    config.PowerManaged = WDF_TRI_STATE::WdfTrue;
    config.EvtIoCanceledOnQueue = Some(callbacks::canceled_on_queue);
    if !is_manual {
        config.EvtIoDeviceControl = Some(callbacks::device_control);
    }
    if number != queue::POWER_QUIET {
        config.EvtIoStop = Some(stop);
        config.EvtIoResume = Some(resume);
    }
    let mut attributes =
        WDF_OBJECT_ATTRIBUTES { ExecutionLevel: WDF_EXECUTION_LEVEL::WdfExecutionLevelPassive, ..WDF_OBJECT_ATTRIBUTES::new() };
    if number == queue::POWER_SYNCHRONIZED {
        attributes.SynchronizationScope = WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeQueue;
    }
    let mut made = WDFQUEUE::NULL;
    // SAFETY: the device is valid; both structures are copied.
    unsafe { WdfIoQueueCreate(device, &raw mut config, &raw mut attributes, &raw mut made) }.ok()?;
    table::set_queue(number, made);
    Ok(())
}

/// EvtIoStop: what the slot's [`OnStop`] says.
unsafe extern "win64" fn stop(queue: WDFQUEUE, request: WDFREQUEST, flags: u32) {
    let slot = table::slot_of(request);
    if let Some(slot) = slot {
        table::set_stop_flags(slot, flags);
        table::begin(Event::Stopped, slot);
    }
    let action = slot.and_then(table::on_stop).map_or(OnStop::Example as u32, |action| action.load(Ordering::Acquire));
    if action == OnStop::Example as u32 {
        // SAFETY: the request is one that the driver holds.
        unsafe { example(request, flags) };
    } else if action == OnStop::Requeue as u32 {
        // SAFETY: as above.
        unsafe { WdfRequestStopAcknowledge(request, 1) };
        let (mut queued, mut presented) = (0, 0);
        // SAFETY: the queue is there while its callback runs.
        let _ = unsafe { WdfIoQueueGetState(queue, &raw mut queued, &raw mut presented) };
        if let Some(slot) = slot {
            table::set_stop_load(slot, queued << 16 | presented);
        }
    } else if action == OnStop::Complete as u32 {
        // SAFETY: as above, and nobody else completes it.
        unsafe { WdfRequestComplete(request, NTSTATUS::CANCELLED) };
    }
    if let Some(slot) = slot {
        table::finish(Event::Stopped, slot);
    }
}

/// The example of the page about WdfRequestCancelSentRequest.
///
/// # Safety
/// EvtIoStop was called with these.
unsafe fn example(request: WDFREQUEST, flags: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        if flags & WdfRequestStopActionSuspend != 0 {
            WdfRequestStopAcknowledge(request, 0);
        } else if flags & WdfRequestStopActionPurge != 0 {
            WdfRequestCancelSentRequest(request);
        }
    }
}

unsafe extern "win64" fn resume(_queue: WDFQUEUE, request: WDFREQUEST) {
    if let Some(slot) = table::slot_of(request) {
        table::count(Event::Resumed, slot);
    }
}

unsafe extern "win64" fn power_up(_device: WDFDEVICE, _from: WDF_POWER_DEVICE_STATE) -> NTSTATUS {
    table::count(Event::PowerUp, 0);
    NTSTATUS::SUCCESS
}

unsafe extern "win64" fn power_down(_device: WDFDEVICE, _to: WDF_POWER_DEVICE_STATE) -> NTSTATUS {
    table::count(Event::PowerDown, 0);
    NTSTATUS::SUCCESS
}

unsafe extern "win64" fn working(_device: WDFDEVICE) -> NTSTATUS {
    table::count(Event::Working, 0);
    NTSTATUS::SUCCESS
}

unsafe extern "win64" fn surprise_removal(_device: WDFDEVICE) {
    table::count(Event::SurpriseRemoved, 0);
}

unsafe extern "win64" fn release(_device: WDFDEVICE, _resources: WDFCMRESLIST) -> NTSTATUS {
    table::count(Event::Released, 0);
    NTSTATUS::SUCCESS
}

/// EvtCleanupCallback of the device: its handles are none from here on.
unsafe extern "win64" fn clean_up(object: wdf_sys::WDFOBJECT) {
    if DEVICE.compare_exchange(object.0, core::ptr::null_mut(), Ordering::AcqRel, Ordering::Acquire).is_ok() {
        for number in queue::CONTROL_COUNT..queue::COUNT {
            table::set_queue(number, WDFQUEUE::NULL);
        }
    }
}
