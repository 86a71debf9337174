//! Waiting: for one object, for several, for time; and what a signal does to those who wait.
//!
//! Every object that can be waited for begins with a dispatcher header. A waiting thread has a wait block in the list of each of
//! its objects. Who waited first is woken first, whatever its priority.
#![allow(non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::Ordering;

use wdf_sys::wdm::constants::{KERNEL_MODE, USER_MODE, WAIT_ALL, WAIT_ANY, bug_check};
use wdf_sys::wdm::{DISPATCHER_HEADER, KMUTANT, KWAIT_BLOCK, LIST_ENTRY, insert_tail_list, remove_entry_list};
use wdf_sys::{BOOLEAN, NTSTATUS};

use super::thread::{self, State, TIMER_BLOCK, Thread, WAIT_BLOCKS};
use super::{Held, irql, mutex, timer};
use crate::bug_check::bug_check;
use crate::hal;
use crate::hal::{APC_LEVEL, DISPATCH_LEVEL, Irql};
use crate::processors;

/// `DISPATCHER_HEADER::Type`.
pub(crate) mod kind {
    pub(crate) const NOTIFICATION_EVENT: u8 = 0;
    pub(crate) const SYNCHRONIZATION_EVENT: u8 = 1;
    pub(crate) const MUTANT: u8 = 2;
    pub(crate) const QUEUE: u8 = 4;
    pub(crate) const SEMAPHORE: u8 = 5;
    pub(crate) const THREAD: u8 = 6;
    pub(crate) const NOTIFICATION_TIMER: u8 = 8;
    pub(crate) const SYNCHRONIZATION_TIMER: u8 = 9;
    /// The last kind there is.
    pub(crate) const LAST: u8 = SYNCHRONIZATION_TIMER;
}

/// Most objects in one wait.
const MAXIMUM_WAIT_OBJECTS: usize = 64;
/// Most without an array of wait blocks from the caller.
const OWN_BLOCKS: usize = TIMER_BLOCK;
/// Ends a wait so that a kernel APC can be delivered; never seen outside this file and [`super::apc`].
pub(super) const KERNEL_APC: NTSTATUS = NTSTATUS(0x100);
/// Added to the index of a mutex whose owner ended without releasing it.
const ABANDONED: i32 = 0x80;

/// What to wait for.
pub(crate) struct Request<'a> {
    pub(crate) objects: &'a [*mut c_void],
    /// All of them at once rather than any.
    pub(crate) all: bool,
    pub(crate) mode: i8,
    pub(crate) alertable: bool,
    /// Units of 100 ns: relative if negative, system time if positive.
    pub(crate) timeout: Option<i64>,
    /// The caller's blocks, one an object, or null.
    pub(crate) blocks: *mut KWAIT_BLOCK,
}

/// Waits as asked.
///
/// # Safety
/// The objects begin with initialised dispatcher headers and outlive the wait; so do the blocks.
pub(crate) unsafe fn wait(request: &Request<'_>) -> NTSTATUS {
    let thread = thread::current();
    check(request);
    let due = request.timeout.map(timer::to_uptime);
    loop {
        let mut held = Held::take();
        // SAFETY: the caller's promise, and the lock is held. The running thread is alive.
        unsafe {
            if held.irql() < APC_LEVEL && (*thread).apcs.has_kernel_apc() {
                // Dropping the lock goes below APC_LEVEL, where the APC is delivered.
                hal().request_software_interrupt(hal().current_processor(), APC_LEVEL);
                drop(held);
                continue;
            }
            if let Some(status) = try_now(thread, request) {
                return status;
            }
            if let Some(status) = interruption(thread, request) {
                return status;
            }
            if due.is_some_and(|due| due <= hal().uptime()) {
                return NTSTATUS::TIMEOUT;
            }
            block(&mut held, thread, request, due);
            let status = (*thread).wait.status;
            if status != KERNEL_APC {
                return status;
            }
        }
    }
}

/// A wait of the executive itself: one object, kernel mode, not alertable.
///
/// # Safety
/// As [`wait`].
pub(crate) unsafe fn for_one(object: *mut c_void, timeout: Option<i64>) -> NTSTATUS {
    let request = Request { objects: &[object], all: false, mode: KERNEL_MODE, alertable: false, timeout, blocks: null_mut() };
    // SAFETY: the caller's promise.
    unsafe { wait(&request) }
}

/// Bug checks for what must not be waited for, or not here.
fn check(request: &Request<'_>) {
    let count = request.objects.len();
    if count > MAXIMUM_WAIT_OBJECTS || (count > OWN_BLOCKS && request.blocks.is_null()) {
        bug_check(bug_check::MAXIMUM_WAIT_OBJECTS_EXCEEDED, [count as u64, 0, 0, 0]);
    }
    let irql = hal().irql();
    if irql >= DISPATCH_LEVEL && (request.timeout != Some(0) || irql > DISPATCH_LEVEL) {
        would_block_at(irql, request);
    }
    for &object in request.objects {
        // SAFETY: the caller of `wait` promises a dispatcher header.
        let header = unsafe { &*object.cast::<DISPATCHER_HEADER>() };
        if header.Type & 0x7f > kind::LAST || header.WaitListHead.Flink.is_null() {
            // What Windows says when it finds a list entry that leads nowhere.
            bug_check(bug_check::KERNEL_SECURITY_CHECK_FAILURE, [3, 0, object.addr() as u64, u64::from(header.Type)]);
        }
    }
}

fn would_block_at(irql: Irql, request: &Request<'_>) -> ! {
    let thread = thread::current().addr() as u64;
    if processors::current().dpcs.is_running() {
        bug_check(bug_check::ATTEMPTED_SWITCH_FROM_DPC, [thread, 0, 0, 0]);
    }
    let object = request.objects.first().map_or(0, |object| object.addr() as u64);
    bug_check(bug_check::IRQL_NOT_LESS_OR_EQUAL, [object, u64::from(irql), 0, 0])
}

/// Whether `object` would let `thread` pass.
unsafe fn is_signalled(object: *mut DISPATCHER_HEADER, thread: *mut Thread) -> bool {
    // SAFETY: the callers' promise, and the lock is held.
    unsafe { (*object).SignalState > 0 || ((*object).Type == kind::MUTANT && mutex::owner(object.cast::<KMUTANT>()) == thread) }
}

/// Lets `thread` pass: takes from the object what passing takes. Whether it was an abandoned mutex.
unsafe fn pass(object: *mut DISPATCHER_HEADER, thread: *mut Thread) -> bool {
    // SAFETY: the callers' promise, and the lock is held.
    unsafe {
        match (*object).Type {
            kind::SYNCHRONIZATION_EVENT | kind::SYNCHRONIZATION_TIMER => (*object).SignalState = 0,
            kind::SEMAPHORE | kind::QUEUE => (*object).SignalState -= 1,
            kind::MUTANT => return mutex::pass(object.cast(), thread),
            _ => {}
        }
        false
    }
}

unsafe fn try_now(thread: *mut Thread, request: &Request<'_>) -> Option<NTSTATUS> {
    let headers = || request.objects.iter().map(|object| object.cast::<DISPATCHER_HEADER>());
    // SAFETY: as for `wait`; the lock is held.
    unsafe {
        if request.all && !request.objects.is_empty() {
            if !headers().all(|object| is_signalled(object, thread)) {
                return None;
            }
            let abandoned = headers().fold(false, |abandoned, object| pass(object, thread) | abandoned);
            return Some(NTSTATUS(if abandoned { ABANDONED } else { 0 }));
        }
        let index = headers().position(|object| is_signalled(object, thread))?;
        let abandoned = pass(request.objects[index].cast(), thread);
        Some(NTSTATUS(index as i32 + if abandoned { ABANDONED } else { 0 }))
    }
}

/// What keeps an alertable or user-mode wait from beginning.
unsafe fn interruption(thread: *mut Thread, request: &Request<'_>) -> Option<NTSTATUS> {
    // SAFETY: the running thread; the lock is held.
    unsafe {
        if request.mode == USER_MODE && thread::is_terminating(thread) {
            return Some(NTSTATUS::THREAD_IS_TERMINATING);
        }
        if !request.alertable {
            return None;
        }
        let alerted = |mode: i8| (*thread).alerted[mode as usize & 1].swap(false, Ordering::Relaxed);
        if alerted(request.mode) || (request.mode == USER_MODE && alerted(KERNEL_MODE)) {
            return Some(NTSTATUS::ALERTED);
        }
        (request.mode == USER_MODE && (*thread).apcs.make_user_apc_pending()).then_some(NTSTATUS::USER_APC)
    }
}

unsafe fn block(held: &mut Held, thread: *mut Thread, request: &Request<'_>, due: Option<u64>) {
    // SAFETY: as for `wait`; the lock is held. The blocks are the thread's own, or the caller's for as long as it waits.
    unsafe {
        let wait = &raw mut (*thread).wait;
        let own = (&raw mut (*wait).own).cast::<KWAIT_BLOCK>();
        let blocks = if request.objects.len() <= OWN_BLOCKS { own } else { request.blocks };
        (*wait).blocks = blocks;
        (*wait).count = request.objects.len();
        (*wait).mode = request.mode;
        (*wait).alertable = request.alertable;
        (*wait).takes_kernel_apcs = held.irql() < APC_LEVEL;
        (*wait).has_timer = due.is_some();
        let kind = if request.all { WAIT_ALL } else { WAIT_ANY };
        for (index, &object) in request.objects.iter().enumerate() {
            enqueue(blocks.add(index), thread, object.cast(), kind, index as u16);
        }
        if let Some(due) = due {
            let timer = &raw mut (*wait).timer;
            timer::insert(held, timer, due);
            enqueue(own.add(TIMER_BLOCK), thread, timer.cast(), WAIT_ANY, NTSTATUS::TIMEOUT.0 as u16);
        }
        (*thread).state = State::Waiting;
        held.switch_away();
    }
}

unsafe fn enqueue(block: *mut KWAIT_BLOCK, thread: *mut Thread, object: *mut DISPATCHER_HEADER, kind: i32, key: u16) {
    // SAFETY: as for `block`.
    unsafe {
        (*block).Thread = thread.cast();
        (*block).Object = object.cast();
        (*block).NextWaitBlock = null_mut();
        (*block).WaitType = kind as u8;
        (*block).WaitKey = key;
        insert_tail_list(&raw mut (*object).WaitListHead, (&raw mut (*block).WaitListEntry).cast());
    }
}

/// Ends a thread's wait with `status`.
///
/// # Safety
/// The thread waits; the lock is held.
pub(super) unsafe fn end(held: &mut Held, thread: *mut Thread, status: NTSTATUS, increment: i32) {
    // SAFETY: the caller's promise: its blocks are in the lists of their objects.
    unsafe {
        let wait = &raw mut (*thread).wait;
        for index in 0..(*wait).count {
            remove_entry_list(&raw mut (*(*wait).blocks.add(index)).WaitListEntry);
        }
        if (*wait).has_timer {
            let own = (&raw mut (*wait).own).cast::<KWAIT_BLOCK>();
            remove_entry_list(&raw mut (*own.add(TIMER_BLOCK)).WaitListEntry);
            timer::remove(held, &raw mut (*wait).timer);
        }
        (*wait).status = status;
        thread::boost(thread, increment);
        held.make_ready(thread);
    }
}

/// Wakes whoever `object`, whose signal state has changed, lets pass.
///
/// # Safety
/// The object is initialised; the lock is held.
pub(crate) unsafe fn test(held: &mut Held, object: *mut DISPATCHER_HEADER, increment: i32) {
    // SAFETY: the caller's promise: the entries of its list are wait blocks of waiting threads, and those threads are alive.
    unsafe {
        let head: *mut LIST_ENTRY = &raw mut (*object).WaitListHead;
        let mut entry = (*head).Flink;
        while (*object).SignalState > 0 && entry != head {
            let block = entry.cast::<KWAIT_BLOCK>();
            let thread = (*block).Thread.cast::<Thread>();
            let status = if i32::from((*block).WaitType) == WAIT_ANY {
                let abandoned = pass(object, thread);
                Some(NTSTATUS(i32::from((*block).WaitKey) + if abandoned { ABANDONED } else { 0 }))
            } else {
                pass_all(thread)
            };
            match status {
                Some(status) => {
                    end(held, thread, status, increment);
                    // The thread may have had other blocks in this list.
                    entry = (*head).Flink;
                }
                None => entry = (*entry).Flink,
            }
        }
    }
}

/// Lets a thread that waits for all of its objects pass, if all are signalled.
unsafe fn pass_all(thread: *mut Thread) -> Option<NTSTATUS> {
    // SAFETY: as for `test`.
    unsafe {
        let wait = &raw mut (*thread).wait;
        let objects = || (0..(*wait).count).map(|index| (*(*wait).blocks.add(index)).Object.cast::<DISPATCHER_HEADER>());
        if !objects().all(|object| is_signalled(object, thread)) {
            return None;
        }
        let abandoned = objects().fold(false, |abandoned, object| pass(object, thread) | abandoned);
        Some(NTSTATUS(if abandoned { ABANDONED } else { 0 }))
    }
}

#[allow(missing_docs, reason = "the DDI documentation's")]
mod exported {
    use super::*;

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeWaitForSingleObject(
        Object: *mut c_void,
        _WaitReason: i32,
        WaitMode: i8,
        Alertable: BOOLEAN,
        Timeout: *mut i64,
    ) -> NTSTATUS {
        // SAFETY: the caller's promise: an object with a dispatcher header, and null or a time.
        unsafe {
            wait(&Request {
                objects: &[Object],
                all: false,
                mode: WaitMode,
                alertable: Alertable != 0,
                timeout: Timeout.as_ref().copied(),
                blocks: null_mut(),
            })
        }
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeWaitForMultipleObjects(
        Count: u32,
        Object: *mut *mut c_void,
        WaitType: i32,
        _WaitReason: i32,
        WaitMode: i8,
        Alertable: BOOLEAN,
        Timeout: *mut i64,
        WaitBlockArray: *mut KWAIT_BLOCK,
    ) -> NTSTATUS {
        if Count as usize > MAXIMUM_WAIT_OBJECTS {
            bug_check(bug_check::MAXIMUM_WAIT_OBJECTS_EXCEEDED, [u64::from(Count), 0, 0, 0]);
        }
        // SAFETY: the caller's promise: `Count` objects, null or as many wait blocks, and null or a time.
        unsafe {
            wait(&Request {
                objects: core::slice::from_raw_parts(Object, Count as usize),
                all: WaitType == WAIT_ALL,
                mode: WaitMode,
                alertable: Alertable != 0,
                timeout: Timeout.as_ref().copied(),
                blocks: WaitBlockArray,
            })
        }
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeDelayExecutionThread(WaitMode: i8, Alertable: BOOLEAN, Interval: *mut i64) -> NTSTATUS {
        irql::at_most(APC_LEVEL);
        // SAFETY: the caller's promise: a time.
        let interval = unsafe { *Interval };
        // SAFETY: no objects, so nothing that has to stay.
        let status = unsafe {
            wait(&Request {
                objects: &[],
                all: false,
                mode: WaitMode,
                alertable: Alertable != 0,
                timeout: Some(interval),
                blocks: null_mut(),
            })
        };
        if status != NTSTATUS::TIMEOUT {
            return status;
        }
        if interval == 0 {
            super::super::yield_now();
        }
        NTSTATUS::SUCCESS
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeAlertThread(Thread: *mut c_void, AlertMode: i8) -> BOOLEAN {
        let thread = Thread.cast::<Thread>();
        let mut held = Held::take();
        // SAFETY: the caller's promise: a thread object; the lock is held.
        unsafe {
            let was = (*thread).alerted[AlertMode as usize & 1].swap(true, Ordering::Relaxed);
            let wait = &(*thread).wait;
            if (*thread).state == State::Waiting && wait.alertable && AlertMode <= wait.mode {
                (*thread).alerted[AlertMode as usize & 1].store(false, Ordering::Relaxed);
                end(&mut held, thread, NTSTATUS::ALERTED, 2);
            }
            BOOLEAN::from(was)
        }
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeTestAlertThread(AlertMode: i8) -> BOOLEAN {
        let thread = thread::current();
        let _held = Held::take();
        // SAFETY: the running thread; the lock is held.
        unsafe {
            let was = (*thread).alerted[AlertMode as usize & 1].swap(false, Ordering::Relaxed);
            if !was && AlertMode == USER_MODE {
                (*thread).apcs.make_user_apc_pending();
            }
            BOOLEAN::from(was)
        }
    }
}
pub use exported::*;

const _: () = assert!(OWN_BLOCKS == 3 && WAIT_BLOCKS == 4);
