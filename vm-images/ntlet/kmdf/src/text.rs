//! Lines of text for the debugger: formatted on the stack, printed by the kernel.

use core::fmt;

use wdf_sys::wdm::functions::{DbgPrint, DbgPrintEx};

/// Longest line; what is longer is cut.
const LENGTH: usize = 320;

/// The component of lines that nobody waits for: ntlet may keep those in memory until somebody fetches them.
const LATE_COMPONENT: u32 = u32::from_le_bytes(*b"LATE");
/// `DPFLTR_INFO_LEVEL`.
const INFORMATION: u32 = 3;

/// A line under construction.
pub(crate) struct Line {
    bytes: [u8; LENGTH],
    length: usize,
}

impl Line {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; LENGTH], length: 0 }
    }

    /// Prints it, with an end of line.
    pub(crate) fn print(&mut self) {
        let text = self.end();
        // SAFETY: the format takes one string, which ends with a zero inside the buffer.
        unsafe { DbgPrint(c"%s".as_ptr().cast(), text) };
    }

    /// The same for a line that nobody waits for.
    pub(crate) fn print_late(&mut self) {
        let text = self.end();
        // SAFETY: as above.
        unsafe { DbgPrintEx(LATE_COMPONENT, INFORMATION, c"%s".as_ptr().cast(), text) };
    }

    fn end(&mut self) -> *const u8 {
        let end = self.length.min(LENGTH - 2);
        self.bytes[end] = b'\n';
        self.bytes[end + 1] = 0;
        self.bytes.as_ptr()
    }

    /// The text so far.
    #[cfg(test)]
    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or("")
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // A zero would end the line early for the kernel's printer.
        for byte in text.bytes().filter(|&byte| byte != 0) {
            if self.length < LENGTH - 2 {
                self.bytes[self.length] = if byte.is_ascii() { byte } else { b'?' };
                self.length += 1;
            }
        }
        Ok(())
    }
}

/// Prints a line about a driver.
pub(crate) fn report(driver: &str, message: fmt::Arguments<'_>) {
    let mut line = Line::new();
    let _ = fmt::write(&mut line, format_args!("wdf: {driver}: {message}"));
    line.print();
}

/// `report!(globals, "…")`: prints a line about a driver to the debugger.
#[macro_export]
#[doc(hidden)]
macro_rules! report {
    ($globals:expr, $($message:tt)*) => {
        $crate::text::report($globals.name(), format_args!($($message)*))
    };
}

#[cfg(test)]
mod tests {
    use core::fmt::Write;

    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_cut_and_zeros_and_other_scripts_are_replaced() {
        let mut line = Line::new();
        write!(line, "a\0b\u{e9}").expect("writing to a line never fails");
        assert_eq!(line.as_str(), "ab??");
        write!(line, "{:400}", "").expect("writing to a line never fails");
        assert_eq!(line.as_str().len(), LENGTH - 2);
    }
}
