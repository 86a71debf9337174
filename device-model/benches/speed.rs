//! How fast the device model is, each figure beside a floor measured in the same run: what the same bytes cost without it.
//!
//! `cargo bench -p device-model`. Each figure is the best of several rounds, so that what else runs on the machine disturbs it least.

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use device_model::memory::{Memory, Region};
use device_model::pci::Function;
use device_model::relay::RelayDevice;
use device_model::serve::vfio_user::message::*;
use device_model::testing::*;
use device_model::trace::replay::Story;
use device_model::trace::{Compression, Reader, Recorder, RecordingVirtio, Trace, What, Writer, virtio_header};
use device_model::virtio::pci::VirtioPci;
use protocol::hardware::{Opcode, QUEUE_SIZE};
use vm_memory::{FileOffset, Permissions};
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::sock_ctrl_msg::ScmSocket;
use zerocopy::IntoBytes;

const ROUNDS: usize = 9;
/// Rounds of each of two things that are measured by turns.
const TURNS: usize = 4 * ROUNDS;
const MEMORY: u64 = 16 << 20;
const PAYLOAD: usize = 4096;
/// Indirect tables, commands and answers, one of each for every chain of a full queue.
const TABLES: u64 = 0x10_0000;
const OUT: u64 = 0x20_0000;
const IN: u64 = 0x80_0000;
const STRIDE: u64 = 0x2000;
const INDIRECT: u64 = 1 << 28;

fn main() {
    // Under `cargo test --benches` there is nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    trapped_read();
    echoes();
    interrupts();
    recording();
    reading();
}

/// Time of one of `count` operations in the best round, in nanoseconds.
fn measure(count: usize, mut run: impl FnMut(usize)) -> f64 {
    run(count / 10 + 1);
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        run(count);
        start.elapsed().as_nanos() as f64 / count as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}

fn trapped_read() {
    let request = [0_u8; 32];
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let echo = std::thread::spawn(move || {
        let mut message = [0; 32];
        while far.read_exact(&mut message).is_ok() && far.write_all(&[0; 36]).is_ok() {}
    });
    let mut reply = [0; 36];
    let floor = measure(20_000, |count| {
        for _ in 0..count {
            near.write_all(&request).unwrap();
            near.read_exact(&mut reply).unwrap();
        }
    });
    drop(near);
    echo.join().unwrap();

    let served = common::serve(VirtioPci::new(RelayDevice::new()));
    let mut client = Client::connect(&served);
    let read = measure(20_000, |count| {
        for _ in 0..count {
            black_box(client.read32(BAR, CONFIG));
        }
    });
    println!(
        "trapped register read    {:8.2} us   bare ping-pong {:8.2} us   {:5.2} times",
        read / 1e3,
        floor / 1e3,
        read / floor
    );
}

fn echoes() {
    for batch in [1, 16, 256] {
        let rounds = 4096 / batch;
        let source = vec![1_u8; PAYLOAD * batch];
        let mut target = vec![0_u8; PAYLOAD * batch];
        let floor = measure(rounds, |count| (0..count).for_each(|_| black_box(&mut target).copy_from_slice(black_box(&source))));

        let function = Function::new(Box::new(VirtioPci::new(RelayDevice::new()))).unwrap();
        let mut machine = Machine::new(function, MEMORY);
        let mut driver = Driver::start(machine.wires.memory.clone(), &mut machine);
        let inside = measure(rounds, |count| {
            for _ in 0..count {
                driver.offer(batch);
                machine.write(BAR, NOTIFY, &[0, 0]);
                assert!(machine.settle(100));
                driver.collect(batch);
            }
        });

        let served = common::serve(VirtioPci::new(RelayDevice::new()));
        let mut client = Client::connect(&served);
        let memory = client.memory.clone();
        let mut driver = Driver::start(memory, &mut client);
        let outside = measure(rounds, |count| (0..count).for_each(|_| client.round(&mut driver, batch)));
        let rate = |time: f64| batch as f64 * 1e9 / time;
        println!(
            "echoes of 4 KiB, by {batch:3}   {:8.0} /s socket   {:8.0} /s device alone   memcpy {:10.0} /s   {:5.1} and {:4.1} times",
            rate(outside),
            rate(inside),
            rate(floor),
            outside / floor,
            inside / floor
        );
    }
}

fn interrupts() {
    let (here, there) = (EventFd::new(0).unwrap(), EventFd::new(0).unwrap());
    let (here_too, there_too) = (here.try_clone().unwrap(), there.try_clone().unwrap());
    let floor = std::thread::scope(|scope| {
        let count = 10_000;
        let total = (count / 10 + 1) + ROUNDS * count;
        scope.spawn(move || {
            for _ in 0..total {
                there_too.read().unwrap();
                here_too.write(1).unwrap();
            }
        });
        measure(count, |count| {
            for _ in 0..count {
                there.write(1).unwrap();
                here.read().unwrap();
            }
        })
    });
    let served = common::serve(VirtioPci::new(RelayDevice::new()));
    let mut client = Client::connect(&served);
    let memory = client.memory.clone();
    let mut driver = Driver::start(memory, &mut client);
    driver.shorten();
    let round = measure(10_000, |count| (0..count).for_each(|_| client.round(&mut driver, 1)));
    println!(
        "interrupts, one a command {:7.0} /s            eventfd ping-pong {:7.0} /s   {:5.2} times",
        1e9 / round,
        1e9 / floor,
        round / floor
    );
}

/// What it costs to record: the same driver over a socket, by turns with a device that is recorded into a file and with one that is not.
fn recording() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let trace = |name: &str| {
        let file = std::fs::File::create(folder.path().join(name)).unwrap();
        Trace::new(file, &virtio_header("relay", RelayDevice::new()), Compression::None).unwrap()
    };
    let recorded = |trace: &Trace| {
        let device = RecordingVirtio::new(RelayDevice::new(), trace.clone());
        common::serve(Recorder::beside_chains(VirtioPci::new(device), trace.clone()))
    };

    let (plain, traced) = (common::serve(VirtioPci::new(RelayDevice::new())), recorded(&trace("registers")));
    let mut clients = [Client::connect(&plain), Client::connect(&traced)];
    let read = |client: &mut Client, count: usize| {
        (0..count).for_each(|_| {
            black_box(client.read32(BAR, CONFIG));
        })
    };
    let [without, with] = by_turns(4_000, |which, count| read(&mut clients[which], count));
    let floor = written(folder.path());
    let length = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().len() as f64;
    let each = |name: &str, count: usize| length(name) / (count / 10 + 1 + TURNS * count) as f64;
    told("register reads", without, with, each("registers", 4_000), floor);

    for (payload, batch) in [(64, 1), (64, 64), (PAYLOAD, 1), (PAYLOAD, 64)] {
        let (plain, traced) = (common::serve(VirtioPci::new(RelayDevice::new())), recorded(&trace("echoes")));
        let mut pairs = [&plain, &traced].map(|served| {
            let mut client = Client::connect(served);
            let driver = Driver::start(client.memory.clone(), &mut client);
            driver.write_commands(&vec![7; payload]);
            (client, driver)
        });
        let rounds = 2048 / batch;
        let [without, with] = by_turns(rounds, |which, count| {
            let (client, driver) = &mut pairs[which];
            (0..count).for_each(|_| client.round(driver, batch));
        });
        told(&format!("echoes of {payload} bytes, by {batch}"), without, with, each("echoes", rounds), floor);
    }
}

/// `bytes` of trace for each operation; `floor` is what one byte costs at least.
fn told(what: &str, without: f64, with: f64, bytes: f64, floor: f64) {
    println!(
        "recorded: {what:28} {:8.2} us   not recorded {:8.2} us   cost {:5.1} %   its {bytes:7.0} bytes copied and written {:7.2} us",
        with / 1e3,
        without / 1e3,
        (with / without - 1.0) * 100.0,
        bytes * floor / 1e3
    );
}

/// Nanoseconds for each byte that is copied once and written into a new file there, 64 KiB at a time: what no recorder can do without.
fn written(folder: &std::path::Path) -> f64 {
    const PIECE: usize = 64 << 10;
    const PIECES: usize = 16;
    let (source, mut copy) = (vec![7_u8; PIECES * PIECE], vec![0_u8; PIECE]);
    let mut once = |_| {
        let mut file = std::fs::File::create(folder.join("floor")).unwrap();
        for piece in source.chunks_exact(PIECE) {
            copy.copy_from_slice(piece);
            file.write_all(black_box(&copy)).unwrap();
        }
    };
    let time = (0..TURNS / ROUNDS).map(|_| measure(1, &mut once)).fold(f64::INFINITY, f64::min);
    time / (PIECES * PIECE) as f64
}

/// Times of one operation of two kinds, measured by turns so that both have the same weather: the best round of each.
fn by_turns(count: usize, mut run: impl FnMut(usize, usize)) -> [f64; 2] {
    (0..2).for_each(|which| run(which, count / 10 + 1));
    let mut best = [f64::INFINITY; 2];
    for _ in 0..TURNS {
        for (which, best) in best.iter_mut().enumerate() {
            let start = Instant::now();
            run(which, count);
            *best = best.min(start.elapsed().as_nanos() as f64 / count as f64);
        }
    }
    best
}

/// How fast a trace is read, and how long its events are.
fn reading() {
    const EVENTS: u64 = 2_000_000;
    let mut writer = Writer::new(Vec::new(), &virtio_header("relay", RelayDevice::new()), Compression::None).unwrap();
    let header = writer.written();
    for number in 0..EVENTS {
        // Polls and doorbells, ten microseconds apart.
        let what = if number % 2 == 0 {
            What::Read { bar: 2, offset: 0x2000 + 4 * (number % 12), data: &[1, 2, 3, 4] }
        } else {
            What::Write { bar: 2, offset: 0x3000, data: &[0, 0] }
        };
        writer.append(number * 10_000, false, &what).unwrap();
    }
    writer.finish().unwrap();
    let bytes = writer.into_inner();
    let length = (bytes.len() as u64 - header) as f64 / EVENTS as f64;
    let stream = measure(1, |_| {
        let mut reader = Reader::new(&bytes[..]).unwrap();
        while let Some(event) = reader.next().unwrap() {
            black_box(event);
        }
    });
    let story = measure(1, |_| drop(black_box(Story::read(&mut Reader::new(&bytes[..]).unwrap()).unwrap())));
    let rate = |time: f64| EVENTS as f64 * 1e9 / time;
    println!(
        "trace: {length:.1} bytes a register event, {:.0} events read a second, {:.0} taken in for a replay",
        rate(stream),
        rate(story)
    );
}

/// A driver that sends one echo after another, each with its own indirect table.
struct Driver {
    queue: DriverQueue,
    memory: Arc<Memory>,
    next: u16,
}

impl Driver {
    fn start(memory: Arc<Memory>, registers: &mut dyn Registers) -> Self {
        let queue = DriverQueue::new(memory.clone(), 0x1_0000, QUEUE_SIZE);
        assert_eq!(start_virtio(registers, VERSION_1 | INDIRECT, &[&queue]), RUNNING);
        let driver = Self { queue, memory, next: 0 };
        driver.write_commands(&[7; PAYLOAD]);
        driver
    }

    /// Send commands without payload from now on.
    fn shorten(&self) {
        self.write_commands(&[]);
    }

    fn write_commands(&self, payload: &[u8]) {
        let bytes = command(1, Opcode::ECHO, 0, payload);
        for index in 0..QUEUE_SIZE {
            let place = u64::from(index) * STRIDE;
            self.memory.write_at(OUT + place, &bytes).unwrap();
            let table = [
                &(OUT + place).to_le_bytes()[..],
                &(bytes.len() as u32).to_le_bytes(),
                &[1, 0, 1, 0],
                &(IN + place).to_le_bytes(),
                &(16 + PAYLOAD as u32).to_le_bytes(),
                &[2, 0, 0, 0],
            ];
            self.memory.write_at(TABLES + 32 * u64::from(index), &table.concat()).unwrap();
            self.queue.set_descriptor(index, TABLES + 32 * u64::from(index), 32, 4, 0);
        }
    }

    fn offer(&mut self, batch: usize) {
        for _ in 0..batch {
            self.queue.offer(self.next);
            self.next = (self.next + 1) % QUEUE_SIZE;
        }
    }

    /// Take back what is there; how much.
    fn collect(&mut self, most: usize) -> usize {
        (0..most).map_while(|_| self.queue.used()).count()
    }
}

/// A vfio-user client that allocates nothing for a register access.
struct Client {
    stream: UnixStream,
    memory: Arc<Memory>,
    interrupt: EventFd,
    message: Vec<u8>,
}

impl Client {
    fn connect(served: &common::Served) -> Self {
        let stream = UnixStream::connect(&served.socket).unwrap();
        let file = tempfile::tempfile().unwrap();
        file.set_len(MEMORY).unwrap();
        let region = Region::from_file(0, MEMORY, Permissions::ReadWrite, FileOffset::new(file.try_clone().unwrap(), 0)).unwrap();
        let memory = Arc::new(Memory::default().with(region).unwrap());
        let mut client = Self { stream, memory, interrupt: EventFd::new(0).unwrap(), message: Vec::with_capacity(256) };
        client.call(command::VERSION, &[0, 0, 1, 0], &[]);
        let map = DmaMap { argsz: 32, flags: DMA_READ | DMA_WRITE, offset: 0, address: 0, size: MEMORY };
        client.call(command::DMA_MAP, map.as_bytes(), &[file.as_raw_fd()]);
        let set = SetIrqs { argsz: 20, flags: 4 | 32, index: 2, start: 1, count: 1 };
        let fd = client.interrupt.as_raw_fd();
        client.call(command::SET_IRQS, set.as_bytes(), &[fd]);
        client.write_region(7, 4, &[6, 0], 0);
        client.write_region(7, 0x4a, &[0, 0x80], 0);
        client
    }

    fn call(&mut self, command: u16, body: &[u8], fds: &[i32]) {
        let header = Header { id: 1, command, size: (HEADER_SIZE + body.len()) as u32, flags: 0, error: 0 };
        self.stream.send_with_fds(&[header.as_bytes(), body], fds).unwrap();
        self.reply();
    }

    fn reply(&mut self) {
        let mut bytes = [0; 1024];
        let count = self.stream.read(&mut bytes).unwrap();
        assert!(count >= HEADER_SIZE && u32::from(bytes[8]) & FLAG_ERROR == 0);
        self.message.clear();
        self.message.extend_from_slice(&bytes[HEADER_SIZE..count]);
    }

    fn write_region(&mut self, region: u32, offset: u64, data: &[u8], flags: u32) {
        let mut message = [0; 64];
        let size = HEADER_SIZE + 16 + data.len();
        let header = Header { id: 1, command: command::REGION_WRITE, size: size as u32, flags, error: 0 };
        message[..HEADER_SIZE].copy_from_slice(header.as_bytes());
        message[HEADER_SIZE..HEADER_SIZE + 16]
            .copy_from_slice(RegionAccess { offset, region, count: data.len() as u32 }.as_bytes());
        message[HEADER_SIZE + 16..size].copy_from_slice(data);
        self.stream.write_all(&message[..size]).unwrap();
        if flags & FLAG_NO_REPLY == 0 {
            self.reply();
        }
    }

    /// Send a batch of echoes, ring the doorbell as QEMU does, and wait for interrupts until all are back.
    fn round(&mut self, driver: &mut Driver, batch: usize) {
        driver.offer(batch);
        self.write_region(BAR as u32, NOTIFY, &[0, 0], FLAG_NO_REPLY);
        let mut back = 0;
        while back < batch {
            self.wait_for_interrupt();
            back += driver.collect(batch - back);
        }
    }
}

impl Client {
    /// The server has made the eventfd non-blocking, so wait for it first.
    fn wait_for_interrupt(&self) {
        let mut entry = libc::pollfd { fd: self.interrupt.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry, and a time-out.
        assert_eq!(unsafe { libc::poll(&mut entry, 1, 10_000) }, 1, "no interrupt for ten seconds");
        self.interrupt.read().unwrap();
    }
}

impl Registers for Client {
    fn read(&mut self, bar: usize, offset: u64, data: &mut [u8]) {
        let mut message = [0; 32];
        let header = Header { id: 1, command: command::REGION_READ, size: 32, flags: 0, error: 0 };
        message[..HEADER_SIZE].copy_from_slice(header.as_bytes());
        message[HEADER_SIZE..].copy_from_slice(RegionAccess { offset, region: bar as u32, count: data.len() as u32 }.as_bytes());
        self.stream.write_all(&message).unwrap();
        self.reply();
        data.copy_from_slice(&self.message[16..]);
    }

    fn write(&mut self, bar: usize, offset: u64, data: &[u8]) {
        self.write_region(bar as u32, offset, data, 0);
    }
}
