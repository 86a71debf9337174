//! What a debugger finds first: the debugger data block, each processor's block, bug check data.

use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use kd::context::ProcessorState;
use kd::data::{DebuggerData, ListEntry, MACHINE_AMD64, field};
use kd::packet::kind;
use kd::wire::{VERSION_64, VERSION_DATA, VERSION_MULTIPROCESSOR, Version, api};

use super::module_list;
use crate::hal;
use crate::loader::modules;
use crate::processor::Kpcr;
use crate::processors::MAX;

/// Offset of the processor block in its control region.
const PRCB: usize = offset_of!(Kpcr, mxcsr);
/// What the blocks that Windows keeps further on begin with, before this kernel's own words.
const PRCB_SIZE: usize = 0x1000 - PRCB;

/// `KiProcessorBlock`: addresses of the processor blocks, by number.
static PROCESSOR_BLOCKS: [AtomicU64; MAX] = [const { AtomicU64::new(0) }; MAX];
/// `KiBugCheckData`: code and parameters.
static BUG_CHECK_DATA: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];
static PAGE_SIZE: u64 = crate::hal::PAGE_SIZE as u64;
static BUILD_LAB: &[u8] = concat!("ntlet ", env!("CARGO_PKG_VERSION"), "\0").as_bytes();

/// The list of debugger data blocks: a head, and the one block.
#[repr(C)]
struct Blocks {
    head: ListEntry,
    data: DebuggerData,
}

struct Fixed(UnsafeCell<Option<Blocks>>);

// SAFETY: written once, on the first processor before others run; then read by debuggers only.
unsafe impl Sync for Fixed {}

static BLOCKS: Fixed = Fixed(UnsafeCell::new(None));

fn address_of<T: ?Sized>(thing: *const T) -> u64 {
    thing.expose_provenance() as u64
}

/// Makes the block. Called once, before other processors run.
pub(super) fn start(break_with_status: usize) {
    // SAFETY: called once, before anybody else knows of it.
    let slot = unsafe { &mut *BLOCKS.0.get() };
    let blocks = slot.insert(Blocks { head: ListEntry::default(), data: DebuggerData::new(0) });
    let (head, own) = (address_of(&raw const blocks.head), address_of(&raw const blocks.data));
    blocks.head = ListEntry { next: own, previous: own };
    blocks.data = DebuggerData::new(head);
    let data = &mut blocks.data;
    let [probe, highest, start] = crate::exports::address_limits();
    for (offset, value) in [
        (field::KERNEL_BASE, kernel_base()),
        (field::BREAKPOINT_WITH_STATUS, break_with_status as u64),
        (field::LOADED_MODULES, module_list::head()),
        (field::ACTIVE_PROCESSES, crate::process::list::head()),
        (field::BUG_CHECK_DATA, address_of(&raw const BUG_CHECK_DATA)),
        (field::MM_PAGE_SIZE, address_of(&raw const PAGE_SIZE)),
        (field::HIGHEST_USER_ADDRESS, address_of(highest)),
        (field::SYSTEM_RANGE_START, address_of(start)),
        (field::USER_PROBE_ADDRESS, address_of(probe)),
        (field::BUILD_LAB, address_of(BUILD_LAB.as_ptr())),
        (field::PROCESSOR_BLOCKS, address_of(&raw const PROCESSOR_BLOCKS)),
    ] {
        data.set(offset, value);
    }
    let state = offset_of!(Kpcr, state) - PRCB;
    for (offset, value) in [
        (field::PRCB_SIZE, PRCB_SIZE),
        (field::PRCB_CURRENT_THREAD, offset_of!(Kpcr, current_thread) - PRCB),
        (field::PRCB_CONTEXT_FRAME, state + offset_of!(ProcessorState, context)),
        (field::PRCB_SPECIAL_REGISTERS, state + offset_of!(ProcessorState, special)),
        (field::PRCB_NUMBER, offset_of!(Kpcr, number) - PRCB),
        (field::PRCB_CONTEXT, offset_of!(Kpcr, context) - PRCB),
        (field::PCR_SIZE, size_of::<Kpcr>()),
        (field::PCR_SELF, offset_of!(Kpcr, self_pointer)),
        (field::PCR_CURRENT_PRCB, offset_of!(Kpcr, current_prcb)),
        (field::PCR_CONTAINED_PRCB, PRCB),
    ] {
        data.set_half(offset, value as u16);
    }
    // Selectors of Windows: kernel code, kernel data, none, user code, user data, user TEB, none, task state.
    for (index, selector) in [0x10, 0x18, 0, 0x33, 0x2b, 0x53, 0, 0x40].into_iter().enumerate() {
        data.set_half(field::SELECTORS + index * 2, selector);
    }
}

/// Address of the head of the list of blocks.
fn list() -> u64 {
    // SAFETY: written before anybody asks, and never again.
    let blocks = unsafe { &*BLOCKS.0.get() };
    blocks.as_ref().map_or(0, |blocks| address_of(&raw const blocks.head))
}

/// Address of the block.
pub(super) fn data() -> u64 {
    // SAFETY: as above.
    let blocks = unsafe { &*BLOCKS.0.get() };
    blocks.as_ref().map_or(0, |blocks| address_of(&raw const blocks.data))
}

/// First byte of the image.
pub(super) fn kernel_base() -> u64 {
    modules::all().next().map_or(0, |image| image.base() as u64)
}

/// This processor takes part: its block can be found.
pub(super) fn join() {
    let region = hal().control_region();
    let number = hal().current_processor();
    // SAFETY: the region is this processor's own; both fields are for debuggers.
    unsafe {
        (*region.as_ptr()).number = number;
        (*region.as_ptr()).context = &raw const (*region.as_ptr()).state.context;
    }
    if let Some(slot) = PROCESSOR_BLOCKS.get(number as usize) {
        slot.store(address_of(region.as_ptr()) + PRCB as u64, Ordering::Release);
    }
}

/// A processor's control region, once it takes part.
pub(super) fn region(processor: u32) -> Option<*mut Kpcr> {
    let block = PROCESSOR_BLOCKS.get(processor as usize)?.load(Ordering::Acquire);
    (block != 0).then(|| core::ptr::with_exposed_provenance_mut(block as usize - PRCB))
}

/// Keeps what a bug check says.
pub(super) fn set_bug_check(code: u32, parameters: [u64; 4]) {
    BUG_CHECK_DATA[0].store(code.into(), Ordering::Relaxed);
    BUG_CHECK_DATA[1..].iter().zip(parameters).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
}

/// The answer to the first question of every debugger.
pub(super) fn version() -> Version {
    const PROTOCOL: u8 = 6;
    const CONTEXT_OF_TODAY: u8 = 2;
    const STATE_CHANGES: u8 = 3;
    let multiprocessor = if hal().processor_count() > 1 { VERSION_MULTIPROCESSOR } else { 0 };
    Version {
        major: 0xf,
        minor: crate::time::VERSION.2 as u16,
        protocol: PROTOCOL,
        secondary: CONTEXT_OF_TODAY,
        flags: multiprocessor | VERSION_DATA | VERSION_64,
        machine: MACHINE_AMD64 as u16,
        packet_types: kind::MAXIMUM as u8,
        state_changes: STATE_CHANGES,
        requests: (api::MAXIMUM - api::MINIMUM) as u8,
        simulation: 0,
        unused: 0,
        kernel_base: kernel_base(),
        loaded_modules: module_list::head(),
        debugger_data: list(),
    }
}
