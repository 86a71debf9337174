//! I/O queues: made by a [`QueueBuilder`], which registers only the callbacks that a driver wants; managed through [`Queue`].

use core::marker::PhantomData;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::{
    PFN_WDF_IO_QUEUE_STATE, WDF_IO_QUEUE_CONFIG, WDF_IO_QUEUE_DISPATCH_TYPE, WDF_IO_QUEUE_STATE, WDF_REQUEST_TYPE, WDF_TRI_STATE,
};
use wdf_sys::{TRUE, WDFQUEUE, WDFREQUEST};

use crate::context::{self, Context};
use crate::device::{Device, DeviceEvents};
use crate::file::File;
use crate::irql::Passive;
use crate::place::{Place, Vacancy};
use crate::request::{IoControl, Request};
use crate::stop::Stopping;
use crate::{NTSTATUS, Result, trampoline};

/// The context of a queue, and whose queue it is.
pub trait QueueEvents: Context {
    /// The context of the device that the queue belongs to.
    type Device: DeviceEvents;
}

/// `EvtIoDeviceControl`, and `EvtIoInternalDeviceControl`.
pub trait OnDeviceControl: QueueEvents {
    /// An I/O control is presented: it is the driver's now.
    fn device_control(&self, device: Device<'_, Self::Device>, request: Request, control: IoControl);
}

/// `EvtIoRead`.
pub trait OnRead: QueueEvents {
    /// A read of `length` bytes is presented.
    fn read(&self, device: Device<'_, Self::Device>, request: Request, length: usize);
}

/// `EvtIoWrite`.
pub trait OnWrite: QueueEvents {
    /// A write of `length` bytes is presented.
    fn write(&self, device: Device<'_, Self::Device>, request: Request, length: usize);
}

/// `EvtIoDefault`: requests for which no other handler is registered.
pub trait OnRequest: QueueEvents {
    /// A request is presented.
    fn request(&self, device: Device<'_, Self::Device>, request: Request);
}

/// `EvtIoStop` and `EvtIoResume`: what happens to requests that the driver holds when the queue loses power.
pub trait OnStop: QueueEvents {
    /// The framework waits until the request is completed, or acknowledged through `stopping`.
    fn stop(&self, device: Device<'_, Self::Device>, stopping: Stopping<'_>);

    /// Power is back for a request that was acknowledged and kept.
    #[allow(unused_variables, reason = "the default ignores what it is told")]
    fn resume(&self, device: Device<'_, Self::Device>, request: crate::RequestId) {}
}

/// `EvtIoCanceledOnQueue`: a request that was presented before is cancelled while in the queue.
pub trait OnCanceledOnQueue: QueueEvents {
    /// The request is the driver's again, to complete.
    fn canceled_on_queue(&self, device: Device<'_, Self::Device>, request: Request);
}

/// `EvtIoQueueState` of [`Queue::notify_ready`].
pub trait OnQueueReady: QueueEvents {
    /// A manual queue has a request to retrieve.
    fn ready(&self, device: Device<'_, Self::Device>);
}

/// `EvtIoQueueState` of a queue that is being stopped, drained or purged.
pub trait OnQuiet: 'static {
    /// The context of the queue.
    type Queue: QueueEvents;

    /// The driver holds no request of the queue any more; a queue that was drained or purged has none in it, either.
    fn quiet(queue: &Self::Queue, device: Device<'_, <Self::Queue as QueueEvents>::Device>);
}

/// A call that changes what a queue does, and may tell when that is done.
type Change = unsafe fn(WDFQUEUE, PFN_WDF_IO_QUEUE_STATE, *mut core::ffi::c_void);

/// Describes a queue that is about to be made.
pub struct QueueBuilder<Q> {
    config: WDF_IO_QUEUE_CONFIG,
    context: PhantomData<fn() -> Q>,
}

impl<Q: QueueEvents> QueueBuilder<Q> {
    const fn new(dispatch: WDF_IO_QUEUE_DISPATCH_TYPE) -> Self {
        Self { config: WDF_IO_QUEUE_CONFIG::new(dispatch), context: PhantomData }
    }

    /// Presents requests as they come.
    #[must_use]
    pub const fn parallel() -> Self {
        Self::new(WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel)
    }

    /// Presents requests as they come, as long as the driver holds fewer than `limit`.
    #[must_use]
    pub const fn parallel_up_to(limit: u32) -> Self {
        let mut builder = Self::parallel();
        builder.config.Settings.Parallel.NumberOfPresentedRequests = limit;
        builder
    }

    /// Presents one request at a time.
    #[must_use]
    pub const fn sequential() -> Self {
        Self::new(WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchSequential)
    }

    /// Presents nothing: the driver retrieves.
    #[must_use]
    pub const fn manual() -> Self {
        Self::new(WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchManual)
    }

    /// Requests that no other queue was configured for come here.
    #[must_use]
    pub const fn default_queue(mut self) -> Self {
        self.config.DefaultQueue = TRUE;
        self
    }

    /// Whether the queue holds requests while the device has no power. Function drivers' queues do unless told otherwise.
    #[must_use]
    pub const fn power_managed(mut self, managed: bool) -> Self {
        self.config.PowerManaged = if managed { WDF_TRI_STATE::WdfTrue } else { WDF_TRI_STATE::WdfFalse };
        self
    }

    /// Reads and writes of no bytes are presented too; otherwise the framework completes them.
    #[must_use]
    pub const fn zero_length_requests(mut self) -> Self {
        self.config.AllowZeroLengthRequests = TRUE;
        self
    }

    /// Makes the queue that the device's context keeps `at` a field of its own, with `context` in it.
    ///
    /// # Errors
    /// As [`Timer::create`](crate::Timer::create).
    pub fn create(mut self, device: Device<'_, Q::Device>, at: impl Fn(&Q::Device) -> &Queue<Q>, context: Q) -> Result<()> {
        let (_, vacancy) = Vacancy::find(device, at, |queue| &queue.place)?;
        let mut attributes = context::kept_attributes::<Q>();
        let mut handle = WDFQUEUE::NULL;
        // SAFETY: the device is valid; both structures are copied. The queue is the device's child.
        unsafe { WdfIoQueueCreate(device.handle(), &raw mut self.config, &raw mut attributes, &raw mut handle) }.ok()?;
        // SAFETY: just created with these attributes, as a child of the device.
        unsafe { vacancy.fill(handle.object(), context, handle.0) }
    }
}

/// Registers callbacks.
macro_rules! callbacks {
    ($($(#[$doc:meta])* $method:ident: $trait:ident => $($field:ident = $trampoline:ident),+;)*) => {$(
        impl<Q: $trait> QueueBuilder<Q> {
            $(#[$doc])*
            #[must_use]
            pub const fn $method(mut self) -> Self {
                $(self.config.$field = Some(trampoline::$trampoline::<Q>);)+
                self
            }
        }
    )*};
}

callbacks! {
    /// I/O controls are presented to [`OnDeviceControl`].
    on_device_control: OnDeviceControl => EvtIoDeviceControl = device_control;
    /// Internal I/O controls are presented to [`OnDeviceControl`].
    on_internal_device_control: OnDeviceControl => EvtIoInternalDeviceControl = device_control;
    /// Reads are presented to [`OnRead`].
    on_read: OnRead => EvtIoRead = read;
    /// Writes are presented to [`OnWrite`].
    on_write: OnWrite => EvtIoWrite = write;
    /// Other requests are presented to [`OnRequest`].
    on_request: OnRequest => EvtIoDefault = request;
    /// [`OnStop`] hears of power going and coming.
    on_stop: OnStop => EvtIoStop = stop, EvtIoResume = resume;
    /// [`OnCanceledOnQueue`] hears of requests cancelled after they came back to the queue.
    on_canceled_on_queue: OnCanceledOnQueue => EvtIoCanceledOnQueue = canceled_on_queue;
}

/// A queue. It is kept in its device's context.
#[derive(Debug)]
pub struct Queue<Q> {
    place: Place,
    context: PhantomData<fn() -> Q>,
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueState {
    flags: WDF_IO_QUEUE_STATE,
    /// Requests in the queue, not presented.
    pub queued: u32,
    /// Requests that the driver holds.
    pub presented: u32,
}

impl QueueState {
    /// Whether new requests are taken.
    #[must_use]
    pub const fn accepts(&self) -> bool {
        self.flags.0 & WDF_IO_QUEUE_STATE::WdfIoQueueAcceptRequests.0 != 0
    }

    /// Whether requests are presented.
    #[must_use]
    pub const fn dispatches(&self) -> bool {
        self.flags.0 & WDF_IO_QUEUE_STATE::WdfIoQueueDispatchRequests.0 != 0
    }
}

impl<Q: QueueEvents> Queue<Q> {
    /// A queue that is not made yet: it takes and has no requests until [`QueueBuilder::create`].
    #[must_use]
    pub const fn unmade() -> Self {
        Self { place: Place::empty(), context: PhantomData }
    }

    /// A queue of the tests' table.
    #[cfg(test)]
    pub(crate) const fn fake(handle: WDFQUEUE) -> Self {
        Self { place: Place::holding(handle.0), context: PhantomData }
    }

    /// The queue, which is valid while `self` is borrowed.
    ///
    /// # Errors
    /// `STATUS_INVALID_DEVICE_STATE` when it is not made yet, or gone.
    pub(crate) fn handle(&self) -> Result<WDFQUEUE> {
        self.place.require().map(|handle| WDFQUEUE(handle.as_ptr()))
    }

    /// Requests of type `kind` come to this queue before any other.
    ///
    /// # Errors
    /// What the framework says.
    pub fn dispatch(&self, kind: WDF_REQUEST_TYPE, passive: Passive<'_>) -> Result<()> {
        passive.check();
        let queue = self.handle()?;
        // SAFETY: the queue is valid, and its device with it; at PASSIVE_LEVEL.
        unsafe { WdfDeviceConfigureRequestDispatching(WdfIoQueueGetDevice(queue), queue, kind) }.ok()
    }

    /// How full the queue is, and what it does.
    #[must_use]
    pub fn state(&self) -> QueueState {
        let (mut queued, mut presented) = (0, 0);
        let nothing = WDF_IO_QUEUE_STATE(0);
        // SAFETY: the queue is valid.
        let flags =
            self.handle().map_or(nothing, |queue| unsafe { WdfIoQueueGetState(queue, &raw mut queued, &raw mut presented) });
        QueueState { flags, queued, presented }
    }

    /// Takes and presents requests (again).
    pub fn start(&self) {
        if let Ok(queue) = self.handle() {
            // SAFETY: the queue is valid.
            unsafe { WdfIoQueueStart(queue) };
        }
    }

    fn change(&self, change: Change, then: PFN_WDF_IO_QUEUE_STATE) {
        if let Ok(queue) = self.handle() {
            // SAFETY: the queue is valid; the trampoline, if there is one, finds what it needs from the queue.
            unsafe { change(queue, then, core::ptr::null_mut()) };
        }
    }

    fn change_synchronously(&self, change: unsafe fn(WDFQUEUE), passive: Passive<'_>) {
        passive.check();
        if let Ok(queue) = self.handle() {
            // SAFETY: the queue is valid; at PASSIVE_LEVEL.
            unsafe { change(queue) };
        }
    }

    /// Stops presenting; requests are still taken. Does not wait for those that the driver holds.
    pub fn stop(&self) {
        self.change(WdfIoQueueStop, None);
    }

    /// As [`stop`](Self::stop); `N` is told when the driver holds no request of the queue.
    pub fn stop_then<N: OnQuiet<Queue = Q>>(&self) {
        self.change(WdfIoQueueStop, Some(trampoline::queue_quiet::<N>));
    }

    /// Stops presenting, and waits until the driver holds no request of the queue.
    pub fn stop_synchronously(&self, passive: Passive<'_>) {
        self.change_synchronously(WdfIoQueueStopSynchronously, passive);
    }

    /// Takes no more requests; presents those that are there.
    pub fn drain(&self) {
        self.change(WdfIoQueueDrain, None);
    }

    /// As [`drain`](Self::drain); `N` is told when the last request has been completed.
    pub fn drain_then<N: OnQuiet<Queue = Q>>(&self) {
        self.change(WdfIoQueueDrain, Some(trampoline::queue_quiet::<N>));
    }

    /// As [`drain`](Self::drain), and waits until the last request has been completed.
    pub fn drain_synchronously(&self, passive: Passive<'_>) {
        self.change_synchronously(WdfIoQueueDrainSynchronously, passive);
    }

    /// Takes no more requests; cancels those that are there, and the cancelable ones that the driver holds.
    pub fn purge(&self) {
        self.change(WdfIoQueuePurge, None);
    }

    /// As [`purge`](Self::purge); `N` is told when the last request has been completed.
    pub fn purge_then<N: OnQuiet<Queue = Q>>(&self) {
        self.change(WdfIoQueuePurge, Some(trampoline::queue_quiet::<N>));
    }

    /// As [`purge`](Self::purge), and waits until the last request has been completed.
    pub fn purge_synchronously(&self, passive: Passive<'_>) {
        self.change_synchronously(WdfIoQueuePurgeSynchronously, passive);
    }

    /// Cancels what is there and stops presenting, but takes new requests.
    pub fn stop_and_purge(&self) {
        self.change(WdfIoQueueStopAndPurge, None);
    }

    /// As [`stop_and_purge`](Self::stop_and_purge); `N` is told when the driver holds no request of the queue.
    pub fn stop_and_purge_then<N: OnQuiet<Queue = Q>>(&self) {
        self.change(WdfIoQueueStopAndPurge, Some(trampoline::queue_quiet::<N>));
    }

    /// As [`stop_and_purge`](Self::stop_and_purge), and waits until the driver holds no request of the queue.
    pub fn stop_and_purge_synchronously(&self, passive: Passive<'_>) {
        self.change_synchronously(WdfIoQueueStopAndPurgeSynchronously, passive);
    }

    /// Takes the first request out of a manual or sequential queue.
    ///
    /// # Errors
    /// `STATUS_NO_MORE_ENTRIES` when there is none, `STATUS_WDF_PAUSED` when the queue is stopped or has no power.
    pub fn retrieve(&self) -> Result<Request> {
        let mut request = WDFREQUEST::NULL;
        let queue = self.handle()?;
        // SAFETY: the queue is valid.
        unsafe { WdfIoQueueRetrieveNextRequest(queue, &raw mut request) }.ok()?;
        // SAFETY: the framework just gave us the request.
        Ok(unsafe { Request::presented(request) })
    }

    /// Takes the first request that came through `file` out of the queue.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    pub fn retrieve_of(&self, file: File<'_>) -> Result<Request> {
        let mut request = WDFREQUEST::NULL;
        let queue = self.handle()?;
        // SAFETY: the queue is valid; something keeps the file object.
        unsafe { WdfIoQueueRetrieveRequestByFileObject(queue, file.handle(), &raw mut request) }.ok()?;
        // SAFETY: the framework just gave us the request.
        Ok(unsafe { Request::presented(request) })
    }
}

impl<Q: OnQueueReady> Queue<Q> {
    /// [`OnQueueReady`] is told each time this manual queue gets a request after having been empty.
    ///
    /// # Errors
    /// `STATUS_INVALID_DEVICE_REQUEST` when it was asked for already.
    pub fn notify_ready(&self) -> Result<()> {
        self.notify(Some(trampoline::queue_ready::<Q>))
    }

    /// [`OnQueueReady`] is not told any more.
    ///
    /// # Errors
    /// `STATUS_INVALID_DEVICE_REQUEST` when the queue is not stopped.
    pub fn stop_notifying(&self) -> Result<()> {
        self.notify(None)
    }

    fn notify(&self, ready: PFN_WDF_IO_QUEUE_STATE) -> Result<()> {
        let queue = self.handle()?;
        // SAFETY: the queue is valid; the trampoline, if there is one, finds what it needs from the queue.
        unsafe { WdfIoQueueReadyNotify(queue, ready, core::ptr::null_mut()) }.ok()
    }
}

/// The queue's context and its device, from a handle that a callback was given.
///
/// # Safety
/// `handle` is a valid queue for `'a`, created by a `QueueBuilder<Q>`.
pub(crate) unsafe fn parts<'a, Q: QueueEvents>(handle: WDFQUEUE) -> Result<(&'a Q, Device<'a, Q::Device>)> {
    // SAFETY: the caller's promise.
    let context = unsafe { context::get::<Q>(handle.object()) };
    // SAFETY: the caller's promise; a queue's device outlives it.
    let device = unsafe { Device::from_handle(WdfIoQueueGetDevice(handle)) };
    context.zip(device).ok_or(NTSTATUS::DEVICE_NOT_READY)
}

#[cfg(test)]
mod tests;
