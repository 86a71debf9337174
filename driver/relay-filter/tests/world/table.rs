//! The function table and the imports: what the filter calls, done in the simplest way that is right for one driver in a test.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::sync::atomic::Ordering;

use wdf_sys::bind::WDF_BIND_INFO;
use wdf_sys::wdf::functions::{FUNCTION_NAMES, index};
use wdf_sys::wdf::*;
use wdf_sys::wdm::{DRIVER_OBJECT, UNICODE_STRING};
use wdf_sys::{NTSTATUS, WDFQUEUE, WDFREQUEST};

use super::{
    DEVICE_ADD, Kind, QueueParts, Request, RequestParts, at, gaps, is_power_managed, object, scarcity, with_device, with_queue,
    with_request,
};

type Globals = *mut WDF_DRIVER_GLOBALS;
type Number = usize;

#[unsafe(no_mangle)]
extern "win64" fn WdfVersionBind(
    _driver: *mut DRIVER_OBJECT,
    _path: *mut UNICODE_STRING,
    info: *mut WDF_BIND_INFO,
    globals: *mut Globals,
) -> NTSTATUS {
    let table = Box::leak(make().into_boxed_slice());
    // SAFETY: the driver passes both; `FuncTable` is where the table's address goes.
    unsafe {
        *(*info).FuncTable.cast::<*const *const c_void>() = table.as_ptr();
        *globals = Box::leak(Box::new(WDF_DRIVER_GLOBALS::zeroed()));
    }
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
extern "win64" fn WdfVersionUnbind(_: *mut UNICODE_STRING, _: *mut WDF_BIND_INFO, _: Globals) -> NTSTATUS {
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
extern "win64" fn ExAllocatePool2(_flags: u64, bytes: usize, _tag: u32) -> *mut c_void {
    if !scarcity::allocate() {
        return core::ptr::null_mut();
    }
    let address = memory(bytes);
    scarcity::took_memory(address);
    address as *mut c_void
}

#[unsafe(no_mangle)]
extern "win64" fn ExFreePoolWithTag(memory: *mut c_void, _tag: u32) {
    scarcity::gave_memory(memory as usize);
}

fn memory(bytes: usize) -> usize {
    Box::leak(vec![0_u128; bytes.div_ceil(16)].into_boxed_slice()).as_mut_ptr() as usize
}

/// Presents a request to its queue, or puts it into a manual one.
pub(super) fn present(queue: Number, request: Number) {
    let handler = with_queue(queue, |parts| {
        if parts.config.EvtIoDeviceControl.is_none() {
            parts.waiting.push_back(request);
        }
        parts.config.EvtIoDeviceControl
    });
    let Some(handler) = handler else {
        with_request(request, |parts| parts.queued = true);
        if with_request(request, |parts| parts.cancelled) {
            Request { handle: request }.cancel();
        } else if with_queue(queue, |parts| parts.waiting.len()) == 1 {
            tell_ready(queue);
        }
        return;
    };
    let (output, input, code) = with_request(request, |parts| (parts.output.len(), parts.input.len(), parts.code));
    let (queue, request) = (WDFQUEUE(queue as *mut c_void), WDFREQUEST(request as *mut c_void));
    // SAFETY: handles that this table understands.
    unsafe { handler(queue, request, output, input, code) };
}

/// Tells the driver of a manual queue that is not empty (any more), unless the queue has no power.
pub(super) fn tell_ready(queue: Number) {
    let ready = with_queue(queue, |parts| parts.ready.filter(|_| !parts.waiting.is_empty()));
    if let Some(ready) = ready
        && !sleeps(queue)
    {
        gaps::gap();
        // SAFETY: a handle that this table understands.
        unsafe { ready(WDFQUEUE(queue as *mut c_void), core::ptr::null_mut()) };
    }
}

fn sleeps(queue: Number) -> bool {
    is_power_managed(queue) && with_device(at(queue).owner, |parts| parts.asleep)
}

/// Takes a request out of a queue.
fn retrieve(queue: Number, file: Option<Number>, place: *mut usize) -> NTSTATUS {
    gaps::gap();
    if sleeps(queue) {
        return NTSTATUS::WDF_PAUSED;
    }
    let next = with_queue(queue, |parts| {
        let picked = |request: &usize| file.is_none_or(|file| with_request(*request, |parts| parts.file == file));
        let at = parts.waiting.iter().position(picked)?;
        parts.waiting.remove(at)
    });
    let Some(next) = next else { return NTSTATUS::NO_MORE_ENTRIES };
    with_request(next, |parts| parts.queued = false);
    write(place, next);
    gaps::gap();
    NTSTATUS::SUCCESS
}

macro_rules! functions {
    ($($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block)*) => {
        $(
            #[allow(non_snake_case)]
            extern "win64" fn $name(_globals: Globals, $($argument: $type),*) $(-> $result)? $body
        )*

        fn make() -> Vec<*const c_void> {
            let mut table = vec![missing as *const c_void; FUNCTION_NAMES.len()];
            $(table[index::$name] = $name as *const c_void;)*
            table
        }
    };
}

extern "win64" fn missing() {
    panic!("the driver called a function that the test's table does not have");
}

fn read<T: Copy>(from: *const T) -> T {
    // SAFETY: the driver passes valid structures; they are copied.
    unsafe { *from }
}

fn write<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: the driver passes a place for the value.
        unsafe { place.write(value) };
    }
}

fn new(kind: Kind, owner: Number, attributes: *const WDF_OBJECT_ATTRIBUTES, place: *mut usize) -> NTSTATUS {
    if !scarcity::allocate() {
        return NTSTATUS::INSUFFICIENT_RESOURCES;
    }
    let made = object(kind, owner);
    scarcity::made(made, attributes);
    write(place, made);
    NTSTATUS::SUCCESS
}

fn buffer(bytes: *const Vec<u8>, place: *mut *mut u8, length: *mut usize) -> NTSTATUS {
    // SAFETY: the vector is the request's, which lives for ever, and is not resized.
    let bytes = unsafe { &*bytes };
    if bytes.is_empty() {
        return NTSTATUS::BUFFER_TOO_SMALL;
    }
    write(place, bytes.as_ptr().cast_mut());
    write(length, bytes.len());
    NTSTATUS::SUCCESS
}

fn complete(request: Number, status: NTSTATUS, information: usize) {
    with_request(request, |parts| {
        assert!(parts.cancel.is_none(), "a cancelable request is completed");
        assert!(!parts.queued, "a request is completed that a queue has");
        parts.completions.push((status, information));
    });
}

functions! {
    WdfDriverCreate(_driver: Number, _path: Number, _attributes: Number, config: *const WDF_DRIVER_CONFIG, _place: Number) -> NTSTATUS {
        *DEVICE_ADD.lock().expect("no panic in here") = read(config).EvtDriverDeviceAdd;
        NTSTATUS::SUCCESS
    }
    WdfFdoInitSetFilter(_init: Number) {}
    WdfDeviceInitSetFileObjectConfig(init: Number, config: *const WDF_FILEOBJECT_CONFIG, _attributes: Number) {
        with_device(init, |parts| parts.cleanup = read(config).EvtFileCleanup);
    }
    WdfFileObjectGetDevice(file: Number) -> usize { at(file).owner }
    WdfDeviceInitSetRequestAttributes(_init: Number, _attributes: Number) {}
    WdfDeviceInitSetPnpPowerEventCallbacks(init: Number, callbacks: *const WDF_PNPPOWER_EVENT_CALLBACKS) {
        with_device(init, |parts| parts.pnp = read(callbacks));
    }
    WdfDeviceCreate(init: *mut usize, attributes: *const WDF_OBJECT_ATTRIBUTES, place: *mut usize) -> NTSTATUS {
        if !scarcity::allocate() {
            return NTSTATUS::INSUFFICIENT_RESOURCES;
        }
        with_device(read(init), |parts| parts.made = true);
        scarcity::made(read(init), attributes);
        write(place, read(init));
        NTSTATUS::SUCCESS
    }
    WdfDeviceConfigureRequestDispatching(device: Number, queue: Number, _kind: i32) -> NTSTATUS {
        with_device(device, |parts| parts.incoming = queue);
        NTSTATUS::SUCCESS
    }
    WdfDeviceGetIoTarget(device: Number) -> usize { with_device(device, |parts| parts.target) }
    WdfIoTargetGetDevice(target: Number) -> usize { at(target).owner }
    WdfObjectGetTypedContextWorker(handle: Number, kind: *const WDF_OBJECT_CONTEXT_TYPE_INFO) -> usize {
        let make = || memory(read(kind).ContextSize);
        *at(handle).contexts.lock().expect("no panic in here").entry(kind as usize).or_insert_with(make)
    }
    WdfObjectReferenceActual(_object: Number, _tag: Number, _line: i32, _file: Number) {}
    WdfObjectDereferenceActual(_object: Number, _tag: Number, _line: i32, _file: Number) {}
    WdfObjectDelete(object: Number) { scarcity::destroy(object); }
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
    WdfMemoryCreate(attributes: *const WDF_OBJECT_ATTRIBUTES, _pool: i32, _tag: u32, length: usize, place: *mut usize, start: *mut usize) -> NTSTATUS {
        let address = memory(length);
        write(start, address);
        new(Kind::Plain, address, attributes, place)
    }
    WdfIoQueueCreate(device: Number, config: *const WDF_IO_QUEUE_CONFIG, attributes: *const WDF_OBJECT_ATTRIBUTES, place: *mut usize) -> NTSTATUS {
        let status = new(Kind::Queue(QueueParts { config: read(config), waiting: VecDeque::new(), ready: None }), device, attributes, place);
        if status.is_success() {
            with_device(device, |parts| parts.queues.push(read(place)));
        }
        status
    }
    WdfIoQueueReadyNotify(queue: Number, ready: PFN_WDF_IO_QUEUE_STATE, _context: Number) -> NTSTATUS {
        with_queue(queue, |parts| parts.ready = ready);
        NTSTATUS::SUCCESS
    }
    WdfIoQueueGetDevice(queue: Number) -> usize { at(queue).owner }
    WdfIoQueueGetState(queue: Number, queued: *mut u32, presented: *mut u32) -> i32 {
        write(queued, with_queue(queue, |parts| parts.waiting.len()) as u32);
        write(presented, 0);
        3
    }
    WdfIoQueueRetrieveNextRequest(queue: Number, place: *mut usize) -> NTSTATUS { retrieve(queue, None, place) }
    WdfIoQueueRetrieveRequestByFileObject(queue: Number, file: Number, place: *mut usize) -> NTSTATUS { retrieve(queue, Some(file), place) }
    WdfRequestRequeue(request: Number) -> NTSTATUS {
        let queue = with_request(request, |parts| parts.queue);
        with_queue(queue, |parts| parts.waiting.push_front(request));
        with_request(request, |parts| parts.queued = true);
        if with_request(request, |parts| parts.cancelled) {
            Request { handle: request }.cancel();
        } else if with_queue(queue, |parts| parts.waiting.len()) == 1 {
            tell_ready(queue);
        }
        NTSTATUS::SUCCESS
    }
    WdfRequestForwardToIoQueue(request: Number, queue: Number) -> NTSTATUS {
        with_request(request, |parts| parts.queue = queue);
        present(queue, request);
        NTSTATUS::SUCCESS
    }
    WdfRequestGetFileObject(request: Number) -> usize { with_request(request, |parts| parts.file) }
    WdfRequestGetIoQueue(request: Number) -> usize { with_request(request, |parts| parts.queue) }
    WdfRequestGetParameters(request: Number, place: *mut WDF_REQUEST_PARAMETERS) {
        let mut parameters = WDF_REQUEST_PARAMETERS::new();
        parameters.Type = WDF_REQUEST_TYPE::WdfRequestTypeDeviceControl;
        with_request(request, |parts| {
            parameters.Parameters.DeviceIoControl = WDF_REQUEST_PARAMETERS_Parameters_DeviceIoControl {
                OutputBufferLength: parts.output.len(),
                InputBufferLength: parts.input.len(),
                IoControlCode: parts.code,
                Type3InputBuffer: core::ptr::null_mut(),
            };
        });
        write(place, parameters);
    }
    WdfRequestRetrieveInputBuffer(request: Number, _least: usize, place: *mut *mut u8, length: *mut usize) -> NTSTATUS {
        buffer(with_request(request, |parts| &raw const parts.input), place, length)
    }
    WdfRequestRetrieveOutputBuffer(request: Number, _least: usize, place: *mut *mut u8, length: *mut usize) -> NTSTATUS {
        buffer(with_request(request, |parts| &raw const parts.output), place, length)
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
        gaps::gap();
        let taken = with_request(request, |parts| {
            assert!(parts.completions.is_empty(), "a request is asked about that is over");
            parts.cancel.take()
        });
        if taken.is_some() { NTSTATUS::SUCCESS } else { NTSTATUS::CANCELLED }
    }
    WdfRequestComplete(request: Number, status: NTSTATUS) { complete(request, status, 0); }
    WdfRequestCompleteWithInformation(request: Number, status: NTSTATUS, information: usize) { complete(request, status, information); }
    WdfRequestStopAcknowledge(request: Number, requeue: u8) { with_request(request, |parts| parts.kept = requeue == 0); }
    WdfRequestCreate(attributes: *const WDF_OBJECT_ATTRIBUTES, target: Number, place: *mut usize) -> NTSTATUS {
        new(Kind::Request(Box::<RequestParts>::default()), at(target).owner, attributes, place)
    }
    WdfIoTargetFormatRequestForIoctl(_target: Number, request: Number, code: u32, input: Number, given: *const WDFMEMORY_OFFSET, output: Number, got: *const WDFMEMORY_OFFSET) -> NTSTATUS {
        if !scarcity::allocate() {
            return NTSTATUS::INSUFFICIENT_RESOURCES;
        }
        let part = |memory: usize, range: *const WDFMEMORY_OFFSET| if memory == 0 { (0, 0) } else { (at(memory).owner, read(range).BufferLength) };
        let (start, length) = part(input, given);
        with_request(request, |parts| {
            // SAFETY: memory that the driver formatted the request with.
            parts.input = (0..length).map(|byte| unsafe { ((start + byte) as *const u8).read() }).collect();
            (parts.code, parts.answer, parts.formatted) = (code, part(output, got), true);
        });
        NTSTATUS::SUCCESS
    }
    WdfRequestSetCompletionRoutine(request: Number, routine: PFN_WDF_REQUEST_COMPLETION_ROUTINE, _context: Number) {
        with_request(request, |parts| parts.routine = routine);
    }
    WdfRequestSend(request: Number, target: Number, options: *const WDF_REQUEST_SEND_OPTIONS) -> u8 {
        let device = at(target).owner;
        if read(options).Flags & WDF_REQUEST_SEND_OPTION_SEND_AND_FORGET != 0 {
            with_device(device, |parts| parts.passed.push(request));
            return 1;
        }
        gaps::gap();
        let refuses = with_device(device, |parts| parts.refuses);
        let refused = with_request(request, |parts| {
            assert!(core::mem::take(&mut parts.formatted) && !parts.is_sent, "a request is sent that was not formatted, or is sent already");
            parts.sends += 1;
            parts.is_sent = parts.cancels == 0 && refuses.is_none();
            parts.status = refuses.filter(|_| parts.cancels == 0).unwrap_or(NTSTATUS::CANCELLED);
            !parts.is_sent
        });
        if refused {
            return 0;
        }
        match with_device(device, |parts| parts.at_once) {
            Some(status) => Request { handle: request }.complete(status, &[]),
            None => with_device(device, |parts| parts.sent.push_back(request)),
        }
        gaps::gap();
        1
    }
    WdfRequestGetStatus(request: Number) -> NTSTATUS { with_request(request, |parts| parts.status) }
    WdfRequestCancelSentRequest(request: Number) -> u8 {
        gaps::gap();
        let there = with_request(request, |parts| {
            parts.cancels += 1;
            u8::from(parts.is_sent)
        });
        gaps::gap();
        there
    }
    WdfRequestReuse(request: Number, _parameters: Number) -> NTSTATUS {
        with_request(request, |parts| {
            assert!(!parts.is_sent, "a request is reused that is still sent");
            (parts.cancels, parts.routine, parts.formatted) = (0, None, false);
            parts.reuses += 1;
        });
        gaps::gap();
        NTSTATUS::SUCCESS
    }
}
