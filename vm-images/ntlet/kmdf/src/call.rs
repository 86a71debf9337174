//! A call from a driver: how its arguments become references that Rust can use, and the macro that every DDI function is written in.
//!
//! A driver's pointers are promises: the framework, like any kernel code, cannot check an address before it uses it. That promise is
//! taken once, in [`Call::enter`]; a pointer that breaks it faults, and the fault names the driver. What can be checked is checked
//! here: the globals, every handle, required pointers, sizes, the IRQL.

use core::ffi::c_void;

use wdf_sys::wdf::WDF_DRIVER_GLOBALS;
use wdf_sys::wdm::UNICODE_STRING;
use wdf_sys::{NTSTATUS, WDFOBJECT};

use crate::globals::Globals;
use crate::object::{AnyRef, Body, Handle, Kind, Ref, handles};
use crate::verifier::{self, BugCheck};

/// A call in progress.
pub(crate) struct Call {
    /// The calling driver's.
    pub(crate) globals: &'static Globals,
    /// Index of the function in the table.
    pub(crate) function: usize,
}

impl Call {
    /// Begins a call.
    ///
    /// # Safety
    /// A driver makes this call; its pointer arguments are null or valid as the function's page demands, while the call lasts.
    #[inline]
    pub(crate) unsafe fn enter(globals: *mut WDF_DRIVER_GLOBALS, function: usize) -> Self {
        match Globals::find(globals) {
            Some(globals) => Self { globals, function },
            None => verifier::unbound_caller(globals.cast(), function),
        }
    }

    /// Name of the function.
    pub(crate) fn name(&self) -> &'static str {
        crate::table::name(self.function)
    }

    /// The object of a typed handle. Any number that is no handle of that type is a bug check.
    #[inline]
    pub(crate) fn object<T: Body>(&self, handle: T::Handle) -> Ref<T> {
        match self.find(handle.raw()).map(AnyRef::downcast::<T>) {
            Some(Ok(object)) => object,
            _ => self.invalid_handle(handle.raw(), T::KIND),
        }
    }

    /// The object of a typed handle that may be null.
    pub(crate) fn optional_object<T: Body>(&self, handle: T::Handle) -> Option<Ref<T>> {
        if handle.raw().is_null() { None } else { Some(self.object(handle)) }
    }

    /// The object of an untyped handle.
    #[inline]
    pub(crate) fn any(&self, handle: WDFOBJECT) -> AnyRef {
        match self.find(handle.0) {
            Some(object) => object,
            None => self.invalid_handle(handle.0, Kind::Object),
        }
    }

    #[inline]
    fn find(&self, handle: *mut c_void) -> Option<AnyRef> {
        let header = handles::acquire(handle.addr())?;
        // SAFETY: `acquire` has counted the reference.
        Some(unsafe { AnyRef::from_counted(header) })
    }

    #[cold]
    fn invalid_handle(&self, handle: *mut c_void, expected: Kind) -> ! {
        match self.find(handle) {
            Some(other) => {
                crate::report!(
                    self.globals,
                    "{}: {handle:p} is a {}, not a {}",
                    self.name(),
                    other.kind().name(),
                    expected.name()
                );
            }
            None => crate::report!(self.globals, "{}: {handle:p} is no {} (any more)", self.name(), expected.name()),
        }
        verifier::bug_check(self.globals, BugCheck::InvalidHandle(handle as usize, expected));
    }

    /// What a required pointer points to. Null is a bug check.
    #[inline]
    pub(crate) fn required<'a, T>(&self, pointer: *const T) -> &'a T {
        // SAFETY: the promise of `enter`.
        match unsafe { pointer.as_ref() } {
            Some(reference) => reference,
            None => self.null_pointer(),
        }
    }

    /// What an optional pointer points to.
    #[inline]
    pub(crate) fn optional<'a, T>(&self, pointer: *const T) -> Option<&'a T> {
        // SAFETY: the promise of `enter`.
        unsafe { pointer.as_ref() }
    }

    /// Writes through a required pointer. Null is a bug check.
    #[inline]
    pub(crate) fn write<T>(&self, pointer: *mut T, value: T) {
        if pointer.is_null() {
            self.null_pointer();
        }
        // SAFETY: not null, and the promise of `enter`.
        unsafe { pointer.write_unaligned(value) };
    }

    /// Writes through a pointer that may be null.
    #[inline]
    pub(crate) fn write_optional<T>(&self, pointer: *mut T, value: T) {
        if !pointer.is_null() {
            self.write(pointer, value);
        }
    }

    /// Reads through a required pointer. Null is a bug check.
    #[inline]
    pub(crate) fn read<T: Copy>(&self, pointer: *const T) -> T {
        if pointer.is_null() {
            self.null_pointer();
        }
        // SAFETY: not null, and the promise of `enter`.
        unsafe { pointer.read_unaligned() }
    }

    /// A structure that begins with its size, copied. Shorter ones that older versions had are filled up with zeros.
    ///
    /// # Errors
    /// `INFO_LENGTH_MISMATCH` when the size is neither the structure's own nor one of `other_sizes`.
    pub(crate) fn sized<T: Copy + Default>(&self, pointer: *const T, other_sizes: &[usize]) -> Result<T, NTSTATUS> {
        let size = self.read(pointer.cast::<u32>()) as usize;
        if size != size_of::<T>() && !other_sizes.contains(&size) {
            crate::report!(self.globals, "{}: Size is {size}, expected {}", self.name(), size_of::<T>());
            return Err(NTSTATUS::INFO_LENGTH_MISMATCH);
        }
        let mut copy = T::default();
        // SAFETY: the driver says that so many bytes are there, by the promise of `enter`; no more are written than `copy` has, and
        // structures of the ABI have no invalid values.
        unsafe {
            core::ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut copy).cast::<u8>(), size.min(size_of::<T>()));
        }
        Ok(copy)
    }

    /// Bytes to read from. Null with a length is a bug check.
    pub(crate) fn bytes<'a>(&self, pointer: *const c_void, length: usize) -> &'a [u8] {
        if length == 0 {
            return &[];
        }
        if pointer.is_null() {
            self.null_pointer();
        }
        // SAFETY: not null, and the promise of `enter`.
        unsafe { core::slice::from_raw_parts(pointer.cast(), length) }
    }

    /// Copies to the driver's buffer. Null with bytes to copy is a bug check.
    pub(crate) fn copy_out(&self, pointer: *mut c_void, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if pointer.is_null() {
            self.null_pointer();
        }
        // SAFETY: not null, and the promise of `enter`. The source may be the same memory, hence `copy`.
        unsafe { core::ptr::copy(bytes.as_ptr(), pointer.cast(), bytes.len()) };
    }

    /// The units of a required counted string. A null string is a bug check, one whose lengths contradict an error.
    ///
    /// # Errors
    /// `INVALID_PARAMETER` when the length is odd, exceeds the maximum length, or there is no buffer for it.
    pub(crate) fn string<'a>(&self, string: *const UNICODE_STRING) -> Result<&'a [u16], NTSTATUS> {
        let string = self.required(string);
        let broken = !string.Length.is_multiple_of(2)
            || string.Length > string.MaximumLength
            || (string.Buffer.is_null() && string.Length != 0);
        if broken {
            return Err(NTSTATUS::INVALID_PARAMETER);
        }
        // SAFETY: the promise of `enter`.
        Ok(unsafe { string.units() })
    }

    /// As [`Call::string`], for a string that may be null.
    ///
    /// # Errors
    /// As [`Call::string`].
    pub(crate) fn optional_string<'a>(&self, string: *const UNICODE_STRING) -> Result<Option<&'a [u16]>, NTSTATUS> {
        if string.is_null() { Ok(None) } else { self.string(string).map(Some) }
    }

    /// Ends a call that creates an object: hands out the handle, or returns the error.
    pub(crate) fn created<T: Body>(&self, place: *mut T::Handle, created: Result<Ref<T>, NTSTATUS>) -> NTSTATUS {
        match created {
            Ok(object) => {
                self.write(place, object.handle());
                NTSTATUS::SUCCESS
            }
            Err(status) => {
                crate::report!(self.globals, "{} failed: {status}", self.name());
                status
            }
        }
    }

    #[cold]
    fn null_pointer(&self) -> ! {
        crate::report!(self.globals, "{}: a required pointer is NULL", self.name());
        verifier::bug_check(self.globals, BugCheck::RequiredParameterIsNull);
    }

    /// Reports a call from too high an IRQL (rule KmdfIrql), while the verifier is on.
    #[inline]
    pub(crate) fn irql_at_most(&self, highest: u8) -> bool {
        let irql = crate::sync::irql();
        if irql <= highest {
            return true;
        }
        if self.globals.verifies() {
            verifier::violation(
                self.globals,
                verifier::Rule::KmdfIrql,
                0,
                format_args!("{} was called at IRQL {irql}; it may be called at {highest} at most", self.name()),
            );
        }
        false
    }
}

/// Functions of the DDI: each becomes an entry of the function table of that name, its type checked against the table's. The first
/// "argument" names the [`Call`]. `FUNCTIONS` lists them for [`crate::table`].
macro_rules! ddi {
    ($(
        $(#[$attribute:meta])*
        fn $name:ident($call:ident $(, $argument:ident: $type:ty)* $(,)?) $(-> $result:ty)? $body:block
    )*) => {
        $(
            $(#[$attribute])*
            #[allow(non_snake_case, reason = "the name is the DDI's")]
            unsafe extern "win64" fn $name(globals: *mut wdf_sys::wdf::WDF_DRIVER_GLOBALS $(, $argument: $type)*) $(-> $result)? {
                // SAFETY: reached through the function table alone, so by a driver, who promises what the function's page demands.
                let $call = &unsafe { $crate::call::Call::enter(globals, wdf_sys::wdf::functions::index::$name) };
                $body
            }
        )*

        /// Index and address of each function above.
        pub(crate) const FUNCTIONS: &[(usize, *const ())] = &[$((wdf_sys::wdf::functions::index::$name, {
            let typed: wdf_sys::wdf::functions::signature::$name = $name;
            typed as *const ()
        })),*];
    };
}

/// As [`ddi!`], for functions that came after KMDF 1.15, whose prototypes the ABI crate does not have: each is written with its index,
/// and its list is named.
macro_rules! later {
    ($list:ident: $(
        fn $name:ident[$index:literal]($call:ident $(, $argument:ident: $type:ty)* $(,)?) $(-> $result:ty)? $body:block
    )*) => {
        $(
            #[allow(non_snake_case, reason = "the name is the DDI's")]
            unsafe extern "win64" fn $name(globals: *mut wdf_sys::wdf::WDF_DRIVER_GLOBALS $(, $argument: $type)*) $(-> $result)? {
                // SAFETY: as in `ddi!`.
                let $call = &unsafe { $crate::call::Call::enter(globals, $index) };
                $body
            }
        )*

        /// Index and address of each function above.
        pub(crate) const $list: &[(usize, *const ())] = &[$(($index, $name as *const ())),*];
    };
}

pub(crate) use {ddi, later};
