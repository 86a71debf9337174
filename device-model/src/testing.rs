//! The other side of a device, for tests, benchmarks and fuzzing: a machine inside this process, and the least that a virtio driver does.
//!
//! [`Machine`] needs no virtual machine and keeps its own time. [`DriverQueue`] and [`start_virtio`] work on any memory and any
//! [`Registers`], so the same driver runs against a device in this process, over a socket, and inside QEMU. They panic where a test fails.

pub mod fuzz;

use std::sync::Arc;

use protocol::hardware::{CommandHeader, Opcode};
use zerocopy::IntoBytes;

use vm_memory::Permissions;

use crate::memory::{DmaError, Far, Memory, Region};
use crate::pci::{Function, Link};
use crate::transfers::{Piece, Transfers};

/// A machine with one function in it.
pub struct Machine {
    /// The function.
    pub function: Function,
    /// What the function is wired to.
    pub wires: Wires,
}

/// The wires of a [`Machine`].
pub struct Wires {
    /// Guest memory.
    pub memory: Arc<Memory>,
    /// Vectors of the messages that came, in order.
    pub messages: Vec<u16>,
    /// Level of the interrupt pin.
    pub pin: bool,
    /// How often the pin has been asserted.
    pub assertions: usize,
    /// Device time.
    pub now: u64,
    /// Whether the machine masks vectors itself, as a vfio-user client does.
    pub masks_vectors: bool,
    /// What the device has sent for, in a machine that does not share its memory.
    transfers: Transfers,
    /// The memory of such a machine.
    unshared: Option<Arc<Memory>>,
}

impl Link for Wires {
    fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    fn message(&mut self, vector: u16, _address: u64, _data: u32) {
        self.messages.push(vector);
    }

    fn set_pin(&mut self, asserted: bool) {
        self.pin = asserted;
        self.assertions += usize::from(asserted);
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn far_read(&mut self, address: u64, into: &mut [u8]) -> Result<(), DmaError> {
        self.transfers.read(address, into)
    }

    fn far_write(&mut self, address: u64, from: &[u8]) -> Result<(), DmaError> {
        self.transfers.write(address, from)
    }

    fn forget_transfers(&mut self) {
        self.transfers.forget();
    }

    fn masks_vectors(&self) -> bool {
        self.masks_vectors
    }
}

impl Machine {
    /// A machine with `size` bytes of memory from address 0; memory space and bus mastering are enabled.
    pub fn new(function: Function, size: u64) -> Self {
        let memory = Memory::default().with(Region::anonymous(0, size).expect("memory")).expect("memory");
        let wires = Wires {
            memory: Arc::new(memory),
            messages: Vec::new(),
            pin: false,
            assertions: 0,
            now: 0,
            masks_vectors: true,
            transfers: Transfers::default(),
            unshared: None,
        };
        let mut machine = Self { function, wires };
        machine.set_command(0x06);
        machine
    }

    /// The same machine, but it does not share its memory: what the device reads and writes is on its way for a while. Returns the memory, as
    /// the driver sees it.
    pub fn unshare(&mut self) -> Arc<Memory> {
        let memory = self.wires.memory.clone();
        let size = memory.size();
        self.wires.memory = Arc::new(Memory::default().with_far(Far { base: 0, size, access: Permissions::ReadWrite }));
        self.wires.unshared = Some(memory.clone());
        memory
    }

    /// Write the command register.
    pub fn set_command(&mut self, command: u16) {
        self.function.write_config(4, &command.to_le_bytes(), &mut self.wires);
    }

    /// Read configuration space.
    pub fn config<const N: usize>(&mut self, offset: usize) -> [u8; N] {
        let mut data = [0; N];
        self.function.read_config(offset, &mut data, &mut self.wires);
        data
    }

    /// Let the device work until it is idle at the machine's time, at most `rounds` times. Whether it became idle.
    pub fn settle(&mut self, rounds: usize) -> bool {
        for _ in 0..rounds {
            if self.is_idle() {
                return true;
            }
            self.wires.carry();
            if self.is_due() {
                self.wires.transfers.begin_wake();
                self.function.wake(&mut self.wires);
                self.wires.transfers.end_wake();
            }
        }
        self.is_idle()
    }

    fn is_due(&self) -> bool {
        self.function.next_wake().is_some_and(|due| due <= self.wires.now)
    }

    fn is_idle(&self) -> bool {
        self.wires.transfers.is_idle() && !self.is_due()
    }
}

impl Wires {
    /// Let what is on its way come through.
    fn carry(&mut self) {
        let Some(memory) = &self.unshared else { return };
        /// In pieces, as a transport would.
        const PIECE: usize = 1000;
        while let Some(piece) = self.transfers.next(PIECE) {
            match piece {
                Piece::Read { address, count } => {
                    let mut data = [0; PIECE];
                    match memory.read_at(address, &mut data[..count]) {
                        Ok(()) => self.transfers.read_done(&data[..count]),
                        Err(_) => self.transfers.refused(),
                    }
                }
                Piece::Write { address, data } => match memory.write_at(address, data) {
                    Ok(()) => {
                        let count = data.len();
                        self.transfers.write_done(count);
                    }
                    Err(_) => self.transfers.refused(),
                },
            }
        }
    }
}

/// Access to a device's BARs.
pub trait Registers {
    /// Read.
    fn read(&mut self, bar: usize, offset: u64, data: &mut [u8]);

    /// Write.
    fn write(&mut self, bar: usize, offset: u64, data: &[u8]);

    /// Read a 32-bit register.
    fn read32(&mut self, bar: usize, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.read(bar, offset, &mut data);
        u32::from_le_bytes(data)
    }

    /// Read a 16-bit register.
    fn read16(&mut self, bar: usize, offset: u64) -> u16 {
        let mut data = [0; 2];
        self.read(bar, offset, &mut data);
        u16::from_le_bytes(data)
    }

    /// Read an 8-bit register.
    fn read8(&mut self, bar: usize, offset: u64) -> u8 {
        let mut data = [0];
        self.read(bar, offset, &mut data);
        data[0]
    }
}

impl Registers for Machine {
    fn read(&mut self, bar: usize, offset: u64, data: &mut [u8]) {
        self.function.read_bar(bar, offset, data, &mut self.wires);
    }

    fn write(&mut self, bar: usize, offset: u64, data: &[u8]) {
        self.function.write_bar(bar, offset, data, &mut self.wires);
    }
}

/// BAR of the virtio registers.
pub const BAR: usize = 2;
/// Device status.
pub const STATUS: u64 = 20;
/// Interrupt status.
pub const ISR: u64 = 0x1000;
/// Device configuration.
pub const CONFIG: u64 = 0x2000;
/// Notification of queue 0; each further queue is 4 bytes on.
pub const NOTIFY: u64 = 0x3000;
/// Status with ACKNOWLEDGE, DRIVER, FEATURES_OK and DRIVER_OK.
pub const RUNNING: u8 = 0x0f;

/// Start a virtio device as section 3.1.1 says, with `features` and these queues. Queue `n` gets vector `n + 1`. Returns the device's
/// status.
pub fn start_virtio(registers: &mut dyn Registers, features: u64, queues: &[&DriverQueue]) -> u8 {
    registers.write(BAR, STATUS, &[0]);
    registers.write(BAR, STATUS, &[1]);
    registers.write(BAR, STATUS, &[3]);
    for select in 0..2_u32 {
        registers.write(BAR, 8, &select.to_le_bytes());
        registers.write(BAR, 12, &((features >> (32 * select)) as u32).to_le_bytes());
    }
    registers.write(BAR, STATUS, &[0x0b]);
    registers.write(BAR, 16, &0_u16.to_le_bytes());
    for (index, queue) in queues.iter().enumerate() {
        setup_queue(registers, index as u16, queue);
    }
    registers.write(BAR, STATUS, &[RUNNING]);
    registers.read8(BAR, STATUS)
}

/// Tell the device where a queue lies, and enable it.
pub fn setup_queue(registers: &mut dyn Registers, index: u16, queue: &DriverQueue) {
    registers.write(BAR, 22, &index.to_le_bytes());
    registers.write(BAR, 24, &queue.size.to_le_bytes());
    registers.write(BAR, 26, &(index + 1).to_le_bytes());
    for (at, address) in [(32, queue.descriptors()), (40, queue.available()), (48, queue.used_ring())] {
        registers.write(BAR, at, &(address as u32).to_le_bytes());
        registers.write(BAR, at + 4, &((address >> 32) as u32).to_le_bytes());
    }
    registers.write(BAR, 28, &1_u16.to_le_bytes());
}

/// VIRTIO_F_VERSION_1, without which no driver starts.
pub const VERSION_1: u64 = 1 << 32;

/// A buffer of a chain.
#[derive(Clone, Copy, Debug)]
pub enum Buffer {
    /// The device reads it.
    Out(u64, u32),
    /// The device writes it.
    In(u64, u32),
}

/// The driver's end of a split virtqueue in guest memory.
pub struct DriverQueue {
    memory: Arc<Memory>,
    base: u64,
    size: u16,
    next_descriptor: u16,
    next_available: u16,
    next_used: u16,
}

impl DriverQueue {
    /// Bytes that a queue takes.
    pub const BYTES: u64 = 0x4000;

    /// A queue of `size` at `base`, a multiple of 4096.
    pub fn new(memory: Arc<Memory>, base: u64, size: u16) -> Self {
        let queue = Self { memory, base, size, next_descriptor: 0, next_available: 0, next_used: 0 };
        queue.memory.write_at(base, &[0; Self::BYTES as usize]).expect("the queue lies in memory");
        queue
    }

    /// Address of the descriptor table.
    pub fn descriptors(&self) -> u64 {
        self.base
    }

    /// Address of the available ring.
    pub fn available(&self) -> u64 {
        self.base + 0x1000
    }

    /// Address of the used ring.
    pub fn used_ring(&self) -> u64 {
        self.base + 0x2000
    }

    /// Make a chain available. Returns its head. Descriptors are taken round and round: the caller keeps no more in flight than fit.
    pub fn add(&mut self, buffers: &[Buffer]) -> u16 {
        let head = self.next_descriptor;
        for (index, buffer) in buffers.iter().enumerate() {
            let more = u16::from(index + 1 < buffers.len());
            let next = (self.next_descriptor + 1) % self.size;
            let (address, length, write) = match *buffer {
                Buffer::Out(address, length) => (address, length, 0),
                Buffer::In(address, length) => (address, length, 2),
            };
            self.set_descriptor(self.next_descriptor, address, length, more | write, next);
            self.next_descriptor = next;
        }
        self.offer(head);
        head
    }

    /// Write one descriptor.
    pub fn set_descriptor(&self, index: u16, address: u64, length: u32, flags: u16, next: u16) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&address.to_le_bytes());
        bytes[8..12].copy_from_slice(&length.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        self.write(self.descriptors() + 16 * u64::from(index), &bytes);
    }

    /// Put a head into the available ring.
    pub fn offer(&mut self, head: u16) {
        let slot = self.available() + 4 + 2 * u64::from(self.next_available % self.size);
        self.write(slot, &head.to_le_bytes());
        self.next_available = self.next_available.wrapping_add(1);
        self.set_available_index(self.next_available);
    }

    /// Write the index of the available ring.
    pub fn set_available_index(&self, index: u16) {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        self.write(self.available() + 2, &index.to_le_bytes());
    }

    /// Write the flags of the available ring: 1 asks for no interrupts.
    pub fn set_flags(&self, flags: u16) {
        self.write(self.available(), &flags.to_le_bytes());
    }

    /// The next chain that the device has given back, and the bytes it wrote.
    pub fn used(&mut self) -> Option<(u16, u32)> {
        let mut index = [0; 2];
        self.read(self.used_ring() + 2, &mut index);
        if u16::from_le_bytes(index) == self.next_used {
            return None;
        }
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let mut entry = [0; 8];
        self.read(self.used_ring() + 4 + 8 * u64::from(self.next_used % self.size), &mut entry);
        self.next_used = self.next_used.wrapping_add(1);
        let word = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
        Some((word(0) as u16, word(4)))
    }

    fn write(&self, address: u64, bytes: &[u8]) {
        self.memory.write_at(address, bytes).expect("the queue lies in memory");
    }

    fn read(&self, address: u64, bytes: &mut [u8]) {
        self.memory.read_at(address, bytes).expect("the queue lies in memory");
    }
}

/// The bytes of a command to the relay hardware.
pub fn command(tag: u64, opcode: Opcode, argument: u64, payload: &[u8]) -> Vec<u8> {
    let header = CommandHeader { tag, opcode, length: payload.len() as u32, argument, reserved: 0 };
    [header.as_bytes(), payload].concat()
}
