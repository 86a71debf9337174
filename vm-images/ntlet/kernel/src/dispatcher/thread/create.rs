//! Creating threads: idle ones, those of the kernel and its drivers, those of programs.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::{KERNEL_MODE, USER_MODE};
use wdf_sys::wdm::{DISPATCHER_HEADER, KTIMER, KWAIT_BLOCK, initialize_list_head};

use super::super::apc::Apcs;
use super::super::{Held, wait};
use super::{QUANTUM, Start, State, Thread, WAIT_BLOCKS, Wait, exit, list, lookup};
use crate::hal;
use crate::hal::{AddressSpace, Context, PAGE_SIZE, PASSIVE_LEVEL, Protection, UserStart};
use crate::lock::SpinLock;
use crate::object::{ObjectRef, ObjectType};

/// Pages of a kernel stack, its guard page not counted. On the host, code that was compiled for debugging runs on it.
#[cfg(not(any(test, feature = "sim")))]
const STACK_PAGES: usize = 8;
#[cfg(any(test, feature = "sim"))]
const STACK_PAGES: usize = 64;

/// Stacks that are kept for the next thread.
const KEPT_STACKS: usize = 8;

/// The kind of object that threads are.
pub(crate) static THREAD: ObjectType =
    ObjectType { name: "Thread", delete: delete_thread, last_handle_closed: None, deletes_at_passive_level: true };

static LAST_ID: AtomicUsize = AtomicUsize::new(0);

struct Stacks {
    kept: [usize; KEPT_STACKS],
    count: usize,
}

static STACKS: SpinLock<Stacks> = SpinLock::new(Stacks { kept: [0; KEPT_STACKS], count: 0 });

/// # Safety
/// The body of a thread object that nobody refers to.
unsafe fn delete_thread(body: *mut c_void) {
    let thread = body.cast::<Thread>();
    lookup::leave(thread);
    // SAFETY: the object is the caller's alone. A thread that never ran still has its stack.
    unsafe { free_stack(thread) };
}

fn allocate_stack() -> Option<*mut u8> {
    {
        let mut stacks = STACKS.lock();
        if stacks.count > 0 {
            stacks.count -= 1;
            return Some(core::ptr::with_exposed_provenance_mut(stacks.kept[stacks.count]));
        }
    }
    let start = hal().allocate_pages(STACK_PAGES + 1, Protection::ReadWrite)?;
    // SAFETY: nobody uses the pages yet. Running over the end of the stack is then a fault, not a silent overwrite.
    unsafe { hal().protect_pages(start, 1, Protection::None) };
    Some(start.as_ptr())
}

/// Gives a thread's stack back.
///
/// # Safety
/// The thread does not run and never will again.
pub(super) unsafe fn free_stack(thread: *mut Thread) {
    // SAFETY: the caller's promise.
    let stack = unsafe { core::mem::replace(&mut (*thread).stack, null_mut()) };
    if stack.is_null() {
        return;
    }
    {
        let mut stacks = STACKS.lock();
        if stacks.count < KEPT_STACKS {
            let count = stacks.count;
            stacks.kept[count] = stack.expose_provenance();
            stacks.count += 1;
            return;
        }
    }
    // SAFETY: allocated by `allocate_stack` as this many pages; the caller says that nobody uses it.
    unsafe {
        if let Some(stack) = core::ptr::NonNull::new(stack) {
            hal().free_pages(stack, STACK_PAGES + 1);
        }
    }
}

/// A thread object that does not run yet.
fn new_thread(start: Start, priority: u8) -> Result<ObjectRef, NTSTATUS> {
    let object = ObjectRef::allocate(&THREAD, size_of::<Thread>())?;
    let is_user = matches!(start, Start::User(_));
    let thread = object.body().cast::<Thread>();
    let mut header = DISPATCHER_HEADER::zeroed();
    header.Type = wait::kind::THREAD;
    header.Size = (size_of::<Thread>() / 4) as u8;
    let value = Thread {
        header,
        context: Context { stack_pointer: 0, kernel_stack_top: 0, address_space: 0, teb: 0 },
        state: State::Ready,
        priority: priority.min(31) as i8,
        base_priority: priority.min(31) as i8,
        quantum: QUANTUM,
        affinity: u64::MAX,
        processor: 0,
        links: list::Links::new(),
        apcs: Apcs::new(),
        wait: Wait {
            blocks: null_mut(),
            count: 0,
            has_timer: false,
            status: NTSTATUS::SUCCESS,
            mode: KERNEL_MODE,
            alertable: false,
            takes_kernel_apcs: false,
            own: [KWAIT_BLOCK::zeroed(); WAIT_BLOCKS],
            timer: KTIMER::zeroed(),
        },
        mutexes: Default::default(),
        is_user,
        alerted: Default::default(),
        terminating: false.into(),
        exit_status: NTSTATUS::PENDING.0.into(),
        previous_mode: (if is_user { USER_MODE } else { KERNEL_MODE }).into(),
        id: (LAST_ID.fetch_add(1, Ordering::Relaxed) + 1) * 4,
        process: null_mut(),
        attached: null_mut(),
        stack: null_mut(),
        stack_pages: 0,
        start,
        irp_list: Default::default(),
        top_level_irp: null_mut(),
    };
    // SAFETY: the body is as large as a thread, aligned to 16, and nobody else knows it. Lists are made where they stay.
    unsafe {
        thread.write(value);
        initialize_list_head(&raw mut (*thread).header.WaitListHead);
        initialize_list_head(&raw mut (*thread).mutexes);
        initialize_list_head(&raw mut (*thread).irp_list);
        Apcs::initialize(&raw mut (*thread).apcs);
        super::super::timer::initialize(&raw mut (*thread).wait.timer, wait::kind::NOTIFICATION_TIMER);
        let timer_block = &raw mut (*thread).wait.own[super::TIMER_BLOCK];
        initialize_list_head(&raw mut (*timer_block).WaitListEntry);
        lookup::join(thread, (*thread).id);
    }
    Ok(object)
}

/// The thread that a processor's first stack becomes.
pub(crate) fn create_idle_thread() -> *mut Thread {
    let object = new_thread(Start::Idle, 0).expect("there is memory for an idle thread");
    let thread = object.into_raw().cast::<Thread>();
    // SAFETY: nobody else knows the thread yet.
    unsafe { (*thread).state = State::Running };
    thread
}

/// Gives a new thread its stack and lets it run. The dispatcher keeps one reference until it has ended.
fn run(object: &ObjectRef) -> Result<(), NTSTATUS> {
    let thread = object.body().cast::<Thread>();
    let stack = allocate_stack().ok_or(NTSTATUS::INSUFFICIENT_RESOURCES)?;
    // SAFETY: the thread is not known to anyone else yet; the stack is unused, and a thread gives it back only when it has ended.
    unsafe {
        (*thread).stack = stack;
        (*thread).stack_pages = STACK_PAGES + 1;
        let usable = core::slice::from_raw_parts_mut(stack.add(PAGE_SIZE), STACK_PAGES * PAGE_SIZE);
        hal().prepare_context(&mut (*thread).context, usable, first_function, thread.cast());
    }
    // The dispatcher's reference.
    let _ = object.clone().into_raw();
    Held::take().make_ready(thread);
    Ok(())
}

/// Where every thread begins: at `DISPATCH_LEVEL`, with the dispatcher lock that the switch handed over.
extern "win64" fn first_function(thread: *mut c_void) -> ! {
    let thread = thread.cast::<Thread>();
    super::super::after_switch(thread);
    // SAFETY: this is the first thing that the thread does.
    drop(unsafe { Held::inherited(PASSIVE_LEVEL) });
    // SAFETY: the running thread is alive.
    match unsafe { (*thread).start } {
        Start::System(routine, context) => {
            routine(context);
            exit(NTSTATUS::SUCCESS)
        }
        Start::User(start) => {
            if let Some(apc) = super::before_user_mode() {
                log!("a user APC with routine {:#x} was queued to a thread before it began; it is lost", apc.routine);
            }
            // SAFETY: the thread has an address space, and nothing on this stack is needed any more.
            unsafe { hal().enter_user_mode(&start) }
        }
        Start::Idle => unreachable!("an idle thread begins on the machine's stack"),
    }
}

/// Creates a thread that runs `routine(context)` at `PASSIVE_LEVEL` and lets it run.
///
/// # Errors
/// `INSUFFICIENT_RESOURCES`.
pub(crate) fn create_system_thread(
    routine: extern "win64" fn(*mut c_void),
    context: *mut c_void,
    priority: u8,
) -> Result<ObjectRef, NTSTATUS> {
    let object = new_thread(Start::System(routine, context), priority)?;
    run(&object)?;
    crate::process::notify::thread(object.body().cast(), true);
    Ok(object)
}

/// What a thread of a program is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UserThread {
    /// Its process, for [`Thread::process`].
    pub(crate) process: *mut c_void,
    /// The process's address space.
    pub(crate) address_space: AddressSpace,
    /// User address of its thread environment block.
    pub(crate) teb: u64,
    /// Where it begins.
    pub(crate) start: UserStart,
    /// Its priority; 8 is normal.
    pub(crate) priority: u8,
}

/// Creates a thread of a program and lets it run.
///
/// # Errors
/// `INSUFFICIENT_RESOURCES`.
pub(crate) fn create_user_thread(parameters: &UserThread) -> Result<ObjectRef, NTSTATUS> {
    let object = new_thread(Start::User(parameters.start), parameters.priority)?;
    let thread = object.body().cast::<Thread>();
    // SAFETY: nobody else knows the thread yet.
    unsafe {
        (*thread).process = parameters.process;
        (*thread).context.address_space = parameters.address_space.0;
        (*thread).context.teb = parameters.teb;
    }
    run(&object)?;
    Ok(object)
}
