//! What this server asks of its client: memory that the client has mapped without a descriptor is read and written by messages. One is under
//! way at a time, each has a deadline, and whatever the client sends meanwhile is served: a client may hold its own lock while it waits for
//! a register (QEMU does), and answers only when it has its register.

use zerocopy::{FromBytes, IntoBytes};

use super::message::{Agreement, DmaAccess, FLAG_ERROR, HEADER_SIZE, Header, command};
use crate::transfers::{Piece, Transfers};

/// How long a client may take to answer, in nanoseconds. QEMU itself gives up after five seconds.
const PATIENCE: u64 = 5_000_000_000;
/// Bytes of a DMA message before its data, header not included.
const ACCESS: usize = size_of::<DmaAccess>();

struct Sent {
    id: u16,
    write: bool,
    address: u64,
    count: usize,
    deadline: u64,
}

/// The requests to one client, and the transfers that they make.
#[derive(Default)]
pub(super) struct Requests {
    /// What the device has asked for.
    pub(super) transfers: Transfers,
    sent: Option<Sent>,
    last_id: u16,
    message: Vec<u8>,
}

impl Requests {
    /// The next request, if there is one to be sent now.
    pub(super) fn next(&mut self, agreement: &Agreement, now: u64) -> bool {
        if self.sent.is_some() {
            return false;
        }
        let Some(piece) = self.transfers.next(agreement.max_transfer) else { return false };
        let (write, address, data, count) = match piece {
            Piece::Read { address, count } => (false, address, &[][..], count),
            Piece::Write { address, data } => (true, address, data, data.len()),
        };
        self.last_id = self.last_id.wrapping_add(1);
        let id = self.last_id;
        let command = if write { command::DMA_WRITE } else { command::DMA_READ };
        let size = HEADER_SIZE + ACCESS + data.len();
        self.message.clear();
        self.message.extend_from_slice(Header { id, command, size: size as u32, flags: 0, error: 0 }.as_bytes());
        self.message.extend_from_slice(DmaAccess { address, count: count as u64 }.as_bytes());
        self.message.extend_from_slice(data);
        self.sent = Some(Sent { id, write, address, count, deadline: now.saturating_add(PATIENCE) });
        true
    }

    /// The last request.
    pub(super) fn message(&self) -> &[u8] {
        &self.message
    }

    /// Device time at which the client must have answered.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.sent.as_ref().map(|sent| sent.deadline)
    }

    /// Give up what the client should have answered.
    pub(super) fn expire(&mut self, now: u64) {
        if let Some(sent) = self.sent.take_if(|sent| sent.deadline <= now) {
            tracing::warn!(
                address = format_args!("{:#x}", sent.address),
                seconds = PATIENCE / 1_000_000_000,
                "the client does not answer a request for its memory: the device's transfers fail"
            );
            self.transfers.give_up();
        }
    }

    /// The device does not want anything any more. An answer that is still to come is for nobody.
    pub(super) fn forget(&mut self) {
        self.transfers.forget();
        self.sent = None;
    }

    /// The client has sent a reply: `None` if nobody has asked for it.
    pub(super) fn replied(&mut self, header: &Header, body: &[u8]) -> Option<()> {
        let sent = self.sent.take_if(|sent| sent.id == header.id)?;
        let address = format_args!("{:#x}", sent.address);
        if header.flags & FLAG_ERROR != 0 {
            tracing::warn!(address, bytes = sent.count, error = header.error, "the client refuses a transfer");
            self.transfers.refused();
            return Some(());
        }
        // What was written need not be confirmed but by the reply itself; clients differ in what they put into it.
        match (sent.write, data(&sent, body)) {
            (true, _) => self.transfers.write_done(sent.count),
            (false, Some(data)) => self.transfers.read_done(data),
            (false, None) => {
                tracing::warn!(address, bytes = sent.count, came = body.len(), "the client answers a read with something else");
                self.transfers.refused();
            }
        }
        Some(())
    }
}

/// The data of a read's reply.
fn data<'a>(sent: &Sent, body: &'a [u8]) -> Option<&'a [u8]> {
    let (access, data) = DmaAccess::read_from_prefix(body).ok()?;
    let asked = (access.address, access.count, data.len()) == (sent.address, sent.count as u64, sent.count);
    asked.then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{DmaError, Unreachable};

    const AGREEMENT: Agreement = Agreement { minor: 1, max_transfer: 8, takes_fds: true };
    const MEMORY: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    const OK: u32 = super::super::message::FLAG_REPLY;

    /// A device has asked for 12 bytes.
    fn asked() -> Requests {
        let mut requests = Requests::default();
        assert_eq!(requests.transfers.read(0x10, &mut [0; 12]), Err(DmaError::Pending));
        requests
    }

    fn sent(requests: &mut Requests) -> (Header, Vec<u8>) {
        assert!(requests.next(&AGREEMENT, 0), "there is a request");
        let (header, body) = Header::read_from_prefix(requests.message()).unwrap();
        assert_eq!(header.size as usize, requests.message().len());
        (header, body.to_vec())
    }

    fn answer(requests: &mut Requests) {
        let (header, body) = sent(requests);
        assert_eq!(header.command, command::DMA_READ);
        let access = DmaAccess::read_from_bytes(&body).unwrap();
        let (from, count) = (access.address as usize - 0x10, access.count as usize);
        let reply = [&body[..], &MEMORY[from..from + count]].concat();
        requests.replied(&Header { flags: OK, ..header }, &reply).unwrap();
    }

    fn outcome(requests: &mut Requests) -> Result<[u8; 12], DmaError> {
        let mut data = [0; 12];
        requests.transfers.begin_wake();
        requests.transfers.read(0x10, &mut data).map(|()| data)
    }

    #[test]
    fn a_read_is_cut_as_agreed() {
        let mut requests = asked();
        answer(&mut requests);
        assert_eq!(outcome(&mut requests), Err(DmaError::Pending), "8 of 12 bytes have come");
        answer(&mut requests);
        assert_eq!(outcome(&mut requests), Ok(*b"0123456789ab"));
        assert!(!requests.next(&AGREEMENT, 0) && requests.deadline().is_none());
    }

    #[test]
    fn a_write_is_done_when_it_is_answered() {
        let mut requests = Requests::default();
        assert_eq!(requests.transfers.write(0x20, b"written"), Err(DmaError::Pending));
        let (header, body) = sent(&mut requests);
        assert_eq!(header.command, command::DMA_WRITE);
        assert_eq!(body, [DmaAccess { address: 0x20, count: 7 }.as_bytes(), b"written"].concat());
        assert!(requests.transfers.is_writing());

        requests.replied(&Header { flags: OK, ..header }, &body[..ACCESS]).unwrap();

        requests.transfers.begin_wake();
        assert_eq!(requests.transfers.write(0x20, b"written"), Ok(()));
    }

    #[test]
    fn replies_that_are_short_long_of_elsewhere_or_errors_end_the_transfer() {
        let failed = Err(DmaError::Unreachable(Unreachable { address: 0x10, length: 12 }));
        let good = DmaAccess { address: 0x10, count: 8 };
        let bodies = [
            (OK, vec![]),
            (OK, good.as_bytes().to_vec()),
            (OK, [good.as_bytes(), &[1; 7]].concat()),
            (OK, [good.as_bytes(), &[1; 9]].concat()),
            (OK, [DmaAccess { address: 0x11, ..good }.as_bytes(), &[1; 8]].concat()),
            (OK, [DmaAccess { count: 7, ..good }.as_bytes(), &[1; 8]].concat()),
            (OK, [DmaAccess { count: 8 | 1 << 32, ..good }.as_bytes(), &[1; 8]].concat()),
            (OK | FLAG_ERROR, vec![]),
            (OK | FLAG_ERROR, [good.as_bytes(), &[1; 8]].concat()),
        ];
        for (flags, body) in bodies {
            let mut requests = asked();
            let (header, _) = sent(&mut requests);
            assert_eq!(requests.replied(&Header { flags, ..header }, &body), Some(()));
            assert_eq!(outcome(&mut requests), failed, "{flags:#x} {body:?}");
        }
    }

    #[test]
    fn a_reply_to_something_else_changes_nothing_and_a_late_one_neither() {
        let mut requests = asked();
        let (header, body) = sent(&mut requests);
        let body = [&body[..], &[1; 8]].concat();
        for id in [header.id.wrapping_add(1), 0, header.id.wrapping_sub(1)] {
            assert_eq!(requests.replied(&Header { id, flags: OK, ..header }, &body), None);
        }
        assert_eq!(outcome(&mut requests), Err(DmaError::Pending));

        requests.expire(PATIENCE - 1);
        assert_eq!(outcome(&mut requests), Err(DmaError::Pending));
        requests.expire(PATIENCE);
        assert!(matches!(outcome(&mut requests), Err(DmaError::Unreachable(_))));
        assert_eq!(requests.replied(&Header { flags: OK, ..header }, &body), None);
    }

    #[test]
    fn what_is_forgotten_is_not_waited_for() {
        let mut requests = asked();
        let (header, body) = sent(&mut requests);

        requests.forget();

        assert!(requests.deadline().is_none() && requests.transfers.is_idle());
        assert_eq!(requests.replied(&Header { flags: OK, ..header }, &[&body[..], &[1; 8]].concat()), None);
    }
}
