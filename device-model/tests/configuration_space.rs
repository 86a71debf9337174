//! The relay hardware's configuration space, compared with the text that is kept beside this file. After a change that is wanted, run with
//! `UPDATE_EXPECTED=1`, read the difference, and keep it.

use std::fmt::Write;
use std::path::Path;

use device_model::pci::Function;
use device_model::relay::RelayDevice;
use device_model::testing::Machine;
use device_model::virtio::pci::VirtioPci;

fn describe(machine: &mut Machine) -> String {
    let space = machine.config::<256>(0);
    let word = |at: usize| u16::from_le_bytes([space[at], space[at + 1]]);
    let long = |at: usize| u32::from_le_bytes([space[at], space[at + 1], space[at + 2], space[at + 3]]);
    let mut text = String::new();
    writeln!(text, "00:05.0 {:02x}{:02x}: {:04x}:{:04x} (rev {:02x})", space[11], space[10], word(0), word(2), space[8]).unwrap();
    writeln!(text, "\tSubsystem: {:04x}:{:04x}", word(0x2c), word(0x2e)).unwrap();
    writeln!(text, "\tInterrupt: pin {}", ["none", "A"][usize::from(space[0x3d])]).unwrap();
    machine.function.write_config(0x10, &[0xff; 24], &mut machine.wires);
    for bar in 0..6 {
        let value = u32::from_le_bytes(machine.config(0x10 + 4 * bar));
        if value != 0 {
            writeln!(text, "\tRegion {bar}: sizing value {value:#010x}").unwrap();
        }
    }
    let mut at = usize::from(space[0x34]);
    while at != 0 {
        let describe = match space[at] {
            0x01 => format!("Power Management version {}", word(at + 2) & 7),
            0x10 => format!("Express (v{}) type {}, capabilities {:#010x}", space[at + 2] & 15, space[at + 2] >> 4, long(at + 4)),
            0x11 => format!(
                "MSI-X: Count={} Vector table: BAR={} offset={:08x} PBA: BAR={} offset={:08x}",
                (word(at + 2) & 0x7ff) + 1,
                long(at + 4) & 7,
                long(at + 4) & !7,
                long(at + 8) & 7,
                long(at + 8) & !7
            ),
            0x09 => format!(
                "VirtIO: type={} BAR={} offset={:08x} size={:08x}",
                space[at + 3],
                space[at + 4],
                long(at + 8),
                long(at + 12)
            ),
            other => format!("unknown {other:#x}"),
        };
        writeln!(text, "\tCapabilities: [{at:02x}] {describe}").unwrap();
        at = usize::from(space[at + 1]);
    }
    for (index, line) in space.chunks(16).enumerate() {
        let bytes: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "{:02x}: {}", 16 * index, bytes.join(" ")).unwrap();
    }
    text
}

#[test]
fn configuration_space_is_what_it_was() {
    let function = Function::new(Box::new(VirtioPci::new(RelayDevice::new()))).unwrap();
    let mut machine = Machine::new(function, 0x1000);
    machine.set_command(0);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configuration_space.expected");

    let found = describe(&mut machine);

    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&path).unwrap());
}
