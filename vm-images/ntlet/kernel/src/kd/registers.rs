//! Registers at an exception as a debugger sees and sets them.

use kd::context::{CONTEXT_ALL, Context};

use crate::entry::ExceptionFrame;
use crate::exception::registers::Registers;

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
        general: frame.general(),
        rip: frame.rip,
        floating: floating.0,
        ..Context::zeroed()
    }
}

/// Sets the registers of `frame` to what a debugger made of them. Segments stay: the kernel has one set only.
///
/// XMM0 to XMM5 come back from where the exception's entry saved them, whatever the debugger wrote.
pub(super) fn apply(context: &Context, frame: &mut ExceptionFrame) {
    frame.set_general(context.general);
    (frame.rip, frame.rflags) = (context.rip, u64::from(context.eflags));
}

/// A frame of the kernel with these registers, for a place that no exception has led to.
pub(super) fn frame_of(registers: &Registers) -> ExceptionFrame {
    const KERNEL_CODE: u64 = 0x10;
    const KERNEL_DATA: u64 = 0x18;
    let mut frame = ExceptionFrame {
        rip: registers.rip,
        rflags: registers.rflags,
        cs: KERNEL_CODE,
        ss: KERNEL_DATA,
        ..ExceptionFrame::default()
    };
    frame.set_general(registers.general);
    frame
}

/// Loads x87 and SSE registers that a debugger has set.
pub(super) fn load_floating(context: &Context) {
    let mut floating = Floating(context.floating);
    let mxcsr = context.mxcsr & MXCSR_BITS;
    floating.0[MXCSR..MXCSR + 4].copy_from_slice(&mxcsr.to_le_bytes());
    // SAFETY: reads the 512 bytes; reserved bits of MXCSR, the one thing it could fault for, are clear.
    unsafe { core::arch::asm!("fxrstor64 [{}]", in(reg) &raw const floating, options(nostack, readonly)) };
}
