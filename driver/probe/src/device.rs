//! The probe's two control devices, their queues, and the target that leads back to the probe.

use core::sync::atomic::{AtomicPtr, Ordering};

use protocol::probe::{DEVICE, SLOTS, SYMBOLIC_LINK, Subject, queue};
use wdf::{NTSTATUS, Result, utf16};
use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::wdm::UNICODE_STRING;
use wdf_sys::wdm::constants::{FILE_OPEN, GENERIC_READ, GENERIC_WRITE, NON_PAGED_POOL_NX};
use wdf_sys::{WDFDEVICE, WDFDEVICE_INIT, WDFIOTARGET, WDFMEMORY, WDFQUEUE, WDFSPINLOCK};

use crate::{callbacks, table};

/// System and administrators: everything; nobody else anything.
const SECURITY: &[u16] = utf16!("D:P(A;;GA;;;SY)(A;;GA;;;BA)");

static DEVICES: [AtomicPtr<core::ffi::c_void>; 2] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 2];

/// Makes everything.
///
/// # Errors
/// What the framework says; the driver is then unloaded, and the framework deletes what was made.
pub(crate) fn make() -> Result<()> {
    let device = control_device(Some(utf16!(DEVICE)))?;
    DEVICES[0].store(device.0, Ordering::Release);
    let other = control_device(None)?;
    DEVICES[1].store(other.0, Ordering::Release);
    use WDF_IO_QUEUE_DISPATCH_TYPE as Dispatch;
    make_queue(device, queue::DEFAULT, Dispatch::WdfIoQueueDispatchParallel)?;
    make_queue(device, queue::PARALLEL, Dispatch::WdfIoQueueDispatchParallel)?;
    make_queue(device, queue::SEQUENTIAL, Dispatch::WdfIoQueueDispatchSequential)?;
    make_queue(device, queue::MANUAL, Dispatch::WdfIoQueueDispatchManual)?;
    make_queue(other, queue::OTHER_DEVICE, Dispatch::WdfIoQueueDispatchManual)?;
    make_spin_lock()?;
    for slot in 0..SLOTS {
        make_subject(slot)?;
    }
    let link = counted(utf16!(SYMBOLIC_LINK))?;
    // SAFETY: the device was just made; the name is copied.
    unsafe { WdfDeviceCreateSymbolicLink(device, &raw const link) }.ok()?;
    // SAFETY: both devices were just made, each is finished once.
    unsafe { WdfControlFinishInitializing(other) };
    // SAFETY: as above.
    unsafe { WdfControlFinishInitializing(device) };
    open_target(device)
}

/// Deletes the devices; everything else goes with them, or with the driver.
pub(crate) fn unmake() {
    let target = table::target();
    if !target.is_null() {
        // SAFETY: made by `open_target`; the target's file would keep the device.
        unsafe { WdfObjectDelete(target.object()) };
    }
    for device in &DEVICES {
        let device = WDFDEVICE(device.swap(core::ptr::null_mut(), Ordering::AcqRel));
        if !device.is_null() {
            // SAFETY: made by `make`, deleted once.
            unsafe { WdfObjectDelete(device.object()) };
        }
    }
}

fn counted(units: &[u16]) -> Result<UNICODE_STRING> {
    UNICODE_STRING::new(units).ok_or(NTSTATUS::OBJECT_NAME_INVALID)
}

fn control_device(name: Option<&[u16]>) -> Result<WDFDEVICE> {
    let security = counted(SECURITY)?;
    // SAFETY: the globals were filled in by the bind.
    let driver = unsafe { (*wdf_sys::bind::globals()).Driver };
    // SAFETY: the driver is valid; the string is copied.
    let mut init = unsafe { WdfControlDeviceInitAllocate(driver, &raw const security) };
    if init.is_null() {
        return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
    }
    let made = name_and_create(&mut init, name);
    if made.is_err() && !init.is_null() {
        // SAFETY: a failed create leaves the init to us.
        unsafe { WdfDeviceInitFree(init) };
    }
    made
}

fn name_and_create(init: &mut *mut WDFDEVICE_INIT, name: Option<&[u16]>) -> Result<WDFDEVICE> {
    if let Some(name) = name {
        let name = counted(name)?;
        // SAFETY: the init is valid; the name is copied.
        unsafe { WdfDeviceInitAssignName(*init, &raw const name) }.ok()?;
    }
    let mut attributes = WDF_OBJECT_ATTRIBUTES::new();
    let mut device = WDFDEVICE::NULL;
    // SAFETY: the init is valid, and nulled when the call takes it.
    unsafe { WdfDeviceCreate(init, &raw mut attributes, &raw mut device) }.ok()?;
    Ok(device)
}

fn make_queue(device: WDFDEVICE, number: u32, dispatch: WDF_IO_QUEUE_DISPATCH_TYPE) -> Result<()> {
    let mut config = WDF_IO_QUEUE_CONFIG::new(dispatch);
    config.DefaultQueue = u8::from(number == queue::DEFAULT);
    config.PowerManaged = WDF_TRI_STATE::WdfFalse;
    config.EvtIoDeviceControl = Some(callbacks::device_control);
    config.EvtIoCanceledOnQueue = Some(callbacks::canceled_on_queue);
    // Steps wait, so that they need PASSIVE_LEVEL.
    let mut attributes =
        WDF_OBJECT_ATTRIBUTES { ExecutionLevel: WDF_EXECUTION_LEVEL::WdfExecutionLevelPassive, ..WDF_OBJECT_ATTRIBUTES::new() };
    let mut made = WDFQUEUE::NULL;
    // SAFETY: the device is valid; both structures are copied.
    unsafe { WdfIoQueueCreate(device, &raw mut config, &raw mut attributes, &raw mut made) }.ok()?;
    table::set_queue(number, made);
    Ok(())
}

fn make_spin_lock() -> Result<()> {
    let mut lock = WDFSPINLOCK::NULL;
    // SAFETY: the lock goes with the driver.
    unsafe { WdfSpinLockCreate(core::ptr::null_mut(), &raw mut lock) }.ok()?;
    table::set_spin_lock(lock);
    Ok(())
}

fn make_subject(slot: u32) -> Result<()> {
    let (mut memory, mut buffer) = (WDFMEMORY::NULL, core::ptr::null_mut());
    let (to, at) = (&raw mut memory, &raw mut buffer);
    // SAFETY: the memory goes with the driver.
    unsafe { WdfMemoryCreate(core::ptr::null_mut(), NON_PAGED_POOL_NX, 0, size_of::<Subject>(), to, at) }.ok()?;
    // SAFETY: the framework allocated a `Subject`, aligned as pool is.
    unsafe { buffer.cast::<Subject>().write(Subject { slot, reserved: 0 }) };
    table::set_subject(slot, memory);
    Ok(())
}

/// Opens the probe's own device as a remote target.
fn open_target(device: WDFDEVICE) -> Result<()> {
    let mut target = WDFIOTARGET::NULL;
    // SAFETY: the device is valid.
    unsafe { WdfIoTargetCreate(device, core::ptr::null_mut(), &raw mut target) }.ok()?;
    let mut parameters = WDF_IO_TARGET_OPEN_PARAMS::new(WDF_IO_TARGET_OPEN_TYPE::WdfIoTargetOpenByName);
    parameters.TargetDeviceName = counted(utf16!(DEVICE))?;
    parameters.DesiredAccess = GENERIC_READ | GENERIC_WRITE;
    parameters.CreateDisposition = FILE_OPEN;
    // SAFETY: the target was just made; the name is copied; at PASSIVE_LEVEL, in DriverEntry.
    unsafe { WdfIoTargetOpen(target, &raw mut parameters) }.ok()?;
    table::set_target(target);
    Ok(())
}
