//! Devices: made in `EvtDriverDeviceAdd`, told of PnP and power through [`DeviceEvents`].

use core::marker::PhantomData;
use core::ops::Deref;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::{WDF_DEVICE_FAILED_ACTION, WDF_FILEOBJECT_CLASS, WDF_PNPPOWER_EVENT_CALLBACKS, WDF_POWER_DEVICE_STATE};
use wdf_sys::{GUID, WDFDEVICE, WDFDEVICE_INIT};

use crate::context::{self, Context};
use crate::file::{FileEvents, FileWatch};
use crate::irql::Passive;
use crate::request::state::RequestState;
use crate::resources::Resources;
use crate::{Result, string, trampoline};

/// A power state of a device, as the framework names it.
pub type PowerState = WDF_POWER_DEVICE_STATE;

/// What a device is told. `Self` is the device object's context: it is made when the device is, and dropped with it.
///
/// Every method has a default that does nothing and succeeds. The framework calls them in the order in which they stand here, one at a time,
/// [`surprise_removal`](Self::surprise_removal) excepted.
#[allow(unused_variables, reason = "the defaults ignore what they are told")]
pub trait DeviceEvents: Context {
    /// `EvtDevicePrepareHardware`: find and map the hardware; do not start it.
    ///
    /// # Errors
    /// An error stops the device from starting.
    fn prepare_hardware(device: Device<'_, Self>, resources: Resources<'_>, passive: Passive<'_>) -> Result<()> {
        Ok(())
    }

    /// `EvtDeviceD0Entry`: the device has power; start it. Interrupts are not connected yet.
    ///
    /// # Errors
    /// An error fails the device.
    fn d0_entry(device: Device<'_, Self>, from: PowerState, passive: Passive<'_>) -> Result<()> {
        Ok(())
    }

    /// `EvtDeviceD0EntryPostInterruptsEnabled`.
    ///
    /// # Errors
    /// An error fails the device.
    fn interrupts_enabled(device: Device<'_, Self>, from: PowerState, passive: Passive<'_>) -> Result<()> {
        Ok(())
    }

    /// `EvtDeviceSelfManagedIoInit`, once per start.
    ///
    /// # Errors
    /// An error fails the device.
    fn self_managed_init(device: Device<'_, Self>, passive: Passive<'_>) -> Result<()> {
        Ok(())
    }

    /// `EvtDeviceSelfManagedIoRestart`: power is back.
    ///
    /// # Errors
    /// An error fails the device.
    fn self_managed_restart(device: Device<'_, Self>, passive: Passive<'_>) -> Result<()> {
        Ok(())
    }

    /// `EvtDeviceQueryRemove`: may the device be removed?
    ///
    /// # Errors
    /// An error is a veto.
    fn query_remove(device: Device<'_, Self>, passive: Passive<'_>) -> Result<()> {
        Ok(())
    }

    /// `EvtDeviceQueryStop`: may the device be stopped, to be given other resources?
    ///
    /// # Errors
    /// An error is a veto.
    fn query_stop(device: Device<'_, Self>, passive: Passive<'_>) -> Result<()> {
        Ok(())
    }

    /// `EvtDeviceSurpriseRemoval`: the hardware is gone. The callbacks below follow.
    fn surprise_removal(device: Device<'_, Self>, passive: Passive<'_>) {}

    /// `EvtDeviceSelfManagedIoSuspend`: power is about to go, or the device with it.
    ///
    /// # Errors
    /// An error fails the device.
    fn self_managed_suspend(device: Device<'_, Self>, passive: Passive<'_>) -> Result<()> {
        Ok(())
    }

    /// `EvtDeviceD0ExitPreInterruptsDisabled`.
    ///
    /// # Errors
    /// An error fails the device.
    fn interrupts_disabling(device: Device<'_, Self>, to: PowerState, passive: Passive<'_>) -> Result<()> {
        Ok(())
    }

    /// `EvtDeviceD0Exit`: stop the hardware; power is about to go. Interrupts are disconnected.
    ///
    /// # Errors
    /// An error fails the device.
    fn d0_exit(device: Device<'_, Self>, to: PowerState, passive: Passive<'_>) -> Result<()> {
        Ok(())
    }

    /// `EvtDeviceReleaseHardware`: unmap.
    ///
    /// # Errors
    /// An error fails the device.
    fn release_hardware(device: Device<'_, Self>, passive: Passive<'_>) -> Result<()> {
        Ok(())
    }

    /// `EvtDeviceSelfManagedIoFlush`: the device is being removed; no more I/O will come.
    fn self_managed_flush(device: Device<'_, Self>, passive: Passive<'_>) {}

    /// `EvtDeviceSelfManagedIoCleanup`: undo [`self_managed_init`](Self::self_managed_init).
    fn self_managed_cleanup(device: Device<'_, Self>, passive: Passive<'_>) {}
}

/// A device that is about to be made.
pub struct DeviceInit<'a> {
    raw: *mut WDFDEVICE_INIT,
    callback: PhantomData<&'a mut ()>,
}

impl<'a> DeviceInit<'a> {
    /// # Safety
    /// `raw` is what the framework gave to the running `EvtDriverDeviceAdd`.
    pub(crate) unsafe fn new(raw: *mut WDFDEVICE_INIT) -> Self {
        Self { raw, callback: PhantomData }
    }

    /// The init as the framework gave it, for a driver that makes its device by itself. Good until `EvtDriverDeviceAdd` returns.
    pub fn as_raw(&mut self) -> *mut WDFDEVICE_INIT {
        self.raw
    }

    /// The device is a filter: what it does not handle goes on to the next driver below.
    pub fn filter(&mut self) {
        // SAFETY: the init is valid until the device is created, which takes `self`.
        unsafe { WdfFdoInitSetFilter(self.raw) };
    }

    /// The device's own queues may be sent to, through [`Device::self_target`](crate::Device::self_target).
    pub fn allow_self_target(&mut self) {
        // SAFETY: as above.
        unsafe { WdfDeviceInitAllowSelfIoTarget(self.raw) };
    }

    /// Buffers of METHOD_NEITHER I/O controls are probed and locked in the caller's context, before the request is queued; the request's
    /// [`input`](crate::Request::input) and [`output`](crate::Request::output) then work as with the other methods.
    pub fn lock_user_buffers(&mut self) {
        // SAFETY: as above.
        unsafe { WdfDeviceInitSetIoInCallerContextCallback(self.raw, Some(trampoline::in_caller_context)) };
    }

    /// File objects carry an `F` each, and tell it when they are cleaned up and closed.
    pub fn files<F: FileEvents>(&mut self) {
        let mut config = wdf_sys::wdf::WDF_FILEOBJECT_CONFIG::new(
            Some(trampoline::file_create::<F>),
            Some(trampoline::file_close::<F>),
            Some(trampoline::file_cleanup::<F>),
        );
        config.FileObjectClass = may_be_missing(config.FileObjectClass);
        let mut attributes = context::attributes::<F>();
        // SAFETY: as above; both structures are copied.
        unsafe { WdfDeviceInitSetFileObjectConfig(self.raw, &raw mut config, &raw mut attributes) };
    }

    /// File objects carry an `F` each, and tell it when they are cleaned up and closed; creating them stays with the drivers below.
    pub fn watch_files<F: FileWatch>(&mut self) {
        let (close, cleanup) = (trampoline::watched_close::<F>, trampoline::watched_cleanup::<F>);
        let mut config = wdf_sys::wdf::WDF_FILEOBJECT_CONFIG::new(None, Some(close), Some(cleanup));
        config.FileObjectClass = may_be_missing(config.FileObjectClass);
        let mut attributes = context::attributes::<F>();
        // SAFETY: as above; both structures are copied.
        unsafe { WdfDeviceInitSetFileObjectConfig(self.raw, &raw mut config, &raw mut attributes) };
    }

    /// Makes the device. `build` makes its context, in which the places of what belongs to the device are empty: queues, interrupts, timers, DMA memory
    /// are made next, by what this gives. No callback of the device runs before `EvtDriverDeviceAdd` has returned.
    ///
    /// # Errors
    /// What the framework or `build` says; the framework then deletes what was made.
    pub fn create<D: DeviceEvents>(
        mut self,
        passive: Passive<'a>,
        build: impl FnOnce(&NewDevice<D>, Passive<'_>) -> Result<D>,
    ) -> Result<Device<'a, D>> {
        let mut callbacks = pnp_power_callbacks::<D>();
        // SAFETY: the init is valid; the structure is copied.
        unsafe { WdfDeviceInitSetPnpPowerEventCallbacks(self.raw, &raw mut callbacks) };
        let mut per_request = context::attributes::<RequestState>();
        // SAFETY: as above.
        unsafe { WdfDeviceInitSetRequestAttributes(self.raw, &raw mut per_request) };
        let mut attributes = context::attributes::<D>();
        let mut handle = WDFDEVICE::NULL;
        // SAFETY: the init is valid, and taken by the call when it succeeds; it stays the framework's when it fails.
        unsafe { WdfDeviceCreate(&raw mut self.raw, &raw mut attributes, &raw mut handle) }.ok()?;
        let device = NewDevice { handle, context: PhantomData };
        let value = build(&device, passive)?;
        // SAFETY: the device was just created, with room for a `D`; it outlives the callback `'a`.
        let context = unsafe { context::install(handle.object(), value) }?;
        Ok(Device { handle, context })
    }
}

/// Requests may come without a file: other drivers send such, the device's own target on itself does. [`Request::file`](crate::Request::file) says
/// so; without this flag the framework would take the question for a mistake.
const fn may_be_missing(class: WDF_FILEOBJECT_CLASS) -> WDF_FILEOBJECT_CLASS {
    WDF_FILEOBJECT_CLASS(class.0 | WDF_FILEOBJECT_CLASS::WdfFileObjectCanBeOptional.0)
}

fn pnp_power_callbacks<D: DeviceEvents>() -> WDF_PNPPOWER_EVENT_CALLBACKS {
    WDF_PNPPOWER_EVENT_CALLBACKS {
        EvtDeviceD0Entry: Some(trampoline::d0_entry::<D>),
        EvtDeviceD0EntryPostInterruptsEnabled: Some(trampoline::interrupts_enabled::<D>),
        EvtDeviceD0Exit: Some(trampoline::d0_exit::<D>),
        EvtDeviceD0ExitPreInterruptsDisabled: Some(trampoline::interrupts_disabling::<D>),
        EvtDevicePrepareHardware: Some(trampoline::prepare_hardware::<D>),
        EvtDeviceReleaseHardware: Some(trampoline::release_hardware::<D>),
        EvtDeviceSelfManagedIoCleanup: Some(trampoline::self_managed_cleanup::<D>),
        EvtDeviceSelfManagedIoFlush: Some(trampoline::self_managed_flush::<D>),
        EvtDeviceSelfManagedIoInit: Some(trampoline::self_managed_init::<D>),
        EvtDeviceSelfManagedIoSuspend: Some(trampoline::self_managed_suspend::<D>),
        EvtDeviceSelfManagedIoRestart: Some(trampoline::self_managed_restart::<D>),
        EvtDeviceSurpriseRemoval: Some(trampoline::surprise_removal::<D>),
        EvtDeviceQueryRemove: Some(trampoline::query_remove::<D>),
        EvtDeviceQueryStop: Some(trampoline::query_stop::<D>),
        ..WDF_PNPPOWER_EVENT_CALLBACKS::new()
    }
}

/// A device whose context is not made yet.
pub struct NewDevice<D> {
    handle: WDFDEVICE,
    context: PhantomData<fn() -> D>,
}

impl<D> NewDevice<D> {
    pub(crate) const fn handle(&self) -> WDFDEVICE {
        self.handle
    }
}

/// A device and its context, for as long as one callback runs.
pub struct Device<'a, D> {
    handle: WDFDEVICE,
    context: &'a D,
}

impl<D> Clone for Device<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D> Copy for Device<'_, D> {}

impl<'a, D: DeviceEvents> Device<'a, D> {
    /// None when the device does not carry a `D` (yet).
    ///
    /// # Safety
    /// `handle` is a valid device for `'a`.
    pub(crate) unsafe fn from_handle(handle: WDFDEVICE) -> Option<Self> {
        // SAFETY: the caller's promise.
        unsafe { context::get::<D>(handle.object()) }.map(|context| Self { handle, context })
    }

    pub(crate) const fn handle(self) -> WDFDEVICE {
        self.handle
    }

    /// The context, which outlives this value.
    #[must_use]
    pub const fn context(self) -> &'a D {
        self.context
    }

    /// Registers a device interface. It is enabled when the device starts.
    ///
    /// # Errors
    /// What the framework says.
    pub fn create_interface(self, class: &GUID, passive: Passive<'_>) -> Result<()> {
        passive.check();
        // SAFETY: the device is valid; no reference string.
        unsafe { WdfDeviceCreateDeviceInterface(self.handle, class, core::ptr::null()) }.ok()
    }

    /// Makes a symbolic link to the device.
    ///
    /// # Errors
    /// `STATUS_OBJECT_NAME_COLLISION` when the name is taken; what else the framework says.
    pub fn create_symbolic_link(self, name: &[u16], passive: Passive<'_>) -> Result<()> {
        passive.check();
        let name = string::counted(name)?;
        // SAFETY: the device is valid; the framework copies the name.
        unsafe { WdfDeviceCreateSymbolicLink(self.handle, &raw const name) }.ok()
    }

    /// Declares the hardware failed. The framework stops the device, and starts it again when `restart` is set.
    pub fn set_failed(self, restart: bool) {
        let action = if restart {
            WDF_DEVICE_FAILED_ACTION::WdfDeviceFailedAttemptRestart
        } else {
            WDF_DEVICE_FAILED_ACTION::WdfDeviceFailedNoRestart
        };
        // SAFETY: the device is valid.
        unsafe { WdfDeviceSetFailed(self.handle, action) };
    }
}

impl<D> Deref for Device<'_, D> {
    type Target = D;

    fn deref(&self) -> &D {
        self.context
    }
}
