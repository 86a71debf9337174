//! One directive of a format: flags, width, precision, size, type.

use super::format::{Arguments, Text};

/// Widths and precisions beyond this are taken as this: a format is not a way to fill the log.
const MOST: usize = 4096;

/// The size prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Size {
    #[default]
    Default,
    Byte,
    Short,
    Long,
    /// 64 bits; so are `I`, `z`, `t` and `j` here.
    Wide64,
    /// `w`: a wide string.
    WideText,
}

/// A directive, its starred numbers already taken from the arguments.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Directive {
    pub(super) left: bool,
    pub(super) plus: bool,
    pub(super) space: bool,
    pub(super) alternate: bool,
    pub(super) zero: bool,
    pub(super) width: usize,
    pub(super) precision: Option<usize>,
    pub(super) size: Size,
    /// The letter.
    pub(super) kind: u16,
}

impl Directive {
    /// Reads a directive whose percent sign is behind; returns it and its length.
    ///
    /// # Safety
    /// The format is terminated, and the arguments are those it asks for.
    pub(super) unsafe fn read(format: Text, start: usize, arguments: &mut Arguments) -> (Self, usize) {
        let mut directive = Self::default();
        let mut at = start;
        // SAFETY: units are read one by one up to the terminator, which is part of no directive.
        let unit = |at: usize| unsafe { format.unit(at) };
        loop {
            match unit(at) as u8 {
                b'-' => directive.left = true,
                b'+' => directive.plus = true,
                b' ' => directive.space = true,
                b'#' => directive.alternate = true,
                b'0' => directive.zero = true,
                _ => break,
            }
            at += 1;
        }
        let (width, after) = number(format, at, arguments);
        at = after;
        if let Some(width) = width {
            directive.left |= width < 0;
            directive.width = (width.unsigned_abs() as usize).min(MOST);
        }
        if unit(at) == u16::from(b'.') {
            let (precision, after) = number(format, at + 1, arguments);
            directive.precision = usize::try_from(precision.unwrap_or(0)).ok().map(|precision| precision.min(MOST));
            at = after;
        }
        let next = |at: usize| unit(at) as u8;
        let (size, length) = match (next(at), if next(at) == 0 { 0 } else { next(at + 1) }) {
            (b'h', b'h') => (Size::Byte, 2),
            (b'h', _) => (Size::Short, 1),
            (b'l', b'l') => (Size::Wide64, 2),
            (b'l', _) => (Size::Long, 1),
            (b'w', _) => (Size::WideText, 1),
            (b'I', b'6') if next(at + 2) == b'4' => (Size::Wide64, 3),
            (b'I', b'3') if next(at + 2) == b'2' => (Size::Default, 3),
            (b'I' | b'z' | b't' | b'j' | b'L', _) => (Size::Wide64, 1),
            _ => (Size::Default, 0),
        };
        directive.size = size;
        at += length;
        directive.kind = unit(at);
        (directive, at + usize::from(directive.kind != 0) - start)
    }
}

/// A number, written or starred, and where it ends.
fn number(format: Text, start: usize, arguments: &mut Arguments) -> (Option<i32>, usize) {
    // SAFETY: as for the caller: units are read one by one up to the terminator.
    let unit = |at: usize| unsafe { format.unit(at) };
    if unit(start) == u16::from(b'*') {
        // SAFETY: as for the caller: a star has its argument.
        return (Some(unsafe { arguments.next() } as i32), start + 1);
    }
    let (mut at, mut value) = (start, None);
    while let Some(digit) = char::from_u32(u32::from(unit(at))).and_then(|letter| letter.to_digit(10)) {
        value = Some(value.unwrap_or(0i32).saturating_mul(10).saturating_add(digit as i32));
        at += 1;
    }
    (value, at)
}
