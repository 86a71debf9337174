//! What the probe remembers: handles by slot, queues by number, counts of events.

use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use protocol::probe::{EVENTS, Event, SLOTS, queue, target};
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
static ON_STOP: [AtomicU32; SLOT_COUNT] = [const { AtomicU32::new(0) }; SLOT_COUNT];
static STOP_FLAGS: [AtomicU32; SLOT_COUNT] = [const { AtomicU32::new(0) }; SLOT_COUNT];
static STOP_LOADS: [AtomicU32; SLOT_COUNT] = [const { AtomicU32::new(0) }; SLOT_COUNT];
/// For each event the number that it had in the order of all events when it happened last.
static TIMES: [[AtomicU32; SLOT_COUNT]; EVENTS as usize] = [const { [const { AtomicU32::new(0) }; SLOT_COUNT] }; EVENTS as usize];
static NOW: AtomicU32 = AtomicU32::new(0);
static TARGETS: [AtomicPtr<c_void>; target::COUNT as usize] = [const { nothing() }; target::COUNT as usize];
static TARGET_IN_USE: AtomicU32 = AtomicU32::new(target::PROBE);
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

/// The number of the target that steps are about.
pub(crate) fn target_in_use() -> u32 {
    TARGET_IN_USE.load(Ordering::Acquire)
}

/// Whether there is such a target; steps are about it from now on.
pub(crate) fn use_target(number: u32) -> bool {
    let exists = number < target::COUNT;
    if exists {
        TARGET_IN_USE.store(number, Ordering::Release);
    }
    exists
}

pub(crate) fn target(number: u32) -> WDFIOTARGET {
    WDFIOTARGET(TARGETS.get(number as usize).map_or(core::ptr::null_mut(), |handle| handle.load(Ordering::Acquire)))
}

pub(crate) fn set_target(number: u32, target: WDFIOTARGET) {
    if let Some(place) = TARGETS.get(number as usize) {
        place.store(target.0, Ordering::Release);
    }
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

/// An event happens to a slot, or to a queue: it has its place in the order of events, but nobody who waits for it goes on yet.
pub(crate) fn begin(event: Event, slot: u32) {
    if let Some(time) = TIMES[event as usize].get(slot as usize) {
        time.store(NOW.fetch_add(1, Ordering::AcqRel) + 1, Ordering::Release);
    }
}

/// An event that began has happened.
pub(crate) fn finish(event: Event, slot: u32) {
    if let Some(count) = COUNTS[event as usize].get(slot as usize) {
        count.fetch_add(1, Ordering::AcqRel);
    }
}

/// An event has happened to a slot, or to a queue.
pub(crate) fn count(event: Event, slot: u32) {
    begin(event, slot);
    finish(event, slot);
}

/// When an event happened last, counted in events.
pub(crate) fn time_of(event: u32, slot: u32) -> Option<u32> {
    TIMES.get(event as usize)?.get(slot as usize).map(|time| time.load(Ordering::Acquire))
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

pub(crate) fn on_stop(slot: u32) -> Option<&'static AtomicU32> {
    ON_STOP.get(slot as usize)
}

/// What EvtIoStop was told the last time.
pub(crate) fn stop_flags(slot: u32) -> Option<u32> {
    STOP_FLAGS.get(slot as usize).map(|flags| flags.load(Ordering::Acquire))
}

pub(crate) fn set_stop_flags(slot: u32, flags: u32) {
    if let Some(place) = STOP_FLAGS.get(slot as usize) {
        place.store(flags, Ordering::Release);
    }
}

/// What the queue held when EvtIoStop had acknowledged.
pub(crate) fn stop_load(slot: u32) -> Option<u32> {
    STOP_LOADS.get(slot as usize).map(|load| load.load(Ordering::Acquire))
}

pub(crate) fn set_stop_load(slot: u32, load: u32) {
    if let Some(place) = STOP_LOADS.get(slot as usize) {
        place.store(load, Ordering::Release);
    }
}

/// Forgets everything but queues, targets and locks.
pub(crate) fn reset() {
    for place in &REQUESTS {
        place.store(core::ptr::null_mut(), Ordering::Release);
    }
    let by_slot = [&ON_CANCEL, &ON_COMPLETION, &ON_STOP, &STOP_FLAGS, &STOP_LOADS];
    for number in COUNTS.iter().chain(&TIMES).chain(by_slot).flatten().chain([&NOW]) {
        number.store(0, Ordering::Release);
    }
    TARGET_IN_USE.store(target::PROBE, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table is one for all.
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

    #[test]
    fn numbers_out_of_range_are_no_slots_and_no_queues() {
        set_request(SLOTS, WDFREQUEST(8 as *mut c_void));
        assert!(request(SLOTS).is_null());
        assert!(queue(queue::COUNT).is_null());
        assert_eq!(counted(EVENTS, 0), None);
        assert_eq!(counted(0, SLOTS), None);
        assert_eq!(time_of(EVENTS, 0), None);
        assert!(!use_target(target::COUNT));
    }

    #[test]
    fn events_are_ordered_by_when_they_began_not_by_when_they_were_counted() {
        let _alone = ALONE.lock().unwrap();
        reset();
        begin(Event::Canceled, 1);
        count(Event::Completed, 2);
        assert_eq!(counted(Event::Canceled as u32, 1), Some(0));
        finish(Event::Canceled, 1);
        let time = |event, slot| time_of(event as u32, slot).unwrap();
        assert!(0 < time(Event::Canceled, 1) && time(Event::Canceled, 1) < time(Event::Completed, 2));
        assert_eq!(time(Event::Presented, 1), 0);
    }

    #[test]
    fn a_request_is_found_by_its_handle_until_all_is_forgotten() {
        let _alone = ALONE.lock().unwrap();
        let handle = WDFREQUEST(0x1234_5678 as *mut c_void);
        set_request(3, handle);
        assert_eq!(slot_of(handle), Some(3));
        reset();
        assert_eq!(slot_of(handle), None);
    }
}
