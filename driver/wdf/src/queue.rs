//! I/O queues: made by a [`QueueBuilder`], which registers only the callbacks that a driver wants; managed through [`Queue`].

use core::marker::PhantomData;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::{WDF_IO_QUEUE_CONFIG, WDF_IO_QUEUE_DISPATCH_TYPE, WDF_IO_QUEUE_STATE, WDF_REQUEST_TYPE, WDF_TRI_STATE};
use wdf_sys::{TRUE, WDFQUEUE, WDFREQUEST};

use crate::context::{self, Context};
use crate::device::{Device, DeviceEvents, NewDevice};
use crate::file::File;
use crate::irql::Passive;
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

    /// Creates the queue, with `context` in it.
    ///
    /// # Errors
    /// What the framework says.
    pub fn create(mut self, device: &NewDevice<Q::Device>, context: Q) -> Result<Queue<Q>> {
        let mut attributes = context::attributes::<Q>();
        let mut handle = WDFQUEUE::NULL;
        // SAFETY: the device is valid; both structures are copied. The queue is the device's child.
        unsafe { WdfIoQueueCreate(device.handle(), &raw mut self.config, &raw mut attributes, &raw mut handle) }.ok()?;
        // SAFETY: the queue was just created with room for a `Q`.
        unsafe { context::install(handle.object(), context) }?;
        Ok(Queue { handle, context: PhantomData })
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

/// A queue. It belongs to its device and goes with it; keep it in the device's context.
#[derive(Debug)]
pub struct Queue<Q> {
    handle: WDFQUEUE,
    context: PhantomData<fn() -> Q>,
}

// SAFETY: a queue's handle is good on any thread.
unsafe impl<Q> Send for Queue<Q> {}
// SAFETY: as above; the framework synchronises.
unsafe impl<Q> Sync for Queue<Q> {}

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
    /// A queue of the tests' table.
    #[cfg(test)]
    pub(crate) const fn fake(handle: WDFQUEUE) -> Self {
        Self { handle, context: PhantomData }
    }

    pub(crate) const fn handle(&self) -> WDFQUEUE {
        self.handle
    }

    /// Requests of type `kind` come to this queue before any other.
    ///
    /// # Errors
    /// What the framework says.
    pub fn dispatch(&self, device: &NewDevice<Q::Device>, kind: WDF_REQUEST_TYPE) -> Result<()> {
        // SAFETY: both are valid.
        unsafe { WdfDeviceConfigureRequestDispatching(device.handle(), self.handle, kind) }.ok()
    }

    /// How full the queue is, and what it does.
    #[must_use]
    pub fn state(&self) -> QueueState {
        let (mut queued, mut presented) = (0, 0);
        // SAFETY: the queue is valid as long as its device.
        let flags = unsafe { WdfIoQueueGetState(self.handle, &raw mut queued, &raw mut presented) };
        QueueState { flags, queued, presented }
    }

    /// Takes and presents requests (again).
    pub fn start(&self) {
        // SAFETY: as in `state`.
        unsafe { WdfIoQueueStart(self.handle) };
    }

    /// Stops presenting; requests are still taken. Does not wait for those that the driver holds.
    pub fn stop(&self) {
        // SAFETY: as in `state`; no callback.
        unsafe { WdfIoQueueStop(self.handle, None, core::ptr::null_mut()) };
    }

    /// As [`stop`](Self::stop); `N` is told when the driver holds no request of the queue.
    pub fn stop_then<N: OnQuiet<Queue = Q>>(&self) {
        // SAFETY: as in `state`; the trampoline finds what it needs from the queue.
        unsafe { WdfIoQueueStop(self.handle, Some(trampoline::queue_quiet::<N>), core::ptr::null_mut()) };
    }

    /// Stops presenting, and waits until the driver holds no request of the queue.
    pub fn stop_synchronously(&self, passive: Passive<'_>) {
        passive.check();
        // SAFETY: as in `state`; at PASSIVE_LEVEL.
        unsafe { WdfIoQueueStopSynchronously(self.handle) };
    }

    /// Takes no more requests; presents those that are there.
    pub fn drain(&self) {
        // SAFETY: as in `state`; no callback.
        unsafe { WdfIoQueueDrain(self.handle, None, core::ptr::null_mut()) };
    }

    /// As [`drain`](Self::drain); `N` is told when the last request has been completed.
    pub fn drain_then<N: OnQuiet<Queue = Q>>(&self) {
        // SAFETY: as in `stop_then`.
        unsafe { WdfIoQueueDrain(self.handle, Some(trampoline::queue_quiet::<N>), core::ptr::null_mut()) };
    }

    /// As [`drain`](Self::drain), and waits until the last request has been completed.
    pub fn drain_synchronously(&self, passive: Passive<'_>) {
        passive.check();
        // SAFETY: as in `state`; at PASSIVE_LEVEL.
        unsafe { WdfIoQueueDrainSynchronously(self.handle) };
    }

    /// Takes no more requests; cancels those that are there, and the cancelable ones that the driver holds.
    pub fn purge(&self) {
        // SAFETY: as in `state`; no callback.
        unsafe { WdfIoQueuePurge(self.handle, None, core::ptr::null_mut()) };
    }

    /// As [`purge`](Self::purge); `N` is told when the last request has been completed.
    pub fn purge_then<N: OnQuiet<Queue = Q>>(&self) {
        // SAFETY: as in `stop_then`.
        unsafe { WdfIoQueuePurge(self.handle, Some(trampoline::queue_quiet::<N>), core::ptr::null_mut()) };
    }

    /// As [`purge`](Self::purge), and waits until the last request has been completed.
    pub fn purge_synchronously(&self, passive: Passive<'_>) {
        passive.check();
        // SAFETY: as in `state`; at PASSIVE_LEVEL.
        unsafe { WdfIoQueuePurgeSynchronously(self.handle) };
    }

    /// Cancels what is there and stops presenting, but takes new requests.
    pub fn stop_and_purge(&self) {
        // SAFETY: as in `state`; no callback.
        unsafe { WdfIoQueueStopAndPurge(self.handle, None, core::ptr::null_mut()) };
    }

    /// As [`stop_and_purge`](Self::stop_and_purge); `N` is told when the driver holds no request of the queue.
    pub fn stop_and_purge_then<N: OnQuiet<Queue = Q>>(&self) {
        // SAFETY: as in `stop_then`.
        unsafe { WdfIoQueueStopAndPurge(self.handle, Some(trampoline::queue_quiet::<N>), core::ptr::null_mut()) };
    }

    /// As [`stop_and_purge`](Self::stop_and_purge), and waits until the driver holds no request of the queue.
    pub fn stop_and_purge_synchronously(&self, passive: Passive<'_>) {
        passive.check();
        // SAFETY: as in `state`; at PASSIVE_LEVEL.
        unsafe { WdfIoQueueStopAndPurgeSynchronously(self.handle) };
    }

    /// Takes the first request out of a manual or sequential queue.
    ///
    /// # Errors
    /// `STATUS_NO_MORE_ENTRIES` when there is none, `STATUS_WDF_PAUSED` when the queue is stopped or has no power.
    pub fn retrieve(&self) -> Result<Request> {
        let mut request = WDFREQUEST::NULL;
        // SAFETY: as in `state`.
        unsafe { WdfIoQueueRetrieveNextRequest(self.handle, &raw mut request) }.ok()?;
        // SAFETY: the framework just gave us the request.
        Ok(unsafe { Request::presented(request) })
    }

    /// Takes the first request that came through `file` out of the queue.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    pub fn retrieve_of(&self, file: File<'_>) -> Result<Request> {
        let mut request = WDFREQUEST::NULL;
        // SAFETY: as in `state`; something keeps the file object.
        unsafe { WdfIoQueueRetrieveRequestByFileObject(self.handle, file.handle(), &raw mut request) }.ok()?;
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
        // SAFETY: as in `state`; the trampoline finds what it needs from the queue.
        unsafe { WdfIoQueueReadyNotify(self.handle, Some(trampoline::queue_ready::<Q>), core::ptr::null_mut()) }.ok()
    }

    /// [`OnQueueReady`] is not told any more.
    ///
    /// # Errors
    /// `STATUS_INVALID_DEVICE_REQUEST` when the queue is not stopped.
    pub fn stop_notifying(&self) -> Result<()> {
        // SAFETY: as in `state`; no callback.
        unsafe { WdfIoQueueReadyNotify(self.handle, None, core::ptr::null_mut()) }.ok()
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
