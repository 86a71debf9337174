//! Connecting and enabling interrupts when the device enters D0, and the way back.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::Ordering;

use wdf_sys::wdf::{PFN_WDF_INTERRUPT_ENABLE, WDF_TRI_STATE};
use wdf_sys::wdm::constants::{CONNECT_FULLY_SPECIFIED, LATCHED, LEVEL_SENSITIVE};
use wdf_sys::wdm::functions::{IoConnectInterruptEx, IoDisconnectInterruptEx, KeFlushQueuedDpcs, KeSynchronizeExecution};
use wdf_sys::wdm::{
    IO_CONNECT_INTERRUPT_FULLY_SPECIFIED_PARAMETERS, IO_CONNECT_INTERRUPT_PARAMETERS, IO_DISCONNECT_INTERRUPT_PARAMETERS,
};
use wdf_sys::{BOOLEAN, KINTERRUPT, NTSTATUS, TRUE, WDFDEVICE};

use super::{Interrupt, service};
use crate::device::Device;
use crate::history::Event;
use crate::object::Ref;

/// The highest IRQL among the device's interrupts that share this one's lock: at which all their ISRs run.
fn synchronize_irql(device: &Ref<Device>, interrupt: &Ref<Interrupt>, own: u8) -> u8 {
    let Some(lock) = &interrupt.shared_lock else { return own };
    let Ok(all) = device.pnp.interrupts() else { return own };
    all.iter()
        .filter(|other| other.shared_lock.as_ref().is_some_and(|other| other.is_same(lock)))
        .filter_map(|other| other.assignment.get().map(|assignment| assignment.irql))
        .fold(own, u8::max)
}

fn connect(device: &Ref<Device>, interrupt: &Ref<Interrupt>) -> Result<(), NTSTATUS> {
    let Some(assignment) = interrupt.assignment.get() else { return Ok(()) };
    if !interrupt.kernel().is_null() {
        return Ok(());
    }
    if interrupt.is_passive() && !assignment.latched {
        // The line would interrupt for ever: nothing masks it until the ISR has run at PASSIVE_LEVEL.
        crate::report!(device.any().globals(), "passive-level handling of a level-triggered interrupt is not supported");
        return Err(NTSTATUS::NOT_SUPPORTED);
    }
    interrupt.connected_message.store(assignment.message.unwrap_or(0));
    let mut kernel: *mut KINTERRUPT = null_mut();
    let policy = *interrupt.policy.lock();
    let affinity = if policy & assignment.affinity != 0 { policy & assignment.affinity } else { assignment.affinity };
    let share = match interrupt.config.ShareVector {
        WDF_TRI_STATE::WdfTrue => true,
        WDF_TRI_STATE::WdfFalse => false,
        _ => assignment.shared,
    };
    let mut parameters = IO_CONNECT_INTERRUPT_PARAMETERS::zeroed();
    parameters.Version = CONNECT_FULLY_SPECIFIED;
    parameters.FullySpecified = IO_CONNECT_INTERRUPT_FULLY_SPECIFIED_PARAMETERS {
        PhysicalDeviceObject: device.pdo(),
        InterruptObject: &mut kernel,
        ServiceRoutine: Some(service),
        ServiceContext: interrupt.as_context(),
        SpinLock: interrupt.lock_word(),
        SynchronizeIrql: synchronize_irql(device, interrupt, assignment.irql),
        FloatingSave: interrupt.config.FloatingSave,
        ShareVector: share.into(),
        Vector: assignment.vector,
        Irql: assignment.irql,
        InterruptMode: if assignment.latched { LATCHED } else { LEVEL_SENSITIVE },
        ProcessorEnableMask: affinity,
        Group: 0,
    };
    // SAFETY: the parameters live through the call; object and lock outlive the connection, which ends before the object goes.
    unsafe { IoConnectInterruptEx(&mut parameters) }.ok()?;
    interrupt.kernel.store(kernel, Ordering::Release);
    let message = assignment.message.map_or(usize::MAX, |message| message as usize);
    let globals = device.any().globals();
    globals.history.record(Event::InterruptConnected, interrupt.any().raw() as usize, assignment.vector as usize, message);
    Ok(())
}

/// A call to EvtInterruptEnable or EvtInterruptDisable on its way to DIRQL.
struct Switch {
    callback: PFN_WDF_INTERRUPT_ENABLE,
    interrupt: Ref<Interrupt>,
    device: WDFDEVICE,
    status: NTSTATUS,
}

unsafe extern "win64" fn switch_at_dirql(context: *mut c_void) -> BOOLEAN {
    // SAFETY: the structure of `switch`, which waits for this call.
    let switch = unsafe { &mut *context.cast::<Switch>() };
    if let Some(callback) = switch.callback {
        // SAFETY: the driver's callback, at DIRQL and under its lock, with its own objects.
        switch.status =
            switch.interrupt.any().guarded(callback as usize, || unsafe { callback(switch.interrupt.handle(), switch.device) });
    }
    TRUE
}

/// Calls EvtInterruptEnable or EvtInterruptDisable as its page says: at DIRQL under the interrupt's lock, or at PASSIVE_LEVEL.
fn switch(interrupt: &Ref<Interrupt>, device: &Ref<Device>, callback: PFN_WDF_INTERRUPT_ENABLE) -> NTSTATUS {
    let mut switch = Switch { callback, interrupt: interrupt.clone(), device: device.handle(), status: NTSTATUS::SUCCESS };
    if callback.is_none() {
        return NTSTATUS::SUCCESS;
    }
    let context = (&raw mut switch).cast();
    if interrupt.is_passive() {
        let globals = device.any().globals();
        interrupt.acquire_passive(globals);
        // SAFETY: the context is the structure above.
        unsafe { switch_at_dirql(context) };
        interrupt.release_passive(globals);
    } else {
        // SAFETY: a connected interrupt; the context is the structure above, which outlives the call.
        unsafe { KeSynchronizeExecution(interrupt.kernel(), Some(switch_at_dirql), context) };
    }
    switch.status
}

pub(super) fn enable(interrupt: &Ref<Interrupt>) -> Result<(), NTSTATUS> {
    let Some(device) = Interrupt::device(interrupt) else { return Err(NTSTATUS::INVALID_DEVICE_STATE) };
    connect(&device, interrupt)?;
    if interrupt.kernel().is_null() || interrupt.enabled.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    let outcome = switch(interrupt, &device, interrupt.config.EvtInterruptEnable).ok();
    if outcome.is_err() {
        interrupt.enabled.store(false, Ordering::Release);
    }
    outcome
}

pub(super) fn disable(interrupt: &Ref<Interrupt>) -> Result<(), NTSTATUS> {
    let mut outcome = Ok(());
    if interrupt.kernel().is_null() {
        return outcome;
    }
    if interrupt.enabled.swap(false, Ordering::AcqRel)
        && let Some(device) = Interrupt::device(interrupt)
    {
        outcome = switch(interrupt, &device, interrupt.config.EvtInterruptDisable).ok();
    }
    let kernel = interrupt.kernel.swap(null_mut(), Ordering::AcqRel);
    let mut parameters =
        IO_DISCONNECT_INTERRUPT_PARAMETERS { Version: CONNECT_FULLY_SPECIFIED, ConnectionContext: kernel.cast() };
    // SAFETY: what `connect` connected; it was taken out above, so it is disconnected once.
    unsafe { IoDisconnectInterruptEx(&mut parameters) };
    let message = interrupt.connected_message.load() as usize;
    let globals = interrupt.any().globals();
    globals.history.record(Event::InterruptDisconnected, interrupt.any().raw() as usize, 0, message);
    outcome
}

/// Connects and enables every interrupt of the device, in order of creation.
///
/// # Errors
/// What the first one returned that failed; those before it stay enabled.
pub(crate) fn enable_all(device: &Ref<Device>) -> Result<(), NTSTATUS> {
    for interrupt in device.pnp.interrupts()? {
        if let Err(status) = enable(&interrupt) {
            crate::report!(device.any().globals(), "an interrupt could not be connected or enabled: {status}");
            return Err(status);
        }
    }
    Ok(())
}

/// Disables and disconnects every interrupt of the device, in reverse order; then waits until their DPCs have run.
pub(crate) fn disable_all(device: &Ref<Device>) -> Result<(), NTSTATUS> {
    let mut outcome = Ok(());
    for interrupt in device.pnp.interrupts()?.iter().rev() {
        outcome = outcome.and(disable(interrupt));
    }
    // SAFETY: at PASSIVE_LEVEL, where devices leave D0.
    unsafe { KeFlushQueuedDpcs() };
    outcome
}
