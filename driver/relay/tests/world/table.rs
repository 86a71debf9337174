//! The function table: what the driver calls, done in the simplest way that is right for one driver in a test.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use wdf_sys::wdf::functions::{FUNCTION_NAMES, index};
use wdf_sys::wdf::*;
use wdf_sys::wdm::constants::{CM_RESOURCE_INTERRUPT_MESSAGE, CM_RESOURCE_TYPE_INTERRUPT, CM_RESOURCE_TYPE_MEMORY};
use wdf_sys::wdm::*;
use wdf_sys::{NTSTATUS, WDFQUEUE, WDFREQUEST, WDFWORKITEM};

use super::hardware::BAR_BYTES;
use super::{DEVICE_ADD, Kind, at, object, relaxed, with_device, with_request};

type Globals = *mut WDF_DRIVER_GLOBALS;
/// Handles and pointers alike are numbers on their way in.
type Number = usize;

/// Messages that the devices have: one for configuration changes and one a queue.
const MESSAGES: u32 = 4;

/// Presents a request to its queue, or puts it into a manual one.
pub(super) fn present(queue: Number, request: Number) {
    let mut kind = at(queue).kind.lock().expect("no panic in here");
    let Kind::Queue(config, waiting) = &mut *kind else { panic!("the driver gave another object for a queue") };
    let Some(handler) = config.EvtIoDeviceControl else {
        waiting.push_back(request);
        return;
    };
    drop(kind);
    let (output, input, code) = with_request(request, |parts| (parts.output.len(), parts.input.len(), parts.code));
    let (queue, request) = (WDFQUEUE(queue as *mut c_void), WDFREQUEST(request as *mut c_void));
    // SAFETY: handles that this table understands.
    unsafe { handler(queue, request, output, input, code) };
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

/// Reads a structure that the driver passes.
fn read<T: Copy>(from: *const T) -> T {
    // SAFETY: the driver passes valid structures; they are copied.
    unsafe { *from }
}

fn new(kind: Kind, device: Number, place: *mut usize) -> NTSTATUS {
    // SAFETY: the driver passes a place for the handle.
    unsafe { give(place, object(kind, device)) }
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
    with_request(request, |parts| {
        parts.cancel = None;
        parts.completions.push((status, information));
    });
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
    WdfDeviceInitSetFileObjectConfig(_init: Number, _config: Number, _attributes: Number) {}
    WdfDeviceCreate(init: *mut usize, _attributes: Number, place: *mut usize) -> NTSTATUS {
        // SAFETY: the init is the device's handle already.
        unsafe { give(place, *init) }
    }
    WdfDeviceCreateDeviceInterface(_device: Number, _class: Number, _reference: Number) -> NTSTATUS { NTSTATUS::SUCCESS }
    WdfDeviceCreateSymbolicLink(_device: Number, _name: Number) -> NTSTATUS { NTSTATUS::SUCCESS }
    WdfObjectGetTypedContextWorker(handle: Number, kind: *const WDF_OBJECT_CONTEXT_TYPE_INFO) -> usize {
        let make = || Box::leak(vec![0_u128; read(kind).ContextSize.div_ceil(16)].into_boxed_slice()).as_mut_ptr() as usize;
        *at(handle).contexts.lock().expect("no panic in here").entry(kind as usize).or_insert_with(make)
    }
    WdfObjectReferenceActual(_object: Number, _tag: Number, _line: i32, _file: Number) {}
    WdfObjectDereferenceActual(_object: Number, _tag: Number, _line: i32, _file: Number) {}
    WdfObjectDelete(_object: Number) {}
    WdfDmaEnablerCreate(device: Number, _config: Number, _attributes: Number, place: *mut usize) -> NTSTATUS {
        new(Kind::Plain, device, place)
    }
    WdfCommonBufferCreate(enabler: Number, length: usize, _attributes: Number, place: *mut usize) -> NTSTATUS {
        let memory = Box::leak(vec![0_u64; length.div_ceil(8) + 512].into_boxed_slice());
        let address = (memory.as_mut_ptr() as usize).next_multiple_of(4096);
        with_device(relaxed(&at(enabler).device), |parts| parts.buffers.push((address, length)));
        new(Kind::Plain, address, place)
    }
    WdfCommonBufferGetAlignedVirtualAddress(buffer: Number) -> usize { relaxed(&at(buffer).device) }
    WdfCommonBufferGetAlignedLogicalAddress(buffer: Number) -> usize { relaxed(&at(buffer).device) }
    // Time does not pass in these tests.
    WdfTimerCreate(_config: Number, _attributes: Number, place: *mut usize) -> NTSTATUS { new(Kind::Plain, 0, place) }
    WdfTimerStart(_timer: Number, _due: i64) -> u8 { 0 }
    WdfTimerStop(_timer: Number, _wait: u8) -> u8 { 0 }
    WdfSpinLockCreate(_attributes: Number, place: *mut usize) -> NTSTATUS { new(Kind::Plain, 0, place) }
    WdfSpinLockAcquire(lock: Number) {
        assert!(!at(lock).locked.swap(true, Ordering::Acquire), "the driver takes a spin lock twice");
    }
    WdfSpinLockRelease(lock: Number) {
        assert!(at(lock).locked.swap(false, Ordering::Release), "the driver releases a lock that it does not hold");
    }
    WdfWaitLockCreate(_attributes: Number, place: *mut usize) -> NTSTATUS { new(Kind::Plain, 0, place) }
    WdfWaitLockAcquire(lock: Number, _timeout: Number) -> NTSTATUS {
        assert!(!at(lock).locked.swap(true, Ordering::Acquire), "the driver takes a wait lock twice");
        NTSTATUS::SUCCESS
    }
    WdfWaitLockRelease(lock: Number) { at(lock).locked.store(false, Ordering::Release); }
    WdfIoQueueCreate(device: Number, config: *const WDF_IO_QUEUE_CONFIG, _attributes: Number, place: *mut usize) -> NTSTATUS {
        let config = read(config);
        let status = new(Kind::Queue(config, Default::default()), device, place);
        if config.DefaultQueue != 0 {
            with_device(device, |parts| parts.default_queue = read(place));
        }
        status
    }
    WdfIoQueueGetDevice(queue: Number) -> usize { relaxed(&at(queue).device) }
    WdfIoQueueRetrieveNextRequest(queue: Number, place: *mut usize) -> NTSTATUS {
        let next = match &mut *at(queue).kind.lock().expect("no panic in here") {
            Kind::Queue(_, waiting) => waiting.pop_front(),
            _ => None,
        };
        // SAFETY: the driver passes a place for the handle.
        next.map_or(NTSTATUS::NO_MORE_ENTRIES, |request| unsafe { give(place, request) })
    }
    WdfWorkItemCreate(config: *const WDF_WORKITEM_CONFIG, attributes: *const WDF_OBJECT_ATTRIBUTES, place: *mut usize) -> NTSTATUS {
        let device = read(attributes).ParentObject.0 as usize;
        let status = new(Kind::WorkItem(read(config).EvtWorkItemFunc, false), device, place);
        with_device(device, |parts| parts.work_items.push(read(place)));
        status
    }
    WdfWorkItemEnqueue(item: Number) {
        if let Kind::WorkItem(_, enqueued) = &mut *at(item).kind.lock().expect("no panic in here") {
            *enqueued = true;
        }
    }
    WdfDeviceSetFailed(_device: Number, _action: u32) {}
    WdfWorkItemGetParentObject(item: Number) -> usize { relaxed(&at(item).device) }
    WdfInterruptCreate(device: Number, config: *const WDF_INTERRUPT_CONFIG, _attributes: Number, place: *mut usize) -> NTSTATUS {
        let status = new(Kind::Interrupt(read(config).EvtInterruptDpc), device, place);
        with_device(device, |parts| parts.interrupts.push(read(place)));
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
        with_request(request, |parts| {
            assert!(parts.cancel.is_none() && parts.completions.is_empty() && parts.queue != queue, "a request is forwarded wrongly");
            parts.queue = queue;
        });
        present(queue, request);
        NTSTATUS::SUCCESS
    }
    WdfRequestGetFileObject(_request: Number) -> usize { 0 }
    WdfRequestGetIoQueue(request: Number) -> usize { with_request(request, |parts| parts.queue) }
    WdfRequestRetrieveInputBuffer(request: Number, least: usize, place: *mut *mut u8, length: *mut usize) -> NTSTATUS {
        buffer(with_request(request, |parts| &raw const parts.input), least, place, length)
    }
    WdfRequestRetrieveOutputBuffer(request: Number, least: usize, place: *mut *mut u8, length: *mut usize) -> NTSTATUS {
        buffer(with_request(request, |parts| &raw const parts.output), least, place, length)
    }
    WdfRequestMarkCancelableEx(request: Number, callback: PFN_WDF_REQUEST_CANCEL) -> NTSTATUS {
        with_request(request, |parts| {
            if parts.cancelled {
                return NTSTATUS::CANCELLED;
            }
            parts.cancel = callback;
            NTSTATUS::SUCCESS
        })
    }
    WdfRequestUnmarkCancelable(request: Number) -> NTSTATUS {
        let taken = with_request(request, |parts| parts.cancel.take());
        if taken.is_some() { NTSTATUS::SUCCESS } else { NTSTATUS::CANCELLED }
    }
    WdfRequestComplete(request: Number, status: NTSTATUS) { complete(request, status, 0); }
    WdfRequestCompleteWithInformation(request: Number, status: NTSTATUS, information: usize) { complete(request, status, information); }
    WdfRequestStopAcknowledge(request: Number, requeue: u8) { with_request(request, |parts| parts.requeued = requeue != 0); }
}
