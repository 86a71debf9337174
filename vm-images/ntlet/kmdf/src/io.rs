//! Where I/O meets a device: what each device keeps for its queues, targets and files, how an IRP that is not PnP, power or WMI
//! enters, and what PnP and power tell the queues and targets.

use core::sync::atomic::{AtomicUsize, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdf::{
    PFN_WDF_IO_IN_CALLER_CONTEXT, WDF_FILEOBJECT_CONFIG, WDF_IO_QUEUE_DISPATCH_TYPE, WDF_REQUEST_TYPE, WdfRequestStopActionPurge,
    WdfRequestStopActionSuspend,
};
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{IofCallDriver, IofCompleteRequest};
use wdf_sys::wdm::{IRP, current_stack_location, skip_current_stack_location};

use crate::device::Device;
use crate::file;
use crate::object::{AnyRef, Attributes, Ref, handles};
use crate::queue::{Queue, power, present, pump, reserve};
use crate::request::{Request, complete, irp};
use crate::sync::SpinLock;
use crate::target::Target;

/// Why power-managed queues stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The device leaves D0 and may come back: EvtIoStop with WdfRequestStopActionSuspend.
    Suspend,
    /// The device is being removed: EvtIoStop with WdfRequestStopActionPurge.
    Purge,
}

/// I/O settings of a WDFDEVICE_INIT.
pub(crate) struct IoSettings {
    /// WdfDeviceInitSetFileObjectConfig.
    pub(crate) file: Option<WDF_FILEOBJECT_CONFIG>,
    pub(crate) file_attributes: Attributes,
    /// WdfDeviceInitSetRequestAttributes.
    pub(crate) request_attributes: Attributes,
    /// WdfDeviceInitSetIoInCallerContextCallback.
    pub(crate) in_caller_context: PFN_WDF_IO_IN_CALLER_CONTEXT,
}

impl Default for IoSettings {
    fn default() -> Self {
        Self { file: None, file_attributes: Attributes::NONE, request_attributes: Attributes::NONE, in_caller_context: None }
    }
}

/// Major functions, one queue each at most.
const MAJOR_FUNCTIONS: usize = IRP_MJ_MAXIMUM_FUNCTION as usize + 1;

/// What a device keeps for I/O: queues, dispatching by request type, default target, files. Objects are kept by handle, since they are
/// the device's children and hold references on it.
pub(crate) struct DeviceIo {
    settings: IoSettings,
    default_queue: AtomicUsize,
    by_major: [AtomicUsize; MAJOR_FUNCTIONS],
    first_queue: SpinLock<usize>,
    local_target: AtomicUsize,
    self_target: AtomicUsize,
    pub(crate) files: file::Files,
}

impl DeviceIo {
    /// For a device that is being created.
    pub(crate) fn new(settings: IoSettings) -> Self {
        Self {
            settings,
            default_queue: AtomicUsize::new(0),
            by_major: [const { AtomicUsize::new(0) }; MAJOR_FUNCTIONS],
            first_queue: SpinLock::new(0),
            local_target: AtomicUsize::new(0),
            self_target: AtomicUsize::new(0),
            files: file::Files::new(),
        }
    }

    /// What the driver said when it created the device.
    pub(crate) fn settings(&self) -> &IoSettings {
        &self.settings
    }

    // Queues.

    /// Adds a queue to the device's list.
    pub(crate) fn add_queue(&self, queue: &Ref<Queue>) {
        let mut first = self.first_queue.lock();
        queue.next.store(*first, Ordering::Release);
        *first = Queue::number(queue);
    }

    /// Takes a queue that is being deleted out of everything.
    pub(crate) fn forget_queue(&self, queue: &Ref<Queue>) {
        let number = Queue::number(queue);
        for place in self.by_major.iter().chain([&self.default_queue]) {
            let _ = place.compare_exchange(number, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
        let mut first = self.first_queue.lock();
        let next = queue.next.load(Ordering::Acquire);
        if *first == number {
            *first = next;
            return;
        }
        let mut at = *first;
        while let Some(other) = Queue::of_handle(at) {
            if other.next.load(Ordering::Acquire) == number {
                other.next.store(next, Ordering::Release);
                return;
            }
            at = other.next.load(Ordering::Acquire);
        }
    }

    /// Calls `visit` with each queue. Queues that come or go meanwhile may be missed.
    pub(crate) fn for_each_queue(&self, mut visit: impl FnMut(&Ref<Queue>)) {
        let mut at = *self.first_queue.lock();
        while let Some(queue) = Queue::of_handle(at) {
            visit(&queue);
            at = queue.next.load(Ordering::Acquire);
        }
    }

    /// Makes a queue the default queue. `false` when there is one.
    pub(crate) fn set_default_queue(&self, queue: &Ref<Queue>) -> bool {
        self.default_queue.compare_exchange(0, Queue::number(queue), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The default queue.
    pub(crate) fn default_queue(&self) -> Option<Ref<Queue>> {
        Queue::of_handle(self.default_queue.load(Ordering::Acquire))
    }

    /// Sends requests of a type to a queue. `None`: no such type. `Some(false)`: the type has a queue.
    pub(crate) fn route(&self, kind: WDF_REQUEST_TYPE, queue: &Ref<Queue>) -> Option<bool> {
        let place = self.by_major.get(usize::try_from(kind.0).ok()?)?;
        Some(place.compare_exchange(0, Queue::number(queue), Ordering::AcqRel, Ordering::Relaxed).is_ok())
    }

    /// The queue for a major function: its own, or for reads, writes and controls the default queue.
    pub(crate) fn queue_for(&self, major: u8) -> Option<Ref<Queue>> {
        let own = self.by_major.get(usize::from(major)).map_or(0, |place| place.load(Ordering::Acquire));
        match Queue::of_handle(own) {
            Some(queue) => Some(queue),
            None if matches!(major, IRP_MJ_READ | IRP_MJ_WRITE | IRP_MJ_DEVICE_CONTROL | IRP_MJ_INTERNAL_DEVICE_CONTROL) => {
                self.default_queue()
            }
            None => None,
        }
    }

    // Targets.

    /// The target below the device.
    pub(crate) fn local_target(&self) -> Option<Ref<Target>> {
        target_of(&self.local_target)
    }

    /// The device's target on itself, if there is one.
    pub(crate) fn self_target(&self) -> Option<Ref<Target>> {
        target_of(&self.self_target)
    }
}

impl DeviceIo {
    fn targets(&self) -> impl Iterator<Item = Ref<Target>> {
        [self.local_target(), self.self_target()].into_iter().flatten()
    }
}

fn target_of(place: &AtomicUsize) -> Option<Ref<Target>> {
    let header = handles::acquire(place.load(Ordering::Acquire))?;
    // SAFETY: `acquire` counted the reference.
    unsafe { AnyRef::from_counted(header) }.downcast().ok()
}

/// The device object exists; the driver does not know it yet. Creates its default target, and the one on itself if the driver asked.
pub(crate) fn create_default(device: &Ref<Device>) -> Result<(), NTSTATUS> {
    if !device.is_control() {
        let target = Target::local(device, device.lower())?;
        device.io.local_target.store(target.any().header().handle, Ordering::Release);
    }
    if device.settings.allow_self_target {
        let target = Target::local(device, device.wdm())?;
        device.io.self_target.store(target.any().header().handle, Ordering::Release);
    }
    Ok(())
}

/// An IRP for the device with any major function but PnP, power and system control. Completes or pends it, and returns what the
/// dispatch routine returns.
pub(crate) fn dispatch(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager has handed this IRP to the device, so it has a current stack location of ours.
    let major = unsafe { (*current_stack_location(irp)).MajorFunction };
    match major {
        IRP_MJ_CREATE => file::create(device, irp),
        IRP_MJ_CLEANUP => file::cleanup(device, irp),
        IRP_MJ_CLOSE => file::close(device, irp),
        _ => dispatch_to(device, irp, major, device.io.queue_for(major), true),
    }
}

/// Gives an IRP to a queue, through EvtIoInCallerContext if `in_caller_context`.
pub(crate) fn dispatch_to(
    device: &Ref<Device>,
    irp: *mut IRP,
    major: u8,
    queue: Option<Ref<Queue>>,
    in_caller_context: bool,
) -> NTSTATUS {
    let callback = if in_caller_context { device.io.settings.in_caller_context } else { None };
    if callback.is_none() && queue.as_ref().is_none_or(|queue| !present::handles(&queue.config, major) && is_automatic(queue)) {
        // A filter hands on what it has no queue for; anyone else says that it does not know the request.
        if device.is_filter() && queue.is_none() {
            return pass_down(device, irp);
        }
        return refuse(irp, NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    let file = file::of_irp(device, irp);
    let made = Request::incoming(device, irp, &device.io.settings.request_attributes, file);
    let request = match (made, queue.as_ref().filter(|queue| queue.reserve.is_set())) {
        (made, Some(queue)) => match reserve::or_reserved(queue, made, irp) {
            Some(request) => request,
            None => return NTSTATUS::PENDING,
        },
        (Ok(request), None) => request,
        (Err(status), None) => return refuse(irp, status),
    };
    match (callback, queue) {
        (Some(callback), _) => {
            // SAFETY: the driver's own callback, in the context of the caller, as its page says.
            device.any().guarded(callback as usize, || unsafe { callback(device.handle(), request.handle()) });
        }
        (None, Some(queue)) => {
            if let Err(status) = enqueue(&request, &queue) {
                complete::by_framework(&request, status, 0);
            }
        }
        (None, None) => complete::by_framework(&request, NTSTATUS::INVALID_DEVICE_REQUEST, 0),
    }
    NTSTATUS::PENDING
}

fn is_automatic(queue: &Ref<Queue>) -> bool {
    queue.config.DispatchType != WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchManual
}

/// Puts a new request into a queue.
///
/// # Errors
/// `INVALID_DEVICE_STATE` when the queue does not accept; the caller still has the request.
pub(crate) fn enqueue(request: &Ref<Request>, queue: &Ref<Queue>) -> Result<(), NTSTATUS> {
    if !wants(request, queue) {
        complete::by_framework(request, NTSTATUS::SUCCESS, 0);
        return Ok(());
    }
    // SAFETY: the request is new and in the caller's hands.
    if unsafe { Request::enter(request, queue) }.is_err() {
        return Err(NTSTATUS::INVALID_DEVICE_STATE);
    }
    pump::arrived(queue);
    Ok(())
}

/// Reads and writes of no bytes do not reach a driver that does not ask for them.
fn wants(request: &Ref<Request>, queue: &Ref<Queue>) -> bool {
    if queue.config.AllowZeroLengthRequests != 0 {
        return true;
    }
    // SAFETY: the request is in the caller's hands, so our stack location is there; the member is that of the major function.
    unsafe {
        let stack = &*request.stack();
        match stack.MajorFunction {
            IRP_MJ_READ => stack.Parameters.Read.Length != 0,
            IRP_MJ_WRITE => stack.Parameters.Write.Length != 0,
            _ => true,
        }
    }
}

/// Completes an IRP that was not pended.
pub(crate) fn refuse(irp: *mut IRP, status: NTSTATUS) -> NTSTATUS {
    finish(irp, status, 0)
}

/// Completes an IRP that was not pended, with a result.
pub(crate) fn finish(irp: *mut IRP, status: NTSTATUS, information: usize) -> NTSTATUS {
    // SAFETY: the IRP was handed to the device, and nobody else has it.
    unsafe {
        irp::set_result(irp, status, information);
        IofCompleteRequest(irp, IO_NO_INCREMENT);
    }
    status
}

/// Hands an IRP to the device below, as it is.
pub(crate) fn pass_down(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    let lower = device.lower();
    if lower.is_null() {
        return refuse(irp, NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    // SAFETY: the IRP was handed to us and goes on with our stack location; the device below is there while we are attached.
    unsafe {
        skip_current_stack_location(irp);
        IofCallDriver(lower, irp)
    }
}

/// A callback lock (of a device or a queue) was released, and queues had put off callbacks because this thread held it.
pub(crate) fn lock_released(owner: &AnyRef) {
    match owner.clone().downcast::<Queue>() {
        Ok(queue) => pump::pump(&queue),
        Err(other) => {
            if let Ok(device) = other.downcast::<Device>() {
                device.io.for_each_queue(pump::pump);
            }
        }
    }
}

/// The device is in D0: power-managed queues dispatch, EvtIoResume for what was stopped; local targets accept sends. PASSIVE_LEVEL.
pub(crate) fn start(device: &Ref<Device>) {
    for target in device.io.targets() {
        Target::start(&target);
    }
    power::start(device);
}

/// The device leaves D0: all power-managed queues stop dispatching, then each is stopped in turn (EvtIoStop) and waited for.
/// PASSIVE_LEVEL; does not return before every request is acknowledged, completed or requeued.
pub(crate) fn stop(device: &Ref<Device>, reason: Reason) {
    power::stop(
        device,
        match reason {
            Reason::Suspend => WdfRequestStopActionSuspend,
            Reason::Purge => WdfRequestStopActionPurge,
        },
    );
}

/// The device is being removed: every queue, power-managed or not, is purged; what was sent to the targets of the framework's making is
/// cancelled; both are waited for. PASSIVE_LEVEL.
pub(crate) fn purge(device: &Ref<Device>) {
    power::begin_purge(device);
    for target in device.io.targets() {
        Target::remove(&target);
    }
    power::finish_purge(device);
}
