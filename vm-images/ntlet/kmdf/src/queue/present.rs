//! The driver's callbacks of a queue: which one a request goes to, and the call itself.

use core::sync::atomic::Ordering;

use wdf_sys::NTSTATUS;
use wdf_sys::wdf::WDF_IO_QUEUE_CONFIG;
use wdf_sys::wdm::IO_STACK_LOCATION;
use wdf_sys::wdm::constants::{IRP_MJ_DEVICE_CONTROL, IRP_MJ_INTERNAL_DEVICE_CONTROL, IRP_MJ_READ, IRP_MJ_WRITE};

use super::Queue;
use crate::history::Event;
use crate::object::Ref;
use crate::request::{Request, complete, ownership};
use crate::verifier;

/// Calls the driver's routine at `address`, and checks how it comes back.
pub(crate) fn guarded_call(queue: &Ref<Queue>, address: usize, callback: impl FnOnce()) {
    verifier::guarded(queue.any().globals(), Queue::number(queue), address, callback);
}

/// Whether a queue has a handler for a major function.
pub(crate) fn handles(config: &WDF_IO_QUEUE_CONFIG, major: u8) -> bool {
    config.EvtIoDefault.is_some()
        || match major {
            IRP_MJ_READ => config.EvtIoRead.is_some(),
            IRP_MJ_WRITE => config.EvtIoWrite.is_some(),
            IRP_MJ_DEVICE_CONTROL => config.EvtIoDeviceControl.is_some(),
            IRP_MJ_INTERNAL_DEVICE_CONTROL => config.EvtIoInternalDeviceControl.is_some(),
            _ => false,
        }
}

/// Hands a request to its handler. One without a handler is completed with STATUS_INVALID_DEVICE_REQUEST.
pub(crate) fn present(queue: &Ref<Queue>, request: &Ref<Request>, stack: &IO_STACK_LOCATION) {
    let handler = stack.MajorFunction;
    queue.any().globals().history.record(
        Event::RequestPresented,
        request.any().header().handle,
        Queue::number(queue),
        handler as usize,
    );
    if !call_handler(queue, request, stack) {
        complete::by_framework_from_queue(request, NTSTATUS::INVALID_DEVICE_REQUEST);
    }
}

fn call_handler(queue: &Ref<Queue>, request: &Ref<Request>, stack: &IO_STACK_LOCATION) -> bool {
    let (config, q, r) = (&queue.config, queue.handle(), request.handle());
    let control = match stack.MajorFunction {
        IRP_MJ_DEVICE_CONTROL => config.EvtIoDeviceControl,
        IRP_MJ_INTERNAL_DEVICE_CONTROL => config.EvtIoInternalDeviceControl,
        _ => None,
    };
    // SAFETY: the driver's own callbacks, with the arguments of their pages; the members of `Parameters` are those of the major function.
    unsafe {
        if let (IRP_MJ_READ, Some(read)) = (stack.MajorFunction, config.EvtIoRead) {
            guarded_call(queue, read as usize, || read(q, r, stack.Parameters.Read.Length as usize));
        } else if let (IRP_MJ_WRITE, Some(write)) = (stack.MajorFunction, config.EvtIoWrite) {
            guarded_call(queue, write as usize, || write(q, r, stack.Parameters.Write.Length as usize));
        } else if let Some(handle) = control {
            let control = stack.Parameters.DeviceIoControl;
            let (output, input) = (control.OutputBufferLength as usize, control.InputBufferLength as usize);
            guarded_call(queue, handle as usize, || handle(q, r, output, input, control.IoControlCode));
        } else if let Some(default) = config.EvtIoDefault {
            guarded_call(queue, default as usize, || default(q, r));
        } else {
            return false;
        }
    }
    true
}

/// `EvtRequestCancel`. The reference that the mark held goes with it.
pub(crate) fn cancel(queue: &Ref<Queue>, request: &Ref<Request>) {
    request.cancel_called.store(true, Ordering::Release);
    if let Some(callback) = request.cancel_callback() {
        // SAFETY: the driver's own callback, called as its page says.
        guarded_call(queue, callback as usize, || unsafe { callback(request.handle()) });
    }
    ownership::drop_mark(request);
}

/// `EvtIoCanceledOnQueue`.
pub(crate) fn cancelled_on_queue(queue: &Ref<Queue>, request: &Ref<Request>) {
    if let Some(callback) = queue.config.EvtIoCanceledOnQueue {
        // SAFETY: the driver's own callback, called as its page says.
        guarded_call(queue, callback as usize, || unsafe { callback(queue.handle(), request.handle()) });
    }
}

/// `EvtIoStop`.
pub(crate) fn stop(queue: &Ref<Queue>, request: &Ref<Request>, flags: u32) {
    if let Some(callback) = queue.config.EvtIoStop {
        // SAFETY: the driver's own callback, called as its page says.
        guarded_call(queue, callback as usize, || unsafe { callback(queue.handle(), request.handle(), flags) });
    }
}

/// `EvtIoResume`.
pub(crate) fn resume(queue: &Ref<Queue>, request: &Ref<Request>) {
    if let Some(callback) = queue.config.EvtIoResume {
        // SAFETY: the driver's own callback, called as its page says.
        guarded_call(queue, callback as usize, || unsafe { callback(queue.handle(), request.handle()) });
    }
}
