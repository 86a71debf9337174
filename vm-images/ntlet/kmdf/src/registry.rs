//! WDFKEY: registry keys and values. And the settings that the framework itself reads for a driver.

use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use wdf_sys::wdf::{WDF_OBJECT_ATTRIBUTES, WDFMEMORY_OFFSET};
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{ZwClose, ZwCreateKey, ZwDeleteKey, ZwDeleteValueKey, ZwOpenKey, ZwQueryValueKey, ZwSetValueKey};
use wdf_sys::wdm::{KEY_VALUE_PARTIAL_INFORMATION, OBJECT_ATTRIBUTES, UNICODE_STRING};
use wdf_sys::{HANDLE, NTSTATUS, WDFCOLLECTION, WDFKEY, WDFMEMORY, WDFSTRING};

use crate::call::{Call, ddi};
use crate::collection::Collection;
use crate::driver::Driver;
use crate::globals::Globals;
use crate::lock::default_parent;
use crate::memory::{self, Memory};
use crate::object::attributes::Rules;
use crate::object::{AnyRef, Attributes, Body, Kind, Ref};
use crate::string::Text;
use crate::sync::PASSIVE_LEVEL;

/// STATUS_OBJECT_TYPE_MISMATCH for a value of another type.
const WRONG_TYPE: NTSTATUS = NTSTATUS::OBJECT_TYPE_MISMATCH;
/// Most bytes of a value that are read.
const MAXIMUM_VALUE: usize = 1 << 20;
/// `KEY_READ`.
const KEY_READ: u32 = 0x0002_0019;

/// Body of a WDFKEY.
pub(crate) struct Key {
    handle: AtomicPtr<c_void>,
}

impl Body for Key {
    type Handle = WDFKEY;
    const KIND: Kind = Kind::Key;

    fn after_cleanup(this: &Ref<Self>) {
        this.close();
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.close();
    }
}

/// A handle that is closed when dropped.
struct Opened(HANDLE);

impl Opened {
    fn into_key(self) -> Key {
        let key = Key { handle: AtomicPtr::new(self.0) };
        core::mem::forget(self);
        key
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: opened here and closed once.
        let _ = unsafe { ZwClose(self.0) };
    }
}

impl Key {
    /// A key over a kernel handle that becomes its own.
    pub(crate) fn over(handle: HANDLE) -> Self {
        Self { handle: AtomicPtr::new(handle) }
    }

    fn raw(&self) -> HANDLE {
        self.handle.load(Ordering::Acquire)
    }

    fn close(&self) {
        let handle = self.handle.swap(null_mut(), Ordering::AcqRel);
        if !handle.is_null() {
            // SAFETY: taken out above, so it is closed once.
            let _ = unsafe { ZwClose(handle) };
        }
    }

    /// Type and bytes of a value.
    fn value(&self, name: &[u16]) -> Result<(u32, Vec<u8>), NTSTATUS> {
        read_value(self.raw(), name)
    }

    fn set(&self, name: &[u16], kind: u32, bytes: &[u8]) -> Result<(), NTSTATUS> {
        let mut name = counted(name)?;
        let length = u32::try_from(bytes.len()).map_err(|_| NTSTATUS::INVALID_PARAMETER)?;
        // SAFETY: name and bytes live through the call, which does not write to them.
        unsafe { ZwSetValueKey(self.raw(), &mut name, 0, kind, bytes.as_ptr().cast_mut().cast(), length) }.ok()
    }
}

fn counted(units: &[u16]) -> Result<UNICODE_STRING, NTSTATUS> {
    UNICODE_STRING::new(units).ok_or(NTSTATUS::OBJECT_NAME_INVALID)
}

fn attributes_of(parent: HANDLE, name: &mut UNICODE_STRING) -> OBJECT_ATTRIBUTES {
    OBJECT_ATTRIBUTES {
        Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: parent,
        ObjectName: name,
        Attributes: OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE,
        ..OBJECT_ATTRIBUTES::zeroed()
    }
}

fn open(parent: HANDLE, name: &[u16], access: u32) -> Result<Opened, NTSTATUS> {
    let mut name = counted(name)?;
    let mut attributes = attributes_of(parent, &mut name);
    let mut handle = null_mut();
    // SAFETY: everything lives through the call.
    unsafe { ZwOpenKey(&mut handle, access, &mut attributes) }.ok()?;
    Ok(Opened(handle))
}

fn create_key(parent: HANDLE, name: &[u16], access: u32, options: u32) -> Result<(Opened, u32), NTSTATUS> {
    let mut name = counted(name)?;
    let mut attributes = attributes_of(parent, &mut name);
    let (mut handle, mut disposition) = (null_mut(), 0);
    // SAFETY: everything lives through the call.
    unsafe { ZwCreateKey(&mut handle, access, &mut attributes, 0, null_mut(), options, &mut disposition) }.ok()?;
    Ok((Opened(handle), disposition))
}

fn read_value(key: HANDLE, name: &[u16]) -> Result<(u32, Vec<u8>), NTSTATUS> {
    const HEAD: usize = core::mem::offset_of!(KEY_VALUE_PARTIAL_INFORMATION, Data);
    let mut name = counted(name)?;
    let mut size = 128;
    loop {
        let mut buffer: Vec<u8> = Vec::new();
        buffer.try_reserve_exact(size).map_err(|_| NTSTATUS::INSUFFICIENT_RESOURCES)?;
        buffer.resize(size, 0);
        let mut needed = 0;
        // SAFETY: the buffer has `size` bytes; the rest lives through the call.
        let status =
            unsafe { ZwQueryValueKey(key, &mut name, KEY_VALUE_PARTIAL, buffer.as_mut_ptr().cast(), size as u32, &mut needed) };
        let needed = needed as usize;
        if (status == NTSTATUS::BUFFER_OVERFLOW || status == NTSTATUS::BUFFER_TOO_SMALL)
            && needed > size
            && needed <= MAXIMUM_VALUE
        {
            size = needed;
            continue;
        }
        status.ok()?;
        let word =
            |at: usize| buffer.get(at..at + 4).map_or(0, |bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        let (kind, length) = (word(4), word(8) as usize);
        if HEAD + length > buffer.len() {
            return Err(NTSTATUS::REGISTRY_CORRUPT);
        }
        buffer.truncate(HEAD + length);
        buffer.drain(..HEAD);
        return Ok((kind, buffer));
    }
}

/// UTF-16 in a value, without terminating zeros.
fn units_of(bytes: &[u8]) -> Result<Vec<u16>, NTSTATUS> {
    let mut units = Vec::new();
    units.try_reserve_exact(bytes.len() / 2).map_err(|_| NTSTATUS::INSUFFICIENT_RESOURCES)?;
    units.extend(bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)));
    while units.last() == Some(&0) {
        units.pop();
    }
    Ok(units)
}

/// Bytes of UTF-16 with a terminating zero.
fn bytes_of(units: &[u16]) -> Result<Vec<u8>, NTSTATUS> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(units.len() * 2 + 2).map_err(|_| NTSTATUS::INSUFFICIENT_RESOURCES)?;
    bytes.extend(units.iter().chain([&0]).flat_map(|unit| unit.to_le_bytes()));
    Ok(bytes)
}

/// The value as text.
fn text_value(key: &Key, name: &[u16]) -> Result<Vec<u16>, NTSTATUS> {
    let (kind, bytes) = key.value(name)?;
    if kind != REG_SZ && kind != REG_EXPAND_SZ { Err(WRONG_TYPE) } else { units_of(&bytes) }
}

/// A WDFKEY over an opened handle.
fn key_object(
    globals: &'static Globals,
    attributes: &Attributes,
    parent: Option<&AnyRef>,
    opened: Opened,
) -> Result<Ref<Key>, NTSTATUS> {
    crate::object::create(globals, attributes, parent, opened.into_key())
}

/// Opens the driver's `Parameters` key; creates it when it is not there.
pub(crate) fn open_parameters(
    call: &Call,
    driver: &Ref<Driver>,
    access: u32,
    attributes: &Attributes,
) -> Result<Ref<Key>, NTSTATUS> {
    let service = open(null_mut(), driver.registry_path(), KEY_READ | access)?;
    let name: [u16; 10] = wide(b"Parameters");
    let (opened, _) = create_key(service.0, &name, access, 0)?;
    key_object(call.globals, attributes, Some(driver.any()), opened)
}

/// Opens the key with what the driver keeps from one boot to the next; creates it when it is not there.
pub(crate) fn open_persistent_state(
    call: &Call,
    driver: &Ref<Driver>,
    access: u32,
    attributes: &Attributes,
) -> Result<Ref<Key>, NTSTATUS> {
    let path = driver.registry_path();
    let service = &path[path.iter().rposition(|&unit| unit == u16::from(b'\\')).map_or(0, |at| at + 1)..];
    let (states, _) = create_key(null_mut(), &wide(b"\\Registry\\Machine\\System\\DriverState"), KEY_READ, 0)?;
    let (opened, _) = create_key(states.0, service, access, 0)?;
    key_object(call.globals, attributes, Some(driver.any()), opened)
}

/// Opens a key below the device map.
pub(crate) fn open_device_map(
    call: &Call,
    name: &[u16],
    access: u32,
    attributes: &Attributes,
    parent: &AnyRef,
) -> Result<Ref<Key>, NTSTATUS> {
    let map = open(null_mut(), &wide(b"\\Registry\\Machine\\HARDWARE\\DEVICEMAP"), KEY_READ)?;
    let opened = open(map.0, name, access)?;
    key_object(call.globals, attributes, Some(parent), opened)
}

/// ASCII as UTF-16.
const fn wide<const N: usize>(text: &[u8; N]) -> [u16; N] {
    let mut units = [0; N];
    let mut at = 0;
    while at < N {
        units[at] = text[at] as u16;
        at += 1;
    }
    units
}

/// Reads `VerifierOn` and `DbgBreakOnError` from the service's `Parameters\Wdf`, where the kernel has put what its command line says
/// of drivers that say nothing. Without them the verifier is on, as a testbed wants it, and nothing breaks into a debugger.
pub(crate) fn read_verifier_settings(globals: &Globals, service: &UNICODE_STRING) {
    globals.verifier_on.store(true, Ordering::Relaxed);
    // SAFETY: the string that the driver's entry got from the kernel; it lives through the bind.
    let path = unsafe { service.units() };
    let Ok(settings) = open(null_mut(), path, KEY_READ).and_then(|service| open(service.0, &wide(b"Parameters\\Wdf"), KEY_READ))
    else {
        return;
    };
    let number = |name: &[u16]| match read_value(settings.0, name) {
        Ok((REG_DWORD, bytes)) => bytes.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes)),
        _ => None,
    };
    let verifier = number(&wide(b"VerifierOn")).map(|number| number != 0);
    if let Some(on) = verifier {
        globals.verifier_on.store(on, Ordering::Relaxed);
    }
    // Whoever sets the one and not the other gets both.
    let breaks = number(&wide(b"DbgBreakOnError")).map_or(verifier == Some(true), |number| number != 0);
    globals.break_on_error.store(breaks, Ordering::Relaxed);
}

/// A number of the key where WdfLdr keeps its diagnostic settings.
pub(crate) fn loader_setting(name: &[u16]) -> Result<u32, NTSTATUS> {
    let path = wide(b"\\Registry\\Machine\\System\\CurrentControlSet\\Control\\Wdf\\Kmdf\\Diagnostics");
    let key = open(null_mut(), &path, KEY_READ)?;
    match read_value(key.0, name)? {
        (REG_DWORD, bytes) => bytes.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes)).ok_or(WRONG_TYPE),
        _ => Err(WRONG_TYPE),
    }
}

fn status_of(outcome: Result<(), NTSTATUS>) -> NTSTATUS {
    outcome.err().unwrap_or(NTSTATUS::SUCCESS)
}

/// The handle of a parent key; null names no key, and paths are absolute then.
fn parent_handle(call: &Call, parent: WDFKEY) -> HANDLE {
    call.optional_object::<Key>(parent).map_or(null_mut(), |parent| parent.raw())
}

fn query_into(
    call: &Call,
    key: &Key,
    name: &[u16],
    length: u32,
    place: *mut c_void,
    queried: *mut u32,
    kind: *mut u32,
) -> NTSTATUS {
    match key.value(name) {
        Ok((found, bytes)) => {
            call.write_optional(queried, bytes.len() as u32);
            call.write_optional(kind, found);
            if place.is_null() || (length as usize) < bytes.len() {
                return NTSTATUS::BUFFER_OVERFLOW;
            }
            call.copy_out(place, &bytes);
            NTSTATUS::SUCCESS
        }
        Err(status) => status,
    }
}

fn query_multi(
    call: &Call,
    key: &Key,
    name: &[u16],
    attributes: *const WDF_OBJECT_ATTRIBUTES,
    collection: &Ref<Collection>,
) -> Result<(), NTSTATUS> {
    let attributes = Attributes::read(call, attributes, Rules::ORDINARY)?;
    let (kind, bytes) = key.value(name)?;
    if kind != REG_MULTI_SZ {
        return Err(WRONG_TYPE);
    }
    let units = units_of(&bytes)?;
    for part in units.split(|unit| *unit == 0).filter(|part| !part.is_empty()) {
        let string = crate::object::create(call.globals, &attributes, Some(collection.any()), Text::new(part)?)?;
        collection.add(string.any().clone())?;
    }
    Ok(())
}

fn assign_multi(key: &Key, name: &[u16], collection: &Ref<Collection>) -> Result<(), NTSTATUS> {
    let mut all = Vec::new();
    let mut index = 0;
    while let Some(item) = collection.get(index) {
        let text = item.downcast::<Text>().map_err(|_| NTSTATUS::INVALID_PARAMETER)?;
        let part = bytes_of(&text.copy()?)?;
        all.try_reserve(part.len() + 2).map_err(|_| NTSTATUS::INSUFFICIENT_RESOURCES)?;
        all.extend_from_slice(&part);
        index += 1;
    }
    all.try_reserve(2).map_err(|_| NTSTATUS::INSUFFICIENT_RESOURCES)?;
    all.extend_from_slice(&[0, 0]);
    key.set(name, REG_MULTI_SZ, &all)
}

ddi! {
    fn WdfRegistryOpenKey(call, parent: WDFKEY, name: *const UNICODE_STRING, access: u32, attributes: *mut WDF_OBJECT_ATTRIBUTES, key: *mut WDFKEY) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        call.write(key, WDFKEY::NULL);
        let opened = Attributes::read(call, attributes, Rules::ORDINARY).and_then(|attributes| {
            let opened = open(parent_handle(call, parent), call.string(name)?, access)?;
            key_object(call.globals, &attributes, default_parent(call).as_ref(), opened)
        });
        call.created(key, opened)
    }

    fn WdfRegistryCreateKey(call, parent: WDFKEY, name: *const UNICODE_STRING, access: u32, options: u32, disposition: *mut u32, attributes: *mut WDF_OBJECT_ATTRIBUTES, key: *mut WDFKEY) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        call.write(key, WDFKEY::NULL);
        let created = Attributes::read(call, attributes, Rules::ORDINARY).and_then(|attributes| {
            let (opened, what) = create_key(parent_handle(call, parent), call.string(name)?, access, options)?;
            call.write_optional(disposition, what);
            key_object(call.globals, &attributes, default_parent(call).as_ref(), opened)
        });
        call.created(key, created)
    }

    fn WdfRegistryClose(call, key: WDFKEY) {
        call.irql_at_most(PASSIVE_LEVEL);
        call.object::<Key>(key).delete();
    }

    fn WdfRegistryWdmGetHandle(call, key: WDFKEY) -> HANDLE {
        call.object::<Key>(key).raw()
    }

    fn WdfRegistryRemoveKey(call, key: WDFKEY) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let key = call.object::<Key>(key);
        // SAFETY: a key handle.
        let status = unsafe { ZwDeleteKey(key.raw()) };
        if status.is_success() {
            key.delete();
        }
        status
    }

    fn WdfRegistryRemoveValue(call, key: WDFKEY, name: *const UNICODE_STRING) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let key = call.object::<Key>(key);
        status_of(call.string(name).and_then(counted).and_then(|mut name| {
            // SAFETY: a key handle; the name lives through the call.
            unsafe { ZwDeleteValueKey(key.raw(), &mut name) }.ok()
        }))
    }

    fn WdfRegistryQueryValue(call, key: WDFKEY, name: *const UNICODE_STRING, length: u32, value: *mut c_void, queried: *mut u32, kind: *mut u32) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let key = call.object::<Key>(key);
        match call.string(name) {
            Ok(name) => query_into(call, &key, name, length, value, queried, kind),
            Err(status) => status,
        }
    }

    fn WdfRegistryQueryMemory(call, key: WDFKEY, name: *const UNICODE_STRING, pool: i32, attributes: *mut WDF_OBJECT_ATTRIBUTES, memory: *mut WDFMEMORY, kind: *mut u32) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        call.write(memory, WDFMEMORY::NULL);
        let key = call.object::<Key>(key);
        let created = Attributes::read(call, attributes, Rules::ORDINARY).and_then(|attributes| {
            let (found, bytes) = key.value(call.string(name)?)?;
            call.write_optional(kind, found);
            let created = memory::create(call.globals, &attributes, default_parent(call).as_ref(), pool, 0, bytes.len())?;
            call.copy_out(created.buffer().0, &bytes);
            Ok(created)
        });
        call.created(memory, created)
    }

    fn WdfRegistryQueryMultiString(call, key: WDFKEY, name: *const UNICODE_STRING, attributes: *mut WDF_OBJECT_ATTRIBUTES, collection: WDFCOLLECTION) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let key = call.object::<Key>(key);
        let collection = call.object::<Collection>(collection);
        status_of(call.string(name).and_then(|name| query_multi(call, &key, name, attributes, &collection)))
    }

    fn WdfRegistryQueryUnicodeString(call, key: WDFKEY, name: *const UNICODE_STRING, byte_length: *mut u16, value: *mut UNICODE_STRING) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let key = call.object::<Key>(key);
        let text = match call.string(name).and_then(|name| text_value(&key, name)) {
            Ok(text) => text,
            Err(status) => return status,
        };
        let Ok(length) = u16::try_from(text.len() * 2) else { return NTSTATUS::BUFFER_OVERFLOW };
        call.write_optional(byte_length, length);
        if value.is_null() {
            return NTSTATUS::SUCCESS;
        }
        let mut place = call.read(value);
        if place.MaximumLength < length {
            return NTSTATUS::BUFFER_OVERFLOW;
        }
        for (at, unit) in text.iter().enumerate() {
            call.write(place.Buffer.wrapping_add(at), *unit);
        }
        place.Length = length;
        call.write(value, place);
        NTSTATUS::SUCCESS
    }

    fn WdfRegistryQueryString(call, key: WDFKEY, name: *const UNICODE_STRING, string: WDFSTRING) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let key = call.object::<Key>(key);
        let string = call.object::<Text>(string);
        status_of(call.string(name).and_then(|name| text_value(&key, name)).and_then(|text| string.set(&text)))
    }

    fn WdfRegistryQueryULong(call, key: WDFKEY, name: *const UNICODE_STRING, value: *mut u32) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let key = call.object::<Key>(key);
        let number = call.string(name).and_then(|name| key.value(name)).and_then(|(kind, bytes)| {
            let number = bytes.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
            number.filter(|_| kind == REG_DWORD).ok_or(WRONG_TYPE)
        });
        match number {
            Ok(number) => {
                call.write(value, number);
                NTSTATUS::SUCCESS
            }
            Err(status) => status,
        }
    }

    fn WdfRegistryAssignValue(call, key: WDFKEY, name: *const UNICODE_STRING, kind: u32, length: u32, value: *mut c_void) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let key = call.object::<Key>(key);
        status_of(call.string(name).and_then(|name| key.set(name, kind, call.bytes(value, length as usize))))
    }

    fn WdfRegistryAssignMemory(call, key: WDFKEY, name: *const UNICODE_STRING, kind: u32, memory: WDFMEMORY, offsets: *mut WDFMEMORY_OFFSET) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let key = call.object::<Key>(key);
        let memory = call.object::<Memory>(memory);
        let (offset, length) = match call.optional(offsets) {
            Some(offsets) => (offsets.BufferOffset, offsets.BufferLength),
            None => (0, memory.buffer().1),
        };
        status_of(memory.part(offset, length).and_then(|start| {
            let name = call.string(name)?;
            key.set(name, kind, call.bytes(start, length))
        }))
    }

    fn WdfRegistryAssignMultiString(call, key: WDFKEY, name: *const UNICODE_STRING, collection: WDFCOLLECTION) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let key = call.object::<Key>(key);
        let collection = call.object::<Collection>(collection);
        status_of(call.string(name).and_then(|name| assign_multi(&key, name, &collection)))
    }

    fn WdfRegistryAssignUnicodeString(call, key: WDFKEY, name: *const UNICODE_STRING, value: *const UNICODE_STRING) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let key = call.object::<Key>(key);
        status_of(call.string(name).and_then(|name| key.set(name, REG_SZ, &bytes_of(call.string(value)?)?)))
    }

    fn WdfRegistryAssignString(call, key: WDFKEY, name: *const UNICODE_STRING, string: WDFSTRING) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let key = call.object::<Key>(key);
        let string = call.object::<Text>(string);
        status_of(call.string(name).and_then(|name| key.set(name, REG_SZ, &bytes_of(&string.copy()?)?)))
    }

    fn WdfRegistryAssignULong(call, key: WDFKEY, name: *const UNICODE_STRING, value: u32) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let key = call.object::<Key>(key);
        status_of(call.string(name).and_then(|name| key.set(name, REG_DWORD, &value.to_le_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_a_value_loses_its_terminators_and_gets_one_back() {
        let bytes = [b'a', 0, b'b', 0, 0, 0, 0, 0];
        assert_eq!(units_of(&bytes), Ok(vec![0x61, 0x62]));
        assert_eq!(bytes_of(&[0x61, 0x62]), Ok(bytes[..6].to_vec()));
    }

    #[test]
    fn an_odd_last_byte_of_a_text_value_is_left_out() {
        assert_eq!(units_of(&[b'a', 0, b'b']), Ok(vec![0x61]));
    }
}
