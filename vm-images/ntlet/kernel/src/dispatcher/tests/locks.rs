//! Spin locks of drivers.

use std::sync::Arc;

use wdf_sys::wdm::constants::bug_check;

use super::super::irql::*;
use super::super::spin_lock::*;
use super::{Object, join, spawn};
use crate::hal;
use crate::sim::{self, Simulation};

#[test]
fn a_spin_lock_raises_to_dispatch_level_and_puts_the_irql_back() {
    sim::run(|_| {
        let lock = Object::new(0usize);
        // SAFETY: a place for a lock.
        unsafe {
            KeInitializeSpinLock(lock.get());
            let irql = KeAcquireSpinLockRaiseToDpc(lock.get());
            assert_eq!((irql, KeGetCurrentIrql(), KeTestSpinLock(lock.get())), (0, 2, 0));
            KeReleaseSpinLock(lock.get(), irql);
            assert_eq!((KeGetCurrentIrql(), KeTestSpinLock(lock.get())), (0, 1));
        }
    });
}

#[test]
fn a_counter_under_a_spin_lock_is_exact_on_four_processors() {
    Simulation::new()
        .processors(4)
        .run(|_| {
            let shared = Arc::new((Object::new(0usize), Object::new(0u64)));
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let shared = shared.clone();
                    spawn(16, move || {
                        for _ in 0..200 {
                            // SAFETY: the lock guards the counter.
                            unsafe {
                                let irql = KeAcquireSpinLockRaiseToDpc(shared.0.get());
                                let value = shared.1.get().read_volatile();
                                hal().relax();
                                shared.1.get().write_volatile(value + 1);
                                KeReleaseSpinLock(shared.0.get(), irql);
                            }
                        }
                    })
                })
                .collect();
            threads.iter().for_each(join);
            // SAFETY: nobody else uses it any more.
            assert_eq!(unsafe { shared.1.get().read() }, 800);
        })
        .expect_shutdown();
}

#[test]
fn taking_a_lock_twice_is_a_bug_check_that_names_it() {
    let outcome = Simulation::new().run(|_| {
        let lock = Object::new(0usize);
        // SAFETY: a lock, and what a driver must not do.
        unsafe {
            KeAcquireSpinLockRaiseToDpc(lock.get());
            KeAcquireSpinLockAtDpcLevel(lock.get());
        }
    });
    assert_ne!(outcome.expect_bug_check(bug_check::SPIN_LOCK_ALREADY_OWNED)[0], 0);
}

#[test]
fn releasing_a_lock_that_is_free_is_a_bug_check() {
    let outcome = Simulation::new().run(|_| {
        let lock = Object::new(0usize);
        // SAFETY: a lock, and what a driver must not do.
        unsafe { KeReleaseSpinLockFromDpcLevel(lock.get()) };
    });
    outcome.expect_bug_check(bug_check::SPIN_LOCK_NOT_OWNED);
}

#[test]
fn readers_share_and_a_writer_is_alone() {
    sim::run(|_| {
        let lock = Object::new(0i32);
        // SAFETY: a lock.
        unsafe {
            let irql = ExAcquireSpinLockShared(lock.get());
            ExAcquireSpinLockSharedAtDpcLevel(lock.get());
            ExReleaseSpinLockSharedFromDpcLevel(lock.get());
            ExReleaseSpinLockShared(lock.get(), irql);
            let irql = ExAcquireSpinLockExclusive(lock.get());
            assert_eq!(*lock.get(), i32::MIN);
            ExReleaseSpinLockExclusive(lock.get(), irql);
            assert_eq!(*lock.get(), 0);
        }
    });
}

#[test]
fn raising_below_and_lowering_above_are_bug_checks() {
    // SAFETY: what a driver must not do, in both directions.
    let lowered = Simulation::new().run(|_| unsafe {
        KfRaiseIrql(5);
        KfRaiseIrql(2);
    });
    assert_eq!(lowered.expect_bug_check(bug_check::IRQL_NOT_GREATER_OR_EQUAL)[..2], [5, 2]);
    // SAFETY: as above.
    let raised = Simulation::new().run(|_| unsafe { KeLowerIrql(2) });
    raised.expect_bug_check(bug_check::IRQL_NOT_LESS_OR_EQUAL);
}
