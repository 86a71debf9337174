//! Registers that read all ones, whatever is written: all of them from any moment on, as when the device is pulled out, or one of them always. The
//! driver starts or does not, every request ends once, and nothing is left behind.

mod world;

use std::collections::BTreeSet;

use protocol::hardware::Event;
use protocol::io;
use wdf_sys::NTSTATUS;
use wdf_sys::wdf::{WdfRequestStopActionPurge, WdfRequestStopActionSuspend};
use zerocopy::IntoBytes;

use world::{Device, Sent, bus, scarcity};

const COMMANDS: usize = 0;
const ADMIN: usize = 2;

fn hold(tag: u64) -> Vec<u8> {
    io::Command { tag, opcode: 4, reserved: 0, argument: 0 }.as_bytes().to_vec()
}

/// A device's life, with everything that touches registers: start, commands, a cancel, events, the watchdog, recovery, sleep, wake, removal.
fn live() {
    scarcity::begin(None);
    let device = Device::add();
    if device.power_on().is_success() {
        run(&device);
    }
    assert_eq!(device.release(), NTSTATUS::SUCCESS);
    device.destroy();
    assert_eq!(scarcity::left_behind(), 0);
}

fn run(device: &Device) {
    let echo = device.send(io::ECHO, b"hello", 5);
    answer(device);
    let cancelled = device.send(io::COMMAND, &hold(7), 0);
    cancelled.cancel();
    let config = device.send(io::QUERY_CONFIG, &[], 48);
    let reader = device.send(io::READ_EVENT, &[], size_of::<Event>());
    device.hardware(|hardware| hardware.event(&Event::default()));
    device.interrupt();
    let held = device.send(io::COMMAND, &hold(9), 0);
    let admin = device.send(io::ADMIN, io::Admin { opcode: 2, reserved: 0, target: 9, argument: 0 }.as_bytes(), 0);
    device.tick();
    device.hardware(world::hardware::Hardware::reset_unless_running);
    device.run_work();
    let late = device.send(io::ECHO, b"late", 4);

    let on_hardware = [held, admin, late];
    leave(on_hardware, WdfRequestStopActionSuspend);
    assert_eq!(device.power_off(), NTSTATUS::SUCCESS);
    device.hardware(world::hardware::Hardware::reset);
    let is_back = device.power_on().is_success();
    if is_back {
        on_hardware.into_iter().filter(|sent| sent.is_requeued()).for_each(Sent::present_again);
        device.tick();
        leave(on_hardware, WdfRequestStopActionPurge);
        assert_eq!(device.power_off(), NTSTATUS::SUCCESS);
    }

    for sent in [echo, cancelled, config, held, admin, late] {
        // What is back in its queue when the device does not start again, the framework cancels there.
        assert!(sent.outcome().is_some() || !is_back && sent.is_requeued());
        assert_ne!(sent.outcome().map(|(status, _)| status), Some(NTSTATUS::INTERNAL_ERROR));
    }
    assert!(matches!(reader.outcome(), None | Some((NTSTATUS::SUCCESS, _))));
    if let Some((NTSTATUS::SUCCESS, bytes)) = echo.outcome() {
        assert_eq!(bytes, b"hello");
    }
}

/// The hardware answers every command and every administration command that it finds.
fn answer(device: &Device) {
    device.hardware(|hardware| {
        while let Some(chain) = hardware.take(COMMANDS) {
            let tag = chain.command().tag;
            hardware.echo(&chain, tag);
        }
        while let Some(chain) = hardware.take(ADMIN) {
            hardware.give_back(ADMIN, &chain, &[], 0);
        }
    });
    device.interrupt();
}

fn leave(sent: [Sent; 3], flags: u32) {
    for request in sent {
        if request.outcome().is_none() && !request.is_requeued() {
            request.stop(flags);
        }
    }
}

/// Registers read in a life in which everything answers.
fn reads() -> Vec<usize> {
    bus::begin(None, None);
    live();
    bus::reads()
}

#[test]
fn a_device_that_goes_at_any_moment_takes_no_request_with_it() {
    let reads = reads().len();
    assert!(reads > 60, "{reads} reads are no whole life");
    for moment in 0..reads {
        bus::begin(Some(moment), None);
        live();
    }
}

#[test]
fn a_register_that_always_reads_all_ones_takes_no_request_with_it() {
    // Each device has registers at an address of its own: what counts is where in them the register is.
    let registers: BTreeSet<usize> = reads().into_iter().map(|address| address % world::hardware::BAR_BYTES).collect();
    assert!(registers.len() >= 12, "{} registers are not all", registers.len());
    for register in registers {
        bus::begin(None, Some(register));
        live();
    }
}

#[test]
fn a_reset_that_the_device_did_not_hear_is_said_again() {
    /// Acknowledged, driver, features, going.
    const RUNNING: u8 = 0x0f;
    bus::begin(None, None);
    scarcity::begin(None);
    let device = Device::add();
    bus::lose_the_last_write(RUNNING);
    assert_eq!(device.power_on(), NTSTATUS::SUCCESS);
    let echo = device.send(io::ECHO, b"hello", 5);
    answer(&device);
    assert!(matches!(echo.outcome(), Some((NTSTATUS::SUCCESS, bytes)) if bytes == b"hello"));
    assert_eq!(device.power_off(), NTSTATUS::SUCCESS);
    assert_eq!(device.release(), NTSTATUS::SUCCESS);
    device.destroy();
    assert_eq!(scarcity::left_behind(), 0);
}
