//! Guaranteed forward progress: requests of a queue's reserve serve what comes when memory has run out.

use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};

use wdf_sys::wdf::WDF_IO_FORWARD_PROGRESS_RESERVED_POLICY as Policy;
use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::*;
use wdf_sys::*;

use crate::request::{Sent, fill_control};
use crate::rig::{Place, Rig, counts, create_device, create_queue, device, journal, note, unmanaged, with_device};

static QUEUE: Place = Place::new();
static OTHER: Place = Place::new();

fn queue() -> WDFQUEUE {
    WDFQUEUE(QUEUE.get())
}

/// What the driver has been given and not completed, in order.
struct Held(UnsafeCell<Vec<WDFREQUEST>>);
// SAFETY: the tests' machine runs one thread of theirs at a time.
unsafe impl Sync for Held {}
static HELD: Held = Held(UnsafeCell::new(Vec::new()));

fn held() -> &'static mut Vec<WDFREQUEST> {
    ddi!(&mut *HELD.0.get())
}

/// How many reserved requests may be prepared, and what the driver answers to whatever it is asked.
static PREPARED: AtomicU32 = AtomicU32::new(0);
static MOST: AtomicU32 = AtomicU32::new(u32::MAX);
static HAS_RESOURCES: AtomicU32 = AtomicU32::new(1);
static CLEANED: AtomicU32 = AtomicU32::new(0);

unsafe extern "win64" fn keep(_: WDFQUEUE, request: WDFREQUEST) {
    note(if ddi!(WdfRequestIsReserved(request)) != 0 { "reserved" } else { "ordinary" });
    held().push(request);
}

unsafe extern "win64" fn prepare(_: WDFQUEUE, request: WDFREQUEST) -> NTSTATUS {
    assert_ne!(ddi!(WdfRequestIsReserved(request)), 0);
    if PREPARED.fetch_add(1, Ordering::SeqCst) >= MOST.load(Ordering::SeqCst) { NTSTATUS::DEVICE_BUSY } else { NTSTATUS::SUCCESS }
}

unsafe extern "win64" fn allocate(_: WDFQUEUE, request: WDFREQUEST) -> NTSTATUS {
    assert_eq!(ddi!(WdfRequestIsReserved(request)), 0);
    if HAS_RESOURCES.load(Ordering::SeqCst) != 0 { NTSTATUS::SUCCESS } else { NTSTATUS::NO_MEMORY }
}

/// Wants controls with the code 4 to go on.
unsafe extern "win64" fn examine(_: WDFQUEUE, irp: *mut IRP) -> i32 {
    let code = ddi!((*current_stack_location(irp)).Parameters.DeviceIoControl.IoControlCode);
    note(format!("examined {code}"));
    if code == 4 {
        WDF_IO_FORWARD_PROGRESS_ACTION::WdfIoForwardProgressActionUseReservedRequest.0
    } else {
        WDF_IO_FORWARD_PROGRESS_ACTION::WdfIoForwardProgressActionFailRequest.0
    }
}

unsafe extern "win64" fn cleaned(_: WDFOBJECT) {
    CLEANED.fetch_add(1, Ordering::SeqCst);
}

fn add(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    let mut requests = WDF_OBJECT_ATTRIBUTES::new();
    requests.EvtCleanupCallback = Some(cleaned);
    ddi!(WdfDeviceInitSetRequestAttributes(init, &mut requests));
    let status = create_device(init, None);
    let config = unmanaged(WDF_IO_QUEUE_CONFIG::default_queue(WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel));
    QUEUE.set(create_queue(WDF_IO_QUEUE_CONFIG { EvtIoDefault: Some(keep), ..config }).0);
    OTHER.set(create_queue(unmanaged(WDF_IO_QUEUE_CONFIG::new(WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchManual))).0);
    status
}

fn policy(count: u32, policy: Policy) -> WDF_IO_QUEUE_FORWARD_PROGRESS_POLICY {
    let mut given = WDF_IO_QUEUE_FORWARD_PROGRESS_POLICY::zeroed();
    given.Size = size_of::<WDF_IO_QUEUE_FORWARD_PROGRESS_POLICY>() as u32;
    given.TotalForwardProgressRequests = count;
    given.ForwardProgressReservedPolicy = policy;
    given.EvtIoAllocateResourcesForReservedRequest = Some(prepare);
    given.EvtIoAllocateRequestResources = Some(allocate);
    if policy == Policy::WdfIoForwardProgressReservedPolicyUseExamine {
        given.ForwardProgressReservePolicySettings.Policy.ExaminePolicy.EvtIoWdmIrpForForwardProgress = Some(examine);
    }
    given
}

fn assign(mut given: WDF_IO_QUEUE_FORWARD_PROGRESS_POLICY) -> NTSTATUS {
    ddi!(WdfIoQueueAssignForwardProgressPolicy(queue(), &mut given))
}

fn always(count: u32) -> WDF_IO_QUEUE_FORWARD_PROGRESS_POLICY {
    policy(count, Policy::WdfIoForwardProgressReservedPolicyAlwaysUseReservedRequest)
}

/// Sends a control for which there is no memory once it is with the framework.
fn without_memory(rig: &Rig<'_>, code: u32, flags: u32) -> Sent {
    let sent = Sent::send_flagged(rig, vec![1, 2, 3, 4], flags, |location| {
        fill_control(location, code, 4);
        kernel::pool::fail_allocations_after(Some(0));
    });
    kernel::pool::fail_allocations_after(None);
    sent
}

fn complete(at: usize, status: NTSTATUS) {
    let request = held().remove(at);
    ddi!(WdfRequestComplete(request, status));
}

/// Uses up the block that the framework keeps for the next request, so that the next one without memory gets none.
fn use_up(rig: &Rig<'_>) -> Sent {
    let sent = Sent::control(rig, 0, 4);
    assert_eq!(journal(), ["ordinary"]);
    sent
}

#[test]
fn what_comes_when_memory_has_run_out_gets_a_reserved_request_or_waits_for_one() {
    with_device(add, |rig| {
        assert_eq!(assign(always(2)), NTSTATUS::SUCCESS);
        let ordinary = use_up(rig);
        let [first, second, third, fourth] = [0, 0, 0, 0].map(|code| without_memory(rig, code, 0));
        assert_eq!(journal(), ["reserved", "reserved"]);
        assert_eq!(fourth.returned(), NTSTATUS::PENDING);
        let reserved = held()[1];
        complete(1, NTSTATUS::SUCCESS);
        assert_eq!((first.wait(), journal()), (NTSTATUS::SUCCESS, vec!["reserved".to_owned()]));
        assert_eq!(held()[2], reserved, "the same request serves again");
        let (mut buffer, mut length) = (null_mut(), 0);
        assert_eq!(ddi!(WdfRequestRetrieveInputBuffer(reserved, 4, &mut buffer, &mut length)), NTSTATUS::SUCCESS);
        assert_eq!((buffer.cast::<u8>().cast_const(), length), (third.buffer().as_ptr(), 4), "with the new buffer");
        complete(2, NTSTATUS::DEVICE_BUSY);
        assert_eq!((third.wait(), journal()), (NTSTATUS::DEVICE_BUSY, vec!["reserved".to_owned()]));
        while !held().is_empty() {
            complete(0, NTSTATUS::SUCCESS);
        }
        for sent in [&ordinary, &second, &fourth] {
            assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
        }
        assert_eq!(counts(queue()), (0, 0));
        // Contexts and what hangs on them stay: only the ordinary request has been cleaned up.
        assert_eq!((PREPARED.load(Ordering::SeqCst), CLEANED.load(Ordering::SeqCst)), (2, 1));
    });
    assert_eq!(held().len(), 0);
}

#[test]
fn a_request_that_is_marked_forwarded_and_requeued_comes_back_to_its_own_queues_reserve() {
    with_device(add, |rig| {
        assert_eq!(assign(always(1)), NTSTATUS::SUCCESS);
        let ordinary = use_up(rig);
        for _ in 0..3 {
            let [sent, waits] = [0, 0].map(|code| without_memory(rig, code, 0));
            assert_eq!(ddi!(WdfRequestForwardToIoQueue(held().remove(1), WDFQUEUE(OTHER.get()))), NTSTATUS::SUCCESS);
            let mut found = WDFREQUEST::NULL;
            assert_eq!(ddi!(WdfIoQueueRetrieveNextRequest(WDFQUEUE(OTHER.get()), &mut found)), NTSTATUS::SUCCESS);
            assert_eq!(ddi!(WdfRequestRequeue(found)), NTSTATUS::SUCCESS);
            // Cancelled in the other queue: the framework completes it, and whatever waits for its place comes.
            assert!(sent.cancel());
            let mut found = WDFREQUEST::NULL;
            let _ = ddi!(WdfIoQueueRetrieveNextRequest(WDFQUEUE(OTHER.get()), &mut found));
            assert_eq!(sent.wait(), NTSTATUS::CANCELLED);
            complete(1, NTSTATUS::SUCCESS);
            assert_eq!(waits.wait(), NTSTATUS::SUCCESS);
        }
        complete(0, NTSTATUS::SUCCESS);
        assert_eq!(ordinary.wait(), NTSTATUS::SUCCESS);
    });
}

#[test]
fn what_waits_for_a_reserved_request_can_be_cancelled_and_goes_when_the_queue_is_purged() {
    with_device(add, |rig| {
        assert_eq!(assign(always(1)), NTSTATUS::SUCCESS);
        let ordinary = use_up(rig);
        let served = without_memory(rig, 0, 0);
        let [first, second, third] = [0, 0, 0].map(|code| without_memory(rig, code, 0));
        assert!(second.cancel());
        assert_eq!(second.wait(), NTSTATUS::CANCELLED);
        assert!(!first.is_done() && !third.is_done());
        ddi!(WdfIoQueuePurge(queue(), None, null_mut()));
        assert_eq!((first.wait(), third.wait()), (NTSTATUS::CANCELLED, NTSTATUS::CANCELLED));
        // What the driver has it keeps; and a queue that takes nothing refuses for want of no memory.
        assert!(!served.is_done());
        ddi!(WdfIoQueueStart(queue()));
        while !held().is_empty() {
            complete(0, NTSTATUS::SUCCESS);
        }
        assert_eq!((served.wait(), ordinary.wait()), (NTSTATUS::SUCCESS, NTSTATUS::SUCCESS));
    });
}

#[test]
fn a_driver_without_resources_for_a_request_gets_a_reserved_one() {
    with_device(add, |rig| {
        assert_eq!(assign(always(1)), NTSTATUS::SUCCESS);
        HAS_RESOURCES.store(0, Ordering::SeqCst);
        let sent = Sent::control(rig, 0, 4);
        assert_eq!(journal(), ["reserved"]);
        HAS_RESOURCES.store(1, Ordering::SeqCst);
        let other = Sent::control(rig, 0, 4);
        assert_eq!(journal(), ["ordinary"]);
        complete(0, NTSTATUS::SUCCESS);
        complete(0, NTSTATUS::SUCCESS);
        assert_eq!((sent.wait(), other.wait()), (NTSTATUS::SUCCESS, NTSTATUS::SUCCESS));
    });
}

#[test]
fn the_policies_say_what_goes_on_and_what_fails() {
    with_device(add, |rig| {
        assert_eq!(assign(policy(1, Policy::WdfIoForwardProgressReservedPolicyUseExamine)), NTSTATUS::SUCCESS);
        let ordinary = use_up(rig);
        let refused = without_memory(rig, 8, 0);
        assert_eq!((refused.wait(), refused.returned()), (NTSTATUS::INSUFFICIENT_RESOURCES, NTSTATUS::PENDING));
        let served = without_memory(rig, 4, 0);
        assert_eq!(journal(), ["examined 8", "examined 4", "reserved"]);
        complete(1, NTSTATUS::SUCCESS);
        complete(0, NTSTATUS::SUCCESS);
        assert_eq!((served.wait(), ordinary.wait()), (NTSTATUS::SUCCESS, NTSTATUS::SUCCESS));
    });
}

#[test]
fn with_the_policy_for_paging_only_paging_goes_on() {
    with_device(add, |rig| {
        assert_eq!(assign(policy(1, Policy::WdfIoForwardProgressReservedPolicyPagingIO)), NTSTATUS::SUCCESS);
        let ordinary = use_up(rig);
        assert_eq!(without_memory(rig, 0, 0).wait(), NTSTATUS::INSUFFICIENT_RESOURCES);
        let paging = without_memory(rig, 0, IRP_PAGING_IO);
        assert_eq!(journal(), ["reserved"]);
        complete(1, NTSTATUS::SUCCESS);
        complete(0, NTSTATUS::SUCCESS);
        assert_eq!((paging.wait(), ordinary.wait()), (NTSTATUS::SUCCESS, NTSTATUS::SUCCESS));
    });
}

#[test]
fn a_policy_is_checked_and_leaves_nothing_when_it_cannot_be_had() {
    with_device(add, |_| {
        let wrong_size = WDF_IO_QUEUE_FORWARD_PROGRESS_POLICY { Size: 32, ..always(1) };
        let nameless = policy(1, Policy::WdfIoForwardProgressInvalidPolicy);
        let blind = WDF_IO_QUEUE_FORWARD_PROGRESS_POLICY {
            ForwardProgressReservedPolicy: Policy::WdfIoForwardProgressReservedPolicyUseExamine,
            ..always(1)
        };
        assert_eq!(assign(wrong_size), NTSTATUS::INFO_LENGTH_MISMATCH);
        for given in [always(0), nameless, blind] {
            assert_eq!(assign(given), NTSTATUS::INVALID_PARAMETER);
        }
        MOST.store(2, Ordering::SeqCst);
        assert_eq!(assign(always(5)), NTSTATUS::DEVICE_BUSY, "the status is the driver's");
        assert_eq!((PREPARED.load(Ordering::SeqCst), CLEANED.load(Ordering::SeqCst)), (3, 3));
        MOST.store(u32::MAX, Ordering::SeqCst);
        kernel::pool::fail_allocations_after(Some(2));
        let status = assign(always(50));
        kernel::pool::fail_allocations_after(None);
        assert_eq!(status, NTSTATUS::INSUFFICIENT_RESOURCES);
        assert_eq!(assign(always(1)), NTSTATUS::SUCCESS);
        assert_eq!(assign(always(1)), NTSTATUS::INVALID_DEVICE_REQUEST, "it has one");
        let _ = device();
    });
}

unsafe extern "win64" fn let_in(_: WDFQUEUE, request: WDFREQUEST) {
    note(if ddi!(WdfRequestIsReserved(request)) != 0 { "reserved" } else { "ordinary" });
    ddi!(WdfRequestComplete(request, NTSTATUS::SUCCESS));
}

unsafe extern "win64" fn closed(_: WDFFILEOBJECT) {
    note("closed");
}

fn add_with_creates(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    let mut files = WDF_FILEOBJECT_CONFIG::new(None, Some(closed), None);
    ddi!(WdfDeviceInitSetFileObjectConfig(init, &mut files, null_mut()));
    let status = create_device(init, None);
    let config = unmanaged(WDF_IO_QUEUE_CONFIG::new(WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel));
    QUEUE.set(create_queue(WDF_IO_QUEUE_CONFIG { EvtIoDefault: Some(let_in), ..config }).0);
    let creates = WDF_REQUEST_TYPE::WdfRequestTypeCreate;
    assert_eq!(ddi!(WdfDeviceConfigureRequestDispatching(device(), queue(), creates)), NTSTATUS::SUCCESS);
    status
}

#[test]
fn a_create_for_which_there_is_nothing_gets_a_reserved_request_or_opens_nothing() {
    use crate::bus::NAME;
    use crate::files::{close, open};
    with_device(add_with_creates, |_| {
        assert_eq!(assign(always(1)), NTSTATUS::SUCCESS);
        close(open(NAME).unwrap());
        HAS_RESOURCES.store(0, Ordering::SeqCst);
        let first = open(NAME).unwrap();
        let second = open(NAME).unwrap();
        close(first);
        close(second);
        assert_eq!(journal(), ["ordinary", "closed", "reserved", "reserved", "closed", "closed"]);
    });
    with_device(add_with_creates, |_| {
        assert_eq!(assign(policy(1, Policy::WdfIoForwardProgressReservedPolicyPagingIO)), NTSTATUS::SUCCESS);
        HAS_RESOURCES.store(0, Ordering::SeqCst);
        assert_eq!(open(NAME), Err(NTSTATUS::INSUFFICIENT_RESOURCES), "it is no paging");
        HAS_RESOURCES.store(1, Ordering::SeqCst);
        close(open(NAME).unwrap());
        assert_eq!(journal(), ["ordinary", "closed"], "what was not opened is not closed");
    });
}
