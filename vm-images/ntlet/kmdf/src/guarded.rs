//! Calls of kernel functions that raise exceptions. Rust cannot catch one, so each is a few instructions around the call, whose place is
//! made known to whoever loads the framework, as unwinding information makes known a driver's `__try` blocks.

use core::arch::global_asm;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::MDL;
use wdf_sys::wdm::functions::MmProbeAndLockPages;

/// Code that catches every exception of what it calls: from `begin` up to `end` its stack pointer is the same, and an exception goes on at
/// `landing` with that stack pointer and the exception's code in EAX.
#[derive(Clone, Copy, Debug)]
pub struct Guarded {
    /// First instruction.
    pub begin: *const (),
    /// Behind the last one.
    pub end: *const (),
    /// Where an exception goes on.
    pub landing: *const (),
}

// SAFETY: the addresses are those of instructions, which nobody changes.
unsafe impl Sync for Guarded {}

global_asm!(
    ".section .text.kmdf_guarded, \"ax\"",
    ".balign 16",
    ".global kmdf_probe_and_lock, kmdf_probe_and_lock_guarded, kmdf_probe_and_lock_landing",
    "kmdf_probe_and_lock:",
    "sub rsp, 40",
    "kmdf_probe_and_lock_guarded:",
    "call {probe}",
    // The return address is behind the call.
    "xor eax, eax",
    "kmdf_probe_and_lock_landing:",
    "add rsp, 40",
    "ret",
    ".text",
    probe = sym MmProbeAndLockPages,
);

unsafe extern "win64" {
    #[link_name = "kmdf_probe_and_lock"]
    fn probe_and_lock(mdl: *mut MDL, mode: i8, operation: i32) -> NTSTATUS;
}

unsafe extern "C" {
    static kmdf_probe_and_lock_guarded: u8;
    static kmdf_probe_and_lock_landing: u8;
}

/// All of it.
pub(crate) static ALL: [Guarded; 1] = [Guarded {
    begin: (&raw const kmdf_probe_and_lock_guarded).cast(),
    end: (&raw const kmdf_probe_and_lock_landing).cast(),
    landing: (&raw const kmdf_probe_and_lock_landing).cast(),
}];

/// `MmProbeAndLockPages`; the exception's code, where it raises one.
///
/// # Safety
/// As for `MmProbeAndLockPages`.
pub(crate) unsafe fn probe_and_lock_pages(mdl: *mut MDL, mode: i8, operation: i32) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe { probe_and_lock(mdl, mode, operation) }
}
