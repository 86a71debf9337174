//! What happens to the machine under the driver: the device is taken out and put back, the system sleeps.

use core::time::Duration;

use channel::{Ask, Needs};
use protocol::hardware::Opcode;
use protocol::io;

use super::wait_for_held;
use crate::bench::{Bench, Failure, Test, TestResult, ensure, ensure_eq, tests};
use crate::nt::{self, NTSTATUS};
use crate::relay::{DEADLINE, Relay};

/// A guest whose device sits in a slot that it can leave.
const REMOVABLE: Needs<'static> = Needs { removable: true, ..Needs::NOTHING };

pub(super) const TESTS: &[Test] = tests!(device on REMOVABLE; {
    a_pulled_device_ends_its_requests: "a device that is pulled takes its requests along, and works when it is put back",
});

/// How often the device is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until the device cannot be opened any more.
fn wait_until_gone() -> TestResult {
    let start = nt::interrupt_time();
    while Relay::open().is_ok() {
        ensure!(nt::interrupt_time().saturating_sub(start) < DEADLINE.as_nanos() as u64 / 100);
        nt::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn put_back(bench: &mut Bench) -> TestResult {
    bench.ask(Ask::Plug)?;
    // It can be opened an instant before the whole stack has started.
    let start = nt::interrupt_time();
    while Relay::open().and_then(|relay| relay.echo(b"back", 4)).is_err() {
        ensure!(nt::interrupt_time().saturating_sub(start) < DEADLINE.as_nanos() as u64 / 100);
        nt::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn a_pulled_device_ends_its_requests(bench: &mut Bench) -> TestResult {
    let (control, relay) = (Relay::open()?, Relay::open_asynchronous()?);
    let mut held = relay.command_later(7, Opcode::HOLD, 0, b"never", 5)?;
    wait_for_held(&control, 1)?;
    bench.ask(Ask::Unplug)?;
    // Which failure it is, is the driver's choice.
    ensure!(held.wait(DEADLINE).is_err_and(|status| status.is_error()));
    ensure!(control.echo(b"gone", 4).is_err());
    wait_until_gone()?;
    // The old device is gone for good only when the last handle is.
    drop(held);
    drop((control, relay));
    put_back(bench)
}

pub(super) fn the_system_sleeps_and_wakes(_: &mut Bench) -> TestResult {
    const NAP: Duration = Duration::from_millis(300);
    let relay = Relay::open()?;
    ensure_eq!(relay.echo(b"before", 6)?, b"before");
    let start = nt::interrupt_time();
    match nt::sleep_system_for(NAP) {
        Err(NTSTATUS::PRIVILEGE_NOT_HELD) => {
            return Err(Failure::Skipped { reason: "this program may not put the system to sleep".into() });
        }
        other => other?,
    }
    ensure!(nt::interrupt_time().saturating_sub(start) >= NAP.as_nanos() as u64 / 100);
    ensure_eq!(relay.echo(b"after", 5)?, b"after");
    Ok(())
}

pub(super) fn the_end_of_a_request_calls_the_program_back(_: &mut Bench) -> TestResult {
    let relay = Relay::open_asynchronous()?;
    let answer = nt::control_with_call_back(relay.file(), io::ECHO, b"by APC".to_vec(), 6, DEADLINE)?;
    ensure_eq!(answer, b"by APC");
    Ok(())
}
