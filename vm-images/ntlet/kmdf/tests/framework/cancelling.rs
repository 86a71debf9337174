//! Requests that the driver holds: marked cancelable, unmarked, cancelled before, meanwhile, after.

use std::ptr::null_mut;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::*;

use crate::request::Sent;
use crate::rig::{Place, create_device, create_queue, journal, note, unmanaged, with_device};

const PARALLEL: WDF_IO_QUEUE_DISPATCH_TYPE = WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel;

/// Control codes: what the handler does with a request.
const KEEP: u32 = 0;
const MARK: u32 = 4;
const MARK_EX: u32 = 8;

static REQUEST: Place = Place::new();

fn request() -> WDFREQUEST {
    WDFREQUEST(REQUEST.get())
}

unsafe extern "win64" fn on_cancel(request: WDFREQUEST) {
    note("cancel");
    ddi!(WdfRequestComplete(request, NTSTATUS::CANCELLED));
}

unsafe extern "win64" fn handle(_: WDFQUEUE, request: WDFREQUEST, _: usize, _: usize, code: u32) {
    REQUEST.set(request.0);
    match code {
        MARK => {
            ddi!(WdfRequestMarkCancelable(request, Some(on_cancel)));
            note("marked");
        }
        MARK_EX => {
            let status = ddi!(WdfRequestMarkCancelableEx(request, Some(on_cancel)));
            note(format!("marked: {status}"));
            if !status.is_success() {
                ddi!(WdfRequestComplete(request, status));
            }
        }
        _ => {}
    }
}

fn add(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    let status = create_device(init, None);
    let config = unmanaged(WDF_IO_QUEUE_CONFIG::default_queue(PARALLEL));
    create_queue(WDF_IO_QUEUE_CONFIG { EvtIoDeviceControl: Some(handle), ..config });
    status
}

#[test]
fn a_cancelable_request_is_cancelled_through_its_callback() {
    with_device(add, |rig| {
        for code in [MARK, MARK_EX] {
            let sent = Sent::control(rig, code, 0);
            journal();
            assert!(sent.cancel());
            assert_eq!(journal(), ["cancel"]);
            assert_eq!(sent.wait(), NTSTATUS::CANCELLED);
        }
    });
}

#[test]
fn a_request_that_is_not_cancelable_only_knows_that_it_was_cancelled() {
    with_device(add, |rig| {
        let sent = Sent::control(rig, KEEP, 0);
        assert_eq!(ddi!(WdfRequestIsCanceled(request())), FALSE);
        assert!(!sent.cancel());
        assert_eq!(ddi!(WdfRequestIsCanceled(request())), TRUE);
        assert!(!sent.is_done());
        ddi!(WdfRequestComplete(request(), NTSTATUS::SUCCESS));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
    });
}

#[test]
fn an_unmarked_request_is_the_drivers_again() {
    with_device(add, |rig| {
        let sent = Sent::control(rig, MARK, 0);
        assert_eq!(ddi!(WdfRequestUnmarkCancelable(request())), NTSTATUS::SUCCESS);
        assert!(!sent.cancel());
        ddi!(WdfRequestComplete(request(), NTSTATUS::SUCCESS));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
        assert_eq!(journal(), ["marked"]);
    });
}

#[test]
fn marking_a_cancelled_request_says_so_or_calls_back_after_the_handler() {
    with_device(add, |rig| {
        let sent = Sent::control(rig, KEEP, 0);
        sent.cancel();
        assert_eq!(ddi!(WdfRequestMarkCancelableEx(request(), Some(on_cancel))), NTSTATUS::CANCELLED);
        assert!(journal().is_empty(), "the callback is not for it");
        ddi!(WdfRequestMarkCancelable(request(), Some(on_cancel)));
        assert_eq!(sent.wait(), NTSTATUS::CANCELLED);
        assert_eq!(journal(), ["cancel"]);
    });
}

/// Cancels the request that it handles, then marks it: its caller goes away while the driver looks at it.
unsafe extern "win64" fn cancel_then_mark(_: WDFQUEUE, request: WDFREQUEST, _: usize, _: usize, _: u32) {
    ddi!(wdf_sys::wdm::functions::IoCancelIrp(WdfRequestWdmGetIrp(request)));
    ddi!(WdfRequestMarkCancelable(request, Some(on_cancel)));
    note("handler ends");
}

#[test]
fn a_request_that_is_marked_too_late_is_called_back_after_its_handler() {
    fn add(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
        let mut attributes = WDF_OBJECT_ATTRIBUTES::new();
        attributes.SynchronizationScope = WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeQueue;
        let status = create_device(init, Some(attributes));
        let config = unmanaged(WDF_IO_QUEUE_CONFIG::default_queue(PARALLEL));
        create_queue(WDF_IO_QUEUE_CONFIG { EvtIoDeviceControl: Some(cancel_then_mark), ..config });
        status
    }
    with_device(add, |rig| {
        assert_eq!(Sent::control(rig, 0, 0).wait(), NTSTATUS::CANCELLED);
        assert_eq!(journal(), ["handler ends", "cancel"]);
    });
}

#[test]
fn a_request_that_no_queue_presented_cannot_be_cancelable() {
    with_device(add, |_| {
        let mut created = WDFREQUEST::NULL;
        assert_eq!(ddi!(WdfRequestCreate(null_mut(), WDFIOTARGET::NULL, &mut created)), NTSTATUS::SUCCESS);
        let refused = NTSTATUS::INVALID_DEVICE_REQUEST;
        assert_eq!(ddi!(WdfRequestMarkCancelableEx(created, Some(on_cancel))), refused);
        assert_eq!(ddi!(WdfRequestUnmarkCancelable(created)), refused);
        assert_eq!(ddi!(WdfRequestRequeue(created)), refused);
        ddi!(WdfObjectDelete(created.object()));
    });
}
