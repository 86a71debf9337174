//! `PoRequestPowerIrp`: power requests that drivers send to their own stacks.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ffi::c_void;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::KeGetCurrentIrql;
use wdf_sys::wdm::{DEVICE_OBJECT, IRP, POWER_STATE, PREQUEST_POWER_COMPLETE, set_completion_routine};

use crate::hal::PASSIVE_LEVEL;
use crate::io::watch::{Patience, Subject, Watch};
use crate::io::{call, device, irp as packet};
use crate::lock::SpinLock;
use crate::object::{self, ObjectRef};

/// How long a driver may keep a power request. Windows waits ten minutes.
pub(crate) const PATIENCE: Patience = Patience::Seconds(120, bug_check::DRIVER_POWER_STATE_FAILURE);

/// What the completion routine needs.
struct Request {
    /// Kept until the request is done.
    _top: ObjectRef,
    device: *mut DEVICE_OBJECT,
    minor: u8,
    state: POWER_STATE,
    routine: PREQUEST_POWER_COMPLETE,
    context: *mut c_void,
    /// The device at the bottom of the stack, whose turn this is; `None` for a wait, which takes no turn.
    turn: Option<ObjectRef>,
    watch: Option<Watch>,
}

/// A request that is to be sent: the top of its stack, and the IRP.
type Errand = (usize, usize);

/// The stacks, by their lowest device, that a request for a device state is under way in, each with those that wait for its end.
/// As on Windows, a stack has one at a time.
static TURNS: SpinLock<Vec<(usize, VecDeque<Errand>)>> = SpinLock::new(Vec::new());
/// Requests that a worker sends: made above `PASSIVE_LEVEL` for stacks that want it, or those whose turn has come.
static DEFERRED: SpinLock<VecDeque<Errand>> = SpinLock::new(VecDeque::new());

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
        let bottom = (!is_wait).then(|| ObjectRef::from_owned(device::IoGetDeviceAttachmentBaseRef(DeviceObject).cast()));
        let key = bottom.as_ref().map(|bottom| bottom.body().addr());
        let patience = if is_wait { Patience::Endless } else { PATIENCE };
        let request = Request {
            _top: ObjectRef::from_owned(top.cast()),
            device: DeviceObject,
            minor: MinorFunction,
            state: PowerState,
            routine: CompletionFunction,
            context: Context,
            turn: bottom,
            watch: Watch::begin(Subject::request(irp, top, (IRP_MJ_POWER, MinorFunction)), patience),
        };
        set_completion_routine(irp, Some(on_done), Box::into_raw(Box::new(request)).cast());
        if !Irp.is_null() {
            *Irp = irp;
        }
        let errand = (top.expose_provenance(), irp.expose_provenance());
        if key.is_some_and(|key| !take_turn(key, errand)) {
            return NTSTATUS::PENDING;
        }
        if KeGetCurrentIrql() > PASSIVE_LEVEL && (*top).Flags & DO_POWER_PAGABLE != 0 {
            defer(errand);
        } else {
            let _ = call::IofCallDriver(top, irp);
        }
    }
    NTSTATUS::PENDING
}

/// Begins a turn of the stack whose lowest device is `key`; `false` when another request has it, behind which this one waits.
fn take_turn(key: usize, errand: Errand) -> bool {
    let mut turns = TURNS.lock();
    match turns.iter_mut().find(|(busy, _)| *busy == key) {
        Some((_, waiting)) => {
            waiting.push_back(errand);
            false
        }
        None => {
            turns.push((key, VecDeque::new()));
            true
        }
    }
}

/// Ends a turn: the next one's request is sent by a worker, so that a long line does not become a deep stack.
fn end_turn(key: usize) {
    let next = {
        let mut turns = TURNS.lock();
        let Some(at) = turns.iter().position(|(busy, _)| *busy == key) else { return };
        let next = turns[at].1.pop_front();
        if next.is_none() {
            turns.swap_remove(at);
        }
        next
    };
    if let Some(errand) = next {
        defer(errand);
    }
}

fn defer(errand: Errand) {
    DEFERRED.lock().push_back(errand);
    crate::work::queue_system_work(send_deferred);
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
        let mut request = Box::from_raw(context.cast::<Request>());
        drop(request.watch.take());
        if let Some(routine) = request.routine {
            let mut block = (*irp).IoStatus;
            routine(request.device, request.minor, request.state, request.context, &raw mut block);
        }
        packet::IoFreeIrp(irp);
        if let Some(bottom) = &request.turn {
            end_turn(bottom.body().addr());
        }
    }
    NTSTATUS::MORE_PROCESSING_REQUIRED
}

#[cfg(test)]
mod tests {
    use core::ptr::null_mut;

    use wdf_sys::wdm::constants::KERNEL_MODE;
    use wdf_sys::wdm::functions::{IofCompleteRequest, KeDelayExecutionThread};
    use wdf_sys::wdm::{DRIVER_OBJECT, IO_STATUS_BLOCK, current_stack_location};

    use super::*;
    use crate::io::{device, driver};
    use crate::sim;

    /// States that the driver was asked for and has not completed, in order.
    static SEEN: SpinLock<Vec<(usize, i32)>> = SpinLock::new(Vec::new());
    static ENDED: SpinLock<Vec<i32>> = SpinLock::new(Vec::new());

    /// Keeps every request.
    unsafe extern "win64" fn keep(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the request was sent here; the driver completes it later.
        unsafe {
            wdf_sys::wdm::mark_irp_pending(irp);
            let location = current_stack_location(irp);
            let state = match (*location).MinorFunction {
                IRP_MN_WAIT_WAKE => (*location).Parameters.WaitWake.PowerState,
                _ => (*location).Parameters.Power.State.SystemState,
            };
            SEEN.lock().push((irp.expose_provenance(), state));
        }
        NTSTATUS::PENDING
    }

    unsafe extern "win64" fn ended(_: *mut DEVICE_OBJECT, _: u8, state: POWER_STATE, _: *mut c_void, _: *mut IO_STATUS_BLOCK) {
        // SAFETY: both members of the union are numbers.
        ENDED.lock().push(unsafe { state.SystemState });
    }

    fn settle() {
        let mut interval = -100_000;
        // SAFETY: the test is a system thread at PASSIVE_LEVEL.
        let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut interval) };
    }

    fn complete_first() {
        let (irp, _) = SEEN.lock().remove(0);
        // SAFETY: the driver kept it.
        unsafe { IofCompleteRequest(core::ptr::with_exposed_provenance_mut(irp), 0) };
        settle();
    }

    fn states() -> Vec<i32> {
        SEEN.lock().iter().map(|&(_, state)| state).collect()
    }

    #[test]
    fn a_stack_has_one_request_for_a_device_state_at_a_time_and_the_others_come_in_order() {
        sim::run(|_| {
            let driver: *mut DRIVER_OBJECT = driver::create("power").unwrap().into_raw().cast();
            // SAFETY: driver and devices are new and ours.
            unsafe {
                (*driver).MajorFunction = [Some(keep); 28];
                let [first, second] = [(); 2].map(|()| {
                    let device = device::create(driver, device::Parameters::default()).unwrap();
                    (*device).Flags &= !DO_DEVICE_INITIALIZING;
                    device
                });
                let ask = |device, minor, state| {
                    let state = POWER_STATE { SystemState: state };
                    let asked = PoRequestPowerIrp(device, minor, state, Some(ended), null_mut(), null_mut());
                    assert_eq!(asked, NTSTATUS::PENDING);
                };
                ask(first, IRP_MN_SET_POWER, 4);
                ask(first, IRP_MN_SET_POWER, 1);
                ask(first, IRP_MN_QUERY_POWER, 3);
                ask(second, IRP_MN_SET_POWER, 2);
                settle();
                assert_eq!(states(), [4, 2], "one at a time in each stack");
                // A wait for a wake-up signal lasts, and takes no turn.
                ask(first, IRP_MN_WAIT_WAKE, 5);
                assert_eq!(states()[2], 5);
                complete_first();
                assert_eq!((states(), ENDED.lock().clone()), (std::vec![2, 5, 1], std::vec![4]));
                complete_first();
                complete_first();
                complete_first();
                assert_eq!(states(), [3], "the query follows the request before it");
                complete_first();
                assert_eq!(ENDED.lock().clone(), [4, 2, 5, 1, 3]);
            }
        });
    }
}
