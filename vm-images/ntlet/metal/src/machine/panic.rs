//! A panic in the image: named on the log, then the executive's bug check once that is up.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::{cpu, hal, interrupts, processor, serial};
use kernel::hal::Ending;

const NOBODY: u32 = u32::MAX;

static EXECUTIVE_RUNS: AtomicBool = AtomicBool::new(false);
/// The processor that has panicked first.
static PANICKING: AtomicU32 = AtomicU32::new(NOBODY);

/// From now on a panic is a bug check.
pub(crate) fn executive_starts() {
    EXECUTIVE_RUNS.store(true, Ordering::Relaxed);
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    cpu::disable_interrupts();
    serial::log(format_args!("{info}"));
    let own = processor::try_current().map_or(0, |processor| processor.index);
    match PANICKING.compare_exchange(NOBODY, own, Ordering::SeqCst, Ordering::SeqCst) {
        #[cfg(not(feature = "self-test"))]
        Ok(_) if EXECUTIVE_RUNS.load(Ordering::Relaxed) => kernel::bug_check::panic(info),
        Ok(_) => interrupts::freeze_others(),
        // The report of the first panic has panicked: it has to do with what has been written.
        Err(first) if first == own => {}
        // Another processor was first and is reporting.
        Err(_) => cpu::halt_for_ever(),
    }
    hal::end(Ending::BugCheck)
}
