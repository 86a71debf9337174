//! Cancel-safe queues, `IoCsq…`: the driver has list and lock, the kernel has the race with cancellation.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU8, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::{DEVICE_OBJECT, IRP, mark_irp_pending};

use super::cancel::{IoReleaseCancelSpinLock, exchange_routine};

/// `IO_TYPE_CSQ_IRP_CONTEXT`, `IO_TYPE_CSQ`, `IO_TYPE_CSQ_EX`.
const TYPE_CONTEXT: u32 = 1;
const TYPE_QUEUE: u32 = 2;
const TYPE_QUEUE_EX: u32 = 3;
/// Where the kernel notes the queue (or the context) of an IRP: `Tail.Overlay.DriverContext[3]`, as documented.
const SLOT: usize = 3;

type Insert = unsafe extern "win64" fn(*mut Queue, *mut IRP);
type InsertEx = unsafe extern "win64" fn(*mut Queue, *mut IRP, *mut c_void) -> NTSTATUS;
type Remove = unsafe extern "win64" fn(*mut Queue, *mut IRP);
type Peek = unsafe extern "win64" fn(*mut Queue, *mut IRP, *mut c_void) -> *mut IRP;
type Acquire = unsafe extern "win64" fn(*mut Queue, *mut u8);
type Release = unsafe extern "win64" fn(*mut Queue, u8);
type Complete = unsafe extern "win64" fn(*mut Queue, *mut IRP);

/// `IO_CSQ`.
#[repr(C)]
pub(crate) struct Queue {
    kind: u32,
    insert: *mut c_void,
    remove: Remove,
    peek: Peek,
    acquire: Acquire,
    release: Release,
    complete: Complete,
    reserved: *mut c_void,
}

/// `IO_CSQ_IRP_CONTEXT`.
#[repr(C)]
pub(crate) struct IrpContext {
    kind: u32,
    irp: *mut IRP,
    queue: *mut Queue,
}

const _: () = assert!(size_of::<Queue>() == 64 && size_of::<IrpContext>() == 24);

/// # Safety
/// As the documentation of IoCsqInitialize demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoCsqInitialize(
    Csq: *mut Queue,
    CsqInsertIrp: Insert,
    CsqRemoveIrp: Remove,
    CsqPeekNextIrp: Peek,
    CsqAcquireLock: Acquire,
    CsqReleaseLock: Release,
    CsqCompleteCanceledIrp: Complete,
) -> NTSTATUS {
    let queue = Queue {
        kind: TYPE_QUEUE,
        insert: CsqInsertIrp as *mut c_void,
        remove: CsqRemoveIrp,
        peek: CsqPeekNextIrp,
        acquire: CsqAcquireLock,
        release: CsqReleaseLock,
        complete: CsqCompleteCanceledIrp,
        reserved: null_mut(),
    };
    // SAFETY: the caller's promise.
    unsafe { Csq.write(queue) };
    NTSTATUS::SUCCESS
}

/// # Safety
/// As the documentation of IoCsqInitializeEx demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoCsqInitializeEx(
    Csq: *mut Queue,
    CsqInsertIrp: InsertEx,
    CsqRemoveIrp: Remove,
    CsqPeekNextIrp: Peek,
    CsqAcquireLock: Acquire,
    CsqReleaseLock: Release,
    CsqCompleteCanceledIrp: Complete,
) -> NTSTATUS {
    let queue = Queue {
        kind: TYPE_QUEUE_EX,
        insert: CsqInsertIrp as *mut c_void,
        remove: CsqRemoveIrp,
        peek: CsqPeekNextIrp,
        acquire: CsqAcquireLock,
        release: CsqReleaseLock,
        complete: CsqCompleteCanceledIrp,
        reserved: null_mut(),
    };
    // SAFETY: the caller's promise.
    unsafe { Csq.write(queue) };
    NTSTATUS::SUCCESS
}

/// # Safety
/// As the documentation of IoCsqInsertIrp demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoCsqInsertIrp(Csq: *mut Queue, Irp: *mut IRP, Context: *mut IrpContext) {
    // SAFETY: the caller's promise.
    let _ = unsafe { IoCsqInsertIrpEx(Csq, Irp, Context, null_mut()) };
}

/// # Safety
/// As the documentation of IoCsqInsertIrpEx demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoCsqInsertIrpEx(
    Csq: *mut Queue,
    Irp: *mut IRP,
    Context: *mut IrpContext,
    InsertContext: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the caller's promise: the queue is initialised, the IRP is the caller's.
    unsafe {
        if Context.is_null() {
            (*Irp).Tail.Overlay.DriverContext[SLOT] = Csq.cast();
        } else {
            Context.write(IrpContext { kind: TYPE_CONTEXT, irp: Irp, queue: Csq });
            (*Irp).Tail.Overlay.DriverContext[SLOT] = Context.cast();
        }
        let mut irql = 0;
        ((*Csq).acquire)(Csq, &raw mut irql);
        mark_irp_pending(Irp);
        if (*Csq).kind == TYPE_QUEUE_EX {
            let insert: InsertEx = core::mem::transmute((*Csq).insert);
            let status = insert(Csq, Irp, InsertContext);
            if !status.is_success() {
                ((*Csq).release)(Csq, irql);
                return status;
            }
        } else {
            let insert: Insert = core::mem::transmute((*Csq).insert);
            insert(Csq, Irp);
        }
        exchange_routine(Irp, Some(cancel));
        // Cancelled before the routine was set, and not by whoever takes the routine now.
        if is_cancelled(Irp) && exchange_routine(Irp, None).is_some() {
            take(Csq, Irp);
            ((*Csq).release)(Csq, irql);
            ((*Csq).complete)(Csq, Irp);
        } else {
            ((*Csq).release)(Csq, irql);
        }
    }
    NTSTATUS::SUCCESS
}

/// # Safety
/// The IRP is alive.
unsafe fn is_cancelled(irp: *mut IRP) -> bool {
    // SAFETY: the caller's promise.
    unsafe { AtomicU8::from_ptr(&raw mut (*irp).Cancel).load(Ordering::SeqCst) != 0 }
}

/// Takes an IRP out of the driver's list, and forgets its context.
///
/// # Safety
/// The IRP is in the queue, whose lock is held.
unsafe fn take(queue: *mut Queue, irp: *mut IRP) {
    // SAFETY: the caller's promise.
    unsafe {
        ((*queue).remove)(queue, irp);
        let note = core::mem::replace(&mut (*irp).Tail.Overlay.DriverContext[SLOT], null_mut());
        if *note.cast::<u32>() == TYPE_CONTEXT {
            (*note.cast::<IrpContext>()).irp = null_mut();
        }
    }
}

/// # Safety
/// As the documentation of IoCsqRemoveNextIrp demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoCsqRemoveNextIrp(Csq: *mut Queue, PeekContext: *mut c_void) -> *mut IRP {
    // SAFETY: the caller's promise.
    unsafe {
        let mut irql = 0;
        ((*Csq).acquire)(Csq, &raw mut irql);
        let mut irp = ((*Csq).peek)(Csq, null_mut(), PeekContext);
        // One whose routine is taken is being cancelled; its canceller waits for the lock.
        while !irp.is_null() && exchange_routine(irp, None).is_none() {
            irp = ((*Csq).peek)(Csq, irp, PeekContext);
        }
        if !irp.is_null() {
            take(Csq, irp);
        }
        ((*Csq).release)(Csq, irql);
        irp
    }
}

/// # Safety
/// As the documentation of IoCsqRemoveIrp demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoCsqRemoveIrp(Csq: *mut Queue, Context: *mut IrpContext) -> *mut IRP {
    // SAFETY: the caller's promise.
    unsafe {
        let mut irql = 0;
        ((*Csq).acquire)(Csq, &raw mut irql);
        let mut irp = (*Context).irp;
        if !irp.is_null() {
            if exchange_routine(irp, None).is_some() {
                take(Csq, irp);
            } else {
                irp = null_mut();
            }
        }
        ((*Csq).release)(Csq, irql);
        irp
    }
}

/// # Safety
/// Called as a cancel routine, with the cancel lock held.
unsafe extern "win64" fn cancel(_device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: the caller's promise; the note leads to the queue as long as the IRP is in it.
    unsafe {
        IoReleaseCancelSpinLock((*irp).CancelIrql);
        let note = (*irp).Tail.Overlay.DriverContext[SLOT];
        let queue: *mut Queue =
            if *note.cast::<u32>() == TYPE_CONTEXT { (*note.cast::<IrpContext>()).queue } else { note.cast() };
        let mut irql = 0;
        ((*queue).acquire)(queue, &raw mut irql);
        take(queue, irp);
        ((*queue).release)(queue, irql);
        ((*queue).complete)(queue, irp);
    }
}
