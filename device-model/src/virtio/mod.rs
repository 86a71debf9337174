//! What a virtio device is, apart from the bus it sits on; chains and rings for every such device.
//!
//! A virtio device is put on PCI by [`pci::VirtioPci`]; `serve::vhost_user` hosts the same trait without it.

use std::os::fd::BorrowedFd;

mod chain;
mod mirror;
mod queues;

pub mod pci;
mod shared;
#[cfg(test)]
mod tests;

pub use self::chain::Chain;
pub use self::queues::{Host, QueueSet, Queues};
pub use self::shared::Shared;

/// How much of a chain [`VirtioDevice::tag`] sees.
pub const TAG_BYTES: usize = 64;

/// A virtio device. Methods run to their end at once; what takes time is kept and done in [`VirtioDevice::wake`].
pub trait VirtioDevice: Send {
    /// Virtio device id.
    fn virtio_id(&self) -> u16;

    /// Largest size of each queue.
    fn queue_sizes(&self) -> &'static [u16];

    /// Feature bits of this kind of device, 0 to 23 and 50 to 63. The others belong to the transport.
    fn features(&self) -> u64 {
        0
    }

    /// Bytes of device configuration.
    fn config_size(&self) -> usize;

    /// Read device configuration; inside [`VirtioDevice::config_size`].
    fn read_config(&mut self, offset: usize, data: &mut [u8]);

    /// Write device configuration; inside [`VirtioDevice::config_size`].
    fn write_config(&mut self, _offset: usize, _data: &[u8]) {}

    /// Changes whenever configuration that the driver could read in two halves has changed.
    fn config_generation(&self) -> u8 {
        0
    }

    /// The driver is ready, with these features.
    fn start(&mut self, _features: u64) {}

    /// The driver has made chains available on `queue`: take them.
    fn notified(&mut self, queue: u16, host: &mut dyn Host);

    /// One queue is reset: forget its chains.
    fn reset_queue(&mut self, queue: u16);

    /// Forget everything.
    fn reset(&mut self, now: u64);

    /// Device time until which the last reset lasts: until then the driver does not read zero as the status (4.1.4.3.2), and sets none.
    fn reset_lasts_until(&self) -> u64 {
        0
    }

    /// Device time at which [`VirtioDevice::wake`] is due.
    fn next_wake(&self) -> Option<u64> {
        None
    }

    /// Do what is due, for a bounded time.
    fn wake(&mut self, _host: &mut dyn Host) {}

    /// A file whose pages from [`pci::SHARED_PAGES`] on, at most [`pci::SHARED_SIZE`] bytes, the guest may read at that offset of the
    /// registers' BAR without asking the device; and their size.
    fn shared_pages(&self) -> Option<(BorrowedFd<'_>, u64)> {
        None
    }

    /// Read the shared pages for a guest that does ask.
    fn read_shared(&mut self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    /// The tag of the request that a chain carries, for whoever reads a trace; `readable` is the beginning of what the device may read of it,
    /// [`TAG_BYTES`] bytes if there are so many.
    fn tag(_queue: u16, _readable: &[u8]) -> Option<u64>
    where
        Self: Sized,
    {
        None
    }
}
