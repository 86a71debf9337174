//! Deferred procedure calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::KDPC;
use wdf_sys::wdm::constants::bug_check;

use super::super::dpc::*;
use super::super::irql::*;
use super::super::wait::KeWaitForSingleObject;
use super::{Journal, Object, sleep, spawn};
use crate::hal;
use crate::sim::{self, Simulation};

static JOURNAL: Journal = Journal::new();

unsafe extern "win64" fn note(_: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    assert_eq!(hal().irql(), 2);
    JOURNAL.note(["first", "second", "urgent"][context.addr()]);
}

fn dpc(routine: unsafe extern "win64" fn(*mut KDPC, *mut c_void, *mut c_void, *mut c_void), context: usize) -> Object<KDPC> {
    let dpc = Object::new(KDPC::zeroed());
    // SAFETY: a place for a DPC.
    unsafe { KeInitializeDpc(dpc.get(), Some(routine), core::ptr::without_provenance_mut(context)) };
    dpc
}

fn queue(dpc: &Object<KDPC>) -> bool {
    // SAFETY: an initialised DPC.
    unsafe { KeInsertQueueDpc(dpc.get(), null_mut(), null_mut()) != 0 }
}

#[test]
fn dpcs_run_when_the_irql_falls_in_order_and_urgent_ones_first() {
    sim::run(|_| {
        let (first, second, urgent) = (dpc(note, 0), dpc(note, 1), dpc(note, 2));
        // SAFETY: an initialised DPC; raising and lowering.
        unsafe {
            KeSetImportanceDpc(urgent.get(), 2);
            let irql = KfRaiseIrql(2);
            assert!(queue(&first) && queue(&second) && queue(&urgent));
            assert!(!queue(&first), "it is queued already");
            assert_eq!(KeRemoveQueueDpc(second.get()), 1);
            assert_eq!(KeRemoveQueueDpc(second.get()), 0);
            assert_eq!(JOURNAL.take(), [""; 0]);
            KeLowerIrql(irql);
        }
        assert_eq!(JOURNAL.take(), ["urgent", "first"]);
        assert!(queue(&first), "once it has run it can be queued again");
    });
}

static PROCESSOR: AtomicU32 = AtomicU32::new(99);

unsafe extern "win64" fn where_am_i(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
    PROCESSOR.store(hal().current_processor(), Ordering::SeqCst);
}

#[test]
fn a_targeted_dpc_runs_on_its_processor() {
    Simulation::new()
        .processors(3)
        .run(|_| {
            let dpc = dpc(where_am_i, 0);
            for number in [2i8, 0, 1] {
                // SAFETY: an initialised DPC that is not queued; PASSIVE_LEVEL.
                unsafe {
                    KeSetTargetProcessorDpc(dpc.get(), number);
                    assert!(queue(&dpc));
                    KeFlushQueuedDpcs();
                }
                assert_eq!(PROCESSOR.load(Ordering::SeqCst), number as u32);
            }
        })
        .expect_shutdown();
}

static LEVEL: AtomicI32 = AtomicI32::new(-1);

unsafe extern "win64" fn what_level(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
    LEVEL.store(hal().irql().into(), Ordering::SeqCst);
}

#[test]
fn a_threaded_dpc_runs_at_passive_level_once_there_is_its_thread() {
    sim::run(|_| {
        let dpc = Object::new(KDPC::zeroed());
        // SAFETY: a place for a DPC; PASSIVE_LEVEL.
        unsafe {
            KeInitializeThreadedDpc(dpc.get(), Some(what_level), null_mut());
            sleep(1);
            assert!(queue(&dpc));
            KeFlushQueuedDpcs();
        }
        assert_eq!(LEVEL.load(Ordering::SeqCst), 0);
    });
}

unsafe extern "win64" fn wait_in_dpc(_: *mut KDPC, event: *mut c_void, _: *mut c_void, _: *mut c_void) {
    // SAFETY: an initialised event, and what a DPC must not do.
    let _ = unsafe { KeWaitForSingleObject(event, 0, 0, 0, null_mut()) };
}

#[test]
fn waiting_in_a_dpc_is_a_bug_check() {
    let outcome = Simulation::new().run(|_| {
        let event = Object::new(wdf_sys::wdm::KEVENT::zeroed());
        // SAFETY: a place for an event.
        unsafe { super::super::event::KeInitializeEvent(event.get(), 0, 0) };
        let dpc = Object::new(KDPC::zeroed());
        // SAFETY: a place for a DPC.
        unsafe { KeInitializeDpc(dpc.get(), Some(wait_in_dpc), event.any()) };
        queue(&dpc);
    });
    outcome.expect_bug_check(bug_check::ATTEMPTED_SWITCH_FROM_DPC);
}

unsafe extern "win64" fn lower_in_dpc(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
    hal().set_irql(0);
}

#[test]
fn a_dpc_that_comes_back_at_another_irql_is_a_bug_check() {
    let outcome = Simulation::new().run(|_| {
        queue(&dpc(lower_in_dpc, 0));
    });
    assert_eq!(outcome.expect_bug_check(bug_check::IRQL_UNEXPECTED_VALUE)[0], 2 << 8);
}

unsafe extern "win64" fn spin(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
    loop {
        hal().relax();
    }
}

#[test]
fn a_dpc_that_never_ends_is_a_bug_check_that_says_so() {
    let outcome = Simulation::new().run(|_| {
        queue(&dpc(spin, 0));
    });
    assert_eq!(outcome.expect_bug_check(bug_check::DPC_WATCHDOG_VIOLATION)[0], 0);
    assert!(outcome.has_logged("the DPC routine at"));
}

#[test]
fn a_flush_waits_for_dpcs_of_every_processor() {
    static DONE: AtomicU32 = AtomicU32::new(0);
    unsafe extern "win64" fn slow(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
        // SAFETY: no conditions.
        unsafe { crate::time::KeStallExecutionProcessor(200) };
        DONE.fetch_add(1, Ordering::SeqCst);
    }
    Simulation::new()
        .processors(2)
        .run(|_| {
            let journal = Arc::new(Journal::new());
            let other = journal.clone();
            let _thread = spawn(8, move || other.note("others run meanwhile"));
            let dpcs = [0i8, 1, 1].map(|number| {
                let dpc = dpc(slow, 0);
                // SAFETY: an initialised DPC that is not queued.
                unsafe { KeSetTargetProcessorDpc(dpc.get(), number) };
                dpc
            });
            dpcs.iter().for_each(|dpc| assert!(queue(dpc)));
            // SAFETY: PASSIVE_LEVEL.
            unsafe { KeFlushQueuedDpcs() };
            assert_eq!(DONE.load(Ordering::SeqCst), 3);
        })
        .expect_shutdown();
}
