//! The whole system asleep: every processor halted, no thread running, no timer expiring, until a time that was set before.
//!
//! Each processor stops in a DPC with nothing but its own clock to wake it. The one that asked for the sleep lets all of them go on
//! together, so that no processor's watch takes another, which still wakes up, for one that hangs.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use wdf_sys::wdm::KDPC;

use super::dpc::{KeInitializeDpc, KeInsertQueueDpc, KeSetTargetProcessorDpc};
use super::irql::{KeLowerIrql, KeRaiseIrqlToDpcLevel};
use crate::processors;
use crate::{hal, time};

/// Until when; 0 while the system is awake.
static UNTIL: AtomicU64 = AtomicU64::new(0);
/// Processors that have woken.
static AWAKE: AtomicU32 = AtomicU32::new(0);

struct Stops(UnsafeCell<[KDPC; processors::MAX]>);

// SAFETY: the DPCs are used through the dispatcher's functions only.
unsafe impl Sync for Stops {}

static STOPS: Stops = Stops(UnsafeCell::new([const { KDPC::zeroed() }; processors::MAX]));

/// Until when the system sleeps; `None` while it is awake.
pub(super) fn until() -> Option<u64> {
    Some(UNTIL.load(Ordering::Acquire)).filter(|&until| until != 0)
}

/// Sleeps until `until`. At `PASSIVE_LEVEL`; one thread at a time.
pub(crate) fn sleep(until: u64) {
    let start = time::uptime();
    if until <= start {
        return;
    }
    // SAFETY: a system thread or service at PASSIVE_LEVEL, which goes back there below.
    let irql = unsafe { KeRaiseIrqlToDpcLevel() };
    let own = hal().current_processor();
    AWAKE.store(0, Ordering::Relaxed);
    UNTIL.store(until, Ordering::Release);
    for processor in processors::all().filter(|processor| processor.number() != own) {
        // SAFETY: each has a DPC of its own, which is free again since the last sleep ended.
        unsafe {
            let dpc = STOPS.0.get().cast::<KDPC>().add(processor.number() as usize);
            KeInitializeDpc(dpc, Some(stop), null_mut());
            KeSetTargetProcessorDpc(dpc, processor.number() as i8);
            KeInsertQueueDpc(dpc, null_mut(), null_mut());
        }
    }
    halt(until);
    while AWAKE.load(Ordering::Acquire) < processors::active().count_ones() {
        hal().relax();
    }
    UNTIL.store(0, Ordering::Release);
    processors::current().clock.go_on();
    time::slept(time::uptime() - start);
    // SAFETY: raised above.
    unsafe { KeLowerIrql(irql) };
}

unsafe extern "win64" fn stop(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
    let Some(until) = until() else { return };
    halt(until);
    while self::until().is_some() {
        hal().relax();
    }
    processors::current().clock.go_on();
}

/// Halts this processor until `until`.
fn halt(until: u64) {
    hal().arm_clock(until);
    loop {
        let interrupts = hal().disable_interrupts();
        let is_over = time::uptime() >= until;
        if !is_over {
            hal().wait_for_interrupt();
        }
        hal().restore_interrupts(interrupts);
        if is_over {
            break;
        }
    }
    processors::current().clock.wake(time::uptime());
    AWAKE.fetch_add(1, Ordering::AcqRel);
}
