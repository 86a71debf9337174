use std::io::Cursor;
use std::sync::{Arc, Mutex};

use protocol::hardware::{AdminCommand, AdminOpcode, AdminReply, Opcode};
use zerocopy::IntoBytes;

use super::super::{Compression, Header, Reader, Recorder, RecordingVirtio, Trace, What, Writer, virtio_header};
use super::*;
use crate::device::{Bus, Device};
use crate::memory::{DmaError, Memory};
use crate::pci::Function;
use crate::relay::RelayDevice;
use crate::testing::*;
use crate::virtio::pci::VirtioPci;

const MEMORY: u64 = 0x20_0000;

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A driver with two queues, somewhere in memory.
struct Driver {
    machine: Machine,
    commands: DriverQueue,
    admin: DriverQueue,
    buffers: u64,
}

impl Driver {
    /// A driver that has started `device`, with all it owns at `base`.
    fn start(device: impl Device + 'static, base: u64) -> Self {
        let mut machine = Machine::new(Function::new(Box::new(device)).unwrap(), MEMORY);
        let memory = machine.wires.memory.clone();
        let queue = |index: u64| DriverQueue::new(memory.clone(), base + index * DriverQueue::BYTES, 256);
        let (commands, events, admin) = (queue(0), queue(1), queue(2));
        start_virtio(&mut machine, VERSION_1, &[&commands, &events, &admin]);
        Self { machine, commands, admin, buffers: base + 0x2_0000 }
    }

    fn offer(&mut self, command: &[u8]) -> u64 {
        let at = self.buffers;
        self.buffers += 0x1000;
        self.machine.wires.memory.write_at(at, command).unwrap();
        self.commands.add(&[Buffer::Out(at, command.len() as u32), Buffer::In(at + 0x800, 0x100)]);
        at + 0x800
    }

    fn ring(&mut self, queue: u64) {
        self.machine.write(BAR, NOTIFY + 4 * queue, &[0, 0]);
        self.settle();
    }

    fn settle(&mut self) {
        assert!(self.machine.settle(100));
    }

    fn wait(&mut self, nanoseconds: u64) {
        self.machine.wires.now += nanoseconds;
        self.settle();
    }

    /// Send a command; the answer's payload if there is one at once.
    fn send(&mut self, tag: u64, opcode: Opcode, argument: u64, payload: &[u8]) -> Option<Vec<u8>> {
        let answer = self.offer(&command(tag, opcode, argument, payload));
        self.ring(0);
        self.answer(answer)
    }

    fn answer(&mut self, at: u64) -> Option<Vec<u8>> {
        let (_, written) = self.commands.used()?;
        let mut bytes = vec![0; written as usize];
        self.machine.wires.memory.read_at(at, &mut bytes).unwrap();
        Some(bytes.split_off(16))
    }

    fn release(&mut self, target: u64) {
        let command = AdminCommand { tag: 99, opcode: AdminOpcode::RELEASE, reserved: 0, target, argument: 0 };
        let at = self.buffers;
        self.buffers += 0x1000;
        self.machine.wires.memory.write_at(at, command.as_bytes()).unwrap();
        self.admin
            .add(&[Buffer::Out(at, command.as_bytes().len() as u32), Buffer::In(at + 0x800, size_of::<AdminReply>() as u32)]);
        self.ring(2);
        assert!(self.admin.used().is_some());
    }

    /// Stop the device as a driver does.
    fn stop(mut self) {
        self.machine.write(BAR, STATUS, &[0]);
    }
}

fn record(drive: impl FnOnce(Driver)) -> Arc<Story> {
    let file = Shared::default();
    let trace = Trace::new(file.clone(), &virtio_header("relay", RelayDevice::new()), Compression::None).unwrap();
    let device = RecordingVirtio::new(RelayDevice::with_status_page().unwrap(), trace.clone());
    drive(Driver::start(Recorder::beside_chains(VirtioPci::new(device), trace.clone()), 0));
    drop(trace);
    let bytes = file.0.lock().unwrap().clone();
    Arc::new(Story::read(&mut Reader::new(Cursor::new(bytes)).unwrap()).unwrap())
}

fn replay(story: &Arc<Story>, mode: Mode, rules: &str, drive: impl FnOnce(Driver)) -> Outcome {
    let verdict = Verdict::new().unwrap();
    let rules = Rules::from_toml(rules).unwrap();
    let device = ReplayVirtio::new(story.clone(), mode, rules, verdict.clone()).unwrap();
    // Elsewhere in memory: what moved is no difference.
    drive(Driver::start(VirtioPci::new(device), 0x10_0000));
    verdict.outcome()
}

fn two_echoes(mut driver: Driver) {
    assert_eq!(driver.send(1, Opcode::ECHO, 0, b"first"), Some(b"first".to_vec()));
    assert_eq!(driver.send(2, Opcode::TRANSFORM, 1, b"abc"), Some(b"`cb".to_vec()));
    driver.stop();
}

#[test]
fn the_same_driver_elsewhere_in_memory_meets_the_same_device() {
    let story = record(two_echoes);
    for mode in [Mode::Strict, Mode::Ordered, Mode::Lenient] {
        let outcome = replay(&story, mode, "", two_echoes);
        assert!(!outcome.diverged, "{mode:?}: {:?}", outcome.lines());
        assert_eq!(outcome.replayed, 3, "the start and two chains");
    }
}

#[test]
fn a_driver_that_sends_something_else_diverges_at_that_command() {
    let story = record(two_echoes);
    let outcome = replay(&story, Mode::Ordered, "", |mut driver| {
        assert_eq!(driver.send(1, Opcode::ECHO, 0, b"first"), Some(b"first".to_vec()));
        assert_eq!(driver.send(2, Opcode::TRANSFORM, 3, b"abc"), None, "a device that was surprised says nothing");
        driver.stop();
    });
    assert!(outcome.diverged);
    assert!(outcome.expected.contains("transform length 3 argument 0x1"), "{:?}", outcome.expected);
    assert!(outcome.came.contains("transform length 3 argument 0x3"), "{:?}", outcome.came);
    assert!(outcome.around.iter().any(|line| line.starts_with('>') && line.contains("argument 0x1")));
    assert!(outcome.around.len() >= 11 && outcome.around.len() <= 21);
}

#[test]
fn a_rule_lets_a_difference_pass_in_a_lenient_replay_only() {
    let story = record(two_echoes);
    let rules = "[[rule]]\naction = 'any-value'\nqueue = 0\noffset = 16\nlength = 1";
    let other = |mut driver: Driver| {
        driver.send(1, Opcode::ECHO, 0, b"first");
        driver.send(2, Opcode::TRANSFORM, 3, b"abc");
        driver.stop();
    };
    assert!(replay(&story, Mode::Ordered, rules, other).diverged);
    assert!(!replay(&story, Mode::Lenient, rules, other).diverged);
    let mask = "[[rule]]\naction = 'mask'\nqueue = 0\noffset = 16\nlength = 1\nmask = [0xfd]";
    assert!(!replay(&story, Mode::Lenient, mask, other).diverged, "1 and 3 differ in the bit that is masked");
    assert!(Rules::from_toml("[[rule]]\naction = 'mask'").is_err());
}

#[test]
fn a_driver_that_ends_early_diverges_at_what_is_missing() {
    let story = record(two_echoes);
    let outcome = replay(&story, Mode::Ordered, "", |mut driver| {
        driver.send(1, Opcode::ECHO, 0, b"first");
        driver.stop();
    });
    assert!(outcome.diverged && outcome.expected.contains("transform"), "{:?}", outcome.lines());
    assert!(outcome.came.contains("ended"), "{:?}", outcome.lines());
    let outcome = replay(&story, Mode::Strict, "", |mut driver| {
        driver.send(1, Opcode::ECHO, 0, b"first");
        driver.stop();
    });
    assert_eq!(outcome.came, "reset");
    let outcome = replay(&story, Mode::Ordered, "", drop);
    assert!(outcome.came.contains("ended"), "{:?}", outcome.lines());
}

#[test]
fn a_driver_that_sends_more_than_was_recorded_diverges_after_the_end() {
    let story = record(two_echoes);
    let outcome = replay(&story, Mode::Ordered, "", |mut driver| {
        driver.send(1, Opcode::ECHO, 0, b"first");
        driver.send(2, Opcode::TRANSFORM, 1, b"abc");
        driver.send(3, Opcode::ECHO, 0, b"third");
        driver.stop();
    });
    assert!(outcome.diverged && outcome.event.is_none() && outcome.came.contains("echo"), "{:?}", outcome.lines());
}

#[test]
fn requests_that_overtake_each_other_are_the_same_unless_the_order_is_strict() {
    let batch = |first: u64, second: u64| {
        move |mut driver: Driver| {
            driver.offer(&command(first, Opcode::ECHO, 0, b"same"));
            driver.offer(&command(second, Opcode::ECHO, 0, b"same"));
            driver.ring(0);
            assert!(driver.commands.used().is_some());
            driver.stop();
        }
    };
    let story = record(batch(1, 2));
    assert!(!replay(&story, Mode::Ordered, "", batch(2, 1)).diverged);
    let mut strict = None;
    let verdict = replay(&story, Mode::Strict, "", |mut driver| {
        driver.offer(&command(2, Opcode::ECHO, 0, b"same"));
        driver.ring(0);
        strict = driver.commands.used();
        driver.stop();
    });
    assert!(verdict.diverged && strict.is_none());
}

#[test]
fn a_held_command_is_answered_when_its_release_comes_and_not_before() {
    let held = |mut driver: Driver| {
        let answer = driver.offer(&command(5, Opcode::HOLD, 0, b"kept"));
        driver.ring(0);
        // However long the driver takes: the release is the cause, not time.
        driver.wait(500_000_000);
        assert_eq!(driver.answer(answer), None);
        driver.release(5);
        assert_eq!(driver.answer(answer), Some(b"kept".to_vec()));
        driver.stop();
    };
    let story = record(held);
    for mode in [Mode::Strict, Mode::Ordered] {
        let outcome = replay(&story, mode, "", held);
        assert!(!outcome.diverged, "{:?}", outcome.lines());
    }
}

#[test]
fn what_took_its_time_takes_the_same_time_again() {
    let story = record(|mut driver| {
        let answer = driver.offer(&command(5, Opcode::DELAY, 2_000, b"late"));
        driver.ring(0);
        driver.wait(2_000_000);
        assert!(driver.answer(answer).is_some());
        driver.stop();
    });
    let outcome = replay(&story, Mode::Ordered, "", |mut driver| {
        // The driver is slow this time.
        driver.wait(50_000_000);
        let answer = driver.offer(&command(5, Opcode::DELAY, 2_000, b"late"));
        driver.ring(0);
        driver.wait(1_999_000);
        assert_eq!(driver.answer(answer), None);
        driver.wait(1_000);
        assert_eq!(driver.answer(answer), Some(b"late".to_vec()));
        driver.stop();
    });
    assert!(!outcome.diverged, "{:?}", outcome.lines());
}

#[test]
fn an_answer_does_not_wait_for_a_request_that_came_first_then() {
    // Recorded: both requests in one round.
    let story = record(|mut driver| {
        driver.offer(&command(1, Opcode::HOLD, 0, b"one"));
        driver.offer(&command(2, Opcode::ECHO, 0, b"two"));
        driver.ring(0);
        driver.release(1);
        driver.stop();
    });
    let outcome = replay(&story, Mode::Ordered, "", |mut driver| {
        // This driver waits for each answer before it goes on.
        let two = driver.offer(&command(2, Opcode::ECHO, 0, b"two"));
        driver.ring(0);
        assert_eq!(driver.answer(two), Some(b"two".to_vec()));
        driver.offer(&command(1, Opcode::HOLD, 0, b"one"));
        driver.ring(0);
        driver.release(1);
        driver.stop();
    });
    assert!(!outcome.diverged, "{:?}", outcome.lines());
}

#[test]
fn configuration_is_answered_as_it_was_and_may_be_polled_for_longer() {
    let story = record(|mut driver| {
        assert_eq!(driver.machine.read32(BAR, CONFIG + 16), 0);
        driver.send(1, Opcode::ECHO, 0, b"x");
        assert_eq!(driver.machine.read32(BAR, CONFIG + 16), 1);
        driver.stop();
    });
    let drive = |polls: usize| {
        move |mut driver: Driver| {
            assert_eq!(driver.machine.read32(BAR, CONFIG + 16), 0);
            driver.send(1, Opcode::ECHO, 0, b"x");
            for _ in 0..polls {
                assert_eq!(driver.machine.read32(BAR, CONFIG + 16), 1);
            }
            driver.stop();
        }
    };
    assert!(!replay(&story, Mode::Ordered, "", drive(5)).diverged);
    assert!(!replay(&story, Mode::Strict, "", drive(1)).diverged);
    let outcome = replay(&story, Mode::Ordered, "", |mut driver| {
        driver.machine.read32(BAR, CONFIG + 24);
    });
    assert!(outcome.diverged && outcome.came.contains("cannot answer"), "{:?}", outcome.lines());
}

#[test]
fn a_poll_does_not_hear_of_a_request_before_it_is_sent() {
    let story = record(|mut driver| {
        assert_eq!(driver.machine.read32(BAR, CONFIG + 16), 0);
        driver.send(1, Opcode::ECHO, 0, b"x");
        assert_eq!(driver.machine.read32(BAR, CONFIG + 16), 1);
        driver.stop();
    });
    let outcome = replay(&story, Mode::Ordered, "", |mut driver| {
        (0..3).for_each(|_| assert_eq!(driver.machine.read32(BAR, CONFIG + 16), 0));
        driver.send(1, Opcode::ECHO, 0, b"x");
        assert_eq!(driver.machine.read32(BAR, CONFIG + 16), 1);
        driver.stop();
    });
    assert!(!outcome.diverged, "{:?}", outcome.lines());
}

#[test]
fn a_driver_that_polls_less_hears_nothing_old() {
    let polled = |polls: usize| {
        move |mut driver: Driver| {
            driver.send(1, Opcode::ECHO, 0, b"x");
            (0..polls).for_each(|_| assert_eq!(driver.machine.read32(BAR, CONFIG + 16), 1));
            driver.send(2, Opcode::ECHO, 0, b"y");
            assert_eq!(driver.machine.read32(BAR, CONFIG + 16), 2);
            driver.stop();
        }
    };
    let story = record(polled(5));
    for polls in [1, 5, 9] {
        let outcome = replay(&story, Mode::Ordered, "", polled(polls));
        assert!(!outcome.diverged, "{polls}: {:?}", outcome.lines());
    }
}

#[test]
fn a_request_may_have_another_tag_and_so_has_its_answer() {
    let held = |tag: u64| {
        move |mut driver: Driver| {
            let answer = driver.offer(&command(tag, Opcode::HOLD, 0, b"kept"));
            driver.ring(0);
            driver.release(tag);
            let mut bytes = [0; 8];
            assert!(driver.commands.used().is_some());
            driver.machine.wires.memory.read_at(answer, &mut bytes).unwrap();
            assert_eq!(u64::from_le_bytes(bytes), tag);
            driver.stop();
        }
    };
    let story = record(held(0x8000_0000_0000_0005));
    let outcome = replay(&story, Mode::Ordered, "", held(0x8000_0000_0000_0009));
    assert!(!outcome.diverged, "{:?}", outcome.lines());
    let outcome = replay(&story, Mode::Strict, "", |mut driver| {
        assert_eq!(driver.send(9, Opcode::HOLD, 0, b"kept"), None);
        driver.stop();
    });
    assert!(outcome.diverged);
    let outcome = replay(&story, Mode::Ordered, "", |mut driver| {
        driver.offer(&command(9, Opcode::HOLD, 0, b"kept"));
        driver.ring(0);
        // Another request's tag: nobody has it.
        driver
            .machine
            .wires
            .memory
            .write_at(
                driver.buffers,
                AdminCommand { tag: 99, opcode: AdminOpcode::RELEASE, reserved: 0, target: 5, argument: 1 }.as_bytes(),
            )
            .unwrap();
        driver.admin.add(&[Buffer::Out(driver.buffers, 32), Buffer::In(driver.buffers + 0x800, 16)]);
        driver.ring(2);
        assert!(driver.admin.used().is_none());
    });
    assert!(outcome.diverged && outcome.came.contains("release"), "{:?}", outcome.lines());
}

#[test]
fn a_reset_begins_the_next_chapter() {
    let twice = |mut driver: Driver| {
        driver.send(1, Opcode::ECHO, 0, b"before");
        let memory = driver.machine.wires.memory.clone();
        let base = driver.commands.descriptors();
        let commands = DriverQueue::new(memory.clone(), base, 256);
        start_virtio(&mut driver.machine, VERSION_1, &[&commands]);
        driver.commands = commands;
        assert_eq!(driver.send(1, Opcode::ECHO, 0, b"after"), Some(b"after".to_vec()));
        driver.stop();
    };
    let story = record(twice);
    let outcome = replay(&story, Mode::Strict, "", twice);
    assert!(!outcome.diverged, "{:?}", outcome.lines());
}

/// A machine that does not share its memory: what is there comes later.
struct FarBus {
    memory: Arc<Memory>,
    arrived: Option<&'static [u8]>,
    asked: Vec<(u64, usize)>,
    interrupts: Vec<u16>,
}

impl Bus for FarBus {
    fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    fn interrupt(&mut self, vector: u16) {
        self.interrupts.push(vector);
    }

    fn set_pin(&mut self, _asserted: bool) {}

    fn messages_enabled(&self) -> bool {
        true
    }

    fn now(&self) -> u64 {
        0
    }

    fn dma_read(&mut self, address: u64, into: &mut [u8]) -> Result<(), DmaError> {
        self.asked.push((address, into.len()));
        into.copy_from_slice(self.arrived.ok_or(DmaError::Pending)?);
        Ok(())
    }
}

#[test]
fn what_a_replayed_device_reads_may_be_on_its_way_and_what_follows_waits_for_it() {
    let mut writer = Writer::new(Vec::new(), &Header::default(), Compression::None).unwrap();
    let (then, now) = (0x5010_u64.to_le_bytes(), 0x9010_u64.to_le_bytes());
    writer.append(1, false, &What::Write { bar: 0, offset: 8, data: &then }).unwrap();
    writer.append(2, false, &What::DmaRead { address: 0x5010, data: b"ring" }).unwrap();
    writer.append(3, false, &What::Interrupt { vector: 1 }).unwrap();
    writer.finish().unwrap();
    let story = Arc::new(Story::read(&mut Reader::new(Cursor::new(writer.into_inner())).unwrap()).unwrap());

    for (comes, diverges) in [(&b"ring"[..], false), (b"sing", true)] {
        let verdict = Verdict::new().unwrap();
        let mut device = ReplayBus::new(story.clone(), Mode::Ordered, Rules::default(), verdict.clone()).unwrap();
        let mut bus = FarBus { memory: Arc::default(), arrived: None, asked: Vec::new(), interrupts: Vec::new() };
        device.write_bar(0, 8, &now, &mut bus);
        device.wake(&mut bus);
        assert_eq!(bus.asked, [(0x9010, 4); 2], "it asks where the memory is now, and again when it is woken");
        assert!(bus.interrupts.is_empty() && device.next_wake().is_some(), "the interrupt waits, and the device is still due");

        bus.arrived = Some(comes);
        device.wake(&mut bus);
        drop(device);
        let outcome = verdict.outcome();
        assert_eq!(outcome.diverged, diverges, "{:?}", outcome.lines());
        assert_eq!(bus.interrupts.len(), usize::from(!diverges));
    }
}

#[test]
fn of_two_verdicts_on_one_replay_the_divergence_stands() {
    let alike = |replayed| Outcome { replayed, ..Outcome::default() };
    let diverged = Outcome { diverged: true, replayed: 3, ..Outcome::default() };
    assert_eq!(alike(9).after(Some(alike(4))), alike(9));
    assert_eq!(alike(9).after(Some(diverged.clone())), diverged);
    assert_eq!(diverged.clone().after(Some(alike(4))), diverged);
    assert_eq!(alike(9).after(None), alike(9));
}
