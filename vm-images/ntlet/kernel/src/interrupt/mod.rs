//! Device interrupts: which vector is whose, calling service routines, and the interrupt objects that drivers connect.
//!
//! PnP assigns vectors to devices ([`assign_line`], [`assign_message`]); drivers connect service routines to them. A wired interrupt may
//! be shared: its routines are asked in turn until one knows it.

mod connect;
mod object;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::hal;
use crate::hal::{InterruptMessage, Irql, LineShape};
use crate::lock::SpinLock;
pub use connect::*;
use object::Interrupt;
pub use object::*;

/// IRQL of wired and of message-signalled interrupts: any device level would do, one for each kind keeps sharing possible.
const LINE_IRQL: Irql = 9;
const MESSAGE_IRQL: Irql = 8;
/// Interrupts in a row that nobody knows, after which a line is taken for stuck.
const STORM: u32 = 10_000;
/// No line.
const NO_LINE: u32 = u32::MAX;

/// Where an interrupt comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A wired interrupt, by its global system interrupt number.
    Line(u32),
    /// A message; the device is told address and data.
    Message(InterruptMessage),
}

/// A vector that was assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The vector, as in a translated resource.
    pub vector: u8,
    /// Its IRQL, as in a translated resource.
    pub irql: Irql,
    /// Processors it may arrive on, as in a translated resource.
    pub affinity: u64,
    /// What raises it.
    pub source: Source,
}

/// What is known of one vector.
struct Vector {
    /// Interrupt objects, linked. Changed with `CONNECTIONS` held, followed without.
    first: AtomicPtr<Interrupt>,
    /// How many processors follow the list right now.
    in_use: AtomicU32,
    /// Interrupts in a row that no routine knew.
    unknown: AtomicU32,
    line: AtomicU32,
    /// How many devices it is assigned to.
    owners: AtomicU32,
}

static VECTORS: [Vector; 256] = [const {
    Vector {
        first: AtomicPtr::new(core::ptr::null_mut()),
        in_use: AtomicU32::new(0),
        unknown: AtomicU32::new(0),
        line: AtomicU32::new(NO_LINE),
        owners: AtomicU32::new(0),
    }
}; 256];

/// Held while a list of interrupt objects changes.
static CONNECTIONS: SpinLock<()> = SpinLock::new(());
/// What each device (the address of its PDO) was assigned.
static DEVICES: SpinLock<BTreeMap<usize, Vec<Assigned>>> = SpinLock::new(BTreeMap::new());

/// Assigns a wired interrupt. Several devices may have the same.
pub fn assign_line(gsi: u32, shape: LineShape) -> Option<Assigned> {
    let vector = hal().connect_line(gsi, LINE_IRQL, shape)?;
    let entry = &VECTORS[usize::from(vector)];
    entry.line.store(gsi, Ordering::Release);
    entry.owners.fetch_add(1, Ordering::AcqRel);
    Some(Assigned { vector, irql: vector >> 4, affinity: 1, source: Source::Line(gsi) })
}

/// Assigns a vector for one message, on a processor of `affinity`.
pub fn assign_message(affinity: u64) -> Option<Assigned> {
    let message = hal().allocate_message(MESSAGE_IRQL, affinity)?;
    VECTORS[usize::from(message.vector)].owners.fetch_add(1, Ordering::AcqRel);
    let source = Source::Message(message);
    Some(Assigned { vector: message.vector, irql: message.vector >> 4, affinity, source })
}

/// Gives a vector back that nobody is connected to any more.
pub fn release(vector: u8) {
    let entry = &VECTORS[usize::from(vector)];
    if entry.owners.fetch_sub(1, Ordering::AcqRel) == 1 {
        entry.line.store(NO_LINE, Ordering::Release);
        hal().free_message(vector);
    }
}

/// Says which vectors a device has, for connections that name the device instead of a vector. An empty list forgets it.
pub fn set_device_interrupts(pdo: usize, assigned: Vec<Assigned>) {
    let old = if assigned.is_empty() { DEVICES.lock().remove(&pdo) } else { DEVICES.lock().insert(pdo, assigned) };
    drop(old);
}

fn device_interrupts(pdo: usize) -> Vec<Assigned> {
    DEVICES.lock().get(&pdo).cloned().unwrap_or_default()
}

/// Address of the first connected service routine that `is_meant`.
pub(crate) fn find(is_meant: &dyn Fn(usize) -> bool) -> Option<usize> {
    let _guard = CONNECTIONS.lock();
    VECTORS.iter().find_map(|vector| {
        let mut next = vector.first.load(Ordering::Acquire);
        while let Some(interrupt) = object::get(next) {
            if is_meant(interrupt.service.address()) {
                return Some(interrupt.service.address());
            }
            next = interrupt.next();
        }
        None
    })
}

/// A device interrupt has come. At its IRQL.
pub(crate) fn dispatch(number: u8) {
    let vector = &VECTORS[usize::from(number)];
    vector.in_use.fetch_add(1, Ordering::AcqRel);
    let is_known = ask(vector);
    vector.in_use.fetch_sub(1, Ordering::AcqRel);
    if is_known {
        vector.unknown.store(0, Ordering::Relaxed);
    } else {
        nobody_knows(number, vector);
    }
}

/// Asks the service routines. For a level it is enough that one knows it: if another device interrupts too, the line is still
/// active. An edge is gone, so all are asked until none finds anything.
fn ask(vector: &Vector) -> bool {
    let mut is_known = false;
    loop {
        let mut again = false;
        let mut next = vector.first.load(Ordering::Acquire);
        let is_alone = object::is_last(next);
        while let Some(interrupt) = object::get(next) {
            if interrupt.call() {
                is_known = true;
                again = !interrupt.is_level();
                if interrupt.is_level() {
                    break;
                }
            }
            next = interrupt.next();
        }
        if !again || is_alone {
            return is_known;
        }
    }
}

/// One such interrupt may be late or shared with somebody's mistake; a line that goes on is stuck and would leave the processor no
/// time for anything else.
fn nobody_knows(number: u8, vector: &Vector) {
    let count = vector.unknown.fetch_add(1, Ordering::Relaxed) + 1;
    let line = vector.line.load(Ordering::Acquire);
    if line != NO_LINE && count >= STORM {
        hal().mask_line(line, true);
        vector.unknown.store(0, Ordering::Relaxed);
        log!(
            "interrupt storm: line {line} (vector {number:#x}) interrupted {STORM} times and no service routine knew it; it is masked now"
        );
    } else if count == 1 && vector.first.load(Ordering::Relaxed).is_null() {
        log!("interrupt on vector {number:#x}, to which nothing is connected");
    }
}
