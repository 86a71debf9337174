//! `PsActiveProcessHead`: the processes as debuggers find them in memory.

use core::cell::UnsafeCell;

use kd::data::ListEntry;

use super::Process;
use crate::lock::InterruptLock;

/// A place in the list, inside a process.
pub(super) struct Links(UnsafeCell<ListEntry>);

// SAFETY: changed with the lock held; who reads without it is a debugger, which expects anything.
unsafe impl Sync for Links {}

static HEAD: Links = Links::new();
static LOCK: InterruptLock<()> = InterruptLock::new(());

impl Links {
    /// In no list.
    pub(super) const fn new() -> Self {
        Self(UnsafeCell::new(ListEntry { next: 0, previous: 0 }))
    }

    fn address(&self) -> u64 {
        self.0.get().expose_provenance() as u64
    }

    /// Joins the list at its end. The process stays where it is from now on, and leaves before it goes.
    pub(super) fn join(&self) {
        let head = head();
        let _held = LOCK.lock();
        // SAFETY: the lock is held; head and last entry are alive, as every entry leaves before it goes.
        unsafe {
            let last = (*at(head)).previous;
            *self.0.get() = ListEntry { next: head, previous: last };
            (*at(last)).next = self.address();
            (*at(head)).previous = self.address();
        }
    }

    /// Leaves the list, if it is in it.
    pub(super) fn leave(&self) {
        let _held = LOCK.lock();
        // SAFETY: as above.
        unsafe {
            let ListEntry { next, previous } = *self.0.get();
            if next != 0 {
                (*at(previous)).next = next;
                (*at(next)).previous = previous;
            }
            *self.0.get() = ListEntry::default();
        }
    }
}

/// The first process that `pick` makes something of. It is called with the list locked, for each process whose body has not been dropped.
pub(super) fn find<R>(mut pick: impl FnMut(*const Process) -> Option<R>) -> Option<R> {
    let head = head();
    let _held = LOCK.lock();
    // SAFETY: the lock is held; every entry leaves before its process goes, and lies in it.
    unsafe {
        let mut entry = (*at(head)).next;
        while entry != head {
            let process = at(entry).byte_sub(core::mem::offset_of!(Process, links)).cast::<Process>();
            if let Some(picked) = pick(process) {
                return Some(picked);
            }
            entry = (*at(entry)).next;
        }
    }
    None
}

fn at(address: u64) -> *mut ListEntry {
    core::ptr::with_exposed_provenance_mut(address as usize)
}

/// Address of the list's head.
pub(crate) fn head() -> u64 {
    let _held = LOCK.lock_by_force();
    // SAFETY: the lock is held, or everything else stands still.
    let head = unsafe { &mut *HEAD.0.get() };
    if head.next == 0 {
        *head = ListEntry { next: HEAD.address(), previous: HEAD.address() };
    }
    HEAD.address()
}
