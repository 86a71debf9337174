//! Access checks: what a security descriptor allows to whoever asks. Everybody in this guest is the local system, a member of the administrators,
//! which is whom programs and drivers run as.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::constants::KERNEL_MODE;
use wdf_sys::{BOOLEAN, FALSE, NTSTATUS, TRUE};

use super::acl::entries;
use super::descriptor::{self, DACL_PRESENT, RtlMapGenericMask, RtlValidSecurityDescriptor};
use super::sid::RtlEqualSid;
use super::well_known;

const READ_CONTROL: u32 = 0x2_0000;
const WRITE_DAC: u32 = 0x4_0000;
const ACCESS_SYSTEM_SECURITY: u32 = 0x100_0000;
const MAXIMUM_ALLOWED: u32 = 0x200_0000;
/// Kinds of entries, and the flag of those that are for children alone.
const ALLOWED: u8 = 0;
const DENIED: u8 = 1;
const INHERIT_ONLY: u8 = 8;

/// `SECURITY_SUBJECT_CONTEXT`.
#[repr(C)]
pub(crate) struct SubjectContext {
    client_token: *mut c_void,
    impersonation: i32,
    primary_token: *mut c_void,
    audit_id: *mut c_void,
}
const _: () = assert!(size_of::<SubjectContext>() == 32);

/// Whether whoever asks is this one.
///
/// # Safety
/// `sid` is a SID.
unsafe fn is_caller(sid: *const c_void) -> bool {
    // SAFETY: the caller's promise, and SIDs of ours.
    well_known::caller().into_iter().any(|own| unsafe { RtlEqualSid(own, sid) } != 0)
}

/// What of `wanted` a list grants: entries count in their order, and what one has decided the next cannot change.
///
/// # Safety
/// `descriptor` is a security descriptor.
unsafe fn granted(descriptor: *const c_void, wanted: u32, mapping: *const [u32; 4]) -> u32 {
    // SAFETY: the caller's promise: lists and SIDs of the descriptor are whole.
    unsafe {
        let parts = descriptor::parts(descriptor);
        let mut granted = if !parts.owner.is_null() && is_caller(parts.owner) { READ_CONTROL | WRITE_DAC } else { 0 };
        if parts.control & DACL_PRESENT == 0 || parts.dacl.is_null() {
            // No list: nobody is kept out.
            return wanted | (*mapping)[3];
        }
        let mut denied = 0;
        for (at, ace) in entries(parts.dacl) {
            let is_meant = ace.flags & INHERIT_ONLY == 0 && matches!(ace.kind, ALLOWED | DENIED) && usize::from(ace.size) >= 16;
            if !is_meant || !is_caller(parts.dacl.byte_add(at + 8).cast()) {
                continue;
            }
            let mut mask = ace.mask;
            RtlMapGenericMask(&raw mut mask, mapping);
            if ace.kind == ALLOWED {
                granted |= mask & !denied;
            } else {
                denied |= mask & !granted;
            }
        }
        granted
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn SeAccessCheck(
    SecurityDescriptor: *const c_void,
    _SubjectSecurityContext: *mut SubjectContext,
    _SubjectContextLocked: BOOLEAN,
    DesiredAccess: u32,
    PreviouslyGrantedAccess: u32,
    Privileges: *mut *mut c_void,
    GenericMapping: *const [u32; 4],
    AccessMode: i8,
    GrantedAccess: *mut u32,
    AccessStatus: *mut NTSTATUS,
) -> BOOLEAN {
    // SAFETY: the caller's promise: a descriptor, a mapping, places for the answers.
    unsafe {
        if !Privileges.is_null() {
            Privileges.write(null_mut());
        }
        let (status, access) = if AccessMode == KERNEL_MODE {
            let mut access = DesiredAccess & !MAXIMUM_ALLOWED;
            if DesiredAccess & MAXIMUM_ALLOWED != 0 {
                access |= (*GenericMapping)[3];
            }
            RtlMapGenericMask(&raw mut access, GenericMapping);
            (NTSTATUS::SUCCESS, access | PreviouslyGrantedAccess)
        } else {
            check(SecurityDescriptor, DesiredAccess, PreviouslyGrantedAccess, GenericMapping)
        };
        GrantedAccess.write(access);
        AccessStatus.write(status);
        if status.is_success() { TRUE } else { FALSE }
    }
}

/// # Safety
/// As for [`SeAccessCheck`].
unsafe fn check(descriptor: *const c_void, desired: u32, before: u32, mapping: *const [u32; 4]) -> (NTSTATUS, u32) {
    // SAFETY: the caller's promise.
    unsafe {
        if descriptor.is_null() || RtlValidSecurityDescriptor(descriptor) == 0 {
            return (NTSTATUS::ACCESS_DENIED, 0);
        }
        let mut wanted = desired & !MAXIMUM_ALLOWED;
        RtlMapGenericMask(&raw mut wanted, mapping);
        // The local system has the privilege that this right takes.
        let by_privilege = wanted & ACCESS_SYSTEM_SECURITY;
        let missing = wanted & !before & !by_privilege;
        let granted = granted(descriptor, missing, mapping);
        if missing & !granted != 0 {
            return (NTSTATUS::ACCESS_DENIED, 0);
        }
        let more = if desired & MAXIMUM_ALLOWED != 0 { granted } else { 0 };
        let access = before | by_privilege | missing | more;
        if access == 0 && desired & MAXIMUM_ALLOWED != 0 { (NTSTATUS::ACCESS_DENIED, 0) } else { (NTSTATUS::SUCCESS, access) }
    }
}

/// There is one token, that of the local system, and nobody impersonates.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn SeCaptureSubjectContext(SubjectContext: *mut SubjectContext) {
    let process = crate::process::id_of(crate::process::current()) as usize;
    let own = self::SubjectContext {
        client_token: null_mut(),
        impersonation: 0,
        primary_token: null_mut(),
        audit_id: core::ptr::without_provenance_mut(process),
    };
    // SAFETY: the caller's promise: a place for the context.
    unsafe { SubjectContext.write(own) };
}

/// The token does not change, so that nothing need be locked, nor is anything to be given back.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn SeLockSubjectContext(_SubjectContext: *mut SubjectContext) {}

/// As [`SeLockSubjectContext`].
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn SeUnlockSubjectContext(_SubjectContext: *mut SubjectContext) {}

/// As [`SeLockSubjectContext`].
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn SeReleaseSubjectContext(_SubjectContext: *mut SubjectContext) {}

/// Whether a descriptor in self-relative form is whole within so many bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn SeValidSecurityDescriptor(Length: u32, SecurityDescriptor: *const c_void) -> BOOLEAN {
    // SAFETY: the caller's promise: so many bytes are readable.
    unsafe { descriptor::is_whole(SecurityDescriptor, Length, 0).into() }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlValidRelativeSecurityDescriptor(
    SecurityDescriptorInput: *const c_void,
    SecurityDescriptorLength: u32,
    RequiredInformation: u32,
) -> BOOLEAN {
    // SAFETY: as above.
    unsafe { descriptor::is_whole(SecurityDescriptorInput, SecurityDescriptorLength, RequiredInformation).into() }
}
