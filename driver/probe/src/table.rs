//! What the probe remembers: handles by slot, queues by number, counts of events.

use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use protocol::probe::{EVENTS, Event, SLOTS, queue};
use wdf_sys::{WDFIOTARGET, WDFMEMORY, WDFQUEUE, WDFREQUEST, WDFSPINLOCK};

const SLOT_COUNT: usize = SLOTS as usize;

/// No handle.
const fn nothing() -> AtomicPtr<c_void> {
    AtomicPtr::new(core::ptr::null_mut())
}

static REQUESTS: [AtomicPtr<c_void>; SLOT_COUNT] = [const { nothing() }; SLOT_COUNT];
static QUEUES: [AtomicPtr<c_void>; queue::COUNT as usize] = [const { nothing() }; queue::COUNT as usize];
static COUNTS: [[AtomicU32; SLOT_COUNT]; EVENTS as usize] =
    [const { [const { AtomicU32::new(0) }; SLOT_COUNT] }; EVENTS as usize];
static ON_CANCEL: [AtomicU32; SLOT_COUNT] = [const { AtomicU32::new(0) }; SLOT_COUNT];
static ON_COMPLETION: [AtomicU32; SLOT_COUNT] = [const { AtomicU32::new(0) }; SLOT_COUNT];
static TARGET: AtomicPtr<c_void> = nothing();
static SPIN_LOCK: AtomicPtr<c_void> = nothing();
static SUBJECTS: [AtomicPtr<c_void>; SLOT_COUNT] = [const { nothing() }; SLOT_COUNT];

/// The request in a slot; a null handle when there is none, which the framework is to be given too.
pub(crate) fn request(slot: u32) -> WDFREQUEST {
    WDFREQUEST(REQUESTS.get(slot as usize).map_or(core::ptr::null_mut(), |handle| handle.load(Ordering::Acquire)))
}

pub(crate) fn set_request(slot: u32, request: WDFREQUEST) {
    if let Some(place) = REQUESTS.get(slot as usize) {
        place.store(request.0, Ordering::Release);
    }
}

/// The slot that a request is in.
pub(crate) fn slot_of(request: WDFREQUEST) -> Option<u32> {
    let at = REQUESTS.iter().position(|place| place.load(Ordering::Acquire) == request.0)?;
    u32::try_from(at).ok()
}

pub(crate) fn queue(number: u32) -> WDFQUEUE {
    WDFQUEUE(QUEUES.get(number as usize).map_or(core::ptr::null_mut(), |handle| handle.load(Ordering::Acquire)))
}

pub(crate) fn set_queue(number: u32, queue: WDFQUEUE) {
    if let Some(place) = QUEUES.get(number as usize) {
        place.store(queue.0, Ordering::Release);
    }
}

pub(crate) fn number_of(queue: WDFQUEUE) -> Option<u32> {
    let at = QUEUES.iter().position(|place| !queue.is_null() && place.load(Ordering::Acquire) == queue.0)?;
    u32::try_from(at).ok()
}

pub(crate) fn target() -> WDFIOTARGET {
    WDFIOTARGET(TARGET.load(Ordering::Acquire))
}

pub(crate) fn set_target(target: WDFIOTARGET) {
    TARGET.store(target.0, Ordering::Release);
}

pub(crate) fn spin_lock() -> WDFSPINLOCK {
    WDFSPINLOCK(SPIN_LOCK.load(Ordering::Acquire))
}

pub(crate) fn set_spin_lock(lock: WDFSPINLOCK) {
    SPIN_LOCK.store(lock.0, Ordering::Release);
}

/// The memory object that holds `Subject { slot, 0 }`.
pub(crate) fn subject(slot: u32) -> Option<WDFMEMORY> {
    SUBJECTS.get(slot as usize).map(|memory| WDFMEMORY(memory.load(Ordering::Acquire)))
}

pub(crate) fn set_subject(slot: u32, memory: WDFMEMORY) {
    if let Some(place) = SUBJECTS.get(slot as usize) {
        place.store(memory.0, Ordering::Release);
    }
}

/// An event has happened to a slot, or to a queue.
pub(crate) fn count(event: Event, slot: u32) {
    if let Some(count) = COUNTS[event as usize].get(slot as usize) {
        count.fetch_add(1, Ordering::AcqRel);
    }
}

pub(crate) fn counted(event: u32, slot: u32) -> Option<u32> {
    COUNTS.get(event as usize)?.get(slot as usize).map(|count| count.load(Ordering::Acquire))
}

pub(crate) fn on_cancel(slot: u32) -> Option<&'static AtomicU32> {
    ON_CANCEL.get(slot as usize)
}

pub(crate) fn on_completion(slot: u32) -> Option<&'static AtomicU32> {
    ON_COMPLETION.get(slot as usize)
}

/// Forgets everything but queues, target and locks.
pub(crate) fn reset() {
    for place in &REQUESTS {
        place.store(core::ptr::null_mut(), Ordering::Release);
    }
    for number in COUNTS.iter().flatten().chain(&ON_CANCEL).chain(&ON_COMPLETION) {
        number.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_no_slots_and_no_queues() {
        set_request(SLOTS, WDFREQUEST(8 as *mut c_void));
        assert!(request(SLOTS).is_null());
        assert!(queue(queue::COUNT).is_null());
        assert_eq!(counted(EVENTS, 0), None);
        assert_eq!(counted(0, SLOTS), None);
    }

    #[test]
    fn a_request_is_found_by_its_handle_until_all_is_forgotten() {
        let handle = WDFREQUEST(0x1234_5678 as *mut c_void);
        set_request(3, handle);
        assert_eq!(slot_of(handle), Some(3));
        reset();
        assert_eq!(slot_of(handle), None);
    }
}
