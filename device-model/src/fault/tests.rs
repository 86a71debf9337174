//! Faults, injected into the relay hardware in a machine inside this process.

use protocol::hardware::{Opcode, QUEUE_SIZE};

use super::*;
use crate::device::{Bar, Bus, Device, Identity, bars};
use crate::pci::Function;
use crate::relay::RelayDevice;
use crate::testing::*;
use crate::virtio::pci::VirtioPci;

const OUT: u64 = 0x10_0000;
const IN: u64 = 0x20_0000;

fn machine(plan: &Plan) -> (Machine, DriverQueue) {
    let device = Faulty::new(VirtioPci::new(FaultyVirtio::new(RelayDevice::new(), plan)), plan);
    let mut machine = Machine::new(Function::new(Box::new(device)).unwrap(), 0x40_0000);
    let at = 0x48 + 2;
    machine.function.write_config(at, &0x8000_u16.to_le_bytes(), &mut machine.wires);
    let commands = DriverQueue::new(machine.wires.memory.clone(), 0x1_0000, QUEUE_SIZE);
    start_virtio(&mut machine, VERSION_1, &[&commands]);
    machine.wires.memory.write_at(OUT, &command(1, Opcode::ECHO, 0, b"data")).unwrap();
    (machine, commands)
}

fn echo(machine: &mut Machine, commands: &mut DriverQueue) -> u16 {
    let head = commands.add(&[Buffer::Out(OUT, 36), Buffer::In(IN, 20)]);
    machine.write(BAR, NOTIFY, &[0, 0]);
    assert!(machine.settle(10));
    head
}

#[test]
fn an_interrupt_is_dropped_doubled_or_late() {
    for (kind, at_once, later) in [(Kind::InterruptDropped, 0, 0), (Kind::InterruptDoubled, 2, 2), (Kind::InterruptDelayed, 0, 1)]
    {
        let (mut machine, mut commands) = machine(&Plan::new(1).with(kind, |fault| fault.times = 1));

        echo(&mut machine, &mut commands);
        assert_eq!(machine.wires.messages.len(), at_once, "{kind:?}");
        machine.wires.now += 1_000_000;
        assert!(machine.settle(10));
        assert_eq!(machine.wires.messages.len(), later, "{kind:?}");
        echo(&mut machine, &mut commands);
        assert_eq!(machine.wires.messages.len(), later + 1, "{kind:?}: once is once");
    }
}

#[test]
fn a_spurious_interrupt_comes_with_a_register_access() {
    let (mut machine, _) = machine(&Plan::new(1).with(Kind::InterruptSpurious, |fault| fault.times = 3));

    machine.read8(BAR, STATUS);

    assert_eq!(machine.wires.messages.len(), 3, "start-up has register accesses too");
}

#[test]
fn a_completion_is_lost_or_late_or_overtaken() {
    let (mut machine, mut commands) = self::machine(&Plan::new(1).with(Kind::CompletionLost, |fault| fault.times = 1));
    echo(&mut machine, &mut commands);
    let second = echo(&mut machine, &mut commands);
    assert_eq!(commands.used(), Some((second, 20)));
    assert_eq!(commands.used(), None);

    let (mut machine, mut commands) = self::machine(&Plan::new(1).with(Kind::CompletionLate, |fault| fault.micros = 5));
    let head = echo(&mut machine, &mut commands);
    assert_eq!(commands.used(), None);
    machine.wires.now += 5_000;
    assert!(machine.settle(10));
    assert_eq!(commands.used(), Some((head, 20)));

    let plan = Plan::new(1).with(Kind::CompletionOutOfOrder, |fault| fault.times = 1);
    let (mut machine, mut commands) = self::machine(&plan);
    let first = echo(&mut machine, &mut commands);
    let second = echo(&mut machine, &mut commands);
    assert_eq!((commands.used(), commands.used()), (Some((second, 20)), Some((first, 20))));
}

#[test]
fn a_device_that_needs_a_reset_says_so_and_keeps_the_chain() {
    let (mut machine, mut commands) = machine(&Plan::new(1).with(Kind::NeedsReset, |fault| fault.times = 1));
    assert_eq!(machine.read8(BAR, STATUS), RUNNING);
    let told = machine.wires.messages.len();

    echo(&mut machine, &mut commands);

    assert_eq!(commands.used(), None);
    assert_eq!(machine.read8(BAR, STATUS), RUNNING | 0x40);
    assert_eq!(machine.wires.messages.len(), told + 1, "the driver is told of a change of configuration");
}

#[test]
fn the_used_length_lies_and_data_is_corrupted() {
    for (kind, written) in [(Kind::UsedTooLong, 23), (Kind::UsedTooShort, 17)] {
        let (mut machine, mut commands) = machine(&Plan::new(1).with(kind, |fault| fault.bytes = 3));
        let head = echo(&mut machine, &mut commands);
        assert_eq!(commands.used(), Some((head, written)));
    }
    let answer = |plan: &Plan| {
        let (mut machine, mut commands) = machine(plan);
        echo(&mut machine, &mut commands);
        let mut bytes = [0; 20];
        machine.wires.memory.read_at(IN, &mut bytes).unwrap();
        bytes
    };
    let good = answer(&Plan::default());
    let bad = answer(&Plan::new(1).with(Kind::DataCorrupted, |_| {}));
    let flipped: u32 = good.iter().zip(bad).map(|(one, other)| (one ^ other).count_ones()).sum();
    assert_eq!(flipped, 1);
}

#[test]
fn a_device_that_is_gone_reads_as_ones_and_comes_back() {
    let (mut machine, _) = machine(&Plan::new(1).with(Kind::DeviceGone, |fault| {
        fault.after = 40;
        fault.times = 1;
        fault.micros = 10;
    }));

    while machine.read32(BAR, CONFIG) != u32::MAX {}

    assert_eq!(machine.config::<4>(0), [0xff; 4]);
    machine.wires.now += 10_000;
    assert_eq!(machine.config::<2>(0), [0xf4, 0x1a]);
    assert_eq!(machine.read32(BAR, CONFIG), 0x5941_4c52);
}

#[test]
fn a_reset_sticks_and_a_read_times_out() {
    let (mut machine, _) = self::machine(&Plan::new(1).with(Kind::ResetSticks, |fault| fault.micros = 10));
    machine.function.reset(&mut machine.wires);
    machine.set_command(6);
    assert_eq!(machine.read8(BAR, STATUS), 0xff);
    machine.wires.now += 10_000;
    assert_eq!(machine.read8(BAR, STATUS), 0);

    let plan = Plan::new(1).with(Kind::ReadTimesOut, |fault| fault.after = 1);
    let (mut machine, _) = self::machine(&plan);
    assert_eq!(machine.read32(BAR, CONFIG), u32::MAX);
}

#[test]
fn a_reset_of_the_virtio_device_sticks_until_its_time_is_over() {
    let (mut machine, _) = self::machine(&Plan::new(1).with(Kind::ResetSticks, |fault| (fault.after, fault.micros) = (1, 10)));
    assert_eq!(machine.read8(BAR, STATUS), RUNNING);

    machine.write(BAR, STATUS, &[0]);

    assert_ne!(machine.read8(BAR, STATUS), 0);
    machine.write(BAR, STATUS, &[1]);
    machine.wires.now += 10_000;
    assert_eq!(machine.read8(BAR, STATUS), 0, "what was written meanwhile is lost");
    machine.write(BAR, STATUS, &[1]);
    assert_eq!(machine.read8(BAR, STATUS), 1);
}

/// A device that asserts its pin when it is written to, and releases it when zero is written; notes the changes on the wire.
struct Button;

impl Device for Button {
    fn identity(&self) -> Identity {
        Identity { bars: bars([(0, Bar::memory32(16))]), pin: true, ..Identity::default() }
    }
    fn read_bar(&mut self, _: usize, _: u64, data: &mut [u8], _: &mut dyn Bus) {
        data.fill(0);
    }
    fn write_bar(&mut self, _: usize, _: u64, data: &[u8], bus: &mut dyn Bus) {
        bus.set_pin(data[0] != 0);
    }
    fn reset(&mut self, bus: &mut dyn Bus) {
        bus.release();
    }
}

#[test]
fn the_pin_is_as_faulty_as_a_message() {
    for (kind, at_once, later) in [
        (Kind::InterruptDropped, 0, 0),
        (Kind::InterruptDoubled, 2, 2),
        (Kind::InterruptDelayed, 0, 1),
        (Kind::InterruptSpurious, 1, 1),
    ] {
        let plan = Plan::new(1).with(kind, |fault| fault.times = 1);
        let mut machine = Machine::new(Function::new(Box::new(Faulty::new(Button, &plan))).unwrap(), 0x1000);
        if kind == Kind::InterruptSpurious {
            machine.read8(0, 0);
            assert!(!machine.wires.pin, "it is over at once");
        } else {
            machine.write(0, 0, &[1]);
            machine.write(0, 0, &[1]);
        }
        assert_eq!(machine.wires.assertions, at_once, "{kind:?}");
        machine.wires.now += 1_000_000;
        assert!(machine.settle(10));
        assert_eq!(machine.wires.assertions, later, "{kind:?}");
        machine.write(0, 0, &[0]);
        assert!(!machine.wires.pin);
        machine.write(0, 0, &[1]);
        assert_eq!((machine.wires.assertions, machine.wires.pin), (later + 1, true), "{kind:?}: once is once");
    }
}

#[test]
fn the_same_seed_gives_the_same_faults() {
    let run = |seed| {
        let plan = Plan::new(seed).with(Kind::InterruptDropped, |fault| fault.probability = 0.5);
        let (mut machine, mut commands) = machine(&plan);
        (0..64)
            .map(|_| {
                let before = machine.wires.messages.len();
                echo(&mut machine, &mut commands);
                machine.wires.messages.len() > before
            })
            .collect::<Vec<_>>()
    };

    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
    let kept = run(7).iter().filter(|came| **came).count();
    assert!((16..48).contains(&kept), "about half: {kept}");
}

#[test]
fn a_plan_is_read_from_toml_and_wrong_ones_are_refused() {
    let plan = Plan::from_toml(
        r#"
        seed = 42
        [[fault]]
        kind = "interrupt-dropped"
        only = 1
        after = 10
        probability = 0.25
        times = 3
        [[fault]]
        kind = "completion-late"
        micros = 500
        "#,
    )
    .unwrap();
    let expected = Plan::new(42)
        .with(Kind::InterruptDropped, |fault| {
            fault.only = Some(1);
            fault.after = 10;
            fault.probability = 0.25;
            fault.times = 3;
        })
        .with(Kind::CompletionLate, |fault| fault.micros = 500);
    assert_eq!(plan, expected);
}

#[test]
fn a_plan_that_is_none_is_refused_with_line_and_reason() {
    for (text, line, reason) in [
        ("[[fault]]\nkind = \"sun-spots\"", 2, "sun-spots"),
        ("[[fault]]\nkind = \"device-gone\"\noften = 1", 3, "often"),
        ("seed = 1\n\n[[fault]]\nafter = 1", 3, "missing field `kind`"),
        ("seed = -1", 1, "-1"),
        ("seed = 1\nseed = 2", 2, "duplicate key"),
        ("seed =", 1, ""),
        ("[[fault]]\nkind = \"device-gone\"\n[[fault]]\nkind = \"device-gone\"\nprobability = 1.5", 3, "between 0 and 1"),
        ("[[fault]]\nkind = \"device-gone\"\nprobability = nan", 1, "between 0 and 1"),
        ("[[fault]]\nkind = \"device-gone\"\nonly = 1", 1, "`only` means nothing"),
        ("[[fault]]\nkind = \"completion-lost\"\nmicros = 1", 1, "`micros` means nothing"),
        ("[[fault]]\nkind = \"completion-lost\"\nbytes = 1", 1, "`bytes` means nothing"),
    ] {
        let error = Plan::from_toml(text).unwrap_err();
        assert!(error.line == line && error.reason.contains(reason), "{text:?}: {error}");
    }
    let error = Plan::from_toml_if("[[fault]]\nkind = \"device-gone\"", |_| Err("not here")).unwrap_err();
    assert_eq!(error.to_string(), "line 1: device-gone: not here");
}

#[test]
fn every_kind_has_the_name_that_a_plan_calls_it_by() {
    for kind in Kind::ALL {
        let plan = Plan::from_toml(&format!("[[fault]]\nkind = \"{}\"", kind.name())).unwrap();
        assert_eq!(plan.faults[0].kind, kind);
    }
}
