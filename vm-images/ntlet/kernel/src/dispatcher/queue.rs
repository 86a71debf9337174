//! Queues (`KQUEUE`): entries that threads wait for. How many threads may work on them at a time is a matter of speed alone, and is not
//! kept to: a thread that has an entry never waits because of others that have one.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ptr::null_mut;

use wdf_sys::wdm::{
    DISPATCHER_HEADER, LIST_ENTRY, initialize_list_head, insert_head_list, insert_tail_list, is_list_empty, remove_entry_list,
};

use super::Held;
use super::wait::{self, Request, kind};
use crate::processors;

/// `KQUEUE`, 64 bytes on x64.
#[repr(C)]
pub struct Queue {
    header: DISPATCHER_HEADER,
    entries: LIST_ENTRY,
    current: u32,
    maximum: u32,
    threads: LIST_ENTRY,
}

const _: () = assert!(size_of::<Queue>() == 64);

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInitializeQueue(Queue: *mut Queue, Count: u32) {
    // SAFETY: the caller's promise: a place for a queue.
    unsafe {
        Queue.cast::<u8>().write_bytes(0, size_of::<self::Queue>());
        (*Queue).header.Type = kind::QUEUE;
        (*Queue).header.Size = (size_of::<self::Queue>() / 4) as u8;
        (*Queue).maximum = if Count == 0 { processors::active().count_ones() } else { Count };
        initialize_list_head(&raw mut (*Queue).header.WaitListHead);
        initialize_list_head(&raw mut (*Queue).entries);
        initialize_list_head(&raw mut (*Queue).threads);
    }
}

/// Puts an entry in; how many there were.
///
/// # Safety
/// The queue is initialised, the entry in no list.
unsafe fn insert(queue: *mut Queue, entry: *mut LIST_ENTRY, at_head: bool) -> i32 {
    let mut held = Held::take();
    // SAFETY: the caller's promise; the lock guards the list.
    unsafe {
        let before = (*queue).header.SignalState;
        if at_head {
            insert_head_list(&raw mut (*queue).entries, entry);
        } else {
            insert_tail_list(&raw mut (*queue).entries, entry);
        }
        (*queue).header.SignalState = before + 1;
        wait::test(&mut held, &raw mut (*queue).header, 0);
        before
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInsertQueue(Queue: *mut Queue, Entry: *mut LIST_ENTRY) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { insert(Queue, Entry, false) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInsertHeadQueue(Queue: *mut Queue, Entry: *mut LIST_ENTRY) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { insert(Queue, Entry, true) }
}

/// The first entry; where there is none in time, the status of the wait in its place.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeRemoveQueue(Queue: *mut Queue, WaitMode: i8, Timeout: *mut i64) -> *mut LIST_ENTRY {
    // SAFETY: the caller's promise: an initialised queue, null or a time.
    unsafe {
        let request = Request {
            objects: &[Queue.cast()],
            all: false,
            mode: WaitMode,
            alertable: false,
            timeout: Timeout.as_ref().copied(),
            blocks: null_mut(),
        };
        let status = wait::wait(&request);
        if status.0 != 0 {
            return core::ptr::without_provenance_mut(status.bits() as usize);
        }
        // Passing the queue has taken one of its entries' signals, so that one of them is this thread's.
        let _held = Held::take();
        let entry = (*Queue).entries.Flink;
        remove_entry_list(entry);
        entry
    }
}

/// The entries that are left, as a ring without a head; null when there are none.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeRundownQueue(Queue: *mut Queue) -> *mut LIST_ENTRY {
    let _held = Held::take();
    // SAFETY: the caller's promise: an initialised queue that nobody waits for; the lock guards the list.
    unsafe {
        let head = &raw mut (*Queue).entries;
        (*Queue).header.SignalState = 0;
        if is_list_empty(head) {
            return null_mut();
        }
        let first = (*head).Flink;
        remove_entry_list(head);
        initialize_list_head(head);
        first
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeReadStateQueue(Queue: *mut Queue) -> i32 {
    // SAFETY: the caller's promise: an initialised queue.
    unsafe { (&raw const (*Queue).header.SignalState).read_volatile() }
}
