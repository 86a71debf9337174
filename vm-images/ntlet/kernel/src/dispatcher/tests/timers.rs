//! Timers and time-outs, against the virtual clock.

use std::sync::atomic::{AtomicU32, Ordering};

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::{KERNEL_MODE, NOTIFICATION_TIMER, SYNCHRONIZATION_TIMER};
use wdf_sys::wdm::{KDPC, KTIMER};

use super::super::dpc::*;
use super::super::timer::*;
use super::super::wait::KeDelayExecutionThread;
use super::{MILLISECOND, Object, sleep, wait_for};
use crate::sim::{self, Machine};
use crate::{hal, time};

/// How many milliseconds `body` takes, rounded.
fn milliseconds(machine: &Machine, body: impl FnOnce()) -> u64 {
    let before = machine.now();
    body();
    (machine.now() - before + 5_000) / 10_000
}

fn timer(kind: i32) -> Object<KTIMER> {
    let timer = Object::new(KTIMER::zeroed());
    // SAFETY: a place for a timer.
    unsafe { KeInitializeTimerEx(timer.get(), kind) };
    timer
}

#[test]
fn a_delay_lasts_as_long_as_it_says() {
    sim::run(|machine| {
        for duration in [1, 15, 16, 100, 10_000] {
            assert_eq!(milliseconds(machine, || sleep(duration)), duration as u64);
        }
    });
}

#[test]
fn an_absolute_time_is_system_time_and_one_that_has_passed_ends_at_once() {
    sim::run(|machine| {
        let mut until = time::system_time() + 30 * MILLISECOND;
        // SAFETY: a time.
        let delay = |until: &mut i64| assert_eq!(unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, until) }, NTSTATUS::SUCCESS);
        assert_eq!(milliseconds(machine, || delay(&mut until)), 30);
        assert_eq!(milliseconds(machine, || delay(&mut until)), 0);
    });
}

#[test]
fn timers_fire_in_order_of_their_due_times_whatever_the_order_of_setting() {
    sim::run(|machine| {
        let timers = [70, 20, 50, 20, 90].map(|due| {
            let timer = timer(NOTIFICATION_TIMER);
            // SAFETY: an initialised timer.
            unsafe { assert_eq!(KeSetTimer(timer.get(), -due * MILLISECOND, null_mut()), 0) };
            (due, timer)
        });
        let start = machine.now();
        for (due, timer) in [1, 3, 2, 0, 4].map(|index| &timers[index]) {
            assert_eq!(wait_for(timer.any(), None), NTSTATUS::SUCCESS);
            assert_eq!((machine.now() - start + 5000) / 10_000, *due as u64);
            // SAFETY: an initialised timer.
            assert_eq!(unsafe { KeReadStateTimer(timer.get()) }, 1, "it stays signalled");
        }
    });
}

#[test]
fn a_cancelled_timer_does_not_fire_and_says_whether_it_ran() {
    sim::run(|_| {
        let timer = timer(NOTIFICATION_TIMER);
        // SAFETY: an initialised timer.
        unsafe {
            KeSetTimer(timer.get(), -10 * MILLISECOND, null_mut());
            assert_eq!(KeSetTimer(timer.get(), -20 * MILLISECOND, null_mut()), 1, "it ran");
            assert_eq!(KeCancelTimer(timer.get()), 1);
            assert_eq!(KeCancelTimer(timer.get()), 0);
        }
        assert_eq!(wait_for(timer.any(), Some(100)), NTSTATUS::TIMEOUT);
    });
}

static FIRED: AtomicU32 = AtomicU32::new(0);

unsafe extern "win64" fn count(_: *mut KDPC, context: *mut c_void, low: *mut c_void, high: *mut c_void) {
    let system_time = low.addr() as u64 | (high.addr() as u64) << 32;
    assert!(system_time.abs_diff(time::system_time() as u64) < 10_000);
    assert_eq!((hal().irql(), context.addr()), (2, 7));
    FIRED.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn a_periodic_timer_queues_its_dpc_again_and_again_until_it_is_cancelled() {
    sim::run(|_| {
        let (timer, dpc) = (timer(SYNCHRONIZATION_TIMER), Object::new(KDPC::zeroed()));
        // SAFETY: places for a timer and a DPC, initialised here.
        unsafe {
            KeInitializeDpc(dpc.get(), Some(count), core::ptr::without_provenance_mut(7));
            KeSetTimerEx(timer.get(), -5 * MILLISECOND, 10, dpc.get());
            for _ in 0..4 {
                assert_eq!(wait_for(timer.any(), Some(11)), NTSTATUS::SUCCESS);
            }
            assert_eq!(FIRED.load(Ordering::Relaxed), 4);
            sleep(100);
            assert_eq!(KeCancelTimer(timer.get()), 1);
            assert_eq!(FIRED.load(Ordering::Relaxed), 14);
            sleep(100);
            assert_eq!(FIRED.load(Ordering::Relaxed), 14);
        }
    });
}

#[test]
fn a_stall_takes_its_time_without_giving_the_processor_away() {
    sim::run(|machine| {
        let before = machine.now();
        // SAFETY: no conditions.
        unsafe { time::KeStallExecutionProcessor(50) };
        assert!((500..520).contains(&(machine.now() - before)), "{}", machine.now() - before);
    });
}
