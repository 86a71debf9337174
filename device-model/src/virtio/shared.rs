//! One virtio device that several connections have one after the other.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Host, VirtioDevice};

/// A device that stays when a connection to it ends. It shares no pages.
pub struct Shared<V>(Arc<Mutex<V>>);

impl<V> Clone for Shared<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V> Shared<V> {
    /// Share a device.
    pub fn new(device: V) -> Self {
        Self(Arc::new(Mutex::new(device)))
    }

    fn lock(&self) -> MutexGuard<'_, V> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[deny(clippy::missing_trait_methods, reason = "a device around a device must pass everything on")]
impl<V: VirtioDevice> VirtioDevice for Shared<V> {
    fn virtio_id(&self) -> u16 {
        self.lock().virtio_id()
    }

    fn queue_sizes(&self) -> &'static [u16] {
        self.lock().queue_sizes()
    }

    fn features(&self) -> u64 {
        self.lock().features()
    }

    fn config_size(&self) -> usize {
        self.lock().config_size()
    }

    fn read_config(&mut self, offset: usize, data: &mut [u8]) {
        self.lock().read_config(offset, data);
    }

    fn write_config(&mut self, offset: usize, data: &[u8]) {
        self.lock().write_config(offset, data);
    }

    fn config_generation(&self) -> u8 {
        self.lock().config_generation()
    }

    fn start(&mut self, features: u64) {
        self.lock().start(features);
    }

    fn notified(&mut self, queue: u16, host: &mut dyn Host) {
        self.lock().notified(queue, host);
    }

    fn reset_queue(&mut self, queue: u16) {
        self.lock().reset_queue(queue);
    }

    fn reset(&mut self, now: u64) {
        self.lock().reset(now);
    }

    fn reset_lasts_until(&self) -> u64 {
        self.lock().reset_lasts_until()
    }

    fn next_wake(&self) -> Option<u64> {
        self.lock().next_wake()
    }

    fn wake(&mut self, host: &mut dyn Host) {
        self.lock().wake(host);
    }

    fn shared_pages(&self) -> Option<(BorrowedFd<'_>, u64)> {
        None
    }

    fn read_shared(&mut self, offset: u64, data: &mut [u8]) {
        self.lock().read_shared(offset, data);
    }

    fn tag(queue: u16, readable: &[u8]) -> Option<u64> {
        V::tag(queue, readable)
    }
}
