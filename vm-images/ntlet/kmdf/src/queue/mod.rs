//! WDFQUEUE: the object around [`state::State`].
//!
//! Locks, in the order in which they may be taken together: a callback lock (of device or queue, held while the driver's callbacks run),
//! then a queue's own spin lock, then a request's `sent` lock. Two queues' spin locks are never held together. No spin lock is held while
//! a callback, `IofCallDriver` or `IofCompleteRequest` runs.
//!
//! - [`state`], [`entry`], [`list`]: the pure half.
//! - [`pump`]: takes the steps that the state asks for.
//! - [`present`]: which of the driver's callbacks a request goes to.
//! - [`functions`], [`changes`]: the DDI. [`power`]: what PnP and power call.
//! - [`reserve`]: requests made beforehand, for when memory has run out.

pub(crate) mod changes;
pub(crate) mod entry;
pub(crate) mod functions;
pub(crate) mod list;
pub(crate) mod power;
pub(crate) mod present;
pub(crate) mod pump;
pub(crate) mod reserve;
pub(crate) mod state;

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use wdf_sys::WDFQUEUE;
use wdf_sys::wdf::WDF_IO_QUEUE_CONFIG;
use wdf_sys::wdm::WORK_QUEUE_ITEM;

use crate::device::Device;
use crate::lock::CallbackLock;
use crate::object::{AnyRef, Body, Kind, Ref, handles};
use crate::sync::SpinLock;
use state::State;

/// What the queue's spin lock guards.
pub(crate) struct Guarded {
    pub(crate) state: State,
    frames: pump::Frames,
}

/// The body of a WDFQUEUE.
pub(crate) struct Queue {
    pub(crate) device: Ref<Device>,
    pub(crate) config: WDF_IO_QUEUE_CONFIG,
    pub(crate) guarded: SpinLock<Guarded>,
    /// The lock of scope "queue"; used when the queue's synchronization scope says so.
    own_lock: CallbackLock,
    /// Runs the pump at PASSIVE_LEVEL.
    work: UnsafeCell<WORK_QUEUE_ITEM>,
    work_queued: AtomicBool,
    pub(crate) reserve: reserve::Reserve,
    /// Handle of the next queue of the device, 0 for none.
    pub(crate) next: AtomicUsize,
}

// SAFETY: `guarded` is behind a lock; the work item belongs to the kernel while it is queued, and to whoever has claimed it
// before; the rest is constant or atomic.
unsafe impl Sync for Queue {}
// SAFETY: as above; the queue moves only before it is initialised in place.
unsafe impl Send for Queue {}
// SAFETY: the pointers inside are to entries, events and frames that the state's contract keeps valid, whichever thread holds the lock.
unsafe impl Send for Guarded {}

impl Body for Queue {
    type Handle = WDFQUEUE;
    const KIND: Kind = Kind::Queue;

    fn callback_lock(&self) -> Option<&CallbackLock> {
        Some(&self.own_lock)
    }

    fn before_children(this: &Ref<Self>) {
        // Nothing new comes in, what waits is cancelled.
        {
            let mut guarded = this.guarded.lock();
            let _ = guarded.state.begin(state::Change::Purge, None);
        }
        reserve::cancel_waiting(this, core::ptr::null_mut());
        pump::pump(this);
    }

    fn after_cleanup(this: &Ref<Self>) {
        this.device.io.forget_queue(this);
    }
}

impl Queue {
    /// The parts of a queue; [`Queue::initialize`] makes it usable where it is to stay.
    pub(crate) fn new(device: Ref<Device>, config: WDF_IO_QUEUE_CONFIG, state: State) -> Self {
        Self {
            device,
            config,
            guarded: SpinLock::new(Guarded { state, frames: pump::Frames::new() }),
            own_lock: CallbackLock::uninitialized(),
            work: UnsafeCell::new(WORK_QUEUE_ITEM::zeroed()),
            work_queued: AtomicBool::new(false),
            reserve: reserve::Reserve::new(),
            next: AtomicUsize::new(0),
        }
    }

    /// Makes the object usable. Called once, before anyone else knows it.
    pub(crate) fn initialize(this: &Ref<Self>) {
        this.own_lock.initialize(this.any().is_passive());
    }

    /// The queue of a handle that the framework keeps as a number.
    pub(crate) fn of_handle(handle: usize) -> Option<Ref<Self>> {
        let header = handles::acquire(handle)?;
        // SAFETY: `acquire` counted the reference.
        unsafe { AnyRef::from_counted(header) }.downcast().ok()
    }

    /// The handle as a number.
    pub(crate) fn number(this: &Ref<Self>) -> usize {
        this.any().header().handle
    }

    pub(crate) fn work(&self) -> *mut WORK_QUEUE_ITEM {
        self.work.get()
    }

    pub(crate) fn claim_work(&self) -> bool {
        !self.work_queued.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn work_begins(&self) {
        self.work_queued.store(false, Ordering::Release);
    }
}
