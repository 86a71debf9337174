//! The whole driver, from its entry point to the used ring, against hardware that the test plays: also hardware that lies.

mod world;

use std::cell::Cell;
use std::rc::Rc;

use protocol::hardware::{AdminCommand, AdminOpcode, AdminReply, Event, Reply, Status};
use protocol::io;
use wdf_sys::NTSTATUS;
use wdf_sys::wdf::{WdfRequestStopActionPurge, WdfRequestStopActionSuspend};
use zerocopy::{FromBytes, IntoBytes};

use world::hardware::Hardware;
use world::{Device, Sent, gaps, scarcity};

const COMMANDS: usize = 0;
const ADMIN: usize = 2;

fn hold(tag: u64) -> Vec<u8> {
    io::Command { tag, opcode: 4, reserved: 0, argument: 0 }.as_bytes().to_vec()
}

#[test]
fn an_echo_goes_to_the_hardware_and_comes_back() {
    let device = Device::running();
    let sent = device.send(io::ECHO, b"hello", 16);
    assert_eq!(sent.outcome(), None);
    device.hardware(|hardware| {
        let chain = hardware.take(COMMANDS).expect("the driver offered it");
        assert_eq!((chain.payload(), chain.room()), (&b"hello"[..], 16 + 16));
        let tag = chain.command().tag;
        hardware.echo(&chain, tag);
    });
    device.interrupt();
    assert_eq!(sent.outcome(), Some((NTSTATUS::SUCCESS, b"hello".to_vec())));
}

#[test]
fn the_empty_and_the_largest_payload_come_back_and_one_byte_more_does_not_go() {
    let device = Device::running();
    for length in [0, 1, 4096, 4097, 1 << 20] {
        let payload: Vec<u8> = (0..length).map(|at: usize| (at * 7) as u8).collect();
        let sent = device.send(io::ECHO, &payload, length);
        device.hardware(|hardware| {
            let chain = hardware.take(COMMANDS).expect("the driver offered it");
            let tag = chain.command().tag;
            hardware.echo(&chain, tag);
        });
        device.interrupt();
        assert!(sent.outcome() == Some((NTSTATUS::SUCCESS, payload)), "length {length}");
    }
    let sent = device.send(io::ECHO, &vec![0; (1 << 20) + 1], 0);
    assert_eq!(sent.outcome().map(|(status, _)| status), Some(NTSTATUS::INVALID_BUFFER_SIZE));
}

#[test]
fn an_in_direct_echo_tells_the_length_and_leaves_the_buffer_alone() {
    let device = Device::running();
    let sent = device.send(io::ECHO_IN_DIRECT, b"", 8);
    device.hardware(|hardware| {
        let chain = hardware.take(COMMANDS).expect("the driver offered it");
        assert_eq!(chain.payload(), [0; 8]);
        let reply = Reply { tag: chain.command().tag, status: Status::OK, length: 8 };
        let bytes = [reply.as_bytes(), &[0xee; 8]].concat();
        hardware.give_back(COMMANDS, &chain, &bytes, bytes.len() as u32);
    });
    device.interrupt();
    assert_eq!((sent.outcome(), sent.information()), (Some((NTSTATUS::SUCCESS, vec![0; 8])), Some(8)));
}

#[test]
fn a_reply_with_another_tag_fails_its_request_only() {
    let device = Device::running();
    let (wronged, other) = (device.send(io::ECHO, b"a", 1), device.send(io::ECHO, b"b", 1));
    device.hardware(|hardware| {
        let first = hardware.take(COMMANDS).expect("the driver offered it");
        let second = hardware.take(COMMANDS).expect("the driver offered it");
        hardware.echo(&first, 0x1234);
        let tag = second.command().tag;
        hardware.echo(&second, tag);
    });
    device.interrupt();
    assert_eq!(wronged.outcome().map(|(status, _)| status), Some(NTSTATUS::DEVICE_HARDWARE_ERROR));
    assert_eq!(other.outcome(), Some((NTSTATUS::SUCCESS, b"b".to_vec())));
}

#[test]
fn a_used_length_of_nothing_or_too_much_fails_the_request() {
    for written in [0, 15, 18, u32::MAX] {
        let device = Device::running();
        let sent = device.send(io::ECHO, b"a", 1);
        device.hardware(|hardware| {
            let chain = hardware.take(COMMANDS).expect("the driver offered it");
            let reply = Reply { tag: chain.command().tag, status: Status::OK, length: 1 };
            hardware.give_back(COMMANDS, &chain, reply.as_bytes(), written);
        });
        device.interrupt();
        assert_eq!(sent.outcome(), Some((NTSTATUS::DEVICE_HARDWARE_ERROR, vec![])), "written {written}");
    }
}

#[test]
fn an_id_that_the_driver_never_gave_fails_everything_and_the_device_is_reset() {
    for id in [1, 200, 255, 256, u32::MAX] {
        let device = Device::running();
        let sent = device.send(io::ECHO, b"a", 1);
        device.hardware(|hardware| hardware.put_used(COMMANDS, id, 17));
        device.interrupt();
        assert_eq!(sent.outcome().map(|(status, _)| status), Some(NTSTATUS::DEVICE_HARDWARE_ERROR), "id {id}");
        let refused = device.send(io::ECHO, b"b", 1);
        assert_eq!(refused.outcome().map(|(status, _)| status), Some(NTSTATUS::DEVICE_NOT_READY));

        device.hardware(world::hardware::Hardware::reset);
        assert_eq!(device.run_work(), 1);

        let again = device.send(io::ECHO, b"c", 1);
        device.hardware(|hardware| {
            let chain = hardware.take(COMMANDS).expect("the driver offered it");
            let tag = chain.command().tag;
            hardware.echo(&chain, tag);
        });
        device.interrupt();
        assert_eq!(again.outcome(), Some((NTSTATUS::SUCCESS, b"c".to_vec())));
    }
}

#[test]
fn a_cancelled_command_ends_at_once_and_its_tag_is_aborted() {
    let device = Device::running();
    let sent = device.send(io::COMMAND, &hold(7), 0);
    assert!(sent.cancel());
    assert_eq!(sent.outcome().map(|(status, _)| status), Some(NTSTATUS::CANCELLED));
    device.hardware(|hardware| {
        let abort = hardware.take(ADMIN).expect("the driver aborts");
        let command = AdminCommand::read_from_bytes(&abort.readable).expect("a whole command");
        assert_eq!((command.opcode, command.target), (AdminOpcode::ABORT, 7));
        let chain = hardware.take(COMMANDS).expect("the command was there");
        let reply = Reply { tag: 7, status: Status::ABORTED, length: 0 };
        hardware.give_back(COMMANDS, &chain, reply.as_bytes(), 16);
    });
    device.interrupt();
    assert_eq!(sent.outcome().map(|(status, _)| status), Some(NTSTATUS::CANCELLED));
}

#[test]
fn a_tag_that_another_command_shares_is_not_aborted() {
    let device = Device::running();
    let (first, second) = (device.send(io::COMMAND, &hold(7), 0), device.send(io::COMMAND, &hold(7), 0));
    assert!(first.cancel());
    assert!(device.hardware(|hardware| hardware.take(ADMIN).is_none()));
    assert_eq!(second.outcome(), None);
}

#[test]
fn a_suspended_command_goes_back_to_its_queue_and_to_the_hardware_again() {
    let device = Device::running();
    let sent = device.send(io::COMMAND, &hold(9), 0);
    sent.stop(WdfRequestStopActionSuspend);
    assert!(sent.is_requeued() && sent.outcome().is_none());
    assert_eq!(device.power_off(), NTSTATUS::SUCCESS);

    device.hardware(world::hardware::Hardware::reset);
    assert_eq!(device.power_on(), NTSTATUS::SUCCESS);
    sent.present_again();

    assert_eq!(device.hardware(|hardware| hardware.take(COMMANDS).map(|chain| chain.command().tag)), Some(9));
}

#[test]
fn what_the_hardware_has_answered_before_the_queue_stops_is_not_asked_for_again() {
    let device = Device::running();
    let (command, admin) = (device.send(io::ECHO, b"a", 1), io::Admin { opcode: 2, reserved: 0, target: 7, argument: 0 });
    let admin = device.send(io::ADMIN, admin.as_bytes(), 0);
    device.hardware(|hardware| {
        let chain = hardware.take(COMMANDS).expect("the driver offered it");
        let tag = chain.command().tag;
        hardware.echo(&chain, tag);
        let chain = hardware.take(ADMIN).expect("the driver offered it");
        let tag = AdminCommand::read_from_bytes(&chain.readable).expect("a whole command").tag;
        let reply = AdminReply { tag, status: Status::OK, reserved: 0 };
        hardware.give_back(ADMIN, &chain, reply.as_bytes(), size_of_val(&reply) as u32);
    });
    // No interrupt: its DPC comes too late.
    command.stop(WdfRequestStopActionSuspend);
    assert_eq!(command.outcome(), Some((NTSTATUS::SUCCESS, b"a".to_vec())));
    admin.stop(WdfRequestStopActionSuspend);
    assert_eq!(admin.outcome(), Some((NTSTATUS::SUCCESS, vec![])));
    assert!(!command.is_requeued() && !admin.is_requeued());
}

/// The queue of a request stops, and the hardware answers in the gap after `gap` others if it is still allowed to. Whether there was such a gap, and
/// whether it answered.
fn answered_while_its_queue_stops(device: &Rc<Device>, sent: Sent, gap: usize, answer: fn(&mut Hardware)) -> (bool, bool) {
    let answered = Rc::new(Cell::new(false));
    gaps::plan(gap, {
        let (device, answered) = (Rc::clone(device), Rc::clone(&answered));
        move || {
            device.hardware(|hardware| {
                answered.set(hardware.runs());
                if hardware.runs() {
                    answer(hardware);
                }
            });
        }
    });
    sent.stop(WdfRequestStopActionSuspend);
    (!gaps::forget(), answered.get())
}

#[test]
fn what_the_hardware_answers_at_any_moment_while_a_queue_stops_is_completed_and_not_done_again() {
    let command: fn(&mut Hardware) = |hardware| {
        let chain = hardware.take(COMMANDS).expect("the driver offered it");
        let tag = chain.command().tag;
        hardware.echo(&chain, tag);
    };
    let admin: fn(&mut Hardware) = |hardware| {
        let chain = hardware.take(ADMIN).expect("the driver offered it");
        let tag = AdminCommand::read_from_bytes(&chain.readable).expect("a whole command").tag;
        let reply = AdminReply { tag, status: Status::OK, reserved: 0 };
        hardware.give_back(ADMIN, &chain, reply.as_bytes(), size_of_val(&reply) as u32);
    };
    let release = io::Admin { opcode: 2, reserved: 0, target: 7, argument: 0 };
    for (code, input, answer) in [(io::ECHO, &b"a"[..], command), (io::ADMIN, release.as_bytes(), admin)] {
        let mut answers = 0;
        for gap in 0.. {
            let device = Rc::new(Device::running());
            let sent = device.send(code, input, 1);
            let (there_was_one, answered) = answered_while_its_queue_stops(&device, sent, gap, answer);
            if !there_was_one {
                assert!(gap > 4, "{gap} gaps");
                break;
            }
            answers += usize::from(answered);
            let came = sent.outcome().map(|(status, _)| status);
            assert_eq!((came, sent.is_requeued()), (answered.then_some(NTSTATUS::SUCCESS), !answered), "gap {gap}");
        }
        assert!(answers > 0);
    }
}

#[test]
fn an_event_that_comes_just_before_power_goes_reaches_its_reader() {
    let device = Device::running();
    let reader = device.send(io::READ_EVENT, &[], size_of::<Event>());
    let event = Event { sequence: 1, time_ns: 2, value: 3 };
    assert!(device.hardware(|hardware| hardware.event(&event)));
    // No interrupt: its DPC comes too late.
    assert_eq!(device.power_off(), NTSTATUS::SUCCESS);
    assert_eq!(reader.outcome(), Some((NTSTATUS::SUCCESS, event.as_bytes().to_vec())));
}

#[test]
fn whichever_allocation_fails_the_device_does_not_start_and_nothing_is_left_behind() {
    for fails in 0.. {
        scarcity::begin(Some(fails));
        match Device::try_add() {
            Err(status) => assert_eq!(status, NTSTATUS::INSUFFICIENT_RESOURCES, "allocation {fails}"),
            Ok(device) => {
                assert!(fails > 16, "only {fails} allocations");
                assert_eq!(device.power_on(), NTSTATUS::SUCCESS);
                assert_eq!(device.power_off(), NTSTATUS::SUCCESS);
                assert_eq!(device.release(), NTSTATUS::SUCCESS);
                device.destroy();
                break;
            }
        }
        assert_eq!(scarcity::left_behind(), 0, "allocation {fails}");
    }
    assert_eq!(scarcity::left_behind(), 0);
}

#[test]
fn a_device_that_asks_for_a_reset_gets_it_and_works_again() {
    let device = Device::running();
    let sent = device.send(io::ECHO, b"a", 1);
    device.hardware(|hardware| hardware.set(20, 0x4f_u8));
    device.interrupt();
    assert_eq!(sent.outcome().map(|(status, _)| status), Some(NTSTATUS::DEVICE_HARDWARE_ERROR));
    device.hardware(Hardware::reset);
    assert_eq!(device.run_work(), 1);
    let again = device.send(io::ECHO, b"b", 1);
    device.hardware(|hardware| {
        let chain = hardware.take(COMMANDS).expect("the driver offered it");
        let tag = chain.command().tag;
        hardware.echo(&chain, tag);
    });
    device.interrupt();
    assert_eq!(again.outcome(), Some((NTSTATUS::SUCCESS, b"b".to_vec())));
}

#[test]
fn a_held_large_command_holds_up_the_next_large_one_and_no_small_one() {
    let device = Device::running();
    let large = |tag| [&hold(tag)[..], &[0; 5_000]].concat();
    let (held, next) = (device.send(io::COMMAND, &large(7), 0), device.send(io::COMMAND, &large(8), 0));
    let small = device.send(io::ECHO, b"small", 5);
    let mut tags = Vec::new();
    device.hardware(|hardware| {
        while let Some(chain) = hardware.take(COMMANDS) {
            tags.push(chain.command().tag);
            if chain.payload() == b"small" {
                let tag = chain.command().tag;
                hardware.echo(&chain, tag);
            }
        }
    });
    device.interrupt();
    assert_eq!((tags.len(), tags[0], small.outcome().is_some()), (2, 7, true));
    assert!(held.cancel());
    assert!(next.outcome().is_none());
    assert_eq!(device.hardware(|hardware| hardware.take(COMMANDS).map(|chain| chain.command().tag)), Some(8));
}

#[test]
fn the_driver_tests_itself_through_its_own_queues_again_and_again() {
    let device = Device::running();
    for round in 0..3 {
        let test = device.send(io::SELF_TEST, &[], 0);
        let next = device.send(io::SELF_TEST, &[], 0);
        device.hardware(|hardware| {
            let chain = hardware.take(COMMANDS).expect("the driver sends itself an echo");
            assert_eq!(chain.payload().len(), 64);
            let tag = chain.command().tag;
            hardware.echo(&chain, tag);
        });
        device.interrupt();
        assert_eq!(test.outcome(), Some((NTSTATUS::SUCCESS, vec![])), "round {round}");
        device.hardware(|hardware| {
            let chain = hardware.take(COMMANDS).expect("the next one had to wait");
            let tag = chain.command().tag;
            hardware.echo(&chain, tag);
        });
        device.interrupt();
        assert_eq!(next.outcome(), Some((NTSTATUS::SUCCESS, vec![])), "round {round}");
    }
}

#[test]
fn hardware_that_echoes_something_else_fails_the_self_test() {
    let device = Device::running();
    let test = device.send(io::SELF_TEST, &[], 0);
    device.hardware(|hardware| {
        let chain = hardware.take(COMMANDS).expect("the driver sends itself an echo");
        let reply = Reply { tag: chain.command().tag, status: Status::OK, length: 64 };
        let bytes = [reply.as_bytes(), &[0xee; 64]].concat();
        hardware.give_back(COMMANDS, &chain, &bytes, bytes.len() as u32);
    });
    device.interrupt();
    assert_eq!(test.outcome(), Some((NTSTATUS::DEVICE_HARDWARE_ERROR, vec![])));
}

#[test]
fn a_self_test_whose_time_is_over_ends_with_a_time_out_and_the_next_one_works() {
    let device = Device::running();
    let test = device.send(io::SELF_TEST, &[], 0);
    let (echo, time) = device.self_sent()[0];
    assert_eq!(time, -20_000_000);
    echo.time_out();
    assert_eq!(test.outcome(), Some((NTSTATUS::IO_TIMEOUT, vec![])));
    let _abandoned = device.hardware(|hardware| hardware.take(COMMANDS));
    let test = device.send(io::SELF_TEST, &[], 0);
    device.hardware(|hardware| {
        let chain = hardware.take(COMMANDS).expect("the driver sends itself an echo");
        let tag = chain.command().tag;
        hardware.echo(&chain, tag);
    });
    device.interrupt();
    assert_eq!(test.outcome(), Some((NTSTATUS::SUCCESS, vec![])));
}

#[test]
fn a_self_test_that_there_is_no_memory_for_says_so_and_the_next_one_works() {
    for fails in 0..2 {
        let device = Device::running();
        scarcity::fail(Some(fails));
        let test = device.send(io::SELF_TEST, &[], 0);
        assert_eq!(test.outcome(), Some((NTSTATUS::INSUFFICIENT_RESOURCES, vec![])), "allocation {fails}");
        scarcity::fail(None);
        let next = device.send(io::SELF_TEST, &[], 0);
        assert!(next.outcome().is_none() && device.hardware(|hardware| hardware.take(COMMANDS)).is_some());
    }
}

#[test]
fn no_allocation_is_made_for_a_request() {
    let device = Device::running();
    scarcity::fail(Some(0));
    let sent = device.send(io::ECHO, b"hello", 5);
    let cancelled = device.send(io::COMMAND, &hold(7), 0);
    assert!(cancelled.cancel());
    device.hardware(|hardware| {
        let chain = hardware.take(COMMANDS).expect("the driver offered it");
        let tag = chain.command().tag;
        hardware.echo(&chain, tag);
    });
    device.interrupt();
    assert_eq!(sent.outcome(), Some((NTSTATUS::SUCCESS, b"hello".to_vec())));
    scarcity::fail(None);
}

#[test]
fn a_command_on_the_hardware_is_cancelled_when_its_queue_is_purged() {
    let device = Device::running();
    let sent = device.send(io::COMMAND, &hold(1), 0);
    sent.stop(WdfRequestStopActionPurge);
    assert_eq!(sent.outcome().map(|(status, _)| status), Some(NTSTATUS::CANCELLED));
}

#[test]
fn an_event_wakes_its_reader_and_one_without_a_reader_waits() {
    let device = Device::running();
    let reader = device.send(io::READ_EVENT, &[], size_of::<Event>());
    let (first, second) = (Event { sequence: 1, time_ns: 2, value: 3 }, Event { sequence: 2, time_ns: 3, value: 4 });
    assert!(device.hardware(|hardware| hardware.event(&first) && hardware.event(&second)));
    device.interrupt();
    assert_eq!(reader.outcome(), Some((NTSTATUS::SUCCESS, first.as_bytes().to_vec())));
    let late = device.send(io::READ_EVENT, &[], size_of::<Event>());
    assert_eq!(late.outcome(), Some((NTSTATUS::SUCCESS, second.as_bytes().to_vec())));
}

#[test]
fn events_that_nobody_reads_fill_the_backlog_and_then_the_device_has_no_buffers() {
    let device = Device::running();
    let mut taken = 0;
    while device.hardware(|hardware| hardware.event(&Event { sequence: taken, ..Event::default() })) {
        taken += 1;
        device.interrupt();
        assert!(taken <= 256);
    }
    assert_eq!(taken, 256);
    for sequence in 0..256 {
        let reader = device.send(io::READ_EVENT, &[], size_of::<Event>());
        let (_, bytes) = reader.outcome().expect("the backlog has it");
        assert_eq!(Event::read_from_bytes(&bytes).expect("a whole event").sequence, sequence);
    }
    assert!(device.hardware(|hardware| hardware.event(&Event::default())));
}

#[test]
fn a_device_whose_registers_read_all_ones_does_not_start() {
    let device = Device::add();
    device.hardware(|hardware| hardware.all_ones());
    assert!(!device.power_on().is_success());
}

#[test]
fn a_queue_size_that_is_no_power_of_two_does_not_start() {
    for size in [0_u16, 3, 4, 0xffff] {
        let device = Device::add();
        device.hardware(|hardware| hardware.set(24, size));
        assert_eq!(device.power_on(), NTSTATUS::DEVICE_CONFIGURATION_ERROR);
    }
}

#[test]
fn an_unplugged_device_goes_with_its_requests() {
    let device = Device::running();
    let sent = device.send(io::COMMAND, &hold(1), 0);
    device.hardware(|hardware| hardware.all_ones());
    sent.stop(WdfRequestStopActionPurge);
    assert_eq!(device.power_off(), NTSTATUS::SUCCESS);
    assert_eq!(device.release(), NTSTATUS::SUCCESS);
    assert_eq!(sent.outcome().map(|(status, _)| status), Some(NTSTATUS::CANCELLED));
    assert_eq!(device.send(io::ECHO, b"a", 1).outcome().map(|(status, _)| status), Some(NTSTATUS::DEVICE_NOT_READY));
}

#[test]
fn a_wrong_code_and_short_buffers_are_refused_before_the_hardware() {
    let device = Device::running();
    let status = |code, input: &[u8], room| device.send(code, input, room).outcome().map(|(status, _)| status);
    assert_eq!(status(io::control_code(0x7ff, io::Method::Buffered), b"", 0), Some(NTSTATUS::INVALID_DEVICE_REQUEST));
    assert_eq!(status(io::COMMAND, &[0; 23], 0), Some(NTSTATUS::BUFFER_TOO_SMALL));
    assert_eq!(status(io::ADMIN, &[0; 23], 0), Some(NTSTATUS::BUFFER_TOO_SMALL));
    assert_eq!(status(io::READ_EVENT, &[], 23), Some(NTSTATUS::BUFFER_TOO_SMALL));
    assert_eq!(status(io::QUERY_CONFIG, &[], 47), Some(NTSTATUS::BUFFER_TOO_SMALL));
    assert!(device.hardware(|hardware| hardware.take(COMMANDS).is_none() && hardware.take(ADMIN).is_none()));
}
