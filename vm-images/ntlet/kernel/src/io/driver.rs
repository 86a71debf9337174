//! Driver objects, and the namespace that they and everything else have their names in.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::IO_TYPE_DRIVER;
use wdf_sys::wdm::{DRIVER_EXTENSION, DRIVER_OBJECT, UNICODE_STRING};

use super::{call, units, watch};
use crate::lock::SpinLock;
use crate::object::directory::Namespace;
use crate::object::{ObjectRef, ObjectType, name};

/// Driver objects.
pub(crate) static DRIVER: ObjectType =
    ObjectType { name: "Driver", delete: delete_body, last_handle_closed: None, deletes_at_passive_level: true };

static NAMESPACE: AtomicPtr<Namespace> = AtomicPtr::new(null_mut());

/// The namespace. Made at first use.
pub(crate) fn namespace() -> &'static Namespace {
    let mut current = NAMESPACE.load(Ordering::Acquire);
    if current.is_null() {
        let Ok(new) = Namespace::create() else {
            super::stop(wdf_sys::wdm::constants::bug_check::OBJECT_INITIALIZATION_FAILED, [0; 4]);
        };
        let new = Box::into_raw(Box::new(new));
        match NAMESPACE.compare_exchange(null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => current = new,
            Err(other) => {
                // SAFETY: nobody has seen ours.
                drop(unsafe { Box::from_raw(new) });
                current = other;
            }
        }
    }
    // SAFETY: once set it is never taken back.
    unsafe { &*current }
}

/// What we keep behind a driver object.
#[derive(Debug)]
pub(crate) struct DriverState {
    name: Box<[u16]>,
    service: Box<[u16]>,
    /// Extensions that `IoAllocateDriverObjectExtension` made: client's address and block.
    extensions: SpinLock<Vec<(usize, Box<[u64]>)>>,
    /// Routines to be called after DriverEntry, with their contexts.
    again: SpinLock<VecDeque<(Reinitialize, usize)>>,
}

#[repr(C)]
struct Body {
    object: DRIVER_OBJECT,
    extension: DRIVER_EXTENSION,
    state: DriverState,
}

/// A new driver object `\Driver\<service>`.
pub(crate) fn create(service: &str) -> Result<ObjectRef, NTSTATUS> {
    let object = ObjectRef::allocate(&DRIVER, size_of::<Body>())?;
    let body: *mut Body = object.body().cast();
    let path = name::wide(&alloc::format!("\\Driver\\{service}")).into_boxed_slice();
    let service = name::wide(service).into_boxed_slice();
    let state = DriverState { name: path, service, extensions: SpinLock::new(Vec::new()), again: SpinLock::new(VecDeque::new()) };
    // SAFETY: the body is as large as this structure, zeroed, and ours alone.
    unsafe {
        (&raw mut (*body).state).write(state);
        let driver = &mut (*body).object;
        driver.Type = IO_TYPE_DRIVER;
        driver.Size = size_of::<DRIVER_OBJECT>() as i16;
        driver.DriverName = UNICODE_STRING::new(&(*body).state.name).ok_or(NTSTATUS::OBJECT_NAME_INVALID)?;
        driver.DriverExtension = &raw mut (*body).extension;
        driver.MajorFunction = [call::INVALID_DEVICE_REQUEST; 28];
        (*body).extension.DriverObject = driver;
        (*body).extension.ServiceKeyName = UNICODE_STRING::new(&(*body).state.service).ok_or(NTSTATUS::OBJECT_NAME_INVALID)?;
        namespace().insert(&(*body).state.name, &object)?;
    }
    Ok(object)
}

/// Takes a driver's name away, so that it goes with its last reference.
pub(crate) fn remove_name(driver: &ObjectRef) {
    if driver.is(&DRIVER) {
        // SAFETY: a driver object's body was made by `create`.
        let path = unsafe { &(*driver.body().cast::<Body>()).state.name };
        let _ = namespace().remove(path, Some(driver));
    }
}

/// # Safety
/// Called by the object manager once.
unsafe fn delete_body(body: *mut c_void) {
    // SAFETY: the body was made by `create`; if that failed half-way the state was written before.
    unsafe { (&raw mut (*body.cast::<Body>()).state).drop_in_place() };
}

/// `DRIVER_REINITIALIZE`.
type Reinitialize = unsafe extern "win64" fn(*mut DRIVER_OBJECT, *mut c_void, u32);

/// # Safety
/// As the documentation of IoRegisterDriverReinitialization demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoRegisterDriverReinitialization(
    DriverObject: *mut DRIVER_OBJECT,
    DriverReinitializationRoutine: Option<Reinitialize>,
    Context: *mut c_void,
) {
    let Some(routine) = DriverReinitializationRoutine else { return };
    // SAFETY: the caller's promise; every driver object is made by `create`.
    unsafe { (*DriverObject.cast::<Body>()).state.again.lock().push_back((routine, Context.expose_provenance())) };
}

/// Calls what a driver has registered to be called after its DriverEntry, and what that registers, in turn.
///
/// # Safety
/// `driver` is a live driver object whose entry has succeeded.
pub(crate) unsafe fn initialize_again(driver: *mut DRIVER_OBJECT, service: &str) {
    // SAFETY: the caller's promise; the routines are the driver's own.
    unsafe {
        while let Some((routine, context)) = {
            let mut again = (*driver.cast::<Body>()).state.again.lock();
            again.pop_front()
        } {
            (*(*driver).DriverExtension).Count += 1;
            let count = (*(*driver).DriverExtension).Count;
            let context = core::ptr::with_exposed_provenance_mut(context);
            watch::call("a reinitialization routine", service, routine as usize, || routine(driver, context, count));
        }
    }
}

/// # Safety
/// As the documentation of IoAllocateDriverObjectExtension demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoAllocateDriverObjectExtension(
    DriverObject: *mut DRIVER_OBJECT,
    ClientIdentificationAddress: *mut c_void,
    DriverObjectExtensionSize: u32,
    DriverObjectExtension: *mut *mut c_void,
) -> NTSTATUS {
    if DriverObjectExtensionSize > 1 << 20 {
        return NTSTATUS::INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the caller's promise; every driver object is made by `create`.
    unsafe {
        *DriverObjectExtension = null_mut();
        let state = &(*DriverObject.cast::<Body>()).state;
        let mut extensions = state.extensions.lock();
        if extensions.iter().any(|(client, _)| *client == ClientIdentificationAddress.addr()) {
            return NTSTATUS::OBJECT_NAME_COLLISION;
        }
        let mut block = alloc::vec![0u64; (DriverObjectExtensionSize as usize).div_ceil(16).max(1) * 2].into_boxed_slice();
        *DriverObjectExtension = block.as_mut_ptr().cast();
        extensions.push((ClientIdentificationAddress.addr(), block));
    }
    NTSTATUS::SUCCESS
}

/// # Safety
/// As the documentation of IoGetDriverObjectExtension demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoGetDriverObjectExtension(
    DriverObject: *mut DRIVER_OBJECT,
    ClientIdentificationAddress: *mut c_void,
) -> *mut c_void {
    // SAFETY: the caller's promise; every driver object is made by `create`.
    unsafe {
        let state = &(*DriverObject.cast::<Body>()).state;
        let mut extensions = state.extensions.lock();
        let found = extensions.iter_mut().find(|(client, _)| *client == ClientIdentificationAddress.addr());
        found.map_or(null_mut(), |(_, block)| block.as_mut_ptr().cast())
    }
}

/// # Safety
/// As the documentation of IoCreateSymbolicLink demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoCreateSymbolicLink(
    SymbolicLinkName: *mut UNICODE_STRING,
    DeviceName: *mut UNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let paths = unsafe { units(SymbolicLinkName).and_then(|link| units(DeviceName).map(|target| (link, target))) };
    match paths.and_then(|(link, target)| namespace().create_link(link, target)) {
        Ok(()) => NTSTATUS::SUCCESS,
        Err(status) => status,
    }
}

/// # Safety
/// As the documentation of IoDeleteSymbolicLink demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoDeleteSymbolicLink(SymbolicLinkName: *mut UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the caller's promise.
    match unsafe { units(SymbolicLinkName) }.and_then(|link| namespace().delete_link(link)) {
        Ok(()) => NTSTATUS::SUCCESS,
        Err(status) => status,
    }
}
