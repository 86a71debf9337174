//! Structured exception handling for drivers: the search for a handler, and the unwinding to it.
//!
//! Two passes, as on Windows. The first asks the handler of each frame, innermost first, whether it takes the exception. When one
//! does (`__C_specific_handler` for C), the second pass leaves every frame up to that one, calling their termination handlers, and
//! goes on inside it. Only drivers have such frames: where the walk meets the image itself, nobody handles the exception.
#![allow(non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the documentation's")]

use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr::{null, null_mut};

use wdf_sys::NTSTATUS;

use super::registers::{Context, RAX, Registers, resume};
use super::unwind::{EXCEPTION_HANDLER, Frame, Handler, KernelMemory, UNWIND_HANDLER, unwind};
use crate::boot;
use crate::loader::modules::{self, RuntimeFunction};

/// Most frames of one walk.
const MOST_FRAMES: usize = 1000;
/// The exception cannot be continued.
const NONCONTINUABLE: u32 = 1;
/// Flags of the second pass.
const UNWINDING: u32 = 2;
const TARGET_UNWIND: u32 = 0x20;

/// `EXCEPTION_RECORD`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[allow(missing_docs, reason = "meaning is the documentation's")]
pub struct ExceptionRecord {
    pub code: NTSTATUS,
    pub flags: u32,
    pub nested: *mut ExceptionRecord,
    pub address: u64,
    pub parameter_count: u32,
    pub parameters: [u64; 15],
}

const _: () = assert!(size_of::<ExceptionRecord>() == 0x98 && offset_of!(ExceptionRecord, parameters) == 0x20);

impl ExceptionRecord {
    /// An exception at an address, without parameters.
    pub(crate) fn new(code: NTSTATUS, address: u64) -> Self {
        Self { code, flags: 0, nested: null_mut(), address, parameter_count: 0, parameters: [0; 15] }
    }

    /// As a debugger gets it.
    pub(crate) fn for_debugger(&self) -> kd::wire::ExceptionRecord {
        kd::wire::ExceptionRecord {
            code: self.code.bits(),
            flags: self.flags,
            record: self.nested.expose_provenance() as u64,
            address: self.address,
            parameter_count: self.parameter_count,
            padding: 0,
            parameters: self.parameters,
        }
    }

    /// One that software raised and that cannot be continued.
    pub(crate) fn raised(code: NTSTATUS, address: u64) -> Self {
        Self { flags: NONCONTINUABLE, ..Self::new(code, address) }
    }
}

/// `DISPATCHER_CONTEXT`.
#[derive(Debug)]
#[repr(C)]
#[allow(missing_docs, reason = "meaning is the documentation's")]
pub struct DispatcherContext {
    pub control_pc: u64,
    pub image_base: u64,
    pub function: *const RuntimeFunctionEntry,
    pub establisher: u64,
    pub target: u64,
    pub context: *mut Context,
    pub routine: u64,
    pub data: u64,
    pub history: *mut c_void,
    pub scope: u32,
    fill: u32,
}

/// `RUNTIME_FUNCTION`, as drivers see it.
pub type RuntimeFunctionEntry = [u32; 3];

/// A language-specific handler.
type HandlerRoutine = unsafe extern "win64" fn(*mut ExceptionRecord, u64, *mut Context, *mut DispatcherContext) -> i32;

/// What a handler answers.
const CONTINUE_EXECUTION: i32 = 0;
const CONTINUE_SEARCH: i32 = 1;

/// Calls one handler.
fn call_handler(
    handler: &Handler,
    frame: &Frame,
    record: *mut ExceptionRecord,
    context: *mut Context,
    pc: u64,
    target: u64,
) -> i32 {
    let function = [handler.function.begin, handler.function.end, handler.function.unwind];
    let mut dispatcher = DispatcherContext {
        control_pc: pc,
        image_base: handler.module.base() as u64,
        function: &function,
        establisher: frame.establisher,
        target,
        context,
        routine: handler.routine,
        data: handler.data,
        history: null_mut(),
        scope: 0,
        fill: 0,
    };
    // SAFETY: the routine is the one that the module's unwind information names for this frame.
    unsafe {
        let routine: HandlerRoutine = core::mem::transmute(handler.routine);
        routine(record, frame.establisher, context, &mut dispatcher)
    }
}

/// The first pass. Does not return when a handler takes the exception. Otherwise the registers with which a filter wants the
/// exception's instruction tried again; `None` when nobody takes it.
pub(crate) fn dispatch(record: &mut ExceptionRecord, at: &Registers) -> Option<Registers> {
    let mut context = Context::of(at);
    let mut registers = *at;
    for _ in 0..MOST_FRAMES {
        let pc = registers.rip;
        if let Some(target) = guarded_landing(pc) {
            let value = u64::from(record.code.bits());
            unwind_to(at, registers.rsp(), target, record, value);
            break;
        }
        let Some(frame) = unwind(&KernelMemory, &mut registers, EXCEPTION_HANDLER) else { break };
        let Some(handler) = frame.handler else { continue };
        match call_handler(&handler, &frame, record, &mut context, pc, 0) {
            CONTINUE_EXECUTION if record.flags & NONCONTINUABLE == 0 => return Some(context.registers()),
            CONTINUE_SEARCH => {}
            other => {
                log!("the exception handler of {} answers {other}, which is no answer", handler.module.name());
                break;
            }
        }
    }
    None
}

/// The second pass: leaves the frames from `at` up to the one that `target_frame` names, calling their termination handlers, and goes
/// on at `target` with `value` in RAX. Returns if the frame is not there.
pub(super) fn unwind_to(at: &Registers, target_frame: u64, target: u64, record: &mut ExceptionRecord, value: u64) {
    record.flags |= UNWINDING;
    let mut registers = *at;
    for _ in 0..MOST_FRAMES {
        let inside = registers;
        if inside.rsp() == target_frame && guarded_landing(inside.rip) == Some(target) {
            land(&inside, target, value);
        }
        let Some(frame) = unwind(&KernelMemory, &mut registers, UNWIND_HANDLER) else { return };
        let is_target = frame.establisher == target_frame;
        if is_target {
            record.flags |= TARGET_UNWIND;
        }
        if let Some(handler) = frame.handler {
            let mut context = Context::of(&inside);
            call_handler(&handler, &frame, record, &mut context, inside.rip, target);
        }
        if is_target {
            land(&inside, target, value);
        }
    }
}

/// Goes on in a frame further up this stack.
fn land(inside: &Registers, target: u64, value: u64) -> ! {
    let mut landing = *inside;
    landing.rip = target;
    landing.general[RAX] = value;
    // SAFETY: the registers are those inside the target frame, which is further up this stack.
    unsafe { resume(&landing) }
}

/// Where an exception at `pc` goes on, if that is in code of the image that catches exceptions.
fn guarded_landing(pc: u64) -> Option<u64> {
    let modules = boot::parameters().map_or(&[][..], |boot| boot.built_in);
    let mut codes = modules.iter().flat_map(|module| module.guarded);
    codes.find(|code| (code.begin..code.end).contains(&(pc as usize))).map(|code| code.landing as u64)
}

/// One `__try` block of a function: the range it covers, its filter (1: always) or termination handler, and where its `__except` block
/// begins (0: it is a `__finally`).
#[derive(Clone, Copy)]
#[repr(C)]
struct Scope {
    begin: u32,
    end: u32,
    handler: u32,
    target: u32,
}

/// `EXCEPTION_POINTERS`.
#[repr(C)]
struct Pointers {
    record: *mut ExceptionRecord,
    context: *mut Context,
}

const EXECUTE_HANDLER: i32 = 1;
const FILTER_CONTINUES_EXECUTION: i32 = -1;
/// A filter that is no function but the constant `EXCEPTION_EXECUTE_HANDLER`.
const ALWAYS: u32 = 1;

/// The scopes of a function: a count, then that many; no more than the module has room for, whatever the count says.
///
/// # Safety
/// `data` is what the unwind information of a function with C handlers ends with.
unsafe fn scopes<'a>(data: u64) -> &'a [Scope] {
    let Some(module) = modules::find(data as usize) else { return &[] };
    let room = (module.base() + module.size()).saturating_sub(data as usize + size_of::<u32>()) / size_of::<Scope>();
    let data = core::ptr::with_exposed_provenance::<u32>(data as usize);
    if room == 0 {
        return &[];
    }
    // SAFETY: the caller's promise; the compiler wrote the table, and all of it lies in the module.
    unsafe { core::slice::from_raw_parts(data.add(1).cast(), (data.read() as usize).min(room)) }
}

#[allow(missing_docs, reason = "the documentation's")]
mod exported {
    use super::*;

    /// The handler of C functions with `__try` blocks.
    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn __C_specific_handler(
        Record: *mut ExceptionRecord,
        EstablisherFrame: u64,
        ContextRecord: *mut Context,
        Dispatcher: *mut DispatcherContext,
    ) -> i32 {
        // SAFETY: the caller's promise: the arguments of a handler.
        let (record, dispatcher) = unsafe { (&mut *Record, &mut *Dispatcher) };
        // SAFETY: as above: the data is that of this handler.
        let scopes = unsafe { scopes(dispatcher.data) };
        let pc = dispatcher.control_pc.wrapping_sub(dispatcher.image_base) as u32;
        let first = (dispatcher.scope as usize).min(scopes.len());
        for (index, scope) in scopes.iter().enumerate().skip(first) {
            if !(scope.begin..scope.end).contains(&pc) {
                continue;
            }
            if record.flags & UNWINDING == 0 {
                // SAFETY: as above.
                match unsafe { ask(scope, record, EstablisherFrame, ContextRecord, dispatcher) } {
                    FILTER_CONTINUES_EXECUTION => return CONTINUE_EXECUTION,
                    _ => continue,
                }
            }
            // The second pass: the target's own scopes inside the one that was chosen are left, that one and those around it are not.
            let target = dispatcher.target.wrapping_sub(dispatcher.image_base) as u32;
            if record.flags & TARGET_UNWIND != 0 {
                if scope.target == target && scope.target != 0 {
                    break;
                }
                if scope.target == 0 && (scope.begin..scope.end).contains(&target) {
                    break;
                }
            }
            if scope.target == 0 {
                dispatcher.scope = index as u32 + 1;
                // SAFETY: the termination handler is a function of the frame's module, called as the compiler expects.
                unsafe {
                    let handler: unsafe extern "win64" fn(u8, u64) =
                        core::mem::transmute(dispatcher.image_base + u64::from(scope.handler));
                    handler(1, EstablisherFrame);
                }
            }
        }
        CONTINUE_SEARCH
    }

    /// Asks a scope's filter; unwinds to the scope if it says so.
    unsafe fn ask(
        scope: &Scope,
        record: &mut ExceptionRecord,
        establisher: u64,
        context: *mut Context,
        dispatcher: &DispatcherContext,
    ) -> i32 {
        if scope.target == 0 {
            return CONTINUE_SEARCH;
        }
        let answer = if scope.handler == ALWAYS {
            EXECUTE_HANDLER
        } else {
            let mut pointers = Pointers { record, context };
            // SAFETY: the filter is a function of the frame's module, called as the compiler expects.
            unsafe {
                let filter: unsafe extern "win64" fn(*mut Pointers, u64) -> i32 =
                    core::mem::transmute(dispatcher.image_base + u64::from(scope.handler));
                filter(&mut pointers, establisher)
            }
        };
        if answer <= 0 {
            return if answer < 0 { FILTER_CONTINUES_EXECUTION } else { CONTINUE_SEARCH };
        }
        let target = dispatcher.image_base + u64::from(scope.target);
        let value = u64::from(record.code.bits());
        // SAFETY: the context is that of the exception, which lives until the unwinding has left it.
        let registers = unsafe { (*context).registers() };
        unwind_to(&registers, establisher, target, record, value);
        CONTINUE_SEARCH
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn RtlLookupFunctionEntry(
        ControlPc: u64,
        ImageBase: *mut u64,
        _HistoryTable: *mut c_void,
    ) -> *const RuntimeFunctionEntry {
        let Some(module) = modules::find(ControlPc as usize).filter(|module| module.slot() != modules::IMAGE) else {
            return null();
        };
        // SAFETY: the caller's promise: a place for an address.
        unsafe { ImageBase.write(module.base() as u64) };
        module
            .function_entry_at((ControlPc - module.base() as u64) as u32)
            .map_or(null(), |entry: *const RuntimeFunction| entry.cast())
    }

    /// The registers of the caller, as they will be when this has returned.
    #[unsafe(no_mangle)]
    #[unsafe(naked)]
    pub unsafe extern "win64" fn RtlCaptureContext(ContextRecord: *mut Context) {
        core::arch::naked_asm!(
            // Home space, a register file, the argument; 16 more bytes align it.
            "sub rsp, 360",
            "mov [rsp + 336], rcx",
            "lea rcx, [rsp + 32]",
            "call {capture}",
            "lea rcx, [rsp + 32]",
            "mov rdx, [rsp + 336]",
            "mov [rcx + 8], rdx",
            "mov rax, [rsp + 360]",
            "mov [rcx + 128], rax",
            "lea rax, [rsp + 368]",
            "mov [rcx + 32], rax",
            "call {store}",
            "add rsp, 360",
            "ret",
            capture = sym super::super::registers::capture,
            store = sym store,
        )
    }

    /// # Safety
    /// A register file, and a place for a context.
    unsafe extern "win64" fn store(registers: *const Registers, context: *mut Context) {
        // SAFETY: the caller's promise.
        unsafe { context.write(Context::of(&*registers)) };
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn RtlPcToFileHeader(PcValue: *mut c_void, BaseOfImage: *mut *mut c_void) -> *mut c_void {
        let base = modules::find(PcValue.addr()).map_or(0, |module| module.base());
        let base = core::ptr::with_exposed_provenance_mut(base);
        // SAFETY: the caller's promise: a place for an address.
        unsafe { BaseOfImage.write(base) };
        base
    }
}
pub use exported::*;
