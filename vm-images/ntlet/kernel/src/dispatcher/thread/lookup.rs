//! Threads by their number.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use alloc::vec::Vec;
use core::ffi::c_void;

use wdf_sys::{HANDLE, NTSTATUS};

use super::Thread;
use crate::lock::SpinLock;
use crate::object::ObjectRef;

/// Every thread whose object has not gone, by its number. Addresses, since the list keeps no thread alive.
static THREADS: SpinLock<Vec<(usize, usize)>> = SpinLock::new(Vec::new());

/// A thread is there.
pub(super) fn join(thread: *mut Thread, id: usize) {
    THREADS.lock().push((id, thread.expose_provenance()));
}

/// Its last reference is gone.
pub(super) fn leave(thread: *mut Thread) {
    THREADS.lock().retain(|(_, address)| *address != thread.addr());
}

/// The thread with a number, with a reference for the caller.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn PsLookupThreadByThreadId(ThreadId: HANDLE, Thread: *mut *mut c_void) -> NTSTATUS {
    let found = {
        let threads = THREADS.lock();
        threads.iter().find(|(id, _)| *id == ThreadId.addr()).and_then(|(_, address)| {
            // SAFETY: what is in the list leaves it before its memory goes; one whose last reference is gone stays gone.
            unsafe { ObjectRef::from_living(core::ptr::with_exposed_provenance_mut(*address)) }
        })
    };
    match found {
        Some(found) => {
            // SAFETY: the caller's promise: a place for the thread.
            unsafe { Thread.write(found.into_raw()) };
            NTSTATUS::SUCCESS
        }
        None => NTSTATUS::INVALID_CID,
    }
}
