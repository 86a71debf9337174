//! The relay device as the tests see it: one method an I/O control.

use alloc::vec::Vec;
use core::time::Duration;

use protocol::hardware::{AdminOpcode, Opcode, RelayConfig};
use protocol::io;
use zerocopy::{FromBytes, IntoBytes};

use crate::nt::{File, NTSTATUS, Opening, Pending};

/// Deadline of everything that has no reason to take time. Long, because software emulation on a busy machine is slow.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// An open relay device.
pub(crate) struct Relay {
    file: File,
}

impl Relay {
    /// Opened so that calls wait.
    pub(crate) fn open() -> Result<Self, NTSTATUS> {
        Ok(Self { file: File::open(io::OPEN_PATH, Opening::Synchronous)? })
    }

    /// Opened so that requests can be in flight.
    pub(crate) fn open_asynchronous() -> Result<Self, NTSTATUS> {
        Ok(Self { file: File::open(io::OPEN_PATH, Opening::Asynchronous)? })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Echoes on a synchronous handle, with room for `room` bytes.
    pub(crate) fn echo(&self, payload: &[u8], room: usize) -> Result<Vec<u8>, NTSTATUS> {
        self.control(io::ECHO, payload, room)
    }

    /// Sends any command on a synchronous handle.
    pub(crate) fn command(
        &self,
        tag: u64,
        opcode: Opcode,
        argument: u64,
        payload: &[u8],
        room: usize,
    ) -> Result<Vec<u8>, NTSTATUS> {
        self.control(io::COMMAND, &command(tag, opcode, argument, payload), room)
    }

    /// Sends any command on an asynchronous handle.
    pub(crate) fn command_later(
        &self,
        tag: u64,
        opcode: Opcode,
        argument: u64,
        payload: &[u8],
        room: usize,
    ) -> Result<Pending<'_>, NTSTATUS> {
        self.file.control_later(io::COMMAND, command(tag, opcode, argument, payload), room)
    }

    /// Sends an administration command on a synchronous handle.
    pub(crate) fn admin(&self, opcode: AdminOpcode, target: u64, argument: u64) -> Result<(), NTSTATUS> {
        let admin = io::Admin { opcode: opcode.0, reserved: 0, target, argument };
        self.file.control(io::ADMIN, admin.as_bytes(), &mut []).map(drop)
    }

    /// The hardware's configuration space, by a synchronous handle.
    pub(crate) fn config(&self) -> Result<RelayConfig, NTSTATUS> {
        self.query(io::QUERY_CONFIG)
    }

    /// The driver's counters, by a synchronous handle.
    pub(crate) fn counters(&self) -> Result<io::DriverCounters, NTSTATUS> {
        self.query(io::QUERY_COUNTERS)
    }

    fn query<T: FromBytes + IntoBytes>(&self, code: u32) -> Result<T, NTSTATUS> {
        let mut answer = T::new_zeroed();
        let length = self.file.control(code, &[], answer.as_mut_bytes())?;
        if length != size_of::<T>() {
            return Err(NTSTATUS::INFO_LENGTH_MISMATCH);
        }
        Ok(answer)
    }

    fn control(&self, code: u32, input: &[u8], room: usize) -> Result<Vec<u8>, NTSTATUS> {
        let mut output = alloc::vec![0; room];
        let length = self.file.control(code, input, &mut output)?;
        if length > output.len() {
            return Err(NTSTATUS::DATA_OVERRUN);
        }
        output.truncate(length);
        Ok(output)
    }
}

/// The input of a command: its header, then its payload.
fn command(tag: u64, opcode: Opcode, argument: u64, payload: &[u8]) -> Vec<u8> {
    let header = io::Command { tag, opcode: opcode.0, reserved: 0, argument };
    [header.as_bytes(), payload].concat()
}
