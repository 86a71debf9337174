//! One request at a time: `IoStartPacket` and its kin, over the queue that every device object has; and the timer of a device object.
#![allow(clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{
    ExAllocatePool2, ExFreePoolWithTag, KeCancelTimer, KeInitializeDpc, KeInitializeTimer, KeRemoveQueueDpc, KeSetTimerEx,
};
use wdf_sys::wdm::{DEVICE_OBJECT, IRP, KDEVICE_QUEUE_ENTRY, KDPC, KTIMER, PDRIVER_CANCEL};
use wdf_sys::{BOOLEAN, FALSE, NTSTATUS};

use super::cancel::{IoAcquireCancelSpinLock, IoReleaseCancelSpinLock, exchange_routine};
use crate::dispatcher::device_queue::{
    KeInsertByKeyDeviceQueue, KeInsertDeviceQueue, KeRemoveByKeyDeviceQueue, KeRemoveDeviceQueue,
};
use crate::dispatcher::irql;
use crate::hal;
use crate::hal::DISPATCH_LEVEL;

/// The entry that a request is queued by, first in what its owner may use.
///
/// # Safety
/// The IRP is alive.
unsafe fn entry_of(irp: *mut IRP) -> *mut KDEVICE_QUEUE_ENTRY {
    // SAFETY: the caller's promise.
    unsafe { (&raw mut (*irp).Tail).cast() }
}

/// The request of an entry; null for none.
fn request_of(entry: *mut KDEVICE_QUEUE_ENTRY) -> *mut IRP {
    if entry.is_null() {
        return null_mut();
    }
    entry.cast::<u8>().wrapping_sub(core::mem::offset_of!(IRP, Tail)).cast()
}

/// Calls the driver's StartIo.
///
/// # Safety
/// The request is the device's current one. At `DISPATCH_LEVEL`.
unsafe fn start(device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: the caller's promise; the routine is the driver's own.
    unsafe {
        if let Some(routine) = (*(*device).DriverObject).DriverStartIo {
            routine(device, irp);
        }
    }
}

/// # Safety
/// As the documentation of IoStartPacket demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoStartPacket(
    DeviceObject: *mut DEVICE_OBJECT,
    Irp: *mut IRP,
    Key: *mut u32,
    CancelFunction: PDRIVER_CANCEL,
) {
    let before = irql::raise(DISPATCH_LEVEL);
    let mut unlocked = DISPATCH_LEVEL;
    // SAFETY: the caller's promise; the cancel lock guards the cancel routine.
    unsafe {
        let is_cancelable = CancelFunction.is_some();
        if is_cancelable {
            IoAcquireCancelSpinLock(&raw mut unlocked);
            exchange_routine(Irp, CancelFunction);
        }
        let queue = &raw mut (*DeviceObject).DeviceQueue;
        let entry = entry_of(Irp);
        let is_queued =
            if Key.is_null() { KeInsertDeviceQueue(queue, entry) } else { KeInsertByKeyDeviceQueue(queue, entry, *Key) };
        if is_queued == FALSE {
            (*DeviceObject).CurrentIrp = Irp;
            if is_cancelable {
                IoReleaseCancelSpinLock(unlocked);
            }
            start(DeviceObject, Irp);
        } else if is_cancelable {
            // It may have been cancelled before it had a cancel routine.
            match exchange_routine(Irp, None).filter(|_| (*Irp).Cancel != FALSE) {
                Some(routine) => {
                    (*Irp).CancelIrql = unlocked;
                    routine(DeviceObject, Irp);
                }
                None => {
                    exchange_routine(Irp, CancelFunction);
                    IoReleaseCancelSpinLock(unlocked);
                }
            }
        }
    }
    hal().set_irql(before);
}

/// Makes the next request the device's current one, and starts it.
///
/// # Safety
/// As the documentation of IoStartNextPacket demands.
unsafe fn next(device: *mut DEVICE_OBJECT, is_cancelable: BOOLEAN, key: Option<u32>) {
    let before = irql::raise(DISPATCH_LEVEL);
    let mut unlocked = DISPATCH_LEVEL;
    // SAFETY: the caller's promise.
    unsafe {
        if is_cancelable != FALSE {
            IoAcquireCancelSpinLock(&raw mut unlocked);
        }
        let queue = &raw mut (*device).DeviceQueue;
        let irp = request_of(match key {
            Some(key) => KeRemoveByKeyDeviceQueue(queue, key),
            None => KeRemoveDeviceQueue(queue),
        });
        (*device).CurrentIrp = irp;
        if is_cancelable != FALSE {
            IoReleaseCancelSpinLock(unlocked);
        }
        if !irp.is_null() {
            start(device, irp);
        }
    }
    hal().set_irql(before);
}

/// # Safety
/// As the documentation of IoStartNextPacket demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoStartNextPacket(DeviceObject: *mut DEVICE_OBJECT, Cancelable: BOOLEAN) {
    // SAFETY: the caller's promise.
    unsafe { next(DeviceObject, Cancelable, None) };
}

/// # Safety
/// As the documentation of IoStartNextPacketByKey demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoStartNextPacketByKey(DeviceObject: *mut DEVICE_OBJECT, Cancelable: BOOLEAN, Key: u32) {
    // SAFETY: the caller's promise.
    unsafe { next(DeviceObject, Cancelable, Some(Key)) };
}

/// `PIO_TIMER_ROUTINE`.
type TimerRoutine = Option<unsafe extern "win64" fn(*mut DEVICE_OBJECT, *mut c_void)>;

/// What `DEVICE_OBJECT::Timer` points to. It goes with its device.
struct DeviceTimer {
    timer: KTIMER,
    dpc: KDPC,
    device: *mut DEVICE_OBJECT,
    routine: TimerRoutine,
    context: *mut c_void,
}

const TIMER_TAG: u32 = u32::from_le_bytes(*b"IoTm");
/// A device's timer comes once a second, as documented.
const PERIOD_MILLISECONDS: i32 = 1000;

unsafe extern "win64" fn tick(_: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    // SAFETY: the context is the device's timer, which is cancelled before it goes.
    unsafe {
        let timer = context.cast::<DeviceTimer>();
        if let Some(routine) = (*timer).routine {
            routine((*timer).device, (*timer).context);
        }
    }
}

/// # Safety
/// As the documentation of IoInitializeTimer demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoInitializeTimer(
    DeviceObject: *mut DEVICE_OBJECT,
    TimerRoutine: TimerRoutine,
    Context: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the caller's promise; the block is as large as a timer, and new ones are zero.
    unsafe {
        let mut timer = (*DeviceObject).Timer.cast::<DeviceTimer>();
        if timer.is_null() {
            timer = ExAllocatePool2(POOL_FLAG_NON_PAGED, size_of::<DeviceTimer>(), TIMER_TAG).cast();
            if timer.is_null() {
                return NTSTATUS::INSUFFICIENT_RESOURCES;
            }
            KeInitializeTimer(&raw mut (*timer).timer);
            KeInitializeDpc(&raw mut (*timer).dpc, Some(tick), timer.cast());
            (*DeviceObject).Timer = timer.cast();
        }
        (*timer).device = DeviceObject;
        (*timer).routine = TimerRoutine;
        (*timer).context = Context;
    }
    NTSTATUS::SUCCESS
}

/// The device goes, and its timer with it.
///
/// # Safety
/// Nobody refers to the device any more.
pub(super) unsafe fn free_timer(device: *mut DEVICE_OBJECT) {
    // SAFETY: the caller's promise.
    unsafe {
        let timer = (*device).Timer.cast::<DeviceTimer>();
        if !timer.is_null() {
            KeCancelTimer(&raw mut (*timer).timer);
            KeRemoveQueueDpc(&raw mut (*timer).dpc);
            ExFreePoolWithTag(timer.cast(), TIMER_TAG);
        }
    }
}

/// # Safety
/// As the documentation of IoStartTimer demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoStartTimer(DeviceObject: *mut DEVICE_OBJECT) {
    // SAFETY: the caller's promise: a device whose timer is initialised.
    unsafe {
        let timer = (*DeviceObject).Timer.cast::<DeviceTimer>();
        if !timer.is_null() {
            let due = -10_000 * i64::from(PERIOD_MILLISECONDS);
            KeSetTimerEx(&raw mut (*timer).timer, due, PERIOD_MILLISECONDS, &raw mut (*timer).dpc);
        }
    }
}

/// # Safety
/// As the documentation of IoStopTimer demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoStopTimer(DeviceObject: *mut DEVICE_OBJECT) {
    // SAFETY: the caller's promise.
    unsafe {
        let timer = (*DeviceObject).Timer.cast::<DeviceTimer>();
        if !timer.is_null() {
            KeCancelTimer(&raw mut (*timer).timer);
        }
    }
}
