//! What the relay hardware does with commands: a state machine over byte carriers. It knows neither virtio nor PCI nor clocks; time and
//! carriers come with each call.

use crc::{CRC_32_ISCSI, Crc, Table};
use protocol::hardware::{
    AdminCommand, AdminOpcode, AdminReply, CommandHeader, MAX_DELAY_US, MAX_EVENT_RATE, MAX_HELD, MAX_PAYLOAD, Opcode, Reply,
    Status,
};
use zerocopy::{FromBytes, IntoBytes};

use super::events::Events;
use crate::memory::Unreachable;

const HEADER: u64 = size_of::<CommandHeader>() as u64;
const REPLY: u64 = size_of::<Reply>() as u64;
/// Bytes that pass through the device at a time: small enough to stay in the first caches.
const CHUNK: usize = 16 << 10;

static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// What brings a command and takes its answer away.
pub trait Carrier {
    /// What it takes to reach the bytes.
    type Memory: ?Sized;

    /// Bytes of the command.
    fn readable(&self) -> u64;

    /// Room for the answer.
    fn writable(&self) -> u64;

    /// Read bytes of the command.
    fn read(&self, memory: &Self::Memory, offset: u64, into: &mut [u8]) -> Result<(), Unreachable>;

    /// Write bytes of the answer.
    fn write(&mut self, memory: &Self::Memory, offset: u64, from: &[u8]) -> Result<(), Unreachable>;
}

/// A carrier that is done with, and the bytes written into it.
#[derive(Debug, PartialEq, Eq)]
pub struct Done<C> {
    /// The carrier.
    pub carrier: C,
    /// Bytes of answer, the reply header included.
    pub written: u32,
}

/// Counters since reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commands taken.
    pub taken: u64,
    /// Commands answered.
    pub answered: u64,
}

/// A command that the device keeps.
struct Held<C> {
    carrier: C,
    header: CommandHeader,
    /// Device time of its answer; `None` until released.
    due: Option<u64>,
}

/// What a command comes to when it is looked at first.
enum Verdict {
    Refuse(Status),
    Answer,
    Keep(Option<u64>),
}

/// The relay hardware.
pub struct Relay<C> {
    held: Vec<Held<C>>,
    next_due: Option<u64>,
    /// Counters since reset.
    pub counters: Counters,
    /// The source of events.
    pub events: Events,
    chunk: Box<[u8; CHUNK]>,
}

impl<C: Carrier> Default for Relay<C> {
    fn default() -> Self {
        Self {
            held: Vec::with_capacity(MAX_HELD as usize),
            next_due: None,
            counters: Counters::default(),
            events: Events::default(),
            chunk: Box::new([0; CHUNK]),
        }
    }
}

impl<C: Carrier> Relay<C> {
    /// Take a command. It comes back at once, or later from [`Relay::expired`] or [`Relay::admin`].
    pub fn command(&mut self, carrier: C, memory: &C::Memory, now: u64) -> Option<Done<C>> {
        self.counters.taken += 1;
        let mut bytes = [0; HEADER as usize];
        let fits = carrier.readable() >= HEADER && carrier.writable() >= REPLY;
        if !fits || carrier.read(memory, 0, &mut bytes).is_err() {
            return Some(Done { carrier, written: 0 });
        }
        let header: CommandHeader = zerocopy::transmute!(bytes);
        tracing::debug!(tag = header.tag, opcode = header.opcode.0, length = header.length, "taken");
        match self.judge(&carrier, &header, now) {
            Verdict::Refuse(status) => Some(self.finish(carrier, memory, &header, status)),
            Verdict::Answer => Some(self.answer(carrier, memory, &header)),
            Verdict::Keep(due) => {
                self.held.push(Held { carrier, header, due });
                self.next_due = earlier(self.next_due, due);
                None
            }
        }
    }

    /// Take an administration command. Returns it, and the kept command that it ended, if any.
    pub fn admin(&mut self, carrier: C, memory: &C::Memory, now: u64) -> (Done<C>, Option<Done<C>>) {
        let mut bytes = [0; size_of::<AdminCommand>()];
        let fits = carrier.readable() >= bytes.len() as u64 && carrier.writable() >= size_of::<AdminReply>() as u64;
        if !fits || carrier.read(memory, 0, &mut bytes).is_err() {
            return (Done { carrier, written: 0 }, None);
        }
        let command: AdminCommand = zerocopy::transmute!(bytes);
        let (status, ended) = self.administer(&command, memory, now);
        (write_admin_reply(carrier, memory, &command, status), ended)
    }

    /// Device time at which [`Relay::expired`] has something to return.
    pub fn next_due(&self) -> Option<u64> {
        self.next_due
    }

    /// The next delayed command whose time has come, answered.
    pub fn expired(&mut self, memory: &C::Memory, now: u64) -> Option<Done<C>> {
        if self.next_due.is_none_or(|due| due > now) {
            return None;
        }
        let (index, _) = self
            .held
            .iter()
            .enumerate()
            .filter_map(|(index, held)| Some((index, held.due?)))
            .filter(|&(_, due)| due <= now)
            .min_by_key(|&(_, due)| due)?;
        let held = self.take(index);
        Some(self.answer(held.carrier, memory, &held.header))
    }

    /// Commands held or delayed now.
    pub fn held(&self) -> u32 {
        self.held.len() as u32
    }

    /// Forget the kept commands; their carriers go to `forgotten`.
    pub fn forget_held(&mut self, forgotten: impl FnMut(C)) {
        self.next_due = None;
        self.held.drain(..).map(|held| held.carrier).for_each(forgotten);
    }

    /// Go back to the state after power-on.
    pub fn reset(&mut self, now: u64, forgotten: impl FnMut(C)) {
        self.forget_held(forgotten);
        self.counters = Counters::default();
        self.events.reset(now);
    }

    fn judge(&self, carrier: &C, header: &CommandHeader, now: u64) -> Verdict {
        let answer = match header.opcode {
            Opcode::ECHO | Opcode::TRANSFORM | Opcode::HOLD | Opcode::DELAY => u64::from(header.length),
            Opcode::CHECKSUM => size_of::<u32>() as u64,
            Opcode::FAIL => 0,
            _ => return Verdict::Refuse(Status::BAD_OPCODE),
        };
        if header.length > MAX_PAYLOAD || carrier.readable() - HEADER < u64::from(header.length) {
            return Verdict::Refuse(Status::BAD_LENGTH);
        }
        if header.reserved != 0 || (header.opcode == Opcode::DELAY && header.argument > MAX_DELAY_US) {
            return Verdict::Refuse(Status::BAD_ARGUMENT);
        }
        if carrier.writable() - REPLY < answer {
            return Verdict::Refuse(Status::NO_ROOM);
        }
        match header.opcode {
            Opcode::FAIL => Verdict::Refuse(Status(header.argument as u32)),
            Opcode::HOLD | Opcode::DELAY if self.held.len() >= MAX_HELD as usize => Verdict::Refuse(Status::BUSY),
            Opcode::HOLD => Verdict::Keep(None),
            Opcode::DELAY => Verdict::Keep(Some(now.saturating_add(header.argument * 1000))),
            _ => Verdict::Answer,
        }
    }

    /// Carry the command out and write its answer.
    fn answer(&mut self, mut carrier: C, memory: &C::Memory, header: &CommandHeader) -> Done<C> {
        let length = match header.opcode {
            Opcode::CHECKSUM => self.checksum(&mut carrier, memory, header),
            Opcode::TRANSFORM => self.copy(&mut carrier, memory, header, header.argument as u8),
            _ => self.copy(&mut carrier, memory, header, 0),
        };
        match length {
            Ok(length) => self.write_reply(carrier, memory, header, Status::OK, length),
            // The driver gave the device an address that is no memory. There is nobody to tell.
            Err(Unreachable { .. }) => Done { carrier, written: 0 },
        }
    }

    fn finish(&mut self, carrier: C, memory: &C::Memory, header: &CommandHeader, status: Status) -> Done<C> {
        self.write_reply(carrier, memory, header, status, 0)
    }

    fn write_reply(
        &mut self,
        mut carrier: C,
        memory: &C::Memory,
        header: &CommandHeader,
        status: Status,
        length: u32,
    ) -> Done<C> {
        let reply = Reply { tag: header.tag, status, length };
        if carrier.write(memory, 0, reply.as_bytes()).is_err() {
            return Done { carrier, written: 0 };
        }
        self.counters.answered += 1;
        tracing::debug!(tag = header.tag, status = status.0, length, "answered");
        Done { carrier, written: REPLY as u32 + length }
    }

    fn copy(&mut self, carrier: &mut C, memory: &C::Memory, header: &CommandHeader, mask: u8) -> Result<u32, Unreachable> {
        let mut done = 0;
        while done < header.length {
            let chunk = &mut self.chunk[..CHUNK.min((header.length - done) as usize)];
            carrier.read(memory, HEADER + u64::from(done), chunk)?;
            if mask != 0 {
                chunk.iter_mut().for_each(|byte| *byte ^= mask);
            }
            carrier.write(memory, REPLY + u64::from(done), chunk)?;
            done += chunk.len() as u32;
        }
        Ok(done)
    }

    fn checksum(&mut self, carrier: &mut C, memory: &C::Memory, header: &CommandHeader) -> Result<u32, Unreachable> {
        let mut digest = CRC32C.digest();
        let mut done = 0;
        while done < header.length {
            let chunk = &mut self.chunk[..CHUNK.min((header.length - done) as usize)];
            carrier.read(memory, HEADER + u64::from(done), chunk)?;
            digest.update(chunk);
            done += chunk.len() as u32;
        }
        let answer = digest.finalize().to_le_bytes();
        carrier.write(memory, REPLY, &answer)?;
        Ok(answer.len() as u32)
    }

    fn administer(&mut self, command: &AdminCommand, memory: &C::Memory, now: u64) -> (Status, Option<Done<C>>) {
        if command.reserved != 0 {
            return (Status::BAD_ARGUMENT, None);
        }
        match command.opcode {
            AdminOpcode::ABORT => match self.find(command.target, |_| true) {
                Some(index) => {
                    let held = self.take(index);
                    (Status::OK, Some(self.finish(held.carrier, memory, &held.header, Status::ABORTED)))
                }
                None => (Status::NO_SUCH_TAG, None),
            },
            AdminOpcode::RELEASE => match self.find(command.target, |held| held.due.is_none()) {
                Some(index) => {
                    let held = self.take(index);
                    (Status::OK, Some(self.answer(held.carrier, memory, &held.header)))
                }
                None => (Status::NO_SUCH_TAG, None),
            },
            AdminOpcode::EVENT_RATE if command.argument > MAX_EVENT_RATE => (Status::BAD_ARGUMENT, None),
            AdminOpcode::EVENT_RATE => {
                self.events.set_rate(command.argument, now);
                (Status::OK, None)
            }
            AdminOpcode::EVENT_ONCE => {
                self.events.emit_once(command.argument);
                (Status::OK, None)
            }
            _ => (Status::BAD_OPCODE, None),
        }
    }

    /// The oldest kept command with this tag.
    fn find(&self, tag: u64, wanted: impl Fn(&Held<C>) -> bool) -> Option<usize> {
        self.held.iter().position(|held| held.header.tag == tag && wanted(held))
    }

    fn take(&mut self, index: usize) -> Held<C> {
        let held = self.held.remove(index);
        if held.due.is_some() {
            self.next_due = self.held.iter().filter_map(|held| held.due).min();
        }
        held
    }
}

fn write_admin_reply<C: Carrier>(mut carrier: C, memory: &C::Memory, command: &AdminCommand, status: Status) -> Done<C> {
    let reply = AdminReply { tag: command.tag, status, reserved: 0 };
    let written = match carrier.write(memory, 0, reply.as_bytes()) {
        Ok(()) => size_of::<AdminReply>() as u32,
        Err(Unreachable { .. }) => 0,
    };
    Done { carrier, written }
}

fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

const _: () = {
    const fn readable_from_any_bytes<T: FromBytes>() {}
    readable_from_any_bytes::<CommandHeader>();
    readable_from_any_bytes::<AdminCommand>();
};
