//! What is said. The harness speaks first, asks for one test at a time, and decides what to do when no answer comes.

use serde::{Deserialize, Serialize};

/// Version of this file's messages; harness and guest must have the same one.
pub const PROTOCOL_VERSION: u32 = 4;

/// From the harness to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToGuest<'a> {
    /// Who is there? Answered by [`FromGuest::Hello`]. Repeated until answered.
    Hello {
        /// [`PROTOCOL_VERSION`] of the harness.
        protocol: u32,
    },
    /// Name every test, one [`FromGuest::Test`] each, then [`FromGuest::EndOfList`].
    List,
    /// Run one test.
    Run {
        /// `suite::name` as listed.
        test: &'a str,
        /// Seed for whatever the test chooses at random.
        seed: u64,
        /// How long it goes on, if it can go on for any time.
        span: Span,
    },
    /// Answer to [`FromGuest::Ask`].
    Answer {
        /// Whether it was done.
        done: bool,
        /// Why not, if not; for the test's failure.
        reason: &'a str,
    },
    /// Nothing more to do: leave, and let the guest shut down.
    Goodbye,
}

/// How long a test goes on that can go on for any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Span {
    /// As long as it likes, which is short.
    #[default]
    Moment,
    /// So many milliseconds.
    Milliseconds(u32),
    /// Some number of rounds, always the same, and one thread at a time if it has several: what it does follows from its seed alone, so that
    /// the device it meets can be a recorded one.
    Rounds,
}

/// What a test needs of the guest it runs in, beyond what every run has. Tests with the same needs share boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Needs<'a> {
    /// The framework verifier is on.
    pub verifier: bool,
    /// A violation that the verifier finds breaks into the debugger, of which there is none.
    pub breaks: bool,
    /// Fault plan for the device model, in TOML; empty for none.
    pub faults: &'a str,
    /// The device can be taken out of its slot and put back.
    pub removable: bool,
}

impl Needs<'_> {
    /// What a test has that asks for nothing: the verifier, and hardware without faults.
    pub const NOTHING: Needs<'static> = Needs { verifier: true, breaks: false, faults: "", removable: false };
}

/// The bug check in which a test is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Its code.
    pub code: u32,
    /// How many of `parameters` count, from the first one on; the others differ from run to run.
    pub known: u8,
    /// Its parameters.
    pub parameters: [u64; 4],
}

impl Expected {
    /// Whether a bug check is this one.
    #[must_use]
    pub fn matches(&self, code: u32, parameters: &[u64; 4]) -> bool {
        let known = usize::from(self.known).min(4);
        self.code == code && self.parameters[..known] == parameters[..known]
    }
}

/// What a test that is to end in a bug check knows of the bug check's parameters once it runs: addresses, handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The smallest that each may be.
    pub least: [u64; 4],
    /// The largest.
    pub most: [u64; 4],
}

impl Default for Bounds {
    /// Nothing is known.
    fn default() -> Self {
        Self { least: [0; 4], most: [u64::MAX; 4] }
    }
}

impl Bounds {
    /// The first parameter, counted from 0, that is out of bounds.
    #[must_use]
    pub fn broken_by(&self, parameters: &[u64; 4]) -> Option<usize> {
        (0..4).find(|&at| !(self.least[at]..=self.most[at]).contains(&parameters[at]))
    }
}

/// What a test wants done to the machine while it runs. Answered by [`ToGuest::Answer`], once it has been begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Ask the guest to let go of the device, as somebody does who presses the slot's button.
    Eject,
    /// Take the device out of its slot without a word.
    Unplug,
    /// Put the device into its empty slot.
    Plug,
    /// Wake the machine when it sleeps.
    Wake,
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome<'a> {
    /// It passed.
    Passed,
    /// An expectation did not hold.
    Failed {
        /// Source file of the expectation.
        file: &'a str,
        /// Its line.
        line: u32,
        /// What was expected and what came.
        reason: &'a str,
    },
    /// It cannot run here.
    Skipped {
        /// Why; never empty.
        reason: &'a str,
    },
}

/// Importance of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LogLevel {
    /// For whoever debugs the suite itself.
    Debug,
    /// What the test does.
    Info,
    /// What is odd but no failure.
    Warning,
}

/// From the guest to the harness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromGuest<'a> {
    /// Here I am.
    Hello {
        /// [`PROTOCOL_VERSION`] of the guest.
        protocol: u32,
        /// Name and version of the guest system, for example `ntlet 0.1.0` or `Windows 10.0.26100`.
        system: &'a str,
    },
    /// One line of the list.
    Test {
        /// `suite::name`.
        name: &'a str,
        /// What it is for, in one line.
        purpose: &'a str,
        /// The guest it needs.
        needs: Needs<'a>,
        /// The bug check that it is to end in, if it is to end in one.
        expects: Option<Expected>,
    },
    /// The list is complete.
    EndOfList,
    /// A test has begun.
    Started {
        /// Which.
        test: &'a str,
    },
    /// A test has ended.
    Finished {
        /// Which.
        test: &'a str,
        /// How.
        outcome: Outcome<'a>,
        /// Guest time it took, in units of 100 ns.
        duration: u64,
    },
    /// A line for the log of the test that runs now.
    Log {
        /// How important.
        level: LogLevel,
        /// The line.
        text: &'a str,
    },
    /// The running test has measured something: a distribution, never a reason to pass or fail.
    Figure {
        /// What was measured.
        what: &'a str,
        /// In what unit; empty for a bare number.
        unit: &'a str,
        /// How many times.
        samples: u32,
        /// The smallest, the median, the 90th and 99th percentile, the largest.
        spread: [u64; 5],
    },
    /// The running test wants something done.
    Ask {
        /// What.
        what: Ask,
    },
    /// The running test is about to end the guest, and knows this of the bug check.
    Foretell {
        /// Its parameters.
        bounds: Bounds,
    },
    /// The guest's kernel stops. Said by the kernel, in the middle of anything; nothing follows but the rest of the report, up to
    /// [`FromGuest::BugCheckEnd`].
    BugCheck {
        /// Bug check code.
        code: u32,
        /// Its four parameters.
        parameters: [u64; 4],
        /// Module that holds the address at fault, or empty.
        module: &'a str,
        /// Offset of the address in that module, or the address itself.
        offset: u64,
    },
    /// One frame of the back trace of a bug check, innermost first.
    BugCheckFrame {
        /// Module, or empty.
        module: &'a str,
        /// Offset in it, or the address itself.
        offset: u64,
        /// The address is one to return to: the call is before it.
        is_return: bool,
    },
    /// The registers at the place that the bug check comes from.
    BugCheckRegisters {
        /// `rax`, `rcx`, `rdx`, `rbx`, `rsp`, `rbp`, `rsi`, `rdi`, `r8` to `r15`.
        general: [u64; 16],
        /// Instruction pointer.
        rip: u64,
        /// Flags.
        rflags: u64,
    },
    /// A module that was loaded.
    BugCheckModule {
        /// File name.
        name: &'a str,
        /// Address of its first byte.
        base: u64,
        /// Bytes of address space it takes.
        size: u64,
        /// Time stamp of its file.
        time_stamp: u32,
    },
    /// The report is complete, the guest stands still.
    BugCheckEnd,
    /// Answer to [`ToGuest::Goodbye`].
    Goodbye,
}
