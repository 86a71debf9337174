//! Binding: `WdfVersionBind` and its kin, which a driver's entry stub calls before and after everything else.

use core::ffi::c_void;

use wdf_sys::NTSTATUS;
use wdf_sys::bind::WDF_BIND_INFO;
use wdf_sys::wdf::WDF_DRIVER_GLOBALS;
use wdf_sys::wdm::{DRIVER_OBJECT, UNICODE_STRING};

use crate::globals::{Globals, service_name};
use crate::guarded::Guarded;
use crate::table::{ENTRIES, TABLE};
use crate::{driver, history, library, registry, text};

/// Function counts that were released, with the first and last minor version that had each.
const RELEASED: &[(u32, u32, u32)] = &[
    (396, 9, 9),
    (432, 11, 11),
    (438, 13, 13),
    (444, 15, 17),
    (446, 19, 19),
    (448, 21, 21),
    (451, 23, 23),
    (453, 25, 27),
    (454, 29, 29),
    (458, 31, 33),
];

/// Last version whose drivers get a copy of the table; later ones get a pointer to it.
const LAST_COPIED_MINOR: u32 = 13;

/// The library that drivers name.
const COMPONENT: &str = "KmdfLibrary";

/// Why a driver cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Size(u32),
    Component,
    Version(u32, u32),
    FunctionCount(u32),
    NoTable,
}

impl Refusal {
    const fn status(self) -> NTSTATUS {
        match self {
            Self::Size(_) => NTSTATUS::INFO_LENGTH_MISMATCH,
            Self::Component | Self::NoTable => NTSTATUS::INVALID_PARAMETER,
            Self::Version(..) | Self::FunctionCount(_) => NTSTATUS::REVISION_MISMATCH,
        }
    }
}

/// Sizes of WDF_BIND_INFO: the first form, and the one that newer stubs have.
const FORMS: [u32; 2] = [48, 88];

/// Checks what a driver says of itself.
fn check(info: &WDF_BIND_INFO, component_matches: bool) -> Result<(), Refusal> {
    if !FORMS.contains(&info.Size) {
        return Err(Refusal::Size(info.Size));
    }
    if !component_matches {
        return Err(Refusal::Component);
    }
    let version_exists = RELEASED.iter().any(|&(_, first, last)| (first..=last).contains(&info.Minor) && info.Minor % 2 == 1);
    if info.Major != 1 || !version_exists {
        return Err(Refusal::Version(info.Major, info.Minor));
    }
    let released = RELEASED.iter().any(|&(count, _, _)| count == info.FuncCount);
    if !released || info.FuncCount as usize > ENTRIES {
        return Err(Refusal::FunctionCount(info.FuncCount));
    }
    if info.FuncTable.is_null() {
        return Err(Refusal::NoTable);
    }
    Ok(())
}

/// Whether a zero-terminated UTF-16 string is the component's name.
///
/// # Safety
/// `string` is null or points to a terminated string.
unsafe fn is_component(string: *const u16) -> bool {
    if string.is_null() {
        return false;
    }
    let expected = COMPONENT.bytes().map(u16::from).chain([0]);
    for (at, unit) in expected.enumerate() {
        // SAFETY: all units before this one matched, so none was the terminator, and the string goes on.
        if unsafe { string.add(at).read() } != unit {
            return false;
        }
    }
    true
}

unsafe extern "win64" fn version_bind(
    driver_object: *mut DRIVER_OBJECT,
    path: *mut UNICODE_STRING,
    info: *mut WDF_BIND_INFO,
    globals: *mut *mut WDF_DRIVER_GLOBALS,
) -> NTSTATUS {
    if path.is_null() || info.is_null() || globals.is_null() {
        return NTSTATUS::INVALID_PARAMETER;
    }
    // SAFETY: the entry stub passes its own structures, which live through the call.
    let (path, info) = unsafe { (&*path, &mut *info) };
    let mut name = [0; 31];
    let length = service_name(path, &mut name);
    let name = &name[..length];
    let shown = core::str::from_utf8(name).unwrap_or("?");
    if let Some(library) = library::registered() {
        // SAFETY: the stub's own structures; the library checks what they say.
        return unsafe { library.bind(path, info, globals) };
    }
    // SAFETY: the stub's own literal.
    if let Err(refusal) = check(info, unsafe { is_component(info.Component) }) {
        text::report(shown, format_args!("WdfVersionBind refuses the driver: {refusal:?}"));
        return refusal.status();
    }
    let bound = match Globals::create(driver_object, (info.Major, info.Minor), info.FuncCount, name) {
        Ok(bound) => bound,
        Err(status) => return status,
    };
    registry::read_verifier_settings(bound, path);
    history::print_in_bug_checks();
    // SAFETY: by version, `FuncTable` is the place of a pointer, or of a table of `FuncCount` entries; our table has that many.
    unsafe {
        if info.Minor <= LAST_COPIED_MINOR {
            core::ptr::copy_nonoverlapping(TABLE.0.as_ptr(), info.FuncTable.cast(), info.FuncCount as usize);
        } else {
            info.FuncTable.cast::<*const *const ()>().write(TABLE.0.as_ptr());
        }
        globals.write(bound.public());
    }
    text::report(shown, format_args!("bound to KMDF 1.{} ({} functions)", info.Minor, info.FuncCount));
    NTSTATUS::SUCCESS
}

unsafe extern "win64" fn version_unbind(
    _path: *mut UNICODE_STRING,
    info: *mut WDF_BIND_INFO,
    globals: *mut WDF_DRIVER_GLOBALS,
) -> NTSTATUS {
    let Some(bound) = Globals::find(globals) else {
        let Some(library) = library::registered() else { return NTSTATUS::INVALID_PARAMETER };
        // SAFETY: whoever is not bound to this framework is bound to the library; it knows its clients.
        return unsafe { library.unbind(info, globals) };
    };
    driver::delete_objects(bound);
    bound.history.print_all(bound.name());
    if bound.live_objects.load(core::sync::atomic::Ordering::Acquire) != 0 {
        // The globals stay: what is left still refers to them. The leak has been reported.
        return NTSTATUS::SUCCESS;
    }
    // SAFETY: no object is left, and a driver that unbinds makes no further call.
    unsafe { Globals::destroy(bound) };
    NTSTATUS::SUCCESS
}

unsafe extern "win64" fn version_bind_class(_info: *mut WDF_BIND_INFO, _globals: *mut c_void, _class: *mut c_void) -> NTSTATUS {
    text::report("?", format_args!("WdfVersionBindClass: class extensions are not supported"));
    NTSTATUS::NOT_SUPPORTED
}

unsafe extern "win64" fn version_unbind_class(_info: *mut WDF_BIND_INFO, _globals: *mut c_void, _class: *mut c_void) {}

unsafe extern "win64" fn query_interface(_interface: *mut c_void) -> NTSTATUS {
    text::report("?", format_args!("WdfLdrQueryInterface: the loader's diagnostic interface is not supported"));
    NTSTATUS::NOT_SUPPORTED
}

/// What drivers import from WDFLDR.SYS.
#[derive(Clone, Copy, Debug)]
pub struct LoaderModule {
    /// File name that drivers import from.
    pub name: &'static str,
    /// Exported names and addresses.
    pub exports: &'static [(&'static str, *const ())],
    /// To be called once before any driver is loaded.
    pub initialize: fn(),
    /// Its code that catches exceptions.
    pub guarded: &'static [Guarded],
}

// SAFETY: the addresses are those of functions, which nobody changes.
unsafe impl Sync for LoaderModule {}

/// The framework as drivers find it.
pub static WDFLDR: LoaderModule = LoaderModule {
    name: "WDFLDR.SYS",
    exports: &[
        ("WdfVersionBind", version_bind as *const ()),
        ("WdfVersionUnbind", version_unbind as *const ()),
        ("WdfVersionBindClass", version_bind_class as *const ()),
        ("WdfVersionUnbindClass", version_unbind_class as *const ()),
        ("WdfLdrQueryInterface", query_interface as *const ()),
        ("WdfRegisterLibrary", library::register as *const ()),
        ("WdfLdrDiagnosticsValueByNameAsULONG", library::diagnostics_value as *const ()),
    ],
    initialize: || {},
    guarded: &crate::guarded::ALL,
};

#[cfg(test)]
mod tests {
    use super::*;

    fn info(minor: u32, count: u32) -> WDF_BIND_INFO {
        WDF_BIND_INFO {
            Size: 48,
            Major: 1,
            Minor: minor,
            FuncCount: count,
            FuncTable: core::ptr::without_provenance_mut(8),
            ..WDF_BIND_INFO::zeroed()
        }
    }

    #[test]
    fn every_released_version_binds() {
        let released = [
            (9, 396),
            (11, 432),
            (13, 438),
            (15, 444),
            (17, 444),
            (19, 446),
            (21, 448),
            (23, 451),
            (25, 453),
            (27, 453),
            (29, 454),
            (31, 458),
            (33, 458),
        ];
        for (minor, count) in released {
            assert_eq!(check(&info(minor, count), true), Ok(()), "1.{minor}");
        }
    }

    #[test]
    fn a_function_count_that_was_never_released_fails_the_bind() {
        for count in [0, 395, 443, 445, 459, u32::MAX] {
            assert_eq!(check(&info(15, count), true), Err(Refusal::FunctionCount(count)));
        }
    }

    #[test]
    fn versions_outside_the_released_ones_are_refused() {
        for minor in [0, 7, 10, 14, 35] {
            assert_eq!(check(&info(minor, 444), true), Err(Refusal::Version(1, minor)));
        }
        assert_eq!(check(&WDF_BIND_INFO { Major: 2, ..info(15, 444) }, true), Err(Refusal::Version(2, 15)));
    }

    #[test]
    fn both_forms_of_the_bind_information_are_taken_and_no_other() {
        assert_eq!(check(&WDF_BIND_INFO { Size: 88, ..info(25, 453) }, true), Ok(()));
        assert_eq!(check(&WDF_BIND_INFO { Size: 40, ..info(25, 453) }, true), Err(Refusal::Size(40)));
    }

    #[test]
    fn another_component_is_refused() {
        assert_eq!(check(&info(15, 444), false), Err(Refusal::Component));
        let name: Vec<u16> = "KmdfLibrary\0".encode_utf16().collect();
        let other: Vec<u16> = "KmdfLibrarY\0".encode_utf16().collect();
        // SAFETY: terminated strings.
        assert!(unsafe { is_component(name.as_ptr()) } && !unsafe { is_component(other.as_ptr()) });
    }
}
