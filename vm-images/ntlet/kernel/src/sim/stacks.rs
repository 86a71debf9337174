//! Stacks and the switch between them, as on hardware: what a function of the Windows x64 convention preserves is saved on the stack.

use core::arch::naked_asm;
use core::ffi::c_void;

use crate::hal::Context;

/// Words that the switch pops, with the return address: 20 of XMM registers, 8 general ones.
const SAVED: usize = 29;
const RBX: usize = 26;
const R12: usize = 23;
const RETURN: usize = 28;

/// Saves this stack's state and its pointer in `from`, and continues on `to`.
///
/// # Safety
/// `to` was saved by this function or made by [`prepare`], and runs nowhere.
#[unsafe(naked)]
pub(super) unsafe extern "win64" fn switch(from: *mut u64, to: u64) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push rdi",
        "push rsi",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 160",
        "movups [rsp], xmm6",
        "movups [rsp + 16], xmm7",
        "movups [rsp + 32], xmm8",
        "movups [rsp + 48], xmm9",
        "movups [rsp + 64], xmm10",
        "movups [rsp + 80], xmm11",
        "movups [rsp + 96], xmm12",
        "movups [rsp + 112], xmm13",
        "movups [rsp + 128], xmm14",
        "movups [rsp + 144], xmm15",
        "mov [rcx], rsp",
        "mov rsp, rdx",
        "movups xmm6, [rsp]",
        "movups xmm7, [rsp + 16]",
        "movups xmm8, [rsp + 32]",
        "movups xmm9, [rsp + 48]",
        "movups xmm10, [rsp + 64]",
        "movups xmm11, [rsp + 80]",
        "movups xmm12, [rsp + 96]",
        "movups xmm13, [rsp + 112]",
        "movups xmm14, [rsp + 128]",
        "movups xmm15, [rsp + 144]",
        "add rsp, 160",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rsi",
        "pop rdi",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// Where a new stack begins: calls R12 with RBX.
#[unsafe(naked)]
unsafe extern "win64" fn begin() {
    naked_asm!("xor ebp, ebp", "mov rcx, rbx", "sub rsp, 32", "call r12", "ud2")
}

/// Puts on a stack what [`switch`] takes off, so that the first switch calls `entry(argument)`; returns the stack pointer.
///
/// # Safety
/// The stack is unused and stays.
pub(super) unsafe fn prepare(stack: &mut [u8], entry: extern "win64" fn(*mut c_void) -> !, argument: *mut c_void) -> u64 {
    let top = stack.as_mut_ptr_range().end.addr() & !15;
    // After the return address is popped, the pointer is a multiple of 16, as at a call's first instruction plus 8.
    let bottom = top - SAVED.next_multiple_of(2) * 8 - 8;
    let words = core::ptr::with_exposed_provenance_mut::<usize>({
        stack.as_mut_ptr().expose_provenance();
        bottom
    });
    // SAFETY: the words lie in the stack, which the caller gives away.
    unsafe {
        words.write_bytes(0, SAVED);
        words.add(RBX).write(argument.expose_provenance());
        words.add(R12).write(entry as usize);
        words.add(RETURN).write(begin as *const () as usize);
    }
    bottom as u64
}

/// See [`crate::hal::Hal::prepare_context`].
///
/// # Safety
/// As [`prepare`].
pub(super) unsafe fn prepare_context(
    context: &mut Context,
    stack: &mut [u8],
    entry: extern "win64" fn(*mut c_void) -> !,
    argument: *mut c_void,
) {
    context.kernel_stack_top = stack.as_mut_ptr_range().end.addr() as u64;
    // SAFETY: the caller's promise.
    context.stack_pointer = unsafe { prepare(stack, entry, argument) };
}
