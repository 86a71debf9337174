//! Registers at an exception as a debugger sees and sets them.

use kd::context::{CONTEXT_ALL, Context};

use crate::entry::ExceptionFrame;

/// x87 and SSE state, at an address that `fxsave64` takes.
#[repr(C, align(16))]
struct Floating([u8; 512]);

/// Bits of MXCSR that every processor has.
const MXCSR_BITS: u32 = 0xffff;
const MXCSR: usize = 24;
/// Segments of kernel mode that Windows shows, whatever is loaded.
const DATA_SEGMENT: u16 = 0x2b;
const FS_SEGMENT: u16 = 0x53;

/// The registers of `frame`; those of x87 and SSE are as they were, because this kernel uses none.
pub(super) fn context_of(frame: &ExceptionFrame, debug: [u64; 6]) -> Context {
    let mut floating = Floating([0; 512]);
    // SAFETY: writes the 512 bytes, which are aligned as they must be.
    unsafe { core::arch::asm!("fxsave64 [{}]", in(reg) &raw mut floating, options(nostack, preserves_flags)) };
    let mxcsr = u32::from_le_bytes([floating.0[MXCSR], floating.0[MXCSR + 1], floating.0[MXCSR + 2], floating.0[MXCSR + 3]]);
    Context {
        flags: CONTEXT_ALL,
        mxcsr,
        cs: frame.cs as u16,
        ds: DATA_SEGMENT,
        es: DATA_SEGMENT,
        fs: FS_SEGMENT,
        gs: DATA_SEGMENT,
        ss: frame.ss as u16,
        eflags: frame.rflags as u32,
        debug,
        general: [
            frame.rax, frame.rcx, frame.rdx, frame.rbx, frame.rsp, frame.rbp, frame.rsi, frame.rdi, frame.r8, frame.r9,
            frame.r10, frame.r11, frame.r12, frame.r13, frame.r14, frame.r15,
        ],
        rip: frame.rip,
        floating: floating.0,
        ..Context::zeroed()
    }
}

/// Sets the registers of `frame` to what a debugger made of them. Segments stay: the kernel has one set only.
///
/// XMM0 to XMM5 come back from where the exception's entry saved them, whatever the debugger wrote.
pub(super) fn apply(context: &Context, frame: &mut ExceptionFrame) {
    let [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15] = context.general;
    let rflags = u64::from(context.eflags);
    *frame = ExceptionFrame {
        rax,
        rcx,
        rdx,
        rbx,
        rsp,
        rbp,
        rsi,
        rdi,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip: context.rip,
        rflags,
        ..*frame
    };
}

/// Loads x87 and SSE registers that a debugger has set.
pub(super) fn load_floating(context: &Context) {
    let mut floating = Floating(context.floating);
    let mxcsr = context.mxcsr & MXCSR_BITS;
    floating.0[MXCSR..MXCSR + 4].copy_from_slice(&mxcsr.to_le_bytes());
    // SAFETY: reads the 512 bytes; reserved bits of MXCSR, the one thing it could fault for, are clear.
    unsafe { core::arch::asm!("fxrstor64 [{}]", in(reg) &raw const floating, options(nostack, readonly)) };
}
