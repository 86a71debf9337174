//! What can go wrong for a user, and the exit codes. Each problem says what, why, and what to do.

use std::fmt;
use std::process::ExitCode;

/// How `rig` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All passed, or nothing was wrong.
    Passed,
    /// A test failed, a guest bug checked, or something did not build.
    Failed,
    /// The user asked for something wrong.
    Usage,
    /// The environment is broken: no QEMU, bad media, the device model or QEMU died.
    Environment,
    /// A wait ran out of time.
    Hang,
    /// A signal ended it.
    Interrupted(u8),
}

impl Exit {
    /// The exit status of the process.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Environment => 3,
            Self::Hang => 4,
            Self::Interrupted(signal) => 128 + signal,
        }
    }

    /// The end that a status stands for.
    #[must_use]
    pub const fn of_code(code: u8) -> Self {
        match code {
            0 => Self::Passed,
            1 => Self::Failed,
            2 => Self::Usage,
            3 => Self::Environment,
            4 => Self::Hang,
            code => Self::Interrupted(code.saturating_sub(128)),
        }
    }

    /// The graver of two, for sums: an interruption, then a broken environment, then a hang, then a failure.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        if self.gravity() >= other.gravity() { self } else { other }
    }

    const fn gravity(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::Hang => 2,
            Self::Environment => 3,
            Self::Usage => 4,
            Self::Interrupted(_) => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Something that stops a command. Its display form has one line each for what, why and what to do.
#[derive(Clone, Debug)]
pub struct Problem {
    exit: Exit,
    what: String,
    why: String,
    remedy: String,
}

/// Result of anything that can stop a command.
pub type Outcome<T> = Result<T, Problem>;

impl Problem {
    /// The environment is broken.
    pub fn environment(what: impl Into<String>) -> Self {
        Self::new(Exit::Environment, what)
    }

    /// The user asked for something wrong.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// A wait ran out of time.
    pub fn hang(what: impl Into<String>) -> Self {
        Self::new(Exit::Hang, what)
    }

    /// The project's own sources do not build or do not fit.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::new(Exit::Failed, what)
    }

    /// A signal asked `rig` to stop.
    #[must_use]
    pub fn interrupted(signal: u8) -> Self {
        Self::new(Exit::Interrupted(signal), "stopped").because(format!("signal {signal} arrived")).so("start it again")
    }

    fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), why: String::new(), remedy: String::new() }
    }

    /// Says why.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn so(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// How `rig` ends because of it.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        self.exit
    }

    /// What went wrong, without why and what to do.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Why it went wrong.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        for (label, text) in [("why", &self.why), ("do", &self.remedy)] {
            if !text.is_empty() {
                write!(f, "\n  {label:>3}: {}", text.trim_end().replace('\n', "\n       "))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// Names the file in an I/O error.
pub trait AtPath<T> {
    /// Turns the error into a broken environment that names `path` and what was being done (`"write"`, `"read"`).
    ///
    /// # Errors
    /// The original one, explained.
    fn at(self, doing: &str, path: &std::path::Path) -> Outcome<T>;
}

impl<T> AtPath<T> for std::io::Result<T> {
    fn at(self, doing: &str, path: &std::path::Path) -> Outcome<T> {
        self.map_err(|error| {
            Problem::environment(format!("cannot {doing} {}", path.display()))
                .because(error.to_string())
                .so("check that the folder exists, is writable, and that the disk is not full")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_one_line_each_for_what_why_and_what_to_do() {
        let problem = Problem::environment("no QEMU").because("none on PATH").so("install one");
        assert_eq!(problem.to_string(), "error: no QEMU\n  why: none on PATH\n   do: install one");
    }

    #[test]
    fn a_hang_outweighs_a_failure_and_a_broken_environment_outweighs_both() {
        assert_eq!(Exit::Failed.worst(Exit::Hang), Exit::Hang);
        assert_eq!(Exit::Environment.worst(Exit::Hang), Exit::Environment);
        assert_eq!(Exit::Passed.worst(Exit::Failed), Exit::Failed);
    }
}
