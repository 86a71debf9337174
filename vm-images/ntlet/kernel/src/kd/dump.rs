//! The header of a crash dump, made in this kernel's memory at a bug check. Who writes the file is outside: the harness, which has
//! all of the guest's memory, finds the header by its symbol and puts the memory behind it.

use core::cell::UnsafeCell;

use kd::context::Context;
use kd::data::{DUMP_FULL, DumpHeader, MACHINE_AMD64, MOST_RUNS, PhysicalMemory, Run};
use kd::wire::{ExceptionRecord, STATUS_BREAKPOINT};
use kd::zerocopy::{FromZeros as _, IntoBytes as _};

use super::{DebugMachine, blocks, module_list};
use crate::hal;
use crate::hal::PAGE_SIZE;

/// `VER_NT_WORKSTATION`.
const WORKSTATION: u32 = 1;

/// Room for the header.
#[repr(C, align(4096))]
pub(crate) struct Room(UnsafeCell<[u8; size_of::<DumpHeader>()]>);

// SAFETY: written by the one processor that reports, and read by nobody inside.
unsafe impl Sync for Room {}

/// Where the harness looks. Its signature is zero until the rest is complete.
#[used]
#[allow(non_upper_case_globals, reason = "a symbol that the harness looks for by this name")]
#[unsafe(no_mangle)]
pub(crate) static ntlet_dump_header: Room = Room(UnsafeCell::new([0; size_of::<DumpHeader>()]));

/// Makes the header.
pub(super) fn prepare(machine: &dyn DebugMachine, code: u32, parameters: [u64; 4], context: &Context) {
    // SAFETY: the one who reports a bug check is alone.
    let header = unsafe { &mut *ntlet_dump_header.0.get().cast::<DumpHeader>() };
    header.fill();
    header.signature = [0; 8];
    header.major_version = 0xf;
    header.minor_version = crate::time::VERSION.2;
    let mut special = kd::context::SpecialRegisters::zeroed();
    machine.special_registers(&mut special);
    header.directory_table_base = special.cr3;
    header.loaded_modules = module_list::head();
    header.active_processes = crate::process::list::head();
    header.machine = MACHINE_AMD64;
    header.processors = hal().processor_count();
    (header.bug_check, header.parameters) = (code, parameters);
    header.debugger_data = blocks::data();
    header.memory = memory(machine);
    header.context[..size_of::<Context>()].copy_from_slice(context.as_bytes());
    header.exception = ExceptionRecord::new(STATUS_BREAKPOINT, context.rip);
    header.dump_type = DUMP_FULL;
    header.required_space = size_of::<DumpHeader>() as u64 + header.memory.page_count * PAGE_SIZE as u64;
    header.up_time = hal().uptime();
    header.system_time = hal().boot_time() + header.up_time;
    let comment = concat!("ntlet ", env!("CARGO_PKG_VERSION")).as_bytes();
    header.comment[..comment.len()].copy_from_slice(comment);
    header.product_type = WORKSTATION;
    header.secondary_version = blocks::version().secondary;
    core::sync::atomic::fence(core::sync::atomic::Ordering::Release);
    header.signature = kd::data::DUMP_SIGNATURE;
}

/// Ordinary memory as runs of whole pages. What has no room in a header is left out.
fn memory(machine: &dyn DebugMachine) -> PhysicalMemory {
    let mut memory = PhysicalMemory::new_zeroed();
    machine.each_range_of_memory(&mut |start, end| {
        let (first, after) = (start.div_ceil(PAGE_SIZE as u64), end / PAGE_SIZE as u64);
        let count = memory.run_count as usize;
        if after > first && count < MOST_RUNS {
            memory.runs[count] = Run { first, pages: after - first };
            memory.run_count += 1;
            memory.page_count += after - first;
        }
    });
    memory
}
