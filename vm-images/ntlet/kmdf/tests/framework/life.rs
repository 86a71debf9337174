//! A device's life: added, started, stopped, removed, with every callback in its place and every failure undone.

use std::ptr::null_mut;
use std::sync::Mutex;

use kernel::sim::Simulation;
use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::wdm::constants::*;
use wdf_sys::*;

use crate::rig::{self, Place, Rig, device, journal, note, settle, with_driver};

/// The callback that fails in this run.
static FAILING: Mutex<&str> = Mutex::new("");

/// Notes a callback; its result.
fn result(name: &str) -> NTSTATUS {
    note(name);
    if *FAILING.lock().unwrap() == name { NTSTATUS::UNSUCCESSFUL } else { NTSTATUS::SUCCESS }
}

/// Callbacks that note their names.
macro_rules! noting {
    ($($function:ident($($argument:ident: $type:ty),*);)*) => {$(
        unsafe extern "win64" fn $function($($argument: $type),*) -> NTSTATUS {
            result(stringify!($function))
        }
    )*};
}

noting! {
    release_hardware(_device: WDFDEVICE, _resources: WDFCMRESLIST);
    d0_entry_after_interrupts(_device: WDFDEVICE, _previous: WDF_POWER_DEVICE_STATE);
    d0_exit_before_interrupts(_device: WDFDEVICE, _target: WDF_POWER_DEVICE_STATE);
    self_managed_init(_device: WDFDEVICE);
    self_managed_restart(_device: WDFDEVICE);
    self_managed_suspend(_device: WDFDEVICE);
    interrupt_enable(_interrupt: WDFINTERRUPT, _device: WDFDEVICE);
    interrupt_disable(_interrupt: WDFINTERRUPT, _device: WDFDEVICE);
    query_remove(_device: WDFDEVICE);
    query_stop(_device: WDFDEVICE);
}

unsafe extern "win64" fn prepare_hardware(_: WDFDEVICE, raw: WDFCMRESLIST, translated: WDFCMRESLIST) -> NTSTATUS {
    assert_eq!(ddi!(WdfCmResourceListGetCount(raw)), 2);
    assert_eq!(ddi!(WdfCmResourceListGetCount(translated)), 2);
    let first = ddi!(*WdfCmResourceListGetDescriptor(translated, 0));
    assert_eq!(first.Type, CM_RESOURCE_TYPE_MEMORY);
    assert!(ddi!(WdfCmResourceListGetDescriptor(translated, 2)).is_null());
    result("prepare_hardware")
}

unsafe extern "win64" fn d0_entry(_: WDFDEVICE, previous: WDF_POWER_DEVICE_STATE) -> NTSTATUS {
    note(format!("from {}", state_name(previous)));
    result("d0_entry")
}

unsafe extern "win64" fn d0_exit(_: WDFDEVICE, target: WDF_POWER_DEVICE_STATE) -> NTSTATUS {
    note(format!("to {}", state_name(target)));
    result("d0_exit")
}

fn state_name(state: WDF_POWER_DEVICE_STATE) -> &'static str {
    match state {
        WDF_POWER_DEVICE_STATE::WdfPowerDeviceD0 => "D0",
        WDF_POWER_DEVICE_STATE::WdfPowerDeviceD3 => "D3",
        WDF_POWER_DEVICE_STATE::WdfPowerDeviceD3Final => "D3 for good",
        _ => "another state",
    }
}

unsafe extern "win64" fn self_managed_flush(_: WDFDEVICE) {
    note("self_managed_flush");
}

unsafe extern "win64" fn self_managed_cleanup(_: WDFDEVICE) {
    note("self_managed_cleanup");
}

unsafe extern "win64" fn surprise_removal(_: WDFDEVICE) {
    note("surprise_removal");
}

unsafe extern "win64" fn isr(interrupt: WDFINTERRUPT, message: u32) -> BOOLEAN {
    let mut info = WDF_INTERRUPT_INFO { Size: size_of::<WDF_INTERRUPT_INFO>() as u32, ..Default::default() };
    ddi!(WdfInterruptGetInfo(interrupt, &mut info));
    assert_eq!((info.MessageSignaled, info.MessageNumber), (1, message), "drivers ask in their ISR which message it is");
    assert_eq!(ddi!(WdfInterruptGetDevice(interrupt)), device());
    note(format!("isr of message {message}"));
    ddi!(WdfInterruptQueueDpcForIsr(interrupt))
}

unsafe extern "win64" fn dpc(_: WDFINTERRUPT, associated: WDFOBJECT) {
    assert_eq!(associated, device().object());
    note("dpc");
}

unsafe extern "win64" fn timer(_: WDFTIMER) {
    note("timer");
}

unsafe extern "win64" fn work(_: WDFWORKITEM) {
    note("work");
}

unsafe extern "win64" fn cleanup(_: WDFOBJECT) {
    note("cleanup");
}

unsafe extern "win64" fn destroy(_: WDFOBJECT) {
    note("destroy");
}

static TIMER: Place = Place::new();
static WORK_ITEM: Place = Place::new();

/// A device with every callback, an interrupt, a timer and a work item.
fn add(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    let mut callbacks = WDF_PNPPOWER_EVENT_CALLBACKS::new();
    callbacks.EvtDevicePrepareHardware = Some(prepare_hardware);
    callbacks.EvtDeviceReleaseHardware = Some(release_hardware);
    callbacks.EvtDeviceD0Entry = Some(d0_entry);
    callbacks.EvtDeviceD0EntryPostInterruptsEnabled = Some(d0_entry_after_interrupts);
    callbacks.EvtDeviceD0Exit = Some(d0_exit);
    callbacks.EvtDeviceD0ExitPreInterruptsDisabled = Some(d0_exit_before_interrupts);
    callbacks.EvtDeviceSelfManagedIoInit = Some(self_managed_init);
    callbacks.EvtDeviceSelfManagedIoRestart = Some(self_managed_restart);
    callbacks.EvtDeviceSelfManagedIoSuspend = Some(self_managed_suspend);
    callbacks.EvtDeviceSelfManagedIoFlush = Some(self_managed_flush);
    callbacks.EvtDeviceSelfManagedIoCleanup = Some(self_managed_cleanup);
    callbacks.EvtDeviceSurpriseRemoval = Some(surprise_removal);
    callbacks.EvtDeviceQueryRemove = Some(query_remove);
    callbacks.EvtDeviceQueryStop = Some(query_stop);
    ddi!(WdfDeviceInitSetPnpPowerEventCallbacks(init, &mut callbacks));
    let mut attributes = WDF_OBJECT_ATTRIBUTES::new();
    attributes.EvtCleanupCallback = Some(cleanup);
    attributes.EvtDestroyCallback = Some(destroy);
    let status = rig::create_device(init, Some(attributes));
    assert_eq!(status, NTSTATUS::SUCCESS);

    let mut config = WDF_INTERRUPT_CONFIG::new(Some(isr), Some(dpc));
    config.EvtInterruptEnable = Some(interrupt_enable);
    config.EvtInterruptDisable = Some(interrupt_disable);
    let mut interrupt = WDFINTERRUPT::NULL;
    assert_eq!(ddi!(WdfInterruptCreate(device(), &mut config, null_mut(), &mut interrupt)), NTSTATUS::SUCCESS);

    let mut attributes = WDF_OBJECT_ATTRIBUTES::new();
    attributes.ParentObject = device().object();
    let (mut config, mut created) = (WDF_TIMER_CONFIG::new(Some(timer), 0), WDFTIMER::NULL);
    assert_eq!(ddi!(WdfTimerCreate(&mut config, &mut attributes, &mut created)), NTSTATUS::SUCCESS);
    TIMER.set(created.0);
    let (mut config, mut created) = (WDF_WORKITEM_CONFIG::new(Some(work)), WDFWORKITEM::NULL);
    assert_eq!(ddi!(WdfWorkItemCreate(&mut config, &mut attributes, &mut created)), NTSTATUS::SUCCESS);
    WORK_ITEM.set(created.0);
    result("add")
}

const STARTED: [&str; 6] =
    ["prepare_hardware", "from D3 for good", "d0_entry", "interrupt_enable", "d0_entry_after_interrupts", "self_managed_init"];
const REMOVED: [&str; 10] = [
    "self_managed_suspend",
    "d0_exit_before_interrupts",
    "interrupt_disable",
    "to D3 for good",
    "d0_exit",
    "release_hardware",
    "self_managed_flush",
    "self_managed_cleanup",
    "cleanup",
    "destroy",
];

/// Runs a test with the device of [`add`], not yet started.
#[track_caller]
fn with_added(test: impl FnOnce(&Rig<'_>)) {
    with_driver(Simulation::new().processors(2), add, |rig| {
        assert_eq!(rig.add_device(), NTSTATUS::SUCCESS);
        assert_eq!(journal(), ["add"]);
        test(rig);
    });
}

#[test]
fn a_device_is_started_and_removed_with_every_callback_in_its_place() {
    with_added(|rig| {
        assert_eq!(rig.bus.start(), NTSTATUS::SUCCESS);
        assert_eq!(journal(), STARTED);
        rig.bus.query_and_remove();
        let journal = journal();
        assert_eq!(journal[0], "query_remove");
        assert_eq!(journal[1..], REMOVED);
    });
}

#[test]
fn interrupts_timers_and_work_items_of_a_started_device_run() {
    with_added(|rig| {
        assert_eq!(rig.bus.start(), NTSTATUS::SUCCESS);
        journal();
        rig.machine.send_message(rig.bus.vector.into());
        settle();
        assert_eq!(journal(), ["isr of message 0", "dpc"]);
        assert_eq!(ddi!(WdfTimerStart(WDFTIMER(TIMER.get()), -10)), FALSE);
        settle();
        assert_eq!(journal(), ["timer"]);
        ddi!(WdfWorkItemEnqueue(WDFWORKITEM(WORK_ITEM.get())));
        ddi!(WdfWorkItemFlush(WDFWORKITEM(WORK_ITEM.get())));
        assert_eq!(journal(), ["work"]);
        rig.bus.query_and_remove();
        journal();
        rig.machine.send_message(rig.bus.vector.into());
        settle();
        assert!(journal().is_empty(), "the interrupt is disconnected");
    });
}

#[test]
fn a_device_that_sleeps_and_wakes_goes_through_its_power_callbacks_alone() {
    with_added(|rig| {
        assert_eq!(rig.bus.start(), NTSTATUS::SUCCESS);
        journal();
        assert_eq!(rig.bus.set_power(POWER_DEVICE_D3), NTSTATUS::SUCCESS);
        let down = ["self_managed_suspend", "d0_exit_before_interrupts", "interrupt_disable", "to D3", "d0_exit"];
        assert_eq!(journal(), down);
        assert_eq!(rig.bus.set_power(POWER_DEVICE_D0), NTSTATUS::SUCCESS);
        let up = ["from D3", "d0_entry", "interrupt_enable", "d0_entry_after_interrupts", "self_managed_restart"];
        assert_eq!(journal(), up);
        rig.bus.query_and_remove();
    });
}

#[test]
fn a_device_that_is_stopped_for_new_resources_gives_its_hardware_back_and_takes_it_again() {
    with_added(|rig| {
        assert_eq!(rig.bus.start(), NTSTATUS::SUCCESS);
        journal();
        assert_eq!(rig.bus.pnp(IRP_MN_QUERY_STOP_DEVICE), NTSTATUS::SUCCESS);
        assert_eq!(journal(), ["query_stop"]);
        assert_eq!(rig.bus.pnp(IRP_MN_STOP_DEVICE), NTSTATUS::SUCCESS);
        let stopped = journal();
        assert_eq!(stopped.first().map(String::as_str), Some("self_managed_suspend"));
        assert_eq!(stopped.last().map(String::as_str), Some("release_hardware"));
        assert_eq!(rig.bus.start(), NTSTATUS::SUCCESS);
        let restarted = journal();
        assert_eq!(restarted.first().map(String::as_str), Some("prepare_hardware"));
        assert_eq!(restarted.last().map(String::as_str), Some("self_managed_restart"));
        rig.bus.query_and_remove();
    });
}

#[test]
fn a_driver_that_refuses_a_removal_stays_as_it_was() {
    with_added(|rig| {
        assert_eq!(rig.bus.start(), NTSTATUS::SUCCESS);
        *FAILING.lock().unwrap() = "query_remove";
        journal();
        assert_eq!(rig.bus.pnp(IRP_MN_QUERY_REMOVE_DEVICE), NTSTATUS::UNSUCCESSFUL);
        assert_eq!(rig.bus.pnp(IRP_MN_CANCEL_REMOVE_DEVICE), NTSTATUS::SUCCESS);
        assert_eq!(journal(), ["query_remove"]);
        rig.machine.send_message(rig.bus.vector.into());
        settle();
        assert_eq!(journal(), ["isr of message 0", "dpc"]);
        *FAILING.lock().unwrap() = "";
        rig.bus.query_and_remove();
    });
}

#[test]
fn a_surprise_removal_is_told_and_then_everything_goes_down() {
    with_added(|rig| {
        assert_eq!(rig.bus.start(), NTSTATUS::SUCCESS);
        journal();
        assert_eq!(rig.bus.pnp(IRP_MN_SURPRISE_REMOVAL), NTSTATUS::SUCCESS);
        assert_eq!(journal().first().map(String::as_str), Some("surprise_removal"));
        rig.bus.remove();
        assert_eq!(journal().last().map(String::as_str), Some("destroy"));
    });
}

/// Starts a device of which one callback fails, removes it, and returns what happened in both.
fn start_failing(name: &'static str) -> [Vec<String>; 2] {
    let outcome = with_driver(Simulation::new().processors(2), add, |rig| {
        *FAILING.lock().unwrap() = name;
        assert_eq!(rig.add_device(), NTSTATUS::SUCCESS);
        journal();
        assert_eq!(rig.bus.start(), NTSTATUS::UNSUCCESSFUL);
        // The run is another process: what happened there comes back through the log.
        kernel::log!("JOURNAL {}", journal().join(","));
        rig.bus.remove();
        kernel::log!("JOURNAL {}", journal().join(","));
    });
    let lines = outcome.log.lines().filter_map(|line| line.split_once("JOURNAL "));
    let parts: Vec<Vec<String>> = lines.map(|(_, names)| names.split(',').map(String::from).collect()).collect();
    parts.try_into().expect("two lines were written")
}

#[test]
fn a_start_that_fails_is_undone_step_by_step() {
    for (failing, expected) in [
        ("prepare_hardware", ["prepare_hardware", "release_hardware"].as_slice()),
        ("d0_entry", &["prepare_hardware", "from D3 for good", "d0_entry", "release_hardware"]),
    ] {
        let [started, removed] = start_failing(failing);
        assert_eq!(started, expected, "{failing}");
        assert_eq!(removed.last().map(String::as_str), Some("destroy"), "{failing}");
        assert!(!removed.iter().any(|name| name == "d0_exit"), "{failing}: {removed:?}");
    }
    for failing in ["interrupt_enable", "d0_entry_after_interrupts", "self_managed_init"] {
        let [started, removed] = start_failing(failing);
        assert!(started.iter().any(|name| name == failing), "{failing}: {started:?}");
        assert!(started.iter().chain(&removed).any(|name| name == "release_hardware"), "{failing}: {started:?}, {removed:?}");
        assert_eq!(removed.last().map(String::as_str), Some("destroy"), "{failing}");
    }
}

#[test]
fn an_add_that_fails_leaves_no_device() {
    with_driver(Simulation::new().processors(2), add, |rig| {
        *FAILING.lock().unwrap() = "add";
        assert_eq!(rig.add_device(), NTSTATUS::UNSUCCESSFUL);
        assert_eq!(journal(), ["add", "cleanup", "destroy"]);
        assert_eq!(rig.bus.top(), rig.bus.pdo());
    });
}
