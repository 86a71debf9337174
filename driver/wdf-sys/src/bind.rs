//! Binding: how a driver and the framework find each other.
//!
//! A driver describes itself in a [`WDF_BIND_INFO`] and calls `WdfVersionBind`, which fills in the address of the function table and
//! of the driver's globals. The entry stub that does so is the crate `wdf`'s; `probe` has its own.
#![allow(missing_docs, non_camel_case_types, non_snake_case, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::layout::layouts;
use crate::ntstatus::NTSTATUS;
use crate::wdf::WDF_DRIVER_GLOBALS;
use crate::wdm::{DRIVER_OBJECT, UNICODE_STRING};

layouts! {
    struct WDF_BIND_INFO = 48 {
        0 Size: u32, 8 Component: *const u16, 16 Major: u32, 20 Minor: u32, 24 Build: u32, 28 FuncCount: u32,
        32 FuncTable: *mut c_void, 40 Module: *mut c_void,
    }
}

/// What a library does when it goes to work, and when it is put to rest.
pub type PFNLIBRARYCOMMISSION = Option<unsafe extern "win64" fn() -> NTSTATUS>;
/// A driver becomes a client: what it says of itself, where its globals go, and the [`CLIENT_INFO`].
pub type PFNLIBRARYREGISTERCLIENT =
    Option<unsafe extern "win64" fn(*mut WDF_BIND_INFO, *mut *mut c_void, *mut *mut c_void) -> NTSTATUS>;
/// A driver is no client any more.
pub type PFNLIBRARYUNREGISTERCLIENT = Option<unsafe extern "win64" fn(*mut WDF_BIND_INFO, *mut c_void) -> NTSTATUS>;

layouts! {
    // How a framework's driver describes itself to the loader in `WdfRegisterLibrary`.
    struct WDF_LIBRARY_INFO = 56 {
        0 Size: u32, 8 LibraryCommission: PFNLIBRARYCOMMISSION, 16 LibraryDecommission: PFNLIBRARYCOMMISSION,
        24 LibraryRegisterClient: PFNLIBRARYREGISTERCLIENT, 32 LibraryUnregisterClient: PFNLIBRARYUNREGISTERCLIENT,
        40 Major: u32, 44 Minor: u32, 48 Build: u32,
    }
    // What the loader tells a library about a client.
    struct CLIENT_INFO = 16 {
        0 Size: u32, 8 RegistryPath: *mut UNICODE_STRING,
    }
}

#[cfg_attr(target_os = "windows", link(name = "WDFLDR.SYS", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "win64" {
    pub fn WdfVersionBind(
        DriverObject: *mut DRIVER_OBJECT,
        RegistryPath: *mut UNICODE_STRING,
        BindInfo: *mut WDF_BIND_INFO,
        ComponentGlobals: *mut *mut WDF_DRIVER_GLOBALS,
    ) -> NTSTATUS;
    pub fn WdfVersionUnbind(
        RegistryPath: *mut UNICODE_STRING,
        BindInfo: *mut WDF_BIND_INFO,
        ComponentGlobals: *mut WDF_DRIVER_GLOBALS,
    ) -> NTSTATUS;
}

/// The address of the function table, once bound. `WDF_BIND_INFO::FuncTable` points here.
pub static FUNCTIONS: AtomicPtr<*const c_void> = AtomicPtr::new(core::ptr::null_mut());
/// The driver's globals, once bound.
pub static GLOBALS: AtomicPtr<WDF_DRIVER_GLOBALS> = AtomicPtr::new(core::ptr::null_mut());

/// Entry `index` of the function table.
///
/// # Safety
/// The driver has been bound to a table of more than `index` entries.
#[inline]
pub(crate) unsafe fn entry(index: usize) -> *const c_void {
    // SAFETY: the caller's promise; the framework never changes the table after the bind.
    unsafe { *FUNCTIONS.load(Ordering::Relaxed).add(index) }
}

/// The driver's globals, first argument of every call.
#[inline]
pub fn globals() -> *mut WDF_DRIVER_GLOBALS {
    GLOBALS.load(Ordering::Relaxed)
}
