//! Power goes, or the device does, while the hardware has requests: EvtIoStop for one of them.

use wdf::{NTSTATUS, StopAction, Stopping, TakenBack};

use crate::relay::{Flight, Phase, Relay, count};

/// Halts the hardware, unless that was done before, and answers what it has done until then. From now on presented requests are sent back, until
/// power comes.
///
/// The hardware halts first: what it answered after its request was given up would be done twice.
pub(crate) fn quiesce(relay: &Relay) {
    {
        let mut state = relay.state.lock();
        // Under the lock: whoever finds the phase changed finds the hardware still.
        if state.phase == Phase::Running {
            state.phase = Phase::Stopping;
            if relay.registers.get().is_some_and(|registers| !registers.halt()) {
                wdf::log!("relay: the device does not halt; what it does from now on, it will be asked to do again");
            }
        }
    }
    relay.take_answers();
}

/// Ends the driver's hold on the request of `stopping`: back to its queue when power will return, cancelled when the device goes for good.
///
/// Without a flight there is nothing to do: the request is being completed, or is not in a slot yet and will be sent back.
pub(crate) fn settle(relay: &Relay, stopping: Stopping<'_>, flight: Option<Flight>) {
    let Some(flight) = flight else { return };
    match (flight.request.take_back(), stopping.action()) {
        (TakenBack::Request(request), StopAction::Suspend) => {
            if let Err(request) = stopping.requeue(request) {
                relay.complete(request, Err(NTSTATUS::CANCELLED));
            }
        }
        (TakenBack::Request(request), StopAction::Purge) => relay.complete(request, Err(NTSTATUS::CANCELLED)),
        (TakenBack::Canceled(request), _) => {
            count(&relay.counters.completed);
            request.complete();
        }
        (TakenBack::CallbackHasIt, _) => {}
    }
}
