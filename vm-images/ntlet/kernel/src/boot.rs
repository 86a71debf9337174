//! From the machine's hand-over to the first system thread, and the watch over a boot that stands still.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wdf_sys::wdm::{KDPC, KTIMER};

use crate::dispatcher::{dpc, thread, timer};
use crate::entry::Boot;
use crate::hal::{DISPATCH_LEVEL, Hal};
use crate::loader::modules::{self, Description};
use crate::lock::InterruptLock;
use crate::{dispatcher, kd, log, processors, time, work};

/// Priority of the thread that boots the rest of the system.
const BOOT_PRIORITY: u8 = 9;
/// How long one stage of the boot may take before it is reported, and how long before it is given up; units of 100 ns.
const SLOW: u64 = 10 * 10_000_000;
const TOO_SLOW: u64 = 60 * 10_000_000;
/// How long processors may take to join.
const PROCESSORS_LIMIT: u64 = 2 * 10_000_000;
/// How often a boot is looked at, in milliseconds.
const LOOK_EVERY: i32 = 5_000;

/// First parameter of the bug check for a boot that stands still: "boot" in ASCII.
const BOOT_MARK: u64 = u64::from_be_bytes(*b"\0\0\0\0boot");

/// A value that is written once, before anything else runs.
struct Once<T> {
    is_set: AtomicBool,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: written once before `is_set`, and only read after.
unsafe impl<T: Sync + Send> Sync for Once<T> {}

impl<T: Copy> Once<T> {
    const fn new() -> Self {
        Self { is_set: AtomicBool::new(false), value: UnsafeCell::new(None) }
    }

    fn set(&self, value: T) {
        assert!(!self.is_set.load(Ordering::Relaxed), "the executive starts once");
        // SAFETY: not set yet, and set on the first processor only, before anything else runs.
        unsafe { *self.value.get() = Some(value) };
        self.is_set.store(true, Ordering::Release);
    }

    fn get(&self) -> Option<T> {
        // SAFETY: once set, the value does not change.
        self.is_set.load(Ordering::Acquire).then(|| unsafe { *self.value.get() }).flatten()
    }
}

/// What the executive was started with, with what it then runs.
#[derive(Clone, Copy)]
struct Started {
    boot: Boot,
    main: fn(&Boot),
}

// SAFETY: the parts are references to statics and functions.
unsafe impl Send for Started {}
// SAFETY: as above.
unsafe impl Sync for Started {}

static HAL: Once<&'static dyn Hal> = Once::new();
static STARTED: Once<Started> = Once::new();
static READY_FOR_PROCESSORS: AtomicBool = AtomicBool::new(false);

/// The machine, if there is one yet.
pub fn try_hal() -> Option<&'static dyn Hal> {
    HAL.get()
}

/// The machine.
///
/// # Panics
/// Before [`crate::entry::start`].
pub fn hal() -> &'static dyn Hal {
    HAL.get().expect("the machine has been handed over")
}

/// What the executive was started with.
pub(crate) fn parameters() -> Option<Boot> {
    STARTED.get().map(|started| started.boot)
}

/// Whether further processors may call [`crate::entry::start_processor`].
pub fn is_ready_for_processors() -> bool {
    READY_FOR_PROCESSORS.load(Ordering::Acquire)
}

/// Starts the executive; `main` then runs in a thread at `PASSIVE_LEVEL`, after the built-in modules. On the first processor, at
/// `HIGH_LEVEL`.
pub(crate) fn start(boot: Boot, main: fn(&Boot)) -> ! {
    HAL.set(boot.hal);
    STARTED.set(Started { boot, main });
    let (base, size) = boot.image;
    let image = Description { name: "ntlet", base, size, code: (0, size as u32), functions: (0, 0), time_stamp: 0 };
    let added = modules::add(&image);
    debug_assert!(added.is_some_and(|module| module.slot() == modules::IMAGE));
    kd::start(&boot);
    let (free, total) = boot.hal.memory();
    log!(
        "ntlet {}: {} processors, {} of {} MiB free, command line \"{}\"",
        env!("CARGO_PKG_VERSION"),
        boot.hal.processor_count(),
        free >> 8,
        total >> 8,
        boot.command_line
    );
    time::start();
    dispatcher::start_processor();
    kd::greet();
    boot.hal.set_irql(DISPATCH_LEVEL);
    if let Err(status) = start_threads() {
        panic!("no memory for the first threads: {status}");
    }
    READY_FOR_PROCESSORS.store(true, Ordering::Release);
    dispatcher::idle()
}

fn start_threads() -> Result<(), wdf_sys::NTSTATUS> {
    thread::start_reaper()?;
    work::start()?;
    thread::create_system_thread(boot_thread, null_mut(), BOOT_PRIORITY).map(drop)
}

extern "win64" fn boot_thread(_: *mut c_void) {
    let Some(Started { boot, main }) = STARTED.get() else { return };
    watch();
    stage("processors");
    wait_for_processors(&boot);
    for module in boot.built_in {
        stage(module.name);
        (module.initialize)();
    }
    stage("system");
    main(&boot);
}

/// Lets the other processors join, so that drivers see all of them from the start. One that does not come is left out.
fn wait_for_processors(boot: &Boot) {
    let (expected, deadline) = (boot.hal.processor_count(), time::uptime() + PROCESSORS_LIMIT);
    while processors::active().count_ones() < expected {
        if time::uptime() > deadline {
            log!("{} of {expected} processors have joined; the others are left out", processors::active().count_ones());
            return;
        }
        boot.hal.relax();
    }
}

/// What the boot does, and since when.
struct Watch {
    stage: InterruptLock<(&'static str, u64)>,
    is_over: AtomicBool,
    reported: AtomicU64,
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
}

// SAFETY: the cells hold a timer and a DPC, whose functions guard them.
unsafe impl Sync for Watch {}

static WATCH: Watch = Watch {
    stage: InterruptLock::new(("start", 0)),
    is_over: AtomicBool::new(false),
    reported: AtomicU64::new(0),
    timer: UnsafeCell::new(KTIMER::zeroed()),
    dpc: UnsafeCell::new(KDPC::zeroed()),
};

/// Says what the boot does now, so that one that stands still says where. Each stage has a minute.
pub fn stage(name: &'static str) {
    *WATCH.stage.lock() = (name, time::uptime());
}

/// The boot is over: whatever comes has deadlines of its own.
pub fn complete() {
    if !WATCH.is_over.swap(true, Ordering::AcqRel) {
        log!("booted");
        // SAFETY: the timer was initialised by `watch`.
        unsafe { timer::KeCancelTimer(WATCH.timer.get()) };
    }
}

fn watch() {
    // SAFETY: both live for ever, and nobody uses them yet.
    unsafe {
        timer::KeInitializeTimer(WATCH.timer.get());
        dpc::KeInitializeDpc(WATCH.dpc.get(), Some(look), null_mut());
        let first = i64::from(LOOK_EVERY) * -10_000;
        timer::KeSetTimerEx(WATCH.timer.get(), first, LOOK_EVERY, WATCH.dpc.get());
    }
}

unsafe extern "win64" fn look(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
    let (name, since) = *WATCH.stage.lock();
    let lasts = time::uptime().saturating_sub(since);
    if WATCH.is_over.load(Ordering::Acquire) || lasts < SLOW {
        return;
    }
    if WATCH.reported.swap(since, Ordering::Relaxed) != since {
        log!("the boot stands in stage \"{name}\" for {} s", lasts / 10_000_000);
    }
    if lasts >= TOO_SLOW {
        log::write(format_args!("the boot does not go on: stage \"{name}\" has had {} s", lasts / 10_000_000));
        // Windows has no code for this; the line above names the stage.
        crate::bug_check::bug_check(wdf_sys::wdm::constants::bug_check::MANUALLY_INITIATED_CRASH, [BOOT_MARK, lasts, 0, 0]);
    }
}
