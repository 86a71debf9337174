//! What a test is, what it is given, and how it says what it expects.

use alloc::format;
use alloc::string::String;
use core::fmt::Debug;
use core::panic::Location;

use channel::{Expected, Needs};

use crate::nt::NTSTATUS;

/// A test: its name within its suite, its purpose in one line, its body.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    /// `suite::name`.
    pub name: &'static str,
    /// What it proves.
    pub purpose: &'static str,
    /// The guest it needs.
    pub needs: Needs<'static>,
    /// The bug check that it is to end in, if it is to end in one.
    pub expects: Option<Expected>,
    /// The body.
    pub run: fn(&mut Bench) -> TestResult,
}

/// A guest without the framework verifier.
pub(crate) const WITHOUT_VERIFIER: Needs<'static> = Needs { verifier: false, ..Needs::NOTHING };

/// Lists tests: `tests!(suite { name: "purpose", … })` names functions of the calling module. `tests!(suite on NEEDS; { … })` says what
/// guest they need; `name: "purpose" => EXPECTED` in what bug check a test is to end.
macro_rules! tests {
    ($suite:ident { $($tests:tt)* }) => {
        $crate::bench::tests!($suite on channel::Needs::NOTHING; { $($tests)* })
    };
    ($suite:ident on $needs:expr; { $($name:ident: $purpose:literal $(=> $bug_check:expr)?,)* }) => {
        &[$($crate::Test {
            name: concat!(stringify!($suite), "::", stringify!($name)),
            purpose: $purpose,
            needs: $needs,
            expects: $crate::bench::tests!(@ $($bug_check)?),
            run: $name,
        },)*]
    };
    (@) => { None };
    (@ $bug_check:expr) => { Some($bug_check) };
}
pub(crate) use tests;

/// What every test is given.
#[derive(Debug)]
pub struct Bench {
    random: u64,
}

impl Bench {
    /// A bench whose random numbers follow from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { random: seed }
    }

    /// The next random number: SplitMix64, which needs no state but its seed.
    pub const fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Fills a buffer with random bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.random().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// Why a test did not pass.
#[derive(Debug)]
pub enum Failure {
    /// An expectation did not hold.
    Expectation {
        /// Where it stands.
        place: &'static Location<'static>,
        /// What was expected and what came.
        reason: String,
    },
    /// The test cannot run here.
    Skipped {
        /// Why.
        reason: String,
    },
}

/// A status that a test did not expect at all.
impl From<NTSTATUS> for Failure {
    #[track_caller]
    fn from(status: NTSTATUS) -> Self {
        Self::Expectation { place: Location::caller(), reason: format!("unexpected {status}") }
    }
}

/// What a test returns.
pub type TestResult = Result<(), Failure>;

/// The body of [`ensure_eq!`].
///
/// # Errors
/// The expectation, when the two differ.
#[track_caller]
pub(crate) fn check_equal<A: PartialEq<B> + Debug, B: Debug>(what: &str, actual: &A, expected: &B) -> TestResult {
    if actual == expected {
        return Ok(());
    }
    Err(Failure::Expectation { place: Location::caller(), reason: format!("{what}: expected {expected:?}, came {actual:?}") })
}

/// The body of [`ensure!`].
///
/// # Errors
/// The expectation, when it does not hold.
#[track_caller]
pub(crate) fn check(what: &str, holds: bool) -> TestResult {
    if holds {
        return Ok(());
    }
    Err(Failure::Expectation { place: Location::caller(), reason: format!("expected: {what}") })
}

/// Ends the test unless both values are equal: `ensure_eq!(actual, expected)`.
macro_rules! ensure_eq {
    ($actual:expr, $expected:expr) => {
        $crate::bench::check_equal(stringify!($actual), &$actual, &$expected)?
    };
}
pub(crate) use ensure_eq;

/// Ends the test unless the condition holds.
macro_rules! ensure {
    ($condition:expr) => {
        $crate::bench::check(stringify!($condition), $condition)?
    };
}
pub(crate) use ensure;
