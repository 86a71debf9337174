//! Interrupt vectors: which ones bring what, where the transport gives several, and that one is enough.

use channel::Needs;
use protocol::hardware::{AdminOpcode, Event};
use protocol::io;

use crate::bench::{Bench, Failure, Test, TestResult, ensure, ensure_eq, tests};
use crate::nt::NTSTATUS;
use crate::relay::{DEADLINE, Relay};

/// A guest on the transport that gives a device one vector.
const ONE_VECTOR: Needs<'static> = Needs { removable: true, ..Needs::NOTHING };

pub(super) const TESTS: &[Test] = tests!(device {
    each_vector_brings_its_own: "commands, events and administration interrupt by a vector each, and by no other",
});

pub(super) const TESTS_OF_ONE: &[Test] = tests!(device on ONE_VECTOR; {
    one_vector_brings_everything: "commands, events and administration all interrupt by the one vector that there is",
});

/// Interrupts of each vector while something was done.
fn interrupts(relay: &Relay, act: impl FnOnce() -> TestResult) -> Result<[u64; 4], Failure> {
    let before = relay.counters()?.interrupts_by_vector;
    act()?;
    let now = relay.counters()?.interrupts_by_vector;
    Ok(core::array::from_fn(|vector| now[vector] - before[vector]))
}

fn a_command(relay: &Relay) -> TestResult {
    ensure_eq!(relay.echo(b"vector", 6)?, b"vector");
    Ok(())
}

/// An administration command that does nothing to anybody.
fn an_administration_command(relay: &Relay) -> TestResult {
    ensure_eq!(relay.admin(AdminOpcode::RELEASE, 0x07ec_0000, 0), Err(NTSTATUS::NOT_FOUND));
    Ok(())
}

/// An event that an administration command asks for.
fn an_event(relay: &Relay) -> TestResult {
    let readers = Relay::open_asynchronous()?;
    let mut reader = readers.file().control_later(io::READ_EVENT, alloc::vec![], size_of::<Event>())?;
    relay.admin(AdminOpcode::EVENT_ONCE, 0, 0x07ec)?;
    ensure_eq!(reader.wait(DEADLINE)?.len(), size_of::<Event>());
    Ok(())
}

fn only_with(relay: &Relay, vectors: u64) -> TestResult {
    let has = relay.counters()?.vectors;
    if has == vectors {
        return Ok(());
    }
    Err(Failure::Skipped { reason: alloc::format!("the device has {has} vectors here") })
}

fn each_vector_brings_its_own(_: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    only_with(&relay, 4)?;
    let [changes, commands, events, administration] = interrupts(&relay, || a_command(&relay))?;
    ensure!(commands > 0);
    ensure_eq!((changes, events, administration), (0, 0, 0));
    let [changes, commands, events, administration] = interrupts(&relay, || an_administration_command(&relay))?;
    ensure!(administration > 0);
    ensure_eq!((changes, commands, events), (0, 0, 0));
    let [changes, commands, events, administration] = interrupts(&relay, || an_event(&relay))?;
    ensure!(events > 0 && administration > 0);
    ensure_eq!((changes, commands), (0, 0));
    Ok(())
}

fn one_vector_brings_everything(_: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    only_with(&relay, 1)?;
    for act in [a_command, an_administration_command, an_event] {
        let [all, rest @ ..] = interrupts(&relay, || act(&relay))?;
        ensure!(all > 0);
        ensure_eq!(rest, [0; 3]);
    }
    Ok(())
}
