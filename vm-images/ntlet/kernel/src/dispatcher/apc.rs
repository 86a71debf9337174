//! Asynchronous procedure calls: functions that run in a given thread. Kernel ones finish I/O; user ones call a program back.
#![allow(non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use wdf_sys::wdm::constants::{USER_MODE, bug_check};
use wdf_sys::wdm::{KAPC, LIST_ENTRY, initialize_list_head, insert_tail_list, is_list_empty, remove_entry_list};
use wdf_sys::{BOOLEAN, FALSE, NTSTATUS, TRUE};

use super::thread::{self, State, Thread, UserApc};
use super::{Held, wait};
use crate::bug_check::bug_check;
use crate::hal;
use crate::hal::{APC_LEVEL, PASSIVE_LEVEL};

/// `KAPC::Type`.
const APC_OBJECT: u8 = 18;
/// Offset of the list entry in an APC.
const LIST_OFFSET: usize = core::mem::offset_of!(KAPC, ApcListEntry);

/// Called first, in the kernel; may change what the normal routine gets.
pub type KernelRoutine = unsafe extern "win64" fn(
    apc: *mut KAPC,
    normal_routine: *mut *mut c_void,
    normal_context: *mut *mut c_void,
    argument1: *mut *mut c_void,
    argument2: *mut *mut c_void,
);
/// Called instead, when the thread ends first.
pub type RundownRoutine = unsafe extern "win64" fn(apc: *mut KAPC);
/// What the APC is for.
pub type NormalRoutine = unsafe extern "win64" fn(context: *mut c_void, argument1: *mut c_void, argument2: *mut c_void);

/// The APCs of one thread. The lists are guarded by the dispatcher lock, the counts belong to the thread.
pub(crate) struct Apcs {
    kernel: LIST_ENTRY,
    user: LIST_ENTRY,
    /// Critical regions the thread is in.
    kernel_disabled: AtomicI32,
    /// Guarded regions the thread is in.
    all_disabled: AtomicI32,
    in_progress: AtomicBool,
    /// The first user APC is to be delivered at the next return to user mode.
    user_pending: AtomicBool,
    /// The thread ends and takes no more.
    is_closed: AtomicBool,
}

impl Apcs {
    pub(super) fn new() -> Self {
        Self {
            kernel: Default::default(),
            user: Default::default(),
            kernel_disabled: AtomicI32::new(0),
            all_disabled: AtomicI32::new(0),
            in_progress: AtomicBool::new(false),
            user_pending: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Makes the lists, once they are where they stay.
    ///
    /// # Safety
    /// Nobody else uses `apcs` yet.
    pub(super) unsafe fn initialize(apcs: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe {
            initialize_list_head(&raw mut (*apcs).kernel);
            initialize_list_head(&raw mut (*apcs).user);
        }
    }

    /// Whether a kernel APC can be delivered now.
    pub(super) fn has_kernel_apc(&self) -> bool {
        if self.is_kernel_list_empty() || self.are_all_apcs_disabled() {
            return false;
        }
        let first = self.kernel.Flink.wrapping_byte_sub(LIST_OFFSET).cast::<KAPC>();
        // SAFETY: the list is not empty, and whoever asks holds the dispatcher lock or is the thread at APC_LEVEL.
        let is_special = unsafe { (*first).NormalRoutine.is_null() };
        is_special || !(self.are_kernel_apcs_disabled() || self.in_progress.load(Ordering::Relaxed))
    }

    fn is_kernel_list_empty(&self) -> bool {
        // SAFETY: the head is initialised; a change while it is read is seen at the next look.
        unsafe { (&raw const self.kernel.Flink).read_volatile() == (&raw const self.kernel).cast_mut() }
    }

    /// Lets the first user APC be delivered, if there is one.
    pub(super) fn make_user_apc_pending(&self) -> bool {
        // SAFETY: the head is initialised; the caller holds the dispatcher lock.
        let is_empty = unsafe { is_list_empty(&raw const self.user) };
        if !is_empty {
            self.user_pending.store(true, Ordering::Relaxed);
        }
        !is_empty
    }

    pub(super) fn disable_kernel_apcs(&self, count: i32) {
        self.kernel_disabled.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn enable_kernel_apcs(&self, count: i32) {
        if count == 0 {
            return;
        }
        let before = self.kernel_disabled.fetch_sub(count, Ordering::Relaxed);
        self.check(before, count);
        self.deliver_what_waited(before == count);
    }

    pub(super) fn disable_all_apcs(&self) {
        self.all_disabled.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn enable_all_apcs(&self) {
        let before = self.all_disabled.fetch_sub(1, Ordering::Relaxed);
        self.check(before, 1);
        self.deliver_what_waited(before == 1);
    }

    /// Bug check for a region that is left but was not entered.
    fn check(&self, before: i32, count: i32) {
        if before < count {
            bug_check(bug_check::APC_INDEX_MISMATCH, [0, 0, (i64::from(before - count) as u64) & 0xffff, 0]);
        }
    }

    fn deliver_what_waited(&self, is_enabled: bool) {
        if is_enabled && !self.is_kernel_list_empty() {
            hal().request_software_interrupt(hal().current_processor(), APC_LEVEL);
        }
    }

    pub(super) fn are_kernel_apcs_disabled(&self) -> bool {
        self.kernel_disabled.load(Ordering::Relaxed) != 0 || self.are_all_apcs_disabled()
    }

    pub(super) fn are_all_apcs_disabled(&self) -> bool {
        self.all_disabled.load(Ordering::Relaxed) != 0
    }
}

/// What an APC calls, copied from it, because its kernel routine may free it.
struct Call {
    apc: *mut KAPC,
    kernel_routine: *mut c_void,
    normal_routine: *mut c_void,
    normal_context: *mut c_void,
    argument1: *mut c_void,
    argument2: *mut c_void,
}

impl Call {
    /// Takes an APC out of its list.
    ///
    /// # Safety
    /// `entry` is that of an APC in a list; the dispatcher lock is held.
    unsafe fn take(entry: *mut LIST_ENTRY) -> Self {
        let apc = entry.wrapping_byte_sub(LIST_OFFSET).cast::<KAPC>();
        // SAFETY: the caller's promise.
        unsafe {
            remove_entry_list(entry);
            (*apc).Inserted = FALSE;
            Self {
                apc,
                kernel_routine: (*apc).KernelRoutine,
                normal_routine: (*apc).NormalRoutine,
                normal_context: (*apc).NormalContext,
                argument1: (*apc).SystemArgument1,
                argument2: (*apc).SystemArgument2,
            }
        }
    }

    /// Calls the kernel routine, which may change the rest.
    fn call_kernel_routine(&mut self) {
        // SAFETY: whoever initialised the APC gave a routine of this type.
        unsafe {
            let routine: KernelRoutine = core::mem::transmute(self.kernel_routine);
            let (normal, context) = (&raw mut self.normal_routine, &raw mut self.normal_context);
            routine(self.apc, normal, context, &raw mut self.argument1, &raw mut self.argument2);
        }
    }
}

/// The software interrupt at `APC_LEVEL`: delivers the kernel APCs of the current thread.
pub(crate) fn apc_interrupt() {
    let thread = thread::current();
    loop {
        let held = Held::take();
        // SAFETY: the running thread is alive; the lock is held.
        let mut call = unsafe {
            if !(*thread).apcs.has_kernel_apc() {
                return;
            }
            Call::take((*thread).apcs.kernel.Flink)
        };
        drop(held);
        call.call_kernel_routine();
        if call.normal_routine.is_null() {
            continue;
        }
        // SAFETY: the running thread is alive.
        let in_progress = unsafe { &(*thread).apcs.in_progress };
        in_progress.store(true, Ordering::Relaxed);
        hal().set_irql(PASSIVE_LEVEL);
        // SAFETY: whoever initialised the APC, or its kernel routine, gave a routine of this type.
        unsafe {
            let routine: NormalRoutine = core::mem::transmute(call.normal_routine);
            routine(call.normal_context, call.argument1, call.argument2);
        }
        hal().set_irql(APC_LEVEL);
        in_progress.store(false, Ordering::Relaxed);
    }
}

/// Takes the user APC that is due, if any, and runs its kernel routine.
pub(super) fn take_user_apc(thread: *mut Thread) -> Option<UserApc> {
    loop {
        let held = Held::take();
        // SAFETY: the running thread is alive; the lock is held.
        let mut call = unsafe {
            let apcs = &(*thread).apcs;
            if !apcs.user_pending.swap(false, Ordering::Relaxed) || is_list_empty(&raw const apcs.user) {
                return None;
            }
            Call::take(apcs.user.Flink)
        };
        drop(held);
        hal().set_irql(APC_LEVEL);
        call.call_kernel_routine();
        hal().set_irql(PASSIVE_LEVEL);
        if !call.normal_routine.is_null() {
            let [context, argument1, argument2] =
                [call.normal_context, call.argument1, call.argument2].map(|value| value.addr() as u64);
            return Some(UserApc { routine: call.normal_routine.addr() as u64, context, argument1, argument2 });
        }
        // SAFETY: the running thread is alive; the lock guards the list.
        unsafe {
            let _held = Held::take();
            (*thread).apcs.make_user_apc_pending();
        }
    }
}

/// The current thread ends: no further APCs, and those that are queued are given back.
pub(super) fn run_down(thread: *mut Thread) {
    loop {
        let held = Held::take();
        // SAFETY: the running thread is alive; the lock is held.
        let rundown = unsafe {
            let apcs = &(*thread).apcs;
            apcs.is_closed.store(true, Ordering::Relaxed);
            let head = if is_list_empty(&raw const apcs.user) { &apcs.kernel } else { &apcs.user };
            if is_list_empty(head) {
                return;
            }
            let call = Call::take(head.Flink);
            (call.apc, (*call.apc).RundownRoutine)
        };
        drop(held);
        let (apc, routine) = rundown;
        // SAFETY: whoever initialised the APC gave a routine of this type, or allocated the APC from pool.
        unsafe {
            if routine.is_null() {
                crate::pool::ExFreePool(apc.cast());
            } else {
                let routine: RundownRoutine = core::mem::transmute(routine);
                routine(apc);
            }
        }
    }
}

/// Puts a kernel APC where it belongs: special ones, which have no normal routine, before the others.
unsafe fn enqueue_kernel(thread: *mut Thread, apc: *mut KAPC) {
    // SAFETY: the caller's promise: the lock is held, and the APC is in no list.
    unsafe {
        let head = &raw mut (*thread).apcs.kernel;
        let mut before = head;
        if (*apc).NormalRoutine.is_null() {
            before = (*head).Flink;
            while before != head && (*before.wrapping_byte_sub(LIST_OFFSET).cast::<KAPC>()).NormalRoutine.is_null() {
                before = (*before).Flink;
            }
        }
        // Inserting at the tail of any entry puts it before that entry.
        insert_tail_list(before, &raw mut (*apc).ApcListEntry);
    }
}

unsafe fn enqueue(held: &mut Held, thread: *mut Thread, apc: *mut KAPC, increment: i32) {
    // SAFETY: the caller's promise: the lock is held, thread and APC are alive, the APC is in no list.
    unsafe {
        let waits = (*thread).state == State::Waiting;
        if (*apc).ApcMode == USER_MODE {
            insert_tail_list(&raw mut (*thread).apcs.user, &raw mut (*apc).ApcListEntry);
            if waits && (*thread).wait.mode == USER_MODE && (*thread).wait.alertable {
                (*thread).apcs.make_user_apc_pending();
                wait::end(held, thread, NTSTATUS::USER_APC, increment);
            }
            return;
        }
        enqueue_kernel(thread, apc);
        if (*thread).state == State::Running {
            hal().request_software_interrupt((*thread).processor, APC_LEVEL);
        } else if waits && (*thread).wait.takes_kernel_apcs && (*thread).apcs.has_kernel_apc() {
            wait::end(held, thread, wait::KERNEL_APC, increment);
        }
    }
}

#[allow(missing_docs, reason = "the documentation's")]
mod exported {
    use super::*;

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeInitializeApc(
        Apc: *mut KAPC,
        Thread: *mut c_void,
        _Environment: i32,
        KernelRoutine: *mut c_void,
        RundownRoutine: *mut c_void,
        NormalRoutine: *mut c_void,
        ApcMode: i8,
        NormalContext: *mut c_void,
    ) {
        // SAFETY: the caller's promise: a place for an APC.
        unsafe {
            Apc.write(KAPC::zeroed());
            (*Apc).Type = APC_OBJECT;
            (*Apc).Size = size_of::<KAPC>() as u8;
            (*Apc).Thread = Thread;
            (*Apc).KernelRoutine = KernelRoutine;
            (*Apc).RundownRoutine = RundownRoutine;
            (*Apc).NormalRoutine = NormalRoutine;
            (*Apc).ApcMode = if NormalRoutine.is_null() { 0 } else { ApcMode };
            (*Apc).NormalContext = if NormalRoutine.is_null() { null_mut() } else { NormalContext };
        }
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeInsertQueueApc(
        Apc: *mut KAPC,
        SystemArgument1: *mut c_void,
        SystemArgument2: *mut c_void,
        Increment: i32,
    ) -> BOOLEAN {
        let mut held = Held::take();
        // SAFETY: the caller's promise: an initialised APC whose thread is alive; the lock is held.
        unsafe {
            let thread = (*Apc).Thread.cast::<Thread>();
            if (*Apc).Inserted != FALSE || (*thread).apcs.is_closed.load(Ordering::Relaxed) {
                return FALSE;
            }
            (*Apc).Inserted = TRUE;
            (*Apc).SystemArgument1 = SystemArgument1;
            (*Apc).SystemArgument2 = SystemArgument2;
            enqueue(&mut held, thread, Apc, Increment);
        }
        TRUE
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeRemoveQueueApc(Apc: *mut KAPC) -> BOOLEAN {
        let _held = Held::take();
        // SAFETY: the caller's promise: an initialised APC; the lock is held.
        unsafe {
            if (*Apc).Inserted == FALSE {
                return FALSE;
            }
            Call::take(&raw mut (*Apc).ApcListEntry);
        }
        TRUE
    }
}
pub use exported::*;
