//! The C library's functions over terminated text and single letters. The bounded ones, `…_s`, and the rest of the library are in `c_runtime`.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ptr::null_mut;

use crate::strings::{downcase, length_of, upcase};

/// Length of terminated bytes.
///
/// # Safety
/// They are terminated.
unsafe fn bytes_of(text: *const u8) -> usize {
    // SAFETY: the caller's promise.
    (0..).take_while(|&index| unsafe { *text.add(index) } != 0).count()
}

/// Compares terminated texts, at most `limit` letters, after `form`.
///
/// # Safety
/// Both are terminated, or have `limit` letters.
unsafe fn compare_texts<T: Copy + PartialEq + Default>(a: *const T, b: *const T, limit: usize, form: impl Fn(T) -> i32) -> i32 {
    for index in 0..limit {
        // SAFETY: the caller's promise: neither has ended before this index.
        let (first, second) = unsafe { (*a.add(index), *b.add(index)) };
        let difference = form(first) - form(second);
        if difference != 0 || first == T::default() {
            return difference;
        }
    }
    0
}

/// Copies terminated text, at most `limit` letters; the rest of `limit` is filled with zeros if asked.
///
/// # Safety
/// There is room, and `from` is terminated or has `limit` letters.
unsafe fn copy_text<T: Copy + PartialEq + Default>(to: *mut T, from: *const T, limit: usize, pad: bool) -> *mut T {
    for index in 0..limit {
        // SAFETY: the caller's promise.
        unsafe {
            let letter = *from.add(index);
            to.add(index).write(letter);
            if letter == T::default() {
                if pad {
                    (index + 1..limit).for_each(|rest| to.add(rest).write(letter));
                }
                break;
            }
        }
    }
    to
}

/// The place of a letter in terminated text, the terminator included.
///
/// # Safety
/// The text is terminated.
unsafe fn find_letter<T: Copy + PartialEq + Default>(text: *const T, letter: T, last: bool) -> *const T {
    let (mut at, mut found) = (text, core::ptr::null());
    loop {
        // SAFETY: the caller's promise: the terminator has not been passed.
        unsafe {
            let here = *at;
            if here == letter {
                found = at;
                if !last {
                    return found;
                }
            }
            if here == T::default() {
                return found;
            }
            at = at.add(1);
        }
    }
}

/// The place of a text in another; null if it is not there.
fn find_text<T: PartialEq>(text: &[T], wanted: &[T], start: *const T) -> *const T {
    if wanted.is_empty() {
        return start;
    }
    text.windows(wanted.len()).position(|window| window == wanted).map_or(core::ptr::null(), |index| start.wrapping_add(index))
}

fn lower_byte(byte: u8) -> i32 {
    i32::from(byte.to_ascii_lowercase())
}

/// Functions of the C library over terminated text: as the C standard, or Microsoft's documentation for those with an underscore.
macro_rules! c_functions {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty = $body:expr;)*) => {$(
        pub(super) unsafe extern "win64" fn $name($($argument: $type),*) -> $result {
            // SAFETY: the caller's promise: terminated text, or text of the length given, and room where something is written.
            #[allow(unused_unsafe, reason = "the functions of single letters need none")]
            unsafe { $body }
        }
    )*};
}

c_functions! {
    c_strlen(text: *const u8) -> usize = bytes_of(text);
    c_strnlen(text: *const u8, limit: usize) -> usize = (0..limit).take_while(|&index| *text.add(index) != 0).count();
    c_strcmp(a: *const u8, b: *const u8) -> i32 = compare_texts(a, b, usize::MAX, i32::from);
    c_strncmp(a: *const u8, b: *const u8, limit: usize) -> i32 = compare_texts(a, b, limit, i32::from);
    c_stricmp(a: *const u8, b: *const u8) -> i32 = compare_texts(a, b, usize::MAX, lower_byte);
    c_strnicmp(a: *const u8, b: *const u8, limit: usize) -> i32 = compare_texts(a, b, limit, lower_byte);
    c_strcpy(to: *mut u8, from: *const u8) -> *mut u8 = copy_text(to, from, usize::MAX, false);
    c_strncpy(to: *mut u8, from: *const u8, limit: usize) -> *mut u8 = copy_text(to, from, limit, true);
    c_strcat(to: *mut u8, from: *const u8) -> *mut u8 = { copy_text(to.add(bytes_of(to)), from, usize::MAX, false); to };
    c_strchr(text: *const u8, letter: i32) -> *const u8 = find_letter(text, letter as u8, false);
    c_strrchr(text: *const u8, letter: i32) -> *const u8 = find_letter(text, letter as u8, true);
    c_strstr(text: *const u8, wanted: *const u8) -> *const u8 = find_text(
        core::slice::from_raw_parts(text, bytes_of(text)), core::slice::from_raw_parts(wanted, bytes_of(wanted)), text);
    c_wcslen(text: *const u16) -> usize = length_of(text);
    c_wcsnlen(text: *const u16, limit: usize) -> usize = (0..limit).take_while(|&index| *text.add(index) != 0).count();
    c_wcscmp(a: *const u16, b: *const u16) -> i32 = compare_texts(a, b, usize::MAX, i32::from);
    c_wcsncmp(a: *const u16, b: *const u16, limit: usize) -> i32 = compare_texts(a, b, limit, i32::from);
    c_wcsicmp(a: *const u16, b: *const u16) -> i32 = compare_texts(a, b, usize::MAX, |unit| i32::from(downcase(unit)));
    c_wcsnicmp(a: *const u16, b: *const u16, limit: usize) -> i32 = compare_texts(a, b, limit, |unit| i32::from(downcase(unit)));
    c_wcscpy(to: *mut u16, from: *const u16) -> *mut u16 = copy_text(to, from, usize::MAX, false);
    c_wcsncpy(to: *mut u16, from: *const u16, limit: usize) -> *mut u16 = copy_text(to, from, limit, true);
    c_wcscat(to: *mut u16, from: *const u16) -> *mut u16 = { copy_text(to.add(length_of(to)), from, usize::MAX, false); to };
    c_wcschr(text: *const u16, letter: u16) -> *const u16 = find_letter(text, letter, false);
    c_wcsrchr(text: *const u16, letter: u16) -> *const u16 = find_letter(text, letter, true);
    c_wcsstr(text: *const u16, wanted: *const u16) -> *const u16 = find_text(
        core::slice::from_raw_parts(text, length_of(text)), core::slice::from_raw_parts(wanted, length_of(wanted)), text);
    c_toupper(letter: i32) -> i32 = if (0x61..=0x7a).contains(&letter) { letter - 0x20 } else { letter };
    c_tolower(letter: i32) -> i32 = if (0x41..=0x5a).contains(&letter) { letter + 0x20 } else { letter };
    c_towupper(letter: u16) -> u16 = upcase(letter);
    c_towlower(letter: u16) -> u16 = downcase(letter);
    c_atoi(text: *const u8) -> i32 = number((0..).map(|index| u16::from(*text.add(index))));
    c_wtoi(text: *const u16) -> i32 = number((0..).map(|index| *text.add(index)));
}

/// A decimal number, after blanks and a sign, up to what is no digit; the terminator is none.
fn number(letters: impl Iterator<Item = u16>) -> i32 {
    let mut letters =
        letters.map(|unit| u8::try_from(unit).unwrap_or(b'?')).skip_while(|&letter| matches!(letter, b' ' | 9..=13)).peekable();
    let negative = letters.next_if(|&letter| matches!(letter, b'-' | b'+')) == Some(b'-');
    let digits = letters.map_while(|letter| char::from(letter).to_digit(10));
    let value = digits.fold(0i32, |value, digit| value.wrapping_mul(10).wrapping_add(digit as i32));
    if negative { value.wrapping_neg() } else { value }
}

/// Appends at most `limit` letters, and a terminator.
///
/// # Safety
/// Terminated text with room; text that is terminated or has `limit` letters.
unsafe fn append<T: Copy + PartialEq + Default>(to: *mut T, from: *const T, limit: usize) -> *mut T {
    // SAFETY: the caller's promise.
    unsafe {
        let mut at = to;
        while *at != T::default() {
            at = at.add(1);
        }
        for index in 0..limit {
            let letter = *from.add(index);
            if letter == T::default() {
                break;
            }
            at.write(letter);
            at = at.add(1);
        }
        at.write(T::default());
    }
    to
}

pub(super) unsafe extern "win64" fn c_strncat(to: *mut u8, from: *const u8, limit: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { append(to, from, limit) }
}

pub(super) unsafe extern "win64" fn c_wcsncat(to: *mut u16, from: *const u16, limit: usize) -> *mut u16 {
    // SAFETY: the caller's promise.
    unsafe { append(to, from, limit) }
}

pub(super) unsafe extern "win64" fn c_strpbrk(text: *const u8, set: *const u8) -> *const u8 {
    // SAFETY: the caller's promise: terminated texts.
    unsafe {
        let at = text.add(c_strcspn(text, set));
        if *at == 0 { core::ptr::null() } else { at }
    }
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
    unsafe { in_place(text, |byte| byte.to_ascii_uppercase()) }
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

macro_rules! wide_classes {
    ($($name:ident = $test:expr;)*) => {$(
        pub(super) unsafe extern "win64" fn $name(letter: u16) -> i32 {
            i32::from(char::from_u32(u32::from(letter)).is_some_and($test))
        }
    )*};
}

wide_classes! {
    c_iswalpha = char::is_alphabetic;
    c_iswdigit = |letter| letter.is_ascii_digit();
    c_iswalnum = char::is_alphanumeric;
    c_iswspace = char::is_whitespace;
    c_iswupper = char::is_uppercase;
    c_iswlower = char::is_lowercase;
}

pub(super) const unsafe extern "win64" fn c_abs(value: i32) -> i32 {
    value.wrapping_abs()
}

pub(super) const unsafe extern "win64" fn c_abs64(value: i64) -> i64 {
    value.wrapping_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_strings_behave_as_c_says() {
        // SAFETY: every text is terminated, every buffer large enough.
        unsafe {
            assert_eq!(c_strlen(c"four".as_ptr().cast()), 4);
            assert_eq!(c_stricmp(c"ReLay".as_ptr().cast(), c"rElAY".as_ptr().cast()), 0);
            assert!(c_strncmp(c"abc".as_ptr().cast(), c"abd".as_ptr().cast(), 3) < 0);
            assert_eq!(c_strncmp(c"abc".as_ptr().cast(), c"abd".as_ptr().cast(), 2), 0);
            let mut buffer = [0xffu8; 8];
            c_strncpy(buffer.as_mut_ptr(), c"ab".as_ptr().cast(), 4);
            assert_eq!(buffer, [b'a', b'b', 0, 0, 0xff, 0xff, 0xff, 0xff]);
            c_strcat(buffer.as_mut_ptr(), c"cd".as_ptr().cast());
            assert_eq!(&buffer[..5], b"abcd\0");
            let text = c"a/b/c".as_ptr().cast::<u8>();
            assert_eq!(c_strrchr(text, b'/'.into()), text.add(3));
            assert!(c_strstr(text, c"x".as_ptr().cast()).is_null());
            assert_eq!(c_atoi(c"  -42x".as_ptr().cast()), -42);
        }
    }

    #[test]
    fn texts_are_appended_and_searched_as_the_standard_says() {
        let mut text = *b"ab\0xxxx";
        // SAFETY: terminated texts with room.
        unsafe {
            c_strncat(text.as_mut_ptr(), c"cdef".as_ptr().cast(), 3);
            assert_eq!(&text[..6], b"abcde\0");
            let found = c_strpbrk(text.as_ptr(), c"dx".as_ptr().cast());
            assert_eq!(found, &raw const text[3]);
            assert!(c_strpbrk(text.as_ptr(), c"z".as_ptr().cast()).is_null());
            assert_eq!((c_abs(-3), c_iswdigit(0x37), c_iswalpha(0xe4), c_iswspace(0x41)), (3, 1, 1, 0));
        }
    }
}
