//! Requests over IRPs that the driver allocates itself, and reuse with another IRP.
//!
//! The IRP of such a request belongs to the request object: it is kept in a second context, and freed when the object is destroyed. A reuse
//! with a new IRP gives the old one back.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::{WDF_REQUEST_REUSE_PARAMS, WDF_REQUEST_REUSE_SET_NEW_IRP};
use wdf_sys::wdm::IRP;
use wdf_sys::wdm::functions::{IoAllocateIrp, IoFreeIrp};
use wdf_sys::{FALSE, WDFREQUEST};

use super::own::{Completed, Created, OnCompletion};
use crate::context;
use crate::target::Target;
use crate::{NTSTATUS, Result};

/// An IRP that nobody uses; freed when dropped.
#[derive(Debug)]
pub struct Irp {
    irp: NonNull<IRP>,
}

// SAFETY: an IRP that nobody uses is plain memory.
unsafe impl Send for Irp {}

impl Irp {
    /// An IRP with stack locations for all drivers below `target`.
    ///
    /// # Errors
    /// `STATUS_INVALID_DEVICE_STATE` when the target is closed, `STATUS_INSUFFICIENT_RESOURCES` when there is no memory.
    pub fn new(target: Target<'_>) -> Result<Self> {
        // SAFETY: the target is valid.
        let device = unsafe { WdfIoTargetWdmGetTargetDeviceObject(target.handle()) };
        if device.is_null() {
            return Err(NTSTATUS::INVALID_DEVICE_STATE);
        }
        // SAFETY: an open target's device object is there.
        let irp = unsafe { IoAllocateIrp((*device).StackSize, FALSE) };
        NonNull::new(irp).map(|irp| Self { irp }).ok_or(NTSTATUS::INSUFFICIENT_RESOURCES)
    }

    #[cfg(test)]
    pub(super) fn address(&self) -> usize {
        self.irp.as_ptr() as usize
    }

    /// Gives up ownership without freeing.
    fn into_raw(self) -> *mut IRP {
        core::mem::ManuallyDrop::new(self).irp.as_ptr()
    }
}

impl Drop for Irp {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`, and nobody uses it.
        unsafe { IoFreeIrp(self.irp.as_ptr()) };
    }
}

/// The context in which a request object keeps its IRP.
struct Kept(AtomicPtr<IRP>);

crate::context!(Kept);

impl Kept {
    /// # Safety
    /// `next` is an IRP that the request is given, or null; the one that comes out is no longer the request's.
    unsafe fn exchange(&self, next: *mut IRP) -> Option<Irp> {
        NonNull::new(self.0.swap(next, Ordering::AcqRel)).map(|irp| Irp { irp })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: the request object is being destroyed.
        drop(unsafe { self.exchange(core::ptr::null_mut()) });
    }
}

impl<C: OnCompletion> Created<C> {
    /// As [`new`](Self::new), over an IRP of the driver's own.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` when there is no memory.
    pub fn from_irp(irp: Irp, value: C) -> Result<Self> {
        let mut attributes = context::attributes::<C>();
        let mut handle = WDFREQUEST::NULL;
        // SAFETY: the IRP is valid and nobody uses it; it outlives the request object, which will keep it.
        unsafe { WdfRequestCreateFromIrp(&raw mut attributes, irp.irp.as_ptr(), FALSE, &raw mut handle) }.ok()?;
        // SAFETY: the request was just created and is ours.
        let created = unsafe { Self::adopt(handle) };
        // SAFETY: with room for a `C`.
        unsafe { context::install(handle.object(), value) }?;
        let mut attributes = context::attributes::<Kept>();
        let mut place = core::ptr::null_mut();
        // SAFETY: the request is ours; it has no such context yet.
        unsafe { WdfObjectAllocateContext(handle.object(), &raw mut attributes, &raw mut place) }.ok()?;
        // SAFETY: as above, with room for it now.
        unsafe { context::install(handle.object(), Kept(AtomicPtr::new(irp.into_raw()))) }?;
        Ok(created)
    }
}

impl<C: OnCompletion> Completed<C> {
    /// Makes it a new request over another IRP, and gives the old IRP back.
    ///
    /// # Errors
    /// `STATUS_WDF_REQUEST_INVALID_STATE` when it was not made from an IRP; what else the framework says. The request is deleted then.
    pub fn reuse_with(self, irp: Irp) -> Result<(Created<C>, Option<Irp>)> {
        // SAFETY: the request is ours.
        let kept = unsafe { context::get::<Kept>(self.handle().object()) }.ok_or(NTSTATUS::WDF_REQUEST_INVALID_STATE)?;
        let mut parameters = WDF_REQUEST_REUSE_PARAMS::new(WDF_REQUEST_REUSE_SET_NEW_IRP, NTSTATUS::SUCCESS);
        parameters.NewIrp = irp.irp.as_ptr();
        // SAFETY: the request is ours, driver-created, and completed; the IRP is valid and nobody uses it.
        unsafe { WdfRequestReuse(self.handle(), &raw mut parameters) }.ok()?;
        // SAFETY: the framework took the new IRP and let go of the old one.
        let old = unsafe { kept.exchange(irp.into_raw()) };
        Ok((self.into_created(), old))
    }
}
