//! Entry from exceptions and interrupts: stubs, the interrupt table, and what happens to an exception.
//!
//! Interrupts run on the interrupted thread's kernel stack. Entry saves what a function of the Windows x64 convention may
//! change: volatile general registers, XMM0 to XMM5 and MXCSR. The image itself uses no XMM registers, but drivers that run
//! inside do, and they keep XMM6 to XMM15. Exceptions save all general registers, for the executive to see and change.

use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::sync::atomic::Ordering;

use super::sync::Once;
use super::{cpu, interrupts, kernel_memory, processor, upcall, user_memory};
use crate::layout::{PAGE, USER_LIMIT};
use crate::segments::{Gate, USER_CODE, USER_DATA};
use crate::vectors;
use kernel::entry::ExceptionFrame;
use kernel::hal::Protection;

const BREAKPOINT: u64 = 3;
const NMI: u64 = 2;
const DOUBLE_FAULT: u64 = 8;
const PAGE_FAULT: u64 = 14;
const MACHINE_CHECK: u64 = 18;

/// Bytes from one stub to the next.
const STUB_SIZE: u64 = 16;
const GATES: usize = 256;

const FLAG_INTERRUPT: u64 = 1 << 9;
/// Flags that user mode may have as it likes: arithmetic, trap, direction, resume, alignment check, id.
const USER_FLAGS: u64 = 0x25_0dd5;
const ALWAYS_SET_FLAG: u64 = 1 << 1;

/// What the stubs leave on the stack: an [`ExceptionFrame`] without its last field.
type TrapFrame = [u64; offset_of!(ExceptionFrame, fault_address) / 8];
const _: () = assert!(offset_of!(ExceptionFrame, vector) == 15 * 8 && size_of::<TrapFrame>() == 22 * 8);

// One stub a vector. Bits of the constant: exceptions that push an error code.
global_asm!(
    ".section .text.traps, \"ax\"",
    ".balign 16",
    "trap_stubs:",
    ".set vector, 0",
    ".rept 256",
    ".balign 16",
    ".set kind, 1",
    ".if vector < 31",
    "  .set kind, 0",
    "  .if !((0x60227d00 >> vector) & 1)",
    "    .byte 0x6a, 0",
    "  .endif",
    "  .if (0x40104 >> vector) & 1",
    "    .set kind, 2",
    "  .endif",
    ".elseif vector >= 0x20",
    "  .if vector < 0x2f",
    "    .set kind, 0",
    "    .byte 0x6a, 0",
    "  .endif",
    ".endif",
    ".byte 0x68",
    ".long vector",
    ".if kind == 0",
    "  jmp exception_common",
    ".elseif kind == 1",
    "  jmp interrupt_common",
    ".else",
    "  jmp critical_common",
    ".endif",
    ".set vector, vector + 1",
    ".endr",
);

// Stack at entry, from the top: SS, RSP, RFLAGS, CS, RIP, vector. The processor aligned it to 16 before pushing.
global_asm!(
    "interrupt_common:",
    "test byte ptr [rsp + 16], 3",
    "jz 2f",
    "swapgs",
    "2:",
    "push rax",
    "push rcx",
    "push rdx",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "sub rsp, 152",
    "movaps [rsp + 32], xmm0",
    "movaps [rsp + 48], xmm1",
    "movaps [rsp + 64], xmm2",
    "movaps [rsp + 80], xmm3",
    "movaps [rsp + 96], xmm4",
    "movaps [rsp + 112], xmm5",
    "stmxcsr [rsp + 128]",
    "ldmxcsr gs:[0x180]",
    "cld",
    // Back traces follow RBP, and end where it is zero: not in what a program has there.
    "mov [rsp + 136], rbp",
    "test byte ptr [rsp + 224], 3",
    "jz 4f",
    "xor ebp, ebp",
    "4:",
    "mov rcx, [rsp + 208]",
    "call {entry}",
    "mov rbp, [rsp + 136]",
    "ldmxcsr [rsp + 128]",
    "movaps xmm0, [rsp + 32]",
    "movaps xmm1, [rsp + 48]",
    "movaps xmm2, [rsp + 64]",
    "movaps xmm3, [rsp + 80]",
    "movaps xmm4, [rsp + 96]",
    "movaps xmm5, [rsp + 112]",
    "add rsp, 152",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rdx",
    "pop rcx",
    "pop rax",
    "test byte ptr [rsp + 16], 3",
    "jz 3f",
    "swapgs",
    "3:",
    "add rsp, 8",
    "iretq",
    entry = sym interrupts::interrupt_entry,
);

// As above with an error code below the vector. Pushed in the order of ExceptionFrame.
global_asm!(
    "exception_common:",
    "test byte ptr [rsp + 24], 3",
    "jz 2f",
    "swapgs",
    "2:",
    "call save_registers",
    "test byte ptr [rsp + 288], 3",
    "jz 6f",
    "xor ebp, ebp",
    "6:",
    "ldmxcsr gs:[0x180]",
    "lea rcx, [rsp + 144]",
    "call {exception}",
    "call restore_registers",
    "test byte ptr [rsp + 24], 3",
    "jz 3f",
    "swapgs",
    "3:",
    "add rsp, 16",
    "iretq",
    // May come between an entry and its swapgs: asks GS itself which half it belongs to.
    "critical_common:",
    "call save_registers",
    "xor ebx, ebx",
    "mov ecx, 0xc0000101",
    "rdmsr",
    "test edx, edx",
    "js 4f",
    "swapgs",
    "mov ebx, 1",
    "4:",
    "ldmxcsr gs:[0x180]",
    "lea rcx, [rsp + 144]",
    "call {critical}",
    "test ebx, ebx",
    "jz 5f",
    "swapgs",
    "5:",
    "call restore_registers",
    "add rsp, 16",
    "iretq",
    // Pushes general registers, then 144 bytes: room for a callee, XMM0 to XMM5, MXCSR. Moves its return address along.
    "save_registers:",
    "xchg r15, [rsp]",
    "push r14",
    "push r13",
    "push r12",
    "push r11",
    "push r10",
    "push r9",
    "push r8",
    "push rdi",
    "push rsi",
    "push rbp",
    "push rbx",
    "push rdx",
    "push rcx",
    "push rax",
    "sub rsp, 144",
    "movaps [rsp + 32], xmm0",
    "movaps [rsp + 48], xmm1",
    "movaps [rsp + 64], xmm2",
    "movaps [rsp + 80], xmm3",
    "movaps [rsp + 96], xmm4",
    "movaps [rsp + 112], xmm5",
    "stmxcsr [rsp + 128]",
    "cld",
    "jmp r15",
    "restore_registers:",
    "pop r15",
    "ldmxcsr [rsp + 128]",
    "movaps xmm0, [rsp + 32]",
    "movaps xmm1, [rsp + 48]",
    "movaps xmm2, [rsp + 64]",
    "movaps xmm3, [rsp + 80]",
    "movaps xmm4, [rsp + 96]",
    "movaps xmm5, [rsp + 112]",
    "add rsp, 144",
    "pop rax",
    "pop rcx",
    "pop rdx",
    "pop rbx",
    "pop rbp",
    "pop rsi",
    "pop rdi",
    "pop r8",
    "pop r9",
    "pop r10",
    "pop r11",
    "pop r12",
    "pop r13",
    "pop r14",
    "xchg r15, [rsp]",
    "ret",
    exception = sym exception_entry,
    critical = sym critical_entry,
);

unsafe extern "C" {
    static trap_stubs: u8;
}

static TABLE: Once<u64> = Once::new();

/// Builds the interrupt table, once for all processors, in a page of its own that nothing can write to afterwards.
pub(crate) fn build_gates() {
    const { assert!(GATES * size_of::<Gate>() == PAGE as usize) };
    let page = kernel_memory::allocate_pages(1, Protection::ReadWrite).expect("boot has memory for the interrupt table");
    for vector in 0..GATES as u64 {
        let stack = match vector {
            NMI => processor::NMI_STACK,
            DOUBLE_FAULT => processor::DOUBLE_FAULT_STACK,
            MACHINE_CHECK => processor::MACHINE_CHECK_STACK,
            _ => 0,
        };
        let for_programs = [vectors::FAIL_FAST, vectors::ASSERTION, vectors::DEBUG_SERVICE].map(u64::from);
        let privilege = if vector == BREAKPOINT || for_programs.contains(&vector) { 3 } else { 0 };
        let handler = (&raw const trap_stubs) as u64 + vector * STUB_SIZE;
        // SAFETY: a fresh page with room for all gates.
        unsafe { page.cast::<Gate>().add(vector as usize).write(Gate::new(handler, stack, privilege)) };
    }
    kernel_memory::protect_pages(page, 1, Protection::Read);
    TABLE.set(page.as_ptr() as u64);
}

/// Makes this processor use the interrupt table.
pub(crate) fn load_gates() {
    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let pointer = Pointer { limit: PAGE as u16 - 1, base: *TABLE.get() };
    // SAFETY: the table is complete and stays.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(readonly, nostack, preserves_flags)) };
}

/// An exception: repaired here when it is a copy to or from a program that failed, else the executive's.
extern "win64" fn exception_entry(registers: &mut TrapFrame) {
    let mut frame = to_exception_frame(registers);
    if frame.vector == PAGE_FAULT {
        frame.fault_address = cpu::fault_address();
        if let Some(landing) = user_memory::recover(&frame) {
            registers[offset_of!(ExceptionFrame, rip) / 8] = landing;
            return;
        }
    }
    if frame.rflags & FLAG_INTERRUPT != 0 {
        // SAFETY: what was interrupted had them enabled.
        unsafe { cpu::enable_interrupts() };
    }
    tell_executive(&mut frame);
    cpu::disable_interrupts();
    from_exception_frame(registers, &frame);
}

/// An exception that may come at any instruction, on a stack of its own.
extern "win64" fn critical_entry(registers: &mut TrapFrame) {
    let mut frame = to_exception_frame(registers);
    if frame.vector == NMI && interrupts::non_maskable_interrupt(&mut frame) {
        return from_exception_frame(registers, &frame);
    }
    tell_executive(&mut frame);
    from_exception_frame(registers, &frame);
}

fn tell_executive(frame: &mut ExceptionFrame) {
    // The executive does not know this processor yet: the fault is the machine's own.
    assert!(processor::current().is_known.load(Ordering::Relaxed), "exception while the machine is being set up: {frame:x?}");
    upcall::exception(frame);
}

fn to_exception_frame(registers: &TrapFrame) -> ExceptionFrame {
    let mut frame = ExceptionFrame::default();
    // SAFETY: the trap frame is the start of the exception frame, word by word; the assertion above checks its size.
    unsafe { (&raw mut frame).cast::<TrapFrame>().write(*registers) };
    frame
}

/// Takes over what the executive has changed. A program gets its own segments and harmless flags whatever the frame says, and
/// an instruction pointer that lies in user memory or at its unmapped end.
fn from_exception_frame(registers: &mut TrapFrame, frame: &ExceptionFrame) {
    let mut frame = *frame;
    if registers[offset_of!(ExceptionFrame, cs) / 8] & 3 != 0 {
        frame.cs = u64::from(USER_CODE);
        frame.ss = u64::from(USER_DATA);
        frame.rip = frame.rip.min(USER_LIMIT);
        frame.rflags = user_flags(frame.rflags);
    }
    // SAFETY: as in `to_exception_frame`.
    *registers = unsafe { (&raw const frame).cast::<TrapFrame>().read() };
}

/// Flags with which user mode may run.
pub(crate) fn user_flags(flags: u64) -> u64 {
    flags & USER_FLAGS | FLAG_INTERRUPT | ALWAYS_SET_FLAG
}
