//! Event tracing as drivers see it when nobody listens: providers register, every event is disabled. What a driver wants to say in this
//! guest it says with `DbgPrint`.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::sync::atomic::{AtomicU64, Ordering};

use wdf_sys::{BOOLEAN, FALSE, GUID, NTSTATUS};

/// Handles that were given out.
static LAST_HANDLE: AtomicU64 = AtomicU64::new(0);

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn EtwRegister(
    _ProviderId: *const GUID,
    _EnableCallback: *mut c_void,
    _CallbackContext: *mut c_void,
    RegHandle: *mut u64,
) -> NTSTATUS {
    // SAFETY: the caller's promise: a place for a handle.
    unsafe { RegHandle.write(LAST_HANDLE.fetch_add(1, Ordering::Relaxed) + 1) };
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn EtwRegisterClassicProvider(
    ProviderGuid: *const GUID,
    _Type: u32,
    EnableCallback: *mut c_void,
    CallbackContext: *mut c_void,
    RegHandle: *mut u64,
) -> NTSTATUS {
    // SAFETY: as above.
    unsafe { EtwRegister(ProviderGuid, EnableCallback, CallbackContext, RegHandle) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn EtwUnregister(_RegHandle: u64) -> NTSTATUS {
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn EtwSetInformation(
    _RegHandle: u64,
    _Class: i32,
    _Information: *mut c_void,
    _Length: u32,
) -> NTSTATUS {
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn EtwEventEnabled(_RegHandle: u64, _EventDescriptor: *const c_void) -> BOOLEAN {
    FALSE
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn EtwProviderEnabled(_RegHandle: u64, _Level: u8, _Keyword: u64) -> BOOLEAN {
    FALSE
}

/// As documented: events that no session has enabled are dropped with success.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn EtwWrite(
    _RegHandle: u64,
    _EventDescriptor: *const c_void,
    _ActivityId: *const GUID,
    _UserDataCount: u32,
    _UserData: *mut c_void,
) -> NTSTATUS {
    NTSTATUS::SUCCESS
}

/// As [`EtwWrite`].
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn EtwWriteTransfer(
    _RegHandle: u64,
    _EventDescriptor: *const c_void,
    _ActivityId: *const GUID,
    _RelatedActivityId: *const GUID,
    _UserDataCount: u32,
    _UserData: *mut c_void,
) -> NTSTATUS {
    NTSTATUS::SUCCESS
}

/// As [`EtwWrite`].
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn EtwWriteEx(
    _RegHandle: u64,
    _EventDescriptor: *const c_void,
    _Filter: u64,
    _Flags: u32,
    _ActivityId: *const GUID,
    _RelatedActivityId: *const GUID,
    _UserDataCount: u32,
    _UserData: *mut c_void,
) -> NTSTATUS {
    NTSTATUS::SUCCESS
}

/// As [`EtwWrite`].
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn EtwWriteString(
    _RegHandle: u64,
    _Level: u8,
    _Keyword: u64,
    _ActivityId: *const GUID,
    _String: *const u16,
) -> NTSTATUS {
    NTSTATUS::SUCCESS
}

/// There are no activities without sessions; as documented, an id of zero.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn EtwActivityIdControl(_ControlCode: u32, ActivityId: *mut GUID) -> NTSTATUS {
    // SAFETY: the caller's promise: a place for a GUID.
    unsafe { ActivityId.write(GUID::default()) };
    NTSTATUS::SUCCESS
}

/// There is no trace session to ask about.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn WmiQueryTraceInformation(
    _Class: i32,
    _Information: *mut c_void,
    _Length: u32,
    _RequiredLength: *mut u32,
    _Buffer: *mut c_void,
) -> NTSTATUS {
    NTSTATUS::NOT_SUPPORTED
}

/// No session, no message; further arguments are not looked at.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn WmiTraceMessage(
    _LoggerHandle: u64,
    _MessageFlags: u32,
    _MessageGuid: *const GUID,
    _MessageNumber: u16,
) -> NTSTATUS {
    NTSTATUS::INVALID_HANDLE
}
