//! Files: opening a device by name, reading and writing it, sending it I/O controls.

use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::constants::{
    FILE_OPEN, FILE_SYNCHRONOUS_IO_NONALERT, GENERIC_READ, GENERIC_WRITE, OBJ_CASE_INSENSITIVE, SYNCHRONIZE,
};
use wdf_sys::wdm::{IO_STATUS_BLOCK, OBJECT_ATTRIBUTES, UNICODE_STRING};
use wdf_sys::{HANDLE, NTSTATUS};

use super::request::Pending;
use super::{Handle, ntdll};

const FILE_SHARE_ALL: u32 = 7;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Every call waits for its end.
    Synchronous,
    /// Calls return while the request is on its way.
    Asynchronous,
}

/// An open file or device.
#[derive(Debug)]
pub struct File(Handle);

impl File {
    /// Opens by a full name such as `\??\Relay0`.
    ///
    /// # Errors
    /// The system's status.
    pub fn open(name: &str, opening: Opening) -> Result<Self, NTSTATUS> {
        let units: Vec<u16> = name.encode_utf16().collect();
        let mut name = UNICODE_STRING::new(&units).ok_or(NTSTATUS::OBJECT_NAME_INVALID)?;
        let mut attributes = OBJECT_ATTRIBUTES {
            Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
            ObjectName: &mut name,
            Attributes: OBJ_CASE_INSENSITIVE,
            ..OBJECT_ATTRIBUTES::zeroed()
        };
        let options = if opening == Opening::Synchronous { FILE_SYNCHRONOUS_IO_NONALERT } else { 0 };
        let mut status = IO_STATUS_BLOCK::zeroed();
        let mut handle = null_mut();
        // SAFETY: every pointer is to a local of the type the system expects, alive across the call.
        unsafe {
            ntdll::NtCreateFile(
                &mut handle,
                GENERIC_READ | GENERIC_WRITE | SYNCHRONIZE,
                &mut attributes,
                &mut status,
                null_mut(),
                0,
                FILE_SHARE_ALL,
                FILE_OPEN,
                options,
                null_mut(),
                0,
            )
        }
        .ok()?;
        Ok(Self(Handle(handle)))
    }

    pub(super) fn handle(&self) -> HANDLE {
        self.0.0
    }

    /// Sends an I/O control on a synchronous file and returns how many bytes came back.
    ///
    /// # Errors
    /// The status the request was completed with.
    pub fn control(&self, code: u32, input: &[u8], output: &mut [u8]) -> Result<usize, NTSTATUS> {
        let mut status = IO_STATUS_BLOCK::zeroed();
        // SAFETY: both buffers are valid for their lengths, and the file is synchronous, so the system is done with them on return.
        let result = unsafe {
            ntdll::NtDeviceIoControlFile(
                self.handle(),
                null_mut(),
                null_mut(),
                null_mut(),
                &mut status,
                code,
                input.as_ptr().cast(),
                length(input)?,
                output.as_mut_ptr().cast(),
                length(output)?,
            )
        };
        finished(result, &status)
    }

    /// Sends an I/O control on an asynchronous file. The request owns its buffers.
    ///
    /// # Errors
    /// The status with which the system refused to take it.
    pub fn control_later(&self, code: u32, input: Vec<u8>, output_length: usize) -> Result<Pending<'_>, NTSTATUS> {
        Pending::send(self, code, input, output_length)
    }

    /// Reads from a synchronous file.
    ///
    /// # Errors
    /// The status the request was completed with.
    pub fn read(&self, buffer: &mut [u8]) -> Result<usize, NTSTATUS> {
        let mut status = IO_STATUS_BLOCK::zeroed();
        let size = length(buffer)?;
        let address: *mut c_void = buffer.as_mut_ptr().cast();
        // SAFETY: as in `control`.
        let result = unsafe {
            ntdll::NtReadFile(
                self.handle(),
                null_mut(),
                null_mut(),
                null_mut(),
                &mut status,
                address,
                size,
                null_mut(),
                null_mut(),
            )
        };
        finished(result, &status)
    }

    /// Writes to a synchronous file and returns how many bytes it took.
    ///
    /// # Errors
    /// The status the request was completed with.
    pub fn write(&self, buffer: &[u8]) -> Result<usize, NTSTATUS> {
        let mut status = IO_STATUS_BLOCK::zeroed();
        let size = length(buffer)?;
        let address: *const c_void = buffer.as_ptr().cast();
        // SAFETY: as in `control`.
        let result = unsafe {
            ntdll::NtWriteFile(
                self.handle(),
                null_mut(),
                null_mut(),
                null_mut(),
                &mut status,
                address,
                size,
                null_mut(),
                null_mut(),
            )
        };
        finished(result, &status)
    }
}

/// A buffer's length as the system counts it.
pub(super) fn length(buffer: &[u8]) -> Result<u32, NTSTATUS> {
    u32::try_from(buffer.len()).map_err(|_| NTSTATUS::INVALID_PARAMETER)
}

/// What a synchronous call came to.
fn finished(result: NTSTATUS, status: &IO_STATUS_BLOCK) -> Result<usize, NTSTATUS> {
    result.ok()?;
    status.status().ok()?;
    Ok(status.Information)
}
