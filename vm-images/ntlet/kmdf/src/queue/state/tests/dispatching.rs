//! Delivering, retrieving, requeuing.

use super::*;

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
