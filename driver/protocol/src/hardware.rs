//! The relay hardware as a driver sees it: identity, configuration, and what travels through its queues.
//!
//! Every number is little-endian. A command is one descriptor chain: device-readable [`CommandHeader`], then the payload;
//! device-writable [`Reply`], then room for the answer. The device writes `Reply` even when it refuses the command; a chain too
//! short to hold header and reply is returned with a used length of 0.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Virtio device id. 21 has a name in QEMU and a driver in no system.
pub const VIRTIO_ID: u16 = 21;
/// PCI vendor id of every virtio device.
pub const PCI_VENDOR: u16 = 0x1af4;
/// PCI device id: 0x1040 plus the virtio id.
pub const PCI_DEVICE: u16 = 0x1040 + VIRTIO_ID;

/// Queue of commands.
pub const QUEUE_COMMAND: u16 = 0;
/// Queue of event buffers.
pub const QUEUE_EVENT: u16 = 1;
/// Queue of administration commands.
pub const QUEUE_ADMIN: u16 = 2;
/// Number of queues.
pub const QUEUE_COUNT: u16 = 3;
/// Largest size of each queue.
pub const QUEUE_SIZE: u16 = 256;

/// `RelayConfig::magic`: "RLAY".
pub const CONFIG_MAGIC: u32 = 0x5941_4c52;
/// `RelayConfig::version` that this file describes.
pub const CONFIG_VERSION: u32 = 1;
/// Largest payload of one command, in bytes.
pub const MAX_PAYLOAD: u32 = 1 << 20;
/// Most commands the device holds (hold and delay) at one time; one more is refused with [`Status::BUSY`].
pub const MAX_HELD: u32 = 256;

/// Offset, in the BAR of the virtio registers, of a read-only page that begins with [`RelayConfig`] and is read without a trap. Only
/// on transports that can share memory: a page whose first word is not [`CONFIG_MAGIC`] is none.
pub const STATUS_PAGE: u64 = 0x4000;

/// Device-specific configuration space. Counters wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RelayConfig {
    /// [`CONFIG_MAGIC`].
    pub magic: u32,
    /// [`CONFIG_VERSION`].
    pub version: u32,
    /// [`MAX_PAYLOAD`] of this device.
    pub max_payload: u32,
    /// Commands held or delayed now.
    pub held: u32,
    /// Commands taken since reset.
    pub commands_taken: u64,
    /// Commands answered since reset.
    pub commands_answered: u64,
    /// Events delivered since reset.
    pub events_delivered: u64,
    /// Events lost because no buffer was posted.
    pub events_lost: u64,
}

/// What a command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Opcode(pub u32);

impl Opcode {
    /// Answer the payload unchanged.
    pub const ECHO: Self = Self(1);
    /// Answer each payload byte exclusive-ored with the low byte of `argument`.
    pub const TRANSFORM: Self = Self(2);
    /// Answer the CRC-32C of the payload, four bytes.
    pub const CHECKSUM: Self = Self(3);
    /// Keep the command until an administration command releases (answered like echo) or aborts it.
    pub const HOLD: Self = Self(4);
    /// Echo after `argument` microseconds, at most [`MAX_DELAY_US`].
    pub const DELAY: Self = Self(5);
    /// Answer nothing but the low 32 bits of `argument` as the reply's status.
    pub const FAIL: Self = Self(6);
}

/// Longest delay a command may ask for, in microseconds.
pub const MAX_DELAY_US: u64 = 60_000_000;

/// The device-readable start of a command chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CommandHeader {
    /// Names the command in the reply, in administration commands and in traces. Chosen by the driver.
    pub tag: u64,
    /// What to do.
    pub opcode: Opcode,
    /// Bytes of payload that follow this header; what the chain has beyond them is ignored.
    pub length: u32,
    /// Meaning depends on the opcode.
    pub argument: u64,
    /// Zero.
    pub reserved: u64,
}

/// How a command or an administration command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Status(pub u32);

impl Status {
    /// Done.
    pub const OK: Self = Self(0);
    /// No such opcode.
    pub const BAD_OPCODE: Self = Self(1);
    /// The chain holds fewer payload bytes than `length`, or `length` exceeds the device's maximum.
    pub const BAD_LENGTH: Self = Self(2);
    /// The chain has no room for the answer.
    pub const NO_ROOM: Self = Self(3);
    /// Aborted by tag.
    pub const ABORTED: Self = Self(4);
    /// No command with that tag is held.
    pub const NO_SUCH_TAG: Self = Self(5);
    /// The device holds as many commands as it can.
    pub const BUSY: Self = Self(6);
    /// An argument is out of range.
    pub const BAD_ARGUMENT: Self = Self(7);
}

/// The device-writable start of a command chain; the answer follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Reply {
    /// Tag of the command.
    pub tag: u64,
    /// How it ended.
    pub status: Status,
    /// Bytes of answer that follow.
    pub length: u32,
}

/// What an administration command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct AdminOpcode(pub u32);

impl AdminOpcode {
    /// End the held or delayed command `target` with [`Status::ABORTED`].
    pub const ABORT: Self = Self(1);
    /// Answer the held command `target` as if it were an echo.
    pub const RELEASE: Self = Self(2);
    /// Emit `argument` events a second, 0 for none, at most [`MAX_EVENT_RATE`].
    pub const EVENT_RATE: Self = Self(3);
    /// Emit one event now, carrying `argument`.
    pub const EVENT_ONCE: Self = Self(4);
}

/// Highest event rate, per second.
pub const MAX_EVENT_RATE: u64 = 100_000;

/// An administration command: this, device-readable, then an [`AdminReply`], device-writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AdminCommand {
    /// Names this administration command.
    pub tag: u64,
    /// What to do.
    pub opcode: AdminOpcode,
    /// Zero.
    pub reserved: u32,
    /// Tag of the command it is about.
    pub target: u64,
    /// Meaning depends on the opcode.
    pub argument: u64,
}

/// How an administration command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AdminReply {
    /// Tag of the administration command.
    pub tag: u64,
    /// How it ended.
    pub status: Status,
    /// Zero.
    pub reserved: u32,
}

/// One event, as the device writes it into a posted buffer. A shorter buffer is returned with a used length of 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Event {
    /// Counts from 1 since reset, lost events included, so that a gap shows a loss.
    pub sequence: u64,
    /// Device time in nanoseconds since reset.
    pub time_ns: u64,
    /// The event's payload: the argument of `EVENT_ONCE`, 0 for events of the rate.
    pub value: u64,
}
