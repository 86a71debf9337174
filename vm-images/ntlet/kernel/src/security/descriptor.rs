//! Security descriptors, in the form with pointers and in the self-relative one.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::constants::{KERNEL_MODE, POOL_FLAG_PAGED};
use wdf_sys::wdm::functions::ExAllocatePool2;
use wdf_sys::{BOOLEAN, NTSTATUS};

use super::REVISION;
use super::acl::{Acl, RtlValidAcl, acl_size};
use super::sid::{RtlValidSid, sid_size};

pub(super) const INVALID_SECURITY_DESCR: NTSTATUS = NTSTATUS(0xc000_0079_u32 as i32);
pub(super) const UNKNOWN_REVISION: NTSTATUS = NTSTATUS(0xc000_0058_u32 as i32);
const BAD_DESCRIPTOR_FORMAT: NTSTATUS = NTSTATUS(0xc000_00e7_u32 as i32);

/// `SE_…` of a descriptor's control word.
pub(super) const DACL_PRESENT: u16 = 0x4;
pub(super) const SACL_PRESENT: u16 = 0x10;
pub(super) const SELF_RELATIVE: u16 = 0x8000;

/// Tag of descriptors in pool.
pub(super) const TAG: u32 = u32::from_le_bytes(*b"NtSe");

/// `SECURITY_DESCRIPTOR`, with pointers.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Descriptor {
    revision: u8,
    reserved: u8,
    pub(super) control: u16,
    pub(super) owner: *mut c_void,
    pub(super) group: *mut c_void,
    pub(super) sacl: *mut Acl,
    pub(super) dacl: *mut Acl,
}
const _: () = assert!(size_of::<Descriptor>() == 40);

/// `SECURITY_DESCRIPTOR_RELATIVE`, with offsets from its start.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Relative {
    revision: u8,
    reserved: u8,
    control: u16,
    owner: u32,
    group: u32,
    sacl: u32,
    dacl: u32,
}
const _: () = assert!(size_of::<Relative>() == 20);

/// The four parts of a descriptor of either form, as pointers.
///
/// # Safety
/// `descriptor` is a security descriptor.
pub(super) unsafe fn parts(descriptor: *const c_void) -> Descriptor {
    // SAFETY: the caller's promise; both forms begin alike.
    unsafe {
        let relative: *const Relative = descriptor.cast();
        let Relative { revision, reserved, control, owner, group, sacl, dacl } = relative.read();
        if control & SELF_RELATIVE == 0 {
            return descriptor.cast::<Descriptor>().read();
        }
        let at = |offset: u32| if offset == 0 { null_mut() } else { descriptor.byte_add(offset as usize).cast_mut() };
        Descriptor {
            revision,
            reserved,
            control,
            owner: at(owner),
            group: at(group),
            sacl: at(sacl).cast(),
            dacl: at(dacl).cast(),
        }
    }
}

impl Descriptor {
    /// Bytes of the self-relative form.
    ///
    /// # Safety
    /// The pointers are null or to what they are for.
    pub(super) unsafe fn relative_size(&self) -> usize {
        // SAFETY: the caller's promise.
        unsafe {
            let parts = [sid_size(self.owner), sid_size(self.group), acl_size(self.sacl), acl_size(self.dacl)];
            size_of::<Relative>() + parts.iter().map(|size| size.next_multiple_of(4)).sum::<usize>()
        }
    }

    /// The self-relative form.
    ///
    /// # Safety
    /// As [`Descriptor::relative_size`].
    pub(super) unsafe fn to_relative(self) -> Vec<u8> {
        let mut bytes = alloc::vec![0; size_of::<Relative>()];
        // SAFETY: the caller's promise.
        unsafe {
            let mut append = |part: *const c_void, size: usize| {
                if size == 0 {
                    return 0;
                }
                let offset = bytes.len() as u32;
                bytes.extend_from_slice(core::slice::from_raw_parts(part.cast::<u8>(), size));
                bytes.resize(bytes.len().next_multiple_of(4), 0);
                offset
            };
            let sacl = append(self.sacl.cast(), acl_size(self.sacl));
            let dacl = append(self.dacl.cast(), acl_size(self.dacl));
            let owner = append(self.owner, sid_size(self.owner));
            let group = append(self.group, sid_size(self.group));
            let control = self.control | SELF_RELATIVE;
            let header = Relative { revision: REVISION, reserved: self.reserved, control, owner, group, sacl, dacl };
            bytes.as_mut_ptr().cast::<Relative>().write_unaligned(header);
        }
        bytes
    }
}

/// Whether a descriptor in self-relative form lies within so many bytes with all its parts, and has those that are required (owner 1,
/// group 2, DACL 4, SACL 8).
///
/// # Safety
/// So many bytes are readable.
pub(super) unsafe fn is_whole(descriptor: *const c_void, length: u32, required: u32) -> bool {
    let length = length as usize;
    if descriptor.is_null() || length < size_of::<Relative>() {
        return false;
    }
    // SAFETY: the caller's promise; each part is read as far as was checked.
    unsafe {
        let header = descriptor.cast::<Relative>().read_unaligned();
        if header.revision != REVISION || header.control & SELF_RELATIVE == 0 {
            return false;
        }
        let fits = |offset: u32, least: usize, size: &dyn Fn(*const c_void) -> usize| {
            let at = offset as usize;
            let is_inside = |bytes: usize| at >= size_of::<Relative>() && at.checked_add(bytes).is_some_and(|end| end <= length);
            is_inside(least) && is_inside(size(descriptor.byte_add(at)))
        };
        let sid = |offset: u32, flag: u32| {
            if offset == 0 {
                required & flag == 0
            } else {
                fits(offset, 8, &|sid| if RtlValidSid(sid.cast()) == 0 { usize::MAX } else { sid_size(sid) })
            }
        };
        let acl = |offset: u32, present: u16, flag: u32| match (header.control & present != 0, offset) {
            (false, _) => required & flag == 0,
            (true, 0) => true,
            (true, offset) => {
                fits(offset, size_of::<Acl>(), &|acl| acl_size(acl.cast()))
                    && RtlValidAcl(descriptor.byte_add(offset as usize).cast()) != 0
            }
        };
        sid(header.owner, 1) && sid(header.group, 2) && acl(header.dacl, DACL_PRESENT, 4) && acl(header.sacl, SACL_PRESENT, 8)
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlCreateSecurityDescriptor(Descriptor: *mut Descriptor, Revision: u32) -> NTSTATUS {
    if Revision != u32::from(REVISION) {
        return UNKNOWN_REVISION;
    }
    // SAFETY: the caller's promise: room for a descriptor.
    unsafe {
        Descriptor.write_bytes(0, 1);
        (*Descriptor).revision = REVISION;
    }
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlValidSecurityDescriptor(Descriptor: *const c_void) -> BOOLEAN {
    // SAFETY: the caller's promise: null, or readable as far as it says.
    unsafe {
        if Descriptor.is_null() || *Descriptor.cast::<u8>() != REVISION {
            return 0;
        }
        let parts = parts(Descriptor);
        let sid = |sid: *mut c_void| sid.is_null() || RtlValidSid(sid.cast()) != 0;
        let acl = |acl: *mut Acl| acl.is_null() || RtlValidAcl(acl) != 0;
        BOOLEAN::from(sid(parts.owner) && sid(parts.group) && acl(parts.sacl) && acl(parts.dacl))
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlLengthSecurityDescriptor(Descriptor: *const c_void) -> u32 {
    // SAFETY: the caller's promise: a descriptor. The absolute form has a longer header.
    unsafe {
        let parts = parts(Descriptor);
        let longer = if parts.control & SELF_RELATIVE == 0 { size_of::<self::Descriptor>() - size_of::<Relative>() } else { 0 };
        (parts.relative_size() + longer) as u32
    }
}

/// Sets a part of a descriptor of the absolute form.
///
/// # Safety
/// A descriptor.
unsafe fn change(descriptor: *mut Descriptor, change: impl FnOnce(&mut Descriptor)) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let descriptor = unsafe { &mut *descriptor };
    if descriptor.revision != REVISION {
        return UNKNOWN_REVISION;
    }
    if descriptor.control & SELF_RELATIVE != 0 {
        return INVALID_SECURITY_DESCR;
    }
    change(descriptor);
    NTSTATUS::SUCCESS
}

/// The bit of the control word that says that the system chose a part, not its maker.
const fn defaulted(bit: u16, is_defaulted: BOOLEAN) -> u16 {
    if is_defaulted == 0 { 0 } else { bit }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlSetDaclSecurityDescriptor(
    Descriptor: *mut Descriptor,
    DaclPresent: BOOLEAN,
    Dacl: *mut Acl,
    DaclDefaulted: BOOLEAN,
) -> NTSTATUS {
    // SAFETY: the caller's promise: a descriptor.
    unsafe {
        change(Descriptor, |descriptor| {
            descriptor.control &= !(DACL_PRESENT | 0x8);
            if DaclPresent != 0 {
                descriptor.control |= DACL_PRESENT | defaulted(0x8, DaclDefaulted);
                descriptor.dacl = Dacl;
            }
        })
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlSetOwnerSecurityDescriptor(
    Descriptor: *mut Descriptor,
    Owner: *mut c_void,
    OwnerDefaulted: BOOLEAN,
) -> NTSTATUS {
    // SAFETY: as above.
    unsafe {
        change(Descriptor, |descriptor| {
            descriptor.owner = Owner;
            descriptor.control = descriptor.control & !1 | defaulted(1, OwnerDefaulted);
        })
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlSetGroupSecurityDescriptor(
    Descriptor: *mut Descriptor,
    Group: *mut c_void,
    GroupDefaulted: BOOLEAN,
) -> NTSTATUS {
    // SAFETY: as above.
    unsafe {
        change(Descriptor, |descriptor| {
            descriptor.group = Group;
            descriptor.control = descriptor.control & !2 | defaulted(2, GroupDefaulted);
        })
    }
}

/// # Safety
/// A descriptor, and places for the results.
unsafe fn get_acl(
    descriptor: *const c_void,
    (present_bit, defaulted_bit): (u16, u16),
    pick: impl FnOnce(&Descriptor) -> *mut Acl,
    (present, acl, is_defaulted): (*mut BOOLEAN, *mut *mut Acl, *mut BOOLEAN),
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe {
        let parts = parts(descriptor);
        if parts.revision != REVISION {
            return UNKNOWN_REVISION;
        }
        let is_present = parts.control & present_bit != 0;
        present.write(is_present.into());
        if is_present {
            acl.write(pick(&parts));
            is_defaulted.write((parts.control & defaulted_bit != 0).into());
        }
    }
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlGetDaclSecurityDescriptor(
    Descriptor: *const c_void,
    DaclPresent: *mut BOOLEAN,
    Dacl: *mut *mut Acl,
    DaclDefaulted: *mut BOOLEAN,
) -> NTSTATUS {
    // SAFETY: the caller's promise: a descriptor, and places for the results.
    unsafe { get_acl(Descriptor, (DACL_PRESENT, 0x8), |parts| parts.dacl, (DaclPresent, Dacl, DaclDefaulted)) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlGetSaclSecurityDescriptor(
    Descriptor: *const c_void,
    SaclPresent: *mut BOOLEAN,
    Sacl: *mut *mut Acl,
    SaclDefaulted: *mut BOOLEAN,
) -> NTSTATUS {
    // SAFETY: as above.
    unsafe { get_acl(Descriptor, (SACL_PRESENT, 0x20), |parts| parts.sacl, (SaclPresent, Sacl, SaclDefaulted)) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlGetOwnerSecurityDescriptor(
    Descriptor: *const c_void,
    Owner: *mut *mut c_void,
    OwnerDefaulted: *mut BOOLEAN,
) -> NTSTATUS {
    // SAFETY: as above.
    unsafe {
        let parts = parts(Descriptor);
        Owner.write(parts.owner);
        OwnerDefaulted.write((parts.control & 1 != 0).into());
    }
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlGetGroupSecurityDescriptor(
    Descriptor: *const c_void,
    Group: *mut *mut c_void,
    GroupDefaulted: *mut BOOLEAN,
) -> NTSTATUS {
    // SAFETY: as above.
    unsafe {
        let parts = parts(Descriptor);
        Group.write(parts.group);
        GroupDefaulted.write((parts.control & 2 != 0).into());
    }
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlAbsoluteToSelfRelativeSD(
    Absolute: *const c_void,
    Relative: *mut u8,
    Length: *mut u32,
) -> NTSTATUS {
    // SAFETY: the caller's promise: a descriptor, and room for so many bytes.
    unsafe {
        let parts = parts(Absolute);
        if parts.control & SELF_RELATIVE != 0 {
            return BAD_DESCRIPTOR_FORMAT;
        }
        let size = parts.relative_size() as u32;
        if core::mem::replace(&mut *Length, size) < size {
            return NTSTATUS::BUFFER_TOO_SMALL;
        }
        let bytes = parts.to_relative();
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), Relative, bytes.len());
    }
    NTSTATUS::SUCCESS
}

/// `GENERIC_MAPPING` applied: generic rights become the specific ones that they stand for.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlMapGenericMask(AccessMask: *mut u32, GenericMapping: *const [u32; 4]) {
    // SAFETY: the caller's promise: a mask and a mapping for reading, writing, execution and all.
    unsafe {
        let mut mask = *AccessMask;
        for (bit, rights) in [31, 30, 29, 28].into_iter().zip(*GenericMapping) {
            if mask >> bit & 1 != 0 {
                mask = mask & !(1 << bit) | rights;
            }
        }
        AccessMask.write(mask);
    }
}

/// A copy of a driver's descriptor in pool, in the self-relative form.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn SeCaptureSecurityDescriptor(
    Original: *const c_void,
    CurrentMode: i8,
    _PoolType: i32,
    CaptureIfKernel: BOOLEAN,
    Captured: *mut *mut c_void,
) -> NTSTATUS {
    // SAFETY: the caller's promise: a descriptor of a driver's own, and a place for the copy. What comes from a program is not taken:
    // programs set no descriptors here.
    unsafe {
        if CurrentMode != KERNEL_MODE {
            return NTSTATUS::ACCESS_DENIED;
        }
        if CaptureIfKernel == 0 {
            Captured.write(Original.cast_mut());
            return NTSTATUS::SUCCESS;
        }
        if RtlValidSecurityDescriptor(Original) == 0 {
            return INVALID_SECURITY_DESCR;
        }
        let bytes = parts(Original).to_relative();
        let block = ExAllocatePool2(POOL_FLAG_PAGED, bytes.len(), TAG);
        if block.is_null() {
            return NTSTATUS::INSUFFICIENT_RESOURCES;
        }
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), block.cast(), bytes.len());
        Captured.write(block);
    }
    NTSTATUS::SUCCESS
}
