//! The probe's two control devices, their queues, and the targets that lead back to the probe.

use core::sync::atomic::{AtomicPtr, Ordering};

use protocol::probe::{DEVICE, PNP_SYMBOLIC_LINK, SLOTS, SYMBOLIC_LINK, Subject, queue, target};
use wdf::{NTSTATUS, Result, utf16};
use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::wdm::UNICODE_STRING;
use wdf_sys::wdm::constants::{FILE_OPEN, GENERIC_READ, GENERIC_WRITE, NON_PAGED_POOL_NX};
use wdf_sys::{WDFDEVICE, WDFDEVICE_INIT, WDFIOTARGET, WDFMEMORY, WDFQUEUE, WDFSPINLOCK};

use crate::{callbacks, table};

/// System and administrators: everything; nobody else anything.
const SECURITY: &[u16] = utf16!("D:P(A;;GA;;;SY)(A;;GA;;;BA)");

/// Name of the other device, which only the probe opens.
const OTHER_DEVICE: &str = r"\Device\ProbeOther";
/// Names of the devices, by the number of their target.
const NAMES: [&[u16]; target::COUNT as usize] = [utf16!(DEVICE), utf16!(OTHER_DEVICE), utf16!(DEVICE)];
/// How many devices there are: as many as targets that stay.
const DEVICE_COUNT: u32 = target::SHORT_LIVED;

/// By the number of their target.
static DEVICES: [AtomicPtr<core::ffi::c_void>; DEVICE_COUNT as usize] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; DEVICE_COUNT as usize];

/// Makes everything.
///
/// # Errors
/// What the framework says; the driver is then unloaded, and the framework deletes what was made.
pub(crate) fn make() -> Result<()> {
    for (place, name) in DEVICES.iter().zip(NAMES) {
        place.store(control_device(name)?.0, Ordering::Release);
    }
    let (device, other) = (device(target::PROBE), device(target::OTHER_DEVICE));
    for number in 0..queue::CONTROL_COUNT {
        make_queue(if number == queue::OTHER_DEVICE { other } else { device }, number)?;
    }
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
    for number in 0..DEVICE_COUNT {
        make_target(number)?;
        open_target(number, LOW).ok()?;
    }
    Ok(())
}

/// The device that a target is for.
fn device(number: u32) -> WDFDEVICE {
    let number = if number == target::SHORT_LIVED { target::PROBE } else { number };
    WDFDEVICE(DEVICES.get(number as usize).map_or(core::ptr::null_mut(), |device| device.load(Ordering::Acquire)))
}

/// Deletes the devices; everything else goes with them, or with the driver.
pub(crate) fn unmake() {
    for number in 0..target::COUNT {
        let target = table::target(number);
        if !target.is_null() {
            // SAFETY: made by `make_target`; the target's file would keep the device.
            unsafe { WdfObjectDelete(target.object()) };
        }
    }
    for device in &DEVICES {
        let device = WDFDEVICE(device.swap(core::ptr::null_mut(), Ordering::AcqRel));
        if !device.is_null() {
            // SAFETY: made by `make`, deleted once.
            unsafe { WdfObjectDelete(device.object()) };
        }
    }
}

pub(crate) fn counted(units: &[u16]) -> Result<UNICODE_STRING> {
    UNICODE_STRING::new(units).ok_or(NTSTATUS::OBJECT_NAME_INVALID)
}

fn control_device(name: &[u16]) -> Result<WDFDEVICE> {
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

fn name_and_create(init: &mut *mut WDFDEVICE_INIT, name: &[u16]) -> Result<WDFDEVICE> {
    let name = counted(name)?;
    // SAFETY: the init is valid; the name is copied.
    unsafe { WdfDeviceInitAssignName(*init, &raw const name) }.ok()?;
    let mut attributes = WDF_OBJECT_ATTRIBUTES::new();
    let mut device = WDFDEVICE::NULL;
    // SAFETY: the init is valid, and nulled when the call takes it.
    unsafe { WdfDeviceCreate(init, &raw mut attributes, &raw mut device) }.ok()?;
    Ok(device)
}

fn make_queue(device: WDFDEVICE, number: u32) -> Result<()> {
    use WDF_IO_QUEUE_DISPATCH_TYPE as Dispatch;
    let dispatch = match number {
        queue::SEQUENTIAL => Dispatch::WdfIoQueueDispatchSequential,
        queue::MANUAL | queue::MANUAL_QUIET | queue::OTHER_DEVICE => Dispatch::WdfIoQueueDispatchManual,
        _ => Dispatch::WdfIoQueueDispatchParallel,
    };
    let mut config = WDF_IO_QUEUE_CONFIG::new(dispatch);
    config.DefaultQueue = u8::from([queue::DEFAULT, queue::OTHER_DEVICE].contains(&number));
    config.PowerManaged = WDF_TRI_STATE::WdfFalse;
    if dispatch != Dispatch::WdfIoQueueDispatchManual {
        config.EvtIoDeviceControl = Some(callbacks::device_control);
    }
    if number != queue::MANUAL_QUIET {
        config.EvtIoCanceledOnQueue = Some(callbacks::canceled_on_queue);
    }
    if number == queue::PARALLEL_OF_ONE {
        config.Settings.Parallel.NumberOfPresentedRequests = 1;
    }
    // Steps wait, so that they need PASSIVE_LEVEL.
    let mut attributes =
        WDF_OBJECT_ATTRIBUTES { ExecutionLevel: WDF_EXECUTION_LEVEL::WdfExecutionLevelPassive, ..WDF_OBJECT_ATTRIBUTES::new() };
    if number == queue::SYNCHRONIZED {
        attributes.SynchronizationScope = WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeQueue;
    }
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

/// Makes a target that is there for a while only. At PASSIVE_LEVEL.
pub(crate) fn make_and_open_target(number: u32, is_pnp: bool) -> NTSTATUS {
    if !table::target(number).is_null() {
        return NTSTATUS::INVALID_DEVICE_STATE;
    }
    match make_target(number) {
        Ok(()) if is_pnp => open_by_name(number, utf16!(PNP_SYMBOLIC_LINK)),
        Ok(()) => open_target(number, LOW),
        Err(status) => status,
    }
}

fn make_target(number: u32) -> Result<()> {
    let mut made = WDFIOTARGET::NULL;
    // SAFETY: the device is valid.
    unsafe { WdfIoTargetCreate(device(number), core::ptr::null_mut(), &raw mut made) }.ok()?;
    table::set_target(number, made);
    Ok(())
}

/// Stack locations that a target wants: as many as its device needs, and one more.
const LOW: i8 = 1;
const TALL: i8 = 2;

/// Opens one of the probe's own devices as a remote target, one that wants a stack location more than it needs if it is to be. At
/// PASSIVE_LEVEL.
pub(crate) fn reopen_target(number: u32, is_tall: bool) -> NTSTATUS {
    open_target(number, if is_tall { TALL } else { LOW })
}

fn open_target(number: u32, stack_size: i8) -> NTSTATUS {
    let Some(name) = NAMES.get(number as usize) else { return NTSTATUS::INVALID_PARAMETER };
    set_stack_size(number, stack_size);
    let status = open_by_name(number, name);
    set_stack_size(number, TALL);
    status
}

fn open_by_name(number: u32, name: &[u16]) -> NTSTATUS {
    let Some(name) = UNICODE_STRING::new(name) else { return NTSTATUS::INVALID_PARAMETER };
    let mut parameters = WDF_IO_TARGET_OPEN_PARAMS::new(WDF_IO_TARGET_OPEN_TYPE::WdfIoTargetOpenByName);
    parameters.TargetDeviceName = name;
    parameters.DesiredAccess = GENERIC_READ | GENERIC_WRITE;
    parameters.CreateDisposition = FILE_OPEN;
    // SAFETY: the target and the name are valid; the name is copied.
    unsafe { WdfIoTargetOpen(table::target(number), &raw mut parameters) }
}

/// Stack locations of requests for a device. With one more than the device needs, a request that it is presented can be sent to a target. The
/// target must not want that one too: it is opened while the device has one.
fn set_stack_size(number: u32, size: i8) {
    // SAFETY: the device is valid, and goes only when the driver is unloaded; who allocates an IRP for it meanwhile reads either size.
    unsafe {
        let object = WdfDeviceWdmGetDeviceObject(device(number));
        (&raw mut (*object).StackSize).write_volatile(size);
    }
}
