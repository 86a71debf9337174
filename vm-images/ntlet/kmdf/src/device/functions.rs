//! What a driver asks and sets of its device object.

use core::ptr::null_mut;
use core::sync::atomic::Ordering;

use wdf_sys::wdf::{WDF_OBJECT_ATTRIBUTES, WDF_SPECIAL_FILE_TYPE};
use wdf_sys::wdm::constants::DO_DEVICE_INITIALIZING;
use wdf_sys::wdm::functions::IoOpenDeviceRegistryKey;
use wdf_sys::wdm::{DEVICE_OBJECT, UNICODE_STRING};
use wdf_sys::{BOOLEAN, NTSTATUS, WDFDEVICE, WDFDEVICE_INIT, WDFDRIVER, WDFKEY};

use super::Device;
use crate::call::{Call, ddi};
use crate::device_init::physical_device;
use crate::object::attributes::Rules;
use crate::object::{AnyRef, Attributes, Ref};
use crate::registry::Key;
use crate::sync::PASSIVE_LEVEL;
use crate::verifier::{self, Rule};

/// Opens the registry key of a physical device.
fn open_key(
    call: &Call,
    physical: *mut DEVICE_OBJECT,
    kind: u32,
    access: u32,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
    parent: Option<AnyRef>,
) -> Result<Ref<Key>, NTSTATUS> {
    let attributes = Attributes::read(call, attributes, Rules::ORDINARY)?;
    if physical.is_null() {
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    let mut handle = null_mut();
    // SAFETY: the stack's physical device; the result lives through the call.
    unsafe { IoOpenDeviceRegistryKey(physical, kind, access, &mut handle) }.ok()?;
    crate::object::create(call.globals, &attributes, parent.as_ref(), Key::over(handle))
}

ddi! {
    fn WdfDeviceWdmGetDeviceObject(call, device: WDFDEVICE) -> *mut DEVICE_OBJECT {
        call.object::<Device>(device).wdm()
    }

    fn WdfDeviceWdmGetAttachedDevice(call, device: WDFDEVICE) -> *mut DEVICE_OBJECT {
        call.object::<Device>(device).lower()
    }

    fn WdfDeviceWdmGetPhysicalDevice(call, device: WDFDEVICE) -> *mut DEVICE_OBJECT {
        call.object::<Device>(device).pdo()
    }

    fn WdfDeviceGetDriver(call, device: WDFDEVICE) -> WDFDRIVER {
        let device = call.object::<Device>(device);
        device.any().globals().driver().map_or(WDFDRIVER::NULL, |driver| WDFDRIVER(driver.raw()))
    }

    fn WdfDeviceSetCharacteristics(call, device: WDFDEVICE, characteristics: u32) {
        let device = call.object::<Device>(device);
        // SAFETY: our device object.
        unsafe { (*device.wdm()).Characteristics = characteristics };
    }

    fn WdfDeviceGetCharacteristics(call, device: WDFDEVICE) -> u32 {
        let device = call.object::<Device>(device);
        // SAFETY: our device object.
        unsafe { (*device.wdm()).Characteristics }
    }

    fn WdfDeviceGetAlignmentRequirement(call, device: WDFDEVICE) -> u32 {
        let device = call.object::<Device>(device);
        // SAFETY: our device object.
        unsafe { (*device.wdm()).AlignmentRequirement }
    }

    fn WdfDeviceSetAlignmentRequirement(call, device: WDFDEVICE, alignment: u32) {
        let device = call.object::<Device>(device);
        // SAFETY: our device object.
        unsafe { (*device.wdm()).AlignmentRequirement = alignment };
    }

    fn WdfControlFinishInitializing(call, device: WDFDEVICE) {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        if !device.is_control() {
            if call.globals.verifies() {
                verifier::violation(call.globals, Rule::WrongState, device.any().raw() as usize, format_args!(
                    "WdfControlFinishInitializing is for control devices"));
            }
            return;
        }
        device.finished.store(true, Ordering::Release);
        // SAFETY: our device object.
        unsafe { (*device.wdm()).Flags &= !DO_DEVICE_INITIALIZING };
    }

    fn WdfDeviceSetSpecialFileSupport(call, device: WDFDEVICE, kind: WDF_SPECIAL_FILE_TYPE, supported: BOOLEAN) {
        let device = call.object::<Device>(device);
        if !(1..5).contains(&kind.0) {
            if call.globals.verifies() {
                verifier::violation(call.globals, Rule::InvalidParameter, device.any().raw() as usize, format_args!(
                    "WdfDeviceSetSpecialFileSupport: {} is no file type", kind.0));
            }
            return;
        }
        let bit = 1 << kind.0;
        if supported != 0 {
            device.special_files.fetch_or(bit, Ordering::Relaxed);
        } else {
            device.special_files.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    fn WdfDeviceOpenRegistryKey(call, device: WDFDEVICE, kind: u32, access: u32, attributes: *mut WDF_OBJECT_ATTRIBUTES, key: *mut WDFKEY) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        call.write(key, WDFKEY::NULL);
        let device = call.object::<Device>(device);
        let opened = open_key(call, device.pdo(), kind, access, attributes, Some(device.any().clone()));
        call.created(key, opened)
    }

    fn WdfDeviceOpenDevicemapKey(call, device: WDFDEVICE, name: *const UNICODE_STRING, access: u32, attributes: *mut WDF_OBJECT_ATTRIBUTES, key: *mut WDFKEY) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        call.write(key, WDFKEY::NULL);
        let device = call.object::<Device>(device);
        let opened = Attributes::read(call, attributes, Rules::ORDINARY)
            .and_then(|attributes| crate::registry::open_device_map(call, call.string(name)?, access, &attributes, device.any()));
        call.created(key, opened)
    }

    fn WdfFdoInitOpenRegistryKey(call, init: *mut WDFDEVICE_INIT, kind: u32, access: u32, attributes: *mut WDF_OBJECT_ATTRIBUTES, key: *mut WDFKEY) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        call.write(key, WDFKEY::NULL);
        let opened = open_key(call, physical_device(call, init), kind, access, attributes, call.globals.driver());
        call.created(key, opened)
    }
}
