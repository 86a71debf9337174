//! What `probe.sys` offers to the contract suite: a driver that does with the framework what it is told, right or wrong.
//!
//! It holds requests in numbered slots. A program puts one there by sending [`SUBJECT`], which stays pending; the probe puts others there by
//! making them ([`Op::CREATE`]) or retrieving them. The probe's own requests go to a target that is the probe itself, so that a `SUBJECT`
//! that it sends turns up in another slot. [`RUN`] carries a list of [`Step`]s, which are done one after the other whatever comes of them; the
//! answer is an [`Outcome`] for each step that was done. Nothing is checked but that numbers are in range: what the framework does with the rest is
//! what is tested.
//!
//! The probe also drives a PnP device without hardware, whose queues follow the device's power: what EvtIoStop does with a request is its slot's
//! [`OnStop`].

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::io::{Method, control_code};

/// Name of the probe's device.
pub const DEVICE: &str = r"\Device\Probe";
/// Its name for programs, as the driver makes it.
pub const SYMBOLIC_LINK: &str = r"\DosDevices\Probe";
/// Its name for programs, as they open it.
pub const OPEN_PATH: &str = r"\??\Probe";
/// Name of the probe's PnP device for programs, as the driver makes it.
pub const PNP_SYMBOLIC_LINK: &str = r"\DosDevices\ProbePnp";
/// Name of the probe's PnP device for programs, as they open it.
pub const PNP_OPEN_PATH: &str = r"\??\ProbePnp";

/// Does a list of steps; input: [`Step`]s; output: as many [`Outcome`]s.
pub const RUN: u32 = control_code(0x900, Method::Buffered);
/// A request to do things with; input: [`Subject`]; it ends when a step completes it, or when it is cancelled.
pub const SUBJECT: u32 = control_code(0x901, Method::Buffered);
/// Completed with success at once; no buffers.
pub const NOTHING: u32 = control_code(0x902, Method::Buffered);

/// As [`RUN`], done by a handler of [`queue::SYNCHRONIZED`], or of [`queue::POWER_SYNCHRONIZED`] when it is sent to the PnP device. The handler
/// holds that queue's presentation lock.
pub const RUN_SYNCHRONIZED: u32 = control_code(0x903, Method::Buffered);

/// Slots for requests.
pub const SLOTS: u32 = 32;
/// The slot of events of requests that are in none. No request is to be held in it.
pub const NOBODY: u32 = SLOTS - 1;
/// Most steps of one `RUN`.
pub const MOST_STEPS: usize = 64;

/// The probe's queues, by number.
pub mod queue {
    /// Parallel, the default.
    pub const DEFAULT: u32 = 0;
    /// Parallel.
    pub const PARALLEL: u32 = 1;
    /// Sequential.
    pub const SEQUENTIAL: u32 = 2;
    /// Manual.
    pub const MANUAL: u32 = 3;
    /// Manual, of another device, whose default it is: what is sent to the other device waits in it without ever having been presented.
    pub const OTHER_DEVICE: u32 = 4;
    /// Manual, without EvtIoCanceledOnQueue.
    pub const MANUAL_QUIET: u32 = 5;
    /// Parallel, but for one request at a time.
    pub const PARALLEL_OF_ONE: u32 = 6;
    /// Parallel, with callbacks that are synchronised with each other (WdfSynchronizationScopeQueue).
    pub const SYNCHRONIZED: u32 = 7;
    /// Parallel, the default of the PnP device; power-managed, with EvtIoStop and EvtIoResume.
    pub const POWER: u32 = 8;
    /// Manual, of the PnP device; power-managed, with EvtIoStop.
    pub const POWER_MANUAL: u32 = 9;
    /// Parallel, of the PnP device; power-managed, without EvtIoStop.
    pub const POWER_QUIET: u32 = 10;
    /// Parallel, of the PnP device; power-managed, with EvtIoStop, with callbacks that are synchronised with each other.
    pub const POWER_SYNCHRONIZED: u32 = 11;
    /// How many there are.
    pub const COUNT: u32 = 12;
    /// How many of them belong to control devices; those behind them belong to the PnP device, and go and come with it.
    pub const CONTROL_COUNT: u32 = 8;
}

/// The probe's I/O targets, by number; see [`Op::USE_TARGET`].
pub mod target {
    /// The device that programs open.
    pub const PROBE: u32 = 0;
    /// The other device.
    pub const OTHER_DEVICE: u32 = 1;
    /// The device that programs open, by a target that is made and deleted; see [`Op::TARGET_MAKE`](super::Op::TARGET_MAKE).
    pub const SHORT_LIVED: u32 = 2;
    /// How many there are.
    pub const COUNT: u32 = 3;
}

/// Input of [`SUBJECT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Subject {
    /// The slot to be held in, each time it is presented.
    pub slot: u32,
    /// Zero.
    pub reserved: u32,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Step {
    /// What.
    pub op: Op,
    /// The slot it is about.
    pub slot: u32,
    /// Meaning depends on the operation.
    pub number: u32,
    /// Meaning depends on the operation.
    pub more: u32,
    /// Meaning depends on the operation.
    pub value: u64,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Outcome {
    /// The status that the framework returned; success for functions that return none.
    pub status: i32,
    /// Zero.
    pub reserved: u32,
    /// What else it returned: a truth value, a count, flags, a number.
    pub value: u64,
}

/// Operations. "The request" is the one in the step's slot; "queue" is a number of [`queue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Op(pub u32);

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        impl Op {
            $($(#[$doc])* pub const $name: Self = Self($number);)*
        }
    };
}

operations! {
    /// WdfRequestCompleteWithInformation; `number` is the status, `value` the information.
    COMPLETE = 1;
    /// WdfRequestForwardToIoQueue, to queue `number`.
    FORWARD = 2;
    /// WdfRequestRequeue.
    REQUEUE = 3;
    /// WdfRequestMarkCancelable; see [`Op::ON_CANCEL`].
    MARK = 4;
    /// WdfRequestMarkCancelableEx.
    MARK_EX = 5;
    /// WdfRequestUnmarkCancelable.
    UNMARK = 6;
    /// WdfRequestIsCanceled; the truth value.
    IS_CANCELED = 7;
    /// WdfRequestStopAcknowledge, outside of EvtIoStop; `number` is whether to requeue.
    STOP_ACKNOWLEDGE = 8;
    /// WdfRequestGetStatus.
    GET_STATUS = 9;
    /// WdfRequestGetInformation; the count.
    GET_INFORMATION = 10;
    /// The number of the queue that WdfRequestGetIoQueue gives; [`NO_QUEUE`] for none or a stranger.
    GET_QUEUE = 11;
    /// WdfObjectReference.
    REFERENCE = 12;
    /// WdfObjectDereference.
    DEREFERENCE = 13;
    /// Copies the slot's handle to slot `number`.
    COPY_HANDLE = 14;
    /// Puts `value` into the slot as if it were a handle. Whatever uses it is a bug check.
    FORGE_HANDLE = 15;
    /// Forgets the slot's handle.
    FORGET = 16;
    /// Puts the handle of queue `number` into the slot: a valid handle, of something that is no request.
    QUEUE_HANDLE = 17;
    /// WdfRequestWdmGetIrp; the address.
    GET_IRP = 18;
    /// The handle in the slot, as a number.
    HANDLE = 19;
    /// WdfIoQueueRetrieveNextRequest of queue `number`, into the slot.
    RETRIEVE = 20;
    /// WdfIoQueueGetState of queue `number`: the state in bits 0 to 31, queued requests from 32, presented ones from 48.
    QUEUE_STATE = 21;
    /// WdfIoQueueStart of queue `number`.
    QUEUE_START = 22;
    /// WdfIoQueueStop of queue `number`; see [`Event::QueueState`].
    QUEUE_STOP = 23;
    /// WdfIoQueuePurge of queue `number`; with `more` set, [`Event::QueuePurged`] tells of its end.
    QUEUE_PURGE = 24;
    /// WdfIoQueueDrain of queue `number`.
    QUEUE_DRAIN = 25;
    /// WdfIoQueueStopAndPurge of queue `number`.
    QUEUE_STOP_AND_PURGE = 26;
    /// WdfIoQueueReadyNotify of queue `number`; see [`Event::QueueReady`]. With `more` set, it is called off.
    QUEUE_READY_NOTIFY = 27;
    /// WdfObjectDelete of queue `number`, whose handle a reference keeps.
    QUEUE_DELETE = 28;
    /// WdfRequestRetrieveInputMemory, and WdfObjectReference of that memory, which nobody gives back.
    KEEP_MEMORY = 29;
    /// Puts the handle of the probe's spin lock into the slot.
    LOCK_HANDLE = 30;
    /// WdfRequestCreate for the probe's target.
    CREATE = 40;
    /// WdfObjectDelete.
    DELETE = 41;
    /// WdfIoTargetFormatRequestForIoctl, for [`SUBJECT`] with slot `number`.
    FORMAT_SUBJECT = 42;
    /// WdfIoTargetFormatRequestForIoctl, for [`NOTHING`].
    FORMAT_NOTHING = 43;
    /// WdfRequestFormatRequestUsingCurrentType.
    FORMAT_CURRENT = 44;
    /// WdfRequestSetCompletionRoutine; see [`Op::ON_COMPLETION`].
    SET_COMPLETION = 45;
    /// WdfRequestSend with flags `number`, and a time-out of `value` units of 100 ns when it is not 0. The truth value.
    SEND = 46;
    /// WdfRequestCancelSentRequest; the truth value.
    CANCEL_SENT = 47;
    /// WdfRequestReuse with flags `number` and status `more`; with `value` not 0, of a structure of that size, or of none if it is
    /// [`NO_PARAMETERS`]. The new IRP is none; see [`Op::REUSE_WITH_IRP`].
    REUSE = 48;
    /// WdfRequestCreateFromIrp of a new IRP for the probe's target; `number` is RequestFreesIrp. If it is 0, the probe frees the IRP when the
    /// request is destroyed.
    CREATE_FROM_IRP = 49;
    /// WdfRequestReuse with a new IRP for the probe's target, and status `more`. Whose the new IRP is, is as in [`Op::CREATE_FROM_IRP`]. An IRP
    /// that is refused is freed. The new IRP's address.
    REUSE_WITH_IRP = 50;
    /// WdfRequestCreate without a target: a request that has no IRP.
    CREATE_WITHOUT_TARGET = 51;
    /// WdfRequestCreateFromIrp of a new IRP that has no stack location for anyone below; the framework frees it.
    CREATE_FROM_SHORT_IRP = 52;
    /// WdfIoTargetStart.
    TARGET_START = 60;
    /// WdfIoTargetStop with action `number`.
    TARGET_STOP = 61;
    /// WdfIoTargetPurge with action `number`.
    TARGET_PURGE = 62;
    /// WdfIoTargetGetState.
    TARGET_STATE = 63;
    /// WdfIoTargetClose.
    TARGET_CLOSE = 64;
    /// WdfIoTargetOpen; with `number` set, the target wants a stack location more than its device needs.
    TARGET_OPEN = 65;
    /// "The probe's target" of the steps that follow, in this and in later `RUN`s, is [`target`] `number`.
    USE_TARGET = 66;
    /// WdfIoTargetCreate of the target in use, which must not be there, and WdfIoTargetOpen of it; with `number` set, for the PnP device.
    TARGET_MAKE = 67;
    /// WdfObjectReference and WdfObjectDelete of the target in use: the reference keeps its handle good.
    TARGET_DELETE = 68;
    /// WdfObjectDereference of the target in use after [`Op::TARGET_DELETE`], and forgets its handle.
    TARGET_FORGET = 69;
    /// What the cancel callback does with the slot's request: an [`OnCancel`] in `number`.
    ON_CANCEL = 80;
    /// What the completion routine does with the slot's request: an [`OnCompletion`] in `number`.
    ON_COMPLETION = 81;
    /// Waits until [`Event`] `number` of the slot (or queue) has happened at least `more` times, at most `value` milliseconds.
    /// `STATUS_TIMEOUT` when it has not. The count.
    WAIT = 82;
    /// Forgets all events, actions and handles, and uses the first target.
    RESET = 83;
    /// Raises the IRQL to DISPATCH_LEVEL for the steps that follow.
    RAISE = 84;
    /// Lowers it again.
    LOWER = 85;
    /// Takes the probe's spin lock.
    SPIN_ACQUIRE = 86;
    /// Releases the probe's spin lock, held or not.
    SPIN_RELEASE = 87;
    /// When [`Event`] `number` of the slot (or queue) happened the last time: events of all kinds and slots are numbered from 1, in the order in
    /// which their callbacks began. 0 for never.
    WHEN = 88;
    /// Whether the framework's verifier is on for the probe, as its registry key has it. Fails when the key does not say.
    VERIFIER = 89;
    /// What EvtIoStop does with the slot's request: an [`OnStop`] in `number`.
    ON_STOP = 90;
    /// The action flags that EvtIoStop had the last time for the slot's request; 0 for never.
    STOP_FLAGS = 91;
    /// WdfDeviceSetFailed of the PnP device, WdfDeviceFailedAttemptRestart: it is removed, and added again.
    FAIL_DEVICE = 92;
    /// KeEnterCriticalRegion; the handler returns inside of it.
    ENTER_REGION = 93;
    /// WdfDriverCreate once more, after DriverEntry.
    DRIVER_CREATE = 94;
    /// Where probe.sys lies: the address of its first byte, or with `number` 1 of the byte behind its last.
    IMAGE = 95;
    /// What the queue held when EvtIoStop had acknowledged for the slot's request with Requeue set, and not returned: queued requests in bits 16
    /// to 31, presented ones below.
    STOP_LOAD = 96;
    /// Measures: `value` times a request of the probe's is sent to the target for [`NOTHING`], one and the same with WdfRequestReuse before
    /// each send but the first if `number` is 1, else a new one each time, which is deleted. The time, in nanoseconds.
    TIME_SENDS = 100;
    /// Measures: `value` times the slot's request is forwarded to [`queue::MANUAL`] or [`queue::MANUAL_QUIET`], in turn, and retrieved. The time
    /// that the forwarding took, in nanoseconds.
    TIME_FORWARDS = 101;
    /// Measures: WdfRequestCancelSentRequest of the slot's request, from the call until it is [`Event::Completed`] for the `more`th time. The
    /// time, in nanoseconds.
    TIME_CANCEL = 102;
}

/// Value of [`Op::REUSE`] for no structure at all.
pub const NO_PARAMETERS: u64 = u64::MAX;

/// Answer of [`Op::GET_QUEUE`] when there is none.
pub const NO_QUEUE: u64 = u64::MAX;

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Event {
    /// The slot's subject was presented.
    Presented = 0,
    /// The cancel callback of the slot's request ran.
    Canceled = 1,
    /// The completion routine of the slot's request ran.
    Completed = 2,
    /// EvtIoCanceledOnQueue ran for the slot's request.
    CanceledOnQueue = 3,
    /// The queue with the slot's number came to the state that was asked for.
    QueueState = 4,
    /// The manual queue with the slot's number was empty, and is no longer.
    QueueReady = 5,
    /// A request that the probe made in the slot was destroyed: EvtDestroyCallback ran.
    Destroyed = 6,
    /// EvtIoStop ran for the slot's request.
    Stopped = 7,
    /// EvtIoResume ran for the slot's request.
    Resumed = 8,
    /// Slot 0: EvtDeviceD0Entry of the PnP device ran.
    PowerUp = 9,
    /// Slot 0: EvtDeviceD0Exit of the PnP device ran.
    PowerDown = 10,
    /// Slot 0: EvtDeviceSurpriseRemoval of the PnP device ran.
    SurpriseRemoved = 11,
    /// Slot 0: EvtDeviceReleaseHardware of the PnP device ran.
    Released = 12,
    /// Slot 0: EvtDeviceSelfManagedIoInit or EvtDeviceSelfManagedIoRestart of the PnP device ran: its queues dispatch.
    Working = 13,
    /// The queue with the slot's number has been purged, by a purge that tells of it apart.
    QueuePurged = 14,
}

/// Kinds of [`Event`].
pub const EVENTS: u32 = 15;

/// What the cancel callback does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum OnCancel {
    /// Completes the request with `STATUS_CANCELLED`.
    Complete = 0,
    /// Nothing: a step completes it.
    Keep = 1,
}

/// What EvtIoStop does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum OnStop {
    /// As the example of the page about WdfRequestCancelSentRequest: told to suspend, it acknowledges without requeuing; told to purge, it
    /// cancels the request, which was sent on.
    Example = 0,
    /// Acknowledges, and requeues.
    Requeue = 1,
    /// Completes the request with `STATUS_CANCELLED`.
    Complete = 2,
    /// Nothing: a step completes it.
    Forget = 3,
}

/// What the completion routine does, after it has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum OnCompletion {
    /// Nothing.
    Keep = 0,
    /// Reuses the request.
    Reuse = 1,
    /// Reuses it, formats it for [`NOTHING`], sets the completion routine, sends it; and does nothing the next time.
    ReuseAndSend = 2,
    /// As before, without setting the completion routine.
    ReuseAndSendBare = 3,
    /// Completes it: right for a request that a queue presented, wrong for one that the probe made.
    Complete = 4,
    /// Deletes it.
    Delete = 5,
    /// WdfRequestReuse with a structure of another size than it has, which is refused.
    ReuseInVain = 6,
}
