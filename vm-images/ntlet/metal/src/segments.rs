//! Segment selectors, descriptors, the task state segment and interrupt gates, as values. The selectors are those of x64
//! Windows, because programs and drivers can see them.

/// Kernel code.
pub const KERNEL_CODE: u16 = 0x10;
/// Kernel data and stack.
pub const KERNEL_DATA: u16 = 0x18;
/// 32-bit user code: there only because `sysret` counts from it.
pub const USER_CODE_32: u16 = 0x20 | 3;
/// User data and stack.
pub const USER_DATA: u16 = 0x28 | 3;
/// User code.
pub const USER_CODE: u16 = 0x30 | 3;
/// Task state segment; takes two slots.
pub const TASK_STATE: u16 = 0x40;

/// The `STAR` register: what `syscall` and `sysret` load into CS and SS.
pub const STAR: u64 = (USER_CODE_32 as u64) << 48 | (KERNEL_CODE as u64) << 32;

/// Number of 8-byte slots in the table.
pub const GDT_SLOTS: usize = 10;

/// Task state segment: where stacks for entries into the kernel are found.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed(4))]
pub struct TaskState {
    reserved0: u32,
    /// Stack for entries from user mode.
    pub kernel_stack: u64,
    unused_stacks: [u64; 2],
    reserved1: u64,
    /// Stacks that gates choose by number, from 1.
    pub interrupt_stacks: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    io_map: u16,
}

const _: () = assert!(size_of::<TaskState>() == 104);

impl TaskState {
    /// With these interrupt stacks and no I/O permission map.
    pub fn new(interrupt_stacks: [u64; 7]) -> TaskState {
        TaskState { interrupt_stacks, io_map: size_of::<TaskState>() as u16, ..TaskState::default() }
    }
}

const ACCESSED_WRITABLE_DATA: u64 = 0x3;
const ACCESSED_READABLE_CODE: u64 = 0xb;

/// A flat code or data descriptor.
const fn segment(kind: u64, privilege: u64, size_bits: u64) -> u64 {
    const PRESENT_CODE_OR_DATA: u64 = 0b1001;
    let access = PRESENT_CODE_OR_DATA << 4 | privilege << 5 | kind;
    // Limit 0xfffff pages; size_bits is the nibble G, D/B, L, available.
    0xf << 48 | size_bits << 52 | access << 40 | 0xffff
}

/// The descriptor table of a processor whose task state segment lies at `task_state`.
pub const fn descriptors(task_state: u64) -> [u64; GDT_SLOTS] {
    const BITS_64: u64 = 0b1010;
    const BITS_32: u64 = 0b1100;
    let mut table = [0; GDT_SLOTS];
    table[KERNEL_CODE as usize / 8] = segment(ACCESSED_READABLE_CODE, 0, BITS_64);
    table[KERNEL_DATA as usize / 8] = segment(ACCESSED_WRITABLE_DATA, 0, BITS_32);
    table[USER_CODE_32 as usize / 8] = segment(ACCESSED_READABLE_CODE, 3, BITS_32);
    table[USER_DATA as usize / 8] = segment(ACCESSED_WRITABLE_DATA, 3, BITS_32);
    table[USER_CODE as usize / 8] = segment(ACCESSED_READABLE_CODE, 3, BITS_64);
    const PRESENT_AVAILABLE_TSS: u64 = 0x89;
    let limit = size_of::<TaskState>() as u64 - 1;
    table[TASK_STATE as usize / 8] =
        limit | (task_state & 0xff_ffff) << 16 | PRESENT_AVAILABLE_TSS << 40 | (task_state >> 24 & 0xff) << 56;
    table[TASK_STATE as usize / 8 + 1] = task_state >> 32;
    table
}

/// An entry of the interrupt table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct Gate(pub [u64; 2]);

impl Gate {
    /// An interrupt gate to `handler`, on interrupt stack `stack` (0: the current one, or the kernel stack when coming from user
    /// mode), which software of `privilege` and below may call by `int`.
    pub const fn new(handler: u64, stack: u8, privilege: u8) -> Gate {
        const PRESENT_INTERRUPT: u64 = 0x8e;
        let access = PRESENT_INTERRUPT | (privilege as u64) << 5;
        let low = handler & 0xffff | (KERNEL_CODE as u64) << 16 | (stack as u64) << 32 | access << 40;
        Gate([low | (handler >> 16 & 0xffff) << 48, handler >> 32])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flat_descriptors_have_their_well_known_values() {
        let table = descriptors(0);

        assert_eq!(table[2], 0x00af_9b00_0000_ffff);
        assert_eq!(table[3], 0x00cf_9300_0000_ffff);
        assert_eq!(table[5], 0x00cf_f300_0000_ffff);
        assert_eq!(table[6], 0x00af_fb00_0000_ffff);
    }

    #[test]
    fn the_task_state_address_is_spread_over_its_two_slots() {
        let table = descriptors(0x1122_3344_5566_7788);

        assert_eq!(table[8], 0x5500_8966_7788_0067);
        assert_eq!(table[9], 0x1122_3344);
    }

    #[test]
    fn sysret_and_syscall_find_their_selectors_in_star() {
        let sysret = (STAR >> 48) as u16;

        assert_eq!((sysret + 16, sysret + 8), (USER_CODE, USER_DATA));
        assert_eq!(((STAR >> 32) as u16, (STAR >> 32) as u16 + 8), (KERNEL_CODE, KERNEL_DATA));
    }

    #[test]
    fn a_gate_carries_address_stack_and_privilege() {
        let gate = Gate::new(0xffff_ffff_8020_1234, 2, 3);

        assert_eq!(gate.0, [0x8020_ee02_0010_1234, 0xffff_ffff]);
    }
}
