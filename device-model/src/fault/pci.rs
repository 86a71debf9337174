//! Faults that any PCI device can have: interrupts, register reads, resets, and the device itself.

use std::ops::Range;
use std::sync::Arc;

use super::plan::{Injector, Kind, Plan, Strike};
use crate::device::{Bus, Device, Identity, SharedArea};
use crate::memory::{DmaError, Memory};

/// Interrupts that are late at one time; more come at once.
const MAX_LATE: usize = 256;

/// A device that fails as planned.
pub struct Faulty<D> {
    device: D,
    injector: Injector,
    /// Vectors that are late, with the device time of their coming.
    late: Vec<(u64, u16)>,
    pin: Pin,
    /// Device time until which nothing answers, and whether that includes configuration space.
    silent_until: u64,
    gone: bool,
    vectors: u16,
    has_pin: bool,
}

/// The interrupt pin as the device wants it, and what keeps an assertion off the wire.
#[derive(Default)]
struct Pin {
    wanted: bool,
    /// Device time at which the assertion comes; `u64::MAX` for never. It is forgotten when the device releases the pin.
    held_back: Option<u64>,
}

impl<D: Device> Faulty<D> {
    /// Wrap a device.
    pub fn new(device: D, plan: &Plan) -> Self {
        let identity = device.identity();
        Self {
            device,
            injector: Injector::new(plan),
            late: Vec::with_capacity(MAX_LATE),
            pin: Pin::default(),
            silent_until: 0,
            gone: false,
            vectors: identity.msix.map_or(0, |msix| msix.vectors),
            has_pin: identity.pin,
        }
    }

    fn parts<'a>(&'a mut self, bus: &'a mut dyn Bus) -> (&'a mut D, FaultyBus<'a>) {
        let Self { device, injector, late, pin, .. } = self;
        (device, FaultyBus { bus, injector, late, pin })
    }

    fn is_silent(&mut self, now: u64) -> bool {
        let silent = now < self.silent_until;
        self.gone &= silent;
        silent
    }

    /// What an access may set off, before it is served.
    fn before_access(&mut self, bus: &mut dyn Bus) {
        let now = bus.now();
        if let Some(strike) = self.injector.chance(&[Kind::DeviceGone], None, now, "register access") {
            self.silent_until = now.saturating_add(strike.time);
            self.gone = true;
        }
        let by_message = bus.messages_enabled() && self.vectors > 0;
        if (by_message || self.has_pin)
            && let Some(strike) = self.injector.chance(&[Kind::InterruptSpurious], None, now, "register access")
        {
            if by_message {
                bus.interrupt(strike.only.unwrap_or((strike.choice % u64::from(self.vectors)) as u16));
            } else if !self.pin.wanted {
                bus.set_pin(true);
                bus.set_pin(false);
            }
        }
    }
}

/// The bus that the device sees.
struct FaultyBus<'a> {
    bus: &'a mut dyn Bus,
    injector: &'a mut Injector,
    late: &'a mut Vec<(u64, u16)>,
    pin: &'a mut Pin,
}

const INTERRUPTS: [Kind; 3] = [Kind::InterruptDropped, Kind::InterruptDoubled, Kind::InterruptDelayed];

impl Bus for FaultyBus<'_> {
    fn memory(&self) -> &Arc<Memory> {
        self.bus.memory()
    }

    fn interrupt(&mut self, vector: u16) {
        let now = self.bus.now();
        match self.injector.chance(&INTERRUPTS, Some(vector), now, "interrupt") {
            Some(Strike { kind: Kind::InterruptDropped, .. }) => {}
            Some(Strike { kind: Kind::InterruptDelayed, time, .. }) if self.late.len() < MAX_LATE => {
                self.late.push((now.saturating_add(time), vector));
            }
            Some(Strike { kind: Kind::InterruptDoubled, .. }) => {
                self.bus.interrupt(vector);
                self.bus.interrupt(vector);
            }
            _ => self.bus.interrupt(vector),
        }
    }

    fn set_pin(&mut self, asserted: bool) {
        let rises = asserted && !self.pin.wanted;
        self.pin.wanted = asserted;
        if !asserted {
            self.pin.held_back = None;
            self.bus.set_pin(false);
            return;
        }
        let now = self.bus.now();
        let strike = if rises { self.injector.chance(&INTERRUPTS, Some(0), now, "interrupt pin") } else { None };
        match strike {
            Some(Strike { kind: Kind::InterruptDropped, .. }) => self.pin.held_back = Some(u64::MAX),
            Some(Strike { kind: Kind::InterruptDelayed, time, .. }) => self.pin.held_back = Some(now.saturating_add(time)),
            Some(Strike { kind: Kind::InterruptDoubled, .. }) => {
                self.bus.set_pin(true);
                self.bus.set_pin(false);
            }
            _ => {}
        }
        if self.pin.held_back.is_none() {
            self.bus.set_pin(true);
        }
    }

    fn messages_enabled(&self) -> bool {
        self.bus.messages_enabled()
    }

    fn now(&self) -> u64 {
        self.bus.now()
    }

    fn dma_read(&mut self, address: u64, into: &mut [u8]) -> Result<(), DmaError> {
        self.bus.dma_read(address, into)
    }

    fn dma_write(&mut self, address: u64, from: &[u8]) -> Result<(), DmaError> {
        self.bus.dma_write(address, from)
    }

    fn forget_transfers(&mut self) {
        self.bus.forget_transfers();
    }
}

#[deny(clippy::missing_trait_methods, reason = "a device around a device must pass everything on")]
impl<D: Device> Device for Faulty<D> {
    fn identity(&self) -> Identity {
        self.device.identity()
    }

    fn is_present(&self, now: u64) -> bool {
        !(self.gone && now < self.silent_until) && self.device.is_present(now)
    }

    fn read_bar(&mut self, bar: usize, offset: u64, data: &mut [u8], bus: &mut dyn Bus) {
        self.before_access(bus);
        let now = bus.now();
        if self.is_silent(now) || self.injector.chance(&[Kind::ReadTimesOut], None, now, "register read").is_some() {
            data.fill(0xff);
            return;
        }
        let (device, mut bus) = self.parts(bus);
        device.read_bar(bar, offset, data, &mut bus);
    }

    fn write_bar(&mut self, bar: usize, offset: u64, data: &[u8], bus: &mut dyn Bus) {
        self.before_access(bus);
        if self.is_silent(bus.now()) {
            return;
        }
        let (device, mut bus) = self.parts(bus);
        device.write_bar(bar, offset, data, &mut bus);
    }

    fn reset(&mut self, bus: &mut dyn Bus) {
        let now = bus.now();
        self.late.clear();
        self.pin = Pin::default();
        self.device.reset(bus);
        if let Some(strike) = self.injector.chance(&[Kind::ResetSticks], None, now, "reset") {
            self.silent_until = now.saturating_add(strike.time);
        }
    }

    fn next_wake(&self) -> Option<u64> {
        let pin = self.pin.held_back.filter(|&due| due != u64::MAX);
        self.late.iter().map(|&(due, _)| due).chain(pin).chain(self.device.next_wake()).min()
    }

    fn wake(&mut self, bus: &mut dyn Bus) {
        let now = bus.now();
        self.late.retain(|&(due, vector)| {
            if due <= now {
                bus.interrupt(vector);
            }
            due > now
        });
        if self.pin.held_back.take_if(|due| *due <= now).is_some() {
            bus.set_pin(true);
        }
        if self.device.next_wake().is_some_and(|due| due <= now) {
            let (device, mut bus) = self.parts(bus);
            device.wake(&mut bus);
        }
    }

    fn read_capability(&mut self, index: usize, touched: Range<usize>, body: &mut [u8], bus: &mut dyn Bus) {
        let (device, mut bus) = self.parts(bus);
        device.read_capability(index, touched, body, &mut bus);
    }

    fn write_capability(&mut self, index: usize, touched: Range<usize>, body: &mut [u8], bus: &mut dyn Bus) {
        let (device, mut bus) = self.parts(bus);
        device.write_capability(index, touched, body, &mut bus);
    }

    fn config_accessed(&mut self, write: bool, offset: usize, data: &[u8], now: u64) {
        self.device.config_accessed(write, offset, data, now);
    }

    fn shared_areas(&self) -> Vec<SharedArea<'_>> {
        self.device.shared_areas()
    }
}
