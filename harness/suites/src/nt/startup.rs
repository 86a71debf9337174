//! What a compiler for Windows expects of a C runtime, and nothing more.

use core::arch::naked_asm;

/// Says that the program uses floating point; only its presence counts.
#[unsafe(no_mangle)]
static _fltused: i32 = 0;

/// Touches every page of a large stack frame in order, so that the guard page grows the stack. The frame's size comes in RAX; every
/// register is kept.
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "win64" fn __chkstk() {
    naked_asm!(
        "push rcx",
        "push rax",
        "lea rcx, [rsp + 24]",
        "2:",
        "cmp rax, 0x1000",
        "jb 3f",
        "sub rcx, 0x1000",
        "test byte ptr [rcx], 0",
        "sub rax, 0x1000",
        "jmp 2b",
        "3:",
        "sub rcx, rax",
        "test byte ptr [rcx], 0",
        "pop rax",
        "pop rcx",
        "ret",
    )
}
