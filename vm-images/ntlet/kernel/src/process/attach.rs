//! A thread looks into another process's address space for a while: `KeStackAttachProcess` and its kin.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::constants::bug_check;

use super::{Process, SYSTEM};
use crate::dispatcher::thread::{self, Thread};
use crate::hal;
use crate::hal::{AddressSpace, DISPATCH_LEVEL};

/// What `KAPC_STATE` is for: how it was before. The structure of the documentation has 48 bytes.
#[repr(C)]
pub(crate) struct ApcState {
    attached: *mut c_void,
    space: u64,
    reserved: [u64; 4],
}
const _: () = assert!(size_of::<ApcState>() == 48);

/// The current thread's address space is this one from now on, wherever it goes on.
///
/// # Safety
/// The space lives as long as the thread is in it. Null is the thread's own process.
unsafe fn enter(attached: *mut c_void, space: u64) -> ApcState {
    let current = thread::current();
    // SAFETY: the running thread is alive, and these fields are its own. The space is noted before it is loaded, so that a switch in between
    // loads it as well.
    let before = unsafe { Thread::look_into(current, attached, space) };
    if space != 0 {
        hal().load_address_space(AddressSpace(space));
    }
    ApcState { attached: before.0, space: before.1, reserved: [0; 4] }
}

/// # Safety
/// `process` is a process object.
unsafe fn attach(process: *mut c_void) -> ApcState {
    crate::dispatcher::irql::at_most(DISPATCH_LEVEL);
    // SAFETY: the caller's promise; the system's process has no space of its own and changes nothing.
    unsafe {
        let space = (*process.cast::<Process>()).space.machine().0;
        enter(process, space)
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeStackAttachProcess(PROCESS: *mut c_void, ApcState: *mut ApcState) {
    // SAFETY: the caller's promise: a process that it has a reference to, and a place for what was before.
    unsafe { ApcState.write(attach(PROCESS)) };
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeUnstackDetachProcess(ApcState: *mut ApcState) {
    // SAFETY: the caller's promise: what `KeStackAttachProcess` wrote, on the same thread.
    unsafe {
        let before = ApcState.read();
        let _ = enter(before.attached, before.space);
    }
}

/// The thread's own process once more, as before `KeAttachProcess`.
static NOT_ATTACHED: ApcState = ApcState { attached: null_mut(), space: 0, reserved: [0; 4] };

// SAFETY: never changed.
unsafe impl Sync for ApcState {}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeAttachProcess(PROCESS: *mut c_void) {
    // SAFETY: the caller's promise, and the running thread.
    unsafe {
        let current = thread::current();
        if !(*current).attached().is_null() {
            let attached = (*current).attached().addr();
            crate::io::stop(bug_check::INVALID_PROCESS_ATTACH_ATTEMPT, [PROCESS.addr(), attached, 0, 0]);
        }
        let _ = attach(PROCESS);
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeDetachProcess() {
    // SAFETY: the running thread; its own process lives as long as it does.
    unsafe {
        let own = (*thread::current()).process();
        let space = if own.is_null() { NOT_ATTACHED.space } else { (*own.cast::<Process>()).space.machine().0 };
        let _ = enter(NOT_ATTACHED.attached, space);
    }
}

/// Whether this is the system's process.
pub(super) fn is_system(process: *mut c_void) -> bool {
    process == SYSTEM.load(core::sync::atomic::Ordering::Acquire)
}
