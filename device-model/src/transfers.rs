//! DMA that takes time: what a device reads and writes of memory that its machine does not share. Whoever carries the bytes (vfio-user's
//! messages, a machine in a test) is not known here.
//!
//! A device's calls do not wait, so a call begins a transfer and says [`DmaError::Pending`]; the device makes the same calls again when it
//! is woken, and those whose transfers are through answer at once. All that a device has asked for is therefore remembered until it has
//! been woken and has found nothing pending: so it may begin at the beginning each time, as long as it changes nothing of its own before
//! its last transfer is through.

use crate::memory::{DmaError, Unreachable};

/// Most transfers that are remembered.
const MOST_JOBS: usize = 4096;
/// Most bytes of them.
const MOST_BYTES: usize = 64 << 20;

/// The transfers of one device.
#[derive(Debug, Default)]
pub struct Transfers {
    /// In the order in which they were begun, which is the order in which they are made.
    jobs: Vec<Job>,
    /// The first that is not through.
    current: usize,
    bytes: usize,
    /// A call has found its bytes on their way since the device was woken.
    pending: bool,
}

#[derive(Debug)]
struct Job {
    write: bool,
    address: u64,
    data: Vec<u8>,
    moved: usize,
    reached: bool,
    /// A call since the last wake has been about this one.
    claimed: bool,
}

/// What is to be moved next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Read so many bytes, then [`Transfers::read_done`].
    Read {
        /// From this address.
        address: u64,
        /// So many.
        count: usize,
    },
    /// Write these bytes, then [`Transfers::write_done`].
    Write {
        /// To this address.
        address: u64,
        /// These.
        data: &'a [u8],
    },
}

impl Transfers {
    /// The device reads.
    pub fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), DmaError> {
        let length = into.len();
        match self.claim(|job| !job.write && job.address == address && job.data.len() == length) {
            Some(index) => {
                self.outcome(index)?;
                into.copy_from_slice(&self.jobs[index].data);
                Ok(())
            }
            None => self.begin_job(false, address, length, || vec![0; length]),
        }
    }

    /// The device writes.
    pub fn write(&mut self, address: u64, from: &[u8]) -> Result<(), DmaError> {
        match self.claim(|job| job.write && job.address == address && job.data == from) {
            Some(index) => self.outcome(index),
            None => self.begin_job(true, address, from.len(), || from.to_vec()),
        }
    }

    /// The device is about to be woken.
    pub fn begin_wake(&mut self) {
        self.pending = false;
        self.jobs.iter_mut().for_each(|job| job.claimed = false);
    }

    /// It has been woken.
    pub fn end_wake(&mut self) {
        if !self.pending {
            self.forget();
        }
    }

    /// Forget everything.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether nothing is left to be moved.
    pub fn is_idle(&self) -> bool {
        self.current == self.jobs.len()
    }

    /// Whether bytes are on their way to memory.
    pub fn is_writing(&self) -> bool {
        self.jobs[self.current..].iter().any(|job| job.write)
    }

    /// What is to be moved next, `most` bytes at a time.
    pub fn next(&self, most: usize) -> Option<Piece<'_>> {
        let job = self.jobs.get(self.current)?;
        let address = job.address + job.moved as u64;
        let data = &job.data[job.moved..];
        let data = &data[..data.len().min(most)];
        Some(if job.write { Piece::Write { address, data } } else { Piece::Read { address, count: data.len() } })
    }

    /// The bytes of the last [`Piece::Read`] have come.
    pub fn read_done(&mut self, data: &[u8]) {
        if let Some(job) = self.jobs.get_mut(self.current)
            && let Some(place) = job.data.get_mut(job.moved..job.moved + data.len())
        {
            place.copy_from_slice(data);
            self.moved(data.len());
        }
    }

    /// So many bytes of the last [`Piece::Write`] have arrived.
    pub fn write_done(&mut self, count: usize) {
        self.moved(count);
    }

    /// The machine has refused the piece: its transfer ends.
    pub fn refused(&mut self) {
        if let Some(job) = self.jobs.get_mut(self.current) {
            job.reached = false;
            self.current += 1;
        }
    }

    /// The machine does not answer: all transfers end.
    pub fn give_up(&mut self) {
        while !self.is_idle() {
            self.refused();
        }
    }

    fn moved(&mut self, count: usize) {
        if let Some(job) = self.jobs.get_mut(self.current) {
            job.moved += count;
            self.current += usize::from(job.moved >= job.data.len());
        }
    }

    fn claim(&mut self, wanted: impl Fn(&Job) -> bool) -> Option<usize> {
        let index = self.jobs.iter().position(|job| !job.claimed && wanted(job))?;
        self.jobs[index].claimed = true;
        Some(index)
    }

    fn outcome(&mut self, index: usize) -> Result<(), DmaError> {
        let job = &self.jobs[index];
        if index >= self.current {
            self.pending = true;
            return Err(DmaError::Pending);
        }
        if job.reached { Ok(()) } else { Err(Unreachable { address: job.address, length: job.data.len() }.into()) }
    }

    fn begin_job(&mut self, write: bool, address: u64, length: usize, data: impl FnOnce() -> Vec<u8>) -> Result<(), DmaError> {
        if self.jobs.len() == MOST_JOBS || length > MOST_BYTES - self.bytes {
            tracing::warn!(
                address = format_args!("{address:#x}"),
                length,
                "the device has too many transfers under way: this one fails"
            );
            return Err(Unreachable { address, length }.into());
        }
        self.bytes += length;
        self.jobs.push(Job { write, address, data: data(), moved: 0, reached: true, claimed: true });
        self.pending = true;
        Err(DmaError::Pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Make every transfer, with bytes that are their addresses.
    fn carry(transfers: &mut Transfers, most: usize) -> Vec<(bool, u64, usize)> {
        let mut made = Vec::new();
        while let Some(piece) = transfers.next(most) {
            match piece {
                Piece::Read { address, count } => {
                    made.push((false, address, count));
                    let bytes: Vec<_> = (0..count as u64).map(|at| (address + at) as u8).collect();
                    transfers.read_done(&bytes);
                }
                Piece::Write { address, data } => {
                    made.push((true, address, data.len()));
                    let count = data.len();
                    transfers.write_done(count);
                }
            }
        }
        made
    }

    /// A device that reads an address, reads what lies there, and writes: from the beginning each time.
    fn wake(transfers: &mut Transfers) -> Result<(), DmaError> {
        transfers.begin_wake();
        let mut pointer = [0];
        let mut data = [0; 4];
        let outcome = transfers
            .read(0x10, &mut pointer)
            .and_then(|()| transfers.read(u64::from(pointer[0]) + 0x80, &mut data))
            .and_then(|()| transfers.write(0x20, &data));
        transfers.end_wake();
        outcome
    }

    #[test]
    fn a_device_that_begins_at_the_beginning_each_time_gets_through_and_moves_each_byte_once() {
        let mut transfers = Transfers::default();

        assert_eq!(wake(&mut transfers), Err(DmaError::Pending));
        assert_eq!(carry(&mut transfers, 100), [(false, 0x10, 1)]);
        assert_eq!(wake(&mut transfers), Err(DmaError::Pending));
        assert_eq!(carry(&mut transfers, 3), [(false, 0x90, 3), (false, 0x93, 1)]);
        assert_eq!(wake(&mut transfers), Err(DmaError::Pending));
        assert!(transfers.is_writing());
        assert_eq!(carry(&mut transfers, 100), [(true, 0x20, 4)]);
        assert_eq!(wake(&mut transfers), Ok(()));

        // The next time, everything is fetched anew.
        assert_eq!(wake(&mut transfers), Err(DmaError::Pending));
        assert_eq!(carry(&mut transfers, 100), [(false, 0x10, 1)]);
    }

    #[test]
    fn two_calls_that_are_alike_are_two_transfers() {
        let mut transfers = Transfers::default();
        for _ in 0..2 {
            transfers.begin_wake();
            let outcomes = [transfers.write(1, b"x"), transfers.write(1, b"y"), transfers.write(1, b"x")];
            transfers.end_wake();
            if outcomes[0].is_ok() {
                assert_eq!(outcomes, [Ok(()); 3]);
            } else {
                assert_eq!(carry(&mut transfers, 8).len(), 3);
            }
        }
        assert!(transfers.is_idle());
    }

    #[test]
    fn a_transfer_that_is_refused_fails_and_the_next_is_made() {
        let mut transfers = Transfers::default();
        transfers.begin_wake();
        assert!(transfers.read(1, &mut [0; 2]).is_err() && transfers.read(2, &mut [0; 2]).is_err());
        transfers.end_wake();
        transfers.refused();
        carry(&mut transfers, 8);

        transfers.begin_wake();
        assert_eq!(transfers.read(1, &mut [0; 2]), Err(Unreachable { address: 1, length: 2 }.into()));
        assert_eq!(transfers.read(2, &mut [0; 2]), Ok(()));
        transfers.end_wake();
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut transfers = Transfers::default();
        for address in 0..MOST_JOBS as u64 {
            assert_eq!(transfers.write(address, b"x"), Err(DmaError::Pending));
        }
        assert!(matches!(transfers.write(u64::MAX, b"x"), Err(DmaError::Unreachable(_))));

        transfers.give_up();
        assert!(transfers.is_idle());
        transfers.forget();
        assert!(matches!(transfers.read(0, &mut vec![0; MOST_BYTES + 1]), Err(DmaError::Unreachable(_))));
    }
}
