//! Stop, drain, purge, and the order of steps.

use super::*;

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
fn a_second_completion_callback_while_one_of_its_kind_is_pending_is_refused() {
    for (one, other) in [(Change::Stop, Change::StopAndPurge), (Change::Drain, Change::Purge)] {
        for (first, second) in [(one, other), (other, one), (one, one)] {
            let mut rig = Rig::new(Kind::Sequential);
            rig.presented();
            rig.state.begin(first, Some(callback())).unwrap();
            assert!(rig.state.begin(second, Some(callback())).is_err());
            assert!(rig.state.begin(second, None).is_ok(), "without a callback there is nothing to lose");
        }
    }
}

#[test]
fn a_stop_and_a_purge_can_be_pending_together_and_the_stop_is_told_first() {
    for (first, second) in [(Change::Stop, Change::Purge), (Change::Drain, Change::StopAndPurge)] {
        let mut rig = Rig::new(Kind::Sequential);
        let request = rig.presented();
        let told = |change: Change| Notify { context: without_provenance_mut(change.kind() + 1), ..callback() };
        for change in [first, second] {
            rig.state.begin(change, Some(told(change))).unwrap();
        }
        rig.idle();
        rig.complete(request);
        for expected in [1, 2] {
            assert!(matches!(rig.state.next(), Step::Notify(notify) if notify.context.addr() == expected));
        }
        rig.idle();
    }
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
