//! `WdfInterrupt…`.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use wdf_sys::wdf::*;
use wdf_sys::wdm::KDPC;
use wdf_sys::wdm::constants::{CONNECT_FULLY_SPECIFIED, LATCHED, LEVEL_SENSITIVE, SYNCHRONIZATION_EVENT};
use wdf_sys::wdm::functions::{
    IoReportInterruptActive, IoReportInterruptInactive, KeAcquireInterruptSpinLock, KeInitializeDpc, KeInsertQueueDpc,
    KeReleaseInterruptSpinLock,
};
use wdf_sys::{BOOLEAN, FALSE, KINTERRUPT, NTSTATUS, WDFDEVICE, WDFINTERRUPT};

use super::assignment::own_assignment;
use super::connection::{disable, enable};
use super::{Interrupt, Later, Message, deferred, queue_work, run_work_item};
use crate::call::{Call, ddi};
use crate::deferral::Deferral;
use crate::device::Device;
use crate::lock::DriverWaitLock;
use crate::object::attributes::{ParentRule, Rules};
use crate::object::{Attributes, Kind, NOT_DELETABLE, Ref};
use crate::sync::{self, AnyIrqlCell, DISPATCH_LEVEL, PASSIVE_LEVEL, SpinLock};
use crate::verifier::{self, BugCheck, Rule};

/// Checks a configuration against the state of the device and the parent.
fn check(call: &Call, device: &Ref<Device>, config: &WDF_INTERRUPT_CONFIG, attributes: &Attributes) -> Result<(), NTSTATUS> {
    let has_resources = !config.InterruptRaw.is_null() && !config.InterruptTranslated.is_null();
    let has_any = !config.InterruptRaw.is_null() || !config.InterruptTranslated.is_null();
    let preparing = device.pnp.preparing.load(Ordering::Acquire);
    if preparing && !has_resources || !preparing && !device.pnp.is_before_start() {
        return Err(NTSTATUS::INVALID_DEVICE_STATE);
    }
    let passive = config.PassiveHandling != 0;
    let wrong = !preparing && has_any
        || config.EvtInterruptIsr.is_none()
        || config.EvtInterruptDpc.is_some() && config.EvtInterruptWorkItem.is_some()
        || passive && !config.SpinLock.is_null()
        || !passive && !config.WaitLock.is_null()
        || device.is_control()
        || attributes.parent.is_some() && config.AutomaticSerialization == 0;
    if wrong {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    if let Some(parent) = &attributes.parent
        && (call.globals.version.1 <= 9 || !matches!(parent.kind(), Kind::Device | Kind::Queue))
    {
        return Err(NTSTATUS::WDF_PARENT_ASSIGNMENT_NOT_ALLOWED);
    }
    let parent = attributes.parent.as_ref().unwrap_or(device.any());
    if config.AutomaticSerialization != 0 {
        let too_low = parent.is_passive() && config.EvtInterruptDpc.is_some();
        let too_high = !parent.is_passive() && config.EvtInterruptWorkItem.is_some();
        if too_low || too_high {
            return Err(NTSTATUS::WDF_INCOMPATIBLE_EXECUTION_LEVEL);
        }
    }
    Ok(())
}

fn create(
    call: &Call,
    device: &Ref<Device>,
    config: WDF_INTERRUPT_CONFIG,
    attributes: &Attributes,
) -> Result<Ref<Interrupt>, NTSTATUS> {
    check(call, device, &config, attributes)?;
    let own_resource = device.pnp.preparing.load(Ordering::Acquire);
    let assignment = if own_resource { Some(own_assignment(device, &config)?) } else { None };
    let parent = attributes.parent.as_ref().unwrap_or(device.any());
    let serialization = if config.AutomaticSerialization != 0 { crate::lock::serialization_of(parent) } else { None };
    let body = Interrupt {
        config,
        word: UnsafeCell::new(0),
        shared_lock: call.optional_object(config.SpinLock),
        passive_lock: call.optional_object(config.WaitLock),
        own_passive_lock: sync::Event::uninitialized(),
        dpc: UnsafeCell::new(KDPC::zeroed()),
        isr_work: Deferral::uninitialized(),
        work: Deferral::uninitialized(),
        serialization,
        assignment: AnyIrqlCell::new(assignment),
        kernel: AtomicPtr::new(null_mut()),
        enabled: AtomicBool::new(false),
        connected_message: Message::default(),
        held_irql: UnsafeCell::new(0),
        own_resource,
        policy: SpinLock::new(0),
    };
    let interrupt = crate::object::create(call.globals, attributes, Some(device.any()), body)?;
    interrupt.any().set_flags(NOT_DELETABLE);
    interrupt.own_passive_lock.initialize(SYNCHRONIZATION_EVENT, true);
    interrupt.isr_work.initialize();
    interrupt.work.initialize();
    // SAFETY: the DPC stays inside the object; its context is the object itself.
    unsafe { KeInitializeDpc(interrupt.dpc.get(), Some(deferred), interrupt.as_context()) };
    let mut list = device.pnp.interrupts.lock();
    if list.try_reserve(1).is_err() {
        drop(list);
        interrupt.abandon();
        return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
    }
    list.push(interrupt.clone());
    Ok(interrupt)
}

/// The kernel's interrupt object. Using an interrupt that is not connected is a bug check, since there is nothing to lock.
fn connected(call: &Call, interrupt: &Ref<Interrupt>) -> NonNull<KINTERRUPT> {
    match NonNull::new(interrupt.kernel()) {
        Some(kernel) => kernel,
        None => {
            crate::report!(call.globals, "{}: the interrupt is not connected", call.name());
            verifier::bug_check(call.globals, BugCheck::InvalidLockOperation(interrupt.any().raw() as usize, 0));
        }
    }
}

/// `IO_REPORT_INTERRUPT_ACTIVE_STATE_PARAMETERS`.
#[repr(C)]
struct ActiveState {
    version: u32,
    interrupt: *mut KINTERRUPT,
}

/// Tells the kernel that the driver is ready for interrupts again, or is not for now.
fn report(call: &Call, interrupt: WDFINTERRUPT, is_active: bool) {
    call.irql_at_most(DISPATCH_LEVEL);
    let interrupt = call.object::<Interrupt>(interrupt);
    let Some(kernel) = NonNull::new(interrupt.kernel()) else {
        if call.globals.verifies() {
            verifier::violation(
                call.globals,
                Rule::WrongState,
                interrupt.any().raw() as usize,
                format_args!("{}: the interrupt is not connected", call.name()),
            );
        }
        return;
    };
    let mut state = ActiveState { version: CONNECT_FULLY_SPECIFIED, interrupt: kernel.as_ptr() };
    let state = (&raw mut state).cast();
    // SAFETY: a connected interrupt; the structure lives through the call.
    unsafe { if is_active { IoReportInterruptActive(state) } else { IoReportInterruptInactive(state) } }
}

ddi! {
    fn WdfInterruptCreate(call, device: WDFDEVICE, config: *mut WDF_INTERRUPT_CONFIG, attributes: *mut WDF_OBJECT_ATTRIBUTES, interrupt: *mut WDFINTERRUPT) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        call.write(interrupt, WDFINTERRUPT::NULL);
        let rules = Rules { parent: ParentRule::Optional, ..Rules::ORDINARY };
        // 1.9 ended before EvtInterruptWorkItem; 1.11 before CanWakeDevice.
        let created = call.sized(config, &[56, 96]).and_then(|config| {
            let attributes = Attributes::read(call, attributes, rules)?;
            create(call, &device, config, &attributes)
        });
        call.created(interrupt, created)
    }

    fn WdfInterruptQueueDpcForIsr(call, interrupt: WDFINTERRUPT) -> BOOLEAN {
        let interrupt = call.object::<Interrupt>(interrupt);
        if interrupt.config.EvtInterruptDpc.is_none() {
            return FALSE;
        }
        // SAFETY: an initialised DPC.
        unsafe { KeInsertQueueDpc(interrupt.dpc.get(), null_mut(), null_mut()) }
    }

    fn WdfInterruptQueueWorkItemForIsr(call, interrupt: WDFINTERRUPT) -> BOOLEAN {
        let interrupt = call.object::<Interrupt>(interrupt);
        if interrupt.config.EvtInterruptWorkItem.is_none() {
            return FALSE;
        }
        if sync::irql() > DISPATCH_LEVEL {
            // SAFETY: an initialised DPC, which has no other use where there is an EvtInterruptWorkItem.
            return unsafe { KeInsertQueueDpc(interrupt.dpc.get(), Later::WorkItem.argument(), null_mut()) };
        }
        queue_work(&interrupt, &interrupt.work, run_work_item).into()
    }

    fn WdfInterruptSynchronize(call, interrupt: WDFINTERRUPT, callback: PFN_WDF_INTERRUPT_SYNCHRONIZE, context: *mut c_void) -> BOOLEAN {
        let interrupt = call.object::<Interrupt>(interrupt);
        let Some(callback) = callback else { return FALSE };
        if interrupt.is_passive() {
            call.irql_at_most(PASSIVE_LEVEL);
            interrupt.acquire_passive(call.globals);
            // SAFETY: the driver's callback, under the interrupt's lock.
            let result = interrupt.any().guarded(callback as usize, || unsafe { callback(interrupt.handle(), context) });
            interrupt.release_passive(call.globals);
            return result;
        }
        let kernel = connected(call, &interrupt);
        // SAFETY: a connected interrupt, released below; the driver's callback runs at DIRQL under its lock.
        unsafe {
            let irql = KeAcquireInterruptSpinLock(kernel.as_ptr());
            let result = interrupt.any().guarded(callback as usize, || callback(interrupt.handle(), context));
            KeReleaseInterruptSpinLock(kernel.as_ptr(), irql);
            result
        }
    }

    fn WdfInterruptReportActive(call, interrupt: WDFINTERRUPT) {
        report(call, interrupt, true);
    }

    fn WdfInterruptReportInactive(call, interrupt: WDFINTERRUPT) {
        report(call, interrupt, false);
    }

    fn WdfInterruptAcquireLock(call, interrupt: WDFINTERRUPT) {
        let interrupt = call.object::<Interrupt>(interrupt);
        if interrupt.is_passive() {
            call.irql_at_most(PASSIVE_LEVEL);
            return interrupt.acquire_passive(call.globals);
        }
        let kernel = connected(call, &interrupt);
        // SAFETY: a connected interrupt. The IRQL is kept for whoever holds the lock.
        unsafe { *interrupt.held_irql.get() = KeAcquireInterruptSpinLock(kernel.as_ptr()) };
    }

    fn WdfInterruptTryToAcquireLock(call, interrupt: WDFINTERRUPT) -> BOOLEAN {
        call.irql_at_most(PASSIVE_LEVEL);
        let interrupt = call.object::<Interrupt>(interrupt);
        if !interrupt.is_passive() {
            if call.globals.verifies() {
                verifier::violation(call.globals, Rule::WrongState, interrupt.any().raw() as usize, format_args!(
                    "WdfInterruptTryToAcquireLock is for passive-level interrupts"));
            }
            return FALSE;
        }
        match &interrupt.passive_lock {
            Some(lock) => DriverWaitLock::acquire(lock, call.globals, Some(0)).into(),
            None => interrupt.own_passive_lock.wait_until(0).into(),
        }
    }

    fn WdfInterruptReleaseLock(call, interrupt: WDFINTERRUPT) {
        let interrupt = call.object::<Interrupt>(interrupt);
        if interrupt.is_passive() {
            return interrupt.release_passive(call.globals);
        }
        let kernel = connected(call, &interrupt);
        // SAFETY: the driver holds the lock, as it says, and so the saved IRQL.
        unsafe { KeReleaseInterruptSpinLock(kernel.as_ptr(), *interrupt.held_irql.get()) };
    }

    fn WdfInterruptEnable(call, interrupt: WDFINTERRUPT) {
        call.irql_at_most(PASSIVE_LEVEL);
        if let Err(status) = enable(&call.object::<Interrupt>(interrupt)) {
            crate::report!(call.globals, "WdfInterruptEnable: {status}");
        }
    }

    fn WdfInterruptDisable(call, interrupt: WDFINTERRUPT) {
        call.irql_at_most(PASSIVE_LEVEL);
        if let Err(status) = disable(&call.object::<Interrupt>(interrupt)) {
            crate::report!(call.globals, "WdfInterruptDisable: {status}");
        }
    }

    fn WdfInterruptWdmGetInterrupt(call, interrupt: WDFINTERRUPT) -> *mut KINTERRUPT {
        call.object::<Interrupt>(interrupt).kernel()
    }

    fn WdfInterruptGetInfo(call, interrupt: WDFINTERRUPT, info: *mut WDF_INTERRUPT_INFO) {
        let interrupt = call.object::<Interrupt>(interrupt);
        // 1.9 had no Group.
        let Ok(mut copy) = call.sized(info, &[56]) else { return };
        let assignment = interrupt.assignment.get().unwrap_or_default();
        copy.TargetProcessorSet = assignment.affinity;
        copy.MessageNumber = assignment.message.unwrap_or(0);
        copy.Vector = assignment.vector;
        copy.Irql = if interrupt.is_passive() { 0 } else { assignment.irql };
        copy.Mode = if assignment.latched { LATCHED } else { LEVEL_SENSITIVE };
        copy.Polarity = WDF_INTERRUPT_POLARITY::WdfInterruptPolarityUnknown;
        copy.MessageSignaled = assignment.message.is_some().into();
        copy.ShareDisposition = assignment.share_disposition;
        let size = copy.Size as usize;
        // SAFETY: a structure of numbers, read as bytes, no more of them than the driver says its structure has.
        let bytes = unsafe { core::slice::from_raw_parts((&raw const copy).cast::<u8>(), size.min(size_of_val(&copy))) };
        call.copy_out(info.cast(), bytes);
    }

    fn WdfInterruptSetPolicy(call, interrupt: WDFINTERRUPT, _policy: WDF_INTERRUPT_POLICY, _priority: WDF_INTERRUPT_PRIORITY, processors: usize) {
        *call.object::<Interrupt>(interrupt).policy.lock() = processors;
    }

    fn WdfInterruptSetExtendedPolicy(call, interrupt: WDFINTERRUPT, policy: *mut WDF_INTERRUPT_EXTENDED_POLICY) {
        let interrupt = call.object::<Interrupt>(interrupt);
        let Ok(policy) = call.sized(policy, &[]) else { return };
        *interrupt.policy.lock() = policy.TargetProcessorSetAndGroup.Mask;
    }

    fn WdfInterruptGetDevice(call, interrupt: WDFINTERRUPT) -> WDFDEVICE {
        Interrupt::device(&call.object::<Interrupt>(interrupt)).map_or(WDFDEVICE::NULL, |device| device.handle())
    }
}
