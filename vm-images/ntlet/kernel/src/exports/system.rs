//! Functions about the system as a whole: routines by name, the verifier, assertions, idleness; and old names of others.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::functions::{KeEnterCriticalRegion, KeLeaveCriticalRegion};
use wdf_sys::wdm::{FAST_MUTEX, UNICODE_STRING};

use super::find;
use crate::dispatcher::fast_mutex::{ExAcquireFastMutexUnsafe, ExReleaseFastMutexUnsafe};
use crate::exception::back_trace::RtlCaptureStackBackTrace;

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmGetSystemRoutineAddress(SystemRoutineName: *mut UNICODE_STRING) -> *mut c_void {
    const LONGEST: usize = 128;
    // SAFETY: the caller's promise: a string.
    let units = unsafe { (*SystemRoutineName).units() };
    let mut bytes = [0; LONGEST];
    let Some(place) = bytes.get_mut(..units.len()) else { return core::ptr::null_mut() };
    place.iter_mut().zip(units).for_each(|(byte, &unit)| *byte = u8::try_from(unit).unwrap_or(b'?'));
    let address = core::str::from_utf8(place).ok().and_then(find).unwrap_or(0);
    core::ptr::with_exposed_provenance_mut(address)
}

/// No driver is under Driver Verifier.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmIsDriverVerifying(_DriverObject: *mut c_void) -> u32 {
    0
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmIsDriverVerifyingByAddress(_AddressWithinSection: *mut c_void) -> u32 {
    0
}

/// A failed assertion of a checked driver: said, then a break into the debugger.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlAssert(
    FailedAssertion: *const u8,
    FileName: *const u8,
    LineNumber: u32,
    Message: *const u8,
) {
    let text = |text: *const u8| {
        // SAFETY: the caller's promise: null or terminated bytes.
        let bytes = if text.is_null() { &[][..] } else { unsafe { core::ffi::CStr::from_ptr(text.cast()).to_bytes() } };
        alloc::string::String::from_utf8_lossy(bytes)
    };
    crate::log!("*** Assertion failed: {}{} *** {}, line {LineNumber}", text(Message), text(FailedAssertion), text(FileName));
    // SAFETY: breaks into the debugger, as an assertion does.
    unsafe { wdf_sys::wdm::functions::DbgBreakPoint() };
}

/// A virtual function that no class has defined.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn _purecall() -> i32 {
    crate::log!("a driver calls a virtual function that is not defined");
    crate::bug_check::bug_check(wdf_sys::wdm::constants::bug_check::MANUALLY_INITIATED_CRASH, [0x7075_7265, 0, 0, 0])
}

/// As `RtlCaptureStackBackTrace`, from the caller on.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlWalkFrameChain(Callers: *mut *mut c_void, Count: u32, Flags: u32) -> u32 {
    /// Frames of the program below; there is nothing of it on a kernel stack.
    const USER: u32 = 1;
    if Flags & USER != 0 {
        return 0;
    }
    // SAFETY: the caller's promise: room for so many addresses.
    u32::from(unsafe { RtlCaptureStackBackTrace(1, Count, Callers, null_mut()) })
}

/// Says that the system is in use, which keeps it from sleeping of itself. This one never does.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PoSetSystemState(_Flags: u32) {}

/// What a driver is registered by: any address but null.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PoRegisterSystemState(StateHandle: *mut c_void, _Flags: u32) -> *mut c_void {
    static REGISTERED: u8 = 0;
    if StateHandle.is_null() { (&raw const REGISTERED).cast_mut().cast() } else { StateHandle }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PoUnregisterSystemState(_StateHandle: *mut c_void) {}

/// Nothing idles devices but their drivers. Documented: null when a device cannot be registered.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PoRegisterDeviceForIdleDetection(
    _DeviceObject: *mut c_void,
    _ConservationIdleTime: u32,
    _PerformanceIdleTime: u32,
    _State: i32,
) -> *mut u32 {
    null_mut()
}

/// The extended parameters are about pools that do not exist here.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExFreePool2(P: *mut c_void, Tag: u32, _ExtendedParameters: *const c_void, _Count: u32) {
    // SAFETY: the caller's promise.
    unsafe { wdf_sys::wdm::functions::ExFreePoolWithTag(P, Tag) };
}

/// The process of the current thread.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PsGetCurrentProcess() -> *mut c_void {
    // SAFETY: asks for the same.
    unsafe { wdf_sys::wdm::functions::IoGetCurrentProcess() }.cast()
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExEnterCriticalRegionAndAcquireFastMutexUnsafe(FastMutex: *mut FAST_MUTEX) {
    // SAFETY: the caller's promise: an initialised mutex.
    unsafe {
        KeEnterCriticalRegion();
        ExAcquireFastMutexUnsafe(FastMutex);
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExReleaseFastMutexUnsafeAndLeaveCriticalRegion(FastMutex: *mut FAST_MUTEX) {
    // SAFETY: the caller's promise: a mutex that it owns.
    unsafe {
        ExReleaseFastMutexUnsafe(FastMutex);
        KeLeaveCriticalRegion();
    }
}
