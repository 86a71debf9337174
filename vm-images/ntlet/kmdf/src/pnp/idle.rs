//! Idling while the system works: a device that has had nothing to do for its time-out is put into a low-power state, and is woken when a
//! request comes to one of its power-managed queues, or when its driver asks (WdfDeviceStopIdle).
//!
//! The device is idle when none of its power-managed queues has a request and no WdfDeviceStopIdle is in force. A timer looks whether it
//! is; requests only note the time, so that the hot path pays two atomic operations. Power requests of the framework's own are made one at
//! a time: what is wanted while one is under way is seen to when it ends.
//!
//! No bus of this machine reports a device that can signal wake, so settings that ask for it are refused.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdf::{WDF_DEVICE_POWER_POLICY_IDLE_SETTINGS, WDF_POWER_POLICY_S0_IDLE_CAPABILITIES, WDF_TRI_STATE};
use wdf_sys::wdm::constants::{POWER_DEVICE_D0, POWER_DEVICE_D3};
use wdf_sys::wdm::functions::{
    KeCancelTimer, KeFlushQueuedDpcs, KeInitializeDpc, KeInitializeTimer, KeQueryInterruptTime, KeRemoveQueueDpc, KeSetTimer,
};
use wdf_sys::wdm::{DEVICE_OBJECT, IO_STATUS_BLOCK, KDPC, KTIMER, POWER_STATE};

use super::power;
use crate::deferral::Deferral;
use crate::device::Device;
use crate::object::Ref;
use crate::sync::SpinLock;

/// STATUS_POWER_STATE_INVALID.
pub(crate) const POWER_STATE_INVALID: NTSTATUS = NTSTATUS(0xc000_02d3_u32 as i32);
/// `PowerDeviceMaximum`: the framework chooses.
const DEVICE_MAXIMUM: i32 = 5;
/// The time-out of a driver that names none, in milliseconds.
const DEFAULT_TIMEOUT: u32 = 5000;
/// Units of the kernel's clock in a millisecond.
const UNITS: u64 = 10_000;

/// Where the framework has the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Working, or asleep for another reason than idleness.
    Awake,
    GoingDown,
    Asleep,
    GoingUp,
}

#[derive(Clone, Copy)]
struct State {
    phase: Phase,
    /// Someone wants the device awake while it goes down.
    wanted: bool,
    /// PnP changes the device: it is not put to sleep.
    held: bool,
    dx: i32,
    timeout: u32,
}

/// Idling of one device.
pub(crate) struct Idle {
    state: SpinLock<State>,
    /// The driver has settings in force.
    on: AtomicBool,
    /// Interrupt time at which the device last had something to do.
    last: AtomicU64,
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    /// Looks, at PASSIVE_LEVEL.
    work: Deferral,
}

// SAFETY: timer and DPC are the kernel's to synchronise; the rest is atomic or behind a lock.
unsafe impl Sync for Idle {}
// SAFETY: it moves only before it is initialised.
unsafe impl Send for Idle {}

fn now() -> u64 {
    // SAFETY: reads the clock.
    unsafe { KeQueryInterruptTime() }
}

impl Idle {
    pub(crate) const fn uninitialized() -> Self {
        let state = State { phase: Phase::Awake, wanted: false, held: true, dx: POWER_DEVICE_D3, timeout: DEFAULT_TIMEOUT };
        Self {
            state: SpinLock::new(state),
            on: AtomicBool::new(false),
            last: AtomicU64::new(0),
            timer: UnsafeCell::new(KTIMER::zeroed()),
            dpc: UnsafeCell::new(KDPC::zeroed()),
            work: Deferral::uninitialized(),
        }
    }

    /// Makes it usable, where it stays.
    pub(crate) fn initialize(device: &Ref<Device>) {
        let idle = &device.pnp.idle;
        idle.work.initialize();
        // SAFETY: timer and DPC stay inside the device; the DPC's context is the device itself, which stops both before it goes.
        unsafe {
            KeInitializeTimer(idle.timer.get());
            KeInitializeDpc(idle.dpc.get(), Some(expired), device.as_context());
        }
    }

    /// The device is being deleted: nothing looks any more. PASSIVE_LEVEL.
    pub(crate) fn stop(&self) {
        self.on.store(false, Ordering::Release);
        // A look that began before may set the timer again, none that begins now does.
        self.work.wait();
        // SAFETY: initialised with the device; at PASSIVE_LEVEL, where devices are cleaned up.
        unsafe {
            KeCancelTimer(self.timer.get());
            KeRemoveQueueDpc(self.dpc.get());
            KeFlushQueuedDpcs();
        }
        self.work.wait();
    }

    fn arm(&self, units: u64) {
        let due = -i64::try_from(units.max(UNITS)).unwrap_or(i64::MAX);
        // SAFETY: initialised, and part of the device.
        unsafe { KeSetTimer(self.timer.get(), due, self.dpc.get()) };
    }
}

/// The driver's settings, checked and put in force.
///
/// # Errors
/// Those of WdfDeviceAssignS0IdleSettings.
pub(crate) fn assign(device: &Ref<Device>, settings: &WDF_DEVICE_POWER_POLICY_IDLE_SETTINGS) -> Result<(), NTSTATUS> {
    if !device.pnp.owns_policy {
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    match settings.IdleCaps {
        WDF_POWER_POLICY_S0_IDLE_CAPABILITIES::IdleCannotWakeFromS0 => {}
        WDF_POWER_POLICY_S0_IDLE_CAPABILITIES::IdleCanWakeFromS0
        | WDF_POWER_POLICY_S0_IDLE_CAPABILITIES::IdleUsbSelectiveSuspend => return Err(POWER_STATE_INVALID),
        _ => return Err(NTSTATUS::INVALID_PARAMETER),
    }
    let dx = if settings.DxState == DEVICE_MAXIMUM { POWER_DEVICE_D3 } else { settings.DxState };
    if !(POWER_DEVICE_D0 + 1..=POWER_DEVICE_D3).contains(&dx) || !(0..=2).contains(&settings.Enabled.0) {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    let idle = &device.pnp.idle;
    {
        let mut state = idle.state.lock();
        state.dx = dx;
        state.timeout = if settings.IdleTimeout == 0 { DEFAULT_TIMEOUT } else { settings.IdleTimeout };
    }
    let on = settings.Enabled != WDF_TRI_STATE::WdfFalse;
    idle.on.store(on, Ordering::Release);
    if on {
        busy(device);
        look_later(device);
    } else {
        let _ = want(device);
    }
    Ok(())
}

/// A request has come to a power-managed queue of the device, or has left one. Up to DISPATCH_LEVEL, without a lock.
#[inline]
pub(crate) fn touch(device: &Ref<Device>) {
    if device.pnp.idle.on.load(Ordering::Acquire) {
        busy(device);
        let _ = want(device);
    }
}

fn busy(device: &Ref<Device>) {
    device.pnp.idle.last.store(now(), Ordering::Release);
}

/// Someone wants the device awake. Whether it is; if not, it will be.
pub(crate) fn want(device: &Ref<Device>) -> bool {
    let rises = {
        let mut state = device.pnp.idle.state.lock();
        match state.phase {
            Phase::Awake => return true,
            Phase::GoingDown => {
                state.wanted = true;
                false
            }
            Phase::GoingUp => false,
            Phase::Asleep => {
                state.phase = Phase::GoingUp;
                true
            }
        }
    };
    if rises {
        ask(device, POWER_DEVICE_D0, is_up);
    }
    false
}

/// WdfDeviceResumeIdle, or the end of something else that kept the device awake.
pub(crate) fn look_later(device: &Ref<Device>) {
    let idle = &device.pnp.idle;
    if idle.on.load(Ordering::Acquire) {
        let timeout = idle.state.lock().timeout;
        idle.arm(u64::from(timeout) * UNITS);
    }
}

/// A power request, of whomever, takes the device to D0: a request that comes to a queue on the way up does not ask for another.
pub(crate) fn comes_up(device: &Ref<Device>) {
    let mut state = device.pnp.idle.state.lock();
    if state.phase == Phase::Asleep {
        state.phase = Phase::Awake;
    }
}

/// The device is in D0, whoever brought it there.
pub(crate) fn came_up(device: &Ref<Device>) {
    busy(device);
    look_later(device);
}

/// The device has started: it may idle.
pub(crate) fn started(device: &Ref<Device>) {
    device.pnp.idle.state.lock().held = false;
    came_up(device);
}

/// PnP is about to stop or remove the device: it does not idle any more, and if it does, it is woken first (`wake`), since the driver's
/// callbacks expect a device that works. Returns when no power request of ours is under way. PASSIVE_LEVEL.
pub(crate) fn hold(device: &Ref<Device>, wake: bool) {
    device.pnp.idle.state.lock().held = true;
    if wake {
        let _ = want(device);
    }
    loop {
        let phase = device.pnp.idle.state.lock().phase;
        if phase == Phase::Awake || (!wake && phase == Phase::Asleep) {
            return;
        }
        crate::sync::sleep(1);
    }
}

fn is_needed(device: &Ref<Device>) -> bool {
    let mut has_work = device.pnp.keep_awake.load(Ordering::Acquire) > 0;
    device.io.for_each_queue(|queue| {
        let guarded = queue.guarded.lock();
        has_work |= guarded.state.rules().power_managed && guarded.state.counts() != (0, 0);
    });
    has_work
}

unsafe extern "win64" fn expired(_dpc: *mut KDPC, context: *mut c_void, _first: *mut c_void, _second: *mut c_void) {
    // SAFETY: the DPC belongs to the device, which waits for it before it goes.
    let device = unsafe { Ref::<Device>::borrow_context(context) };
    let counted = device.clone().into_context();
    // SAFETY: `look` brackets its work; the counted reference keeps the device until it has run.
    if !unsafe { device.pnp.idle.work.queue(look, counted) } {
        // SAFETY: nobody took the reference over.
        drop(unsafe { Ref::<Device>::from_context(counted) });
    }
}

unsafe extern "win64" fn look(context: *mut c_void) {
    // SAFETY: the reference of `expired`.
    let device = unsafe { Ref::<Device>::from_context(context) };
    device.pnp.idle.work.begin();
    look_now(&device);
    device.pnp.idle.work.end();
}

/// Puts the device to sleep if it has idled for long enough, or looks again when it may have.
fn look_now(device: &Ref<Device>) {
    let idle = &device.pnp.idle;
    if !idle.on.load(Ordering::Acquire) || !device.pnp.is_in_d0() || !device.pnp.is_started() {
        return;
    }
    let timeout = u64::from(idle.state.lock().timeout) * UNITS;
    if is_needed(device) {
        return idle.arm(timeout);
    }
    let left = idle.last.load(Ordering::Acquire).saturating_add(timeout).saturating_sub(now());
    if left != 0 {
        return idle.arm(left);
    }
    let dx = {
        let mut state = idle.state.lock();
        if state.phase != Phase::Awake || state.held {
            return;
        }
        state.phase = Phase::GoingDown;
        state.wanted = false;
        state.dx
    };
    ask(device, dx, is_down);
}

type Done = unsafe extern "win64" fn(*mut DEVICE_OBJECT, u8, POWER_STATE, *mut c_void, *mut IO_STATUS_BLOCK);

/// Asks for a power request, of which `done` is told in any case.
fn ask(device: &Ref<Device>, state: i32, done: Done) {
    let context = device.clone().into_context();
    if !power::request(device, state, Some(done), context) {
        // SAFETY: nobody took the reference over: `done` does, now.
        unsafe { done(null_mut(), 0, POWER_STATE { DeviceState: state }, context, null_mut()) };
    }
}

unsafe extern "win64" fn is_down(
    _wdm: *mut DEVICE_OBJECT,
    _minor: u8,
    _state: POWER_STATE,
    context: *mut c_void,
    _status: *mut IO_STATUS_BLOCK,
) {
    // SAFETY: the reference of `ask`.
    let device = unsafe { Ref::<Device>::from_context(context) };
    // What came meanwhile has waited in its queue, which does not present.
    let needed = is_needed(&device);
    let rises = {
        let mut state = device.pnp.idle.state.lock();
        // What waits in the queues of a device that is going is not worth waking it.
        let rises = state.wanted || (needed && !state.held);
        state.phase = if rises { Phase::GoingUp } else { Phase::Asleep };
        rises
    };
    // A request that came between the look at the queues and the change of phase has not seen `Asleep`.
    if rises {
        ask(&device, POWER_DEVICE_D0, is_up);
    } else if is_needed(&device) {
        let _ = want(&device);
    }
}

unsafe extern "win64" fn is_up(
    _wdm: *mut DEVICE_OBJECT,
    _minor: u8,
    _state: POWER_STATE,
    context: *mut c_void,
    _status: *mut IO_STATUS_BLOCK,
) {
    // SAFETY: the reference of `ask`.
    let device = unsafe { Ref::<Device>::from_context(context) };
    device.pnp.idle.state.lock().phase = Phase::Awake;
    came_up(&device);
}
