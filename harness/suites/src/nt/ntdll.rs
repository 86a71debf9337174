//! The functions of `ntdll.dll` that the suites call. On a host they exist so that the crate can be checked, and answer that they
//! are not implemented.
#![allow(non_snake_case, reason = "the system's own names")]

use core::ffi::c_void;

use wdf_sys::wdm::{IO_STATUS_BLOCK, OBJECT_ATTRIBUTES};
use wdf_sys::{BOOLEAN, HANDLE, NTSTATUS};

macro_rules! ntdll {
    ($(fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> NTSTATUS;)*) => {
        #[cfg(target_os = "windows")]
        #[link(name = "ntdll.dll", kind = "raw-dylib", modifiers = "+verbatim")]
        unsafe extern "win64" {
            $(pub(super) fn $name($($argument: $type),*) -> NTSTATUS;)*
        }

        $(#[cfg(not(target_os = "windows"))]
        #[allow(clippy::too_many_arguments)]
        pub(super) unsafe fn $name($(_: $type),*) -> NTSTATUS {
            NTSTATUS::NOT_IMPLEMENTED
        })*
    };
}

ntdll! {
    fn NtClose(Handle: HANDLE) -> NTSTATUS;
    fn NtCreateFile(
        FileHandle: *mut HANDLE, DesiredAccess: u32, ObjectAttributes: *mut OBJECT_ATTRIBUTES, IoStatusBlock: *mut IO_STATUS_BLOCK,
        AllocationSize: *mut i64, FileAttributes: u32, ShareAccess: u32, CreateDisposition: u32, CreateOptions: u32,
        EaBuffer: *mut c_void, EaLength: u32,
    ) -> NTSTATUS;
    fn NtDeviceIoControlFile(
        FileHandle: HANDLE, Event: HANDLE, ApcRoutine: *mut c_void, ApcContext: *mut c_void, IoStatusBlock: *mut IO_STATUS_BLOCK,
        IoControlCode: u32, InputBuffer: *const c_void, InputBufferLength: u32, OutputBuffer: *mut c_void, OutputBufferLength: u32,
    ) -> NTSTATUS;
    fn NtReadFile(
        FileHandle: HANDLE, Event: HANDLE, ApcRoutine: *mut c_void, ApcContext: *mut c_void, IoStatusBlock: *mut IO_STATUS_BLOCK,
        Buffer: *mut c_void, Length: u32, ByteOffset: *mut i64, Key: *mut u32,
    ) -> NTSTATUS;
    fn NtWriteFile(
        FileHandle: HANDLE, Event: HANDLE, ApcRoutine: *mut c_void, ApcContext: *mut c_void, IoStatusBlock: *mut IO_STATUS_BLOCK,
        Buffer: *const c_void, Length: u32, ByteOffset: *mut i64, Key: *mut u32,
    ) -> NTSTATUS;
    fn NtCancelIoFileEx(FileHandle: HANDLE, IoRequestToCancel: *mut IO_STATUS_BLOCK, IoStatusBlock: *mut IO_STATUS_BLOCK) -> NTSTATUS;
    fn NtCreateEvent(
        EventHandle: *mut HANDLE, DesiredAccess: u32, ObjectAttributes: *mut OBJECT_ATTRIBUTES, EventType: i32, InitialState: BOOLEAN,
    ) -> NTSTATUS;
    fn NtWaitForSingleObject(Handle: HANDLE, Alertable: BOOLEAN, Timeout: *mut i64) -> NTSTATUS;
    fn NtDelayExecution(Alertable: BOOLEAN, DelayInterval: *mut i64) -> NTSTATUS;
    fn NtInitiatePowerAction(SystemAction: u32, LightestSystemState: u32, Flags: u32, Asynchronous: BOOLEAN) -> NTSTATUS;
    fn NtYieldExecution() -> NTSTATUS;
    fn NtCreateTimer(TimerHandle: *mut HANDLE, DesiredAccess: u32, ObjectAttributes: *mut OBJECT_ATTRIBUTES, TimerType: i32) -> NTSTATUS;
    fn NtSetTimer(
        TimerHandle: HANDLE, DueTime: *mut i64, TimerApcRoutine: *mut c_void, TimerContext: *mut c_void, ResumeTimer: BOOLEAN,
        Period: i32, PreviousState: *mut BOOLEAN,
    ) -> NTSTATUS;
    fn NtQueryPerformanceCounter(PerformanceCounter: *mut i64, PerformanceFrequency: *mut i64) -> NTSTATUS;
    fn NtAllocateVirtualMemory(
        ProcessHandle: HANDLE, BaseAddress: *mut *mut c_void, ZeroBits: usize, RegionSize: *mut usize, AllocationType: u32, Protect: u32,
    ) -> NTSTATUS;
    fn NtCreateThreadEx(
        ThreadHandle: *mut HANDLE, DesiredAccess: u32, ObjectAttributes: *mut OBJECT_ATTRIBUTES, ProcessHandle: HANDLE,
        StartRoutine: *mut c_void, Argument: *mut c_void, CreateFlags: u32, ZeroBits: usize, StackSize: usize,
        MaximumStackSize: usize, AttributeList: *mut c_void,
    ) -> NTSTATUS;
    fn NtTerminateThread(ThreadHandle: HANDLE, ExitStatus: NTSTATUS) -> NTSTATUS;
    fn NtTerminateProcess(ProcessHandle: HANDLE, ExitStatus: NTSTATUS) -> NTSTATUS;
    fn NtQueryInformationProcess(
        ProcessHandle: HANDLE, ProcessInformationClass: u32, ProcessInformation: *mut c_void, ProcessInformationLength: u32,
        ReturnLength: *mut u32,
    ) -> NTSTATUS;
}

/// `NtCurrentProcess()`.
pub(super) const CURRENT_PROCESS: HANDLE = -1isize as HANDLE;
/// `NtCurrentThread()`.
pub(super) const CURRENT_THREAD: HANDLE = -2isize as HANDLE;
