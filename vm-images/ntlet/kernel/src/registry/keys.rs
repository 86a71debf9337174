//! Registry keys as objects: `ZwOpenKey` and its kin.

use alloc::vec::Vec;
use core::ffi::c_void;

use wdf_sys::wdm::constants::{KERNEL_MODE, OBJ_KERNEL_HANDLE};
use wdf_sys::wdm::{OBJECT_ATTRIBUTES, UNICODE_STRING};
use wdf_sys::{HANDLE, NTSTATUS};

use super::tree::{KeyId, Tree, Value};
use super::{REGISTRY, now};
use crate::object::exports::{by_handle, open_handle};
use crate::object::name::{self, SEPARATOR};
use crate::object::{ObjectRef, ObjectType};

/// Opened keys.
pub(crate) static KEY: ObjectType = ObjectType::of::<OpenKey>("Key");

/// Body of a key object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenKey(pub(crate) KeyId);

const REG_CREATED_NEW_KEY: u32 = 1;
const REG_OPENED_EXISTING_KEY: u32 = 2;

/// Opens a handle to a key.
pub(crate) fn handle(key: KeyId, access: u32, is_kernel: bool) -> Result<HANDLE, NTSTATUS> {
    open_handle(ObjectRef::new(&KEY, OpenKey(key))?, access, is_kernel)
}

/// The key that a handle stands for.
pub(crate) fn key_of(handle: HANDLE) -> Result<KeyId, NTSTATUS> {
    let entry = by_handle(handle, KERNEL_MODE)?;
    entry.object.get::<OpenKey>(&KEY).map(|key| key.0).ok_or(NTSTATUS::OBJECT_TYPE_MISMATCH)
}

/// Start and rest of the path in object attributes. A full path begins with `\Registry`.
///
/// # Safety
/// `attributes` is valid, or null.
unsafe fn path<'a>(attributes: *mut OBJECT_ATTRIBUTES) -> Result<(KeyId, &'a [u16], bool), NTSTATUS> {
    // SAFETY: the caller's promise.
    let attributes = unsafe { attributes.as_ref() }.ok_or(NTSTATUS::INVALID_PARAMETER)?;
    let path = if attributes.ObjectName.is_null() {
        &[]
    } else {
        // SAFETY: the caller's promise.
        unsafe { crate::io::units(attributes.ObjectName)? }
    };
    let is_kernel = attributes.Attributes & OBJ_KERNEL_HANDLE != 0;
    if !attributes.RootDirectory.is_null() {
        return Ok((key_of(attributes.RootDirectory)?, path, is_kernel));
    }
    let rest = path.strip_prefix(&[SEPARATOR]).ok_or(NTSTATUS::OBJECT_PATH_SYNTAX_BAD)?;
    let (first, rest) = name::split_first(rest);
    if !name::same(first, &name::wide("REGISTRY")) {
        return Err(NTSTATUS::OBJECT_NAME_NOT_FOUND);
    }
    Ok((REGISTRY.lock().root(), rest, is_kernel))
}

/// # Safety
/// As the documentation of ZwOpenKey demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwOpenKey(
    KeyHandle: *mut HANDLE,
    DesiredAccess: u32,
    ObjectAttributes: *mut OBJECT_ATTRIBUTES,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let opened = unsafe { path(ObjectAttributes) }.and_then(|(from, rest, is_kernel)| {
        let key = REGISTRY.lock().open(from, rest)?;
        handle(key, DesiredAccess, is_kernel)
    });
    // SAFETY: the caller's promise.
    deliver(opened, |handle| unsafe { *KeyHandle = handle })
}

/// # Safety
/// As the documentation of ZwCreateKey demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwCreateKey(
    KeyHandle: *mut HANDLE,
    DesiredAccess: u32,
    ObjectAttributes: *mut OBJECT_ATTRIBUTES,
    _TitleIndex: u32,
    _Class: *mut UNICODE_STRING,
    _CreateOptions: u32,
    Disposition: *mut u32,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let opened = unsafe { path(ObjectAttributes) }.and_then(|(from, rest, is_kernel)| {
        let (key, created) = REGISTRY.lock().create(from, rest, false, now())?;
        Ok((handle(key, DesiredAccess, is_kernel)?, created))
    });
    deliver(opened, |(handle, created)| {
        // SAFETY: the caller's promise.
        unsafe {
            *KeyHandle = handle;
            if !Disposition.is_null() {
                *Disposition = if created { REG_CREATED_NEW_KEY } else { REG_OPENED_EXISTING_KEY };
            }
        }
    })
}

fn deliver<T>(result: Result<T, NTSTATUS>, store: impl FnOnce(T)) -> NTSTATUS {
    match result {
        Ok(value) => {
            store(value);
            NTSTATUS::SUCCESS
        }
        Err(status) => status,
    }
}

/// # Safety
/// As the documentation of ZwDeleteKey demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwDeleteKey(KeyHandle: HANDLE) -> NTSTATUS {
    deliver(key_of(KeyHandle).and_then(|key| REGISTRY.lock().delete(key, now())), |()| {})
}

/// # Safety
/// As the documentation of ZwSetValueKey demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwSetValueKey(
    KeyHandle: HANDLE,
    ValueName: *mut UNICODE_STRING,
    _TitleIndex: u32,
    Type: u32,
    Data: *mut c_void,
    DataSize: u32,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let name = unsafe { crate::io::units(ValueName) };
    let data = if DataSize == 0 || Data.is_null() {
        &[]
    } else {
        // SAFETY: the caller's promise.
        unsafe { core::slice::from_raw_parts(Data.cast::<u8>(), DataSize as usize) }
    };
    let written = key_of(KeyHandle).and_then(|key| REGISTRY.lock().set_value(key, name?, Type, data, now()));
    deliver(written, |()| {})
}

/// # Safety
/// As the documentation of ZwDeleteValueKey demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwDeleteValueKey(KeyHandle: HANDLE, ValueName: *mut UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let name = unsafe { crate::io::units(ValueName) };
    deliver(key_of(KeyHandle).and_then(|key| REGISTRY.lock().delete_value(key, name?, now())), |()| {})
}

/// # Safety
/// As the documentation of ZwQueryValueKey demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwQueryValueKey(
    KeyHandle: HANDLE,
    ValueName: *mut UNICODE_STRING,
    KeyValueInformationClass: i32,
    KeyValueInformation: *mut c_void,
    Length: u32,
    ResultLength: *mut u32,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let name = unsafe { crate::io::units(ValueName) };
    let found = key_of(KeyHandle)
        .and_then(|key| value_information(&REGISTRY.lock().value(key, name?)?.clone(), KeyValueInformationClass));
    // SAFETY: the caller's promise.
    unsafe { answer(found, KeyValueInformation, Length, ResultLength) }
}

/// # Safety
/// As the documentation of ZwEnumerateValueKey demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwEnumerateValueKey(
    KeyHandle: HANDLE,
    Index: u32,
    KeyValueInformationClass: i32,
    KeyValueInformation: *mut c_void,
    Length: u32,
    ResultLength: *mut u32,
) -> NTSTATUS {
    let found = key_of(KeyHandle).and_then(|key| {
        let tree = REGISTRY.lock();
        let value = tree.key(key)?.values.get(Index as usize).ok_or(NTSTATUS::NO_MORE_ENTRIES)?;
        value_information(value, KeyValueInformationClass)
    });
    // SAFETY: the caller's promise.
    unsafe { answer(found, KeyValueInformation, Length, ResultLength) }
}

/// # Safety
/// As the documentation of ZwEnumerateKey demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwEnumerateKey(
    KeyHandle: HANDLE,
    Index: u32,
    KeyInformationClass: i32,
    KeyInformation: *mut c_void,
    Length: u32,
    ResultLength: *mut u32,
) -> NTSTATUS {
    let found = key_of(KeyHandle).and_then(|key| {
        let tree = REGISTRY.lock();
        let &child = tree.key(key)?.children.get(Index as usize).ok_or(NTSTATUS::NO_MORE_ENTRIES)?;
        key_information(&tree, child, KeyInformationClass)
    });
    // SAFETY: the caller's promise.
    unsafe { answer(found, KeyInformation, Length, ResultLength) }
}

/// # Safety
/// As the documentation of ZwQueryKey demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwQueryKey(
    KeyHandle: HANDLE,
    KeyInformationClass: i32,
    KeyInformation: *mut c_void,
    Length: u32,
    ResultLength: *mut u32,
) -> NTSTATUS {
    let found = key_of(KeyHandle).and_then(|key| key_information(&REGISTRY.lock(), key, KeyInformationClass));
    // SAFETY: the caller's promise.
    unsafe { answer(found, KeyInformation, Length, ResultLength) }
}

/// # Safety
/// As the documentation of ZwFlushKey demands. There is nothing to write to.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwFlushKey(KeyHandle: HANDLE) -> NTSTATUS {
    deliver(key_of(KeyHandle), |_| {})
}

/// An answer's bytes, and how many of them the caller must have room for at least.
type Answer = (Vec<u8>, usize);

/// Writes as much of an answer as fits.
///
/// # Safety
/// `buffer` has `length` writable bytes; `needed` is writable.
unsafe fn answer(found: Result<Answer, NTSTATUS>, buffer: *mut c_void, length: u32, needed: *mut u32) -> NTSTATUS {
    let (bytes, fixed) = match found {
        Ok(found) => found,
        Err(status) => return status,
    };
    // SAFETY: the caller's promise.
    unsafe {
        if !needed.is_null() {
            *needed = bytes.len() as u32;
        }
        if (length as usize) < fixed {
            return NTSTATUS::BUFFER_TOO_SMALL;
        }
        let count = bytes.len().min(length as usize);
        if count != 0 {
            buffer.cast::<u8>().copy_from(bytes.as_ptr(), count);
        }
        if count < bytes.len() { NTSTATUS::BUFFER_OVERFLOW } else { NTSTATUS::SUCCESS }
    }
}

/// `KEY_VALUE_…_INFORMATION` of a value.
fn value_information(value: &Value, class: i32) -> Result<Answer, NTSTATUS> {
    let name: Vec<u8> = value.name.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let mut bytes = Vec::from([0; 4]);
    bytes.extend(value.kind.to_le_bytes());
    let fixed = match class {
        // KeyValueBasicInformation.
        0 => {
            bytes.extend((name.len() as u32).to_le_bytes());
            bytes.extend(name);
            12
        }
        // KeyValueFullInformation, and its aligned variant.
        1 | 3 => {
            let offset = (20 + name.len()).next_multiple_of(8);
            bytes.extend((offset as u32).to_le_bytes());
            bytes.extend((value.data.len() as u32).to_le_bytes());
            bytes.extend((name.len() as u32).to_le_bytes());
            bytes.extend(name);
            bytes.resize(offset, 0);
            bytes.extend(&value.data);
            20
        }
        // KeyValuePartialInformation.
        2 => {
            bytes.extend((value.data.len() as u32).to_le_bytes());
            bytes.extend(&value.data);
            12
        }
        // KeyValuePartialInformationAlign64 begins with the type.
        4 => {
            bytes.drain(..4);
            bytes.extend((value.data.len() as u32).to_le_bytes());
            bytes.extend(&value.data);
            8
        }
        _ => return Err(NTSTATUS::INVALID_PARAMETER),
    };
    Ok((bytes, fixed))
}

/// `KEY_…_INFORMATION` of a key.
fn key_information(tree: &Tree, id: KeyId, class: i32) -> Result<Answer, NTSTATUS> {
    let key = tree.key(id)?;
    let name: Vec<u8> = key.name.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let mut bytes = Vec::new();
    let longest = |lengths: &mut dyn Iterator<Item = usize>| (lengths.max().unwrap_or(0) as u32).to_le_bytes();
    let fixed = match class {
        // KeyBasicInformation.
        0 => {
            bytes.extend(key.last_write.to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend((name.len() as u32).to_le_bytes());
            bytes.extend(name);
            16
        }
        // KeyNodeInformation, without a class name.
        1 => {
            bytes.extend(key.last_write.to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend(u32::MAX.to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend((name.len() as u32).to_le_bytes());
            bytes.extend(name);
            24
        }
        // KeyFullInformation.
        2 => {
            bytes.extend(key.last_write.to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend(u32::MAX.to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend((key.children.len() as u32).to_le_bytes());
            bytes.extend(longest(
                &mut key.children.iter().filter_map(|&child| tree.key(child).ok()).map(|child| 2 * child.name.len()),
            ));
            bytes.extend([0; 4]);
            bytes.extend((key.values.len() as u32).to_le_bytes());
            bytes.extend(longest(&mut key.values.iter().map(|value| 2 * value.name.len())));
            bytes.extend(longest(&mut key.values.iter().map(|value| value.data.len())));
            bytes.resize(48, 0);
            44
        }
        // KeyNameInformation.
        3 => {
            let path: Vec<u8> = tree.path(id)?.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            bytes.extend((path.len() as u32).to_le_bytes());
            bytes.extend(path);
            4
        }
        _ => return Err(NTSTATUS::INVALID_PARAMETER),
    };
    Ok((bytes, fixed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value() -> Value {
        Value { name: name::wide("V"), kind: 4, data: vec![1, 2, 3, 4] }
    }

    #[test]
    fn partial_information_is_type_length_and_data() {
        let (bytes, fixed) = value_information(&value(), 2).unwrap();
        assert_eq!(fixed, 12);
        assert_eq!(bytes, [0, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_buffer_that_is_too_small_gets_what_fits_and_the_length_it_needs() {
        let mut buffer = [0xffu8; 14];
        let mut needed = 0;
        // SAFETY: the buffer has the length it is said to have.
        let status = unsafe { answer(value_information(&value(), 2), buffer.as_mut_ptr().cast(), 14, &raw mut needed) };
        assert_eq!((status, needed), (NTSTATUS::BUFFER_OVERFLOW, 16));
        assert_eq!(buffer[12..], [1, 2]);
        // SAFETY: as above.
        let status = unsafe { answer(value_information(&value(), 2), buffer.as_mut_ptr().cast(), 4, &raw mut needed) };
        assert_eq!(status, NTSTATUS::BUFFER_TOO_SMALL);
    }

    #[test]
    fn full_information_has_name_and_data_where_it_says() {
        let (bytes, _) = value_information(&value(), 1).unwrap();
        let offset = u32::from_le_bytes(*bytes[8..].first_chunk().unwrap()) as usize;
        assert_eq!(bytes[offset..], [1, 2, 3, 4]);
        assert_eq!(bytes[20..22], [b'V', 0]);
    }
}
