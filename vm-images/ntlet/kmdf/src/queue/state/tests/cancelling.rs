//! Cancelling in the queue, and of requests that the driver has marked.

use super::*;

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
