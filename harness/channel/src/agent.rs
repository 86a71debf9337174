//! What harness and agent say: the agent is the program in an installed Windows that does there what the harness asks for, before and after
//! the suite has the line.
//!
//! An image is sealed with its agent and lives long, so this language has a version of its own, apart from the suites'. Its frames
//! carry another checksum, so that neither side takes a word of one language for one of the other, whoever holds the line.

use serde::{Deserialize, Serialize};

/// Version of this file's messages.
pub const AGENT_VERSION: u32 = 1;
/// Most bytes of a file in one [`FromAgent::Piece`].
pub const MAX_PIECE: usize = 1536;
/// Longest line in one [`FromAgent::Output`].
pub const MAX_OUTPUT: usize = 1024;

/// From the harness to the agent. Each is answered; the agent does one thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToAgent<'a> {
    /// Who is there? Answered by [`FromAgent::Hello`]. Repeated until answered.
    Hello {
        /// [`AGENT_VERSION`] of the harness.
        version: u32,
    },
    /// Which drive has this file at its root? Answered by [`FromAgent::Found`] or [`FromAgent::Failed`].
    Find {
        /// The file.
        name: &'a str,
    },
    /// Run a command and wait for its end: some [`FromAgent::Output`], then [`FromAgent::Ended`] or [`FromAgent::Failed`].
    Run {
        /// The command line, as `CreateProcessW` takes it.
        command: &'a str,
        /// After so many milliseconds it is ended.
        patience_ms: u32,
    },
    /// Make a device that no bus finds, as `devcon install` does, and install its driver. Answered by [`FromAgent::Ended`] or
    /// [`FromAgent::Failed`].
    AddDevice {
        /// Its hardware id, such as `Root\Thing`.
        hardware_id: &'a str,
        /// Full path of the INF.
        inf: &'a str,
    },
    /// Give the line to this program, and take it back when the program has ended: [`FromAgent::Lends`], whatever the program says, then
    /// [`FromAgent::Ended`]; or [`FromAgent::Failed`].
    Lend {
        /// The program's path.
        program: &'a str,
    },
    /// How large is this file? Answered by [`FromAgent::Size`] or [`FromAgent::Failed`].
    Size {
        /// The file.
        path: &'a str,
    },
    /// Send this part of a file: pieces in order, then [`FromAgent::Sent`]; or [`FromAgent::Failed`].
    Read {
        /// The file.
        path: &'a str,
        /// Where to begin.
        offset: u64,
        /// How many bytes.
        length: u32,
    },
    /// Turn the machine off. Answered by [`FromAgent::Goodbye`].
    ShutDown,
}

/// From the agent to the harness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromAgent<'a> {
    /// The agent has started, unasked: the machine has.
    Up,
    /// The installation has come so far, unasked.
    Step {
        /// Which step begins.
        name: &'a str,
    },
    /// Here I am.
    Hello {
        /// [`AGENT_VERSION`] of the agent.
        version: u32,
        /// Name and version of the system.
        system: &'a str,
    },
    /// The file is on this drive.
    Found {
        /// The root, `E:\`.
        root: &'a str,
    },
    /// A line that the command has written.
    Output {
        /// The line.
        line: &'a str,
    },
    /// The command, or the program, has ended.
    Ended {
        /// Its exit code.
        code: u32,
    },
    /// The next word on the line is the program's.
    Lends,
    /// The file has so many bytes.
    Size {
        /// How many.
        bytes: u64,
    },
    /// A part of the file.
    Piece {
        /// Where it begins.
        offset: u64,
        /// The part.
        bytes: &'a [u8],
    },
    /// That were all pieces.
    Sent,
    /// It could not be done.
    Failed {
        /// What the system refused.
        what: &'a str,
        /// Its error code.
        code: u32,
    },
    /// The machine goes off.
    Goodbye,
}
