//! Executive resources, rundown protection, one-time initialisation, device queues.

use core::ptr::{null_mut, without_provenance_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::{KDEVICE_QUEUE, KDEVICE_QUEUE_ENTRY};

use super::super::device_queue::*;
use super::super::resource::*;
use super::super::run_once::*;
use super::super::rundown::*;
use super::{Journal, Object, join, sleep, spawn};
use crate::sim::{self, Simulation};

fn resource() -> Arc<Object<core::mem::MaybeUninit<Resource>>> {
    let resource = Arc::new(Object::new(core::mem::MaybeUninit::uninit()));
    // SAFETY: a place for a resource.
    let _ = unsafe { ExInitializeResourceLite(resource.any().cast()) };
    resource
}

#[test]
fn readers_share_a_resource_and_a_writer_has_it_alone() {
    for processors in [1, 3] {
        Simulation::new()
            .processors(processors)
            .run(|_| {
                let (resource, inside) = (resource(), Arc::new(AtomicI32::new(0)));
                let threads: Vec<_> = (0..9)
                    .map(|number| {
                        let (resource, inside) = (resource.clone(), inside.clone());
                        spawn(8, move || {
                            let resource: *mut Resource = resource.any().cast();
                            for _ in 0..10 {
                                // SAFETY: an initialised resource, released by whoever has it.
                                unsafe {
                                    if number % 3 == 0 {
                                        assert_eq!(ExAcquireResourceExclusiveLite(resource, 1), 1);
                                        assert_eq!(inside.fetch_add(100, Ordering::SeqCst), 0);
                                        sleep(1);
                                        inside.fetch_sub(100, Ordering::SeqCst);
                                    } else {
                                        assert_eq!(ExAcquireResourceSharedLite(resource, 1), 1);
                                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 100);
                                        sleep(1);
                                        inside.fetch_sub(1, Ordering::SeqCst);
                                    }
                                    ExReleaseResourceLite(resource);
                                }
                            }
                        })
                    })
                    .collect();
                threads.iter().for_each(join);
            })
            .expect_shutdown();
    }
}

#[test]
fn a_writer_may_take_its_resource_again_and_become_a_reader() {
    sim::run(|_| {
        let shared = resource();
        let resource: *mut Resource = shared.any().cast();
        // SAFETY: an initialised resource, released as often as it is taken.
        unsafe {
            assert_eq!(ExAcquireResourceExclusiveLite(resource, 0), 1);
            assert_eq!(ExAcquireResourceSharedLite(resource, 0), 1);
            ExReleaseResourceLite(resource);
            assert_eq!(ExIsResourceAcquiredExclusiveLite(resource), 1);
            let other = shared.clone();
            let refused = move || assert_eq!(ExAcquireResourceSharedLite(other.any().cast(), 0), 0);
            join(&spawn(8, refused));
            ExConvertExclusiveToSharedLite(resource);
            let other = shared.clone();
            join(&spawn(8, move || {
                assert_eq!(ExAcquireResourceSharedLite(other.any().cast(), 0), 1);
                ExReleaseResourceLite(other.any().cast());
            }));
            ExReleaseResourceLite(resource);
        }
    });
}

#[test]
fn releasing_a_resource_that_nobody_has_is_a_bug_check() {
    let outcome = Simulation::new().run(|_| {
        // SAFETY: an initialised resource, and what a driver must not do.
        unsafe { ExReleaseResourceLite(resource().any().cast()) };
    });
    outcome.expect_bug_check(0xe3);
}

#[test]
fn who_comes_while_the_first_is_at_work_waits_for_it() {
    sim::run(|_| {
        let (once, journal) = (Arc::new(Object::new(0usize)), Arc::new(Journal::new()));
        // SAFETY: an initialised word; the contexts are places of their own.
        unsafe {
            assert_eq!(RtlRunOnceBeginInitialize(once.get(), 0, null_mut()), NTSTATUS::PENDING);
            let threads = [9, 9].map(|priority| {
                let (other, noted) = (once.clone(), journal.clone());
                spawn(priority, move || {
                    let mut context = null_mut();
                    assert_eq!(RtlRunOnceBeginInitialize(other.get(), 0, &raw mut context), NTSTATUS::SUCCESS);
                    noted.note("there it is");
                    assert_eq!(context.addr(), 0x1000);
                })
            });
            sleep(1);
            assert!(journal.take().is_empty());
            assert_eq!(RtlRunOnceComplete(once.get(), 0, without_provenance_mut(0x1000)), NTSTATUS::SUCCESS);
            for thread in threads {
                join(&thread);
            }
        }
        assert_eq!(journal.take(), ["there it is"; 2]);
    });
}

#[test]
fn a_rundown_waits_for_the_last_use_and_lets_no_new_one_begin() {
    sim::run(|_| {
        let (reference, journal) = (Arc::new(Object::new(0usize)), Arc::new(Journal::new()));
        // SAFETY: an initialised reference; uses are released as often as they are acquired.
        unsafe {
            assert_eq!(ExAcquireRundownProtection(reference.get()), 1);
            assert_eq!(ExAcquireRundownProtectionEx(reference.get(), 2), 1);
            let (other, noted) = (reference.clone(), journal.clone());
            let thread = spawn(9, move || {
                ExWaitForRundownProtectionRelease(other.get());
                noted.note("run down");
            });
            sleep(1);
            assert_eq!(ExAcquireRundownProtection(reference.get()), 0);
            ExReleaseRundownProtectionEx(reference.get(), 2);
            sleep(1);
            assert!(journal.take().is_empty());
            ExReleaseRundownProtection(reference.get());
            join(&thread);
            assert_eq!(journal.take(), ["run down"]);
            assert_eq!(ExAcquireRundownProtection(reference.get()), 0);
            ExReInitializeRundownProtection(reference.get());
            assert_eq!(ExAcquireRundownProtection(reference.get()), 1);
        }
    });
}

#[test]
fn a_device_queue_holds_entries_only_while_its_device_is_busy() {
    sim::run(|_| {
        let queue = Object::new(KDEVICE_QUEUE::zeroed());
        let entries = [5u32, 9, 7, 1].map(|key| (key, Object::new(KDEVICE_QUEUE_ENTRY::zeroed())));
        // SAFETY: a place for a queue; entries that stay, in one queue at most.
        unsafe {
            KeInitializeDeviceQueue(queue.get());
            assert_eq!(KeInsertByKeyDeviceQueue(queue.get(), entries[0].1.get(), 5), 0, "the device is idle");
            for (key, entry) in &entries[1..] {
                assert_eq!(KeInsertByKeyDeviceQueue(queue.get(), entry.get(), *key), 1);
            }
            assert_eq!(KeRemoveByKeyDeviceQueue(queue.get(), 6), entries[2].1.get());
            assert_eq!(KeRemoveEntryDeviceQueue(queue.get(), entries[1].1.get()), 1);
            assert_eq!(KeRemoveEntryDeviceQueue(queue.get(), entries[1].1.get()), 0);
            assert_eq!(KeRemoveDeviceQueue(queue.get()), entries[3].1.get());
            assert!(KeRemoveDeviceQueue(queue.get()).is_null());
            assert_eq!(KeInsertDeviceQueue(queue.get(), entries[0].1.get()), 0, "idle again");
        }
    });
}
