//! Threads: what one is, creating and ending them, priorities, and what stands between them and user mode.
//!
//! A thread is an object of the object manager whose body begins with a dispatcher header, so that it can be waited for. The
//! fields are guarded by the dispatcher lock unless they belong to the running thread itself.

mod create;
mod end;
pub mod expand;
pub mod exported;
mod list;
pub mod lookup;

use core::arch::asm;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicI8, AtomicI32, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::{KERNEL_MODE, USER_MODE};
use wdf_sys::wdm::{DISPATCHER_HEADER, KTIMER, KWAIT_BLOCK, LIST_ENTRY};

use super::apc::Apcs;
use super::{Held, ready};
use crate::hal::{Context, UserStart};
pub(crate) use create::{THREAD, UserThread, create_idle_thread, create_system_thread, create_user_thread};
pub(in crate::dispatcher) use end::is_terminating;
pub(crate) use end::start_reaper;
pub use end::{UserApc, before_user_mode, exit, set_exit_notify, terminate};
pub(crate) use list::ThreadList;

/// Wait blocks in every thread: three for objects, the last for the time-out.
pub(crate) const WAIT_BLOCKS: usize = 4;
/// The block for the time-out.
pub(crate) const TIMER_BLOCK: usize = WAIT_BLOCKS - 1;
/// Clock ticks that a thread may run while others of its priority wait.
pub(crate) const QUANTUM: i32 = 2;
/// Highest priority that a boost leads to; above are the real-time ones.
const HIGHEST_DYNAMIC: i8 = 15;

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In a ready queue, or about to run.
    Ready,
    /// On a processor.
    Running,
    /// In a wait.
    Waiting,
    /// Never again.
    Ended,
}

/// How a thread waits.
pub(crate) struct Wait {
    /// The blocks it uses for objects.
    pub(crate) blocks: *mut KWAIT_BLOCK,
    /// How many of them.
    pub(crate) count: usize,
    /// Whether the timer block is in use too.
    pub(crate) has_timer: bool,
    /// What ended the wait.
    pub(crate) status: NTSTATUS,
    /// `KERNEL_MODE` or `USER_MODE`.
    pub(crate) mode: i8,
    /// Whether alerts and user APCs end it.
    pub(crate) alertable: bool,
    /// Whether kernel APCs can be delivered in it.
    pub(crate) takes_kernel_apcs: bool,
    /// Its own blocks.
    pub(crate) own: [KWAIT_BLOCK; WAIT_BLOCKS],
    /// Its own timer, for time-outs.
    pub(crate) timer: KTIMER,
}

/// A thread. Only what other files of the executive may touch is visible outside the dispatcher.
#[repr(C)]
pub struct Thread {
    pub(crate) header: DISPATCHER_HEADER,
    pub(super) context: Context,
    pub(crate) state: State,
    pub(super) priority: i8,
    pub(super) base_priority: i8,
    pub(super) quantum: i32,
    pub(super) affinity: u64,
    pub(super) processor: u32,
    links: list::Links,
    pub(super) apcs: Apcs,
    pub(super) wait: Wait,
    /// Mutexes it owns.
    pub(super) mutexes: LIST_ENTRY,
    pub(super) is_user: bool,
    pub(super) alerted: [AtomicBool; 2],
    terminating: AtomicBool,
    exit_status: AtomicI32,
    previous_mode: AtomicI8,
    id: usize,
    process: *mut c_void,
    /// Another process, whose address space it is in for a while; null for its own.
    attached: *mut c_void,
    stack: *mut u8,
    stack_pages: usize,
    start: Start,
    /// Requests that this thread has sent, `IRP::ThreadListEntry`. The I/O manager's.
    pub irp_list: LIST_ENTRY,
    /// The request that this thread works on at the top, `IoSetTopLevelIrp`. The I/O manager's.
    pub top_level_irp: *mut c_void,
}

/// How a thread begins.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// A processor's idle thread has begun already.
    Idle,
    /// A function of the kernel or a driver.
    System(extern "win64" fn(*mut c_void), *mut c_void),
    /// A program.
    User(UserStart),
}

impl core::fmt::Debug for Thread {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "thread {} ({:?}, priority {})", self.id, self.state, self.priority)
    }
}

impl Thread {
    /// Its number, as in `CLIENT_ID`.
    pub fn id(&self) -> usize {
        self.id
    }

    /// The process it was created with; null for system threads.
    pub fn process(&self) -> *mut c_void {
        self.process
    }

    /// The process that it looks into, if that is not its own.
    pub(crate) fn attached(&self) -> *mut c_void {
        self.attached
    }

    /// Has it look into another process; what it was in before. The address space is to be loaded by whoever calls.
    ///
    /// # Safety
    /// It is the running thread.
    pub(crate) unsafe fn look_into(this: *mut Self, process: *mut c_void, space: u64) -> (*mut c_void, u64) {
        // SAFETY: the fields are the running thread's own.
        unsafe {
            let before = ((*this).attached, (*this).context.address_space);
            (*this).attached = process;
            (*this).context.address_space = space;
            before
        }
    }

    /// What it ended with; `PENDING` before.
    pub fn exit_status(&self) -> NTSTATUS {
        NTSTATUS(self.exit_status.load(Ordering::Acquire))
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether the current system call came from user mode.
    pub fn previous_mode(&self) -> i8 {
        self.previous_mode.load(Ordering::Relaxed)
    }

    /// Sets the mode that the current system call came from; returns the one before.
    pub fn set_previous_mode(&self, mode: i8) -> i8 {
        debug_assert!(matches!(mode, KERNEL_MODE | USER_MODE));
        self.previous_mode.swap(mode, Ordering::Relaxed)
    }

    /// First address and size of its kernel stack; zeros for idle threads, whose stacks are the machine's.
    pub(crate) fn stack_range(&self) -> (usize, usize) {
        (self.stack.addr(), self.stack_pages * crate::hal::PAGE_SIZE)
    }
}

/// The running thread.
pub fn current() -> *mut Thread {
    let thread: *mut Thread;
    // SAFETY: in kernel mode GS leads to the control region; one instruction reads the thread, so that it does not matter when the
    // thread moves to another processor.
    unsafe { asm!("mov {}, gs:[0x188]", out(reg) thread, options(nostack, preserves_flags, readonly)) };
    thread
}

/// Raises a thread's priority after a wait, as the object it waited for says. The boost wears off as it uses its quanta.
///
/// # Safety
/// The thread is alive, in no ready queue, and the dispatcher lock is held.
pub(super) unsafe fn boost(thread: *mut Thread, increment: i32) {
    // SAFETY: the caller's promise.
    unsafe {
        (*thread).quantum = QUANTUM;
        let base = (*thread).base_priority;
        if base <= HIGHEST_DYNAMIC && increment > 0 {
            let boosted = (i32::from(base) + increment).min(i32::from(HIGHEST_DYNAMIC)) as i8;
            (*thread).priority = (*thread).priority.max(boosted);
        }
    }
}

/// The current thread has used its quantum: it gets another, and loses one step of its boost.
pub(super) fn quantum_has_ended(_held: &mut Held) {
    let thread = current();
    // SAFETY: the running thread is alive, in no ready queue, and the lock is held.
    unsafe {
        (*thread).quantum = QUANTUM;
        if (*thread).priority > (*thread).base_priority && (*thread).priority <= HIGHEST_DYNAMIC {
            (*thread).priority -= 1;
        }
    }
}

/// Changes a thread's priorities; returns the old current one.
///
/// # Safety
/// The thread is alive.
pub(super) unsafe fn set_priority(held: &mut Held, thread: *mut Thread, base: i8, current_priority: i8) -> i8 {
    // SAFETY: the caller's promise, and the lock is held.
    unsafe {
        let old = (*thread).priority;
        (*thread).base_priority = base;
        (*thread).quantum = QUANTUM;
        match (*thread).state {
            State::Ready => {
                held.dispatcher().ready.remove(thread);
                (*thread).priority = current_priority;
                held.make_ready(thread);
            }
            State::Running => {
                (*thread).priority = current_priority;
                if current_priority < old
                    && let Some(processor) = crate::processors::by_number((*thread).processor)
                {
                    held.kick(processor);
                }
            }
            State::Waiting | State::Ended => (*thread).priority = current_priority,
        }
        old
    }
}

const _: () = assert!(ready::PRIORITIES == 32 && align_of::<Thread>() <= 16);
