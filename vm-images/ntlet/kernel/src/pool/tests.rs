//! The pool on the simulated machine, and what it says about drivers that misuse it.

use wdf_sys::wdm::constants::{NON_PAGED_POOL_NX, POOL_FLAG_NON_PAGED, POOL_FLAG_PAGED, POOL_FLAG_UNINITIALIZED, bug_check};

use super::*;
use crate::loader::modules::Description;
use crate::sim::{self, Simulation};

const TAG: u32 = u32::from_le_bytes(*b"Test");

fn block(size: usize) -> *mut u8 {
    // SAFETY: PASSIVE_LEVEL.
    let block = unsafe { ExAllocatePool2(POOL_FLAG_NON_PAGED, size, TAG) }.cast::<u8>();
    assert!(!block.is_null());
    block
}

fn give_back(block: *mut u8) {
    // SAFETY: a block that nobody uses any more.
    unsafe { ExFreePoolWithTag(block.cast(), TAG) };
}

#[test]
fn blocks_of_every_size_are_aligned_zeroed_and_apart() {
    sim::run(|_| {
        let sizes = [1, 15, 16, 17, 100, 300, 700, 1000, 1500, 2000, 3000, 4000, 4095, 4096, 4097, 70_000];
        let mut blocks = Vec::new();
        for round in 0..20u8 {
            for size in sizes {
                let block = block(size);
                let align = if size >= PAGE_SIZE { PAGE_SIZE } else { 16 };
                assert!(block.addr().is_multiple_of(align), "{size}");
                assert!(
                    size > PAGE_SIZE || block.addr() % PAGE_SIZE + size <= PAGE_SIZE,
                    "{size} bytes cross the border of a page"
                );
                // SAFETY: the block has this size.
                unsafe {
                    assert!(core::slice::from_raw_parts(block, size).iter().all(|&byte| byte == 0), "{size}");
                    block.write_bytes(round + 1, size);
                }
                blocks.push((block, size, round + 1));
            }
        }
        for (block, size, value) in blocks {
            // SAFETY: as above.
            assert!(unsafe { core::slice::from_raw_parts(block, size) }.iter().all(|&byte| byte == value), "{size}");
            give_back(block);
        }
    });
}

#[test]
fn memory_that_was_given_back_is_used_again() {
    sim::run(|_| {
        let round = || {
            let blocks: Vec<_> = (1..300).map(|number| block(number * 37)).collect();
            blocks.into_iter().for_each(give_back);
        };
        round();
        let (before, _) = hal().memory();
        (0..10).for_each(|_| round());
        assert_eq!(hal().memory().0, before);
    });
}

#[test]
fn what_is_asked_for_wrongly_is_refused() {
    sim::run(|_| {
        // SAFETY: PASSIVE_LEVEL.
        unsafe {
            assert!(ExAllocatePool2(POOL_FLAG_NON_PAGED, 0, TAG).is_null());
            assert!(ExAllocatePool2(POOL_FLAG_NON_PAGED | POOL_FLAG_PAGED, 8, TAG).is_null());
            assert!(ExAllocatePool2(POOL_FLAG_UNINITIALIZED, 8, TAG).is_null());
            assert!(ExAllocatePool2(POOL_FLAG_NON_PAGED, usize::MAX, TAG).is_null());
            assert!(ExAllocatePool2(POOL_FLAG_NON_PAGED, 1 << 30, TAG).is_null(), "more than there is");
        }
    });
}

#[test]
fn a_cache_aligned_block_begins_at_a_cache_line() {
    sim::run(|_| {
        for size in [1, 64, 500, 4000] {
            const NON_PAGED_CACHE_ALIGNED: i32 = NON_PAGED_POOL_NX + 4;
            // SAFETY: PASSIVE_LEVEL.
            let block = unsafe { ExAllocatePoolWithTag(NON_PAGED_CACHE_ALIGNED, size, TAG) };
            assert!(block.addr().is_multiple_of(64));
            give_back(block.cast());
        }
    });
}

#[test]
fn a_block_that_is_freed_twice_is_a_bug_check() {
    let outcome = Simulation::new().run(|_| {
        let block = block(40);
        give_back(block);
        give_back(block);
    });
    assert_eq!(outcome.expect_bug_check(bug_check::BAD_POOL_CALLER)[0], 7);
}

#[test]
fn a_block_that_was_overrun_is_a_bug_check_when_it_is_freed() {
    for size in [40, 5000] {
        let outcome = Simulation::new().run(|_| {
            let block = block(size);
            // SAFETY: what a driver must not do; the byte is that of the mark.
            unsafe { block.add(size).write(1) };
            give_back(block);
        });
        outcome.expect_bug_check(bug_check::BAD_POOL_HEADER);
    }
}

#[test]
fn a_block_that_is_written_after_it_was_freed_is_a_bug_check_when_it_is_given_out_again() {
    let outcome = Simulation::new().run(|_| {
        let freed = block(40);
        give_back(freed);
        // SAFETY: what a driver must not do; the byte is behind the link of the free cell.
        unsafe { freed.add(20).write(1) };
        block(40);
    });
    outcome.expect_bug_check(bug_check::BAD_POOL_HEADER);
}

#[test]
fn freeing_what_is_no_block_or_has_another_tag_is_a_bug_check() {
    for (offset, tag, expected) in [(16, TAG, 0x46), (8, TAG, 0x46), (0, TAG + 1, 0xa)] {
        let outcome = Simulation::new().run(|_| {
            let block = block(400).wrapping_add(offset);
            // SAFETY: what a driver must not do.
            unsafe { ExFreePoolWithTag(block.cast(), tag) };
        });
        assert_eq!(outcome.expect_bug_check(bug_check::BAD_POOL_CALLER)[0], expected);
    }
    let outcome = Simulation::new().run(|_| give_back(core::ptr::without_provenance_mut(0x10)));
    assert_eq!(outcome.expect_bug_check(bug_check::BAD_POOL_CALLER)[0], 0x46);
}

#[test]
fn the_pool_above_dispatch_level_is_a_bug_check() {
    let outcome = Simulation::new().run(|_| {
        hal().set_irql(5);
        block(8);
    });
    assert_eq!(outcome.expect_bug_check(bug_check::BAD_POOL_CALLER)[..2], [8, 5]);
}

#[test]
fn what_a_driver_leaves_behind_is_reported_by_tag() {
    let outcome = sim::run(|_| {
        // A driver whose code is this very test's: allocations are accounted by the address they return to. It begins well before
        // this one function, since the others of the test may lie on either side of it.
        let base = (block as *const ()).addr() - 0x100_0000;
        let driver =
            Description { name: "leaky.sys", base, size: 0x200_0000, code: (0, 0x200_0000), functions: (0, 0), time_stamp: 0 };
        let module = modules::all().next().unwrap();
        modules::remove(&module);
        let image = Description { name: "ntlet", base: 1, size: 1, code: (0, 0), functions: (0, 0), time_stamp: 0 };
        modules::add(&image).unwrap();
        let driver = modules::add(&driver).unwrap();

        let kept = [block(10), block(20)];
        give_back(block(30));

        assert_eq!(usage(driver.slot()), Usage { blocks: 2, bytes: 30 });
        assert_eq!(leak_report(driver.slot()), Usage { blocks: 2, bytes: 30 });
        assert_eq!(leak_report(driver.slot()), Usage::default());
        assert_eq!(kept.len(), 2);
    });
    assert!(outcome.has_logged("leaky.sys leaves 2 pool blocks with 30 bytes behind"), "{}", outcome.log);
    assert!(outcome.has_logged("tag Test: 2 blocks, 30 bytes"), "{}", outcome.log);
}

#[test]
fn rusts_allocator_gives_blocks_of_every_alignment() {
    sim::run(|_| {
        for align in [1, 8, 16, 64, 512, 2048, 4096] {
            let layout = Layout::from_size_align(100, align).unwrap();
            // SAFETY: the layout is not empty; the block is freed with it.
            unsafe {
                let block = KernelAllocator.alloc(layout);
                assert!(!block.is_null() && block.addr().is_multiple_of(align), "{align}");
                block.write_bytes(1, 100);
                KernelAllocator.dealloc(block, layout);
            }
        }
    });
}
