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

pub use bench::{Bench, Failure, Test, TestResult};
pub use serve::{report_panic, serve};

/// Every test of every suite, in the order in which they run.
pub fn all() -> impl Iterator<Item = &'static Test> {
    let rest = [stress::TESTS, perf::TESTS];
    device::tests().chain(contract::TESTS.iter().copied().chain(rest).flatten())
}
