//! `DbgPrint` and its kin, and the C library's `printf` family that drivers import, over one formatter.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

mod directive;
mod format;

use core::arch::naked_asm;
use core::ffi::c_void;

use wdf_sys::{BOOLEAN, TRUE};

pub use format::{Arguments, Text};

/// Longest text of one `DbgPrint`, as documented.
const LONGEST: usize = 512;

/// Text that is put together for the log.
struct Buffer {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Buffer {
    fn push(&mut self, unit: u16) {
        let letter = char::from_u32(u32::from(unit)).unwrap_or('\u{fffd}');
        let mut bytes = [0; 4];
        let encoded = letter.encode_utf8(&mut bytes).as_bytes();
        if let Some(place) = self.bytes.get_mut(self.length..self.length + encoded.len()) {
            place.copy_from_slice(encoded);
            self.length += encoded.len();
        }
    }
}

/// The component of `DbgPrint`.
const DEFAULT_COMPONENT: u32 = 101;
/// The component of text that may come late (`kmdf::history`): none of Windows', which takes those that it does not know for the default.
const LATE_COMPONENT: u32 = u32::from_le_bytes(*b"LATE");

/// Writes a formatted text to the guest's log.
unsafe extern "win64" fn print(format: *const u8, arguments: *const u64, component: u32) -> u32 {
    let mut buffer = Buffer { bytes: [0; LONGEST], length: 0 };
    // SAFETY: the callers' promise: a format and its arguments.
    unsafe { format::format(Text::Narrow(format), Arguments::new(arguments), &mut |unit| buffer.push(unit)) };
    let text = &buffer.bytes[..buffer.length];
    // Units were encoded whole, so that only a cut at the end could be amiss.
    let text = match core::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => core::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or(""),
    };
    match component {
        _ if text.is_empty() => {}
        LATE_COMPONENT => crate::log::write_late(format_args!("{text}")),
        _ if crate::kd::print(text.as_bytes()) => {}
        _ => crate::log::write(format_args!("{text}")),
    }
    0
}

/// The first argument of the four that come in registers is the format; the rest join those on the stack.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "win64" fn DbgPrint(Format: *const u8, A: usize, B: usize, C: usize) -> u32 {
    naked_asm!(
        "mov [rsp + 16], rdx",
        "mov [rsp + 24], r8",
        "mov [rsp + 32], r9",
        "lea rdx, [rsp + 16]",
        "mov r8d, {component}",
        "jmp {print}",
        print = sym print,
        component = const DEFAULT_COMPONENT,
    )
}

#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "win64" fn DbgPrintEx(ComponentId: u32, Level: u32, Format: *const u8, A: usize) -> u32 {
    naked_asm!(
        "mov [rsp + 32], r9",
        "mov eax, ecx",
        "mov rcx, r8",
        "mov r8d, eax",
        "lea rdx, [rsp + 32]",
        "jmp {print}",
        print = sym print,
    )
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn vDbgPrintEx(ComponentId: u32, _Level: u32, Format: *const u8, Arguments: *mut c_void) -> u32 {
    // SAFETY: the caller's promise: a format and its arguments.
    unsafe { print(Format, Arguments.cast(), ComponentId) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn vDbgPrintExWithPrefix(
    Prefix: *const u8,
    _ComponentId: u32,
    _Level: u32,
    Format: *const u8,
    Arguments: *mut c_void,
) -> u32 {
    // SAFETY: the caller's promise: terminated texts and arguments.
    unsafe {
        let (first, mut prefix) = ([Prefix.addr() as u64], alloc::string::String::new());
        format::format(Text::Narrow(c"%s".as_ptr().cast()), self::Arguments::new(first.as_ptr()), &mut |unit| {
            prefix.push(char::from_u32(u32::from(unit)).unwrap_or('?'));
        });
        format::format(Text::Narrow(Format), self::Arguments::new(Arguments.cast()), &mut |unit| {
            if prefix.len() < LONGEST {
                prefix.push(char::from_u32(u32::from(unit)).unwrap_or('?'));
            }
        });
        if !crate::kd::print(prefix.as_bytes()) {
            crate::log::write(format_args!("{prefix}"));
        }
    }
    0
}

/// Asks whoever sits at the debugger. How many bytes the answer has, which is not terminated; none, when there is no debugger.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn DbgPrompt(Prompt: *const u8, Response: *mut u8, Length: u32) -> u32 {
    if Prompt.is_null() || Response.is_null() {
        return 0;
    }
    // SAFETY: the caller's promise: a terminated text, and so much room.
    let (question, answer) = unsafe {
        (core::ffi::CStr::from_ptr(Prompt.cast()).to_bytes(), core::slice::from_raw_parts_mut(Response, Length as usize))
    };
    crate::kd::prompt(question, answer) as u32
}

/// Every level of every component is printed.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn DbgQueryDebugFilterState(_ComponentId: u32, _Level: u32) -> BOOLEAN {
    TRUE
}

/// Where formatted text goes: at most `room` units and a terminator, as each of the C functions has it.
struct Output<T> {
    buffer: *mut T,
    room: usize,
    length: usize,
}

trait Unit: Copy {
    fn of(unit: u16) -> Self;
}

impl Unit for u8 {
    fn of(unit: u16) -> Self {
        Self::try_from(unit).unwrap_or(b'?')
    }
}

impl Unit for u16 {
    fn of(unit: u16) -> Self {
        unit
    }
}

impl<T: Unit> Output<T> {
    fn push(&mut self, unit: u16) {
        if self.length < self.room {
            // SAFETY: whoever made the output promised `room` units.
            unsafe { self.buffer.add(self.length).write(T::of(unit)) };
        }
        self.length = self.length.saturating_add(1);
    }

    /// Terminates the text where there is room; the length, or -1 when it did not fit.
    fn finish(self) -> i32 {
        if self.length < self.room {
            // SAFETY: as above.
            unsafe { self.buffer.add(self.length).write(T::of(0)) };
        }
        if self.length > self.room { -1 } else { i32::try_from(self.length).unwrap_or(-1) }
    }
}

pub(crate) unsafe extern "win64" fn print_narrow(buffer: *mut u8, room: usize, format: *const u8, arguments: *const u64) -> i32 {
    let mut output = Output { buffer, room, length: 0 };
    // SAFETY: the callers' promise: room, format and arguments.
    unsafe { format::format(Text::Narrow(format), Arguments::new(arguments), &mut |unit| output.push(unit)) };
    output.finish()
}

pub(crate) unsafe extern "win64" fn print_wide(buffer: *mut u16, room: usize, format: *const u16, arguments: *const u64) -> i32 {
    let mut output = Output { buffer, room, length: 0 };
    // SAFETY: the callers' promise: room, format and arguments.
    unsafe { format::format(Text::Wide(format), Arguments::new(arguments), &mut |unit| output.push(unit)) };
    output.finish()
}

// The names of the C library are exported to drivers under those names, but are none of the image's own symbols: there they would
// stand for functions of another calling convention.

pub(crate) unsafe extern "win64" fn c_vsnprintf(buffer: *mut u8, room: usize, format: *const u8, arguments: *const u64) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { print_narrow(buffer, room, format, arguments) }
}

pub(crate) unsafe extern "win64" fn c_vsnwprintf(
    buffer: *mut u16,
    room: usize,
    format: *const u16,
    arguments: *const u64,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { print_wide(buffer, room, format, arguments) }
}

#[unsafe(naked)]
pub(crate) unsafe extern "win64" fn c_snprintf(buffer: *mut u8, room: usize, format: *const u8, first: usize) -> i32 {
    naked_asm!("mov [rsp + 32], r9", "lea r9, [rsp + 32]", "jmp {print}", print = sym print_narrow)
}

#[unsafe(naked)]
pub(crate) unsafe extern "win64" fn c_snwprintf(buffer: *mut u16, room: usize, format: *const u16, first: usize) -> i32 {
    naked_asm!("mov [rsp + 32], r9", "lea r9, [rsp + 32]", "jmp {print}", print = sym print_wide)
}

#[unsafe(naked)]
pub(crate) unsafe extern "win64" fn c_sprintf(buffer: *mut u8, format: *const u8, first: usize, second: usize) -> i32 {
    naked_asm!(
        "mov [rsp + 24], r8",
        "mov [rsp + 32], r9",
        "lea r9, [rsp + 24]",
        "mov r8, rdx",
        "mov edx, 0x7fffffff",
        "jmp {print}",
        print = sym print_narrow,
    )
}

#[unsafe(naked)]
pub(crate) unsafe extern "win64" fn c_swprintf(buffer: *mut u16, format: *const u16, first: usize, second: usize) -> i32 {
    naked_asm!(
        "mov [rsp + 24], r8",
        "mov [rsp + 32], r9",
        "lea r9, [rsp + 24]",
        "mov r8, rdx",
        "mov edx, 0x7fffffff",
        "jmp {print}",
        print = sym print_wide,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(format: &core::ffi::CStr, arguments: &[u64]) -> String {
        let mut text = Vec::new();
        // SAFETY: the format is terminated and has as many arguments as it asks for.
        unsafe {
            format::format(Text::Narrow(format.as_ptr().cast()), Arguments::new(arguments.as_ptr()), &mut |unit| text.push(unit));
        }
        String::from_utf16_lossy(&text)
    }

    #[test]
    fn integers_of_every_size_and_base() {
        assert_eq!(formatted(c"%d %i %u", &[-1i32 as u32 as u64, 5, u64::from(u32::MAX)]), "-1 5 4294967295");
        assert_eq!(formatted(c"%x %X %o %#x %#o", &[255, 255, 8, 255, 8]), "ff FF 10 0xff 010");
        assert_eq!(formatted(c"%I64d %lld %I64x", &[u64::MAX, i64::MIN as u64, 1 << 40]), "-1 -9223372036854775808 10000000000");
        assert_eq!(formatted(c"%hd %hhu %I32u %zu", &[0x1_ffff, 0x1ff, 1 << 32 | 7, 1 << 40]), "-1 255 7 1099511627776");
        assert_eq!(formatted(c"%p", &[0xffff_a000_1234_abcd]), "FFFFA0001234ABCD");
    }

    #[test]
    fn flags_width_and_precision() {
        assert_eq!(formatted(c"[%5d][%-5d][%05d][%+d][% d]", &[42, 42, 42, 42, 42]), "[   42][42   ][00042][+42][ 42]");
        assert_eq!(
            formatted(c"[%.3d][%8.3x][%-*d|][%.*s]", &[5, 10, 4, 7, 2, c"abc".as_ptr() as u64]),
            "[005][     00a][7   |][ab]"
        );
        assert_eq!(formatted(c"[%05d][%#06x]", &[-3i32 as u32 as u64, 0x1f]), "[-0003][0x001f]");
    }

    #[test]
    fn strings_narrow_wide_and_counted() {
        let wide: Vec<u16> = "wïde\0".encode_utf16().collect();
        let (narrow, wide) = (c"narrow".as_ptr() as u64, wide.as_ptr() as u64);
        assert_eq!(formatted(c"%s %ws %S %ls %hs", &[narrow, wide, wide, wide, narrow]), "narrow wïde wïde wïde narrow");
        let units: Vec<u16> = "counted".encode_utf16().collect();
        let string = wdf_sys::wdm::UNICODE_STRING { Length: 10, MaximumLength: 14, Buffer: units.as_ptr().cast_mut() };
        assert_eq!(formatted(c"<%wZ><%10wZ>", &[&raw const string as u64, &raw const string as u64]), "<count><     count>");
        assert_eq!(formatted(c"%s %wZ %c%C", &[0, 0, b'x'.into(), b'y'.into()]), "(null) (null) xy");
    }

    #[test]
    fn what_is_no_directive_is_text() {
        assert_eq!(formatted(c"100%% %y %", &[]), "100% %y %");
    }

    #[test]
    fn a_text_that_does_not_fit_is_cut_and_says_so() {
        let mut buffer = [0xffu8; 4];
        // SAFETY: room for four bytes, and a format without arguments.
        let length = unsafe { print_narrow(buffer.as_mut_ptr(), 4, c"abcdef".as_ptr().cast(), core::ptr::null()) };
        assert_eq!((length, &buffer), (-1, b"abcd"));
        // SAFETY: as above.
        let length = unsafe { print_narrow(buffer.as_mut_ptr(), 4, c"ab".as_ptr().cast(), core::ptr::null()) };
        assert_eq!((length, &buffer[..3]), (2, &b"ab\0"[..]));
    }
}
