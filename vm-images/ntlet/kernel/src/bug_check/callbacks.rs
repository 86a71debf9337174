//! What drivers say about bug checks: raising them, and being called when one happens.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_void};
use core::ptr::null_mut;

use wdf_sys::wdm::{
    KBUGCHECK_REASON_CALLBACK_RECORD, LIST_ENTRY, PKBUGCHECK_CALLBACK_ROUTINE, PKBUGCHECK_REASON_CALLBACK_ROUTINE,
    initialize_list_head, insert_tail_list, remove_entry_list,
};
use wdf_sys::{BOOLEAN, FALSE, GUID, TRUE};

use super::bug_check;
use crate::loader::modules::place;
use crate::lock::InterruptLock;
use crate::log;

/// `KBUGCHECK_CALLBACK_REASON`.
const SECONDARY_DUMP_DATA: i32 = 2;
/// `KBUGCHECK_BUFFER_DUMP_STATE`.
const BUFFER_EMPTY: u8 = 0;
const BUFFER_INSERTED: u8 = 1;
const BUFFER_STARTED: u8 = 2;
const BUFFER_FINISHED: u8 = 3;

/// Room for what one callback adds to a dump.
const SECONDARY_DATA: usize = 4096;
/// Most callbacks that are called: the list may be damaged.
const MOST_CALLED: usize = 64;

/// Callbacks in order of registration. Linked through the drivers' own records; null until the first.
struct List(LIST_ENTRY);

// SAFETY: guarded by the lock around it.
unsafe impl Send for List {}

static REASON_CALLBACKS: InterruptLock<List> = InterruptLock::new(List(LIST_ENTRY::zeroed()));
static CALLBACKS: InterruptLock<List> = InterruptLock::new(List(LIST_ENTRY::zeroed()));

/// `KBUGCHECK_CALLBACK_RECORD`.
#[repr(C)]
pub struct CallbackRecord {
    entry: LIST_ENTRY,
    routine: PKBUGCHECK_CALLBACK_ROUTINE,
    buffer: *mut c_void,
    length: u32,
    component: *mut u8,
    checksum: usize,
    state: u8,
}

/// `KBUGCHECK_SECONDARY_DUMP_DATA`.
#[repr(C)]
struct SecondaryDumpData {
    in_buffer: *mut c_void,
    in_buffer_length: u32,
    maximum_allowed: u32,
    guid: GUID,
    out_buffer: *mut c_void,
    out_buffer_length: u32,
}

impl List {
    fn head(&mut self) -> *mut LIST_ENTRY {
        let head = &raw mut self.0;
        // SAFETY: the head lies in a static and stays where it is.
        unsafe {
            if (*head).Flink.is_null() {
                initialize_list_head(head);
            }
        }
        head
    }

    /// Calls `visit` for every record. For a system that has stopped: records may be damaged, so their number is limited.
    fn for_each(&mut self, mut visit: impl FnMut(*mut LIST_ENTRY)) {
        let head = self.head();
        // SAFETY: the head is initialised.
        let mut entry = unsafe { (*head).Flink };
        for _ in 0..MOST_CALLED {
            if entry == head || !crate::hal().is_mapped(entry.cast(), size_of::<CallbackRecord>(), true) {
                return;
            }
            // SAFETY: mapped, as just asked; read before the callback can change it.
            let next = unsafe { (*entry).Flink };
            visit(entry);
            entry = next;
        }
    }
}

struct SecondaryBuffer(UnsafeCell<[u8; SECONDARY_DATA]>);
// SAFETY: used by the one processor that reports.
unsafe impl Sync for SecondaryBuffer {}
static BUFFER: SecondaryBuffer = SecondaryBuffer(UnsafeCell::new([0; SECONDARY_DATA]));

/// Calls what was registered. Last thing of a report: a callback that faults costs only itself.
pub(super) fn run() {
    REASON_CALLBACKS.lock_by_force().for_each(|entry| {
        let record = entry.cast::<KBUGCHECK_REASON_CALLBACK_RECORD>();
        // SAFETY: registered by a driver, mapped, and the system stands still.
        unsafe {
            let Some(routine) = (*record).CallbackRoutine else { return };
            name((*record).Component, routine as usize);
            let mut data = SecondaryDumpData {
                in_buffer: BUFFER.0.get().cast(),
                in_buffer_length: SECONDARY_DATA as u32,
                maximum_allowed: SECONDARY_DATA as u32,
                guid: GUID::default(),
                out_buffer: null_mut(),
                out_buffer_length: 0,
            };
            (*record).State = BUFFER_STARTED;
            // Other reasons ask for pages of a dump file; there is none.
            if (*record).Reason == SECONDARY_DUMP_DATA {
                let size = size_of::<SecondaryDumpData>() as u32;
                routine((*record).Reason, record, (&raw mut data).cast(), size);
            }
            (*record).State = BUFFER_FINISHED;
        }
    });
    CALLBACKS.lock_by_force().for_each(|entry| {
        let record = entry.cast::<CallbackRecord>();
        // SAFETY: as above.
        unsafe {
            let Some(routine) = (*record).routine else { return };
            name((*record).component, routine as usize);
            (*record).state = BUFFER_STARTED;
            routine((*record).buffer, (*record).length);
            (*record).state = BUFFER_FINISHED;
        }
    });
}

fn name(component: *const u8, routine: usize) {
    const LONGEST: usize = 32;
    let is_readable = !component.is_null() && crate::hal().is_mapped(component.cast(), LONGEST, false);
    // SAFETY: the bytes are mapped, and a terminator is looked for among them only.
    let bytes = if is_readable { unsafe { core::slice::from_raw_parts(component, LONGEST) } } else { &[] };
    let text = CStr::from_bytes_until_nul(bytes).ok().and_then(|text| text.to_str().ok()).unwrap_or("?");
    log::write_by_force(format_args!("bug check callback of {text} at {}", place(routine)));
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeBugCheck(BugCheckCode: u32) -> ! {
    bug_check(BugCheckCode, [0; 4])
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeBugCheckEx(
    BugCheckCode: u32,
    BugCheckParameter1: usize,
    BugCheckParameter2: usize,
    BugCheckParameter3: usize,
    BugCheckParameter4: usize,
) -> ! {
    let parameters = [BugCheckParameter1, BugCheckParameter2, BugCheckParameter3, BugCheckParameter4];
    bug_check(BugCheckCode, parameters.map(|parameter| parameter as u64))
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeRegisterBugCheckReasonCallback(
    CallbackRecord: *mut KBUGCHECK_REASON_CALLBACK_RECORD,
    CallbackRoutine: PKBUGCHECK_REASON_CALLBACK_ROUTINE,
    Reason: i32,
    Component: *const u8,
) -> BOOLEAN {
    let mut list = REASON_CALLBACKS.lock();
    // SAFETY: the caller's promise: a record, initialised as empty, that stays until it is deregistered.
    unsafe {
        if (*CallbackRecord).State != BUFFER_EMPTY {
            return FALSE;
        }
        (*CallbackRecord).CallbackRoutine = CallbackRoutine;
        (*CallbackRecord).Reason = Reason;
        (*CallbackRecord).Component = Component.cast_mut();
        (*CallbackRecord).State = BUFFER_INSERTED;
        insert_tail_list(list.head(), &raw mut (*CallbackRecord).Entry);
    }
    TRUE
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeDeregisterBugCheckReasonCallback(
    CallbackRecord: *mut KBUGCHECK_REASON_CALLBACK_RECORD,
) -> BOOLEAN {
    let _list = REASON_CALLBACKS.lock();
    // SAFETY: the caller's promise: a record that was given to the function above.
    unsafe {
        if (*CallbackRecord).State != BUFFER_INSERTED {
            return FALSE;
        }
        (*CallbackRecord).State = BUFFER_EMPTY;
        remove_entry_list(&raw mut (*CallbackRecord).Entry);
    }
    TRUE
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeRegisterBugCheckCallback(
    Record: *mut CallbackRecord,
    Routine: PKBUGCHECK_CALLBACK_ROUTINE,
    Buffer: *mut c_void,
    Length: u32,
    Component: *mut u8,
) -> BOOLEAN {
    let mut list = CALLBACKS.lock();
    // SAFETY: the caller's promise: a record, initialised as empty, that stays until it is deregistered.
    unsafe {
        if (*Record).state != BUFFER_EMPTY {
            return FALSE;
        }
        ((*Record).routine, (*Record).buffer, (*Record).length) = (Routine, Buffer, Length);
        (*Record).component = Component;
        (*Record).state = BUFFER_INSERTED;
        insert_tail_list(list.head(), &raw mut (*Record).entry);
    }
    TRUE
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeDeregisterBugCheckCallback(Record: *mut CallbackRecord) -> BOOLEAN {
    let _list = CALLBACKS.lock();
    // SAFETY: the caller's promise: a record that was given to the function above.
    unsafe {
        if (*Record).state != BUFFER_INSERTED {
            return FALSE;
        }
        (*Record).state = BUFFER_EMPTY;
        remove_entry_list(&raw mut (*Record).entry);
    }
    TRUE
}
