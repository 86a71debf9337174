//! Opening, using and closing devices by name, and remove locks.

use core::ptr::null_mut;

use wdf_sys::HANDLE;
use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::KeInitializeEvent;
use wdf_sys::wdm::{
    DEVICE_OBJECT, IO_REMOVE_LOCK_COMMON_BLOCK, IO_STATUS_BLOCK, IRP, KEVENT, OBJECT_ATTRIBUTES, UNICODE_STRING,
    current_stack_location,
};

use super::{held, hold, journal, new_device, new_driver, note, succeed};
use crate::io::device::IoDeleteDevice;
use crate::io::driver::namespace;
use crate::io::irp::complete;
use crate::io::remove_lock::*;
use crate::io::services::{ZwCreateFile, ZwDeviceIoControlFile, ZwWaitForSingleObject};
use crate::object::exports::{EVENT, EventBody, ZwClose, open_handle};
use crate::object::name::wide;
use crate::object::{self, ObjectRef};
use crate::sim;

const CONTROL: u32 = 0x22 << 16 | 0x800 << 2;

/// Notes which function a request has, and for controls keeps it.
unsafe extern "win64" fn noting(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the request was sent here.
    unsafe {
        let major = (*current_stack_location(irp)).MajorFunction;
        note(match major {
            IRP_MJ_CREATE => "create",
            IRP_MJ_CLEANUP => "cleanup",
            IRP_MJ_CLOSE => "close",
            _ => "control",
        });
        if major == IRP_MJ_DEVICE_CONTROL { hold(device, irp) } else { complete(irp, NTSTATUS::SUCCESS, 0) }
    }
}

fn open(path: &str) -> Result<HANDLE, NTSTATUS> {
    let units = wide(path);
    let mut name = UNICODE_STRING::new(&units).unwrap();
    let mut attributes = OBJECT_ATTRIBUTES::zeroed();
    attributes.Length = size_of::<OBJECT_ATTRIBUTES>() as u32;
    attributes.ObjectName = &raw mut name;
    attributes.Attributes = OBJ_KERNEL_HANDLE;
    let mut handle = null_mut();
    let mut block = IO_STATUS_BLOCK::zeroed();
    let access = GENERIC_READ | GENERIC_WRITE;
    // SAFETY: everything lives until the call returns.
    unsafe {
        ZwCreateFile(&raw mut handle, access, &raw mut attributes, &raw mut block, null_mut(), 0, 0, FILE_OPEN, 0, null_mut(), 0)
    }
    .ok()
    .map(|()| handle)
}

fn close(handle: HANDLE) {
    // SAFETY: the handle is one of these tests.
    assert_eq!(unsafe { ZwClose(handle) }, NTSTATUS::SUCCESS);
}

#[test]
fn a_device_gets_create_then_cleanup_then_close() {
    sim::run(|_| {
        new_device(new_driver("notes", Some(noting)), Some("\\Device\\Notes"));
        namespace().create_link(&wide("\\??\\Notes"), &wide("\\Device\\Notes")).unwrap();
        let handle = open("\\DosDevices\\notes").unwrap();
        assert_eq!(journal(), ["create"]);
        close(handle);
        assert_eq!(journal(), ["create", "cleanup", "close"]);
        // SAFETY: closing again is what is tested.
        assert_eq!(unsafe { ZwClose(handle) }, NTSTATUS::INVALID_HANDLE);
    });
}

#[test]
fn a_request_in_flight_keeps_the_file_until_it_is_done() {
    sim::run(|_| {
        new_device(new_driver("notes", Some(noting)), Some("\\Device\\Notes"));
        let handle = open("\\Device\\Notes").unwrap();
        let mut block = IO_STATUS_BLOCK::zeroed();
        let event = ObjectRef::new(&EVENT, EventBody(core::cell::UnsafeCell::new(KEVENT::zeroed()))).unwrap();
        // SAFETY: event and block live until the request is done.
        unsafe {
            KeInitializeEvent(event.body().cast(), NOTIFICATION_EVENT, 0);
            let event_handle = open_handle(event, u32::MAX, true).unwrap();
            let none = null_mut();
            let block_at = &raw mut block;
            let status = ZwDeviceIoControlFile(handle, event_handle, None, none, block_at, CONTROL, none, 0, none, 0);
            assert_eq!(status, NTSTATUS::PENDING);
            close(handle);
            assert_eq!(journal(), ["create", "control", "cleanup"]);
            let _ = complete(held(), NTSTATUS::SUCCESS, 5);
            let _ = ZwWaitForSingleObject(event_handle, 0, null_mut());
            // The file goes on a worker, as the request was finished at APC_LEVEL.
            for _ in 0..100 {
                let mut interval = -10_000;
                let _ = wdf_sys::wdm::functions::KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut interval);
            }
        }
        assert_eq!((block.status(), block.Information), (NTSTATUS::SUCCESS, 5));
        assert_eq!(journal(), ["create", "control", "cleanup", "close"]);
    });
}

#[test]
fn a_failed_create_is_followed_by_neither_cleanup_nor_close() {
    unsafe extern "win64" fn refuse(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the request was sent here.
        unsafe {
            note(if (*current_stack_location(irp)).MajorFunction == IRP_MJ_CREATE { "create" } else { "other" });
            complete(irp, NTSTATUS::DEVICE_NOT_READY, 0)
        }
    }
    sim::run(|_| {
        let device = new_device(new_driver("refuse", Some(refuse)), Some("\\Device\\Refuse"));
        assert_eq!(open("\\Device\\Refuse"), Err(NTSTATUS::DEVICE_NOT_READY));
        assert_eq!(journal(), ["create"]);
        // SAFETY: the device is alive.
        assert_eq!(unsafe { (*device).ReferenceCount }, 0);
    });
}

#[test]
fn an_exclusive_device_is_opened_once_and_a_deleted_one_not_at_all() {
    sim::run(|_| {
        let device = new_device(new_driver("once", Some(succeed)), Some("\\Device\\Once"));
        // SAFETY: the device is alive; the extra reference keeps it so beyond its deletion.
        unsafe {
            (*device).Flags |= DO_EXCLUSIVE;
            object::reference(device.cast());
        }
        let handle = open("\\Device\\Once").unwrap();
        assert_eq!(open("\\Device\\Once"), Err(NTSTATUS::ACCESS_DENIED));
        // SAFETY: deleting a device that is open is allowed: it goes with the last file.
        unsafe { IoDeleteDevice(device) };
        assert_eq!(open("\\Device\\Once"), Err(NTSTATUS::OBJECT_NAME_NOT_FOUND));
        close(handle);
        // SAFETY: the reference taken above is the last.
        assert_eq!(unsafe { object::dereference(device.cast()) }, 0);
    });
}

#[test]
fn a_name_that_is_no_device_cannot_be_opened() {
    sim::run(|_| {
        assert_eq!(open("\\Device"), Err(NTSTATUS::OBJECT_TYPE_MISMATCH));
        assert_eq!(open("\\??\\Nothing"), Err(NTSTATUS::OBJECT_NAME_NOT_FOUND));
        assert_eq!(open("nothing"), Err(NTSTATUS::OBJECT_PATH_SYNTAX_BAD));
    });
}

#[test]
fn a_remove_lock_refuses_newcomers_once_removal_has_begun() {
    sim::run(|_| {
        let mut lock = IO_REMOVE_LOCK_COMMON_BLOCK::zeroed();
        let lock = (&raw mut lock).cast();
        let none = null_mut();
        // SAFETY: the lock lives until the end.
        unsafe {
            IoInitializeRemoveLockEx(lock, 0, 0, 0, 32);
            assert_eq!(IoAcquireRemoveLockEx(lock, none, core::ptr::null(), 0, 32), NTSTATUS::SUCCESS);
            assert_eq!(IoAcquireRemoveLockEx(lock, none, core::ptr::null(), 0, 32), NTSTATUS::SUCCESS);
            IoReleaseRemoveLockEx(lock, none, 32);
            IoReleaseRemoveLockAndWaitEx(lock, none, 32);
            assert_eq!(IoAcquireRemoveLockEx(lock, none, core::ptr::null(), 0, 32), NTSTATUS::DELETE_PENDING);
        }
    });
}
