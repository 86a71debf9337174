//! What registry, framework and kernel say of the driver as a whole.

use wdf::{Result, utf16};
use wdf_sys::wdf::WDF_DRIVER_CONFIG;
use wdf_sys::wdf::functions::*;
use wdf_sys::wdm::UNICODE_STRING;
use wdf_sys::wdm::constants::KEY_READ;
use wdf_sys::{NTSTATUS, WDFKEY};

/// A key that is closed when it is dropped.
struct Key(WDFKEY);

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: opened once, closed once.
        unsafe { WdfRegistryClose(self.0) };
    }
}

fn name(units: &[u16]) -> Result<UNICODE_STRING> {
    UNICODE_STRING::new(units).ok_or(NTSTATUS::OBJECT_NAME_INVALID)
}

/// Whether the framework's verifier is on: `VerifierOn` below `Parameters\Wdf` of the driver's service. At PASSIVE_LEVEL.
///
/// # Errors
/// There is no such key or value.
pub(crate) fn verifier() -> Result<bool> {
    let none = core::ptr::null_mut();
    let mut key = WDFKEY::NULL;
    // SAFETY: the globals were filled in by the bind.
    let driver = unsafe { (*wdf_sys::bind::globals()).Driver };
    // SAFETY: the driver is valid.
    unsafe { WdfDriverOpenParametersRegistryKey(driver, KEY_READ, none, &raw mut key) }.ok()?;
    let parameters = Key(key);
    let wdf = name(utf16!("Wdf"))?;
    // SAFETY: the key above is open.
    unsafe { WdfRegistryOpenKey(parameters.0, &raw const wdf, KEY_READ, none, &raw mut key) }.ok()?;
    let wdf = Key(key);
    let (value, mut on) = (name(utf16!("VerifierOn"))?, 0);
    // SAFETY: the key is open.
    unsafe { WdfRegistryQueryULong(wdf.0, &raw const value, &raw mut on) }.ok()?;
    Ok(on != 0)
}

/// WdfDriverCreate, when the driver has long been created. At PASSIVE_LEVEL.
pub(crate) fn create_driver_again() -> NTSTATUS {
    // SAFETY: the globals were filled in by the bind.
    let driver = unsafe { (*wdf_sys::bind::globals()).Driver };
    // SAFETY: the driver is valid.
    let object = unsafe { WdfDriverWdmGetDriverObject(driver) };
    let Ok(path) = name(utf16!(r"\Registry\Machine\System\CurrentControlSet\Services\probe")) else {
        return NTSTATUS::OBJECT_NAME_INVALID;
    };
    let mut config = WDF_DRIVER_CONFIG::new(None);
    let none = core::ptr::null_mut();
    // SAFETY: the driver object is the probe's; the framework is to refuse.
    unsafe { WdfDriverCreate(object, &raw const path, none, &raw mut config, core::ptr::null_mut()) }
}

/// The addresses that probe.sys takes.
pub(crate) fn image() -> Option<core::ops::Range<u64>> {
    // SAFETY: the globals were filled in by the bind; the driver's object outlives its code.
    let object = unsafe { WdfDriverWdmGetDriverObject((*wdf_sys::bind::globals()).Driver).as_ref() }?;
    let start = object.DriverStart.expose_provenance() as u64;
    Some(start..start + u64::from(object.DriverSize))
}
