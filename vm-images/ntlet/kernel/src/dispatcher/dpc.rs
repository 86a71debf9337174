//! Deferred procedure calls: what interrupt routines queue, run at `DISPATCH_LEVEL` on the processor they were queued to; and
//! threaded ones, run at `PASSIVE_LEVEL` by a thread of the highest priority.
//!
//! A processor's queue is guarded by a lock that masks interrupts, because interrupt routines insert. `KDPC::DpcData` is the address
//! of the queue a DPC is in, null in none: whoever changes it from null to an address inserts.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering};

use wdf_sys::wdm::constants::bug_check;
use wdf_sys::wdm::{KDPC, KEVENT, LIST_ENTRY, PKDEFERRED_ROUTINE};
use wdf_sys::{BOOLEAN, FALSE, TRUE};

use super::thread::create_system_thread;
use super::wait::{self, kind};
use super::{Held, event, irql};
use crate::bug_check::bug_check;
use crate::hal::{DISPATCH_LEVEL, PASSIVE_LEVEL};
use crate::lock::InterruptLock;
use crate::processors::{self, Processor};
use crate::{hal, work};

/// `KDPC::Type`.
const DPC_OBJECT: u8 = 19;
const THREADED_DPC_OBJECT: u8 = 24;
/// `KDPC::Importance`.
const MEDIUM_IMPORTANCE: u8 = 1;
const HIGH_IMPORTANCE: u8 = 2;
/// Added to the processor's number in `KDPC::Number` when the driver chose it.
const TARGETED: u16 = 0x800;
const LIST_OFFSET: usize = core::mem::offset_of!(KDPC, DpcListEntry);

/// DPCs in line, linked through `DpcListEntry`, null at both ends.
struct Queue {
    first: *mut LIST_ENTRY,
    last: *mut LIST_ENTRY,
}

// SAFETY: the entries are guarded by the lock around the queue.
unsafe impl Send for Queue {}

/// A queue with its lock. Its address is what `DpcData` holds.
struct Line {
    queue: InterruptLock<Queue>,
    length: AtomicUsize,
}

/// What a DPC calls, copied from it, because its routine may free it.
struct Call {
    dpc: *mut KDPC,
    routine: PKDEFERRED_ROUTINE,
    context: *mut c_void,
    argument1: *mut c_void,
    argument2: *mut c_void,
}

impl Line {
    const fn new() -> Self {
        Self { queue: InterruptLock::new(Queue { first: null_mut(), last: null_mut() }), length: AtomicUsize::new(0) }
    }

    fn address(&'static self) -> *mut c_void {
        core::ptr::from_ref(self).cast_mut().cast()
    }

    /// Adds a DPC whose `DpcData` names this line already.
    ///
    /// # Safety
    /// The DPC is alive and in no line.
    unsafe fn add(&self, dpc: *mut KDPC, first: bool) {
        let mut queue = self.queue.lock();
        // SAFETY: the caller's promise; entries in the line are those of live DPCs.
        unsafe {
            let entry = &raw mut (*dpc).DpcListEntry;
            let (before, after) = if first { (null_mut(), queue.first) } else { (queue.last, null_mut()) };
            (*entry).Flink = after;
            (*entry).Blink = before;
            if before.is_null() {
                queue.first = entry
            } else {
                (*before).Flink = entry
            }
            if after.is_null() { queue.last = entry } else { (*after).Blink = entry }
        }
        self.length.fetch_add(1, Ordering::Release);
    }

    fn unlink(&self, queue: &mut Queue, entry: *mut LIST_ENTRY) {
        // SAFETY: the entry is in the queue, whose lock the caller holds.
        unsafe {
            let LIST_ENTRY { Flink: after, Blink: before } = *entry;
            if before.is_null() {
                queue.first = after
            } else {
                (*before).Flink = after
            }
            if after.is_null() { queue.last = before } else { (*after).Blink = before }
        }
        self.length.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes the first DPC out; from then on it can be queued again.
    fn take(&self) -> Option<Call> {
        if self.length.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut queue = self.queue.lock();
        let entry = queue.first;
        if entry.is_null() {
            return None;
        }
        self.unlink(&mut queue, entry);
        let dpc = entry.wrapping_byte_sub(LIST_OFFSET).cast::<KDPC>();
        // SAFETY: a DPC in a line is alive.
        unsafe {
            let call = Call {
                dpc,
                routine: (*dpc).DeferredRoutine,
                context: (*dpc).DeferredContext,
                argument1: (*dpc).SystemArgument1,
                argument2: (*dpc).SystemArgument2,
            };
            line_of(dpc).store(null_mut(), Ordering::Release);
            Some(call)
        }
    }

    /// Takes one DPC out, if it is in this line.
    ///
    /// # Safety
    /// The DPC is alive.
    unsafe fn remove(&'static self, dpc: *mut KDPC) -> bool {
        let mut queue = self.queue.lock();
        // SAFETY: the caller's promise.
        unsafe {
            if line_of(dpc).load(Ordering::Acquire) != self.address() {
                return false;
            }
            self.unlink(&mut queue, &raw mut (*dpc).DpcListEntry);
            line_of(dpc).store(null_mut(), Ordering::Release);
        }
        true
    }
}

/// # Safety
/// The DPC is alive.
unsafe fn line_of<'a>(dpc: *mut KDPC) -> &'a AtomicPtr<c_void> {
    // SAFETY: the caller's promise.
    unsafe { AtomicPtr::from_ptr(&raw mut (*dpc).DpcData) }
}

/// The DPCs of one processor.
pub(crate) struct Dpcs {
    line: Line,
    /// Routine that runs now, 0 if none.
    running: AtomicUsize,
}

impl Dpcs {
    pub(crate) const fn new() -> Self {
        Self { line: Line::new(), running: AtomicUsize::new(0) }
    }

    /// Whether a DPC waits.
    pub(crate) fn has_work(&self) -> bool {
        self.line.length.load(Ordering::Acquire) != 0
    }

    /// Whether a DPC runs.
    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed) != 0
    }

    /// The routine that runs.
    pub(crate) fn running_routine(&self) -> Option<usize> {
        Some(self.running.load(Ordering::Relaxed)).filter(|&routine| routine != 0)
    }
}

/// Runs what waits on this processor. At `DISPATCH_LEVEL`.
pub(super) fn retire(processor: &'static Processor) {
    while let Some(call) = processor.dpcs.line.take() {
        let Some(routine) = call.routine else {
            bug_check(bug_check::TIMER_OR_DPC_INVALID, [1, call.dpc.addr() as u64, 0, 0]);
        };
        processor.dpcs.running.store(routine as usize, Ordering::Relaxed);
        // SAFETY: whoever queued the DPC gave the routine and its arguments.
        unsafe { routine(call.dpc, call.context, call.argument1, call.argument2) };
        processor.dpcs.running.store(0, Ordering::Relaxed);
        processor.clock.answered();
        check_irql(DISPATCH_LEVEL, routine as usize);
    }
}

/// A routine must come back at the IRQL it was called at.
fn check_irql(expected: u8, routine: usize) {
    let irql = hal().irql();
    if irql != expected {
        let levels = u64::from(irql) << 16 | u64::from(expected) << 8;
        bug_check(bug_check::IRQL_UNEXPECTED_VALUE, [levels, 0, 0, routine as u64]);
    }
}

/// Queues a DPC; whether it was not queued yet. At any IRQL.
///
/// # Safety
/// The DPC is initialised and stays until it has run.
pub(crate) unsafe fn insert(dpc: *mut KDPC, argument1: *mut c_void, argument2: *mut c_void) -> bool {
    // Masked, so that this thread stays on the processor it asks for.
    let interrupts = hal().disable_interrupts();
    // SAFETY: the caller's promise. Only the one who changes `DpcData` from null goes on.
    let inserted = unsafe {
        let number = match (*dpc).Number {
            number @ TARGETED.. => u32::from(number - TARGETED),
            _ => hal().current_processor(),
        };
        let processor = processors::by_number(number).unwrap_or(processors::current());
        let line = match (*dpc).Type {
            THREADED_DPC_OBJECT if THREADED.is_ready.load(Ordering::Acquire) => &THREADED.line,
            _ => &processor.dpcs.line,
        };
        let free = line_of(dpc).compare_exchange(null_mut(), line.address(), Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if free {
            (*dpc).SystemArgument1 = argument1;
            (*dpc).SystemArgument2 = argument2;
            line.add(dpc, (*dpc).Importance == HIGH_IMPORTANCE);
            if core::ptr::eq(line, &THREADED.line) {
                // The thread is woken by a DPC of its own: waking it here would need the dispatcher lock.
                insert(THREADED.waker.get(), null_mut(), null_mut());
            } else if !(processor.in_dispatch_interrupt.load(Ordering::Relaxed) && number == hal().current_processor()) {
                hal().request_software_interrupt(processor.number(), DISPATCH_LEVEL);
            }
        }
        free
    };
    hal().restore_interrupts(interrupts);
    inserted
}

/// Threaded DPCs. Until the thread that runs them exists, they run as ordinary ones, which drivers must be ready for.
struct Threaded {
    line: Line,
    is_asked_for: AtomicBool,
    is_ready: AtomicBool,
    waker: UnsafeCell<KDPC>,
    event: UnsafeCell<KEVENT>,
}

// SAFETY: the cells hold a DPC and an event, whose functions guard them.
unsafe impl Sync for Threaded {}

static THREADED: Threaded = Threaded {
    line: Line::new(),
    is_asked_for: AtomicBool::new(false),
    is_ready: AtomicBool::new(false),
    waker: UnsafeCell::new(KDPC::zeroed()),
    event: UnsafeCell::new(KEVENT::zeroed()),
};

unsafe extern "win64" fn wake_threaded(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
    let mut held = Held::take();
    // SAFETY: initialised before the first threaded DPC is queued; the lock is held.
    unsafe { event::set(&mut held, THREADED.event.get(), 0) };
}

/// Creates the thread for threaded DPCs. On a worker, for whoever initialises the first may be at any IRQL.
fn start_threaded() {
    // SAFETY: nobody uses the two before `is_ready`.
    unsafe {
        initialize(THREADED.waker.get(), DPC_OBJECT, Some(wake_threaded), null_mut());
        event::initialize(THREADED.event.get(), kind::SYNCHRONIZATION_EVENT, false);
    }
    match create_system_thread(run_threaded, null_mut(), 31) {
        Ok(_) => THREADED.is_ready.store(true, Ordering::Release),
        Err(status) => log!("no thread for threaded DPCs: {status}; they run as ordinary ones"),
    }
}

extern "win64" fn run_threaded(_: *mut c_void) {
    loop {
        while let Some(call) = THREADED.line.take() {
            let Some(routine) = call.routine else { continue };
            // SAFETY: whoever queued the DPC gave the routine and its arguments.
            unsafe { routine(call.dpc, call.context, call.argument1, call.argument2) };
            check_irql(PASSIVE_LEVEL, routine as usize);
        }
        // SAFETY: the event is initialised and lives for ever.
        let _ = unsafe { wait::for_one(THREADED.event.get().cast(), None) };
    }
}

/// # Safety
/// `dpc` is a place for one that is not queued.
unsafe fn initialize(dpc: *mut KDPC, kind: u8, routine: PKDEFERRED_ROUTINE, context: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe {
        dpc.write(KDPC::zeroed());
        (*dpc).Type = kind;
        (*dpc).Importance = MEDIUM_IMPORTANCE;
        (*dpc).DeferredRoutine = routine;
        (*dpc).DeferredContext = context;
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInitializeDpc(Dpc: *mut KDPC, DeferredRoutine: PKDEFERRED_ROUTINE, DeferredContext: *mut c_void) {
    // SAFETY: the caller's promise: a place for a DPC.
    unsafe { initialize(Dpc, DPC_OBJECT, DeferredRoutine, DeferredContext) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInitializeThreadedDpc(
    Dpc: *mut KDPC,
    DeferredRoutine: PKDEFERRED_ROUTINE,
    DeferredContext: *mut c_void,
) {
    // SAFETY: the caller's promise: a place for a DPC.
    unsafe { initialize(Dpc, THREADED_DPC_OBJECT, DeferredRoutine, DeferredContext) };
    if hal().irql() <= DISPATCH_LEVEL && !THREADED.is_asked_for.swap(true, Ordering::AcqRel) {
        work::queue_system_work(start_threaded);
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInsertQueueDpc(
    Dpc: *mut KDPC,
    SystemArgument1: *mut c_void,
    SystemArgument2: *mut c_void,
) -> BOOLEAN {
    // SAFETY: the caller's promise: an initialised DPC.
    BOOLEAN::from(unsafe { insert(Dpc, SystemArgument1, SystemArgument2) })
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeRemoveQueueDpc(Dpc: *mut KDPC) -> BOOLEAN {
    // SAFETY: the caller's promise: an initialised DPC.
    unsafe {
        let line = line_of(Dpc).load(Ordering::Acquire).cast::<Line>();
        // Lines are static: what the word names stays one, whether the DPC is still in it or not.
        match line.as_ref() {
            Some(line) if line.remove(Dpc) => TRUE,
            _ => FALSE,
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeSetTargetProcessorDpc(Dpc: *mut KDPC, Number: i8) {
    // SAFETY: the caller's promise: an initialised DPC that is not queued.
    unsafe { (*Dpc).Number = TARGETED + u16::from(Number as u8 & 63) };
}

/// `ProcNumber` is a `PROCESSOR_NUMBER`: group, number, reserved.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeSetTargetProcessorDpcEx(Dpc: *mut KDPC, ProcNumber: *const [u8; 4]) -> wdf_sys::NTSTATUS {
    // SAFETY: the caller's promise: a processor number.
    let [group, _, number, _] = unsafe { ProcNumber.read() };
    if group != 0 || processors::by_number(u32::from(number)).is_none() {
        return wdf_sys::NTSTATUS::INVALID_PARAMETER;
    }
    // SAFETY: the caller's promise: an initialised DPC that is not queued.
    unsafe { KeSetTargetProcessorDpc(Dpc, number as i8) };
    wdf_sys::NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeSetImportanceDpc(Dpc: *mut KDPC, Importance: i32) {
    // SAFETY: the caller's promise: an initialised DPC that is not queued.
    unsafe { (*Dpc).Importance = Importance as u8 };
}

/// What one flush waits for.
struct Flush {
    left: AtomicI32,
    done: UnsafeCell<KEVENT>,
}

unsafe extern "win64" fn flushed(_: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    // SAFETY: the context is the flush, which waits for this.
    let flush = unsafe { &*context.cast::<Flush>() };
    if flush.left.fetch_sub(1, Ordering::AcqRel) == 1 {
        // SAFETY: the event is initialised, and its owner waits for it.
        unsafe { event::KeSetEvent(flush.done.get(), 0, FALSE) };
    }
}

/// Waits until every DPC that was queued before, on any processor, has run: a last one on each says so.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeFlushQueuedDpcs() {
    irql::at_most(PASSIVE_LEVEL);
    let flush = Flush { left: AtomicI32::new(1), done: UnsafeCell::new(KEVENT::zeroed()) };
    let mut markers = [const { KDPC::zeroed() }; processors::MAX + 1];
    // SAFETY: event and markers stay on this stack until the last marker has run.
    unsafe {
        event::initialize(flush.done.get(), kind::NOTIFICATION_EVENT, false);
        let context = (&raw const flush).cast_mut().cast();
        for (processor, marker) in processors::all().zip(&mut markers) {
            initialize(marker, DPC_OBJECT, Some(flushed), context);
            marker.Number = TARGETED + processor.number() as u16;
            flush.left.fetch_add(1, Ordering::Relaxed);
            insert(marker, null_mut(), null_mut());
        }
        let threaded = &mut markers[processors::MAX];
        if THREADED.is_ready.load(Ordering::Acquire) {
            initialize(threaded, THREADED_DPC_OBJECT, Some(flushed), context);
            flush.left.fetch_add(1, Ordering::Relaxed);
            insert(threaded, null_mut(), null_mut());
        }
        flushed(null_mut(), context, null_mut(), null_mut());
        let _ = wait::for_one(flush.done.get().cast(), None);
    }
}
