//! Events, semaphores, mutexes, and waits for one and for several objects.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use core::ptr::null_mut;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::{KERNEL_MODE, NOTIFICATION_EVENT, SYNCHRONIZATION_EVENT, USER_MODE, WAIT_ALL, WAIT_ANY, bug_check};
use wdf_sys::wdm::{FAST_MUTEX, KEVENT, KMUTANT, KSEMAPHORE};

use super::super::event::*;
use super::super::fast_mutex::*;
use super::super::irql::*;
use super::super::mutex::*;
use super::super::semaphore::*;
use super::super::thread;
use super::super::wait::{KeAlertThread, KeWaitForMultipleObjects, KeWaitForSingleObject};
use super::{Journal, MILLISECOND, Object, join, sleep, spawn, wait_for};
use crate::sim::{self, Simulation};

fn event(kind: i32, is_set: bool) -> Object<KEVENT> {
    let event = Object::new(KEVENT::zeroed());
    // SAFETY: a place for an event.
    unsafe { KeInitializeEvent(event.get(), kind, u8::from(is_set)) };
    event
}

fn set(event: &Object<KEVENT>) -> i32 {
    // SAFETY: an initialised event.
    unsafe { KeSetEvent(event.get(), 0, 0) }
}

fn wait_for_several(objects: &[*mut core::ffi::c_void], kind: i32, milliseconds: i64) -> NTSTATUS {
    let (mut objects, mut timeout) = (objects.to_vec(), -milliseconds * MILLISECOND);
    // SAFETY: initialised objects that outlive the wait, no more than need no blocks.
    unsafe {
        KeWaitForMultipleObjects(objects.len() as u32, objects.as_mut_ptr(), kind, 0, KERNEL_MODE, 0, &mut timeout, null_mut())
    }
}

#[test]
fn a_notification_event_lets_all_pass_until_it_is_cleared() {
    sim::run(|_| {
        let event = event(NOTIFICATION_EVENT, false);
        assert_eq!(wait_for(event.any(), Some(1)), NTSTATUS::TIMEOUT);
        assert_eq!(set(&event), 0, "the state before");
        assert_eq!(set(&event), 1);
        assert_eq!(wait_for(event.any(), None), NTSTATUS::SUCCESS);
        assert_eq!(wait_for(event.any(), None), NTSTATUS::SUCCESS);
        // SAFETY: an initialised event.
        assert_eq!(unsafe { KeResetEvent(event.get()) }, 1);
        assert_eq!(wait_for(event.any(), Some(0)), NTSTATUS::TIMEOUT);
    });
}

#[test]
fn a_synchronization_event_lets_one_pass_and_the_first_that_waits_is_first() {
    sim::run(|_| {
        let event = Arc::new(event(SYNCHRONIZATION_EVENT, false));
        let journal = Arc::new(Journal::new());
        let threads = ["first", "second", "third"].map(|name| {
            let (event, journal) = (event.clone(), journal.clone());
            let thread = spawn(8, move || {
                assert_eq!(wait_for(event.any(), None), NTSTATUS::SUCCESS);
                journal.note(name);
            });
            sleep(1);
            thread
        });
        set(&event);
        sleep(1);
        assert_eq!(journal.take(), ["first"]);
        set(&event);
        set(&event);
        threads.iter().for_each(join);
        assert_eq!(journal.take(), ["second", "third"]);
        // SAFETY: an initialised event.
        assert_eq!(unsafe { KeReadStateEvent(event.get()) }, 0);
    });
}

#[test]
fn a_semaphore_lets_as_many_pass_as_it_counts() {
    sim::run(|_| {
        let semaphore = Object::new(KSEMAPHORE::zeroed());
        // SAFETY: a place for a semaphore, initialised here.
        unsafe {
            KeInitializeSemaphore(semaphore.get(), 1, 3);
            assert_eq!(KeReleaseSemaphore(semaphore.get(), 0, 2, 0), 1, "the count before");
        }
        for _ in 0..3 {
            assert_eq!(wait_for(semaphore.any(), Some(0)), NTSTATUS::SUCCESS);
        }
        assert_eq!(wait_for(semaphore.any(), Some(0)), NTSTATUS::TIMEOUT);
        // SAFETY: an initialised semaphore.
        assert_eq!(unsafe { KeReadStateSemaphore(semaphore.get()) }, 0);
    });
}

#[test]
fn a_semaphore_beyond_its_limit_raises_what_nobody_handles_here() {
    let outcome = Simulation::new().run(|_| {
        let semaphore = Object::new(KSEMAPHORE::zeroed());
        // SAFETY: a place for a semaphore, initialised here.
        unsafe {
            KeInitializeSemaphore(semaphore.get(), 3, 3);
            KeReleaseSemaphore(semaphore.get(), 0, 1, 0);
        }
    });
    let parameters = outcome.expect_bug_check(bug_check::SYSTEM_THREAD_EXCEPTION_NOT_HANDLED);
    assert_eq!(parameters[0], u64::from(NTSTATUS::SEMAPHORE_LIMIT_EXCEEDED.bits()));
}

#[test]
fn a_mutex_is_its_owners_as_often_as_it_takes_it() {
    sim::run(|_| {
        let mutex = Arc::new(Object::new(KMUTANT::zeroed()));
        // SAFETY: a place for a mutex, initialised here; then the owner's uses.
        unsafe {
            KeInitializeMutex(mutex.get(), 0);
            assert_eq!(wait_for(mutex.any(), None), NTSTATUS::SUCCESS);
            assert_eq!(wait_for(mutex.any(), None), NTSTATUS::SUCCESS);
            assert_eq!(KeReadStateMutex(mutex.get()), -1);
            let other = mutex.clone();
            let thread = spawn(8, move || assert_eq!(wait_for(other.any(), Some(1)), NTSTATUS::TIMEOUT));
            join(&thread);
            assert_eq!(KeReleaseMutex(mutex.get(), 0), -1);
            assert_eq!(KeReleaseMutex(mutex.get(), 0), 0, "free afterwards");
        }
        let other = mutex.clone();
        let thread = spawn(8, move || {
            assert_eq!(wait_for(other.any(), Some(0)), NTSTATUS::SUCCESS);
            // SAFETY: the owner releases it.
            unsafe { KeReleaseMutex(other.get(), 0) };
        });
        join(&thread);
    });
}

#[test]
fn a_thread_that_ends_with_a_mutex_is_a_bug_check() {
    let outcome = Simulation::new().run(|_| {
        let mutex = Arc::new(Object::new(KMUTANT::zeroed()));
        // SAFETY: a place for a mutex.
        unsafe { KeInitializeMutex(mutex.get(), 0) };
        let other = mutex.clone();
        join(&spawn(8, move || assert_eq!(wait_for(other.any(), None), NTSTATUS::SUCCESS)));
    });
    outcome.expect_bug_check(bug_check::THREAD_TERMINATE_HELD_MUTEX);
}

#[test]
fn waiting_for_any_names_the_first_that_is_signalled_and_leaves_the_others_alone() {
    sim::run(|_| {
        let events = [false, true, true].map(|is_set| event(SYNCHRONIZATION_EVENT, is_set));
        let objects: Vec<_> = events.iter().map(Object::any).collect();
        assert_eq!(wait_for_several(&objects, WAIT_ANY, 1000), NTSTATUS::WAIT_1);
        assert_eq!(wait_for_several(&objects, WAIT_ANY, 1000), NTSTATUS::WAIT_2);
        assert_eq!(wait_for_several(&objects, WAIT_ANY, 1), NTSTATUS::TIMEOUT);
    });
}

#[test]
fn waiting_for_all_takes_nothing_before_it_can_take_everything() {
    sim::run(|_| {
        let events = Arc::new([true, false].map(|is_set| event(SYNCHRONIZATION_EVENT, is_set)));
        let other = events.clone();
        let thread = spawn(8, move || {
            let objects: Vec<_> = other.iter().map(Object::any).collect();
            assert_eq!(wait_for_several(&objects, WAIT_ALL, 10_000), NTSTATUS::SUCCESS);
        });
        sleep(1);
        // The first is still set: the waiter has not taken it.
        assert_eq!(wait_for(events[0].any(), Some(0)), NTSTATUS::SUCCESS);
        set(&events[1]);
        sleep(1);
        set(&events[0]);
        join(&thread);
        for event in events.iter() {
            assert_eq!(wait_for(event.any(), Some(0)), NTSTATUS::TIMEOUT);
        }
    });
}

#[test]
fn the_same_object_twice_in_one_wait_is_no_problem() {
    sim::run(|_| {
        let event = Arc::new(event(NOTIFICATION_EVENT, false));
        let other = event.clone();
        let thread = spawn(8, move || {
            assert_eq!(wait_for_several(&[other.any(), other.any()], WAIT_ANY, 1000), NTSTATUS::SUCCESS);
        });
        sleep(1);
        set(&event);
        join(&thread);
    });
}

#[test]
fn an_alert_ends_an_alertable_wait_and_only_that() {
    sim::run(|_| {
        let event = Arc::new(event(NOTIFICATION_EVENT, false));
        let other = event.clone();
        let thread = spawn(8, move || {
            // SAFETY: an initialised event that outlives the waits.
            unsafe {
                assert_eq!(KeWaitForSingleObject(other.any(), 0, USER_MODE, 1, null_mut()), NTSTATUS::ALERTED);
                // The next alert comes before the wait.
                KeAlertThread(thread::current().cast(), KERNEL_MODE);
                assert_eq!(KeWaitForSingleObject(other.any(), 0, KERNEL_MODE, 1, null_mut()), NTSTATUS::ALERTED);
                KeAlertThread(thread::current().cast(), KERNEL_MODE);
                assert_eq!(wait_for(other.any(), Some(1)), NTSTATUS::TIMEOUT);
            }
        });
        sleep(1);
        // SAFETY: a thread that is alive.
        unsafe { KeAlertThread(thread.body(), USER_MODE) };
        join(&thread);
    });
}

#[test]
fn a_fast_mutex_keeps_others_out_at_apc_level() {
    sim::run(|_| {
        let mutex = Arc::new(Object::new(FAST_MUTEX::zeroed()));
        let inside = Arc::new(AtomicI32::new(0));
        // SAFETY: a place for a mutex; a guarded one has the same form.
        unsafe { KeInitializeGuardedMutex(mutex.get()) };
        let threads = [8, 9, 8].map(|priority| {
            let (mutex, inside) = (mutex.clone(), inside.clone());
            spawn(priority, move || {
                for _ in 0..20 {
                    // SAFETY: an initialised mutex, released by its owner.
                    unsafe {
                        ExAcquireFastMutex(mutex.get());
                        assert_eq!((KeGetCurrentIrql(), inside.fetch_add(1, Ordering::SeqCst)), (1, 0));
                        sleep(1);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        ExReleaseFastMutex(mutex.get());
                        assert_eq!(KeGetCurrentIrql(), 0);
                    }
                }
            })
        });
        threads.iter().for_each(join);
    });
}

#[test]
fn a_fast_mutex_that_is_taken_twice_is_a_bug_check_that_names_it() {
    let outcome = Simulation::new().run(|_| {
        let mutex = Object::new(FAST_MUTEX::zeroed());
        // SAFETY: a place for a mutex, and what a driver must not do.
        unsafe {
            KeInitializeGuardedMutex(mutex.get());
            ExAcquireFastMutex(mutex.get());
            ExAcquireFastMutex(mutex.get());
        }
    });
    assert_eq!(outcome.expect_bug_check(bug_check::DRIVER_VERIFIER_DETECTED_VIOLATION)[0], 0x1000);
}

#[test]
fn waiting_at_dispatch_level_is_a_bug_check_unless_it_does_not_wait() {
    let outcome = Simulation::new().run(|_| {
        let event = event(NOTIFICATION_EVENT, false);
        // SAFETY: raising the IRQL.
        unsafe { KfRaiseIrql(2) };
        assert_eq!(wait_for(event.any(), Some(0)), NTSTATUS::TIMEOUT);
        let _ = wait_for(event.any(), Some(1));
    });
    assert_eq!(outcome.expect_bug_check(bug_check::IRQL_NOT_LESS_OR_EQUAL)[1], 2);
}

#[test]
fn waiting_for_what_was_never_initialised_is_a_bug_check() {
    let outcome = Simulation::new().run(|_| {
        let event = Object::new(KEVENT::zeroed());
        let _ = wait_for(event.any(), None);
    });
    outcome.expect_bug_check(bug_check::KERNEL_SECURITY_CHECK_FAILURE);
}
