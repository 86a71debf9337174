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

/// Calls the driver, and checks how it comes back.
pub(crate) fn guarded_call(queue: &Ref<Queue>, callback: impl FnOnce()) {
    verifier::guarded(queue.any().globals(), Queue::number(queue), callback);
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
    let mut handled = false;
    guarded_call(queue, || handled = call_handler(queue, request, stack));
    if !handled {
        complete::by_framework_from_queue(request, NTSTATUS::INVALID_DEVICE_REQUEST);
    }
}

fn call_handler(queue: &Ref<Queue>, request: &Ref<Request>, stack: &IO_STACK_LOCATION) -> bool {
    let (config, q, r) = (&queue.config, queue.handle(), request.handle());
    // SAFETY: the driver's own callbacks, with the arguments of their pages; the members of `Parameters` are those of the major function.
    unsafe {
        match stack.MajorFunction {
            IRP_MJ_READ => {
                if let Some(read) = config.EvtIoRead {
                    read(q, r, stack.Parameters.Read.Length as usize);
                    return true;
                }
            }
            IRP_MJ_WRITE => {
                if let Some(write) = config.EvtIoWrite {
                    write(q, r, stack.Parameters.Write.Length as usize);
                    return true;
                }
            }
            IRP_MJ_DEVICE_CONTROL | IRP_MJ_INTERNAL_DEVICE_CONTROL => {
                let control = stack.Parameters.DeviceIoControl;
                let (output, input) = (control.OutputBufferLength as usize, control.InputBufferLength as usize);
                let callback = if stack.MajorFunction == IRP_MJ_DEVICE_CONTROL {
                    config.EvtIoDeviceControl
                } else {
                    config.EvtIoInternalDeviceControl
                };
                if let Some(callback) = callback {
                    callback(q, r, output, input, control.IoControlCode);
                    return true;
                }
            }
            _ => {}
        }
        if let Some(default) = config.EvtIoDefault {
            default(q, r);
            return true;
        }
    }
    false
}

/// `EvtRequestCancel`. The reference that the mark held goes with it.
pub(crate) fn cancel(queue: &Ref<Queue>, request: &Ref<Request>) {
    request.cancel_called.store(true, Ordering::Release);
    if let Some(callback) = request.cancel_callback() {
        // SAFETY: the driver's own callback, called as its page says.
        guarded_call(queue, || unsafe { callback(request.handle()) });
    }
    ownership::drop_mark(request);
}

/// `EvtIoCanceledOnQueue`.
pub(crate) fn cancelled_on_queue(queue: &Ref<Queue>, request: &Ref<Request>) {
    if let Some(callback) = queue.config.EvtIoCanceledOnQueue {
        // SAFETY: the driver's own callback, called as its page says.
        guarded_call(queue, || unsafe { callback(queue.handle(), request.handle()) });
    }
}

/// `EvtIoStop`.
pub(crate) fn stop(queue: &Ref<Queue>, request: &Ref<Request>, flags: u32) {
    if let Some(callback) = queue.config.EvtIoStop {
        // SAFETY: the driver's own callback, called as its page says.
        guarded_call(queue, || unsafe { callback(queue.handle(), request.handle(), flags) });
    }
}

/// `EvtIoResume`.
pub(crate) fn resume(queue: &Ref<Queue>, request: &Ref<Request>) {
    if let Some(callback) = queue.config.EvtIoResume {
        // SAFETY: the driver's own callback, called as its page says.
        guarded_call(queue, || unsafe { callback(queue.handle(), request.handle()) });
    }
}
