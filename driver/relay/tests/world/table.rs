//! The function table: what the driver calls, done in the simplest way that is right for one driver in a test.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use wdf_sys::wdf::functions::{FUNCTION_NAMES, index};
use wdf_sys::wdf::*;
use wdf_sys::wdm::constants::{CM_RESOURCE_INTERRUPT_MESSAGE, CM_RESOURCE_TYPE_INTERRUPT, CM_RESOURCE_TYPE_MEMORY};
use wdf_sys::wdm::*;
use wdf_sys::{NTSTATUS, WDFQUEUE, WDFREQUEST, WDFWORKITEM};

use super::hardware::BAR_BYTES;
use super::{DEVICE_ADD, Kind, OwnParts, RequestParts, at, gaps, object, relaxed, scarcity, with_device, with_own, with_request};

type Globals = *mut WDF_DRIVER_GLOBALS;
/// Handles and pointers alike are numbers on their way in.
type Number = usize;

/// Messages that the devices have: one for configuration changes and one a queue.
const MESSAGES: u32 = 4;

/// Presents a request to its queue, or puts it into a manual one.
pub(super) fn present(queue: Number, request: Number) {
    let mut kind = at(queue).kind.lock().expect("no panic in here");
    let Kind::Queue(config, waiting, busy) = &mut *kind else { panic!("the driver gave another object for a queue") };
    let is_sequential = config.DispatchType == WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchSequential;
    let handler = config.EvtIoDeviceControl.filter(|_| !(is_sequential && *busy));
    let Some(handler) = handler else {
        waiting.push_back(request);
        return;
    };
    *busy = is_sequential;
    drop(kind);
    let (output, input, code) = with_request(request, |parts| (parts.output.len(), parts.input.len(), parts.code));
    let (queue, request) = (WDFQUEUE(queue as *mut c_void), WDFREQUEST(request as *mut c_void));
    // SAFETY: handles that this table understands.
    unsafe { handler(queue, request, output, input, code) };
}

/// The driver has no request of a queue any more that presents one at a time: it gets the next one.
fn left(queue: Number) {
    let next = match &mut *at(queue).kind.lock().expect("no panic in here") {
        Kind::Queue(_, waiting, busy) if *busy => {
            *busy = false;
            waiting.pop_front()
        }
        _ => None,
    };
    if let Some(next) = next {
        present(queue, next);
    }
}

/// Cancels what waits to be presented.
pub(super) fn cancel_waiting(queue: Number) {
    if matches!(&*at(queue).kind.lock().expect("no panic in here"), Kind::Queue(config, ..) if config.EvtIoDeviceControl.is_none())
    {
        return;
    }
    cancel_which(queue, |_| true);
}

/// Cancels what a queue has of a file.
pub(super) fn cancel_of_file(queue: Number, file: Number) {
    cancel_which(queue, |request| with_request(request, |parts| parts.file == file));
}

fn cancel_which(queue: Number, which: impl Fn(Number) -> bool) {
    let mut cancelled = Vec::new();
    if let Kind::Queue(_, waiting, _) = &mut *at(queue).kind.lock().expect("no panic in here") {
        cancelled.extend(waiting.iter().copied().filter(|request| which(*request)));
        waiting.retain(|request| !cancelled.contains(request));
    }
    for request in cancelled {
        with_request(request, |parts| parts.completions.push((NTSTATUS::CANCELLED, 0)));
    }
}

/// Takes the first request that `which` picks out of a queue.
fn retrieve(queue: Number, place: *mut usize, which: impl Fn(Number) -> bool) -> NTSTATUS {
    gaps::gap();
    let next = match &mut *at(queue).kind.lock().expect("no panic in here") {
        Kind::Queue(_, waiting, _) => {
            let at = waiting.iter().position(|request| which(*request));
            at.and_then(|at| waiting.remove(at))
        }
        _ => None,
    };
    let Some(next) = next else { return NTSTATUS::NO_MORE_ENTRIES };
    // SAFETY: the driver passes a place for the handle.
    let status = unsafe { give(place, next) };
    gaps::gap();
    status
}

/// Runs a work item if it was enqueued.
pub(super) fn run_work(item: Number) -> bool {
    let run = match &mut *at(item).kind.lock().expect("no panic in here") {
        Kind::WorkItem(run, enqueued) => Some(*run).filter(|_| core::mem::take(enqueued)).flatten(),
        _ => None,
    };
    // SAFETY: a handle that this table understands.
    run.map(|run| unsafe { run(WDFWORKITEM(item as *mut c_void)) }).is_some()
}

macro_rules! functions {
    ($($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block)*) => {
        $(
            #[allow(non_snake_case)]
            extern "win64" fn $name(_globals: Globals, $($argument: $type),*) $(-> $result)? $body
        )*

        /// The table, for the loader.
        pub(super) fn make() -> Vec<*const c_void> {
            let mut table = vec![missing as *const c_void; FUNCTION_NAMES.len()];
            $(table[index::$name] = $name as *const c_void;)*
            table
        }
    };
}

extern "win64" fn missing() {
    panic!("the driver called a function that the test's table does not have");
}

/// # Safety
/// `place` is where the driver wants a handle.
unsafe fn give(place: *mut usize, handle: usize) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe { place.write(handle) };
    NTSTATUS::SUCCESS
}

/// What a function says that needs memory for what the test does not look at.
fn enough() -> NTSTATUS {
    if scarcity::allocate() { NTSTATUS::SUCCESS } else { NTSTATUS::INSUFFICIENT_RESOURCES }
}

/// Reads a structure that the driver passes.
fn read<T: Copy>(from: *const T) -> T {
    // SAFETY: the driver passes valid structures; they are copied.
    unsafe { *from }
}

fn new(kind: Kind, device: Number, attributes: *const WDF_OBJECT_ATTRIBUTES, place: *mut usize) -> NTSTATUS {
    if !scarcity::allocate() {
        return NTSTATUS::INSUFFICIENT_RESOURCES;
    }
    let made = object(kind, device);
    scarcity::made(made, attributes);
    // SAFETY: the driver passes a place for the handle.
    unsafe { give(place, made) }
}

fn buffer(bytes: *const Vec<u8>, least: usize, place: *mut *mut u8, length: *mut usize) -> NTSTATUS {
    // SAFETY: the vector is the request's, which lives for ever, and is not resized.
    let bytes = unsafe { &*bytes };
    if bytes.is_empty() || bytes.len() < least {
        return NTSTATUS::BUFFER_TOO_SMALL;
    }
    // SAFETY: the driver passes places for both.
    unsafe {
        place.write(bytes.as_ptr().cast_mut());
        length.write(bytes.len());
    }
    NTSTATUS::SUCCESS
}

fn complete(request: Number, status: NTSTATUS, information: usize) {
    let own = with_request(request, |parts| {
        parts.cancel = None;
        parts.completions.push((status, information));
        let status = if parts.timed_out && status == NTSTATUS::CANCELLED { NTSTATUS::IO_TIMEOUT } else { status };
        let answer = parts.output[..information.min(parts.output.len())].to_vec();
        parts.own.map(|own| (own, status, answer))
    });
    if let Some((own, status, answer)) = own {
        come_back(own, status, &answer);
    }
    left(with_request(request, |parts| parts.queue));
}

/// A request of the driver's own is over.
fn come_back(own: Number, status: NTSTATUS, answer: &[u8]) {
    let (routine, device) = with_own(own, |parts| {
        assert!(answer.len() <= parts.answer.1, "an answer is longer than its memory");
        // SAFETY: the memory that the request was formatted with.
        unsafe { core::ptr::copy_nonoverlapping(answer.as_ptr(), parts.answer.0 as *mut u8, answer.len()) };
        parts.status = status;
        (parts.routine.take().expect("it was sent with a completion routine"), parts.device)
    });
    let target = wdf_sys::WDFIOTARGET(with_device(device, |parts| parts.self_target) as *mut c_void);
    let mut params = WDF_REQUEST_COMPLETION_PARAMS::new();
    params.IoStatus = IO_STATUS_BLOCK::new(status, answer.len());
    // SAFETY: handles that this table understands.
    unsafe { routine(WDFREQUEST(own as *mut c_void), target, &raw mut params, core::ptr::null_mut()) };
}

extern "win64" fn read_config(device: *mut c_void, _space: u32, target: *mut c_void, offset: u32, length: u32) -> u32 {
    with_device(device as usize, |parts| {
        for byte in 0..length as usize {
            let value = parts.hardware.config_byte(offset as usize + byte);
            // SAFETY: the driver passes `length` bytes.
            unsafe { target.cast::<u8>().add(byte).write(value) };
        }
    });
    length
}

functions! {
    WdfDriverCreate(_driver: Number, _path: Number, _attributes: Number, config: *const WDF_DRIVER_CONFIG, _place: Number) -> NTSTATUS {
        *DEVICE_ADD.lock().expect("no panic in here") = read(config).EvtDriverDeviceAdd;
        NTSTATUS::SUCCESS
    }
    WdfDeviceInitSetPnpPowerEventCallbacks(init: Number, callbacks: *const WDF_PNPPOWER_EVENT_CALLBACKS) {
        with_device(init, |parts| parts.pnp = read(callbacks));
    }
    WdfDeviceInitSetRequestAttributes(_init: Number, _attributes: Number) {}
    WdfDeviceInitSetIoInCallerContextCallback(_init: Number, _callback: Number) {}
    WdfDeviceInitSetFileObjectConfig(init: Number, config: *const WDF_FILEOBJECT_CONFIG, _attributes: Number) {
        with_device(init, |parts| parts.files = Some(read(config)));
    }
    WdfFileObjectGetDevice(file: Number) -> usize { relaxed(&at(file).device) }
    WdfDeviceCreate(init: *mut usize, attributes: *const WDF_OBJECT_ATTRIBUTES, place: *mut usize) -> NTSTATUS {
        if !scarcity::allocate() {
            return NTSTATUS::INSUFFICIENT_RESOURCES;
        }
        with_device(read(init), |parts| parts.made = true);
        scarcity::made(read(init), attributes);
        // SAFETY: the init is the device's handle already.
        unsafe { give(place, *init) }
    }
    WdfDeviceCreateDeviceInterface(_device: Number, _class: Number, _reference: Number) -> NTSTATUS { enough() }
    WdfDeviceCreateSymbolicLink(_device: Number, _name: Number) -> NTSTATUS { enough() }
    WdfObjectGetTypedContextWorker(handle: Number, kind: *const WDF_OBJECT_CONTEXT_TYPE_INFO) -> usize {
        let make = || Box::leak(vec![0_u128; read(kind).ContextSize.div_ceil(16)].into_boxed_slice()).as_mut_ptr() as usize;
        *at(handle).contexts.lock().expect("no panic in here").entry(kind as usize).or_insert_with(make)
    }
    WdfObjectReferenceActual(_object: Number, _tag: Number, _line: i32, _file: Number) {}
    WdfObjectDereferenceActual(_object: Number, _tag: Number, _line: i32, _file: Number) {}
    WdfObjectDelete(object: Number) { scarcity::destroy(object); }
    WdfDmaEnablerCreate(device: Number, _config: Number, attributes: *const WDF_OBJECT_ATTRIBUTES, place: *mut usize) -> NTSTATUS {
        new(Kind::Plain, device, attributes, place)
    }
    WdfCommonBufferCreate(enabler: Number, length: usize, attributes: *const WDF_OBJECT_ATTRIBUTES, place: *mut usize) -> NTSTATUS {
        let memory = Box::leak(vec![0_u64; length.div_ceil(8) + 512].into_boxed_slice());
        let address = (memory.as_mut_ptr() as usize).next_multiple_of(4096);
        with_device(relaxed(&at(enabler).device), |parts| parts.buffers.push((address, length)));
        new(Kind::Plain, address, attributes, place)
    }
    WdfCommonBufferGetAlignedVirtualAddress(buffer: Number) -> usize { relaxed(&at(buffer).device) }
    WdfCommonBufferGetAlignedLogicalAddress(buffer: Number) -> usize { relaxed(&at(buffer).device) }
    // Time passes when the test says so.
    WdfTimerCreate(config: *const WDF_TIMER_CONFIG, attributes: *const WDF_OBJECT_ATTRIBUTES, place: *mut usize) -> NTSTATUS {
        let device = read(attributes).ParentObject.0 as usize;
        let status = new(Kind::Timer(read(config).EvtTimerFunc), device, attributes, place);
        if status.is_success() {
            with_device(device, |parts| parts.timers.push(read(place)));
        }
        status
    }
    WdfTimerGetParentObject(timer: Number) -> usize { relaxed(&at(timer).device) }
    WdfTimerStart(_timer: Number, _due: i64) -> u8 { 0 }
    WdfTimerStop(_timer: Number, _wait: u8) -> u8 { 0 }
    WdfSpinLockCreate(attributes: *const WDF_OBJECT_ATTRIBUTES, place: *mut usize) -> NTSTATUS { new(Kind::Plain, 0, attributes, place) }
    WdfSpinLockAcquire(lock: Number) {
        gaps::gap();
        gaps::locked();
        assert!(!at(lock).locked.swap(true, Ordering::Acquire), "the driver takes a spin lock twice");
    }
    WdfSpinLockRelease(lock: Number) {
        assert!(at(lock).locked.swap(false, Ordering::Release), "the driver releases a lock that it does not hold");
        gaps::unlocked();
    }
    WdfWaitLockCreate(attributes: *const WDF_OBJECT_ATTRIBUTES, place: *mut usize) -> NTSTATUS { new(Kind::Plain, 0, attributes, place) }
    WdfWaitLockAcquire(lock: Number, _timeout: Number) -> NTSTATUS {
        assert!(!at(lock).locked.swap(true, Ordering::Acquire), "the driver takes a wait lock twice");
        NTSTATUS::SUCCESS
    }
    WdfWaitLockRelease(lock: Number) { at(lock).locked.store(false, Ordering::Release); }
    WdfIoQueueCreate(device: Number, config: *const WDF_IO_QUEUE_CONFIG, attributes: *const WDF_OBJECT_ATTRIBUTES, place: *mut usize) -> NTSTATUS {
        let config = read(config);
        let status = new(Kind::Queue(config, Default::default(), false), device, attributes, place);
        if status.is_success() {
            with_device(device, |parts| parts.queues.push(read(place)));
        }
        if status.is_success() && config.DefaultQueue != 0 {
            with_device(device, |parts| parts.default_queue = read(place));
        }
        status
    }
    WdfIoQueueGetDevice(queue: Number) -> usize { relaxed(&at(queue).device) }
    WdfIoQueueRetrieveNextRequest(queue: Number, place: *mut usize) -> NTSTATUS { retrieve(queue, place, |_| true) }
    WdfIoQueueRetrieveRequestByFileObject(queue: Number, file: Number, place: *mut usize) -> NTSTATUS {
        retrieve(queue, place, |request| with_request(request, |parts| parts.file == file))
    }
    WdfRequestRequeue(request: Number) -> NTSTATUS {
        let queue = with_request(request, |parts| parts.queue);
        if let Kind::Queue(_, waiting, _) = &mut *at(queue).kind.lock().expect("no panic in here") {
            waiting.push_front(request);
        }
        gaps::gap();
        NTSTATUS::SUCCESS
    }
    WdfWorkItemCreate(config: *const WDF_WORKITEM_CONFIG, attributes: *const WDF_OBJECT_ATTRIBUTES, place: *mut usize) -> NTSTATUS {
        let device = read(attributes).ParentObject.0 as usize;
        let status = new(Kind::WorkItem(read(config).EvtWorkItemFunc, false), device, attributes, place);
        if status.is_success() {
            with_device(device, |parts| parts.work_items.push(read(place)));
        }
        status
    }
    WdfWorkItemEnqueue(item: Number) {
        if let Kind::WorkItem(_, enqueued) = &mut *at(item).kind.lock().expect("no panic in here") {
            *enqueued = true;
        }
    }
    WdfDeviceSetFailed(_device: Number, _action: u32) {}
    WdfWorkItemGetParentObject(item: Number) -> usize { relaxed(&at(item).device) }
    WdfInterruptCreate(device: Number, config: *const WDF_INTERRUPT_CONFIG, attributes: *const WDF_OBJECT_ATTRIBUTES, place: *mut usize) -> NTSTATUS {
        let status = new(Kind::Interrupt(read(config).EvtInterruptDpc), device, attributes, place);
        if status.is_success() {
            with_device(device, |parts| parts.interrupts.push(read(place)));
        }
        status
    }
    WdfInterruptGetDevice(interrupt: Number) -> usize { relaxed(&at(interrupt).device) }
    WdfCmResourceListGetCount(_list: Number) -> u32 { 1 + MESSAGES }
    WdfCmResourceListGetDescriptor(list: Number, index: u32) -> usize {
        let mut descriptor = CM_PARTIAL_RESOURCE_DESCRIPTOR::zeroed();
        if index == 0 {
            let bar = with_device(list, |parts| parts.hardware.bar);
            descriptor.Type = CM_RESOURCE_TYPE_MEMORY;
            descriptor.u.Memory = CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Memory { Start: bar as i64, Length: BAR_BYTES as u32 };
        } else {
            descriptor.Type = CM_RESOURCE_TYPE_INTERRUPT;
            descriptor.Flags = CM_RESOURCE_INTERRUPT_MESSAGE;
        }
        core::ptr::from_ref(Box::leak(Box::new(descriptor))) as usize
    }
    WdfFdoQueryForInterface(device: Number, _kind: Number, place: *mut BUS_INTERFACE_STANDARD, _size: u16, _version: u16, _data: Number) -> NTSTATUS {
        let mut interface = BUS_INTERFACE_STANDARD::zeroed();
        interface.Context = device as *mut c_void;
        interface.GetBusData = Some(read_config);
        // SAFETY: the driver passes such a structure.
        unsafe { place.write(interface) };
        NTSTATUS::SUCCESS
    }
    WdfRequestForwardToIoQueue(request: Number, queue: Number) -> NTSTATUS {
        if with_device(relaxed(&at(queue).device), |parts| parts.purged) {
            return NTSTATUS::WDF_BUSY;
        }
        let from = with_request(request, |parts| {
            assert!(parts.cancel.is_none() && parts.completions.is_empty() && parts.queue != queue, "a request is forwarded wrongly");
            core::mem::replace(&mut parts.queue, queue)
        });
        present(queue, request);
        left(from);
        NTSTATUS::SUCCESS
    }
    WdfRequestGetFileObject(request: Number) -> usize { with_request(request, |parts| parts.file) }
    WdfRequestGetIoQueue(request: Number) -> usize { with_request(request, |parts| parts.queue) }
    WdfRequestRetrieveInputBuffer(request: Number, least: usize, place: *mut *mut u8, length: *mut usize) -> NTSTATUS {
        buffer(with_request(request, |parts| &raw const parts.input), least, place, length)
    }
    WdfRequestRetrieveOutputBuffer(request: Number, least: usize, place: *mut *mut u8, length: *mut usize) -> NTSTATUS {
        buffer(with_request(request, |parts| &raw const parts.output), least, place, length)
    }
    WdfRequestMarkCancelableEx(request: Number, callback: PFN_WDF_REQUEST_CANCEL) -> NTSTATUS {
        gaps::gap();
        let status = with_request(request, |parts| {
            if parts.cancelled {
                return NTSTATUS::CANCELLED;
            }
            parts.cancel = callback;
            NTSTATUS::SUCCESS
        });
        gaps::gap();
        status
    }
    WdfRequestUnmarkCancelable(request: Number) -> NTSTATUS {
        let taken = with_request(request, |parts| parts.cancel.take());
        if taken.is_some() { NTSTATUS::SUCCESS } else { NTSTATUS::CANCELLED }
    }
    WdfRequestComplete(request: Number, status: NTSTATUS) { complete(request, status, 0); }
    WdfRequestCompleteWithInformation(request: Number, status: NTSTATUS, information: usize) { complete(request, status, information); }
    WdfDeviceInitAllowSelfIoTarget(init: Number) {
        let target = object(Kind::Plain, init);
        with_device(init, |parts| parts.self_target = target);
    }
    WdfDeviceGetSelfIoTarget(device: Number) -> usize { with_device(device, |parts| parts.self_target) }
    WdfIoTargetGetDevice(target: Number) -> usize { relaxed(&at(target).device) }
    WdfMemoryCreate(attributes: *const WDF_OBJECT_ATTRIBUTES, _pool: i32, _tag: u32, length: usize, place: *mut usize, start: *mut usize) -> NTSTATUS {
        let address = Box::leak(vec![0_u64; length.div_ceil(8)].into_boxed_slice()).as_mut_ptr() as usize;
        // SAFETY: the driver passes a place for the address.
        unsafe { start.write(address) };
        new(Kind::Memory(address), 0, attributes, place)
    }
    WdfRequestCreate(attributes: *const WDF_OBJECT_ATTRIBUTES, target: Number, place: *mut usize) -> NTSTATUS {
        let device = relaxed(&at(target).device);
        new(Kind::Own(OwnParts { device, ..OwnParts::default() }), 0, attributes, place)
    }
    WdfIoTargetFormatRequestForIoctl(_target: Number, request: Number, code: u32, input: Number, given: *const WDFMEMORY_OFFSET, output: Number, got: *const WDFMEMORY_OFFSET) -> NTSTATUS {
        if !scarcity::allocate() {
            return NTSTATUS::INSUFFICIENT_RESOURCES;
        }
        let part = |memory: usize, range: *const WDFMEMORY_OFFSET| match *at(memory).kind.lock().expect("no panic in here") {
            Kind::Memory(address) => (address, read(range).BufferLength),
            _ => panic!("the driver gave another object for memory"),
        };
        let ((start, length), answer) = (part(input, given), part(output, got));
        // SAFETY: memory that the driver formatted the request with.
        let input = (0..length).map(|byte| unsafe { ((start + byte) as *const u8).read() }).collect();
        with_own(request, |parts| (parts.code, parts.input, parts.answer, parts.formatted) = (code, input, answer, true));
        NTSTATUS::SUCCESS
    }
    WdfRequestSetCompletionRoutine(request: Number, routine: PFN_WDF_REQUEST_COMPLETION_ROUTINE, _context: Number) {
        with_own(request, |parts| parts.routine = routine);
    }
    WdfRequestSend(request: Number, target: Number, options: *const WDF_REQUEST_SEND_OPTIONS) -> u8 {
        let device = relaxed(&at(target).device);
        let queue = with_device(device, |parts| parts.default_queue);
        let parts = with_own(request, |parts| {
            assert!(core::mem::take(&mut parts.formatted), "a request is sent that was not formatted");
            let (code, input, output) = (parts.code, parts.input.clone(), vec![0; parts.answer.1]);
            RequestParts { code, input, output, queue, own: Some(request), ..RequestParts::default() }
        });
        let presented = object(Kind::Request(parts), device);
        with_device(device, |parts| parts.self_sent.push((presented, read(options).Timeout)));
        present(queue, presented);
        1
    }
    WdfRequestGetStatus(request: Number) -> NTSTATUS { with_own(request, |parts| parts.status) }
    WdfRequestReuse(request: Number, _parameters: Number) -> NTSTATUS {
        with_own(request, |parts| parts.formatted = false);
        NTSTATUS::SUCCESS
    }
    WdfRequestStopAcknowledge(request: Number, requeue: u8) {
        let queue = with_request(request, |parts| {
            parts.requeued = requeue != 0;
            parts.queue
        });
        // What is behind it in a queue that loses power stays there.
        if let Kind::Queue(.., busy) = &mut *at(queue).kind.lock().expect("no panic in here") {
            *busy = *busy && requeue == 0;
        }
    }
}
