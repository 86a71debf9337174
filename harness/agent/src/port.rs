//! COM2: frames of the agent's language.

use core::time::Duration;

use channel::{Decoder, FromAgent, FromGuest, MAX_FRAME, ToAgent, Word, encode_agent};
use suites::nt::{File, NTSTATUS, Opening, sleep};

const PORT: &str = r"\??\COM2";
/// `IOCTL_SERIAL_SET_TIMEOUTS`.
const SET_TIMEOUTS: u32 = 0x001b_001c;
/// `IOCTL_SERIAL_SET_BAUD_RATE`.
const SET_BAUD_RATE: u32 = 0x001b_0004;
const BAUD_RATE: u32 = 115_200;
/// Pause between two attempts to open the port, which another program may still hold, or whose driver may not be there yet.
const AGAIN: Duration = Duration::from_millis(200);

/// How long nobody may speak, in milliseconds, before the agent says once more that it is there; until the harness has spoken.
const UNHEARD: u32 = 2_000;
/// For ever, as a time-out of the port.
const FOR_EVER: u32 = u32::MAX - 1;

/// The open port, and what has come in.
pub(crate) struct Port {
    file: File,
    is_heard: bool,
    decoder: Decoder,
    incoming: [u8; 256],
    filled: usize,
    taken: usize,
}

impl Port {
    /// Opens COM2. Reads return as soon as there is anything; when there is nothing, they wait for ever, since the harness is the one
    /// with deadlines, or, before it has spoken, a moment.
    pub(crate) fn open() -> Result<Self, NTSTATUS> {
        let file = File::open(PORT, Opening::Synchronous)?;
        file.control(SET_BAUD_RATE, &BAUD_RATE.to_le_bytes(), &mut [])?;
        let mut port = Self { file, is_heard: false, decoder: Decoder::new(), incoming: [0; 256], filled: 0, taken: 0 };
        port.wait_at_most(UNHEARD)?;
        // The firmware has a console on this line, too: what it has written ends here, and is no part of the first frame.
        port.write(&[0])?;
        Ok(port)
    }

    /// Interval and multiplier at their maximum, the constant below it: what is there at once, else the first byte within that time.
    fn wait_at_most(&mut self, milliseconds: u32) -> Result<(), NTSTATUS> {
        let mut timeouts = [0xff; 20];
        timeouts[8..12].copy_from_slice(&milliseconds.to_le_bytes());
        timeouts[12..].fill(0);
        self.file.control(SET_TIMEOUTS, &timeouts, &mut []).map(drop)
    }

    /// Opens it however long that takes, `tries` times at most if that is a number.
    pub(crate) fn wait_for(tries: Option<u32>) -> Result<Self, NTSTATUS> {
        let mut tried = 0;
        loop {
            match Self::open() {
                Err(status) if tries == Some(tried) => return Err(status),
                Err(_) => sleep(AGAIN),
                port => return port,
            }
            tried = tried.saturating_add(1);
        }
    }

    pub(crate) fn send(&mut self, message: &FromAgent<'_>) -> Result<(), NTSTATUS> {
        let mut line = [0; MAX_FRAME];
        let length = encode_agent(message, &mut line).map_err(|_| NTSTATUS::INVALID_BUFFER_SIZE)?;
        self.write(&line[..length])
    }

    fn write(&mut self, mut rest: &[u8]) -> Result<(), NTSTATUS> {
        while !rest.is_empty() {
            let written = self.file.write(rest)?;
            rest = rest.get(written..).ok_or(NTSTATUS::DATA_ERROR)?;
        }
        Ok(())
    }

    /// Waits for the next order and returns what `read` makes of it. Frames that are none, and the suites', are skipped. Before the first
    /// one, `idle` is said whenever nothing has come for a while.
    pub(crate) fn receive<T>(&mut self, idle: &FromAgent<'_>, read: impl FnOnce(ToAgent<'_>) -> T) -> Result<T, NTSTATUS> {
        loop {
            while self.taken == self.filled {
                self.filled = self.file.read(&mut self.incoming)?;
                self.taken = 0;
                if self.filled == 0 && !self.is_heard {
                    self.send(idle)?;
                }
            }
            let byte = self.incoming[self.taken];
            self.taken += 1;
            if let Some(Ok(Word::Agent(order))) = self.decoder.push_either::<FromGuest<'_>, ToAgent<'_>>(byte) {
                let order = read(order);
                if !core::mem::replace(&mut self.is_heard, true) {
                    self.wait_at_most(FOR_EVER)?;
                }
                return Ok(order);
            }
        }
    }
}
