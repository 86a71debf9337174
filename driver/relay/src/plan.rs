//! What an I/O control asks of the hardware, and what the hardware's reply means. Pure: from numbers to numbers.

use protocol::hardware::{CommandHeader, MAX_PAYLOAD, Opcode, Reply, Status};
use protocol::io;
use wdf::{Bytes, IoControl, NTSTATUS, Result};

/// Largest payload, and largest answer, of a small slot.
pub(crate) const SMALL: usize = 4096;

/// Where a command's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// In the first buffer, from this offset.
    Input(usize),
    /// In the second buffer.
    Second,
}

/// A command that is about to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) opcode: Opcode,
    pub(crate) argument: u64,
    /// The caller's tag, or none when the caller gave none.
    pub(crate) tag: Option<u64>,
    pub(crate) source: Source,
    pub(crate) payload: usize,
    /// Most bytes of answer that the caller has room for.
    pub(crate) room: usize,
    /// Whether the answer goes to the second buffer, or only its length is told.
    pub(crate) returns_answer: bool,
}

impl Plan {
    /// Whether the command needs a bulk slot.
    pub(crate) const fn is_bulk(&self) -> bool {
        self.payload > SMALL
    }

    /// Room for the answer in the slot. A small command's answer is small too.
    pub(crate) fn slot_room(&self) -> usize {
        self.room.min(if self.is_bulk() { MAX_PAYLOAD as usize } else { SMALL })
    }

    /// The header with which the command begins.
    pub(crate) fn header(&self, tag: u64) -> CommandHeader {
        #[cfg(feature = "mutant")]
        let argument = if self.opcode == Opcode::TRANSFORM { self.argument + 1 } else { self.argument };
        #[cfg(not(feature = "mutant"))]
        let argument = self.argument;
        CommandHeader { tag, opcode: self.opcode, length: self.payload as u32, argument, reserved: 0 }
    }
}

/// The plan of an I/O control. `input` is its first buffer, empty for the codes that do not look into it here.
///
/// # Errors
/// `STATUS_INVALID_DEVICE_REQUEST` for a code that is no command, `STATUS_BUFFER_TOO_SMALL` for an input without its structure,
/// `STATUS_INVALID_PARAMETER` when a reserved field is set, `STATUS_INVALID_BUFFER_SIZE` for too large a payload.
pub(crate) fn plan(control: IoControl, input: Bytes<'_>) -> Result<Plan> {
    let echo = Plan {
        opcode: Opcode::ECHO,
        argument: 0,
        tag: None,
        source: Source::Input(0),
        payload: control.input_length,
        room: control.output_length,
        returns_answer: true,
    };
    let plan = match control.code {
        io::ECHO | io::ECHO_OUT_DIRECT | io::ECHO_NEITHER => echo,
        io::ECHO_IN_DIRECT => Plan { source: Source::Second, payload: control.output_length, returns_answer: false, ..echo },
        io::COMMAND => {
            let command: io::Command = input.read(0)?;
            if command.reserved != 0 {
                return Err(NTSTATUS::INVALID_PARAMETER);
            }
            let header = size_of::<io::Command>();
            let payload = control.input_length.checked_sub(header).ok_or(NTSTATUS::BUFFER_TOO_SMALL)?;
            Plan {
                opcode: Opcode(command.opcode),
                argument: command.argument,
                tag: Some(command.tag),
                source: Source::Input(header),
                payload,
                ..echo
            }
        }
        _ => return Err(NTSTATUS::INVALID_DEVICE_REQUEST),
    };
    if plan.payload > MAX_PAYLOAD as usize {
        return Err(NTSTATUS::INVALID_BUFFER_SIZE);
    }
    Ok(plan)
}

/// The length of the answer, when the reply is one to the command `tag` and says that it succeeded.
///
/// # Errors
/// What the reply's status stands for; `STATUS_DEVICE_HARDWARE_ERROR` when the reply contradicts itself, the command, or `written`, the number
/// of bytes that the ring says were written.
pub(crate) fn answer_length(reply: &Reply, tag: u64, written: u32, room: usize) -> Result<usize> {
    let length = reply.length as usize;
    let header = size_of::<Reply>();
    let written = written as usize;
    if written < header || written - header > room || reply.tag != tag || length > written - header {
        return Err(NTSTATUS::DEVICE_HARDWARE_ERROR);
    }
    meaning(reply.status).map(|()| length)
}

/// What a status of the hardware means to the caller.
///
/// # Errors
/// Every status but `OK` is one.
pub(crate) fn meaning(status: Status) -> Result<()> {
    Err(match status {
        Status::OK => return Ok(()),
        Status::BAD_OPCODE => NTSTATUS::NOT_SUPPORTED,
        Status::BAD_LENGTH => NTSTATUS::INVALID_BUFFER_SIZE,
        Status::NO_ROOM => NTSTATUS::BUFFER_TOO_SMALL,
        Status::ABORTED => NTSTATUS::REQUEST_ABORTED,
        Status::NO_SUCH_TAG => NTSTATUS::NOT_FOUND,
        Status::BUSY => NTSTATUS::DEVICE_BUSY,
        Status::BAD_ARGUMENT => NTSTATUS::INVALID_PARAMETER,
        _ => NTSTATUS::IO_DEVICE_ERROR,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    fn control(code: u32, input_length: usize, output_length: usize) -> IoControl {
        IoControl { code, input_length, output_length }
    }

    fn reply(tag: u64, status: Status, length: u32) -> Reply {
        Reply { tag, status, length }
    }

    #[test]
    fn an_echo_takes_the_first_buffer_and_answers_into_the_second() {
        let plan = plan(control(io::ECHO, 10, 20), Bytes::EMPTY).expect("an echo");
        assert_eq!((plan.source, plan.payload, plan.room, plan.returns_answer), (Source::Input(0), 10, 20, true));
    }

    #[test]
    fn an_in_direct_echo_takes_the_second_buffer_and_answers_its_length() {
        let plan = plan(control(io::ECHO_IN_DIRECT, 3, 20), Bytes::EMPTY).expect("an echo");
        assert_eq!((plan.source, plan.payload, plan.returns_answer), (Source::Second, 20, false));
    }

    #[test]
    fn a_command_without_its_structure_is_too_small() {
        let bytes = [0_u8; 23];
        assert_eq!(plan(control(io::COMMAND, 23, 0), Bytes::from(&bytes[..])), Err(NTSTATUS::BUFFER_TOO_SMALL));
    }

    #[test]
    fn a_command_with_a_reserved_field_set_is_refused() {
        let command = io::Command { tag: 1, opcode: 1, reserved: 1, argument: 0 };
        assert_eq!(plan(control(io::COMMAND, 24, 0), Bytes::from(command.as_bytes())), Err(NTSTATUS::INVALID_PARAMETER));
    }

    #[test]
    fn the_largest_payload_passes_and_one_byte_more_does_not() {
        assert!(plan(control(io::ECHO, MAX_PAYLOAD as usize, 0), Bytes::EMPTY).is_ok());
        assert_eq!(plan(control(io::ECHO, MAX_PAYLOAD as usize + 1, 0), Bytes::EMPTY), Err(NTSTATUS::INVALID_BUFFER_SIZE));
    }

    #[test]
    fn a_code_of_another_driver_is_no_command() {
        assert_eq!(plan(control(0x22_0000, 0, 0), Bytes::EMPTY), Err(NTSTATUS::INVALID_DEVICE_REQUEST));
    }

    #[test]
    fn a_proper_reply_gives_its_length() {
        assert_eq!(answer_length(&reply(7, Status::OK, 5), 7, 21, 5), Ok(5));
    }

    #[test]
    fn a_reply_that_lies_is_a_hardware_error() {
        let lies = [
            (reply(8, Status::OK, 5), 21, "another command's tag"),
            (reply(7, Status::OK, 6), 21, "longer than what was written"),
            (reply(7, Status::OK, 0), 15, "no whole reply written"),
            (reply(7, Status::OK, 5), 22, "more written than there is room"),
            (reply(7, Status::OK, u32::MAX), u32::MAX, "all ones"),
        ];
        for (reply, written, lie) in lies {
            assert_eq!(answer_length(&reply, 7, written, 5), Err(NTSTATUS::DEVICE_HARDWARE_ERROR), "{lie}");
        }
    }

    #[test]
    fn an_unknown_status_is_a_device_error() {
        assert_eq!(meaning(Status(0x1234)), Err(NTSTATUS::IO_DEVICE_ERROR));
    }
}
