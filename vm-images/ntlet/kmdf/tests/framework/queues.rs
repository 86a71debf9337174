//! Queues: how they present requests, and every call that manages them.

use std::ffi::c_void;
use std::ptr::null_mut;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::wdm::functions::*;
use wdf_sys::wdm::*;
use wdf_sys::*;

use crate::request::Sent;
use crate::rig::{Count, Place, counts, create_device, create_queue, journal, note, unmanaged, with_device};

const PARALLEL: WDF_IO_QUEUE_DISPATCH_TYPE = WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel;
const SEQUENTIAL: WDF_IO_QUEUE_DISPATCH_TYPE = WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchSequential;
const MANUAL: WDF_IO_QUEUE_DISPATCH_TYPE = WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchManual;

static DEFAULT: Place = Place::new();
static OTHER: Place = Place::new();

fn default_queue() -> WDFQUEUE {
    WDFQUEUE(DEFAULT.get())
}

fn other() -> WDFQUEUE {
    WDFQUEUE(OTHER.get())
}

/// Counts each byte of the buffer up by one.
unsafe extern "win64" fn echo(_: WDFQUEUE, request: WDFREQUEST, _: usize, _: usize, _: u32) {
    let (mut buffer, mut length) = (null_mut(), 0);
    let status = ddi!(WdfRequestRetrieveInputBuffer(request, 1, &mut buffer, &mut length));
    if !status.is_success() {
        return ddi!(WdfRequestComplete(request, status));
    }
    let bytes = ddi!(std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length));
    bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
    ddi!(WdfRequestCompleteWithInformation(request, NTSTATUS::SUCCESS, length));
}

fn add_echo(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    let status = create_device(init, None);
    create_queue(WDF_IO_QUEUE_CONFIG { EvtIoDeviceControl: Some(echo), ..WDF_IO_QUEUE_CONFIG::default_queue(PARALLEL) });
    status
}

#[test]
fn a_parallel_queue_echoes_and_checks_the_length() {
    with_device(add_echo, |rig| {
        for length in [1, 7, 4096] {
            let sent = Sent::control(rig, 0, length);
            assert_eq!(sent.returned(), NTSTATUS::PENDING);
            assert_eq!((sent.wait(), sent.information()), (NTSTATUS::SUCCESS, length as usize));
            assert!(sent.buffer().iter().zip(1_u32..).all(|(&byte, expected)| byte == expected as u8));
        }
        assert_eq!(Sent::control(rig, 0, 0).wait(), NTSTATUS::BUFFER_TOO_SMALL);
    });
}

#[test]
fn a_request_that_the_io_manager_built_comes_back_to_its_thread() {
    with_device(add_echo, |rig| {
        let mut event = KEVENT::zeroed();
        let (mut input, mut output) = ([1_u8, 2, 3], [0_u8; 3]);
        let mut block = IO_STATUS_BLOCK::zeroed();
        ddi!(KeInitializeEvent(&mut event, wdf_sys::wdm::constants::NOTIFICATION_EVENT, FALSE));
        let irp = ddi!(IoBuildDeviceIoControlRequest(
            0,
            rig.bus.top(),
            input.as_mut_ptr().cast(),
            3,
            output.as_mut_ptr().cast(),
            3,
            FALSE,
            &mut event,
            &mut block
        ));
        assert_eq!(ddi!(IofCallDriver(rig.bus.top(), irp)), NTSTATUS::PENDING);
        let event = (&raw mut event).cast();
        let waited = ddi!(KeWaitForSingleObject(event, 0, wdf_sys::wdm::constants::KERNEL_MODE, FALSE, &mut -300_000_000));
        assert_eq!(waited, NTSTATUS::SUCCESS);
        assert_eq!((block.status(), block.Information, output), (NTSTATUS::SUCCESS, 3, [2, 3, 4]));
    });
}

#[test]
fn a_request_of_a_kind_that_no_queue_handles_is_refused() {
    with_device(add_echo, |rig| {
        let sent = Sent::send(rig, Vec::new(), false, |location| {
            location.MajorFunction = wdf_sys::wdm::constants::IRP_MJ_READ;
        });
        assert_eq!(sent.wait(), NTSTATUS::INVALID_DEVICE_REQUEST);
    });
}

/// Forwards to the other queue, or completes with what that says.
unsafe extern "win64" fn forward(_: WDFQUEUE, request: WDFREQUEST, _: usize, _: usize, _: u32) {
    let status = ddi!(WdfRequestForwardToIoQueue(request, other()));
    if !status.is_success() {
        ddi!(WdfRequestComplete(request, status));
    }
}

unsafe extern "win64" fn cancelled_on_queue(_: WDFQUEUE, request: WDFREQUEST) {
    note("cancelled on the queue");
    ddi!(WdfRequestComplete(request, NTSTATUS::CANCELLED));
}

/// A default queue that forwards to a manual one.
fn add_forwarding(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    let status = create_device(init, None);
    let config = unmanaged(WDF_IO_QUEUE_CONFIG::default_queue(PARALLEL));
    DEFAULT.set(create_queue(WDF_IO_QUEUE_CONFIG { EvtIoDeviceControl: Some(forward), ..config }).0);
    OTHER.set(create_queue(unmanaged(WDF_IO_QUEUE_CONFIG::new(MANUAL))).0);
    status
}

/// The next request of a manual queue.
fn retrieve(queue: WDFQUEUE) -> Result<WDFREQUEST, NTSTATUS> {
    let mut request = WDFREQUEST::NULL;
    ddi!(WdfIoQueueRetrieveNextRequest(queue, &mut request)).ok().map(|()| request)
}

#[test]
fn a_forwarded_request_is_retrieved_from_its_new_queue() {
    with_device(add_forwarding, |rig| {
        assert_eq!(retrieve(other()), Err(NTSTATUS::NO_MORE_ENTRIES));
        assert_eq!(retrieve(default_queue()), Err(NTSTATUS::INVALID_DEVICE_STATE));
        let sent = Sent::control(rig, 0, 8);
        assert_eq!(counts(default_queue()), (0, 0));
        assert_eq!(counts(other()), (1, 0));
        let request = retrieve(other()).unwrap();
        assert_eq!(counts(other()), (0, 1));
        assert_eq!(ddi!(WdfRequestGetIoQueue(request)), other());
        ddi!(WdfRequestComplete(request, NTSTATUS::SUCCESS));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
        assert_eq!(counts(other()), (0, 0));
    });
}

#[test]
fn a_request_that_is_cancelled_on_its_queue_is_completed() {
    with_device(add_forwarding, |rig| {
        let sent = Sent::control(rig, 0, 8);
        assert!(sent.cancel());
        assert_eq!(sent.wait(), NTSTATUS::CANCELLED);
        assert_eq!(counts(other()), (0, 0));
        let sent = Sent::cancelled_control(rig, 0);
        assert_eq!(sent.wait(), NTSTATUS::CANCELLED);
    });
}

#[test]
fn a_request_that_was_presented_before_is_cancelled_on_its_queue_by_the_driver() {
    fn add(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
        let status = create_device(init, None);
        let config = unmanaged(WDF_IO_QUEUE_CONFIG::default_queue(PARALLEL));
        create_queue(WDF_IO_QUEUE_CONFIG { EvtIoDeviceControl: Some(forward), ..config });
        let config = unmanaged(WDF_IO_QUEUE_CONFIG::new(MANUAL));
        OTHER.set(create_queue(WDF_IO_QUEUE_CONFIG { EvtIoCanceledOnQueue: Some(cancelled_on_queue), ..config }).0);
        status
    }
    with_device(add, |rig| {
        let sent = Sent::control(rig, 0, 8);
        assert!(sent.cancel());
        assert_eq!(sent.wait(), NTSTATUS::CANCELLED);
        assert_eq!(journal(), ["cancelled on the queue"]);
    });
}

#[test]
fn a_requeued_request_comes_first_again() {
    with_device(add_forwarding, |rig| {
        let (first, second) = (Sent::control(rig, 0, 1), Sent::control(rig, 0, 1));
        let request = retrieve(other()).unwrap();
        assert_eq!(ddi!(WdfRequestRequeue(request)), NTSTATUS::SUCCESS);
        assert_eq!(counts(other()), (2, 0));
        ddi!(WdfRequestComplete(retrieve(other()).unwrap(), NTSTATUS::SUCCESS));
        assert!(first.is_done() && !second.is_done());
        ddi!(WdfRequestComplete(retrieve(other()).unwrap(), NTSTATUS::SUCCESS));
        assert!(second.is_done());
    });
}

#[test]
fn a_found_request_is_retrieved_once() {
    with_device(add_forwarding, |rig| {
        let sent = Sent::control(rig, 0, 1);
        let (mut found, mut taken) = (WDFREQUEST::NULL, WDFREQUEST::NULL);
        let (none, any) = (WDFREQUEST::NULL, WDFFILEOBJECT::NULL);
        assert_eq!(ddi!(WdfIoQueueFindRequest(other(), none, any, null_mut(), &mut found)), NTSTATUS::SUCCESS);
        assert_eq!(ddi!(WdfIoQueueRetrieveFoundRequest(other(), found, &mut taken)), NTSTATUS::SUCCESS);
        assert_eq!(taken, found);
        assert_eq!(ddi!(WdfIoQueueRetrieveFoundRequest(other(), found, &mut taken)), NTSTATUS::NOT_FOUND);
        ddi!(WdfObjectDereferenceActual(found.object(), null_mut(), 0, null_mut()));
        ddi!(WdfRequestComplete(found, NTSTATUS::SUCCESS));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
    });
}

#[test]
fn a_purged_queue_cancels_what_it_holds_and_refuses_until_it_is_started() {
    with_device(add_forwarding, |rig| {
        let waiting = Sent::control(rig, 0, 8);
        ddi!(WdfIoQueuePurgeSynchronously(other()));
        assert_eq!(waiting.wait(), NTSTATUS::CANCELLED);
        assert_eq!(Sent::control(rig, 0, 8).wait(), NTSTATUS::WDF_BUSY, "the driver still owns what it could not forward");
        ddi!(WdfIoQueuePurgeSynchronously(default_queue()));
        assert_eq!(Sent::control(rig, 0, 8).wait(), NTSTATUS::INVALID_DEVICE_STATE);
        ddi!(WdfIoQueueStart(default_queue()));
        ddi!(WdfIoQueueStart(other()));
        let sent = Sent::control(rig, 0, 8);
        ddi!(WdfRequestComplete(retrieve(other()).unwrap(), NTSTATUS::SUCCESS));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
    });
}

#[test]
fn a_stopped_queue_accepts_and_says_that_it_is_paused() {
    with_device(add_forwarding, |rig| {
        ddi!(WdfIoQueueStopSynchronously(other()));
        let sent = Sent::control(rig, 0, 8);
        assert_eq!(retrieve(other()), Err(NTSTATUS::WDF_PAUSED));
        ddi!(WdfIoQueueStart(other()));
        ddi!(WdfRequestComplete(retrieve(other()).unwrap(), NTSTATUS::SUCCESS));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
    });
}

unsafe extern "win64" fn drained(_: WDFQUEUE, _: *mut c_void) {
    note("drained");
}

#[test]
fn a_drain_lets_what_it_has_end_and_tells_when() {
    with_device(add_forwarding, |rig| {
        let sent = Sent::control(rig, 0, 8);
        let request = retrieve(other()).unwrap();
        ddi!(WdfIoQueueDrain(other(), Some(drained), null_mut()));
        assert!(journal().is_empty());
        ddi!(WdfRequestComplete(request, NTSTATUS::SUCCESS));
        crate::rig::settle();
        assert_eq!(journal(), ["drained"]);
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
        ddi!(WdfIoQueueStart(other()));
    });
}

unsafe extern "win64" fn ready(_: WDFQUEUE, _: *mut c_void) {
    note("ready");
}

#[test]
fn a_manual_queue_tells_when_it_has_a_request() {
    with_device(add_forwarding, |rig| {
        assert_eq!(ddi!(WdfIoQueueReadyNotify(other(), Some(ready), null_mut())), NTSTATUS::SUCCESS);
        let first = Sent::control(rig, 0, 8);
        crate::rig::settle();
        assert_eq!(journal(), ["ready"]);
        let second = Sent::control(rig, 0, 8);
        crate::rig::settle();
        assert!(journal().is_empty(), "only the first request is news");
        for sent in [first, second] {
            ddi!(WdfRequestComplete(retrieve(other()).unwrap(), NTSTATUS::SUCCESS));
            assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
        }
    });
}

static DEPTH: Count = Count::new();

unsafe extern "win64" fn complete_at_once(_: WDFQUEUE, request: WDFREQUEST, _: usize, _: usize, _: u32) {
    assert_eq!(DEPTH.up(), 1, "one handler at a time, and none inside another");
    ddi!(WdfRequestComplete(request, NTSTATUS::SUCCESS));
    DEPTH.down();
}

#[test]
fn a_sequential_queue_presents_one_after_the_other_without_recursion() {
    fn add(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
        let status = create_device(init, None);
        let config = unmanaged(WDF_IO_QUEUE_CONFIG::default_queue(SEQUENTIAL));
        DEFAULT.set(create_queue(WDF_IO_QUEUE_CONFIG { EvtIoDeviceControl: Some(complete_at_once), ..config }).0);
        status
    }
    with_device(add, |rig| {
        ddi!(WdfIoQueueStopSynchronously(default_queue()));
        let sent: Vec<Sent> = (0..500).map(|_| Sent::control(rig, 0, 1)).collect();
        assert_eq!(counts(default_queue()), (500, 0));
        ddi!(WdfIoQueueStart(default_queue()));
        assert!(sent.iter().all(|sent| sent.wait() == NTSTATUS::SUCCESS));
    });
}

#[test]
fn what_waits_on_a_queue_is_cancelled_when_the_device_goes() {
    let mut left = None;
    crate::rig::with_driver(kernel::sim::Simulation::new(), add_forwarding, |rig| {
        assert_eq!(rig.add_device(), NTSTATUS::SUCCESS);
        assert_eq!(rig.bus.start(), NTSTATUS::SUCCESS);
        let sent = left.insert(Sent::control(rig, 0, 8));
        assert_eq!(rig.bus.pnp(wdf_sys::wdm::constants::IRP_MN_SURPRISE_REMOVAL), NTSTATUS::SUCCESS);
        rig.bus.remove();
        assert_eq!(sent.wait(), NTSTATUS::CANCELLED);
        left = None;
    });
}
