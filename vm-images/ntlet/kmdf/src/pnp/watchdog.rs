//! The watch over power routines that must not touch what can be paged: while such a device changes its state, the disk that pages come
//! from may be asleep, and a routine that waits for it waits for ever. After ten minutes the framework stops the machine.

use core::cell::UnsafeCell;
use core::ffi::c_void;

use wdf_sys::FALSE;
use wdf_sys::wdf::WDF_POWER_ROUTINE_TIMED_OUT_DATA;
use wdf_sys::wdm::constants::DO_POWER_PAGABLE;
use wdf_sys::wdm::functions::{
    KeCancelTimer, KeFlushQueuedDpcs, KeGetCurrentThread, KeInitializeDpc, KeInitializeTimer, KeSetTimer,
};
use wdf_sys::wdm::{KDPC, KTIMER};

use crate::device::Device;
use crate::object::Ref;
use crate::verifier::{self, BugCheck};

/// How long the routines may take, in the kernel's form: ten minutes from now.
const LIMIT: i64 = -10 * 60 * 10_000_000;

/// What the timer's DPC needs. It stays in the frame of [`watched`], which waits for the DPC before it leaves.
struct Watch<'a> {
    device: &'a Ref<Device>,
    thread: *mut c_void,
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
}

/// Runs power routines of a device; none may take longer than the limit if the device is not pageable. PASSIVE_LEVEL.
pub(super) fn watched<R>(device: &Ref<Device>, routines: impl FnOnce() -> R) -> R {
    // SAFETY: the device object is there as long as the device.
    if unsafe { (*device.wdm()).Flags } & DO_POWER_PAGABLE != 0 {
        return routines();
    }
    let watch = Watch {
        device,
        // SAFETY: reads which thread this is.
        thread: unsafe { KeGetCurrentThread() }.cast(),
        timer: UnsafeCell::new(KTIMER::zeroed()),
        dpc: UnsafeCell::new(KDPC::zeroed()),
    };
    // SAFETY: timer and DPC stay in this frame until neither can come any more.
    unsafe {
        KeInitializeTimer(watch.timer.get());
        KeInitializeDpc(watch.dpc.get(), Some(timed_out), (&raw const watch).cast_mut().cast());
        KeSetTimer(watch.timer.get(), LIMIT, watch.dpc.get());
    }
    let result = routines();
    // SAFETY: as above.
    unsafe {
        if KeCancelTimer(watch.timer.get()) == FALSE {
            KeFlushQueuedDpcs();
        }
    }
    result
}

unsafe extern "win64" fn timed_out(_: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    // SAFETY: the frame of `watched` waits for this.
    let watch = unsafe { &*context.cast::<Watch<'_>>() };
    let device = watch.device;
    let mut data = WDF_POWER_ROUTINE_TIMED_OUT_DATA::zeroed();
    data.PowerState = device.pnp.power_state();
    data.PowerPolicyState = device.pnp.policy_state();
    data.DeviceObject = device.wdm();
    data.Device = device.handle();
    data.TimedOutThread = watch.thread;
    crate::report!(device.any().globals(), "a power routine of a device that is not pageable has taken ten minutes");
    verifier::bug_check(device.any().globals(), BugCheck::PowerRoutineTimedOut((&raw const data).addr()));
}
