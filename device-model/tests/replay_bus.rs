//! Devices that are no virtio devices, recorded at the bus and replayed: their drivers meet the same device again, wherever their memory is.

#[path = "../examples/edu/device.rs"]
mod edu;

use std::io::{Cursor, Write};
use std::sync::{Arc, Mutex};

use device_model::device::{Bar, Bus, Device, Identity, bars, value};
use device_model::pci::Function;
use device_model::testing::{Machine, Registers};
use device_model::trace::replay::{Mode, Outcome, ReplayBus, Rules, Story, Verdict};
use device_model::trace::{Compression, Header, Reader, Recorder, Trace, What, Writer};

/// Memory beyond 4 GiB; pages that nobody touches cost nothing.
const MEMORY: u64 = 6 << 30;

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn machine(device: impl Device + 'static) -> Machine {
    Machine::new(Function::new(Box::new(device)).unwrap(), MEMORY)
}

fn story(bytes: Vec<u8>) -> Arc<Story> {
    Arc::new(Story::read(&mut Reader::new(Cursor::new(bytes)).unwrap()).unwrap())
}

fn record(device: impl Device + 'static, drive: impl FnOnce(&mut Machine)) -> Arc<Story> {
    let file = Shared::default();
    let trace = Trace::new(file.clone(), &Header::of_device("tested", &device.identity()), Compression::None).unwrap();
    let mut machine = machine(Recorder::new(device, trace));
    drive(&mut machine);
    drop(machine);
    let bytes = file.0.lock().unwrap().clone();
    story(bytes)
}

fn replay_with(story: &Arc<Story>, mode: Mode, rules: &str, drive: impl FnOnce(&mut Machine)) -> Outcome {
    let verdict = Verdict::new().unwrap();
    let rules = Rules::from_toml(rules).unwrap();
    let mut machine = machine(ReplayBus::new(story.clone(), mode, rules, verdict.clone()).unwrap());
    drive(&mut machine);
    drop(machine);
    verdict.outcome()
}

fn replay(story: &Arc<Story>, mode: Mode, drive: impl FnOnce(&mut Machine)) -> Outcome {
    replay_with(story, mode, "", drive)
}

fn write32(machine: &mut Machine, offset: u64, value: u32) {
    machine.write(0, offset, &value.to_le_bytes());
}

fn write64(machine: &mut Machine, offset: u64, value: u64) {
    machine.write(0, offset, &value.to_le_bytes());
}

fn passes(machine: &mut Machine, nanoseconds: u64) {
    machine.wires.now += nanoseconds;
    assert!(machine.settle(10));
}

const EDU_BUFFER: u64 = 0x4_0000;
const EDU_INTERRUPTS: u64 = 0x24;
const EDU_ACKNOWLEDGE: u64 = 0x64;

/// A driver of the educational device: a factorial, then memory into the device and back, polled `polls` times on the way.
fn drive_edu(machine: &mut Machine, base: u64, polls: usize) {
    write32(machine, 4, 0x1234);
    assert_eq!(machine.read32(0, 4), !0x1234);
    write32(machine, 0x20, 0x80);
    write32(machine, 8, 5);
    passes(machine, 1);
    assert!(machine.wires.pin, "the factorial's interrupt");
    assert_eq!(machine.read32(0, EDU_INTERRUPTS), 1);
    write32(machine, EDU_ACKNOWLEDGE, 1);
    assert!(!machine.wires.pin);
    assert_eq!(machine.read32(0, 8), 120);

    let memory = machine.wires.memory.clone();
    memory.write_at(base + 0x10, b"what the driver has for the device").unwrap();
    transfer(machine, [base + 0x10, EDU_BUFFER, 34, 1 | 4], polls);
    transfer(machine, [EDU_BUFFER, base + 0x2ff0, 34, 1 | 2 | 4], 1);
    let mut back = [0; 34];
    memory.read_at(base + 0x2ff0, &mut back).unwrap();
    assert_eq!(&back, b"what the driver has for the device");
}

/// One transfer: source, destination, count, command.
fn transfer(machine: &mut Machine, words: [u64; 4], polls: usize) {
    for (index, word) in words.into_iter().enumerate() {
        write64(machine, 0x80 + 8 * index as u64, word);
    }
    for _ in 0..polls {
        assert_eq!(machine.read32(0, 0x98) & 1, 1, "it takes a millisecond");
        assert!(!machine.wires.pin);
    }
    passes(machine, 1_000_000);
    assert!(machine.wires.pin, "the transfer's interrupt");
    assert_eq!(machine.read32(0, 0x98) & 1, 0);
    write32(machine, EDU_ACKNOWLEDGE, 0x100);
}

#[test]
fn the_educational_device_is_replayed_to_a_driver_whose_memory_moved() {
    let story = record(edu::Edu::default(), |machine| drive_edu(machine, 0x20_0000, 3));
    for mode in [Mode::Strict, Mode::Ordered, Mode::Lenient] {
        let outcome = replay(&story, mode, |machine| drive_edu(machine, 0x73_3000, 3));
        assert!(!outcome.diverged, "{mode:?}: {:?}", outcome.lines());
    }
}

#[test]
fn polling_may_take_longer_or_shorter_unless_the_order_is_strict() {
    let story = record(edu::Edu::default(), |machine| drive_edu(machine, 0x20_0000, 3));
    for polls in [0, 1, 9] {
        let outcome = replay(&story, Mode::Ordered, |machine| drive_edu(machine, 0x20_0000, polls));
        assert!(!outcome.diverged, "{polls}: {:?}", outcome.lines());
    }
    let outcome = replay(&story, Mode::Strict, |machine| {
        write32(machine, 4, 0x1234);
        machine.read32(0, 4);
        machine.read32(0, 4);
    });
    assert!(outcome.diverged && outcome.came.contains("bar0+0x4"), "{:?}", outcome.lines());
}

#[test]
fn a_register_that_is_written_otherwise_diverges_at_that_write() {
    let story = record(edu::Edu::default(), |machine| drive_edu(machine, 0x20_0000, 1));
    let outcome = replay(&story, Mode::Ordered, |machine| {
        write32(machine, 4, 0x1234);
        write32(machine, 0x20, 0x80);
        write32(machine, 8, 6);
    });
    assert!(outcome.diverged && outcome.expected.contains("bar0+0x8 = 0x00000005"), "{:?}", outcome.lines());
    assert!(outcome.came.contains("bar0+0x8 = 0x00000006"), "{:?}", outcome.lines());
    assert!(outcome.around.iter().any(|line| line.starts_with('>') && line.contains("0x00000005")), "{:?}", outcome.lines());
}

#[test]
fn other_bytes_in_memory_diverge_at_the_transfer_that_reads_them() {
    let other = |machine: &mut Machine| {
        machine.wires.memory.write_at(0x20_0010, b"what the driver has for the DEVICE").unwrap();
        transfer(machine, [0x20_0010, EDU_BUFFER, 34, 1 | 4], 0);
    };
    let story = record(edu::Edu::default(), |machine| {
        machine.wires.memory.write_at(0x20_0010, b"what the driver has for the device").unwrap();
        transfer(machine, [0x20_0010, EDU_BUFFER, 34, 1 | 4], 0);
    });
    let verdict = Verdict::new().unwrap();
    let mut other_machine = machine(ReplayBus::new(story.clone(), Mode::Ordered, Rules::default(), verdict.clone()).unwrap());
    other_machine.wires.memory.write_at(0x20_0010, b"what the driver has for the DEVICE").unwrap();
    for (index, word) in [0x20_0010, EDU_BUFFER, 34, 5].into_iter().enumerate() {
        write64(&mut other_machine, 0x80 + 8 * index as u64, word);
    }
    passes(&mut other_machine, 1_000_000);
    let outcome = verdict.outcome();
    assert!(outcome.diverged && outcome.expected.contains("dma-read"), "{:?}", outcome.lines());

    // Upper and lower case differ in one bit.
    let mask = "[[rule]]\naction = 'mask'\ndma = true\noffset = 28\nlength = 6\nmask = [0xdf]";
    assert!(!replay_with(&story, Mode::Lenient, mask, other).diverged);
    let any = "[[rule]]\naction = 'any-value'\ndma = true\noffset = 28";
    assert!(!replay_with(&story, Mode::Lenient, any, other).diverged);
}

#[test]
fn rules_of_registers_let_values_and_whole_registers_pass() {
    let story = record(edu::Edu::default(), |machine| {
        write32(machine, 4, 0x1234);
        write32(machine, 0x20, 0x80);
    });
    let other = |machine: &mut Machine| {
        write32(machine, 4, 0x1235);
        write32(machine, 0x20, 0x80);
    };
    assert!(replay(&story, Mode::Ordered, other).diverged);
    for rule in [
        "action = 'any-value'\nbar = 0\noffset = 4\nlength = 4",
        "action = 'mask'\nbar = 0\noffset = 4\nlength = 1\nmask = [0xfe]",
    ] {
        assert!(!replay_with(&story, Mode::Lenient, &format!("[[rule]]\n{rule}"), other).diverged, "{rule}");
    }
    let ignore = "[[rule]]\naction = 'ignore'\nbar = 0\noffset = 4\nlength = 4";
    let without = |machine: &mut Machine| {
        machine.read32(0, 4);
        write32(machine, 0x20, 0x80);
    };
    assert!(replay(&story, Mode::Ordered, without).diverged);
    assert!(!replay_with(&story, Mode::Lenient, ignore, without).diverged);
    for nonsense in ["action = 'ignore'\ndma = true", "action = 'any-value'\ndma = true\nbar = 1", "action = 'mask'\nbar = 0"] {
        assert!(Rules::from_toml(&format!("[[rule]]\n{nonsense}")).is_err(), "{nonsense}");
    }
}

#[test]
fn a_write_that_never_comes_is_missed_at_the_end_and_at_a_reset() {
    let story = record(edu::Edu::default(), |machine| drive_edu(machine, 0x20_0000, 1));
    let outcome = replay(&story, Mode::Ordered, |machine| write32(machine, 4, 0x1234));
    assert!(outcome.diverged && outcome.came.contains("ended"), "{:?}", outcome.lines());
    let outcome = replay(&story, Mode::Ordered, |machine| {
        write32(machine, 4, 0x1234);
        machine.function.reset(&mut machine.wires);
    });
    assert!(outcome.diverged && outcome.came == "reset", "{:?}", outcome.lines());
}

#[test]
fn after_a_reset_the_trace_goes_on_where_the_device_was_reset() {
    let twice = |base: u64| {
        move |machine: &mut Machine| {
            drive_edu(machine, base, 1);
            machine.function.reset(&mut machine.wires);
            machine.set_command(6);
            drive_edu(machine, base, 2);
        }
    };
    let story = record(edu::Edu::default(), twice(0x20_0000));
    let outcome = replay(&story, Mode::Strict, twice(0x90_0000));
    assert!(!outcome.diverged, "{:?}", outcome.lines());
}

/// Takes descriptors from a ring whose address is written in two halves: source, destination, length. Inverts the bytes, and interrupts.
#[derive(Default)]
struct Inverter {
    ring: [u32; 2],
    due: Option<u64>,
}

const DESCRIPTOR: u64 = 24;

impl Device for Inverter {
    fn identity(&self) -> Identity {
        Identity { vendor: 0x1234, device: 2, pin: true, bars: bars([(0, Bar::memory32(0x1000))]), ..Identity::default() }
    }

    fn read_bar(&mut self, _bar: usize, _offset: u64, data: &mut [u8], bus: &mut dyn Bus) {
        // Reading is acknowledging.
        data.fill(u8::from(self.due.is_none()));
        bus.set_pin(false);
    }

    fn write_bar(&mut self, _bar: usize, offset: u64, data: &[u8], bus: &mut dyn Bus) {
        match offset {
            0 => self.ring[0] = value(data) as u32,
            4 => self.ring[1] = value(data) as u32,
            _ => self.due = Some(bus.now() + 1000),
        }
    }

    fn reset(&mut self, bus: &mut dyn Bus) {
        *self = Self::default();
        bus.set_pin(false);
    }

    fn next_wake(&self) -> Option<u64> {
        self.due
    }

    fn wake(&mut self, bus: &mut dyn Bus) {
        self.due = None;
        let ring = u64::from(self.ring[1]) << 32 | u64::from(self.ring[0]);
        let mut words = [0; DESCRIPTOR as usize];
        bus.dma_read(ring, &mut words).unwrap();
        let [source, destination, length] = [0, 8, 16].map(|at| value(&words[at..at + 8]));
        let mut bytes = vec![0; length as usize];
        bus.dma_read(source, &mut bytes).unwrap();
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
        bus.dma_write(destination, &bytes).unwrap();
        bus.raise(0);
    }
}

/// A driver of the inverter with its ring and its buffers at these places.
fn invert(machine: &mut Machine, ring: u64, source: u64, destination: u64, high_first: bool) {
    let memory = machine.wires.memory.clone();
    // Longer than a page, and across two of them.
    let bytes: Vec<u8> = (0..5000_u32).map(|index| index as u8).collect();
    memory.write_at(source, &bytes).unwrap();
    memory.write_at(ring, &[source, destination, bytes.len() as u64].map(u64::to_le_bytes).concat()).unwrap();
    let halves = [(0, ring as u32), (4, (ring >> 32) as u32)];
    let order = if high_first { [1, 0] } else { [0, 1] };
    order.into_iter().for_each(|half| write32(machine, halves[half].0, halves[half].1));
    write32(machine, 8, 1);
    passes(machine, 1000);
    assert!(machine.wires.pin);
    assert_eq!(machine.read32(0, 12), 0x0101_0101);
    assert!(!machine.wires.pin, "reading has acknowledged it");
    let mut found = vec![0; bytes.len()];
    memory.read_at(destination, &mut found).unwrap();
    assert!(found.iter().zip(&bytes).all(|(found, then)| *found == !then));
}

#[test]
fn rings_and_buffers_are_followed_page_by_page_even_beyond_four_gibibytes() {
    for high_first in [false, true] {
        let story = record(Inverter::default(), |machine| invert(machine, 0x10_0040, 0x20_0800, 0x30_0100, high_first));
        for mode in [Mode::Strict, Mode::Ordered] {
            let outcome = replay(&story, mode, |machine| invert(machine, 0x1_4010_0040, 0x1_0020_0800, 0x55_5100, high_first));
            assert!(!outcome.diverged, "{mode:?}: {:?}", outcome.lines());
        }
    }
}

#[test]
fn an_address_that_moved_inside_its_page_diverges() {
    let story = record(Inverter::default(), |machine| invert(machine, 0x10_0040, 0x20_0800, 0x30_0100, false));
    let outcome = replay(&story, Mode::Ordered, |machine| {
        write32(machine, 0, 0x10_0080);
    });
    assert!(outcome.diverged && outcome.came.contains("0x00100080"), "{:?}", outcome.lines());
}

#[test]
fn memory_of_which_no_write_tells_is_not_touched() {
    let header = Header::of_device("tested", &Inverter::default().identity());
    let mut writer = Writer::new(Vec::new(), &header, Compression::None).unwrap();
    writer.append(0, false, &What::Write { bar: 0, offset: 8, data: &[1, 0, 0, 0] }).unwrap();
    writer.append(10, false, &What::DmaWrite { address: 0x5_0000, data: &[0xee; 16] }).unwrap();
    writer.finish().unwrap();
    let outcome = replay(&story(writer.into_inner()), Mode::Ordered, |machine| {
        write32(machine, 8, 1);
        let mut there = [0; 16];
        machine.wires.memory.read_at(0x5_0000, &mut there).unwrap();
        assert_eq!(there, [0; 16]);
    });
    assert!(outcome.diverged && outcome.came.contains("where the memory at 0x50000 is now"), "{:?}", outcome.lines());
}
