//! The watchdog: hardware that has work and says nothing. An interrupt can get lost, an answer too, and a device that is gone raises none.

use core::time::Duration;

use wdf::{Device, Dispatch};

use crate::plan::Plan;
use crate::relay::{Flight, Phase, Relay, State};
use protocol::hardware::Opcode;

/// How often it looks.
pub(crate) const PERIOD: Duration = Duration::from_millis(200);
/// Looks that the device may take for an answer: three seconds.
const PATIENCE: u64 = 15;

/// When an answer is overdue that is asked for now, counted in looks. A command that is held may take for ever.
pub(crate) fn due(state: &State, plan: &Plan) -> Option<u64> {
    match plan.opcode {
        Opcode::HOLD => None,
        Opcode::DELAY => Some(in_time(state).saturating_add(plan.argument / PERIOD.as_micros() as u64)),
        _ => Some(in_time(state)),
    }
}

/// When an answer is overdue that needs no time of its own.
pub(crate) fn in_time(state: &State) -> u64 {
    state.looks + PATIENCE
}

/// What looks.
pub(crate) struct Watchdog;

impl Dispatch for Watchdog {
    type Device = Relay;

    fn run(device: Device<'_, Relay>) {
        let relay = device.context();
        // As after an interrupt of each vector; nothing is there, unless one got lost.
        relay.take_answers();
        let is_overdue = {
            let mut state = relay.state.lock();
            if state.phase != Phase::Running {
                return;
            }
            state.looks += 1;
            let looks = state.looks;
            let late = |flight: &Flight| flight.due.is_some_and(|due| due < looks);
            state.commands.slots.any(late) || state.admin.slots.any(late)
        };
        if is_overdue {
            relay.give_up_hardware("an answer is overdue");
        } else if relay.registers.get().is_some_and(|registers| registers.needs_reset()) {
            relay.give_up_hardware("the device asks for a reset, or is gone");
        }
    }
}
