//! Power stop, resume, removal.

use super::*;

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

#[test]
fn a_request_suspended_over_a_sleep_is_stopped_again_when_the_device_is_removed() {
    let mut rig = Rig::new(Kind::Parallel(4));
    let request = rig.presented();
    let event = rig.stop_for_power();
    rig.stop(request, Some(false));
    assert!(rig.is_powered_off(event));
    assert!(rig.state.must_tell_of_removal());
    rig.state.stop_for_power(WdfRequestStopActionPurge, event);
    assert_eq!(rig.stop(request, Some(false)), WdfRequestStopActionPurge);
    assert!(rig.is_powered_off(event));
    assert!(!rig.state.must_tell_of_removal(), "once is enough");
}
