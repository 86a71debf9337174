//! WDFDEVICE: a device object of the kernel's with everything the framework knows about it. Creation is in [`create`], the way of an
//! IRP in [`dispatch`], names and interfaces in [`names`], what the driver may ask and set in [`functions`] and [`properties`]. PnP and
//! power are in [`crate::pnp`].

pub(crate) mod create;
pub(crate) mod dispatch;
pub(crate) mod functions;
pub(crate) mod names;
pub(crate) mod properties;
pub(crate) mod relations;

use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use wdf_sys::WDFDEVICE;
use wdf_sys::wdm::DEVICE_OBJECT;
use wdf_sys::wdm::functions::{IoDeleteDevice, IoDetachDevice, IoUnregisterShutdownNotification};

use crate::device_init::{Role, Settings};
use crate::io::DeviceIo;
use crate::lock::CallbackLock;
use crate::object::{AnyRef, Body, Kind, Ref, handles};
use crate::pnp::Machine;

/// Tells our device extensions from others': `WDF_DEV_`.
const MAGIC: u64 = u64::from_le_bytes(*b"WDF_DEV_");

/// What the framework keeps in the kernel's device object.
#[repr(C)]
pub(crate) struct Extension {
    magic: u64,
    /// Handle of the WDFDEVICE.
    device: usize,
}

/// Body of a WDFDEVICE.
pub(crate) struct Device {
    wdm: *mut DEVICE_OBJECT,
    /// The device object attached to; null once detached, and for control devices.
    lower: AtomicPtr<DEVICE_OBJECT>,
    physical: *mut DEVICE_OBJECT,
    /// As they were when the device was created.
    pub(crate) settings: Settings,
    /// Queues, targets, files.
    pub(crate) io: DeviceIo,
    lock: CallbackLock,
    /// PnP and power.
    pub(crate) pnp: Machine,
    pub(crate) names: names::Names,
    /// WdfDeviceSetStaticStopRemove: may be stopped and removed.
    pub(crate) stoppable: AtomicBool,
    /// WdfControlFinishInitializing was called.
    pub(crate) finished: AtomicBool,
    /// `PNP_DEVICE_…` flags that the driver has set.
    pub(crate) state_flags: AtomicU32,
    pub(crate) irp_callbacks: dispatch::IrpCallbacks,
    /// Special files that the driver supports, a bit each.
    pub(crate) special_files: AtomicU32,
    pub(crate) capabilities: crate::sync::SpinLock<crate::pnp::capabilities::Overrides>,
    /// Interfaces that the driver offers to others (WdfDeviceAddQueryInterface).
    pub(crate) offered: crate::sync::SpinLock<alloc::vec::Vec<crate::query_interface::Offered>>,
    pub(crate) relations: relations::Relations,
    pub(crate) wmi: crate::wmi::Wmi,
}

// SAFETY: the raw pointers are to device objects of the kernel's, which live until this object's cleanup at least; what changes is
// atomic or behind a lock.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Body for Device {
    type Handle = WDFDEVICE;
    const KIND: Kind = Kind::Device;

    fn callback_lock(&self) -> Option<&CallbackLock> {
        Some(&self.lock)
    }

    fn before_children(this: &Ref<Self>) {
        if this.is_control() {
            crate::io::purge(this);
        }
        this.names.remove_all();
    }

    fn before_cleanup(this: &Ref<Self>) {
        this.pnp.idle.stop();
    }

    fn after_cleanup(this: &Ref<Self>) {
        this.pnp.forget();
        this.offered.lock().clear();
        this.relations.clear();
        this.wmi.clear();
        if this.settings.shutdown.is_some() {
            // SAFETY: registered when the device was created; the kernel takes a device that is not registered as well.
            unsafe { IoUnregisterShutdownNotification(this.wdm) };
        }
        this.detach();
        // SAFETY: our own extension. No IRP finds the object any more.
        unsafe {
            let extension = (*this.wdm).DeviceExtension.cast::<Extension>();
            (*extension).magic = 0;
            IoDeleteDevice(this.wdm);
        }
    }
}

impl Device {
    /// The device of a kernel device object of ours; `None` for any other.
    pub(crate) fn of_wdm(wdm: *mut DEVICE_OBJECT) -> Option<Ref<Self>> {
        let wdm = NonNull::new(wdm)?;
        // SAFETY: a device object of the kernel's; where its extension begins with our mark, it is ours.
        let handle = unsafe {
            let extension = wdm.as_ref().DeviceExtension.cast::<Extension>();
            if extension.is_null() || (*extension).magic != MAGIC {
                return None;
            }
            (*extension).device
        };
        let header = handles::acquire(handle)?;
        // SAFETY: `acquire` counted the reference.
        unsafe { AnyRef::from_counted(header) }.downcast().ok()
    }

    /// The kernel's object.
    pub(crate) fn wdm(&self) -> *mut DEVICE_OBJECT {
        self.wdm
    }

    /// The device object below; null for control devices and once detached.
    pub(crate) fn lower(&self) -> *mut DEVICE_OBJECT {
        self.lower.load(Ordering::Acquire)
    }

    /// The physical device at the bottom of the stack; null for control devices.
    pub(crate) fn pdo(&self) -> *mut DEVICE_OBJECT {
        self.physical
    }

    /// The driver is a filter for this device.
    pub(crate) fn is_filter(&self) -> bool {
        self.settings.filter
    }

    /// A control device: no PnP, no power.
    pub(crate) fn is_control(&self) -> bool {
        self.settings.role == Role::Control
    }

    /// Whether power-managed queues may dispatch.
    pub(crate) fn is_in_d0(&self) -> bool {
        self.is_control() || self.pnp.is_in_d0()
    }

    /// Takes the device out of its stack; harmless when it is in none.
    pub(crate) fn detach(&self) {
        let lower = self.lower.swap(null_mut(), Ordering::AcqRel);
        if !lower.is_null() {
            // SAFETY: attached to it by `create`, and detached once, by the swap.
            unsafe { IoDetachDevice(lower) };
        }
    }
}
