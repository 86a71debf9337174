//! Register files: as unwinding works on them, and in the form (`CONTEXT`) that handlers of drivers see.

use core::arch::naked_asm;

use crate::entry::ExceptionFrame;

/// Numbers of general registers, as instructions and unwind codes have them.
pub(crate) const RAX: usize = 0;
pub(crate) const RSP: usize = 4;
pub(crate) const RBP: usize = 5;

/// What a function's caller finds again: general registers by number, the instruction pointer, flags, and XMM6 to XMM15.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(16))]
pub(crate) struct Registers {
    /// By number; the stack pointer is number 4.
    pub(crate) general: [u64; 16],
    pub(crate) rip: u64,
    pub(crate) rflags: u64,
    /// XMM6 to XMM15.
    pub(crate) xmm: [u128; 10],
}

const RIP_OFFSET: usize = core::mem::offset_of!(Registers, rip);
const RFLAGS_OFFSET: usize = core::mem::offset_of!(Registers, rflags);
const XMM_OFFSET: usize = core::mem::offset_of!(Registers, xmm);
const _: () = assert!(RIP_OFFSET == 128 && RFLAGS_OFFSET == 136 && XMM_OFFSET == 144 && size_of::<Registers>() == 304);

impl Registers {
    /// Those at an exception; XMM registers have stayed as they were, because this kernel uses none.
    pub(crate) fn of(frame: &ExceptionFrame) -> Self {
        let mut xmm = [0; 10];
        read_xmm(&mut xmm);
        Self { general: frame.general(), rip: frame.rip, rflags: frame.rflags, xmm }
    }

    /// Those of this function's caller, well enough to trace back from.
    #[inline(never)]
    pub(crate) fn here() -> Self {
        let mut registers = Self::default();
        // SAFETY: a place for registers.
        unsafe { capture(&mut registers) };
        registers
    }

    /// Stack pointer.
    pub(crate) fn rsp(&self) -> u64 {
        self.general[RSP]
    }
}

/// Copies XMM6 to XMM15.
fn read_xmm(to: &mut [u128; 10]) {
    // SAFETY: writes the 160 bytes of the array; reads registers.
    unsafe {
        core::arch::asm!(
            "movups [{0}], xmm6",
            "movups [{0} + 16], xmm7",
            "movups [{0} + 32], xmm8",
            "movups [{0} + 48], xmm9",
            "movups [{0} + 64], xmm10",
            "movups [{0} + 80], xmm11",
            "movups [{0} + 96], xmm12",
            "movups [{0} + 112], xmm13",
            "movups [{0} + 128], xmm14",
            "movups [{0} + 144], xmm15",
            in(reg) to.as_mut_ptr(),
            options(nostack, preserves_flags),
        );
    }
}

/// Stores all registers as the caller has them: its stack pointer after the return, its next instruction.
///
/// # Safety
/// `registers` is a place for them.
#[unsafe(naked)]
pub(crate) unsafe extern "win64" fn capture(registers: *mut Registers) {
    naked_asm!(
        "mov [rcx], rax",
        "mov [rcx + 8], rcx",
        "mov [rcx + 16], rdx",
        "mov [rcx + 24], rbx",
        "lea rax, [rsp + 8]",
        "mov [rcx + 32], rax",
        "mov [rcx + 40], rbp",
        "mov [rcx + 48], rsi",
        "mov [rcx + 56], rdi",
        "mov [rcx + 64], r8",
        "mov [rcx + 72], r9",
        "mov [rcx + 80], r10",
        "mov [rcx + 88], r11",
        "mov [rcx + 96], r12",
        "mov [rcx + 104], r13",
        "mov [rcx + 112], r14",
        "mov [rcx + 120], r15",
        "mov rax, [rsp]",
        "mov [rcx + {rip}], rax",
        "pushfq",
        "pop rax",
        "mov [rcx + {rflags}], rax",
        "movaps [rcx + {xmm}], xmm6",
        "movaps [rcx + {xmm} + 16], xmm7",
        "movaps [rcx + {xmm} + 32], xmm8",
        "movaps [rcx + {xmm} + 48], xmm9",
        "movaps [rcx + {xmm} + 64], xmm10",
        "movaps [rcx + {xmm} + 80], xmm11",
        "movaps [rcx + {xmm} + 96], xmm12",
        "movaps [rcx + {xmm} + 112], xmm13",
        "movaps [rcx + {xmm} + 128], xmm14",
        "movaps [rcx + {xmm} + 144], xmm15",
        "mov rax, [rcx]",
        "ret",
        rip = const RIP_OFFSET,
        rflags = const RFLAGS_OFFSET,
        xmm = const XMM_OFFSET,
    )
}

/// Loads RAX and the registers that functions preserve, and goes on at the instruction pointer. What lies below the stack pointer is
/// lost.
///
/// # Safety
/// The registers are those of a frame further up this stack, or of this one.
#[unsafe(naked)]
pub(crate) unsafe extern "win64" fn resume(registers: *const Registers) -> ! {
    naked_asm!(
        "movaps xmm6, [rcx + {xmm}]",
        "movaps xmm7, [rcx + {xmm} + 16]",
        "movaps xmm8, [rcx + {xmm} + 32]",
        "movaps xmm9, [rcx + {xmm} + 48]",
        "movaps xmm10, [rcx + {xmm} + 64]",
        "movaps xmm11, [rcx + {xmm} + 80]",
        "movaps xmm12, [rcx + {xmm} + 96]",
        "movaps xmm13, [rcx + {xmm} + 112]",
        "movaps xmm14, [rcx + {xmm} + 128]",
        "movaps xmm15, [rcx + {xmm} + 144]",
        "mov rbx, [rcx + 24]",
        "mov rbp, [rcx + 40]",
        "mov rsi, [rcx + 48]",
        "mov rdi, [rcx + 56]",
        "mov r12, [rcx + 96]",
        "mov r13, [rcx + 104]",
        "mov r14, [rcx + 112]",
        "mov r15, [rcx + 120]",
        "mov rax, [rcx]",
        "mov rdx, [rcx + 32]",
        "mov r8, [rcx + {rip}]",
        "push qword ptr [rcx + {rflags}]",
        "popfq",
        "mov rsp, rdx",
        "jmp r8",
        rip = const RIP_OFFSET,
        rflags = const RFLAGS_OFFSET,
        xmm = const XMM_OFFSET,
    )
}

/// `CONTEXT` of x64, which exception handlers of drivers get. The parts this kernel does not fill are zero.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
#[allow(missing_docs, reason = "names and meaning are the documentation's")]
pub struct Context {
    homes: [u64; 6],
    pub flags: u32,
    mxcsr: u32,
    segments: [u16; 6],
    pub eflags: u32,
    debug: [u64; 6],
    /// By number.
    pub general: [u64; 16],
    pub rip: u64,
    legacy: [u8; 160],
    xmm: [u128; 16],
    reserved: [u8; 96],
    vector: [u128; 26],
    control: [u64; 6],
}

const _: () = {
    assert!(size_of::<Context>() == 0x4d0);
    assert!(core::mem::offset_of!(Context, eflags) == 0x44);
    assert!(core::mem::offset_of!(Context, general) == 0x78);
    assert!(core::mem::offset_of!(Context, rip) == 0xf8);
    assert!(core::mem::offset_of!(Context, xmm) == 0x1a0);
};

impl core::fmt::Debug for Context {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Context(rip {:#x}, rsp {:#x})", self.rip, self.general[RSP])
    }
}

impl Context {
    /// `CONTEXT_FULL`: control, integer and floating-point registers.
    const FULL: u32 = 0x0010_000b;
    const KERNEL_CODE: u16 = 0x10;

    /// From a register file.
    pub(crate) fn of(registers: &Registers) -> Self {
        let mut xmm = [0; 16];
        xmm[6..].copy_from_slice(&registers.xmm);
        Self {
            homes: [0; 6],
            flags: Self::FULL,
            mxcsr: 0x1f80,
            segments: [Self::KERNEL_CODE, 0, 0, 0, 0, 0x18],
            eflags: registers.rflags as u32,
            debug: [0; 6],
            general: registers.general,
            rip: registers.rip,
            legacy: [0; 160],
            xmm,
            reserved: [0; 96],
            vector: [0; 26],
            control: [0; 6],
        }
    }

    /// Back to a register file.
    pub(crate) fn registers(&self) -> Registers {
        let mut xmm = [0; 10];
        xmm.copy_from_slice(&self.xmm[6..]);
        Registers { general: self.general, rip: self.rip, rflags: u64::from(self.eflags), xmm }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_captured_resumes_where_it_was() {
        let mut registers = Registers::default();
        let mut rounds = 0u32;
        // SAFETY: the registers are those of this very function, resumed once.
        unsafe {
            capture(&mut registers);
            let count = (&raw mut rounds).read_volatile() + 1;
            (&raw mut rounds).write_volatile(count);
            if count == 1 {
                resume(&registers);
            }
        }
        assert_eq!(rounds, 2);
    }
}
