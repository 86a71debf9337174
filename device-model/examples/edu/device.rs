//! QEMU's educational device, from the register description in QEMU's documentation: identification, liveness check, factorial, interrupts
//! raised at will, and a DMA engine with a buffer of 4 KiB. It is not virtio: plain registers in one BAR.

use device_model::device::{BAR_COUNT, Bar, Bus, Device, Identity, Msix};

const DMA_BUFFER: u64 = 0x4_0000;
const DMA_SIZE: usize = 4096;
/// The engine reaches 28 bits of address.
const DMA_MASK: u64 = (1 << 28) - 1;
/// Time that one transfer takes, in nanoseconds of device time.
const DMA_TIME: u64 = 1_000_000;

const STATUS_COMPUTING: u32 = 0x01;
const STATUS_INTERRUPT: u32 = 0x80;
const COMMAND_RUN: u64 = 0x01;
const COMMAND_TO_GUEST: u64 = 0x02;
const COMMAND_INTERRUPT: u64 = 0x04;
const CAUSE_FACTORIAL: u32 = 0x001;
const CAUSE_DMA: u32 = 0x100;

/// The device's registers and buffer.
pub(crate) struct Edu {
    liveness: u32,
    factorial: u32,
    status: u32,
    interrupts: u32,
    source: u64,
    destination: u64,
    count: u64,
    command: u64,
    dma_due: Option<u64>,
    buffer: [u8; DMA_SIZE],
}

impl Edu {
    /// The device after power-on.
    pub(crate) fn new() -> Self {
        Self {
            liveness: 0,
            factorial: 0,
            status: 0,
            interrupts: 0,
            source: 0,
            destination: 0,
            count: 0,
            command: 0,
            dma_due: None,
            buffer: [0; DMA_SIZE],
        }
    }

    fn raise(&mut self, cause: u32, bus: &mut dyn Bus) {
        self.interrupts |= cause;
        match (self.interrupts, bus.messages_enabled()) {
            (0, _) => {}
            (_, true) => bus.interrupt(0),
            (_, false) => bus.set_pin(true),
        }
    }

    fn acknowledge(&mut self, causes: u32, bus: &mut dyn Bus) {
        self.interrupts &= !causes;
        if self.interrupts == 0 {
            bus.set_pin(false);
        }
    }

    /// The registers from 0x80 on belong to the DMA engine and cannot be written while it runs.
    fn write_dma(&mut self, register: fn(&mut Self) -> &mut u64, value: u64) {
        if self.command & COMMAND_RUN == 0 {
            *register(self) = value;
        }
    }

    fn transfer(&mut self, bus: &mut dyn Bus) {
        let to_guest = self.command & COMMAND_TO_GUEST != 0;
        let (inside, outside) = if to_guest { (self.source, self.destination) } else { (self.destination, self.source) };
        let start = inside.checked_sub(DMA_BUFFER).filter(|start| start + self.count.min(DMA_MASK) <= DMA_SIZE as u64);
        // What lies outside the buffer is not transferred; an address that is no memory is the driver's mistake.
        if let (Some(start), true) = (start, self.count <= DMA_SIZE as u64) {
            let part = &mut self.buffer[start as usize..(start + self.count) as usize];
            let _ = if to_guest { bus.dma_write(outside & DMA_MASK, part) } else { bus.dma_read(outside & DMA_MASK, part) };
        }
        self.command &= !COMMAND_RUN;
        if self.command & COMMAND_INTERRUPT != 0 {
            self.raise(CAUSE_DMA, bus);
        }
    }
}

impl Device for Edu {
    fn identity(&self) -> Identity {
        let mut bars = [None; BAR_COUNT];
        bars[0] = Some(Bar::memory32(1 << 20));
        Identity {
            vendor: 0x1234,
            device: 0x11e8,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
            class: 0x00_ff_00,
            revision: 0x10,
            bars,
            msix: Some(Msix { bar: 1, vectors: 1 }),
            pin: true,
            ..Identity::default()
        }
    }

    fn read_bar(&mut self, _bar: usize, offset: u64, data: &mut [u8], _bus: &mut dyn Bus) {
        let value = match (offset, data.len()) {
            (0x00, 4) => 0x0100_00ed,
            (0x04, 4) => u64::from(self.liveness),
            (0x08, 4) => u64::from(self.factorial),
            (0x20, 4) => u64::from(self.status),
            (0x24, 4) => u64::from(self.interrupts),
            (0x80, 4 | 8) => self.source,
            (0x88, 4 | 8) => self.destination,
            (0x90, 4 | 8) => self.count,
            (0x98, 4 | 8) => self.command,
            _ => u64::MAX,
        };
        let length = data.len();
        data.copy_from_slice(&value.to_le_bytes()[..length]);
    }

    fn write_bar(&mut self, _bar: usize, offset: u64, data: &[u8], bus: &mut dyn Bus) {
        let mut bytes = [0; 8];
        bytes[..data.len()].copy_from_slice(data);
        let value = u64::from_le_bytes(bytes);
        let word = value as u32;
        match (offset, data.len()) {
            (0x04, 4) => self.liveness = !word,
            (0x08, 4) if self.status & STATUS_COMPUTING == 0 => {
                self.factorial = word;
                self.status |= STATUS_COMPUTING;
            }
            (0x20, 4) => self.status = self.status & !STATUS_INTERRUPT | word & STATUS_INTERRUPT,
            (0x60, 4) => self.raise(word, bus),
            (0x64, 4) => self.acknowledge(word, bus),
            (0x80, 4 | 8) => self.write_dma(|edu| &mut edu.source, value),
            (0x88, 4 | 8) => self.write_dma(|edu| &mut edu.destination, value),
            (0x90, 4 | 8) => self.write_dma(|edu| &mut edu.count, value),
            (0x98, 4 | 8) if value & COMMAND_RUN != 0 => {
                self.write_dma(|edu| &mut edu.command, value);
                self.dma_due.get_or_insert(bus.now() + DMA_TIME);
            }
            _ => {}
        }
    }

    fn reset(&mut self, bus: &mut dyn Bus) {
        *self = Self::new();
        bus.set_pin(false);
    }

    fn next_wake(&self) -> Option<u64> {
        // A factorial is computed as soon as the access that asks for it has been answered.
        if self.status & STATUS_COMPUTING != 0 { Some(0) } else { self.dma_due }
    }

    fn wake(&mut self, bus: &mut dyn Bus) {
        if self.status & STATUS_COMPUTING != 0 {
            // From 34! on, 32 bits hold nothing but zeroes.
            self.factorial = if self.factorial >= 34 { 0 } else { (1..=self.factorial).fold(1, u32::wrapping_mul) };
            self.status &= !STATUS_COMPUTING;
            if self.status & STATUS_INTERRUPT != 0 {
                self.raise(CAUSE_FACTORIAL, bus);
            }
        }
        if self.dma_due.is_some_and(|due| due <= bus.now()) {
            self.dma_due = None;
            self.transfer(bus);
        }
    }
}
