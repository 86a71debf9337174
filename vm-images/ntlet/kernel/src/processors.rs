//! What the executive keeps for each processor, and the functions that tell drivers about processors.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::dispatcher::clock::Clock;
use crate::dispatcher::dpc::Dpcs;
use crate::dispatcher::thread::Thread;
use crate::hal;

/// Most processors there can be: an affinity mask has 64 bits.
pub(crate) const MAX: usize = 64;

/// One processor. All fields are atomic because others look at them; those that the dispatcher lock guards say so.
pub(crate) struct Processor {
    number: AtomicU32,
    /// The running thread. Dispatcher lock.
    pub(crate) current: AtomicPtr<Thread>,
    /// What runs when nothing else does.
    pub(crate) idle: AtomicPtr<Thread>,
    /// A thread is ready that should run here instead of the current one. Dispatcher lock.
    pub(crate) reschedule: AtomicBool,
    /// The processor is in its `DISPATCH_LEVEL` interrupt, at whose end it looks at `reschedule` by itself.
    pub(crate) in_dispatch_interrupt: AtomicBool,
    /// Deferred procedure calls.
    pub(crate) dpcs: Dpcs,
    /// Deadlines and ticks.
    pub(crate) clock: Clock,
}

static PROCESSORS: [Processor; MAX] = [const { Processor::new() }; MAX];
/// Bit mask of processors that take part.
static ACTIVE: AtomicU64 = AtomicU64::new(0);
/// How many they are: `KeNumberProcessors`, which drivers read.
pub(crate) static COUNT: AtomicU8 = AtomicU8::new(0);

impl Processor {
    const fn new() -> Self {
        Self {
            number: AtomicU32::new(0),
            current: AtomicPtr::new(null_mut()),
            idle: AtomicPtr::new(null_mut()),
            reschedule: AtomicBool::new(false),
            in_dispatch_interrupt: AtomicBool::new(false),
            dpcs: Dpcs::new(),
            clock: Clock::new(),
        }
    }

    /// Its number, from 0.
    pub(crate) fn number(&self) -> u32 {
        self.number.load(Ordering::Relaxed)
    }

    /// Whether it runs its idle thread.
    pub(crate) fn is_idle(&self) -> bool {
        self.current.load(Ordering::Relaxed) == self.idle.load(Ordering::Relaxed)
    }
}

/// The processor this code runs on. Stable at `DISPATCH_LEVEL` and above only.
pub(crate) fn current() -> &'static Processor {
    &PROCESSORS[hal().current_processor() as usize % MAX]
}

/// The processor of that number, if it takes part.
pub(crate) fn by_number(number: u32) -> Option<&'static Processor> {
    (number < 64 && ACTIVE.load(Ordering::Acquire) >> number & 1 != 0).then(|| &PROCESSORS[number as usize])
}

/// Those that take part.
pub(crate) fn all() -> impl Iterator<Item = &'static Processor> {
    (0..MAX as u32).filter_map(by_number)
}

/// Bit mask of those that take part.
pub(crate) fn active() -> u64 {
    ACTIVE.load(Ordering::Acquire)
}

/// Lets the processor this code runs on take part, with `idle` as its idle and current thread.
pub(crate) fn join(idle: *mut Thread) {
    let number = hal().current_processor();
    assert!((number as usize) < MAX, "processor {number} is more than an affinity mask has bits for");
    let processor = &PROCESSORS[number as usize];
    processor.number.store(number, Ordering::Relaxed);
    processor.idle.store(idle, Ordering::Relaxed);
    processor.current.store(idle, Ordering::Relaxed);
    let mut region = hal().control_region();
    // SAFETY: the control region is this processor's own, and nothing else refers to it now.
    unsafe {
        region.as_mut().idle_thread = idle.cast();
        region.as_mut().current_thread = idle.cast();
    }
    ACTIVE.fetch_or(1 << number, Ordering::AcqRel);
    COUNT.fetch_add(1, Ordering::AcqRel);
}

/// The functions that drivers call.
#[allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]
mod exported {
    use wdf_sys::NTSTATUS;

    use super::*;

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeQueryActiveProcessorCount(ActiveProcessors: *mut usize) -> u32 {
        let active = active();
        if !ActiveProcessors.is_null() {
            // SAFETY: the caller's promise: null or a place for a mask.
            unsafe { ActiveProcessors.write(active as usize) };
        }
        active.count_ones()
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeQueryActiveProcessorCountEx(GroupNumber: u16) -> u32 {
        const ALL_PROCESSOR_GROUPS: u16 = 0xffff;
        if matches!(GroupNumber, 0 | ALL_PROCESSOR_GROUPS) { active().count_ones() } else { 0 }
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeQueryMaximumProcessorCountEx(GroupNumber: u16) -> u32 {
        // SAFETY: no conditions.
        unsafe { KeQueryActiveProcessorCountEx(GroupNumber) }
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeQueryMaximumProcessorCount() -> u32 {
        active().count_ones()
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeQueryActiveGroupCount() -> u16 {
        1
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeQueryActiveProcessors() -> usize {
        active() as usize
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeQueryGroupAffinity(GroupNumber: u16) -> usize {
        if GroupNumber == 0 { active() as usize } else { 0 }
    }

    /// A processor's `PROCESSOR_NUMBER` by its index among all; there is one group.
    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeGetProcessorNumberFromIndex(ProcIndex: u32, ProcNumber: *mut [u8; 4]) -> NTSTATUS {
        if by_number(ProcIndex).is_none() {
            return NTSTATUS::INVALID_PARAMETER;
        }
        // SAFETY: the caller's promise: four bytes.
        unsafe { ProcNumber.write([0, 0, ProcIndex as u8, 0]) };
        NTSTATUS::SUCCESS
    }

    /// A processor's index by its `PROCESSOR_NUMBER`; the largest number for one that there is not.
    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeGetProcessorIndexFromNumber(ProcNumber: *const [u8; 4]) -> u32 {
        // SAFETY: the caller's promise: a processor number.
        let [low, high, number, _] = unsafe { ProcNumber.read() };
        let is_known = (low, high) == (0, 0) && by_number(u32::from(number)).is_some();
        if is_known { u32::from(number) } else { u32::MAX }
    }

    /// `ProcNumber` is a `PROCESSOR_NUMBER`: group, number, reserved.
    #[unsafe(no_mangle)]
    pub unsafe extern "win64" fn KeGetCurrentProcessorNumberEx(ProcNumber: *mut c_void) -> u32 {
        let number = hal().current_processor();
        if !ProcNumber.is_null() {
            // SAFETY: the caller's promise: null or four bytes, aligned for a 16-bit number.
            unsafe { ProcNumber.cast::<[u8; 4]>().write([0, 0, number as u8, 0]) };
        }
        number
    }
}
pub use exported::*;
