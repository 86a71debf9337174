//! More of the runtime that drivers import: counted strings of bytes, conversions between UTF-8, UTF-16 and bytes, seconds, bits, classes of
//! letters, and interlocked functions with a lock.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::UNICODE_STRING;
use wdf_sys::{BOOLEAN, GUID, NTSTATUS};

use crate::hal;
use crate::lists::locked;
use crate::strings::{AnsiString, downcase, upcase};

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

/// Seconds from 1601 to 1970, and to 1980.
const TO_1970: i64 = 11_644_473_600;
const TO_1980: i64 = 11_960_006_400;
const SECOND: i64 = 10_000_000;

/// # Safety
/// A time and a place for seconds.
unsafe fn seconds_since(start: i64, time: *const i64, seconds: *mut u32) -> BOOLEAN {
    // SAFETY: the caller's promise.
    unsafe {
        let Ok(value) = u32::try_from((*time).div_euclid(SECOND) - start) else { return 0 };
        seconds.write(value);
    }
    1
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlTimeToSecondsSince1970(Time: *const i64, ElapsedSeconds: *mut u32) -> BOOLEAN {
    // SAFETY: the caller's promise.
    unsafe { seconds_since(TO_1970, Time, ElapsedSeconds) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlTimeToSecondsSince1980(Time: *const i64, ElapsedSeconds: *mut u32) -> BOOLEAN {
    // SAFETY: the caller's promise.
    unsafe { seconds_since(TO_1980, Time, ElapsedSeconds) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlSecondsSince1970ToTime(ElapsedSeconds: u32, Time: *mut i64) {
    // SAFETY: the caller's promise.
    unsafe { Time.write((i64::from(ElapsedSeconds) + TO_1970) * SECOND) };
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlSecondsSince1980ToTime(ElapsedSeconds: u32, Time: *mut i64) {
    // SAFETY: the caller's promise.
    unsafe { Time.write((i64::from(ElapsedSeconds) + TO_1980) * SECOND) };
}

/// Number of the lowest bit that is set; -1 for none.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlFindLeastSignificantBit(Set: u64) -> i8 {
    if Set == 0 { -1 } else { Set.trailing_zeros() as i8 }
}

/// Number of the highest bit that is set; -1 for none.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlFindMostSignificantBit(Set: u64) -> i8 {
    if Set == 0 { -1 } else { 63 - Set.leading_zeros() as i8 }
}

/// Bytes from the start that are this number over and over.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlCompareMemoryUlong(Source: *const u32, Length: usize, Pattern: u32) -> usize {
    // SAFETY: the caller's promise: so many bytes.
    (0..Length / 4).take_while(|&index| unsafe { *Source.add(index) } == Pattern).count() * 4
}

/// What every version since Windows 2000 says: WDM is there, in any version that a driver may ask for.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoIsWdmVersionAvailable(MajorVersion: u8, MinorVersion: u8) -> BOOLEAN {
    BOOLEAN::from(MajorVersion < 6 || MajorVersion == 6 && MinorVersion == 0)
}

/// Documented: only versions without a service pack may be asked for.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlIsNtDdiVersionAvailable(Version: u32) -> BOOLEAN {
    /// `NTDDI_WIN10_VB`, the system that `RtlGetVersion` names.
    const OWN: u32 = 0x0a00_0008;
    BOOLEAN::from(Version & 0xffff == 0 && Version <= OWN)
}

/// A GUID of version 4.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExUuidCreate(Uuid: *mut GUID) -> NTSTATUS {
    static LAST: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);
    let mix = |value: u64| {
        let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    };
    let (counter, _) = hal().performance_counter();
    let number = LAST.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
    let (high, low) = (mix(counter ^ number << 48), mix(counter.rotate_left(32).wrapping_add(number)));
    let [a, b, rest @ ..] = low.to_le_bytes();
    let bytes = [a & 0x3f | 0x80, b, rest[0], rest[1], rest[2], rest[3], rest[4], rest[5]];
    // SAFETY: the caller's promise: a place for a GUID.
    unsafe { Uuid.write(GUID::new(((high >> 32) as u32, (high >> 16) as u16, high as u16 & 0x0fff | 0x4000, bytes))) };
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExInterlockedAddUlong(Addend: *mut u32, Increment: u32, Lock: *mut usize) -> u32 {
    // SAFETY: the caller's promise: a number and its lock.
    unsafe {
        locked(Lock, || {
            let before = *Addend;
            *Addend = before.wrapping_add(Increment);
            before
        })
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExInterlockedAddLargeInteger(Addend: *mut i64, Increment: i64, Lock: *mut usize) -> i64 {
    // SAFETY: the caller's promise: a number and its lock.
    unsafe {
        locked(Lock, || {
            let before = *Addend;
            *Addend = before.wrapping_add(Increment);
            before
        })
    }
}

/// `SINGLE_LIST_ENTRY`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct SingleEntry {
    next: *mut SingleEntry,
}

/// The entry that was first before.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExInterlockedPushEntryList(
    ListHead: *mut SingleEntry,
    ListEntry: *mut SingleEntry,
    Lock: *mut usize,
) -> *mut SingleEntry {
    // SAFETY: the caller's promise: a list, an entry in none, and the list's lock.
    unsafe {
        locked(Lock, || {
            let before = (*ListHead).next;
            (*ListEntry).next = before;
            (*ListHead).next = ListEntry;
            before
        })
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExInterlockedPopEntryList(ListHead: *mut SingleEntry, Lock: *mut usize) -> *mut SingleEntry {
    // SAFETY: the caller's promise: a list and its lock.
    unsafe {
        locked(Lock, || {
            let first = (*ListHead).next;
            if !first.is_null() {
                (*ListHead).next = (*first).next;
            }
            first
        })
    }
}

/// The extended parameters are about pools that do not exist here.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExFreePool2(P: *mut c_void, Tag: u32, _ExtendedParameters: *const c_void, _Count: u32) {
    // SAFETY: the caller's promise.
    unsafe { wdf_sys::wdm::functions::ExFreePoolWithTag(P, Tag) };
}

/// The line size of the processors' caches.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeGetRecommendedSharedDataAlignment() -> u32 {
    64
}

/// The process of the current thread.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PsGetCurrentProcess() -> *mut c_void {
    // SAFETY: asks for the same.
    unsafe { wdf_sys::wdm::functions::IoGetCurrentProcess() }.cast()
}

macro_rules! letter_classes {
    ($($name:ident = $test:expr;)*) => {$(
        pub(super) unsafe extern "win64" fn $name(letter: i32) -> i32 {
            i32::from(u8::try_from(letter).is_ok_and(|letter| $test(&letter)))
        }
    )*};
}

letter_classes! {
    c_isalpha = u8::is_ascii_alphabetic;
    c_isdigit = u8::is_ascii_digit;
    c_isalnum = u8::is_ascii_alphanumeric;
    c_isxdigit = u8::is_ascii_hexdigit;
    c_isupper = u8::is_ascii_uppercase;
    c_islower = u8::is_ascii_lowercase;
    c_ispunct = u8::is_ascii_punctuation;
    c_isspace = |letter: &u8| matches!(letter, b' ' | 9..=13);
    c_isprint = |letter: &u8| matches!(letter, 0x20..=0x7e);
    c_iscntrl = u8::is_ascii_control;
}

/// Changes the case of terminated text in place.
///
/// # Safety
/// The text is terminated and writable.
unsafe fn in_place(text: *mut u8, form: impl Fn(u8) -> u8) -> *mut u8 {
    let mut at = text;
    // SAFETY: the caller's promise.
    unsafe {
        while *at != 0 {
            *at = form(*at);
            at = at.add(1);
        }
    }
    text
}

pub(super) unsafe extern "win64" fn c_strlwr(text: *mut u8) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { in_place(text, |byte| byte.to_ascii_lowercase()) }
}

pub(super) unsafe extern "win64" fn c_strupr(text: *mut u8) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { in_place(text, upper) }
}

/// Length of the beginning of a text whose letters are (or are not) in a set.
///
/// # Safety
/// Both texts are terminated.
unsafe fn span(text: *const u8, set: *const u8, are_in: bool) -> usize {
    // SAFETY: the caller's promise.
    let (text, set) =
        unsafe { (core::ffi::CStr::from_ptr(text.cast()).to_bytes(), core::ffi::CStr::from_ptr(set.cast()).to_bytes()) };
    text.iter().take_while(|letter| set.contains(letter) == are_in).count()
}

pub(super) unsafe extern "win64" fn c_strspn(text: *const u8, set: *const u8) -> usize {
    // SAFETY: the caller's promise.
    unsafe { span(text, set, true) }
}

pub(super) unsafe extern "win64" fn c_strcspn(text: *const u8, set: *const u8) -> usize {
    // SAFETY: the caller's promise.
    unsafe { span(text, set, false) }
}

pub(super) unsafe extern "win64" fn c_strtok_s(text: *mut u8, set: *const u8, context: *mut *mut u8) -> *mut u8 {
    // SAFETY: the caller's promise: terminated text that may be changed, or null for the rest of the last one.
    unsafe {
        let text = if text.is_null() { *context } else { text };
        if text.is_null() {
            return null_mut();
        }
        let start = text.add(span(text, set, true));
        if *start == 0 {
            *context = start;
            return null_mut();
        }
        let end = start.add(span(start, set, false));
        *context = if *end == 0 { end } else { end.add(1) };
        end.write(0);
        start
    }
}
