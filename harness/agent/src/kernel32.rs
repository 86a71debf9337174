//! The functions of `kernel32.dll` that the agent calls.
#![allow(non_snake_case, reason = "the system's own names")]

use core::ffi::c_void;

/// A handle.
pub(crate) type Handle = *mut c_void;

/// `STARTUPINFOW`.
#[repr(C)]
pub(crate) struct StartupInfo {
    pub(crate) size: u32,
    pub(crate) reserved: [usize; 3],
    pub(crate) geometry: [u32; 7],
    pub(crate) flags: u32,
    pub(crate) show: u16,
    pub(crate) reserved_bytes: u16,
    pub(crate) reserved_pointer: usize,
    pub(crate) input: Handle,
    pub(crate) output: Handle,
    pub(crate) error: Handle,
}

/// `PROCESS_INFORMATION`.
#[repr(C)]
pub(crate) struct ProcessInformation {
    pub(crate) process: Handle,
    pub(crate) thread: Handle,
    pub(crate) ids: [u32; 2],
}

/// `SECURITY_ATTRIBUTES`.
#[repr(C)]
pub(crate) struct SecurityAttributes {
    pub(crate) size: u32,
    pub(crate) descriptor: *mut c_void,
    pub(crate) is_inherited: i32,
}

const _: () = assert!(size_of::<StartupInfo>() == 104);
const _: () = assert!(core::mem::offset_of!(StartupInfo, input) == 80);
const _: () = assert!(size_of::<ProcessInformation>() == 24);
const _: () = assert!(size_of::<SecurityAttributes>() == 24);

#[rustfmt::skip]
#[link(name = "kernel32.dll", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    pub(crate) fn GetLastError() -> u32;
    pub(crate) fn GetCommandLineW() -> *const u16;
    pub(crate) fn SetErrorMode(mode: u32) -> u32;
    pub(crate) fn CloseHandle(handle: Handle) -> i32;
    pub(crate) fn GetFileAttributesW(name: *const u16) -> u32;
    pub(crate) fn CreateFileW(
        name: *const u16, access: u32, share: u32, security: *const SecurityAttributes, disposition: u32, flags: u32, template: Handle,
    ) -> Handle;
    pub(crate) fn GetFileSizeEx(file: Handle, size: *mut i64) -> i32;
    pub(crate) fn SetFilePointerEx(file: Handle, distance: i64, place: *mut i64, method: u32) -> i32;
    pub(crate) fn ReadFile(file: Handle, buffer: *mut u8, length: u32, read: *mut u32, overlapped: *mut c_void) -> i32;
    pub(crate) fn CreatePipe(read: *mut Handle, write: *mut Handle, security: *const SecurityAttributes, size: u32) -> i32;
    pub(crate) fn SetHandleInformation(handle: Handle, mask: u32, flags: u32) -> i32;
    pub(crate) fn PeekNamedPipe(
        pipe: Handle, buffer: *mut u8, length: u32, read: *mut u32, available: *mut u32, left: *mut u32,
    ) -> i32;
    pub(crate) fn CreateProcessW(
        program: *const u16, command: *mut u16, process: *const SecurityAttributes, thread: *const SecurityAttributes, inherit: i32,
        flags: u32, environment: *const c_void, folder: *const u16, startup: *const StartupInfo, information: *mut ProcessInformation,
    ) -> i32;
    pub(crate) fn ResumeThread(thread: Handle) -> u32;
    pub(crate) fn TerminateProcess(process: Handle, code: u32) -> i32;
    pub(crate) fn WaitForSingleObject(handle: Handle, milliseconds: u32) -> u32;
    pub(crate) fn GetExitCodeProcess(process: Handle, code: *mut u32) -> i32;
    pub(crate) fn LoadLibraryW(name: *const u16) -> Handle;
    pub(crate) fn GetProcAddress(library: Handle, name: *const u8) -> *const c_void;
}

/// A handle that is closed when it goes.
#[derive(Debug)]
pub(crate) struct Owned(pub(crate) Handle);

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: this is the one owner of an open handle.
        let _ = unsafe { CloseHandle(self.0) };
    }
}

/// What the system refused, and its code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    pub(crate) what: &'static str,
    pub(crate) code: u32,
}

impl Refused {
    /// The last error of this thread.
    pub(crate) fn last(what: &'static str) -> Self {
        // SAFETY: no arguments.
        Self { what, code: unsafe { GetLastError() } }
    }

    /// Whether the function called `what` said yes.
    pub(crate) fn unless(result: i32, what: &'static str) -> Result<(), Self> {
        if result == 0 { Err(Self::last(what)) } else { Ok(()) }
    }
}
