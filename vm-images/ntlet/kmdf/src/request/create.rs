//! Requests that a driver makes: create, create from an IRP, reuse, change of target, and the formats that need no target.

use core::ptr::null_mut;
use core::sync::atomic::Ordering;

use wdf_sys::wdf::{WDF_OBJECT_ATTRIBUTES, WDF_REQUEST_REUSE_PARAMS, WDF_REQUEST_REUSE_SET_NEW_IRP, WDF_REQUEST_TYPE};
use wdf_sys::wdm::functions::{IoAllocateIrp, IoFreeIrp, IoReuseIrp};
use wdf_sys::wdm::{IO_STACK_LOCATION, IRP, copy_current_stack_location_to_next, next_stack_location};
use wdf_sys::{BOOLEAN, NTSTATUS, WDFIOTARGET, WDFREQUEST};

use super::{Origin, Request, irp, ownership, send};
use crate::call::{Call, ddi};
use crate::history::Event;
use crate::object::attributes::Rules;
use crate::object::{Attributes, Ref};
use crate::sync::DISPATCH_LEVEL;
use crate::target::Target;
use crate::verifier::{self, Rule};

ddi! {
    fn WdfRequestCreate(call, attributes: *mut WDF_OBJECT_ATTRIBUTES, target: WDFIOTARGET, request: *mut WDFREQUEST) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write(request, WDFREQUEST::NULL);
        let target = call.optional_object::<Target>(target);
        let created = Attributes::read(call, attributes, Rules::ORDINARY).and_then(|attributes| {
            let irp = match &target {
                Some(target) => allocate_irp(target.stack_size())?,
                None => null_mut(),
            };
            create(call, &attributes, Request::new(Origin::Created, irp, None))
        });
        if let Ok(created) = &created {
            let to = target.map_or(0, |target| target.any().header().handle);
            call.globals.history.record(Event::RequestCreated, created.any().header().handle, to, 0);
        }
        call.created(request, created)
    }

    fn WdfRequestCreateFromIrp(call, attributes: *mut WDF_OBJECT_ATTRIBUTES, irp: *mut IRP, frees: BOOLEAN, request: *mut WDFREQUEST) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write(request, WDFREQUEST::NULL);
        let _ = call.required(irp);
        let created = Attributes::read(call, attributes, Rules::ORDINARY).and_then(|attributes| {
            create(call, &attributes, Request::new(Origin::FromIrp, irp, None))
        });
        if let Ok(created) = &created {
            // Only now: had the creation failed, the IRP would have stayed the driver's.
            created.frees_irp.store(frees != 0, Ordering::Release);
            call.globals.history.record(Event::RequestCreated, created.any().header().handle, irp.addr(), 0);
        }
        call.created(request, created)
    }

    fn WdfRequestReuse(call, request: WDFREQUEST, params: *mut WDF_REQUEST_REUSE_PARAMS) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        let request = call.object::<Request>(request);
        let status = reuse(call, &request, call.required(params));
        let handle = request.any().header().handle;
        call.globals.history.record(Event::RequestReused, handle, status.bits() as usize, 0);
        status
    }

    fn WdfRequestChangeTarget(call, request: WDFREQUEST, target: WDFIOTARGET) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        let request = call.object::<Request>(request);
        let target = call.object::<Target>(target);
        if send::is_sent(call, &request) {
            return NTSTATUS::WDF_REQUEST_INVALID_STATE;
        }
        irp_for(&request, &target).map_or_else(|status| status, |_| NTSTATUS::SUCCESS)
    }

    fn WdfRequestFormatRequestUsingCurrentType(call, request: WDFREQUEST) {
        call.irql_at_most(DISPATCH_LEVEL);
        let request = call.object::<Request>(request);
        if request.origin == Origin::Created {
            verifier::violation(call.globals, Rule::RequestState, request.any().header().handle, format_args!(
                "{}: a request that the driver created has no current type", call.name()));
            return;
        }
        if let Some(irp) = formattable(call, &request) {
            // SAFETY: the IRP is ours, has a current location since it came to a driver, and `formattable` has seen a next one.
            let major = unsafe {
                copy_current_stack_location_to_next(irp);
                (*next_stack_location(irp)).MajorFunction
            };
            mark_formatted(&request, WDF_REQUEST_TYPE(i32::from(major)));
        }
    }

    fn WdfRequestWdmFormatUsingStackLocation(call, request: WDFREQUEST, stack: *mut IO_STACK_LOCATION) {
        call.irql_at_most(DISPATCH_LEVEL);
        let request = call.object::<Request>(request);
        let mut location = *call.required(stack);
        if let Some(irp) = formattable(call, &request) {
            location.CompletionRoutine = None;
            location.Context = null_mut();
            location.Control = 0;
            // SAFETY: the IRP is ours, and `formattable` has seen a next location.
            unsafe { *next_stack_location(irp) = location };
            mark_formatted(&request, WDF_REQUEST_TYPE::WdfRequestTypeNoFormat);
        }
    }
}

/// The IRP of a request that may be formatted now, with room for one more stack location.
fn formattable(call: &Call, request: &Ref<Request>) -> Option<*mut IRP> {
    if send::is_sent(call, request) {
        return None;
    }
    let irp = ownership::accessible(call, request)?;
    // SAFETY: the request is neither sent nor completed, so the IRP is ours.
    if unsafe { (*irp).CurrentLocation } <= 1 {
        crate::report!(call.globals, "{}: the IRP has no stack location left", call.name());
        return None;
    }
    Some(irp)
}

fn mark_formatted(request: &Ref<Request>, kind: WDF_REQUEST_TYPE) {
    // SAFETY: the driver owns the request and has given it to this call.
    let side = unsafe { request.send_side() };
    side.formatted = true;
    side.params.Type = kind;
}

fn create(call: &Call, attributes: &Attributes, body: Request) -> Result<Ref<Request>, NTSTATUS> {
    let driver = call.globals.driver();
    let request = crate::object::create(call.globals, attributes, driver.as_ref(), body)?;
    Request::initialize(&request);
    Ok(request)
}

fn allocate_irp(stack_size: i8) -> Result<*mut IRP, NTSTATUS> {
    // SAFETY: an allocation; the result is checked.
    let irp = unsafe { IoAllocateIrp(stack_size.max(1), wdf_sys::FALSE) };
    if irp.is_null() { Err(NTSTATUS::INSUFFICIENT_RESOURCES) } else { Ok(irp) }
}

/// The request's IRP, with room for the drivers of a target. A created request without one gets one.
///
/// # Errors
/// `REQUEST_NOT_ACCEPTED` when the IRP has too few stack locations, `INSUFFICIENT_RESOURCES`.
pub(crate) fn irp_for(request: &Ref<Request>, target: &Ref<Target>) -> Result<*mut IRP, NTSTATUS> {
    let existing = request.irp();
    if existing.is_null() {
        if request.origin != Origin::Created {
            return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
        }
        let irp = allocate_irp(target.stack_size())?;
        request.set_irp(irp);
        return Ok(irp);
    }
    // SAFETY: neither sent nor completed, so the IRP is ours.
    let room = unsafe { (*existing).CurrentLocation } - 1;
    if room < target.stack_size().max(1) { Err(NTSTATUS::REQUEST_NOT_ACCEPTED) } else { Ok(existing) }
}

fn reuse(call: &Call, request: &Ref<Request>, params: &WDF_REQUEST_REUSE_PARAMS) -> NTSTATUS {
    let new_irp = params.Flags & WDF_REQUEST_REUSE_SET_NEW_IRP != 0;
    if params.Size as usize != size_of::<WDF_REQUEST_REUSE_PARAMS>() || params.Flags & !WDF_REQUEST_REUSE_SET_NEW_IRP != 0 {
        return NTSTATUS::INVALID_PARAMETER;
    }
    if new_irp && request.origin != Origin::FromIrp {
        return NTSTATUS::WDF_REQUEST_INVALID_STATE;
    }
    if new_irp && params.NewIrp.is_null() {
        return NTSTATUS::INVALID_PARAMETER;
    }
    if !request.sent.lock().reuse() {
        // Reported, then carried on as far as that is possible: the IRP is the lower driver's, and is left alone.
        if call.globals.verifies() {
            verifier::violation(
                call.globals,
                Rule::RequestState,
                request.any().header().handle,
                format_args!("{} of a request that is still sent to an I/O target", call.name()),
            );
        }
        return NTSTATUS::SUCCESS;
    }
    if request.origin == Origin::Incoming {
        return reuse_incoming(call, request, params.Status);
    }
    let old = request.irp();
    forget_format(request, old);
    if new_irp {
        request.set_irp(params.NewIrp);
        if !old.is_null() && old != params.NewIrp && request.frees_irp.load(Ordering::Acquire) {
            // SAFETY: the request owned the IRP, and it is not sent.
            unsafe { IoFreeIrp(old) };
        }
        request.set_status(params.Status);
    } else if old.is_null() {
        request.set_status(params.Status);
    } else {
        // SAFETY: the IRP is the request's, and not sent.
        unsafe { IoReuseIrp(old, params.Status) };
    }
    NTSTATUS::SUCCESS
}

/// A request from a queue keeps its IRP; status and cancel flag are new.
fn reuse_incoming(call: &Call, request: &Ref<Request>, status: NTSTATUS) -> NTSTATUS {
    let irp = request.irp();
    if irp.is_null() || request.completed.load(Ordering::Acquire) {
        ownership::touched_after_completion(call, request);
        return NTSTATUS::WDF_REQUEST_INVALID_STATE;
    }
    forget_format(request, irp);
    // SAFETY: neither sent nor completed, so the IRP is ours.
    unsafe {
        irp::clear_cancelled(irp);
        irp::set_result(irp, status, 0);
    }
    NTSTATUS::SUCCESS
}

/// Format, parameters and completion routine of the last send go.
fn forget_format(request: &Ref<Request>, irp: *mut IRP) {
    // SAFETY: the driver owns the request, which is not sent, and has given it to this call.
    let side = unsafe { request.send_side() };
    side.give_back(irp);
    side.forget();
}
