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
