//! Device queues: requests in line for a device that works on one at a time (`StartIo`).
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ptr::null_mut;

use wdf_sys::wdm::{
    KDEVICE_QUEUE, KDEVICE_QUEUE_ENTRY, initialize_list_head, insert_tail_list, is_list_empty, remove_entry_list,
};
use wdf_sys::{BOOLEAN, FALSE, TRUE};

use super::spin_lock;
use crate::hal;
use crate::hal::DISPATCH_LEVEL;

/// `KDEVICE_QUEUE::Type`.
const DEVICE_QUEUE_OBJECT: i16 = 20;

/// # Safety
/// The queue is initialised.
unsafe fn locked<R>(queue: *mut KDEVICE_QUEUE, body: impl FnOnce() -> R) -> R {
    let before = super::irql::at_most(DISPATCH_LEVEL);
    hal().set_irql(DISPATCH_LEVEL);
    // SAFETY: the caller's promise.
    let result = unsafe {
        spin_lock::take(&raw mut (*queue).Lock);
        let result = body();
        spin_lock::release(&raw mut (*queue).Lock);
        result
    };
    hal().set_irql(before);
    result
}

/// Takes an entry out, which is first or wherever its list leads.
///
/// # Safety
/// The entry is in a queue whose lock is held.
unsafe fn take(entry: *mut KDEVICE_QUEUE_ENTRY) -> *mut KDEVICE_QUEUE_ENTRY {
    // SAFETY: the caller's promise; the list entry is the first field.
    unsafe {
        remove_entry_list(&raw mut (*entry).DeviceListEntry);
        (*entry).Inserted = FALSE;
    }
    entry
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInitializeDeviceQueue(DeviceQueue: *mut KDEVICE_QUEUE) {
    // SAFETY: the caller's promise: a place for a queue.
    unsafe {
        DeviceQueue.write(KDEVICE_QUEUE::zeroed());
        (*DeviceQueue).Type = DEVICE_QUEUE_OBJECT;
        (*DeviceQueue).Size = size_of::<KDEVICE_QUEUE>() as i16;
        initialize_list_head(&raw mut (*DeviceQueue).DeviceListHead);
    }
}

/// Into the queue, if the device is busy; else the device is busy from now on and the answer is `FALSE`.
///
/// # Safety
/// Queue and entry are initialised; the entry is in no queue.
unsafe fn insert(queue: *mut KDEVICE_QUEUE, entry: *mut KDEVICE_QUEUE_ENTRY, key: Option<u32>) -> BOOLEAN {
    // SAFETY: the caller's promise.
    unsafe {
        locked(queue, || {
            let was_busy = core::mem::replace(&mut (*queue).Busy, TRUE) != FALSE;
            (*entry).Inserted = BOOLEAN::from(was_busy);
            if was_busy {
                let head = &raw mut (*queue).DeviceListHead;
                let mut before = head;
                if let Some(key) = key {
                    (*entry).SortKey = key;
                    before = (*head).Flink;
                    while before != head && (*before.cast::<KDEVICE_QUEUE_ENTRY>()).SortKey <= key {
                        before = (*before).Flink;
                    }
                }
                insert_tail_list(before, &raw mut (*entry).DeviceListEntry);
            }
            BOOLEAN::from(was_busy)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInsertDeviceQueue(
    DeviceQueue: *mut KDEVICE_QUEUE,
    DeviceQueueEntry: *mut KDEVICE_QUEUE_ENTRY,
) -> BOOLEAN {
    // SAFETY: the caller's promise.
    unsafe { insert(DeviceQueue, DeviceQueueEntry, None) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInsertByKeyDeviceQueue(
    DeviceQueue: *mut KDEVICE_QUEUE,
    DeviceQueueEntry: *mut KDEVICE_QUEUE_ENTRY,
    SortKey: u32,
) -> BOOLEAN {
    // SAFETY: the caller's promise.
    unsafe { insert(DeviceQueue, DeviceQueueEntry, Some(SortKey)) }
}

/// The next entry; without one the device is idle.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeRemoveDeviceQueue(DeviceQueue: *mut KDEVICE_QUEUE) -> *mut KDEVICE_QUEUE_ENTRY {
    // SAFETY: the caller's promise: a queue of a busy device.
    unsafe { KeRemoveByKeyDeviceQueue(DeviceQueue, 0) }
}

/// The first entry whose key is not below `SortKey`, or else the first.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeRemoveByKeyDeviceQueue(DeviceQueue: *mut KDEVICE_QUEUE, SortKey: u32) -> *mut KDEVICE_QUEUE_ENTRY {
    // SAFETY: as above.
    unsafe {
        locked(DeviceQueue, || {
            let head = &raw mut (*DeviceQueue).DeviceListHead;
            if is_list_empty(head) {
                (*DeviceQueue).Busy = FALSE;
                return null_mut();
            }
            let mut entry = (*head).Flink;
            while entry != head && (*entry.cast::<KDEVICE_QUEUE_ENTRY>()).SortKey < SortKey {
                entry = (*entry).Flink;
            }
            take(if entry == head { (*head).Flink } else { entry }.cast())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeRemoveEntryDeviceQueue(
    DeviceQueue: *mut KDEVICE_QUEUE,
    DeviceQueueEntry: *mut KDEVICE_QUEUE_ENTRY,
) -> BOOLEAN {
    // SAFETY: the caller's promise: an initialised entry.
    unsafe {
        locked(DeviceQueue, || {
            let was_inserted = (*DeviceQueueEntry).Inserted;
            if was_inserted != FALSE {
                take(DeviceQueueEntry);
            }
            was_inserted
        })
    }
}
