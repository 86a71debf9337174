//! The hardware's side: registers as plain memory, configuration space, and the device's ends of the rings.

use protocol::hardware::{CONFIG_MAGIC, CONFIG_VERSION, CommandHeader, RelayConfig, Reply, Status};
use zerocopy::{FromBytes, IntoBytes};

/// Sizes of the rings. The size register is one for all queues here, so that a queue can have no more than the one set up before it.
const SIZES: [usize; 3] = [256, 64, 64];
/// Bytes of the BAR: common, ISR, device and notification registers, 4 KiB each.
pub(crate) const BAR_BYTES: usize = 0x4000;
const DEVICE_OFFSET: usize = 0x2000;

/// One device's hardware.
pub(crate) struct Hardware {
    /// Address of the registers.
    pub(super) bar: usize,
    /// Addresses of the rings: commands, events, administration.
    pub(super) rings: [usize; 3],
    available: [u16; 3],
    used: [u16; 3],
}

/// A chain of two that the driver offered.
pub(crate) struct Chain {
    head: u16,
    pub(crate) readable: Vec<u8>,
    writable: (u64, u32),
}

impl Chain {
    /// The command in it.
    pub(crate) fn command(&self) -> CommandHeader {
        CommandHeader::read_from_prefix(&self.readable).expect("a whole command").0
    }

    /// What follows the command.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.readable[size_of::<CommandHeader>()..]
    }

    /// Bytes of room for reply and answer.
    pub(crate) fn room(&self) -> usize {
        self.writable.1 as usize
    }
}

impl Hardware {
    pub(super) fn new() -> Self {
        let words = vec![0_u64; 2 * BAR_BYTES / 8].into_boxed_slice();
        let bar = (Box::leak(words).as_mut_ptr() as usize).next_multiple_of(BAR_BYTES);
        let hardware = Self { bar, rings: [0; 3], available: [0; 3], used: [0; 3] };
        hardware.set::<u32>(4, 1);
        hardware.set::<u16>(18, 3);
        hardware.set::<u16>(24, 256);
        let config = RelayConfig { magic: CONFIG_MAGIC, version: CONFIG_VERSION, ..RelayConfig::default() };
        hardware.write(bar + DEVICE_OFFSET, config.as_bytes());
        hardware
    }

    /// Sets a register.
    pub(crate) fn set<T>(&self, offset: usize, value: T) {
        // SAFETY: offsets of tests are inside of the registers.
        unsafe { ((self.bar + offset) as *mut T).write_volatile(value) };
    }

    /// Every register reads all ones from now on, whatever is written: as far as memory can do that, by writing them now.
    pub(crate) fn all_ones(&self) {
        self.write(self.bar, &[0xff; BAR_BYTES]);
    }

    fn write(&self, address: usize, bytes: &[u8]) {
        // SAFETY: addresses are those of registers, and those that the driver gave for the device to write.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
    }

    fn read<T: FromBytes>(&self, address: usize) -> T {
        // SAFETY: addresses are those of rings and buffers that the driver gave for the device to read.
        unsafe { (address as *const T).read_unaligned() }
    }

    fn available(&self, ring: usize) -> usize {
        self.rings[ring] + 16 * SIZES[ring]
    }

    fn used(&self, ring: usize) -> usize {
        (self.available(ring) + 6 + 2 * SIZES[ring]).next_multiple_of(4)
    }

    /// The device was reset: it begins anew.
    pub(crate) fn reset(&mut self) {
        (self.available, self.used) = ([0; 3], [0; 3]);
        self.set::<u16>(24, 256);
    }

    /// Whether the driver lets the device work: a device that was reset does nothing.
    pub(crate) fn runs(&self) -> bool {
        self.read::<u8>(self.bar + 20) & 4 != 0
    }

    /// As [`reset`](Self::reset), if the driver has reset the device or is about to.
    pub(crate) fn reset_unless_running(&mut self) {
        if !self.runs() {
            self.reset();
        }
    }

    fn next(&mut self, ring: usize) -> Option<u16> {
        let index: u16 = self.read(self.available(ring) + 2);
        if index == self.available[ring] {
            return None;
        }
        let entry = usize::from(self.available[ring]) % SIZES[ring];
        self.available[ring] = self.available[ring].wrapping_add(1);
        Some(self.read(self.available(ring) + 4 + 2 * entry))
    }

    fn descriptor(&self, ring: usize, index: u16) -> (u64, u32) {
        let at = self.rings[ring] + 16 * usize::from(index);
        (self.read(at), self.read(at + 8))
    }

    /// The next chain of two in a ring.
    pub(crate) fn take(&mut self, ring: usize) -> Option<Chain> {
        let head = self.next(ring)?;
        let (address, length) = self.descriptor(ring, head);
        let readable = (0..length as usize).map(|at| self.read(address as usize + at)).collect();
        Some(Chain { head, readable, writable: self.descriptor(ring, head + 1) })
    }

    /// Writes `bytes` into the chain and gives it back as `written` bytes.
    pub(crate) fn give_back(&mut self, ring: usize, chain: &Chain, bytes: &[u8], written: u32) {
        assert!(bytes.len() <= chain.room(), "a test writes beyond the chain");
        self.write(chain.writable.0 as usize, bytes);
        self.put_used(ring, chain.head.into(), written);
    }

    /// Puts an entry into the used ring, whatever it says.
    pub(crate) fn put_used(&mut self, ring: usize, id: u32, written: u32) {
        let entry = self.used(ring) + 4 + 8 * (usize::from(self.used[ring]) % SIZES[ring]);
        self.write(entry, &id.to_le_bytes());
        self.write(entry + 4, &written.to_le_bytes());
        self.used[ring] = self.used[ring].wrapping_add(1);
        self.write(self.used(ring) + 2, &self.used[ring].to_le_bytes());
    }

    /// Answers a command as an echo, with `tag` in the reply.
    pub(crate) fn echo(&mut self, chain: &Chain, tag: u64) {
        let reply = Reply { tag, status: Status::OK, length: chain.payload().len() as u32 };
        let bytes = [reply.as_bytes(), chain.payload()].concat();
        self.give_back(0, chain, &bytes, bytes.len() as u32);
    }

    /// Writes an event into the next posted buffer. Whether there was one.
    pub(crate) fn event(&mut self, event: &protocol::hardware::Event) -> bool {
        let Some(head) = self.next(1) else { return false };
        let (address, _) = self.descriptor(1, head);
        self.write(address as usize, event.as_bytes());
        self.put_used(1, head.into(), size_of_val(event) as u32);
        true
    }

    /// Configuration space: four virtio capabilities in BAR 2, which is 64 bits wide.
    pub(super) fn config_byte(&self, offset: usize) -> u8 {
        let mut bytes = [0_u8; 256];
        bytes[0x06] = 0x10;
        bytes[0x34] = 0x40;
        bytes[0x18..0x20].copy_from_slice(&(self.bar as u64 | 0xc).to_le_bytes());
        for (index, (kind, place)) in [(1, 0_u32), (3, 0x1000), (4, 0x2000), (2, 0x3000)].into_iter().enumerate() {
            let at = 0x40 + 0x14 * index;
            let next = if index == 3 { 0 } else { at as u8 + 0x14 };
            bytes[at..at + 5].copy_from_slice(&[0x09, next, 0x14, kind, 2]);
            bytes[at + 8..at + 12].copy_from_slice(&place.to_le_bytes());
            bytes[at + 12..at + 16].copy_from_slice(&0x1000_u32.to_le_bytes());
        }
        bytes[offset]
    }
}
