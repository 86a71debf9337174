//! A world for the filter, small enough for a test: a function table whose target is the test. What the filter sends waits in a list until
//! the test completes it, or is completed inside of the send when the test wants that.
//!
//! Objects are addresses that live for ever. Nothing is held while the driver is called.
#![allow(dead_code, reason = "each test program uses a part of the world")]

pub(crate) mod gaps;
pub(crate) mod scarcity;
mod table;

use std::collections::{HashMap, VecDeque};
use std::ffi::c_void;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, Once};

use wdf_sys::NTSTATUS;
use wdf_sys::wdf::{
    PFN_WDF_DRIVER_DEVICE_ADD, PFN_WDF_FILE_CLEANUP, PFN_WDF_IO_QUEUE_STATE, PFN_WDF_REQUEST_CANCEL,
    PFN_WDF_REQUEST_COMPLETION_ROUTINE, WDF_IO_QUEUE_CONFIG, WDF_PNPPOWER_EVENT_CALLBACKS, WDF_POWER_DEVICE_STATE,
    WDF_REQUEST_COMPLETION_PARAMS, WDF_TRI_STATE, WdfRequestStopActionPurge, WdfRequestStopActionSuspend,
};

/// Anything that the driver has a handle of.
#[derive(Default)]
pub(crate) struct Object {
    contexts: Mutex<HashMap<usize, usize>>,
    locked: AtomicBool,
    /// The device it belongs to, for what belongs to one; the memory's address, for memory.
    owner: usize,
    kind: Mutex<Kind>,
}

#[derive(Default)]
enum Kind {
    #[default]
    Plain,
    Device(Box<DeviceParts>),
    Queue(QueueParts),
    Request(Box<RequestParts>),
}

// SAFETY: the raw pointers in it are addresses that live for ever.
unsafe impl Send for Kind {}

struct DeviceParts {
    pnp: WDF_PNPPOWER_EVENT_CALLBACKS,
    incoming: usize,
    target: usize,
    /// Driver-created requests that the filter sent.
    sent: VecDeque<usize>,
    /// Presented requests that the filter sent on.
    passed: Vec<usize>,
    /// With what sends are completed at once.
    at_once: Option<NTSTATUS>,
    /// With what sends are refused.
    refuses: Option<NTSTATUS>,
    /// The device object has been created.
    made: bool,
    queues: Vec<usize>,
    cleanup: PFN_WDF_FILE_CLEANUP,
    asleep: bool,
    files: Vec<usize>,
}

struct QueueParts {
    config: WDF_IO_QUEUE_CONFIG,
    waiting: VecDeque<usize>,
    ready: PFN_WDF_IO_QUEUE_STATE,
}

#[derive(Default)]
pub(crate) struct RequestParts {
    pub(crate) code: u32,
    pub(crate) input: Vec<u8>,
    output: Vec<u8>,
    queue: usize,
    cancel: PFN_WDF_REQUEST_CANCEL,
    pub(crate) completions: Vec<(NTSTATUS, usize)>,
    pub(crate) kept: bool,
    file: usize,
    /// Its sender has cancelled it.
    cancelled: bool,
    /// A queue has it.
    queued: bool,
    // Of driver-created requests:
    routine: PFN_WDF_REQUEST_COMPLETION_ROUTINE,
    /// Where the answer goes, and how much fits.
    answer: (usize, usize),
    formatted: bool,
    is_sent: bool,
    pub(crate) cancels: u32,
    status: NTSTATUS,
    pub(crate) sends: u32,
    pub(crate) reuses: u32,
}

fn object(kind: Kind, owner: usize) -> usize {
    let made = Object { kind: Mutex::new(kind), owner, ..Object::default() };
    core::ptr::from_ref(Box::leak(Box::new(made))) as usize
}

fn at(handle: usize) -> &'static Object {
    // SAFETY: handles are addresses of objects that live for ever; the driver has no others.
    unsafe { &*(handle as *const Object) }
}

impl Object {
    fn is_queue(&self) -> bool {
        matches!(*self.kind.lock().expect("no panic in here"), Kind::Queue(_))
    }
}

/// Whether a queue holds its requests while there is no power. A filter's does when it says so.
fn is_power_managed(queue: usize) -> bool {
    with_queue(queue, |parts| parts.config.PowerManaged == WDF_TRI_STATE::WdfTrue)
}

fn with_device<R>(handle: usize, act: impl FnOnce(&mut DeviceParts) -> R) -> R {
    match &mut *at(handle).kind.lock().expect("no panic in here") {
        Kind::Device(parts) => act(parts),
        _ => panic!("the driver gave another object for a device"),
    }
}

fn with_queue<R>(handle: usize, act: impl FnOnce(&mut QueueParts) -> R) -> R {
    match &mut *at(handle).kind.lock().expect("no panic in here") {
        Kind::Queue(parts) => act(parts),
        _ => panic!("the driver gave another object for a queue"),
    }
}

fn with_request<R>(handle: usize, act: impl FnOnce(&mut RequestParts) -> R) -> R {
    match &mut *at(handle).kind.lock().expect("no panic in here") {
        Kind::Request(parts) => act(parts),
        _ => panic!("the driver gave another object for a request"),
    }
}

static DEVICE_ADD: Mutex<PFN_WDF_DRIVER_DEVICE_ADD> = Mutex::new(None);

/// A device that the filter sits on.
pub(crate) struct Device {
    handle: usize,
}

/// A request, of a program or of the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    handle: usize,
}

impl Device {
    pub(crate) fn add() -> Self {
        Self::try_add().expect("nothing fails")
    }

    /// Adds a device, or says why not: then all that was made for it is gone, unless the driver forgot it.
    pub(crate) fn try_add() -> Result<Self, NTSTATUS> {
        static STARTED: Once = Once::new();
        STARTED.call_once(|| {
            let mut driver = wdf_sys::wdm::DRIVER_OBJECT::zeroed();
            let mut path = wdf_sys::wdm::UNICODE_STRING::zeroed();
            // SAFETY: called once; both structures live through the call, and the world does not unload.
            let status = unsafe { wdf::driver::start::<relayflt::RelayFilterDriver>(&raw mut driver, &raw mut path) };
            assert_eq!(status, NTSTATUS::SUCCESS);
        });
        let parts = DeviceParts {
            pnp: WDF_PNPPOWER_EVENT_CALLBACKS::new(),
            incoming: 0,
            target: 0,
            sent: VecDeque::new(),
            passed: Vec::new(),
            at_once: None,
            refuses: None,
            made: false,
            queues: Vec::new(),
            cleanup: None,
            asleep: false,
            files: Vec::new(),
        };
        let handle = object(Kind::Device(Box::new(parts)), 0);
        let target = object(Kind::Plain, handle);
        with_device(handle, |parts| parts.target = target);
        let add = DEVICE_ADD.lock().expect("no panic in here").expect("the driver has been started");
        // SAFETY: the init is the device's own handle, which the table understands.
        let status = unsafe { add(wdf_sys::WDFDRIVER(core::ptr::null_mut()), handle as *mut _) };
        let device = Self { handle };
        if status.is_success() {
            return Ok(device);
        }
        device.destroy();
        Err(status)
    }

    /// The device object goes, and all that belongs to it.
    pub(crate) fn destroy(&self) {
        // A failed add may not have got as far as the device.
        if with_device(self.handle, |parts| parts.made) {
            scarcity::destroy_device(self.handle, |object| at(object).is_queue());
        }
    }

    /// A device whose readers have been started.
    pub(crate) fn reading() -> Self {
        let device = Self::add();
        let init = with_device(device.handle, |parts| parts.pnp.EvtDeviceSelfManagedIoInit).expect("registered");
        // SAFETY: a device that the table understands.
        assert_eq!(unsafe { init(wdf_sys::WDFDEVICE(device.handle as *mut c_void)) }, NTSTATUS::SUCCESS);
        device
    }

    /// The device is torn out.
    pub(crate) fn surprise_remove(&self) {
        let removal = with_device(self.handle, |parts| parts.pnp.EvtDeviceSurpriseRemoval).expect("registered");
        // SAFETY: a device that the table understands.
        unsafe { removal(wdf_sys::WDFDEVICE(self.handle as *mut c_void)) };
    }

    /// Power goes: queues that are power-managed stop, and the filter is asked about what it has of them.
    pub(crate) fn suspend(&self, clients: &[Request]) {
        self.stop(clients, WdfRequestStopActionSuspend);
        let exit = with_device(self.handle, |parts| parts.pnp.EvtDeviceD0Exit).expect("registered");
        // SAFETY: a device that the table understands.
        assert_eq!(unsafe { exit(self.wdf(), WDF_POWER_DEVICE_STATE::WdfPowerDeviceD3) }, NTSTATUS::SUCCESS);
    }

    /// The device is removed: as in [`suspend`](Self::suspend), for good. What waits is cancelled by the framework.
    pub(crate) fn remove(&self, clients: &[Request]) {
        self.stop(clients, WdfRequestStopActionPurge);
        for client in clients {
            if client.with(|parts| parts.queued) {
                client.cancel();
            }
        }
        let flush = with_device(self.handle, |parts| parts.pnp.EvtDeviceSelfManagedIoFlush).expect("registered");
        // SAFETY: a device that the table understands.
        unsafe { flush(self.wdf()) };
    }

    fn stop(&self, clients: &[Request], flags: u32) {
        with_device(self.handle, |parts| parts.asleep = true);
        for client in clients {
            let (queue, held) = client.with(|parts| (parts.queue, !parts.queued && parts.completions.is_empty()));
            if held && is_power_managed(queue) {
                client.with(|parts| parts.kept = false);
                client.stop(flags);
            }
        }
    }

    /// Power is back.
    pub(crate) fn resume(&self) {
        let (entry, restart) =
            with_device(self.handle, |parts| (parts.pnp.EvtDeviceD0Entry, parts.pnp.EvtDeviceSelfManagedIoRestart));
        // SAFETY: a device that the table understands.
        let status = unsafe { entry.expect("registered")(self.wdf(), WDF_POWER_DEVICE_STATE::WdfPowerDeviceD3) };
        assert_eq!(status, NTSTATUS::SUCCESS);
        let queues = with_device(self.handle, |parts| {
            parts.asleep = false;
            parts.queues.clone()
        });
        queues.into_iter().for_each(table::tell_ready);
        // SAFETY: as above.
        assert_eq!(unsafe { restart.expect("registered")(self.wdf()) }, NTSTATUS::SUCCESS);
    }

    /// A program has closed its last handle of `file`: what waits in queues is cancelled by the framework, then the filter hears of it.
    pub(crate) fn close(&self, file: usize) {
        let file = self.file(file);
        for queue in with_device(self.handle, |parts| parts.queues.clone()) {
            let waiting = with_queue(queue, |parts| parts.waiting.clone());
            for request in waiting.into_iter().filter(|request| with_request(*request, |parts| parts.file == file)) {
                Request { handle: request }.cancel();
            }
        }
        gaps::gap();
        let cleanup = with_device(self.handle, |parts| parts.cleanup).expect("registered");
        // SAFETY: a file that the table understands.
        unsafe { cleanup(wdf_sys::WDFFILEOBJECT(file as *mut c_void)) };
    }

    /// The file object of a number: an object that belongs to the device.
    fn file(&self, file: usize) -> usize {
        with_device(self.handle, |parts| {
            while parts.files.len() <= file {
                parts.files.push(object(Kind::Plain, self.handle));
            }
            parts.files[file]
        })
    }

    /// What is sent from now on is refused.
    pub(crate) fn refuse(&self, status: Option<NTSTATUS>) {
        with_device(self.handle, |parts| parts.refuses = status);
    }

    fn wdf(&self) -> wdf_sys::WDFDEVICE {
        wdf_sys::WDFDEVICE(self.handle as *mut c_void)
    }

    /// A program sends an I/O control.
    pub(crate) fn send(&self, code: u32, input: &[u8], room: usize) -> Request {
        self.send_from(0, code, input, room)
    }

    /// A program sends an I/O control through one of its files.
    pub(crate) fn send_from(&self, file: usize, code: u32, input: &[u8], room: usize) -> Request {
        let request = self.prepare(file, code, input, room);
        self.present(request);
        request
    }

    /// The filter gets a request that was prepared.
    pub(crate) fn present(&self, request: Request) {
        table::present(with_device(self.handle, |parts| parts.incoming), request.handle);
    }

    /// A request that is about to be sent.
    pub(crate) fn prepare(&self, file: usize, code: u32, input: &[u8], room: usize) -> Request {
        let queue = with_device(self.handle, |parts| parts.incoming);
        let file = self.file(file);
        let parts = RequestParts { code, input: input.to_vec(), output: vec![0; room], queue, file, ..RequestParts::default() };
        Request { handle: object(Kind::Request(Box::new(parts)), self.handle) }
    }

    /// The next request of the filter's own that waits below.
    pub(crate) fn below(&self) -> Option<Request> {
        with_device(self.handle, |parts| parts.sent.pop_front()).map(|handle| Request { handle })
    }

    /// How many requests of the filter's own are below.
    pub(crate) fn below_count(&self) -> usize {
        with_device(self.handle, |parts| parts.sent.len())
    }

    /// How many of them ask for this.
    pub(crate) fn below_with(&self, code: u32) -> usize {
        let sent = with_device(self.handle, |parts| parts.sent.clone());
        sent.into_iter().filter(|request| with_request(*request, |parts| parts.code == code)).count()
    }

    /// Whether one of them that asks for this has been cancelled.
    pub(crate) fn is_cancelled_below(&self, code: u32, input: &[u8]) -> bool {
        let sent = with_device(self.handle, |parts| parts.sent.clone());
        let is_it = |parts: &mut RequestParts| parts.code == code && parts.input == input && parts.cancels != 0;
        sent.into_iter().any(|request| with_request(request, is_it))
    }

    /// The first of them that asks for this.
    pub(crate) fn take_below(&self, code: u32) -> Option<Request> {
        let sent = with_device(self.handle, |parts| parts.sent.clone());
        self.below_at(sent.into_iter().position(|request| with_request(request, |parts| parts.code == code))?)
    }

    /// One of the filter's own requests that waits below.
    pub(crate) fn below_at(&self, index: usize) -> Option<Request> {
        with_device(self.handle, |parts| parts.sent.remove(index)).map(|handle| Request { handle })
    }

    /// Requests of programs that the filter sent on as they are.
    pub(crate) fn passed(&self) -> Vec<Request> {
        with_device(self.handle, |parts| parts.passed.iter().map(|handle| Request { handle: *handle }).collect())
    }

    /// What is sent from now on is completed with `status` before the send returns.
    pub(crate) fn complete_at_once(&self, status: Option<NTSTATUS>) {
        with_device(self.handle, |parts| parts.at_once = status);
    }
}

impl Request {
    /// What is known of it.
    pub(crate) fn with<R>(self, act: impl FnOnce(&mut RequestParts) -> R) -> R {
        with_request(self.handle, act)
    }

    /// How it ended, if it has: status and answer.
    pub(crate) fn outcome(self) -> Option<(NTSTATUS, Vec<u8>)> {
        self.with(|parts| {
            assert!(parts.completions.len() <= 1, "a request was completed twice");
            let (status, information) = *parts.completions.first()?;
            Some((status, parts.output[..information.min(parts.output.len())].to_vec()))
        })
    }

    /// Whether it waits in a queue.
    pub(crate) fn is_queued(self) -> bool {
        self.with(|parts| parts.queued)
    }

    /// Whether power may go as far as this request is concerned: it is over, in a queue, kept with an acknowledgement, or of a queue that
    /// does not mind.
    pub(crate) fn has_left_power(self) -> bool {
        let (queue, over) = self.with(|parts| (parts.queue, parts.queued || parts.kept || !parts.completions.is_empty()));
        over || !is_power_managed(queue)
    }

    /// The driver below completes it.
    pub(crate) fn complete(self, status: NTSTATUS, answer: &[u8]) {
        let routine = self.with(|parts| {
            assert!(core::mem::take(&mut parts.is_sent), "a request is completed that is not there");
            assert!(answer.len() <= parts.answer.1, "a test writes beyond the buffer");
            // SAFETY: the buffer that the request was formatted with.
            unsafe { core::ptr::copy_nonoverlapping(answer.as_ptr(), parts.answer.0 as *mut u8, answer.len()) };
            parts.status = status;
            parts.routine.take()
        });
        let device = at(self.handle).owner;
        let target = wdf_sys::WDFIOTARGET(with_device(device, |parts| parts.target) as *mut c_void);
        let mut params = WDF_REQUEST_COMPLETION_PARAMS::new();
        params.IoStatus = wdf_sys::wdm::IO_STATUS_BLOCK::new(status, answer.len());
        let request = wdf_sys::WDFREQUEST(self.handle as *mut c_void);
        // SAFETY: handles that the table understands.
        unsafe {
            routine.expect("it was sent with a completion routine")(request, target, &raw mut params, core::ptr::null_mut())
        };
    }

    /// Its sender cancels it. Whether the filter was asked; what waits in a queue the framework completes.
    pub(crate) fn cancel(self) -> bool {
        let (queue, queued) = self.with(|parts| {
            parts.cancelled = true;
            (parts.queue, core::mem::take(&mut parts.queued))
        });
        if queued {
            with_queue(queue, |parts| parts.waiting.retain(|other| *other != self.handle));
            self.with(|parts| parts.completions.push((NTSTATUS::CANCELLED, 0)));
            return false;
        }
        let Some(callback) = self.with(|parts| parts.cancel.take()) else { return false };
        gaps::gap();
        // SAFETY: the driver gave the callback for this request.
        unsafe { callback(wdf_sys::WDFREQUEST(self.handle as *mut c_void)) };
        true
    }

    /// Its queue stops: EvtIoStop.
    pub(crate) fn stop(self, flags: u32) {
        let queue = self.with(|parts| parts.queue);
        let stop = with_queue(queue, |parts| parts.config.EvtIoStop).expect("the queue hears of stops");
        let (queue, request) = (wdf_sys::WDFQUEUE(queue as *mut c_void), wdf_sys::WDFREQUEST(self.handle as *mut c_void));
        // SAFETY: handles that the table understands.
        unsafe { stop(queue, request, flags) };
    }
}
