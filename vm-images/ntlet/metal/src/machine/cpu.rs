//! Single privileged instructions, each under a name.

use core::arch::asm;

/// Time-stamp counter.
pub(crate) fn time_stamp() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter; lfence keeps the read from moving before earlier instructions.
    unsafe { asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

/// `cpuid`: EAX, EBX, ECX, EDX.
pub(crate) fn identify(leaf: u32) -> core::arch::x86_64::CpuidResult {
    core::arch::x86_64::__cpuid_count(leaf, 0)
}

/// Whether interrupts are enabled on this processor.
pub(crate) fn interrupts_enabled() -> bool {
    let flags: u64;
    // SAFETY: reads the flags register by way of the stack.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
    flags & 1 << 9 != 0
}

/// Masks interrupts.
pub(crate) fn disable_interrupts() {
    // SAFETY: fewer interrupts break no one's invariants. No `nomem`: memory accesses must not move across.
    unsafe { asm!("cli", options(nostack, preserves_flags)) };
}

/// Unmasks interrupts.
///
/// # Safety
/// The caller holds nothing that an interrupt handler on this processor needs.
pub(crate) unsafe fn enable_interrupts() {
    // SAFETY: the caller's promise.
    unsafe { asm!("sti", options(nostack, preserves_flags)) };
}

/// Unmasks interrupts and waits for one; `sti` takes effect after the instruction that follows it, so none is missed.
///
/// # Safety
/// As for [`enable_interrupts`].
pub(crate) unsafe fn enable_interrupts_and_wait() {
    // SAFETY: the caller's promise.
    unsafe { asm!("sti", "hlt", options(nostack)) };
}

/// Stops this processor for good.
pub(crate) fn halt_for_ever() -> ! {
    loop {
        // SAFETY: nothing runs on this processor any more; a non-maskable interrupt leads back into the loop.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// CR8: the IRQL.
pub(crate) fn task_priority() -> u8 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr8", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value as u8
}

/// Sets CR8. Pending interrupts above it arrive at once.
pub(crate) fn set_task_priority(irql: u8) {
    // SAFETY: CR8 masks interrupts and does nothing else; values above 15 are cut. No `nomem`: handlers may run here.
    unsafe { asm!("mov cr8, {}", in(reg) u64::from(irql & 15), options(nostack, preserves_flags)) };
}

/// Address of the last page fault.
pub(crate) fn fault_address() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Root of the page tables.
pub(crate) fn page_table_root() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr3", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Changes the root of the page tables.
///
/// # Safety
/// The new tables map everything the kernel uses where the old ones do.
pub(crate) unsafe fn set_page_table_root(root: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) };
}

/// Forgets the translation of one page.
pub(crate) fn invalidate_page(address: u64) {
    // SAFETY: forgetting a translation only makes the processor look it up again.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) };
}

/// CR0.
pub(crate) fn control0() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr0", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Sets CR0.
///
/// # Safety
/// Paging and protection stay on, and code that relies on what changes is prepared.
pub(crate) unsafe fn set_control0(value: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("mov cr0, {}", in(reg) value, options(nostack, preserves_flags)) };
}

/// CR4.
pub(crate) fn control4() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr4", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Sets CR4.
///
/// # Safety
/// Only bits that this processor has, and 64-bit paging stays on.
pub(crate) unsafe fn set_control4(value: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("mov cr4, {}", in(reg) value, options(nostack, preserves_flags)) };
}

/// Reads a model-specific register.
///
/// # Safety
/// This processor has it.
pub(crate) unsafe fn read_register(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller's promise.
    unsafe { asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register.
///
/// # Safety
/// This processor has it, and the value keeps what the kernel relies on.
pub(crate) unsafe fn write_register(register: u32, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32,
             options(nostack, preserves_flags));
    }
}

/// Reads a port; `width` is 1, 2 or 4.
pub(crate) fn port_read(port: u16, width: u8) -> u32 {
    let value: u32;
    // SAFETY: devices may react to being read, but not by touching memory of this kernel: no device on ports is a bus master
    // that has not been told where to write.
    unsafe {
        match width {
            1 => asm!("in al, dx", "movzx eax, al", in("dx") port, out("eax") value, options(nostack, preserves_flags)),
            2 => asm!("in ax, dx", "movzx eax, ax", in("dx") port, out("eax") value, options(nostack, preserves_flags)),
            4 => asm!("in eax, dx", in("dx") port, out("eax") value, options(nostack, preserves_flags)),
            _ => panic!("a port cannot be read {width} bytes wide"),
        }
    }
    value
}

/// Writes a port; `width` is 1, 2 or 4.
pub(crate) fn port_write(port: u16, width: u8, value: u32) {
    // SAFETY: as for reading: what a device does in turn is what the caller drives it to do.
    unsafe {
        match width {
            1 => asm!("out dx, al", in("dx") port, in("eax") value, options(nostack, preserves_flags)),
            2 => asm!("out dx, ax", in("dx") port, in("eax") value, options(nostack, preserves_flags)),
            4 => asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack, preserves_flags)),
            _ => panic!("a port cannot be written {width} bytes wide"),
        }
    }
}
