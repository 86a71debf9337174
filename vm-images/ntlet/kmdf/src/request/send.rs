//! Sending to a target, cancelling what was sent, and the end of a send. What is decided is decided in [`super::sent`] and
//! [`crate::target::state`]; here the IRP is set up and the kernel called.
//!
//! Locks: the target's, and inside it the request's `sent`. Neither is held while a driver or the kernel's I/O manager is called.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::Ordering;

use wdf_sys::wdf::{
    PFN_WDF_REQUEST_COMPLETION_ROUTINE, WDF_REQUEST_COMPLETION_PARAMS, WDF_REQUEST_FATAL_ERROR_NO_MORE_STACK_LOCATIONS,
    WDF_REQUEST_FATAL_ERROR_NULL_IRP, WDF_REQUEST_FATAL_ERROR_REQUEST_ALREADY_SENT, WDF_REQUEST_SEND_OPTION_IGNORE_TARGET_STATE,
    WDF_REQUEST_SEND_OPTION_SEND_AND_FORGET, WDF_REQUEST_SEND_OPTION_SYNCHRONOUS, WDF_REQUEST_SEND_OPTION_TIMEOUT,
    WDF_REQUEST_SEND_OPTIONS,
};
use wdf_sys::wdm::constants::NOTIFICATION_EVENT;
use wdf_sys::wdm::functions::IoCancelIrp;
use wdf_sys::wdm::{DEVICE_OBJECT, IO_STATUS_BLOCK, IRP, set_completion_routine, skip_current_stack_location};
use wdf_sys::{BOOLEAN, NTSTATUS, WDFIOTARGET, WDFREQUEST};

use super::sent::{CancelAction, Canceller, Refused};
use super::timer::{self, Timer};
use super::{Origin, Request, complete, irp};
use crate::call::{Call, ddi};
use crate::history::Event;
use crate::object::Ref;
use crate::queue::entry::{Cancel, Place};
use crate::queue::pump::pump;
use crate::sync::{self, DISPATCH_LEVEL, PASSIVE_LEVEL};
use crate::target::Target;
use crate::target::state::Admission;
use crate::verifier::{self, BugCheck, Rule};

const ALL_FLAGS: u32 = WDF_REQUEST_SEND_OPTION_TIMEOUT
    | WDF_REQUEST_SEND_OPTION_SYNCHRONOUS
    | WDF_REQUEST_SEND_OPTION_IGNORE_TARGET_STATE
    | WDF_REQUEST_SEND_OPTION_SEND_AND_FORGET;

ddi! {
    fn WdfRequestSend(call, request: WDFREQUEST, target: WDFIOTARGET, options: *mut WDF_REQUEST_SEND_OPTIONS) -> BOOLEAN {
        call.irql_at_most(DISPATCH_LEVEL);
        let request = call.object::<Request>(request);
        let target = call.object::<Target>(target);
        let options = match read_options(call, options) {
            Ok(options) => options,
            Err(status) => {
                request.set_status(status);
                return wdf_sys::FALSE;
            }
        };
        match send(call, &request, &target, options) {
            Ok(()) => wdf_sys::TRUE,
            Err(status) => {
                request.set_status(status);
                wdf_sys::FALSE
            }
        }
    }

    fn WdfRequestCancelSentRequest(call, request: WDFREQUEST) -> BOOLEAN {
        call.irql_at_most(DISPATCH_LEVEL);
        let request = call.object::<Request>(request);
        let delivered = cancel(&request, Canceller::Driver);
        check_kept(call, &request);
        call.globals.history.record(Event::RequestSentCancel, request.any().header().handle, delivered.into(), 0);
        delivered.into()
    }

    fn WdfRequestSetCompletionRoutine(call, request: WDFREQUEST, routine: PFN_WDF_REQUEST_COMPLETION_ROUTINE, context: *mut c_void) {
        call.irql_at_most(DISPATCH_LEVEL);
        let request = call.object::<Request>(request);
        if is_sent(call, &request) {
            return;
        }
        // SAFETY: the driver owns the request in this call.
        let side = unsafe { request.send_side() };
        (side.routine, side.routine_context) = (routine, context);
    }

    fn WdfRequestGetCompletionParams(call, request: WDFREQUEST, params: *mut WDF_REQUEST_COMPLETION_PARAMS) {
        let request = call.object::<Request>(request);
        if call.read(params.cast::<u32>()) as usize != size_of::<WDF_REQUEST_COMPLETION_PARAMS>() {
            verifier::violation(call.globals, Rule::InvalidParameter, request.any().header().handle, format_args!(
                "{}: wrong Size", call.name()));
            return;
        }
        if is_sent(call, &request) {
            return;
        }
        // SAFETY: the driver owns the request in this call.
        call.write(params, unsafe { request.send_side() }.params);
    }

    fn WdfRequestAllocateTimer(call, request: WDFREQUEST) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        let request = call.object::<Request>(request);
        if is_sent(call, &request) {
            return NTSTATUS::WDF_REQUEST_INVALID_STATE;
        }
        allocate_timer(&request).map_or_else(|status| status, |_| NTSTATUS::SUCCESS)
    }
}

/// Reports a request that was cancelled, ended and deleted while the driver held no reference on it. Nothing but this call has kept it: on
/// Windows, where the call counts none, its memory is gone.
fn check_kept(call: &Call, request: &Ref<Request>) {
    if call.globals.verifies() && request.any().is_last() {
        verifier::violation(
            call.globals,
            Rule::RequestNotReferenced,
            request.any().header().handle,
            format_args!("{}: the request was deleted meanwhile, and the driver held no reference on it", call.name()),
        );
    }
}

/// Reports a call about a request that is sent.
pub(crate) fn is_sent(call: &Call, request: &Ref<Request>) -> bool {
    let sent = request.sent.lock().is_under_way();
    if sent && call.globals.verifies() {
        verifier::violation(
            call.globals,
            Rule::InvalidReqAccess,
            request.any().header().handle,
            format_args!("{} of a request that is sent to an I/O target", call.name()),
        );
    }
    sent
}

/// Checked send options: flags and time-out.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    pub(crate) flags: u32,
    pub(crate) timeout: i64,
}

/// Reads what the driver passed.
///
/// # Errors
/// `INFO_LENGTH_MISMATCH`, `INVALID_PARAMETER`.
pub(crate) fn read_options(call: &Call, options: *const WDF_REQUEST_SEND_OPTIONS) -> Result<Options, NTSTATUS> {
    if options.is_null() {
        return Ok(Options::default());
    }
    let given = call.sized(options, &[])?;
    let forget = given.Flags & WDF_REQUEST_SEND_OPTION_SEND_AND_FORGET != 0;
    if given.Flags & !ALL_FLAGS != 0 || (forget && given.Flags != WDF_REQUEST_SEND_OPTION_SEND_AND_FORGET) {
        crate::report!(call.globals, "{}: flags {:#x} are not valid", call.name(), given.Flags);
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    let timeout = if given.Flags & WDF_REQUEST_SEND_OPTION_TIMEOUT != 0 { given.Timeout } else { 0 };
    Ok(Options { flags: given.Flags, timeout })
}

fn allocate_timer(request: &Ref<Request>) -> Result<*mut Timer, NTSTATUS> {
    let existing = request.timer.load(Ordering::Acquire);
    if !existing.is_null() {
        return Ok(existing);
    }
    let timer = Timer::allocate(request)?;
    request.timer.store(timer, Ordering::Release);
    Ok(timer)
}

/// Sends a request. `Ok`: it is sent (or waits in a stopped target), and its end will be told; of a synchronous send it has been.
///
/// # Errors
/// The status that WdfRequestGetStatus gives after WdfRequestSend returned FALSE.
pub(crate) fn send(call: &Call, request: &Ref<Request>, target: &Ref<Target>, options: Options) -> Result<(), NTSTATUS> {
    let handle = request.any().header().handle;
    if request.sent.lock().is_under_way() {
        verifier::bug_check(call.globals, BugCheck::RequestFatalError(WDF_REQUEST_FATAL_ERROR_REQUEST_ALREADY_SENT, handle));
    }
    if request.completed.load(Ordering::Acquire) {
        super::ownership::touched_after_completion(call, request);
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    check_owned(call, request)?;
    if options.flags & WDF_REQUEST_SEND_OPTION_SEND_AND_FORGET != 0 {
        return send_and_forget(call, request, target);
    }
    let synchronous = options.flags & WDF_REQUEST_SEND_OPTION_SYNCHRONOUS != 0;
    check_formatted(call, request, target)?;
    // SAFETY: the driver owns the request, as checked, and has given it to this call.
    let side = unsafe { request.send_side() };
    if request.origin == Origin::Incoming && !synchronous && side.routine.is_none() {
        crate::report!(
            call.globals,
            "{}: a request from a queue needs a completion routine, or nobody could complete it",
            call.name()
        );
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    if synchronous && !call.irql_at_most(PASSIVE_LEVEL) {
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    let timer = if options.timeout == 0 { null_mut() } else { allocate_timer(request)? };
    let event = sync::Event::uninitialized();
    if synchronous {
        event.initialize(NOTIFICATION_EVENT, false);
        side.event = event.as_ptr();
    }
    call.globals.history.record(Event::RequestSent, handle, target.any().header().handle, options.flags as usize);
    let result = submit(request, target, options, timer);
    if synchronous {
        match result {
            Ok(()) => event.wait(),
            // SAFETY: nothing was sent, so the request is still ours.
            Err(_) => unsafe { request.send_side() }.event = null_mut(),
        }
    }
    result
}

/// The driver must own the request it sends, and it must not be cancelable.
fn check_owned(call: &Call, request: &Ref<Request>) -> Result<(), NTSTATUS> {
    // SAFETY: `with_queue` holds the lock of the queue that the entry is in.
    let wrong = request.with_queue(|_, _, entry| unsafe {
        (*entry).place != Place::Presented || matches!((*entry).cancel, Cancel::Marked | Cancel::Fired | Cancel::Due)
    });
    if !matches!(wrong, Some((_, true))) {
        return Ok(());
    }
    if call.globals.verifies() {
        verifier::violation(
            call.globals,
            Rule::InvalidReqAccess,
            request.any().header().handle,
            format_args!("{}: the driver does not own the request, or has not unmarked it", call.name()),
        );
    }
    Err(NTSTATUS::INVALID_DEVICE_REQUEST)
}

/// The IRP must say what to do, and have room for all drivers below.
fn check_formatted(call: &Call, request: &Ref<Request>, target: &Ref<Target>) -> Result<(), NTSTATUS> {
    let handle = request.any().header().handle;
    let irp = request.irp();
    // SAFETY: the driver owns the request and has given it to this call.
    let formatted = unsafe { request.send_side() }.formatted;
    // SAFETY: the request is not completed, so its IRP is there if it has one.
    let room = if irp.is_null() { 0 } else { unsafe { (*irp).CurrentLocation - 1 } };
    let enough = room >= target.stack_size().max(1);
    if call.globals.verifies() && (!formatted || !enough) {
        let why = if formatted { "has too few stack locations for the target" } else { "is not formatted" };
        verifier::violation(call.globals, Rule::RequestNotFormatted, handle, format_args!("{}: the request {why}", call.name()));
        return Err(NTSTATUS::REQUEST_NOT_ACCEPTED);
    }
    if irp.is_null() {
        verifier::bug_check(call.globals, BugCheck::RequestFatalError(WDF_REQUEST_FATAL_ERROR_NULL_IRP, handle));
    }
    if !enough {
        verifier::bug_check(
            call.globals,
            BugCheck::RequestFatalError(WDF_REQUEST_FATAL_ERROR_NO_MORE_STACK_LOCATIONS, irp.addr()),
        );
    }
    Ok(())
}

/// Gives the request to the target, and through it to the device.
fn submit(request: &Ref<Request>, target: &Ref<Target>, options: Options, timer: *mut Timer) -> Result<(), NTSTATUS> {
    let irp = request.irp();
    // From here on the framework owns the request; the reference is for the finish of the send.
    // SAFETY: the driver has given the request to this call.
    unsafe { request.send_side() }.target = Some(target.clone());
    let context = request.clone().into_context();
    // SAFETY: checked above: the IRP is ours and has a next stack location.
    unsafe { set_completion_routine(irp, Some(irp_completed), context) };
    let send = match request.sent.lock().begin() {
        Ok(send) => send,
        Err(refused) => {
            let status = match refused {
                Refused::Cancelled => NTSTATUS::CANCELLED,
                Refused::AlreadySent => NTSTATUS::WDF_REQUEST_ALREADY_PENDING,
            };
            return not_sent(request, status);
        }
    };
    let ignore_state = options.flags & WDF_REQUEST_SEND_OPTION_IGNORE_TARGET_STATE != 0;
    let (admission, ours, device) = {
        let mut guarded = target.guarded.lock();
        let admission = guarded.state.admit(ignore_state);
        let mut sent = request.sent.lock();
        let ours = match admission {
            Admission::Send => sent.call(send),
            Admission::Queue => sent.queue(send),
            Admission::Refuse => sent.abort(send),
        };
        if ours && admission != Admission::Refuse {
            if !timer.is_null() {
                sent.hold();
            }
            // SAFETY: the errand lies in the request, which the counted reference keeps until the finish; it is in no list, since the
            // request was not sent.
            unsafe { guarded.state.enter(request.errand.get(), admission, ignore_state) };
        }
        (admission, ours, guarded.device)
    };
    if !ours {
        // A canceller has taken the send over and finishes it.
        return Ok(());
    }
    if admission == Admission::Refuse {
        return not_sent(request, NTSTATUS::INVALID_DEVICE_STATE);
    }
    if !timer.is_null() {
        timer::arm(request, timer, options.timeout);
        ended(request);
    }
    if admission == Admission::Send {
        // SAFETY: the IRP is formatted for this device, and the target keeps the device while requests are out.
        let _ = unsafe { target.deliver(device, irp) };
    }
    Ok(())
}

/// Undoes what [`submit`] has begun.
fn not_sent(request: &Ref<Request>, status: NTSTATUS) -> Result<(), NTSTATUS> {
    // SAFETY: nothing was sent, so the request is still this call's.
    let _ = unsafe { request.send_side() }.target.take();
    // SAFETY: counted in `submit`, for a finish that will not come.
    drop(unsafe { Ref::<Request>::from_context(request.as_context()) });
    Err(status)
}

/// A request that waited in its target goes out. The target has entered it among those that are out.
pub(crate) fn go_on(request: &Ref<Request>, target: &Ref<Target>, device: *mut DEVICE_OBJECT) {
    // SAFETY: set up by `submit`; the target keeps the device while requests are out.
    let _ = unsafe { target.deliver(device, request.irp()) };
}

/// Send-and-forget: the IRP goes down with our stack location, and the request is over for us.
fn send_and_forget(call: &Call, request: &Ref<Request>, target: &Ref<Target>) -> Result<(), NTSTATUS> {
    if request.origin != Origin::Incoming {
        return Err(NTSTATUS::INVALID_DEVICE_STATE);
    }
    // SAFETY: the driver owns the request, as checked, and has given it to this call.
    if unsafe { request.send_side() }.formatted {
        crate::report!(call.globals, "{}: a formatted request cannot be sent and forgotten", call.name());
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    if request.sent.lock().is_cancelled() {
        return Err(NTSTATUS::CANCELLED);
    }
    let device = {
        let guarded = target.guarded.lock();
        // Whatever the state: but there must be a device.
        if guarded.state.is_gone() || guarded.device.is_null() {
            return Err(NTSTATUS::INVALID_DEVICE_STATE);
        }
        guarded.device
    };
    // SAFETY: `with_queue` holds the lock of the queue that the entry is in.
    let counted = request.with_queue(|_, state, entry| unsafe {
        let ours = (*entry).place == Place::Presented;
        if ours {
            state.leave(entry);
        }
        ours
    });
    if matches!(counted, Some((_, false))) {
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    call.globals.history.record(
        Event::RequestSent,
        request.any().header().handle,
        target.any().header().handle,
        WDF_REQUEST_SEND_OPTION_SEND_AND_FORGET as usize,
    );
    let opening = request.file().filter(|_| complete::is_create(request));
    let (irp, queue) = complete::release_irp(request, counted.is_some());
    match opening {
        // The file object goes if the create fails below.
        Some(file) => {
            let _ = crate::file::send_watched(device, irp, file);
        }
        // SAFETY: the IRP is ours, marked pending when it came; the lower device gets our stack location, as its owner's.
        None => unsafe {
            skip_current_stack_location(irp);
            let _ = target.deliver(device, irp);
        },
    }
    if let Some(queue) = queue {
        pump(&queue);
    }
    Ok(())
}

/// Cancels a request that is sent. Whether the cancel was delivered.
pub(crate) fn cancel(request: &Ref<Request>, canceller: Canceller) -> bool {
    let action = request.sent.lock().cancel(canceller);
    match action {
        CancelAction::NotSent | CancelAction::TooLate => false,
        CancelAction::TakeOver => {
            // SAFETY: the lower driver was not, and will not be, called, so the IRP is ours.
            unsafe { irp::set_result(request.irp(), NTSTATUS::CANCELLED, 0) };
            ended(request);
            true
        }
        CancelAction::CancelIrp => {
            // SAFETY: the hold that was counted keeps the finish of the send, and with it the IRP.
            let delivered = unsafe { IoCancelIrp(request.irp()) } != wdf_sys::FALSE;
            request.sent.lock().unhold();
            ended(request);
            delivered
        }
    }
}

/// The IRP's completion routine.
unsafe extern "win64" fn irp_completed(_device: *mut DEVICE_OBJECT, _irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: `submit` counted a reference for the finish of this send, which cannot come before `complete` below.
    let request = unsafe { Ref::<Request>::borrow_context(context) };
    request.sent.lock().complete();
    ended(&request);
    NTSTATUS::MORE_PROCESSING_REQUIRED
}

/// Someone has done what the finish of a send waits for: finishes it, if that was the last.
pub(crate) fn ended(request: &Ref<Request>) {
    let timer = request.timer.load(Ordering::Acquire);
    let claimed = {
        let sent = request.sent.lock();
        if sent.phase() != super::sent::Phase::Ended {
            return;
        }
        timer::claim(timer)
    };
    if claimed {
        timer::stop(request, timer);
    }
    let last = {
        let mut sent = request.sent.lock();
        let timed_out = sent.is_timed_out();
        sent.finish().then_some(timed_out)
    };
    if let Some(timed_out) = last {
        finish(request, timed_out);
    }
}

/// The send is over: the driver is told. On whatever stack it ended, at DISPATCH_LEVEL at most.
fn finish(request: &Ref<Request>, timed_out: bool) {
    let irp = request.irp();
    // SAFETY: `Sent::finish` has said yes to this caller alone, so the framework's ownership of the request is its.
    let side = unsafe { request.send_side() };
    // SAFETY: the IRP has come back.
    let mut result: IO_STATUS_BLOCK = unsafe { (*irp).IoStatus };
    if timed_out && result.status() == NTSTATUS::CANCELLED {
        result = IO_STATUS_BLOCK::new(NTSTATUS::IO_TIMEOUT, result.Information);
        // SAFETY: as above.
        unsafe { (*irp).IoStatus = result };
    }
    side.target_is_done(irp);
    side.params.IoStatus = result;
    let mut params = side.params;
    let (routine, context) = (side.routine, side.routine_context);
    let event = core::mem::replace(&mut side.event, null_mut());
    let target = side.target.take();
    let history = &request.any().globals().history;
    history.record(Event::RequestReturned, request.any().header().handle, result.status().bits() as usize, result.Information);
    // SAFETY: the errand was entered in this target, if anywhere.
    let counted = target.as_ref().is_some_and(|target| unsafe { target.guarded.lock().state.leave(request.errand.get()) });
    if let (true, Some(routine), Some(target)) = (event.is_null(), routine, &target) {
        request.any().guarded(routine as usize, || {
            // SAFETY: the driver's own routine, called as its page says. The parameters are a copy, since the routine may reuse the request
            // and send it again.
            unsafe { routine(request.handle(), target.handle(), &raw mut params, context) }
        });
    }
    if let Some(target) = target
        && counted
    {
        Target::finished(&target);
    }
    if !event.is_null() {
        // SAFETY: the sender waits for its event; it holds a reference of its own on the request.
        unsafe { wdf_sys::wdm::functions::KeSetEvent(event, 0, wdf_sys::FALSE) };
    }
    // SAFETY: counted in `submit` for this finish.
    drop(unsafe { Ref::<Request>::from_context(request.as_context()) });
}
