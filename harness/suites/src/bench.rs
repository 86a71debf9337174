//! What a test is, what it is given, and how it says what it expects.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::panic::Location;
use core::time::Duration;

use channel::{Ask, Bounds, Expected, FromGuest, LogLevel, Needs, Span, ToGuest};

use crate::link::Link;
use crate::nt::{Deadline, NTSTATUS};

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

/// A guest whose framework verifier breaks into the debugger.
pub(crate) const BREAKING: Needs<'static> = Needs { breaks: true, ..Needs::NOTHING };
/// A guest without the framework verifier.
pub(crate) const WITHOUT_VERIFIER: Needs<'static> = Needs { verifier: false, ..Needs::NOTHING };

/// Lists tests: `tests!(suite { name: "purpose", … })` names functions of the calling module. `tests!(suite on NEEDS; { … })` says what
/// guest they need; `name: "purpose" => EXPECTED` in what bug check a test is to end.
#[macro_export]
macro_rules! tests {
    ($suite:ident { $($tests:tt)* }) => {
        $crate::tests!($suite on $crate::Needs::NOTHING; { $($tests)* })
    };
    ($suite:ident on $needs:expr; { $($name:ident: $purpose:literal $(=> $bug_check:expr)?,)* }) => {
        &[$($crate::Test {
            name: concat!(stringify!($suite), "::", stringify!($name)),
            purpose: $purpose,
            needs: $needs,
            expects: $crate::tests!(@ $($bug_check)?),
            run: $name,
        },)*]
    };
    (@) => { None };
    (@ $bug_check:expr) => { Some($bug_check) };
}
pub(crate) use tests;

/// Random numbers that follow from a seed: SplitMix64, which needs no state but its seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// What every test is given: random numbers that its seed decides, and a line to the harness.
pub struct Bench {
    link: Link,
    random: Random,
    span: Span,
}

impl Bench {
    pub(crate) const fn new(link: Link) -> Self {
        Self { link, random: Random::new(0), span: Span::Moment }
    }

    /// Gets ready for the next test.
    pub(crate) const fn prepare(&mut self, seed: u64, span: Span) {
        self.random = Random::new(seed);
        self.span = span;
    }

    pub(crate) const fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// The next random number.
    pub const fn random(&mut self) -> u64 {
        self.random.next()
    }

    /// Fills a buffer with random bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        self.random.fill(buffer);
    }

    /// How long to go on, for a test that can go on for any time: what the harness was told, else `moment`; `rounds` of them where what the
    /// test does is to be repeated.
    pub fn going(&self, moment: Duration, rounds: u32) -> Going {
        match self.span {
            Span::Moment => Going::Until(Deadline::after(moment)),
            Span::Milliseconds(time) => Going::Until(Deadline::after(Duration::from_millis(time.into()))),
            Span::Rounds => Going::Rounds(rounds),
        }
    }

    /// Writes a line into the test's log.
    ///
    /// # Errors
    /// COM2's.
    pub fn log(&mut self, text: &str) -> TestResult {
        Ok(self.link.send(&FromGuest::Log { level: LogLevel::Info, text: shorten(text) })?)
    }

    /// Reports how something that was measured is spread.
    ///
    /// # Errors
    /// COM2's.
    pub(crate) fn figure(&mut self, what: &str, unit: &str, mut samples: Vec<u64>) -> TestResult {
        samples.sort_unstable();
        let samples_taken = u32::try_from(samples.len()).unwrap_or(u32::MAX);
        Ok(self.link.send(&FromGuest::Figure { what, unit, samples: samples_taken, spread: spread(&samples) })?)
    }

    /// Says what parameters the bug check will have that is about to come: for each its place, counted from 1, and from what to what it may be.
    ///
    /// # Errors
    /// COM2's.
    pub(crate) fn foretell<const N: usize>(&mut self, parameters: [(usize, u64, u64); N]) -> TestResult {
        let mut bounds = Bounds::default();
        for (place, least, most) in parameters {
            (bounds.least[place - 1], bounds.most[place - 1]) = (least, most);
        }
        Ok(self.link.send(&FromGuest::Foretell { bounds })?)
    }

    /// Has the harness do something to the machine, and returns once it has begun.
    ///
    /// # Errors
    /// The harness did not do it, and says why.
    #[track_caller]
    pub fn ask(&mut self, what: Ask) -> TestResult {
        self.link.send(&FromGuest::Ask { what })?;
        loop {
            let answer = self.link.receive(|message| match message {
                ToGuest::Answer { done: true, .. } => Some(Ok(())),
                ToGuest::Answer { reason, .. } => Some(Err(format!("the harness was asked to {what:?}, and did not: {reason}"))),
                // A greeting that crossed ours.
                _ => None,
            })?;
            if let Some(done) = answer {
                return done.map_err(|reason| Failure::Expectation { place: Location::caller(), reason });
            }
        }
    }
}

/// How long a test goes on.
#[derive(Clone, Copy, Debug)]
pub enum Going {
    /// As long as this has not passed.
    Until(Deadline),
    /// So many rounds more.
    Rounds(u32),
}

impl Going {
    /// Whether there is to be another round, which then counts.
    pub fn on(&mut self) -> bool {
        match self {
            Self::Until(end) => !end.has_passed(),
            Self::Rounds(left) => {
                let goes_on = *left > 0;
                *left = left.saturating_sub(1);
                goes_on
            }
        }
    }
}

/// The smallest, the median, the 90th and 99th percentile, the largest of sorted samples: for each the smallest sample that is not smaller
/// than so many of them.
fn spread(sorted: &[u64]) -> [u64; 5] {
    let at = |per_cent: usize| sorted.get((sorted.len() * per_cent).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0);
    [at(0), at(50), at(90), at(99), at(100)]
}

/// Longest text put into one message; the rest of a frame is for names and framing.
const LONGEST_TEXT: usize = 1024;

/// The start of a text that fits into a message.
pub(crate) fn shorten(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
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
pub fn check_equal<A: PartialEq<B> + Debug, B: Debug>(what: &str, actual: &A, expected: &B) -> TestResult {
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
pub fn check(what: &str, holds: bool) -> TestResult {
    if holds {
        return Ok(());
    }
    Err(Failure::Expectation { place: Location::caller(), reason: format!("expected: {what}") })
}

/// Ends the test unless both values are equal: `ensure_eq!(actual, expected)`.
#[macro_export]
macro_rules! ensure_eq {
    ($actual:expr, $expected:expr) => {
        $crate::check_equal(stringify!($actual), &$actual, &$expected)?
    };
}
pub(crate) use ensure_eq;

/// Ends the test unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr) => {
        $crate::check(stringify!($condition), $condition)?
    };
}
pub(crate) use ensure;

#[cfg(test)]
mod texts {
    use super::*;

    #[test]
    fn a_spread_has_the_samples_at_its_percentiles() {
        let samples: Vec<u64> = (1..=200).collect();
        assert_eq!(spread(&samples), [1, 100, 180, 198, 200]);
        assert_eq!(spread(&[7]), [7; 5]);
        assert_eq!(spread(&[]), [0; 5]);
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let text = "ä".repeat(LONGEST_TEXT);
        assert_eq!(shorten(&text).len(), LONGEST_TEXT);
        assert_eq!(shorten(&text[..3 * 2]), "äää");
    }
}
