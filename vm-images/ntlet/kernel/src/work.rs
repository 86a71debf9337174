//! Work items: functions that a worker thread runs at `PASSIVE_LEVEL`, for those who are at a higher IRQL or must not wait.
//!
//! Each queue has one worker more than it has items in progress, up to a limit, so that a work item may wait for another.
#![allow(non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use alloc::alloc::{alloc_zeroed, dealloc};
use alloc::collections::VecDeque;
use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use wdf_sys::wdm::constants::{CRITICAL_WORK_QUEUE, bug_check};
use wdf_sys::wdm::functions::{ObfDereferenceObject, ObfReferenceObject};
use wdf_sys::wdm::{DEVICE_OBJECT, KSEMAPHORE, LIST_ENTRY, PIO_WORKITEM_ROUTINE, WORK_QUEUE_ITEM};
use wdf_sys::{IO_WORKITEM, NTSTATUS};

use crate::bug_check::bug_check;
use crate::dispatcher::thread::create_system_thread;
use crate::dispatcher::{semaphore, wait};
use crate::hal;
use crate::hal::PASSIVE_LEVEL;
use crate::lock::SpinLock;

/// Most workers of one queue.
const MOST_WORKERS: usize = 16;
/// Priorities of the workers, as on Windows.
const CRITICAL_PRIORITY: u8 = 13;
const DELAYED_PRIORITY: u8 = 12;

/// A function to run, and what with.
#[derive(Clone, Copy)]
enum Work {
    Function(fn()),
    Routine(extern "win64" fn(*mut c_void), *mut c_void),
    /// A driver's own item, which may be gone once its routine has been called.
    Item(*mut WORK_QUEUE_ITEM),
}

// SAFETY: the pointers are for the routine, which says what it allows.
unsafe impl Send for Work {}

struct Queue {
    waiting: SpinLock<VecDeque<Work>>,
    semaphore: UnsafeCell<KSEMAPHORE>,
    workers: AtomicUsize,
    idle: AtomicUsize,
    priority: u8,
}

// SAFETY: the semaphore is guarded by the dispatcher.
unsafe impl Sync for Queue {}

impl Queue {
    const fn new(priority: u8) -> Self {
        Self {
            waiting: SpinLock::new(VecDeque::new()),
            semaphore: UnsafeCell::new(KSEMAPHORE::zeroed()),
            workers: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            priority,
        }
    }

    fn push(&'static self, work: Work) {
        self.waiting.lock().push_back(work);
        // SAFETY: the semaphore was initialised before anything is queued.
        if unsafe { semaphore::release(self.semaphore.get(), 0, 1) }.is_err() {
            bug_check(bug_check::WORKER_INVALID, [0, 0, 0, 0]);
        }
    }

    fn add_worker(&'static self) -> Result<(), NTSTATUS> {
        self.workers.fetch_add(1, Ordering::Relaxed);
        let context = core::ptr::from_ref(self).cast_mut().cast();
        create_system_thread(run_worker, context, self.priority).map(drop).inspect_err(|_| {
            self.workers.fetch_sub(1, Ordering::Relaxed);
        })
    }

    /// The last idle worker is about to be busy: another one, if there may be more. Whoever queues work may not be able to create one.
    fn keep_one_idle(&'static self) {
        if self.idle.load(Ordering::Acquire) == 0
            && self.workers.load(Ordering::Relaxed) < MOST_WORKERS
            && let Err(status) = self.add_worker()
        {
            log!("no further worker thread: {status}");
        }
    }
}

static CRITICAL: Queue = Queue::new(CRITICAL_PRIORITY);
static DELAYED: Queue = Queue::new(DELAYED_PRIORITY);

/// Starts the first worker of each queue.
pub(crate) fn start() -> Result<(), NTSTATUS> {
    for queue in [&CRITICAL, &DELAYED] {
        // SAFETY: nobody uses the semaphore yet.
        unsafe { semaphore::KeInitializeSemaphore(queue.semaphore.get(), 0, i32::MAX) };
        queue.add_worker()?;
    }
    Ok(())
}

extern "win64" fn run_worker(queue: *mut c_void) {
    // SAFETY: the queues are static.
    let queue: &'static Queue = unsafe { &*queue.cast::<Queue>() };
    loop {
        queue.idle.fetch_add(1, Ordering::AcqRel);
        // SAFETY: the semaphore is initialised and lives for ever.
        let _ = unsafe { wait::for_one(queue.semaphore.get().cast(), None) };
        queue.idle.fetch_sub(1, Ordering::AcqRel);
        let next = queue.waiting.lock().pop_front();
        queue.keep_one_idle();
        if let Some(work) = next {
            run(work);
        }
    }
}

fn run(work: Work) {
    let routine = match work {
        Work::Function(function) => {
            function();
            function as usize
        }
        Work::Routine(routine, context) => {
            routine(context);
            routine as usize
        }
        Work::Item(item) => {
            // SAFETY: a queued item is alive until its routine is called.
            let (routine, parameter) = unsafe {
                is_queued(item).store(null_mut(), Ordering::Release);
                ((*item).WorkerRoutine, (*item).Parameter)
            };
            let Some(routine) = routine else {
                bug_check(bug_check::WORKER_INVALID, [1, item.addr() as u64, 0, 0]);
            };
            // SAFETY: whoever queued the item gave routine and parameter.
            unsafe { routine(parameter) };
            routine as usize
        }
    };
    let irql = hal().irql();
    if irql != PASSIVE_LEVEL {
        bug_check(bug_check::WORKER_THREAD_RETURNED_AT_BAD_IRQL, [routine as u64, u64::from(irql), 0, 0]);
    }
}

/// Runs a function on a worker. At `DISPATCH_LEVEL` or below.
pub fn queue_system_work(function: fn()) {
    CRITICAL.push(Work::Function(function));
}

/// Runs a function with an argument on a worker. At `DISPATCH_LEVEL` or below.
pub fn queue(routine: extern "win64" fn(*mut c_void), context: *mut c_void) {
    CRITICAL.push(Work::Routine(routine, context));
}

/// Address of the first routine in the queues that `is_meant`.
pub(crate) fn find(is_meant: &dyn Fn(usize) -> bool) -> Option<usize> {
    let routine_of = |work: &Work| match *work {
        Work::Function(function) => function as usize,
        Work::Routine(routine, _) => routine as usize,
        // SAFETY: a queued item is alive, and so is the I/O work item around it.
        Work::Item(item) => unsafe {
            let routine = (*item).WorkerRoutine.map_or(0, |routine| routine as usize);
            if routine != run_io_item as *const () as usize {
                return routine;
            }
            match (*item.cast::<IoWorkItem>()).routine {
                Routine::Plain(routine) => routine.map_or(0, |routine| routine as usize),
                Routine::Extended(routine) => routine.map_or(0, |routine| routine as usize),
            }
        },
    };
    [&CRITICAL, &DELAYED].into_iter().find_map(|queue| {
        let waiting = queue.waiting.lock();
        waiting.iter().map(routine_of).find(|&routine| is_meant(routine))
    })
}

fn queue_of(kind: i32) -> &'static Queue {
    if kind == CRITICAL_WORK_QUEUE { &CRITICAL } else { &DELAYED }
}

/// The word of an item that is null unless it is queued.
///
/// # Safety
/// The item is alive.
unsafe fn is_queued<'a>(item: *mut WORK_QUEUE_ITEM) -> &'a AtomicPtr<LIST_ENTRY> {
    // SAFETY: the caller's promise.
    unsafe { AtomicPtr::from_ptr(&raw mut (*item).List.Flink) }
}

/// What `IO_WORKITEM` is: allocated by [`IoAllocateWorkItem`], or in memory of the driver's.
#[repr(C)]
struct IoWorkItem {
    item: WORK_QUEUE_ITEM,
    /// A device or driver object.
    object: *mut c_void,
    routine: Routine,
    context: *mut c_void,
}

/// What an I/O work item calls.
#[derive(Clone, Copy)]
enum Routine {
    Plain(PIO_WORKITEM_ROUTINE),
    Extended(PIO_WORKITEM_ROUTINE_EX),
}

/// `IO_WORKITEM_ROUTINE_EX`.
#[allow(non_camel_case_types, reason = "the documentation's name")]
pub type PIO_WORKITEM_ROUTINE_EX =
    Option<unsafe extern "win64" fn(IoObject: *mut c_void, Context: *mut c_void, IoWorkItem: *mut IO_WORKITEM)>;

/// What drivers are told that an item takes; ours is smaller.
const IO_WORK_ITEM_SIZE: usize = 0x60;
const _: () = assert!(size_of::<IoWorkItem>() <= IO_WORK_ITEM_SIZE);

const LAYOUT: Layout = Layout::new::<IoWorkItem>();

/// Calls an I/O work item's routine, with the object it was allocated for kept alive.
unsafe extern "win64" fn run_io_item(item: *mut c_void) {
    let item = item.cast::<IoWorkItem>();
    // SAFETY: the item is alive until its routine is called, which may free it; the object was referenced when it was queued.
    unsafe {
        let IoWorkItem { object, routine, context, .. } = item.read();
        match routine {
            Routine::Plain(Some(routine)) => routine(object.cast(), context),
            Routine::Extended(Some(routine)) => routine(object, context, item.cast()),
            _ => bug_check(bug_check::WORKER_INVALID, [1, item.addr() as u64, 0, 0]),
        }
        ObfDereferenceObject(object);
    }
}

unsafe fn queue_io_item(item: *mut IO_WORKITEM, routine: Routine, kind: i32, context: *mut c_void) {
    let item = item.cast::<IoWorkItem>();
    // SAFETY: the callers' promise: an allocated or initialised item that is not queued.
    unsafe {
        ObfReferenceObject((*item).object);
        (*item).routine = routine;
        (*item).context = context;
        (*item).item.WorkerRoutine = Some(run_io_item);
        (*item).item.Parameter = item.cast();
        ExQueueWorkItem(&raw mut (*item).item, kind);
    }
}

unsafe fn allocate_io_item(object: *mut c_void) -> *mut IO_WORKITEM {
    // SAFETY: the layout is not empty; zero bytes are a value of the item's plain fields, and the rest is written.
    unsafe {
        let item = alloc_zeroed(LAYOUT).cast::<IoWorkItem>();
        if !item.is_null() {
            initialize_io_item(item, object);
        }
        item.cast()
    }
}

unsafe fn initialize_io_item(item: *mut IoWorkItem, object: *mut c_void) {
    let value = IoWorkItem { item: WORK_QUEUE_ITEM::zeroed(), object, routine: Routine::Plain(None), context: null_mut() };
    // SAFETY: the callers' promise: a place for an item.
    unsafe { item.write(value) };
}

#[allow(missing_docs, reason = "the DDI documentation's")]
mod exported {
    use super::*;

    /// An item that is queued already: bug check, as on Windows.
    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn ExQueueWorkItem(WorkItem: *mut WORK_QUEUE_ITEM, QueueType: i32) {
        // SAFETY: the caller's promise: an initialised item.
        let mark = unsafe { is_queued(WorkItem) };
        let own = WorkItem.cast::<LIST_ENTRY>();
        if mark.compare_exchange(null_mut(), own, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            bug_check(bug_check::WORKER_INVALID, [2, WorkItem.addr() as u64, 0, 0]);
        }
        queue_of(QueueType).push(Work::Item(WorkItem));
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn IoAllocateWorkItem(DeviceObject: *mut DEVICE_OBJECT) -> *mut IO_WORKITEM {
        // SAFETY: the caller's promise: a device object.
        unsafe { allocate_io_item(DeviceObject.cast()) }
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn IoFreeWorkItem(IoWorkItem: *mut IO_WORKITEM) {
        // SAFETY: the caller's promise: an item of `IoAllocateWorkItem` that is not queued.
        unsafe {
            if !is_queued(IoWorkItem.cast()).load(Ordering::Acquire).is_null() {
                bug_check(bug_check::WORKER_INVALID, [3, IoWorkItem.addr() as u64, 0, 0]);
            }
            dealloc(IoWorkItem.cast(), LAYOUT);
        }
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn IoQueueWorkItem(
        IoWorkItem: *mut IO_WORKITEM,
        WorkerRoutine: PIO_WORKITEM_ROUTINE,
        QueueType: i32,
        Context: *mut c_void,
    ) {
        // SAFETY: the caller's promise: an item that is not queued.
        unsafe { queue_io_item(IoWorkItem, Routine::Plain(WorkerRoutine), QueueType, Context) };
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn IoQueueWorkItemEx(
        IoWorkItem: *mut IO_WORKITEM,
        WorkerRoutine: PIO_WORKITEM_ROUTINE_EX,
        QueueType: i32,
        Context: *mut c_void,
    ) {
        // SAFETY: as above.
        unsafe { queue_io_item(IoWorkItem, Routine::Extended(WorkerRoutine), QueueType, Context) };
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn IoSizeofWorkItem() -> u32 {
        IO_WORK_ITEM_SIZE as u32
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn IoInitializeWorkItem(IoObject: *mut c_void, IoWorkItem: *mut IO_WORKITEM) {
        // SAFETY: the caller's promise: memory of the size it was told, and a device or driver object.
        unsafe { initialize_io_item(IoWorkItem.cast(), IoObject) };
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn IoUninitializeWorkItem(_IoWorkItem: *mut IO_WORKITEM) {}
}
pub use exported::*;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::dispatcher::event;
    use crate::object::{ObjectRef, ObjectType};
    use crate::sim::{self, Simulation};
    use wdf_sys::wdm::KEVENT;

    static JOURNAL: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    static DEVICE: ObjectType = ObjectType::of::<u64>("Device");

    unsafe extern "win64" fn note(context: *mut c_void) {
        assert_eq!(hal().irql(), 0);
        JOURNAL.lock().unwrap().push(context.addr());
    }

    fn wait_until(done: impl Fn() -> bool) {
        for _ in 0..100 {
            if done() {
                return;
            }
            let mut interval = -10_000;
            // SAFETY: a time.
            let _ = unsafe { wait::KeDelayExecutionThread(0, 0, &mut interval) };
        }
        panic!("what was waited for does not happen");
    }

    #[test]
    fn work_items_run_at_passive_level_in_order() {
        sim::run(|_| {
            let items: Vec<_> = (1..=3)
                .map(|number| WORK_QUEUE_ITEM {
                    List: Default::default(),
                    WorkerRoutine: Some(note),
                    Parameter: core::ptr::without_provenance_mut(number),
                })
                .map(|item| Box::into_raw(Box::new(item)))
                .collect();
            hal().set_irql(2);
            // SAFETY: initialised items that stay.
            items.iter().for_each(|&item| unsafe { ExQueueWorkItem(item, 1) });
            assert!(JOURNAL.lock().unwrap().is_empty());
            hal().set_irql(0);
            wait_until(|| *JOURNAL.lock().unwrap() == [1, 2, 3]);
        });
    }

    #[test]
    fn a_work_item_may_wait_for_another() {
        struct Shared(UnsafeCell<KEVENT>);
        // SAFETY: an event is guarded by the dispatcher.
        unsafe impl Sync for Shared {}
        static EVENT: Shared = Shared(UnsafeCell::new(KEVENT::zeroed()));
        extern "win64" fn wait_for_event(_: *mut c_void) {
            // SAFETY: initialised before this is queued.
            let _ = unsafe { wait::for_one(EVENT.0.get().cast(), None) };
            JOURNAL.lock().unwrap().push(1);
        }
        extern "win64" fn set_event(_: *mut c_void) {
            // SAFETY: as above.
            unsafe { event::KeSetEvent(EVENT.0.get(), 0, 0) };
        }
        sim::run(|_| {
            // SAFETY: a place for an event that nobody uses yet.
            unsafe { event::KeInitializeEvent(EVENT.0.get(), 0, 0) };
            (0..5).for_each(|_| queue(wait_for_event, null_mut()));
            queue(set_event, null_mut());
            wait_until(|| JOURNAL.lock().unwrap().len() == 5);
        });
    }

    unsafe extern "win64" fn io_routine(device: *mut DEVICE_OBJECT, context: *mut c_void) {
        JOURNAL.lock().unwrap().extend([device.addr(), context.addr()]);
    }

    #[test]
    fn an_io_work_item_gets_its_device_and_can_be_queued_again() {
        sim::run(|_| {
            let device = ObjectRef::new(&DEVICE, 0u64).unwrap();
            // SAFETY: an object, and an item that is queued when it is not.
            unsafe {
                let item = IoAllocateWorkItem(device.body().cast());
                for _ in 0..2 {
                    JOURNAL.lock().unwrap().clear();
                    IoQueueWorkItem(item, Some(io_routine), 1, core::ptr::without_provenance_mut(9));
                    wait_until(|| *JOURNAL.lock().unwrap() == [device.body().addr(), 9]);
                }
                IoFreeWorkItem(item);
            }
        });
    }

    #[test]
    fn a_work_item_that_returns_at_another_irql_is_a_bug_check() {
        extern "win64" fn raise(_: *mut c_void) {
            hal().set_irql(2);
        }
        let outcome = Simulation::new().run(|_| {
            queue(raise, null_mut());
            wait_until(|| false);
        });
        assert_eq!(outcome.expect_bug_check(bug_check::WORKER_THREAD_RETURNED_AT_BAD_IRQL)[1], 2);
    }

    #[test]
    fn an_item_that_is_queued_twice_is_a_bug_check() {
        let outcome = Simulation::new().run(|_| {
            let item = WORK_QUEUE_ITEM { List: Default::default(), WorkerRoutine: Some(note), Parameter: null_mut() };
            let item = Box::into_raw(Box::new(item));
            hal().set_irql(2);
            // SAFETY: an initialised item, and what a driver must not do.
            unsafe {
                ExQueueWorkItem(item, 1);
                ExQueueWorkItem(item, 1);
            }
        });
        outcome.expect_bug_check(bug_check::WORKER_INVALID);
    }
}
