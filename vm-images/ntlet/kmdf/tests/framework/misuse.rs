//! What a driver must not do: what the verifier reports, what is refused in any case, and what stops the machine.

use std::ffi::c_void;
use std::ptr::null_mut;

use kernel::sim::Simulation;
use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::wdm::constants::{IRP_MN_QUERY_REMOVE_DEVICE, IRP_MN_QUERY_STOP_DEVICE, POWER_DEVICE_D3};
use wdf_sys::*;

use crate::bus;
use crate::request::Sent;
use crate::rig::{
    Place, bug_check, counts, create_device, create_queue, device, run_without_verifier, unmanaged, with_device, with_driver,
};

static REQUEST: Place = Place::new();
static DEFAULT: Place = Place::new();
static MANUAL: Place = Place::new();

fn request() -> WDFREQUEST {
    WDFREQUEST(REQUEST.get())
}

fn default_queue() -> WDFQUEUE {
    WDFQUEUE(DEFAULT.get())
}

fn manual() -> WDFQUEUE {
    WDFQUEUE(MANUAL.get())
}

unsafe extern "win64" fn keep(_: WDFQUEUE, request: WDFREQUEST) {
    ddi!(WdfObjectReferenceActual(request.object(), null_mut(), 0, null_mut()));
    REQUEST.set(request.0);
}

unsafe extern "win64" fn on_cancel(_: WDFREQUEST) {}

fn add(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    bus::set_lower(bus::hold);
    let status = create_device(init, None);
    let config = unmanaged(WDF_IO_QUEUE_CONFIG::default_queue(WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel));
    DEFAULT.set(create_queue(WDF_IO_QUEUE_CONFIG { EvtIoDefault: Some(keep), ..config }).0);
    let config = unmanaged(WDF_IO_QUEUE_CONFIG::new(WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchManual));
    MANUAL.set(create_queue(config).0);
    status
}

/// Gives back the reference that [`keep`] took.
fn forget(request: WDFREQUEST) {
    ddi!(WdfObjectDereferenceActual(request.object(), null_mut(), 0, null_mut()));
}

#[test]
fn forwarding_to_the_same_queue_or_while_cancelable_is_refused() {
    let refused = NTSTATUS::INVALID_DEVICE_REQUEST;
    let outcome = with_device(add, |rig| {
        let sent = Sent::control(rig, 0, 1);
        assert_eq!(ddi!(WdfRequestForwardToIoQueue(request(), default_queue())), refused);
        assert_eq!(ddi!(WdfRequestRequeue(request())), refused, "the queue is not manual");
        ddi!(WdfRequestMarkCancelable(request(), Some(on_cancel)));
        assert_eq!(ddi!(WdfRequestForwardToIoQueue(request(), manual())), refused);
        assert_eq!(ddi!(WdfRequestMarkCancelableEx(request(), Some(on_cancel))), refused);
        assert_eq!(ddi!(WdfRequestUnmarkCancelable(request())), NTSTATUS::SUCCESS);
        assert_eq!(ddi!(WdfRequestUnmarkCancelable(request())), refused);
        ddi!(WdfRequestComplete(request(), NTSTATUS::SUCCESS));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
        forget(request());
    });
    assert!(outcome.has_logged("VIOLATION of MarkCancOnCancReqLocal"), "{}", outcome.log);
}

#[test]
fn a_request_that_was_forwarded_is_not_the_drivers_any_more() {
    let outcome = with_device(add, |rig| {
        let sent = Sent::control(rig, 0, 1);
        let request = request();
        assert_eq!(ddi!(WdfRequestForwardToIoQueue(request, manual())), NTSTATUS::SUCCESS);
        ddi!(WdfRequestComplete(request, NTSTATUS::SUCCESS));
        assert!(!sent.is_done(), "it was not the driver's to complete");
        let target = ddi!(WdfDeviceGetIoTarget(device()));
        assert_eq!(ddi!(WdfRequestSend(request, target, null_mut())), FALSE);
        let (mut buffer, mut length) = (null_mut(), 0);
        let _ = ddi!(WdfRequestRetrieveInputBuffer(request, 0, &mut buffer, &mut length));
        assert!(sent.cancel());
        assert_eq!(sent.wait(), NTSTATUS::CANCELLED);
        forget(request);
    });
    for rule in ["DeferredRequestCompleted", "InvalidReqAccess", "RequestTouchedAfterForward"] {
        assert!(outcome.has_logged(&format!("VIOLATION of {rule}")), "{rule}: {}", outcome.log);
    }
}

#[test]
fn a_request_that_is_completed_twice_is_reported_with_its_history() {
    let outcome = with_device(add, |rig| {
        let sent = Sent::control(rig, 0, 1);
        let request = request();
        ddi!(WdfRequestComplete(request, NTSTATUS::SUCCESS));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
        ddi!(WdfRequestComplete(request, NTSTATUS::UNSUCCESSFUL));
        let (mut buffer, mut length) = (null_mut(), 0);
        let status = ddi!(WdfRequestRetrieveInputBuffer(request, 0, &mut buffer, &mut length));
        assert_eq!(status, NTSTATUS::INVALID_DEVICE_REQUEST);
        forget(request);
    });
    assert!(outcome.has_logged("VIOLATION of RequestCompleted"), "{}", outcome.log);
    let (_, history) = outcome.log.split_once("VIOLATION of RequestCompleted").expect("the report is there");
    for event in ["request-arrived", "request-queued", "request-presented", "request-completed", "violation"] {
        assert!(history.contains(&format!(" {event} 0x")), "{event}: {history}");
    }
    assert!(outcome.has_logged("VIOLATION of InvalidReqAccess"), "{}", outcome.log);
}

#[test]
fn a_presented_request_takes_no_other_irp_but_forgets_that_it_was_cancelled() {
    with_device(add, |rig| {
        let sent = Sent::control(rig, 0, 1);
        let mut parameters = WDF_REQUEST_REUSE_PARAMS::new(WDF_REQUEST_REUSE_SET_NEW_IRP, NTSTATUS::SUCCESS);
        parameters.NewIrp = sent.irp();
        assert_eq!(ddi!(WdfRequestReuse(request(), &mut parameters)), NTSTATUS::WDF_REQUEST_INVALID_STATE);
        sent.cancel();
        let mut parameters = WDF_REQUEST_REUSE_PARAMS::new(0, NTSTATUS::SUCCESS);
        assert_eq!(ddi!(WdfRequestReuse(request(), &mut parameters)), NTSTATUS::SUCCESS);
        assert_eq!(ddi!(WdfRequestIsCanceled(request())), FALSE);
        ddi!(WdfRequestComplete(request(), NTSTATUS::SUCCESS));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
        forget(request());
    });
}

#[test]
fn a_cancelled_request_is_forwarded_with_success_and_cancelled_there() {
    with_device(add, |rig| {
        let sent = Sent::control(rig, 0, 1);
        sent.cancel();
        assert_eq!(ddi!(WdfRequestForwardToIoQueue(request(), manual())), NTSTATUS::SUCCESS);
        assert_eq!(sent.wait(), NTSTATUS::CANCELLED);
        forget(request());
    });
}

#[test]
fn a_timer_or_a_queue_needs_what_its_page_says() {
    with_driver(Simulation::new(), add, |rig| {
        assert_eq!(rig.add_device(), NTSTATUS::SUCCESS);
        unsafe extern "win64" fn timer(_: WDFTIMER) {}
        let (mut config, mut created) = (WDF_TIMER_CONFIG::new(Some(timer), 0), WDFTIMER::NULL);
        let status = ddi!(WdfTimerCreate(&mut config, null_mut(), &mut created));
        assert_eq!(status, NTSTATUS::WDF_PARENT_NOT_SPECIFIED);
        let mut config = WDF_IO_QUEUE_CONFIG::new(WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel);
        config.Size = 8;
        let mut queue = WDFQUEUE::NULL;
        let status = ddi!(WdfIoQueueCreate(device(), &mut config, null_mut(), &mut queue));
        assert_eq!(status, NTSTATUS::INFO_LENGTH_MISMATCH);
        let mut config = WDF_IO_QUEUE_CONFIG::default_queue(WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchManual);
        let status = ddi!(WdfIoQueueCreate(device(), &mut config, null_mut(), &mut queue));
        assert!(!status.is_success(), "there is a default queue already");
        rig.bus.remove();
    });
}

#[test]
fn structures_of_every_released_size_are_taken_and_of_no_other() {
    unsafe extern "win64" fn timer(_: WDFTIMER) {}
    with_device(add, |_| {
        let mut attributes = WDF_OBJECT_ATTRIBUTES::new();
        attributes.ParentObject = device().object();
        let taken = |create: &dyn Fn(u32) -> NTSTATUS| -> Vec<u32> {
            let sizes = (0..=128).step_by(4).filter(|&size| {
                let status = create(size);
                assert!(status == NTSTATUS::SUCCESS || status == NTSTATUS::INFO_LENGTH_MISMATCH, "{size}: {status}");
                status == NTSTATUS::SUCCESS
            });
            sizes.collect()
        };
        let queues = taken(&|size| {
            let config = unmanaged(WDF_IO_QUEUE_CONFIG::new(WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchManual));
            let mut config = WDF_IO_QUEUE_CONFIG { Size: size, ..config };
            ddi!(WdfIoQueueCreate(device(), &mut config, null_mut(), &mut { WDFQUEUE::NULL }))
        });
        assert_eq!(queues, [80, 88, 96], "of 1.7, 1.9 and 1.11");
        let timers = taken(&|size| {
            let mut config = WDF_TIMER_CONFIG { Size: size, ..WDF_TIMER_CONFIG::new(Some(timer), 0) };
            let mut attributes = attributes;
            ddi!(WdfTimerCreate(&mut config, &mut attributes, &mut { WDFTIMER::NULL }))
        });
        assert_eq!(timers, [24, 32, 40], "of 1.7, 1.9 and 1.13");
        let enablers = taken(&|size| {
            let profile = WDF_DMA_PROFILE::WdfDmaProfileScatterGather64;
            let mut config = WDF_DMA_ENABLER_CONFIG { Size: size, ..WDF_DMA_ENABLER_CONFIG::new(profile, 4096) };
            ddi!(WdfDmaEnablerCreate(device(), &mut config, null_mut(), &mut { WDFDMAENABLER::NULL }))
        });
        assert_eq!(enablers, [64, 72, 80], "of 1.9, 1.11 and 1.13");
    });
}

/// `WDF_VIOLATION` for an invalid handle.
const INVALID_HANDLE: u64 = 5;
/// For a parameter that must not be null.
const NULL_PARAMETER: u64 = 4;
/// For a request: and its sub-code for one that is sent already.
const REQUEST_FATAL: u64 = 6;
const ALREADY_SENT: u64 = 3;

#[test]
fn a_handle_that_is_none_or_of_another_kind_stops_the_machine() {
    let forged = std::ptr::without_provenance_mut::<c_void>(0x5744_0000_0000_0010);
    let parameters = bug_check(add, |_| {
        ddi!(WdfTimerStart(WDFTIMER(forged), -1));
    });
    assert_eq!(parameters[..2], [INVALID_HANDLE, forged.addr() as u64]);
    let parameters = bug_check(add, |_| {
        ddi!(WdfTimerStart(WDFTIMER(device().0), -1));
    });
    assert_eq!(parameters[0], INVALID_HANDLE);
    let parameters = bug_check(add, |_| {
        let mut object = WDFOBJECT::NULL;
        assert_eq!(ddi!(WdfObjectCreate(null_mut(), &mut object)), NTSTATUS::SUCCESS);
        ddi!(WdfObjectDelete(object));
        ddi!(WdfObjectDelete(object));
    });
    assert_eq!(parameters[0], INVALID_HANDLE);
}

#[test]
fn a_required_parameter_that_is_null_stops_the_machine() {
    let parameters = bug_check(add, |_| {
        ddi!(WdfObjectGetTypedContextWorker(device().object(), std::ptr::null()));
    });
    assert_eq!(parameters[0], NULL_PARAMETER);
}

#[test]
fn a_request_that_is_sent_twice_stops_the_machine() {
    let parameters = bug_check(add, |rig| {
        let _sent = std::mem::ManuallyDrop::new(Sent::control(rig, 0, 1));
        let target = ddi!(WdfDeviceGetIoTarget(device()));
        unsafe extern "win64" fn completed(_: WDFREQUEST, _: WDFIOTARGET, _: *mut WDF_REQUEST_COMPLETION_PARAMS, _: *mut c_void) {
        }
        ddi!(WdfRequestFormatRequestUsingCurrentType(request()));
        ddi!(WdfRequestSetCompletionRoutine(request(), Some(completed), null_mut()));
        assert_eq!(ddi!(WdfRequestSend(request(), target, null_mut())), TRUE);
        ddi!(WdfRequestSend(request(), target, null_mut()));
    });
    assert_eq!(parameters[..2], [REQUEST_FATAL, ALREADY_SENT]);
}

#[test]
fn without_the_verifier_a_request_is_forwarded_from_wherever_it_is() {
    let outcome = run_without_verifier(add, |rig| {
        let sent = Sent::control(rig, 0, 1);
        let first = request();
        assert_eq!(ddi!(WdfRequestForwardToIoQueue(first, manual())), NTSTATUS::SUCCESS);
        assert_eq!((counts(default_queue()), counts(manual())), ((0, 0), (1, 0)));
        assert_eq!(ddi!(WdfRequestForwardToIoQueue(first, default_queue())), NTSTATUS::SUCCESS, "nobody asks who owns it");
        assert_eq!((counts(default_queue()), counts(manual())), ((0, 1), (0, 0)));
        assert_eq!(
            ddi!(WdfRequestForwardToIoQueue(first, default_queue())),
            NTSTATUS::SUCCESS,
            "nor whether the queue is the same"
        );
        ddi!(WdfRequestComplete(first, NTSTATUS::SUCCESS));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
        // One reference for each time it was presented.
        (0..3).for_each(|_| forget(first));
    })
    .expect_shutdown();
    assert!(!outcome.has_logged("VIOLATION"), "{}", outcome.log);
}

/// Sub-codes for a request without an IRP, and for one that is in no queue.
const NULL_IRP: u64 = 2;
const NOT_IN_QUEUE: u64 = 5;

#[test]
fn without_the_verifier_forwarding_what_cannot_be_forwarded_stops_the_machine() {
    let parameters = run_without_verifier(add, |_| {
        let mut created = WDFREQUEST::NULL;
        assert_eq!(ddi!(WdfRequestCreate(null_mut(), WDFIOTARGET::NULL, &mut created)), NTSTATUS::SUCCESS);
        let _ = ddi!(WdfRequestForwardToIoQueue(created, manual()));
    })
    .expect_bug_check(0x10d);
    assert_eq!(parameters[..2], [REQUEST_FATAL, NOT_IN_QUEUE]);
    let parameters = run_without_verifier(add, |rig| {
        let sent = Sent::control(rig, 0, 1);
        ddi!(WdfRequestComplete(request(), NTSTATUS::SUCCESS));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
        let _ = ddi!(WdfRequestForwardToIoQueue(request(), manual()));
    })
    .expect_bug_check(0x10d);
    assert_eq!(parameters[..2], [REQUEST_FATAL, NULL_IRP]);
}

#[test]
fn a_request_that_the_driver_never_completes_is_reported_when_its_device_goes() {
    unsafe extern "win64" fn lose(_: WDFDEVICE, _: WDFREQUEST) {}
    fn add_losing(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
        ddi!(WdfDeviceInitSetIoInCallerContextCallback(init, Some(lose)));
        create_device(init, None)
    }
    // The request's memory stays with it, which the end of the run finds wrong: only the report is looked at.
    let outcome = crate::rig::run(add_losing, |rig| {
        let _lost = std::mem::ManuallyDrop::new(Sent::control(rig, 0, 1));
    });
    assert!(outcome.has_logged("VIOLATION of RequestLeaked"), "{}", outcome.log);
    assert!(outcome.has_logged("request-arrived"), "{}", outcome.log);
}

/// A work item and a DPC of the device, whose callbacks are the test's.
fn run_work_item(callback: PFN_WDF_WORKITEM) {
    let mut attributes = WDF_OBJECT_ATTRIBUTES::new();
    attributes.ParentObject = device().object();
    let (mut config, mut item) = (WDF_WORKITEM_CONFIG::new(callback), WDFWORKITEM::NULL);
    assert_eq!(ddi!(WdfWorkItemCreate(&mut config, &mut attributes, &mut item)), NTSTATUS::SUCCESS);
    ddi!(WdfWorkItemEnqueue(item));
    ddi!(WdfWorkItemFlush(item));
}

/// For a callback that comes back at another IRQL, or in another critical region.
const IRQL_MISMATCH: u64 = 0xe;
const CRITICAL_REGION_MISMATCH: u64 = 0xf;

#[test]
fn a_callback_that_leaves_its_thread_other_than_it_was_stops_the_machine() {
    unsafe extern "win64" fn raises(_: WDFWORKITEM) {
        ddi!(wdf_sys::wdm::functions::KfRaiseIrql(1));
    }
    let parameters = bug_check(add, |_| run_work_item(Some(raises)));
    assert_eq!(parameters[..3], [IRQL_MISMATCH, 0, 1]);
    unsafe extern "win64" fn enters(_: WDFWORKITEM) {
        ddi!(wdf_sys::wdm::functions::KeEnterCriticalRegion());
    }
    let parameters = bug_check(add, |_| run_work_item(Some(enters)));
    let callback: unsafe extern "win64" fn(WDFWORKITEM) = enters;
    assert_eq!(parameters[..3], [CRITICAL_REGION_MISMATCH, callback as usize as u64, 0]);
}

/// For a power routine that takes too long, and for a PnP request in the middle of another.
const POWER_ROUTINE_TIMED_OUT: u64 = 1;
const PNP_FATAL: u64 = 0xc;

/// Eleven minutes on the way out of D0.
unsafe extern "win64" fn lingers(_: WDFDEVICE, _: WDF_POWER_DEVICE_STATE) -> NTSTATUS {
    let mut interval = -11 * 60 * 10_000_000_i64;
    ddi!(wdf_sys::wdm::functions::KeDelayExecutionThread(0, FALSE, &mut interval))
}

fn add_lingering(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    let mut callbacks = WDF_PNPPOWER_EVENT_CALLBACKS::new();
    callbacks.EvtDeviceD0Exit = Some(lingers);
    ddi!(WdfDeviceInitSetPnpPowerEventCallbacks(init, &mut callbacks));
    create_device(init, None)
}

#[test]
fn a_power_routine_that_must_not_be_paged_has_ten_minutes() {
    fn add_not_pageable(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
        ddi!(WdfDeviceInitSetPowerNotPageable(init));
        add_lingering(init)
    }
    let parameters = bug_check(add_not_pageable, |rig| {
        let _ = rig.bus.set_power(POWER_DEVICE_D3);
    });
    assert_eq!(parameters[0], POWER_ROUTINE_TIMED_OUT);
    assert_ne!(parameters[1], 0, "the address of what is known of the routine");
}

#[test]
fn a_power_routine_that_may_be_paged_has_all_the_time() {
    fn add_pageable(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
        ddi!(WdfDeviceInitSetPowerPageable(init));
        add_lingering(init)
    }
    with_device(add_pageable, |rig| assert_eq!(rig.bus.set_power(POWER_DEVICE_D3), NTSTATUS::SUCCESS));
}

#[test]
fn a_pnp_request_in_the_middle_of_another_stops_the_machine() {
    static TOP: Place = Place::new();
    /// Sends the PnP manager's next request while this one asks the driver.
    unsafe extern "win64" fn impatient(_: WDFDEVICE) -> NTSTATUS {
        bus::send_pnp(TOP.get().cast(), IRP_MN_QUERY_STOP_DEVICE)
    }
    fn add_asking(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
        let mut callbacks = WDF_PNPPOWER_EVENT_CALLBACKS::new();
        callbacks.EvtDeviceQueryRemove = Some(impatient);
        ddi!(WdfDeviceInitSetPnpPowerEventCallbacks(init, &mut callbacks));
        create_device(init, None)
    }
    let outcome = crate::rig::run(add_asking, |rig| {
        TOP.set(rig.bus.top().cast());
        let _ = rig.bus.pnp(IRP_MN_QUERY_REMOVE_DEVICE);
    });
    let parameters = outcome.expect_bug_check(0x10d);
    assert_eq!(parameters[0], PNP_FATAL);
    assert!(parameters[1] != 0 && parameters[2] != 0, "the device and the request: {parameters:x?}");
}

#[test]
fn a_function_that_does_not_exist_yet_stops_the_machine_with_its_name() {
    let outcome = crate::rig::run(add, |_| {
        ddi!(WdfFdoGetDefaultChildList(device()));
    });
    assert!(outcome.has_logged("WdfFdoGetDefaultChildList"), "{}", outcome.log);
    assert!(matches!(outcome.end, kernel::sim::End::BugCheck { .. }), "{:?}", outcome.end);
}

#[test]
fn locking_a_buffer_at_null_stops_the_machine() {
    let parameters = bug_check(add, |rig| {
        let _sent = Sent::control(rig, 0, 1);
        let mut memory = WDFMEMORY::NULL;
        let _ = ddi!(WdfRequestProbeAndLockUserBufferForRead(request(), null_mut(), 16, &mut memory));
    });
    assert_eq!(parameters[0], NULL_PARAMETER);
}

#[test]
fn a_buffer_that_cannot_be_locked_is_a_status_and_no_exception() {
    with_device(add, |rig| {
        let sent = Sent::control(rig, 0, 1);
        let nowhere = std::ptr::without_provenance_mut(0xffff_f6ff_dead_0000);
        let mut memory = WDFMEMORY::NULL;
        let status = ddi!(WdfRequestProbeAndLockUserBufferForRead(request(), nowhere, 16, &mut memory));
        assert_eq!((status, memory.0), (NTSTATUS::ACCESS_VIOLATION, null_mut()));
        ddi!(WdfRequestComplete(request(), NTSTATUS::SUCCESS));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
        forget(request());
    });
}
