//! Leaving a function as its unwind codes say: the caller's registers from those inside it. Format: "x64 exception handling" in
//! Microsoft's documentation.
//!
//! All memory is read by way of a checked reader, because the stack or the codes may be damaged; what cannot be read ends the walk.

use super::registers::{RSP, Registers};
use crate::exports::leaves::is_leaf;
use crate::loader::modules::{self, Module, RuntimeFunction};

/// A handler is called for exceptions.
pub(crate) const EXCEPTION_HANDLER: u8 = 1;
/// A handler is called when the frame is unwound.
pub(crate) const UNWIND_HANDLER: u8 = 2;
/// The codes go on in another entry.
const CHAINED: u8 = 4;
/// Longest chain of entries.
const MAX_CHAIN: usize = 32;

/// Reads memory that may not be there.
pub(crate) trait Memory {
    /// Eight bytes.
    fn read(&self, address: u64) -> Option<u64>;

    /// Two bytes.
    fn read_u16(&self, address: u64) -> Option<u16> {
        let word = self.read(address & !7)?;
        let shift = (address & 7) * 8;
        match shift {
            56 => Some((word >> 56) as u16 | (self.read((address & !7).wrapping_add(8))? << 8) as u16),
            _ => Some((word >> shift) as u16),
        }
    }

    /// Four bytes.
    fn read_u32(&self, address: u64) -> Option<u32> {
        Some(u32::from(self.read_u16(address)?) | u32::from(self.read_u16(address.wrapping_add(2))?) << 16)
    }

    /// One byte.
    fn read_u8(&self, address: u64) -> Option<u8> {
        Some(self.read_u16(address & !1)?.to_le_bytes()[(address & 1) as usize])
    }
}

/// The kernel's own memory.
#[derive(Debug)]
pub(crate) struct KernelMemory;

impl Memory for KernelMemory {
    fn read(&self, address: u64) -> Option<u64> {
        let pointer = core::ptr::with_exposed_provenance::<u64>(address as usize);
        // SAFETY: the machine says that the bytes are mapped; a stack or a module does not go away while it is walked.
        crate::hal().is_mapped(pointer.cast(), 8, false).then(|| unsafe { pointer.read_unaligned() })
    }
}

/// What leaving one frame brought to light.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// The frame's identity for handlers: a stack address that does not change while its function runs.
    pub(crate) establisher: u64,
    /// Its handler, when it has one for what was asked and is past its prologue.
    pub(crate) handler: Option<Handler>,
}

/// A language-specific handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handler {
    pub(crate) module: Module,
    pub(crate) function: RuntimeFunction,
    /// Address of the routine.
    pub(crate) routine: u64,
    /// Address of its data.
    pub(crate) data: u64,
}

/// The header of unwind information and where its parts lie.
struct Info {
    flags: u8,
    prologue: u8,
    codes: u64,
    count: usize,
    frame_register: u8,
    frame_offset: u64,
    /// What follows the codes.
    tail: u64,
}

impl Info {
    fn read(memory: &impl Memory, address: u64) -> Option<Self> {
        let [first, prologue, count, frame] = memory.read_u32(address)?.to_le_bytes();
        if !matches!(first & 7, 1 | 2) {
            return None;
        }
        let codes = address + 4;
        let tail = codes + u64::from(count).next_multiple_of(2) * 2;
        Some(Self {
            flags: first >> 3,
            prologue,
            codes,
            count: usize::from(count),
            frame_register: frame & 15,
            frame_offset: u64::from(frame >> 4) * 16,
            tail,
        })
    }
}

/// Replaces registers inside a function by those of its caller. `kind` says which handler is wanted, 0 for none. `None` when the walk
/// cannot go on: the address is in no module with function tables, or memory is damaged.
pub(crate) fn unwind(memory: &impl Memory, registers: &mut Registers, kind: u8) -> Option<Frame> {
    let establisher = registers.rsp();
    if is_leaf(registers.rip as usize) {
        return_to_caller(memory, registers)?;
        return Some(Frame { establisher, handler: None });
    }
    let module = modules::find(registers.rip as usize)?;
    if module.slot() == modules::IMAGE {
        return None;
    }
    let offset = (registers.rip - module.base() as u64) as u32;
    let Some(function) = module.function_at(offset) else {
        // A leaf: it has moved no register and no stack.
        return_to_caller(memory, registers)?;
        return Some(Frame { establisher, handler: None });
    };
    unwind_function(memory, &module, function, registers, kind)
}

/// As [`unwind`], for a function that is known.
pub(crate) fn unwind_function(
    memory: &impl Memory,
    module: &Module,
    function: RuntimeFunction,
    registers: &mut Registers,
    kind: u8,
) -> Option<Frame> {
    let base = module.base() as u64;
    let inside = registers.rip.wrapping_sub(base + u64::from(function.begin));
    let mut info = Info::read(memory, base + u64::from(function.unwind))?;
    let establisher = establisher(memory, &info, registers, inside)?;
    let past_prologue = inside >= u64::from(info.prologue);
    if past_prologue && let Some(left) = leave_epilogue(memory, registers, base, function) {
        *registers = left;
        return Some(Frame { establisher, handler: None });
    }
    let mut handler = None;
    let mut in_primary = true;
    for _ in 0..MAX_CHAIN {
        let reached = if in_primary { inside } else { u64::MAX };
        let saw_machine_frame = undo(memory, &info, registers, reached)?;
        if info.flags & CHAINED == 0 {
            if past_prologue && info.flags & kind != 0 {
                let routine = base + u64::from(memory.read_u32(info.tail)?);
                handler = Some(Handler { module: *module, function, routine, data: info.tail + 4 });
            }
            if !saw_machine_frame {
                return_to_caller(memory, registers)?;
            }
            return Some(Frame { establisher, handler });
        }
        let next = memory.read_u32(info.tail + 8)?;
        info = Info::read(memory, base + u64::from(next))?;
        in_primary = false;
    }
    None
}

fn return_to_caller(memory: &impl Memory, registers: &mut Registers) -> Option<()> {
    registers.rip = memory.read(registers.rsp())?;
    registers.general[RSP] = registers.rsp().wrapping_add(8);
    Some(())
}

const PUSH_NONVOLATILE: u8 = 0;
const ALLOCATE_LARGE: u8 = 1;
const ALLOCATE_SMALL: u8 = 2;
const SET_FRAME_REGISTER: u8 = 3;
const SAVE_NONVOLATILE: u8 = 4;
const SAVE_NONVOLATILE_FAR: u8 = 5;
const EPILOGUE: u8 = 6;
const SPARE: u8 = 7;
const SAVE_XMM: u8 = 8;
const SAVE_XMM_FAR: u8 = 9;
const PUSH_MACHINE_FRAME: u8 = 10;

/// One unwind code.
struct Code {
    /// Offset after the instruction it describes.
    offset: u8,
    operation: u8,
    info: u8,
    /// What follows it.
    operand: u64,
    slots: usize,
}

fn code(memory: &impl Memory, info: &Info, index: usize) -> Option<Code> {
    let at = info.codes + index as u64 * 2;
    let [offset, rest] = memory.read_u16(at)?.to_le_bytes();
    let (operation, detail) = (rest & 15, rest >> 4);
    let (operand, slots) = match (operation, detail) {
        (ALLOCATE_LARGE, 0) => (u64::from(memory.read_u16(at + 2)?) * 8, 2),
        (ALLOCATE_LARGE, 1) | (SAVE_NONVOLATILE_FAR | SAVE_XMM_FAR, _) => (u64::from(memory.read_u32(at + 2)?), 3),
        (ALLOCATE_SMALL, _) => (u64::from(detail) * 8 + 8, 1),
        (SAVE_NONVOLATILE, _) => (u64::from(memory.read_u16(at + 2)?) * 8, 2),
        (SAVE_XMM, _) => (u64::from(memory.read_u16(at + 2)?) * 16, 2),
        (EPILOGUE, _) => (0, 1),
        (SPARE, _) => (0, 2),
        (PUSH_NONVOLATILE | SET_FRAME_REGISTER | PUSH_MACHINE_FRAME, _) => (0, 1),
        _ => return None,
    };
    Some(Code { offset, operation, info: detail, operand, slots })
}

fn establisher(memory: &impl Memory, info: &Info, registers: &Registers, inside: u64) -> Option<u64> {
    if info.frame_register == 0 {
        return Some(registers.rsp());
    }
    let mut index = 0;
    let mut is_set = inside >= u64::from(info.prologue) || info.flags & CHAINED != 0;
    while index < info.count && !is_set {
        let code = code(memory, info, index)?;
        is_set = code.operation == SET_FRAME_REGISTER && inside >= u64::from(code.offset);
        index += code.slots;
    }
    let register = registers.general[usize::from(info.frame_register)];
    Some(if is_set { register.wrapping_sub(info.frame_offset) } else { registers.rsp() })
}

/// Undoes what the prologue has done as far as it has come. Whether it was an interrupt's frame, which holds its own return address.
fn undo(memory: &impl Memory, info: &Info, registers: &mut Registers, inside: u64) -> Option<bool> {
    let mut index = 0;
    while index < info.count {
        let code = code(memory, info, index)?;
        index += code.slots;
        if u64::from(code.offset) > inside {
            continue;
        }
        let register = usize::from(code.info);
        // Saved registers lie at offsets from where the stack pointer was after the prologue: from the frame register if there is one.
        let frame = match info.frame_register {
            0 => registers.rsp(),
            number => registers.general[usize::from(number)].wrapping_sub(info.frame_offset),
        };
        match code.operation {
            PUSH_NONVOLATILE => {
                registers.general[register] = memory.read(registers.rsp())?;
                registers.general[RSP] = registers.rsp().wrapping_add(8);
            }
            ALLOCATE_LARGE | ALLOCATE_SMALL => registers.general[RSP] = registers.rsp().wrapping_add(code.operand),
            SET_FRAME_REGISTER => registers.general[RSP] = frame,
            SAVE_NONVOLATILE | SAVE_NONVOLATILE_FAR => {
                registers.general[register] = memory.read(frame.wrapping_add(code.operand))?;
            }
            SAVE_XMM | SAVE_XMM_FAR => {
                let at = frame.wrapping_add(code.operand);
                let value = u128::from(memory.read(at)?) | u128::from(memory.read(at.wrapping_add(8))?) << 64;
                if let Some(slot) = register.checked_sub(6).and_then(|number| registers.xmm.get_mut(number)) {
                    *slot = value;
                }
            }
            PUSH_MACHINE_FRAME => {
                let at = registers.rsp().wrapping_add(u64::from(code.info & 1) * 8);
                registers.rip = memory.read(at)?;
                registers.general[RSP] = memory.read(at.wrapping_add(24))?;
                return Some(true);
            }
            _ => {}
        }
    }
    Some(false)
}

/// If the instructions from here on are an epilogue (an addition to the stack pointer, pops, and a return or a jump out of the
/// function), does what they would do.
fn leave_epilogue(memory: &impl Memory, from: &Registers, base: u64, function: RuntimeFunction) -> Option<Registers> {
    let mut registers = *from;
    let mut at = registers.rip;
    let byte = |at: u64| memory.read_u8(at);
    match (byte(at)?, byte(at + 1)?, byte(at + 2)?) {
        (0x48, 0x83, 0xc4) => {
            registers.general[RSP] = registers.rsp().wrapping_add_signed(i64::from(byte(at + 3)? as i8));
            at += 4;
        }
        (0x48, 0x81, 0xc4) => {
            registers.general[RSP] = registers.rsp().wrapping_add_signed(i64::from(memory.read_u32(at + 3)? as i32));
            at += 7;
        }
        _ => {}
    }
    loop {
        let (number, length) = match (byte(at)?, byte(at + 1)?) {
            (operation @ 0x58..=0x5f, _) => (operation & 7, 1),
            (0x41, operation @ 0x58..=0x5f) => (8 | operation & 7, 2),
            _ => break,
        };
        registers.general[usize::from(number)] = memory.read(registers.rsp())?;
        registers.general[RSP] = registers.rsp().wrapping_add(8);
        at += length;
    }
    let leaves = |target: u64| {
        let offset = target.wrapping_sub(base);
        offset < u64::from(function.begin) || offset >= u64::from(function.end)
    };
    // A jump alone may lead to another part of this function, whose frame still stands.
    let has_begun = at != from.rip;
    let is_exit = match (byte(at)?, byte(at + 1)?) {
        (0xc3 | 0xc2, _) | (0xf3, 0xc3) => true,
        (0xe9 | 0xeb | 0x48, _) if !has_begun => false,
        (0xe9, _) => leaves(at.wrapping_add(5).wrapping_add_signed(i64::from(memory.read_u32(at + 1)? as i32))),
        (0xeb, displacement) => leaves(at.wrapping_add(2).wrapping_add_signed(i64::from(displacement as i8))),
        (0x48, 0xff) => byte(at + 2)? & 0x38 == 0x20,
        _ => false,
    };
    if !is_exit {
        return None;
    }
    return_to_caller(memory, &mut registers)?;
    Some(registers)
}
