//! Power-managed queues: what sleeping and waking, stopping and removing do to requests that wait and to requests that the driver has.

use std::sync::Mutex;

use kernel::sim::Simulation;
use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::wdm::constants::*;
use wdf_sys::*;

use crate::request::Sent;
use crate::rig::{Place, counts, create_device, create_queue, device, journal, note, settle, with_device, with_driver};

const PARALLEL: WDF_IO_QUEUE_DISPATCH_TYPE = WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel;

/// What EvtIoStop does.
#[derive(Clone, Copy)]
enum Stop {
    Acknowledge,
    Requeue,
    Complete,
    CompleteLater,
    CompleteMuchLater,
    CompleteAfterMinutes,
}

static STOP: Mutex<Stop> = Mutex::new(Stop::Acknowledge);
static QUEUE: Place = Place::new();
static REQUEST: Place = Place::new();
static WORK_ITEM: Place = Place::new();

fn queue() -> WDFQUEUE {
    WDFQUEUE(QUEUE.get())
}

fn request() -> WDFREQUEST {
    WDFREQUEST(REQUEST.get())
}

unsafe extern "win64" fn keep(_: WDFQUEUE, request: WDFREQUEST) {
    note("presented");
    REQUEST.set(request.0);
}

unsafe extern "win64" fn stop(_: WDFQUEUE, request: WDFREQUEST, flags: u32) {
    note(format!("stop {flags:#x}"));
    let how = *STOP.lock().unwrap();
    match how {
        Stop::Acknowledge => ddi!(WdfRequestStopAcknowledge(request, FALSE)),
        Stop::Requeue => ddi!(WdfRequestStopAcknowledge(request, TRUE)),
        Stop::Complete => ddi!(WdfRequestComplete(request, NTSTATUS::CANCELLED)),
        Stop::CompleteLater | Stop::CompleteMuchLater | Stop::CompleteAfterMinutes => {
            ddi!(WdfWorkItemEnqueue(WDFWORKITEM(WORK_ITEM.get())))
        }
    }
}

unsafe extern "win64" fn resume(_: WDFQUEUE, _: WDFREQUEST) {
    note("resume");
}

unsafe extern "win64" fn complete_later(_: WDFWORKITEM) {
    settle();
    let seconds = match *STOP.lock().unwrap() {
        Stop::CompleteMuchLater => 15,
        Stop::CompleteAfterMinutes => 150,
        _ => 0,
    };
    if seconds != 0 {
        pass(seconds * 1000);
    }
    note("completed at last");
    ddi!(WdfRequestComplete(request(), NTSTATUS::SUCCESS));
}

unsafe extern "win64" fn d0_exit(_: WDFDEVICE, _: WDF_POWER_DEVICE_STATE) -> NTSTATUS {
    note("d0_exit");
    NTSTATUS::SUCCESS
}

fn add(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    let mut callbacks = WDF_PNPPOWER_EVENT_CALLBACKS::new();
    callbacks.EvtDeviceD0Exit = Some(d0_exit);
    ddi!(WdfDeviceInitSetPnpPowerEventCallbacks(init, &mut callbacks));
    let status = create_device(init, None);
    let config = WDF_IO_QUEUE_CONFIG {
        EvtIoDefault: Some(keep),
        EvtIoStop: Some(stop),
        EvtIoResume: Some(resume),
        ..WDF_IO_QUEUE_CONFIG::default_queue(PARALLEL)
    };
    QUEUE.set(create_queue(config).0);
    let mut attributes = WDF_OBJECT_ATTRIBUTES::new();
    attributes.ParentObject = device().object();
    let (mut config, mut created) = (WDF_WORKITEM_CONFIG::new(Some(complete_later)), WDFWORKITEM::NULL);
    config.AutomaticSerialization = FALSE;
    assert_eq!(ddi!(WdfWorkItemCreate(&mut config, &mut attributes, &mut created)), NTSTATUS::SUCCESS);
    WORK_ITEM.set(created.0);
    status
}

/// `WdfRequestStopActionSuspend` and `WdfRequestStopActionPurge`, as the callback gets them.
const SUSPEND: &str = "stop 0x1";
const PURGE: &str = "stop 0x2";

#[test]
fn requests_wait_until_the_device_has_started() {
    with_driver(Simulation::new(), add, |rig| {
        assert_eq!(rig.add_device(), NTSTATUS::SUCCESS);
        let sent = Sent::control(rig, 0, 0);
        assert_eq!((journal(), counts(queue())), (vec![], (1, 0)));
        assert_eq!(rig.bus.start(), NTSTATUS::SUCCESS);
        assert_eq!(journal(), ["presented"]);
        ddi!(WdfRequestComplete(request(), NTSTATUS::SUCCESS));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
        rig.bus.query_and_remove();
    });
}

#[test]
fn an_acknowledged_request_sleeps_with_the_device_and_is_resumed() {
    with_device(add, |rig| {
        let sent = Sent::control(rig, 0, 0);
        assert_eq!(journal(), ["presented"]);
        assert_eq!(rig.bus.set_power(POWER_DEVICE_D3), NTSTATUS::SUCCESS);
        assert_eq!(journal(), [SUSPEND, "d0_exit"]);
        let later = Sent::control(rig, 0, 0);
        assert_eq!((journal(), counts(queue())), (vec![], (1, 1)));
        let first = request();
        assert_eq!(rig.bus.set_power(POWER_DEVICE_D0), NTSTATUS::SUCCESS);
        assert_eq!(journal(), ["resume", "presented"]);
        for (request, sent) in [(first, &sent), (request(), &later)] {
            ddi!(WdfRequestComplete(request, NTSTATUS::SUCCESS));
            assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
        }
    });
}

#[test]
fn a_requeued_request_is_presented_again_and_not_resumed() {
    with_device(add, |rig| {
        *STOP.lock().unwrap() = Stop::Requeue;
        let sent = Sent::control(rig, 0, 0);
        assert_eq!(rig.bus.set_power(POWER_DEVICE_D3), NTSTATUS::SUCCESS);
        assert_eq!(counts(queue()), (1, 0));
        assert_eq!(rig.bus.set_power(POWER_DEVICE_D0), NTSTATUS::SUCCESS);
        assert_eq!(journal(), ["presented", SUSPEND, "d0_exit", "presented"]);
        ddi!(WdfRequestComplete(request(), NTSTATUS::SUCCESS));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
    });
}

#[test]
fn a_request_without_acknowledgement_holds_the_power_change_up() {
    with_device(add, |rig| {
        *STOP.lock().unwrap() = Stop::CompleteLater;
        let sent = Sent::control(rig, 0, 0);
        assert_eq!(rig.bus.set_power(POWER_DEVICE_D3), NTSTATUS::SUCCESS);
        assert_eq!(journal(), ["presented", SUSPEND, "completed at last", "d0_exit"]);
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
    });
}

#[test]
fn a_request_that_is_forgotten_in_the_stop_callback_is_named_with_its_history() {
    let forgotten = with_device(add, |rig| {
        *STOP.lock().unwrap() = Stop::CompleteMuchLater;
        let sent = Sent::control(rig, 0, 0);
        assert_eq!(rig.bus.set_power(POWER_DEVICE_D3), NTSTATUS::SUCCESS);
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
    });
    let (_, report) = forgotten.log.split_once("VIOLATION of DrvAckIoStop").expect("it is reported");
    assert!(report.contains("request-presented") && report.contains("request-stop-called"), "{report}");
    let late = with_device(add, |rig| {
        *STOP.lock().unwrap() = Stop::CompleteLater;
        let sent = Sent::control(rig, 0, 0);
        assert_eq!(rig.bus.set_power(POWER_DEVICE_D3), NTSTATUS::SUCCESS);
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
    });
    assert!(!late.has_logged("VIOLATION"), "a driver may take its time: {}", late.log);
}

#[test]
fn a_power_down_that_waits_says_so_every_minute() {
    let waiting = with_device(add, |rig| {
        *STOP.lock().unwrap() = Stop::CompleteAfterMinutes;
        let sent = Sent::control(rig, 0, 0);
        assert_eq!(rig.bus.set_power(POWER_DEVICE_D3), NTSTATUS::SUCCESS);
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
    });
    assert_eq!(waiting.log.matches("the power-down waits for queue").count(), 2, "{}", waiting.log);
}

#[test]
fn a_removal_stops_what_the_driver_has_and_cancels_what_waits() {
    with_driver(Simulation::new().processors(2), add, |rig| {
        assert_eq!(rig.add_device(), NTSTATUS::SUCCESS);
        assert_eq!(rig.bus.start(), NTSTATUS::SUCCESS);
        *STOP.lock().unwrap() = Stop::Complete;
        let sent = Sent::control(rig, 0, 0);
        rig.bus.query_and_remove();
        assert_eq!(sent.wait(), NTSTATUS::CANCELLED);
        let journal = journal();
        assert!(journal == ["presented", PURGE, "d0_exit"], "{journal:?}");
    });
}

unsafe extern "win64" fn d0_entry(_: WDFDEVICE, _: WDF_POWER_DEVICE_STATE) -> NTSTATUS {
    note("d0_entry");
    NTSTATUS::SUCCESS
}

/// Lets the machine's time pass.
fn pass(milliseconds: i64) {
    let mut interval = -10_000 * milliseconds;
    let _ = ddi!(wdf_sys::wdm::functions::KeDelayExecutionThread(KERNEL_MODE, 0, &mut interval));
}

fn idle_settings(milliseconds: u32) -> WDF_DEVICE_POWER_POLICY_IDLE_SETTINGS {
    let mut settings = WDF_DEVICE_POWER_POLICY_IDLE_SETTINGS::zeroed();
    settings.Size = size_of::<WDF_DEVICE_POWER_POLICY_IDLE_SETTINGS>() as u32;
    settings.IdleCaps = WDF_POWER_POLICY_S0_IDLE_CAPABILITIES::IdleCannotWakeFromS0;
    settings.DxState = POWER_DEVICE_D3;
    settings.IdleTimeout = milliseconds;
    settings.UserControlOfIdleSettings = WDF_POWER_POLICY_S0_IDLE_USER_CONTROL::IdleDoNotAllowUserControl;
    settings.Enabled = WDF_TRI_STATE::WdfTrue;
    settings
}

/// A device that idles after 100 ms.
fn add_idling(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    let mut callbacks = WDF_PNPPOWER_EVENT_CALLBACKS::new();
    callbacks.EvtDeviceD0Entry = Some(d0_entry);
    callbacks.EvtDeviceD0Exit = Some(d0_exit);
    ddi!(WdfDeviceInitSetPnpPowerEventCallbacks(init, &mut callbacks));
    let status = create_device(init, None);
    let config = WDF_IO_QUEUE_CONFIG { EvtIoDefault: Some(keep), ..WDF_IO_QUEUE_CONFIG::default_queue(PARALLEL) };
    QUEUE.set(create_queue(config).0);
    assert_eq!(ddi!(WdfDeviceAssignS0IdleSettings(device(), &mut idle_settings(100))), NTSTATUS::SUCCESS);
    status
}

#[test]
fn a_device_with_nothing_to_do_sleeps_and_a_request_wakes_it() {
    with_device(add_idling, |rig| {
        pass(300);
        assert_eq!(journal(), ["d0_exit"]);
        let sent = Sent::control(rig, 0, 0);
        settle();
        assert_eq!(journal(), ["d0_entry", "presented"]);
        pass(300);
        assert!(journal().is_empty(), "it has a request");
        ddi!(WdfRequestComplete(request(), NTSTATUS::SUCCESS));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
        pass(300);
        assert_eq!(journal(), ["d0_exit"]);
    });
}

#[test]
fn a_driver_keeps_its_device_awake_and_wakes_it() {
    with_device(add_idling, |_| {
        assert_eq!(ddi!(WdfDeviceStopIdleNoTrack(device(), TRUE)), NTSTATUS::SUCCESS);
        pass(300);
        assert!(journal().is_empty());
        ddi!(WdfDeviceResumeIdleNoTrack(device()));
        pass(300);
        assert_eq!(journal(), ["d0_exit"]);
        assert_eq!(ddi!(WdfDeviceStopIdleNoTrack(device(), FALSE)), NTSTATUS::PENDING);
        settle();
        assert_eq!(ddi!(WdfDeviceStopIdleNoTrack(device(), TRUE)), NTSTATUS::SUCCESS);
        assert_eq!(journal(), ["d0_entry"]);
        ddi!(WdfDeviceResumeIdleNoTrack(device()));
        pass(300);
        assert!(journal().is_empty(), "the first call is still in force");
        ddi!(WdfDeviceResumeIdleNoTrack(device()));
    });
}

#[test]
fn a_device_that_sleeps_is_woken_before_it_is_removed() {
    with_driver(Simulation::new(), add_idling, |rig| {
        assert_eq!(rig.add_device(), NTSTATUS::SUCCESS);
        assert_eq!(rig.bus.start(), NTSTATUS::SUCCESS);
        pass(300);
        assert_eq!(journal(), ["d0_entry", "d0_exit"]);
        rig.bus.query_and_remove();
        assert_eq!(journal(), ["d0_entry", "d0_exit"]);
    });
}

#[test]
fn idle_and_wake_settings_are_checked() {
    with_device(add_idling, |_| {
        let assign = |change: fn(&mut WDF_DEVICE_POWER_POLICY_IDLE_SETTINGS)| {
            let mut settings = idle_settings(10_000);
            change(&mut settings);
            ddi!(WdfDeviceAssignS0IdleSettings(device(), &mut settings))
        };
        assert_eq!(assign(|settings| settings.Size = 20), NTSTATUS::INFO_LENGTH_MISMATCH);
        assert_eq!(assign(|settings| settings.DxState = POWER_DEVICE_D0), NTSTATUS::INVALID_PARAMETER);
        // Of KMDF 1.5, 1.7 and 1.9.
        for size in [24, 28, 32] {
            let mut settings = idle_settings(10_000);
            settings.Size = size;
            assert_eq!(ddi!(WdfDeviceAssignS0IdleSettings(device(), &mut settings)), NTSTATUS::SUCCESS);
        }
        let can_wake = assign(|settings| settings.IdleCaps = WDF_POWER_POLICY_S0_IDLE_CAPABILITIES::IdleCanWakeFromS0);
        assert_eq!(can_wake.bits(), 0xc000_02d3, "STATUS_POWER_STATE_INVALID");
        assert_eq!(assign(|settings| settings.Enabled = WDF_TRI_STATE::WdfFalse), NTSTATUS::SUCCESS);
        journal();
        pass(30_000);
        assert!(journal().is_empty(), "it is off");
    });
}

#[test]
fn a_manual_queue_that_is_powered_off_says_that_it_is_paused() {
    fn add(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
        let status = create_device(init, None);
        let manual = WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchManual;
        QUEUE.set(create_queue(WDF_IO_QUEUE_CONFIG::default_queue(manual)).0);
        status
    }
    with_device(add, |rig| {
        assert_eq!(rig.bus.set_power(POWER_DEVICE_D3), NTSTATUS::SUCCESS);
        let sent = Sent::control(rig, 0, 0);
        let mut request = WDFREQUEST::NULL;
        assert_eq!(ddi!(WdfIoQueueRetrieveNextRequest(queue(), &mut request)), NTSTATUS::WDF_PAUSED);
        assert_eq!(rig.bus.set_power(POWER_DEVICE_D0), NTSTATUS::SUCCESS);
        assert_eq!(ddi!(WdfIoQueueRetrieveNextRequest(queue(), &mut request)), NTSTATUS::SUCCESS);
        ddi!(WdfRequestComplete(request, NTSTATUS::SUCCESS));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
    });
}

#[test]
fn an_acknowledgement_outside_the_stop_callback_is_reported() {
    let outcome = with_device(add, |rig| {
        let sent = Sent::control(rig, 0, 0);
        ddi!(WdfRequestStopAcknowledge(request(), FALSE));
        assert_eq!(counts(queue()), (0, 1));
        ddi!(WdfRequestComplete(request(), NTSTATUS::SUCCESS));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
    });
    assert!(outcome.has_logged("VIOLATION of StopAckWithinEvtIoStop"), "{}", outcome.log);
}
