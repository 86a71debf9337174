use std::sync::atomic::{AtomicU64, Ordering};

use protocol::hardware::Opcode;

use super::*;
use crate::device::{Bar, Bus, Device, Identity};
use crate::pci::Function;
use crate::relay::RelayDevice;
use crate::testing::*;
use crate::virtio::pci::VirtioPci;

fn names(bytes: &[u8]) -> Vec<String> {
    let (events, ending) = read(bytes);
    assert!(ending.is_ok(), "{ending:?}");
    events.into_iter().map(|(.., text)| text.split([' ', '{']).next().unwrap().to_owned()).collect()
}

fn has(bytes: &[u8], wanted: &str) -> bool {
    read(bytes).0.iter().any(|(.., text)| text.contains(wanted))
}

#[test]
fn a_recorded_relay_shows_registers_chains_with_their_tags_and_interrupts() {
    let file = Shared::default();
    let trace = Trace::new(file.clone(), &virtio_header("relay", RelayDevice::new()), Compression::None).unwrap();
    let device = RecordingVirtio::new(RelayDevice::with_status_page().unwrap(), trace.clone());
    let recorder = Recorder::beside_chains(VirtioPci::new(device), trace.clone());
    let mut machine = Machine::new(Function::new(Box::new(recorder)).unwrap(), 0x10_0000);
    assert!(machine.function.shared_areas().is_empty(), "what is shared could not be recorded");
    let memory = machine.wires.memory.clone();
    let mut queue = DriverQueue::new(memory.clone(), 0, 256);
    machine.wires.now = 5_000;
    machine.function.write_config(0x44, &[3, 0], &mut machine.wires);
    machine.function.write_config(0x44, &[0, 0], &mut machine.wires);
    machine.function.write_config(4, &[6, 4], &mut machine.wires);
    start_virtio(&mut machine, VERSION_1, &[&queue]);
    let command = command(0x77, Opcode::ECHO, 0, b"payload");
    memory.write_at(0x8000, &command).unwrap();
    queue.add(&[Buffer::Out(0x8000, command.len() as u32), Buffer::In(0x9000, 64)]);
    machine.write(BAR, NOTIFY, &[0, 0]);
    assert!(machine.settle(10));
    assert_eq!(queue.used(), Some((0, 16 + 7)));
    assert_eq!(machine.read8(BAR, ISR), 1);
    drop(machine);
    trace.finish().unwrap();
    let bytes = file.bytes();

    let reader = Reader::new(&bytes[..]).unwrap();
    assert_eq!((reader.header().level, reader.header().ids[1]), (Level::Virtio, 0x1055));
    assert_eq!(reader.header().virtio.as_ref().unwrap().queue_sizes, [256, 256, 256]);
    let names = names(&bytes);
    let tail: Vec<_> = names.iter().map(String::as_str).rev().take(5).collect();
    assert_eq!(tail, ["Pin", "Read", "Pin", "Given", "Taken"], "the pin falls after the read that lowers it");
    for wanted in ["Power { state: 3 }", "Start { features: 4294967296 }", "tag: Some(119), readable: 39, writable: 64"] {
        assert!(has(&bytes, wanted), "{wanted}");
    }
    let answer = format!("written: 23, data: {:?}", [&0x77_u64.to_le_bytes()[..], &[0; 4], &[7, 0, 0, 0], b"payload"].concat());
    assert!(has(&bytes, &answer));
}

/// Reads eight bytes where the driver says, writes them back inverted, and interrupts.
struct Inverter;

impl Device for Inverter {
    fn identity(&self) -> Identity {
        let mut identity = Identity { vendor: 0x1234, device: 1, pin: true, ..Identity::default() };
        identity.bars[0] = Some(Bar::memory32(0x1000));
        identity
    }

    fn read_bar(&mut self, _bar: usize, _offset: u64, data: &mut [u8], _bus: &mut dyn Bus) {
        data.fill(0x5a);
    }

    fn write_bar(&mut self, _bar: usize, _offset: u64, data: &[u8], bus: &mut dyn Bus) {
        let mut address = [0; 8];
        address[..data.len()].copy_from_slice(data);
        let address = u64::from_le_bytes(address);
        let mut bytes = [0; 8];
        if bus.dma_read(address, &mut bytes).is_ok() {
            // What cannot be written is lost.
            let _ = bus.dma_write(address + 8, &bytes.map(|byte| !byte));
        }
        bus.set_pin(true);
    }

    fn reset(&mut self, bus: &mut dyn Bus) {
        bus.set_pin(false);
    }
}

#[test]
fn a_recorded_device_shows_what_it_read_and_wrote_in_memory_before_it_interrupted() {
    let file = Shared::default();
    let trace = Trace::new(file.clone(), &Header::of_device("inverter", &Inverter.identity()), Compression::Zstd).unwrap();
    let mut machine = Machine::new(Function::new(Box::new(Recorder::new(Inverter, trace))).unwrap(), 0x2000);
    machine.wires.memory.write_at(0x1000, &[1; 8]).unwrap();
    machine.write(0, 8, &0x1000_u32.to_le_bytes());
    machine.write(0, 8, &0x1ffc_u32.to_le_bytes());
    drop(machine);

    let names = names(&file.bytes());
    assert_eq!(names, ["ConfigWrite", "Write", "DmaRead", "DmaWrite", "Pin", "Write", "DmaFailed", "Pin"]);
    assert!(has(&file.bytes(), "DmaWrite { address: 4104, data: [254, 254, 254, 254, 254, 254, 254, 254] }"));
    assert!(has(&file.bytes(), "DmaFailed { address: 8188, length: 8, write: false }"));
}

#[test]
fn events_are_in_the_file_a_moment_after_they_happened() {
    let file = Shared::default();
    let trace = Trace::new(file.clone(), &Header::of_device("inverter", &Inverter.identity()), Compression::None).unwrap();
    let mut machine = Machine::new(Function::new(Box::new(Recorder::new(Inverter, trace))).unwrap(), 0x2000);
    machine.read32(0, 0);
    // By a thread of its own, whether or not the device is called again.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while names(&file.bytes()).is_empty() && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(names(&file.bytes()), ["ConfigWrite", "Read"]);
}

/// A file whose writer is killed in one of its writes: when some of the bytes, half of them or all are there.
struct Doomed {
    file: Shared,
    /// Writes before that one.
    left: usize,
    /// Of the bytes of the last write, so many halves get there.
    halves: usize,
    recorded: Arc<AtomicU64>,
    at_the_end: Arc<AtomicU64>,
}

impl Write for Doomed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left > 0 {
            self.left -= 1;
            return self.file.write(bytes);
        }
        if self.at_the_end.load(Ordering::Relaxed) == u64::MAX {
            self.at_the_end.store(self.recorded.load(Ordering::Relaxed), Ordering::Relaxed);
            self.file.write_all(&bytes[..bytes.len() * self.halves / 2])?;
        }
        // Nobody is there any more; what still runs of the test writes into nothing.
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_recorder_killed_at_any_write_has_lost_the_block_that_it_filled_and_no_other() {
    const EVENTS: u64 = 40_000;
    const BLOCK: u64 = 64 << 10;
    // Head, step, place and value.
    const EVENT: u64 = 1 + 2 + 2 + 8;
    for (left, halves) in (0..8).flat_map(|left| [(left, 0), (left, 1), (left, 2)]) {
        let file = Shared::default();
        let (recorded, at_the_end) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(u64::MAX)));
        // The first write is the header, before there is anything to lose.
        let (of_recorder, at_its_end) = (recorded.clone(), at_the_end.clone());
        let doomed = Doomed { file: file.clone(), left: left + 1, halves, recorded: of_recorder, at_the_end: at_its_end };
        let trace = Trace::new(doomed, &Header::default(), Compression::None).unwrap();
        for number in 1..=EVENTS {
            trace.append(300 * number, &What::Write { bar: 0, offset: 16, data: &number.to_le_bytes() });
            recorded.store(number, Ordering::Relaxed);
        }
        trace.finish().unwrap();

        let (found, _) = read(&file.bytes());

        let recorded = at_the_end.load(Ordering::Relaxed);
        assert!(recorded <= EVENTS, "it was killed");
        let lost = recorded.saturating_sub(found.len() as u64);
        // The last event makes the block as long as it is to be, or longer.
        assert!(lost <= BLOCK / EVENT + 1, "{left} writes and {halves} halves: {lost} of {recorded} events are lost");
        let numbers = found.iter().map(|(time, ..)| time / 300);
        assert!(numbers.eq(1..=found.len() as u64), "what is there is there from the beginning");
    }
}

#[test]
fn a_trace_that_cannot_be_written_on_does_not_disturb_the_device() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let trace = Trace::new(Full(2), &Header::default(), Compression::None).unwrap();
    let mut machine = Machine::new(Function::new(Box::new(Recorder::new(Inverter, trace))).unwrap(), 0x2000);
    for _ in 0..50_000 {
        assert_eq!(machine.read32(0, 0), 0x5a5a_5a5a);
    }
}
