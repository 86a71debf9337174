//! A recorder around a PCI device.

use std::ops::Range;
use std::sync::Arc;

use vm_memory::Permissions;

use super::super::event::What;
use super::super::format::MAX_DATA;
use super::Trace;
use crate::device::{Bus, Device, Identity, SharedArea};
use crate::memory::{DmaError, Memory, Watch};
use crate::pci::POWER_CONTROL;

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
        } else {
            state.memory(address, length, &self.memory, false);
        }
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

    /// Record all but DMA: for a virtio device that is recorded by [`RecordingVirtio`](super::RecordingVirtio) too.
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
        self.device.next_wake()
    }

    fn wake(&mut self, bus: &mut dyn Bus) {
        drop(self.trace.enter(bus.now(), true));
        self.with_bus(bus, |device, bus| device.wake(bus));
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
