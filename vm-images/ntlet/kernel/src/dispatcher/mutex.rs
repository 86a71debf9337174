//! Mutexes: owned by a thread, which may take one again as often as it likes. Kernel APCs stay away from an owner.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ptr::null_mut;

use wdf_sys::wdm::constants::bug_check;
use wdf_sys::wdm::{KMUTANT, initialize_list_head, insert_tail_list, remove_entry_list};
use wdf_sys::{BOOLEAN, NTSTATUS};

use super::thread::{self, Thread};
use super::wait::{self, kind};
use super::{Held, irql};
use crate::bug_check::bug_check;
use crate::exception::raise::OrRaise;
use crate::hal::DISPATCH_LEVEL;

/// Who owns it; null for nobody.
///
/// # Safety
/// The mutex is initialised.
pub(super) unsafe fn owner(mutex: *mut KMUTANT) -> *mut Thread {
    // SAFETY: the caller's promise.
    unsafe { (*mutex).OwnerThread.cast() }
}

/// Gives the mutex to `thread`, once more or for the first time. Whether it was abandoned.
///
/// # Safety
/// The mutex is free or the thread's own; the lock is held.
pub(super) unsafe fn pass(mutex: *mut KMUTANT, thread: *mut Thread) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        if (*mutex).Header.SignalState == i32::MIN {
            bug_check(bug_check::THREAD_NOT_MUTEX_OWNER, [thread.addr() as u64, 0, mutex.addr() as u64, 0]);
        }
        (*mutex).Header.SignalState -= 1;
        if (*mutex).Header.SignalState != 0 {
            return false;
        }
        (*mutex).OwnerThread = thread.cast();
        (*thread).apcs.disable_kernel_apcs(i32::from((*mutex).ApcDisable));
        insert_tail_list(&raw mut (*thread).mutexes, &raw mut (*mutex).MutantListEntry);
        core::mem::take(&mut (*mutex).Abandoned) != 0
    }
}

/// Releases a mutex that the current thread owns; returns the state before, which is 0 when nobody owns it afterwards.
///
/// # Errors
/// `MUTANT_NOT_OWNED`.
///
/// # Safety
/// The mutex is initialised.
pub(crate) unsafe fn release(mutex: *mut KMUTANT, increment: i32) -> Result<i32, NTSTATUS> {
    let thread = thread::current();
    let mut held = Held::take();
    // SAFETY: the caller's promise; the lock is held.
    let (before, apc_disable) = unsafe {
        if owner(mutex) != thread {
            return Err(NTSTATUS::MUTANT_NOT_OWNED);
        }
        let before = (*mutex).Header.SignalState;
        (*mutex).Header.SignalState = before + 1;
        if before != 0 {
            return Ok(before);
        }
        (*mutex).OwnerThread = null_mut();
        remove_entry_list(&raw mut (*mutex).MutantListEntry);
        wait::test(&mut held, &raw mut (*mutex).Header, increment);
        (before, i32::from((*mutex).ApcDisable))
    };
    drop(held);
    // SAFETY: the running thread is alive.
    unsafe { (*thread).apcs.enable_kernel_apcs(apc_disable) };
    Ok(before)
}

/// `Level` has had no meaning for long.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInitializeMutex(Mutex: *mut KMUTANT, _Level: u32) {
    // SAFETY: the caller's promise: a place for a mutex.
    unsafe {
        Mutex.write(KMUTANT::zeroed());
        (*Mutex).Header.Type = kind::MUTANT;
        (*Mutex).Header.Size = (size_of::<KMUTANT>() / 4) as u8;
        (*Mutex).Header.SignalState = 1;
        (*Mutex).ApcDisable = 1;
        initialize_list_head(&raw mut (*Mutex).Header.WaitListHead);
        initialize_list_head(&raw mut (*Mutex).MutantListEntry);
    }
}

// By a thread that does not own it: raises `STATUS_MUTANT_NOT_OWNED`.
crate::raising!(KeReleaseMutex(Mutex: *mut KMUTANT, Wait: BOOLEAN) -> i32 => release_or_raise);

unsafe extern "win64" fn release_or_raise(mutex: *mut KMUTANT, _wait: BOOLEAN) -> OrRaise {
    const MUTEX_INCREMENT: i32 = 1;
    irql::at_most(DISPATCH_LEVEL);
    // SAFETY: the caller's promise: an initialised mutex.
    unsafe { release(mutex, MUTEX_INCREMENT) }.into()
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeReadStateMutex(Mutex: *mut KMUTANT) -> i32 {
    // SAFETY: the caller's promise: an initialised mutex.
    unsafe { (&raw const (*Mutex).Header.SignalState).read_volatile() }
}
