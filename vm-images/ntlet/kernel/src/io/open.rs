//! Opening by name: from a path to a file object and a handle.

use alloc::vec::Vec;

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::{DEVICE_OBJECT, FILE_OBJECT, IO_SECURITY_CONTEXT, IRP, UNICODE_STRING};
use wdf_sys::{HANDLE, NTSTATUS};

use super::wait;
use super::watch::Patience;
use super::{device, driver, file, units};
use crate::object::{self, ObjectRef, handle::KERNEL_HANDLES};

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OpenOptions {
    pub(crate) access: u32,
    pub(crate) attributes: u32,
    pub(crate) share: u32,
    pub(crate) disposition: u32,
    pub(crate) options: u32,
    pub(crate) mode: i8,
}

const FILE_DIRECTORY_FILE: u32 = 0x01;
const FILE_NON_DIRECTORY_FILE: u32 = 0x40;
const VALID_OPTIONS: u32 = 0x00ff_ffff;
const MAXIMUM_DISPOSITION: u32 = 5;
const GENERIC_EXECUTE: u32 = 0x2000_0000;
const GENERIC_ALL: u32 = 0x1000_0000;
const MAXIMUM_ALLOWED: u32 = 0x0200_0000;
const FILE_ALL_ACCESS: u32 = 0x001f_01ff;

/// Replaces generic access rights by those of files.
pub(crate) const fn file_access(access: u32) -> u32 {
    let mut specific = access & 0x01ff_ffff;
    if access & GENERIC_READ != 0 {
        specific |= 0x0012_0089;
    }
    if access & GENERIC_WRITE != 0 {
        specific |= 0x0012_0116;
    }
    if access & GENERIC_EXECUTE != 0 {
        specific |= 0x0012_00a0;
    }
    if access & (GENERIC_ALL | MAXIMUM_ALLOWED) != 0 {
        specific |= FILE_ALL_ACCESS;
    }
    specific
}

/// `ACCESS_STATE`, as far as drivers look into it.
#[repr(C)]
struct AccessState {
    reserved: [u32; 4],
    remaining: u32,
    granted: u32,
    original: u32,
    more: [u64; 16],
}

/// Opens a path, relative to `root` if that is a file. Returns the file object and what `Information` says.
pub(crate) fn open(root: Option<ObjectRef>, path: &[u16], options: OpenOptions) -> Result<(ObjectRef, usize), NTSTATUS> {
    let synchronous = options.options & (FILE_SYNCHRONOUS_IO_ALERT | FILE_SYNCHRONOUS_IO_NONALERT);
    let is_contradictory = options.options & FILE_DIRECTORY_FILE != 0 && options.options & FILE_NON_DIRECTORY_FILE != 0
        || synchronous == FILE_SYNCHRONOUS_IO_ALERT | FILE_SYNCHRONOUS_IO_NONALERT
        || synchronous != 0 && options.access & (SYNCHRONIZE | MAXIMUM_ALLOWED | GENERIC_ALL | GENERIC_READ | GENERIC_WRITE) == 0;
    if options.disposition > MAXIMUM_DISPOSITION || options.options & !VALID_OPTIONS != 0 || is_contradictory {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    if let Some(root) = root {
        if !root.is(&file::FILE) {
            return Err(NTSTATUS::OBJECT_TYPE_MISMATCH);
        }
        // SAFETY: a file object's device is alive as long as the file is.
        let device = unsafe { (*root.body().cast::<FILE_OBJECT>()).DeviceObject };
        // SAFETY: as above.
        return unsafe { open_device(device, path.into(), Some(root), options) };
    }
    if path.is_empty() {
        return Err(NTSTATUS::OBJECT_PATH_SYNTAX_BAD);
    }
    let found = driver::namespace().find(path, false)?;
    if !found.object.is(&device::DEVICE) {
        return Err(NTSTATUS::OBJECT_TYPE_MISMATCH);
    }
    // SAFETY: the name's reference keeps the device alive until the file counts it.
    unsafe { open_device(found.object.body().cast(), found.rest, None, options) }
}

/// # Safety
/// `device` is alive.
unsafe fn open_device(
    device: *mut DEVICE_OBJECT,
    name: Vec<u16>,
    related: Option<ObjectRef>,
    options: OpenOptions,
) -> Result<(ObjectRef, usize), NTSTATUS> {
    let access = file_access(options.access);
    // SAFETY: the caller's promise. What the IRP points at lives on this stack until `send` returns.
    unsafe {
        device::open(device)?;
        let file = match file::create(device, name, related, access, (options.share, options.options)) {
            Ok(file) => file,
            Err(status) => {
                device::close(device);
                return Err(status);
            }
        };
        let mut state: AccessState = core::mem::zeroed();
        (state.remaining, state.original) = (access, access);
        let mut security = IO_SECURITY_CONTEXT::zeroed();
        security.AccessState = (&raw mut state).cast();
        security.DesiredAccess = access;
        security.FullCreateOptions = options.options;
        let fill = |irp: *mut IRP, location: *mut wdf_sys::wdm::IO_STACK_LOCATION| {
            (*irp).Flags = IRP_CREATE_OPERATION | IRP_SYNCHRONOUS_API;
            (*irp).RequestorMode = options.mode;
            (*irp).Tail.Overlay.OriginalFileObject = file.body().cast();
            (*location).FileObject = file.body().cast();
            (*location).Parameters.Create.SecurityContext = &raw mut security;
            (*location).Parameters.Create.Options = options.disposition << 24 | options.options;
            (*location).Parameters.Create.FileAttributes = options.attributes as u16;
            (*location).Parameters.Create.ShareAccess = options.share as u16;
        };
        let block = wait::send(device, (IRP_MJ_CREATE, 0), NTSTATUS::SUCCESS, Patience::Endless, fill);
        if !block.status().is_success() {
            return Err(block.status());
        }
        if block.status() == NTSTATUS::REPARSE {
            // A file system's word: no device that ntlet has may say it.
            return Err(NTSTATUS::OBJECT_NAME_INVALID);
        }
        file::set_open(&file);
        Ok((file, block.Information))
    }
}

/// Marks that the file has had a handle.
pub(crate) fn note_handle(file: &ObjectRef) {
    // SAFETY: the file is alive; its creator is the only one to change flags now.
    unsafe { (*file.body().cast::<FILE_OBJECT>()).Flags |= file::FO_HANDLE_CREATED };
}

/// # Safety
/// As the documentation of IoGetDeviceObjectPointer demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoGetDeviceObjectPointer(
    ObjectName: *mut UNICODE_STRING,
    DesiredAccess: u32,
    FileObject: *mut *mut FILE_OBJECT,
    DeviceObject: *mut *mut DEVICE_OBJECT,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let path = match unsafe { units(ObjectName) } {
        Ok(path) => path,
        Err(status) => return status,
    };
    let options =
        OpenOptions { access: DesiredAccess, disposition: FILE_OPEN, options: FILE_NON_DIRECTORY_FILE, ..OpenOptions::default() };
    let opened = open(None, path, options).and_then(|(file, _)| {
        note_handle(&file);
        // On Windows a handle is made and closed again, and so the driver gets its cleanup here, too.
        let handle = KERNEL_HANDLES.insert(file.clone(), DesiredAccess)?;
        KERNEL_HANDLES.close(handle)?;
        Ok(file)
    });
    match opened {
        Ok(file) => {
            // SAFETY: the caller's promise; the reference goes to the caller.
            unsafe {
                let file: *mut FILE_OBJECT = file.into_raw().cast();
                *FileObject = file;
                *DeviceObject = device::IoGetRelatedDeviceObject(file);
            }
            NTSTATUS::SUCCESS
        }
        Err(status) => status,
    }
}

/// The object that an `OBJECT_ATTRIBUTES::RootDirectory` names.
pub(crate) fn root_object(handle: HANDLE, mode: i8) -> Result<Option<ObjectRef>, NTSTATUS> {
    if handle.is_null() {
        return Ok(None);
    }
    object::exports::by_handle(handle, mode).map(|entry| Some(entry.object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_rights_become_those_of_files() {
        assert_eq!(file_access(GENERIC_READ) & 1, 1);
        assert_eq!(file_access(GENERIC_READ) & 2, 0);
        assert_eq!(file_access(GENERIC_WRITE) & 2, 2);
        assert_eq!(file_access(MAXIMUM_ALLOWED) & FILE_ALL_ACCESS, FILE_ALL_ACCESS);
        assert_eq!(file_access(SYNCHRONIZE), SYNCHRONIZE);
    }
}
