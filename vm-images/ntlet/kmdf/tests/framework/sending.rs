//! Requests that the driver sends to the device below: formatted, sent, cancelled, timed out, reused; and what its target's state does.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Mutex;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::*;

use crate::bus;
use crate::request::Sent;
use crate::rig::{create_device, create_queue, device, journal, note, settle, unmanaged, with_device};

const PARALLEL: WDF_IO_QUEUE_DISPATCH_TYPE = WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel;

fn add(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    bus::set_lower(bus::hold);
    create_device(init, None)
}

fn target() -> WDFIOTARGET {
    ddi!(WdfDeviceGetIoTarget(device()))
}

unsafe extern "win64" fn completed(
    _: WDFREQUEST,
    _: WDFIOTARGET,
    parameters: *mut WDF_REQUEST_COMPLETION_PARAMS,
    _: *mut c_void,
) {
    note(format!("completed: {}", ddi!((*parameters).IoStatus).status()));
}

fn memory(length: usize, byte: u8) -> WDFMEMORY {
    let (mut memory, mut buffer) = (WDFMEMORY::NULL, null_mut());
    let pool = wdf_sys::wdm::constants::NON_PAGED_POOL_NX;
    assert_eq!(ddi!(WdfMemoryCreate(null_mut(), pool, 0, length, &mut memory, &mut buffer)), NTSTATUS::SUCCESS);
    ddi!(buffer.cast::<u8>().write_bytes(byte, length));
    memory
}

fn first_byte(memory: WDFMEMORY) -> u8 {
    ddi!(*WdfMemoryGetBuffer(memory, null_mut()).cast::<u8>())
}

/// A request of the driver's own, with its buffers.
struct Own {
    request: WDFREQUEST,
    input: WDFMEMORY,
    output: WDFMEMORY,
}

impl Own {
    fn create() -> Self {
        let mut request = WDFREQUEST::NULL;
        assert_eq!(ddi!(WdfRequestCreate(null_mut(), target(), &mut request)), NTSTATUS::SUCCESS);
        Self { request, input: memory(16, 5), output: memory(32, 0) }
    }

    fn format(&self) {
        let (input, output) = (self.input, self.output);
        let status = ddi!(WdfIoTargetFormatRequestForIoctl(target(), self.request, 0, input, null_mut(), output, null_mut()));
        assert_eq!(status, NTSTATUS::SUCCESS);
        ddi!(WdfRequestSetCompletionRoutine(self.request, Some(completed), null_mut()));
    }

    fn send(&self, options: Option<WDF_REQUEST_SEND_OPTIONS>) -> bool {
        let mut options = options;
        let options = options.as_mut().map_or(null_mut(), |options| &raw mut *options);
        ddi!(WdfRequestSend(self.request, target(), options)) != 0
    }

    fn status(&self) -> NTSTATUS {
        ddi!(WdfRequestGetStatus(self.request))
    }

    fn cancel(&self) -> bool {
        ddi!(WdfRequestCancelSentRequest(self.request)) != 0
    }

    fn reuse(&self) {
        let mut parameters = WDF_REQUEST_REUSE_PARAMS::new(0, NTSTATUS::SUCCESS);
        assert_eq!(ddi!(WdfRequestReuse(self.request, &mut parameters)), NTSTATUS::SUCCESS);
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        for object in [self.request.object(), self.input.object(), self.output.object()] {
            ddi!(WdfObjectDelete(object));
        }
    }
}

#[test]
fn a_request_is_sent_completed_and_sent_again_after_a_reuse() {
    with_device(add, |_| {
        let own = Own::create();
        own.format();
        assert!(own.send(None));
        assert_eq!((own.status(), bus::held()), (NTSTATUS::PENDING, 1));
        bus::release();
        assert_eq!(journal(), ["completed: STATUS_SUCCESS"]);
        assert_eq!((first_byte(own.output), first_byte(own.input)), (6, 5));
        own.reuse();
        own.format();
        assert!(own.send(None));
        bus::release();
        assert_eq!(journal(), ["completed: STATUS_SUCCESS"]);
    });
}

#[test]
fn a_reuse_drops_the_completion_routine_and_refuses_what_it_does_not_know() {
    with_device(add, |_| {
        let own = Own::create();
        own.format();
        let mut parameters = WDF_REQUEST_REUSE_PARAMS::new(2, NTSTATUS::SUCCESS);
        assert_eq!(ddi!(WdfRequestReuse(own.request, &mut parameters)), NTSTATUS::INVALID_PARAMETER);
        parameters = WDF_REQUEST_REUSE_PARAMS::new(0, NTSTATUS::SUCCESS);
        parameters.Size = 8;
        assert_eq!(ddi!(WdfRequestReuse(own.request, &mut parameters)), NTSTATUS::INVALID_PARAMETER);
        own.format();
        own.reuse();
        let (input, output) = (own.input, own.output);
        let status = ddi!(WdfIoTargetFormatRequestForIoctl(target(), own.request, 0, input, null_mut(), output, null_mut()));
        assert_eq!(status, NTSTATUS::SUCCESS);
        assert!(own.send(None));
        bus::release();
        assert!(journal().is_empty(), "the routine was dropped");
    });
}

#[test]
fn a_request_that_is_not_formatted_is_not_sent() {
    let outcome = with_device(add, |_| {
        let own = Own::create();
        assert!(!own.send(None));
        assert_eq!((own.status(), bus::held()), (NTSTATUS::REQUEST_NOT_ACCEPTED, 0));
    });
    assert!(outcome.has_logged("VIOLATION of RequestNotFormatted"), "{}", outcome.log);
}

#[test]
fn a_cancel_of_a_sent_request_reaches_the_device_below() {
    with_device(add, |_| {
        let own = Own::create();
        own.format();
        assert!(own.send(None));
        assert!(own.cancel());
        assert_eq!(journal(), ["completed: STATUS_CANCELLED"]);
        assert!(!own.cancel(), "it is not sent any more");
    });
}

unsafe extern "win64" fn deletes(request: WDFREQUEST, _: WDFIOTARGET, _: *mut WDF_REQUEST_COMPLETION_PARAMS, _: *mut c_void) {
    note("deleted");
    ddi!(WdfObjectDelete(request.object()));
}

/// A request that its completion routine deletes is cancelled, with or without a reference of the driver's; what the verifier said.
fn deleted_within_its_cancel(holds: bool) -> kernel::sim::Outcome {
    with_device(add, |_| {
        let own = std::mem::ManuallyDrop::new(Own::create());
        own.format();
        ddi!(WdfRequestSetCompletionRoutine(own.request, Some(deletes), null_mut()));
        assert!(own.send(None));
        if holds {
            ddi!(WdfObjectReferenceActual(own.request.object(), null_mut(), 0, null_mut()));
        }
        assert!(own.cancel());
        assert_eq!(journal(), ["deleted"]);
        if holds {
            ddi!(WdfObjectDereferenceActual(own.request.object(), null_mut(), 0, null_mut()));
        }
        for memory in [own.input, own.output] {
            ddi!(WdfObjectDelete(memory.object()));
        }
    })
}

#[test]
fn a_cancel_takes_no_reference_that_a_driver_could_rely_on() {
    let outcome = deleted_within_its_cancel(false);
    assert!(outcome.has_logged("VIOLATION of RequestNotReferenced: WdfRequestCancelSentRequest"), "{}", outcome.log);
    let outcome = deleted_within_its_cancel(true);
    assert!(!outcome.has_logged("VIOLATION"), "{}", outcome.log);
}

#[test]
fn a_cancel_before_the_send_sticks_until_the_reuse() {
    with_device(add, |_| {
        let own = Own::create();
        own.format();
        assert!(!own.cancel());
        assert!(!own.send(None));
        assert_eq!((own.status(), bus::held()), (NTSTATUS::CANCELLED, 0));
        own.reuse();
        own.format();
        assert!(own.send(None));
        bus::release();
        assert_eq!(journal(), ["completed: STATUS_SUCCESS"]);
    });
}

/// Options with a time-out in milliseconds, and further flags.
fn time_out(milliseconds: i64, flags: u32) -> WDF_REQUEST_SEND_OPTIONS {
    let mut options = WDF_REQUEST_SEND_OPTIONS::new(WDF_REQUEST_SEND_OPTION_TIMEOUT | flags);
    options.Timeout = -10_000 * milliseconds;
    options
}

#[test]
fn a_send_that_takes_too_long_is_cancelled_and_says_so() {
    with_device(add, |_| {
        let own = Own::create();
        own.format();
        assert!(own.send(Some(time_out(5, 0))));
        settle();
        settle();
        assert_eq!((journal(), bus::held()), (vec!["completed: STATUS_IO_TIMEOUT".into()], 0));
        own.reuse();
        own.format();
        let synchronous = time_out(5, WDF_REQUEST_SEND_OPTION_SYNCHRONOUS);
        let _ = own.send(Some(synchronous));
        assert_eq!(own.status(), NTSTATUS::IO_TIMEOUT);
    });
}

#[test]
fn a_stopped_target_keeps_requests_until_it_is_started() {
    with_device(add, |_| {
        let own = Own::create();
        own.format();
        ddi!(WdfIoTargetStop(target(), WDF_IO_TARGET_SENT_IO_ACTION::WdfIoTargetCancelSentIo));
        assert!(own.send(None));
        assert_eq!((own.status(), bus::held()), (NTSTATUS::PENDING, 0));
        assert_eq!(ddi!(WdfIoTargetStart(target())), NTSTATUS::SUCCESS);
        settle();
        assert_eq!(bus::held(), 1);
        bus::release();
        assert_eq!(journal(), ["completed: STATUS_SUCCESS"]);
    });
}

#[test]
fn a_request_that_waits_in_a_stopped_target_can_be_cancelled() {
    with_device(add, |_| {
        let own = Own::create();
        own.format();
        ddi!(WdfIoTargetStop(target(), WDF_IO_TARGET_SENT_IO_ACTION::WdfIoTargetCancelSentIo));
        assert!(own.send(None));
        assert!(own.cancel());
        settle();
        assert_eq!((journal(), bus::held()), (vec!["completed: STATUS_CANCELLED".into()], 0));
        assert_eq!(ddi!(WdfIoTargetStart(target())), NTSTATUS::SUCCESS);
    });
}

#[test]
fn stopping_a_target_cancels_what_was_sent_if_asked_to() {
    with_device(add, |_| {
        let own = Own::create();
        own.format();
        assert!(own.send(None));
        ddi!(WdfIoTargetStop(target(), WDF_IO_TARGET_SENT_IO_ACTION::WdfIoTargetCancelSentIo));
        assert_eq!((journal(), bus::held()), (vec!["completed: STATUS_CANCELLED".into()], 0));
        assert_eq!(ddi!(WdfIoTargetStart(target())), NTSTATUS::SUCCESS);
    });
}

#[test]
fn send_and_forget_refuses_a_request_of_the_drivers_own() {
    with_device(add, |_| {
        let own = Own::create();
        assert!(!own.send(Some(WDF_REQUEST_SEND_OPTIONS::new(WDF_REQUEST_SEND_OPTION_SEND_AND_FORGET))));
        assert_eq!(own.status(), NTSTATUS::INVALID_DEVICE_STATE);
    });
}

#[test]
fn a_control_is_sent_synchronously_without_a_request() {
    fn echo(irp: *mut wdf_sys::wdm::IRP) -> NTSTATUS {
        let status = bus::hold(irp);
        bus::release();
        status
    }
    with_device(add, |_| {
        bus::set_lower(echo);
        let (mut data, mut result) = ([1_u8; 8], [0_u8; 16]);
        let descriptor = |buffer: &mut [u8]| {
            let mut descriptor = WDF_MEMORY_DESCRIPTOR::zeroed();
            descriptor.Type = WDF_MEMORY_DESCRIPTOR_TYPE::WdfMemoryDescriptorTypeBuffer;
            descriptor.u.BufferType.Buffer = buffer.as_mut_ptr().cast();
            descriptor.u.BufferType.Length = buffer.len() as u32;
            descriptor
        };
        let (mut input, mut output) = (descriptor(&mut data), descriptor(&mut result));
        let mut returned = 0;
        let none = WDFREQUEST::NULL;
        let status =
            ddi!(WdfIoTargetSendIoctlSynchronously(target(), none, 0, &mut input, &mut output, null_mut(), &mut returned));
        assert_eq!(status, NTSTATUS::SUCCESS);
        assert_eq!((returned, data[0], result[0], result[7]), (16, 1, 2, 2));
    });
}

/// What the handler does with a request from above.
static HOW: Mutex<u32> = Mutex::new(0);
const FORMATTED: u32 = 0;
const FORGET: u32 = 1;
const NO_ROUTINE: u32 = 2;

unsafe extern "win64" fn complete_upper(
    request: WDFREQUEST,
    _: WDFIOTARGET,
    parameters: *mut WDF_REQUEST_COMPLETION_PARAMS,
    _: *mut c_void,
) {
    let result = ddi!((*parameters).IoStatus);
    ddi!(WdfRequestCompleteWithInformation(request, result.status(), result.Information));
}

unsafe extern "win64" fn pass_on(_: WDFQUEUE, request: WDFREQUEST, _: usize, _: usize, _: u32) {
    let how = *HOW.lock().unwrap();
    let mut options = WDF_REQUEST_SEND_OPTIONS::new(WDF_REQUEST_SEND_OPTION_SEND_AND_FORGET);
    let mut chosen = null_mut();
    if how == FORGET {
        chosen = &raw mut options;
    } else {
        ddi!(WdfRequestFormatRequestUsingCurrentType(request));
        if how == FORMATTED {
            ddi!(WdfRequestSetCompletionRoutine(request, Some(complete_upper), null_mut()));
        }
    }
    if ddi!(WdfRequestSend(request, target(), chosen)) == 0 {
        let status = ddi!(WdfRequestGetStatus(request));
        ddi!(WdfRequestComplete(request, status));
    }
}

#[test]
fn a_request_from_above_is_passed_on_with_a_routine_or_forgotten() {
    fn add_passing(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
        let status = add(init);
        let config = unmanaged(WDF_IO_QUEUE_CONFIG::default_queue(PARALLEL));
        create_queue(WDF_IO_QUEUE_CONFIG { EvtIoDeviceControl: Some(pass_on), ..config });
        status
    }
    with_device(add_passing, |rig| {
        for how in [FORMATTED, FORGET] {
            *HOW.lock().unwrap() = how;
            let sent = Sent::control(rig, 0, 4);
            assert!(!sent.is_done());
            bus::release();
            assert_eq!((sent.wait(), sent.information(), sent.buffer()), (NTSTATUS::SUCCESS, 4, [1, 2, 3, 4].as_slice()));
            let sent = Sent::control(rig, 0, 4);
            assert!(sent.cancel(), "the cancel goes down to the bus");
            assert_eq!(sent.wait(), NTSTATUS::CANCELLED);
        }
        *HOW.lock().unwrap() = NO_ROUTINE;
        assert_eq!(Sent::control(rig, 0, 4).wait(), NTSTATUS::INVALID_DEVICE_REQUEST, "nobody would ever complete it");
    });
}
