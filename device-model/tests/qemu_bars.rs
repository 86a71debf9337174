//! BARs of every kind, and memory that is not shared, through QEMU. Needs the QEMU that RIG_QEMU names.

mod common;
#[path = "../examples/edu/device.rs"]
mod edu;

use std::time::{Duration, Instant};

use common::qtest::{Machine, qemu};
use device_model::device::{Bar, Bus, Device, Identity, answer, bars};
use device_model::relay::RelayDevice;
use device_model::testing::*;
use device_model::virtio::pci::VirtioPci;
use protocol::hardware::{Opcode, QUEUE_SIZE};

const PORTS: usize = 0;
const WIDE: usize = 2;
const NARROW: usize = 4;
/// Registers of each BAR that keep what is written.
const KEPT: u64 = 0x10;

fn vfio_user(served: &common::Served) -> String {
    format!(r#"{{"driver":"vfio-user-pci","addr":"5","socket":{{"path":"{}","type":"unix"}}}}"#, served.socket.display())
}

/// A device with a BAR of each kind; each keeps two registers of 8 bytes, and says at offset 0x20 which BAR it is.
#[derive(Default)]
struct Kinds([[u8; KEPT as usize]; 6]);

impl Device for Kinds {
    fn identity(&self) -> Identity {
        Identity {
            vendor: 0x1234,
            device: 0xba25,
            class: 0xff_00_00,
            bars: bars([
                (PORTS, Bar::ports(0x40)),
                (WIDE, Bar { prefetchable: true, ..Bar::memory64(8 << 30) }),
                (NARROW, Bar::memory32(0x1000)),
            ]),
            ..Identity::default()
        }
    }

    fn read_bar(&mut self, bar: usize, offset: u64, data: &mut [u8], _bus: &mut dyn Bus) {
        match offset {
            ..KEPT => data.copy_from_slice(&self.0[bar][offset as usize..offset as usize + data.len()]),
            // The last bytes of the large one, and the middle of the others.
            _ => answer(data, bar as u64 | offset << 8),
        }
    }

    fn write_bar(&mut self, bar: usize, offset: u64, data: &[u8], _bus: &mut dyn Bus) {
        if offset < KEPT {
            self.0[bar][offset as usize..offset as usize + data.len()].copy_from_slice(data);
        }
    }

    fn reset(&mut self, _bus: &mut dyn Bus) {
        *self = Self::default();
    }
}

#[test]
fn ports_and_memory_above_four_gigabytes_reach_the_device_and_a_rom_is_absent() {
    let Some(qemu) = qemu() else { return };
    let served = common::serve(Kinds::default());
    let mut machine = Machine::start(&qemu, served.folder(), &["-device", &vfio_user(&served)]);

    // Sizes and kinds, as firmware finds them.
    assert_eq!(machine.bar_mask(PORTS), 0xffff_ffc1);
    assert_eq!(machine.bar_mask(WIDE), 0xffff_fffe_0000_000c);
    assert_eq!(machine.bar_mask(NARROW), 0xffff_f000);
    assert_eq!([1, 5].map(|bar| machine.bar_mask(bar)), [0, 0], "no such BAR");
    machine.set_config(0x30, u32::MAX);
    assert_eq!(machine.config(0x30), 0, "no ROM");

    // Above 4 GiB, with both halves of the address.
    machine.place_bar(WIDE, 0x20_0000_0000);
    machine.place_bar(NARROW, 0xfe00_0000);
    machine.set_config(0x10, 0xc000);
    machine.set_config(4, 7);
    machine.write(WIDE, 0x8, &0x1122_3344_5566_7788_u64.to_le_bytes());
    assert_eq!(machine.read32(WIDE, 0xc), 0x1122_3344);
    assert_eq!(machine.read32(WIDE, (8 << 30) - 4), (0xffff_fffc_u32 << 8) | WIDE as u32, "the end of it");
    machine.write(NARROW, 0x4, &0xaabb_ccdd_u32.to_le_bytes());
    assert_eq!((machine.read16(NARROW, 4), machine.read8(NARROW, 7)), (0xccdd, 0xaa));

    // Ports, by each width there is.
    machine.command("outl 0xc000 0x01020304");
    machine.command("outb 0xc001 0xff");
    machine.command("outw 0xc006 0xbeef");
    let port = |machine: &mut Machine, command: &str| {
        u32::from_str_radix(machine.command(command)[0].trim_start_matches("0x"), 16).unwrap()
    };
    assert_eq!(port(&mut machine, "inl 0xc000"), 0x0102_ff04);
    assert_eq!(port(&mut machine, "inw 0xc006"), 0xbeef);
    assert_eq!(port(&mut machine, "inb 0xc007"), 0xbe);
    assert_eq!(port(&mut machine, "inl 0xc020"), 0x2000);
    assert_eq!(machine.read32(WIDE, 0), 0, "each BAR is its own");

    // Without decoding, nobody answers.
    machine.set_config(4, 2);
    assert_eq!(port(&mut machine, "inl 0xc000"), u32::MAX);
    assert_eq!(machine.read32(NARROW, 4), 0xaabb_ccdd);
}

#[test]
fn the_edu_devices_dma_reaches_memory_that_qemu_does_not_share() {
    let Some(qemu) = qemu() else { return };
    let served = common::serve(edu::Edu::default());
    let mut machine = Machine::start_unshared(&qemu, &["-device", &vfio_user(&served)]);
    machine.place_bar(0, 0xfe00_0000);
    machine.set_config(4, 6);
    let pattern: Vec<u8> = (0..4096_u32).map(|index| (index * 7 % 251) as u8).collect();
    machine.memory.write_at(0x20_0000, &pattern).unwrap();
    machine.upload(0x20_0000, 4096);

    for (source, destination, command) in [(0x20_0000_u64, 0x4_0000_u64, 1_u64), (0x4_0000 + 96, 0x30_0000, 1 | 2 | 4)] {
        for (offset, word) in [(0x80, source), (0x88, destination), (0x90, 4000), (0x98, command)] {
            machine.write(0, offset, &word.to_le_bytes());
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        // A register is read all the time: QEMU holds its lock while it waits for that, and answers the device in between.
        while machine.read32(0, 0x98) & 1 != 0 {
            assert!(Instant::now() < deadline, "the transfer never ends");
        }
    }

    assert_eq!(machine.read32(0, 0x24), 0x100, "the transfer's interrupt");
    machine.download(0x30_0000, 4000);
    let mut back = vec![0; 4000];
    machine.memory.read_at(0x30_0000, &mut back).unwrap();
    // Of the first 4000 bytes in the buffer, those from 96 on; behind them it is empty.
    assert_eq!((&back[..3904], &back[3904..]), (&pattern[96..4000], &[0; 96][..]));
}

#[test]
fn the_relay_hardware_works_in_memory_that_qemu_does_not_share() {
    let Some(qemu) = qemu() else { return };
    let served = common::serve(VirtioPci::new(RelayDevice::new()));
    let mut machine = Machine::start_unshared(&qemu, &["-device", &vfio_user(&served)]);
    machine.place_bar(0, 0xfe00_0000);
    machine.place_bar(2, 0xfe01_0000);
    machine.set_config(4, 6);
    let memory = machine.memory.clone();
    let mut commands = DriverQueue::new(memory.clone(), 0x1_0000, QUEUE_SIZE);
    machine.upload(0x1_0000, DriverQueue::BYTES as usize);
    assert_eq!(start_virtio(&mut machine, VERSION_1, &[&commands]), RUNNING);

    for payload in [&b"never shared"[..], &[], &[0; 100], &[0x5a; 3000]] {
        let bytes = command(1, Opcode::ECHO, 0, payload);
        memory.write_at(0x10_0000, &bytes).unwrap();
        let head = commands.add(&[Buffer::Out(0x10_0000, bytes.len() as u32), Buffer::In(0x20_0000, 0x1000)]);
        machine.upload(0x10_0000, bytes.len());
        machine.upload(commands.descriptors(), 0x2000);
        machine.write(BAR, NOTIFY, &[0, 0]);
        let deadline = Instant::now() + Duration::from_secs(10);
        let used = loop {
            assert!(Instant::now() < deadline, "the device gives nothing back");
            machine.read8(BAR, STATUS);
            machine.download(commands.used_ring(), 0x1000);
            if let Some(used) = commands.used() {
                break used;
            }
        };
        assert_eq!(used, (head, 16 + payload.len() as u32));
        machine.download(0x20_0000, 16 + payload.len());
        let mut answer = vec![0xff; payload.len()];
        memory.read_at(0x20_0010, &mut answer).unwrap();
        assert_eq!(answer, payload);
    }
}
