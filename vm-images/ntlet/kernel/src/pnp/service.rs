//! Services: a driver by the name of its service, loaded once, unloaded when it has no devices any more.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::{DRIVER_OBJECT, UNICODE_STRING};

use super::pci;
use crate::archive::Archive;
use crate::io::{device, driver, watch};
use crate::loader::{self, Loaded};
use crate::lock::SpinLock;
use crate::object::{ObjectRef, name};
use crate::registry;

/// A driver that is in memory.
#[derive(Debug)]
struct Service {
    name: String,
    driver: ObjectRef,
    /// `None` for drivers that are part of the image.
    image: Option<Loaded>,
    /// Not a driver of PnP devices: its devices are its own to delete when it is unloaded.
    is_legacy: bool,
}

static SERVICES: SpinLock<Vec<Service>> = SpinLock::new(Vec::new());
static ARCHIVE: SpinLock<&'static [u8]> = SpinLock::new(&[]);

/// Where driver files are looked for.
pub(crate) fn set_archive(archive: &'static [u8]) {
    *ARCHIVE.lock() = archive;
}

/// Makes a driver of a test that of a service.
#[cfg(test)]
pub(super) fn add(service: &str, driver: ObjectRef) {
    SERVICES.lock().push(Service { name: service.into(), driver, image: None, is_legacy: false });
}

/// The driver of a service; loaded if it is not in memory yet. What goes wrong is logged with its reason.
pub(crate) fn load(service: &str) -> Result<ObjectRef, NTSTATUS> {
    let known = SERVICES.lock().iter().find(|known| known.name.eq_ignore_ascii_case(service)).map(|known| known.driver.clone());
    if let Some(driver) = known {
        return Ok(driver);
    }
    let (driver, image) = match service {
        pci::SERVICE => (pci::create_driver()?, None),
        crate::serial::SERVICE => (crate::serial::create_driver()?, None),
        _ => load_file(service)?,
    };
    // SAFETY: the driver object is alive. A driver of PnP devices has an AddDevice routine.
    let is_legacy = unsafe { (*(*driver.body().cast::<DRIVER_OBJECT>()).DriverExtension).AddDevice.is_none() };
    SERVICES.lock().push(Service { name: service.into(), driver: driver.clone(), image, is_legacy });
    Ok(driver)
}

fn load_file(service: &str) -> Result<(ObjectRef, Option<Loaded>), NTSTATUS> {
    let key = format!("{}\\{service}", registry::SERVICES);
    let Some(path) = registry::get_string(&key, "ImagePath") else {
        crate::log!("there is no service {service}");
        return Err(NTSTATUS::OBJECT_NAME_NOT_FOUND);
    };
    let file = path.rsplit(['\\', '/']).next().unwrap_or(&path);
    let archive = *ARCHIVE.lock();
    let Some(bytes) = Archive::new(archive).find(file) else {
        crate::log!("service {service}: {file} is not in the archive");
        return Err(NTSTATUS::NO_SUCH_FILE);
    };
    let mut image = loader::load_driver(file, bytes).map_err(|error| {
        crate::log!("service {service}: {error}");
        error.status()
    })?;
    let driver = match driver::create(service) {
        Ok(driver) => driver,
        Err(status) => {
            // SAFETY: nothing of the driver has run.
            unsafe { loader::unload(image) };
            return Err(status);
        }
    };
    match enter(&driver, &image, service) {
        status if status.is_success() => {
            // SAFETY: the driver object is alive, and its entry has succeeded.
            unsafe { device::make_ready(driver.body().cast()) };
            image.discard_init();
            // SAFETY: as above.
            unsafe { driver::initialize_again(driver.body().cast(), service) };
            Ok((driver, Some(image)))
        }
        status => {
            crate::log!("service {service}: the DriverEntry of {file} failed with {status}");
            driver::remove_name(&driver);
            drop(driver);
            // SAFETY: a driver whose entry fails has undone what it began.
            unsafe { loader::unload(image) };
            Err(status)
        }
    }
}

/// Calls `DriverEntry`.
fn enter(driver: &ObjectRef, image: &Loaded, service: &str) -> NTSTATUS {
    let path = name::wide(&format!("\\Registry\\{}\\{service}", registry::SERVICES));
    let Some(mut path) = UNICODE_STRING::new(&path) else { return NTSTATUS::OBJECT_NAME_INVALID };
    let object: *mut DRIVER_OBJECT = driver.body().cast();
    // SAFETY: the driver object is new; the entry is that of a loaded image, whose type is this by definition. An image without
    // an entry is refused by the loader.
    unsafe {
        (*object).DriverStart = core::ptr::with_exposed_provenance_mut(image.module.base());
        (*object).DriverSize = image.module.size() as u32;
        (*object).DriverInit = core::mem::transmute::<usize, wdf_sys::wdm::PDRIVER_INITIALIZE>(image.entry);
        match (*object).DriverInit {
            Some(entry) => watch::call("DriverEntry", service, image.entry, || entry(object, &raw mut path)),
            None => NTSTATUS::INVALID_IMAGE_FORMAT,
        }
    }
}

/// Unloads the driver of a service, if it has no devices of PnP any more.
pub(crate) fn unload_if_idle(service: &str) {
    let entry = {
        let mut services = SERVICES.lock();
        let at = services.iter().position(|known| known.name.eq_ignore_ascii_case(service));
        let Some(at) = at else { return };
        // SAFETY: the service has a reference to its driver object.
        let has_devices = unsafe { !(*services[at].driver.body().cast::<DRIVER_OBJECT>()).DeviceObject.is_null() };
        if has_devices && !services[at].is_legacy || services[at].image.is_none() {
            return;
        }
        services.swap_remove(at)
    };
    let object: *mut DRIVER_OBJECT = entry.driver.body().cast();
    // SAFETY: as above; the driver has no devices, so that nothing of it runs but what it waits for in its unload routine.
    let unload = unsafe { (*object).DriverUnload };
    let Some(unload) = unload else {
        crate::log!("{service} has no unload routine and stays");
        SERVICES.lock().push(entry);
        return;
    };
    // SAFETY: the routine is the driver's own.
    watch::call("DriverUnload", service, unload as usize, || unsafe { unload(object) });
    driver::remove_name(&entry.driver);
    drop(entry.driver);
    if let Some(image) = entry.image {
        // SAFETY: the driver has unloaded itself: no device, no thread and no callback of it is left.
        unsafe { loader::unload(image) };
    }
    // The harness reads this line when a package brings no suite.
    crate::log!("service {service}: unloaded");
}

/// Unloads every driver that can be, for the shutdown.
pub(crate) fn unload_all() {
    let names: Vec<String> = SERVICES.lock().iter().rev().map(|service| service.name.clone()).collect();
    names.iter().for_each(|name| unload_if_idle(name));
}
