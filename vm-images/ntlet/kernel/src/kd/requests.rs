//! What a debugger asks of a target that stands still, and the answers.

use kd::context::{Context, ProcessorState, SpecialRegisters};
use kd::packet::MOST_DATA;
use kd::wire::{
    Breakpoints as BreakpointList, ContextPart, Continue2, DBG_EXCEPTION_NOT_HANDLED, Manipulate, Memory, Port, Query, SUCCESS,
    UNSUCCESSFUL, WriteBreakpoint, api, take,
};
use kd::zerocopy::{FromBytes as _, IntoBytes as _};

use super::breakpoints::Breakpoints;
use super::{DebugMachine, blocks};
use crate::hal;
use crate::processor::Kpcr;

/// Bytes that can follow an answer.
pub(super) const MOST_REPLY: usize = MOST_DATA - size_of::<Manipulate>();
/// Most breakpoints in one request.
const MOST_AT_ONCE: usize = 64;
/// Single step.
pub(super) const TRACE: u32 = 0x100;

/// What is to be done after a request.
pub(super) enum Outcome {
    /// Answer with this, and so many bytes of [`Desk::reply`].
    Reply(Manipulate, usize),
    /// No answer.
    Nothing,
    /// Go on: whether the exception is dealt with.
    Continue(bool),
    /// Show the target from another processor.
    Switch(u32),
    /// A bug check of this code.
    BugCheck(u32),
}

/// What requests work on.
pub(super) struct Desk {
    pub(super) breakpoints: Breakpoints,
    pub(super) reply: [u8; MOST_REPLY],
    /// The debugger has set x87 or SSE registers of the stopped processor, or debug registers of any.
    pub(super) sets_floating: bool,
    pub(super) sets_debug_registers: bool,
}

/// Registers of a processor that stands still.
fn state_of(processor: u16) -> Option<&'static mut ProcessorState> {
    // SAFETY: the region lives for ever, and its processor stands still.
    blocks::region(processor.into()).map(|region| unsafe { &mut (*region).state })
}

impl Desk {
    /// Carries out one request. `own` is the processor that has stopped.
    pub(super) fn carry_out(&mut self, machine: &dyn DebugMachine, own: u32, packet: &[u8]) -> Outcome {
        let Ok((mut request, data)) = Manipulate::read_from_prefix(packet) else { return Outcome::Nothing };
        let done = match request.api {
            api::READ_VIRTUAL_MEMORY | api::READ_PHYSICAL_MEMORY => self.read(machine, &mut request),
            api::WRITE_VIRTUAL_MEMORY | api::WRITE_PHYSICAL_MEMORY => write(machine, &mut request, data),
            api::GET_CONTEXT => self.get_context(&request),
            api::SET_CONTEXT => self.set_context(&request, data),
            api::GET_CONTEXT_EX => self.get_context_part(&mut request),
            api::SET_CONTEXT_EX => self.set_context_part(&mut request, data),
            api::READ_CONTROL_SPACE => self.read_control_space(&mut request),
            api::WRITE_CONTROL_SPACE => self.write_control_space(&mut request, data),
            api::WRITE_BREAKPOINT => self.set_breakpoint(machine, &mut request),
            api::RESTORE_BREAKPOINT => self.breakpoints.remove(machine, request.get::<u32>()).then_some(0),
            api::WRITE_BREAKPOINT_EX => self.set_breakpoints(machine, &request, data),
            api::RESTORE_BREAKPOINT_EX => self.remove_breakpoints(machine, &request, data),
            api::READ_IO_SPACE | api::WRITE_IO_SPACE => port(&mut request),
            api::QUERY_MEMORY => query(&mut request),
            api::CHECK_LOW_MEMORY => Some(0),
            api::GET_VERSION => {
                request.put(&blocks::version());
                Some(0)
            }
            api::CONTINUE => return Outcome::Continue(request.get::<u32>() != DBG_EXCEPTION_NOT_HANDLED),
            api::CONTINUE2 => return self.continue_with(&request, own),
            api::SWITCH_PROCESSOR => return Outcome::Switch(request.processor.into()),
            api::CAUSE_BUG_CHECK => return Outcome::BugCheck(request.get::<u32>()),
            api::REBOOT => machine.reset(),
            api::CLEAR_ALL_INTERNAL_BREAKPOINTS => return Outcome::Nothing,
            _ => None,
        };
        request.status = if done.is_some() { SUCCESS } else { UNSUCCESSFUL };
        Outcome::Reply(request, done.unwrap_or(0))
    }

    fn read(&mut self, machine: &dyn DebugMachine, request: &mut Manipulate) -> Option<usize> {
        let mut memory: Memory = request.get();
        let room = &mut self.reply[..(memory.count as usize).min(MOST_REPLY)];
        let length = match request.api {
            api::READ_VIRTUAL_MEMORY => machine.read_virtual(memory.address, room),
            _ => machine.read_physical(memory.address, room),
        };
        memory.done = length as u32;
        request.put(&memory);
        (length != 0 || memory.count == 0).then_some(length)
    }

    fn put(&mut self, bytes: &[u8]) -> usize {
        let length = bytes.len().min(MOST_REPLY);
        self.reply[..length].copy_from_slice(&bytes[..length]);
        length
    }

    fn get_context(&mut self, request: &Manipulate) -> Option<usize> {
        let context = state_of(request.processor)?.context;
        Some(self.put(context.as_bytes()))
    }

    fn get_context_part(&mut self, request: &mut Manipulate) -> Option<usize> {
        let mut part: ContextPart = request.get();
        let context = state_of(request.processor)?.context;
        let bytes = context.as_bytes().get(part.offset as usize..)?;
        let length = self.put(&bytes[..bytes.len().min(part.count as usize)]);
        part.done = length as u32;
        request.put(&part);
        Some(length)
    }

    fn set_context(&mut self, request: &Manipulate, data: &[u8]) -> Option<usize> {
        let (context, _) = Context::read_from_prefix(data).ok()?;
        self.merge(request.processor, &context)
    }

    fn set_context_part(&mut self, request: &mut Manipulate, data: &[u8]) -> Option<usize> {
        let mut part: ContextPart = request.get();
        let mut context = state_of(request.processor)?.context;
        let place = context.as_mut_bytes().get_mut(part.offset as usize..)?;
        let length = place.len().min(part.count as usize).min(data.len());
        place[..length].copy_from_slice(&data[..length]);
        part.done = length as u32;
        request.put(&part);
        self.merge(request.processor, &context)
    }

    fn merge(&mut self, processor: u16, context: &Context) -> Option<usize> {
        let state = state_of(processor)?;
        let before = state.context;
        state.context.merge(context);
        self.sets_floating |= before.floating != state.context.floating || before.mxcsr != state.context.mxcsr;
        if before.debug != state.context.debug {
            self.sets_debug_registers = true;
            state.special.debug = state.context.debug;
        }
        Some(0)
    }

    fn read_control_space(&mut self, request: &mut Manipulate) -> Option<usize> {
        let mut memory: Memory = request.get();
        let region = blocks::region(request.processor.into())?;
        // SAFETY: the region lives for ever, and its processor stands still.
        let (state, block, thread) = unsafe { (&(*region).state, (*region).current_prcb, (*region).current_thread) };
        let word = |address: usize| (address as u64).to_le_bytes();
        let length = match memory.address {
            0 => self.put(&word(region.expose_provenance())),
            1 => self.put(&word(block.expose_provenance())),
            2 => self.put(state.special.as_bytes()),
            3 => self.put(&word(thread.expose_provenance())),
            _ => return None,
        };
        memory.done = length.min(memory.count as usize) as u32;
        request.put(&memory);
        Some(memory.done as usize)
    }

    /// Debug registers can be set; the rest of the special registers is as the kernel needs it.
    fn write_control_space(&mut self, request: &mut Manipulate, data: &[u8]) -> Option<usize> {
        const SPECIAL_REGISTERS: u64 = 2;
        let mut memory: Memory = request.get();
        let state = state_of(request.processor)?;
        let (special, _) = SpecialRegisters::read_from_prefix(data).ok().filter(|_| memory.address == SPECIAL_REGISTERS)?;
        self.sets_debug_registers |= special.debug != state.special.debug;
        (state.special.debug, state.context.debug) = (special.debug, special.debug);
        memory.done = size_of::<SpecialRegisters>() as u32;
        request.put(&memory);
        Some(0)
    }

    fn set_breakpoint(&mut self, machine: &dyn DebugMachine, request: &mut Manipulate) -> Option<usize> {
        let mut wanted: WriteBreakpoint = request.get();
        wanted.handle = self.breakpoints.set(machine, wanted.address)?;
        request.put(&wanted);
        Some(0)
    }

    /// Sets several; each that cannot be set has handle 0 in the answer.
    fn set_breakpoints(&mut self, machine: &dyn DebugMachine, request: &Manipulate, data: &[u8]) -> Option<usize> {
        let size = size_of::<WriteBreakpoint>();
        let wanted = (request.get::<BreakpointList>().count as usize).min(MOST_AT_ONCE).min(data.len() / size);
        for (index, piece) in data.chunks_exact(size).take(wanted).enumerate() {
            let mut one: WriteBreakpoint = take(piece);
            one.handle = self.breakpoints.set(machine, one.address).unwrap_or(0);
            self.reply[index * size..][..size].copy_from_slice(one.as_bytes());
        }
        Some(wanted * size)
    }

    fn remove_breakpoints(&mut self, machine: &dyn DebugMachine, request: &Manipulate, data: &[u8]) -> Option<usize> {
        let size = size_of::<u32>();
        let wanted = (request.get::<BreakpointList>().count as usize).min(MOST_AT_ONCE).min(data.len() / size);
        let all =
            data.chunks_exact(size).take(wanted).fold(true, |all, piece| self.breakpoints.remove(machine, take(piece)) & all);
        self.put(&data[..wanted * size]);
        all.then_some(wanted * size)
    }

    fn continue_with(&mut self, request: &Manipulate, own: u32) -> Outcome {
        let wanted: Continue2 = request.get();
        if let Some(state) = u16::try_from(own).ok().and_then(state_of) {
            if wanted.trace != 0 {
                state.context.eflags |= TRACE;
            }
            let dr7 = u64::from(wanted.dr7[0]) | u64::from(wanted.dr7[1]) << 32;
            self.sets_debug_registers |= state.special.debug[5] != dr7;
            state.special.debug[5] = dr7;
        }
        Outcome::Continue(wanted.status != DBG_EXCEPTION_NOT_HANDLED)
    }
}

fn write(machine: &dyn DebugMachine, request: &mut Manipulate, data: &[u8]) -> Option<usize> {
    let mut memory: Memory = request.get();
    let data = &data[..data.len().min(memory.count as usize)];
    let length = match request.api {
        api::WRITE_VIRTUAL_MEMORY => machine.write_virtual(memory.address, data),
        _ => machine.write_physical(memory.address, data),
    };
    memory.done = length as u32;
    request.put(&memory);
    (length == data.len()).then_some(0)
}

fn port(request: &mut Manipulate) -> Option<usize> {
    let mut port: Port = request.get();
    let number = u16::try_from(port.address).ok()?;
    let width = u8::try_from(port.width).ok().filter(|width| matches!(width, 1 | 2 | 4))?;
    if request.api == api::READ_IO_SPACE {
        port.value = hal().port_read(number, width);
        request.put(&port);
    } else {
        hal().port_write(number, width, port.value);
    }
    Some(0)
}

/// What kind of memory lies at an address.
fn query(request: &mut Manipulate) -> Option<usize> {
    const KERNEL: u32 = 2;
    const READ_WRITE_EXECUTE: u32 = 7;
    let mut query: Query = request.get();
    query.space = if query.address >> 47 == 0 { 0 } else { KERNEL };
    query.flags = READ_WRITE_EXECUTE;
    request.put(&query);
    Some(0)
}

/// What a stopped processor's region is made of is what debuggers are told of.
const _: () = assert!(core::mem::offset_of!(Kpcr, state) == 0x280);
