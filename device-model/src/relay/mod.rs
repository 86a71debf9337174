//! The relay hardware as a virtio device: queues to commands, counters to configuration space. What a command does is in `commands`.
//!
//! Its data sheet, shared with drivers, is `protocol::hardware`.

mod commands;
mod events;
mod status;
#[cfg(test)]
mod tests;

pub use self::commands::{Carrier, Counters, Done, Relay};
pub use self::events::Events;

use std::os::fd::BorrowedFd;

use protocol::hardware::{
    CONFIG_MAGIC, CONFIG_VERSION, Event, MAX_PAYLOAD, QUEUE_ADMIN, QUEUE_COMMAND, QUEUE_COUNT, QUEUE_EVENT, QUEUE_SIZE,
    RelayConfig, VIRTIO_ID,
};
use zerocopy::IntoBytes;

use self::status::StatusPage;
use crate::memory::{Memory, Unreachable};
use crate::virtio::{Chain, Host, VirtioDevice};

/// Events that one call of [`VirtioDevice::wake`] may emit.
const EVENTS_A_WAKE: u32 = 256;

impl Carrier for Chain {
    type Memory = Memory;

    fn readable(&self) -> u64 {
        Chain::readable(self)
    }

    fn writable(&self) -> u64 {
        Chain::writable(self)
    }

    fn read(&self, memory: &Memory, offset: u64, into: &mut [u8]) -> Result<(), Unreachable> {
        Chain::read(self, memory, offset, into)
    }

    fn write(&mut self, memory: &Memory, offset: u64, from: &[u8]) -> Result<(), Unreachable> {
        Chain::write(self, memory, offset, from)
    }
}

/// The relay hardware on a virtio transport.
#[derive(Default)]
pub struct RelayDevice {
    relay: Relay<Chain>,
    /// Chains that are done with, to be filled again.
    spare: Vec<Chain>,
    generation: u8,
    status: Option<StatusPage>,
}

impl RelayDevice {
    /// The hardware after power-on, with a status page for transports that can share memory.
    pub fn with_status_page() -> std::io::Result<Self> {
        let device = Self { status: Some(StatusPage::new()?), ..Self::default() };
        device.show_status();
        Ok(device)
    }

    fn show_status(&self) {
        if let Some(status) = &self.status {
            status.show(&self.config());
        }
    }

    /// The hardware after power-on.
    pub fn new() -> Self {
        Self::default()
    }

    fn config(&self) -> RelayConfig {
        RelayConfig {
            magic: CONFIG_MAGIC,
            version: CONFIG_VERSION,
            max_payload: MAX_PAYLOAD,
            held: self.relay.held(),
            commands_taken: self.relay.counters.taken,
            commands_answered: self.relay.counters.answered,
            events_delivered: self.relay.events.delivered,
            events_lost: self.relay.events.lost,
        }
    }

    fn commands(&mut self, host: &mut dyn Host) {
        while let Some(chain) = self.pop(QUEUE_COMMAND, host) {
            let now = host.now();
            if let Some(done) = self.relay.command(chain, host.memory(), now) {
                self.give_back(QUEUE_COMMAND, done, host);
            }
        }
    }

    fn administration(&mut self, host: &mut dyn Host) {
        while let Some(chain) = self.pop(QUEUE_ADMIN, host) {
            // An abort may not overtake its command, which the driver has queued before, but maybe not told of yet.
            self.commands(host);
            let now = host.now();
            let (done, ended) = self.relay.admin(chain, host.memory(), now);
            if let Some(ended) = ended {
                self.give_back(QUEUE_COMMAND, ended, host);
            }
            self.give_back(QUEUE_ADMIN, done, host);
        }
    }

    fn emit_events(&mut self, host: &mut dyn Host) {
        for _ in 0..EVENTS_A_WAKE {
            let Some(event) = self.relay.events.next(host.now()) else { break };
            if self.deliver(&event, host) {
                self.relay.events.delivered += 1;
            } else {
                self.relay.events.lost += 1;
            }
        }
    }

    /// Write the event into the next posted buffer that holds it; shorter ones go back empty.
    fn deliver(&mut self, event: &Event, host: &mut dyn Host) -> bool {
        while let Some(chain) = self.pop(QUEUE_EVENT, host) {
            let delivered = chain.write(host.memory(), 0, event.as_bytes()).is_ok();
            let written = if delivered { size_of::<Event>() as u32 } else { 0 };
            self.give_back(QUEUE_EVENT, Done { carrier: chain, written }, host);
            if delivered {
                return true;
            }
        }
        false
    }

    fn pop(&mut self, queue: u16, host: &mut dyn Host) -> Option<Chain> {
        let mut chain = self.spare.pop().unwrap_or_default();
        if host.pop(queue, &mut chain) {
            Some(chain)
        } else {
            self.spare.push(chain);
            None
        }
    }

    fn give_back(&mut self, queue: u16, done: Done<Chain>, host: &mut dyn Host) {
        host.push(queue, done.carrier.head(), done.written);
        self.spare.push(done.carrier);
    }

    /// Remember whether counters have changed, for the driver that reads them in halves.
    fn counted(&mut self, work: impl FnOnce(&mut Self)) {
        let before = self.config();
        work(self);
        if self.config() != before {
            self.generation = self.generation.wrapping_add(1);
            self.show_status();
        }
    }
}

impl VirtioDevice for RelayDevice {
    fn virtio_id(&self) -> u16 {
        VIRTIO_ID
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[QUEUE_SIZE; QUEUE_COUNT as usize]
    }

    fn config_size(&self) -> usize {
        size_of::<RelayConfig>()
    }

    fn read_config(&mut self, offset: usize, data: &mut [u8]) {
        let config = self.config();
        data.copy_from_slice(&config.as_bytes()[offset..offset + data.len()]);
    }

    fn config_generation(&self) -> u8 {
        self.generation
    }

    fn notified(&mut self, queue: u16, host: &mut dyn Host) {
        self.counted(|device| match queue {
            QUEUE_COMMAND => device.commands(host),
            QUEUE_ADMIN => device.administration(host),
            // Event buffers wait in their queue until there is an event.
            _ => {}
        });
    }

    fn reset_queue(&mut self, queue: u16) {
        if queue == QUEUE_COMMAND {
            let spare = &mut self.spare;
            self.relay.forget_held(|chain| spare.push(chain));
            self.show_status();
        }
    }

    fn reset(&mut self, now: u64) {
        let spare = &mut self.spare;
        self.relay.reset(now, |chain| spare.push(chain));
        self.generation = 0;
        self.show_status();
    }

    fn next_wake(&self) -> Option<u64> {
        self.relay.next_due().into_iter().chain(self.relay.events.next_due()).min()
    }

    fn wake(&mut self, host: &mut dyn Host) {
        self.counted(|device| {
            let now = host.now();
            while let Some(done) = device.relay.expired(host.memory(), now) {
                device.give_back(QUEUE_COMMAND, done, host);
            }
            device.emit_events(host);
        });
    }

    fn shared_pages(&self) -> Option<(BorrowedFd<'_>, u64)> {
        self.status.as_ref().map(|status| (status.file(), StatusPage::SIZE))
    }

    fn read_shared(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(status) = &self.status {
            status.read(offset, data);
        }
    }

    fn tag(queue: u16, readable: &[u8]) -> Option<u64> {
        // Commands and administration commands both begin with it.
        let tag = readable.first_chunk().filter(|_| queue != QUEUE_EVENT)?;
        Some(u64::from_le_bytes(*tag))
    }
}
