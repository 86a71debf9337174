//! What the machine keeps for each processor, and setting a processor up: descriptor tables, control registers, GS.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::{cpu, kernel_memory, system_call, traps};
use crate::layout::{MAX_PROCESSORS, PAGE};
use crate::segments::{self, GDT_SLOTS, TaskState};
use kernel::hal::{Context, Protection};
use kernel::processor::Kpcr;

/// Offsets, from GS, of the words that entry code uses: the machine's part of the control region.
pub(crate) const KERNEL_STACK: usize = 0xfc0;
pub(crate) const USER_STACK: usize = 0xfc8;
const SELF: usize = 0xfd0;
const _: () = assert!(core::mem::offset_of!(Kpcr, machine) == KERNEL_STACK);

/// Pages of the stack that a processor starts on and idles on. Boot and every DPC in idle time run there.
const IDLE_STACK_PAGES: usize = 16;
/// Pages of each interrupt stack; a bug check runs on one after a double fault.
const INTERRUPT_STACK_PAGES: usize = 8;
/// Numbers of the interrupt stacks.
pub(crate) const NMI_STACK: u8 = 1;
pub(crate) const DOUBLE_FAULT_STACK: u8 = 2;
pub(crate) const MACHINE_CHECK_STACK: u8 = 3;

/// Control word of SSE in kernel mode: all exceptions masked.
pub(crate) const DEFAULT_MXCSR: u32 = 0x1f80;

/// One processor. Lives for ever.
pub(crate) struct Processor {
    /// Counted from 0, the one that boots.
    pub(crate) index: u32,
    /// Id of its interrupt controller.
    pub(crate) apic_id: u32,
    /// Top of the stack it starts on.
    pub(crate) idle_stack_top: u64,
    /// User address space that is loaded, 0 for none. Written by the processor itself.
    pub(crate) loaded_space: AtomicU64,
    /// Uptime at which the executive wants a clock interrupt. Used by the processor itself.
    pub(crate) clock_deadline: AtomicU64,
    /// Context of the thread that was switched to last.
    pub(crate) context: AtomicPtr<Context>,
    /// Whether the executive has been told of it: interrupts before that are the machine's own.
    pub(crate) is_known: AtomicBool,
    control_region: *mut Kpcr,
    descriptors: UnsafeCell<[u64; GDT_SLOTS]>,
    task_state: UnsafeCell<TaskState>,
}

// SAFETY: the cells and the control region are used by their own processor only; the rest is atomic or constant.
unsafe impl Sync for Processor {}

static PROCESSORS: [AtomicPtr<Processor>; MAX_PROCESSORS] = [const { AtomicPtr::new(null_mut()) }; MAX_PROCESSORS];
static STARTED: AtomicU32 = AtomicU32::new(0);
static GS_IS_SET: AtomicBool = AtomicBool::new(false);

fn allocate_stack(pages: usize) -> Option<u64> {
    let stack = kernel_memory::allocate_pages(pages, Protection::ReadWrite)?;
    Some(stack.as_ptr() as u64 + (pages as u64) * PAGE)
}

impl Processor {
    /// Makes the structures of a processor. `None` when memory has run out.
    pub(crate) fn create(index: u32, apic_id: u32) -> Option<&'static Processor> {
        const { assert!(size_of::<Processor>() <= PAGE as usize) };
        let mut stacks = [0; 7];
        for number in [NMI_STACK, DOUBLE_FAULT_STACK, MACHINE_CHECK_STACK] {
            stacks[usize::from(number) - 1] = allocate_stack(INTERRUPT_STACK_PAGES)?;
        }
        let control_region = kernel_memory::allocate_pages(1, Protection::ReadWrite)?.cast::<Kpcr>().as_ptr();
        let place = kernel_memory::allocate_pages(1, Protection::ReadWrite)?.cast::<Processor>();
        let idle_stack_top = allocate_stack(IDLE_STACK_PAGES)?;
        let processor = Processor {
            index,
            apic_id,
            idle_stack_top,
            loaded_space: AtomicU64::new(0),
            clock_deadline: AtomicU64::new(u64::MAX),
            context: AtomicPtr::new(null_mut()),
            is_known: AtomicBool::new(false),
            control_region,
            descriptors: UnsafeCell::new([0; GDT_SLOTS]),
            task_state: UnsafeCell::new(TaskState::new(stacks)),
        };
        // SAFETY: fresh pages, zeroed, large enough and aligned for both structures; nobody else knows them yet.
        unsafe {
            place.write(processor);
            let processor = place.as_ref();
            *processor.descriptors.get() = segments::descriptors(processor.task_state.get() as u64);
            let region = &mut *control_region;
            region.self_pointer = control_region;
            region.current_prcb = control_region.byte_add(core::mem::offset_of!(Kpcr, mxcsr)).cast();
            region.mxcsr = DEFAULT_MXCSR;
            region.legacy_number = index as u8;
            region.machine[(SELF - KERNEL_STACK) / 8] = place.as_ptr() as u64;
            Some(processor)
        }
    }

    /// Makes this the processor that the code runs on. Interrupts are masked.
    pub(crate) fn load(&'static self) {
        // SAFETY: the tables live for ever, hold the selectors that are loaded, and nothing on this processor uses older ones.
        unsafe {
            load_descriptors(self.descriptors.get() as u64);
            traps::load_gates();
            start_features();
            system_call::start();
            const GS_BASE: u32 = 0xc000_0101;
            const GS_BASE_OF_USER: u32 = 0xc000_0102;
            cpu::write_register(GS_BASE, self.control_region as u64);
            cpu::write_register(GS_BASE_OF_USER, 0);
        }
        GS_IS_SET.store(true, Ordering::Relaxed);
        self.set_kernel_stack(self.idle_stack_top);
        PROCESSORS[self.index as usize].store(core::ptr::from_ref(self).cast_mut(), Ordering::Release);
    }

    /// Sets where entries from user mode begin. Called on the processor itself.
    pub(crate) fn set_kernel_stack(&self, top: u64) {
        // SAFETY: both belong to this processor, which runs in kernel mode now and reads them only when it leaves user mode.
        unsafe {
            (*self.task_state.get()).kernel_stack = top;
            (*self.control_region).machine[0] = top;
        }
    }
}

/// Loads a descriptor table, its code and data segments, and its task state segment.
///
/// # Safety
/// The table is one of [`segments::descriptors`] and stays.
unsafe fn load_descriptors(table: u64) {
    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let pointer = Pointer { limit: (GDT_SLOTS * 8 - 1) as u16, base: table };
    // SAFETY: the caller's promise. The far return loads CS; SS holds a data segment; the rest are not used in 64-bit code.
    unsafe {
        asm!(
            "lgdt [{pointer}]",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov ss, {data:x}",
            "mov ds, {user_data:x}",
            "mov es, {user_data:x}",
            "mov fs, {null:x}",
            "mov gs, {null:x}",
            "ltr {task:x}",
            pointer = in(reg) &raw const pointer,
            code = const segments::KERNEL_CODE as u64,
            data = in(reg) u64::from(segments::KERNEL_DATA),
            user_data = in(reg) u64::from(segments::USER_DATA),
            null = in(reg) 0u64,
            task = in(reg) u64::from(segments::TASK_STATE),
            scratch = out(reg) _,
        );
    }
}

/// Switches on what the kernel relies on and what protects it.
///
/// # Safety
/// The page tables are the kernel's.
unsafe fn start_features() {
    const MONITOR_COPROCESSOR: u64 = 1 << 1;
    const EMULATION: u64 = 1 << 2;
    const TASK_SWITCHED: u64 = 1 << 3;
    const NUMERIC_ERROR: u64 = 1 << 5;
    const WRITE_PROTECT: u64 = 1 << 16;
    const NOT_WRITE_THROUGH: u64 = 1 << 29;
    const CACHE_DISABLE: u64 = 1 << 30;
    const GLOBAL_PAGES: u64 = 1 << 7;
    const SSE: u64 = 1 << 9 | 1 << 10;
    const MACHINE_CHECKS: u64 = 1 << 6;
    const UMIP: u64 = 1 << 11;
    const SMEP: u64 = 1 << 20;
    const PAGE_ATTRIBUTES: u32 = 0x277;
    /// As after reset, but entry 4 write-combining.
    const PAGE_ATTRIBUTE_TABLE: u64 = 0x0007_0401_0007_0406;

    let (smep, umip) = match cpu::identify(0).eax {
        7.. => (cpu::identify(7).ebx & 1 << 7 != 0, cpu::identify(7).ecx & 1 << 2 != 0),
        _ => (false, false),
    };
    let optional = if smep { SMEP } else { 0 } | if umip { UMIP } else { 0 };
    // SAFETY: bits that every 64-bit processor has, or that this one reports. SMAP stays off: drivers read buffers of programs
    // directly, as on Windows.
    unsafe {
        let off = EMULATION | TASK_SWITCHED | NOT_WRITE_THROUGH | CACHE_DISABLE;
        cpu::set_control0(cpu::control0() & !off | MONITOR_COPROCESSOR | NUMERIC_ERROR | WRITE_PROTECT);
        cpu::set_control4(cpu::control4() | GLOBAL_PAGES | MACHINE_CHECKS | SSE | optional);
        cpu::write_register(PAGE_ATTRIBUTES, PAGE_ATTRIBUTE_TABLE);
        asm!("fninit", options(nostack));
    }
}

/// The processor this code runs on. Stable only while no thread switch can happen.
pub(crate) fn current() -> &'static Processor {
    let address: u64;
    // SAFETY: in kernel mode GS leads to the control region, whose word holds the address of a `Processor` that lives for ever.
    unsafe {
        asm!("mov {}, gs:[{}]", out(reg) address, const SELF, options(nostack, preserves_flags, readonly));
        &*(address as *const Processor)
    }
}

/// The processor this code runs on, once the first has been set up.
pub(crate) fn try_current() -> Option<&'static Processor> {
    GS_IS_SET.load(Ordering::Relaxed).then(current)
}

/// This processor's control region.
pub(crate) fn control_region() -> core::ptr::NonNull<Kpcr> {
    let address: *mut Kpcr;
    // SAFETY: in kernel mode GS leads to the control region, which holds its own address.
    unsafe { asm!("mov {}, gs:[0x18]", out(reg) address, options(nostack, preserves_flags, readonly)) };
    core::ptr::NonNull::new(address).expect("the control region knows its address")
}

/// Counts one more processor as started.
pub(crate) fn count_started() {
    STARTED.fetch_add(1, Ordering::AcqRel);
}

/// Processors that have started.
pub(crate) fn started() -> u32 {
    STARTED.load(Ordering::Acquire)
}

/// Processors that have started.
pub(crate) fn all() -> impl Iterator<Item = &'static Processor> {
    PROCESSORS[..started() as usize].iter().filter_map(|slot| {
        // SAFETY: null or a processor, which lives for ever.
        unsafe { slot.load(Ordering::Acquire).as_ref() }
    })
}

/// The processor of that index, if it has started.
pub(crate) fn by_index(index: u32) -> Option<&'static Processor> {
    all().find(|processor| processor.index == index)
}
