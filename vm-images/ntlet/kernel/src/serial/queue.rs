//! Reads and writes that wait, and the time-outs of reads.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::{DEVICE_OBJECT, IRP, current_stack_location, mark_irp_pending};

use super::port::{PORT, Port};
use crate::hal;
use crate::io::cancel::{IoReleaseCancelSpinLock, exchange_routine};
use crate::io::irp as packet;

/// Most requests that wait in one direction.
const MAX_WAITING: usize = 1024;
/// 100 ns units in a millisecond.
const MILLISECOND: u64 = 10_000;
const MAX: u32 = u32::MAX;

/// `SERIAL_TIMEOUTS`, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Timeouts {
    pub(super) read_interval: u32,
    pub(super) read_multiplier: u32,
    pub(super) read_constant: u32,
    pub(super) write_multiplier: u32,
    pub(super) write_constant: u32,
}

/// A request that is done.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) irp: *mut IRP,
    pub(super) status: NTSTATUS,
    pub(super) information: usize,
}

/// A request that waits.
#[derive(Debug)]
struct Waiting {
    irp: *mut IRP,
    buffer: *mut u8,
    length: usize,
    done: usize,
    /// When it came to the head of its queue, and when the last byte came; 0 before.
    since: u64,
    last_byte: u64,
}

/// Both queues. The first request of each is the one that is worked on.
#[derive(Debug)]
pub(super) struct Queues {
    reads: VecDeque<Waiting>,
    writes: VecDeque<Waiting>,
    pub(super) timeouts: Timeouts,
}

// SAFETY: an IRP in a queue belongs to the queue.
unsafe impl Send for Queues {}

impl Queues {
    pub(super) const fn new() -> Self {
        Self {
            reads: VecDeque::new(),
            writes: VecDeque::new(),
            timeouts: Timeouts { read_interval: 0, read_multiplier: 0, read_constant: 0, write_multiplier: 0, write_constant: 0 },
        }
    }

    /// Takes a request, unless it was cancelled before or there are too many.
    ///
    /// # Safety
    /// The IRP is the caller's; on success it belongs to the queue.
    pub(super) unsafe fn insert(&mut self, irp: *mut IRP, is_read: bool) -> Result<(), NTSTATUS> {
        let queue = if is_read { &mut self.reads } else { &mut self.writes };
        if queue.len() >= MAX_WAITING {
            return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
        }
        // SAFETY: the caller's promise; read and write have their length at the same place.
        unsafe {
            let length = (*current_stack_location(irp)).Parameters.Read.Length as usize;
            let buffer: *mut u8 = (*irp).AssociatedIrp.SystemBuffer.cast();
            exchange_routine(irp, Some(cancel));
            // Cancelled before the routine was set: whoever cancelled saw none, unless it has taken it just now.
            let is_cancelled =
                core::sync::atomic::AtomicU8::from_ptr(&raw mut (*irp).Cancel).load(core::sync::atomic::Ordering::SeqCst) != 0;
            if is_cancelled && exchange_routine(irp, None).is_some() {
                return Err(NTSTATUS::CANCELLED);
            }
            mark_irp_pending(irp);
            let length = if buffer.is_null() { 0 } else { length };
            queue.push_back(Waiting { irp, buffer, length, done: 0, since: 0, last_byte: 0 });
        }
        Ok(())
    }

    /// Moves bytes, and gives up every request that is done.
    pub(super) fn advance(&mut self, port: &Port) -> Vec<Finished> {
        let mut finished = Vec::new();
        while let Some((status, information)) = self.advance_read(port) {
            finished.extend(give_up(&mut self.reads, status, information));
        }
        while let Some(information) = self.advance_write(port) {
            finished.extend(give_up(&mut self.writes, NTSTATUS::SUCCESS, information));
        }
        port.want_transmitted(!self.writes.is_empty());
        finished
    }

    fn advance_read(&mut self, port: &Port) -> Option<(NTSTATUS, usize)> {
        let timeouts = self.timeouts;
        let Some(read) = self.reads.front_mut() else {
            port.set_timer(None);
            return None;
        };
        let now = hal().uptime();
        if read.since == 0 {
            read.since = now.max(1);
        }
        // SAFETY: the buffer is the request's, as long as it says.
        let room = unsafe { core::slice::from_raw_parts_mut(read.buffer.wrapping_add(read.done), read.length - read.done) };
        let count = if read.length == read.done { 0 } else { port.take(room) };
        if count != 0 {
            read.done += count;
            read.last_byte = now;
        }
        if read.done == read.length {
            return Some((NTSTATUS::SUCCESS, read.done));
        }
        match deadline(&timeouts, read.length, read.done, read.since, read.last_byte) {
            Deadline::Now => {
                Some((if read.done == 0 && !is_immediate(&timeouts) { NTSTATUS::TIMEOUT } else { NTSTATUS::SUCCESS }, read.done))
            }
            Deadline::At(time) if time <= now => Some((NTSTATUS::TIMEOUT, read.done)),
            Deadline::At(time) => {
                port.set_timer(Some((time - now).min(i64::MAX as u64) as i64));
                None
            }
            Deadline::Never => {
                port.set_timer(None);
                None
            }
        }
    }

    fn advance_write(&mut self, port: &Port) -> Option<usize> {
        let write = self.writes.front_mut()?;
        // SAFETY: the buffer is the request's, as long as it says.
        let rest = unsafe { core::slice::from_raw_parts(write.buffer.wrapping_add(write.done), write.length - write.done) };
        if write.length != write.done {
            write.done += port.transmit(rest);
        }
        (write.done == write.length).then_some(write.done)
    }

    /// Gives up everything that nobody else is cancelling.
    pub(super) fn take_all(&mut self) -> Vec<*mut IRP> {
        let mut taken = Vec::new();
        for queue in [&mut self.reads, &mut self.writes] {
            queue.retain(|waiting| {
                // SAFETY: an IRP in a queue belongs to it.
                let is_ours = unsafe { exchange_routine(waiting.irp, None).is_some() };
                if is_ours {
                    taken.push(waiting.irp);
                }
                !is_ours
            });
        }
        taken
    }

    /// Takes out a request that is being cancelled.
    fn remove(&mut self, irp: *mut IRP) -> bool {
        for queue in [&mut self.reads, &mut self.writes] {
            if let Some(at) = queue.iter().position(|waiting| waiting.irp == irp) {
                queue.remove(at);
                return true;
            }
        }
        false
    }
}

/// Takes the first request out of its queue. `None` while its cancel routine has been taken: that routine completes it.
fn give_up(queue: &mut VecDeque<Waiting>, status: NTSTATUS, information: usize) -> Option<Finished> {
    let waiting = queue.pop_front()?;
    // SAFETY: an IRP in a queue belongs to it.
    let is_ours = unsafe { exchange_routine(waiting.irp, None).is_some() };
    is_ours.then_some(Finished { irp: waiting.irp, status, information })
}

/// # Safety
/// Called as a cancel routine, with the cancel lock held.
unsafe extern "win64" fn cancel(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: the caller's promise; the IRP is ours now, as its routine was taken.
    unsafe {
        IoReleaseCancelSpinLock((*irp).CancelIrql);
        PORT.queues.lock().remove(irp);
        let _ = packet::complete(irp, NTSTATUS::CANCELLED, 0);
    }
    // The next request may be at the head now.
    PORT.run();
}

/// When a read that is not full ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deadline {
    Now,
    At(u64),
    Never,
}

/// Returns at once with what is there, be it nothing.
const fn is_immediate(timeouts: &Timeouts) -> bool {
    timeouts.read_interval == MAX && timeouts.read_multiplier == 0 && timeouts.read_constant == 0
}

/// The rules of `SERIAL_TIMEOUTS`.
fn deadline(timeouts: &Timeouts, length: usize, done: usize, since: u64, last_byte: u64) -> Deadline {
    let milliseconds = |count: u64| count.saturating_mul(MILLISECOND);
    if is_immediate(timeouts) {
        return Deadline::Now;
    }
    // As soon as there is anything, else the first byte, at most for the constant.
    if timeouts.read_interval == MAX
        && timeouts.read_multiplier == MAX
        && timeouts.read_constant != 0
        && timeouts.read_constant != MAX
    {
        return if done != 0 {
            Deadline::Now
        } else {
            Deadline::At(since.saturating_add(milliseconds(u64::from(timeouts.read_constant))))
        };
    }
    let total =
        u64::from(timeouts.read_multiplier).saturating_mul(length as u64).saturating_add(u64::from(timeouts.read_constant));
    let total = (total != 0).then(|| since.saturating_add(milliseconds(total)));
    let is_between = timeouts.read_interval != 0 && timeouts.read_interval != MAX && done != 0;
    let interval = is_between.then(|| last_byte.saturating_add(milliseconds(u64::from(timeouts.read_interval))));
    match (total, interval) {
        (Some(a), Some(b)) => Deadline::At(a.min(b)),
        (Some(time), None) | (None, Some(time)) => Deadline::At(time),
        (None, None) => Deadline::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeouts(read_interval: u32, read_multiplier: u32, read_constant: u32) -> Timeouts {
        Timeouts { read_interval, read_multiplier, read_constant, ..Timeouts::default() }
    }

    #[test]
    fn a_port_without_time_outs_waits_for_ever() {
        assert_eq!(deadline(&timeouts(0, 0, 0), 10, 5, 100, 200), Deadline::Never);
    }

    #[test]
    fn the_longest_interval_alone_returns_at_once() {
        assert_eq!(deadline(&timeouts(MAX, 0, 0), 10, 0, 100, 0), Deadline::Now);
    }

    #[test]
    fn the_longest_interval_and_multiplier_wait_for_the_first_byte_only() {
        let waiting = timeouts(MAX, MAX, 5);
        assert_eq!(deadline(&waiting, 10, 0, 100, 0), Deadline::At(100 + 5 * MILLISECOND));
        assert_eq!(deadline(&waiting, 10, 1, 100, 100), Deadline::Now);
    }

    #[test]
    fn the_total_grows_with_the_length_and_the_interval_begins_with_the_first_byte() {
        let both = timeouts(1, 2, 3);
        assert_eq!(deadline(&both, 10, 0, 100, 0), Deadline::At(100 + 23 * MILLISECOND));
        assert_eq!(deadline(&both, 10, 1, 100, 200), Deadline::At(200 + MILLISECOND));
    }
}
