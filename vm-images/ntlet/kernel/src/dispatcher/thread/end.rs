//! Ending threads, and what is done for one each time it is about to go to user mode.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::{USER_MODE, bug_check};
use wdf_sys::wdm::{KEVENT, is_list_empty};

use super::super::{Held, apc, event, irql, wait};
use super::create::free_stack;
use super::{State, Thread, create_system_thread, current};
use crate::bug_check::bug_check;
use crate::hal::PASSIVE_LEVEL;
use crate::object::ObjectRef;

/// Called on every thread that ends, by the thread itself.
static EXIT_NOTIFY: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// Signalled when a thread has ended whose stack is to be freed.
struct ReaperEvent(core::cell::UnsafeCell<KEVENT>);
// SAFETY: an event is guarded by the dispatcher lock.
unsafe impl Sync for ReaperEvent {}
static REAPER: ReaperEvent = ReaperEvent(core::cell::UnsafeCell::new(KEVENT::zeroed()));

/// Sets what is called on every thread that ends, in its context, at `PASSIVE_LEVEL`.
pub fn set_exit_notify(notify: fn(*mut Thread)) {
    EXIT_NOTIFY.store(notify as *mut c_void, Ordering::Release);
}

/// Ends the current thread.
pub fn exit(status: NTSTATUS) -> ! {
    irql::at_most(PASSIVE_LEVEL);
    let thread = current();
    let notify = EXIT_NOTIFY.load(Ordering::Acquire);
    if !notify.is_null() {
        // SAFETY: only `set_exit_notify` writes it, with a function of this type.
        let notify: fn(*mut Thread) = unsafe { core::mem::transmute(notify) };
        notify(thread);
    }
    apc::run_down(thread);
    // SAFETY: the running thread is alive, and its list of mutexes is its own.
    unsafe {
        (*thread).exit_status.store(status.0, Ordering::Release);
        if !is_list_empty(&raw const (*thread).mutexes) {
            let mutex = (*thread).mutexes.Flink.addr() as u64;
            bug_check(bug_check::THREAD_TERMINATE_HELD_MUTEX, [thread.addr() as u64, mutex, 0, 0]);
        }
    }
    let mut held = Held::take();
    // SAFETY: as above; the lock is held. The thread's object lives until the reaper, which needs the lock, has dropped it.
    unsafe {
        (*thread).header.SignalState = 1;
        wait::test(&mut held, &raw mut (*thread).header, 0);
        (*thread).state = State::Ended;
        held.dispatcher().ended.push_back(thread);
        event::set(&mut held, REAPER.0.get(), 0);
    }
    held.switch_away();
    unreachable!("a thread that has ended runs again")
}

/// Starts the thread that frees what ended threads leave behind.
pub(crate) fn start_reaper() -> Result<(), NTSTATUS> {
    // SAFETY: nobody uses the event before threads end.
    unsafe { event::initialize(REAPER.0.get(), wait::kind::SYNCHRONIZATION_EVENT, false) };
    create_system_thread(reap, null_mut(), 16).map(drop)
}

extern "win64" fn reap(_: *mut c_void) {
    loop {
        // SAFETY: the event is initialised and lives for ever.
        let _ = unsafe { wait::for_one(REAPER.0.get().cast(), None) };
        loop {
            let ended = Held::take().dispatcher().ended.pop_front();
            let Some(thread) = ended else { break };
            // SAFETY: the thread gave its processor away while it held the lock that was just taken, so it does not run; the
            // dispatcher's reference is dropped once.
            unsafe {
                free_stack(thread);
                drop(ObjectRef::from_owned(thread.cast()));
            }
        }
    }
}

/// Lets a program's thread end at its next return to user mode, and breaks a wait that it is in for user mode.
///
/// # Safety
/// The thread is alive.
pub unsafe fn terminate(thread: *mut Thread, status: NTSTATUS) {
    let mut held = Held::take();
    // SAFETY: the caller's promise; the lock is held.
    unsafe {
        if !(*thread).terminating.swap(true, Ordering::AcqRel) {
            (*thread).exit_status.store(status.0, Ordering::Release);
        }
        if (*thread).state == State::Waiting && (*thread).wait.mode == USER_MODE {
            wait::end(&mut held, thread, NTSTATUS::THREAD_IS_TERMINATING, 0);
        }
    }
}

/// Whether the thread was told to end.
///
/// # Safety
/// The thread is alive.
pub(in crate::dispatcher) unsafe fn is_terminating(thread: *mut Thread) -> bool {
    // SAFETY: the caller's promise.
    unsafe { (*thread).terminating.load(Ordering::Acquire) }
}

/// A user APC that is to be run now: the program's own dispatcher gets these four values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserApc {
    /// Address of the routine.
    pub routine: u64,
    /// Its first argument.
    pub context: u64,
    /// Its second argument.
    pub argument1: u64,
    /// Its third argument.
    pub argument2: u64,
}

/// What is due before the current thread goes to user mode: ending it, if it was told to; or a user APC for the caller to deliver.
pub fn before_user_mode() -> Option<UserApc> {
    let thread = current();
    // SAFETY: the running thread is alive.
    if unsafe { is_terminating(thread) } {
        // SAFETY: as above.
        let status = unsafe { (*thread).exit_status() };
        exit(status)
    }
    apc::take_user_apc(thread)
}
