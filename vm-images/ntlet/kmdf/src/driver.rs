//! WDFDRIVER: creation, EvtDriverDeviceAdd, unload, and what a driver asks of itself.

use alloc::vec::Vec;
use core::ptr::null_mut;

use wdf_sys::wdf::*;
use wdf_sys::wdm::{DEVICE_OBJECT, DRIVER_OBJECT, UNICODE_STRING};
use wdf_sys::{BOOLEAN, NTSTATUS, WDFDRIVER, WDFKEY, WDFSTRING};

use crate::call::{Call, ddi, later};
use crate::device_init::{self, Role, copy_units};
use crate::globals::Globals;
use crate::history::Event;
use crate::object::attributes::Rules;
use crate::object::{Attributes, Body, Handle, Kind, NOT_DELETABLE, Ref, tree};
use crate::string::Text;
use crate::sync::PASSIVE_LEVEL;
use crate::verifier::{self, Rule};

/// STATUS_DRIVER_INTERNAL_ERROR.
const DRIVER_INTERNAL_ERROR: NTSTATUS = NTSTATUS(0xc000_0183_u32 as i32);

/// How long a driver's objects may take to go when it is unloaded.
const UNLOAD_MILLISECONDS: u32 = 5_000;

/// Body of a WDFDRIVER.
pub(crate) struct Driver {
    config: WDF_DRIVER_CONFIG,
    /// The driver's registry path, with a terminating zero.
    registry_path: Vec<u16>,
}

impl Body for Driver {
    type Handle = WDFDRIVER;
    const KIND: Kind = Kind::Driver;
}

impl Driver {
    /// Key of the driver's service, without the terminating zero.
    pub(crate) fn registry_path(&self) -> &[u16] {
        self.registry_path.strip_suffix(&[0]).unwrap_or(&self.registry_path)
    }
}

/// The WDFDRIVER of a bound driver.
pub(crate) fn of(globals: &Globals) -> Option<Ref<Driver>> {
    globals.driver()?.downcast().ok()
}

unsafe extern "win64" fn add_device(driver_object: *mut DRIVER_OBJECT, physical: *mut DEVICE_OBJECT) -> NTSTATUS {
    let Some(globals) = Globals::of_driver_object(driver_object) else { return NTSTATUS::INVALID_DEVICE_STATE };
    let Some(driver) = of(globals) else { return NTSTATUS::INVALID_DEVICE_STATE };
    let Some(callback) = driver.config.EvtDriverDeviceAdd else { return NTSTATUS::SUCCESS };
    let init = match device_init::create(globals, Role::Functional(physical)) {
        Ok(init) => init,
        Err(status) => return status,
    };
    // SAFETY: the driver's callback, at PASSIVE_LEVEL, with a WDFDEVICE_INIT that lives until it becomes a device.
    let status = driver.any().guarded(callback as usize, || unsafe { callback(driver.handle(), init.handle()) });
    globals.history.record(Event::DeviceAdd, init.any().raw() as usize, status.bits() as usize, 0);
    let device = init.take_device();
    // Deleted already when a device was made of it; a driver that made none may leave it to us.
    init.delete();
    match device {
        Some(device) if !status.is_success() => crate::pnp::irp::discard(&device),
        Some(device) => crate::pnp::state::set_pnp(&device, WDF_DEVICE_PNP_STATE::WdfDevStatePnpInit),
        None => {}
    }
    if status == NTSTATUS::PENDING && globals.verifies() {
        verifier::violation(globals, Rule::CallbackStatus, 0, format_args!("EvtDriverDeviceAdd returned STATUS_PENDING"));
    }
    status
}

unsafe extern "win64" fn unload(driver_object: *mut DRIVER_OBJECT) {
    if let Some(globals) = Globals::of_driver_object(driver_object)
        && let Some(driver) = of(globals)
        && let Some(callback) = driver.config.EvtDriverUnload
    {
        // SAFETY: the driver's callback, at PASSIVE_LEVEL, when it has no device left.
        driver.any().guarded(callback as usize, || unsafe { callback(driver.handle()) });
    }
}

/// Deletes the driver's objects, at unbind. Reports what stays.
pub(crate) fn delete_objects(globals: &'static Globals) {
    let Some(driver) = globals.take_driver() else { return };
    driver.clear_flags(NOT_DELETABLE);
    if !tree::delete_root(driver, UNLOAD_MILLISECONDS) && globals.verifies() {
        let live = globals.live_objects.load(core::sync::atomic::Ordering::Acquire);
        verifier::violation(
            globals,
            Rule::ObjectLeaked,
            0,
            format_args!("{live} objects are left when the driver unloads; a reference was taken and not given back"),
        );
    }
}

fn create(
    call: &Call,
    driver_object: *mut DRIVER_OBJECT,
    path: &[u16],
    attributes: &Attributes,
    config: WDF_DRIVER_CONFIG,
) -> Result<Ref<Driver>, NTSTATUS> {
    if call.globals.driver().is_some() {
        if call.globals.verifies() {
            verifier::violation(call.globals, Rule::DriverCreate, 0, format_args!("WdfDriverCreate was called more than once"));
        }
        return Err(DRIVER_INTERNAL_ERROR);
    }
    let non_pnp = config.DriverInitFlags & WdfDriverInitNonPnpDriver != 0;
    if non_pnp && config.EvtDriverDeviceAdd.is_some() {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    let mut registry_path = copy_units(path)?;
    registry_path.try_reserve_exact(1).map_err(|_| NTSTATUS::INSUFFICIENT_RESOURCES)?;
    registry_path.push(0);
    if config.DriverPoolTag != 0 {
        call.globals.set_tag(config.DriverPoolTag);
    }
    let driver = crate::object::create(call.globals, attributes, None, Driver { config, registry_path })?;
    driver.any().set_flags(NOT_DELETABLE);
    call.globals.set_driver(driver.any().clone(), driver.any().raw());
    // SAFETY: the driver object that the kernel handed to the driver, whose DriverEntry runs.
    unsafe {
        if config.DriverInitFlags & WdfDriverInitNoDispatchOverride == 0 {
            crate::device::dispatch::install(driver_object);
        }
        if !non_pnp && let Some(extension) = (*driver_object).DriverExtension.as_mut() {
            extension.AddDevice = Some(add_device);
        }
        // A non-PnP driver unloads only if it says how.
        if !non_pnp || config.EvtDriverUnload.is_some() {
            (*driver_object).DriverUnload = Some(unload);
            call.globals.set_displace_unload(true);
        }
    }
    Ok(driver)
}

ddi! {
    fn WdfDriverCreate(call, driver_object: *mut DRIVER_OBJECT, path: *const UNICODE_STRING, attributes: *mut WDF_OBJECT_ATTRIBUTES, config: *mut WDF_DRIVER_CONFIG, driver: *mut WDFDRIVER) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let _ = (call.required(driver_object), call.required(config), call.required(path));
        call.write_optional(driver, WDFDRIVER::NULL);
        // 1.9 and before had no DriverPoolTag.
        let created = call.sized(config, &[24]).and_then(|config| {
            let attributes = Attributes::read(call, attributes, Rules::SYNCHRONIZED)?;
            create(call, driver_object, call.string(path)?, &attributes, config)
        });
        match created {
            Ok(created) => {
                call.write_optional(driver, created.handle());
                NTSTATUS::SUCCESS
            }
            Err(status) => {
                crate::report!(call.globals, "WdfDriverCreate failed: {status}");
                status
            }
        }
    }

    fn WdfDriverGetRegistryPath(call, driver: WDFDRIVER) -> *mut u16 {
        call.object::<Driver>(driver).registry_path.as_ptr().cast_mut()
    }

    fn WdfDriverWdmGetDriverObject(call, driver: WDFDRIVER) -> *mut DRIVER_OBJECT {
        call.object::<Driver>(driver).any().globals().driver_object
    }

    fn WdfDriverRetrieveVersionString(call, driver: WDFDRIVER, string: WDFSTRING) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let _ = call.object::<Driver>(driver);
        let string = call.object::<Text>(string);
        let mut units = [0_u16; 64];
        let text = "Kernel Mode Driver Framework, ntlet, version 1.33";
        for (unit, byte) in units.iter_mut().zip(text.bytes()) {
            *unit = byte.into();
        }
        string.set(&units[..text.len()]).err().unwrap_or(NTSTATUS::SUCCESS)
    }

    fn WdfDriverIsVersionAvailable(call, driver: WDFDRIVER, parameters: *mut WDF_DRIVER_VERSION_AVAILABLE_PARAMS) -> BOOLEAN {
        let _ = call.object::<Driver>(driver);
        let Ok(wanted) = call.sized(parameters, &[]) else { return 0 };
        (wanted.MajorVersion == 1 && wanted.MinorVersion <= 33).into()
    }

    fn WdfDriverOpenParametersRegistryKey(call, driver: WDFDRIVER, access: u32, attributes: *mut WDF_OBJECT_ATTRIBUTES, key: *mut WDFKEY) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let driver = call.object::<Driver>(driver);
        call.write(key, WDFKEY::from_raw(null_mut()));
        let opened = Attributes::read(call, attributes, Rules::ORDINARY)
            .and_then(|attributes| crate::registry::open_parameters(call, &driver, access, &attributes));
        call.created(key, opened)
    }
}

later! { LATER:
    fn WdfDriverOpenPersistentStateRegistryKey[451](call, driver: WDFDRIVER, access: u32, attributes: *mut WDF_OBJECT_ATTRIBUTES, key: *mut WDFKEY) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let driver = call.object::<Driver>(driver);
        call.write(key, WDFKEY::from_raw(null_mut()));
        let opened = Attributes::read(call, attributes, Rules::ORDINARY)
            .and_then(|attributes| crate::registry::open_persistent_state(call, &driver, access, &attributes));
        call.created(key, opened)
    }
}
