//! Requests of the driver's own, over the fake table: made in both ways, formatted in every way, sent with and without a time-out, used again with
//! the same IRP and with another, and their contexts.

use std::sync::Arc;
use std::time::Duration;

use wdf_sys::{WDFDEVICE, WDFIOTARGET};

use super::irp::Irp;
use super::own::{Completed, Created, Formatted, OnCompletion};
use super::*;
use crate::context;
use crate::target::{SendOptions, Target};
use crate::{Device, DeviceEvents, Memory, Passive, fake};

struct TestDevice;
crate::context!(TestDevice);
impl DeviceEvents for TestDevice {}

struct TestQueue;
crate::context!(TestQueue);
impl QueueEvents for TestQueue {
    type Device = TestDevice;
}

/// A context that tells when it is dropped.
#[derive(Debug)]
struct Witness(Arc<()>);
crate::context!(Witness);
impl OnCompletion for Witness {
    type Device = TestDevice;

    fn completed(_device: Device<'_, TestDevice>, _request: Completed<Self>, _outcome: Result<usize>) {}
}

fn target() -> Target<'static> {
    // SAFETY: the fake table takes any number.
    unsafe { Target::new(WDFIOTARGET(0x77 as *mut _)) }
}

fn created() -> (WDFREQUEST, Created<Witness>, Arc<()>) {
    let _table = fake::request();
    let witness = Arc::new(());
    let created = Created::new(target(), Witness(Arc::clone(&witness))).expect("the fake framework agrees");
    (handle_of(&created), created, witness)
}

fn handle_of(created: &Created<Witness>) -> WDFREQUEST {
    let cancel = created.cancel_handle();
    cancel.handle()
}

fn formatted(created: Created<Witness>) -> Formatted<Witness> {
    created.format_control(target(), 0x22_2000, None, None).expect("the fake framework agrees")
}

#[test]
fn the_context_of_a_request_is_dropped_once_with_its_object() {
    let (handle, created, witness) = created();
    assert_eq!(Arc::strong_count(&witness), 2);
    assert!(Arc::ptr_eq(&created.0, &witness));
    drop(created);
    assert_eq!((Arc::strong_count(&witness), fake::calls(handle)), (1, vec!["Delete".to_owned()]));
}

#[test]
fn each_way_to_format_says_what_it_asks_for() {
    let (handle, created, _witness) = created();
    let created = formatted(created).give_up().reuse().expect("the fake framework agrees");
    let formatted = created.format_internal_control(target(), 0x22_0003, None, None).expect("the fake framework agrees");
    drop(formatted);
    assert_eq!(fake::calls(handle), ["FormatControl 0x222000", "Reuse", "FormatInternal 0x220003", "Delete"]);
}

#[test]
fn reads_and_writes_carry_their_offset_and_no_more_than_their_memory() {
    let (handle, created, _witness) = created();
    let mut bytes = [0_u8; 8];
    let memory = Memory::fake(&mut bytes);
    let created = created.format_read(target(), &memory, 8, -1).expect("it fits").give_up().reuse().expect("it agrees");
    let created = created.format_write(target(), &memory, 0, 1 << 40).expect("it fits").give_up().reuse().expect("it agrees");
    let unsent = created.format_write(target(), &memory, 9, 0).expect_err("it is too long");
    assert_eq!(unsent.status, NTSTATUS::BUFFER_TOO_SMALL);
    core::mem::forget(memory);
    assert_eq!(fake::calls(handle), ["FormatRead -1", "Reuse", "FormatWrite 1099511627776", "Reuse"]);
}

#[test]
fn a_send_sets_its_completion_routine_and_has_no_time_out_unless_told() {
    let (handle, created, _witness) = created();
    assert!(formatted(created).send(target(), SendOptions::default()).is_ok());
    assert_eq!(fake::calls(handle)[1..], ["SetRoutine", "Send to 0x77 flags 0x0 time 0"]);
}

#[test]
fn a_send_with_a_time_out_says_so_in_the_kernels_units() {
    let (handle, created, _witness) = created();
    let options = SendOptions { timeout: Some(Duration::from_millis(1_500)), ignore_target_state: true };
    assert!(formatted(created).send(target(), options).is_ok());
    assert_eq!(fake::calls(handle)[1..], ["SetRoutine", "Send to 0x77 flags 0x5 time -15000000"]);
}

#[test]
fn what_could_not_be_sent_comes_back_with_the_reason_and_is_used_again() {
    let (handle, created, _witness) = created();
    fake::answer(handle, "Send", NTSTATUS::DEVICE_NOT_READY);
    let unsent = formatted(created).send(target(), SendOptions::default()).expect_err("the fake framework refuses");
    assert_eq!(unsent.status, NTSTATUS::DEVICE_NOT_READY);
    assert!(unsent.request.reuse().is_ok());
}

#[test]
fn a_synchronous_send_gives_the_outcome() {
    let (handle, created, _witness) = created();
    fake::answer(handle, "Information", NTSTATUS(12));
    let (completed, outcome) = formatted(created).send_synchronously(target(), SendOptions::default(), Passive::assume());
    assert_eq!(outcome, Ok(12));
    assert_eq!(fake::calls(handle)[1..], ["Send to 0x77 flags 0x2 time 0"]);
    drop(completed);
}

#[test]
fn a_request_made_from_an_irp_keeps_it_and_frees_it_with_itself() {
    let (_, _created, _witness) = created();
    let irp = Irp::new(target()).expect("the fake kernel has one");
    let address = irp.address();
    let witness = Arc::new(());
    let created = Created::from_irp(irp, Witness(Arc::clone(&witness))).expect("the fake framework agrees");
    let handle = handle_of(&created);
    assert!(fake::has_irp(address));
    drop(created);
    assert_eq!((fake::has_irp(address), Arc::strong_count(&witness)), (false, 1));
    let expected = [format!("CreateFromIrp {address:#x}"), "AllocateContext".to_owned(), "Delete".to_owned()];
    assert_eq!(fake::calls(handle), expected);
}

#[test]
fn a_reuse_with_another_irp_gives_the_old_one_back_and_one_without_keeps_it() {
    let (_, _created, _witness) = created();
    let (first, second) = (Irp::new(target()).expect("there is one"), Irp::new(target()).expect("there is one"));
    let (first_at, second_at) = (first.address(), second.address());
    let created = Created::from_irp(first, Witness(Arc::new(()))).expect("the fake framework agrees");
    let created = formatted(created).give_up().reuse().expect("the fake framework agrees");
    let (created, old) = formatted(created).give_up().reuse_with(second).expect("the fake framework agrees");
    assert_eq!(old.map(|irp| irp.address()), Some(first_at));
    assert_eq!((fake::has_irp(first_at), fake::has_irp(second_at)), (false, true));
    drop(created);
    assert!(!fake::has_irp(second_at));
}

#[test]
fn a_request_that_was_not_made_from_an_irp_takes_no_other_one() {
    let (_, created, _witness) = created();
    let irp = Irp::new(target()).expect("there is one");
    let address = irp.address();
    let refused = formatted(created).give_up().reuse_with(irp).err();
    assert_eq!((refused, fake::has_irp(address)), (Some(NTSTATUS::WDF_REQUEST_INVALID_STATE), false));
}

#[test]
fn the_target_on_the_device_itself_is_there_only_for_whom_it_was_made() {
    let object = fake::request();
    // SAFETY: the fake table knows every object, for ever.
    let installed = unsafe { context::install(WDFDEVICE(object.0).object(), TestDevice) };
    assert!(installed.is_ok());
    // SAFETY: as above.
    let device = unsafe { Device::<TestDevice>::from_handle(WDFDEVICE(object.0)) }.expect("it has its context");
    assert!(device.self_target().is_none());
    fake::answer(object, "SelfTarget", NTSTATUS(0x99));
    let (handle, created, _witness) = created();
    let own = device.self_target().expect("it is there now");
    let formatted = created.format_control(own, 0x22_2000, None, None).expect("the fake framework agrees");
    assert!(formatted.send(own, SendOptions::default()).is_ok());
    assert_eq!(fake::calls(handle).last().map(String::as_str), Some("Send to 0x99 flags 0x0 time 0"));
}

#[test]
fn a_request_that_was_formatted_for_another_target_is_not_sent() {
    // SAFETY: the fake table takes any number.
    let other = unsafe { Target::new(WDFIOTARGET(0x78 as *mut _)) };
    let (handle, created, _witness) = created();
    let unsent = formatted(created).send(other, SendOptions::default()).expect_err("it is for another target");
    assert_eq!(unsent.status, NTSTATUS::INVALID_PARAMETER);
    let again = formatted(unsent.request.reuse().expect("it is ours again"));
    let (_request, outcome) = again.send_synchronously(other, SendOptions::default(), Passive::assume());
    assert_eq!(outcome, Err(NTSTATUS::INVALID_PARAMETER));
    assert_eq!(fake::calls(handle), ["FormatControl 0x222000", "Reuse", "FormatControl 0x222000"]);
}

#[test]
fn the_queue_that_a_device_has_for_what_it_sends_itself_is_the_frameworks_to_refuse() {
    let (target, queue) = (fake::request(), fake::request());
    // SAFETY: the fake table takes any number.
    let own = unsafe { Target::new(WDFIOTARGET(target.0)) };
    let queue = Queue::<TestQueue>::fake(wdf_sys::WDFQUEUE(queue.0));
    assert_eq!(own.assign_queue(&queue), Ok(()));
    fake::answer(target, "AssignQueue", NTSTATUS::INVALID_DEVICE_REQUEST);
    assert_eq!(own.assign_queue(&queue), Err(NTSTATUS::INVALID_DEVICE_REQUEST));
    assert_eq!(fake::calls(target), vec![format!("AssignQueue {:p}", queue.handle().expect("it is there").0); 2]);
}
