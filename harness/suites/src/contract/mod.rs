//! Suite `contract`: every sentence of the DDI pages about forwarding, reusing and cancelling requests, and what the framework is known to
//! do beyond them.
//!
//! The driver under test is the framework itself. `probe.sys` does to it what a test says, step by step ([`steps`]), and reports what came
//! of each step ([`probe`]). `docs/contract.md` numbers the sentences and names the tests of each; [`document`] holds the two together.
//! Unless a list says otherwise, its tests expect the framework verifier to be on.

mod bug_checks;
mod cancel;
#[cfg(test)]
mod document;
mod forward;
mod ownership;
mod power;
pub(crate) mod probe;
mod queues;
mod reuse;
mod send;
pub(crate) mod steps;
mod without_verifier;

use crate::bench::Test;

/// The tests. Those that end the guest come last.
pub(crate) const TESTS: &[&[Test]] = &[
    cancel::TESTS,
    forward::TESTS,
    reuse::TESTS,
    send::TESTS,
    ownership::TESTS,
    queues::TESTS,
    power::TESTS,
    without_verifier::TESTS,
    bug_checks::TESTS,
    bug_checks::WITH_BREAKS,
];
