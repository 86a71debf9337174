//! What a virtio device on PCI does when it is woken: a round of work on its queues, wherever they lie, and the interrupts for it.

use super::{ISR_QUEUE, PciQueue, VirtioPci};
use crate::device::Bus;
use crate::memory::{DmaError, Memory, Unreachable};
use crate::virtio::mirror::{self, Mirror};
use crate::virtio::{Queues, VirtioDevice};

/// What came of a round of work: bits of queues.
struct Round {
    interrupts: u64,
    again: u64,
    taken: u64,
    broken: bool,
}

impl<V: VirtioDevice> VirtioPci<V> {
    /// Work on what was notified and on what is due, then interrupt once for each queue that has used chains to show.
    pub(super) fn work(&mut self, bus: &mut dyn Bus) {
        let memory = bus.memory().clone();
        if self.mirror.is_some() || mirror::is_needed(&memory) {
            self.work_far(bus);
            return;
        }
        let round = self.round(&memory, None, bus.now());
        self.notified = round.again;
        self.tell(round.interrupts, bus);
        if round.broken {
            self.need_reset(bus);
        }
    }

    /// The same where memory is not shared: what the driver has made available is brought here, what the device has written is taken back,
    /// and the driver is told when it is there. Each of these takes some calls.
    fn work_far(&mut self, bus: &mut dyn Bus) {
        let mut mirror = self.mirror.take().unwrap_or_default();
        let outcome = if self.is_behind(&mirror) { self.take_back(&mut mirror, bus) } else { self.work_on(&mut mirror, bus) };
        match outcome {
            Ok(()) | Err(DmaError::Pending) => self.mirror = Some(mirror),
            Err(DmaError::Unreachable(Unreachable { address, length })) => {
                tracing::warn!(address = format_args!("{address:#x}"), length, "a queue or a buffer is out of reach");
                self.untold = 0;
                self.need_reset(bus);
            }
        }
    }

    pub(super) fn is_behind(&self, mirror: &Mirror) -> bool {
        self.untold != 0 || !mirror.is_flushed()
    }

    fn take_back(&mut self, mirror: &mut Mirror, bus: &mut dyn Bus) -> Result<(), DmaError> {
        mirror.flush(bus)?;
        if mirror.is_flushed() {
            let interrupts = std::mem::take(&mut self.untold);
            self.tell(interrupts, bus);
        }
        Ok(())
    }

    fn work_on(&mut self, mirror: &mut Mirror, bus: &mut dyn Bus) -> Result<(), DmaError> {
        if !std::mem::replace(&mut self.staging, true) {
            self.notified_late = 0;
        }
        let limits = mirror.stage(&self.queues, bus)?;
        self.staging = false;
        let round = self.round(&mirror.memory(), Some(limits), bus.now());
        mirror.collect(&self.queues);
        // What was made available while the rings were on their way here is not among it: look once more. So where chains were taken: a
        // driver that sees the device at work need not notify.
        self.notified = round.again | round.taken | self.notified_late;
        self.untold = round.interrupts;
        if round.broken {
            self.need_reset(bus);
        }
        Ok(())
    }

    /// Let the device work on the queues in `memory`; with `limits` where that memory is a copy.
    fn round(&mut self, memory: &Memory, limits: Option<Vec<u16>>, now: u64) -> Round {
        let copied = limits.is_some();
        let notified = std::mem::take(&mut self.notified);
        let mut queues = Queues::new(self.queues.as_mut_slice(), memory, now);
        if let Some(limits) = limits {
            queues = queues.limited(limits);
        }
        let mut again = 0;
        for index in (0..self.device.queue_sizes().len() as u16).filter(|index| notified & 1 << index != 0) {
            if !copied {
                queues.quiet(index);
            }
            self.device.notified(index, &mut queues);
            if queues.exhausted() || (queues.drained(index) && queues.listen(index)) {
                again |= 1 << index;
            }
        }
        queues.refill();
        self.device.wake(&mut queues);
        // What the driver says of interrupts may be old in a copy; one too many does no harm.
        let wanted = |queues: &mut Queues<'_, &mut [PciQueue]>, index: u16| {
            if copied { queues.used() & 1_u64 << index != 0 } else { queues.wants_interrupt(index) }
        };
        let interrupts = (0..self.device.queue_sizes().len() as u16)
            .filter(|&index| wanted(&mut queues, index))
            .fold(0_u64, |mask, index| mask | 1 << index);
        Round { interrupts, again, taken: queues.taken(), broken: queues.broken() }
    }

    /// Interrupt for these queues.
    fn tell(&mut self, interrupts: u64, bus: &mut dyn Bus) {
        for index in (0..self.queues.len()).filter(|index| interrupts & 1 << index != 0) {
            self.interrupt(self.queues[index].vector, ISR_QUEUE, bus);
        }
    }
}
