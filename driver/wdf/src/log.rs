//! The debugger's console: `log!("text {}", number)`.

use core::fmt::Write;

/// Longest line that is not cut.
const LINE_BYTES: usize = 256;

/// Writes one formatted line to the debugger's console. At any IRQL up to device level; lines longer than 255 bytes are cut.
#[macro_export]
macro_rules! log {
    ($($argument:tt)*) => { $crate::log::line(format_args!($($argument)*)) };
}

/// What [`log!`](crate::log!) calls.
pub fn line(text: core::fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; LINE_BYTES], length: 0 };
    // A line that is too long is cut; the log is no place to fail.
    let _ = line.write_fmt(text);
    line.print();
}

struct Line {
    bytes: [u8; LINE_BYTES],
    length: usize,
}

impl Line {
    fn print(&self) {
        #[cfg(target_os = "windows")]
        // SAFETY: the format takes one string that ends with a zero, which `write_str` never overwrites.
        unsafe {
            wdf_sys::wdm::functions::DbgPrint(c"%s\n".as_ptr().cast(), self.bytes.as_ptr());
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = &mut self.bytes[self.length..LINE_BYTES - 1];
        let taken = text.len().min(room.len());
        room[..taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.length += taken;
        if taken == text.len() { Ok(()) } else { Err(core::fmt::Error) }
    }
}
