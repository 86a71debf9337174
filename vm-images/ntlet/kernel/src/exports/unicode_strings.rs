//! Counted strings of UTF-16 beyond what [`crate::strings`] has: copies in pool, suffixes, hashes.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use alloc::vec::Vec;
use core::ptr::null_mut;

use wdf_sys::wdm::UNICODE_STRING;
use wdf_sys::wdm::functions::ExAllocatePool2;
use wdf_sys::{BOOLEAN, NTSTATUS};

use crate::strings::{downcase, upcase};

const TAG: u32 = u32::from_le_bytes(*b"Strg");

/// `POOL_FLAG_PAGED`.
const PAGED: u64 = 0x100;

/// A copy of units in pool, with a zero behind them if that is wanted. What is empty then needs no buffer.
///
/// # Safety
/// `to` is a place for a string.
unsafe fn duplicate(to: *mut UNICODE_STRING, units: &[u16], is_terminated: bool) -> NTSTATUS {
    let room = units.len() + usize::from(is_terminated);
    let Ok(bytes) = u16::try_from(room * 2) else { return NTSTATUS::NAME_TOO_LONG };
    // SAFETY: the caller's promise; the block has room for what is written.
    unsafe {
        let mut buffer: *mut u16 = null_mut();
        if room != 0 {
            buffer = ExAllocatePool2(PAGED, room * 2, TAG).cast();
            if buffer.is_null() {
                return NTSTATUS::NO_MEMORY;
            }
            // What `ExAllocatePool2` gives is zero already.
            core::ptr::copy_nonoverlapping(units.as_ptr(), buffer, units.len());
        }
        to.write(UNICODE_STRING { Length: (units.len() * 2) as u16, MaximumLength: bytes, Buffer: buffer });
    }
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlDuplicateUnicodeString(
    Flags: u32,
    StringIn: *const UNICODE_STRING,
    StringOut: *mut UNICODE_STRING,
) -> NTSTATUS {
    /// `RTL_DUPLICATE_UNICODE_STRING_NULL_TERMINATE` and `…_ALLOCATE_NULL_STRING`, which asks for the first one.
    const TERMINATE: u32 = 1;
    const ALLOCATE_NULL: u32 = 2;
    if Flags & !(TERMINATE | ALLOCATE_NULL) != 0 || Flags == ALLOCATE_NULL || StringOut.is_null() {
        return NTSTATUS::INVALID_PARAMETER;
    }
    // SAFETY: the caller's promise: a string, and a place for one.
    unsafe {
        let source = (*StringIn).units();
        let is_nothing = source.is_empty() && Flags & ALLOCATE_NULL == 0;
        duplicate(StringOut, source, Flags & TERMINATE != 0 && !is_nothing)
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlCreateUnicodeString(
    DestinationString: *mut UNICODE_STRING,
    SourceString: *const u16,
) -> BOOLEAN {
    // SAFETY: the caller's promise: a terminated string, and a place for one.
    unsafe {
        let length = crate::strings::length_of(SourceString);
        let source = core::slice::from_raw_parts(SourceString, length);
        BOOLEAN::from(duplicate(DestinationString, source, true).is_success())
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlDowncaseUnicodeString(
    DestinationString: *mut UNICODE_STRING,
    SourceString: *const UNICODE_STRING,
    AllocateDestinationString: BOOLEAN,
) -> NTSTATUS {
    // SAFETY: the caller's promise: two strings, the first with its buffer unless one is to be allocated.
    unsafe {
        let units: Vec<u16> = (*SourceString).units().iter().map(|&unit| downcase(unit)).collect();
        crate::strings::put(&mut *DestinationString, &units, AllocateDestinationString != 0)
    }
}

/// The hash of `HASH_STRING_ALGORITHM_X65599`, which is the default.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlHashUnicodeString(
    String: *const UNICODE_STRING,
    CaseInSensitive: BOOLEAN,
    HashAlgorithm: u32,
    HashValue: *mut u32,
) -> NTSTATUS {
    if String.is_null() || HashValue.is_null() || HashAlgorithm > 1 {
        return NTSTATUS::INVALID_PARAMETER;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let form = |unit: u16| u32::from(if CaseInSensitive != 0 { upcase(unit) } else { unit });
        HashValue.write((*String).units().iter().fold(0, |hash: u32, &unit| hash.wrapping_mul(65599).wrapping_add(form(unit))));
    }
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlSuffixUnicodeString(
    String1: *const UNICODE_STRING,
    String2: *const UNICODE_STRING,
    CaseInSensitive: BOOLEAN,
) -> BOOLEAN {
    // SAFETY: the caller's promise: two strings.
    let (suffix, whole) = unsafe { ((*String1).units(), (*String2).units()) };
    let form = |unit: u16| if CaseInSensitive != 0 { upcase(unit) } else { unit };
    let end = whole.len().checked_sub(suffix.len()).map(|at| &whole[at..]);
    BOOLEAN::from(end.is_some_and(|end| end.iter().zip(suffix).all(|(&a, &b)| form(a) == form(b))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::name::wide;
    use wdf_sys::{FALSE, TRUE};

    #[test]
    fn a_suffix_is_found_with_or_without_regard_to_case() {
        let (end, whole, long) = (wide("b.SYS"), wide("Ab.sys"), wide("xxAb.sys"));
        let string = |units: &'static [u16]| UNICODE_STRING::new(units).unwrap();
        let (end, whole, long) = (string(end.leak()), string(whole.leak()), string(long.leak()));
        // SAFETY: strings of this test.
        unsafe {
            assert_eq!(RtlSuffixUnicodeString(&end, &whole, TRUE), TRUE);
            assert_eq!(RtlSuffixUnicodeString(&end, &whole, FALSE), FALSE);
            assert_eq!(RtlSuffixUnicodeString(&long, &whole, TRUE), FALSE);
        }
    }
}
