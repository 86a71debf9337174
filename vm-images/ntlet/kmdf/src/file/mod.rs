//! WDFFILEOBJECT: one for each open file of a device whose driver asked for them, and the way of create, cleanup and close.

pub(crate) mod functions;

use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};

use wdf_sys::wdf::{WDF_EXECUTION_LEVEL, WDF_FILEOBJECT_CLASS, WDF_SYNCHRONIZATION_SCOPE, WDF_TRI_STATE};
use wdf_sys::wdm::constants::IRP_MJ_CREATE;
use wdf_sys::wdm::functions::{IoGetRequestorProcessId, IofCallDriver};
use wdf_sys::wdm::{
    DEVICE_OBJECT, FILE_OBJECT, IRP, copy_current_stack_location_to_next, current_stack_location, mark_irp_pending,
    set_completion_routine,
};
use wdf_sys::{NTSTATUS, WDFFILEOBJECT};

use crate::device::Device;
use crate::history::Event;
use crate::io;
use crate::lock::{callback_lock_of, serialized};
use crate::object::{AnyRef, Body, Kind, NOT_DELETABLE, Ref, handles};
use crate::queue::{pump, reserve};
use crate::request::{Request, complete};
use crate::sync::SpinLock;

/// The body of a WDFFILEOBJECT.
pub(crate) struct File {
    pub(crate) device: Ref<Device>,
    wdm: *mut FILE_OBJECT,
    /// Process that opened it.
    initiator: u32,
    /// Handle of the next file of the device, 0 for none.
    next: AtomicUsize,
}

// SAFETY: the pointer is to a kernel object that outlives its close, with which this object goes.
unsafe impl Send for File {}
// SAFETY: as above; nothing changes but the atomic.
unsafe impl Sync for File {}

impl Body for File {
    type Handle = WDFFILEOBJECT;
    const KIND: Kind = Kind::File;
}

impl File {
    /// The kernel's object.
    pub(crate) fn wdm(&self) -> *mut FILE_OBJECT {
        self.wdm
    }
}

/// Chains of a device's table of files.
const CHAINS: usize = 64;

/// The open files of a device. The kernel's file object has two words for drivers, but a driver may keep both for itself, so files are
/// found by their address, in a table of chains: each is the handle of its first file, 0 for none.
pub(crate) struct Files([SpinLock<usize>; CHAINS]);

impl Files {
    pub(crate) const fn new() -> Self {
        Self([const { SpinLock::new(0) }; CHAINS])
    }

    fn chain(&self, wdm: *mut FILE_OBJECT) -> &SpinLock<usize> {
        // File objects are some hundred bytes apart.
        let address = wdm.addr();
        &self.0[(address >> 6 ^ address >> 12) % CHAINS]
    }

    fn add(&self, file: &Ref<File>) {
        let mut first = self.chain(file.wdm).lock();
        file.next.store(*first, Ordering::Relaxed);
        *first = file.any().header().handle;
    }

    fn remove(&self, file: &Ref<File>) {
        let number = file.any().header().handle;
        let next = file.next.load(Ordering::Relaxed);
        let mut first = self.chain(file.wdm).lock();
        if *first == number {
            *first = next;
            return;
        }
        let mut at = file_of(*first);
        while let Some(other) = at {
            if other.next.load(Ordering::Relaxed) == number {
                other.next.store(next, Ordering::Relaxed);
                return;
            }
            at = file_of(other.next.load(Ordering::Relaxed));
        }
    }

    /// The WDFFILEOBJECT of a kernel file object.
    pub(crate) fn find(&self, wdm: *mut FILE_OBJECT) -> Option<Ref<File>> {
        if wdm.is_null() {
            return None;
        }
        let first = self.chain(wdm).lock();
        let mut at = file_of(*first);
        while let Some(file) = at {
            if file.wdm == wdm {
                return Some(file);
            }
            at = file_of(file.next.load(Ordering::Relaxed));
        }
        None
    }
}

fn file_of(handle: usize) -> Option<Ref<File>> {
    let header = handles::acquire(handle)?;
    // SAFETY: `acquire` counted the reference.
    unsafe { AnyRef::from_counted(header) }.downcast().ok()
}

/// The WDFFILEOBJECT that an IRP came through, if there is one.
pub(crate) fn of_irp(device: &Ref<Device>, irp: *mut IRP) -> Option<Ref<File>> {
    device.io.settings().file.as_ref()?;
    device.io.files.find(wdm_file(irp))
}

fn wdm_file(irp: *mut IRP) -> *mut FILE_OBJECT {
    // SAFETY: the IRP was handed to the device, so it has a current stack location of ours.
    unsafe { (*current_stack_location(irp)).FileObject }
}

/// Makes the WDFFILEOBJECT for a create, if the driver wants them.
fn make(device: &Ref<Device>, irp: *mut IRP) -> Result<Option<Ref<File>>, NTSTATUS> {
    let settings = device.io.settings();
    let Some(config) = &settings.file else { return Ok(None) };
    let optional = config.FileObjectClass.0 & WDF_FILEOBJECT_CLASS::WdfFileObjectCanBeOptional.0 != 0;
    let class = WDF_FILEOBJECT_CLASS(config.FileObjectClass.0 & !WDF_FILEOBJECT_CLASS::WdfFileObjectCanBeOptional.0);
    if class == WDF_FILEOBJECT_CLASS::WdfFileObjectNotRequired {
        return Ok(None);
    }
    let wdm = wdm_file(irp);
    if wdm.is_null() {
        return if optional { Ok(None) } else { Err(NTSTATUS::INVALID_DEVICE_STATE) };
    }
    // SAFETY: the IRP was handed to the device.
    let initiator = unsafe { IoGetRequestorProcessId(irp) };
    let body = File { device: device.clone(), wdm, initiator, next: AtomicUsize::new(0) };
    let file = crate::object::create(device.any().globals(), &settings.file_attributes, Some(device.any()), body)?;
    file.any().set_flags(NOT_DELETABLE);
    device.io.files.add(&file);
    device.any().globals().history.record(Event::FileCreated, file.any().header().handle, wdm.addr(), 0);
    Ok(Some(file))
}

/// The file is gone, or was never opened.
pub(crate) fn forget(file: &Ref<File>) {
    file.device.io.files.remove(file);
    file.any().globals().history.record(Event::FileClosed, file.any().header().handle, 0, 0);
    file.any().clear_flags(NOT_DELETABLE);
    file.delete();
}

/// Runs a callback of the driver's about files, which begins at `address`: under the device's callback lock where the files' scope is the
/// device, and callbacks run at PASSIVE_LEVEL, as those about files do in any case.
fn call_back(device: &Ref<Device>, address: usize, callback: impl FnOnce()) {
    let (level, scope) = device.io.settings().file_attributes.resolve(Some(device.any()));
    let synchronized = level == WDF_EXECUTION_LEVEL::WdfExecutionLevelPassive
        && scope == WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeDevice;
    let lock = synchronized.then(|| callback_lock_of(device.any().clone())).flatten();
    // A driver that closes a file of its own device from a callback holds the lock already.
    serialized(lock.as_ref().filter(|lock| !lock.is_held_by_me()), || device.any().guarded(address, callback));
}

/// IRP_MJ_CREATE: to its queue, to EvtDeviceFileCreate, down the stack of a filter, or done.
pub(crate) fn create(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    let file = match make(device, irp) {
        Ok(file) => file,
        Err(status) => return io::refuse(irp, status),
    };
    let callback = device.io.settings().file.and_then(|config| config.EvtDeviceFileCreate);
    let queue = device.io.queue_for(IRP_MJ_CREATE);
    if callback.is_none() && queue.is_none() {
        return match file {
            _ if !device.is_filter() => io::finish(irp, NTSTATUS::SUCCESS, 0),
            Some(file) => pass_down_watched(device, irp, file),
            None => io::pass_down(device, irp),
        };
    }
    let made = Request::incoming(device, irp, &device.io.settings().request_attributes, file.clone());
    let request = match (made, queue.as_ref().filter(|queue| queue.reserve.is_set())) {
        (made, Some(queue)) => match reserve::or_reserved(queue, made, irp) {
            Some(request) => request,
            None => return NTSTATUS::PENDING,
        },
        (Ok(request), None) => request,
        (Err(status), None) => {
            if let Some(file) = file {
                forget(&file);
            }
            return io::refuse(irp, status);
        }
    };
    if let Some(queue) = queue {
        if let Err(status) = io::enqueue(&request, &queue) {
            complete::by_framework(&request, status, 0);
        }
    } else if let Some(callback) = callback {
        let handle = file.map_or(WDFFILEOBJECT::NULL, |file| file.handle());
        // SAFETY: the driver's own callback, at the caller's PASSIVE_LEVEL, as its page says.
        call_back(device, callback as usize, || unsafe { callback(device.handle(), request.handle(), handle) });
    }
    NTSTATUS::PENDING
}

/// A filter's create goes down; the file object goes when the create fails there.
fn pass_down_watched(device: &Ref<Device>, irp: *mut IRP, file: Ref<File>) -> NTSTATUS {
    let lower = device.lower();
    if lower.is_null() {
        forget(&file);
        return io::refuse(irp, NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    send_watched(lower, irp, file)
}

/// Sends a create on; the file object goes when it fails. The IRP has a stack location for `lower`, which stays.
pub(crate) fn send_watched(lower: *mut DEVICE_OBJECT, irp: *mut IRP, file: Ref<File>) -> NTSTATUS {
    // SAFETY: the IRP was handed to us with a location for the driver below; the device below is there while we are attached.
    unsafe {
        copy_current_stack_location_to_next(irp);
        set_completion_routine(irp, Some(create_is_done), file.into_context());
        IofCallDriver(lower, irp)
    }
}

unsafe extern "win64" fn create_is_done(_device: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: `send_watched` put a counted file there.
    let file = unsafe { Ref::<File>::from_context(context) };
    // SAFETY: the IRP is on its way up through our location.
    let status = unsafe {
        if (*irp).PendingReturned != 0 {
            mark_irp_pending(irp);
        }
        (*irp).IoStatus.status()
    };
    if status.is_error() {
        forget(&file);
    }
    NTSTATUS::SUCCESS
}

/// IRP_MJ_CLEANUP: the last handle is closed. What waits in queues for the file is cancelled, and the driver is told.
pub(crate) fn cleanup(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    let wdm = wdm_file(irp);
    if !wdm.is_null() {
        device.io.for_each_queue(|queue| {
            queue.guarded.lock().state.cancel_all(wdm, false);
            reserve::cancel_waiting(queue, wdm);
            pump::pump(queue);
        });
    }
    if let Some(file) = of_irp(device, irp)
        && let Some(callback) = device.io.settings().file.and_then(|config| config.EvtFileCleanup)
    {
        // SAFETY: the driver's own callback, in the closing thread, as its page says.
        call_back(device, callback as usize, || unsafe { callback(file.handle()) });
    }
    done_with(device, irp)
}

/// IRP_MJ_CLOSE: nothing refers to the file any more.
pub(crate) fn close(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    if let Some(file) = of_irp(device, irp) {
        if let Some(callback) = device.io.settings().file.and_then(|config| config.EvtFileClose) {
            // SAFETY: the driver's own callback, as its page says.
            call_back(device, callback as usize, || unsafe { callback(file.handle()) });
        }
        forget(&file);
    }
    done_with(device, irp)
}

/// Cleanup and close go on down, or end here.
fn done_with(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    let choice = device.io.settings().file.map_or(WDF_TRI_STATE::WdfUseDefault, |config| config.AutoForwardCleanupClose);
    let forward = match choice {
        WDF_TRI_STATE::WdfTrue => true,
        WDF_TRI_STATE::WdfFalse => false,
        _ => device.is_filter(),
    };
    if forward && !device.lower().is_null() { io::pass_down(device, irp) } else { io::finish(irp, NTSTATUS::SUCCESS, 0) }
}
