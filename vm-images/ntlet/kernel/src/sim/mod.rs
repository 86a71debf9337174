//! A machine inside one Linux process, for tests: the executive runs on it as on hardware, and the test is its first thread.
//!
//! Processors are coroutines of one host thread, so that a run is the same each time; the clock is virtual and jumps ahead when every
//! processor is idle. Each run is a forked child of its own: the executive's state is global and may be ruined at will, and a run that
//! crashes or hangs ends only itself. Interrupts are delivered where the IRQL falls and where code waits, so a loop that does neither
//! is never interrupted: that is what this machine does not show. It has no user mode.

mod child;
mod clocked;
mod driver;
mod fault;
mod machine;
mod memory;
mod pci;
mod stacks;

use std::string::String;
use std::vec::Vec;

use crate::entry::BuiltInModule;
pub use child::{End, Outcome};
pub use driver::Driver;
pub use machine::Machine;
pub use pci::{ConfigurationSpace, PciFunction};

/// What a run is made of. `Simulation::new().processors(2).run(|machine| …)`.
#[derive(Clone, Copy, Debug)]
pub struct Simulation {
    processors: u32,
    built_in: &'static [BuiltInModule],
    command_line: &'static str,
    archive: &'static [u8],
    seconds: u32,
}

impl Default for Simulation {
    fn default() -> Self {
        Self::new()
    }
}

impl Simulation {
    /// One processor, nothing built in, an empty archive, half a minute of host time.
    #[must_use]
    pub const fn new() -> Self {
        Self { processors: 1, built_in: &[], command_line: "", archive: &[], seconds: 30 }
    }

    /// With this many processors.
    #[must_use]
    pub const fn processors(mut self, count: u32) -> Self {
        self.processors = count;
        self
    }

    /// With modules besides the executive.
    #[must_use]
    pub const fn built_in(mut self, modules: &'static [BuiltInModule]) -> Self {
        self.built_in = modules;
        self
    }

    /// With a command line.
    #[must_use]
    pub const fn command_line(mut self, words: &'static str) -> Self {
        self.command_line = words;
        self
    }

    /// With files.
    #[must_use]
    pub const fn archive(mut self, archive: &'static [u8]) -> Self {
        self.archive = archive;
        self
    }

    /// With this much host time before the run counts as hanging.
    #[must_use]
    pub const fn host_seconds(mut self, seconds: u32) -> Self {
        self.seconds = seconds;
        self
    }

    /// Runs `test` as a system thread at `PASSIVE_LEVEL`, after the built-in modules. The guest shuts down when it returns. What it
    /// changes is lost, for it runs in another process; what it asserts is not: a panic is the run's end.
    pub fn run(self, test: impl FnOnce(&Machine)) -> Outcome {
        child::run(self, test)
    }
}

/// Runs `test` on one processor; panics, with the guest's log, unless the guest shuts down in order.
#[track_caller]
pub fn run(test: impl FnOnce(&Machine)) -> Outcome {
    Simulation::new().run(test).expect_shutdown()
}

/// Text of a run's log, line by line, without time and processor.
#[must_use]
pub fn texts(log: &str) -> Vec<String> {
    log.lines().map(|line| line.split_once("] ").map_or(line, |(_, text)| text).into()).collect()
}
