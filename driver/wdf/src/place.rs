//! Where the objects of a device are kept: each in a field of the device's context.
//!
//! The framework deletes the objects of a device before the device, and nobody may use one that is deleted. So a handle is only ever where it cannot be
//! used too late. A context is made with empty places, `Queue::unmade()` and its like; when it is in the device object, and thus cannot be moved any more,
//! what is made for the device puts its handle into its place there. Nobody takes a place out of a context, which is only ever shared; nobody reaches
//! it but callbacks of the device; and before the context is dropped the framework has deleted the object, whose cleanup empties the place. What is asked
//! of an empty place is not done.

use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};

use wdf_sys::WDFOBJECT;

use crate::context;
use crate::device::{Device, DeviceEvents};
use crate::{NTSTATUS, Result};

/// Room for what stands for one object: its handle, or the memory that it is about.
#[derive(Debug)]
pub(crate) struct Place(AtomicPtr<c_void>);

/// The context of objects that need it for nothing but to remember their place.
pub(crate) struct Kept;

crate::context!(Kept);

impl Place {
    pub(crate) const fn empty() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }

    /// A place of the tests' table, which deletes nothing.
    #[cfg(test)]
    pub(crate) const fn holding(what: *mut c_void) -> Self {
        Self(AtomicPtr::new(what))
    }

    /// What is there. It stays valid while the place is borrowed: the context is, by a callback of the device, whose objects are there as long.
    #[inline]
    pub(crate) fn get(&self) -> Option<NonNull<c_void>> {
        NonNull::new(self.0.load(Ordering::Acquire))
    }

    /// As [`get`](Self::get), of a place that is to have something.
    #[inline]
    pub(crate) fn require(&self) -> Result<NonNull<c_void>> {
        self.get().ok_or(NTSTATUS::INVALID_DEVICE_STATE)
    }

    /// The object is being deleted.
    pub(crate) fn clear(&self) {
        self.0.store(null_mut(), Ordering::Release);
    }
}

/// An empty place in the context of a device, for an object of that device.
pub(crate) struct Vacancy<'a>(&'a Place);

impl<'a> Vacancy<'a> {
    /// The place that is found `at` the context of `device`, in a part of type `W`.
    ///
    /// # Errors
    /// `STATUS_INVALID_PARAMETER` when that is not inside of the context; `STATUS_INVALID_DEVICE_STATE` when it is not empty.
    pub(crate) fn find<D: DeviceEvents, W>(
        device: Device<'a, D>,
        at: impl Fn(&D) -> &W,
        place: impl Fn(&W) -> &Place,
    ) -> Result<(&'a W, Self)> {
        let context = device.context();
        let part = at(context);
        let start = core::ptr::from_ref(context).addr();
        let offset = core::ptr::from_ref(part).addr().wrapping_sub(start);
        if offset.checked_add(size_of::<W>()).is_none_or(|end| end > size_of::<D>()) {
            return Err(NTSTATUS::INVALID_PARAMETER);
        }
        let place = place(part);
        if place.get().is_some() {
            return Err(NTSTATUS::INVALID_DEVICE_STATE);
        }
        Ok((part, Self(place)))
    }

    /// Puts `what` of `object` there, until the object is deleted, and `value` into the object.
    ///
    /// # Errors
    /// As [`context::install`].
    ///
    /// # Safety
    /// The object was just created with [`context::kept_attributes`] for a `T`, and belongs to the device of this place.
    pub(crate) unsafe fn fill<T: context::Context>(self, object: WDFOBJECT, value: T, what: *mut c_void) -> Result<()> {
        // SAFETY: the caller's promise.
        let slot = unsafe { context::slot::<T>(object) }.ok_or(NTSTATUS::INVALID_DEVICE_STATE)?;
        slot.keep_at(self.0);
        // SAFETY: the caller's promise.
        unsafe { context::install(object, value) }?;
        self.0.0.store(what, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
