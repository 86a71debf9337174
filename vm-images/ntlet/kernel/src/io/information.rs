//! What a file is asked and told about itself: what the I/O manager answers, and what goes to the file's driver.

use core::ffi::c_void;

use alloc::vec::Vec;

use wdf_sys::HANDLE;
use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::{FILE_OBJECT, IO_STATUS_BLOCK};

use super::file::{self, FO_ALERTABLE_IO, FO_SYNCHRONOUS_IO};
use super::wait;
use super::watch::Patience;
use crate::object::ObjectRef;
use crate::object::exports::by_handle;

/// `FilePositionInformation`, `FileModeInformation`, `FileAlignmentInformation`.
pub(crate) const CLASS_POSITION: i32 = 14;
pub(crate) const CLASS_MODE: i32 = 16;
const CLASS_ALIGNMENT: i32 = 17;

/// Most bytes that a file may say about itself: a driver has no need for more.
const MOST: u32 = 1 << 20;

/// What the I/O manager knows of a file without asking anybody; `None` for what only its driver knows.
pub(crate) fn known(file: &ObjectRef, class: i32) -> Option<Vec<u8>> {
    // SAFETY: the reference keeps the file, and the file its device.
    let (flags, position, alignment) = unsafe {
        let file: *mut FILE_OBJECT = file.body().cast();
        ((*file).Flags, (*file).CurrentByteOffset, (*(*file).DeviceObject).AlignmentRequirement)
    };
    match class {
        CLASS_POSITION => Some(position.to_le_bytes().to_vec()),
        CLASS_MODE => {
            let mode = match flags & (FO_SYNCHRONOUS_IO | FO_ALERTABLE_IO) {
                0 => 0,
                FO_SYNCHRONOUS_IO => FILE_SYNCHRONOUS_IO_NONALERT,
                _ => FILE_SYNCHRONOUS_IO_ALERT,
            };
            Some(mode.to_le_bytes().to_vec())
        }
        CLASS_ALIGNMENT => Some(alignment.to_le_bytes().to_vec()),
        _ => None,
    }
}

/// The file of a handle of a driver's.
fn file_of(handle: HANDLE) -> Result<ObjectRef, NTSTATUS> {
    let object = by_handle(handle, KERNEL_MODE)?.object;
    if object.is(&file::FILE) { Ok(object) } else { Err(NTSTATUS::OBJECT_TYPE_MISMATCH) }
}

/// Asks a file's driver, or tells it, with `buffer` as the request's system buffer.
///
/// # Safety
/// The buffer has so many bytes.
unsafe fn ask_driver(file: &ObjectRef, major: u8, class: i32, (buffer, length): (*mut c_void, u32)) -> IO_STATUS_BLOCK {
    let body: *mut FILE_OBJECT = file.body().cast();
    // SAFETY: the reference keeps the file, and the file its device; the buffer is there until the request has ended.
    unsafe {
        wait::send((*body).DeviceObject, (major, 0), NTSTATUS::INVALID_DEVICE_REQUEST, Patience::Endless, |irp, location| {
            (*irp).AssociatedIrp.SystemBuffer = buffer;
            (*irp).Flags |= IRP_BUFFERED_IO;
            (*location).FileObject = body;
            if major == IRP_MJ_QUERY_INFORMATION {
                (*location).Parameters.QueryFile.Length = length;
                (*location).Parameters.QueryFile.FileInformationClass = class;
            } else {
                (*location).Parameters.SetFile.Length = length;
                (*location).Parameters.SetFile.FileInformationClass = class;
            }
        })
    }
}

/// # Safety
/// As the documentation of ZwQueryInformationFile demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwQueryInformationFile(
    FileHandle: HANDLE,
    IoStatusBlock: *mut IO_STATUS_BLOCK,
    FileInformation: *mut c_void,
    Length: u32,
    FileInformationClass: i32,
) -> NTSTATUS {
    let file = match file_of(FileHandle) {
        Ok(file) => file,
        Err(status) => return status,
    };
    // SAFETY: the caller's promise: a buffer of that length, and a place for the result.
    unsafe {
        let block = match known(&file, FileInformationClass) {
            Some(bytes) if bytes.len() > Length as usize => return NTSTATUS::INFO_LENGTH_MISMATCH,
            Some(bytes) => {
                core::ptr::copy_nonoverlapping(bytes.as_ptr(), FileInformation.cast(), bytes.len());
                IO_STATUS_BLOCK::new(NTSTATUS::SUCCESS, bytes.len())
            }
            None if Length > MOST => return NTSTATUS::INSUFFICIENT_RESOURCES,
            None => ask_driver(&file, IRP_MJ_QUERY_INFORMATION, FileInformationClass, (FileInformation, Length)),
        };
        IoStatusBlock.write(block);
        block.status()
    }
}

/// # Safety
/// As the documentation of ZwSetInformationFile demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwSetInformationFile(
    FileHandle: HANDLE,
    IoStatusBlock: *mut IO_STATUS_BLOCK,
    FileInformation: *mut c_void,
    Length: u32,
    FileInformationClass: i32,
) -> NTSTATUS {
    let file = match file_of(FileHandle) {
        Ok(file) => file,
        Err(status) => return status,
    };
    // SAFETY: the caller's promise: a buffer of that length, and a place for the result.
    unsafe {
        let block = match FileInformationClass {
            CLASS_POSITION if Length < 8 => return NTSTATUS::INFO_LENGTH_MISMATCH,
            CLASS_POSITION => {
                (*file.body().cast::<FILE_OBJECT>()).CurrentByteOffset = FileInformation.cast::<i64>().read_unaligned();
                IO_STATUS_BLOCK::new(NTSTATUS::SUCCESS, 0)
            }
            _ if Length > MOST => return NTSTATUS::INSUFFICIENT_RESOURCES,
            _ => ask_driver(&file, IRP_MJ_SET_INFORMATION, FileInformationClass, (FileInformation, Length)),
        };
        IoStatusBlock.write(block);
        block.status()
    }
}

/// # Safety
/// As the documentation of ZwFlushBuffersFile demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwFlushBuffersFile(FileHandle: HANDLE, IoStatusBlock: *mut IO_STATUS_BLOCK) -> NTSTATUS {
    let file = match file_of(FileHandle) {
        Ok(file) => file,
        Err(status) => return status,
    };
    let body: *mut FILE_OBJECT = file.body().cast();
    // SAFETY: the reference keeps the file, and the file its device; the caller's promise: a place for the result.
    unsafe {
        let fill = |_, location: *mut wdf_sys::wdm::IO_STACK_LOCATION| (*location).FileObject = body;
        let function = (IRP_MJ_FLUSH_BUFFERS, 0);
        let block = wait::send((*body).DeviceObject, function, NTSTATUS::INVALID_DEVICE_REQUEST, Patience::Endless, fill);
        IoStatusBlock.write(block);
        block.status()
    }
}
