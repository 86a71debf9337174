//! System calls: `syscall` in user mode to the executive and back by `sysret`.
//!
//! The call is to a program what a function call of the Windows x64 convention is: volatile registers are lost, the others keep
//! their values, because the handler is such a function. What is lost is cleared, so that nothing of the kernel's leaks.

use core::arch::global_asm;

use super::processor::{KERNEL_STACK, USER_STACK};
use super::{cpu, traps, upcall};
use crate::layout::USER_LIMIT;
use crate::segments;
use kernel::entry::SystemCallFrame;

// `SystemCallFrame` is pushed from its last field to its first.
global_asm!(
    ".section .text.system_call, \"ax\"",
    "system_call_entry:",
    "swapgs",
    "mov gs:[{user_stack}], rsp",
    "mov rsp, gs:[{kernel_stack}]",
    "push r11",
    "push rcx",
    "push qword ptr gs:[{user_stack}]",
    "push r9",
    "push r8",
    "push rdx",
    "push r10",
    "push rax",
    "sub rsp, 48",
    "stmxcsr [rsp + 32]",
    "ldmxcsr gs:[0x180]",
    // Back traces follow RBP, and end where it is zero: not in what the program has there.
    "mov [rsp + 40], rbp",
    "xor ebp, ebp",
    "lea rcx, [rsp + 48]",
    "call {handler}",
    "mov rbp, [rsp + 40]",
    "ldmxcsr [rsp + 32]",
    "add rsp, 48",
    "pop rax",
    "add rsp, 32",
    "xor r10d, r10d",
    "xor edx, edx",
    "xor r8d, r8d",
    "xor r9d, r9d",
    "xorps xmm0, xmm0",
    "xorps xmm1, xmm1",
    "xorps xmm2, xmm2",
    "xorps xmm3, xmm3",
    "xorps xmm4, xmm4",
    "xorps xmm5, xmm5",
    "mov rcx, [rsp + 8]",
    "mov r11, [rsp + 16]",
    "mov rsp, [rsp]",
    "swapgs",
    "sysretq",
    user_stack = const USER_STACK,
    kernel_stack = const KERNEL_STACK,
    handler = sym handle,
);

unsafe extern "C" {
    fn system_call_entry();
}

/// Lets this processor make system calls.
pub(crate) fn start() {
    const EXTENDED_FEATURES: u32 = 0xc000_0080;
    const STAR: u32 = 0xc000_0081;
    const LONG_STAR: u32 = 0xc000_0082;
    const FLAG_MASK: u32 = 0xc000_0084;
    /// Trap, interrupt, direction, I/O privilege, nested task, alignment check: all off on entry.
    const CLEARED: u64 = 1 << 8 | 1 << 9 | 1 << 10 | 3 << 12 | 1 << 14 | 1 << 18;
    // SAFETY: every 64-bit processor has these; the selectors and the entry are right for the descriptor table in use.
    unsafe {
        cpu::write_register(EXTENDED_FEATURES, cpu::read_register(EXTENDED_FEATURES) | 1);
        cpu::write_register(STAR, segments::STAR);
        cpu::write_register(LONG_STAR, system_call_entry as *const () as u64);
        cpu::write_register(FLAG_MASK, CLEARED);
    }
}

/// Called by the stub with interrupts masked, and returns the same way.
extern "win64" fn handle(frame: &mut SystemCallFrame) {
    // SAFETY: the stub is off the per-processor scratch word; nothing else is held.
    unsafe { cpu::enable_interrupts() };
    upcall::system_call(frame);
    cpu::disable_interrupts();
    // `sysret` to an address that is not canonical would fault in kernel mode with the program's stack. The limit is canonical and
    // never mapped: there the fault is the program's.
    frame.rip = frame.rip.min(USER_LIMIT);
    frame.rflags = traps::user_flags(frame.rflags);
}
