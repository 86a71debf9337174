//! Register files of x64: `CONTEXT` and `KSPECIAL_REGISTERS`.

use core::mem::offset_of;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// `CONTEXT_AMD64`.
pub const CONTEXT_AMD64: u32 = 0x0010_0000;
/// Control registers: `SegSs`, `Rsp`, `SegCs`, `Rip`, `EFlags`.
pub const CONTEXT_CONTROL: u32 = CONTEXT_AMD64 | 1;
/// General registers.
pub const CONTEXT_INTEGER: u32 = CONTEXT_AMD64 | 2;
/// Data segments.
pub const CONTEXT_SEGMENTS: u32 = CONTEXT_AMD64 | 4;
/// x87 and SSE.
pub const CONTEXT_FLOATING_POINT: u32 = CONTEXT_AMD64 | 8;
/// Debug registers.
pub const CONTEXT_DEBUG_REGISTERS: u32 = CONTEXT_AMD64 | 0x10;
/// All of the above.
pub const CONTEXT_ALL: u32 = CONTEXT_AMD64 | 0x1f;

/// `CONTEXT`, 1232 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(16))]
#[allow(missing_docs, reason = "the registers' own names")]
pub struct Context {
    pub homes: [u64; 6],
    /// Which parts count.
    pub flags: u32,
    pub mxcsr: u32,
    pub cs: u16,
    pub ds: u16,
    pub es: u16,
    pub fs: u16,
    pub gs: u16,
    pub ss: u16,
    pub eflags: u32,
    /// DR0 to DR3, DR6, DR7.
    pub debug: [u64; 6],
    /// By number: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub general: [u64; 16],
    pub rip: u64,
    /// As `fxsave64` leaves it.
    pub floating: [u8; 512],
    pub vector: [[u64; 2]; 26],
    pub vector_control: u64,
    pub debug_control: u64,
    pub last_branch_to: u64,
    pub last_branch_from: u64,
    pub last_exception_to: u64,
    pub last_exception_from: u64,
}

/// Number of RSP among [`Context::general`].
pub const RSP: usize = 4;

impl Context {
    /// All zero.
    #[must_use]
    pub fn zeroed() -> Self {
        Self::new_zeroed()
    }

    /// Takes over from `other` the parts that its flags name, debug registers and floating point included.
    pub fn merge(&mut self, other: &Self) {
        let has = |part: u32| other.flags & part == part;
        if has(CONTEXT_CONTROL) {
            (self.cs, self.ss, self.eflags, self.rip) = (other.cs, other.ss, other.eflags, other.rip);
            self.general[RSP] = other.general[RSP];
        }
        if has(CONTEXT_INTEGER) {
            let stack = self.general[RSP];
            self.general = other.general;
            self.general[RSP] = stack;
        }
        if has(CONTEXT_SEGMENTS) {
            (self.ds, self.es, self.fs, self.gs) = (other.ds, other.es, other.fs, other.gs);
        }
        if has(CONTEXT_FLOATING_POINT) {
            (self.floating, self.mxcsr) = (other.floating, other.mxcsr);
        }
        if has(CONTEXT_DEBUG_REGISTERS) {
            self.debug = other.debug;
        }
    }
}

const _: () = {
    assert!(size_of::<Context>() == 1232);
    assert!(offset_of!(Context, flags) == 0x30);
    assert!(offset_of!(Context, eflags) == 0x44);
    assert!(offset_of!(Context, general) == 0x78);
    assert!(offset_of!(Context, rip) == 0xf8);
    assert!(offset_of!(Context, floating) == 0x100);
    assert!(offset_of!(Context, vector) == 0x300);
    assert!(offset_of!(Context, vector_control) == 0x4a0);
};

/// `KDESCRIPTOR`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Descriptor {
    /// Unused.
    pub pad: [u16; 3],
    /// Size less one.
    pub limit: u16,
    /// Address.
    pub base: u64,
}

/// `KSPECIAL_REGISTERS`, as Windows 10 has it: 240 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "the registers' own names")]
pub struct SpecialRegisters {
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    /// DR0 to DR3, DR6, DR7 of kernel mode.
    pub debug: [u64; 6],
    pub gdtr: Descriptor,
    pub idtr: Descriptor,
    pub tr: u16,
    pub ldtr: u16,
    pub mxcsr: u32,
    pub debug_control: u64,
    pub last_branch_to: u64,
    pub last_branch_from: u64,
    pub last_exception_to: u64,
    pub last_exception_from: u64,
    pub cr8: u64,
    pub gs_base: u64,
    pub gs_swap: u64,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub syscall_mask: u64,
    pub xcr0: u64,
    pub fs_base: u64,
    pub padding: u64,
}

const _: () = {
    assert!(size_of::<SpecialRegisters>() == 0xf0);
    assert!(offset_of!(SpecialRegisters, gdtr) == 0x50);
    assert!(offset_of!(SpecialRegisters, idtr) == 0x60);
    assert!(offset_of!(SpecialRegisters, tr) == 0x70);
    assert!(offset_of!(SpecialRegisters, cr8) == 0xa0);
    assert!(offset_of!(SpecialRegisters, xcr0) == 0xd8);
};

impl SpecialRegisters {
    /// All zero.
    #[must_use]
    pub fn zeroed() -> Self {
        Self::new_zeroed()
    }
}

/// `KPROCESSOR_STATE`, which lies in each processor's block.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProcessorState {
    /// What only the kernel has.
    pub special: SpecialRegisters,
    /// What every program has.
    pub context: Context,
}

const _: () = assert!(size_of::<ProcessorState>() == 0x5c0 && offset_of!(ProcessorState, context) == 0xf0);
