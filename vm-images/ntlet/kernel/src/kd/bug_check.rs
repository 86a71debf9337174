//! A bug check as a debugger and a dump see it: registers and data that are kept, and two stops.

use core::fmt::Write as _;

use kd::wire::{STATUS_BUG_CHECK_FIRST, STATUS_BUG_CHECK_SECOND};

use super::hold::{keep_registers, others_are_gone};
use super::{blocks, break_with_status, dump, is_present, print, registers};
use crate::exception::registers::Registers;
use crate::{hal, try_hal};

/// Makes the header of a dump, and keeps what debuggers ask for after a bug check. Every other processor has stopped.
pub(crate) fn note_bug_check(code: u32, parameters: [u64; 4], registers: &Registers) {
    others_are_gone();
    let Some(machine) = try_hal().and_then(|hal| hal.debug()) else { return };
    keep_registers(&registers::frame_of(registers));
    blocks::set_bug_check(code, parameters);
    if let Some(region) = blocks::region(hal().current_processor()) {
        // SAFETY: this processor's own region.
        dump::prepare(machine, code, parameters, unsafe { &(*region).state.context });
    }
}

/// Stops in the debugger because of a bug check, before its callbacks are called or after them.
pub(crate) fn stop_for_bug_check(code: u32, parameters: [u64; 4], is_first: bool) {
    if !is_present() {
        return;
    }
    if is_first {
        let [a, b, c, d] = parameters;
        let mut text = Text { bytes: [0; 160], length: 0 };
        // What does not fit is cut.
        let _ = write!(
            text,
            "\n*** Fatal System Error: {code:#010x}\n                       ({a:#018X},{b:#018X},{c:#018X},{d:#018X})\n\n"
        );
        print(&text.bytes[..text.length]);
    }
    break_with_status(if is_first { STATUS_BUG_CHECK_FIRST } else { STATUS_BUG_CHECK_SECOND });
}

struct Text {
    bytes: [u8; 160],
    length: usize,
}

impl core::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            *self.bytes.get_mut(self.length).ok_or(core::fmt::Error)? = byte;
            self.length += 1;
        }
        Ok(())
    }
}
