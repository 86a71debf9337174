//! `PoRequestPowerIrp`: power requests that drivers send to their own stacks.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{KeDelayExecutionThread, KeGetCurrentIrql};
use wdf_sys::wdm::{DEVICE_OBJECT, IRP, POWER_STATE, PREQUEST_POWER_COMPLETE, set_completion_routine};

use crate::hal::PASSIVE_LEVEL;
use crate::io::{call, device, irp as packet};
use crate::lock::SpinLock;
use crate::object::{self, ObjectRef};

/// How long a driver may keep a power request, in seconds, before `DRIVER_POWER_STATE_FAILURE`. Windows waits ten minutes.
pub(crate) const DEADLINE: u64 = 120;
/// How often a request that lasts is mentioned, in seconds.
const MENTION: u64 = 20;

/// What the completion routine needs.
struct Request {
    top: ObjectRef,
    device: *mut DEVICE_OBJECT,
    minor: u8,
    state: POWER_STATE,
    routine: PREQUEST_POWER_COMPLETE,
    context: *mut c_void,
}

/// A request that is under way.
struct Watched {
    irp: usize,
    device: usize,
    since: u64,
    mentioned: u64,
}

static WATCHED: SpinLock<Vec<Watched>> = SpinLock::new(Vec::new());
static WATCHER_RUNS: AtomicBool = AtomicBool::new(false);
/// Requests that were made above `PASSIVE_LEVEL` for stacks that want it.
static DEFERRED: SpinLock<VecDeque<(usize, usize)>> = SpinLock::new(VecDeque::new());

/// # Safety
/// As the documentation of PoRequestPowerIrp demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PoRequestPowerIrp(
    DeviceObject: *mut DEVICE_OBJECT,
    MinorFunction: u8,
    PowerState: POWER_STATE,
    CompletionFunction: PREQUEST_POWER_COMPLETE,
    Context: *mut c_void,
    Irp: *mut *mut IRP,
) -> NTSTATUS {
    let is_wait = MinorFunction == IRP_MN_WAIT_WAKE;
    if !is_wait && !matches!(MinorFunction, IRP_MN_SET_POWER | IRP_MN_QUERY_POWER) {
        return NTSTATUS::INVALID_PARAMETER_2;
    }
    // SAFETY: the caller's promise; the new IRP is ours until it is sent.
    unsafe {
        let top = device::IoGetAttachedDeviceReference(DeviceObject);
        let irp = packet::IoAllocateIrp(packet::stack_size(top), 0);
        if irp.is_null() {
            object::dereference(top.cast());
            return NTSTATUS::INSUFFICIENT_RESOURCES;
        }
        packet::set_status(irp, NTSTATUS::NOT_SUPPORTED, 0);
        let location = packet::first_location(irp, IRP_MJ_POWER, MinorFunction);
        if is_wait {
            (*location).Parameters.WaitWake.PowerState = PowerState.SystemState;
        } else {
            (*location).Parameters.Power.Type = DEVICE_POWER_STATE;
            (*location).Parameters.Power.State = PowerState;
        }
        let request = Request {
            top: ObjectRef::from_owned(top.cast()),
            device: DeviceObject,
            minor: MinorFunction,
            state: PowerState,
            routine: CompletionFunction,
            context: Context,
        };
        set_completion_routine(irp, Some(on_done), Box::into_raw(Box::new(request)).cast());
        if !Irp.is_null() {
            *Irp = irp;
        }
        if !is_wait {
            watch(irp, DeviceObject);
        }
        if KeGetCurrentIrql() > PASSIVE_LEVEL && (*top).Flags & DO_POWER_PAGABLE != 0 {
            DEFERRED.lock().push_back((top.expose_provenance(), irp.expose_provenance()));
            crate::work::queue_system_work(send_deferred);
        } else {
            let _ = call::IofCallDriver(top, irp);
        }
    }
    NTSTATUS::PENDING
}

fn send_deferred() {
    loop {
        let Some((top, irp)) = DEFERRED.lock().pop_front() else { return };
        // SAFETY: the request has a reference to the device until it is done.
        let _ = unsafe {
            call::IofCallDriver(core::ptr::with_exposed_provenance_mut(top), core::ptr::with_exposed_provenance_mut(irp))
        };
    }
}

/// # Safety
/// Called as a completion routine with a boxed request as context.
unsafe extern "win64" fn on_done(_device: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: `PoRequestPowerIrp` passed the request, and sent the IRP once.
    unsafe {
        unwatch(irp);
        let request = Box::from_raw(context.cast::<Request>());
        if let Some(routine) = request.routine {
            let mut block = (*irp).IoStatus;
            routine(request.device, request.minor, request.state, request.context, &raw mut block);
        }
        packet::IoFreeIrp(irp);
        drop(request.top);
    }
    NTSTATUS::MORE_PROCESSING_REQUIRED
}

fn watch(irp: *mut IRP, device: *mut DEVICE_OBJECT) {
    let since = crate::hal().uptime();
    WATCHED.lock().push(Watched { irp: irp.expose_provenance(), device: device.expose_provenance(), since, mentioned: 0 });
    if !WATCHER_RUNS.swap(true, Ordering::AcqRel)
        && crate::dispatcher::thread::create_system_thread(watcher, null_mut(), 15).is_err()
    {
        WATCHER_RUNS.store(false, Ordering::Release);
    }
}

fn unwatch(irp: *mut IRP) {
    WATCHED.lock().retain(|watched| watched.irp != irp.addr());
}

/// Looks at what is under way once a second.
extern "win64" fn watcher(_: *mut c_void) {
    loop {
        let mut interval = -10_000_000;
        // SAFETY: this is a system thread at PASSIVE_LEVEL.
        let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut interval) };
        let now = crate::hal().uptime();
        let mut late = None;
        {
            let mut watched = WATCHED.lock();
            for request in watched.iter_mut() {
                let seconds = now.saturating_sub(request.since) / 10_000_000;
                if seconds >= DEADLINE {
                    late = Some((request.irp, request.device, seconds));
                } else if seconds / MENTION > request.mentioned {
                    request.mentioned = seconds / MENTION;
                    let device: *mut DEVICE_OBJECT = core::ptr::with_exposed_provenance_mut(request.device);
                    // SAFETY: the request keeps its device's stack alive; it cannot end while the list is locked.
                    let name = unsafe { device::driver_name(device) };
                    crate::log!("a power request of {name} is not completed after {seconds} s");
                }
            }
        }
        if let Some((irp, device, _)) = late {
            crate::io::stop(bug_check::DRIVER_POWER_STATE_FAILURE, [3, device, 0, irp]);
        }
    }
}
