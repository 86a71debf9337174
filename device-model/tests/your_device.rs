//! The examples that `docs/your-device.md` teaches from: the page shows them as they are, and they do what it says.

#[allow(dead_code, reason = "its main is not called here")]
#[path = "../examples/alarm.rs"]
mod alarm;
#[allow(dead_code, reason = "its main is not called here")]
#[path = "../examples/entropy.rs"]
mod entropy;

use std::path::Path;

use alarm::Alarm;
use device_model::fault::{FaultyVirtio, Kind, Plan};
use device_model::pci::Function;
use device_model::testing::*;
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
