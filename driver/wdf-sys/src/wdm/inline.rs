//! What C drivers get from headers as inline functions: stack locations, list entries, unicode strings.

use crate::wdm::constants::*;
use crate::wdm::*;

impl IO_STATUS_BLOCK {
    /// A status and the bytes it speaks of.
    #[must_use]
    pub const fn new(status: crate::NTSTATUS, information: usize) -> Self {
        let mut block = Self::zeroed();
        block.u.Status = status;
        block.Information = information;
        block
    }

    /// The status in it.
    pub const fn status(&self) -> crate::NTSTATUS {
        // SAFETY: both members of the union are plain integers; the status is the low half of either.
        unsafe { self.u.Status }
    }
}

impl UNICODE_STRING {
    /// A string over UTF-16 that lives elsewhere. `None` when it is longer than a counted string can be.
    #[must_use]
    pub const fn new(units: &[u16]) -> Option<Self> {
        if units.len() > (u16::MAX / 2) as usize {
            return None;
        }
        let bytes = (units.len() * 2) as u16;
        Some(Self { Length: bytes, MaximumLength: bytes, Buffer: units.as_ptr().cast_mut() })
    }

    /// The units in it.
    ///
    /// # Safety
    /// `Buffer` is null with `Length` 0, or points to `Length` readable bytes that outlive the slice.
    #[must_use]
    pub const unsafe fn units<'a>(&self) -> &'a [u16] {
        if self.Buffer.is_null() {
            return &[];
        }
        // SAFETY: the caller's promise.
        unsafe { core::slice::from_raw_parts(self.Buffer, (self.Length / 2) as usize) }
    }
}

/// `IoGetCurrentIrpStackLocation`.
///
/// # Safety
/// `irp` is a valid IRP with a current stack location.
#[inline]
#[must_use]
pub const unsafe fn current_stack_location(irp: *const IRP) -> *mut IO_STACK_LOCATION {
    // SAFETY: the caller's promise.
    unsafe { (*irp).Tail.Overlay.CurrentStackLocation }
}

/// `IoGetNextIrpStackLocation`.
///
/// # Safety
/// As [`current_stack_location`], with one more location below.
#[inline]
#[must_use]
pub const unsafe fn next_stack_location(irp: *const IRP) -> *mut IO_STACK_LOCATION {
    // SAFETY: the caller's promise.
    unsafe { (*irp).Tail.Overlay.CurrentStackLocation.sub(1) }
}

/// `IoSkipCurrentIrpStackLocation`.
///
/// # Safety
/// As [`current_stack_location`]; the next call is `IofCallDriver`.
#[inline]
pub const unsafe fn skip_current_stack_location(irp: *mut IRP) {
    // SAFETY: the caller's promise.
    unsafe {
        (*irp).CurrentLocation += 1;
        (*irp).Tail.Overlay.CurrentStackLocation = (*irp).Tail.Overlay.CurrentStackLocation.add(1);
    }
}

/// `IoCopyCurrentIrpStackLocationToNext`.
///
/// # Safety
/// As [`next_stack_location`].
#[inline]
pub const unsafe fn copy_current_stack_location_to_next(irp: *mut IRP) {
    // SAFETY: the caller's promise; the two locations are different elements of one array.
    unsafe {
        let mut copy = *current_stack_location(irp);
        copy.Control = 0;
        copy.CompletionRoutine = None;
        copy.Context = core::ptr::null_mut();
        *next_stack_location(irp) = copy;
    }
}

/// `IoSetCompletionRoutine`, called on success, error and cancel.
///
/// # Safety
/// As [`next_stack_location`]; `routine` and `context` stay valid until the IRP has completed.
#[inline]
pub const unsafe fn set_completion_routine(irp: *mut IRP, routine: PIO_COMPLETION_ROUTINE, context: *mut core::ffi::c_void) {
    // SAFETY: the caller's promise.
    unsafe {
        let next = next_stack_location(irp);
        (*next).CompletionRoutine = routine;
        (*next).Context = context;
        (*next).Control = SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL;
    }
}

/// `IoMarkIrpPending`.
///
/// # Safety
/// As [`current_stack_location`].
#[inline]
pub const unsafe fn mark_irp_pending(irp: *mut IRP) {
    // SAFETY: the caller's promise.
    unsafe { (*current_stack_location(irp)).Control |= SL_PENDING_RETURNED };
}

/// `InitializeListHead`.
///
/// # Safety
/// `head` is valid and stays where it is.
#[inline]
pub const unsafe fn initialize_list_head(head: *mut LIST_ENTRY) {
    // SAFETY: the caller's promise.
    unsafe {
        (*head).Flink = head;
        (*head).Blink = head;
    }
}

/// `IsListEmpty`.
///
/// # Safety
/// `head` is an initialised list head.
#[inline]
#[must_use]
pub unsafe fn is_list_empty(head: *const LIST_ENTRY) -> bool {
    // SAFETY: the caller's promise.
    unsafe { core::ptr::eq((*head).Flink, head) }
}

/// `InsertTailList`.
///
/// # Safety
/// `head` is an initialised list head, `entry` valid and in no list.
#[inline]
pub const unsafe fn insert_tail_list(head: *mut LIST_ENTRY, entry: *mut LIST_ENTRY) {
    // SAFETY: the caller's promise.
    unsafe {
        let last = (*head).Blink;
        (*entry).Flink = head;
        (*entry).Blink = last;
        (*last).Flink = entry;
        (*head).Blink = entry;
    }
}

/// `InsertHeadList`.
///
/// # Safety
/// As [`insert_tail_list`].
#[inline]
pub const unsafe fn insert_head_list(head: *mut LIST_ENTRY, entry: *mut LIST_ENTRY) {
    // SAFETY: the caller's promise.
    unsafe {
        let first = (*head).Flink;
        (*entry).Flink = first;
        (*entry).Blink = head;
        (*first).Blink = entry;
        (*head).Flink = entry;
    }
}

/// `RemoveEntryList`; the entry is left pointing at itself, so that removing it twice harms nothing. Returns whether the list is now
/// empty.
///
/// # Safety
/// `entry` is in a list, or points at itself.
#[inline]
pub unsafe fn remove_entry_list(entry: *mut LIST_ENTRY) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let (next, previous) = ((*entry).Flink, (*entry).Blink);
        (*previous).Flink = next;
        (*next).Blink = previous;
        initialize_list_head(entry);
        core::ptr::eq(next, previous)
    }
}
