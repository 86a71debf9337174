//! Every call that creates something, with memory that runs out at each of its allocations in turn: it says so, and leaves nothing behind.

use std::cell::Cell;
use std::ptr::null_mut;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::wdm::constants::NON_PAGED_POOL_NX;
use wdf_sys::*;

use crate::request::{Sent, fill_control};
use crate::rig::{Place, create_device, create_queue, device, unmanaged, with_device};

static REQUEST: Place = Place::new();

unsafe extern "win64" fn keep(_: WDFQUEUE, request: WDFREQUEST) {
    REQUEST.set(request.0);
}

fn add(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    let status = create_device(init, None);
    let config = unmanaged(WDF_IO_QUEUE_CONFIG::default_queue(WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel));
    create_queue(WDF_IO_QUEUE_CONFIG { EvtIoDefault: Some(keep), ..config });
    status
}

/// Calls `create`, which leaves its object in the cell, with ever more memory, until it succeeds.
fn survives(name: &str, create: impl Fn(&Cell<WDFOBJECT>) -> NTSTATUS) {
    let blocks = || kernel::pool::usage(0).blocks;
    let before = blocks();
    for allocations in 0..50 {
        let created = Cell::new(WDFOBJECT::NULL);
        kernel::pool::fail_allocations_after(Some(allocations));
        let status = create(&created);
        kernel::pool::fail_allocations_after(None);
        if status.is_success() {
            assert!(allocations != 0, "{name} allocates nothing");
            ddi!(WdfObjectDelete(created.get()));
            assert_eq!(blocks(), before, "{name} leaves memory when its object is deleted");
            return;
        }
        assert_eq!(status, NTSTATUS::INSUFFICIENT_RESOURCES, "{name} after {allocations} allocations");
        assert_eq!(blocks(), before, "{name} leaves memory when it fails after {allocations} allocations");
    }
    panic!("{name} never succeeds");
}

/// One creating call: its handle type, and the call with a place for the handle.
macro_rules! creating {
    ($($handle:ident: $call:ident($($before:expr),*; $($after:expr),*);)*) => {$(
        survives(stringify!($call), |object| {
            let mut created = $handle::NULL;
            let status = ddi!($call($($before,)* &mut created $(, $after)*));
            object.set(WDFOBJECT(created.0));
            status
        });
    )*};
}

fn with_context() -> WDF_OBJECT_ATTRIBUTES {
    let mut attributes = WDF_OBJECT_ATTRIBUTES::new();
    attributes.ParentObject = device().object();
    attributes
}

unsafe extern "win64" fn on_timer(_: WDFTIMER) {}
unsafe extern "win64" fn on_dpc(_: WDFDPC) {}
unsafe extern "win64" fn on_work(_: WDFWORKITEM) {}

#[test]
fn a_creation_that_runs_out_of_memory_says_so_and_leaves_nothing() {
    with_device(add, |_| {
        let mut attributes = with_context();
        let attributes = &raw mut attributes;
        let target = ddi!(WdfDeviceGetIoTarget(device()));
        let (mut timer, mut dpc, mut work) = (
            WDF_TIMER_CONFIG::new(Some(on_timer), 0),
            WDF_DPC_CONFIG::new(Some(on_dpc)),
            WDF_WORKITEM_CONFIG::new(Some(on_work)),
        );
        let mut byte = 0_u8;
        let mut queue = unmanaged(WDF_IO_QUEUE_CONFIG::new(WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchManual));
        let (timer, dpc, work, queue) = (&raw mut timer, &raw mut dpc, &raw mut work, &raw mut queue);
        let byte = (&raw mut byte).cast();
        creating! {
            WDFOBJECT: WdfObjectCreate(attributes;);
            WDFSPINLOCK: WdfSpinLockCreate(attributes;);
            WDFWAITLOCK: WdfWaitLockCreate(attributes;);
            WDFMEMORY: WdfMemoryCreate(attributes, NON_PAGED_POOL_NX, 1, 100; null_mut());
            WDFMEMORY: WdfMemoryCreatePreallocated(attributes, byte, 1;);
            WDFSTRING: WdfStringCreate(std::ptr::null(), attributes;);
            WDFCOLLECTION: WdfCollectionCreate(attributes;);
            WDFTIMER: WdfTimerCreate(timer, attributes;);
            WDFDPC: WdfDpcCreate(dpc, attributes;);
            WDFWORKITEM: WdfWorkItemCreate(work, attributes;);
            WDFLOOKASIDE: WdfLookasideListCreate(attributes, 64, NON_PAGED_POOL_NX, null_mut(), 1;);
            WDFQUEUE: WdfIoQueueCreate(device(), queue, attributes;);
            WDFIOTARGET: WdfIoTargetCreate(device(), attributes;);
        }
        let mut lookaside = WDFLOOKASIDE::NULL;
        let status = ddi!(WdfLookasideListCreate(attributes, 64, NON_PAGED_POOL_NX, null_mut(), 1, &mut lookaside));
        assert_eq!(status, NTSTATUS::SUCCESS);
        creating! { WDFMEMORY: WdfMemoryCreateFromLookaside(lookaside;); }
        ddi!(WdfObjectDelete(lookaside.object()));
        // Its IRP, then the object. Last, since the memory of a request is kept for the next one.
        let blocks = kernel::pool::usage(0).blocks;
        for allocations in 0..2 {
            kernel::pool::fail_allocations_after(Some(allocations));
            let mut request = WDFREQUEST::NULL;
            let status = ddi!(WdfRequestCreate(attributes, target, &mut request));
            kernel::pool::fail_allocations_after(None);
            assert_eq!((status, request.is_null()), (NTSTATUS::INSUFFICIENT_RESOURCES, true));
            assert_eq!(kernel::pool::usage(0).blocks, blocks);
        }
    });
}

/// Sends a request that finds no memory once its IRP is there.
fn send_without_memory(rig: &crate::rig::Rig<'_>) -> Sent {
    let sent = Sent::send(rig, Vec::new(), false, |location| {
        fill_control(location, 0, 0);
        kernel::pool::fail_allocations_after(Some(0));
    });
    kernel::pool::fail_allocations_after(None);
    sent
}

#[test]
fn a_request_for_which_there_is_no_memory_fails_and_the_next_one_is_served() {
    with_device(add, |rig| {
        assert_eq!(send_without_memory(rig).wait(), NTSTATUS::INSUFFICIENT_RESOURCES);
        let served = Sent::control(rig, 0, 8);
        ddi!(WdfRequestComplete(WDFREQUEST(REQUEST.get()), NTSTATUS::SUCCESS));
        assert_eq!(served.wait(), NTSTATUS::SUCCESS);
    });
}

#[test]
fn the_memory_of_a_request_serves_the_next_one() {
    with_device(add, |rig| {
        let first = Sent::control(rig, 0, 8);
        ddi!(WdfRequestComplete(WDFREQUEST(REQUEST.get()), NTSTATUS::SUCCESS));
        assert_eq!(first.wait(), NTSTATUS::SUCCESS);
        for _ in 0..10 {
            let sent = send_without_memory(rig);
            ddi!(WdfRequestComplete(WDFREQUEST(REQUEST.get()), NTSTATUS::SUCCESS));
            assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
        }
    });
}
