//! A recorder around a virtio device.

use std::os::fd::BorrowedFd;

use super::super::event::What;
use super::super::format::MAX_DATA;
use super::super::header::{Header, Level, VirtioShape};
use super::Trace;
use crate::device::Device as _;
use crate::memory::Memory;
use crate::virtio::pci::VirtioPci;
use crate::virtio::{Chain, Host, TAG_BYTES, VirtioDevice};

/// A virtio device that is recorded: its chains, and its configuration.
pub struct RecordingVirtio<V> {
    device: V,
    trace: Trace,
    /// Chains that the device has, by queue and head.
    chains: Vec<Vec<Option<Chain>>>,
    spare: Vec<Chain>,
}

impl<V: VirtioDevice> RecordingVirtio<V> {
    /// Record what `device` does.
    pub fn new(device: V, trace: Trace) -> Self {
        let chains = device.queue_sizes().iter().map(|&size| (0..size).map(|_| None).collect()).collect();
        Self { device, trace, chains, spare: Vec::new() }
    }

    fn with_host(&mut self, host: &mut dyn Host, notified: Option<u16>, call: impl FnOnce(&mut V, &mut dyn Host)) {
        drop(self.trace.enter(host.now(), notified.is_none()));
        let tag = V::tag;
        let (chains, spare) = (&mut self.chains, &mut self.spare);
        let mut recording = RecordingHost { host, trace: &self.trace, notified, chains, spare, tag };
        call(&mut self.device, &mut recording);
    }

    fn forget(&mut self, queue: Option<u16>) {
        let queues = self.chains.iter_mut().enumerate();
        for (_, heads) in queues.filter(|(index, _)| queue.is_none_or(|queue| usize::from(queue) == *index)) {
            self.spare.extend(heads.iter_mut().filter_map(Option::take));
        }
    }
}

struct RecordingHost<'a> {
    host: &'a mut dyn Host,
    trace: &'a Trace,
    /// The queue of which the driver has said that there is something on it.
    notified: Option<u16>,
    chains: &'a mut Vec<Vec<Option<Chain>>>,
    spare: &'a mut Vec<Chain>,
    tag: fn(u16, &[u8]) -> Option<u64>,
}

impl Host for RecordingHost<'_> {
    fn pop(&mut self, queue: u16, chain: &mut Chain) -> bool {
        if !self.host.pop(queue, chain) {
            return false;
        }
        let (readable, writable) = (chain.readable(), chain.writable());
        let mut beginning = [0; TAG_BYTES];
        let beginning = &mut beginning[..readable.min(TAG_BYTES as u64) as usize];
        let tag = chain.read(self.host.memory(), 0, beginning).ok().and_then(|()| (self.tag)(queue, beginning));
        let taken = What::Taken { queue, head: chain.head(), tag, readable, writable, data: &[] };
        let length = readable.min(MAX_DATA as u64) as usize;
        let memory = self.host.memory();
        let mut state = self.trace.lock();
        let before = std::mem::replace(&mut state.own_accord, self.notified != Some(queue));
        if !state.event_with(&taken, length, |room| chain.read(memory, 0, room).is_ok()) {
            // The device will find the same.
            state.event(&taken);
        }
        state.own_accord = before;
        drop(state);
        let slot = self.chains.get_mut(usize::from(queue)).and_then(|heads| heads.get_mut(usize::from(chain.head())));
        if let Some(slot) = slot {
            slot.get_or_insert_with(|| self.spare.pop().unwrap_or_default()).copy_from(chain);
        }
        true
    }

    fn push(&mut self, queue: u16, head: u16, written: u32) {
        let slot = self.chains.get_mut(usize::from(queue)).and_then(|heads| heads.get_mut(usize::from(head)));
        let chain = slot.and_then(Option::take);
        let given = What::Given { queue, head, written, data: &[] };
        let mut state = self.trace.lock();
        let recorded = chain.as_ref().is_some_and(|chain| {
            // A device may claim to have written more than there is room for.
            let length = u64::from(written).min(chain.writable()).min(MAX_DATA as u64) as usize;
            state.event_with(&given, length, |room| chain.read_writable(self.host.memory(), room).is_ok())
        });
        if !recorded {
            state.event(&given);
        }
        drop(state);
        self.spare.extend(chain);
        self.host.push(queue, head, written);
    }

    fn fail(&mut self) {
        self.trace.lock().event(&What::NeedsReset);
        self.host.fail();
    }

    fn memory(&self) -> &Memory {
        self.host.memory()
    }

    fn now(&self) -> u64 {
        self.host.now()
    }
}

#[deny(clippy::missing_trait_methods, reason = "a device around a device must pass everything on")]
impl<V: VirtioDevice> VirtioDevice for RecordingVirtio<V> {
    fn virtio_id(&self) -> u16 {
        self.device.virtio_id()
    }

    fn queue_sizes(&self) -> &'static [u16] {
        self.device.queue_sizes()
    }

    fn features(&self) -> u64 {
        self.device.features()
    }

    fn config_size(&self) -> usize {
        self.device.config_size()
    }

    fn read_config(&mut self, offset: usize, data: &mut [u8]) {
        self.device.read_config(offset, data);
        self.trace.lock().event(&What::DeviceRead { offset: offset as u64, data });
    }

    fn write_config(&mut self, offset: usize, data: &[u8]) {
        self.trace.lock().event(&What::DeviceWrite { offset: offset as u64, data });
        self.device.write_config(offset, data);
    }

    fn config_generation(&self) -> u8 {
        self.device.config_generation()
    }

    fn start(&mut self, features: u64) {
        self.trace.lock().event(&What::Start { features });
        self.device.start(features);
    }

    fn notified(&mut self, queue: u16, host: &mut dyn Host) {
        self.with_host(host, Some(queue), |device, host| device.notified(queue, host));
    }

    fn reset_queue(&mut self, queue: u16) {
        self.trace.lock().event(&What::QueueReset { queue });
        self.forget(Some(queue));
        self.device.reset_queue(queue);
    }

    fn reset(&mut self, now: u64) {
        self.trace.append(now, &What::Reset);
        self.forget(None);
        self.device.reset(now);
    }

    fn reset_lasts_until(&self) -> u64 {
        self.device.reset_lasts_until()
    }

    fn next_wake(&self) -> Option<u64> {
        self.device.next_wake()
    }

    fn wake(&mut self, host: &mut dyn Host) {
        self.with_host(host, None, |device, host| device.wake(host));
    }

    fn shared_pages(&self) -> Option<(BorrowedFd<'_>, u64)> {
        None
    }

    fn read_shared(&mut self, offset: u64, data: &mut [u8]) {
        self.device.read_shared(offset, data);
        self.trace.lock().event(&What::SharedRead { offset, data });
    }

    fn tag(queue: u16, readable: &[u8]) -> Option<u64> {
        V::tag(queue, readable)
    }
}

/// What a trace says of a virtio device.
fn virtio_shape(device: &impl VirtioDevice) -> VirtioShape {
    VirtioShape {
        id: device.virtio_id(),
        queue_sizes: device.queue_sizes().to_vec(),
        features: device.features(),
        config_size: device.config_size(),
    }
}

/// The header of a virtio device's trace: as it looks on PCI, since a replay may put it there whatever transport it was recorded on.
pub fn virtio_header(name: &str, device: impl VirtioDevice) -> Header {
    let shape = virtio_shape(&device);
    let header = Header::of_device(name, &VirtioPci::new(device).identity());
    Header { level: Level::Virtio, virtio: Some(shape), ..header }
}
