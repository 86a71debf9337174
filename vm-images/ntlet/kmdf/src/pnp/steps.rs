//! What each step of [`super::sequence`] does to a real device: the driver's callbacks, interrupts, DMA enablers, queues.

use wdf_sys::NTSTATUS;
use wdf_sys::wdf::{WDF_DEVICE_POWER_STATE, WDF_POWER_DEVICE_STATE};

use super::Progress;
use super::sequence::{Down, Step, Steps, power_down, power_up, start};
use super::state::set_power;
use super::watchdog::watched;
use crate::device::Device;
use crate::history::Event;
use crate::io::{self, Reason};
use crate::object::{Handle, Ref};
use crate::verifier::{self, Rule};
use crate::{dma, interrupt};

/// A device on its way up or down.
struct Run<'a> {
    device: &'a Ref<Device>,
    progress: &'a mut Progress,
    /// What the driver is told: the state before, on the way up; the state to come, on the way down.
    other_state: WDF_POWER_DEVICE_STATE,
    reason: Reason,
}

impl Steps for Run<'_> {
    fn step(&mut self, step: Step) -> Result<(), NTSTATUS> {
        let device = self.device;
        let callbacks = &device.settings.pnp;
        let (handle, other_state) = (device.handle(), self.other_state);
        match step {
            Step::PrepareHardware => self.prepare_hardware(),
            Step::ReleaseHardware => self.release_hardware(),
            Step::D0Entry => {
                set_power(device, WDF_DEVICE_POWER_STATE::WdfDevStatePowerD0Starting);
                // SAFETY: the driver's callback, at PASSIVE_LEVEL with its own device.
                call(device, step, callbacks.EvtDeviceD0Entry.map(|f| (f as usize, move || unsafe { f(handle, other_state) })))
            }
            Step::EnableInterrupts => {
                set_power(device, WDF_DEVICE_POWER_STATE::WdfDevStatePowerD0StartingConnectInterrupt);
                interrupt::enable_all(device)
            }
            Step::PostInterruptsEnabled => {
                let callback = callbacks.EvtDeviceD0EntryPostInterruptsEnabled;
                // SAFETY: as above.
                call(device, step, callback.map(|f| (f as usize, move || unsafe { f(handle, other_state) })))
            }
            Step::StartDma => {
                set_power(device, WDF_DEVICE_POWER_STATE::WdfDevStatePowerD0StartingDmaEnable);
                dma::start_all(device)
            }
            Step::StartQueues => {
                device.pnp.set_in_d0(true);
                self.progress.powered = true;
                io::start(device);
                device.any().globals().history.record(Event::QueuesStarted, device.any().raw() as usize, 0, 0);
                Ok(())
            }
            Step::StartSelfManagedIo => {
                set_power(device, WDF_DEVICE_POWER_STATE::WdfDevStatePowerD0StartingStartSelfManagedIo);
                self.start_self_managed_io()
            }
            Step::SuspendSelfManagedIo => {
                // SAFETY: as above.
                call(device, step, callbacks.EvtDeviceSelfManagedIoSuspend.map(|f| (f as usize, move || unsafe { f(handle) })))
            }
            Step::StopQueues => {
                device.pnp.set_in_d0(false);
                self.progress.powered = false;
                device.any().globals().history.record(Event::QueuesStopped, device.any().raw() as usize, self.reason as usize, 0);
                io::stop(device, self.reason);
                Ok(())
            }
            Step::StopDma => dma::stop_all(device),
            Step::PreInterruptsDisabled => {
                let callback = callbacks.EvtDeviceD0ExitPreInterruptsDisabled;
                // SAFETY: as above.
                call(device, step, callback.map(|f| (f as usize, move || unsafe { f(handle, other_state) })))
            }
            Step::DisableInterrupts => interrupt::disable_all(device),
            Step::D0Exit => {
                // SAFETY: as above.
                call(device, step, callbacks.EvtDeviceD0Exit.map(|f| (f as usize, move || unsafe { f(handle, other_state) })))
            }
        }
    }
}

impl Run<'_> {
    fn prepare_hardware(&mut self) -> Result<(), NTSTATUS> {
        let device = self.device;
        self.progress.prepared = true;
        let Some((raw, translated)) = device.pnp.resources.lock().clone() else { return Err(NTSTATUS::INVALID_DEVICE_STATE) };
        interrupt::assign_resources(device, &raw, &translated)?;
        device.pnp.preparing.store(true, core::sync::atomic::Ordering::Release);
        let callback = device.settings.pnp.EvtDevicePrepareHardware;
        let (handle, raw, translated) = (device.handle(), raw.handle(), translated.handle());
        // SAFETY: the driver's callback, at PASSIVE_LEVEL, with resource lists that live as long as the device is started.
        let call_it = callback.map(|f| (f as usize, move || unsafe { f(handle, raw, translated) }));
        let outcome = call(device, Step::PrepareHardware, call_it);
        device.pnp.preparing.store(false, core::sync::atomic::Ordering::Release);
        outcome
    }

    fn release_hardware(&mut self) -> Result<(), NTSTATUS> {
        if !core::mem::take(&mut self.progress.prepared) {
            return Ok(());
        }
        let device = self.device;
        let translated = device.pnp.resources.lock().as_ref().map(|(_, translated)| translated.clone());
        let list = translated.as_ref().map_or(Handle::from_raw(core::ptr::null_mut()), Ref::handle);
        let handle = device.handle();
        // SAFETY: the driver's callback, with the list that it was started with.
        let call_it = device.settings.pnp.EvtDeviceReleaseHardware.map(|f| (f as usize, move || unsafe { f(handle, list) }));
        let outcome = call(device, Step::ReleaseHardware, call_it);
        interrupt::release_resources(device);
        outcome
    }

    fn start_self_managed_io(&mut self) -> Result<(), NTSTATUS> {
        let device = self.device;
        let handle = device.handle();
        let callbacks = &device.settings.pnp;
        let first = !core::mem::replace(&mut self.progress.self_managed, true);
        self.progress.flushed = false;
        let callback = if first { callbacks.EvtDeviceSelfManagedIoInit } else { callbacks.EvtDeviceSelfManagedIoRestart };
        // SAFETY: the driver's callback, at PASSIVE_LEVEL with its own device.
        call(device, Step::StartSelfManagedIo, callback.map(|f| (f as usize, move || unsafe { f(handle) })))?;
        set_power(device, WDF_DEVICE_POWER_STATE::WdfDevStatePowerD0);
        Ok(())
    }
}

/// Calls a callback, given with its address, if there is one, notes its result, and checks what it left behind.
fn call(device: &Ref<Device>, step: Step, callback: Option<(usize, impl FnOnce() -> NTSTATUS)>) -> Result<(), NTSTATUS> {
    let Some((address, callback)) = callback else { return Ok(()) };
    let globals = device.any().globals();
    let status = device.any().guarded(address, callback);
    globals.history.record(Event::Callback, device.any().raw() as usize, step as usize, status.bits() as usize);
    if status == NTSTATUS::PENDING || status == NTSTATUS::NOT_SUPPORTED {
        if globals.verifies() {
            verifier::violation(
                globals,
                Rule::CallbackStatus,
                device.any().raw() as usize,
                format_args!("the driver's callback for {step:?} returned {status}, which it must not"),
            );
        }
        return if status == NTSTATUS::PENDING { Ok(()) } else { Err(NTSTATUS::UNSUCCESSFUL) };
    }
    if !status.is_success() {
        crate::report!(globals, "the driver's callback for {step:?} failed: {status}");
    }
    status.ok()
}

/// Prepares the hardware and brings the device to D0.
pub(crate) fn start_device(device: &Ref<Device>) -> Result<(), NTSTATUS> {
    let mut progress = device.pnp.progress.lock();
    let mut run = Run {
        device,
        progress: &mut progress,
        other_state: WDF_POWER_DEVICE_STATE::WdfPowerDeviceD3Final,
        reason: Reason::Purge,
    };
    let outcome = watched(device, || start(&mut run));
    if outcome.is_ok() {
        device.pnp.device_power.store(wdf_sys::wdm::constants::POWER_DEVICE_D0 as u8, core::sync::atomic::Ordering::Release);
    }
    outcome
}

/// Brings a started device back to D0 from `from`.
pub(crate) fn enter_d0(device: &Ref<Device>, from: WDF_POWER_DEVICE_STATE) -> Result<(), NTSTATUS> {
    let mut progress = device.pnp.progress.lock();
    if progress.powered || !progress.prepared {
        return Ok(());
    }
    let mut run = Run { device, progress: &mut progress, other_state: from, reason: Reason::Purge };
    watched(device, || power_up(&mut run))
}

/// Takes the device out of D0, if it is there.
pub(crate) fn leave_d0(device: &Ref<Device>, target: WDF_POWER_DEVICE_STATE, down: Down, reason: Reason) -> Result<(), NTSTATUS> {
    let mut progress = device.pnp.progress.lock();
    if !progress.powered {
        return Ok(());
    }
    let mut run = Run { device, progress: &mut progress, other_state: target, reason };
    let outcome = watched(device, || power_down(&mut run, down));
    set_power(device, WDF_DEVICE_POWER_STATE::WdfDevStatePowerStopped);
    outcome
}

/// EvtDeviceReleaseHardware, if it is owed.
pub(crate) fn release_hardware(device: &Ref<Device>) -> Result<(), NTSTATUS> {
    let mut progress = device.pnp.progress.lock();
    let other_state = WDF_POWER_DEVICE_STATE::WdfPowerDeviceD3Final;
    Run { device, progress: &mut progress, other_state, reason: Reason::Purge }.step(Step::ReleaseHardware)
}

/// EvtDeviceSelfManagedIoFlush, if it is owed.
pub(crate) fn flush_self_managed_io(device: &Ref<Device>) {
    let mut progress = device.pnp.progress.lock();
    if progress.self_managed
        && !core::mem::replace(&mut progress.flushed, true)
        && let Some(flush) = device.settings.pnp.EvtDeviceSelfManagedIoFlush
    {
        // SAFETY: the driver's callback, at PASSIVE_LEVEL with its own device.
        unsafe { flush(device.handle()) };
    }
}

/// EvtDeviceSelfManagedIoCleanup, if it is owed: once in the device's life.
pub(crate) fn clean_up_self_managed_io(device: &Ref<Device>) {
    let mut progress = device.pnp.progress.lock();
    if core::mem::take(&mut progress.self_managed)
        && let Some(cleanup) = device.settings.pnp.EvtDeviceSelfManagedIoCleanup
    {
        // SAFETY: the driver's callback, at PASSIVE_LEVEL with its own device.
        unsafe { cleanup(device.handle()) };
    }
}
