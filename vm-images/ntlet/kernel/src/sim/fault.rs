//! Processor exceptions: the host's signals, handed to the executive as a machine would.
//!
//! The signal handler only arranges that the interrupted code goes on in [`enter`], on its own stack; there the executive runs as in
//! an exception, may switch threads and may never come back.

use core::arch::naked_asm;
use core::ffi::c_void;

use crate::entry::{self, ExceptionFrame};

/// Below the stack pointer, functions of the host's convention may keep data.
const RED_ZONE: u64 = 128;
const HANDLER_STACK: usize = 64 << 10;

/// Makes processor exceptions of this process the executive's.
pub(super) fn install() {
    let stack = std::vec![0u8; HANDLER_STACK].leak();
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: HANDLER_STACK };
    // SAFETY: the stack stays; the handler is one of three arguments, as the flag says.
    unsafe {
        assert!(libc::sigaltstack(&stack, core::ptr::null_mut()) == 0);
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP] {
            assert!(libc::sigaction(signal, &action, core::ptr::null_mut()) == 0);
        }
    }
}

unsafe extern "C" fn handle(_signal: i32, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the host passes the context of the interrupted code.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let registers = &mut context.uc_mcontext.gregs;
    let get = |number: i32| registers[number as usize] as u64;
    let mut frame = ExceptionFrame {
        rax: get(libc::REG_RAX),
        rcx: get(libc::REG_RCX),
        rdx: get(libc::REG_RDX),
        rbx: get(libc::REG_RBX),
        rbp: get(libc::REG_RBP),
        rsi: get(libc::REG_RSI),
        rdi: get(libc::REG_RDI),
        r8: get(libc::REG_R8),
        r9: get(libc::REG_R9),
        r10: get(libc::REG_R10),
        r11: get(libc::REG_R11),
        r12: get(libc::REG_R12),
        r13: get(libc::REG_R13),
        r14: get(libc::REG_R14),
        r15: get(libc::REG_R15),
        vector: get(libc::REG_TRAPNO),
        error_code: get(libc::REG_ERR),
        rip: get(libc::REG_RIP),
        // The executive's code segment: to it this is kernel mode.
        cs: 0x10,
        rflags: get(libc::REG_EFL),
        rsp: get(libc::REG_RSP),
        ss: 0x18,
        fault_address: get(libc::REG_CR2),
    };
    // An `int` instruction that a process may not use comes as a general protection fault that names its vector.
    const BY_INT: u64 = 2;
    if frame.vector == 13 && frame.error_code & BY_INT != 0 {
        frame.vector = frame.error_code >> 3;
        frame.rip += 2;
    }
    let place = (frame.rsp - RED_ZONE - size_of::<ExceptionFrame>() as u64) & !15;
    // SAFETY: the interrupted code's stack, below what it uses. If there is no room, this faults on the handler's stack and the
    // host ends the process.
    unsafe { core::ptr::with_exposed_provenance_mut::<ExceptionFrame>(place as usize).write(frame) };
    registers[libc::REG_RCX as usize] = place as i64;
    registers[libc::REG_RSP as usize] = place as i64;
    registers[libc::REG_RIP as usize] = enter as *const () as i64;
}

/// Calls the executive with the frame in RCX, then goes on with what it left there.
#[unsafe(naked)]
unsafe extern "win64" fn enter() {
    naked_asm!(
        "mov rbx, rcx",
        "sub rsp, 32",
        "cld",
        "call {exception}",
        "mov ax, ss",
        "push rax",
        "push qword ptr [rbx + 160]",
        "push qword ptr [rbx + 152]",
        "mov ax, cs",
        "movzx eax, ax",
        "push rax",
        "push qword ptr [rbx + 136]",
        "mov rax, [rbx]",
        "mov rcx, [rbx + 8]",
        "mov rdx, [rbx + 16]",
        "mov rbp, [rbx + 32]",
        "mov rsi, [rbx + 40]",
        "mov rdi, [rbx + 48]",
        "mov r8, [rbx + 56]",
        "mov r9, [rbx + 64]",
        "mov r10, [rbx + 72]",
        "mov r11, [rbx + 80]",
        "mov r12, [rbx + 88]",
        "mov r13, [rbx + 96]",
        "mov r14, [rbx + 104]",
        "mov r15, [rbx + 112]",
        "mov rbx, [rbx + 24]",
        "iretq",
        exception = sym exception,
    )
}

extern "win64" fn exception(frame: &mut ExceptionFrame) {
    entry::exception(frame);
}

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(ExceptionFrame, rip) == 136 && offset_of!(ExceptionFrame, rflags) == 152);
    assert!(offset_of!(ExceptionFrame, rsp) == 160 && offset_of!(ExceptionFrame, r15) == 112);
};
