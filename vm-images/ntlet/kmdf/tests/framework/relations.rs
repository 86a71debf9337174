//! What a device has to do with others: removal relations, dependents of special files, a target on itself, its interrupt for the while
//! that the driver does not want it, the driver's state that outlives a boot.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::Ordering;

use wdf_sys::bind::{FUNCTIONS, GLOBALS};
use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::wdm::constants::{EJECTION_RELATIONS, REMOVAL_RELATIONS};
use wdf_sys::wdm::functions::*;
use wdf_sys::*;

use crate::request::Sent;
use crate::rig::{Place, create_device, create_queue, device, journal, note, settle, unmanaged, with_device};

const KEY_ALL_ACCESS: u32 = 0x000f_003f;

fn add(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    create_device(init, None)
}

#[test]
fn devices_that_must_go_together_are_named_once_each_and_referenced() {
    with_device(add, |rig| {
        let others = [rig.bus.another(), rig.bus.another()];
        for other in others {
            assert_eq!(ddi!(WdfDeviceAddRemovalRelationsPhysicalDevice(device(), other)), NTSTATUS::SUCCESS);
        }
        let again = ddi!(WdfDeviceAddRemovalRelationsPhysicalDevice(device(), others[0]));
        assert_eq!(again.bits(), 0xc000_022a, "STATUS_DUPLICATE_OBJECTID");
        assert_eq!(ddi!(WdfDeviceAddRemovalRelationsPhysicalDevice(device(), null_mut())), NTSTATUS::INVALID_PARAMETER);
        assert_eq!(rig.bus.relations(REMOVAL_RELATIONS), others);
        assert_eq!(rig.bus.relations(EJECTION_RELATIONS), []);
        ddi!(WdfDeviceRemoveRemovalRelationsPhysicalDevice(device(), others[0]));
        assert_eq!(rig.bus.relations(REMOVAL_RELATIONS), [others[1]]);
        ddi!(WdfDeviceClearRemovalRelationsDevices(device()));
        assert_eq!(rig.bus.relations(REMOVAL_RELATIONS), []);
        others.iter().for_each(|other| ddi!(IoDeleteDevice(*other)));
    });
}

#[test]
fn dependents_hear_of_special_files_before_the_device_does() {
    with_device(add, |rig| {
        let other = rig.bus.another();
        ddi!(WdfDeviceSetSpecialFileSupport(device(), WDF_SPECIAL_FILE_TYPE::WdfSpecialFilePaging, TRUE));
        assert_eq!(ddi!(WdfDeviceAddDependentUsageDeviceObject(device(), other)), NTSTATUS::SUCCESS);
        assert_eq!(rig.bus.usage(1, true), NTSTATUS::SUCCESS);
        assert_eq!(journal(), ["usage 1 1", "usage 1 1"], "the dependent, then the device below");
        ddi!(WdfDeviceRemoveDependentUsageDeviceObject(device(), other));
        assert_eq!(rig.bus.usage(1, false), NTSTATUS::SUCCESS);
        assert_eq!(journal(), ["usage 1 0"]);
        ddi!(IoDeleteDevice(other));
    });
}

static OWN: Place = Place::new();

unsafe extern "win64" fn answer_by_default(_: WDFQUEUE, request: WDFREQUEST, _: usize, _: usize, _: u32) {
    note("the default queue");
    ddi!(WdfRequestComplete(request, NTSTATUS::SUCCESS));
}

unsafe extern "win64" fn answer_own(_: WDFQUEUE, request: WDFREQUEST, _: usize, _: usize, _: u32) {
    note("the assigned queue");
    ddi!(WdfRequestComplete(request, NTSTATUS::SUCCESS));
}

fn add_with_self_target(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    ddi!(WdfDeviceInitAllowSelfIoTarget(init));
    let status = create_device(init, None);
    let parallel = WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel;
    let config = unmanaged(WDF_IO_QUEUE_CONFIG::default_queue(parallel));
    create_queue(WDF_IO_QUEUE_CONFIG { EvtIoDeviceControl: Some(answer_by_default), ..config });
    let config = unmanaged(WDF_IO_QUEUE_CONFIG::new(parallel));
    OWN.set(create_queue(WDF_IO_QUEUE_CONFIG { EvtIoDeviceControl: Some(answer_own), ..config }).0);
    status
}

fn ask(target: WDFIOTARGET) {
    let status =
        ddi!(WdfIoTargetSendIoctlSynchronously(target, WDFREQUEST::NULL, 0, null_mut(), null_mut(), null_mut(), null_mut()));
    assert_eq!(status, NTSTATUS::SUCCESS);
}

#[test]
fn a_target_on_the_device_itself_sends_to_the_default_queue_or_to_the_one_that_was_assigned() {
    with_device(add_with_self_target, |rig| {
        let target = ddi!(WdfDeviceGetSelfIoTarget(device()));
        ask(target);
        assert_eq!(journal(), ["the default queue"]);
        let refused = ddi!(WdfIoTargetSelfAssignDefaultIoQueue(WdfDeviceGetIoTarget(device()), WDFQUEUE(OWN.get())));
        assert_eq!(refused, NTSTATUS::INVALID_PARAMETER, "the target below is not the device's own");
        assert_eq!(ddi!(WdfIoTargetSelfAssignDefaultIoQueue(target, WDFQUEUE(OWN.get()))), NTSTATUS::SUCCESS);
        ask(target);
        assert_eq!(journal(), ["the assigned queue"]);
        assert_eq!(Sent::control(rig, 0, 1).wait(), NTSTATUS::SUCCESS);
        assert_eq!(journal(), ["the default queue"], "requests from above go where they went");
    });
}

#[test]
fn a_request_of_a_device_without_a_parent_is_not_forwarded_to_one() {
    static REQUEST: Place = Place::new();
    unsafe extern "win64" fn keep(_: WDFQUEUE, request: WDFREQUEST) {
        REQUEST.set(request.0);
    }
    fn add(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
        let status = create_device(init, None);
        let config = unmanaged(WDF_IO_QUEUE_CONFIG::default_queue(WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel));
        OWN.set(create_queue(WDF_IO_QUEUE_CONFIG { EvtIoDefault: Some(keep), ..config }).0);
        status
    }
    let outcome = with_device(add, |rig| {
        let sent = Sent::control(rig, 0, 1);
        let (request, queue) = (WDFREQUEST(REQUEST.get()), WDFQUEUE(OWN.get()));
        let forward = |flags| {
            let mut options = WDF_REQUEST_FORWARD_OPTIONS { Size: 8, Flags: flags };
            ddi!(WdfRequestForwardToParentDeviceIoQueue(request, queue, &mut options))
        };
        assert_eq!(forward(1), NTSTATUS::INVALID_DEVICE_REQUEST);
        assert_eq!(forward(2), NTSTATUS::INVALID_PARAMETER);
        ddi!(WdfRequestComplete(request, NTSTATUS::SUCCESS));
        assert_eq!(sent.wait(), NTSTATUS::SUCCESS);
    });
    assert!(outcome.has_logged("VIOLATION of RequestState: WdfRequestForwardToParentDeviceIoQueue"), "{}", outcome.log);
}

static INTERRUPT: Place = Place::new();

unsafe extern "win64" fn isr(_: WDFINTERRUPT, _: u32) -> BOOLEAN {
    note("interrupt");
    TRUE
}

fn add_with_interrupt(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    let status = create_device(init, None);
    let (mut config, mut interrupt) = (WDF_INTERRUPT_CONFIG::new(Some(isr), None), WDFINTERRUPT::NULL);
    assert_eq!(ddi!(WdfInterruptCreate(device(), &mut config, null_mut(), &mut interrupt)), NTSTATUS::SUCCESS);
    INTERRUPT.set(interrupt.0);
    status
}

#[test]
fn an_interrupt_that_is_reported_inactive_is_not_served_until_it_is_active_again() {
    with_device(add_with_interrupt, |rig| {
        let interrupt = WDFINTERRUPT(INTERRUPT.get());
        let raise = || {
            rig.machine.send_message(rig.bus.vector.into());
            settle();
            journal().len()
        };
        assert_eq!(raise(), 1);
        ddi!(WdfInterruptReportInactive(interrupt));
        assert_eq!(raise(), 0);
        ddi!(WdfInterruptReportActive(interrupt));
        assert_eq!(raise(), 1);
    });
}

#[test]
fn a_drivers_persistent_state_is_a_key_that_stays() {
    type Open = unsafe extern "win64" fn(*mut WDF_DRIVER_GLOBALS, WDFDRIVER, u32, *mut c_void, *mut WDFKEY) -> NTSTATUS;
    with_device(add, |_| {
        let driver = ddi!(WdfDeviceGetDriver(device()));
        let name: Vec<u16> = "Count".encode_utf16().collect();
        let name = wdf_sys::wdm::UNICODE_STRING::new(&name).unwrap();
        // A driver for 1.25 would find it in its table; this one's knows the entries up to 1.15.
        let table = FUNCTIONS.load(Ordering::SeqCst).cast::<*const ()>();
        let open = ddi!(std::mem::transmute::<*const (), Open>(*table.add(451)));
        let open = || {
            let mut key = WDFKEY::NULL;
            let status = ddi!(open(GLOBALS.load(Ordering::SeqCst), driver, KEY_ALL_ACCESS, null_mut(), &mut key));
            assert_eq!(status, NTSTATUS::SUCCESS);
            key
        };
        let first = open();
        assert_eq!(ddi!(WdfRegistryAssignULong(first, &name, 7)), NTSTATUS::SUCCESS);
        ddi!(WdfRegistryClose(first));
        let (second, mut value) = (open(), 0);
        assert_eq!(ddi!(WdfRegistryQueryULong(second, &name, &mut value)), NTSTATUS::SUCCESS);
        ddi!(WdfRegistryClose(second));
        assert_eq!(value, 7);
    });
}
