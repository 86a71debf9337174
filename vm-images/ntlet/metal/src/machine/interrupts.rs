//! What happens when an interrupt comes: raising the IRQL, telling the executive, acknowledging. And who has which vector.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::sync::Lock;
use super::{apic, cpu, io_apic, processor, shoot_down, time, upcall};
use crate::layout::MAX_PROCESSORS;
use crate::vectors::{self, Vectors};
use kernel::entry::ExceptionFrame;
use kernel::hal::{CLOCK_LEVEL, Irql};

static VECTORS: Lock<Vectors> = Lock::new(Vectors::new());
const NOBODY: u32 = u32::MAX;
/// The processor that has stopped all others.
static FREEZER: AtomicU32 = AtomicU32::new(NOBODY);
/// Processors that have been sent a request to stand still for a debugger, and have not received it.
static HOLDS: [AtomicBool; MAX_PROCESSORS] = [const { AtomicBool::new(false) }; MAX_PROCESSORS];

/// Entry for interrupts that are no exceptions; called by `traps`, interrupts masked, and left the same way.
pub(super) extern "win64" fn interrupt_entry(vector: u64) {
    match vector as u8 {
        vectors::SPURIOUS => {}
        vectors::INTERPROCESSOR => {
            shoot_down::answer();
            apic::acknowledge();
        }
        vectors::CLOCK => at_level(CLOCK_LEVEL, apic::acknowledge, tell_of_clock, || {}),
        vectors::APC | vectors::DISPATCH => {
            // Acknowledged first: the executive may switch to another thread and come back on another processor.
            let irql = vector as u8 >> 4;
            at_level(irql, apic::acknowledge, || upcall::software_interrupt(irql), || {});
        }
        vector @ vectors::FIRST_DEVICE..=vectors::LAST_DEVICE => {
            at_level(vector >> 4, || {}, || upcall::device_interrupt(vector), apic::acknowledge);
        }
        other => {
            super::serial::log(format_args!("interrupt on vector {other:#x}, which nobody has"));
            apic::acknowledge();
        }
    }
}

/// Runs `body` at `irql` with interrupts enabled, between `before` and `after`, which run with interrupts masked.
fn at_level(irql: Irql, before: impl FnOnce(), body: impl FnOnce(), after: impl FnOnce()) {
    let interrupted = cpu::task_priority();
    cpu::set_task_priority(irql);
    before();
    // SAFETY: what was interrupted had them enabled, and the IRQL keeps this interrupt and its like from nesting.
    unsafe { cpu::enable_interrupts() };
    body();
    cpu::disable_interrupts();
    after();
    cpu::set_task_priority(interrupted);
}

fn tell_of_clock() {
    if time::clock_deadline_reached() && processor::current().is_known.load(Ordering::Relaxed) {
        upcall::clock_interrupt();
    }
}

/// Entry for non-maskable interrupts. Whether one of the machine's own purposes explains it; else it is the executive's.
pub(super) fn non_maskable_interrupt(frame: &mut ExceptionFrame) -> bool {
    if is_frozen() && !is_freezer() {
        if processor::current().is_known.load(Ordering::Relaxed) {
            upcall::stopped(frame);
        }
        cpu::halt_for_ever();
    }
    // Two purposes may have merged into one interrupt.
    let is_answer = shoot_down::answer_insistence();
    let own = processor::current();
    let is_held = HOLDS[own.index as usize].swap(false, Ordering::AcqRel);
    if is_held {
        upcall::held(frame);
    }
    is_answer || is_held
}

/// Asks every other processor that the executive knows to stand still. Returns the mask of those asked.
pub(super) fn hold_others() -> u64 {
    let own = processor::current().index;
    let known = |processor: &&processor::Processor| processor.index != own && processor.is_known.load(Ordering::Relaxed);
    processor::all().filter(known).fold(0, |mask, other| {
        // One that has not answered the last request yet will answer this one.
        if !HOLDS[other.index as usize].swap(true, Ordering::AcqRel) {
            apic::send_nmi(other.apic_id);
        }
        mask | 1 << other.index
    })
}

/// Stops every other processor for good. When two do it at the same time, the first stops the second.
pub(crate) fn freeze_others() {
    let own = processor::try_current().map_or(0, |processor| processor.index);
    if FREEZER.compare_exchange(NOBODY, own, Ordering::SeqCst, Ordering::SeqCst).is_ok() && processor::started() > 1 {
        apic::send_nmi_to_others();
    }
}

/// Whether processors have been told to stop.
pub(crate) fn is_frozen() -> bool {
    FREEZER.load(Ordering::Relaxed) != NOBODY
}

/// Whether this processor is the one that is left.
pub(crate) fn is_freezer() -> bool {
    is_frozen() && processor::try_current().is_none_or(|processor| processor.index == FREEZER.load(Ordering::Relaxed))
}

/// Reserves a vector at `irql` on one of the processors in `affinity`; returns it and the id of the processor's controller.
pub(crate) fn allocate(irql: Irql, affinity: u64) -> Option<(u8, u32)> {
    let started = processor::all().fold(0u64, |mask, processor| mask | 1 << processor.index);
    let (vector, index) = VECTORS.lock().allocate(irql, affinity & started)?;
    Some((vector, processor::by_index(index)?.apic_id))
}

/// Gives a vector back, and disconnects the line that has it.
pub(crate) fn release(vector: u8) {
    io_apic::release(vector);
    VECTORS.lock().release(vector);
}
