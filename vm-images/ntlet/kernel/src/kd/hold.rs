//! While one processor talks to the debugger, all others stand still; and each one's registers, which the debugger sees and sets.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::State;
use super::registers;
use crate::entry::ExceptionFrame;
use crate::{hal, try_hal};

/// Units of 100 ns that other processors have to stand still.
const HOLD_LIMIT: u64 = 10_000_000;
const NOBODY: u32 = u32::MAX;

/// The processor that talks to the debugger.
static OWNER: AtomicU32 = AtomicU32::new(NOBODY);
/// Others are to stand still.
static HOLDING: AtomicBool = AtomicBool::new(false);
/// Processors that do.
static HELD: AtomicU64 = AtomicU64::new(0);
/// Counts the times that others were let go.
static RELEASES: AtomicU64 = AtomicU64::new(0);
/// Every other processor has stopped for good.
static OTHERS_ARE_GONE: AtomicBool = AtomicBool::new(false);

/// The conversation, which belongs to [`OWNER`].
struct Owned(UnsafeCell<State>);

// SAFETY: used by the processor that is the owner.
unsafe impl Sync for Owned {}

static STATE: Owned = Owned(UnsafeCell::new(State::new()));

/// A bug check has stopped every other processor.
pub(super) fn others_are_gone() {
    OTHERS_ARE_GONE.store(true, Ordering::Relaxed);
}

/// Looks at the conversation without a stop, unless somebody has it already: whoever talks to the debugger reads the line himself.
pub(super) fn glance<T>(look: impl FnOnce(&mut State) -> T) -> Option<T> {
    let own = hal().current_processor();
    OWNER.compare_exchange(NOBODY, own, Ordering::AcqRel, Ordering::Acquire).ok()?;
    // SAFETY: this processor is the owner.
    let seen = look(unsafe { &mut *STATE.0.get() });
    OWNER.store(NOBODY, Ordering::Release);
    Some(seen)
}

/// Keeps this processor's registers where debuggers look for them.
pub(crate) fn keep_registers(frame: &ExceptionFrame) {
    let Some(machine) = hal().debug() else { return };
    let region = hal().control_region();
    // SAFETY: this processor's own region; debuggers read it when the processor stands still.
    let state = unsafe { &mut (*region.as_ptr()).state };
    machine.special_registers(&mut state.special);
    state.context = registers::context_of(frame, state.special.debug);
}

/// Stands still until the processor that talks to the debugger goes on.
pub(crate) fn held(frame: &mut ExceptionFrame) {
    let release = RELEASES.load(Ordering::Acquire);
    if !HOLDING.load(Ordering::Acquire) {
        return;
    }
    keep_registers(frame);
    HELD.fetch_or(1 << hal().current_processor(), Ordering::AcqRel);
    while RELEASES.load(Ordering::Acquire) == release {
        hal().relax();
    }
    take_registers(frame, false);
}

/// Takes over what the debugger made of this processor's registers.
pub(super) fn take_registers(frame: &mut ExceptionFrame, sets_floating: bool) {
    let Some(machine) = hal().debug() else { return };
    let region = hal().control_region();
    // SAFETY: as above.
    let state = unsafe { &mut (*region.as_ptr()).state };
    registers::apply(&state.context, frame);
    if sets_floating {
        registers::load_floating(&state.context);
    }
    let mut now = kd::context::SpecialRegisters::zeroed();
    machine.special_registers(&mut now);
    if now.debug != state.special.debug {
        machine.load_debug_registers(&state.special.debug);
    }
}

/// This processor talks to the debugger, and the others stand still.
pub(super) struct Session {
    pub(super) own: u32,
    interrupts: bool,
}

impl Session {
    /// `None`: it does so already, and something went wrong meanwhile.
    pub(super) fn enter() -> Option<Self> {
        let hal = try_hal()?;
        let machine = hal.debug()?;
        let interrupts = hal.disable_interrupts();
        let own = hal.current_processor();
        if OWNER.load(Ordering::Acquire) == own {
            hal.restore_interrupts(interrupts);
            return None;
        }
        // Whoever has it may make this processor stand still here: by an interrupt that cannot be masked.
        while OWNER.compare_exchange(NOBODY, own, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            hal.relax();
        }
        HELD.store(0, Ordering::Release);
        if !OTHERS_ARE_GONE.load(Ordering::Relaxed) {
            HOLDING.store(true, Ordering::Release);
            let (asked, deadline) = (machine.hold_other_processors(), hal.uptime() + HOLD_LIMIT);
            while HELD.load(Ordering::Acquire) & asked != asked && hal.uptime() < deadline {
                hal.relax();
            }
        }
        Some(Self { own, interrupts })
    }

    pub(super) fn state(&mut self) -> &mut State {
        // SAFETY: this processor is the owner as long as the session lasts.
        unsafe { &mut *STATE.0.get() }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        HOLDING.store(false, Ordering::Release);
        RELEASES.fetch_add(1, Ordering::AcqRel);
        OWNER.store(NOBODY, Ordering::Release);
        hal().restore_interrupts(self.interrupts);
    }
}
