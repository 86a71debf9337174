//! QEMU's educational device, from the register description in QEMU's documentation: identification, liveness check, factorial, interrupts
//! raised at will, and a DMA engine with a buffer of 4 KiB. It is not virtio: plain registers in one BAR.

use device_model::device::{Bar, Bus, Device, Identity, Msix, answer, bars, value};
use device_model::memory::DmaError;

/// Status: a factorial is computed; interrupt when it is there. And the causes of interrupts.
const COMPUTING: u32 = 0x01;
const INTERRUPT_WHEN_COMPUTED: u32 = 0x80;
const COMPUTED: u32 = 0x001;
const TRANSFERRED: u32 = 0x100;
/// Bits of the DMA command.
const RUN: u64 = 1;
const TO_GUEST: u64 = 2;
const INTERRUPT_WHEN_TRANSFERRED: u64 = 4;
/// Where the engine sees its own buffer, how large that is, how far it reaches into the guest, and the nanoseconds that it takes.
const BUFFER: u64 = 0x4_0000;
const BUFFER_SIZE: usize = 4096;
const REACH: u64 = (1 << 28) - 1;
const TRANSFER: u64 = 1_000_000;

#[derive(Default)]
pub(crate) struct Edu {
    liveness: u32,
    factorial: u32,
    status: u32,
    interrupts: u32,
    /// Source, destination, count and command.
    dma: [u64; 4],
    dma_due: Option<u64>,
    buffer: Vec<u8>,
}

impl Edu {
    fn raise(&mut self, causes: u32, bus: &mut dyn Bus) {
        self.interrupts |= causes;
        if self.interrupts != 0 {
            bus.raise(0);
        }
    }

    fn transfer(&mut self, bus: &mut dyn Bus) {
        let [source, destination, count, command] = self.dma;
        let to_guest = command & TO_GUEST != 0;
        let (inside, outside) = if to_guest { (source, destination) } else { (destination, source) };
        let start = inside.wrapping_sub(BUFFER);
        self.buffer.resize(BUFFER_SIZE, 0);
        // What lies outside the buffer is not transferred; an address that is no memory is the driver's mistake.
        if let Some(part) = self.buffer.get_mut(start as usize..start.saturating_add(count) as usize) {
            let done = if to_guest { bus.dma_write(outside & REACH, part) } else { bus.dma_read(outside & REACH, part) };
            if done == Err(DmaError::Pending) {
                return;
            }
        }
        (self.dma[3], self.dma_due) = (command & !RUN, None);
        if command & INTERRUPT_WHEN_TRANSFERRED != 0 {
            self.raise(TRANSFERRED, bus);
        }
    }
}

impl Device for Edu {
    fn identity(&self) -> Identity {
        Identity {
            vendor: 0x1234,
            device: 0x11e8,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
            class: 0x00_ff_00,
            revision: 0x10,
            bars: bars([(0, Bar::memory32(1 << 20))]),
            msix: Some(Msix { bar: 1, vectors: 1 }),
            pin: true,
            ..Identity::default()
        }
    }

    fn read_bar(&mut self, _bar: usize, offset: u64, data: &mut [u8], _bus: &mut dyn Bus) {
        let found = match (offset, data.len()) {
            (0x00, 4) => 0x0100_00ed,
            (0x04, 4) => self.liveness.into(),
            (0x08, 4) => self.factorial.into(),
            (0x20, 4) => self.status.into(),
            (0x24, 4) => self.interrupts.into(),
            (0x80 | 0x88 | 0x90 | 0x98, 4 | 8) => self.dma[(offset - 0x80) as usize / 8],
            _ => u64::MAX,
        };
        answer(data, found);
    }

    fn write_bar(&mut self, _bar: usize, offset: u64, data: &[u8], bus: &mut dyn Bus) {
        let (long, word) = (value(data), value(data) as u32);
        match (offset, data.len()) {
            (0x04, 4) => self.liveness = !word,
            (0x08, 4) if self.status & COMPUTING == 0 => (self.factorial, self.status) = (word, self.status | COMPUTING),
            (0x20, 4) => self.status = self.status & COMPUTING | word & INTERRUPT_WHEN_COMPUTED,
            (0x60, 4) => self.raise(word, bus),
            (0x64, 4) => {
                self.interrupts &= !word;
                if self.interrupts == 0 {
                    bus.release();
                }
            }
            // The engine's registers cannot be written while it runs, and a command that does not start it is none.
            (0x80 | 0x88 | 0x90, 4 | 8) if self.dma[3] & RUN == 0 => self.dma[(offset - 0x80) as usize / 8] = long,
            (0x98, 4 | 8) if self.dma[3] & RUN == 0 && long & RUN != 0 => {
                (self.dma[3], self.dma_due) = (long, Some(bus.now() + TRANSFER));
            }
            _ => {}
        }
    }

    fn reset(&mut self, bus: &mut dyn Bus) {
        *self = Self::default();
        bus.release();
    }

    fn next_wake(&self) -> Option<u64> {
        // A factorial is computed as soon as the access that asks for it has been answered.
        if self.status & COMPUTING != 0 { Some(0) } else { self.dma_due }
    }

    fn wake(&mut self, bus: &mut dyn Bus) {
        if self.status & COMPUTING != 0 {
            // From 34! on, 32 bits hold nothing but zeroes.
            self.factorial = if self.factorial >= 34 { 0 } else { (1..=self.factorial).fold(1, u32::wrapping_mul) };
            self.status &= !COMPUTING;
            if self.status & INTERRUPT_WHEN_COMPUTED != 0 {
                self.raise(COMPUTED, bus);
            }
        }
        if self.dma_due.is_some_and(|due| due <= bus.now()) {
            self.transfer(bus);
        }
    }
}
