//! Sending an IRP and waiting for it, for the executive's own requests: opening, cleanup, closing, PnP and power.

use alloc::string::String;
use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{KeInitializeEvent, KeSetEvent, KeWaitForSingleObject};
use wdf_sys::wdm::{DEVICE_OBJECT, IO_STACK_LOCATION, IO_STATUS_BLOCK, IRP, KEVENT, set_completion_routine};
use wdf_sys::{BOOLEAN, NTSTATUS};

use super::watch::{self, MENTION as MENTION_SECONDS, Patience, Subject, Watch};
use super::{call, device, irp as packet};
use crate::hal;

/// How often a wait without a deadline is mentioned in the log, in units of 100 ns.
const MENTION: i64 = MENTION_SECONDS as i64 * 10_000_000;

/// Sends a new IRP to the top of `device`'s stack and waits for its end. `fill` sets up the first stack location and the IRP.
///
/// # Safety
/// `device` is alive; what `fill` puts into the IRP stays valid until this returns.
pub(crate) unsafe fn send(
    device: *mut DEVICE_OBJECT,
    (major, minor): (u8, u8),
    initial: NTSTATUS,
    patience: Patience,
    fill: impl FnOnce(*mut IRP, *mut IO_STACK_LOCATION),
) -> IO_STATUS_BLOCK {
    // SAFETY: the caller's promise. The event lives on this stack until the completion routine has set it.
    unsafe {
        let top = device::IoGetAttachedDeviceReference(device);
        let irp = packet::IoAllocateIrp(packet::stack_size(top), 0);
        if irp.is_null() {
            crate::object::dereference(top.cast());
            return IO_STATUS_BLOCK::new(NTSTATUS::INSUFFICIENT_RESOURCES, 0);
        }
        packet::set_status(irp, initial, 0);
        (*irp).Tail.Overlay.Thread = wdf_sys::wdm::functions::KeGetCurrentThread();
        let location = packet::first_location(irp, major, minor);
        fill(irp, location);
        let mut done = KEVENT::zeroed();
        KeInitializeEvent(&raw mut done, NOTIFICATION_EVENT, 0);
        set_completion_routine(irp, Some(on_done), (&raw mut done).cast());
        let watch = Watch::begin(Subject::request(irp, top, (major, minor)), patience);
        let _ = call::IofCallDriver(top, irp);
        match watch {
            // The watch has the deadline, and ends the guest.
            Some(_) => {
                let _ = KeWaitForSingleObject((&raw mut done).cast(), EXECUTIVE, KERNEL_MODE, 0, null_mut());
            }
            None => wait(&raw mut done, top, irp, (major, minor)),
        }
        drop(watch);
        let block = (*irp).IoStatus;
        packet::IoFreeIrp(irp);
        crate::object::dereference(top.cast());
        block
    }
}

/// Passes an IRP down as it is and waits for its end; the IRP is the caller's again, its current location unchanged.
///
/// # Safety
/// The IRP is the caller's and has a location left; `device` is alive. At `PASSIVE_LEVEL`.
pub(crate) unsafe fn forward(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the caller's promise; the event is a local that outlives the wait.
    unsafe {
        wdf_sys::wdm::copy_current_stack_location_to_next(irp);
        let mut done = KEVENT::zeroed();
        KeInitializeEvent(&raw mut done, NOTIFICATION_EVENT, 0);
        set_completion_routine(irp, Some(on_done), (&raw mut done).cast());
        let location = wdf_sys::wdm::current_stack_location(irp);
        let function = ((*location).MajorFunction, (*location).MinorFunction);
        let _ = call::IofCallDriver(device, irp);
        wait(&raw mut done, device, irp, function);
        (*irp).IoStatus.status()
    }
}

/// # Safety
/// As the documentation of IoForwardIrpSynchronously demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoForwardIrpSynchronously(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP) -> BOOLEAN {
    // SAFETY: the caller's promise.
    unsafe {
        // Documented: FALSE when there is no location for the driver below.
        if (*Irp).CurrentLocation <= 1 {
            return 0;
        }
        let _ = forward(DeviceObject, Irp);
    }
    1
}

/// # Safety
/// Called as a completion routine with the event as context.
unsafe extern "win64" fn on_done(_device: *mut DEVICE_OBJECT, _irp: *mut IRP, event: *mut c_void) -> NTSTATUS {
    // SAFETY: the sender waits for this event, so that it is still there.
    unsafe { KeSetEvent(event.cast(), 0, 0) };
    NTSTATUS::MORE_PROCESSING_REQUIRED
}

/// Waits for the end of an IRP, however long it takes, and mentions it in the log now and then.
///
/// # Safety
/// `done` is set when the IRP completes.
unsafe fn wait(done: *mut KEVENT, top: *mut DEVICE_OBJECT, irp: *mut IRP, function: (u8, u8)) {
    let started = hal().uptime();
    loop {
        let mut interval = -MENTION;
        // SAFETY: the caller's promise; the current thread may block, as it is a system service's or a system thread.
        let status = unsafe { KeWaitForSingleObject(done.cast(), EXECUTIVE, KERNEL_MODE, 0, &raw mut interval) };
        if status != NTSTATUS::TIMEOUT {
            return;
        }
        let seconds = hal().uptime().saturating_sub(started) / 10_000_000;
        // SAFETY: the IRP is not complete, so that its locations are alive; a driver may be at work on it meanwhile, which only
        // makes the message imprecise.
        let (holder, _) = unsafe { watch::holder(top, irp) };
        crate::log!("{holder} has not completed {} after {seconds} s", function_name(function));
    }
}

/// Name of a function code, for messages.
pub(crate) fn function_name((major, minor): (u8, u8)) -> String {
    let name = match (major, minor) {
        (IRP_MJ_CREATE, _) => "IRP_MJ_CREATE",
        (IRP_MJ_CLOSE, _) => "IRP_MJ_CLOSE",
        (IRP_MJ_CLEANUP, _) => "IRP_MJ_CLEANUP",
        (IRP_MJ_SHUTDOWN, _) => "IRP_MJ_SHUTDOWN",
        (IRP_MJ_PNP, IRP_MN_START_DEVICE) => "IRP_MN_START_DEVICE",
        (IRP_MJ_PNP, IRP_MN_QUERY_REMOVE_DEVICE) => "IRP_MN_QUERY_REMOVE_DEVICE",
        (IRP_MJ_PNP, IRP_MN_REMOVE_DEVICE) => "IRP_MN_REMOVE_DEVICE",
        (IRP_MJ_PNP, IRP_MN_CANCEL_REMOVE_DEVICE) => "IRP_MN_CANCEL_REMOVE_DEVICE",
        (IRP_MJ_PNP, IRP_MN_QUERY_STOP_DEVICE) => "IRP_MN_QUERY_STOP_DEVICE",
        (IRP_MJ_PNP, IRP_MN_STOP_DEVICE) => "IRP_MN_STOP_DEVICE",
        (IRP_MJ_PNP, IRP_MN_SURPRISE_REMOVAL) => "IRP_MN_SURPRISE_REMOVAL",
        (IRP_MJ_POWER, IRP_MN_SET_POWER) => "IRP_MN_SET_POWER",
        (IRP_MJ_POWER, IRP_MN_QUERY_POWER) => "IRP_MN_QUERY_POWER",
        (IRP_MJ_SYSTEM_CONTROL, IRP_MN_REGINFO_EX) => "IRP_MN_REGINFO_EX",
        (IRP_MJ_SYSTEM_CONTROL, minor) => return alloc::format!("IRP_MJ_SYSTEM_CONTROL, minor function {minor:#04x}"),
        (IRP_MJ_PNP, minor) => return alloc::format!("IRP_MJ_PNP, minor function {minor:#04x}"),
        (major, minor) => return alloc::format!("an IRP, major function {major:#04x}, minor {minor:#04x}"),
    };
    name.into()
}
