//! WDFREQUEST: the object, and how it relates to its IRP, its queue and the target it is sent to.
//!
//! Who may touch what:
//! - `entry` belongs to the queue whose number is in `queue`, under that queue's lock ([`Request::with_queue`]).
//! - `sent` has a lock of its own, innermost of all.
//! - `errand` belongs to the target the request is sent to, under that target's lock.
//! - `send_side` belongs to whoever owns the request: the driver's call while the driver does, the framework from WdfRequestSend until the
//!   finish of the send.
//!
//! What keeps the object: its creation reference until it is completed (presented) or deleted (created by the driver); one reference while
//! it is cancelable, given back by whoever ends that; one from WdfRequestSend until its completion routine has returned; one in every
//! call, callback and cancel that speaks of it.

pub(crate) mod buffers;
pub(crate) mod complete;
pub(crate) mod create;
pub(crate) mod functions;
pub(crate) mod irp;
pub(crate) mod ownership;
pub(crate) mod restore;
pub(crate) mod send;
pub(crate) mod sent;
pub(crate) mod timer;

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use wdf_sys::wdf::PFN_WDF_REQUEST_CANCEL;
use wdf_sys::wdm::{FILE_OBJECT, IO_STACK_LOCATION, IRP, current_stack_location, mark_irp_pending};
use wdf_sys::{NTSTATUS, WDFREQUEST};

use crate::device::Device;
use crate::file::File;
use crate::history::Event;
use crate::object::{Attributes, Body, Kind, NOT_DELETABLE, Ref};
use crate::queue::entry::{Entry, Place};
use crate::queue::state::State;
use crate::queue::{Queue, reserve};
use crate::sync::SpinLock;
use crate::target::state::Errand;
use crate::verifier::{self, Rule};
use restore::SendSide;
use sent::Sent;

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An IRP that came to a device of the driver.
    Incoming,
    /// WdfRequestCreate.
    Created,
    /// WdfRequestCreateFromIrp.
    FromIrp,
}

/// The body of a WDFREQUEST.
pub(crate) struct Request {
    pub(crate) origin: Origin,
    irp: AtomicPtr<IRP>,
    /// The IRP goes with the object.
    pub(crate) frees_irp: AtomicBool,
    /// Our stack location in an IRP that came to us; null in others.
    stack: AtomicPtr<IO_STACK_LOCATION>,
    /// The WDFFILEOBJECT an incoming request came through, if the device has such. Constant until the request is completed.
    file: UnsafeCell<Option<Ref<File>>>,
    /// It has been completed; nothing but references keeps it.
    pub(crate) completed: AtomicBool,
    /// Number of the queue whose reserve it belongs to, 0 for none.
    home: usize,
    entry: UnsafeCell<Entry>,
    /// Number of the queue it is in, 0 for none.
    queue: AtomicUsize,
    /// Keeps that queue's memory; changed only on the way into and out of a queue.
    kept_queue: UnsafeCell<Option<Ref<Queue>>>,
    cancel_callback: AtomicPtr<c_void>,
    /// EvtRequestCancel has been called since the request was last marked.
    pub(crate) cancel_called: AtomicBool,
    pub(crate) sent: SpinLock<Sent>,
    pub(crate) errand: UnsafeCell<Errand>,
    send_side: UnsafeCell<SendSide>,
    pub(crate) memories: SpinLock<buffers::Memories>,
    /// Its time-out, or null.
    pub(crate) timer: AtomicPtr<timer::Timer>,
    /// The status of an unsent or unsuccessful send, while there is no IRP to hold it.
    status: core::sync::atomic::AtomicI32,
}

// SAFETY: the table at the top of the file says under what each cell is used; the rest is atomic, locked or constant.
unsafe impl Sync for Request {}
// SAFETY: as above.
unsafe impl Send for Request {}

impl Body for Request {
    type Handle = WDFREQUEST;
    const KIND: Kind = Kind::Request;

    fn before_cleanup(this: &Ref<Self>) {
        let globals = this.any().globals();
        // A request in a queue is waited for; this one the driver got without a queue, or kept from the framework's sight.
        if this.origin == Origin::Incoming && !this.completed.load(Ordering::Acquire) && globals.verifies() {
            let message =
                format_args!("the device goes and the driver has not completed a request; whoever sent it waits for ever");
            verifier::violation(globals, Rule::RequestLeaked, this.any().header().handle, message);
        }
    }

    fn after_cleanup(this: &Ref<Self>) {
        if !this.sent.lock().is_under_way() {
            // SAFETY: the request is being deleted and is not sent, so nobody else owns it.
            unsafe { this.send_side() }.release_memories();
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let irp = *self.irp.get_mut();
        self.send_side.get_mut().release_all(irp);
        timer::Timer::free(*self.timer.get_mut());
        if !irp.is_null() && *self.frees_irp.get_mut() {
            // SAFETY: allocated for this request, or handed over by WdfRequestCreateFromIrp; a send that is under way holds a reference
            // on the object, so nobody uses the IRP.
            unsafe { wdf_sys::wdm::functions::IoFreeIrp(irp) };
        }
    }
}

impl Request {
    /// A request that is in no queue and not sent.
    pub(crate) fn new(origin: Origin, irp: *mut IRP, file: Option<Ref<File>>) -> Self {
        Self {
            origin,
            irp: AtomicPtr::new(irp),
            frees_irp: AtomicBool::new(origin == Origin::Created),
            stack: AtomicPtr::new(null_mut()),
            file: UnsafeCell::new(file),
            completed: AtomicBool::new(false),
            home: 0,
            entry: UnsafeCell::new(Entry::new(irp, null_mut())),
            queue: AtomicUsize::new(0),
            kept_queue: UnsafeCell::new(None),
            cancel_callback: AtomicPtr::new(null_mut()),
            cancel_called: AtomicBool::new(false),
            sent: SpinLock::new(Sent::new()),
            errand: UnsafeCell::new(Errand::new()),
            send_side: UnsafeCell::new(SendSide::new()),
            memories: SpinLock::new(buffers::Memories::default()),
            timer: AtomicPtr::new(null_mut()),
            status: core::sync::atomic::AtomicI32::new(0),
        }
    }

    /// Tells the parts inside the object where they are. Called once, before anyone else knows it.
    pub(crate) fn initialize(this: &Ref<Self>) {
        // SAFETY: nobody else knows the request yet.
        unsafe {
            (*this.entry.get()).request = this.as_context();
            (*this.errand.get()).request = this.as_context();
        }
    }

    /// The request for an IRP that has come to `device`. The IRP is marked pending.
    ///
    /// # Errors
    /// Those of [`crate::object::create`]; the IRP is as it was.
    pub(crate) fn incoming(
        device: &Ref<Device>,
        irp: *mut IRP,
        attributes: &Attributes,
        file: Option<Ref<File>>,
    ) -> Result<Ref<Self>, NTSTATUS> {
        let globals = device.any().globals();
        let body = Self::new(Origin::Incoming, irp, file);
        let request = crate::object::create(globals, attributes, Some(device.any()), body)?;
        request.any().set_flags(NOT_DELETABLE);
        Self::initialize(&request);
        // SAFETY: the I/O manager has handed this IRP to the device; nobody else knows the request yet.
        unsafe { Self::arrive(&request, irp) };
        Ok(request)
    }

    /// The request's IRP has come. It is marked pending.
    ///
    /// # Safety
    /// The IRP was handed to a device of the driver's, so it has a current stack location of ours; the request is nobody's yet.
    unsafe fn arrive(this: &Ref<Self>, irp: *mut IRP) {
        // SAFETY: the caller's promise.
        unsafe {
            let stack = current_stack_location(irp);
            this.stack.store(stack, Ordering::Release);
            (*this.entry.get()).file = (*stack).FileObject;
            mark_irp_pending(irp);
            let major = usize::from((*stack).MajorFunction);
            this.any().globals().history.record(Event::RequestArrived, this.any().header().handle, irp.addr(), major);
        }
    }

    /// The WDFFILEOBJECT an incoming request came through, if the device has such.
    pub(crate) fn file(&self) -> Option<Ref<File>> {
        // SAFETY: changed only while the request is nobody's.
        unsafe { (*self.file.get()).clone() }
    }

    // The reserve.

    /// A request that a queue keeps in reserve. It counts as completed until it is taken from there.
    ///
    /// # Errors
    /// Those of [`crate::object::create`].
    pub(crate) fn in_reserve(queue: &Ref<Queue>) -> Result<Ref<Self>, NTSTATUS> {
        let attributes = &queue.device.io.settings().request_attributes;
        let mut body = Self::new(Origin::Incoming, null_mut(), None);
        body.home = Queue::number(queue);
        body.completed = AtomicBool::new(true);
        let request = crate::object::create(queue.any().globals(), attributes, Some(queue.any()), body)?;
        request.any().set_flags(NOT_DELETABLE);
        Self::initialize(&request);
        Ok(request)
    }

    /// Whether it belongs to the reserve of a queue.
    pub(crate) const fn is_reserved(&self) -> bool {
        self.home != 0
    }

    /// The queue whose reserve it belongs to.
    pub(crate) fn home(&self) -> Option<Ref<Queue>> {
        Queue::of_handle(self.home)
    }

    /// The request's part in lists.
    pub(crate) fn entry(&self) -> *mut Entry {
        self.entry.get()
    }

    /// A request of the reserve becomes the one for an IRP that has come.
    ///
    /// # Safety
    /// The request is nobody's; the IRP was handed to the device of its queue.
    pub(crate) unsafe fn take_from_reserve(this: &Ref<Self>, irp: *mut IRP, file: Option<Ref<File>>) {
        // SAFETY: the caller's promise; the old entry is in no list any more.
        unsafe {
            *this.file.get() = file;
            (*this.entry.get()) = Entry::new(irp, null_mut());
            (*this.entry.get()).request = this.as_context();
            this.set_irp(irp);
            Self::arrive(this, irp);
        }
        this.completed.store(false, Ordering::Release);
    }

    /// A request of the reserve that has been completed becomes as new, but for its contexts.
    ///
    /// # Safety
    /// The request is nobody's: completed, in no queue and not sent.
    pub(crate) unsafe fn clear(this: &Ref<Self>) {
        this.stack.store(null_mut(), Ordering::Release);
        this.set_cancel_callback(None);
        this.cancel_called.store(false, Ordering::Release);
        this.status.store(0, Ordering::Relaxed);
        let _ = this.sent.lock().reuse();
        // SAFETY: the caller's promise.
        unsafe {
            this.send_side().forget();
            *this.file.get() = None;
            *this.entry.get() = Entry::new(null_mut(), null_mut());
            (*this.entry.get()).request = this.as_context();
        }
    }

    /// The request has been completed, or its IRP gone elsewhere: back to the reserve it came from, or for ever.
    pub(crate) fn gone(this: &Ref<Self>) {
        if this.is_reserved() { reserve::give_back(this) } else { Self::delete(this) }
    }

    /// Deletes a request that the driver could not delete.
    pub(crate) fn delete(this: &Ref<Self>) {
        this.any().clear_flags(NOT_DELETABLE);
        this.delete();
    }

    /// The IRP; null once an incoming request has been completed, or before a created one has got any.
    pub(crate) fn irp(&self) -> *mut IRP {
        self.irp.load(Ordering::Acquire)
    }

    /// Gives the request another IRP.
    pub(crate) fn set_irp(&self, irp: *mut IRP) -> *mut IRP {
        self.irp.swap(irp, Ordering::AcqRel)
    }

    /// Our stack location in the IRP.
    pub(crate) fn stack(&self) -> *mut IO_STACK_LOCATION {
        self.stack.load(Ordering::Acquire)
    }

    /// The WDM file object, or null.
    pub(crate) fn wdm_file(&self) -> *mut FILE_OBJECT {
        // SAFETY: constant since the request was created.
        unsafe { (*self.entry.get()).file }
    }

    /// The part that belongs to whoever owns the request.
    ///
    /// # Safety
    /// The caller owns it, as the top of the file says, and uses no other reference to it meanwhile.
    #[allow(clippy::mut_from_ref, reason = "ownership of the request guards it, not the borrow")]
    pub(crate) unsafe fn send_side(&self) -> &mut SendSide {
        // SAFETY: the caller's promise.
        unsafe { &mut *self.send_side.get() }
    }

    /// The status of the request: of its send, once that has ended or failed.
    pub(crate) fn status(&self) -> NTSTATUS {
        if self.sent.lock().is_under_way() {
            return NTSTATUS::PENDING;
        }
        let irp = self.irp();
        if irp.is_null() {
            return NTSTATUS(self.status.load(Ordering::Relaxed));
        }
        // SAFETY: not sent and not completed, so the IRP is there.
        unsafe { (*irp).IoStatus.status() }
    }

    /// Sets the status.
    pub(crate) fn set_status(&self, status: NTSTATUS) {
        self.status.store(status.0, Ordering::Relaxed);
        let irp = self.irp();
        if !irp.is_null() {
            // SAFETY: as in `status`.
            unsafe { (*irp).IoStatus.u.Status = status };
        }
    }

    // The queue.

    /// Whether the request is in a queue. To be asked under the queue's lock for a lasting answer.
    pub(crate) fn is_in(&self, queue: &Ref<Queue>) -> bool {
        self.queue.load(Ordering::Acquire) == Queue::number(queue)
    }

    /// The queue it is in, or was presented by.
    pub(crate) fn queue(&self) -> Option<Ref<Queue>> {
        Queue::of_handle(self.queue.load(Ordering::Acquire))
    }

    /// Runs `step` under the lock of the queue the request is in. `None` when it is in none.
    pub(crate) fn with_queue<R>(&self, step: impl FnOnce(&Ref<Queue>, &mut State, *mut Entry) -> R) -> Option<(Ref<Queue>, R)> {
        loop {
            let queue = self.queue()?;
            let mut guarded = queue.guarded.lock();
            if !self.is_in(&queue) {
                continue;
            }
            let result = step(&queue, &mut guarded.state, self.entry.get());
            drop(guarded);
            return Some((queue, result));
        }
    }

    /// Puts a request that is in no list into a queue, if the queue accepts. Returns the reference on the queue that it leaves.
    ///
    /// # Safety
    /// The caller has the request in its hands: it is new, or leaving its queue.
    pub(crate) unsafe fn enter(this: &Ref<Self>, queue: &Ref<Queue>) -> Result<Option<Ref<Queue>>, NTSTATUS> {
        let mut guarded = queue.guarded.lock();
        if !guarded.state.accepts() {
            return Err(NTSTATUS::WDF_BUSY);
        }
        // SAFETY: the caller's promise: nobody else moves the request.
        let left = unsafe { (*this.kept_queue.get()).replace(queue.clone()) };
        this.queue.store(Queue::number(queue), Ordering::Release);
        let log = &this.any().globals().history;
        log.record(Event::RequestQueued, this.any().header().handle, Queue::number(queue), 0);
        // SAFETY: the entry is in no list, and lies in a request that lives until it is completed.
        unsafe { guarded.state.insert(this.entry.get()) };
        let power_managed = guarded.state.rules().power_managed;
        drop(guarded);
        if power_managed {
            crate::pnp::idle::touch(&queue.device);
        }
        Ok(left)
    }

    /// Takes the request out of its queue for good, after it has left it.
    ///
    /// # Safety
    /// As [`Request::enter`].
    pub(crate) unsafe fn forget_queue(&self) -> Option<Ref<Queue>> {
        self.queue.store(0, Ordering::Release);
        // SAFETY: the caller's promise.
        unsafe { (*self.kept_queue.get()).take() }
    }

    /// Whether the driver may use the request: it has it from a queue that has not got it back, or made it; and it is neither sent nor
    /// completed.
    pub(crate) fn is_drivers(&self) -> bool {
        if self.completed.load(Ordering::Acquire) || self.sent.lock().is_under_way() {
            return false;
        }
        // SAFETY: `with_queue` holds the lock that guards the entry.
        match self.with_queue(|_, _, entry| unsafe { (*entry).place }) {
            Some((_, place)) => place == Place::Presented,
            None => true,
        }
    }

    /// EvtRequestCancel, while the request is cancelable.
    pub(crate) fn cancel_callback(&self) -> PFN_WDF_REQUEST_CANCEL {
        let callback = self.cancel_callback.load(Ordering::Acquire);
        // SAFETY: null, or what `set_cancel_callback` stored; a nullable function pointer has the layout of a pointer.
        unsafe { core::mem::transmute::<*mut c_void, PFN_WDF_REQUEST_CANCEL>(callback) }
    }

    pub(crate) fn set_cancel_callback(&self, callback: PFN_WDF_REQUEST_CANCEL) {
        // SAFETY: a nullable function pointer has the layout of a pointer.
        let callback = unsafe { core::mem::transmute::<PFN_WDF_REQUEST_CANCEL, *mut c_void>(callback) };
        self.cancel_callback.store(callback, Ordering::Release);
    }
}
