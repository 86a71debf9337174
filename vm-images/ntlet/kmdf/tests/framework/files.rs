//! Opening and closing: file objects of a device, requests that belong to one, and control devices.

use std::ptr::null_mut;
use std::sync::Mutex;

use kernel::sim::Simulation;
use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::*;
use wdf_sys::wdm::*;
use wdf_sys::*;

use crate::bus;
use crate::request::Sent;
use crate::rig::{create_device, create_queue, device, journal, note, unmanaged, with_device, with_driver};

/// Opens a device by its name.
pub(crate) fn open(path: &str) -> Result<HANDLE, NTSTATUS> {
    let units: Vec<u16> = path.encode_utf16().collect();
    let mut name = UNICODE_STRING::new(&units).unwrap();
    let mut attributes = OBJECT_ATTRIBUTES::zeroed();
    attributes.Length = size_of::<OBJECT_ATTRIBUTES>() as u32;
    attributes.ObjectName = &raw mut name;
    attributes.Attributes = OBJ_KERNEL_HANDLE;
    let (mut handle, mut block) = (null_mut(), IO_STATUS_BLOCK::zeroed());
    let access = GENERIC_READ | GENERIC_WRITE;
    let (place, attributes, block) = (&raw mut handle, &raw mut attributes, &raw mut block);
    let status = ddi!(ZwCreateFile(place, access, attributes, block, null_mut(), 0, 0, FILE_OPEN, 0, null_mut(), 0));
    status.ok().map(|()| handle)
}

pub(crate) fn close(handle: HANDLE) {
    assert_eq!(ddi!(ZwClose(handle)), NTSTATUS::SUCCESS);
}

/// What EvtDeviceFileCreate completes with.
static ANSWER: Mutex<NTSTATUS> = Mutex::new(NTSTATUS::SUCCESS);

unsafe extern "win64" fn file_create(_: WDFDEVICE, request: WDFREQUEST, file: WDFFILEOBJECT) {
    assert_eq!(ddi!(WdfRequestGetFileObject(request)), file);
    note("create");
    let answer = *ANSWER.lock().unwrap();
    ddi!(WdfRequestComplete(request, answer));
}

unsafe extern "win64" fn file_cleanup(file: WDFFILEOBJECT) {
    assert_eq!(ddi!(WdfFileObjectGetDevice(file)), device());
    note("cleanup");
}

unsafe extern "win64" fn file_close(_: WDFFILEOBJECT) {
    note("close");
}

fn add(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    let mut config = WDF_FILEOBJECT_CONFIG::new(Some(file_create), Some(file_close), Some(file_cleanup));
    ddi!(WdfDeviceInitSetFileObjectConfig(init, &mut config, null_mut()));
    let status = create_device(init, None);
    create_queue(unmanaged(WDF_IO_QUEUE_CONFIG::default_queue(WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchManual)));
    status
}

#[test]
fn a_file_is_created_cleaned_up_and_closed() {
    with_device(add, |_| {
        let handle = open(bus::NAME).unwrap();
        assert_eq!(journal(), ["create"]);
        close(handle);
        assert_eq!(journal(), ["cleanup", "close"]);
    });
}

#[test]
fn a_file_that_the_driver_refuses_is_neither_cleaned_up_nor_closed() {
    with_device(add, |_| {
        *ANSWER.lock().unwrap() = NTSTATUS::ACCESS_DENIED;
        assert_eq!(open(bus::NAME), Err(NTSTATUS::ACCESS_DENIED));
        assert_eq!(journal(), ["create"]);
    });
}

#[test]
fn the_requests_of_a_file_are_cancelled_with_its_cleanup_and_no_others() {
    with_device(add, |rig| {
        let handle = open(bus::NAME).unwrap();
        let mut object = null_mut();
        let status = ddi!(ObReferenceObjectByHandle(handle, 0, null_mut(), KERNEL_MODE, &mut object, null_mut()));
        assert_eq!(status, NTSTATUS::SUCCESS);
        let file: *mut FILE_OBJECT = object.cast();
        assert!(!ddi!(WdfDeviceGetFileObject(device(), file)).is_null());
        let of_file = Sent::send(rig, Vec::new(), false, |location| {
            location.MajorFunction = IRP_MJ_DEVICE_CONTROL;
            location.FileObject = file;
        });
        let other = Sent::control(rig, 0, 0);
        close(handle);
        assert_eq!(of_file.wait(), NTSTATUS::CANCELLED);
        assert!(!other.is_done());
        assert_eq!(journal(), ["create", "cleanup"]);
        ddi!(ObfDereferenceObject(object));
        crate::rig::settle();
        assert_eq!(journal(), ["close"]);
        assert!(other.cancel());
        assert_eq!(other.wait(), NTSTATUS::CANCELLED);
    });
}

#[test]
fn a_device_without_file_callbacks_can_be_opened() {
    with_device(|init| create_device(init, None), |_| close(open(bus::NAME).unwrap()));
}

#[test]
fn a_control_device_is_opened_by_its_name_once_it_is_finished() {
    with_driver(
        Simulation::new(),
        |_| NTSTATUS::SUCCESS,
        |_| {
            let driver = ddi!((*wdf_sys::bind::globals()).Driver);
            let sddl: Vec<u16> = "D:P(A;;GA;;;SY)(A;;GA;;;BA)".encode_utf16().collect();
            let sddl = UNICODE_STRING::new(&sddl).unwrap();
            let init = ddi!(WdfControlDeviceInitAllocate(driver, &sddl));
            let name: Vec<u16> = "\\Device\\SampleControl".encode_utf16().collect();
            let name = UNICODE_STRING::new(&name).unwrap();
            assert_eq!(ddi!(WdfDeviceInitAssignName(init, &name)), NTSTATUS::SUCCESS);
            assert_eq!(create_device(init, None), NTSTATUS::SUCCESS);
            assert_eq!(open("\\Device\\SampleControl"), Err(NTSTATUS::NO_SUCH_DEVICE));
            ddi!(WdfControlFinishInitializing(device()));
            close(open("\\Device\\SampleControl").unwrap());
            ddi!(WdfObjectDelete(device().object()));
            assert_eq!(open("\\Device\\SampleControl"), Err(NTSTATUS::OBJECT_NAME_NOT_FOUND));
        },
    );
}
