//! Our educational device and QEMU's own, driven with the same accesses: both must answer the same. Needs the QEMU that RIG_QEMU names.

mod common;
#[path = "../examples/edu/device.rs"]
mod device;

use std::time::{Duration, Instant};

use common::qtest::{Machine, qemu};
use device_model::testing::Registers;

const GUEST: u64 = 0x20_0000;
const BUFFER: u64 = 0x4_0000;

/// What a driver saw, as lines that can be compared.
struct Log(Vec<String>);

impl Log {
    fn read32(&mut self, machine: &mut Machine, offset: u64) -> u32 {
        let value = machine.read32(0, offset);
        self.0.push(format!("read32 {offset:#x} = {value:#x}"));
        value
    }

    fn read64(&mut self, machine: &mut Machine, offset: u64) {
        let mut data = [0; 8];
        machine.read(0, offset, &mut data);
        self.0.push(format!("read64 {offset:#x} = {:#x}", u64::from_le_bytes(data)));
    }

    fn pin(&mut self, machine: &mut Machine) {
        let asserted = machine.config(4) >> 16 & 8 != 0;
        self.0.push(format!("pin {asserted}"));
    }

    fn interrupts(&mut self, machine: &mut Machine) {
        self.read32(machine, 0x24);
        self.pin(machine);
    }
}

fn write32(machine: &mut Machine, offset: u64, value: u32) {
    machine.write(0, offset, &value.to_le_bytes());
}

fn write64(machine: &mut Machine, offset: u64, value: u64) {
    machine.write(0, offset, &value.to_le_bytes());
}

/// Wait for a bit to go away; QEMU's own device lives in the virtual time that qtest moves.
fn wait_clear(machine: &mut Machine, offset: u64, bit: u32) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while machine.read32(0, offset) & bit != 0 {
        assert!(Instant::now() < deadline, "register {offset:#x} stays busy");
        machine.command("clock_step 50000000");
    }
}

fn dma(machine: &mut Machine, source: u64, destination: u64, count: u64, command: u64) {
    write64(machine, 0x80, source);
    write64(machine, 0x88, destination);
    write64(machine, 0x90, count);
    write64(machine, 0x98, command);
    wait_clear(machine, 0x98, 1);
}

/// The script.
fn script(machine: &mut Machine) -> Vec<String> {
    let mut log = Log(Vec::new());
    log.0.push(format!("ids {:#x}, class {:#x}", machine.config(0), machine.config(8)));
    machine.place_bar(0, 0xfe00_0000);
    machine.set_config(4, 6);

    // Identification, liveness, and registers that are none.
    log.read32(machine, 0x00);
    for value in [0, 1, 0x1234_5678, u32::MAX] {
        write32(machine, 0x04, value);
        log.read32(machine, 0x04);
    }
    for offset in [0x0c, 0x28, 0x60, 0x64, 0xa0, 0x1000] {
        write32(machine, offset, 0);
        log.read32(machine, offset);
    }
    write64(machine, 0x00, 5);
    log.read64(machine, 0x00);
    log.interrupts(machine);

    // Factorials, with and without an interrupt.
    for value in [0, 1, 5, 12, 13, 20, 33, 34, 100] {
        write32(machine, 0x08, value);
        wait_clear(machine, 0x20, 1);
        log.read32(machine, 0x08);
    }
    log.interrupts(machine);
    write32(machine, 0x20, 0xff);
    log.read32(machine, 0x20);
    write32(machine, 0x08, 6);
    wait_clear(machine, 0x20, 1);
    let deadline = Instant::now() + Duration::from_secs(10);
    while machine.read32(0, 0x24) == 0 && Instant::now() < deadline {}
    log.interrupts(machine);
    write32(machine, 0x64, 1);
    log.interrupts(machine);
    write32(machine, 0x20, 0);

    // Interrupts at will.
    write32(machine, 0x60, 0x0f0);
    log.interrupts(machine);
    write32(machine, 0x60, 0x003);
    write32(machine, 0x64, 0x0f0);
    log.interrupts(machine);
    write32(machine, 0x64, 0xffff);
    log.interrupts(machine);
    write32(machine, 0x60, 0);
    log.interrupts(machine);

    // DMA there and back again.
    let memory = machine.memory.clone();
    let pattern: Vec<u8> = (0..4096_u32).map(|index| (index * 7 % 251) as u8).collect();
    memory.write_at(GUEST, &pattern).unwrap();
    dma(machine, GUEST, BUFFER, 4096, 1);
    log.interrupts(machine);
    dma(machine, BUFFER + 100, GUEST + 0x2000, 333, 1 | 2 | 4);
    log.interrupts(machine);
    write32(machine, 0x64, 0x100);
    log.interrupts(machine);
    let mut back = [0; 400];
    memory.read_at(GUEST + 0x2000, &mut back).unwrap();
    assert_eq!(back[..333], pattern[100..433], "the DMA engine moves the bytes");
    log.0.push(format!("{back:?}"));
    for offset in [0x80, 0x88, 0x90, 0x98] {
        log.read64(machine, offset);
        log.read32(machine, offset);
    }
    log.0
}

#[test]
fn our_edu_answers_as_qemus_own_does() {
    let Some(qemu) = qemu() else { return };
    let theirs = {
        let folder = tempfile::tempdir().unwrap();
        script(&mut Machine::start(&qemu, folder.path(), &["-device", "edu,addr=5"]))
    };
    let served = common::serve(device::Edu::default());
    let device =
        format!(r#"{{"driver":"vfio-user-pci","addr":"5","socket":{{"path":"{}","type":"unix"}}}}"#, served.socket.display());

    let ours = script(&mut Machine::start(&qemu, served.folder(), &["-device", &device]));

    assert!(theirs.len() > 40, "the script has looked at something");
    assert_eq!(ours, theirs);
}
