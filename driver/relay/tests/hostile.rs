//! The whole driver against programs and hardware that do anything: requests of any shape, used rings of any content, in any order. Whatever
//! comes, nothing panics, no request is completed twice, and each is over once its queue has been purged.
#![allow(dead_code, reason = "another test program uses the rest of the world")]

mod world;

use proptest::prelude::*;
use protocol::io;
use wdf_sys::NTSTATUS;
use wdf_sys::wdf::WdfRequestStopActionPurge;

use world::{Device, Sent};

const CODES: [u32; 10] = [
    io::ECHO,
    io::ECHO_IN_DIRECT,
    io::ECHO_OUT_DIRECT,
    io::ECHO_NEITHER,
    io::COMMAND,
    io::ADMIN,
    io::READ_EVENT,
    io::QUERY_CONFIG,
    io::QUERY_COUNTERS,
    io::SELF_TEST,
];

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Send {
        code: u32,
        input: Vec<u8>,
        room: usize,
    },
    Cancel(usize),
    /// The hardware puts an entry into a used ring.
    Used {
        ring: usize,
        id: u32,
        written: u32,
    },
    /// The hardware answers the next command with bytes of its own.
    Answer {
        ring: usize,
        reply: Vec<u8>,
        written: u32,
    },
    Interrupt,
    /// Recovery runs, if it was asked for, on hardware that forgot everything.
    Recover,
    AllOnes,
}

fn code() -> impl Strategy<Value = u32> {
    prop_oneof![8 => proptest::sample::select(&CODES[..]), 1 => any::<u32>()]
}

/// Values near which mistakes live, and any other.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..300_u32, 1 => any::<u32>(), 1 => Just(u32::MAX), 1 => Just(1 << 20)]
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..80);
    prop_oneof![
        6 => (code(), bytes(), 0..100_usize).prop_map(|(code, input, room)| Step::Send { code, input, room }),
        2 => (0..40_usize).prop_map(Step::Cancel),
        3 => (0..3_usize, number(), number()).prop_map(|(ring, id, written)| Step::Used { ring, id, written }),
        4 => (proptest::sample::select(&[0_usize, 2][..]), bytes(), number())
            .prop_map(|(ring, reply, written)| Step::Answer { ring, reply, written }),
        4 => Just(Step::Interrupt),
        2 => Just(Step::Recover),
        1 => Just(Step::AllOnes),
    ]
}

fn perform(device: &Device, sent: &mut Vec<(u32, Sent)>, step: Step) {
    match step {
        Step::Send { code, input, room } => sent.push((code, device.send(code, &input, room))),
        Step::Cancel(index) => {
            if let Some((_, request)) = sent.get(index).filter(|(_, request)| request.outcome().is_none()) {
                request.cancel();
            }
        }
        Step::Used { ring, id, written } => device.hardware(|hardware| hardware.put_used(ring, id, written)),
        Step::Answer { ring, mut reply, written } => device.hardware(|hardware| {
            if let Some(chain) = hardware.take(ring) {
                reply.truncate(chain.room());
                hardware.give_back(ring, &chain, &reply, written);
            }
        }),
        Step::Interrupt => device.interrupt(),
        Step::Recover => {
            device.hardware(world::hardware::Hardware::reset);
            device.run_work();
        }
        Step::AllOnes => device.hardware(|hardware| hardware.all_ones()),
    }
}

proptest! {
    // Each case leaves the memory of a whole device behind.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn whatever_programs_and_hardware_do_every_request_ends_once(steps in proptest::collection::vec(step(), 1..60)) {
        let device = Device::running();
        let mut sent = Vec::new();
        for step in steps {
            perform(&device, &mut sent, step);
        }
        device.purge();
        for (echo, _) in device.self_sent().into_iter().filter(|(echo, _)| echo.outcome().is_none()) {
            echo.stop(WdfRequestStopActionPurge);
        }
        for (code, request) in &sent {
            // Readers wait in a queue that has no power to lose.
            if request.outcome().is_none() && *code != io::READ_EVENT {
                request.stop(WdfRequestStopActionPurge);
            }
        }
        prop_assert_eq!(device.power_off(), NTSTATUS::SUCCESS);
        for (code, request) in &sent {
            prop_assert!(request.outcome().is_some() || *code == io::READ_EVENT, "{code:#x} never ended");
        }
    }

    #[test]
    fn a_control_code_that_nobody_knows_is_refused_and_never_reaches_the_hardware(
        code in any::<u32>(),
        input in proptest::collection::vec(any::<u8>(), 0..80),
        room in 0..100_usize,
    ) {
        prop_assume!(!CODES.contains(&code));
        let device = Device::running();
        let sent = device.send(code, &input, room);
        prop_assert_eq!(sent.outcome().map(|(status, _)| status), Some(NTSTATUS::INVALID_DEVICE_REQUEST));
        prop_assert!(device.hardware(|hardware| hardware.take(0).is_none() && hardware.take(2).is_none()));
    }
}
