//! Running other people's programs (cargo, apt-get, rustup, `qemu --version`): guarded, with a deadline, output captured or
//! passed through.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::child::{Child, Waited, describe};
use crate::error::{Outcome, Problem};
use crate::guard;
use crate::interrupt::Interrupt;

/// Most of a tool's output that is kept, per stream.
const OUTPUT_LIMIT: u64 = 4 << 20;

/// A program to run.
#[derive(Debug)]
pub struct Tool {
    name: String,
    command: Command,
    deadline: Duration,
}

/// How a tool ended, and what it said if that was captured.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// Why a tool gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not there or not executable.
    #[error("{name} could not be started: {reason}")]
    NotStarted {
        /// The program.
        name: String,
        /// The system's word.
        reason: String,
    },
    /// It took too long and was killed.
    #[error("{name} did not end within {} s and was killed", limit.as_secs())]
    Deadline {
        /// The program.
        name: String,
        /// Its time.
        limit: Duration,
    },
    /// A signal asks the harness to stop; the tool was killed.
    #[error("stopped by signal {0}")]
    Interrupted(u8),
}

impl ToolError {
    /// As a broken environment, unless it was an interrupt.
    #[must_use]
    pub fn problem(self, what: &str, remedy: &str) -> Problem {
        match self {
            Self::Interrupted(signal) => Problem::interrupted(signal),
            other => Problem::environment(what).because(other.to_string()).so(remedy),
        }
    }
}

impl Tool {
    /// A program found on PATH or by its path, killed when it runs longer than `deadline`.
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>, deadline: Duration) -> Self {
        let program = program.as_ref();
        let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
        let mut command = guard::guarded();
        command.arg(program);
        Self { name, command, deadline }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Sets the folder it runs in.
    #[must_use]
    pub fn inside(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Runs it and captures what it says.
    ///
    /// # Errors
    /// [`ToolError`]; an exit status other than 0 is no error here.
    pub fn capture(self, interrupt: &Interrupt) -> Result<Finished, ToolError> {
        let (stdout, stderr) = (scratch("stdout"), scratch("stderr"));
        let (Ok(mut stdout), Ok(mut stderr)) = (stdout, stderr) else {
            return Err(ToolError::NotStarted { name: self.name, reason: "no memory for its output".to_owned() });
        };
        let status = self.run(handle(&stdout), handle(&stderr), interrupt)?;
        Ok(Finished { status, stdout: text_of(&mut stdout), stderr: text_of(&mut stderr) })
    }

    /// Runs it; what it says goes to our standard error, so that standard output holds results only.
    ///
    /// # Errors
    /// [`ToolError`]; an exit status other than 0 is no error here.
    pub fn pass_through(self, interrupt: &Interrupt) -> Result<ExitStatus, ToolError> {
        let stderr = rustix::io::dup(std::io::stderr()).map(Stdio::from).unwrap_or_else(|_| Stdio::null());
        self.run(stderr, Stdio::inherit(), interrupt)
    }

    /// Runs it; what it writes to standard output goes to `output`.
    ///
    /// # Errors
    /// [`ToolError`].
    pub fn start(mut self, output: Stdio) -> Result<Child, ToolError> {
        self.command.stdin(Stdio::null()).stdout(output);
        Child::spawn(self.command, &[], Signal::TERM)
            .map_err(|error| ToolError::NotStarted { name: self.name, reason: error.to_string() })
    }

    fn run(mut self, stdout: Stdio, stderr: Stdio, interrupt: &Interrupt) -> Result<ExitStatus, ToolError> {
        self.command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let mut child = Child::spawn(self.command, &[], Signal::TERM)
            .map_err(|error| ToolError::NotStarted { name: self.name.clone(), reason: error.to_string() })?;
        match child.wait(Instant::now() + self.deadline, interrupt) {
            Waited::Ended(status) if status.code() == Some(i32::from(guard::NOT_STARTED)) => {
                Err(ToolError::NotStarted { name: self.name, reason: "it is missing or not executable".to_owned() })
            }
            Waited::Ended(status) => Ok(status),
            Waited::Deadline => Err(ToolError::Deadline { name: self.name, limit: self.deadline }),
            Waited::Interrupted(signal) => Err(ToolError::Interrupted(signal)),
        }
    }
}

/// The last lines of what a failed tool said, and how it ended.
#[must_use]
pub fn complaint(finished: &Finished) -> String {
    let said = if finished.stderr.trim().is_empty() { &finished.stdout } else { &finished.stderr };
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(6)..].join("\n");
    if last.is_empty() { describe(finished.status) } else { format!("{} ({})", last.trim(), describe(finished.status)) }
}

/// Runs `tool` and returns its standard output.
///
/// # Errors
/// A broken environment: `what` failed, for the tool's own reasons; do `remedy`.
pub fn output_of(tool: Tool, what: &str, remedy: &str, interrupt: &Interrupt) -> Outcome<String> {
    let finished = tool.capture(interrupt).map_err(|error| error.problem(what, remedy))?;
    if finished.status.success() {
        return Ok(finished.stdout);
    }
    Err(Problem::environment(what).because(complaint(&finished)).so(remedy))
}

/// A file in memory that vanishes with us.
fn scratch(name: &str) -> std::io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?))
}

fn handle(file: &File) -> Stdio {
    file.try_clone().map_or_else(|_| Stdio::null(), Stdio::from)
}

fn text_of(file: &mut File) -> String {
    let mut bytes = Vec::new();
    if file.rewind().is_ok() {
        let _ = file.take(OUTPUT_LIMIT).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
