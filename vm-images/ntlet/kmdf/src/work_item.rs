//! WDFWORKITEM.

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, Ordering};

use wdf_sys::wdf::{WDF_EXECUTION_LEVEL, WDF_OBJECT_ATTRIBUTES, WDF_WORKITEM_CONFIG};
use wdf_sys::{BOOLEAN, NTSTATUS, WDFOBJECT, WDFWORKITEM};

use crate::call::ddi;
use crate::deferral::Deferral;
use crate::device::Device;
use crate::lock::{OwnedLock, serialization_of, serialized};
use crate::object::attributes::Rules;
use crate::object::{AnyRef, Attributes, Body, Kind, Ref};
use crate::sync::{DISPATCH_LEVEL, PASSIVE_LEVEL};
use crate::verifier::{self, Rule};

/// Body of a WDFWORKITEM.
pub(crate) struct WorkItem {
    config: WDF_WORKITEM_CONFIG,
    deferral: Deferral,
    serialization: Option<OwnedLock>,
    closed: AtomicBool,
}

impl Body for WorkItem {
    type Handle = WDFWORKITEM;
    const KIND: Kind = Kind::WorkItem;

    fn before_cleanup(this: &Ref<Self>) {
        this.closed.store(true, Ordering::Release);
        // A work item that is deleted by its own callback cannot wait for itself; the reference of `run` keeps it.
        if !this.deferral.is_current_thread() {
            this.deferral.wait();
        }
    }
}

unsafe extern "win64" fn run(context: *mut c_void) {
    // SAFETY: the reference that WdfWorkItemEnqueue counted for this run.
    let item = unsafe { Ref::<WorkItem>::from_context(context) };
    item.deferral.begin();
    if let Some(callback) = item.config.EvtWorkItemFunc {
        serialized(item.serialization.as_ref(), || {
            // SAFETY: the driver's callback, at PASSIVE_LEVEL with its own object.
            item.any().guarded(callback as usize, || unsafe { callback(item.handle()) });
        });
    }
    item.deferral.end();
}

/// The lock of a callback that runs at PASSIVE_LEVEL on behalf of `parent`.
///
/// # Errors
/// `WDF_INCOMPATIBLE_EXECUTION_LEVEL` when the parent's callbacks may run at DISPATCH_LEVEL and are serialised.
pub(crate) fn passive_serialization(parent: &AnyRef, automatic: BOOLEAN) -> Result<Option<OwnedLock>, NTSTATUS> {
    if automatic == 0 {
        return Ok(None);
    }
    let lock = serialization_of(parent);
    if lock.is_some() && parent.execution_level() != WDF_EXECUTION_LEVEL::WdfExecutionLevelPassive {
        return Err(NTSTATUS::WDF_INCOMPATIBLE_EXECUTION_LEVEL);
    }
    Ok(lock)
}

ddi! {
    fn WdfWorkItemCreate(call, config: *mut WDF_WORKITEM_CONFIG, attributes: *mut WDF_OBJECT_ATTRIBUTES, item: *mut WDFWORKITEM) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write(item, WDFWORKITEM::NULL);
        let created = call.sized(config, &[]).and_then(|config| {
            if config.EvtWorkItemFunc.is_none() {
                return Err(NTSTATUS::INVALID_PARAMETER);
            }
            let attributes = Attributes::read(call, attributes, Rules::PARENT_REQUIRED)?;
            let parent = attributes.parent.as_ref().ok_or(NTSTATUS::WDF_PARENT_NOT_SPECIFIED)?;
            if parent.ancestor::<Device>().is_none() {
                return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
            }
            let serialization = passive_serialization(parent, config.AutomaticSerialization)?;
            let body = WorkItem { config, deferral: Deferral::uninitialized(), serialization, closed: AtomicBool::new(false) };
            crate::object::create(call.globals, &attributes, None, body)
        });
        if let Ok(created) = &created {
            created.deferral.initialize();
        }
        call.created(item, created)
    }

    fn WdfWorkItemEnqueue(call, item: WDFWORKITEM) {
        call.irql_at_most(DISPATCH_LEVEL);
        let item = call.object::<WorkItem>(item);
        if item.closed.load(Ordering::Acquire) {
            if call.globals.verifies() {
                verifier::violation(call.globals, Rule::WrongState, item.any().raw() as usize, format_args!(
                    "WdfWorkItemEnqueue of a work item that is being deleted"));
            }
            return;
        }
        let context = item.clone().into_context();
        // SAFETY: `run` brackets its work; the counted reference keeps the item until it has run.
        if !unsafe { item.deferral.queue(run, context) } {
            // SAFETY: nobody took the reference over.
            drop(unsafe { Ref::<WorkItem>::from_context(context) });
        }
    }

    fn WdfWorkItemGetParentObject(call, item: WDFWORKITEM) -> WDFOBJECT {
        call.object::<WorkItem>(item).any().parent().map_or(WDFOBJECT::NULL, |parent| parent.handle())
    }

    fn WdfWorkItemFlush(call, item: WDFWORKITEM) {
        call.irql_at_most(PASSIVE_LEVEL);
        let item = call.object::<WorkItem>(item);
        if item.deferral.is_current_thread() {
            if call.globals.verifies() {
                verifier::violation(call.globals, Rule::WrongState, item.any().raw() as usize, format_args!(
                    "WdfWorkItemFlush from the work item's own callback would wait for ever"));
            }
            return;
        }
        item.deferral.wait();
    }
}
