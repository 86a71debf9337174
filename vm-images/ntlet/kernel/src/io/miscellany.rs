//! Small functions of the I/O manager: stack limits, hints in requests, and the like.

use core::ffi::c_void;

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::{IO_STATUS_BLOCK, IRP, OBJECT_ATTRIBUTES, current_stack_location};
use wdf_sys::{BOOLEAN, HANDLE, NTSTATUS};

use super::file::FO_SYNCHRONOUS_IO;
use super::services::ZwCreateFile;
use crate::dispatcher::thread::exported::PsIsSystemThread;
use crate::dispatcher::thread::{self as kernel_thread, Thread};

/// Address above the current thread's kernel stack.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoGetInitialStack() -> *mut c_void {
    // SAFETY: the running thread is alive.
    let (start, size) = unsafe { (*kernel_thread::current()).stack_range() };
    core::ptr::with_exposed_provenance_mut(start + size)
}

/// Whether a region lies on the current thread's stack.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoWithinStackLimits(RegionStart: usize, RegionSize: usize) -> u32 {
    // SAFETY: the running thread is alive.
    let (start, size) = unsafe { (*kernel_thread::current()).stack_range() };
    let end = RegionStart.checked_add(RegionSize);
    u32::from(RegionStart >= start && end.is_some_and(|end| end <= start + size))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoSetTopLevelIrp(Irp: *mut IRP) {
    // SAFETY: the running thread is alive, and the word is its own.
    unsafe { (*kernel_thread::current()).top_level_irp = Irp.cast() };
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoIsSystemThread(Thread: *mut Thread) -> BOOLEAN {
    // SAFETY: the caller's promise: a thread object.
    unsafe { PsIsSystemThread(Thread.cast()) }
}

/// # Safety
/// As the documentation of IoIsOperationSynchronous demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoIsOperationSynchronous(Irp: *mut IRP) -> BOOLEAN {
    /// `IRP_SYNCHRONOUS_PAGING_IO`.
    const SYNCHRONOUS_PAGING: u32 = 0x40;
    // SAFETY: the caller's promise: an IRP that it has been given.
    unsafe {
        let flags = (*Irp).Flags;
        let file = (*current_stack_location(Irp)).FileObject;
        let is_files = !file.is_null() && (*file).Flags & FO_SYNCHRONOUS_IO != 0;
        let is_paging = flags & (IRP_PAGING_IO | SYNCHRONOUS_PAGING) != 0;
        BOOLEAN::from(if is_paging { flags & SYNCHRONOUS_PAGING != 0 } else { is_files || flags & IRP_SYNCHRONOUS_API != 0 })
    }
}

/// Bits of an IRP's flags that hold its priority hint, plus one.
const PRIORITY_SHIFT: u32 = 17;
const PRIORITY_MASK: u32 = 7 << PRIORITY_SHIFT;
const PRIORITY_NORMAL: i32 = 2;
const PRIORITIES: i32 = 5;

/// # Safety
/// As the documentation of IoGetIoPriorityHint demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoGetIoPriorityHint(Irp: *mut IRP) -> i32 {
    // SAFETY: the caller's promise: an IRP.
    match unsafe { ((*Irp).Flags & PRIORITY_MASK) >> PRIORITY_SHIFT } {
        0 => PRIORITY_NORMAL,
        hint => hint as i32 - 1,
    }
}

/// # Safety
/// As the documentation of IoSetIoPriorityHint demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoSetIoPriorityHint(Irp: *mut IRP, PriorityHint: i32) -> NTSTATUS {
    if !(0..PRIORITIES).contains(&PriorityHint) {
        return NTSTATUS::INVALID_PARAMETER;
    }
    // SAFETY: the caller's promise: an IRP of its own.
    unsafe { (*Irp).Flags = (*Irp).Flags & !PRIORITY_MASK | (PriorityHint as u32 + 1) << PRIORITY_SHIFT };
    NTSTATUS::SUCCESS
}

/// Everything runs in session 0.
///
/// # Safety
/// As the documentation of IoGetRequestorSessionId demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoGetRequestorSessionId(_Irp: *mut IRP, SessionId: *mut u32) -> NTSTATUS {
    // SAFETY: the caller's promise: a place for a number.
    unsafe { SessionId.write(0) };
    NTSTATUS::SUCCESS
}

/// What generic rights mean for files: reading, writing, execution, all.
static FILE_MAPPING: [u32; 4] = [0x12_0089, 0x12_0116, 0x12_00a0, 0x1f_01ff];

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoGetFileObjectGenericMapping() -> *const [u32; 4] {
    &raw const FILE_MAPPING
}

/// # Safety
/// As the documentation of IoCreateFile demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoCreateFile(
    FileHandle: *mut HANDLE,
    DesiredAccess: u32,
    ObjectAttributes: *mut OBJECT_ATTRIBUTES,
    IoStatusBlock: *mut IO_STATUS_BLOCK,
    AllocationSize: *mut i64,
    FileAttributes: u32,
    ShareAccess: u32,
    Disposition: u32,
    CreateOptions: u32,
    EaBuffer: *mut c_void,
    EaLength: u32,
    CreateFileType: i32,
    _InternalParameters: *mut c_void,
    _Options: u32,
) -> NTSTATUS {
    // Pipes and mail slots are other kinds, which a driver has no business with.
    if CreateFileType != 0 {
        return NTSTATUS::INVALID_PARAMETER;
    }
    // SAFETY: the caller's promise.
    unsafe {
        ZwCreateFile(
            FileHandle,
            DesiredAccess,
            ObjectAttributes,
            IoStatusBlock,
            AllocationSize,
            FileAttributes,
            ShareAccess,
            Disposition,
            CreateOptions,
            EaBuffer,
            EaLength,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_hint_is_kept_in_the_irp() {
        let mut irp = IRP::zeroed();
        // SAFETY: an IRP of the test's own.
        unsafe {
            assert_eq!(IoGetIoPriorityHint(&raw mut irp), PRIORITY_NORMAL);
            assert_eq!(IoSetIoPriorityHint(&raw mut irp, 0), NTSTATUS::SUCCESS);
            assert_eq!(IoGetIoPriorityHint(&raw mut irp), 0);
            assert_eq!(IoSetIoPriorityHint(&raw mut irp, 5), NTSTATUS::INVALID_PARAMETER);
        }
    }
}
