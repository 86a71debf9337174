//! The life of one send: who may call the lower driver, who may cancel, and who finishes. Pure; the request object holds a spin lock
//! around every method.
//!
//! Three parties meet here, on any processor: the sender, the completion of the IRP, and those who cancel (WdfRequestCancelSentRequest, a
//! time-out, a target that stops). A canceller inside `IoCancelIrp` touches the IRP, so the end of the send waits for it: each is counted
//! as a holder, and whoever comes last of completion and holders finishes. A send that is cancelled before the lower driver was called
//! never gets there: the canceller takes it over and finishes it.

/// How far a send has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not sent, or finished.
    Idle,
    /// WdfRequestSend has it; the target has not.
    Entering,
    /// It waits in a stopped target.
    Queued,
    /// The lower driver has been, or is being, called.
    Sent,
    /// Completed, or taken over by a canceller; not finished while there are holders.
    Ended,
}

/// Why a send does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is sent already.
    AlreadySent,
    /// It was cancelled since it was created or last reused.
    Cancelled,
}

/// Who cancels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Canceller {
    /// The driver.
    Driver,
    /// A target that is stopped or purged. It leaves no mark when it comes too early or too late.
    Target,
    /// The time-out of the send.
    Timeout,
}

/// What a canceller has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelAction {
    /// Nothing: it is not sent.
    NotSent,
    /// Nothing: it has ended already.
    TooLate,
    /// The lower driver is never called: complete with STATUS_CANCELLED and try to finish.
    TakeOver,
    /// Call `IoCancelIrp`, then give up the hold and try to finish.
    CancelIrp,
}

/// One request's send.
#[derive(Debug)]
pub(crate) struct Sent {
    phase: Phase,
    cancelled: bool,
    timed_out: bool,
    holders: u32,
    /// Counts sends, so that a sender notices that the send it speaks of is over and another has begun.
    generation: u32,
}

impl Sent {
    /// Never sent.
    pub(crate) const fn new() -> Self {
        Self { phase: Phase::Idle, cancelled: false, timed_out: false, holders: 0, generation: 0 }
    }

    /// How far it has come.
    pub(crate) const fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether it is between WdfRequestSend and its end.
    pub(crate) const fn is_under_way(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
    }

    /// Whether it was cancelled since it was created or last reused.
    pub(crate) const fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// Whether the time-out cancelled it.
    pub(crate) const fn is_timed_out(&self) -> bool {
        self.timed_out
    }

    // The sender.

    /// Begins a send. The number names it in the sender's later calls.
    pub(crate) const fn begin(&mut self) -> Result<u32, Refused> {
        if self.is_under_way() {
            return Err(Refused::AlreadySent);
        }
        if self.cancelled {
            return Err(Refused::Cancelled);
        }
        self.phase = Phase::Entering;
        self.timed_out = false;
        self.generation = self.generation.wrapping_add(1);
        Ok(self.generation)
    }

    /// The target is stopped: the request waits in it. `false`: a canceller has taken it over.
    pub(crate) const fn queue(&mut self, generation: u32) -> bool {
        self.advance(generation, Phase::Entering, Phase::Queued)
    }

    /// The sender is about to call the lower driver. `false`: a canceller has taken the send over, it must not.
    pub(crate) const fn call(&mut self, generation: u32) -> bool {
        self.advance(generation, Phase::Entering, Phase::Sent)
    }

    /// The target goes on with a request that waited in it. The number of the send, unless a canceller has taken it over.
    pub(crate) const fn call_queued(&mut self) -> bool {
        let generation = self.generation;
        self.advance(generation, Phase::Queued, Phase::Sent)
    }

    /// The target refuses: the send has not happened. `false`: a canceller has taken it over, so it has.
    pub(crate) const fn abort(&mut self, generation: u32) -> bool {
        self.advance(generation, Phase::Entering, Phase::Idle)
    }

    const fn advance(&mut self, generation: u32, from: Phase, to: Phase) -> bool {
        let ours = self.generation == generation && self.phase as u8 == from as u8;
        if ours {
            self.phase = to;
        }
        ours
    }

    // Cancellers.

    /// Someone cancels.
    pub(crate) const fn cancel(&mut self, canceller: Canceller) -> CancelAction {
        // The driver's mark is made before looking whether the request is sent, and stays when it is not.
        if matches!(canceller, Canceller::Driver) {
            self.cancelled = true;
        }
        let action = match self.phase {
            Phase::Idle => CancelAction::NotSent,
            Phase::Ended => CancelAction::TooLate,
            Phase::Entering | Phase::Queued => {
                self.phase = Phase::Ended;
                CancelAction::TakeOver
            }
            Phase::Sent => {
                self.holders += 1;
                CancelAction::CancelIrp
            }
        };
        if matches!(action, CancelAction::TakeOver | CancelAction::CancelIrp) {
            self.cancelled = true;
            self.timed_out |= matches!(canceller, Canceller::Timeout);
        }
        action
    }

    /// Counts a holder: a timer that may fire.
    pub(crate) const fn hold(&mut self) {
        self.holders += 1;
    }

    /// A holder is done with the IRP.
    pub(crate) const fn unhold(&mut self) {
        self.holders -= 1;
    }

    // The end.

    /// The lower driver has completed the IRP.
    pub(crate) const fn complete(&mut self) {
        self.phase = Phase::Ended;
    }

    /// Whether the caller is the one to finish. Says yes once for each send.
    pub(crate) const fn finish(&mut self) -> bool {
        let last = matches!(self.phase, Phase::Ended) && self.holders == 0;
        if last {
            self.phase = Phase::Idle;
        }
        last
    }

    /// WdfRequestReuse: the mark of a cancel goes. `false`: it is still sent, and stays so.
    pub(crate) const fn reuse(&mut self) -> bool {
        self.cancelled = false;
        !self.is_under_way()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> (Sent, u32) {
        let mut state = Sent::new();
        let send = state.begin().unwrap();
        assert!(state.call(send));
        (state, send)
    }

    #[test]
    fn a_request_that_is_sent_cannot_be_sent_again_until_it_is_finished() {
        let (mut state, _) = sent();
        assert_eq!(state.begin(), Err(Refused::AlreadySent));
        state.complete();
        assert_eq!(state.begin(), Err(Refused::AlreadySent));
        assert!(state.finish());
        assert!(state.begin().is_ok());
    }

    #[test]
    fn a_cancel_of_a_request_that_is_not_sent_sticks_until_it_is_reused() {
        let mut state = Sent::new();
        assert_eq!(state.cancel(Canceller::Driver), CancelAction::NotSent);
        assert_eq!(state.begin(), Err(Refused::Cancelled));
        assert_eq!(state.begin(), Err(Refused::Cancelled));
        assert!(state.reuse());
        assert!(state.begin().is_ok());
    }

    #[test]
    fn a_cancel_between_send_and_the_call_of_the_lower_driver_keeps_the_sender_from_calling_it() {
        let mut state = Sent::new();
        let send = state.begin().unwrap();
        assert_eq!(state.cancel(Canceller::Driver), CancelAction::TakeOver);
        assert!(state.finish(), "the canceller finishes");
        assert!(!state.call(send), "the sender must not call the lower driver");
        assert!(!state.abort(send), "nor say that nothing was sent");
    }

    #[test]
    fn a_sender_does_not_take_the_next_send_of_a_reused_request_for_its_own() {
        let mut state = Sent::new();
        let first = state.begin().unwrap();
        assert_eq!(state.cancel(Canceller::Driver), CancelAction::TakeOver);
        assert!(state.finish());
        assert!(state.reuse());
        let second = state.begin().unwrap();
        assert!(!state.call(first));
        assert!(state.call(second));
    }

    #[test]
    fn the_completion_waits_for_a_canceller_that_still_touches_the_irp() {
        let (mut state, _) = sent();
        assert_eq!(state.cancel(Canceller::Driver), CancelAction::CancelIrp);
        assert_eq!(state.cancel(Canceller::Timeout), CancelAction::CancelIrp);
        state.complete();
        assert!(!state.finish(), "two cancellers hold it");
        state.unhold();
        assert!(!state.finish());
        state.unhold();
        assert!(state.finish(), "the last canceller finishes, on its own stack");
        assert!(!state.finish(), "once");
    }

    #[test]
    fn a_cancel_after_the_completion_comes_too_late() {
        let (mut state, _) = sent();
        state.complete();
        assert_eq!(state.cancel(Canceller::Driver), CancelAction::TooLate);
        assert!(state.finish());
    }

    #[test]
    fn a_canceller_that_gives_up_its_hold_before_the_completion_leaves_the_finish_to_it() {
        let (mut state, _) = sent();
        assert_eq!(state.cancel(Canceller::Driver), CancelAction::CancelIrp);
        state.unhold();
        assert!(!state.finish());
        state.complete();
        assert!(state.finish());
    }

    #[test]
    fn a_time_out_is_a_cancel_that_is_told_apart() {
        let (mut state, _) = sent();
        assert_eq!(state.cancel(Canceller::Timeout), CancelAction::CancelIrp);
        assert!(state.is_timed_out() && state.is_cancelled());
        state.unhold();
        state.complete();
        assert!(state.finish());
        assert!(state.reuse());
        assert!(state.begin().is_ok());
        assert!(!state.is_timed_out());
    }

    #[test]
    fn a_target_that_stops_leaves_no_mark_on_a_request_that_is_not_sent() {
        let mut state = Sent::new();
        assert_eq!(state.cancel(Canceller::Target), CancelAction::NotSent);
        assert!(state.begin().is_ok());
    }

    #[test]
    fn a_request_queued_in_a_stopped_target_is_called_later_or_taken_over() {
        let mut state = Sent::new();
        let send = state.begin().unwrap();
        assert!(state.queue(send));
        assert!(state.call_queued());
        state.complete();
        assert!(state.finish());

        let send = state.begin().unwrap();
        assert!(state.queue(send));
        assert_eq!(state.cancel(Canceller::Driver), CancelAction::TakeOver);
        assert!(!state.call_queued());
        assert!(state.finish());
    }

    #[test]
    fn reuse_of_a_request_that_is_still_sent_is_noticed_and_does_not_end_the_send() {
        let (mut state, _) = sent();
        assert!(!state.reuse());
        assert_eq!(state.begin(), Err(Refused::AlreadySent));
    }
}
