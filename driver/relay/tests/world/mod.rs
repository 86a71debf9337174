//! A world for one driver, small enough for a test: a function table, the kernel functions that the driver calls, PCI configuration space, and
//! registers that are plain memory. The test is the hardware: it reads and writes the rings itself.
//!
//! Objects are addresses of [`Object`]s, which live for ever. Nothing is held while the driver is called.
#![allow(dead_code, reason = "each test program uses a part of the world")]

pub(crate) mod bus;
#[path = "../../../relay-filter/tests/world/gaps.rs"]
pub(crate) mod gaps;
pub(crate) mod hardware;
mod kernel;
#[path = "../../../relay-filter/tests/world/scarcity.rs"]
pub(crate) mod scarcity;
mod table;

use std::collections::{HashMap, VecDeque};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, Once};

use wdf_sys::NTSTATUS;
use wdf_sys::wdf::{
    PFN_WDF_DRIVER_DEVICE_ADD, PFN_WDF_INTERRUPT_DPC, PFN_WDF_REQUEST_CANCEL, PFN_WDF_REQUEST_COMPLETION_ROUTINE, PFN_WDF_TIMER,
    PFN_WDF_WORKITEM, WDF_FILEOBJECT_CONFIG, WDF_IO_QUEUE_CONFIG, WDF_PNPPOWER_EVENT_CALLBACKS, WDF_POWER_DEVICE_STATE,
};

use hardware::Hardware;

/// Anything that the driver has a handle of.
#[derive(Default)]
pub(crate) struct Object {
    /// Context memory by type.
    contexts: Mutex<HashMap<usize, usize>>,
    /// The device it belongs to, or its own init.
    device: AtomicUsize,
    locked: AtomicBool,
    kind: Mutex<Kind>,
}

#[derive(Default)]
enum Kind {
    #[default]
    Plain,
    Device(Box<DeviceParts>),
    /// With what waits in it, and whether the driver has a request of it: a sequential one then presents no other.
    Queue(WDF_IO_QUEUE_CONFIG, VecDeque<usize>, bool),
    Request(RequestParts),
    WorkItem(PFN_WDF_WORKITEM, bool),
    Interrupt(PFN_WDF_INTERRUPT_DPC),
    Timer(PFN_WDF_TIMER),
    /// Where the memory is.
    Memory(usize),
    /// A request of the driver's own.
    Own(OwnParts),
}

// SAFETY: the raw pointers in it are addresses that live for ever.
unsafe impl Send for Kind {}

/// What a device has.
pub(crate) struct DeviceParts {
    pnp: WDF_PNPPOWER_EVENT_CALLBACKS,
    default_queue: usize,
    interrupts: Vec<usize>,
    work_items: Vec<usize>,
    timers: Vec<usize>,
    /// Queues take nothing any more.
    purged: bool,
    queues: Vec<usize>,
    /// What the driver wants to hear of files.
    files: Option<WDF_FILEOBJECT_CONFIG>,
    /// The device object has been created.
    made: bool,
    /// The device's target on itself; 0 when the driver did not ask for one.
    self_target: usize,
    /// What the driver sent to itself, with the time it allowed.
    self_sent: Vec<(usize, i64)>,
    /// Common buffers in the order of their making: address and length.
    buffers: Vec<(usize, usize)>,
    hardware: Hardware,
}

/// What a request has.
#[derive(Default)]
pub(crate) struct RequestParts {
    code: u32,
    input: Vec<u8>,
    output: Vec<u8>,
    queue: usize,
    /// The file it came through; 0 for none.
    file: usize,
    cancel: PFN_WDF_REQUEST_CANCEL,
    cancelled: bool,
    /// How often, and how it was completed.
    completions: Vec<(NTSTATUS, usize)>,
    requeued: bool,
    /// The driver's own request that this one is, and whether its time is over.
    own: Option<usize>,
    timed_out: bool,
}

/// What a request of the driver's own has.
#[derive(Default)]
pub(crate) struct OwnParts {
    code: u32,
    input: Vec<u8>,
    /// Where the answer goes, and how much fits.
    answer: (usize, usize),
    device: usize,
    formatted: bool,
    routine: PFN_WDF_REQUEST_COMPLETION_ROUTINE,
    status: NTSTATUS,
}

fn object(kind: Kind, device: usize) -> usize {
    let made = Object { kind: Mutex::new(kind), device: AtomicUsize::new(device), ..Object::default() };
    core::ptr::from_ref(Box::leak(Box::new(made))) as usize
}

fn at(handle: usize) -> &'static Object {
    // SAFETY: handles are addresses of objects that live for ever; the driver has no others.
    unsafe { &*(handle as *const Object) }
}

fn with_own<R>(handle: usize, act: impl FnOnce(&mut OwnParts) -> R) -> R {
    match &mut *at(handle).kind.lock().expect("no panic in here") {
        Kind::Own(parts) => act(parts),
        _ => panic!("the driver gave another object for a request of its own"),
    }
}

fn with_device<R>(handle: usize, act: impl FnOnce(&mut DeviceParts) -> R) -> R {
    match &mut *at(handle).kind.lock().expect("no panic in here") {
        Kind::Device(parts) => act(parts),
        _ => panic!("the driver gave another object for a device"),
    }
}

fn with_request<R>(handle: usize, act: impl FnOnce(&mut RequestParts) -> R) -> R {
    match &mut *at(handle).kind.lock().expect("no panic in here") {
        Kind::Request(parts) => act(parts),
        _ => panic!("the driver gave another object for a request"),
    }
}

static DEVICE_ADD: Mutex<PFN_WDF_DRIVER_DEVICE_ADD> = Mutex::new(None);

/// A device that the driver drives.
pub(crate) struct Device {
    handle: usize,
}

/// A request that a program sent.
#[derive(Clone, Copy)]
pub(crate) struct Sent {
    handle: usize,
}

fn start_driver() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let mut driver = wdf_sys::wdm::DRIVER_OBJECT::zeroed();
        let mut path = wdf_sys::wdm::UNICODE_STRING::zeroed();
        // SAFETY: called once; both structures live through the call, and the world does not unload.
        let status = unsafe { wdf::driver::start::<relay::RelayDriver>(&raw mut driver, &raw mut path) };
        assert_eq!(status, NTSTATUS::SUCCESS);
    });
}

impl Device {
    /// Adds a device and prepares its hardware; it has no power yet.
    pub(crate) fn add() -> Self {
        Self::try_add().expect("nothing fails")
    }

    /// Adds a device and prepares its hardware, or says why not: then all that was made for it is gone, unless the driver forgot it.
    pub(crate) fn try_add() -> Result<Self, NTSTATUS> {
        start_driver();
        let parts = DeviceParts {
            pnp: WDF_PNPPOWER_EVENT_CALLBACKS::new(),
            default_queue: 0,
            interrupts: Vec::new(),
            work_items: Vec::new(),
            timers: Vec::new(),
            purged: false,
            queues: Vec::new(),
            files: None,
            made: false,
            self_target: 0,
            self_sent: Vec::new(),
            buffers: Vec::new(),
            hardware: Hardware::new(),
        };
        let handle = object(Kind::Device(Box::new(parts)), 0);
        let add = DEVICE_ADD.lock().expect("no panic in here").expect("the driver has been started");
        // SAFETY: the init is the device's own handle, which the table understands.
        let status = unsafe { add(wdf_sys::WDFDRIVER(core::ptr::null_mut()), handle as *mut _) };
        let device = Self { handle };
        let status = if status.is_success() { device.prepare() } else { status };
        if status.is_success() {
            return Ok(device);
        }
        device.destroy();
        Err(status)
    }

    fn prepare(&self) -> NTSTATUS {
        let lists = wdf_sys::WDFCMRESLIST(self.handle as *mut c_void);
        let prepare = self.pnp().EvtDevicePrepareHardware.expect("the driver prepares its hardware");
        // SAFETY: a device and lists that the table understands.
        unsafe { prepare(self.wdf(), lists, lists) }
    }

    /// The device object goes, and all that belongs to it.
    pub(crate) fn destroy(&self) {
        // A failed add may not have got as far as the device.
        if with_device(self.handle, |parts| parts.made) {
            // Locks belong to the driver, which deletes them; the rest has a device.
            scarcity::destroy_device(self.handle, |object| relaxed(&at(object).device) != 0);
        }
    }

    /// What the driver sent to itself, with the time-outs in units of the kernel.
    pub(crate) fn self_sent(&self) -> Vec<(Sent, i64)> {
        with_device(self.handle, |parts| parts.self_sent.iter().map(|(handle, time)| (Sent { handle: *handle }, *time)).collect())
    }

    /// The queues take nothing any more; what waits in one that presents is cancelled by the framework.
    pub(crate) fn purge(&self) {
        let queues = with_device(self.handle, |parts| {
            parts.purged = true;
            parts.queues.clone()
        });
        queues.into_iter().for_each(table::cancel_waiting);
    }

    /// Every timer expires.
    pub(crate) fn tick(&self) {
        for timer in with_device(self.handle, |parts| parts.timers.clone()) {
            let Kind::Timer(Some(run)) = *at(timer).kind.lock().expect("no panic in here") else { continue };
            // SAFETY: a handle that the table understands.
            unsafe { run(wdf_sys::WDFTIMER(timer as *mut c_void)) };
        }
    }

    /// Adds a device that works.
    pub(crate) fn running() -> Self {
        let device = Self::add();
        assert_eq!(device.power_on(), NTSTATUS::SUCCESS);
        device
    }

    fn wdf(&self) -> wdf_sys::WDFDEVICE {
        wdf_sys::WDFDEVICE(self.handle as *mut c_void)
    }

    fn pnp(&self) -> WDF_PNPPOWER_EVENT_CALLBACKS {
        with_device(self.handle, |parts| parts.pnp)
    }

    /// D0 entry, and what follows it.
    pub(crate) fn power_on(&self) -> NTSTATUS {
        let (pnp, from) = (self.pnp(), WDF_POWER_DEVICE_STATE::WdfPowerDeviceD3Final);
        let (entry, enabled) = (pnp.EvtDeviceD0Entry.expect("registered"), pnp.EvtDeviceD0EntryPostInterruptsEnabled);
        // SAFETY: a device that the table understands.
        let status = unsafe { entry(self.wdf(), from) };
        if !status.is_success() {
            return status;
        }
        // SAFETY: as above.
        unsafe { enabled.expect("registered")(self.wdf(), from) }
    }

    /// D0 exit.
    pub(crate) fn power_off(&self) -> NTSTATUS {
        let exit = self.pnp().EvtDeviceD0Exit.expect("registered");
        // SAFETY: a device that the table understands.
        unsafe { exit(self.wdf(), WDF_POWER_DEVICE_STATE::WdfPowerDeviceD3) }
    }

    /// Releases the hardware, which has no power.
    pub(crate) fn release(&self) -> NTSTATUS {
        let release = self.pnp().EvtDeviceReleaseHardware.expect("registered");
        // SAFETY: a device and a list that the table understands.
        unsafe { release(self.wdf(), wdf_sys::WDFCMRESLIST(self.handle as *mut c_void)) }
    }

    /// Runs every interrupt's DPC.
    pub(crate) fn interrupt(&self) {
        for interrupt in with_device(self.handle, |parts| parts.interrupts.clone()) {
            let Kind::Interrupt(Some(dpc)) = *at(interrupt).kind.lock().expect("no panic in here") else { continue };
            let handle = wdf_sys::WDFINTERRUPT(interrupt as *mut c_void);
            // SAFETY: handles that the table understands.
            unsafe { dpc(handle, self.wdf().object()) };
        }
    }

    /// Runs work items that were enqueued. How many there were.
    pub(crate) fn run_work(&self) -> usize {
        let items = with_device(self.handle, |parts| parts.work_items.clone());
        items.into_iter().filter(|item| table::run_work(*item)).count()
    }

    /// What the test does with the hardware.
    pub(crate) fn hardware<R>(&self, act: impl FnOnce(&mut Hardware) -> R) -> R {
        with_device(self.handle, |parts| {
            parts.hardware.rings = [parts.buffers[7].0, parts.buffers[8].0, parts.buffers[9].0];
            act(&mut parts.hardware)
        })
    }

    /// A program opens the device.
    pub(crate) fn open(&self) -> File {
        let file = File { handle: object(Kind::Plain, self.handle), device: self.handle };
        let create = with_device(self.handle, |parts| parts.files).and_then(|files| files.EvtDeviceFileCreate);
        let parts = RequestParts { queue: with_device(self.handle, |parts| parts.default_queue), ..RequestParts::default() };
        let request = Sent { handle: object(Kind::Request(parts), self.handle) };
        let (handle, sent) = (file.wdf(), wdf_sys::WDFREQUEST(request.handle as *mut c_void));
        // SAFETY: handles that the table understands.
        unsafe { create.expect("registered")(self.wdf(), sent, handle) };
        assert_eq!(request.outcome(), Some((NTSTATUS::SUCCESS, vec![])));
        file
    }

    /// The driver itself, or another one, sends an I/O control, which comes through no file.
    pub(crate) fn send(&self, code: u32, input: &[u8], room: usize) -> Sent {
        send(self.handle, 0, code, input, room)
    }
}

/// A file that a program has open.
#[derive(Clone, Copy)]
pub(crate) struct File {
    handle: usize,
    device: usize,
}

impl File {
    fn wdf(self) -> wdf_sys::WDFFILEOBJECT {
        wdf_sys::WDFFILEOBJECT(self.handle as *mut c_void)
    }

    /// A program sends an I/O control.
    pub(crate) fn send(self, code: u32, input: &[u8], room: usize) -> Sent {
        send(self.device, self.handle, code, input, room)
    }

    /// The last handle goes: what waits in queues is cancelled by the framework, then the driver hears of it.
    pub(crate) fn close(self) {
        for queue in with_device(self.device, |parts| parts.queues.clone()) {
            table::cancel_of_file(queue, self.handle);
        }
        let cleanup = with_device(self.device, |parts| parts.files).and_then(|files| files.EvtFileCleanup);
        // SAFETY: a handle that the table understands.
        unsafe { cleanup.expect("registered")(self.wdf()) };
    }
}

fn send(device: usize, file: usize, code: u32, input: &[u8], room: usize) -> Sent {
    let queue = with_device(device, |parts| parts.default_queue);
    let parts = RequestParts { code, input: input.to_vec(), output: vec![0; room], queue, file, ..RequestParts::default() };
    let sent = Sent { handle: object(Kind::Request(parts), device) };
    table::present(queue, sent.handle);
    sent
}

impl Sent {
    /// How it ended, if it has: status and answer.
    pub(crate) fn outcome(self) -> Option<(NTSTATUS, Vec<u8>)> {
        with_request(self.handle, |parts| {
            assert!(parts.completions.len() <= 1, "a request was completed twice");
            let (status, information) = *parts.completions.first()?;
            Some((status, parts.output[..information.min(parts.output.len())].to_vec()))
        })
    }

    /// The byte count it was completed with.
    pub(crate) fn information(self) -> Option<usize> {
        with_request(self.handle, |parts| parts.completions.first().map(|(_, information)| *information))
    }

    /// Whether it was put back into its queue by an acknowledgement.
    pub(crate) fn is_requeued(self) -> bool {
        with_request(self.handle, |parts| parts.requeued)
    }

    /// Its sender cancels it. Whether the driver was asked.
    pub(crate) fn cancel(self) -> bool {
        let callback = with_request(self.handle, |parts| {
            parts.cancelled = true;
            parts.cancel.take()
        });
        let Some(callback) = callback else { return false };
        // SAFETY: the driver gave the callback for this request.
        unsafe { callback(wdf_sys::WDFREQUEST(self.handle as *mut c_void)) };
        true
    }

    /// The time is over that its sender, the driver itself, allowed it.
    pub(crate) fn time_out(self) {
        with_request(self.handle, |parts| parts.timed_out = true);
        self.cancel();
    }

    /// Its queue stops: EvtIoStop.
    pub(crate) fn stop(self, flags: u32) {
        let queue = with_request(self.handle, |parts| parts.queue);
        let stop = match &*at(queue).kind.lock().expect("no panic in here") {
            Kind::Queue(config, ..) => config.EvtIoStop,
            _ => panic!("not a queue"),
        };
        let stop = stop.expect("the queue hears of stops");
        let (queue, request) = (wdf_sys::WDFQUEUE(queue as *mut c_void), wdf_sys::WDFREQUEST(self.handle as *mut c_void));
        // SAFETY: handles that the table understands.
        unsafe { stop(queue, request, flags) };
    }

    /// Presents it again, as its queue does when power is back.
    pub(crate) fn present_again(self) {
        let queue = with_request(self.handle, |parts| {
            parts.requeued = false;
            parts.queue
        });
        table::present(queue, self.handle);
    }
}

fn relaxed(place: &AtomicUsize) -> usize {
    place.load(Ordering::Relaxed)
}
