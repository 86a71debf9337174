//! The ways in which buffers travel, and their limits.

use alloc::vec;
use alloc::vec::Vec;

use protocol::hardware::{MAX_PAYLOAD, Opcode};
use protocol::io;

use crate::bench::{Bench, TestResult, ensure, ensure_eq};
use crate::nt::{NTSTATUS, raw_control};
use crate::relay::{DEADLINE, Relay};

const LARGEST: usize = MAX_PAYLOAD as usize;

fn random(bench: &mut Bench, length: usize) -> Vec<u8> {
    let mut payload = vec![0; length];
    bench.fill(&mut payload);
    payload
}

pub(super) fn the_largest_payload(bench: &mut Bench) -> TestResult {
    let payload = random(bench, LARGEST);
    let answer = Relay::open()?.echo(&payload, LARGEST)?;
    ensure!(answer == payload);
    Ok(())
}

pub(super) fn a_payload_beyond_the_largest_is_refused(_: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    ensure_eq!(relay.echo(&vec![0; LARGEST + 1], LARGEST + 1), Err(NTSTATUS::INVALID_BUFFER_SIZE));
    Ok(())
}

pub(super) fn direct_output(bench: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    for length in [1, 4095, 4096, 70_000] {
        let payload = random(bench, length);
        let mut output = vec![0; length + 3];
        ensure_eq!(relay.file().control(io::ECHO_OUT_DIRECT, &payload, &mut output)?, length);
        ensure!(output[..length] == payload);
        ensure!(output[length..] == [0; 3]);
    }
    Ok(())
}

pub(super) fn direct_input(bench: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    for length in [1, 4096, 70_001] {
        let mut payload = random(bench, length);
        let before = payload.clone();
        ensure_eq!(relay.file().control(io::ECHO_IN_DIRECT, &[], &mut payload)?, length);
        ensure!(payload == before);
    }
    Ok(())
}

pub(super) fn raw_addresses(bench: &mut Bench) -> TestResult {
    let relay = Relay::open()?;
    for length in [1, 4097] {
        let payload = random(bench, length);
        let mut output = vec![0; length];
        ensure_eq!(relay.file().control(io::ECHO_NEITHER, &payload, &mut output)?, length);
        ensure!(output == payload);
    }
    Ok(())
}

pub(super) fn a_bad_user_address_is_a_status(_: &mut Bench) -> TestResult {
    const UNMAPPED: usize = 0x10_0000;
    const KERNEL: usize = 0xffff_8000_0000_0000;
    let relay = Relay::open()?;
    for code in [io::ECHO, io::ECHO_OUT_DIRECT, io::ECHO_NEITHER] {
        for address in [UNMAPPED, KERNEL, usize::MAX - 15] {
            ensure_eq!(raw_control(relay.file(), code, (address, 16), (0, 0)), Err(NTSTATUS::ACCESS_VIOLATION));
        }
    }
    for code in [io::ECHO_IN_DIRECT, io::ECHO_OUT_DIRECT] {
        ensure_eq!(raw_control(relay.file(), code, (0, 0), (KERNEL, 16)), Err(NTSTATUS::ACCESS_VIOLATION));
        ensure_eq!(raw_control(relay.file(), code, (0, 0), (UNMAPPED, 16)), Err(NTSTATUS::ACCESS_VIOLATION));
    }
    ensure_eq!(relay.echo(b"still there", 11)?, b"still there");
    Ok(())
}

pub(super) fn more_requests_than_the_hardware_takes(bench: &mut Bench) -> TestResult {
    const COUNT: usize = 400;
    let relay = Relay::open_asynchronous()?;
    let mut requests = Vec::new();
    for tag in 0..COUNT as u64 {
        let payload = random(bench, 64);
        requests.push((relay.command_later(tag, Opcode::ECHO, 0, &payload, 64)?, payload));
    }
    for (request, payload) in &mut requests {
        ensure!(request.wait(DEADLINE)? == *payload);
    }
    Ok(())
}
