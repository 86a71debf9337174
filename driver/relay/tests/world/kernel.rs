//! The kernel functions that the driver imports.

use std::ffi::c_void;

use wdf_sys::NTSTATUS;
use wdf_sys::bind::WDF_BIND_INFO;
use wdf_sys::wdf::WDF_DRIVER_GLOBALS;
use wdf_sys::wdm::{DRIVER_OBJECT, UNICODE_STRING};

use super::scarcity;

#[unsafe(no_mangle)]
extern "win64" fn WdfVersionBind(
    _driver: *mut DRIVER_OBJECT,
    _path: *mut UNICODE_STRING,
    info: *mut WDF_BIND_INFO,
    globals: *mut *mut WDF_DRIVER_GLOBALS,
) -> NTSTATUS {
    let table = Box::leak(super::table::make().into_boxed_slice());
    let made = Box::leak(Box::new(WDF_DRIVER_GLOBALS::zeroed()));
    // SAFETY: the driver passes both, as the loader's interface demands; from 1.15 on, `FuncTable` is where the table's address goes.
    unsafe {
        assert_eq!(((*info).Major, (*info).Minor, (*info).FuncCount), (1, 15, 444));
        *(*info).FuncTable.cast::<*const *const c_void>() = table.as_ptr();
        *globals = made;
    }
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
extern "win64" fn WdfVersionUnbind(_: *mut UNICODE_STRING, _: *mut WDF_BIND_INFO, _: *mut WDF_DRIVER_GLOBALS) -> NTSTATUS {
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
extern "win64" fn ExAllocatePool2(_flags: u64, bytes: usize, _tag: u32) -> *mut c_void {
    if !scarcity::allocate() {
        return core::ptr::null_mut();
    }
    let address: *mut c_void = Box::leak(vec![0_u128; bytes.div_ceil(16)].into_boxed_slice()).as_mut_ptr().cast();
    scarcity::took_memory(address as usize);
    address
}

#[unsafe(no_mangle)]
extern "win64" fn ExFreePoolWithTag(memory: *mut c_void, _tag: u32) {
    scarcity::gave_memory(memory as usize);
}

/// Physical addresses are addresses here.
#[unsafe(no_mangle)]
extern "win64" fn MmMapIoSpaceEx(address: i64, _bytes: usize, _protection: u32) -> *mut c_void {
    if !scarcity::allocate() {
        return core::ptr::null_mut();
    }
    scarcity::took_memory(address as usize);
    address as usize as *mut c_void
}

#[unsafe(no_mangle)]
extern "win64" fn MmUnmapIoSpace(address: *mut c_void, _bytes: usize) {
    scarcity::gave_memory(address as usize);
}
