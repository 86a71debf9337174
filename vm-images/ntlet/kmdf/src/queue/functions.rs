//! `WdfIoQueue…` and the device's calls about queues: create, state, retrieve, find, dispatching by type.

use wdf_sys::wdf::{
    WDF_IO_QUEUE_CONFIG, WDF_IO_QUEUE_DISPATCH_TYPE, WDF_IO_QUEUE_STATE, WDF_OBJECT_ATTRIBUTES, WDF_REQUEST_PARAMETERS,
    WDF_REQUEST_TYPE, WDF_TRI_STATE,
};
use wdf_sys::wdm::FILE_OBJECT;
use wdf_sys::wdm::IRP;
use wdf_sys::{NTSTATUS, WDFDEVICE, WDFFILEOBJECT, WDFQUEUE, WDFREQUEST};

use super::Queue;
use super::entry::Entry;
use super::pump::pump;
use super::state::{Empty, Kind, Power, Rules as QueueRules, State};
use crate::call::{Call, ddi};
use crate::device::Device;
use crate::file::File;
use crate::history::Event;
use crate::object::attributes::{ParentRule, Rules};
use crate::object::{Attributes, Ref};
use crate::request::functions::fill_parameters;
use crate::request::{Origin, Request, ownership};
use crate::sync::DISPATCH_LEVEL;

/// Queues take a parent, an execution level and a scope.
const QUEUE_ATTRIBUTES: Rules = Rules { parent: ParentRule::Optional, execution_level: true, synchronization_scope: true };

/// The structure before 1.9 had no `Settings`, the one before 1.11 no `Driver`.
const OLDER_SIZES: &[usize] = &[80, 88];

ddi! {
    fn WdfIoQueueCreate(call, device: WDFDEVICE, config: *mut WDF_IO_QUEUE_CONFIG, attributes: *mut WDF_OBJECT_ATTRIBUTES, queue: *mut WDFQUEUE) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write_optional(queue, WDFQUEUE::NULL);
        let device = call.object::<Device>(device);
        let created = call
            .sized(config, OLDER_SIZES)
            .and_then(|config| Ok((config, Attributes::read(call, attributes, QUEUE_ATTRIBUTES)?)))
            .and_then(|(config, attributes)| create(call, &device, config, &attributes));
        match created {
            Ok(created) => {
                call.write_optional(queue, created.handle());
                NTSTATUS::SUCCESS
            }
            Err(status) => {
                crate::report!(call.globals, "{} failed: {status}", call.name());
                status
            }
        }
    }

    fn WdfIoQueueGetState(call, queue: WDFQUEUE, waiting: *mut u32, in_driver: *mut u32) -> WDF_IO_QUEUE_STATE {
        let queue = call.object::<Queue>(queue);
        let (state, counts) = {
            let guarded = queue.guarded.lock();
            (flags(&guarded.state), guarded.state.counts())
        };
        call.write_optional(waiting, counts.0);
        call.write_optional(in_driver, counts.1);
        state
    }

    fn WdfIoQueueGetDevice(call, queue: WDFQUEUE) -> WDFDEVICE {
        call.object::<Queue>(queue).device.handle()
    }

    fn WdfIoQueueRetrieveNextRequest(call, queue: WDFQUEUE, request: *mut WDFREQUEST) -> NTSTATUS {
        let queue = call.object::<Queue>(queue);
        retrieve(call, &queue, core::ptr::null_mut(), request)
    }

    fn WdfIoQueueRetrieveRequestByFileObject(call, queue: WDFQUEUE, file: WDFFILEOBJECT, request: *mut WDFREQUEST) -> NTSTATUS {
        let queue = call.object::<Queue>(queue);
        let file = call.object::<File>(file);
        retrieve(call, &queue, file.wdm(), request)
    }

    fn WdfIoQueueFindRequest(call, queue: WDFQUEUE, found: WDFREQUEST, file: WDFFILEOBJECT, parameters: *mut WDF_REQUEST_PARAMETERS, request: *mut WDFREQUEST) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write(request, WDFREQUEST::NULL);
        let queue = call.object::<Queue>(queue);
        let behind = call.optional_object::<Request>(found);
        let file = call.optional_object::<File>(file).map_or(core::ptr::null_mut(), |file| file.wdm());
        match find(&queue, behind.as_ref(), file) {
            Ok(next) => {
                if !parameters.is_null() {
                    fill_parameters(call, &next, parameters);
                }
                // The driver gives this reference back with WdfObjectDereference.
                next.any().header().driver_references.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
                call.write(request, next.handle());
                let _ = next.into_any().into_counted();
                NTSTATUS::SUCCESS
            }
            Err(empty) => status_of(empty),
        }
    }

    fn WdfIoQueueRetrieveFoundRequest(call, queue: WDFQUEUE, found: WDFREQUEST, request: *mut WDFREQUEST) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write(request, WDFREQUEST::NULL);
        let queue = call.object::<Queue>(queue);
        let found = call.object::<Request>(found);
        let taken = found.with_queue(|holder, state, entry| {
            if !holder.is_same(&queue) {
                return Err(Empty::NotFound);
            }
            // SAFETY: `with_queue` holds the lock of the queue that the entry is in.
            unsafe { state.retrieve_found(entry) }
        });
        match taken {
            Some((_, Ok(()))) => {
                call.globals.history.record(Event::RequestRetrieved, found.any().header().handle, Queue::number(&queue), 0);
                call.write(request, found.handle());
                NTSTATUS::SUCCESS
            }
            Some((_, Err(empty))) => status_of(empty),
            None => NTSTATUS::NOT_FOUND,
        }
    }

    fn WdfDeviceGetDefaultQueue(call, device: WDFDEVICE) -> WDFQUEUE {
        call.object::<Device>(device).io.default_queue().map_or(WDFQUEUE::NULL, |queue| queue.handle())
    }

    fn WdfDeviceConfigureRequestDispatching(call, device: WDFDEVICE, queue: WDFQUEUE, kind: WDF_REQUEST_TYPE) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        let device = call.object::<Device>(device);
        let queue = call.object::<Queue>(queue);
        configure(call, &device, &queue, kind)
    }

    fn WdfDeviceEnqueueRequest(call, device: WDFDEVICE, request: WDFREQUEST) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        let device = call.object::<Device>(device);
        let request = call.object::<Request>(request);
        if ownership::accessible(call, &request).is_none() || request.origin != Origin::Incoming || request.queue().is_some() {
            return NTSTATUS::INVALID_DEVICE_REQUEST;
        }
        // SAFETY: an incoming request that is not completed has our stack location.
        let major = unsafe { (*request.stack()).MajorFunction };
        let Some(queue) = device.io.queue_for(major) else { return NTSTATUS::INVALID_DEVICE_REQUEST };
        crate::io::enqueue(&request, &queue).map_or_else(|_| NTSTATUS::WDF_BUSY, |()| NTSTATUS::SUCCESS)
    }

    fn WdfDeviceWdmDispatchIrpToIoQueue(call, device: WDFDEVICE, irp: *mut IRP, queue: WDFQUEUE, flags: u32) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        let device = call.object::<Device>(device);
        let queue = call.object::<Queue>(queue);
        let _ = call.required(irp);
        dispatch_irp(&device, irp, queue, flags)
    }
}

fn dispatch_irp(device: &Ref<Device>, irp: *mut IRP, queue: Ref<Queue>, flags: u32) -> NTSTATUS {
    use wdf_sys::wdf::{WDF_DISPATCH_IRP_TO_IO_QUEUE_INVOKE_INCALLERCTX_CALLBACK, WDF_DISPATCH_IRP_TO_IO_QUEUE_PREPROCESSED_IRP};
    if flags & WDF_DISPATCH_IRP_TO_IO_QUEUE_PREPROCESSED_IRP != 0 {
        // SAFETY: the driver's preprocessor has advanced the IRP to its next stack location and gives it back to us, as the flag says.
        unsafe {
            (*irp).CurrentLocation -= 1;
            (*irp).Tail.Overlay.CurrentStackLocation = (*irp).Tail.Overlay.CurrentStackLocation.sub(1);
        }
    }
    // SAFETY: the IRP is one that came to this device, by the function's page.
    let major = unsafe { (*wdf_sys::wdm::current_stack_location(irp)).MajorFunction };
    let in_caller_context = flags & WDF_DISPATCH_IRP_TO_IO_QUEUE_INVOKE_INCALLERCTX_CALLBACK != 0;
    crate::io::dispatch_to(device, irp, major, Some(queue), in_caller_context)
}

fn create(
    call: &Call,
    device: &Ref<Device>,
    config: WDF_IO_QUEUE_CONFIG,
    attributes: &Attributes,
) -> Result<Ref<Queue>, NTSTATUS> {
    let kind = match config.DispatchType {
        WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchSequential => Kind::Sequential,
        WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchManual => Kind::Manual,
        WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel => {
            // SAFETY: the member is that of parallel queues. Older structures end before it, and mean no limit.
            match unsafe { config.Settings.Parallel.NumberOfPresentedRequests } {
                _ if config.Size < 88 => Kind::Parallel(u32::MAX),
                0 => return Err(NTSTATUS::INVALID_PARAMETER),
                limit => Kind::Parallel(limit),
            }
        }
        _ => return Err(NTSTATUS::INVALID_PARAMETER),
    };
    check_handlers(&config, kind)?;
    if let Some(parent) = &attributes.parent
        && parent.ancestor::<Device>().is_none_or(|owner| !owner.is_same(device))
    {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    if config.DefaultQueue != 0 && device.io.default_queue().is_some() {
        return Err(NTSTATUS::UNSUCCESSFUL);
    }
    let power_managed = match config.PowerManaged {
        WDF_TRI_STATE::WdfTrue => !device.is_control(),
        WDF_TRI_STATE::WdfFalse => false,
        WDF_TRI_STATE::WdfUseDefault => !device.is_control() && !device.is_filter(),
        _ => return Err(NTSTATUS::INVALID_PARAMETER),
    };
    let rules = QueueRules {
        kind,
        power_managed,
        tells_stop: config.EvtIoStop.is_some(),
        tells_resume: config.EvtIoResume.is_some(),
        tells_cancelled: config.EvtIoCanceledOnQueue.is_some(),
        cancel_routine: ownership::cancel_routine,
    };
    let power = if power_managed && !device.is_in_d0() { Power::Off } else { Power::On };
    let body = Queue::new(device.clone(), config, State::new(rules, power));
    let queue = crate::object::create(call.globals, attributes, Some(device.any()), body)?;
    Queue::initialize(&queue);
    device.io.add_queue(&queue);
    if config.DefaultQueue != 0 && !device.io.set_default_queue(&queue) {
        queue.abandon();
        return Err(NTSTATUS::UNSUCCESSFUL);
    }
    if power_managed && device.is_in_d0() {
        // The device may have reached D0 while the queue was not in its list yet.
        queue.guarded.lock().state.resume();
        pump(&queue);
    }
    Ok(queue)
}

/// A queue that delivers needs someone to deliver to.
fn check_handlers(config: &WDF_IO_QUEUE_CONFIG, kind: Kind) -> Result<(), NTSTATUS> {
    let any = config.EvtIoDefault.is_some()
        || config.EvtIoRead.is_some()
        || config.EvtIoWrite.is_some()
        || config.EvtIoDeviceControl.is_some()
        || config.EvtIoInternalDeviceControl.is_some();
    match kind {
        Kind::Sequential | Kind::Parallel(_) if !any => Err(NTSTATUS::WDF_NO_CALLBACK),
        _ => Ok(()),
    }
}

fn flags(state: &State) -> WDF_IO_QUEUE_STATE {
    let (waiting, in_driver) = state.counts();
    let mut flags = 0;
    for (set, flag) in [
        (state.accepts(), WDF_IO_QUEUE_STATE::WdfIoQueueAcceptRequests),
        (state.dispatches(), WDF_IO_QUEUE_STATE::WdfIoQueueDispatchRequests),
        (waiting == 0, WDF_IO_QUEUE_STATE::WdfIoQueueNoRequests),
        (in_driver == 0, WDF_IO_QUEUE_STATE::WdfIoQueueDriverNoRequests),
        (state.is_held_by_power(), WDF_IO_QUEUE_STATE::WdfIoQueuePnpHeld),
    ] {
        if set {
            flags |= flag.0;
        }
    }
    WDF_IO_QUEUE_STATE(flags)
}

const fn status_of(empty: Empty) -> NTSTATUS {
    match empty {
        Empty::Paused => NTSTATUS::WDF_PAUSED,
        Empty::NotForParallel => NTSTATUS::INVALID_DEVICE_STATE,
        Empty::NoMore => NTSTATUS::NO_MORE_ENTRIES,
        Empty::NotFound => NTSTATUS::NOT_FOUND,
    }
}

fn retrieve(call: &Call, queue: &Ref<Queue>, file: *mut FILE_OBJECT, place: *mut WDFREQUEST) -> NTSTATUS {
    call.irql_at_most(DISPATCH_LEVEL);
    call.write(place, WDFREQUEST::NULL);
    let taken = {
        let mut guarded = queue.guarded.lock();
        guarded.state.retrieve(file).map(request_of)
    };
    // A parallel queue has nothing to be asked; whatever was left to do is done now.
    pump(queue);
    match taken {
        Ok(request) => {
            call.globals.history.record(Event::RequestRetrieved, request.any().header().handle, Queue::number(queue), 0);
            call.write(place, request.handle());
            NTSTATUS::SUCCESS
        }
        Err(empty) => status_of(empty),
    }
}

/// The request that an entry lies in. To be called under the lock of the queue that the entry is in.
fn request_of(entry: *mut Entry) -> Ref<Request> {
    // SAFETY: the entry is the queue's, so its request has not been completed and is there.
    unsafe { Ref::borrow_context((*entry).request) }
}

fn find(queue: &Ref<Queue>, behind: Option<&Ref<Request>>, file: *mut FILE_OBJECT) -> Result<Ref<Request>, Empty> {
    let Some(behind) = behind else {
        let guarded = queue.guarded.lock();
        // SAFETY: no entry is passed.
        return unsafe { guarded.state.find(core::ptr::null_mut(), file) }.map(request_of);
    };
    let found = behind.with_queue(|holder, state, entry| {
        if !holder.is_same(queue) {
            return Err(Empty::NotFound);
        }
        // SAFETY: `with_queue` holds the lock of the queue that the entry is in.
        unsafe { state.find(entry, file) }.map(request_of)
    });
    found.map_or(Err(Empty::NotFound), |(_, found)| found)
}

fn configure(call: &Call, device: &Ref<Device>, queue: &Ref<Queue>, kind: WDF_REQUEST_TYPE) -> NTSTATUS {
    let known = matches!(
        kind,
        WDF_REQUEST_TYPE::WdfRequestTypeCreate
            | WDF_REQUEST_TYPE::WdfRequestTypeRead
            | WDF_REQUEST_TYPE::WdfRequestTypeWrite
            | WDF_REQUEST_TYPE::WdfRequestTypeDeviceControl
            | WDF_REQUEST_TYPE::WdfRequestTypeDeviceControlInternal
    );
    if !known {
        return NTSTATUS::INVALID_PARAMETER;
    }
    if !queue.device.is_same(device) {
        return NTSTATUS::INVALID_DEVICE_REQUEST;
    }
    match device.io.route(kind, queue) {
        Some(true) => NTSTATUS::SUCCESS,
        Some(false) => {
            crate::report!(call.globals, "{}: request type {} has a queue already", call.name(), kind.0);
            NTSTATUS::WDF_BUSY
        }
        None => NTSTATUS::INVALID_PARAMETER,
    }
}
