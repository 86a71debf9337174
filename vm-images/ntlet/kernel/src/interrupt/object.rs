//! Interrupt objects: a service routine with its lock, and the functions that run other code under that lock.
#![allow(non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use wdf_sys::wdm::constants::bug_check;
use wdf_sys::wdm::{PKMESSAGE_SERVICE_ROUTINE, PKSERVICE_ROUTINE, PKSYNCHRONIZE_ROUTINE};
use wdf_sys::{BOOLEAN, FALSE, KINTERRUPT};

use crate::bug_check::bug_check;
use crate::dispatcher::{irql, spin_lock};
use crate::hal;
use crate::hal::Irql;

/// What is called.
#[derive(Clone, Copy)]
pub(super) enum Service {
    Plain(PKSERVICE_ROUTINE),
    /// With the message's number.
    Message(PKMESSAGE_SERVICE_ROUTINE, u32),
}

impl Service {
    pub(super) fn address(self) -> usize {
        match self {
            Self::Plain(routine) => routine.map_or(0, |routine| routine as usize),
            Self::Message(routine, _) => routine.map_or(0, |routine| routine as usize),
        }
    }
}

/// `KINTERRUPT`. Lives from connection to disconnection; constant but for its links and its own lock.
pub(super) struct Interrupt {
    pub(super) service: Service,
    pub(super) context: *mut c_void,
    /// The driver's lock, or null for `own_lock`.
    pub(super) lock: *mut usize,
    pub(super) own_lock: usize,
    pub(super) vector: u8,
    pub(super) synchronize_irql: Irql,
    pub(super) level: bool,
    pub(super) next: AtomicPtr<Interrupt>,
    /// Cleared while the driver says that its device does not interrupt.
    pub(super) is_active: AtomicBool,
}

/// The object at an address of a list.
pub(super) fn get<'a>(interrupt: *mut Interrupt) -> Option<&'a Interrupt> {
    // SAFETY: objects in a list are alive while anyone follows it: disconnecting waits for that.
    unsafe { interrupt.as_ref() }
}

/// Whether no other object follows.
pub(super) fn is_last(interrupt: *mut Interrupt) -> bool {
    get(interrupt).is_none_or(|interrupt| interrupt.next().is_null())
}

impl Interrupt {
    pub(super) fn next(&self) -> *mut Self {
        self.next.load(Ordering::Acquire)
    }

    pub(super) fn is_level(&self) -> bool {
        self.level
    }

    fn lock(&self) -> *mut usize {
        if self.lock.is_null() { (&raw const self.own_lock).cast_mut() } else { self.lock }
    }

    /// Runs `body` at the synchronisation IRQL with the lock held. The IRQL must not be higher.
    fn synchronized<R>(&self, body: impl FnOnce() -> R) -> R {
        let before = irql::raise(self.synchronize_irql);
        // SAFETY: the lock is this object's or the driver's, which outlives the connection.
        let result = unsafe {
            spin_lock::take(self.lock());
            let result = body();
            spin_lock::release(self.lock());
            result
        };
        let after = hal().irql();
        if after != self.synchronize_irql {
            let levels = u64::from(after) << 16 | u64::from(self.synchronize_irql) << 8;
            bug_check(bug_check::IRQL_UNEXPECTED_VALUE, [levels, 0, 0, self.service.address() as u64]);
        }
        hal().set_irql(before);
        result
    }

    /// Calls the service routine; whether it knows the interrupt.
    pub(super) fn call(&self) -> bool {
        if !self.is_active.load(Ordering::Relaxed) {
            return false;
        }
        let interrupt = core::ptr::from_ref(self).cast_mut().cast::<KINTERRUPT>();
        let answer = self.synchronized(|| match self.service {
            // SAFETY: the driver gave routine and context for as long as it is connected.
            Service::Plain(Some(routine)) => unsafe { routine(interrupt, self.context) },
            // SAFETY: as above.
            Service::Message(Some(routine), message) => unsafe { routine(interrupt, self.context, message) },
            _ => FALSE,
        });
        answer != FALSE
    }
}

/// The object that a driver names.
///
/// # Safety
/// `interrupt` came from a connection that lasts.
unsafe fn object<'a>(interrupt: *mut KINTERRUPT) -> &'a Interrupt {
    // SAFETY: the caller's promise.
    unsafe { &*interrupt.cast::<Interrupt>() }
}

#[allow(missing_docs, reason = "the DDI documentation's")]
mod exported {
    use super::*;

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeSynchronizeExecution(
        Interrupt: *mut KINTERRUPT,
        SynchronizeRoutine: PKSYNCHRONIZE_ROUTINE,
        SynchronizeContext: *mut c_void,
    ) -> BOOLEAN {
        // SAFETY: the caller's promise: a connected interrupt.
        let object = unsafe { object(Interrupt) };
        let Some(routine) = SynchronizeRoutine else { return FALSE };
        // SAFETY: the caller's promise: routine and context belong together.
        object.synchronized(|| unsafe { routine(SynchronizeContext) })
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeAcquireInterruptSpinLock(Interrupt: *mut KINTERRUPT) -> u8 {
        // SAFETY: the caller's promise: a connected interrupt.
        unsafe {
            let object = object(Interrupt);
            let before = irql::raise(object.synchronize_irql);
            spin_lock::take(object.lock());
            before
        }
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeReleaseInterruptSpinLock(Interrupt: *mut KINTERRUPT, OldIrql: u8) {
        // SAFETY: the caller's promise: a connected interrupt whose lock it has.
        unsafe { spin_lock::release(object(Interrupt).lock()) };
        irql::lower(OldIrql);
    }
}
pub use exported::*;
