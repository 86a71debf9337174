//! Asynchronous procedure calls.

use std::sync::Arc;

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::{KERNEL_MODE, USER_MODE};
use wdf_sys::wdm::{KAPC, KEVENT};

use super::super::apc::*;
use super::super::critical_region::*;
use super::super::event::*;
use super::super::thread::{self, UserApc};
use super::super::wait::KeWaitForSingleObject;
use super::{Journal, Object, join, sleep, spawn, wait_for};
use crate::hal;
use crate::sim::{self, Simulation};

static JOURNAL: Journal = Journal::new();

unsafe extern "win64" fn kernel_routine(
    _: *mut KAPC,
    _: *mut *mut c_void,
    _: *mut *mut c_void,
    argument1: *mut *mut c_void,
    _: *mut *mut c_void,
) {
    assert_eq!(hal().irql(), 1);
    // SAFETY: the kernel's own place.
    JOURNAL.note(if unsafe { (*argument1).is_null() } { "kernel routine" } else { "other kernel routine" });
}

unsafe extern "win64" fn normal_routine(_: *mut c_void, _: *mut c_void, _: *mut c_void) {
    assert_eq!(hal().irql(), 0);
    JOURNAL.note("normal routine");
}

unsafe extern "win64" fn rundown_routine(_: *mut KAPC) {
    JOURNAL.note("rundown");
}

fn apc(target: *mut c_void, normal: *mut c_void, mode: i8) -> Object<KAPC> {
    let apc = Object::new(KAPC::zeroed());
    let (kernel, rundown) = (kernel_routine as *mut c_void, rundown_routine as *mut c_void);
    // SAFETY: a place for an APC, and a thread that is alive.
    unsafe { KeInitializeApc(apc.get(), target, 0, kernel, rundown, normal, mode, core::ptr::without_provenance_mut(5)) };
    apc
}

fn queue(apc: &Object<KAPC>) -> bool {
    // SAFETY: an initialised APC whose thread is alive.
    unsafe { KeInsertQueueApc(apc.get(), null_mut(), null_mut(), 0) != 0 }
}

#[test]
fn a_kernel_apc_runs_at_once_in_its_own_thread() {
    sim::run(|_| {
        let apc = apc(thread::current().cast(), normal_routine as *mut c_void, KERNEL_MODE);
        assert!(queue(&apc));
        assert_eq!(JOURNAL.take(), ["kernel routine", "normal routine"]);
    });
}

#[test]
fn a_kernel_apc_runs_in_a_thread_that_waits_and_the_wait_goes_on() {
    for processors in [1, 2] {
        Simulation::new()
            .processors(processors)
            .run(|_| {
                let event = Arc::new(Object::new(KEVENT::zeroed()));
                // SAFETY: a place for an event.
                unsafe { KeInitializeEvent(event.get(), 0, 0) };
                let other = event.clone();
                let thread = spawn(8, move || assert_eq!(wait_for(other.any(), Some(100)), NTSTATUS::SUCCESS));
                sleep(1);
                let apc = apc(thread.body(), null_mut(), KERNEL_MODE);
                assert!(queue(&apc));
                sleep(1);
                assert_eq!(JOURNAL.take(), ["kernel routine"]);
                // SAFETY: an initialised event.
                unsafe { KeSetEvent(event.get(), 0, 0) };
                join(&thread);
            })
            .expect_shutdown();
    }
}

#[test]
fn a_critical_region_holds_normal_apcs_back_and_lets_special_ones_through() {
    sim::run(|_| {
        let target = thread::current().cast();
        let (normal, special) = (apc(target, normal_routine as *mut c_void, KERNEL_MODE), apc(target, null_mut(), KERNEL_MODE));
        // SAFETY: regions are left as often as they are entered.
        unsafe {
            KeEnterCriticalRegion();
            assert_eq!((KeAreApcsDisabled(), KeAreAllApcsDisabled()), (1, 0));
            assert!(queue(&normal) && !queue(&normal));
            assert_eq!(JOURNAL.take(), [""; 0]);
            assert!(queue(&special));
            assert_eq!(JOURNAL.take(), ["kernel routine"]);
            KeLeaveCriticalRegion();
            assert_eq!(JOURNAL.take(), ["kernel routine", "normal routine"]);
            KeEnterGuardedRegion();
            assert!(queue(&special));
            assert_eq!((JOURNAL.take().len(), KeAreAllApcsDisabled()), (0, 1));
            KeLeaveGuardedRegion();
            assert_eq!(JOURNAL.take(), ["kernel routine"]);
        }
    });
}

#[test]
fn a_user_apc_ends_an_alertable_user_wait_and_is_delivered_on_the_way_out() {
    sim::run(|_| {
        let thread = spawn(8, || {
            let event = Object::new(KEVENT::zeroed());
            // SAFETY: a place for an event that outlives the wait.
            unsafe {
                KeInitializeEvent(event.get(), 0, 0);
                assert_eq!(thread::before_user_mode(), None);
                assert_eq!(KeWaitForSingleObject(event.any(), 0, USER_MODE, 1, null_mut()), NTSTATUS::USER_APC);
            }
            let routine = normal_routine as *mut c_void as u64;
            assert_eq!(thread::before_user_mode(), Some(UserApc { routine, context: 5, argument1: 0, argument2: 0 }));
            assert_eq!(thread::before_user_mode(), None);
        });
        sleep(1);
        let apc = apc(thread.body(), normal_routine as *mut c_void, USER_MODE);
        assert!(queue(&apc));
        join(&thread);
        assert_eq!(JOURNAL.take(), ["kernel routine"]);
    });
}

#[test]
fn apcs_that_are_left_when_a_thread_ends_are_run_down_and_no_more_are_taken() {
    sim::run(|_| {
        let event = Arc::new(Object::new(KEVENT::zeroed()));
        // SAFETY: a place for an event.
        unsafe { KeInitializeEvent(event.get(), 0, 0) };
        let other = event.clone();
        let thread = spawn(8, move || assert_eq!(wait_for(other.any(), None), NTSTATUS::SUCCESS));
        sleep(1);
        let apc = apc(thread.body(), normal_routine as *mut c_void, USER_MODE);
        assert!(queue(&apc));
        // SAFETY: an initialised event.
        unsafe { KeSetEvent(event.get(), 0, 0) };
        join(&thread);
        assert_eq!(JOURNAL.take(), ["rundown"]);
        assert!(!queue(&apc));
    });
}
