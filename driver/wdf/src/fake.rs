//! A function table for tests: it writes down what is called, and answers what a test says. Objects are numbers; each test has numbers of
//! its own, so that tests may run at the same time.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};

use wdf_sys::wdf::functions::{FUNCTION_NAMES, index};
use wdf_sys::wdf::{WDF_DRIVER_GLOBALS, WDF_OBJECT_CONTEXT_TYPE_INFO};
use wdf_sys::{NTSTATUS, WDFREQUEST};

/// What is known of one object.
#[derive(Debug, Default)]
struct Object {
    calls: Vec<String>,
    answers: HashMap<&'static str, i32>,
    references: i32,
    /// Address of the context, allocated when it is first asked for.
    context: Option<usize>,
}

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
    with(object as usize, |object| *object.context.get_or_insert_with(make)) as Handle
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
        (index::WdfInterruptAcquireLock, lock_interrupt as *const c_void),
        (index::WdfInterruptReleaseLock, unlock_interrupt as *const c_void),
    ] {
        table[at] = function;
    }
    wdf_sys::bind::FUNCTIONS.store(Box::leak(table.into_boxed_slice()).as_mut_ptr(), Ordering::Release);
}
