//! A framework other than this one: a driver that registers as KMDF's library. Every driver that binds from then on is its client.
//!
//! Windows keeps loader and framework apart: drivers import `WdfVersionBind` from WDFLDR.SYS, and the loader hands them on to the
//! library that has registered with it, which is `Wdf01000.sys`. This is the loader's side of that.

use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::bind::{CLIENT_INFO, WDF_BIND_INFO, WDF_LIBRARY_INFO};
use wdf_sys::wdf::WDF_DRIVER_GLOBALS;
use wdf_sys::wdm::UNICODE_STRING;

use crate::{registry, text};

/// The only major version there is.
const MAJOR: u32 = 1;

/// The library that has registered: its own structure, which stays while it is loaded.
static LIBRARY: AtomicPtr<WDF_LIBRARY_INFO> = AtomicPtr::new(null_mut());
/// Drivers that are bound to it.
static CLIENTS: AtomicU32 = AtomicU32::new(0);

/// The library that drivers are bound to instead of this framework.
#[derive(Clone, Copy)]
pub(crate) struct Library(NonNull<WDF_LIBRARY_INFO>);

/// The library that has registered, if one has.
pub(crate) fn registered() -> Option<Library> {
    NonNull::new(LIBRARY.load(Ordering::Acquire)).map(Library)
}

impl Library {
    fn info(self) -> &'static WDF_LIBRARY_INFO {
        // SAFETY: the library promised, when it registered, that the structure stays while it is loaded; it is loaded while it has clients.
        unsafe { self.0.as_ref() }
    }

    /// Makes a driver its client. The first one sets the library to work.
    ///
    /// # Safety
    /// The arguments of `WdfVersionBind`, checked for null.
    pub(crate) unsafe fn bind(
        self,
        path: &UNICODE_STRING,
        info: &mut WDF_BIND_INFO,
        globals: *mut *mut WDF_DRIVER_GLOBALS,
    ) -> NTSTATUS {
        let library = self.info();
        if CLIENTS.load(Ordering::Acquire) == 0
            && let Some(commission) = library.LibraryCommission
        {
            // SAFETY: the library's own function; PASSIVE_LEVEL, as a driver's entry is.
            let status = unsafe { commission() };
            if !status.is_success() {
                text::report("WDFLDR", format_args!("the framework's library does not go to work: {status}"));
                return status;
            }
        }
        let Some(register) = library.LibraryRegisterClient else { return NTSTATUS::INVALID_PARAMETER };
        let client = CLIENT_INFO { Size: size_of::<CLIENT_INFO>() as u32, RegistryPath: core::ptr::from_ref(path).cast_mut() };
        let mut context: *mut c_void = (&raw const client).cast_mut().cast();
        // SAFETY: the driver's own structures, which live through the call, as `client` does.
        let status = unsafe { register(info, globals.cast(), &raw mut context) };
        if status.is_success() {
            CLIENTS.fetch_add(1, Ordering::AcqRel);
        } else if CLIENTS.load(Ordering::Acquire) == 0 {
            decommission(library);
        }
        status
    }

    /// The driver is no client any more. The last one puts the library to rest.
    ///
    /// # Safety
    /// The arguments of `WdfVersionUnbind` of a driver that is bound to this library.
    pub(crate) unsafe fn unbind(self, info: *mut WDF_BIND_INFO, globals: *mut WDF_DRIVER_GLOBALS) -> NTSTATUS {
        let library = self.info();
        let Some(unregister) = library.LibraryUnregisterClient else { return NTSTATUS::INVALID_PARAMETER };
        // SAFETY: the caller's promise.
        let status = unsafe { unregister(info, globals.cast()) };
        if status.is_success() && CLIENTS.fetch_sub(1, Ordering::AcqRel) == 1 {
            decommission(library);
        }
        status
    }
}

fn decommission(library: &WDF_LIBRARY_INFO) {
    if let Some(decommission) = library.LibraryDecommission {
        // SAFETY: the library's own function, called when it has no clients.
        let _ = unsafe { decommission() };
    }
}

/// A framework's driver says that it is KMDF's library.
pub(crate) unsafe extern "win64" fn register(
    info: *mut WDF_LIBRARY_INFO,
    _service: *mut UNICODE_STRING,
    _device: *const UNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: a library passes its own structure, which stays while it is loaded, or null.
    let Some(library) = (unsafe { info.as_ref() }) else { return NTSTATUS::INVALID_PARAMETER };
    if library.Size as usize != size_of::<WDF_LIBRARY_INFO>() {
        return NTSTATUS::INFO_LENGTH_MISMATCH;
    }
    if library.Major != MAJOR {
        return NTSTATUS::REVISION_MISMATCH;
    }
    if LIBRARY.compare_exchange(null_mut(), info, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        text::report("WDFLDR", format_args!("a second library registers: there is one already"));
        return NTSTATUS::OBJECT_NAME_COLLISION;
    }
    text::report(
        "WDFLDR",
        format_args!("the framework is KMDF {}.{}.{} from a file", library.Major, library.Minor, library.Build),
    );
    NTSTATUS::SUCCESS
}

/// A number of the loader's diagnostic settings.
pub(crate) unsafe extern "win64" fn diagnostics_value(name: *mut UNICODE_STRING, value: *mut u32) -> NTSTATUS {
    // SAFETY: a library passes its own string and the place of a number, or null.
    let (Some(name), Some(value)) = (unsafe { (name.as_ref(), value.as_mut()) }) else { return NTSTATUS::INVALID_PARAMETER };
    // SAFETY: as above.
    match registry::loader_setting(unsafe { name.units() }) {
        Ok(number) => {
            *value = number;
            NTSTATUS::SUCCESS
        }
        Err(status) => status,
    }
}
