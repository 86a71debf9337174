//! The relay hardware in a machine that does not share its memory.

use std::sync::Arc;

use protocol::hardware::{AdminCommand, AdminOpcode, Opcode, QUEUE_SIZE};
use zerocopy::IntoBytes;

use crate::memory::{Memory, Region};
use crate::pci::Function;
use crate::relay::RelayDevice;
use crate::testing::*;
use crate::virtio::pci::VirtioPci;

const OUT: u64 = 0x10_0000;
const IN: u64 = 0x20_0000;
const NEEDS_RESET: u8 = 0x40;
const INDIRECT: u64 = 1 << 28;
const EVENT_INDEX: u64 = 1 << 29;
const RING_RESET: u64 = 1 << 40;
/// Commands taken, in the hardware's configuration.
const TAKEN: u64 = CONFIG + 16;

/// A machine with the hardware, running, and the memory that only the driver can reach.
struct Rig {
    machine: Machine,
    memory: Arc<Memory>,
    queues: [DriverQueue; 3],
}

impl Rig {
    fn new(features: u64) -> Self {
        let function = Function::new(Box::new(VirtioPci::new(RelayDevice::new()))).unwrap();
        let mut machine = Machine::new(function, 0x200_0000);
        let mut at = usize::from(machine.config::<1>(0x34)[0]);
        while machine.config::<1>(at)[0] != 0x11 {
            at = usize::from(machine.config::<1>(at + 1)[0]);
        }
        machine.function.write_config(at + 2, &0x8000_u16.to_le_bytes(), &mut machine.wires);
        let memory = machine.unshare();
        let queue = |index| DriverQueue::new(memory.clone(), 0x1_0000 + index * DriverQueue::BYTES, QUEUE_SIZE);
        let queues = [0, 1, 2].map(queue);
        let status = start_virtio(&mut machine, VERSION_1 | features, &[&queues[0], &queues[1], &queues[2]]);
        assert_eq!(status, RUNNING);
        Self { machine, memory, queues }
    }

    fn notify(&mut self, queue: u16) {
        self.machine.write(BAR, NOTIFY + 4 * u64::from(queue), &queue.to_le_bytes());
    }

    fn kick(&mut self, queue: u16) {
        self.notify(queue);
        assert!(self.machine.settle(200), "the device never becomes idle");
    }

    fn send(&mut self, opcode: Opcode, argument: u64, payload: &[u8]) -> u16 {
        let bytes = command(7, opcode, argument, payload);
        self.memory.write_at(OUT, &bytes).unwrap();
        self.queues[0].add(&[Buffer::Out(OUT, bytes.len() as u32), Buffer::In(IN, 0x1000)])
    }

    fn administer(&mut self, opcode: AdminOpcode, argument: u64) {
        let bytes = AdminCommand { tag: 9, opcode, reserved: 0, target: 7, argument };
        self.memory.write_at(OUT + 0x8000, bytes.as_bytes()).unwrap();
        self.queues[2].add(&[Buffer::Out(OUT + 0x8000, 32), Buffer::In(IN + 0x8000, 16)]);
        self.kick(2);
        assert_eq!(self.queues[2].used().map(|used| used.1), Some(16));
    }

    fn read(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.read_at(address, &mut bytes).unwrap();
        bytes
    }

    fn status(&mut self) -> u8 {
        self.machine.read8(BAR, STATUS)
    }
}

#[test]
fn an_echo_goes_there_and_back_through_scattered_buffers_and_interrupts_once() {
    let mut rig = Rig::new(0);
    let bytes = command(3, Opcode::ECHO, 0, b"far away");
    rig.memory.write_at(OUT, &bytes).unwrap();

    let (first, rest) = (Buffer::Out(OUT, 5), Buffer::Out(OUT + 5, bytes.len() as u32 - 5));
    let head = rig.queues[0].add(&[first, rest, Buffer::In(IN, 17), Buffer::In(IN + 0x1000, 100)]);
    rig.kick(0);

    assert_eq!(rig.queues[0].used(), Some((head, 24)));
    assert_eq!((rig.read(IN + 16, 1), rig.read(IN + 0x1000, 8)), (b"f".to_vec(), b"ar away\0".to_vec()));
    assert_eq!(rig.machine.wires.messages, [1]);
    assert_eq!(rig.queues[0].used(), None);
}

#[test]
fn a_command_that_comes_while_the_rings_are_on_their_way_is_not_forgotten() {
    for moment in 0..20 {
        let mut rig = Rig::new(0);
        rig.send(Opcode::ECHO, 0, b"first");
        rig.notify(0);
        rig.machine.settle(moment);
        let bytes = command(8, Opcode::ECHO, 0, b"second");
        rig.memory.write_at(OUT + 0x4000, &bytes).unwrap();
        rig.queues[0].add(&[Buffer::Out(OUT + 0x4000, bytes.len() as u32), Buffer::In(IN + 0x4000, 0x1000)]);
        rig.kick(0);

        let answers = [rig.queues[0].used(), rig.queues[0].used()].map(|used| used.map(|used| used.1));
        assert_eq!(answers, [Some(21), Some(22)], "after {moment} calls");
    }
}

#[test]
fn what_the_driver_is_told_of_is_there_when_it_is_told() {
    let mut rig = Rig::new(0);
    let head = rig.send(Opcode::ECHO, 0, &[7; 3000]);
    rig.notify(0);
    let mut rounds = 0;
    while rig.machine.wires.messages.is_empty() {
        assert_eq!(rig.queues[0].used(), None, "nothing is told before everything is there");
        rig.machine.settle(1);
        rounds += 1;
        assert!(rounds < 100);
    }

    assert_eq!(rig.queues[0].used(), Some((head, 3016)));
    assert_eq!(rig.read(IN + 16, 3000), [7; 3000]);
}

#[test]
fn a_queue_with_more_than_is_brought_at_a_time_is_worked_off() {
    let mut rig = Rig::new(0);
    for _ in 0..QUEUE_SIZE / 2 {
        rig.send(Opcode::ECHO, 0, b"x");
    }

    rig.kick(0);

    assert_eq!(std::iter::from_fn(|| rig.queues[0].used()).filter(|used| used.1 == 17).count(), usize::from(QUEUE_SIZE / 2));
}

#[test]
fn what_the_device_keeps_is_answered_with_what_it_was_given() {
    let mut rig = Rig::new(0);
    let held = rig.send(Opcode::HOLD, 0, b"held");
    rig.kick(0);
    assert_eq!(rig.queues[0].used(), None);

    rig.administer(AdminOpcode::RELEASE, 0);
    assert_eq!(rig.queues[0].used(), Some((held, 20)));
    assert_eq!(rig.read(IN + 16, 4), b"held");

    let late = rig.send(Opcode::DELAY, 50, b"late");
    rig.kick(0);
    assert_eq!(rig.queues[0].used(), None);
    rig.machine.wires.now += 50_000;
    assert!(rig.machine.settle(100));
    assert_eq!(rig.queues[0].used(), Some((late, 20)));
}

#[test]
fn an_event_finds_a_buffer_of_which_the_device_was_not_notified() {
    let mut rig = Rig::new(0);
    let head = rig.queues[1].add(&[Buffer::In(IN, 24)]);

    rig.administer(AdminOpcode::EVENT_ONCE, 5);

    assert_eq!(rig.queues[1].used(), Some((head, 24)));
}

#[test]
fn indirect_tables_and_event_indexes_work_and_a_driver_that_waits_for_its_index_is_heard() {
    let mut rig = Rig::new(INDIRECT | EVENT_INDEX);
    for round in 0..5_u16 {
        let bytes = command(1, Opcode::ECHO, 0, b"indirect");
        rig.memory.write_at(OUT, &bytes).unwrap();
        let table = [
            &OUT.to_le_bytes()[..],
            &(bytes.len() as u32).to_le_bytes(),
            &[1, 0, 1, 0],
            &IN.to_le_bytes(),
            &64_u32.to_le_bytes(),
            &[2, 0, 0, 0],
        ];
        rig.memory.write_at(OUT + 0x4000, &table.concat()).unwrap();
        rig.queues[0].set_descriptor(round, OUT + 0x4000, 32, 4, 0);
        rig.queues[0].offer(round);
        // The device says up to where it has looked (2.7.10): a driver notifies when it goes beyond.
        let mut event = [0; 2];
        rig.memory.read_at(rig.queues[0].used_ring() + 4 + 8 * u64::from(QUEUE_SIZE), &mut event).unwrap();
        assert_eq!(u16::from_le_bytes(event), round);

        rig.kick(0);

        assert_eq!(rig.queues[0].used(), Some((round, 24)));
    }
}

#[test]
fn a_chain_that_breaks_off_is_given_back_and_the_next_is_answered() {
    let mut rig = Rig::new(0);
    rig.queues[0].set_descriptor(0, OUT, 32, 1, 999);
    rig.queues[0].offer(0);
    rig.kick(0);
    assert_eq!(rig.queues[0].used(), Some((0, 0)));

    rig.queues[0].set_descriptor(1, OUT, 32, 1, 2);
    rig.queues[0].set_descriptor(2, IN, 16, 2, 0);
    rig.memory.write_at(OUT, &command(1, Opcode::ECHO, 0, b"")).unwrap();
    rig.queues[0].offer(1);
    rig.kick(0);

    assert_eq!(rig.queues[0].used(), Some((1, 16)));
    assert_eq!(rig.status(), RUNNING);
}

#[test]
fn a_chain_that_is_too_much_to_bring_or_a_queue_out_of_reach_needs_a_reset() {
    let mut rig = Rig::new(0);
    rig.queues[0].add(&[Buffer::Out(0, u32::MAX), Buffer::In(IN, 16)]);
    rig.kick(0);
    assert_eq!(rig.status() & NEEDS_RESET, NEEDS_RESET);

    let elsewhere = Memory::default().with(Region::anonymous(0x4000_0000, 0x1_0000).unwrap()).unwrap();
    let queue = DriverQueue::new(Arc::new(elsewhere), 0x4000_0000, QUEUE_SIZE);
    assert_eq!(start_virtio(&mut rig.machine, VERSION_1, &[&queue]), RUNNING);
    rig.kick(0);
    assert_eq!(rig.status() & NEEDS_RESET, NEEDS_RESET);

    let queue = DriverQueue::new(rig.memory.clone(), 0x1_0000, QUEUE_SIZE);
    assert_eq!(start_virtio(&mut rig.machine, VERSION_1, &[&queue]), RUNNING);
    rig.queues[0] = queue;
    rig.send(Opcode::ECHO, 0, b"");
    rig.kick(0);
    assert!(rig.queues[0].used().is_some(), "after a reset everything works again");
}

#[test]
fn a_queue_that_is_reset_is_not_told_what_was_done_for_it() {
    let mut rig = Rig::new(RING_RESET);
    rig.send(Opcode::ECHO, 0, b"too late");
    rig.notify(0);
    let mut rounds = 0;
    while rig.machine.read32(BAR, TAKEN) == 0 {
        rig.machine.settle(1);
        rounds += 1;
        assert!(rounds < 100);
    }

    rig.machine.write(BAR, 22, &0_u16.to_le_bytes());
    rig.machine.write(BAR, 58, &1_u16.to_le_bytes());

    assert!(rig.machine.settle(100));
    assert_eq!(rig.queues[0].used(), None);
    assert!(rig.machine.wires.messages.is_empty());
}

#[test]
fn a_reset_at_any_moment_leaves_nothing_on_its_way() {
    for rounds in 0..12 {
        let mut rig = Rig::new(0);
        rig.send(Opcode::ECHO, 0, b"never mind");
        rig.notify(0);
        rig.machine.settle(rounds);

        rig.machine.write(BAR, STATUS, &[0]);

        assert!(rig.machine.settle(2), "after {rounds} rounds");
        assert_eq!(rig.machine.function.next_wake(), None);
        let queue = DriverQueue::new(rig.memory.clone(), 0x1_0000, QUEUE_SIZE);
        assert_eq!(start_virtio(&mut rig.machine, VERSION_1, &[&queue]), RUNNING);
        rig.queues[0] = queue;
        let head = rig.send(Opcode::ECHO, 0, b"now");
        rig.kick(0);
        assert_eq!(rig.queues[0].used(), Some((head, 19)));
    }
}

#[test]
fn copies_are_let_go_when_much_has_passed() {
    let mut rig = Rig::new(0);
    for round in 0..40_u64 {
        let (from, to) = (0x40_0000 + round * 0x4_0000, 0x100_0000 + round * 0x4_0000);
        let bytes = command(1, Opcode::ECHO, 0, &vec![round as u8; 0x2_0000]);
        rig.memory.write_at(from, &bytes).unwrap();
        let head = rig.queues[0].add(&[Buffer::Out(from, bytes.len() as u32), Buffer::In(to, 0x2_1000)]);
        rig.kick(0);
        assert_eq!(rig.queues[0].used(), Some((head, 0x2_0010)), "round {round}");
        assert_eq!(rig.read(to + 16, 0x2_0000), vec![round as u8; 0x2_0000]);
    }
}

#[test]
fn a_queue_at_the_end_of_the_address_space_ends_nothing() {
    for (at, last) in [(32, u64::MAX - 15), (40, u64::MAX - 1), (48, u64::MAX - 3)] {
        let mut rig = Rig::new(0);
        let [queue, ..] = &rig.queues;
        rig.machine.write(BAR, STATUS, &[0]);
        for status in [1, 3] {
            rig.machine.write(BAR, STATUS, &[status]);
        }
        rig.machine.write(BAR, 8, &1_u32.to_le_bytes());
        rig.machine.write(BAR, 12, &1_u32.to_le_bytes());
        rig.machine.write(BAR, STATUS, &[0x0b]);
        rig.machine.write(BAR, 22, &0_u16.to_le_bytes());
        let places = [(32, queue.descriptors()), (40, queue.available()), (48, queue.used_ring())];
        for (register, address) in places.map(|(register, address)| (register, if register == at { last } else { address })) {
            rig.machine.write(BAR, register, &address.to_le_bytes()[..4]);
            rig.machine.write(BAR, register + 4, &address.to_le_bytes()[4..]);
        }
        rig.machine.write(BAR, 28, &1_u16.to_le_bytes());
        rig.machine.write(BAR, STATUS, &[RUNNING]);

        rig.send(Opcode::ECHO, 0, b"nowhere");
        rig.kick(0);

        assert_eq!(rig.status() & RUNNING, RUNNING, "{at}");
    }
}
