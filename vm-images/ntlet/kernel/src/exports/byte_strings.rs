//! Counted strings of bytes, and conversions between UTF-8, UTF-16 and bytes.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use alloc::vec::Vec;
use core::cmp::Ordering;

use wdf_sys::wdm::UNICODE_STRING;
use wdf_sys::{BOOLEAN, NTSTATUS};

use crate::strings::{AnsiString, upcase};

/// `STATUS_SOME_NOT_MAPPED`.
const SOME_NOT_MAPPED: NTSTATUS = NTSTATUS(0x107);

fn upper(byte: u8) -> u8 {
    byte.to_ascii_uppercase()
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlUpperChar(Character: u8) -> u8 {
    upper(Character)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlCompareString(
    String1: *const AnsiString,
    String2: *const AnsiString,
    CaseInSensitive: BOOLEAN,
) -> i32 {
    // SAFETY: the caller's promise: two strings.
    let (first, second) = unsafe { ((*String1).bytes(), (*String2).bytes()) };
    let form = |byte: u8| i32::from(if CaseInSensitive != 0 { upper(byte) } else { byte });
    let difference = first.iter().zip(second).map(|(&a, &b)| form(a) - form(b)).find(|&difference| difference != 0);
    difference.unwrap_or(match first.len().cmp(&second.len()) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    })
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlEqualString(
    String1: *const AnsiString,
    String2: *const AnsiString,
    CaseInSensitive: BOOLEAN,
) -> BOOLEAN {
    // SAFETY: the caller's promise.
    BOOLEAN::from(unsafe { RtlCompareString(String1, String2, CaseInSensitive) } == 0)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlPrefixString(
    String1: *const AnsiString,
    String2: *const AnsiString,
    CaseInsensitive: BOOLEAN,
) -> BOOLEAN {
    // SAFETY: the caller's promise: two strings.
    let (prefix, whole) = unsafe { ((*String1).bytes(), (*String2).bytes()) };
    let fold = |byte: u8| if CaseInsensitive != 0 { upcase(u16::from(byte)) } else { u16::from(byte) };
    let start = whole.get(..prefix.len());
    BOOLEAN::from(start.is_some_and(|start| start.iter().zip(prefix).all(|(&one, &other)| fold(one) == fold(other))))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlCopyString(DestinationString: *mut AnsiString, SourceString: *const AnsiString) {
    // SAFETY: the caller's promise: a string with its buffer; null or another one.
    unsafe { (*DestinationString).fill(SourceString.as_ref().map_or(&[], |source| source.bytes())) };
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlUpperString(DestinationString: *mut AnsiString, SourceString: *const AnsiString) {
    // SAFETY: the caller's promise: two strings, the first with its buffer.
    unsafe {
        let upper: alloc::vec::Vec<u8> = (*SourceString).bytes().to_ascii_uppercase();
        (*DestinationString).fill(&upper);
    }
}

/// Bytes that the string takes as UTF-16, with a terminator.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlxAnsiStringToUnicodeSize(AnsiString: *const AnsiString) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { (*AnsiString).bytes().len() as u32 * 2 + 2 }
}

/// Bytes that the string takes in the system's code page, with a terminator.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlxUnicodeStringToAnsiSize(UnicodeString: *const UNICODE_STRING) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { (*UnicodeString).units().len() as u32 + 1 }
}

/// Copies what fits; the number of bytes goes to `count`.
///
/// # Safety
/// There is room for `room` bytes, or the place is null; `count` is null or a place.
unsafe fn give<T: Copy>(to: *mut T, room: u32, units: &[T], count: *mut u32) -> bool {
    let fits = (room as usize / size_of::<T>()).min(units.len());
    // SAFETY: the caller's promise.
    unsafe {
        if !to.is_null() {
            to.copy_from_nonoverlapping(units.as_ptr(), fits);
        }
        if !count.is_null() {
            count.write(((if to.is_null() { units.len() } else { fits }) * size_of::<T>()) as u32);
        }
    }
    to.is_null() || fits == units.len()
}

/// # Safety
/// There are `length` bytes.
unsafe fn slice<'a, T>(from: *const T, length: u32) -> &'a [T] {
    // SAFETY: the caller's promise.
    if from.is_null() { &[] } else { unsafe { core::slice::from_raw_parts(from, length as usize / size_of::<T>()) } }
}

/// Bytes are taken as Latin-1, as elsewhere in this kernel.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlMultiByteToUnicodeN(
    UnicodeString: *mut u16,
    MaxBytesInUnicodeString: u32,
    BytesInUnicodeString: *mut u32,
    MultiByteString: *const u8,
    BytesInMultiByteString: u32,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe {
        let units: Vec<u16> = slice(MultiByteString, BytesInMultiByteString).iter().map(|&byte| u16::from(byte)).collect();
        give(UnicodeString, MaxBytesInUnicodeString, &units, BytesInUnicodeString);
    }
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlUnicodeToMultiByteN(
    MultiByteString: *mut u8,
    MaxBytesInMultiByteString: u32,
    BytesInMultiByteString: *mut u32,
    UnicodeString: *const u16,
    BytesInUnicodeString: u32,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe {
        let bytes: Vec<u8> =
            slice(UnicodeString, BytesInUnicodeString).iter().map(|&unit| u8::try_from(unit).unwrap_or(b'?')).collect();
        give(MultiByteString, MaxBytesInMultiByteString, &bytes, BytesInMultiByteString);
    }
    NTSTATUS::SUCCESS
}

/// The status of a conversion: what did not fit, what had no counterpart.
fn converted(fits: bool, is_whole: bool) -> NTSTATUS {
    match (fits, is_whole) {
        (false, _) => NTSTATUS::BUFFER_TOO_SMALL,
        (true, false) => SOME_NOT_MAPPED,
        (true, true) => NTSTATUS::SUCCESS,
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlUTF8ToUnicodeN(
    UnicodeStringDestination: *mut u16,
    UnicodeStringMaxByteCount: u32,
    UnicodeStringActualByteCount: *mut u32,
    UTF8StringSource: *const u8,
    UTF8StringByteCount: u32,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe {
        let bytes = slice(UTF8StringSource, UTF8StringByteCount);
        let text = alloc::string::String::from_utf8_lossy(bytes);
        let is_whole = matches!(text, alloc::borrow::Cow::Borrowed(_));
        let units: Vec<u16> = text.encode_utf16().collect();
        converted(give(UnicodeStringDestination, UnicodeStringMaxByteCount, &units, UnicodeStringActualByteCount), is_whole)
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlUnicodeToUTF8N(
    UTF8StringDestination: *mut u8,
    UTF8StringMaxByteCount: u32,
    UTF8StringActualByteCount: *mut u32,
    UnicodeStringSource: *const u16,
    UnicodeStringByteCount: u32,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe {
        let units = slice(UnicodeStringSource, UnicodeStringByteCount);
        let is_whole = char::decode_utf16(units.iter().copied()).all(|unit| unit.is_ok());
        let text = alloc::string::String::from_utf16_lossy(units);
        converted(give(UTF8StringDestination, UTF8StringMaxByteCount, text.as_bytes(), UTF8StringActualByteCount), is_whole)
    }
}

/// A number in a terminated text; its base by its prefix when none is given.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlCharToInteger(String: *const u8, Base: u32, Value: *mut u32) -> NTSTATUS {
    // SAFETY: the caller's promise: terminated bytes and a place.
    unsafe {
        let text = core::ffi::CStr::from_ptr(String.cast()).to_bytes();
        let text = &text[text.iter().take_while(|&&byte| byte <= b' ').count()..];
        let (is_negative, text) = match text.first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let prefix = |letter: u8| text.first() == Some(&b'0') && text.get(1).map(u8::to_ascii_lowercase) == Some(letter);
        let (base, text) = match Base {
            0 if prefix(b'x') => (16, &text[2..]),
            0 if prefix(b'o') => (8, &text[2..]),
            0 if prefix(b'b') => (2, &text[2..]),
            0 => (10, text),
            2 | 8 | 10 | 16 => (Base, text),
            _ => return NTSTATUS::INVALID_PARAMETER,
        };
        let digits = text.iter().map_while(|&byte| char::from(byte).to_digit(base));
        let value = digits.fold(0u32, |value, digit| value.wrapping_mul(base).wrapping_add(digit));
        Value.write(if is_negative { value.wrapping_neg() } else { value });
    }
    NTSTATUS::SUCCESS
}
