//! Violations: the framework verifier's rules, how one is reported, and the bug checks that no setting avoids.

use core::fmt;
use core::sync::atomic::Ordering;

use wdf_sys::wdm::constants::bug_check::WDF_VIOLATION;
use wdf_sys::wdm::functions::{DbgBreakPoint, KeAreApcsDisabled, KeBugCheckEx, RtlCaptureStackBackTrace};

use crate::globals::Globals;
use crate::history::Event;
use crate::object::Kind;
use crate::sync::{DISPATCH_LEVEL, irql};

macro_rules! rules {
    ($($(#[$attribute:meta])* $name:ident,)*) => {
        /// A rule that the verifier checks. Its name is what reports and tests know it by.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Rule { $($(#[$attribute])* $name,)* }

        impl Rule {
            /// The name, as reports have it.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

rules! {
    // Named by the DDI pages.
    DeferredRequestCompleted,
    DriverCreate,
    InvalidReqAccess,
    KmdfIrql,
    RequestCompleted,
    // Static analysis' names for more.
    StopAckWithinEvtIoStop,
    MarkCancOnCancReqLocal,
    ReqNotCanceledLocal,
    /// A request was neither acknowledged nor ended, long after EvtIoStop should have seen to it.
    DrvAckIoStop,
    // Checks of the framework verifier without a rule name of their own, and checks that Windows does not make.
    /// A request that a queue presented was never completed.
    RequestLeaked,
    /// A request was used after it went to another queue or target.
    RequestTouchedAfterForward,
    /// A request was sent without having been formatted, or with too few stack locations.
    RequestNotFormatted,
    /// A request was deleted while it was being cancelled, and the canceller held no reference on it.
    RequestNotReferenced,
    /// A request was in the wrong state for the call.
    RequestState,
    /// An object outlived its driver.
    ObjectLeaked,
    /// WdfObjectDelete twice.
    ObjectDeletedTwice,
    /// Two locks were taken in one order here and in the other there.
    LockOrder,
    /// A callback returned a status that its page forbids.
    CallbackStatus,
    /// A function was called in a state, or from a callback, in which its page forbids it.
    WrongState,
    /// A device object or initialisation structure was misused.
    DeviceInit,
    /// A parameter is out of range.
    InvalidParameter,
}

/// Bug checks WDF_VIOLATION, by the code that is their first parameter.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "the halves of the crate raise different ones")]
pub(crate) enum BugCheck {
    /// 1: address of a `WDF_POWER_ROUTINE_TIMED_OUT_DATA`.
    PowerRoutineTimedOut(usize),
    /// 2: handle, lock.
    RecursiveLock(usize, usize),
    /// 3: request, references.
    VerifierFatalError(usize, usize),
    /// 4.
    RequiredParameterIsNull,
    /// 5: handle, expected kind.
    InvalidHandle(usize, Kind),
    /// 6: sub-code, and what it is about: the IRP that has no room, else the request or data.
    RequestFatalError(u32, usize),
    /// 7: object.
    ObjectError(usize),
    /// 8: object.
    DmaFatalError(usize),
    /// 0xA: address of a `WDF_QUEUE_FATAL_ERROR_DATA`.
    QueueFatalError(usize),
    /// 0xB: object, 0 or 1.
    InvalidLockOperation(usize, usize),
    /// 0xC: device, IRP.
    PnpFatalError(usize, usize),
    /// 0xE: IRQL before, IRQL after.
    IrqlMismatch(u8, u8),
    /// 0xF: address of the callback.
    CriticalRegionMismatch(usize),
}

impl BugCheck {
    const fn parameters(self) -> (usize, usize, usize) {
        match self {
            Self::PowerRoutineTimedOut(data) => (1, data, 0),
            Self::RecursiveLock(handle, lock) => (2, handle, lock),
            Self::VerifierFatalError(request, references) => (3, request, references),
            Self::RequiredParameterIsNull => (4, 0, 0),
            Self::InvalidHandle(handle, kind) => (5, handle, kind as usize),
            Self::RequestFatalError(code, data) => (6, code as usize, data),
            Self::ObjectError(object) => (7, object, 0),
            Self::DmaFatalError(object) => (8, object, 0),
            Self::QueueFatalError(data) => (0xa, data, 0),
            Self::InvalidLockOperation(object, which) => (0xb, object, which),
            Self::PnpFatalError(device, irp) => (0xc, device, irp),
            Self::IrqlMismatch(before, after) => (0xe, before as usize, after as usize),
            Self::CriticalRegionMismatch(callback) => (0xf, callback, 0),
        }
    }
}

/// Calls the driver, and checks that it comes back at the IRQL it was called at and in no more and no fewer critical regions. `object` is
/// whose callback it is, and `address` where the callback begins, for the report.
pub(crate) fn guarded<R>(globals: &Globals, object: usize, address: usize, callback: impl FnOnce() -> R) -> R {
    if !globals.verifies() {
        return callback();
    }
    let before = (irql(), critical_region());
    let result = callback();
    let after = (irql(), critical_region());
    if before != after {
        came_back_different(globals, (object, address), before, after);
    }
    result
}

/// Whether the thread is in a critical region. An interrupt has no thread to ask about.
fn critical_region() -> bool {
    // SAFETY: reads the thread's own state, where that is allowed.
    irql() <= DISPATCH_LEVEL && unsafe { KeAreApcsDisabled() != 0 }
}

#[cold]
fn came_back_different(globals: &Globals, (object, address): (usize, usize), before: (u8, bool), after: (u8, bool)) {
    if before.0 != after.0 {
        crate::report!(
            globals,
            "the callback {address:#x} of {object:#x} was called at IRQL {} and came back at {}",
            before.0,
            after.0
        );
        bug_check(globals, BugCheck::IrqlMismatch(before.0, after.0));
    }
    crate::report!(
        globals,
        "the callback {address:#x} of {object:#x} came back with a critical region entered and not left, or left and not entered"
    );
    bug_check(globals, BugCheck::CriticalRegionMismatch(address));
}

/// Reports a violation: rule, driver, what was wrong, and the history of the object (0 for none). Breaks into a debugger when the
/// driver's settings say so. The caller asks `globals.verifies()` first, and goes on as documented for a violation.
#[cold]
pub(crate) fn violation(globals: &Globals, rule: Rule, object: usize, message: fmt::Arguments<'_>) {
    globals.violations.fetch_add(1, Ordering::Relaxed);
    globals.history.record(Event::Violation, object, rule as usize, 0);
    crate::report!(globals, "VIOLATION of {}: {message}", rule.name());
    if object != 0 {
        globals.history.print_object(globals.name(), object);
    }
    if globals.break_on_error.load(Ordering::Relaxed) {
        // SAFETY: breaks into the debugger, as the driver's registry settings ask for.
        unsafe { DbgBreakPoint() };
    }
}

/// Stops the machine with WDF_VIOLATION.
#[cold]
pub(crate) fn bug_check(globals: &Globals, what: BugCheck) -> ! {
    crate::report!(globals, "bug check WDF_VIOLATION: {what:x?}");
    let (code, first, mut second) = what.parameters();
    if matches!(what, BugCheck::RequiredParameterIsNull) {
        second = driver_return_address(globals);
    }
    // SAFETY: does not return.
    unsafe { KeBugCheckEx(WDF_VIOLATION, code, first, second, 0) }
}

/// A call whose first argument is no driver's globals. There is no driver to name.
#[cold]
pub(crate) fn unbound_caller(globals: *const core::ffi::c_void, function: usize) -> ! {
    crate::text::report("?", format_args!("{}: {globals:p} are not the globals of a bound driver", crate::table::name(function)));
    // SAFETY: does not return.
    unsafe { KeBugCheckEx(WDF_VIOLATION, 5, globals.addr(), 0, 0) }
}

/// The first return address on the stack that lies in the driver; 0 when there is none.
fn driver_return_address(globals: &Globals) -> usize {
    let Some(driver) = core::ptr::NonNull::new(globals.driver_object) else { return 0 };
    // SAFETY: the driver object outlives the binding.
    let (start, size) = unsafe { ((*driver.as_ptr()).DriverStart.addr(), (*driver.as_ptr()).DriverSize as usize) };
    let mut frames = [core::ptr::null_mut(); 16];
    // SAFETY: writes at most as many frames as the array has.
    let count = unsafe { RtlCaptureStackBackTrace(0, frames.len() as u32, frames.as_mut_ptr(), core::ptr::null_mut()) };
    let inside = |address: &usize| *address >= start && *address - start < size;
    frames.iter().take(usize::from(count)).map(|frame| frame.addr()).find(inside).unwrap_or(0)
}
