//! The driver under test: loaded, given a device, started, removed, unloaded.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use kernel::entry::{BuiltInModule, GuardedCode};
use kernel::sim::{Machine, Outcome, Simulation};
use wdf_sys::bind::{FUNCTIONS, GLOBALS, WDF_BIND_INFO};
use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::*;
use wdf_sys::wdm::*;
use wdf_sys::*;

use crate::bus::Bus;

/// What happened, in order. Every run is a process of its own, so that it is empty at its start.
static JOURNAL: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes what happened.
pub(crate) fn note(text: impl Into<String>) {
    JOURNAL.lock().unwrap().push(text.into());
}

/// Takes what was noted.
pub(crate) fn journal() -> Vec<String> {
    std::mem::take(&mut *JOURNAL.lock().unwrap())
}

/// A handle, or any other address, that callbacks leave for the test.
pub(crate) struct Place(AtomicPtr<c_void>);

impl Place {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }

    pub(crate) fn set(&self, value: *mut c_void) {
        self.0.store(value, Ordering::SeqCst);
    }

    pub(crate) fn get(&self) -> *mut c_void {
        self.0.load(Ordering::SeqCst)
    }
}

static DEVICE: Place = Place::new();

/// The device that was added last.
pub(crate) fn device() -> WDFDEVICE {
    WDFDEVICE(DEVICE.get())
}

/// `WDF_OBJECT_ATTRIBUTES_INIT`, which is not the same as all zero.
const ORDINARY: WDF_OBJECT_ATTRIBUTES = WDF_OBJECT_ATTRIBUTES::new();

/// Makes a device of its initialisation structure, and makes it known to [`device`].
pub(crate) fn create_device(mut init: *mut WDFDEVICE_INIT, attributes: Option<WDF_OBJECT_ATTRIBUTES>) -> NTSTATUS {
    let mut attributes = attributes.unwrap_or(ORDINARY);
    let mut created = WDFDEVICE::NULL;
    let status = ddi!(WdfDeviceCreate(&mut init, &mut attributes, &mut created));
    if status.is_success() {
        assert!(init.is_null(), "the structure is the framework's again");
        DEVICE.set(created.0);
    }
    status
}

/// What the test's driver does in EvtDriverDeviceAdd.
pub(crate) type Add = fn(*mut WDFDEVICE_INIT) -> NTSTATUS;

static ADD: Mutex<Option<Add>> = Mutex::new(None);

unsafe extern "win64" fn device_add(_: WDFDRIVER, init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    let add = ADD.lock().unwrap().expect("the test says what its driver adds");
    add(init)
}

/// `KmdfLibrary`, with a zero.
pub(crate) const COMPONENT: [u16; 12] = {
    let name = b"KmdfLibrary\0";
    let mut units = [0; 12];
    let mut at = 0;
    while at < units.len() {
        units[at] = name[at] as u16;
        at += 1;
    }
    units
};

pub(crate) type Bind = unsafe extern "win64" fn(
    *mut DRIVER_OBJECT,
    *mut UNICODE_STRING,
    *mut WDF_BIND_INFO,
    *mut *mut WDF_DRIVER_GLOBALS,
) -> NTSTATUS;
pub(crate) type Unbind = unsafe extern "win64" fn(*mut UNICODE_STRING, *mut WDF_BIND_INFO, *mut WDF_DRIVER_GLOBALS) -> NTSTATUS;

pub(crate) fn export(name: &str) -> *const () {
    kmdf::WDFLDR.exports.iter().find(|(known, _)| *known == name).expect("the loader exports it").1
}

/// A driver that is bound.
pub(crate) struct Driver {
    pub(crate) kernel: kernel::sim::Driver,
    info: WDF_BIND_INFO,
}

impl Driver {
    /// Binds as KMDF 1.15, which is what the crate `wdf_sys` calls through.
    pub(crate) fn bind(kernel: kernel::sim::Driver) -> Result<Self, NTSTATUS> {
        let info = WDF_BIND_INFO {
            Size: 48,
            Component: COMPONENT.as_ptr(),
            Major: 1,
            Minor: 15,
            FuncCount: 444,
            FuncTable: FUNCTIONS.as_ptr().cast(),
            ..WDF_BIND_INFO::zeroed()
        };
        let mut driver = Self { kernel, info };
        let mut path = UNICODE_STRING::new(driver.kernel.registry_path()).unwrap();
        let bind = ddi!(std::mem::transmute::<*const (), Bind>(export("WdfVersionBind")));
        ddi!(bind(driver.kernel.object(), &mut path, &mut driver.info, GLOBALS.as_ptr())).ok()?;
        Ok(driver)
    }

    /// WdfDriverCreate.
    pub(crate) fn create(&self) -> NTSTATUS {
        let path = UNICODE_STRING::new(self.kernel.registry_path()).unwrap();
        let mut config = WDF_DRIVER_CONFIG::new(Some(device_add));
        let mut created = WDFDRIVER::NULL;
        ddi!(WdfDriverCreate(self.kernel.object(), &path, null_mut(), &mut config, &mut created))
    }

    /// Unloads, as the entry stub does it.
    pub(crate) fn unload(mut self) {
        let object = self.kernel.object();
        assert!(ddi!((*object).DeviceObject).is_null(), "no device is left");
        if let Some(unload) = ddi!((*object).DriverUnload) {
            ddi!(unload(object));
        }
        let mut path = UNICODE_STRING::new(self.kernel.registry_path()).unwrap();
        let unbind = ddi!(std::mem::transmute::<*const (), Unbind>(export("WdfVersionUnbind")));
        assert_eq!(ddi!(unbind(&mut path, &mut self.info, GLOBALS.load(Ordering::SeqCst))), NTSTATUS::SUCCESS);
    }
}

/// Driver, bus and device of a run.
pub(crate) struct Rig<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) driver: Driver,
    pub(crate) bus: Bus,
}

impl Rig<'_> {
    /// AddDevice, as the PnP manager calls it.
    pub(crate) fn add_device(&self) -> NTSTATUS {
        let object = self.driver.kernel.object();
        let add = ddi!((*(*object).DriverExtension).AddDevice).expect("a PnP driver has AddDevice");
        ddi!(add(object, self.bus.pdo()))
    }
}

/// A driver that is bound and created. Its key says nothing of the verifier, unless that is to be off.
fn load(service: &str, verifier: bool) -> Driver {
    let kernel = kernel::sim::Driver::create(service).unwrap();
    if !verifier {
        crate::binding::write_setting(&kernel, "VerifierOn", 0);
    }
    let driver = Driver::bind(kernel).unwrap();
    assert_eq!(driver.create(), NTSTATUS::SUCCESS);
    driver
}

/// The framework as part of the image: drivers of these tests need no imports, but exceptions have to find where they go on.
fn built_in() -> &'static [BuiltInModule] {
    static MODULES: OnceLock<[BuiltInModule; 1]> = OnceLock::new();
    MODULES.get_or_init(|| {
        let framework = &kmdf::WDFLDR;
        let place = |code: &kmdf::Guarded| GuardedCode {
            begin: code.begin as usize,
            end: code.end as usize,
            landing: code.landing as usize,
        };
        let guarded: Vec<GuardedCode> = framework.guarded.iter().map(place).collect();
        [BuiltInModule { name: framework.name, exports: &[], initialize: framework.initialize, guarded: guarded.leak() }]
    })
}

/// Runs a test with a driver that is bound and created, and unloads it after. Nothing may be left then.
fn simulate(simulation: Simulation, verifier: bool, add: Add, test: impl FnOnce(&Rig<'_>)) -> Outcome {
    simulation.built_in(built_in()).run(|machine| {
        let blocks = || kernel::pool::usage(0).blocks;
        *ADD.lock().unwrap() = Some(add);
        let bus = Bus::create();
        // The framework's table of handles comes with the first driver and stays.
        load("first", true).unload();
        let before = blocks();
        let driver = load("sample", verifier);
        let rig = Rig { machine, driver, bus };
        test(&rig);
        rig.driver.unload();
        settle();
        assert_eq!(blocks(), before, "pool blocks before and after");
    })
}

/// As [`simulate`], on one processor or more. It must end in order.
#[track_caller]
pub(crate) fn with_driver(simulation: Simulation, add: Add, test: impl FnOnce(&Rig<'_>)) -> Outcome {
    simulate(simulation, true, add, test).expect_shutdown()
}

/// Runs a test with a device that is started, and removes it after.
pub(crate) fn run(add: Add, test: impl FnOnce(&Rig<'_>)) -> Outcome {
    run_verified(true, add, test)
}

/// As [`run`], with the framework verifier off.
pub(crate) fn run_without_verifier(add: Add, test: impl FnOnce(&Rig<'_>)) -> Outcome {
    run_verified(false, add, test)
}

fn run_verified(verifier: bool, add: Add, test: impl FnOnce(&Rig<'_>)) -> Outcome {
    simulate(Simulation::new().processors(2), verifier, add, |rig| {
        assert_eq!(rig.add_device(), NTSTATUS::SUCCESS);
        assert_eq!(rig.bus.start(), NTSTATUS::SUCCESS);
        journal();
        test(rig);
        rig.bus.query_and_remove();
    })
}

/// As [`run`]. It must end in order.
#[track_caller]
pub(crate) fn with_device(add: Add, test: impl FnOnce(&Rig<'_>)) -> Outcome {
    run(add, test).expect_shutdown()
}

/// The parameters of the `WDF_VIOLATION` that a test ends with.
#[track_caller]
pub(crate) fn bug_check(add: Add, test: impl FnOnce(&Rig<'_>)) -> [u64; 4] {
    run(add, test).expect_bug_check(0x10d)
}

/// Lets everything that can run do so.
pub(crate) fn settle() {
    let mut interval = -200_000_i64;
    let _ = ddi!(KeDelayExecutionThread(KERNEL_MODE, 0, &mut interval));
}

/// A queue of the device that was added last.
pub(crate) fn create_queue(mut config: WDF_IO_QUEUE_CONFIG) -> WDFQUEUE {
    let mut queue = WDFQUEUE::NULL;
    assert_eq!(ddi!(WdfIoQueueCreate(device(), &mut config, null_mut(), &mut queue)), NTSTATUS::SUCCESS);
    queue
}

/// A configuration of a queue that does not care for power.
pub(crate) fn unmanaged(config: WDF_IO_QUEUE_CONFIG) -> WDF_IO_QUEUE_CONFIG {
    WDF_IO_QUEUE_CONFIG { PowerManaged: WDF_TRI_STATE::WdfFalse, ..config }
}

/// How many requests a queue holds, and how many of its requests the driver has.
pub(crate) fn counts(queue: WDFQUEUE) -> (u32, u32) {
    let (mut waiting, mut presented) = (u32::MAX, u32::MAX);
    ddi!(WdfIoQueueGetState(queue, &mut waiting, &mut presented));
    (waiting, presented)
}

/// A number that callbacks count up.
pub(crate) struct Count(AtomicU32);

impl Count {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    pub(crate) fn up(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn down(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
