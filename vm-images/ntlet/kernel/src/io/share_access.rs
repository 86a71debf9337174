//! Who may open a file beside whom (`SHARE_ACCESS`), as drivers keep it, and whether a request's file was opened for what it asks.
#![allow(missing_docs, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use wdf_sys::wdm::constants::{IRP_MJ_DEVICE_CONTROL, KERNEL_MODE};
use wdf_sys::wdm::{FILE_OBJECT, IRP, current_stack_location};
use wdf_sys::{BOOLEAN, FALSE, NTSTATUS};

const FILE_READ_DATA: u32 = 0x1;
const FILE_WRITE_DATA: u32 = 0x2;
const FILE_APPEND_DATA: u32 = 0x4;
const FILE_EXECUTE: u32 = 0x20;
const DELETE: u32 = 0x1_0000;
const FILE_SHARE_READ: u32 = 1;
const FILE_SHARE_WRITE: u32 = 2;
const FILE_SHARE_DELETE: u32 = 4;
/// `IO_STACK_LOCATION::Flags` of an I/O control: for what its file was opened.
pub(super) const SL_READ_ACCESS_GRANTED: u8 = 1;
pub(super) const SL_WRITE_ACCESS_GRANTED: u8 = 4;

/// `SHARE_ACCESS`: opens, those that read, write, delete, and those that let others read, write, delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct ShareAccess {
    opens: u32,
    uses: [u32; 3],
    shared: [u32; 3],
}

impl ShareAccess {
    /// Whether a file fits beside those that are open.
    fn admits(&self, uses: [bool; 3], shares: [bool; 3]) -> bool {
        let is_kept_out = |kind: usize| uses[kind] && self.shared[kind] < self.opens;
        let keeps_out = |kind: usize| self.uses[kind] != 0 && !shares[kind];
        !(0..3).any(|kind| is_kept_out(kind) || keeps_out(kind))
    }

    fn count(&mut self, uses: [bool; 3], shares: [bool; 3], change: impl Fn(u32, bool) -> u32) {
        self.opens = change(self.opens, true);
        for kind in 0..3 {
            self.uses[kind] = change(self.uses[kind], uses[kind]);
            self.shared[kind] = change(self.shared[kind], shares[kind]);
        }
    }

    fn add(&mut self, (uses, shares): ([bool; 3], [bool; 3])) {
        self.count(uses, shares, |count, one| count.saturating_add(u32::from(one)));
    }
}

/// What a file object says of itself; `None` for one that neither reads, writes nor deletes, which does not count.
fn of(file: &FILE_OBJECT) -> Option<([bool; 3], [bool; 3])> {
    let uses = [file.ReadAccess, file.WriteAccess, file.DeleteAccess].map(|flag| flag != 0);
    let shares = [file.SharedRead, file.SharedWrite, file.SharedDelete].map(|flag| flag != 0);
    uses.contains(&true).then_some((uses, shares))
}

/// Writes into a file object what it is opened for.
fn note(file: &mut FILE_OBJECT, access: u32, share: u32) {
    file.ReadAccess = BOOLEAN::from(access & (FILE_READ_DATA | FILE_EXECUTE) != 0);
    file.WriteAccess = BOOLEAN::from(access & (FILE_WRITE_DATA | FILE_APPEND_DATA) != 0);
    file.DeleteAccess = BOOLEAN::from(access & DELETE != 0);
    if file.ReadAccess | file.WriteAccess | file.DeleteAccess != 0 {
        file.SharedRead = BOOLEAN::from(share & FILE_SHARE_READ != 0);
        file.SharedWrite = BOOLEAN::from(share & FILE_SHARE_WRITE != 0);
        file.SharedDelete = BOOLEAN::from(share & FILE_SHARE_DELETE != 0);
    }
}

/// # Safety
/// As the documentation of IoCheckShareAccess demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoCheckShareAccess(
    DesiredAccess: u32,
    DesiredShareAccess: u32,
    FileObject: *mut FILE_OBJECT,
    ShareAccess: *mut ShareAccess,
    Update: BOOLEAN,
) -> NTSTATUS {
    // SAFETY: the caller's promise: a file and its accesses, which nobody else changes meanwhile.
    let (file, access) = unsafe { (&mut *FileObject, &mut *ShareAccess) };
    note(file, DesiredAccess, DesiredShareAccess);
    let Some((uses, shares)) = of(file) else { return NTSTATUS::SUCCESS };
    if !access.admits(uses, shares) {
        return NTSTATUS::SHARING_VIOLATION;
    }
    if Update != FALSE {
        access.add((uses, shares));
    }
    NTSTATUS::SUCCESS
}

/// # Safety
/// As the documentation of IoSetShareAccess demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoSetShareAccess(
    DesiredAccess: u32,
    DesiredShareAccess: u32,
    FileObject: *mut FILE_OBJECT,
    ShareAccess: *mut ShareAccess,
) {
    // SAFETY: as above.
    let (file, access) = unsafe { (&mut *FileObject, &mut *ShareAccess) };
    note(file, DesiredAccess, DesiredShareAccess);
    *access = Default::default();
    if let Some(file) = of(file) {
        access.add(file);
    }
}

/// # Safety
/// As the documentation of IoUpdateShareAccess demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoUpdateShareAccess(FileObject: *mut FILE_OBJECT, ShareAccess: *mut ShareAccess) {
    // SAFETY: as above.
    unsafe {
        if let Some(file) = of(&*FileObject) {
            (*ShareAccess).add(file);
        }
    }
}

/// # Safety
/// As the documentation of IoRemoveShareAccess demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoRemoveShareAccess(FileObject: *mut FILE_OBJECT, ShareAccess: *mut ShareAccess) {
    // SAFETY: as above.
    unsafe {
        if let Some((uses, shares)) = of(&*FileObject) {
            (*ShareAccess).count(uses, shares, |count, one| count.saturating_sub(u32::from(one)));
        }
    }
}

/// For drivers whose control codes leave the access open: whether the file was opened to read, to write.
///
/// # Safety
/// As the documentation of IoValidateDeviceIoControlAccess demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoValidateDeviceIoControlAccess(Irp: *mut IRP, RequiredAccess: u32) -> NTSTATUS {
    if RequiredAccess & !(FILE_READ_DATA | FILE_WRITE_DATA) != 0 {
        return NTSTATUS::INVALID_PARAMETER;
    }
    // SAFETY: the caller's promise: a request that it has got.
    let (mode, major, granted) = unsafe {
        let location = current_stack_location(Irp);
        ((*Irp).RequestorMode, (*location).MajorFunction, (*location).Flags)
    };
    if major != IRP_MJ_DEVICE_CONTROL {
        return NTSTATUS::INVALID_PARAMETER;
    }
    let lacks = |needed: u32, flag: u8| RequiredAccess & needed != 0 && granted & flag == 0;
    if mode != KERNEL_MODE && (lacks(FILE_READ_DATA, SL_READ_ACCESS_GRANTED) || lacks(FILE_WRITE_DATA, SL_WRITE_ACCESS_GRANTED)) {
        return NTSTATUS::ACCESS_DENIED;
    }
    NTSTATUS::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    const _: () = assert!(size_of::<ShareAccess>() == 28, "SHARE_ACCESS of wdm.h");

    #[test]
    fn files_are_open_beside_each_other_as_far_as_each_allows_it() {
        let mut access = ShareAccess::default();
        let (mut reader, mut writer, mut asker) = (FILE_OBJECT::zeroed(), FILE_OBJECT::zeroed(), FILE_OBJECT::zeroed());
        // SAFETY: the files and the accesses are the test's own.
        unsafe {
            let access = &raw mut access;
            IoSetShareAccess(FILE_READ_DATA, FILE_SHARE_READ, &raw mut reader, access);
            let mut check = |wants, shares| IoCheckShareAccess(wants, shares, &raw mut writer, access, 1);
            assert_eq!(check(FILE_WRITE_DATA, FILE_SHARE_READ), NTSTATUS::SHARING_VIOLATION, "the reader lets nobody write");
            assert_eq!(check(FILE_READ_DATA, 0), NTSTATUS::SHARING_VIOLATION, "the second would let nobody read, and one does");
            assert_eq!(check(FILE_READ_DATA, FILE_SHARE_READ), NTSTATUS::SUCCESS);
            assert_eq!(
                IoCheckShareAccess(0x80, 0, &raw mut asker, access, 1),
                NTSTATUS::SUCCESS,
                "one who reads no data does not count"
            );
            IoRemoveShareAccess(&raw mut reader, access);
            IoRemoveShareAccess(&raw mut writer, access);
            assert_eq!(*access, ShareAccess::default());
        }
    }
}
