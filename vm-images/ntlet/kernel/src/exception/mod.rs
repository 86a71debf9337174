//! Processor exceptions and those that software raises: who gets to handle one, and which bug check it is when nobody does.
//!
//! In kernel mode the handlers are those of drivers' `__try` blocks (see [`dispatch`]); a program's exception is its process's matter.

pub mod back_trace;
pub mod dispatch;
pub mod raise;
pub(crate) mod registers;
#[cfg(test)]
mod tests;
pub(crate) mod unwind;
pub mod unwinding;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::bug_check;

use crate::bug_check::{Origin, report};
use crate::dispatcher::thread;
use crate::entry::ExceptionFrame;
use crate::hal;
use crate::hal::DISPATCH_LEVEL;
use crate::loader::modules;
use dispatch::ExceptionRecord;
use registers::Registers;

pub(crate) use raise::raise_without_unwinding;

/// Vectors of exceptions, and of the few `int` instructions that count as such.
mod vector {
    pub(super) const DIVIDE: u64 = 0;
    pub(super) const DEBUG: u64 = 1;
    pub(super) const NMI: u64 = 2;
    pub(super) const BREAKPOINT: u64 = 3;
    pub(super) const OVERFLOW: u64 = 4;
    pub(super) const BOUND: u64 = 5;
    pub(super) const INVALID_OPCODE: u64 = 6;
    pub(super) const DOUBLE_FAULT: u64 = 8;
    pub(super) const STACK_FAULT: u64 = 12;
    pub(super) const GENERAL_PROTECTION: u64 = 13;
    pub(super) const PAGE_FAULT: u64 = 14;
    pub(super) const X87: u64 = 16;
    pub(super) const ALIGNMENT: u64 = 17;
    pub(super) const MACHINE_CHECK: u64 = 18;
    pub(super) const SIMD: u64 = 19;
    pub(super) const FAIL_FAST: u64 = 0x29;
    pub(super) const ASSERTION: u64 = 0x2c;
    pub(super) const DEBUG_SERVICE: u64 = 0x2d;
}

/// Error code of a page fault.
const FAULT_PRESENT: u64 = 1;
const FAULT_WRITE: u64 = 2;
const FAULT_EXECUTE: u64 = 16;
/// First address that is not a program's.
const USER_LIMIT: u64 = 0x7fff_ffff_0000;
const FLAG_INTERRUPT: u64 = 1 << 9;
const STACK_BUFFER_OVERRUN: NTSTATUS = NTSTATUS(0xc000_0409_u32 as i32);
const FLOAT_INVALID_OPERATION: NTSTATUS = NTSTATUS(0xc000_0090_u32 as i32);
const ARRAY_BOUNDS_EXCEEDED: NTSTATUS = NTSTATUS(0xc000_008c_u32 as i32);
const FLOAT_MULTIPLE_TRAPS: NTSTATUS = NTSTATUS(0xc000_02b5_u32 as i32);

/// A processor exception. Returns to go on with `frame`.
pub(crate) fn handle(frame: &mut ExceptionFrame) {
    if is_the_debuggers(frame) {
        return;
    }
    if frame.cs & 3 != 0 {
        return crate::process::user_exception(frame, status_of(frame).unwrap_or(NTSTATUS::ILLEGAL_INSTRUCTION));
    }
    match frame.vector {
        vector::DOUBLE_FAULT => fatal(frame, bug_check::UNEXPECTED_KERNEL_MODE_TRAP, [frame.vector, frame.rsp, frame.rip, 0]),
        vector::NMI => fatal(frame, bug_check::NMI_HARDWARE_FAILURE, [0x4f4454, 0, 0, 0]),
        vector::MACHINE_CHECK => fatal(frame, bug_check::MACHINE_CHECK_EXCEPTION, [0, 0, 0, 0]),
        vector::FAIL_FAST => fatal(frame, bug_check::KERNEL_SECURITY_CHECK_FAILURE, [frame.rcx, frame.rsp, 0, 0]),
        // Goes on behind the byte that follows the instruction, and the debugger sees it there: it skips breakpoints that it finds.
        vector::DEBUG_SERVICE => {
            frame.rip += 1;
            crate::kd::service(frame);
        }
        vector::PAGE_FAULT => page_fault(frame),
        _ => match status_of(frame) {
            Some(status) => {
                let information = match frame.vector {
                    // An address that is not canonical: nobody knows which.
                    vector::GENERAL_PROTECTION | vector::STACK_FAULT => [0, u64::MAX],
                    _ => [0, 0],
                };
                give_to_handlers(frame, status, information);
            }
            None => fatal(frame, bug_check::UNEXPECTED_KERNEL_MODE_TRAP, [frame.vector, frame.error_code, frame.rip, 0]),
        },
    }
}

/// Shows breakpoints, single steps and assertions to the debugger before anybody else; whether it has dealt with this one.
fn is_the_debuggers(frame: &mut ExceptionFrame) -> bool {
    const ASSERTION_SIZE: u64 = 2;
    let (status, size, address) = match frame.vector {
        vector::BREAKPOINT => (NTSTATUS::BREAKPOINT, 1, frame.rip - 1),
        vector::DEBUG => (NTSTATUS::SINGLE_STEP, 0, frame.rip),
        // An assertion that is dealt with is over: the target stands behind it.
        vector::ASSERTION => (NTSTATUS::ASSERTION_FAILURE, 0, frame.rip - ASSERTION_SIZE),
        _ => return false,
    };
    // A debugger sees the breakpoint's own address.
    frame.rip -= size;
    let record = kd::wire::ExceptionRecord::new(status.bits(), address);
    let is_dealt_with = crate::kd::exception(frame, &record, true);
    if !is_dealt_with {
        frame.rip += size;
    }
    is_dealt_with
}

/// The status that an exception becomes.
fn status_of(frame: &ExceptionFrame) -> Option<NTSTATUS> {
    Some(match frame.vector {
        vector::DIVIDE => NTSTATUS::INTEGER_DIVIDE_BY_ZERO,
        vector::DEBUG => NTSTATUS::SINGLE_STEP,
        vector::BREAKPOINT | vector::DEBUG_SERVICE => NTSTATUS::BREAKPOINT,
        vector::OVERFLOW => NTSTATUS::INTEGER_OVERFLOW,
        vector::BOUND => ARRAY_BOUNDS_EXCEEDED,
        vector::INVALID_OPCODE => NTSTATUS::ILLEGAL_INSTRUCTION,
        vector::GENERAL_PROTECTION if frame.cs & 3 != 0 && is_privileged_instruction(frame) => NTSTATUS::PRIVILEGED_INSTRUCTION,
        vector::PAGE_FAULT | vector::GENERAL_PROTECTION | vector::STACK_FAULT => NTSTATUS::ACCESS_VIOLATION,
        vector::X87 => FLOAT_INVALID_OPERATION,
        vector::SIMD => FLOAT_MULTIPLE_TRAPS,
        vector::ALIGNMENT => NTSTATUS::DATATYPE_MISALIGNMENT,
        vector::FAIL_FAST => STACK_BUFFER_OVERRUN,
        vector::ASSERTION => NTSTATUS::ASSERTION_FAILURE,
        _ => return None,
    })
}

/// Whether a program's general protection fault came from an instruction that only the kernel may use: `hlt`, `cli`, `sti`, port
/// access, or one of the group that begins with 0f.
fn is_privileged_instruction(frame: &ExceptionFrame) -> bool {
    let mut code = [0; 2];
    if frame.error_code != 0 || hal().copy_from_user(&mut code, frame.rip).is_err() {
        return false;
    }
    matches!(code, [0xf4 | 0xfa | 0xfb | 0xe4..=0xe7 | 0xec..=0xef, _] | [0x0f, 0x01 | 0x06 | 0x08 | 0x09 | 0x20..=0x23 | 0x30 | 0x32])
}

/// 0 for a read, 1 for a write, 8 for an execution, as bug checks and access violations have it.
fn access_of(frame: &ExceptionFrame) -> u64 {
    match frame.error_code {
        code if code & FAULT_EXECUTE != 0 => 8,
        code if code & FAULT_WRITE != 0 => 1,
        _ => 0,
    }
}

fn page_fault(frame: &mut ExceptionFrame) {
    let (address, access, irql) = (frame.fault_address, access_of(frame), hal().irql());
    if address >= USER_LIMIT && modules::was_unloaded(address as usize) {
        modules::name_unloaded(address as usize);
        let code = bug_check::DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS;
        fatal(frame, code, [address, access, frame.rip, 0]);
    }
    if irql >= DISPATCH_LEVEL || frame.rflags & FLAG_INTERRUPT == 0 {
        let in_driver = modules::find(frame.rip as usize).is_none_or(|module| module.slot() != modules::IMAGE);
        let code = if in_driver { bug_check::DRIVER_IRQL_NOT_LESS_OR_EQUAL } else { bug_check::IRQL_NOT_LESS_OR_EQUAL };
        fatal(frame, code, [address, u64::from(irql), access, frame.rip]);
    }
    if address < USER_LIMIT {
        // A driver touches a page of its caller that was committed but not backed yet.
        if access != 8 && crate::process::fault_in(address, 1, access == 1) {
            return;
        }
        return give_to_handlers(frame, NTSTATUS::ACCESS_VIOLATION, [access, address]);
    }
    if frame.error_code & FAULT_PRESENT != 0 && access == 8 {
        fatal(frame, bug_check::ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY, [address, 0, frame.rsp, 0]);
    }
    if frame.error_code & FAULT_PRESENT != 0 && access == 1 {
        fatal(frame, bug_check::ATTEMPTED_WRITE_TO_READONLY_MEMORY, [address, 0, frame.rsp, 0]);
    }
    // The second parameter of this one is 2 for a write and 16 for an execution.
    fatal(frame, bug_check::PAGE_FAULT_IN_NONPAGED_AREA, [address, access * 2, frame.rip, 0]);
}

/// Offers a kernel exception to the handlers on the stack; a bug check when none takes it.
fn give_to_handlers(frame: &mut ExceptionFrame, status: NTSTATUS, information: [u64; 2]) {
    let mut record = ExceptionRecord::new(status, frame.rip);
    if status == NTSTATUS::ACCESS_VIOLATION {
        record.parameter_count = 2;
        record.parameters[..2].copy_from_slice(&information);
    }
    let registers = Registers::of(frame);
    match dispatch::dispatch(&mut record, &registers) {
        Some(registers) => {
            frame.set_general(registers.general);
            (frame.rip, frame.rflags) = (registers.rip, registers.rflags);
        }
        None if crate::kd::exception(frame, &record.for_debugger(), false) => {}
        None => unhandled(status, &record, Origin::Exception(frame)),
    }
}

/// The bug check for an exception that nobody handled, by what the processor was doing.
pub(crate) fn unhandled(status: NTSTATUS, record: &ExceptionRecord, origin: Origin<'_>) -> ! {
    let (status, rip) = (u64::from(status.bits()), record.address);
    let thread = thread::current();
    // SAFETY: the running thread is alive, if there is one yet.
    let is_user = unsafe { thread.as_ref() }.is_some_and(|thread| !thread.process().is_null());
    let record_address = core::ptr::from_ref(record).addr() as u64;
    if hal().irql() >= DISPATCH_LEVEL || thread.is_null() {
        report(bug_check::KMODE_EXCEPTION_NOT_HANDLED, [status, rip, record.parameters[0], record.parameters[1]], origin)
    } else if is_user {
        report(bug_check::SYSTEM_SERVICE_EXCEPTION, [status, rip, record_address, 0], origin)
    } else {
        report(bug_check::SYSTEM_THREAD_EXCEPTION_NOT_HANDLED, [status, rip, record_address, 0], origin)
    }
}

fn fatal(frame: &ExceptionFrame, code: u32, parameters: [u64; 4]) -> ! {
    report(code, parameters, Origin::Exception(frame))
}
