//! What drivers may import from `ntoskrnl.exe` and `hal.dll`: every name and its address, in one table.
//!
//! `executive` lists what threads, memory and the runtime define, `io` what the I/O manager and its neighbours define. A function that `wdf-sys` declares
//! is checked against that declaration when this is compiled.

mod byte_strings;
mod c_runtime;
mod c_text;
mod executive;
mod handles;
mod interlocked;
mod io;
pub(crate) mod leaves;
mod numbers;
mod processor_state;
mod seconds;
mod system;
mod unicode_strings;
mod variables;
mod version;

use core::ffi::c_void;

pub(crate) use variables::{address_limits, set_debugger_enabled, set_debugger_present};

/// One exported name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Export {
    pub(crate) name: &'static str,
    pub(crate) address: *const c_void,
}

// SAFETY: the addresses are those of functions and statics of the image.
unsafe impl Sync for Export {}

/// Lists of exports. `checked` functions have the type that `wdf-sys` declares, `plain` ones are declared nowhere else; `named` ones
/// have another name in the image; `data` are statics.
macro_rules! exports {
    ($list:ident = $($kind:ident $($segment:ident)::+ { $($entries:tt)* })*) => {
        pub(super) static $list: &[&[$crate::exports::Export]] = &[$({
            #[allow(unused_imports)]
            use crate::$($segment)::+ as module;
            const LIST: &[$crate::exports::Export] = $crate::exports::export_list!($kind module $($entries)*);
            LIST
        }),*];
    };
}

macro_rules! export_list {
    (checked $module:ident $($name:ident)*) => {
        &[$({
            const _: wdf_sys::wdm::functions::signature::$name = $module::$name;
            $crate::exports::Export { name: stringify!($name), address: $module::$name as *const () as *const core::ffi::c_void }
        }),*]
    };
    (plain $module:ident $($name:ident)*) => {
        &[$($crate::exports::Export { name: stringify!($name), address: $module::$name as *const () as *const core::ffi::c_void }),*]
    };
    (named $module:ident $($name:literal = $function:ident),* $(,)?) => {
        &[$($crate::exports::Export { name: $name, address: $module::$function as *const () as *const core::ffi::c_void }),*]
    };
    (data $module:ident $($name:literal = $item:ident),* $(,)?) => {
        &[$($crate::exports::Export { name: $name, address: (&raw const $module::$item).cast() }),*]
    };
}
pub(crate) use {export_list, exports};

fn all() -> impl Iterator<Item = &'static Export> {
    executive::LISTS.iter().chain(io::LISTS).flat_map(|list| list.iter())
}

/// Address of what is exported under a name.
pub(crate) fn find(name: &str) -> Option<usize> {
    all().find(|export| export.name == name).map(|export| export.address.addr())
}

/// How many names are exported.
pub fn count() -> usize {
    all().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_exported_twice() {
        let mut names: Vec<&str> = all().map(|export| export.name).collect();
        names.sort_unstable();
        let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        assert_eq!(twice, Vec::<&str>::new());
        assert_eq!(names.len(), count());
    }

    /// What drivers and the framework are compiled against.
    const DECLARATIONS: &str = include_str!("../../../../../driver/wdf-sys/src/wdm/functions.rs");

    #[test]
    fn whatever_the_framework_may_call_is_exported_to_every_driver() {
        let declared = DECLARATIONS.lines().filter_map(|line| line.strip_prefix("    ")?.split_once('(')).map(|(name, _)| name);
        let declared: Vec<&str> = declared.filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric())).collect();
        assert!(declared.len() > 100, "{declared:?}");
        let missing: Vec<&str> = declared.into_iter().filter(|name| find(name).is_none()).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }

    #[test]
    fn what_every_driver_needs_is_there_and_what_nobody_knows_is_not() {
        for name in ["DbgPrint", "KeBugCheckEx", "memcpy", "__C_specific_handler", "KeInitializeEvent", "KeTickCount"] {
            assert!(find(name).is_some_and(|address| address != 0), "{name}");
        }
        assert_eq!(find("ZwMakeCoffee"), None);
        assert_eq!(find("dbgprint"), None);
    }
}
