//! The driver itself: how Windows starts it, how it finds the framework, how it leaves.

use core::sync::atomic::{AtomicPtr, Ordering};

use wdf_sys::bind::{FUNCTIONS, GLOBALS, WDF_BIND_INFO, WdfVersionBind, WdfVersionUnbind};
use wdf_sys::wdf::functions::WdfDriverCreate;
use wdf_sys::wdf::{WDF_DRIVER_CONFIG, WDF_DRIVER_GLOBALS, WdfDriverInitNonPnpDriver};
use wdf_sys::wdm::{DRIVER_OBJECT, UNICODE_STRING};
use wdf_sys::{FALSE, NTSTATUS};

use crate::device::DeviceInit;
use crate::irql::Passive;
use crate::{Result, trampoline, utf16};

/// The framework version that drivers are bound to: every Windows 10 and later has it.
const VERSION: (u32, u32) = (1, 15);
/// Functions in that version's table.
const FUNCTION_COUNT: u32 = 444;
/// Longest registry path of a service that is kept, in UTF-16 units.
const PATH_UNITS: usize = 260;

/// A driver. `driver_entry!(MyDriver)` makes it one that Windows can start.
pub trait Driver: 'static {
    /// Tag of pool memory that the framework allocates for this driver.
    const POOL_TAG: [u8; 4];
    /// Whether the driver drives no PnP devices: it makes a control device in [`entry`](Self::entry).
    const NON_PNP: bool = false;

    /// `DriverEntry`, after the framework has been bound and the driver object made.
    ///
    /// # Errors
    /// An error unloads the driver.
    #[allow(unused_variables, reason = "the default ignores what it is told")]
    fn entry(passive: Passive<'_>) -> Result<()> {
        Ok(())
    }

    /// `EvtDriverDeviceAdd`: there is a device for this driver. Not called for [`NON_PNP`](Self::NON_PNP) drivers.
    ///
    /// # Errors
    /// An error means that the driver does not take the device.
    #[allow(unused_variables, reason = "the default ignores what it is told")]
    fn device_add(init: DeviceInit<'_>, passive: Passive<'_>) -> Result<()> {
        Err(NTSTATUS::NOT_SUPPORTED)
    }

    /// `EvtDriverUnload`.
    #[allow(unused_variables, reason = "the default ignores what it is told")]
    fn unload(passive: Passive<'_>) {}
}

/// What [`driver_entry!`](crate::driver_entry) checks on every system: that its argument is a driver.
pub const fn is_driver<D: Driver>() {}

/// Defines the entry point `FxDriverEntry` (link with `/ENTRY:FxDriverEntry`) and the panic handler of a driver.
///
/// The entry point is an assembler symbol, not a Rust one: a Rust one would be exported, and drivers export nothing.
#[macro_export]
macro_rules! driver_entry {
    ($driver:ty) => {
        const _: () = $crate::driver::is_driver::<$driver>();

        #[cfg(target_os = "windows")]
        ::core::arch::global_asm!(
            ".globl FxDriverEntry",
            "FxDriverEntry:",
            "jmp {start}",
            // The linker looks for this when an object mentions floating point; compiler_builtins does, drivers do not.
            ".globl _fltused",
            "_fltused = 0",
            start = sym $crate::driver::start::<$driver>,
        );

        #[cfg(target_os = "windows")]
        #[panic_handler]
        fn panic(info: &::core::panic::PanicInfo<'_>) -> ! {
            $crate::panic::bug_check(info)
        }
    };
}

/// What a driver keeps from start to unload. One a driver image; the framework calls nothing before it is filled in.
struct Binding {
    info: WDF_BIND_INFO,
    path: UNICODE_STRING,
    path_units: [u16; PATH_UNITS],
}

/// Cell for the one [`Binding`], written by `start` before anything else of the driver runs.
struct BindingCell(core::cell::UnsafeCell<Binding>);

// SAFETY: written by `start`, which Windows calls once; read by `unload`, which Windows calls once, later.
unsafe impl Sync for BindingCell {}

static BINDING: BindingCell = BindingCell(core::cell::UnsafeCell::new(Binding {
    info: WDF_BIND_INFO::zeroed(),
    path: UNICODE_STRING::zeroed(),
    path_units: [0; PATH_UNITS],
}));

/// The unload routine that the framework put into the driver object, which ours calls first.
static FRAMEWORK_UNLOAD: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// The real entry point: binds, makes the driver object, unbinds when that fails.
///
/// # Safety
/// Called once, by Windows, with the driver's object and the path of its service key.
pub unsafe extern "win64" fn start<D: Driver>(driver: *mut DRIVER_OBJECT, registry_path: *mut UNICODE_STRING) -> NTSTATUS {
    if driver.is_null() {
        return NTSTATUS::INVALID_PARAMETER;
    }
    // SAFETY: called once (the caller's promise), so that nobody else has the cell.
    let binding = unsafe { &mut *BINDING.0.get() };
    // SAFETY: the caller's promise.
    if let Err(status) = unsafe { remember_path(binding, registry_path) } {
        return status;
    }
    binding.info = bind_info();
    let mut globals = core::ptr::null_mut();
    // SAFETY: all four point to what the loader expects, and stay for as long as the driver is bound.
    let status = unsafe { WdfVersionBind(driver, &raw mut binding.path, &raw mut binding.info, &raw mut globals) };
    if !status.is_success() {
        return status;
    }
    GLOBALS.store(globals, Ordering::Release);
    // SAFETY: the framework has just been bound.
    let outcome = unsafe { create::<D>(driver, &raw mut binding.path) }.and_then(|()| D::entry(Passive::assume()));
    match outcome {
        Ok(()) => {
            // SAFETY: as above.
            unsafe { displace_unload(driver, globals) };
            NTSTATUS::SUCCESS
        }
        Err(status) => {
            // SAFETY: bound above, not unbound yet.
            let _ = unsafe { WdfVersionUnbind(&raw mut binding.path, &raw mut binding.info, globals) };
            status
        }
    }
}

fn bind_info() -> WDF_BIND_INFO {
    const COMPONENT: &[u16; 12] = utf16!("KmdfLibrary\0");
    WDF_BIND_INFO {
        Size: size_of::<WDF_BIND_INFO>() as u32,
        Component: COMPONENT.as_ptr(),
        Major: VERSION.0,
        Minor: VERSION.1,
        Build: 0,
        FuncCount: FUNCTION_COUNT,
        FuncTable: FUNCTIONS.as_ptr().cast(),
        Module: core::ptr::null_mut(),
    }
}

/// # Safety
/// `from` is null or points to a valid string.
unsafe fn remember_path(binding: &mut Binding, from: *const UNICODE_STRING) -> Result<()> {
    if from.is_null() {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    // SAFETY: the caller's promise.
    let units = unsafe { (*from).units() };
    let target = binding.path_units.get_mut(..units.len()).ok_or(NTSTATUS::OBJECT_NAME_INVALID)?;
    target.copy_from_slice(units);
    binding.path = UNICODE_STRING::new(target).ok_or(NTSTATUS::OBJECT_NAME_INVALID)?;
    Ok(())
}

/// # Safety
/// The driver is bound; both pointers are valid.
unsafe fn create<D: Driver>(driver: *mut DRIVER_OBJECT, path: *const UNICODE_STRING) -> Result<()> {
    let mut config = WDF_DRIVER_CONFIG {
        EvtDriverUnload: Some(trampoline::driver_unload::<D>),
        DriverPoolTag: u32::from_le_bytes(D::POOL_TAG),
        ..WDF_DRIVER_CONFIG::new(if D::NON_PNP { None } else { Some(trampoline::device_add::<D>) })
    };
    if D::NON_PNP {
        config.DriverInitFlags = WdfDriverInitNonPnpDriver;
    }
    // SAFETY: the caller's promise; no attributes, and the handle is not needed.
    unsafe { WdfDriverCreate(driver, path, core::ptr::null_mut(), &raw mut config, core::ptr::null_mut()) }.ok()
}

/// When the framework asks for it, puts an unload routine into the driver object that unbinds after the framework's own.
///
/// # Safety
/// The driver is bound; both pointers are valid.
unsafe fn displace_unload(driver: *mut DRIVER_OBJECT, globals: *mut WDF_DRIVER_GLOBALS) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*globals).DisplaceDriverUnload != FALSE {
            let theirs = (*driver).DriverUnload.map_or(core::ptr::null_mut(), |unload| unload as *mut ());
            FRAMEWORK_UNLOAD.store(theirs, Ordering::Release);
            (*driver).DriverUnload = Some(unload);
        }
    }
}

/// # Safety
/// Called once, by Windows, when the driver is to go.
unsafe extern "win64" fn unload(driver: *mut DRIVER_OBJECT) {
    let theirs = FRAMEWORK_UNLOAD.load(Ordering::Acquire);
    if !theirs.is_null() {
        // SAFETY: stored by `displace_unload` from a field of this very type.
        let theirs: unsafe extern "win64" fn(*mut DRIVER_OBJECT) = unsafe { core::mem::transmute(theirs) };
        // SAFETY: the framework put it there to be called with its driver object.
        unsafe { theirs(driver) };
    }
    // SAFETY: nothing of the driver runs any more.
    let binding = unsafe { &mut *BINDING.0.get() };
    // SAFETY: bound in `start`, not unbound since.
    let _ = unsafe { WdfVersionUnbind(&raw mut binding.path, &raw mut binding.info, GLOBALS.load(Ordering::Acquire)) };
}

/// The table as it is declared is the table of that version.
const _: () = {
    assert!(wdf_sys::wdf::functions::FUNCTION_NAMES.len() == FUNCTION_COUNT as usize);
};
