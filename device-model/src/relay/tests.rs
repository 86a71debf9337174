//! The relay hardware, driven with plain vectors.

use protocol::hardware::*;
use zerocopy::{FromBytes, IntoBytes};

use super::{Carrier, Done, Relay};
use crate::memory::Unreachable;
use crate::testing::command;

/// A carrier that is two vectors.
#[derive(Debug, Default, PartialEq, Eq)]
struct Vectors {
    out: Vec<u8>,
    back: Vec<u8>,
}

impl Carrier for Vectors {
    type Memory = ();

    fn readable(&self) -> u64 {
        self.out.len() as u64
    }

    fn writable(&self) -> u64 {
        self.back.len() as u64
    }

    fn read(&self, _: &(), offset: u64, into: &mut [u8]) -> Result<(), Unreachable> {
        into.copy_from_slice(&self.out[offset as usize..][..into.len()]);
        Ok(())
    }

    fn write(&mut self, _: &(), offset: u64, from: &[u8]) -> Result<(), Unreachable> {
        self.back[offset as usize..][..from.len()].copy_from_slice(from);
        Ok(())
    }
}

fn carrier(tag: u64, opcode: Opcode, argument: u64, payload: &[u8], room: usize) -> Vectors {
    Vectors { out: command(tag, opcode, argument, payload), back: vec![0xee; room] }
}

fn reply(done: &Done<Vectors>) -> (Reply, &[u8]) {
    let (reply, rest) = Reply::read_from_prefix(&done.carrier.back).unwrap();
    assert_eq!(done.written as usize, size_of::<Reply>() + reply.length as usize);
    (reply, &rest[..reply.length as usize])
}

fn at_once(opcode: Opcode, argument: u64, payload: &[u8], room: usize) -> (Status, Vec<u8>) {
    let done = Relay::default().command(carrier(7, opcode, argument, payload, room), &(), 0).expect("answered at once");
    let (reply, answer) = reply(&done);
    assert_eq!(reply.tag, 7);
    (reply.status, answer.to_vec())
}

fn admin(
    relay: &mut Relay<Vectors>,
    opcode: AdminOpcode,
    target: u64,
    argument: u64,
    now: u64,
) -> (Status, Option<Done<Vectors>>) {
    let command = AdminCommand { tag: 1, opcode, reserved: 0, target, argument };
    let (done, ended) = relay.admin(Vectors { out: command.as_bytes().to_vec(), back: vec![0; 16] }, &(), now);
    assert_eq!(done.written, 16);
    (AdminReply::read_from_bytes(&done.carrier.back).unwrap().status, ended)
}

#[test]
fn echo_answers_every_length_unchanged() {
    for length in [0, 1, 15, 4096, 16 << 10, (16 << 10) + 1, MAX_PAYLOAD as usize] {
        let payload: Vec<u8> = (0..length).map(|index| index as u8).collect();

        let (status, answer) = at_once(Opcode::ECHO, 0, &payload, 16 + length);

        assert_eq!(status, Status::OK);
        assert!(answer == payload, "{length}");
    }
}

#[test]
fn transform_flips_each_byte_with_the_arguments_low_byte() {
    assert_eq!(at_once(Opcode::TRANSFORM, 0x1ff, &[0, 1, 0xf0], 19), (Status::OK, vec![0xff, 0xfe, 0x0f]));
}

#[test]
fn checksum_is_crc_32c() {
    // The check value of the CRC catalogue.
    assert_eq!(at_once(Opcode::CHECKSUM, 0, b"123456789", 20), (Status::OK, 0xe306_9283_u32.to_le_bytes().to_vec()));
}

#[test]
fn fail_answers_the_status_it_was_given() {
    assert_eq!(at_once(Opcode::FAIL, 0x1_0000_0063, b"x", 16), (Status(0x63), vec![]));
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason() {
    assert_eq!(at_once(Opcode(99), 0, &[], 16).0, Status::BAD_OPCODE);
    assert_eq!(at_once(Opcode::ECHO, 0, &[1, 2], 17).0, Status::NO_ROOM);
    assert_eq!(at_once(Opcode::CHECKSUM, 0, &[], 19).0, Status::NO_ROOM);
    assert_eq!(at_once(Opcode::DELAY, MAX_DELAY_US + 1, &[], 16).0, Status::BAD_ARGUMENT);
    assert_eq!(at_once(Opcode::ECHO, 0, &vec![0; MAX_PAYLOAD as usize + 1], 16).0, Status::BAD_LENGTH);

    let mut cut = carrier(1, Opcode::ECHO, 0, b"four", 100);
    cut.out.pop();
    assert_eq!(reply(&Relay::default().command(cut, &(), 0).unwrap()).0.status, Status::BAD_LENGTH);

    let mut reserved = carrier(1, Opcode::ECHO, 0, b"", 100);
    reserved.out[24] = 1;
    assert_eq!(reply(&Relay::default().command(reserved, &(), 0).unwrap()).0.status, Status::BAD_ARGUMENT);
}

#[test]
fn a_carrier_too_short_for_header_or_reply_comes_back_empty() {
    let mut short = carrier(1, Opcode::ECHO, 0, b"", 16);
    short.out.pop();
    assert_eq!(Relay::default().command(short, &(), 0).unwrap().written, 0);

    let no_room = carrier(1, Opcode::ECHO, 0, b"", 15);
    assert_eq!(Relay::default().command(no_room, &(), 0).unwrap().written, 0);
}

#[test]
fn a_held_command_waits_for_its_release() {
    let mut relay = Relay::default();
    assert!(relay.command(carrier(5, Opcode::HOLD, 0, b"kept", 20), &(), 0).is_none());
    assert_eq!(relay.held(), 1);
    assert_eq!(admin(&mut relay, AdminOpcode::RELEASE, 6, 0, 0).0, Status::NO_SUCH_TAG);

    let (status, ended) = admin(&mut relay, AdminOpcode::RELEASE, 5, 0, 0);

    assert_eq!(status, Status::OK);
    let ended = ended.unwrap();
    assert_eq!(reply(&ended), (Reply { tag: 5, status: Status::OK, length: 4 }, &b"kept"[..]));
    assert_eq!(relay.held(), 0);
}

#[test]
fn abort_ends_held_and_delayed_commands_and_release_only_held_ones() {
    let mut relay = Relay::default();
    assert!(relay.command(carrier(1, Opcode::HOLD, 0, b"", 16), &(), 0).is_none());
    assert!(relay.command(carrier(2, Opcode::DELAY, 10, b"", 16), &(), 0).is_none());

    assert_eq!(admin(&mut relay, AdminOpcode::RELEASE, 2, 0, 0).0, Status::NO_SUCH_TAG);
    for tag in [1, 2] {
        let (status, ended) = admin(&mut relay, AdminOpcode::ABORT, tag, 0, 0);
        assert_eq!(status, Status::OK);
        assert_eq!(reply(&ended.unwrap()).0.status, Status::ABORTED);
    }
    assert_eq!(relay.next_due(), None);
}

#[test]
fn delayed_commands_come_back_in_the_order_of_their_times() {
    let mut relay = Relay::default();
    for (tag, delay) in [(1, 30), (2, 10), (3, 20)] {
        assert!(relay.command(carrier(tag, Opcode::DELAY, delay, b"", 16), &(), 1000).is_none());
    }
    assert_eq!(relay.next_due(), Some(11_000));
    assert!(relay.expired(&(), 10_999).is_none());

    let order: Vec<_> = std::iter::from_fn(|| relay.expired(&(), 21_000)).map(|done| reply(&done).0.tag).collect();

    assert_eq!(order, [2, 3]);
    assert_eq!(relay.next_due(), Some(31_000));
}

#[test]
fn one_command_more_than_the_device_holds_is_told_that_it_is_busy() {
    let mut relay = Relay::default();
    for tag in 0..u64::from(MAX_HELD) {
        assert!(relay.command(carrier(tag, Opcode::HOLD, 0, b"", 16), &(), 0).is_none());
    }

    let done = relay.command(carrier(999, Opcode::DELAY, 1, b"", 16), &(), 0).unwrap();

    assert_eq!(reply(&done).0.status, Status::BUSY);
    assert_eq!((relay.counters.taken, relay.counters.answered), (u64::from(MAX_HELD) + 1, 1));
}

#[test]
fn reset_forgets_commands_counters_and_events() {
    let mut relay = Relay::default();
    assert!(relay.command(carrier(1, Opcode::HOLD, 0, b"", 16), &(), 0).is_none());
    assert_eq!(admin(&mut relay, AdminOpcode::EVENT_RATE, 0, 10, 0).0, Status::OK);
    assert_eq!(admin(&mut relay, AdminOpcode::EVENT_ONCE, 0, 10, 0).0, Status::OK);
    let mut forgotten = 0;

    relay.reset(500, |_| forgotten += 1);

    assert_eq!((forgotten, relay.held(), relay.counters.taken), (1, 0, 0));
    assert_eq!((relay.next_due(), relay.events.next_due()), (None, None));
}

#[test]
fn events_of_a_rate_come_evenly_and_single_ones_at_once() {
    let mut relay: Relay<Vectors> = Relay::default();
    relay.reset(1_000, drop);
    assert_eq!(admin(&mut relay, AdminOpcode::EVENT_RATE, 0, MAX_EVENT_RATE + 1, 1_000).0, Status::BAD_ARGUMENT);
    assert_eq!(admin(&mut relay, AdminOpcode::EVENT_RATE, 0, 1_000, 1_000).0, Status::OK);
    assert_eq!(admin(&mut relay, AdminOpcode::EVENT_ONCE, 0, 77, 1_000).0, Status::OK);

    assert_eq!(relay.events.next(1_000), Some(Event { sequence: 1, time_ns: 0, value: 77 }));
    assert_eq!(relay.events.next_due(), Some(1_001_000));
    assert_eq!(relay.events.next(1_000_999), None);
    assert_eq!(relay.events.next(1_001_000), Some(Event { sequence: 2, time_ns: 1_000_000, value: 0 }));
    assert_eq!(relay.events.next_due(), Some(2_001_000));
}

#[test]
fn after_a_standstill_old_events_are_counted_as_lost_without_being_made_one_by_one() {
    let mut relay: Relay<Vectors> = Relay::default();
    relay.events.set_rate(MAX_EVENT_RATE, 0);

    let event = relay.events.next(3_600_000_000_000).unwrap();

    assert_eq!(event.sequence, 3_599 * MAX_EVENT_RATE + 1);
    assert_eq!(relay.events.lost, 3_599 * MAX_EVENT_RATE);
}
