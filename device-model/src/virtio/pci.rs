//! Virtio over PCI, modern (virtio 1.2, section 4.1): makes every [`VirtioDevice`] a PCI [`Device`].
//!
//! BAR 0 is MSI-X. BAR 2 and 3 hold, a page each: common configuration, interrupt status, device configuration, notification; then pages
//! that a device shares with the guest. A notification is only noted when it is written; the work is done in [`Device::wake`], after the
//! access has been answered, so that the driver runs on as it does beside real hardware.

mod work;

use std::ops::Range;

use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FAILED, VIRTIO_CONFIG_S_FEATURES_OK,
    VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_F_RING_RESET, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::{Queue, QueueT};

use super::VirtioDevice;
use super::mirror::Mirror;
use super::queues::QueueSet;
use crate::device::{Bar, Bus, Capability, Device, Identity, Msix, SharedArea};

const VENDOR: u16 = 0x1af4;
/// PCI device ids of modern virtio devices begin here.
const MODERN: u16 = 0x1040;

const MSIX_BAR: usize = 0;
const VIRTIO_BAR: usize = 2;
const VIRTIO_BAR_SIZE: u64 = 0x8000;
const PAGE: u64 = 0x1000;
const COMMON: u64 = 0;
const ISR: u64 = PAGE;
const DEVICE: u64 = 2 * PAGE;
const NOTIFY: u64 = 3 * PAGE;
/// First page of the registers' BAR that a device may share with the guest.
pub const SHARED_PAGES: u64 = 4 * PAGE;
/// Most bytes that it may share.
pub const SHARED_SIZE: u64 = VIRTIO_BAR_SIZE - SHARED_PAGES;
const NOTIFY_MULTIPLIER: u64 = 4;
/// Index, in the identity, of the capability that opens a window on the BARs.
const WINDOW_CAPABILITY: usize = 4;
/// Offset of the window's data in the body of that capability.
const WINDOW_DATA: usize = 14;

/// Mistakes of drivers that one device tells of.
const MAX_COMPLAINTS: u32 = 100;

const NO_VECTOR: u16 = 0xffff;
const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 2;

const ACKNOWLEDGE: u8 = VIRTIO_CONFIG_S_ACKNOWLEDGE as u8;
const DRIVER_OK: u8 = VIRTIO_CONFIG_S_DRIVER_OK as u8;
const FEATURES_OK: u8 = VIRTIO_CONFIG_S_FEATURES_OK as u8;
const NEEDS_RESET: u8 = VIRTIO_CONFIG_S_NEEDS_RESET as u8;
const FAILED: u8 = VIRTIO_CONFIG_S_FAILED as u8;

const fn bit(feature: u32) -> u64 {
    1 << feature
}

/// Features of this transport and its rings.
const TRANSPORT_FEATURES: u64 =
    bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_F_RING_RESET) | bit(VIRTIO_RING_F_EVENT_IDX) | bit(VIRTIO_RING_F_INDIRECT_DESC);

/// One virtqueue with what PCI adds to it.
pub(super) struct PciQueue {
    ring: Queue,
    vector: u16,
    /// As the driver wrote them; the ring takes them over when it is enabled.
    addresses: [u64; 3],
    enabled: bool,
}

impl PciQueue {
    fn new(size: u16) -> Self {
        // The sizes are the device author's: a wrong one is a mistake in code, found by the first test that builds the device.
        let ring = Queue::new(size).expect("a queue size must be a power of two, 1 to 32768");
        Self { ring, vector: NO_VECTOR, addresses: [0; 3], enabled: false }
    }

    pub(super) fn ring(&self) -> &Queue {
        &self.ring
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.enabled
    }

    fn reset(&mut self) {
        self.ring.reset();
        self.vector = NO_VECTOR;
        self.addresses = [0; 3];
        self.enabled = false;
    }

    /// Enable with what the driver wrote. `false` if the ring cannot lie there.
    fn enable(&mut self, event_indexes: bool) -> bool {
        let [descriptors, driver, device] = self.addresses.map(vm_memory::GuestAddress);
        self.ring.set_event_idx(event_indexes);
        self.enabled = self.ring.try_set_desc_table_address(descriptors).is_ok()
            && self.ring.try_set_avail_ring_address(driver).is_ok()
            && self.ring.try_set_used_ring_address(device).is_ok()
            // virtio-queue takes an available ring at address 0 for one that was never set.
            && driver.0 != 0;
        self.ring.set_ready(self.enabled);
        self.enabled
    }
}

impl QueueSet for &mut [PciQueue] {
    fn queue(&mut self, index: u16) -> Option<&mut Queue> {
        self.get_mut(usize::from(index)).filter(|queue| queue.enabled).map(|queue| &mut queue.ring)
    }
}

/// A virtio device as a PCI device.
pub struct VirtioPci<V> {
    device: V,
    offered: u64,
    queues: Vec<PciQueue>,
    driver_features: u64,
    device_feature_select: u32,
    driver_feature_select: u32,
    config_vector: u16,
    queue_select: u16,
    status: u8,
    /// What the status reads as while a reset lasts.
    status_in_reset: u8,
    isr: u8,
    /// Queues that the driver has notified and that are not drained yet.
    notified: u64,
    /// For queues in memory that the machine does not share; and the queues of which the driver is told when what was done for them is there.
    mirror: Option<Box<Mirror>>,
    untold: u64,
    /// Whether what the driver has made available is being brought from there, and the queues of which it has notified meanwhile.
    staging: bool,
    notified_late: u64,
    complaints: u32,
}

impl<V: VirtioDevice> VirtioPci<V> {
    /// Put `device` on PCI.
    pub fn new(device: V) -> Self {
        let queues: Vec<_> = device.queue_sizes().iter().map(|&size| PciQueue::new(size)).collect();
        assert!(queues.len() <= 64, "a device has at most 64 queues");
        Self {
            offered: device.features() | TRANSPORT_FEATURES,
            device,
            queues,
            driver_features: 0,
            device_feature_select: 0,
            driver_feature_select: 0,
            config_vector: NO_VECTOR,
            queue_select: 0,
            status: 0,
            status_in_reset: 0,
            isr: 0,
            notified: 0,
            mirror: None,
            untold: 0,
            staging: false,
            notified_late: 0,
            complaints: 0,
        }
    }

    /// Tell of a driver's mistake, unless it has made so many that telling would be a burden of its own.
    fn complain(&mut self, mistake: &str) {
        if self.complaints < MAX_COMPLAINTS {
            self.complaints += 1;
            tracing::warn!(queue = self.queue_select, features = format_args!("{:#x}", self.driver_features), "{mistake}");
        }
    }

    fn vectors(&self) -> u16 {
        self.queues.len() as u16 + 1
    }

    fn running(&self) -> bool {
        self.status & (DRIVER_OK | NEEDS_RESET | FAILED) == DRIVER_OK
    }

    fn selected(&mut self) -> Option<&mut PciQueue> {
        self.queues.get_mut(usize::from(self.queue_select))
    }

    fn reset_all(&mut self, bus: &mut dyn Bus) {
        self.device.reset(bus.now());
        self.status_in_reset = self.status | ACKNOWLEDGE;
        for queue in &mut self.queues {
            queue.reset();
        }
        self.driver_features = 0;
        self.device_feature_select = 0;
        self.driver_feature_select = 0;
        self.config_vector = NO_VECTOR;
        self.queue_select = 0;
        self.status = 0;
        self.isr = 0;
        self.notified = 0;
        self.mirror = None;
        self.untold = 0;
        self.staging = false;
        bus.forget_transfers();
        bus.set_pin(false);
    }

    /// The common configuration structure as bytes. Reads have no side effect, so any width and offset can be served from it.
    fn common(&self, now: u64) -> [u8; 64] {
        let mut image = [0; 64];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.device_feature_select.to_le_bytes());
        put(4, &half(self.offered, self.device_feature_select).to_le_bytes());
        put(8, &self.driver_feature_select.to_le_bytes());
        put(12, &half(self.driver_features, self.driver_feature_select).to_le_bytes());
        put(16, &self.config_vector.to_le_bytes());
        put(18, &(self.queues.len() as u16).to_le_bytes());
        let status = if now < self.device.reset_lasts_until() { self.status_in_reset } else { self.status };
        put(20, &[status, self.device.config_generation()]);
        put(22, &self.queue_select.to_le_bytes());
        if let Some(queue) = self.queues.get(usize::from(self.queue_select)) {
            put(24, &queue.ring.size().to_le_bytes());
            put(26, &queue.vector.to_le_bytes());
            put(28, &u16::from(queue.enabled).to_le_bytes());
            put(30, &self.queue_select.to_le_bytes());
            for (index, address) in queue.addresses.iter().enumerate() {
                put(32 + 8 * index, &address.to_le_bytes());
            }
            put(56, &self.queue_select.to_le_bytes());
        } else {
            put(26, &NO_VECTOR.to_le_bytes());
        }
        image
    }

    fn write_common(&mut self, offset: u64, data: &[u8], bus: &mut dyn Bus) {
        if data.len() == 8 {
            // 64-bit fields are defined as two halves.
            self.write_common(offset, &data[..4], bus);
            self.write_common(offset + 4, &data[4..], bus);
            return;
        }
        let mut bytes = [0; 4];
        bytes[..data.len()].copy_from_slice(data);
        let value = u32::from_le_bytes(bytes);
        let word = value as u16;
        match (offset, data.len()) {
            (0, 4) => self.device_feature_select = value,
            (8, 4) => self.driver_feature_select = value,
            (12, 4) => self.write_features(value),
            (16, 2) => self.config_vector = self.checked_vector(word),
            (20, 1) => self.write_status(value as u8, bus),
            (22, 2) => self.queue_select = word,
            (24, 2) => self.write_queue(|queue| {
                // Another size than a power of two up to the largest is not taken; the driver reads back what holds.
                let _ = queue.ring.try_set_size(word);
            }),
            (26, 2) => {
                let vector = self.checked_vector(word);
                if let Some(queue) = self.selected() {
                    queue.vector = vector;
                }
            }
            (28, 2) => self.enable_queue(word, bus),
            (32..=52, 4) => {
                let (index, high) = ((offset - 32) / 8, offset % 8 == 4);
                self.write_queue(|queue| {
                    let address = &mut queue.addresses[index as usize];
                    *address = if high {
                        u64::from(value) << 32 | *address & 0xffff_ffff
                    } else {
                        *address & !0xffff_ffff | u64::from(value)
                    };
                });
            }
            (58, 2) => self.reset_queue(word, bus),
            _ => tracing::debug!(offset, length = data.len(), "a write to no field of the common configuration"),
        }
    }

    /// Change the selected queue, unless the driver has enabled it.
    fn write_queue(&mut self, change: impl FnOnce(&mut PciQueue)) {
        match self.selected() {
            Some(queue) if !queue.enabled => change(queue),
            _ => self.complain("the driver set up a queue that does not exist or is enabled"),
        }
    }

    fn checked_vector(&self, vector: u16) -> u16 {
        if vector < self.vectors() { vector } else { NO_VECTOR }
    }

    fn write_features(&mut self, value: u32) {
        // Features are settled once FEATURES_OK is (3.1.1).
        if self.status & FEATURES_OK != 0 {
            return;
        }
        match self.driver_feature_select {
            0 => self.driver_features = self.driver_features & !0xffff_ffff | u64::from(value),
            1 => self.driver_features = u64::from(value) << 32 | self.driver_features & 0xffff_ffff,
            _ if value != 0 => self.complain("the driver accepts features beyond bit 63"),
            _ => {}
        }
    }

    fn write_status(&mut self, value: u8, bus: &mut dyn Bus) {
        if value == 0 {
            self.reset_all(bus);
            return;
        }
        if bus.now() < self.device.reset_lasts_until() {
            self.complain("the driver goes on while the device is in its reset");
            return;
        }
        let mut added = value & !self.status & !NEEDS_RESET;
        let acceptable = self.driver_features & !self.offered == 0 && self.driver_features & bit(VIRTIO_F_VERSION_1) != 0;
        if added & FEATURES_OK != 0 && !acceptable {
            self.complain("the driver accepts features that were not offered, or not VIRTIO_F_VERSION_1");
            added &= !FEATURES_OK;
        }
        if added & DRIVER_OK != 0 && (self.status | added) & FEATURES_OK == 0 {
            self.complain("DRIVER_OK before FEATURES_OK");
            added &= !DRIVER_OK;
        }
        // Bits only come; a reset takes them away.
        self.status |= added;
        if added & DRIVER_OK != 0 {
            self.device.start(self.driver_features);
            // Notifications from before DRIVER_OK must not be lost, nor chains made available without one.
            self.notified = self.enabled_mask();
        }
    }

    fn enabled_mask(&self) -> u64 {
        self.queues.iter().enumerate().filter(|(_, queue)| queue.enabled).fold(0, |mask, (index, _)| mask | 1 << index)
    }

    fn enable_queue(&mut self, value: u16, bus: &mut dyn Bus) {
        if value != 1 || self.status & FEATURES_OK == 0 {
            self.complain("queue_enable takes 1, after FEATURES_OK");
            return;
        }
        let index = self.queue_select;
        let event_indexes = self.driver_features & bit(VIRTIO_RING_F_EVENT_IDX) != 0;
        let Some(queue) = self.selected().filter(|queue| !queue.enabled) else { return };
        if queue.enable(event_indexes) {
            if self.status & DRIVER_OK != 0 {
                self.notified |= 1 << index;
            }
        } else {
            self.complain("the driver put a ring at an address where none can be");
            self.need_reset(bus);
        }
    }

    fn reset_queue(&mut self, value: u16, bus: &mut dyn Bus) {
        let index = self.queue_select;
        if value != 1 || self.driver_features & self.offered & bit(VIRTIO_F_RING_RESET) == 0 || self.status & FEATURES_OK == 0 {
            self.complain("queue_reset takes 1, and only if VIRTIO_F_RING_RESET was accepted");
            return;
        }
        if let Some(queue) = self.selected() {
            queue.reset();
            self.notified &= !(1 << index);
            self.untold &= !(1 << index);
            if let Some(mirror) = &mut self.mirror {
                mirror.forget_queue(index);
                // What is on its way for other queues is sent for again.
                bus.forget_transfers();
            }
            self.device.reset_queue(index);
        }
    }

    /// Something is wrong that only a reset can mend (2.1.2).
    fn need_reset(&mut self, bus: &mut dyn Bus) {
        if self.status & NEEDS_RESET == 0 {
            self.status |= NEEDS_RESET;
            self.complain("the device needs a reset");
            if self.status & DRIVER_OK != 0 {
                self.interrupt(self.config_vector, ISR_CONFIG, bus);
            }
        }
    }

    fn interrupt(&mut self, vector: u16, cause: u8, bus: &mut dyn Bus) {
        if bus.messages_enabled() {
            // A change of configuration shows in the interrupt status whichever way it is told (4.1.4.5.1).
            self.isr |= cause & ISR_CONFIG;
            if vector != NO_VECTOR {
                bus.interrupt(vector);
            }
        } else {
            self.isr |= cause;
            bus.set_pin(true);
        }
    }

    fn read_isr(&mut self, bus: &mut dyn Bus) -> u8 {
        let isr = std::mem::take(&mut self.isr);
        if isr != 0 {
            bus.set_pin(false);
        }
        isr
    }

    fn notify(&mut self, offset: u64) {
        let index = offset / NOTIFY_MULTIPLIER;
        if self.queues.get(index as usize).is_some_and(|queue| queue.enabled) {
            self.notified |= 1 << index;
            self.notified_late |= 1 << index;
        }
    }

    fn read_virtio(&mut self, offset: u64, data: &mut [u8], bus: &mut dyn Bus) {
        data.fill(0);
        let (page, at) = (offset / PAGE * PAGE, (offset % PAGE) as usize);
        match page {
            COMMON => {
                let image = self.common(bus.now());
                copy_part(&image, at, data);
            }
            ISR if at == 0 => data[0] = self.read_isr(bus),
            DEVICE => {
                let length = self.device.config_size().saturating_sub(at).min(data.len());
                if length > 0 {
                    self.device.read_config(at, &mut data[..length]);
                }
            }
            SHARED_PAGES.. => self.device.read_shared(offset - SHARED_PAGES, data),
            _ => {}
        }
    }

    fn write_virtio(&mut self, offset: u64, data: &[u8], bus: &mut dyn Bus) {
        let (page, at) = (offset / PAGE * PAGE, offset % PAGE);
        match page {
            COMMON => self.write_common(at, data, bus),
            DEVICE => {
                let length = self.device.config_size().saturating_sub(at as usize).min(data.len());
                if length > 0 {
                    self.device.write_config(at as usize, &data[..length]);
                }
            }
            NOTIFY => self.notify(at),
            _ => {}
        }
    }
}

impl<V: VirtioDevice> Device for VirtioPci<V> {
    fn identity(&self) -> Identity {
        let mut bars = [None; 6];
        bars[VIRTIO_BAR] = Some(Bar::memory64(VIRTIO_BAR_SIZE));
        let notify_length = NOTIFY_MULTIPLIER * self.queues.len() as u64;
        let mut window = capability(5, 0, 0, &[0; 4]);
        // BAR, offset and length of the window, and the data behind it.
        window.writable = [&[0, 0, 0xff, 0, 0, 0][..], &[0xff; 12]].concat();
        window.body[2] = 0;
        window.live = true;
        Identity {
            vendor: VENDOR,
            device: MODERN + self.device.virtio_id(),
            subsystem_vendor: VENDOR,
            subsystem: self.device.virtio_id(),
            class: 0x07_80_00,
            revision: 1,
            bars,
            msix: Some(Msix { bar: MSIX_BAR, vectors: self.vectors() }),
            pin: true,
            capabilities: vec![
                capability(1, COMMON, 64, &[]),
                capability(2, NOTIFY, notify_length, &(NOTIFY_MULTIPLIER as u32).to_le_bytes()),
                capability(3, ISR, 1, &[]),
                capability(4, DEVICE, self.device.config_size() as u64, &[]),
                window,
            ],
        }
    }

    fn read_bar(&mut self, _bar: usize, offset: u64, data: &mut [u8], bus: &mut dyn Bus) {
        self.read_virtio(offset, data, bus);
    }

    fn write_bar(&mut self, _bar: usize, offset: u64, data: &[u8], bus: &mut dyn Bus) {
        self.write_virtio(offset, data, bus);
    }

    fn reset(&mut self, bus: &mut dyn Bus) {
        self.reset_all(bus);
    }

    fn next_wake(&self) -> Option<u64> {
        if !self.running() {
            None
        } else if self.notified != 0 || self.mirror.as_ref().is_some_and(|mirror| self.is_behind(mirror)) {
            Some(0)
        } else {
            self.device.next_wake()
        }
    }

    fn wake(&mut self, bus: &mut dyn Bus) {
        if self.running() {
            self.work(bus);
        }
    }

    fn read_capability(&mut self, index: usize, touched: Range<usize>, body: &mut [u8], bus: &mut dyn Bus) {
        if let Some((offset, length)) = window(index, &touched, body) {
            self.read_virtio(offset, &mut body[WINDOW_DATA..WINDOW_DATA + length], bus);
        }
    }

    fn write_capability(&mut self, index: usize, touched: Range<usize>, body: &mut [u8], bus: &mut dyn Bus) {
        if let Some((offset, length)) = window(index, &touched, body) {
            self.write_virtio(offset, &body[WINDOW_DATA..WINDOW_DATA + length], bus);
        }
    }

    fn shared_areas(&self) -> Vec<SharedArea<'_>> {
        self.device
            .shared_pages()
            .into_iter()
            .map(|(file, size)| SharedArea { bar: VIRTIO_BAR, offset: SHARED_PAGES, size, file })
            .collect()
    }
}

/// Where the window of the PCI configuration access capability points, if its data is touched and the driver set it up as 4.1.4.9 says.
fn window(index: usize, touched: &Range<usize>, body: &[u8]) -> Option<(u64, usize)> {
    let word = |at: usize| u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
    let (offset, length) = (word(6), word(10));
    let valid = index == WINDOW_CAPABILITY
        && touched.end > WINDOW_DATA
        && usize::from(body[2]) == VIRTIO_BAR
        && matches!(length, 1 | 2 | 4)
        && offset.is_multiple_of(length)
        && u64::from(offset) + u64::from(length) <= VIRTIO_BAR_SIZE;
    valid.then_some((u64::from(offset), length as usize))
}

/// A virtio structure capability (4.1.4), without id and next pointer.
fn capability(kind: u8, offset: u64, length: u64, rest: &[u8]) -> Capability {
    let mut body = vec![(16 + rest.len()) as u8, kind, VIRTIO_BAR as u8, 0, 0, 0];
    body.extend((offset as u32).to_le_bytes());
    body.extend((length as u32).to_le_bytes());
    body.extend(rest);
    Capability { id: 0x09, body, writable: Vec::new(), live: false }
}

fn half(features: u64, select: u32) -> u32 {
    match select {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}

fn copy_part(source: &[u8], at: usize, into: &mut [u8]) {
    if let Some(rest) = source.get(at..) {
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
    }
}
