//! The relay hardware through QEMU, on both transports: what a guest's processor would see. Needs the QEMU that RIG_QEMU names.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::qtest::{Machine, qemu};
use device_model::relay::RelayDevice;
use device_model::testing::*;
use device_model::virtio::pci::VirtioPci;
use protocol::hardware::{AdminCommand, AdminOpcode, CONFIG_MAGIC, Opcode, QUEUE_SIZE, STATUS_PAGE};
use zerocopy::IntoBytes;

const OUT: u64 = 0x10_0000;
const IN: u64 = 0x20_0000;
const EVENTS: u64 = 0x30_0000;

fn vfio_user(served: &common::Served) -> String {
    format!(r#"{{"driver":"vfio-user-pci","addr":"5","socket":{{"path":"{}","type":"unix"}}}}"#, served.socket.display())
}

fn wait_used(queue: &mut DriverQueue) -> (u16, u32) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(used) = queue.used() {
            return used;
        }
        assert!(Instant::now() < deadline, "the device gives nothing back");
        std::thread::yield_now();
    }
}

/// The same for both transports: echo, hold and abort, an event, a delay; then a reset.
fn drive(machine: &mut Machine) {
    let memory = machine.memory.clone();
    let [mut commands, mut events, mut admin] =
        [0, 1, 2].map(|index| DriverQueue::new(memory.clone(), 0x1_0000 + index * DriverQueue::BYTES, QUEUE_SIZE));
    assert_eq!(machine.read32(BAR, CONFIG), 0x5941_4c52, "magic");
    let status = start_virtio(machine, VERSION_1, &[&commands, &events, &admin]);
    assert_eq!(status, RUNNING);

    // An echo.
    let bytes = command(1, Opcode::ECHO, 0, b"through QEMU");
    memory.write_at(OUT, &bytes).unwrap();
    let head = commands.add(&[Buffer::Out(OUT, bytes.len() as u32), Buffer::In(IN, 0x1000)]);
    machine.write(BAR, NOTIFY, &[0, 0]);
    assert_eq!(wait_used(&mut commands), (head, 28));
    let mut answer = [0; 12];
    memory.read_at(IN + 16, &mut answer).unwrap();
    assert_eq!(&answer, b"through QEMU");

    // A command that is held, and its abort.
    memory.write_at(OUT, &command(2, Opcode::HOLD, 0, b"")).unwrap();
    let head = commands.add(&[Buffer::Out(OUT, 32), Buffer::In(IN, 16)]);
    machine.write(BAR, NOTIFY, &[0, 0]);
    let abort = AdminCommand { tag: 9, opcode: AdminOpcode::ABORT, reserved: 0, target: 2, argument: 0 };
    memory.write_at(OUT + 0x1000, abort.as_bytes()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while machine.read32(BAR, CONFIG + 12) != 1 {
        assert!(Instant::now() < deadline, "the command is never held");
    }
    admin.add(&[Buffer::Out(OUT + 0x1000, 32), Buffer::In(IN + 0x1000, 16)]);
    machine.write(BAR, NOTIFY + 8, &[2, 0]);
    assert_eq!(wait_used(&mut admin).1, 16);
    assert_eq!(wait_used(&mut commands), (head, 16));

    // An event, and a command that takes its time.
    events.add(&[Buffer::In(EVENTS, 24)]);
    machine.write(BAR, NOTIFY + 4, &[1, 0]);
    let once = AdminCommand { tag: 10, opcode: AdminOpcode::EVENT_ONCE, reserved: 0, target: 0, argument: 0x77 };
    memory.write_at(OUT + 0x1000, once.as_bytes()).unwrap();
    admin.add(&[Buffer::Out(OUT + 0x1000, 32), Buffer::In(IN + 0x1000, 16)]);
    machine.write(BAR, NOTIFY + 8, &[2, 0]);
    assert_eq!(wait_used(&mut events).1, 24);
    memory.write_at(OUT, &command(3, Opcode::DELAY, 5_000, b"")).unwrap();
    let start = Instant::now();
    commands.add(&[Buffer::Out(OUT, 32), Buffer::In(IN, 16)]);
    machine.write(BAR, NOTIFY, &[0, 0]);
    assert_eq!(wait_used(&mut commands).1, 16);
    assert!(start.elapsed() >= Duration::from_millis(5));

    // After a reset the same works again, and the counters have begun anew.
    machine.write(BAR, STATUS, &[0]);
    assert_eq!(machine.read8(BAR, STATUS), 0);
    assert_eq!(machine.read32(BAR, CONFIG + 16), 0, "commands taken");
    let mut commands = DriverQueue::new(memory.clone(), 0x1_0000, QUEUE_SIZE);
    assert_eq!(start_virtio(machine, VERSION_1, &[&commands, &events, &admin]), RUNNING);
    memory.write_at(OUT, &command(4, Opcode::ECHO, 0, b"")).unwrap();
    commands.add(&[Buffer::Out(OUT, 32), Buffer::In(IN, 16)]);
    machine.write(BAR, NOTIFY, &[0, 0]);
    assert_eq!(wait_used(&mut commands), (0, 16));
}

#[test]
fn the_relay_hardware_works_through_vfio_user() {
    let Some(qemu) = qemu() else { return };
    let served = common::serve(VirtioPci::new(RelayDevice::with_status_page().unwrap()));
    let mut machine = Machine::start(&qemu, served.folder(), &["-device", &vfio_user(&served)]);
    machine.place_bar(0, 0xfe00_0000);
    machine.place_bar(2, 0xfe01_0000);
    machine.set_config(4, 6);

    drive(&mut machine);
    assert_eq!(machine.read32(BAR, STATUS_PAGE), CONFIG_MAGIC);
}

#[test]
fn msix_arrives_in_guest_memory() {
    let Some(qemu) = qemu() else { return };
    let served = common::serve(VirtioPci::new(RelayDevice::new()));
    let mut machine = Machine::start(&qemu, served.folder(), &["-device", &vfio_user(&served)]);
    machine.place_bar(0, 0xfe00_0000);
    machine.place_bar(2, 0xfe01_0000);
    machine.set_config(4, 6);
    // Vector 1 writes its message into memory, where this test can see it.
    let target = 0x40_0000_u64;
    machine.write(0, 16, &(target as u32).to_le_bytes());
    machine.write(0, 20, &0_u32.to_le_bytes());
    machine.write(0, 24, &0xcafe_u32.to_le_bytes());
    machine.write(0, 28, &0_u32.to_le_bytes());
    let at = machine.capability(0x11);
    machine.set_config(at, 0x8000_0000);
    let memory = machine.memory.clone();
    let mut commands = DriverQueue::new(memory.clone(), 0x1_0000, QUEUE_SIZE);
    assert_eq!(start_virtio(&mut machine, VERSION_1, &[&commands]), RUNNING);
    memory.write_at(OUT, &command(1, Opcode::ECHO, 0, b"")).unwrap();

    commands.add(&[Buffer::Out(OUT, 32), Buffer::In(IN, 16)]);
    machine.write(BAR, NOTIFY, &[0, 0]);

    assert_eq!(wait_used(&mut commands), (0, 16));
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut message = [0; 4];
    while message != 0xcafe_u32.to_le_bytes() {
        assert!(Instant::now() < deadline, "the message never comes");
        // QEMU's loop must run for the eventfd to be seen.
        machine.read8(BAR, STATUS);
        memory.read_at(target, &mut message).unwrap();
    }
}

#[test]
fn the_relay_hardware_works_through_vhost_user() {
    let Some(qemu) = qemu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("device");
    // The program itself, so that its sandbox is tried on this transport too.
    let mut program = Command::new(env!("CARGO_BIN_EXE_device-model"))
        .args(["serve", "relay", "--transport", "vhost-user", "--socket"])
        .arg(&socket)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("ready "));
    let chardev = format!("socket,id=c0,path={}", socket.display());
    let device = "vhost-user-test-device-pci,addr=5,chardev=c0,virtio-id=21,num_vqs=3,vq_size=256,config_size=48";
    {
        let mut machine = Machine::start(&qemu, folder.path(), &["-chardev", &chardev, "-device", device]);
        assert_eq!(machine.config(0), 0x1055_1af4);
        // QEMU lays its registers out as our own PCI adapter does.
        assert_eq!([1, 3, 4, 2].map(|kind| machine.virtio_structure(kind)), [0, 0x1000, 0x2000, 0x3000].map(|at| (BAR, at)));
        machine.place_bar(BAR, 0xfe01_0000);
        machine.set_config(4, 6);

        drive(&mut machine);
    }
    // The virtual machine has gone; the program serves on, and stops when it is told to.
    // SAFETY: the child has not been waited for, so its id is still its own.
    assert_eq!(unsafe { libc::kill(program.id() as i32, libc::SIGTERM) }, 0);
    assert_eq!(program.wait().unwrap().code(), Some(0));
}
