//! System services as drivers call them, `Zw…`: with addresses and handles of kernel mode, trusted.

use core::ffi::c_void;

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::KeWaitForSingleObject;
use wdf_sys::wdm::{CLIENT_ID, FILE_OBJECT, IO_STATUS_BLOCK, OBJECT_ATTRIBUTES, PIO_APC_ROUTINE, PKSTART_ROUTINE};
use wdf_sys::{BOOLEAN, HANDLE, NTSTATUS};

use super::completion_port::IO_COMPLETION;
use super::open::{self, OpenOptions};
use super::request::{self, Buffer, Target};
use super::{file, units};
use crate::dispatcher::thread::{THREAD, Thread, create_system_thread};
use crate::object::exports::{EVENT, by_handle, close_handle, open_handle};
use crate::process::PROCESS;

const NORMAL_PRIORITY: u8 = 8;

/// # Safety
/// As the documentation of ZwCreateFile demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwCreateFile(
    FileHandle: *mut HANDLE,
    DesiredAccess: u32,
    ObjectAttributes: *mut OBJECT_ATTRIBUTES,
    IoStatusBlock: *mut IO_STATUS_BLOCK,
    _AllocationSize: *mut i64,
    FileAttributes: u32,
    ShareAccess: u32,
    CreateDisposition: u32,
    CreateOptions: u32,
    _EaBuffer: *mut c_void,
    EaLength: u32,
) -> NTSTATUS {
    if EaLength != 0 {
        crate::log!("ZwCreateFile: extended attributes are not supported");
        return NTSTATUS::NOT_SUPPORTED;
    }
    let options = OpenOptions {
        access: DesiredAccess,
        attributes: FileAttributes,
        share: ShareAccess,
        disposition: CreateDisposition,
        options: CreateOptions,
        mode: KERNEL_MODE,
    };
    // SAFETY: the caller's promise.
    match unsafe { open_by(ObjectAttributes, options) } {
        Ok((handle, information)) => {
            // SAFETY: the caller's promise.
            unsafe {
                *FileHandle = handle;
                *IoStatusBlock = IO_STATUS_BLOCK::new(NTSTATUS::SUCCESS, information);
            }
            NTSTATUS::SUCCESS
        }
        Err(status) => status,
    }
}

/// # Safety
/// As the documentation of ZwOpenFile demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwOpenFile(
    FileHandle: *mut HANDLE,
    DesiredAccess: u32,
    ObjectAttributes: *mut OBJECT_ATTRIBUTES,
    IoStatusBlock: *mut IO_STATUS_BLOCK,
    ShareAccess: u32,
    OpenOptions: u32,
) -> NTSTATUS {
    let none: *mut c_void = core::ptr::null_mut();
    // SAFETY: the caller's promise.
    unsafe {
        ZwCreateFile(
            FileHandle,
            DesiredAccess,
            ObjectAttributes,
            IoStatusBlock,
            none.cast(),
            0,
            ShareAccess,
            FILE_OPEN,
            OpenOptions,
            none,
            0,
        )
    }
}

/// # Safety
/// `attributes` is valid.
unsafe fn open_by(attributes: *mut OBJECT_ATTRIBUTES, options: OpenOptions) -> Result<(HANDLE, usize), NTSTATUS> {
    // SAFETY: the caller's promise.
    let attributes = unsafe { attributes.as_ref() }.ok_or(NTSTATUS::INVALID_PARAMETER)?;
    let root = open::root_object(attributes.RootDirectory, KERNEL_MODE)?;
    // SAFETY: the caller's promise.
    let path = if attributes.ObjectName.is_null() { &[] } else { unsafe { units(attributes.ObjectName)? } };
    let (file, information) = open::open(root, path, options)?;
    open::note_handle(&file);
    let is_kernel = attributes.Attributes & OBJ_KERNEL_HANDLE != 0;
    open_handle(file, open::file_access(options.access), is_kernel).map(|handle| (handle, information))
}

fn target(file: HANDLE, event: HANDLE, apc: PIO_APC_ROUTINE, context: *mut c_void, block: *mut IO_STATUS_BLOCK) -> Target {
    Target {
        file,
        event,
        apc_routine: apc.map_or(0, |routine| routine as usize),
        apc_context: context.expose_provenance(),
        block,
        mode: KERNEL_MODE,
    }
}

/// # Safety
/// As the documentation of ZwDeviceIoControlFile demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwDeviceIoControlFile(
    FileHandle: HANDLE,
    Event: HANDLE,
    ApcRoutine: PIO_APC_ROUTINE,
    ApcContext: *mut c_void,
    IoStatusBlock: *mut IO_STATUS_BLOCK,
    IoControlCode: u32,
    InputBuffer: *mut c_void,
    InputBufferLength: u32,
    OutputBuffer: *mut c_void,
    OutputBufferLength: u32,
) -> NTSTATUS {
    let target = target(FileHandle, Event, ApcRoutine, ApcContext, IoStatusBlock);
    let input = Buffer { address: InputBuffer, length: InputBufferLength };
    request::device_control(&target, IoControlCode, input, Buffer { address: OutputBuffer, length: OutputBufferLength })
}

/// # Safety
/// As the documentation of ZwReadFile demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwReadFile(
    FileHandle: HANDLE,
    Event: HANDLE,
    ApcRoutine: PIO_APC_ROUTINE,
    ApcContext: *mut c_void,
    IoStatusBlock: *mut IO_STATUS_BLOCK,
    Buffer: *mut c_void,
    Length: u32,
    ByteOffset: *mut i64,
    _Key: *mut u32,
) -> NTSTATUS {
    let target = target(FileHandle, Event, ApcRoutine, ApcContext, IoStatusBlock);
    // SAFETY: the caller's promise.
    let offset = unsafe { ByteOffset.as_ref() }.copied();
    request::read(&target, request::Buffer { address: Buffer, length: Length }, offset)
}

/// # Safety
/// As the documentation of ZwWriteFile demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwWriteFile(
    FileHandle: HANDLE,
    Event: HANDLE,
    ApcRoutine: PIO_APC_ROUTINE,
    ApcContext: *mut c_void,
    IoStatusBlock: *mut IO_STATUS_BLOCK,
    Buffer: *mut c_void,
    Length: u32,
    ByteOffset: *mut i64,
    _Key: *mut u32,
) -> NTSTATUS {
    let target = target(FileHandle, Event, ApcRoutine, ApcContext, IoStatusBlock);
    // SAFETY: the caller's promise.
    let offset = unsafe { ByteOffset.as_ref() }.copied();
    request::write(&target, request::Buffer { address: Buffer, length: Length }, offset)
}

/// # Safety
/// As the documentation of ZwWaitForSingleObject demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ZwWaitForSingleObject(Handle: HANDLE, Alertable: BOOLEAN, Timeout: *mut i64) -> NTSTATUS {
    let entry = match by_handle(Handle, KERNEL_MODE) {
        Ok(entry) => entry,
        Err(status) => return status,
    };
    let object = &entry.object;
    let waited = if object.is(&file::FILE) {
        // SAFETY: the reference keeps the file alive.
        unsafe { (&raw mut (*object.body().cast::<FILE_OBJECT>()).Event).cast() }
    } else if [&EVENT, &THREAD, &PROCESS, &IO_COMPLETION].iter().any(|kind| object.is(kind)) {
        object.body()
    } else {
        return NTSTATUS::OBJECT_TYPE_MISMATCH;
    };
    // SAFETY: the reference keeps the object alive; the caller's promise for the time-out.
    unsafe { KeWaitForSingleObject(waited, EXECUTIVE, KERNEL_MODE, Alertable, Timeout) }
}

/// # Safety
/// As the documentation of PsCreateSystemThread demands. Every such thread is one of the system process.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PsCreateSystemThread(
    ThreadHandle: *mut HANDLE,
    DesiredAccess: u32,
    _ObjectAttributes: *mut OBJECT_ATTRIBUTES,
    _ProcessHandle: HANDLE,
    ClientId: *mut CLIENT_ID,
    StartRoutine: PKSTART_ROUTINE,
    StartContext: *mut c_void,
) -> NTSTATUS {
    let Some(routine) = StartRoutine else { return NTSTATUS::INVALID_PARAMETER };
    // SAFETY: both types call a function of the same convention with one pointer; a driver's routine is unsafe to call, and this
    // is the one call that its documentation asks for.
    let routine =
        unsafe { core::mem::transmute::<unsafe extern "win64" fn(*mut c_void), extern "win64" fn(*mut c_void)>(routine) };
    let thread = match create_system_thread(routine, StartContext, NORMAL_PRIORITY) {
        Ok(thread) => thread,
        Err(status) => return status,
    };
    // SAFETY: the reference keeps the thread alive; the caller's promise for the results.
    unsafe {
        if !ClientId.is_null() {
            (*ClientId).UniqueProcess = core::ptr::without_provenance_mut(4);
            (*ClientId).UniqueThread = core::ptr::without_provenance_mut((*thread.body().cast::<Thread>()).id());
        }
        match open_handle(thread, DesiredAccess, true) {
            Ok(handle) => {
                *ThreadHandle = handle;
                NTSTATUS::SUCCESS
            }
            Err(status) => status,
        }
    }
}

/// # Safety
/// As the documentation of ObCloseHandle demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ObCloseHandle(Handle: HANDLE, PreviousMode: i8) -> NTSTATUS {
    close_handle(Handle, PreviousMode).err().unwrap_or(NTSTATUS::SUCCESS)
}
