//! `WdfIoTarget…`: create, open, close, start, stop, purge, and what may be asked of a target.

use core::ffi::c_void;
use core::sync::atomic::Ordering;

use wdf_sys::wdf::{
    WDF_IO_TARGET_OPEN_PARAMS, WDF_IO_TARGET_PURGE_IO_ACTION, WDF_IO_TARGET_SENT_IO_ACTION, WDF_IO_TARGET_STATE,
    WDF_OBJECT_ATTRIBUTES,
};
use wdf_sys::wdm::{DEVICE_OBJECT, FILE_OBJECT, INTERFACE};
use wdf_sys::{GUID, HANDLE, NTSTATUS, WDFDEVICE, WDFIOTARGET, WDFQUEUE};

use super::{Target, open};
use crate::call::{Call, ddi};
use crate::device::Device;
use crate::object::attributes::Rules;
use crate::object::{Attributes, Ref};
use crate::queue::Queue;
use crate::sync::{DISPATCH_LEVEL, PASSIVE_LEVEL};
use crate::verifier::{self, Rule};

/// The structure before 1.9 had no `FileName`.
const OLDER_SIZES: &[usize] = &[120];

ddi! {
    fn WdfDeviceGetIoTarget(call, device: WDFDEVICE) -> WDFIOTARGET {
        call.object::<Device>(device).io.local_target().map_or(WDFIOTARGET::NULL, |target| target.handle())
    }

    fn WdfDeviceGetSelfIoTarget(call, device: WDFDEVICE) -> WDFIOTARGET {
        call.object::<Device>(device).io.self_target().map_or(WDFIOTARGET::NULL, |target| target.handle())
    }

    fn WdfIoTargetSelfAssignDefaultIoQueue(call, target: WDFIOTARGET, queue: WDFQUEUE) -> NTSTATUS {
        let target = call.object::<Target>(target);
        let queue = call.object::<Queue>(queue);
        let is_own = target.owner.io.self_target().is_some_and(|own| own.any().raw() == target.any().raw());
        if !is_own || queue.device.any().raw() != target.owner.any().raw() {
            if call.globals.verifies() {
                verifier::violation(call.globals, Rule::InvalidParameter, target.any().header().handle, format_args!(
                    "{}: target and queue must be those of one device, and the target the device's own", call.name()));
            }
            return NTSTATUS::INVALID_PARAMETER;
        }
        target.own_queue.store(Queue::number(&queue), Ordering::Release);
        NTSTATUS::SUCCESS
    }

    fn WdfIoTargetCreate(call, device: WDFDEVICE, attributes: *mut WDF_OBJECT_ATTRIBUTES, target: *mut WDFIOTARGET) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        call.write(target, WDFIOTARGET::NULL);
        let device = call.object::<Device>(device);
        let created = Attributes::read(call, attributes, Rules::ORDINARY).and_then(|attributes| Target::remote(&device, &attributes));
        call.created(target, created)
    }

    fn WdfIoTargetOpen(call, target: WDFIOTARGET, params: *mut WDF_IO_TARGET_OPEN_PARAMS) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let target = call.object::<Target>(target);
        match call.sized(params, OLDER_SIZES).and_then(|params| open::open(call, &target, &params)) {
            Ok(()) => NTSTATUS::SUCCESS,
            Err(status) => status,
        }
    }

    fn WdfIoTargetClose(call, target: WDFIOTARGET) {
        close(call, target, WDF_IO_TARGET_STATE::WdfIoTargetClosed);
    }

    fn WdfIoTargetCloseForQueryRemove(call, target: WDFIOTARGET) {
        close(call, target, WDF_IO_TARGET_STATE::WdfIoTargetClosedForQueryRemove);
    }

    fn WdfIoTargetStart(call, target: WDFIOTARGET) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        let target = call.object::<Target>(target);
        if Target::start(&target) { NTSTATUS::SUCCESS } else { NTSTATUS::INVALID_DEVICE_STATE }
    }

    fn WdfIoTargetStop(call, target: WDFIOTARGET, action: WDF_IO_TARGET_SENT_IO_ACTION) {
        let target = call.object::<Target>(target);
        stop(call, &target, action);
    }

    fn WdfIoTargetPurge(call, target: WDFIOTARGET, action: WDF_IO_TARGET_PURGE_IO_ACTION) {
        let target = call.object::<Target>(target);
        purge(call, &target, action);
    }

    fn WdfIoTargetGetState(call, target: WDFIOTARGET) -> WDF_IO_TARGET_STATE {
        call.object::<Target>(target).guarded.lock().state.now()
    }

    fn WdfIoTargetGetDevice(call, target: WDFIOTARGET) -> WDFDEVICE {
        call.object::<Target>(target).owner.handle()
    }

    fn WdfIoTargetQueryForInterface(call, target: WDFIOTARGET, class: *const GUID, interface: *mut INTERFACE, size: u16, version: u16, specific: *mut c_void) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let target = call.object::<Target>(target);
        let _ = (call.required(class), call.required(interface));
        if usize::from(size) < size_of::<INTERFACE>() {
            return NTSTATUS::INVALID_PARAMETER;
        }
        let device = target.device_object();
        if device.is_null() {
            return NTSTATUS::INVALID_DEVICE_STATE;
        }
        // SAFETY: the target keeps its device; the driver promises room for `size` bytes.
        unsafe { crate::query_interface::ask(device, class, interface, size, version, specific) }
    }

    fn WdfIoTargetWdmGetTargetDeviceObject(call, target: WDFIOTARGET) -> *mut DEVICE_OBJECT {
        call.object::<Target>(target).device_object()
    }

    fn WdfIoTargetWdmGetTargetPhysicalDevice(call, target: WDFIOTARGET) -> *mut DEVICE_OBJECT {
        call.object::<Target>(target).physical()
    }

    fn WdfIoTargetWdmGetTargetFileObject(call, target: WDFIOTARGET) -> *mut FILE_OBJECT {
        call.object::<Target>(target).guarded.lock().file
    }

    fn WdfIoTargetWdmGetTargetFileHandle(call, target: WDFIOTARGET) -> HANDLE {
        let target = call.object::<Target>(target);
        // SAFETY: read at a time when the driver neither opens nor closes the target.
        core::ptr::with_exposed_provenance_mut(unsafe { (*target.opened.get()).handle })
    }
}

fn close(call: &Call, target: WDFIOTARGET, now: WDF_IO_TARGET_STATE) {
    call.irql_at_most(PASSIVE_LEVEL);
    let target = call.object::<Target>(target);
    if target.is_remote {
        open::close(&target, now);
    } else if call.globals.verifies() {
        verifier::violation(
            call.globals,
            Rule::WrongState,
            target.any().header().handle,
            format_args!("{} of a target that the framework has opened", call.name()),
        );
    }
}

/// Whether the state may be changed: no device, no change.
fn is_open(call: &Call, target: &Ref<Target>) -> bool {
    let gone = target.guarded.lock().state.is_gone();
    if gone && call.globals.verifies() {
        verifier::violation(
            call.globals,
            Rule::WrongState,
            target.any().header().handle,
            format_args!("{} of a target that is not open", call.name()),
        );
    }
    !gone
}

fn stop(call: &Call, target: &Ref<Target>, action: WDF_IO_TARGET_SENT_IO_ACTION) {
    let leave = action == WDF_IO_TARGET_SENT_IO_ACTION::WdfIoTargetLeaveSentIoPending;
    let cancel = action == WDF_IO_TARGET_SENT_IO_ACTION::WdfIoTargetCancelSentIo;
    if !leave && !cancel && action != WDF_IO_TARGET_SENT_IO_ACTION::WdfIoTargetWaitForSentIoToComplete {
        verifier::violation(
            call.globals,
            Rule::InvalidParameter,
            target.any().header().handle,
            format_args!("{}: {} is no action", call.name(), action.0),
        );
        return;
    }
    let may_wait = call.irql_at_most(if leave { DISPATCH_LEVEL } else { PASSIVE_LEVEL });
    if !is_open(call, target) {
        return;
    }
    Target::set_state(target, WDF_IO_TARGET_STATE::WdfIoTargetStopped);
    if cancel {
        Target::cancel_all(target);
    }
    if !leave && may_wait {
        Target::wait_until_idle(target);
    }
}

fn purge(call: &Call, target: &Ref<Target>, action: WDF_IO_TARGET_PURGE_IO_ACTION) {
    let wait = action == WDF_IO_TARGET_PURGE_IO_ACTION::WdfIoTargetPurgeIoAndWait;
    if !wait && action != WDF_IO_TARGET_PURGE_IO_ACTION::WdfIoTargetPurgeIo {
        verifier::violation(
            call.globals,
            Rule::InvalidParameter,
            target.any().header().handle,
            format_args!("{}: {} is no action", call.name(), action.0),
        );
        return;
    }
    let may_wait = call.irql_at_most(if wait { PASSIVE_LEVEL } else { DISPATCH_LEVEL });
    if !is_open(call, target) {
        return;
    }
    Target::set_state(target, WDF_IO_TARGET_STATE::WdfIoTargetPurged);
    Target::cancel_all(target);
    if wait && may_wait {
        Target::wait_until_idle(target);
    }
}
