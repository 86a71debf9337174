//! What every function does, shown on a device that only remembers.

use std::sync::{Arc, Mutex};

use crate::device::*;
use crate::pci::{Function, IdentityError};
use crate::testing::{Machine, Registers};

/// A device that notes every access and raises what it is told to.
#[derive(Clone, Default)]
struct Notebook(Arc<Mutex<Vec<String>>>);

impl Notebook {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Device for Notebook {
    fn identity(&self) -> Identity {
        let mut bars = [None; BAR_COUNT];
        bars[0] = Some(Bar::memory32(0x100));
        bars[1] = Some(Bar::ports(16));
        bars[2] = Some(Bar::memory64(1 << 33));
        Identity {
            vendor: 0x1234,
            device: 0x5678,
            class: 0xff_00_00,
            bars,
            msix: Some(Msix { bar: 4, vectors: 3 }),
            pin: true,
            ..Identity::default()
        }
    }

    fn read_bar(&mut self, bar: usize, offset: u64, data: &mut [u8], _: &mut dyn Bus) {
        data.fill(offset as u8);
        self.0.lock().unwrap().push(format!("r{bar}:{offset:#x}+{}", data.len()));
    }

    fn write_bar(&mut self, bar: usize, offset: u64, data: &[u8], bus: &mut dyn Bus) {
        self.0.lock().unwrap().push(format!("w{bar}:{offset:#x}+{}", data.len()));
        match offset {
            0x10 => bus.interrupt(u16::from(data[0])),
            0x20 => bus.set_pin(data[0] != 0),
            _ => {}
        }
    }

    fn reset(&mut self, _: &mut dyn Bus) {
        self.0.lock().unwrap().push("reset".into());
    }
}

fn machine() -> (Machine, Notebook) {
    let notebook = Notebook::default();
    let mut machine = Machine::new(Function::new(Box::new(notebook.clone())).unwrap(), 0x1000);
    machine.wires.masks_vectors = false;
    (machine, notebook)
}

fn set_config(machine: &mut Machine, offset: usize, data: &[u8]) {
    machine.function.write_config(offset, data, &mut machine.wires);
}

#[test]
fn bars_answer_their_size_when_all_ones_are_written() {
    let (mut machine, _) = machine();

    set_config(&mut machine, 0x10, &[0xff; 24]);

    assert_eq!(u32::from_le_bytes(machine.config(0x10)), 0xffff_ff00);
    assert_eq!(u32::from_le_bytes(machine.config(0x14)), 0xffff_fff1);
    assert_eq!(u64::from_le_bytes(machine.config(0x18)), 0xffff_fffe_0000_0004);
    assert_eq!(u32::from_le_bytes(machine.config(0x20)), 0xffff_f000);
    assert_eq!(u32::from_le_bytes(machine.config(0x24)), 0);
    assert_eq!(u32::from_le_bytes(machine.config(0x30)), 0, "no ROM");
}

#[test]
fn what_the_driver_cannot_write_stays_as_it_is() {
    let (mut machine, _) = machine();
    let before = machine.config::<256>(0);
    let express = 0x40 + before[0x40..].windows(2).position(|pair| pair[0] == 0x10 && pair[1] == 0).unwrap();

    // Everything but the bit that starts a reset.
    for at in (0..256).filter(|at| *at != express + 9) {
        set_config(&mut machine, at, &[0xff]);
    }

    let after = machine.config::<256>(0);
    assert_eq!(after[..4], before[..4], "ids");
    assert_eq!(after[8..12], before[8..12], "class and revision");
    assert_eq!(after[6..8], before[6..8], "status");
    assert_eq!(u16::from_le_bytes([after[4], after[5]]), 0x0547);
    assert_eq!(after[0x3c], 0xff, "interrupt line");
    assert_eq!(after[0x3d], 1, "interrupt pin");
}

#[test]
fn accesses_are_cut_into_what_a_processor_could_have_done() {
    let (mut machine, notebook) = machine();

    machine.read(0, 1, &mut [0; 15]);
    machine.write(0, 0x40, &[0; 16]);

    assert_eq!(notebook.take(), ["r0:0x1+1", "r0:0x2+2", "r0:0x4+4", "r0:0x8+8", "w0:0x40+8", "w0:0x48+8"]);
}

#[test]
fn what_is_not_decoded_reads_as_ones_and_is_never_written() {
    let (mut machine, notebook) = machine();
    let mut data = [0; 4];

    machine.read(0, 0xfe, &mut data);
    assert_eq!(data, [0xff; 4], "over the end");
    machine.read(1, 0, &mut data);
    assert_eq!(data, [0xff; 4], "ports are not enabled");
    machine.read(3, 0, &mut data);
    assert_eq!(data, [0xff; 4], "the upper half of a 64-bit BAR is no BAR");
    machine.read(17, u64::MAX, &mut data);
    machine.set_command(0);
    machine.write(0, 0, &data);
    machine.read(4, 0, &mut data);
    assert_eq!(data, [0xff; 4], "MSI-X is memory too");

    assert!(notebook.take().is_empty());
}

#[test]
fn a_message_waits_behind_each_mask_and_comes_when_the_last_is_gone() {
    let (mut machine, _) = machine();
    let control = 0x48 + 2;
    machine.set_command(2);
    machine.write(0, 0x10, &[1]);
    assert_eq!(machine.read8(4, 0x800), 0b10, "pending");

    set_config(&mut machine, control, &0xc000_u16.to_le_bytes());
    machine.write(4, 16 + 12, &[0; 4]);
    machine.set_command(6);
    assert!(machine.wires.messages.is_empty(), "still masked as a whole");
    set_config(&mut machine, control, &0x8000_u16.to_le_bytes());

    assert_eq!(machine.wires.messages, [1]);
    assert_eq!(machine.read8(4, 0x800), 0);
}

#[test]
fn a_vector_that_does_not_exist_is_not_raised() {
    let (mut machine, _) = machine();
    set_config(&mut machine, 0x4a, &0x8000_u16.to_le_bytes());

    machine.write(0, 0x10, &[200]);

    assert!(machine.wires.messages.is_empty());
}

#[test]
fn the_pin_can_be_disabled_and_shows_in_the_status_all_the_same() {
    let (mut machine, _) = machine();
    machine.set_command(0x0406);

    machine.write(0, 0x20, &[1]);
    assert!(!machine.wires.pin);
    assert_eq!(machine.config::<1>(6)[0] & 8, 8);
    machine.set_command(6);
    assert!(machine.wires.pin);
    machine.write(0, 0x20, &[0]);
    assert!(!machine.wires.pin);
}

#[test]
fn a_function_level_reset_puts_everything_back() {
    let (mut machine, notebook) = machine();
    let initial = {
        let (mut fresh, _) = self::machine();
        fresh.set_command(0);
        fresh.config::<256>(0)
    };
    set_config(&mut machine, 0x10, &[0xff; 24]);
    machine.write(0, 0x20, &[1]);
    notebook.take();
    let express = 0x40 + initial[0x40..].windows(2).position(|pair| pair[0] == 0x10 && pair[1] == 0).unwrap();

    set_config(&mut machine, express + 8, &0x8000_u16.to_le_bytes());

    assert_eq!(notebook.take(), ["reset"]);
    assert_eq!(machine.config::<256>(0), initial);
    assert!(!machine.wires.pin);
}

#[test]
fn in_d3hot_only_configuration_space_answers_and_nothing_is_sent_until_d0() {
    let (mut machine, notebook) = machine();
    let power = 0x40 + 4;
    assert_eq!(machine.config::<1>(0x40), [1], "power management comes first");
    set_config(&mut machine, 0x4a, &0x8000_u16.to_le_bytes());
    machine.write(4, 12, &[0; 4]);
    for state in [1, 2] {
        set_config(&mut machine, power, &[state]);
        assert_eq!(machine.config::<1>(power)[0] & 3, 0, "there is no D{state}");
    }
    machine.write(0, 0x20, &[1]);
    notebook.take();

    set_config(&mut machine, power, &[3]);

    assert_eq!(machine.read32(0, 0), u32::MAX);
    machine.write(0, 0x10, &[0]);
    assert!(notebook.take().is_empty() && machine.wires.messages.is_empty() && !machine.wires.pin);
    assert_eq!(machine.config::<2>(0), [0x34, 0x12]);
    set_config(&mut machine, power, &[0]);
    assert!(machine.wires.pin, "the device has kept its state");
    machine.write(0, 0x10, &[0]);
    assert_eq!(machine.wires.messages, [0]);
}

#[test]
fn extended_configuration_space_is_empty_and_accesses_beyond_it_are_harmless() {
    let (mut machine, _) = machine();

    assert_eq!(machine.config::<4>(0x100), [0; 4]);
    assert_eq!(machine.config::<4>(4094), [0; 4]);
    assert_eq!(machine.config::<4>(usize::MAX), [0; 4]);
    set_config(&mut machine, 4095, &[0xff; 8]);
    set_config(&mut machine, usize::MAX, &[0xff; 8]);
}

#[test]
fn an_identity_that_no_hardware_could_have_is_refused() {
    struct Wrong(fn(&mut Identity));
    impl Device for Wrong {
        fn identity(&self) -> Identity {
            let mut identity = Identity::default();
            (self.0)(&mut identity);
            identity
        }
        fn read_bar(&mut self, _: usize, _: u64, _: &mut [u8], _: &mut dyn Bus) {}
        fn write_bar(&mut self, _: usize, _: u64, _: &[u8], _: &mut dyn Bus) {}
        fn reset(&mut self, _: &mut dyn Bus) {}
    }
    let error = |change| Function::new(Box::new(Wrong(change))).err();

    assert_eq!(error(|identity| identity.bars[1] = Some(Bar::memory32(24))), Some(IdentityError::BarSize(1)));
    assert_eq!(error(|identity| identity.bars[1] = Some(Bar::ports(512))), Some(IdentityError::BarSize(1)));
    assert_eq!(error(|identity| identity.bars[5] = Some(Bar::memory64(16))), Some(IdentityError::BarSlot(5)));
    assert_eq!(error(|identity| identity.bars = [Some(Bar::memory64(16)); 6]), Some(IdentityError::BarSlot(0)));
    assert_eq!(error(|identity| identity.msix = Some(Msix { bar: 6, vectors: 1 })), Some(IdentityError::Msix));
    assert_eq!(error(|identity| identity.msix = Some(Msix { bar: 0, vectors: 0 })), Some(IdentityError::Msix));
    assert_eq!(
        error(|identity| {
            identity.capabilities = vec![Capability { id: 9, body: vec![0; 300], writable: vec![], live: false }];
        }),
        Some(IdentityError::Capabilities)
    );
}
