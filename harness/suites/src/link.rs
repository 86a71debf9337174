//! The serial line to the harness: opens COM2, sends and receives frames.

use channel::{Decoder, MAX_FRAME, ToGuest, encode};
use serde::Serialize;

use crate::nt::{File, NTSTATUS, Opening};

const PORT: &str = r"\??\COM2";
/// `IOCTL_SERIAL_SET_TIMEOUTS`.
const SET_TIMEOUTS: u32 = 0x001b_001c;
/// `IOCTL_SERIAL_SET_BAUD_RATE`.
const SET_BAUD_RATE: u32 = 0x001b_0004;
const BAUD_RATE: u32 = 115_200;

/// COM2, and what has come in on it.
pub(crate) struct Link {
    port: File,
    decoder: Decoder,
    incoming: [u8; 256],
    filled: usize,
    taken: usize,
}

impl Link {
    /// Opens COM2 so that a read returns as soon as there is anything, and waits for ever when there is nothing: the harness is the
    /// one with deadlines.
    pub(crate) fn open() -> Result<Self, NTSTATUS> {
        let port = File::open(PORT, Opening::Synchronous)?;
        port.control(SET_BAUD_RATE, &BAUD_RATE.to_le_bytes(), &mut [])?;
        // ReadIntervalTimeout and ReadTotalTimeoutMultiplier at their maximum, ReadTotalTimeoutConstant just below it: return at once
        // with what is there, else wait for the first byte.
        let mut timeouts = [0xff; 20];
        timeouts[8..12].copy_from_slice(&(u32::MAX - 1).to_le_bytes());
        timeouts[12..].fill(0);
        port.control(SET_TIMEOUTS, &timeouts, &mut [])?;
        Ok(Self { port, decoder: Decoder::new(), incoming: [0; 256], filled: 0, taken: 0 })
    }

    /// Sends one message. A message too long for a frame is a mistake of the suite, and says so instead of being lost.
    pub(crate) fn send(&mut self, message: &impl Serialize) -> Result<(), NTSTATUS> {
        let mut line = [0; MAX_FRAME];
        let length = encode(message, &mut line).map_err(|_| NTSTATUS::INVALID_BUFFER_SIZE)?;
        let mut rest = &line[..length];
        while !rest.is_empty() {
            let written = self.port.write(rest)?;
            rest = rest.get(written..).ok_or(NTSTATUS::DATA_ERROR)?;
        }
        Ok(())
    }

    /// Waits for the next whole message and returns what `read` makes of it. Frames that are none are skipped: the harness asks
    /// again.
    pub(crate) fn receive<T>(&mut self, read: impl FnOnce(ToGuest<'_>) -> T) -> Result<T, NTSTATUS> {
        loop {
            let byte = self.next_byte()?;
            if let Some(Ok(message)) = self.decoder.push(byte) {
                return Ok(read(message));
            }
        }
    }

    fn next_byte(&mut self) -> Result<u8, NTSTATUS> {
        while self.taken == self.filled {
            self.filled = self.port.read(&mut self.incoming)?;
            self.taken = 0;
        }
        let byte = self.incoming[self.taken];
        self.taken += 1;
        Ok(byte)
    }
}
