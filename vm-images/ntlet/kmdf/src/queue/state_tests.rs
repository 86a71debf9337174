//! The sentences about queues, proven on the state machine alone. An IRP here is the structure and nothing more; [`Rig::cancel`] does what
//! `IoCancelIrp` does to it.

use core::ffi::c_void;
use core::ptr::{null_mut, without_provenance_mut};

use wdf_sys::wdf::{WdfRequestStopActionSuspend, WdfRequestStopRequestCancelable};
use wdf_sys::wdm::{DEVICE_OBJECT, FILE_OBJECT, IRP, KEVENT};
use wdf_sys::{TRUE, WDFQUEUE};

use super::entry::{Cancel, Entry, Place, Stop};
use super::state::{Change, Empty, Kind, Marked, Notify, Power, Rules, State, Step, Unmarked};
use crate::request::irp;

unsafe extern "win64" fn cancel_routine(_: *mut DEVICE_OBJECT, _: *mut IRP) {}
unsafe extern "win64" fn told(_: WDFQUEUE, _: *mut c_void) {}

const SUSPEND: u32 = WdfRequestStopActionSuspend;

/// A queue and the requests it may meet.
struct Rig {
    state: State,
    irps: Vec<Box<IRP>>,
    entries: Vec<Box<Entry>>,
}

fn rules(kind: Kind) -> Rules {
    Rules { kind, power_managed: true, tells_stop: true, tells_resume: true, tells_cancelled: true, cancel_routine }
}

impl Rig {
    fn new(kind: Kind) -> Self {
        Self::with(rules(kind))
    }

    fn with(rules: Rules) -> Self {
        Self { state: State::new(rules, Power::On), irps: Vec::new(), entries: Vec::new() }
    }

    fn request(&mut self) -> *mut Entry {
        self.request_of(null_mut())
    }

    fn request_of(&mut self, file: *mut FILE_OBJECT) -> *mut Entry {
        let mut irp = Box::new(IRP::zeroed());
        let mut entry = Box::new(Entry::new(&raw mut *irp, file));
        let pointer = &raw mut *entry;
        self.irps.push(irp);
        self.entries.push(entry);
        pointer
    }

    /// A request that has come.
    fn insert(&mut self) -> *mut Entry {
        let entry = self.request();
        // SAFETY: entries live as long as the rig.
        assert!(unsafe { self.state.insert(entry) });
        entry
    }

    fn next_presented(&mut self) -> *mut Entry {
        match self.state.next() {
            Step::Present(entry) => entry,
            other => panic!("{other:?}"),
        }
    }

    /// A request that the driver owns.
    fn presented(&mut self) -> *mut Entry {
        let entry = self.insert();
        assert_eq!(self.next_presented(), entry);
        entry
    }

    fn idle(&mut self) {
        assert!(matches!(self.state.next(), Step::None));
    }

    /// IoCancelIrp; whether the cancel routine was there and has been called.
    fn cancel(&mut self, entry: *mut Entry) -> bool {
        // SAFETY: entries and IRPs live as long as the rig.
        unsafe {
            (*(*entry).irp).Cancel = TRUE;
            let taken = irp::disarm((*entry).irp);
            if taken {
                let _ = self.state.irp_cancelled(entry);
            }
            taken
        }
    }

    /// IoCancelIrp on another processor, up to the point where its cancel routine waits for the queue's lock.
    fn cancel_begins(&mut self, entry: *mut Entry) {
        // SAFETY: as above.
        unsafe {
            (*(*entry).irp).Cancel = TRUE;
            assert!(irp::disarm((*entry).irp));
        }
    }

    fn cancel_arrives(&mut self, entry: *mut Entry) -> bool {
        // SAFETY: as above.
        unsafe { self.state.irp_cancelled(entry) }
    }

    fn complete(&mut self, entry: *mut Entry) {
        // SAFETY: as above; the entry is presented.
        unsafe { self.state.leave(entry) };
        self.state.left();
    }

    fn mark(&mut self, entry: *mut Entry) -> Marked {
        // SAFETY: as above.
        unsafe { self.state.mark_cancelable(entry) }
    }

    fn unmark(&mut self, entry: *mut Entry) -> Unmarked {
        // SAFETY: as above.
        unsafe { self.state.unmark_cancelable(entry) }
    }

    fn stop_for_power(&mut self) -> *mut KEVENT {
        let event = without_provenance_mut(0x1000);
        self.state.halt();
        self.state.stop_for_power(SUSPEND, event);
        event
    }

    /// EvtIoStop is called for an entry and acknowledges (or not).
    fn stop(&mut self, expected: *mut Entry, acknowledge: Option<bool>) -> u32 {
        match self.state.next() {
            Step::Stop(entry, flags) => {
                assert_eq!(entry, expected);
                // SAFETY: as above.
                unsafe {
                    if let Some(requeue) = acknowledge {
                        assert!(self.state.acknowledge_stop(entry, requeue));
                    }
                    self.state.stop_returned(entry);
                }
                flags
            }
            other => panic!("{other:?}"),
        }
    }

    fn is_powered_off(&mut self, event: *mut KEVENT) -> bool {
        matches!(self.state.next(), Step::Notify(notify) if notify.event == event)
    }
}

fn place(entry: *mut Entry) -> Place {
    // SAFETY: entries live as long as their rig.
    unsafe { (*entry).place }
}

fn callback() -> Notify {
    Notify { callback: Some(told), context: null_mut(), event: null_mut() }
}

// Dispatching.

#[test]
fn a_sequential_queue_delivers_the_next_request_when_the_driver_is_done_with_the_last() {
    let mut rig = Rig::new(Kind::Sequential);
    let (first, second) = (rig.insert(), rig.insert());
    assert_eq!(rig.next_presented(), first);
    rig.idle();
    rig.complete(first);
    assert_eq!(rig.next_presented(), second);
}

#[test]
fn a_parallel_queue_delivers_up_to_its_number_of_presented_requests() {
    let mut rig = Rig::new(Kind::Parallel(2));
    let (first, second, third) = (rig.insert(), rig.insert(), rig.insert());
    assert_eq!(rig.next_presented(), first);
    assert_eq!(rig.next_presented(), second);
    rig.idle();
    rig.complete(second);
    assert_eq!(rig.next_presented(), third);
}

#[test]
fn a_manual_queue_delivers_nothing_by_itself() {
    let mut rig = Rig::new(Kind::Manual);
    let request = rig.insert();
    rig.idle();
    assert_eq!(rig.state.retrieve(null_mut()), Ok(request));
    assert_eq!(rig.state.retrieve(null_mut()), Err(Empty::NoMore));
}

#[test]
fn a_forwarded_request_counts_against_its_source_until_it_has_left() {
    let mut rig = Rig::new(Kind::Sequential);
    let (first, second) = (rig.presented(), rig.insert());
    // SAFETY: entries live as long as the rig.
    unsafe { rig.state.leave(first) };
    rig.idle();
    rig.state.left();
    assert_eq!(rig.next_presented(), second);
}

#[test]
fn a_request_that_the_destination_refuses_is_still_the_drivers() {
    let mut rig = Rig::new(Kind::Sequential);
    let request = rig.presented();
    // SAFETY: entries live as long as the rig.
    unsafe {
        rig.state.leave(request);
        rig.state.stay(request);
    }
    assert_eq!(place(request), Place::Presented);
    assert_eq!(rig.state.counts(), (0, 1));
    rig.complete(request);
    assert_eq!(rig.state.counts(), (0, 0));
}

#[test]
fn retrieving_from_a_parallel_queue_a_stopped_queue_and_an_empty_queue_fails_differently() {
    assert_eq!(Rig::new(Kind::Parallel(1)).state.retrieve(null_mut()), Err(Empty::NotForParallel));
    let mut rig = Rig::new(Kind::Manual);
    assert_eq!(rig.state.retrieve(null_mut()), Err(Empty::NoMore));
    rig.insert();
    rig.state.begin(Change::Stop, None).unwrap();
    assert_eq!(rig.state.retrieve(null_mut()), Err(Empty::Paused));
    rig.state.start();
    rig.state.halt();
    assert_eq!(rig.state.retrieve(null_mut()), Err(Empty::Paused));
}

#[test]
fn requests_are_found_by_file_and_retrieved_when_found() {
    let mut rig = Rig::new(Kind::Manual);
    let (file, other): (*mut FILE_OBJECT, *mut FILE_OBJECT) = (without_provenance_mut(8), without_provenance_mut(16));
    let requests = [rig.request_of(file), rig.request_of(other), rig.request_of(file)];
    // SAFETY: entries live as long as the rig.
    unsafe {
        for request in requests {
            assert!(rig.state.insert(request));
        }
        assert_eq!(rig.state.find(null_mut(), file), Ok(requests[0]));
        assert_eq!(rig.state.find(requests[0], file), Ok(requests[2]));
        assert_eq!(rig.state.find(requests[2], file), Err(Empty::NoMore));
        assert_eq!(rig.state.retrieve(other), Ok(requests[1]));
        assert_eq!(rig.state.retrieve_found(requests[1]), Err(Empty::NotFound));
        assert_eq!(rig.state.find(requests[1], file), Err(Empty::NotFound));
        assert_eq!(rig.state.retrieve_found(requests[2]), Ok(()));
    }
    assert_eq!(place(requests[2]), Place::Presented);
}

#[test]
fn a_requeued_request_comes_first_again() {
    let mut rig = Rig::new(Kind::Manual);
    let (first, second) = (rig.insert(), rig.insert());
    assert_eq!(rig.state.retrieve(null_mut()), Ok(first));
    // SAFETY: entries live as long as the rig.
    unsafe { rig.state.requeue(first) };
    assert_eq!(rig.state.counts(), (2, 0));
    assert_eq!(rig.state.retrieve(null_mut()), Ok(first));
    assert_eq!(rig.state.retrieve(null_mut()), Ok(second));
}

#[test]
fn the_ready_callback_is_due_when_an_empty_manual_queue_gets_a_request() {
    let mut rig = Rig::new(Kind::Manual);
    assert!(rig.state.set_ready(callback()));
    assert!(!rig.state.set_ready(callback()), "one at a time");
    rig.idle();
    rig.insert();
    rig.insert();
    assert!(matches!(rig.state.next(), Step::Ready(_)));
    rig.idle();
    assert!(rig.state.retrieve(null_mut()).is_ok() && rig.state.retrieve(null_mut()).is_ok());
    rig.insert();
    assert!(matches!(rig.state.next(), Step::Ready(_)));
}

#[test]
fn the_ready_callback_waits_for_power() {
    let mut rig = Rig::new(Kind::Manual);
    assert!(rig.state.set_ready(callback()));
    let event = rig.stop_for_power();
    assert!(rig.is_powered_off(event));
    rig.insert();
    rig.idle();
    rig.state.resume();
    assert!(matches!(rig.state.next(), Step::Ready(_)));
}

// Cancelling in the queue.

#[test]
fn a_request_cancelled_in_the_queue_before_it_was_presented_is_completed_by_the_framework() {
    let mut rig = Rig::new(Kind::Manual);
    let request = rig.insert();
    assert!(rig.cancel(request));
    assert!(matches!(rig.state.next(), Step::CompleteCancelled(entry) if entry == request));
    rig.state.completed_cancelled();
    rig.idle();
    assert_eq!(rig.state.counts(), (0, 0));
}

#[test]
fn a_request_cancelled_in_the_queue_after_it_was_presented_goes_to_the_driver() {
    let mut rig = Rig::new(Kind::Manual);
    let request = rig.insert();
    assert_eq!(rig.state.retrieve(null_mut()), Ok(request));
    // SAFETY: entries live as long as the rig.
    unsafe { rig.state.requeue(request) };
    assert!(rig.cancel(request));
    assert!(matches!(rig.state.next(), Step::CallCancelledOnQueue(entry) if entry == request));
    assert_eq!(rig.state.counts(), (0, 1), "the driver must complete it");
    rig.complete(request);
}

#[test]
fn without_a_callback_a_presented_request_cancelled_in_a_queue_is_completed_by_the_framework() {
    let mut rig = Rig::with(Rules { tells_cancelled: false, ..rules(Kind::Manual) });
    let request = rig.insert();
    assert_eq!(rig.state.retrieve(null_mut()), Ok(request));
    // SAFETY: entries live as long as the rig.
    unsafe { rig.state.requeue(request) };
    assert!(rig.cancel(request));
    assert!(matches!(rig.state.next(), Step::CompleteCancelled(_)));
}

#[test]
fn a_request_that_is_already_cancelled_is_accepted_and_cancelled_there() {
    let mut rig = Rig::new(Kind::Sequential);
    let request = rig.request();
    assert!(!rig.cancel(request));
    // SAFETY: entries live as long as the rig.
    assert!(unsafe { rig.state.insert(request) });
    assert!(matches!(rig.state.next(), Step::CompleteCancelled(entry) if entry == request));
}

#[test]
fn a_request_whose_cancel_is_on_its_way_is_presented_to_nobody() {
    let mut rig = Rig::new(Kind::Parallel(4));
    let (first, second) = (rig.insert(), rig.insert());
    rig.cancel_begins(first);
    assert_eq!(rig.next_presented(), second);
    rig.idle();
    assert!(!rig.cancel_arrives(first));
    assert!(matches!(rig.state.next(), Step::CompleteCancelled(entry) if entry == first));
}

#[test]
fn requests_of_one_file_are_cancelled_when_it_is_cleaned_up() {
    let mut rig = Rig::new(Kind::Manual);
    let file: *mut FILE_OBJECT = without_provenance_mut(8);
    let (ours, other) = (rig.request_of(file), rig.request());
    // SAFETY: entries live as long as the rig.
    unsafe {
        assert!(rig.state.insert(ours));
        assert!(rig.state.insert(other));
    }
    rig.state.cancel_all(file, false);
    assert!(matches!(rig.state.next(), Step::CompleteCancelled(entry) if entry == ours));
    rig.idle();
    assert_eq!(place(other), Place::Waiting);
}

// Cancelable requests.

#[test]
fn the_cancel_callback_of_a_cancelable_request_is_called_once() {
    let mut rig = Rig::new(Kind::Sequential);
    let request = rig.presented();
    assert_eq!(rig.mark(request), Marked::Yes);
    assert!(rig.cancel(request));
    assert!(!rig.cancel(request));
    assert!(matches!(rig.state.next(), Step::CallCancel(entry) if entry == request));
    rig.idle();
    rig.complete(request);
}

#[test]
fn an_unmarked_request_is_not_cancelled() {
    let mut rig = Rig::new(Kind::Sequential);
    let request = rig.presented();
    assert_eq!(rig.mark(request), Marked::Yes);
    assert_eq!(rig.unmark(request), Unmarked::Yes);
    assert!(!rig.cancel(request));
    rig.idle();
    assert_eq!(rig.unmark(request), Unmarked::WasNot);
}

#[test]
fn unmarking_says_cancelled_from_the_moment_the_cancel_routine_is_taken() {
    let mut rig = Rig::new(Kind::Sequential);
    let request = rig.presented();
    assert_eq!(rig.mark(request), Marked::Yes);
    rig.cancel_begins(request);
    assert_eq!(rig.unmark(request), Unmarked::Cancelled);
    assert!(!rig.cancel_arrives(request));
    assert_eq!(rig.unmark(request), Unmarked::Cancelled);
    assert!(matches!(rig.state.next(), Step::CallCancel(_)));
    assert_eq!(rig.unmark(request), Unmarked::Cancelled);
}

#[test]
fn marking_a_cancelled_request_says_so_and_calls_nobody() {
    let mut rig = Rig::new(Kind::Sequential);
    let request = rig.presented();
    rig.cancel(request);
    assert_eq!(rig.mark(request), Marked::AlreadyCancelled);
    rig.idle();
    // Plain WdfRequestMarkCancelable has the callback called after all.
    // SAFETY: entries live as long as the rig.
    unsafe { rig.state.cancel_due(request) };
    assert!(matches!(rig.state.next(), Step::CallCancel(_)));
}

#[test]
fn a_cancel_that_comes_after_an_illegal_completion_finds_nobody_to_tell() {
    let mut rig = Rig::new(Kind::Sequential);
    let request = rig.presented();
    assert_eq!(rig.mark(request), Marked::Yes);
    rig.cancel_begins(request);
    rig.complete(request);
    assert!(rig.cancel_arrives(request));
    rig.idle();
}

// Stop, drain, purge.

#[test]
fn a_stopped_queue_accepts_and_does_not_deliver() {
    let mut rig = Rig::new(Kind::Sequential);
    rig.state.begin(Change::Stop, None).unwrap();
    let request = rig.insert();
    rig.idle();
    rig.state.start();
    assert_eq!(rig.next_presented(), request);
}

#[test]
fn a_stop_is_done_when_the_driver_owns_no_request() {
    let mut rig = Rig::new(Kind::Sequential);
    let request = rig.presented();
    rig.insert();
    rig.state.begin(Change::Stop, Some(callback())).unwrap();
    rig.idle();
    rig.complete(request);
    assert!(matches!(rig.state.next(), Step::Notify(_)));
    rig.idle();
}

#[test]
fn a_purged_queue_does_not_accept_and_stop_opens_it_again() {
    let mut rig = Rig::new(Kind::Sequential);
    rig.state.begin(Change::Purge, None).unwrap();
    rig.idle();
    let request = rig.request();
    // SAFETY: entries live as long as the rig.
    assert!(!unsafe { rig.state.insert(request) });
    assert_eq!(place(request), Place::Nowhere);
    rig.state.begin(Change::Stop, None).unwrap();
    // SAFETY: as above.
    assert!(unsafe { rig.state.insert(request) });
}

#[test]
fn a_purge_cancels_what_waits_and_what_is_cancelable_and_is_done_when_all_have_ended() {
    let mut rig = Rig::new(Kind::Parallel(2));
    let (cancelable, kept) = (rig.presented(), rig.presented());
    let waiting = rig.insert();
    assert_eq!(rig.mark(cancelable), Marked::Yes);
    rig.state.begin(Change::Purge, Some(callback())).unwrap();
    assert!(matches!(rig.state.next(), Step::CallCancel(entry) if entry == cancelable));
    rig.complete(cancelable);
    assert!(matches!(rig.state.next(), Step::CompleteCancelled(entry) if entry == waiting));
    rig.idle();
    rig.state.completed_cancelled();
    rig.idle();
    rig.complete(kept);
    assert!(matches!(rig.state.next(), Step::Notify(_)));
}

#[test]
fn a_drain_is_a_purge_without_the_cancels() {
    let mut rig = Rig::new(Kind::Sequential);
    let (first, second) = (rig.presented(), rig.insert());
    rig.state.begin(Change::Drain, Some(callback())).unwrap();
    assert!(!rig.state.accepts());
    rig.complete(first);
    assert_eq!(rig.next_presented(), second);
    rig.idle();
    rig.complete(second);
    assert!(matches!(rig.state.next(), Step::Notify(_)));
}

#[test]
fn stop_and_purge_cancels_what_there_is_and_stores_what_comes() {
    let mut rig = Rig::new(Kind::Sequential);
    let old = rig.insert();
    rig.state.begin(Change::StopAndPurge, Some(callback())).unwrap();
    assert!(matches!(rig.state.next(), Step::CompleteCancelled(entry) if entry == old));
    let new = rig.insert();
    rig.idle();
    rig.state.completed_cancelled();
    assert!(matches!(rig.state.next(), Step::Notify(_)));
    rig.idle();
    rig.state.start();
    assert_eq!(rig.next_presented(), new);
}

#[test]
fn a_second_completion_callback_while_one_is_pending_is_refused() {
    let mut rig = Rig::new(Kind::Sequential);
    rig.presented();
    rig.state.begin(Change::Stop, Some(callback())).unwrap();
    assert!(rig.state.begin(Change::Drain, Some(callback())).is_err());
    assert!(rig.state.begin(Change::Purge, None).is_ok(), "without a callback there is nothing to lose");
}

#[test]
fn cancels_come_before_cancelled_on_queue_before_completions_before_requests() {
    let mut rig = Rig::new(Kind::Parallel(8));
    let cancelable = rig.presented();
    assert_eq!(rig.mark(cancelable), Marked::Yes);
    let waiting = rig.insert();
    let next = rig.insert();
    rig.cancel(waiting);
    rig.cancel(cancelable);
    assert!(matches!(rig.state.next(), Step::CallCancel(_)));
    assert!(matches!(rig.state.next(), Step::CompleteCancelled(_)));
    assert_eq!(rig.next_presented(), next);
}

// Power.

#[test]
fn a_halted_queue_delivers_nothing_and_a_resumed_one_goes_on() {
    let mut rig = Rig::new(Kind::Sequential);
    rig.state.halt();
    let request = rig.insert();
    rig.idle();
    rig.state.resume();
    assert_eq!(rig.next_presented(), request);
}

#[test]
fn a_queue_that_is_not_power_managed_ignores_power() {
    let mut rig = Rig::with(Rules { power_managed: false, ..rules(Kind::Sequential) });
    rig.state.halt();
    let request = rig.insert();
    assert_eq!(rig.next_presented(), request);
}

#[test]
fn a_power_stop_asks_for_every_request_the_driver_owns_and_ends_when_all_are_acknowledged() {
    let mut rig = Rig::new(Kind::Parallel(4));
    let (first, second) = (rig.presented(), rig.presented());
    assert_eq!(rig.mark(second), Marked::Yes);
    let event = rig.stop_for_power();
    assert_eq!(rig.stop(first, Some(false)), SUSPEND);
    assert_eq!(rig.stop(second, Some(false)), SUSPEND | WdfRequestStopRequestCancelable);
    assert!(rig.is_powered_off(event));
}

#[test]
fn a_suspended_request_is_resumed_before_new_ones_are_presented() {
    let mut rig = Rig::new(Kind::Parallel(4));
    let request = rig.presented();
    let event = rig.stop_for_power();
    rig.stop(request, Some(false));
    assert!(rig.is_powered_off(event));
    let new = rig.insert();
    rig.idle();
    rig.state.resume();
    assert!(matches!(rig.state.next(), Step::Resume(entry) if entry == request));
    assert_eq!(rig.next_presented(), new);
}

#[test]
fn a_request_requeued_by_its_stop_is_delivered_again_and_not_resumed() {
    let mut rig = Rig::new(Kind::Parallel(4));
    let request = rig.presented();
    let event = rig.stop_for_power();
    rig.stop(request, Some(true));
    assert!(rig.is_powered_off(event));
    assert_eq!(rig.state.counts(), (1, 0));
    rig.state.resume();
    assert_eq!(rig.next_presented(), request);
    rig.idle();
}

#[test]
fn a_request_without_acknowledgement_holds_the_power_stop_up_until_it_is_completed() {
    let mut rig = Rig::new(Kind::Parallel(4));
    let request = rig.presented();
    let event = rig.stop_for_power();
    rig.stop(request, None);
    rig.idle();
    rig.complete(request);
    assert!(rig.is_powered_off(event));
}

#[test]
fn without_a_stop_callback_the_power_stop_waits_for_the_requests_to_end() {
    let mut rig = Rig::with(Rules { tells_stop: false, ..rules(Kind::Parallel(4)) });
    let request = rig.presented();
    let event = rig.stop_for_power();
    rig.idle();
    rig.complete(request);
    assert!(rig.is_powered_off(event));
}

#[test]
fn a_request_completed_inside_its_stop_callback_is_gone_from_the_stop() {
    let mut rig = Rig::new(Kind::Parallel(4));
    let request = rig.presented();
    let event = rig.stop_for_power();
    assert!(matches!(rig.state.next(), Step::Stop(_, _)));
    rig.complete(request);
    // SAFETY: entries live as long as the rig.
    unsafe { rig.state.stop_returned(request) };
    assert!(rig.is_powered_off(event));
}

#[test]
fn a_suspended_request_that_ends_while_the_device_sleeps_leaves_the_count_right() {
    let mut rig = Rig::new(Kind::Parallel(4));
    let (first, second) = (rig.presented(), rig.presented());
    let event = rig.stop_for_power();
    rig.stop(first, Some(false));
    rig.complete(first);
    rig.stop(second, Some(false));
    assert!(rig.is_powered_off(event));
    rig.state.resume();
    assert!(matches!(rig.state.next(), Step::Resume(entry) if entry == second));
    rig.idle();
    assert_eq!(rig.state.counts(), (0, 1));
}

#[test]
fn an_acknowledgement_outside_the_stop_callback_is_told_apart() {
    let mut rig = Rig::new(Kind::Parallel(4));
    let request = rig.presented();
    // SAFETY: entries live as long as the rig.
    unsafe {
        assert!(!rig.state.acknowledge_stop(request, false));
        assert_eq!((*request).stop, Stop::No);
        let event = rig.stop_for_power();
        rig.stop(request, None);
        assert!(!rig.state.acknowledge_stop(request, false));
        rig.state.acknowledge_late(request, false);
        assert!(rig.is_powered_off(event));
    }
}

#[test]
fn removal_is_told_when_nothing_is_left_whatever_the_driver_waits_for() {
    let mut rig = Rig::new(Kind::Sequential);
    let request = rig.presented();
    rig.state.begin(Change::Stop, Some(callback())).unwrap();
    rig.state.begin(Change::Purge, None).unwrap();
    let event = without_provenance_mut(0x2000);
    rig.state.await_empty(Notify::event(event));
    rig.idle();
    rig.complete(request);
    assert!(matches!(rig.state.next(), Step::Notify(notify) if notify.callback.is_some()));
    assert!(matches!(rig.state.next(), Step::Notify(notify) if notify.event == event));
}

#[test]
fn every_cancel_state_begins_anew_in_the_next_queue() {
    let mut rig = Rig::new(Kind::Manual);
    let request = rig.insert();
    assert_eq!(rig.state.retrieve(null_mut()), Ok(request));
    assert_eq!(rig.mark(request), Marked::Yes);
    assert_eq!(rig.unmark(request), Unmarked::Yes);
    // SAFETY: entries live as long as the rig.
    unsafe {
        rig.state.requeue(request);
        assert_eq!((*request).cancel, Cancel::No);
    }
    assert!(rig.cancel(request));
}
