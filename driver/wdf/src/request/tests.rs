//! What happens to requests that are dropped, refused, cancelled: against a function table that writes down the calls.

use wdf_sys::WDFREQUEST;
use wdf_sys::wdf::{WdfRequestStopActionPurge, WdfRequestStopActionSuspend};

use super::cancel::{Cancelable, OnCancel, TakenBack};
use super::own::{CancelHandle, Completed, OnCompletion};
use super::pass::OnReturn;
use super::state::RequestState;
use super::*;
use crate::stop::{StopAction, Stopping};
use crate::target::{RemoteTarget, SendOptions};
use crate::{Canceled, Device, DeviceEvents, fake, trampoline};

struct TestDevice;
crate::context!(TestDevice);
impl DeviceEvents for TestDevice {}

struct Handler;
impl OnCancel for Handler {
    type Device = TestDevice;

    fn canceled(_device: Device<'_, TestDevice>, request: Canceled, _ticket: u64) {
        request.complete();
    }
}

struct Back;
impl OnReturn for Back {
    type Device = TestDevice;

    fn returned(_device: Device<'_, TestDevice>, request: Request, outcome: Result<usize>) {
        request.complete_with(outcome);
    }
}

struct Carrier;
crate::context!(Carrier);
impl OnCompletion for Carrier {
    type Device = TestDevice;

    fn completed(_device: Device<'_, TestDevice>, _request: Completed<Self>, _outcome: Result<usize>) {}
}

fn presented() -> (WDFREQUEST, Request) {
    let handle = fake::request();
    // SAFETY: the handle is a number of the fake table, which nobody else has.
    (handle, unsafe { Request::presented(handle) })
}

fn cancelable() -> (WDFREQUEST, Cancelable) {
    let (handle, request) = presented();
    (handle, request.mark_cancelable::<Handler>(7).expect("the fake framework agrees"))
}

/// The cancel callback has begun, and owns the request.
fn cancel_callback_takes(handle: WDFREQUEST) {
    // SAFETY: the handle is a number of the fake table.
    let state = unsafe { RequestState::of(handle) }.expect("the fake framework has contexts");
    assert!(state.ownership.callback_owns());
}

#[test]
fn a_request_that_is_dropped_is_completed_with_an_error() {
    let (handle, request) = presented();
    drop(request);
    assert_eq!(fake::calls(handle), ["Complete STATUS_INTERNAL_ERROR"]);
}

#[test]
fn a_completed_request_is_completed_once() {
    let (handle, request) = presented();
    request.complete_with(Ok(5));
    assert_eq!(fake::calls(handle), ["Complete STATUS_SUCCESS 5"]);
}

#[test]
fn a_failed_outcome_completes_with_its_status() {
    let (handle, request) = presented();
    request.complete_with(Err(NTSTATUS::DATA_ERROR));
    assert_eq!(fake::calls(handle), ["Complete STATUS_DATA_ERROR"]);
}

#[test]
fn a_cancelable_request_keeps_a_reference_until_it_is_taken_back() {
    let (handle, request) = cancelable();
    assert_eq!(fake::references(handle), 1);
    let TakenBack::Request(request) = request.take_back() else { panic!("it was not cancelled") };
    assert_eq!(fake::references(handle), 0);
    request.complete(NTSTATUS::SUCCESS);
    assert_eq!(fake::calls(handle), ["MarkCancelableEx", "UnmarkCancelable", "Complete STATUS_SUCCESS"]);
}

#[test]
fn a_request_cancelled_before_is_refused_without_a_reference() {
    let (handle, request) = presented();
    fake::answer(handle, "MarkCancelableEx", NTSTATUS::CANCELLED);
    let refused = request.mark_cancelable::<Handler>(0).expect_err("it was cancelled");
    assert_eq!((refused.status, fake::references(handle)), (NTSTATUS::CANCELLED, 0));
    refused.complete();
    assert_eq!(fake::calls(handle), ["MarkCancelableEx", "Complete STATUS_CANCELLED"]);
}

#[test]
fn a_request_that_the_cancel_callback_has_is_not_asked_about_nor_completed() {
    let (handle, request) = cancelable();
    cancel_callback_takes(handle);
    assert!(request.is_canceled());
    assert!(matches!(request.take_back(), TakenBack::CallbackHasIt));
    assert_eq!((fake::calls(handle), fake::references(handle)), (vec!["MarkCancelableEx".to_owned()], 0));
}

#[test]
fn a_cancel_still_on_its_way_is_left_to_the_callback() {
    let (handle, request) = cancelable();
    fake::answer(handle, "UnmarkCancelable", NTSTATUS::CANCELLED);
    assert!(matches!(request.take_back(), TakenBack::CallbackHasIt));
    cancel_callback_takes(handle);
    assert_eq!(fake::calls(handle), ["MarkCancelableEx", "UnmarkCancelable"]);
}

#[test]
fn a_cancelable_request_that_is_dropped_is_taken_back_and_completed() {
    let (handle, request) = cancelable();
    drop(request);
    assert_eq!(fake::calls(handle), ["MarkCancelableEx", "UnmarkCancelable", "Complete STATUS_CANCELLED"]);
    assert_eq!(fake::references(handle), 0);
}

#[test]
fn a_cancelable_request_dropped_after_its_callback_completes_nothing() {
    let (handle, request) = cancelable();
    cancel_callback_takes(handle);
    drop(request);
    assert_eq!((fake::calls(handle).len(), fake::references(handle)), (1, 0));
}

#[test]
fn a_stop_notice_requeues_its_own_request_only() {
    let ((mine, request), (other, stranger)) = (presented(), presented());
    // SAFETY: the handle is a number of the fake table.
    let notice = || unsafe { Stopping::new(mine, WdfRequestStopActionSuspend) };
    assert_eq!(notice().action(), StopAction::Suspend);
    let stranger = notice().requeue(stranger).expect_err("it is another request");
    assert!(fake::calls(other).is_empty());
    stranger.complete(NTSTATUS::SUCCESS);
    assert!(notice().requeue(request).is_ok());
    assert_eq!(fake::calls(mine), ["StopAcknowledge requeue"]);
}

#[test]
fn a_stop_notice_keeps_a_cancelable_request() {
    let (handle, request) = cancelable();
    // SAFETY: the handle is a number of the fake table.
    let notice = unsafe { Stopping::new(handle, WdfRequestStopActionPurge) };
    assert_eq!(notice.action(), StopAction::Purge);
    assert!(notice.keep_cancelable(&request));
    assert_eq!(fake::calls(handle).last().map(String::as_str), Some("StopAcknowledge keep"));
}

#[test]
fn a_cancel_handle_keeps_its_request_alive_until_it_is_dropped() {
    let (handle, request) = presented();
    let cancel = request.cancel_handle();
    fake::answer(handle, "CancelSentRequest", NTSTATUS(1));
    request.complete(NTSTATUS::SUCCESS);
    assert_eq!(fake::references(handle), 1);
    assert!(cancel.cancel());
    drop(cancel);
    assert_eq!(fake::references(handle), 0);
}

#[test]
fn a_cancel_handle_says_when_there_was_nothing_to_cancel() {
    assert!(!CancelHandle::of(fake::request()).cancel());
}

#[test]
fn a_completed_request_of_the_drivers_own_is_reused_or_deleted() {
    let handle = fake::request();
    // SAFETY: the handle is a number of the fake table, which nobody else has.
    let completed = unsafe { Completed::<Carrier>::new(handle) };
    let created = completed.reuse().expect("the fake framework agrees");
    assert_eq!(fake::calls(handle), ["Reuse"]);
    drop(created);
    assert_eq!(fake::calls(handle), ["Reuse", "Delete"]);
}

#[test]
fn a_request_that_cannot_be_reused_is_deleted() {
    let handle = fake::request();
    fake::answer(handle, "Reuse", NTSTATUS::INVALID_PARAMETER);
    // SAFETY: as above.
    let completed = unsafe { Completed::<Carrier>::new(handle) };
    assert_eq!(completed.reuse().err(), Some(NTSTATUS::INVALID_PARAMETER));
    assert_eq!(fake::calls(handle), ["Reuse", "Delete"]);
}

#[test]
fn the_cancel_callback_leaves_a_request_to_the_driver_that_takes_it_back_right_now() {
    let (handle, request) = cancelable();
    // SAFETY: as above.
    let state = unsafe { RequestState::of(handle) }.expect("the fake framework has contexts");
    assert!(state.ownership.begin_taking());
    // SAFETY: the callback gets a handle of the fake table.
    unsafe { trampoline::request_cancel::<Handler>(handle) };
    assert_eq!(fake::calls(handle), ["MarkCancelableEx"]);
    core::mem::forget(request);
}

#[test]
fn a_presented_request_does_not_go_to_another_device_stack() {
    let remote = RemoteTarget::fake(wdf_sys::WDFIOTARGET(0x79 as *mut _));
    let (handle, request) = presented();
    let refused =
        request.send_and_forget(remote.target().expect("it is there")).expect_err("its file object is not the target's");
    let refused = refused
        .request
        .send::<Back>(remote.target().expect("it is there"), SendOptions::default())
        .expect_err("nor to come back");
    assert_eq!(refused.status, NTSTATUS::INVALID_DEVICE_REQUEST);
    refused.complete();
    assert_eq!(fake::calls(handle), ["Complete STATUS_INVALID_DEVICE_REQUEST"]);
}
