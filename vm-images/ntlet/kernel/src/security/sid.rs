//! SIDs: who somebody is.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;

use wdf_sys::{BOOLEAN, NTSTATUS};

use super::REVISION;

const MOST_SUB_AUTHORITIES: u8 = 15;
/// Bytes of a SID before its sub-authorities.
pub(super) const SID_HEADER: usize = 8;

/// Bytes of a SID, 0 for none.
///
/// # Safety
/// `sid` is null or a SID.
pub(super) unsafe fn sid_size(sid: *const c_void) -> usize {
    // SAFETY: the caller's promise: the second byte is the number of sub-authorities.
    if sid.is_null() { 0 } else { unsafe { SID_HEADER + 4 * usize::from(*sid.cast::<u8>().add(1)) } }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlValidSid(Sid: *const u8) -> BOOLEAN {
    // SAFETY: the caller's promise: null, or readable.
    BOOLEAN::from(!Sid.is_null() && unsafe { *Sid & 0xf == REVISION && *Sid.add(1) <= MOST_SUB_AUTHORITIES })
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlEqualSid(Sid1: *const c_void, Sid2: *const c_void) -> BOOLEAN {
    // SAFETY: the caller's promise: two SIDs.
    unsafe {
        let (one, other) = (sid_size(Sid1), sid_size(Sid2));
        let bytes = |sid: *const c_void, size| core::slice::from_raw_parts(sid.cast::<u8>(), size);
        BOOLEAN::from(one == other && bytes(Sid1, one) == bytes(Sid2, other))
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlLengthSid(Sid: *const c_void) -> u32 {
    // SAFETY: the caller's promise: a SID.
    unsafe { sid_size(Sid) as u32 }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlLengthRequiredSid(SubAuthorityCount: u32) -> u32 {
    SID_HEADER as u32 + 4 * SubAuthorityCount
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlInitializeSid(Sid: *mut u8, Authority: *const [u8; 6], SubAuthorityCount: u8) -> NTSTATUS {
    if SubAuthorityCount > MOST_SUB_AUTHORITIES {
        return NTSTATUS::INVALID_PARAMETER;
    }
    // SAFETY: the caller's promise: room for a SID of that many sub-authorities.
    unsafe {
        Sid.write(REVISION);
        Sid.add(1).write(SubAuthorityCount);
        Sid.add(2).cast::<[u8; 6]>().write(*Authority);
    }
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlSubAuthoritySid(Sid: *mut u8, SubAuthority: u32) -> *mut u32 {
    Sid.wrapping_add(SID_HEADER + 4 * SubAuthority as usize).cast()
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlSubAuthorityCountSid(Sid: *mut u8) -> *mut u8 {
    Sid.wrapping_add(1)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlCopySid(Length: u32, Destination: *mut u8, Source: *const c_void) -> NTSTATUS {
    // SAFETY: the caller's promise: a SID, and room for so many bytes.
    unsafe {
        let size = sid_size(Source);
        if size > Length as usize {
            return NTSTATUS::BUFFER_TOO_SMALL;
        }
        core::ptr::copy(Source.cast::<u8>(), Destination, size);
    }
    NTSTATUS::SUCCESS
}
