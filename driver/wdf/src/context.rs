//! Typed object contexts: a Rust value inside a framework object, put there once, dropped once.
//!
//! The framework hands out zeroed bytes and tells when the object is destroyed. A [`Slot`] in those bytes remembers whether the value
//! has been put in yet: an object whose creation failed half-way is destroyed without one.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use wdf_sys::WDFOBJECT;
use wdf_sys::wdf::functions::WdfObjectGetTypedContextWorker;
use wdf_sys::wdf::{WDF_OBJECT_ATTRIBUTES, WDF_OBJECT_CONTEXT_TYPE_INFO};
use zerocopy::FromZeros;

use crate::place::Place;
use crate::trampoline;

/// A value that can live inside framework objects. Implement it with [`context!`](macro@crate::context).
///
/// Callbacks of one object may run at the same time on several processors, hence `Send` and `Sync`.
pub trait Context: Sized + Send + Sync + 'static {
    /// Identifies the type to the framework; the same for every call.
    fn context_type() -> &'static ContextType<Self>;
}

/// Makes a type a [`Context`]: `context!(MyDevice);`
#[macro_export]
macro_rules! context {
    ($type:ty) => {
        impl $crate::Context for $type {
            fn context_type() -> &'static $crate::ContextType<Self> {
                static TYPE: $crate::ContextType<$type> = $crate::ContextType::new(&TYPE, concat!(stringify!($type), "\0"));
                &TYPE
            }
        }
    };
}

/// What the framework needs to know of a context type. It belongs to exactly one Rust type, so that the framework's lookup by its
/// address is a check of the Rust type too.
#[repr(transparent)]
pub struct ContextType<T> {
    info: WDF_OBJECT_CONTEXT_TYPE_INFO,
    of: core::marker::PhantomData<fn() -> T>,
}

// SAFETY: the structure is never written after it was made.
unsafe impl<T> Sync for ContextType<T> {}

impl<T> ContextType<T> {
    /// The framework aligns contexts to this.
    const ALIGNMENT: usize = 16;

    /// `unique` is the static that is being made; `name` ends with a zero byte.
    #[must_use]
    pub const fn new(unique: &'static Self, name: &'static str) -> Self {
        const { assert!(align_of::<Slot<T>>() <= Self::ALIGNMENT, "the framework does not align contexts that far") };
        assert!(name.as_bytes()[name.len() - 1] == 0, "the name of a context type ends with a zero byte");
        Self {
            info: WDF_OBJECT_CONTEXT_TYPE_INFO {
                Size: size_of::<WDF_OBJECT_CONTEXT_TYPE_INFO>() as u32,
                ContextName: name.as_ptr().cast_mut().cast(),
                ContextSize: size_of::<Slot<T>>(),
                UniqueType: core::ptr::from_ref(unique).cast(),
                EvtDriverGetUniqueContextType: None,
            },
            of: core::marker::PhantomData,
        }
    }
}

const EMPTY: u8 = 0;
const FILLING: u8 = 1;
const FULL: u8 = 2;

/// Room for a `T` in an object; all zeroes is an empty one.
#[repr(C)]
pub(crate) struct Slot<T> {
    state: AtomicU8,
    /// Where a device's context keeps the object; null for objects that no context keeps.
    place: AtomicPtr<Place>,
    value: UnsafeCell<MaybeUninit<T>>,
}

impl<T> Slot<T> {
    /// Puts the value in. Gives it back when there is one already.
    fn fill(&self, value: T) -> Result<&T, T> {
        if self.state.compare_exchange(EMPTY, FILLING, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return Err(value);
        }
        // SAFETY: only the one that made the change to FILLING gets here, and nobody reads before FULL.
        let filled = unsafe { (*self.value.get()).write(value) };
        self.state.store(FULL, Ordering::Release);
        Ok(filled)
    }

    /// The value, if it is there.
    pub(crate) fn get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) != FULL {
            return None;
        }
        // SAFETY: FULL says that the value is there; it stays until the object is destroyed.
        Some(unsafe { (*self.value.get()).assume_init_ref() })
    }

    /// The value; the zeroes that the object was created with, when none was put in. None while one is being put in.
    pub(crate) fn get_or_zeroed(&self) -> Option<&T>
    where
        T: FromZeros,
    {
        // Fails when there is a value already, which is as good.
        let _ = self.state.compare_exchange(EMPTY, FULL, Ordering::AcqRel, Ordering::Acquire);
        self.get()
    }

    /// The object is kept at `place`, in the context of its device.
    pub(crate) fn keep_at(&self, place: &Place) {
        self.place.store(core::ptr::from_ref(place).cast_mut(), Ordering::Release);
    }

    /// Empties the place where the object is kept.
    ///
    /// # Safety
    /// The object is being deleted, its device has not been destroyed yet.
    pub(crate) unsafe fn leave_place(&self) {
        let place = self.place.swap(null_mut(), Ordering::AcqRel);
        // SAFETY: the place is in the context of the object's device, which is there (the caller's promise).
        if let Some(place) = unsafe { place.as_ref() } {
            place.clear();
        }
    }

    /// Drops the value, if it is there.
    ///
    /// # Safety
    /// The object is being destroyed: nobody has a reference to the value, nobody will ask for one.
    pub(crate) unsafe fn clear(&self) {
        if self.state.swap(EMPTY, Ordering::AcqRel) == FULL {
            // SAFETY: FULL said that the value is there; the swap made sure that this is the only drop.
            unsafe { (*self.value.get()).assume_init_drop() };
        }
    }
}

/// Attributes of an object that carries a `T`, dropped when the object is destroyed.
pub(crate) fn attributes<T: Context>() -> WDF_OBJECT_ATTRIBUTES {
    WDF_OBJECT_ATTRIBUTES {
        EvtDestroyCallback: if core::mem::needs_drop::<T>() { Some(trampoline::destroy::<T>) } else { None },
        ContextTypeInfo: &raw const T::context_type().info,
        ..WDF_OBJECT_ATTRIBUTES::new()
    }
}

/// As [`attributes`], of an object that a device's context keeps at a [`Place`].
pub(crate) fn kept_attributes<T: Context>() -> WDF_OBJECT_ATTRIBUTES {
    WDF_OBJECT_ATTRIBUTES { EvtCleanupCallback: Some(trampoline::cleanup::<T>), ..attributes::<T>() }
}

/// The slot for a `T` in an object, when the object was created with one.
///
/// # Safety
/// `object` is a valid handle for as long as the result is used.
pub(crate) unsafe fn slot<'a, T: Context>(object: WDFOBJECT) -> Option<&'a Slot<T>> {
    // SAFETY: the caller's promise about the handle; the type description is static.
    let context = unsafe { WdfObjectGetTypedContextWorker(object, &raw const T::context_type().info) };
    // SAFETY: the framework found a context of this very type: `size_of::<Slot<T>>()` bytes, zeroed when the object was created, that live
    // as long as the object. All zeroes is an empty slot.
    NonNull::<c_void>::new(context).map(|context| unsafe { context.cast::<Slot<T>>().as_ref() })
}

/// The `T` in an object.
///
/// # Safety
/// As [`slot`].
pub(crate) unsafe fn get<'a, T: Context>(object: WDFOBJECT) -> Option<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { slot::<T>(object) }?.get()
}

/// Puts a `T` into an object that was created with [`attributes`].
///
/// # Errors
/// `STATUS_INVALID_DEVICE_STATE` when the object has no room for one, or has one already.
///
/// # Safety
/// As [`slot`].
pub(crate) unsafe fn install<'a, T: Context>(object: WDFOBJECT, value: T) -> crate::Result<&'a T> {
    // SAFETY: the caller's promise.
    let slot = unsafe { slot::<T>(object) }.ok_or(crate::NTSTATUS::INVALID_DEVICE_STATE)?;
    slot.fill(value).map_err(|_| crate::NTSTATUS::INVALID_DEVICE_STATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn empty<T>() -> Slot<T> {
        // SAFETY: all zeroes is an empty slot, as the framework makes it.
        unsafe { MaybeUninit::zeroed().assume_init() }
    }

    #[test]
    fn a_value_is_dropped_once_however_often_the_slot_is_cleared() {
        let witness = Arc::new(());
        let slot = empty();
        assert!(slot.fill(Arc::clone(&witness)).is_ok());
        // SAFETY: no reference into the slot is alive.
        unsafe { slot.clear() };
        // SAFETY: as above.
        unsafe { slot.clear() };
        assert_eq!(Arc::strong_count(&witness), 1);
    }

    #[test]
    fn a_slot_never_filled_drops_nothing_and_gives_nothing() {
        let slot = empty::<Arc<()>>();
        assert!(slot.get().is_none());
        // SAFETY: no reference into the slot is alive.
        unsafe { slot.clear() };
    }

    #[test]
    fn a_value_of_zeroes_is_there_from_the_start_and_is_not_replaced() {
        let slot = empty::<AtomicU8>();
        slot.get_or_zeroed().expect("nobody puts one in").store(7, Ordering::Relaxed);
        assert!(slot.fill(AtomicU8::new(1)).is_err());
        assert_eq!(slot.get_or_zeroed().map(|value| value.load(Ordering::Relaxed)), Some(7));
    }

    #[test]
    fn a_value_that_is_being_put_in_is_not_taken_for_zeroes() {
        let slot = empty::<AtomicU8>();
        slot.state.store(FILLING, Ordering::Relaxed);
        assert!(slot.get_or_zeroed().is_none());
    }

    #[test]
    fn a_second_value_is_refused_and_given_back() {
        let slot = empty();
        assert_eq!(slot.fill(1), Ok(&1));
        assert_eq!(slot.fill(2), Err(2));
        assert_eq!(slot.get(), Some(&1));
    }
}
