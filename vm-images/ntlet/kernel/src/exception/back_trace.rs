//! Who called whom: exactly where modules have function tables, by frame pointers and by guessing where they have none.
//!
//! The image has no function tables. In it a frame is found by RBP where that leads up the stack to a return address, else by
//! looking up the stack for something that can be one: an address in a module's code, right after a call. An interrupt on the way is
//! recognised by what the processor pushed.

use super::registers::{RBP, RSP, Registers};
use super::unwind::{KernelMemory, Memory, unwind};
use crate::loader::modules;

/// Most frames.
pub(crate) const MOST: usize = 32;
/// How far up the stack a return address is looked for.
const SEARCHED_WORDS: u64 = 512;
/// How many words the machine's entry pushes at most, below the processor's frame.
const ENTRY_WORDS: u64 = 48;
/// Largest frame that a frame pointer may span.
const LARGEST_FRAME: u64 = 16 << 10;

/// A place on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Its address.
    pub(crate) address: usize,
    /// The address is one to return to: the call is before it, maybe as the last instruction of another function.
    pub(crate) is_return: bool,
}

/// Places from the innermost outwards, the first being where the registers are.
pub(crate) fn from(registers: &Registers) -> impl Iterator<Item = Frame> {
    let mut next = Some((*registers, false));
    (0..MOST).map_while(move |_| {
        let (registers, is_return) = next?;
        next = caller(&KernelMemory, &registers);
        Some(Frame { address: registers.rip as usize, is_return })
    })
}

/// Who called, or was interrupted; whether it was a call.
fn caller(memory: &impl Memory, registers: &Registers) -> Option<(Registers, bool)> {
    let mut exact = *registers;
    if unwind(memory, &mut exact, 0).is_some() && exact.rsp() > registers.rsp() && modules::find(exact.rip as usize).is_some() {
        return Some((exact, true));
    }
    if let Some(interrupted) = interrupted(memory, registers) {
        return Some((interrupted, false));
    }
    let found = by_frame_pointer(memory, registers).or_else(|| by_search(memory, registers));
    found.map(|found| (found, true))
}

/// What an interrupt interrupted, if the registers are those in the machine's entry: the processor's own frame lies right above, and
/// RBP is still the interrupted code's. A driver's RBP is seldom a frame pointer, so it must not be followed from there.
fn interrupted(memory: &impl Memory, registers: &Registers) -> Option<Registers> {
    const KERNEL_CODE: u64 = 0x10;
    const KERNEL_DATA: u64 = 0x18;
    let start = registers.rsp() & !7;
    let end = start.checked_add(ENTRY_WORDS * 8)?;
    // In any other function the words up to the frame pointer are its own.
    let limit = if (start..end).contains(&registers.general[RBP]) { registers.general[RBP] } else { end };
    for at in (start..limit).step_by(8) {
        let word = |index: u64| memory.read(at + index * 8);
        if word(1)? != KERNEL_CODE || word(4)? != KERNEL_DATA {
            continue;
        }
        let (rip, rsp) = (word(0)?, word(3)?);
        let is_in_code = modules::find(rip as usize).is_some_and(|module| module.has_code_at(rip as usize));
        if is_in_code && rsp >= at + 5 * 8 && rsp - at < LARGEST_FRAME {
            let mut found = *registers;
            (found.rip, found.general[RSP]) = (rip, rsp);
            return Some(found);
        }
    }
    None
}

fn by_frame_pointer(memory: &impl Memory, registers: &Registers) -> Option<Registers> {
    let frame = registers.general[RBP];
    let distance = frame.checked_sub(registers.rsp())?;
    if frame & 7 != 0 || distance > LARGEST_FRAME {
        return None;
    }
    let mut found = *registers;
    found.rip = memory.read(frame + 8).filter(|&address| is_return_address(memory, address))?;
    found.general[RBP] = memory.read(frame)?;
    found.general[RSP] = frame + 16;
    Some(found)
}

fn by_search(memory: &impl Memory, registers: &Registers) -> Option<Registers> {
    let start = registers.rsp() & !7;
    let mut found = *registers;
    for at in (start..start.checked_add(SEARCHED_WORDS * 8)?).step_by(8) {
        let word = memory.read(at)?;
        if is_return_address(memory, word) {
            found.rip = word;
            found.general[RSP] = at + 8;
            return Some(found);
        }
    }
    None
}

/// Whether an address lies in a module's code right after a call.
fn is_return_address(memory: &impl Memory, address: u64) -> bool {
    let Some(module) = modules::find(address as usize) else { return false };
    if !module.has_code_at(address as usize) || address - (module.base() as u64) < 7 {
        return false;
    }
    let before = |distance: u64| memory.read_u8(address - distance);
    let is_call_by_operand =
        |distance: u64| before(distance) == Some(0xff) && before(distance - 1).is_some_and(|operand| operand & 0x38 == 0x10);
    before(5) == Some(0xe8) || [2, 3, 4, 6, 7].into_iter().any(is_call_by_operand)
}

#[allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]
mod exported {
    use core::ffi::c_void;

    use super::{Frame, Registers, from};

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn RtlCaptureStackBackTrace(
        FramesToSkip: u32,
        FramesToCapture: u32,
        BackTrace: *mut *mut c_void,
        BackTraceHash: *mut u32,
    ) -> u16 {
        // The first is this function itself.
        let here = Registers::here();
        let addresses = from(&here).skip(FramesToSkip as usize + 1).take(FramesToCapture as usize);
        let (mut count, mut hash) = (0u16, 0u32);
        for Frame { address, .. } in addresses {
            // SAFETY: the caller's promise: room for as many addresses as it asks for.
            unsafe { BackTrace.add(usize::from(count)).write(core::ptr::with_exposed_provenance_mut(address)) };
            hash = hash.wrapping_add(address as u32);
            count += 1;
        }
        if !BackTraceHash.is_null() {
            // SAFETY: the caller's promise: null or a place for a number.
            unsafe { BackTraceHash.write(hash) };
        }
        count
    }
}
pub use exported::*;
