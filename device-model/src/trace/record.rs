//! Devices around devices that write a trace of what goes in and out.
//!
//! [`Recorder`] stands around any PCI device, [`RecordingVirtio`] around any virtio device; around both ends of a virtio device on PCI, they
//! share one trace. Recording changes one thing: memory that a device would share with the guest is not shared, so that reads of it are
//! accesses like any other.

use std::io::Write;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_memory::Permissions;

use super::event::{Event, What, encode};
use super::format::MAX_DATA;
use super::header::{Header, Level, VirtioShape};
use super::writer::{Compression, Writer};
use crate::device::{Bus, Device, Identity, SharedArea};
use crate::memory::{DmaError, Memory, Watch};
use crate::pci::POWER_CONTROL;
use crate::virtio::pci::VirtioPci;
use crate::virtio::{Chain, Host, VirtioDevice};

/// Events are in the file at the latest after this device time.
const FLUSH_AFTER: u64 = 50_000_000;
/// What a device may do during one register read and still have it recorded behind the read.
const MOST_HELD: usize = MAX_DATA;

/// A trace being written. Clones write the same one; the last to go finishes it.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<State>>);

struct State {
    writer: Option<Writer<Box<dyn Write + Send>>>,
    now: u64,
    own_accord: bool,
    /// Device time of the oldest event that is not in the file.
    dirty_since: u64,
    /// Guest memory that the device is about to write: what it wrote is there when it does the next thing.
    writing: Option<(u64, usize, Arc<Memory>)>,
    /// What the device does while it answers a read; it follows the read in the trace.
    held: Option<Vec<u8>>,
    held_events: u32,
    spare: Vec<u8>,
    scratch: Vec<u8>,
}

impl Trace {
    /// Begin a trace.
    ///
    /// # Errors
    /// The output's.
    pub fn new(out: impl Write + Send + 'static, header: &Header, compression: Compression) -> std::io::Result<Self> {
        let out: Box<dyn Write + Send> = Box::new(out);
        let state = State {
            writer: Some(Writer::new(out, header, compression)?),
            now: 0,
            own_accord: false,
            dirty_since: 0,
            writing: None,
            held: None,
            held_events: 0,
            spare: Vec::new(),
            scratch: Vec::new(),
        };
        Ok(Self(Arc::new(Mutex::new(state))))
    }

    /// Append an event at a time.
    pub fn append(&self, now: u64, what: &What<'_>) {
        let mut state = self.lock();
        state.now = now;
        state.event(what);
    }

    /// Append an event as it was.
    pub(super) fn append_as(&self, event: &Event<'_>) {
        self.enter(event.time, event.own_accord).event(&event.what);
    }

    /// Write what is left and the index.
    ///
    /// # Errors
    /// The output's.
    pub fn finish(&self) -> std::io::Result<()> {
        let mut state = self.lock();
        state.settle();
        state.writer.as_mut().map_or(Ok(()), Writer::finish)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call of the device begins.
    fn enter(&self, now: u64, own_accord: bool) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.now = now;
        state.own_accord = own_accord;
        state
    }

    /// It has ended.
    fn leave(&self) {
        self.lock().settle();
    }

    pub(super) fn flush_due(&self) -> Option<u64> {
        let state = self.lock();
        state.writer.as_ref().is_some_and(Writer::is_dirty).then(|| state.dirty_since + FLUSH_AFTER)
    }

    pub(super) fn flush_if_due(&self, now: u64) {
        let mut state = self.lock();
        if now >= state.dirty_since + FLUSH_AFTER {
            state.write(Writer::flush);
        }
    }
}

impl State {
    #[inline]
    fn event(&mut self, what: &What<'_>) {
        self.settle();
        if let Some(held) = &mut self.held {
            if held.len() + what.data().len() < MOST_HELD {
                encode(held, 0, self.own_accord, what);
                self.held_events += 1;
                return;
            }
            self.release();
        }
        let (now, own) = (self.now, self.own_accord);
        if let Some(writer) = &self.writer
            && !writer.is_dirty()
        {
            self.dirty_since = now;
        }
        self.write(|writer| writer.append(now, own, what));
    }

    /// The device's last write to guest memory is done: record what it wrote.
    #[inline]
    fn settle(&mut self) {
        if let Some((address, length, memory)) = self.writing.take() {
            let mut scratch = std::mem::take(&mut self.scratch);
            scratch.resize(length.min(MAX_DATA), 0);
            if memory.read_at(address, &mut scratch).is_ok() {
                self.event(&What::DmaWrite { address, data: &scratch });
            } else {
                self.event(&What::DmaFailed { address, length: length as u64, write: true });
            }
            self.scratch = scratch;
        }
    }

    fn hold(&mut self) {
        let mut held = std::mem::take(&mut self.spare);
        held.clear();
        self.held = Some(held);
        self.held_events = 0;
    }

    /// Write what was held.
    fn release(&mut self) {
        if let Some(held) = self.held.take() {
            let events = self.held_events;
            if events > 0 {
                self.write(|writer| writer.append_encoded(&held, events));
            }
            self.spare = held;
        }
    }

    /// A trace that cannot be written ends; the device goes on.
    fn write(&mut self, act: impl FnOnce(&mut Writer<Box<dyn Write + Send>>) -> std::io::Result<()>) {
        if let Some(writer) = &mut self.writer
            && let Err(error) = act(writer)
        {
            tracing::error!(%error, events = writer.events(), "the trace cannot be written on: it ends here");
            self.writer = None;
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.settle();
        self.write(Writer::finish);
    }
}

/// Records what a device does to guest memory.
struct DmaWatch {
    trace: Trace,
    memory: Arc<Memory>,
}

impl std::fmt::Debug for DmaWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DmaWatch")
    }
}

impl Watch for DmaWatch {
    fn accessed(&self, address: u64, length: usize, write: bool) {
        let mut state = self.trace.lock();
        state.settle();
        if write {
            state.writing = Some((address, length, self.memory.clone()));
            return;
        }
        let mut scratch = std::mem::take(&mut state.scratch);
        scratch.resize(length.min(MAX_DATA), 0);
        if self.memory.read_at(address, &mut scratch).is_ok() {
            state.event(&What::DmaRead { address, data: &scratch });
        } else {
            state.event(&What::DmaFailed { address, length: length as u64, write: false });
        }
        state.scratch = scratch;
    }
}

/// Whether a recorder of a PCI device records its DMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dma {
    Recorded,
    /// Another recorder, nearer to the device, knows better what it means.
    Elsewhere,
}

/// A PCI device that is recorded.
pub struct Recorder<D> {
    device: D,
    trace: Trace,
    dma: Dma,
    /// Guest memory as the machine has it, and the same with a watch on it.
    watched: Option<(Arc<Memory>, Arc<Memory>)>,
}

impl<D: Device> Recorder<D> {
    /// Record all that `device` does.
    pub fn new(device: D, trace: Trace) -> Self {
        Self { device, trace, dma: Dma::Recorded, watched: None }
    }

    /// Record all but DMA: for a virtio device that is recorded by [`RecordingVirtio`] too.
    pub fn beside_chains(device: D, trace: Trace) -> Self {
        Self { device, trace, dma: Dma::Elsewhere, watched: None }
    }

    /// Call the device with a bus that records.
    fn with_bus<T>(&mut self, bus: &mut dyn Bus, call: impl FnOnce(&mut D, &mut dyn Bus) -> T) -> T {
        let memory = match self.dma {
            Dma::Elsewhere => None,
            Dma::Recorded => Some(self.watch(bus.memory())),
        };
        let result = call(&mut self.device, &mut RecordingBus { bus, trace: &self.trace, memory });
        self.trace.leave();
        result
    }

    fn watch(&mut self, memory: &Arc<Memory>) -> Arc<Memory> {
        match &self.watched {
            Some((source, watched)) if Arc::ptr_eq(source, memory) => watched.clone(),
            _ => {
                let watch = DmaWatch { trace: self.trace.clone(), memory: memory.clone() };
                let watched = Arc::new(memory.watched(Arc::new(watch)));
                self.watched = Some((memory.clone(), watched.clone()));
                watched
            }
        }
    }
}

struct RecordingBus<'a> {
    bus: &'a mut dyn Bus,
    trace: &'a Trace,
    memory: Option<Arc<Memory>>,
}

impl Bus for RecordingBus<'_> {
    fn memory(&self) -> &Arc<Memory> {
        self.memory.as_ref().unwrap_or_else(|| self.bus.memory())
    }

    fn interrupt(&mut self, vector: u16) {
        self.trace.lock().event(&What::Interrupt { vector });
        self.bus.interrupt(vector);
    }

    fn set_pin(&mut self, asserted: bool) {
        self.trace.lock().event(&What::Pin { level: asserted });
        self.bus.set_pin(asserted);
    }

    fn messages_enabled(&self) -> bool {
        self.bus.messages_enabled()
    }

    fn now(&self) -> u64 {
        self.bus.now()
    }

    fn dma_read(&mut self, address: u64, into: &mut [u8]) -> Result<(), DmaError> {
        if !self.bus.memory().is_far(address, into.len(), Permissions::Read) {
            return Ok(self.memory().read_at(address, into)?);
        }
        // Sent for: recorded when it is through, by the call that brings the bytes.
        let outcome = self.bus.dma_read(address, into);
        self.transferred(address, into, false, outcome)
    }

    fn dma_write(&mut self, address: u64, from: &[u8]) -> Result<(), DmaError> {
        if !self.bus.memory().is_far(address, from.len(), Permissions::Write) {
            return Ok(self.memory().write_at(address, from)?);
        }
        let outcome = self.bus.dma_write(address, from);
        self.transferred(address, from, true, outcome)
    }

    fn forget_transfers(&mut self) {
        self.bus.forget_transfers();
    }
}

impl RecordingBus<'_> {
    /// Record a transfer of memory that the machine does not share.
    fn transferred(&self, address: u64, data: &[u8], write: bool, outcome: Result<(), DmaError>) -> Result<(), DmaError> {
        let shown = &data[..data.len().min(MAX_DATA)];
        let what = match outcome {
            Ok(()) if write => What::DmaWrite { address, data: shown },
            Ok(()) => What::DmaRead { address, data: shown },
            Err(DmaError::Unreachable(_)) => What::DmaFailed { address, length: data.len() as u64, write },
            Err(DmaError::Pending) => return outcome,
        };
        if self.memory.is_some() {
            self.trace.lock().event(&what);
        }
        outcome
    }
}

#[deny(clippy::missing_trait_methods, reason = "a device around a device must pass everything on")]
impl<D: Device> Device for Recorder<D> {
    fn identity(&self) -> Identity {
        self.device.identity()
    }

    fn is_present(&self, now: u64) -> bool {
        self.device.is_present(now)
    }

    fn read_bar(&mut self, bar: usize, offset: u64, data: &mut [u8], bus: &mut dyn Bus) {
        self.trace.enter(bus.now(), false).hold();
        self.with_bus(bus, |device, bus| device.read_bar(bar, offset, data, bus));
        let mut state = self.trace.lock();
        let held = state.held.take();
        state.event(&What::Read { bar: bar as u8, offset, data });
        state.held = held;
        state.release();
    }

    fn write_bar(&mut self, bar: usize, offset: u64, data: &[u8], bus: &mut dyn Bus) {
        self.trace.enter(bus.now(), false).event(&What::Write { bar: bar as u8, offset, data });
        self.with_bus(bus, |device, bus| device.write_bar(bar, offset, data, bus));
    }

    fn reset(&mut self, bus: &mut dyn Bus) {
        self.trace.enter(bus.now(), false).event(&What::Reset);
        self.with_bus(bus, |device, bus| device.reset(bus));
    }

    fn next_wake(&self) -> Option<u64> {
        self.device.next_wake().into_iter().chain(self.trace.flush_due()).min()
    }

    fn wake(&mut self, bus: &mut dyn Bus) {
        let now = bus.now();
        self.trace.flush_if_due(now);
        if self.device.next_wake().is_some_and(|due| due <= now) {
            drop(self.trace.enter(now, true));
            self.with_bus(bus, |device, bus| device.wake(bus));
        }
    }

    fn config_accessed(&mut self, write: bool, offset: usize, data: &[u8], now: u64) {
        let mut state = self.trace.enter(now, false);
        let at = offset as u64;
        state.event(&if write { What::ConfigWrite { offset: at, data } } else { What::ConfigRead { offset: at, data } });
        if write
            && let Some(control) = POWER_CONTROL.checked_sub(offset)
            && let Some(byte) = data.get(control)
        {
            state.event(&What::Power { state: byte & 3 });
        }
        drop(state);
        self.device.config_accessed(write, offset, data, now);
    }

    fn read_capability(&mut self, index: usize, touched: Range<usize>, body: &mut [u8], bus: &mut dyn Bus) {
        drop(self.trace.enter(bus.now(), false));
        self.with_bus(bus, |device, bus| device.read_capability(index, touched, body, bus));
    }

    fn write_capability(&mut self, index: usize, touched: Range<usize>, body: &mut [u8], bus: &mut dyn Bus) {
        drop(self.trace.enter(bus.now(), false));
        self.with_bus(bus, |device, bus| device.write_capability(index, touched, body, bus));
    }

    fn shared_areas(&self) -> Vec<SharedArea<'_>> {
        Vec::new()
    }
}

/// A virtio device that is recorded: its chains, and its configuration.
pub struct RecordingVirtio<V> {
    device: V,
    trace: Trace,
    /// Chains that the device has, by queue and head.
    chains: Vec<Vec<Option<Chain>>>,
    spare: Vec<Chain>,
    scratch: Vec<u8>,
}

impl<V: VirtioDevice> RecordingVirtio<V> {
    /// Record what `device` does.
    pub fn new(device: V, trace: Trace) -> Self {
        let chains = device.queue_sizes().iter().map(|&size| (0..size).map(|_| None).collect()).collect();
        Self { device, trace, chains, spare: Vec::new(), scratch: Vec::new() }
    }

    fn with_host(&mut self, host: &mut dyn Host, notified: Option<u16>, call: impl FnOnce(&mut V, &mut dyn Host)) {
        drop(self.trace.enter(host.now(), notified.is_none()));
        let tag = V::tag;
        let (chains, spare, scratch) = (&mut self.chains, &mut self.spare, &mut self.scratch);
        let mut recording = RecordingHost { host, trace: &self.trace, notified, chains, spare, scratch, tag };
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
    scratch: &'a mut Vec<u8>,
    tag: fn(u16, &[u8]) -> Option<u64>,
}

impl Host for RecordingHost<'_> {
    fn pop(&mut self, queue: u16, chain: &mut Chain) -> bool {
        if !self.host.pop(queue, chain) {
            return false;
        }
        self.scratch.resize(chain.readable().min(MAX_DATA as u64) as usize, 0);
        if chain.read(self.host.memory(), 0, self.scratch).is_err() {
            // The device will find the same.
            self.scratch.clear();
        }
        let (readable, writable) = (chain.readable(), chain.writable());
        let tag = (self.tag)(queue, self.scratch);
        let taken = What::Taken { queue, head: chain.head(), tag, readable, writable, data: self.scratch };
        let mut state = self.trace.lock();
        let before = std::mem::replace(&mut state.own_accord, self.notified != Some(queue));
        state.event(&taken);
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
        self.scratch.clear();
        if let Some(chain) = chain {
            // A device may claim to have written more than there is room for.
            self.scratch.resize(u64::from(written).min(chain.writable()).min(MAX_DATA as u64) as usize, 0);
            if chain.read_writable(self.host.memory(), self.scratch).is_err() {
                self.scratch.clear();
            }
            self.spare.push(chain);
        }
        self.trace.lock().event(&What::Given { queue, head, written, data: self.scratch });
        self.host.push(queue, head, written);
    }

    fn fail(&mut self) {
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
        self.device.next_wake().into_iter().chain(self.trace.flush_due()).min()
    }

    fn wake(&mut self, host: &mut dyn Host) {
        self.trace.flush_if_due(host.now());
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
