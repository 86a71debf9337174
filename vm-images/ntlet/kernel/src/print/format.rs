//! The formatter: text and directives to units. A pointer that leads nowhere prints as such instead of faulting.

use wdf_sys::wdm::UNICODE_STRING;

use super::directive::{Directive, Size};
use crate::try_hal;

/// Longest string that a directive prints.
const LONGEST: usize = 4096;

/// Terminated text of bytes or of 16-bit units.
#[derive(Clone, Copy, Debug)]
pub enum Text {
    /// Bytes.
    Narrow(*const u8),
    /// Units.
    Wide(*const u16),
}

impl Text {
    /// The unit at an index.
    ///
    /// # Safety
    /// No terminator lies before it.
    pub(super) unsafe fn unit(self, index: usize) -> u16 {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Narrow(text) => u16::from(text.add(index).read()),
                Self::Wide(text) => text.add(index).read_unaligned(),
            }
        }
    }

    fn address(self) -> *const u8 {
        match self {
            Self::Narrow(text) => text,
            Self::Wide(text) => text.cast(),
        }
    }

    /// The unit at an index, if there is memory.
    fn checked_unit(self, index: usize) -> Option<u16> {
        let (address, size) = match self {
            Self::Narrow(text) => (text.wrapping_add(index), 1),
            Self::Wide(text) => (text.wrapping_add(index).cast(), 2),
        };
        // Asked at the first unit and wherever one may lie on a page that none before it lay on.
        if (index == 0 || address.addr() % crate::hal::PAGE_SIZE < size) && !is_readable(address, size) {
            return None;
        }
        // SAFETY: the memory was just asked for, or lies on the page of the unit before.
        Some(unsafe { self.unit(index) })
    }
}

fn is_readable(address: *const u8, size: usize) -> bool {
    !address.is_null() && try_hal().is_none_or(|hal| hal.is_mapped(address.cast(), size, false))
}

/// Arguments in the order of the Windows x64 convention: eight bytes each.
#[derive(Debug)]
pub struct Arguments(*const u64);

impl Arguments {
    /// From the address of the first, as in a `va_list`.
    #[must_use]
    pub fn new(first: *const u64) -> Self {
        Self(first)
    }

    /// The next one.
    ///
    /// # Safety
    /// There is one.
    pub(super) unsafe fn next(&mut self) -> u64 {
        // SAFETY: the caller's promise.
        unsafe {
            let value = self.0.read();
            self.0 = self.0.add(1);
            value
        }
    }
}

/// Formats to `out`.
///
/// # Safety
/// The format is terminated, and the arguments are those it asks for.
pub(super) unsafe fn format(format: Text, mut arguments: Arguments, out: &mut dyn FnMut(u16)) {
    let is_wide = matches!(format, Text::Wide(_));
    let mut at = 0;
    loop {
        // SAFETY: the loop ends at the terminator.
        let unit = unsafe { format.unit(at) };
        at += 1;
        match unit {
            0 => return,
            0x25 => {
                // SAFETY: the caller's promise.
                let (directive, length) = unsafe { Directive::read(format, at, &mut arguments) };
                // SAFETY: the caller's promise.
                if unsafe { put(&directive, is_wide, &mut arguments, out) } {
                    at += length;
                } else {
                    // No directive: the percent sign stands for itself, and what follows is text.
                    out(unit);
                }
            }
            _ => out(unit),
        }
    }
}

/// Whether it was a directive.
unsafe fn put(directive: &Directive, is_wide: bool, arguments: &mut Arguments, out: &mut dyn FnMut(u16)) -> bool {
    // SAFETY: the caller's promise: each directive has its argument.
    let mut next = || unsafe { arguments.next() };
    match directive.kind as u8 {
        _ if directive.kind > 0x7f => return false,
        b'%' => out(directive.kind),
        b'd' | b'i' => {
            let value = signed(directive.size, next());
            integer(directive, value < 0, true, value.unsigned_abs(), 10, false, out);
        }
        b'u' => integer(directive, false, false, unsigned(directive.size, next()), 10, false, out),
        b'x' => integer(directive, false, false, unsigned(directive.size, next()), 16, false, out),
        b'X' => integer(directive, false, false, unsigned(directive.size, next()), 16, true, out),
        b'o' => integer(directive, false, false, unsigned(directive.size, next()), 8, false, out),
        b'p' => {
            let pointer = Directive { precision: Some(16), zero: false, alternate: false, ..*directive };
            integer(&pointer, false, false, next(), 16, true, out);
        }
        b'c' | b'C' => {
            let value = next();
            let unit = if is_wide_text(directive, is_wide) { value as u16 } else { u16::from(value as u8) };
            padded(directive, &mut core::iter::once(unit), 1, out);
        }
        b's' | b'S' => {
            let address = next() as usize;
            let text = if is_wide_text(directive, is_wide) {
                Text::Wide(core::ptr::with_exposed_provenance(address))
            } else {
                Text::Narrow(core::ptr::with_exposed_provenance(address))
            };
            string(directive, text, None, out);
        }
        b'Z' => counted(directive, next(), out),
        // A float takes its argument and prints as a question mark: kernel code has no floating point to format.
        b'a' | b'A' | b'e' | b'E' | b'f' | b'g' | b'G' => {
            next();
            out(u16::from(b'?'));
        }
        // Writing through a pointer in a format is not done.
        b'n' => {
            next();
        }
        _ => return false,
    }
    true
}

/// Whether `%s` or `%c` (or their capitals, which mean the other kind) is of 16-bit units.
fn is_wide_text(directive: &Directive, is_wide_format: bool) -> bool {
    match directive.size {
        Size::Short | Size::Byte => false,
        Size::Long | Size::WideText => true,
        Size::Default | Size::Wide64 => (directive.kind & 0x20 == 0) != is_wide_format,
    }
}

fn signed(size: Size, value: u64) -> i64 {
    match size {
        Size::Byte => i64::from(value as i8),
        Size::Short => i64::from(value as i16),
        // On Windows a long has 32 bits.
        Size::Default | Size::Long | Size::WideText => i64::from(value as i32),
        Size::Wide64 => value as i64,
    }
}

fn unsigned(size: Size, value: u64) -> u64 {
    match size {
        Size::Byte => u64::from(value as u8),
        Size::Short => u64::from(value as u16),
        Size::Default | Size::Long | Size::WideText => u64::from(value as u32),
        Size::Wide64 => value,
    }
}

fn integer(directive: &Directive, negative: bool, is_signed: bool, value: u64, base: u64, upper: bool, out: &mut dyn FnMut(u16)) {
    let mut digits = [0u8; 24];
    let mut start = digits.len();
    let mut rest = value;
    let letters = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    while rest != 0 || (start == digits.len() && directive.precision != Some(0)) {
        start -= 1;
        digits[start] = letters[(rest % base) as usize];
        rest /= base;
    }
    let digits = &digits[start..];
    let prefix: &[u8] = match (negative, is_signed) {
        (true, _) => b"-",
        (_, true) if directive.plus => b"+",
        (_, true) if directive.space => b" ",
        _ if directive.alternate && base == 16 && value != 0 => {
            if upper {
                b"0X"
            } else {
                b"0x"
            }
        }
        _ if directive.alternate && base == 8 && digits.first() != Some(&b'0') => b"0",
        _ => b"",
    };
    let zeros = match directive.precision {
        Some(precision) => precision.saturating_sub(digits.len()),
        None if directive.zero && !directive.left => directive.width.saturating_sub(prefix.len() + digits.len()),
        None => 0,
    };
    let length = prefix.len() + zeros + digits.len();
    let text = prefix.iter().chain(core::iter::repeat_n(&b'0', zeros)).chain(digits).map(|&byte| u16::from(byte));
    padded(directive, &mut { text }, length, out);
}

fn padded(directive: &Directive, text: &mut dyn Iterator<Item = u16>, length: usize, out: &mut dyn FnMut(u16)) {
    let padding = directive.width.saturating_sub(length);
    let pad = |out: &mut dyn FnMut(u16)| (0..padding).for_each(|_| out(u16::from(b' ')));
    if !directive.left {
        pad(out);
    }
    text.for_each(&mut *out);
    if directive.left {
        pad(out);
    }
}

/// A string: up to its terminator, or `length` units.
fn string(directive: &Directive, text: Text, length: Option<usize>, out: &mut dyn FnMut(u16)) {
    if text.address().is_null() {
        return string(directive, Text::Narrow(c"(null)".as_ptr().cast()), None, out);
    }
    let limit = directive.precision.unwrap_or(LONGEST).min(length.unwrap_or(LONGEST)).min(LONGEST);
    let ends = |unit: u16| length.is_none() && unit == 0;
    let units = || (0..limit).map_while(|index| text.checked_unit(index).filter(|&unit| !ends(unit)));
    if limit > 0 && text.checked_unit(0).is_none() {
        return string(directive, Text::Narrow(c"(bad pointer)".as_ptr().cast()), None, out);
    }
    padded(directive, &mut units(), units().count(), out);
}

/// `%wZ` and `%lZ`: a `UNICODE_STRING`; `%Z`, `%hZ`: an `ANSI_STRING`, which has the same form.
fn counted(directive: &Directive, address: u64, out: &mut dyn FnMut(u16)) {
    let address = core::ptr::with_exposed_provenance::<UNICODE_STRING>(address as usize);
    if address.is_null() {
        return string(directive, Text::Narrow(core::ptr::null()), None, out);
    }
    if !is_readable(address.cast(), size_of::<UNICODE_STRING>()) {
        return string(directive, Text::Narrow(c"(bad pointer)".as_ptr().cast()), None, out);
    }
    // SAFETY: the memory was just asked for; any bytes are a value.
    let header = unsafe { address.read_unaligned() };
    let bytes = usize::from(header.Length);
    match directive.size {
        Size::Long | Size::WideText => string(directive, Text::Wide(header.Buffer), Some(bytes / 2), out),
        _ => string(directive, Text::Narrow(header.Buffer.cast()), Some(bytes), out),
    }
}
