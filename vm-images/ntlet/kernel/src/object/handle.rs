//! Handle tables: one a process, and one for kernel handles.

use alloc::vec::Vec;

use wdf_sys::{HANDLE, NTSTATUS};

use super::ObjectRef;
use crate::lock::SpinLock;

/// Most handles in one table.
const MAX_HANDLES: usize = 1 << 16;
/// Set in handles of the kernel's own table.
const KERNEL_BIT: usize = 0xffff_ffff_8000_0000;

/// What a handle stands for.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The object.
    pub(crate) object: ObjectRef,
    /// Access that was granted.
    pub(crate) access: u32,
}

#[derive(Debug)]
struct Slots {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
}

/// A table of handles.
#[derive(Debug)]
pub(crate) struct HandleTable {
    slots: SpinLock<Slots>,
    is_kernel: bool,
}

impl HandleTable {
    /// An empty table.
    pub(crate) const fn new(is_kernel: bool) -> Self {
        Self { slots: SpinLock::new(Slots { entries: Vec::new(), free: Vec::new() }), is_kernel }
    }

    /// Opens a handle.
    pub(crate) fn insert(&self, object: ObjectRef, access: u32) -> Result<HANDLE, NTSTATUS> {
        object.handle_opened();
        let entry = Entry { object, access };
        let mut slots = self.slots.lock();
        let index = if let Some(index) = slots.free.pop() {
            slots.entries[index as usize] = Some(entry);
            index as usize
        } else if slots.entries.len() < MAX_HANDLES {
            slots.entries.push(Some(entry));
            slots.entries.len() - 1
        } else {
            drop(slots);
            entry.object.handle_closed();
            return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
        };
        let value = (index + 1) << 2;
        Ok(core::ptr::without_provenance_mut(if self.is_kernel { value | KERNEL_BIT } else { value }))
    }

    /// The slot a handle names. The low two bits are the caller's to use.
    fn index(&self, handle: HANDLE) -> Option<usize> {
        let value = handle.addr();
        let value = if self.is_kernel { value & !KERNEL_BIT } else { value };
        (value >> 2).checked_sub(1).filter(|&index| index < MAX_HANDLES)
    }

    /// What a handle stands for.
    pub(crate) fn get(&self, handle: HANDLE) -> Result<Entry, NTSTATUS> {
        let index = self.index(handle).ok_or(NTSTATUS::INVALID_HANDLE)?;
        self.slots.lock().entries.get(index).cloned().flatten().ok_or(NTSTATUS::INVALID_HANDLE)
    }

    /// Closes a handle.
    pub(crate) fn close(&self, handle: HANDLE) -> Result<(), NTSTATUS> {
        let index = self.index(handle).ok_or(NTSTATUS::INVALID_HANDLE)?;
        let entry = {
            let mut slots = self.slots.lock();
            let entry = slots.entries.get_mut(index).and_then(Option::take).ok_or(NTSTATUS::INVALID_HANDLE)?;
            slots.free.push(index as u32);
            entry
        };
        entry.object.handle_closed();
        Ok(())
    }

    /// Closes every handle, as at the end of a process.
    pub(crate) fn close_all(&self) {
        loop {
            let entry = {
                let mut slots = self.slots.lock();
                slots.free.clear();
                slots.entries.pop()
            };
            match entry {
                Some(Some(entry)) => entry.object.handle_closed(),
                Some(None) => {}
                None => break,
            }
        }
    }
}

/// Handles of the kernel: valid in every process, for kernel mode only.
pub(crate) static KERNEL_HANDLES: HandleTable = HandleTable::new(true);

/// Whether a handle belongs to the kernel's table.
pub(crate) fn is_kernel_handle(handle: HANDLE) -> bool {
    // The pseudo handles of process and thread are the last of all numbers.
    handle.addr() & KERNEL_BIT == KERNEL_BIT && handle.addr() < 0usize.wrapping_sub(0x1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjectType;

    static THING: ObjectType = ObjectType::of::<u32>("Thing");

    fn thing() -> ObjectRef {
        ObjectRef::new(&THING, 1u32).unwrap()
    }

    #[test]
    fn a_closed_handle_is_invalid_until_its_slot_is_given_out_again() {
        let table = HandleTable::new(false);
        let handle = table.insert(thing(), 1).unwrap();
        assert_eq!(handle.addr(), 4);
        table.close(handle).unwrap();
        assert_eq!(table.get(handle).err(), Some(NTSTATUS::INVALID_HANDLE));
        assert_eq!(table.close(handle), Err(NTSTATUS::INVALID_HANDLE));
        assert_eq!(table.insert(thing(), 1).unwrap(), handle);
    }

    #[test]
    fn kernel_handles_are_told_from_others_and_from_pseudo_handles() {
        let table = HandleTable::new(true);
        let handle = table.insert(thing(), 1).unwrap();
        assert!(is_kernel_handle(handle));
        assert!(!is_kernel_handle(core::ptr::without_provenance_mut(usize::MAX)));
        assert!(!is_kernel_handle(core::ptr::without_provenance_mut(8)));
        assert!(table.get(handle).is_ok());
    }

    #[test]
    fn numbers_that_are_no_handles_are_refused() {
        let table = HandleTable::new(false);
        for value in [0, 1, 3, 4, usize::MAX, 0x7fff_ffff] {
            assert!(table.get(core::ptr::without_provenance_mut(value)).is_err());
        }
    }
}
