//! Switching from thread to thread, and leaving the kernel for user mode the first time.
//!
//! A switch is a function call of the Windows x64 convention, so only what that convention preserves has to be saved: general
//! registers, and XMM6 to XMM15, MXCSR and the x87 control word. One `fxsave` covers these and the rest of the x87 and SSE state,
//! which a preempted program relies on too.

use core::arch::global_asm;
use core::ffi::c_void;
use core::sync::atomic::Ordering;

use super::{cpu, memory, processor};
use crate::layout::{PAGE, USER_LIMIT};
use crate::segments::{USER_CODE, USER_DATA};
use kernel::hal::{Context, UserStart};

/// Bytes of an `fxsave` area, plus 8 that align it under an odd number of pushed words.
const EXTENDED_STATE: usize = 512 + 8;
/// Words that [`switch_stacks`] pops, with the return address.
const POPPED: usize = 9;
/// Index among those of RBX and R12, in which a new thread finds its argument and its entry.
const RBX: usize = 6;
const R12: usize = 3;
const RETURN: usize = 8;

/// x87 control word and MXCSR of a new thread, at their places in an `fxsave` area: all exceptions masked, 53-bit precision.
const CONTROL_WORD: u64 = 0x027f;
const CONTROL_WORD_OFFSET: u64 = 0;
const MXCSR_OFFSET: u64 = 24;

global_asm!(
    ".section .text.context, \"ax\"",
    // rcx: where to save the stack pointer; rdx: the stack pointer to continue with.
    "switch_stacks:",
    "push rbp",
    "push rbx",
    "push rdi",
    "push rsi",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "sub rsp, {state}",
    "fxsave64 [rsp]",
    "mov [rcx], rsp",
    "mov rsp, rdx",
    "fxrstor64 [rsp]",
    "add rsp, {state}",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rsi",
    "pop rdi",
    "pop rbx",
    "pop rbp",
    "ret",
    "thread_start:",
    "sti",
    "xor ebp, ebp",
    "mov rcx, rbx",
    "sub rsp, 32",
    "call r12",
    "ud2",
    // rcx: instruction pointer; rdx: stack pointer; r8, r9: arguments. Nothing of the kernel's may remain in a register.
    "enter_user:",
    "push {user_data}",
    "push rdx",
    "push 0x202",
    "push {user_code}",
    "push rcx",
    "mov rcx, r8",
    "mov rdx, r9",
    "fninit",
    "push {control_word}",
    "fldcw [rsp]",
    "add rsp, 8",
    "ldmxcsr gs:[0x180]",
    "xorps xmm0, xmm0",
    "xorps xmm1, xmm1",
    "xorps xmm2, xmm2",
    "xorps xmm3, xmm3",
    "xorps xmm4, xmm4",
    "xorps xmm5, xmm5",
    "xorps xmm6, xmm6",
    "xorps xmm7, xmm7",
    "xorps xmm8, xmm8",
    "xorps xmm9, xmm9",
    "xorps xmm10, xmm10",
    "xorps xmm11, xmm11",
    "xorps xmm12, xmm12",
    "xorps xmm13, xmm13",
    "xorps xmm14, xmm14",
    "xorps xmm15, xmm15",
    "xor eax, eax",
    "xor ebx, ebx",
    "xor ebp, ebp",
    "xor esi, esi",
    "xor edi, edi",
    "xor r8d, r8d",
    "xor r9d, r9d",
    "xor r10d, r10d",
    "xor r11d, r11d",
    "xor r12d, r12d",
    "xor r13d, r13d",
    "xor r14d, r14d",
    "xor r15d, r15d",
    "swapgs",
    "iretq",
    state = const EXTENDED_STATE,
    user_data = const USER_DATA,
    user_code = const USER_CODE,
    control_word = const CONTROL_WORD,
);

unsafe extern "win64" {
    fn switch_stacks(from: *mut u64, to: u64);
    fn thread_start();
    fn enter_user(instruction_pointer: u64, stack_pointer: u64, argument: u64, argument2: u64) -> !;
}

/// See [`kernel::hal::Hal::prepare_context`].
///
/// # Safety
/// As said there.
pub(crate) unsafe fn prepare(
    context: &mut Context,
    stack: &mut [u8],
    entry: extern "win64" fn(*mut c_void) -> !,
    argument: *mut c_void,
) {
    const FRAME: usize = EXTENDED_STATE + POPPED * 8 + 16;
    const { assert!(FRAME.is_multiple_of(16)) };
    let top = (stack.as_mut_ptr() as u64 + stack.len() as u64) & !15;
    assert!(stack.len() > FRAME + PAGE as usize / 4, "a kernel stack of {} bytes is too small", stack.len());
    let bottom = top - FRAME as u64;
    let words = (bottom + EXTENDED_STATE as u64) as *mut usize;
    // SAFETY: all of it lies in the stack, which is unused; the fields are aligned as `bottom` is.
    unsafe {
        (bottom as *mut u8).write_bytes(0, FRAME);
        ((bottom + CONTROL_WORD_OFFSET) as *mut u16).write(CONTROL_WORD as u16);
        ((bottom + MXCSR_OFFSET) as *mut u32).write(processor::DEFAULT_MXCSR);
        words.add(RBX).write(argument as usize);
        words.add(R12).write(entry as usize);
        words.add(RETURN).write(thread_start as *const () as usize);
    }
    context.stack_pointer = bottom;
    context.kernel_stack_top = top;
}

/// See [`kernel::hal::Hal::switch`].
///
/// # Safety
/// As said there.
pub(crate) unsafe fn switch(from: *mut Context, to: *const Context) {
    let interrupts = cpu::interrupts_enabled();
    // An interrupt between the parts below would be harmless, but a thread switch there is not: the processor must stay the same.
    cpu::disable_interrupts();
    // SAFETY: the caller's promise: both are valid, `to` is a saved or prepared context that runs nowhere.
    unsafe {
        load(to);
        switch_stacks(&raw mut (*from).stack_pointer, (*to).stack_pointer);
    }
    if interrupts {
        // SAFETY: this thread had them enabled when it was switched away from.
        unsafe { cpu::enable_interrupts() };
    }
}

/// Makes this processor enter the kernel on `context`'s stack, and be in its address space with its TEB.
///
/// # Safety
/// The context is valid and belongs to the thread that runs or is about to; interrupts are masked.
unsafe fn load(context: *const Context) {
    let processor = processor::current();
    // SAFETY: the caller's promise.
    let (top, space, teb) = unsafe { ((*context).kernel_stack_top, (*context).address_space, (*context).teb) };
    processor.context.store(context.cast_mut(), Ordering::Relaxed);
    processor.set_kernel_stack(top);
    if space != 0 {
        load_space(space);
    }
    if teb != 0 {
        const GS_BASE_OF_USER: u32 = 0xc000_0102;
        // SAFETY: the register exists on every 64-bit processor; user mode alone uses the value. A TEB is a user address.
        unsafe { cpu::write_register(GS_BASE_OF_USER, teb.min(USER_LIMIT)) };
    }
}

/// Loads a user address space, or the kernel's own tables for 0. Interrupts are masked.
pub(crate) fn load_space(space: u64) {
    let processor = processor::current();
    if processor.loaded_space.load(Ordering::Relaxed) != space {
        // Before the tables are used: whoever changes them asks those who say that they are there.
        processor.loaded_space.store(space, Ordering::SeqCst);
        // SAFETY: every address space maps the kernel as the kernel's own tables do.
        unsafe { cpu::set_page_table_root(if space == 0 { memory::root() } else { space }) };
    }
}

/// See [`kernel::hal::Hal::enter_user_mode`].
///
/// # Safety
/// As said there.
pub(crate) unsafe fn enter_user_mode(start: &UserStart) -> ! {
    let start = *start;
    cpu::disable_interrupts();
    let context = processor::current().context.load(Ordering::Relaxed);
    assert!(!context.is_null(), "a thread enters user mode that was never switched to");
    // SAFETY: the context is that of the running thread, which the caller says has an address space; the instruction pointer
    // is kept canonical, for a fault on it must be the program's.
    unsafe {
        load(context);
        cpu::set_task_priority(kernel::hal::PASSIVE_LEVEL);
        enter_user(start.instruction_pointer.min(USER_LIMIT), start.stack_pointer, start.argument, start.argument2);
    }
}
