//! What the registry says of the probe.

use wdf::{Result, utf16};
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
