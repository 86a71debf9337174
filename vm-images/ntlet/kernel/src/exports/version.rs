//! Comparing the system's version with one that a driver wants.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::cmp::Ordering;

use wdf_sys::wdm::{RTL_OSVERSIONINFOW, UNICODE_STRING};
use wdf_sys::{BOOLEAN, FALSE, NTSTATUS};

use crate::time::VERSION;

/// What there is to compare (`VER_…` of `winnt.h`): one bit each, and three bits of the condition mask.
const MINOR: u32 = 1;
const MAJOR: u32 = 2;
const BUILD: u32 = 4;
const PLATFORM: u32 = 8;
const SERVICE_PACK_MINOR: u32 = 0x10;
const SERVICE_PACK_MAJOR: u32 = 0x20;
const SUITES: u32 = 0x40;
const PRODUCT: u32 = 0x80;

/// `VER_PLATFORM_WIN32_NT`.
const NT: u32 = 2;
/// `VER_NT_WORKSTATION`.
const WORKSTATION: u8 = 1;

/// `RTL_OSVERSIONINFOEXW`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct VersionInfo {
    size: u32,
    major: u32,
    minor: u32,
    build: u32,
    platform: u32,
    service_pack_name: [u16; 128],
    service_pack_major: u16,
    service_pack_minor: u16,
    suites: u16,
    product: u8,
    reserved: u8,
}

const _: () = assert!(size_of::<VersionInfo>() == 284, "RTL_OSVERSIONINFOEXW of wdm.h");

/// What `VER_SET_CONDITION` makes: three bits for each part of the version.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn VerSetConditionMask(ConditionMask: u64, TypeMask: u32, Condition: u8) -> u64 {
    match TypeMask.checked_ilog2() {
        Some(bit) if bit < 8 => ConditionMask | u64::from(Condition & 7) << (bit * 3),
        _ => ConditionMask,
    }
}

/// Whether an order is the one that a condition (`VER_EQUAL` to `VER_LESS_EQUAL`) asks for; `None` for other conditions.
fn fits(condition: u64, order: Ordering) -> Option<bool> {
    match condition {
        1 => Some(order.is_eq()),
        2 => Some(order.is_gt()),
        3 => Some(order.is_ge()),
        4 => Some(order.is_lt()),
        5 => Some(order.is_le()),
        _ => None,
    }
}

/// Whether this system is one that is wanted; `None` when that makes no sense.
fn is_wanted(wanted: &VersionInfo, types: u32, conditions: u64) -> Option<bool> {
    let condition = |kind: u32| conditions >> (kind.trailing_zeros() * 3) & 7;
    let (major, minor, build) = VERSION;
    let mut fit = true;
    if types & SUITES != 0 {
        // This system is in no suite: of several, it has none.
        fit &= match condition(SUITES) {
            6 | 7 => wanted.suites == 0,
            _ => return None,
        };
    }
    for (kind, order) in
        [(PRODUCT, WORKSTATION.cmp(&wanted.product)), (PLATFORM, NT.cmp(&wanted.platform)), (BUILD, build.cmp(&wanted.build))]
    {
        if types & kind != 0 {
            fit &= fits(condition(kind), order)?;
        }
    }
    // Documented: the parts of one version are compared as one number, by the condition of the first that is given.
    let parts = [
        (MAJOR, major.cmp(&wanted.major)),
        (MINOR, minor.cmp(&wanted.minor)),
        (SERVICE_PACK_MAJOR, 0.cmp(&wanted.service_pack_major)),
        (SERVICE_PACK_MINOR, 0.cmp(&wanted.service_pack_minor)),
    ];
    let mut given = parts.into_iter().filter(|(kind, _)| types & kind != 0).peekable();
    if let Some(&(first, _)) = given.peek() {
        let order = given.fold(Ordering::Equal, |order, (_, part)| order.then(part));
        fit &= fits(condition(first), order)?;
    }
    Some(fit)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlVerifyVersionInfo(
    VersionInfo: *const VersionInfo,
    TypeMask: u32,
    ConditionMask: u64,
) -> NTSTATUS {
    if TypeMask == 0 || ConditionMask == 0 {
        return NTSTATUS::INVALID_PARAMETER;
    }
    // SAFETY: the caller's promise: a structure of this size.
    match is_wanted(unsafe { &*VersionInfo }, TypeMask, ConditionMask) {
        Some(true) => NTSTATUS::SUCCESS,
        Some(false) => NTSTATUS::REVISION_MISMATCH,
        None => NTSTATUS::INVALID_PARAMETER,
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlGetVersion(VersionInformation: *mut RTL_OSVERSIONINFOW) -> NTSTATUS {
    const WIN32_NT: u32 = 2;
    // SAFETY: the caller's promise: a structure that begins with its size; the longer form has further fields, which stay.
    unsafe {
        let info = &mut *VersionInformation;
        (info.dwMajorVersion, info.dwMinorVersion, info.dwBuildNumber) = crate::time::VERSION;
        info.dwPlatformId = WIN32_NT;
        info.szCSDVersion = [0; 128];
    }
    NTSTATUS::SUCCESS
}

/// The system's version; whether it is a checked build.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PsGetVersion(
    MajorVersion: *mut u32,
    MinorVersion: *mut u32,
    BuildNumber: *mut u32,
    CSDVersion: *mut UNICODE_STRING,
) -> BOOLEAN {
    let (major, minor, build) = crate::time::VERSION;
    // SAFETY: the caller's promise: null or a place each.
    unsafe {
        for (place, value) in [(MajorVersion, major), (MinorVersion, minor), (BuildNumber, build)] {
            if !place.is_null() {
                place.write(value);
            }
        }
        if let Some(string) = CSDVersion.as_mut() {
            string.Length = 0;
        }
    }
    FALSE
}

/// What every version since Windows 2000 says: WDM is there, in any version that a driver may ask for.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoIsWdmVersionAvailable(MajorVersion: u8, MinorVersion: u8) -> BOOLEAN {
    BOOLEAN::from(MajorVersion < 6 || MajorVersion == 6 && MinorVersion == 0)
}

/// Documented: only versions without a service pack may be asked for.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlIsNtDdiVersionAvailable(Version: u32) -> BOOLEAN {
    /// `NTDDI_WIN10_VB`, the system that `RtlGetVersion` names.
    const OWN: u32 = 0x0a00_0008;
    BOOLEAN::from(Version & 0xffff == 0 && Version <= OWN)
}

/// A workstation is in no product suite.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExVerifySuite(_SuiteType: i32) -> BOOLEAN {
    FALSE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_compared_as_one_number() {
        const GREATER_EQUAL: u8 = 3;
        let ask = |major, minor, types: u32, condition| {
            // SAFETY: a structure of numbers.
            let mut wanted: VersionInfo = unsafe { core::mem::zeroed() };
            (wanted.major, wanted.minor) = (major, minor);
            // SAFETY: the structure is the test's own.
            unsafe {
                let conditions = VerSetConditionMask(VerSetConditionMask(0, MAJOR, condition), MINOR, condition);
                RtlVerifyVersionInfo(&raw const wanted, types, conditions)
            }
        };
        assert_eq!(ask(6, 3, MAJOR | MINOR, GREATER_EQUAL), NTSTATUS::SUCCESS, "10.0 is later than 6.3");
        assert_eq!(ask(10, 0, MAJOR | MINOR, GREATER_EQUAL), NTSTATUS::SUCCESS);
        assert_eq!(ask(10, 1, MAJOR | MINOR, GREATER_EQUAL), NTSTATUS::REVISION_MISMATCH);
        assert_eq!(ask(6, 3, MAJOR, 1), NTSTATUS::REVISION_MISMATCH, "equal to 6 it is not");
        assert_eq!(ask(6, 3, 0, 1), NTSTATUS::INVALID_PARAMETER);
    }

    #[test]
    fn a_condition_mask_has_three_bits_for_each_part() {
        // SAFETY: numbers alone.
        let mask = unsafe { VerSetConditionMask(VerSetConditionMask(0, 2, 3), 1, 1) };
        assert_eq!(mask, 3 << 3 | 1);
    }
}
