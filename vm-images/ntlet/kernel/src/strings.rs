//! Counted strings, GUIDs as text, numbers as text: the `Rtl` functions for them, over a little that is safe.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::cmp::Ordering;
use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::UNICODE_STRING;
use wdf_sys::wdm::functions::{ExAllocatePoolWithTag, ExFreePool};
use wdf_sys::{BOOLEAN, FALSE, GUID, NTSTATUS, TRUE};

/// Tag of strings that are allocated for the caller.
const STRING_TAG: u32 = u32::from_le_bytes(*b"Strg");
/// Text of a GUID in braces.
const GUID_LENGTH: usize = 38;

/// Upper case of one unit, as far as one unit has one: the simple mapping of the characters of the basic plane.
#[must_use]
pub fn upcase(unit: u16) -> u16 {
    match unit {
        0x61..=0x7a => unit - 0x20,
        0..=0x7f => unit,
        // Windows leaves these alone, whatever Unicode says.
        0xb5 | 0xdf | 0x131 | 0x17f => unit,
        _ => {
            let mut upper = char::from_u32(u32::from(unit)).into_iter().flat_map(char::to_uppercase);
            match (upper.next(), upper.next()) {
                (Some(one), None) => u16::try_from(u32::from(one)).unwrap_or(unit),
                _ => unit,
            }
        }
    }
}

/// Lower case of one unit.
#[must_use]
pub fn downcase(unit: u16) -> u16 {
    match unit {
        0x41..=0x5a => unit + 0x20,
        0..=0x7f => unit,
        _ => {
            let mut lower = char::from_u32(u32::from(unit)).into_iter().flat_map(char::to_lowercase);
            match (lower.next(), lower.next()) {
                (Some(one), None) => u16::try_from(u32::from(one)).unwrap_or(unit),
                _ => unit,
            }
        }
    }
}

/// Compares units one by one, and then by length.
#[must_use]
pub fn compare(first: &[u16], second: &[u16], ignore_case: bool) -> i32 {
    let form = |unit: u16| if ignore_case { i32::from(upcase(unit)) } else { i32::from(unit) };
    let difference = first.iter().zip(second).map(|(&a, &b)| form(a) - form(b)).find(|&difference| difference != 0);
    difference.unwrap_or_else(|| match first.len().cmp(&second.len()) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    })
}

/// Length of a zero-terminated string of units.
///
/// # Safety
/// `string` is terminated, or null.
#[must_use]
pub unsafe fn length_of(string: *const u16) -> usize {
    if string.is_null() {
        return 0;
    }
    // SAFETY: the caller's promise: every unit up to the terminator can be read.
    (0..).take_while(|&index| unsafe { *string.add(index) } != 0).count()
}

/// Copies as much of `units` as fits; returns how many. A terminator follows if there is room.
///
/// # Safety
/// `string` describes memory that can be written.
unsafe fn fill(string: &mut UNICODE_STRING, at: usize, units: &[u16]) -> usize {
    let room = usize::from(string.MaximumLength / 2).saturating_sub(at);
    let count = units.len().min(room);
    // SAFETY: the caller's promise; `at + count` units fit. The source may lie in the destination.
    unsafe {
        let place = string.Buffer.add(at);
        core::ptr::copy(units.as_ptr(), place, count);
        if count < room {
            place.add(count).write(0);
        }
    }
    string.Length = ((at + count) * 2) as u16;
    count
}

/// Makes `units` the string's value, terminated.
///
/// # Safety
/// As [`fill`].
unsafe fn set(string: &mut UNICODE_STRING, units: &[u16]) -> NTSTATUS {
    if units.len() * 2 > usize::from(string.MaximumLength) {
        return NTSTATUS::BUFFER_OVERFLOW;
    }
    // SAFETY: the caller's promise.
    unsafe { fill(string, 0, units) };
    NTSTATUS::SUCCESS
}

/// A buffer of `units` and a terminator for the caller to free.
unsafe fn allocate(string: &mut UNICODE_STRING, units: &[u16]) -> NTSTATUS {
    let Ok(bytes) = u16::try_from(units.len() * 2) else { return NTSTATUS::NAME_TOO_LONG };
    let Some(maximum) = bytes.checked_add(2) else { return NTSTATUS::NAME_TOO_LONG };
    // SAFETY: no conditions but the IRQL, which is the caller's matter.
    let buffer = unsafe { ExAllocatePoolWithTag(1, usize::from(maximum), STRING_TAG) }.cast::<u16>();
    if buffer.is_null() {
        return NTSTATUS::NO_MEMORY;
    }
    *string = UNICODE_STRING { Length: 0, MaximumLength: maximum, Buffer: buffer };
    // SAFETY: the buffer is new and has room.
    unsafe { set(string, units) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlInitUnicodeString(DestinationString: *mut UNICODE_STRING, SourceString: *const u16) {
    // SAFETY: the caller's promise: a place for a string; null or terminated units.
    unsafe {
        let bytes = (length_of(SourceString) * 2).min(0xfffc) as u16;
        let maximum = if SourceString.is_null() { 0 } else { bytes + 2 };
        DestinationString.write(UNICODE_STRING { Length: bytes, MaximumLength: maximum, Buffer: SourceString.cast_mut() });
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlInitUnicodeStringEx(
    DestinationString: *mut UNICODE_STRING,
    SourceString: *const u16,
) -> NTSTATUS {
    // SAFETY: as above.
    unsafe {
        if length_of(SourceString) * 2 > 0xfffc {
            return NTSTATUS::NAME_TOO_LONG;
        }
        RtlInitUnicodeString(DestinationString, SourceString);
    }
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlCopyUnicodeString(DestinationString: *mut UNICODE_STRING, SourceString: *const UNICODE_STRING) {
    // SAFETY: the caller's promise: a string with its buffer; null or a string.
    unsafe {
        let destination = &mut *DestinationString;
        match SourceString.as_ref() {
            Some(source) => {
                fill(destination, 0, source.units());
            }
            None => destination.Length = 0,
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlCompareUnicodeString(
    String1: *const UNICODE_STRING,
    String2: *const UNICODE_STRING,
    CaseInSensitive: BOOLEAN,
) -> i32 {
    // SAFETY: the caller's promise: two strings.
    unsafe { compare((*String1).units(), (*String2).units(), CaseInSensitive != 0) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlCompareUnicodeStrings(
    String1: *const u16,
    String1Length: usize,
    String2: *const u16,
    String2Length: usize,
    CaseInSensitive: BOOLEAN,
) -> i32 {
    // SAFETY: the caller's promise: so many units each.
    unsafe {
        let units = |start, length| core::slice::from_raw_parts(start, length);
        compare(units(String1, String1Length), units(String2, String2Length), CaseInSensitive != 0)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlEqualUnicodeString(
    String1: *const UNICODE_STRING,
    String2: *const UNICODE_STRING,
    CaseInSensitive: BOOLEAN,
) -> BOOLEAN {
    // SAFETY: the caller's promise: two strings.
    unsafe {
        let same = (*String1).Length == (*String2).Length && RtlCompareUnicodeString(String1, String2, CaseInSensitive) == 0;
        if same { TRUE } else { FALSE }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlPrefixUnicodeString(
    String1: *const UNICODE_STRING,
    String2: *const UNICODE_STRING,
    CaseInSensitive: BOOLEAN,
) -> BOOLEAN {
    // SAFETY: the caller's promise: two strings.
    let (prefix, whole) = unsafe { ((*String1).units(), (*String2).units()) };
    let begins = whole.get(..prefix.len()).is_some_and(|start| compare(prefix, start, CaseInSensitive != 0) == 0);
    if begins { TRUE } else { FALSE }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlAppendUnicodeStringToString(
    Destination: *mut UNICODE_STRING,
    Source: *const UNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: the caller's promise: two strings, the first with its buffer.
    unsafe { append(&mut *Destination, (*Source).units()) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlAppendUnicodeToString(Destination: *mut UNICODE_STRING, Source: *const u16) -> NTSTATUS {
    // SAFETY: the caller's promise: a string with its buffer; null or terminated units.
    unsafe {
        let source = if Source.is_null() { &[] } else { core::slice::from_raw_parts(Source, length_of(Source)) };
        append(&mut *Destination, source)
    }
}

unsafe fn append(destination: &mut UNICODE_STRING, units: &[u16]) -> NTSTATUS {
    let at = usize::from(destination.Length / 2);
    if (at + units.len()) * 2 > usize::from(destination.MaximumLength) {
        return NTSTATUS::BUFFER_TOO_SMALL;
    }
    // SAFETY: the callers' promise.
    unsafe { fill(destination, at, units) };
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlFreeUnicodeString(UnicodeString: *mut UNICODE_STRING) {
    // SAFETY: the caller's promise: a string whose buffer an `Rtl` function allocated, or none.
    unsafe {
        if !(*UnicodeString).Buffer.is_null() {
            ExFreePool((*UnicodeString).Buffer.cast());
        }
        UnicodeString.write(UNICODE_STRING { Length: 0, MaximumLength: 0, Buffer: null_mut() });
    }
}

/// Puts units into a string: into a buffer of the caller's, or into a new one.
///
/// # Safety
/// The string has its buffer unless one is to be allocated.
pub(crate) unsafe fn put(string: &mut UNICODE_STRING, units: &[u16], allocates: bool) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe { if allocates { allocate(string, units) } else { set(string, units) } }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlUpcaseUnicodeString(
    DestinationString: *mut UNICODE_STRING,
    SourceString: *const UNICODE_STRING,
    AllocateDestinationString: BOOLEAN,
) -> NTSTATUS {
    // SAFETY: the caller's promise: two strings, the first with its buffer unless one is to be allocated.
    unsafe {
        let (destination, source) = (&mut *DestinationString, &*SourceString);
        if AllocateDestinationString != 0 {
            let status = allocate(destination, source.units());
            if status.is_error() {
                return status;
            }
        } else if source.Length > destination.MaximumLength {
            return NTSTATUS::BUFFER_OVERFLOW;
        } else {
            fill(destination, 0, source.units());
        }
        for index in 0..usize::from(destination.Length / 2) {
            let unit = destination.Buffer.add(index);
            *unit = upcase(*unit);
        }
    }
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlUpcaseUnicodeChar(SourceCharacter: u16) -> u16 {
    upcase(SourceCharacter)
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlDowncaseUnicodeChar(SourceCharacter: u16) -> u16 {
    downcase(SourceCharacter)
}

/// Digits of a number in a base of 2, 8, 10 or 16; 0 means 10.
fn digits(value: u64, base: u32, buffer: &mut [u16; 64]) -> Option<&[u16]> {
    let base = match base {
        0 => 10,
        2 | 8 | 10 | 16 => u64::from(base),
        _ => return None,
    };
    let mut rest = value;
    let mut start = buffer.len();
    loop {
        start -= 1;
        buffer[start] = u16::from(b"0123456789ABCDEF"[(rest % base) as usize]);
        rest /= base;
        if rest == 0 {
            return Some(&buffer[start..]);
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlIntegerToUnicodeString(Value: u32, Base: u32, String: *mut UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the caller's promise: a string with its buffer.
    unsafe { RtlInt64ToUnicodeString(u64::from(Value), Base, String) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlInt64ToUnicodeString(Value: u64, Base: u32, String: *mut UNICODE_STRING) -> NTSTATUS {
    let mut buffer = [0; 64];
    match digits(Value, Base, &mut buffer) {
        // SAFETY: the caller's promise: a string with its buffer.
        Some(digits) => unsafe { set(&mut *String, digits) },
        None => NTSTATUS::INVALID_PARAMETER,
    }
}

/// A number as C writes it: sign, prefix `0x`, `0o` or `0b` when no base is given.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlUnicodeStringToInteger(String: *const UNICODE_STRING, Base: u32, Value: *mut u32) -> NTSTATUS {
    if !matches!(Base, 0 | 2 | 8 | 10 | 16) {
        return NTSTATUS::INVALID_PARAMETER;
    }
    // SAFETY: the caller's promise: a string.
    let units = unsafe { (*String).units() };
    let mut text = units.iter().map(|&unit| u8::try_from(unit).unwrap_or(0)).skip_while(|&byte| byte <= b' ').peekable();
    let negative = text.next_if(|&byte| byte == b'-').is_some();
    if !negative {
        text.next_if(|&byte| byte == b'+');
    }
    let mut base = if Base == 0 { 10 } else { Base };
    let mut value = 0u32;
    if Base == 0 && text.next_if(|&byte| byte == b'0').is_some() {
        base = match text.peek() {
            Some(b'x') => 16,
            Some(b'o') => 8,
            Some(b'b') => 2,
            _ => 10,
        };
        if base != 10 {
            text.next();
        }
    }
    for digit in text.map_while(|byte| char::from(byte).to_digit(base)) {
        value = value.wrapping_mul(base).wrapping_add(digit);
    }
    // SAFETY: the caller's promise: a place for a number.
    unsafe { Value.write(if negative { value.wrapping_neg() } else { value }) };
    NTSTATUS::SUCCESS
}

/// A GUID in braces, in upper case.
#[must_use]
pub fn guid_text(guid: &GUID) -> [u8; GUID_LENGTH] {
    let mut text = *b"{00000000-0000-0000-0000-000000000000}";
    let mut put = |at: usize, value: u64, count: usize| {
        for index in 0..count {
            text[at + index] = b"0123456789ABCDEF"[(value >> ((count - 1 - index) * 4) & 15) as usize];
        }
    };
    put(1, guid.Data1.into(), 8);
    put(10, guid.Data2.into(), 4);
    put(15, guid.Data3.into(), 4);
    for (index, &byte) in guid.Data4.iter().enumerate() {
        put(if index < 2 { 20 } else { 21 } + index * 2, byte.into(), 2);
    }
    text
}

/// The GUID that text in braces stands for.
#[must_use]
pub fn parse_guid(text: &[u16]) -> Option<GUID> {
    if text.len() < GUID_LENGTH {
        return None;
    }
    let value = |at: usize, count: usize| {
        text[at..at + count].iter().try_fold(0u64, |value, &unit| {
            let digit = char::from_u32(u32::from(unit)).and_then(|letter| letter.to_digit(16))?;
            Some(value << 4 | u64::from(digit))
        })
    };
    let marks = [(0, b'{'), (9, b'-'), (14, b'-'), (19, b'-'), (24, b'-'), (37, b'}')];
    if marks.iter().any(|&(at, mark)| text[at] != u16::from(mark)) {
        return None;
    }
    let mut last = [0; 8];
    for (index, byte) in last.iter_mut().enumerate() {
        *byte = value(if index < 2 { 20 } else { 21 } + index * 2, 2)? as u8;
    }
    Some(GUID { Data1: value(1, 8)? as u32, Data2: value(10, 4)? as u16, Data3: value(15, 4)? as u16, Data4: last })
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlStringFromGUID(Guid: *const GUID, GuidString: *mut UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the caller's promise: a GUID and a place for a string.
    unsafe { allocate(&mut *GuidString, &guid_text(&*Guid).map(u16::from)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlGUIDFromString(GuidString: *const UNICODE_STRING, Guid: *mut GUID) -> NTSTATUS {
    // SAFETY: the caller's promise: a string and a place for a GUID.
    unsafe {
        match parse_guid((*GuidString).units()) {
            Some(guid) => {
                Guid.write(guid);
                NTSTATUS::SUCCESS
            }
            None => NTSTATUS::INVALID_PARAMETER,
        }
    }
}

/// `ANSI_STRING`, which has the form of a counted string of bytes.
#[derive(Debug)]
#[repr(C)]
pub struct AnsiString {
    length: u16,
    maximum: u16,
    buffer: *mut u8,
}

impl AnsiString {
    /// Copies as much as fits.
    ///
    /// # Safety
    /// The string has its buffer.
    pub(crate) unsafe fn fill(&mut self, bytes: &[u8]) {
        let length = bytes.len().min(usize::from(self.maximum));
        // SAFETY: the caller's promise.
        unsafe { self.buffer.copy_from(bytes.as_ptr(), length) };
        self.length = length as u16;
    }

    /// # Safety
    /// The string describes readable bytes, or none.
    pub(crate) unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: the caller's promise.
        if self.buffer.is_null() { &[] } else { unsafe { core::slice::from_raw_parts(self.buffer, self.length.into()) } }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlInitAnsiString(DestinationString: *mut AnsiString, SourceString: *const u8) {
    // SAFETY: the caller's promise: a place for a string; null or terminated bytes.
    unsafe {
        let length = if SourceString.is_null() { 0 } else { core::ffi::CStr::from_ptr(SourceString.cast()).count_bytes() };
        let length = length.min(0xfffe) as u16;
        let maximum = if SourceString.is_null() { 0 } else { length + 1 };
        DestinationString.write(AnsiString { length, maximum, buffer: SourceString.cast_mut() });
    }
}

/// Bytes above 127 are taken as Latin-1.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlAnsiStringToUnicodeString(
    DestinationString: *mut UNICODE_STRING,
    SourceString: *const AnsiString,
    AllocateDestinationString: BOOLEAN,
) -> NTSTATUS {
    // SAFETY: the caller's promise: two strings, the first with its buffer unless one is to be allocated.
    unsafe {
        let units: alloc::vec::Vec<u16> = (*SourceString).bytes().iter().map(|&byte| u16::from(byte)).collect();
        if AllocateDestinationString != 0 {
            return allocate(&mut *DestinationString, &units);
        }
        set(&mut *DestinationString, &units)
    }
}

/// Units above 255 become question marks.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlUnicodeStringToAnsiString(
    DestinationString: *mut AnsiString,
    SourceString: *const UNICODE_STRING,
    AllocateDestinationString: BOOLEAN,
) -> NTSTATUS {
    // SAFETY: the caller's promise: two strings, the first with its buffer unless one is to be allocated.
    unsafe {
        let (destination, units) = (&mut *DestinationString, (*SourceString).units());
        if AllocateDestinationString != 0 {
            let buffer: *mut c_void = ExAllocatePoolWithTag(1, units.len() + 1, STRING_TAG);
            if buffer.is_null() {
                return NTSTATUS::NO_MEMORY;
            }
            *destination = AnsiString { length: 0, maximum: (units.len() + 1) as u16, buffer: buffer.cast() };
        }
        if units.len() >= usize::from(destination.maximum) {
            return NTSTATUS::BUFFER_OVERFLOW;
        }
        for (index, &unit) in units.iter().enumerate() {
            destination.buffer.add(index).write(u8::try_from(unit).unwrap_or(b'?'));
        }
        destination.buffer.add(units.len()).write(0);
        destination.length = units.len() as u16;
    }
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlFreeAnsiString(String: *mut AnsiString) {
    // SAFETY: the caller's promise: a string whose buffer an `Rtl` function allocated, or none.
    unsafe {
        if !(*String).buffer.is_null() {
            ExFreePool((*String).buffer.cast());
        }
        String.write(AnsiString { length: 0, maximum: 0, buffer: null_mut() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(buffer: &mut [u16]) -> UNICODE_STRING {
        UNICODE_STRING { Length: 0, MaximumLength: (buffer.len() * 2) as u16, Buffer: buffer.as_mut_ptr() }
    }

    fn wide(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    #[test]
    fn comparison_ignores_case_when_asked_and_orders_by_length_last() {
        assert_eq!(compare(&wide("Relay"), &wide("rELAY"), true), 0);
        assert!(compare(&wide("Relay"), &wide("relay"), false) < 0);
        assert!(compare(&wide("re"), &wide("rel"), true) < 0);
        assert_eq!(compare(&wide("ÄÖ"), &wide("äö"), true), 0);
        assert_ne!(compare(&wide("ß"), &wide("SS"), true), 0);
    }

    #[test]
    fn a_copy_is_cut_to_the_buffer_and_terminated_where_there_is_room() {
        let mut buffer = [0xffff; 4];
        let mut destination = string(&mut buffer);
        let source = wide("abcdef");
        let source = UNICODE_STRING::new(&source).unwrap();
        // SAFETY: both strings describe their buffers.
        unsafe { RtlCopyUnicodeString(&mut destination, &source) };
        assert_eq!((destination.Length, buffer), (8, [97, 98, 99, 100]));
    }

    #[test]
    fn appending_beyond_the_buffer_changes_nothing() {
        let mut buffer = [0; 3];
        let mut destination = string(&mut buffer);
        let text = wide("ab");
        let source = UNICODE_STRING::new(&text).unwrap();
        // SAFETY: both strings describe their buffers.
        unsafe {
            assert_eq!(RtlAppendUnicodeStringToString(&mut destination, &source), NTSTATUS::SUCCESS);
            assert_eq!(RtlAppendUnicodeStringToString(&mut destination, &source), NTSTATUS::BUFFER_TOO_SMALL);
        }
        assert_eq!(buffer, [97, 98, 0]);
    }

    #[test]
    fn a_guid_goes_to_text_and_back() {
        let guid = GUID::new((0x496b_8280, 0x6f25, 0x11d0, [0xbe, 0xaf, 0x08, 0x00, 0x2b, 0xe2, 0x09, 0x2f]));
        let text = guid_text(&guid);
        assert_eq!(&text, b"{496B8280-6F25-11D0-BEAF-08002BE2092F}");
        assert_eq!(parse_guid(&text.map(u16::from)), Some(guid));
        assert_eq!(parse_guid(&wide("{496B8280-6F25-11D0-BEAF-08002BE2092}")), None);
        assert_eq!(parse_guid(&wide("{496B8280x6F25-11D0-BEAF-08002BE2092F}")), None);
    }

    #[test]
    fn numbers_go_to_text_in_every_base_and_back() {
        let mut buffer = [0; 40];
        let mut text = string(&mut buffer);
        for (value, base, expected) in
            [(0, 10, "0"), (255, 16, "FF"), (5, 2, "101"), (8, 8, "10"), (4_294_967_295, 0, "4294967295")]
        {
            // SAFETY: the string describes its buffer.
            unsafe { assert_eq!(RtlIntegerToUnicodeString(value, base, &mut text), NTSTATUS::SUCCESS) };
            // SAFETY: as above.
            assert_eq!(unsafe { text.units() }, wide(expected));
        }
        for (text, expected) in [("0x1F", 31), ("-1", u32::MAX), (" 12z", 12), ("0b11", 3), ("", 0), ("07", 7)] {
            let units = wide(text);
            let (string, mut value) = (UNICODE_STRING::new(&units).unwrap(), 9);
            // SAFETY: the string describes its units.
            unsafe { assert_eq!(RtlUnicodeStringToInteger(&string, 0, &mut value), NTSTATUS::SUCCESS) };
            assert_eq!(value, expected, "{text}");
        }
    }
}
