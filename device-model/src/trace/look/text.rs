//! One event as one line of text.

use std::fmt::Write as _;

use protocol::hardware::{
    AdminCommand, AdminOpcode, AdminReply, CommandHeader, Event as RelayEvent, Opcode, QUEUE_ADMIN, QUEUE_COMMAND, QUEUE_EVENT,
    Reply, Status,
};
use zerocopy::FromBytes;

use super::RegisterMap;
use crate::trace::{Event, Header, What};

/// Bytes of data that one line shows.
const SHOWN: usize = 24;

/// Turns events into text.
#[derive(Clone, Debug)]
pub struct Describe {
    map: RegisterMap,
    relay: bool,
}

impl Describe {
    /// For a trace with this header; with a map of the user's, or with the one that fits the device.
    pub fn new(header: &Header, map: Option<RegisterMap>) -> Self {
        let own = || if header.virtio.is_some() { RegisterMap::virtio() } else { RegisterMap::default() };
        Self { map: map.unwrap_or_else(own), relay: header.device == "relay" }
    }

    /// Number, time and event.
    pub fn line(&self, number: u64, event: &Event<'_>) -> String {
        let own = if event.own_accord { '~' } else { ' ' };
        let milliseconds = event.time as f64 / 1e6;
        format!("{number:>8} {milliseconds:>14.6} ms {own}{:<12} {}", event.what.kind().name(), self.what(&event.what))
    }

    /// The name of a register, or its place.
    pub fn place(&self, bar: u8, offset: u64) -> String {
        self.map.name(bar, offset).unwrap_or_else(|| format!("bar{bar}+{offset:#x}"))
    }

    /// What happened, without its kind.
    pub fn what(&self, what: &What<'_>) -> String {
        match *what {
            What::Read { bar, offset, data } | What::Write { bar, offset, data } => {
                let value = value(data);
                let bits = self.map.bits(bar, offset, value).map(|bits| format!(" {bits}")).unwrap_or_default();
                format!("{} = {value:#0width$x}{bits}", self.place(bar, offset), width = 2 + 2 * data.len())
            }
            What::ConfigRead { offset, data } | What::ConfigWrite { offset, data } => {
                format!("config+{offset:#x} = {}", hex(data))
            }
            What::DmaRead { address, data } | What::DmaWrite { address, data } => {
                format!("{address:#x}, {} bytes: {}", data.len(), hex(data))
            }
            What::DmaFailed { address, length, write } => {
                format!("{address:#x}, {length} bytes, for {}", if write { "writing" } else { "reading" })
            }
            What::Interrupt { vector } => format!("vector {vector}"),
            What::Pin { level } => if level { "asserted" } else { "released" }.to_owned(),
            What::Reset | What::NeedsReset => String::new(),
            What::Power { state: 3 } => "D3hot".to_owned(),
            What::Power { state } => format!("D{state}"),
            What::Taken { queue, head, tag, readable, writable, data } => {
                let tag = tag.map(|tag| format!(" tag {tag:#x}")).unwrap_or_default();
                let told = self.taken(queue, data).unwrap_or_else(|| hex(data));
                format!("queue {queue} head {head}{tag}, {readable} bytes out, {writable} in: {told}")
            }
            What::Given { queue, head, written, data } => {
                let told = self.given(queue, data).unwrap_or_else(|| hex(data));
                format!("queue {queue} head {head}, {written} bytes: {told}")
            }
            What::QueueReset { queue } => format!("queue {queue}"),
            What::Start { features } => format!("features {features:#x}"),
            What::DeviceRead { offset, data } | What::DeviceWrite { offset, data } | What::SharedRead { offset, data } => {
                format!("+{offset:#x} = {}", hex(data))
            }
            What::Note { text } => String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect(),
        }
    }

    /// A command to the relay hardware.
    pub(super) fn taken(&self, queue: u16, data: &[u8]) -> Option<String> {
        match queue {
            QUEUE_COMMAND if self.relay => {
                let (header, payload) = CommandHeader::read_from_prefix(data).ok()?;
                let name = match header.opcode {
                    Opcode::ECHO => "echo",
                    Opcode::TRANSFORM => "transform",
                    Opcode::CHECKSUM => "checksum",
                    Opcode::HOLD => "hold",
                    Opcode::DELAY => "delay",
                    Opcode::FAIL => "fail",
                    Opcode(other) => return Some(format!("opcode {other}")),
                };
                Some(format!("{name} length {} argument {:#x}: {}", header.length, header.argument, hex(payload)))
            }
            QUEUE_ADMIN if self.relay => {
                let (command, _) = AdminCommand::read_from_prefix(data).ok()?;
                Some(match command.opcode {
                    AdminOpcode::ABORT => format!("abort {:#x}", command.target),
                    AdminOpcode::RELEASE => format!("release {:#x}", command.target),
                    AdminOpcode::EVENT_RATE => format!("event rate {}", command.argument),
                    AdminOpcode::EVENT_ONCE => format!("event once {:#x}", command.argument),
                    AdminOpcode(other) => format!("administration opcode {other}"),
                })
            }
            _ => None,
        }
    }

    /// An answer of the relay hardware.
    fn given(&self, queue: u16, data: &[u8]) -> Option<String> {
        match queue {
            QUEUE_COMMAND if self.relay => {
                let (reply, answer) = Reply::read_from_prefix(data).ok()?;
                Some(format!("{:#x} {}, length {}: {}", reply.tag, status(reply.status), reply.length, hex(answer)))
            }
            QUEUE_ADMIN if self.relay => {
                let (reply, _) = AdminReply::read_from_prefix(data).ok()?;
                Some(format!("{:#x} {}", reply.tag, status(reply.status)))
            }
            QUEUE_EVENT if self.relay => {
                let (event, _) = RelayEvent::read_from_prefix(data).ok()?;
                Some(format!("event {} value {:#x}", event.sequence, event.value))
            }
            _ => None,
        }
    }
}

fn status(status: Status) -> String {
    match status {
        Status::OK => "ok".into(),
        Status::BAD_OPCODE => "bad opcode".into(),
        Status::BAD_LENGTH => "bad length".into(),
        Status::NO_ROOM => "no room".into(),
        Status::ABORTED => "aborted".into(),
        Status::NO_SUCH_TAG => "no such tag".into(),
        Status::BUSY => "busy".into(),
        Status::BAD_ARGUMENT => "bad argument".into(),
        Status(other) => format!("status {other:#x}"),
    }
}

/// A register's value.
pub(super) fn value(data: &[u8]) -> u64 {
    data.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The first bytes of data, in hexadecimal.
pub(super) fn hex(data: &[u8]) -> String {
    let mut text = String::with_capacity(2 * SHOWN + 4);
    for byte in data.iter().take(SHOWN) {
        let _ = write!(text, "{byte:02x}");
    }
    if data.len() > SHOWN {
        text.push_str(" ...");
    }
    text
}
