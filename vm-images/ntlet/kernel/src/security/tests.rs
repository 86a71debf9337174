//! Lists and descriptors as drivers build them.

use alloc::vec::Vec;
use core::ptr::null_mut;

use wdf_sys::NTSTATUS;

use super::access::*;
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

static MAPPING: [u32; 4] = [1, 2, 4, 0x1f_0007];

/// What a descriptor with this list allows to a program: the status, and the rights.
fn checked(dacl: Option<*mut Acl>, desired: u32) -> (NTSTATUS, u32) {
    let mut descriptor = core::mem::MaybeUninit::<Descriptor>::uninit();
    let descriptor = descriptor.as_mut_ptr();
    let (mut granted, mut status) = (7, NTSTATUS::SUCCESS);
    // SAFETY: a list, and places for the answers.
    unsafe {
        let _ = RtlCreateSecurityDescriptor(descriptor, 1);
        if let Some(dacl) = dacl {
            let _ = RtlSetDaclSecurityDescriptor(descriptor, 1, dacl, 0);
        }
        let (descriptor, mapping) = (descriptor.cast(), &raw const MAPPING);
        let (granted_at, status_at) = (&raw mut granted, &raw mut status);
        let allowed = SeAccessCheck(descriptor, null_mut(), 1, desired, 0, null_mut(), mapping, 1, granted_at, status_at);
        assert_eq!(allowed != 0, status.is_success());
    }
    (status, granted)
}

#[test]
fn entries_count_in_their_order_and_only_those_that_mean_the_caller() {
    const MAXIMUM: u32 = 0x200_0000;
    const GUEST: [u8; 12] = [1, 1, 0, 0, 0, 0, 0, 5, 7, 0, 0, 0];
    let denied = (NTSTATUS::ACCESS_DENIED, 0);
    assert_eq!(checked(None, 3), (NTSTATUS::SUCCESS, 3), "without a list nobody is kept out");
    let (_empty, list) = acl(128);
    assert_eq!(checked(Some(list), 1), denied, "an empty one keeps everybody out");
    // SAFETY: a list and SIDs.
    unsafe {
        let _ = RtlAddAccessAllowedAce(list, 2, 7, GUEST.as_ptr().cast());
        assert_eq!(checked(Some(list), 1), denied, "another's entry");
        let _ = RtlAddAccessAllowedAce(list, 2, 0x8000_0000, SYSTEM.as_ptr().cast());
        assert_eq!(checked(Some(list), 0x8000_0000), (NTSTATUS::SUCCESS, 1), "generic rights stand for others");
        let _ = RtlAddAccessDeniedAce(list, 2, 3, ADMINISTRATORS.as_ptr().cast());
        let _ = RtlAddAccessAllowedAce(list, 2, 6, SYSTEM.as_ptr().cast());
    }
    assert_eq!(checked(Some(list), 1), (NTSTATUS::SUCCESS, 1), "granted before it was denied");
    assert_eq!(checked(Some(list), 2), denied, "denied before it was granted");
    assert_eq!(checked(Some(list), 5), (NTSTATUS::SUCCESS, 5));
    assert_eq!(checked(Some(list), MAXIMUM), (NTSTATUS::SUCCESS, 5));
}

#[test]
fn a_descriptor_of_nonsense_is_found_out_however_it_is_cut() {
    let (_memory, list) = acl(64);
    let mut descriptor = core::mem::MaybeUninit::<Descriptor>::uninit();
    let descriptor = descriptor.as_mut_ptr();
    let (mut room, mut length) = ([0_u64; 32], 256);
    let relative: *mut u8 = room.as_mut_ptr().cast();
    // SAFETY: a list, a SID, and room for what is asked for.
    unsafe {
        let _ = RtlCreateSecurityDescriptor(descriptor, 1);
        let _ = RtlSetDaclSecurityDescriptor(descriptor, 1, list, 0);
        let _ = RtlSetOwnerSecurityDescriptor(descriptor, SYSTEM.as_ptr().cast_mut().cast(), 0);
        assert_eq!(RtlAbsoluteToSelfRelativeSD(descriptor.cast(), relative, &raw mut length), NTSTATUS::SUCCESS);
        assert_eq!(SeValidSecurityDescriptor(length, relative.cast()), 1);
        assert_eq!(RtlValidRelativeSecurityDescriptor(relative.cast(), length, 5), 1);
        assert_eq!(RtlValidRelativeSecurityDescriptor(relative.cast(), length, 2), 0, "it has no group");
        for shorter in 0..length {
            assert_eq!(SeValidSecurityDescriptor(shorter, relative.cast()), 0, "{shorter}");
        }
        // Owner and list lie outside, or inside the header.
        for (at, offset) in [(4, length), (4, u32::MAX), (16, length - 2), (16, u32::MAX - 3), (4, 8)] {
            let field: *mut u32 = relative.add(at).cast();
            let before = field.replace(offset);
            assert_eq!(SeValidSecurityDescriptor(length, relative.cast()), 0, "{at}: {offset}");
            field.write(before);
        }
    }
}
