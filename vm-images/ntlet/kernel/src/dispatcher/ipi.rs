//! `KeIpiGenericCall`: a routine on every processor at once, at `IPI_LEVEL`.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use wdf_sys::FALSE;
use wdf_sys::wdm::KDPC;

use super::dpc::{self, KeInitializeDpc, KeSetImportanceDpc, KeSetTargetProcessorDpc};
use super::irql;
use crate::hal;
use crate::hal::{DISPATCH_LEVEL, Irql};
use crate::processors;

/// Where interrupts between processors are.
const IPI_LEVEL: Irql = 14;
const HIGH_IMPORTANCE: i32 = 2;

type Broadcast = unsafe extern "win64" fn(usize) -> usize;

/// A call in progress.
struct Call {
    routine: Broadcast,
    argument: usize,
    /// Processors that have come and wait for the others, and those that are done.
    here: AtomicU32,
    done: AtomicU32,
    all: u32,
}

impl Call {
    /// Waits until every processor is here, then calls.
    fn take_part(&self) -> usize {
        let before = hal().irql();
        hal().set_irql(IPI_LEVEL);
        self.here.fetch_add(1, Ordering::AcqRel);
        while self.here.load(Ordering::Acquire) < self.all {
            hal().relax();
        }
        // SAFETY: the driver gives the routine and its argument for this call.
        let result = unsafe { (self.routine)(self.argument) };
        hal().set_irql(before);
        self.done.fetch_add(1, Ordering::AcqRel);
        result
    }
}

unsafe extern "win64" fn take_part(_: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    // SAFETY: whoever made the call waits until all have taken part.
    let _ = unsafe { &*context.cast::<Call>() }.take_part();
}

struct Dpcs(UnsafeCell<[KDPC; processors::MAX]>);

// SAFETY: used by one call at a time, through the dispatcher's functions.
unsafe impl Sync for Dpcs {}

static DPCS: Dpcs = Dpcs(UnsafeCell::new([const { KDPC::zeroed() }; processors::MAX]));
static IS_BUSY: AtomicBool = AtomicBool::new(false);

/// The DPC of a processor.
fn dpc_of(processor: u32) -> *mut KDPC {
    DPCS.0.get().cast::<KDPC>().wrapping_add(processor as usize)
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeIpiGenericCall(BroadcastFunction: Broadcast, Context: usize) -> usize {
    irql::at_most(DISPATCH_LEVEL);
    let before = irql::raise(DISPATCH_LEVEL);
    let own = hal().current_processor();
    // Two at a time would wait for each other, so whoever waits here takes part in the other's call.
    while IS_BUSY.swap(true, Ordering::Acquire) {
        // SAFETY: a place for a DPC that is not used yet, or one that was initialised.
        unsafe {
            let dpc = dpc_of(own);
            if dpc::KeRemoveQueueDpc(dpc) != FALSE {
                take_part(dpc, (*dpc).DeferredContext, null_mut(), null_mut());
            }
        }
        hal().relax();
    }
    let call = Call {
        routine: BroadcastFunction,
        argument: Context,
        here: AtomicU32::new(0),
        done: AtomicU32::new(0),
        all: processors::active().count_ones(),
    };
    for processor in processors::all().filter(|processor| processor.number() != own) {
        // SAFETY: each processor has a DPC of its own, which is free again once the last call is done.
        unsafe {
            let dpc = dpc_of(processor.number());
            KeInitializeDpc(dpc, Some(take_part), (&raw const call).cast_mut().cast());
            KeSetTargetProcessorDpc(dpc, processor.number() as i8);
            KeSetImportanceDpc(dpc, HIGH_IMPORTANCE);
            dpc::insert(dpc, null_mut(), null_mut());
        }
    }
    let result = call.take_part();
    while call.done.load(Ordering::Acquire) < call.all {
        hal().relax();
    }
    IS_BUSY.store(false, Ordering::Release);
    hal().set_irql(before);
    result
}
