//! The in-flight log: the last framework events of each driver, kept in a ring without locks. Nothing is printed while events happen; the
//! ring is printed when the driver is unloaded (a shutdown unloads every driver), in every bug check, and, for one object, beside a
//! violation. The whole ring is long, and nobody waits for it: the kernel may keep it in memory (`late-log=memory`).
//!
//! # The lines
//!
//! Each event is one line of the guest's log, after the kernel's own `[time cpuN] ` (the time of printing):
//!
//! ```text
//! kmdf relay: #1234 @12.345678 request-sent 0x5744000010000010 target=0x5744000030000050 flags=0x0 irql=2 thread=0xffff800001234000
//! ```
//!
//! - `kmdf`, the driver's service name, a colon.
//! - `#` and the event's ordinal, from 0 for each bound driver. An event may be printed more than once (beside a violation, and at the
//!   end): the ordinal tells. A gap means that the ring has overwritten events.
//! - `@` and the interrupt time of the event, in seconds with six decimals.
//! - The event's name, then the handle of the object it happened to (`0x0`: none). A handle is never used for two objects of one run, so
//!   a request's life is the lines with its handle; `request-arrived` names its IRP.
//! - Details, `key=value`, hexadecimal; then the IRQL (decimal) and the thread.
//!
//! Fields are separated by one space, and no value has one.

use core::ffi::c_void;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use wdf_sys::wdm::KBUGCHECK_REASON_CALLBACK_RECORD;
use wdf_sys::wdm::functions::{KeGetCurrentIrql, KeGetCurrentThread, KeQueryInterruptTime, KeRegisterBugCheckReasonCallback};

use crate::globals::Globals;
use crate::text::Line;

/// Events kept for each driver.
const EVENTS: usize = 512;

/// Events printed beside a violation, for its object.
const SHOWN_FOR_OBJECT: usize = 24;

/// `KbCallbackSecondaryDumpData`.
const SECONDARY_DUMP_DATA: i32 = 2;

macro_rules! events {
    ($($(#[$attribute:meta])* $name:ident: $text:literal ($($key:literal),*);)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Event { $($(#[$attribute])* $name,)* }

        /// Name of each event, and the keys of its details, two at most.
        const TEXTS: &[(&str, &[&str])] = &[$(($text, &[$($key),*])),*];
    };
}

events! {
    Created: "created" ("kind", "parent");
    Deleted: "deleted" ("kind");
    Destroyed: "destroyed" ("kind");
    Referenced: "referenced" ("tag", "line");
    Dereferenced: "dereferenced" ("tag", "line");
    DeviceAdd: "device-add-returned" ("status");
    Callback: "callback-returned" ("callback", "status");
    PnpState: "pnp-state" ("from", "to");
    PowerState: "power-state" ("from", "to");
    PnpIrp: "pnp-irp" ("irp", "minor");
    PowerIrp: "power-irp" ("irp", "minor");
    QueuesStopped: "queues-stopped" ("reason");
    QueuesStarted: "queues-started" ();
    InterruptConnected: "interrupt-connected" ("vector", "message");
    InterruptDisconnected: "interrupt-disconnected" ("message");
    LockAcquired: "lock-acquired" ("by");
    LockReleased: "lock-released" ("by");
    Violation: "violation" ("rule");
    RequestCreated: "request-created" ("target");
    RequestArrived: "request-arrived" ("irp", "major");
    RequestQueued: "request-queued" ("queue");
    RequestPresented: "request-presented" ("queue", "major");
    RequestRetrieved: "request-retrieved" ("queue");
    RequestForwarded: "request-forwarded" ("from", "to");
    RequestRequeued: "request-requeued" ("queue");
    RequestMarkedCancelable: "request-marked-cancelable" ("callback");
    RequestUnmarkedCancelable: "request-unmarked-cancelable" ("status");
    RequestCancelCalled: "request-cancel-called" ();
    RequestCanceledOnQueue: "request-canceled-on-queue" ("queue");
    RequestStop: "request-stop-called" ("flags");
    RequestStopAcknowledged: "request-stop-acknowledged" ("requeue");
    RequestResumed: "request-resume-called" ();
    RequestFormatted: "request-formatted" ("target", "major");
    RequestSent: "request-sent" ("target", "flags");
    RequestSentCancel: "request-sent-cancel" ("delivered");
    RequestReturned: "request-returned" ("status", "information");
    RequestReused: "request-reused" ("status", "flags");
    RequestCompleted: "request-completed" ("status", "information");
    QueueState: "queue-state" ("from", "to");
    TargetState: "target-state" ("from", "to");
    FileCreated: "file-created" ("file");
    FileClosed: "file-closed" ();
    DmaStarted: "dma-transfer-started" ("bytes", "elements");
    DmaEnded: "dma-transfer-ended" ("bytes", "status");
}

/// One entry. Its parts are written one by one; a reader may meet an entry half written, and shows it as it is.
struct Entry {
    /// Ordinal plus one; 0 for an entry never written.
    ordinal: AtomicU64,
    time: AtomicU64,
    object: AtomicUsize,
    a: AtomicUsize,
    b: AtomicUsize,
    thread: AtomicUsize,
    /// Event in the low byte, IRQL in the next.
    event: AtomicUsize,
}

/// A driver's log. All zero is an empty one.
pub(crate) struct History {
    next: AtomicU64,
    entries: [Entry; EVENTS],
}

impl History {
    /// Writes an event down. Any IRQL; no lock, no allocation.
    #[inline]
    pub(crate) fn record(&self, event: Event, object: usize, a: usize, b: usize) {
        let ordinal = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = &self.entries[ordinal as usize % EVENTS];
        // SAFETY: these three read the clock, the current thread and the IRQL.
        let (time, thread, irql) = unsafe { (KeQueryInterruptTime(), KeGetCurrentThread(), KeGetCurrentIrql()) };
        entry.ordinal.store(0, Ordering::Relaxed);
        entry.time.store(time, Ordering::Relaxed);
        entry.object.store(object, Ordering::Relaxed);
        entry.a.store(a, Ordering::Relaxed);
        entry.b.store(b, Ordering::Relaxed);
        entry.thread.store(thread.addr(), Ordering::Relaxed);
        entry.event.store(event as usize | usize::from(irql) << 8, Ordering::Relaxed);
        entry.ordinal.store(ordinal + 1, Ordering::Release);
    }

    /// Prints every event that is kept, oldest first.
    pub(crate) fn print_all(&self, driver: &str) {
        let next = self.next.load(Ordering::Acquire);
        for ordinal in next.saturating_sub(EVENTS as u64)..next {
            if let Some(mut line) = self.line(driver, ordinal) {
                line.print_late();
            }
        }
    }

    /// Prints the last events of one object, oldest first.
    pub(crate) fn print_object(&self, driver: &str, object: usize) {
        let next = self.next.load(Ordering::Acquire);
        let kept = next.saturating_sub(EVENTS as u64)..next;
        let concerns = |ordinal: &u64| self.entries[*ordinal as usize % EVENTS].object.load(Ordering::Relaxed) == object;
        let matching = kept.clone().filter(concerns).count();
        for ordinal in kept.filter(concerns).skip(matching.saturating_sub(SHOWN_FOR_OBJECT)) {
            if let Some(mut line) = self.line(driver, ordinal) {
                line.print();
            }
        }
    }

    /// The line of an event; `None`: it has been overwritten.
    fn line(&self, driver: &str, ordinal: u64) -> Option<Line> {
        let entry = &self.entries[ordinal as usize % EVENTS];
        if entry.ordinal.load(Ordering::Acquire) != ordinal + 1 {
            return None;
        }
        let time = entry.time.load(Ordering::Relaxed) / 10;
        let event = entry.event.load(Ordering::Relaxed);
        let (name, keys) = TEXTS.get(event & 0xff).copied().unwrap_or(("unknown", &[]));
        let mut line = Line::new();
        // Writing to a line cannot fail; what is too long is cut.
        let (seconds, micros) = (time / 1_000_000, time % 1_000_000);
        let object = entry.object.load(Ordering::Relaxed);
        let _ = write!(line, "kmdf {driver}: #{ordinal} @{seconds}.{micros:06} {name} {object:#x}");
        for (key, detail) in keys.iter().zip([&entry.a, &entry.b]) {
            let _ = write!(line, " {key}={:#x}", detail.load(Ordering::Relaxed));
        }
        let _ = write!(line, " irql={} thread={:#x}", event >> 8, entry.thread.load(Ordering::Relaxed));
        Some(line)
    }
}

/// The kernel's record of our bug check callback. It stays registered for ever.
struct CallbackRecord(core::cell::UnsafeCell<KBUGCHECK_REASON_CALLBACK_RECORD>);

// SAFETY: only the kernel writes it, after one registration.
unsafe impl Sync for CallbackRecord {}

static RECORD: CallbackRecord = CallbackRecord(core::cell::UnsafeCell::new(KBUGCHECK_REASON_CALLBACK_RECORD::zeroed()));
static REGISTERED: AtomicBool = AtomicBool::new(false);

/// Asks the kernel to have the logs printed in every bug check. Once is enough.
pub(crate) fn print_in_bug_checks() {
    if REGISTERED.swap(true, Ordering::AcqRel) {
        return;
    }
    // SAFETY: the record is static and registered once; the routine fits the reason.
    let accepted = unsafe {
        KeRegisterBugCheckReasonCallback(
            RECORD.0.get(),
            Some(bug_check_callback),
            SECONDARY_DUMP_DATA,
            c"ntlet KMDF".as_ptr().cast(),
        )
    };
    if accepted == 0 {
        REGISTERED.store(false, Ordering::Release);
    }
}

/// At HIGH_LEVEL, other processors stopped: print, and touch nothing else.
unsafe extern "win64" fn bug_check_callback(
    _reason: i32,
    _record: *mut KBUGCHECK_REASON_CALLBACK_RECORD,
    _data: *mut c_void,
    _length: u32,
) {
    for globals in Globals::all() {
        globals.history.print_all(globals.name());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_keys_are_single_words_and_each_event_has_its_own_name() {
        let mut names = BTreeSet::new();
        for (name, keys) in TEXTS {
            assert!(names.insert(name), "{name}");
            assert!(keys.len() <= 2, "{name}");
            for word in keys.iter().chain([name]) {
                assert!(!word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{word}");
            }
        }
    }
}
