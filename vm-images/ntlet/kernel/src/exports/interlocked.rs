//! Interlocked functions with a lock, of before processors had instructions for them.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use crate::lists::locked;

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExInterlockedAddUlong(Addend: *mut u32, Increment: u32, Lock: *mut usize) -> u32 {
    // SAFETY: the caller's promise: a number and its lock.
    unsafe {
        locked(Lock, || {
            let before = *Addend;
            *Addend = before.wrapping_add(Increment);
            before
        })
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExInterlockedAddLargeInteger(Addend: *mut i64, Increment: i64, Lock: *mut usize) -> i64 {
    // SAFETY: the caller's promise: a number and its lock.
    unsafe {
        locked(Lock, || {
            let before = *Addend;
            *Addend = before.wrapping_add(Increment);
            before
        })
    }
}

/// `SINGLE_LIST_ENTRY`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct SingleEntry {
    next: *mut SingleEntry,
}

/// The entry that was first before.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExInterlockedPushEntryList(
    ListHead: *mut SingleEntry,
    ListEntry: *mut SingleEntry,
    Lock: *mut usize,
) -> *mut SingleEntry {
    // SAFETY: the caller's promise: a list, an entry in none, and the list's lock.
    unsafe {
        locked(Lock, || {
            let before = (*ListHead).next;
            (*ListEntry).next = before;
            (*ListHead).next = ListEntry;
            before
        })
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExInterlockedPopEntryList(ListHead: *mut SingleEntry, Lock: *mut usize) -> *mut SingleEntry {
    // SAFETY: the caller's promise: a list and its lock.
    unsafe {
        locked(Lock, || {
            let first = (*ListHead).next;
            if !first.is_null() {
                (*ListHead).next = (*first).next;
            }
            first
        })
    }
}
