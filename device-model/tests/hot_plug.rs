//! The device is taken out of a running machine and put in again: QEMU disconnects and comes back, and finds a device after power-on.
//! Needs the QEMU that RIG_QEMU names.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::qtest::{Machine, qemu};
use device_model::device::{Bus, Device, Identity};
use device_model::relay::RelayDevice;
use device_model::testing::*;
use device_model::virtio::pci::VirtioPci;
use protocol::hardware::{Opcode, QUEUE_SIZE};

const DEADLINE: Duration = Duration::from_secs(20);
const SLOT: u32 = 5;

/// QEMU's monitor.
struct Monitor(BufReader<UnixStream>);

impl Monitor {
    fn connect(path: &Path) -> Self {
        let deadline = Instant::now() + DEADLINE;
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "no monitor: {error}"),
            }
            std::thread::yield_now();
        };
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut monitor = Self(BufReader::new(stream));
        monitor.wait_for("QMP");
        monitor.execute("qmp_capabilities", "{}");
        monitor
    }

    fn execute(&mut self, command: &str, arguments: &str) {
        writeln!(self.0.get_mut(), "{{\"execute\":\"{command}\",\"arguments\":{arguments}}}").unwrap();
        self.wait_for("\"return\"");
    }

    fn wait_for(&mut self, word: &str) {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "QEMU has gone");
            assert!(!line.contains("\"error\""), "{line}");
        }
    }
}

/// One echo through a device that has just been plugged in.
fn echo(machine: &mut Machine) {
    machine.place_bar(0, 0xfe00_0000);
    machine.place_bar(BAR, 0xfe01_0000);
    machine.set_config(4, 6);
    assert_eq!(machine.config(0), 0x1055_1af4);
    assert_eq!(machine.read8(BAR, STATUS), 0, "a device after power-on");
    let memory = machine.memory.clone();
    let mut commands = DriverQueue::new(memory.clone(), 0x1_0000, QUEUE_SIZE);
    let others = [1, 2].map(|index| DriverQueue::new(memory.clone(), 0x1_0000 + index * DriverQueue::BYTES, QUEUE_SIZE));
    assert_eq!(start_virtio(machine, VERSION_1, &[&commands, &others[0], &others[1]]), RUNNING);
    memory.write_at(0x10_0000, &command(1, Opcode::ECHO, 0, b"")).unwrap();
    commands.add(&[Buffer::Out(0x10_0000, 32), Buffer::In(0x20_0000, 16)]);
    machine.write(BAR, NOTIFY, &[0, 0]);
    let deadline = Instant::now() + DEADLINE;
    while commands.used().is_none() {
        assert!(Instant::now() < deadline, "the device gives nothing back");
        std::thread::yield_now();
    }
    assert_eq!(machine.read32(BAR, CONFIG + 16), 1, "commands taken since power-on");
}

/// The program, stopped when this is dropped.
struct Program(std::process::Child);

impl Program {
    fn start(transport: &str, socket: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_device-model"))
            .args(["serve", "relay", "--transport", transport, "--log", "warn", "--socket"])
            .arg(socket)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready "));
        Self(child)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Out and in again, twice, with the device at work each time. `between` sees to what else must be new.
fn plug(folder: &Path, words: &[String], device: &str, between: impl Fn(&mut Monitor)) {
    let Some(qemu) = qemu() else { return };
    let door = folder.join("monitor");
    let mut all = vec!["-qmp".to_owned(), format!("unix:{},server=on,wait=off", door.display())];
    all.extend_from_slice(words);
    all.extend(["-device".to_owned(), device.to_owned()]);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    // A machine whose slots a driver ejects by a port.
    let mut machine = Machine::start_as("pc", &qemu, folder, &all);
    let mut monitor = Monitor::connect(&door);
    echo(&mut machine);
    for _ in 0..2 {
        monitor.execute("device_del", r#"{"id":"dut"}"#);
        machine.command("outl 0xae10 0");
        machine.command(&format!("outl 0xae08 {:#x}", 1 << SLOT));
        monitor.wait_for("DEVICE_DELETED");
        assert_eq!(machine.config(0), u32::MAX, "the slot is empty");
        between(&mut monitor);
        monitor.execute("device_add", device);
        echo(&mut machine);
    }
}

/// The relay hardware without MSI-X.
struct WithoutMessages(VirtioPci<RelayDevice>);

impl Device for WithoutMessages {
    fn identity(&self) -> Identity {
        Identity { msix: None, ..self.0.identity() }
    }
    fn read_bar(&mut self, bar: usize, offset: u64, data: &mut [u8], bus: &mut dyn Bus) {
        self.0.read_bar(bar, offset, data, bus);
    }
    fn write_bar(&mut self, bar: usize, offset: u64, data: &[u8], bus: &mut dyn Bus) {
        self.0.write_bar(bar, offset, data, bus);
    }
    fn reset(&mut self, bus: &mut dyn Bus) {
        self.0.reset(bus);
    }
    fn next_wake(&self) -> Option<u64> {
        self.0.next_wake()
    }
    fn wake(&mut self, bus: &mut dyn Bus) {
        self.0.wake(bus);
    }
}

/// QEMU (10.1 to 11.1) takes a vfio-user device's MSI-X region apart after its BAR has gone, and dies of it: so this device has none.
#[test]
fn a_device_on_vfio_user_is_taken_out_and_put_in_again() {
    let served = common::serve(WithoutMessages(VirtioPci::new(RelayDevice::new())));
    let device = format!(
        r#"{{"driver":"vfio-user-pci","id":"dut","bus":"pci.0","addr":"{SLOT}","socket":{{"path":"{}","type":"unix"}}}}"#,
        served.socket.display()
    );
    plug(served.folder(), &[], &device, |_| ());
}

/// The chardev outlives the device, and its connection is used up: it is replaced.
#[test]
fn a_device_on_vhost_user_is_taken_out_and_put_in_again() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("device");
    let _program = Program::start("vhost-user", &socket);
    let path = socket.display();
    let words = ["-chardev".to_owned(), format!("socket,id=c0,path={path}")];
    let device = format!(
        r#"{{"driver":"vhost-user-test-device-pci","id":"dut","bus":"pci.0","addr":"{SLOT}","chardev":"c0","virtio-id":21,"num_vqs":3,"vq_size":256,"config_size":48}}"#
    );
    plug(folder.path(), &words, &device, |monitor| {
        monitor.execute("chardev-remove", r#"{"id":"c0"}"#);
        let address = format!(r#"{{"type":"unix","data":{{"path":"{path}"}}}}"#);
        let backend = format!(r#"{{"type":"socket","data":{{"addr":{address},"server":false}}}}"#);
        monitor.execute("chardev-add", &format!(r#"{{"id":"c0","backend":{backend}}}"#));
    });
}
