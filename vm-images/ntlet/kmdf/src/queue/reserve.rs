//! Guaranteed forward progress: requests that a queue has made beforehand, for IRPs that come when memory has run out.
//!
//! An IRP for which no request can be made gets one of these, if the queue's policy wants it to. If all are in use it waits, cancelable,
//! until one has been completed. A reserved request is a child of its queue; it, its contexts, and what the driver has hung on it live
//! until the queue is deleted. While it is nobody's it is on the shelf, marked as completed.

use core::cell::UnsafeCell;
use core::ptr::{addr_of_mut, null_mut};
use core::sync::atomic::{AtomicBool, Ordering};

use wdf_sys::wdf::{
    PFN_WDF_IO_ALLOCATE_REQUEST_RESOURCES, PFN_WDF_IO_WDM_IRP_FOR_FORWARD_PROGRESS, WDF_IO_FORWARD_PROGRESS_ACTION,
    WDF_IO_FORWARD_PROGRESS_RESERVED_POLICY as Policy, WDF_IO_QUEUE_FORWARD_PROGRESS_POLICY,
};
use wdf_sys::wdm::constants::{IRP_MJ_CREATE, IRP_PAGING_IO};
use wdf_sys::wdm::functions::IoReleaseCancelSpinLock;
use wdf_sys::wdm::{DEVICE_OBJECT, FILE_OBJECT, IRP, current_stack_location, mark_irp_pending};
use wdf_sys::{NTSTATUS, WDFQUEUE};

use super::Queue;
use super::entry::{Entry, PLACE};
use super::list::{Link, Linked, List};
use crate::call::{Call, ddi};
use crate::object::Ref;
use crate::request::{Request, complete, irp};
use crate::sync::{PASSIVE_LEVEL, SpinLock};
use crate::{file, io};

/// The list of IRPs that wait for a reserved request.
const WAITING: usize = 0;

// SAFETY: the link fills three of the four words that belong to whoever holds the IRP, always the same ones. The fourth is the owner's that
// `irp::arm` writes.
unsafe impl Linked<WAITING> for IRP {
    unsafe fn link(element: *mut Self) -> *mut Link<Self> {
        const { assert!(size_of::<Link<IRP>>() <= 3 * size_of::<usize>()) };
        // SAFETY: the caller's promise.
        unsafe { addr_of_mut!((*element).Tail.Overlay.DriverContext).cast() }
    }
}

/// What the driver has asked for.
#[derive(Clone, Copy)]
struct Rules {
    policy: Policy,
    examine: PFN_WDF_IO_WDM_IRP_FOR_FORWARD_PROGRESS,
    allocate: PFN_WDF_IO_ALLOCATE_REQUEST_RESOURCES,
}

/// Requests without an IRP, and IRPs without a request.
struct Shelf {
    free: List<Entry, PLACE>,
    waiting: List<IRP, WAITING>,
    /// Someone hands out what is free; whoever puts something here leaves that to him.
    is_served: bool,
}

// SAFETY: the pointers inside are to entries of requests that are children of the queue, and to IRPs that the queue holds.
unsafe impl Send for Shelf {}

/// A queue's reserve, if the driver has asked for one.
pub(crate) struct Reserve {
    /// Whether `rules` has been written; it is so once.
    is_set: AtomicBool,
    is_claimed: AtomicBool,
    rules: UnsafeCell<Rules>,
    shelf: SpinLock<Shelf>,
}

// SAFETY: `rules` is written once, by whoever has claimed it, before `is_set` says that it may be read.
unsafe impl Sync for Reserve {}

impl Reserve {
    /// None.
    pub(crate) const fn new() -> Self {
        Self {
            is_set: AtomicBool::new(false),
            is_claimed: AtomicBool::new(false),
            rules: UnsafeCell::new(Rules { policy: Policy::WdfIoForwardProgressInvalidPolicy, examine: None, allocate: None }),
            shelf: SpinLock::new(Shelf { free: List::new(), waiting: List::new(), is_served: false }),
        }
    }

    /// Whether the queue has one.
    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    fn rules(&self) -> Rules {
        // SAFETY: written before `is_set`, which the caller has seen.
        unsafe { *self.rules.get() }
    }
}

ddi! {
    fn WdfIoQueueAssignForwardProgressPolicy(call, queue: WDFQUEUE, policy: *mut WDF_IO_QUEUE_FORWARD_PROGRESS_POLICY) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let queue = call.object::<Queue>(queue);
        let assigned = call.sized(policy, &[]).and_then(|policy| assign(call, &queue, &policy));
        assigned.map_or_else(|status| status, |()| NTSTATUS::SUCCESS)
    }
}

fn assign(call: &Call, queue: &Ref<Queue>, given: &WDF_IO_QUEUE_FORWARD_PROGRESS_POLICY) -> Result<(), NTSTATUS> {
    let policy = given.ForwardProgressReservedPolicy;
    // SAFETY: the settings have but this member.
    let examine = unsafe { given.ForwardProgressReservePolicySettings.Policy.ExaminePolicy.EvtIoWdmIrpForForwardProgress };
    let is_known = match policy {
        Policy::WdfIoForwardProgressReservedPolicyAlwaysUseReservedRequest
        | Policy::WdfIoForwardProgressReservedPolicyPagingIO => true,
        Policy::WdfIoForwardProgressReservedPolicyUseExamine => examine.is_some(),
        _ => false,
    };
    if given.TotalForwardProgressRequests == 0 || !is_known {
        crate::report!(
            call.globals,
            "{}: no requests to reserve, or a policy that is not known or lacks its callback",
            call.name()
        );
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    if queue.reserve.is_claimed.swap(true, Ordering::AcqRel) {
        crate::report!(call.globals, "{}: the queue has a policy already", call.name());
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    let mut made = List::new();
    let filled = fill(queue, given, &mut made);
    if let Err(status) = filled {
        crate::report!(call.globals, "{}: {status} after {} requests", call.name(), made.len());
        while let Some(entry) = made.pop_front() {
            Request::delete(&request_of(entry));
        }
        queue.reserve.is_claimed.store(false, Ordering::Release);
        return filled;
    }
    // SAFETY: claimed above, and read by nobody before `is_set`.
    unsafe { *queue.reserve.rules.get() = Rules { policy, examine, allocate: given.EvtIoAllocateRequestResources } };
    queue.reserve.shelf.lock().free = made;
    queue.reserve.is_set.store(true, Ordering::Release);
    Ok(())
}

/// Makes the requests, and has the driver make what it will need with each.
fn fill(queue: &Ref<Queue>, given: &WDF_IO_QUEUE_FORWARD_PROGRESS_POLICY, made: &mut List<Entry, PLACE>) -> Result<(), NTSTATUS> {
    for _ in 0..given.TotalForwardProgressRequests {
        let request = Request::in_reserve(queue)?;
        // SAFETY: the request is new, so its entry is in no list; it lives until it is discarded or its queue is deleted.
        unsafe { made.push_back(request.entry()) };
        if let Some(callback) = given.EvtIoAllocateResourcesForReservedRequest {
            let status = queue.any().guarded(callback as usize, || {
                // SAFETY: the driver's own callback, called as its page says.
                unsafe { callback(queue.handle(), request.handle()) }
            });
            status.ok()?;
        }
    }
    Ok(())
}

/// The request that an entry lies in.
fn request_of(entry: *mut Entry) -> Ref<Request> {
    // SAFETY: an entry on the shelf, or on its way there, is that of a reserved request, which lives as long as its queue.
    unsafe { Ref::borrow_context((*entry).request) }
}

/// The request for an IRP of a queue with a reserve: the one that was `made` for it, if the driver has what it needs for that; else one
/// from the reserve. `None`: the IRP, which is marked pending, waits or has been refused.
pub(crate) fn or_reserved(queue: &Ref<Queue>, made: Result<Ref<Request>, NTSTATUS>, irp: *mut IRP) -> Option<Ref<Request>> {
    let rules = queue.reserve.rules();
    if let Ok(request) = made {
        let allocated = rules.allocate.is_none_or(|callback| {
            // SAFETY: the driver's own callback, called as its page says.
            queue.any().guarded(callback as usize, || unsafe { callback(queue.handle(), request.handle()) }).is_success()
        });
        if allocated {
            return Some(request);
        }
        let _ = complete::release_irp(&request, false);
    }
    // SAFETY: the IRP has come to the queue's device, and nobody else has it.
    unsafe { mark_irp_pending(irp) };
    if !wants_reserved(queue, &rules, irp) {
        refuse(queue, irp, NTSTATUS::INSUFFICIENT_RESOURCES);
        return None;
    }
    let mut shelf = queue.reserve.shelf.lock();
    // Whoever came before is served before.
    if shelf.waiting.is_empty()
        && let Some(entry) = shelf.free.pop_front()
    {
        drop(shelf);
        let request = request_of(entry);
        take(queue, &request, irp);
        return Some(request);
    }
    // SAFETY: the IRP is ours, and in no list.
    let is_cancelled = unsafe { wait(queue, &mut shelf, irp) };
    drop(shelf);
    if is_cancelled {
        refuse(queue, irp, NTSTATUS::CANCELLED);
    }
    None
}

/// Completes an IRP that is marked pending, so that nobody waits for what its dispatch routine returns. What would have been opened by it
/// is not.
fn refuse(queue: &Ref<Queue>, irp: *mut IRP, status: NTSTATUS) {
    // SAFETY: the IRP has come to the queue's device, and is ours.
    let is_create = unsafe { (*current_stack_location(irp)).MajorFunction } == IRP_MJ_CREATE;
    if is_create && let Some(file) = file::of_irp(&queue.device, irp) {
        file::forget(&file);
    }
    let _ = io::refuse(irp, status);
}

/// Whether an IRP for which there is no request gets one of the reserve.
fn wants_reserved(queue: &Ref<Queue>, rules: &Rules, irp: *mut IRP) -> bool {
    match (rules.policy, rules.examine) {
        (Policy::WdfIoForwardProgressReservedPolicyUseExamine, Some(callback)) => {
            // SAFETY: the driver's own callback, called as its page says, with an IRP that is the framework's.
            let action = queue.any().guarded(callback as usize, || unsafe { callback(queue.handle(), irp) });
            action == WDF_IO_FORWARD_PROGRESS_ACTION::WdfIoForwardProgressActionUseReservedRequest.0
        }
        // SAFETY: the IRP is ours.
        (Policy::WdfIoForwardProgressReservedPolicyPagingIO, _) => unsafe { (*irp).Flags & IRP_PAGING_IO != 0 },
        _ => true,
    }
}

/// Gives a request off the shelf to an IRP.
fn take(queue: &Ref<Queue>, request: &Ref<Request>, irp: *mut IRP) {
    let file = file::of_irp(&queue.device, irp);
    // SAFETY: the request came off the shelf, so it is nobody's; the IRP has come to its queue's device.
    unsafe { Request::take_from_reserve(request, irp, file) };
}

/// Has an IRP wait for a request. Whether it is cancelled already; then it does not wait.
///
/// # Safety
/// The IRP is ours, and in no list.
unsafe fn wait(queue: &Ref<Queue>, shelf: &mut Shelf, irp: *mut IRP) -> bool {
    // SAFETY: the caller's promise; the link is written before it is used.
    unsafe {
        <IRP as Linked<WAITING>>::link(irp).write(Link::new());
        shelf.waiting.push_back(irp);
        irp::arm(irp, cancelled, queue.clone().into_context());
        irp::is_cancelled(irp) && take_back(shelf, irp)
    }
}

/// Takes an IRP that waits off the list. `false`: its cancel routine is on its way, and does that.
///
/// # Safety
/// It is in the list.
unsafe fn take_back(shelf: &mut Shelf, irp: *mut IRP) -> bool {
    // SAFETY: the caller's promise; the reference was counted by `wait`, and whoever takes the IRP off gives it back.
    unsafe {
        let is_ours = irp::disarm(irp);
        if is_ours {
            shelf.waiting.remove(irp);
            drop(Ref::<Queue>::from_context(irp::owner(irp)));
        }
        is_ours
    }
}

unsafe extern "win64" fn cancelled(_device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: whoever could serve the IRP has to take the cancel routine back first, so it is in the list, and ours; the kernel has acquired
    // the cancel lock for this routine, which is to release it. The reference was counted by `wait`.
    let queue = unsafe {
        IoReleaseCancelSpinLock((*irp).CancelIrql);
        Ref::<Queue>::from_context(irp::owner(irp))
    };
    // SAFETY: as above.
    unsafe { queue.reserve.shelf.lock().waiting.remove(irp) };
    refuse(&queue, irp, NTSTATUS::CANCELLED);
}

/// Cancels the IRPs that wait, of one file or (null) of any.
pub(crate) fn cancel_waiting(queue: &Ref<Queue>, file: *mut FILE_OBJECT) {
    if !queue.reserve.is_set() {
        return;
    }
    while let Some(irp) = first_of(&mut queue.reserve.shelf.lock(), file) {
        refuse(queue, irp, NTSTATUS::CANCELLED);
    }
}

/// Takes the first IRP of a file, or (null) of any, that no canceller has.
fn first_of(shelf: &mut Shelf, file: *mut FILE_OBJECT) -> Option<*mut IRP> {
    let mut at = shelf.waiting.first();
    while !at.is_null() {
        // SAFETY: `at` is in the list, and so ours with our stack location current.
        unsafe {
            if (file.is_null() || (*current_stack_location(at)).FileObject == file) && take_back(shelf, at) {
                return Some(at);
            }
            at = shelf.waiting.after(at);
        }
    }
    None
}

/// A reserved request has been completed: it goes back to its queue's shelf, and an IRP that waits gets it.
pub(crate) fn give_back(request: &Ref<Request>) {
    let Some(queue) = request.home().filter(|_| request.any().is_alive()) else { return };
    // SAFETY: the request is completed, and has left its queue: it is nobody's, and its entry in no list.
    unsafe {
        Request::clear(request);
        queue.reserve.shelf.lock().free.push_back(request.entry());
    }
    serve(&queue);
}

/// Brings IRPs that wait and requests that are free together. Whoever comes here from what this does leaves the rest to it, so that no stack
/// grows with the number of IRPs.
fn serve(queue: &Ref<Queue>) {
    loop {
        let (irp, request) = {
            let mut shelf = queue.reserve.shelf.lock();
            if shelf.is_served || shelf.free.is_empty() {
                return;
            }
            let Some(irp) = first_of(&mut shelf, null_mut()) else { return };
            shelf.is_served = true;
            (irp, shelf.free.pop_front().map(request_of))
        };
        if let Some(request) = request {
            take(queue, &request, irp);
            // EvtIoInCallerContext is not called: this is no longer the caller's context.
            if let Err(status) = io::enqueue(&request, queue) {
                complete::by_framework(&request, status, 0);
            }
        }
        queue.reserve.shelf.lock().is_served = false;
    }
}
