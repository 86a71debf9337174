//! A Rust panic in a driver: it is said on the debugger's console, then it is a bug check that carries file and line.

use core::fmt::Write;

use wdf_sys::wdm::functions::{DbgPrint, KeBugCheckEx};

/// Bug check code of a Rust panic. Codes that start with 0xE are for drivers that Microsoft did not write; the rest spells "RST".
/// Parameter 1: address of the file name (not terminated); 2: its length; 3: the line; 4: address of the message, which ends with a zero.
pub const RUST_PANIC: u32 = 0xe052_5354;

/// Longest message that is kept.
const MESSAGE_BYTES: usize = 256;

/// Ends the system. The body of a driver's panic handler; `driver_entry!` makes that.
pub fn bug_check(info: &core::panic::PanicInfo<'_>) -> ! {
    let mut message = Message { bytes: [0; MESSAGE_BYTES], length: 0 };
    // Running out of room truncates the message, which is not worth a second panic.
    let _ = write!(message, "{}", info.message());
    let (file, line) = info.location().map_or(("", 0), |location| (location.file(), location.line()));
    let width = i32::try_from(file.len()).unwrap_or(i32::MAX);
    // SAFETY: the format's arguments are, in order, a width and a pointer to that many bytes, an unsigned number, and a string with a
    // terminating zero.
    unsafe { DbgPrint(c"panic at %.*s:%u: %s\n".as_ptr().cast(), width, file.as_ptr(), line, message.bytes.as_ptr()) };
    // SAFETY: does not return; the parameters are only numbers to it.
    unsafe { KeBugCheckEx(RUST_PANIC, file.as_ptr() as usize, file.len(), line as usize, message.bytes.as_ptr() as usize) }
}

/// Text in a fixed array that always ends with a zero.
struct Message {
    bytes: [u8; MESSAGE_BYTES],
    length: usize,
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = &mut self.bytes[self.length..MESSAGE_BYTES - 1];
        let taken = text.len().min(room.len());
        room[..taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.length += taken;
        if taken == text.len() { Ok(()) } else { Err(core::fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_too_long_is_cut_and_still_ends_with_a_zero() {
        let mut message = Message { bytes: [0; MESSAGE_BYTES], length: 0 };
        assert!(message.write_str(&"x".repeat(MESSAGE_BYTES + 5)).is_err());
        assert_eq!((message.bytes[MESSAGE_BYTES - 2], message.bytes[MESSAGE_BYTES - 1]), (b'x', 0));
    }
}
