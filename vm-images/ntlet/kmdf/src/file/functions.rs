//! `WdfFileObject…`, and the device's calls about files.

use wdf_sys::wdm::{FILE_OBJECT, UNICODE_STRING};
use wdf_sys::{WDFDEVICE, WDFFILEOBJECT};

use super::File;
use crate::call::{ddi, later};
use crate::device::Device;

ddi! {
    fn WdfDeviceGetFileObject(call, device: WDFDEVICE, file: *mut FILE_OBJECT) -> WDFFILEOBJECT {
        let device = call.object::<Device>(device);
        device.io.files.find(file).map_or(WDFFILEOBJECT::NULL, |file| file.handle())
    }

    fn WdfFileObjectGetFileName(call, file: WDFFILEOBJECT) -> *mut UNICODE_STRING {
        let file = call.object::<File>(file);
        // SAFETY: the kernel's object outlives its close, with which this object goes.
        unsafe { &raw mut (*file.wdm()).FileName }
    }

    fn WdfFileObjectGetFlags(call, file: WDFFILEOBJECT) -> u32 {
        let file = call.object::<File>(file);
        // SAFETY: as above.
        unsafe { (*file.wdm()).Flags }
    }

    fn WdfFileObjectGetDevice(call, file: WDFFILEOBJECT) -> WDFDEVICE {
        call.object::<File>(file).device.handle()
    }

    fn WdfFileObjectWdmGetFileObject(call, file: WDFFILEOBJECT) -> *mut FILE_OBJECT {
        call.object::<File>(file).wdm()
    }
}

later! { LATER:
    fn WdfFileObjectGetInitiatorProcessId[446](call, file: WDFFILEOBJECT) -> u32 {
        call.object::<File>(file).initiator
    }
}
