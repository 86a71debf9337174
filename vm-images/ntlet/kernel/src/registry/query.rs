//! `RtlQueryRegistryValues`: a table of what to read, and where to put it.

use alloc::vec::Vec;
use core::ffi::c_void;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::ExAllocatePool2;
use wdf_sys::wdm::{PRTL_QUERY_REGISTRY_ROUTINE, UNICODE_STRING};

use super::tree::{KeyId, Value};
use super::{REGISTRY, keys, now};
use crate::object::name;

const RELATIVE_MASK: u32 = 0xff;
const RELATIVE_HANDLE: u32 = 0x4000_0000;
pub(super) const RELATIVE_OPTIONAL: u32 = 0x8000_0000;

const QUERY_SUBKEY: u32 = 0x01;
const QUERY_TOPKEY: u32 = 0x02;
const QUERY_REQUIRED: u32 = 0x04;
const QUERY_NOVALUE: u32 = 0x08;
const QUERY_DIRECT: u32 = 0x20;
const QUERY_DELETE: u32 = 0x40;
const QUERY_TYPECHECK: u32 = 0x100;

/// Most entries of a table: one without an end is a driver's mistake.
const MAX_ENTRIES: usize = 256;
const TAG: u32 = u32::from_le_bytes(*b"RegQ");

/// `RTL_QUERY_REGISTRY_TABLE`.
#[repr(C)]
struct Entry {
    routine: PRTL_QUERY_REGISTRY_ROUTINE,
    flags: u32,
    name: *mut u16,
    context: *mut c_void,
    default_type: u32,
    default_data: *mut c_void,
    default_length: u32,
}

const _: () = assert!(size_of::<Entry>() == 56);

/// # Safety
/// As the documentation of RtlQueryRegistryValues demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlQueryRegistryValues(
    RelativeTo: u32,
    Path: *const u16,
    QueryTable: *mut c_void,
    Context: *mut c_void,
    _Environment: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the caller's promise: the table ends with an entry that has neither routine nor name.
    unsafe {
        let top = match base(RelativeTo, Path) {
            Ok(key) => key,
            Err(NTSTATUS::OBJECT_NAME_NOT_FOUND) if RelativeTo & RELATIVE_OPTIONAL != 0 => return NTSTATUS::SUCCESS,
            Err(status) => return status,
        };
        let mut current = top;
        let table: *mut Entry = QueryTable.cast();
        for index in 0..MAX_ENTRIES {
            let entry = &*table.add(index);
            if entry.routine.is_none() && entry.flags & (QUERY_SUBKEY | QUERY_DIRECT) == 0 {
                return NTSTATUS::SUCCESS;
            }
            if entry.flags & QUERY_TOPKEY != 0 {
                current = top;
            }
            let status = if entry.flags & QUERY_SUBKEY != 0 {
                let opened = REGISTRY.lock().open(top, terminated(entry.name));
                match opened {
                    Ok(key) => {
                        current = key;
                        NTSTATUS::SUCCESS
                    }
                    Err(status) => status,
                }
            } else {
                query(current, entry, Context)
            };
            if !status.is_success() {
                return status;
            }
        }
    }
    NTSTATUS::INVALID_PARAMETER
}

/// The key that a query begins at.
///
/// # Safety
/// `path` is a terminated string, or the handle that `relative` announces.
pub(super) unsafe fn base(relative: u32, path: *const u16) -> Result<KeyId, NTSTATUS> {
    if relative & RELATIVE_HANDLE != 0 {
        return keys::key_of(path.cast_mut().cast());
    }
    let prefix = match relative & RELATIVE_MASK {
        0 => "",
        1 => "\\Registry\\Machine\\System\\CurrentControlSet\\Services\\",
        2 => "\\Registry\\Machine\\System\\CurrentControlSet\\Control\\",
        3 => "\\Registry\\Machine\\Software\\Microsoft\\Windows NT\\CurrentVersion\\",
        4 => "\\Registry\\Machine\\Hardware\\DeviceMap\\",
        _ => return Err(NTSTATUS::INVALID_PARAMETER),
    };
    let mut full = name::wide(prefix);
    // SAFETY: the caller's promise.
    full.extend_from_slice(unsafe { terminated(path) });
    let root = name::wide("\\Registry\\");
    let below = if full.len() >= root.len() && name::same(&full[..root.len()], &root) {
        &full[root.len()..]
    } else {
        return Err(NTSTATUS::OBJECT_PATH_SYNTAX_BAD);
    };
    let mut tree = REGISTRY.lock();
    let start = tree.root();
    tree.open(start, below)
}

/// # Safety
/// `text` is null or terminated.
pub(super) unsafe fn terminated<'a>(text: *const u16) -> &'a [u16] {
    if text.is_null() {
        return &[];
    }
    let mut length = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while *text.add(length) != 0 {
            length += 1;
        }
        core::slice::from_raw_parts(text, length)
    }
}

/// One entry that names a value, or all values of a key.
///
/// # Safety
/// The entry is as documented.
unsafe fn query(key: KeyId, entry: &Entry, context: *mut c_void) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe {
        if entry.flags & QUERY_NOVALUE != 0 {
            return invoke(entry, context, None);
        }
        if entry.name.is_null() {
            let values = REGISTRY.lock().key(key).map(|key| key.values.clone()).unwrap_or_default();
            if values.is_empty() && entry.flags & QUERY_REQUIRED != 0 {
                return NTSTATUS::OBJECT_NAME_NOT_FOUND;
            }
            return values
                .iter()
                .map(|value| invoke(entry, context, Some(value)))
                .find(|status| !status.is_success())
                .unwrap_or_default();
        }
        let wanted = terminated(entry.name);
        let found = REGISTRY.lock().value(key, wanted).cloned();
        let value = match found {
            Ok(value) => value,
            Err(_) if entry.flags & QUERY_REQUIRED != 0 => return NTSTATUS::OBJECT_NAME_NOT_FOUND,
            Err(_) => match default(entry, wanted) {
                Some(value) => value,
                None => return NTSTATUS::SUCCESS,
            },
        };
        let status = if entry.flags & QUERY_DIRECT != 0 { deliver(entry, &value) } else { invoke(entry, context, Some(&value)) };
        if status.is_success() && entry.flags & QUERY_DELETE != 0 {
            let _ = REGISTRY.lock().delete_value(key, wanted, now());
        }
        status
    }
}

/// The entry's own value for what is not there.
///
/// # Safety
/// The entry is as documented.
unsafe fn default(entry: &Entry, wanted: &[u16]) -> Option<Value> {
    let kind = entry.default_type & 0xff;
    if kind == REG_NONE || entry.default_data.is_null() {
        return None;
    }
    let is_text = matches!(kind, REG_SZ | REG_EXPAND_SZ);
    // SAFETY: the caller's promise.
    let data = unsafe {
        if entry.default_length == 0 && is_text {
            terminated(entry.default_data.cast()).iter().chain(&[0]).flat_map(|unit| unit.to_le_bytes()).collect()
        } else {
            Vec::from(core::slice::from_raw_parts(entry.default_data.cast::<u8>(), entry.default_length as usize))
        }
    };
    Some(Value { name: wanted.into(), kind, data })
}

/// Calls the entry's routine.
///
/// # Safety
/// The entry is as documented.
unsafe fn invoke(entry: &Entry, context: *mut c_void, value: Option<&Value>) -> NTSTATUS {
    let Some(routine) = entry.routine else { return NTSTATUS::SUCCESS };
    // SAFETY: the caller's promise; name and data live until the routine returns.
    unsafe {
        let Some(value) = value else {
            return routine(core::ptr::null_mut(), REG_NONE, core::ptr::null_mut(), 0, context, entry.context);
        };
        let mut name = value.name.clone();
        name.push(0);
        // Strings of a list are passed one by one.
        if value.kind == REG_MULTI_SZ {
            for text in super::strings_of(&value.data) {
                let mut bytes = super::string_bytes(&text);
                let status =
                    routine(name.as_mut_ptr(), REG_SZ, bytes.as_mut_ptr().cast(), bytes.len() as u32, context, entry.context);
                if !status.is_success() {
                    return status;
                }
            }
            return NTSTATUS::SUCCESS;
        }
        let mut data = value.data.clone();
        routine(name.as_mut_ptr(), value.kind, data.as_mut_ptr().cast(), data.len() as u32, context, entry.context)
    }
}

/// Stores a value where the entry's context points.
///
/// # Safety
/// The entry is as documented: a string for text, else a number or a buffer that begins with its length.
unsafe fn deliver(entry: &Entry, value: &Value) -> NTSTATUS {
    let expected = entry.default_type >> 24;
    if entry.flags & QUERY_TYPECHECK != 0 && expected != value.kind {
        return NTSTATUS::OBJECT_TYPE_MISMATCH;
    }
    // SAFETY: the caller's promise.
    unsafe {
        if matches!(value.kind, REG_SZ | REG_EXPAND_SZ | REG_MULTI_SZ) {
            return deliver_string(entry.context.cast(), value);
        }
        if value.data.len() <= 4 {
            entry.context.cast::<u8>().copy_from(value.data.as_ptr(), value.data.len());
            return NTSTATUS::SUCCESS;
        }
        // A negative length means: data only; a positive one: length and type, then data.
        let room = entry.context.cast::<i32>().read_unaligned();
        let (start, room) = if room < 0 { (0, room.unsigned_abs() as usize) } else { (8, (room as usize).saturating_sub(8)) };
        if value.data.len() > room {
            return NTSTATUS::BUFFER_TOO_SMALL;
        }
        if start == 8 {
            entry.context.cast::<u32>().write_unaligned(value.data.len() as u32);
            entry.context.cast::<u32>().add(1).write_unaligned(value.kind);
        }
        entry.context.cast::<u8>().add(start).copy_from(value.data.as_ptr(), value.data.len());
        NTSTATUS::SUCCESS
    }
}

/// # Safety
/// `string` is a counted string, its buffer null or as large as it says.
unsafe fn deliver_string(string: *mut UNICODE_STRING, value: &Value) -> NTSTATUS {
    let Ok(length) = u16::try_from(value.data.len()) else { return NTSTATUS::BUFFER_TOO_SMALL };
    // SAFETY: the caller's promise.
    unsafe {
        if (*string).Buffer.is_null() {
            let buffer: *mut u16 = ExAllocatePool2(POOL_FLAG_NON_PAGED, usize::from(length).max(2), TAG).cast();
            if buffer.is_null() {
                return NTSTATUS::INSUFFICIENT_RESOURCES;
            }
            (*string).Buffer = buffer;
            (*string).MaximumLength = length;
        } else if (*string).MaximumLength < length {
            return NTSTATUS::BUFFER_TOO_SMALL;
        }
        (*string).Buffer.cast::<u8>().copy_from(value.data.as_ptr(), usize::from(length));
        let ends = value.data.ends_with(&[0, 0]);
        (*string).Length = if ends { length - 2 } else { length };
    }
    NTSTATUS::SUCCESS
}
