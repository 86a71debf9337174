//! Checks of this crate against the machine it is for: takes the executive's place in a self-test build, runs each check, and
//! reports over COM1 with a last line `N passed, N failed`. `tests/boot.rs` boots it.

mod devices;
mod interrupts;
mod kernel_pages;
mod programs;
mod switching;

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use kernel::entry::{Boot, ExceptionFrame, SystemCallFrame};
use kernel::hal::{DISPATCH_LEVEL, Ending, Hal, Irql, PASSIVE_LEVEL};

use crate::machine::sync::Once;

/// What a check comes to: nothing, or where and what was not as it should be.
type Outcome = Result<(), Failure>;

/// Where and what was not as it should be.
pub(crate) struct Failure {
    line: u32,
    file: &'static str,
    reason: &'static str,
}

/// Fails the check that it stands in unless a condition holds.
macro_rules! check {
    ($condition:expr, $reason:literal) => {
        if !$condition {
            return Err($crate::self_test::Failure { file: file!(), line: line!(), reason: $reason });
        }
    };
}
use check;

type Check = (&'static str, fn() -> Outcome);

/// Units of 100 ns in a millisecond.
const MILLISECOND: u64 = 10_000;
/// Longest wait for anything, in units of 100 ns.
const PATIENCE: u64 = 2_000 * MILLISECOND;

static BOOT: Once<Boot> = Once::new();
static READY: AtomicBool = AtomicBool::new(false);
/// What [`software_interrupt`], [`clock_interrupt`] and [`device_interrupt`] call, as an address; 0 for nothing.
static ON_SOFTWARE: AtomicUsize = AtomicUsize::new(0);
static ON_CLOCK: AtomicUsize = AtomicUsize::new(0);
static ON_DEVICE: AtomicUsize = AtomicUsize::new(0);

/// The machine under test.
fn hal() -> &'static dyn Hal {
    BOOT.get().hal
}

struct Log;

impl fmt::Write for Log {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        hal().log(text.as_bytes());
        Ok(())
    }
}

macro_rules! log {
    ($($text:tt)*) => {{
        use core::fmt::Write;
        // Writing to the log cannot fail.
        let _ = writeln!($crate::self_test::Log, $($text)*);
    }};
}
use log;

/// Waits until a condition holds. `false` when it does not in time.
fn wait_until(condition: impl Fn() -> bool) -> bool {
    let deadline = hal().uptime() + PATIENCE;
    while !condition() {
        if hal().uptime() > deadline {
            return false;
        }
        hal().relax();
    }
    true
}

/// Runs `body` with a function called from one of the three interrupts.
fn with_handler<T>(slot: &AtomicUsize, handler: usize, body: impl FnOnce() -> T) -> T {
    slot.store(handler, Ordering::SeqCst);
    let result = body();
    slot.store(0, Ordering::SeqCst);
    result
}

fn on_software<T>(handler: fn(Irql), body: impl FnOnce() -> T) -> T {
    with_handler(&ON_SOFTWARE, handler as usize, body)
}

fn on_clock<T>(handler: fn(), body: impl FnOnce() -> T) -> T {
    with_handler(&ON_CLOCK, handler as usize, body)
}

fn on_device<T>(handler: fn(u8), body: impl FnOnce() -> T) -> T {
    with_handler(&ON_DEVICE, handler as usize, body)
}

pub(crate) fn start(boot: Boot) -> ! {
    BOOT.set(boot);
    log!("entry::start after {} us", hal().uptime() / 10);
    READY.store(true, Ordering::SeqCst);
    let at_start = (hal().irql(), hal().disable_interrupts());
    hal().restore_interrupts(at_start.1);
    hal().set_irql(PASSIVE_LEVEL);
    let (mut passed, mut failed) = (0, 0);
    let first: Check = ("the executive is started at HIGH_LEVEL with interrupts enabled", || Ok(()));
    let first_outcome =
        if at_start == (15, true) { Ok(()) } else { Err(Failure { file: file!(), line: line!(), reason: "it was not" }) };
    let mut report = |name: &str, outcome: Outcome| match outcome {
        Ok(()) => {
            passed += 1;
            log!("ok   {name}");
        }
        Err(failure) => {
            failed += 1;
            log!("FAIL {name}: {} ({}:{})", failure.reason, failure.file, failure.line);
        }
    };
    report(first.0, first_outcome);
    let suites: [&[Check]; 5] = [interrupts::CHECKS, kernel_pages::CHECKS, switching::CHECKS, programs::CHECKS, devices::CHECKS];
    for (name, check) in suites.into_iter().flatten() {
        report(name, check());
    }
    report("the other processors stand still once they are frozen", freeze());
    kernel_pages::overflow_the_stack(passed, failed)
}

/// The last words: results and the end.
fn finish(passed: u32, failed: u32) -> ! {
    log!("{passed} passed, {failed} failed");
    hal().end(if failed == 0 { Ending::Shutdown } else { Ending::BugCheck })
}

// Other processors: each waits for a job, runs it at PASSIVE_LEVEL, and says that it is done.

static JOB: AtomicUsize = AtomicUsize::new(0);
static JOB_PROCESSOR: AtomicU64 = AtomicU64::new(u64::MAX);
static HEARTBEAT: AtomicU64 = AtomicU64::new(0);

pub(crate) fn start_processor() -> ! {
    hal().set_irql(PASSIVE_LEVEL);
    loop {
        hal().disable_interrupts();
        if JOB_PROCESSOR.load(Ordering::SeqCst) == u64::from(hal().current_processor()) {
            hal().restore_interrupts(true);
            let job = JOB.load(Ordering::SeqCst);
            // SAFETY: `run_on` stored a `fn()`.
            unsafe { core::mem::transmute::<usize, fn()>(job)() };
            JOB_PROCESSOR.store(u64::MAX, Ordering::SeqCst);
        } else {
            hal().wait_for_interrupt();
        }
    }
}

/// Runs a job on another processor. `false` when it is not done in time.
fn run_on(processor: u32, job: fn()) -> bool {
    begin_on(processor, job);
    wait_until(|| JOB_PROCESSOR.load(Ordering::SeqCst) == u64::MAX)
}

/// Begins a job on another processor.
fn begin_on(processor: u32, job: fn()) {
    JOB.store(job as usize, Ordering::SeqCst);
    JOB_PROCESSOR.store(u64::from(processor), Ordering::SeqCst);
    hal().request_software_interrupt(processor, DISPATCH_LEVEL);
}

fn freeze() -> Outcome {
    if hal().processor_count() > 1 {
        begin_on(1, || {
            loop {
                HEARTBEAT.fetch_add(1, Ordering::SeqCst);
            }
        });
        check!(wait_until(|| HEARTBEAT.load(Ordering::SeqCst) > 1000), "the other processor does not run");
    }
    hal().freeze_other_processors();
    for _ in 0..20 {
        let before = HEARTBEAT.load(Ordering::SeqCst);
        let began = hal().uptime();
        wait_until(|| hal().uptime() > began + 5 * MILLISECOND);
        if HEARTBEAT.load(Ordering::SeqCst) == before {
            return Ok(());
        }
    }
    check!(false, "the other processor still runs");
    Ok(())
}

// What the machine calls.

pub(crate) fn is_ready_for_processors() -> bool {
    READY.load(Ordering::SeqCst)
}

pub(crate) fn software_interrupt(irql: Irql) {
    let handler = ON_SOFTWARE.load(Ordering::SeqCst);
    if handler != 0 {
        // SAFETY: `on_software` stored a `fn(Irql)`.
        unsafe { core::mem::transmute::<usize, fn(Irql)>(handler)(irql) };
    }
}

pub(crate) fn clock_interrupt() {
    let handler = ON_CLOCK.load(Ordering::SeqCst);
    if handler != 0 {
        // SAFETY: `on_clock` stored a `fn()`.
        unsafe { core::mem::transmute::<usize, fn()>(handler)() };
    }
}

pub(crate) fn device_interrupt(vector: u8) {
    let handler = ON_DEVICE.load(Ordering::SeqCst);
    if handler != 0 {
        // SAFETY: `on_device` stored a `fn(u8)`.
        unsafe { core::mem::transmute::<usize, fn(u8)>(handler)(vector) };
    }
}

pub(crate) fn held(_: &mut ExceptionFrame) {}

pub(crate) fn stopped(_: &ExceptionFrame) {}

pub(crate) fn exception(frame: &mut ExceptionFrame) {
    if frame.cs & 3 != 0 {
        programs::exception(frame);
    } else if !kernel_pages::exception(frame) {
        panic!(
            "exception {} at {:#x}, error {:#x}, address {:#x}",
            frame.vector, frame.rip, frame.error_code, frame.fault_address
        );
    }
}

pub(crate) fn system_call(frame: &mut SystemCallFrame) {
    programs::system_call(frame);
}
