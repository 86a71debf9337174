//! From the PVH entry point to the executive: 32-bit entry, long mode, then each part of the machine in turn.
//! Protocol: `xen/docs/misc/pvh.pandoc`; QEMU implements it for `-kernel`.

use core::arch::global_asm;

use super::processor::{self, Processor};
use super::{apic, built_in, cpu, hal, io_apic, kernel_memory, memory, panic, pci, serial, smp, time, traps, upcall};
use crate::acpi::Tables;
use crate::boot_info::BootInfo;
use crate::layout::{DIRECT_BASE, IMAGE_BASE, PAGE};
use kernel::entry::Boot;

// The page tables map the first GiB at 0, in the direct map and at the image's address. They serve until the kernel has built its
// own, and again for each further processor. 0x80000001 in CPUID is checked because without it the next steps end in a reset.
global_asm!(
    ".section .note.pvh, \"a\", @note",
    "  .long 4, 4, 18",
    "  .asciz \"Xen\"",
    "  .long pvh_start",
    ".section .boot, \"awx\", @progbits",
    ".code32",
    ".global pvh_start",
    "pvh_start:",
    "  cli",
    "  cld",
    "  mov %ebx, %edi",
    "  mov $0x80000001, %eax",
    "  cpuid",
    "  and $0x20100000, %edx",
    "  cmp $0x20100000, %edx",
    "  jne early_failure",
    "  mov %cr4, %eax",
    "  or $0x20, %eax",
    "  mov %eax, %cr4",
    "  mov $early_root, %eax",
    "  mov %eax, %cr3",
    "  mov $0xc0000080, %ecx",
    "  rdmsr",
    "  or $0x901, %eax",
    "  wrmsr",
    "  mov %cr0, %eax",
    "  and $0x9fffffff, %eax",
    "  or $0x80010022, %eax",
    "  mov %eax, %cr0",
    "  lgdt early_gdt_pointer",
    "  ljmp $8, $early_64",
    // Not a 64-bit processor, or one without execute protection.
    "early_failure:",
    "  mov $0x11, %eax",
    "  mov $0xf4, %edx",
    "  out %eax, %dx",
    "2: hlt",
    "  jmp 2b",
    ".code64",
    "early_64:",
    "  mov $16, %eax",
    "  mov %eax, %ds",
    "  mov %eax, %es",
    "  mov %eax, %ss",
    "  movabs $boot_stack_top, %rsp",
    "  mov %edi, %ecx",
    "  xor %ebp, %ebp",
    "  sub $32, %rsp",
    "  movabs ${main}, %rax",
    "  call *%rax",
    "  ud2",
    ".balign 8",
    "early_gdt:",
    "  .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff",
    "early_gdt_pointer:",
    "  .word 23",
    "  .long early_gdt",
    ".balign 4096",
    "early_root:",
    "  .quad early_low + 3",
    "  .fill 255, 8, 0",
    "  .quad early_low + 3",
    "  .fill 254, 8, 0",
    "  .quad early_high + 3",
    "early_low:",
    "  .quad early_pages + 3",
    "  .fill 511, 8, 0",
    "early_high:",
    "  .fill 510, 8, 0",
    "  .quad early_pages + 3",
    "  .fill 1, 8, 0",
    "early_pages:",
    ".set page, 0",
    ".rept 512",
    "  .quad page + 0x83",
    "  .set page, page + 0x200000",
    ".endr",
    ".section .bss.boot_stack, \"aw\", @nobits",
    ".balign 16",
    "boot_stack:",
    "  .skip 32768",
    "boot_stack_top:",
    main = sym boot_main,
    options(att_syntax),
);

/// The tables above name these places as numbers.
const _: () = {
    assert!(crate::paging::index(DIRECT_BASE, 3) == 256);
    assert!(crate::paging::index(IMAGE_BASE, 3) == 511 && crate::paging::index(IMAGE_BASE, 2) == 510);
};

/// Longest command line that is kept; QEMU allows less.
const MAX_COMMAND_LINE: usize = PAGE as usize;

static BOOT: super::sync::Once<Boot> = super::sync::Once::new();

/// First Rust code: on the boot stack, with the boot stage's page tables, interrupts masked.
extern "win64" fn boot_main(start_info: u64) -> ! {
    let start = cpu::time_stamp();
    serial::COM1.start();
    serial::COM2.start();
    let early_root = cpu::page_table_root();
    let info = match BootInfo::read(&memory::EarlyMemory, start_info) {
        Ok(info) => info,
        Err(error) => panic!("the loader's start information at {start_info:#x} cannot be used: {error:?}"),
    };
    memory::start(&info);
    let has_word = |is: fn(&str) -> bool| command_line(&info).split_ascii_whitespace().any(is);
    if has_word(|word| word.starts_with("debug=")) {
        serial::leave_to_debugger();
    }
    if has_word(|word| word == kernel::entry::RESTARTS_AT_END) {
        hal::restart_at_end();
    }
    traps::build_gates();
    let first = Processor::create(0, apic::initial_id()).expect("there is memory for the first processor");
    first.load();
    cpu::set_task_priority(kernel::hal::HIGH_LEVEL);
    let tables = match Tables::read(&kernel_memory::MappedMemory, info.rsdp) {
        Ok(tables) => tables,
        Err(error) => panic!("the ACPI tables from {:#x} cannot be used: {error:?}", info.rsdp),
    };
    apic::discover(tables.local_apic);
    apic::start();
    processor::count_started();
    io_apic::start(&tables);
    time::start(start, &tables);
    time::start_alarm();
    pci::start(&tables);
    smp::start(&tables, first.apic_id, early_root);
    let image = memory::image();
    BOOT.set(Boot {
        hal: &hal::MACHINE,
        command_line: command_line(&info),
        archive: archive(&info),
        built_in: built_in::modules(),
        image: (image.0 as usize, (image.1 - image.0) as usize),
    });
    let (free, total) = memory::counts();
    serial::log(format_args!(
        "ntlet: {} processors, {} MiB of {} free, counter {} Hz",
        processor::started(),
        free >> 8,
        total >> 8,
        time::performance_counter().1
    ));
    panic::executive_starts();
    smp::enter_executive(first, executive)
}

extern "win64" fn executive() -> ! {
    upcall::start(*BOOT.get())
}

/// The command line, which stays where the loader put it: below 1 MiB, which is never handed out, or copied from elsewhere.
fn command_line(info: &BootInfo) -> &'static str {
    let length = (info.command_line.end - info.command_line.start) as usize;
    if length == 0 {
        return "";
    }
    assert!(length <= MAX_COMMAND_LINE, "the command line has {length} bytes, more than {MAX_COMMAND_LINE}");
    assert!(info.command_line.end <= 1 << 20, "the loader put the command line above 1 MiB");
    // SAFETY: memory below 1 MiB is in the direct map and is not handed out; the bytes were read there before.
    let bytes = unsafe { core::slice::from_raw_parts(memory::direct(info.command_line.start), length) };
    core::str::from_utf8(bytes).unwrap_or_else(|error| panic!("the command line is not UTF-8: {error}"))
}

fn archive(info: &BootInfo) -> &'static [u8] {
    let length = (info.archive.end - info.archive.start) as usize;
    if length == 0 {
        return &[];
    }
    let inside = info.memory().any(|region| region.start <= info.archive.start && info.archive.end <= region.end);
    assert!(inside, "the loader put the archive at {:#x}, where there is no memory", info.archive.start);
    // SAFETY: ordinary memory, in the direct map, reserved for the archive since the frame allocator exists.
    unsafe { core::slice::from_raw_parts(memory::direct(info.archive.start), length) }
}
