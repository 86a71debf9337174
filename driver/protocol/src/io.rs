//! What `relay.sys` offers to programs.
//!
//! Each I/O control on a [`Command`]-shaped input sends one command to the hardware. The tag is the caller's, so that another
//! handle can release or abort it; the driver prefixes nothing. Tags with the highest bit set are the driver's own, for what has no tag
//! from a caller. When a command is cancelled while the hardware has it, the driver aborts its tag, unless another command has the same.
//!
//! How requests end, besides success:
//!
//! | status | when |
//! | --- | --- |
//! | `STATUS_INVALID_DEVICE_REQUEST` | unknown control code |
//! | `STATUS_BUFFER_TOO_SMALL` | input without its structure; no room for the output (the hardware's `NO_ROOM` too) |
//! | `STATUS_INVALID_PARAMETER` | a reserved field is set; the hardware's `BAD_ARGUMENT` |
//! | `STATUS_INVALID_BUFFER_SIZE` | payload larger than `hardware::MAX_PAYLOAD`; the hardware's `BAD_LENGTH` |
//! | `STATUS_IO_TIMEOUT` | the driver's own echo did not come back in [`SELF_TEST_SECONDS`] |
//! | `STATUS_NOT_SUPPORTED` | the hardware's `BAD_OPCODE` |
//! | `STATUS_REQUEST_ABORTED` | the hardware's `ABORTED` |
//! | `STATUS_NOT_FOUND` | the hardware's `NO_SUCH_TAG` |
//! | `STATUS_DEVICE_BUSY` | the hardware's `BUSY`; too many cancelled commands that the hardware still has |
//! | `STATUS_IO_DEVICE_ERROR` | any other status of the hardware (`FAIL`) |
//! | `STATUS_DEVICE_HARDWARE_ERROR` | the hardware's reply contradicts the command, is overdue, or the hardware had to be reset |
//! | `STATUS_DEVICE_NOT_READY` | the hardware is gone, or being reset |
//! | `STATUS_RETRY` | the hardware's configuration did not keep still while it was read |
//! | `STATUS_CANCELLED` | cancelled, its file closed, or its device removed |

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Name of the first relay device in the object manager's `\??` directory.
pub const SYMBOLIC_LINK: &str = r"\DosDevices\Relay0";
/// The same name as a program opens it.
pub const OPEN_PATH: &str = r"\??\Relay0";
/// Device interface class of relay devices, {6f1d7f0e-3a5b-4c3e-9d58-7b1c52a0c1d1}, as the fields of a GUID.
pub const INTERFACE_CLASS: (u32, u16, u16, [u8; 8]) =
    (0x6f1d_7f0e, 0x3a5b, 0x4c3e, [0x9d, 0x58, 0x7b, 0x1c, 0x52, 0xa0, 0xc1, 0xd1]);

/// How an I/O control hands over its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Both through one system buffer.
    Buffered = 0,
    /// Input buffered, the second buffer locked for reading.
    InDirect = 1,
    /// Input buffered, the second buffer locked for writing.
    OutDirect = 2,
    /// Raw user addresses.
    Neither = 3,
}

const FILE_DEVICE_UNKNOWN: u32 = 0x22;

/// Composes an I/O control code, access `FILE_ANY_ACCESS`.
#[must_use]
pub const fn control_code(function: u32, method: Method) -> u32 {
    (FILE_DEVICE_UNKNOWN << 16) | (function << 2) | method as u32
}

/// Echo; input: payload; output: the same bytes from the hardware.
pub const ECHO: u32 = control_code(0x800, Method::Buffered);
/// Echo; the second buffer is the payload (read); nothing is returned but the length.
pub const ECHO_IN_DIRECT: u32 = control_code(0x801, Method::InDirect);
/// Echo; input: payload; the second buffer receives it.
pub const ECHO_OUT_DIRECT: u32 = control_code(0x802, Method::OutDirect);
/// Echo through raw user addresses.
pub const ECHO_NEITHER: u32 = control_code(0x803, Method::Neither);
/// Any command; input: [`Command`] and payload; output: the hardware's answer.
pub const COMMAND: u32 = control_code(0x804, Method::Buffered);
/// An administration command; input: [`Admin`]; no output.
pub const ADMIN: u32 = control_code(0x805, Method::Buffered);
/// Waits for one event; output: `hardware::Event`.
pub const READ_EVENT: u32 = control_code(0x806, Method::Buffered);
/// The hardware's configuration space; output: `hardware::RelayConfig`.
pub const QUERY_CONFIG: u32 = control_code(0x807, Method::Buffered);
/// What the driver did so far; output: [`DriverCounters`].
pub const QUERY_COUNTERS: u32 = control_code(0x808, Method::Buffered);

/// The driver sends itself an echo through its own queues, as a program would, and tells whether it came back; no input, no output.
pub const SELF_TEST: u32 = control_code(0x80a, Method::Buffered);

/// Longest time that a [`SELF_TEST`] takes.
pub const SELF_TEST_SECONDS: u64 = 2;

/// Input of [`COMMAND`]; the payload follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Command {
    /// Names the command to [`ADMIN`].
    pub tag: u64,
    /// A `hardware::Opcode`.
    pub opcode: u32,
    /// Zero.
    pub reserved: u32,
    /// The opcode's argument.
    pub argument: u64,
}

/// Input of [`ADMIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Admin {
    /// A `hardware::AdminOpcode`.
    pub opcode: u32,
    /// Zero.
    pub reserved: u32,
    /// Tag of the command it is about.
    pub target: u64,
    /// The opcode's argument.
    pub argument: u64,
}

/// Output of [`QUERY_COUNTERS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DriverCounters {
    /// Requests that entered the default queue.
    pub presented: u64,
    /// Requests forwarded to another queue.
    pub forwarded: u64,
    /// Commands placed in the virtqueue.
    pub submitted: u64,
    /// Requests completed, in any way.
    pub completed: u64,
    /// Requests cancelled while the hardware had them.
    pub cancelled_on_hardware: u64,
    /// Interrupts taken.
    pub interrupts: u64,
    /// Those of each vector: configuration changes, commands, events, administration. With fewer vectors than four the first has all.
    pub interrupts_by_vector: [u64; 4],
    /// Vectors that the driver uses: four, one, or none when it has an interrupt line.
    pub vectors: u64,
}
