//! Stopping, draining and purging with notice, and the interrupt lock, over the fake table.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::fake;
use crate::interrupt::{InService, Interrupt, InterruptEvents};

/// One context for queue and device, which are one object in the fake table.
struct Both {
    notices: AtomicUsize,
}

crate::context!(Both);

impl DeviceEvents for Both {}

impl QueueEvents for Both {
    type Device = Self;
}

struct Count;

impl OnQuiet for Count {
    type Queue = Both;

    fn quiet(queue: &Both, device: Device<'_, Both>) {
        assert!(core::ptr::eq(queue, device.context()));
        queue.notices.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_queue_that_becomes_quiet_tells_whom_it_was_asked_to_tell_and_nobody_else() {
    let object = fake::request();
    let queue = Queue::<Both>::fake(WDFQUEUE(object.0));
    // SAFETY: the fake table knows every object, for ever.
    let both = unsafe { context::install(WDFQUEUE(object.0).object(), Both { notices: AtomicUsize::new(0) }) }.unwrap();
    queue.stop_then::<Count>();
    queue.drain_then::<Count>();
    queue.purge_then::<Count>();
    queue.stop_and_purge_then::<Count>();
    assert_eq!(both.notices.load(Ordering::Relaxed), 4);
    queue.stop();
    queue.drain();
    queue.purge();
    queue.stop_and_purge();
    assert_eq!(both.notices.load(Ordering::Relaxed), 4);
    let expected = ["Stop then", "Drain then", "Purge then", "StopAndPurge then", "Stop", "Drain", "Purge", "StopAndPurge"];
    assert_eq!(fake::calls(object), expected);
}

impl OnQueueReady for Both {
    fn ready(&self, device: Device<'_, Self>) {
        assert!(core::ptr::eq(self, device.context()));
        self.notices.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_queue_that_is_asked_to_tells_when_it_is_ready() {
    let object = fake::request();
    let queue = Queue::<Both>::fake(WDFQUEUE(object.0));
    // SAFETY: the fake table knows every object, for ever.
    let both = unsafe { context::install(WDFQUEUE(object.0).object(), Both { notices: AtomicUsize::new(0) }) }.unwrap();
    assert_eq!(queue.notify_ready(), Ok(()));
    assert_eq!(both.notices.load(Ordering::Relaxed), 1);
    assert_eq!(queue.stop_notifying(), Ok(()));
    fake::answer(object, "ReadyNotify", NTSTATUS::INVALID_DEVICE_REQUEST);
    assert_eq!(queue.notify_ready(), Err(NTSTATUS::INVALID_DEVICE_REQUEST));
    assert_eq!(fake::calls(object), ["ReadyNotify", "ReadyNotify none", "ReadyNotify"]);
}

impl InterruptEvents for Both {
    type Device = Self;

    fn isr(&self, _: Device<'_, Self>, _: InService<'_>, _: u32) -> bool {
        false
    }
}

#[test]
fn the_lock_of_an_interrupt_is_released_when_its_guard_goes() {
    let object = fake::request();
    let interrupt = Interrupt::<Both>::fake(wdf_sys::WDFINTERRUPT(object.0));
    drop(interrupt.lock());
    assert_eq!(fake::calls(object), ["AcquireLock", "ReleaseLock"]);
}
