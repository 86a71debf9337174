//! Connecting and disconnecting service routines, in all the forms of `IoConnectInterruptEx`.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use wdf_sys::wdm::constants::{
    CONNECT_FULLY_SPECIFIED, CONNECT_FULLY_SPECIFIED_GROUP, CONNECT_LINE_BASED, CONNECT_MESSAGE_BASED, LATCHED, LEVEL_SENSITIVE,
};
use wdf_sys::wdm::{
    DEVICE_OBJECT, IO_CONNECT_INTERRUPT_PARAMETERS, IO_DISCONNECT_INTERRUPT_PARAMETERS, PKMESSAGE_SERVICE_ROUTINE,
    PKSERVICE_ROUTINE,
};
use wdf_sys::{BOOLEAN, KINTERRUPT, NTSTATUS};

use super::object::{Interrupt, Service};
use super::{Assigned, CONNECTIONS, NO_LINE, Source, VECTORS, device_interrupts};
use crate::dispatcher::irql;
use crate::hal;
use crate::hal::{HIGH_LEVEL, Irql, PASSIVE_LEVEL};

/// `IO_CONNECT_INTERRUPT_PARAMETERS`, line based.
#[repr(C)]
struct LineBased {
    version: u32,
    pdo: *mut DEVICE_OBJECT,
    interrupt: *mut *mut KINTERRUPT,
    routine: PKSERVICE_ROUTINE,
    context: *mut c_void,
    lock: *mut usize,
    synchronize_irql: u8,
    floating_save: BOOLEAN,
}

/// `IO_CONNECT_INTERRUPT_PARAMETERS`, message based.
#[repr(C)]
struct MessageBased {
    version: u32,
    pdo: *mut DEVICE_OBJECT,
    /// Place for the message table, or for the interrupt object after a fall-back to a line.
    connection: *mut *mut c_void,
    routine: PKMESSAGE_SERVICE_ROUTINE,
    context: *mut c_void,
    lock: *mut usize,
    synchronize_irql: u8,
    floating_save: BOOLEAN,
    fallback: PKSERVICE_ROUTINE,
}

const _: () = {
    assert!(core::mem::offset_of!(LineBased, pdo) == 8 && core::mem::offset_of!(LineBased, synchronize_irql) == 48);
    assert!(core::mem::offset_of!(MessageBased, fallback) == 56);
};

/// `IO_INTERRUPT_MESSAGE_INFO_ENTRY`.
#[repr(C)]
#[derive(Clone, Copy)]
struct MessageEntry {
    address: i64,
    processors: usize,
    interrupt: *mut Interrupt,
    data: u32,
    vector: u32,
    irql: Irql,
    mode: i32,
    polarity: i32,
}

/// The head of `IO_INTERRUPT_MESSAGE_INFO`; the entries follow.
#[repr(C)]
struct MessageTable {
    unified_irql: Irql,
    count: u32,
}

const _: () = assert!(size_of::<MessageEntry>() == 48 && size_of::<MessageTable>() == 8);

/// What one connection is made of.
struct Connection {
    vector: u8,
    service: Service,
    context: *mut c_void,
    lock: *mut usize,
    synchronize_irql: Irql,
    level: bool,
    share: bool,
}

fn connect(connection: &Connection) -> Result<*mut Interrupt, NTSTATUS> {
    let vector = &VECTORS[usize::from(connection.vector)];
    let irql = connection.vector >> 4;
    let synchronize_irql = if connection.synchronize_irql == 0 { irql } else { connection.synchronize_irql };
    if vector.owners.load(Ordering::Acquire) == 0 || !(irql..=HIGH_LEVEL).contains(&synchronize_irql) {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    let interrupt = Box::into_raw(Box::new(Interrupt {
        service: connection.service,
        context: connection.context,
        lock: connection.lock,
        own_lock: 0,
        vector: connection.vector,
        synchronize_irql,
        level: connection.level,
        next: AtomicPtr::new(null_mut()),
        is_active: AtomicBool::new(true),
    }));
    let guard = CONNECTIONS.lock();
    let first = vector.first.load(Ordering::Acquire);
    if !first.is_null() && !connection.share {
        drop(guard);
        // SAFETY: nobody else knows the object.
        drop(unsafe { Box::from_raw(interrupt) });
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    let mut place = &vector.first;
    while let Some(next) = super::object::get(place.load(Ordering::Acquire)) {
        place = &next.next;
    }
    place.store(interrupt, Ordering::Release);
    let line = vector.line.load(Ordering::Acquire);
    if first.is_null() && line != NO_LINE {
        hal().mask_line(line, false);
    }
    drop(guard);
    Ok(interrupt)
}

/// # Safety
/// `interrupt` is connected, and its driver does not use it any more.
unsafe fn disconnect(interrupt: *mut Interrupt) {
    // SAFETY: the caller's promise.
    let vector = unsafe { &VECTORS[usize::from((*interrupt).vector)] };
    {
        let _guard = CONNECTIONS.lock();
        let mut place = &vector.first;
        loop {
            let next = place.load(Ordering::Acquire);
            if next == interrupt {
                // SAFETY: the caller's promise.
                place.store(unsafe { (*interrupt).next() }, Ordering::Release);
                break;
            }
            match super::object::get(next) {
                Some(next) => place = &next.next,
                None => return,
            }
        }
        let line = vector.line.load(Ordering::Acquire);
        if vector.first.load(Ordering::Acquire).is_null() && line != NO_LINE {
            hal().mask_line(line, true);
        }
    }
    // A processor that followed the list before may still be in the routine.
    while vector.in_use.load(Ordering::Acquire) != 0 {
        hal().relax();
    }
    // SAFETY: out of the list, and nobody follows it any more.
    drop(unsafe { Box::from_raw(interrupt) });
}

/// A device's line, if that is what it has.
fn line_of(assigned: &[Assigned]) -> Option<Assigned> {
    assigned.iter().copied().find(|one| matches!(one.source, Source::Line(_)))
}

unsafe fn connect_line_based(parameters: &LineBased) -> NTSTATUS {
    let assigned = device_interrupts(parameters.pdo.addr());
    // A device with one message may be connected as if it were a line.
    let Some(one) = line_of(&assigned).or(assigned.first().copied()) else { return NTSTATUS::NOT_FOUND };
    let connection = Connection {
        vector: one.vector,
        service: Service::Plain(parameters.routine),
        context: parameters.context,
        lock: parameters.lock,
        synchronize_irql: parameters.synchronize_irql,
        level: matches!(one.source, Source::Line(_)),
        share: true,
    };
    match connect(&connection) {
        Ok(interrupt) => {
            // SAFETY: the caller's promise: a place for the object.
            unsafe { parameters.interrupt.write(interrupt.cast()) };
            NTSTATUS::SUCCESS
        }
        Err(status) => status,
    }
}

/// Connects the one interrupt that a device has, for the executive's own drivers.
///
/// # Safety
/// `routine` may be called with `context`, at the interrupt's IRQL, until the object is disconnected.
pub(crate) unsafe fn connect_device(
    pdo: *mut DEVICE_OBJECT,
    routine: PKSERVICE_ROUTINE,
    context: *mut c_void,
) -> Result<*mut KINTERRUPT, NTSTATUS> {
    let mut interrupt = null_mut();
    let line = LineBased {
        version: CONNECT_LINE_BASED,
        pdo,
        interrupt: &raw mut interrupt,
        routine,
        context,
        lock: null_mut(),
        synchronize_irql: 0,
        floating_save: 0,
    };
    // SAFETY: the caller's promise; the object's place is a local.
    let status = unsafe { connect_line_based(&line) };
    if status.is_success() { Ok(interrupt) } else { Err(status) }
}

unsafe fn connect_message_based(parameters: &mut MessageBased) -> NTSTATUS {
    let assigned = device_interrupts(parameters.pdo.addr());
    let messages: Vec<Assigned> = assigned.iter().copied().filter(|one| matches!(one.source, Source::Message(_))).collect();
    if messages.is_empty() {
        if parameters.fallback.is_none() {
            return NTSTATUS::NOT_FOUND;
        }
        let line = LineBased {
            version: CONNECT_LINE_BASED,
            pdo: parameters.pdo,
            interrupt: parameters.connection.cast(),
            routine: parameters.fallback,
            context: parameters.context,
            lock: parameters.lock,
            synchronize_irql: parameters.synchronize_irql,
            floating_save: parameters.floating_save,
        };
        // SAFETY: the caller's promise: the place takes an interrupt object too.
        let status = unsafe { connect_line_based(&line) };
        if status.is_success() {
            parameters.version = CONNECT_LINE_BASED;
        }
        return status;
    }
    let highest = messages.iter().map(|one| one.irql).max().unwrap_or(0);
    let mut entries: Vec<MessageEntry> = Vec::with_capacity(messages.len());
    for (number, one) in messages.iter().enumerate() {
        let connection = Connection {
            vector: one.vector,
            service: Service::Message(parameters.routine, number as u32),
            context: parameters.context,
            lock: parameters.lock,
            // One routine serves all messages: without a level of its own it runs at the highest of theirs.
            synchronize_irql: parameters.synchronize_irql.max(highest),
            level: false,
            share: false,
        };
        let Source::Message(message) = one.source else { continue };
        match connect(&connection) {
            Ok(interrupt) => entries.push(MessageEntry {
                address: message.address as i64,
                processors: one.affinity as usize,
                interrupt,
                data: message.data,
                vector: u32::from(one.vector),
                irql: one.irql,
                mode: LATCHED,
                polarity: 0,
            }),
            Err(status) => {
                // SAFETY: connected above, and nobody else knows them.
                entries.iter().for_each(|entry| unsafe { disconnect(entry.interrupt) });
                return status;
            }
        }
    }
    let table = table_of(&entries, parameters.synchronize_irql.max(highest));
    // SAFETY: the caller's promise: a place for the table's address.
    unsafe { parameters.connection.write(table) };
    NTSTATUS::SUCCESS
}

/// The table as one block: head, then entries. Freed by [`disconnect_messages`].
fn table_of(entries: &[MessageEntry], unified_irql: Irql) -> *mut c_void {
    let words = (size_of::<MessageTable>() + size_of_val(entries)) / 8;
    let block: &'static mut [u64] = Vec::leak(alloc::vec![0u64; words]);
    let table = block.as_mut_ptr();
    // SAFETY: the block has room for the head and the entries, and is aligned for both.
    unsafe {
        table.cast::<MessageTable>().write(MessageTable { unified_irql, count: entries.len() as u32 });
        core::ptr::copy_nonoverlapping(entries.as_ptr(), table.add(1).cast(), entries.len());
    }
    table.cast()
}

/// # Safety
/// `table` came from [`table_of`], and its driver does not use it any more.
unsafe fn disconnect_messages(table: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe {
        let count = (*table.cast::<MessageTable>()).count as usize;
        let entries = core::slice::from_raw_parts(table.cast::<u64>().add(1).cast::<MessageEntry>(), count);
        entries.iter().for_each(|entry| disconnect(entry.interrupt));
        let words = (size_of::<MessageTable>() + size_of_val(entries)) / 8;
        drop(Vec::from_raw_parts(table.cast::<u64>(), words, words));
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoConnectInterruptEx(Parameters: *mut IO_CONNECT_INTERRUPT_PARAMETERS) -> NTSTATUS {
    irql::at_most(PASSIVE_LEVEL);
    // SAFETY: the caller's promise: parameters of the form that their version says.
    unsafe {
        match (*Parameters).Version {
            CONNECT_FULLY_SPECIFIED | CONNECT_FULLY_SPECIFIED_GROUP => {
                let asked = &(*Parameters).FullySpecified;
                let Ok(vector) = u8::try_from(asked.Vector) else { return NTSTATUS::INVALID_PARAMETER };
                if asked.Irql != vector >> 4 || ((*Parameters).Version == CONNECT_FULLY_SPECIFIED_GROUP && asked.Group != 0) {
                    return NTSTATUS::INVALID_PARAMETER;
                }
                IoConnectInterrupt(
                    asked.InterruptObject,
                    asked.ServiceRoutine,
                    asked.ServiceContext,
                    asked.SpinLock,
                    asked.Vector,
                    asked.Irql,
                    asked.SynchronizeIrql,
                    asked.InterruptMode,
                    asked.ShareVector,
                    asked.ProcessorEnableMask,
                    asked.FloatingSave,
                )
            }
            CONNECT_LINE_BASED => connect_line_based(&*Parameters.cast()),
            CONNECT_MESSAGE_BASED => connect_message_based(&mut *Parameters.cast()),
            _ => {
                // As documented: the highest version that is known, and a status that says so.
                (*Parameters).Version = CONNECT_FULLY_SPECIFIED_GROUP;
                NTSTATUS::NOT_SUPPORTED
            }
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoConnectInterrupt(
    InterruptObject: *mut *mut KINTERRUPT,
    ServiceRoutine: PKSERVICE_ROUTINE,
    ServiceContext: *mut c_void,
    SpinLock: *mut usize,
    Vector: u32,
    Irql: u8,
    SynchronizeIrql: u8,
    InterruptMode: i32,
    ShareVector: BOOLEAN,
    ProcessorEnableMask: usize,
    _FloatingSave: BOOLEAN,
) -> NTSTATUS {
    let Ok(vector) = u8::try_from(Vector) else { return NTSTATUS::INVALID_PARAMETER };
    if ServiceRoutine.is_none() || ProcessorEnableMask == 0 || SynchronizeIrql < Irql {
        return NTSTATUS::INVALID_PARAMETER;
    }
    let connection = Connection {
        vector,
        service: Service::Plain(ServiceRoutine),
        context: ServiceContext,
        lock: SpinLock,
        synchronize_irql: SynchronizeIrql,
        level: InterruptMode == LEVEL_SENSITIVE,
        share: ShareVector != 0,
    };
    match connect(&connection) {
        Ok(interrupt) => {
            // SAFETY: the caller's promise: a place for the object.
            unsafe { InterruptObject.write(interrupt.cast()) };
            NTSTATUS::SUCCESS
        }
        Err(status) => status,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoDisconnectInterrupt(InterruptObject: *mut KINTERRUPT) {
    irql::at_most(PASSIVE_LEVEL);
    // SAFETY: the caller's promise: a connected interrupt.
    unsafe { disconnect(InterruptObject.cast()) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoDisconnectInterruptEx(Parameters: *mut IO_DISCONNECT_INTERRUPT_PARAMETERS) {
    irql::at_most(PASSIVE_LEVEL);
    // SAFETY: the caller's promise: what the connection returned, and its version.
    unsafe {
        match (*Parameters).Version {
            CONNECT_MESSAGE_BASED => disconnect_messages((*Parameters).ConnectionContext),
            _ => disconnect((*Parameters).ConnectionContext.cast()),
        }
    }
}

/// `IO_REPORT_INTERRUPT_ACTIVE_STATE_PARAMETERS` has the form of the parameters for disconnecting.
unsafe fn set_active(parameters: *mut c_void, is_active: bool) {
    let parameters = parameters.cast::<IO_DISCONNECT_INTERRUPT_PARAMETERS>();
    let set = |interrupt: *mut Interrupt| {
        if let Some(interrupt) = super::object::get(interrupt) {
            interrupt.is_active.store(is_active, Ordering::Relaxed);
        }
    };
    // SAFETY: the callers' promise: what the connection returned, and its version.
    unsafe {
        let context = (*parameters).ConnectionContext;
        if (*parameters).Version != CONNECT_MESSAGE_BASED {
            return set(context.cast());
        }
        let count = (*context.cast::<MessageTable>()).count as usize;
        let entries = core::slice::from_raw_parts(context.cast::<u64>().add(1).cast::<MessageEntry>(), count);
        entries.iter().for_each(|entry| set(entry.interrupt));
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoReportInterruptActive(Parameters: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { set_active(Parameters, true) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoReportInterruptInactive(Parameters: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { set_active(Parameters, false) };
}
