//! The pump: asks a queue's state for the next step, takes it outside the lock, and goes on until there is none.
//!
//! It runs in whatever thread or DPC has changed something. It never runs twice on one stack for one queue: a callback that completes,
//! forwards or marks a request comes back here, finds the frame of the pump that called it, and leaves the work to that pump. A DPC that
//! interrupts a pump at PASSIVE_LEVEL is not kept waiting for it. So the depth of the stack is bounded by the number of queues. There is
//! one exception: a parallel queue presents what arrives while a handler of it runs, even if it was this handler who sent it ([`arrived`]);
//! a handler may wait for that.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::Ordering;

use wdf_sys::NTSTATUS;
use wdf_sys::wdf::WDF_IO_QUEUE_DISPATCH_TYPE;
use wdf_sys::wdm::IO_STACK_LOCATION;
use wdf_sys::wdm::constants::DELAYED_WORK_QUEUE;
use wdf_sys::wdm::functions::{ExQueueWorkItem, KeSetEvent};

use super::Queue;
use super::entry::Entry;
use super::present;
use super::state::{Notify, Step};
use crate::history::Event;
use crate::lock::{current_thread, serialization_of};
use crate::object::Ref;
use crate::request::{Request, complete};
use crate::sync::{DISPATCH_LEVEL, PASSIVE_LEVEL, irql};

/// A pump that runs; on its stack.
pub(crate) struct Frame {
    thread: usize,
    /// IRQL at which it calls the driver.
    irql: u8,
    next: *mut Frame,
}

/// The pumps that run for one queue.
pub(crate) struct Frames(*mut Frame);

impl Frames {
    pub(crate) const fn new() -> Self {
        Self(null_mut())
    }

    /// Whether a pump further up this stack will see to what is to be done. A frame of this thread at a lower IRQL is that of a thread
    /// which we, a DPC, have interrupted, or of a callback that has raised the IRQL.
    fn covers(&self, thread: usize, irql: u8) -> bool {
        let mut at = self.0;
        while !at.is_null() {
            // SAFETY: a frame is in the list as long as its pump runs.
            let frame = unsafe { &*at };
            if frame.thread == thread && frame.irql >= irql {
                return true;
            }
            at = frame.next;
        }
        false
    }

    /// How many pumps run on this stack.
    fn depth(&self, thread: usize) -> usize {
        let (mut at, mut depth) = (self.0, 0);
        while !at.is_null() {
            // SAFETY: as above.
            let frame = unsafe { &*at };
            depth += usize::from(frame.thread == thread);
            at = frame.next;
        }
        depth
    }

    /// Enters a frame.
    ///
    /// # Safety
    /// It stays where it is until [`Frames::remove`].
    unsafe fn push(&mut self, frame: *mut Frame) {
        // SAFETY: the caller's promise.
        unsafe { (*frame).next = self.0 };
        self.0 = frame;
    }

    /// Takes a frame out.
    fn remove(&mut self, frame: *mut Frame) {
        let mut at = &raw mut self.0;
        // SAFETY: `at` is the head or the `next` of a frame in the list.
        unsafe {
            while !(*at).is_null() {
                if *at == frame {
                    *at = (*frame).next;
                    return;
                }
                at = &raw mut (**at).next;
            }
        }
    }
}

/// What to do, with references on what it concerns.
enum Task {
    Nothing,
    Request(Step, Ref<Request>),
    /// With the stack location as it is while nobody can complete the request.
    Present(Ref<Request>, IO_STACK_LOCATION),
    Notify(Notify),
    Ready(Notify),
}

/// Most pumps of one queue on one stack: a driver whose handlers send to their own queue without end is stopped here.
const DEEPEST: usize = 6;

/// Does what the queue has to do.
pub(crate) fn pump(queue: &Ref<Queue>) {
    run(queue, 1);
}

/// As [`pump`], for a request that has just come in.
pub(crate) fn arrived(queue: &Ref<Queue>) {
    let is_parallel = queue.config.DispatchType == WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel;
    run(queue, if is_parallel { DEEPEST } else { 1 });
}

/// Does what the queue has to do, unless so many pumps of it on this stack will see to it.
fn run(queue: &Ref<Queue>, deepest: usize) {
    if queue.any().is_passive() && irql() > PASSIVE_LEVEL {
        return pump_at_passive(queue);
    }
    let lock = serialization_of(queue.any());
    if lock.is_some() {
        complete_untold(queue);
    }
    if let Some(lock) = &lock
        && lock.is_held_by_me()
    {
        // Whoever holds it runs the pump on release.
        lock.deferred.store(true, Ordering::Release);
        return;
    }
    let at = if lock.as_ref().is_some_and(|lock| !lock.is_passive()) { DISPATCH_LEVEL } else { irql() };
    let mut frame = Frame { thread: current_thread(), irql: at, next: null_mut() };
    {
        let mut guarded = queue.guarded.lock();
        // One pump at a time calls a driver whose callbacks are synchronised, so another one would only wait for it.
        let is_left_to_another = lock.is_some() && !guarded.frames.0.is_null();
        if is_left_to_another || guarded.frames.covers(frame.thread, frame.irql) && guarded.frames.depth(frame.thread) >= deepest
        {
            return;
        }
        // SAFETY: `next_task` takes the frame out before it says that nothing is left, and the loop below ends only then.
        unsafe { guarded.frames.push(&raw mut frame) };
    }
    loop {
        if let Some(lock) = &lock {
            lock.acquire();
        }
        let task = next_task(queue, &raw mut frame);
        let internal = matches!(&task, Task::Nothing | Task::Request(Step::CompleteCancelled(_), _));
        if let (Some(lock), true) = (&lock, internal) {
            lock.release();
        }
        if matches!(task, Task::Nothing) {
            return;
        }
        take(queue, task);
        if let (Some(lock), false) = (&lock, internal) {
            lock.release();
        }
    }
}

/// Completes cancelled requests that the driver is not told of. Whoever cancels one goes on, whatever lock a handler holds.
fn complete_untold(queue: &Ref<Queue>) {
    loop {
        let (step, request) = {
            let mut guarded = queue.guarded.lock();
            match guarded.state.next_untold() {
                Step::CompleteCancelled(entry) => (Step::CompleteCancelled(entry), request_of(entry)),
                _ => return,
            }
        };
        take(queue, Task::Request(step, request));
    }
}

/// The next task; when there is none, the frame is gone.
fn next_task(queue: &Ref<Queue>, frame: *mut Frame) -> Task {
    let mut guarded = queue.guarded.lock();
    let step = guarded.state.next();
    let entry = match step {
        Step::None => {
            guarded.frames.remove(frame);
            return Task::Nothing;
        }
        Step::Notify(notify) => return Task::Notify(notify),
        Step::Ready(notify) => return Task::Ready(notify),
        Step::CallCancel(entry)
        | Step::CallCancelledOnQueue(entry)
        | Step::CompleteCancelled(entry)
        | Step::Stop(entry, _)
        | Step::Resume(entry) => entry,
        Step::Present(entry) => {
            let request = request_of(entry);
            // SAFETY: the request has just become the driver's, who does not know it yet; nobody completes it while the lock is held.
            let stack = unsafe { *request.stack() };
            return Task::Present(request, stack);
        }
    };
    Task::Request(step, request_of(entry))
}

/// The request that an entry lies in.
fn request_of(entry: *mut Entry) -> Ref<Request> {
    // SAFETY: the caller holds the queue's lock, and the entry is the queue's, so its request has not been completed and is there.
    unsafe { Ref::borrow_context((*entry).request) }
}

fn take(queue: &Ref<Queue>, task: Task) {
    let handle = Queue::number(queue);
    let (step, request) = match task {
        Task::Nothing => return,
        Task::Notify(notify) => return tell(queue, notify),
        Task::Ready(notify) => return tell(queue, notify),
        Task::Present(request, stack) => return present::present(queue, &request, &stack),
        Task::Request(step, request) => (step, request),
    };
    let log = |event, a| queue.any().globals().history.record(event, request.any().header().handle, a, 0);
    match step {
        Step::CallCancel(_) => {
            log(Event::RequestCancelCalled, 0);
            present::cancel(queue, &request);
        }
        Step::CallCancelledOnQueue(_) => {
            log(Event::RequestCanceledOnQueue, handle);
            present::cancelled_on_queue(queue, &request);
        }
        Step::CompleteCancelled(_) => {
            log(Event::RequestCanceledOnQueue, handle);
            complete::by_framework(&request, NTSTATUS::CANCELLED, 0);
            queue.guarded.lock().state.completed_cancelled();
        }
        Step::Stop(entry, flags) => {
            log(Event::RequestStop, flags as usize);
            present::stop(queue, &request, flags);
            let mut guarded = queue.guarded.lock();
            if request.is_in(queue) {
                // SAFETY: the request is in this queue, whose lock is held.
                unsafe { guarded.state.stop_returned(entry) };
            }
        }
        Step::Resume(_) => {
            log(Event::RequestResumed, 0);
            present::resume(queue, &request);
        }
        Step::None | Step::Notify(_) | Step::Ready(_) | Step::Present(_) => {}
    }
}

/// Tells a waiting thread, or the driver, or nobody.
fn tell(queue: &Ref<Queue>, notify: Notify) {
    if !notify.event.is_null() {
        // SAFETY: the waiting thread keeps its event until it has been set.
        unsafe { KeSetEvent(notify.event, 0, wdf_sys::FALSE) };
    }
    if let Some(callback) = notify.callback {
        present::guarded_call(queue, callback as usize, || {
            // SAFETY: the driver's callback, called as its page says.
            unsafe { callback(queue.handle(), notify.context) }
        });
    }
}

/// Runs the pump from a worker thread.
fn pump_at_passive(queue: &Ref<Queue>) {
    if !queue.claim_work() {
        return;
    }
    let item = queue.work();
    let context = queue.clone().into_context();
    // SAFETY: the item is the queue's own, which the counted reference keeps until the routine runs; `claim_work` says that it is free.
    unsafe {
        (*item).WorkerRoutine = Some(work);
        (*item).Parameter = context;
        ExQueueWorkItem(item, DELAYED_WORK_QUEUE);
    }
}

unsafe extern "win64" fn work(parameter: *mut c_void) {
    // SAFETY: `pump_at_passive` put a counted queue there.
    let queue = unsafe { Ref::<Queue>::from_context(parameter) };
    queue.work_begins();
    pump(&queue);
}
