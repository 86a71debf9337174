//! Switching between threads of the kernel: what a switch keeps, and what it costs.

use core::arch::{asm, global_asm};
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use kernel::hal::{Context, DISPATCH_LEVEL, PAGE_SIZE, PASSIVE_LEVEL, Protection};

use super::{Check, Outcome, check, hal, log};

pub(super) const CHECKS: &[Check] = &[
    ("a new thread starts at DISPATCH_LEVEL with its argument", threads_start_as_promised),
    ("a switch keeps nonvolatile registers, XMM6 to XMM15 and MXCSR", switches_keep_registers),
    ("a new thread has the default floating-point control words", new_threads_have_defaults),
    ("ten thousand switches work", switches_are_fast),
];

pub(super) const EMPTY: Context = Context { stack_pointer: 0, kernel_stack_top: 0, address_space: 0, teb: 0 };
const STACK_PAGES: usize = 4;

/// A kernel thread with a stack of its own.
pub(super) struct Thread {
    pub(super) context: Context,
    stack: NonNull<u8>,
}

impl Thread {
    pub(super) fn new(entry: extern "win64" fn(*mut c_void) -> !, argument: usize) -> Option<Thread> {
        let stack = hal().allocate_pages(STACK_PAGES, Protection::ReadWrite)?;
        let mut thread = Thread { context: EMPTY, stack };
        // SAFETY: new pages, which live as long as the thread.
        unsafe {
            let stack = core::slice::from_raw_parts_mut(stack.as_ptr(), STACK_PAGES * PAGE_SIZE);
            hal().prepare_context(&mut thread.context, stack, entry, argument as *mut c_void);
        }
        Some(thread)
    }

    /// Gives the stack back; the thread does not run any more.
    pub(super) fn end(self) {
        // SAFETY: no thread uses the stack.
        unsafe { hal().free_pages(self.stack, STACK_PAGES) };
    }
}

/// The two contexts of a check: the one that runs it, and its partner.
static MAIN: AtomicU64 = AtomicU64::new(0);
static PARTNER: AtomicU64 = AtomicU64::new(0);
static SEEN: AtomicU64 = AtomicU64::new(0);
static MISMATCHES: AtomicU32 = AtomicU32::new(0);

/// Switches from one of the two to the other.
fn switch(from: &AtomicU64, to: &AtomicU64) {
    // SAFETY: both are contexts on the stack of `with_partner`, which waits until its thread is done.
    unsafe { hal().switch(from.load(Ordering::SeqCst) as *mut Context, to.load(Ordering::SeqCst) as *const Context) };
}

extern "win64" fn switch_to_main() {
    switch(&PARTNER, &MAIN);
}

extern "win64" fn switch_to_partner() {
    switch(&MAIN, &PARTNER);
}

/// Runs `body` at DISPATCH_LEVEL with a partner thread that it can switch to.
fn with_partner(entry: extern "win64" fn(*mut c_void) -> !, argument: usize, body: impl FnOnce() -> Outcome) -> Outcome {
    let thread = Thread::new(entry, argument);
    check!(thread.is_some(), "no memory for a stack");
    let mut thread = thread.expect("checked above");
    let mut own = EMPTY;
    own.kernel_stack_top = thread.context.kernel_stack_top;
    MAIN.store(&raw mut own as u64, Ordering::SeqCst);
    PARTNER.store(&raw mut thread.context as u64, Ordering::SeqCst);
    hal().set_irql(DISPATCH_LEVEL);
    let outcome = body();
    hal().set_irql(PASSIVE_LEVEL);
    thread.end();
    outcome
}

fn threads_start_as_promised() -> Outcome {
    extern "win64" fn entry(argument: *mut c_void) -> ! {
        let enabled = hal().disable_interrupts();
        hal().restore_interrupts(enabled);
        SEEN.store(argument as u64 | u64::from(hal().irql()) << 32 | u64::from(enabled) << 40, Ordering::SeqCst);
        loop {
            switch_to_main();
        }
    }
    with_partner(entry, 0x1234_5678, || {
        switch_to_partner();
        check!(SEEN.load(Ordering::SeqCst) == 0x102_1234_5678, "it does not");
        Ok(())
    })
}

// rcx: seed; rdx: what to call. Fills nonvolatile registers from the seed, calls, and returns how many have changed.
global_asm!(
    ".section .text.keep_registers, \"ax\"",
    "keep_registers:",
    "push rbx",
    "push rbp",
    "push rsi",
    "push rdi",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "sub rsp, 56",
    "mov [rsp + 32], rcx",
    "mov rbx, rcx",
    "lea rbp, [rcx + 1]",
    "lea rsi, [rcx + 2]",
    "lea rdi, [rcx + 3]",
    "lea r12, [rcx + 4]",
    "lea r13, [rcx + 5]",
    "lea r14, [rcx + 16]",
    "lea r15, [rcx + 17]",
    ".irp number, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "lea rax, [rcx + \\number]",
    "movq xmm\\number, rax",
    ".endr",
    // Rounding mode from the seed's bits 13 and 14, exceptions masked.
    "mov eax, ecx",
    "and eax, 0x6000",
    "or eax, 0x1f80",
    "mov [rsp + 40], eax",
    "ldmxcsr [rsp + 40]",
    "call rdx",
    "xor eax, eax",
    "mov rcx, [rsp + 32]",
    ".irp number, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "movq rdx, xmm\\number",
    "sub rdx, \\number",
    "cmp rdx, rcx",
    "setne dl",
    "movzx edx, dl",
    "add eax, edx",
    ".endr",
    "stmxcsr [rsp + 44]",
    "mov edx, [rsp + 44]",
    "cmp edx, [rsp + 40]",
    "setne dl",
    "movzx edx, dl",
    "add eax, edx",
    "sub rbp, 1",
    "sub rsi, 2",
    "sub rdi, 3",
    "sub r12, 4",
    "sub r13, 5",
    "sub r14, 16",
    "sub r15, 17",
    ".irp register, rbx, rbp, rsi, rdi, r12, r13, r14, r15",
    "cmp \\register, rcx",
    "setne dl",
    "movzx edx, dl",
    "add eax, edx",
    ".endr",
    "add rsp, 56",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rdi",
    "pop rsi",
    "pop rbp",
    "pop rbx",
    "ret",
);

unsafe extern "win64" {
    fn keep_registers(seed: u64, call: extern "win64" fn()) -> u32;
}

fn switches_keep_registers() -> Outcome {
    extern "win64" fn entry(_: *mut c_void) -> ! {
        loop {
            // SAFETY: the function keeps what its convention asks for, but for XMM registers, which this image does not use.
            let mismatches = unsafe { keep_registers(0x5555_0000_0000_4000, switch_to_main) };
            MISMATCHES.fetch_add(mismatches, Ordering::SeqCst);
        }
    }
    MISMATCHES.store(0, Ordering::SeqCst);
    with_partner(entry, 0, || {
        for round in 0..10 {
            // SAFETY: as above.
            let mismatches = unsafe { keep_registers(0x7777_0000_0000_2000 + (round << 16), switch_to_partner) };
            check!(mismatches == 0, "it does not keep them for the first thread");
        }
        check!(MISMATCHES.load(Ordering::SeqCst) == 0, "it does not keep them for the second thread");
        Ok(())
    })
}

fn new_threads_have_defaults() -> Outcome {
    extern "win64" fn entry(_: *mut c_void) -> ! {
        let (mut mxcsr, mut control_word) = (0u32, 0u16);
        // SAFETY: stores two control words.
        unsafe { asm!("stmxcsr [{}]", "fnstcw [{}]", in(reg) &raw mut mxcsr, in(reg) &raw mut control_word, options(nostack)) };
        SEEN.store(u64::from(mxcsr) << 32 | u64::from(control_word), Ordering::SeqCst);
        loop {
            switch_to_main();
        }
    }
    with_partner(entry, 0, || {
        switch_to_partner();
        check!(SEEN.load(Ordering::SeqCst) == 0x1f80_0000_027f, "it has others");
        Ok(())
    })
}

fn switches_are_fast() -> Outcome {
    extern "win64" fn entry(_: *mut c_void) -> ! {
        loop {
            SEEN.fetch_add(1, Ordering::SeqCst);
            switch_to_main();
        }
    }
    SEEN.store(0, Ordering::SeqCst);
    with_partner(entry, 0, || {
        let began = hal().uptime();
        (0..5000).for_each(|_| switch_to_partner());
        log!("     a switch takes {} ns", (hal().uptime() - began) / 100);
        check!(SEEN.load(Ordering::SeqCst) == 5000, "the partner did not run each time");
        Ok(())
    })
}
