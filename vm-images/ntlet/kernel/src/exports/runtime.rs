//! What C compilers and C code expect a kernel to export: memory and string functions, the stack probe, a few variables, and the odd
//! `Rtl` function that belongs nowhere else.
//!
//! None of the C names is a symbol of the image: there they stand for functions of another calling convention. The memory functions
//! are leaves in assembly that change no preserved register, so that a fault in one (a driver copies from a program's buffer inside
//! `__try`) unwinds into the driver.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::arch::global_asm;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU8, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::{RTL_OSVERSIONINFOW, UNICODE_STRING};

use super::find;
use crate::strings::{downcase, length_of, upcase};

global_asm!(
    ".section .text.runtime_leaves, \"ax\"",
    ".balign 16",
    ".global ntlet_leaves_begin, ntlet_leaves_end",
    "ntlet_leaves_begin:",
    // rcx: to, rdx: from, r8: bytes. Returns rcx.
    ".global ntlet_memcpy",
    "ntlet_memcpy:",
    "mov rax, rcx",
    "cmp r8, 16",
    "jb 3f",
    "2: movups xmm0, [rdx]",
    "movups [rcx], xmm0",
    "add rdx, 16",
    "add rcx, 16",
    "sub r8, 16",
    "cmp r8, 16",
    "jae 2b",
    "3: test r8, r8",
    "jz 5f",
    "4: mov r9b, [rdx]",
    "mov [rcx], r9b",
    "inc rdx",
    "inc rcx",
    "dec r8",
    "jnz 4b",
    "5: ret",
    // The same; where the ranges overlap so that going up would read what was written, it goes down.
    ".global ntlet_memmove",
    "ntlet_memmove:",
    "mov rax, rcx",
    "sub rax, rdx",
    "cmp rax, r8",
    "jae ntlet_memcpy",
    "mov rax, rcx",
    "cmp r8, 16",
    "jb 3f",
    "2: sub r8, 16",
    "movups xmm0, [rdx + r8]",
    "movups [rcx + r8], xmm0",
    "cmp r8, 16",
    "jae 2b",
    "3: test r8, r8",
    "jz 5f",
    "4: dec r8",
    "mov r9b, [rdx + r8]",
    "mov [rcx + r8], r9b",
    "test r8, r8",
    "jnz 4b",
    "5: ret",
    // rcx: to, dl: byte, r8: bytes. Returns rcx.
    ".global ntlet_memset",
    "ntlet_memset:",
    "mov rax, rcx",
    "movzx edx, dl",
    "mov r9, 0x0101010101010101",
    "imul rdx, r9",
    "cmp r8, 8",
    "jb 3f",
    "2: mov [rcx], rdx",
    "add rcx, 8",
    "sub r8, 8",
    "cmp r8, 8",
    "jae 2b",
    "3: test r8, r8",
    "jz 5f",
    "4: mov [rcx], dl",
    "inc rcx",
    "dec r8",
    "jnz 4b",
    "5: ret",
    // rcx: to, rdx: bytes, r8b: byte.
    ".global ntlet_fill",
    "ntlet_fill:",
    "xchg rdx, r8",
    "jmp ntlet_memset",
    // rcx: to, rdx: bytes.
    ".global ntlet_zero",
    "ntlet_zero:",
    "mov r8, rdx",
    "xor edx, edx",
    "jmp ntlet_memset",
    // rcx, rdx: bytes to compare, r8: how many. Returns how many are equal.
    ".global ntlet_compare",
    "ntlet_compare:",
    "xor eax, eax",
    "2: cmp rax, r8",
    "jae 3f",
    "mov r9b, [rcx + rax]",
    "cmp r9b, [rdx + rax]",
    "jne 3f",
    "inc rax",
    "jmp 2b",
    "3: ret",
    // The same; returns less than, equal to or greater than 0.
    ".global ntlet_memcmp",
    "ntlet_memcmp:",
    "xor r10d, r10d",
    "2: cmp r10, r8",
    "jae 3f",
    "movzx eax, byte ptr [rcx + r10]",
    "movzx r9d, byte ptr [rdx + r10]",
    "inc r10",
    "sub eax, r9d",
    "jz 2b",
    "ret",
    "3: xor eax, eax",
    "ret",
    // rax: bytes that the caller is about to take off its stack. Touches each page on the way, and keeps every register but r10, r11.
    ".global ntlet_chkstk",
    "ntlet_chkstk:",
    "lea r10, [rsp + 8]",
    "sub r10, rax",
    "jnc 2f",
    "xor r10d, r10d",
    "2: mov r11, rsp",
    "3: sub r11, 4096",
    "cmp r11, r10",
    "jb 4f",
    "test [r11], r11b",
    "jmp 3b",
    "4: ret",
    // What a driver puts where a debugger is to stop, which finds the status in ECX. Without one it is an exception like any other.
    ".global DbgBreakPoint, DbgBreakPointWithStatus",
    "DbgBreakPoint:",
    "DbgBreakPointWithStatus:",
    "int3",
    "ret",
    "ntlet_leaves_end:",
    ".text",
);

unsafe extern "win64" {
    static ntlet_leaves_begin: u8;
    static ntlet_leaves_end: u8;
    #[link_name = "ntlet_memcpy"]
    pub(super) fn rt_memcpy(to: *mut c_void, from: *const c_void, bytes: usize) -> *mut c_void;
    #[link_name = "ntlet_memmove"]
    pub(super) fn rt_memmove(to: *mut c_void, from: *const c_void, bytes: usize) -> *mut c_void;
    #[link_name = "ntlet_memset"]
    pub(super) fn rt_memset(to: *mut c_void, byte: i32, bytes: usize) -> *mut c_void;
    #[link_name = "ntlet_fill"]
    pub(super) fn rt_fill(to: *mut c_void, bytes: usize, byte: i32);
    #[link_name = "ntlet_zero"]
    pub(super) fn rt_zero(to: *mut c_void, bytes: usize);
    #[link_name = "ntlet_compare"]
    pub(super) fn rt_compare(first: *const c_void, second: *const c_void, bytes: usize) -> usize;
    #[link_name = "ntlet_memcmp"]
    pub(super) fn rt_memcmp(first: *const c_void, second: *const c_void, bytes: usize) -> i32;
    #[link_name = "ntlet_chkstk"]
    pub(super) fn rt_chkstk();
    pub(super) fn DbgBreakPoint();
    pub(super) fn DbgBreakPointWithStatus(Status: u32);
}

/// Whether an address lies in one of the leaves above: there the stack pointer points to the return address.
pub(crate) fn is_leaf(address: usize) -> bool {
    ((&raw const ntlet_leaves_begin).addr()..(&raw const ntlet_leaves_end).addr()).contains(&address)
}

pub(super) static DEBUGGER_ENABLED: AtomicU8 = AtomicU8::new(0);
pub(super) static DEBUGGER_NOT_PRESENT: AtomicU8 = AtomicU8::new(1);
/// The upper bits mark a free (not a checked) build.
pub(super) static BUILD_NUMBER: u32 = 0xf000_0000 | crate::time::VERSION.2;
pub(super) static SAFE_BOOT_MODE: u32 = 0;
pub(super) static USER_PROBE_ADDRESS: usize = 0x7fff_ffff_0000;
pub(super) static HIGHEST_USER_ADDRESS: usize = 0x7fff_fffe_ffff;
pub(super) static SYSTEM_RANGE_START: usize = 0xffff_8000_0000_0000;

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

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlGetVersion(VersionInformation: *mut RTL_OSVERSIONINFOW) -> NTSTATUS {
    const WIN32_NT: u32 = 2;
    // SAFETY: the caller's promise: a structure that begins with its size; the longer form has further fields, which stay.
    unsafe {
        let info = &mut *VersionInformation;
        (info.dwMajorVersion, info.dwMinorVersion, info.dwBuildNumber) = crate::time::VERSION;
        info.dwPlatformId = WIN32_NT;
        info.szCSDVersion = [0; 128];
    }
    NTSTATUS::SUCCESS
}

/// A linear congruential generator, as documented: the seed is the state, the result has 31 bits.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlRandomEx(Seed: *mut u32) -> u32 {
    // SAFETY: the caller's promise: a seed.
    unsafe {
        let mut state = u64::from(*Seed) + 0x9e37_79b9_7f4a_7c15;
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        *Seed = (state >> 16) as u32 & 0x7fff_ffff;
        *Seed
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn MmGetSystemRoutineAddress(SystemRoutineName: *mut UNICODE_STRING) -> *mut c_void {
    const LONGEST: usize = 128;
    // SAFETY: the caller's promise: a string.
    let units = unsafe { (*SystemRoutineName).units() };
    let mut bytes = [0; LONGEST];
    let Some(place) = bytes.get_mut(..units.len()) else { return core::ptr::null_mut() };
    place.iter_mut().zip(units).for_each(|(byte, &unit)| *byte = u8::try_from(unit).unwrap_or(b'?'));
    let address = core::str::from_utf8(place).ok().and_then(find).unwrap_or(0);
    core::ptr::with_exposed_provenance_mut(address)
}

/// `MmUserProbeAddress`, `MmHighestUserAddress`, `MmSystemRangeStart`: where the numbers lie.
pub(crate) fn address_limits() -> [*const usize; 3] {
    [&raw const USER_PROBE_ADDRESS, &raw const HIGHEST_USER_ADDRESS, &raw const SYSTEM_RANGE_START]
}

/// There is a line to a debugger.
pub(crate) fn set_debugger_enabled() {
    DEBUGGER_ENABLED.store(1, Ordering::Relaxed);
}

/// A debugger answers, or does not any more.
pub(crate) fn set_debugger_present(is_present: bool) {
    DEBUGGER_NOT_PRESENT.store(u8::from(!is_present), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_moves_up_and_down_over_itself() {
        for (from, to, length) in [(0usize, 3usize, 40usize), (3, 0, 40), (0, 16, 33), (5, 5, 20), (0, 1, 0)] {
            let mut bytes: Vec<u8> = (0..64).collect();
            let mut expected = bytes.clone();
            expected.copy_within(from..from + length, to);
            // SAFETY: both ranges lie in the vector.
            unsafe { rt_memmove(bytes.as_mut_ptr().add(to).cast(), bytes.as_ptr().add(from).cast(), length) };
            assert_eq!(bytes, expected, "{from} {to} {length}");
        }
    }

    #[test]
    fn memory_is_filled_and_compared() {
        let mut bytes = [0xffu8; 21];
        // SAFETY: twenty of the bytes; then all of them.
        unsafe {
            rt_fill(bytes.as_mut_ptr().cast(), 20, 7);
            assert_eq!((bytes[19], bytes[20]), (7, 0xff));
            rt_zero(bytes.as_mut_ptr().cast(), 3);
            assert_eq!(rt_compare(bytes.as_ptr().cast(), [0u8, 0, 0, 7, 8].as_ptr().cast(), 5), 4);
            assert!(rt_memcmp(bytes.as_ptr().cast(), [0u8, 0, 1].as_ptr().cast(), 3) < 0);
            assert_eq!(rt_memcmp(bytes.as_ptr().cast(), [0u8, 0, 0].as_ptr().cast(), 3), 0);
        }
    }

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
}
