//! An alarm clock on PCI: write a time, get an interrupt and a count in memory. All of `docs/your-device.md`'s first device.
//!
//! | offset | bytes | |
//! | --- | --- | --- |
//! | 0x00 | 4 | reads "ALRM" |
//! | 0x04 | 4 | microseconds to the next alarm; a write sets it |
//! | 0x08 | 4 | alarms so far |
//! | 0x10 | 8 | guest address at which each alarm leaves their number |
//! | 0x18 | 4 | a write acknowledges the interrupt |

use std::process::ExitCode;

use device_model::device::{Bar, Bus, Device, Identity, Msix, answer, bars, value};

#[derive(Default)]
pub(crate) struct Alarm {
    time: u32,
    alarms: u32,
    report_to: u64,
    due: Option<u64>,
}

impl Device for Alarm {
    fn identity(&self) -> Identity {
        Identity {
            vendor: 0x1234,
            device: 0xa1a0,
            class: 0x08_80_00,
            bars: bars([(0, Bar::memory32(0x1000))]),
            msix: Some(Msix { bar: 1, vectors: 1 }),
            pin: true,
            ..Identity::default()
        }
    }

    fn read_bar(&mut self, _bar: usize, offset: u64, data: &mut [u8], _bus: &mut dyn Bus) {
        let found = match offset {
            0x00 => u32::from_le_bytes(*b"ALRM").into(),
            0x04 => self.time.into(),
            0x08 => self.alarms.into(),
            0x10 => self.report_to,
            _ => 0,
        };
        answer(data, found);
    }

    fn write_bar(&mut self, _bar: usize, offset: u64, data: &[u8], bus: &mut dyn Bus) {
        match (offset, data.len()) {
            (0x04, 4) => {
                self.time = value(data) as u32;
                self.due = Some(bus.now() + u64::from(self.time) * 1000);
            }
            (0x10, 8) => self.report_to = value(data),
            (0x18, _) => bus.release(),
            _ => {}
        }
    }

    fn reset(&mut self, bus: &mut dyn Bus) {
        *self = Self::default();
        bus.release();
    }

    fn next_wake(&self) -> Option<u64> {
        self.due
    }

    fn wake(&mut self, bus: &mut dyn Bus) {
        if self.due.take_if(|due| *due <= bus.now()).is_some() {
            self.alarms += 1;
            // An address that is no memory is the driver's mistake; the alarm rings all the same.
            let _ = bus.dma_write(self.report_to, &self.alarms.to_le_bytes());
            bus.raise(0);
        }
    }
}

fn main() -> ExitCode {
    device_model::serve::device(Alarm::default())
}
