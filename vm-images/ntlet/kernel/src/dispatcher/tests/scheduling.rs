//! Who runs when: priorities, preemption, quanta, several processors, the end of threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::bug_check;

use super::super::irql::*;
use super::super::thread::exported::*;
use super::super::thread::{self, Thread};
use super::{Journal, join, sleep, spawn, wait_for};
use crate::hal;
use crate::sim::{self, End, Simulation};

#[test]
fn the_guest_boots_runs_its_first_thread_and_shuts_down() {
    let outcome = sim::run(|_| {
        assert_eq!(hal().irql(), 0);
        log!("the first thread runs on processor {}", hal().current_processor());
    });
    assert!(outcome.has_logged("cpu0] the first thread runs on processor 0"), "{}", outcome.log);
}

#[test]
fn a_better_thread_runs_at_once_and_a_worse_one_waits() {
    sim::run(|_| {
        let journal = Arc::new(Journal::new());
        let noted = |priority, name| {
            let journal = journal.clone();
            spawn(priority, move || journal.note(name))
        };
        let worse = noted(4, "worse");
        journal.note("main");
        let better = noted(20, "better");
        journal.note("main again");
        join(&worse);
        join(&better);
        assert_eq!(journal.take(), ["main", "better", "main again", "worse"]);
    });
}

#[test]
fn threads_of_one_priority_share_the_processor_by_quanta() {
    sim::run(|_| {
        let turns = Arc::new(AtomicU32::new(0));
        let last = Arc::new(AtomicU32::new(9));
        let threads = [0u32, 1].map(|number| {
            let (turns, last) = (turns.clone(), last.clone());
            spawn(8, move || {
                let start = hal().uptime();
                // Neither ever waits, for a second.
                while hal().uptime() - start < 10_000_000 {
                    if last.swap(number, Ordering::Relaxed) != number {
                        turns.fetch_add(1, Ordering::Relaxed);
                    }
                    hal().relax();
                }
            })
        });
        threads.iter().for_each(join);
        let turns = turns.load(Ordering::Relaxed);
        assert!((15..200).contains(&turns), "{turns} turns");
    });
}

#[test]
fn two_processors_run_two_threads_at_once() {
    Simulation::new()
        .processors(2)
        .run(|_| {
            let flags = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
            let threads = [0usize, 1].map(|number| {
                let flags = flags.clone();
                spawn(16, move || {
                    // Each waits, spinning, for the other: on one processor neither would get on.
                    flags[number].store(true, Ordering::SeqCst);
                    while !flags[1 - number].load(Ordering::SeqCst) {
                        hal().relax();
                    }
                })
            });
            threads.iter().for_each(join);
        })
        .expect_shutdown();
}

#[test]
fn four_processors_and_forty_threads_lose_nothing() {
    Simulation::new()
        .processors(4)
        .run(|_| {
            let sum = Arc::new(AtomicU64::new(0));
            let threads: Vec<_> = (0..40u64)
                .map(|number| {
                    let sum = sum.clone();
                    spawn(6 + (number % 5) as u8, move || {
                        for _ in 0..10 {
                            sum.fetch_add(number, Ordering::Relaxed);
                            sleep(1 + (number % 3) as i64);
                        }
                    })
                })
                .collect();
            threads.iter().for_each(join);
            assert_eq!(sum.load(Ordering::Relaxed), 10 * (0..40).sum::<u64>());
        })
        .expect_shutdown();
}

#[test]
fn a_thread_with_an_affinity_stays_where_it_may_be() {
    Simulation::new()
        .processors(3)
        .run(|_| {
            for number in [2, 0, 1, 2] {
                // SAFETY: no conditions.
                unsafe { KeSetSystemAffinityThreadEx(1 << number) };
                for _ in 0..3 {
                    assert_eq!(hal().current_processor(), number);
                    sleep(1);
                }
            }
            // SAFETY: no conditions.
            unsafe {
                assert_eq!(KeSetSystemAffinityThreadEx(0b11), 0b100);
                assert_eq!(KeSetSystemAffinityThreadEx(1 << 40), 0, "no such processor");
                KeRevertToUserAffinityThreadEx(0);
            }
        })
        .expect_shutdown();
}

#[test]
fn an_ended_thread_is_signalled_and_keeps_its_status() {
    sim::run(|_| {
        let ended = spawn(8, || {
            // SAFETY: a system thread at PASSIVE_LEVEL.
            let _ = unsafe { PsTerminateSystemThread(NTSTATUS::CANCELLED) };
            unreachable!("the thread has ended");
        });
        join(&ended);
        assert_eq!(wait_for(ended.body(), Some(0)), NTSTATUS::SUCCESS, "it stays signalled");
        // SAFETY: the reference keeps the thread's object.
        assert_eq!(unsafe { (*ended.body().cast::<Thread>()).exit_status() }, NTSTATUS::CANCELLED);
    });
}

#[test]
fn the_memory_of_ended_threads_comes_back() {
    sim::run(|_| {
        let round = || {
            let threads: Vec<_> = (0..30).map(|_| spawn(8, || sleep(1))).collect();
            threads.iter().for_each(join);
            sleep(5);
        };
        round();
        let (before, _) = hal().memory();
        (0..5).for_each(|_| round());
        let (after, _) = hal().memory();
        assert_eq!(before, after);
    });
}

#[test]
fn a_changed_priority_counts_at_once() {
    sim::run(|_| {
        let journal = Arc::new(Journal::new());
        let other = journal.clone();
        let thread = spawn(4, move || other.note("low thread"));
        // SAFETY: a thread that is alive.
        unsafe {
            assert_eq!(KeSetPriorityThread(thread.body(), 16), 4);
            journal.note("main");
            assert_eq!(KeQueryPriorityThread(thread::current().cast()), 9);
        }
        join(&thread);
        assert_eq!(journal.take(), ["low thread", "main"]);
    });
}

#[test]
fn a_processor_that_stays_at_dispatch_level_is_a_bug_check_after_a_while() {
    let outcome = Simulation::new().run(|_| {
        // SAFETY: raising the IRQL, and never lowering it again.
        unsafe { KeRaiseIrqlToDpcLevel() };
        loop {
            hal().relax();
        }
    });
    assert_eq!(outcome.expect_bug_check(bug_check::DPC_WATCHDOG_VIOLATION)[0], 1);
}

#[test]
fn a_wait_that_nothing_can_end_is_noticed() {
    let outcome = Simulation::new().run(|_| {
        let event = super::Object::new(wdf_sys::wdm::KEVENT::zeroed());
        // SAFETY: a place for an event.
        unsafe { super::super::event::KeInitializeEvent(event.get(), 0, 0) };
        let _ = wait_for(event.any(), None);
    });
    assert!(matches!(outcome.end, End::Stuck(_)), "{:?}", outcome.end);
}
