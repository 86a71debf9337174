//! WDFDPC.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};

use wdf_sys::wdf::{WDF_DPC_CONFIG, WDF_OBJECT_ATTRIBUTES};
use wdf_sys::wdm::KDPC;
use wdf_sys::wdm::functions::{KeFlushQueuedDpcs, KeInitializeDpc, KeInsertQueueDpc, KeRemoveQueueDpc};
use wdf_sys::{BOOLEAN, NTSTATUS, WDFDPC, WDFOBJECT};

use crate::call::ddi;
use crate::device::Device;
use crate::lock::{OwnedLock, serialization_of, serialized};
use crate::object::attributes::Rules;
use crate::object::{AnyRef, Attributes, Body, Kind, Ref};
use crate::sync::{DISPATCH_LEVEL, PASSIVE_LEVEL};

/// Body of a WDFDPC.
pub(crate) struct Dpc {
    config: WDF_DPC_CONFIG,
    kernel: UnsafeCell<KDPC>,
    serialization: Option<OwnedLock>,
    /// Deletion has begun: it is queued no more.
    closed: AtomicBool,
}

// SAFETY: the kernel's DPC object is the kernel's to synchronise; the rest does not change or is atomic.
unsafe impl Sync for Dpc {}
// SAFETY: it moves only before it is initialised.
unsafe impl Send for Dpc {}

impl Body for Dpc {
    type Handle = WDFDPC;
    const KIND: Kind = Kind::Dpc;

    fn before_cleanup(this: &Ref<Self>) {
        this.closed.store(true, Ordering::Release);
        // SAFETY: an initialised DPC; after the flush its routine runs nowhere. Cleanup of DPCs is at PASSIVE_LEVEL.
        unsafe {
            KeRemoveQueueDpc(this.kernel.get());
            KeFlushQueuedDpcs();
        }
    }
}

unsafe extern "win64" fn run(_dpc: *mut KDPC, context: *mut c_void, _first: *mut c_void, _second: *mut c_void) {
    // SAFETY: the DPC belongs to the object, which waits for it before it goes.
    let dpc = unsafe { Ref::<Dpc>::borrow_context(context) };
    if let Some(callback) = dpc.config.EvtDpcFunc {
        serialized(dpc.serialization.as_ref(), || {
            // SAFETY: the driver's callback, at DISPATCH_LEVEL with its own object.
            dpc.any().guarded(callback as usize, || unsafe { callback(dpc.handle()) });
        });
    }
}

/// The lock of a callback that runs at DISPATCH_LEVEL on behalf of `parent`.
///
/// # Errors
/// `WDF_INCOMPATIBLE_EXECUTION_LEVEL` when the parent's callbacks run at PASSIVE_LEVEL.
pub(crate) fn dispatch_serialization(parent: &AnyRef, automatic: BOOLEAN) -> Result<Option<OwnedLock>, NTSTATUS> {
    if automatic == 0 {
        return Ok(None);
    }
    if parent.is_passive() {
        return Err(NTSTATUS::WDF_INCOMPATIBLE_EXECUTION_LEVEL);
    }
    Ok(serialization_of(parent))
}

ddi! {
    fn WdfDpcCreate(call, config: *mut WDF_DPC_CONFIG, attributes: *mut WDF_OBJECT_ATTRIBUTES, dpc: *mut WDFDPC) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write(dpc, WDFDPC::NULL);
        let created = call.sized(config, &[]).and_then(|config| {
            if config.EvtDpcFunc.is_none() {
                return Err(NTSTATUS::INVALID_PARAMETER);
            }
            let attributes = Attributes::read(call, attributes, Rules::PARENT_REQUIRED)?;
            let parent = attributes.parent.as_ref().ok_or(NTSTATUS::WDF_PARENT_NOT_SPECIFIED)?;
            if parent.ancestor::<Device>().is_none() {
                return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
            }
            let serialization = dispatch_serialization(parent, config.AutomaticSerialization)?;
            let body = Dpc { config, kernel: UnsafeCell::new(KDPC::zeroed()), serialization, closed: AtomicBool::new(false) };
            crate::object::create(call.globals, &attributes, None, body)
        });
        if let Ok(created) = &created {
            // SAFETY: the DPC stays inside the object; the context is the object itself.
            unsafe { KeInitializeDpc(created.kernel.get(), Some(run), created.as_context()) };
        }
        call.created(dpc, created)
    }

    fn WdfDpcEnqueue(call, dpc: WDFDPC) -> BOOLEAN {
        let dpc = call.object::<Dpc>(dpc);
        if dpc.closed.load(Ordering::Acquire) {
            return 0;
        }
        // SAFETY: an initialised DPC.
        unsafe { KeInsertQueueDpc(dpc.kernel.get(), null_mut(), null_mut()) }
    }

    fn WdfDpcCancel(call, dpc: WDFDPC, wait: BOOLEAN) -> BOOLEAN {
        call.irql_at_most(if wait != 0 { PASSIVE_LEVEL } else { DISPATCH_LEVEL });
        let dpc = call.object::<Dpc>(dpc);
        // SAFETY: an initialised DPC.
        let removed = unsafe { KeRemoveQueueDpc(dpc.kernel.get()) };
        if wait != 0 {
            // SAFETY: waits for routines that run; at PASSIVE_LEVEL, as the page demands.
            unsafe { KeFlushQueuedDpcs() };
        }
        removed
    }

    fn WdfDpcGetParentObject(call, dpc: WDFDPC) -> WDFOBJECT {
        call.object::<Dpc>(dpc).any().parent().map_or(WDFOBJECT::NULL, |parent| parent.handle())
    }

    fn WdfDpcWdmGetDpc(call, dpc: WDFDPC) -> *mut KDPC {
        call.object::<Dpc>(dpc).kernel.get()
    }
}
