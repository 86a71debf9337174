//! Unwinding on request: `RtlUnwindEx` and its kin, which language runtimes in drivers call, and `RtlVirtualUnwind`.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the documentation's")]

use core::arch::naked_asm;
use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::NTSTATUS;

use super::dispatch::{ExceptionRecord, RuntimeFunctionEntry, unwind_to};
use super::registers::{Context, Registers};
use super::unhandled;
use super::unwind::{KernelMemory, unwind_function};
use crate::bug_check::Origin;
use crate::loader::modules::{self, RuntimeFunction};

const STATUS_UNWIND: NTSTATUS = NTSTATUS(0xc000_0027_u32 as i32);
const INVALID_UNWIND_TARGET: NTSTATUS = NTSTATUS(0xc000_0029_u32 as i32);

/// Leaves every frame up to `TargetFrame`, calling their termination handlers, and goes on there at `TargetIp` with `ReturnValue`.
/// `RtlUnwind` is the same with fewer arguments.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "win64" fn RtlUnwindEx(
    TargetFrame: u64,
    TargetIp: u64,
    Record: *mut ExceptionRecord,
    ReturnValue: u64,
    OriginalContext: *mut Context,
    HistoryTable: *mut c_void,
) {
    naked_asm!(
        // Home space, a register file, the four arguments; 8 more bytes align it.
        "sub rsp, 376",
        "mov [rsp + 336], rcx",
        "mov [rsp + 344], rdx",
        "mov [rsp + 352], r8",
        "mov [rsp + 360], r9",
        "lea rcx, [rsp + 32]",
        "call {capture}",
        "lea rcx, [rsp + 32]",
        "mov rax, [rsp + 376]",
        "mov [rcx + 128], rax",
        "lea rax, [rsp + 384]",
        "mov [rcx + 32], rax",
        "lea rdx, [rsp + 336]",
        "call {unwind}",
        "ud2",
        capture = sym super::registers::capture,
        unwind = sym unwind_from,
    )
}

/// What a compiler calls to leave a `__try` block by a jump.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "win64" fn _local_unwind(Frame: u64, TargetIp: u64) {
    naked_asm!("xor r8d, r8d", "xor r9d, r9d", "jmp {unwind}", unwind = sym RtlUnwindEx)
}

/// `registers` are those of whoever called [`RtlUnwindEx`], `arguments` its first four.
unsafe extern "win64" fn unwind_from(registers: *const Registers, arguments: *const [u64; 4]) -> ! {
    // SAFETY: written by the instructions above.
    let (registers, [frame, target, record, value]) = unsafe { (&*registers, *arguments) };
    let mut own = ExceptionRecord::new(STATUS_UNWIND, registers.rip);
    let given: *mut ExceptionRecord = core::ptr::with_exposed_provenance_mut(record as usize);
    // SAFETY: the caller's promise: null or a record that lives until the unwinding has left it.
    let record = unsafe { given.as_mut() }.unwrap_or(&mut own);
    unwind_to(registers, frame, target, record, value);
    // The frame is not on this stack.
    unhandled(INVALID_UNWIND_TARGET, record, Origin::Registers(registers))
}

/// Leaves one frame in `ContextRecord`; the handler of that frame, if it has one of this type.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlVirtualUnwind(
    HandlerType: u32,
    ImageBase: u64,
    ControlPc: u64,
    FunctionEntry: *const RuntimeFunctionEntry,
    ContextRecord: *mut Context,
    HandlerData: *mut *mut c_void,
    EstablisherFrame: *mut u64,
    _ContextPointers: *mut c_void,
) -> *mut c_void {
    // SAFETY: the caller's promise: a context, an entry of a module's function table, places for two results.
    unsafe {
        let mut registers = (*ContextRecord).registers();
        registers.rip = ControlPc;
        let [begin, end, unwind] = *FunctionEntry;
        let function = RuntimeFunction { begin, end, unwind };
        let left = modules::find(ImageBase as usize)
            .and_then(|module| unwind_function(&KernelMemory, &module, function, &mut registers, HandlerType as u8));
        let Some(frame) = left else {
            (*ContextRecord).rip = 0;
            return null_mut();
        };
        ContextRecord.write(Context::of(&registers));
        EstablisherFrame.write(frame.establisher);
        let Some(handler) = frame.handler else { return null_mut() };
        HandlerData.write(core::ptr::with_exposed_provenance_mut(handler.data as usize));
        core::ptr::with_exposed_provenance_mut(handler.routine as usize)
    }
}
