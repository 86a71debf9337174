//! WDFDEVICE_INIT: what a driver says about a device before it is created. The pointer that drivers hold is a handle like any other.

use alloc::vec::Vec;

use wdf_sys::wdf::*;
use wdf_sys::wdm::constants::{FILE_DEVICE_SECURE_OPEN, FILE_DEVICE_UNKNOWN};
use wdf_sys::wdm::{DEVICE_OBJECT, UNICODE_STRING};
use wdf_sys::{BOOLEAN, GUID, NTSTATUS, WDFDEVICE_INIT, WDFDRIVER};

use crate::call::{Call, ddi};
use crate::io::IoSettings;
use crate::object::attributes::Rules;
use crate::object::{Attributes, Body, Kind, Ref};
use crate::sync::{PASSIVE_LEVEL, SpinLock};
use crate::verifier::{self, Rule};

/// What kind of device a WDFDEVICE_INIT becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A function or filter device object on this physical one.
    Functional(*mut DEVICE_OBJECT),
    /// A control device object.
    Control,
}

/// A driver's preprocessor of IRPs with one major function.
#[derive(Clone)]
pub(crate) struct Preprocess {
    pub(crate) major: u8,
    pub(crate) callback: PFN_WDFDEVICE_WDM_IRP_PREPROCESS,
    /// Minor functions that it wants; empty for all.
    pub(crate) minors: Vec<u8>,
}

/// A state change callback.
#[derive(Clone, Copy)]
pub(crate) enum StateCallback {
    Pnp(WDF_DEVICE_PNP_STATE, PFN_WDF_DEVICE_PNP_STATE_CHANGE_NOTIFICATION, u32),
    Power(WDF_DEVICE_POWER_STATE, PFN_WDF_DEVICE_POWER_STATE_CHANGE_NOTIFICATION, u32),
    Policy(WDF_DEVICE_POWER_POLICY_STATE, PFN_WDF_DEVICE_POWER_POLICY_STATE_CHANGE_NOTIFICATION, u32),
}

/// Everything that is settled when the device is created.
pub(crate) struct Settings {
    pub(crate) role: Role,
    pub(crate) filter: bool,
    pub(crate) pnp: WDF_PNPPOWER_EVENT_CALLBACKS,
    pub(crate) policy: WDF_POWER_POLICY_EVENT_CALLBACKS,
    pub(crate) fdo: WDF_FDO_EVENT_CALLBACKS,
    /// As the driver said; a function driver owns the policy unless it said otherwise.
    pub(crate) policy_owner: Option<bool>,
    pub(crate) read_write_io_type: WDF_DEVICE_IO_TYPE,
    pub(crate) control_io_type: WDF_DEVICE_IO_TYPE,
    pub(crate) direct_threshold: u32,
    pub(crate) exclusive: bool,
    pub(crate) power_pageable: Option<bool>,
    pub(crate) power_inrush: bool,
    pub(crate) device_type: u32,
    pub(crate) characteristics: u32,
    pub(crate) name: Option<Vec<u16>>,
    pub(crate) security: Option<Vec<u16>>,
    pub(crate) class: Option<GUID>,
    pub(crate) preprocess: Vec<Preprocess>,
    pub(crate) state_callbacks: Vec<StateCallback>,
    pub(crate) shutdown: PFN_WDF_DEVICE_SHUTDOWN_NOTIFICATION,
    pub(crate) shutdown_flags: u8,
    pub(crate) remove_lock_for_io: bool,
    pub(crate) release_order: WDF_RELEASE_HARDWARE_ORDER_ON_FAILURE,
    /// WdfDeviceGetSelfIoTarget may be called.
    pub(crate) allow_self_target: bool,
    /// What queues, requests and files are told; taken out when the device is created.
    pub(crate) io: IoSettings,
}

// SAFETY: the raw pointer is to a physical device object, which outlives the devices attached to it.
unsafe impl Send for Settings {}
// SAFETY: as above; nothing changes once the device exists.
unsafe impl Sync for Settings {}

impl Settings {
    fn new(role: Role) -> Self {
        Self {
            role,
            filter: false,
            pnp: WDF_PNPPOWER_EVENT_CALLBACKS::zeroed(),
            policy: WDF_POWER_POLICY_EVENT_CALLBACKS::zeroed(),
            fdo: WDF_FDO_EVENT_CALLBACKS::zeroed(),
            policy_owner: None,
            read_write_io_type: WDF_DEVICE_IO_TYPE::WdfDeviceIoBuffered,
            control_io_type: WDF_DEVICE_IO_TYPE::WdfDeviceIoBuffered,
            direct_threshold: 0,
            exclusive: false,
            power_pageable: None,
            power_inrush: false,
            device_type: FILE_DEVICE_UNKNOWN,
            characteristics: FILE_DEVICE_SECURE_OPEN,
            name: None,
            security: None,
            class: None,
            preprocess: Vec::new(),
            state_callbacks: Vec::new(),
            shutdown: None,
            shutdown_flags: 0,
            remove_lock_for_io: false,
            release_order: WDF_RELEASE_HARDWARE_ORDER_ON_FAILURE::WdfReleaseHardwareOrderOnFailureEarly,
            allow_self_target: false,
            io: IoSettings::default(),
        }
    }

    /// Whether the device owns the power policy of its stack.
    pub(crate) fn owns_power_policy(&self) -> bool {
        self.policy_owner.unwrap_or(!self.filter && matches!(self.role, Role::Functional(_)))
    }
}

/// The object behind a WDFDEVICE_INIT pointer.
pub(crate) struct DeviceInit {
    settings: SpinLock<Option<Settings>>,
    /// The device made of it.
    device: SpinLock<Option<Ref<crate::device::Device>>>,
}

impl Body for DeviceInit {
    type Handle = *mut WDFDEVICE_INIT;
    const KIND: Kind = Kind::DeviceInit;
}

/// A new WDFDEVICE_INIT.
pub(crate) fn create(globals: &'static crate::globals::Globals, role: Role) -> Result<Ref<DeviceInit>, NTSTATUS> {
    let body = DeviceInit { settings: SpinLock::new(Some(Settings::new(role))), device: SpinLock::new(None) };
    crate::object::create(globals, &crate::object::Attributes::NONE, None, body)
}

impl DeviceInit {
    /// Takes the settings out, to create the device; `None` when a device was created already.
    pub(crate) fn take(&self) -> Option<Settings> {
        self.settings.lock().take()
    }

    /// Notes the device that was made.
    pub(crate) fn set_device(&self, device: &Ref<crate::device::Device>) {
        *self.device.lock() = Some(device.clone());
    }

    /// The device that was made, taken out.
    pub(crate) fn take_device(&self) -> Option<Ref<crate::device::Device>> {
        self.device.lock().take()
    }

    /// Puts them back, after the creation failed.
    pub(crate) fn put_back(&self, settings: Settings) {
        *self.settings.lock() = Some(settings);
    }
}

/// Changes the settings of a WDFDEVICE_INIT that the driver passed. A used one is a violation, and changes nothing.
pub(crate) fn change<R: Default>(call: &Call, init: *mut WDFDEVICE_INIT, change: impl FnOnce(&mut Settings) -> R) -> R {
    call.irql_at_most(PASSIVE_LEVEL);
    let init = call.object::<DeviceInit>(init);
    // Out of the lock, so that a change may allocate and call the kernel at any IRQL.
    let Some(mut settings) = init.take() else {
        if call.globals.verifies() {
            verifier::violation(
                call.globals,
                Rule::DeviceInit,
                init.any().raw() as usize,
                format_args!("{} with a WDFDEVICE_INIT whose device exists already", call.name()),
            );
        }
        return R::default();
    };
    let result = change(&mut settings);
    init.put_back(settings);
    result
}

/// A copy of UTF-16, allocated fallibly.
pub(crate) fn copy_units(units: &[u16]) -> Result<Vec<u16>, NTSTATUS> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(units.len()).map_err(|_| NTSTATUS::INSUFFICIENT_RESOURCES)?;
    copy.extend_from_slice(units);
    Ok(copy)
}

/// Adds to a list, fallibly.
fn push<T>(list: &mut Vec<T>, item: T) -> NTSTATUS {
    if list.try_reserve(1).is_err() {
        return NTSTATUS::INSUFFICIENT_RESOURCES;
    }
    list.push(item);
    NTSTATUS::SUCCESS
}

fn assign_string(
    call: &Call,
    init: *mut WDFDEVICE_INIT,
    string: *const UNICODE_STRING,
    place: fn(&mut Settings) -> &mut Option<Vec<u16>>,
) -> NTSTATUS {
    let copied = call.optional_string(string).and_then(|units| units.map(copy_units).transpose());
    match copied {
        Ok(value) => {
            change(call, init, |settings| *place(settings) = value);
            NTSTATUS::SUCCESS
        }
        Err(status) => status,
    }
}

fn set_io_type(settings: &mut Settings, read_write: WDF_DEVICE_IO_TYPE, control: WDF_DEVICE_IO_TYPE, threshold: u32) {
    settings.read_write_io_type = read_write;
    settings.control_io_type = control;
    settings.direct_threshold = threshold;
}

ddi! {
    fn WdfDeviceInitFree(call, init: *mut WDFDEVICE_INIT) {
        call.object::<DeviceInit>(init).delete();
    }

    fn WdfControlDeviceInitAllocate(call, driver: WDFDRIVER, security: *const UNICODE_STRING) -> *mut WDFDEVICE_INIT {
        call.irql_at_most(PASSIVE_LEVEL);
        let _ = call.object::<crate::driver::Driver>(driver);
        let Ok(security) = call.string(security).and_then(copy_units) else { return core::ptr::null_mut() };
        let Ok(init) = create(call.globals, Role::Control) else { return core::ptr::null_mut() };
        if let Some(settings) = &mut *init.settings.lock() {
            settings.security = Some(security);
        }
        init.handle()
    }

    fn WdfControlDeviceInitSetShutdownNotification(call, init: *mut WDFDEVICE_INIT, notification: PFN_WDF_DEVICE_SHUTDOWN_NOTIFICATION, flags: u8) {
        change(call, init, |settings| {
            settings.shutdown = notification;
            settings.shutdown_flags = flags;
        });
    }

    fn WdfDeviceInitSetPnpPowerEventCallbacks(call, init: *mut WDFDEVICE_INIT, callbacks: *mut WDF_PNPPOWER_EVENT_CALLBACKS) {
        // 1.9 had no EvtDeviceUsageNotificationEx.
        let Ok(callbacks) = call.sized(callbacks, &[136]) else { return };
        change(call, init, |settings| settings.pnp = callbacks);
    }

    fn WdfDeviceInitSetPowerPolicyEventCallbacks(call, init: *mut WDFDEVICE_INIT, callbacks: *mut WDF_POWER_POLICY_EVENT_CALLBACKS) {
        let Ok(callbacks) = call.sized(callbacks, &[]) else { return };
        change(call, init, |settings| settings.policy = callbacks);
    }

    fn WdfDeviceInitSetPowerPolicyOwnership(call, init: *mut WDFDEVICE_INIT, owner: BOOLEAN) {
        change(call, init, |settings| settings.policy_owner = Some(owner != 0));
    }

    fn WdfDeviceInitRegisterPnpStateChangeCallback(call, init: *mut WDFDEVICE_INIT, state: WDF_DEVICE_PNP_STATE, callback: PFN_WDF_DEVICE_PNP_STATE_CHANGE_NOTIFICATION, types: u32) -> NTSTATUS {
        if types == 0 || types & !7 != 0 || callback.is_none() {
            return NTSTATUS::INVALID_PARAMETER;
        }
        change(call, init, |settings| push(&mut settings.state_callbacks, StateCallback::Pnp(state, callback, types)))
    }

    fn WdfDeviceInitRegisterPowerStateChangeCallback(call, init: *mut WDFDEVICE_INIT, state: WDF_DEVICE_POWER_STATE, callback: PFN_WDF_DEVICE_POWER_STATE_CHANGE_NOTIFICATION, types: u32) -> NTSTATUS {
        if types == 0 || types & !7 != 0 || callback.is_none() {
            return NTSTATUS::INVALID_PARAMETER;
        }
        change(call, init, |settings| push(&mut settings.state_callbacks, StateCallback::Power(state, callback, types)))
    }

    fn WdfDeviceInitRegisterPowerPolicyStateChangeCallback(call, init: *mut WDFDEVICE_INIT, state: WDF_DEVICE_POWER_POLICY_STATE, callback: PFN_WDF_DEVICE_POWER_POLICY_STATE_CHANGE_NOTIFICATION, types: u32) -> NTSTATUS {
        if types == 0 || types & !7 != 0 || callback.is_none() {
            return NTSTATUS::INVALID_PARAMETER;
        }
        change(call, init, |settings| push(&mut settings.state_callbacks, StateCallback::Policy(state, callback, types)))
    }

    fn WdfDeviceInitSetIoType(call, init: *mut WDFDEVICE_INIT, io_type: WDF_DEVICE_IO_TYPE) {
        if !(1..=3).contains(&io_type.0) {
            if call.globals.verifies() {
                verifier::violation(call.globals, Rule::InvalidParameter, init as usize, format_args!(
                    "WdfDeviceInitSetIoType: {} is no I/O type", io_type.0));
            }
            return;
        }
        change(call, init, |settings| set_io_type(settings, io_type, WDF_DEVICE_IO_TYPE::WdfDeviceIoBuffered, 0));
    }

    fn WdfDeviceInitSetIoTypeEx(call, init: *mut WDFDEVICE_INIT, config: *mut WDF_IO_TYPE_CONFIG) {
        let Ok(config) = call.sized(config, &[]) else { return };
        change(call, init, |settings| {
            set_io_type(settings, config.ReadWriteIoType, config.DeviceControlIoType, config.DirectTransferThreshold);
        });
    }

    fn WdfDeviceInitSetExclusive(call, init: *mut WDFDEVICE_INIT, exclusive: BOOLEAN) {
        change(call, init, |settings| settings.exclusive = exclusive != 0);
    }

    fn WdfDeviceInitSetPowerNotPageable(call, init: *mut WDFDEVICE_INIT) {
        change(call, init, |settings| settings.power_pageable = Some(false));
    }

    fn WdfDeviceInitSetPowerPageable(call, init: *mut WDFDEVICE_INIT) {
        change(call, init, |settings| settings.power_pageable = Some(true));
    }

    fn WdfDeviceInitSetPowerInrush(call, init: *mut WDFDEVICE_INIT) {
        change(call, init, |settings| settings.power_inrush = true);
    }

    fn WdfDeviceInitSetDeviceType(call, init: *mut WDFDEVICE_INIT, device_type: u32) {
        change(call, init, |settings| settings.device_type = device_type);
    }

    fn WdfDeviceInitAssignName(call, init: *mut WDFDEVICE_INIT, name: *const UNICODE_STRING) -> NTSTATUS {
        assign_string(call, init, name, |settings| &mut settings.name)
    }

    fn WdfDeviceInitAssignSDDLString(call, init: *mut WDFDEVICE_INIT, security: *const UNICODE_STRING) -> NTSTATUS {
        assign_string(call, init, security, |settings| &mut settings.security)
    }

    fn WdfDeviceInitSetDeviceClass(call, init: *mut WDFDEVICE_INIT, class: *const GUID) {
        let class = *call.required(class);
        change(call, init, |settings| settings.class = Some(class));
    }

    fn WdfDeviceInitSetCharacteristics(call, init: *mut WDFDEVICE_INIT, characteristics: u32, add: BOOLEAN) {
        change(call, init, |settings| {
            settings.characteristics = if add != 0 { settings.characteristics | characteristics } else { characteristics };
        });
    }

    fn WdfDeviceInitAssignWdmIrpPreprocessCallback(call, init: *mut WDFDEVICE_INIT, callback: PFN_WDFDEVICE_WDM_IRP_PREPROCESS, major: u8, minors: *mut u8, minor_count: u32) -> NTSTATUS {
        if major > wdf_sys::wdm::constants::IRP_MJ_MAXIMUM_FUNCTION || callback.is_none() || minor_count > 256 {
            return NTSTATUS::INVALID_PARAMETER;
        }
        let given = call.bytes(minors.cast(), minor_count as usize);
        let mut minors = Vec::new();
        if minors.try_reserve_exact(given.len()).is_err() {
            return NTSTATUS::INSUFFICIENT_RESOURCES;
        }
        minors.extend_from_slice(given);
        change(call, init, |settings| {
            if settings.preprocess.iter().any(|other| other.major == major && !other.minors.is_empty() && !minors.is_empty()) {
                return NTSTATUS::INVALID_DEVICE_REQUEST;
            }
            settings.preprocess.retain(|other| other.major != major);
            push(&mut settings.preprocess, Preprocess { major, callback, minors })
        })
    }

    fn WdfDeviceInitSetFileObjectConfig(call, init: *mut WDFDEVICE_INIT, config: *mut WDF_FILEOBJECT_CONFIG, attributes: *mut WDF_OBJECT_ATTRIBUTES) {
        let Ok(config) = call.sized(config, &[]) else { return };
        let rules = Rules { execution_level: true, synchronization_scope: true, ..Rules::PARENT_FORBIDDEN };
        let Some(attributes) = readable(call, attributes, rules) else { return };
        change(call, init, |settings| {
            settings.io.file = Some(config);
            settings.io.file_attributes = attributes;
        });
    }

    fn WdfDeviceInitSetRequestAttributes(call, init: *mut WDFDEVICE_INIT, attributes: *mut WDF_OBJECT_ATTRIBUTES) {
        let Some(attributes) = readable(call, attributes, Rules::PARENT_FORBIDDEN) else { return };
        change(call, init, |settings| settings.io.request_attributes = attributes);
    }

    fn WdfDeviceInitSetIoInCallerContextCallback(call, init: *mut WDFDEVICE_INIT, callback: PFN_WDF_IO_IN_CALLER_CONTEXT) {
        change(call, init, |settings| settings.io.in_caller_context = callback);
    }

    fn WdfDeviceInitAllowSelfIoTarget(call, init: *mut WDFDEVICE_INIT) {
        change(call, init, |settings| settings.allow_self_target = true);
    }

    fn WdfDeviceInitSetRemoveLockOptions(call, init: *mut WDFDEVICE_INIT, options: *mut WDF_REMOVE_LOCK_OPTIONS) {
        let Ok(options) = call.sized(options, &[]) else { return };
        change(call, init, |settings| settings.remove_lock_for_io = options.Flags & WDF_REMOVE_LOCK_OPTION_ACQUIRE_FOR_IO != 0);
    }

    fn WdfDeviceInitSetReleaseHardwareOrderOnFailure(call, init: *mut WDFDEVICE_INIT, order: WDF_RELEASE_HARDWARE_ORDER_ON_FAILURE) {
        change(call, init, |settings| settings.release_order = order);
    }

    fn WdfFdoInitSetFilter(call, init: *mut WDFDEVICE_INIT) {
        change(call, init, |settings| settings.filter = true);
    }

    fn WdfFdoInitSetEventCallbacks(call, init: *mut WDFDEVICE_INIT, callbacks: *mut WDF_FDO_EVENT_CALLBACKS) {
        let Ok(callbacks) = call.sized(callbacks, &[]) else { return };
        change(call, init, |settings| settings.fdo = callbacks);
    }

    fn WdfFdoInitWdmGetPhysicalDevice(call, init: *mut WDFDEVICE_INIT) -> *mut DEVICE_OBJECT {
        physical_device(call, init)
    }
}

/// Attributes for objects that the framework will create later. Their function returns nothing: what is wrong with them is a violation.
fn readable(call: &Call, attributes: *const WDF_OBJECT_ATTRIBUTES, rules: Rules) -> Option<Attributes> {
    match Attributes::read(call, attributes, rules) {
        Ok(attributes) => Some(attributes),
        Err(status) => {
            if call.globals.verifies() {
                verifier::violation(
                    call.globals,
                    Rule::InvalidParameter,
                    0,
                    format_args!("{}: attributes: {status}", call.name()),
                );
            }
            None
        }
    }
}

/// The physical device that a WDFDEVICE_INIT from EvtDriverDeviceAdd is for; null for others.
pub(crate) fn physical_device(call: &Call, init: *mut WDFDEVICE_INIT) -> *mut DEVICE_OBJECT {
    let found = change(call, init, |settings| match settings.role {
        Role::Functional(physical) => physical.addr(),
        Role::Control => 0,
    });
    core::ptr::with_exposed_provenance_mut(found)
}
