//! A trace of QEMU's own log of a device. Needs the QEMU that RIG_QEMU names.

mod common;
#[path = "../examples/edu/device.rs"]
mod device;

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::qtest::{Machine, qemu};
use device_model::testing::Registers;
use device_model::trace::import::{Dialect, import, survey};
use device_model::trace::replay::{Mode, ReplayBus, Rules, Story, Verdict};
use device_model::trace::{Compression, Header, Reader, Recorder, Trace, What, Writer};

fn vfio_user(socket: &Path) -> String {
    format!(r#"{{"driver":"vfio-user-pci","addr":"5","socket":{{"path":"{}","type":"unix"}}}}"#, socket.display())
}

fn write32(machine: &mut Machine, offset: u64, value: u32) {
    machine.write(0, offset, &value.to_le_bytes());
}

fn wait(machine: &mut Machine, register: u64, done: impl Fn(u32) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done(machine.read32(0, register)) {
        assert!(Instant::now() < deadline, "register {register:#x} stays as it is");
    }
}

/// Reads and writes of registers, as lines.
fn accesses(bytes: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(bytes).unwrap();
    let mut found = Vec::new();
    while let Some(event) = reader.next().unwrap() {
        if matches!(event.what, What::Read { .. } | What::Write { .. }) {
            found.push(format!("{:?}", event.what));
        }
    }
    found
}

fn story(bytes: Vec<u8>) -> Arc<Story> {
    Arc::new(Story::read(&mut Reader::new(Cursor::new(bytes)).unwrap()).unwrap())
}

#[test]
fn qemus_own_log_imports_as_what_the_device_saw_and_can_be_replayed() {
    let Some(qemu) = qemu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (log, own) = (folder.path().join("vfio.log"), folder.path().join("own"));
    let edu = device::Edu::default();
    let header = Header::of_device("edu", &device_model::device::Device::identity(&edu));
    let trace = Trace::new(File::create(&own).unwrap(), &header, Compression::None).unwrap();
    let served = common::serve(Recorder::new(edu, trace));
    let device = vfio_user(&served.socket);
    let logging = ["-msg", "timestamp=on", "-D", log.to_str().unwrap()];
    let events = ["-trace", "vfio_region_*", "-trace", "vfio_pci_*_config", "-trace", "vfio_msi*", "-trace", "vfio_intx*"];
    let mut machine = Machine::start(&qemu, served.folder(), &[&["-device", device.as_str()][..], &logging, &events].concat());
    // No memory of its own: a log does not know of any. First what every system looks for.
    assert_eq!(machine.config(0), 0x11e8_1234);
    machine.config(8);
    machine.place_bar(0, 0xfe00_0000);
    machine.set_config(4, 6);
    for value in [0, 1, 0x1234_5678] {
        write32(&mut machine, 4, value);
        assert_eq!(machine.read32(0, 4), !value);
    }
    write32(&mut machine, 8, 6);
    wait(&mut machine, 0x20, |status| status & 1 == 0);
    assert_eq!(machine.read32(0, 8), 720);
    drop(machine);
    drop(served);

    let parsed = survey(BufReader::new(File::open(&log).unwrap()), Dialect::QemuVfio, None).unwrap();
    let mut writer = Writer::new(Vec::new(), &parsed.header, Compression::None).unwrap();
    let mut unread = Vec::new();
    let sums = import(BufReader::new(File::open(&log).unwrap()), Dialect::QemuVfio, None, &mut writer, |_, line| {
        unread.push(line.to_owned());
    });
    writer.finish().unwrap();
    let imported = writer.into_inner();

    assert_eq!(unread, [""; 0], "every line that QEMU writes is understood");
    assert!(sums.unwrap().events >= 15);
    assert_eq!((&parsed.header.ids[..2], parsed.header.class), (&[0x1234, 0x11e8][..], 0x00_ff_00));
    assert_eq!((parsed.header.bars[0].map(|bar| bar.size), parsed.header.msix), (Some(1 << 20), Some((1, 1))));
    let seen = accesses(&imported);
    assert!(seen.len() >= 9, "{seen:?}");
    assert_eq!(seen, accesses(&std::fs::read(&own).unwrap()));

    let verdict = Verdict::new().unwrap();
    let replayed = ReplayBus::new(story(imported), Mode::Ordered, Rules::default(), verdict.clone()).unwrap();
    let served = common::serve(replayed);
    let mut machine = Machine::start(&qemu, served.folder(), &["-device", &vfio_user(&served.socket)]);
    machine.place_bar(0, 0xfe00_0000);
    machine.set_config(4, 6);
    for value in [0, 1, 0x1234_5678] {
        write32(&mut machine, 4, value);
        assert_eq!(machine.read32(0, 4), !value);
    }
    write32(&mut machine, 8, 7);
    drop(machine);
    drop(served);
    let outcome = verdict.outcome();
    assert!(outcome.diverged && outcome.expected.contains("bar0+0x8 = 0x00000006"), "{:?}", outcome.lines());
}
