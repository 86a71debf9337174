//! `RtlWriteRegistryValue` and its kin: keys by a path that is relative to a well-known place.

use core::ffi::c_void;

use wdf_sys::NTSTATUS;

use super::query::{base, terminated};
use super::{REGISTRY, now};

/// # Safety
/// As the documentation of RtlCheckRegistryKey demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlCheckRegistryKey(RelativeTo: u32, Path: *const u16) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe { base(RelativeTo, Path) }.err().unwrap_or(NTSTATUS::SUCCESS)
}

/// # Safety
/// As the documentation of RtlCreateRegistryKey demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlCreateRegistryKey(RelativeTo: u32, Path: *const u16) -> NTSTATUS {
    // SAFETY: the caller's promise. An empty path is the well-known place itself.
    let created = unsafe { base(RelativeTo & !super::query::RELATIVE_OPTIONAL, [0].as_ptr()) }.and_then(|start| {
        let mut tree = REGISTRY.lock();
        // SAFETY: the caller's promise: the path is terminated.
        tree.create(start, unsafe { terminated(Path) }, true, now())
    });
    created.err().unwrap_or(NTSTATUS::SUCCESS)
}

/// # Safety
/// As the documentation of RtlWriteRegistryValue demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlWriteRegistryValue(
    RelativeTo: u32,
    Path: *const u16,
    ValueName: *const u16,
    ValueType: u32,
    ValueData: *const c_void,
    ValueLength: u32,
) -> NTSTATUS {
    // SAFETY: the caller's promise: terminated strings, and as many bytes as it says.
    unsafe {
        let data = if ValueLength == 0 { &[] } else { core::slice::from_raw_parts(ValueData.cast(), ValueLength as usize) };
        let written =
            base(RelativeTo, Path).and_then(|key| REGISTRY.lock().set_value(key, terminated(ValueName), ValueType, data, now()));
        written.err().unwrap_or(NTSTATUS::SUCCESS)
    }
}

/// # Safety
/// As the documentation of RtlDeleteRegistryValue demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlDeleteRegistryValue(RelativeTo: u32, Path: *const u16, ValueName: *const u16) -> NTSTATUS {
    // SAFETY: the caller's promise: terminated strings.
    unsafe {
        let deleted = base(RelativeTo, Path).and_then(|key| REGISTRY.lock().delete_value(key, terminated(ValueName), now()));
        deleted.err().unwrap_or(NTSTATUS::SUCCESS)
    }
}
