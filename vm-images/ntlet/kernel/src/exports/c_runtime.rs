//! The rest of the C library that kernels export: the functions with bounds (`_s`), sorting, numbers, random numbers.
//!
//! As in `runtime`, none of the names is a symbol of the image.

use core::arch::naked_asm;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::print::{print_narrow, print_wide};
use crate::strings::length_of;

/// `errno_t`.
const EINVAL: i32 = 22;
const ERANGE: i32 = 34;
/// "As much as fits" for the functions with bounds.
const TRUNCATE: usize = usize::MAX;
const STRUNCATE: i32 = 80;

/// Copies text to a bounded buffer behind the `at` letters that are in it. What does not fit empties the buffer, as documented.
///
/// # Safety
/// There is room for `room` letters; `from` is terminated or has `limit` letters.
unsafe fn copy_bounded<T: Copy + PartialEq + Default>(to: *mut T, room: usize, at: usize, from: *const T, limit: usize) -> i32 {
    if to.is_null() || room == 0 {
        return EINVAL;
    }
    // SAFETY: the caller's promise.
    unsafe {
        if from.is_null() {
            to.write(T::default());
            return EINVAL;
        }
        let mut count = 0;
        while limit == TRUNCATE || count < limit {
            let letter = *from.add(count);
            if letter == T::default() {
                break;
            }
            if at + count + 1 >= room {
                if limit == TRUNCATE {
                    to.add(room - 1).write(T::default());
                    return STRUNCATE;
                }
                to.write(T::default());
                return ERANGE;
            }
            to.add(at + count).write(letter);
            count += 1;
        }
        if at + count >= room {
            to.write(T::default());
            return ERANGE;
        }
        to.add(at + count).write(T::default());
    }
    0
}

/// Length of a bounded text; `room` when it is not terminated there.
///
/// # Safety
/// `text` has `room` letters.
unsafe fn bounded_length<T: Copy + PartialEq + Default>(text: *const T, room: usize) -> usize {
    // SAFETY: the caller's promise.
    (0..room).take_while(|&index| unsafe { *text.add(index) } != T::default()).count()
}

/// No limit but the terminator; differs from [`TRUNCATE`], which cuts.
const WHOLE: usize = usize::MAX - 1;

macro_rules! bounded_functions {
    ($($copy:ident $copy_some:ident $append:ident $append_some:ident for $type:ty;)*) => {$(
        pub(super) unsafe extern "win64" fn $copy(to: *mut $type, room: usize, from: *const $type) -> i32 {
            // SAFETY: the caller's promise.
            unsafe { copy_bounded(to, room, 0, from, WHOLE) }
        }

        pub(super) unsafe extern "win64" fn $copy_some(to: *mut $type, room: usize, from: *const $type, limit: usize) -> i32 {
            // SAFETY: the caller's promise.
            unsafe { copy_bounded(to, room, 0, from, limit) }
        }

        pub(super) unsafe extern "win64" fn $append(to: *mut $type, room: usize, from: *const $type) -> i32 {
            // SAFETY: the caller's promise.
            unsafe { $append_some(to, room, from, WHOLE) }
        }

        pub(super) unsafe extern "win64" fn $append_some(to: *mut $type, room: usize, from: *const $type, limit: usize) -> i32 {
            // SAFETY: the caller's promise.
            unsafe {
                let at = if to.is_null() { 0 } else { bounded_length(to, room) };
                if !to.is_null() && room != 0 && at == room {
                    to.write(0);
                    return EINVAL;
                }
                copy_bounded(to, room, at, from, limit)
            }
        }
    )*};
}

bounded_functions! {
    c_strcpy_s c_strncpy_s c_strcat_s c_strncat_s for u8;
    c_wcscpy_s c_wcsncpy_s c_wcscat_s c_wcsncat_s for u16;
}

/// What does not fit clears the destination, as documented.
pub(super) unsafe extern "win64" fn c_memcpy_s(to: *mut u8, room: usize, from: *const u8, count: usize) -> i32 {
    if count == 0 {
        return 0;
    }
    if to.is_null() || room == 0 {
        return EINVAL;
    }
    // SAFETY: the caller's promise: `room` bytes at `to`, null or `count` at `from`. The ranges may overlap for `memmove_s`.
    unsafe {
        if from.is_null() || count > room {
            to.write_bytes(0, room);
            return if from.is_null() { EINVAL } else { ERANGE };
        }
        core::ptr::copy(from, to, count);
    }
    0
}

/// `sprintf_s(buffer, room, format, …)`: what does not fit empties the buffer.
#[unsafe(naked)]
pub(super) unsafe extern "win64" fn c_sprintf_s(buffer: *mut u8, room: usize, format: *const u8, first: usize) -> i32 {
    naked_asm!("mov [rsp + 32], r9", "lea r9, [rsp + 32]", "jmp {print}", print = sym c_vsprintf_s)
}

/// `swprintf_s(buffer, room, format, …)`.
#[unsafe(naked)]
pub(super) unsafe extern "win64" fn c_swprintf_s(buffer: *mut u16, room: usize, format: *const u16, first: usize) -> i32 {
    naked_asm!("mov [rsp + 32], r9", "lea r9, [rsp + 32]", "jmp {print}", print = sym c_vswprintf_s)
}

pub(super) unsafe extern "win64" fn c_vsprintf_s(buffer: *mut u8, room: usize, format: *const u8, arguments: *const u64) -> i32 {
    // SAFETY: the caller's promise: room, format and arguments.
    unsafe {
        let length = print_narrow(buffer, room, format, arguments);
        finish_bounded(buffer, room, length)
    }
}

pub(super) unsafe extern "win64" fn c_vswprintf_s(
    buffer: *mut u16,
    room: usize,
    format: *const u16,
    arguments: *const u64,
) -> i32 {
    // SAFETY: the caller's promise: room, format and arguments.
    unsafe {
        let length = print_wide(buffer, room, format, arguments);
        finish_bounded(buffer, room, length)
    }
}

/// # Safety
/// `buffer` has `room` letters.
unsafe fn finish_bounded<T: Default>(buffer: *mut T, room: usize, length: i32) -> i32 {
    if usize::try_from(length).is_ok_and(|length| length < room) {
        return length;
    }
    if room > 0 {
        // SAFETY: the caller's promise.
        unsafe { buffer.write(T::default()) };
    }
    -1
}

/// `_snprintf_s(buffer, room, count, format, …)`: at most `count` letters; `_TRUNCATE` for as many as fit.
pub(super) unsafe extern "win64" fn c_vsnprintf_s(
    buffer: *mut u8,
    room: usize,
    count: usize,
    format: *const u8,
    arguments: *const u64,
) -> i32 {
    // SAFETY: the caller's promise: room, format and arguments.
    unsafe {
        if buffer.is_null() || room == 0 {
            return -1;
        }
        let whole = if count == TRUNCATE { room - 1 } else { count.min(room - 1) };
        let length = print_narrow(buffer, whole, format, arguments);
        let fits = usize::try_from(length).is_ok_and(|length| length <= whole);
        buffer.add(if fits { length as usize } else { whole }).write(0);
        if !fits && count != TRUNCATE && count >= room {
            buffer.write(0);
        }
        if fits { length } else { -1 }
    }
}

#[unsafe(naked)]
pub(super) unsafe extern "win64" fn c_snprintf_s(buffer: *mut u8, room: usize, count: usize, format: *const u8) -> i32 {
    // The fifth argument of the function behind is the address of the first variable one.
    naked_asm!(
        "lea rax, [rsp + 40]",
        "sub rsp, 56",
        "mov [rsp + 32], rax",
        "call {print}",
        "add rsp, 56",
        "ret",
        print = sym c_vsnprintf_s,
    )
}

type Compare = unsafe extern "win64" fn(*const c_void, *const c_void) -> i32;

/// Sorts in place. By heap, so that no order of the input is a bad one and no memory is needed.
pub(super) unsafe extern "win64" fn c_qsort(base: *mut u8, count: usize, size: usize, compare: Compare) {
    if size == 0 || count < 2 {
        return;
    }
    let at = |index: usize| base.wrapping_add(index * size);
    // SAFETY: the caller's promise: `count` elements of `size` bytes, and a comparison of two.
    let less = |a: usize, b: usize| unsafe { compare(at(a).cast(), at(b).cast()) < 0 };
    // SAFETY: as above; the elements are different ones.
    let swap = |a: usize, b: usize| unsafe { core::ptr::swap_nonoverlapping(at(a), at(b), size) };
    let sift = |mut root: usize, end: usize| loop {
        let mut child = root * 2 + 1;
        if child >= end {
            return;
        }
        if child + 1 < end && less(child, child + 1) {
            child += 1;
        }
        if !less(root, child) {
            return;
        }
        swap(root, child);
        root = child;
    };
    (0..count / 2).rev().for_each(|root| sift(root, count));
    for end in (1..count).rev() {
        swap(0, end);
        sift(0, end);
    }
}

pub(super) unsafe extern "win64" fn c_bsearch(
    key: *const c_void,
    base: *const u8,
    count: usize,
    size: usize,
    compare: Compare,
) -> *const u8 {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        let element = base.wrapping_add(middle * size);
        // SAFETY: the caller's promise: sorted elements and a comparison of the key with one.
        match unsafe { compare(key, element.cast()) } {
            0 => return element,
            ..0 => high = middle,
            1.. => low = middle + 1,
        }
    }
    core::ptr::null()
}

/// A number in a base (0: as the text says), its end, and what it is cut to when it is too large.
///
/// # Safety
/// The text is terminated; `end` is null or a place for an address.
unsafe fn number(text: *const u8, end: *mut *const u8, base: i32) -> (u32, bool, bool) {
    // SAFETY: the caller's promise: the loops end at the terminator at the latest.
    unsafe {
        let mut at = text;
        while matches!(*at, b' ' | 9..=13) {
            at = at.add(1);
        }
        let negative = *at == b'-';
        if matches!(*at, b'-' | b'+') {
            at = at.add(1);
        }
        let is_hexadecimal = *at == b'0' && matches!(*at.add(1), b'x' | b'X') && at.add(2).read().is_ascii_hexdigit();
        let base = match base {
            0 | 16 if is_hexadecimal => 16,
            0 if *at == b'0' => 8,
            0 => 10,
            2..=36 => base as u32,
            _ => return (0, false, false),
        };
        if base == 16 && is_hexadecimal {
            at = at.add(2);
        }
        let (mut value, mut digits, mut overflow) = (0u32, 0, false);
        while let Some(digit) = char::from(*at).to_digit(base) {
            let (next, over) = value.overflowing_mul(base);
            let (next, more) = next.overflowing_add(digit);
            (value, overflow, digits) = (next, overflow | over | more, digits + 1);
            at = at.add(1);
        }
        if !end.is_null() {
            end.write(if digits == 0 { text } else { at });
        }
        (value, negative, overflow)
    }
}

pub(super) unsafe extern "win64" fn c_strtoul(text: *const u8, end: *mut *const u8, base: i32) -> u32 {
    // SAFETY: the caller's promise.
    match unsafe { number(text, end, base) } {
        (_, _, true) => u32::MAX,
        (value, true, _) => value.wrapping_neg(),
        (value, false, _) => value,
    }
}

pub(super) unsafe extern "win64" fn c_strtol(text: *const u8, end: *mut *const u8, base: i32) -> i32 {
    // SAFETY: the caller's promise.
    let (value, negative, overflow) = unsafe { number(text, end, base) };
    let limit = i32::MAX as u32 + u32::from(negative);
    let value = if overflow { limit } else { value.min(limit) };
    if negative { (value as i32).wrapping_neg() } else { value as i32 }
}

static SEED: AtomicU32 = AtomicU32::new(1);

pub(super) unsafe extern "win64" fn c_srand(seed: u32) {
    SEED.store(seed, Ordering::Relaxed);
}

pub(super) unsafe extern "win64" fn c_rand() -> i32 {
    let next = |seed: u32| seed.wrapping_mul(214_013).wrapping_add(2_531_011);
    let seed = SEED.load(Ordering::Relaxed);
    SEED.store(next(seed), Ordering::Relaxed);
    (next(seed) >> 16 & 0x7fff) as i32
}

pub(super) unsafe extern "win64" fn c_memchr(bytes: *const u8, byte: i32, count: usize) -> *const u8 {
    // SAFETY: the caller's promise: `count` bytes, or fewer if the byte is among them.
    let found = (0..count).find(|&index| unsafe { *bytes.add(index) } == byte as u8);
    found.map_or(core::ptr::null(), |index| bytes.wrapping_add(index))
}

pub(super) unsafe extern "win64" fn c_wcslwr(text: *mut u16) -> *mut u16 {
    // SAFETY: the caller's promise: terminated text that may be written.
    unsafe { core::slice::from_raw_parts_mut(text, length_of(text)) }
        .iter_mut()
        .for_each(|unit| *unit = crate::strings::downcase(*unit));
    text
}

pub(super) unsafe extern "win64" fn c_wcsupr(text: *mut u16) -> *mut u16 {
    // SAFETY: as above.
    unsafe { core::slice::from_raw_parts_mut(text, length_of(text)) }
        .iter_mut()
        .for_each(|unit| *unit = crate::strings::upcase(*unit));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_copies_say_what_does_not_fit_and_empty_the_buffer() {
        let mut buffer = [b'x'; 5];
        let to = buffer.as_mut_ptr();
        // SAFETY: five bytes of room; terminated texts.
        unsafe {
            assert_eq!(c_strcpy_s(to, 5, c"four".as_ptr().cast()), 0);
            assert_eq!(c_strcat_s(to, 5, c"!".as_ptr().cast()), ERANGE);
            assert_eq!(*to, 0);
            assert_eq!(c_strncpy_s(to, 5, c"too long".as_ptr().cast(), TRUNCATE), STRUNCATE);
            assert_eq!(&*to.cast::<[u8; 5]>(), b"too \0");
            assert_eq!(c_strncpy_s(to, 5, c"too long".as_ptr().cast(), 3), 0);
            assert_eq!(c_strcat_s(to, 5, c"!".as_ptr().cast()), 0);
            assert_eq!(&*to.cast::<[u8; 5]>(), b"too!\0");
            assert_eq!(c_strcpy_s(core::ptr::null_mut(), 5, c"".as_ptr().cast()), EINVAL);
            assert_eq!(c_vsprintf_s(to, 5, c"%d".as_ptr().cast(), [123_456u64].as_ptr()), -1);
            assert_eq!(*to, 0);
            assert_eq!(c_vsnprintf_s(to, 5, TRUNCATE, c"%d".as_ptr().cast(), [123_456u64].as_ptr()), -1);
            assert_eq!(&*to.cast::<[u8; 5]>(), b"1234\0");
        }
    }

    #[test]
    fn sorting_and_searching_by_the_callers_order() {
        unsafe extern "win64" fn order(a: *const c_void, b: *const c_void) -> i32 {
            // SAFETY: both are elements of the arrays below.
            unsafe { (*a.cast::<i32>()).cmp(&*b.cast::<i32>()) as i32 }
        }
        for length in 0..40 {
            let mut values: Vec<i32> = (0..length).map(|number| number * 7919 % 31 - 9).collect();
            let mut expected = values.clone();
            expected.sort_unstable();
            // SAFETY: elements of four bytes.
            unsafe { c_qsort(values.as_mut_ptr().cast(), values.len(), 4, order) };
            assert_eq!(values, expected);
            for wanted in -12..30 {
                // SAFETY: as above.
                let found = unsafe { c_bsearch((&raw const wanted).cast(), values.as_ptr().cast(), values.len(), 4, order) };
                assert_eq!(!found.is_null(), values.contains(&wanted), "{wanted}");
            }
        }
    }

    #[test]
    fn numbers_are_read_as_c_says() {
        let read = |text: &core::ffi::CStr, base| {
            let (start, mut end) = (text.as_ptr().cast::<u8>(), core::ptr::null());
            // SAFETY: terminated text.
            let value = unsafe { c_strtoul(start, &mut end, base) };
            (value, end.addr() - start.addr())
        };
        assert_eq!(read(c"  0x1fz", 0), (31, 6));
        assert_eq!(read(c"017", 0), (15, 3));
        assert_eq!(read(c"-1", 10), (u32::MAX, 2));
        assert_eq!(read(c"99999999999", 10), (u32::MAX, 11));
        assert_eq!(read(c"x", 10), (0, 0));
        // SAFETY: terminated text.
        assert_eq!(unsafe { c_strtol(c"-99999999999".as_ptr().cast(), core::ptr::null_mut(), 10) }, i32::MIN);
    }
}
