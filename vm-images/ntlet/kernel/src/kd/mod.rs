//! The kernel debugger's side in the target: KD over COM1, as a Windows 10 target for x64 speaks it, when the command line has
//! `debug=com1` (`debug=com1,wait` stands still at the start until a debugger comes, `debug=com1,attached` knows that one is there). And what debuggers and crash dumps find in memory.
//!
//! While one processor talks to the debugger all others stand still. Nothing here takes a lock of the rest of the kernel, allocates or
//! waits for it: whoever has stopped may hold anything.

mod blocks;
mod breakpoints;
mod bug_check;
mod dump;
mod hold;
mod machine;
pub(crate) mod module_list;
mod port;
mod prompt;
mod registers;
mod requests;
mod stop;
mod transport;

use core::arch::naked_asm;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use kd::packet::kind;
use kd::wire::{DebugIo, ExceptionRecord, PRINT_STRING, STATUS_CONTROL_C};
use kd::zerocopy::IntoBytes as _;

use crate::entry::{Boot, ExceptionFrame};
use crate::hal;
use crate::hal::LineShape;
use crate::loader::modules::{self, Module};
use breakpoints::Breakpoints;
pub(crate) use bug_check::{note_bug_check, stop_for_bug_check};
use hold::Session;
pub(crate) use hold::{held, keep_registers};
pub use machine::DebugMachine;
use port::Com1;
pub(crate) use prompt::prompt;
use requests::{Desk, MOST_REPLY};
use stop::{Stop, stop};
use transport::{Patience, Sent, Transport};

/// IRQL of the debugger's interrupt: only the clock and requests of other processors come above it.
const IRQL: crate::hal::Irql = 12;
/// Times that a packet is sent before the debugger counts as gone: one that may never have been there, and one that was.
const FEW_TRIES: Patience = Patience::Times(2);
const TRIES: Patience = Patience::Times(6);
/// Longest text of one packet, as Windows has it.
const LONGEST_TEXT: usize = 512;
/// Services of `int 2d`.
const SERVICE_LOAD: u32 = 3;
const SERVICE_UNLOAD: u32 = 4;

const NO_VECTOR: u32 = u32::MAX;
static ENABLED: AtomicBool = AtomicBool::new(false);
/// A debugger has answered lately.
static PRESENT: AtomicBool = AtomicBool::new(false);
/// There is, or was, a debugger at all.
static WAS_PRESENT: AtomicBool = AtomicBool::new(false);
/// Wait for a debugger at the next stop, even if none has answered.
static WAIT: AtomicBool = AtomicBool::new(false);
/// Vector of the debugger's interrupt.
static VECTOR: AtomicU32 = AtomicU32::new(NO_VECTOR);

/// The conversation.
struct State {
    transport: Transport<Com1>,
    desk: Desk,
}

impl State {
    const fn new() -> Self {
        let desk = Desk { breakpoints: Breakpoints::new(), reply: [0; MOST_REPLY], sets_floating: false };
        Self { transport: Transport::new(Com1), desk }
    }
}

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
    options.for_each(|option| match option {
        "wait" => WAIT.store(true, Ordering::Relaxed),
        "attached" => WAS_PRESENT.store(true, Ordering::Relaxed),
        _ => log!("the command line's debug= has no option {option}; it can be wait or attached"),
    });
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
    WAS_PRESENT.fetch_or(is_present, Ordering::Relaxed);
    crate::exports::set_debugger_present(is_present);
}

fn patience() -> Patience {
    if WAS_PRESENT.load(Ordering::Relaxed) { TRIES } else { FEW_TRIES }
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
        SERVICE_LOAD => drop(stop(frame, &Stop::Module(&module, false), patience())),
        SERVICE_UNLOAD => drop(stop(frame, &Stop::Module(&module, true), patience())),
        _ => {}
    }
}

/// Shows an exception to the debugger. Before handlers are asked only breakpoints, single steps and assertions are shown, as on Windows.
/// Whether the debugger has dealt with it, so that `frame` goes on.
pub(crate) fn exception(frame: &mut ExceptionFrame, record: &ExceptionRecord, is_first_chance: bool) -> bool {
    if !is_present() {
        return false;
    }
    let patience =
        if WAIT.swap(false, Ordering::Relaxed) || PRESENT.load(Ordering::Relaxed) { Patience::Endless } else { patience() };
    stop(frame, &Stop::Exception(record, is_first_chance), patience)
}

/// The debugger's interrupt, if `vector` is it.
pub(crate) fn interrupt(vector: u8) -> bool {
    if VECTOR.load(Ordering::Relaxed) != u32::from(vector) {
        return false;
    }
    let enabled = hal().disable_interrupts();
    port::acknowledge();
    let wants_stop = hold::glance(|state| state.transport.poll_break_in()).unwrap_or(false);
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
        if transport.send(kind::DEBUG_IO, &[head.as_bytes(), piece], patience()) == Sent::Silence {
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
