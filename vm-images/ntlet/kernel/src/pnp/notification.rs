//! Plug and play notification: drivers that want to know when interfaces and devices come and go.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};

use wdf_sys::wdm::{DEVICE_OBJECT, DRIVER_OBJECT, FILE_OBJECT, PDRIVER_NOTIFICATION_CALLBACK_ROUTINE, UNICODE_STRING};
use wdf_sys::{GUID, NTSTATUS};

use super::interface;
use crate::io::device;
use crate::lock::SpinLock;
use crate::object::ObjectRef;

const CATEGORY_HARDWARE_PROFILE: i32 = 1;
const CATEGORY_INTERFACE: i32 = 2;
const CATEGORY_TARGET: i32 = 3;
/// `PNPNOTIFY_DEVICE_INTERFACE_INCLUDE_EXISTING_INTERFACES`.
const INCLUDE_EXISTING: u32 = 1;

const INTERFACE_ARRIVAL: GUID = GUID::new((0xcb3a_4004, 0x46f0, 0x11d0, [0xb0, 0x8f, 0x00, 0x60, 0x97, 0x13, 0x05, 0x3f]));
const INTERFACE_REMOVAL: GUID = GUID::new((0xcb3a_4005, 0x46f0, 0x11d0, [0xb0, 0x8f, 0x00, 0x60, 0x97, 0x13, 0x05, 0x3f]));
pub(crate) const TARGET_QUERY_REMOVE: GUID =
    GUID::new((0xcb3a_4006, 0x46f0, 0x11d0, [0xb0, 0x8f, 0x00, 0x60, 0x97, 0x13, 0x05, 0x3f]));
pub(crate) const TARGET_REMOVE_CANCELLED: GUID =
    GUID::new((0xcb3a_4007, 0x46f0, 0x11d0, [0xb0, 0x8f, 0x00, 0x60, 0x97, 0x13, 0x05, 0x3f]));
pub(crate) const TARGET_REMOVE_COMPLETE: GUID =
    GUID::new((0xcb3a_400a, 0x46f0, 0x11d0, [0xb0, 0x8f, 0x00, 0x60, 0x97, 0x13, 0x05, 0x3f]));

/// What somebody wants to know about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Interface(GUID),
    /// The physical device and the file it was registered with.
    Target(usize, usize),
    Nothing,
}

/// A registration.
#[derive(Debug)]
struct Entry {
    id: usize,
    subject: Subject,
    callback: usize,
    context: usize,
    _driver: ObjectRef,
}

static ENTRIES: SpinLock<Vec<Arc<Entry>>> = SpinLock::new(Vec::new());
static NEXT: AtomicUsize = AtomicUsize::new(1);

#[repr(C)]
struct InterfaceChange {
    version: u16,
    size: u16,
    event: GUID,
    class: GUID,
    link: *mut UNICODE_STRING,
}

#[repr(C)]
struct TargetChange {
    version: u16,
    size: u16,
    event: GUID,
    file: *mut FILE_OBJECT,
}

/// # Safety
/// As the documentation of IoRegisterPlugPlayNotification demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoRegisterPlugPlayNotification(
    EventCategory: i32,
    EventCategoryFlags: u32,
    EventCategoryData: *mut c_void,
    DriverObject: *mut DRIVER_OBJECT,
    CallbackRoutine: PDRIVER_NOTIFICATION_CALLBACK_ROUTINE,
    Context: *mut c_void,
    NotificationEntry: *mut *mut c_void,
) -> NTSTATUS {
    let Some(callback) = CallbackRoutine else { return NTSTATUS::INVALID_PARAMETER };
    // SAFETY: the caller's promise: the data is what the category says.
    let subject = unsafe {
        match EventCategory {
            CATEGORY_INTERFACE => Subject::Interface(*EventCategoryData.cast::<GUID>()),
            CATEGORY_TARGET => {
                let file: *mut FILE_OBJECT = EventCategoryData.cast();
                let lowest = device::IoGetDeviceAttachmentBaseRef((*file).DeviceObject);
                crate::object::dereference(lowest.cast());
                Subject::Target(lowest.addr(), file.expose_provenance())
            }
            CATEGORY_HARDWARE_PROFILE => Subject::Nothing,
            _ => return NTSTATUS::INVALID_PARAMETER,
        }
    };
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let existing = match &subject {
        Subject::Interface(class) if EventCategoryFlags & INCLUDE_EXISTING != 0 => interface::enabled(class),
        _ => Vec::new(),
    };
    let entry = Arc::new(Entry {
        id,
        subject,
        callback: callback as usize,
        context: Context.expose_provenance(),
        // SAFETY: the caller's promise.
        _driver: unsafe { ObjectRef::from_borrowed(DriverObject.cast()) },
    });
    ENTRIES.lock().push(entry.clone());
    // SAFETY: the caller's promise.
    unsafe { *NotificationEntry = core::ptr::without_provenance_mut(id) };
    for link in existing {
        if let Subject::Interface(class) = &entry.subject {
            tell_interface(&entry, class, &link, true);
        }
    }
    NTSTATUS::SUCCESS
}

/// # Safety
/// As the documentation of IoUnregisterPlugPlayNotificationEx demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoUnregisterPlugPlayNotificationEx(NotificationEntry: *mut c_void) -> NTSTATUS {
    let gone = {
        let mut entries = ENTRIES.lock();
        let at = entries.iter().position(|entry| entry.id == NotificationEntry.addr());
        at.map(|at| entries.remove(at))
    };
    // Documented: the callback does not run any more once this has returned. Whoever calls it now holds a reference.
    while gone.as_ref().is_some_and(|entry| Arc::strong_count(entry) > 1) {
        let mut interval = -10_000;
        // SAFETY: the caller is at PASSIVE_LEVEL.
        let _ = unsafe { wdf_sys::wdm::functions::KeDelayExecutionThread(0, 0, &raw mut interval) };
    }
    NTSTATUS::SUCCESS
}

/// # Safety
/// As the documentation of IoUnregisterPlugPlayNotification demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoUnregisterPlugPlayNotification(NotificationEntry: *mut c_void) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe { IoUnregisterPlugPlayNotificationEx(NotificationEntry) }
}

fn call(entry: &Entry, structure: *mut c_void) -> NTSTATUS {
    // SAFETY: the callback was registered with this type; the structure lives until it returns.
    unsafe {
        let callback = core::mem::transmute::<usize, PDRIVER_NOTIFICATION_CALLBACK_ROUTINE>(entry.callback);
        match callback {
            Some(callback) => callback(structure, core::ptr::with_exposed_provenance_mut(entry.context)),
            None => NTSTATUS::SUCCESS,
        }
    }
}

fn tell_interface(entry: &Entry, class: &GUID, link: &[u16], is_arrival: bool) {
    let Some(mut link) = UNICODE_STRING::new(link) else { return };
    let mut change = InterfaceChange {
        version: 1,
        size: size_of::<InterfaceChange>() as u16,
        event: if is_arrival { INTERFACE_ARRIVAL } else { INTERFACE_REMOVAL },
        class: *class,
        link: &raw mut link,
    };
    // There is nothing to refuse.
    let _ = call(entry, (&raw mut change).cast());
}

/// An arrival or a departure that a worker has yet to tell.
struct Change {
    class: GUID,
    link: Vec<u16>,
    is_arrival: bool,
}

/// Tells everybody who wants to know about a class of interfaces; later, on a worker, as drivers change them from anywhere.
pub(crate) fn interface_changed(class: &GUID, link: &[u16], is_arrival: bool) {
    let is_wanted = ENTRIES.lock().iter().any(|entry| entry.subject == Subject::Interface(*class));
    if is_wanted {
        let change = Box::new(Change { class: *class, link: link.into(), is_arrival });
        crate::work::queue(tell_all, Box::into_raw(change).cast());
    }
}

extern "win64" fn tell_all(change: *mut c_void) {
    // SAFETY: `interface_changed` passed a boxed change.
    let change = unsafe { Box::from_raw(change.cast::<Change>()) };
    let entries = ENTRIES.lock().clone();
    for entry in entries.iter().filter(|entry| entry.subject == Subject::Interface(change.class)) {
        tell_interface(entry, &change.class, &change.link, change.is_arrival);
    }
}

/// Tells everybody who watches a device what happens to it. The first refusal ends it.
pub(crate) fn tell_target(pdo: *mut DEVICE_OBJECT, event: &GUID) -> NTSTATUS {
    let entries = ENTRIES.lock().clone();
    for entry in &entries {
        if let Subject::Target(device, file) = entry.subject
            && device == pdo.addr()
        {
            let mut change = TargetChange {
                version: 1,
                size: size_of::<TargetChange>() as u16,
                event: *event,
                file: core::ptr::with_exposed_provenance_mut(file),
            };
            let status = call(entry, (&raw mut change).cast());
            if !status.is_success() {
                return status;
            }
        }
    }
    NTSTATUS::SUCCESS
}
