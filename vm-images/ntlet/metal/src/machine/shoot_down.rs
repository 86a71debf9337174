//! Making other processors forget translations (TLB shoot-down), and leave address spaces that are about to go.
//!
//! One request at a time is published; each processor it concerns answers by storing its number. A processor that spins for
//! one of our locks answers there; one that keeps interrupts masked for long is asked by a non-maskable interrupt; one that
//! does not answer even that is dead, and the request ends in a diagnosis.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::sync::Lock;
use super::{apic, cpu, interrupts, memory, processor, time};
use crate::layout::{MAX_PROCESSORS, PAGE};
use crate::vectors;

/// Units of 100 ns after which a processor is asked again, by a non-maskable interrupt.
const INSIST_AFTER: u64 = 50_000;
/// Units of 100 ns after which a processor counts as dead.
const GIVE_UP_AFTER: u64 = 100_000_000;
/// More pages than this are not worth forgetting one by one.
const MANY: u64 = 32;
/// As a number of pages: all there are.
const ALL: u64 = u64::MAX;

static REQUESTING: Lock<()> = Lock::new(());
static NUMBER: AtomicU64 = AtomicU64::new(0);
static START: AtomicU64 = AtomicU64::new(0);
static PAGES: AtomicU64 = AtomicU64::new(0);
static LEAVE: AtomicU64 = AtomicU64::new(0);
static ASKED: [AtomicU64; MAX_PROCESSORS] = [const { AtomicU64::new(0) }; MAX_PROCESSORS];
static ANSWERED: [AtomicU64; MAX_PROCESSORS] = [const { AtomicU64::new(0) }; MAX_PROCESSORS];

/// Non-maskable interrupts that each processor has been sent and has not received; they may arrive after the answer. Two that
/// merge into one leave a surplus, and the next one from elsewhere is taken for ours: better than a bug check over one of ours.
static INSISTED: [AtomicU32; MAX_PROCESSORS] = [const { AtomicU32::new(0) }; MAX_PROCESSORS];

/// Makes every processor forget pages.
pub(crate) fn pages(start: u64, count: u64) {
    pages_here(start, count);
    ask(start, count, 0, |_| true);
}

/// Makes every processor forget every translation.
pub(crate) fn everything() {
    pages_here(0, ALL);
    ask(0, ALL, 0, |_| true);
}

/// Makes every processor that is in an address space forget pages of it.
pub(crate) fn pages_of_space(root: u64, start: u64, count: u64) {
    pages_here(start, count);
    // A processor that loads the space from now on finds the tables as they are now.
    fence(Ordering::SeqCst);
    ask(start, count, 0, |processor| processor.loaded_space.load(Ordering::SeqCst) == root);
}

/// Makes every processor leave an address space.
pub(crate) fn leave_space(root: u64) {
    leave_here(root);
    ask(0, 0, root, |processor| processor.loaded_space.load(Ordering::SeqCst) == root);
}

/// Makes this processor forget pages.
pub(crate) fn pages_here(start: u64, count: u64) {
    if count <= MANY {
        (0..count).for_each(|index| cpu::invalidate_page(start + index * PAGE));
        return;
    }
    const GLOBAL_PAGES: u64 = 1 << 7;
    let control = cpu::control4();
    // SAFETY: switching global pages off and on keeps all translations valid and drops the cached ones.
    unsafe {
        cpu::set_control4(control & !GLOBAL_PAGES);
        cpu::set_control4(control);
    }
}

fn leave_here(root: u64) {
    if let Some(processor) = processor::try_current()
        && processor.loaded_space.load(Ordering::Relaxed) == root
    {
        // SAFETY: the kernel's own tables map all that the kernel uses.
        unsafe { cpu::set_page_table_root(memory::root()) };
        processor.loaded_space.store(0, Ordering::SeqCst);
    }
}

fn ask(start: u64, count: u64, leave: u64, concerned: impl Fn(&processor::Processor) -> bool) {
    let interrupts = cpu::interrupts_enabled();
    cpu::disable_interrupts();
    let Some(own) = processor::try_current().filter(|_| processor::started() > 1 && !interrupts::is_frozen()) else {
        if interrupts {
            // SAFETY: they were enabled on entry.
            unsafe { cpu::enable_interrupts() };
        }
        return;
    };
    let requesting = REQUESTING.lock();
    let number = NUMBER.load(Ordering::Relaxed) + 1;
    NUMBER.store(number, Ordering::Relaxed);
    START.store(start, Ordering::Relaxed);
    PAGES.store(count, Ordering::Relaxed);
    LEAVE.store(leave, Ordering::Relaxed);
    let mut asked = 0u64;
    for other in processor::all().filter(|other| other.index != own.index && concerned(other)) {
        ASKED[other.index as usize].store(number, Ordering::SeqCst);
        apic::send(other.apic_id, vectors::INTERPROCESSOR);
        asked |= 1 << other.index;
    }
    for other in processor::all().filter(|other| asked >> other.index & 1 != 0) {
        wait_for(other, number);
    }
    drop(requesting);
    if interrupts {
        // SAFETY: they were enabled on entry.
        unsafe { cpu::enable_interrupts() };
    }
}

fn wait_for(other: &processor::Processor, number: u64) {
    let answered = &ANSWERED[other.index as usize];
    let began = time::uptime();
    let mut insisted = false;
    while answered.load(Ordering::Acquire) < number && !interrupts::is_frozen() {
        core::hint::spin_loop();
        let waited = time::uptime() - began;
        if waited > INSIST_AFTER && !insisted {
            insisted = true;
            INSISTED[other.index as usize].fetch_add(1, Ordering::SeqCst);
            apic::send_nmi(other.apic_id);
        }
        assert!(waited < GIVE_UP_AFTER, "processor {} has not answered a TLB shoot-down for 10 s, not even by NMI", other.index);
    }
}

/// Answers by way of a non-maskable interrupt. `false` when none was sent for that.
pub(crate) fn answer_insistence() -> bool {
    answer();
    let Some(own) = processor::try_current() else { return false };
    INSISTED[own.index as usize].fetch_update(Ordering::SeqCst, Ordering::SeqCst, |sent| sent.checked_sub(1)).is_ok()
}

/// Answers the request that concerns this processor, if there is one. Interrupts are masked, or this is an interrupt handler.
pub(crate) fn answer() {
    let Some(own) = processor::try_current() else { return };
    let asked = ASKED[own.index as usize].load(Ordering::Acquire);
    let answered = &ANSWERED[own.index as usize];
    if answered.load(Ordering::Relaxed) >= asked {
        return;
    }
    let leave = LEAVE.load(Ordering::Relaxed);
    if leave != 0 {
        leave_here(leave);
    }
    pages_here(START.load(Ordering::Relaxed), PAGES.load(Ordering::Relaxed));
    // A non-maskable interrupt may have answered this request and a later one meanwhile: the number only grows.
    answered.fetch_max(asked, Ordering::Release);
}
