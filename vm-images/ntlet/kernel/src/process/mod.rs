//! Programs: a process with its address space, handles and threads, from its file to its end.
//!
//! [`image`] turns a PE file into memory, [`space`] keeps the address space, [`thread`] makes threads; here are the process object
//! and its end.

pub(crate) mod attach;
mod image;
pub(crate) mod list;
pub(crate) mod notify;
pub(crate) mod space;
pub(crate) mod thread;

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering};

use alloc::string::String;
use alloc::vec::Vec;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::KEVENT;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{KeInitializeEvent, KeSetEvent};

use crate::dispatcher::thread::{self as kernel_thread, Thread};
use crate::entry::ExceptionFrame;
use crate::hal::AddressSpace;
use crate::io::cancel;
use crate::lock::SpinLock;
use crate::object::handle::{HandleTable, KERNEL_HANDLES};
use crate::object::{ObjectRef, ObjectType};
pub(crate) use image::start;
use list::Links;
use space::Space;

/// Processes.
pub(crate) static PROCESS: ObjectType = ObjectType::of::<Process>("Process");

/// Body of a process object. The event comes first, so that a process can be waited for: it is set at the end.
#[repr(C)]
pub(crate) struct Process {
    ended: UnsafeCell<KEVENT>,
    id: usize,
    name: String,
    pub(crate) handles: HandleTable,
    pub(crate) space: Space,
    threads: SpinLock<Vec<Member>>,
    exit_status: AtomicI32,
    is_ending: AtomicBool,
    locked_pages: AtomicUsize,
    peb: AtomicUsize,
    exit_stub: AtomicUsize,
    /// Where a thread is sent to run a user APC.
    pub(crate) apc_stub: AtomicUsize,
    links: Links,
}

/// A thread of a process, and the regions that go with it.
struct Member {
    thread: ObjectRef,
    stack: u64,
    teb: u64,
}

// SAFETY: the event is used through the dispatcher's functions only; everything else is atomic or behind locks.
unsafe impl Send for Process {}
// SAFETY: as above.
unsafe impl Sync for Process {}

impl Drop for Process {
    fn drop(&mut self) {
        self.links.leave();
    }
}

/// Process that system threads belong to, `PsInitialSystemProcess`. Made at first use, which is at boot, and never freed.
pub(crate) static SYSTEM: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static NEXT_ID: AtomicUsize = AtomicUsize::new(8);
/// Number of the system process, as on Windows.
const SYSTEM_ID: usize = 4;

impl Process {
    fn create(name: &str, id: usize, space: AddressSpace) -> Result<ObjectRef, NTSTATUS> {
        let process = Self {
            ended: UnsafeCell::new(KEVENT::zeroed()),
            id,
            name: name.into(),
            handles: HandleTable::new(false),
            space: Space::new(space),
            threads: SpinLock::new(Vec::new()),
            exit_status: AtomicI32::new(NTSTATUS::PENDING.0),
            is_ending: AtomicBool::new(false),
            locked_pages: AtomicUsize::new(0),
            peb: AtomicUsize::new(0),
            exit_stub: AtomicUsize::new(0),
            apc_stub: AtomicUsize::new(0),
            links: Links::new(),
        };
        let object = ObjectRef::new(&PROCESS, process)?;
        // SAFETY: the body of the object just made, which stays where it is.
        unsafe { (*object.body().cast::<Self>()).links.join() };
        // SAFETY: nobody else knows the process yet, and its body stays where it is.
        unsafe { KeInitializeEvent(object.body().cast(), NOTIFICATION_EVENT, 0) };
        Ok(object)
    }

    /// Its number.
    pub(crate) fn id(&self) -> usize {
        self.id
    }

    /// What it ended with.
    pub(crate) fn exit_status(&self) -> NTSTATUS {
        NTSTATUS(self.exit_status.load(Ordering::Acquire))
    }

    /// User address of its environment block.
    pub(crate) fn peb(&self) -> usize {
        self.peb.load(Ordering::Acquire)
    }

    /// Whether a driver has pages of it locked.
    pub(crate) fn has_locked_pages(&self) -> bool {
        self.locked_pages.load(Ordering::Acquire) != 0
    }

    /// Its threads that have not ended.
    pub(crate) fn threads(&self) -> Vec<ObjectRef> {
        self.threads.lock().iter().map(|member| member.thread.clone()).collect()
    }

    /// Lets every thread end; the current one goes on until it returns to user mode.
    pub(crate) fn terminate(&self, status: NTSTATUS) {
        if !self.is_ending.swap(true, Ordering::AcqRel) {
            self.exit_status.store(status.0, Ordering::Release);
        }
        for thread in self.threads() {
            // SAFETY: the reference keeps the thread alive.
            unsafe { kernel_thread::terminate(thread.body().cast(), status) };
        }
    }

    /// A thread has ended; with the last one the process does.
    fn thread_ended(&self, thread: *mut Thread) {
        let (gone, is_last) = {
            let mut threads = self.threads.lock();
            let at = threads.iter().position(|known| known.thread.body().cast() == thread);
            (at.map(|at| threads.swap_remove(at)), threads.is_empty())
        };
        let Some(gone) = gone else { return };
        if !is_last {
            // The thread does not go back to user mode: nobody needs its stack any more. A region that a driver has locked stays.
            for region in [gone.stack, gone.teb] {
                let _ = self.space.free(region, 0, true, self.has_locked_pages());
            }
            return;
        }
        if !self.is_ending.swap(true, Ordering::AcqRel) {
            // SAFETY: the thread is the current one.
            self.exit_status.store(unsafe { (*thread).exit_status().0 }, Ordering::Release);
        }
        notify::process_ended(self);
        self.handles.close_all();
        let locked = self.locked_pages.load(Ordering::Acquire);
        if locked != 0 {
            let process: *const Self = self;
            crate::io::stop(bug_check::PROCESS_HAS_LOCKED_PAGES, [0, process.addr(), locked, 0]);
        }
        // SAFETY: the event was initialised at creation.
        unsafe { KeSetEvent(self.ended.get(), 0, 0) };
    }
}

/// The system process.
pub(crate) fn system() -> *mut c_void {
    let known = SYSTEM.load(Ordering::Acquire);
    if !known.is_null() {
        return known;
    }
    let Ok(new) = Process::create("System", SYSTEM_ID, AddressSpace(0)) else {
        crate::io::stop(bug_check::PROCESS_INITIALIZATION_FAILED, [0; 4]);
    };
    let new = new.into_raw();
    match SYSTEM.compare_exchange(null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => new,
        Err(other) => {
            // SAFETY: nobody has seen ours.
            drop(unsafe { ObjectRef::from_owned(new) });
            other
        }
    }
}

/// Process of a thread, as drivers name it.
pub(crate) fn of_thread(thread: *mut c_void) -> *mut c_void {
    let thread: *mut Thread = thread.cast();
    // SAFETY: whoever names a thread keeps it alive.
    let process = if thread.is_null() { null_mut() } else { unsafe { (*thread).process() } };
    if process.is_null() { system() } else { process }
}

/// The current process, as drivers name it: the one that the current thread looks into.
pub(crate) fn current() -> *mut c_void {
    let thread = kernel_thread::current();
    // SAFETY: the running thread is alive.
    let attached = unsafe { (*thread).attached() };
    if attached.is_null() { of_thread(thread.cast()) } else { attached }
}

/// The current process, if it is a program.
pub(crate) fn current_program() -> Option<&'static Process> {
    // SAFETY: the current thread is alive, and keeps its process alive as long as it runs; whoever attaches to another keeps that one.
    unsafe {
        let thread = kernel_thread::current();
        let attached = (*thread).attached();
        if attach::is_system(attached) && !attached.is_null() {
            return None;
        }
        let process = if attached.is_null() { (*thread).process() } else { attached };
        process.cast::<Process>().as_ref()
    }
}

/// Number of a process.
pub(crate) fn id_of(process: *mut c_void) -> u32 {
    // SAFETY: process pointers are those of this file.
    unsafe { (*process.cast::<Process>()).id as u32 }
}

/// The handles of the current process; those of the kernel in system threads.
pub(crate) fn current_handles() -> &'static HandleTable {
    current_program().map_or(&KERNEL_HANDLES, |process| &process.handles)
}

/// Counts locked pages of the current program; the process, for [`unlock_pages`], or null.
pub(crate) fn lock_pages(count: usize) -> *mut c_void {
    let Some(process) = current_program() else { return null_mut() };
    process.locked_pages.fetch_add(count, Ordering::AcqRel);
    (&raw const *process).cast_mut().cast()
}

/// Counts locked pages less.
///
/// # Safety
/// `process` came from [`lock_pages`].
pub(crate) unsafe fn unlock_pages(process: *mut c_void, count: usize) {
    // SAFETY: a process does not go before its last page is unlocked.
    unsafe { (*process.cast::<Process>()).locked_pages.fetch_sub(count, Ordering::AcqRel) };
}

/// Called on every ending thread, in its context.
pub(crate) fn thread_ending(thread: *mut Thread) {
    cancel::run_down(thread.cast());
    notify::thread(thread, false);
    // SAFETY: the current thread is alive.
    let process = unsafe { (*thread).process() };
    if !process.is_null() {
        // SAFETY: a program's threads hold a reference to their process, which is given up last.
        unsafe {
            (*process.cast::<Process>()).thread_ended(thread);
            drop(ObjectRef::from_owned(process));
        }
    }
}

/// Backs the pages of a user range that were committed but not touched yet. `false` when the range cannot be accessed so.
pub(crate) fn fault_in(address: u64, length: usize, is_write: bool) -> bool {
    current_program().is_some_and(|process| process.space.fault_in(address, length, is_write))
}

/// Vector of page faults, and the bits of their error code.
const PAGE_FAULT: u64 = 14;
const FAULT_WRITE: u64 = 2;
const FAULT_EXECUTE: u64 = 16;

/// An exception in user mode: a page that is to be backed, or the end of the process.
pub(crate) fn user_exception(frame: &mut ExceptionFrame, status: NTSTATUS) {
    let Some(process) = current_program() else {
        crate::io::stop(bug_check::SYSTEM_THREAD_EXCEPTION_NOT_HANDLED, [status.bits() as usize, frame.rip as usize, 0, 0]);
    };
    let is_execution = frame.error_code & FAULT_EXECUTE != 0;
    if frame.vector == PAGE_FAULT
        && !is_execution
        && process.space.fault_in(frame.fault_address, 1, frame.error_code & FAULT_WRITE != 0)
    {
        return;
    }
    let (module, offset) =
        process.space.image_offset(frame.rip).map_or(("", frame.rip), |offset| (process.name.as_str(), offset));
    crate::log!(
        "{}: {status} at {module}+{offset:#x} (address {:#x}, stack {:#x})",
        process.name,
        frame.fault_address,
        frame.rsp
    );
    process.terminate(status);
    kernel_thread::before_user_mode();
}
