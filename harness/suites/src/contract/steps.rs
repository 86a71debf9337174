//! The steps that `probe.sys` takes, one function each: `forward(slot, queue)` instead of a structure with five members.

use core::time::Duration;

use protocol::probe::{Event, NO_PARAMETERS, OnCancel, OnCompletion, OnStop, Op, Step};

use crate::nt::NTSTATUS;

/// The slot of a request that the probe makes and sends.
pub(crate) const OWN: u32 = 0;
/// The slot in which the probe sees that request arrive.
pub(crate) const SEEN: u32 = 1;
/// Slots of requests that the test sends.
pub(crate) const FIRST: u32 = 2;
/// See [`FIRST`].
pub(crate) const SECOND: u32 = 3;
/// A slot for a handle more.
pub(crate) const SPARE: u32 = 4;
/// The slot of another request that the probe makes and sends.
pub(crate) const OWN_TOO: u32 = 6;
/// The slot in which the probe sees that one arrive.
pub(crate) const SEEN_TOO: u32 = 7;
/// See [`FIRST`].
pub(crate) const THIRD: u32 = 5;

/// `WdfIoTargetLeaveSentIoPending`.
const LEAVE_SENT_IO_PENDING: u32 = 3;
/// `WdfIoTargetPurgeIo`.
const PURGE_IO: u32 = 2;
/// `WDF_REQUEST_SEND_OPTION_SYNCHRONOUS`.
const SYNCHRONOUS: u32 = 2;
/// `WDF_REQUEST_SEND_OPTION_SEND_AND_FORGET`.
const SEND_AND_FORGET: u32 = 8;
/// `WDF_REQUEST_REUSE_SET_NEW_IRP`.
const SET_NEW_IRP: u32 = 1;

const fn step(op: Op, slot: u32, number: u32) -> Step {
    Step { op, slot, number, more: 0, value: 0 }
}

/// Functions for steps that are an operation, its slot and its number, and nothing else.
macro_rules! steps {
    ($($name:ident($($what:ident),*) = $op:ident($slot:expr, $number:expr);)*) => {
        $(pub(crate) const fn $name($($what: u32),*) -> Step {
            step(Op::$op, $slot, $number)
        })*
    };
}

steps! {
    forward(slot, queue) = FORWARD(slot, queue);
    requeue(slot) = REQUEUE(slot, 0);
    acknowledge(slot) = STOP_ACKNOWLEDGE(slot, 0);
    mark(slot) = MARK(slot, 0);
    mark_ex(slot) = MARK_EX(slot, 0);
    unmark(slot) = UNMARK(slot, 0);
    is_canceled(slot) = IS_CANCELED(slot, 0);
    get_status(slot) = GET_STATUS(slot, 0);
    get_queue(slot) = GET_QUEUE(slot, 0);
    reference(slot) = REFERENCE(slot, 0);
    dereference(slot) = DEREFERENCE(slot, 0);
    copy_handle(slot, into) = COPY_HANDLE(slot, into);
    queue_handle(slot, queue) = QUEUE_HANDLE(slot, queue);
    get_irp(slot) = GET_IRP(slot, 0);
    handle(slot) = HANDLE(slot, 0);
    lock_handle(slot) = LOCK_HANDLE(slot, 0);
    keep_memory(slot) = KEEP_MEMORY(slot, 0);
    target_make() = TARGET_MAKE(0, 0);
    target_make_for_pnp() = TARGET_MAKE(0, 1);
    target_delete() = TARGET_DELETE(0, 0);
    target_forget() = TARGET_FORGET(0, 0);
    create_driver_again() = DRIVER_CREATE(0, 0);
    image_start() = IMAGE(0, 0);
    image_end() = IMAGE(0, 1);
    forget(slot) = FORGET(slot, 0);
    retrieve(slot, queue) = RETRIEVE(slot, queue);
    queue_state(queue) = QUEUE_STATE(0, queue);
    queue_start(queue) = QUEUE_START(0, queue);
    queue_stop(queue) = QUEUE_STOP(0, queue);
    queue_purge(queue) = QUEUE_PURGE(0, queue);
    queue_drain(queue) = QUEUE_DRAIN(0, queue);
    create(slot) = CREATE(slot, 0);
    create_from_irp(slot, request_frees_irp) = CREATE_FROM_IRP(slot, request_frees_irp);
    delete(slot) = DELETE(slot, 0);
    format_subject(slot, arrives_in) = FORMAT_SUBJECT(slot, arrives_in);
    format_nothing(slot) = FORMAT_NOTHING(slot, 0);
    set_completion(slot) = SET_COMPLETION(slot, 0);
    send(slot) = SEND(slot, 0);
    cancel_sent(slot) = CANCEL_SENT(slot, 0);
    use_target(target) = USE_TARGET(0, target);
    target_start() = TARGET_START(0, 0);
    target_close() = TARGET_CLOSE(0, 0);
    target_open() = TARGET_OPEN(0, 0);
    create_without_target(slot) = CREATE_WITHOUT_TARGET(slot, 0);
    create_from_short_irp(slot) = CREATE_FROM_SHORT_IRP(slot, 0);
    queue_delete(queue) = QUEUE_DELETE(0, queue);
    target_open_tall() = TARGET_OPEN(0, 1);
    stop_flags(slot) = STOP_FLAGS(slot, 0);
    stop_load(slot) = STOP_LOAD(slot, 0);
    fail_device() = FAIL_DEVICE(0, 0);
    enter_region() = ENTER_REGION(0, 0);
    reset() = RESET(0, 0);
    raise() = RAISE(0, 0);
    lower() = LOWER(0, 0);
    spin_acquire() = SPIN_ACQUIRE(0, 0);
    spin_release() = SPIN_RELEASE(0, 0);
    verifier() = VERIFIER(0, 0);
}

pub(crate) const fn complete(slot: u32, status: NTSTATUS) -> Step {
    complete_with_information(slot, status, 0)
}

pub(crate) const fn complete_with_information(slot: u32, status: NTSTATUS, information: u64) -> Step {
    Step { value: information, ..step(Op::COMPLETE, slot, status.bits()) }
}

/// WdfIoQueuePurge whose end is an event of its own, [`Event::QueuePurged`].
pub(crate) const fn queue_purge_apart(queue: u32) -> Step {
    Step { more: 1, ..queue_purge(queue) }
}

/// WdfRequestStopAcknowledge with Requeue set.
pub(crate) const fn acknowledge_and_requeue(slot: u32) -> Step {
    step(Op::STOP_ACKNOWLEDGE, slot, 1)
}

pub(crate) const fn send_with_timeout(slot: u32, timeout: Duration) -> Step {
    Step { value: timeout.as_micros() as u64 * 10, ..send(slot) }
}

pub(crate) const fn send_synchronously(slot: u32) -> Step {
    step(Op::SEND, slot, SYNCHRONOUS)
}

pub(crate) const fn send_and_forget(slot: u32) -> Step {
    step(Op::SEND, slot, SEND_AND_FORGET)
}

pub(crate) const fn reuse(slot: u32, status: NTSTATUS) -> Step {
    reuse_with_flags(slot, 0, status)
}

pub(crate) const fn reuse_with_new_irp(slot: u32) -> Step {
    reuse_with_flags(slot, SET_NEW_IRP, NTSTATUS::SUCCESS)
}

pub(crate) const fn reuse_with_flags(slot: u32, flags: u32, status: NTSTATUS) -> Step {
    Step { more: status.bits(), ..step(Op::REUSE, slot, flags) }
}

/// WdfRequestReuse with a structure that says it has another size.
pub(crate) const fn reuse_with_size(slot: u32, size: u64) -> Step {
    Step { value: size, ..reuse(slot, NTSTATUS::SUCCESS) }
}

/// WdfRequestReuse without a structure.
pub(crate) const fn reuse_without_parameters(slot: u32) -> Step {
    reuse_with_size(slot, NO_PARAMETERS)
}

/// WdfRequestReuse with an IRP that is one, and its address.
pub(crate) const fn reuse_with_irp(slot: u32) -> Step {
    step(Op::REUSE_WITH_IRP, slot, 0)
}

/// WdfIoTargetStop; what was sent stays with the target's driver.
pub(crate) const fn target_stop() -> Step {
    step(Op::TARGET_STOP, 0, LEAVE_SENT_IO_PENDING)
}

/// WdfIoTargetPurge, without waiting.
pub(crate) const fn target_purge() -> Step {
    step(Op::TARGET_PURGE, 0, PURGE_IO)
}

pub(crate) const fn on_cancel(slot: u32, action: OnCancel) -> Step {
    step(Op::ON_CANCEL, slot, action as u32)
}

pub(crate) const fn on_completion(slot: u32, action: OnCompletion) -> Step {
    step(Op::ON_COMPLETION, slot, action as u32)
}

pub(crate) const fn on_stop(slot: u32, action: OnStop) -> Step {
    step(Op::ON_STOP, slot, action as u32)
}

/// Sends so many requests one after the other, with one object that is reused or with a new one each.
pub(crate) const fn time_sends(slot: u32, reuse: bool, times: u64) -> Step {
    Step { value: times, ..step(Op::TIME_SENDS, slot, reuse as u32) }
}

/// Forwards the request so many times.
pub(crate) const fn time_forwards(slot: u32, times: u64) -> Step {
    Step { value: times, ..step(Op::TIME_FORWARDS, slot, 0) }
}

/// Cancels the request, until it has completed for the `count`th time.
pub(crate) const fn time_cancel(slot: u32, count: u32) -> Step {
    Step { more: count, ..step(Op::TIME_CANCEL, slot, 0) }
}

/// Waits until an event has happened `count` times; `STATUS_TIMEOUT` when it has not by then.
pub(crate) const fn wait(event: Event, slot: u32, count: u32, patience: Duration) -> Step {
    Step { more: count, value: patience.as_millis() as u64, ..step(Op::WAIT, slot, event as u32) }
}

/// When an event happened, in the order of all events.
pub(crate) const fn when(event: Event, slot: u32) -> Step {
    step(Op::WHEN, slot, event as u32)
}

/// Looks whether an event has happened `count` times; `STATUS_TIMEOUT` when it has not.
pub(crate) const fn look(event: Event, slot: u32, count: u32) -> Step {
    wait(event, slot, count, Duration::ZERO)
}
