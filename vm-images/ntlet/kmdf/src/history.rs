//! The in-flight log: the last framework events of each driver, kept in a ring without locks, printed in every bug check and beside
//! every violation.

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
    ($($(#[$attribute:meta])* $name:ident: $text:literal,)*) => {
        /// What happened. The two details of each are named in its text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Event { $($(#[$attribute])* $name,)* }

        impl Event {
            /// Words for an event, with `{a}` and `{b}` for its details.
            fn text(number: u8) -> &'static str {
                const TEXTS: &[&str] = &[$($text),*];
                TEXTS.get(usize::from(number)).copied().unwrap_or("?")
            }
        }
    };
}

events! {
    Created: "created, kind {a}, parent {b}",
    Deleted: "deletion began, kind {a}",
    Destroyed: "destroyed, kind {a}",
    Referenced: "referenced, tag {a}, line {b}",
    Dereferenced: "dereferenced, tag {a}, line {b}",
    DeviceAdd: "EvtDriverDeviceAdd returned {a}",
    Callback: "callback {a} returned {b}",
    PnpState: "PnP state {b}, was {a}",
    PowerState: "power state {b}, was {a}",
    PnpIrp: "PnP IRP {a}, minor {b}",
    PowerIrp: "power IRP {a}, minor {b}",
    QueuesStopped: "power-managed queues stopped, reason {a}",
    QueuesStarted: "power-managed queues started",
    InterruptConnected: "interrupt connected, vector {a}, message {b}",
    InterruptDisconnected: "interrupt disconnected, message {b}",
    LockAcquired: "lock acquired by thread {a}",
    LockReleased: "lock released by thread {a}",
    Violation: "violation of rule {a}",
    RequestCreated: "request created by the driver, target {a}",
    RequestArrived: "IRP {a} became this request, major function {b}",
    RequestQueued: "queued on {a}",
    RequestPresented: "presented by {a}, handler {b}",
    RequestRetrieved: "retrieved from {a}",
    RequestForwarded: "forwarded from {a} to {b}",
    RequestRequeued: "requeued on {a}",
    RequestMarkedCancelable: "marked cancelable, callback {a}",
    RequestUnmarkedCancelable: "unmarked cancelable, status {a}",
    RequestCancelCalled: "EvtRequestCancel called",
    RequestCanceledOnQueue: "canceled on {a}",
    RequestStop: "EvtIoStop called, flags {a}",
    RequestStopAcknowledged: "stop acknowledged, requeue {a}",
    RequestResumed: "EvtIoResume called",
    RequestFormatted: "formatted for {a}, major function {b}",
    RequestSent: "sent to {a}, flags {b}",
    RequestSentCancel: "cancel of sent request asked for, delivered {a}",
    RequestReturned: "came back from its target, status {a}, information {b}",
    RequestReused: "reused, status {a}, flags {b}",
    RequestCompleted: "completed, status {a}, information {b}",
    QueueState: "queue state {b}, was {a}",
    TargetState: "target state {b}, was {a}",
    FileCreated: "file object for {a}",
    FileClosed: "file object closed",
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
            self.print(driver, ordinal);
        }
    }

    /// Prints the last events of one object, oldest first.
    pub(crate) fn print_object(&self, driver: &str, object: usize) {
        let next = self.next.load(Ordering::Acquire);
        let kept = next.saturating_sub(EVENTS as u64)..next;
        let concerns = |ordinal: &u64| self.entries[*ordinal as usize % EVENTS].object.load(Ordering::Relaxed) == object;
        let matching = kept.clone().filter(concerns).count();
        for ordinal in kept.filter(concerns).skip(matching.saturating_sub(SHOWN_FOR_OBJECT)) {
            self.print(driver, ordinal);
        }
    }

    fn print(&self, driver: &str, ordinal: u64) {
        let entry = &self.entries[ordinal as usize % EVENTS];
        if entry.ordinal.load(Ordering::Acquire) != ordinal + 1 {
            return;
        }
        let time = entry.time.load(Ordering::Relaxed) / 10;
        let event = entry.event.load(Ordering::Relaxed);
        let mut line = Line::new();
        let _ = write!(
            line,
            "wdf: {driver}: event {ordinal} at {}.{:06} irql {} thread {:#x}: {:#x}: ",
            time / 1_000_000,
            time % 1_000_000,
            event >> 8,
            entry.thread.load(Ordering::Relaxed),
            entry.object.load(Ordering::Relaxed),
        );
        write_words(&mut line, Event::text(event as u8), entry.a.load(Ordering::Relaxed), entry.b.load(Ordering::Relaxed));
        line.print();
    }
}

/// Writes a text with `{a}` and `{b}` replaced.
fn write_words(line: &mut Line, text: &str, a: usize, b: usize) {
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, after) = rest.split_at(at);
        let value = if after.starts_with("{a}") { a } else { b };
        let _ = write!(line, "{before}{value:#x}");
        rest = after.get(3..).unwrap_or("");
    }
    let _ = line.write_str(rest);
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
