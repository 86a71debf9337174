//! The suites: tests of drivers and of the framework, as they run inside a guest.
//!
//! [`serve`] talks to the harness over COM2: it lists the tests and runs the ones it is asked for, one at a time. A test is a
//! function over a [`Bench`]; it says what it expects with `ensure!` and `ensure_eq!`, and the first expectation that does not
//! hold ends it. [`nt`] is all that is known of the system underneath: `ntdll.dll`, and nothing else, so that the same file runs on
//! ntlet and on Windows.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod bench;
mod contract;
mod device;
mod link;
pub mod nt;
mod perf;
mod relay;
mod serve;
mod stress;

pub use bench::{Bench, Failure, Going, Test, TestResult};
#[doc(hidden)]
pub use bench::{check, check_equal};
pub use channel::{Expected, Needs};
pub use serve::{report_panic, serve};

/// Makes a program of the tests that a function gives: heap, entry point, panic handler.
#[macro_export]
macro_rules! program {
    ($all:expr) => {
        #[global_allocator]
        static HEAP: $crate::nt::Heap = $crate::nt::Heap::empty();

        /// The program's entry point: no C runtime, no arguments.
        #[unsafe(no_mangle)]
        extern "win64" fn suite_start() -> ! {
            $crate::nt::exit_process(match HEAP.start().and_then(|()| $crate::serve($all)) {
                Ok(()) => $crate::nt::NTSTATUS::SUCCESS,
                Err(status) => status,
            })
        }

        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::report_panic(info)
        }
    };
}

/// Every test of every suite, in the order in which they run.
pub fn all() -> impl Iterator<Item = &'static Test> {
    let rest = [stress::TESTS, perf::TESTS];
    device::tests().chain(contract::TESTS.iter().copied().chain(rest).flatten())
}
