//! The gadget: it squares numbers, and takes its time. See `gadget_protocol` for its registers.

use device_model::device::{BAR_COUNT, Bar, Bus, Device, Identity, Msix};
use gadget_protocol::{BUSY, DEVICE, DONE, IDENTITY, MAGIC, OPERAND, REGISTERS, RESULT, STATUS, VENDOR};

/// How long a computation takes, in nanoseconds of device time.
const DURATION: u64 = 100_000;

/// The registers, and when the computation under way is done.
#[derive(Default)]
pub struct Gadget {
    operand: u32,
    result: u32,
    done: bool,
    due: Option<u64>,
}

impl Gadget {
    fn status(&self) -> u32 {
        (if self.due.is_some() { BUSY } else { 0 }) | (if self.done { DONE } else { 0 })
    }
}

impl Device for Gadget {
    fn identity(&self) -> Identity {
        let mut bars = [None; BAR_COUNT];
        bars[0] = Some(Bar::memory32(REGISTERS));
        Identity {
            vendor: VENDOR,
            device: DEVICE,
            class: 0x00_ff_00,
            bars,
            msix: Some(Msix { bar: 1, vectors: 1 }),
            pin: true,
            ..Identity::default()
        }
    }

    fn read_bar(&mut self, _bar: usize, offset: u64, data: &mut [u8], _bus: &mut dyn Bus) {
        let value = match (offset as usize, data.len()) {
            (IDENTITY, 4) => MAGIC,
            (OPERAND, 4) => self.operand,
            (RESULT, 4) => self.result,
            (STATUS, 4) => self.status(),
            _ => return data.fill(0xff),
        };
        data.copy_from_slice(&value.to_le_bytes());
    }

    fn write_bar(&mut self, _bar: usize, offset: u64, data: &[u8], bus: &mut dyn Bus) {
        let Ok(bytes) = data.try_into() else { return };
        let value = u32::from_le_bytes(bytes);
        match offset as usize {
            OPERAND if self.due.is_none() => {
                self.operand = value;
                self.due = Some(bus.now() + DURATION);
            }
            STATUS => {
                if value & BUSY != 0 {
                    self.due = None;
                }
                if value & DONE != 0 {
                    self.done = false;
                    bus.set_pin(false);
                }
            }
            _ => {}
        }
    }

    fn reset(&mut self, bus: &mut dyn Bus) {
        *self = Self::default();
        bus.set_pin(false);
    }

    fn next_wake(&self) -> Option<u64> {
        self.due
    }

    fn wake(&mut self, bus: &mut dyn Bus) {
        if self.due.is_none_or(|due| due > bus.now()) {
            return;
        }
        self.due = None;
        self.result = self.operand.wrapping_mul(self.operand);
        self.done = true;
        if bus.messages_enabled() {
            bus.interrupt(0);
        } else {
            bus.set_pin(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use device_model::pci::Function;
    use device_model::testing::{Machine, Registers as _};

    fn machine() -> Machine {
        Machine::new(Function::new(Box::new(Gadget::default())).unwrap(), 0x10_0000)
    }

    #[test]
    fn a_number_is_squared_and_the_device_interrupts() {
        let mut machine = machine();
        machine.write(0, OPERAND as u64, &12_u32.to_le_bytes());
        assert_eq!(machine.read32(0, STATUS as u64), BUSY);
        machine.wires.now = DURATION;
        assert!(machine.settle(10));
        assert_eq!(machine.read32(0, RESULT as u64), 144);
        assert_eq!(machine.read32(0, STATUS as u64), DONE);
        assert!(machine.wires.pin);
        machine.write(0, STATUS as u64, &DONE.to_le_bytes());
        assert!(!machine.wires.pin);
    }

    #[test]
    fn what_was_given_up_never_ends() {
        let mut machine = machine();
        machine.write(0, OPERAND as u64, &12_u32.to_le_bytes());
        machine.write(0, STATUS as u64, &BUSY.to_le_bytes());
        machine.wires.now = DURATION;
        assert!(machine.settle(10));
        assert_eq!(machine.read32(0, STATUS as u64), 0);
    }
}
