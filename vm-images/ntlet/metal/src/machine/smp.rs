//! Starting further processors: INIT and startup messages, and the code they begin with.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};

use super::processor::{self, Processor};
use super::{apic, cpu, memory, serial, time, upcall};
use crate::acpi::Tables;
use crate::layout::{MAX_PROCESSORS, TRAMPOLINE};

/// Units of 100 ns: until the second startup message, and until a processor counts as dead.
const ASK_AGAIN_AFTER: u64 = 20_000;
const GIVE_UP_AFTER: u64 = 20_000_000;
/// Units of 100 ns between two looks at whether the executive is ready.
const LOOK_AGAIN_AFTER: u64 = 2_000;

// Real mode to 64 bits, as the boot stage does. Copied to TRAMPOLINE, hence the address arithmetic. The processor takes its stack
// from the slot, so that one that comes late finds it empty and stops; on the stack lies what `arrive` wants.
global_asm!(
    ".section .rodata.trampoline, \"a\"",
    ".balign 16",
    "trampoline_start:",
    ".code16",
    "  cli",
    "  cld",
    "  mov %cs, %ax",
    "  mov %ax, %ds",
    "  lgdtl trampoline_gdt_pointer - trampoline_start",
    "  mov %cr0, %eax",
    "  or $1, %al",
    "  mov %eax, %cr0",
    "  ljmpl $8, $({base} + trampoline_32 - trampoline_start)",
    ".code32",
    "trampoline_32:",
    "  mov $0x10, %eax",
    "  mov %eax, %ds",
    "  mov %eax, %ss",
    "  mov %cr4, %eax",
    "  or $0x20, %eax",
    "  mov %eax, %cr4",
    "  mov {base} + trampoline_root - trampoline_start, %eax",
    "  mov %eax, %cr3",
    "  mov $0xc0000080, %ecx",
    "  rdmsr",
    "  or $0x901, %eax",
    "  wrmsr",
    "  mov %cr0, %eax",
    "  and $0x9fffffff, %eax",
    "  or $0x80010022, %eax",
    "  mov %eax, %cr0",
    "  ljmp $0x18, $({base} + trampoline_64 - trampoline_start)",
    ".code64",
    "trampoline_64:",
    "  xor %eax, %eax",
    "  mov ${base} + trampoline_stack - trampoline_start, %edi",
    "  xchg %rax, (%rdi)",
    "  test %rax, %rax",
    "  jz 2f",
    "  mov {base} + trampoline_kernel_root - trampoline_start, %rcx",
    "  movabs $trampoline_landing, %rdx",
    "  jmp *%rdx",
    "2: hlt",
    "  jmp 2b",
    ".balign 8",
    "trampoline_gdt:",
    "  .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff",
    "trampoline_gdt_pointer:",
    "  .word 31",
    "  .long {base} + trampoline_gdt - trampoline_start",
    ".balign 8",
    "trampoline_root: .quad 0",
    "trampoline_kernel_root: .quad 0",
    "trampoline_stack: .quad 0",
    "trampoline_end:",
    // Part of the image: the one place that both page tables map.
    ".section .text.trampoline_landing, \"ax\"",
    "trampoline_landing:",
    "  mov %rcx, %cr3",
    "  mov %rax, %rsp",
    "  xor %ebp, %ebp",
    "  pop %rcx",
    "  sub $24, %rsp",
    "  call {arrive}",
    base = const TRAMPOLINE,
    arrive = sym arrive,
    options(att_syntax),
);

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_root: u8;
    static trampoline_kernel_root: u8;
    static trampoline_stack: u8;
    static trampoline_end: u8;
}

/// Where a part of the trampoline lies in its copy, in the direct map.
fn in_copy(symbol: *const u8) -> *mut u8 {
    memory::direct(TRAMPOLINE + (symbol as u64 - (&raw const trampoline_start) as u64))
}

/// Starts every processor that the tables name besides `own`, one after the other. `early_root` are page tables that map the trampoline where
/// it lies, and the image. A processor that does not start is reported and left out.
pub(crate) fn start(tables: &Tables, own: u32, early_root: u64) {
    let others = tables.processors().iter().copied().filter(|&id| id != own);
    if tables.processors().len() < 2 {
        return;
    }
    let source = &raw const trampoline_start;
    let length = (&raw const trampoline_end) as usize - source as usize;
    // SAFETY: the page is ordinary memory below 1 MiB that the frame allocator does not hand out; the symbols lie in the copy.
    unsafe {
        in_copy(source).copy_from_nonoverlapping(source, length);
        in_copy(&raw const trampoline_root).cast::<u64>().write(early_root);
        in_copy(&raw const trampoline_kernel_root).cast::<u64>().write(memory::root());
    }
    for id in others {
        let index = processor::started();
        if index as usize == MAX_PROCESSORS {
            serial::log(format_args!("processors beyond the first {MAX_PROCESSORS} are not started"));
            return;
        }
        let Some(processor) = Processor::create(index, id) else {
            serial::log(format_args!("no memory to start the processor with APIC id {id}"));
            return;
        };
        if !start_one(processor) {
            // Should it come after all, it must not find the stack of the next one.
            serial::log(format_args!("the processor with APIC id {id} does not start; the machine runs with {index}"));
            return;
        }
    }
}

fn start_one(processor: &'static Processor) -> bool {
    let stack = (processor.idle_stack_top - 16) as *mut u64;
    // SAFETY: the top of a new stack, and the slot in the trampoline's copy, which processors only exchange.
    let slot = unsafe {
        stack.write(core::ptr::from_ref(processor) as u64);
        AtomicU64::from_ptr(in_copy(&raw const trampoline_stack).cast())
    };
    slot.store(stack as u64, Ordering::SeqCst);
    let before = processor::started();
    apic::send_init(processor.apic_id);
    apic::send_startup(processor.apic_id, (TRAMPOLINE >> 12) as u8);
    let began = time::uptime();
    let mut asked_again = false;
    while processor::started() == before {
        core::hint::spin_loop();
        let waited = time::uptime() - began;
        if waited > ASK_AGAIN_AFTER && !asked_again {
            asked_again = true;
            apic::send_startup(processor.apic_id, (TRAMPOLINE >> 12) as u8);
        }
        if waited > GIVE_UP_AFTER && slot.swap(0, Ordering::SeqCst) != 0 {
            return false;
        }
        // It has taken its stack and could appear at any time: the machine cannot go on without it.
        assert!(
            waited < 2 * GIVE_UP_AFTER,
            "the processor with APIC id {} begins to start and does not arrive",
            processor.apic_id
        );
    }
    true
}

/// Where the trampoline leads: on the processor's own stack, with the kernel's page tables.
extern "win64" fn arrive(processor: &'static Processor) -> ! {
    processor.load();
    cpu::set_task_priority(kernel::hal::HIGH_LEVEL);
    apic::start();
    time::start_alarm();
    processor::count_started();
    wait_for_executive();
    enter_executive(processor, executive)
}

extern "win64" fn executive() -> ! {
    upcall::start_processor()
}

/// Sleeps until the executive takes further processors, looking now and then.
fn wait_for_executive() {
    // Above devices and software interrupts, below the clock.
    cpu::set_task_priority(kernel::hal::CLOCK_LEVEL - 1);
    while !upcall::is_ready_for_processors() {
        time::arm(time::uptime() + LOOK_AGAIN_AFTER);
        // SAFETY: only the clock and requests of other processors can come, and the machine handles both by itself.
        unsafe { cpu::enable_interrupts_and_wait() };
        cpu::disable_interrupts();
    }
    time::arm(u64::MAX);
}

/// Hands a processor over to the executive: at `HIGH_LEVEL`, interrupts enabled, at the top of its idle stack.
pub(crate) fn enter_executive(processor: &'static Processor, body: extern "win64" fn() -> !) -> ! {
    cpu::set_task_priority(kernel::hal::HIGH_LEVEL);
    processor.is_known.store(true, Ordering::Relaxed);
    // SAFETY: nothing on the stack in use is needed any more; `call` with a zero frame pointer ends back traces here.
    unsafe {
        asm!(
            "mov rsp, {stack}",
            "xor ebp, ebp",
            "sti",
            "call {body}",
            "ud2",
            stack = in(reg) processor.idle_stack_top - 32,
            body = in(reg) body as usize,
            options(noreturn),
        );
    }
}
