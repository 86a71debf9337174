//! A function table for tests: it writes down what is called, and answers what a test says. Objects are numbers; each test has numbers of
//! its own, so that tests may run at the same time.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};

use wdf_sys::wdf::functions::{FUNCTION_NAMES, index};
use wdf_sys::wdf::{
    WDF_DRIVER_GLOBALS, WDF_OBJECT_ATTRIBUTES, WDF_OBJECT_CONTEXT_TYPE_INFO, WDF_REQUEST_PARAMETERS,
    WDF_REQUEST_PARAMETERS_Parameters_DeviceIoControl, WDF_REQUEST_SEND_OPTIONS, WDF_REQUEST_TYPE,
};
use wdf_sys::{NTSTATUS, WDFOBJECT, WDFREQUEST};

mod belongings;

/// What is known of one object.
#[derive(Debug, Default)]
struct Object {
    calls: Vec<String>,
    answers: HashMap<&'static str, i32>,
    references: i32,
    /// Addresses of the contexts by their types, allocated when they are first asked for.
    contexts: HashMap<usize, usize>,
    /// Called when the object is deleted, in this order: what its attributes asked for.
    cleanup: Vec<Destroy>,
    destroy: Vec<Destroy>,
    /// What belongs to it.
    children: Vec<usize>,
}

type Destroy = unsafe extern "win64" fn(WDFOBJECT);

static OBJECTS: Mutex<Option<HashMap<usize, Object>>> = Mutex::new(None);

fn with<R>(object: usize, act: impl FnOnce(&mut Object) -> R) -> R {
    let mut objects = OBJECTS.lock().expect("no test panics in here");
    act(objects.get_or_insert_default().entry(object).or_default())
}

/// A request that no other test has; the table is in place from the first one on.
pub(crate) fn request() -> WDFREQUEST {
    static INSTALLED: Once = Once::new();
    static NEXT: AtomicUsize = AtomicUsize::new(0x1000);
    INSTALLED.call_once(install);
    WDFREQUEST(NEXT.fetch_add(0x100, Ordering::Relaxed) as *mut c_void)
}

/// An object whose contexts the table drops when it is deleted.
fn make(attributes: *const WDF_OBJECT_ATTRIBUTES, place: *mut Handle) -> i32 {
    let made = request().0;
    keep_destroy(made, attributes);
    // SAFETY: the crate passes a place for the handle.
    unsafe { place.write(made) };
    0
}

fn keep_destroy(object: Handle, attributes: *const WDF_OBJECT_ATTRIBUTES) {
    // SAFETY: the crate passes valid attributes, or none.
    let Some(attributes) = (unsafe { attributes.as_ref() }) else { return };
    with(object as usize, |object| {
        object.cleanup.extend(attributes.EvtCleanupCallback);
        object.destroy.extend(attributes.EvtDestroyCallback);
    });
}

/// Has `function` answer `status` for this object.
pub(crate) fn answer(request: WDFREQUEST, function: &'static str, status: NTSTATUS) {
    with(request.0 as usize, |object| object.answers.insert(function, status.0));
}

/// What was called with this object, in order; references are only counted.
pub(crate) fn calls(request: WDFREQUEST) -> Vec<String> {
    with(request.0 as usize, |object| object.calls.clone())
}

/// References taken and not given back.
pub(crate) fn references(request: WDFREQUEST) -> i32 {
    with(request.0 as usize, |object| object.references)
}

fn record(object: *mut c_void, name: &'static str, detail: &str) -> i32 {
    with(object as usize, |object| {
        object.calls.push(format!("{name}{detail}"));
        object.answers.get(name).copied().unwrap_or(0)
    })
}

type Globals = *mut WDF_DRIVER_GLOBALS;
type Handle = *mut c_void;

extern "win64" fn missing() {
    panic!("a test called a function that the fake table does not have");
}

extern "win64" fn complete(_: Globals, request: Handle, status: NTSTATUS) {
    record(request, "Complete", &format!(" {status}"));
}

extern "win64" fn complete_with_information(_: Globals, request: Handle, status: NTSTATUS, information: usize) {
    record(request, "Complete", &format!(" {status} {information}"));
}

extern "win64" fn forward(_: Globals, request: Handle, _queue: Handle) -> i32 {
    record(request, "Forward", "")
}

extern "win64" fn mark(_: Globals, request: Handle, _callback: Handle) -> i32 {
    record(request, "MarkCancelableEx", "")
}

extern "win64" fn unmark(_: Globals, request: Handle) -> i32 {
    record(request, "UnmarkCancelable", "")
}

extern "win64" fn acknowledge(_: Globals, request: Handle, requeue: u8) {
    record(request, "StopAcknowledge", if requeue == 0 { " keep" } else { " requeue" });
}

extern "win64" fn cancel_sent(_: Globals, request: Handle) -> u8 {
    record(request, "CancelSentRequest", "") as u8
}

extern "win64" fn delete(_: Globals, object: Handle) {
    record(object, "Delete", "");
    clean_up(object);
    destroy(object);
}

/// What the framework does first with an object that is deleted, after it has done so with what belongs to the object.
fn clean_up(object: Handle) {
    with(object as usize, |object| object.children.clone()).into_iter().for_each(|child| clean_up(child as Handle));
    for cleanup in with(object as usize, |object| core::mem::take(&mut object.cleanup)) {
        // SAFETY: what the crate asked to be called with this object.
        unsafe { cleanup(WDFOBJECT(object)) };
    }
}

/// What it does last.
fn destroy(object: Handle) {
    with(object as usize, |object| core::mem::take(&mut object.children)).into_iter().for_each(|child| destroy(child as Handle));
    for destroy in with(object as usize, |object| core::mem::take(&mut object.destroy)) {
        // SAFETY: what the crate asked to be called with this object.
        unsafe { destroy(WDFOBJECT(object)) };
    }
}

/// The framework deletes an object, and what belongs to it.
pub(crate) fn delete_tree(object: WDFREQUEST) {
    clean_up(object.0);
    destroy(object.0);
}

/// What belongs to an object.
pub(crate) fn children(object: WDFREQUEST) -> Vec<WDFREQUEST> {
    with(object.0 as usize, |object| object.children.iter().map(|child| WDFREQUEST(*child as Handle)).collect())
}

/// As the device's attributes would have it.
pub(crate) fn destroy_with(object: WDFREQUEST, callback: Destroy) {
    with(object.0 as usize, |object| object.destroy.push(callback));
}

extern "win64" fn create_request(
    _: Globals,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
    _target: Handle,
    place: *mut Handle,
) -> i32 {
    make(attributes, place)
}

extern "win64" fn create_from_irp(
    _: Globals,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
    irp: Handle,
    _frees: u8,
    place: *mut Handle,
) -> i32 {
    let status = make(attributes, place);
    // SAFETY: the crate passes a place for the handle, which was just written.
    record(unsafe { *place }, "CreateFromIrp", &format!(" {irp:p}"));
    status
}

extern "win64" fn allocate_context(
    _: Globals,
    object: Handle,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
    _place: *mut Handle,
) -> i32 {
    keep_destroy(object, attributes);
    record(object, "AllocateContext", "")
}

extern "win64" fn format_control(
    _: Globals,
    _target: Handle,
    request: Handle,
    code: u32,
    _: Handle,
    _: Handle,
    _: Handle,
    _: Handle,
) -> i32 {
    record(request, "FormatControl", &format!(" {code:#x}"))
}

extern "win64" fn format_internal(
    _: Globals,
    _target: Handle,
    request: Handle,
    code: u32,
    _: Handle,
    _: Handle,
    _: Handle,
    _: Handle,
) -> i32 {
    record(request, "FormatInternal", &format!(" {code:#x}"))
}

extern "win64" fn format_read(_: Globals, _target: Handle, request: Handle, _: Handle, _: Handle, offset: *const i64) -> i32 {
    // SAFETY: the crate passes an offset.
    record(request, "FormatRead", &format!(" {}", unsafe { *offset }))
}

extern "win64" fn format_write(_: Globals, _target: Handle, request: Handle, _: Handle, _: Handle, offset: *const i64) -> i32 {
    // SAFETY: the crate passes an offset.
    record(request, "FormatWrite", &format!(" {}", unsafe { *offset }))
}

extern "win64" fn set_routine(_: Globals, request: Handle, routine: Handle, _context: Handle) {
    record(request, "SetRoutine", if routine.is_null() { " none" } else { "" });
}

/// Sends, unless a test says with `Send` that it does not.
extern "win64" fn send(_: Globals, request: Handle, target: Handle, options: *const WDF_REQUEST_SEND_OPTIONS) -> u8 {
    // SAFETY: the crate passes options.
    let options = unsafe { *options };
    let refused = record(request, "Send", &format!(" to {target:p} flags {:#x} time {}", options.Flags, options.Timeout));
    u8::from(refused == 0)
}

extern "win64" fn status(_: Globals, request: Handle) -> i32 {
    with(request as usize, |object| object.answers.get("Send").copied().unwrap_or(0))
}

extern "win64" fn information(_: Globals, request: Handle) -> usize {
    with(request as usize, |object| object.answers.get("Information").copied().unwrap_or(0)) as usize
}

extern "win64" fn self_target(_: Globals, device: Handle) -> Handle {
    with(device as usize, |object| object.answers.get("SelfTarget").copied().unwrap_or(0)) as usize as Handle
}

extern "win64" fn assign_queue(_: Globals, target: Handle, queue: Handle) -> i32 {
    record(target, "AssignQueue", &format!(" {queue:p}"))
}

/// An I/O control whose code and lengths a test says.
extern "win64" fn parameters(_: Globals, request: Handle, place: *mut WDF_REQUEST_PARAMETERS) {
    let said = |what| with(request as usize, |object| object.answers.get(what).copied().unwrap_or(0));
    let mut parameters = WDF_REQUEST_PARAMETERS::new();
    parameters.Type = WDF_REQUEST_TYPE::WdfRequestTypeDeviceControl;
    parameters.Parameters.DeviceIoControl = WDF_REQUEST_PARAMETERS_Parameters_DeviceIoControl {
        OutputBufferLength: said("OutputLength") as usize,
        InputBufferLength: said("InputLength") as usize,
        IoControlCode: said("Code") as u32,
        Type3InputBuffer: core::ptr::null_mut(),
    };
    // SAFETY: the crate passes a place for the parameters.
    unsafe { place.write(parameters) };
}

/// Where the user's buffers are said to be: at these addresses unless a test says another.
extern "win64" fn user_input(_: Globals, request: Handle, _least: usize, place: *mut Handle, _length: Handle) -> i32 {
    let address = with(request as usize, |object| object.answers.get("InputAddress").copied().unwrap_or(0x1000));
    // SAFETY: the crate passes a place for the address.
    unsafe { place.write(address as usize as Handle) };
    record(request, "UserInput", "")
}

extern "win64" fn user_output(_: Globals, request: Handle, _least: usize, place: *mut Handle, _length: Handle) -> i32 {
    let address = with(request as usize, |object| object.answers.get("OutputAddress").copied().unwrap_or(0x2000));
    // SAFETY: the crate passes a place for the address.
    unsafe { place.write(address as usize as Handle) };
    record(request, "UserOutput", "")
}

extern "win64" fn lock_to_read(_: Globals, request: Handle, address: Handle, length: usize, _memory: *mut Handle) -> i32 {
    record(request, "LockToRead", &format!(" {length} at {address:p}"))
}

extern "win64" fn lock_to_write(_: Globals, request: Handle, address: Handle, length: usize, _memory: *mut Handle) -> i32 {
    record(request, "LockToWrite", &format!(" {length} at {address:p}"))
}

extern "win64" fn enqueue(_: Globals, _device: Handle, request: Handle) -> i32 {
    record(request, "Enqueue", "")
}

extern "win64" fn notify_ready(_: Globals, queue: Handle, callback: StateCallback, context: Handle) -> i32 {
    let status = record(queue, "ReadyNotify", if callback.is_some() { "" } else { " none" });
    if let Some(callback) = callback {
        // SAFETY: the callback that the test's queue was given, with that queue.
        unsafe { callback(queue, context) };
    }
    status
}

/// IRPs that were allocated and not freed.
static IRPS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// Whether an IRP is allocated.
pub(crate) fn has_irp(irp: usize) -> bool {
    IRPS.lock().expect("no test panics in here").contains(&irp)
}

#[unsafe(no_mangle)]
extern "win64" fn IoAllocateIrp(_stack: i8, _charge: u8) -> Handle {
    let irp = Box::leak(Box::new(0_u64)) as *mut u64 as usize;
    IRPS.lock().expect("no test panics in here").push(irp);
    irp as Handle
}

#[unsafe(no_mangle)]
extern "win64" fn IoFreeIrp(irp: Handle) {
    let mut irps = IRPS.lock().expect("no test panics in here");
    let at = irps.iter().position(|other| *other == irp as usize).expect("an IRP is freed once");
    irps.remove(at);
}

/// A device object whose stack has three levels.
extern "win64" fn target_device(_: Globals, _target: Handle) -> Handle {
    let mut device = wdf_sys::wdm::DEVICE_OBJECT::zeroed();
    device.StackSize = 3;
    core::ptr::from_mut(Box::leak(Box::new(device))).cast()
}

extern "win64" fn reuse(_: Globals, request: Handle, _parameters: Handle) -> i32 {
    record(request, "Reuse", "")
}

extern "win64" fn reference(_: Globals, object: Handle, _tag: Handle, _line: i32, _file: Handle) {
    with(object as usize, |object| object.references += 1);
}

extern "win64" fn dereference(_: Globals, object: Handle, _tag: Handle, _line: i32, _file: Handle) {
    with(object as usize, |object| object.references -= 1);
}

extern "win64" fn context(_: Globals, object: Handle, kind: *const WDF_OBJECT_CONTEXT_TYPE_INFO) -> Handle {
    // SAFETY: the crate passes a static description.
    let size = unsafe { (*kind).ContextSize };
    let make = || Box::leak(vec![0_u128; size.div_ceil(16)].into_boxed_slice()).as_mut_ptr() as usize;
    with(object as usize, |object| *object.contexts.entry(kind as usize).or_insert_with(make)) as Handle
}

/// The callback of a queue that is quiet at once.
type StateCallback = Option<unsafe extern "win64" fn(Handle, Handle)>;

fn quiet_at_once(queue: Handle, name: &'static str, callback: StateCallback, context: Handle) {
    record(queue, name, if callback.is_some() { " then" } else { "" });
    if let Some(callback) = callback {
        // SAFETY: the callback that the test's queue was given, with that queue.
        unsafe { callback(queue, context) };
    }
}

extern "win64" fn stop_queue(_: Globals, queue: Handle, callback: StateCallback, context: Handle) {
    quiet_at_once(queue, "Stop", callback, context);
}

extern "win64" fn drain_queue(_: Globals, queue: Handle, callback: StateCallback, context: Handle) {
    quiet_at_once(queue, "Drain", callback, context);
}

extern "win64" fn purge_queue(_: Globals, queue: Handle, callback: StateCallback, context: Handle) {
    quiet_at_once(queue, "Purge", callback, context);
}

extern "win64" fn stop_and_purge_queue(_: Globals, queue: Handle, callback: StateCallback, context: Handle) {
    quiet_at_once(queue, "StopAndPurge", callback, context);
}

/// Every queue here is its own device.
extern "win64" fn device_of_queue(_: Globals, queue: Handle) -> Handle {
    queue
}

extern "win64" fn lock_interrupt(_: Globals, interrupt: Handle) {
    record(interrupt, "AcquireLock", "");
}

extern "win64" fn unlock_interrupt(_: Globals, interrupt: Handle) {
    record(interrupt, "ReleaseLock", "");
}

fn install() {
    let mut table = vec![missing as *const c_void; FUNCTION_NAMES.len()];
    for (at, function) in [
        (index::WdfRequestComplete, complete as *const c_void),
        (index::WdfRequestCompleteWithInformation, complete_with_information as *const c_void),
        (index::WdfRequestForwardToIoQueue, forward as *const c_void),
        (index::WdfRequestMarkCancelableEx, mark as *const c_void),
        (index::WdfRequestUnmarkCancelable, unmark as *const c_void),
        (index::WdfRequestStopAcknowledge, acknowledge as *const c_void),
        (index::WdfRequestCancelSentRequest, cancel_sent as *const c_void),
        (index::WdfObjectDelete, delete as *const c_void),
        (index::WdfRequestReuse, reuse as *const c_void),
        (index::WdfObjectReferenceActual, reference as *const c_void),
        (index::WdfObjectDereferenceActual, dereference as *const c_void),
        (index::WdfObjectGetTypedContextWorker, context as *const c_void),
        (index::WdfIoQueueStop, stop_queue as *const c_void),
        (index::WdfIoQueueDrain, drain_queue as *const c_void),
        (index::WdfIoQueuePurge, purge_queue as *const c_void),
        (index::WdfIoQueueStopAndPurge, stop_and_purge_queue as *const c_void),
        (index::WdfIoQueueGetDevice, device_of_queue as *const c_void),
        (index::WdfRequestCreate, create_request as *const c_void),
        (index::WdfRequestCreateFromIrp, create_from_irp as *const c_void),
        (index::WdfObjectAllocateContext, allocate_context as *const c_void),
        (index::WdfIoTargetFormatRequestForIoctl, format_control as *const c_void),
        (index::WdfIoTargetFormatRequestForInternalIoctl, format_internal as *const c_void),
        (index::WdfIoTargetFormatRequestForRead, format_read as *const c_void),
        (index::WdfIoTargetFormatRequestForWrite, format_write as *const c_void),
        (index::WdfRequestSetCompletionRoutine, set_routine as *const c_void),
        (index::WdfRequestSend, send as *const c_void),
        (index::WdfRequestGetStatus, status as *const c_void),
        (index::WdfRequestGetInformation, information as *const c_void),
        (index::WdfDeviceGetSelfIoTarget, self_target as *const c_void),
        (index::WdfIoTargetWdmGetTargetDeviceObject, target_device as *const c_void),
        (index::WdfIoQueueReadyNotify, notify_ready as *const c_void),
        (index::WdfIoTargetSelfAssignDefaultIoQueue, assign_queue as *const c_void),
        (index::WdfRequestGetParameters, parameters as *const c_void),
        (index::WdfRequestRetrieveUnsafeUserInputBuffer, user_input as *const c_void),
        (index::WdfRequestRetrieveUnsafeUserOutputBuffer, user_output as *const c_void),
        (index::WdfRequestProbeAndLockUserBufferForRead, lock_to_read as *const c_void),
        (index::WdfRequestProbeAndLockUserBufferForWrite, lock_to_write as *const c_void),
        (index::WdfDeviceEnqueueRequest, enqueue as *const c_void),
        (index::WdfInterruptAcquireLock, lock_interrupt as *const c_void),
        (index::WdfInterruptReleaseLock, unlock_interrupt as *const c_void),
    ] {
        table[at] = function;
    }
    belongings::install(&mut table);
    wdf_sys::bind::FUNCTIONS.store(Box::leak(table.into_boxed_slice()).as_mut_ptr(), Ordering::Release);
}
