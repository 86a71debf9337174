//! Raising exceptions: for functions that report errors that way, and for drivers.
//!
//! The image has no unwind information, so an exception must not start inside one of its functions. A function that raises is
//! therefore a few instructions around one that returns a status ([`raising`](crate::raising)): by the time the exception starts, the stack and all
//! registers are those of the driver at its call.
#![allow(non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::arch::naked_asm;

use wdf_sys::NTSTATUS;

use super::dispatch::{self, ExceptionRecord};
use super::registers::Registers;
use super::unhandled;
use crate::bug_check::Origin;

/// The result of a function behind [`raising`](crate::raising): what it returns, in the low half, and the status to raise, in the high half.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct OrRaise(#[allow(dead_code, reason = "read by the instructions of `raising`")] u64);

impl OrRaise {
    /// Returns a value to the caller.
    #[must_use]
    pub fn value(value: i32) -> Self {
        Self(u64::from(value as u32))
    }

    /// Raises a status in the caller, if it is an error.
    #[must_use]
    pub fn status(status: NTSTATUS) -> Self {
        Self(u64::from(status.bits()) << 32)
    }
}

impl From<Result<i32, NTSTATUS>> for OrRaise {
    fn from(result: Result<i32, NTSTATUS>) -> Self {
        match result {
            Ok(value) => Self::value(value),
            Err(status) => Self::status(status),
        }
    }
}

/// Defines an exported function (at most four arguments, none larger than a register) that raises what `$body`, a function of the
/// same arguments that returns [`OrRaise`], tells it to raise.
#[macro_export]
macro_rules! raising {
    ($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? => $body:path) => {
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        #[allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "the DDI documentation's")]
        pub unsafe extern "win64" fn $name($($argument: $type),*) $(-> $result)? {
            const _: unsafe extern "win64" fn($($type),*) -> $crate::exception::raise::OrRaise = $body;
            core::arch::naked_asm!(
                "sub rsp, 40",
                "call {body}",
                "add rsp, 40",
                "mov rcx, rax",
                "shr rcx, 32",
                "test ecx, ecx",
                "js 2f",
                "ret",
                "2: jmp {raise}",
                body = sym $body,
                raise = sym $crate::exception::raise::ExRaiseStatus,
            )
        }
    };
}

/// Raises `Status` in the caller.
#[unsafe(no_mangle)]
#[unsafe(naked)]
#[allow(missing_docs, reason = "the DDI documentation's")]
pub unsafe extern "win64" fn ExRaiseStatus(Status: NTSTATUS) -> ! {
    naked_asm!(
        // A register file on the stack, 304 bytes, above the callee's home space; 8 more bytes align it.
        "sub rsp, 344",
        "mov [rsp + 336], rcx",
        "lea rcx, [rsp + 32]",
        "call {capture}",
        "mov ecx, [rsp + 336]",
        "lea rdx, [rsp + 32]",
        "mov rax, [rsp + 344]",
        "mov [rdx + 128], rax",
        "lea rax, [rsp + 352]",
        "mov [rdx + 32], rax",
        "call {raise}",
        "ud2",
        capture = sym super::registers::capture,
        raise = sym raise,
    )
}

/// Starts an exception with the registers of whoever called [`ExRaiseStatus`].
unsafe extern "win64" fn raise(status: NTSTATUS, registers: *const Registers) -> ! {
    // SAFETY: written by the instructions above.
    let registers = unsafe { &*registers };
    let mut record = ExceptionRecord::raised(status, registers.rip);
    // A filter cannot continue what cannot be continued.
    let _ = dispatch::dispatch(&mut record, registers);
    unhandled(status, &record, Origin::Registers(registers))
}

#[allow(missing_docs, reason = "the DDI documentation's")]
mod exported {
    use super::*;

    #[unsafe(no_mangle)]
    #[unsafe(naked)]
    pub unsafe extern "win64" fn ExRaiseAccessViolation() -> ! {
        naked_asm!("mov ecx, 0xc0000005", "jmp {raise}", raise = sym ExRaiseStatus)
    }

    #[unsafe(no_mangle)]
    #[unsafe(naked)]
    pub unsafe extern "win64" fn ExRaiseDatatypeMisalignment() -> ! {
        naked_asm!("mov ecx, 0x80000002", "jmp {raise}", raise = sym ExRaiseStatus)
    }

    #[unsafe(no_mangle)]
    #[unsafe(naked)]
    pub unsafe extern "win64" fn RtlRaiseStatus(Status: NTSTATUS) -> ! {
        naked_asm!("jmp {raise}", raise = sym ExRaiseStatus)
    }
}
pub use exported::*;

/// An exception where no driver can handle it: straight to the bug check.
pub(crate) fn raise_without_unwinding(status: NTSTATUS) -> ! {
    let registers = Registers::here();
    let record = ExceptionRecord::raised(status, registers.rip);
    unhandled(status, &record, Origin::Registers(&registers))
}
