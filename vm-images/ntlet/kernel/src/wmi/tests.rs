//! A driver that stands on WMILIB provides a block; a consumer opens it, asks, changes, calls, and hears of events.

use core::ffi::c_void;
use core::ptr::null_mut;
use std::string::{String, ToString};
use std::vec::Vec;

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{ExAllocatePool2, KeDelayExecutionThread, ObfDereferenceObject};
use wdf_sys::wdm::{DEVICE_OBJECT, DRIVER_OBJECT, IRP, UNICODE_STRING, current_stack_location};
use wdf_sys::{BOOLEAN, GUID, NTSTATUS};

use super::block::{IoWMIOpenBlock, IoWMISetNotificationCallback};
use super::library::{Context, GuidInformation, WmiCompleteRequest, WmiFireEvent, WmiSystemControl};
use super::names::{IoWMIAllocateInstanceIds, IoWMIDeviceObjectToInstanceName};
use super::query::{IoWMIExecuteMethod, IoWMIQueryAllData, IoWMIQuerySingleInstance, IoWMISetSingleInstance, IoWMISetSingleItem};
use super::registration::{IoWMIDeviceObjectToProviderId, IoWMIRegistrationControl};
use super::wnode::{self, Kind, all, counted, data_of, u32_at};
use crate::io::{complete, device, driver, irp};
use crate::lock::SpinLock;
use crate::object::name::{lossy, wide};
use crate::sim;

static DATA: GUID = GUID::new((1, 2, 3, [4; 8]));
static EVENT: GUID = GUID::new((2, 2, 3, [4; 8]));
static OTHER: GUID = GUID::new((9, 9, 9, [9; 8]));

static JOURNAL: SpinLock<Vec<String>> = SpinLock::new(Vec::new());
/// The values of the two instances.
static VALUES: SpinLock<[u32; 2]> = SpinLock::new([10, 20]);

fn note(text: &str) {
    JOURNAL.lock().push(text.to_string());
}

/// Waits for what a worker does: as long as it takes, in the machine's own time.
fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        let mut interval = -10_000;
        // SAFETY: a thread of the test at PASSIVE_LEVEL.
        let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut interval) };
    }
}

struct Blocks([GuidInformation; 2]);
// SAFETY: the pointers are to statics.
unsafe impl Sync for Blocks {}
static BLOCKS: Blocks = Blocks([
    GuidInformation { guid: &raw const DATA, instances: 2, flags: WMIREG_FLAG_EXPENSIVE },
    GuidInformation { guid: &raw const EVENT, instances: 1, flags: WMIREG_FLAG_EVENT_ONLY_GUID },
]);

unsafe extern "win64" fn describe(
    _: *mut DEVICE_OBJECT,
    flags: *mut u32,
    base: *mut UNICODE_STRING,
    _: *mut *mut UNICODE_STRING,
    _: *mut UNICODE_STRING,
    _: *mut *mut DEVICE_OBJECT,
) -> NTSTATUS {
    // SAFETY: places for the answers; a string of pool, as documented.
    unsafe {
        *flags = WMIREG_FLAG_INSTANCE_BASENAME;
        crate::strings::put(&mut *base, &wide("Thing"), true)
    }
}

unsafe extern "win64" fn query(
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    block: u32,
    first: u32,
    count: u32,
    lengths: *mut u32,
    room: u32,
    buffer: *mut u8,
) -> NTSTATUS {
    assert_eq!(block, 0);
    let needed = (count - 1) * 8 + 4;
    // SAFETY: so much room is there; the request is ours to complete.
    unsafe {
        if room < needed || lengths.is_null() {
            return WmiCompleteRequest(device, irp, NTSTATUS::BUFFER_TOO_SMALL, needed, 0);
        }
        for index in 0..count {
            lengths.add(index as usize).write(4);
            buffer.add(index as usize * 8).cast::<u32>().write(VALUES.lock()[(first + index) as usize]);
        }
        WmiCompleteRequest(device, irp, NTSTATUS::SUCCESS, needed, 0)
    }
}

unsafe extern "win64" fn set(
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    _: u32,
    instance: u32,
    size: u32,
    buffer: *mut u8,
) -> NTSTATUS {
    // SAFETY: as above.
    unsafe {
        if size != 4 {
            return WmiCompleteRequest(device, irp, NTSTATUS::WMI_SET_FAILURE, 0, 0);
        }
        VALUES.lock()[instance as usize] = buffer.cast::<u32>().read_unaligned();
        WmiCompleteRequest(device, irp, NTSTATUS::SUCCESS, 0, 0)
    }
}

unsafe extern "win64" fn execute(
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    _: u32,
    instance: u32,
    method: u32,
    size: u32,
    room: u32,
    buffer: *mut u8,
) -> NTSTATUS {
    assert_eq!((instance, method, size), (1, 7, 4));
    // SAFETY: as above.
    unsafe {
        if room < 8 {
            return WmiCompleteRequest(device, irp, NTSTATUS::BUFFER_TOO_SMALL, 8, 0);
        }
        let input = buffer.cast::<u32>().read_unaligned();
        buffer.cast::<u64>().write_unaligned(u64::from(input) * 3);
        WmiCompleteRequest(device, irp, NTSTATUS::SUCCESS, 8, 0)
    }
}

unsafe extern "win64" fn control(
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    block: u32,
    function: i32,
    enable: BOOLEAN,
) -> NTSTATUS {
    note(&std::format!("block {block} function {function} {enable}"));
    // SAFETY: as above.
    unsafe { WmiCompleteRequest(device, irp, NTSTATUS::SUCCESS, 0, 0) }
}

unsafe extern "win64" fn dispatch(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let context = Context {
        count: 2,
        guids: BLOCKS.0.as_ptr(),
        query_registration: Some(describe),
        query_block: Some(query),
        set_block: Some(set),
        set_item: None,
        execute: Some(execute),
        control: Some(control),
    };
    // SAFETY: the request was sent here, and is not touched when a routine has completed it.
    unsafe {
        if (*current_stack_location(irp)).MajorFunction != IRP_MJ_SYSTEM_CONTROL {
            return irp::complete(irp, NTSTATUS::INVALID_DEVICE_REQUEST, 0);
        }
        let mut disposition = -1;
        let status = WmiSystemControl(&raw const context, device, irp, &raw mut disposition);
        if disposition != 0 {
            complete::IofCompleteRequest(irp, 0);
        }
        status
    }
}

fn new_device() -> *mut DEVICE_OBJECT {
    let driver: *mut DRIVER_OBJECT = driver::create("Things").unwrap().into_raw().cast();
    // SAFETY: new objects of this test.
    unsafe {
        (*driver).MajorFunction = [Some(dispatch); 28];
        let device = device::create(driver, device::Parameters::default()).unwrap();
        (*device).Flags &= !DO_DEVICE_INITIALIZING;
        device
    }
}

fn open(guid: &GUID, access: u32) -> Result<*mut c_void, NTSTATUS> {
    let mut object = null_mut();
    // SAFETY: a place for the object.
    unsafe { IoWMIOpenBlock(guid, access, &raw mut object) }.ok().map(|()| object)
}

fn registered() -> *mut DEVICE_OBJECT {
    let device = new_device();
    // SAFETY: a device of this test.
    assert_eq!(unsafe { IoWMIRegistrationControl(device, WMIREG_ACTION_REGISTER) }, NTSTATUS::SUCCESS);
    // SAFETY: an open block's only reference.
    until(|| open(&DATA, 2).map(|object| unsafe { ObfDereferenceObject(object) }).is_ok());
    device
}

fn ask(size: u32, mut call: impl FnMut(*mut u32, *mut c_void) -> NTSTATUS) -> (NTSTATUS, u32, Vec<u8>) {
    let (mut length, mut buffer) = (size, std::vec![0u8; 4096]);
    let status = call(&raw mut length, buffer.as_mut_ptr().cast());
    buffer.truncate(length as usize);
    (status, length, buffer)
}

#[test]
fn every_instance_comes_with_its_name_and_a_short_buffer_is_told_how_long_it_must_be() {
    sim::run(|_| {
        assert_eq!(open(&DATA, 1).unwrap_err(), NTSTATUS::WMI_GUID_NOT_FOUND, "nobody provides it");
        registered();
        let block = open(&DATA, 1).unwrap();
        // SAFETY: an open block, and room as said.
        let query = |length, buffer| unsafe { IoWMIQueryAllData(block, length, buffer) };
        let (status, needed, _) = ask(16, query);
        assert_eq!(status, NTSTATUS::BUFFER_TOO_SMALL);
        let (status, length, node) = ask(needed, query);
        assert_eq!((status, length), (NTSTATUS::SUCCESS, needed));
        assert_eq!(u32_at(&node, all::COUNT), Some(2));
        let pair = |index: usize| {
            let at = u32_at(&node, all::INSTANCES + index * 8).unwrap() as usize;
            (u32_at(&node, at).unwrap(), u32_at(&node, all::INSTANCES + index * 8 + 4).unwrap())
        };
        assert_eq!([pair(0), pair(1)], [(10, 4), (20, 4)]);
        let names = u32_at(&node, all::NAME_OFFSETS).unwrap() as usize;
        let name = |index: usize| lossy(&counted(&node, u32_at(&node, names + index * 4).unwrap() as usize).unwrap());
        assert_eq!([name(0), name(1)], ["Thing0", "Thing1"]);
    });
}

#[test]
fn one_instance_is_read_changed_and_called_by_its_name() {
    sim::run(|_| {
        registered();
        let block = open(&DATA, 0x13).unwrap();
        let units = wide("thing1");
        let mut name = UNICODE_STRING::new(&units).unwrap();
        let name = &raw mut name;
        // SAFETY: an open block, a name, and room as said.
        unsafe {
            let mut value = 77u32;
            assert_eq!(IoWMISetSingleInstance(block, name, 1, 4, (&raw mut value).cast()), NTSTATUS::SUCCESS);
            assert_eq!(IoWMISetSingleInstance(block, name, 1, 2, (&raw mut value).cast()), NTSTATUS::WMI_SET_FAILURE);
            assert_eq!(IoWMISetSingleItem(block, name, 0, 1, 4, (&raw mut value).cast()), NTSTATUS::WMI_READ_ONLY);
            let (status, _, node) = ask(4096, |length, buffer| IoWMIQuerySingleInstance(block, name, length, buffer));
            assert_eq!(status, NTSTATUS::SUCCESS);
            assert_eq!(data_of(&node, Kind::Instance).unwrap(), 77u32.to_le_bytes());
            let (mut room, mut data) = (8u32, 5u64.to_le_bytes());
            assert_eq!(IoWMIExecuteMethod(block, name, 7, 4, &raw mut room, data.as_mut_ptr()), NTSTATUS::SUCCESS);
            assert_eq!((room, u64::from_le_bytes(data)), (8, 15));
            let units = wide("Thing2");
            let mut other = UNICODE_STRING::new(&units).unwrap();
            let (status, ..) = ask(4096, |length, buffer| IoWMIQuerySingleInstance(block, &raw mut other, length, buffer));
            assert_eq!(status, NTSTATUS::WMI_INSTANCE_NOT_FOUND);
            let reader = open(&DATA, 1).unwrap();
            assert_eq!(IoWMISetSingleInstance(reader, name, 1, 4, (&raw mut value).cast()), NTSTATUS::ACCESS_DENIED);
        }
    });
}

unsafe extern "win64" fn hear(node: *mut c_void, context: *mut c_void) {
    // SAFETY: a whole node.
    let node = unsafe {
        let size = node.cast::<u32>().read() as usize;
        core::slice::from_raw_parts(node.cast::<u8>(), size)
    };
    let name = counted(node, u32_at(node, wnode::one::NAME_OFFSET).unwrap() as usize).unwrap();
    let data = data_of(node, Kind::Instance).unwrap();
    note(&std::format!("{} hears {data:?} of {} by {}", context.addr(), lossy(&name), u32_at(node, wnode::PROVIDER_ID).unwrap()));
}

#[test]
fn whoever_listens_hears_events_and_the_driver_knows_whether_somebody_does() {
    sim::run(|_| {
        // It listens before anybody provides the event.
        let block = open(&EVENT, 4).unwrap();
        // SAFETY: an open block and a routine of this test.
        let status = unsafe { IoWMISetNotificationCallback(block, Some(hear), core::ptr::without_provenance_mut(5)) };
        assert_eq!(status, NTSTATUS::SUCCESS);
        let device = registered();
        until(|| JOURNAL.lock().iter().any(|line| line == "block 1 function 0 1"));
        let fire = |byte: u8| {
            // SAFETY: data in pool, as documented.
            unsafe {
                let data = ExAllocatePool2(0x40, 1, 1);
                data.cast::<u8>().write(byte);
                assert_eq!(WmiFireEvent(device, &raw const EVENT, 0, 1, data), NTSTATUS::SUCCESS);
            }
        };
        fire(1);
        fire(2);
        let number = IoWMIDeviceObjectToProviderId(device);
        let wanted = [1, 2].map(|byte| std::format!("5 hears [{byte}] of Thing0 by {number}"));
        until(|| wanted.iter().all(|line| JOURNAL.lock().contains(line)));
        // SAFETY: the block's only reference.
        unsafe { ObfDereferenceObject(block) };
        until(|| JOURNAL.lock().iter().any(|line| line == "block 1 function 0 0"));
        let heard = JOURNAL.lock().len();
        fire(3);
        let reader = open(&DATA, 1).unwrap();
        // SAFETY: as above.
        unsafe { ObfDereferenceObject(reader) };
        until(|| JOURNAL.lock().iter().any(|line| line == "block 0 function 1 0"));
        assert_eq!(JOURNAL.lock()[heard..], ["block 0 function 1 1", "block 0 function 1 0"], "and no event any more");
    });
}

#[test]
fn a_device_that_is_not_registered_any_more_is_not_asked() {
    sim::run(|_| {
        let device = registered();
        let block = open(&DATA, 1).unwrap();
        // SAFETY: a device and an open block of this test.
        unsafe {
            let mut name = UNICODE_STRING::zeroed();
            let mut room = [0u16; 16];
            name.MaximumLength = 32;
            name.Buffer = room.as_mut_ptr();
            assert_eq!(IoWMIDeviceObjectToInstanceName(block, device, &raw mut name), NTSTATUS::SUCCESS);
            assert_eq!(lossy(name.units()), "Thing0");
            assert_eq!(IoWMIRegistrationControl(device, WMIREG_ACTION_REGISTER), NTSTATUS::OBJECT_NAME_EXISTS);
            assert_eq!(IoWMIRegistrationControl(device, WMIREG_ACTION_DEREGISTER), NTSTATUS::SUCCESS);
            assert_eq!(IoWMIRegistrationControl(device, WMIREG_ACTION_DEREGISTER), NTSTATUS::INVALID_PARAMETER);
            assert_eq!(IoWMIRegistrationControl(null_mut(), WMIREG_ACTION_REGISTER), NTSTATUS::INVALID_PARAMETER);
            let (status, ..) = ask(4096, |length, buffer| IoWMIQueryAllData(block, length, buffer));
            assert_eq!(status, NTSTATUS::WMI_GUID_NOT_FOUND);
            assert_eq!(IoWMIDeviceObjectToProviderId(device), 0);
            assert_eq!(IoWMIQueryAllData(device.cast(), null_mut(), null_mut()), NTSTATUS::OBJECT_TYPE_MISMATCH);
        }
        let (mut first, mut second) = (0, 0);
        // SAFETY: places for the numbers.
        unsafe {
            assert_eq!(IoWMIAllocateInstanceIds(&raw const OTHER, 3, &raw mut first), NTSTATUS::SUCCESS);
            assert_eq!(IoWMIAllocateInstanceIds(&raw const OTHER, 1, &raw mut second), NTSTATUS::SUCCESS);
        }
        assert_eq!((first, second), (0, 3));
    });
}
