//! Synchronization scope and execution level: at which IRQL callbacks run, one at a time where the scope says so, and which combinations
//! are refused.

use std::ptr::null_mut;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::wdm::KEVENT;
use wdf_sys::wdm::constants::{EXECUTIVE, KERNEL_MODE, NOTIFICATION_EVENT};
use wdf_sys::wdm::functions::*;
use wdf_sys::*;

use crate::request::Sent;
use crate::rig::{Place, create_device, create_queue, device, journal, note, settle, unmanaged, with_device};

const PARALLEL: WDF_IO_QUEUE_DISPATCH_TYPE = WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel;
const DEVICE: WDF_SYNCHRONIZATION_SCOPE = WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeDevice;
const NONE: WDF_SYNCHRONIZATION_SCOPE = WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeNone;
const PASSIVE: WDF_EXECUTION_LEVEL = WDF_EXECUTION_LEVEL::WdfExecutionLevelPassive;
const DISPATCH: WDF_EXECUTION_LEVEL = WDF_EXECUTION_LEVEL::WdfExecutionLevelDispatch;

static DPC: Place = Place::new();

unsafe extern "win64" fn handle(_: WDFQUEUE, request: WDFREQUEST) {
    note(format!("handler at {}", ddi!(KeGetCurrentIrql())));
    if !DPC.get().is_null() {
        ddi!(WdfDpcEnqueue(WDFDPC(DPC.get())));
        note("handler ends");
    }
    ddi!(WdfRequestComplete(request, NTSTATUS::SUCCESS));
}

unsafe extern "win64" fn on_dpc(_: WDFDPC) {
    note("dpc");
}

unsafe extern "win64" fn on_timer(_: WDFTIMER) {
    note(format!("timer at {}", ddi!(KeGetCurrentIrql())));
}

unsafe extern "win64" fn on_work(_: WDFWORKITEM) {
    note(format!("work at {}", ddi!(KeGetCurrentIrql())));
}

fn add_with(init: *mut WDFDEVICE_INIT, level: WDF_EXECUTION_LEVEL, scope: WDF_SYNCHRONIZATION_SCOPE) -> NTSTATUS {
    let mut attributes = WDF_OBJECT_ATTRIBUTES::new();
    (attributes.ExecutionLevel, attributes.SynchronizationScope) = (level, scope);
    let status = create_device(init, Some(attributes));
    create_queue(WDF_IO_QUEUE_CONFIG { EvtIoDefault: Some(handle), ..unmanaged(WDF_IO_QUEUE_CONFIG::default_queue(PARALLEL)) });
    status
}

fn below(parent: WDFOBJECT) -> WDF_OBJECT_ATTRIBUTES {
    let mut attributes = WDF_OBJECT_ATTRIBUTES::new();
    attributes.ParentObject = parent;
    attributes
}

/// Sends a request at DISPATCH_LEVEL.
fn send_at_dispatch(rig: &crate::rig::Rig<'_>) -> (Sent, Vec<String>) {
    let irql = ddi!(KfRaiseIrql(2));
    let sent = Sent::control(rig, 0, 1);
    let at_once = journal();
    ddi!(KeLowerIrql(irql));
    (sent, at_once)
}

#[test]
fn a_passive_device_gets_its_requests_at_passive_level_whoever_sends_them() {
    with_device(
        |init| add_with(init, PASSIVE, NONE),
        |rig| {
            let (sent, at_once) = send_at_dispatch(rig);
            assert!(at_once.is_empty(), "{at_once:?}");
            assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
            assert_eq!(journal(), ["handler at 0"]);
        },
    );
}

#[test]
fn a_device_that_allows_it_gets_its_requests_at_once() {
    with_device(
        |init| add_with(init, DISPATCH, NONE),
        |rig| {
            let (sent, at_once) = send_at_dispatch(rig);
            assert_eq!(at_once, ["handler at 2"]);
            assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
            assert_eq!(Sent::control(rig, 0, 1).wait(), NTSTATUS::SUCCESS);
            assert_eq!(journal(), ["handler at 0"], "without a scope there is no lock");
        },
    );
}

#[test]
fn callbacks_of_a_device_scope_hold_the_devices_lock_and_run_one_after_the_other() {
    fn add(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
        let status = add_with(init, DISPATCH, DEVICE);
        let (mut config, mut attributes) = (WDF_DPC_CONFIG::new(Some(on_dpc)), below(device().object()));
        let mut dpc = WDFDPC::NULL;
        assert_eq!(ddi!(WdfDpcCreate(&mut config, &mut attributes, &mut dpc)), NTSTATUS::SUCCESS);
        DPC.set(dpc.0);
        status
    }
    with_device(add, |rig| {
        let sent = Sent::control(rig, 0, 1);
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
        settle();
        assert_eq!(journal(), ["handler at 2", "handler ends", "dpc"]);
        DPC.set(null_mut());
        // The driver holds the lock itself: the request is presented when it lets go.
        ddi!(WdfObjectAcquireLock(device().object()));
        let sent = Sent::control(rig, 0, 1);
        assert!(journal().is_empty());
        ddi!(WdfObjectReleaseLock(device().object()));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
        assert_eq!(journal(), ["handler at 2"]);
    });
}

static GATE: Place = Place::new();

/// Waits, with the lock of its queue, until the test lets it go on.
unsafe extern "win64" fn handle_slowly(_: WDFQUEUE, request: WDFREQUEST) {
    note("handler begins");
    let waited = ddi!(KeWaitForSingleObject(GATE.get(), EXECUTIVE, KERNEL_MODE, FALSE, null_mut()));
    assert_eq!(waited, NTSTATUS::SUCCESS);
    ddi!(WdfRequestComplete(request, NTSTATUS::SUCCESS));
}

#[test]
fn whoever_sends_or_cancels_does_not_wait_for_a_handler_that_holds_the_lock() {
    fn add(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
        let mut attributes = WDF_OBJECT_ATTRIBUTES::new();
        (attributes.ExecutionLevel, attributes.SynchronizationScope) = (PASSIVE, DEVICE);
        let status = create_device(init, Some(attributes));
        let sequential = WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchSequential;
        let config = unmanaged(WDF_IO_QUEUE_CONFIG::default_queue(sequential));
        create_queue(WDF_IO_QUEUE_CONFIG { EvtIoDefault: Some(handle_slowly), ..config });
        status
    }
    with_device(add, |rig| {
        let gate = Box::leak(Box::new(KEVENT::zeroed()));
        ddi!(KeInitializeEvent(gate, NOTIFICATION_EVENT, FALSE));
        GATE.set((&raw mut *gate).cast());
        // A worker calls the handler, since the sender's IRQL is too high for it.
        let (first, _) = send_at_dispatch(rig);
        settle();
        assert_eq!(journal(), ["handler begins"]);
        let second = Sent::control(rig, 0, 1);
        let third = Sent::control(rig, 0, 1);
        assert!(second.cancel());
        assert_eq!(second.wait(), NTSTATUS::CANCELLED);
        assert!(!first.is_done() && !third.is_done());
        ddi!(KeSetEvent(gate, 0, FALSE));
        assert_eq!((first.wait(), third.wait()), (NTSTATUS::SUCCESS, NTSTATUS::SUCCESS));
        assert_eq!(journal(), ["handler begins"], "what came meanwhile is presented afterwards");
    });
}

#[test]
fn what_cannot_be_serialised_with_its_parent_is_refused() {
    with_device(
        |init| add_with(init, PASSIVE, DEVICE),
        |_| {
            let refused = NTSTATUS::WDF_INCOMPATIBLE_EXECUTION_LEVEL;
            let mut attributes = below(device().object());
            let (mut config, mut dpc) = (WDF_DPC_CONFIG::new(Some(on_dpc)), WDFDPC::NULL);
            assert_eq!(ddi!(WdfDpcCreate(&mut config, &mut attributes, &mut dpc)), refused);
            config.AutomaticSerialization = FALSE;
            assert_eq!(ddi!(WdfDpcCreate(&mut config, &mut attributes, &mut dpc)), NTSTATUS::SUCCESS);
            let (mut config, mut work) = (WDF_WORKITEM_CONFIG::new(Some(on_work)), WDFWORKITEM::NULL);
            assert_eq!(ddi!(WdfWorkItemCreate(&mut config, &mut attributes, &mut work)), NTSTATUS::SUCCESS);
            ddi!(WdfWorkItemEnqueue(work));
            ddi!(WdfWorkItemFlush(work));
            assert_eq!(journal(), ["work at 0"]);
            let (mut config, mut timer) = (WDF_TIMER_CONFIG::new(Some(on_timer), 10), WDFTIMER::NULL);
            let periodic = ddi!(WdfTimerCreate(&mut config, &mut attributes, &mut timer));
            assert_eq!(periodic, NTSTATUS::NOT_SUPPORTED, "a timer at PASSIVE_LEVEL has no period");
            config.Period = 0;
            assert_eq!(ddi!(WdfTimerCreate(&mut config, &mut attributes, &mut timer)), NTSTATUS::SUCCESS);
            ddi!(WdfTimerStart(timer, -10));
            settle();
            assert_eq!(journal(), ["timer at 0"]);
        },
    );
    with_device(
        |init| add_with(init, DISPATCH, DEVICE),
        |_| {
            let mut attributes = below(device().object());
            let (mut config, mut work) = (WDF_WORKITEM_CONFIG::new(Some(on_work)), WDFWORKITEM::NULL);
            let status = ddi!(WdfWorkItemCreate(&mut config, &mut attributes, &mut work));
            assert_eq!(status, NTSTATUS::WDF_INCOMPATIBLE_EXECUTION_LEVEL);
            config.AutomaticSerialization = FALSE;
            assert_eq!(ddi!(WdfWorkItemCreate(&mut config, &mut attributes, &mut work)), NTSTATUS::SUCCESS);
            // An execution level or a scope is only for the objects whose pages say so.
            attributes.ExecutionLevel = PASSIVE;
            let mut lock = WDFSPINLOCK::NULL;
            assert_eq!(ddi!(WdfSpinLockCreate(&mut attributes, &mut lock)), NTSTATUS::WDF_EXECUTION_LEVEL_INVALID);
            let mut attributes = below(device().object());
            attributes.SynchronizationScope = DEVICE;
            assert_eq!(ddi!(WdfSpinLockCreate(&mut attributes, &mut lock)), NTSTATUS::WDF_SYNCHRONIZATION_SCOPE_INVALID);
        },
    );
}
