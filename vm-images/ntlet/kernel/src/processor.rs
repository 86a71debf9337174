//! Per-processor state that drivers reach through GS, at the offsets of x64 Windows that compiled drivers rely on.

use core::ffi::c_void;
use core::mem::offset_of;

use kd::context::{Context, ProcessorState};

/// Processor control region: GS base in kernel mode. Only the fields that inlined DDIs read have names.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Kpcr {
    reserved0: [u8; 0x18],
    /// Address of this structure.
    pub self_pointer: *mut Kpcr,
    /// Address of the processor block inside it.
    pub current_prcb: *mut c_void,
    reserved1: [u8; 0x180 - 0x28],
    /// Start of the processor block: default MXCSR.
    pub mxcsr: u32,
    /// Legacy number.
    pub legacy_number: u8,
    reserved2: [u8; 3],
    /// The running thread, `KeGetCurrentThread` as compiled into drivers.
    pub current_thread: *mut c_void,
    /// The thread chosen to run next.
    pub next_thread: *mut c_void,
    /// This processor's idle thread.
    pub idle_thread: *mut c_void,
    reserved3: [u8; 4],
    /// Number.
    pub number: u32,
    reserved4: [u8; 0x280 - 0x1a8],
    /// Registers, while a debugger or a bug check holds the processor.
    pub state: ProcessorState,
    /// Address of the context in it, for debuggers that look for one here.
    pub context: *const Context,
    reserved5: [u8; 0x1000 - 0x848 - 0x40],
    /// The machine's own words, at the end of the page.
    pub machine: [u64; 8],
}

const _: () = {
    assert!(size_of::<Kpcr>() == 0x1000);
    assert!(offset_of!(Kpcr, self_pointer) == 0x18);
    assert!(offset_of!(Kpcr, current_prcb) == 0x20);
    assert!(offset_of!(Kpcr, mxcsr) == 0x180);
    assert!(offset_of!(Kpcr, current_thread) == 0x188);
    assert!(offset_of!(Kpcr, idle_thread) == 0x198);
    assert!(offset_of!(Kpcr, number) == 0x1a4);
    assert!(offset_of!(Kpcr, state) == 0x280);
    assert!(offset_of!(Kpcr, context) == 0x840);
    assert!(offset_of!(Kpcr, machine) == 0xfc0);
};
