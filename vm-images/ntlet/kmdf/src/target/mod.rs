//! WDFIOTARGET: the object around [`state::State`], for the device below (local), another device (remote) or the driver's own (self).
//!
//! Locks: the target's spin lock, then a request's `sent` lock. Neither is held while a driver is called.

pub(crate) mod format;
pub(crate) mod functions;
pub(crate) mod open;
pub(crate) mod state;
pub(crate) mod synchronous;

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};

use wdf_sys::wdf::WDF_IO_TARGET_STATE;
use wdf_sys::wdm::constants::{
    IRP_MJ_DEVICE_CONTROL, IRP_MJ_INTERNAL_DEVICE_CONTROL, IRP_MJ_READ, IRP_MJ_WRITE, NOTIFICATION_EVENT,
};
use wdf_sys::wdm::functions::IofCallDriver;
use wdf_sys::wdm::{DEVICE_OBJECT, FILE_OBJECT, IRP, next_stack_location};
use wdf_sys::{NTSTATUS, WDFIOTARGET};

use crate::device::Device;
use crate::history::Event as LogEvent;
use crate::object::{Attributes, Body, Kind, NOT_DELETABLE, Ref};
use crate::queue::Queue;
use crate::request::sent::Canceller;
use crate::request::{Request, send};
use crate::sync::{Event, SpinLock};
use state::{Errand, State};

/// How often a wait that does not end is checked, and how many checks make a report.
const CHECK_EVERY_MILLISECONDS: u32 = 1_000;
const CHECKS_PER_REPORT: u32 = 60;

/// What the target's spin lock guards.
pub(crate) struct Guarded {
    pub(crate) state: State,
    /// The device requests go to; null while there is none.
    pub(crate) device: *mut DEVICE_OBJECT,
    /// Stack locations that requests for a remote target need: what its device had when the target was opened.
    pub(crate) stack_size: Option<i8>,
    /// The file they go through, or null.
    pub(crate) file: *mut FILE_OBJECT,
}

// SAFETY: the pointers are to kernel objects that the target references, or that its device is attached to, and to errands that the state's
// contract keeps valid.
unsafe impl Send for Guarded {}

/// The body of a WDFIOTARGET.
pub(crate) struct Target {
    /// The device that sends.
    pub(crate) owner: Ref<Device>,
    /// It was made by WdfIoTargetCreate, and may be opened and closed.
    pub(crate) is_remote: bool,
    pub(crate) guarded: SpinLock<Guarded>,
    /// Set when no request is out any more.
    idle: Event,
    pub(crate) opened: UnsafeCell<open::Opened>,
    /// Queue that the driver has assigned to a target on its own device; 0 for none.
    pub(crate) own_queue: AtomicUsize,
}

// SAFETY: `opened` is used by the calls that open and close alone, which a driver makes one at a time at PASSIVE_LEVEL and which the
// state guards; the rest is locked, constant or the kernel's.
unsafe impl Sync for Target {}
// SAFETY: as above.
unsafe impl Send for Target {}

impl Body for Target {
    type Handle = WDFIOTARGET;
    const KIND: Kind = Kind::IoTarget;

    fn before_cleanup(this: &Ref<Self>) {
        if this.is_remote {
            open::close(this, WDF_IO_TARGET_STATE::WdfIoTargetDeleted);
        } else {
            Self::remove(this);
        }
    }
}

impl Target {
    fn new(owner: Ref<Device>, is_remote: bool, device: *mut DEVICE_OBJECT, now: WDF_IO_TARGET_STATE) -> Self {
        Self {
            owner,
            is_remote,
            guarded: SpinLock::new(Guarded { state: State::new(now), device, stack_size: None, file: core::ptr::null_mut() }),
            idle: Event::uninitialized(),
            opened: UnsafeCell::new(open::Opened::default()),
            own_queue: AtomicUsize::new(0),
        }
    }

    /// A target that the framework makes for a device: on the device below, or on itself. It is started.
    ///
    /// # Errors
    /// Those of [`crate::object::create`].
    pub(crate) fn local(owner: &Ref<Device>, device: *mut DEVICE_OBJECT) -> Result<Ref<Self>, NTSTATUS> {
        let body = Self::new(owner.clone(), false, device, WDF_IO_TARGET_STATE::WdfIoTargetStarted);
        let target = crate::object::create(owner.any().globals(), &Attributes::NONE, Some(owner.any()), body)?;
        target.any().set_flags(NOT_DELETABLE);
        target.idle.initialize(NOTIFICATION_EVENT, false);
        Ok(target)
    }

    /// A target that is to be opened.
    ///
    /// # Errors
    /// Those of [`crate::object::create`].
    pub(crate) fn remote(owner: &Ref<Device>, attributes: &Attributes) -> Result<Ref<Self>, NTSTATUS> {
        let body = Self::new(owner.clone(), true, core::ptr::null_mut(), WDF_IO_TARGET_STATE::WdfIoTargetClosed);
        let target = crate::object::create(owner.any().globals(), attributes, Some(owner.any()), body)?;
        target.idle.initialize(NOTIFICATION_EVENT, false);
        Ok(target)
    }

    /// The device requests go to, or null.
    pub(crate) fn device_object(&self) -> *mut DEVICE_OBJECT {
        self.guarded.lock().device
    }

    /// Hands a request on that is formatted for this target: to the driver of `device`, or, of a target on the driver's own device, to the
    /// queue that the driver has assigned.
    ///
    /// # Safety
    /// The IRP is ours, its next stack location is filled in, and the target keeps `device`.
    pub(crate) unsafe fn deliver(&self, device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the caller's promise.
        let major = unsafe { (*next_stack_location(irp)).MajorFunction };
        let goes_to_queues = matches!(major, IRP_MJ_READ | IRP_MJ_WRITE | IRP_MJ_DEVICE_CONTROL | IRP_MJ_INTERNAL_DEVICE_CONTROL);
        match Queue::of_handle(self.own_queue.load(Ordering::Acquire)).filter(|_| goes_to_queues) {
            Some(queue) => {
                // SAFETY: the caller's promise: there is a location left, which becomes the current one as IofCallDriver would make it.
                unsafe {
                    let location = next_stack_location(irp);
                    (*irp).CurrentLocation -= 1;
                    (*irp).Tail.Overlay.CurrentStackLocation = location;
                    (*location).DeviceObject = device;
                }
                crate::io::dispatch_to(&self.owner, irp, major, Some(queue), false)
            }
            // SAFETY: the caller's promise.
            None => unsafe { IofCallDriver(device, irp) },
        }
    }

    /// The physical device at the bottom of the target's stack, or null.
    pub(crate) fn physical(&self) -> *mut DEVICE_OBJECT {
        if !self.is_remote {
            return self.owner.pdo();
        }
        // SAFETY: read at a time when the driver neither opens nor closes the target.
        core::ptr::with_exposed_provenance_mut(unsafe { (*self.opened.get()).physical })
    }

    /// Stack locations a request needs for this target; 0 while there is no device.
    pub(crate) fn stack_size(&self) -> i8 {
        let guarded = self.guarded.lock();
        let device = guarded.device;
        // SAFETY: a device object that the target keeps.
        let now = || if device.is_null() { 0 } else { unsafe { (*device).StackSize } };
        guarded.stack_size.unwrap_or_else(now)
    }

    /// Changes the state.
    pub(crate) fn set_state(this: &Ref<Self>, now: WDF_IO_TARGET_STATE) {
        let before = {
            let mut guarded = this.guarded.lock();
            let before = guarded.state.now();
            guarded.state.set(now);
            before
        };
        let history = &this.any().globals().history;
        history.record(LogEvent::TargetState, this.any().header().handle, before.0 as usize, now.0 as usize);
    }

    /// Opens both gates: what waited goes out, in order. `false` when no device is behind the target.
    pub(crate) fn start(this: &Ref<Self>) -> bool {
        if this.guarded.lock().state.is_gone() {
            return false;
        }
        Self::set_state(this, WDF_IO_TARGET_STATE::WdfIoTargetStarted);
        loop {
            let (request, ours, device) = {
                let mut guarded = this.guarded.lock();
                let Some(errand) = guarded.state.next_waiting() else { return true };
                let request = request_of(errand);
                let ours = request.sent.lock().call_queued();
                (request, ours, guarded.device)
            };
            if ours {
                send::go_on(&request, this, device);
            }
        }
    }

    /// Cancels everything that waits in the target or is out.
    pub(crate) fn cancel_all(this: &Ref<Self>) {
        let walk = this.guarded.lock().state.begin_walk();
        loop {
            let request = {
                let mut guarded = this.guarded.lock();
                let Some(errand) = guarded.state.next_of_walk(walk) else { return };
                request_of(errand)
            };
            let _ = send::cancel(&request, Canceller::Target);
        }
    }

    /// Waits until nothing is out and every completion routine has returned. PASSIVE_LEVEL.
    pub(crate) fn wait_until_idle(this: &Ref<Self>) {
        let mut checks = 0;
        loop {
            this.idle.clear();
            let unfinished = this.guarded.lock().state.unfinished();
            if unfinished == 0 {
                return;
            }
            if !this.idle.wait_for(CHECK_EVERY_MILLISECONDS) {
                checks += 1;
                if checks % CHECKS_PER_REPORT == 0 {
                    let target = this.any().header().handle;
                    crate::report!(
                        this.any().globals(),
                        "I/O target {target:#x} waits for {unfinished} request(s) that are sent"
                    );
                }
            }
        }
    }

    /// The device goes: nothing is sent any more, what was sent is cancelled and waited for.
    pub(crate) fn remove(this: &Ref<Self>) {
        Self::set_state(this, WDF_IO_TARGET_STATE::WdfIoTargetDeleted);
        Self::cancel_all(this);
        Self::wait_until_idle(this);
    }

    /// The completion routine of a counted request has returned.
    pub(crate) fn finished(this: &Ref<Self>) {
        let last = this.guarded.lock().state.finished();
        if last {
            this.idle.set();
        }
    }
}

/// The request that an errand lies in. To be called under the lock of the target it is in.
fn request_of(errand: *mut Errand) -> Ref<Request> {
    // SAFETY: an errand in a list is that of a request which is sent, and which the send's reference keeps.
    unsafe { Ref::borrow_context((*errand).request) }
}
