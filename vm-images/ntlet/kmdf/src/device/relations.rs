//! Devices that belong together: those that must be removed with this one, and those that this one's special files depend on.

use alloc::vec::Vec;
use core::ptr::NonNull;

use wdf_sys::wdm::constants::{IRP_MJ_PNP, IRP_MN_DEVICE_USAGE_NOTIFICATION, NOTIFICATION_EVENT, POOL_FLAG_NON_PAGED};
use wdf_sys::wdm::functions::{
    ExAllocatePool2, ExFreePool, IoAllocateIrp, IoFreeIrp, IoGetAttachedDeviceReference, IoInvalidateDeviceRelations,
    IofCallDriver, ObfDereferenceObject, ObfReferenceObject,
};
use wdf_sys::wdm::{DEVICE_OBJECT, DEVICE_RELATIONS, IO_STATUS_BLOCK, IRP, next_stack_location, set_completion_routine};
use wdf_sys::{BOOLEAN, NTSTATUS, WDFDEVICE};

use super::Device;
use crate::call::{Call, ddi};
use crate::object::Ref;
use crate::pnp::irp::signal;
use crate::sync::{Event, PASSIVE_LEVEL, SpinLock};

/// `STATUS_DUPLICATE_OBJECTID`.
const ALREADY_THERE: NTSTATUS = NTSTATUS(0xc000_022a_u32 as i32);

/// A device object of somebody else's, referenced while it is in a list.
struct Known(NonNull<DEVICE_OBJECT>);

// SAFETY: the reference keeps the kernel's object, which may be used from anywhere.
unsafe impl Send for Known {}

impl Known {
    fn new(device: NonNull<DEVICE_OBJECT>) -> Self {
        // SAFETY: the driver names a live device object.
        unsafe { ObfReferenceObject(device.as_ptr().cast()) };
        Self(device)
    }
}

impl Clone for Known {
    fn clone(&self) -> Self {
        Self::new(self.0)
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        // SAFETY: referenced by `new`.
        unsafe { ObfDereferenceObject(self.0.as_ptr().cast()) };
    }
}

/// A list of devices, each in it once.
pub(crate) struct Devices(SpinLock<Vec<Known>>);

impl Devices {
    const fn new() -> Self {
        Self(SpinLock::new(Vec::new()))
    }

    fn add(&self, device: NonNull<DEVICE_OBJECT>) -> Result<(), NTSTATUS> {
        let known = Known::new(device);
        let mut list = self.0.lock();
        if list.iter().any(|other| other.0 == device) {
            drop(list);
            return Err(ALREADY_THERE);
        }
        if list.try_reserve(1).is_err() {
            drop(list);
            return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
        }
        list.push(known);
        Ok(())
    }

    /// Whether it was there.
    fn remove(&self, device: *mut DEVICE_OBJECT) -> bool {
        let gone = {
            let mut list = self.0.lock();
            let at = list.iter().position(|known| known.0.as_ptr() == device);
            at.map(|at| list.swap_remove(at))
        };
        gone.is_some()
    }

    fn clear(&self) {
        let gone = core::mem::take(&mut *self.0.lock());
        drop(gone);
    }

    fn copy(&self) -> Vec<Known> {
        self.0.lock().clone()
    }
}

/// What `WdfDeviceAdd…` has named.
pub(crate) struct Relations {
    /// To be removed with the device.
    removal: Devices,
    /// Told of paging, hibernation and dump files on the device.
    dependents: Devices,
}

impl Relations {
    pub(crate) const fn new() -> Self {
        Self { removal: Devices::new(), dependents: Devices::new() }
    }

    /// Lets go of all of them.
    pub(crate) fn clear(&self) {
        self.removal.clear();
        self.dependents.clear();
    }
}

/// Adds the devices that must be removed with this one to the answer of an `IRP_MN_QUERY_DEVICE_RELATIONS` for them, on its way down.
pub(crate) fn answer_removal(device: &Ref<Device>, irp: *mut IRP) -> Result<(), NTSTATUS> {
    let ours = device.relations.removal.copy();
    if ours.is_empty() {
        return Ok(());
    }
    // SAFETY: the IRP is ours; what a driver above has put into it is a block of pool, whose references go over into the new one.
    unsafe {
        let old: *mut DEVICE_RELATIONS = core::ptr::with_exposed_provenance_mut((*irp).IoStatus.Information);
        let before = if old.is_null() { 0 } else { (*old).Count as usize };
        let count = before + ours.len();
        let size = core::mem::offset_of!(DEVICE_RELATIONS, Objects) + count * size_of::<*mut DEVICE_OBJECT>();
        let new = ExAllocatePool2(POOL_FLAG_NON_PAGED, size, device.any().globals().tag()).cast::<DEVICE_RELATIONS>();
        if new.is_null() {
            return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
        }
        let place = (&raw mut (*new).Objects).cast::<*mut DEVICE_OBJECT>();
        if !old.is_null() {
            place.copy_from_nonoverlapping((&raw const (*old).Objects).cast(), before);
            ExFreePool(old.cast());
        }
        for (at, known) in ours.iter().enumerate() {
            ObfReferenceObject(known.0.as_ptr().cast());
            place.add(before + at).write(known.0.as_ptr());
        }
        (*new).Count = count as u32;
        (*irp).IoStatus = IO_STATUS_BLOCK::new(NTSTATUS::SUCCESS, new.expose_provenance());
    }
    Ok(())
}

/// Tells every dependent device that a special file of this kind comes to the device or leaves it. When one refuses, those that have agreed
/// are told that it is not so.
pub(crate) fn notify_dependents(device: &Ref<Device>, kind: i32, in_path: BOOLEAN) -> Result<(), NTSTATUS> {
    let dependents = device.relations.dependents.copy();
    for (at, dependent) in dependents.iter().enumerate() {
        let status = notify(dependent, kind, in_path);
        if status.is_error() && status != NTSTATUS::NOT_SUPPORTED {
            dependents[..at].iter().for_each(|told| {
                let _ = notify(told, kind, BOOLEAN::from(in_path == 0));
            });
            return Err(status);
        }
    }
    Ok(())
}

/// Tells every dependent device that what [`notify_dependents`] has told it is not so.
pub(crate) fn take_back(device: &Ref<Device>, kind: i32, in_path: BOOLEAN) {
    device.relations.dependents.copy().iter().for_each(|told| {
        let _ = notify(told, kind, BOOLEAN::from(in_path == 0));
    });
}

fn notify(dependent: &Known, kind: i32, in_path: BOOLEAN) -> NTSTATUS {
    let done = Event::uninitialized();
    done.initialize(NOTIFICATION_EVENT, false);
    // SAFETY: the list references the device; the IRP is ours, and event and IRP outlive the wait. PASSIVE_LEVEL.
    unsafe {
        let top = IoGetAttachedDeviceReference(dependent.0.as_ptr());
        let irp = IoAllocateIrp((*top).StackSize, 0);
        let status = if irp.is_null() {
            NTSTATUS::INSUFFICIENT_RESOURCES
        } else {
            (*irp).IoStatus = IO_STATUS_BLOCK::new(NTSTATUS::NOT_SUPPORTED, 0);
            let location = next_stack_location(irp);
            (*location).MajorFunction = IRP_MJ_PNP;
            (*location).MinorFunction = IRP_MN_DEVICE_USAGE_NOTIFICATION;
            (*location).Parameters.UsageNotification.InPath = in_path;
            (*location).Parameters.UsageNotification.Type = kind;
            set_completion_routine(irp, Some(signal), (&raw const done).cast_mut().cast());
            let _ = IofCallDriver(top, irp);
            done.wait();
            let status = (*irp).IoStatus.status();
            IoFreeIrp(irp);
            status
        };
        ObfDereferenceObject(top.cast());
        status
    }
}

fn added(call: &Call, list: &Devices, device: *mut DEVICE_OBJECT) -> NTSTATUS {
    call.irql_at_most(PASSIVE_LEVEL);
    let Some(device) = NonNull::new(device) else { return NTSTATUS::INVALID_PARAMETER };
    list.add(device).err().unwrap_or(NTSTATUS::SUCCESS)
}

/// The PnP manager asks again when the list has changed.
fn tell(device: &Ref<Device>) {
    if !device.pdo().is_null() && device.pnp.is_started() {
        // SAFETY: the stack's physical device.
        unsafe { IoInvalidateDeviceRelations(device.pdo(), wdf_sys::wdm::constants::REMOVAL_RELATIONS) };
    }
}

ddi! {
    fn WdfDeviceAddRemovalRelationsPhysicalDevice(call, device: WDFDEVICE, physical: *mut DEVICE_OBJECT) -> NTSTATUS {
        let device = call.object::<Device>(device);
        let status = added(call, &device.relations.removal, physical);
        if status.is_success() {
            tell(&device);
        }
        status
    }

    fn WdfDeviceRemoveRemovalRelationsPhysicalDevice(call, device: WDFDEVICE, physical: *mut DEVICE_OBJECT) {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        if device.relations.removal.remove(physical) {
            tell(&device);
        }
    }

    fn WdfDeviceClearRemovalRelationsDevices(call, device: WDFDEVICE) {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        device.relations.removal.clear();
        tell(&device);
    }

    fn WdfDeviceAddDependentUsageDeviceObject(call, device: WDFDEVICE, dependent: *mut DEVICE_OBJECT) -> NTSTATUS {
        let device = call.object::<Device>(device);
        added(call, &device.relations.dependents, dependent)
    }

    fn WdfDeviceRemoveDependentUsageDeviceObject(call, device: WDFDEVICE, dependent: *mut DEVICE_OBJECT) {
        call.irql_at_most(PASSIVE_LEVEL);
        call.object::<Device>(device).relations.dependents.remove(dependent);
    }
}
