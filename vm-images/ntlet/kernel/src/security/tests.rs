//! Lists and descriptors as drivers build them.

use alloc::vec::Vec;
use core::ptr::null_mut;

use wdf_sys::NTSTATUS;

use super::acl::*;
use super::descriptor::*;
use super::sid::*;

/// S-1-5-18 and S-1-5-32-544.
const SYSTEM: [u8; 12] = [1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
const ADMINISTRATORS: [u8; 16] = [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];

fn acl(room: u32) -> (Vec<u64>, *mut Acl) {
    let mut memory = vec![0_u64; 32];
    let list: *mut Acl = memory.as_mut_ptr().cast();
    // SAFETY: the memory is large enough.
    assert_eq!(unsafe { RtlCreateAcl(list, room, 2) }, NTSTATUS::SUCCESS);
    (memory, list)
}

#[test]
fn a_list_takes_entries_as_long_as_there_is_room() {
    let (_memory, list) = acl(8 + 20 + 24);
    // SAFETY: a list and SIDs.
    unsafe {
        assert_eq!(RtlAddAccessAllowedAce(list, 2, 0x1f01ff, SYSTEM.as_ptr().cast()), NTSTATUS::SUCCESS);
        assert_eq!(RtlAddAccessDeniedAce(list, 2, 1, ADMINISTRATORS.as_ptr().cast()), NTSTATUS::SUCCESS);
        assert_eq!(RtlAddAccessAllowedAce(list, 2, 1, SYSTEM.as_ptr().cast()), ALLOTTED_SPACE_EXCEEDED);
        assert_eq!(RtlValidAcl(list), 1);
        let mut ace = null_mut();
        assert_eq!(RtlGetAce(list, 1, &raw mut ace), NTSTATUS::SUCCESS);
        assert_eq!((*ace.cast::<Ace>()).kind, DENIED);
        assert_eq!(RtlEqualSid(ace.byte_add(8), ADMINISTRATORS.as_ptr().cast()), 1);
        assert_eq!(RtlGetAce(list, 2, &raw mut ace), NTSTATUS::INVALID_PARAMETER);
        // An entry that leaves the list.
        (*ace.cast::<Ace>()).size = 400;
        assert_eq!(RtlValidAcl(list), 0);
    }
}

#[test]
fn a_descriptor_keeps_its_parts_in_either_form() {
    let (_memory, list) = acl(64);
    let mut descriptor = core::mem::MaybeUninit::<Descriptor>::uninit();
    let descriptor = descriptor.as_mut_ptr();
    // SAFETY: a list, SIDs, and room for what is asked for.
    unsafe {
        assert_eq!(RtlAddAccessAllowedAce(list, 2, 3, SYSTEM.as_ptr().cast()), NTSTATUS::SUCCESS);
        assert_eq!(RtlCreateSecurityDescriptor(descriptor, 2), UNKNOWN_REVISION);
        assert_eq!(RtlCreateSecurityDescriptor(descriptor, 1), NTSTATUS::SUCCESS);
        assert_eq!(RtlSetDaclSecurityDescriptor(descriptor, 1, list, 0), NTSTATUS::SUCCESS);
        assert_eq!(RtlSetOwnerSecurityDescriptor(descriptor, SYSTEM.as_ptr().cast_mut().cast(), 1), NTSTATUS::SUCCESS);
        let (mut room, mut length) = ([0_u64; 32], 4);
        let relative: *mut u8 = room.as_mut_ptr().cast();
        let status = RtlAbsoluteToSelfRelativeSD(descriptor.cast(), relative, &raw mut length);
        assert_eq!((status, length), (NTSTATUS::BUFFER_TOO_SMALL, 20 + 64 + 12));
        assert_eq!(RtlAbsoluteToSelfRelativeSD(descriptor.cast(), relative, &raw mut length), NTSTATUS::SUCCESS);
        assert_eq!(RtlLengthSecurityDescriptor(relative.cast()), length);
        assert_eq!(RtlLengthSecurityDescriptor(descriptor.cast()), length + 20);
        let (mut owner, mut group, mut defaulted) = (null_mut(), null_mut(), 7);
        let _ = RtlGetOwnerSecurityDescriptor(relative.cast(), &raw mut owner, &raw mut defaulted);
        assert_eq!((RtlEqualSid(owner, SYSTEM.as_ptr().cast()), defaulted), (1, 1));
        let _ = RtlGetGroupSecurityDescriptor(relative.cast(), &raw mut group, &raw mut defaulted);
        assert!(group.is_null());
        let (mut present, mut dacl) = (7, null_mut());
        let _ = RtlGetDaclSecurityDescriptor(relative.cast(), &raw mut present, &raw mut dacl, &raw mut defaulted);
        assert_eq!((present, (*dacl).count, RtlValidSecurityDescriptor(relative.cast())), (1, 1, 1));
        let _ = RtlGetSaclSecurityDescriptor(relative.cast(), &raw mut present, &raw mut dacl, &raw mut defaulted);
        assert_eq!(present, 0);
    }
}

#[test]
fn generic_rights_become_what_they_stand_for() {
    let mut mask = 0x9000_0001;
    let mapping = [0x10, 0x20, 0x40, 0x80];
    // SAFETY: a mask and a mapping.
    unsafe { RtlMapGenericMask(&raw mut mask, &raw const mapping) };
    assert_eq!(mask, 0x91);
}
