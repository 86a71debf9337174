//! What a debugger asks of a target that stands still, and the answers.

use kd::context::{Context, ProcessorState, SpecialRegisters};
use kd::packet::MOST_DATA;
use kd::wire::{
    Breakpoints as BreakpointList, ContextPart, Continue2, DBG_EXCEPTION_NOT_HANDLED, FILL_PHYSICAL, FILL_VIRTUAL, Fill,
    Manipulate, Memory, ModelSpecific, NO_MORE_ENTRIES, NO_SUCH_DEVICE, Port, Query, SUCCESS, Search, UNSUCCESSFUL,
    WriteBreakpoint, api, take,
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
/// Longest pattern that is searched for, and longest range: the machine stands still meanwhile.
const LONGEST_PATTERN: usize = 256;
const LONGEST_SEARCH: u64 = 1 << 30;
/// Bytes that are searched, or filled with a short pattern, at a time.
const PIECE: usize = 512;
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
    /// The debugger has set x87 or SSE registers of the stopped processor.
    pub(super) sets_floating: bool,
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
            api::READ_VIRTUAL_MEMORY | api::READ_PHYSICAL_MEMORY => return self.read(machine, request),
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
            api::SEARCH_MEMORY => return search(machine, request, data),
            api::FILL_MEMORY => fill(machine, &mut request, data),
            api::READ_MODEL_SPECIFIC_REGISTER | api::WRITE_MODEL_SPECIFIC_REGISTER => model_specific(machine, &mut request),
            api::CHECK_LOW_MEMORY => Some(0),
            api::GET_VERSION => {
                request.put(&blocks::version());
                Some(0)
            }
            api::CONTINUE => return Outcome::Continue(request.get::<u32>() != DBG_EXCEPTION_NOT_HANDLED),
            api::CONTINUE2 => return continue_with(&request, own),
            api::SWITCH_PROCESSOR => return Outcome::Switch(request.processor.into()),
            api::CAUSE_BUG_CHECK => return Outcome::BugCheck(request.get::<u32>()),
            api::REBOOT => machine.reset(),
            // Breakpoints that the target counts by itself: there are none here, and debuggers expect no answer.
            api::SET_INTERNAL_BREAKPOINT
            | api::CLEAR_ALL_INTERNAL_BREAKPOINTS
            | api::SET_SPECIAL_CALL
            | api::CLEAR_SPECIAL_CALLS => return Outcome::Nothing,
            _ => None,
        };
        request.status = match (done, request.api) {
            (Some(_), _) => SUCCESS,
            (None, api::READ_MODEL_SPECIFIC_REGISTER | api::WRITE_MODEL_SPECIFIC_REGISTER) => NO_SUCH_DEVICE,
            (None, _) => UNSUCCESSFUL,
        };
        Outcome::Reply(request, done.unwrap_or(0))
    }

    /// As much as an answer holds. What is there is sent even if it is not all: only the status says so, as on Windows.
    fn read(&mut self, machine: &dyn DebugMachine, mut request: Manipulate) -> Outcome {
        let mut memory: Memory = request.get();
        let wanted = (memory.count as usize).min(MOST_REPLY);
        let room = &mut self.reply[..wanted];
        let length = match request.api {
            api::READ_VIRTUAL_MEMORY => machine.read_virtual(memory.address, room),
            _ => machine.read_physical(memory.address, room),
        };
        memory.done = length as u32;
        request.put(&memory);
        request.status = if length == wanted { SUCCESS } else { UNSUCCESSFUL };
        Outcome::Reply(request, length)
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
        state.special.debug = state.context.debug;
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
}

/// Goes on as the request says: for one instruction if it traces, with its DR7 on every processor, and no debug status on any.
fn continue_with(request: &Manipulate, own: u32) -> Outcome {
    const DR6: usize = 4;
    const DR7: usize = 5;
    let wanted: Continue2 = request.get();
    if wanted.trace != 0
        && let Some(state) = u16::try_from(own).ok().and_then(state_of)
    {
        state.context.eflags |= TRACE;
    }
    let dr7 = u64::from(wanted.dr7[0]) | u64::from(wanted.dr7[1]) << 32;
    for state in (0..hal().processor_count() as u16).filter_map(state_of) {
        (state.special.debug[DR6], state.special.debug[DR7]) = (0, dr7);
    }
    Outcome::Continue(wanted.status != DBG_EXCEPTION_NOT_HANDLED)
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

/// A register of the processor that has stopped, whichever the request names: the others stand still.
fn model_specific(machine: &dyn DebugMachine, request: &mut Manipulate) -> Option<usize> {
    let mut wanted: ModelSpecific = request.get();
    if request.api == api::WRITE_MODEL_SPECIFIC_REGISTER {
        let value = u64::from(wanted.low) | u64::from(wanted.high) << 32;
        return machine.write_model_specific(wanted.register, value).then_some(0);
    }
    let value = machine.read_model_specific(wanted.register)?;
    (wanted.low, wanted.high) = (value as u32, (value >> 32) as u32);
    request.put(&wanted);
    Some(0)
}

/// Looks for a pattern. Pages that are not there are passed over; a pattern is found across pages that follow each other.
fn search(machine: &dyn DebugMachine, mut request: Manipulate, data: &[u8]) -> Outcome {
    let mut wanted: Search = request.get();
    let pattern = data.get(..wanted.pattern_length as usize).filter(|pattern| (1..=LONGEST_PATTERN).contains(&pattern.len()));
    request.status = match pattern.filter(|_| wanted.length <= LONGEST_SEARCH) {
        None => UNSUCCESSFUL,
        Some(pattern) => match find(machine, wanted.address, wanted.length, pattern) {
            None => NO_MORE_ENTRIES,
            Some(found) => {
                wanted.address = found;
                request.put(&wanted);
                SUCCESS
            }
        },
    };
    Outcome::Reply(request, 0)
}

fn find(machine: &dyn DebugMachine, start: u64, length: u64, pattern: &[u8]) -> Option<u64> {
    const PAGE: u64 = crate::hal::PAGE_SIZE as u64;
    // A piece of a page, behind the end of the one before it, in which a match may begin.
    let mut window = [0; LONGEST_PATTERN + PIECE];
    let (mut kept, mut at, end) = (0, start, start.saturating_add(length));
    while at < end {
        let piece = (PAGE - at % PAGE).min(PIECE as u64).min(end - at) as usize;
        if machine.read_virtual(at, &mut window[kept..kept + piece]) != piece {
            (kept, at) = (0, at.checked_add(PAGE - at % PAGE)?);
            continue;
        }
        let filled = kept + piece;
        if let Some(place) = window[..filled].windows(pattern.len()).position(|bytes| bytes == pattern) {
            return Some(at - kept as u64 + place as u64);
        }
        let keep = filled.min(pattern.len() - 1);
        window.copy_within(filled - keep..filled, 0);
        (kept, at) = (keep, at + piece as u64);
    }
    None
}

/// Fills memory with a pattern, as far as it is there.
fn fill(machine: &dyn DebugMachine, request: &mut Manipulate, data: &[u8]) -> Option<usize> {
    let mut wanted: Fill = request.get();
    let pattern = data.get(..usize::from(wanted.pattern_length)).filter(|pattern| !pattern.is_empty())?;
    let write = |address: u64, bytes: &[u8]| match wanted.flags & (FILL_VIRTUAL | FILL_PHYSICAL) {
        FILL_VIRTUAL => Some(machine.write_virtual(address, bytes)),
        FILL_PHYSICAL => Some(machine.write_physical(address, bytes)),
        _ => None,
    };
    // Short patterns are written many at a time.
    let mut block = [0; PIECE];
    block.chunks_exact_mut(pattern.len()).for_each(|place| place.copy_from_slice(pattern));
    let repeated = if pattern.len() <= block.len() { &block[..block.len() / pattern.len() * pattern.len()] } else { pattern };
    let mut done = 0;
    while done < wanted.length as usize {
        let piece = &repeated[..repeated.len().min(wanted.length as usize - done)];
        let written = write(wanted.address.checked_add(done as u64)?, piece)?;
        done += written;
        if written < piece.len() {
            break;
        }
    }
    let is_whole = done == wanted.length as usize;
    wanted.length = done as u32;
    request.put(&wanted);
    is_whole.then_some(0)
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

#[cfg(test)]
mod tests {
    use std::boxed::Box;
    use std::sync::Mutex;
    use std::vec::Vec;

    use kd::wire::FILL_VIRTUAL;
    use proptest::prelude::*;

    use super::*;

    /// Ordinary memory, virtual and physical alike, from here on.
    const BASE: u64 = 0x1_0000;
    const SIZE: usize = 4 * 4096;

    struct Machine(Mutex<Vec<u8>>);

    impl Machine {
        fn new() -> Self {
            Self(Mutex::new(std::vec![0; SIZE]))
        }

        fn touch(&self, address: u64, length: usize, touch: impl FnOnce(&mut [u8])) -> usize {
            let Some(start) =
                address.checked_sub(BASE).and_then(|start| usize::try_from(start).ok()).filter(|start| *start < SIZE)
            else {
                return 0;
            };
            let length = length.min(SIZE - start);
            touch(&mut self.0.lock().unwrap()[start..start + length]);
            length
        }
    }

    impl DebugMachine for Machine {
        fn special_registers(&self, _: &mut SpecialRegisters) {}
        fn load_debug_registers(&self, _: &[u64; 6]) {}
        fn read_virtual(&self, address: u64, buffer: &mut [u8]) -> usize {
            let length = buffer.len();
            self.touch(address, length, |memory| buffer[..memory.len()].copy_from_slice(memory))
        }
        fn write_virtual(&self, address: u64, data: &[u8]) -> usize {
            self.touch(address, data.len(), |memory| memory.copy_from_slice(&data[..memory.len()]))
        }
        fn read_physical(&self, address: u64, buffer: &mut [u8]) -> usize {
            self.read_virtual(address, buffer)
        }
        fn write_physical(&self, address: u64, data: &[u8]) -> usize {
            self.write_virtual(address, data)
        }
        fn read_model_specific(&self, register: u32) -> Option<u64> {
            (register == 0x10).then_some(0x1_0000_0002)
        }
        fn write_model_specific(&self, _: u32, _: u64) -> bool {
            false
        }
        fn each_range_of_memory(&self, _: &mut dyn FnMut(u64, u64)) {}
        fn hold_other_processors(&self) -> u64 {
            0
        }
        fn reset(&self) -> ! {
            panic!("no test asks for it")
        }
    }

    fn desk() -> Box<Desk> {
        Box::new(Desk { breakpoints: Breakpoints::new(), reply: [0; MOST_REPLY], sets_floating: false })
    }

    fn ask(desk: &mut Desk, machine: &Machine, request: &Manipulate, data: &[u8]) -> (Manipulate, usize) {
        match desk.carry_out(machine, 0, &[request.as_bytes(), data].concat()) {
            Outcome::Reply(reply, length) => (reply, length),
            _ => panic!("no answer"),
        }
    }

    #[test]
    fn a_pattern_is_found_across_pieces_and_pages_and_behind_what_is_not_there() {
        let machine = Machine::new();
        for place in [0, 505, 4090, 4096, SIZE as u64 - 10] {
            machine.0.lock().unwrap().fill(0);
            machine.write_virtual(BASE + place, b"0123456789");
            let wanted = Search { address: BASE - 0x5000, length: 0x1_0000, pattern_length: 10, padding: 0 };
            let request = Manipulate::new(api::SEARCH_MEMORY, 0, &wanted);
            let (reply, _) = ask(&mut desk(), &machine, &request, b"0123456789");
            assert_eq!((reply.status, reply.get::<Search>().address), (SUCCESS, BASE + place));
            let (reply, _) = ask(&mut desk(), &machine, &request, b"0123456780");
            assert_eq!(reply.status, NO_MORE_ENTRIES);
        }
    }

    #[test]
    fn filling_repeats_the_pattern_and_tells_how_far_it_came() {
        let machine = Machine::new();
        let fill = |address: u64, length: u32| {
            let wanted = Fill { address, length, flags: FILL_VIRTUAL, pattern_length: 3 };
            let (reply, _) = ask(&mut desk(), &machine, &Manipulate::new(api::FILL_MEMORY, 0, &wanted), b"abc");
            (reply.status, reply.get::<Fill>().length)
        };
        assert_eq!(fill(BASE + 1, 7), (SUCCESS, 7));
        assert_eq!(machine.0.lock().unwrap()[..9], *b"\0abcabca\0");
        assert_eq!(fill(BASE + SIZE as u64 - 4, 100), (UNSUCCESSFUL, 4));
        assert_eq!(fill(0, 1), (UNSUCCESSFUL, 0));
    }

    #[test]
    fn a_read_that_runs_into_nothing_brings_what_there_is_and_says_that_it_is_not_all() {
        let read = |address: u64, count: u32| {
            let wanted = Memory { address, count, done: 0 };
            let request = Manipulate::new(api::READ_VIRTUAL_MEMORY, 0, &wanted);
            let (reply, length) = ask(&mut desk(), &Machine::new(), &request, &[]);
            (reply.status, reply.get::<Memory>().done, length)
        };
        assert_eq!(read(BASE, 8), (SUCCESS, 8, 8));
        assert_eq!(read(BASE + SIZE as u64 - 4, 8), (UNSUCCESSFUL, 4, 4));
        assert_eq!(read(0, 8), (UNSUCCESSFUL, 0, 0));
        assert_eq!(read(BASE, u32::MAX), (SUCCESS, MOST_REPLY as u32, MOST_REPLY));
    }

    #[test]
    fn what_nobody_knows_is_answered_with_its_own_header_and_unsuccessful() {
        let request = Manipulate::new(0x3fff, 7, &0x1234_5678_u64);
        let (reply, length) = ask(&mut desk(), &Machine::new(), &request, b"data");
        assert_eq!((reply.api, reply.processor, reply.status, length), (0x3fff, 7, UNSUCCESSFUL, 0));
        assert_eq!(reply.detail, request.detail);
    }

    proptest! {
        #[test]
        fn no_request_whatever_is_too_much(
            api in prop_oneof![
                proptest::sample::select(&[
                    api::READ_VIRTUAL_MEMORY, api::WRITE_VIRTUAL_MEMORY, api::READ_PHYSICAL_MEMORY, api::WRITE_PHYSICAL_MEMORY,
                    api::GET_CONTEXT, api::SET_CONTEXT, api::GET_CONTEXT_EX, api::SET_CONTEXT_EX, api::READ_CONTROL_SPACE,
                    api::WRITE_CONTROL_SPACE, api::WRITE_BREAKPOINT, api::RESTORE_BREAKPOINT, api::WRITE_BREAKPOINT_EX,
                    api::RESTORE_BREAKPOINT_EX, api::QUERY_MEMORY, api::SEARCH_MEMORY, api::FILL_MEMORY,
                    api::READ_MODEL_SPECIFIC_REGISTER, api::WRITE_MODEL_SPECIFIC_REGISTER, api::CHECK_LOW_MEMORY,
                ][..]),
                api::MAXIMUM..=u32::MAX,
            ],
            processor in any::<u16>(),
            address in prop_oneof![any::<u64>(), BASE - 0x2000..BASE + SIZE as u64 + 0x2000],
            sizes in any::<[u16; 4]>(),
            data in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            let mut detail = [0u8; 40];
            detail[..8].copy_from_slice(&address.to_le_bytes());
            detail[8..16].copy_from_slice(sizes.as_bytes());
            let request = Manipulate::new(api, processor, &detail);
            let mut desk = desk();
            let (reply, length) = ask(&mut desk, &Machine::new(), &request, &data);
            prop_assert_eq!((reply.api, reply.processor), (api, processor));
            prop_assert!(length <= MOST_REPLY);
            // Too short for a request: nothing to answer.
            let outcome = desk.carry_out(&Machine::new(), 0, &data[..data.len().min(20)]);
            prop_assert!(matches!(outcome, Outcome::Nothing));
        }
    }
}
