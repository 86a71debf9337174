//! Virtio over PCI, driven through the registers of the relay hardware in a machine inside this process.

use protocol::hardware::{AdminCommand, AdminOpcode, Event, Opcode, QUEUE_SIZE};
use zerocopy::{FromBytes, IntoBytes};

use crate::pci::Function;
use crate::relay::RelayDevice;
use crate::testing::*;
use crate::virtio::pci::VirtioPci;

const OUT: u64 = 0x10_0000;
const IN: u64 = 0x20_0000;
const NEEDS_RESET: u8 = 0x40;

fn machine() -> Machine {
    let mut machine = Machine::new(Function::new(Box::new(VirtioPci::new(RelayDevice::new()))).unwrap(), 0x40_0000);
    enable_msix(&mut machine, true);
    machine
}

fn enable_msix(machine: &mut Machine, enabled: bool) {
    let at = find_capability(machine, 0x11);
    machine.function.write_config(at + 2, &(u16::from(enabled) << 15).to_le_bytes(), &mut machine.wires);
}

fn find_capability(machine: &mut Machine, id: u8) -> usize {
    let mut at = usize::from(machine.config::<1>(0x34)[0]);
    while machine.config::<1>(at)[0] != id {
        at = usize::from(machine.config::<1>(at + 1)[0]);
        assert_ne!(at, 0, "no capability {id:#x}");
    }
    at
}

fn queue(machine: &Machine, index: u64) -> DriverQueue {
    DriverQueue::new(machine.wires.memory.clone(), 0x1_0000 + index * DriverQueue::BYTES, QUEUE_SIZE)
}

fn started(features: u64) -> (Machine, [DriverQueue; 3]) {
    let mut machine = machine();
    let queues = [0, 1, 2].map(|index| queue(&machine, index));
    let status = start_virtio(&mut machine, VERSION_1 | features, &[&queues[0], &queues[1], &queues[2]]);
    assert_eq!(status, RUNNING);
    (machine, queues)
}

fn kick(machine: &mut Machine, queue: u16) {
    machine.write(BAR, NOTIFY + 4 * u64::from(queue), &queue.to_le_bytes());
    assert!(machine.settle(100), "the device never becomes idle");
}

fn write(machine: &Machine, address: u64, bytes: &[u8]) {
    machine.wires.memory.write_at(address, bytes).unwrap();
}

fn read(machine: &Machine, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    machine.wires.memory.read_at(address, &mut bytes).unwrap();
    bytes
}

#[test]
fn an_echo_goes_through_scattered_buffers_and_interrupts_once() {
    let (mut machine, [mut commands, ..]) = started(0);
    let bytes = command(3, Opcode::ECHO, 0, b"scattered");
    write(&machine, OUT, &bytes);

    let head = commands.add(&[
        Buffer::Out(OUT, 5),
        Buffer::Out(OUT + 5, 0),
        Buffer::Out(OUT + 5, bytes.len() as u32 - 5),
        Buffer::In(IN, 17),
        Buffer::In(IN + 100, 8),
    ]);
    kick(&mut machine, 0);

    assert_eq!(commands.used(), Some((head, 25)));
    assert_eq!(read(&machine, IN + 16, 1), b"s");
    assert_eq!(read(&machine, IN + 100, 8), b"cattered");
    assert_eq!(machine.wires.messages, [1]);
}

#[test]
fn a_full_queue_is_worked_off_with_one_interrupt() {
    let (mut machine, [mut commands, ..]) = started(0);
    write(&machine, OUT, &command(3, Opcode::ECHO, 0, b"x"));
    for _ in 0..QUEUE_SIZE / 2 {
        commands.add(&[Buffer::Out(OUT, 33), Buffer::In(IN, 17)]);
    }

    kick(&mut machine, 0);

    let count = std::iter::from_fn(|| commands.used()).inspect(|&(_, written)| assert_eq!(written, 17)).count();
    assert_eq!(count, usize::from(QUEUE_SIZE / 2));
    assert_eq!(machine.wires.messages, [1]);
}

#[test]
fn a_driver_that_wants_no_interrupt_gets_none() {
    let (mut machine, [mut commands, ..]) = started(0);
    commands.set_flags(1);
    write(&machine, OUT, &command(3, Opcode::ECHO, 0, b""));

    commands.add(&[Buffer::Out(OUT, 32), Buffer::In(IN, 16)]);
    kick(&mut machine, 0);

    assert!(commands.used().is_some());
    assert!(machine.wires.messages.is_empty());
}

#[test]
fn without_msix_the_pin_is_asserted_until_the_isr_is_read() {
    let (mut machine, [mut commands, ..]) = started(0);
    enable_msix(&mut machine, false);
    write(&machine, OUT, &command(3, Opcode::ECHO, 0, b""));

    commands.add(&[Buffer::Out(OUT, 32), Buffer::In(IN, 16)]);
    kick(&mut machine, 0);

    assert!(machine.wires.pin);
    assert_eq!(machine.config::<2>(6)[0] & 8, 8, "interrupt status");
    assert_eq!(machine.read8(BAR, ISR), 1);
    assert_eq!(machine.read8(BAR, ISR), 0);
    assert!(!machine.wires.pin);
}

#[test]
fn without_bus_mastering_nothing_is_read_and_nothing_raised() {
    let (mut machine, [mut commands, ..]) = started(0);
    write(&machine, OUT, &command(3, Opcode::ECHO, 0, b""));
    commands.add(&[Buffer::Out(OUT, 32), Buffer::In(IN, 16)]);
    machine.set_command(2);

    kick(&mut machine, 0);

    assert_eq!(commands.used(), None);
    assert!(machine.wires.messages.is_empty());
}

#[test]
fn features_that_were_not_offered_are_not_accepted() {
    for features in [0, VERSION_1 | 1 << 33, VERSION_1 | 1] {
        let mut machine = machine();
        let commands = queue(&machine, 0);
        let status = start_virtio(&mut machine, features, &[&commands]);
        assert_eq!(status & 0x0c, 0, "{features:#x}");
    }
}

#[test]
fn features_are_settled_once_features_ok_is() {
    let (mut machine, _) = started(0);

    machine.write(BAR, 8, &0_u32.to_le_bytes());
    machine.write(BAR, 12, &u32::MAX.to_le_bytes());

    assert_eq!(machine.read32(BAR, 12), 0);
}

#[test]
fn a_reset_at_any_moment_leaves_nothing_behind() {
    let (mut machine, [mut commands, ..]) = started(0);
    write(&machine, OUT, &command(3, Opcode::HOLD, 0, b""));
    commands.add(&[Buffer::Out(OUT, 32), Buffer::In(IN, 16)]);
    kick(&mut machine, 0);
    assert_eq!(machine.read32(BAR, CONFIG + 12), 1, "held");

    machine.write(BAR, STATUS, &[0]);

    assert_eq!(machine.read8(BAR, STATUS), 0);
    assert_eq!(machine.read32(BAR, CONFIG + 12), 0);
    assert_eq!(machine.read16(BAR, 28), 0, "queue_enable");
    assert_eq!(machine.read16(BAR, 26), 0xffff, "queue_msix_vector");
    assert_eq!(machine.function.next_wake(), None);
}

#[test]
fn a_queue_can_be_reset_and_enabled_again_alone() {
    let (mut machine, [mut commands, ..]) = started(1 << 40);
    write(&machine, OUT, &command(3, Opcode::HOLD, 0, b""));
    commands.add(&[Buffer::Out(OUT, 32), Buffer::In(IN, 16)]);
    kick(&mut machine, 0);

    machine.write(BAR, 22, &0_u16.to_le_bytes());
    machine.write(BAR, 58, &1_u16.to_le_bytes());
    assert_eq!((machine.read16(BAR, 58), machine.read16(BAR, 28)), (0, 0));
    let mut commands = queue(&machine, 0);
    setup_queue(&mut machine, 0, &commands);
    write(&machine, OUT, &command(4, Opcode::ECHO, 0, b""));
    commands.add(&[Buffer::Out(OUT, 32), Buffer::In(IN, 16)]);
    kick(&mut machine, 0);

    assert_eq!(commands.used(), Some((0, 16)));
    assert_eq!(machine.read8(BAR, STATUS), RUNNING);
}

#[test]
fn a_held_command_is_aborted_by_its_tag_through_the_admin_queue() {
    let (mut machine, [mut commands, _, mut admin]) = started(0);
    write(&machine, OUT, &command(9, Opcode::HOLD, 0, b""));
    let head = commands.add(&[Buffer::Out(OUT, 32), Buffer::In(IN, 16)]);
    kick(&mut machine, 0);
    assert_eq!(commands.used(), None);
    let abort = AdminCommand { tag: 1, opcode: AdminOpcode::ABORT, reserved: 0, target: 9, argument: 0 };
    write(&machine, OUT + 0x100, abort.as_bytes());

    admin.add(&[Buffer::Out(OUT + 0x100, 32), Buffer::In(IN + 0x100, 16)]);
    kick(&mut machine, 2);

    assert_eq!(commands.used(), Some((head, 16)));
    assert_eq!(admin.used(), Some((0, 16)));
    assert_eq!(machine.wires.messages, [1, 3]);
}

#[test]
fn an_abort_does_not_overtake_a_command_of_which_the_driver_has_not_told_yet() {
    let (mut machine, [mut commands, _, mut admin]) = started(0);
    write(&machine, OUT, &command(9, Opcode::HOLD, 0, b""));
    let head = commands.add(&[Buffer::Out(OUT, 32), Buffer::In(IN, 16)]);
    let abort = AdminCommand { tag: 1, opcode: AdminOpcode::ABORT, reserved: 0, target: 9, argument: 0 };
    write(&machine, OUT + 0x100, abort.as_bytes());
    admin.add(&[Buffer::Out(OUT + 0x100, 32), Buffer::In(IN + 0x100, 16)]);

    kick(&mut machine, 2);

    assert_eq!(commands.used(), Some((head, 16)));
    kick(&mut machine, 0);
    assert_eq!(machine.read32(BAR, CONFIG + 12), 0, "nothing is held");
}

#[test]
fn a_delayed_command_comes_when_its_time_has_come() {
    let (mut machine, [mut commands, ..]) = started(0);
    write(&machine, OUT, &command(9, Opcode::DELAY, 250, b""));
    commands.add(&[Buffer::Out(OUT, 32), Buffer::In(IN, 16)]);

    kick(&mut machine, 0);
    assert_eq!(machine.function.next_wake(), Some(250_000));
    assert_eq!(commands.used(), None);
    machine.wires.now = 250_000;
    assert!(machine.settle(1));

    assert_eq!(commands.used(), Some((0, 16)));
}

#[test]
fn events_fill_posted_buffers_and_are_lost_without_one() {
    let (mut machine, [_, mut events, mut admin]) = started(0);
    events.add(&[Buffer::In(IN, 8)]);
    let long = events.add(&[Buffer::In(IN + 0x100, 24)]);
    kick(&mut machine, 1);
    let rate = AdminCommand { tag: 1, opcode: AdminOpcode::EVENT_RATE, reserved: 0, target: 0, argument: 1000 };
    write(&machine, OUT, rate.as_bytes());
    admin.add(&[Buffer::Out(OUT, 32), Buffer::In(IN + 0x200, 16)]);
    kick(&mut machine, 2);

    machine.wires.now = 2_000_000;
    assert!(machine.settle(10));

    assert_eq!(events.used(), Some((0, 0)), "too short a buffer comes back empty");
    assert_eq!(events.used(), Some((long, 24)));
    let event = Event::read_from_bytes(&read(&machine, IN + 0x100, 24)).unwrap();
    assert_eq!((event.sequence, event.value), (1, 0));
    assert_eq!(machine.read32(BAR, CONFIG + 32), 1, "delivered");
    assert_eq!(machine.read32(BAR, CONFIG + 40), 1, "lost");
}

#[test]
fn malformed_chains_come_back_empty_and_the_queue_goes_on() {
    let (mut machine, [mut commands, ..]) = started(1 << 28);
    write(&machine, OUT, &command(3, Opcode::ECHO, 0, b""));
    // A chain that loops.
    commands.set_descriptor(0, OUT, 32, 1, 0);
    commands.offer(0);
    // One that goes on outside the table.
    commands.set_descriptor(1, OUT, 32, 1, 300);
    commands.offer(1);
    // A readable buffer behind a writable one.
    commands.set_descriptor(2, IN, 16, 3, 3);
    commands.set_descriptor(3, OUT, 32, 0, 0);
    commands.offer(2);
    // An indirect table in no memory, one of odd size, and one inside another.
    commands.set_descriptor(4, u64::MAX - 31, 32, 4, 0);
    commands.offer(4);
    commands.set_descriptor(5, OUT, 33, 4, 0);
    commands.offer(5);
    let nested = [&OUT.to_le_bytes()[..], &16_u32.to_le_bytes(), &4_u16.to_le_bytes(), &[0, 0]].concat();
    write(&machine, OUT + 0x1000, &nested);
    commands.set_descriptor(6, OUT + 0x1000, 16, 4, 0);
    commands.offer(6);
    // Buffers in no memory.
    commands.set_descriptor(7, 1 << 50, 32, 1, 8);
    commands.set_descriptor(8, IN, 16, 2, 0);
    commands.offer(7);
    commands.set_descriptor(9, OUT, 32, 1, 10);
    commands.set_descriptor(10, u64::MAX, 16, 2, 0);
    commands.offer(9);

    kick(&mut machine, 0);

    for head in [0, 1, 2, 4, 5, 6, 7, 9] {
        assert_eq!(commands.used(), Some((head, 0)));
    }
    assert_eq!(commands.used(), None);
    assert_eq!(machine.read8(BAR, STATUS), RUNNING);
}

#[test]
fn an_indirect_chain_is_as_good_as_a_direct_one() {
    let (mut machine, [mut commands, ..]) = started(1 << 28);
    write(&machine, OUT, &command(3, Opcode::ECHO, 0, b"hi"));
    let table = |address: u64, length: u32, flags: u16, next: u16| {
        [&address.to_le_bytes()[..], &length.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()].concat()
    };
    write(&machine, OUT + 0x1000, &[table(OUT, 34, 1, 1), table(IN, 18, 2, 0)].concat());
    commands.set_descriptor(0, OUT + 0x1000, 32, 4, 0);
    commands.offer(0);

    kick(&mut machine, 0);

    assert_eq!(commands.used(), Some((0, 18)));
}

#[test]
fn a_ring_that_cannot_be_is_answered_with_needs_reset() {
    // An index that runs ahead of the queue's size.
    let (mut machine, [commands, ..]) = started(0);
    commands.set_available_index(QUEUE_SIZE + 1);
    kick(&mut machine, 0);
    assert_eq!(machine.read8(BAR, STATUS), RUNNING | NEEDS_RESET);
    assert_eq!(machine.wires.messages, [0], "the configuration vector");
    assert_eq!((machine.read8(BAR, ISR), machine.read8(BAR, ISR)), (2, 0), "a change of configuration shows with MSI-X, too");

    // A head outside the table.
    let (mut machine, [mut commands, ..]) = started(0);
    commands.offer(QUEUE_SIZE);
    kick(&mut machine, 0);
    assert_eq!(machine.read8(BAR, STATUS), RUNNING | NEEDS_RESET);

    // After the reset all is well.
    machine.write(BAR, STATUS, &[0]);
    let mut commands = queue(&machine, 0);
    assert_eq!(start_virtio(&mut machine, VERSION_1, &[&commands]), RUNNING);
    write(&machine, OUT, &command(3, Opcode::ECHO, 0, b""));
    commands.add(&[Buffer::Out(OUT, 32), Buffer::In(IN, 16)]);
    kick(&mut machine, 0);
    assert_eq!(commands.used(), Some((0, 16)));
}

#[test]
fn rings_in_no_memory_are_found_out_when_they_are_used() {
    let mut machine = machine();
    let commands = queue(&machine, 0);
    assert_eq!(start_virtio(&mut machine, VERSION_1, &[&commands]), RUNNING);
    machine.wires.memory = crate::memory::Memory::empty();

    kick(&mut machine, 0);

    assert_eq!(machine.read8(BAR, STATUS), RUNNING | NEEDS_RESET);
}

#[test]
fn vectors_and_queues_that_do_not_exist_read_as_such() {
    let mut machine = machine();
    machine.write(BAR, 16, &4_u16.to_le_bytes());
    assert_eq!(machine.read16(BAR, 16), 0xffff);
    machine.write(BAR, 16, &3_u16.to_le_bytes());
    assert_eq!(machine.read16(BAR, 16), 3);

    machine.write(BAR, 22, &3_u16.to_le_bytes());
    assert_eq!(machine.read16(BAR, 24), 0, "size of a queue that does not exist");
    machine.write(BAR, 22, &0_u16.to_le_bytes());
    machine.write(BAR, 24, &3_u16.to_le_bytes());
    assert_eq!(machine.read16(BAR, 24), QUEUE_SIZE, "a size that is no power of two is ignored");
}

#[test]
fn the_configuration_window_reads_and_writes_registers() {
    let mut machine = machine();
    // The last vendor capability is the window.
    let mut at = find_capability(&mut machine, 0x09);
    while machine.config::<1>(at + 3)[0] != 5 {
        at = usize::from(machine.config::<1>(at + 1)[0]);
    }
    let set = |machine: &mut Machine, offset: u32, length: u32| {
        machine.function.write_config(at + 4, &[BAR as u8], &mut machine.wires);
        machine.function.write_config(at + 8, &offset.to_le_bytes(), &mut machine.wires);
        machine.function.write_config(at + 12, &length.to_le_bytes(), &mut machine.wires);
    };

    set(&mut machine, CONFIG as u32, 4);
    assert_eq!(&machine.config::<4>(at + 16), b"RLAY");
    set(&mut machine, STATUS as u32, 1);
    machine.function.write_config(at + 16, &[1], &mut machine.wires);
    assert_eq!(machine.read8(BAR, STATUS), 1);
    // A window that points nowhere does nothing.
    set(&mut machine, u32::MAX, 4);
    machine.config::<4>(at + 16);
}
