//! Executive callbacks (`\Callback\…`): objects that drivers register routines with, and that anybody may notify.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

use wdf_sys::wdm::OBJECT_ATTRIBUTES;
use wdf_sys::wdm::functions::KeDelayExecutionThread;
use wdf_sys::{BOOLEAN, NTSTATUS};

use crate::io::driver;
use crate::lock::SpinLock;
use crate::object::{self, ObjectRef, ObjectType, name};

/// `PCALLBACK_FUNCTION`.
type Routine = Option<unsafe extern "win64" fn(*mut c_void, *mut c_void, *mut c_void)>;

/// Callback objects.
static CALLBACK: ObjectType = ObjectType::of::<Callback>("Callback");

/// Names that are there from the start, as on Windows.
const FIXED: [&str; 3] = ["\\Callback\\SetSystemTime", "\\Callback\\PowerState", "\\Callback\\ProcessorAdd"];

struct Callback {
    allows_many: bool,
    registered: SpinLock<Vec<Arc<Registered>>>,
}

struct Registered {
    routine: Routine,
    context: usize,
    /// Notifications that are in the routine.
    running: AtomicUsize,
}

/// What a driver gets for its registration.
struct Registration {
    object: ObjectRef,
    entry: Arc<Registered>,
}

fn new(path: &[u16], allows_many: bool) -> Result<ObjectRef, NTSTATUS> {
    let object = ObjectRef::new(&CALLBACK, Callback { allows_many, registered: SpinLock::new(Vec::new()) })?;
    if !path.is_empty() {
        // The name keeps it: drivers have no function that makes it temporary.
        driver::namespace().insert(path, &object)?;
    }
    Ok(object)
}

fn open(path: &[u16], create: bool, allows_many: bool) -> Result<ObjectRef, NTSTATUS> {
    if path.is_empty() {
        return if create { new(path, allows_many) } else { Err(NTSTATUS::UNSUCCESSFUL) };
    }
    match driver::namespace().find(path, true) {
        Ok(found) if found.rest.is_empty() && found.object.is(&CALLBACK) => Ok(found.object),
        Ok(found) if found.rest.is_empty() => Err(NTSTATUS::OBJECT_TYPE_MISMATCH),
        Ok(_) | Err(NTSTATUS::OBJECT_NAME_NOT_FOUND) => {
            let is_fixed = FIXED.iter().any(|fixed| name::same(&name::wide(fixed), path));
            if create || is_fixed { new(path, allows_many || is_fixed) } else { Err(NTSTATUS::OBJECT_NAME_NOT_FOUND) }
        }
        Err(status) => Err(status),
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExCreateCallback(
    CallbackObject: *mut *mut c_void,
    ObjectAttributes: *mut OBJECT_ATTRIBUTES,
    Create: BOOLEAN,
    AllowMultipleCallbacks: BOOLEAN,
) -> NTSTATUS {
    // SAFETY: the caller's promise: attributes whose name is null or a string, and a place for the object.
    unsafe {
        let path = match ObjectAttributes.as_ref() {
            Some(attributes) if !attributes.ObjectName.is_null() => crate::io::units(attributes.ObjectName),
            _ => Ok(&[][..]),
        };
        match path.and_then(|path| open(path, Create != 0, AllowMultipleCallbacks != 0)) {
            Ok(object) => {
                CallbackObject.write(object.into_raw());
                NTSTATUS::SUCCESS
            }
            Err(status) => status,
        }
    }
}

/// # Safety
/// `object` is a callback object.
unsafe fn callback<'a>(object: *mut c_void) -> Option<&'a Callback> {
    // SAFETY: the caller's promise; what is none is found out.
    unsafe { (object::is_object(object) && core::ptr::eq(object::type_of(object), &CALLBACK)).then(|| &*object.cast()) }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExRegisterCallback(
    CallbackObject: *mut c_void,
    CallbackFunction: Routine,
    CallbackContext: *mut c_void,
) -> *mut c_void {
    // SAFETY: the caller's promise: a referenced callback object.
    let Some(callback) = (unsafe { callback(CallbackObject) }) else { return null_mut() };
    let context = CallbackContext.expose_provenance();
    let entry = Arc::new(Registered { routine: CallbackFunction, context, running: AtomicUsize::new(0) });
    {
        let mut registered = callback.registered.lock();
        if !callback.allows_many && !registered.is_empty() {
            return null_mut();
        }
        registered.push(entry.clone());
    }
    // SAFETY: as above.
    let object = unsafe { ObjectRef::from_borrowed(CallbackObject) };
    Box::into_raw(Box::new(Registration { object, entry })).cast()
}

/// When this returns, the routine does not run and is not called any more.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExUnregisterCallback(CallbackRegistration: *mut c_void) {
    // SAFETY: the caller's promise: what `ExRegisterCallback` returned, once.
    let registration = unsafe { Box::from_raw(CallbackRegistration.cast::<Registration>()) };
    if let Some(callback) = registration.object.get::<Callback>(&CALLBACK) {
        callback.registered.lock().retain(|entry| !Arc::ptr_eq(entry, &registration.entry));
    }
    while registration.entry.running.load(Ordering::Acquire) != 0 {
        let mut interval = -10_000;
        // SAFETY: documented for IRQLs up to APC_LEVEL, where a thread may sleep.
        let _ = unsafe { KeDelayExecutionThread(wdf_sys::wdm::constants::KERNEL_MODE, 0, &raw mut interval) };
    }
}

/// Calls every routine, the first registered first, at the caller's IRQL.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExNotifyCallback(CallbackObject: *mut c_void, Argument1: *mut c_void, Argument2: *mut c_void) {
    // SAFETY: the caller's promise: a referenced callback object.
    let Some(callback) = (unsafe { callback(CallbackObject) }) else { return };
    let entries = callback.registered.lock().clone();
    for entry in &entries {
        entry.running.fetch_add(1, Ordering::AcqRel);
        // It may have been unregistered since.
        let is_registered = callback.registered.lock().iter().any(|other| Arc::ptr_eq(other, entry));
        if is_registered && let Some(routine) = entry.routine {
            // SAFETY: the driver gave routine and context until it unregisters them, which waits for this.
            unsafe { routine(core::ptr::with_exposed_provenance_mut(entry.context), Argument1, Argument2) };
        }
        entry.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::name::wide;
    use crate::sim;
    use wdf_sys::wdm::UNICODE_STRING;

    static CALLS: SpinLock<Vec<(usize, usize)>> = SpinLock::new(Vec::new());

    unsafe extern "win64" fn note(context: *mut c_void, first: *mut c_void, _: *mut c_void) {
        CALLS.lock().push((context.addr(), first.addr()));
    }

    fn create(path: &str, create: bool, many: bool) -> Result<*mut c_void, NTSTATUS> {
        let units = wide(path);
        let mut name = UNICODE_STRING::new(&units).unwrap();
        let mut attributes = OBJECT_ATTRIBUTES { ObjectName: &raw mut name, ..OBJECT_ATTRIBUTES::zeroed() };
        let mut object = null_mut();
        // SAFETY: everything lives through the call.
        unsafe { ExCreateCallback(&raw mut object, &raw mut attributes, create.into(), many.into()) }.ok().map(|()| object)
    }

    #[test]
    fn whoever_is_registered_is_told_until_it_unregisters() {
        sim::run(|_| {
            assert_eq!(create("\\Callback\\Mine", false, true).unwrap_err(), NTSTATUS::OBJECT_NAME_NOT_FOUND);
            let object = create("\\Callback\\Mine", true, true).unwrap();
            assert_eq!(create("\\Callback\\Mine", false, false), Ok(object), "it is there now");
            let number = core::ptr::without_provenance_mut;
            // SAFETY: a callback object and routines of this test.
            unsafe {
                let first = ExRegisterCallback(object, Some(note), number(1));
                let second = ExRegisterCallback(object, Some(note), number(2));
                ExNotifyCallback(object, number(7), null_mut());
                ExUnregisterCallback(first);
                ExNotifyCallback(object, number(8), null_mut());
                ExUnregisterCallback(second);
                ExNotifyCallback(object, number(9), null_mut());
            }
            assert_eq!(CALLS.lock().clone(), [(1, 7), (2, 7), (2, 8)]);
            // SAFETY: as above.
            unsafe {
                let single = create("\\Callback\\Single", true, false).unwrap();
                assert!(!ExRegisterCallback(single, Some(note), null_mut()).is_null());
                assert!(ExRegisterCallback(single, Some(note), null_mut()).is_null(), "one only");
            }
            assert!(create("\\Callback\\PowerState", false, true).is_ok());
        });
    }
}
