//! WDFTIMER, at DISPATCH_LEVEL and at PASSIVE_LEVEL.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, Ordering};

use wdf_sys::wdf::{WDF_EXECUTION_LEVEL, WDF_OBJECT_ATTRIBUTES, WDF_TIMER_CONFIG};
use wdf_sys::wdm::constants::NOTIFICATION_TIMER;
use wdf_sys::wdm::functions::{
    KeCancelTimer, KeFlushQueuedDpcs, KeInitializeDpc, KeInitializeTimerEx, KeRemoveQueueDpc, KeSetCoalescableTimer, KeSetTimerEx,
};
use wdf_sys::wdm::{KDPC, KTIMER};
use wdf_sys::{BOOLEAN, FALSE, NTSTATUS, WDFOBJECT, WDFTIMER};

use crate::call::{Call, ddi};
use crate::deferral::Deferral;
use crate::device::Device;
use crate::dpc::dispatch_serialization;
use crate::lock::{OwnedLock, current_thread, serialized};
use crate::object::attributes::{ParentRule, Rules};
use crate::object::{Attributes, Body, Kind, Ref};
use crate::sync::{DISPATCH_LEVEL, PASSIVE_LEVEL};
use crate::verifier::{self, Rule};
use crate::work_item::passive_serialization;

/// Body of a WDFTIMER.
pub(crate) struct Timer {
    config: WDF_TIMER_CONFIG,
    kernel: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    /// For callbacks at PASSIVE_LEVEL.
    passive: bool,
    deferral: Deferral,
    serialization: Option<OwnedLock>,
    closed: AtomicBool,
    /// Thread inside the callback, 0 for none.
    inside: core::sync::atomic::AtomicUsize,
}

// SAFETY: timer and DPC are the kernel's to synchronise; the rest does not change or is atomic.
unsafe impl Sync for Timer {}
// SAFETY: it moves only before it is initialised.
unsafe impl Send for Timer {}

impl Body for Timer {
    type Handle = WDFTIMER;
    const KIND: Kind = Kind::Timer;

    fn before_cleanup(this: &Ref<Self>) {
        this.closed.store(true, Ordering::Release);
        stop(this, true);
    }
}

/// Stops the timer; whether it was due. With `wait`, no callback runs afterwards.
fn stop(timer: &Ref<Timer>, wait: bool) -> bool {
    // SAFETY: initialised; cancelling what is not set is harmless. A DPC that was queued but has not begun is taken back.
    let (was_set, was_queued) = unsafe { (KeCancelTimer(timer.kernel.get()) != 0, KeRemoveQueueDpc(timer.dpc.get()) != 0) };
    if wait && timer.inside.load(Ordering::Acquire) != current_thread() {
        // SAFETY: at PASSIVE_LEVEL: waits for DPC routines that run.
        unsafe { KeFlushQueuedDpcs() };
        if timer.passive {
            timer.deferral.wait();
        }
    }
    was_set || was_queued
}

fn call_back(timer: &Ref<Timer>) {
    if timer.closed.load(Ordering::Acquire) {
        return;
    }
    if let Some(callback) = timer.config.EvtTimerFunc {
        serialized(timer.serialization.as_ref(), || {
            timer.inside.store(current_thread(), Ordering::Release);
            // SAFETY: the driver's callback, with its own object.
            timer.any().guarded(callback as usize, || unsafe { callback(timer.handle()) });
            timer.inside.store(0, Ordering::Release);
        });
    }
}

unsafe extern "win64" fn expired(_dpc: *mut KDPC, context: *mut c_void, _first: *mut c_void, _second: *mut c_void) {
    // SAFETY: the timer belongs to the object, which waits for its DPC before it goes.
    let timer = unsafe { Ref::<Timer>::borrow_context(context) };
    if !timer.passive {
        return call_back(&timer);
    }
    let counted = timer.clone().into_context();
    // SAFETY: `run` brackets its work; the counted reference keeps the timer until it has run.
    if !unsafe { timer.deferral.queue(run, counted) } {
        // SAFETY: nobody took the reference over.
        drop(unsafe { Ref::<Timer>::from_context(counted) });
    }
}

unsafe extern "win64" fn run(context: *mut c_void) {
    // SAFETY: the reference that `expired` counted.
    let timer = unsafe { Ref::<Timer>::from_context(context) };
    timer.deferral.begin();
    call_back(&timer);
    timer.deferral.end();
}

fn create(call: &Call, config: &WDF_TIMER_CONFIG, attributes: &Attributes) -> Result<Ref<Timer>, NTSTATUS> {
    if config.EvtTimerFunc.is_none() || config.Period > i32::MAX as u32 {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    if config.UseHighResolutionTimer != 0 && config.TolerableDelay != 0 {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    let parent = attributes.parent.as_ref().ok_or(NTSTATUS::WDF_PARENT_NOT_SPECIFIED)?;
    if parent.ancestor::<Device>().is_none() {
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    let passive = attributes.execution_level == WDF_EXECUTION_LEVEL::WdfExecutionLevelPassive
        || attributes.execution_level == WDF_EXECUTION_LEVEL::WdfExecutionLevelInheritFromParent && parent.is_passive();
    if passive && config.Period != 0 {
        return Err(NTSTATUS::NOT_SUPPORTED);
    }
    let serialization = if passive {
        passive_serialization(parent, config.AutomaticSerialization)?
    } else {
        dispatch_serialization(parent, config.AutomaticSerialization)?
    };
    let body = Timer {
        config: *config,
        kernel: UnsafeCell::new(KTIMER::zeroed()),
        dpc: UnsafeCell::new(KDPC::zeroed()),
        passive,
        deferral: Deferral::uninitialized(),
        serialization,
        closed: AtomicBool::new(false),
        inside: core::sync::atomic::AtomicUsize::new(0),
    };
    let timer = crate::object::create(call.globals, attributes, None, body)?;
    timer.deferral.initialize();
    // SAFETY: timer and DPC stay inside the object; the DPC's context is the object itself.
    unsafe {
        KeInitializeTimerEx(timer.kernel.get(), NOTIFICATION_TIMER);
        KeInitializeDpc(timer.dpc.get(), Some(expired), timer.as_context());
    }
    Ok(timer)
}

ddi! {
    fn WdfTimerCreate(call, config: *mut WDF_TIMER_CONFIG, attributes: *mut WDF_OBJECT_ATTRIBUTES, timer: *mut WDFTIMER) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write(timer, WDFTIMER::NULL);
        // 1.9 had no UseHighResolutionTimer, and the first versions no TolerableDelay.
        let rules = Rules { parent: ParentRule::Required, execution_level: true, synchronization_scope: false };
        let created = call.sized(config, &[24, 32]).and_then(|config| {
            let attributes = Attributes::read(call, attributes, rules)?;
            create(call, &config, &attributes)
        });
        call.created(timer, created)
    }

    fn WdfTimerStart(call, timer: WDFTIMER, due: i64) -> BOOLEAN {
        call.irql_at_most(DISPATCH_LEVEL);
        let timer = call.object::<Timer>(timer);
        if timer.closed.load(Ordering::Acquire) {
            if call.globals.verifies() {
                verifier::violation(call.globals, Rule::WrongState, timer.any().raw() as usize, format_args!(
                    "WdfTimerStart of a timer that is being deleted"));
            }
            return FALSE;
        }
        let (period, delay) = (timer.config.Period, timer.config.TolerableDelay);
        // SAFETY: initialised, and part of the object, which stops the timer before it goes.
        unsafe {
            if delay != 0 {
                KeSetCoalescableTimer(timer.kernel.get(), due, period, delay, timer.dpc.get())
            } else {
                KeSetTimerEx(timer.kernel.get(), due, period as i32, timer.dpc.get())
            }
        }
    }

    fn WdfTimerStop(call, timer: WDFTIMER, wait: BOOLEAN) -> BOOLEAN {
        call.irql_at_most(if wait != 0 { PASSIVE_LEVEL } else { DISPATCH_LEVEL });
        let timer = call.object::<Timer>(timer);
        if wait != 0 && timer.inside.load(Ordering::Acquire) == current_thread() && call.globals.verifies() {
            verifier::violation(call.globals, Rule::WrongState, timer.any().raw() as usize, format_args!(
                "WdfTimerStop with Wait from the timer's own callback would wait for ever"));
        }
        stop(&timer, wait != 0).into()
    }

    fn WdfTimerGetParentObject(call, timer: WDFTIMER) -> WDFOBJECT {
        call.object::<Timer>(timer).any().parent().map_or(WDFOBJECT::NULL, |parent| parent.handle())
    }
}
