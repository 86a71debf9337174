//! Every function that the framework calls: `extern "win64"`, from raw handles to typed values and back. Nothing is decided here.
//!
//! The framework calls each with handles that are valid for the call, of objects that this crate made for the type parameter, at the IRQL
//! that the callback's documentation states. That is what the safety comments below mean by "the framework's promise".

use core::ffi::c_void;
use core::sync::atomic::Ordering;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::{WDF_POWER_DEVICE_STATE, WDF_REQUEST_COMPLETION_PARAMS};
use wdf_sys::*;

use crate::context::{self, Context};
use crate::device::{Device, DeviceEvents, DeviceInit};
use crate::driver::Driver;
use crate::file::{File, FileEvents, FileWatch};
use crate::interrupt::{self, InService, InterruptEvents};
use crate::irql::Passive;
use crate::queue::{
    self, OnCanceledOnQueue, OnDeviceControl, OnQueueReady, OnQuiet, OnRead, OnRequest, OnStop, OnWrite, QueueEvents,
};
use crate::request::cancel::{Canceled, OnCancel};
use crate::request::own::{Completed, OnCompletion};
use crate::request::pass::OnReturn;
use crate::request::state::RequestState;
use crate::request::{IoControl, Request, RequestId};
use crate::resources::Resources;
use crate::stop::Stopping;
use crate::target::{self, Target};
use crate::timer::Dispatch;
use crate::work_item::Work;
use crate::{Result, user_buffers};

fn status(result: Result<()>) -> NTSTATUS {
    result.err().unwrap_or(NTSTATUS::SUCCESS)
}

pub(crate) unsafe extern "win64" fn cleanup<T: Context>(object: WDFOBJECT) {
    // SAFETY: the framework's promise.
    if let Some(slot) = unsafe { context::slot::<T>(object) } {
        // SAFETY: the framework cleans a device's objects up before it destroys one of them, or the device.
        unsafe { slot.leave_place() };
    }
}

pub(crate) unsafe extern "win64" fn destroy<T: Context>(object: WDFOBJECT) {
    // SAFETY: the framework's promise.
    if let Some(slot) = unsafe { context::slot::<T>(object) } {
        // SAFETY: the object is being destroyed: its last reference is gone.
        unsafe { slot.clear() };
    }
}

pub(crate) unsafe extern "win64" fn device_add<D: Driver>(_driver: WDFDRIVER, init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    // SAFETY: the framework's promise.
    let init = unsafe { DeviceInit::new(init) };
    status(D::device_add(init, Passive::assume()))
}

pub(crate) unsafe extern "win64" fn driver_unload<D: Driver>(_driver: WDFDRIVER) {
    D::unload(Passive::assume());
}

/// Finds the device's context and calls `event`.
///
/// # Safety
/// `device` is valid for the call.
unsafe fn device_event<D: DeviceEvents>(device: WDFDEVICE, event: impl FnOnce(Device<'_, D>) -> Result<()>) -> NTSTATUS {
    // SAFETY: the caller's promise.
    match unsafe { Device::from_handle(device) } {
        Some(device) => status(event(device)),
        None => NTSTATUS::DEVICE_NOT_READY,
    }
}

/// PnP and power callbacks with no arguments but the device.
macro_rules! device_events {
    ($($name:ident -> $result:ty;)*) => {$(
        pub(crate) unsafe extern "win64" fn $name<D: DeviceEvents>(device: WDFDEVICE) -> $result {
            // SAFETY: the framework's promise.
            unsafe { device_event::<D>(device, |device| D::$name(device, Passive::assume())) }
        }
    )*};
    (no result: $($name:ident;)*) => {$(
        pub(crate) unsafe extern "win64" fn $name<D: DeviceEvents>(device: WDFDEVICE) {
            // SAFETY: the framework's promise. The result is the success that the closure makes, or that there is no context to tell.
            let _ = unsafe { device_event::<D>(device, |device| { D::$name(device, Passive::assume()); Ok(()) }) };
        }
    )*};
    (with state: $($name:ident;)*) => {$(
        pub(crate) unsafe extern "win64" fn $name<D: DeviceEvents>(device: WDFDEVICE, state: WDF_POWER_DEVICE_STATE) -> NTSTATUS {
            // SAFETY: the framework's promise.
            unsafe { device_event::<D>(device, |device| D::$name(device, state, Passive::assume())) }
        }
    )*};
}

device_events! {
    self_managed_init -> NTSTATUS;
    self_managed_restart -> NTSTATUS;
    self_managed_suspend -> NTSTATUS;
    query_remove -> NTSTATUS;
    query_stop -> NTSTATUS;
}
device_events! { no result: surprise_removal; self_managed_flush; self_managed_cleanup; }
device_events! { with state: d0_entry; interrupts_enabled; interrupts_disabling; d0_exit; }

pub(crate) unsafe extern "win64" fn prepare_hardware<D: DeviceEvents>(
    device: WDFDEVICE,
    raw: WDFCMRESLIST,
    translated: WDFCMRESLIST,
) -> NTSTATUS {
    // SAFETY: the framework's promise.
    let resources = unsafe { Resources::new(raw, translated) };
    // SAFETY: the framework's promise.
    unsafe { device_event::<D>(device, |device| D::prepare_hardware(device, resources, Passive::assume())) }
}

pub(crate) unsafe extern "win64" fn release_hardware<D: DeviceEvents>(device: WDFDEVICE, _translated: WDFCMRESLIST) -> NTSTATUS {
    // SAFETY: the framework's promise.
    unsafe { device_event::<D>(device, |device| D::release_hardware(device, Passive::assume())) }
}

pub(crate) unsafe extern "win64" fn file_create<F: FileEvents>(device: WDFDEVICE, request: WDFREQUEST, file: WDFFILEOBJECT) {
    // SAFETY: the framework's promise: the request is ours to complete.
    let request = unsafe { Request::presented(request) };
    // SAFETY: the framework's promise.
    let outcome = unsafe { Device::<F::Device>::from_handle(device) }
        .ok_or(NTSTATUS::DEVICE_NOT_READY)
        // SAFETY: the framework's promise.
        .and_then(|device| F::create(device, unsafe { File::new(file) }, Passive::assume()))
        // SAFETY: the framework's promise: the file object has room for an `F`.
        .and_then(|value| unsafe { context::install(file.object(), value) });
    request.complete(outcome.err().unwrap_or(NTSTATUS::SUCCESS));
}

/// # Safety
/// `file` is a valid file object for the call.
unsafe fn file_event<F, D: DeviceEvents>(
    file: WDFFILEOBJECT,
    context: impl FnOnce(File<'_>) -> Option<&F>,
    event: impl FnOnce(&F, Device<'_, D>, File<'_>, Passive<'_>),
) {
    // SAFETY: the caller's promise; a file's device outlives it.
    let device = unsafe { Device::from_handle(WdfFileObjectGetDevice(file)) };
    // SAFETY: the caller's promise.
    let file = unsafe { File::new(file) };
    if let Some((context, device)) = context(file).zip(device) {
        event(context, device, file, Passive::assume());
    }
}

/// Callbacks about files that were created before.
macro_rules! file_events {
    ($($name:ident: $trait:ident, $context:ident, $method:ident;)*) => {$(
        pub(crate) unsafe extern "win64" fn $name<F: $trait>(file: WDFFILEOBJECT) {
            // SAFETY: the framework's promise.
            unsafe { file_event(file, |file| file.$context::<F>(), F::$method) };
        }
    )*};
}

file_events! {
    file_cleanup: FileEvents, context, cleanup;
    file_close: FileEvents, context, close;
    watched_cleanup: FileWatch, watched, cleanup;
    watched_close: FileWatch, watched, close;
}

/// Calls `handler` with the request, or completes the request when the queue has no context.
///
/// # Safety
/// Both are valid for the call, and the request was just presented.
unsafe fn present<Q: QueueEvents>(
    queue: WDFQUEUE,
    request: WDFREQUEST,
    handler: impl FnOnce(&Q, Device<'_, Q::Device>, Request),
) {
    // SAFETY: the caller's promise.
    let request = unsafe { Request::presented(request) };
    // SAFETY: the caller's promise.
    match unsafe { queue::parts::<Q>(queue) } {
        Ok((context, device)) => handler(context, device, request),
        Err(status) => request.complete(status),
    }
}

pub(crate) unsafe extern "win64" fn device_control<Q: OnDeviceControl>(
    queue: WDFQUEUE,
    request: WDFREQUEST,
    output_length: usize,
    input_length: usize,
    code: u32,
) {
    let control = IoControl { code, input_length, output_length };
    // SAFETY: the framework's promise.
    unsafe { present::<Q>(queue, request, |context, device, request| context.device_control(device, request, control)) };
}

pub(crate) unsafe extern "win64" fn read<Q: OnRead>(queue: WDFQUEUE, request: WDFREQUEST, length: usize) {
    // SAFETY: the framework's promise.
    unsafe { present::<Q>(queue, request, |context, device, request| context.read(device, request, length)) };
}

pub(crate) unsafe extern "win64" fn write<Q: OnWrite>(queue: WDFQUEUE, request: WDFREQUEST, length: usize) {
    // SAFETY: the framework's promise.
    unsafe { present::<Q>(queue, request, |context, device, request| context.write(device, request, length)) };
}

pub(crate) unsafe extern "win64" fn request<Q: OnRequest>(queue: WDFQUEUE, request: WDFREQUEST) {
    // SAFETY: the framework's promise.
    unsafe { present::<Q>(queue, request, Q::request) };
}

pub(crate) unsafe extern "win64" fn canceled_on_queue<Q: OnCanceledOnQueue>(queue: WDFQUEUE, request: WDFREQUEST) {
    // SAFETY: the framework's promise.
    unsafe { present::<Q>(queue, request, Q::canceled_on_queue) };
}

pub(crate) unsafe extern "win64" fn stop<Q: OnStop>(queue: WDFQUEUE, request: WDFREQUEST, flags: u32) {
    // SAFETY: the framework's promise.
    if let Ok((context, device)) = unsafe { queue::parts::<Q>(queue) } {
        // SAFETY: the framework's promise.
        context.stop(device, unsafe { Stopping::new(request, flags) });
    }
}

pub(crate) unsafe extern "win64" fn resume<Q: OnStop>(queue: WDFQUEUE, request: WDFREQUEST) {
    // SAFETY: the framework's promise.
    if let Ok((context, device)) = unsafe { queue::parts::<Q>(queue) } {
        context.resume(device, RequestId::of(request));
    }
}

pub(crate) unsafe extern "win64" fn queue_ready<Q: OnQueueReady>(queue: WDFQUEUE, _context: *mut c_void) {
    // SAFETY: the framework's promise.
    if let Ok((context, device)) = unsafe { queue::parts::<Q>(queue) } {
        context.ready(device);
    }
}

pub(crate) unsafe extern "win64" fn queue_quiet<N: OnQuiet>(queue: WDFQUEUE, _context: *mut c_void) {
    // SAFETY: the framework's promise.
    if let Ok((context, device)) = unsafe { queue::parts::<N::Queue>(queue) } {
        N::quiet(context, device);
    }
}

pub(crate) unsafe extern "win64" fn request_cancel<H: OnCancel>(request: WDFREQUEST) {
    // SAFETY: the framework's promise; the state was there when the request was made cancelable.
    let Some(state) = (unsafe { RequestState::of(request) }) else { return };
    if !state.ownership.callback_owns() {
        return;
    }
    let ticket = state.ticket.load(Ordering::Relaxed);
    // SAFETY: the state just said that the callback owns the request.
    let canceled = unsafe { Canceled::new(request) };
    // SAFETY: the request is ours, so that its queue and device are valid; a null queue has no device, which the next call catches.
    let queue = unsafe { WdfRequestGetIoQueue(request) };
    if queue.is_null() {
        return canceled.complete();
    }
    // SAFETY: as above.
    match unsafe { Device::<H::Device>::from_handle(WdfIoQueueGetDevice(queue)) } {
        Some(device) => H::canceled(device, canceled, ticket),
        None => canceled.complete(),
    }
}

pub(crate) unsafe extern "win64" fn in_caller_context(device: WDFDEVICE, request: WDFREQUEST) {
    // SAFETY: the framework's promise: the request is ours to lock buffers for, then to enqueue or complete.
    let outcome = unsafe { user_buffers::lock(request) }
        // SAFETY: as above.
        .and_then(|()| unsafe { WdfDeviceEnqueueRequest(device, request) }.ok());
    if let Err(status) = outcome {
        // SAFETY: as above; a request that could not be enqueued is still ours.
        unsafe { WdfRequestComplete(request, status) };
    }
}

pub(crate) unsafe extern "win64" fn isr<I: InterruptEvents>(interrupt: WDFINTERRUPT, message: u32) -> BOOLEAN {
    // SAFETY: the framework's promise.
    let Some((context, device)) = (unsafe { interrupt::parts::<I>(interrupt) }) else { return FALSE };
    // SAFETY: the framework's promise.
    let service = unsafe { InService::new(interrupt) };
    BOOLEAN::from(context.isr(device, service, message))
}

pub(crate) unsafe extern "win64" fn interrupt_dpc<I: InterruptEvents>(interrupt: WDFINTERRUPT, _object: WDFOBJECT) {
    // SAFETY: the framework's promise.
    if let Some((context, device)) = unsafe { interrupt::parts::<I>(interrupt) } {
        context.dpc(device);
    }
}

pub(crate) unsafe extern "win64" fn work_item<W: Work>(item: WDFWORKITEM) {
    // SAFETY: the framework's promise.
    let device = WDFDEVICE(unsafe { WdfWorkItemGetParentObject(item) }.0);
    // SAFETY: a work item's parent is the device it was made for.
    if let Some(device) = unsafe { Device::<W::Device>::from_handle(device) } {
        W::run(device, Passive::assume());
    }
}

/// How a request ended at its target.
///
/// # Safety
/// `params` is what a completion routine was called with.
unsafe fn ended(params: *const WDF_REQUEST_COMPLETION_PARAMS) -> Result<usize> {
    // SAFETY: the caller's promise.
    let status = unsafe { (*params).IoStatus };
    target::outcome(status.status(), status.Information)
}

pub(crate) unsafe extern "win64" fn completed<C: OnCompletion>(
    request: WDFREQUEST,
    target: WDFIOTARGET,
    params: *mut WDF_REQUEST_COMPLETION_PARAMS,
    _context: *mut c_void,
) {
    // SAFETY: the framework's promise: the request is the driver's again.
    let request = unsafe { Completed::<C>::new(request) };
    // SAFETY: the framework's promise.
    let outcome = unsafe { ended(params) };
    // SAFETY: the framework's promise.
    let device = unsafe { Target::new(target) }.device();
    // SAFETY: a target's device outlives it. Without a context there is nobody to tell: the request is deleted.
    if let Some(device) = unsafe { Device::from_handle(device) } {
        C::completed(device, request, outcome);
    }
}

pub(crate) unsafe extern "win64" fn returned<H: OnReturn>(
    request: WDFREQUEST,
    target: WDFIOTARGET,
    params: *mut WDF_REQUEST_COMPLETION_PARAMS,
    _context: *mut c_void,
) {
    // SAFETY: the framework's promise: the request is the driver's again.
    let request = unsafe { Request::presented(request) };
    // SAFETY: the framework's promise.
    let outcome = unsafe { ended(params) };
    // SAFETY: the framework's promise.
    let device = unsafe { Target::new(target) }.device();
    // SAFETY: a target's device outlives it.
    match unsafe { Device::from_handle(device) } {
        Some(device) => H::returned(device, request, outcome),
        None => request.complete_with(outcome),
    }
}

pub(crate) unsafe extern "win64" fn timer<T: Dispatch>(timer: WDFTIMER) {
    // SAFETY: the framework's promise.
    let device = WDFDEVICE(unsafe { WdfTimerGetParentObject(timer) }.0);
    // SAFETY: a timer's parent is the device it was made for.
    if let Some(device) = unsafe { Device::<T::Device>::from_handle(device) } {
        T::run(device);
    }
}

pub(crate) unsafe extern "win64" fn dpc<T: Dispatch>(dpc: WDFDPC) {
    // SAFETY: the framework's promise.
    let device = WDFDEVICE(unsafe { WdfDpcGetParentObject(dpc) }.0);
    // SAFETY: a DPC's parent is the device it was made for.
    if let Some(device) = unsafe { Device::<T::Device>::from_handle(device) } {
        T::run(device);
    }
}
