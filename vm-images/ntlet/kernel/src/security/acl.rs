//! Access control lists: who may do what.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;

use wdf_sys::{BOOLEAN, NTSTATUS};

use super::sid::{RtlValidSid, sid_size};

const INVALID_SID: NTSTATUS = NTSTATUS(0xc000_0078_u32 as i32);
const INVALID_ACL: NTSTATUS = NTSTATUS(0xc000_0077_u32 as i32);
pub(super) const ALLOTTED_SPACE_EXCEEDED: NTSTATUS = NTSTATUS(0xc000_0099_u32 as i32);

/// `ACL`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Acl {
    revision: u8,
    reserved: u8,
    size: u16,
    pub(super) count: u16,
    reserved2: u16,
}

/// `ACE_HEADER`, and the mask that follows it in entries that allow or deny.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Ace {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) size: u16,
    pub(super) mask: u32,
}

/// Bytes of an ACL, 0 for none.
///
/// # Safety
/// `acl` is null or an ACL.
pub(super) unsafe fn acl_size(acl: *const Acl) -> usize {
    // SAFETY: the caller's promise.
    if acl.is_null() { 0 } else { unsafe { usize::from((*acl).size) } }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlCreateAcl(Acl: *mut Acl, AclLength: u32, AclRevision: u32) -> NTSTATUS {
    if (AclLength as usize) < size_of::<self::Acl>() {
        return NTSTATUS::BUFFER_TOO_SMALL;
    }
    if !(2..=4).contains(&AclRevision) || AclLength > u32::from(u16::MAX) {
        return NTSTATUS::INVALID_PARAMETER;
    }
    let size = (AclLength & !3) as u16;
    // SAFETY: the caller's promise: room for so many bytes.
    unsafe { Acl.write(self::Acl { revision: AclRevision as u8, reserved: 0, size, count: 0, reserved2: 0 }) };
    NTSTATUS::SUCCESS
}

/// Entries of an ACL one after the other: offset and header. Ends where they end, or where they leave the list.
///
/// # Safety
/// `acl` is an ACL.
pub(super) unsafe fn entries<'a>(acl: *const Acl) -> impl Iterator<Item = (usize, Ace)> + 'a {
    // SAFETY: the caller's promise.
    let (count, size) = unsafe { ((*acl).count, usize::from((*acl).size)) };
    let mut at = size_of::<Acl>();
    (0..count).map_while(move |_| {
        if at + 4 > size {
            return None;
        }
        // SAFETY: inside the list, as checked; the mask is read only if there is room for it.
        let ace = unsafe {
            let header: *const Ace = acl.byte_add(at).cast();
            let mask = if at + size_of::<Ace>() <= size { (&raw const (*header).mask).read_unaligned() } else { 0 };
            Ace { kind: (*header).kind, flags: (*header).flags, size: (&raw const (*header).size).read_unaligned(), mask }
        };
        let here = at;
        at += usize::from(ace.size);
        (usize::from(ace.size) >= 4 && at <= size).then_some((here, ace))
    })
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlValidAcl(Acl: *const Acl) -> BOOLEAN {
    // SAFETY: the caller's promise: null, or readable as far as it says.
    BOOLEAN::from(
        !Acl.is_null()
            && unsafe {
                (2..=4).contains(&(*Acl).revision)
                    && usize::from((*Acl).size) >= size_of::<self::Acl>()
                    && entries(Acl).count() == usize::from((*Acl).count)
            },
    )
}

/// Adds an entry at the end.
///
/// # Safety
/// An ACL and a SID.
unsafe fn add(acl: *mut Acl, revision: u32, (kind, flags): (u8, u8), mask: u32, sid: *const c_void) -> NTSTATUS {
    // SAFETY: the caller's promise; what is written lies inside the list, as checked.
    unsafe {
        if RtlValidSid(sid.cast()) == 0 {
            return INVALID_SID;
        }
        if RtlValidAcl(acl) == 0 {
            return INVALID_ACL;
        }
        if revision > 4 || u32::from((*acl).revision) > 4 {
            return NTSTATUS::REVISION_MISMATCH;
        }
        let at = entries(acl).last().map_or(size_of::<Acl>(), |(at, ace)| at + usize::from(ace.size));
        let size = size_of::<Ace>() + sid_size(sid);
        if at + size > usize::from((*acl).size) {
            return ALLOTTED_SPACE_EXCEEDED;
        }
        let ace: *mut Ace = acl.byte_add(at).cast();
        ace.write_unaligned(Ace { kind, flags, size: size as u16, mask });
        core::ptr::copy_nonoverlapping(sid.cast::<u8>(), ace.byte_add(size_of::<Ace>()).cast(), sid_size(sid));
        (*acl).count += 1;
        (*acl).revision = (*acl).revision.max(revision as u8);
    }
    NTSTATUS::SUCCESS
}

/// `ACCESS_ALLOWED_ACE_TYPE` and `ACCESS_DENIED_ACE_TYPE`.
const ALLOWED: u8 = 0;
pub(super) const DENIED: u8 = 1;

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlAddAccessAllowedAce(
    Acl: *mut Acl,
    AceRevision: u32,
    AccessMask: u32,
    Sid: *const c_void,
) -> NTSTATUS {
    // SAFETY: the caller's promise: an ACL and a SID.
    unsafe { add(Acl, AceRevision, (ALLOWED, 0), AccessMask, Sid) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlAddAccessAllowedAceEx(
    Acl: *mut Acl,
    AceRevision: u32,
    AceFlags: u32,
    AccessMask: u32,
    Sid: *const c_void,
) -> NTSTATUS {
    // SAFETY: as above.
    unsafe { add(Acl, AceRevision, (ALLOWED, AceFlags as u8), AccessMask, Sid) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlAddAccessDeniedAce(
    Acl: *mut Acl,
    AceRevision: u32,
    AccessMask: u32,
    Sid: *const c_void,
) -> NTSTATUS {
    // SAFETY: as above.
    unsafe { add(Acl, AceRevision, (DENIED, 0), AccessMask, Sid) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlGetAce(Acl: *mut Acl, AceIndex: u32, Ace: *mut *mut c_void) -> NTSTATUS {
    // SAFETY: the caller's promise: an ACL, and a place for an address.
    unsafe {
        let Some((at, _)) = entries(Acl).nth(AceIndex as usize) else { return NTSTATUS::INVALID_PARAMETER };
        Ace.write(Acl.byte_add(at).cast());
    }
    NTSTATUS::SUCCESS
}
