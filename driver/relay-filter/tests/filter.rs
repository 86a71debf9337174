//! The whole filter, from its entry point to the completion routine, against a driver below that the test plays.

mod world;

use std::collections::HashSet;
use std::rc::Rc;

use protocol::hardware::Event;
use protocol::io;
use wdf_sys::NTSTATUS;
use wdf_sys::wdf::{WdfRequestStopActionPurge, WdfRequestStopActionSuspend};
use zerocopy::IntoBytes;

use world::{Device, Request, gaps, scarcity};

fn ended(request: Request) -> Option<NTSTATUS> {
    request.outcome().map(|(status, _)| status)
}

#[test]
fn a_command_is_carried_down_and_its_answer_back() {
    let device = Device::add();
    let client = device.send(io::ECHO, b"hello", 8);
    let carrier = device.below().expect("it is carried");
    assert_eq!(carrier.with(|parts| (parts.code, parts.input.clone())), (io::ECHO, b"hello".to_vec()));
    carrier.complete(NTSTATUS::SUCCESS, b"world");
    assert_eq!(client.outcome(), Some((NTSTATUS::SUCCESS, b"world".to_vec())));
}

#[test]
fn an_error_below_is_the_clients_error() {
    let device = Device::add();
    let client = device.send(io::COMMAND, &[0; 24], 0);
    device.below().expect("it is carried").complete(NTSTATUS::NOT_FOUND, &[]);
    assert_eq!(ended(client), Some(NTSTATUS::NOT_FOUND));
}

#[test]
fn whichever_allocation_fails_the_device_is_not_added_and_nothing_is_left_behind() {
    for fails in 0.. {
        scarcity::begin(Some(fails));
        match Device::try_add() {
            Err(status) => assert_eq!(status, NTSTATUS::INSUFFICIENT_RESOURCES, "allocation {fails}"),
            Ok(device) => {
                assert!(fails > 16, "only {fails} allocations");
                device.destroy();
                break;
            }
        }
        assert_eq!(scarcity::left_behind(), 0, "allocation {fails}");
    }
    assert_eq!(scarcity::left_behind(), 0);
}

#[test]
fn a_client_that_there_is_no_memory_to_carry_is_told_so_and_the_next_one_is_carried() {
    scarcity::begin(None);
    let device = Device::add();
    scarcity::fail(Some(0));
    let unlucky = device.send(io::ECHO, b"a", 1);
    assert_eq!(ended(unlucky), Some(NTSTATUS::INSUFFICIENT_RESOURCES));
    let lucky = device.send(io::ECHO, b"b", 1);
    device.below().expect("it is carried").complete(NTSTATUS::SUCCESS, b"b");
    assert_eq!(lucky.outcome(), Some((NTSTATUS::SUCCESS, b"b".to_vec())));
}

#[test]
fn clients_beyond_the_carriers_wait_and_are_carried_by_reused_ones() {
    let device = Device::add();
    let clients: Vec<_> = (0..40_u8).map(|number| device.send(io::ECHO, &[number], 1)).collect();
    let mut carriers = HashSet::new();
    let mut carried = 0;
    while let Some(carrier) = device.below() {
        carriers.insert(carrier);
        let input = carrier.with(|parts| parts.input.clone());
        carrier.complete(NTSTATUS::SUCCESS, &input);
        carried += 1;
    }
    assert_eq!((carriers.len(), carried), (16, 40));
    for (number, client) in clients.into_iter().enumerate() {
        assert_eq!(client.outcome(), Some((NTSTATUS::SUCCESS, vec![number as u8])));
    }
}

#[test]
fn a_driver_below_that_completes_inside_of_the_send_does_not_pile_up_the_stack() {
    let device = Device::add();
    let held: Vec<_> = (0..16).map(|_| device.send(io::ECHO, &[], 0)).collect();
    let waiting: Vec<_> = (0..100_000).map(|_| device.send(io::ECHO, &[], 0)).collect();
    device.complete_at_once(Some(NTSTATUS::DEVICE_NOT_READY));
    device.below().expect("it is carried").complete(NTSTATUS::SUCCESS, &[]);
    assert_eq!(ended(held[0]), Some(NTSTATUS::SUCCESS));
    assert!(waiting.into_iter().all(|client| ended(client) == Some(NTSTATUS::DEVICE_NOT_READY)));
}

#[test]
fn a_cancelled_client_ends_at_once_and_its_carrier_is_cancelled() {
    let device = Device::add();
    let client = device.send(io::ECHO, b"a", 1);
    let carrier = device.below().expect("it is carried");
    assert!(client.cancel());
    assert_eq!((ended(client), carrier.with(|parts| parts.cancels)), (Some(NTSTATUS::CANCELLED), 1));

    carrier.complete(NTSTATUS::CANCELLED, &[]);
    let next = device.send(io::ECHO, b"b", 1);
    device.below().expect("carriers are there").complete(NTSTATUS::SUCCESS, b"b");
    assert_eq!(next.outcome(), Some((NTSTATUS::SUCCESS, b"b".to_vec())));
}

#[test]
fn a_client_stays_with_its_carrier_when_power_goes() {
    let device = Device::add();
    let client = device.send(io::ECHO, b"a", 1);
    client.stop(WdfRequestStopActionSuspend);
    assert!(client.with(|parts| parts.kept));
    device.below().expect("it is carried").complete(NTSTATUS::SUCCESS, b"a");
    assert_eq!(ended(client), Some(NTSTATUS::SUCCESS));
}

#[test]
fn power_that_comes_back_between_a_look_into_the_queue_and_the_rest_of_the_carrier_is_not_missed() {
    for gap in 0.. {
        let device = Rc::new(Device::add());
        let clients: Vec<_> = (0..15).map(|number| device.send(io::ECHO, &[number], 1)).collect();
        device.suspend(&clients);
        gaps::plan(gap, {
            let device = Rc::clone(&device);
            move || device.resume()
        });
        // It takes the last idle carrier for a look into the queue.
        let last = device.send(io::ECHO, &[15], 1);
        if gaps::forget() {
            assert!(gap > 4, "only {gap} gaps");
            break;
        }
        assert_eq!((device.below_with(io::ECHO), last.is_queued()), (16, false), "gap {gap}");
    }
}

#[test]
fn a_purge_cancels_the_carrier_and_its_completion_ends_the_client() {
    let device = Device::add();
    let client = device.send(io::ECHO, b"a", 1);
    let carrier = device.below().expect("it is carried");
    client.stop(WdfRequestStopActionPurge);
    assert_eq!((ended(client), carrier.with(|parts| parts.cancels)), (None, 1));
    carrier.complete(NTSTATUS::CANCELLED, &[]);
    assert_eq!(ended(client), Some(NTSTATUS::CANCELLED));
}

#[test]
fn removal_cancels_carriers_and_readers() {
    let device = Device::reading();
    let _client = device.send(io::ECHO, b"a", 1);
    device.surprise_remove();
    let below: Vec<_> = std::iter::from_fn(|| device.below()).collect();
    assert_eq!(below.len(), 5);
    assert!(below.iter().all(|request| request.with(|parts| parts.cancels) == 1));
    for request in below {
        request.complete(NTSTATUS::CANCELLED, &[]);
    }
    assert_eq!(device.below(), None);
}

#[test]
fn large_commands_and_other_codes_are_sent_on_as_they_are() {
    let device = Device::add();
    let large = device.send(io::ECHO, &[0; 5000], 5000);
    let other = device.send(io::QUERY_CONFIG, &[], 48);
    assert_eq!(device.passed(), [large, other]);
    assert_eq!(device.below(), None);
}

#[test]
fn a_reader_brings_an_event_and_goes_for_the_next() {
    let device = Device::reading();
    let client = device.send(io::READ_EVENT, &[], size_of::<Event>());
    let event = Event { sequence: 1, time_ns: 2, value: 3 };
    let reader = device.below().expect("readers wait below");
    reader.complete(NTSTATUS::SUCCESS, event.as_bytes());
    assert_eq!(client.outcome(), Some((NTSTATUS::SUCCESS, event.as_bytes().to_vec())));
    assert_eq!(reader.with(|parts| (parts.sends, parts.reuses)), (2, 1));
}

#[test]
fn readers_stop_when_there_is_no_room_and_go_on_when_there_is() {
    let device = Device::reading();
    let mut read = 0;
    while let Some(reader) = device.below() {
        reader.complete(NTSTATUS::SUCCESS, Event { sequence: read, ..Event::default() }.as_bytes());
        read += 1;
        assert!(read <= 64);
    }
    assert_eq!(read, 64);
    let client = device.send(io::READ_EVENT, &[], size_of::<Event>());
    assert_eq!(client.outcome(), Some((NTSTATUS::SUCCESS, Event::default().as_bytes().to_vec())));
    assert!(device.below().is_some());
}

#[test]
fn a_reader_that_fails_rests() {
    let device = Device::reading();
    let reader = device.below().expect("readers wait below");
    reader.complete(NTSTATUS::DEVICE_NOT_READY, &[]);
    assert_eq!(reader.with(|parts| parts.sends), 1);
}
