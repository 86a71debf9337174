//! The watch over drivers that were asked for something and do not come back: a request that is not completed, or a routine that does not
//! return. Each is mentioned in the log while it lasts; at its deadline the guest stops with a bug check, and the log names the driver.
//!
//! A thread looks once a second while there is something to look at, and sleeps otherwise.

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{KeDelayExecutionThread, KeInitializeEvent, KeSetEvent, KeWaitForSingleObject};
use wdf_sys::wdm::{DEVICE_OBJECT, IRP, KEVENT};

use super::{device, wait};
use crate::dispatcher::thread;
use crate::hal;
use crate::hal::PASSIVE_LEVEL;
use crate::lock::SpinLock;

/// How often something that lasts is mentioned in the log, in seconds.
pub(super) const MENTION: u64 = 10;
/// Priority of the thread: above those that drivers usually have.
const PRIORITY: u8 = 15;
/// First parameter of the bug check for a routine; the documentation's own codes are small numbers. "call" in ASCII.
const ROUTINE_MARK: usize = 0x6361_6c6c;

/// How long to wait for a driver, and what to do when it does not answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Wait as Windows does, mention it in the log now and then.
    Endless,
    /// After that many seconds stop the machine with this code: the driver blocks for ever.
    Seconds(u64, u32),
}

/// How long a driver may take over a PnP request, or over a routine that the PnP manager calls.
pub(crate) const PNP_PATIENCE: Patience = Patience::Seconds(60, bug_check::DRIVER_PNP_WATCHDOG);

/// What is watched. The addresses are of objects that live as long as they are watched.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// A request, sent to the stack that this device is the top of.
    Request { irp: usize, top: usize, function: (u8, u8) },
    /// A routine of a driver, by the name that the documentation gives it.
    Routine { name: &'static str, driver: String, address: usize },
}

impl Subject {
    /// A request.
    pub(crate) fn request(irp: *mut IRP, top: *mut DEVICE_OBJECT, function: (u8, u8)) -> Self {
        Self::Request { irp: irp.expose_provenance(), top: top.expose_provenance(), function }
    }

    /// Who is to be blamed, and for what.
    ///
    /// # Safety
    /// What is watched still lives.
    unsafe fn describe(&self) -> (String, String) {
        match self {
            Self::Request { irp, top, function } => {
                let (irp, top) =
                    (core::ptr::with_exposed_provenance_mut(*irp), core::ptr::with_exposed_provenance_mut::<DEVICE_OBJECT>(*top));
                // SAFETY: the caller's promise; a driver may be at work on the request meanwhile, which only makes this imprecise.
                let (holder, _) = unsafe { holder(top, irp) };
                (holder, alloc::format!("completed {}", wait::function_name(*function)))
            }
            Self::Routine { name, driver, .. } => (driver.clone(), alloc::format!("returned from its {name}")),
        }
    }

    /// Parameters of the bug check.
    ///
    /// # Safety
    /// As for [`Self::describe`].
    unsafe fn parameters(&self, watched: &Watched) -> [usize; 4] {
        match *self {
            Self::Request { irp, top, .. } => {
                let (irp_pointer, top_pointer) =
                    (core::ptr::with_exposed_provenance_mut(irp), core::ptr::with_exposed_provenance_mut(top));
                // SAFETY: the caller's promise.
                let (_, at) = unsafe { holder(top_pointer, irp_pointer) };
                // Documented for a power request: the physical device, whoever of its stack has the request.
                let is_power = watched.code == bug_check::DRIVER_POWER_STATE_FAILURE;
                // SAFETY: the caller's promise; the machine stops, so that nobody misses the reference.
                let at = if is_power { unsafe { device::IoGetDeviceAttachmentBaseRef(top_pointer) } } else { at };
                [3, at.addr(), top, irp]
            }
            Self::Routine { address, .. } => [ROUTINE_MARK, address, watched.thread, 0],
        }
    }
}

struct Watched {
    number: u64,
    subject: Subject,
    limit: u64,
    code: u32,
    since: u64,
    mentioned: u64,
    /// The thread that began it.
    thread: usize,
}

static WATCHED: SpinLock<Vec<Watched>> = SpinLock::new(Vec::new());
static NEXT: AtomicU64 = AtomicU64::new(1);
/// The longest that any driver may take, in seconds.
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);

struct Work(UnsafeCell<KEVENT>);

// SAFETY: the event is used through the dispatcher's functions only.
unsafe impl Sync for Work {}

/// Set when there is something to look at.
static WORK: Work = Work(UnsafeCell::new(KEVENT::zeroed()));
static RUNS: AtomicBool = AtomicBool::new(false);

/// Lets no driver take longer than this, in seconds.
pub(crate) fn set_limit(seconds: u64) {
    LIMIT.store(seconds.max(1), Ordering::Relaxed);
}

/// Something is watched while this lives.
#[derive(Debug)]
pub(crate) struct Watch(u64);

impl Watch {
    /// Begins to watch; `None` when whoever waits has no deadline. Up to `DISPATCH_LEVEL`.
    pub(crate) fn begin(subject: Subject, patience: Patience) -> Option<Self> {
        let Patience::Seconds(limit, code) = patience else { return None };
        let limit = limit.min(LIMIT.load(Ordering::Relaxed));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (since, thread) = (hal().uptime(), thread::current().addr());
        start();
        let is_first = {
            let mut watched = WATCHED.lock();
            watched.push(Watched { number, subject, limit, code, since, mentioned: 0, thread });
            watched.len() == 1
        };
        if is_first {
            // SAFETY: `start` has initialised the event.
            unsafe { KeSetEvent(WORK.0.get(), 0, 0) };
        }
        Some(Self(number))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = WATCHED.lock();
        let gone = watched.iter().position(|entry| entry.number == self.0).map(|at| watched.swap_remove(at));
        // What it holds is freed after the lock.
        drop(watched);
        drop(gone);
    }
}

/// Calls a routine of a driver that must come back in time, and at `PASSIVE_LEVEL`, where it is called.
pub(crate) fn call<R>(name: &'static str, driver: &str, address: usize, routine: impl FnOnce() -> R) -> R {
    let _watch = Watch::begin(Subject::Routine { name, driver: driver.into(), address }, PNP_PATIENCE);
    let result = routine();
    let irql = hal().irql();
    if irql != PASSIVE_LEVEL {
        crate::log!("{driver} returned from its {name} at IRQL {irql}; it was called at 0");
        super::stop(bug_check::IRQL_UNEXPECTED_VALUE, [usize::from(irql) << 16, 0, 0, address]);
    }
    result
}

/// Starts the thread, once.
fn start() {
    if RUNS.swap(true, Ordering::AcqRel) {
        return;
    }
    // SAFETY: nobody uses the event yet.
    unsafe { KeInitializeEvent(WORK.0.get(), SYNCHRONIZATION_EVENT, 0) };
    if thread::create_system_thread(run, null_mut(), PRIORITY).is_err() {
        crate::log!("there is no memory for the thread that watches over drivers; the next request tries again");
        RUNS.store(false, Ordering::Release);
    }
}

extern "win64" fn run(_: *mut c_void) {
    loop {
        // SAFETY: this is a system thread at PASSIVE_LEVEL, the event was initialised before it began.
        unsafe {
            let _ = KeWaitForSingleObject(WORK.0.get().cast(), EXECUTIVE, KERNEL_MODE, 0, null_mut());
            loop {
                let mut interval = -10_000_000;
                let _: NTSTATUS = KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut interval);
                if !look() {
                    break;
                }
            }
        }
    }
}

/// Looks at everything that is watched; `false` when there is nothing. One is named at a time, so that no lock is held while the log is
/// written.
fn look() -> bool {
    let now = hal().uptime();
    loop {
        let mut news = None;
        {
            let mut watched = WATCHED.lock();
            if watched.is_empty() {
                return false;
            }
            for entry in watched.iter_mut() {
                let seconds = now.saturating_sub(entry.since) / 10_000_000;
                let is_late = seconds >= entry.limit;
                if !is_late && seconds / MENTION <= entry.mentioned {
                    continue;
                }
                entry.mentioned = seconds / MENTION;
                // SAFETY: what is watched lives until it is taken out of the list, which is locked.
                let (who, what) = unsafe { entry.subject.describe() };
                // SAFETY: as above.
                let end = is_late.then(|| (entry.code, unsafe { entry.subject.parameters(entry) }));
                news = Some((who, what, seconds, end));
                break;
            }
        }
        match news {
            Some((who, what, seconds, Some((code, parameters)))) => {
                crate::log!("giving up on {who}: it has not {what} after {seconds} s");
                super::stop(code, parameters);
            }
            Some((who, what, seconds, None)) => crate::log!("{who} has not {what} after {seconds} s"),
            None => return true,
        }
    }
}

/// The driver that has a request now, and its device.
///
/// # Safety
/// The request is not freed.
pub(super) unsafe fn holder(top: *mut DEVICE_OBJECT, irp: *mut IRP) -> (String, *mut DEVICE_OBJECT) {
    // SAFETY: the caller's promise.
    unsafe {
        let is_sent = (1..=(*irp).StackCount).contains(&(*irp).CurrentLocation);
        let device = if is_sent { (*wdf_sys::wdm::current_stack_location(irp)).DeviceObject } else { null_mut() };
        let device = if device.is_null() { top } else { device };
        (device::driver_name(device), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Simulation;

    fn sleep(seconds: i64) {
        let mut interval = -10_000_000 * seconds;
        // SAFETY: the test is a system thread at PASSIVE_LEVEL.
        let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut interval) };
    }

    #[test]
    fn a_routine_that_does_not_return_is_mentioned_and_then_named_in_a_bug_check() {
        let outcome = Simulation::new().run(|_| call("DriverUnload", "slow", 0x1234, || sleep(100)));
        let parameters = outcome.expect_bug_check(bug_check::DRIVER_PNP_WATCHDOG);
        assert_eq!(parameters[..2], [ROUTINE_MARK as u64, 0x1234]);
        assert!(outcome.has_logged("slow has not returned from its DriverUnload after 10 s"), "{}", outcome.log);
        assert!(outcome.has_logged("giving up on slow: it has not returned from its DriverUnload after 60 s"), "{}", outcome.log);
    }

    #[test]
    fn a_routine_that_returns_in_time_is_forgotten_and_the_limit_may_be_shorter() {
        let outcome = Simulation::new().run(|_| {
            call("AddDevice", "quick", 1, || sleep(30));
            sleep(100);
            set_limit(3);
            call("AddDevice", "slow", 2, || sleep(10));
        });
        assert_eq!(outcome.expect_bug_check(bug_check::DRIVER_PNP_WATCHDOG)[1], 2);
        assert!(outcome.has_logged("giving up on slow: it has not returned from its AddDevice after 3 s"), "{}", outcome.log);
    }

    #[test]
    fn a_routine_that_returns_at_another_irql_is_a_bug_check() {
        let outcome = Simulation::new().run(|_| call("AddDevice", "raised", 7, || hal().set_irql(2)));
        assert_eq!(outcome.expect_bug_check(bug_check::IRQL_UNEXPECTED_VALUE), [2 << 16, 0, 0, 7]);
    }
}
