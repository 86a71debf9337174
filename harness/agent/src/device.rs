//! Devices that no bus finds: a device node under the root, with a hardware id, and the driver for it. The libraries are loaded when they are
//! needed: the system that Setup runs on does not have them all.
#![allow(non_snake_case, reason = "the system's own names")]

use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::{null, null_mut};

use crate::kernel32::{self, Refused};
use crate::text::wide;

const LONGEST_CLASS: usize = 32;
const GENERATE_ID: u32 = 1;
const HARDWARE_ID: u32 = 1;
const REGISTER_DEVICE: u32 = 0x19;
const FORCE: u32 = 1;
const INVALID_LIST: isize = -1;

/// `SP_DEVINFO_DATA`.
#[repr(C)]
struct DeviceData {
    size: u32,
    class: [u8; 16],
    instance: u32,
    reserved: usize,
}

const _: () = assert!(size_of::<DeviceData>() == 32);

type GetInfClass = unsafe extern "system" fn(*const u16, *mut [u8; 16], *mut u16, u32, *mut u32) -> i32;
type CreateList = unsafe extern "system" fn(*const [u8; 16], *const c_void) -> *mut c_void;
type DestroyList = unsafe extern "system" fn(*mut c_void) -> i32;
type CreateDevice =
    unsafe extern "system" fn(*mut c_void, *const u16, *const [u8; 16], *const u16, *const c_void, u32, *mut DeviceData) -> i32;
type SetProperty = unsafe extern "system" fn(*mut c_void, *mut DeviceData, u32, *const u8, u32) -> i32;
type CallInstaller = unsafe extern "system" fn(u32, *mut c_void, *mut DeviceData) -> i32;
type UpdateDriver = unsafe extern "system" fn(*const c_void, *const u16, *const u16, u32, *mut i32) -> i32;

/// A loaded library; it stays loaded.
struct Library(kernel32::Handle);

impl Library {
    fn load(name: &str) -> Result<Self, Refused> {
        let name = wide(name);
        // SAFETY: the name ends with a zero.
        let library = unsafe { kernel32::LoadLibraryW(name.as_ptr()) };
        if library.is_null() { Err(Refused::last("LoadLibrary")) } else { Ok(Self(library)) }
    }

    /// A function of it, by its name.
    ///
    /// # Safety
    /// `F` is a pointer to a function of the type that the library's has.
    unsafe fn function<F: Copy>(&self, name: &core::ffi::CStr) -> Result<F, Refused> {
        const { assert!(size_of::<F>() == size_of::<*const c_void>()) };
        // SAFETY: the library is loaded, the name ends with a zero.
        let found = unsafe { kernel32::GetProcAddress(self.0, name.as_ptr().cast()) };
        if found.is_null() {
            return Err(Refused::last("GetProcAddress"));
        }
        // SAFETY: the sizes are the same, and the caller vouches for the type.
        Ok(unsafe { core::mem::transmute_copy(&found) })
    }
}

/// Makes the device and installs its driver.
pub(crate) fn add(hardware_id: &str, inf: &str) -> Result<(), Refused> {
    let inf = wide(inf);
    let setup = Library::load("setupapi.dll")?;
    // SAFETY: the types are those of the functions of these names, as the system's documentation has them.
    let (class_of, create_list, destroy_list, create, set, call): (
        GetInfClass,
        CreateList,
        DestroyList,
        CreateDevice,
        SetProperty,
        CallInstaller,
    ) = unsafe {
        (
            setup.function(c"SetupDiGetINFClassW")?,
            setup.function(c"SetupDiCreateDeviceInfoList")?,
            setup.function(c"SetupDiDestroyDeviceInfoList")?,
            setup.function(c"SetupDiCreateDeviceInfoW")?,
            setup.function(c"SetupDiSetDeviceRegistryPropertyW")?,
            setup.function(c"SetupDiCallClassInstaller")?,
        )
    };
    let (mut class, mut name) = ([0; 16], [0; LONGEST_CLASS]);
    // SAFETY: `class` and `name` are locals with the room that is named.
    let done = unsafe { class_of(inf.as_ptr(), &mut class, name.as_mut_ptr(), LONGEST_CLASS as u32, null_mut()) };
    Refused::unless(done, "SetupDiGetINFClass")?;
    // SAFETY: the class is a local; no window.
    let list = unsafe { create_list(&class, null()) };
    if list as isize == INVALID_LIST {
        return Err(Refused::last("SetupDiCreateDeviceInfoList"));
    }
    let mut data = DeviceData { size: size_of::<DeviceData>() as u32, class: [0; 16], instance: 0, reserved: 0 };
    // A list of one id: it ends with two zeros.
    let ids: Vec<u8> = hardware_id.encode_utf16().chain([0, 0]).flat_map(u16::to_le_bytes).collect();
    let made = (|| {
        // SAFETY: the list is open, every pointer is to a local or null where that is allowed, and lengths are those of the buffers.
        unsafe {
            let done = create(list, name.as_ptr(), &class, null(), null(), GENERATE_ID, &mut data);
            Refused::unless(done, "SetupDiCreateDeviceInfo")?;
            let done = set(list, &mut data, HARDWARE_ID, ids.as_ptr(), ids.len() as u32);
            Refused::unless(done, "SetupDiSetDeviceRegistryProperty")?;
            Refused::unless(call(REGISTER_DEVICE, list, &mut data), "SetupDiCallClassInstaller")
        }
    })();
    // SAFETY: the list is open and not used again.
    let _ = unsafe { destroy_list(list) };
    made?;
    let newdev = Library::load("newdev.dll")?;
    // SAFETY: as above.
    let update: UpdateDriver = unsafe { newdev.function(c"UpdateDriverForPlugAndPlayDevicesW")? };
    let (id, mut wants_restart) = (wide(hardware_id), 0);
    // SAFETY: both texts end with a zero; no window; the flag is a local.
    let done = unsafe { update(null(), id.as_ptr(), inf.as_ptr(), FORCE, &mut wants_restart) };
    Refused::unless(done, "UpdateDriverForPlugAndPlayDevices")
}
