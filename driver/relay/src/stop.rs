//! Power goes, or the device does, while the hardware has requests: EvtIoStop for one of them.

use wdf::{NTSTATUS, StopAction, Stopping, TakenBack};

use crate::relay::{Flight, Phase, Relay, State, count};

impl State {
    /// From now on presented requests are sent back, until power comes.
    pub(crate) fn begin_stopping(&mut self) {
        if self.phase == Phase::Running {
            self.phase = Phase::Stopping;
        }
    }
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
