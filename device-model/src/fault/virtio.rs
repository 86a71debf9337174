//! Faults that any virtio device can have: in what it gives back, and when.

use std::os::fd::BorrowedFd;

use super::plan::{Injector, Kind, Plan, Strike};
use crate::memory::Memory;
use crate::virtio::{Chain, Host, VirtioDevice};

/// Completions that are late at one time; more come at once.
const MAX_LATE: usize = 1024;

/// A virtio device that fails as planned.
pub struct FaultyVirtio<V> {
    device: V,
    state: State,
}

struct State {
    injector: Injector,
    late: Vec<Late>,
    /// A completion that waits for the next one of its queue.
    overtaken: Option<Late>,
    /// Where the answer of each chain in flight begins, and how much room it has: by queue and head.
    answers: Vec<(u16, u16, u64, u32)>,
    /// Device time until which a reset sticks.
    stuck_until: u64,
}

#[derive(Clone, Copy)]
struct Late {
    due: u64,
    queue: u16,
    head: u16,
    written: u32,
}

impl<V: VirtioDevice> FaultyVirtio<V> {
    /// Wrap a device.
    pub fn new(device: V, plan: &Plan) -> Self {
        let state = State {
            injector: Injector::new(plan),
            late: Vec::with_capacity(MAX_LATE),
            overtaken: None,
            answers: Vec::with_capacity(MAX_LATE),
            stuck_until: 0,
        };
        Self { device, state }
    }
}

impl State {
    fn forget(&mut self, wanted: impl Fn(u16) -> bool) {
        self.late.retain(|late| !wanted(late.queue));
        self.overtaken = self.overtaken.filter(|late| !wanted(late.queue));
        self.answers.retain(|answer| !wanted(answer.0));
    }

    fn push(&mut self, host: &mut dyn Host, queue: u16, head: u16, written: u32) {
        const KINDS: [Kind; 7] = [
            Kind::CompletionLate,
            Kind::CompletionLost,
            Kind::CompletionOutOfOrder,
            Kind::UsedTooLong,
            Kind::UsedTooShort,
            Kind::DataCorrupted,
            Kind::NeedsReset,
        ];
        let now = host.now();
        let answer = self.answers.iter().position(|answer| (answer.0, answer.1) == (queue, head));
        let answer = answer.map(|index| self.answers.swap_remove(index));
        let strike = self.injector.chance(&KINDS, Some(queue), now, "completion");
        let mut completion = Late { due: now, queue, head, written };
        match strike {
            Some(Strike { kind: Kind::CompletionLost, .. }) => return,
            Some(Strike { kind: Kind::NeedsReset, .. }) => return host.fail(),
            Some(Strike { kind: Kind::CompletionLate, time, .. }) if self.late.len() < MAX_LATE => {
                self.late.push(Late { due: now.saturating_add(time), ..completion });
                return;
            }
            Some(Strike { kind: Kind::CompletionOutOfOrder, time, .. }) if self.overtaken.is_none() => {
                // If no other comes to overtake it, it comes by itself after the fault's time.
                self.overtaken = Some(Late { due: now.saturating_add(time), ..completion });
                return;
            }
            Some(Strike { kind: Kind::UsedTooLong, bytes, .. }) => completion.written = written.saturating_add(bytes),
            Some(Strike { kind: Kind::UsedTooShort, bytes, .. }) => completion.written = written.saturating_sub(bytes),
            Some(Strike { kind: Kind::DataCorrupted, choice, .. }) => corrupt(host, answer, written, choice),
            _ => {}
        }
        host.push(queue, head, completion.written);
        if let Some(first) = self.overtaken.take_if(|first| first.queue == queue) {
            host.push(first.queue, first.head, first.written);
        }
    }

    fn deliver_late(&mut self, host: &mut dyn Host) {
        let now = host.now();
        self.late.retain(|late| {
            if late.due <= now {
                host.push(late.queue, late.head, late.written);
            }
            late.due > now
        });
        if let Some(first) = self.overtaken.take_if(|first| first.due <= now) {
            host.push(first.queue, first.head, first.written);
        }
    }
}

/// Flip a bit of a byte that the device wrote into the first buffer of the answer.
fn corrupt(host: &mut dyn Host, answer: Option<(u16, u16, u64, u32)>, written: u32, choice: u64) {
    let Some((_, _, address, room)) = answer else { return };
    let length = u64::from(room.min(written));
    if length == 0 {
        return;
    }
    let at = address.wrapping_add(choice % length);
    let mut byte = [0];
    if host.memory().read_at(at, &mut byte).is_ok() {
        byte[0] ^= 1 << (choice >> 32 & 7);
        // The device could write there a moment ago.
        let _ = host.memory().write_at(at, &byte);
    }
}

/// The host that the device sees.
struct FaultyHost<'a> {
    host: &'a mut dyn Host,
    state: &'a mut State,
}

impl Host for FaultyHost<'_> {
    fn pop(&mut self, queue: u16, chain: &mut Chain) -> bool {
        let found = self.host.pop(queue, chain);
        if found
            && self.state.answers.len() < MAX_LATE
            && let Some((address, room)) = chain.first_writable()
        {
            self.state.answers.push((queue, chain.head(), address, room));
        }
        found
    }

    fn push(&mut self, queue: u16, head: u16, written: u32) {
        self.state.push(self.host, queue, head, written);
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
impl<V: VirtioDevice> VirtioDevice for FaultyVirtio<V> {
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
    }

    fn write_config(&mut self, offset: usize, data: &[u8]) {
        self.device.write_config(offset, data);
    }

    fn config_generation(&self) -> u8 {
        self.device.config_generation()
    }

    fn start(&mut self, features: u64) {
        self.device.start(features);
    }

    fn notified(&mut self, queue: u16, host: &mut dyn Host) {
        self.device.notified(queue, &mut FaultyHost { host, state: &mut self.state });
    }

    fn reset_queue(&mut self, queue: u16) {
        self.state.forget(|of| of == queue);
        self.device.reset_queue(queue);
    }

    fn reset(&mut self, now: u64) {
        self.state.forget(|_| true);
        self.device.reset(now);
        if let Some(strike) = self.state.injector.chance(&[Kind::ResetSticks], None, now, "reset of the virtio device") {
            self.state.stuck_until = now.saturating_add(strike.time);
        }
    }

    fn reset_lasts_until(&self) -> u64 {
        self.state.stuck_until.max(self.device.reset_lasts_until())
    }

    fn next_wake(&self) -> Option<u64> {
        let late = self.state.late.iter().map(|late| late.due).chain(self.state.overtaken.map(|late| late.due));
        late.chain(self.device.next_wake()).min()
    }

    fn wake(&mut self, host: &mut dyn Host) {
        self.state.deliver_late(host);
        self.device.wake(&mut FaultyHost { host, state: &mut self.state });
    }

    fn shared_pages(&self) -> Option<(BorrowedFd<'_>, u64)> {
        self.device.shared_pages()
    }

    fn read_shared(&mut self, offset: u64, data: &mut [u8]) {
        self.device.read_shared(offset, data);
    }

    fn tag(queue: u16, readable: &[u8]) -> Option<u64> {
        V::tag(queue, readable)
    }
}
