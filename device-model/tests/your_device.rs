//! The examples that `docs/your-device.md` teaches from: the page shows them as they are, and they do what it says.

#[allow(dead_code, reason = "its main is not called here")]
#[path = "../examples/alarm.rs"]
mod alarm;
#[allow(dead_code, reason = "its main is not called here")]
#[path = "../examples/entropy.rs"]
mod entropy;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use alarm::Alarm;
use device_model::fault::{FaultyVirtio, Kind, Plan};
use device_model::pci::Function;
use device_model::testing::*;
use device_model::trace::{Reader, What};
use device_model::virtio::pci::VirtioPci;
use entropy::Entropy;

#[test]
fn the_page_shows_the_examples_as_they_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../docs/your-device.md")).unwrap();
    let blocks: Vec<&str> = page.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    for name in ["alarm.rs", "entropy.rs"] {
        let example = std::fs::read_to_string(root.join("examples").join(name)).unwrap();
        let code = &example[example.find("use ").unwrap()..];
        assert!(blocks.contains(&code), "docs/your-device.md does not show {name} as it is");
    }
}

#[test]
fn an_alarm_rings_when_its_time_has_come_and_leaves_the_count_in_memory() {
    let mut machine = Machine::new(Function::new(Box::new(Alarm::default())).unwrap(), 0x10_0000);
    machine.write(0, 0x10, &0x8000_u64.to_le_bytes());
    machine.write(0, 0x04, &250_u32.to_le_bytes());

    machine.wires.now = 249_999;
    assert!(machine.settle(10));
    assert_eq!((machine.read32(0, 0x08), machine.wires.pin), (0, false));
    machine.wires.now = 250_000;
    assert!(machine.settle(10));

    assert_eq!((machine.read32(0, 0x08), machine.wires.pin), (1, true));
    let mut count = [0; 4];
    machine.wires.memory.read_at(0x8000, &mut count).unwrap();
    assert_eq!(count, [1, 0, 0, 0]);
    machine.write(0, 0x18, &[1, 0, 0, 0]);
    assert!(!machine.wires.pin);
}

#[test]
fn the_entropy_source_fills_what_it_is_given_and_fails_as_planned() {
    let echo = |device: Box<dyn device_model::device::Device>| {
        let mut machine = Machine::new(Function::new(device).unwrap(), 0x10_0000);
        let mut queue = DriverQueue::new(machine.wires.memory.clone(), 0x1_0000, 64);
        assert_eq!(start_virtio(&mut machine, VERSION_1, &[&queue]), RUNNING);
        queue.add(&[Buffer::In(0x8000, 10), Buffer::In(0x9000, 1000)]);
        machine.write(BAR, NOTIFY, &[0, 0]);
        assert!(machine.settle(10));
        let mut bytes = [0; 10];
        machine.wires.memory.read_at(0x8000, &mut bytes).unwrap();
        (queue.used(), bytes)
    };

    let (used, bytes) = echo(Box::new(VirtioPci::new(Entropy::default())));
    assert_eq!(used, Some((0, 256)));
    assert_ne!(bytes, [0; 10]);

    let plan = Plan::new(1).with(Kind::UsedTooShort, |fault| fault.bytes = 6);
    assert_eq!(echo(Box::new(VirtioPci::new(FaultyVirtio::new(Entropy::default(), &plan)))), (Some((0, 250)), bytes));
}

/// What `cargo test` has built of an example; `None`, said aloud, where only this test was asked for.
fn example(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_device-model")).with_file_name("examples").join(name);
    if !path.is_file() {
        println!("SKIP: {} is not built; `cargo test -p device-model` builds it", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn one_call_makes_a_program_with_a_socket_faults_a_trace_and_a_clean_end() {
    let Some(program) = example("alarm") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (socket, plan) = (folder.path().join("mine.sock"), folder.path().join("plan.toml"));
    std::fs::write(&plan, "[[fault]]\nkind = \"read-times-out\"\nafter = 1\n").unwrap();
    let trace = folder.path().join("mine.trace");
    let mut child = Command::new(&program)
        .arg(&socket)
        .args(["--note", "why=a test", "--record"])
        .arg(&trace)
        .arg("--faults")
        .arg(&plan)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), format!("ready {}", socket.display()));
    assert!(lines.next().unwrap().contains("vfio-user-pci"));
    let mut client = vfio_user::Client::new(&socket).unwrap();
    client.region_write(7, 4, &[6, 0]).unwrap();
    let mut word = [0; 4];
    client.region_read(0, 0, &mut word).unwrap();
    assert_eq!(&word, b"ALRM");
    client.region_read(0, 0, &mut word).unwrap();
    assert_eq!(word, [0xff; 4], "a read that times out, as planned");

    // SAFETY: the child has not been waited for, so its id is still its own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);

    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("read-times-out"));
    assert!(!socket.exists());
    let mut reader = Reader::new(BufReader::new(File::open(&trace).unwrap())).unwrap();
    assert_eq!((&*reader.header().device, &*reader.header().notes["why"]), ("alarm", "a test"));
    let mut reads = Vec::new();
    while let Some(event) = reader.next().unwrap() {
        if let What::Read { data, .. } = event.what {
            reads.push(data.to_vec());
        }
    }
    assert_eq!(reads, [b"ALRM".to_vec(), vec![0xff; 4]], "what the driver saw");
}

#[test]
fn a_program_says_what_it_cannot_do() {
    let Some(program) = example("alarm") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (socket, plan) = (folder.path().join("mine.sock"), folder.path().join("plan.toml"));
    std::fs::write(&plan, "[[fault]]\nkind = \"completion-lost\"\n").unwrap();
    let plan = plan.to_str().unwrap();
    for (words, status, reason) in [
        (&["--transport", "vhost-user"][..], 2, "the device is not virtio"),
        (&["--faults", plan], 2, "line 1: completion-lost: the device has no virtqueues"),
        (&["--log", "loud"], 2, "no such level"),
        (&["--frobnicate"], 2, "--frobnicate"),
    ] {
        let output = Command::new(&program).arg(&socket).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert!(said.contains(reason), "{said}");
    }
    let output = Command::new(&program).arg("/nonexistent/mine.sock").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot listen"));
}
