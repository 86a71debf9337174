//! Lists that the kernel guards for drivers: doubly linked ones with a spin lock, and sequenced singly linked ones (`SLIST_HEADER`).
//!
//! All of it works at any IRQL: the locks are taken with interrupts masked.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::{LIST_ENTRY, insert_head_list, insert_tail_list, is_list_empty, remove_entry_list};

use crate::dispatcher::spin_lock;
use crate::hal;
use crate::lock::InterruptLock;

/// Runs `body` with a driver's lock held and interrupts masked.
///
/// # Safety
/// `lock` points to an initialised spin lock.
pub(crate) unsafe fn locked<R>(lock: *mut usize, body: impl FnOnce() -> R) -> R {
    let interrupts = hal().disable_interrupts();
    // SAFETY: the caller's promise.
    let result = unsafe {
        spin_lock::take(lock);
        let result = body();
        spin_lock::release(lock);
        result
    };
    hal().restore_interrupts(interrupts);
    result
}

/// The entry, unless the list was empty.
///
/// # Safety
/// `head` is initialised; its lock is held.
unsafe fn first(head: *mut LIST_ENTRY) -> Option<*mut LIST_ENTRY> {
    // SAFETY: the caller's promise.
    unsafe { (!is_list_empty(head)).then(|| (*head).Flink) }
}

/// Returns the entry that was first before, null if there was none.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExInterlockedInsertHeadList(
    ListHead: *mut LIST_ENTRY,
    ListEntry: *mut LIST_ENTRY,
    Lock: *mut usize,
) -> *mut LIST_ENTRY {
    // SAFETY: the caller's promise: an initialised head and lock, an entry in no list.
    unsafe {
        locked(Lock, || {
            let before = first(ListHead).unwrap_or(null_mut());
            insert_head_list(ListHead, ListEntry);
            before
        })
    }
}

/// Returns the entry that was last before, null if there was none.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExInterlockedInsertTailList(
    ListHead: *mut LIST_ENTRY,
    ListEntry: *mut LIST_ENTRY,
    Lock: *mut usize,
) -> *mut LIST_ENTRY {
    // SAFETY: as above.
    unsafe {
        locked(Lock, || {
            let before = first(ListHead).map_or(null_mut(), |_| (*ListHead).Blink);
            insert_tail_list(ListHead, ListEntry);
            before
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExInterlockedRemoveHeadList(ListHead: *mut LIST_ENTRY, Lock: *mut usize) -> *mut LIST_ENTRY {
    // SAFETY: the caller's promise: an initialised head and lock.
    unsafe {
        locked(Lock, || {
            let entry = first(ListHead).unwrap_or(null_mut());
            if !entry.is_null() {
                remove_entry_list(entry);
            }
            entry
        })
    }
}

/// `SLIST_HEADER` of x64: depth and sequence in the first word, the first entry's address above four bits in the second. Drivers look at
/// the depth; the rest is the kernel's.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct SListHeader {
    depth_and_sequence: u64,
    next: u64,
}

/// `SLIST_ENTRY`.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct SListEntry {
    next: *mut SListEntry,
}

/// What the low bits of the second word say: a header of sixteen bytes.
const SIXTEEN_BYTES: u64 = 1;
const ADDRESS: u64 = !0xf;

/// One lock for all of these lists: their operations are a few instructions long.
static LISTS: InterruptLock<()> = InterruptLock::new(());

impl SListHeader {
    fn first(&self) -> *mut SListEntry {
        core::ptr::with_exposed_provenance_mut((self.next & ADDRESS) as usize)
    }

    fn set_first(&mut self, entry: *mut SListEntry, depth: u16) {
        let sequence = (self.depth_and_sequence >> 16).wrapping_add(1);
        self.depth_and_sequence = sequence << 16 | u64::from(depth);
        self.next = entry.expose_provenance() as u64 | SIXTEEN_BYTES;
    }

    fn depth(&self) -> u16 {
        self.depth_and_sequence as u16
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn InitializeSListHead(SListHead: *mut SListHeader) {
    // SAFETY: the caller's promise: a place for a header.
    unsafe { SListHead.write(SListHeader { depth_and_sequence: 0, next: 0 }) };
}

/// Returns the entry that was first before.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExpInterlockedPushEntrySList(ListHead: *mut c_void, ListEntry: *mut c_void) -> *mut c_void {
    let _guard = LISTS.lock();
    // SAFETY: the caller's promise: an initialised header, an entry in no list.
    unsafe {
        let (head, entry) = (&mut *ListHead.cast::<SListHeader>(), ListEntry.cast::<SListEntry>());
        let before = head.first();
        (*entry).next = before;
        head.set_first(entry, head.depth().wrapping_add(1));
        before.cast()
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExpInterlockedPopEntrySList(ListHead: *mut c_void) -> *mut c_void {
    let _guard = LISTS.lock();
    // SAFETY: the caller's promise: an initialised header whose entries are alive.
    unsafe {
        let head = &mut *ListHead.cast::<SListHeader>();
        let entry = head.first();
        if !entry.is_null() {
            head.set_first((*entry).next, head.depth().wrapping_sub(1));
        }
        entry.cast()
    }
}

/// Takes all entries, still linked.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExpInterlockedFlushSList(ListHead: *mut c_void) -> *mut c_void {
    let _guard = LISTS.lock();
    // SAFETY: the caller's promise: an initialised header.
    unsafe {
        let head = &mut *ListHead.cast::<SListHeader>();
        let entry = head.first();
        head.set_first(null_mut(), 0);
        entry.cast()
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExQueryDepthSList(SListHead: *mut SListHeader) -> u16 {
    let _guard = LISTS.lock();
    // SAFETY: the caller's promise: an initialised header.
    unsafe { (*SListHead).depth() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim;
    use wdf_sys::wdm::initialize_list_head;

    #[test]
    fn guarded_lists_keep_order_at_both_ends() {
        sim::run(|_| {
            let mut lock = 0;
            let mut entries = [LIST_ENTRY::zeroed(); 4];
            let [head, a, b, c] = entries.each_mut().map(core::ptr::from_mut);
            // SAFETY: entries that stay, in one list at most.
            unsafe {
                initialize_list_head(head);
                assert!(ExInterlockedRemoveHeadList(head, &mut lock).is_null());
                assert!(ExInterlockedInsertTailList(head, a, &mut lock).is_null());
                assert_eq!(ExInterlockedInsertTailList(head, b, &mut lock), a, "the last before");
                assert_eq!(ExInterlockedInsertHeadList(head, c, &mut lock), a, "the first before");
                for entry in [c, a, b] {
                    assert_eq!(ExInterlockedRemoveHeadList(head, &mut lock), entry);
                }
            }
        });
    }

    #[test]
    fn a_sequenced_list_is_a_stack_that_knows_its_depth() {
        sim::run(|_| {
            let mut head = SListHeader { depth_and_sequence: 9, next: 9 };
            let mut entries = [const { SListEntry { next: null_mut() } }; 2];
            let [a, b] = entries.each_mut().map(|entry| core::ptr::from_mut(entry).cast::<c_void>());
            let header = &raw mut head;
            // SAFETY: entries that stay, in one list at most.
            unsafe {
                InitializeSListHead(header);
                assert!(ExpInterlockedPopEntrySList(header.cast()).is_null());
                assert!(ExpInterlockedPushEntrySList(header.cast(), a).is_null());
                assert_eq!(ExpInterlockedPushEntrySList(header.cast(), b), a);
                assert_eq!(ExQueryDepthSList(header), 2);
                assert_eq!(ExpInterlockedPopEntrySList(header.cast()), b);
                assert_eq!(ExpInterlockedFlushSList(header.cast()), a);
                assert_eq!(ExQueryDepthSList(header), 0);
            }
        });
    }
}
