//! The macros in which the ABI is written down: structures with the offset of every field, enumerations, callbacks and function
//! tables. Each structure's size and offsets are asserted when this crate is compiled.

/// Structures and unions: `struct NAME = size { offset field: type, … }`; `packed` for the few that C packs to four bytes.
macro_rules! layouts {
    () => {};
    (struct $name:ident = $size:literal { $($offset:literal $field:ident: $type:ty,)* } $($rest:tt)*) => {
        #[derive(Clone, Copy)]
        #[repr(C)]
        pub struct $name { $(pub $field: $type,)* }
        crate::layout::checked!($name, $size, $($offset $field,)*);
        crate::layout::layouts! { $($rest)* }
    };
    (union $name:ident = $size:literal { $($offset:literal $field:ident: $type:ty,)* } $($rest:tt)*) => {
        #[derive(Clone, Copy)]
        #[repr(C)]
        pub union $name { $(pub $field: $type,)* }
        crate::layout::checked!($name, $size, $($offset $field,)*);
        crate::layout::layouts! { $($rest)* }
    };
    (packed struct $name:ident = $size:literal { $($offset:literal $field:ident: $type:ty,)* } $($rest:tt)*) => {
        #[derive(Clone, Copy)]
        #[repr(C, packed(4))]
        pub struct $name { $(pub $field: $type,)* }
        crate::layout::checked!($name, $size, $($offset $field,)*);
        crate::layout::layouts! { $($rest)* }
    };
    (packed union $name:ident = $size:literal { $($offset:literal $field:ident: $type:ty,)* } $($rest:tt)*) => {
        #[derive(Clone, Copy)]
        #[repr(C, packed(4))]
        pub union $name { $(pub $field: $type,)* }
        crate::layout::checked!($name, $size, $($offset $field,)*);
        crate::layout::layouts! { $($rest)* }
    };
}

/// The assertions, and the all-zero value that C code starts each structure from.
macro_rules! checked {
    ($name:ident, $size:literal, $($offset:literal $field:ident,)*) => {
        const _: () = {
            assert!(size_of::<$name>() == $size, concat!("size of ", stringify!($name)));
            $(assert!(core::mem::offset_of!($name, $field) == $offset, concat!("offset of ", stringify!($name), ".", stringify!($field)));)*
        };
        impl $name {
            /// All bytes zero, as `RtlZeroMemory` leaves it.
            #[must_use]
            pub const fn zeroed() -> Self {
                // SAFETY: every field of an ABI structure is an integer, a raw pointer, an optional function pointer or a
                // structure of such; zero is a value of each.
                unsafe { core::mem::MaybeUninit::zeroed().assume_init() }
            }
        }
        impl Default for $name {
            fn default() -> Self {
                Self::zeroed()
            }
        }
    };
}

/// `enumeration NAME { … }` makes a type with named values, `flags NAME { … }` plain `u32` constants.
macro_rules! enumerations {
    () => {};
    (enumeration $name:ident { $($value:ident = $number:literal,)* } $($rest:tt)*) => {
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub i32);
        #[allow(non_upper_case_globals)]
        impl $name { $(pub const $value: Self = Self($number as u32 as i32);)* }
        crate::layout::enumerations! { $($rest)* }
    };
    (flags $name:ident { $($value:ident = $number:literal,)* } $($rest:tt)*) => {
        $(#[allow(non_upper_case_globals)] pub const $value: u32 = $number;)*
        crate::layout::enumerations! { $($rest)* }
    };
}

/// `NAME(argument: type, …) -> type;` makes a nullable pointer type to such a function.
macro_rules! callbacks {
    ($($name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        $(pub type $name = Option<unsafe extern "win64" fn($($argument: $type),*) $(-> $result)?>;)*
    };
}

/// Functions that a kernel exports: an extern declaration each, and under `signature` its type, against which a kernel written in
/// Rust checks its own definition.
macro_rules! kernel_functions {
    ($($name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        #[cfg_attr(target_os = "windows", link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
        unsafe extern "win64" {
            $(pub fn $name($($argument: $type),*) $(-> $result)?;)*
        }

        /// The type of each kernel function, by its name.
        pub mod signature {
            use super::*;
            $(pub type $name = unsafe extern "win64" fn($($argument: $type),*) $(-> $result)?;)*
        }
    };
}

/// The framework's function table: for each entry its index and type (under `index` and `signature`), its name, and an inline
/// function that calls it through the table the driver was bound to.
macro_rules! function_table {
    ($($number:literal $name:ident $(($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?)?;)*) => {
        /// Index of each function in the table, by its name.
        #[allow(non_upper_case_globals)]
        pub mod index {
            $(pub const $name: usize = $number;)*
        }

        /// The type of each function, by its name, the driver's globals included.
        pub mod signature {
            use super::*;
            $($(pub type $name = unsafe extern "win64" fn(DriverGlobals: *mut WDF_DRIVER_GLOBALS, $($argument: $type),*) $(-> $result)?;)?)*
        }

        /// Name of each function, by index.
        pub const FUNCTION_NAMES: &[&str] = &[$(stringify!($name),)*];

        const _: () = {
            let numbers = [$($number,)*];
            let mut next = 0;
            while next < numbers.len() {
                assert!(numbers[next] == next, "an index of the function table is out of order");
                next += 1;
            }
        };

        $($(
            #[doc = concat!("Calls entry ", stringify!($number), " of the function table.")]
            ///
            /// # Safety
            /// As its documentation demands of the caller; the driver has been bound.
            #[inline]
            #[allow(clippy::too_many_arguments)]
            pub unsafe fn $name($($argument: $type),*) $(-> $result)? {
                // SAFETY: the caller has been bound, so the table has this entry.
                let entry = unsafe { crate::bind::entry(index::$name) };
                // SAFETY: an entry of the table has the type that its index stands for.
                let function: signature::$name = unsafe { core::mem::transmute(entry) };
                // SAFETY: the caller's promise.
                unsafe { function(crate::bind::globals(), $($argument),*) }
            }
        )?)*
    };
}

pub(crate) use {callbacks, checked, enumerations, function_table, kernel_functions, layouts};
