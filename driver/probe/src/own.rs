//! Requests that the probe makes: who frees their IRPs, and hearing when they are destroyed.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use protocol::probe::Event;
use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::wdm::IRP;
use wdf_sys::wdm::functions::{IoAllocateIrp, IoFreeIrp};
use wdf_sys::{FALSE, NTSTATUS, WDFIOTARGET, WDFOBJECT, WDFREQUEST};

use crate::table;

/// The context of a request that the probe makes. All zeroes until it is filled in, which is before the handle is given away.
#[repr(C)]
struct Own {
    /// The number of the slot that it was made in, plus one. The slot may hold something else by the time it is destroyed.
    slot: AtomicU32,
    /// The IRP to free when the request is destroyed: null when it is the framework's to free.
    irp: AtomicPtr<IRP>,
}

#[repr(transparent)]
struct ContextType(WDF_OBJECT_CONTEXT_TYPE_INFO);

// SAFETY: never written.
unsafe impl Sync for ContextType {}

static CONTEXT: ContextType = ContextType(WDF_OBJECT_CONTEXT_TYPE_INFO {
    Size: size_of::<WDF_OBJECT_CONTEXT_TYPE_INFO>() as u32,
    ContextName: c"Own".as_ptr().cast_mut(),
    ContextSize: size_of::<Own>(),
    UniqueType: &raw const CONTEXT.0,
    EvtDriverGetUniqueContextType: None,
});

fn attributes() -> WDF_OBJECT_ATTRIBUTES {
    WDF_OBJECT_ATTRIBUTES {
        EvtDestroyCallback: Some(destroyed),
        ContextTypeInfo: &raw const CONTEXT.0,
        ..WDF_OBJECT_ATTRIBUTES::new()
    }
}

/// The context of a request; none for requests that the probe did not make.
///
/// # Safety
/// `object` is a valid handle, and stays one while the context is used.
unsafe fn context<'a>(object: WDFOBJECT) -> Option<&'a Own> {
    // SAFETY: the caller's promise; the context is what `CONTEXT` says, and shared only as atomics.
    unsafe { WdfObjectGetTypedContextWorker(object, &raw const CONTEXT.0).cast::<Own>().as_ref() }
}

unsafe extern "win64" fn destroyed(object: WDFOBJECT) {
    // SAFETY: an object that is being destroyed still has its contexts.
    let Some(own) = (unsafe { context(object) }) else { return };
    let irp = own.irp.swap(null_mut(), Ordering::AcqRel);
    if !irp.is_null() {
        // SAFETY: allocated by the probe, and of no request any more.
        unsafe { IoFreeIrp(irp) };
    }
    if let Some(slot) = own.slot.load(Ordering::Acquire).checked_sub(1) {
        table::count(Event::Destroyed, slot);
    }
}

/// Puts a request into its slot.
///
/// # Safety
/// `request` was just made with [`attributes`].
unsafe fn settle(request: WDFREQUEST, slot: u32, irp: *mut IRP) {
    // SAFETY: the caller's promise.
    if let Some(own) = unsafe { context(request.object()) } {
        own.slot.store(slot.saturating_add(1), Ordering::Release);
        own.irp.store(irp, Ordering::Release);
    }
    table::set_request(slot, request);
}

/// # Safety
/// `target` is what the step wants.
pub(crate) unsafe fn create(slot: u32, target: WDFIOTARGET) -> NTSTATUS {
    let (mut attributes, mut made) = (attributes(), WDFREQUEST::NULL);
    // SAFETY: the caller's promise; the attributes are copied.
    let status = unsafe { WdfRequestCreate(&raw mut attributes, target, &raw mut made) };
    if status.is_success() {
        // SAFETY: just made.
        unsafe { settle(made, slot, null_mut()) };
    } else {
        table::set_request(slot, WDFREQUEST::NULL);
    }
    status
}

/// # Safety
/// `target` is open.
pub(crate) unsafe fn create_from_irp(slot: u32, target: WDFIOTARGET, framework_frees: bool) -> NTSTATUS {
    table::set_request(slot, WDFREQUEST::NULL);
    // SAFETY: the caller's promise.
    let Some(irp) = (unsafe { new_irp(target) }) else { return NTSTATUS::INSUFFICIENT_RESOURCES };
    // SAFETY: just allocated.
    unsafe { take_irp(slot, irp, framework_frees) }
}

/// A request whose IRP has no stack location to send it with.
pub(crate) fn create_from_short_irp(slot: u32) -> NTSTATUS {
    table::set_request(slot, WDFREQUEST::NULL);
    // SAFETY: an IRP of any size can be allocated.
    let irp = unsafe { IoAllocateIrp(0, FALSE) };
    if irp.is_null() {
        return NTSTATUS::INSUFFICIENT_RESOURCES;
    }
    // SAFETY: just allocated.
    unsafe { take_irp(slot, irp, true) }
}

/// # Safety
/// `irp` is new, and nobody else has it.
unsafe fn take_irp(slot: u32, irp: *mut IRP, framework_frees: bool) -> NTSTATUS {
    let (mut attributes, mut made) = (attributes(), WDFREQUEST::NULL);
    // SAFETY: a new IRP, which the request takes; the attributes are copied.
    let status = unsafe { WdfRequestCreateFromIrp(&raw mut attributes, irp, u8::from(framework_frees), &raw mut made) };
    if status.is_success() {
        // SAFETY: just made.
        unsafe { settle(made, slot, if framework_frees { null_mut() } else { irp }) };
    } else {
        // SAFETY: the IRP has stayed the probe's.
        unsafe { IoFreeIrp(irp) };
    }
    status
}

/// What WdfRequestReuse returned, and the address of the IRP that it was given.
///
/// # Safety
/// `target` is open; `request` is what the step wants.
pub(crate) unsafe fn reuse_with_irp(request: WDFREQUEST, target: WDFIOTARGET, status: NTSTATUS) -> (NTSTATUS, u64) {
    // SAFETY: the caller's promise.
    let Some(irp) = (unsafe { new_irp(target) }) else { return (NTSTATUS::INSUFFICIENT_RESOURCES, 0) };
    let mut parameters = WDF_REQUEST_REUSE_PARAMS::new(WDF_REQUEST_REUSE_SET_NEW_IRP, status);
    parameters.NewIrp = irp;
    // SAFETY: whether the request may be reused is what is tested.
    let status = unsafe { WdfRequestReuse(request, &raw mut parameters) };
    let unneeded = if status.is_success() {
        // SAFETY: the framework has just taken the handle for a request's.
        let own = unsafe { context(request.object()) };
        // A request that had an IRP of the probe's has one again.
        own.filter(|own| !own.irp.load(Ordering::Acquire).is_null()).map_or(null_mut(), |own| own.irp.swap(irp, Ordering::AcqRel))
    } else {
        irp
    };
    if !unneeded.is_null() {
        // SAFETY: allocated by the probe; the framework did not take it, or has let go of it.
        unsafe { IoFreeIrp(unneeded) };
    }
    (status, irp.expose_provenance() as u64)
}

/// # Safety
/// `target` is a valid handle.
unsafe fn new_irp(target: WDFIOTARGET) -> Option<*mut IRP> {
    // SAFETY: the caller's promise.
    let device = unsafe { WdfIoTargetWdmGetTargetDeviceObject(target) };
    if device.is_null() {
        return None;
    }
    // SAFETY: the target keeps its device.
    let irp = unsafe { IoAllocateIrp((*device).StackSize, FALSE) };
    (!irp.is_null()).then_some(irp)
}
