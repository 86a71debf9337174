//! What a machine tells the executive: it has started, an interrupt has come, a program has called, something has faulted.

use crate::hal::{DISPATCH_LEVEL, Hal, Irql};

/// A module that is part of the image rather than loaded from a file, such as the framework: what drivers may import from it.
#[derive(Clone, Copy, Debug)]
pub struct BuiltInModule {
    /// File name drivers import from, for example `WDFLDR.SYS`. Compared without case.
    pub name: &'static str,
    /// Exported names and addresses.
    pub exports: &'static [(&'static str, usize)],
    /// Called once before any driver is loaded, at `PASSIVE_LEVEL`.
    pub initialize: fn(),
    /// Its code that catches exceptions, as unwinding information would say of a driver's.
    pub guarded: &'static [GuardedCode],
}

/// Code that catches every exception of what it calls: from `begin` up to `end` its stack pointer is the same, and an exception goes on at
/// `landing` with that stack pointer and the exception's code in EAX.
#[derive(Clone, Copy, Debug)]
pub struct GuardedCode {
    /// Address of its first instruction.
    pub begin: usize,
    /// Address behind its last one.
    pub end: usize,
    /// Where an exception goes on.
    pub landing: usize,
}

// SAFETY: the addresses are those of functions and statics of the image, which no one changes.
unsafe impl Sync for BuiltInModule {}

/// What the executive is started with.
#[derive(Clone, Copy)]
pub struct Boot {
    /// The machine.
    pub hal: &'static dyn Hal,
    /// Words of the kernel command line, `key=value`.
    pub command_line: &'static str,
    /// The ustar archive that holds driver package and suite.
    pub archive: &'static [u8],
    /// Modules of the image besides the executive.
    pub built_in: &'static [BuiltInModule],
    /// First address and length of the image in memory, for back traces.
    pub image: (usize, usize),
}

/// The word of the command line for a kernel that another system has started and wants the machine back from: at the end the machine
/// starts again, and a bug check is told to a debugger and left in memory as a dump, but not told on the guest channel.
pub const RESTARTS_AT_END: &str = "end=restart";

/// Registers at an exception, as the machine saved them; the handler may change them and return to continue there.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
#[allow(missing_docs, reason = "the processor's own register names")]
pub struct ExceptionFrame {
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rbx: u64,
    pub rbp: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    /// Exception vector: 0 to 30, or that of an `int` instruction that counts as one (0x29, 0x2c, 0x2d).
    pub vector: u64,
    /// Error code, or 0.
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
    /// CR2 of a page fault, else 0.
    pub fault_address: u64,
}

impl ExceptionFrame {
    /// The general registers by number, as instructions and register files have them.
    #[must_use]
    pub const fn general(&self) -> [u64; 16] {
        [
            self.rax, self.rcx, self.rdx, self.rbx, self.rsp, self.rbp, self.rsi, self.rdi, self.r8, self.r9, self.r10, self.r11,
            self.r12, self.r13, self.r14, self.r15,
        ]
    }

    /// Sets them.
    pub const fn set_general(&mut self, registers: [u64; 16]) {
        [
            self.rax, self.rcx, self.rdx, self.rbx, self.rsp, self.rbp, self.rsi, self.rdi, self.r8, self.r9, self.r10, self.r11,
            self.r12, self.r13, self.r14, self.r15,
        ] = registers;
    }
}

/// Registers at a system call. The handler writes `rax`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
#[allow(missing_docs, reason = "the processor's own register names")]
pub struct SystemCallFrame {
    /// Service number on entry, result on return.
    pub rax: u64,
    /// First argument (the stub moved it from RCX).
    pub r10: u64,
    pub rdx: u64,
    pub r8: u64,
    pub r9: u64,
    /// User stack pointer; further arguments lie at `rsp + 0x28` and up.
    pub rsp: u64,
    /// User instruction pointer to return to.
    pub rip: u64,
    pub rflags: u64,
}

/// Starts the executive on the first processor. Called once, at `HIGH_LEVEL`, on a stack that becomes this processor's idle thread.
pub fn start(boot: Boot) -> ! {
    crate::boot::start(boot, crate::system::main)
}

/// A further processor has started: its control region is set up. Same conditions as [`start`]; called after `start` has made
/// [`crate::is_ready_for_processors`] true.
pub fn start_processor() -> ! {
    crate::dispatcher::start_processor();
    crate::dispatcher::idle()
}

/// A software interrupt asked for by [`Hal::request_software_interrupt`]; the machine has raised the IRQL to `irql` and has
/// already acknowledged it. Runs on the interrupted thread's kernel stack and may switch threads before it returns.
pub fn software_interrupt(irql: Irql) {
    if irql == DISPATCH_LEVEL { crate::dispatcher::dispatch_interrupt() } else { crate::dispatcher::apc::apc_interrupt() }
}

/// The deadline of [`Hal::arm_clock`] has come; at `CLOCK_LEVEL`.
pub fn clock_interrupt() {
    crate::dispatcher::clock::interrupt();
}

/// A device interrupt; at `vector >> 4`, interrupts enabled. The machine acknowledges it after this returns.
pub fn device_interrupt(vector: u8) {
    if crate::kd::interrupt(vector) {
        return;
    }
    crate::interrupt::dispatch(vector);
}

/// A processor exception, in kernel or user mode. Returns when the interrupted code can go on with `frame`.
pub fn exception(frame: &mut ExceptionFrame) {
    crate::exception::handle(frame);
}

/// This processor is to stand still until the one that a debugger has stopped goes on: it does so before this returns. With
/// `frame` as the debugger left it.
pub fn held(frame: &mut ExceptionFrame) {
    crate::kd::held(frame);
}

/// This processor is about to stop for good, because another one reports a bug check. What it was doing is kept for the dump.
pub fn stopped(frame: &ExceptionFrame) {
    crate::kd::keep_registers(frame);
}

/// A system call from user mode, interrupts enabled, at `PASSIVE_LEVEL`.
pub fn system_call(frame: &mut SystemCallFrame) {
    crate::system_call::dispatch(frame);
}
