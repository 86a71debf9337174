//! The kernel debugger's side in the target: KD over COM1, as a Windows 10 target for x64 speaks it, when the command line has
//! `debug=com1` (`debug=com1,wait` stands still at the start until a debugger comes). And what debuggers and crash dumps find in memory.
//!
//! While one processor talks to the debugger all others stand still. Nothing here takes a lock of the rest of the kernel, allocates or
//! waits for it: whoever has stopped may hold anything.

mod blocks;
mod breakpoints;
mod dump;
mod machine;
pub(crate) mod module_list;
mod port;
mod registers;
mod requests;
mod transport;

use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::fmt::Write as _;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use kd::packet::kind;
use kd::wire::{
    ControlReport, DebugIo, Exception, ExceptionRecord, LoadSymbols, Manipulate, PRINT_STRING, REPORT_SEGMENTS,
    REPORT_STANDARD_CS, STATE_EXCEPTION, STATE_LOAD_SYMBOLS, STATUS_BREAKPOINT, STATUS_BUG_CHECK_FIRST, STATUS_BUG_CHECK_SECOND,
    STATUS_CONTROL_C, StateChange,
};
use kd::zerocopy::{FromZeros as _, IntoBytes as _};

use crate::entry::{Boot, ExceptionFrame};
use crate::exception::registers::Registers;
use crate::hal::LineShape;
use crate::loader::modules::{self, Module};
use crate::{hal, try_hal};
use breakpoints::Breakpoints;
pub use machine::DebugMachine;
use requests::{Desk, MOST_REPLY, Outcome, TRACE};
use transport::{Patience, Received, Sent, Transport};

/// IRQL of the debugger's interrupt: only the clock and requests of other processors come above it.
const IRQL: crate::hal::Irql = 12;
/// Units of 100 ns that other processors have to stand still.
const HOLD_LIMIT: u64 = 10_000_000;
/// Times that a packet is sent before the debugger counts as gone.
const TRIES: Patience = Patience::Times(4);
/// Longest text of one packet, as Windows has it.
const LONGEST_TEXT: usize = 512;
/// Services of `int 2d`.
const SERVICE_LOAD: u32 = 3;
const SERVICE_UNLOAD: u32 = 4;

const NOBODY: u32 = u32::MAX;
static ENABLED: AtomicBool = AtomicBool::new(false);
/// A debugger has answered lately.
static PRESENT: AtomicBool = AtomicBool::new(false);
/// Wait for a debugger at the next stop, even if none has answered.
static WAIT: AtomicBool = AtomicBool::new(false);
/// Vector of the debugger's interrupt.
static VECTOR: AtomicU32 = AtomicU32::new(NOBODY);
/// The processor that talks to the debugger.
static OWNER: AtomicU32 = AtomicU32::new(NOBODY);
/// Others are to stand still.
static HOLDING: AtomicBool = AtomicBool::new(false);
/// Processors that do.
static HELD: AtomicU64 = AtomicU64::new(0);
/// Counts the times that others were let go.
static RELEASES: AtomicU64 = AtomicU64::new(0);
/// Every other processor has stopped for good.
static OTHERS_ARE_GONE: AtomicBool = AtomicBool::new(false);

/// The conversation, which belongs to [`OWNER`].
struct State {
    transport: Transport,
    desk: Desk,
}

struct Owned(UnsafeCell<State>);

// SAFETY: used by the processor that is the owner.
unsafe impl Sync for Owned {}

static STATE: Owned = Owned(UnsafeCell::new(State {
    transport: Transport::new(),
    desk: Desk { breakpoints: Breakpoints::new(), reply: [0; MOST_REPLY], sets_floating: false, sets_debug_registers: false },
}));

/// Sets up what debuggers find in memory, and the debugger's line if the command line names it. On the first processor, before anything else runs.
pub(crate) fn start(boot: &Boot) {
    if boot.hal.debug().is_none() {
        return;
    }
    blocks::start(break_with_status as *const () as usize);
    let options = boot.command_line.split_ascii_whitespace().find_map(|word| word.strip_prefix("debug="));
    let Some(options) = options else { return };
    let mut options = options.split(',');
    if options.next() != Some("com1") {
        log!("the command line's debug= names no port that there is; it can be com1");
        return;
    }
    WAIT.store(options.any(|option| option == "wait"), Ordering::Relaxed);
    crate::exports::set_debugger_enabled();
    ENABLED.store(true, Ordering::Release);
    let shape = LineShape { level: false, active_low: false };
    if let Some(vector) = boot.hal.connect_line(port::GSI, IRQL, shape) {
        VECTOR.store(vector.into(), Ordering::Release);
        port::enable_interrupt();
        boot.hal.mask_line(port::GSI, false);
    }
}

/// Tells a debugger that is there from the start of the kernel, or waits for one.
pub(crate) fn greet() {
    if WAIT.load(Ordering::Relaxed) {
        break_with_status(STATUS_CONTROL_C);
    } else if is_enabled() {
        PRESENT.store(true, Ordering::Relaxed);
        modules::all().take(1).for_each(|image| loaded(&image));
    }
}

/// This processor takes part.
pub(crate) fn join() {
    if hal().debug().is_some() {
        blocks::join();
    }
}

fn is_enabled() -> bool {
    ENABLED.load(Ordering::Acquire)
}

fn is_present() -> bool {
    is_enabled() && (PRESENT.load(Ordering::Relaxed) || WAIT.load(Ordering::Relaxed))
}

fn set_present(is_present: bool) {
    PRESENT.store(is_present, Ordering::Relaxed);
    crate::exports::set_debugger_present(is_present);
}

/// `DbgBreakPointWithStatus`: stops in the debugger, which finds the status in ECX.
#[unsafe(naked)]
extern "win64" fn break_with_status(status: u32) {
    naked_asm!("int3", "ret")
}

/// `int 2d`: tells the debugger something. The byte after it is skipped.
#[unsafe(naked)]
extern "win64" fn service_of_debugger(service: u32, argument: usize) {
    naked_asm!("mov eax, ecx", "mov rcx, rdx", "int 0x2d", "int3", "ret")
}

/// A module has been loaded.
pub(crate) fn loaded(module: &Module) {
    if is_present() {
        service_of_debugger(SERVICE_LOAD, module.base());
    }
}

/// A module is about to go.
pub(crate) fn unloading(module: &Module) {
    if is_present() {
        service_of_debugger(SERVICE_UNLOAD, module.base());
    }
}

/// `int 2d` was executed in kernel mode.
pub(crate) fn service(frame: &mut ExceptionFrame) {
    let Some(module) = modules::find(frame.rcx as usize).filter(|module| module.base() == frame.rcx as usize) else { return };
    match frame.rax as u32 {
        SERVICE_LOAD => drop(stop(frame, &Stop::Module(&module, false), TRIES)),
        SERVICE_UNLOAD => drop(stop(frame, &Stop::Module(&module, true), TRIES)),
        _ => {}
    }
}

/// Shows an exception to the debugger. Before handlers are asked only breakpoints and single steps are shown, as on Windows. Whether
/// the debugger has dealt with it, so that `frame` goes on.
pub(crate) fn exception(frame: &mut ExceptionFrame, record: &ExceptionRecord, is_first_chance: bool) -> bool {
    if !is_present() {
        return false;
    }
    let patience = if WAIT.swap(false, Ordering::Relaxed) || PRESENT.load(Ordering::Relaxed) { Patience::Endless } else { TRIES };
    stop(frame, &Stop::Exception(record, is_first_chance), patience)
}

/// The debugger's interrupt, if `vector` is it.
pub(crate) fn interrupt(vector: u8) -> bool {
    if VECTOR.load(Ordering::Relaxed) != u32::from(vector) {
        return false;
    }
    let enabled = hal().disable_interrupts();
    port::acknowledge();
    let own = hal().current_processor();
    let mut wants_stop = false;
    // Whoever talks to the debugger reads the byte itself.
    if OWNER.compare_exchange(NOBODY, own, Ordering::AcqRel, Ordering::Acquire).is_ok() {
        // SAFETY: this processor is the owner.
        wants_stop = unsafe { (*STATE.0.get()).transport.poll_break_in() };
        OWNER.store(NOBODY, Ordering::Release);
    }
    hal().restore_interrupts(enabled);
    if wants_stop {
        set_present(true);
        break_with_status(STATUS_CONTROL_C);
    }
    true
}

/// Sends text to the debugger. `false`: there is no debugger's line, the text belongs into the log.
pub(crate) fn print(text: &[u8]) -> bool {
    if !is_enabled() {
        return false;
    }
    if !PRESENT.load(Ordering::Relaxed) {
        return true;
    }
    let Some(mut session) = Session::enter() else { return true };
    let processor = session.own as u16;
    let transport = &mut session.state().transport;
    for piece in text.chunks(LONGEST_TEXT) {
        let head = DebugIo { api: PRINT_STRING, level: 0, processor, length: piece.len() as u32, room: 0 };
        if transport.send(kind::DEBUG_IO, &[head.as_bytes(), piece], TRIES) == Sent::Silence {
            set_present(false);
            break;
        }
    }
    let wants_stop = core::mem::take(&mut transport.break_in);
    drop(session);
    if wants_stop {
        break_with_status(STATUS_CONTROL_C);
    }
    true
}

/// Makes the header of a dump, and keeps what debuggers ask for after a bug check. Every other processor has stopped.
pub(crate) fn note_bug_check(code: u32, parameters: [u64; 4], registers: &Registers) {
    OTHERS_ARE_GONE.store(true, Ordering::Relaxed);
    let Some(machine) = try_hal().and_then(|hal| hal.debug()) else { return };
    const KERNEL_CODE: u64 = 0x10;
    const KERNEL_DATA: u64 = 0x18;
    let [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15] = registers.general;
    let (cs, ss) = (KERNEL_CODE, KERNEL_DATA);
    let (rip, rflags) = (registers.rip, registers.rflags);
    let frame = ExceptionFrame {
        rax,
        rcx,
        rdx,
        rbx,
        rsp,
        rbp,
        rsi,
        rdi,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip,
        rflags,
        cs,
        ss,
        ..ExceptionFrame::default()
    };
    keep_registers(&frame);
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

/// Keeps this processor's registers where debuggers look for them.
pub(crate) fn keep_registers(frame: &ExceptionFrame) {
    let Some(machine) = hal().debug() else { return };
    let region = hal().control_region();
    // SAFETY: this processor's own region; debuggers read it when the processor stands still.
    let state = unsafe { &mut (*region.as_ptr()).state };
    machine.special_registers(&mut state.special);
    state.context = registers::context_of(frame, state.special.debug);
}

/// Stands still until the processor that talks to the debugger goes on.
pub(crate) fn held(frame: &mut ExceptionFrame) {
    let release = RELEASES.load(Ordering::Acquire);
    if !HOLDING.load(Ordering::Acquire) {
        return;
    }
    keep_registers(frame);
    HELD.fetch_or(1 << hal().current_processor(), Ordering::AcqRel);
    while RELEASES.load(Ordering::Acquire) == release {
        hal().relax();
    }
    take_registers(frame, false);
}

/// Takes over what the debugger made of this processor's registers.
fn take_registers(frame: &mut ExceptionFrame, sets_floating: bool) {
    let Some(machine) = hal().debug() else { return };
    let region = hal().control_region();
    // SAFETY: as above.
    let state = unsafe { &mut (*region.as_ptr()).state };
    registers::apply(&state.context, frame);
    if sets_floating {
        registers::load_floating(&state.context);
    }
    let mut now = kd::context::SpecialRegisters::zeroed();
    machine.special_registers(&mut now);
    if now.debug != state.special.debug {
        machine.load_debug_registers(&state.special.debug);
    }
}

/// Why the target stops.
enum Stop<'a> {
    /// An exception, and whether handlers have not been asked yet.
    Exception(&'a ExceptionRecord, bool),
    /// A module has come, or goes.
    Module(&'a Module, bool),
}

/// This processor talks to the debugger, and the others stand still.
struct Session {
    own: u32,
    interrupts: bool,
}

impl Session {
    /// `None`: it does so already, and something went wrong meanwhile.
    fn enter() -> Option<Self> {
        let hal = try_hal()?;
        let machine = hal.debug()?;
        let interrupts = hal.disable_interrupts();
        let own = hal.current_processor();
        if OWNER.load(Ordering::Acquire) == own {
            hal.restore_interrupts(interrupts);
            return None;
        }
        // Whoever has it may make this processor stand still here: by an interrupt that cannot be masked.
        while OWNER.compare_exchange(NOBODY, own, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            hal.relax();
        }
        HELD.store(0, Ordering::Release);
        if !OTHERS_ARE_GONE.load(Ordering::Relaxed) {
            HOLDING.store(true, Ordering::Release);
            let (asked, deadline) = (machine.hold_other_processors(), hal.uptime() + HOLD_LIMIT);
            while HELD.load(Ordering::Acquire) & asked != asked && hal.uptime() < deadline {
                hal.relax();
            }
        }
        Some(Self { own, interrupts })
    }

    fn state(&mut self) -> &mut State {
        // SAFETY: this processor is the owner as long as the session lasts.
        unsafe { &mut *STATE.0.get() }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        HOLDING.store(false, Ordering::Release);
        RELEASES.fetch_add(1, Ordering::AcqRel);
        OWNER.store(NOBODY, Ordering::Release);
        hal().restore_interrupts(self.interrupts);
    }
}

/// Stops: tells the debugger where and why, and does what it asks until it lets the target go on. Whether it has dealt with an exception.
fn stop(frame: &mut ExceptionFrame, why: &Stop<'_>, patience: Patience) -> bool {
    let Some(machine) = hal().debug() else { return false };
    let Some(mut session) = Session::enter() else { return false };
    frame.rflags &= !u64::from(TRACE);
    keep_registers(frame);
    let own = session.own;
    let state = session.state();
    (state.desk.sets_floating, state.desk.sets_debug_registers) = (false, false);
    let ending = converse(state, machine, own, why, patience);
    // Whoever asked for a stop meanwhile has had it.
    state.transport.break_in = false;
    let sets_floating = state.desk.sets_floating;
    take_registers(frame, sets_floating);
    drop(session);
    match ending {
        Ending::Continue(is_dealt_with) => is_dealt_with,
        Ending::BugCheck(code) => crate::bug_check::bug_check(code, [0; 4]),
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
            let other = ExceptionRecord::new(STATUS_BREAKPOINT, change.rip);
            let record = if shown == own { **record } else { other };
            let exception = Exception { record, first_chance: u32::from(*is_first_chance), padding: 0 };
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
