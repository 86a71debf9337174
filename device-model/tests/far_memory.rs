//! Memory that the client maps without a descriptor: the device reads and writes it by messages, and nobody waits for anybody.

#[allow(dead_code, reason = "its main is not called here")]
#[path = "../examples/alarm.rs"]
mod alarm;
mod common;
#[path = "../examples/edu/device.rs"]
mod edu;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::raw::Raw;
use device_model::memory::{Memory, Region};
use device_model::relay::RelayDevice;
use device_model::serve::vfio_user::message::*;
use device_model::testing::*;
use device_model::virtio::pci::VirtioPci;
use protocol::hardware::{Opcode, QUEUE_SIZE};
use vfio_bindings::bindings::vfio::*;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use zerocopy::{FromBytes, IntoBytes};

const CONFIG_REGION: u32 = VFIO_PCI_CONFIG_REGION_INDEX;
const SIZE: u64 = 0x40_0000;
const GUEST: u64 = 0x2000;
const OUT: u64 = 0x10_0000;
const IN: u64 = 0x20_0000;
/// The edu device: its buffer, its command register, and the bits of it.
const BUFFER: u64 = 0x4_0000;
const COMMAND: u64 = 0x98;
const RUN: u64 = 1;
const TO_GUEST: u64 = 3;

/// A client that shares nothing and answers requests for its memory, when it is told to.
struct Client {
    raw: Raw,
    memory: Arc<Memory>,
    /// Requests of the server that are not answered yet.
    asked: VecDeque<(Header, Vec<u8>)>,
    /// Command and length of those that are.
    answered: Vec<(u16, usize)>,
}

impl Client {
    fn connect(served: &common::Served, max_transfer: usize) -> Self {
        let memory = Arc::new(Memory::default().with(Region::anonymous(0, SIZE).unwrap()).unwrap());
        let mut client = Self { raw: Raw::connect(served), memory, asked: VecDeque::new(), answered: Vec::new() };
        let version = format!("\0\0\x01\0{{\"capabilities\":{{\"max_data_xfer_size\":{max_transfer}}}}}\0");
        client.call(command::VERSION, version.as_bytes());
        let map = DmaMap { argsz: 32, flags: DMA_READ | DMA_WRITE, offset: 0, address: 0, size: SIZE };
        client.call(command::DMA_MAP, map.as_bytes());
        client.write_region(CONFIG_REGION, 4, &[6, 0]);
        client
    }

    fn message(&mut self) -> (Header, Vec<u8>) {
        let mut bytes = [0; HEADER_SIZE];
        self.raw.stream.read_exact(&mut bytes).expect("a message");
        let header = Header::read_from_bytes(&bytes).unwrap();
        let mut body = vec![0; header.size as usize - HEADER_SIZE];
        self.raw.stream.read_exact(&mut body).unwrap();
        (header, body)
    }

    /// Ask the server; what it asks meanwhile is kept.
    fn call(&mut self, command: u16, body: &[u8]) -> Vec<u8> {
        let header = self.raw.header(command, HEADER_SIZE + body.len(), 0);
        self.raw.stream.write_all(&[header.as_bytes(), body].concat()).unwrap();
        loop {
            let (found, body) = self.message();
            if found.flags & FLAG_TYPE == FLAG_REPLY {
                assert_eq!((found.id, found.flags & FLAG_ERROR), (header.id, 0));
                return body;
            }
            self.asked.push_back((found, body));
        }
    }

    fn write_region(&mut self, region: u32, offset: u64, data: &[u8]) {
        let access = RegionAccess { offset, region, count: data.len() as u32 };
        self.call(command::REGION_WRITE, &[access.as_bytes(), data].concat());
    }

    /// The next request of the server.
    fn request(&mut self) -> (Header, Vec<u8>) {
        self.asked.pop_front().unwrap_or_else(|| self.message())
    }

    fn reply(&mut self, header: Header, flags: u32, body: &[u8]) {
        let size = (HEADER_SIZE + body.len()) as u32;
        let header = Header { size, flags: FLAG_REPLY | flags, error: u32::from(flags != 0), ..header };
        self.raw.stream.write_all(&[header.as_bytes(), body].concat()).unwrap();
    }

    /// Do what the server asks.
    fn answer(&mut self) {
        let (header, body) = self.request();
        let (access, data) = DmaAccess::read_from_prefix(&body).unwrap();
        self.answered.push((header.command, access.count as usize));
        if header.command == command::DMA_WRITE {
            assert_eq!(data.len() as u64, access.count);
            self.memory.write_at(access.address, data).unwrap();
            self.reply(header, 0, access.as_bytes());
        } else {
            assert_eq!((header.command, data.len()), (command::DMA_READ, 0));
            let mut data = vec![0; access.count as usize];
            self.memory.read_at(access.address, &mut data).unwrap();
            self.reply(header, 0, &[access.as_bytes(), &data].concat());
        }
    }

    /// Answer what has been asked already, without waiting for more.
    fn answer_asked(&mut self) {
        while !self.asked.is_empty() {
            self.answer();
        }
    }

    fn register(&mut self, offset: u64) -> u64 {
        let mut data = [0; 8];
        self.read(0, offset, &mut data);
        u64::from_le_bytes(data)
    }

    fn transfer(&mut self, source: u64, destination: u64, count: u64, command: u64) {
        for (offset, value) in [(0x80, source), (0x88, destination), (0x90, count), (COMMAND, command)] {
            self.write(0, offset, &value.to_le_bytes());
        }
    }

    /// Answer until the edu device's engine stands still.
    fn run_engine(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.register(COMMAND) & RUN != 0 {
            assert!(Instant::now() < deadline, "the transfer never ends");
            self.answer_asked();
        }
    }
}

impl Registers for Client {
    fn read(&mut self, bar: usize, offset: u64, data: &mut [u8]) {
        let access = RegionAccess { offset, region: bar as u32, count: data.len() as u32 };
        data.copy_from_slice(&self.call(command::REGION_READ, access.as_bytes())[16..]);
    }

    fn write(&mut self, bar: usize, offset: u64, data: &[u8]) {
        self.write_region(bar as u32, offset, data);
    }
}

#[test]
fn a_device_reads_and_writes_by_messages_that_are_cut_as_agreed() {
    let served = common::serve(edu::Edu::default());
    let mut client = Client::connect(&served, 1000);
    let pattern: Vec<u8> = (0..4096_u32).map(|index| (index * 7 % 251) as u8).collect();
    client.memory.write_at(GUEST, &pattern).unwrap();

    client.transfer(GUEST, BUFFER, 4096, RUN);
    client.run_engine();
    client.transfer(BUFFER + 96, GUEST + 0x2000, 4000, TO_GUEST);
    client.run_engine();

    let mut back = vec![0; 4000];
    client.memory.read_at(GUEST + 0x2000, &mut back).unwrap();
    assert_eq!(back, pattern[96..]);
    let reads = [1000, 1000, 1000, 1000, 96].map(|count| (command::DMA_READ, count));
    let writes = [(command::DMA_WRITE, 1000); 4];
    assert_eq!(client.answered, [&reads[..], &writes].concat());
}

#[test]
fn registers_are_answered_while_a_transfer_is_under_way() {
    let served = common::serve(edu::Edu::default());
    let mut client = Client::connect(&served, 1 << 20);
    client.transfer(GUEST, BUFFER, 16, RUN);
    let request = client.request();
    client.asked.push_front(request);

    for value in 0..100_u32 {
        client.write(0, 0x04, &value.to_le_bytes());
        assert_eq!(client.read32(0, 0x04), !value);
        assert_eq!(client.register(COMMAND) & RUN, RUN, "under way");
    }

    client.run_engine();
}

#[test]
fn an_interrupt_comes_behind_the_bytes_of_which_it_tells() {
    let served = common::serve(alarm::Alarm::default());
    let mut client = Client::connect(&served, 1 << 20);
    let pin = EventFd::new(EFD_NONBLOCK).unwrap();
    let flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    let set = SetIrqs { argsz: 20, flags, index: VFIO_PCI_INTX_IRQ_INDEX, start: 0, count: 1 };
    client.raw.call_with(command::SET_IRQS, set.as_bytes(), &[pin.as_raw_fd()]).unwrap();
    client.write(0, 0x10, &GUEST.to_le_bytes());
    client.write(0, 0x04, &1_u32.to_le_bytes());

    let request = client.request();
    assert_eq!(client.read32(0, 0x08), 1, "the alarm has rung");
    assert!(pin.read().is_err(), "the count is not there yet");
    client.asked.push_front(request);
    client.answer();

    // The server has seen the answer when it answers the next message.
    client.read32(0, 0x08);
    assert!(pin.read().is_ok());
    let mut count = [0];
    client.memory.read_at(GUEST, &mut count).unwrap();
    assert_eq!(count, [1]);
}

#[test]
fn a_transfer_that_is_refused_fails_and_the_next_one_works() {
    let served = common::serve(edu::Edu::default());
    let mut client = Client::connect(&served, 1 << 20);
    client.transfer(GUEST, BUFFER, 16, RUN);
    let (header, _) = client.request();
    client.reply(header, FLAG_ERROR, &[]);
    client.run_engine();

    // Nor does a reply that is too short do harm, nor one to a request that was never made.
    client.transfer(GUEST, BUFFER, 16, RUN);
    let (header, body) = client.request();
    client.reply(Header { id: header.id.wrapping_add(7), ..header }, 0, &body);
    client.reply(header, 0, &body[..8]);
    client.run_engine();

    client.memory.write_at(GUEST, b"here at last").unwrap();
    client.transfer(GUEST, BUFFER, 12, RUN);
    client.run_engine();
    client.transfer(BUFFER, GUEST + 0x1000, 12, TO_GUEST);
    client.run_engine();
    let mut back = [0; 12];
    client.memory.read_at(GUEST + 0x1000, &mut back).unwrap();
    assert_eq!(&back, b"here at last");
}

#[test]
fn an_answer_that_comes_after_a_reset_is_for_nobody() {
    let served = common::serve(edu::Edu::default());
    let mut client = Client::connect(&served, 1 << 20);
    client.transfer(GUEST, BUFFER, 16, RUN);
    let request = client.request();

    client.call(command::RESET, &[]);
    client.write_region(CONFIG_REGION, 4, &[6, 0]);
    client.asked.push_front(request);
    client.answer();

    assert_eq!(client.register(COMMAND), 0);
    client.transfer(GUEST, BUFFER, 16, RUN);
    client.run_engine();
}

#[test]
fn a_client_that_goes_in_the_middle_leaves_a_server_for_the_next() {
    let served = common::serve(edu::Edu::default());
    for _ in 0..3 {
        let mut client = Client::connect(&served, 1 << 20);
        client.transfer(GUEST, BUFFER, 16, RUN);
        client.request();
    }

    let mut client = Client::connect(&served, 1 << 20);
    client.transfer(GUEST, BUFFER, 16, RUN);
    client.run_engine();
}

#[test]
fn what_is_unmapped_is_not_asked_for() {
    let served = common::serve(edu::Edu::default());
    let mut client = Client::connect(&served, 1 << 20);
    let all = DmaUnmap { argsz: 24, flags: VFIO_DMA_UNMAP_FLAG_ALL, address: 0, size: 0 };
    client.call(command::DMA_UNMAP, all.as_bytes());

    client.transfer(GUEST, BUFFER, 16, RUN);
    client.run_engine();

    assert!(client.answered.is_empty() && client.asked.is_empty());
}

#[test]
fn virtqueues_work_by_messages() {
    let served = common::serve(VirtioPci::new(RelayDevice::new()));
    let mut client = Client::connect(&served, 500);
    let mut commands = DriverQueue::new(client.memory.clone(), 0x1_0000, QUEUE_SIZE);
    assert_eq!(start_virtio(&mut client, VERSION_1, &[&commands]), RUNNING);

    for round in 0..3_u8 {
        let bytes = command(1, Opcode::ECHO, 0, &[round; 2000]);
        client.memory.write_at(OUT, &bytes).unwrap();
        let head = commands.add(&[Buffer::Out(OUT, bytes.len() as u32), Buffer::In(IN, 0x1000)]);
        client.write(BAR, NOTIFY, &[0, 0]);
        let used = loop {
            client.answer();
            if let Some(used) = commands.used() {
                break used;
            }
        };
        assert_eq!(used, (head, 2016));
        let mut answer = [0xff; 2000];
        client.memory.read_at(IN + 16, &mut answer).unwrap();
        assert_eq!(answer, [round; 2000]);
    }
}
