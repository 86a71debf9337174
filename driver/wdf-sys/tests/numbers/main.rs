//! The ABI that this crate writes down, held against the numbers of the headers as a C compiler gave them: layouts, enumerators, the
//! function table. What the crate asserts when it is compiled it has from its own tables; these are other tables.
#![allow(clippy::undocumented_unsafe_blocks, reason = "field pointers are formed and never used")]

mod enumerations;
mod framework;
mod functions;
mod kernel;

/// Size of what a field's pointer would point to; the closure is never called.
fn size_of_field<S, F>(_: impl Fn(*const S) -> *const F) -> usize {
    size_of::<F>()
}

/// `NAME size alignment { field offset size, … }`.
macro_rules! layouts {
    ($($name:ident $size:literal $align:literal { $($($field:ident).+ $offset:literal $length:literal,)* })*) => {$(
        assert_eq!((size_of::<$name>(), align_of::<$name>()), ($size, $align), "{}", stringify!($name));
        $(
            let field = stringify!($name.$($field).+);
            assert_eq!(core::mem::offset_of!($name, $($field).+), $offset, "offset of {field}");
            let size = crate::size_of_field(|place: *const $name| unsafe { &raw const (*place).$($field).+ });
            assert_eq!(size, $length, "size of {field}");
        )*
    )*};
}

/// `enumeration TYPE { NAME number, … }`, `flags GROUP { NAME number, … }`.
macro_rules! names {
    () => {};
    (enumeration $type:ident { $($name:ident $number:literal,)* } $($rest:tt)*) => {
        $(assert_eq!($type::$name.0 as u32, $number, "{}", stringify!($name));)*
        crate::names! { $($rest)* }
    };
    (flags $group:ident { $($name:ident $number:literal,)* } $($rest:tt)*) => {
        $(assert_eq!($name, $number, "{}", stringify!($name));)*
        crate::names! { $($rest)* }
    };
}

pub(crate) use {layouts, names};
