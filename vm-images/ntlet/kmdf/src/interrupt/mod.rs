//! WDFINTERRUPT: the object, its ISR and what the ISR queues. Which line or message it gets is in [`assignment`], connecting and
//! enabling in [`connection`], what drivers call in [`functions`].

mod assignment;
mod connection;
pub(crate) mod functions;

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use wdf_sys::wdf::WDF_INTERRUPT_CONFIG;
use wdf_sys::wdm::KDPC;
use wdf_sys::wdm::functions::{KeFlushQueuedDpcs, KeInsertQueueDpc, KeRemoveQueueDpc};
use wdf_sys::{BOOLEAN, FALSE, KINTERRUPT, TRUE, WDFINTERRUPT};

use crate::deferral::Deferral;
use crate::device::Device;
use crate::lock::{DriverSpinLock, DriverWaitLock, OwnedLock, serialized};
use crate::object::{Body, Kind, Object, Ref};
use crate::sync::{self, AnyIrqlCell, SpinLock};
use crate::verifier;

use assignment::Assignment;
pub(crate) use assignment::{assign_resources, release_resources};
pub(crate) use connection::{disable_all, enable_all};

/// Body of a WDFINTERRUPT.
pub(crate) struct Interrupt {
    config: WDF_INTERRUPT_CONFIG,
    /// Guards the ISR where the driver gave no lock of its own.
    word: UnsafeCell<usize>,
    shared_lock: Option<Ref<DriverSpinLock>>,
    /// Guards a passive-level ISR.
    passive_lock: Option<Ref<DriverWaitLock>>,
    own_passive_lock: sync::Event,
    dpc: UnsafeCell<KDPC>,
    /// Passive-level ISR, and EvtInterruptWorkItem.
    isr_work: Deferral,
    work: Deferral,
    serialization: Option<OwnedLock>,
    assignment: AnyIrqlCell<Option<Assignment>>,
    kernel: AtomicPtr<KINTERRUPT>,
    /// EvtInterruptEnable was called, EvtInterruptDisable not yet.
    enabled: AtomicBool,
    connected_message: Message,
    /// IRQL before WdfInterruptAcquireLock; the holder's.
    held_irql: UnsafeCell<u8>,
    /// Created in EvtDevicePrepareHardware, with a resource of its own.
    own_resource: bool,
    policy: SpinLock<usize>,
}

// SAFETY: the cells are the kernel's to synchronise; the rest is atomic or behind locks.
unsafe impl Sync for Interrupt {}
// SAFETY: it moves only before it is initialised.
unsafe impl Send for Interrupt {}

impl Body for Interrupt {
    type Handle = WDFINTERRUPT;
    const KIND: Kind = Kind::Interrupt;

    fn before_cleanup(this: &Ref<Self>) {
        let _ = connection::disable(this);
        // SAFETY: initialised; at PASSIVE_LEVEL, where interrupts are cleaned up.
        unsafe {
            KeRemoveQueueDpc(this.dpc.get());
            KeFlushQueuedDpcs();
        }
        this.isr_work.wait();
        this.work.wait();
    }
}

impl Interrupt {
    fn is_passive(&self) -> bool {
        self.config.PassiveHandling != 0
    }

    fn device(this: &Ref<Self>) -> Option<Ref<Device>> {
        this.any().ancestor::<Device>()
    }

    fn kernel(&self) -> *mut KINTERRUPT {
        self.kernel.load(Ordering::Acquire)
    }

    /// The spin lock that the ISR runs under.
    fn lock_word(&self) -> *mut usize {
        self.shared_lock.as_ref().map_or(self.word.get(), |lock| lock.word())
    }

    fn acquire_passive(&self, globals: &crate::globals::Globals) {
        match &self.passive_lock {
            Some(lock) => {
                DriverWaitLock::acquire(lock, globals, None);
            }
            None => self.own_passive_lock.wait(),
        }
    }

    fn release_passive(&self, globals: &crate::globals::Globals) {
        match &self.passive_lock {
            Some(lock) => DriverWaitLock::release(lock, globals),
            None => self.own_passive_lock.set(),
        }
    }
}

/// The object behind a context pointer, without a counted reference: the ISR runs above the IRQL at which one could be given back.
///
/// # Safety
/// `context` is [`Ref::as_context`] of an interrupt that is connected, and so whole.
unsafe fn borrowed<'a>(context: *mut c_void) -> &'a Object<Interrupt> {
    // SAFETY: the caller's promise.
    unsafe { &*context.cast::<Object<Interrupt>>() }
}

unsafe extern "win64" fn service(_kernel: *mut KINTERRUPT, context: *mut c_void) -> BOOLEAN {
    // SAFETY: connected with the object as context; it disconnects before it goes.
    let object = unsafe { borrowed(context) };
    let interrupt = &object.body;
    if interrupt.is_passive() {
        // SAFETY: `run_isr` brackets its work, and the object waits for it before it goes.
        unsafe { queue_at_dispatch(interrupt) };
        return TRUE;
    }
    let message = interrupt.message();
    match interrupt.config.EvtInterruptIsr {
        Some(isr) => {
            let handle = handle_of(object);
            // SAFETY: the driver's ISR, at its DIRQL, holding its lock.
            verifier::guarded(object.header.globals, handle.addr(), isr as usize, || unsafe {
                isr(WDFINTERRUPT(handle), message)
            })
        }
        None => FALSE,
    }
}

fn handle_of(object: &Object<Interrupt>) -> *mut c_void {
    core::ptr::without_provenance_mut(object.header.handle)
}

/// Has the DPC queue the passive-level ISR: a worker cannot be queued above DISPATCH_LEVEL.
///
/// # Safety
/// The interrupt is connected.
unsafe fn queue_at_dispatch(interrupt: &Interrupt) {
    // SAFETY: an initialised DPC. Its first argument tells it that the ISR is still to run.
    unsafe { KeInsertQueueDpc(interrupt.dpc.get(), Later::Isr.argument(), null_mut()) };
}

/// What the DPC of an interrupt has a worker do instead of calling EvtInterruptDpc.
#[derive(Clone, Copy)]
enum Later {
    /// The ISR of a passive-level interrupt.
    Isr = 1,
    /// EvtInterruptWorkItem.
    WorkItem = 2,
}

impl Later {
    /// As the DPC's first argument.
    fn argument(self) -> *mut c_void {
        core::ptr::without_provenance_mut(self as usize)
    }
}

/// Has a worker run `routine` for the interrupt; `false` when that is to happen already.
fn queue_work(interrupt: &Ref<Interrupt>, work: &Deferral, routine: unsafe extern "win64" fn(*mut c_void)) -> bool {
    let counted = interrupt.clone().into_context();
    // SAFETY: the routines bracket their work; the counted reference keeps the object until they have run.
    let queued = unsafe { work.queue(routine, counted) };
    if !queued {
        // SAFETY: nobody took the reference over.
        drop(unsafe { Ref::<Interrupt>::from_context(counted) });
    }
    queued
}

impl Interrupt {
    /// Message number for the ISR. Read without the lock, which the ISR's IRQL forbids: the assignment does not change while connected.
    fn message(&self) -> u32 {
        self.connected_message.load()
    }
}

unsafe extern "win64" fn deferred(_dpc: *mut KDPC, context: *mut c_void, what: *mut c_void, _second: *mut c_void) {
    // SAFETY: the DPC belongs to the object, which waits for it before it goes.
    let interrupt = unsafe { Ref::<Interrupt>::borrow_context(context) };
    if what == Later::Isr.argument() {
        queue_work(&interrupt, &interrupt.isr_work, run_isr);
        return;
    }
    if what == Later::WorkItem.argument() {
        queue_work(&interrupt, &interrupt.work, run_work_item);
        return;
    }
    if let (Some(callback), Some(parent)) = (interrupt.config.EvtInterruptDpc, interrupt.any().parent()) {
        serialized(interrupt.serialization.as_ref(), || {
            // SAFETY: the driver's callback, at DISPATCH_LEVEL, with its own objects.
            interrupt.any().guarded(callback as usize, || unsafe { callback(interrupt.handle(), parent.handle()) });
        });
    }
}

unsafe extern "win64" fn run_isr(context: *mut c_void) {
    // SAFETY: the reference that `deferred` counted.
    let interrupt = unsafe { Ref::<Interrupt>::from_context(context) };
    interrupt.isr_work.begin();
    if let Some(isr) = interrupt.config.EvtInterruptIsr
        && !interrupt.kernel().is_null()
    {
        let globals = interrupt.any().globals();
        interrupt.acquire_passive(globals);
        // SAFETY: the driver's ISR, at PASSIVE_LEVEL, holding its lock.
        let _ = interrupt.any().guarded(isr as usize, || unsafe { isr(interrupt.handle(), interrupt.message()) });
        interrupt.release_passive(globals);
    }
    interrupt.isr_work.end();
}

unsafe extern "win64" fn run_work_item(context: *mut c_void) {
    // SAFETY: the reference that WdfInterruptQueueWorkItemForIsr counted.
    let interrupt = unsafe { Ref::<Interrupt>::from_context(context) };
    interrupt.work.begin();
    if let (Some(callback), Some(parent)) = (interrupt.config.EvtInterruptWorkItem, interrupt.any().parent()) {
        serialized(interrupt.serialization.as_ref(), || {
            // SAFETY: the driver's callback, at PASSIVE_LEVEL, with its own objects.
            interrupt.any().guarded(callback as usize, || unsafe { callback(interrupt.handle(), parent.handle()) });
        });
    }
    interrupt.work.end();
}

/// Message number of a connected interrupt, for the ISR.
#[derive(Default)]
struct Message(core::sync::atomic::AtomicU32);

impl Message {
    fn load(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn store(&self, message: u32) {
        self.0.store(message, Ordering::Relaxed);
    }
}
