//! This processor's interrupt controller (local APIC): acknowledging, sending, and its timer. x2APIC where the processor has it,
//! else memory-mapped. Manual: Intel SDM volume 3, chapter "Advanced Programmable Interrupt Controller".

use super::sync::Once;
use super::{cpu, kernel_memory};
use crate::layout::PAGE;
use crate::vectors;
use kernel::hal::Caching;

const ACKNOWLEDGE: u32 = 0xb0;
const SPURIOUS: u32 = 0xf0;
const COMMAND_LOW: u32 = 0x300;
const COMMAND_HIGH: u32 = 0x310;
const LOCAL_TIMER: u32 = 0x320;
const LOCAL_INPUT0: u32 = 0x350;
const LOCAL_INPUT1: u32 = 0x360;
const LOCAL_ERROR: u32 = 0x370;
const TIMER_INITIAL: u32 = 0x380;
const TIMER_CURRENT: u32 = 0x390;
const TIMER_DIVIDE: u32 = 0x3e0;

const MASKED: u32 = 1 << 16;
const TIMER_DEADLINE_MODE: u32 = 2 << 17;
const DIVIDE_BY_ONE: u32 = 0b1011;
const SOFTWARE_ENABLE: u32 = 1 << 8;

const DELIVER_NMI: u32 = 4 << 8;
const DELIVER_INIT: u32 = 5 << 8;
const DELIVER_STARTUP: u32 = 6 << 8;
const ASSERT: u32 = 1 << 14;
const TO_SELF: u32 = 1 << 18;
const TO_ALL_OTHERS: u32 = 3 << 18;
const SEND_PENDING: u32 = 1 << 12;

const BASE_REGISTER: u32 = 0x1b;
const BASE_ENABLE: u64 = 1 << 11;
const BASE_X2: u64 = 1 << 10;
const X2_REGISTERS: u32 = 0x800;
const X2_COMMAND: u32 = 0x830;
const DEADLINE_REGISTER: u32 = 0x6e0;

/// How the registers are reached.
enum Access {
    X2,
    Memory(*mut u32),
}

// SAFETY: the registers behind the pointer are each processor's own.
unsafe impl Send for Access {}
// SAFETY: as above.
unsafe impl Sync for Access {}

static ACCESS: Once<Access> = Once::new();

/// Chooses how registers are reached. Once, on the first processor.
pub(crate) fn discover(physical: u64) {
    const X2APIC: u32 = 1 << 21;
    if cpu::identify(1).ecx & X2APIC != 0 {
        ACCESS.set(Access::X2);
    } else {
        let registers = kernel_memory::map_physical(physical, PAGE as usize, Caching::Uncached);
        ACCESS.set(Access::Memory(registers.expect("boot has memory for one mapping").as_ptr().cast()));
    }
}

/// This processor's id, which `cpuid` knows before the controller is started.
pub(crate) fn initial_id() -> u32 {
    const TOPOLOGY: u32 = 0xb;
    let topology = (cpu::identify(0).eax >= TOPOLOGY).then(|| cpu::identify(TOPOLOGY)).filter(|topology| topology.ebx != 0);
    topology.map_or(cpu::identify(1).ebx >> 24, |topology| topology.edx)
}

/// Starts this processor's controller, timer stopped.
pub(crate) fn start() {
    // SAFETY: every 64-bit processor has the register; the base address is kept.
    unsafe {
        let base = cpu::read_register(BASE_REGISTER) | BASE_ENABLE;
        cpu::write_register(BASE_REGISTER, base);
        if matches!(ACCESS.get(), Access::X2) {
            cpu::write_register(BASE_REGISTER, base | BASE_X2);
        }
    }
    write(LOCAL_INPUT0, MASKED);
    write(LOCAL_INPUT1, DELIVER_NMI);
    write(LOCAL_ERROR, MASKED);
    write(TIMER_DIVIDE, DIVIDE_BY_ONE);
    write(LOCAL_TIMER, MASKED | u32::from(vectors::CLOCK));
    write(TIMER_INITIAL, 0);
    write(SPURIOUS, SOFTWARE_ENABLE | u32::from(vectors::SPURIOUS));
}

fn read(register: u32) -> u32 {
    match ACCESS.get() {
        // SAFETY: x2APIC is enabled and has the registers that this module names.
        Access::X2 => unsafe { cpu::read_register(X2_REGISTERS + (register >> 4)) as u32 },
        // SAFETY: the mapping covers the controller's page, and `register` is one of this module's constants.
        Access::Memory(base) => unsafe { base.byte_add(register as usize).read_volatile() },
    }
}

fn write(register: u32, value: u32) {
    match ACCESS.get() {
        // SAFETY: as for reading; the values are those that the manual allows.
        Access::X2 => unsafe { cpu::write_register(X2_REGISTERS + (register >> 4), u64::from(value)) },
        // SAFETY: as for reading.
        Access::Memory(base) => unsafe { base.byte_add(register as usize).write_volatile(value) },
    }
}

/// Ends the handling of the interrupt that arrived last.
pub(crate) fn acknowledge() {
    write(ACKNOWLEDGE, 0);
}

/// Writes a command; `target` counts only where the command has no shorthand.
fn command(target: u32, command: u32) {
    match ACCESS.get() {
        Access::X2 => {
            // Unlike the memory-mapped write, this one does not wait for earlier stores: what the receiver is to see must be out.
            core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
            // SAFETY: as for `write`; both halves are written at once.
            unsafe { cpu::write_register(X2_COMMAND, u64::from(target) << 32 | u64::from(command)) };
        }
        Access::Memory(_) => {
            // An interrupt between the two halves could send a command of its own.
            let interrupts = cpu::interrupts_enabled();
            cpu::disable_interrupts();
            (0..1000).take_while(|_| read(COMMAND_LOW) & SEND_PENDING != 0).for_each(|_| core::hint::spin_loop());
            write(COMMAND_HIGH, target << 24);
            write(COMMAND_LOW, command);
            if interrupts {
                // SAFETY: they were enabled before.
                unsafe { cpu::enable_interrupts() };
            }
        }
    }
}

/// Raises `vector` on this processor.
pub(crate) fn send_to_self(vector: u8) {
    command(0, TO_SELF | ASSERT | u32::from(vector));
}

/// Raises `vector` on the processor with id `target`.
pub(crate) fn send(target: u32, vector: u8) {
    command(target, ASSERT | u32::from(vector));
}

/// Raises a non-maskable interrupt on the processor with id `target`.
pub(crate) fn send_nmi(target: u32) {
    command(target, ASSERT | DELIVER_NMI);
}

/// Raises a non-maskable interrupt on every other processor.
pub(crate) fn send_nmi_to_others() {
    command(0, TO_ALL_OTHERS | ASSERT | DELIVER_NMI);
}

/// Resets the processor with id `target`.
pub(crate) fn send_init(target: u32) {
    command(target, ASSERT | DELIVER_INIT);
}

/// Lets the processor with id `target` start at page `page`.
pub(crate) fn send_startup(target: u32, page: u8) {
    command(target, ASSERT | DELIVER_STARTUP | u32::from(page));
}

/// Lets the timer count down from `count`, and interrupt unless `quiet`.
pub(crate) fn start_timer(count: u32, quiet: bool) {
    write(LOCAL_TIMER, u32::from(vectors::CLOCK) | if quiet { MASKED } else { 0 });
    write(TIMER_INITIAL, count);
}

/// What the timer still has to count.
pub(crate) fn timer_count() -> u32 {
    read(TIMER_CURRENT)
}

/// Makes the timer wait for time stamps instead of counting.
pub(crate) fn use_deadline_mode() {
    write(LOCAL_TIMER, TIMER_DEADLINE_MODE | u32::from(vectors::CLOCK));
    // The manual: the mode change must be out before the first deadline is written.
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}

/// In deadline mode: interrupt at a time stamp; 0 for never.
pub(crate) fn set_deadline(time_stamp: u64) {
    // SAFETY: only used when `cpuid` reports the register.
    unsafe { cpu::write_register(DEADLINE_REGISTER, time_stamp) };
}
