//! A file is closed while one of its requests is anywhere on its way: in every gap in which another processor could close it. Nothing stays.

mod world;

use protocol::hardware::Event;
use protocol::io;
use wdf_sys::NTSTATUS;
use wdf_sys::wdf::WdfRequestStopActionSuspend;
use zerocopy::IntoBytes;

use world::{Device, File, Sent, gaps};

const COMMANDS: usize = 0;

fn hold(file: File) -> Sent {
    file.send(io::COMMAND, io::Command { tag: 7, opcode: 4, reserved: 0, argument: 0 }.as_bytes(), 0)
}

fn ended(sent: Sent) -> Option<NTSTATUS> {
    sent.outcome().map(|(status, _)| status)
}

/// Does something with a device, again and again, its file closed in another gap each time, until there are no more gaps; whatever was sent
/// ends as cancelled. How many gaps there were.
fn closed_in_every_gap(act: impl Fn(&Device, File) -> Sent) -> usize {
    for gap in 0.. {
        let device = Device::running();
        let file = device.open();
        gaps::plan(gap, move || file.close());
        let sent = act(&device, file);
        if gaps::forget() {
            return gap;
        }
        assert_eq!(ended(sent), Some(NTSTATUS::CANCELLED), "closed in gap {gap}");
    }
    unreachable!("a request has an end, and so have its gaps")
}

#[test]
fn a_command_whose_file_is_closed_before_it_is_on_the_hardware_does_not_stay_there() {
    assert!(closed_in_every_gap(|_, file| hold(file)) > 4);
}

#[test]
fn a_reader_whose_file_is_closed_before_it_waits_does_not_wait() {
    assert!(closed_in_every_gap(|_, file| file.send(io::READ_EVENT, &[], size_of::<Event>())) > 2);
}

#[test]
fn a_reader_whose_event_another_one_took_does_not_wait_for_a_file_that_was_closed_meanwhile() {
    let mut cancelled = 0;
    for gap in 0.. {
        let device = Device::running();
        let (file, other) = (device.open(), device.open());
        let reader = file.send(io::READ_EVENT, &[], size_of::<Event>());
        device.hardware(|hardware| hardware.event(&Event::default()));
        gaps::plan(gap, move || {
            other.send(io::READ_EVENT, &[], size_of::<Event>());
            file.close();
        });
        device.interrupt();
        if gaps::forget() {
            break;
        }
        let came = ended(reader).unwrap_or_else(|| panic!("the reader waits, closed in gap {gap}"));
        cancelled += u32::from(came == NTSTATUS::CANCELLED);
    }
    assert!(cancelled > 1);
}

#[test]
fn a_command_that_power_sent_back_ends_when_power_comes_if_its_file_is_closed_by_then() {
    for gap in 0.. {
        let device = Device::running();
        let file = device.open();
        let held = hold(file);
        gaps::plan(gap, move || file.close());
        held.stop(WdfRequestStopActionSuspend);
        let stays_open = gaps::forget();
        assert_eq!(device.power_off(), NTSTATUS::SUCCESS);
        device.hardware(world::hardware::Hardware::reset);
        assert_eq!(device.power_on(), NTSTATUS::SUCCESS);
        if held.is_requeued() {
            held.present_again();
        }
        if stays_open {
            assert_eq!(ended(held), None);
            device.hardware(|hardware| assert!(hardware.take(COMMANDS).is_some(), "a file that is open keeps its command"));
            return;
        }
        assert_eq!(ended(held), Some(NTSTATUS::CANCELLED), "closed in gap {gap}");
    }
}
