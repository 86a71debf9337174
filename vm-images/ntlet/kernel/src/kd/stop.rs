//! A stop: what the debugger is told of it, and the conversation until it lets the target go on.

use kd::packet::kind;
use kd::wire::{
    ControlReport, Exception, ExceptionRecord, LoadSymbols, Manipulate, REPORT_SEGMENTS, REPORT_STANDARD_CS, STATE_EXCEPTION,
    STATE_LOAD_SYMBOLS, STATUS_WAKE_SYSTEM_DEBUGGER, StateChange,
};
use kd::zerocopy::{FromZeros as _, IntoBytes as _};

use super::hold::{Session, keep_registers, take_registers};
use super::requests::{Outcome, TRACE};
use super::transport::{Patience, Received, Sent};
use super::{DebugMachine, State, blocks, module_list, set_present};
use crate::entry::ExceptionFrame;
use crate::hal;
use crate::loader::modules::Module;

/// Why the target stops.
pub(super) enum Stop<'a> {
    /// An exception, and whether handlers have not been asked yet.
    Exception(&'a ExceptionRecord, bool),
    /// A module has come, or goes.
    Module(&'a Module, bool),
}

/// Stops: tells the debugger where and why, and does what it asks until it lets the target go on. Whether it has dealt with an exception.
pub(super) fn stop(frame: &mut ExceptionFrame, why: &Stop<'_>, patience: Patience) -> bool {
    let Some(machine) = hal().debug() else { return false };
    let Some(mut session) = Session::enter() else { return false };
    frame.rflags &= !u64::from(TRACE);
    keep_registers(frame);
    let own = session.own;
    let state = session.state();
    state.desk.sets_floating = false;
    let ending = converse(state, machine, own, why, patience);
    // Whoever asked for a stop meanwhile has had it.
    state.transport.break_in = false;
    let sets_floating = state.desk.sets_floating;
    take_registers(frame, sets_floating);
    pass_own_breakpoint(frame, own);
    drop(session);
    match ending {
        Ending::Continue(is_dealt_with) => is_dealt_with,
        Ending::BugCheck(code) => crate::bug_check::bug_check(code, [0; 4]),
    }
}

/// A hardware breakpoint stops before its instruction, and would again at once: the resume flag lets that one through.
fn pass_own_breakpoint(frame: &mut ExceptionFrame, own: u32) {
    const RESUME: u64 = 1 << 16;
    let Some(region) = blocks::region(own) else { return };
    // SAFETY: this processor's own region.
    let debug = unsafe { (*region).state.special.debug };
    let stops_execution = |number: usize| debug[5] >> (2 * number) & 3 != 0 && debug[5] >> (16 + 4 * number) & 3 == 0;
    if (0..4).any(|number| debug[number] == frame.rip && stops_execution(number)) {
        frame.rflags |= RESUME;
    }
}

enum Ending {
    Continue(bool),
    BugCheck(u32),
}

fn converse(state: &mut State, machine: &dyn DebugMachine, own: u32, why: &Stop<'_>, patience: Patience) -> Ending {
    let mut shown = own;
    loop {
        let (change, path, length) = describe(state, machine, shown, own, why);
        if state.transport.send(kind::STATE_CHANGE, &[change.as_bytes(), &path[..length]], patience) == Sent::Silence {
            set_present(false);
            return Ending::Continue(false);
        }
        set_present(true);
        loop {
            match state.transport.receive() {
                Received::Again => break,
                Received::Packet(kind::MANIPULATE) => {}
                Received::Packet(_) => continue,
            }
            match state.desk.carry_out(machine, own, state.transport.data()) {
                Outcome::Reply(reply, length) => send_reply(state, &reply, length),
                Outcome::Nothing => {}
                Outcome::Continue(is_dealt_with) => return Ending::Continue(is_dealt_with),
                Outcome::BugCheck(code) => return Ending::BugCheck(code),
                Outcome::Switch(processor) => {
                    shown = if blocks::region(processor).is_some() { processor } else { shown };
                    break;
                }
            }
        }
    }
}

fn send_reply(state: &mut State, reply: &Manipulate, length: usize) {
    // Endless: the target stands still anyway, and whoever comes next begins anew.
    state.transport.send(kind::MANIPULATE, &[reply.as_bytes(), &state.desk.reply[..length]], Patience::Endless);
}

/// Longest path in a state change.
const LONGEST_PATH: usize = 80;

/// The state change, and the path that follows it.
fn describe(
    state: &mut State,
    machine: &dyn DebugMachine,
    shown: u32,
    own: u32,
    why: &Stop<'_>,
) -> (StateChange, [u8; LONGEST_PATH], usize) {
    let mut change = StateChange::new_zeroed();
    let mut path = [0; LONGEST_PATH];
    let mut length = 0;
    change.processor = shown as u16;
    change.processor_count = hal().processor_count();
    if let Some(region) = blocks::region(shown) {
        // SAFETY: the region lives for ever, and its processor stands still.
        let (registers, thread) = unsafe { (&(*region).state, (*region).current_thread) };
        change.thread = thread.expose_provenance() as u64;
        change.rip = registers.context.rip;
        change.report = report(state, machine, registers);
    }
    match why {
        Stop::Exception(record, is_first_chance) => {
            change.state = STATE_EXCEPTION;
            let other = ExceptionRecord::new(STATUS_WAKE_SYSTEM_DEBUGGER, change.rip);
            let (record, first_chance) = if shown == own { (**record, *is_first_chance) } else { (other, true) };
            let exception = Exception { record, first_chance: u32::from(first_chance), padding: 0 };
            change.detail.copy_from_slice(exception.as_bytes());
        }
        Stop::Module(module, is_going) => {
            change.state = STATE_LOAD_SYMBOLS;
            length = write_path(&mut path, module);
            let symbols = LoadSymbols {
                path_length: length as u32,
                padding: 0,
                base: module.base() as u64,
                process: u64::MAX,
                checksum: module_list::checksum(module),
                size: module.size() as u32,
                unload: u8::from(*is_going),
                padding1: [0; 7],
            };
            change.detail[..size_of::<LoadSymbols>()].copy_from_slice(symbols.as_bytes());
        }
    }
    (change, path, length)
}

/// Puts a module's path with its terminator into `path`.
fn write_path(path: &mut [u8; LONGEST_PATH], module: &Module) -> usize {
    let parts = module_list::path(module);
    let room = LONGEST_PATH - 1;
    let bytes = parts.iter().flat_map(|part| part.bytes());
    path[..room].iter_mut().zip(bytes).map(|(place, byte)| *place = byte).count() + 1
}

/// Registers that the debugger gets at once, and the code there as it is without the debugger's breakpoints.
fn report(state: &mut State, machine: &dyn DebugMachine, registers: &kd::context::ProcessorState) -> ControlReport {
    const KERNEL_CODE: u16 = 0x10;
    let context = &registers.context;
    let mut report = ControlReport::new_zeroed();
    (report.dr6, report.dr7) = (registers.special.debug[4], registers.special.debug[5]);
    report.eflags = context.eflags;
    report.flags = REPORT_SEGMENTS | if context.cs == KERNEL_CODE { REPORT_STANDARD_CS } else { 0 };
    (report.cs, report.ds, report.es, report.fs) = (context.cs, context.ds, context.es, context.fs);
    state.desk.breakpoints.remove_range(machine, context.rip, report.stream.len() as u64);
    report.stream_length = machine.read_virtual(context.rip, &mut report.stream) as u16;
    report
}
