//! What a debugger sees and changes: memory that is looked up before it is touched, control registers, debug registers.

use core::arch::asm;

use super::hal::Machine;
use super::{cpu, interrupts, kernel_memory, memory};
use crate::layout::PAGE;
use kd::context::{Descriptor, SpecialRegisters};
use kernel::kd::DebugMachine;

/// Lets the kernel write to pages that are read-only for it, while set in CR0 is clear.
const WRITE_PROTECT: u64 = 1 << 16;

/// Calls `touch` with the address of each piece of a range that lies in one page and is ordinary memory, and the place of that piece in
/// the range. Stops at the first that is not; returns how many bytes were there.
fn each_piece(
    address: u64,
    length: usize,
    find: impl Fn(u64) -> Option<u64>,
    mut touch: impl FnMut(u64, core::ops::Range<usize>),
) -> usize {
    let mut done = 0;
    while done < length {
        let Some(here) = address.checked_add(done as u64) else { break };
        let Some(found) = find(here) else { break };
        let piece = ((PAGE - here % PAGE) as usize).min(length - done);
        touch(found, done..done + piece);
        done += piece;
    }
    done
}

/// A virtual address, if ordinary memory is mapped there.
fn mapped(address: u64) -> Option<u64> {
    kernel_memory::physical_address(address).filter(|physical| memory::is_ordinary(*physical)).map(|_| address)
}

fn read(buffer: &mut [u8], address: u64, find: impl Fn(u64) -> Option<u64>) -> usize {
    let length = buffer.len();
    let to = buffer.as_mut_ptr();
    each_piece(address, length, find, |from, piece| {
        // SAFETY: the piece lies in one page of ordinary memory that is mapped, and every other processor stands still; the buffer has
        // room for it at its place.
        unsafe { to.add(piece.start).copy_from(from as *const u8, piece.len()) };
    })
}

fn write(data: &[u8], address: u64, find: impl Fn(u64) -> Option<u64>) -> usize {
    let control = cpu::control0();
    let enabled = cpu::interrupts_enabled();
    cpu::disable_interrupts();
    // SAFETY: nothing but the copies below runs on this processor until it is set again.
    unsafe { cpu::set_control0(control & !WRITE_PROTECT) };
    let done = each_piece(address, data.len(), find, |to, piece| {
        // SAFETY: the piece lies in one page of ordinary memory that is mapped; what a debugger does to it is what it wants.
        unsafe { (to as *mut u8).copy_from(data[piece.clone()].as_ptr(), piece.len()) };
    });
    // SAFETY: as it was.
    unsafe { cpu::set_control0(control) };
    if enabled {
        // SAFETY: they were enabled on entry.
        unsafe { cpu::enable_interrupts() };
    }
    done
}

/// A table's register, as the processor stores it.
#[repr(C, packed)]
#[derive(Default)]
struct Table {
    limit: u16,
    base: u64,
}

impl Table {
    fn descriptor(&self) -> Descriptor {
        Descriptor { pad: [0; 3], limit: self.limit, base: self.base }
    }
}

const FS_BASE: u32 = 0xc000_0100;
const GS_BASE: u32 = 0xc000_0101;
const GS_SWAP: u32 = 0xc000_0102;
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const CSTAR: u32 = 0xc000_0083;
const SYSCALL_MASK: u32 = 0xc000_0084;
const FEATURES: u32 = 0xc000_0080;
const TIME_STAMP: u32 = 0x10;
const LOCAL_INTERRUPTS: u32 = 0x1b;
const SYSENTER: core::ops::RangeInclusive<u32> = 0x174..=0x176;
const CACHING: u32 = 0x277;

/// Whether every 64-bit processor has a model-specific register, and, if `writes`, takes any value for it that is an address or a number.
fn is_known(register: u32, writes: bool) -> bool {
    let takes_anything = matches!(register, STAR | CSTAR | LSTAR | SYSCALL_MASK | FS_BASE | GS_BASE | GS_SWAP);
    let can_be_read = matches!(register, FEATURES | TIME_STAMP | LOCAL_INTERRUPTS | CACHING) || SYSENTER.contains(&register);
    takes_anything || can_be_read && !writes
}

/// Whether a value is an address that can be: registers for addresses fault at any other.
fn is_canonical(value: u64) -> bool {
    (value as i64) << 16 >> 16 == value as i64
}

impl DebugMachine for Machine {
    fn special_registers(&self, registers: &mut SpecialRegisters) {
        let (mut gdt, mut idt, mut task, mut mxcsr) = (Table::default(), Table::default(), 0u16, 0u32);
        let debug: [u64; 6];
        // SAFETY: reads registers that every 64-bit processor has; the places have the size that is stored.
        unsafe {
            asm!("sgdt [{}]", in(reg) &raw mut gdt, options(nostack, preserves_flags));
            asm!("sidt [{}]", in(reg) &raw mut idt, options(nostack, preserves_flags));
            asm!("str {:x}", out(reg) task, options(nomem, nostack, preserves_flags));
            asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack, preserves_flags));
            let (d0, d1, d2, d3, d6, d7);
            asm!("mov {}, dr0", "mov {}, dr1", "mov {}, dr2", "mov {}, dr3", "mov {}, dr6", "mov {}, dr7",
                 out(reg) d0, out(reg) d1, out(reg) d2, out(reg) d3, out(reg) d6, out(reg) d7,
                 options(nomem, nostack, preserves_flags));
            debug = [d0, d1, d2, d3, d6, d7];
        }
        // SAFETY: registers that every 64-bit processor has.
        let model_specific = |register| unsafe { cpu::read_register(register) };
        *registers = SpecialRegisters {
            cr0: cpu::control0(),
            cr2: cpu::fault_address(),
            cr3: cpu::page_table_root(),
            cr4: cpu::control4(),
            debug,
            gdtr: gdt.descriptor(),
            idtr: idt.descriptor(),
            tr: task,
            mxcsr,
            cr8: cpu::task_priority().into(),
            gs_base: model_specific(GS_BASE),
            gs_swap: model_specific(GS_SWAP),
            star: model_specific(STAR),
            lstar: model_specific(LSTAR),
            cstar: model_specific(CSTAR),
            syscall_mask: model_specific(SYSCALL_MASK),
            fs_base: model_specific(FS_BASE),
            ..SpecialRegisters::zeroed()
        };
    }

    fn load_debug_registers(&self, registers: &[u64; 6]) {
        const STATUS_BITS: u64 = 0xffff_0ff0;
        /// Everything but general detection, which would fault at the next read of a debug register.
        const CONTROL_BITS: u64 = 0xffff_03ff;
        let [d0, d1, d2, d3, d6, d7] = *registers;
        let (d6, d7) = (d6 & 0xffff_ffff | STATUS_BITS, d7 & CONTROL_BITS);
        // SAFETY: reserved bits have their fixed values, so that nothing faults; a breakpoint set here is the debugger's.
        unsafe {
            asm!("mov dr0, {}", "mov dr1, {}", "mov dr2, {}", "mov dr3, {}", "mov dr6, {}", "mov dr7, {}",
                 in(reg) d0, in(reg) d1, in(reg) d2, in(reg) d3, in(reg) d6, in(reg) d7,
                 options(nomem, nostack, preserves_flags));
        }
    }

    fn read_virtual(&self, address: u64, buffer: &mut [u8]) -> usize {
        read(buffer, address, mapped)
    }

    fn write_virtual(&self, address: u64, data: &[u8]) -> usize {
        write(data, address, mapped)
    }

    fn read_physical(&self, address: u64, buffer: &mut [u8]) -> usize {
        read(buffer, address, memory::alias)
    }

    fn write_physical(&self, address: u64, data: &[u8]) -> usize {
        write(data, address, memory::alias)
    }

    fn read_model_specific(&self, register: u32) -> Option<u64> {
        // SAFETY: a register that every 64-bit processor has.
        is_known(register, false).then(|| unsafe { cpu::read_register(register) })
    }

    fn write_model_specific(&self, register: u32, value: u64) -> bool {
        let is_number = register == STAR || register == SYSCALL_MASK && value >> 32 == 0;
        let is_taken = is_known(register, true) && (is_number || register != SYSCALL_MASK && is_canonical(value));
        if is_taken {
            // SAFETY: the register exists and takes this value; what a debugger does to it is what it wants.
            unsafe { cpu::write_register(register, value) };
        }
        is_taken
    }

    fn each_range_of_memory(&self, visit: &mut dyn FnMut(u64, u64)) {
        memory::map().for_each(|region| visit(region.start, region.end));
    }

    fn hold_other_processors(&self) -> u64 {
        interrupts::hold_others()
    }

    fn reset(&self) -> ! {
        super::hal::reset()
    }
}
